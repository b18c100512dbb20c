//! The identity of an enhanced object.
//!
//! A digest over everything that decides its bytes and is known *without asking the origin*: the origin's base URL, the
//! rendition token (size, rate, model set, source media playlist), the source's path and query, and the version of the
//! pipeline. Parameters that players add for statistics (CMCD) are not part of it. Signatures are: a URL that somebody
//! was allowed to fetch must not open the cache to somebody who was not. Those are an origin's own, in the query; the edge's own stand in the
//! path, are checked, and are gone before a key is made ([`crate::signed`]).
//!
//! The source's validator (ETag, Last-Modified, length) is not in the key, because a hit must not ask the origin; it
//! is kept *with* the object (see [`super::store`]), which is asked for again once its time is over and made anew
//! only if the validator changed.

use sha2::{Digest, Sha256};

/// Raised whenever the same source and token would give other bytes than before.
pub const PIPELINE_VERSION: u32 = 1;

/// The identity; 128 bits of SHA-256, more than enough against chance and against intent.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ObjectKey([u8; 16]);

impl ObjectKey {
    /// The identity of what `token` makes of `path_and_query` (edge path of the source, CMCD removed) at `origin` (the
    /// route's base URL), for those who reach it as `site` (empty unless routes differ by host).
    #[must_use]
    pub fn new(site: &str, origin: &str, token: &str, path_and_query: &str) -> Self {
        let mut hasher = Sha256::new();
        hasher.update(PIPELINE_VERSION.to_le_bytes());
        for part in [site, origin, token, path_and_query] {
            // Lengths keep ("ab", "c") and ("a", "bc") apart.
            hasher.update((part.len() as u64).to_le_bytes());
            hasher.update(part.as_bytes());
        }
        Self(truncated(hasher))
    }

    /// Its bytes.
    #[must_use]
    pub fn bytes(&self) -> [u8; 16] {
        self.0
    }

    /// The same in hexadecimal digits.
    #[must_use]
    pub fn hex(&self) -> String {
        hex(&self.0)
    }
}

/// Bytes as lower-case hexadecimal digits.
#[must_use]
pub fn hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    nibbles.map(|nibble| char::from_digit(u32::from(nibble), 16).unwrap_or('0')).collect()
}

/// A strong entity tag, quoted: 128 bits of the SHA-256 of the bytes themselves, so that two edges which made the same
/// bytes agree and a segment that was made anew differs.
#[must_use]
pub fn entity_tag(bytes: &[u8]) -> String {
    let mut hasher = Sha256::new();
    hasher.update(bytes);
    format!("\"{}\"", hex(&truncated(hasher)))
}

fn truncated(hasher: Sha256) -> [u8; 16] {
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

#[cfg(test)]
mod tests {
    use super::*;

    const TOKEN: &str = "v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2EubTN1OA";

    #[test]
    fn everything_that_decides_the_bytes_decides_the_key() {
        let key = |origin, token, path| ObjectKey::new("", origin, token, path);
        let base = key("https://o.example/", TOKEN, "/a/1.ts");
        assert_eq!(base, key("https://o.example/", TOKEN, "/a/1.ts"));
        for other in [
            key("https://p.example/", TOKEN, "/a/1.ts"),
            key("https://o.example/", &TOKEN.replace("2800", "2801"), "/a/1.ts"),
            key("https://o.example/", TOKEN, "/a/2.ts"),
            key("https://o.example/", TOKEN, "/a/1.ts?sig=x"),
            ObjectKey::new("a.example", "https://o.example/", TOKEN, "/a/1.ts"),
            // The same letters, split elsewhere.
            key("https://o.example", &format!("/{TOKEN}"), "/a/1.ts"),
        ] {
            assert_ne!(base, other);
        }
    }

    #[test]
    fn entity_tags_are_of_the_bytes() {
        // First half of SHA-256("abc").
        assert_eq!(entity_tag(b"abc"), "\"ba7816bf8f01cfea414140de5dae2223\"");
        assert_ne!(entity_tag(b"abc"), entity_tag(b"abd"));
    }
}
