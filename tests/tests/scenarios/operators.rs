//! What operators see: health, metrics, the access log, and clear words when a start fails.

use std::process::Command;
use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::player::Player;
use acuity_tests::world::{binary, world};

use crate::kit::{open_enhanced, segment_url, serve_at_leisure};

#[tokio::test]
async fn health_and_metrics_tell_what_was_done() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    let made = player.get_ok(&url, &[]).await.unwrap();
    player.get_ok(&url, &[]).await.unwrap();
    player.get_ok(&world.edge.url("/vod/180p/000.ts"), &[]).await.unwrap();
    for path in ["/livez", "/readyz"] {
        assert_eq!(player.get(&format!("{}{path}", world.edge.admin)).await.unwrap().status, 200, "{path}");
    }
    let metrics = world.edge.metrics().await.unwrap();
    let count = |kind, outcome| metrics.sum("acuity_requests_total", &[("kind", kind), ("outcome", outcome)]);
    assert_eq!(count("segment", "made"), 1.0, "{}", metrics.text());
    assert_eq!(count("segment", "hit"), 1.0);
    assert_eq!(count("pass", "passed"), 1.0);
    assert_eq!(
        metrics.sum("acuity_player_bytes_total", &[("kind", "segment")]),
        2.0 * made.body.len() as f64
    );
    assert_eq!(metrics.sum("acuity_enhancer_frames_total", &[]), 50.0);
    assert_eq!(metrics.sum("acuity_enhancer_queue_depth", &[]), 0.0);
    assert!(metrics.sum("acuity_origin_bytes_total", &[]) > 0.0);
    for name in [
        "acuity_enhancer_stage_seconds_bucket",
        "acuity_cache_bytes",
        "acuity_enhancer_model_info",
        "acuity_build_info",
    ] {
        assert!(metrics.has(name), "{name} is missing\n{}", metrics.text());
    }
    assert!(
        !metrics.text().contains("000.ts") && !metrics.text().contains("127.0.0.1"),
        "labels are bounded"
    );
}

#[tokio::test]
async fn every_request_is_one_line_of_the_access_log() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let player = Player::new().unwrap();
    let answer = player.get_ok(&world.edge.url("/vod/180p/000.ts?token=secret"), &[]).await.unwrap();
    let id = answer.header("x-request-id");
    assert!(!id.is_empty());
    let mut found = None;
    for _ in 0..50 {
        found = world.edge.access_log().into_iter().find(|record| record["id"] == id.as_str());
        if found.is_some() {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let record = found.expect("the request is in the log");
    assert_eq!((&record["method"], &record["status"]), (&"GET".into(), &200.into()));
    assert_eq!(record["bytes"], answer.body.len());
    assert_eq!(record["path"], "/vod/180p/000.ts", "queries may hold signatures");
}

#[tokio::test]
async fn a_bad_configuration_is_told_in_full_and_exits_with_1() {
    let bad = world().set("enhancer.lanes", 0).set("cache.budgt_bytes", 5).without_waiting();
    let mut edge = bad.start_before("ftp://origin.example").await.unwrap();
    let status = edge.until_exit(Duration::from_secs(10)).await.unwrap();
    assert_eq!(status.code(), Some(1));
    let told = edge.events();
    for what in ["lanes", "budgt_bytes", "origin"] {
        assert!(told.contains(what), "nothing is said about {what}:\n{told}");
    }
}

#[tokio::test]
async fn models_that_are_missing_are_told_and_exit_with_1() {
    let mut edge = world()
        .set("models.directory", "\"no/such/folder\"")
        .without_waiting()
        .start_before("http://127.0.0.1:9")
        .await
        .unwrap();
    let status = edge.until_exit(Duration::from_secs(20)).await.unwrap();
    assert_ne!(status.code(), Some(0));
    assert!(edge.events().contains("no/such/folder"), "{}", edge.events());
}

#[test]
fn the_command_line_explains_itself() {
    let run = |arguments: &[&str]| {
        let output = Command::new(binary().unwrap()).args(arguments).output().unwrap();
        let text = [output.stdout, output.stderr].concat();
        (output.status.code(), String::from_utf8_lossy(&text).into_owned())
    };
    let (code, help) = run(&["--help"]);
    assert_eq!(code, Some(0));
    for subcommand in ["serve", "check", "enhance", "models"] {
        assert!(help.contains(subcommand), "{help}");
    }
    let (code, told) = run(&["serve", "--origin", "not a url"]);
    assert_eq!(code, Some(1), "{told}");
    let (code, told) = run(&["check", "--config", "/no/such/file.toml"]);
    assert_eq!(code, Some(1), "{told}");
    assert!(told.contains("/no/such/file.toml"), "{told}");
}
