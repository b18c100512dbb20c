//! The operators' address: `/status`, `/metrics`, `/livez`, `/readyz`, and what [`crate::control`] can change.
//!
//! It is another listener than the players', so that neither can starve the other and nobody outside sees it by accident.

use std::path::Path;
use std::sync::Arc;

use acuity_enhancer::Readiness;
use async_trait::async_trait;
use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use http::header::{
    AUTHORIZATION, CACHE_CONTROL, CONTENT_LENGTH, CONTENT_SECURITY_POLICY, CONTENT_TYPE, WWW_AUTHENTICATE,
    X_CONTENT_TYPE_OPTIONS,
};
use http::{HeaderValue, Method, Response, StatusCode};
use pingora::apps::http_app::ServeHttp;
use pingora::protocols::http::ServerSession;
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;

use crate::app::App;
use crate::control;
use crate::secret::{self, SecretFault};
use crate::status;

/// Prometheus' text exposition format.
const METRICS_TYPE: HeaderValue = HeaderValue::from_static("text/plain; version=0.0.4; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");
const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");

const BEARER: &[u8] = b"bearer ";
const BASIC: &[u8] = b"basic ";

/// A page may have its style and nothing else: no script, nothing from elsewhere, in nobody's frame.
const PAGE_POLICY: HeaderValue = HeaderValue::from_static(
    "default-src 'none'; style-src 'unsafe-inline'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'",
);

/// What operators show. Kept and compared as its digest, so that neither time nor length tells anything of it.
pub struct AdminToken([u8; 32]);

impl AdminToken {
    /// Reads it.
    ///
    /// # Errors
    /// See [`SecretFault`].
    pub fn read(path: &Path) -> Result<Self, SecretFault> {
        Ok(Self(Sha256::digest(secret::read(path, secret::BYTES)?).into()))
    }

    fn is(&self, given: &[u8]) -> bool {
        self.0.ct_eq(&Sha256::digest(given)).into()
    }
}

/// The token of `Bearer`.
fn bearer(authorization: &HeaderValue) -> Option<&[u8]> {
    let (scheme, given) = authorization.as_bytes().split_at_checked(BEARER.len())?;
    scheme.eq_ignore_ascii_case(BEARER).then(|| given.trim_ascii())
}

/// The password of `Basic`, whoever says that it is his.
fn password(authorization: &HeaderValue) -> Option<Vec<u8>> {
    let (scheme, given) = authorization.as_bytes().split_at_checked(BASIC.len())?;
    let pair = STANDARD.decode(given.trim_ascii()).ok().filter(|_| scheme.eq_ignore_ascii_case(BASIC))?;
    let colon = pair.iter().position(|byte| *byte == b':')?;
    pair.get(colon + 1..).map(<[u8]>::to_vec)
}

/// What people look at in a browser.
fn is_page(path: &str) -> bool {
    matches!(path, "/status" | "/status.json")
}

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

    /// Whether a request may see more than that the process lives.
    fn is_allowed(&self, path: &str, authorization: Option<&HeaderValue>) -> bool {
        let Some(token) = &self.app.admin_token else { return true };
        let given = authorization.and_then(|value| match bearer(value) {
            Some(given) => Some(given.to_vec()),
            // What a browser sends by itself is taken only where nothing can be changed.
            None => password(value).filter(|_| is_page(path)),
        });
        let allowed = given.is_some_and(|given| token.is(&given));
        if !allowed {
            self.app.metrics.admin_refusals.inc();
        }
        allowed
    }

    /// What is said to who does not show the token.
    fn refusal(
        &self,
        path: &str,
        authorization: Option<&HeaderValue>,
    ) -> Option<(StatusCode, HeaderValue, String)> {
        // Probes of orchestrators carry no secrets, and these two tell nobody anything.
        let is_open = matches!(path, "/livez" | "/readyz") || self.is_allowed(path, authorization);
        (!is_open).then(|| (StatusCode::UNAUTHORIZED, TEXT, "a token is needed\n".to_owned()))
    }

    async fn answer(
        &self,
        method: &Method,
        path: &str,
        query: Option<&str>,
    ) -> (StatusCode, HeaderValue, String) {
        if !matches!(*method, Method::GET | Method::HEAD) {
            return (StatusCode::METHOD_NOT_ALLOWED, TEXT, "GET and HEAD only\n".to_owned());
        }
        match path {
            "/metrics" => (StatusCode::OK, METRICS_TYPE, self.app.metrics_text().await),
            "/livez" => (StatusCode::OK, TEXT, "alive\n".to_owned()),
            "/readyz" if self.app.is_leaving() => (
                StatusCode::SERVICE_UNAVAILABLE,
                TEXT,
                "stopping: what is asked for is still answered, for a while\n".to_owned(),
            ),
            "/readyz" => match self.app.readiness() {
                Readiness::Ready => (StatusCode::OK, TEXT, "ready\n".to_owned()),
                Readiness::Starting => {
                    (StatusCode::SERVICE_UNAVAILABLE, TEXT, "starting: models are being loaded\n".to_owned())
                }
                Readiness::Stopped => (StatusCode::SERVICE_UNAVAILABLE, TEXT, "stopped\n".to_owned()),
            },
            _ => match status::answer(&self.app, path, query).await {
                Some((content_type, text)) => (StatusCode::OK, HeaderValue::from_static(content_type), text),
                None => (StatusCode::NOT_FOUND, TEXT, "/status /metrics /livez /readyz /routes\n".to_owned()),
            },
        }
    }
}

#[async_trait]
impl ServeHttp for Admin {
    async fn response(&self, session: &mut ServerSession) -> Response<Vec<u8>> {
        let request = session.req_header();
        let head = request.method == Method::HEAD;
        let shown = request.headers.get(AUTHORIZATION);
        let (status, content_type, body) = match self.refusal(request.uri.path(), shown) {
            Some(refusal) => refusal,
            None => match control::act(&self.app, request).await {
                Some((status, told)) => (status, JSON, format!("{told}\n")),
                None => self.answer(&request.method, request.uri.path(), request.uri.query()).await,
            },
        };
        let mut response = Response::new(Vec::new());
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.insert(CONTENT_TYPE, content_type);
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        headers.insert(CONTENT_SECURITY_POLICY, PAGE_POLICY);
        headers.insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
        if status == StatusCode::UNAUTHORIZED {
            let wanted = if is_page(request.uri.path()) { "Basic realm=\"acuity\"" } else { "Bearer" };
            headers.insert(WWW_AUTHENTICATE, HeaderValue::from_static(wanted));
        }
        headers.insert(CONTENT_LENGTH, HeaderValue::from(body.len()));
        if !head {
            *response.body_mut() = body.into_bytes();
        }
        response
    }
}
