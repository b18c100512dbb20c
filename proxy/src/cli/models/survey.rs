//! `acuity models list`, `verify` and `pull`: what a store holds, and whether that is what it should be.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use acuity_config::Follow;
use acuity_models::{Manifest, Sha256, StoredFile, Summing};
use clap::Args as ClapArgs;
use futures::StreamExt as _;
use jiff::Timestamp;

use super::store::{self, Store, StoreArgs};
use super::table;
use crate::cli::{Failure, say, with_causes};
use crate::model_store::remote::{READING, Remote, RemoteError};
use crate::model_store::shelf::Shelf;
use crate::model_store::{self, Refusal};

/// Most catalogues that are shown; the newest.
const SHOWN: usize = 50;

/// List what a store holds: its channels, its catalogues, and, with --config, what this machine's directory has of them
#[derive(ClapArgs, Debug)]
pub(super) struct ListArgs {
    #[command(flatten)]
    store: StoreArgs,
}

/// Fetch a catalogue with all its files, look whether each is what its name says, and keep nothing
///
/// Exit code 1 if one is missing or is not.
#[derive(ClapArgs, Debug)]
pub(super) struct VerifyArgs {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    store: StoreArgs,
}

/// Fetch a catalogue into a directory as an edge does: before its first start, or for a machine that cannot reach the store
///
/// The directory is one that [models.store] may use then: new, or one that came from a store. What is there is not fetched again.
#[derive(ClapArgs, Debug)]
pub(super) struct PullArgs {
    /// The directory; made if it is not there
    #[arg(value_name = "DIR")]
    directory: PathBuf,
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    store: StoreArgs,
}

#[derive(ClapArgs, Debug)]
struct Which {
    /// The channel that names the catalogue [default: that of --config, else stable]
    #[arg(long, value_name = "NAME", value_parser = store::channel)]
    channel: Option<String>,

    /// The catalogue's SHA-256, whatever channels name
    #[arg(long, value_name = "SHA256", value_parser = store::digest, conflicts_with = "channel")]
    catalogue: Option<Sha256>,
}

impl Which {
    async fn find(&self, store: &Store) -> Result<Sha256, Failure> {
        if let Some(digest) = self.catalogue {
            return Ok(digest);
        }
        if let (None, Some(Follow::Pin(pin))) = (&self.channel, &store.follow) {
            return store::digest(pin).map_err(Failure::Fault);
        }
        let channel = self.channel.as_deref().unwrap_or_else(|| store.channel());
        let pointer = store.remote.channel(channel, None).await;
        pointer.map(|pointer| pointer.digest).map_err(|error| match error {
            RemoteError::Absent => Failure::Fault(format!("{} has no channel {channel}", store.shown)),
            error => Failure::Running(format!("{}, channel {channel}: {}", store.shown, with_causes(&error))),
        })
    }
}

pub(super) fn list(args: &ListArgs) -> Result<(), Failure> {
    let store = args.store.open(READING)?;
    let failed = |error: RemoteError| Failure::Running(format!("{}: {}", store.shown, with_causes(&error)));
    let text = store::runtime()?.block_on(async {
        let mut channels = vec![["channel".to_owned(), "catalogue".to_owned()]];
        for name in store.remote.channels().await.map_err(failed)? {
            let names = match store.remote.channel(&name, None).await {
                Ok(pointer) => pointer.digest.to_string(),
                Err(error) => error.to_string(),
            };
            channels.push([name, names]);
        }
        let kept = store.directory.as_deref().map(kept).unwrap_or_default();
        let headings = ["catalogue", "put there", "models", "files", "bytes", "here"].map(str::to_owned);
        let mut rows = vec![headings];
        for listed in store.remote.catalogues().await.map_err(failed)?.into_iter().take(SHOWN) {
            let at = Timestamp::from_second(listed.at_s).map_or_else(|_| "-".to_owned(), |at| at.to_string());
            let [models, files, bytes] = facts(&store.remote, listed.digest).await;
            let here = kept.iter().find(|(digest, _)| *digest == listed.digest).map_or("-", |(_, word)| word);
            rows.push([listed.digest.to_string(), at, models, files, bytes, here.to_owned()]);
        }
        Ok::<_, Failure>(format!("{}\n{}", table(&channels), table(&rows)))
    })?;
    say(&text);
    Ok(())
}

/// The catalogues that a directory has, and what they are to it.
fn kept(directory: &Path) -> Vec<(Sha256, &'static str)> {
    // Looked at and not laid out: who lists changes nothing.
    let bytes = std::fs::read(directory.join("catalogue.toml")).unwrap_or_default();
    let in_use = Manifest::parse(&bytes, directory, u64::MAX).ok().map(|manifest| manifest.digest());
    let names = std::fs::read_dir(directory.join("catalogues")).into_iter().flatten().flatten();
    let digests = names.filter_map(|entry| entry.file_name().to_str()?.strip_suffix(".toml")?.parse().ok());
    let word = |digest: Sha256| if Some(digest) == in_use { (digest, "in use") } else { (digest, "kept") };
    digests.map(word).collect()
}

/// Models, files and bytes of a catalogue, or what is wrong with it.
async fn facts(remote: &Remote, digest: Sha256) -> [String; 3] {
    let dash = || "-".to_owned();
    match document(remote, digest).await {
        Ok(manifest) => [
            manifest.catalogue().everything().count().to_string(),
            manifest.files().len().to_string(),
            manifest.total_bytes().to_string(),
        ],
        Err(refusal) => [refusal.label().to_uppercase(), dash(), dash()],
    }
}

async fn document(remote: &Remote, digest: Sha256) -> Result<Manifest, Refusal> {
    let bytes = remote.catalogue(digest).await.map_err(|error| match error {
        RemoteError::Absent => Refusal::Missing(format!("catalogue {digest}")),
        error => Refusal::Unreachable(error.to_string()),
    })?;
    if Sha256::of(&bytes) != digest {
        return Err(Refusal::Digest(format!("catalogue {digest}")));
    }
    Ok(Manifest::parse(&bytes, Path::new(""), u64::MAX)?)
}

pub(super) fn verify(args: &VerifyArgs) -> Result<(), Failure> {
    let store = args.store.open(READING)?;
    store::runtime()?.block_on(async {
        let digest = args.which.find(&store).await?;
        let manifest = document(&store.remote, digest).await.map_err(refused)?;
        let bar = store::bar(manifest.total_bytes());
        let mut bad = Vec::new();
        for file in manifest.files() {
            if let Err(refusal) = sum(&store.remote, file, &|bytes| bar.inc(bytes)).await {
                if !refusal.is_final() {
                    return Err(refused(refusal));
                }
                bad.push(refusal.to_string());
            }
        }
        bar.finish_and_clear();
        if !bad.is_empty() {
            return Err(Failure::Fault(format!("catalogue {digest} is not whole:\n  {}", bad.join("\n  "))));
        }
        let (files, bytes) = (manifest.files().len(), manifest.total_bytes());
        say(&format!("{digest}: no faults; {files} files, {bytes} bytes\n"));
        Ok(())
    })
}

async fn sum(remote: &Remote, file: &StoredFile, progress: &dyn Fn(u64)) -> Result<(), Refusal> {
    let of = |error: RemoteError| match error {
        RemoteError::Absent => Refusal::Missing(file.name()),
        error => Refusal::Unreachable(error.to_string()),
    };
    let (mut sum, mut length) = (Summing::default(), 0);
    let mut stream = remote.file(file, 0).await.map_err(of)?;
    while let Some(piece) = stream.next().await {
        let piece = piece.map_err(of)?;
        length += piece.len() as u64;
        if length > file.bytes {
            return Err(Refusal::TooLong(file.name()));
        }
        sum.update(&piece);
        progress(piece.len() as u64);
    }
    match length == file.bytes {
        false => Err(Refusal::Truncated(file.name())),
        true if sum.finish() != file.sha256 => Err(Refusal::Digest(file.name())),
        true => Ok(()),
    }
}

pub(super) fn pull(args: &PullArgs) -> Result<(), Failure> {
    let store = args.store.open(READING)?;
    let shelf = Arc::new(Shelf::open(&args.directory).map_err(Failure::fault)?);
    let hold = shelf.hold().map_err(|error| Failure::running(format!("{shelf}: {error}")))?;
    if hold.is_none() {
        return Err(Failure::Running(format!("{shelf} is kept by an edge that runs: it fetches by itself")));
    }
    store::runtime()?.block_on(async {
        let digest = args.which.find(&store).await?;
        let bar = store::bar(0);
        bar.set_style(indicatif::ProgressStyle::default_spinner());
        let taken =
            model_store::take(&store.remote, &shelf, digest, store.max_bytes, &|bytes| bar.inc(bytes)).await;
        bar.finish_and_clear();
        let (manifest, fetched) = taken.map_err(refused)?;
        eprintln!(
            "{shelf}: {} files ({} bytes) fetched, {} were there",
            fetched.files,
            fetched.bytes,
            manifest.files().len() - fetched.files
        );
        say(&format!("{digest}\n"));
        Ok(())
    })
}

fn refused(refusal: Refusal) -> Failure {
    if refusal.is_final() { Failure::fault(refusal) } else { Failure::running(refusal) }
}
