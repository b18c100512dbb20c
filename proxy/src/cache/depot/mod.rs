//! The depot: enhanced objects below memory, in a directory or a bucket, where they outlive the process.
//!
//! A request that memory does not answer looks here before anything is made, for `read_timeout` at most. What was made is written behind:
//! nobody waits for it, and what finds the queue full is not kept. Whatever goes wrong costs the depot alone; a place that fails is left
//! alone for a while, and segments are made as if there were no depot.
//!
//! | module | what |
//! |---|---|
//! | [`format`] | how an object is written down, and what is believed of what is read |
//! | [`place`] | a directory or a bucket, and what objects are called there |
//! | [`keeper`] | the task that writes, removes and keeps the limits |
//! | [`ledger`], [`walk`] | what lies in a directory, and what goes first |
//! | [`purged`] | what operators wanted forgotten, for as long as it could be read |
//! | [`circuit`] | when a place that fails is asked again |
//! | [`check`] | what can be said against a depot before it is used |

mod check;
mod circuit;
pub(crate) mod format;
mod instruments;
mod keeper;
mod ledger;
mod place;
mod purged;
mod walk;

use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime};

use acuity_config::{CacheConfig, DepotConfig, DepotPlace};
use prometheus::Registry;
use rustix::process::Signal;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::{Semaphore, mpsc};
use tokio::time::{timeout, timeout_at};

use super::key::ObjectKey;
use super::purge::Order;
use super::store::Object;
use crate::bucket::BucketFault;
use circuit::Circuit;
use format::Unusable;
use instruments::{Dropped, Instruments, Read};
use keeper::{Keeper, Task};
use place::{OBJECT_LIMIT_BYTES, Place, PlaceError};
use purged::Purged;

pub use check::check;

/// Objects looked for at one time; others wait their turn. A disk that hangs keeps so many threads and no more.
const READS_AT_ONCE: usize = 32;
/// Objects that may wait to be written.
const QUEUE_LIMIT: usize = 256;
/// And their bytes: they are in memory beside what the memory cache may hold.
const QUEUE_LIMIT_BYTES: usize = 32 << 20;
/// Objects given out whose use may wait to be noted. What is lost is one of many uses.
const USES_LIMIT: usize = 1024;

/// How long who purges waits until that is written; it goes on behind.
const PURGE_PATIENCE: Duration = Duration::from_secs(5);

/// Enhanced objects below memory, if the configuration has a place for them. Clones share it.
#[derive(Clone, Default)]
pub struct Depot(Option<Arc<Shared>>);

struct Shared {
    place: Place,
    /// Bytes of disk that may be taken; none: a bucket, which has limits of its own.
    limit_bytes: Option<u64>,
    max_age: Duration,
    read_timeout: Duration,
    reads: Arc<Semaphore>,
    reading: Circuit,
    writing: Circuit,
    tasks: mpsc::Sender<Task>,
    uses: mpsc::Sender<ObjectKey>,
    queued_bytes: AtomicUsize,
    /// The other ends of the queues, until somebody serves them.
    idle: Mutex<Option<Queues>>,
    purged: Purged,
    instruments: Instruments,
}

type Queues = (mpsc::Receiver<Task>, mpsc::Receiver<ObjectKey>);

/// What was found.
#[derive(Debug)]
pub enum Lookup {
    /// The object.
    Found(Box<Object>),
    /// No object, and nothing in its place as far as is known.
    Absent,
    /// Something in its place that is not to be given out.
    Unusable,
}

/// Why there can be no depot.
#[derive(Debug, thiserror::Error)]
pub enum DepotFault {
    /// The bucket cannot be used.
    #[error(transparent)]
    Bucket(#[from] BucketFault),
    /// The directory cannot be used.
    #[error("cannot keep segments in {} (cache.disk.path): {why}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// The directory's file system is smaller than the limit.
    #[error("cache.disk.max_bytes is {limit_bytes} bytes, but the file system of {} has {total_bytes} altogether", path.display())]
    Room {
        /// The directory.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
        /// What there is.
        total_bytes: u64,
    },
    /// The encoder does not say what it writes.
    #[error("cannot tell which segments in [cache.disk] or [cache.store] are this edge's: {0}")]
    Encoder(#[from] acuity_enhancer::EnhanceError),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

impl Depot {
    /// The depot of a configuration, if it has one. Nothing is read or written yet. `settings`: what decides, beside tokens, which segments
    /// belong into one stream.
    ///
    /// # Errors
    /// A store's keys cannot be used. A directory that cannot is no error: it may come back.
    pub fn new<'a>(
        config: &CacheConfig,
        settings: impl IntoIterator<Item = &'a [u8]>,
        registry: &Registry,
    ) -> Result<Self, DepotFault> {
        let Some(config) = &config.depot else { return Ok(Self::default()) };
        let DepotConfig { place, max_age, read_timeout } = config;
        let limit_bytes = match place {
            DepotPlace::Disk { max_bytes, .. } => Some(*max_bytes),
            DepotPlace::Store(_) => None,
        };
        let (tasks, waiting) = mpsc::channel(QUEUE_LIMIT);
        let (uses, noted) = mpsc::channel(USES_LIMIT);
        let instruments = Instruments::register(registry, limit_bytes.is_some())?;
        Ok(Self(Some(Arc::new(Shared {
            place: Place::new(config, place::namespace(settings))?,
            limit_bytes,
            max_age: *max_age,
            read_timeout: *read_timeout,
            reads: Arc::new(Semaphore::new(READS_AT_ONCE)),
            reading: Circuit::default(),
            writing: Circuit::default(),
            tasks,
            uses,
            queued_bytes: AtomicUsize::new(0),
            idle: Mutex::new(Some((waiting, noted))),
            purged: Purged::new(limit_bytes.is_none(), *max_age, instruments.unwritten_purges.clone()),
            instruments,
        }))))
    }

    /// Starts the task that writes and keeps the limits. Within a runtime; once.
    pub fn start(&self) {
        let Some(shared) = &self.0 else { return };
        let queues = shared.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some((tasks, uses)) = queues {
            // A write beyond a limit on file sizes (`ulimit -f`) is an error like any other then, and not the end of the process.
            let _ = signal(SignalKind::from_raw(Signal::XFSZ.as_raw()));
            tokio::spawn(Keeper::new(Arc::clone(shared)).run(tasks, uses));
            tokio::spawn(purged::keep(Arc::clone(shared)));
        }
    }

    /// Looks for an object, for `read_timeout` at most.
    pub async fn get(&self, key: &ObjectKey) -> Lookup {
        let Some(shared) = &self.0 else { return Lookup::Absent };
        let (outcome, lookup) = shared.get(*key).await;
        shared.instruments.read(outcome);
        shared.show_pauses();
        lookup
    }

    /// Keeps an object, behind. `replaces`: one that was there is not good any more.
    pub fn put(&self, key: &ObjectKey, object: &Arc<Object>, replaces: bool) {
        let Some(shared) = &self.0 else { return };
        if let Err(reason) = shared.put(*key, object, replaces) {
            shared.instruments.dropped(reason);
        }
    }

    /// Does not give out any more what was made until now and is meant. Whether that will outlast a restart: `false` where it could not be
    /// written in a few seconds, and is tried again; `None` where there is no depot.
    pub async fn forget(&self, order: &Order) -> Option<bool> {
        let shared = Arc::clone(self.0.as_ref()?);
        shared.purged.note(order, SystemTime::now());
        // A task of its own: a disk that hangs keeps it, and not the operator.
        let writing = tokio::spawn(async move { shared.purged.write(&shared.place).await });
        match timeout(PURGE_PATIENCE, writing).await {
            Ok(Ok(Ok(()))) => Some(true),
            outcome => {
                tracing::warn!(?outcome, "a purge is not on disk or in the store yet: tried again");
                Some(false)
            }
        }
    }

    /// Removes an object, behind. `false` where that could not be noted: too much else is to be done.
    pub fn remove(&self, key: &ObjectKey) -> bool {
        self.0.as_ref().is_none_or(|shared| shared.tasks.try_send(Task::Remove { key: *key }).is_ok())
    }
}

impl Shared {
    async fn get(self: &Arc<Self>, key: ObjectKey) -> (Read, Lookup) {
        if !self.reading.allows(Instant::now()) {
            return (Read::Paused, Lookup::Absent);
        }
        let started = Instant::now();
        let until = started + self.read_timeout;
        // After a restart many come at once, and each read takes a moment.
        let Ok(Ok(permit)) = timeout_at(until.into(), Arc::clone(&self.reads).acquire_owned()).await else {
            return (Read::Busy, Lookup::Absent);
        };
        let shared = Arc::clone(self);
        // A task of its own: a disk that hangs keeps the permit and not the request.
        let reading = tokio::spawn(async move {
            let _permit = permit;
            shared.purged.known(&shared.place).await?;
            let bytes = shared.place.get(key.bytes()).await?;
            // Sums over a megabyte, and a copy of it.
            let read = move || {
                let now = SystemTime::now();
                let is_purged = |named: &_, made_at_ms| shared.purged.means(named, made_at_ms, now);
                format::read(&bytes, &key, now, shared.max_age, is_purged)
            };
            tokio::task::spawn_blocking(read).await.map_err(|error| PlaceError::Failed(error.to_string()))
        });
        let answer = timeout_at(until.into(), reading).await;
        self.instruments.read_seconds.observe(started.elapsed().as_secs_f64());
        let (outcome, lookup) = match answer {
            Ok(Ok(Ok(Ok(object)))) => {
                // One use of many, if it is lost.
                let _ = self.uses.try_send(key);
                (Read::Hit, Lookup::Found(Box::new(object)))
            }
            Ok(Ok(Ok(Err(unusable)))) => (self.unusable(key, unusable), Lookup::Unusable),
            Ok(Ok(Err(PlaceError::Absent))) => (Read::Miss, Lookup::Absent),
            Ok(Ok(Err(PlaceError::TooLarge))) => (self.unusable(key, Unusable::Foreign), Lookup::Unusable),
            Ok(Ok(Err(PlaceError::Failed(why) | PlaceError::Full(why)))) => {
                self.reading_failed(&why);
                return (Read::Failed, Lookup::Absent);
            }
            Ok(Ok(Err(PlaceError::Present)) | Err(_)) => return (Read::Failed, Lookup::Absent),
            Err(_) => {
                self.reading_failed("too slow");
                return (Read::TimedOut, Lookup::Absent);
            }
        };
        if self.reading.succeeded() {
            tracing::info!("segments are read from disk or store again");
        }
        (outcome, lookup)
    }

    /// Has what is not to be given out removed.
    fn unusable(&self, key: ObjectKey, why: Unusable) -> Read {
        if !matches!(why, Unusable::Expired | Unusable::Purged) {
            tracing::warn!(
                key = key.hex(),
                ?why,
                "an object on disk or in the store is not what it should be: removed"
            );
        }
        // Where that cannot be noted, the next to look for it notes it.
        let _ = self.tasks.try_send(Task::Remove { key });
        match why {
            Unusable::Truncated => Read::Truncated,
            Unusable::Damaged => Read::Damaged,
            Unusable::Foreign => Read::Foreign,
            Unusable::Expired => Read::Expired,
            Unusable::Purged => Read::Purged,
        }
    }

    fn reading_failed(&self, why: &str) {
        if self.reading.failed(Instant::now()) {
            tracing::warn!(why, "segments are not read from disk or store for a while: it fails");
        }
    }

    fn put(&self, key: ObjectKey, object: &Arc<Object>, replaces: bool) -> Result<(), Dropped> {
        let bytes = object.bytes.len();
        if bytes as u64 > OBJECT_LIMIT_BYTES / 2 {
            return Err(Dropped::TooLarge);
        }
        if !self.writing.would_allow(Instant::now()) {
            return Err(Dropped::Paused);
        }
        let task = Task::Write { key, object: Arc::clone(object), replaces };
        if self.queued_bytes.fetch_add(bytes, Ordering::AcqRel) + bytes > QUEUE_LIMIT_BYTES
            || self.tasks.try_send(task).is_err()
        {
            self.unqueue(bytes);
            return Err(Dropped::QueueFull);
        }
        self.instruments.queued_bytes.add(i64::try_from(bytes).unwrap_or(0));
        Ok(())
    }

    fn unqueue(&self, bytes: usize) {
        self.queued_bytes.fetch_sub(bytes, Ordering::AcqRel);
    }

    fn show_pauses(&self) {
        self.instruments.paused(self.reading.is_open(), self.writing.is_open());
    }
}

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
