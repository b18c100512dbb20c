//! `[models.store]`: a store that many edges take their models from, and which of its catalogues this one takes.

use std::path::PathBuf;
use std::time::Duration;

use crate::bucket::{self, StoreConfig};
use crate::reader::{Refusal, Section};
use crate::words::quoted;

/// A store of models.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ModelStoreConfig {
    /// Where it is.
    pub place: ModelStorePlace,
    /// Which of its catalogues is used.
    pub follow: Follow,
    /// How often it is looked at (1 s to 24 h).
    pub interval: Duration,
    /// Most bytes of one catalogue's files (1 MiB to 1 TiB).
    pub max_bytes: u64,
}

/// Where a store of models is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelStorePlace {
    /// A directory of this machine, or one that is mounted.
    Directory(PathBuf),
    /// A bucket.
    Bucket(StoreConfig),
}

/// Which catalogue of a store is used.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Follow {
    /// The one that a channel names at the time.
    Channel(String),
    /// The one with this SHA-256 (64 hexadecimal digits in lower case), whatever channels say.
    Pin(String),
}

/// A store's URL, read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ModelStoreUrl {
    /// `file:///PATH`
    Directory(PathBuf),
    /// `s3://BUCKET/PREFIX`
    Bucket {
        /// The bucket's name.
        bucket: String,
        /// What names in it begin with; may be empty.
        prefix: String,
    },
}

/// The channel of who names none.
pub const DEFAULT_CHANNEL: &str = "stable";
/// Longest name of a channel, in bytes.
const CHANNEL_LIMIT_BYTES: usize = 64;
/// Keys that only a bucket has.
const OF_BUCKETS: [&str; 4] = ["endpoint", "region", "access_key_file", "secret_key_file"];

impl ModelStoreConfig {
    pub(crate) fn read(section: Section<'_>) -> Option<Self> {
        let url = section.parsed("url", |text| ModelStoreUrl::parse(text).map_err(Refusal::from_words));
        if !section.has("url") {
            section.missing("url", "\"s3://BUCKET/PREFIX\", or \"file:///PATH\"");
        }
        let channel = section.parsed("channel", |text| channel(text).map_err(Refusal::from_words));
        let pin = section.parsed("pin", |text| pin(text).map_err(Refusal::from_words));
        // A pin is for the moment in which a channel is not to be trusted, so it may stand beside one.
        let follow = pin.map_or_else(
            || Follow::Channel(channel.unwrap_or_else(|| DEFAULT_CHANNEL.to_owned())),
            Follow::Pin,
        );
        let s = Duration::from_secs;
        // A look is one small conditional request; nobody who moves a channel minds a minute.
        let interval = section.duration("interval", s(60), s(1)..=s(86_400));
        // The models that ship are 5 MB; a wrong catalogue must not fill a disk.
        let max_bytes = section.size("max_bytes", 4 << 30, 1 << 20..=1 << 40);
        let place = match url {
            Some(ModelStoreUrl::Bucket { bucket, prefix }) => {
                StoreConfig::read(&section, Some(bucket), prefix).map(ModelStorePlace::Bucket)
            }
            Some(ModelStoreUrl::Directory(path)) => {
                for key in OF_BUCKETS {
                    section.know(key);
                    if section.has(key) {
                        section.fault(key, "means nothing for a directory: only a bucket has it", None);
                    }
                }
                Some(ModelStorePlace::Directory(path))
            }
            None => {
                OF_BUCKETS.into_iter().for_each(|key| section.know(key));
                None
            }
        };
        section.finish();
        Some(Self { place: place?, follow, interval, max_bytes })
    }
}

impl ModelStoreUrl {
    /// Reads `s3://BUCKET/PREFIX` or `file:///PATH`.
    ///
    /// # Errors
    /// What is wrong, in words, and what would be right.
    pub fn parse(text: &str) -> Result<Self, (String, String)> {
        let words = |refusal: Refusal| (refusal.message, refusal.hint.unwrap_or_default());
        if let Some(rest) = text.strip_prefix("s3://") {
            let (name, prefix) = rest.split_once('/').unwrap_or((rest, ""));
            let prefix = prefix.trim_end_matches('/');
            let prefix = if prefix.is_empty() { Ok(String::new()) } else { bucket::prefix(prefix) };
            return Ok(Self::Bucket {
                bucket: bucket::bucket(name).map_err(words)?,
                prefix: prefix.map_err(words)?,
            });
        }
        match text.strip_prefix("file://") {
            Some(path) if path.starts_with('/') && path.len() > 1 && !path.contains('\0') => {
                Ok(Self::Directory(PathBuf::from(path)))
            }
            _ => Err((
                format!("{} is not a store of models", quoted(text)),
                "\"s3://BUCKET/PREFIX\", or \"file:///PATH\" with the whole path".to_owned(),
            )),
        }
    }
}

/// Reads a channel's name: it is part of an object's name.
///
/// # Errors
/// What is wrong, in words, and what would be right.
pub fn channel(text: &str) -> Result<String, (String, String)> {
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'-' | b'_');
    if text.is_empty() || text.len() > CHANNEL_LIMIT_BYTES || !text.bytes().all(fits) {
        return Err((
            format!("{} is not a channel's name", quoted(text)),
            format!("1 to {CHANNEL_LIMIT_BYTES} of a-z, 0-9, - and _, as \"stable\""),
        ));
    }
    Ok(text.to_owned())
}

fn pin(text: &str) -> Result<String, (String, String)> {
    if text.len() != 64 || !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
        return Err((
            format!("{} is not a catalogue's SHA-256", quoted(text)),
            "64 hexadecimal digits, as `acuity models push` prints them".to_owned(),
        ));
    }
    Ok(text.to_ascii_lowercase())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;
    use crate::tests::one_fault;

    const ROUTE: &str = "[[route]]\norigin = \"https://o.example\"\n[models]\ndirectory = \"/var/lib/m\"\n";
    const KEYS: &str = "access_key_file = \"a\"\nsecret_key_file = \"s\"\n";

    fn store(text: &str) -> ModelStoreConfig {
        crate::parse(&format!("{ROUTE}[models.store]\n{text}")).unwrap().models.store.unwrap()
    }

    #[test]
    fn a_url_is_enough() {
        let disk = store("url = \"file:///mnt/models\"");
        assert_eq!(disk.place, ModelStorePlace::Directory(PathBuf::from("/mnt/models")));
        assert_eq!(disk.follow, Follow::Channel("stable".to_owned()));
        assert_eq!((disk.interval.as_secs(), disk.max_bytes), (60, 4 << 30));
        for (url, bucket, prefix) in [
            ("s3://edge-1", "edge-1", ""),
            ("s3://edge-1/", "edge-1", ""),
            ("s3://edge-1/a/b/", "edge-1", "a/b"),
        ] {
            let store = store(&format!("url = \"{url}\"\n{KEYS}"));
            let ModelStorePlace::Bucket(place) = store.place else { panic!("{store:?}") };
            assert_eq!((place.bucket.as_str(), place.prefix.as_str()), (bucket, prefix));
            assert_eq!((place.region.as_str(), place.endpoint), ("us-east-1", None));
        }
    }

    #[test]
    fn a_pin_stands_above_a_channel() {
        let digest = "AB".repeat(32);
        let pinned = store(&format!("url = \"file:///m\"\nchannel = \"canary\"\npin = \"{digest}\""));
        assert_eq!(pinned.follow, Follow::Pin("ab".repeat(32)));
        let followed = store("url = \"file:///m\"\nchannel = \"canary\"");
        assert_eq!(followed.follow, Follow::Channel("canary".to_owned()));
    }

    #[test]
    fn faults() {
        let within = |text: &str| format!("[models]\ndirectory = \"/m\"\n[models.store]\n{text}");
        let disk = "url = \"file:///m\"\n";
        for (text, expected) in [
            (within(""), "models.store.url: is missing"),
            (within("url = \"/m\""), "\"/m\" is not a store of models"),
            (within("url = \"file://m\""), "is not a store of models"),
            (within("url = \"https://o.example/m\""), "is not a store of models"),
            (within(&format!("url = \"s3://A\"\n{KEYS}")), "\"A\" is not a bucket's name"),
            (within(&format!("url = \"s3://edge/a/../b\"\n{KEYS}")), "\"a/../b\" is not a prefix"),
            (
                within("url = \"s3://edge\"\naccess_key_file = \"a\""),
                "models.store.secret_key_file: is missing",
            ),
            (within(&format!("{disk}channel = \"../x\"")), "\"../x\" is not a channel's name"),
            (within(&format!("{disk}pin = \"abc\"")), "\"abc\" is not a catalogue's SHA-256"),
            (within(&format!("{disk}interval = \"10ms\"")), "10ms is not between 1s and 24h"),
            (within(&format!("{disk}max_bytes = \"1KiB\"")), "is not between 1MiB and 1TiB"),
            (within(&format!("{disk}region = \"eu\"")), "means nothing for a directory"),
            (within(&format!("{disk}bucket = \"edge\"")), "bucket: is not a known key"),
            (format!("[models.store]\n{disk}"), "models.directory: is missing"),
        ] {
            one_fault(&text, expected);
        }
    }
}
