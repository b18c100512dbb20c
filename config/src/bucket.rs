//! A bucket of an S3-compatible store, wherever a section names one: `[cache.store]`, `[models.store]`.

use std::path::PathBuf;

use url::Url;

use crate::reader::{Refusal, Section};
use crate::route::origin_url;
use crate::words::quoted;

/// A bucket of an S3-compatible store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StoreConfig {
    /// Its name.
    pub bucket: String,
    /// The server (`http` or `https`); none: AWS, by the region.
    pub endpoint: Option<Url>,
    /// The region that requests are signed for.
    pub region: String,
    /// What names of objects begin with, without slashes at its ends; may be empty.
    pub prefix: String,
    /// File with the access key's id.
    pub access_key_file: PathBuf,
    /// File with the secret key.
    pub secret_key_file: PathBuf,
}

/// Longest prefix, in bytes: names may have 1024.
const PREFIX_LIMIT_BYTES: usize = 256;
/// Longest region, in bytes.
const REGION_LIMIT_BYTES: usize = 64;
/// What servers of one's own mostly take.
pub(crate) const DEFAULT_REGION: &str = "us-east-1";

impl StoreConfig {
    /// The keys that say where a bucket is and who asks; which bucket it is, the section says in its own way.
    pub(crate) fn read(section: &Section<'_>, bucket: Option<String>, prefix: String) -> Option<Self> {
        let endpoint = section.parsed("endpoint", origin_url);
        let region = section.parsed("region", region).unwrap_or_else(|| DEFAULT_REGION.to_owned());
        let access_key_file = section.path("access_key_file");
        let secret_key_file = section.path("secret_key_file");
        for (key, hint) in [
            ("access_key_file", "a file that holds the access key's id and nothing else"),
            ("secret_key_file", "a file that holds the secret key and nothing else"),
        ] {
            if !section.has(key) {
                section.missing(key, hint);
            }
        }
        Some(Self {
            bucket: bucket?,
            endpoint,
            region,
            prefix,
            access_key_file: access_key_file?,
            secret_key_file: secret_key_file?,
        })
    }
}

/// S3's rules for names of buckets, but for those that only AWS has.
pub(crate) fn bucket(text: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || matches!(byte, b'-' | b'.');
    let ends = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_alphanumeric);
    let bytes = text.as_bytes();
    if !(3..=63).contains(&bytes.len())
        || !bytes.iter().copied().all(fits)
        || !ends(bytes.first())
        || !ends(bytes.last())
        || text.contains("..")
    {
        return Err(Refusal::new(format!("{} is not a bucket's name", quoted(text)))
            .hint("3 to 63 of a-z, 0-9, - and ., a letter or digit at both ends"));
    }
    Ok(text.to_owned())
}

fn region(text: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_');
    if text.is_empty() || text.len() > REGION_LIMIT_BYTES || !text.bytes().all(fits) {
        return Err(Refusal::new(format!("{} is not a region", quoted(text)))
            .hint("as \"eu-central-1\"; servers of one's own mostly take \"us-east-1\""));
    }
    Ok(text.to_owned())
}

pub(crate) fn prefix(text: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let is_part = |part: &str| !part.is_empty() && part != "." && part != ".." && part.bytes().all(fits);
    if text.len() > PREFIX_LIMIT_BYTES || !text.split('/').all(is_part) {
        return Err(Refusal::new(format!("{} is not a prefix", quoted(text)))
            .hint("words of A-Z, a-z, 0-9, -, _ and ., parted by single slashes, as \"edge/segments\""));
    }
    Ok(text.to_owned())
}
