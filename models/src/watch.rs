//! Notices that the models in a directory have changed, while the edge runs.
//!
//! Polling, not inotify: a few hundred `stat` calls every few seconds cost less than a millisecond, and they see what
//! inotify does not, changes on NFS and other shared file systems, the swap of a symbolic link above the directory (which is how
//! Kubernetes updates a config map), a directory that was renamed over. Nor is anything lost on an overflowing event queue.
//!
//! What is on the disk may be half of what is being put there. Three rules keep halves out:
//! a change counts once nothing has moved for a whole interval; metadata are read before contents and compared again
//! after them; and a catalogue that cannot be read leaves the last good one in force.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::mpsc::{self, RecvTimeoutError, Sender};
use std::thread;
use std::time::Duration;

use crate::catalogue::{Catalogue, CatalogueError, FILE_NAME};
use crate::digest::{Sha256, read_bounded};
use crate::entry::ModelEntry;

/// Files beside the catalogue that are no models and yet decide how models are used: how streams are assigned to clusters.
const COMPANIONS: [&str; 2] = ["clusters.toml", "embedding.onnx"];

/// After a change has been seen the next look comes this soon, to see whether it is over. Longer than any pause of a
/// writer that is still at it; one that pauses longer leaves a file whose digest is wrong, which is refused.
const SETTLING: Duration = Duration::from_secs(1);

/// What a watch has to say.
#[derive(Debug)]
pub enum WatchEvent {
    /// The catalogue, a model's file or the clusters have changed: what is there now. Files are not verified.
    Changed(Arc<Catalogue>),
    /// The catalogue cannot be read, so the last good one stays in force. Said once for each fault.
    Kept(CatalogueError),
}

/// Looks at the models' directory from a thread of its own until it is dropped.
#[derive(Debug)]
pub struct Watch {
    /// Dropping it ends the thread.
    _stop: Option<Sender<()>>,
}

impl Watch {
    /// Calls `on_event` when something in `directory` is no longer as `current` has it. Zero for `interval` means never;
    /// otherwise it is the longest time until a change is seen, and about a second more passes until it counts. The
    /// thread ends when the watch is dropped, after a call that is under way.
    ///
    /// # Errors
    /// The thread cannot be started.
    pub fn start(
        directory: impl Into<PathBuf>,
        current: Arc<Catalogue>,
        interval: Duration,
        mut on_event: impl FnMut(WatchEvent) + Send + 'static,
    ) -> io::Result<Self> {
        if interval.is_zero() {
            return Ok(Self { _stop: None });
        }
        let mut poll = Poll::new(directory, current);
        let (stop, stopped) = mpsc::channel::<()>();
        thread::Builder::new().name("acuity-models".into()).spawn(move || {
            let mut pause = interval;
            while stopped.recv_timeout(pause) == Err(RecvTimeoutError::Timeout) {
                if let Some(event) = poll.look() {
                    on_event(event);
                }
                pause = if poll.is_settling() { interval.min(SETTLING) } else { interval };
            }
        })?;
        Ok(Self { _stop: Some(stop) })
    }
}

/// The watch without its thread: it looks when told to.
#[derive(Debug)]
pub struct Poll {
    directory: PathBuf,
    current: Arc<Catalogue>,
    /// What the current catalogue's files held when they were last read; none before the first look.
    contents: Option<Contents>,
    /// As of the last read.
    read: Marks,
    /// As of the last look.
    seen: Marks,
    /// What was said of a catalogue that could not be read, until one can.
    fault: Option<String>,
}

/// The state of one file, cheap to get: any write, rename or link swap changes it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Mark {
    device: u64,
    inode: u64,
    length: u64,
    modified: (i64, i64),
    changed: (i64, i64),
}

/// Files with their marks, `None` for those that are not there.
type Marks = HashMap<PathBuf, Option<Mark>>;
/// Files with what they hold, `None` for those that cannot be read.
type Contents = HashMap<PathBuf, Option<Sha256>>;

impl Poll {
    /// A watch over `directory`, whose catalogue is `current` as far as the caller knows. Nothing is read yet.
    #[must_use]
    pub fn new(directory: impl Into<PathBuf>, current: Arc<Catalogue>) -> Self {
        Self {
            directory: directory.into(),
            current,
            contents: None,
            read: Marks::new(),
            seen: Marks::new(),
            fault: None,
        }
    }

    /// Looks once. A change is reported by the second look in a row that finds the same.
    pub fn look(&mut self) -> Option<WatchEvent> {
        let marks = self.marks(&self.current);
        let still = marks == self.seen;
        self.seen.clone_from(&marks);
        if !still || marks == self.read {
            return None;
        }
        let catalogue = match load(&self.directory) {
            Ok(catalogue) => Arc::new(catalogue),
            Err(error) => {
                self.read = marks;
                let said = format!("{error:?}");
                let news = self.fault.as_ref() != Some(&said);
                self.fault = Some(said);
                return news.then_some(WatchEvent::Kept(error));
            }
        };
        // Marks before contents, of what this catalogue names: a file that changes while it is read is not missed.
        let marks = self.marks(&catalogue);
        let contents = self.contents(&marks);
        self.seen = self.marks(&catalogue);
        if self.seen != marks {
            // Back to what is known; `current` names the files that the next look compares.
            self.seen.clear();
            return None;
        }
        let changed = match &self.contents {
            Some(known) => *known != contents,
            // The first look: nothing is news if all is as the caller's catalogue says.
            None => catalogue != self.current || !is_whole(&catalogue, &contents),
        };
        self.fault = None;
        self.read = marks;
        self.contents = Some(contents);
        self.current = Arc::clone(&catalogue);
        changed.then_some(WatchEvent::Changed(catalogue))
    }

    /// Whether a change has been seen that does not count yet.
    #[must_use]
    pub fn is_settling(&self) -> bool {
        self.seen != self.read
    }

    fn marks(&self, catalogue: &Catalogue) -> Marks {
        let named = catalogue.everything().flat_map(|entry| files(entry)).map(|(path, _)| path.to_owned());
        let own = COMPANIONS.iter().chain(&[FILE_NAME]).map(|name| self.directory.join(name));
        let clusters = catalogue.cluster_files();
        let clusters =
            clusters.into_iter().flat_map(|files| [files.clusters.clone(), files.embedding.clone()]);
        named
            .chain(own)
            .chain(clusters)
            .map(|path| {
                let mark = mark(&path);
                (path, mark)
            })
            .collect()
    }

    /// What the files hold; only those whose mark is new are read.
    fn contents(&self, marks: &Marks) -> Contents {
        let known = self.contents.as_ref();
        let read = |(path, mark): (&PathBuf, &Option<Mark>)| {
            let same = mark.is_some() && self.read.get(path) == Some(mark);
            let kept = known.and_then(|known| known.get(path)).filter(|_| same);
            let held =
                kept.map_or_else(|| read_bounded(path).ok().map(|bytes| Sha256::of(&bytes)), |held| *held);
            (path.clone(), held)
        };
        marks.iter().map(read).collect()
    }
}

/// The catalogue, unless the file is empty: that is what a writer leaves who was stopped just after opening it.
fn load(directory: &Path) -> Result<Catalogue, CatalogueError> {
    let path = directory.join(FILE_NAME);
    if fs::metadata(&path).is_ok_and(|metadata| metadata.len() == 0) {
        return Err(CatalogueError::Empty { path });
    }
    Catalogue::load(directory)
}

fn is_whole(catalogue: &Catalogue, contents: &Contents) -> bool {
    let holds = |path: &Path| contents.get(path).copied().flatten();
    catalogue.everything().flat_map(|entry| files(entry)).all(|(path, digest)| holds(path) == Some(digest))
}

/// An entry's files, and what they must hash to.
fn files(entry: &ModelEntry) -> impl Iterator<Item = (&Path, Sha256)> {
    let int8 = entry.int8.as_ref().map(|int8| (int8.file.as_path(), int8.sha256));
    std::iter::once((entry.file.as_path(), entry.sha256)).chain(int8)
}

/// Links are followed: what counts is the file that would be read.
fn mark(path: &Path) -> Option<Mark> {
    let metadata = fs::metadata(path).ok()?;
    Some(Mark {
        device: metadata.dev(),
        inode: metadata.ino(),
        length: metadata.len(),
        modified: (metadata.mtime(), metadata.mtime_nsec()),
        changed: (metadata.ctime(), metadata.ctime_nsec()),
    })
}

#[cfg(test)]
mod tests;
