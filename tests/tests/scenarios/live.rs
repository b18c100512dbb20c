//! Live streams: the playlist slides, the enhanced one with it, and nothing stale is told.

use std::time::Duration;

use acuity_tests::clips::{self, Clip};
use acuity_tests::live::LiveWindow;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::player::Media;
use acuity_tests::world::World;

use crate::kit::{compare, one_rendition, open_enhanced};

const LIVE: &str = "/vod/180p/index.m3u8";

/// A clip whose small variant is live, at its first step.
async fn on_air(clip: &Clip, window: usize) -> (World, LiveWindow) {
    let vod = String::from_utf8(clip.read("180p/index.m3u8").unwrap()).unwrap();
    let segments =
        vod.lines().filter(|line| !line.starts_with('#')).map(|uri| (uri.to_owned(), 2.0)).collect();
    let map = vod.lines().find_map(|line| line.strip_prefix("#EXT-X-MAP:URI=\""));
    let map_uri = map.map(|uri| uri.trim_end_matches('"').to_owned());
    let live = LiveWindow { segments, map_uri, window };
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    origin.put(LIVE, live.playlist_at(0));
    (one_rendition().start(origin).await.unwrap(), live)
}

fn uris(media: &Media) -> Vec<String> {
    media.playlist.segments.iter().map(|segment| segment.uri.clone()).collect()
}

#[tokio::test]
async fn the_enhanced_playlist_slides_with_the_source() {
    let clip = clips::vod_ts().await.unwrap();
    let (world, live) = on_air(&clip, 2).await;
    let (player, _, first) = open_enhanced(&world).await;
    assert_eq!(
        (first.playlist.media_sequence, uris(&first)),
        (0, vec!["000.ts".to_owned(), "001.ts".to_owned()])
    );
    assert!(!first.playlist.end_list);

    for step in 1..=3 {
        world.origin.put(LIVE, live.playlist_at(step));
        // a quarter of the target duration is the longest that an edge may believe what it knows
        tokio::time::sleep(Duration::from_millis(600)).await;
        let media = player.media(&first.fetched.url).await.unwrap();
        assert_eq!(media.playlist.media_sequence, step as u64);
        let source = player.media(&world.origin.url(LIVE).parse().unwrap()).await.unwrap();
        assert_eq!(uris(&media), uris(&source), "relative URIs stay as they are");
        let discontinuities =
            |media: &Media| media.playlist.segments.iter().map(|s| s.discontinuity).collect::<Vec<_>>();
        assert_eq!(discontinuities(&media), discontinuities(&source));
        let newest = media.playlist.segments.len() - 1;
        compare(&player, &source, &media, newest).await;
    }
}

#[tokio::test]
async fn fragmented_mp4_goes_live_as_well() {
    let clip = clips::vod_fmp4().await.unwrap();
    let (world, live) = on_air(&clip, 2).await;
    let (player, _, first) = open_enhanced(&world).await;
    world.origin.put(LIVE, live.playlist_at(1));
    tokio::time::sleep(Duration::from_millis(600)).await;
    let media = player.media(&first.fetched.url).await.unwrap();
    let source = player.media(&world.origin.url(LIVE).parse().unwrap()).await.unwrap();
    for index in 0..media.playlist.segments.len() {
        compare(&player, &source, &media, index).await;
    }
}

#[tokio::test]
async fn delivery_directives_reach_the_origin() {
    let (world, _) = on_air(&clips::vod_ts().await.unwrap(), 2).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = format!("{}?_HLS_msn=1&_HLS_skip=YES", media.fetched.url);
    player.get_ok(&url, &[]).await.unwrap();
    let asked = world.origin.seen().into_iter().filter(|seen| seen.path == LIVE).map(|seen| seen.query);
    assert!(asked.into_iter().any(|query| query.contains("_HLS_msn=1") && query.contains("_HLS_skip=YES")));
}

#[tokio::test]
async fn a_dead_origins_playlist_is_not_told_for_ever() {
    let (world, _) = on_air(&clips::vod_ts().await.unwrap(), 2).await;
    let (player, _, media) = open_enhanced(&world).await;
    world.origin.fault(LIVE, Fault::Status(503));
    // the target duration is 2 s; after it the truth must be told
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let answer = player.get(media.fetched.url.as_str()).await.unwrap();
    assert!(answer.status.is_server_error(), "answered {} with\n{}", answer.status, answer.text());
    world.origin.heal(LIVE);
    player.get_ok(media.fetched.url.as_str(), &[]).await.unwrap();
}
