//! What operators wanted forgotten, as long as anything in the depot could be meant.
//!
//! A purge removes nothing from the place, which may be a bucket with millions of objects: it is remembered with its time, and what was
//! made until then and is meant is not given out. The memory lies in the place itself, a small object for each purge, because it has to
//! last as long as what it means; it is read before the first segment is, and again every minute, for other nodes' purges.
//!
//! Whatever cannot be told (a record that cannot be read, more purges than are remembered) is taken as a purge of everything that was made
//! until then: forgetting too much is only slow.

use std::sync::{Arc, PoisonError, RwLock, RwLockWriteGuard};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _, stream};
use prometheus::IntGauge;
use serde::{Deserialize, Serialize};
use sha2::{Digest as _, Sha256};
use tokio::sync::OnceCell;
use tokio::time::{MissedTickBehavior, interval};

use super::Shared;
use super::format::SKEW;
use super::place::{Place, PlaceError};
use crate::cache::key::hex;
use crate::cache::purge::{Named, Order, Purge};

/// Purges that are remembered. Beyond them the oldest become one of everything that was made until then. The same thing purged again
/// takes no more room, so a timer does not come here.
const REMEMBERED: usize = 1024;
/// For how long at least. Longer than `max_age` needs, so that nodes that keep for longer, or this one when it is told to, know them too.
const REMEMBERED_FOR: Duration = Duration::from_secs(30 * 24 * 3600);
/// Records read at one time.
const READS_AT_ONCE: usize = 16;
/// Listings until one is read whole: records go while others write down what covers them, which may be newer than the listing.
const LISTINGS: usize = 5;
/// How often what could not be written is tried again.
const TRY_EVERY: Duration = Duration::from_secs(5);
/// Every so many tries, others' purges are looked for.
const TRIES_A_LISTING: u32 = 12;

/// As it is written down.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct Record {
    /// Milliseconds since 1970.
    at_ms: u64,
    order: Order,
}

#[derive(Debug, Clone)]
struct Entry {
    record: Record,
    name: String,
    /// Of this process' own: by the clock that nobody sets.
    noted: Option<Instant>,
    is_written: bool,
}

/// All of them.
pub(super) struct Purged {
    log: RwLock<Log>,
    read: OnceCell<()>,
    /// What other nodes' clocks may be ahead by.
    skew_ms: u64,
    kept_ms: u64,
    unwritten: IntGauge,
}

#[derive(Default)]
struct Log {
    /// Oldest first.
    entries: Vec<Entry>,
    /// Names of records that say nothing any more beside those that are there.
    needless: Vec<String>,
}

impl Record {
    /// Its time, so that a listing tells it, and a digest.
    fn name(&self, json: &[u8]) -> String {
        let digits = hex(&Sha256::digest(json));
        format!("{:016}-{}", self.at_ms, digits.get(..16).unwrap_or_default())
    }

    fn everything(at_ms: u64) -> Self {
        Self { at_ms, order: Order { site: None, purge: Purge::All } }
    }

    /// Whether `other` says nothing beside it.
    fn covers(&self, other: &Self) -> bool {
        let is_all = self.order == Self::everything(0).order;
        self.at_ms >= other.at_ms && (is_all || self.order == other.order)
    }

    fn json(&self) -> Vec<u8> {
        serde_json::to_vec(self).unwrap_or_default()
    }
}

impl Entry {
    fn new(record: Record, noted: Option<Instant>) -> Self {
        let name = record.name(&record.json());
        Self { record, name, noted, is_written: false }
    }

    fn found(record: Record, name: String) -> Self {
        Self { record, name, noted: None, is_written: true }
    }
}

/// When the record of this name was made.
fn time_of(name: &str) -> Option<u64> {
    let (time, digest) = name.split_once('-')?;
    let are = |text: &str, is: fn(&u8) -> bool| text.len() == 16 && text.as_bytes().iter().all(is);
    (are(time, u8::is_ascii_digit) && are(digest, u8::is_ascii_hexdigit)).then(|| time.parse().ok()).flatten()
}

impl Log {
    fn add(&mut self, entry: Entry) {
        if self.entries.iter().any(|known| known.record.covers(&entry.record) && known.name != entry.name) {
            self.needless.push(entry.name);
            return;
        }
        let is_covered = |known: &mut Entry| entry.record.covers(&known.record);
        let covered = self.entries.extract_if(.., is_covered).map(|known| known.name);
        self.needless.extend(covered.filter(|name| *name != entry.name));
        let at = self.entries.partition_point(|known| known.record.at_ms <= entry.record.at_ms);
        self.entries.insert(at, entry);
        if self.entries.len() > REMEMBERED
            && let Some(second) = self.entries.get(1)
        {
            let (at_ms, noted) = (second.record.at_ms, second.noted);
            self.add(Entry::new(Record::everything(at_ms), noted));
        }
    }

    fn pending(&self) -> impl Iterator<Item = &Entry> {
        self.entries.iter().filter(|entry| !entry.is_written)
    }
}

impl Purged {
    /// `is_shared`: other nodes, by other clocks, write to the place too.
    pub(super) fn new(is_shared: bool, max_age: Duration, unwritten: IntGauge) -> Self {
        Self {
            log: RwLock::default(),
            read: OnceCell::new(),
            skew_ms: if is_shared { millis(SKEW) } else { 0 },
            kept_ms: millis(max_age.max(REMEMBERED_FOR)),
            unwritten,
        }
    }

    /// A purge, from now on.
    pub(super) fn note(&self, order: &Order, now: SystemTime) {
        let record = Record { at_ms: since_1970(now), order: order.clone() };
        self.log().add(Entry::new(record, Some(Instant::now())));
        self.show();
    }

    /// Whether an object that was made then is meant by any.
    pub(super) fn means(&self, named: &Named, made_at_ms: u64, now: SystemTime) -> bool {
        // By whatever clock: it cannot be told whether that was before.
        let is_unlikely = made_at_ms > since_1970(now).saturating_add(millis(SKEW));
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let until = |record: &Record| record.at_ms.saturating_add(self.skew_ms);
        let mut later =
            log.entries.iter().filter(|Entry { record, .. }| is_unlikely || made_at_ms <= until(record));
        later.any(|Entry { record, .. }| record.order.matches(named))
    }

    /// Whether one of this process' own means an object that this process made then.
    pub(super) fn means_own(&self, named: &Named, made: Instant) -> bool {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        let mut later = log.entries.iter().filter(|entry| entry.noted.is_some_and(|noted| made <= noted));
        later.any(|entry| entry.record.order.matches(named))
    }

    /// Returns when all that the place remembers is known. Who comes first reads it, the others wait.
    pub(super) async fn known(&self, place: &Place) -> Result<(), PlaceError> {
        self.read.get_or_try_init(|| self.list(place)).await.map(drop)
    }

    /// Reads what is new in the place.
    async fn list(&self, place: &Place) -> Result<(), PlaceError> {
        for _ in 1..LISTINGS {
            match self.list_once(place).await {
                Err(PlaceError::Absent) => {}
                other => return other,
            }
        }
        self.list_once(place).await
    }

    async fn list_once(&self, place: &Place) -> Result<(), PlaceError> {
        let now_ms = since_1970(SystemTime::now());
        let names = place.purges().await?;
        let mut names: Vec<_> = names.into_iter().filter_map(|name| Some((time_of(&name)?, name))).collect();
        names.sort_unstable();
        {
            let mut log = self.log();
            let is_old = |at_ms: u64| at_ms.saturating_add(self.kept_ms) < now_ms;
            log.entries.retain(|entry| !is_old(entry.record.at_ms));
            let old = names.extract_if(.., |(at_ms, _)| is_old(*at_ms)).map(|(_, name)| name);
            log.needless.extend(old);
            names.retain(|(_, name)| log.entries.iter().all(|entry| entry.name != *name));
        }
        let beyond = names.len().saturating_sub(REMEMBERED);
        let forgotten =
            names.drain(..beyond).map(|(at_ms, name)| Entry::found(Record::everything(at_ms), name));
        // Of these the last stands for all, but its own record does not say so.
        let forgotten: Vec<_> = forgotten.collect();
        let all: Option<Entry> =
            forgotten.last().map(|entry| Entry::new(Record::everything(entry.record.at_ms), None));
        let reads = names.into_iter().map(async |(at_ms, name)| {
            let record = match place.purge(&name).await {
                Ok(json) => serde_json::from_slice::<Record>(&json).ok().filter(|it| it.name(&json) == name),
                Err(PlaceError::TooLarge) => None,
                Err(error) => return Err(error),
            };
            let record = record.unwrap_or_else(|| {
                tracing::warn!(
                    name,
                    "a purge that cannot be read is taken as one of everything made until then"
                );
                Record::everything(at_ms)
            });
            Ok(Entry::found(record, name))
        });
        let found: Vec<_> = stream::iter(reads).buffer_unordered(READS_AT_ONCE).try_collect().await?;
        let mut log = self.log();
        log.needless.extend(forgotten.into_iter().map(|entry| entry.name));
        all.into_iter().chain(found).for_each(|entry| log.add(entry));
        drop(log);
        self.show();
        Ok(())
    }

    /// Writes what is not written yet, and removes what says nothing any more.
    pub(super) async fn write(&self, place: &Place) -> Result<(), PlaceError> {
        // Both at once: what makes something needless is among what is written before it goes.
        let (pending, needless) = {
            let mut log = self.log();
            let pending: Vec<_> = log.pending().cloned().collect();
            (pending, std::mem::take(&mut log.needless))
        };
        for entry in pending {
            if let Err(error) = place.put_purge(&entry.name, Bytes::from(entry.record.json())).await {
                self.log().needless.extend(needless);
                return Err(error);
            }
            if let Some(known) = self.log().entries.iter_mut().find(|known| known.name == entry.name) {
                known.is_written = true;
            }
        }
        self.show();
        for name in needless {
            // What stays is found by the next listing.
            if let Err(error) = place.remove_purge(&name).await {
                tracing::debug!(?error, name, "not removed");
            }
        }
        Ok(())
    }

    fn has_work(&self) -> bool {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        !log.needless.is_empty() || log.pending().next().is_some()
    }

    fn show(&self) {
        let log = self.log.read().unwrap_or_else(PoisonError::into_inner);
        self.unwritten.set(i64::try_from(log.pending().count()).unwrap_or(i64::MAX));
    }

    /// Whole after each step.
    fn log(&self) -> RwLockWriteGuard<'_, Log> {
        self.log.write().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Writes what could not be written at once, and looks for other nodes' purges.
pub(super) async fn keep(shared: Arc<Shared>) {
    let mut looks = interval(TRY_EVERY);
    looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut told = false;
    for look in (0..TRIES_A_LISTING).cycle() {
        looks.tick().await;
        let (purged, place) = (&shared.purged, &shared.place);
        let listed = if purged.read.get().is_some() && look == 0 { purged.list(place).await } else { Ok(()) };
        let mut done = listed.and(purged.known(place).await);
        if purged.has_work() {
            done = purged.write(place).await.and(done);
        }
        match done {
            Ok(()) => told = false,
            Err(error) if !std::mem::replace(&mut told, true) => {
                tracing::error!(
                    ?error,
                    "purges cannot be read from disk or store, or written to it: tried again"
                );
            }
            Err(_) => {}
        }
    }
}

fn since_1970(time: SystemTime) -> u64 {
    time.duration_since(UNIX_EPOCH).map_or(0, millis)
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn prefix(path: &str) -> Order {
        Order { site: None, purge: Purge::Prefix(path.to_owned()) }
    }

    fn named(path: &str) -> Named {
        Named { site: "".into(), path_and_query: path.into(), clusters: Vec::new() }
    }

    fn at(ms: u64) -> SystemTime {
        UNIX_EPOCH + Duration::from_millis(ms)
    }

    fn purged(is_shared: bool) -> Purged {
        let gauge = IntGauge::new("unwritten", "of a test");
        #[allow(clippy::unwrap_used)]
        Purged::new(is_shared, Duration::from_secs(60), gauge.unwrap())
    }

    const NOW: u64 = 1_700_000_000_000;

    #[test]
    fn what_was_made_until_then_is_meant_and_nothing_later() {
        let (one, shared) = (purged(false), purged(true));
        for purged in [&one, &shared] {
            purged.note(&prefix("/a"), at(NOW));
            assert!(purged.means(&named("/a/1.ts"), NOW, at(NOW)), "at the same moment: before");
            assert!(!purged.means(&named("/b/1.ts"), NOW - 1000, at(NOW)));
            assert!(
                purged.means(&named("/a/1.ts"), NOW + millis(SKEW) + 2, at(NOW)),
                "a clock that is wrong"
            );
        }
        let later = at(NOW + 10_000_000);
        assert!(!one.means(&named("/a/1.ts"), NOW + 1, later));
        assert!(shared.means(&named("/a/1.ts"), NOW + millis(SKEW), later), "by another node's clock");
        assert!(!shared.means(&named("/a/1.ts"), NOW + millis(SKEW) + 1, later));
    }

    #[test]
    fn the_clock_that_nobody_sets_decides_on_what_waits() {
        let purged = purged(false);
        let before = Instant::now();
        purged.note(&prefix("/a"), at(0));
        assert!(purged.means_own(&named("/a/1.ts"), before));
        assert!(!purged.means_own(&named("/b/1.ts"), before));
        assert!(!purged.means_own(&named("/a/1.ts"), Instant::now() + Duration::from_millis(1)));
    }

    #[test]
    fn the_same_again_takes_no_more_room_and_too_many_become_one() {
        let mut log = Log::default();
        let add = |log: &mut Log, path: &str, ms| {
            log.add(Entry::new(Record { at_ms: ms, order: prefix(path) }, None));
        };
        add(&mut log, "/a", 1);
        add(&mut log, "/a", 3);
        add(&mut log, "/a", 2);
        assert_eq!((log.entries.len(), log.entries[0].record.at_ms, log.needless.len()), (1, 3, 2));
        for number in 0..REMEMBERED as u64 + 5 {
            add(&mut log, &format!("/{number}"), 10 + number);
        }
        assert!(log.entries.len() <= REMEMBERED, "{}", log.entries.len());
        assert_eq!(log.entries[0].record, Record::everything(log.entries[0].record.at_ms));
        assert!(
            log.entries[0].record.at_ms >= 14 && log.entries.iter().is_sorted_by_key(|it| it.record.at_ms)
        );
        log.add(Entry::new(Record::everything(1_000_000), None));
        assert_eq!(log.entries.len(), 1, "it means all the others did");
    }

    #[test]
    fn names_tell_when() {
        let record = Record { at_ms: NOW, order: prefix("/a") };
        assert_eq!(time_of(&record.name(&record.json())), Some(NOW));
        for name in ["", "x", "1-2", "0001700000000000-xyz", "+001700000000000-0123456789abcdef"] {
            assert_eq!(time_of(name), None, "{name}");
        }
    }
}
