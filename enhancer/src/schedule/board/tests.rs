//! Boards with a clock that is set by hand.
#![allow(clippy::unwrap_used)]

use super::*;
use crate::Demand;
use crate::schedule::Need;

struct World {
    board: Board<&'static str>,
    now: Instant,
}

impl World {
    fn new(lanes: usize) -> Self {
        Self { board: Board::new(lanes, 8, 0.0), now: Instant::now() }
    }

    fn offer(&mut self, name: &'static str, priority: Priority, left: f64) -> Demand {
        let (demand, need) =
            (Demand::default(), Need { likely_seconds: 1.0, plain_seconds: 1.0, quickest_seconds: 2.0 });
        let deadline = Some(self.now + Duration::from_secs_f64(left));
        let standing = Standing { priority, deadline, demand: demand.clone(), need };
        assert!(matches!(self.board.offer(name, standing, self.now), Offered::Taken));
        demand
    }

    /// Takes the next and gives it its verdict: tiers of 2 and 4 s, 1 s plainly.
    fn begin(&mut self, lane: usize) -> (CancelFlag, Verdict) {
        let stop = CancelFlag::default();
        self.board.take(lane, self.now, |_| Some(()), |_| stop.clone()).unwrap();
        (stop, self.decide(lane))
    }

    fn decide(&mut self, lane: usize) -> Verdict {
        let forecast = |seconds| Forecast { seconds, spread: 0.0, is_learned: true };
        let tiers = [2.0, 4.0].map(|seconds| Tier { forecast: forecast(seconds), at_hand: true });
        let facts = Facts { tiers: &tiers, plain: forecast(1.0), stopped: forecast(1.0), media_seconds: 8.0 };
        self.board.decide(lane, &facts, self.now)
    }
}

#[test]
fn a_viewer_that_comes_moves_the_limit_of_another() {
    let mut world = World::new(1);
    world.offer("first", Priority::Viewer, 5.0);
    let (_, first) = world.begin(0);
    assert_eq!(first.choice, Choice::Tier(1));
    world.offer("second", Priority::Viewer, 3.0);
    assert_eq!(first.limit.get(), Some(world.now + Duration::from_secs(2)), "one second before, plainly");
}

#[test]
fn work_ahead_makes_room_unless_somebody_has_come_for_it() {
    for comes in [false, true] {
        let mut world = World::new(1);
        let demand = world.offer("ahead", Priority::Ahead, 9.0);
        let (stop, _) = world.begin(0);
        if comes {
            demand.raise(Some(world.now + Duration::from_secs(5)), crate::Haste::Steady, 1);
        }
        world.offer("viewer", Priority::Viewer, 1.1);
        assert_eq!(stop.is_cancelled(), !comes);
        assert_eq!(world.board.finished(0, None, world.now).unwrap().dropped, !comes);
    }
}

#[test]
fn what_is_nearly_due_is_made_while_a_lane_rests() {
    let mut world = World::new(1);
    world.offer("patient", Priority::Viewer, 9.0);
    assert!(world.board.take_spare(world.now, |_| CancelFlag::default()).is_none(), "a lane is free");
    let (_, patient) = world.begin(0);
    world.offer("not yet due", Priority::Viewer, 8.0);
    assert!(world.board.take_spare(world.now, |_| CancelFlag::default()).is_none(), "it can wait");
    world.offer("due", Priority::Viewer, 1.5);
    assert_eq!(world.board.take_spare(world.now, |_| CancelFlag::default()), Some("due"));
    assert!(patient.limit.is_paused());
    assert_eq!(world.decide(1).choice, Choice::Plain);
    world.now += Duration::from_secs(1);
    let closing = world.board.finished(1, Some(true), world.now).unwrap();
    assert!(closing.late_seconds < 0.0 && !patient.limit.is_paused());
    assert!((patient.limit.rested_seconds(world.now) - 1.0).abs() < 1e-6);
}
