//! `acuity`: reads the command line, runs the subcommand, turns its outcome into an exit code.
//!
//! | code | meaning |
//! |---|---|
//! | 0 | done |
//! | 1 | the command line, the configuration or the models are at fault: nothing was started |
//! | 2 | something failed while running |
#![forbid(unsafe_code)]

use std::process::ExitCode;

fn main() -> ExitCode {
    acuity_proxy::cli::main()
}
