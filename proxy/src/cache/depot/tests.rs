//! The depot in real directories; a store and whole restarts are in the scenarios.

#![allow(clippy::unwrap_used, clippy::panic)]

use std::fs;
use std::path::Path;
use std::sync::atomic::AtomicBool;

use acuity_config::Config;
use bytes::Bytes;

use super::*;
use crate::cache::purge::Named;
use crate::cache::store::{NewObject, TRANSPORT_STREAM};
use crate::metrics::Kind;
use crate::origin::Validator;

const LENGTH: usize = 300_000;

fn key(number: usize) -> ObjectKey {
    ObjectKey::new("", "http://o/", "t", &format!("/{number}.ts"))
}

fn object(number: usize) -> Arc<Object> {
    Arc::new(Object::new(NewObject {
        bytes: Bytes::from(vec![number as u8; LENGTH]),
        named: Named { site: "".into(), path_and_query: "/a/1.ts".into(), clusters: Vec::new() },
        content_type: TRANSPORT_STREAM,
        kind: Kind::Segment,
        validator: Validator::default(),
        made_by: "plain".into(),
        fresh_for: Duration::from_secs(3600),
        improve_after: None,
        seconds: 0.5,
        private: false,
    }))
}

/// A depot in `folder`, of a process that has just started.
fn start_with(folder: &Path, max_bytes: u64, settings: &str) -> (Depot, Registry) {
    let (depot, registry) = open(folder, max_bytes, settings);
    depot.start();
    (depot, registry)
}

/// The same before its tasks run.
fn open(folder: &Path, max_bytes: u64, settings: &str) -> (Depot, Registry) {
    let registry = Registry::new();
    let mut config = Config::for_origin("http://o.example").unwrap().cache;
    config.depot = Some(DepotConfig {
        place: DepotPlace::Disk { path: folder.to_owned(), max_bytes },
        max_age: Duration::from_secs(3600),
        read_timeout: Duration::from_secs(5),
    });
    let depot = Depot::new(&config, [settings.as_bytes()], &registry).unwrap();
    (depot, registry)
}

fn start(folder: &Path) -> (Depot, Registry) {
    start_with(folder, 64 << 20, "")
}

fn value(registry: &Registry, series: &str) -> f64 {
    let text = prometheus::TextEncoder::new().encode_to_string(&registry.gather()).unwrap();
    let line = text.lines().find(|line| line.strip_prefix(series).is_some_and(|rest| rest.starts_with(' ')));
    line.unwrap_or_else(|| panic!("{series} is not in\n{text}")).rsplit(' ').next().unwrap().parse().unwrap()
}

/// Waits until a series is at least this.
async fn until(registry: &Registry, series: &str, least: f64) {
    for _ in 0..1000 {
        if value(registry, series) >= least {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{series} stays at {}", value(registry, series));
}

const STORED: &str = "acuity_depot_writes_total{outcome=\"stored\"}";

fn read(outcome: &str) -> String {
    format!("acuity_depot_reads_total{{outcome=\"{outcome}\"}}")
}

async fn is_found(depot: &Depot, number: usize) -> bool {
    matches!(depot.get(&key(number)).await, Lookup::Found(found) if found.bytes == object(number).bytes)
}

fn files(folder: &Path) -> Vec<PathBuf> {
    let inside =
        |folder: PathBuf| fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = inside(folder.to_owned()).flat_map(inside).flat_map(inside).collect();
    files.sort();
    files
}

#[tokio::test]
async fn objects_outlive_the_process_and_settings_keep_apart() {
    let folder = tempfile::tempdir().unwrap();
    let (depot, registry) = start(folder.path());
    assert!(!is_found(&depot, 1).await);
    depot.put(&key(1), &object(1), false);
    until(&registry, STORED, 1.0).await;
    assert!(is_found(&depot, 1).await && !is_found(&depot, 2).await);
    depot.put(&key(1), &object(1), false);
    until(&registry, "acuity_depot_writes_total{outcome=\"present\"}", 1.0).await;
    assert_eq!(value(&registry, &read("miss")), 2.0);

    let (other, _) = start_with(folder.path(), 64 << 20, "another encoder");
    assert!(!is_found(&other, 1).await);
    let (again, registry) = start(folder.path());
    assert!(is_found(&again, 1).await);
    until(&registry, "acuity_depot_objects", 1.0).await;
    assert_eq!(value(&registry, "acuity_depot_bytes") as usize, (LENGTH + 1000).next_multiple_of(4096));
    again.remove(&key(1));
    until(&registry, "acuity_depot_queued_bytes", 0.0).await;
    for _ in 0..500 {
        if files(folder.path()).is_empty() {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not removed: {:?}", files(folder.path()));
}

#[tokio::test]
async fn what_is_damaged_is_removed_and_can_be_written_again() {
    let folder = tempfile::tempdir().unwrap();
    let (depot, registry) = start(folder.path());
    for number in 1..=3 {
        depot.put(&key(number), &object(number), false);
    }
    until(&registry, STORED, 3.0).await;
    let file = |number: usize| {
        let hex = key(number).hex();
        files(folder.path()).into_iter().find(|file| file.to_string_lossy().ends_with(&hex[2..])).unwrap()
    };
    fs::File::options().write(true).open(file(1)).unwrap().set_len(200_000).unwrap();
    let mut bytes = fs::read(file(2)).unwrap();
    bytes[250_000] ^= 1;
    fs::write(file(2), bytes).unwrap();
    fs::copy(file(2), file(3)).unwrap();
    for (number, outcome) in [(1, "truncated"), (2, "damaged"), (3, "foreign")] {
        assert!(matches!(depot.get(&key(number)).await, Lookup::Unusable), "{outcome}");
        assert_eq!(value(&registry, &read(outcome)), 1.0, "{outcome}");
        depot.put(&key(number), &object(number), true);
    }
    until(&registry, STORED, 6.0).await;
    for number in 1..=3 {
        assert!(is_found(&depot, number).await, "{number}");
    }
}

#[tokio::test]
async fn a_directory_keeps_its_limit_and_what_is_used() {
    let folder = tempfile::tempdir().unwrap();
    let (depot, registry) = start_with(folder.path(), 2 << 20, "");
    // Six fit.
    for number in 1..=6 {
        depot.put(&key(number), &object(number), false);
        until(&registry, STORED, number as f64).await;
    }
    // Uses are noted to the second.
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert!(is_found(&depot, 1).await && is_found(&depot, 2).await);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    for number in 7..=10 {
        depot.put(&key(number), &object(number), false);
        until(&registry, STORED, number as f64).await;
        let on_disk: u64 = files(folder.path()).iter().map(|file| fs::metadata(file).unwrap().len()).sum();
        assert!(on_disk <= 2 << 20, "{on_disk} bytes after {number}");
    }
    let mut kept = Vec::new();
    for number in 1..=10 {
        if is_found(&depot, number).await {
            kept.push(number);
        }
    }
    assert_eq!(kept, [1, 2, 7, 8, 9, 10]);
    assert_eq!(value(&registry, "acuity_depot_evictions_total{reason=\"size\"}"), 4.0);

    // A smaller limit holds for what was there before.
    let (_depot, registry) = start_with(folder.path(), 1 << 20, "other settings");
    until(&registry, "acuity_depot_evictions_total{reason=\"size\"}", 3.0).await;
    assert!(files(folder.path()).len() <= 3);
}

#[tokio::test]
async fn what_is_too_old_goes_and_what_is_too_large_makes_nothing_go() {
    let folder = tempfile::tempdir().unwrap();
    let (depot, registry) = start_with(folder.path(), 1 << 20, "");
    for number in 1..=3 {
        depot.put(&key(number), &object(number), false);
    }
    until(&registry, STORED, 3.0).await;
    let giant = Object::new(NewObject {
        named: Named { site: "".into(), path_and_query: "/a/1.ts".into(), clusters: Vec::new() },
        bytes: Bytes::from(vec![0; 2 << 20]),
        content_type: TRANSPORT_STREAM,
        kind: Kind::Segment,
        validator: Validator::default(),
        made_by: "plain".into(),
        fresh_for: Duration::from_secs(3600),
        improve_after: None,
        seconds: 0.5,
        private: false,
    });
    depot.put(&key(9), &Arc::new(giant), false);
    until(&registry, "acuity_depot_write_drops_total{reason=\"too_large\"}", 1.0).await;
    assert_eq!(files(folder.path()).len(), 3);
    let old = fs::FileTimes::new().set_modified(SystemTime::now() - Duration::from_secs(4000));
    fs::File::open(&files(folder.path())[0]).unwrap().set_times(old).unwrap();
    let (_depot, registry) = start_with(folder.path(), 1 << 20, "");
    until(&registry, "acuity_depot_evictions_total{reason=\"age\"}", 1.0).await;
    assert_eq!(files(folder.path()).len(), 2);
}

/// A machine's own certificates are needed, and no server.
#[test]
fn a_store_over_tls_can_be_set_up() {
    use std::os::unix::fs::PermissionsExt as _;
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("key");
    fs::write(&file, "key").unwrap();
    fs::set_permissions(&file, fs::Permissions::from_mode(0o600)).unwrap();
    let mut config = Config::for_origin("http://o.example").unwrap().cache;
    for endpoint in [Some("https://minio.example/".parse().unwrap()), None] {
        let place = DepotPlace::Store(acuity_config::StoreConfig {
            bucket: "segments".to_owned(),
            endpoint,
            region: "eu-central-1".to_owned(),
            prefix: "acuity".to_owned(),
            access_key_file: file.clone(),
            secret_key_file: file.clone(),
        });
        let second = Duration::from_secs(1);
        config.depot = Some(DepotConfig { place, max_age: second, read_timeout: second });
        assert!(Depot::new(&config, [], &Registry::new()).is_ok());
    }
}

#[tokio::test]
async fn a_place_that_is_gone_is_left_alone_and_found_again() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("disk");
    let (depot, registry) = start(&root);
    for _ in 0..3 {
        assert!(!is_found(&depot, 1).await);
        depot.put(&key(1), &object(1), false);
    }
    assert_eq!(value(&registry, &read("failed")), 3.0);
    assert_eq!(value(&registry, "acuity_depot_paused{what=\"reads\"}"), 1.0);
    assert!(!is_found(&depot, 1).await);
    assert_eq!(value(&registry, &read("paused")), 1.0);
    until(&registry, "acuity_depot_writes_total{outcome=\"failed\"}", 3.0).await;
    depot.put(&key(1), &object(1), false);
    assert_eq!(value(&registry, "acuity_depot_write_drops_total{reason=\"paused\"}"), 1.0);
    assert!(!root.exists(), "a missing directory may be a disk that is not mounted");
    fs::create_dir(&root).unwrap();
    tokio::time::sleep(Duration::from_millis(1100)).await;
    depot.put(&key(1), &object(1), false);
    until(&registry, STORED, 1.0).await;
    assert!(is_found(&depot, 1).await);
    assert_eq!(value(&registry, "acuity_depot_paused{what=\"reads\"}"), 0.0);
}

#[tokio::test]
async fn more_than_the_queue_takes_is_dropped_and_counted() {
    let folder = tempfile::tempdir().unwrap();
    let registry = Registry::new();
    let mut config = Config::for_origin("http://o.example").unwrap().cache;
    config.depot = Some(DepotConfig {
        place: DepotPlace::Disk { path: folder.path().to_owned(), max_bytes: 1 << 30 },
        max_age: Duration::from_secs(3600),
        read_timeout: Duration::from_secs(5),
    });
    // Nobody serves the queue yet: as if the disk hung.
    let depot = Depot::new(&config, [], &registry).unwrap();
    let fits = QUEUE_LIMIT_BYTES / LENGTH;
    for number in 0..fits + 10 {
        depot.put(&key(number), &object(number), false);
    }
    assert_eq!(value(&registry, "acuity_depot_write_drops_total{reason=\"queue_full\"}"), 10.0);
    assert_eq!(value(&registry, "acuity_depot_queued_bytes") as usize, fits * LENGTH);
    depot.start();
    until(&registry, STORED, fits as f64).await;
    assert_eq!(value(&registry, "acuity_depot_queued_bytes"), 0.0);
}

#[tokio::test]
async fn what_is_purged_stays_so_across_restarts_and_can_be_made_anew() {
    use crate::cache::purge::Purge;
    let folder = tempfile::tempdir().unwrap();
    let (depot, registry) = start(folder.path());
    let old = object(1);
    depot.put(&key(1), &old, false);
    until(&registry, STORED, 1.0).await;
    let order = |path: &str| Order { site: None, purge: Purge::Prefix(path.to_owned()) };
    assert_eq!(depot.forget(&order("/b")).await, Some(true));
    assert!(is_found(&depot, 1).await);
    assert_eq!(depot.forget(&order("/a")).await, Some(true));
    // What waited to be written, or was handed on by somebody slow, is from before.
    depot.put(&key(2), &old, false);
    until(&registry, "acuity_depot_write_drops_total{reason=\"purged\"}", 1.0).await;
    let (again, registry) = start(folder.path());
    assert!(matches!(again.get(&key(1)).await, Lookup::Unusable));
    assert_eq!(value(&registry, &read("purged")), 1.0);
    again.put(&key(1), &object(1), true);
    until(&registry, STORED, 1.0).await;
    assert!(is_found(&again, 1).await);
    let (third, _) = start(folder.path());
    assert!(is_found(&third, 1).await);

    // A record that nobody can read means everything until its time.
    let records =
        || fs::read_dir(folder.path().join("v1-purges")).unwrap().map(|entry| entry.unwrap().path());
    assert_eq!(records().count(), 2);
    let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    fs::write(folder.path().join(format!("v1-purges/{now:016}-0123456789abcdef")), "{").unwrap();
    let (fourth, registry) = start(folder.path());
    assert!(matches!(fourth.get(&key(1)).await, Lookup::Unusable));
    // It stands for the others.
    for _ in 0..1000 {
        if records().count() == 1 {
            assert_eq!(value(&registry, "acuity_depot_unwritten_purges"), 0.0);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{:?}", records().collect::<Vec<_>>());
}

#[tokio::test]
async fn purges_are_known_while_others_tidy_them_up() {
    let folder = tempfile::tempdir().unwrap();
    let (depot, registry) = start(folder.path());
    depot.put(&key(1), &object(1), false);
    until(&registry, STORED, 1.0).await;
    let records = folder.path().join("v1-purges");
    fs::create_dir(&records).unwrap();
    let now = SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis();
    let record = move |number: u128| records.join(format!("{:016}-0123456789abcdef", now + number));
    fs::write(record(0), "{").unwrap();
    // Each is written before the one that it covers goes, and what was listed a moment ago may be gone when it is read.
    let is_over = Arc::new(AtomicBool::new(false));
    let ends = Arc::clone(&is_over);
    let others = std::thread::spawn(move || {
        for number in (1..).take_while(|_| !ends.load(Ordering::Relaxed)) {
            fs::write(record(number), "{").unwrap();
            fs::remove_file(record(number - 1)).unwrap();
            std::thread::sleep(Duration::from_millis(5));
        }
    });
    for _ in 0..200 {
        let (depot, _) = open(folder.path(), 64 << 20, "");
        let found = depot.get(&key(1)).await;
        assert!(matches!(found, Lookup::Unusable), "{found:?}");
    }
    is_over.store(true, Ordering::Relaxed);
    others.join().unwrap();
}

#[tokio::test]
async fn a_purge_that_cannot_be_written_says_so_and_is_written_later() {
    let folder = tempfile::tempdir().unwrap();
    let root = folder.path().join("disk");
    let (depot, registry) = start(&root);
    let all = Order { site: None, purge: crate::cache::purge::Purge::All };
    assert_eq!(depot.forget(&all).await, Some(false));
    assert_eq!(value(&registry, "acuity_depot_unwritten_purges"), 1.0);
    fs::create_dir(&root).unwrap();
    for _ in 0..1000 {
        if value(&registry, "acuity_depot_unwritten_purges") == 0.0 {
            assert_eq!(fs::read_dir(root.join("v1-purges")).unwrap().count(), 1);
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("not written");
}
