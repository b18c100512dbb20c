//! The composition root: builds every part from the configuration, once, and joins them.
//!
//! No part reads the environment or finds another part by itself; what depends on what is to be read here.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use acuity_config::{AccessLog as AccessLogTarget, ClusterChoice, Config, ModelsConfig};
use acuity_enhancer::{Enhancer, Keeping, Readiness, StartError};
use acuity_models::{Catalogue, Watch, WatchEvent};
use prometheus::Registry;

use crate::access_log::AccessLog;
use crate::ahead::Ahead;
use crate::assigner::Assigner;
use crate::cache::store::Store;
use crate::cli::with_causes;
use crate::cluster::{Assign, Told, uses_models};
use crate::guard::Guard;
use crate::guard::instruments::Instruments;
use crate::inputs::Inputs;
use crate::journey::enhanced::EnhancedJourney;
use crate::journey::models::ModelJourney;
use crate::journey::playlist::PlaylistJourney;
use crate::looks::Appearances;
use crate::metrics::Metrics;
use crate::origin::Origins;
use crate::peers::Peers;
use crate::planner::Planner;
use crate::playlists::Playlists;
use crate::probes::Probes;
use crate::produce::{Parts, Producer};
use crate::request_id::RequestIds;
use crate::site::Sites;

/// Everything a running edge shares between requests.
pub struct App {
    /// The configuration.
    pub config: Arc<Config>,
    /// Routing.
    pub sites: Arc<Sites>,
    /// Where passed-through requests go.
    pub peers: Peers,
    /// Playlists outside the edge's own prefix.
    pub playlist_journey: PlaylistJourney,
    /// Everything below a token.
    pub enhanced_journey: EnhancedJourney,
    /// The networks themselves.
    pub models: ModelJourney,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// Request ids.
    pub request_ids: RequestIds,
    enhancer: Enhancer,
    store: Store,
    producer: Producer,
    guard: Guard,
    in_progress: Arc<AtomicUsize>,
    /// Ends with the rest.
    _watch: Option<Watch>,
}

/// Why the parts could not be built.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The enhancer does not start.
    #[error(transparent)]
    Enhancer(#[from] StartError),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The client toward origins cannot be built.
    #[error("cannot set up TLS toward origins (Debian's package ca-certificates holds the authorities)")]
    Origins(#[from] reqwest::Error),
    /// The access log's thread cannot be started.
    #[error("cannot start the access log: {0}")]
    Log(#[source] std::io::Error),
    /// The thread that watches the models' directory cannot be started.
    #[error("cannot watch the models' directory: {0}")]
    Watch(#[source] std::io::Error),
}

impl App {
    /// Builds everything and starts the enhancer's threads; models are loaded behind (see [`App::readiness`]).
    ///
    /// # Errors
    /// ONNX Runtime or a thread is not to be had.
    pub fn new(config: Config, catalogue: Arc<Catalogue>) -> Result<Self, AppError> {
        let config = Arc::new(config);
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::register(&registry)?);
        let access_log = match config.log.access {
            AccessLogTarget::Off => AccessLog::off(metrics.access_log_dropped.clone()),
            AccessLogTarget::Stdout => {
                AccessLog::to(std::io::stdout(), metrics.access_log_dropped.clone()).map_err(AppError::Log)?
            }
        };
        let bases = config.routes.iter().map(|route| &route.origin);
        let origins = Arc::new(Origins::new(config.origin.clone(), bases, Arc::clone(&metrics))?);
        let keeping = Keeping { retire_after: config.models.retire_after, ..Keeping::default() };
        let enhancer = Enhancer::start_keeping(&config.enhancer, Arc::clone(&catalogue), &registry, keeping)?;
        let sites = Arc::new(Sites::new(&config.routes));
        let playlists = Playlists::new(Arc::clone(&origins), Arc::clone(&sites), config.cache.clone());
        let inputs = Inputs::new(Arc::clone(&origins), Arc::clone(&sites), &config);
        let probes = Probes::new(playlists.clone(), inputs.clone(), config.enhancer.clone(), &config.cache);
        let assigner = assigner(&config);
        let assign = assigner.clone().map(|assigner| assigner as Arc<dyn Assign>);
        let appearances = Appearances::new(assign, playlists.clone(), inputs.clone(), &config.cache);
        let guard = Guard::new(
            config.guard.clone(),
            playlists.clone(),
            inputs.clone(),
            enhancer.clone(),
            Instruments::register(&registry)?,
        );
        let watch = uses_models(&config.routes)
            .then(|| watch(&config.models, catalogue, enhancer.clone(), (assigner, appearances.clone())))
            .transpose()
            .map_err(AppError::Watch)?;
        let store = Store::new(config.cache.budget_bytes);
        let producer = Producer::new(Parts {
            config: Arc::clone(&config),
            playlists: playlists.clone(),
            inputs,
            sites: Arc::clone(&sites),
            enhancer: enhancer.clone(),
            store: store.clone(),
            guard: guard.clone(),
            metrics: Arc::clone(&metrics),
        });
        let route_origins: Arc<[String]> =
            config.routes.iter().map(|route| route.origin.to_string()).collect();
        let reach = config.enhancer.look_ahead;
        let ahead = Ahead::new(playlists.clone(), producer.clone(), Arc::clone(&sites), route_origins, reach);
        let planner = Planner {
            probes,
            appearances,
            enhancer: enhancer.clone(),
            probe_timeout: config.origin.probe_timeout,
            guard: guard.clone(),
            metrics: Arc::clone(&metrics),
            told: Told::default(),
        };
        let playlist_journey = PlaylistJourney::new(playlists.clone(), planner);
        let enhanced_journey = EnhancedJourney {
            config: Arc::clone(&config),
            sites: Arc::clone(&sites),
            playlists,
            store: store.clone(),
            producer: producer.clone(),
            ahead,
            metrics: Arc::clone(&metrics),
        };
        Ok(Self {
            peers: Peers::new(&config.origin),
            sites,
            playlist_journey,
            enhanced_journey,
            models: ModelJourney { enhancer: enhancer.clone() },
            metrics,
            access_log,
            request_ids: RequestIds::default(),
            enhancer,
            store,
            producer,
            guard,
            in_progress: Arc::default(),
            _watch: watch,
            config,
        })
    }

    /// Whether segments are being made; red until every model is loaded and warmed.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.enhancer.readiness()
    }

    /// All metrics in Prometheus' text format.
    #[must_use]
    pub fn metrics_text(&self) -> String {
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.metrics.cache_bytes.set(gauge(self.store.bytes()));
        self.metrics.cache_entries.set(gauge(self.store.entries()));
        self.metrics.flights.set(gauge(self.producer.in_flight() as u64));
        self.guard.show();
        self.metrics.text()
    }

    /// Counts a request as in progress until the guard is dropped.
    #[must_use]
    pub fn begin(&self) -> InProgress {
        self.in_progress.fetch_add(1, Ordering::AcqRel);
        InProgress(Arc::clone(&self.in_progress))
    }

    /// Requests that have begun and not ended.
    #[must_use]
    pub fn requests_in_progress(&self) -> usize {
        self.in_progress.load(Ordering::Acquire)
    }

    /// Stops the enhancer: what waits is refused, what is in hand is finished.
    pub fn shutdown(&self) {
        self.enhancer.shutdown();
    }
}

/// A request in progress.
pub struct InProgress(Arc<AtomicUsize>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// What finds clusters by looks, if any route wants it.
fn assigner(config: &Config) -> Option<Arc<Assigner>> {
    let wanted = config.routes.iter().any(|route| route.cluster == ClusterChoice::Auto);
    wanted.then(|| {
        let assigner = Assigner::new(config.models.directory.clone(), config.enhancer.clone());
        assigner.load();
        Arc::new(assigner)
    })
}

/// Watches the models' directory and hands what changes to the enhancer. Playlists follow by themselves: each asks the
/// enhancer what there is.
fn watch(
    config: &ModelsConfig,
    current: Arc<Catalogue>,
    enhancer: Enhancer,
    (assigner, appearances): (Option<Arc<Assigner>>, Appearances),
) -> std::io::Result<Watch> {
    Watch::start(&config.directory, current, config.watch_interval, move |event| match event {
        WatchEvent::Changed(catalogue) => {
            tracing::info!(models = catalogue.entries().len(), "the models have changed");
            enhancer.install(catalogue);
            if let Some(assigner) = &assigner {
                assigner.load();
            }
            appearances.forget();
        }
        WatchEvent::Kept(error) => {
            let error = with_causes(&error);
            tracing::error!(%error, "the models stay as they were: the catalogue cannot be read");
        }
    })
}
