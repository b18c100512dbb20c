//! What waits for a lane, and in which order it is taken. Pure: time comes in as an argument.
//!
//! Viewers come before work ahead, earlier deadlines before later ones. A full queue lets go of work ahead
//! first: nobody misses it. A viewer's segment is only refused when viewers alone fill the queue.

use std::time::Instant;

use crate::Priority;

/// A queued item with what decides its turn.
struct Waiting<T> {
    item: T,
    priority: Priority,
    deadline: Option<Instant>,
    /// Order of arrival, the last word among equals.
    ticket: u64,
}

/// A bounded queue.
pub(crate) struct Queue<T> {
    waiting: Vec<Waiting<T>>,
    limit: usize,
    next_ticket: u64,
}

/// What became of an item that was offered.
pub(crate) enum Offered<T> {
    /// It waits.
    Taken,
    /// It waits in the place of this one.
    Displaced(T),
    /// There is no room for it.
    Refused(T),
}

impl<T> Queue<T> {
    pub(crate) fn new(limit: usize) -> Self {
        Self { waiting: Vec::new(), limit, next_ticket: 0 }
    }

    pub(crate) fn len(&self) -> usize {
        self.waiting.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.limit
    }

    /// Viewers' segments that wait.
    pub(crate) fn viewers(&self) -> usize {
        self.waiting.iter().filter(|waiting| waiting.priority == Priority::Viewer).count()
    }

    pub(crate) fn offer(&mut self, item: T, priority: Priority, deadline: Option<Instant>) -> Offered<T> {
        let mut displaced = None;
        if self.waiting.len() >= self.limit {
            // The youngest work ahead goes: it is furthest from being asked for.
            let victim = match priority {
                Priority::Ahead => None,
                Priority::Viewer => self
                    .waiting
                    .iter()
                    .enumerate()
                    .filter(|(_, waiting)| waiting.priority == Priority::Ahead)
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
        self.waiting.push(Waiting { item, priority, deadline, ticket });
        displaced.map_or(Offered::Taken, Offered::Displaced)
    }

    /// The next to be worked on: the first, in their order, that `ready` has an answer for.
    pub(crate) fn take_ready<R>(&mut self, mut ready: impl FnMut(&T) -> Option<R>) -> Option<(T, R)> {
        let mut order: Vec<usize> = (0..self.waiting.len()).collect();
        order.sort_by_key(|&place| {
            self.waiting.get(place).map(|w| (w.priority, w.deadline.is_none(), w.deadline, w.ticket))
        });
        let (place, answer) =
            order.into_iter().find_map(|place| Some((place, ready(&self.waiting.get(place)?.item)?)))?;
        Some((self.waiting.swap_remove(place).item, answer))
    }

    /// Everything that waits, for a queue that is closed.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.waiting.drain(..).map(|waiting| waiting.item).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn viewers_first_then_deadlines_then_arrival() {
        let now = Instant::now();
        let at = |ms: u64| Some(now + Duration::from_millis(ms));
        let mut queue = Queue::new(10);
        for (item, priority, deadline) in [
            ("ahead", Priority::Ahead, at(1)),
            ("late viewer", Priority::Viewer, at(900)),
            ("patient viewer", Priority::Viewer, None),
            ("hasty viewer", Priority::Viewer, at(100)),
            ("hasty viewer 2", Priority::Viewer, at(100)),
        ] {
            assert!(matches!(queue.offer(item, priority, deadline), Offered::Taken));
        }
        assert_eq!(queue.viewers(), 4);
        let order: Vec<_> =
            std::iter::from_fn(|| queue.take_ready(|_| Some(()))).map(|(item, ())| item).collect();
        assert_eq!(order, ["hasty viewer", "hasty viewer 2", "late viewer", "patient viewer", "ahead"]);
    }

    #[test]
    fn who_is_not_ready_is_passed_over_and_keeps_the_turn() {
        let mut queue = Queue::new(10);
        for item in ["cold", "warm", "warm too"] {
            assert!(matches!(queue.offer(item, Priority::Viewer, None), Offered::Taken));
        }
        let warm = |item: &&str| item.starts_with("warm").then_some(item.len());
        assert_eq!(queue.take_ready(warm), Some(("warm", 4)));
        assert_eq!(queue.take_ready(|_| Some(0)), Some(("cold", 0)));
        assert_eq!(queue.take_ready(|_| None::<()>), None);
        assert_eq!(queue.len(), 1);
    }

    #[test]
    fn a_full_queue_lets_go_of_work_ahead_only() {
        let mut queue = Queue::new(2);
        assert!(matches!(queue.offer("ahead 1", Priority::Ahead, None), Offered::Taken));
        assert!(matches!(queue.offer("ahead 2", Priority::Ahead, None), Offered::Taken));
        assert!(matches!(queue.offer("ahead 3", Priority::Ahead, None), Offered::Refused("ahead 3")));
        assert!(matches!(queue.offer("viewer 1", Priority::Viewer, None), Offered::Displaced("ahead 2")));
        assert!(matches!(queue.offer("viewer 2", Priority::Viewer, None), Offered::Displaced("ahead 1")));
        assert!(matches!(queue.offer("viewer 3", Priority::Viewer, None), Offered::Refused("viewer 3")));
        assert_eq!(queue.drain().len(), 2);
        assert_eq!(queue.len(), 0);
    }
}
