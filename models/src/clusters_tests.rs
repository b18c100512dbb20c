//! `clusters.toml` as the edge meets it: whole, damaged, and with vectors near and far.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;

use tempfile::TempDir;

use super::*;

const NETWORK: &[u8] = b"a network";

fn text() -> String {
    format!(
        r#"
version = 1
[embedding]
file = "embedding.onnx"
sha256 = "{}"
dimensions = 2
[[cluster]]
name = "game"
radii = [2.0, 2.0]
centroids = [[0.0, 0.0], [10.0, 0.0]]
[[cluster]]
name = "film"
radii = [6.0]
centroids = [[0.0, 10.0]]
[unlike]
centroids = [[0.0, 4.5]]
"#,
        Sha256::of(NETWORK)
    )
}

fn directory(text: &str) -> TempDir {
    let directory = tempfile::tempdir().unwrap();
    fs::write(directory.path().join("clusters.toml"), text).unwrap();
    fs::write(directory.path().join("embedding.onnx"), NETWORK).unwrap();
    directory
}

fn load(text: &str) -> Result<Clusters, ClustersError> {
    Clusters::load(directory(text).path())
}

#[test]
fn a_vector_goes_to_what_is_near_and_else_nowhere() {
    let clusters = load(&text()).unwrap();
    assert_eq!((clusters.embedding(), clusters.dimensions()), (NETWORK, 2));
    assert_eq!(clusters.names().collect::<Vec<_>>(), ["game", "film"]);
    for (vector, expected) in [
        ([0.5, 0.0], Some(("game", 0.5))),
        ([10.0, -2.0], Some(("game", 2.0))), // a second centroid; the radius itself is inside
        ([10.0, -2.1], None),
        ([0.0, 8.0], Some(("film", 2.0))),
        ([0.0, 6.0], None), // within the film's radius, nearer to what is unlike
        ([500.0, 0.0], None),
        ([f32::NAN, 0.0], None),
        ([f32::INFINITY, 0.0], None),
    ] {
        let found = clusters.assign(&vector);
        let found = found.as_ref().map(|found| (found.cluster.as_str(), found.distance));
        assert_eq!(found, expected, "{vector:?}");
    }
    assert_eq!(clusters.assign(&[0.0]), None, "another length");
    assert_eq!(clusters.assign(&[0.0, 0.0, 0.0]), None, "another length");
    let nearest = clusters.nearest(&[0.0, 6.0]).unwrap();
    assert_eq!((nearest.cluster.as_str(), nearest.distance, nearest.radius), ("film", 4.0, 6.0));
    assert!(nearest.unlike);
}

#[test]
fn the_nearest_centroid_decides_not_the_widest_radius() {
    // Well within film's radius, and nearer to a centroid of game's that is out of reach of it: no cluster's.
    let near = text().replace("[[0.0, 10.0]]", "[[0.0, 5.0]]").replace("[[0.0, 4.5]]", "[]");
    let clusters = load(&near).unwrap();
    assert_eq!(clusters.assign(&[0.0, 2.4]), None);
    assert_eq!(clusters.assign(&[0.0, 2.6]).unwrap().cluster, "film");
}

#[test]
fn no_clusters_assign_nothing() {
    let text = text();
    let until = text.find("[[cluster]]").unwrap();
    assert_eq!(load(&text[..until]).unwrap().assign(&[0.0, 0.0]), None);
}

#[test]
fn what_is_wrong_is_said() {
    let long = format!("\"{}\"", "a".repeat(33));
    for (from, to, expected) in [
        ("version = 1", "version = 2", "version 2 is unknown"),
        ("version = 1\n", "", "cannot be understood"),
        ("dimensions = 2", "dimensions = 0", "not within 1 and"),
        ("dimensions = 2", "dimensions = 3", "not 3 finite numbers"),
        ("dimensions = 2", "dimensions = 100000", "not within 1 and"),
        ("embedding.onnx", "../embedding.onnx", "relative path below"),
        ("embedding.onnx", "/embedding.onnx", "relative path below"),
        ("embedding.onnx", "", "relative path below"),
        ("embedding.onnx", "gone.onnx", "there is no"),
        ("sha256 = \"", "sha256 = \"0", "64 hexadecimal digits"),
        ("\"film\"", "\"Film\"", "[a-z0-9_]"),
        ("\"film\"", "\"\"", "[a-z0-9_]"),
        ("\"film\"", long.as_str(), "1 to 32 bytes"),
        ("\"film\"", "\"game\"", "is there twice"),
        ("[6.0]", "[0.0]", "not a positive number"),
        ("[6.0]", "[-1.0]", "not a positive number"),
        ("[6.0]", "[nan]", "not a positive number"),
        ("[6.0]", "[inf]", "not a positive number"),
        ("[6.0]", "[6.0, 6.0]", "1 centroids and 2 radii"),
        ("[[0.0, 10.0]]", "[]", "0 centroids and 1 radii"),
        ("[[0.0, 10.0]]", "[[0.0, nan]]", "not 2 finite numbers"),
        ("[[0.0, 10.0]]", "[[0.0]]", "not 2 finite numbers"),
        ("[[0.0, 4.5]]", "[[0.0]]", "\"unlike\" has a centroid"),
    ] {
        assert!(text().contains(from), "{from}");
        let error = load(&text().replacen(from, to, 1)).unwrap_err().to_string();
        assert!(error.contains(expected), "{to}: {error} lacks {expected}");
    }
}

#[test]
fn another_network_than_the_one_measured_with_is_refused() {
    let directory = directory(&text());
    fs::write(directory.path().join("embedding.onnx"), b"another").unwrap();
    let error = Clusters::load(directory.path()).unwrap_err();
    assert!(matches!(&error, ClustersError::Mismatch { found, .. } if *found == Sha256::of(b"another")));
    assert!(error.to_string().contains(&Sha256::of(NETWORK).to_string()), "{error}");
}

#[test]
fn files_that_are_none_or_too_large() {
    let directory = directory(&text());
    let path = directory.path().join("clusters.toml");
    fs::remove_file(&path).unwrap();
    assert!(matches!(Clusters::load(directory.path()), Err(ClustersError::Missing { .. })));
    fs::create_dir(&path).unwrap();
    assert!(matches!(Clusters::load(directory.path()), Err(ClustersError::Unreadable { .. })));
    fs::remove_dir(&path).unwrap();
    fs::write(&path, [0xff, 0xfe]).unwrap();
    assert!(matches!(Clusters::load(directory.path()), Err(ClustersError::Unreadable { .. })));
    // Sparse: it takes no room on the disk.
    fs::File::create(&path).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(Clusters::load(directory.path()), Err(ClustersError::TooLarge { .. })));
    fs::write(&path, text()).unwrap();
    fs::File::create(directory.path().join("embedding.onnx")).unwrap().set_len(1 << 40).unwrap();
    assert!(matches!(Clusters::load(directory.path()), Err(ClustersError::TooLarge { .. })));
}

#[test]
fn the_clusters_that_ship_are_whole() {
    let zoo = Path::new(env!("CARGO_MANIFEST_DIR")).join("zoo");
    let clusters = Clusters::load(&zoo).unwrap();
    let names: Vec<&str> = clusters.names().collect();
    for name in ["freedoom", "openttd", "bbb"] {
        assert!(names.contains(&name), "{names:?}");
    }
    for cluster in &clusters.clusters {
        let own = clusters.assign(&cluster.centroids[0].at).unwrap();
        assert_eq!((own.cluster.as_str(), own.distance), (cluster.name.as_str(), 0.0));
    }
    assert_eq!(clusters.assign(&vec![1e6; clusters.dimensions()]), None);
}
