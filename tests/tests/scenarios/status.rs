//! The status page: what one edge does now, for a person, and nothing that runs.

use std::os::unix::fs::PermissionsExt as _;
use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::player::{Fetched, Player};
use acuity_tests::world::World;
use reqwest::Method;
use serde_json::Value;

use crate::kit::{one_rendition, open_enhanced, segment_url, serve, serve_at_leisure};
use crate::reload::post;

async fn page(world: &World) -> Fetched {
    Player::new().unwrap().get_ok(&format!("{}/status", world.edge.admin), &[]).await.unwrap()
}

async fn json(world: &World) -> Value {
    let fetched = Player::new().unwrap().get_ok(&format!("{}/status.json", world.edge.admin), &[]).await;
    serde_json::from_str(&fetched.unwrap().text()).unwrap()
}

#[tokio::test]
async fn the_status_page_shows_what_goes_on_and_runs_nothing() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let empty = json(&world).await;
    assert_eq!((&empty["state"], empty["streams"].as_array().map(Vec::len)), (&"ready".into(), Some(0)));
    let (player, _, media) = open_enhanced(&world).await;
    for agent in ["tv", "tv", "phone"] {
        player.get_ok(&segment_url(&media, 0), &[("user-agent", agent)]).await.unwrap();
    }
    // What is no video falls back, under a name that wants to be markup.
    world.origin.put("/vod/180p/001.ts", vec![7_u8; 4096]);
    player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    // A rendition that nobody was offered, of a playlist that is not there, is not put down.
    let made_up = media.fetched.url.as_str().replace(".2800.", ".2799.") + "x";
    drop(player.get(&made_up.replace("index.m3u8x", "<script>.ts")).await);
    // A request is put down when it is over, a moment after the player has its answer.
    tokio::time::sleep(Duration::from_millis(300)).await;

    let status = json(&world).await;
    let streams = status["streams"].as_array().unwrap();
    assert_eq!(streams.len(), 1, "{status:#}");
    let stream = &streams[0];
    assert_eq!(stream["clients"], 3, "tv, phone, and this player: {stream:#}");
    assert_eq!((&stream["width"], &stream["height"]), (&640.into(), &360.into()));
    assert_eq!((&stream["cluster"], &stream["requests"]), (&"generic".into(), &4.into()));
    let made_by: Vec<&Value> = stream["made_by"].as_array().unwrap().iter().map(|one| &one["name"]).collect();
    // Which tier depends on how busy this machine is.
    let network = made_by[0].as_str().unwrap();
    assert!(made_by.len() == 2 && network.starts_with("generic-x2-") && made_by[1] == "source", "{stream:#}");
    assert!(stream["playlist"].as_str().unwrap().starts_with("/vod/180p/"), "{stream:#}");
    let fallbacks = status["fallbacks"].as_array().unwrap();
    assert_eq!(fallbacks.len(), 1, "{status:#}");
    assert_eq!(fallbacks[0]["path"], "/vod/180p/001.ts");
    let lately = &status["lately"];
    assert!(lately["player_bytes"].as_f64().unwrap() > 0.0 && lately["saved_ratio"].is_f64(), "{lately:#}");
    assert!(lately["segments"][0]["name"].as_str().unwrap().starts_with("network, tier "), "{lately:#}");
    assert_eq!(status["workers"]["configured"], 0);
    assert_eq!(status["routes"][0]["is_switched_off"], false);

    let shown = page(&world).await;
    assert!(shown.header("content-type").starts_with("text/html"));
    assert!(shown.header("content-security-policy").starts_with("default-src 'none'"));
    let text = shown.text();
    for part in
        ["<title>Acuity: ready</title>", network, "/vod/180p/001.ts", "640×360", "http-equiv=\"refresh\""]
    {
        assert!(text.contains(part), "{part} is missing:\n{text}");
    }
    for part in ["<script", "src=", "javascript", "http://www"] {
        assert!(!text.contains(part), "{part} is there:\n{text}");
    }
    let held = format!("{}/status?refresh=off", world.edge.admin);
    let held = player.get_ok(&held, &[]).await.unwrap().text();
    assert!(!held.contains("http-equiv=\"refresh\""));

    // A switch that is off is seen.
    let name = status["routes"][0]["name"].as_str().unwrap().replace('/', "%2F").replace('*', "%2A");
    assert_eq!(post(&world.edge, &format!("/routes/{name}/enhance?on=false")).await.0, 200);
    assert_eq!(json(&world).await["routes"][0]["is_switched_off"], true);
    assert!(page(&world).await.text().contains("switched off"));
}

#[tokio::test]
async fn the_status_page_wants_the_token() {
    let token = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(token.path(), "a-token-of-many-bytes\n").unwrap();
    std::fs::set_permissions(token.path(), std::fs::Permissions::from_mode(0o600)).unwrap();
    let world = one_rendition()
        .set("admin.token_file", format!("{:?}", token.path()))
        .set("workers.count", 1)
        .set("workers.spare", 0);
    let world = serve(&clips::vod_ts().await.unwrap(), world).await;
    let player = Player::new().unwrap();
    // "anybody:a-token-of-many-bytes"
    let basic = "Basic YW55Ym9keTphLXRva2VuLW9mLW1hbnktYnl0ZXM=";
    let wrong = "Basic YW55Ym9keTphLXRva2Vu";
    for (path, shown, status) in [
        ("/status", None, 401),
        ("/status.json", None, 401),
        ("/status", Some(wrong), 401),
        ("/status", Some("Basic"), 401),
        ("/status", Some(basic), 200),
        ("/status.json", Some("Bearer a-token-of-many-bytes"), 200),
        ("/metrics", Some(basic), 401),
        ("/routes", Some(basic), 401),
    ] {
        let headers: Vec<_> = shown.iter().map(|shown| ("authorization", *shown)).collect();
        let url = format!("{}{path}", world.edge.admin);
        let answer = player.request(Method::GET, &url, &headers).await.unwrap();
        assert_eq!(answer.status, status, "{path} {shown:?}");
        if path == "/status" && status == 401 {
            assert!(answer.header("www-authenticate").starts_with("Basic "), "so that a browser asks");
        }
        if path == "/status.json" && status == 200 {
            let told: Value = serde_json::from_str(&answer.text()).unwrap();
            assert_eq!(
                (&told["workers"]["configured"], &told["workers"]["active"]),
                (&1.into(), &1.0.into())
            );
        }
    }
}
