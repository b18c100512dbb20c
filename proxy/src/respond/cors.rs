//! Cross-origin rules (WHATWG Fetch) of what the edge itself answers.
//!
//! Players run on pages of other sites, so everything the edge makes may be read by every page. None of it depends on
//! cookies (the edge does not forward them, see `origin`), so allowing credentials gives nothing away; without it
//! players set to `withCredentials` would fail. Preflights are answered here for GET and HEAD only: whether a page may
//! change something at the origin is the origin's to say.

use http::header::{
    ACCESS_CONTROL_ALLOW_CREDENTIALS, ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS,
    ACCESS_CONTROL_ALLOW_ORIGIN, ACCESS_CONTROL_EXPOSE_HEADERS, ACCESS_CONTROL_MAX_AGE,
    ACCESS_CONTROL_REQUEST_HEADERS, ACCESS_CONTROL_REQUEST_METHOD, ALLOW, ORIGIN, VARY,
};
use http::{HeaderMap, HeaderName, HeaderValue, Method};

const TIMING_ALLOW_ORIGIN: HeaderName = HeaderName::from_static("timing-allow-origin");
const ANY: HeaderValue = HeaderValue::from_static("*");

/// Whether an OPTIONS request with these headers is answered at the edge. `ours`: the path begins with the edge's prefix.
#[must_use]
pub fn answers_options(request: &HeaderMap, ours: bool) -> bool {
    match request.get(ACCESS_CONTROL_REQUEST_METHOD) {
        Some(method) => method == Method::GET.as_str() || method == Method::HEAD.as_str(),
        None => ours,
    }
}

/// Adds the headers that let pages read the answer.
pub fn allow(request: &HeaderMap, response: &mut HeaderMap) {
    match request.get(ORIGIN) {
        Some(origin) => {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin.clone());
            response.insert(ACCESS_CONTROL_ALLOW_CREDENTIALS, HeaderValue::from_static("true"));
        }
        None => {
            response.insert(ACCESS_CONTROL_ALLOW_ORIGIN, ANY);
        }
    }
    response.append(VARY, HeaderValue::from_static("Origin"));
    response.insert(
        ACCESS_CONTROL_EXPOSE_HEADERS,
        HeaderValue::from_static(
            "Age, Cache-Status, Content-Length, Content-Range, Date, ETag, Server-Timing, X-Request-Id",
        ),
    );
    response.insert(TIMING_ALLOW_ORIGIN, ANY);
}

/// The headers of a preflight's answer (204).
#[must_use]
pub fn preflight(request: &HeaderMap) -> HeaderMap {
    let mut response = HeaderMap::new();
    allow(request, &mut response);
    let methods = HeaderValue::from_static("GET, HEAD, OPTIONS");
    response.insert(ALLOW, methods.clone());
    response.insert(ACCESS_CONTROL_ALLOW_METHODS, methods);
    // CMCD's headers and Range are what players send; any other that a page asks for does no harm to a GET.
    if let Some(asked) = request.get(ACCESS_CONTROL_REQUEST_HEADERS) {
        response.insert(ACCESS_CONTROL_ALLOW_HEADERS, asked.clone());
        response.append(VARY, HeaderValue::from_static("Access-Control-Request-Headers"));
    }
    // A day; browsers cap it at two hours (Chromium) or a day (Firefox).
    response.insert(ACCESS_CONTROL_MAX_AGE, HeaderValue::from_static("86400"));
    response
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn headers(pairs: &[(&'static str, &'static str)]) -> HeaderMap {
        pairs.iter().map(|(n, v)| (HeaderName::from_static(n), HeaderValue::from_static(v))).collect()
    }

    #[test]
    fn preflights_for_reading_are_answered_here_and_others_by_the_origin() {
        let asks = |method| headers(&[("access-control-request-method", method)]);
        assert!(answers_options(&asks("GET"), false));
        assert!(answers_options(&asks("HEAD"), true));
        assert!(!answers_options(&asks("DELETE"), false));
        assert!(!answers_options(&asks("PUT"), true));
        assert!(answers_options(&HeaderMap::new(), true));
        assert!(!answers_options(&HeaderMap::new(), false));
    }

    #[test]
    fn a_preflight_allows_what_the_player_asked_for() {
        let answer = preflight(&headers(&[
            ("origin", "https://page.example"),
            ("access-control-request-method", "GET"),
            ("access-control-request-headers", "cmcd-object,range"),
        ]));
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "https://page.example");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_CREDENTIALS], "true");
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_HEADERS], "cmcd-object,range");
        assert!(answer.get_all(VARY).iter().any(|v| v == "Origin"));
    }

    #[test]
    fn without_an_origin_every_page_may_read() {
        let mut answer = HeaderMap::new();
        allow(&HeaderMap::new(), &mut answer);
        assert_eq!(answer[ACCESS_CONTROL_ALLOW_ORIGIN], "*");
        assert!(!answer.contains_key(ACCESS_CONTROL_ALLOW_CREDENTIALS));
    }
}
