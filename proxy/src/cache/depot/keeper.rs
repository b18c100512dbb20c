//! The task that writes and removes, and keeps a directory within its limits. One for each depot, in the background: nobody waits for it.
//!
//! Room is made before a write and not after it, so that a directory is above its limit only until the first walk through it has counted
//! what was there. A disk that hangs makes this task hang; its queue is bounded, and what finds it full is not kept.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::{MissedTickBehavior, interval};

use super::instruments::{Dropped, Evicted, Write};
use super::ledger::{Ledger, Name};
use super::place::{Place, PlaceError};
use super::walk::{self, Folder};
use super::{Shared, format};
use crate::cache::key::ObjectKey;
use crate::cache::store::Object;

/// Objects written at one time. A store in the same region takes a tenth of a second for one, whatever its bandwidth.
const WRITES_AT_ONCE: usize = 4;
/// How often a directory is walked through again: files may have gone, or have been written by a process that hands over.
const WALK_EVERY: Duration = Duration::from_secs(3600);
/// How often it is looked whether something is due.
const LOOK_EVERY: Duration = Duration::from_secs(5);

/// What is to be done.
pub(super) enum Task {
    /// An object is to be kept.
    Write { key: ObjectKey, object: Arc<Object>, replaces: bool },
    /// One is to go.
    Remove { key: ObjectKey },
}

/// A write that is over.
struct Written {
    key: ObjectKey,
    bytes: u64,
    result: Result<(), PlaceError>,
}

pub(super) struct Keeper {
    shared: Arc<Shared>,
    writes: JoinSet<Written>,
    directory: Option<Directory>,
}

/// What is known of a directory.
struct Directory {
    ledger: Ledger,
    /// Where it is, once it could be opened.
    root: Option<PathBuf>,
    /// Folders of a walk that is under way.
    walk: Option<mpsc::Receiver<Folder>>,
    walk_due: Instant,
    sweep_due: Instant,
    told_unusable: bool,
}

impl Keeper {
    pub(super) fn new(shared: Arc<Shared>) -> Self {
        let directory = shared.limit_bytes.map(|limit_bytes| Directory {
            ledger: Ledger::new(limit_bytes, shared.place.namespace()),
            root: None,
            walk: None,
            walk_due: Instant::now(),
            sweep_due: Instant::now(),
            told_unusable: false,
        });
        Self { shared, writes: JoinSet::new(), directory }
    }

    /// Until the depot is gone, with those who can ask for anything.
    pub(super) async fn run(mut self, mut tasks: mpsc::Receiver<Task>, mut uses: mpsc::Receiver<ObjectKey>) {
        let mut looks = interval(LOOK_EVERY);
        looks.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(written) = self.writes.join_next() => match written {
                    Ok(written) => self.settle(written).await,
                    Err(error) => tracing::error!(%error, "a write was lost"),
                },
                task = tasks.recv(), if self.writes.len() < WRITES_AT_ONCE => match task {
                    Some(Task::Write { key, object, replaces }) => self.write(key, object, replaces).await,
                    Some(Task::Remove { key }) => self.remove(key).await,
                    None => return,
                },
                Some(key) = uses.recv() => self.used(key),
                folder = next_folder(self.directory.as_mut()) => self.walked(folder),
                _ = looks.tick() => self.look().await,
            }
            self.show();
        }
    }

    async fn write(&mut self, key: ObjectKey, object: Arc<Object>, replaces: bool) {
        self.shared.unqueue(object.bytes.len());
        let length = i64::try_from(object.bytes.len()).unwrap_or(0);
        self.shared.instruments.queued_bytes.sub(length);
        if !self.shared.writing.allows(Instant::now()) {
            self.shared.instruments.dropped(Dropped::Paused);
            return;
        }
        if self.shared.purged.means_own(&object.named, object.confirmed) {
            self.shared.instruments.dropped(Dropped::Purged);
            return;
        }
        // Only what could not be read again has none.
        let Some(head) = format::head(&key, &object, SystemTime::now()) else { return };
        let parts = [head, object.bytes.clone()];
        let bytes = parts.iter().map(|part| part.len() as u64).sum();
        if let Err(reason) = self.make_room(bytes).await {
            self.shared.instruments.dropped(reason);
            return;
        }
        if let Some(directory) = &mut self.directory {
            let name = directory.ledger.own(key.bytes());
            directory.ledger.insert(name, bytes, walk::seconds(SystemTime::now()));
        }
        let shared = Arc::clone(&self.shared);
        self.writes.spawn(async move {
            let result = shared.place.put(key.bytes(), parts, replaces).await;
            Written { key, bytes, result }
        });
    }

    async fn settle(&mut self, Written { key, bytes, result }: Written) {
        let shared = Arc::clone(&self.shared);
        let outcome = match &result {
            Ok(()) => Write::Stored,
            Err(PlaceError::Present) => Write::Present,
            Err(PlaceError::Full(_)) => Write::Full,
            Err(_) => Write::Failed,
        };
        shared.instruments.write(outcome);
        if matches!(outcome, Write::Stored | Write::Present)
            && let Some(directory) = &mut self.directory
        {
            // Once more: a walk that began before the file was there, and has passed its folder, took it for gone.
            let name = directory.ledger.own(key.bytes());
            directory.ledger.insert(name, bytes, walk::seconds(SystemTime::now()));
        }
        match result {
            Ok(()) => shared.instruments.written_bytes.inc_by(bytes),
            Err(PlaceError::Present) => {}
            Err(error) => {
                if let Some(directory) = &mut self.directory {
                    let name = directory.ledger.own(key.bytes());
                    directory.ledger.remove(name);
                    if matches!(error, PlaceError::Full(_)) {
                        // So that new segments take old ones' places also on a disk that others fill.
                        let oldest = directory.ledger.oldest(2 * bytes);
                        self.evict(oldest, Evicted::DiskFull).await;
                    }
                }
                if shared.writing.failed(Instant::now()) {
                    tracing::warn!(?error, "segments are not written to disk or store for a while: it fails");
                }
                return;
            }
        }
        if shared.writing.succeeded() {
            tracing::info!("segments are written to disk or store again");
        }
    }

    async fn remove(&mut self, key: ObjectKey) {
        let namespace = self.shared.place.namespace();
        if let Err(error) = self.shared.place.remove(namespace, key.bytes()).await {
            tracing::debug!(?error, key = key.hex(), "not removed");
            return;
        }
        if let Some(directory) = &mut self.directory {
            let name = directory.ledger.own(key.bytes());
            directory.ledger.remove(name);
        }
    }

    /// Has a directory take so many bytes without passing its limit.
    async fn make_room(&mut self, bytes: u64) -> Result<(), Dropped> {
        let Some(directory) = &self.directory else { return Ok(()) };
        if !directory.ledger.could_take(bytes) {
            return Err(Dropped::TooLarge);
        }
        let names = directory.ledger.too_much(bytes);
        self.evict(names, Evicted::Size).await;
        // Where nothing can be removed, nothing is added.
        let is_over = |directory: &Directory| !directory.ledger.too_much(bytes).is_empty();
        if self.directory.as_ref().is_some_and(is_over) { Err(Dropped::NoRoom) } else { Ok(()) }
    }

    /// Removes files until one cannot be.
    async fn evict(&mut self, names: Vec<Name>, reason: Evicted) {
        let Some(directory) = &mut self.directory else { return };
        for name in names {
            let (namespace, key) = directory.ledger.parts(name);
            if let Err(error) = self.shared.place.remove(namespace, key).await {
                tracing::debug!(?error, "not removed");
                return;
            }
            directory.ledger.remove(name);
            self.shared.instruments.evicted(reason);
        }
    }

    fn used(&mut self, key: ObjectKey) {
        let Some(directory) = &mut self.directory else { return };
        let name = directory.ledger.own(key.bytes());
        if directory.ledger.used(name, walk::seconds(SystemTime::now()))
            && let Some(root) = &directory.root
        {
            walk::tell_used(Place::file(root, self.shared.place.namespace(), key.bytes()));
        }
    }

    /// A folder of the walk that is under way, or its end.
    fn walked(&mut self, folder: Option<Folder>) {
        let Some(directory) = &mut self.directory else { return };
        match folder {
            Some(Folder { namespace, files }) => directory.ledger.found(&namespace, &files),
            None => {
                directory.walk = None;
                // Of what it found some may be too old.
                directory.sweep_due = Instant::now();
                directory.ledger.walked();
                let (objects, bytes) = (directory.ledger.objects(), directory.ledger.bytes());
                tracing::info!(objects, bytes, "the segments on disk are counted");
            }
        }
    }

    /// Does what is due.
    async fn look(&mut self) {
        let (now, max_age) = (Instant::now(), self.shared.max_age);
        let Some(directory) = &mut self.directory else { return };
        if directory.root.is_none() {
            match self.shared.place.directory().await {
                Some(Ok(root)) => directory.root = Some(root),
                Some(Err(error)) => {
                    // Once; the metrics go on saying so.
                    if !std::mem::replace(&mut directory.told_unusable, true) {
                        tracing::error!(?error, "segments cannot be kept on disk: [cache.disk]");
                    }
                    return;
                }
                None => return,
            }
        }
        if let Some(root) =
            directory.root.clone().filter(|_| now >= directory.walk_due && directory.walk.is_none())
        {
            directory.walk_due = now + WALK_EVERY;
            directory.ledger.walk();
            directory.walk = Some(walk::start(root));
        }
        let mut aged = Vec::new();
        if now >= directory.sweep_due {
            directory.sweep_due = now + (max_age / 16).clamp(LOOK_EVERY, WALK_EVERY);
            let oldest = SystemTime::now().checked_sub(max_age).map_or(0, walk::seconds);
            aged = directory.ledger.made_before(oldest);
        }
        self.evict(aged, Evicted::Age).await;
        // What is over the limit was there at the start; where it cannot be removed now, it is tried again.
        let _ = self.make_room(0).await;
    }

    fn show(&self) {
        self.shared.show_pauses();
        if let (Some(directory), Some((bytes, objects))) = (&self.directory, &self.shared.instruments.disk) {
            bytes.set(i64::try_from(directory.ledger.bytes()).unwrap_or(i64::MAX));
            objects.set(i64::try_from(directory.ledger.objects()).unwrap_or(i64::MAX));
        }
    }
}

/// The next folder of the walk that is under way; never, if none is.
async fn next_folder(directory: Option<&mut Directory>) -> Option<Folder> {
    match directory.and_then(|directory| directory.walk.as_mut()) {
        Some(walk) => walk.recv().await,
        None => std::future::pending().await,
    }
}
