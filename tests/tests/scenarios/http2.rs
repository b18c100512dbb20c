//! What strangers send in HTTP/2, which is there with TLS alone: frames written by hand, because a library would not write them.

use std::time::{Duration, Instant};

use acuity_tests::player::Player;
use acuity_tests::processes::resident_kib;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::client::TlsStream;

use crate::attacks::metrics;
use crate::depot::until;
use crate::kit::one_rendition;
use crate::secure::{Secure, secure, secure_with};

// Frame types and flags (RFC 9113, 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const CONTINUATION: u8 = 9;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: [u8; 4] = [0, 0, 0, 8];

/// `:status` of an answer by its place in HPACK's static table (RFC 7541, Appendix A).
const OK: u8 = 0x88;

/// More than the buffers between the two hold: what is taken beyond that is read.
const MOST_FRAMES: usize = 4_000_000;
const BRIEFLY: Duration = Duration::from_millis(300);
const PATIENCE: Duration = Duration::from_secs(5);

type Pairs<'a> = &'a [(&'a str, &'a str)];

const GET: [(&str, &str); 4] =
    [(":method", "GET"), (":scheme", "https"), (":authority", "edge"), (":path", "/a.jpg")];

/// A connection of frames.
struct Frames(TlsStream<TcpStream>);

impl Frames {
    /// Connected, with the preface and settings said.
    async fn open(edge: &Secure) -> Self {
        Self::open_with(edge, &[]).await
    }

    async fn open_with(edge: &Secure, settings: &[u8]) -> Self {
        let stream = edge.connect(&[b"h2"]).await;
        assert_eq!(stream.get_ref().1.alpn_protocol(), Some(&b"h2"[..]));
        let mut frames = Self(stream);
        assert!(frames.write(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n").await);
        assert!(frames.send(SETTINGS, 0, 0, settings).await);
        frames
    }

    /// Whether the edge still takes it.
    async fn write(&mut self, bytes: &[u8]) -> bool {
        let sending = async { self.0.write_all(bytes).await.is_ok() && self.0.flush().await.is_ok() };
        timeout(Duration::from_secs(2), sending).await.unwrap_or(false)
    }

    async fn send(&mut self, kind: u8, flags: u8, stream: u32, payload: &[u8]) -> bool {
        self.write(&frame(kind, flags, stream, payload)).await
    }

    /// All that comes until the edge ends the connection, or has answered or ended a stream, or says nothing for a while: type, stream, payload.
    async fn answers(&mut self) -> (Vec<(u8, u32, Vec<u8>)>, bool) {
        let (mut bytes, mut piece) = (Vec::new(), vec![0; 64 << 10]);
        loop {
            let found = frames(&bytes);
            let is_over = found.iter().any(|(kind, ..)| matches!(*kind, HEADERS | RST_STREAM | GOAWAY));
            // A busy machine takes its time; what belongs to an answer comes with it.
            let silence = if is_over { BRIEFLY } else { PATIENCE };
            match timeout(silence, self.0.read(&mut piece)).await {
                Ok(Ok(length @ 1..)) => bytes.extend_from_slice(&piece[..length]),
                Ok(_) => return (found, true),
                Err(_) => return (found, false),
            }
        }
    }
}

/// The whole frames among these bytes.
fn frames(mut rest: &[u8]) -> Vec<(u8, u32, Vec<u8>)> {
    let mut found = Vec::new();
    while rest.len() >= 9 {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        let stream = u32::from_be_bytes([rest[5], rest[6], rest[7], rest[8]]);
        let Some(payload) = rest.get(9..9 + length) else { break };
        found.push((rest[3], stream, payload.to_vec()));
        rest = &rest[9 + length..];
    }
    found
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut bytes = (payload.len() as u32).to_be_bytes()[1..].to_vec();
    bytes.extend([kind, flags]);
    bytes.extend(stream.to_be_bytes());
    bytes.extend(payload);
    bytes
}

/// Header fields as literals without indexing (RFC 7541, 6.2.2): whatever is in them.
fn fields(pairs: Pairs<'_>) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in pairs {
        block.push(0);
        for text in [name, value] {
            // An integer with a prefix of seven bits (5.1); the bit before it says: no Huffman code.
            let mut length = text.len();
            if length < 127 {
                block.push(length as u8);
            } else {
                block.push(127);
                length -= 127;
                while length >= 128 {
                    block.push((length % 128) as u8 | 128);
                    length /= 128;
                }
                block.push(length as u8);
            }
            block.extend(text.as_bytes());
        }
    }
    block
}

fn with<'a>(more: Pairs<'a>) -> Vec<(&'a str, &'a str)> {
    GET.iter().chain(more).copied().collect()
}

#[tokio::test]
async fn a_request_by_hand_is_answered() {
    let edge = secure().await;
    let mut frames = Frames::open(&edge).await;
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&GET)).await;
    let (answers, _) = frames.answers().await;
    assert!(
        answers
            .iter()
            .any(|(kind, stream, block)| (*kind, *stream, block.first()) == (HEADERS, 1, Some(&OK))),
        "{answers:?}"
    );
    let body = answers.iter().filter(|(kind, ..)| *kind == DATA).flat_map(|(.., body)| body.clone());
    assert_eq!(body.collect::<Vec<_>>(), b"a picture");
}

#[tokio::test]
async fn fields_that_could_hide_a_request_end_the_stream() {
    let edge = secure().await;
    let before = edge.world.origin.seen().len();
    let swapped = [GET[0], GET[3], ("x", "1"), GET[1], GET[2]];
    for (name, pairs) in [
        ("transfer-encoding", with(&[("transfer-encoding", "chunked")])),
        ("connection", with(&[("connection", "keep-alive")])),
        ("upgrade", with(&[("upgrade", "h2c")])),
        ("a name in capitals", with(&[("X-A", "1")])),
        ("a line in a value", with(&[("x-a", "1\r\nGET /b.ts HTTP/1.1")])),
        ("a line in a name", with(&[("x-a: 1\r\nx-b", "1")])),
        ("two paths", with(&[(":path", "/b.ts")])),
        ("two methods", with(&[(":method", "POST")])),
        ("an unknown pseudo-header", with(&[(":host", "other")])),
        ("a pseudo-header behind a field", swapped.to_vec()),
        ("no path", GET[..3].to_vec()),
        (
            "a line in the path",
            [&GET[..3], &[(":path", "/a.jpg HTTP/1.1\r\nHost: other\r\n\r\nGET /b.ts")]].concat(),
        ),
        ("an empty path", [&GET[..3], &[(":path", "")]].concat()),
    ] {
        let mut frames = Frames::open(&edge).await;
        frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&pairs)).await;
        let (answers, is_closed) = frames.answers().await;
        let served = answers.iter().any(|(kind, _, block)| *kind == HEADERS && block.first() == Some(&OK));
        let ended =
            is_closed || answers.iter().any(|(kind, ..)| matches!(*kind, RST_STREAM | GOAWAY | HEADERS));
        assert!(!served && ended, "{name}: {answers:?}");
    }
    assert_eq!(edge.world.origin.seen().len(), before, "nothing of it went to the origin");
}

#[tokio::test]
async fn who_says_another_host_or_another_length_reaches_nothing_else() {
    let edge = secure().await;
    let mut frames = Frames::open(&edge).await;
    frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&with(&[("host", "169.254.169.254")]))).await;
    frames.answers().await;
    // A body that is longer than it says: what is too much is no second request.
    let post = [(":method", "POST"), GET[1], GET[2], (":path", "/b.bin"), ("content-length", "3")];
    frames.send(HEADERS, END_HEADERS, 3, &fields(&post)).await;
    frames.send(DATA, END_STREAM, 3, b"abcGET /c.bin HTTP/1.1\r\nHost: edge\r\n\r\n").await;
    frames.answers().await;
    for seen in edge.world.origin.seen() {
        let host = seen.headers.get("host").unwrap().to_str().unwrap();
        assert_eq!(host, edge.world.origin.address().to_string());
        assert_ne!(seen.path, "/c.bin");
    }
}

#[tokio::test]
async fn lists_of_headers_have_an_end() {
    let edge = secure().await;
    let before = edge.world.origin.seen().len();
    let long = "a".repeat(10 << 10);
    // Above the edge's own limit (32 KiB) and below the connection's.
    let mut frames = Frames::open(&edge).await;
    let block = fields(&with(&[("x-1", &long), ("x-2", &long), ("x-3", &long), ("x-4", &long)]));
    let parts: Vec<&[u8]> = block.chunks(16 << 10).collect();
    for (at, part) in parts.iter().enumerate() {
        let ends = if at + 1 == parts.len() { END_HEADERS } else { 0 };
        let (kind, flags) = if at == 0 { (HEADERS, END_STREAM | ends) } else { (CONTINUATION, ends) };
        frames.send(kind, flags, 1, part).await;
    }
    let (answers, _) = frames.answers().await;
    assert!(
        answers
            .iter()
            .any(|(kind, stream, block)| (*kind, *stream) == (HEADERS, 1) && block.first() != Some(&OK)),
        "{answers:?}"
    );
    until(&edge.world.edge, "acuity_limited_total", &[("limit", "header_bytes")], 1.0).await;

    // One that never ends.
    let mut frames = Frames::open(&edge).await;
    frames.send(HEADERS, END_STREAM, 1, &fields(&GET)).await;
    let part = frame(CONTINUATION, 0, 1, &fields(&[("x", &long)]));
    let mut sent = 0;
    while sent < 32 << 20 && frames.write(&part).await {
        sent += part.len();
    }
    assert!(sent < 32 << 20, "it took {sent} bytes of one list of headers");
    // The same in frames that carry nothing.
    let mut frames = Frames::open(&edge).await;
    frames.send(HEADERS, END_STREAM, 1, &fields(&GET)).await;
    let empty = frame(CONTINUATION, 0, 1, &[]).repeat(1000);
    let mut sent = 0;
    while sent < MOST_FRAMES && frames.write(&empty).await {
        sent += 1000;
    }
    assert!(sent < MOST_FRAMES, "it took {sent} frames without anything in them");
    assert_eq!(edge.world.origin.seen().len(), before);
}

#[tokio::test]
async fn a_flood_of_resets_costs_others_nothing() {
    let edge = secure().await;
    let player = Player::new().unwrap();
    let url = edge.world.edge.url("/a.jpg");
    player.get_ok(&url, &[]).await.unwrap();
    let (before, _) = resident_kib(edge.world.edge.process_id());
    let get = fields(&GET);
    let flood = async {
        let mut opened = 0_u32;
        for _ in 0..4 {
            let mut frames = Frames::open(&edge).await;
            for round in 0..100_u32 {
                let of = |number: u32| {
                    let stream = 2 * (100 * round + number) + 1;
                    [
                        frame(HEADERS, END_STREAM | END_HEADERS, stream, &get),
                        frame(RST_STREAM, 0, stream, &CANCEL),
                    ]
                    .concat()
                };
                if !frames.write(&(0..100).flat_map(of).collect::<Vec<u8>>()).await {
                    break;
                }
                opened += 100;
            }
            frames.send(PING, 0, 0, &[0; 8]).await;
            frames.answers().await;
        }
        opened
    };
    let others = async {
        let mut slowest = Duration::ZERO;
        for _ in 0..20 {
            let asked = Instant::now();
            player.get_ok(&url, &[]).await.unwrap();
            slowest = slowest.max(asked.elapsed());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        slowest
    };
    let (opened, slowest) = tokio::join!(flood, others);
    assert!(opened >= 400, "{opened} streams were opened and given up");
    assert!(slowest < Duration::from_secs(3), "{slowest:?}");
    let (after, _) = resident_kib(edge.world.edge.process_id());
    assert!(after < before + (64 << 10), "{before} to {after} KiB");
    let metrics = metrics(&edge.world).await;
    assert_eq!(metrics.sum("acuity_flights", &[]), 0.0, "{}", metrics.text());
    player.get_ok(&url, &[]).await.unwrap();
}

const LIMIT: Duration = Duration::from_secs(2);

/// Sends what `next` gives, a piece every tenth of a second, until the edge ends the connection; how long that took.
async fn drip(mut frames: Frames, mut next: impl FnMut() -> Vec<u8>) -> Duration {
    let (start, mut piece) = (Instant::now(), vec![0; 4096]);
    while frames.write(&next()).await {
        match timeout(Duration::from_millis(100), frames.0.read(&mut piece)).await {
            Ok(Ok(0) | Err(_)) => break,
            Ok(Ok(_)) | Err(_) => assert!(start.elapsed() < LIMIT * 8, "it ends"),
        }
    }
    start.elapsed()
}

/// As over HTTP/1.1 (`slow.rs`): a list of fields has an end, and so has an answer that nobody takes. Who says nothing between two requests may stay.
#[tokio::test]
async fn who_is_slow_on_purpose_is_not_waited_for() {
    let told = one_rendition().set("limits.header_timeout", "\"2s\"").set("limits.stall_timeout", "\"2s\"");
    let edge = secure_with(told).await;
    edge.world.origin.put("/large", vec![b'x'; 8 << 20]);
    let in_time =
        |took: Duration| took >= LIMIT - Duration::from_millis(200) && took < LIMIT + Duration::from_secs(4);

    // One byte of a frame after the other, and frames with nothing in them.
    let block = fields(&with(&[("x", &"a".repeat(2000))]));
    let whole = frame(HEADERS, END_STREAM | END_HEADERS, 1, &block);
    let mut bytes = whole.into_iter();
    let by_bytes = drip(Frames::open(&edge).await, move || vec![bytes.next().unwrap()]);
    let mut opened = Frames::open(&edge).await;
    assert!(opened.send(HEADERS, END_STREAM, 1, &fields(&GET)).await);
    let by_pings = drip(opened, Vec::new);

    // A stream whose window stays shut: neither the socket nor TLS knows.
    let shut = async {
        let initial_window = [0, 4, 0, 0, 0, 0];
        let mut frames = Frames::open_with(&edge, &initial_window).await;
        let get = [(":method", "GET"), (":scheme", "https"), (":authority", "edge"), (":path", "/large")];
        assert!(frames.send(HEADERS, END_STREAM | END_HEADERS, 1, &fields(&get)).await);
        let (start, mut is_over) = (Instant::now(), false);
        while !is_over && start.elapsed() < LIMIT * 5 {
            let (answers, closed) = frames.answers().await;
            is_over = closed || answers.iter().any(|(kind, ..)| matches!(*kind, RST_STREAM | GOAWAY));
        }
        assert!(is_over, "it waits for a window that stays shut");
    };

    let stays = async {
        let mut frames = Frames::open(&edge).await;
        for stream in [1, 3] {
            assert!(frames.send(HEADERS, END_STREAM | END_HEADERS, stream, &fields(&GET)).await);
            let (answers, _) = frames.answers().await;
            assert!(answers.iter().any(|(kind, of, _)| (*kind, *of) == (HEADERS, stream)), "{answers:?}");
            tokio::time::sleep(LIMIT + Duration::from_secs(1)).await;
        }
    };
    let (by_bytes, by_pings, (), ()) = tokio::join!(by_bytes, by_pings, shut, stays);
    assert!(in_time(by_bytes), "{by_bytes:?}");
    assert!(in_time(by_pings), "{by_pings:?}");
    let counted = metrics(&edge.world).await;
    let cut = |reason| counted.sum("acuity_connections_cut_total", &[("reason", reason)]);
    assert_eq!((cut("slow_headers"), cut("silent")), (2.0, 0.0), "{}", counted.text());
    assert_eq!(
        counted.sum("acuity_requests_total", &[("outcome", "client_gone")]),
        1.0,
        "{}",
        counted.text()
    );
}
