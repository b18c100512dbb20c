//! Who waits for what: what each of them said of its hurry, for the task that makes it.
//!
//! A flight is shared by whoever comes while it lasts, and who comes later may be in more of a hurry than who came first, or may be the
//! first to wait at all, where the flight was work ahead. The task learns of them here and tells the enhancer.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::time::Instant;

use opentelemetry::trace::SpanContext;
use tokio::sync::Notify;

use crate::cache::key::ObjectKey;
use crate::deadline::Hurry;

/// Those whose hurry is remembered, of one object. More come only where many share a stream, and these are like the others.
const ASKS_LIMIT: usize = 64;

/// One player's request.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Ask {
    pub(super) asked: Instant,
    pub(super) hurry: Hurry,
}

/// All who wait, by what they wait for. Clones share it.
#[derive(Clone, Default)]
pub(super) struct Waiting(Arc<Mutex<HashMap<ObjectKey, Weak<Asks>>>>);

#[derive(Default)]
struct Asks {
    asks: Mutex<(u32, Vec<Ask>)>,
    changed: Notify,
    /// The span that it is made in, where that is traced.
    flight: Mutex<Option<SpanContext>>,
}

/// A place among those who wait for an object or make it.
pub(super) struct Party {
    waiting: Waiting,
    key: ObjectKey,
    asks: Arc<Asks>,
}

/// What is changed under these locks is whole after each step.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Waiting {
    /// Joins those who make or await `key`.
    pub(super) fn party(&self, key: ObjectKey) -> Party {
        let mut book = lock(&self.0);
        let place = book.entry(key).or_default();
        let asks = place.upgrade().unwrap_or_default();
        *place = Arc::downgrade(&asks);
        drop(book);
        Party { waiting: self.clone(), key, asks }
    }
}

impl Party {
    /// A player asks.
    pub(super) fn ask(&self, ask: Ask) {
        let mut asks = lock(&self.asks.asks);
        asks.0 = asks.0.saturating_add(1);
        if asks.1.len() < ASKS_LIMIT {
            asks.1.push(ask);
        }
        drop(asks);
        self.asks.changed.notify_one();
    }

    /// It is made in this span.
    pub(super) fn is_made_in(&self, span: Option<SpanContext>) {
        *lock(&self.asks.flight) = span;
    }

    /// The span that it is made in, or was made in last.
    pub(super) fn flight(&self) -> Option<SpanContext> {
        lock(&self.asks.flight).clone()
    }

    /// Returns when somebody has asked since the last time, or before the first.
    pub(super) async fn changed(&self) {
        self.asks.changed.notified().await;
    }

    /// How many have asked, and what they said.
    pub(super) fn asks(&self) -> (u32, Vec<Ask>) {
        lock(&self.asks.asks).clone()
    }
}

impl Drop for Party {
    fn drop(&mut self) {
        let mut book = lock(&self.waiting.0);
        // This one is the last, and nobody can join while the book is locked.
        if Arc::strong_count(&self.asks) == 1 {
            book.remove(&self.key);
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Duration;

    use super::*;

    #[tokio::test]
    async fn who_makes_it_hears_of_who_waits() {
        let waiting = Waiting::default();
        let key = ObjectKey::new("", "http://o/", "token", "/1.ts");
        let maker = waiting.party(key);
        assert_eq!(maker.asks().0, 0);
        let viewer = waiting.party(key);
        viewer.ask(Ask { asked: Instant::now(), hurry: Hurry { urgent: true, ..Hurry::default() } });
        tokio::time::timeout(Duration::from_secs(5), maker.changed()).await.unwrap();
        let (count, asks) = maker.asks();
        assert!(count == 1 && asks.len() == 1 && asks[0].hurry.urgent);
        drop((viewer, maker));
        assert!(lock(&waiting.0).is_empty(), "nothing is left behind");
    }
}
