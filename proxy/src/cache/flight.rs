//! Single-flight: however many ask for one thing at one time, it is made once.
//!
//! The work runs in a task of its own, detached from whoever asked first: a client that leaves neither stops it nor
//! stalls those who wait (a future that only its first waiter polls would do both). Results are handed to everybody
//! who waited and then forgotten; keeping them is the caches' business.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::future::Future;
use std::hash::Hash;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use opentelemetry::trace::FutureExt as _;
use tokio::sync::{Notify, watch};

/// Things being made, by key. Clones share them.
pub struct Flights<K, V> {
    running: Arc<Mutex<HashMap<K, Flight<V>>>>,
    limit: usize,
}

impl<K, V> Clone for Flights<K, V> {
    fn clone(&self) -> Self {
        Self { running: Arc::clone(&self.running), limit: self.limit }
    }
}

struct Flight<V> {
    result: watch::Receiver<Option<V>>,
    urgency: Urgency,
}

/// Whether anybody waits for the work, as opposed to it being done ahead of requests. It starts as its starter says and
/// only ever rises.
#[derive(Clone, Default)]
pub struct Urgency(Arc<UrgencyState>);

#[derive(Default)]
struct UrgencyState {
    waited_for: AtomicBool,
    raised: Notify,
}

impl Urgency {
    /// Whether somebody waits.
    #[must_use]
    pub fn is_waited_for(&self) -> bool {
        self.0.waited_for.load(Ordering::Acquire)
    }

    /// Returns once somebody waits.
    pub async fn waited_for(&self) {
        loop {
            let raised = self.0.raised.notified();
            if self.is_waited_for() {
                return;
            }
            raised.await;
        }
    }

    fn raise(&self) {
        self.0.waited_for.store(true, Ordering::Release);
        self.0.raised.notify_waiters();
    }
}

/// Where work may put what can be given out before it ends.
#[derive(Debug, Clone)]
pub struct Early<V>(watch::Sender<Option<V>>);

impl<V> Early<V> {
    /// Whoever waits, or comes before the end, gets `value` if it is enough for him.
    pub fn show(&self, value: V) {
        self.0.send_replace(Some(value));
    }
}

/// Who the caller turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Role {
    /// The work was started for this caller.
    First,
    /// It was running already.
    Joined,
}

/// Why there is no result.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FlightError {
    /// As many different things as are allowed are being made.
    #[error("too many different objects are being made at once")]
    TooMany,
    /// The task ended without a result (it panicked, or the runtime is going down).
    #[error("the work was lost")]
    Lost,
}

impl<K, V> Flights<K, V>
where
    K: Hash + Eq + Clone + Send + 'static,
    V: Clone + Send + Sync + 'static,
{
    /// At most `limit` different things are made at one time.
    #[must_use]
    pub fn new(limit: usize) -> Self {
        Self { running: Arc::default(), limit }
    }

    /// Waits for a value of `key` that is `enough` (the result, or what the work shows before), starting `work` if it does not
    /// run yet.
    ///
    /// # Errors
    /// When too many things are being made, or the work was lost.
    pub async fn join<W, F>(
        &self,
        key: K,
        enough: impl Fn(&V) -> bool,
        work: W,
    ) -> Result<(V, Role), FlightError>
    where
        W: FnOnce(Urgency, Early<V>) -> F,
        F: Future<Output = V> + Send + 'static,
    {
        let (mut result, role) = self.enter(key, true, work)?;
        let value = result.wait_for(|value| value.as_ref().is_some_and(&enough)).await;
        let value = value.map_err(|_| FlightError::Lost)?;
        match &*value {
            Some(value) => Ok((value.clone(), role)),
            None => Err(FlightError::Lost),
        }
    }

    /// Starts `work` for `key` without waiting. `false` if it runs already or too much does.
    pub fn launch<W, F>(&self, key: K, work: W) -> bool
    where
        W: FnOnce(Urgency, Early<V>) -> F,
        F: Future<Output = V> + Send + 'static,
    {
        matches!(self.enter(key, false, work), Ok((_, Role::First)))
    }

    /// Whoever asks for `key` from now on gets something made anew. Those who wait already get what is being made.
    pub fn part_with(&self, key: &K) {
        lock(&self.running).remove(key);
    }

    /// As [`Self::part_with`], of everything that is being made.
    pub fn part_with_all(&self) {
        lock(&self.running).clear();
    }

    /// Whether `key` is being made.
    #[must_use]
    pub fn has(&self, key: &K) -> bool {
        lock(&self.running).contains_key(key)
    }

    /// Different things being made now.
    #[must_use]
    pub fn len(&self) -> usize {
        lock(&self.running).len()
    }

    /// Whether nothing is being made.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    fn enter<W, F>(
        &self,
        key: K,
        waits: bool,
        work: W,
    ) -> Result<(watch::Receiver<Option<V>>, Role), FlightError>
    where
        W: FnOnce(Urgency, Early<V>) -> F,
        F: Future<Output = V> + Send + 'static,
    {
        let (sender, result) = watch::channel(None);
        let urgency = Urgency::default();
        {
            let mut running = lock(&self.running);
            let full = running.len() >= self.limit;
            match running.entry(key.clone()) {
                Entry::Occupied(entry) => {
                    if waits {
                        entry.get().urgency.raise();
                    }
                    return Ok((entry.get().result.clone(), Role::Joined));
                }
                Entry::Vacant(_) if full => return Err(FlightError::TooMany),
                Entry::Vacant(entry) => {
                    entry.insert(Flight { result: result.clone(), urgency: urgency.clone() });
                }
            }
        }
        if waits {
            urgency.raise();
        }
        let landing = Landing { running: Arc::clone(&self.running), key, urgency: urgency.clone() };
        // On behalf of whoever asked first.
        let work = work(urgency, Early(sender.clone())).with_current_context();
        tokio::spawn(async move {
            let value = work.await;
            // Sent before the key is free: whoever comes in between gets this result, not a second flight.
            sender.send_replace(Some(value));
            drop(landing);
        });
        Ok((result, Role::First))
    }
}

/// Frees the key when the task ends, however it ends.
struct Landing<K: Hash + Eq, V> {
    running: Arc<Mutex<HashMap<K, Flight<V>>>>,
    key: K,
    /// Tells this flight from one that was started after it was parted with.
    urgency: Urgency,
}

impl<K: Hash + Eq, V> Drop for Landing<K, V> {
    fn drop(&mut self) {
        let mut running = lock(&self.running);
        let is_own = |flight: &Flight<V>| Arc::ptr_eq(&flight.urgency.0, &self.urgency.0);
        if running.get(&self.key).is_some_and(is_own) {
            running.remove(&self.key);
        }
    }
}

/// A panic while the map is held cannot leave it half changed, so poison means nothing.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use std::sync::atomic::AtomicUsize;
    use std::time::Duration;

    use tokio::sync::oneshot;

    use super::*;

    /// Work that counts its starts and ends when told.
    struct Bench {
        flights: Arc<Flights<&'static str, u32>>,
        started: Arc<AtomicUsize>,
    }

    impl Bench {
        fn new(limit: usize) -> Self {
            Self { flights: Arc::new(Flights::new(limit)), started: Arc::default() }
        }

        fn work(&self, ends: oneshot::Receiver<u32>) -> impl FnOnce(Urgency, Early<u32>) -> Work + use<> {
            let started = Arc::clone(&self.started);
            move |_, _| {
                started.fetch_add(1, Ordering::SeqCst);
                Box::pin(async move { ends.await.unwrap_or(0) })
            }
        }

        fn ask(
            &self,
            key: &'static str,
            ends: oneshot::Receiver<u32>,
        ) -> tokio::task::JoinHandle<Result<(u32, Role), FlightError>> {
            let flights = Arc::clone(&self.flights);
            let work = self.work(ends);
            tokio::spawn(async move { flights.join(key, any, work).await })
        }
    }

    type Work = std::pin::Pin<Box<dyn Future<Output = u32> + Send>>;

    fn any<V>(_: &V) -> bool {
        true
    }

    #[tokio::test]
    async fn what_is_shown_early_is_enough_for_some() {
        let flights: Flights<&str, u32> = Flights::new(8);
        let (end, ends) = oneshot::channel();
        let launched = flights.launch("a", |_, early| async move {
            early.show(1);
            ends.await.unwrap_or(0)
        });
        assert!(launched);
        let nothing = |_: Urgency, _: Early<u32>| async { 9 };
        assert_eq!(flights.join("a", any, nothing).await, Ok((1, Role::Joined)));
        let waiting = flights.clone();
        let waiting = tokio::spawn(async move { waiting.join("a", |value| *value > 1, nothing).await });
        tokio::task::yield_now().await;
        end.send(2).unwrap();
        assert_eq!(waiting.await.unwrap(), Ok((2, Role::Joined)));
    }

    fn never() -> oneshot::Receiver<u32> {
        oneshot::channel().1
    }

    #[tokio::test]
    async fn fifty_askers_cause_one_piece_of_work() {
        let bench = Bench::new(8);
        let (end, ends) = oneshot::channel();
        let first = bench.ask("a", ends);
        tokio::task::yield_now().await;
        let others: Vec<_> = (0..49).map(|_| bench.ask("a", never())).collect();
        tokio::task::yield_now().await;
        end.send(7).unwrap();
        assert_eq!(first.await.unwrap(), Ok((7, Role::First)));
        for other in others {
            assert_eq!(other.await.unwrap(), Ok((7, Role::Joined)));
        }
        assert_eq!(bench.started.load(Ordering::SeqCst), 1);
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(bench.flights.is_empty());
    }

    #[tokio::test]
    async fn the_work_outlives_the_client_that_asked_first() {
        let bench = Bench::new(8);
        let (end, ends) = oneshot::channel();
        let first = bench.ask("a", ends);
        tokio::task::yield_now().await;
        first.abort();
        assert!(first.await.unwrap_err().is_cancelled());
        let second = bench.ask("a", never());
        tokio::task::yield_now().await;
        end.send(7).unwrap();
        assert_eq!(second.await.unwrap(), Ok((7, Role::Joined)));
        assert_eq!(bench.started.load(Ordering::SeqCst), 1);
    }

    #[tokio::test]
    async fn what_is_parted_with_is_made_anew_and_ends_for_those_who_wait() {
        let bench = Bench::new(8);
        let ((end, ends), (end_new, ends_new)) = (oneshot::channel(), oneshot::channel());
        let old = bench.ask("a", ends);
        tokio::task::yield_now().await;
        bench.flights.part_with(&"a");
        let new = bench.ask("a", ends_new);
        tokio::task::yield_now().await;
        end.send(1).unwrap();
        assert_eq!(old.await.unwrap(), Ok((1, Role::First)));
        tokio::time::sleep(Duration::from_millis(1)).await;
        assert!(bench.flights.has(&"a"), "the end of the old one is not that of the new one");
        end_new.send(2).unwrap();
        assert_eq!(new.await.unwrap(), Ok((2, Role::First)));
    }

    #[tokio::test]
    async fn lost_work_is_an_answer_and_frees_its_key() {
        let flights: Flights<&str, u32> = Flights::new(8);
        let lost = flights.join("a", any, |_, _| async { panic!("a bug") }).await;
        assert_eq!(lost, Err(FlightError::Lost));
        assert_eq!(flights.join("a", any, |_, _| async { 3 }).await, Ok((3, Role::First)));
    }

    #[tokio::test]
    async fn a_limit_bounds_different_things_and_not_waiters() {
        let bench = Bench::new(1);
        let (end, ends) = oneshot::channel();
        let first = bench.ask("a", ends);
        tokio::task::yield_now().await;
        assert_eq!(bench.ask("b", never()).await.unwrap(), Err(FlightError::TooMany));
        let joined = bench.ask("a", never());
        tokio::task::yield_now().await;
        end.send(1).unwrap();
        assert!(first.await.unwrap().is_ok() && joined.await.unwrap().is_ok());
    }

    #[tokio::test]
    async fn work_done_ahead_becomes_urgent_when_somebody_waits() {
        let flights: Arc<Flights<&str, bool>> = Arc::new(Flights::new(8));
        let launched = flights.launch("a", |urgency, _| {
            let before = urgency.is_waited_for();
            async move {
                urgency.waited_for().await;
                !before && urgency.is_waited_for()
            }
        });
        assert!(launched);
        assert!(!flights.launch("a", |_, _| async { false }));
        let joined =
            tokio::time::timeout(Duration::from_secs(5), flights.join("a", any, |_, _| async { false }))
                .await;
        assert_eq!(joined.expect("raised"), Ok((true, Role::Joined)));
    }
}
