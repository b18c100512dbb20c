//! The operators' address: `/metrics`, `/livez`, `/readyz`.
//!
//! It is another listener than the players', so that neither can starve the other and nobody outside sees it by accident.

use std::sync::Arc;

use acuity_enhancer::Readiness;
use async_trait::async_trait;
use http::header::{CACHE_CONTROL, CONTENT_LENGTH, CONTENT_TYPE};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;

use crate::app::App;

/// Prometheus' text exposition format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

/// Answers operators.
pub struct Admin {
    app: Arc<App>,
}

impl Admin {
    /// The operators' view of `app`.
    #[must_use]
    pub fn new(app: Arc<App>) -> Self {
        Self { app }
    }

    fn answer(&self, method: &Method, path: &str) -> (StatusCode, HeaderValue, String) {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n".to_owned());
        }
        match path {
            "/metrics" => (StatusCode::OK, METRICS_TYPE, self.app.metrics_text()),
            "/livez" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" => match self.app.readiness() {
                Readiness::Ready => (StatusCode::OK, TEXT, "ready\n".to_owned()),
                Readiness::Starting => {
                    (StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting: models are being loaded\n".to_owned())
                }
                Readiness::Stopped => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopped\n".to_owned()),
            },
            _ => (StatusCode::NOT_FOUND, TEXT, "/metrics /livez /readyz\n".to_owned()),
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let head = request.method == Method::HEAD;
        let (status, content_type, body) = self.answer(&request.method, request.uri.path());
        let mut response = Response::new(Vec::new());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !head {
            *response.body_mut() = body.into_bytes();
        }
        response
    }
}
