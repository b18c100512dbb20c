//! Signed URLs: `/~acuity/signed/<signature>/<path>`.
//!
//! A signature is `v1.<key id>.<end>.<prefix>.<mac>`: the end in seconds since 1970, the path prefix it opens in base64url, and
//! the HMAC-SHA256, in base64url, of what stands before the last dot. It stands in the *path*, so that whatever a playlist names by a
//! relative URI inherits it in every player; what a playlist names otherwise, the edge leads there ([`acuity_playlist::carry`]).
//!
//! It is taken off a request before anything else looks at the path ([`take`]): routes, caches, flights, origins and the log
//! know nothing of it.
//!
//! | module | what |
//! |---|---|
//! | here | the format: making, checking, taking off, keeping out of logs; pure |
//! | [`keys`] | the routes' secrets, read from their files |
//! | [`request`] | which signatures a request needs |

pub mod keys;
pub mod request;
#[cfg(test)]
mod tests;

use std::borrow::Cow;

use acuity_playlist::uri;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::{Hmac, Mac};
use percent_encoding::percent_decode_str;
use sha2::Sha256;

use crate::route::below_reserved;

pub use keys::RouteKeys;

/// What stands behind `/~acuity/` in a signed URL.
pub const SEGMENT: &str = "signed";

/// Longest prefix that is signed, in bytes.
pub const PREFIX_LIMIT_BYTES: usize = 1024;

const VERSION: &str = "v1";
/// A prefix in base64url, and all the rest at its longest.
const SIGNATURE_LIMIT_BYTES: usize = PREFIX_LIMIT_BYTES * 4 / 3 + 160;

/// A secret that signs and checks.
#[derive(Clone)]
pub struct Key {
    id: String,
    /// Keyed already: the secret itself is not kept.
    mac: Hmac<Sha256>,
}

impl std::fmt::Debug for Key {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Key").field("id", &self.id).finish_non_exhaustive()
    }
}

/// Why a request is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Refused {
    /// There is no signature.
    #[error("this URL needs a signature")]
    Missing,
    /// It is not of the format.
    #[error("the URL's signature cannot be read")]
    Malformed,
    /// The route has no key of that name.
    #[error("the URL is signed with a key that is not in use here")]
    UnknownKey,
    /// It was made with another key, or for something else.
    #[error("the URL's signature is wrong")]
    Wrong,
    /// Its time is over.
    #[error("the URL's signature has expired")]
    Expired,
    /// It is good, for another path.
    #[error("the URL's signature is for another path")]
    OutsidePrefix,
}

impl Refused {
    /// All of them.
    pub const ALL: [Self; 6] =
        [Self::Missing, Self::Malformed, Self::UnknownKey, Self::Wrong, Self::Expired, Self::OutsidePrefix];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Missing => "missing",
            Self::Malformed => "malformed",
            Self::UnknownKey => "unknown_key",
            Self::Wrong => "wrong",
            Self::Expired => "expired",
            Self::OutsidePrefix => "outside_prefix",
        }
    }
}

/// A signature that can be read; whether it holds is not known yet.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Read<'a> {
    /// What is signed: all but the last part.
    signed: &'a str,
    key: &'a str,
    /// Seconds since 1970.
    end: u64,
    prefix: String,
    mac: Vec<u8>,
}

fn read(text: &str) -> Option<Read<'_>> {
    let (signed, mac) = text.rsplit_once('.').filter(|_| text.len() <= SIGNATURE_LIMIT_BYTES)?;
    let parts: Vec<&str> = signed.split('.').collect();
    let [VERSION, key, end, prefix] = parts[..] else { return None };
    let digits = end.bytes().all(|byte| byte.is_ascii_digit()) && !end.starts_with('0');
    // One way to write it: what is not signed is not read leniently either.
    let prefix = String::from_utf8(URL_SAFE_NO_PAD.decode(prefix).ok()?).ok()?;
    Some(Read {
        signed,
        key,
        end: end.parse().ok().filter(|_| digits)?,
        prefix: Some(prefix).filter(|prefix| is_prefix(prefix))?,
        mac: URL_SAFE_NO_PAD.decode(mac).ok()?,
    })
}

/// Whether a text can be the prefix of a signature: a normal edge path, without query, not below the edge's own prefix.
#[must_use]
pub fn is_prefix(text: &str) -> bool {
    text.len() <= PREFIX_LIMIT_BYTES
        && !text.contains('?')
        && uri::normalise(text).as_deref() == Ok(text)
        && below_reserved(text).is_none()
}

/// Whether a normalised edge path is below a prefix, in whole segments: `/a` is `/a` and `/a/b`, not `/ab`; `/a/` is what is
/// below it alone. Percent-encoding that means the same counts as the same.
#[must_use]
pub fn covers(prefix: &str, path_and_query: &str) -> bool {
    let path = uri::canonical_path(uri::split_query(path_and_query).0);
    let prefix = uri::canonical_path(prefix);
    let rest = path.strip_prefix(prefix.as_slice());
    rest.is_some_and(|rest| rest.is_empty() || prefix.ends_with(b"/") || rest.starts_with(b"/"))
}

impl Key {
    /// `secret`: of any length; [`keys`] refuses short ones.
    #[must_use]
    pub fn new(id: &str, secret: &[u8]) -> Option<Self> {
        Some(Self { id: id.to_owned(), mac: Hmac::new_from_slice(secret).ok()? })
    }

    /// What URLs call it.
    #[must_use]
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The signature that opens what is below `prefix` until `end`, seconds since 1970. `None` where the prefix is none
    /// ([`is_prefix`]).
    #[must_use]
    pub fn sign(&self, prefix: &str, end: u64) -> Option<String> {
        let signed = format!("{VERSION}.{}.{end}.{}", self.id, URL_SAFE_NO_PAD.encode(prefix));
        let mac = self.mac.clone().chain_update(&signed).finalize().into_bytes();
        let signature = format!("{signed}.{}", URL_SAFE_NO_PAD.encode(mac));
        // What would be refused is not made.
        read(&signature).map(|_| signature.clone())
    }
}

/// Checks `signature` for a normalised edge path. `now` and `skew`: seconds; a signature holds until its end and `skew` more.
///
/// # Errors
/// Why it opens nothing. What a signature says of its time and path is not looked at before it is known to be one of ours.
pub fn check(
    keys: &[Key],
    skew: u64,
    signature: Option<&str>,
    path_and_query: &str,
    now: u64,
) -> Result<(), Refused> {
    let signature = read(signature.ok_or(Refused::Missing)?).ok_or(Refused::Malformed)?;
    let key = keys.iter().find(|key| key.id == signature.key).ok_or(Refused::UnknownKey)?;
    // In constant time.
    let mac = key.mac.clone().chain_update(signature.signed);
    mac.verify_slice(&signature.mac).map_err(|_| Refused::Wrong)?;
    if now >= signature.end.saturating_add(skew) {
        return Err(Refused::Expired);
    }
    if covers(&signature.prefix, path_and_query) { Ok(()) } else { Err(Refused::OutsidePrefix) }
}

/// The path prefix of URLs with this signature, without final slash.
#[must_use]
pub fn url_prefix(signature: &str) -> String {
    format!("{}{SEGMENT}/{signature}", uri::RESERVED_PREFIX)
}

/// Takes the signature off a request's path: the signature and the rest, normalised. `None`: there is none, or the path is no
/// path.
#[must_use]
pub fn take(path_and_query: &str) -> Option<(String, String)> {
    // Nobody writes these letters in another way; who does has no signature.
    if !path_and_query.contains("/signed/") {
        return None;
    }
    let path = uri::normalise(path_and_query).ok()?;
    let below = below_reserved(&path)?.strip_prefix(SEGMENT)?.strip_prefix('/')?;
    let (signature, rest) = below.split_at(below.find(['/', '?']).unwrap_or(below.len()));
    let slash = if rest.starts_with('/') { "" } else { "/" };
    Some((signature.to_owned(), format!("{slash}{rest}")))
}

/// A path or URL as it may be written to a log: of a signature only version and key are left. For any text, however malformed:
/// what stands behind `signed/`, and what looks like a signature elsewhere.
#[must_use]
pub fn redacted(path: &str) -> Cow<'_, str> {
    let mut behind = false;
    let mut changed = false;
    let segments: Vec<Cow<'_, str>> = path
        .split(['/', '\\'])
        .map(|segment| {
            let decoded = percent_decode_str(segment).decode_utf8_lossy();
            let mut parts = decoded.split('.');
            let (first, key) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
            let secret = behind || (first == VERSION && parts.count() == 3);
            behind = decoded == SEGMENT;
            if !secret {
                return Cow::Borrowed(segment);
            }
            changed = true;
            // A mac has 43 letters; what is shorter is a key's name.
            let named = first == VERSION && !key.is_empty() && key.len() <= 32;
            Cow::Owned(if named { format!("{VERSION}.{key}.-") } else { "-".to_owned() })
        })
        .collect();
    if changed { Cow::Owned(segments.join("/")) } else { Cow::Borrowed(path) }
}
