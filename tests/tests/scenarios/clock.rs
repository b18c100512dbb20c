//! The machine's time is set, by hours: what goes by it says so, and nothing else notices.

use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::clock::Clock;
use acuity_tests::player::Player;
use acuity_tests::signing::Signer;
use acuity_tests::world::World;
use jiff::Timestamp;
use reqwest::Method;

use crate::depot::{made, patient, until};
use crate::kit::{open_enhanced, segment_url, serve};

const HOURS: i64 = 3600;

/// By how many seconds the edge's clock is ahead of the machine's, by its newest line of the access log.
async fn edge_is_ahead_by(world: &World) -> i64 {
    tokio::time::sleep(Duration::from_millis(200)).await;
    let last = world.edge.access_log().pop().unwrap();
    let edges: Timestamp = last["time"].as_str().unwrap().parse().unwrap();
    edges.as_second() - Timestamp::now().as_second()
}

#[tokio::test]
async fn viewers_do_not_notice_that_the_time_was_set() {
    let (clock, folder) = (Clock::new().unwrap(), tempfile::tempdir().unwrap());
    let words = clock.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let settings = patient()
        .through(&words)
        .route("cluster", "\"plain\"")
        .set("cache.disk.path", format!("{:?}", folder.path()))
        .set("cache.disk.read_timeout", "\"5s\"");
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    let mut purged = 0.0;
    for jump in [7 * HOURS, -9 * HOURS, 400 * 24 * HOURS, 0] {
        clock.jump(jump).unwrap();
        let started = Instant::now();
        let kept = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
        assert!(kept.header("cache-status").contains("hit"), "{jump}: {}", kept.header("cache-status"));
        assert_eq!(kept.header("age").parse::<u64>().unwrap_or_default() / 60, 0, "{jump}");
        let ahead = edge_is_ahead_by(&world).await;
        assert!((ahead - jump).abs() < 60, "it goes by the clock that was set: by {ahead} s, not {jump}");
        // Made, within deadlines; thrown away by a purge, and made again.
        for _ in 0..2 {
            let before = made(&world.edge.metrics().await.unwrap());
            player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
            let after = made(&world.edge.metrics().await.unwrap());
            let purge = format!("{}/purge?url=/vod/180p/001.ts", world.edge.admin);
            assert_eq!(player.request(Method::POST, &purge, &[]).await.unwrap().status, 200);
            assert_eq!(after - before, 1.0, "{jump}: a purge holds, whatever the time");
            purged += 1.0;
        }
        player.get_ok(&world.edge.url("/vod/master.m3u8"), &[]).await.unwrap();
        player.get_ok(media.fetched.url.as_str(), &[]).await.unwrap();
        assert!(started.elapsed() < Duration::from_secs(20), "{jump}: {:?}", started.elapsed());
    }
    let metrics = until(&world.edge, "acuity_depot_writes_total", &[("outcome", "stored")], 1.0).await;
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0, "{}", metrics.text());
    assert!(purged > 0.0 && metrics.sum("acuity_fallbacks_total", &[]) == 0.0, "{}", metrics.text());
}

#[tokio::test]
async fn signatures_end_by_the_clock_that_was_set() {
    let (clock, signer) = (Clock::new().unwrap(), Signer::new(&["k"]).unwrap());
    let words = clock.words();
    let words: Vec<&str> = words.iter().map(String::as_str).collect();
    let settings = signer.guards(patient().through(&words).route("enhance", "\"none\""));
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let url = signer.sign(&world.edge.url("/vod/180p/000.ts"), "/vod/", "1h", &[]).unwrap();
    let player = Player::new().unwrap();
    for (jump, status) in [(0, 200), (2 * HOURS, 403), (-9 * HOURS, 200), (0, 200)] {
        clock.jump(jump).unwrap();
        assert_eq!(player.get(url.trim()).await.unwrap().status, status, "{jump}");
    }
}
