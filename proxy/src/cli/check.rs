//! `acuity check`: everything that is wrong with a configuration and the models it names, in one run.

use std::path::PathBuf;

use acuity_config::{Config, ModelsConfig, WorkerPart};
use acuity_models::{Catalogue, CatalogueError};
use clap::Args as ClapArgs;

use super::locate::Places;
use super::{Failure, say, serve, with_causes};
use crate::admin::AdminToken;
use crate::cache::depot;
use crate::cluster::uses_models;
use crate::model_store;
use crate::nodes;
use crate::signed::RouteKeys;
use crate::signed::keys::KeyFault;
use crate::traces;

/// Check a configuration file, and the keys, models and directories it names
///
/// Reports every fault with its line and key, and what to do about it; then every key and directory that cannot be used, and every model of the
/// catalogue whose file is not what the catalogue says. Exit code 0 if there is none, 1 otherwise. Nothing is started and nothing is fetched.
/// With --worker the file is that of a worker which edges on other machines use, and of it what such a worker takes is looked at.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// The file is for `acuity worker --listen`
    #[arg(long)]
    worker: bool,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = serve::read(&args.config)?;
    let name = args.config.display().to_string();
    if args.worker { worker(&text, &name) } else { edge(&text, &name) }
}

/// A worker that listens: all of its models count, since edges say which are used.
fn worker(text: &str, name: &str) -> Result<(), Failure> {
    let part = WorkerPart::parse(text).map_err(|faults| Failure::fault(faults.in_file(name)))?;
    let Some(listen) = &part.workers.listen else {
        return Err(Failure::fault(format!(
            "{name}: workers.listen: is missing: where edges find this worker"
        )));
    };
    let tls = acuity_workers::check_listen(listen).map(|fault| format!("workers.listen: {fault}"));
    let edges = match listen.permitted.as_slice() {
        [] => "whoever its authority has signed".to_owned(),
        names => names.join(", "),
    };
    let good = format!("{name}: no faults; at {} for {edges}\n", listen.address);
    told_of(tls.into_iter().collect(), vec![good], Some(&part.models))
}

fn edge(text: &str, name: &str) -> Result<(), Failure> {
    let config = acuity_config::parse(text).map_err(|faults| Failure::fault(faults.in_file(name)))?;
    // All are looked at: one run tells everything.
    let keys = RouteKeys::load(&config.routes).err().unwrap_or_default();
    let mut faults: Vec<String> = keys.iter().map(ToString::to_string).collect();
    // The edge would start without a directory that it cannot use; whoever checks wants to know before.
    faults.extend(config.cache.depot.iter().flat_map(depot::check).map(|fault| fault.to_string()));
    faults.extend(config.nodes.iter().flat_map(nodes::check));
    faults.extend(model_store::check(&config.models).iter().map(ToString::to_string));
    let remote = config.workers.remote.iter().filter_map(|remote| acuity_workers::check_remote(&remote.tls));
    faults.extend(remote.map(|fault| format!("workers.tls: {fault}")));
    if let Some(file) = &config.admin.token_file
        && let Err(fault) = AdminToken::read(file)
    {
        faults.push(format!("admin.token_file {} {fault}", file.display()));
    }
    faults.extend(traces::check(&config.tracing).map(|fault| fault.to_string()));
    let good = format!("{name}: no faults; {}\n", summary(&config));
    told_of(faults, vec![good], uses_models(&config.routes).then_some(&config.models))
}

/// Says what is good, or all that is not.
fn told_of(
    mut faults: Vec<String>,
    mut good: Vec<String>,
    models: Option<&ModelsConfig>,
) -> Result<(), Failure> {
    if let Some(models) = models {
        match check_models(models) {
            Ok(said) => good.push(said),
            Err(found) => faults.extend(found),
        }
    }
    if !faults.is_empty() {
        return Err(Failure::Fault(faults.join("\n  ")));
    }
    // Nothing is said to be without faults before all is known.
    good.iter().for_each(|line| say(line));
    Ok(())
}

pub(super) fn told(faults: &[KeyFault]) -> String {
    faults.iter().map(ToString::to_string).collect::<Vec<_>>().join("\n  ")
}

/// The edge would start without a model that is wrong; whoever checks wants to know before.
fn check_models(models: &ModelsConfig) -> Result<String, Vec<String>> {
    let directory = Places::default().models(&models.directory);
    let catalogue = match Catalogue::load(&directory) {
        Ok(catalogue) => catalogue,
        // The edge fetches it.
        Err(CatalogueError::Missing { .. }) if models.store.is_some() => Catalogue::empty(),
        Err(error) => return Err(vec![with_causes(&error)]),
    };
    let rejected = catalogue.rejected().iter().map(|rejected| with_causes(rejected));
    let files =
        catalogue.verify().into_iter().filter_map(|(entry, state)| super::models::fault(&entry, &state));
    let faults: Vec<String> = rejected.chain(files).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let count = catalogue.entries().len();
    let noun = if count == 1 { "model" } else { "models" };
    if count == 0 && models.store.is_some() {
        return Ok(format!("{}: nothing has come from the store yet\n", directory.display()));
    }
    Ok(format!("{}: no faults; {count} {noun}\n", directory.display()))
}

fn summary(config: &Config) -> String {
    let routes: Vec<String> = config
        .routes
        .iter()
        .map(|route| {
            let origins: Vec<&str> = route.origins().map(acuity_config::Url::as_str).collect();
            format!("{}{} -> {}", route.host, route.prefix, origins.join(" then "))
        })
        .collect();
    format!("{} {}: {}", routes.len(), if routes.len() == 1 { "route" } else { "routes" }, routes.join(", "))
}
