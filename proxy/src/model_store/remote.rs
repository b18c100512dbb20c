//! The store: a bucket or a directory, and what things are called there.
//!
//! Below `models/v1/`: `sha256/<digest>.<ending>`, files; `catalogues/<digest>.toml`, documents; `channels/<name>`, the digest of the
//! document to be used, in 64 digits and a line ending. Files and documents are written once; a channel is moved.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{ModelStorePlace, model_channel};
use acuity_models::{CATALOGUE_LIMIT_BYTES, Sha256, StoredFile};
use bytes::Bytes;
use futures::stream::BoxStream;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::aws::AmazonS3;
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{
    Error, GetOptions, GetRange, ObjectMeta, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload,
    UpdateVersion,
};

use crate::bucket::{self, BucketFault, Patience};

/// Who wants the bucket, for messages.
const SECTION: &str = "[models.store]";
/// The layout of names. What is below another one's is not read.
const LAYOUT: [&str; 2] = ["models", "v1"];
/// A digest with a line ending; more is none.
const POINTER_LIMIT_BYTES: u64 = 128;
/// Things of one kind that are listed.
const LISTED: usize = 10_000;

/// Nobody waits, so a store in another region is as good. As long as something comes it may go on: a file may be large.
pub const READING: Patience =
    Patience { connect: Duration::from_secs(5), whole: None, silence: Duration::from_secs(20) };
/// While a file goes up, nothing comes back.
pub const WRITING: Patience =
    Patience { connect: Duration::from_secs(10), whole: None, silence: Duration::from_secs(900) };

/// Why a store did not do what it was asked for.
#[derive(Debug, Clone, thiserror::Error)]
pub enum RemoteError {
    /// There is no such thing.
    #[error("there is no such thing in the store")]
    Absent,
    /// It is as it was when it was last seen.
    #[error("it is as it was")]
    Unchanged,
    /// There is one already, or it is not any more what was seen.
    #[error("somebody else has written it meanwhile")]
    Taken,
    /// There is one that is larger than any.
    #[error("it is larger than it may be")]
    TooLarge,
    /// A channel that holds no digest.
    #[error("it does not hold a SHA-256")]
    NotADigest,
    /// Anything else, in words.
    #[error("{0}")]
    Failed(String),
}

/// A store of models. Clones share it.
#[derive(Debug, Clone)]
pub struct Remote(Kind);

#[derive(Debug, Clone)]
enum Kind {
    /// Opened when it is used: what is not mounted now may be later.
    Directory(PathBuf),
    Bucket(Arc<dyn ObjectStore>, Location),
}

/// What a channel names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Pointer {
    /// The catalogue.
    pub digest: Sha256,
    /// By which the store knows this very state of the channel, if it tells.
    pub e_tag: Option<String>,
}

/// A channel as somebody saw it who wants to move it.
#[derive(Debug, Clone, Copy)]
pub enum Seen<'a> {
    /// There was none.
    Nothing,
    /// It named this.
    Pointer(&'a Pointer),
    /// It held no digest: nobody misses that.
    NoDigest,
}

/// A catalogue that lies in a store.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Listed {
    /// Its digest.
    pub digest: Sha256,
    /// When it was put there, seconds since 1970.
    pub at_s: i64,
}

/// What can be said against a place before it is used.
///
/// # Errors
/// Its keys cannot be read. That a directory is not there is no fault: it may be mounted later.
pub fn check(place: &ModelStorePlace) -> Result<(), BucketFault> {
    match place {
        ModelStorePlace::Directory(_) => Ok(()),
        ModelStorePlace::Bucket(config) => bucket::check(config),
    }
}

impl Remote {
    /// The store of a configuration, for reading.
    ///
    /// # Errors
    /// A bucket's keys cannot be used. Nothing is asked of it.
    pub fn open(place: &ModelStorePlace) -> Result<Self, BucketFault> {
        match place {
            ModelStorePlace::Directory(path) => Ok(Self::directory(path.clone())),
            ModelStorePlace::Bucket(config) => {
                Ok(Self::bucket(bucket::open(config, SECTION, READING)?, &config.prefix))
            }
        }
    }

    /// A directory.
    #[must_use]
    pub fn directory(path: PathBuf) -> Self {
        Self(Kind::Directory(path))
    }

    /// A bucket.
    #[must_use]
    pub fn bucket(store: AmazonS3, prefix: &str) -> Self {
        Self(Kind::Bucket(Arc::new(store), Location::from(prefix)))
    }

    async fn store(&self) -> Result<(Arc<dyn ObjectStore>, Location), RemoteError> {
        match &self.0 {
            Kind::Bucket(store, prefix) => {
                Ok((Arc::clone(store), LAYOUT.into_iter().fold(prefix.clone(), Location::join)))
            }
            Kind::Directory(path) => {
                let path = path.clone();
                let opened = tokio::task::spawn_blocking(move || LocalFileSystem::new_with_prefix(path));
                let opened = opened.await.map_err(|error| RemoteError::Failed(error.to_string()))?;
                let opened = opened.map_err(failure)?.with_fsync(true);
                Ok((Arc::new(opened), LAYOUT.into_iter().fold(Location::default(), Location::join)))
            }
        }
    }

    async fn at(&self, parts: &[&str]) -> Result<(Arc<dyn ObjectStore>, Location), RemoteError> {
        let (store, root) = self.store().await?;
        Ok((store, parts.iter().fold(root, |location, part| location.join(*part))))
    }

    async fn file_at(&self, file: &StoredFile) -> Result<(Arc<dyn ObjectStore>, Location), RemoteError> {
        let name = file.name();
        self.at(&name.split('/').collect::<Vec<_>>()).await
    }

    async fn catalogue_at(&self, digest: Sha256) -> Result<(Arc<dyn ObjectStore>, Location), RemoteError> {
        self.at(&["catalogues", &format!("{digest}.toml")]).await
    }

    /// What a channel names; `known`: the state that was seen last, of which nothing new is said.
    ///
    /// # Errors
    /// [`RemoteError::Unchanged`] among them.
    pub async fn channel(&self, name: &str, known: Option<&str>) -> Result<Pointer, RemoteError> {
        let (store, location) = self.at(&["channels", name]).await?;
        let options = GetOptions { if_none_match: known.map(str::to_owned), ..GetOptions::default() };
        let found = store.get_opts(&location, options).await.map_err(failure)?;
        if found.meta.size > POINTER_LIMIT_BYTES {
            return Err(RemoteError::NotADigest);
        }
        let e_tag = found.meta.e_tag.clone();
        let bytes = found.bytes().await.map_err(failure)?;
        let text = std::str::from_utf8(&bytes).map_err(|_| RemoteError::NotADigest)?;
        let digest = text.trim_ascii_end().parse().map_err(|_| RemoteError::NotADigest)?;
        Ok(Pointer { digest, e_tag })
    }

    /// A document's bytes, as they are; nobody has looked at them.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn catalogue(&self, digest: Sha256) -> Result<Bytes, RemoteError> {
        let (store, location) = self.catalogue_at(digest).await?;
        let found = store.get(&location).await.map_err(failure)?;
        if found.meta.size > CATALOGUE_LIMIT_BYTES {
            return Err(RemoteError::TooLarge);
        }
        let bytes = found.bytes().await.map_err(failure)?;
        if bytes.len() as u64 > CATALOGUE_LIMIT_BYTES { Err(RemoteError::TooLarge) } else { Ok(bytes) }
    }

    /// A file's bytes from one on, as they come; nobody has looked at them.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn file(
        &self,
        file: &StoredFile,
        from: u64,
    ) -> Result<BoxStream<'static, Result<Bytes, RemoteError>>, RemoteError> {
        let (store, location) = self.file_at(file).await?;
        let range = (from > 0).then_some(GetRange::Offset(from));
        let found = store
            .get_opts(&location, GetOptions { range, ..GetOptions::default() })
            .await
            .map_err(failure)?;
        Ok(found.into_stream().map_err(failure).boxed())
    }

    /// How large the file is that lies under this one's name.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn file_size(&self, file: &StoredFile) -> Result<u64, RemoteError> {
        let (store, location) = self.file_at(file).await?;
        store.head(&location).await.map(|meta| meta.size).map_err(failure)
    }

    /// Puts a file there. `replaces`: what is there is not it.
    ///
    /// # Errors
    /// [`RemoteError::Taken`] where there is one already.
    pub async fn put_file(&self, file: &StoredFile, bytes: Bytes, replaces: bool) -> Result<(), RemoteError> {
        let (store, location) = self.file_at(file).await?;
        let mode = if replaces { PutMode::Overwrite } else { PutMode::Create };
        store.put_opts(&location, PutPayload::from(bytes), mode.into()).await.map(drop).map_err(failure)
    }

    /// Puts a document there; what is there under its name and is not it, is replaced.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn put_catalogue(&self, digest: Sha256, text: &str) -> Result<(), RemoteError> {
        let (store, location) = self.catalogue_at(digest).await?;
        let payload = || PutPayload::from(text.to_owned());
        match store.put_opts(&location, payload(), PutMode::Create.into()).await.map_err(failure) {
            Err(RemoteError::Taken)
                if self.catalogue(digest).await.is_ok_and(|bytes| *bytes == *text.as_bytes()) =>
            {
                Ok(())
            }
            Err(RemoteError::Taken) => store.put(&location, payload()).await.map(drop).map_err(failure),
            other => other.map(drop),
        }
    }

    /// Has a channel name another catalogue, if it is still as it was seen.
    ///
    /// # Errors
    /// [`RemoteError::Taken`] where it is not.
    pub async fn move_channel(&self, name: &str, digest: Sha256, seen: Seen<'_>) -> Result<(), RemoteError> {
        let (store, location) = self.at(&["channels", name]).await?;
        let payload = || PutPayload::from(format!("{digest}\n"));
        let mode = match seen {
            Seen::Nothing => PutMode::Create,
            Seen::NoDigest => PutMode::Overwrite,
            Seen::Pointer(pointer) => {
                PutMode::Update(UpdateVersion { e_tag: pointer.e_tag.clone(), version: None })
            }
        };
        match store.put_opts(&location, payload(), mode.into()).await {
            // A directory cannot compare and swap; whoever publishes there does not do so from two places at once.
            Err(Error::NotImplemented { .. }) => {
                store.put(&location, payload()).await.map(drop).map_err(failure)
            }
            other => other.map(drop).map_err(failure),
        }
    }

    /// Names of the channels, sorted.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn channels(&self) -> Result<Vec<String>, RemoteError> {
        let found = self.list("channels").await?;
        let names = found.iter().filter_map(|meta| meta.location.filename());
        let mut names: Vec<String> = names.filter_map(|name| model_channel(name).ok()).collect();
        names.sort();
        Ok(names)
    }

    /// The catalogues, newest first.
    ///
    /// # Errors
    /// See [`RemoteError`].
    pub async fn catalogues(&self) -> Result<Vec<Listed>, RemoteError> {
        let listed = |meta: &ObjectMeta| {
            let digest = meta.location.filename()?.strip_suffix(".toml")?.parse().ok()?;
            Some(Listed { digest, at_s: meta.last_modified.timestamp() })
        };
        let mut found: Vec<Listed> = self.list("catalogues").await?.iter().filter_map(listed).collect();
        found.sort_by_key(|listed| (std::cmp::Reverse(listed.at_s), listed.digest));
        Ok(found)
    }

    async fn list(&self, folder: &str) -> Result<Vec<ObjectMeta>, RemoteError> {
        let (store, location) = self.at(&[folder]).await?;
        match store.list(Some(&location)).take(LISTED).try_collect().await.map_err(failure) {
            Err(RemoteError::Absent) => Ok(Vec::new()),
            other => other,
        }
    }
}

fn failure(error: Error) -> RemoteError {
    match error {
        Error::NotFound { .. } => RemoteError::Absent,
        Error::NotModified { .. } => RemoteError::Unchanged,
        Error::AlreadyExists { .. } | Error::Precondition { .. } => RemoteError::Taken,
        error => RemoteError::Failed(bucket::in_words(&error)),
    }
}
