use http::HeaderValue;
use pingora::http::RequestHeader;

use super::*;

const PARENT: &str = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01";

fn headers(traceparent: &str) -> HeaderMap {
    [(TRACEPARENT, HeaderValue::from_str(traceparent).unwrap())].into_iter().collect()
}

#[test]
fn the_share_that_is_drawn_is_the_share_that_was_asked_for() {
    let draw = Draw::default();
    let wins = |ratio| {
        draw.set(ratio);
        (0..100_000).filter(|_| draw.next()).count()
    };
    assert_eq!((wins(0.0), wins(1.0)), (0, 100_000));
    for ratio in [0.01, 0.5] {
        let (share, wanted) = (wins(ratio) as f64 / 100_000.0, ratio);
        assert!((share - wanted).abs() < 0.01, "{share} of {wanted}");
    }
}

#[test]
fn a_parent_is_read_and_nonsense_is_none() {
    let span = parent(&headers(PARENT)).unwrap();
    assert_eq!(span.trace_id().to_string(), "0af7651916cd43dd8448eb211c80319c");
    assert!(span.is_sampled() && span.is_remote());
    for odd in ["", "00-0-0-01", "00-00000000000000000000000000000000-b7ad6b7169203331-01", "x"] {
        assert!(parent(&headers(odd)).is_none(), "{odd}");
    }
}

fn request() -> RequestHeader {
    let mut upstream = RequestHeader::build("GET", b"/", None).unwrap();
    upstream.insert_header(TRACEPARENT, PARENT).unwrap();
    upstream.insert_header(TRACESTATE, "a=b").unwrap();
    upstream
}

#[test]
fn what_goes_to_an_origin_is_never_a_strangers() {
    let url: url::Url = "http://o.example/".parse().unwrap();
    let sent = |mut request: Request, mut upstream: RequestHeader| {
        request.pass(&mut upstream, &url).unwrap();
        upstream.headers.get(TRACEPARENT).map(|value| value.to_str().unwrap().to_owned())
    };
    assert_eq!(
        sent(Request::unseen(Context::new()), self::request()).as_deref(),
        Some(PARENT),
        "off: a proxy"
    );
    assert_eq!(sent(Request::untraced(Context::new()), self::request()), None, "a stranger's");
    let trusted = Context::new().with_remote_span_context(parent(&headers(PARENT)).unwrap());
    assert_eq!(sent(Request::untraced(trusted), self::request()).as_deref(), Some(PARENT));
}

#[test]
fn a_host_is_told_without_its_port() {
    for (authority, parts) in [
        ("tv.example", ("tv.example", None)),
        ("tv.example:8443", ("tv.example", Some(8443))),
        ("[::1]:80", ("[::1]", Some(80))),
        ("[::1]", ("[::1]", None)),
        ("tv.example:x", ("tv.example:x", None)),
    ] {
        assert_eq!(request::host_and_port(authority), parts);
    }
}

#[test]
fn a_url_is_told_without_what_is_secret_in_it() {
    let url: url::Url = "https://me:pass@o.example:8443/a/1.ts?token=secret#x".parse().unwrap();
    let told = format!("{:?}", request::toward(&http::Method::GET, &url));
    assert!(told.contains("https://o.example:8443/a/1.ts"), "{told}");
    for secret in ["pass", "secret", "token"] {
        assert!(!told.contains(secret), "{told}");
    }
}

#[test]
fn a_file_of_headers_is_read_or_its_line_is_named() {
    use std::os::unix::fs::PermissionsExt as _;
    let file = tempfile::NamedTempFile::new().unwrap();
    let config = acuity_config::TracingConfig {
        headers_file: Some(file.path().to_owned()),
        ..acuity_config::TracingConfig::default()
    };
    let said = |text: &str, mode: u32| {
        std::fs::write(file.path(), text).unwrap();
        std::fs::set_permissions(file.path(), std::fs::Permissions::from_mode(mode)).unwrap();
        check(&config).map(|fault| fault.to_string()).unwrap_or_default()
    };
    assert_eq!(said("Authorization: Bearer a:b\n\nX-Scope: edges\n", 0o600), "");
    let wrong = said("X-Scope: edges\nsecret-without-name\n", 0o600);
    assert!(wrong.ends_with("line 2 is not `Name: value`") && !wrong.contains("secret-without"), "{wrong}");
    assert!(said("a b: c\n", 0o600).contains("line 1"));
    assert!(said("A: b\n", 0o644).contains("chmod"));
    assert!(said("", 0o600).contains("has 0"));
}
