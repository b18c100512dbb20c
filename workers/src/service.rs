//! The worker's side of the protocol: calls in, the enhancer's answers out.

mod enhance;

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use acuity_config::LogLevel;
use acuity_enhancer::{
    CancelFlag, CompareError, CompareHalvesRequest, CompareRequest, Comparison, Readiness,
};
use acuity_models::{Sha256, Tier};
use bytes::Bytes;
use futures::{Stream, StreamExt as _};
use opentelemetry::trace::FutureExt as _;
use prometheus::Registry;
use tokio::sync::{OwnedSemaphorePermit, oneshot};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::wrappers::IntervalStream;
use tonic::{Request, Response, Status, Streaming};

use crate::listen::Desk;
use crate::local::Local;
use crate::offers::Offers;
use crate::trail;
use crate::wire::{self, Nonsense, families, v1};

/// Between two signs of life.
pub(crate) const BEAT: Duration = Duration::from_millis(200);

/// Answers calls with what `local` makes.
#[derive(Clone)]
pub(crate) struct Service {
    local: Arc<Local>,
    registry: Registry,
    set_level: SetLevel,
    in_hand: Arc<AtomicU32>,
    /// Whom work is taken from, where that is not one edge alone.
    desk: Option<Arc<Desk>>,
}

/// Changes how much is written out.
pub(crate) type SetLevel = Arc<dyn Fn(LogLevel) + Send + Sync>;

type Replies<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

impl Service {
    pub(crate) fn new(local: Arc<Local>, registry: Registry, set_level: SetLevel) -> Self {
        Self { local, registry, set_level, in_hand: Arc::default(), desk: None }
    }

    /// How many segments are in hand, for who counts them too.
    pub(crate) fn in_hand(&self) -> Arc<AtomicU32> {
        Arc::clone(&self.in_hand)
    }

    /// The same for several edges, by `desk`'s leave.
    pub(crate) fn shared_by(self, desk: Arc<Desk>) -> Self {
        Self { desk: Some(desk), ..self }
    }

    /// One edge's word must not change what others get.
    fn own_edge_alone(&self) -> Result<(), Status> {
        match self.desk {
            None => Ok(()),
            Some(_) => Err(Status::permission_denied("several edges share this worker")),
        }
    }

    /// Leave for a question that is no segment; it ends with what is given.
    fn beside(&self) -> Result<Option<OwnedSemaphorePermit>, Status> {
        self.desk.as_ref().map(|desk| desk.beside()).transpose()
    }

    fn standing(&self) -> v1::Standing {
        let enhancer = &self.local.enhancer;
        let state = match enhancer.readiness() {
            _ if self.desk.as_ref().is_some_and(|desk| desk.is_draining()) => v1::standing::State::Draining,
            Readiness::Starting => v1::standing::State::Starting,
            Readiness::Ready => v1::standing::State::Ready,
            Readiness::Stopped => v1::standing::State::Stopped,
        };
        let name = |way: Option<&str>| way.unwrap_or_default().to_owned();
        let settled = enhancer.settled();
        v1::Standing {
            provider: name(settled.map(|(provider, _)| provider.as_str())),
            precision: name(settled.map(|(_, precision)| precision.as_str())),
            state: state.into(),
            lanes: u32::try_from(self.local.config.lanes).unwrap_or(u32::MAX),
            load: self.in_hand.load(Ordering::Relaxed),
            installs: enhancer.installs(),
            instance: self.desk.as_ref().map_or(0, |desk| desk.instance),
            ..Offers::of(enhancer).message()
        }
    }

    /// Waits for a comparison; who stops waiting stops it.
    async fn compared(
        cancel: CancelFlag,
        reply: oneshot::Receiver<Result<Comparison, CompareError>>,
    ) -> Result<Response<v1::CompareReply>, Status> {
        let _cancel = CancelOnDrop(cancel);
        let compared = reply.await.unwrap_or(Err(CompareError::WorkerLost));
        // The label is all that anybody asks for.
        let Comparison { frames, plain_db, tiers } =
            compared.map_err(|why| Status::failed_precondition(why.label()))?;
        let tiers = tiers.into_iter().map(|tier| v1::TierComparison {
            tier: tier.tier.label().to_owned(),
            own_db: tier.own_db,
            generic_db: tier.generic_db,
        });
        Ok(Response::new(v1::CompareReply { frames, plain_db, tiers: tiers.collect() }))
    }
}

/// Stops work when nobody waits for it any more.
struct CancelOnDrop(CancelFlag);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

impl From<Nonsense> for Status {
    fn from(nonsense: Nonsense) -> Self {
        Self::invalid_argument(nonsense.to_string())
    }
}

fn tiers(labels: &[String]) -> Result<Vec<Tier>, Nonsense> {
    labels.iter().map(|label| label.parse().map_err(|_| Nonsense("a tier"))).collect()
}

fn set_of(set: Option<v1::ModelSet>) -> Result<v1::ModelSet, Nonsense> {
    set.ok_or(Nonsense("no model set"))
}

#[tonic::async_trait]
impl v1::worker_server::Worker for Service {
    type EnhanceStream = Replies<v1::EnhanceReply>;

    async fn enhance(
        &self,
        mut request: Request<Streaming<v1::EnhanceMessage>>,
    ) -> Result<Response<Self::EnhanceStream>, Status> {
        let behalf = trail::extract(request.metadata_mut());
        let place = match &self.desk {
            Some(desk) => enhance::Place::Shared(desk.take(request.metadata())?),
            None => enhance::Place::own(&self.in_hand),
        };
        let replies = enhance::enhance(&self.local, place, self.desk.clone(), request.into_inner());
        let replies = replies.with_context(behalf).await?;
        Ok(Response::new(Box::pin(replies)))
    }

    type WatchStream = Replies<v1::Standing>;

    async fn watch(&self, _: Request<v1::WatchRequest>) -> Result<Response<Self::WatchStream>, Status> {
        let mut beats = interval(BEAT);
        beats.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let service = self.clone();
        let ended = self.desk.as_ref().map(|desk| desk.ended());
        let standings = IntervalStream::new(beats).map(move |_| Ok(service.standing()));
        Ok(Response::new(match ended {
            Some(ended) => Box::pin(standings.take_until(Box::pin(ended))),
            None => Box::pin(standings),
        }))
    }

    async fn assign(&self, request: Request<v1::AssignRequest>) -> Result<Response<v1::AssignReply>, Status> {
        let _leave = self.beside()?;
        let v1::AssignRequest { init, segment } = request.into_inner();
        let local = Arc::clone(&self.local);
        let cluster = tokio::task::spawn_blocking(move || local.cluster_of(init.as_deref(), segment)).await;
        // What the describer cannot stand looks like nothing.
        Ok(Response::new(v1::AssignReply { cluster: cluster.ok().flatten() }))
    }

    async fn compare(
        &self,
        request: Request<v1::CompareRequest>,
    ) -> Result<Response<v1::CompareReply>, Status> {
        let _leave = self.beside()?;
        let message = request.into_inner();
        let (set, tiers) = (set_of(message.set)?, tiers(&message.tiers)?);
        let (cancel, (told, reply)) = (CancelFlag::default(), oneshot::channel());
        let request = CompareRequest {
            init: message.init,
            segment: message.segment,
            high_init: message.high_init,
            high_segment: message.high_segment,
            cluster: set.cluster,
            scale: message.scale,
            digest: set.digest,
            tiers,
            frames: message.frames.max(1) as usize,
            cancel: cancel.clone(),
        };
        self.local.enhancer.compare(request, Box::new(move |result| drop(told.send(result))));
        Self::compared(cancel, reply).await
    }

    async fn compare_halves(
        &self,
        request: Request<v1::CompareHalvesRequest>,
    ) -> Result<Response<v1::CompareReply>, Status> {
        let _leave = self.beside()?;
        let message = request.into_inner();
        let (set, tiers) = (set_of(message.set)?, tiers(&message.tiers)?);
        let (cancel, (told, reply)) = (CancelFlag::default(), oneshot::channel());
        let request = CompareHalvesRequest {
            init: message.init,
            segment: message.segment,
            cluster: set.cluster,
            digest: set.digest,
            tiers,
            frames: message.frames.max(1) as usize,
            cancel: cancel.clone(),
        };
        self.local.enhancer.compare_halves(request, Box::new(move |result| drop(told.send(result))));
        Self::compared(cancel, reply).await
    }

    async fn prepare(
        &self,
        request: Request<v1::PrepareRequest>,
    ) -> Result<Response<v1::PrepareReply>, Status> {
        let v1::PrepareRequest { set, scale, width, height } = request.into_inner();
        let v1::ModelSet { cluster, digest } = set_of(set)?;
        match scale {
            Some(scale) => self.local.enhancer.prepare(&cluster, scale, &digest),
            None => self.local.enhancer.prepare_interpolator(&cluster, &digest, width, height),
        }
        Ok(Response::new(v1::PrepareReply {}))
    }

    async fn withdraw(
        &self,
        request: Request<v1::WithdrawRequest>,
    ) -> Result<Response<v1::WithdrawReply>, Status> {
        self.own_edge_alone()?;
        let v1::WithdrawRequest { set, scale, tier, at_least_ms } = request.into_inner();
        let v1::ModelSet { cluster, digest } = set_of(set)?;
        let tier: Tier = tier.parse().map_err(|_| Nonsense("a tier"))?;
        let at_least = Duration::from_millis(at_least_ms);
        match scale {
            Some(scale) => self.local.enhancer.withdraw(&cluster, scale, &digest, tier, at_least),
            None => self.local.enhancer.withdraw_interpolator(&cluster, &digest, tier, at_least),
        };
        Ok(Response::new(v1::WithdrawReply {}))
    }

    async fn set_log_level(
        &self,
        request: Request<v1::SetLogLevelRequest>,
    ) -> Result<Response<v1::SetLogLevelReply>, Status> {
        self.own_edge_alone()?;
        let level = request.into_inner().level;
        let level = LogLevel::ALL.into_iter().find(|known| known.as_str() == level);
        (self.set_level)(level.ok_or(Nonsense("a level"))?);
        Ok(Response::new(v1::SetLogLevelReply {}))
    }

    type ModelFileStream = Replies<v1::ModelFileReply>;

    async fn model_file(
        &self,
        request: Request<v1::ModelFileRequest>,
    ) -> Result<Response<Self::ModelFileStream>, Status> {
        let sha256: Sha256 = request.into_inner().sha256.parse().map_err(|_| Nonsense("a digest"))?;
        let file = self.local.enhancer.model_file(&sha256);
        let mut left = file.ok_or_else(|| Status::not_found("no such model is in use"))?;
        let leave = self.beside()?;
        let pieces = std::iter::from_fn(move || {
            let _leave = &leave;
            let piece = left.split_to(left.len().min(wire::PIECE_BYTES));
            (!piece.is_empty()).then_some(Ok(v1::ModelFileReply { data: piece }))
        });
        Ok(Response::new(Box::pin(futures::stream::iter(pieces))))
    }

    async fn describe_set(
        &self,
        request: Request<v1::DescribeSetRequest>,
    ) -> Result<Response<v1::DescribeSetReply>, Status> {
        let v1::DescribeSetRequest { set, scale } = request.into_inner();
        let v1::ModelSet { cluster, digest } = set_of(set)?;
        let set = self.local.enhancer.set(&cluster, scale, &digest);
        let set = set.ok_or_else(|| Status::not_found("no such set is in use"))?;
        let json = serde_json::to_vec_pretty(&set.description())
            .map_err(|error| Status::internal(error.to_string()))?;
        Ok(Response::new(v1::DescribeSetReply { json: Bytes::from(json) }))
    }

    async fn metrics(&self, _: Request<v1::MetricsRequest>) -> Result<Response<v1::MetricsReply>, Status> {
        Ok(Response::new(families::message(&self.registry.gather())))
    }
}
