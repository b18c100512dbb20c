//! What leaves the edge of a request: the answer, and its line in the access log.

use std::borrow::Cow;
use std::time::Instant;

use http::header::{CONTENT_LENGTH, TRANSFER_ENCODING};
use http::{HeaderName, HeaderValue, StatusCode, Version};
use pingora::http::{RequestHeader, ResponseHeader};
use pingora::proxy::Session;
use pingora::{Error, ErrorType, Result};

use super::Context;
use crate::access_log::Record;
use crate::app::App;
use crate::asked::authority;
use crate::cache::flow::{FlowEnd, FlowReader};
use crate::limits::Limit;
use crate::metrics::{Kind, Outcome};
use crate::request_id::X_REQUEST_ID;
use crate::respond::Answer;
use crate::route::HlsRoute;
use crate::signed;
use crate::status::Seen;
use crate::traces::Ended;

const SERVER_TIMING: HeaderName = HeaderName::from_static("server-timing");

/// Writes an answer. The whole body is handed over at once: one write for headers, one for all the rest.
pub(super) async fn send(
    session: &mut Session,
    context: &mut Context,
    answer: Answer,
    head: bool,
) -> Result<()> {
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
    header.insert_header(X_REQUEST_ID, &*context.id)?;
    header.insert_header(SERVER_TIMING, server_timing(context.started, made_seconds))?;
    context.first_byte_seconds.get_or_insert(context.started.elapsed().as_secs_f64());
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

/// Puts down that a rendition is watched: of answers that are something of it, and of none that a made-up URL gets.
pub(super) fn note_stream(app: &App, session: &Session, context: &Context, bytes: usize) {
    let Some((site, token)) = &context.stream else { return };
    let is_answered = session.response_written().is_some_and(|response| response.status.is_success());
    if !is_answered || context.kind != Kind::Segment {
        return;
    }
    let agent = session.req_header().headers.get(http::header::USER_AGENT);
    let seen = Seen {
        site,
        token,
        client: context.admitted.address,
        user_agent: agent.map(HeaderValue::as_bytes).unwrap_or_default(),
        made_by: context.made_by.as_ref(),
        bytes,
    };
    app.status.streams.seen(&seen, Instant::now());
}

/// What traces tell of the request.
pub(super) fn ended<'a>(session: &'a Session, context: &'a Context, bytes: usize) -> Ended<'a> {
    let request = session.req_header();
    let text = |name: HeaderName| request.headers.get(name).and_then(|value| value.to_str().ok());
    let tls = session.digest().is_some_and(|digest| digest.ssl_digest.is_some());
    Ended {
        method: &request.method,
        route: route(context, request),
        path: signed::redacted(request.uri.path()),
        scheme: if tls { "https" } else { "http" },
        version: if request.version == Version::HTTP_2 { "2" } else { "1.1" },
        host: authority(&request.headers, &request.uri),
        client: context.admitted.address,
        user_agent: text(http::header::USER_AGENT),
        status: session.response_written().map(|response| response.status.as_u16()),
        bytes,
        kind: context.kind.label(),
        outcome: context.outcome.label(),
        made_by: context.made_by.as_deref(),
        broke_off: context.outcome == Outcome::BrokeOff,
    }
}

/// The template of paths like the request's: the configuration's prefix, and whether a rendition is meant.
fn route(context: &Context, request: &RequestHeader) -> Option<String> {
    let raw = request.uri.path();
    let raw = signed::take(raw).map_or(Cow::Borrowed(raw), |(_, rest)| Cow::Owned(rest));
    let (below, path) = match HlsRoute::classify(&raw) {
        HlsRoute::Enhanced { path_and_query, .. } => ("/~acuity/{token}", path_and_query),
        HlsRoute::Plain { path_and_query } => ("", path_and_query),
        HlsRoute::Model(_) => return Some("/~acuity/models/{path}".to_owned()),
        HlsRoute::Malformed(_) => return None,
    };
    let site = context.setup.sites.site(authority(&request.headers, &request.uri));
    let found = context.setup.sites.find(&site, &path)?;
    let prefix = context.setup.config.routes.get(found.route)?.prefix.trim_end_matches('/').to_owned();
    Some(format!("{below}{prefix}/{{path}}"))
}

/// The request's line in the access log.
pub(super) fn record(session: &Session, context: &Context, seconds: f64, bytes: usize) -> Record {
    let request = session.req_header();
    let text = |name: HeaderName| Some(request.headers.get(name)?.to_str().ok()?.to_owned());
    Record {
        time: context.began,
        id: context.id.to_string(),
        trace_id: context.trace.trace_id(),
        client: context.admitted.address,
        limited: context.admitted.met().map(Limit::label),
        method: request.method.as_str().to_owned(),
        protocol: if request.version == Version::HTTP_2 { "h2" } else { "http/1.1" },
        host: authority(&request.headers, &request.uri).map(str::to_owned),
        path: signed::redacted(request.uri.path()).into_owned(),
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
