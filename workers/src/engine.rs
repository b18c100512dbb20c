//! The enhancer as the edge sees it, wherever it runs.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::SystemTime;

use acuity_config::{Config, LogLevel};
use acuity_enhancer::{
    CompareError, CompareHalvesRequest, CompareRequest, Comparison, Demand, EnhanceError, EnhanceRequest,
    EnhancedSegment, Enhancer, Haste, OfferedInterpolator, Pieces, Readiness, TierComparison,
};
use acuity_models::{Catalogue, Sha256, Tier};
use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use opentelemetry::Context;
use opentelemetry::trace::SpanKind;
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::{Notify, oneshot};

use crate::local::{Local, LocalError};
use crate::offers::{Offer, Offers};
use crate::pool::Pool;
use crate::trail;
use crate::wire::{self, v1};

/// Largest network that is taken from a worker: above what the catalogue allows.
const MODEL_FILE_LIMIT: usize = 512 << 20;

/// What the edge uses of the enhancer; it may change with the configuration.
#[derive(Debug, Clone, Copy)]
pub struct Uses {
    /// Any route enhances with models, so that their directory is watched.
    pub models: bool,
    /// Any route's streams are assigned by their looks.
    pub looks: bool,
}

/// The enhancer, in this process or in others. Clones share it.
#[derive(Clone)]
pub struct Engine(Arc<Place>);

enum Place {
    Here(Box<Local>),
    Pool(Pool),
}

/// Why there is no enhancer.
#[derive(Debug, thiserror::Error)]
pub enum EngineError {
    /// It does not start in this process.
    #[error(transparent)]
    Local(#[from] LocalError),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}

/// Why nothing was compared: one of [`CompareError::LABELS`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Uncompared(pub &'static str);

/// A segment that was asked for: what may be said of it while it is made.
#[derive(Clone)]
pub struct Asked {
    demand: Demand,
    raised: Raised,
}

#[derive(Clone)]
enum Raised {
    Here(Enhancer),
    Pool(Arc<Notify>),
}

impl Asked {
    /// A viewer has come for it who needs it by `deadline`; in all `audience` players are expected.
    pub fn raise(&self, deadline: Option<std::time::Instant>, haste: Haste, audience: u32) {
        self.demand.raise(deadline, haste, audience);
        match &self.raised {
            Raised::Here(enhancer) => enhancer.reconsider(),
            Raised::Pool(raised) => raised.notify_one(),
        }
    }
}

impl Engine {
    /// Starts it where `config` says; with workers, as tasks of `handle`'s runtime, and `program` is what becomes one by `acuity worker`.
    ///
    /// # Errors
    /// It is to run in this process, and does not.
    pub fn start(
        config: &Config,
        uses: Uses,
        catalogue: Arc<Catalogue>,
        (program, handle): (PathBuf, &Handle),
        registry: &Registry,
    ) -> Result<Self, EngineError> {
        if config.workers.count > 0 || config.workers.remote.is_some() {
            return Ok(Self(Arc::new(Place::Pool(Pool::start(config, program, handle, registry)?))));
        }
        let local = Local::start(&config.enhancer, &config.models, catalogue, registry)?;
        let engine = Self(Arc::new(Place::Here(Box::new(local))));
        engine.use_for(uses).map_err(LocalError::Watch)?;
        Ok(engine)
    }

    /// What it is used for from now on, beside what it was used for before: in this process the models' directory is watched and the
    /// clusters' files are read if they were not yet. Workers do both by themselves.
    ///
    /// # Errors
    /// The thread that watches cannot be started.
    pub fn use_for(&self, uses: Uses) -> std::io::Result<()> {
        let Place::Here(local) = &*self.0 else { return Ok(()) };
        if uses.looks {
            local.load_assigner();
        }
        if uses.models { local.watch() } else { Ok(()) }
    }

    /// Has workers say so much from now on. What runs in this process says as much as the process.
    pub fn set_log_level(&self, level: LogLevel) {
        if let Place::Pool(pool) = &*self.0 {
            pool.set_log_level(level);
        }
    }

    /// Calls `tell` whenever other models have come.
    pub fn on_change(&self, tell: impl Fn() + Send + 'static) {
        match &*self.0 {
            Place::Here(local) => local.on_change(Box::new(tell)),
            Place::Pool(pool) => pool.on_change(Box::new(tell)),
        }
    }

    /// Whether segments are being made. Once workers were ready it stays so: what can be served without them is.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        match &*self.0 {
            Place::Here(local) => local.enhancer.readiness(),
            Place::Pool(pool) => pool.readiness(),
        }
    }

    /// Has a segment made; `pieces` gets its bytes while the rest is being made, if that is quick enough. Once it has got some, an
    /// error means that they are the begin of nothing. Dropping the future gives the segment up where it is made by a worker.
    #[must_use]
    pub fn enhance(
        &self,
        mut request: EnhanceRequest,
        pieces: Option<Pieces>,
    ) -> (Asked, BoxFuture<'static, Result<EnhancedSegment, EnhanceError>>) {
        let demand = request.demand.clone();
        let span = trail::child("enhance", SpanKind::Internal, Vec::new());
        request.context = span.clone().unwrap_or_else(Context::current);
        match &*self.0 {
            Place::Here(local) => {
                let (sender, reply) = oneshot::channel();
                // If nobody listens any more the runtime is going down, and the result with it.
                let reply_to = Box::new(move |result| drop(sender.send(result)));
                local.enhancer.submit_in_pieces(request, pieces, reply_to);
                let raised = Raised::Here(local.enhancer.clone());
                let made = async move {
                    let made = reply.await.unwrap_or(Err(EnhanceError::WorkerLost));
                    if let Ok(made) = &made {
                        trail::stages(span.as_ref(), &made.report, SystemTime::now());
                    }
                    trail::made(span.as_ref(), &made);
                    made
                };
                (Asked { demand, raised }, Box::pin(made))
            }
            Place::Pool(pool) => {
                let raised = Arc::new(Notify::new());
                let work = pool.clone().enhance(request, pieces, Arc::clone(&raised));
                let made = async move {
                    let made = trail::within(span.as_ref(), work).await;
                    trail::made(span.as_ref(), &made);
                    made
                };
                (Asked { demand, raised: Raised::Pool(raised) }, Box::pin(made))
            }
        }
    }

    /// The cluster that a clear segment looks like; `None` if it looks like none, or cannot be looked at.
    pub async fn cluster_of(&self, init: Option<Bytes>, segment: Bytes) -> Option<String> {
        match &*self.0 {
            Place::Here(_) => {
                let engine = self.clone();
                let looked = tokio::task::spawn_blocking(move || match &*engine.0 {
                    Place::Here(local) => local.cluster_of(init.as_deref(), segment),
                    Place::Pool(_) => None,
                });
                looked.await.ok().flatten()
            }
            Place::Pool(pool) => {
                let mut client = pool.any()?.client();
                let reply = client.assign(v1::AssignRequest { init, segment }).await.ok()?;
                reply.into_inner().cluster.and_then(|cluster| wire::name(cluster).ok())
            }
        }
    }

    /// The sets that enlarge and may be put into new playlists.
    #[must_use]
    pub fn offered(&self) -> Vec<Offer> {
        self.offers(|offers| offers.sets.clone())
    }

    /// Those that interpolate.
    #[must_use]
    pub fn interpolators(&self) -> Vec<OfferedInterpolator> {
        self.offers(|offers| offers.interpolators.clone())
    }

    fn offers<T>(&self, take: impl Fn(&Offers) -> T) -> T {
        match &*self.0 {
            Place::Here(local) => take(&Offers::of(&local.enhancer)),
            Place::Pool(pool) => take(&pool.offers()),
        }
    }

    /// Says that segments of this set will be asked for soon. Never blocks.
    pub fn prepare(&self, cluster: &str, scale: u32, digest: &str) {
        match &*self.0 {
            Place::Here(local) => local.enhancer.prepare(cluster, scale, digest),
            Place::Pool(pool) => pool.prepare(v1::PrepareRequest {
                set: set(cluster, digest),
                scale: Some(scale),
                ..v1::PrepareRequest::default()
            }),
        }
    }

    /// As [`Engine::prepare`], for a set that interpolates and sources of `width` x `height`.
    pub fn prepare_interpolator(&self, cluster: &str, digest: &str, width: u32, height: u32) {
        match &*self.0 {
            Place::Here(local) => local.enhancer.prepare_interpolator(cluster, digest, width, height),
            Place::Pool(pool) => {
                pool.prepare(v1::PrepareRequest { set: set(cluster, digest), scale: None, width, height });
            }
        }
    }

    /// Stops using one tier of a set for `at_least` so long; `scale`: of one that enlarges, `None`: of one that interpolates.
    pub fn withdraw(
        &self,
        (cluster, digest): (&str, &str),
        scale: Option<u32>,
        tier: Tier,
        at_least: std::time::Duration,
    ) {
        match (&*self.0, scale) {
            (Place::Here(local), Some(scale)) => {
                local.enhancer.withdraw(cluster, scale, digest, tier, at_least);
            }
            (Place::Here(local), None) => {
                local.enhancer.withdraw_interpolator(cluster, digest, tier, at_least);
            }
            (Place::Pool(pool), scale) => pool.withdraw(v1::WithdrawRequest {
                set: set(cluster, digest),
                scale,
                tier: tier.label().to_owned(),
                at_least_ms: u64::try_from(at_least.as_millis()).unwrap_or(u64::MAX),
            }),
        }
    }

    /// Compares what the models of a set make of a segment with the origin's own high rendition.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn compare(&self, request: CompareRequest) -> Result<Comparison, Uncompared> {
        match &*self.0 {
            Place::Here(local) => {
                let (told, reply) = oneshot::channel();
                local.enhancer.compare(request, Box::new(move |result| drop(told.send(result))));
                compared(reply).await
            }
            Place::Pool(pool) => {
                let mut client = pool.any().ok_or(LOST)?.client();
                let message = v1::CompareRequest {
                    init: request.init,
                    segment: request.segment,
                    high_init: request.high_init,
                    high_segment: request.high_segment,
                    set: set(&request.cluster, &request.digest),
                    scale: request.scale,
                    tiers: labels(&request.tiers),
                    frames: u32::try_from(request.frames).unwrap_or(u32::MAX),
                };
                comparison(client.compare(message).await)
            }
        }
    }

    /// As [`Engine::compare`], of a set that interpolates, by the source alone.
    ///
    /// # Errors
    /// Why it was not.
    pub async fn compare_halves(&self, request: CompareHalvesRequest) -> Result<Comparison, Uncompared> {
        match &*self.0 {
            Place::Here(local) => {
                let (told, reply) = oneshot::channel();
                local.enhancer.compare_halves(request, Box::new(move |result| drop(told.send(result))));
                compared(reply).await
            }
            Place::Pool(pool) => {
                let mut client = pool.any().ok_or(LOST)?.client();
                let message = v1::CompareHalvesRequest {
                    init: request.init,
                    segment: request.segment,
                    set: set(&request.cluster, &request.digest),
                    tiers: labels(&request.tiers),
                    frames: u32::try_from(request.frames).unwrap_or(u32::MAX),
                };
                comparison(client.compare_halves(message).await)
            }
        }
    }

    /// The bytes of a network that is in use, verified.
    pub async fn model_file(&self, sha256: &Sha256) -> Option<Bytes> {
        match &*self.0 {
            Place::Here(local) => local.enhancer.model_file(sha256),
            Place::Pool(pool) => {
                let mut client = pool.any()?.client();
                let request = v1::ModelFileRequest { sha256: sha256.to_string() };
                let mut pieces = client.model_file(request).await.ok()?.into_inner();
                let mut file = BytesMut::new();
                while let Some(piece) = pieces.message().await.ok()? {
                    if file.len() + piece.data.len() > MODEL_FILE_LIMIT {
                        return None;
                    }
                    file.extend_from_slice(&piece.data);
                }
                (Sha256::of(&file) == *sha256).then(|| file.freeze())
            }
        }
    }

    /// What clients are told about a set that segments are made with, as JSON.
    pub async fn description(&self, cluster: &str, scale: u32, digest: &str) -> Option<Bytes> {
        match &*self.0 {
            Place::Here(local) => {
                let set = local.enhancer.set(cluster, scale, digest)?;
                serde_json::to_vec_pretty(&set.description()).ok().map(Bytes::from)
            }
            Place::Pool(pool) => {
                let mut client = pool.any()?.client();
                let request = v1::DescribeSetRequest { set: set(cluster, digest), scale };
                client.describe_set(request).await.ok().map(|reply| reply.into_inner().json)
            }
        }
    }

    /// Brings what workers count up to date, for a look at the metrics.
    pub async fn refresh(&self) {
        if let Place::Pool(pool) = &*self.0 {
            pool.refresh().await;
        }
    }

    /// Refuses what waits; segments in hand in this process are finished, workers end.
    pub fn shutdown(&self) {
        match &*self.0 {
            Place::Here(local) => local.enhancer.shutdown(),
            Place::Pool(pool) => pool.shutdown(),
        }
    }
}

const LOST: Uncompared = Uncompared("worker_lost");

fn set(cluster: &str, digest: &str) -> Option<v1::ModelSet> {
    Some(v1::ModelSet { cluster: cluster.to_owned(), digest: digest.to_owned() })
}

fn labels(tiers: &[Tier]) -> Vec<String> {
    tiers.iter().map(|tier| tier.label().to_owned()).collect()
}

async fn compared(
    reply: oneshot::Receiver<Result<Comparison, CompareError>>,
) -> Result<Comparison, Uncompared> {
    let result = reply.await.unwrap_or(Err(CompareError::WorkerLost));
    result.map_err(|why| Uncompared(why.label()))
}

fn comparison(
    reply: Result<tonic::Response<v1::CompareReply>, tonic::Status>,
) -> Result<Comparison, Uncompared> {
    let said = reply
        .map_err(|status| wire::known(status.message(), &CompareError::LABELS).map_or(LOST, Uncompared))?;
    let v1::CompareReply { frames, plain_db, tiers } = said.into_inner();
    let tier = |tier: v1::TierComparison| {
        let v1::TierComparison { tier, own_db, generic_db } = tier;
        Ok(TierComparison { tier: tier.parse().map_err(|_| LOST)?, own_db, generic_db })
    };
    Ok(Comparison {
        frames,
        plain_db,
        tiers: tiers.into_iter().map(tier).collect::<Result<_, Uncompared>>()?,
    })
}
