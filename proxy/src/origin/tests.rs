//! Against a real socket: an origin of a few lines that says what a test wants it to say.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use prometheus::Registry;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpListener;

use super::*;

/// An origin that answers each request, whatever it asks, with the next of these, and tells what it was asked.
async fn origin(answers: Vec<String>) -> (Url, tokio::task::JoinHandle<Vec<String>>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/", listener.local_addr().unwrap()).parse().unwrap();
    let serving = tokio::spawn(async move {
        let mut asked = Vec::new();
        for answer in answers {
            let (mut socket, _) = listener.accept().await.unwrap();
            let mut request = vec![0; 4096];
            let length = socket.read(&mut request).await.unwrap();
            asked.push(String::from_utf8_lossy(&request[..length]).to_ascii_lowercase());
            socket.write_all(answer.as_bytes()).await.unwrap();
        }
        asked
    });
    (url, serving)
}

fn answer(status: &str, headers: &str, body: &str) -> String {
    format!("HTTP/1.1 {status}\r\nconnection: close\r\ncontent-length: {}\r\n{headers}\r\n{body}", body.len())
}

fn client(base: &Url, change: impl FnOnce(&mut OriginConfig)) -> Origins {
    let mut config = OriginConfig::default();
    change(&mut config);
    let metrics = Arc::new(Metrics::register(&Registry::new()).unwrap());
    Origins::new(config, std::iter::once(base), metrics).unwrap()
}

fn all(url: &Url) -> Fetch<'_> {
    Fetch {
        url,
        route: 0,
        listed: false,
        range: None,
        limit_bytes: 1000,
        unless: None,
        user_agent: None,
        text: false,
    }
}

async fn body(client: &Origins, fetch: &Fetch<'_>) -> Result<String, OriginError> {
    match client.fetch(fetch).await? {
        Fetched::New(source) => Ok(String::from_utf8(source.bytes.to_vec()).unwrap()),
        Fetched::NotModified => Ok("not modified".to_owned()),
    }
}

#[tokio::test]
async fn a_body_and_its_circumstances() {
    let headers = "etag: \"a\"\r\ncache-control: max-age=7\r\ncontent-type: video/mp2t\r\n";
    let (url, serving) = origin(vec![answer("200 OK", headers, "hello")]).await;
    let client = client(&url, |_| {});
    let Fetched::New(source) = client.fetch(&all(&url)).await.unwrap() else { panic!("a body was expected") };
    assert_eq!(source.bytes, "hello");
    assert_eq!(source.validator.etag.as_deref(), Some("\"a\""));
    assert_eq!(source.max_age, Some(Duration::from_secs(7)));
    assert_eq!(source.content_type.unwrap(), "video/mp2t");
    let asked = serving.await.unwrap();
    assert!(asked[0].contains("user-agent: acuity/"), "{}", asked[0]);
    assert!(!asked[0].contains("cookie") && !asked[0].contains("authorization"), "{}", asked[0]);
    assert_eq!(client.metrics.origin_bytes.get(), 5);
}

#[tokio::test]
async fn a_limit_holds_with_and_without_a_declared_length() {
    let endless = format!("HTTP/1.1 200 OK\r\nconnection: close\r\n\r\n{}", "x".repeat(5000));
    let (url, _serving) = origin(vec![answer("200 OK", "", &"x".repeat(5000)), endless]).await;
    let client = client(&url, |_| {});
    for _ in 0..2 {
        assert!(matches!(body(&client, &all(&url)).await, Err(OriginError::TooLarge { limit_bytes: 1000 })));
    }
}

#[tokio::test]
async fn a_range_is_had_from_origins_that_know_ranges_and_from_those_that_do_not() {
    let whole = "0123456789".repeat(1000);
    let (url, serving) = origin(vec![
        answer("206 Partial Content", "content-range: bytes 20-24/10000\r\n", "01234"),
        answer("200 OK", "", &whole),
        answer("206 Partial Content", "content-range: bytes 0-4/10000\r\n", "01234"),
        answer("200 OK", "", "0123"),
    ])
    .await;
    let client = client(&url, |_| {});
    let fetch = Fetch { range: Some(ByteRange { length: 5, offset: 20 }), ..all(&url) };
    assert_eq!(body(&client, &fetch).await.unwrap(), "01234");
    assert_eq!(body(&client, &fetch).await.unwrap(), "01234", "cut out of the whole");
    assert!(matches!(body(&client, &fetch).await, Err(OriginError::Range)), "another range than asked for");
    assert!(matches!(body(&client, &fetch).await, Err(OriginError::Range)), "the whole is too short");
    assert!(serving.await.unwrap()[0].contains("range: bytes=20-24"));
}

#[tokio::test]
async fn refusals_come_with_what_a_client_acts_on() {
    let headers = "retry-after: 3\r\nset-cookie: a=b\r\n";
    let (url, _serving) = origin(vec![answer("503 Service Unavailable", headers, "busy")]).await;
    let error = body(&client(&url, |_| {}), &all(&url)).await.unwrap_err();
    assert!(error.is_outage());
    let OriginError::Status(refusal) = error else { panic!("{error}") };
    assert_eq!((refusal.status.as_u16(), &refusal.body[..]), (503, &b"busy"[..]));
    assert_eq!(refusal.headers["retry-after"], "3");
    assert!(!refusal.headers.contains_key("set-cookie"));
}

#[tokio::test]
async fn what_has_not_changed_is_not_sent_again() {
    let (url, serving) =
        origin(vec!["HTTP/1.1 304 Not Modified\r\nconnection: close\r\n\r\n".to_owned()]).await;
    let known = Validator { etag: Some("\"a\"".into()), ..Validator::default() };
    let fetch = Fetch { unless: Some(&known), ..all(&url) };
    assert_eq!(body(&client(&url, |_| {}), &fetch).await.unwrap(), "not modified");
    assert!(serving.await.unwrap()[0].contains("if-none-match: \"a\""));
}

#[tokio::test]
async fn redirects_stay_on_configured_origins() {
    let elsewhere = answer("302 Found", "location: http://169.254.169.254/latest/meta-data\r\n", "");
    let here = answer("302 Found", "location: /b\r\n", "");
    let (url, serving) = origin(vec![here, answer("200 OK", "", "b"), elsewhere]).await;
    let client = client(&url, |_| {});
    assert_eq!(body(&client, &all(&url)).await.unwrap(), "b");
    assert!(matches!(body(&client, &all(&url)).await, Err(OriginError::Redirect)));
    assert!(serving.await.unwrap()[1].starts_with("get /b "));
    let foreign: Url = "http://127.0.0.1:1/".parse().unwrap();
    assert!(
        matches!(body(&client, &all(&foreign)).await, Err(OriginError::Redirect)),
        "nor is it asked directly"
    );
}

#[tokio::test]
async fn silence_and_absence_are_told_apart() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url: Url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let waits = client(&url, |config| config.first_byte_timeout = Duration::from_millis(50));
    assert!(matches!(body(&waits, &all(&url)).await, Err(OriginError::Timeout { phase: "first_byte" })));
    drop(silent);
    let error = body(&client(&url, |_| {}), &all(&url)).await.unwrap_err();
    assert!(matches!(error, OriginError::Unreachable { .. }), "{error}");
    assert!(!error.to_string().contains("http://"), "no URL in messages: {error}");
}

#[tokio::test]
async fn a_body_that_breaks_off_says_how_far_it_came() {
    let broken = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 100\r\n\r\nhello".to_owned();
    let (url, _serving) = origin(vec![broken]).await;
    let error = body(&client(&url, |_| {}), &all(&url)).await.unwrap_err();
    assert!(matches!(error, OriginError::Broken { received_bytes: 5, .. }), "{error}");
}

/// Origins of one route, each as it answers.
fn several(urls: &[&Url], change: impl FnOnce(&mut OriginConfig)) -> Origins {
    let mut config = OriginConfig::default();
    change(&mut config);
    let mut route = RouteConfig::to(urls[0].clone());
    route.backup_origins = urls[1..].iter().map(|&url| url.clone()).collect();
    let metrics = Arc::new(Metrics::register(&Registry::new()).unwrap());
    let resolver = Resolver::new(&[], metrics.origin_addresses_refused.clone());
    Origins::resolving(config, &[route], metrics, resolver, None).unwrap()
}

#[tokio::test]
async fn what_one_origin_fails_the_next_one_serves() {
    let gone = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let dead: Url = format!("http://{}/", gone.local_addr().unwrap()).parse().unwrap();
    drop(gone);
    let cut = "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 100\r\n\r\nhello".to_owned();
    for first in [answer("503 Busy", "", ""), answer("500 Oh", "", ""), cut] {
        let (one, asked_one) = origin(vec![first]).await;
        let (two, asked_two) = origin(vec![answer("200 OK", "", "whole")]).await;
        let origins = several(&[&dead, &one, &two], |_| {});
        assert_eq!(body(&origins, &all(&dead)).await.unwrap(), "whole");
        assert_eq!((asked_one.await.unwrap().len(), asked_two.await.unwrap().len()), (1, 1));
    }
}

#[tokio::test]
async fn a_silent_origin_is_waited_for_a_moment_only() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quiet: Url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let (two, _asked) = origin(vec![answer("200 OK", "", "whole")]).await;
    let origins = several(&[&quiet, &two], |config| config.failover_after = Duration::from_millis(50));
    let start = Instant::now();
    assert_eq!(body(&origins, &all(&quiet)).await.unwrap(), "whole");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn a_route_has_its_own_patience() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quiet: Url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let stalling = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let halting: Url = format!("http://{}/", stalling.local_addr().unwrap()).parse().unwrap();
    tokio::spawn(async move {
        let (mut socket, _) = stalling.accept().await.unwrap();
        assert!(socket.read(&mut [0; 4096]).await.unwrap() > 0);
        socket.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhello").await.unwrap();
        tokio::time::sleep(Duration::from_secs(600)).await;
    });
    let mut routes = [RouteConfig::to(quiet.clone()), RouteConfig::to(halting.clone())];
    routes[0].timeouts.first_byte = Some(Duration::from_millis(50));
    routes[1].timeouts.idle = Some(Duration::from_millis(60));
    let metrics = Arc::new(Metrics::register(&Registry::new()).unwrap());
    let resolver = Resolver::new(&[], metrics.origin_addresses_refused.clone());
    let origins = Origins::resolving(OriginConfig::default(), &routes, metrics, resolver, None).unwrap();
    let error = body(&origins, &all(&quiet)).await.unwrap_err();
    assert!(matches!(error, OriginError::Timeout { phase: "first_byte" }), "{error}");
    let error = body(&origins, &Fetch { route: 1, ..all(&halting) }).await.unwrap_err();
    assert!(matches!(error, OriginError::Timeout { phase: "idle" }), "{error}");
}

#[tokio::test]
async fn all_origins_together_have_the_total_time() {
    let silent = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let quiet: Url = format!("http://{}/", silent.local_addr().unwrap()).parse().unwrap();
    let other = quiet.join("/b").unwrap();
    let origins = several(&[&quiet, &other], |config| {
        config.failover_after = Duration::from_millis(150);
        config.total_timeout = Duration::from_millis(250);
    });
    let start = Instant::now();
    let error = body(&origins, &all(&quiet)).await.unwrap_err();
    assert!(matches!(error, OriginError::Timeout { phase: "total" }), "{error}");
    assert!(start.elapsed() < Duration::from_secs(2), "{:?}", start.elapsed());
}

#[tokio::test]
async fn what_is_listed_and_missing_is_asked_of_the_next() {
    let missing = || answer("404 Not Found", "", "");
    let (one, asked_one) = origin(vec![missing(), missing()]).await;
    let (two, _) = origin(vec![answer("200 OK", "", "whole")]).await;
    let origins = several(&[&one, &two], |_| {});
    assert_eq!(body(&origins, &Fetch { listed: true, ..all(&one) }).await.unwrap(), "whole");
    let error = body(&origins, &all(&one)).await.unwrap_err();
    assert!(error.is_missing(), "nobody but the client says that there is such a thing: {error}");
    assert_eq!(asked_one.await.unwrap().len(), 2);
    assert_eq!(origins.pools().report(0)[0]["failures_in_a_row"], 0, "it is no failure");
}

#[tokio::test]
async fn a_backup_with_another_base_path_has_its_own_text() {
    let (one, _) = origin(vec![answer("503 Busy", "", ""), answer("503 Busy", "", "")]).await;
    let (two, asked) = origin(vec![answer("200 OK", "", "b")]).await;
    let origins = several(&[&one, &two.join("/base").unwrap()], |_| {});
    let url = one.join("/v/a.m3u8?x=1").unwrap();
    let Fetched::New(source) = origins.fetch(&all(&url)).await.unwrap() else {
        panic!("a body was expected")
    };
    assert!(source.redirected && source.url.path() == "/base/v/a.m3u8");
    assert!(asked.await.unwrap()[0].starts_with("get /base/v/a.m3u8?x=1 "));
}

#[tokio::test]
async fn a_probe_and_no_viewer_finds_out_that_an_origin_is_back() {
    let (one, asked) = origin(vec![answer("503 Busy", "", ""), answer("200 OK", "", "x")]).await;
    let whole = || answer("200 OK", "", "whole");
    let (two, _) = origin(vec![whole(), whole(), whole()]).await;
    let origins = several(&[&one, &two], |config| {
        config.breaker.failures = 1;
        config.breaker.open_for = Duration::from_millis(100);
    });
    assert_eq!(body(&origins, &all(&one)).await.unwrap(), "whole");
    assert_eq!(body(&origins, &all(&one)).await.unwrap(), "whole", "skipped at once");
    tokio::time::sleep(Duration::from_millis(150)).await;
    assert_eq!(body(&origins, &all(&one)).await.unwrap(), "whole", "the viewer is served by the other");
    let asked = asked.await.unwrap();
    assert!(asked[1].contains("range: bytes=0-0"), "{}", asked[1]);
    for _ in 0..100 {
        if origins.pools().report(0)[0]["up"] == true {
            return;
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("{}", origins.pools().report(0));
}
