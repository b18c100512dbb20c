//! The edge as pingora sees it: each filter a few lines.
//!
//! Everything that the edge answers itself is answered in `request_filter`, which may wait; pingora's body filters may not,
//! and no processor time is spent in either. What the edge does not answer goes on to the origin, streamed by pingora.

use std::sync::Arc;
use std::time::{Instant, SystemTime};

use async_trait::async_trait;
use http::header::{CONTENT_LENGTH, HOST, LOCATION, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, Method, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::{FailToProxy, ProxyHttp, ProxyWarnLogContext, Session};
use pingora::upstreams::peer::HttpPeer;
use pingora::{Error, ErrorSource, ErrorType, Result};
use url::Url;

use crate::access_log::Record;
use crate::app::{App, InProgress};
use crate::asked::{Asked, authority};
use crate::cache::flow::{FlowEnd, FlowReader};
use crate::client::strip_cmcd;
use crate::hls::uri::{RESERVED_PREFIX, path_and_query_of, split_query};
use crate::journey::End;
use crate::metrics::{Kind, Outcome};
use crate::model_path::ModelPath;
use crate::peers::host_header;
use crate::request_id::X_REQUEST_ID;
use crate::respond::cache_status::CacheStatus;
use crate::respond::{self, Answer, cors};
use crate::route::HlsRoute;
use crate::site::Site;
use http::StatusCode;

/// A client that reads slower than this holds memory for nothing: no rendition plays at 64 kbit/s.
const MIN_SEND_BYTES_PER_SECOND: usize = 8 << 10;

/// How long a client's connection may lie idle. Players ask every few seconds.
const KEEPALIVE_SECONDS: u64 = 75;

/// Times a request that was not yet sent is tried at the origin's next address.
const CONNECT_ATTEMPTS: usize = 2;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");
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
    id: String,
    kind: Kind,
    outcome: Outcome,
    made_by: Option<Arc<str>>,
    error: Option<String>,
    pass: Option<Pass>,
    connect_attempts: usize,
    _in_progress: InProgress,
}

/// Where a request goes on to.
struct Pass {
    site: Site,
    edge_path: String,
    url: Url,
}

impl Edge {
    /// An edge of these parts.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    /// Answers the request, or says where it goes.
    async fn answer(&self, request: &RequestHeader, context: &mut Context) -> Option<Box<Answer>> {
        let app = &*self.app;
        let site = app.sites.site(authority(&request.headers, &request.uri));
        let raw = request.uri.path_and_query().map_or("/", http::uri::PathAndQuery::as_str);
        let reads = matches!(request.method, Method::GET | Method::HEAD);
        if request.method == Method::OPTIONS
            && cors::answers_options(&request.headers, raw.starts_with(RESERVED_PREFIX))
        {
            return Some(Box::new(respond::preflight(&request.headers)));
        }
        let asked = Asked::new(request, site.clone(), raw);
        let end = match HlsRoute::classify(raw) {
            HlsRoute::Malformed(why) => {
                return Some(refused(request, StatusCode::BAD_REQUEST, &why.to_string()));
            }
            HlsRoute::Model(path) => return Some(self.model(request, path.filter(|_| reads))),
            HlsRoute::Enhanced { token, path_and_query } if reads => {
                app.enhanced_journey.answer(&asked, *token, &path_and_query).await
            }
            HlsRoute::Plain { path_and_query } if reads && names_playlist(&path_and_query) => {
                let route = app
                    .sites
                    .find(&site, &path_and_query)
                    .and_then(|found| app.config.routes.get(found.route));
                match route {
                    Some(route) => app.playlist_journey.answer(&asked, route, &path_and_query).await,
                    None => End::Pass { path_and_query },
                }
            }
            HlsRoute::Enhanced { path_and_query, .. } | HlsRoute::Plain { path_and_query } => {
                End::Pass { path_and_query }
            }
        };
        match end {
            End::Answer(answer) => Some(answer),
            End::Pass { path_and_query } => {
                let edge_path = strip_cmcd(&path_and_query);
                let Some(found) = app.sites.find(&site, &edge_path) else {
                    return Some(refused(request, StatusCode::NOT_FOUND, "no route leads there"));
                };
                context.pass = Some(Pass { site, edge_path, url: found.origin_url });
                None
            }
        }
    }
}

impl Edge {
    /// A network, or what describes one.
    fn model(&self, request: &RequestHeader, path: Option<ModelPath>) -> Box<Answer> {
        let answer = path.and_then(|path| self.app.models.answer(&request.method, &request.headers, &path));
        answer
            .map_or_else(|| refused(request, StatusCode::NOT_FOUND, "no such model is in use here"), Box::new)
    }
}

/// Whether a path looks like a playlist's; what it really is shows its text.
fn names_playlist(path_and_query: &str) -> bool {
    let path = split_query(path_and_query).0.to_ascii_lowercase();
    path.ends_with(".m3u8") || path.ends_with(".m3u")
}

fn refused(request: &RequestHeader, status: StatusCode, words: &str) -> Box<Answer> {
    Box::new(respond::message(&request.headers, status, words, Kind::Refused, Outcome::Local))
}

#[async_trait]
impl ProxyHttp for Edge {
    type CTX = Context;

    fn new_ctx(&self) -> Context {
        Context {
            started: Instant::now(),
            began: SystemTime::now(),
            id: String::new(),
            kind: Kind::Pass,
            outcome: Outcome::Passed,
            made_by: None,
            error: None,
            pass: None,
            connect_attempts: 0,
            _in_progress: self.app.begin(),
        }
    }

    async fn request_filter(&self, session: &mut Session, context: &mut Context) -> Result<bool> {
        context.id = self.app.request_ids.of(&session.req_header().headers);
        session.set_min_send_rate(Some(MIN_SEND_BYTES_PER_SECOND));
        if session.get_keepalive() == Some(0) {
            session.set_keepalive(Some(KEEPALIVE_SECONDS));
        }
        // A copy, because a session cannot be lent to another thread while the answer is being made.
        let request = session.req_header().clone();
        match self.answer(&request, context).await {
            Some(answer) => {
                send(session, context, *answer, request.method == Method::HEAD).await.map(|()| true)
            }
            None => Ok(false),
        }
    }

    async fn upstream_peer(&self, _session: &mut Session, context: &mut Context) -> Result<Box<HttpPeer>> {
        let Some(pass) = &context.pass else { return Err(Error::new_in(ErrorType::InternalError)) };
        let peer = self.app.peers.of(&pass.url, context.connect_attempts).await;
        peer.map(Box::new).map_err(|error| {
            context.error = Some(error.to_string());
            Error::because(ErrorType::ConnectError, "resolving the origin", error).into_up()
        })
    }

    async fn upstream_request_filter(
        &self,
        session: &mut Session,
        upstream: &mut RequestHeader,
        context: &mut Context,
    ) -> Result<()> {
        let Some(pass) = &context.pass else { return Ok(()) };
        let uri = path_and_query_of(&pass.url).parse();
        upstream.set_uri(
            uri.map_err(|error| Error::because(ErrorType::InternalError, "the origin's path", error))?,
        );
        let asked_host =
            authority(&session.req_header().headers, &session.req_header().uri).map(str::to_owned);
        upstream.insert_header(HOST, host_header(&pass.url))?;
        upstream.insert_header(X_REQUEST_ID, context.id.as_str())?;
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

    async fn response_filter(
        &self,
        _session: &mut Session,
        response: &mut ResponseHeader,
        context: &mut Context,
    ) -> Result<()> {
        let mut own = http::HeaderMap::new();
        CacheStatus { outcome: Outcome::Passed, ttl_seconds: None, detail: None }.append_to(&mut own);
        for (name, value) in own {
            if let Some(name) = name {
                response.append_header(name, value)?;
            }
        }
        response.insert_header(X_REQUEST_ID, context.id.as_str())?;
        // A redirect within the configured origins stays on the edge.
        let location = response.headers.get(LOCATION).and_then(|value| value.to_str().ok());
        if let (Some(pass), Some(location)) = (&context.pass, location) {
            let target = pass.url.join(location).ok();
            let edge_path = |url: Url| self.app.sites.edge_path_of(&pass.site, url.as_str(), &pass.edge_path);
            if let Some(path) = target.and_then(edge_path) {
                response.insert_header(LOCATION, path)?;
            }
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
        context.connect_attempts += 1;
        error.set_retry(context.connect_attempts < CONNECT_ATTEMPTS);
        error
    }

    async fn fail_to_proxy(
        &self,
        session: &mut Session,
        error: &Error,
        context: &mut Context,
    ) -> FailToProxy {
        let status = status_of(error);
        context.error.get_or_insert_with(|| error.to_string());
        let Some(status) = status.filter(|_| session.response_written().is_none()) else {
            if *error.esource() == ErrorSource::Downstream {
                context.outcome = Outcome::ClientGone;
            }
            return FailToProxy { error_code: 0, can_reuse_downstream: false };
        };
        let headers = session.req_header().headers.clone();
        let head = session.req_header().method == Method::HEAD;
        let reason = context.error.take();
        tracing::warn!(id = %context.id, status = status.as_u16(), reason, "the origin failed a passed-through request");
        let answer = respond::origin_fault(&headers, status, Kind::Pass);
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
        format!("{} {} ({})", request.method, request.uri.path(), context.id)
    }

    async fn logging(&self, session: &mut Session, error: Option<&Error>, context: &mut Context) {
        let seconds = context.started.elapsed().as_secs_f64();
        let bytes = session.body_bytes_sent();
        if error.is_some_and(|error| *error.esource() == ErrorSource::Downstream) {
            context.outcome = Outcome::ClientGone;
        }
        self.app.metrics.origin_bytes.inc_by(session.upstream_body_bytes_received() as u64);
        self.app.metrics.request(context.kind, context.outcome, seconds, bytes);
        if self.app.access_log.is_on() {
            self.app.access_log.write(record(session, context, seconds, bytes));
        }
    }
}

/// Writes an answer. The whole body is handed over at once: one write for headers, one for all the rest.
async fn send(session: &mut Session, context: &mut Context, answer: Answer, head: bool) -> Result<()> {
    let Answer { status, headers, body, flow, kind, outcome, made_by, error, made_seconds } = answer;
    (context.kind, context.outcome, context.made_by, context.error) = (kind, outcome, made_by, error);
    let mut header = ResponseHeader::build(status, Some(headers.len() + 4))?;
    let mut last = None;
    for (name, value) in headers {
        last = name.or(last);
        if let Some(name) = &last {
            header.append_header(name.clone(), value)?;
        }
    }
    if flow.is_some() {
        if session.req_header().version == Version::HTTP_11 {
            header.insert_header(TRANSFER_ENCODING, "chunked")?;
        }
    } else if !matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED) {
        header.insert_header(CONTENT_LENGTH, HeaderValue::from(body.len()))?;
    }
    header.insert_header(X_REQUEST_ID, context.id.as_str())?;
    header.insert_header(SERVER_TIMING, server_timing(context.started, made_seconds))?;
    let ends = head || (body.is_empty() && flow.is_none());
    session.write_response_header(Box::new(header), ends).await.map_err(|error| error.into_down())?;
    if let Some(flow) = flow {
        return send_flow(session, context, flow).await;
    }
    if !ends {
        session.write_response_body(Some(body), true).await.map_err(|error| error.into_down())?;
    }
    Ok(())
}

/// Writes an object as it comes. One that breaks off ends the connection without the mark of an end.
async fn send_flow(session: &mut Session, context: &mut Context, mut flow: FlowReader) -> Result<()> {
    loop {
        match flow.next().await {
            Ok(piece) => {
                let written = session.write_response_body(Some(piece), false).await;
                written.map_err(|error| error.into_down())?;
            }
            Err(FlowEnd::Whole) => {
                return session.write_response_body(None, true).await.map_err(|error| error.into_down());
            }
            Err(FlowEnd::Broken) => {
                context.error = Some("the object broke off while it was being sent".to_owned());
                return Err(Error::new_in(ErrorType::InternalError));
            }
        }
    }
}

/// `Server-Timing`: milliseconds in all, and of these in making the object.
fn server_timing(started: Instant, made_seconds: Option<f64>) -> String {
    let total = started.elapsed().as_secs_f64() * 1000.0;
    match made_seconds {
        Some(seconds) => format!("total;dur={total:.2}, make;dur={:.2}", seconds * 1000.0),
        None => format!("total;dur={total:.2}"),
    }
}

/// The status that an error on the way to the origin gives; `None` if the client is gone.
fn status_of(error: &Error) -> Option<StatusCode> {
    match (error.etype(), error.esource()) {
        (
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout | ErrorType::ReadTimedout,
            ErrorSource::Upstream,
        ) => Some(StatusCode::GATEWAY_TIMEOUT),
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Some(StatusCode::BAD_REQUEST),
        (_, ErrorSource::Downstream) => None,
        _ => Some(StatusCode::BAD_GATEWAY),
    }
}

fn record(session: &Session, context: &Context, seconds: f64, bytes: usize) -> Record {
    let request = session.req_header();
    let text = |name: HeaderName| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
    Record {
        time: context.began,
        id: context.id.clone(),
        client: session.client_addr().and_then(|address| address.as_inet()).map(std::net::SocketAddr::ip),
        method: request.method.as_str().to_owned(),
        protocol: if request.version == Version::HTTP_2 { "h2" } else { "http/1.1" },
        host: authority(&request.headers, &request.uri).map(str::to_owned),
        path: request.uri.path().to_owned(),
        status: session.response_written().map_or(0, |response| response.status.as_u16()),
        bytes,
        seconds,
        kind: context.kind.label(),
        outcome: context.outcome.label(),
        made_by: context.made_by.as_deref().map(str::to_owned),
        user_agent: text(http::header::USER_AGENT),
        error: context.error.clone(),
    }
}
