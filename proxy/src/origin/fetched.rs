//! What came from an origin: the bytes, and what the origin said of them.

use std::time::Duration;

use bytes::Bytes;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE, ETAG, LAST_MODIFIED};
use http::{HeaderMap, HeaderName, HeaderValue};
use url::Url;

/// The outcome of a fetch that did not fail.
#[derive(Debug, Clone)]
pub enum Fetched {
    /// A body.
    New(Box<Source>),
    /// What the caller has is still true.
    NotModified,
}

/// A body and its circumstances.
#[derive(Debug, Clone)]
pub struct Source {
    /// The body, or the range of it that was asked for; decoded if it was text.
    pub bytes: Bytes,
    /// What tells this version from the next.
    pub validator: Validator,
    /// `Content-Type`.
    pub content_type: Option<HeaderValue>,
    /// `Cache-Control`, as it came.
    pub cache_control: Option<HeaderValue>,
    /// How long the origin says it may be kept; `None` where it does not say.
    pub max_age: Option<Duration>,
    /// Whether the origin forbids keeping it for others (`private`, `no-store`).
    pub private: bool,
    /// `Acuity-Cluster`: which models the origin says the stream is for, as it says it.
    pub cluster: Option<Box<str>>,
    /// Where it came from after redirects.
    pub url: Url,
    /// Whether that is another place than the one which the first origin has it at, seen from that origin's root: references without a
    /// host then lead elsewhere.
    pub redirected: bool,
}

/// The response header by which an origin names a stream's cluster, on the multivariant playlist.
const ACUITY_CLUSTER: HeaderName = HeaderName::from_static("acuity-cluster");

/// What tells one version of a resource from the next.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Validator {
    /// `ETag`.
    pub etag: Option<Box<str>>,
    /// `Last-Modified`.
    pub last_modified: Option<Box<str>>,
    /// `Content-Length`.
    pub length: Option<u64>,
}

impl Validator {
    pub(super) fn of(headers: &HeaderMap) -> Self {
        let text = |name| Some(headers.get(name)?.to_str().ok()?.into());
        Self {
            etag: text(ETAG),
            last_modified: text(LAST_MODIFIED),
            length: headers.get(CONTENT_LENGTH).and_then(|value| value.to_str().ok()?.parse().ok()),
        }
    }

    /// Whether the origin can be asked "has it changed since".
    #[must_use]
    pub fn is_conditional(&self) -> bool {
        self.etag.is_some() || self.last_modified.is_some()
    }

    /// Whether `other` is the same version: by ETag if both have one, else by date and length. Two without either are
    /// never the same.
    #[must_use]
    pub fn matches(&self, other: &Self) -> bool {
        match (&self.etag, &other.etag) {
            (Some(a), Some(b)) => a.trim_start_matches("W/") == b.trim_start_matches("W/"),
            _ => {
                self.last_modified.is_some()
                    && self.last_modified == other.last_modified
                    && self.length == other.length
            }
        }
    }
}

/// What the origin says the stream's cluster is.
pub(super) fn cluster(headers: &HeaderMap) -> Option<Box<str>> {
    Some(headers.get(ACUITY_CLUSTER)?.to_str().ok()?.into())
}

/// The directives of `Cache-Control` that matter here.
pub(super) fn caching(headers: &HeaderMap) -> (Option<HeaderValue>, Option<Duration>, bool) {
    let value = headers.get(CACHE_CONTROL).cloned();
    let text = value.as_ref().and_then(|value| value.to_str().ok()).unwrap_or_default().to_ascii_lowercase();
    let seconds = |name: &str| {
        text.split(',')
            .filter_map(|part| part.trim().strip_prefix(name)?.trim_matches('"').parse().ok())
            .next()
    };
    let has = |name: &str| text.split(',').any(|part| part.trim() == name);
    let private = has("private") || has("no-store");
    let max_age = if has("no-cache") || private {
        Some(0)
    } else {
        // A shared cache's own directive wins (RFC 9111, section 5.2.2.10).
        seconds("s-maxage=").or_else(|| seconds("max-age="))
    };
    (value, max_age.map(Duration::from_secs), private)
}

/// `Content-Type`, for passing on.
pub(super) fn content_type(headers: &HeaderMap) -> Option<HeaderValue> {
    headers.get(CONTENT_TYPE).cloned()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn validator(etag: Option<&str>, date: Option<&str>, length: Option<u64>) -> Validator {
        Validator { etag: etag.map(Into::into), last_modified: date.map(Into::into), length }
    }

    #[test]
    fn versions() {
        let dated = |date, length| validator(None, Some(date), length);
        assert!(validator(Some("\"a\""), None, Some(1)).matches(&validator(Some("W/\"a\""), None, Some(2))));
        assert!(!validator(Some("\"a\""), None, None).matches(&validator(Some("\"b\""), None, None)));
        assert!(dated("Mon", Some(1)).matches(&dated("Mon", Some(1))));
        assert!(!dated("Mon", Some(1)).matches(&dated("Mon", Some(2))));
        assert!(!validator(None, None, Some(1)).matches(&validator(None, None, Some(1))));
    }

    #[test]
    fn cache_control() {
        for (header, seconds, private) in [
            ("max-age=60", Some(60), false),
            ("public, max-age=60, s-maxage=5", Some(5), false),
            ("no-cache", Some(0), false),
            ("private, max-age=60", Some(0), true),
            ("No-Store", Some(0), true),
            ("immutable", None, false),
            ("max-age=x", None, false),
        ] {
            let headers: HeaderMap = [(CACHE_CONTROL, header.parse().unwrap())].into_iter().collect();
            let (value, max_age, is_private) = caching(&headers);
            assert_eq!((max_age.map(|age| age.as_secs()), is_private), (seconds, private), "{header}");
            assert_eq!(value.unwrap(), header);
        }
        assert_eq!(caching(&HeaderMap::new()), (None, None, false));
    }
}
