//! Segments that are sent while they are being made.

use acuity_tests::clips;
use acuity_tests::world::WorldBuilder;
use reqwest::{Method, StatusCode};

use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// Enlarged plainly, which any machine does many times as quickly as the film runs.
fn quick() -> WorldBuilder {
    one_rendition().route("cluster", "\"plain\"").set("enhancer.look_ahead", 0)
}

#[tokio::test]
async fn a_cold_segment_flows_and_is_kept_as_what_was_sent() {
    for clip in [clips::vod_ts().await.unwrap(), clips::chunked_fmp4().await.unwrap()] {
        let world = serve(&clip, quick()).await;
        let (player, _, media) = open_enhanced(&world).await;
        let url = segment_url(&media, 0);
        let (first, second) = tokio::join!(player.get_ok(&url, &[]), player.get_ok(&url, &[]));
        let (first, second) = (first.unwrap(), second.unwrap());
        assert_eq!(first.header("transfer-encoding"), "chunked", "{:?}", first.headers);
        assert!(first.header("etag").is_empty() && first.header("content-length").is_empty());
        assert!(first.first_byte_seconds < first.seconds);
        assert_eq!(first.body, second.body);
        let kept = player.get_ok(&url, &[]).await.unwrap();
        assert_eq!(kept.header("content-length"), first.body.len().to_string());
        assert!(!kept.header("etag").is_empty() && kept.header("cache-status").contains("hit"));
        assert_eq!(kept.body, first.body);
        let seen = world.origin.seen().iter().filter(|seen| seen.path.ends_with("/180p/000.ts")).count();
        assert!(seen <= 1, "the source was fetched {seen} times");
    }
}

#[tokio::test]
async fn who_needs_the_whole_waits_for_it() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, quick()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let part = player.get_ok(&segment_url(&media, 0), &[("range", "bytes=0-187")]).await.unwrap();
    assert_eq!((part.status, part.body.len()), (StatusCode::PARTIAL_CONTENT, 188));
    let head = player.request(Method::HEAD, &segment_url(&media, 1), &[]).await.unwrap();
    assert!(head.status == StatusCode::OK && !head.header("content-length").is_empty());
    let condition = [("if-none-match", "\"other\"")];
    let whole = player.get_ok(&segment_url(&media, 2), &condition).await.unwrap();
    assert!(!whole.header("content-length").is_empty() && !whole.header("etag").is_empty());
}

/// A transfer that would be slower than the configured pace does not begin before the whole is there.
#[tokio::test]
async fn nothing_trickles() {
    let clip = clips::vod_ts().await.unwrap();
    let world =
        serve(&clip, quick().set("enhancer.stream_pace", 100.0).set("enhancer.encoder_threads", 1)).await;
    let (player, _, media) = open_enhanced(&world).await;
    let fetched = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    // Either it was whole, or what was left of it took a hundredth of its time.
    let is_whole = !fetched.header("content-length").is_empty();
    let transfer = fetched.seconds - fetched.first_byte_seconds;
    assert!(is_whole || transfer < 0.5, "{transfer} s of transfer after {} s", fetched.first_byte_seconds);
}

/// Chunks are not for clients of HTTP/1.0.
#[tokio::test]
async fn old_clients_get_a_length() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, quick()).await;
    let (_, _, media) = open_enhanced(&world).await;
    let url: reqwest::Url = segment_url(&media, 0).parse().unwrap();
    let address = (url.host_str().unwrap(), url.port().unwrap());
    let mut socket = tokio::net::TcpStream::connect(address).await.unwrap();
    let request = format!("GET {} HTTP/1.0\r\nHost: {}:{}\r\n\r\n", url.path(), address.0, address.1);
    socket.write_all(request.as_bytes()).await.unwrap();
    let mut answer = Vec::new();
    socket.read_to_end(&mut answer).await.unwrap();
    let end = answer.windows(4).position(|four| four == b"\r\n\r\n").unwrap();
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    assert!(head.contains(" 200 ") && !head.contains("chunked"), "{head}");
    assert!(head.contains(&format!("content-length: {}", answer.len() - end - 4)), "{head}");
}
