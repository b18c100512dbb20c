//! The enhancer with all that it needs in one process: models that are watched, clusters that streams are assigned to. The edge
//! runs it in its own process, or a worker does.

use std::sync::{Arc, Mutex, PoisonError};

use acuity_config::{EnhancerConfig, ModelsConfig};
use acuity_enhancer::{Enhancer, Keeping, StartError};
use acuity_models::{Catalogue, Watch, WatchEvent};
use bytes::Bytes;
use prometheus::Registry;

use crate::assigner::Assigner;

/// What is told when the models have changed.
type OnChange = Arc<Mutex<Vec<Box<dyn Fn() + Send>>>>;

/// The enhancer in this process.
pub(crate) struct Local {
    pub(crate) enhancer: Enhancer,
    pub(crate) config: Arc<EnhancerConfig>,
    assigner: Arc<Assigner>,
    on_change: OnChange,
    models: ModelsConfig,
    /// What the enhancer started with.
    catalogue: Arc<Catalogue>,
    /// Ends with the rest.
    watch: Mutex<Option<Watch>>,
}

/// Why it does not start.
#[derive(Debug, thiserror::Error)]
pub enum LocalError {
    /// The enhancer does not.
    #[error(transparent)]
    Enhancer(#[from] StartError),
    /// The thread that watches the models' directory cannot be started.
    #[error("cannot watch the models' directory: {0}")]
    Watch(#[source] std::io::Error),
}

impl Local {
    /// Starts the enhancer's threads with `catalogue`.
    pub(crate) fn start(
        enhancer: &EnhancerConfig,
        models: &ModelsConfig,
        catalogue: Arc<Catalogue>,
        registry: &Registry,
    ) -> Result<Self, LocalError> {
        let keeping = Keeping { retire_after: models.retire_after, ..Keeping::default() };
        let config = Arc::new(enhancer.clone());
        let enhancer = Enhancer::start_keeping(&config, Arc::clone(&catalogue), registry, keeping)?;
        let assigner = Arc::new(Assigner::new(models.directory.clone(), (*config).clone()));
        Ok(Self {
            enhancer,
            config,
            assigner,
            on_change: OnChange::default(),
            models: models.clone(),
            catalogue,
            watch: Mutex::default(),
        })
    }

    /// From now on a changed directory is taken over; this may be said again.
    ///
    /// # Errors
    /// The thread that watches cannot be started.
    pub(crate) fn watch(&self) -> std::io::Result<()> {
        let mut watch = self.watch.lock().unwrap_or_else(PoisonError::into_inner);
        if watch.is_none() {
            let watched = (self.enhancer.clone(), Arc::clone(&self.assigner), Arc::clone(&self.on_change));
            *watch = Some(start_watch(&self.models, Arc::clone(&self.catalogue), watched)?);
        }
        Ok(())
    }

    /// Loads now what streams are assigned with, if it was not yet, instead of with the first question.
    pub(crate) fn load_assigner(&self) {
        self.assigner.load_once();
    }

    /// The cluster that a segment looks like.
    pub(crate) fn cluster_of(&self, init: Option<&[u8]>, segment: Bytes) -> Option<String> {
        self.assigner.cluster_of(init, segment)
    }

    /// Calls `tell` whenever other models have come.
    pub(crate) fn on_change(&self, tell: Box<dyn Fn() + Send>) {
        self.on_change.lock().unwrap_or_else(PoisonError::into_inner).push(tell);
    }
}

/// Watches the models' directory and hands what changes to the enhancer.
fn start_watch(
    config: &ModelsConfig,
    current: Arc<Catalogue>,
    (enhancer, assigner, on_change): (Enhancer, Arc<Assigner>, OnChange),
) -> std::io::Result<Watch> {
    Watch::start(&config.directory, current, config.watch_interval, move |event| match event {
        WatchEvent::Changed(catalogue) => {
            tracing::info!(models = catalogue.entries().len(), "the models have changed");
            enhancer.install(catalogue);
            assigner.reload();
            on_change.lock().unwrap_or_else(PoisonError::into_inner).iter().for_each(|tell| tell());
        }
        WatchEvent::Kept(error) => {
            let error = &error as &dyn std::error::Error;
            tracing::error!(error, "the models stay as they were: the catalogue cannot be read");
        }
    })
}
