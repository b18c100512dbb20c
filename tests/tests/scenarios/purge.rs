//! Forgetting and switching off, over the admin address and by command.

use std::process::Command;
use std::time::Duration;

use acuity_tests::clips;
use acuity_tests::origin::Fault;
use acuity_tests::packets::Probe;
use acuity_tests::player::{Media, Player};
use acuity_tests::world::{World, binary};
use reqwest::Method;
use serde_json::Value;

use crate::kit::{one_rendition, open_enhanced, segment_url, serve, serve_at_leisure};

async fn ask(world: &World, method: Method, path: &str) -> (u16, Value) {
    let url = format!("{}{path}", world.edge.admin);
    let answer = Player::new().unwrap().request(method, &url, &[]).await.unwrap();
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
}

async fn is_hit(player: &Player, media: &Media, index: usize) -> bool {
    let answer = player.get_ok(&segment_url(media, index), &[]).await.unwrap();
    answer.header("cache-status").contains("hit")
}

fn run(arguments: &[&str]) -> (Option<i32>, String) {
    let output = Command::new(binary().unwrap()).args(arguments).output().unwrap();
    (output.status.code(), String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned())
}

#[tokio::test]
async fn what_is_named_is_forgotten_and_nothing_else() {
    let world = serve_at_leisure(&clips::vod_ts().await.unwrap()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let fill = async || {
        for index in 0..3 {
            player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        }
    };
    fill().await;
    let token = segment_url(&media, 0);
    let cluster =
        token.split("/v1.").nth(1).unwrap().split('.').nth(4).unwrap().rsplit_once('-').unwrap().0.to_owned();
    let objects = |told: &Value| told["purged"]["objects"].as_u64().unwrap();
    for (method, path, expected) in [
        (Method::POST, "/purge?url=/vod/180p/001.ts".to_owned(), 1),
        (Method::DELETE, format!("/purge?url={}", segment_url(&media, 2)), 1),
        (Method::POST, "/purge?prefix=/vod/180p/".to_owned(), 3),
        (Method::POST, "/purge?prefix=/vod/180".to_owned(), 0),
        (Method::POST, format!("/purge?cluster={cluster}"), 3),
        (Method::POST, "/purge?cluster=nobodys".to_owned(), 0),
        (Method::POST, "/purge?all=true".to_owned(), 3),
    ] {
        let (status, told) = ask(&world, method, &path).await;
        assert_eq!((status, objects(&told)), (200, expected), "{path}: {told}");
        if expected == 1 {
            assert!(is_hit(&player, &media, 0).await, "{path}: the others stay");
        } else if expected == 3 {
            assert_eq!(world.edge.metrics().await.unwrap().sum("acuity_cache_entries", &[]), 0.0, "{path}");
        }
        fill().await;
    }
    assert_eq!(ask(&world, Method::POST, "/purge").await.0, 400);
    let admin = world.edge.admin.trim_start_matches("http://");
    let (code, told) = run(&["purge", "--prefix", "/vod/", "--admin", admin]);
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("\"objects\": 3"), "{told}");
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_cache_purged_objects_total", &[]), 14.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_cache_purges_total", &[("by", "prefix")]), 3.0);
}

#[tokio::test]
async fn what_was_being_made_of_a_bad_source_does_not_come_back() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve_at_leisure(&clip).await;
    let (player, _, media) = open_enhanced(&world).await;
    let (path, url) = ("/vod/180p/001.ts", segment_url(&media, 1));
    // the origin has a wrong segment there, and takes its time
    world.origin.put(path, clip.read("180p/002.ts").unwrap());
    let wrong = player.get_ok(&segment_url(&media, 2), &[]).await.unwrap().body;
    world.origin.fault(path, Fault::Latency(Duration::from_millis(1500)));
    let old = {
        let (player, url) = (player.clone(), url.clone());
        tokio::spawn(async move { player.get_ok(&url, &[]).await.unwrap() })
    };
    let before = world.origin.fetches(path);
    for _ in 0..100 {
        if world.origin.fetches(path) > before {
            break;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // it has read the wrong one by now
    world.origin.put(path, clip.read("180p/001.ts").unwrap());
    let (status, told) = ask(&world, Method::POST, "/purge?url=/vod/180p/001.ts").await;
    assert_eq!((status, &told["purged"]["in_flight"]), (200, &1.into()), "{told}");
    world.origin.heal(path);
    // who asks after the purge does not join what was begun before it
    let new = player.get_ok(&url, &[]).await.unwrap();
    assert!(!old.is_finished() || new.body != old.await.unwrap().body);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    let kept = player.get_ok(&url, &[]).await.unwrap();
    assert_eq!(
        kept.body, new.body,
        "what was begun before the purge has not replaced what was made after it"
    );
    assert_ne!(kept.body, wrong);
    let probe = Probe::of(None, &kept.body).await.unwrap();
    let source = Probe::of(None, &clip.read("180p/001.ts").unwrap()).await.unwrap();
    assert_eq!(probe.video_packets()[0].pts, source.video_packets()[0].pts, "it is of the right segment");
}

#[tokio::test]
async fn a_route_that_is_switched_off_serves_the_source_at_once() {
    let clip = clips::vod_ts().await.unwrap();
    let builder = one_rendition().route("name", "\"films\"");
    let world = serve(&clip, builder).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    let admin = world.edge.admin.trim_start_matches("http://");
    let (code, told) = run(&["route", "enhance", "films", "off", "--admin", admin]);
    assert_eq!(code, Some(0), "{told}");

    let master = player.open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    assert!(master.enhanced().is_empty(), "new playlists offer nothing\n{}", master.fetched.text());
    let source = clip.read("180p/001.ts").unwrap();
    let answer = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert_eq!(answer.body.as_ref(), source.as_slice(), "who plays already gets the source's bytes");
    assert!(is_hit(&player, &media, 0).await, "what is there is still given out");
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_fallbacks_total", &[("reason", "switched_off")]), 1.0);

    // a reload is no reason to go on with what somebody has stopped
    assert_eq!(ask(&world, Method::POST, "/reload").await.0, 200);
    let (_, told) = ask(&world, Method::GET, "/routes").await;
    assert_eq!(
        (&told["routes"][0]["name"], &told["routes"][0]["switched_off"]),
        (&"films".into(), &true.into())
    );
    assert!(player.open(&world.edge.url("/vod/master.m3u8")).await.unwrap().enhanced().is_empty());

    assert_eq!(ask(&world, Method::POST, "/routes/nobodys/enhance?on=true").await.0, 404);
    assert_eq!(ask(&world, Method::POST, "/routes/films/enhance?on=true").await.0, 200);
    let (_, _, media) = open_enhanced(&world).await;
    // the source's bytes are kept for five seconds
    tokio::time::sleep(Duration::from_millis(5200)).await;
    let made = player.segment(&media, 1).await.unwrap();
    assert_eq!(Probe::of(None, &made.clear).await.unwrap().video().unwrap().height, 360);
}

#[tokio::test]
async fn fragments_that_players_could_not_read_go_on_through_the_encoder() {
    let clip = clips::same_number_fmp4().await.unwrap();
    let world = serve(&clip, one_rendition()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let before = player.segment(&media, 0).await.unwrap();
    let off = "/routes/*%2F/enhance?on=false";
    assert_eq!(ask(&world, Method::POST, off).await.0, 200);
    let after = player.segment(&media, 1).await.unwrap();
    let probe = Probe::of(after.init.as_deref(), &after.clear).await.unwrap();
    assert_eq!((probe.video().unwrap().height, probe.video_packets().len()), (360, 50));
    assert_eq!(before.init, after.init);
    assert!(
        after.fetched.header("cache-status").contains("plain"),
        "{}",
        after.fetched.header("cache-status")
    );
}

#[tokio::test]
async fn the_configuration_switches_off_for_good() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, one_rendition()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let off = one_rendition().route("enhance", "\"off\"");
    std::fs::write(world.edge.config_file(), off.config_for(world.origin.base().unwrap().as_str())).unwrap();
    assert_eq!(ask(&world, Method::POST, "/reload").await.0, 200);
    let answer = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert_eq!(answer.body.as_ref(), clip.read("180p/001.ts").unwrap().as_slice());
}
