//! What must hold, whatever comes.

use proptest::prelude::*;

use super::load::{Dice, Load};
use super::*;

/// Of the order of what two cores take: a 720p30 stream takes 0.16 of a lane plainly, then 0.3, 0.55 and 0.95.
fn machine(lanes: usize) -> Machine {
    let stream = 1280.0 * 720.0 * 30.0;
    Machine {
        lanes,
        plain: 0.16 / stream,
        tiers: [0.3, 0.55, 0.95].map(|part| part / stream).to_vec(),
        slows: Vec::new(),
        crowd: 1.06,
    }
}

/// What a segment is worth by each tier, in gain over the plain scaler.
const WORTH: [f64; 3] = [0.6, 0.85, 1.0];

/// Later than this is late: the clock is stepped, and pictures are not cut.
const LATE: f64 = 0.05;

#[derive(Debug, Clone, Copy, Default)]
struct Summary {
    viewers: usize,
    late: usize,
    late_plainly: usize,
    /// Late although the plain scaler had been in time.
    avoidable: usize,
    latest: f64,
    /// Parts of viewers' segments that were made plainly and by each tier.
    shares: [f64; 4],
    worth: f64,
    /// What a clairvoyant without deadlines could have made of the same lane seconds, at most.
    bound: f64,
    dropped: u32,
    /// By [`Why::ALL`].
    why: [usize; 5],
    /// Of the streams, the smallest part of segments with a network, for a quarter of their pictures at least.
    poorest: f64,
}

fn bound(machine: &Machine, wanted: &[Wanted], until: f64) -> f64 {
    // Fluid: the time that is left when all is plain goes to the steps that give the most for it.
    let slow =
        |time: f64| machine.slows.iter().filter(|(from, _)| *from <= time).map(|(_, by)| by).product::<f64>();
    let crowd = machine.crowd.powi(machine.lanes as i32 - 1);
    let viewers: Vec<&Wanted> = wanted.iter().filter(|wanted| wanted.asked.is_some()).collect();
    let mut left = machine.lanes as f64 * until;
    let mut worth = 0.0;
    let mut steps = Vec::new();
    for wanted in &viewers {
        let pixels =
            wanted.pictures * wanted.picture_pixels as f64 * wanted.content * crowd * slow(wanted.arrives);
        left -= machine.plain * pixels;
        let (mut cost, mut gain) = (machine.plain, 0.0);
        let most = if wanted.haste == Haste::Start { 1 } else { WORTH.len() };
        // Nobody makes in a second what takes two.
        let window = wanted.asked.map_or(0.0, |(_, by)| by - wanted.arrives);
        for (tier, total) in
            machine.tiers.iter().zip(WORTH).take(most).filter(|(tier, _)| *tier * pixels < window)
        {
            steps.push(((total - gain) / ((tier - cost) * pixels), (tier - cost) * pixels, total - gain));
            (cost, gain) = (*tier, total);
        }
    }
    steps.sort_by(|a, b| b.0.total_cmp(&a.0));
    for (_, cost, gain) in steps {
        let part = (left / cost).clamp(0.0, 1.0);
        worth += gain * part;
        left -= cost * part;
    }
    worth / viewers.len().max(1) as f64
}

/// Runs it both ways; prints a line for `--nocapture`.
#[allow(clippy::print_stdout)]
fn summary(name: &str, machine: &Machine, wanted: &[Wanted]) -> Summary {
    let (made, _) = run(machine, wanted, Policy::Board);
    let (plain, _) = run(machine, wanted, Policy::Plain);
    let mut sum = Summary { poorest: 1.0, ..Summary::default() };
    let mut streams: std::collections::BTreeMap<u64, (f64, f64)> = std::collections::BTreeMap::new();
    for ((wanted, made), plain) in wanted.iter().zip(&made).zip(&plain) {
        sum.dropped += made.dropped;
        if wanted.asked.is_none() {
            continue;
        }
        sum.viewers += 1;
        assert_eq!(made.times_made, 1, "each is made once: {wanted:?} {made:?}");
        let (late, late_plainly) = (made.late.unwrap_or(0.0), plain.late.unwrap_or(0.0));
        sum.late += usize::from(late > LATE);
        sum.late_plainly += usize::from(late_plainly > LATE);
        // The plain run has quiet neighbours: a tenth of the segment is its advantage.
        let plainly_in_time = late_plainly <= -0.1 * wanted.media;
        sum.avoidable += usize::from(late > LATE && plainly_in_time);
        if let Some(why) = made.why {
            sum.why[Why::ALL.iter().position(|other| *other == why).unwrap_or(0)] += 1;
        }
        sum.latest = sum.latest.max(late);
        let network = if made.tier.is_some() { made.by_network } else { 0.0 };
        sum.shares[0] += 1.0 - network;
        if let Some(tier) = made.tier {
            sum.shares[tier + 1] += network;
            sum.worth += network * WORTH[tier];
        }
        let stream = streams.entry(wanted.stream).or_default();
        *stream = (stream.0 + f64::from(u8::from(network > 0.25)), stream.1 + 1.0);
    }
    let viewers = sum.viewers.max(1) as f64;
    sum.shares = sum.shares.map(|share| share / viewers);
    sum.worth /= viewers;
    sum.bound = bound(machine, wanted, wanted.iter().map(|wanted| wanted.arrives).fold(0.0, f64::max));
    for (enhanced, all) in streams.values().filter(|(_, all)| *all >= 20.0) {
        sum.poorest = sum.poorest.min(enhanced / all);
    }
    let work: f64 =
        wanted.iter().map(|w| machine.plain * w.pictures * w.picture_pixels as f64 * w.content).sum();
    let until = wanted.iter().map(|wanted| wanted.arrives).fold(0.0, f64::max);
    let plain_load =
        work * machine.crowd.powi(machine.lanes as i32 - 1) / until / machine.lanes as f64 * 100.0;
    let [none, s, m, l] = sum.shares.map(|share| share * 100.0);
    println!(
        "{name} (plainly {plain_load:.0} % busy): {} for viewers, late {} (plainly {}, avoidable {}, latest {:.2} s); plain {none:.0} %, s {s:.0} %, m {m:.0} %, \
         l {l:.0} %; worth {:.2} of {:.2} possible; {} made ahead dropped; poorest stream {:.0} %; {:?}",
        sum.viewers,
        sum.late,
        sum.late_plainly,
        sum.avoidable,
        sum.latest,
        sum.worth,
        sum.bound,
        sum.dropped,
        sum.poorest * 100.0,
        sum.why
    );
    sum
}

/// 10,000 segments or a few more.
fn long(films: usize, live: usize, shared: (usize, u32), seed: u64) -> Vec<Wanted> {
    let mut load = Load { seconds: 1000.0, films, live, shared };
    let some = load.wanted(&mut Dice(seed)).len();
    load.seconds *= 10_300.0 / some as f64;
    load.wanted(&mut Dice(seed))
}

/// The part of viewers' segments that were late although the plain scaler would have been in time is at most this.
fn assert_in_time(sum: &Summary, part: f64) {
    assert!((sum.avoidable as f64) <= part * sum.viewers as f64, "{sum:?}");
}

#[test]
fn light_load_gets_the_best() {
    let sum = summary("light", &machine(4), &long(2, 1, (0, 0), 1));
    assert_in_time(&sum, 0.002);
    assert!(sum.worth > 0.9 * sum.bound && sum.poorest > 0.8, "{sum:?}");
}

#[test]
fn mixed_load_shares_what_there_is() {
    for (lanes, films, live) in [(1, 1, 1), (2, 3, 2), (4, 4, 2)] {
        let sum = summary(&format!("mixed, {lanes} lanes"), &machine(lanes), &long(films, live, (1, 8), 2));
        assert_in_time(&sum, 0.005);
        assert!(sum.worth > 0.6 * sum.bound && sum.poorest > 0.25, "{sum:?}");
    }
}

#[test]
fn more_than_can_be_enhanced() {
    for (lanes, films, live) in [(1, 1, 2), (2, 3, 3)] {
        let sum =
            summary(&format!("overload, {lanes} lanes"), &machine(lanes), &long(films, live, (0, 0), 3));
        assert_in_time(&sum, 0.03);
        assert!(sum.worth > 0.4 * sum.bound, "{sum:?}");
        assert!(sum.poorest > 0.1, "each stream gets some: {sum:?}");
    }
}

/// Eight live streams on two cores: plainly they take two thirds of the one lane.
#[test]
fn live_streams_that_are_too_many() {
    let stream = 1280.0 * 720.0 * 30.0;
    let machine = Machine { plain: 0.05 / stream, ..machine(1) };
    let mut dice = Dice(6);
    let load = Load { seconds: 300.0, films: 0, live: 8, shared: (0, 0) };
    let sum = summary("eight live streams", &machine, &load.wanted(&mut dice));
    assert_in_time(&sum, 0.005);
    assert!(sum.poorest > 0.02, "each stream gets some: {sum:?}");
}

#[test]
fn a_machine_that_slows_by_half() {
    for (lanes, films, live) in [(1, 1, 0), (4, 3, 2)] {
        let wanted = long(films, live, (1, 8), 4);
        let half = wanted.iter().map(|wanted| wanted.arrives).fold(0.0, f64::max) / 2.0;
        let machine = Machine { slows: vec![(half, 2.0)], ..machine(lanes) };
        let sum = summary(&format!("slows by half, {lanes} lanes"), &machine, &wanted);
        assert_in_time(&sum, 0.01);
        assert!(sum.worth > 0.6 * sum.bound, "{sum:?}");
    }
}

#[test]
fn a_start_gets_the_quickest_tier_and_what_many_see_the_best() {
    let wanted = long(2, 2, (1, 50), 5);
    let machine = machine(2);
    let (made, _) = run(&machine, &wanted, Policy::Board);
    let mut shared = [0.0, 0.0];
    for (wanted, made) in wanted.iter().zip(&made).filter(|(wanted, _)| wanted.asked.is_some()) {
        if wanted.haste == Haste::Start {
            assert!(made.tier.is_none_or(|tier| tier == 0), "{wanted:?} {made:?}");
        } else if wanted.stream >= 1000 {
            let worth = made.tier.map_or(0.0, |tier| made.by_network * WORTH[tier]);
            shared[usize::from(wanted.audience > 1)] += worth;
        }
    }
    assert!(shared[1] > shared[0], "{shared:?}");
}

/// Sixty live streams where six could be made plainly: as many as can be are, the others are refused while there is still time for what else
/// there is, and it is the same streams for a while.
#[test]
#[allow(clippy::print_stdout)]
fn ten_times_what_can_be_made() {
    let machine = Machine { crowd: 1.0, ..machine(1) };
    let load = Load { seconds: 300.0, films: 0, live: 60, shared: (0, 0) };
    let wanted = load.wanted(&mut Dice(7));
    let (made, busy) = run(&machine, &wanted, Policy::OrElse);
    let (mut refused, mut late, mut changes) = (0_usize, 0_usize, 0_usize);
    let mut before: std::collections::BTreeMap<u64, bool> = std::collections::BTreeMap::new();
    for (wanted, made) in wanted.iter().zip(&made) {
        assert_eq!(
            made.times_made + u32::from(made.refused.is_some()),
            1,
            "one or the other: {wanted:?} {made:?}"
        );
        let (_, by) = wanted.asked.unwrap_or_default();
        // An origin that was late itself leaves nothing to be in time with.
        let is_late = made.refused.or(made.finished).is_some_and(|at| at > by.max(wanted.arrives) + 0.5);
        late += usize::from(is_late);
        refused += usize::from(made.refused.is_some());
        let last = before.insert(wanted.stream, made.refused.is_some());
        changes += usize::from(last.is_some_and(|last| last != made.refused.is_some()));
    }
    let all = wanted.len();
    println!(
        "ten times: {all} for viewers, {refused} refused, {late} late, busy for {busy:.0} s of 300, {changes} changes"
    );
    assert!(busy > 0.9 * 300.0, "what can be made is made");
    assert!(late * 100 < all, "{late} of {all} late");
    assert!(changes * 10 < all, "{changes} changes in {all}");
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(24))]

    /// Whatever comes, in whatever numbers, each viewer gets one segment, and nobody is forgotten.
    #[test]
    fn nobody_starves(seed in any::<u64>(), lanes in 1_usize..4, films in 0_usize..6, live in 0_usize..6, slow in 0.5_f64..3.0) {
        let load = Load { seconds: 60.0, films, live, shared: (1, 8) };
        let wanted = load.wanted(&mut Dice(seed));
        let machine = Machine { slows: vec![(20.0, slow), (40.0, 1.0 / slow)], ..machine(lanes) };
        let (made, _) = run(&machine, &wanted, Policy::Board);
        let (plain, _) = run(&machine, &wanted, Policy::Plain);
        // Where not even the plain scaler keeps up all are late, in one order or another.
        let latest = plain.iter().filter_map(|plain| plain.late).fold(0.0, f64::max);
        for (wanted, made) in wanted.iter().zip(&made).filter(|(wanted, _)| wanted.asked.is_some()) {
            prop_assert_eq!(made.times_made, 1, "{:?} {:?}", wanted, made);
            prop_assert!(made.late.unwrap_or(0.0) < latest + 12.0, "{:?} {:?} {}", wanted, made, latest);
        }
    }
}
