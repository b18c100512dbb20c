//! What operators and their machines ask a process that is no edge: `/metrics`, `/livez`, `/readyz`. Nothing can be changed here.

use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http_body_util::Full;
use hyper::body::Incoming;
use hyper::header::CONTENT_TYPE;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioIo, TokioTimer};
use prometheus::{Registry, TextEncoder};
use tokio::net::TcpListener;
use tokio::sync::Semaphore;
use tokio::time::timeout;

/// Connections at one time: a Prometheus, a kubelet, and somebody who looks.
const CONNECTIONS: usize = 16;

/// For a request's head, and for a connection as a whole.
const HEAD_LIMIT: Duration = Duration::from_secs(5);
const CONNECTION_LIMIT: Duration = Duration::from_secs(120);

const PAUSE: Duration = Duration::from_millis(100);

/// Answers for as long as the process runs; `readiness`: why it is not ready, in a word.
pub async fn serve(
    listener: TcpListener,
    registry: Registry,
    readiness: impl Fn() -> Result<(), &'static str> + Send + Sync + 'static,
) {
    let readiness = Arc::new(readiness);
    let places = Arc::new(Semaphore::new(CONNECTIONS));
    loop {
        let Ok(place) = Arc::clone(&places).acquire_owned().await else { return };
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(PAUSE).await;
            continue;
        };
        let (registry, readiness) = (registry.clone(), Arc::clone(&readiness));
        tokio::spawn(async move {
            let answer = service_fn(move |request: Request<Incoming>| {
                let answer = answer(&request, &registry, &*readiness);
                async move { Ok::<_, Infallible>(answer) }
            });
            let mut server = http1::Builder::new();
            server.timer(TokioTimer::new()).header_read_timeout(HEAD_LIMIT);
            // Whoever breaks off has had what they wanted.
            let _ = timeout(CONNECTION_LIMIT, server.serve_connection(TokioIo::new(stream), answer)).await;
            drop(place);
        });
    }
}

fn answer(
    request: &Request<Incoming>,
    registry: &Registry,
    readiness: &dyn Fn() -> Result<(), &'static str>,
) -> Response<Full<Bytes>> {
    let words = |status, text: &'static str| said(status, "text/plain; charset=utf-8", format!("{text}\n"));
    if !matches!(*request.method(), Method::GET | Method::HEAD) {
        return words(StatusCode::METHOD_NOT_ALLOWED, "only GET");
    }
    match request.uri().path() {
        "/livez" => words(StatusCode::OK, "ok"),
        "/readyz" => match readiness() {
            Ok(()) => words(StatusCode::OK, "ok"),
            Err(why) => words(StatusCode::SERVICE_UNAVAILABLE, why),
        },
        "/metrics" => {
            // What was registered can be encoded.
            let text = TextEncoder::new().encode_to_string(&registry.gather()).unwrap_or_default();
            said(StatusCode::OK, "text/plain; version=0.0.4", text)
        }
        _ => words(StatusCode::NOT_FOUND, "/metrics, /livez, /readyz"),
    }
}

fn said(status: StatusCode, kind: &'static str, text: String) -> Response<Full<Bytes>> {
    let mut response = Response::new(Full::new(Bytes::from(text)));
    *response.status_mut() = status;
    response.headers_mut().insert(CONTENT_TYPE, hyper::header::HeaderValue::from_static(kind));
    response
}
