//! Why a worker that lives is ended, and what viewers see of it.

use std::time::{Duration, Instant};

use acuity_tests::clips::{self, Packaging, Recipe, Sound};
use acuity_tests::onnx::nearest_where_proven;
use acuity_tests::player::Player;
use acuity_tests::processes::{Hurt, hurt, workers};
use acuity_tests::zoo::Zoo;

use super::{SOON, exits, is_made, supervised, until, with_spare};
use crate::kit::{open_enhanced, segment_url, serve};

/// It may come back, and is not given up before its limit; a viewer has less time.
#[tokio::test]
async fn a_worker_that_is_silent_costs_no_more_than_the_time_there_was() {
    let settings = supervised().set("workers.spare", 0).set("workers.silence_limit", "\"60s\"");
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    hurt(workers(world.edge.process_id())[0], Hurt::Stop).unwrap();
    let start = Instant::now();
    let got = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(
        !is_made(&got) && start.elapsed() < SOON / 2,
        "{:?} {:?}",
        start.elapsed(),
        got.header("cache-status")
    );
    let metrics = world.edge.metrics().await.unwrap();
    assert!(metrics.sum("acuity_fallbacks_total", &[("reason", "no_worker")]) >= 1.0, "{}", metrics.text());
    assert_eq!(exits(&metrics, "silent"), 0.0);
}

#[tokio::test]
async fn a_segment_that_takes_for_ever_ends_its_worker_and_is_made_by_the_next() {
    let settings = supervised()
        .route("cluster", "\"plain\"")
        .set("workers.spare", 0)
        .set("workers.silence_limit", "\"60s\"")
        .set("workers.segment_timeout", "\"5s\"");
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    hurt(workers(world.edge.process_id())[0], Hurt::Stop).unwrap();
    let got = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(is_made(&got), "{}\n{}", got.header("cache-status"), world.edge.events());
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(exits(&metrics, "stuck"), 1.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_worker_again_total", &[("outcome", "made")]), 1.0, "{}", metrics.text());
}

#[tokio::test]
async fn workers_that_swell_are_ended_and_viewers_have_the_source() {
    // Less than a worker holds when it has its networks.
    let settings = supervised().set("workers.spare", 0).set("workers.memory_limit", "\"256MiB\"");
    let world = serve(&clips::vod_ts().await.unwrap(), settings.without_waiting()).await;
    let start = Instant::now();
    while world.edge.metrics().await.is_err() {
        assert!(start.elapsed() < SOON, "{}", world.edge.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    until(&world, "two in a row are ended", |metrics| exits(metrics, "memory") >= 2.0).await;
    let player = Player::new().unwrap();
    for path in ["/vod/master.m3u8", "/vod/180p/index.m3u8", "/vod/180p/000.ts"] {
        player.get_ok(&world.edge.url(path), &[]).await.unwrap();
    }
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0, "{}", metrics.text());
}

#[tokio::test]
async fn workers_are_replaced_when_they_have_done_enough() {
    let clip = clips::vod_ts().await.unwrap();
    let world = with_spare(&clip, supervised().set("workers.recycle_after", 1)).await;
    let (player, _, media) = open_enhanced(&world).await;
    for index in 0..3 {
        let made = player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        assert!(is_made(&made), "{:?}", made.headers);
        let wanted = index as f64 + 1.0;
        until(&world, "it was replaced", |metrics| {
            exits(metrics, "recycled") >= wanted
                && metrics.sum("acuity_workers", &[("state", "active")]) == 1.0
        })
        .await;
    }
    // What the ended ones counted is not forgotten.
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_enhancer_segments_total", &[]), 3.0, "{}", metrics.text());
}

/// A start alone takes a second or two of it.
#[tokio::test]
async fn workers_that_have_used_their_processor_time_are_replaced_and_the_kernel_ends_those_that_go_on() {
    let clip = clips::vod_ts().await.unwrap();
    let settings = supervised()
        .set("workers.cpu_time_limit", "\"3s\"")
        .set("workers.segment_timeout", "\"5s\"")
        .set("cache.budget_bytes", 0);
    let world = with_spare(&clip, settings).await;
    let worker = workers(world.edge.process_id())[0];
    let limits = std::fs::read_to_string(format!("/proc/{worker}/limits")).unwrap();
    let cpu: Vec<&str> =
        limits.lines().find(|line| line.starts_with("Max cpu time")).unwrap().split_whitespace().collect();
    let soft: u64 = cpu[3].parse().unwrap();
    assert!(soft >= 3 + 5 && cpu[4] == (soft + 5).to_string(), "{cpu:?}");
    let (player, _, media) = open_enhanced(&world).await;
    let start = Instant::now();
    loop {
        // one that leaves finishes what it has, and the next one makes the next
        let made = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
        assert!(is_made(&made), "{:?}", made.headers);
        if exits(&world.edge.metrics().await.unwrap(), "cpu_time") >= 2.0 {
            break;
        }
        assert!(start.elapsed() < SOON * 4, "{}", world.edge.events());
    }
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(exits(&metrics, "killed") + exits(&metrics, "crash"), 0.0, "{}", metrics.text());
}

#[tokio::test]
async fn a_worker_whose_networks_fail_is_replaced_once() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("generic", 2, &nearest_where_proven(2)).unwrap();
    let variants = &[(320, 180, 250), (640, 360, 600)];
    let (packaging, sound) = (Packaging::Ts, Sound::Muxed);
    let recipe = Recipe { packaging, sound, variants, segments: 8, segment_s: 2, fps: 25 };
    let settings = supervised()
        .set("models.directory", zoo.setting())
        .set("enhancer.provider", "\"cpu\"")
        .set("workers.spare", 0);
    let world = serve(&clips::make(recipe).await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    let fetch = async |index| {
        let made = player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        assert!(is_made(&made), "{}\n{}", made.header("cache-status"), world.edge.events());
    };
    for index in 0..3 {
        fetch(index).await;
    }
    let metrics = until(&world, "it was replaced", |metrics| {
        exits(metrics, "failing") >= 1.0 && metrics.sum("acuity_workers", &[("state", "active")]) == 1.0
    })
    .await;
    assert_eq!(
        metrics.sum("acuity_fallbacks_total", &[("reason", "model_failed")]),
        3.0,
        "{}",
        metrics.text()
    );
    // They fail the next as well: it was no card, and to start one after the other helps nobody.
    for index in 3..8 {
        fetch(index).await;
    }
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_worker_exits_total", &[]), 1.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0, "{}", metrics.text());
}
