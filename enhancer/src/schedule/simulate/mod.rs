//! A machine, its players and their origins, with a clock that is stepped: the same [`Board`] and [`CostBook`] that the workers run,
//! and nothing of the outside. What a picture costs, how an origin jitters and when the machine slows is the simulation's secret; the
//! board learns of it as it does in life, from what ran.

mod load;
mod scenarios;

use std::time::{Duration, Instant};

use super::board::{Board, Facts};
use super::book::{CostBook, PLAIN};
use super::choose::{Choice, Tier, Why};
use super::cost::z_of;
use super::queue::{Need, Offered, Standing};
use crate::{CancelFlag, Demand, Haste, Priority};

/// How far the clock is stepped: about what a picture takes.
const STEP_SECONDS: f64 = 0.01;

const CONFIDENCE: f64 = 0.95;

/// A segment that will be wanted. Times are seconds from the start.
#[derive(Debug, Clone)]
struct Wanted {
    stream: u64,
    /// When the enhancer gets it: the origin has answered.
    arrives: f64,
    /// When a player asks for it, and by when it needs it; `None`: nobody ever does.
    asked: Option<(f64, f64)>,
    /// It is first made ahead, by then.
    ahead_by: Option<f64>,
    haste: Haste,
    audience: u32,
    media: f64,
    pictures: f64,
    picture_pixels: u64,
    /// What its content makes it cost, as a factor.
    content: f64,
}

/// What makes pictures, in seconds per output pixel.
#[derive(Debug, Clone)]
struct Machine {
    lanes: usize,
    plain: f64,
    tiers: Vec<f64>,
    /// From a time on everything takes so many times as long.
    slows: Vec<(f64, f64)>,
    /// What each further busy lane slows the others by, as a factor.
    crowd: f64,
}

/// How tiers are chosen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Policy {
    /// By the board.
    Board,
    /// Always plainly, in the board's order: what could be in time at all.
    Plain,
    /// By the board, and who asks has something else to give.
    OrElse,
}

/// What came of a segment.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
struct Outcome {
    finished: Option<f64>,
    /// Seconds past the player's deadline; negative: in time.
    late: Option<f64>,
    /// Pictures by each tier, as parts of the segment; what is missing to 1 is plain.
    tier: Option<usize>,
    by_network: f64,
    times_made: u32,
    dropped: u32,
    /// When it was refused for the sake of what can be in time.
    refused: Option<f64>,
    why: Option<Why>,
}

struct Running {
    id: usize,
    tier: Option<usize>,
    left: f64,
    began: f64,
    by_network: f64,
    network_seconds: f64,
    plain_per_picture: f64,
    limit: super::Limit,
    stop: CancelFlag,
    busy: usize,
}

struct World<'a> {
    machine: &'a Machine,
    policy: Policy,
    wanted: &'a [Wanted],
    board: Board<(usize, CancelFlag)>,
    book: CostBook,
    demands: Vec<Demand>,
    lanes: Vec<Option<Running>>,
    outcomes: Vec<Outcome>,
    /// Wanted by a viewer and neither made nor waiting.
    start: Instant,
    now: f64,
    busy_seconds: f64,
}

/// Runs everything; gives what came of each segment and how many lane seconds were worked.
fn run(machine: &Machine, wanted: &[Wanted], policy: Policy) -> (Vec<Outcome>, f64) {
    let mut book = CostBook::default();
    // Proof runs know the network alone, and that on a machine that is busy starting.
    book.introduce(PLAIN, machine.plain * 1.3);
    for (place, cost) in machine.tiers.iter().enumerate() {
        book.introduce(&place.to_string(), cost * 0.7);
    }
    let mut world = World {
        machine,
        policy,
        wanted,
        board: Board::new(machine.lanes, 512, z_of(CONFIDENCE)),
        book,
        demands: wanted
            .iter()
            .map(|w| Demand::new(w.stream, seconds(w.media), w.haste, w.audience))
            .map(|demand| if policy == Policy::OrElse { demand.or_else() } else { demand })
            .collect(),
        // The last is the spare one.
        lanes: (0..=machine.lanes).map(|_| None).collect(),
        outcomes: vec![Outcome::default(); wanted.len()],
        start: Instant::now(),
        now: 0.0,
        busy_seconds: 0.0,
    };
    world.run();
    (world.outcomes, world.busy_seconds)
}

fn seconds(seconds: f64) -> Option<Duration> {
    Duration::try_from_secs_f64(seconds).ok()
}

impl World<'_> {
    fn at(&self, time: f64) -> Instant {
        self.start + seconds(time.max(0.0)).unwrap_or_default()
    }

    fn run(&mut self) {
        let mut arrivals: Vec<(f64, usize, bool)> = Vec::new();
        for (id, wanted) in self.wanted.iter().enumerate() {
            arrivals.push((wanted.arrives, id, false));
            if let (Some((asked, _)), Some(_)) = (wanted.asked, wanted.ahead_by) {
                arrivals.push((asked.max(wanted.arrives), id, true));
            }
        }
        arrivals.sort_by(|a, b| a.0.total_cmp(&b.0));
        let mut next = 0;
        while next < arrivals.len() || self.board.len() > 0 || self.lanes.iter().any(Option::is_some) {
            while let Some((_, id, is_viewer)) =
                arrivals.get(next).copied().filter(|(at, ..)| *at <= self.now)
            {
                next += 1;
                if is_viewer { self.viewer_comes(id) } else { self.offer(id) }
            }
            for lane in 0..self.lanes.len() {
                self.work(lane);
            }
            for lane in 0..self.lanes.len() {
                if self.lanes[lane].is_none() {
                    self.take(lane);
                }
            }
            self.now += STEP_SECONDS;
        }
    }

    fn standing(&self, id: usize) -> Standing {
        let wanted = &self.wanted[id];
        let pixels = (wanted.pictures * wanted.picture_pixels as f64) as u64;
        let at = |what: &str, z: f64| {
            let forecast = self.book.forecast(what, wanted.picture_pixels, pixels, self.machine.lanes);
            forecast.map_or(0.0, |forecast| forecast.at(z))
        };
        let of = |what: &str| at(what, z_of(CONFIDENCE));
        let (priority, by) = match (wanted.ahead_by, wanted.asked) {
            (Some(by), asked) if asked.is_none_or(|(asked, _)| asked > self.now) => (Priority::Ahead, by),
            (_, Some((_, by))) => (Priority::Viewer, by),
            (by, None) => (Priority::Ahead, by.unwrap_or(self.now)),
        };
        let need = Need {
            likely_seconds: at(PLAIN, 0.0),
            plain_seconds: of(PLAIN),
            quickest_seconds: of("0").max(of(PLAIN)),
        };
        Standing { priority, deadline: Some(self.at(by)), demand: self.demands[id].clone(), need }
    }

    fn offer(&mut self, id: usize) {
        let standing = self.standing(id);
        match self.board.offer((id, CancelFlag::default()), standing, self.at(self.now)) {
            Offered::Taken => {}
            Offered::Displaced((other, _)) | Offered::Refused((other, _)) => {
                self.outcomes[other].dropped += 1
            }
        }
        self.shed();
    }

    fn shed(&mut self) {
        for (id, _) in self.board.shed(self.at(self.now)) {
            self.outcomes[id].refused = Some(self.now);
        }
    }

    /// A player asks for what is being made ahead, or was: it is there, becomes urgent, or is made now.
    fn viewer_comes(&mut self, id: usize) {
        let Some((_, by)) = self.wanted[id].asked else { return };
        let outcome = &mut self.outcomes[id];
        if outcome.finished.is_some() {
            outcome.late = Some(0.0_f64.min(self.now - by));
            return;
        }
        let by = self.at(by);
        self.demands[id].raise(Some(by), Haste::Steady, self.wanted[id].audience);
        if self.outcomes[id].dropped > 0 {
            self.demands[id] =
                Demand::new(self.wanted[id].stream, None, Haste::Steady, self.wanted[id].audience);
            self.offer(id);
        } else {
            self.board.reconsider(self.at(self.now));
        }
    }

    fn take(&mut self, lane: usize) {
        self.shed();
        let now = self.at(self.now);
        let is_spare = lane == self.machine.lanes;
        let taken = if is_spare {
            self.board.take_spare(now, |(_, stop)| stop.clone())
        } else {
            self.board.take(lane, now, |_| Some(()), |(_, stop)| stop.clone()).map(|(taken, ())| taken)
        };
        let Some((id, stop)) = taken else { return };
        let wanted = &self.wanted[id];
        let pixels = (wanted.pictures * wanted.picture_pixels as f64) as u64;
        let busy = self.board.busy();
        let of = |what: &str| self.book.forecast(what, wanted.picture_pixels, pixels, busy);
        let Some(plain) = of(PLAIN) else { return };
        let places = if self.policy == Policy::Plain || is_spare { 0 } else { self.machine.tiers.len() };
        let tiers: Vec<Tier> = (0..places)
            .filter_map(|place| Some(Tier { forecast: of(&place.to_string())?, at_hand: true }))
            .collect();
        let facts = Facts { tiers: &tiers, plain, stopped: plain, media_seconds: wanted.media };
        let verdict = self.board.decide(lane, &facts, now);
        if verdict.why == Why::Deadline {
            self.book.relax(&verdict.choice.next_better().to_string());
        }
        self.outcomes[id].why = Some(verdict.why);
        self.lanes[lane] = Some(Running {
            id,
            tier: match verdict.choice {
                Choice::Tier(place) => Some(place),
                Choice::Plain => None,
            },
            left: wanted.pictures,
            began: self.now,
            by_network: 0.0,
            network_seconds: 0.0,
            plain_per_picture: verdict.plain_seconds / wanted.pictures,
            limit: verdict.limit,
            stop,
            busy,
        });
    }

    /// One step of a lane.
    fn work(&mut self, lane: usize) {
        let busy = self.lanes.iter().flatten().filter(|running| !running.limit.is_paused()).count();
        let (now, at) = (self.now, self.at(self.now));
        let slow =
            self.machine.slows.iter().filter(|(from, _)| *from <= now).map(|(_, by)| by).product::<f64>();
        let Some(running) = self.lanes[lane].as_mut() else { return };
        let wanted = &self.wanted[running.id];
        if running.limit.is_paused() {
            return;
        }
        self.busy_seconds += STEP_SECONDS;
        if running.stop.is_cancelled() {
            let id = running.id;
            self.outcomes[id].dropped += 1;
            self.lanes[lane] = None;
            self.board.finished(lane, None, at);
            // Somebody came for it in the meantime: the proxy asks again.
            if wanted.asked.is_some_and(|(asked, _)| asked <= now) {
                self.demands[id] = Demand::new(wanted.stream, None, Haste::Steady, wanted.audience);
                self.offer(id);
            }
            return;
        }
        let rest = seconds(running.left * running.plain_per_picture).unwrap_or_default();
        let is_network = running.tier.is_some() && running.limit.get().is_none_or(|limit| at + rest < limit);
        let tier = running.tier.filter(|_| is_network && running.network_seconds >= 0.0);
        let stopped = running.tier.is_some() && tier.is_none();
        let per_pixel = tier.map_or(self.machine.plain, |place| self.machine.tiers[place]);
        let crowd = self.machine.crowd.powi(busy as i32 - 1);
        let per_picture = per_pixel * wanted.picture_pixels as f64 * wanted.content * crowd * slow;
        let pictures = (STEP_SECONDS / per_picture).min(running.left);
        running.left -= pictures;
        if tier.is_some() {
            running.by_network += pictures;
            running.network_seconds += STEP_SECONDS;
        }
        if stopped {
            // The network does not come back within a segment.
            if let Some(place) = running.tier.take().filter(|_| running.network_seconds > 0.0) {
                let by = running.by_network as u64;
                let (took, pixels, busy) = (running.network_seconds, wanted.picture_pixels, running.busy);
                self.book.learn(&place.to_string(), took, by, pixels, busy);
                self.outcomes[running.id].tier = Some(place);
            }
        }
        if running.left <= 0.0 {
            self.finish(lane);
        }
    }

    fn finish(&mut self, lane: usize) {
        let Some(running) = self.lanes[lane].take() else { return };
        let wanted = &self.wanted[running.id];
        let rested = running.limit.rested_seconds(self.at(self.now));
        let (took, all) = (self.now - running.began - rested + STEP_SECONDS, wanted.pictures as u64);
        match running.tier {
            Some(place) => {
                self.book.learn(&place.to_string(), took, all, wanted.picture_pixels, running.busy);
            }
            None if running.by_network <= 0.0 => {
                self.book.learn(PLAIN, took, all, wanted.picture_pixels, running.busy);
            }
            None => {}
        }
        let outcome = &mut self.outcomes[running.id];
        outcome.tier = running.tier.or(outcome.tier);
        outcome.by_network = running.by_network / wanted.pictures;
        outcome.finished = Some(self.now);
        outcome.times_made += 1;
        outcome.late = wanted.asked.filter(|(asked, _)| *asked <= self.now).map(|(_, by)| self.now - by);
        let plain = outcome.by_network <= 0.0;
        self.board.finished(lane, Some(plain), self.at(self.now));
    }
}
