//! Request ids: the client's own where it sends a sane one (`X-Request-Id`), so that its trail can be followed, else ours.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderMap, HeaderName};

/// The header's name, in requests and answers.
pub const X_REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");

/// Longest id taken from a client; a UUID has 36.
const LIMIT_BYTES: usize = 64;

/// Gives ids that no other request of this process has, and hardly any of another one.
pub struct RequestIds {
    start: u64,
    next: AtomicU64,
}

impl Default for RequestIds {
    /// Begins at a number that differs from start to start.
    fn default() -> Self {
        let nanos = SystemTime::now().duration_since(UNIX_EPOCH).map_or(0, |since| since.as_nanos());
        // The low bits of a nanosecond clock and the process id tell two edges apart that start together.
        let start = (nanos as u64).rotate_left(20) ^ u64::from(std::process::id());
        Self { start, next: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The id of a request with these headers.
    #[must_use]
    pub fn of(&self, headers: &HeaderMap) -> String {
        let sane = |text: &&str| {
            (1..=LIMIT_BYTES).contains(&text.len())
                && text
                    .bytes()
                    .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.' | b':'))
        };
        match headers.get(X_REQUEST_ID).and_then(|value| value.to_str().ok()).filter(sane) {
            Some(theirs) => theirs.to_owned(),
            None => {
                let count = self.next.fetch_add(1, Ordering::Relaxed);
                // An odd multiplier visits every number once: ids look unlike each other and never repeat.
                format!("{:016x}", self.start.wrapping_add(count.wrapping_mul(0x9e37_79b9_7f4a_7c15)))
            }
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn with(id: &str) -> HeaderMap {
        [(X_REQUEST_ID, id.parse().unwrap())].into_iter().collect()
    }

    #[test]
    fn sane_ids_are_kept_and_others_replaced() {
        let ids = RequestIds::default();
        assert_eq!(ids.of(&with("a1-B2_c.d:e")), "a1-B2_c.d:e");
        for odd in ["", "a b", "a\"b", &"x".repeat(65)] {
            let own = ids.of(&with(odd));
            assert_eq!(own.len(), 16, "{odd:?} became {own}");
        }
        assert_ne!(ids.of(&HeaderMap::new()), ids.of(&HeaderMap::new()));
    }
}
