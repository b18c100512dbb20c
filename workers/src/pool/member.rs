//! One worker that lives, as the pool knows it.

use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::sync::{Arc, Mutex, OnceLock};
use std::time::{Duration, Instant};

use acuity_config::LogLevel;
use acuity_enhancer::{FallbackReason, MadeBy, Report};
use tokio::runtime::Handle;
use tokio::sync::Notify;
use tonic::transport::Channel;

use super::lock;
use crate::offers::Offers;
use crate::wire::v1;
use crate::wire::v1::worker_client::WorkerClient;

/// A worker.
pub(crate) struct Member {
    /// Counted from the first one that was ever started; the lower, the older.
    pub(crate) number: u64,
    client: WorkerClient<Channel>,
    is_ready: AtomicBool,
    /// It is about to be replaced and gets nothing more.
    pub(super) is_leaving: AtomicBool,
    /// Segments that this edge has asked it for.
    pub(super) in_hand: AtomicU32,
    /// Segments that it was ever asked for.
    pub(super) asked: AtomicU64,
    said: Mutex<Said>,
    /// For how long it has said nothing, in milliseconds, as whoever watches it counts.
    silent_ms: AtomicU32,
    /// A segment takes it too long.
    pub(super) is_stuck: Notify,
    /// Segments in a row in which networks failed it.
    failures: AtomicU32,
    /// A worker on another machine: its address. Several edges share it, so that nothing is told it that would change it for others.
    pub(super) far: Option<Far>,
    /// How it ended.
    pub(super) end: OnceLock<End>,
}

/// What is known of a worker on another machine.
pub(super) struct Far {
    pub(super) address: SocketAddr,
    /// It has turned segments away, or lost some: others are asked first until then.
    avoided_until: Mutex<Option<Instant>>,
    /// Segments that it was lost with, by their keys: if another process answers there next, one of these may have ended it.
    pub(super) suspects: Arc<Mutex<Vec<u64>>>,
}

/// For how long others are asked first: several words of its load, and soon enough to use what has become free.
const AVOIDED_FOR: Duration = Duration::from_millis(500);

/// Segments in a row in which networks fail until it is not by chance: one for want of memory is, or one of an odd size.
const FAILURES: u32 = 3;

/// For how long others are asked first where networks fail: a card that is lost comes back with its machine, others with a driver.
const FAILING_FOR: Duration = Duration::from_secs(30);

/// Segments that are remembered when a worker is lost: far more than it has lanes.
const SUSPECTS_LIMIT: usize = 256;

/// Two signs of life that did not come, and some.
const QUIET_AFTER: Duration = Duration::from_millis(500);

impl Far {
    pub(super) fn new(address: SocketAddr, suspects: Arc<Mutex<Vec<u64>>>) -> Self {
        Self { address, avoided_until: Mutex::default(), suspects }
    }

    pub(super) fn avoid(&self) {
        self.avoid_for(AVOIDED_FOR);
    }

    fn avoid_for(&self, time: Duration) {
        let mut until = lock(&self.avoided_until);
        *until = (*until).max(Some(Instant::now() + time));
    }

    fn is_avoided(&self) -> bool {
        lock(&self.avoided_until).is_some_and(|until| Instant::now() < until)
    }

    pub(super) fn suspect(&self, key: u64) {
        let mut suspects = lock(&self.suspects);
        if suspects.len() < SUSPECTS_LIMIT {
            suspects.push(key);
        }
    }
}

#[derive(Default)]
struct Said {
    load: u32,
    /// Segments that this edge had asked it for when it said so.
    own: u32,
    lanes: u32,
    installs: u64,
    offers: Arc<Offers>,
}

/// Why a worker ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// By itself: a fault in it, a limit of the kernel's.
    Crash,
    /// By somebody's SIGKILL or SIGTERM: an operator, the kernel for want of memory.
    Killed,
    /// It gave no sign of life.
    Silent,
    /// It was at one segment too long.
    Stuck,
    /// It held more memory than it may.
    Memory,
    /// It had used as much processor time as it may.
    CpuTime,
    /// It had made as many segments as it should.
    Recycled,
    /// Networks failed it in several segments in a row: a card that is lost, a driver that has had enough.
    Failing,
    /// It did not get ready.
    NotReady,
    /// The edge is going down.
    Stopped,
}

impl End {
    /// All of them, for metrics.
    pub(crate) const ALL: [Self; 10] = [
        Self::Crash,
        Self::Killed,
        Self::Silent,
        Self::Stuck,
        Self::Memory,
        Self::CpuTime,
        Self::Recycled,
        Self::Failing,
        Self::NotReady,
        Self::Stopped,
    ];

    /// The metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Crash => "crash",
            Self::Killed => "killed",
            Self::Silent => "silent",
            Self::Stuck => "stuck",
            Self::Memory => "memory",
            Self::CpuTime => "cpu_time",
            Self::Recycled => "recycled",
            Self::Failing => "failing",
            Self::NotReady => "not_ready",
            Self::Stopped => "stopped",
        }
    }

    /// Whether a segment that it was at may have done it.
    pub(crate) fn may_be_a_segments(self) -> bool {
        matches!(self, Self::Crash | Self::Stuck | Self::Memory | Self::CpuTime)
    }
}

/// A segment in a worker's hands.
pub(super) struct InHand(Arc<Member>);

impl Drop for InHand {
    fn drop(&mut self) {
        self.0.in_hand.fetch_sub(1, Ordering::AcqRel);
    }
}

impl Member {
    pub(super) fn new(number: u64, client: WorkerClient<Channel>, far: Option<Far>) -> Self {
        Self {
            number,
            client,
            is_ready: AtomicBool::new(false),
            is_leaving: AtomicBool::new(false),
            in_hand: AtomicU32::new(0),
            asked: AtomicU64::new(0),
            said: Mutex::default(),
            silent_ms: AtomicU32::new(0),
            is_stuck: Notify::new(),
            failures: AtomicU32::new(0),
            far,
            end: OnceLock::new(),
        }
    }

    /// A client of its own: they share the connection.
    pub(crate) fn client(&self) -> WorkerClient<Channel> {
        self.client.clone()
    }

    /// Whether it takes segments.
    pub(super) fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Acquire)
            && !self.is_leaving.load(Ordering::Acquire)
            && self.end.get().is_none()
    }

    /// Segments that wait for it or are in its hands, by its lanes.
    pub(super) fn load(&self) -> f64 {
        let said = lock(&self.said);
        let own = self.in_hand.load(Ordering::Acquire);
        let count = match self.far {
            None => said.load.max(own),
            // What others asked for is as old as its word; what this edge asked for is known at once.
            Some(_) => said.load.saturating_sub(said.own).saturating_add(own),
        };
        f64::from(count) / f64::from(said.lanes.max(1))
    }

    /// Whether others are to be asked first.
    pub(super) fn is_avoided(&self) -> bool {
        self.far.as_ref().is_some_and(Far::is_avoided)
    }

    /// A worker on another machine takes no more segments, by its word or because the way to it is gone.
    pub(super) fn is_not_serving(&self) {
        self.is_ready.store(false, Ordering::Release);
    }

    /// What it can make segments with.
    pub(super) fn offers(&self) -> Arc<Offers> {
        Arc::clone(&lock(&self.said).offers)
    }

    /// It has said how it is. Gives how many catalogues it had installed before.
    pub(super) fn heard(
        &self,
        is_ready: bool,
        (load, lanes): (u32, u32),
        installs: u64,
        offers: Arc<Offers>,
    ) -> u64 {
        let mut said = lock(&self.said);
        let before = said.installs;
        let own = self.in_hand.load(Ordering::Acquire);
        *said = Said { load, own, lanes, installs, offers };
        drop(said);
        self.silent_ms.store(0, Ordering::Release);
        self.is_ready.store(is_ready, Ordering::Release);
        before
    }

    /// It has said nothing for so long.
    pub(super) fn is_silent_for(&self, silence: Duration) {
        self.silent_ms.store(u32::try_from(silence.as_millis()).unwrap_or(u32::MAX), Ordering::Release);
    }

    /// Whether it has been silent for longer than one that is well ever is; whether it comes back is not known yet.
    pub(super) fn is_quiet(&self) -> bool {
        Duration::from_millis(self.silent_ms.load(Ordering::Acquire).into()) > QUIET_AFTER
    }

    /// It is being asked for a segment.
    pub(super) fn takes_one(self: &Arc<Self>) -> InHand {
        self.in_hand.fetch_add(1, Ordering::AcqRel);
        self.asked.fetch_add(1, Ordering::AcqRel);
        InHand(Arc::clone(self))
    }

    /// It has made a segment. Whether networks now fail it in one after the other; a worker on another machine is asked after all others
    /// then.
    pub(super) fn has_made(&self, report: &Report) -> bool {
        match (report.fallback, &report.made_by) {
            (Some(FallbackReason::ModelFailed), _) => drop(self.failures.fetch_add(1, Ordering::AcqRel)),
            (_, MadeBy::Model { .. }) => self.failures.store(0, Ordering::Release),
            // Where no network was run nothing is learned of them.
            _ => return false,
        }
        if let Some(far) = self.far.as_ref().filter(|_| self.is_failing()) {
            far.avoid_for(FAILING_FOR);
        }
        self.is_failing()
    }

    /// Whether networks have failed it in several segments in a row.
    pub(super) fn is_failing(&self) -> bool {
        self.failures.load(Ordering::Acquire) >= FAILURES
    }

    pub(super) fn tell_prepare(&self, handle: &Handle, request: v1::PrepareRequest) {
        let mut client = self.client();
        // Who is gone needs no telling.
        handle.spawn(async move { drop(client.prepare(request).await) });
    }

    pub(super) fn tell_withdraw(&self, handle: &Handle, request: v1::WithdrawRequest) {
        if self.far.is_some() {
            return;
        }
        let mut client = self.client();
        handle.spawn(async move { drop(client.withdraw(request).await) });
    }

    pub(super) fn tell_log_level(&self, handle: &Handle, level: LogLevel) {
        if self.far.is_some() {
            return;
        }
        let mut client = self.client();
        let request = v1::SetLogLevelRequest { level: level.as_str().to_owned() };
        handle.spawn(async move { drop(client.set_log_level(request).await) });
    }

    pub(super) async fn metrics(&self) -> Option<v1::MetricsReply> {
        self.client().metrics(v1::MetricsRequest {}).await.ok().map(tonic::Response::into_inner)
    }

    /// How it ended, for who has lost a segment to it; waits a moment for the one who finds out.
    pub(super) async fn how_it_ended(&self) -> Option<End> {
        let give_up = Instant::now() + std::time::Duration::from_secs(1);
        while self.end.get().is_none() && Instant::now() < give_up {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
        self.end.get().copied()
    }
}
