//! `[cache.disk]` and `[cache.store]`: where enhanced segments are kept beyond memory and beyond a restart. One of the two, or neither.

use std::path::PathBuf;
use std::time::Duration;

use crate::bucket::{StoreConfig, bucket, prefix};
use crate::reader::Section;

/// A second cache below the one in memory.
#[derive(Clone, Debug, PartialEq)]
pub struct DepotConfig {
    /// Where it is.
    pub place: DepotPlace,
    /// How long an object is given out of it, from when it was made (1 min to 8760 h).
    pub max_age: Duration,
    /// How long a request waits for it before the object is made here (10 ms to 5 s).
    pub read_timeout: Duration,
}

/// Where objects lie.
#[derive(Clone, Debug, PartialEq)]
pub enum DepotPlace {
    /// In a directory of this machine.
    Disk {
        /// The directory; it must be there.
        path: PathBuf,
        /// Bytes of disk that it may take (1 MiB to 1 PiB).
        max_bytes: u64,
    },
    /// In a bucket, which several nodes may share.
    Store(StoreConfig),
}

/// A year: no catalogue is watched so seldom and still worth a disk.
const MAX_AGE_MOST: Duration = Duration::from_secs(8760 * 3600);

impl DepotConfig {
    /// `cache`: the section that both stand below.
    pub(crate) fn read(cache: &Section<'_>) -> Option<Self> {
        // Both are read in any case, so that all faults are told.
        let disk = cache.optional_child("disk").map(Self::disk);
        let store = cache.optional_child("store").map(Self::store);
        if disk.is_some() && store.is_some() {
            cache.fault(
                "store",
                "cannot stand beside [cache.disk]: segments are kept in one place below memory",
                Some("remove one of the two"),
            );
        }
        disk.or(store).flatten()
    }

    fn disk(section: Section<'_>) -> Option<Self> {
        let path = section.path("path");
        if !section.has("path") {
            section.missing("path", "a directory that is there, as path = \"/var/cache/acuity\"");
        }
        // An hour of eight streams at 2.8 Mbit/s; no disk worth the name is too small for it.
        let max_bytes = section.size("max_bytes", 10 << 30, 1 << 20..=1 << 50);
        let max_age = max_age(&section);
        // A disk that takes longer for a segment is busy with something else.
        let read_timeout = read_timeout(&section, Duration::from_millis(200));
        section.finish();
        Some(Self { place: DepotPlace::Disk { path: path?, max_bytes }, max_age, read_timeout })
    }

    fn store(section: Section<'_>) -> Option<Self> {
        let bucket = section.parsed("bucket", bucket);
        if !section.has("bucket") {
            section.missing("bucket", "the bucket's name");
        }
        let prefix = section.parsed("prefix", prefix).unwrap_or_else(|| "acuity".to_owned());
        let store = StoreConfig::read(&section, bucket, prefix);
        let max_age = max_age(&section);
        // Twice what a store in the region takes for a megabyte; making a segment takes about a second.
        let read_timeout = read_timeout(&section, Duration::from_millis(400));
        section.finish();
        Some(Self { place: DepotPlace::Store(store?), max_age, read_timeout })
    }
}

/// A week: what is watched at all is watched again by then.
fn max_age(section: &Section<'_>) -> Duration {
    section.duration("max_age", Duration::from_secs(7 * 24 * 3600), Duration::from_secs(60)..=MAX_AGE_MOST)
}

fn read_timeout(section: &Section<'_>, default: Duration) -> Duration {
    section.duration("read_timeout", default, Duration::from_millis(10)..=Duration::from_secs(5))
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::tests::one_fault;

    const ROUTE: &str = "[[route]]\norigin = \"https://o.example\"\n";
    const KEYS: &str = "access_key_file = \"a\"\nsecret_key_file = \"s\"\n";

    fn depot(text: &str) -> Option<DepotConfig> {
        crate::parse(&format!("{ROUTE}{text}")).unwrap().cache.depot
    }

    #[test]
    fn a_path_or_a_bucket_is_enough() {
        assert_eq!(depot(""), None);
        let disk = depot("[cache.disk]\npath = \"/var/cache/acuity\"").unwrap();
        let DepotPlace::Disk { path, max_bytes } = disk.place else { panic!("{disk:?}") };
        assert_eq!((path, max_bytes), (PathBuf::from("/var/cache/acuity"), 10 << 30));
        assert_eq!((disk.max_age.as_secs(), disk.read_timeout.as_millis()), (604_800, 200));
        let store = depot(&format!("[cache.store]\nbucket = \"edge-1\"\n{KEYS}")).unwrap();
        let DepotPlace::Store(store) = store.place else { panic!("{store:?}") };
        assert_eq!(
            (store.region.as_str(), store.prefix.as_str(), store.endpoint),
            ("us-east-1", "acuity", None)
        );
    }

    #[test]
    fn faults() {
        let disk = "[cache.disk]\npath = \"/x\"\n";
        let store = format!("[cache.store]\nbucket = \"edge\"\n{KEYS}");
        for (text, expected) in [
            (format!("{disk}{store}"), "cache.store: cannot stand beside [cache.disk]"),
            ("[cache.disk]".to_owned(), "cache.disk.path: is missing"),
            ("[cache.disk]\npath = \"\"".to_owned(), "must name a file or directory"),
            (format!("{disk}max_bytes = \"1KiB\""), "is not between 1MiB and 1024TiB"),
            (format!("{disk}max_age = \"1s\""), "1s is not between 1m and 8760h"),
            (format!("{disk}read_timeout = \"1m\""), "1m is not between 10ms and 5s"),
            (format!("{disk}bucket = \"edge\""), "bucket: is not a known key"),
            (format!("[cache.store]\n{KEYS}"), "cache.store.bucket: is missing"),
            (
                "[cache.store]\nbucket = \"abc\"\naccess_key_file = \"a\"".to_owned(),
                "secret_key_file: is missing",
            ),
            (format!("{store}secret_key = \"x\""), "secret_key: is not a known key"),
            (format!("{store}endpoint = \"minio:9000\""), "is not an http or https URL"),
            (format!("{store}endpoint = \"http://a:b@minio\""), "holds a user or password"),
            (format!("{store}region = \"eu central\""), "is not a region"),
            (format!("{store}prefix = \"a/../b\""), "\"a/../b\" is not a prefix"),
            (format!("{store}prefix = \"/a\""), "is not a prefix"),
        ] {
            one_fault(&text, expected);
        }
        for bucket in ["ab", "Edge", "-edge", "edge.", "a..b", "a/b", "a_b"] {
            one_fault(&format!("[cache.store]\nbucket = \"{bucket}\"\n{KEYS}"), "is not a bucket's name");
        }
    }
}
