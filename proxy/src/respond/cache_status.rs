//! `Cache-Status` (RFC 9211): what this edge's cache did, for people with a browser's network panel.

use http::{HeaderMap, HeaderName, HeaderValue};

use crate::metrics::Outcome;

/// The header's name.
pub const CACHE_STATUS: HeaderName = HeaderName::from_static("cache-status");

/// One member of the list: this edge's.
#[derive(Debug, Clone, Copy)]
pub struct CacheStatus<'a> {
    /// What was done.
    pub outcome: Outcome,
    /// For how long what was sent may still be given out.
    pub ttl_seconds: Option<u64>,
    /// What made it.
    pub detail: Option<&'a str>,
}

impl CacheStatus<'_> {
    /// Adds this edge's member after those of caches nearer to the origin, as section 2 asks.
    pub fn append_to(&self, headers: &mut HeaderMap) {
        if let Ok(value) = HeaderValue::from_str(&self.member()) {
            headers.append(CACHE_STATUS, value);
        }
    }

    fn member(&self) -> String {
        let mut member = String::from(match self.outcome {
            Outcome::Hit | Outcome::Stored => "acuity; hit",
            Outcome::Revalidated => "acuity; hit; fwd=stale; fwd-status=304",
            Outcome::Stale => "acuity; hit; fwd=stale",
            // The node that owns it, then this one.
            Outcome::Node => "acuity-node, acuity; fwd=uri-miss; stored",
            Outcome::Made => "acuity; fwd=uri-miss; stored",
            Outcome::Joined => "acuity; fwd=uri-miss; stored; collapsed",
            Outcome::SourceBytes => "acuity; fwd=uri-miss",
            Outcome::Passed => "acuity; fwd=bypass",
            Outcome::OriginError => "acuity; fwd=miss",
            Outcome::Local | Outcome::ClientGone | Outcome::BrokeOff => "acuity",
        });
        if let Some(ttl) = self.ttl_seconds {
            member.push_str(&format!("; ttl={ttl}"));
        }
        if let Some(detail) = self.detail {
            // A structured field's string: printable ASCII, no quotes or backslashes in our own names.
            let safe: String =
                detail.chars().filter(|c| c.is_ascii_graphic() && !matches!(c, '"' | '\\')).collect();
            member.push_str(&format!("; detail=\"{safe}\""));
        }
        member
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn members() {
        let member = |outcome, ttl_seconds, detail| CacheStatus { outcome, ttl_seconds, detail }.member();
        assert_eq!(
            member(Outcome::Hit, Some(30), Some("generic-x2-s")),
            "acuity; hit; ttl=30; detail=\"generic-x2-s\""
        );
        assert_eq!(member(Outcome::Joined, None, None), "acuity; fwd=uri-miss; stored; collapsed");
        assert_eq!(
            member(Outcome::Node, Some(9), Some("m")),
            "acuity-node, acuity; fwd=uri-miss; stored; ttl=9; detail=\"m\""
        );
        assert_eq!(member(Outcome::Passed, None, None), "acuity; fwd=bypass");
        assert_eq!(member(Outcome::Hit, None, Some("a\"\r\nb")), "acuity; hit; detail=\"ab\"");
    }

    #[test]
    fn the_origins_caches_stay_in_front() {
        let mut headers = HeaderMap::new();
        headers.append(CACHE_STATUS, "OriginCache; hit".parse().unwrap());
        CacheStatus { outcome: Outcome::Passed, ttl_seconds: None, detail: None }.append_to(&mut headers);
        let all: Vec<_> = headers.get_all(CACHE_STATUS).iter().collect();
        assert_eq!(all, ["OriginCache; hit", "acuity; fwd=bypass"]);
    }
}
