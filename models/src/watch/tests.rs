//! Directories that change the ways operators, trainers and Kubernetes change them.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::os::unix::fs::symlink;
use std::path::Path;
use std::sync::mpsc;
use std::time::{Duration, Instant};

use tempfile::TempDir;

use super::*;
use crate::tests::entry;

/// A directory with a catalogue of one model, whose file is what the catalogue says, and a watch that has had its first looks.
fn watched() -> (TempDir, Poll) {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &["a"]);
    let poll = looking_at(directory.path());
    (directory, poll)
}

fn looking_at(directory: &Path) -> Poll {
    let mut poll = Poll::new(directory, Arc::new(Catalogue::load(directory).unwrap()));
    assert_eq!(seen(&mut poll), "nothing", "all is as it was loaded");
    poll
}

/// Each model's file holds its id, as `tests::entry` says.
fn publish(directory: &Path, ids: &[&str]) {
    for id in ids {
        fs::write(directory.join(format!("{id}.onnx")), id).unwrap();
    }
    fs::write(directory.join(FILE_NAME), catalogue(ids)).unwrap();
}

fn catalogue(ids: &[&str]) -> String {
    ids.iter().map(|id| entry(id, id, 2, "s")).collect()
}

/// What two looks find: the first sees a change, the second that it is over.
fn seen(poll: &mut Poll) -> String {
    assert!(poll.look().is_none(), "a change counts once it is still");
    match poll.look() {
        None => "nothing".to_owned(),
        Some(WatchEvent::Kept(error)) => format!("kept: {error}"),
        Some(WatchEvent::Changed(catalogue)) => {
            let ids: Vec<&str> = catalogue.entries().iter().map(|entry| entry.id.as_str()).collect();
            format!("changed: {}", ids.join(" "))
        }
    }
}

#[test]
fn a_new_catalogue_is_seen_once() {
    let (directory, mut poll) = watched();
    publish(directory.path(), &["a", "b"]);
    assert_eq!(seen(&mut poll), "changed: a b");
    assert_eq!(seen(&mut poll), "nothing");
    publish(directory.path(), &["b"]);
    assert_eq!(seen(&mut poll), "changed: b");
}

#[test]
fn what_was_wrong_or_new_before_the_first_look_is_told_by_it() {
    let directory = tempfile::tempdir().unwrap();
    publish(directory.path(), &["a"]);
    let loaded = Arc::new(Catalogue::load(directory.path()).unwrap());
    publish(directory.path(), &["a", "b"]);
    assert_eq!(seen(&mut Poll::new(directory.path(), Arc::clone(&loaded))), "changed: a b");
    publish(directory.path(), &["a"]);
    fs::write(directory.path().join("a.onnx"), "another").unwrap();
    assert_eq!(seen(&mut Poll::new(directory.path(), loaded)), "changed: a");
}

#[test]
fn a_models_file_that_changes_vanishes_or_comes_back_is_seen() {
    let (directory, mut poll) = watched();
    let file = directory.path().join("a.onnx");
    // As long as before, and with the time of before: only the system's own time of change tells.
    let before = fs::metadata(&file).unwrap().modified().unwrap();
    fs::write(&file, "x").unwrap();
    fs::File::open(&file).unwrap().set_modified(before).unwrap();
    assert_eq!(seen(&mut poll), "changed: a");
    fs::remove_file(&file).unwrap();
    assert_eq!(seen(&mut poll), "changed: a");
    fs::write(directory.path().join("new"), "a").unwrap();
    fs::rename(directory.path().join("new"), &file).unwrap();
    assert_eq!(seen(&mut poll), "changed: a");
    fs::write(directory.path().join("notes.txt"), "nothing of ours").unwrap();
    assert_eq!(seen(&mut poll), "nothing");
}

#[test]
fn what_is_only_touched_or_copied_over_itself_is_no_change() {
    let (directory, mut poll) = watched();
    publish(directory.path(), &["a"]);
    assert_eq!(seen(&mut poll), "nothing");
    fs::copy(directory.path().join("a.onnx"), directory.path().join("copy")).unwrap();
    fs::rename(directory.path().join("copy"), directory.path().join("a.onnx")).unwrap();
    assert_eq!(seen(&mut poll), "nothing");
}

#[test]
fn clusters_count_as_well() {
    let (directory, mut poll) = watched();
    fs::write(directory.path().join("clusters.toml"), "threshold = 1").unwrap();
    assert_eq!(seen(&mut poll), "changed: a");
}

#[test]
fn a_writer_that_is_still_at_it_is_waited_for() {
    let (directory, mut poll) = watched();
    let whole = catalogue(&["a", "b"]);
    fs::write(directory.path().join("b.onnx"), "b").unwrap();
    for end in [0, 40, 400, whole.len() - 1] {
        fs::write(directory.path().join(FILE_NAME), &whole[..end]).unwrap();
        assert!(poll.look().is_none() && poll.is_settling(), "{end}");
    }
    fs::write(directory.path().join(FILE_NAME), &whole).unwrap();
    assert_eq!(seen(&mut poll), "changed: a b");
    assert!(!poll.is_settling());
}

#[test]
fn a_catalogue_that_cannot_be_read_leaves_the_last_good_one() {
    let (directory, mut poll) = watched();
    let path = directory.path().join(FILE_NAME);
    for (text, said) in [("", "is empty"), ("[[model]]\nid = \"a", "cannot be understood")] {
        fs::write(&path, text).unwrap();
        let first = seen(&mut poll);
        assert!(first.starts_with("kept: ") && first.contains(said), "{first}");
        fs::write(&path, text).unwrap();
        assert_eq!(seen(&mut poll), "nothing", "said once");
    }
    fs::remove_file(&path).unwrap();
    assert!(seen(&mut poll).contains("there is no"));
    // Its files are still looked at, so that what it names does not change unseen for ever.
    fs::write(directory.path().join("a.onnx"), "another").unwrap();
    assert_eq!(seen(&mut poll), "nothing", "said already");
    publish(directory.path(), &["a"]);
    assert_eq!(seen(&mut poll), "nothing", "as it was");
    fs::remove_file(&path).unwrap();
    assert!(seen(&mut poll).contains("there is no"), "said anew");
    publish(directory.path(), &["c"]);
    assert_eq!(seen(&mut poll), "changed: c");
}

#[test]
fn kubernetes_swaps_a_link_above_everything() {
    let directory = tempfile::tempdir().unwrap();
    let (at, mount) = (|name: &str| directory.path().join(name), directory.path().join("mount"));
    for (version, ids) in [("..v1", &["a"][..]), ("..v2", &["a", "b"])] {
        fs::create_dir(at(version)).unwrap();
        publish(&at(version), ids);
    }
    fs::create_dir(&mount).unwrap();
    symlink(at("..v1"), at("..data")).unwrap();
    for name in [FILE_NAME, "a.onnx", "b.onnx"] {
        symlink(Path::new("../..data").join(name), mount.join(name)).unwrap();
    }
    let mut poll = looking_at(&mount);
    symlink(at("..v2"), at("..next")).unwrap();
    fs::rename(at("..next"), at("..data")).unwrap();
    fs::remove_dir_all(at("..v1")).unwrap();
    assert_eq!(seen(&mut poll), "changed: a b");

    // The same for a link that is the directory itself.
    symlink(at("..v2"), at("current")).unwrap();
    let mut poll = looking_at(&at("current"));
    fs::create_dir(at("..v3")).unwrap();
    publish(&at("..v3"), &["c"]);
    symlink(at("..v3"), at("..next")).unwrap();
    fs::rename(at("..next"), at("current")).unwrap();
    assert_eq!(seen(&mut poll), "changed: c");
}

#[test]
fn a_directory_that_is_renamed_over_is_seen() {
    let directory = tempfile::tempdir().unwrap();
    let (models, next) = (directory.path().join("models"), directory.path().join("next"));
    for (at, ids) in [(&models, ["a"]), (&next, ["b"])] {
        fs::create_dir(at).unwrap();
        publish(at, &ids);
    }
    let mut poll = looking_at(&models);
    fs::rename(&models, directory.path().join("old")).unwrap();
    assert!(seen(&mut poll).starts_with("kept: there is no"));
    fs::rename(&next, &models).unwrap();
    assert_eq!(seen(&mut poll), "changed: b");
}

#[test]
fn the_thread_tells_and_ends() {
    let (directory, _) = watched();
    let current = Arc::new(Catalogue::load(directory.path()).unwrap());
    let (sender, events) = mpsc::channel();
    let tell = move |event| sender.send(event).unwrap();
    let watch =
        Watch::start(directory.path(), Arc::clone(&current), Duration::from_millis(20), tell).unwrap();
    publish(directory.path(), &["a", "b"]);
    let event = events.recv_timeout(Duration::from_secs(30)).unwrap();
    assert!(matches!(event, WatchEvent::Changed(catalogue) if catalogue.entries().len() == 2));
    drop(watch);
    let ended = Instant::now();
    assert!(matches!(
        events.recv_timeout(Duration::from_secs(30)),
        Err(mpsc::RecvTimeoutError::Disconnected)
    ));
    assert!(ended.elapsed() < Duration::from_secs(30), "the callback went with the thread");

    let (sender, events) = mpsc::channel::<WatchEvent>();
    let off =
        Watch::start(directory.path(), current, Duration::ZERO, move |event| sender.send(event).unwrap());
    assert!(matches!(events.recv(), Err(mpsc::RecvError)), "zero is off");
    drop(off.unwrap());
}
