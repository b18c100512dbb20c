//! A worker process: from the first instruction to the end.
//!
//! The order matters. What the edge has to say is read from the socket that it holds the other end of (standard input); limits and the
//! sandbox are put on while there is one thread and nothing of a stranger's has been seen; only then are libraries loaded, threads
//! started and calls answered. There is no clean end: when the edge is gone, so is whoever would want the rest.

use std::io::{self, Read as _};
use std::net::SocketAddr;
use std::os::fd::AsFd as _;
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{Faults, LogLevel, WorkerPart};
use acuity_models::{Catalogue, CatalogueError};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::{Signal, raise};
use prometheus::Registry;
use tonic::transport::Server;

use crate::local::{Local, LocalError};
use crate::sandbox::{self, SandboxError};
use crate::service::Service;
use crate::tls::TlsFault;
use crate::wire::v1::worker_server::WorkerServer;

/// Largest handover, in bytes; a full one is two thousand.
const HANDOVER_LIMIT: u32 = 1 << 20;

/// Ticks of `/proc/PID/stat` in a second: the kernel's `USER_HZ` towards programs, on every architecture that this runs on.
const TICKS_A_SECOND: u64 = 100;

/// Threads that move messages. The enhancer has its own.
const THREADS: usize = 2;

/// Windows of HTTP/2: a segment fits, so that nobody waits for window updates.
pub(crate) const STREAM_WINDOW_BYTES: u32 = 4 << 20;
pub(crate) const CONNECTION_WINDOW_BYTES: u32 = 16 << 20;

/// Why a worker process ends.
#[derive(Debug, thiserror::Error)]
pub enum WorkerError {
    /// Standard input is not the edge's socket, or the edge went away before it had said anything.
    #[error("a worker is started by `acuity serve`, which hands it a socket as its standard input: {0}")]
    Handover(#[source] io::Error),
    /// What the edge said is no configuration.
    #[error("the edge handed over a configuration that cannot be read: {0}")]
    Config(#[from] Faults),
    /// It cannot be fenced in.
    #[error(transparent)]
    Sandbox(#[from] SandboxError),
    /// The catalogue cannot be read.
    #[error("cannot read the models' catalogue")]
    Catalogue(#[from] CatalogueError),
    /// The enhancer does not start.
    #[error(transparent)]
    Enhancer(#[from] LocalError),
    /// Threads cannot be started.
    #[error("cannot start threads: {0}")]
    Threads(#[source] io::Error),
    /// The metrics cannot be registered.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
    /// There is no `[workers.listen]`.
    #[error(
        "there is no [workers.listen] in the configuration: it says where to listen, with which certificate, and to whom"
    )]
    NoListen,
    /// A certificate or key cannot be used.
    #[error(transparent)]
    Tls(#[from] TlsFault),
    /// An address cannot be listened at.
    #[error("cannot listen at {address}: {source}")]
    Listen {
        /// Which.
        address: SocketAddr,
        /// Why.
        source: io::Error,
    },
    /// A socket or a signal failed.
    #[error("cannot serve: {0}")]
    Serve(#[source] io::Error),
    /// The protocol failed.
    #[error("the connection to the edge failed")]
    Protocol(#[from] tonic::transport::Error),
}

/// A worker that has been told what to do and is fenced in.
pub struct Worker {
    socket: UnixStream,
    part: WorkerPart,
    gaps: Vec<&'static str>,
}

impl Worker {
    /// Reads what the edge hands over, and gives up what is not needed. To be called before any thread is started.
    ///
    /// # Errors
    /// There is no edge, or the sandbox that was asked for is not to be had.
    pub fn begin() -> Result<Self, WorkerError> {
        let socket = io::stdin().as_fd().try_clone_to_owned().map_err(WorkerError::Handover)?;
        let mut socket = UnixStream::from(socket);
        let text = read_handover(&mut socket).map_err(WorkerError::Handover)?;
        let part = WorkerPart::parse(&text)?;
        let gaps = sandbox::enter(&part)?;
        Ok(Self { socket, part, gaps })
    }

    /// What it was told.
    #[must_use]
    pub fn part(&self) -> &WorkerPart {
        &self.part
    }

    /// Answers the edge until it is gone. `set_level` changes how much of what happens is written out, when the edge says so.
    ///
    /// # Errors
    /// The enhancer does not start, or the connection failed.
    pub fn run(self, set_level: Box<dyn Fn(LogLevel) + Send + Sync>) -> Result<(), WorkerError> {
        let Self { socket, part, gaps } = self;
        if !gaps.is_empty() {
            tracing::warn!(
                lacks = gaps.join(", "),
                "this kernel offers less of a sandbox than there could be"
            );
        }
        end_with_the_edge(&socket).map_err(WorkerError::Handover)?;
        let runtime = runtime()?;
        let (registry, set_level) = (Registry::new(), Arc::from(set_level));
        let local = Local::start(&part.enhancer, &part.models, Arc::new(catalogue(&part)), &registry)?;
        local.watch().map_err(LocalError::Watch)?;
        let message_limit = message_limit(&part);
        let service = WorkerServer::new(Service::new(Arc::new(local), registry, set_level))
            .max_decoding_message_size(message_limit)
            .max_encoding_message_size(message_limit);
        runtime.block_on(async {
            socket.set_nonblocking(true).map_err(WorkerError::Handover)?;
            let stream = tokio::net::UnixStream::from_std(socket).map_err(WorkerError::Handover)?;
            let (health, health_service) = tonic_health::server::health_reporter();
            health.set_serving::<WorkerServer<Service>>().await;
            // The one connection there will ever be. The server goes on for as long as it lasts, which is as long as the edge does.
            let connections = futures::stream::iter([Ok::<_, io::Error>(stream)]);
            let connections = futures::StreamExt::chain(connections, futures::stream::pending());
            Server::builder()
                .initial_stream_window_size(STREAM_WINDOW_BYTES)
                .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
                .add_service(health_service)
                .add_service(service)
                .serve_with_incoming(connections)
                .await?;
            Ok(())
        })
    }
}

/// The threads that move messages.
pub(crate) fn runtime() -> Result<tokio::runtime::Runtime, WorkerError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(THREADS)
        .thread_name("acuity-rpc")
        .enable_all()
        .build()
        .map_err(WorkerError::Threads)
}

/// The models there are; a worker without any still scales plainly.
pub(crate) fn catalogue(part: &WorkerPart) -> Catalogue {
    Catalogue::load(&part.models.directory).unwrap_or_else(|error| {
        tracing::warn!(error = &error as &dyn std::error::Error, "there are no models");
        Catalogue::empty()
    })
}

/// Largest message: each part of a comparison may be as large as a segment; all else comes in small pieces.
pub(crate) fn message_limit(part: &WorkerPart) -> usize {
    message_limit_of(part.enhancer.max_segment_bytes)
}

/// As [`message_limit`], for who knows the segments' limit alone.
pub(crate) fn message_limit_of(max_segment_bytes: u64) -> usize {
    usize::try_from(max_segment_bytes).unwrap_or(usize::MAX).saturating_mul(2).saturating_add(1 << 20)
}

/// What a process holds of the machine's memory, by its `/proc/PID/status`; 0 where that does not tell.
pub(crate) fn resident_bytes(status: &str) -> u64 {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let kib = line.and_then(|line| line.trim().trim_end_matches("kB").trim().parse::<u64>().ok());
    kib.unwrap_or(0).saturating_mul(1024)
}

/// Processor time of a process, all its threads, by its `/proc/PID/stat`: the 14th and the 15th field, counted behind the program's name,
/// which may hold spaces and brackets. Zero where that does not tell.
pub(crate) fn cpu_time(stat: &str) -> Duration {
    let ticks = |stat: &str| -> Option<u64> {
        let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
        Some(fields.next()?.parse::<u64>().ok()?.saturating_add(fields.next()?.parse().ok()?))
    };
    Duration::from_millis(ticks(stat).unwrap_or(0).saturating_mul(1000 / TICKS_A_SECOND))
}

/// Four bytes of length, then so much text.
fn read_handover(socket: &mut UnixStream) -> io::Result<String> {
    let mut length = [0; 4];
    socket.read_exact(&mut length)?;
    let length = u32::from_be_bytes(length);
    if length > HANDOVER_LIMIT {
        return Err(io::Error::other("it is not the edge's"));
    }
    let mut text = String::new();
    let read = socket.take(u64::from(length)).read_to_string(&mut text)?;
    if read == length as usize { Ok(text) } else { Err(io::ErrorKind::UnexpectedEof.into()) }
}

/// Ends this process when the other end of `socket` is closed, by `kill -9` of the edge too.
fn end_with_the_edge(socket: &UnixStream) -> io::Result<()> {
    let socket = socket.try_clone()?;
    let watch = move || {
        let mut watched = [PollFd::new(socket.as_fd(), PollFlags::empty())];
        // Nothing is waited for but the end, which needs no asking.
        while poll(&mut watched, PollTimeout::NONE).is_err() {}
        // Not `exit`: destructors of libraries with threads of their own have been seen to hang.
        let _ = raise(Signal::SIGKILL);
    };
    std::thread::Builder::new().name("acuity-parent".to_owned()).spawn(watch).map(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(resident_bytes("Name:\tacuity\nVmRSS:\t  535148 kB\nThreads:\t9\n"), 547_991_552);
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 5 0 0 0 250 53 0 0 20 0 9 0 100 1 2 3";
        assert_eq!(cpu_time(stat), Duration::from_millis(3030));
        for nonsense in ["", "VmRSS: x kB", "7 (a) S"] {
            assert_eq!((resident_bytes(nonsense), cpu_time(nonsense)), (0, Duration::ZERO));
        }
    }
}
