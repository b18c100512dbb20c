//! `acuity check`: everything that is wrong with a configuration, in one run.

use std::path::PathBuf;

use acuity_config::Config;
use clap::Args as ClapArgs;

use super::{Failure, serve};

/// Check a configuration file
///
/// Reports every fault with its line and key, and what to do about it. Exit code 0 if there is none, 1 otherwise. Nothing
/// is started and no network is used.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Configuration file (TOML)
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
}

#[allow(clippy::print_stdout)]
pub(super) fn run(args: &Args) -> Result<(), Failure> {
    let text = serve::read(&args.config)?;
    let name = args.config.display().to_string();
    let config = acuity_config::parse(&text).map_err(|faults| Failure::fault(faults.in_file(&name)))?;
    println!("{name}: no faults; {}", summary(&config));
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
