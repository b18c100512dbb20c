//! HTTP as players, browsers and caches expect it, of enhanced objects and of what passes through.

use acuity_tests::clips;
use acuity_tests::player::Player;
use reqwest::Method;

use crate::kit::{open_enhanced, segment_url, serve_at_leisure};

#[tokio::test]
async fn an_enhanced_segment_answers_every_kind_of_question() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    let cold = player.get_ok(&url, &[]).await.unwrap();
    let whole = player.get_ok(&url, &[]).await.unwrap();
    assert_eq!(cold.body, whole.body);
    assert_eq!(whole.header("content-length"), whole.body.len().to_string());
    assert_eq!(whole.header("accept-ranges"), "bytes");
    assert_eq!(whole.header("content-encoding"), "", "segments are not compressed");
    assert!(whole.header("server-timing").contains("dur="), "{}", whole.header("server-timing"));
    assert!(!whole.header("cache-status").is_empty());
    let etag = whole.header("etag");
    assert!(etag.starts_with('"'), "a strong validator: {etag}");

    let head = player.request(Method::HEAD, &url, &[]).await.unwrap();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());

    let part = player.request(Method::GET, &url, &[("range", "bytes=188-375")]).await.unwrap();
    assert_eq!(part.status, 206);
    assert_eq!(part.body, whole.body.slice(188..376));
    assert_eq!(part.header("content-length"), "188");
    assert_eq!(part.header("content-range"), format!("bytes 188-375/{}", whole.body.len()));
    let tail = player.request(Method::GET, &url, &[("range", "bytes=-10")]).await.unwrap();
    assert_eq!(tail.body, whole.body.slice(whole.body.len() - 10..));
    let beyond = player.request(Method::GET, &url, &[("range", "bytes=99999999-")]).await.unwrap();
    assert_eq!(beyond.status, 416);
    assert_eq!(beyond.header("content-range"), format!("bytes */{}", whole.body.len()));

    let same = player.request(Method::GET, &url, &[("if-none-match", &etag)]).await.unwrap();
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let other = player.request(Method::GET, &url, &[("if-none-match", "\"else\"")]).await.unwrap();
    assert_eq!(other.status, 200);
    let stale_range = [("range", "bytes=0-9"), ("if-range", "\"else\"")];
    assert_eq!(
        player.request(Method::GET, &url, &stale_range).await.unwrap().status,
        200,
        "If-Range failed: all of it"
    );
}

#[tokio::test]
async fn pages_of_other_origins_may_read_it() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    let seen_before = world.origin.seen().len();
    let asked = [
        ("origin", "https://player.example"),
        ("access-control-request-method", "GET"),
        ("access-control-request-headers", "range,cmcd-object"),
    ];
    let preflight = player.request(Method::OPTIONS, &url, &asked).await.unwrap();
    assert!(preflight.status.is_success(), "{}", preflight.status);
    assert!(!preflight.header("access-control-allow-origin").is_empty());
    assert!(preflight.header("access-control-allow-headers").to_ascii_lowercase().contains("range"));
    assert_eq!(world.origin.seen().len(), seen_before, "answered at the edge");
    let answer = player.get_ok(&url, &[("origin", "https://player.example")]).await.unwrap();
    assert!(!answer.header("access-control-allow-origin").is_empty());
}

#[tokio::test]
async fn playlists_are_compressed_for_those_who_can() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, master, media) = open_enhanced(&world).await;
    assert_eq!(media.fetched.header("content-type"), "application/vnd.apple.mpegurl");
    assert_eq!(master.fetched.header("content-encoding"), "", "nobody asked for it");
    // the media playlist of three segments is too short to be worth it
    let packed = player.get_ok(master.fetched.url.as_str(), &[("accept-encoding", "gzip")]).await.unwrap();
    assert_eq!(packed.header("content-encoding"), "gzip");
    assert!(packed.body.len() < master.fetched.body.len());
    assert!(packed.header("vary").to_ascii_lowercase().contains("accept-encoding"));
    assert_eq!(packed.body.get(..2), Some(&[0x1f, 0x8b][..]));
    assert_eq!(master.fetched.header("content-type"), "application/vnd.apple.mpegurl");
}

#[tokio::test]
async fn everything_else_passes_through_as_the_origin_says() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve_at_leisure(&clip).await;
    world.origin.put("/a/picture.jpg", vec![9_u8; 300_000]);
    let player = Player::new().unwrap();
    let url = world.edge.url("/a/picture.jpg?x=1&y=%20");
    let whole = player.get_ok(&url, &[]).await.unwrap();
    assert_eq!(whole.body.len(), 300_000);
    assert_eq!(world.origin.seen().last().unwrap().query, "x=1&y=%20");
    let part = player.request(Method::GET, &url, &[("range", "bytes=100-199")]).await.unwrap();
    assert_eq!((part.status.as_u16(), part.body.len()), (206, 100));
    assert_eq!(part.header("content-range"), "bytes 100-199/300000");
    let head = player.request(Method::HEAD, &url, &[]).await.unwrap();
    assert_eq!((head.status.as_u16(), head.header("content-length")), (200, "300000".to_owned()));
    let etag = whole.header("etag");
    assert!(!etag.is_empty());
    assert_eq!(player.request(Method::GET, &url, &[("if-none-match", &etag)]).await.unwrap().status, 304);
    assert_eq!(player.get(&world.edge.url("/a/none.jpg")).await.unwrap().status, 404);
}

#[tokio::test]
async fn paths_that_are_none_are_refused_and_fetch_nothing() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let player = Player::new().unwrap();
    let before = world.origin.seen().len();
    for path in
        ["/~acuity/", "/~acuity/v1.nonsense/vod/180p/001.ts", "/~acuity/v9.x2.1x1.1.1.a-b.c/vod/180p/001.ts"]
    {
        let answer = player.get(&world.edge.url(path)).await.unwrap();
        assert!(answer.status.is_client_error(), "{path} was answered {}", answer.status);
    }
    assert_eq!(world.origin.seen().len(), before, "nothing of that is the origin's business");
}
