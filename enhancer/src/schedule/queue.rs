//! What waits for a lane, and in which order it is taken. Pure: time comes in as an argument.
//!
//! Viewers come before work ahead, earlier deadlines before later ones. A full queue lets go of work ahead
//! first: nobody misses it. A viewer's segment is only refused when viewers alone fill the queue.
//!
//! Earliest deadline first has one fault: where not all can be in time, one who is late already makes the next one late, and so
//! on. So who is late whatever is done stands back where going first would make another one late, and only a little: it never waits
//! much longer.

use std::time::{Duration, Instant};

use super::plan::in_time;
use crate::Priority;
use crate::demand::{Demand, Wish};

/// How far who is late stands back. It stalls in any case; two seconds more are not worth another one's stall, ten would be.
const STANDS_BACK: Duration = Duration::from_secs(2);

/// A deadline missed by less is kept: nobody's buffer is that small, and a forecast is no better.
const TOLERANCE_SECONDS: f64 = 0.05;

/// Who waits without a deadline is as patient as this, and no more: others with deadlines may come for ever.
const PATIENCE: Duration = Duration::from_secs(30);

/// Who wants an item, and what it takes.
#[derive(Debug, Clone)]
pub(crate) struct Standing {
    pub(crate) priority: Priority,
    pub(crate) deadline: Option<Instant>,
    pub(crate) demand: Demand,
    pub(crate) need: Need,
}

/// What a segment will take, as far as can be known before it is opened, in seconds.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Need {
    /// With the plain scaler: half of such segments take longer.
    pub(crate) likely_seconds: f64,
    /// With the plain scaler, with the confidence that a deadline needs.
    pub(crate) plain_seconds: f64,
    /// With the quickest tier, with the same confidence.
    pub(crate) quickest_seconds: f64,
}

impl Standing {
    /// What is wanted of it now.
    pub(crate) fn wish(&self) -> Wish {
        self.demand.wish(self.priority, self.deadline)
    }
}

/// What decides the order: smaller is sooner. The flag: others of its kind go before it; the number is that of arrival.
type Turn = (Priority, bool, Instant, u64);

/// A queued item with what decides its turn.
struct Waiting<T> {
    item: T,
    standing: Standing,
    since: Instant,
    /// Order of arrival, the last word among equals.
    ticket: u64,
}

impl<T> Waiting<T> {
    fn turn(&self, now: Instant) -> Turn {
        let wish = self.standing.wish();
        let (is_last, by) = match (wish.priority, wish.deadline) {
            (Priority::Viewer, None) => (false, self.since + PATIENCE),
            (Priority::Viewer, Some(by)) => (false, by),
            // Nobody has come for it although it should have been needed by now: others' work ahead is more likely to be.
            (Priority::Ahead, by) => (by.is_none_or(|by| by < now), by.unwrap_or(self.since)),
        };
        (wish.priority, is_last, by, self.ticket)
    }

    /// Seconds until it is late, and seconds of work.
    fn race(&self, now: Instant) -> (f64, f64) {
        let wish = self.standing.wish();
        let by = wish.deadline.filter(|_| wish.priority == Priority::Viewer);
        (
            by.map_or(f64::INFINITY, |by| seconds_until(by, now)) + TOLERANCE_SECONDS,
            self.standing.need.likely_seconds,
        )
    }

    /// Whether it is late even if it is the next.
    fn is_lost(&self, now: Instant) -> bool {
        let (left, work) = self.race(now);
        work > left
    }
}

/// A bounded queue.
pub(crate) struct Queue<T> {
    waiting: Vec<Waiting<T>>,
    limit: usize,
    lanes: usize,
    next_ticket: u64,
}

/// What became of an item that was offered.
#[derive(Debug)]
pub(crate) enum Offered<T> {
    /// It waits.
    Taken,
    /// It waits in the place of this one.
    Displaced(T),
    /// There is no room for it.
    Refused(T),
}

impl<T> Queue<T> {
    /// At most `limit` wait, for `lanes`.
    pub(crate) fn new(limit: usize, lanes: usize) -> Self {
        Self { waiting: Vec::new(), limit, lanes, next_ticket: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    pub(crate) fn offer(&mut self, item: T, standing: Standing, now: Instant) -> Offered<T> {
        let mut displaced = None;
        if self.waiting.len() >= self.limit {
            // The youngest work ahead goes: it is furthest from being asked for.
            let victim = match standing.wish().priority {
                Priority::Ahead => None,
                Priority::Viewer => self
                    .waiting
                    .iter()
                    .enumerate()
                    .filter(|(_, waiting)| waiting.standing.wish().priority == Priority::Ahead)
                    .max_by_key(|(_, waiting)| waiting.ticket)
                    .map(|(place, _)| place),
            };
            match victim {
                Some(place) => displaced = Some(self.waiting.swap_remove(place).item),
                None => return Offered::Refused(item),
            }
        }
        let ticket = self.next_ticket;
        self.next_ticket += 1;
        self.waiting.push(Waiting { item, standing, since: now, ticket });
        displaced.map_or(Offered::Taken, Offered::Displaced)
    }

    /// The places of all that waits, in the order of their turns.
    fn order(&self, now: Instant) -> Vec<usize> {
        let is_lost = |place: usize| self.waiting.get(place).is_some_and(|waiting| waiting.is_lost(now));
        let turns = self.waiting.iter().enumerate().map(|(place, waiting)| (waiting.turn(now), place));
        let (mut lost, mut turns): (Vec<_>, Vec<_>) = turns.partition(|(_, place)| is_lost(*place));
        turns.sort_unstable();
        lost.sort_unstable();
        for ((priority, is_last, by, ticket), place) in lost {
            let with = |by| {
                let mut with = turns.clone();
                with.push(((priority, is_last, by, ticket), place));
                with.sort_unstable();
                with
            };
            let in_its_turn = with(by);
            turns = match self.in_time(&in_its_turn, now) < self.in_time(&turns, now) {
                true => with(by + STANDS_BACK),
                false => in_its_turn,
            };
        }
        turns.into_iter().map(|(_, place)| place).collect()
    }

    /// How many would be in time in this order.
    fn in_time(&self, turns: &[(Turn, usize)], now: Instant) -> usize {
        let in_order = turns.iter().filter_map(|(_, place)| self.waiting.get(*place));
        let viewers = in_order.take_while(|waiting| waiting.standing.wish().priority == Priority::Viewer);
        let in_time = in_time(vec![0.0; self.lanes], viewers.map(|waiting| waiting.race(now)));
        in_time.into_iter().filter(|in_time| *in_time).count()
    }

    /// Viewers' segments that wait, in the order of their turns, `most` at most.
    pub(crate) fn viewers(&self, now: Instant, most: usize) -> Vec<&Standing> {
        let in_order = self.order(now).into_iter().filter_map(|place| self.waiting.get(place));
        in_order
            .map(|waiting| &waiting.standing)
            .take_while(|standing| standing.wish().priority == Priority::Viewer)
            .take(most)
            .collect()
    }

    /// All that waits, in the order of its turns: its place, since when, and who wants it.
    pub(crate) fn in_order(&self, now: Instant) -> impl Iterator<Item = (usize, Instant, &Standing)> {
        let in_order = self.order(now).into_iter();
        in_order.filter_map(|place| self.waiting.get(place).map(|it| (place, it.since, &it.standing)))
    }

    /// Lets go of what is in these places.
    pub(crate) fn remove(&mut self, mut places: Vec<usize>) -> Vec<T> {
        // From the end, so that the places before stay what they are.
        places.sort_unstable();
        let in_order = places.into_iter().rev().filter(|place| *place < self.waiting.len());
        let taken: Vec<usize> = in_order.collect();
        taken.into_iter().map(|place| self.waiting.swap_remove(place).item).collect()
    }

    /// The next to be worked on: the first, in their order, that `ready` has an answer for.
    pub(crate) fn take_ready<R>(
        &mut self,
        now: Instant,
        mut ready: impl FnMut(&T) -> Option<R>,
    ) -> Option<(T, Standing, R)> {
        let (place, answer) = self
            .order(now)
            .into_iter()
            .find_map(|place| Some((place, ready(&self.waiting.get(place)?.item)?)))?;
        let Waiting { item, standing, .. } = self.waiting.swap_remove(place);
        Some((item, standing, answer))
    }

    /// Everything that waits, for a queue that is closed.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|waiting| waiting.item).collect()
    }
}

/// Negative where it has passed.
pub(super) fn seconds_until(by: Instant, now: Instant) -> f64 {
    by.checked_duration_since(now)
        .map_or_else(|| -now.saturating_duration_since(by).as_secs_f64(), |left| left.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Haste;

    fn standing(priority: Priority, deadline: Option<Instant>) -> Standing {
        let need = Need { likely_seconds: 0.1, plain_seconds: 0.12, quickest_seconds: 0.3 };
        Standing { priority, deadline, demand: Demand::default(), need }
    }

    fn order(queue: &mut Queue<&'static str>, now: Instant) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.take_ready(now, |_| Some(()))).map(|(item, ..)| item).collect()
    }

    #[test]
    fn viewers_first_then_deadlines_then_arrival() {
        let now = Instant::now();
        let at = |ms: u64| Some(now + Duration::from_millis(ms));
        let mut queue = Queue::new(10, 1);
        for (item, priority, deadline) in [
            ("improvement", Priority::Ahead, None),
            ("ahead", Priority::Ahead, at(200)),
            ("late viewer", Priority::Viewer, at(900)),
            ("patient viewer", Priority::Viewer, None),
            ("hasty viewer", Priority::Viewer, at(200)),
            ("hasty viewer 2", Priority::Viewer, at(200)),
        ] {
            assert!(matches!(queue.offer(item, standing(priority, deadline), now), Offered::Taken));
        }
        assert_eq!(queue.viewers(now, 9).len(), 4);
        assert_eq!(queue.viewers(now, 2).len(), 2);
        let expected =
            ["hasty viewer", "hasty viewer 2", "late viewer", "patient viewer", "ahead", "improvement"];
        assert_eq!(order(&mut queue, now), expected);
    }

    #[test]
    fn who_is_late_in_any_case_stands_back_where_that_saves_another() {
        let now = Instant::now();
        let at = |ms: u64| Some(now + Duration::from_millis(ms));
        for (saved, expected) in [
            (100, ["can be saved", "lost", "has time"]),
            // There is time for both, so nothing is won by letting it wait.
            (200, ["lost", "can be saved", "has time"]),
        ] {
            let mut queue = Queue::new(10, 1);
            for (item, deadline) in [("lost", at(20)), ("can be saved", at(saved)), ("has time", at(5000))] {
                queue.offer(item, standing(Priority::Viewer, deadline), now);
            }
            assert_eq!(order(&mut queue, now), expected);
        }
    }

    #[test]
    fn nobody_waits_for_ever() {
        let start = Instant::now();
        let mut queue = Queue::new(10, 1);
        queue.offer("without a deadline", standing(Priority::Viewer, None), start);
        let now = start + PATIENCE;
        queue.offer("newcomer", standing(Priority::Viewer, Some(now + Duration::from_secs(5))), now);
        assert_eq!(order(&mut queue, now), ["without a deadline", "newcomer"]);
    }

    #[test]
    fn work_ahead_rises_when_a_viewer_comes_and_sinks_when_none_does() {
        let now = Instant::now();
        let at = |ms: u64| Some(now + Duration::from_millis(ms));
        let mut queue = Queue::new(10, 1);
        let raised = standing(Priority::Ahead, at(9000));
        queue.offer("raised", raised.clone(), now);
        queue.offer("viewer", standing(Priority::Viewer, at(5000)), now);
        queue.offer("not asked for", standing(Priority::Ahead, at(100)), now);
        queue.offer("ahead", standing(Priority::Ahead, at(4000)), now);
        raised.demand.raise(at(3000), Haste::Steady, 1);
        let later = now + Duration::from_secs(1);
        assert_eq!(order(&mut queue, later), ["raised", "viewer", "ahead", "not asked for"]);
    }

    #[test]
    fn who_is_not_ready_is_passed_over_and_keeps_the_turn() {
        let now = Instant::now();
        let mut queue = Queue::new(10, 1);
        for item in ["cold", "warm", "warm too"] {
            assert!(matches!(queue.offer(item, standing(Priority::Viewer, None), now), Offered::Taken));
        }
        let warm = |item: &&str| item.starts_with("warm").then_some(item.len());
        let mut take = |ready: &dyn Fn(&&'static str) -> Option<usize>| {
            queue.take_ready(now, ready).map(|(item, _, answer)| (item, answer))
        };
        assert_eq!(take(&warm), Some(("warm", 4)));
        assert_eq!(take(&|_| Some(0)), Some(("cold", 0)));
        assert_eq!(take(&|_| None), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_full_queue_lets_go_of_work_ahead_only() {
        let now = Instant::now();
        let mut queue = Queue::new(2, 1);
        let mut offer = |item, priority| queue.offer(item, standing(priority, None), now);
        assert!(matches!(offer("ahead 1", Priority::Ahead), Offered::Taken));
        assert!(matches!(offer("ahead 2", Priority::Ahead), Offered::Taken));
        assert!(matches!(offer("ahead 3", Priority::Ahead), Offered::Refused("ahead 3")));
        assert!(matches!(offer("viewer 1", Priority::Viewer), Offered::Displaced("ahead 2")));
        assert!(matches!(offer("viewer 2", Priority::Viewer), Offered::Displaced("ahead 1")));
        assert!(matches!(offer("viewer 3", Priority::Viewer), Offered::Refused("viewer 3")));
        assert_eq!(queue.drain().len(), 2);
        assert_eq!(queue.len(), 0);
    }
}
