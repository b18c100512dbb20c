//! `acuity serve`: the edge.

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::{ClusterChoice, Config, Overrides};
use acuity_enhancer::{Readiness, StartError};
use acuity_models::Catalogue;
use acuity_playlist::token::PLAIN_CLUSTER;
use acuity_workers::{EngineError, LocalError};
use clap::Args as ClapArgs;

use super::locate::Places;
use super::{Failure, logging, with_causes};
use crate::app::{App, AppError};
use crate::cluster::uses_models;
use crate::handover::Predecessor;
use crate::model_store;
use crate::notify::Notify;
use crate::process;
use crate::reload::Reloader;
use crate::server::{self, Addresses, Bound, Surroundings};
use crate::signals::Successor;

/// How long the models of an edge that takes over may take to be ready.
const READY_LIMIT: Duration = Duration::from_secs(900);

/// Serve enhanced HLS in front of one or more origins
///
/// With --origin alone everything has a default: every host and path goes to that origin, every client gets enhanced
/// renditions. A configuration file says more: routes, weak-client rules, limits, TLS.
///
/// SIGHUP (or `acuity reload`) reads the file again. SIGTERM tells load balancers by /readyz and then drains. A new version takes over
/// from a running one without a refused connection with --upgrade, or by SIGUSR2 to the running one, where server.upgrade_socket is set.
#[derive(ClapArgs, Debug, Clone)]
pub(super) struct Args {
    /// Origin for every host and path (replaces that route of the file)
    #[arg(long, value_name = "URL", required_unless_present = "config")]
    origin: Option<String>,

    /// Address for players [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Address for operators: /status, /metrics, /livez, /readyz [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,

    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    /// Take over from the edge that serves, by its server.upgrade_socket, once this one is ready
    #[arg(long)]
    upgrade: bool,

    #[command(flatten)]
    places: Places,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = configuration(&args)?;
    let set_level = logging::start(&config.log, "");
    process::raise_file_limit();
    let mut predecessor = match (args.upgrade, &config.server.upgrade_socket) {
        (true, Some(path)) => Some(Predecessor::ask(path).map_err(|error| {
            Failure::Running(format!("no edge hands over at {} (--upgrade): {error}", path.display()))
        })?),
        (true, None) => {
            return Err(Failure::Fault(
                "--upgrade needs server.upgrade_socket in the configuration".to_owned(),
            ));
        }
        (false, _) => None,
    };
    let around = Surroundings {
        upgrade_socket: config.server.upgrade_socket.clone(),
        successor: config.server.upgrade_socket.is_some().then(successor),
        notify: Notify::to(std::env::var_os("NOTIFY_SOCKET").as_deref()),
        predecessor: None,
    };
    let catalogue = Arc::new(catalogue(&config)?);
    warn_of_clusters_without_models(&config, &catalogue);
    // Sockets first: a taken port is known before seconds are spent on models.
    let mut inherited =
        predecessor.as_mut().map(|edge| std::mem::take(&mut edge.sockets)).unwrap_or_default();
    let bound = Bound::new(&config, &mut inherited).map_err(Failure::running)?;
    drop(inherited);
    let addresses = bound.addresses().map_err(Failure::running)?;
    let runtime = server::runtime(&config.server).map_err(Failure::running)?;
    let certificates = bound.certificates.clone();
    let reader = args.clone();
    let read = Box::new(move || configuration(&reader).map_err(|failure| vec![failure.into_words()]));
    let reloader = Reloader { read, set_level, certificates };
    let app = App::new(config, catalogue, reloader, (worker(), runtime.handle())).map_err(why)?;
    if let Some(edge) = &predecessor {
        edge.legacy.switched_off.iter().for_each(|route| app.switches.set(route, false));
        // The one before serves meanwhile, and goes on if this one never gets ready.
        until_ready(&app)?;
    }
    let app = Arc::new(app);
    announce(&app, &addresses);
    let served = runtime.block_on(server::serve(app, bound, Surroundings { predecessor, ..around }));
    served.map_err(Failure::running)?;
    // Downloads that were cut off and the enhancer's threads end with the process.
    runtime.shutdown_background();
    Ok(())
}

/// What a worker is started as: this very program, whatever lies under its name by then. Where it is run by a loader of its own, that
/// launcher says how (deploy/launch.sh).
fn worker() -> PathBuf {
    std::env::var_os("ACUITY_WORKER").map_or_else(|| PathBuf::from("/proc/self/exe"), PathBuf::from)
}

/// The program as it was started, which by the time it is started again may be another version.
fn successor() -> Successor {
    // A launcher that starts the program by other means says how it wants to be called.
    let named = std::env::var_os("ACUITY_PROGRAM").map(PathBuf::from);
    let called = std::env::args_os().next().map(PathBuf::from).filter(|path| path.components().count() > 1);
    let program =
        named.or(called).or_else(|| std::env::current_exe().ok()).unwrap_or_else(|| "acuity".into());
    let mut arguments: Vec<_> =
        std::env::args_os().skip(1).filter(|argument| argument != "--upgrade").collect();
    arguments.push("--upgrade".into());
    Successor { program, arguments }
}

fn until_ready(app: &App) -> Result<(), Failure> {
    let give_up = Instant::now() + READY_LIMIT;
    loop {
        match app.readiness() {
            Readiness::Ready => return Ok(()),
            Readiness::Starting if Instant::now() < give_up => std::thread::sleep(Duration::from_millis(50)),
            Readiness::Starting | Readiness::Stopped => {
                return Err(Failure::Running(
                    "the models did not get ready: nothing was taken over".to_owned(),
                ));
            }
        }
    }
}

fn configuration(args: &Args) -> Result<Config, Failure> {
    let (name, text) = match &args.config {
        Some(path) => (path.display().to_string(), read(path)?),
        None => (String::new(), String::new()),
    };
    let overrides = Overrides { origin: args.origin.as_deref(), listen: args.listen, admin: args.admin };
    let mut config =
        Config::parse_with(&text, &overrides).map_err(|faults| Failure::fault(faults.in_file(&name)))?;
    config.enhancer.runtime_library = args.places.runtime_library(config.enhancer.runtime_library.take());
    config.models.directory = args.places.models(&config.models.directory);
    Ok(config)
}

pub(super) fn read(path: &PathBuf) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Fault(format!("cannot read the configuration {}: {error}", path.display())))
}

/// The catalogue, if there is one that can be read. What is wrong with single models the enhancer says and does without: a
/// broken network must not take a service down that others could keep up.
fn catalogue(config: &Config) -> Result<Catalogue, Failure> {
    // Also where no route uses models: one that a reload brings may, and workers may read only what is there now.
    model_store::prepare(&config.models).map_err(Failure::fault)?;
    if !uses_models(&config.routes) {
        return Ok(Catalogue::empty());
    }
    Catalogue::load(&config.models.directory)
        .map_err(|error| Failure::Fault(format!("{} (--models names another)", with_causes(&error))))
}

/// Says which clusters the configuration names that have no models, before anybody wonders.
fn warn_of_clusters_without_models(config: &Config, catalogue: &Catalogue) {
    let rules = config.routes.iter().flat_map(|route| &route.cluster_rules).map(|rule| &rule.cluster);
    let always = config.routes.iter().filter_map(|route| match &route.cluster {
        ClusterChoice::Always(cluster) => Some(cluster),
        ClusterChoice::Auto => None,
    });
    let named: BTreeSet<&String> = rules.chain(always).filter(|name| *name != PLAIN_CLUSTER).collect();
    for name in named {
        if !catalogue.entries().iter().any(|entry| entry.cluster == *name) {
            tracing::warn!(
                cluster = name,
                "the configuration names a cluster that has no models: it will be generic"
            );
        }
    }
}

fn why(error: AppError) -> Failure {
    match error {
        AppError::Engine(EngineError::Local(LocalError::Enhancer(
            StartError::Runtime { .. } | StartError::Provider { .. } | StartError::Codec { .. },
        )))
        | AppError::Keys(_)
        | AppError::Depot(_)
        | AppError::ModelStore(_)
        | AppError::Traces(_)
        | AppError::Nodes(_)
        | AppError::Token { .. } => Failure::fault(error),
        _ => Failure::Running(with_causes(&error)),
    }
}

/// One line that says where to go.
fn announce(app: &App, addresses: &Addresses) {
    let plain = addresses.http.iter().map(|address| format!("http://{address}"));
    let tls = addresses.https.iter().map(|address| format!("https://{address}"));
    let players: Vec<String> = plain.chain(tls).collect();
    let setup = app.setup();
    let origins: Vec<String> = setup
        .config
        .routes
        .iter()
        .flat_map(acuity_config::RouteConfig::origins)
        .map(ToString::to_string)
        .collect();
    eprintln!(
        "acuity {} listening on {}, admin http://{}, origin {}",
        env!("CARGO_PKG_VERSION"),
        players.join(" "),
        addresses.admin,
        origins.join(" "),
    );
}
