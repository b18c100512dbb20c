//! `[route.signed_urls]`: whose signatures open a route.
//!
//! Here it is only read; the proxy reads the files and checks signatures (`proxy/src/signed/`).

use std::path::PathBuf;
use std::time::Duration;

use crate::reader::{Refusal, Section};
use crate::words::quoted;

/// A route that has this section answers nothing that is not signed by one of its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SignedUrlsConfig {
    /// The keys, at least one, ids distinct; the first is the one that `acuity sign` takes.
    pub keys: Vec<SigningKey>,
    /// How long after its end a signature still holds (0 s to 10 min): by so much the signer's clock may be behind.
    pub clock_skew: Duration,
}

/// A named secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SigningKey {
    /// What URLs call it: 1 to 32 of A-Z, a-z, 0-9, `_` and `-`.
    pub id: String,
    /// The file that holds it and nothing else.
    pub file: PathBuf,
}

/// Most keys of a route: one that signs, those that are being retired, and room for a signer each.
const KEYS_LIMIT: usize = 32;
/// Longest id, in bytes: it is part of every signed URL.
const ID_LIMIT_BYTES: usize = 32;

impl SignedUrlsConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let mut keys: Vec<SigningKey> = Vec::new();
        for key in section.children("keys") {
            keys.extend(SigningKey::read(key, &keys));
        }
        if !section.has("keys") {
            section.missing(
                "keys",
                "name at least one, as keys = [{ id = \"a\", file = \"/etc/acuity/a.key\" }]",
            );
        } else if section.is_empty_list("keys") {
            section.fault("keys", "is empty: nothing could ever be signed", None);
        } else if keys.len() > KEYS_LIMIT {
            section.fault("keys", format!("has {} keys; at most {KEYS_LIMIT} are taken", keys.len()), None);
        }
        // Clocks that NTP keeps differ by far less; ones that nobody keeps, by minutes.
        let default = Duration::from_secs(30);
        let clock_skew = section.duration("clock_skew", default, Duration::ZERO..=Duration::from_secs(600));
        section.finish();
        Self { keys, clock_skew }
    }
}

impl SigningKey {
    /// None if it is wrong, which is reported. `others`: those before it.
    fn read(section: Section<'_>, others: &[Self]) -> Option<Self> {
        let id = section.parsed("id", key_id);
        let file = section.path("file");
        for (key, hint) in [("id", "URLs name the key by it"), ("file", "the file that holds the secret")] {
            if !section.has(key) {
                section.missing(key, hint);
            }
        }
        if let Some(id) = id.as_ref().filter(|id| others.iter().any(|other| other.id == **id)) {
            section.fault("id", format!("{} is another key's already", quoted(id)), None);
        }
        section.finish();
        Some(Self { id: id?, file: file? })
    }
}

fn key_id(text: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-');
    if text.is_empty() || text.len() > ID_LIMIT_BYTES || !text.bytes().all(fits) {
        return Err(Refusal::new(format!("{} is not a key's id", quoted(text)))
            .hint(format!("1 to {ID_LIMIT_BYTES} of A-Z, a-z, 0-9, _ and -")));
    }
    Ok(text.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::one_fault;

    fn route(section: &str) -> String {
        format!("[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\n[route.signed_urls]\n{section}")
    }

    #[test]
    fn keys_are_read_in_order() {
        let text = route("keys = [{ id = \"2026b\", file = \"b\" }, { id = \"2026a\", file = \"a\" }]");
        let config = crate::parse(&text).unwrap();
        let signed = config.routes[0].signed_urls.as_ref().unwrap();
        let ids: Vec<&str> = signed.keys.iter().map(|key| key.id.as_str()).collect();
        assert_eq!((ids.as_slice(), signed.clock_skew), (&["2026b", "2026a"][..], Duration::from_secs(30)));
        let unsigned = crate::parse("[[route]]\norigin = \"https://o.example\"").unwrap();
        assert_eq!(unsigned.routes[0].signed_urls, None);
    }

    #[test]
    fn faults() {
        let key = |inside: &str| route(&format!("keys = [{{ {inside} }}]"));
        for (text, expected) in [
            (route(""), "route[0].signed_urls.keys: is missing"),
            (route("keys = []"), "is empty"),
            (route("keys = 3"), "[write each as [[route.signed_urls.keys]]]"),
            (key("id = \"a\""), "keys[0].file: is missing"),
            (key("file = \"a\""), "keys[0].id: is missing"),
            (key("id = \"a.b\", file = \"a\""), "\"a.b\" is not a key's id"),
            (key("id = \"\", file = \"a\""), "is not a key's id"),
            (key("id = \"a\", file = \"\""), "must name a file"),
            (key("id = \"a\", file = \"a\", secret = \"x\""), "secret: is not a known key"),
            (
                key("id = \"a\", file = \"a\" }, { id = \"a\", file = \"b\""),
                "keys[1].id: \"a\" is another key's",
            ),
            (key("id = \"a\", file = \"a\"") + "\nclock_skew = \"1h\"", "1h is not between 0ms and 10m"),
        ] {
            one_fault(&text, expected);
        }
    }
}
