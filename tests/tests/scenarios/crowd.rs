//! Many clients, few clients, clients that leave: a segment is fetched once and enhanced once, whoever asks.

use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::origin::Fault;
use acuity_tests::player::Player;
use futures::future::join_all;

use crate::depot::until;
use crate::kit::{one_rendition, open_enhanced, segment_url, serve, serve_at_leisure};

#[tokio::test]
async fn fifty_clients_for_one_cold_segment_cause_one_enhancement() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (_, _, media) = open_enhanced(&world).await;
    // the first one has been fetched to probe the variant; the second is cold
    let url = segment_url(&media, 1);
    assert_eq!(world.origin.fetches("/vod/180p/001.ts"), 0);

    // each with connections of its own
    let players: Vec<Player> = (0..50).map(|_| Player::new().unwrap()).collect();
    let answers = join_all(players.iter().map(|player| player.get_ok(&url, &[]))).await;
    let bodies: Vec<_> = answers.into_iter().map(|answer| answer.unwrap().body).collect();
    assert!(bodies.iter().all(|body| *body == bodies[0]), "everyone gets the same bytes");

    assert_eq!(world.origin.fetches("/vod/180p/001.ts"), 1, "one origin fetch");
    // Requests are counted when they are over, a moment after their answer.
    let metrics = until(&world.edge, "acuity_requests_total", &[("kind", "segment")], 50.0).await;
    assert_eq!(
        metrics.sum("acuity_enhancer_segments_total", &[]),
        1.0,
        "one enhancement\n{}",
        metrics.text()
    );
    assert_eq!(metrics.sum("acuity_requests_total", &[("kind", "segment")]), 50.0);
}

#[tokio::test]
async fn work_outlives_the_client_that_asked_for_it() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    // slow enough that the client is gone before anything can be there
    world.origin.fault("/vod/180p/001.ts", Fault::Latency(Duration::from_millis(400)));
    let impatient = tokio::time::timeout(Duration::from_millis(150), player.get(&url)).await;
    assert!(impatient.is_err(), "nothing can have been answered yet");

    let mut cached = false;
    for _ in 0..200 {
        let metrics = world.edge.metrics().await.unwrap();
        cached = metrics.sum("acuity_enhancer_segments_total", &[]) == 1.0
            && metrics.sum("acuity_cache_entries", &[]) >= 1.0;
        if cached {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert!(cached, "the segment was not made after its client left\n{}", world.edge.events());
    let answer = player.get_ok(&url, &[]).await.unwrap();
    assert!(answer.header("cache-status").contains("hit"), "{}", answer.header("cache-status"));
    assert_eq!(world.origin.fetches("/vod/180p/001.ts"), 1);
}

#[tokio::test]
async fn the_next_segments_are_ready_before_they_are_asked_for() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, one_rendition().set("enhancer.look_ahead", 2)).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    let mut made = 0.0;
    for _ in 0..200 {
        made = world.edge.metrics().await.unwrap().sum("acuity_enhancer_segments_total", &[]);
        if made >= 3.0 {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    assert_eq!(made, 3.0, "two were to be made ahead\n{}", world.edge.events());
    for index in [1, 2] {
        let answer = player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        assert!(answer.header("cache-status").contains("hit"), "{}", answer.header("cache-status"));
    }
}

#[tokio::test]
async fn signed_urls_and_cmcd_do_not_make_other_segments() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    let plain = player.get_ok(&url, &[]).await.unwrap();
    let with_cmcd =
        player.get_ok(&format!("{url}?CMCD=bl%3D21300%2Csid%3D%22a-session%22"), &[]).await.unwrap();
    assert_eq!(plain.body, with_cmcd.body);
    assert!(with_cmcd.header("cache-status").contains("hit"), "{}", with_cmcd.header("cache-status"));
    let asked: Vec<_> =
        world.origin.seen().into_iter().filter(|seen| seen.path == "/vod/180p/001.ts").collect();
    assert_eq!(asked.len(), 1);
    assert!(!asked[0].query.contains("CMCD"), "the session id went to the origin: {}", asked[0].query);
}
