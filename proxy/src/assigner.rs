//! Clusters by looks: the catalogue's `clusters.toml` and embedding network, as the edge uses them.
//!
//! They change with the models' directory, so what is loaded is swapped as a whole. Without them, or while they are wrong,
//! nothing is assigned and streams are generic: that is said once in the log, not an error of the edge.

use std::path::PathBuf;
use std::sync::Arc;

use acuity_config::EnhancerConfig;
use acuity_enhancer::Describer;
use acuity_models::{Clusters, ClustersError};
use arc_swap::ArcSwapOption;
use bytes::Bytes;

use crate::cli::with_causes;
use crate::cluster::Assign;

/// Assigns by what the models' directory holds at the time.
pub struct Assigner {
    directory: PathBuf,
    limits: EnhancerConfig,
    loaded: ArcSwapOption<Loaded>,
}

struct Loaded {
    clusters: Clusters,
    describer: Describer,
}

impl Assigner {
    /// Nothing is loaded before the first [`Assigner::load`].
    #[must_use]
    pub fn new(directory: PathBuf, limits: EnhancerConfig) -> Self {
        Self { directory, limits, loaded: ArcSwapOption::empty() }
    }

    /// Reads the directory again; takes a fraction of a second. What cannot be used is replaced by nothing: centroids that
    /// are measured with another network would assign at random.
    pub fn load(&self) {
        let loaded = match Clusters::load(&self.directory) {
            Ok(clusters) => match Describer::new(&self.limits, clusters.embedding()) {
                Ok(describer) if describer.dimensions() == clusters.dimensions() => {
                    Some(Arc::new(Loaded { clusters, describer }))
                }
                Ok(describer) => {
                    let (gives, wants) = (describer.dimensions(), clusters.dimensions());
                    tracing::error!(
                        gives,
                        wants,
                        "streams are not assigned: the embedding has other dimensions"
                    );
                    None
                }
                Err(error) => {
                    tracing::error!(error = %with_causes(&error), "streams are not assigned");
                    None
                }
            },
            Err(ClustersError::Missing { path }) => {
                tracing::info!(missing = %path.display(), "streams are not assigned by their looks");
                None
            }
            Err(error) => {
                tracing::error!(error = %with_causes(&error), "streams are not assigned");
                None
            }
        };
        self.loaded.store(loaded);
    }
}

impl Assign for Assigner {
    fn cluster_of(&self, init: Option<&[u8]>, segment: Bytes) -> Option<String> {
        let loaded = self.loaded.load_full()?;
        match loaded.describer.describe(init, segment) {
            Ok(vector) => {
                let nearest = loaded.clusters.nearest(&vector);
                tracing::debug!(?nearest, "a new source was looked at");
                loaded.clusters.assign(&vector).map(|assigned| assigned.cluster)
            }
            Err(error) => {
                tracing::debug!(reason = error.label(), error = %with_causes(&error), "a stream cannot be looked at");
                None
            }
        }
    }
}
