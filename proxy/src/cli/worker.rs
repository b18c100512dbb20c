//! `acuity worker`: a process that makes segments, for the edge that has started it or for edges on other machines.

use std::path::PathBuf;

use acuity_config::WorkerPart;
use acuity_workers::{Listener, Worker, WorkerError};
use clap::Args as ClapArgs;

use super::locate::Places;
use super::{Failure, logging, serve, with_causes};

/// Make segments for edges, on this machine or on others
///
/// `acuity serve` starts workers beside itself where the configuration has `workers.count` above 0 (docs/workers.md); by hand there is nothing
/// to be done with one of these. With --listen a worker serves the edges that name it in `workers.remote`: it answers at
/// `workers.listen.address` whoever shows a certificate that `workers.listen.client_authority` has signed. SIGTERM has it finish what it
/// has in hand, and end.
#[derive(ClapArgs, Debug)]
#[command(group(clap::ArgGroup::new("how").required(true).args(["supervised", "listen"])))]
pub(super) struct Args {
    /// Name in the log of a worker that an edge has started
    #[arg(long, value_name = "NAME", hide = true)]
    supervised: Option<String>,

    /// Listen for edges on other machines
    #[arg(long, requires = "config")]
    listen: bool,

    /// Configuration file (TOML) with [workers.listen]; of the rest [enhancer], [models], [workers] and [log] count
    #[arg(long, value_name = "FILE", conflicts_with = "supervised")]
    config: Option<PathBuf>,

    #[command(flatten)]
    places: Places,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    match (&args.supervised, &args.config) {
        (Some(name), _) => supervised(name),
        (None, Some(config)) => listen(args, config),
        // The group and what it requires leave nothing else.
        (None, None) => Err(Failure::fault("--listen needs --config FILE")),
    }
}

fn supervised(name: &str) -> Result<(), Failure> {
    // Before anything else: there is one thread now, and nothing of a stranger's has been seen.
    let worker = Worker::begin().map_err(|error| Failure::Fault(with_causes(&error)))?;
    let set_level = logging::start(&worker.part().log, name);
    worker.run(set_level).map_err(|error| Failure::Running(with_causes(&error)))
}

fn absolute(path: PathBuf) -> PathBuf {
    std::path::absolute(&path).unwrap_or(path)
}

fn listen(args: &Args, config: &PathBuf) -> Result<(), Failure> {
    let text = serve::read(config)?;
    let faults =
        |faults: acuity_config::Faults| Failure::fault(faults.in_file(&config.display().to_string()));
    let mut part = WorkerPart::parse(&text).map_err(faults)?;
    // The sandbox knows files by where they are.
    part.models.directory = absolute(args.places.models(&part.models.directory));
    part.enhancer.runtime_library = args.places.runtime_library(part.enhancer.runtime_library).map(absolute);
    part.enhancer.cost_file = part.enhancer.cost_file.map(absolute);
    part.enhancer.gpu.engine_cache = part.enhancer.gpu.engine_cache.map(absolute);
    // Still one thread: sockets and keys are opened, and the rest given up.
    let listener = Listener::begin(part).map_err(|error| match error {
        WorkerError::Listen { .. } => Failure::Running(with_causes(&error)),
        error => Failure::Fault(with_causes(&error)),
    })?;
    let _ = logging::start(&listener.part().log, "");
    listener.run().map_err(|error| Failure::Running(with_causes(&error)))
}
