//! The enhancer's threads and the door to them.
//!
//! Why threads of our own: decoding, inference and encoding are work, not waiting; on the proxy's runtime they
//! would stall every connection of a core. Async code sends a request, and its reply is called from a lane.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Instant;

use acuity_config::EnhancerConfig;
use acuity_models::{Catalogue, Sha256};
use bytes::Bytes;
use prometheus::Registry;

use crate::inference::Runtime;
use crate::lane::{Lane, VerifiedModel};
use crate::metrics::Metrics;
use crate::queue::{Offered, Queue};
use crate::{EnhanceError, EnhanceRequest, EnhancedSegment, Keeping, OfferedSet, Refusal, StartError};

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
    queue: Mutex<Queue<Job>>,
    work: Condvar,
    closed: AtomicBool,
    lanes: usize,
    ready_lanes: AtomicUsize,
    metrics: Metrics,
}

struct Job {
    request: EnhanceRequest,
    reply: Reply,
    queued: Instant,
}

impl Job {
    fn refuse(self, metrics: &Metrics, error: EnhanceError) {
        metrics.failed(&error);
        (self.reply)(Err(error));
    }
}

impl Enhancer {
    /// Loads ONNX Runtime, reads and verifies the catalogue's models, and starts `config.lanes` workers, which load
    /// and warm the models before they take work: see [`Enhancer::readiness`]. A model that is missing or is not
    /// what the catalogue says is left out, with a line in the log.
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
        let _ = keeping;
        let metrics = Metrics::register(registry)?;
        let runtime = Runtime::load(config)?;
        let config = Arc::new(config.clone());
        let models = Arc::new(read_models(&catalogue));
        let shared = Arc::new(Shared {
            queue: Mutex::new(Queue::new(config.queue_limit)),
            work: Condvar::new(),
            closed: AtomicBool::new(false),
            lanes: config.lanes,
            ready_lanes: AtomicUsize::new(0),
            metrics,
        });
        for number in 0..config.lanes {
            let (shared, config, runtime) = (Arc::clone(&shared), Arc::clone(&config), runtime.clone());
            let (catalogue, models) = (Arc::clone(&catalogue), Arc::clone(&models));
            thread::Builder::new()
                .name(format!("acuity-lane-{number}"))
                .spawn(move || {
                    let lane = Lane::new(number, config, &runtime, &catalogue, &models, &shared.metrics);
                    drop(models);
                    shared.work_on(lane);
                })
                .map_err(StartError::Thread)?;
        }
        Ok(Self(shared))
    }

    /// Makes `catalogue` the one in force. Returns at once; a thread of its own verifies files and makes sessions, then
    /// swaps. See [`Enhancer::offered`], [`Enhancer::refused`] and [`Enhancer::installs`] for what came of it.
    pub fn install(&self, catalogue: Arc<Catalogue>) {
        drop(catalogue);
    }

    /// How many catalogues have been installed to the end; one that was overtaken by the next before its turn does not count.
    #[must_use]
    pub fn installs(&self) -> u64 {
        0
    }

    /// The sets that may be put into new playlists: each has a model at least that is verified, keeps its contract and
    /// has run here. In the order of cluster and scale.
    #[must_use]
    pub fn offered(&self) -> Arc<Vec<OfferedSet>> {
        Arc::default()
    }

    /// A set that segments are made with, be it offered or replaced and still asked for.
    #[must_use]
    pub fn set(&self, cluster: &str, scale: u32, digest: &str) -> Option<OfferedSet> {
        self.offered()
            .iter()
            .find(|set| (set.cluster.as_str(), set.scale, set.digest.as_str()) == (cluster, scale, digest))
            .cloned()
    }

    /// The bytes of a model of any set that segments are made with, offered or replaced.
    #[must_use]
    pub fn model_file(&self, sha256: &Sha256) -> Option<Bytes> {
        let offered = self.offered();
        let mut models = offered.iter().flat_map(|set| &set.models);
        models.find(|model| model.sha256 == *sha256).map(|model| model.bytes.clone())
    }

    /// The models of the catalogue in force that are not used, and why.
    #[must_use]
    pub fn refused(&self) -> Arc<Vec<Refusal>> {
        Arc::default()
    }

    /// Says that segments of this set will be asked for soon (it was put into a playlist that somebody fetched), so that
    /// its sessions are made before the first. Never blocks; unknown sets are ignored.
    pub fn prepare(&self, cluster: &str, scale: u32, digest: &str) {
        let _ = (cluster, scale, digest);
    }

    /// Whether segments are being made.
    #[must_use]
    pub fn readiness(&self) -> Readiness {
        if self.0.closed.load(Ordering::Acquire) {
            Readiness::Stopped
        } else if self.0.ready_lanes.load(Ordering::Acquire) < self.0.lanes {
            Readiness::Starting
        } else {
            Readiness::Ready
        }
    }

    /// Hands a segment in. Never blocks; `reply` is called exactly once, with [`EnhanceError::QueueFull`] at once if
    /// there is no room. Work that waits before the lanes are ready is done when they are.
    pub fn submit(&self, request: EnhanceRequest, reply: Reply) {
        let shared = &self.0;
        let (priority, deadline) = (request.priority, request.deadline);
        let job = Job { request, reply, queued: Instant::now() };
        if shared.closed.load(Ordering::Acquire) {
            return job.refuse(&shared.metrics, EnhanceError::ShuttingDown);
        }
        let mut queue = shared.queue.lock().unwrap_or_else(PoisonError::into_inner);
        let limit = queue.limit();
        let offered = queue.offer(job, priority, deadline);
        shared.metrics.queue_depth.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
        drop(queue);
        match offered {
            Offered::Taken => shared.work.notify_one(),
            Offered::Displaced(other) => {
                shared.work.notify_one();
                other.refuse(&shared.metrics, EnhanceError::QueueFull { limit });
            }
            Offered::Refused(job) => job.refuse(&shared.metrics, EnhanceError::QueueFull { limit }),
        }
    }

    /// Segments that wait for a lane.
    #[must_use]
    pub fn queue_depth(&self) -> usize {
        self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).len()
    }

    /// Refuses new work and what waits; segments in hand are finished.
    pub fn shutdown(&self) {
        self.0.closed.store(true, Ordering::Release);
        let waiting = self.0.queue.lock().unwrap_or_else(PoisonError::into_inner).drain();
        self.0.work.notify_all();
        self.0.metrics.queue_depth.set(0);
        for job in waiting {
            job.refuse(&self.0.metrics, EnhanceError::ShuttingDown);
        }
    }
}

impl Shared {
    fn work_on(&self, mut lane: Lane) {
        if self.ready_lanes.fetch_add(1, Ordering::AcqRel) + 1 == self.lanes {
            self.metrics.ready.set(1);
        }
        while let Some((job, waiting)) = self.next() {
            let queued_seconds = job.queued.elapsed().as_secs_f64();
            if job.request.cancel.is_cancelled() {
                job.refuse(&self.metrics, EnhanceError::Cancelled);
                continue;
            }
            // A panic is a bug, and it costs this segment, not the lane: what a lane keeps between segments
            // (sessions, scalers, picture memory) is valid after any of its operations.
            let result =
                catch_unwind(AssertUnwindSafe(|| lane.enhance(&job.request, queued_seconds, waiting)))
                    .unwrap_or(Err(EnhanceError::WorkerLost));
            match &result {
                Ok(made) => self.metrics.made(&made.report),
                Err(error) => self.metrics.failed(error),
            }
            (job.reply)(result);
        }
        self.metrics.ready.set(0);
    }

    /// Waits for the next job; also tells how many viewers' segments wait behind it, for each lane.
    fn next(&self) -> Option<(Job, f64)> {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        loop {
            if self.closed.load(Ordering::Acquire) {
                return None;
            }
            if let Some(job) = queue.take() {
                self.metrics.queue_depth.set(i64::try_from(queue.len()).unwrap_or(i64::MAX));
                return Some((job, queue.viewers() as f64 / self.lanes as f64));
            }
            queue = self.work.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
    }
}

fn read_models(catalogue: &Catalogue) -> Vec<VerifiedModel> {
    let mut models = Vec::new();
    for rejected in catalogue.rejected() {
        tracing::error!(%rejected, "catalogue entry left out");
    }
    for entry in catalogue.entries() {
        match entry.read_verified() {
            Ok(bytes) => models.push(VerifiedModel { entry: Arc::clone(entry), bytes }),
            Err(error) => tracing::error!(model = %entry.id, %error, "model left out"),
        }
    }
    models
}
