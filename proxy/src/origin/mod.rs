//! Fetching from origins: playlists, keys, source segments. Everything the edge reads itself comes through here.
//!
//! Rules, because a proxy for media that follows what playlists say is an SSRF gun:
//! - only URLs on a configured origin (scheme, host, port) are fetched, and redirects are followed only to such;
//! - every fetch has a connect, a first-byte and a total time-out, a limit on its body that holds while it streams, and
//!   one of a bounded number of slots;
//! - no client's credentials travel: no cookies, no `Authorization`. What is fetched here is shared between clients. An
//!   origin that wants them answers 401 or 403; the client's own request is then passed through as it is, and nothing
//!   is enhanced for it. Signatures in the query are part of the URL and are sent.

mod body;
mod error;
mod fetched;
mod file;

use std::collections::HashSet;
use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::OriginConfig;
use http::header::{ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, USER_AGENT};
use http::{HeaderValue, StatusCode};
use reqwest::redirect::{Attempt, Policy};
use reqwest::{Client, RequestBuilder, Response};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use url::Url;

pub use error::{OriginError, Refusal};
pub use fetched::{Fetched, Source, Validator};

use crate::hls::ByteRange;
use crate::metrics::Metrics;

/// One thing to fetch.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// Where.
    pub url: &'a Url,
    /// What of it; `None`: all.
    pub range: Option<ByteRange>,
    /// Largest body taken.
    pub limit_bytes: u64,
    /// Do not send what still has this validator.
    pub unless: Option<&'a Validator>,
    /// The player's `User-Agent`, where a player asked for just this.
    pub user_agent: Option<&'a HeaderValue>,
    /// Whether compressed transfer is welcome (playlists) or only costs time (media).
    pub text: bool,
}

/// The edge's client toward all origins.
pub struct Origins {
    text: Client,
    media: Client,
    allowed: Arc<HashSet<Authority>>,
    slots: Semaphore,
    config: OriginConfig,
    metrics: Arc<Metrics>,
}

/// Scheme, host and port: what makes two URLs the same origin.
type Authority = (String, String, u16);

impl Origins {
    /// A client that goes to the origins of `bases` and nowhere else.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new<'a>(
        config: OriginConfig,
        bases: impl Iterator<Item = &'a Url>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let allowed: Arc<HashSet<Authority>> = Arc::new(bases.filter_map(authority).collect());
        let any_tls = allowed.iter().any(|(scheme, ..)| scheme == "https");
        let builder = || {
            let allowed = Arc::clone(&allowed);
            let limit = config.max_redirects;
            Client::builder()
                .connect_timeout(config.connect_timeout)
                // A reverse proxy's way to its origin is its configuration, not its environment.
                .no_proxy()
                .redirect(Policy::custom(move |attempt| follow(attempt, &allowed, limit)))
                // Longer than most segments last, so that a steady stream keeps its connection.
                .pool_idle_timeout(Duration::from_secs(30))
                .tcp_nodelay(true)
        };
        // A machine without any certificate authorities can still serve plain HTTP origins.
        let builder = || if any_tls { builder() } else { builder().tls_certs_only(std::iter::empty()) };
        Ok(Self {
            text: builder().build()?,
            // A segment that is sent compressed against our word is handed on undecoded, and then unreadable.
            media: builder().no_gzip().no_brotli().build()?,
            slots: Semaphore::new(config.max_concurrent),
            allowed,
            config,
            metrics,
        })
    }

    /// Whether `url` is on a configured origin.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        authority(url).is_some_and(|authority| self.allowed.contains(&authority))
    }

    /// The limits in force.
    #[must_use]
    pub fn config(&self) -> &OriginConfig {
        &self.config
    }

    /// Fetches one thing within the time-outs and limits.
    ///
    /// # Errors
    /// See [`OriginError`]; any status but 200, 206 and an expected 304 is an error that carries what to pass on.
    pub async fn fetch(&self, fetch: &Fetch<'_>) -> Result<Fetched, OriginError> {
        let result = timeout(self.config.total_timeout, self.fetch_within(fetch))
            .await
            .unwrap_or(Err(OriginError::Timeout { phase: "total" }));
        let label = match &result {
            Ok(Fetched::New(_)) => "ok",
            Ok(Fetched::NotModified) => "not_modified",
            Err(error) => error.label(),
        };
        self.metrics.origin_requests.with_label_values(&[label]).inc();
        result
    }

    async fn fetch_within(&self, fetch: &Fetch<'_>) -> Result<Fetched, OriginError> {
        if !self.allows(fetch.url) {
            return Err(OriginError::Redirect);
        }
        if fetch.url.scheme() == FILE {
            return file::read(fetch).await.map(|source| Fetched::New(Box::new(source)));
        }
        // The semaphore is never closed; without a permit there would only be one more request than meant.
        let _slot = self.slots.acquire().await;
        let response = timeout(self.config.first_byte_timeout, self.request(fetch).send())
            .await
            .map_err(|_| OriginError::Timeout { phase: "first_byte" })?
            .map_err(|error| failure(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                body::read(response, fetch.range, fetch.limit_bytes, &self.metrics)
                    .await
                    .map(|source| Fetched::New(Box::new(source)))
            }
            StatusCode::NOT_MODIFIED if fetch.unless.is_some() => Ok(Fetched::NotModified),
            status if status.is_redirection() => Err(OriginError::Redirect),
            _ => Err(OriginError::Status(Box::new(body::refusal(response, &self.metrics).await))),
        }
    }

    fn request(&self, fetch: &Fetch<'_>) -> RequestBuilder {
        let client = if fetch.text { &self.text } else { &self.media };
        let mut request = client.get(fetch.url.clone());
        request = match (&self.config.user_agent, fetch.user_agent) {
            (Some(own), _) => request.header(USER_AGENT, own),
            (None, Some(players)) => request.header(USER_AGENT, players),
            (None, None) => request.header(USER_AGENT, concat!("acuity/", env!("CARGO_PKG_VERSION"))),
        };
        if !fetch.text {
            request = request.header(ACCEPT_ENCODING, "identity");
        }
        if let Some(range) = fetch.range {
            request = request.header(RANGE, range.header());
        }
        if let Some(known) = fetch.unless {
            if let Some(etag) = &known.etag {
                request = request.header(IF_NONE_MATCH, etag.as_ref());
            } else if let Some(date) = &known.last_modified {
                request = request.header(IF_MODIFIED_SINCE, date.as_ref());
            }
        }
        request
    }
}

/// Scheme of files on this machine. The configuration of an edge refuses it; only `acuity enhance` reads from it.
const FILE: &str = "file";

fn authority(url: &Url) -> Option<Authority> {
    if url.scheme() == FILE {
        return Some((FILE.to_owned(), String::new(), 0));
    }
    Some((url.scheme().to_owned(), url.host_str()?.to_owned(), url.port_or_known_default()?))
}

fn follow(attempt: Attempt<'_>, allowed: &HashSet<Authority>, limit: usize) -> reqwest::redirect::Action {
    let known = authority(attempt.url()).is_some_and(|authority| allowed.contains(&authority));
    if known && attempt.previous().len() <= limit { attempt.follow() } else { attempt.stop() }
}

/// The client library's error as one of ours. URLs are left out: they may carry signatures.
fn failure(error: &reqwest::Error) -> OriginError {
    if error.is_timeout() {
        let phase = if error.is_connect() { "connect" } else { "total" };
        return OriginError::Timeout { phase };
    }
    OriginError::Unreachable { message: causes(error) }
}

/// The innermost causes, which are what an operator can act on ("connection refused", "unknown issuer").
fn causes(error: &reqwest::Error) -> String {
    let mut words = Vec::new();
    let mut cause = error.source();
    while let Some(error) = cause {
        let text = error.to_string();
        if words.last() != Some(&text) {
            words.push(text);
        }
        cause = error.source();
    }
    if words.is_empty() { "the request failed".to_owned() } else { words.join(": ") }
}

/// For bodies: the status line had come, so a failure is a broken body.
fn broken(error: &reqwest::Error, received_bytes: usize) -> OriginError {
    if error.is_timeout() {
        return OriginError::Timeout { phase: "total" };
    }
    OriginError::Broken { received_bytes, message: causes(error) }
}

/// Names the response type in one place for the submodules.
type OriginResponse = Response;

#[cfg(test)]
#[path = "tests.rs"]
mod tests;
