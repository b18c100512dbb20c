//! Clusters by looks: the catalogue's `clusters.toml` and embedding network, as they are used.
//!
//! They change with the models' directory, so what is loaded is swapped as a whole. Without them, or while they are wrong,
//! nothing is assigned and streams are generic: that is said once in the log, not an error.

use std::error::Error;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};

use acuity_config::EnhancerConfig;
use acuity_enhancer::Describer;
use acuity_models::{Clusters, ClustersError};
use arc_swap::ArcSwapOption;
use bytes::Bytes;

/// Assigns by what the models' directory holds at the time.
pub(crate) struct Assigner {
    directory: PathBuf,
    limits: EnhancerConfig,
    loaded: ArcSwapOption<Loaded>,
    /// Whether it was ever asked for.
    is_wanted: Mutex<bool>,
}

struct Loaded {
    clusters: Clusters,
    describer: Describer,
}

impl Assigner {
    /// Nothing is loaded before the first question, or the first [`Assigner::load`].
    pub(crate) fn new(directory: PathBuf, limits: EnhancerConfig) -> Self {
        Self { directory, limits, loaded: ArcSwapOption::empty(), is_wanted: Mutex::new(false) }
    }

    /// The directory has changed: reads it again, if it was read before.
    pub(crate) fn reload(&self) {
        let is_wanted = *self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
        if is_wanted {
            self.load();
        }
    }

    /// Reads the directory; takes a fraction of a second. What cannot be used is replaced by nothing: centroids that
    /// are measured with another network would assign at random.
    pub(crate) fn load(&self) {
        let mut is_wanted = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
        *is_wanted = true;
        self.loaded.store(self.read());
    }

    fn read(&self) -> Option<Arc<Loaded>> {
        let clusters = match Clusters::load(&self.directory) {
            Ok(clusters) => clusters,
            Err(ClustersError::Missing { path }) => {
                tracing::info!(missing = %path.display(), "streams are not assigned by their looks");
                return None;
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "streams are not assigned");
                return None;
            }
        };
        match Describer::new(&self.limits, clusters.embedding()) {
            Ok(describer) if describer.dimensions() == clusters.dimensions() => {
                Some(Arc::new(Loaded { clusters, describer }))
            }
            Ok(describer) => {
                let (gives, wants) = (describer.dimensions(), clusters.dimensions());
                tracing::error!(gives, wants, "streams are not assigned: the embedding has other dimensions");
                None
            }
            Err(error) => {
                tracing::error!(error = &error as &dyn Error, "streams are not assigned");
                None
            }
        }
    }

    /// As [`Assigner::load`], if nobody has asked for it yet.
    pub(crate) fn load_once(&self) {
        let is_first = {
            let is_wanted = self.is_wanted.lock().unwrap_or_else(PoisonError::into_inner);
            !*is_wanted
        };
        if is_first {
            self.load();
        }
    }

    /// The cluster that a clear segment looks like; `None` if it looks like none, or cannot be looked at. Takes some 50 ms.
    pub(crate) fn cluster_of(&self, init: Option<&[u8]>, segment: Bytes) -> Option<String> {
        self.load_once();
        let loaded = self.loaded.load_full()?;
        match loaded.describer.describe(init, segment) {
            Ok(vector) => {
                let nearest = loaded.clusters.nearest(&vector);
                tracing::debug!(?nearest, "a new source was looked at");
                loaded.clusters.assign(&vector).map(|assigned| assigned.cluster)
            }
            Err(error) => {
                let reason = error.label();
                tracing::debug!(reason, error = &error as &dyn Error, "a stream cannot be looked at");
                None
            }
        }
    }
}
