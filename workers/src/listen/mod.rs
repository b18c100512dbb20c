//! A worker that listens: for edges on other machines, several of them, over mutual TLS.
//!
//! It has no edge that starts, watches and replaces it, so it does what it can of that itself: it says how it is by gRPC's health
//! protocol, ends when it is told to (after what it has in hand), when it has made enough or holds too much, and at once when a library
//! hangs in it. Whoever runs machines starts it again.
//!
//! The order matters as with any worker: configuration, keys and sockets first, then the sandbox, then libraries and threads.

mod admin;
mod desk;
mod door;
mod instruments;

pub use admin::serve as answer_operators;

use std::hash::{BuildHasher as _, RandomState};
use std::net::{SocketAddr, TcpListener};
use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::{ListenConfig, LogLevel, WorkerPart};
use acuity_enhancer::Readiness;
use nix::sys::signal::{Signal, raise};
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::mpsc;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};
use tokio_rustls::rustls::ServerConfig;
use tokio_stream::wrappers::ReceiverStream;
use tonic::server::NamedService as _;
use tonic::transport::Server;
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

pub(crate) use desk::{Desk, Held, Outcome, Place};
use instruments::Instruments;

use crate::local::Local;
use crate::process::{
    CONNECTION_WINDOW_BYTES, STREAM_WINDOW_BYTES, WorkerError, catalogue, message_limit, runtime,
};
use crate::sandbox;
use crate::service::Service;
use crate::tls;
use crate::wire::v1::worker_server::WorkerServer;

/// How often it is looked how this worker is.
const LOOK: Duration = Duration::from_millis(100);

/// Looks between two at memory and at what hangs.
const SELDOM: u32 = 10;

/// Beyond the time that a segment may take, until a library counts as hung: calls are over by then, and what still runs heeds nobody.
const GRACE: Duration = Duration::from_secs(5);

/// From "not serving" until a worker with nothing in hand ends: what edges have sent before they heard of it has arrived by then.
const NOTICE: Duration = Duration::from_secs(1);

/// For connections and libraries to end in.
const LAST_WORDS: Duration = Duration::from_secs(2);

/// Signs of life that HTTP/2 asks edges for, and how long these may take.
const PING_EVERY: Duration = Duration::from_secs(10);
const PING_LIMIT: Duration = Duration::from_secs(5);

/// Calls of one connection beyond the segments that a worker takes: two that watch, and questions.
const STREAMS_BESIDE: u32 = 16;

/// Names and values of one request's headers, in bytes: ours have some hundred.
const HEADERS_LIMIT: u32 = 16 << 10;

/// Calls that one connection may open and take back before they were looked at (CVE-2023-44487).
const RESETS_LIMIT: usize = 64;

/// Why it ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Why {
    Asked,
    Memory,
    CpuTime,
    Recycled,
}

/// A worker that has its sockets and keys and is fenced in.
pub struct Listener {
    part: WorkerPart,
    config: ListenConfig,
    socket: TcpListener,
    admin: Option<TcpListener>,
    tls: Arc<ServerConfig>,
    gaps: Vec<&'static str>,
}

impl Listener {
    /// Opens sockets and files, and gives up what is not needed. To be called before any thread is started.
    ///
    /// # Errors
    /// An address or a file cannot be used, or the sandbox that was asked for is not to be had.
    pub fn begin(part: WorkerPart) -> Result<Self, WorkerError> {
        let config = part.workers.listen.clone().ok_or(WorkerError::NoListen)?;
        let tls = tls::server(&config)?;
        let open = |address: SocketAddr| {
            TcpListener::bind(address).map_err(|source| WorkerError::Listen { address, source })
        };
        let socket = open(config.address)?;
        let admin = config.admin.map(open).transpose()?;
        let gaps = sandbox::enter(&part)?;
        Ok(Self { part, config, socket, admin, tls, gaps })
    }

    /// What it was told.
    #[must_use]
    pub fn part(&self) -> &WorkerPart {
        &self.part
    }

    /// Answers edges until it is told to end, or has to.
    ///
    /// # Errors
    /// The enhancer does not start, or a socket failed.
    pub fn run(self) -> Result<(), WorkerError> {
        let Self { part, config, socket, admin, tls, gaps } = self;
        if !gaps.is_empty() {
            tracing::warn!(
                lacks = gaps.join(", "),
                "this kernel offers less of a sandbox than there could be"
            );
        }
        let runtime = runtime()?;
        let registry = Registry::new();
        let instruments = Instruments::register(&registry)?;
        // The first second is lost to nobody: who connects meanwhile is told that it starts.
        let local = Local::start(&part.enhancer, &part.models, Arc::new(catalogue(&part)), &registry)?;
        local.watch().map_err(crate::LocalError::Watch)?;
        let local = Arc::new(local);
        let service = Service::new(Arc::clone(&local), registry.clone(), no_level());
        let limit = u32::try_from(part.enhancer.lanes + part.enhancer.queue_limit).unwrap_or(u32::MAX);
        let instance = RandomState::new().hash_one(std::process::id());
        let desk = Desk::new(
            (limit, part.workers.segment_timeout),
            service.in_hand(),
            instance,
            instruments.clone(),
        );
        let desk = Arc::new(desk);
        let service = service.shared_by(Arc::clone(&desk));
        let done = runtime.block_on(async {
            let socket = listener(socket)?;
            let (guests, incoming) = mpsc::channel(1);
            let address = socket.local_addr().map_err(WorkerError::Serve)?;
            tracing::info!(%address, permitted = config.permitted.join(", "), "this worker listens");
            let door = tokio::spawn(door::open(socket, tls, config.connections, instruments, guests));
            if let Some(admin) = admin {
                let desk = Arc::clone(&desk);
                tokio::spawn(admin::serve(listener(admin)?, registry, move || desk.readiness()));
            }
            let (health, health_service) = tonic_health::server::health_reporter();
            set(&health, false).await;
            let message_limit = message_limit(&part);
            let service = WorkerServer::new(service)
                .max_decoding_message_size(message_limit)
                .max_encoding_message_size(message_limit);
            let (stop, stopped) = tokio::sync::oneshot::channel::<()>();
            let server = Server::builder()
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .max_concurrent_streams(limit.saturating_add(STREAMS_BESIDE))
                .http2_keepalive_interval(Some(PING_EVERY))
                .http2_keepalive_timeout(Some(PING_LIMIT))
                .http2_max_header_list_size(HEADERS_LIMIT)
                .http2_max_pending_accept_reset_streams(Some(RESETS_LIMIT))
                .add_service(health_service)
                .add_service(service)
                .serve_with_incoming_shutdown(ReceiverStream::new(incoming), async {
                    // It ends with the one who says it, too.
                    let _ = stopped.await;
                });
            let server = tokio::spawn(server);
            let why = live(&local, &desk, &part, &health).await?;
            drain(&desk, health, why, config.drain_within).await;
            // Nobody is left to tell where the server has ended already.
            let _ = stop.send(());
            door.abort();
            // What does not end by itself ends with the process.
            let _ = timeout(LAST_WORDS, server).await;
            Ok(())
        });
        local.enhancer.shutdown();
        // Destructors of libraries with threads of their own have been seen to hang.
        let hurry = || {
            std::thread::sleep(LAST_WORDS);
            let _ = raise(Signal::SIGKILL);
        };
        // Without it nothing is lost but a clean end.
        let _ = std::thread::Builder::new().name("acuity-end".to_owned()).spawn(hurry);
        runtime.shutdown_background();
        done
    }
}

/// Lives until it has to end.
async fn live(
    local: &Local,
    desk: &Arc<Desk>,
    part: &WorkerPart,
    health: &HealthReporter,
) -> Result<Why, WorkerError> {
    let mut terminate = signal(SignalKind::terminate()).map_err(WorkerError::Serve)?;
    let mut interrupt = signal(SignalKind::interrupt()).map_err(WorkerError::Serve)?;
    let born = Instant::now();
    let mut look = interval(LOOK);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut was_ready, mut looks) = (false, 0_u32);
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(Why::Asked),
            _ = interrupt.recv() => return Ok(Why::Asked),
            _ = look.tick() => {}
        }
        let is_ready = local.enhancer.readiness() == Readiness::Ready;
        if is_ready != was_ready {
            set(health, is_ready).await;
            desk.instruments.serving.set(i64::from(is_ready));
            tracing::info!(
                is_ready,
                seconds = born.elapsed().as_secs_f64(),
                "this worker's readiness has changed"
            );
            was_ready = is_ready;
        }
        looks = looks.wrapping_add(1);
        if !looks.is_multiple_of(SELDOM) {
            continue;
        }
        let resident = resident_bytes();
        desk.instruments.resident(resident);
        if resident > part.workers.memory_limit {
            tracing::error!(resident, limit = part.workers.memory_limit, "this worker holds too much memory");
            return Ok(Why::Memory);
        }
        let most = part.workers.cpu_time_limit;
        if !most.is_zero() && cpu_time() > most {
            return Ok(Why::CpuTime);
        }
        if part.workers.recycle_after > 0 && desk.taken() >= part.workers.recycle_after {
            return Ok(Why::Recycled);
        }
        if desk.longest_held() > part.workers.segment_timeout + GRACE {
            tracing::error!(held = ?desk.longest_held(), "a library hangs: this worker ends at once");
            // Nothing that hangs would hear of a clean end.
            let _ = raise(Signal::SIGKILL);
        }
    }
}

/// Takes nothing more, tells everybody, and waits for what is in hand.
async fn drain(desk: &Arc<Desk>, mut health: HealthReporter, why: Why, within: Duration) {
    desk.drain();
    desk.instruments.serving.set(0);
    set(&health, false).await;
    tracing::info!(?why, in_hand = desk.in_hand(), "this worker drains");
    let until = Instant::now() + within;
    sleep(NOTICE.min(within)).await;
    while desk.in_hand() > 0 && Instant::now() < until {
        sleep(LOOK).await;
    }
    if desk.in_hand() > 0 {
        tracing::warn!(in_hand = desk.in_hand(), "the drain's time is over: edges have these made elsewhere");
    }
    // Calls that have no end of their own would keep their connections.
    desk.end();
    for service in SERVICES {
        health.clear_service_status(service).await;
    }
    tracing::info!("this worker has drained");
}

/// What is asked after: this service, or the server as a whole.
const SERVICES: [&str; 2] = [WorkerServer::<Service>::NAME, ""];

async fn set(health: &HealthReporter, is_serving: bool) {
    let status = if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing };
    for service in SERVICES {
        health.set_service_status(service, status).await;
    }
}

fn listener(socket: TcpListener) -> Result<tokio::net::TcpListener, WorkerError> {
    socket.set_nonblocking(true).map_err(WorkerError::Serve)?;
    tokio::net::TcpListener::from_std(socket).map_err(WorkerError::Serve)
}

/// Nobody may change how much is said: it is several edges' log.
fn no_level() -> Arc<dyn Fn(LogLevel) + Send + Sync> {
    Arc::new(|_| {})
}

/// Processor time that this process has used; zero where that cannot be read.
fn cpu_time() -> Duration {
    crate::process::cpu_time(&std::fs::read_to_string("/proc/self/stat").unwrap_or_default())
}

/// What this process holds of the machine's memory; 0 where that cannot be read.
fn resident_bytes() -> u64 {
    crate::process::resident_bytes(&std::fs::read_to_string("/proc/self/status").unwrap_or_default())
}
