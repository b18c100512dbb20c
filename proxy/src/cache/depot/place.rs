//! Where objects lie: a directory or a bucket, both behind `object_store`, and what they are called there.
//!
//! `<namespace>/<2 hex digits>/<30 hex digits>`: the object's key, which is a digest, with a folder for its first byte. The namespace is a
//! digest too, of what decides whether segments belong into one stream beside their token (see [`namespace`]): nodes that are set up
//! otherwise, or the same one after a change, neither see nor mix with each other's segments.
//!
//! Beside the namespaces lies what was purged, because it means objects of all of them.

use std::fs::Metadata;
use std::io::ErrorKind;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;
use std::time::Duration;

use acuity_config::{DepotConfig, DepotPlace};
use bytes::Bytes;
use futures::{StreamExt as _, TryStreamExt as _};
use object_store::local::LocalFileSystem;
use object_store::path::Path as Location;
use object_store::{Error, ObjectStore, ObjectStoreExt as _, PutMode, PutPayload};
use sha2::{Digest, Sha256};

use super::DepotFault;
use crate::bucket::{self, Patience};
use crate::cache::key::{PIPELINE_VERSION, hex};

/// The layout of names. What is below another one's is not read.
const LAYOUT: &str = "v1";
/// Hex digits of a namespace behind its layout.
const NAMESPACE_DIGITS: usize = 16;
/// The folder of what was purged; no namespace is called so.
const PURGES: &str = "v1-purges";
/// Purges that are listed: far more than are ever kept.
const PURGES_LISTED: usize = 65_536;
/// A purge is a path and some words around it.
const PURGE_LIMIT_BYTES: u64 = 64 << 10;
/// No object is larger: thirty seconds at the highest bitrate that a token can name.
pub(super) const OBJECT_LIMIT_BYTES: u64 = 256 << 20;
/// "Others" may write.
const WRITABLE_BY_ALL: u32 = 0o002;

/// Until a connection to a store stands. It is in the same region, and nobody waits longer than `read_timeout`.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(2);
/// For a whole request: a segment is a megabyte.
const REQUEST_TIMEOUT: Duration = Duration::from_secs(10);
/// Who reads makes the segment itself instead; who writes can do without. So nothing is tried again.
const PATIENCE: Patience =
    Patience { connect: CONNECT_TIMEOUT, whole: Some(REQUEST_TIMEOUT), silence: REQUEST_TIMEOUT };

/// Why a place did not do what it was asked for.
#[derive(Debug)]
pub(super) enum PlaceError {
    /// There is no such object.
    Absent,
    /// There is one already.
    Present,
    /// No room: the file system, a quota or a limit of file sizes.
    Full(String),
    /// There is one that is larger than any object.
    TooLarge,
    /// Anything else, in words.
    Failed(String),
}

/// A directory or a bucket.
#[derive(Debug)]
pub(super) struct Place {
    kind: Kind,
    namespace: String,
}

#[derive(Debug)]
enum Kind {
    Disk(Disk),
    /// A bucket, and what names in it begin with.
    Store(Box<dyn ObjectStore>, Location),
}

/// A directory, which may be missing for a while.
#[derive(Debug)]
struct Disk {
    root: PathBuf,
    opened: OnceLock<LocalFileSystem>,
}

impl Place {
    pub(super) fn new(config: &DepotConfig, namespace: String) -> Result<Self, DepotFault> {
        let kind = match &config.place {
            DepotPlace::Disk { path, .. } => Kind::Disk(Disk { root: path.clone(), opened: OnceLock::new() }),
            DepotPlace::Store(config) => {
                let store = bucket::open(config, "[cache.store]", PATIENCE)?;
                Kind::Store(Box::new(store), Location::from(config.prefix.as_str()))
            }
        };
        Ok(Self { kind, namespace })
    }

    pub(super) fn namespace(&self) -> &str {
        &self.namespace
    }

    /// All of an object's bytes.
    pub(super) async fn get(&self, key: [u8; 16]) -> Result<Bytes, PlaceError> {
        let (store, location) = self.at(&self.namespace, key).await?;
        let found = store.get(&location).await.map_err(failure)?;
        // What somebody put there is not read into memory because it is there.
        if found.meta.size > OBJECT_LIMIT_BYTES {
            return Err(PlaceError::TooLarge);
        }
        found.bytes().await.map_err(failure)
    }

    /// Keeps an object, whole or not at all. `replaces`: also where there is one already.
    pub(super) async fn put(
        &self,
        key: [u8; 16],
        parts: [Bytes; 2],
        replaces: bool,
    ) -> Result<(), PlaceError> {
        let (store, location) = self.at(&self.namespace, key).await?;
        let payload: PutPayload = parts.into_iter().collect();
        let mode = if replaces { PutMode::Overwrite } else { PutMode::Create };
        store.put_opts(&location, payload, mode.into()).await.map(drop).map_err(failure)
    }

    /// Removes an object of any namespace. One that is not there is removed.
    pub(super) async fn remove(&self, namespace: &str, key: [u8; 16]) -> Result<(), PlaceError> {
        let (store, location) = self.at(namespace, key).await?;
        match store.delete(&location).await.map_err(failure) {
            Err(PlaceError::Absent) => Ok(()),
            other => other,
        }
    }

    /// Names of the purges that are remembered here, as they were at one moment.
    pub(super) async fn purges(&self) -> Result<Vec<String>, PlaceError> {
        let (store, folder) = self.purges_at().await?;
        if let Kind::Disk(disk) = &self.kind {
            let folder = disk.root.join(PURGES);
            let names = tokio::task::spawn_blocking(move || names_in(&folder)).await;
            return names.map_err(|error| PlaceError::Failed(error.to_string()))?;
        }
        let listing = store.list(Some(&folder)).take(PURGES_LISTED + 1);
        let names = listing.try_filter_map(async |meta| Ok(meta.location.filename().map(str::to_owned)));
        match names.try_collect::<Vec<_>>().await.map_err(failure) {
            Ok(names) if names.len() > PURGES_LISTED => {
                Err(PlaceError::Failed(format!("more than {PURGES_LISTED} purges")))
            }
            Err(PlaceError::Absent) => Ok(Vec::new()),
            other => other,
        }
    }

    /// One of them.
    pub(super) async fn purge(&self, name: &str) -> Result<Bytes, PlaceError> {
        let (store, folder) = self.purges_at().await?;
        let found = store.get(&folder.join(name)).await.map_err(failure)?;
        if found.meta.size > PURGE_LIMIT_BYTES {
            return Err(PlaceError::TooLarge);
        }
        found.bytes().await.map_err(failure)
    }

    /// Remembers one. When this returns a power cut does not take it, unlike segments: those are made again.
    pub(super) async fn put_purge(&self, name: &str, bytes: Bytes) -> Result<(), PlaceError> {
        let (store, folder) = self.purges_at().await?;
        let location = folder.join(name);
        match &self.kind {
            Kind::Disk(disk) => {
                let synced = LocalFileSystem::new_with_prefix(&disk.root).map_err(failure)?.with_fsync(true);
                synced.put(&location, bytes.into()).await
            }
            Kind::Store(..) => store.put(&location, bytes.into()).await,
        }
        .map(drop)
        .map_err(failure)
    }

    /// Forgets one.
    pub(super) async fn remove_purge(&self, name: &str) -> Result<(), PlaceError> {
        let (store, folder) = self.purges_at().await?;
        store.delete(&folder.join(name)).await.map_err(failure)
    }

    /// The directory, if it is one and can be used.
    pub(super) async fn directory(&self) -> Option<Result<PathBuf, PlaceError>> {
        match &self.kind {
            Kind::Disk(disk) => Some(disk.open().await.map(|_| disk.root.clone())),
            Kind::Store(..) => None,
        }
    }

    /// An object's file below the directory.
    pub(super) fn file(root: &Path, namespace: &str, key: [u8; 16]) -> PathBuf {
        let digits = hex(&key);
        let (folder, name) = digits.split_at(2);
        root.join(namespace).join(folder).join(name)
    }

    async fn purges_at(&self) -> Result<(&dyn ObjectStore, Location), PlaceError> {
        match &self.kind {
            Kind::Disk(disk) => Ok((disk.open().await?, Location::default().join(PURGES))),
            Kind::Store(store, prefix) => Ok((store.as_ref(), prefix.clone().join(PURGES))),
        }
    }

    async fn at(&self, namespace: &str, key: [u8; 16]) -> Result<(&dyn ObjectStore, Location), PlaceError> {
        let digits = hex(&key);
        let (folder, name) = digits.split_at(2);
        let below = |prefix: Location| prefix.join(namespace).join(folder).join(name);
        match &self.kind {
            Kind::Disk(disk) => Ok((disk.open().await?, below(Location::default()))),
            Kind::Store(store, prefix) => Ok((store.as_ref(), below(prefix.clone()))),
        }
    }
}

impl Disk {
    /// The directory is not made here: where it is missing a disk is not mounted, and its segments would fill the system's own.
    async fn open(&self) -> Result<&LocalFileSystem, PlaceError> {
        if let Some(opened) = self.opened.get() {
            return Ok(opened);
        }
        let root = self.root.clone();
        let opened = tokio::task::spawn_blocking(move || open(&root)).await;
        let opened = opened.map_err(|error| error.to_string()).flatten().map_err(PlaceError::Failed)?;
        Ok(self.opened.get_or_init(|| opened))
    }
}

/// Names of files. A listing through the store looks at each file as well and leaves out those that are gone by then: of a record that
/// another node puts in the place of one before it, it sees neither.
fn names_in(folder: &Path) -> Result<Vec<String>, PlaceError> {
    let failed = |error: std::io::Error| PlaceError::Failed(error.to_string());
    let entries = match std::fs::read_dir(folder) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(Vec::new()),
        entries => entries.map_err(failed)?,
    };
    let mut names = Vec::new();
    for entry in entries {
        // What is no text is none of ours.
        names.extend(entry.map_err(failed)?.file_name().into_string().ok());
        if names.len() > PURGES_LISTED {
            return Err(PlaceError::Failed(format!("more than {PURGES_LISTED} purges")));
        }
    }
    Ok(names)
}

/// The directory as a store, if it can be one.
pub(super) fn open(root: &Path) -> Result<LocalFileSystem, String> {
    let facts = std::fs::metadata(root).map_err(|error| error.to_string())?;
    suits(&facts)?;
    LocalFileSystem::new_with_prefix(root).map_err(|error| error.to_string())
}

fn suits(facts: &Metadata) -> Result<(), String> {
    if !facts.is_dir() {
        return Err("it is not a directory".to_owned());
    }
    let mode = facts.permissions().mode() & 0o777;
    if mode & WRITABLE_BY_ALL != 0 {
        return Err(format!(
            "every user of this machine may write to it (mode {mode:03o}), and what lies there goes to viewers: chmod o-w it"
        ));
    }
    Ok(())
}

/// What decides, beside the token, whether two segments belong into one stream or are worth the same: `parts` are settings that change
/// pictures, and the parameter sets that the encoder writes.
pub(super) fn namespace<'a>(parts: impl IntoIterator<Item = &'a [u8]>) -> String {
    let mut hasher = Sha256::new();
    hasher.update(PIPELINE_VERSION.to_le_bytes());
    for part in parts {
        hasher.update((part.len() as u64).to_le_bytes());
        hasher.update(part);
    }
    let digits = hex(&hasher.finalize());
    format!("{LAYOUT}-{}", digits.get(..NAMESPACE_DIGITS).unwrap_or_default())
}

/// Whether a folder is one of ours, of whatever settings.
pub(super) fn is_namespace(name: &str) -> bool {
    let digits = name.strip_prefix(LAYOUT).and_then(|rest| rest.strip_prefix('-'));
    digits.is_some_and(|digits| digits.len() == NAMESPACE_DIGITS && is_hex(digits))
}

/// The key of the object whose file is called so.
pub(super) fn key_of(folder: &str, name: &str) -> Option<[u8; 16]> {
    if (folder.len(), name.len()) != (2, 30) || !is_hex(folder) || !is_hex(name) {
        return None;
    }
    u128::from_str_radix(&format!("{folder}{name}"), 16).ok().map(u128::to_be_bytes)
}

fn is_hex(text: &str) -> bool {
    text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

/// The library's error as one of ours, with its causes.
fn failure(error: Error) -> PlaceError {
    match error {
        Error::NotFound { .. } => PlaceError::Absent,
        Error::AlreadyExists { .. } => PlaceError::Present,
        error => {
            let (words, is_full) = (bucket::in_words(&error), bucket::has_cause(&error, no_room));
            if is_full { PlaceError::Full(words) } else { PlaceError::Failed(words) }
        }
    }
}

fn no_room(error: &std::io::Error) -> bool {
    matches!(error.kind(), ErrorKind::StorageFull | ErrorKind::QuotaExceeded | ErrorKind::FileTooLarge)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cache::key::ObjectKey;

    #[test]
    fn names_lead_back_to_keys() {
        let key = ObjectKey::new("", "http://o/", "t", "/1.ts").bytes();
        let file = Place::file(Path::new("/d"), "v1-0011223344556677", key);
        let text = file.to_string_lossy().into_owned();
        let parts: Vec<&str> = text.split('/').collect();
        assert_eq!((parts[1], parts[2]), ("d", "v1-0011223344556677"));
        assert_eq!(key_of(parts[3], parts[4]), Some(key));
        let name = parts[4];
        for (folder, name) in [("", name), ("0", name), ("0g", name), ("00", &name[1..]), ("00", "x")] {
            assert_eq!(key_of(folder, name), None, "{folder}/{name}");
        }
        assert_eq!(key_of("0a", &format!("+{}", &name[1..])), None, "no number's sign");
    }

    #[test]
    fn namespaces_tell_settings_apart() {
        let of = |parts: &[&str]| namespace(parts.iter().map(|part| part.as_bytes()));
        assert!(is_namespace(&of(&["a"])), "{}", of(&["a"]));
        assert_eq!(of(&["a", "b"]), of(&["a", "b"]));
        assert_ne!(of(&["a", "b"]), of(&["ab", ""]));
        for other in
            ["v1", "v1-", "v2-0011223344556677", "v1-00112233445566778", "v1-001122334455667G", PURGES]
        {
            assert!(!is_namespace(other), "{other}");
        }
    }
}
