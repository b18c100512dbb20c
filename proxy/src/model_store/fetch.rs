//! One catalogue and its files, from the store into the models' directory.
//!
//! Files come a few at a time, each into a file of its own beside, summed while it is written. One that breaks off is gone on with where
//! it stopped, in this try or a later one; the sum over all of it decides in the end. Nothing that is fetched is used before everything
//! is there.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_models::{Clusters, Manifest, Sha256, StoredFile};
use futures::{StreamExt as _, TryStreamExt as _};
use tokio::fs::OpenOptions;
use tokio::io::AsyncWriteExt as _;

use super::instruments::Instruments;
use super::remote::{Remote, RemoteError};
use super::shelf::{Shelf, summing};
use super::{Refusal, short};

/// Files that come at one time: enough to hide round trips, few enough for a store that many edges ask at once.
const AT_ONCE: usize = 4;
/// Tries for one file in one look; the next look tries again.
const TRIES: u32 = 4;
/// Between the first two; it doubles.
const FIRST_PAUSE: Duration = Duration::from_millis(500);
/// What is slower than this in the long run is given up for now: half a minute, and what 64 KiB/s take.
const LEAST_BYTES_PER_SECOND: u64 = 64 << 10;
const LEAST_PATIENCE: Duration = Duration::from_secs(30);

/// What came.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Files that were fetched; the others were there.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Of them, files that were there and were not what they should be.
    pub damaged: usize,
}

/// Fetches a catalogue with all that it names, if it is not there, and has the directory be it. `progress` hears of bytes as they come.
///
/// # Errors
/// Why it is not taken; then the directory is what it was.
pub async fn take(
    remote: &Remote,
    shelf: &Arc<Shelf>,
    digest: Sha256,
    max_bytes: u64,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<(Manifest, Fetched), Refusal> {
    let instruments = Instruments::new().map_err(|error| Refusal::Disk(error.to_string()))?;
    let manifest = document(remote, shelf, digest, max_bytes).await?;
    let fetched = complete(remote, shelf, &manifest, &instruments, progress).await?;
    switch(shelf, &manifest).await?;
    Ok((manifest, fetched))
}

/// A catalogue's document: the one that is kept, else the store's.
pub(super) async fn document(
    remote: &Remote,
    shelf: &Arc<Shelf>,
    digest: Sha256,
    max_bytes: u64,
) -> Result<Manifest, Refusal> {
    let kept = Arc::clone(shelf);
    if let Some(manifest) = blocking(move || Ok(kept.document(digest))).await?
        && manifest.total_bytes() <= max_bytes
    {
        return Ok(manifest);
    }
    let name = || format!("catalogue {}", short(digest));
    let bytes = remote.catalogue(digest).await.map_err(|error| Refusal::of(error, name))?;
    if Sha256::of(&bytes) != digest {
        return Err(Refusal::Digest(name()));
    }
    let root = shelf.root().to_owned();
    blocking(move || Ok(Manifest::parse(&bytes, &root, max_bytes)?)).await
}

/// Fetches those of a catalogue's files that are not there or not whole.
pub(super) async fn complete(
    remote: &Remote,
    shelf: &Arc<Shelf>,
    manifest: &Manifest,
    instruments: &Instruments,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<Fetched, Refusal> {
    let one = |file: StoredFile| async move {
        let (at, wanted) = (Arc::clone(shelf), file.clone());
        let there = blocking(move || Ok(at.holds(&wanted)?)).await?;
        if there == Some(true) {
            progress(file.bytes);
            return Ok(Fetched::default());
        }
        let damaged = usize::from(there.is_some());
        instruments.damaged.inc_by(damaged as u64);
        let fetched = fetch(remote, shelf, &file, instruments, progress).await;
        match fetched {
            Ok(is_resumed) => instruments.fetched(is_resumed),
            Err(ref refusal) => instruments.not_fetched(refusal),
        }
        fetched.map(|_| Fetched { files: 1, bytes: file.bytes, damaged })
    };
    let sum = |sum: Fetched, one: Fetched| async move {
        Ok(Fetched {
            files: sum.files + one.files,
            bytes: sum.bytes + one.bytes,
            damaged: sum.damaged + one.damaged,
        })
    };
    let files = manifest.files().to_vec();
    let fetched = futures::stream::iter(files)
        .map(one)
        .buffer_unordered(AT_ONCE)
        .try_fold(Fetched::default(), sum)
        .await?;
    // What no digest tells: whether centroids and network belong together.
    if let Some(files) = manifest.catalogue().cluster_files().cloned() {
        let loaded =
            blocking(move || Ok(Clusters::load_files(&files).map_err(|error| error.to_string()))).await?;
        loaded.map_err(Refusal::Clusters)?;
    }
    Ok(fetched)
}

/// Has the directory be a catalogue whose files are there.
pub(super) async fn switch(shelf: &Arc<Shelf>, manifest: &Manifest) -> Result<(), Refusal> {
    let (shelf, manifest) = (Arc::clone(shelf), manifest.clone());
    blocking(move || Ok(shelf.switch(&manifest)?)).await
}

/// One file, in several tries. Whether what an earlier try had fetched was of use.
async fn fetch(
    remote: &Remote,
    shelf: &Arc<Shelf>,
    file: &StoredFile,
    instruments: &Instruments,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<bool, Refusal> {
    let (mut pause, mut is_resumed) = (FIRST_PAUSE, false);
    let mut tries = 1;
    loop {
        let refusal = match once(remote, shelf, file, instruments, progress).await {
            Ok(resumed) => return Ok(is_resumed || resumed),
            Err(refusal) => refusal,
        };
        // A file that the store has not got it will not have in a moment, and a full disk is not freed by writing.
        let is_worth_it =
            matches!(refusal, Refusal::Unreachable(_) | Refusal::Truncated(_) | Refusal::Digest(_));
        if tries == TRIES || !is_worth_it {
            return Err(refusal);
        }
        tracing::debug!(file = file.name(), %refusal, tries, "a model's file has not come: tried again");
        is_resumed |= matches!(refusal, Refusal::Unreachable(_));
        tokio::time::sleep(pause).await;
        pause *= 2;
        tries += 1;
    }
}

/// One try, from where the last one stopped.
async fn once(
    remote: &Remote,
    shelf: &Arc<Shelf>,
    file: &StoredFile,
    instruments: &Instruments,
    progress: &(dyn Fn(u64) + Sync),
) -> Result<bool, Refusal> {
    let path = shelf.incoming(file);
    let begun = path.clone();
    let (mut sum, mut length) = blocking(move || Ok(summing(&begun).unwrap_or_default())).await?;
    if length > file.bytes {
        (sum, length) = (Default::default(), 0);
    }
    let from = length;
    let patience = LEAST_PATIENCE + Duration::from_secs((file.bytes - from) / LEAST_BYTES_PER_SECOND);
    let give_up = Instant::now() + patience;
    let mut written =
        OpenOptions::new().create(true).write(true).append(from > 0).truncate(from == 0).open(&path).await?;
    progress(from);
    if from < file.bytes {
        let name = || file.name();
        let mut stream = match remote.file(file, from).await {
            Ok(stream) => stream,
            Err(error) => return Err(not_begun(remote, file, from, error).await),
        };
        while let Some(piece) = stream.next().await {
            let piece = match piece {
                Ok(piece) => piece,
                Err(error) => {
                    // What has come is gone on with; it is worth more on the disk than in a buffer.
                    written.flush().await?;
                    return Err(Refusal::of(error, name));
                }
            };
            length += piece.len() as u64;
            if length > file.bytes {
                drop(written);
                tokio::fs::remove_file(&path).await?;
                return Err(Refusal::TooLong(name()));
            }
            sum.update(&piece);
            written.write_all(&piece).await?;
            instruments.fetched_bytes.inc_by(piece.len() as u64);
            progress(piece.len() as u64);
            if Instant::now() > give_up {
                written.flush().await?;
                return Err(Refusal::Unreachable(format!("{} comes too slowly", name())));
            }
        }
    }
    written.flush().await?;
    if length < file.bytes {
        // It did not break off: that is all there is, and nothing to go on from.
        drop(written);
        tokio::fs::remove_file(&path).await?;
        return Err(Refusal::Truncated(file.name()));
    }
    if sum.finish() != file.sha256 {
        // Nobody knows which part of it is wrong.
        drop(written);
        tokio::fs::remove_file(&path).await?;
        return Err(Refusal::Digest(file.name()));
    }
    written.sync_all().await?;
    let (shelf, file) = (Arc::clone(shelf), file.clone());
    blocking(move || Ok(shelf.accept(&file)?)).await?;
    Ok(from > 0)
}

/// Why a file did not begin to come. Where it was to be gone on with, its end may lie before.
async fn not_begun(remote: &Remote, file: &StoredFile, from: u64, error: RemoteError) -> Refusal {
    if from > 0
        && matches!(error, RemoteError::Failed(_))
        && remote.file_size(file).await.is_ok_and(|size| size < file.bytes)
    {
        return Refusal::Truncated(file.name());
    }
    Refusal::of(error, || file.name())
}

/// On a thread that may wait for the disk.
pub(super) async fn blocking<T: Send + 'static>(
    work: impl FnOnce() -> Result<T, Refusal> + Send + 'static,
) -> Result<T, Refusal> {
    tokio::task::spawn_blocking(work).await.unwrap_or_else(|error| Err(Refusal::Disk(error.to_string())))
}
