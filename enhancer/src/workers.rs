//! The enhancer's threads and the door to them.
//!
//! Why threads of our own: decoding, inference and encoding are work, not waiting; on the proxy's runtime they
//! would stall every connection of a core. Async code sends a request, and its reply is called from a lane.

mod turns;

use std::collections::HashSet;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use acuity_config::{EnhancerConfig, Precision, Provider};
use acuity_models::{Catalogue, Sha256, Tier};
use bytes::Bytes;
use prometheus::Registry;

use crate::codec::{self, Codecs};
use crate::compare::Work;
use crate::inference::Runtime;
use crate::interpolators::name_of;
use crate::lane::Lane;
use crate::library::Library;
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::schedule::{Board, Costs, Offered, Standing, z_of};
use crate::sets::SetName;
use crate::{
    CompareError, CompareHalvesRequest, CompareReply, CompareRequest, EnhanceError, EnhanceRequest,
    EnhancedSegment, Keeping, OfferedInterpolator, OfferedSet, Pieces, Refusal, StartError,
};

/// Called once, from a worker thread (or from `submit` itself when the request is refused at once). Must not block.
pub type Reply = Box<dyn FnOnce(Result<EnhancedSegment, EnhanceError>) + Send>;

/// Whether the enhancer can work.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Readiness {
    /// Models are being loaded and warmed.
    Starting,
    /// Every lane works.
    Ready,
    /// It has been shut down, or every lane is lost.
    Stopped,
}

/// A handle on the worker threads. Clones share them.
#[derive(Clone)]
pub struct Enhancer(Arc<Shared>);

struct Shared {
    board: Mutex<Board<Job>>,
    work: Condvar,
    /// What lanes do when there is nothing else to do. Locked after `board`, or alone.
    comparison: Mutex<Option<PendingComparison>>,
    /// Lanes that make a segment.
    busy: AtomicUsize,
    config: Arc<EnhancerConfig>,
    closed: AtomicBool,
    lanes: usize,
    ready_lanes: AtomicUsize,
    library: Arc<Library>,
    metrics: Metrics,
}

struct Job {
    request: EnhanceRequest,
    pieces: Option<Pieces>,
    reply: Reply,
    queued: Instant,
}

impl Job {
    fn refuse(self, metrics: &Metrics, error: EnhanceError) {
        metrics.failed(&error);
        (self.reply)(Err(error));
    }
}

struct PendingComparison {
    work: Box<Work>,
    reply: CompareReply,
}

impl Enhancer {
    /// Loads ONNX Runtime and starts `config.lanes` workers and the loader, which installs `catalogue`; work is taken when
    /// that is done: see [`Enhancer::readiness`]. A model that is not what it should be is left out: see
    /// [`Enhancer::refused`].
    ///
    /// # Errors
    /// ONNX Runtime, the execution provider or the card's codec that was asked for is not to be had, or a thread cannot be started.
    pub fn start(
        config: &EnhancerConfig,
        catalogue: Arc<Catalogue>,
        registry: &Registry,
    ) -> Result<Self, StartError> {
        Self::start_keeping(config, catalogue, registry, Keeping::default())
    }

    /// As [`Enhancer::start`], with other times for what nobody asks for.
    ///
    /// # Errors
    /// As [`Enhancer::start`].
    pub fn start_keeping(
        config: &EnhancerConfig,
        catalogue: Arc<Catalogue>,
        registry: &Registry,
        keeping: Keeping,
    ) -> Result<Self, StartError> {
        codec::memory::bound();
        let metrics = Metrics::register(registry)?;
        metrics.lanes.set(i64::try_from(config.lanes).unwrap_or(i64::MAX));
        let codecs = Arc::new(Codecs::probe(config)?);
        let runtime = Runtime::load(config)?;
        let config = Arc::new(config.clone());
        let costs = Arc::new(Costs::open(&config));
        let library = Arc::new(Library::new(config.lanes, keeping, costs));
        library.install(catalogue);
        let shared = Arc::new(Shared {
            board: Mutex::new(Board::new(config.lanes, config.queue_limit, z_of(config.confidence))),
            work: Condvar::new(),
            comparison: Mutex::default(),
            busy: AtomicUsize::new(0),
            config: Arc::clone(&config),
            closed: AtomicBool::new(false),
            lanes: config.lanes,
            ready_lanes: AtomicUsize::new(0),
            library: Arc::clone(&library),
            metrics: metrics.clone(),
        });
        // One more than there are lanes: the spare one, see [`Board::take_spare`].
        for number in 0..=config.lanes {
            let shared = Arc::clone(&shared);
            let lane = Lane::new(number, Arc::clone(&config), Arc::clone(&library), Arc::clone(&codecs));
            thread::Builder::new()
                .name(format!("acuity-lane-{number}"))
                .spawn(move || shared.work_on(lane))
                .map_err(StartError::Thread)?;
        }
        let waker = Arc::clone(&shared);
        let loader = Loader { library, runtime, metrics, config, shown: HashSet::new() };
        thread::Builder::new()
            .name("acuity-loader".to_owned())
            .spawn(move || loader.run(|| waker.wake()))
            .map_err(StartError::Thread)?;
        Ok(Self(shared))
    }

    /// Makes `catalogue` the one in force. Returns at once; the loader's thread verifies files and makes sessions, then
    /// swaps all at once. See [`Enhancer::offered`], [`Enhancer::refused`] and [`Enhancer::installs`] for what came of it.
    pub fn install(&self, catalogue: Arc<Catalogue>) {
        self.0.library.install(catalogue);
    }

    /// How many catalogues have been installed to the end. One that the next overtook before its turn does not count.
    #[must_use]
    pub fn installs(&self) -> u64 {
        self.0.library.installs()
    }

    /// What was found to run networks quickest here, where the configuration leaves that open. Two searches need not find the same on a
    /// busy machine, and other kernels make other pictures: who has several enhancers tells the others.
    #[must_use]
    pub fn settled(&self) -> Option<(Provider, Precision)> {
        self.0.library.settled()
    }

    /// The sets that may be put into new playlists: each has a model at least that is verified, keeps its contract and
    /// has run here. In the order of cluster and scale.
    #[must_use]
    pub fn offered(&self) -> Arc<Vec<OfferedSet>> {
        self.0.library.offered()
    }

    /// A set that segments are made with, be it offered or replaced and still asked for.
    #[must_use]
    pub fn set(&self, cluster: &str, scale: u32, digest: &str) -> Option<OfferedSet> {
        self.0.library.set(cluster, scale, digest)
    }

    /// The bytes of a model of any set that segments are made with, offered or replaced.
    #[must_use]
    pub fn model_file(&self, sha256: &Sha256) -> Option<Bytes> {
        self.0.library.model_file(sha256)
    }

    /// The models of the catalogue in force that are not used, and why.
    #[must_use]
    pub fn refused(&self) -> Arc<Vec<Refusal>> {
        self.0.library.refused()
    }

    /// Says that segments of this set will be asked for soon (it was put into a playlist that somebody fetched), so that
    /// its sessions are there before the first. Never blocks; unknown sets are ignored.
    pub fn prepare(&self, cluster: &str, scale: u32, digest: &str) {
        let name = SetName { cluster: cluster.to_owned(), scale, digest: digest.to_owned() };
        self.0.library.prepare(&name);
    }

    /// The sets that interpolate and may be put into new playlists, in no order.
    #[must_use]
    pub fn interpolators(&self) -> Vec<OfferedInterpolator> {
        self.0.library.interpolators.offered()
    }

    /// As [`Enhancer::prepare`], for a set that interpolates and sources of `width` x `height`.
    pub fn prepare_interpolator(&self, cluster: &str, digest: &str, width: u32, height: u32) {
        self.0.library.prepare_middle((cluster, digest), (width as usize, height as usize));
    }

    /// Whether segments are being made.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.0.closed.load(Ordering::Acquire) {
            Readiness::Stopped
        } else if self.0.is_ready() {
            Readiness::Ready
        } else {
            Readiness::Starting
        }
    }

    /// Hands a segment in. Never blocks; `reply` is called exactly once, with [`EnhanceError::QueueFull`] at once if
    /// there is no room. Work that waits before the lanes are ready is done when they are.
    pub fn submit(&self, request: EnhanceRequest, reply: Reply) {
        self.submit_in_pieces(request, None, reply);
    }

    /// As [`Enhancer::submit`]; `pieces` gets the segment's bytes while the rest is being made, if that is quick enough (see
    /// `enhancer.stream_pace`). Once it has got some, an error means that they are the begin of nothing.
    pub fn submit_in_pieces(&self, request: EnhanceRequest, pieces: Option<Pieces>, reply: Reply) {
        let shared = &self.0;
        let standing = Standing {
            priority: request.priority,
            deadline: request.deadline,
            demand: request.demand.clone(),
            need: shared.library.need(&request, z_of(shared.config.confidence)),
        };
        let job = Job { request, pieces, reply, queued: Instant::now() };
        if shared.closed.load(Ordering::Acquire) {
            return job.refuse(&shared.metrics, EnhanceError::ShuttingDown);
        }
        let mut board = shared.board();
        let limit = board.limit();
        let now = Instant::now();
        let offered = board.offer(job, standing, now);
        let late = board.shed(now);
        shared.metrics.queue_depth.set(i64::try_from(board.len()).unwrap_or(i64::MAX));
        drop(board);
        match offered {
            Offered::Taken => shared.work.notify_all(),
            Offered::Displaced(other) => {
                shared.work.notify_all();
                shared.metrics.dropped_waiting.inc();
                other.refuse(&shared.metrics, EnhanceError::QueueFull { limit });
            }
            Offered::Refused(job) => job.refuse(&shared.metrics, EnhanceError::QueueFull { limit }),
        }
        late.into_iter().for_each(|job| job.refuse(&shared.metrics, EnhanceError::TooLate));
    }

    /// Says that the [`crate::Demand`] of something that waits or is being made has risen: others may have to make room for it.
    pub fn reconsider(&self) {
        self.0.board().reconsider(Instant::now());
    }

    /// Compares what the models of a set make of a segment with the origin's own high rendition, when no lane has anything else
    /// to do and a picture at a time. Never blocks; `reply` is called exactly once, with [`CompareError::Busy`] at once if
    /// another comparison waits.
    pub fn compare(&self, request: CompareRequest, reply: CompareReply) {
        self.0.begin(request.work(Arc::clone(&self.0.config)), reply);
    }

    /// As [`Enhancer::compare`], of a set that interpolates, by the source alone: what its models make of every other picture with
    /// what is shown there.
    pub fn compare_halves(&self, request: CompareHalvesRequest, reply: CompareReply) {
        self.0.begin(request.work(Arc::clone(&self.0.config)), reply);
    }

    /// Stops using one tier of a set, because it loses against what would be used instead: for `at_least` so long, and then
    /// until a new catalogue is installed that still names it. A set without any tier left is stopped as if it had been
    /// removed. Gives whether it was in use.
    pub fn withdraw(&self, cluster: &str, scale: u32, digest: &str, tier: Tier, at_least: Duration) -> bool {
        let name = SetName { cluster: cluster.to_owned(), scale, digest: digest.to_owned() };
        self.0.library.withdraw(&name, tier, at_least)
    }

    /// As [`Enhancer::withdraw`], of a set that interpolates.
    pub fn withdraw_interpolator(&self, cluster: &str, digest: &str, tier: Tier, at_least: Duration) -> bool {
        self.0.library.interpolators.withdraw(&name_of(cluster, digest), tier, at_least)
    }

    /// Segments that wait for a lane.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.0.board().len()
    }

    /// Refuses new work and what waits; segments in hand are finished.
    pub fn shutdown(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.library.close();
        self.0.library.costs.keep();
        let waiting = self.0.board().drain();
        self.0.work.notify_all();
        self.0.metrics.queue_depth.set(0);
        for job in waiting {
            job.refuse(&self.0.metrics, EnhanceError::ShuttingDown);
        }
        if let Some(PendingComparison { reply, .. }) = self.0.comparison().take() {
            reply(Err(CompareError::ShuttingDown));
        }
    }
}

impl Shared {
    fn is_ready(&self) -> bool {
        self.ready_lanes.load(Ordering::Acquire) == self.lanes && self.library.installs() > 0
    }

    /// Something has come of the loader's work: lanes look again at what waits.
    fn wake(&self) {
        if self.is_ready() && !self.closed.load(Ordering::Acquire) {
            self.metrics.ready.set(1);
        }
        // Under the lock, so that no lane is between its look and its wait.
        let _board = self.board();
        self.work.notify_all();
    }

    /// Leaves a comparison to the lanes.
    fn begin(&self, work: Work, reply: CompareReply) {
        if self.closed.load(Ordering::Acquire) {
            return reply(Err(CompareError::ShuttingDown));
        }
        self.put_aside(PendingComparison { work: Box::new(work), reply });
        // Under the lock, so that no lane is between its look and its wait.
        let _board = self.board();
        self.work.notify_all();
    }

    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn board(&self) -> MutexGuard<'_, Board<Job>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn comparison(&self) -> MutexGuard<'_, Option<PendingComparison>> {
        self.comparison.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
