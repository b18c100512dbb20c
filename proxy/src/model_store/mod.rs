//! Models from a store that a region shares: what `[models.store]` asks for.
//!
//! In the store lie files and catalogues, each named by its digest and never changed, and channels: small objects that name the catalogue
//! to be used now. One task of the edge looks at its channel (or keeps to its pin), fetches what a catalogue names into the models'
//! directory, and puts `catalogue.toml` in place when all of it is there and right. That is all: the directory's watch
//! ([`acuity_models::Watch`]) does the rest, in this process and in workers, which have no network. Files of two catalogues never have one
//! name, so whoever still reads the old one finds it whole.
//!
//! Nothing here is waited for by a viewer, and nothing that goes wrong here takes away what there is.
//!
//! | module | what |
//! |---|---|
//! | [`remote`] | the store: what is called how, and what may come of asking |
//! | [`shelf`] | the directory: what lies there, whether it is whole, what goes |
//! | [`fetch`] | one catalogue and its files, from there to here |
//! | [`keeper`] | the task that looks |
//! | [`publish`] | from a directory into the store, for who publishes |

mod fetch;
mod instruments;
mod keeper;
pub mod publish;
pub mod remote;
pub mod shelf;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use acuity_config::{Follow, ModelStoreConfig, ModelsConfig};
use acuity_models::{ManifestFault, Sha256};
use prometheus::Registry;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::bucket::BucketFault;
use instruments::Instruments;
use keeper::Keeper;
use remote::{Remote, RemoteError};
use shelf::{Shelf, ShelfFault};

pub use fetch::{Fetched, take};

/// The task that keeps the models' directory like a store's catalogue, if the configuration wants one.
#[derive(Default)]
pub struct ModelStore(Option<Running>);

struct Running {
    wanted: watch::Sender<Wanted>,
    /// Until it is started.
    idle: Mutex<Option<Keeper>>,
    task: Mutex<Option<JoinHandle<()>>>,
}

/// What a reload may change.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Wanted {
    follow: Follow,
    interval: std::time::Duration,
}

impl From<&ModelStoreConfig> for Wanted {
    fn from(config: &ModelStoreConfig) -> Self {
        Self { follow: config.follow.clone(), interval: config.interval }
    }
}

/// Why the section cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ModelStoreFault {
    /// Its bucket.
    #[error(transparent)]
    Bucket(#[from] BucketFault),
    /// The models' directory.
    #[error(transparent)]
    Shelf(#[from] ShelfFault),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why a catalogue was not taken.
#[derive(Debug, thiserror::Error)]
pub enum Refusal {
    /// What a channel holds is no digest.
    #[error("the channel {channel} does not hold a catalogue's SHA-256")]
    Pointer {
        /// Which.
        channel: String,
    },
    /// The store has not got it, or a file that it names.
    #[error("the store has no {0}")]
    Missing(String),
    /// It, or a file, hashes to something else than its name.
    #[error("{0} is not what its name says: its SHA-256 is another")]
    Digest(String),
    /// A file ends before its end, however often it is asked for.
    #[error("{0} is shorter than the catalogue says")]
    Truncated(String),
    /// A file goes on behind its end.
    #[error("{0} is longer than the catalogue says")]
    TooLong(String),
    /// The document is no good.
    #[error(transparent)]
    Manifest(#[from] ManifestFault),
    /// The clusters are no good.
    #[error("its clusters cannot be used: {0}")]
    Clusters(String),
    /// The store did not answer, or with an error.
    #[error("the store cannot be reached: {0}")]
    Unreachable(String),
    /// The directory could not be written.
    #[error("the models' directory cannot be written: {0}")]
    Disk(String),
}

impl Refusal {
    /// The metric label, one of [`Refusal::LABELS`].
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Pointer { .. } => "pointer",
            Self::Missing(_) => "missing",
            Self::Digest(_) => "digest",
            Self::Truncated(_) => "truncated",
            Self::TooLong(_) => "too_large",
            Self::Manifest(fault) => fault.label(),
            Self::Clusters(_) => "clusters",
            Self::Unreachable(_) => "unreachable",
            Self::Disk(_) => "disk",
        }
    }

    /// All labels.
    pub const LABELS: [&str; 11] = [
        "pointer",
        "missing",
        "digest",
        "truncated",
        "too_large",
        "malformed",
        "name",
        "empty",
        "clusters",
        "unreachable",
        "disk",
    ];

    /// Whether it is the catalogue's own fault, and not that of store or disk at the moment.
    #[must_use]
    pub fn is_final(&self) -> bool {
        !matches!(self, Self::Unreachable(_) | Self::Disk(_))
    }

    fn of(error: RemoteError, what: impl FnOnce() -> String) -> Self {
        match error {
            RemoteError::Absent => Self::Missing(what()),
            RemoteError::TooLarge => Self::TooLong(what()),
            other => Self::Unreachable(other.to_string()),
        }
    }
}

/// The start of a digest, for people and labels.
#[must_use]
pub fn short(digest: Sha256) -> String {
    digest.to_string().chars().take(12).collect()
}

/// Makes the models' directory one that a store's catalogue can be put into, before anybody reads it: with the catalogue that was in
/// force last, or with one without models. For the start of an edge; nothing is fetched.
///
/// # Errors
/// It is no directory, or somebody else's.
pub fn prepare(config: &ModelsConfig) -> Result<(), ShelfFault> {
    if config.store.is_some() { Shelf::open(&config.directory).map(drop) } else { Ok(()) }
}

/// What can be said against the section before it is used, for `acuity check`. Nothing is fetched.
#[must_use]
pub fn check(config: &ModelsConfig) -> Vec<ModelStoreFault> {
    let Some(store) = &config.store else { return Vec::new() };
    let place = remote::check(&store.place).err().map(ModelStoreFault::from);
    let shelf = Shelf::check(&config.directory).err().map(ModelStoreFault::from);
    place.into_iter().chain(shelf).collect()
}

impl ModelStore {
    /// The store of a configuration, if it has one. Nothing is asked of it yet.
    ///
    /// # Errors
    /// The section cannot be used.
    pub fn new(config: &ModelsConfig, registry: &Registry) -> Result<Self, ModelStoreFault> {
        let Some(store) = &config.store else { return Ok(Self::default()) };
        let (wanted, changes) = watch::channel(Wanted::from(store));
        let keeper = Keeper::new(
            Remote::open(&store.place)?,
            Arc::new(Shelf::open(&config.directory)?),
            store.max_bytes,
            changes,
            Instruments::register(registry)?,
        );
        Ok(Self(Some(Running { wanted, idle: Mutex::new(Some(keeper)), task: Mutex::default() })))
    }

    /// Starts the task. Within a runtime; once.
    pub fn start(&self) {
        let Some(running) = &self.0 else { return };
        let keeper = running.idle.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(keeper) = keeper {
            *running.task.lock().unwrap_or_else(PoisonError::into_inner) = Some(tokio::spawn(keeper.run()));
        }
    }

    /// Takes what a reload may change.
    pub fn set(&self, config: &ModelsConfig) {
        if let (Some(running), Some(store)) = (&self.0, &config.store) {
            let wanted = Wanted::from(store);
            running.wanted.send_if_modified(|now| {
                let is_new = *now != wanted;
                *now = wanted;
                is_new
            });
        }
    }

    /// Ends the task: the directory is the next edge's to keep.
    pub fn stop(&self) {
        let Some(running) = &self.0 else { return };
        if let Some(task) = running.task.lock().unwrap_or_else(PoisonError::into_inner).take() {
            task.abort();
        }
    }
}

/// The directory that a command is told, for messages.
fn shown(path: &Path) -> String {
    path.display().to_string()
}

#[cfg(test)]
mod tests;
