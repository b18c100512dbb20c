//! Workers as one enhancer, on this machine and on others: which are there, which of them gets what, and what happens when one is lost.
//!
//! Each has the whole of an enhancer (queue, lanes, models, costs), so that decisions need no word between processes: the edge only
//! shares segments out by load. As many as configured make segments; those beside them are ready and wait, and the oldest of them
//! steps in at once when one is lost. What is known of streams in play (sets that were put into playlists, tiers that lost) is told to
//! each new one.

mod call;
mod far;
mod hurt;
mod instruments;
mod member;
mod memory;
mod parts;
mod seat;
mod settled;

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::{Config, LogLevel, WorkerPart, WorkersConfig};
use acuity_enhancer::{
    EnhanceError, EnhanceRequest, EnhancedSegment, Pieces, Readiness, RenditionSpec, Upscaler,
};
use prometheus::Registry;
use tokio::runtime::Handle;
use tokio::sync::{Notify, watch};
use tokio::time::sleep_until;

use hurt::Hurt;
use instruments::Instruments;
pub(crate) use member::Member;
use memory::Memory;
use settled::Settled;

use crate::offers::Offers;
use crate::wire::families::Totals;
use crate::wire::v1;

/// How long a look at all workers' metrics may take: Prometheus gives a scrape ten seconds, operators less.
const METRICS_PATIENCE: Duration = Duration::from_millis(500);

/// How often every worker is reminded of what is in play, against their own forgetting (ten minutes), and tells what it counted.
const REMINDER: Duration = Duration::from_secs(60);
const TALLY: Duration = Duration::from_secs(1);

/// After a loss another may follow soon: a segment that somebody asks for again, a driver that fails. Several starts long.
const CALM: Duration = Duration::from_secs(60);

/// How long an edge that has workers on other machines alone waits for one before it says that it is ready: what can be served without is
/// served, and a pool that is down must not keep a whole region from starting.
const REMOTE_PATIENCE: Duration = Duration::from_secs(10);

/// Workers. Clones share them.
#[derive(Clone)]
pub(crate) struct Pool(Arc<Shared>);

struct Shared {
    config: WorkersConfig,
    /// What a worker is told, by its seat.
    parts: Vec<WorkerPart>,
    /// How much workers say: that may change while they run.
    log_level: Mutex<LogLevel>,
    program: PathBuf,
    handle: Handle,
    members: Mutex<Vec<Arc<Member>>>,
    /// Goes on whenever a member comes, goes, or says something else than before.
    changes: watch::Sender<u64>,
    /// The last offers of any worker, for moments without one.
    offers: Mutex<Arc<Offers>>,
    on_change: Mutex<Vec<Box<dyn Fn() + Send>>>,
    memory: Memory,
    hurt: Hurt,
    totals: Totals,
    instruments: Instruments,
    settled: Settled,
    /// When a worker was last lost.
    last_loss: Mutex<Option<Instant>>,
    /// For choosing among equals.
    turn: AtomicUsize,
    born: Instant,
    /// Since when fewer make segments than should.
    short_since: Mutex<Option<Instant>>,
    was_ready: AtomicBool,
    closed: AtomicBool,
    numbers: AtomicU64,
}

impl Pool {
    /// Starts the workers that `config` asks for, as tasks of `handle`'s runtime. `program` is this program, which becomes a worker by
    /// `acuity worker`.
    ///
    /// # Errors
    /// Metrics were registered twice.
    pub(crate) fn start(
        config: &Config,
        program: PathBuf,
        handle: &Handle,
        registry: &Registry,
    ) -> Result<Self, prometheus::Error> {
        let totals = Totals::new()?;
        registry.register(Box::new(totals.clone()))?;
        let shared = Arc::new(Shared {
            config: config.workers.clone(),
            parts: parts::of(config),
            log_level: Mutex::new(config.log.level),
            program,
            handle: handle.clone(),
            members: Mutex::default(),
            changes: watch::channel(0).0,
            offers: Mutex::default(),
            on_change: Mutex::default(),
            memory: Memory::default(),
            hurt: Hurt::default(),
            totals,
            instruments: Instruments::register(registry)?,
            settled: Settled::default(),
            last_loss: Mutex::new(None),
            turn: AtomicUsize::new(0),
            born: Instant::now(),
            short_since: Mutex::new(None),
            was_ready: AtomicBool::new(false),
            closed: AtomicBool::new(false),
            numbers: AtomicU64::new(0),
        });
        let own = if shared.config.count > 0 { shared.config.count + shared.config.spare } else { 0 };
        for number in 0..own {
            handle.spawn(seat::keep(Arc::clone(&shared), number));
        }
        for name in shared.config.remote.iter().flat_map(|remote| remote.names.clone()) {
            handle.spawn(far::keep(Arc::clone(&shared), name));
        }
        handle.spawn(remind(Arc::clone(&shared)));
        Ok(Self(shared))
    }

    /// Whether any worker has ever been ready. Later lacks are told by metrics: what can be served without is served.
    pub(crate) fn readiness(&self) -> Readiness {
        let has_waited = self.0.config.count == 0 && self.0.born.elapsed() > REMOTE_PATIENCE;
        let is_ready = has_waited || self.0.was_ready.load(Ordering::Acquire);
        match (self.0.closed.load(Ordering::Acquire), is_ready) {
            (true, _) => Readiness::Stopped,
            (false, true) => Readiness::Ready,
            (false, false) => Readiness::Starting,
        }
    }

    /// What may be put into new playlists.
    pub(crate) fn offers(&self) -> Arc<Offers> {
        Arc::clone(&lock(&self.0.offers))
    }

    /// Calls `tell` when other models have come.
    pub(crate) fn on_change(&self, tell: Box<dyn Fn() + Send>) {
        lock(&self.0.on_change).push(tell);
    }

    /// Says to all workers that segments of a set will be asked for soon.
    pub(crate) fn prepare(&self, request: v1::PrepareRequest) {
        self.0.memory.prepared(&request, Instant::now());
        for member in self.0.members() {
            member.tell_prepare(&self.0.handle, request.clone());
        }
    }

    /// Says to all workers, now and to come, that a tier is not to be used for a while.
    pub(crate) fn withdraw(&self, request: v1::WithdrawRequest) {
        self.0.memory.withdrawn(&request, Instant::now());
        for member in self.0.members() {
            member.tell_withdraw(&self.0.handle, request.clone());
        }
    }

    /// Has all workers, now and to come, say so much.
    pub(crate) fn set_log_level(&self, level: LogLevel) {
        *lock(&self.0.log_level) = level;
        for member in self.0.members() {
            member.tell_log_level(&self.0.handle, level);
        }
    }

    /// Has a segment made by a worker, or by another if that one is lost.
    pub(crate) async fn enhance(
        self,
        request: EnhanceRequest,
        pieces: Option<Pieces>,
        raised: Arc<Notify>,
    ) -> Result<EnhancedSegment, EnhanceError> {
        self.0.enhance(request, pieces, raised).await
    }

    /// A worker for something small; `None` if none is ready.
    pub(crate) fn any(&self) -> Option<Arc<Member>> {
        self.0.best(None, Not::default())
    }

    /// Brings what workers count up to date. Who does not answer soon is counted as before.
    pub(crate) async fn refresh(&self) {
        self.0.tally().await;
    }

    /// Ends all workers.
    pub(crate) fn shutdown(&self) {
        self.0.closed.store(true, Ordering::Release);
        self.0.changed();
    }
}

impl Shared {
    fn members(&self) -> Vec<Arc<Member>> {
        lock(&self.members).clone()
    }

    fn changed(&self) {
        self.changes.send_modify(|count| *count = count.wrapping_add(1));
    }

    /// Returns when the pool is going down.
    async fn closed(&self) {
        let mut changes = self.changes.subscribe();
        // The sender is the pool's own. What it gives is locked and of no use here.
        drop(changes.wait_for(|_| self.is_closed()).await.map(drop));
    }

    fn is_closed(&self) -> bool {
        self.closed.load(Ordering::Acquire)
    }

    /// Those that make segments: of this edge's own the oldest that are ready, as many as configured; of others all.
    fn active(&self) -> Vec<Arc<Member>> {
        let ready = self.members().into_iter().filter(|member| member.is_ready());
        let (far, mut own): (Vec<_>, Vec<_>) = ready.partition(|member| member.far.is_some());
        own.sort_by_key(|member| member.number);
        own.truncate(self.config.count);
        own.extend(far);
        own
    }

    /// The one with least to do among those that have the rendition's models, or among all if none has.
    fn best(&self, spec: Option<&RenditionSpec>, not: Not) -> Option<Arc<Member>> {
        let active = self.active();
        let others = || active.iter().filter(|member| not.is_other(member));
        let least = |members: Vec<&Arc<Member>>| {
            let load = |member: &Arc<Member>| (member.load() * 1000.0) as u64;
            // A worker beside the edge is nearer. Of equals on other machines each has its turn, or all edges would go to the first.
            let turn = self.turn.fetch_add(1, Ordering::Relaxed);
            let count = members.len().max(1);
            let rank = |(at, member): &(usize, &Arc<Member>)| {
                let is_far = member.far.is_some();
                (
                    member.is_avoided() || member.is_quiet(),
                    load(member),
                    is_far,
                    if is_far { (at + turn) % count } else { 0 },
                )
            };
            members.into_iter().enumerate().min_by_key(rank).map(|(_, member)| Arc::clone(member))
        };
        let has = |member: &&Arc<Member>| spec.is_none_or(|spec| offers(&member.offers(), spec));
        least(others().filter(has).collect()).or_else(|| least(others().collect()))
    }

    /// As [`Shared::best`], waiting for one until `give_up`, which is asked again where the demand has `raised`.
    async fn pick(
        &self,
        spec: &RenditionSpec,
        not: Not,
        give_up: impl Fn() -> Instant,
        raised: &Notify,
    ) -> Option<Arc<Member>> {
        let mut changes = self.changes.subscribe();
        loop {
            changes.borrow_and_update();
            if let Some(member) = self.best(Some(spec), not) {
                return Some(member);
            }
            if self.is_closed() {
                return None;
            }
            tokio::select! {
                changed = changes.changed() => if changed.is_err() { return None },
                // What has risen is told with the request.
                () = raised.notified() => {}
                () = sleep_until(give_up().into()) => return None,
            }
        }
    }

    /// A worker has said how it is.
    fn heard(&self, member: &Arc<Member>, standing: v1::Standing) -> Result<(), crate::wire::Nonsense> {
        let (was_ready, installs) = (member.is_ready(), standing.installs);
        let mut offers = Offers::read(standing.offers, standing.interpolators)?;
        if member.far.is_some() {
            self.memory.keep_out(&mut offers, Instant::now());
        } else if self.settled.hears(&standing.provider, &standing.precision)? {
            self.changed();
        }
        let (offers, said_before) = (Arc::new(offers), member.offers());
        let state = v1::standing::State::try_from(standing.state).unwrap_or_default();
        let is_ready = state == v1::standing::State::Ready;
        let installed_before =
            member.heard(is_ready, (standing.load, standing.lanes), installs, Arc::clone(&offers));
        if !is_ready {
            return Ok(());
        }
        let are_new = !was_ready || *said_before != *offers;
        if self.config.remote.is_none() {
            *lock(&self.offers) = offers;
        } else if are_new {
            self.settle_offers();
        }
        if !was_ready {
            self.memory.all(Instant::now()).tell(member, &self.handle);
            // It may have changed since this one was started.
            member.tell_log_level(&self.handle, *lock(&self.log_level));
            self.is_whole_again();
            self.was_ready.store(true, Ordering::Release);
            self.changed();
        } else if installed_before != installs && self.config.remote.is_none() {
            lock(&self.on_change).iter().for_each(|tell| tell());
        }
        Ok(())
    }

    /// What new playlists may name, where workers may differ.
    fn settle_offers(&self) {
        let all: Vec<_> = self.active().iter().map(|member| member.offers()).collect();
        // Without any what was said last goes on: it will be made again.
        if all.is_empty() {
            return;
        }
        let agreed = Arc::new(Offers::agreed(&all));
        let before = std::mem::replace(&mut *lock(&self.offers), Arc::clone(&agreed));
        if before != agreed {
            lock(&self.on_change).iter().for_each(|tell| tell());
        }
    }

    /// The way to a worker on another machine is gone, or it is.
    fn parted(&self, member: &Member) {
        lock(&self.members).retain(|other| other.number != member.number);
        self.settle_offers();
        self.changed();
    }

    /// A worker is lost that was last heard of at `last_seen`.
    fn lost(&self, member: &Member, last_seen: Instant) {
        lock(&self.members).retain(|other| other.number != member.number);
        self.totals.ended(member.number);
        lock(&self.short_since).get_or_insert(last_seen);
        self.is_whole_again();
        self.changed();
    }

    /// Whether workers have not been lost lately. Where they have, segments are sent when they are whole: what has begun to be sent can
    /// only be gone on with where a worker makes it again.
    fn is_calm(&self) -> bool {
        lock(&self.last_loss).is_none_or(|at| at.elapsed() > CALM)
    }

    /// Looks whether as many make segments as should, and for how long they did not.
    fn is_whole_again(&self) {
        let is_own = |member: &&Arc<Member>| member.far.is_none();
        let active = self.active().iter().filter(is_own).count();
        self.instruments.ready(active, self.members().iter().filter(is_own).count());
        if active >= self.config.count
            && let Some(since) = lock(&self.short_since).take()
        {
            self.instruments.recovery_seconds.observe(since.elapsed().as_secs_f64());
        }
    }

    async fn tally(&self) {
        // Spare ones count too: they have made what they made. Those on other machines do not: each edge would count the same.
        let members = self.members();
        let own = members.iter().filter(|member| member.far.is_none());
        futures::future::join_all(own.map(|member| self.tally_of(member))).await;
    }

    /// Takes what a worker has counted, if it says so soon.
    async fn tally_of(&self, member: &Member) {
        let reply = tokio::time::timeout(METRICS_PATIENCE, member.metrics()).await;
        if let Ok(Some(reply)) = reply {
            self.totals.told(member.number, reply);
            // It may have ended meanwhile, and what has ended is not told any more.
            if !self.members().iter().any(|other| other.number == member.number) {
                self.totals.ended(member.number);
            }
        }
    }
}

/// Whom not to ask.
#[derive(Debug, Default, Clone, Copy)]
struct Not {
    /// The one that was lost with it, or has turned it away.
    number: Option<u64>,
    /// Those on other machines.
    far: bool,
}

impl Not {
    fn is_other(self, member: &Member) -> bool {
        Some(member.number) != self.number && !(self.far && member.far.is_some())
    }
}

/// Whether a worker has what a rendition names.
fn offers(offers: &Offers, spec: &RenditionSpec) -> bool {
    match &spec.upscaler {
        Upscaler::Bicubic => true,
        Upscaler::Model { cluster, digest } => offers
            .sets
            .iter()
            .any(|set| (&set.cluster, set.scale, &set.digest) == (cluster, spec.scale, digest)),
    }
}

/// Reminds workers of what is in play, and takes what they count while they live.
async fn remind(shared: Arc<Shared>) {
    let mut rounds = 0_u64;
    let each = REMINDER.as_secs() / TALLY.as_secs();
    while !shared.is_closed() {
        tokio::time::sleep(TALLY).await;
        shared.tally().await;
        rounds += 1;
        if rounds.is_multiple_of(each) {
            let all = shared.memory.all(Instant::now());
            shared.members().iter().for_each(|member| all.tell(member, &shared.handle));
        }
    }
}

/// What is behind these locks is changed in single steps: a panic elsewhere leaves it whole.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}
