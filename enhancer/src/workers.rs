//! The enhancer's threads and the door to them.
//!
//! Why threads of our own: decoding, inference and encoding are work, not waiting; on the proxy's runtime they
//! would stall every connection of a core. Async code sends a request, and its reply is called from a lane.

use std::collections::HashSet;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::thread;
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_models::{Catalogue, Sha256, Tier};
use bytes::Bytes;
use prometheus::Registry;

use crate::compare::{Turnout, Work};
use crate::inference::Runtime;
use crate::lane::Lane;
use crate::library::{Hand, Library};
use crate::loader::Loader;
use crate::metrics::Metrics;
use crate::report::{MadeBy, Report};
use crate::schedule::{Board, Costs, Facts, Offered, Standing, z_of};
use crate::sets::SetName;
use crate::{
    CompareError, CompareReply, CompareRequest, EnhanceError, EnhanceRequest, EnhancedSegment,
    FallbackReason, Keeping, OfferedSet, Pieces, Refusal, StartError,
};

/// How soon a segment that waits for a session of another lane is looked at again. The loader wakes lanes itself.
const LOOK_AGAIN: Duration = Duration::from_millis(10);

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
    /// ONNX Runtime or the execution provider that was asked for is not to be had, or a thread cannot be started.
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
        let metrics = Metrics::register(registry)?;
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
            let lane = Lane::new(number, Arc::clone(&config), Arc::clone(&library));
            thread::Builder::new()
                .name(format!("acuity-lane-{number}"))
                .spawn(move || shared.work_on(lane))
                .map_err(StartError::Thread)?;
        }
        let waker = Arc::clone(&shared);
        let loader =
            Loader { library, runtime, metrics, detail_share: config.detail_share, shown: HashSet::new() };
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
        let offered = board.offer(job, standing, Instant::now());
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
    }

    /// Says that the [`crate::Demand`] of something that waits or is being made has risen: others may have to make room for it.
    pub fn reconsider(&self) {
        self.0.board().reconsider(Instant::now());
    }

    /// Compares what the models of a set make of a segment with the origin's own high rendition, when no lane has anything else
    /// to do and a picture at a time. Never blocks; `reply` is called exactly once, with [`CompareError::Busy`] at once if
    /// another comparison waits.
    pub fn compare(&self, request: CompareRequest, reply: CompareReply) {
        let shared = &self.0;
        if shared.closed.load(Ordering::Acquire) {
            return reply(Err(CompareError::ShuttingDown));
        }
        let work = Box::new(Work::new(request, Arc::clone(&shared.config)));
        shared.put_aside(PendingComparison { work, reply });
        // Under the lock, so that no lane is between its look and its wait.
        let _board = shared.board();
        shared.work.notify_all();
    }

    /// Stops using one tier of a set, because it loses against what would be used instead: for `at_least` so long, and then
    /// until a new catalogue is installed that still names it. A set without any tier left is stopped as if it had been
    /// removed. Gives whether it was in use.
    pub fn withdraw(&self, cluster: &str, scale: u32, digest: &str, tier: Tier, at_least: Duration) -> bool {
        let name = SetName { cluster: cluster.to_owned(), scale, digest: digest.to_owned() };
        self.0.library.withdraw(&name, tier, at_least)
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

    /// Every change under the lock is complete in itself, so what a panic left behind is valid.
    fn board(&self) -> MutexGuard<'_, Board<Job>> {
        self.board.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn comparison(&self) -> MutexGuard<'_, Option<PendingComparison>> {
        self.comparison.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn work_on(&self, mut lane: Lane) {
        if lane.number() < self.lanes {
            self.ready_lanes.fetch_add(1, Ordering::AcqRel);
            self.wake();
        }
        while let Some(turn) = self.next(lane.number()) {
            match turn {
                Turn::Segment { job, hand, busy } => {
                    self.make(&mut lane, *job, hand, busy);
                    self.busy.fetch_sub(1, Ordering::AcqRel);
                }
                Turn::Comparison(pending) => self.compare(pending),
            }
        }
        self.metrics.ready.set(0);
    }

    fn make(&self, lane: &mut Lane, mut job: Job, hand: Hand, busy: usize) {
        let (number, queued_seconds) = (lane.number(), job.queued.elapsed().as_secs_f64());
        let decide = |facts: &Facts<'_>| {
            let verdict = self.board().decide(number, facts, Instant::now());
            self.metrics.decided(&verdict);
            verdict
        };
        let pieces = job.pieces.take();
        let enhance = || lane.enhance(&job.request, hand, queued_seconds, (busy, &decide), pieces);
        let mut result = if job.request.cancel.is_cancelled() {
            Err(EnhanceError::Cancelled)
        } else {
            // A panic is a bug, and it costs this segment, not the lane: what a lane keeps between segments
            // (scalers, picture memory) and what it hands back (sessions) is valid after any of its operations.
            catch_unwind(AssertUnwindSafe(enhance)).unwrap_or(Err(EnhanceError::WorkerLost))
        };
        let (closing, reserve) = {
            let (mut board, now) = (self.board(), Instant::now());
            let plain = result.as_ref().ok().and_then(|made| is_plain(&made.report));
            (board.finished(number, plain, now), board.reserve(now))
        };
        if let Some(closing) = closing {
            if closing.dropped && matches!(result, Err(EnhanceError::Cancelled)) {
                result = Err(EnhanceError::MadeRoom);
            }
            self.metrics.closed(&closing, result.as_ref().map(|made| &made.report), reserve);
        }
        match &result {
            Ok(made) => self.metrics.made(&made.report),
            Err(error) => self.metrics.failed(error),
        }
        (job.reply)(result);
    }

    /// Goes on with a comparison until there is something else to do.
    fn compare(&self, PendingComparison { work, reply }: PendingComparison) {
        let pause = || {
            self.busy.load(Ordering::Acquire) > 0
                || self.closed.load(Ordering::Acquire)
                || self.board().len() > 0
        };
        let turnout = catch_unwind(AssertUnwindSafe(|| work.go_on(&self.library, &pause)));
        match turnout.unwrap_or(Turnout::Finished(Err(CompareError::WorkerLost))) {
            Turnout::Finished(result) => reply(result),
            Turnout::Unfinished(_) if self.closed.load(Ordering::Acquire) => {
                reply(Err(CompareError::ShuttingDown));
            }
            Turnout::Unfinished(work) => self.put_aside(PendingComparison { work, reply }),
        }
    }

    /// Leaves a comparison to whichever lane is idle next. One whose caller has gone makes room.
    fn put_aside(&self, pending: PendingComparison) {
        let mut slot = self.comparison();
        let waits = slot.as_ref().is_some_and(|other| !other.work.is_cancelled());
        let (refused, why) = if waits {
            (Some(pending), CompareError::Busy)
        } else {
            (slot.replace(pending), CompareError::Cancelled)
        };
        drop(slot);
        if let Some(PendingComparison { reply, .. }) = refused {
            reply(Err(why));
        }
    }

    /// Waits for the next thing to do. A segment whose session is still being made lets others go first; a comparison is only
    /// gone on with while nothing else is done at all.
    fn next(&self, lane: usize) -> Option<Turn> {
        let mut board = self.board();
        loop {
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            let is_ready = self.library.installs() > 0;
            let hand = |job: &Job| {
                let hand = self.library.hand(&job.request, job.queued);
                // Who goes away does not wait for anything.
                if job.request.cancel.is_cancelled() { Some(hand.unwrap_or_default()) } else { hand }
            };
            let stop = |job: &Job| job.request.cancel.clone();
            let is_spare = lane >= self.lanes;
            let taken = match (is_ready, is_spare) {
                (true, true) => board.take_spare(Instant::now(), stop).map(|job| (job, Hand::default())),
                (true, false) => board.take(lane, Instant::now(), hand, stop),
                (false, _) => None,
            };
            if let Some((job, hand)) = taken {
                self.metrics.queue_depth.set(i64::try_from(board.len()).unwrap_or(i64::MAX));
                self.busy.fetch_add(1, Ordering::AcqRel);
                return Some(Turn::Segment { job: Box::new(job), hand, busy: board.busy() });
            }
            let is_idle = is_ready && !is_spare && board.len() == 0 && self.busy.load(Ordering::Acquire) == 0;
            let mut waits = is_ready && board.len() > 0;
            if is_idle {
                let mut slot = self.comparison();
                let is_due = |pending: &mut PendingComparison| pending.work.is_due(Instant::now());
                if let Some(pending) = slot.take_if(is_due) {
                    return Some(Turn::Comparison(pending));
                }
                waits = slot.is_some();
            }
            // What waits though a lane is free waits for a session, which another lane may give back without a word.
            board = if waits {
                let waited = self.work.wait_timeout(board, LOOK_AGAIN);
                waited.unwrap_or_else(PoisonError::into_inner).0
            } else {
                self.work.wait(board).unwrap_or_else(PoisonError::into_inner)
            };
        }
    }
}

/// What a lane does next.
enum Turn {
    Segment {
        job: Box<Job>,
        hand: Hand,
        /// Lanes that work, this one included.
        busy: usize,
    },
    Comparison(PendingComparison),
}

/// Whether a segment was scaled plainly for want of time, or by a model; `None`: for another reason, which says nothing about who
/// came off badly.
fn is_plain(report: &Report) -> Option<bool> {
    match (&report.made_by, report.fallback) {
        (MadeBy::Model { .. }, _) => Some(false),
        (MadeBy::Plain, Some(FallbackReason::DeadlineShort)) => Some(true),
        _ => None,
    }
}
