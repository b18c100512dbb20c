//! The attack table: what strangers send and what origins under a stranger's control answer, each row with the status that is right
//! and what counts it. `docs/threat-model.md` names these rows. Signatures have a file of their own, `signed.rs`.
//!
//! Raw sockets where a client library would put right what is to be wrong.

use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::metrics::Metrics;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::player::Player;
use acuity_tests::world::{World, WorldBuilder};
use reqwest::Method;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// What comes back for these bytes until the edge closes or says nothing for a while; the client sends no more.
async fn raw(world: &World, bytes: &[u8]) -> String {
    let address = world.edge.base.strip_prefix("http://").unwrap();
    let mut socket = TcpStream::connect(address).await.unwrap();
    // An edge that has seen enough closes before all is written.
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut piece = vec![0; 64 << 10];
    while let Ok(Ok(length @ 1..)) = timeout(Duration::from_millis(700), socket.read(&mut piece)).await {
        answer.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

/// The status of the first answer; 0: the connection ended without one.
fn status(answer: &str) -> u16 {
    answer.split(' ').nth(1).and_then(|code| code.parse().ok()).unwrap_or(0)
}

fn answers(text: &str) -> usize {
    text.matches("HTTP/1.1 ").count()
}

pub(crate) async fn world() -> World {
    world_with(one_rendition()).await
}

pub(crate) async fn world_with(told: WorldBuilder) -> World {
    let world = serve(&clips::vod_ts().await.unwrap(), told).await;
    world.origin.put("/a.jpg", "a picture");
    world
}

/// Requests are counted when they are over, a moment after their answer.
pub(crate) async fn metrics(world: &World) -> Metrics {
    tokio::time::sleep(Duration::from_millis(150)).await;
    world.edge.metrics().await.unwrap()
}

fn paths(origin: &Origin) -> Vec<String> {
    origin.seen().into_iter().map(|seen| format!("{} {}", seen.method, seen.path)).collect()
}

#[tokio::test]
async fn requests_that_name_other_hosts_go_to_the_configured_origin() {
    let world = world().await;
    let inside = Origin::start().await.unwrap();
    inside.put("/secret", "secret");
    let inner = inside.address();
    for (request, expected) in [
        // target and Host differ
        (format!("GET http://{inner}/secret HTTP/1.1\r\nHost: edge\r\n\r\n"), 400),
        (format!("GET http://{inner}/a.jpg HTTP/1.1\r\nHost: {inner}\r\n\r\n"), 200),
        (format!("GET /secret HTTP/1.1\r\nHost: {inner}\r\n\r\n"), 404),
        (
            format!(
                "GET /secret HTTP/1.1\r\nHost: edge\r\nX-Forwarded-Host: {inner}\r\nForwarded: host={inner}\r\n\r\n"
            ),
            404,
        ),
        (format!("GET //{inner}/secret HTTP/1.1\r\nHost: edge\r\n\r\n"), 404),
        (format!("GET /@{inner}/secret HTTP/1.1\r\nHost: edge\r\n\r\n"), 404),
        (format!("GET /http://{inner}/secret HTTP/1.1\r\nHost: edge\r\n\r\n"), 404),
        (format!("GET /~acuity/http://{inner}/secret HTTP/1.1\r\nHost: edge\r\n\r\n"), 400),
        (
            "GET http://169.254.169.254/latest/meta-data HTTP/1.1\r\nHost: 169.254.169.254\r\n\r\n"
                .to_owned(),
            404,
        ),
    ] {
        let answer = raw(&world, request.as_bytes()).await;
        assert_eq!(status(&answer), expected, "{request}\n{answer}");
        assert!(!answer.contains("secret\n") && !answer.ends_with("secret"), "{answer}");
    }
    // No tunnel, whatever is answered.
    let answer = raw(
        &world,
        format!("CONNECT {inner} HTTP/1.1\r\nHost: {inner}\r\n\r\nGET /secret HTTP/1.1\r\n\r\n").as_bytes(),
    )
    .await;
    assert!(!answer.starts_with("HTTP/1.1 2"), "{answer}");
    assert!(inside.seen().is_empty(), "{:?}", paths(&inside));
    for seen in world.origin.seen().iter().filter(|seen| seen.path.ends_with("secret")) {
        assert_eq!(
            seen.headers["host"],
            world.origin.address().to_string(),
            "the origin is called by its own name"
        );
    }
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_requests_total", &[("kind", "refused")]), 1.0, "{}", counted.text());
}

#[tokio::test]
async fn playlists_that_name_other_hosts_lead_the_edge_nowhere() {
    let world = world().await;
    let inside = Origin::start().await.unwrap();
    inside.folder("/vod", clips::vod_ts().await.unwrap().folder());
    inside.put("/key", "0123456789abcdef");
    let inner = inside.address();
    let variant = "#EXT-X-STREAM-INF:BANDWIDTH=300000,RESOLUTION=320x180,CODECS=\"avc1.42c01e,mp4a.40.2\"";
    for (number, uri) in [
        format!("http://{inner}/vod/180p/index.m3u8"),
        format!("//{inner}/vod/180p/index.m3u8"),
        format!("http://user:pass@{}/vod/180p/index.m3u8", world.origin.address()),
        format!("http://{}@{inner}/vod/180p/index.m3u8", world.origin.address()),
        format!("\\\\{inner}\\vod\\180p\\index.m3u8"),
        "http://169.254.169.254/index.m3u8".to_owned(),
        "http://[::ffff:127.0.0.1]/index.m3u8".to_owned(),
        "http://2130706433/index.m3u8".to_owned(),
        "file:///etc/passwd".to_owned(),
        "gopher://127.0.0.1:70/_GET".to_owned(),
        "data:application/vnd.apple.mpegurl,%23EXTM3U".to_owned(),
        "../../../../../etc/passwd".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let path = format!("/vod/evil-{number}.m3u8");
        world.origin.put(&path, format!("#EXTM3U\n{variant}\n{uri}\n"));
        let master = Player::new().unwrap().open(&world.edge.url(&path)).await.unwrap();
        assert!(master.enhanced().is_empty(), "{uri} is no source:\n{}", master.fetched.text());
    }
    // A source of ours whose segments, keys or init lie elsewhere, or are said to.
    for (number, lines) in [
        format!("#EXTINF:2,\nhttp://{inner}/vod/180p/000.ts"),
        format!("#EXT-X-KEY:METHOD=AES-128,URI=\"http://{inner}/key\"\n#EXTINF:2,\n180p/000.ts"),
        format!("#EXT-X-MAP:URI=\"http://{inner}/vod/init.mp4\"\n#EXTINF:2,\n180p/000.ts"),
        format!("#EXT-X-DEFINE:NAME=\"h\",VALUE=\"{inner}\"\n#EXTINF:2,\nhttp://{{$h}}/vod/180p/000.ts"),
        "#EXTINF:2,\nfile:///etc/passwd".to_owned(),
    ]
    .iter()
    .enumerate()
    {
        let (master, media) = (format!("/vod/m{number}.m3u8"), format!("/vod/s{number}.m3u8"));
        world.origin.put(&master, format!("#EXTM3U\n{variant}\ns{number}.m3u8\n"));
        world.origin.put(&media, format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{lines}\n#EXT-X-ENDLIST\n"));
        let opened = Player::new().unwrap().open(&world.edge.url(&master)).await.unwrap();
        assert!(opened.enhanced().is_empty(), "{lines}:\n{}", opened.fetched.text());
    }
    assert!(inside.seen().is_empty(), "{:?}", paths(&inside));
    let counted = metrics(&world).await;
    assert!(
        counted.sum("acuity_variants_refused_total", &[("reason", "playlist_foreign")]) >= 2.0,
        "{}",
        counted.text()
    );
}

#[tokio::test]
async fn redirects_inward_are_not_followed() {
    let told = one_rendition().set("server.trusted_proxies", "[\"127.0.0.1\"]");
    let world = serve(&clips::vod_ts().await.unwrap(), told).await;
    let inside = Origin::start().await.unwrap();
    inside.folder("/vod", clips::vod_ts().await.unwrap().folder());
    let (player, _, media) = open_enhanced(&world).await;
    let target: &'static str = Box::leak(inside.url("/vod/180p/001.ts").into_boxed_str());
    for path in ["/vod/180p/001.ts", "/vod/moved.m3u8"] {
        world.origin.fault(path, Fault::Status(302));
        world.origin.header(path, "location", target);
    }
    let bare =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    // What the edge does not follow, the client is told, as any proxy would: it can reach what it could reach before.
    for url in [segment_url(&media, 1), world.edge.url("/vod/moved.m3u8"), world.edge.url("/vod/180p/001.ts")]
    {
        let answer = bare.get(&url).send().await.unwrap();
        assert_eq!(
            (answer.status().as_u16(), answer.headers()["location"].to_str().unwrap()),
            (302, target),
            "{url}"
        );
    }
    // One from outside could not follow it, and learns nothing from it.
    let outside = bare.get(world.edge.url("/vod/180p/001.ts")).header("x-forwarded-for", "198.51.100.7");
    let answer = outside.send().await.unwrap();
    assert!(answer.status() == 302 && !answer.headers().contains_key("location"), "{answer:?}");
    assert!(inside.seen().is_empty(), "{:?}", paths(&inside));
    let counted = metrics(&world).await;
    assert_eq!(
        counted.sum("acuity_origin_requests_total", &[("outcome", "redirect")]),
        2.0,
        "{}",
        counted.text()
    );
    drop(player);
}

#[tokio::test]
async fn paths_that_climb_are_refused_in_every_spelling() {
    let world = world().await;
    let before = world.origin.seen().len();
    let rows = [
        "/..",
        "/../etc/passwd",
        "/vod/../../etc/passwd",
        "/vod/%2e%2e/%2e%2e/x",
        "/vod/..%2fx",
        "/vod/..%2Fx",
        "/vod/..%5cx",
        "/vod/..\\..\\..\\x",
        "/vod/%2e%2e%2fx",
        "/vod/%252e%252e/x",
        "/vod/%252e%252e%252fx",
        "/vod/%25252e%25252e/x",
        "/vod/x%2f%2e%2e%2fy",
        "/vod/..;/x",
        "/vod/..%3b/x",
        "/vod/%00",
        "/vod/a%0d%0aX-Injected:%201",
        "/vod/a%7fb",
        "/~acuity/../../x",
        "/~acuity/v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2EubTN1OA/../../../x",
        "/~acuity/signed/x/../../../../x",
        "/~acuity/v1.x2.1280x720.30000.2800.generic-1a2b3c4d.Ly4uL2EubTN1OA/x.ts",
    ];
    for path in rows {
        let answer = raw(&world, format!("GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n").as_bytes()).await;
        assert_eq!(status(&answer), 400, "{path}\n{answer}");
        assert!(!answer.to_ascii_lowercase().contains("\r\nx-injected"), "{answer}");
    }
    assert_eq!(world.origin.seen().len(), before, "{:?}", paths(&world.origin));
    let counted = metrics(&world).await;
    assert_eq!(
        counted.sum("acuity_responses_total", &[("kind", "refused"), ("status", "4xx")]),
        rows.len() as f64
    );
}

/// What each is answered with; 0 is a connection that ends without a word. One connection on which two sides could disagree where a request ends: the origin must never see the second one, and who
/// comes next on that connection must not get its answer.
#[tokio::test]
async fn requests_that_could_hide_another_hide_none() {
    let world = world().await;
    world.origin.put("/hidden", "hidden");
    let hidden = "GET /hidden HTTP/1.1\r\nHost: edge\r\n\r\n";
    let length = hidden.len();
    let head = "POST /a.jpg HTTP/1.1\r\nHost: edge\r\n";
    let rows = [
        (
            "CL.TE",
            200,
            format!(
                "{head}Content-Length: {}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}",
                length + 5
            ),
        ),
        (
            "TE.CL",
            200,
            format!(
                "{head}Transfer-Encoding: chunked\r\nContent-Length: 4\r\n\r\n{length:x}\r\n{hidden}\r\n0\r\n\r\n"
            ),
        ),
        ("two lengths", 400, format!("{head}Content-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}")),
        ("two lengths in one", 400, format!("{head}Content-Length: 0, {length}\r\n\r\n{hidden}")),
        ("a signed length", 400, format!("{head}Content-Length: +{length}\r\n\r\n{hidden}")),
        ("a negative length", 400, format!("{head}Content-Length: -1\r\n\r\n{hidden}")),
        ("a hexadecimal length", 400, format!("{head}Content-Length: 0x0\r\n\r\n{hidden}")),
        ("blank before the colon", 400, format!("{head}Content-Length : {length}\r\n\r\n{hidden}")),
        ("a folded header", 400, format!("{head}X: y\r\n Content-Length: {length}\r\n\r\n{hidden}")),
        (
            "a folded coding",
            400,
            format!("{head}Transfer-Encoding:\r\n chunked\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "a coding nobody knows",
            400,
            format!("{head}Transfer-Encoding: xchunked\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "two codings",
            400,
            format!(
                "{head}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
        (
            "a coding with a tab",
            400,
            format!("{head}Transfer-Encoding:\x0bchunked\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "a chunk too long to count",
            0,
            format!("{head}Transfer-Encoding: chunked\r\n\r\n1{:0>17}\r\n{hidden}", 0),
        ),
        ("a chunk without CR", 0, format!("{head}Transfer-Encoding: chunked\r\n\r\n0\n\n{hidden}")),
        ("NUL in a header", 400, format!("{head}X: a\0b\r\nContent-Length: {length}\r\n\r\n{hidden}")),
        (
            "CR in a header",
            400,
            format!("{head}X: a\rContent-Length: 0\r\nContent-Length: {length}\r\n\r\n{hidden}"),
        ),
        (
            "HTTP/1.0 with chunks",
            400,
            format!(
                "POST /a.jpg HTTP/1.0\r\nHost: edge\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{hidden}"
            ),
        ),
    ];
    let mut found = Vec::new();
    for (name, expected, request) in &rows {
        let before = world.origin.fetches("/hidden");
        let answer = raw(&world, request.as_bytes()).await;
        let reached = world.origin.fetches("/hidden") - before;
        if reached > 0 || answers(&answer) > 1 || status(&answer) != *expected {
            found.push(format!("{name}: {answer}"));
        }
    }
    assert!(found.is_empty(), "{found:#?}");
    let malformed = rows.iter().filter(|(_, expected, _)| *expected == 400).count();
    let counted = metrics(&world).await;
    assert_eq!(
        counted.sum("acuity_connections_cut_total", &[("reason", "malformed")]) as usize,
        malformed,
        "{}",
        counted.text()
    );
    // Where there are both, the chunks count (RFC 9112, 6.3) and the length goes no further.
    let sent_on: Vec<_> =
        world.origin.seen().into_iter().filter(|seen| seen.method == Method::POST).collect();
    assert!(!sent_on.is_empty());
    for seen in sent_on {
        let both =
            ["content-length", "transfer-encoding"].iter().all(|name| seen.headers.contains_key(*name));
        assert!(!both, "{seen:?}");
    }
    // Bare line feeds end lines (RFC 9112, 2.2, allows it): for this side and, as the edge writes what it sends on anew, the other.
    let answer = raw(&world, b"GET /a.jpg HTTP/1.1\nHost: edge\n\n").await;
    assert!(matches!(status(&answer), 200 | 400), "{answer}");
    // Nothing of it spoilt a connection to the origin for those who come next.
    let player = Player::new().unwrap();
    for _ in 0..10 {
        assert_eq!(player.get(&world.edge.url("/a.jpg")).await.unwrap().text(), "a picture");
    }
}

#[tokio::test]
async fn header_bombs_end_the_connection_and_nothing_else() {
    let world = world().await;
    let before = world.origin.seen().len();
    let get = "GET /a.jpg HTTP/1.1\r\nHost: edge\r\n";
    for (name, request) in [
        ("one of 8 MiB", format!("{get}X: {}\r\n\r\n", "a".repeat(8 << 20))),
        ("a hundred thousand", format!("{get}{}\r\n", "X: a\r\n".repeat(100_000))),
        ("a line of 8 MiB", format!("GET /{} HTTP/1.1\r\nHost: edge\r\n\r\n", "a".repeat(8 << 20))),
        ("no end", "A".repeat(4 << 20)),
    ] {
        let answer = raw(&world, request.as_bytes()).await;
        // 0: closed while it was still being sent, so that the answer was lost.
        assert!(matches!(status(&answer), 0 | 400), "{name}: {answer}");
    }
    assert_eq!(world.origin.seen().len(), before);
    Player::new().unwrap().get_ok(&world.edge.url("/a.jpg"), &[]).await.expect("it serves on");
}
