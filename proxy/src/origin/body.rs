//! Reading an origin's body within its limit, and picking a byte range out of an origin that ignores `Range`.

use std::time::Duration;

use acuity_playlist::ByteRange;
use bytes::{Bytes, BytesMut};
use http::header::{
    CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, RETRY_AFTER, WWW_AUTHENTICATE,
};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use tokio::time::timeout;

use super::fetched::{Source, Validator, caching, cluster, content_type};
use super::{OriginError, OriginResponse, Refusal, broken};
use crate::metrics::Metrics;

/// Most of a refusal's body that is passed on; error pages are for people.
const REFUSAL_LIMIT_BYTES: usize = 64 << 10;

/// Headers of a refusal that a client acts on.
const REFUSAL_HEADERS: [HeaderName; 4] = [CONTENT_TYPE, CACHE_CONTROL, RETRY_AFTER, WWW_AUTHENTICATE];

/// What of a body is wanted, and within what.
pub(super) struct Bounds {
    /// This part; none: all.
    pub(super) range: Option<ByteRange>,
    /// No more than this.
    pub(super) limit_bytes: u64,
    /// How long nothing may come.
    pub(super) idle: Duration,
}

/// Whether the coding is none (RFC 9110, 8.4.1 and 12.5.3, where it has a name).
fn is_identity(encoding: &HeaderValue) -> bool {
    let encoding = encoding.as_bytes().trim_ascii();
    encoding.is_empty() || encoding.eq_ignore_ascii_case(b"identity")
}

/// Reads a 200 or 206.
pub(super) async fn read(
    mut response: OriginResponse,
    bounds: &Bounds,
    metrics: &Metrics,
) -> Result<Source, OriginError> {
    let Bounds { range, limit_bytes, idle } = *bounds;
    let validator = Validator::of(response.headers());
    let (cache_control, max_age, private) = caching(response.headers());
    let (content_type, cluster) = (content_type(response.headers()), cluster(response.headers()));
    // Where packing was asked for, the client has unpacked by now and taken the word for it away.
    if response.headers().get(CONTENT_ENCODING).is_some_and(|encoding| !is_identity(encoding)) {
        return Err(OriginError::Encoded);
    }
    let url = response.url().clone();
    let window = Window::of(&response, range)?;
    let expected = window.length.or_else(|| response.content_length());
    if expected.is_some_and(|length| length > limit_bytes) {
        return Err(OriginError::TooLarge { limit_bytes });
    }
    let limit = usize::try_from(limit_bytes).unwrap_or(usize::MAX);
    let capacity = expected.and_then(|length| usize::try_from(length).ok()).unwrap_or(0).min(limit);
    let mut body = BytesMut::with_capacity(capacity);
    let mut to_skip = window.skip;
    loop {
        let chunk =
            timeout(idle, response.chunk()).await.map_err(|_| OriginError::Timeout { phase: "idle" })?;
        let Some(mut chunk) = chunk.map_err(|error| broken(&error, body.len()))? else { break };
        metrics.origin_bytes.inc_by(chunk.len() as u64);
        let skipped = usize::try_from(to_skip).unwrap_or(usize::MAX).min(chunk.len());
        to_skip -= skipped as u64;
        let _ = chunk.split_to(skipped);
        if body.len() + chunk.len() > limit && window.length.is_none() {
            return Err(OriginError::TooLarge { limit_bytes });
        }
        body.extend_from_slice(&chunk);
        if window.length.is_some_and(|length| body.len() as u64 >= length) {
            break;
        }
    }
    let bytes = match window.length.map(usize::try_from) {
        Some(Ok(length)) if body.len() >= length => body.freeze().slice(..length),
        Some(_) => return Err(OriginError::Range),
        None => body.freeze(),
    };
    Ok(Source {
        bytes,
        validator,
        content_type,
        cache_control,
        max_age,
        private,
        cluster,
        url,
        redirected: false,
    })
}

/// Which part of the body is wanted.
struct Window {
    skip: u64,
    length: Option<u64>,
}

impl Window {
    fn of(response: &OriginResponse, range: Option<ByteRange>) -> Result<Self, OriginError> {
        let Some(range) = range else {
            return match response.status() {
                // A part that nobody asked for.
                StatusCode::PARTIAL_CONTENT => Err(OriginError::Range),
                _ => Ok(Self { skip: 0, length: None }),
            };
        };
        let length = Some(range.length);
        if response.status() != StatusCode::PARTIAL_CONTENT {
            return Ok(Self { skip: range.offset, length });
        }
        let first = response.headers().get(CONTENT_RANGE).and_then(|value| {
            value.to_str().ok()?.strip_prefix("bytes ")?.split('-').next()?.parse::<u64>().ok()
        });
        if first == Some(range.offset) { Ok(Self { skip: 0, length }) } else { Err(OriginError::Range) }
    }
}

/// What to pass on of any other status.
pub(super) async fn refusal(mut response: OriginResponse, metrics: &Metrics) -> Refusal {
    let status = response.status();
    let kept = REFUSAL_HEADERS.into_iter().filter_map(|name| {
        let value = response.headers().get(&name)?.clone();
        Some((name, value))
    });
    let headers: HeaderMap = kept.collect();
    let mut body = BytesMut::new();
    // A body that breaks is passed on as far as it came: the status is what counts.
    while let Ok(Some(chunk)) = response.chunk().await {
        metrics.origin_bytes.inc_by(chunk.len() as u64);
        let room = REFUSAL_LIMIT_BYTES - body.len();
        body.extend_from_slice(chunk.get(..room).unwrap_or(&chunk));
        if body.len() >= REFUSAL_LIMIT_BYTES {
            break;
        }
    }
    Refusal { status, headers, body: Bytes::from(body) }
}
