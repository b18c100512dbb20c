//! A walk through the depot's directory: what lies there, and what a process that was killed left half written.
//!
//! Blocking, on a thread of its own; a folder at a time goes to the [keeper](super::keeper).

use std::ffi::OsStr;
use std::fs::{self, DirEntry, FileTimes, Metadata};
use std::path::{Path, PathBuf};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use tokio::sync::mpsc;

use super::ledger::Found;
use super::place::{is_namespace, key_of};

/// Files that were never finished are removed when they are older than this: another process may be writing one.
const ABANDONED_AFTER: Duration = Duration::from_secs(600);

/// What one folder holds.
#[derive(Debug)]
pub(super) struct Folder {
    pub(super) namespace: String,
    pub(super) files: Vec<Found>,
}

/// Walks through `root`. What cannot be read is as if it were not there.
pub(super) fn start(root: PathBuf) -> mpsc::Receiver<Folder> {
    // The keeper takes them between its other work.
    let (found, folders) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || walk(&root, &found));
    folders
}

fn walk(root: &Path, found: &mpsc::Sender<Folder>) {
    for namespace in folders(root) {
        let Some(name) = namespace.file_name().to_str().map(str::to_owned).filter(|name| is_namespace(name))
        else {
            // Somebody else's.
            continue;
        };
        for folder in folders(&namespace.path()) {
            let files =
                entries(&folder.path()).filter_map(|entry| file(&folder.file_name(), &entry)).collect();
            // Nobody takes it any more: the process ends.
            if found.blocking_send(Folder { namespace: name.clone(), files }).is_err() {
                return;
            }
        }
    }
}

fn file(folder: &OsStr, entry: &DirEntry) -> Option<Found> {
    let name = entry.file_name();
    let facts = entry.metadata().ok().filter(Metadata::is_file)?;
    let Some(key) = key_of(folder.to_str()?, name.to_str()?) else {
        remove_abandoned(entry, &facts);
        return None;
    };
    let made = seconds(facts.modified().ok()?);
    Some(Found { key, bytes: facts.len(), made, used: facts.accessed().map_or(made, seconds) })
}

/// `object_store` writes to `NAME#NUMBER` and gives it its name when it is whole.
fn remove_abandoned(entry: &DirEntry, facts: &Metadata) {
    let is_staged = entry.file_name().to_str().is_some_and(|name| {
        name.rsplit_once('#').is_some_and(|(_, number)| number.bytes().all(|byte| byte.is_ascii_digit()))
    });
    let age = facts.modified().ok().and_then(|time| time.elapsed().ok()).unwrap_or_default();
    if is_staged && age > ABANDONED_AFTER {
        let _ = fs::remove_file(entry.path());
    }
}

fn folders(path: &Path) -> impl Iterator<Item = DirEntry> {
    entries(path).filter(|entry| entry.file_type().is_ok_and(|kind| kind.is_dir()))
}

fn entries(path: &Path) -> impl Iterator<Item = DirEntry> {
    fs::read_dir(path).into_iter().flatten().filter_map(Result::ok)
}

/// Has the disk remember that a file was used now. Said outright, because most file systems are mounted so that reading says nothing.
pub(super) fn tell_used(path: PathBuf) {
    tokio::task::spawn_blocking(move || {
        let times = FileTimes::new().set_accessed(SystemTime::now());
        // Only the order of removal is at stake.
        let _ = fs::File::open(path).and_then(|file| file.set_times(times));
    });
}

/// Seconds since 1970, until 2106.
pub(super) fn seconds(time: SystemTime) -> u32 {
    time.duration_since(UNIX_EPOCH).map_or(0, |since| u32::try_from(since.as_secs()).unwrap_or(u32::MAX))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn it_finds_objects_and_clears_away_what_was_abandoned() {
        let root = tempfile::tempdir().unwrap();
        let namespace = "v1-0123456789abcdef";
        let folder = root.path().join(namespace).join("0a");
        fs::create_dir_all(&folder).unwrap();
        fs::create_dir_all(root.path().join("somebodys/0a")).unwrap();
        let rest = "b".repeat(30);
        let put = |name: &str, age: u64| {
            let path = folder.join(name);
            fs::write(&path, [0; 5000]).unwrap();
            let then = SystemTime::now() - Duration::from_secs(age);
            let times = FileTimes::new().set_modified(then).set_accessed(then + Duration::from_secs(50));
            fs::File::options().write(true).open(path).unwrap().set_times(times).unwrap();
        };
        put(&rest, 100);
        put(&format!("{rest}#1"), 700);
        put(&format!("{rest}#2"), 5);
        put("notes.txt", 7000);
        fs::write(root.path().join("somebodys/0a").join(&rest), "x").unwrap();
        let mut found = start(root.path().to_owned());
        let batch = found.recv().await.unwrap();
        assert_eq!((batch.namespace.as_str(), batch.files.len()), (namespace, 1), "{batch:?}");
        let file = batch.files[0];
        assert_eq!((file.key[0], file.key[1], file.bytes, file.used - file.made), (0x0a, 0xbb, 5000, 50));
        assert!(found.recv().await.is_none(), "nobody else's folders");
        let mut left: Vec<_> =
            entries(&folder).map(|entry| entry.file_name().into_string().unwrap()).collect();
        left.sort();
        assert_eq!(left, [rest.clone(), format!("{rest}#2"), "notes.txt".to_owned()]);
    }
}
