//! Answers that the edge gives itself: what headers they carry, and how conditions, ranges and encodings shape them.
//!
//! Everything here is a pure function of the request's headers and the thing to be sent; `edge` writes the result.
//!
//! | module | what |
//! |---|---|
//! | [`range`] | one byte range of a complete object |
//! | [`conditions`] | `If-None-Match`, `If-Match`, `If-Range` |
//! | [`encoding`] | gzip for playlists |
//! | [`cors`] | which pages may read it |
//! | [`cache_status`] | RFC 9211: what the cache did |

pub mod cache_status;
pub mod conditions;
pub mod cors;
pub mod encoding;
pub mod inner;
pub mod range;

use std::sync::Arc;
use std::time::Instant;

use acuity_enhancer::begun;
use bytes::Bytes;
use http::header::{
    ACCEPT_ENCODING, ACCEPT_RANGES, AGE, CACHE_CONTROL, CONTENT_ENCODING, CONTENT_RANGE, CONTENT_TYPE, ETAG,
    RANGE, VARY,
};
use http::{HeaderMap, HeaderValue, Method, StatusCode};

use crate::cache::flow::{Flow, FlowReader};
use crate::cache::key::entity_tag;
use crate::cache::store::Object;
use crate::metrics::{Kind, Outcome};
use crate::origin::Refusal;
use cache_status::CacheStatus;
use conditions::Condition;
use range::Selected;

/// `Content-Type` of playlists (RFC 8216, section 4).
pub const PLAYLIST_TYPE: HeaderValue = HeaderValue::from_static("application/vnd.apple.mpegurl");

/// A complete answer.
#[derive(Debug, Clone)]
pub struct Answer {
    /// Status.
    pub status: StatusCode,
    /// Headers but those that only the moment of sending knows (length, timing, date, request id).
    pub headers: HeaderMap,
    /// Body, of HEAD requests too (its length is told, it is not sent).
    pub body: Bytes,
    /// The body instead, if it is still being made.
    pub flow: Option<FlowReader>,
    /// For metrics and log.
    pub kind: Kind,
    /// For metrics and log.
    pub outcome: Outcome,
    /// What made an enhanced object.
    pub made_by: Option<Arc<str>>,
    /// What went wrong, for the log.
    pub error: Option<String>,
    /// Seconds of enhancement behind it, for `Server-Timing`.
    pub made_seconds: Option<f64>,
}

impl Answer {
    /// An answer without headers.
    #[must_use]
    pub fn new(status: StatusCode, body: Bytes, kind: Kind, outcome: Outcome) -> Self {
        let headers = HeaderMap::with_capacity(16);
        Self {
            status,
            headers,
            body,
            flow: None,
            kind,
            outcome,
            made_by: None,
            error: None,
            made_seconds: None,
        }
    }
}

/// An enhanced object, or the part of it that the request's headers ask for.
#[must_use]
pub fn object(
    method: &Method,
    request: &HeaderMap,
    object: &Object,
    outcome: Outcome,
    now: Instant,
) -> Answer {
    let mut answer =
        entity(method, request, &object.bytes, &object.etag, object.content_type, object.kind, outcome);
    let headers = &mut answer.headers;
    let left = object.freshness_left(now).unwrap_or_default();
    headers.insert(CACHE_CONTROL, value(&format!("public, max-age={}", object.lifetime(now).as_secs())));
    headers.insert(AGE, HeaderValue::from(now.saturating_duration_since(object.confirmed).as_secs()));
    let detail = Some(&*object.made_by);
    CacheStatus { outcome, ttl_seconds: Some(left.as_secs()), detail }.append_to(headers);
    cors::allow(request, headers);
    answer.made_by = Some(Arc::clone(&object.made_by));
    answer.made_seconds = (outcome != Outcome::Hit).then_some(object.seconds);
    answer
}

/// An enhanced segment that is still being made. It has no entity tag yet: that is of all its bytes.
#[must_use]
pub fn flowing(request: &HeaderMap, flow: &Arc<Flow>, outcome: Outcome) -> Answer {
    let mut answer = Answer::new(StatusCode::OK, Bytes::new(), Kind::Segment, outcome);
    let seconds = flow.fresh_for.as_secs();
    let headers = &mut answer.headers;
    headers.insert(CONTENT_TYPE, HeaderValue::from_static(flow.content_type));
    headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    headers.insert(CACHE_CONTROL, value(&format!("public, max-age={seconds}")));
    headers.insert(AGE, HeaderValue::from_static("0"));
    // Where it was cut short is for who makes it again.
    let made_by: Option<Arc<str>> = flow.made_by().map(|said| begun::made_by(&said).into());
    CacheStatus { outcome, ttl_seconds: Some(seconds), detail: made_by.as_deref() }.append_to(headers);
    cors::allow(request, headers);
    answer.made_by = made_by;
    answer.flow = Some(flow.reader());
    answer
}

/// A network's file. Its URL is its digest, so it never changes.
#[must_use]
pub fn model_file(method: &Method, request: &HeaderMap, bytes: &Bytes, sha256: &str) -> Answer {
    let forever = HeaderValue::from_static("public, max-age=31536000, immutable");
    model(method, request, bytes, &format!("\"{sha256}\""), "application/octet-stream", forever)
}

/// What describes a set of networks. A model of it that was found broken can come back, so it is asked for again.
#[must_use]
pub fn model_description(method: &Method, request: &HeaderMap, bytes: &Bytes) -> Answer {
    let minute = HeaderValue::from_static("public, max-age=60");
    model(method, request, bytes, &entity_tag(bytes), "application/json", minute)
}

fn model(
    method: &Method,
    request: &HeaderMap,
    bytes: &Bytes,
    etag: &str,
    content_type: &'static str,
    cache_control: HeaderValue,
) -> Answer {
    let mut answer = entity(method, request, bytes, &value(etag), content_type, Kind::Model, Outcome::Local);
    answer.headers.insert(CACHE_CONTROL, cache_control);
    CacheStatus { outcome: Outcome::Local, ttl_seconds: None, detail: None }.append_to(&mut answer.headers);
    cors::allow(request, &mut answer.headers);
    answer
}

/// Bytes with a strong entity tag, or the part of them that the request's headers ask for.
fn entity(
    method: &Method,
    request: &HeaderMap,
    bytes: &Bytes,
    etag: &HeaderValue,
    content_type: &'static str,
    kind: Kind,
    outcome: Outcome,
) -> Answer {
    let mut answer = match conditions::evaluate(request, etag.to_str().unwrap_or_default()) {
        Condition::NotModified => Answer::new(StatusCode::NOT_MODIFIED, Bytes::new(), kind, outcome),
        Condition::Failed => Answer::new(StatusCode::PRECONDITION_FAILED, Bytes::new(), kind, outcome),
        Condition::Send { range_holds } => {
            // Ranges are defined for GET alone (RFC 9110, section 14.2).
            let range = if range_holds && *method == Method::GET { text(request, RANGE) } else { None };
            part(range::select(range, bytes.len()), bytes, kind, outcome)
        }
    };
    answer.headers.insert(ETAG, etag.clone());
    answer.headers.insert(ACCEPT_RANGES, HeaderValue::from_static("bytes"));
    if matches!(answer.status, StatusCode::OK | StatusCode::PARTIAL_CONTENT) {
        answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    }
    answer
}

fn part(selected: Selected, bytes: &Bytes, kind: Kind, outcome: Outcome) -> Answer {
    match selected {
        Selected::Whole => Answer::new(StatusCode::OK, bytes.clone(), kind, outcome),
        Selected::Part { first, last } => {
            let part = bytes.slice(first..=last);
            let mut answer = Answer::new(StatusCode::PARTIAL_CONTENT, part, kind, outcome);
            answer.headers.insert(CONTENT_RANGE, value(&format!("bytes {first}-{last}/{}", bytes.len())));
            answer
        }
        Selected::Unsatisfiable => {
            let mut answer = Answer::new(StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), kind, outcome);
            answer.headers.insert(CONTENT_RANGE, value(&format!("bytes */{}", bytes.len())));
            answer
        }
    }
}

/// What a playlist is sent with.
#[derive(Debug, Clone)]
pub struct PlaylistHeaders<'a> {
    /// `Cache-Control`.
    pub cache_control: HeaderValue,
    /// `Content-Type`; the origin's, where the text is the origin's.
    pub content_type: HeaderValue,
    /// Request headers that decided what is in it.
    pub varies_with: &'a [String],
}

/// A playlist. Its entity tag is weak: compressed or not, it means the same.
#[must_use]
pub fn playlist(
    request: &HeaderMap,
    body: Bytes,
    headers: PlaylistHeaders<'_>,
    kind: Kind,
    outcome: Outcome,
) -> Answer {
    let etag = format!("W/{}", entity_tag(&body));
    let mut answer = match conditions::evaluate(request, &etag) {
        Condition::NotModified => Answer::new(StatusCode::NOT_MODIFIED, Bytes::new(), kind, outcome),
        Condition::Failed => Answer::new(StatusCode::PRECONDITION_FAILED, Bytes::new(), kind, outcome),
        // A range of a text that is being rewritten means nothing.
        Condition::Send { .. } => {
            let packed =
                encoding::takes_gzip(text(request, ACCEPT_ENCODING)).then(|| encoding::gzip(&body)).flatten();
            let mut answer = Answer::new(StatusCode::OK, Bytes::new(), kind, outcome);
            if let Some(packed) = packed {
                answer.headers.insert(CONTENT_ENCODING, HeaderValue::from_static("gzip"));
                answer.body = packed;
            } else {
                answer.body = body;
            }
            answer.headers.insert(CONTENT_TYPE, headers.content_type);
            answer
        }
    };
    let out = &mut answer.headers;
    out.insert(ETAG, value(&etag));
    out.insert(CACHE_CONTROL, headers.cache_control);
    out.append(VARY, HeaderValue::from_static("Accept-Encoding"));
    for name in headers.varies_with {
        out.append(VARY, value(name));
    }
    CacheStatus { outcome, ttl_seconds: None, detail: None }.append_to(out);
    cors::allow(request, out);
    answer
}

/// The origin's own refusal, passed on.
#[must_use]
pub fn refusal(request: &HeaderMap, refusal: &Refusal, kind: Kind) -> Answer {
    let mut answer = Answer::new(refusal.status, refusal.body.clone(), kind, Outcome::OriginError);
    answer.headers = refusal.headers.clone();
    CacheStatus { outcome: Outcome::OriginError, ttl_seconds: None, detail: None }
        .append_to(&mut answer.headers);
    cors::allow(request, &mut answer.headers);
    answer
}

/// A short answer in words: an origin that is out, a request that is refused.
#[must_use]
pub fn message(request: &HeaderMap, status: StatusCode, words: &str, kind: Kind, outcome: Outcome) -> Answer {
    let mut answer = Answer::new(status, Bytes::from(format!("{words}\n")), kind, outcome);
    answer.headers.insert(CONTENT_TYPE, HeaderValue::from_static("text/plain; charset=utf-8"));
    answer.headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
    cors::allow(request, &mut answer.headers);
    answer.error = Some(words.to_owned());
    answer
}

/// The origin is out: which way it is out is for the log, not for the client.
#[must_use]
pub fn origin_fault(request: &HeaderMap, status: StatusCode, kind: Kind) -> Answer {
    let words = match status {
        StatusCode::GATEWAY_TIMEOUT => "the origin did not answer in time",
        StatusCode::SERVICE_UNAVAILABLE => "the origin has as much to do as it may",
        _ => "the origin cannot be reached",
    };
    message(request, status, words, kind, Outcome::OriginError)
}

/// The answer to a CORS preflight.
#[must_use]
pub fn preflight(request: &HeaderMap) -> Answer {
    let mut answer = Answer::new(StatusCode::NO_CONTENT, Bytes::new(), Kind::Preflight, Outcome::Local);
    answer.headers = cors::preflight(request);
    answer
}

fn text(headers: &HeaderMap, name: http::HeaderName) -> Option<&str> {
    headers.get(name)?.to_str().ok()
}

/// A header value from text we wrote ourselves; what could not stand in a header becomes an empty value.
fn value(text: &str) -> HeaderValue {
    HeaderValue::from_str(text).unwrap_or_else(|_| HeaderValue::from_static(""))
}

#[cfg(test)]
mod tests;
