//! Conditional requests on an object whose entity tag is known (RFC 9110, section 13). Pure.

use http::HeaderMap;
use http::header::{IF_MATCH, IF_NONE_MATCH, IF_RANGE};

/// What the conditions of a GET or HEAD say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Condition {
    /// Send the object; look at `Range` only if `range_holds`.
    Send {
        /// Whether `If-Range` (if any) names this very object.
        range_holds: bool,
    },
    /// The client has it: 304.
    NotModified,
    /// The client wants another one: 412.
    Failed,
}

/// Evaluates the conditions in `headers` against `etag` (quoted, as in the `ETag` header).
///
/// `If-Modified-Since` and `If-Unmodified-Since` are ignored: what the edge makes carries no date of change.
#[must_use]
pub fn evaluate(headers: &HeaderMap, etag: &str) -> Condition {
    if headers.contains_key(IF_MATCH) && !lists(headers, IF_MATCH, |tag| strong(tag, etag)) {
        return Condition::Failed;
    }
    if headers.contains_key(IF_NONE_MATCH) && lists(headers, IF_NONE_MATCH, |tag| opaque(tag) == opaque(etag))
    {
        return Condition::NotModified;
    }
    let range_holds = match headers.get(IF_RANGE) {
        None => true,
        // A date here never names an object without Last-Modified.
        Some(value) => value.to_str().is_ok_and(|tag| strong(tag.trim(), etag)),
    };
    Condition::Send { range_holds }
}

/// Whether the list in header `name` is `*` or has a tag that `matches`.
fn lists(headers: &HeaderMap, name: http::HeaderName, matches: impl Fn(&str) -> bool) -> bool {
    headers
        .get_all(name)
        .iter()
        .filter_map(|value| value.to_str().ok())
        // Tags may hold commas by the grammar; ours never do, so a split cannot make one of ours out of another.
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .any(|tag| tag == "*" || matches(tag))
}

/// Strong comparison: equal and neither is weak.
fn strong(tag: &str, etag: &str) -> bool {
    tag == etag && !tag.starts_with("W/")
}

fn opaque(tag: &str) -> &str {
    tag.strip_prefix("W/").unwrap_or(tag)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(pairs: &[(http::HeaderName, &str)]) -> HeaderMap {
        pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
    }

    #[test]
    fn conditions() {
        let send = Condition::Send { range_holds: true };
        let no_range = Condition::Send { range_holds: false };
        type Row<'a> = (&'a [(http::HeaderName, &'a str)], &'a str, Condition);
        let table: &[Row<'_>] = &[
            (&[], "\"a\"", send),
            (&[(IF_NONE_MATCH, "\"a\"")], "\"a\"", Condition::NotModified),
            (&[(IF_NONE_MATCH, "W/\"a\"")], "\"a\"", Condition::NotModified),
            (&[(IF_NONE_MATCH, "\"a\"")], "W/\"a\"", Condition::NotModified),
            (&[(IF_NONE_MATCH, "\"x\", \"a\"")], "\"a\"", Condition::NotModified),
            (&[(IF_NONE_MATCH, "*")], "\"a\"", Condition::NotModified),
            (&[(IF_NONE_MATCH, "\"x\"")], "\"a\"", send),
            (&[(IF_MATCH, "\"a\"")], "\"a\"", send),
            (&[(IF_MATCH, "*")], "\"a\"", send),
            (&[(IF_MATCH, "\"x\"")], "\"a\"", Condition::Failed),
            (&[(IF_MATCH, "W/\"a\"")], "W/\"a\"", Condition::Failed),
            (&[(IF_RANGE, "\"a\"")], "\"a\"", send),
            (&[(IF_RANGE, "W/\"a\"")], "\"a\"", no_range),
            (&[(IF_RANGE, "\"x\"")], "\"a\"", no_range),
            (&[(IF_RANGE, "Wed, 21 Oct 2015 07:28:00 GMT")], "\"a\"", no_range),
        ];
        for (headers, etag, expected) in table {
            assert_eq!(evaluate(&with(headers), etag), *expected, "{headers:?} on {etag}");
        }
    }
}
