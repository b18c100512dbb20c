//! Clients that are slow on purpose: connections end in bounded time, and others are served meanwhile.

use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::origin::Fault;
use acuity_tests::player::Player;
use acuity_tests::world::World;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpSocket, TcpStream};
use tokio::time::{sleep, timeout};

use crate::attacks::metrics;
use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

const LIMIT: Duration = Duration::from_secs(2);

async fn world() -> World {
    let told = one_rendition().set("limits.header_timeout", "\"2s\"").set("limits.stall_timeout", "\"2s\"");
    let world = serve(&clips::vod_ts().await.unwrap(), told).await;
    world.origin.put("/a.jpg", "a picture");
    world
}

async fn open(world: &World) -> TcpStream {
    TcpStream::connect(world.edge.base.strip_prefix("http://").unwrap()).await.unwrap()
}

/// Sends one byte of `text` after the other until the edge ends the connection; how long that took.
async fn drip(mut socket: TcpStream, text: &str) -> Option<Duration> {
    let start = Instant::now();
    let mut piece = [0; 1024];
    for byte in text.bytes().cycle() {
        if socket.write_all(&[byte]).await.is_err() {
            return Some(start.elapsed());
        }
        match timeout(Duration::from_millis(100), socket.read(&mut piece)).await {
            Ok(Ok(1..)) => return None,
            Ok(_) => return Some(start.elapsed()),
            Err(_) => {}
        }
        if start.elapsed() > LIMIT * 5 {
            return None;
        }
    }
    None
}

/// About as long as the limit, however busy the machine is.
fn in_time(took: Duration) -> bool {
    took >= LIMIT - Duration::from_millis(200) && took < LIMIT + Duration::from_secs(3)
}

async fn until_closed(mut socket: TcpStream) -> Duration {
    let (start, mut piece) = (Instant::now(), [0; 1024]);
    let _ = timeout(LIMIT * 5, socket.read(&mut piece)).await.expect("it ends");
    start.elapsed()
}

#[tokio::test]
async fn headers_have_an_end_however_they_come() {
    let world = world().await;
    let head = "GET /a.jpg HTTP/1.1\r\nHost: edge\r\nX: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    let silent = tokio::spawn(until_closed(open(&world).await));
    let slow = drip(open(&world).await, head).await.expect("it ended without an answer");
    assert!(in_time(slow), "{slow:?}");
    let silent = silent.await.unwrap();
    assert!(in_time(silent), "{silent:?}");
    // The second request of a connection that stood has as much time, from its first byte on.
    let mut stood = open(&world).await;
    stood.write_all(b"GET /a.jpg HTTP/1.1\r\nHost: edge\r\n\r\n").await.unwrap();
    let mut piece = [0; 4096];
    let mut answer = Vec::new();
    while !answer.ends_with(b"a picture") {
        let length = stood.read(&mut piece).await.unwrap();
        answer.extend_from_slice(&piece[..length]);
    }
    sleep(LIMIT + Duration::from_millis(500)).await;
    let slow = drip(stood, head).await.expect("standing idle is allowed, and then headers have an end");
    assert!(in_time(slow), "{slow:?}");
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_connections_cut_total", &[("reason", "silent")]), 1.0);
    assert_eq!(counted.sum("acuity_connections_cut_total", &[("reason", "slow_headers")]), 2.0);
    assert_eq!(counted.sum("acuity_connections", &[]), 0.0, "{}", counted.text());
}

#[tokio::test]
async fn a_body_has_an_end_however_it_comes() {
    let world = world().await;
    // This one waits for no body before it answers.
    world.origin.fault("/a.jpg", Fault::Latency(LIMIT * 5));
    let mut socket = open(&world).await;
    socket.write_all(b"POST /a.jpg HTTP/1.1\r\nHost: edge\r\nContent-Length: 1000\r\n\r\n").await.unwrap();
    let start = Instant::now();
    let mut piece = [0; 1024];
    let answer = loop {
        if socket.write_all(b"a").await.is_err() {
            break String::new();
        }
        match timeout(Duration::from_millis(100), socket.read(&mut piece)).await {
            Ok(Ok(length)) => break String::from_utf8_lossy(&piece[..length]).into_owned(),
            Ok(Err(_)) => break String::new(),
            Err(_) => assert!(start.elapsed() < LIMIT * 5, "it ends"),
        }
    };
    assert!(answer.is_empty() || answer.starts_with("HTTP/1.1 408 "), "{answer}");
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_limited_total", &[("limit", "body_time")]), 1.0, "{}", counted.text());
}

#[tokio::test]
async fn who_takes_nothing_is_not_waited_for() {
    let world = world().await;
    let (player, _, media) = open_enhanced(&world).await;
    let made = segment_url(&media, 0);
    player.get_ok(&made, &[]).await.unwrap();
    world.origin.put("/large", vec![b'x'; 8 << 20]);
    let made = made.strip_prefix(&world.edge.base).unwrap().to_owned();
    for path in [made.as_str(), "/large"] {
        let socket = TcpSocket::new_v4().unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        let mut socket =
            socket.connect(world.edge.base.strip_prefix("http://").unwrap().parse().unwrap()).await.unwrap();
        let request = format!("GET {path} HTTP/1.1\r\nHost: edge\r\n\r\n");
        socket.write_all(request.as_bytes()).await.unwrap();
        let start = Instant::now();
        loop {
            let open = metrics(&world).await.sum("acuity_connections", &[]);
            // The player above keeps one.
            if open <= 1.0 {
                break;
            }
            assert!(start.elapsed() < LIMIT * 4, "{path} ends");
        }
        drop(socket);
    }
    let counted = metrics(&world).await;
    assert!(
        counted.sum("acuity_connections_cut_total", &[("reason", "stalled")]) >= 1.0,
        "{}",
        counted.text()
    );
}

/// The classic: very many, each of which costs its sender nothing.
#[tokio::test]
async fn thousands_that_say_little_do_not_stop_those_who_speak() {
    let world = world().await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 0);
    player.get_ok(&url, &[]).await.unwrap();
    let mut sockets = Vec::new();
    for number in 0..3000 {
        let mut socket = open(&world).await;
        if number % 2 == 0 {
            socket.write_all(b"GET /a.jpg HTT").await.unwrap();
        }
        sockets.push(socket);
    }
    // A new connection, while all of those stand.
    let start = Instant::now();
    let player = Player::new().unwrap();
    for _ in 0..50 {
        player.get_ok(&url, &[]).await.unwrap();
    }
    let each = start.elapsed() / 50;
    assert!(each < Duration::from_millis(200), "{each:?}");
    let start = Instant::now();
    while metrics(&world).await.sum("acuity_connections", &[]) > 2.0 {
        assert!(start.elapsed() < LIMIT * 5, "all of them end");
    }
    let counted = metrics(&world).await;
    let cut = |reason| counted.sum("acuity_connections_cut_total", &[("reason", reason)]);
    assert_eq!((cut("silent"), cut("slow_headers")), (1500.0, 1500.0), "{}", counted.text());
}

/// What pingora refuses before the edge sees a request.
#[tokio::test]
async fn what_is_no_http_is_counted() {
    let world = world().await;
    for bytes in [
        &b"GET / HTTP/1.1\r\nHost : edge\r\n\r\n"[..],
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 hello\r\n\r\n",
        b"CONNECT inside:80 HTTP/1.1\r\nHost: inside:80\r\n\r\n",
    ] {
        let mut socket = open(&world).await;
        socket.write_all(bytes).await.unwrap();
        let mut answer = Vec::new();
        timeout(LIMIT * 3, socket.read_to_end(&mut answer)).await.expect("it ends").unwrap();
        assert!(answer.starts_with(b"HTTP/1.1 40"), "{}", String::from_utf8_lossy(&answer));
    }
    let counted = metrics(&world).await;
    assert_eq!(counted.sum("acuity_connections_cut_total", &[("reason", "malformed")]), 3.0);
    assert_eq!(counted.sum("acuity_requests_total", &[]), 0.0);
}
