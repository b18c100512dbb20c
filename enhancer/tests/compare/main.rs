//! Specialised models against generic ones and the plain scaler, on segments of which there is a high rendition: real
//! networks, real pictures.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs, unreachable_pub)]

mod clips;
mod halves;
#[allow(dead_code)]
#[path = "../reload/kit.rs"]
mod kit;
#[allow(dead_code)]
#[path = "../reload/onnx.rs"]
mod onnx;

use std::sync::mpsc::{Receiver, TryRecvError, channel};
use std::time::Duration;

use acuity_enhancer::{CancelFlag, CompareError, CompareRequest, Comparison, Keeping, TierComparison};
use acuity_models::Tier;
use bytes::Bytes;

use clips::{Content, HIGH, LOW, Recipe, Segment};
use kit::{Model, World, shipped};
use onnx::brighter;

const HOUR: Duration = Duration::from_secs(3600);

type Compared = Result<Comparison, CompareError>;

/// The game's model gives pictures brighter by so many code values than the shipped one's, the generic one too.
fn world(game: f32, generic: f32) -> World {
    World::new(&[
        Model::new("game", brighter(&shipped(), game)),
        Model::new("generic", brighter(&shipped(), generic)),
    ])
}

fn request(world: &World, low: &Segment, high: &Segment) -> CompareRequest {
    CompareRequest {
        init: low.init.clone(),
        segment: low.bytes.clone(),
        high_init: high.init.clone(),
        high_segment: high.bytes.clone(),
        cluster: "game".into(),
        scale: 2,
        digest: world.digest("game"),
        tiers: vec![Tier::Small],
        frames: 6,
        cancel: CancelFlag::default(),
    }
}

fn submit(world: &World, request: CompareRequest) -> Receiver<Compared> {
    let (sender, receiver) = channel();
    world.enhancer.compare(request, Box::new(move |result| drop(sender.send(result))));
    receiver
}

fn compare(world: &World, request: CompareRequest) -> Compared {
    submit(world, request).recv_timeout(Duration::from_secs(120)).expect("a reply")
}

fn only(comparison: &Comparison) -> &TierComparison {
    assert_eq!(comparison.tiers.len(), 1);
    &comparison.tiers[0]
}

#[test]
fn the_better_network_wins_and_both_beat_the_plain_scaler() {
    let (low, high) = (LOW.make(), HIGH.make());
    // Two code values too bright: 42 dB at best, and a loss against one that is not.
    let found = compare(&world(0.0, 2.0), request(&world(0.0, 2.0), &low, &high)).unwrap();
    let tier = only(&found);
    assert_eq!((found.frames, tier.tier), (6, Tier::Small));
    assert!((20.0..45.0).contains(&found.plain_db), "{found:?}");
    assert!(
        tier.own_db > found.plain_db + 0.1,
        "the shipped network is better than the plain scaler: {found:?}"
    );
    assert!(tier.own_db > tier.generic_db.unwrap() + 0.05, "{found:?}");

    // The same the other way round.
    let turned = world(2.0, 0.0);
    let found = compare(&turned, request(&turned, &low, &high)).unwrap();
    assert!(only(&found).own_db + 0.05 < only(&found).generic_db.unwrap(), "{found:?}");

    // More pictures, other container, other clock: about the same.
    let fmp4 = |recipe: Recipe| Recipe { fmp4: true, ..recipe }.make();
    let all = CompareRequest { frames: 500, ..request(&turned, &fmp4(LOW), &fmp4(HIGH)) };
    let all = compare(&turned, all).unwrap();
    assert_eq!(all.frames, 50);
    assert!((all.plain_db - found.plain_db).abs() < 2.0, "{all:?} {found:?}");

    // Without a generic model there is the plain scaler to beat.
    let alone = World::new(&[Model::new("game", shipped())]);
    let found = compare(&alone, request(&alone, &low, &high)).unwrap();
    assert_eq!(only(&found).generic_db, None);
    assert!(only(&found).own_db > found.plain_db, "{found:?}");
}

#[test]
fn what_is_not_the_same_video_is_refused() {
    let world = world(1.0, 0.0);
    let (low, high) = (LOW.make(), HIGH.make());
    let of = |high: &Segment| request(&world, &low, high);
    let made = |recipe: Recipe| of(&recipe.make());
    let junk = Segment { init: None, bytes: Bytes::from_static(b"<html>404</html>") };
    let grey = |recipe: Recipe| Recipe { content: Content::Grey, ..recipe }.make();
    let cancelled = CancelFlag::default();
    cancelled.cancel();
    for (request, label) in [
        (made(Recipe { ahead: 1, ..HIGH }), "offset"),
        (made(Recipe { content: Content::Other, ..HIGH }), "unlike"),
        (made(Recipe { height: 270, ..HIGH }), "size"),
        (made(Recipe { rate: 30, ..HIGH }), "times"),
        (request(&world, &grey(LOW), &grey(HIGH)), "flat"),
        (of(&junk), "unreadable"),
        (request(&world, &junk, &high), "unreadable"),
        (CompareRequest { digest: "00000000".into(), ..of(&high) }, "no_model"),
        (CompareRequest { tiers: vec![Tier::Medium], ..of(&high) }, "no_model"),
        (CompareRequest { tiers: Vec::new(), ..of(&high) }, "no_model"),
        (CompareRequest { cancel: cancelled, ..of(&high) }, "cancelled"),
    ] {
        let found = compare(&world, request);
        assert_eq!(found.as_ref().map_err(CompareError::label).err(), Some(label), "{found:?}");
        assert!(CompareError::LABELS.contains(&label));
    }
    assert!(compare(&world, of(&high)).is_ok(), "and the lane goes on");
}

#[test]
fn segments_go_before_a_comparison_and_it_is_finished_after_them() {
    let world = world(1.0, 0.0);
    let (low, high) = (LOW.make(), HIGH.make());
    let long = CompareRequest { frames: 50, ..request(&world, &low, &high) };
    let comparison = submit(&world, long.clone());
    let digest = world.digest("game");
    let mut between = 0;
    for _ in 0..3 {
        assert_eq!(world.make("game", &digest).how(), ("game-x2-s", None));
        between += usize::from(comparison.try_recv().is_err_and(|why| why == TryRecvError::Empty));
    }
    assert!(between > 0, "the comparison was over before the segments");
    let found = comparison.recv_timeout(Duration::from_secs(120)).unwrap().unwrap();
    assert_eq!(found.frames, 50);
    assert_eq!(found, compare(&world, long).unwrap(), "interruptions change nothing");
}

#[test]
fn one_comparison_at_a_time_and_none_after_the_end() {
    let world = world(1.0, 0.0);
    let (low, high) = (LOW.make(), HIGH.make());
    let long = CompareRequest { frames: 50, ..request(&world, &low, &high) };
    let replies: Vec<_> = (0..4).map(|_| submit(&world, long.clone())).collect();
    let results: Vec<_> =
        replies.into_iter().map(|reply| reply.recv_timeout(Duration::from_secs(120)).unwrap()).collect();
    assert!(results.iter().any(Result::is_ok));
    assert!(results.iter().any(|result| matches!(result, Err(CompareError::Busy))), "{results:?}");
    world.enhancer.shutdown();
    assert!(matches!(compare(&world, long), Err(CompareError::ShuttingDown)));
}

#[test]
fn a_withdrawn_model_stays_out_until_it_is_another() {
    let generic = || Model::new("generic", shipped());
    let game = |by: f32| Model::new("game", brighter(&shipped(), by));
    let world = World::with(&[game(6.0), generic()], 1, Keeping::default());
    let own = world.digest("game");
    assert_eq!(world.make("game", &own).how(), ("game-x2-s", None));
    assert!(!world.enhancer.withdraw("game", 2, "00000000", Tier::Small, HOUR));
    assert!(!world.enhancer.withdraw("game", 2, &own, Tier::Medium, HOUR));
    assert!(world.enhancer.withdraw("game", 2, &own, Tier::Small, HOUR));
    assert_eq!(world.offered(), [format!("generic-{}", world.digest("generic"))]);
    assert_eq!(world.make("game", &own).how(), ("generic-x2-s", Some("model_missing")));
    assert!(world.enhancer.model_file(&game(6.0).sha256).is_none());

    world.install(&[game(6.0), generic()]);
    assert_eq!(world.offered().len(), 1, "the same again, too soon");
    assert_eq!(world.make("game", &own).how(), ("generic-x2-s", Some("model_missing")));

    world.install(&[game(0.5), generic()]);
    let other = world.digest("game");
    assert_eq!(world.make("game", &other).how(), ("game-x2-s", None));
    assert_eq!(world.make("game", &own).how(), ("generic-x2-s", Some("model_missing")), "never the new one");

    // With its time over, a new catalogue brings it back, and nothing else does.
    assert!(world.enhancer.withdraw("game", 2, &other, Tier::Small, Duration::ZERO));
    assert_eq!(world.make("game", &other).how(), ("generic-x2-s", Some("model_missing")));
    world.install(&[game(0.5), generic()]);
    assert_eq!(world.make("game", &other).how(), ("game-x2-s", None));
}

#[test]
fn one_tier_is_withdrawn_and_the_other_goes_on() {
    let medium = Model { id: "game-x2-m".into(), tier: "m", ..Model::new("game", brighter(&shipped(), 9.0)) };
    let world = World::new(&[Model::new("game", shipped()), medium, Model::new("generic", shipped())]);
    let own = world.digest("game");
    assert_eq!(world.make("game", &own).how(), ("game-x2-m", None));
    // The generic set has no medium tier: its small one is what would be used.
    let both = CompareRequest {
        tiers: vec![Tier::Medium, Tier::Small],
        ..request(&world, &LOW.make(), &HIGH.make())
    };
    let found = compare(&world, both).unwrap();
    let [medium, small] = found.tiers.as_slice() else { panic!("{found:?}") };
    assert_eq!((medium.tier, small.tier), (Tier::Medium, Tier::Small));
    assert_eq!(medium.generic_db, small.generic_db);
    assert!(medium.own_db < small.own_db && small.generic_db == Some(small.own_db), "{found:?}");
    assert!(world.enhancer.withdraw("game", 2, &own, Tier::Medium, HOUR));
    assert_eq!(world.make("game", &own).how(), ("game-x2-s", None));
    assert_eq!(world.offered().len(), 2, "the set is still one");
}

/// A ladder that others made, with the networks that ship.
#[test]
fn a_real_ladder() {
    let folder = kit::root().join("../shared/data/hls/ocean");
    if !folder.is_dir() {
        return eprintln!("skipped: no real media at {}", folder.display());
    }
    let read = |name: &str| Segment { init: None, bytes: std::fs::read(folder.join(name)).unwrap().into() };
    let world = world(3.0, 0.0);
    for index in [0, 9, 18] {
        let name = |height: u32, index: u32| read(&format!("{height}p/seg_{index:03}.ts"));
        let (low, high) = (name(360, index), name(720, index));
        let found = compare(&world, CompareRequest { frames: 12, ..request(&world, &low, &high) }).unwrap();
        eprintln!("segment {index}: {found:?}");
        let generic_db = only(&found).generic_db.unwrap();
        assert!(generic_db > found.plain_db, "the shipped network beats the plain scaler: {found:?}");
        assert!(only(&found).own_db < generic_db, "the same, three code values too bright: {found:?}");
        // The next one is of another time.
        let next = name(720, index + 1);
        let error = compare(&world, request(&world, &low, &next)).unwrap_err();
        assert_eq!(error.label(), "times");
    }
}
