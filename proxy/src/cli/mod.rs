//! The command line. One file for each subcommand; here is what they share: parsing, messages, exit codes.
//!
//! This is the only room that reads the environment and the terminal. What it reads it passes on as values.

mod check;
mod enhance;
mod locate;
mod logging;
mod models;
mod remote;
mod serve;
mod sign;
mod worker;

use std::io::{self, Write as _};
use std::process::ExitCode;

use clap::{Parser, Subcommand};

/// What `--help` begins with.
const ABOUT: &str = "An HLS edge proxy that enhances video in flight";

const LONG_ABOUT: &str = "\
An HLS edge proxy that enhances video in flight.

Acuity stands between an HLS origin and its players. It fetches the low renditions from the origin, restores and enlarges \
them with small neural networks, and offers the result as renditions of higher resolution. Origin, packager and player stay \
as they are.

  acuity serve --origin https://origin.example/vod     put an edge before an origin
  acuity check --config acuity.toml                    see everything that is wrong with a configuration
  acuity models                                        see which networks there are and what they gained
  acuity models push DIR --to s3://models              publish networks for the edges of a region
  acuity enhance film.mp4 -o film-720p.mp4             enhance a file or an HLS stream with the code that serves
  acuity sign URL --config acuity.toml --expires 1h    sign a URL for a route that wants signatures
  acuity worker --listen --config worker.toml          make segments for edges on other machines
  acuity reload                                        have a running edge read its configuration again
  acuity purge --prefix /live/                         have it forget what it made
  acuity route enhance NAME off                        switch enhancement off for a route, now
  acuity live                                          see whether an edge answers; needs no token

Exit codes: 0 done, 1 command line, configuration or models at fault, 2 failed while running.";

#[derive(Parser)]
#[command(name = "acuity", version, about = ABOUT, long_about = LONG_ABOUT, max_term_width = 100)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    Serve(serve::Args),
    Check(check::Args),
    Models(models::Args),
    Enhance(enhance::Args),
    Sign(sign::Args),
    Worker(worker::Args),
    Reload(remote::ReloadArgs),
    Purge(remote::PurgeArgs),
    Route(remote::RouteArgs),
    Live(remote::LiveArgs),
}

/// Why a subcommand ended without doing what it was asked for. The message says what, where, and what to do.
#[derive(Debug)]
enum Failure {
    /// Exit code 1.
    Fault(String),
    /// Exit code 2.
    Running(String),
}

impl Failure {
    fn fault(message: impl std::fmt::Display) -> Self {
        Self::Fault(message.to_string())
    }

    fn into_words(self) -> String {
        match self {
            Self::Fault(words) | Self::Running(words) => words,
        }
    }

    fn running(message: impl std::fmt::Display) -> Self {
        Self::Running(message.to_string())
    }
}

/// An error and all its causes, on one line; a cause that the error tells itself is not repeated.
pub(crate) fn with_causes(error: &dyn std::error::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(error) = cause {
        let words = error.to_string();
        if !text.contains(&words) {
            text.push_str(": ");
            text.push_str(&words);
        }
        cause = error.source();
    }
    text
}

/// Runs the program.
#[must_use]
pub fn main() -> ExitCode {
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => {
            // Help and version are no errors; if the terminal is gone there is nobody to tell.
            let _ = error.print();
            return if error.use_stderr() { ExitCode::from(1) } else { ExitCode::SUCCESS };
        }
    };
    let done = match cli.command {
        Command::Serve(args) => serve::run(args),
        Command::Check(args) => check::run(&args),
        Command::Models(args) => models::run(&args),
        Command::Enhance(args) => enhance::run(&args),
        Command::Sign(args) => sign::run(&args),
        Command::Worker(args) => worker::run(&args),
        Command::Reload(args) => remote::reload(&args),
        Command::Live(args) => remote::live(&args),
        Command::Purge(args) => remote::purge(&args),
        Command::Route(args) => remote::route(&args),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(Failure::Fault(message)) => complain(&message, 1),
        Err(Failure::Running(message)) => complain(&message, 2),
    }
}

/// Writes to standard output. A reader that has seen enough (`acuity models | head`) is no fault.
fn say(text: &str) {
    let _ = io::stdout().lock().write_all(text.as_bytes());
}

fn complain(message: &str, code: u8) -> ExitCode {
    eprintln!("acuity: {message}");
    ExitCode::from(code)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn usage_that_the_readme_shows() {
        for line in [
            "acuity serve --origin http://127.0.0.1:8081",
            "acuity serve --origin http://o/ --listen 127.0.0.1:0 --admin 127.0.0.1:0",
            "acuity serve --config acuity.toml --models models/zoo --runtime-library libonnxruntime.so",
            "acuity check --config acuity.toml",
            "acuity models",
            "acuity models push models/zoo --to s3://models --endpoint https://minio.example --dry-run",
            "acuity models push models/zoo --config acuity.toml --channel canary",
            "acuity models promote 2a7c0f5b8d1e4f60937a5c2b8e4d1f06937a5c2b8e4d1f06937a5c2b8e4d1f06 --to file:///mnt/models",
            "acuity models list --config acuity.toml",
            "acuity models verify --from file:///mnt/models --channel canary",
            "acuity models pull /var/lib/acuity/models --config acuity.toml",
            "acuity enhance film.mp4 -o film-720p.mp4",
            "acuity sign https://tv.example/vod/a.m3u8 --config acuity.toml --expires 1h --prefix /vod/",
            "acuity reload --admin 127.0.0.1:9091",
            "acuity purge --url https://tv.example/vod/1.ts",
            "acuity purge --prefix /vod/ --host tv.example",
            "acuity purge --all",
            "acuity route",
            "acuity route enhance */ off",
            "acuity route enhance films off --admin 127.0.0.1:9091",
            "acuity serve --config acuity.toml --upgrade",
            "acuity enhance https://o.example/a.m3u8 --output a.ts --model generic-x2-s",
            "acuity enhance film.mp4 -o out.mkv --baseline bicubic",
            "acuity enhance film.mp4 -o out.mkv --cluster freedoom --scale 3",
            "acuity worker --listen --config worker.toml",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_ok(), "{line}");
        }
        for line in [
            "acuity",
            "acuity serve --listen nowhere",
            "acuity check",
            "acuity models push models/zoo",
            "acuity models push --to file:///mnt/models",
            "acuity models push models/zoo --to file:///mnt/models --channel Stable",
            "acuity models promote abc --to file:///mnt/models",
            "acuity models list",
            "acuity nothing",
            "acuity purge",
            "acuity purge --all --cluster games",
            "acuity route enhance films perhaps",
            "acuity sign /vod/a.m3u8 --config acuity.toml",
            "acuity sign /vod/a.m3u8 --config acuity.toml --expires soon",
            "acuity enhance film.mp4",
            "acuity enhance film.mp4 -o out.mkv --cluster freedoom --model generic-x2-s",
            "acuity enhance film.mp4 -o out.mkv --scale 5",
            "acuity worker",
            "acuity worker --listen",
            "acuity worker --listen --supervised a --config worker.toml",
        ] {
            assert!(Cli::try_parse_from(line.split(' ')).is_err(), "{line}");
        }
    }
}
