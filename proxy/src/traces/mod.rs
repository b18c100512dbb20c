//! Traces: which requests are traced, and what is sent of them.
//!
//! Every request has a context ([`opentelemetry::Context`]) that goes with its work through tasks, threads and worker processes. It holds
//! the request's id, which log lines tell ([`crate::cli::logging`]), and, where the request is traced, its span. A request that is not has
//! no span and costs nothing beside a number that is drawn.
//!
//! Who decides: a trusted proxy (`server.trusted_proxies`) by the `traceparent` that it sends; for everybody else the edge, by
//! `tracing.sample_ratio`. A stranger's `traceparent` is not believed at all. Its flag would let anybody fill the collector, and so would its
//! trace id wherever sampling is decided by that; joined to it, his requests would stand in traces that are not his. Nor does it get to an
//! origin: what the edge sends there is its own, or a trusted proxy's as it came.

mod export;
mod request;

use std::hash::{BuildHasher as _, RandomState};
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use acuity_config::{Config, IpNet};
use acuity_workers::trail::{self, RequestId};
use http::HeaderMap;
use opentelemetry::propagation::{Extractor, TextMapPropagator as _};
use opentelemetry::trace::{SpanBuilder, SpanContext, SpanKind, TraceContextExt as _, Tracer as _};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use prometheus::Registry;
use tokio::runtime::Handle;

pub use export::{Instruments, check};
pub use request::{Ended, Request};
pub(crate) use request::{path_of, toward};

use crate::secret::SecretFault;
use export::Export;

/// The headers of W3C's Trace Context.
pub(crate) const TRACEPARENT: http::HeaderName = http::HeaderName::from_static("traceparent");
pub(crate) const TRACESTATE: http::HeaderName = http::HeaderName::from_static("tracestate");

/// Why traces cannot be sent.
#[derive(Debug, thiserror::Error)]
pub enum TraceFault {
    /// The file with headers cannot be used.
    #[error("tracing.headers_file {} {fault}", file.display())]
    Headers {
        /// The file.
        file: PathBuf,
        /// Why.
        fault: SecretFault,
    },
    /// A line of it is no header. The line is not repeated: it may be a secret.
    #[error("tracing.headers_file {}: line {line} is not `Name: value`", file.display())]
    Line {
        /// The file.
        file: PathBuf,
        /// Counted from 1.
        line: usize,
    },
    /// What sends them cannot be built.
    #[error("cannot send traces: {0}")]
    Exporter(String),
}

/// Decides which requests are traced, and sends what is told of them.
pub struct Traces {
    export: Option<Export>,
    trusted: Vec<IpNet>,
    draw: Draw,
}

impl Traces {
    /// As a configuration says; what sends runs on `handle`'s runtime.
    ///
    /// # Errors
    /// There is a collector that cannot be spoken to at all, by what the configuration says.
    pub fn start(config: &Config, registry: &Registry, handle: &Handle) -> Result<Self, TraceFault> {
        let instruments =
            Instruments::register(registry).map_err(|error| TraceFault::Exporter(error.to_string()))?;
        let export = Export::start(&config.tracing, instruments, handle)?;
        let draw = Draw::default();
        draw.set(config.tracing.sample_ratio);
        Ok(Self { export, trusted: config.server.trusted_proxies.clone(), draw })
    }

    /// Traces this share of requests from now on.
    pub fn set_ratio(&self, ratio: f64) {
        self.draw.set(ratio);
    }

    /// A request with these headers begins, from `peer`; `id` is what it is called.
    #[must_use]
    pub fn begin(&self, headers: &HeaderMap, peer: Option<IpAddr>, id: &Arc<str>) -> Request {
        let context = Context::new().with_value(RequestId(Arc::clone(id)));
        if self.export.is_none() {
            return Request::unseen(context);
        }
        let is_trusted = peer.is_some_and(|peer| self.is_trusted(peer));
        let (context, decided) = match is_trusted.then(|| parent(headers)).flatten() {
            Some(parent) => {
                let decided = parent.is_sampled();
                (context.with_remote_span_context(parent), Some(decided))
            }
            None => (context, None),
        };
        if !decided.unwrap_or_else(|| self.draw.next()) {
            return Request::untraced(context);
        }
        let span = SpanBuilder::from_name("HTTP").with_kind(SpanKind::Server);
        let span = global::tracer(trail::SCOPE).build_with_context(span, &context);
        Request::traced(context.with_span(span))
    }

    fn is_trusted(&self, peer: IpAddr) -> bool {
        let peer = peer.to_canonical();
        self.trusted.iter().any(|network| network.contains(&peer))
    }

    /// Sends what is left, for as long as `limit` at most; what comes later is dropped.
    pub async fn finish(&self, limit: Duration) {
        if let Some(export) = &self.export {
            export.finish(limit).await;
        }
    }
}

/// What a trusted proxy says.
fn parent(headers: &HeaderMap) -> Option<SpanContext> {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Headers(headers));
    let span = context.span().span_context().clone();
    span.is_valid().then_some(span)
}

/// Headers as propagators want them.
struct Headers<'a>(&'a HeaderMap);

impl Extractor for Headers<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        // Propagators ask by name.
        Vec::new()
    }
}

/// A root span of its own that follows from the current one: work that outlives it and that nobody waits for. `None`: not traced.
#[must_use]
pub fn following(name: &'static str, says: Vec<KeyValue>) -> Option<Context> {
    if !trail::is_traced() {
        return None;
    }
    let current = Context::current();
    let cause = current.span().span_context().clone();
    let id = current.get::<RequestId>().cloned();
    let root = id.map_or_else(Context::new, |id| Context::new().with_value(id));
    let span = SpanBuilder::from_name(name).with_attributes(says);
    let span = root.with_span(global::tracer(trail::SCOPE).build_with_context(span, &root));
    span.span().add_link(cause, Vec::new());
    Some(span)
}

/// Says that the current span waited for what another one made.
pub fn link(other: Option<&SpanContext>) {
    if let Some(other) = other {
        Context::map_current(|context| {
            context.span().add_link(other.clone(), vec![KeyValue::new("acuity.link", "joined")]);
        });
    }
}

/// The current span, if it is one that others may refer to.
#[must_use]
pub fn current() -> Option<SpanContext> {
    Context::map_current(|context| {
        Some(context.span().span_context().clone()).filter(SpanContext::is_sampled)
    })
}

/// Adds to the current span.
pub fn note(key: &'static str, value: impl Into<opentelemetry::Value>) {
    if trail::is_traced() {
        Context::map_current(|context| context.span().set_attribute(KeyValue::new(key, value)));
    }
}

/// Puts the current request's id and, where it is traced, its span into headers of a request that the edge makes.
pub fn carry(headers: &mut HeaderMap) {
    let id = Context::map_current(|context| context.get::<RequestId>().cloned());
    if let Some(value) = id.and_then(|RequestId(id)| id.parse().ok()) {
        headers.insert(crate::request_id::X_REQUEST_ID, value);
    }
    if trail::is_traced() {
        request::inject(&Context::current(), |name, value| drop(headers.insert(name, value)));
    }
}

/// Draws lots that cannot be foretold from outside and cost two multiplications.
struct Draw {
    next: AtomicU64,
    /// Numbers below it win; all ones: always.
    below: AtomicU64,
}

impl Default for Draw {
    fn default() -> Self {
        Self {
            next: AtomicU64::new(RandomState::new().hash_one(std::process::id())),
            below: AtomicU64::new(0),
        }
    }
}

impl Draw {
    fn set(&self, ratio: f64) {
        // The largest product is 2^64, which saturates.
        self.below.store((ratio.clamp(0.0, 1.0) * 2_f64.powi(64)) as u64, Ordering::Relaxed);
    }

    fn next(&self) -> bool {
        let below = self.below.load(Ordering::Relaxed);
        if below == u64::MAX || below == 0 {
            return below != 0;
        }
        // splitmix64 (Steele, Lea, Flood 2014).
        let mut number = self.next.fetch_add(0x9e37_79b9_7f4a_7c15, Ordering::Relaxed);
        number = (number ^ (number >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        number = (number ^ (number >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (number ^ (number >> 31)) < below
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests;
