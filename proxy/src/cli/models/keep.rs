//! `acuity models keep`: a directory that is kept like a store, for whoever may not ask a store himself.

use std::net::SocketAddr;
use std::path::PathBuf;

use acuity_config::{LogLevel, WorkerPart};
use clap::Args as ClapArgs;
use prometheus::Registry;
use tokio::signal::unix::{SignalKind, signal};

use super::store;
use crate::cli::locate::Places;
use crate::cli::{Failure, logging, serve, with_causes};
use crate::model_store::ModelStore;

/// Keep a models' directory like a store until told to stop: for workers on other machines, whose sandbox leaves them no network
///
/// Does what an edge does with [models.store], beside `acuity worker --listen`: looks at the channel each `interval`, fetches what the
/// directory has not got, and puts a catalogue in place when all of it is there and right; the worker sees it come. SIGHUP has it read the
/// configuration again (channel, pin, interval), SIGTERM ends it and leaves what is there.
#[derive(ClapArgs, Debug)]
pub(super) struct KeepArgs {
    /// Configuration file (TOML) with [models.store]; of the rest [models] and [log] count. A worker's own will do
    #[arg(long, value_name = "FILE")]
    config: PathBuf,

    /// Answer /metrics, /livez and /readyz at this address and port
    #[arg(long, value_name = "ADDRESS")]
    admin: Option<SocketAddr>,

    #[command(flatten)]
    places: Places,
}

impl KeepArgs {
    fn read(&self) -> Result<WorkerPart, Failure> {
        let name = self.config.display().to_string();
        let faults = |faults: acuity_config::Faults| Failure::fault(faults.in_file(&name));
        let mut part = WorkerPart::parse(&serve::read(&self.config)?).map_err(faults)?;
        if part.models.store.is_none() {
            return Err(Failure::Fault(format!("{name} has no [models.store]: there is nothing to keep")));
        }
        part.models.directory = self.places.models(&part.models.directory);
        Ok(part)
    }
}

pub(super) fn keep(args: &KeepArgs) -> Result<(), Failure> {
    let part = args.read()?;
    let registry = Registry::new();
    let kept =
        ModelStore::new(&part.models, &registry).map_err(|fault| Failure::Fault(with_causes(&fault)))?;
    let set_level = logging::start(&part.log, "");
    store::runtime()?.block_on(async {
        if let Some(address) = args.admin {
            let failed = |error| Failure::Running(format!("cannot listen at {address}: {error}"));
            let listener = tokio::net::TcpListener::bind(address).await.map_err(failed)?;
            // Models that are there are used, however old: that is for alerts, not for who asks whether this runs.
            tokio::spawn(acuity_workers::answer_operators(listener, registry, || Ok(())));
        }
        kept.start();
        tracing::info!(directory = %part.models.directory.display(), "the models' directory is kept like the store");
        let ended = until_told(args, &kept, &*set_level).await;
        kept.stop();
        ended.map_err(|error| Failure::Running(format!("cannot heed signals: {error}")))
    })
}

/// Takes what the configuration says by now, on each SIGHUP, until SIGTERM or SIGINT.
async fn until_told(
    args: &KeepArgs,
    kept: &ModelStore,
    set_level: &(dyn Fn(LogLevel) + Send + Sync),
) -> std::io::Result<()> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    loop {
        tokio::select! {
            _ = terminate.recv() => return Ok(()),
            _ = interrupt.recv() => return Ok(()),
            _ = hang_up.recv() => match args.read() {
                Ok(part) => {
                    set_level(part.log.level);
                    kept.set(&part.models);
                    tracing::info!("the configuration was read again; another store or directory waits for a restart");
                }
                Err(failure) => tracing::error!(why = failure.into_words(), "the configuration is as it was"),
            },
        }
    }
}
