//! Which models a stream is made with, and what happens when they change while somebody watches.

use std::path::Path;
use std::time::{Duration, Instant};

use acuity_tests::clips::{self, Clip, Packaging};
use acuity_tests::onnx::nearest;
use acuity_tests::origin::Origin;
use acuity_tests::player::{Media, Multivariant, Player};
use acuity_tests::world::{World, WorldBuilder};
use acuity_tests::zoo::{Zoo, brighter, sha256, shipped};
use reqwest::Method;

use crate::kit::{at_leisure, segment_url};

/// What is made in time however busy the machine is: these scenarios are about which model makes it.
pub(crate) async fn small_stream() -> Clip {
    clips::small(Packaging::Ts, 10).await.unwrap()
}

/// An edge of one enhanced rendition that looks at its models often and keeps nothing it has made: what comes is made now.
/// One encoder thread, because x264 with several and a rate cap does not write the same bytes twice.
pub(crate) fn watching(zoo: &Zoo) -> WorldBuilder {
    at_leisure()
        .route("max_source_lines", 100)
        .set("models.directory", zoo.setting())
        .set("models.watch_interval", "\"100ms\"")
        .set("cache.budget_bytes", 0)
        .set("enhancer.encoder_threads", 1)
        .set("cache.vod_playlist_ttl", "\"0s\"")
}

/// A clip at `/vod/`, with two playlists more: `/vod/game/master.m3u8` and one that names the cluster itself.
pub(crate) async fn serve(clip: &Clip, world: WorldBuilder) -> World {
    let origin = Origin::start().await.unwrap();
    for prefix in ["/vod", "/vod/game", "/vod/said", "/vod/header"] {
        origin.folder(prefix, clip.folder());
    }
    let text = String::from_utf8(clip.read("master.m3u8").unwrap()).unwrap();
    origin.put("/vod/said/master.m3u8", naming(&text, "two"));
    origin.header("/vod/header/master.m3u8", "acuity-cluster", "three");
    world.start(origin).await.unwrap()
}

/// A multivariant playlist whose origin says what the stream is.
pub(crate) fn naming(master: &str, cluster: &str) -> String {
    let data =
        format!("#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.cluster\",VALUE=\"{cluster}\"\n#EXT-X-STREAM-INF");
    master.replacen("#EXT-X-STREAM-INF", &data, 1)
}

/// `VALUE` of the session data that names the model set.
pub(crate) fn model_set(master: &Multivariant) -> String {
    attribute(master, "org.acuity.model", "VALUE")
}

fn attribute(master: &Multivariant, id: &str, name: &str) -> String {
    let text = master.fetched.text();
    let line = text.lines().find(|line| line.contains(&format!("DATA-ID=\"{id}\"")));
    let line = line.unwrap_or_else(|| panic!("nothing is said of {id}:\n{text}"));
    let start = line.find(&format!("{name}=\"")).unwrap() + name.len() + 2;
    line[start..].split('"').next().unwrap().to_owned()
}

pub(crate) async fn media_of(player: &Player, master: &Multivariant) -> Media {
    player.media(&master.url_of(master.enhanced()[0]).unwrap()).await.unwrap()
}

/// What made a segment, as the edge says it.
pub(crate) async fn made_by(player: &Player, media: &Media, index: usize) -> (String, bytes::Bytes) {
    let fetched = player.get_ok(&segment_url(media, index), &[]).await.unwrap();
    let status = fetched.header("cache-status");
    let detail = status.split("detail=\"").nth(1).and_then(|rest| rest.split('"').next());
    (detail.unwrap_or_default().to_owned(), fetched.body)
}

/// Opens a stream until its playlist is as wanted: a change of models is seen by looking now and then.
pub(crate) async fn until(world: &World, path: &str, wanted: impl Fn(&Multivariant) -> bool) -> Multivariant {
    let player = Player::new().unwrap();
    let start = Instant::now();
    loop {
        let master = player.open(&world.edge.url(path)).await.unwrap();
        if wanted(&master) {
            return master;
        }
        let (text, events) = (master.fetched.text(), world.edge.events());
        assert!(start.elapsed() < Duration::from_secs(30), "it never came:\n{text}\n{events}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

pub(crate) fn is_of(master: &Multivariant, cluster: &str) -> bool {
    !master.enhanced().is_empty() && model_set(master).starts_with(&format!("{cluster}-"))
}

#[tokio::test]
async fn rule_then_playlist_then_header_then_generic() {
    let mut zoo = Zoo::new().unwrap();
    for (cluster, by) in [("one", 2.0), ("two", 4.0), ("three", 6.0)] {
        zoo.put(cluster, 2, &brighter(by).unwrap()).unwrap();
    }
    let clip = small_stream().await;
    let rule = "path = '/game/'\ncluster = 'one'";
    let world = serve(&clip, watching(&zoo).cluster_if(rule)).await;
    let player = Player::new().unwrap();
    let text = String::from_utf8(clip.read("master.m3u8").unwrap()).unwrap();
    // All three at once: the rule wins; a name without models, or that is none at all.
    world.origin.put("/vod/game/master.m3u8", naming(&text, "two"));
    world.origin.header("/vod/game/master.m3u8", "acuity-cluster", "three");
    world.origin.put("/vod/unknown.m3u8", naming(&text, "nobody_trained"));
    world.origin.put("/vod/odd.m3u8", naming(&text, "../../etc"));
    world.origin.header("/vod/odd.m3u8", "acuity-cluster", "Three");
    let mut pictures = Vec::new();
    for (path, cluster) in [
        ("/vod/game/master.m3u8", "one"),
        ("/vod/said/master.m3u8", "two"),
        ("/vod/header/master.m3u8", "three"),
        ("/vod/master.m3u8", "generic"),
        ("/vod/unknown.m3u8", "generic"),
        ("/vod/odd.m3u8", "three"),
    ] {
        let master = world.enhanced(&player, path).await.unwrap();
        let set = model_set(&master);
        assert!(set.starts_with(&format!("{cluster}-")), "{path}: {set}");
        assert!(master.enhanced()[0].uri.contains(&format!(".{set}.")), "the URL names the same set");
        let (made_by, bytes) = made_by(&player, &media_of(&player, &master).await, 0).await;
        assert_eq!(made_by, format!("{cluster}-x2-s"), "{path}");
        pictures.push(bytes);
    }
    assert!(pictures[0] != pictures[1] && pictures[1] != pictures[2] && pictures[2] != pictures[3]);
    assert!(pictures[3] == pictures[4] && pictures[2] == pictures[5], "the same model makes the same bytes");
    let metrics = world.edge.metrics().await.unwrap();
    let chosen = |by, cluster, fallback| {
        let labels = [("by", by), ("cluster", cluster), ("fallback", fallback)];
        metrics.sum("acuity_cluster_choices_total", &labels)
    };
    for (by, cluster, fallback) in [
        ("rule", "one", "none"),
        ("playlist", "two", "none"),
        ("header", "three", "none"),
        ("generic", "generic", "none"),
        ("playlist", "generic", "no_model"),
    ] {
        assert!(chosen(by, cluster, fallback) >= 1.0, "{by} {cluster} {fallback}\n{}", metrics.text());
    }
    assert!(
        !metrics.text().contains("nobody_trained") && !metrics.text().contains("etc"),
        "labels are bounded"
    );
    assert!(world.edge.events().contains("nobody_trained"), "but the log says what was asked for");
}

#[tokio::test]
async fn a_model_is_swapped_under_a_player() {
    let mut zoo = Zoo::new().unwrap();
    let old = zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
    let clip = small_stream().await;
    let world = serve(&clip, watching(&zoo).route("cluster", "\"game\"")).await;
    let player = Player::new().unwrap();
    let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &before).await;
    let mut first = Vec::new();
    for index in 0..3 {
        let (by, bytes) = made_by(&player, &playing, index).await;
        assert_eq!(by, "game-x2-s");
        first.push(bytes);
    }

    let new = zoo.put("game", 2, &brighter(9.0).unwrap()).unwrap();
    assert_ne!(old.sha256, new.sha256);
    let is_new = |master: &Multivariant| is_of(master, "game") && model_set(master) != model_set(&before);
    let after = until(&world, "/vod/master.m3u8", is_new).await;

    // The rendition that was being played is made by the model it was made by, to the last byte.
    for (index, expected) in first.iter().enumerate() {
        let (by, bytes) = made_by(&player, &playing, index).await;
        assert_eq!((by.as_str(), bytes == *expected), ("game-x2-s", true), "segment {index} changed");
    }
    let (_, renewed) = made_by(&player, &media_of(&player, &after).await, 0).await;
    assert!(renewed != first[0], "the new playlist is of the new model");

    // Both files are there for clients that run them, the new one is in the metrics.
    for model in [&old, &new] {
        let url = world.edge.url(&format!("/~acuity/models/{}.onnx", model.sha256));
        assert_eq!(sha256(&player.get_ok(&url, &[]).await.unwrap().body), model.sha256);
    }
    let metrics = world.edge.metrics().await.unwrap();
    let info =
        |digest: &str| metrics.sum("acuity_enhancer_model_info", &[("id", "game-x2-s"), ("digest", digest)]);
    assert!(info(&new.sha256[..12]) >= 1.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_fallbacks_total", &[("reason", "model_missing")]), 0.0);
    assert_eq!(metrics.sum("acuity_cache_hits_total", &[]), 0.0, "all of it was made when it was asked for");
    assert!(world.edge.events().contains("the models have changed"), "{}", world.edge.events());
}

#[tokio::test]
async fn broken_models_are_refused_with_a_reason_and_service_goes_on() {
    let mut zoo = Zoo::new().unwrap();
    // A network that gives three times the size where two is promised, and one that takes floats.
    zoo.put("triple", 2, &nearest(3, 2)).unwrap();
    zoo.put("floats", 2, &nearest(2, 1)).unwrap();
    zoo.put("garbage", 2, b"this is no network").unwrap();
    for cluster in ["cut", "other", "gone"] {
        zoo.put(cluster, 2, &brighter(1.0).unwrap()).unwrap();
    }
    zoo.spoil("cut", 2, |bytes| bytes[..bytes.len() / 2].to_vec()).unwrap();
    zoo.spoil("other", 2, |_| brighter(2.0).unwrap()).unwrap();
    std::fs::remove_file(zoo.file("gone", 2)).unwrap();
    let clip = small_stream().await;
    let rules = ["triple", "floats", "garbage", "cut", "other", "gone"];
    let told = |world: WorldBuilder, name: &&str| {
        world.cluster_if(&format!("path = '/{name}\\.m3u8'\ncluster = '{name}'"))
    };
    let world = serve(&clip, rules.iter().fold(watching(&zoo), told)).await;
    let player = Player::new().unwrap();
    let metrics = world.edge.metrics().await.unwrap();
    let refused = |reason| metrics.sum("acuity_models_refused", &[("reason", reason)]);
    assert_eq!((refused("digest"), refused("missing")), (2.0, 1.0), "{}", metrics.text());
    assert_eq!(refused("contract") + refused("runtime") + refused("output"), 3.0, "{}", metrics.text());
    let events = world.edge.events();
    for name in rules {
        assert!(events.contains(&format!("{name}-x2-s")), "nothing is said of {name}:\n{events}");
        let path = format!("/vod/{name}.m3u8");
        world.origin.put(&path, clip.read("master.m3u8").unwrap());
        let master = world.enhanced(&player, &path).await.unwrap();
        assert!(is_of(&master, "generic"), "{name}: {}", master.fetched.text());
        let (by, _) = made_by(&player, &media_of(&player, &master).await, 0).await;
        assert_eq!(by, "generic-x2-s", "{name}");
    }
    let metrics = world.edge.metrics().await.unwrap();
    let fallbacks = metrics.sum("acuity_cluster_choices_total", &[("by", "rule"), ("fallback", "no_model")]);
    assert!(fallbacks >= 6.0, "{}", metrics.text());
}

#[tokio::test]
async fn a_model_that_breaks_or_goes_while_it_is_played_stops_at_once() {
    type Harm = fn(&mut Zoo);
    let harms: [(&str, Harm); 2] = [
        ("cut short", |zoo| zoo.spoil("game", 2, |bytes| bytes[..1000].to_vec()).unwrap()),
        ("taken out", |zoo| zoo.remove("game", 2).unwrap()),
    ];
    let clip = small_stream().await;
    for (name, harm) in harms {
        let mut zoo = Zoo::new().unwrap();
        let model = zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
        let world = serve(&clip, watching(&zoo).route("cluster", "\"game\"")).await;
        let player = Player::new().unwrap();
        let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
        let playing = media_of(&player, &before).await;
        assert_eq!(made_by(&player, &playing, 0).await.0, "game-x2-s");
        harm(&mut zoo);
        until(&world, "/vod/master.m3u8", |master| is_of(master, "generic")).await;
        // The rendition goes on, same URL, one step down the ladder, in the same stream.
        let (by, _) = made_by(&player, &playing, 1).await;
        assert_eq!(by, "generic-x2-s", "{name}");
        let url = world.edge.url(&format!("/~acuity/models/{}.onnx", model.sha256));
        assert_eq!(player.get(&url).await.unwrap().status, 404, "{name}: its file is no longer given out");
        let metrics = world.edge.metrics().await.unwrap();
        assert!(metrics.sum("acuity_fallbacks_total", &[("reason", "model_missing")]) >= 1.0, "{name}");
        // And back.
        zoo.put("game", 2, &brighter(3.0).unwrap()).unwrap();
        until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
        assert_eq!(made_by(&player, &playing, 2).await.0, "game-x2-s", "{name}");
    }
}

#[tokio::test]
async fn a_catalogue_that_cannot_be_read_changes_nothing() {
    let zoo = Zoo::new().unwrap();
    let clip = small_stream().await;
    let world = serve(&clip, watching(&zoo)).await;
    let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "generic")).await;
    let catalogue = zoo.directory().join("catalogue.toml");
    let good = std::fs::read_to_string(&catalogue).unwrap();
    std::fs::write(&catalogue, &good[..good.len() / 2]).unwrap();
    let start = Instant::now();
    while !world.edge.events().contains("cannot be read") {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", world.edge.events());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    let player = Player::new().unwrap();
    let master = player.open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    assert_eq!(model_set(&master), model_set(&before));
    assert_eq!(made_by(&player, &media_of(&player, &master).await, 0).await.0, "generic-x2-s");
}

#[tokio::test]
async fn the_model_itself_is_served() {
    let zoo = Zoo::new().unwrap();
    let world = serve(&small_stream().await, watching(&zoo)).await;
    let player = Player::new().unwrap();
    let master = until(&world, "/vod/master.m3u8", |master| is_of(master, "generic")).await;
    let set = model_set(&master);
    let (_, digest) = set.split_once('-').unwrap();
    let uri = attribute(&master, "org.acuity.models", "URI");
    assert_eq!(uri, format!("/~acuity/models/generic-x2-{digest}.json"));
    let described = player.get_ok(&world.edge.url(&uri), &[]).await.unwrap();
    assert_eq!(described.header("content-type"), "application/json");
    let description: serde_json::Value = serde_json::from_slice(&described.body).unwrap();
    assert_eq!((&description["cluster"], &description["scale"]), (&"generic".into(), &2.into()));
    assert_eq!(description["digest"], digest);
    let model = &description["models"][0];
    assert_eq!((&model["id"], &model["tier"]), (&"generic-x2-s".into(), &"s".into()));
    assert_eq!(model["contract"]["input"]["type"], "uint8");

    // The file: named by its digest, which is what it hashes to; whatever happens to the one on the disk.
    zoo.spoil("generic", 2, |bytes| bytes.to_vec()).unwrap();
    let file = described.url.join(model["uri"].as_str().unwrap()).unwrap().to_string();
    let seen = world.origin.seen().len();
    let whole = player.get_ok(&file, &[]).await.unwrap();
    assert!(whole.body == shipped().unwrap(), "other bytes");
    assert_eq!(model["bytes"], whole.body.len());
    let digest = sha256(&whole.body);
    assert_eq!(model["sha256"], digest.as_str());
    assert!(Path::new(&file).ends_with(format!("{digest}.onnx")));
    assert_eq!(whole.header("content-type"), "application/octet-stream");
    assert!(whole.header("cache-control").contains("immutable"), "{}", whole.header("cache-control"));
    let etag = whole.header("etag");
    let same = player.request(Method::GET, &file, &[("if-none-match", &etag)]).await.unwrap();
    assert_eq!((same.status.as_u16(), same.body.len()), (304, 0));
    let part = player.request(Method::GET, &file, &[("range", "bytes=8-15")]).await.unwrap();
    assert_eq!((part.status.as_u16(), &part.body), (206, &whole.body.slice(8..16)));
    let head = player.request(Method::HEAD, &file, &[]).await.unwrap();
    assert_eq!((head.status.as_u16(), head.body.len()), (200, 0));
    assert_eq!(head.header("content-length"), whole.body.len().to_string());
    let page = [("origin", "https://player.example"), ("access-control-request-method", "GET")];
    assert!(player.request(Method::OPTIONS, &file, &page).await.unwrap().status.is_success());
    let read = player.get_ok(&file, &page[..1]).await.unwrap();
    assert!(!read.header("access-control-allow-origin").is_empty());
    for other in [
        format!("/~acuity/models/{}.onnx", "0".repeat(64)),
        "/~acuity/models/generic-x2-00000000.json".to_owned(),
        "/~acuity/models/catalogue.toml".to_owned(),
        "/~acuity/models/../../etc/passwd".to_owned(),
        "/~acuity/models/".to_owned(),
    ] {
        assert!(player.get(&world.edge.url(&other)).await.unwrap().status.is_client_error(), "{other}");
    }
    assert_eq!(player.request(Method::POST, &file, &[]).await.unwrap().status, 404);
    let asked_of_the_origin = world.origin.seen().len() - seen;
    // The path with dots leads out of the edge's own and is the origin's to refuse.
    assert!(asked_of_the_origin <= 1, "models are none of the origin's business");
    let metrics = world.edge.metrics().await.unwrap();
    assert!(metrics.sum("acuity_requests_total", &[("kind", "model")]) >= 6.0, "{}", metrics.text());
}

#[tokio::test]
async fn three_times_the_size_where_there_is_a_model_for_it() {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("generic", 3, &nearest(3, 2)).unwrap();
    let clip = small_stream().await;
    let world = at_leisure()
        .set("models.directory", zoo.setting())
        .route("scales", "[2, 3]")
        .route("max_source_lines", 100);
    let world = serve(&clip, world).await;
    let player = Player::new().unwrap();
    let master = world.enhanced(&player, "/vod/master.m3u8").await.unwrap();
    let mut heights: Vec<_> =
        master.enhanced().iter().filter_map(|variant| variant.resolution).map(|size| size.height).collect();
    heights.sort_unstable();
    assert_eq!(heights, [180, 270], "{}", master.fetched.text());
    assert!(attribute(&master, "org.acuity.model.x3", "VALUE").starts_with("generic-"));
    let media = player.media(&master.url_of(master.of_height(270).unwrap()).unwrap()).await.unwrap();
    let (by, _) = made_by(&player, &media, 0).await;
    assert_eq!(by, "generic-x3-s");
    let source = crate::kit::open_source(&world, &player, "90p").await;
    for index in 0..2 {
        let (_, probe, _) = crate::kit::compare_by(&player, &source, &media, index, 3).await;
        let video = probe.video().unwrap();
        assert_eq!((video.width, video.height), (480, 270));
    }
}
