//! `acuity check`: everything that is wrong with a configuration and the models it names, in one run.

use std::path::PathBuf;

use acuity_config::Config;
use acuity_models::Catalogue;
use clap::Args as ClapArgs;

use super::locate::Places;
use super::{Failure, models, say, serve, with_causes};
use crate::admin::AdminToken;
use crate::cache::depot;
use crate::cluster::uses_models;
use crate::nodes;
use crate::signed::RouteKeys;
use crate::signed::keys::KeyFault;
use crate::traces;

/// Check a configuration file, and the keys, models and directories it names
///
/// Reports every fault with its line and key, and what to do about it; then every key and directory that cannot be used, and every model of the
/// catalogue whose file is not what the catalogue says. Exit code 0 if there is none, 1 otherwise. Nothing is started and nothing is fetched.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = serve::read(&args.config)?;
    let name = args.config.display().to_string();
    let config = acuity_config::parse(&text).map_err(|faults| Failure::fault(faults.in_file(&name)))?;
    // All are looked at: one run tells everything.
    let keys = RouteKeys::load(&config.routes).err().unwrap_or_default();
    let mut faults: Vec<String> = keys.iter().map(ToString::to_string).collect();
    // The edge would start without a directory that it cannot use; whoever checks wants to know before.
    faults.extend(config.cache.depot.iter().flat_map(depot::check).map(|fault| fault.to_string()));
    faults.extend(config.nodes.iter().flat_map(nodes::check));
    let remote = config.workers.remote.iter().filter_map(|remote| acuity_workers::check_remote(&remote.tls));
    faults.extend(remote.map(|fault| format!("workers.tls: {fault}")));
    if let Some(file) = &config.admin.token_file
        && let Err(fault) = AdminToken::read(file)
    {
        faults.push(format!("admin.token_file {} {fault}", file.display()));
    }
    faults.extend(traces::check(&config.tracing).map(|fault| fault.to_string()));
    let mut good = vec![format!("{name}: no faults; {}\n", summary(&config))];
    if uses_models(&config.routes) {
        match check_models(&config) {
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
fn check_models(config: &Config) -> Result<String, Vec<String>> {
    let directory = Places::default().models(&config.models.directory);
    let catalogue = match Catalogue::load(&directory) {
        Ok(catalogue) => catalogue,
        Err(error) => return Err(vec![with_causes(&error)]),
    };
    let rejected = catalogue.rejected().iter().map(|rejected| with_causes(rejected));
    let files = catalogue.verify().into_iter().filter_map(|(entry, state)| models::fault(&entry, &state));
    let faults: Vec<String> = rejected.chain(files).collect();
    if !faults.is_empty() {
        return Err(faults);
    }
    let count = catalogue.entries().len();
    let models = if count == 1 { "model" } else { "models" };
    Ok(format!("{}: no faults; {count} {models}\n", directory.display()))
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
