//! Sockets, threads and signals: from an [`App`] to a process that serves, and to its end.
//!
//! pingora's own `Server` is not used. It binds inside its services and panics where it cannot, does not tell which port it
//! got, and on a stop sleeps for its whole grace period whether anybody is still being served or not. Its services are
//! run here on one runtime: sockets are bound first (a taken port is a message and an exit code), and a stop waits for the
//! requests in progress, no longer.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{ServerConfig, TlsConfig};
use pingora::listeners::tls::TlsSettings;
use pingora::proxy::http_proxy;
use pingora::server::configuration::ServerConf;
use pingora::server::{Fds, ListenFds};
use pingora::services::Service as _;
use pingora::services::listening::Service;
use tokio::runtime::Runtime;
use tokio::sync::watch;
use tokio::time::{Instant, sleep};

use crate::admin::Admin;
use crate::app::App;
use crate::edge::Edge;

/// Idle connections kept to all origins together, for passed-through requests.
const UPSTREAM_POOL: usize = 256;

/// Bytes the kernel may hold for a connection beyond what is on the wire. Without it a response of two megabytes lies in
/// the send buffer as a whole, for each viewer: memory that a slow client keeps, and caches that are cold again when the
/// bytes are sent at last. What is on its way is not bounded by it, so far and fast clients lose nothing.
const UNSENT_LIMIT_BYTES: u32 = 128 << 10;

/// Why the edge cannot serve.
#[derive(Debug, thiserror::Error)]
pub enum ServerError {
    /// An address is taken or not this machine's.
    #[error("cannot listen on {address} ({key}): {source}")]
    Bind {
        /// The address.
        address: SocketAddr,
        /// The configuration's key.
        key: &'static str,
        /// Why.
        source: std::io::Error,
    },
    /// Certificate or key cannot be used.
    #[error("cannot use the certificate {certificate:?} with the key {key:?} (server.tls): {message}")]
    Tls {
        /// The certificate file.
        certificate: std::path::PathBuf,
        /// The key file.
        key: std::path::PathBuf,
        /// Why.
        message: String,
    },
    /// The runtime cannot be started.
    #[error("cannot start threads: {0}")]
    Runtime(#[source] std::io::Error),
}

/// Sockets that are bound and not yet served.
pub struct Bound {
    listen: Vec<TcpListener>,
    tls: Option<(TcpListener, TlsSettings)>,
    admin: TcpListener,
}

/// Where a bound edge is reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Addresses {
    /// Plain HTTP.
    pub http: Vec<SocketAddr>,
    /// HTTPS.
    pub https: Option<SocketAddr>,
    /// Operators.
    pub admin: SocketAddr,
}

impl Bound {
    /// Binds all sockets; port 0 takes any free one.
    ///
    /// # Errors
    /// An address is taken, or the certificate cannot be used.
    pub fn new(server: &ServerConfig, admin: SocketAddr) -> Result<Self, ServerError> {
        let bind = |address: SocketAddr, key| {
            let listener = TcpListener::bind(address);
            // pingora hands it to tokio, which wants it so.
            listener
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .inspect(limit_unsent)
                .map_err(|source| ServerError::Bind { address, key, source })
        };
        let tls = match &server.tls {
            Some(tls) => Some((bind(tls.listen, "server.tls.listen")?, tls_settings(tls)?)),
            None => None,
        };
        let listen = server.listen.iter().map(|&address| bind(address, "server.listen"));
        Ok(Self { listen: listen.collect::<Result<_, _>>()?, tls, admin: bind(admin, "admin.listen")? })
    }

    /// The addresses that were really bound.
    ///
    /// # Errors
    /// The system does not tell (never seen).
    pub fn addresses(&self) -> std::io::Result<Addresses> {
        Ok(Addresses {
            http: self.listen.iter().map(TcpListener::local_addr).collect::<Result<_, _>>()?,
            https: self.tls.as_ref().map(|(listener, _)| listener.local_addr()).transpose()?,
            admin: self.admin.local_addr()?,
        })
    }
}

/// Connections inherit the option from their listener. A kernel without it serves as well, only with more memory.
fn limit_unsent(listener: &TcpListener) {
    if let Err(error) = socket2::SockRef::from(listener).set_tcp_notsent_lowat(UNSENT_LIMIT_BYTES) {
        tracing::debug!(%error, "no limit on unsent bytes");
    }
}

/// The threads that move bytes. Apart from [`serve`], because the enhancer's replies and the caches need it too.
///
/// # Errors
/// When they cannot be started.
pub fn runtime(server: &ServerConfig) -> Result<Runtime, ServerError> {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(server.threads)
        .thread_name("acuity-net")
        .enable_all()
        .build()
        .map_err(ServerError::Runtime)
}

/// Serves until `stop` resolves, then drains: no new connections, requests in progress are finished for as long as the
/// configuration allows, and the enhancer is stopped.
pub async fn serve(app: Arc<App>, bound: Bound, stop: impl Future<Output = ()>) {
    // Two TLS libraries in one process leave rustls without a default unless one is named.
    pingora::tls::install_default_crypto_provider();
    let (shutdown, watched) = watch::channel(false);
    let drain = Duration::from_secs(app.config.server.drain_seconds);
    let conf = Arc::new(ServerConf {
        threads: app.config.server.threads,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    });
    let mut fds = Fds::new();
    let mut adopt = |listener: TcpListener, name: String| {
        fds.add(name.clone(), listener.into_raw_fd());
        name
    };
    let mut players = Service::new("players".to_owned(), http_proxy(&conf, Edge::new(Arc::clone(&app))));
    for (number, listener) in bound.listen.into_iter().enumerate() {
        players.add_tcp(&adopt(listener, format!("http-{number}")));
    }
    if let Some((listener, settings)) = bound.tls {
        players.add_tls_with_settings(&adopt(listener, "https".to_owned()), None, settings);
    }
    let mut operators = Service::new("operators".to_owned(), Admin::new(Arc::clone(&app)));
    operators.add_tcp(&adopt(bound.admin, "admin".to_owned()));
    let fds = ListenFds::new(fds.into());

    let (fds_of_players, watched_by_players) = (ListenFds::clone(&fds), watched.clone());
    let players =
        tokio::spawn(async move { players.start_service(Some(fds_of_players), watched_by_players, 1).await });
    let operators = tokio::spawn(async move { operators.start_service(Some(fds), watched, 1).await });

    stop.await;
    tracing::info!(in_progress = app.requests_in_progress(), "stopping: requests in progress are finished");
    // Nobody listens any more if every service has ended by itself.
    let _ = shutdown.send(true);
    let give_up = Instant::now() + drain;
    while app.requests_in_progress() > 0 && Instant::now() < give_up {
        sleep(Duration::from_millis(20)).await;
    }
    app.shutdown();
    players.abort();
    operators.abort();
    tracing::info!(cut_off = app.requests_in_progress(), "stopped");
}

/// Resolves on SIGTERM or SIGINT. A second one ends the process at once.
pub async fn stop_signal() {
    use tokio::signal::unix::{SignalKind, signal};
    let (Ok(mut terminate), Ok(mut interrupt)) =
        (signal(SignalKind::terminate()), signal(SignalKind::interrupt()))
    else {
        // Without handlers the system's defaults hold: signals end the process.
        return std::future::pending().await;
    };
    tokio::select! {
        _ = terminate.recv() => {}
        _ = interrupt.recv() => {}
    }
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        // 128 + SIGINT, as shells have it.
        std::process::exit(130);
    });
}

/// pingora panics over certificates it cannot use, so they are tried here first.
fn tls_settings(tls: &TlsConfig) -> Result<TlsSettings, ServerError> {
    let fault = |message: String| ServerError::Tls {
        certificate: tls.certificate.clone(),
        key: tls.key.clone(),
        message,
    };
    pingora::tls::install_default_crypto_provider();
    let (certificate, key) = (tls.certificate.to_string_lossy(), tls.key.to_string_lossy());
    let (chain, private) = pingora::tls::load_certs_and_key_files(&certificate, &key)
        .map_err(|error| fault(error.to_string()))?
        .ok_or_else(|| fault("one of them holds no PEM of its kind".to_owned()))?;
    pingora::tls::ServerConfig::builder_with_protocol_versions(&[
        &pingora::tls::version::TLS12,
        &pingora::tls::version::TLS13,
    ])
    .with_no_client_auth()
    .with_single_cert(chain, private)
    .map_err(|error| fault(error.to_string()))?;
    let mut settings =
        TlsSettings::intermediate(&certificate, &key).map_err(|error| fault(error.to_string()))?;
    settings.enable_h2();
    Ok(settings)
}
