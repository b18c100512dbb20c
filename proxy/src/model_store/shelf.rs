//! The models' directory, as it is kept like a store's catalogue.
//!
//! ```text
//! catalogue.toml        the document in use, byte for byte: what the directory's watch sees
//! sha256/DIGEST.onnx    files of every catalogue that is kept
//! catalogues/DIGEST.toml  documents: the one in use, and the one before it
//! incoming/             files that are being fetched
//! from-store            says that the directory is kept so; lock: by which process
//! ```
//!
//! Whatever is put in place was synced before it was renamed, and folders are synced after: a power cut leaves the old or the new. What a
//! disk makes of it later is told by digests. All of it blocks.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File, Permissions, TryLockError};
use std::io::{self, ErrorKind, Read as _, Write as _};
use std::os::unix::fs::{MetadataExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, SystemTime};

use acuity_models::{Manifest, Sha256, StoredFile, Summing};

use super::{Refusal, shown};

const CATALOGUE: &str = "catalogue.toml";
const DOCUMENTS: &str = "catalogues";
const FILES: &str = "sha256";
const INCOMING: &str = "incoming";
const MARK: &str = "from-store";
const LOCK: &str = "lock";
/// What the mark says to who finds it.
const MARK_TEXT: &str = "acuity keeps this directory like a store's catalogue ([models.store]). What no catalogue names is removed.\n";
/// The catalogue before there is one.
const NOTHING: &str = "# Nothing has come from the store of models yet.\n";
/// Documents that are kept: the one in use, and the one that was before it, for a way back that needs no store.
const KEPT: usize = 2;
/// A file is read in such pieces.
const PIECE_BYTES: usize = 1 << 20;
/// Workers may be another user, `nobody` for instance.
const FOLDER_MODE: u32 = 0o755;
const FILE_MODE: u32 = 0o644;

/// Why a directory cannot be kept like a store's catalogue.
#[derive(Debug, thiserror::Error)]
pub enum ShelfFault {
    /// It is not there and cannot be made, or is none.
    #[error("cannot keep models in {} (models.directory): {why}", path.display())]
    Directory {
        /// The directory.
        path: PathBuf,
        /// Why.
        why: String,
    },
    /// Somebody else's models lie there.
    #[error(
        "{} (models.directory) holds a catalogue that did not come from a store: with [models.store] name another directory, which will be this edge's own",
        path.display()
    )]
    Foreign {
        /// The directory.
        path: PathBuf,
    },
}

/// A models' directory.
#[derive(Debug)]
pub struct Shelf {
    root: PathBuf,
    /// Files that were found whole, as they were then: they are read again when they change.
    whole: Mutex<HashMap<String, Mark>>,
}

/// The state of a file: any write or rename changes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Mark {
    inode: u64,
    length: u64,
    changed: (i64, i64),
}

/// While it lives no other process changes the directory.
#[derive(Debug)]
pub struct Hold {
    _file: File,
}

impl Shelf {
    /// The directory, made if its parent is there, with a catalogue that can be read: the one in use, or another one that is kept and
    /// whole if that is damaged, or one without models.
    ///
    /// # Errors
    /// It is no directory, or somebody else's. That it cannot be written now is none: what lies there can be used.
    pub fn open(root: &Path) -> Result<Self, ShelfFault> {
        match fs::create_dir(root) {
            Err(error) if error.kind() != ErrorKind::AlreadyExists => {
                return Err(ShelfFault::Directory { path: root.to_owned(), why: error.to_string() });
            }
            made => {
                if made.is_ok() {
                    let _ = fs::set_permissions(root, Permissions::from_mode(FOLDER_MODE));
                }
            }
        }
        Self::check(root)?;
        let shelf = Self { root: root.to_owned(), whole: Mutex::default() };
        if let Err(error) = shelf.lay_out() {
            tracing::error!(%error, directory = %root.display(), "the models' directory cannot be written: it stays as it is");
        }
        Ok(shelf)
    }

    /// What can be said against a directory before it is used. One that is not there yet is made later.
    ///
    /// # Errors
    /// It is no directory, or somebody else's.
    pub fn check(root: &Path) -> Result<(), ShelfFault> {
        let fault = |why: &str| ShelfFault::Directory { path: root.to_owned(), why: why.to_owned() };
        match fs::metadata(root) {
            Ok(facts) if !facts.is_dir() => Err(fault("it is not a directory")),
            Ok(_) if root.join(CATALOGUE).exists() && !root.join(MARK).exists() => {
                Err(ShelfFault::Foreign { path: root.to_owned() })
            }
            Ok(_) => Ok(()),
            Err(error) if error.kind() == ErrorKind::NotFound => match root.parent() {
                Some(parent) if parent.as_os_str().is_empty() || parent.is_dir() => Ok(()),
                _ => Err(fault("neither it nor the directory above it is there")),
            },
            Err(error) => Err(fault(&error.to_string())),
        }
    }

    fn lay_out(&self) -> io::Result<()> {
        for folder in [FILES, DOCUMENTS, INCOMING] {
            let path = self.root.join(folder);
            if !path.is_dir() {
                fs::create_dir(&path)?;
                fs::set_permissions(&path, Permissions::from_mode(FOLDER_MODE))?;
            }
        }
        if !self.root.join(MARK).exists() {
            self.put(MARK, MARK_TEXT.as_bytes())?;
        }
        let is_good = fs::read(self.root.join(CATALOGUE))
            .is_ok_and(|bytes| bytes == NOTHING.as_bytes() || self.parse(&bytes).is_some());
        if is_good {
            return Ok(());
        }
        let kept = self.documents().into_iter().find_map(|(digest, _)| self.document(digest));
        match kept {
            Some(manifest) => {
                tracing::warn!(catalogue = %manifest.digest(), "catalogue.toml was damaged: one that was kept is used");
                self.put(CATALOGUE, manifest.text().as_bytes())
            }
            None => self.put(CATALOGUE, NOTHING.as_bytes()),
        }
    }

    /// The directory.
    #[must_use]
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// The catalogue in use.
    #[must_use]
    pub fn in_force(&self) -> Option<Manifest> {
        fs::read(self.root.join(CATALOGUE)).ok().and_then(|bytes| self.parse(&bytes))
    }

    /// A document that is kept and whole; one that is not is removed.
    #[must_use]
    pub fn document(&self, digest: Sha256) -> Option<Manifest> {
        let path = self.root.join(DOCUMENTS).join(format!("{digest}.toml"));
        let bytes = fs::read(&path).ok()?;
        let found = self.parse(&bytes).filter(|manifest| manifest.digest() == digest);
        if found.is_none() {
            tracing::warn!(catalogue = %digest, "a kept catalogue is damaged: removed");
            let _ = fs::remove_file(path);
        }
        found
    }

    /// Limits were kept to when it was fetched; a smaller one that came since is for catalogues to come.
    fn parse(&self, bytes: &[u8]) -> Option<Manifest> {
        Manifest::parse(bytes, &self.root, u64::MAX).ok()
    }

    /// Digests of the documents that are kept, newest use first.
    #[must_use]
    pub fn documents(&self) -> Vec<(Sha256, SystemTime)> {
        let entries = fs::read_dir(self.root.join(DOCUMENTS)).into_iter().flatten().flatten();
        let mut found: Vec<_> = entries
            .filter_map(|entry| {
                let name = entry.file_name();
                let digest = name.to_str()?.strip_suffix(".toml")?.parse().ok()?;
                Some((digest, entry.metadata().ok()?.modified().ok()?))
            })
            .collect();
        found.sort_by_key(|(digest, used)| (std::cmp::Reverse(*used), *digest));
        found
    }

    /// Whether a file is there and is what its name says. `Some(false)`: something else was there, and is removed.
    ///
    /// # Errors
    /// It cannot be removed.
    pub fn holds(&self, file: &StoredFile) -> io::Result<Option<bool>> {
        let path = self.root.join(file.name());
        let Ok(facts) = fs::metadata(&path) else { return Ok(None) };
        let mark =
            Mark { inode: facts.ino(), length: facts.len(), changed: (facts.ctime(), facts.ctime_nsec()) };
        let mut whole = self.whole.lock().unwrap_or_else(PoisonError::into_inner);
        if whole.get(&file.name()) == Some(&mark) {
            return Ok(Some(true));
        }
        whole.remove(&file.name());
        if facts.is_file() && facts.len() == file.bytes && sum(&path).is_ok_and(|found| found == file.sha256)
        {
            whole.insert(file.name(), mark);
            return Ok(Some(true));
        }
        tracing::warn!(file = %path.display(), "a model's file is not what its name says: removed, to be fetched again");
        if facts.is_dir() {
            fs::remove_dir_all(&path)?
        } else {
            fs::remove_file(&path)?
        }
        Ok(Some(false))
    }

    /// Where a file is while it comes.
    #[must_use]
    pub fn incoming(&self, file: &StoredFile) -> PathBuf {
        let name = file.name();
        self.root.join(INCOMING).join(name.rsplit('/').next().unwrap_or(&name))
    }

    /// A file has come, is synced and was found right: puts it in its place.
    ///
    /// # Errors
    /// The disk's.
    pub fn accept(&self, file: &StoredFile) -> io::Result<()> {
        let from = self.incoming(file);
        fs::set_permissions(&from, Permissions::from_mode(FILE_MODE))?;
        fs::rename(from, self.root.join(file.name()))
    }

    /// Has the directory be this catalogue, whose files are all there. The last step is one rename.
    ///
    /// # Errors
    /// The disk's; then it is what it was.
    pub fn switch(&self, manifest: &Manifest) -> io::Result<()> {
        // The one that goes was in use until now, so it is the one that is kept.
        if let Some(before) = self.in_force().filter(|before| before.digest() != manifest.digest()) {
            let _ = self.put(&document_name(before.digest()), before.text().as_bytes());
        }
        self.put(&document_name(manifest.digest()), manifest.text().as_bytes())?;
        File::open(self.root.join(FILES))?.sync_all()?;
        self.put(CATALOGUE, manifest.text().as_bytes())
    }

    /// Removes what no kept catalogue names and was not written for `grace`. Gives how many files that were.
    pub fn sweep(&self, grace: Duration) -> usize {
        let now = SystemTime::now();
        let in_force = self.in_force();
        let used = in_force.as_ref().map(Manifest::digest);
        let mut kept: Vec<Manifest> = in_force.into_iter().collect();
        for (digest, _) in self.documents().into_iter().filter(|(digest, _)| Some(*digest) != used) {
            if kept.len() < KEPT {
                kept.extend(self.document(digest));
            } else {
                let _ = fs::remove_file(self.root.join(document_name(digest)));
            }
        }
        // Where nothing is known to be in use, nothing is known to be of no use.
        if used.is_none() {
            return 0;
        }
        let named: HashSet<String> =
            kept.iter().flat_map(|manifest| manifest.files().iter().map(StoredFile::name)).collect();
        let mut removed = 0;
        for folder in [FILES, INCOMING] {
            for entry in fs::read_dir(self.root.join(folder)).into_iter().flatten().flatten() {
                let name = format!("{folder}/{}", entry.file_name().to_string_lossy());
                let written = entry.metadata().and_then(|facts| facts.modified()).unwrap_or(now);
                let is_old = now.duration_since(written).is_ok_and(|age| age >= grace);
                if is_old && !named.contains(&name) && fs::remove_file(entry.path()).is_ok() {
                    removed += 1;
                }
            }
        }
        removed
    }

    /// Keeps other processes from changing the directory; `None` where one does now.
    ///
    /// # Errors
    /// There can be no lock.
    pub fn hold(&self) -> io::Result<Option<Hold>> {
        let file = File::options().create(true).truncate(false).write(true).open(self.root.join(LOCK))?;
        match file.try_lock() {
            Ok(()) => Ok(Some(Hold { _file: file })),
            Err(TryLockError::WouldBlock) => Ok(None),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    /// Writes a small file: beside its name, synced, renamed, its folder synced.
    fn put(&self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let path = self.root.join(name);
        let folder = path.parent().unwrap_or(&self.root);
        let mut unfinished = tempfile::NamedTempFile::new_in(folder)?;
        unfinished.write_all(bytes)?;
        unfinished.as_file().set_permissions(Permissions::from_mode(FILE_MODE))?;
        unfinished.as_file().sync_all()?;
        unfinished.persist(&path).map_err(|error| error.error)?;
        File::open(folder)?.sync_all()
    }
}

fn document_name(digest: Sha256) -> String {
    format!("{DOCUMENTS}/{digest}.toml")
}

/// What a file hashes to.
fn sum(path: &Path) -> io::Result<Sha256> {
    summing(path).map(|(sum, _)| sum.finish())
}

/// The sum of what a file holds so far, and how much that is.
pub(super) fn summing(path: &Path) -> io::Result<(Summing, u64)> {
    let (mut file, mut sum, mut length) = (File::open(path)?, Summing::default(), 0);
    let mut piece = vec![0; PIECE_BYTES];
    loop {
        match file.read(&mut piece) {
            Ok(0) => return Ok((sum, length)),
            Ok(read) => {
                sum.update(piece.get(..read).unwrap_or_default());
                length += read as u64;
            }
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
}

impl From<io::Error> for Refusal {
    fn from(error: io::Error) -> Self {
        Self::Disk(error.to_string())
    }
}

impl std::fmt::Display for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&shown(&self.root))
    }
}
