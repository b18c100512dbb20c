//! What can go wrong on the way to the origin, and whose fault it is.

use bytes::Bytes;
use http::{HeaderMap, StatusCode};

/// Why a fetch gave no usable body.
#[derive(Debug, Clone, thiserror::Error)]
pub enum OriginError {
    /// No answer in time.
    #[error("the origin did not answer in time ({phase})")]
    Timeout {
        /// `connect`, `first_byte`, `idle` or `total`.
        phase: &'static str,
    },
    /// No connection, or it broke.
    #[error("the origin cannot be reached: {message}")]
    Unreachable {
        /// The client library's own words, without the URL.
        message: String,
    },
    /// The body ended early or broke.
    #[error("the origin's body broke off after {received_bytes} bytes: {message}")]
    Broken {
        /// What had come by then.
        received_bytes: usize,
        /// The client library's own words, without the URL.
        message: String,
    },
    /// The body is larger than allowed.
    #[error("the origin's body is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The limit.
        limit_bytes: u64,
    },
    /// The body is packed (`Content-Encoding`) although nobody had asked for that.
    #[error("the origin's body is packed in a way that was not asked for")]
    Encoded,
    /// Any status but 200, 206 and 304.
    #[error("the origin answered {}", .0.status)]
    Status(Box<Refusal>),
    /// A redirect (or a mapped URL) led away from the configured origins, or in circles.
    #[error("the origin redirects where the edge does not go")]
    Redirect,
    /// The origin ignored or misread the byte range asked for.
    #[error("the origin's body does not hold the byte range asked for")]
    Range,
}

impl OriginError {
    /// Every metric label.
    pub const LABELS: [&str; 9] = [
        "timeout",
        "unreachable",
        "broken",
        "too_large",
        "encoded",
        "status_5xx",
        "status_4xx",
        "redirect",
        "range",
    ];

    /// The metric label, one of [`OriginError::LABELS`].
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Timeout { .. } => "timeout",
            Self::Unreachable { .. } => "unreachable",
            Self::Broken { .. } => "broken",
            Self::TooLarge { .. } => "too_large",
            Self::Encoded => "encoded",
            Self::Status(refusal) if refusal.status.is_server_error() => "status_5xx",
            Self::Status(_) => "status_4xx",
            Self::Redirect => "redirect",
            Self::Range => "range",
        }
    }

    /// Whether the origin is not to be had right now, so that a copy just out of date may stand in for it.
    #[must_use]
    pub fn is_outage(&self) -> bool {
        match self {
            Self::Timeout { .. } | Self::Unreachable { .. } | Self::Broken { .. } => true,
            Self::Status(refusal) => refusal.status.is_server_error(),
            Self::TooLarge { .. } | Self::Encoded | Self::Redirect | Self::Range => false,
        }
    }

    /// Whether the origin says that there is no such thing.
    #[must_use]
    pub fn is_missing(&self) -> bool {
        matches!(self, Self::Status(refusal)
            if matches!(refusal.status, StatusCode::NOT_FOUND | StatusCode::GONE))
    }

    /// Whether the origin wants credentials, which only a request passed through carries.
    #[must_use]
    pub fn wants_credentials(&self) -> bool {
        matches!(self, Self::Status(refusal)
            if matches!(refusal.status, StatusCode::UNAUTHORIZED | StatusCode::FORBIDDEN))
    }
}

/// The origin's own refusal, to be passed on.
#[derive(Debug, Clone)]
pub struct Refusal {
    /// Its status.
    pub status: StatusCode,
    /// The headers that mean something to a client (type, caching, retry, challenge).
    pub headers: HeaderMap,
    /// Its body, cut off at 64 KiB.
    pub body: Bytes,
}
