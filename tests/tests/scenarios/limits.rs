//! What single clients and all together may cost: rates, work, connections, sizes. `docs/limits.md` says these things to operators.

use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::origin::Fault;
use acuity_tests::player::Player;
use acuity_tests::world::{World, WorldBuilder};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;

use crate::attacks::metrics;
use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

async fn world(told: WorldBuilder) -> World {
    let world = serve(&clips::vod_ts().await.unwrap(), told).await;
    world.origin.put("/a.jpg", "a picture");
    world
}

/// Whom the edge takes requests to be from, where it trusts this machine.
fn from(client: &str) -> Player {
    Player::new().unwrap().with_header("x-forwarded-for", client).unwrap()
}

fn logged(world: &World, limit: &str) -> Vec<serde_json::Value> {
    world.edge.access_log().into_iter().filter(|record| record["limited"] == limit).collect()
}

#[tokio::test]
async fn who_asks_too_often_is_told_when_to_come_again_and_nobody_else_is() {
    let world = world(
        one_rendition()
            .set("server.trusted_proxies", "[\"127.0.0.0/8\"]")
            .set("limits.client.requests_per_second", 2)
            .set("limits.client.burst", 5),
    )
    .await;
    let url = world.edge.url("/a.jpg");
    let (greedy, modest) = (from("198.51.100.7"), from("198.51.100.8"));
    let mut statuses = Vec::new();
    let mut retry_after = String::new();
    for _ in 0..20 {
        let answer = greedy.get(&url).await.unwrap();
        statuses.push(answer.status.as_u16());
        if answer.status == 429 {
            retry_after = answer.header("retry-after");
        }
    }
    assert_eq!(statuses[..5], [200; 5], "a burst is served");
    let refused = statuses.iter().filter(|status| **status == 429).count();
    assert!(refused >= 10 && statuses.iter().all(|status| matches!(status, 200 | 429)), "{statuses:?}");
    assert_eq!(retry_after, "1");
    assert_eq!(modest.get(&url).await.unwrap().status, 200);
    // What a client writes into the header itself stands before what the proxy appended.
    let pretender = from("198.51.100.9, 198.51.100.7");
    assert_eq!(pretender.get(&url).await.unwrap().status, 429);
    tokio::time::sleep(Duration::from_millis(1100)).await;
    assert_eq!(greedy.get(&url).await.unwrap().status, 200, "it came again when it was told to");
    let counted = metrics(&world).await;
    assert_eq!(
        counted.sum("acuity_limited_total", &[("limit", "client_rate")]) as usize,
        refused + 1,
        "{}",
        counted.text()
    );
    let records = logged(&world, "client_rate");
    assert!(records.len() == refused + 1 && records.iter().all(|record| record["client"] == "198.51.100.7"));
    // Operators are not limited.
    for _ in 0..20 {
        world.edge.metrics().await.unwrap();
    }
}

#[tokio::test]
async fn a_strangers_word_for_whom_it_comes_is_not_taken() {
    let world =
        world(one_rendition().set("limits.client.requests_per_second", 1).set("limits.client.burst", 3))
            .await;
    let mut refused = 0;
    for number in 0..10 {
        let answer = from(&format!("198.51.100.{number}")).get(&world.edge.url("/a.jpg")).await.unwrap();
        refused += usize::from(answer.status == 429);
    }
    assert!(refused >= 5, "{refused}");
    let metrics = metrics(&world).await;
    assert_eq!(metrics.sum("acuity_limited_total", &[("limit", "client_rate")]) as usize, refused);
    let records = logged(&world, "client_rate");
    assert!(!records.is_empty() && records.iter().all(|record| record["client"] == "127.0.0.1"));
}

#[tokio::test]
async fn all_together_have_a_rate_too() {
    let world = world(one_rendition().set("limits.requests_per_second", 5)).await;
    let player = Player::new().unwrap();
    let mut refused = 0;
    for _ in 0..30 {
        refused += usize::from(player.get(&world.edge.url("/a.jpg")).await.unwrap().status == 429);
    }
    assert!(refused > 10, "{refused}");
    assert_eq!(metrics(&world).await.sum("acuity_limited_total", &[("limit", "rate")]) as usize, refused);
}

#[tokio::test]
async fn who_causes_much_work_waits_for_its_own_and_then_gets_the_origins() {
    let world = world(
        one_rendition()
            .set("server.trusted_proxies", "[\"127.0.0.1\"]")
            .set("limits.client.enhancements", 1)
            .set("origin.first_byte_timeout", "\"12s\""),
    )
    .await;
    let (_, _, media) = open_enhanced(&world).await;
    let url = |index| segment_url(&media, index);
    let (greedy, modest) = (from("198.51.100.7"), from("198.51.100.8"));
    assert_eq!(greedy.get(&url(0)).await.unwrap().status, 200);
    world.origin.fault("/vod/180p/001.ts", Fault::Latency(Duration::from_secs(8)));
    let slow = {
        let (greedy, url) = (from("198.51.100.7"), url(1));
        tokio::spawn(async move { greedy.get(&url).await.unwrap() })
    };
    tokio::time::sleep(Duration::from_millis(300)).await;
    // What is there costs nothing.
    let start = Instant::now();
    assert!(greedy.get(&url(0)).await.unwrap().header("cache-status").contains("hit"));
    assert!(start.elapsed() < Duration::from_secs(2));
    // What is new waits, and is then passed through: never an error.
    let passed = greedy.get(&url(2)).await.unwrap();
    assert_eq!(passed.status, 200);
    let source = Player::new().unwrap().get(&world.origin.url("/vod/180p/002.ts")).await.unwrap();
    assert_eq!(passed.body, source.body, "the origin's own bytes");
    // Who comes for what others have made, or are making, is served with it; and others have their own share.
    let made = modest.get(&url(2)).await.unwrap();
    assert!(made.status == 200 && made.body != source.body);
    let joined = {
        let (other, url) = (from("198.51.100.9"), url(1));
        tokio::spawn(async move { other.get(&url).await.unwrap() })
    };
    assert_eq!(greedy.get(&url(2)).await.unwrap().body, made.body);
    let (slow, joined) = (slow.await.unwrap(), joined.await.unwrap());
    assert!(slow.status == 200 && joined.body == slow.body);
    let counted = metrics(&world).await;
    assert_eq!(
        counted.sum("acuity_limited_total", &[("limit", "client_enhancements")]),
        1.0,
        "{}",
        counted.text()
    );
    assert_eq!(logged(&world, "client_enhancements").len(), 1);
}

#[tokio::test]
async fn a_client_that_leaves_is_still_counted_for_what_it_caused() {
    let world = world(
        one_rendition()
            .set("server.trusted_proxies", "[\"127.0.0.1\"]")
            .set("limits.client.enhancements", 1)
            .set("origin.first_byte_timeout", "\"12s\""),
    )
    .await;
    let (_, _, media) = open_enhanced(&world).await;
    world.origin.fault("/vod/180p/001.ts", Fault::Latency(Duration::from_secs(8)));
    let greedy = from("198.51.100.7");
    assert!(timeout(Duration::from_millis(500), greedy.get(&segment_url(&media, 1))).await.is_err());
    let passed = greedy.get(&segment_url(&media, 2)).await.unwrap();
    let source = Player::new().unwrap().get(&world.origin.url("/vod/180p/002.ts")).await.unwrap();
    assert!(passed.status == 200 && passed.body == source.body);
}

#[tokio::test]
async fn requests_have_a_size() {
    let world = world(
        one_rendition().set("limits.request_body_bytes", 1000).set("limits.request_header_bytes", "\"4KiB\""),
    )
    .await;
    let before = world.origin.seen().len();
    let rows = [
        ("POST", format!("Content-Length: 1001\r\n\r\n{}", "a".repeat(1001)), 413),
        ("GET", format!("Content-Length: 1001\r\n\r\n{}", "a".repeat(1001)), 413),
        ("POST", "Content-Length: 99999999999\r\n\r\n".to_owned(), 413),
        ("GET", format!("X: {}\r\n\r\n", "a".repeat(5000)), 431),
        ("GET", format!("{}\r\n", "X: a\r\n".repeat(150)), 431),
    ];
    for (method, rest, expected) in &rows {
        let request = format!("{method} /a.jpg HTTP/1.1\r\nHost: edge\r\n{rest}");
        let answer = said(&world, request.as_bytes()).await;
        assert!(answer.starts_with(&format!("HTTP/1.1 {expected} ")), "{method} {expected}: {answer}");
        assert!(answer.to_ascii_lowercase().contains("connection: close"), "the rest is not read: {answer}");
    }
    assert_eq!(world.origin.seen().len(), before, "none of them went on");
    // One whose length nobody told is noticed on its way.
    let chunks = format!(
        "Transfer-Encoding: chunked\r\n\r\n{}0\r\n\r\n",
        format!("1f4\r\n{}\r\n", "a".repeat(500)).repeat(3)
    );
    let answer = said(&world, format!("POST /a.jpg HTTP/1.1\r\nHost: edge\r\n{chunks}").as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 413 "), "{answer}");
    // One that fits is no affair of the edge's.
    let fits =
        format!("POST /a.jpg HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000\r\n\r\n{}", "a".repeat(1000));
    let answer = said(&world, fits.as_bytes()).await;
    assert!(answer.starts_with("HTTP/1.1 200 "), "{answer}");
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "body_bytes")]), 4.0, "{}", counted.text());
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "header_bytes")]), 2.0);
    assert_eq!(counted.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    assert_eq!((logged(&world, "body_bytes").len(), logged(&world, "header_bytes").len()), (4, 2));
}

/// What comes back until the edge closes or says nothing for a while.
async fn said(world: &World, bytes: &[u8]) -> String {
    let mut socket = open(world).await;
    let _ = socket.write_all(bytes).await;
    let mut answer = Vec::new();
    let mut piece = vec![0; 4096];
    while let Ok(Ok(length @ 1..)) = timeout(Duration::from_millis(700), socket.read(&mut piece)).await {
        answer.extend_from_slice(&piece[..length]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}

async fn open(world: &World) -> TcpStream {
    TcpStream::connect(world.edge.base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Asks on a connection that stands, and leaves it standing; whether there was an answer.
async fn asks(socket: &mut TcpStream) -> bool {
    let _ = socket.write_all(b"GET /a.jpg HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    let mut answer = Vec::new();
    let mut piece = vec![0; 4096];
    while !answer.ends_with(b"a picture") {
        match timeout(Duration::from_secs(5), socket.read(&mut piece)).await {
            Ok(Ok(length @ 1..)) => answer.extend_from_slice(&piece[..length]),
            _ => return false,
        }
    }
    true
}

#[tokio::test]
async fn a_client_has_so_many_connections_and_requests() {
    let world =
        world(one_rendition().set("limits.client.connections", 3).set("limits.client.requests", 2)).await;
    world.origin.fault("/a.jpg", Fault::Latency(Duration::from_millis(800)));
    let mut sockets = vec![open(&world).await, open(&world).await, open(&world).await];
    let mut answers = Vec::new();
    for socket in &mut sockets {
        socket.write_all(b"GET /a.jpg HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let mut fourth = open(&world).await;
    let mut piece = vec![0; 4096];
    let closed = timeout(Duration::from_secs(5), fourth.read(&mut piece)).await.expect("it ends at once");
    assert!(matches!(closed, Ok(0) | Err(_)));
    for socket in &mut sockets {
        let length = timeout(Duration::from_secs(5), socket.read(&mut piece)).await.unwrap().unwrap();
        answers.push(String::from_utf8_lossy(&piece[..length]).split(' ').nth(1).unwrap().to_owned());
    }
    assert_eq!(answers, ["200", "200", "429"]);
    drop(sockets);
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert!(asks(&mut open(&world).await).await, "what has ended counts no more");
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "client_connections")]), 1.0);
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "client_requests")]), 1.0);
}

/// An edge that runs out of files can neither accept nor reach its origin. This one never gets there.
#[tokio::test]
async fn connections_end_before_files_do() {
    let world = world(one_rendition().open_files(256)).await;
    let mut first = open(&world).await;
    assert!(asks(&mut first).await);
    let mut sockets = Vec::new();
    for _ in 0..400 {
        sockets.push(open(&world).await);
    }
    tokio::time::sleep(Duration::from_millis(500)).await;
    assert!(asks(&mut first).await, "what stands is not touched");
    let (mut served, mut closed) = (0, 0);
    for socket in &mut sockets {
        if asks(socket).await { served += 1 } else { closed += 1 }
    }
    assert!(served == 127 && closed == 273, "{served} served, {closed} closed; half of 256 is 128");
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "connections")]), 273.0);
    assert_eq!(counted.sum("acuity_connections", &[]), 128.0);
    assert_eq!(counted.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    assert!(counted.sum("process_open_fds", &[]) < 256.0);
    drop(sockets);
    tokio::time::sleep(Duration::from_millis(300)).await;
    assert!(asks(&mut open(&world).await).await, "there is room again");
}

/// Sets what the edge may have open from now on.
fn may_open(world: &World, most: usize) {
    let limit = format!("--nofile={most}:");
    let id = world.edge.process_id().to_string();
    assert!(std::process::Command::new("prlimit").args(["--pid", &id, &limit]).status().unwrap().success());
}

/// However it comes to that: by a leak, by a limit that somebody else has set.
#[tokio::test]
async fn without_a_file_left_those_who_are_connected_play_on_and_the_others_wait() {
    let world = serve(&clips::vod_ts().await.unwrap(), one_rendition().open_files(4096)).await;
    let (player, _, media) = open_enhanced(&world).await;
    let cached = segment_url(&media, 0);
    let body = player.get_ok(&cached, &[]).await.unwrap().body;
    // Operators' connection stands too, as a scraper's does.
    player.get_ok(&format!("{}/metrics", world.edge.admin), &[]).await.unwrap();
    let open_now = std::fs::read_dir(format!("/proc/{}/fd", world.edge.process_id())).unwrap().count();
    // Below what is open: nothing is closed by it, and nothing can be opened.
    may_open(&world, open_now.saturating_sub(1));
    let mut later = Vec::new();
    for _ in 0..20 {
        let (player, cached) = (Player::new().unwrap(), cached.clone());
        later.push(tokio::spawn(
            async move { player.get(&cached).await.map(|answer| answer.status.as_u16()) },
        ));
    }
    let started = Instant::now();
    while started.elapsed() < Duration::from_secs(3) {
        let again = player.get_ok(&cached, &[]).await.unwrap();
        assert!(again.body == body && again.header("cache-status").contains("hit"));
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert!(later.iter().all(|asking| !asking.is_finished()), "nobody is let in, and nobody is sent away");
    let seen = player.get_ok(&format!("{}/metrics", world.edge.admin), &[]).await.unwrap();
    let seen = acuity_tests::metrics::Metrics::new(seen.text());
    let [files, most] = ["process_open_fds", "process_max_fds"].map(|name| seen.sum(name, &[]));
    assert!(files >= most && most > 0.0, "{files} of {most}: operators see it");
    // What has to be fetched cannot be; whoever asks gets a refusal and keeps the connection.
    let uncached = player.get(&segment_url(&media, 2)).await.unwrap().status.as_u16();
    let passed = player.get(&world.edge.url("/vod/180p/001.ts")).await.unwrap().status.as_u16();

    may_open(&world, 4096);
    let recovered = Instant::now();
    for asking in later {
        assert_eq!(timeout(Duration::from_secs(10), asking).await.unwrap().unwrap().unwrap(), 200);
    }
    eprintln!(
        "without files: {uncached} for what is not there, {passed} for what is passed on; back after {:?}",
        recovered.elapsed()
    );
    assert!(recovered.elapsed() < Duration::from_secs(5), "{:?}", recovered.elapsed());
    player.get_ok(&segment_url(&media, 2), &[]).await.unwrap();
    player.get_ok(&world.edge.url("/vod/180p/001.ts"), &[]).await.unwrap();
    let counted = metrics(&world).await;
    assert!(counted.sum("process_open_fds", &[]) < counted.sum("process_max_fds", &[]));
}
