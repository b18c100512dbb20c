//! `acuity serve`: the edge.

use std::collections::BTreeSet;
use std::io::IsTerminal;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use acuity_config::{ClusterChoice, Config, LogLevel, Overrides};
use acuity_enhancer::StartError;
use acuity_models::Catalogue;
use clap::Args as ClapArgs;
use tracing_subscriber::EnvFilter;

use super::locate::Places;
use super::{Failure, with_causes};
use crate::app::{App, AppError};
use crate::cluster::uses_models;
use crate::hls::token::PLAIN_CLUSTER;
use crate::server::{self, Addresses, Bound};

/// Serve enhanced HLS in front of one or more origins
///
/// With --origin alone everything has a default: every host and path goes to that origin, every client gets enhanced
/// renditions. A configuration file says more: routes, weak-client rules, limits, TLS.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Origin for every host and path (replaces that route of the file)
    #[arg(long, value_name = "URL", required_unless_present = "config")]
    origin: Option<String>,

    /// Address for players [default: 127.0.0.1:8080]
    #[arg(long, value_name = "ADDR")]
    listen: Option<SocketAddr>,

    /// Address for operators: /metrics, /livez, /readyz [default: 127.0.0.1:9090]
    #[arg(long, value_name = "ADDR")]
    admin: Option<SocketAddr>,

    /// Configuration file (TOML); flags override it
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,

    #[command(flatten)]
    places: Places,
}

pub(super) fn run(args: Args) -> Result<(), Failure> {
    let config = configuration(&args)?;
    start_logging(config.log.level);
    let catalogue = Arc::new(catalogue(&config)?);
    warn_of_clusters_without_models(&config, &catalogue);
    // Sockets first: a taken port is known before seconds are spent on models.
    let bound = Bound::new(&config.server, config.admin.listen).map_err(Failure::running)?;
    let addresses = bound.addresses().map_err(Failure::running)?;
    let runtime = server::runtime(&config.server).map_err(Failure::running)?;
    let app = Arc::new(App::new(config, catalogue).map_err(why)?);
    announce(&app, &addresses);
    runtime.block_on(server::serve(app, bound, server::stop_signal()));
    // Downloads that were cut off and the enhancer's threads end with the process.
    runtime.shutdown_background();
    Ok(())
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
        AppError::Enhancer(StartError::Runtime { .. } | StartError::Provider { .. }) => Failure::fault(error),
        _ => Failure::Running(with_causes(&error)),
    }
}

/// Events go to stderr; stdout is the access log's.
fn start_logging(level: LogLevel) {
    let level = match level {
        LogLevel::Error => "error",
        LogLevel::Warn => "warn",
        LogLevel::Info => "info",
        LogLevel::Debug => "debug",
        LogLevel::Trace => "trace",
    };
    // Libraries speak of their own affairs at info; ours are what an operator wants to read.
    let filter = EnvFilter::new(format!("warn,acuity={level},acuity_proxy={level},acuity_enhancer={level}"));
    // Fails only if a subscriber is set already, and then that one serves.
    let _ = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_writer(std::io::stderr)
        .with_ansi(std::io::stderr().is_terminal())
        .with_target(false)
        .try_init();
}

/// One line that says where to go.
fn announce(app: &App, addresses: &Addresses) {
    let plain = addresses.http.iter().map(|address| format!("http://{address}"));
    let tls = addresses.https.iter().map(|address| format!("https://{address}"));
    let players: Vec<String> = plain.chain(tls).collect();
    let origins: Vec<String> = app.config.routes.iter().map(|route| route.origin.to_string()).collect();
    eprintln!(
        "acuity {} listening on {}, admin http://{}, origin {}",
        env!("CARGO_PKG_VERSION"),
        players.join(" "),
        addresses.admin,
        origins.join(" "),
    );
}
