//! `acuity models push` and `promote`: what edges will take.

use std::path::PathBuf;

use acuity_models::{Manifest, PackError, Sha256};
use clap::Args as ClapArgs;

use super::store::{self, StoreArgs};
use crate::cli::{Failure, say, with_causes};
use crate::model_store::publish::{self, PublishError};
use crate::model_store::remote::WRITING;

/// Put a models' directory into a store, and have a channel name it
///
/// Everything in the directory has to be right: models, clusters, records. Files that the store has are not sent again. Files go first, then
/// the catalogue, and the channel is moved last, so that edges find all of it or nothing. Prints the catalogue's SHA-256, by which it can be
/// pinned (models.store.pin), promoted to another channel or rolled back to.
#[derive(ClapArgs, Debug)]
pub(super) struct PushArgs {
    /// Directory with catalogue.toml and what it names
    #[arg(value_name = "DIR")]
    directory: PathBuf,

    /// The channel that is to name it [default: that of --config, else stable]
    #[arg(long, value_name = "NAME", value_parser = store::channel, conflicts_with = "no_channel")]
    channel: Option<String>,

    /// Put it there and let channels name what they name
    #[arg(long)]
    no_channel: bool,

    /// Say what would be done, and do nothing
    #[arg(long)]
    dry_run: bool,

    #[command(flatten)]
    store: StoreArgs,
}

/// Have a channel name a catalogue that is in the store: from canary to stable, or back to an older one
///
/// `acuity models list` shows what there is.
#[derive(ClapArgs, Debug)]
pub(super) struct PromoteArgs {
    /// The catalogue's SHA-256
    #[arg(value_name = "SHA256", value_parser = store::digest)]
    catalogue: Sha256,

    /// The channel that is to name it [default: that of --config, else stable]
    #[arg(long, value_name = "NAME", value_parser = store::channel)]
    channel: Option<String>,

    #[command(flatten)]
    store: StoreArgs,
}

pub(super) fn push(args: &PushArgs) -> Result<(), Failure> {
    let packed = Manifest::of_directory(&args.directory).map_err(|error| match error {
        PackError::Catalogue(error) => Failure::Fault(with_causes(&error)),
        error => Failure::Fault(format!("{}: {}", args.directory.display(), with_causes(&error))),
    })?;
    let store = args.store.open(WRITING)?;
    let named = args.channel.clone().unwrap_or_else(|| store.channel().to_owned());
    let channel = (!args.no_channel).then_some(named.as_str());
    let manifest = &packed.0;
    let bar = store::bar(manifest.total_bytes());
    let runtime = store::runtime()?;
    let pushed = runtime
        .block_on(publish::push(&store.remote, &packed, channel, args.dry_run, &|bytes| bar.inc(bytes)));
    bar.finish_and_clear();
    let published = pushed.map_err(why)?;
    let would = if args.dry_run { "would send" } else { "sent" };
    eprintln!(
        "{}: {would} {} files ({} bytes), {} were there",
        store.shown, published.files, published.bytes, published.present
    );
    if let Some(channel) = channel {
        eprintln!("{}", moved(channel, published.moved, args.dry_run));
    }
    say(&format!("{}\n", manifest.digest()));
    Ok(())
}

pub(super) fn promote(args: &PromoteArgs) -> Result<(), Failure> {
    let store = args.store.open(WRITING)?;
    let channel = args.channel.clone().unwrap_or_else(|| store.channel().to_owned());
    let done = store::runtime()?.block_on(publish::promote(&store.remote, &channel, args.catalogue));
    eprintln!("{}", moved(&channel, done.map_err(why)?, false));
    say(&format!("{}\n", args.catalogue));
    Ok(())
}

fn moved(channel: &str, moved: bool, is_dry: bool) -> String {
    match (moved, is_dry) {
        (true, false) => format!("{channel} names it now"),
        (true, true) => format!("{channel} would name it"),
        (false, _) => format!("{channel} names it already"),
    }
}

fn why(error: PublishError) -> Failure {
    match error {
        PublishError::NoCatalogue(_) => Failure::fault(error),
        error => Failure::Running(with_causes(&error)),
    }
}
