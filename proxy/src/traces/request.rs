//! One request's span, from its headers to its end, and its way on to an origin.

use std::borrow::Cow;
use std::collections::HashMap;
use std::net::IpAddr;

use http::header::HeaderName;
use http::{HeaderValue, Method};
use opentelemetry::propagation::TextMapPropagator as _;
use opentelemetry::trace::{SpanKind, Status, TraceContextExt as _};
use opentelemetry::{Context, KeyValue};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use pingora::http::RequestHeader;
use url::Url;

use super::{TRACEPARENT, TRACESTATE};
use acuity_workers::trail;

/// Longest text of a stranger's that goes to the collector, in bytes.
const TEXT_LIMIT_BYTES: usize = 512;

/// A request as traces see it.
#[derive(Debug, Default)]
pub struct Request {
    context: Context,
    is_traced: bool,
    /// Traces are on: what goes to the origin is ours, or a trusted proxy's.
    is_on: bool,
    /// The request to the origin that it is passed through by.
    passed: Option<Context>,
}

/// What a request turned out to be.
#[derive(Debug, Clone)]
pub struct Ended<'a> {
    /// Its method.
    pub method: &'a Method,
    /// The route's path template.
    pub route: Option<String>,
    /// Its path without query and without signature.
    pub path: Cow<'a, str>,
    /// `http` or `https`.
    pub scheme: &'static str,
    /// `1.1` or `2`.
    pub version: &'static str,
    /// Whom it was for.
    pub host: Option<&'a str>,
    /// Whom it is from.
    pub client: Option<IpAddr>,
    /// The client's word for itself.
    pub user_agent: Option<&'a str>,
    /// Status of the answer; none if there was none.
    pub status: Option<u16>,
    /// Body bytes sent.
    pub bytes: usize,
    /// What it was for.
    pub kind: &'static str,
    /// What came of it.
    pub outcome: &'static str,
    /// What made the object.
    pub made_by: Option<&'a str>,
    /// Whether the answer broke off.
    pub broke_off: bool,
}

impl Request {
    /// Traces are off.
    pub(super) fn unseen(context: Context) -> Self {
        Self { context, is_traced: false, is_on: false, passed: None }
    }

    pub(super) fn untraced(context: Context) -> Self {
        Self { context, is_traced: false, is_on: true, passed: None }
    }

    pub(super) fn traced(context: Context) -> Self {
        Self { context, is_on: true, is_traced: true, passed: None }
    }

    /// What its work is done in.
    #[must_use]
    pub fn context(&self) -> Context {
        self.context.clone()
    }

    /// The trace's id, if it is traced.
    #[must_use]
    pub fn trace_id(&self) -> Option<String> {
        self.is_traced.then(|| self.context.span().span_context().trace_id().to_string())
    }

    /// It goes on to an origin: `upstream` is what is sent there, to `url`. Said again where it is tried again.
    ///
    /// # Errors
    /// pingora does not take the header.
    pub fn pass(&mut self, upstream: &mut RequestHeader, url: &Url) -> pingora::Result<()> {
        if !self.is_on {
            return Ok(());
        }
        upstream.remove_header(&TRACEPARENT);
        upstream.remove_header(&TRACESTATE);
        let mut headers = Vec::new();
        if self.is_traced {
            trail::end(self.passed.as_ref(), [], Some("retried"));
            let _within = self.context.clone().attach();
            self.passed = trail::child(
                name(&upstream.method).to_owned(),
                SpanKind::Client,
                toward(&upstream.method, url),
            );
            inject(self.passed.as_ref().unwrap_or(&self.context), |name, value| headers.push((name, value)));
        } else {
            // A trusted proxy's, as it came; else nothing.
            inject(&self.context, |name, value| headers.push((name, value)));
        }
        headers.into_iter().try_for_each(|(name, value)| upstream.insert_header(name, value))
    }

    /// It is over. `ended` is asked only if somebody wants to know.
    pub fn end<'a>(&mut self, ended: impl FnOnce() -> Ended<'a>) {
        if !self.is_traced {
            return;
        }
        let ended = ended();
        let status = ended.status.map(|status| KeyValue::new("http.response.status_code", i64::from(status)));
        let failed = match ended.status {
            _ if ended.broke_off => Some("broke_off"),
            Some(500..) => Some("5xx"),
            _ => None,
        };
        trail::end(self.passed.take().as_ref(), status.clone(), failed);
        let span = self.context.span();
        let method = name(ended.method);
        span.update_name(match &ended.route {
            Some(route) => format!("{method} {route}"),
            None => method.to_owned(),
        });
        span.set_attributes(status);
        span.set_attributes(attributes(ended));
        if let Some(label) = failed {
            span.set_attribute(KeyValue::new("error.type", label));
            span.set_status(Status::error(label));
        }
        span.end();
    }
}

impl Drop for Request {
    /// A request that pingora ended without a word of it.
    fn drop(&mut self) {
        if self.is_traced {
            trail::end(self.passed.take().as_ref(), [], Some("gone"));
        }
    }
}

fn attributes(ended: Ended<'_>) -> Vec<KeyValue> {
    let Ended {
        method,
        route,
        path,
        scheme,
        version,
        host,
        client,
        user_agent,
        bytes,
        kind,
        outcome,
        made_by,
        ..
    } = ended;
    let text = |text: &str| cut(text).to_owned();
    let mut says = vec![
        KeyValue::new("http.request.method", known(method)),
        KeyValue::new("url.path", text(&path)),
        KeyValue::new("url.scheme", scheme),
        KeyValue::new("network.protocol.version", version),
        KeyValue::new("http.response.body.size", i64::try_from(bytes).unwrap_or(i64::MAX)),
        KeyValue::new("acuity.kind", kind),
        KeyValue::new("acuity.outcome", outcome),
    ];
    says.extend(route.map(|route| KeyValue::new("http.route", route)));
    if let Some((host, port)) = host.map(host_and_port) {
        says.push(KeyValue::new("server.address", text(host)));
        says.extend(port.map(|port| KeyValue::new("server.port", i64::from(port))));
    }
    says.extend(client.map(|client| KeyValue::new("client.address", client.to_string())));
    says.extend(user_agent.map(|agent| KeyValue::new("user_agent.original", text(agent))));
    says.extend(made_by.map(|made_by| KeyValue::new("acuity.made_by", text(made_by))));
    says
}

/// The parts of `Host`.
pub(super) fn host_and_port(authority: &str) -> (&str, Option<u16>) {
    let (host, port) = match authority.rsplit_once(':') {
        Some((host, port)) => (host, port.parse().ok()),
        None => (authority, None),
    };
    if port.is_some() { (host, port) } else { (authority, None) }
}

/// What is told of a request to an origin. Its query is left out: signatures stand there.
pub(crate) fn toward(method: &Method, url: &Url) -> Vec<KeyValue> {
    let mut bare = url.clone();
    bare.set_query(None);
    bare.set_fragment(None);
    // Fails only for URLs that have no host.
    let _ = bare.set_username("").and_then(|()| bare.set_password(None));
    let mut says = vec![
        KeyValue::new("http.request.method", known(method)),
        KeyValue::new("url.full", cut(crate::signed::redacted(bare.as_str()).as_ref()).to_owned()),
        KeyValue::new("server.address", bare.host_str().unwrap_or_default().to_owned()),
    ];
    says.extend(bare.port_or_known_default().map(|port| KeyValue::new("server.port", i64::from(port))));
    says
}

/// A path as it may be told: without query and signature, and no longer than it has to be.
pub(crate) fn path_of(path_and_query: &str) -> String {
    cut(crate::signed::redacted(acuity_playlist::uri::split_query(path_and_query).0).as_ref()).to_owned()
}

/// Methods that become a span's name; the others would be as many names as strangers think of.
fn name(method: &Method) -> &'static str {
    match known(method) {
        "_OTHER" => "HTTP",
        known => known,
    }
}

fn known(method: &Method) -> &'static str {
    let all = ["GET", "HEAD", "POST", "PUT", "DELETE", "OPTIONS", "PATCH", "TRACE", "CONNECT"];
    all.into_iter().find(|known| *known == method.as_str()).unwrap_or("_OTHER")
}

fn cut(text: &str) -> &str {
    text.get(..text.floor_char_boundary(TEXT_LIMIT_BYTES)).unwrap_or(text)
}

/// The headers that name a context's span.
pub(super) fn inject(context: &Context, mut put: impl FnMut(HeaderName, HeaderValue)) {
    let mut pairs: HashMap<String, String> = HashMap::new();
    TraceContextPropagator::new().inject_context(context, &mut pairs);
    for (name, value) in pairs {
        if value.is_empty() {
            continue;
        }
        if let (Ok(name), Ok(value)) = (HeaderName::try_from(name), HeaderValue::try_from(value)) {
            put(name, value);
        }
    }
}
