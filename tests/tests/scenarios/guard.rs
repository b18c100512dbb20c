//! Specialised models are checked against the origin's own high rendition, and those that lose are not used any more.

use std::time::{Duration, Instant};

use acuity_tests::clips::{self, Clip, Packaging};
use acuity_tests::metrics::Metrics;
use acuity_tests::onnx::{brighter_of_two, mean_of_two};
use acuity_tests::player::{Media, Multivariant, Player};
use acuity_tests::world::{World, WorldBuilder};
use acuity_tests::zoo::{Zoo, brighter, shipped};

use crate::clusters::{is_of, made_by, media_of, naming, serve, small_stream, until, watching};
use crate::kit::at_leisure;

/// A stream of the cluster `game`, checked as often as possible.
async fn guarded(clip: &Clip, zoo: &Zoo, rate: f64) -> World {
    serve_as(clip, "game", watching(zoo).set("guard.rate", rate).set("guard.at_least", 2)).await
}

async fn serve_as(clip: &Clip, cluster: &str, world: WorldBuilder) -> World {
    let world = serve(clip, world).await;
    let text = String::from_utf8(clip.read("master.m3u8").unwrap()).unwrap();
    world.origin.put("/vod/guarded.m3u8", naming(&text, cluster));
    world
}

/// Plays a segment, and waits until so many checks are over.
async fn play(world: &World, media: &Media, index: usize, checks: f64) -> String {
    let (by, _) = made_by(&Player::new().unwrap(), media, index).await;
    let start = Instant::now();
    loop {
        let metrics = world.edge.metrics().await.unwrap();
        if metrics.sum("acuity_guard_checks_total", &[]) >= checks {
            return by;
        }
        let (text, events) = (metrics.text(), world.edge.events());
        assert!(start.elapsed() < Duration::from_secs(60), "no check:\n{text}\n{events}");
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn gain_db(metrics: &Metrics, over: &str) -> f64 {
    let labels = [("task", "upscale"), ("cluster", "game"), ("scale", "2"), ("tier", "s"), ("over", over)];
    metrics.sum("acuity_guard_gain_db", &labels)
}

fn outcome(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.sum("acuity_guard_checks_total", &[("outcome", outcome)])
}

/// How often segments of the high rendition were fetched.
fn high_fetches(world: &World) -> usize {
    let seen = world.origin.seen();
    seen.iter().filter(|seen| seen.path.contains("/180p/") && seen.path.ends_with(".ts")).count()
}

#[tokio::test]
async fn a_model_that_loses_is_stopped() {
    let mut zoo = Zoo::new().unwrap();
    // Six code values too bright: 32 dB at best.
    zoo.put("game", 2, &brighter(6.0).unwrap()).unwrap();
    let clip = small_stream().await;
    let world = guarded(&clip, &zoo, 1.0).await;
    let player = Player::new().unwrap();
    let before = until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &before).await;

    assert_eq!(play(&world, &playing, 0, 1.0).await, "game-x2-s");
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(outcome(&metrics, "lost"), 1.0, "{}", metrics.text());
    assert!(gain_db(&metrics, "generic") < -0.5 && gain_db(&metrics, "plain") < -0.2, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_guard_stopped", &[]), 0.0, "one check is no verdict");
    until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;

    assert_eq!(play(&world, &playing, 1, 2.0).await, "game-x2-s");
    let metrics = world.edge.metrics().await.unwrap();
    let labels = [("task", "upscale"), ("cluster", "game"), ("scale", "2"), ("tier", "s")];
    assert_eq!(metrics.sum("acuity_guard_stopped", &labels), 1.0, "{}", metrics.text());
    // New playlists name the generic set; who is playing goes down the ladder, in the same stream.
    let after = until(&world, "/vod/guarded.m3u8", |master| is_of(master, "generic")).await;
    let (by, _) = made_by(&player, &playing, 2).await;
    assert_eq!(by, "generic-x2-s");
    let (by, _) = made_by(&player, &media_of(&player, &after).await, 0).await;
    assert_eq!(by, "generic-x2-s");
    let events = world.edge.events();
    assert!(events.contains("a specialised model loses") && events.contains("over_generic_db"), "{events}");
    assert_eq!(high_fetches(&world), 2, "one high segment a check, and none for generic renditions");

    // Another model in its place starts clean.
    zoo.put("game", 2, &brighter(0.25).unwrap()).unwrap();
    until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_guard_stopped", &labels), 0.0, "{}", metrics.text());
}

#[tokio::test]
async fn a_model_that_wins_goes_on() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("generic", 2, &brighter(5.0).unwrap()).unwrap();
    zoo.put("game", 2, &shipped().unwrap()).unwrap();
    let clip = small_stream().await;
    let world = guarded(&clip, &zoo, 1.0).await;
    let player = Player::new().unwrap();
    let master = until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &master).await;
    for index in 0..3 {
        assert_eq!(play(&world, &playing, index, index as f64 + 1.0).await, "game-x2-s");
    }
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(outcome(&metrics, "won"), 3.0, "{}", metrics.text());
    assert!(gain_db(&metrics, "generic") > 0.5, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_guard_stopped", &[]), 0.0);
    assert_eq!(high_fetches(&world), 3);
    until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;
}

#[tokio::test]
async fn an_origin_whose_high_rendition_is_another_video_costs_no_model_its_place() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(6.0).unwrap()).unwrap();
    let clip = small_stream().await;
    let world = guarded(&clip, &zoo, 1.0).await;
    // The segments one place further, the last one missing.
    world.origin.put("/vod/180p/000.ts", clip.read("180p/001.ts").unwrap());
    world.origin.put("/vod/180p/001.ts", &b"<html>not here</html>"[..]);
    world.origin.fault("/vod/180p/002.ts", acuity_tests::origin::Fault::Status(404));
    let player = Player::new().unwrap();
    let master = until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &master).await;
    for index in 0..3 {
        assert_eq!(play(&world, &playing, index, index as f64 + 1.0).await, "game-x2-s");
    }
    let metrics = world.edge.metrics().await.unwrap();
    for why in ["times", "unreadable", "origin_failed"] {
        assert_eq!(outcome(&metrics, why), 1.0, "{why}\n{}", metrics.text());
    }
    assert_eq!(outcome(&metrics, "lost") + metrics.sum("acuity_guard_stopped", &[]), 0.0);
}

#[tokio::test]
async fn without_the_guard_nobody_asks_for_the_high_rendition() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(6.0).unwrap()).unwrap();
    let clip = small_stream().await;
    let world = guarded(&clip, &zoo, 0.0).await;
    let player = Player::new().unwrap();
    let master = until(&world, "/vod/guarded.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &master).await;
    for index in 0..3 {
        assert_eq!(made_by(&player, &playing, index).await.0, "game-x2-s");
    }
    // Longer than a check takes to begin.
    tokio::time::sleep(Duration::from_secs(1)).await;
    let seen = world.origin.seen();
    assert!(seen.iter().all(|seen| !seen.path.contains("/180p/")), "{seen:?}");
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_guard_checks_total", &[]), 0.0);
}

/// A stream of the cluster `game` at twice its rate, checked as often as possible. It is as small as can be: no tier that is slower than the
/// film is used, and nothing can be said of what is not used.
async fn doubled(zoo: &Zoo) -> World {
    let world = at_leisure()
        .route("max_source_lines", 100)
        .route("frame_rate", "{ factor = 2 }")
        .set("models.directory", zoo.setting())
        .set("models.watch_interval", "\"100ms\"")
        .set("cache.budget_bytes", 0)
        .set("cache.vod_playlist_ttl", "\"0s\"")
        .set("guard.rate", 1.0)
        .set("guard.at_least", 2);
    serve_as(&clips::small(Packaging::Ts, 25).await.unwrap(), "game", world).await
}

/// The playlist of the rendition that one set makes twice as fast, as large as its source or `scale` times.
async fn media_by(world: &World, cluster: &str, scale: u32) -> Media {
    let (size, by) = (format!(".x{scale}."), format!(".i2-{cluster}-"));
    let named = |master: &Multivariant| {
        let enhanced = master.enhanced();
        enhanced.into_iter().find(|variant| variant.uri.contains(&by) && variant.uri.contains(&size)).cloned()
    };
    let is_there = |master: &Multivariant| named(master).is_some();
    let master = until(world, "/vod/guarded.m3u8", is_there).await;
    // The session for this size is made while the playlist is on its way; one is there from the start.
    let start = Instant::now();
    let id = format!("{cluster}-i2-s");
    while world.edge.metrics().await.unwrap().sum("acuity_enhancer_model_sessions", &[("id", &id)]) < 2.0 {
        assert!(start.elapsed() < Duration::from_secs(30), "no session:\n{}", world.edge.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let variant = named(&master).unwrap();
    Player::new().unwrap().media(&master.url_of(&variant).unwrap()).await.unwrap()
}

/// Plays segments by turns until the checks have come to that. On a busy machine a start is made by less than was promised, and
/// says nothing.
async fn play_until(world: &World, media: &Media, is_there: impl Fn(&Metrics) -> bool) -> Metrics {
    let (player, start) = (Player::new().unwrap(), Instant::now());
    for round in 0.. {
        made_by(&player, media, round % media.playlist.segments.len()).await;
        for _ in 0..20 {
            let metrics = world.edge.metrics().await.unwrap();
            if is_there(&metrics) {
                return metrics;
            }
            let (text, events) = (metrics.text(), world.edge.events());
            assert!(start.elapsed() < Duration::from_secs(180), "no verdict:\n{text}\n{events}");
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
    unreachable!("it is played without end")
}

fn checked(metrics: &Metrics, task: &str, outcome: &str) -> f64 {
    metrics.sum("acuity_guard_checks_total", &[("task", task), ("outcome", outcome)])
}

#[tokio::test]
async fn an_interpolator_that_loses_is_stopped() {
    let mut zoo = Zoo::new().unwrap();
    // A cluster is named where it has models that enlarge.
    zoo.put("game", 2, &shipped().unwrap()).unwrap();
    zoo.put_interpolator("generic", &mean_of_two()).unwrap();
    zoo.put_interpolator("game", &brighter_of_two()).unwrap();
    let world = doubled(&zoo).await;
    let playing = media_by(&world, "game", 1).await;
    let labels = [("task", "interpolate"), ("cluster", "game"), ("scale", "2"), ("tier", "s")];
    let stopped = |metrics: &Metrics| metrics.sum("acuity_guard_stopped", &labels);

    let metrics = play_until(&world, &playing, |metrics| stopped(metrics) > 0.0).await;
    assert!(checked(&metrics, "interpolate", "lost") >= 2.0, "{}", metrics.text());
    for over in ["generic", "plain"] {
        let gain_db = metrics.sum("acuity_guard_gain_db", &[labels[0], ("over", over)]);
        assert!(gain_db < -0.1, "{over}\n{}", metrics.text());
    }
    // New playlists name the generic set; who is playing gets its pictures, in the same stream.
    let after = media_by(&world, "generic", 1).await;
    let player = Player::new().unwrap();
    assert_eq!(made_by(&player, &playing, 2).await.0, "plain+generic-i2-s");
    assert_eq!(made_by(&player, &after, 0).await.0, "plain+generic-i2-s");
    let events = world.edge.events();
    assert!(events.contains("a specialised model loses") && events.contains("interpolate"), "{events}");
    let seen = world.origin.seen();
    let checks_fetch = |path: &str| path.contains("/180p/") && path.ends_with(".ts");
    let high: Vec<_> = seen.iter().filter(|seen| checks_fetch(&seen.path)).collect();
    assert!(high.is_empty(), "nothing is asked of the origin for it: {high:?}");

    // Another model in its place starts clean.
    zoo.put_interpolator("game", &mean_of_two()).unwrap();
    media_by(&world, "game", 1).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(stopped(&metrics), 0.0, "{}", metrics.text());
}

#[tokio::test]
async fn what_enlarges_and_what_interpolates_are_judged_by_the_same_segments() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(6.0).unwrap()).unwrap();
    zoo.put_interpolator("generic", &brighter_of_two()).unwrap();
    zoo.put_interpolator("game", &mean_of_two()).unwrap();
    let world = doubled(&zoo).await;
    let playing = media_by(&world, "game", 2).await;
    let stopped = |metrics: &Metrics, task| metrics.sum("acuity_guard_stopped", &[("task", task)]);
    // One loses its place.
    let is_stopped = |metrics: &Metrics| stopped(metrics, "upscale") > 0.0;
    let metrics = play_until(&world, &playing, is_stopped).await;
    assert!(checked(&metrics, "upscale", "lost") >= 2.0, "{}", metrics.text());
    // The other keeps it, in the same rendition, and is still judged.
    let won = checked(&metrics, "interpolate", "won");
    let wins_again = |metrics: &Metrics| checked(metrics, "interpolate", "won") >= won + 2.0;
    let metrics = play_until(&world, &playing, wins_again).await;
    assert_eq!(stopped(&metrics, "interpolate"), 0.0, "{}", metrics.text());
    assert_eq!(checked(&metrics, "interpolate", "lost"), 0.0, "{}", metrics.text());
    let by = made_by(&Player::new().unwrap(), &playing, 2).await.0;
    assert_eq!(by, "generic-x2-s+game-i2-s");
}
