//! The composition root: builds every part from the configuration, once, and joins them.
//!
//! No part reads the environment or finds another part by itself; what depends on what is to be read here.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use acuity_config::{AccessLog as AccessLogTarget, Config};
use acuity_enhancer::Readiness;
use acuity_models::Catalogue;
use acuity_workers::{Engine, EngineError};
use arc_swap::ArcSwap;
use prometheus::Registry;
use tokio::runtime::Handle;

use crate::access_log::AccessLog;
use crate::admin::AdminToken;
use crate::cache::depot::{Depot, DepotFault};
use crate::cache::purge::Order;
use crate::cache::store::Store;
use crate::cluster::uses;
use crate::guard::instruments::Instruments;
use crate::journey::models::ModelJourney;
use crate::limits;
use crate::limits::clients::Clients;
use crate::metrics::Metrics;
use crate::model_store::{ModelStore, ModelStoreFault};
use crate::nodes::{Nodes, NodesFault, Reached};
use crate::produce::Floor;
use crate::reload::{self, Reloader};
use crate::request_id::RequestIds;
use crate::secret::SecretFault;
use crate::setup::{Lasting, Setup};
use crate::signed::RouteKeys;
use crate::signed::keys::KeyFault;
use crate::status::Status;
use crate::switches::Switches;
use crate::traces::{TraceFault, Traces};

/// Everything a running edge shares between requests.
pub struct App {
    /// What follows from the configuration.
    now: Arc<ArcSwap<Setup>>,
    /// The networks themselves.
    pub models: ModelJourney,
    /// What operators show, if anything.
    pub admin_token: Option<AdminToken>,
    /// What each client has in hand.
    pub clients: Arc<Clients>,
    /// Instruments.
    pub metrics: Arc<Metrics>,
    /// The access log.
    pub access_log: AccessLog,
    /// Which requests are traced.
    pub traces: Traces,
    /// What is remembered for who looks at the status page.
    pub status: Status,
    /// Request ids.
    pub request_ids: RequestIds,
    /// Routes that were switched off by hand.
    pub switches: Switches,
    /// What outlives configurations.
    pub(crate) lasting: Lasting,
    /// Where models come from.
    model_store: ModelStore,
    pub(crate) reloader: Reloader,
    pub(crate) reloads: reload::Instruments,
    in_progress: Arc<AtomicUsize>,
    leaving: AtomicBool,
}

/// Why the parts could not be built.
#[derive(Debug, thiserror::Error)]
pub enum AppError {
    /// The enhancer does not start.
    #[error(transparent)]
    Engine(#[from] EngineError),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// The client toward origins cannot be built.
    #[error("cannot set up TLS toward origins (Debian's package ca-certificates holds the authorities)")]
    Origins(#[from] reqwest::Error),
    /// The access log's thread cannot be started.
    #[error("cannot start the access log: {0}")]
    Log(#[source] std::io::Error),
    /// Secrets that sign URLs cannot be used.
    #[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  "))]
    Keys(Vec<KeyFault>),
    /// Segments cannot be kept below memory as the configuration says.
    #[error(transparent)]
    Depot(#[from] DepotFault),
    /// Models cannot be taken from a store as the configuration says.
    #[error(transparent)]
    ModelStore(#[from] ModelStoreFault),
    /// Traces cannot be sent.
    #[error(transparent)]
    Traces(#[from] TraceFault),
    /// The other nodes cannot be joined as the configuration says.
    #[error(transparent)]
    Nodes(#[from] NodesFault),
    /// The operators' token cannot be used.
    #[error("admin.token_file {} {fault}", file.display())]
    Token {
        /// Its file.
        file: std::path::PathBuf,
        /// Why.
        fault: SecretFault,
    },
}

impl App {
    /// Builds everything and starts the enhancer: its threads, or its workers (`workers`: what is started
    /// as `acuity worker`, and where they are watched). Models are loaded behind (see [`App::readiness`]).
    ///
    /// # Errors
    /// ONNX Runtime or a thread is not to be had.
    pub fn new(
        config: Config,
        catalogue: Arc<Catalogue>,
        reloader: Reloader,
        workers: (PathBuf, &Handle),
    ) -> Result<Self, AppError> {
        let keys = RouteKeys::load(&config.routes).map_err(AppError::Keys)?;
        let admin_token = config.admin.token_file.as_deref().map(|file| {
            AdminToken::read(file).map_err(|fault| AppError::Token { file: file.to_owned(), fault })
        });
        let admin_token = admin_token.transpose()?;
        let registry = Registry::new();
        let metrics = Arc::new(Metrics::register(&registry)?);
        let clients = Arc::new(Clients::new(&config.limits, limits::Instruments::register(&registry)?));
        let access_log = match config.log.access {
            AccessLogTarget::Off => AccessLog::off(metrics.access_log_dropped.clone()),
            AccessLogTarget::Stdout => {
                AccessLog::to(std::io::stdout(), metrics.access_log_dropped.clone()).map_err(AppError::Log)?
            }
        };
        let traces = Traces::start(&config, &registry, workers.1)?;
        let model_store = ModelStore::new(&config.models, &registry)?;
        let engine = Engine::start(&config, uses(&config.routes), catalogue, workers, &registry)?;
        let lasting = Lasting {
            metrics: Arc::clone(&metrics),
            engine: engine.clone(),
            store: store(&config),
            depot: depot(&config, &registry)?,
            nodes: nodes(&config, &registry)?,
            floor: Floor::new(config.enhancer.lanes),
            switches: Switches::default(),
            guard_instruments: Instruments::register(&registry)?,
        };
        let reloads = reload::Instruments::register(&registry)?;
        let setup = Setup::new(config, keys, &lasting, None)?;
        let now = Arc::new(ArcSwap::from_pointee(setup));
        let told = Arc::downgrade(&now);
        // Playlists follow by themselves: each asks what there is.
        engine.on_change(move || {
            if let Some(now) = told.upgrade() {
                now.load().forget_clusters();
            }
        });
        Ok(Self {
            admin_token,
            clients,
            now,
            models: ModelJourney { engine },
            metrics,
            access_log,
            traces,
            status: Status::default(),
            request_ids: RequestIds::default(),
            switches: lasting.switches.clone(),
            lasting,
            model_store,
            reloader,
            reloads,
            in_progress: Arc::default(),
            leaving: AtomicBool::new(false),
        })
    }

    /// What requests that begin now are answered by.
    #[must_use]
    pub fn setup(&self) -> Arc<Setup> {
        self.now.load_full()
    }

    /// Answers requests by `setup` from now on. Reads the clusters' files if streams are to be assigned and were not before: a fraction of
    /// a second.
    pub(crate) fn enter(&self, setup: Setup) {
        if let Err(error) = self.lasting.engine.use_for(uses(&setup.config.routes)) {
            tracing::error!(%error, "the models' directory is not watched");
        }
        self.clients.take(&setup.config.limits);
        self.model_store.set(&setup.config.models);
        setup.enter();
        self.lasting.nodes.take(setup.config.nodes.as_ref());
        let setup = Arc::new(setup);
        let before = self.now.swap(Arc::clone(&setup));
        if !Arc::ptr_eq(before.origins(), setup.origins()) {
            before.origins().stop();
            setup.origins().start();
        }
    }

    /// Starts what works in the background. Within the runtime that serves.
    pub fn start(&self) {
        self.lasting.depot.start();
        self.model_store.start();
        self.setup().origins().start();
        self.lasting.nodes.start();
    }

    /// Whether segments are being made; red until every model is loaded and warmed.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        self.lasting.engine.readiness()
    }

    /// All metrics in Prometheus' text format.
    pub async fn metrics_text(&self) -> String {
        self.show().await;
        self.metrics.text()
    }

    /// Brings gauges up to date.
    pub async fn show(&self) {
        self.lasting.engine.refresh().await;
        let gauge = |value: u64| i64::try_from(value).unwrap_or(i64::MAX);
        self.lasting.nodes.show_copies(self.lasting.store.copies_bytes());
        self.metrics.cache_bytes.set(gauge(self.lasting.store.bytes()));
        self.metrics.cache_entries.set(gauge(self.lasting.store.entries()));
        let setup = self.setup();
        self.metrics.flights.set(gauge(setup.in_flight() as u64));
        setup.guard.show();
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

    /// Forgets what `order` means, what is being made of it included; and what was fetched from origins, all of it, because it is made
    /// of that and is fetched again in a moment. Waits some seconds at most, until the depot remembers it. `by`: the metric's label.
    pub async fn purge(&self, order: &Order, by: &str) -> Purged {
        let in_flight = self.lasting.floor.purge(order);
        self.setup().forget_sources();
        let (objects, bytes) = self.lasting.store.forget(order);
        self.metrics.purges.with_label_values(&[by]).inc();
        self.metrics.purged_objects.inc_by(objects);
        // After memory, and by its time: what a flight from before could still have handed on is meant too.
        let outlasts_restart = self.lasting.depot.forget(order).await;
        tracing::info!(?order, objects, bytes, in_flight, ?outlasts_restart, "purged");
        Purged { objects, bytes, in_flight, outlasts_restart }
    }

    /// Forgets what came from other nodes while these were still being told to forget it.
    pub(crate) fn purge_copies(&self, order: &Order) {
        self.lasting.floor.purge(order);
        self.lasting.store.forget_copies(order);
    }

    /// Has the other nodes forget what this one has. Twice, because a node that was told early may have had a copy from one that was told
    /// late.
    pub async fn purge_others(&self, order: &Order) -> Option<Reached> {
        let first = self.lasting.nodes.purge(order, false).await?;
        self.purge_copies(order);
        self.lasting.nodes.purge(order, true).await;
        Some(first)
    }

    /// The edge is going to stop: load balancers are told, and connections are not kept for another request.
    pub fn leave(&self) {
        self.leaving.store(true, Ordering::Release);
        // An edge that has taken over keeps the directory from here on.
        self.model_store.stop();
    }

    /// Whether it is.
    #[must_use]
    pub fn is_leaving(&self) -> bool {
        self.leaving.load(Ordering::Acquire)
    }

    /// Stops the enhancer: what waits is refused, what is in hand in this process is finished, workers end.
    pub fn shutdown(&self) {
        self.lasting.engine.shutdown();
    }
}

/// What a purge found.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize)]
pub struct Purged {
    /// Objects that were in memory.
    pub objects: u64,
    /// Their bytes.
    pub bytes: u64,
    /// Objects that were being made, and are not kept.
    pub in_flight: usize,
    /// Whether what lies below memory stays forgotten after a restart. `false`: not yet, as it could not be written; it is tried again.
    /// Nothing where nothing lies there.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub outlasts_restart: Option<bool>,
}

/// A request in progress.
pub struct InProgress(Arc<AtomicUsize>);

impl Drop for InProgress {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

/// Where segments are kept below memory, if anywhere.
fn depot(config: &Config, registry: &Registry) -> Result<Depot, DepotFault> {
    if config.cache.depot.is_none() {
        return Ok(Depot::default());
    }
    let [settings, identity] = identity(config)?;
    Depot::new(&config.cache, [settings.as_slice(), &identity], registry)
}

/// The other nodes, if there are any.
fn nodes(config: &Config, registry: &Registry) -> Result<Nodes, NodesFault> {
    let Some(nodes) = &config.nodes else { return Ok(Nodes::default()) };
    let [settings, identity] = identity(config)?;
    Nodes::new(nodes, [settings.as_slice(), &identity], registry)
}

fn store(config: &Config) -> Store {
    match &config.nodes {
        Some(nodes) => Store::with_copies(config.cache.budget_bytes, nodes.hot_share, nodes.hot_for),
        None => Store::new(config.cache.budget_bytes),
    }
}

/// What decides, beside tokens, which segments belong into one stream.
fn identity(config: &Config) -> Result<[Vec<u8>; 2], acuity_enhancer::EnhanceError> {
    let enhancer = &config.enhancer;
    // Not what networks run on: providers differ by rounding.
    let settings = format!(
        "{:?} {} {:?} {} {:?} {} {:?} {:?}",
        enhancer.preset,
        enhancer.crf,
        enhancer.precision,
        enhancer.detail_share,
        enhancer.detail_share_of,
        enhancer.still_limit,
        enhancer.gpu.precision,
        enhancer.gpu.encoder,
    );
    Ok([settings.into_bytes(), acuity_enhancer::stream_identity(enhancer)?])
}
