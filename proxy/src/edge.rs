//! The edge as pingora sees it: each filter a few lines.
//!
//! Everything that the edge answers itself is answered in `request_filter`, which may wait; pingora's body filters may not,
//! and no processor time is spent in either. What the edge does not answer goes on to the origin, streamed by pingora.

mod decide;
mod out;
mod pass;

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use acuity_playlist::RenditionToken;
use acuity_playlist::uri::path_and_query_of;
use async_trait::async_trait;
use bytes::Bytes;
use http::header::{HOST, LOCATION, RETRY_AFTER};
use http::{HeaderName, HeaderValue, Method, StatusCode};
use opentelemetry::trace::FutureExt as _;
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use url::Url;

use crate::app::{App, InProgress};
use crate::asked::authority;
use crate::limits::Limit;
use crate::limits::admission::{self, Admitted};
use crate::limits::line::Line;
use crate::metrics::{Ended, Kind, Outcome};
use crate::peers::host_header;
use crate::request_id::X_REQUEST_ID;
use crate::respond::cache_status::CacheStatus;
use crate::respond::{self, inner};
use crate::setup::Setup;
use crate::signed;
use crate::signed::request::drop_headers_with;
use crate::site::Site;
use crate::traces;
use out::{ended, note_stream, record, send};
use pass::{FULL, Pass, status_of};

/// A client that reads slower than this holds memory for nothing: no rendition plays at 64 kbit/s.
const MIN_SEND_BYTES_PER_SECOND: usize = 8 << 10;

/// How long a client's connection may lie idle. Players ask every few seconds.
pub(crate) const KEEPALIVE_SECONDS: u64 = 75;

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");
const FORWARDED_HOST: HeaderName = HeaderName::from_static("x-forwarded-host");
const FORWARDED_PROTO: HeaderName = HeaderName::from_static("x-forwarded-proto");

/// The proxy.
pub struct Edge {
    app: Arc<App>,
}

/// One request, from its headers to its log record.
pub struct Context {
    started: Instant,
    began: SystemTime,
    id: Arc<str>,
    kind: Kind,
    outcome: Outcome,
    first_byte_seconds: Option<f64>,
    made_by: Option<Arc<str>>,
    error: Option<String>,
    pass: Option<Pass>,
    /// The signature that the request came with.
    signature: Option<String>,
    /// What was in force when it began.
    setup: Arc<Setup>,
    admitted: Admitted,
    trace: traces::Request,
    /// The rendition that it is for.
    stream: Option<(Site, Arc<RenditionToken>)>,
    _in_progress: InProgress,
}

impl Edge {
    /// An edge of these parts.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// An edge that is going to stop ends its connections with an answer that says so.
    fn part_with(&self, session: &mut Session) {
        if self.app.is_leaving() {
            session.set_keepalive(None);
        }
    }
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Line::request();
        Context {
            started: Instant::now(),
            began: SystemTime::now(),
            id: "".into(),
            kind: Kind::Pass,
            outcome: Outcome::Passed,
            first_byte_seconds: None,
            made_by: None,
            error: None,
            pass: None,
            signature: None,
            setup: self.app.setup(),
            admitted: Admitted::default(),
            trace: traces::Request::default(),
            stream: None,
            _in_progress: self.app.begin(),
        }
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        context.id = self.app.request_ids.of(&session.req_header().headers).into();
        session.set_min_send_rate(Some(MIN_SEND_BYTES_PER_SECOND));
        if session.get_keepalive() == Some(0) {
            session.set_keepalive(Some(KEEPALIVE_SECONDS));
        }
        // A copy, because a session cannot be lent to another thread while the answer is being made.
        let request = session.req_header().clone();
        let config = Arc::clone(&context.setup.config);
        let limits = &config.limits;
        session.set_read_timeout(Some(limits.header_timeout));
        session.set_total_drain_timeout(Some(limits.header_timeout));
        // HTTP/1 has the least rate above and the connection's own watch; in HTTP/2 a stream can be stalled by itself.
        session.set_write_timeout(Some(limits.stall_timeout));
        let peer = session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip);
        context.trace = self.app.traces.begin(&request.headers, peer, &context.id);
        let (admitted, admission) = context.setup.admission.admit(&self.app.clients, &request, peer);
        context.admitted = admitted;
        if let Err(answer) = admission {
            if context.admitted.met.is_some_and(Limit::is_size) {
                // The rest of it is not read.
                session.set_keepalive(None);
            }
            return send(session, context, *answer, request.method == Method::HEAD).await.map(|()| true);
        }
        let behalf = context.trace.context();
        match self.answer(&request, context).with_context(behalf).await {
            Some(answer) => {
                self.part_with(session);
                send(session, context, *answer, request.method == Method::HEAD).await.map(|()| true)
            }
            None => Ok(false),
        }
    }

    async fn request_body_filter(
        &self,
        _session: &mut Session,
        body: &mut Option<Bytes>,
        _end_of_stream: bool,
        context: &mut Context,
    ) -> Result<()> {
        let (bytes, started) = (body.as_ref().map_or(0, Bytes::len), context.started);
        let counted = context.setup.admission.body(&self.app.clients, &mut context.admitted, bytes, started);
        // Whose fault it is, and the status, is in the limit that was met.
        counted.map_err(|limit| Error::explain(ErrorType::Custom("limited"), limit.label()))
    }

    async fn upstream_peer(&self, _session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let Some(pass) = &mut context.pass else { return Err(Error::new_in(ErrorType::InternalError)) };
        loop {
            let Some((url, address, patience)) = pass.place().await else { return Err(Error::new_up(FULL)) };
            let peer = context.setup.peers.of(url, address, patience);
            let error = match peer.with_context(context.trace.context()).await {
                Ok(peer) => return Ok(Box::new(peer)),
                Err(error) => error,
            };
            let words = error.to_string();
            let error = Error::because(ErrorType::ConnectError, "resolving the origin", error).into_up();
            if !pass.cannot_connect(&error) {
                context.error = Some(words);
                return Err(error);
            }
        }
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let Some(pass) = &context.pass else { return Ok(()) };
        let uri = path_and_query_of(pass.url()).parse();
        upstream.set_uri(
            uri.map_err(|error| Error::because(ErrorType::InternalError, "the origin's path", error))?,
        );
        let asked_host =
            authority(&session.req_header().headers, &session.req_header().uri).map(str::to_owned);
        upstream.insert_header(HOST, host_header(pass.url()))?;
        upstream.insert_header(X_REQUEST_ID, &*context.id)?;
        context.trace.pass(upstream, pass.url())?;
        if let Some(signature) = &context.signature {
            drop_headers_with(upstream, signature);
        }
        if let Some(host) = asked_host {
            upstream.insert_header(FORWARDED_HOST, host)?;
        }
        let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
        upstream.insert_header(FORWARDED_PROTO, if tls { "https" } else { "http" })?;
        if let Some(client) = session.client_addr().and_then(|address| address.as_inet()) {
            upstream.append_header(FORWARDED_FOR, client.ip().to_string())?;
        }
        Ok(())
    }

    async fn upstream_response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let Some(pass) = &mut context.pass else { return Ok(()) };
        pass.answers(session, response.status)
    }

    async fn response_filter(
        &self,
        session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        self.part_with(session);
        context.first_byte_seconds.get_or_insert(context.started.elapsed().as_secs_f64());
        let mut own = http::HeaderMap::new();
        CacheStatus { outcome: Outcome::Passed, ttl_seconds: None, detail: None }.append_to(&mut own);
        for (name, value) in own {
            if let Some(name) = name {
                response.append_header(name, value)?;
            }
        }
        response.insert_header(X_REQUEST_ID, &*context.id)?;
        // A redirect within the configured origins stays on the edge.
        let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        if let (Some(pass), Some(location)) = (&context.pass, location) {
            let target = pass.url().join(location).ok();
            let edge_path =
                |url: Url| context.setup.sites.edge_path_of(&pass.site, url.as_str(), &pass.edge_path);
            if let Some(path) = target.and_then(edge_path) {
                let prefix = context.signature.as_deref().map(signed::url_prefix).unwrap_or_default();
                response.insert_header(LOCATION, format!("{prefix}{path}"))?;
            }
        }
        for name in inner::withheld(&response.headers, context.admitted.address) {
            response.remove_header(&name);
        }
        if response.status.is_server_error() {
            context.outcome = Outcome::OriginError;
        }
        Ok(())
    }

    fn fail_to_connect(
        &self,
        _: &mut Session,
        _: &HttpPeer,
        context: &mut Context,
        mut error: Box<Error>,
    ) -> Box<Error> {
        error.set_retry(context.pass.as_mut().is_some_and(|pass| pass.cannot_connect(&error)));
        error
    }

    fn error_while_proxy(
        &self,
        _: &HttpPeer,
        session: &mut Session,
        mut error: Box<Error>,
        context: &mut Context,
        reused: bool,
    ) -> Box<Error> {
        error.retry.decide_reuse(reused);
        let same = error.retry() && !session.as_ref().retry_buffer_truncated();
        error.set_retry(context.pass.as_mut().is_some_and(|pass| pass.broke(session, &error, same)));
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        // A body that met a limit is the client's fault, wherever it was noticed.
        let limited = context.admitted.met.is_some().then_some(StatusCode::BAD_REQUEST);
        let status = limited.or_else(|| status_of(error));
        context.error.get_or_insert_with(|| error.to_string());
        let Some(status) = status.filter(|_| session.response_written().is_none()) else {
            let is_clients = *error.esource() == ErrorSource::Downstream;
            context.outcome = if is_clients { Outcome::ClientGone } else { Outcome::BrokeOff };
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let headers = session.req_header().headers.clone();
        let head = session.req_header().method == Method::HEAD;
        let reason = context.error.take();
        let answer = match context.admitted.met {
            Some(limit) => admission::answer(&headers, limit, None),
            None => {
                let _behalf = context.trace.context().attach();
                tracing::warn!(
                    status = status.as_u16(),
                    reason,
                    "the origin failed a passed-through request"
                );
                let mut answer = respond::origin_fault(&headers, status, Kind::Pass);
                if *error.etype() == FULL {
                    answer.headers.insert(RETRY_AFTER, HeaderValue::from_static("1"));
                }
                answer
            }
        };
        // The connection ends with this; who is not told would send the next request on it.
        session.set_keepalive(None);
        // If the client has left meanwhile there is nobody to tell.
        let _ = send(session, context, answer, head).await;
        context.error = reason;
        FailToProxy { error_code: status.as_u16(), can_reuse_downstream: false }
    }

    fn suppress_error_log(&self, _: &Session, _: &Context, _: &Error) -> bool {
        // pingora's lines hold whole URLs, signatures and all; ours and the access log do not.
        true
    }

    fn suppress_proxy_warn_log(&self, _: &Session, _: &Context, _: &Error, _: ProxyWarnLogContext) -> bool {
        true
    }

    fn request_summary(&self, session: &Session, context: &Context) -> String {
        let request = session.req_header();
        format!("{} {} ({})", request.method, signed::redacted(request.uri.path()), context.id)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        Line::rest();
        let seconds = context.started.elapsed().as_secs_f64();
        let bytes = session.body_bytes_sent();
        if error.is_some_and(|error| *error.esource() == ErrorSource::Downstream) {
            context.outcome = Outcome::ClientGone;
        }
        self.app.metrics.origin_bytes.inc_by(session.upstream_body_bytes_received() as u64);
        self.app.metrics.request(&Ended {
            kind: context.kind,
            outcome: context.outcome,
            status: session.response_written().map(|response| response.status),
            first_byte_seconds: context.first_byte_seconds,
            seconds,
            player_bytes: bytes,
        });
        if self.app.access_log.is_on() {
            self.app.access_log.write(record(session, context, seconds, bytes));
        }
        note_stream(&self.app, session, context, bytes);
        let mut trace = std::mem::take(&mut context.trace);
        trace.end(|| ended(session, context, bytes));
    }
}
