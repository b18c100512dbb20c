//! From a directory into the store. Files first, then the document, the channel last: whoever follows the channel finds all of it.

use std::path::PathBuf;

use acuity_models::{Manifest, Sha256, StoredFile};
use bytes::Bytes;

use super::remote::{Remote, RemoteError, Seen};

/// What publishing comes to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Published {
    /// Files that were put there, or would be.
    pub files: usize,
    /// Their bytes.
    pub bytes: u64,
    /// Files that were there.
    pub present: usize,
    /// Whether the channel was moved, or would be: it did not name this catalogue.
    pub moved: bool,
}

/// Why something was not published. What was put there until then does no harm: nothing names it.
#[derive(Debug, thiserror::Error)]
pub enum PublishError {
    /// The store.
    #[error("{what}: {source}")]
    Store {
        /// What was being done.
        what: String,
        /// Why it was not.
        #[source]
        source: RemoteError,
    },
    /// A file has changed since it was looked at.
    #[error("{} has changed while it was being published", .0.display())]
    Changed(PathBuf),
    /// It cannot be read.
    #[error("{}: {source}", path.display())]
    File {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// Somebody else moves the channel.
    #[error("the channel {0} was moved by somebody else meanwhile: look what it names now, and say it again")]
    Moved(String),
    /// There is no such catalogue to move it to.
    #[error("the store has no catalogue {0}")]
    NoCatalogue(Sha256),
}

fn store(what: impl Into<String>) -> impl FnOnce(RemoteError) -> PublishError {
    let what = what.into();
    move |source| PublishError::Store { what, source }
}

/// Puts a catalogue into the store and has a channel name it. With `is_dry` it only looks what would be done. `progress` hears of bytes.
///
/// # Errors
/// See [`PublishError`].
pub async fn push(
    remote: &Remote,
    (manifest, files): &(Manifest, Vec<(StoredFile, PathBuf)>),
    channel: Option<&str>,
    is_dry: bool,
    progress: &dyn Fn(u64),
) -> Result<Published, PublishError> {
    let mut published = Published::default();
    for (file, path) in files {
        let there = match remote.file_size(file).await {
            Ok(bytes) => Some(bytes),
            Err(RemoteError::Absent) => None,
            Err(error) => return Err(store(format!("looking for {}", file.name()))(error)),
        };
        if there == Some(file.bytes) {
            published.present += 1;
        } else {
            published.files += 1;
            published.bytes += file.bytes;
            if !is_dry {
                put(remote, file, path, there.is_some()).await?;
            }
        }
        progress(file.bytes);
    }
    if !is_dry {
        let put = remote.put_catalogue(manifest.digest(), manifest.text()).await;
        put.map_err(store("putting the catalogue there"))?;
    }
    if let Some(channel) = channel {
        published.moved = point(remote, channel, manifest.digest(), is_dry).await?;
    }
    Ok(published)
}

/// Has a channel name a catalogue that is in the store.
///
/// # Errors
/// See [`PublishError`].
pub async fn promote(remote: &Remote, channel: &str, digest: Sha256) -> Result<bool, PublishError> {
    match remote.catalogue(digest).await {
        Ok(bytes) if Sha256::of(&bytes) == digest => point(remote, channel, digest, false).await,
        Ok(_) | Err(RemoteError::Absent) => Err(PublishError::NoCatalogue(digest)),
        Err(error) => Err(store("looking for the catalogue")(error)),
    }
}

async fn put(remote: &Remote, file: &StoredFile, path: &PathBuf, replaces: bool) -> Result<(), PublishError> {
    let bytes = tokio::fs::read(path).await;
    let bytes = bytes.map_err(|source| PublishError::File { path: path.clone(), source })?;
    if Sha256::of(&bytes) != file.sha256 {
        return Err(PublishError::Changed(path.clone()));
    }
    match remote.put_file(file, Bytes::from(bytes), replaces).await {
        // Who was quicker has put the same there: it has the same name.
        Ok(()) | Err(RemoteError::Taken) => Ok(()),
        Err(error) => Err(store(format!("putting {} there", file.name()))(error)),
    }
}

async fn point(remote: &Remote, channel: &str, digest: Sha256, is_dry: bool) -> Result<bool, PublishError> {
    let found = remote.channel(channel, None).await;
    let seen = match &found {
        Ok(pointer) if pointer.digest == digest => return Ok(false),
        Ok(pointer) => Seen::Pointer(pointer),
        Err(RemoteError::Absent) => Seen::Nothing,
        Err(RemoteError::NotADigest) => Seen::NoDigest,
        Err(error) => return Err(store(format!("looking at the channel {channel}"))(error.clone())),
    };
    if !is_dry {
        match remote.move_channel(channel, digest, seen).await {
            Ok(()) => {}
            Err(RemoteError::Taken) => return Err(PublishError::Moved(channel.to_owned())),
            Err(error) => return Err(store(format!("moving the channel {channel}"))(error)),
        }
    }
    Ok(true)
}
