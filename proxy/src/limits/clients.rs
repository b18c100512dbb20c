//! What each client has in hand: a table that is bounded, whoever comes.
//!
//! The table forgets whom it has not seen for long, and under a flood of addresses it keeps those that come often (TinyLFU): an address that
//! came once is no client worth a limit, and one that comes again and again is remembered. What a forgotten client has in hand stays counted where it is
//! held; only its next request begins a new account.

use std::num::NonZeroU32;
use std::ops::Deref;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use acuity_config::{ClientLimits, LimitsConfig};
use arc_swap::{ArcSwap, ArcSwapOption, Guard};
use governor::clock::{Clock as _, DefaultClock};
use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use moka::sync::Cache;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::address::ClientKey;
use super::{Instruments, Limit};

/// Whom nobody has seen for so long has a full bucket again in any case.
const FORGOTTEN_AFTER: Duration = Duration::from_secs(600);

/// How long a client's next segment waits for its others before it is passed through. A part of what players wait for a first byte (hls.js:
/// 10 s), so that the origin's own still comes in time.
const PATIENCE: Duration = Duration::from_secs(4);

/// All clients.
pub struct Clients {
    now: ArcSwap<Terms>,
    clock: DefaultClock,
    instruments: Instruments,
}

/// The limits that are in force, and what follows from them.
struct Terms {
    known: Option<Cache<ClientKey, Arc<Account>>>,
    limits: LimitsConfig,
    all: Option<Arc<DefaultDirectRateLimiter>>,
}

/// What one client has in hand. It is counted whatever the limits are by now.
#[derive(Default)]
struct Account {
    rate: ArcSwapOption<Bucket>,
    requests: AtomicUsize,
    connections: AtomicUsize,
    enhancements: AtomicUsize,
    /// Told when an enhancement has ended.
    ended: Notify,
}

/// One client's bucket, for limits of this size.
struct Bucket {
    per_second: u32,
    burst: u32,
    bucket: DefaultDirectRateLimiter,
}

/// One client, for one request; nobody in particular where there are no limits on clients. Clones are of the same request.
#[derive(Clone, Default)]
pub struct Client(Option<Known>);

#[derive(Clone)]
struct Known {
    account: Arc<Account>,
    /// Enhancements that it may have in hand; 0: any number.
    enhancements: usize,
    /// Of this request.
    met: Arc<OnceLock<Limit>>,
    instruments: Instruments,
}

/// A limit that a request met.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Met {
    /// Which.
    pub limit: Limit,
    /// When it is worth trying again.
    pub retry_after: Duration,
}

/// One of what a client may have several of; given back when dropped.
pub struct Held {
    account: Option<Arc<Account>>,
    of: fn(&Account) -> &AtomicUsize,
}

/// A client's leave to cause work. Given back when the last clone is dropped.
#[derive(Clone, Default)]
pub struct Slot {
    _held: Option<Arc<Enhancement>>,
}

/// One enhancement in hand.
struct Enhancement(Arc<Account>);

impl Clients {
    /// Nobody yet.
    #[must_use]
    pub fn new(config: &LimitsConfig, instruments: Instruments) -> Self {
        let now = ArcSwap::from_pointee(Terms::new(config, None));
        Self { now, clock: DefaultClock::default(), instruments }
    }

    /// Other limits are in force from now on. What each client has in hand stays counted; a rate that has changed begins with a full bucket.
    pub fn take(&self, config: &LimitsConfig) {
        let before = self.now.load();
        if before.limits != *config {
            self.now.store(Arc::new(Terms::new(config, Some(&before))));
        }
    }

    /// The limits that are in force.
    #[must_use]
    pub fn limits(&self) -> impl Deref<Target = LimitsConfig> {
        Limits(self.now.load())
    }

    /// What counts limits.
    #[must_use]
    pub fn instruments(&self) -> &Instruments {
        &self.instruments
    }

    /// The client of this key.
    #[must_use]
    pub fn client(&self, key: ClientKey) -> Client {
        let now = self.now.load();
        let known = now.known.as_ref().map(|known| Known {
            account: known.get_with(key, Arc::default),
            enhancements: now.limits.client.enhancements,
            met: Arc::default(),
            instruments: self.instruments.clone(),
        });
        Client(known)
    }

    /// A request begins.
    ///
    /// # Errors
    /// The limit it meets, counted.
    pub fn request(&self, client: &Client) -> Result<Held, Met> {
        // A client's own limits first: what it has too much of is no part of what all have.
        let now = self.now.load();
        let result =
            self.of_client(&now.limits.client, client).and_then(|held| match self.wait(now.all.as_deref()) {
                Some(retry_after) => Err(Met { limit: Limit::Rate, retry_after }),
                None => Ok(held),
            });
        result.inspect_err(|met| self.instruments.met(met.limit))
    }

    fn of_client(&self, limits: &ClientLimits, client: &Client) -> Result<Held, Met> {
        let account = client.0.as_ref().map(|known| &known.account);
        let bucket = account.and_then(|account| account.bucket(limits));
        if let Some(retry_after) = self.wait(bucket.as_deref().map(|bucket| &bucket.bucket)) {
            return Err(Met { limit: Limit::ClientRate, retry_after });
        }
        let over = Met { limit: Limit::ClientRequests, retry_after: Duration::from_secs(1) };
        Held::take(account, |account| &account.requests, limits.requests).ok_or(over)
    }

    /// How long until the bucket gives a token; `None`: it has given one.
    fn wait(&self, bucket: Option<&DefaultDirectRateLimiter>) -> Option<Duration> {
        bucket?.check().err().map(|not_until| not_until.wait_time_from(self.clock.now()))
    }

    /// A connection begins; `None`: it is one too many, which is for the caller to count.
    #[must_use]
    pub fn connection(&self, client: &Client) -> Option<Held> {
        let account = client.0.as_ref().map(|known| &known.account);
        let most = self.now.load().limits.client.connections;
        Held::take(account, |account| &account.connections, most)
    }
}

impl Terms {
    fn new(config: &LimitsConfig, before: Option<&Self>) -> Self {
        let (limits, rate) = (&config.client, config.requests_per_second);
        let any = limits.requests_per_second > 0
            || limits.requests > 0
            || limits.connections > 0
            || limits.enhancements > 0;
        let same = before.and_then(|before| {
            before.known.as_ref().filter(|_| before.limits.client.entries == limits.entries)
        });
        let known = any.then(|| {
            same.cloned().unwrap_or_else(|| {
                let known =
                    Cache::builder().max_capacity(limits.entries).time_to_idle(FORGOTTEN_AFTER).build();
                // A table of another size, with those who are in the old one.
                for (key, account) in before.and_then(|before| before.known.as_ref()).into_iter().flatten() {
                    known.insert(*key, account);
                }
                known
            })
        });
        let all = match before.filter(|before| before.limits.requests_per_second == rate) {
            Some(before) => before.all.clone(),
            None => bucket(rate, rate).map(Arc::new),
        };
        Self { known, limits: config.clone(), all }
    }
}

impl Account {
    /// The bucket for these limits, if they bound the rate.
    fn bucket(&self, limits: &ClientLimits) -> Option<Arc<Bucket>> {
        let (per_second, burst) = (limits.requests_per_second, limits.burst);
        let same = |known: &Arc<Bucket>| (known.per_second, known.burst) == (per_second, burst);
        if per_second == 0 {
            return None;
        }
        if let Some(known) = self.rate.load_full().filter(same) {
            return Some(known);
        }
        let new = Arc::new(Bucket { per_second, burst, bucket: bucket(per_second, burst)? });
        // Two who come at once each make one, and the last counts: one request more than meant.
        self.rate.store(Some(Arc::clone(&new)));
        Some(new)
    }

    /// One enhancement more, unless there are `most`.
    fn enhance(self: &Arc<Self>, most: usize) -> Option<Slot> {
        let more = |now: usize| (now < most).then_some(now + 1);
        self.enhancements.fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        Some(Slot { _held: Some(Arc::new(Enhancement(Arc::clone(self)))) })
    }

    async fn until_one_ends(self: &Arc<Self>, most: usize) -> Slot {
        loop {
            let ended = self.ended.notified();
            tokio::pin!(ended);
            // Before the look: who ends between the two is not missed.
            ended.as_mut().enable();
            if let Some(slot) = self.enhance(most) {
                return slot;
            }
            ended.await;
        }
    }
}

impl Drop for Enhancement {
    fn drop(&mut self) {
        self.0.enhancements.fetch_sub(1, Ordering::AcqRel);
        self.0.ended.notify_one();
    }
}

/// The limits of the terms that were in force when they were looked at.
struct Limits(Guard<Arc<Terms>>);

impl Deref for Limits {
    type Target = LimitsConfig;

    fn deref(&self) -> &LimitsConfig {
        &self.0.limits
    }
}

fn bucket(per_second: u32, burst: u32) -> Option<DefaultDirectRateLimiter> {
    let (per_second, burst) = (NonZeroU32::new(per_second)?, NonZeroU32::new(burst)?);
    Some(RateLimiter::direct(Quota::per_second(per_second).allow_burst(burst)))
}

impl Client {
    /// Leave to have a segment made. A client that has as much in hand as it may waits for its own others, not for long.
    ///
    /// # Errors
    /// Its others take longer; counted.
    pub async fn slot(&self) -> Result<Slot, Limit> {
        let Some(known) = self.limited() else { return Ok(Slot::default()) };
        let one_ends = known.account.until_one_ends(known.enhancements);
        timeout(PATIENCE, one_ends).await.map_err(|_| known.met())
    }

    /// The same leave, now or not; not counted.
    #[must_use]
    pub fn slot_now(&self) -> Option<Slot> {
        let Some(known) = self.limited() else { return Some(Slot::default()) };
        known.account.enhance(known.enhancements)
    }

    /// Something was not done because it has as much in hand as it may.
    pub fn met_enhancements(&self) {
        if let Some(known) = self.limited() {
            known.met();
        }
    }

    /// The limit on work that this request met, if it did.
    #[must_use]
    pub fn met(&self) -> Option<Limit> {
        self.0.as_ref()?.met.get().copied()
    }

    fn limited(&self) -> Option<&Known> {
        self.0.as_ref().filter(|known| known.enhancements > 0)
    }
}

impl std::fmt::Debug for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self.0.is_some() { "Client(known)" } else { "Client" })
    }
}

impl Known {
    fn met(&self) -> Limit {
        self.instruments.met(Limit::ClientEnhancements);
        *self.met.get_or_init(|| Limit::ClientEnhancements)
    }
}

impl std::fmt::Debug for Slot {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(if self._held.is_some() { "Slot(held)" } else { "Slot" })
    }
}

impl Held {
    /// One more, unless there are `most` (0: any number).
    fn take(account: Option<&Arc<Account>>, of: fn(&Account) -> &AtomicUsize, most: usize) -> Option<Self> {
        let account = account.filter(|_| most > 0).cloned();
        if let Some(account) = &account {
            let more = |now: usize| (now < most).then_some(now + 1);
            of(account).fetch_update(Ordering::AcqRel, Ordering::Acquire, more).ok()?;
        }
        Some(Self { account, of })
    }
}

impl Drop for Held {
    fn drop(&mut self) {
        if let Some(account) = &self.account {
            (self.of)(account).fetch_sub(1, Ordering::AcqRel);
        }
    }
}

#[cfg(test)]
#[path = "clients_tests.rs"]
mod tests;
