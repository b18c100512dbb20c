//! `acuity check`: everything that is wrong with a configuration and the models it names, in one run.

use std::path::PathBuf;

use acuity_config::Config;
use acuity_models::Catalogue;
use clap::Args as ClapArgs;

use super::locate::Places;
use super::{Failure, models, say, serve, with_causes};
use crate::cluster::uses_models;

/// Check a configuration file, and the models it names
///
/// Reports every fault with its line and key, and what to do about it; then every model of the catalogue whose file is not
/// what the catalogue says. Exit code 0 if there is none, 1 otherwise. Nothing is started and nothing is fetched.
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
    say(&format!("{name}: no faults; {}\n", summary(&config)));
    if uses_models(&config.routes) { check_models(&config) } else { Ok(()) }
}

/// The edge would start without a model that is wrong; whoever checks wants to know before.
fn check_models(config: &Config) -> Result<(), Failure> {
    let directory = Places::default().models(&config.models.directory);
    let catalogue = Catalogue::load(&directory).map_err(|error| Failure::Fault(with_causes(&error)))?;
    let rejected = catalogue.rejected().iter().map(|rejected| with_causes(rejected));
    let files = catalogue.verify().into_iter().filter_map(|(entry, state)| models::fault(&entry, &state));
    let faults: Vec<String> = rejected.chain(files).collect();
    if !faults.is_empty() {
        return Err(Failure::Fault(faults.join("\n  ")));
    }
    let count = catalogue.entries().len();
    let models = if count == 1 { "model" } else { "models" };
    say(&format!("{}: no faults; {count} {models}\n", directory.display()));
    Ok(())
}

fn summary(config: &Config) -> String {
    let routes: Vec<String> = config
        .routes
        .iter()
        .map(|route| format!("{}{} -> {}", route.host, route.prefix, route.origin))
        .collect();
    format!("{} {}: {}", routes.len(), if routes.len() == 1 { "route" } else { "routes" }, routes.join(", "))
}
