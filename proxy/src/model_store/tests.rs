//! The models' directory and a store in directories of their own; a real store, and edges that follow it, are in the scenarios.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acuity_models::{Manifest, StoredFile};
use tempfile::TempDir;

use super::*;
use crate::model_store::publish::{PublishError, Published, promote, push};

/// A models' directory of so many networks, which nobody runs here: what they hold is `seed` and a number.
fn directory(seed: u8, models: usize) -> TempDir {
    let folder = tempfile::tempdir().unwrap();
    let mut text = String::new();
    for number in 0..models {
        let bytes: Vec<u8> = (0..100_000_u32).map(|at| (at % 251) as u8 ^ seed ^ number as u8).collect();
        fs::write(folder.path().join(format!("{number}.onnx")), &bytes).unwrap();
        text += &format!(
            "[[model]]\nid = \"m{number}\"\ncluster = \"c{number}\"\nscale = 2\ntier = \"s\"\nfile = \"{number}.onnx\"\n\
             sha256 = \"{}\"\nparameters = 1\ncontract = 1\nlicence = \"Apache-2.0\"\ntraining_data = \"\"\n",
            Sha256::of(&bytes)
        );
    }
    fs::write(folder.path().join("catalogue.toml"), text).unwrap();
    folder
}

type Packed = (Manifest, Vec<(StoredFile, std::path::PathBuf)>);

/// A store in a directory, an edge's own directory, and what was published last.
struct World {
    store: TempDir,
    own: TempDir,
}

impl World {
    fn new() -> Self {
        Self { store: tempfile::tempdir().unwrap(), own: tempfile::tempdir().unwrap() }
    }

    fn remote(&self) -> Remote {
        Remote::directory(self.store.path().to_owned())
    }

    fn shelf(&self) -> Arc<Shelf> {
        Arc::new(Shelf::open(&self.own.path().join("models")).unwrap())
    }

    async fn publish(&self, from: &TempDir) -> Packed {
        let packed = Manifest::of_directory(from.path()).unwrap();
        push(&self.remote(), &packed, Some("stable"), false, &|_| {}).await.unwrap();
        packed
    }

    async fn take(&self, manifest: &Manifest) -> Result<Fetched, Refusal> {
        let taken = take(&self.remote(), &self.shelf(), manifest.digest(), u64::MAX, &|_| {}).await;
        taken.map(|(_, fetched)| fetched)
    }

    fn in_store(&self, file: &StoredFile) -> std::path::PathBuf {
        self.store.path().join("models/v1").join(file.name())
    }
}

#[tokio::test]
async fn what_was_published_arrives_and_is_not_fetched_twice() {
    let world = World::new();
    let from = directory(1, 3);
    let packed = Manifest::of_directory(from.path()).unwrap();
    let dry = push(&world.remote(), &packed, Some("stable"), true, &|_| {}).await.unwrap();
    assert_eq!(dry, Published { files: 3, bytes: 300_000, present: 0, moved: true });
    assert!(!world.store.path().join("models").exists(), "nothing was done");
    let heard = AtomicU64::new(0);
    let count = |bytes| {
        heard.fetch_add(bytes, Ordering::Relaxed);
    };
    let published = push(&world.remote(), &packed, Some("stable"), false, &count).await.unwrap();
    assert_eq!((published, heard.load(Ordering::Relaxed)), (dry, 300_000));
    let again = push(&world.remote(), &packed, Some("stable"), false, &|_| {}).await.unwrap();
    assert_eq!(again, Published { files: 0, bytes: 0, present: 3, moved: false });

    let pointer = world.remote().channel("stable", None).await.unwrap();
    assert_eq!(pointer.digest, packed.0.digest());
    let unchanged = world.remote().channel("stable", pointer.e_tag.as_deref()).await;
    assert!(matches!(unchanged, Err(RemoteError::Unchanged)), "{unchanged:?}");

    let fetched = world.take(&packed.0).await.unwrap();
    assert_eq!(fetched, Fetched { files: 3, bytes: 300_000, damaged: 0 });
    assert_eq!(world.take(&packed.0).await.unwrap(), Fetched::default());
    // What lies there is a models' directory as any other, and its catalogue is the document.
    let catalogue = acuity_models::Catalogue::load(world.shelf().root()).unwrap();
    assert!(catalogue.verify().iter().all(|(_, state)| state.label() == "verified"));
    let text = fs::read(world.shelf().root().join("catalogue.toml")).unwrap();
    assert_eq!(Sha256::of(&text), packed.0.digest());
}

#[tokio::test]
async fn of_two_catalogues_only_what_differs_is_fetched_and_the_way_back_needs_no_store() {
    let world = World::new();
    let (first, second) = (directory(1, 3), directory(1, 4));
    let (one, _) = world.publish(&first).await;
    world.take(&one).await.unwrap();
    let (two, _) = world.publish(&second).await;
    assert_eq!(world.take(&two).await.unwrap(), Fetched { files: 1, bytes: 100_000, damaged: 0 });
    assert_eq!(world.shelf().in_force().unwrap().digest(), two.digest());
    drop(fs::remove_dir_all(world.store.path().join("models")));
    assert_eq!(world.take(&one).await.unwrap(), Fetched::default(), "all of it is still there");
    assert_eq!(world.shelf().in_force().unwrap().digest(), one.digest());
}

#[tokio::test]
async fn what_is_wrong_in_the_store_is_refused_with_its_reason_and_what_there_is_stays() {
    let world = World::new();
    let good = directory(1, 2);
    let (before, _) = world.publish(&good).await;
    world.take(&before).await.unwrap();
    let bad = directory(2, 2);
    let (wanted, files) = world.publish(&bad).await;
    let file = world.in_store(&files[0].0);
    let bytes = fs::read(&file).unwrap();
    let longer: Vec<u8> = bytes.iter().copied().chain([0]).collect();
    let mut turned = bytes.clone();
    turned[50_000] ^= 1;
    type Harm<'a> = (&'a str, Option<&'a [u8]>);
    let harms: [Harm<'_>; 4] = [
        ("missing", None),
        ("truncated", Some(&bytes[..99_999])),
        ("too_large", Some(&longer)),
        ("digest", Some(&turned)),
    ];
    for (reason, harm) in harms {
        match harm {
            Some(bytes) => fs::write(&file, bytes).unwrap(),
            None => fs::remove_file(&file).unwrap(),
        }
        let refusal = world.take(&wanted).await.unwrap_err();
        assert_eq!(refusal.label(), reason, "{refusal}");
        assert!(refusal.is_final() && Refusal::LABELS.contains(&refusal.label()));
        assert_eq!(world.shelf().in_force().unwrap().digest(), before.digest(), "{reason}");
        assert!(
            !world.shelf().root().join(files[0].0.name()).exists(),
            "{reason}: nothing wrong is put in place"
        );
    }
    fs::write(&file, &bytes).unwrap();
    // A document under a name that is not its digest, one that is none, one that is not there, one that is too much.
    let document = world.store.path().join(format!("models/v1/catalogues/{}.toml", wanted.digest()));
    let text = fs::read(&document).unwrap();
    fs::write(&document, before.text()).unwrap();
    assert_eq!(world.take(&wanted).await.unwrap_err().label(), "digest");
    fs::remove_file(&document).unwrap();
    assert_eq!(world.take(&wanted).await.unwrap_err().label(), "missing");
    let hostile = wanted.text().replacen("file = \"sha256/", "file = \"../sha256/", 1);
    let digest = Sha256::of(hostile.as_bytes());
    fs::write(document.with_file_name(format!("{digest}.toml")), &hostile).unwrap();
    let climbing = take(&world.remote(), &world.shelf(), digest, u64::MAX, &|_| {}).await.unwrap_err();
    assert_eq!(climbing.label(), "name", "{climbing}");
    fs::write(&document, vec![b'#'; 5 << 20]).unwrap();
    assert_eq!(world.take(&wanted).await.unwrap_err().label(), "too_large");
    fs::write(&document, text).unwrap();
    let limited = take(&world.remote(), &world.shelf(), wanted.digest(), 199_999, &|_| {}).await.unwrap_err();
    assert_eq!(limited.label(), "too_large", "{limited}");
    assert_eq!(world.shelf().in_force().unwrap().digest(), before.digest());
    // And nothing of it stands in the way.
    assert_eq!(world.take(&wanted).await.unwrap().files, 1, "the other file has come before");
}

#[tokio::test]
async fn a_file_that_broke_off_is_gone_on_with_and_one_that_was_damaged_begins_again() {
    let world = World::new();
    let from = directory(1, 1);
    let (manifest, files) = world.publish(&from).await;
    let (file, path) = &files[0];
    let bytes = fs::read(path).unwrap();
    let count = AtomicU64::new(0);
    let heard = |bytes| {
        count.fetch_add(bytes, Ordering::Relaxed);
    };
    let half = || fs::write(world.shelf().incoming(file), &bytes[..60_000]).unwrap();
    half();
    // The first sixty thousand cannot have come from the store again: they are not there.
    let instruments = Instruments::new().unwrap();
    let shelf = world.shelf();
    fetch::complete(&world.remote(), &shelf, &manifest, &instruments, &heard).await.unwrap();
    assert_eq!((instruments.fetched_bytes.get(), count.swap(0, Ordering::Relaxed)), (40_000, 100_000));
    assert_eq!(shelf.holds(file).unwrap(), Some(true));

    fs::remove_file(shelf.root().join(file.name())).unwrap();
    for spoiled in [vec![7_u8; 60_000], vec![7; 100_000], vec![7; 200_000]] {
        fs::write(shelf.incoming(file), spoiled).unwrap();
        fetch::complete(&world.remote(), &shelf, &manifest, &instruments, &|_| {}).await.unwrap();
        assert_eq!(fs::read(shelf.root().join(file.name())).unwrap(), bytes);
        fs::remove_file(shelf.root().join(file.name())).unwrap();
    }
}

#[tokio::test]
async fn damaged_files_are_told_dropped_and_fetched_again() {
    let world = World::new();
    let from = directory(1, 2);
    let (manifest, files) = world.publish(&from).await;
    let shelf = world.shelf();
    world.take(&manifest).await.unwrap();
    let file = shelf.root().join(files[0].0.name());
    let good = fs::read(&file).unwrap();
    let mut turned = good.clone();
    turned[1] ^= 0x80;
    for spoiled in [&turned[..], &good[..10], b""] {
        fs::write(&file, spoiled).unwrap();
        assert_eq!(world.take(&manifest).await.unwrap(), Fetched { files: 1, bytes: 100_000, damaged: 1 });
        assert_eq!(fs::read(&file).unwrap(), good);
    }
    // A place that is something else.
    fs::remove_file(&file).unwrap();
    fs::create_dir(&file).unwrap();
    assert_eq!(world.take(&manifest).await.unwrap().damaged, 1);
    assert_eq!(fs::read(&file).unwrap(), good);
}

#[tokio::test]
async fn a_catalogue_that_is_half_there_after_a_power_cut_is_replaced_by_one_that_is_whole() {
    let world = World::new();
    let root = world.own.path().join("models");
    let empty = world.shelf();
    assert!(empty.in_force().is_none());
    assert!(
        acuity_models::Catalogue::load(&root).unwrap().everything().next().is_none(),
        "a catalogue without models"
    );
    let (one, _) = world.publish(&directory(1, 1)).await;
    world.take(&one).await.unwrap();
    let (two, _) = world.publish(&directory(2, 1)).await;
    world.take(&two).await.unwrap();
    let catalogue = root.join("catalogue.toml");
    for spoiled in [&two.text().as_bytes()[..50], b"", b"\0\0\0\0"] {
        fs::write(&catalogue, spoiled).unwrap();
        assert_eq!(world.shelf().in_force().unwrap().digest(), two.digest());
    }
    // The one that is kept of the last is damaged too.
    fs::write(&catalogue, "").unwrap();
    fs::write(root.join(format!("catalogues/{}.toml", two.digest())), "").unwrap();
    assert_eq!(world.shelf().in_force().unwrap().digest(), one.digest());
}

#[tokio::test]
async fn what_no_kept_catalogue_names_goes_after_a_while() {
    let world = World::new();
    let mut taken = Vec::new();
    for seed in [1, 2, 3] {
        let (manifest, _) = world.publish(&directory(seed * 16, 1)).await;
        world.take(&manifest).await.unwrap();
        taken.push(manifest);
    }
    let shelf = world.shelf();
    let there = |manifest: &Manifest| shelf.root().join(manifest.files()[0].name()).exists();
    assert_eq!(shelf.sweep(Duration::from_secs(60)), 0, "nothing goes at once");
    fs::write(shelf.root().join("incoming/x.onnx"), "half").unwrap();
    assert_eq!(shelf.sweep(Duration::ZERO), 2, "the oldest catalogue's file, and what came to nothing");
    assert_eq!(taken.iter().map(there).collect::<Vec<_>>(), [false, true, true]);
    assert_eq!(shelf.documents().len(), 2);
    // Who goes back uses the older one again; what was between is kept instead.
    world.take(&taken[1]).await.unwrap();
    assert_eq!(shelf.sweep(Duration::ZERO), 0);
    assert!(there(&taken[1]) && there(&taken[2]));
}

#[test]
fn somebody_elses_directory_is_left_alone() {
    let foreign = directory(1, 1);
    let before = fs::read_dir(foreign.path()).unwrap().count();
    assert!(matches!(Shelf::open(foreign.path()), Err(ShelfFault::Foreign { .. })));
    assert_eq!(fs::read_dir(foreign.path()).unwrap().count(), before);
    let file = foreign.path().join("0.onnx");
    for (path, said) in [(file, "not a directory"), (foreign.path().join("a/b"), "directory above it")] {
        let told = Shelf::check(&path).unwrap_err().to_string();
        assert!(told.contains(said), "{told}");
        assert!(Shelf::open(&path).is_err());
    }
    assert!(Shelf::check(&foreign.path().join("new")).is_ok(), "it is made when it is needed");
}

#[test]
fn one_process_at_a_time_keeps_a_directory() {
    let world = World::new();
    let (one, other) = (world.shelf(), world.shelf());
    let hold = one.hold().unwrap().unwrap();
    assert!(other.hold().unwrap().is_none());
    drop(hold);
    assert!(other.hold().unwrap().is_some());
}

#[tokio::test]
async fn channels_are_moved_to_what_is_there_alone() {
    let world = World::new();
    let (one, _) = world.publish(&directory(1, 1)).await;
    let (two, _) = world.publish(&directory(2, 1)).await;
    assert!(promote(&world.remote(), "canary", one.digest()).await.unwrap());
    assert!(!promote(&world.remote(), "canary", one.digest()).await.unwrap(), "it names it already");
    assert!(promote(&world.remote(), "stable", one.digest()).await.unwrap(), "a way back");
    let nowhere = promote(&world.remote(), "stable", Sha256::of(b"")).await;
    assert!(matches!(nowhere, Err(PublishError::NoCatalogue(_))), "{nowhere:?}");
    assert_eq!(world.remote().channels().await.unwrap(), ["canary", "stable"]);
    let mut listed: Vec<_> =
        world.remote().catalogues().await.unwrap().into_iter().map(|listed| listed.digest).collect();
    listed.sort();
    let mut expected = vec![one.digest(), two.digest()];
    expected.sort();
    assert_eq!(listed, expected);
    let channel = world.store.path().join("models/v1/channels/stable");
    for text in ["", "abc", &"x".repeat(64), &"a".repeat(1000)] {
        fs::write(&channel, text).unwrap();
        let found = world.remote().channel("stable", None).await;
        assert!(matches!(found, Err(RemoteError::NotADigest)), "{text}: {found:?}");
        assert!(promote(&world.remote(), "stable", two.digest()).await.unwrap(), "and put right");
    }
}
