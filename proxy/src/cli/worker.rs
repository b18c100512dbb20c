//! `acuity worker`: a process that makes segments. The edge starts it.

use acuity_workers::Worker;
use clap::Args as ClapArgs;

use super::{Failure, logging, with_causes};

/// Make segments for the edge that started this process
///
/// `acuity serve` starts these by itself where the configuration has `workers.count` above 0 (docs/workers.md). By hand there is nothing to
/// be done with one: it is told what to do over the socket that it gets as its standard input.
#[derive(ClapArgs, Debug)]
pub(super) struct Args {
    /// Name in the log
    #[arg(long, value_name = "NAME")]
    supervised: String,
}

pub(super) fn run(args: &Args) -> Result<(), Failure> {
    // Before anything else: there is one thread now, and nothing of a stranger's has been seen.
    let worker = Worker::begin().map_err(|error| Failure::Fault(with_causes(&error)))?;
    let set_level = logging::start(&worker.part().log, &args.supervised);
    worker.run(set_level).map_err(|error| Failure::Running(with_causes(&error)))
}
