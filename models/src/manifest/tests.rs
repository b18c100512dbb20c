//! Documents that are what they should be, and those of somebody who means harm or was careless.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::fs;

use tempfile::TempDir;

use super::*;
use crate::{Clusters, DigestState, Poll, WatchEvent};

fn zoo() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo")
}

/// A directory as who takes a document lays it out.
fn laid_out(manifest: &Manifest, files: &[(StoredFile, PathBuf)]) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::create_dir(directory.path().join(FOLDER)).unwrap();
    for (file, path) in files {
        fs::copy(path, directory.path().join(file.name())).unwrap();
    }
    fs::write(directory.path().join("catalogue.toml"), manifest.text()).unwrap();
    directory
}

#[test]
fn what_ships_travels_and_arrives_as_it_was() {
    let (manifest, files) = Manifest::of_directory(&zoo()).unwrap();
    assert_eq!(Manifest::of_directory(&zoo()).unwrap().0, manifest, "the same directory, the same document");
    assert_eq!(manifest.digest(), Sha256::of(manifest.text().as_bytes()));
    assert_eq!(manifest.files().len(), files.len());
    let there = laid_out(&manifest, &files);
    let (was, is) = (Catalogue::load(zoo()).unwrap(), Catalogue::load(there.path()).unwrap());
    assert!(is.rejected().is_empty() && is.verify().iter().all(|(_, state)| *state == DigestState::Verified));
    let facts = |catalogue: &Catalogue| -> Vec<_> {
        let fact = |entry: &std::sync::Arc<crate::ModelEntry>| {
            (entry.id.clone(), entry.sha256, entry.measured.clone(), entry.record.is_some())
        };
        catalogue.everything().map(fact).collect()
    };
    assert_eq!(facts(&was), facts(&is));
    let digests =
        |catalogue: &Catalogue| catalogue.sets().iter().map(crate::ModelSet::digest).collect::<Vec<_>>();
    assert_eq!(digests(&was), digests(&is), "URLs name the same sets");
    assert_eq!(Clusters::load(there.path()).unwrap(), Clusters::load(zoo()).unwrap());
    // And from there to the next.
    assert_eq!(Manifest::of_directory(there.path()).unwrap().0, manifest);
}

#[test]
fn other_clusters_alone_are_a_change_that_a_watch_sees() {
    let (manifest, files) = Manifest::of_directory(&zoo()).unwrap();
    let there = laid_out(&manifest, &files);
    let now = std::sync::Arc::new(Catalogue::load(there.path()).unwrap());
    let mut poll = Poll::new(there.path(), now);
    assert!(poll.look().is_none() && poll.look().is_none(), "nothing has changed");
    let moved = tempfile::tempdir().unwrap();
    fs::create_dir(moved.path().join("zoo")).unwrap();
    for name in ["clusters.toml", "embedding.onnx"] {
        fs::copy(zoo().join(name), moved.path().join("zoo").join(name)).unwrap();
    }
    let clusters = moved.path().join("zoo/clusters.toml");
    fs::write(&clusters, fs::read_to_string(&clusters).unwrap() + "\n# one line more\n").unwrap();
    let old = manifest.files().iter().find(|file| file.ending == "toml").unwrap().clone();
    let text = fs::read(&clusters).unwrap();
    let new = StoredFile { sha256: Sha256::of(&text), bytes: text.len() as u64, ending: "toml".to_owned() };
    fs::write(there.path().join(new.name()), text).unwrap();
    let changed = manifest
        .text()
        .replace(&old.sha256.to_string(), &new.sha256.to_string())
        .replace(&format!("bytes = {}\n", old.bytes), &format!("bytes = {}\n", new.bytes));
    Manifest::parse(changed.as_bytes(), there.path(), u64::MAX).unwrap();
    fs::write(there.path().join("catalogue.toml"), changed).unwrap();
    let seen = (0..3).find_map(|_| poll.look());
    assert!(matches!(seen, Some(WatchEvent::Changed(_))), "{seen:?}");
}

/// A document of one model whose file is called so.
fn one(file: &str, extra: &str) -> String {
    let digest = "ab".repeat(32);
    format!(
        "format = 1\n[[model]]\nid = \"a\"\ncluster = \"generic\"\nscale = 2\ntier = \"s\"\nfile = \"{file}\"\nsha256 = \"{digest}\"\n\
         bytes = 1000\nparameters = 1\ncontract = 1\nlicence = \"Apache-2.0\"\ntraining_data = \"\"\n{extra}"
    )
}

fn fault(text: &str) -> ManifestFault {
    Manifest::parse(text.as_bytes(), Path::new("/d"), 1 << 20).unwrap_err()
}

#[test]
fn a_document_that_is_wrong_anywhere_is_refused_as_a_whole() {
    let digest = "ab".repeat(32);
    let good_name = format!("sha256/{digest}.onnx");
    let good = one(&good_name, "");
    let manifest = Manifest::parse(good.as_bytes(), Path::new("/d"), 1000).unwrap();
    assert_eq!((manifest.files().len(), manifest.total_bytes()), (1, 1000));
    assert_eq!(manifest.catalogue().entries()[0].file, Path::new("/d").join(&good_name));
    // Names that lead elsewhere, or that are merely others.
    for name in [
        "../../etc/passwd",
        "/etc/passwd",
        "sha256/../catalogue.toml",
        "catalogue.toml",
        "",
        &format!("sha256/{digest}"),
        &format!("sha256/{digest}.onnx/x"),
        &format!("./sha256/{digest}.onnx"),
        &format!("sha256//{digest}.onnx"),
        &format!("sha256/{}.onnx", "cd".repeat(32)),
        &format!("sha256/{}.onnx", digest.to_uppercase()),
        &format!("sha256\\\\{digest}.onnx"),
    ] {
        assert_eq!(fault(&one(name, "")).label(), "name", "{name}");
    }
    let record = |name: &str| {
        one(&good_name, &format!("record = \"{name}\"\nrecord_sha256 = \"{digest}\"\nrecord_bytes = 10\n"))
    };
    assert!(
        Manifest::parse(record(&format!("sha256/{digest}.md")).as_bytes(), Path::new("/d"), 1 << 20).is_ok()
    );
    for name in [&format!("sha256/{digest}.../x"), "../r.md", &format!("sha256/{digest}.MD")] {
        assert_eq!(fault(&record(name)).label(), "name", "{name}");
    }
    let clusters = |name: &str| {
        format!(
            "{good}[clusters]\nfile = \"{name}\"\nsha256 = \"{digest}\"\nbytes = 5\n[clusters.embedding]\nfile = \"{good_name}\"\n\
             sha256 = \"{digest}\"\nbytes = 1000\n"
        )
    };
    assert!(
        Manifest::parse(clusters(&format!("sha256/{digest}.toml")).as_bytes(), Path::new("/d"), 1 << 20)
            .is_ok()
    );
    assert_eq!(fault(&clusters("../clusters.toml")).label(), "name");
    for (text, label) in [
        (String::new(), "empty"),
        ("format = 1\nmodel = []\n".to_owned(), "empty"),
        ("not toml".to_owned(), "malformed"),
        ("format = 1\nmodel = 3\n".to_owned(), "malformed"),
        (good.replace("format = 1", "format = 2"), "malformed"),
        (good.replace("format = 1\n", ""), "malformed"),
        (good.replace("bytes = 1000\n", ""), "malformed"),
        (good.replace("bytes = 1000", "bytes = -1"), "malformed"),
        (good.replace("bytes = 1000", "bytes = 0"), "malformed"),
        (good.replace("bytes = 1000", "bytes = 9223372036854775807"), "too_large"),
        (good.replace("bytes = 1000", "bytes = 2000000"), "too_large"),
        (good.replace(&digest, "abcd"), "malformed"),
        (good.replace("tier = \"s\"", "tier = \"colossal\""), "malformed"),
        (good.replace("scale = 2", "scale = 99"), "malformed"),
        (one(&good_name, "record = \"sha256/x.md\"\n"), "malformed"),
        (
            one(
                &good_name,
                &format!("[model.int8]\nfile = \"{good_name}\"\nsha256 = \"{digest}\"\nbytes = 9\n"),
            ),
            "malformed",
        ),
        (
            one(&good_name, &format!("[model.int8]\nfile = \"../x\"\nsha256 = \"{digest}\"\nbytes = 9\n")),
            "name",
        ),
        // Twice the same place.
        (format!("{good}{}", good.replace("format = 1\n", "")), "malformed"),
    ] {
        assert_eq!(fault(&text).label(), label, "{text}: {}", fault(&text));
    }
    let large = vec![b'#'; 5 << 20];
    assert_eq!(Manifest::parse(&large, Path::new(""), 1).unwrap_err().label(), "too_large");
    assert_eq!(Manifest::parse(b"\xff\xfe", Path::new(""), 1).unwrap_err().label(), "malformed");
    let deep = format!("x = {}{}", "[".repeat(100_000), "]".repeat(100_000));
    assert_eq!(fault(&deep).label(), "malformed", "no stack is spent on it");
}

#[test]
fn every_cut_and_every_turned_bit_is_refused_or_is_another_document() {
    let good = one(&format!("sha256/{}.onnx", "ab".repeat(32)), "");
    let manifest = Manifest::parse(good.as_bytes(), Path::new("/d"), 1 << 20).unwrap();
    for end in 0..good.len() {
        if let Ok(cut) = Manifest::parse(&good.as_bytes()[..end], Path::new("/d"), 1 << 20) {
            assert_ne!(cut.digest(), manifest.digest());
        }
    }
    for at in 0..good.len() {
        let mut turned = good.clone().into_bytes();
        turned[at] ^= 1 << (at % 8);
        if let Ok(other) = Manifest::parse(&turned, Path::new("/d"), 1 << 20) {
            assert_ne!(other.digest(), manifest.digest());
            assert!(
                other
                    .files()
                    .iter()
                    .all(|file| file.name().starts_with("sha256/") && !file.name().contains(".."))
            );
        }
    }
}

#[test]
fn what_is_wrong_in_a_directory_is_not_published() {
    let (manifest, files) = Manifest::of_directory(&zoo()).unwrap();
    let there = laid_out(&manifest, &files);
    let model = there.path().join(files.iter().find(|(file, _)| file.ending == "onnx").unwrap().0.name());
    let bytes = fs::read(&model).unwrap();
    fs::write(&model, &bytes[..100]).unwrap();
    let told = Manifest::of_directory(there.path()).unwrap_err().to_string();
    assert!(told.contains("SHA-256") || told.contains("mismatch"), "{told}");
    fs::write(&model, &bytes).unwrap();
    let catalogue = there.path().join("catalogue.toml");
    fs::write(&catalogue, manifest.text().replacen("scale = 2", "scale = 9", 1)).unwrap();
    assert!(matches!(Manifest::of_directory(there.path()), Err(PackError::Entry(_))));
    fs::write(&catalogue, "# nothing\n").unwrap();
    let empty = Manifest::of_directory(there.path()).unwrap_err();
    assert!(matches!(empty, PackError::Manifest(ManifestFault::Empty)), "{empty}");
}
