//! One request, answered: look the content up, apply the path's fault, honour conditions and ranges.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::io;
use std::path::{Component, Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, Instant};

use axum::body::Body;
use axum::extract::State as Extracted;
use axum::http::{HeaderMap, Method, Request, Response, StatusCode, header};
use bytes::Bytes;
use futures::StreamExt;

use super::{Fault, SEEN_LIMIT, Seen, State};

/// Answers everything; the router has no other route.
pub(crate) async fn answer(
    Extracted(state): Extracted<Arc<State>>,
    request: Request<Body>,
) -> Response<Body> {
    let header = state.lock().headers.get(request.uri().path()).cloned();
    let mut response = answer_without(&state, request).await;
    if let Some((name, value)) = header {
        response.headers_mut().insert(name, value);
    }
    response
}

/// The answer without the header that was asked for on top.
async fn answer_without(state: &State, request: Request<Body>) -> Response<Body> {
    let path = request.uri().path().to_owned();
    let (stored, folders, fault) = {
        let mut inner = state.lock();
        if inner.seen.len() >= SEEN_LIMIT {
            inner.seen.drain(..SEEN_LIMIT / 2);
        }
        inner.seen.push(Seen {
            method: request.method().clone(),
            path: path.clone(),
            query: request.uri().query().unwrap_or_default().to_owned(),
            headers: request.headers().clone(),
            at: Instant::now(),
        });
        (inner.files.get(&path).cloned(), inner.folders.clone(), inner.fault_of(&path))
    };
    if request.method() == Method::OPTIONS {
        return respond(
            StatusCode::NO_CONTENT,
            &path,
            |response| {
                response
                    .header("access-control-allow-headers", "*")
                    .header("access-control-allow-methods", "GET, HEAD, OPTIONS")
            },
            Body::empty(),
        );
    }
    if let Some(Fault::Latency(pause)) = fault {
        tokio::time::sleep(pause).await;
    }
    if let Some(Fault::Status(code)) = fault {
        let status = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        return respond(status, "x.txt", |response| response, Body::from("told to fail\n"));
    }
    let content = match stored {
        Some(bytes) => Some(bytes),
        None => from_folders(&folders, &path).await,
    };
    let Some(content) = content else {
        return respond(StatusCode::NOT_FOUND, "x.txt", |response| response, Body::from("no such file\n"));
    };
    let content = fault.as_ref().map_or_else(|| content.clone(), |fault| fault.spoil(content.clone()));
    send(&request, &path, content, fault.as_ref())
}

fn send(request: &Request<Body>, path: &str, content: Bytes, fault: Option<&Fault>) -> Response<Body> {
    let etag = etag(&content);
    let whole_bytes = content.len();
    if request.headers().get(header::IF_NONE_MATCH).is_some_and(|value| value.as_bytes() == etag.as_bytes()) {
        return respond(
            StatusCode::NOT_MODIFIED,
            path,
            |response| response.header(header::ETAG, etag),
            Body::empty(),
        );
    }
    let (status, content, content_range) = match range(request.headers(), whole_bytes) {
        None => (StatusCode::OK, content, None),
        Some(Some((first, last))) => {
            let told = format!("bytes {first}-{last}/{whole_bytes}");
            (StatusCode::PARTIAL_CONTENT, content.slice(first..=last), Some(told))
        }
        Some(None) => {
            (StatusCode::RANGE_NOT_SATISFIABLE, Bytes::new(), Some(format!("bytes */{whole_bytes}")))
        }
    };
    let length = content.len();
    let body = if request.method() == Method::HEAD { Body::empty() } else { body(content, fault) };
    respond(
        status,
        path,
        |mut response| {
            response = response.header(header::ETAG, etag).header(header::CONTENT_LENGTH, length);
            match content_range {
                Some(told) => response.header(header::CONTENT_RANGE, told),
                None => response,
            }
        },
        body,
    )
}

/// The body, with the pauses and cuts the fault asks for.
fn body(content: Bytes, fault: Option<&Fault>) -> Body {
    match fault.cloned() {
        Some(Fault::CutConnection { after_bytes }) => {
            let start = content.slice(..after_bytes.min(content.len()));
            let cut = futures::stream::once(async {
                // without a pause the server drops what it has not written yet, head included
                tokio::time::sleep(Duration::from_millis(50)).await;
                Err(io::Error::new(io::ErrorKind::ConnectionReset, "told to cut the connection"))
            });
            Body::from_stream(futures::stream::iter([Ok(start)]).chain(cut))
        }
        Some(Fault::Stall { after_bytes, pause }) => {
            let at = after_bytes.min(content.len());
            let (start, rest) = (content.slice(..at), content.slice(at..));
            let late = futures::stream::once(async move {
                tokio::time::sleep(pause).await;
                Ok::<_, io::Error>(rest)
            });
            Body::from_stream(futures::stream::iter([Ok(start)]).chain(late))
        }
        _ => Body::from(content),
    }
}

/// `None` without a usable Range header; `Some(None)` when it cannot be satisfied (RFC 9110, 14.1.2).
fn range(headers: &HeaderMap, whole_bytes: usize) -> Option<Option<(usize, usize)>> {
    let spec = headers.get(header::RANGE)?.to_str().ok()?.strip_prefix("bytes=")?;
    let (first, last) = spec.split_once('-')?;
    let end = whole_bytes.checked_sub(1);
    Some(match (first.parse::<usize>().ok(), last.parse::<usize>().ok()) {
        (Some(first), last) => end
            .filter(|&end| first <= end)
            .map(|end| (first, last.unwrap_or(end).min(end)))
            .filter(|(first, last)| first <= last),
        (None, Some(suffix)) if first.is_empty() => {
            end.filter(|_| suffix > 0).map(|end| (whole_bytes.saturating_sub(suffix), end))
        }
        _ => return None,
    })
}

/// A strong validator of the bytes themselves.
fn etag(content: &Bytes) -> String {
    let mut hasher = DefaultHasher::new();
    content.hash(&mut hasher);
    format!("\"{:016x}\"", hasher.finish())
}

async fn from_folders(folders: &[(String, PathBuf)], path: &str) -> Option<Bytes> {
    for (prefix, folder) in folders {
        let Some(rest) = path.strip_prefix(prefix.as_str()).and_then(|rest| rest.strip_prefix('/')) else {
            continue;
        };
        let decoded = percent_encoding::percent_decode_str(rest).decode_utf8().ok()?;
        let relative = Path::new(decoded.as_ref());
        // anything but plain names (`..`, a second root) could leave the folder
        if !relative.components().all(|part| matches!(part, Component::Normal(_))) {
            continue;
        }
        let mut file = folder.join(relative);
        if rest.is_empty() || rest.ends_with('/') {
            file = file.join("index.html");
        }
        if let Ok(bytes) = tokio::fs::read(&file).await {
            return Some(bytes.into());
        }
    }
    None
}

/// Content types as origins send them; players and the edge look at them.
fn content_type(path: &str) -> &'static str {
    match path.rsplit_once('.').map_or("", |(_, extension)| extension) {
        "m3u8" => "application/vnd.apple.mpegurl",
        "ts" => "video/mp2t",
        "m4s" | "mp4" => "video/mp4",
        "aac" => "audio/aac",
        "vtt" => "text/vtt; charset=utf-8",
        "js" | "mjs" => "text/javascript; charset=utf-8",
        "css" => "text/css; charset=utf-8",
        "json" => "application/json",
        "txt" => "text/plain; charset=utf-8",
        _ if path.ends_with('/') || path.ends_with(".html") => "text/html; charset=utf-8",
        _ => "application/octet-stream",
    }
}

fn respond(
    status: StatusCode,
    path: &str,
    more: impl FnOnce(axum::http::response::Builder) -> axum::http::response::Builder,
    body: Body,
) -> Response<Body> {
    let cache = if path.ends_with(".m3u8") { "max-age=1" } else { "max-age=3600" };
    let head = Response::builder()
        .status(status)
        .header(header::CONTENT_TYPE, content_type(path))
        .header(header::ACCEPT_RANGES, "bytes")
        .header(header::CACHE_CONTROL, cache)
        .header("access-control-allow-origin", "*")
        .header("access-control-expose-headers", "*");
    more(head).body(body).unwrap_or_default()
}
