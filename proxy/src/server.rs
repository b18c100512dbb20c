//! Sockets, threads and signals: from an [`App`] to a process that serves, and to its end.
//!
//! pingora's own `Server` is not used. It binds inside its services and panics where it cannot, does not tell which port it
//! got, and on a stop sleeps for its whole grace period whether anybody is still being served or not. Its services are
//! run here on one runtime: sockets are bound first (a taken port is a message and an exit code), and a stop waits for the
//! requests in progress, no longer.

use std::net::{SocketAddr, TcpListener};
use std::os::fd::IntoRawFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{Config, ServerConfig};
use pingora::apps::HttpServerOptions;
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
use crate::certificates::{Certificate, CertificateFault, Certificates};
use crate::connections::Connections;
use crate::edge::{Edge, KEEPALIVE_SECONDS};
use crate::handover::{self, Door, Handed, Predecessor};
use crate::limits::door::Door as Entrance;
use crate::limits::gate::Gate;
use crate::nodes;
use crate::notify::Notify;
use crate::signals::{self, Stop, Successor};
use crate::status;

/// Idle connections kept to all origins together, for passed-through requests.
const UPSTREAM_POOL: usize = 256;

/// How long what is left of traces may take at the end: a collector that answers needs none of it.
const TRACES_PATIENCE: Duration = Duration::from_secs(2);

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
    #[error(transparent)]
    Tls(#[from] CertificateFault),
    /// The socket by which another edge would take over cannot be opened.
    #[error("cannot listen at {} (server.upgrade_socket): {source}", path.display())]
    Door {
        /// Where.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
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
    nodes: Option<(TcpListener, Option<TlsSettings>)>,
    /// What HTTPS shows.
    pub certificates: Option<Certificates>,
    /// The same sockets, to be handed on.
    handed: Vec<Handed>,
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

/// What a server needs beside the application.
#[derive(Debug, Default)]
pub struct Surroundings {
    /// The edge before this one, which leaves once this one serves.
    pub predecessor: Option<Predecessor>,
    /// Where the next one may ask.
    pub upgrade_socket: Option<PathBuf>,
    /// How the next one is started on a signal.
    pub successor: Option<Successor>,
    /// Whom to tell.
    pub notify: Notify,
}

impl Bound {
    /// Binds all sockets; port 0 takes any free one. What the edge before had under the same key and address is taken from `inherited`
    /// instead; what it had and this one has not is closed when that one ends.
    ///
    /// # Errors
    /// An address is taken, or the certificate cannot be used.
    pub fn new(config: &Config, inherited: &mut Vec<Handed>) -> Result<Self, ServerError> {
        let Config { server, admin, nodes, .. } = config;
        let mut handed = Vec::new();
        let mut bind = |configured: SocketAddr, key: &'static str| {
            let same = |had: &Handed| had.key == key && had.configured == configured;
            let listener = match inherited.iter().position(same) {
                Some(at) => Ok(inherited.swap_remove(at).listener),
                None => TcpListener::bind(configured),
            };
            // pingora hands it to tokio, which wants it so.
            let listener = listener
                .and_then(|listener| listener.set_nonblocking(true).map(|()| listener))
                .inspect(limit_unsent);
            let both = listener.and_then(|listener| Ok((listener.try_clone()?, listener)));
            let (copy, listener) =
                both.map_err(|source| ServerError::Bind { address: configured, key, source })?;
            handed.push(Handed { key: key.to_owned(), configured, listener: copy });
            Ok::<_, ServerError>(listener)
        };
        let (mut tls, mut certificates) = (None, None);
        if let Some(config) = &server.tls {
            let shown = Certificates::new(Certificate::load(config)?);
            tls = Some((bind(config.listen, "server.tls.listen")?, shown.settings(config)?));
            certificates = Some(shown);
        }
        let listen = server.listen.iter().map(|&address| bind(address, "server.listen"));
        let listen = listen.collect::<Result<_, _>>()?;
        let admin = bind(admin.listen, "admin.listen")?;
        let mut others = None;
        if let Some(nodes) = nodes {
            let tls =
                nodes::tls_of(nodes).map(|tls| Certificates::new(Certificate::load(&tls)?).settings(&tls));
            others = Some((bind(nodes.listen, "nodes.listen")?, tls.transpose()?));
        }
        Ok(Self { listen, tls, admin, nodes: others, certificates, handed })
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

/// Serves until a signal stops it or another edge has taken over, then drains: no new connections, requests in progress are finished for
/// as long as the configuration allows, and the enhancer is stopped.
///
/// # Errors
/// The socket for the next edge cannot be opened.
pub async fn serve(app: Arc<App>, bound: Bound, around: Surroundings) -> Result<(), ServerError> {
    let Surroundings { predecessor, upgrade_socket, successor, notify } = around;
    let replaces = predecessor.is_some();
    let door = match upgrade_socket {
        Some(path) => {
            let door = handover::open(&path, replaces, bound.handed);
            Some(door.map_err(|source| ServerError::Door { path, source })?)
        }
        None => {
            // As long as anybody holds a listening socket, the kernel takes connections for it.
            drop(bound.handed);
            None
        }
    };
    // Two TLS libraries in one process leave rustls without a default unless one is named.
    pingora::tls::install_default_crypto_provider();
    app.start();
    tokio::spawn(status::remember(Arc::downgrade(&app)));
    let conf = Arc::new(ServerConf {
        threads: app.setup().config.server.threads,
        upstream_keepalive_pool_size: UPSTREAM_POOL,
        ..ServerConf::default()
    });
    let mut fds = Fds::new();
    let mut adopt = |listener: TcpListener, name: String| {
        fds.add(name.clone(), listener.into_raw_fd());
        name
    };
    let connections = Connections::default();
    let mut proxy = http_proxy(&conf, Edge::new(Arc::clone(&app)));
    let mut options = HttpServerOptions::default();
    options.h2_idle_timeout = Some(Duration::from_secs(KEEPALIVE_SECONDS));
    proxy.server_options = Some(options);
    let config = Arc::clone(&app.setup().config);
    let entrance = Entrance::new(&config, Arc::clone(&app.clients));
    let instruments = app.clients.instruments().clone();
    let gate = Gate::new(proxy, entrance.clone(), instruments);
    let mut players = Service::new("players".to_owned(), connections.count(gate));
    players.set_connection_filter(Arc::new(entrance));
    for (number, listener) in bound.listen.into_iter().enumerate() {
        players.add_tcp(&adopt(listener, format!("http-{number}")));
    }
    if let Some((listener, settings)) = bound.tls {
        players.add_tls_with_settings(&adopt(listener, "https".to_owned()), None, settings);
    }
    let mut operators = Service::new("operators".to_owned(), Admin::new(Arc::clone(&app)));
    operators.add_tcp(&adopt(bound.admin, "admin".to_owned()));
    let others = bound.nodes.zip(nodes::listen::Door::new(&app, &app.lasting.nodes));
    let others = others.map(|((listener, tls), door)| {
        let mut others = Service::new("nodes".to_owned(), door);
        let name = adopt(listener, "nodes".to_owned());
        match tls {
            Some(settings) => others.add_tls_with_settings(&name, None, settings),
            None => others.add_tcp(&name),
        }
        others
    });
    let fds = ListenFds::new(fds.into());

    let (close_players, players_close) = watch::channel(false);
    let (close_operators, operators_close) = watch::channel(false);
    let fds_of_players = ListenFds::clone(&fds);
    let (fds_of_nodes, nodes_close) = (ListenFds::clone(&fds), players_close.clone());
    let others = others.map(|mut others| {
        tokio::spawn(async move { others.start_service(Some(fds_of_nodes), nodes_close, 1).await })
    });
    let players =
        tokio::spawn(async move { players.start_service(Some(fds_of_players), players_close, 1).await });
    let operators = tokio::spawn(async move { operators.start_service(Some(fds), operators_close, 1).await });

    notify.ready();
    if let Some(Err(error)) = predecessor.map(Predecessor::taken) {
        tracing::warn!(%error, "the edge before this one is gone already");
    }
    let heeds = tokio::spawn(signals::heed(Arc::clone(&app), successor));
    let why = tokio::select! {
        why = signals::stop() => why,
        pid = taken_over(door, &app) => Stop::HandedOver(pid),
    };
    heeds.abort();
    if let Stop::HandedOver(Some(pid)) = why {
        notify.main_process_is(pid);
    } else {
        notify.stopping();
    }
    let drain = leave(&app, why).await;
    // Nobody listens any more if every service has ended by itself.
    let _ = close_players.send(true);
    // The next one answers operators too; without one they see the end from here.
    if matches!(why, Stop::HandedOver(_)) {
        let _ = close_operators.send(true);
    }
    let give_up = Instant::now() + drain;
    let is_over = || match why {
        Stop::Interrupt => app.requests_in_progress() == 0,
        Stop::Terminate | Stop::HandedOver(_) => connections.open() == 0,
    };
    while !is_over() && Instant::now() < give_up {
        sleep(Duration::from_millis(20)).await;
    }
    app.shutdown();
    app.traces.finish(TRACES_PATIENCE).await;
    players.abort();
    operators.abort();
    if let Some(others) = others {
        others.abort();
    }
    tracing::info!(cut_off = app.requests_in_progress(), idle = connections.open(), "stopped");
    Ok(())
}

async fn taken_over(door: Option<Door>, app: &App) -> Option<i32> {
    match door {
        Some(door) => door.until_taken(|| app.switches.off(), || app.metrics.handover_failures.inc()).await,
        None => std::future::pending().await,
    }
}

/// Tells load balancers, gives them time to hear it, and gives the time that requests in progress have after that.
async fn leave(app: &App, why: Stop) -> Duration {
    app.leave();
    // As configured by now.
    let config = Arc::clone(&app.setup().config);
    if why == Stop::Terminate {
        let notice = config.server.drain_notice_seconds;
        tracing::info!(seconds = notice, "going to stop: not ready any more, everything is still answered");
        sleep(Duration::from_secs(notice)).await;
    }
    tracing::info!(
        ?why,
        in_progress = app.requests_in_progress(),
        "stopping: requests in progress are finished"
    );
    Duration::from_secs(config.server.drain_seconds)
}
