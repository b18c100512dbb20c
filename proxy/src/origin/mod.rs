//! Fetching from origins: playlists, keys, source segments. Everything the edge reads itself comes through here.
//!
//! Rules, because a proxy for media that follows what playlists say is an SSRF gun:
//! - only URLs on a configured origin (scheme, host, port) are fetched, and redirects are followed only to such;
//! - a name leads only where it may ([`reach`]);
//! - every fetch has a connect, a first-byte and a total time-out, a limit on its body that holds while it streams, and
//!   one of a bounded number of slots;
//! - no client's credentials travel: no cookies, no `Authorization`. What is fetched here is shared between clients. An
//!   origin that wants them answers 401 or 403; the client's own request is then passed through as it is, and nothing
//!   is enhanced for it. Signatures in the query are part of the URL and are sent.

mod body;
pub mod breaker;
mod clients;
mod error;
mod fetched;
mod file;
pub mod instruments;
pub mod pool;
pub mod reach;
pub mod retries;
mod traced;
pub mod tries;
mod watch;

use std::error::Error as _;
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{OriginConfig, RouteConfig};
use acuity_playlist::ByteRange;
use acuity_workers::trail;
use http::header::{ACCEPT_ENCODING, IF_MODIFIED_SINCE, IF_NONE_MATCH, RANGE, USER_AGENT};
use http::{HeaderValue, StatusCode};
use reqwest::{RequestBuilder, Response};
use tokio::sync::Semaphore;
use tokio::time::{Instant, timeout, timeout_at};
use url::Url;

pub use error::{OriginError, Refusal};
pub use fetched::{Fetched, Source, Validator};
pub use pool::Pools;
pub use reach::Resolver;
pub use tries::Tries;

use clients::{Clients, FILE};

use crate::metrics::Metrics;
use crate::traces;

/// One thing to fetch.
#[derive(Debug, Clone)]
pub struct Fetch<'a> {
    /// Where the first origin of its route has it.
    pub url: &'a Url,
    /// Its route, whose other origins have it too.
    pub route: usize,
    /// Whether a playlist lists it: what one origin does not have is then asked of the next, which may be a segment ahead.
    pub listed: bool,
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
    clients: Clients,
    pools: Arc<Pools>,
    slots: Semaphore,
    config: OriginConfig,
    metrics: Arc<Metrics>,
}

impl Origins {
    /// A client that goes to the origins of `bases` and nowhere else; each is the only one of its route.
    ///
    /// # Errors
    /// When TLS cannot be set up.
    pub fn new<'a>(
        config: OriginConfig,
        bases: impl Iterator<Item = &'a Url>,
        metrics: Arc<Metrics>,
    ) -> Result<Self, reqwest::Error> {
        let resolver = Resolver::new(&[], metrics.origin_addresses_refused.clone());
        let routes: Vec<RouteConfig> = bases.cloned().map(RouteConfig::to).collect();
        Self::resolving(config, &routes, metrics, resolver, None)
    }

    /// One that goes to the origins of `routes`, with names resolved by `resolver`. What `before` knew of origins is kept.
    ///
    /// # Errors
    /// As [`Self::new`].
    pub fn resolving(
        config: OriginConfig,
        routes: &[RouteConfig],
        metrics: Arc<Metrics>,
        resolver: Resolver,
        before: Option<&Pools>,
    ) -> Result<Self, reqwest::Error> {
        let resolver = Arc::new(resolver);
        let bases = || routes.iter().flat_map(RouteConfig::origins);
        let connect = routes.iter().filter_map(|route| route.timeouts.connect);
        let clients = Clients::new(&config, bases(), connect, &resolver)?;
        let watcher = clients::watcher(&config, bases().any(|url| url.scheme() == "https"), &resolver)?;
        let pools = Arc::new(Pools::new(&config, routes, watcher, metrics.origins.clone(), before));
        Ok(Self { clients, pools, slots: Semaphore::new(config.max_concurrent), config, metrics })
    }

    /// Whether `url` is on a configured origin.
    #[must_use]
    pub fn allows(&self, url: &Url) -> bool {
        self.clients.allows(url)
    }

    /// The origins of each route, for who asks them in another way.
    #[must_use]
    pub fn pools(&self) -> &Arc<Pools> {
        &self.pools
    }

    /// Instruments.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The limits in force.
    #[must_use]
    pub fn config(&self) -> &OriginConfig {
        &self.config
    }

    /// Fetches one thing within the time-outs and limits, from the first of its route's origins that serves it. All of them together have
    /// the total time-out.
    ///
    /// # Errors
    /// See [`OriginError`]; any status but 200, 206 and an expected 304 is an error that carries what to pass on. Of several origins the
    /// last one's.
    pub async fn fetch(&self, fetch: &Fetch<'_>) -> Result<Fetched, OriginError> {
        let span = traced::begin(fetch);
        let result = trail::within(span.as_ref(), self.fetch_from_any(fetch)).await;
        let label = match &result {
            Ok(Fetched::New(_)) => "ok",
            Ok(Fetched::NotModified) => "not_modified",
            Err(error) => error.label(),
        };
        self.metrics.origin_requests.with_label_values(&[label]).inc();
        traced::end(span.as_ref(), &result);
        result
    }

    async fn fetch_from_any(&self, fetch: &Fetch<'_>) -> Result<Fetched, OriginError> {
        if !self.allows(fetch.url) {
            return Err(OriginError::Redirect);
        }
        if fetch.url.scheme() == FILE {
            return file::read(fetch).await.map(|source| Fetched::New(Box::new(source)));
        }
        let late = OriginError::Timeout { phase: "total" };
        let mut tries = self.pools.tries(fetch.route, fetch.url, true);
        let give_up = Instant::now() + tries.timeouts().total;
        // The semaphore is never closed; without a permit there would only be one more request than meant.
        let Ok(_slot) = timeout_at(give_up, self.slots.acquire()).await else { return Err(late) };
        loop {
            let result =
                timeout_at(give_up, self.fetch_from(fetch, &tries)).await.unwrap_or(Err(late.clone()));
            let Err(error) = &result else {
                tries.answered();
                return result;
            };
            let missing = fetch.listed && error.is_missing();
            if error.is_outage() {
                tries.failed(error.label());
            } else {
                tries.answered();
            }
            let is_over = Instant::now() >= give_up;
            if is_over || !(missing || error.is_outage()) || !tries.next(error.label()) {
                return result;
            }
        }
    }

    /// Asks the origin whose turn it is.
    async fn fetch_from(&self, fetch: &Fetch<'_>, tries: &Tries) -> Result<Fetched, OriginError> {
        let timeouts = tries.timeouts();
        let patience = if tries.has_well_next() && !is_held(tries.url()) {
            timeouts.first_byte.min(self.config.failover_after)
        } else {
            timeouts.first_byte
        };
        // Whoever stops in the middle is not to use up the time that the next one needs.
        let idle = if tries.has_next() { timeouts.idle.min(patience) } else { timeouts.idle };
        let Some(request) = self.request(fetch, tries.url(), timeouts.connect) else {
            return Err(OriginError::Redirect);
        };
        let response = timeout(patience, request.send())
            .await
            .map_err(|_| OriginError::Timeout { phase: "first_byte" })?
            .map_err(|error| failure(&error))?;
        match response.status() {
            StatusCode::OK | StatusCode::PARTIAL_CONTENT => {
                let bounds = body::Bounds { range: fetch.range, limit_bytes: fetch.limit_bytes, idle };
                let mut source = body::read(response, &bounds, &self.metrics).await?;
                source.redirected = source.url != *tries.url() || tries.is_elsewhere();
                Ok(Fetched::New(Box::new(source)))
            }
            StatusCode::NOT_MODIFIED if fetch.unless.is_some() => Ok(Fetched::NotModified),
            status if status.is_redirection() => Err(OriginError::Redirect),
            // Another protocol that nobody asked for: no answer, and nothing that a player could be told.
            status if status.is_informational() => {
                Err(OriginError::Broken { received_bytes: 0, message: format!("it answered {status}") })
            }
            _ => {
                let refusal = timeout(idle, body::refusal(response, &self.metrics)).await;
                refusal.map_or(Err(OriginError::Timeout { phase: "idle" }), |refusal| {
                    Err(OriginError::Status(Box::new(refusal)))
                })
            }
        }
    }

    fn request(&self, fetch: &Fetch<'_>, url: &Url, connect: Duration) -> Option<RequestBuilder> {
        let mut request = self.clients.of(connect, fetch.text)?.get(url.clone());
        request = match (&self.config.user_agent, fetch.user_agent) {
            (Some(own), _) => request.header(USER_AGENT, own),
            (None, Some(players)) => request.header(USER_AGENT, players),
            (None, None) => request.header(USER_AGENT, concat!("acuity/", env!("CARGO_PKG_VERSION"))),
        };
        let mut behalf = http::HeaderMap::new();
        traces::carry(&mut behalf);
        request = request.headers(behalf);
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
        Some(request)
    }
}

/// Whether the origin may hold the answer back until it has something to say (blocking playlist reload of low-latency HLS).
fn is_held(url: &Url) -> bool {
    url.query().is_some_and(|query| query.contains("_HLS_msn="))
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
