//! Models that come from a store: published by the command, taken by edges that run, whatever is wrong with the store meanwhile.

mod kept;
mod on_the_way;

use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use acuity_tests::metrics::Metrics;
use acuity_tests::player::{Multivariant, Player};
use acuity_tests::processes::workers;
use acuity_tests::world::{Edge, WorldBuilder};
use acuity_tests::zoo::{Zoo, brighter, sha256};
use tempfile::TempDir;

use crate::bucket::Bucket;
use crate::clusters::{is_of, made_by, media_of, model_set, serve, small_stream, until, watching};
use crate::commands::run;
use crate::reload::{post, rewrite};

const LOOKS: &str = "acuity_model_store_looks_total";
const REFUSALS: &str = "acuity_model_store_refusals_total";
const FETCHES: &str = "acuity_model_store_fetches_total";
const INFO: &str = "acuity_model_catalogue_info";
const BUCKET: &str = "models";

/// A store in a directory, and a place for what an edge has of it.
struct Shared {
    store: TempDir,
    own: TempDir,
}

impl Shared {
    fn new() -> Self {
        Self { store: tempfile::tempdir().unwrap(), own: own() }
    }

    fn url(&self) -> String {
        format!("file://{}", self.store.path().display())
    }

    /// What a store's object is called below its root.
    fn object(&self, name: &str) -> PathBuf {
        self.store.path().join("models/v1").join(name)
    }

    fn models(&self) -> PathBuf {
        self.own.path().join("models")
    }

    /// An edge that looks at the store every second.
    fn settings(&self, zoo: &Zoo) -> WorldBuilder {
        following(zoo, &self.models(), &self.url())
    }

    /// Has the channel name a document that somebody wrote by hand.
    fn publish_by_hand(&self, document: &[u8]) -> String {
        let digest = sha256(document);
        std::fs::write(self.object(&format!("catalogues/{digest}.toml")), document).unwrap();
        self.point(&digest);
        digest
    }

    fn point(&self, text: &str) {
        std::fs::write(self.object("channels/stable"), text).unwrap();
    }
}

/// A place that workers may look into, who are another user.
fn own() -> TempDir {
    use std::os::unix::fs::PermissionsExt as _;
    let own = tempfile::tempdir().unwrap();
    std::fs::set_permissions(own.path(), std::fs::Permissions::from_mode(0o755)).unwrap();
    own
}

fn following(zoo: &Zoo, models: &Path, url: &str) -> WorldBuilder {
    watching(zoo)
        .set("models.directory", format!("{models:?}"))
        .set("models.store.url", format!("{url:?}"))
        .set("models.store.interval", "\"1s\"")
        .route("cluster", "\"game\"")
}

/// A zoo whose network for games is so much brighter.
fn zoo(by: f32) -> Zoo {
    let mut zoo = Zoo::new().unwrap();
    zoo.put("game", 2, &brighter(by).unwrap()).unwrap();
    zoo
}

/// Publishes a zoo by the command; gives the catalogue's digest.
fn push(zoo: &Zoo, store: &[&str]) -> String {
    let directory = zoo.directory().to_str().unwrap();
    let (code, said, told) = run(&[&["models", "push", directory], store].concat());
    assert_eq!(code, Some(0), "{told}");
    said.trim().to_owned()
}

/// Waits until the metrics are as wanted.
async fn eventually(edge: &Edge, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    let start = Instant::now();
    loop {
        let metrics = edge.metrics().await.unwrap();
        if holds(&metrics) {
            return metrics;
        }
        assert!(start.elapsed() < Duration::from_secs(30), "{what}\n{}\n{}", metrics.text(), edge.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn is_in_use(metrics: &Metrics, digest: &str) -> bool {
    metrics.sum(INFO, &[("digest", &digest[..12])]) == 1.0
}

// The store answers in this process while commands are waited for.
#[tokio::test(flavor = "multi_thread")]
async fn an_edge_follows_its_channel_under_a_player_and_back() {
    let bucket = Bucket::start(BUCKET).await;
    let (id, key) = (bucket.key("id"), bucket.key("key"));
    let store = ["--store", "s3://models/region-1", "--endpoint", &bucket.endpoint];
    let keys = ["--access-key-file", id.to_str().unwrap(), "--secret-key-file", key.to_str().unwrap()];
    let store = [&store[..], &keys].concat();
    let own = own();
    let models = own.path().join("models");
    let first_zoo = zoo(3.0);
    let first = push(&first_zoo, &store);
    let settings = following(&first_zoo, &models, "s3://models/region-1")
        .set("models.store.endpoint", format!("{:?}", bucket.endpoint))
        .set("models.store.access_key_file", format!("{id:?}"))
        .set("models.store.secret_key_file", format!("{key:?}"));
    let world = serve(&small_stream().await, settings).await;
    let player = Player::new().unwrap();
    let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &before).await;
    let (by, picture) = made_by(&player, &playing, 0).await;
    assert_eq!(by, "game-x2-s");

    let second = push(&zoo(9.0), &store);
    let is_new = |master: &Multivariant| is_of(master, "game") && model_set(master) != model_set(&before);
    let after = until(&world, "/vod/master.m3u8", is_new).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert!(is_in_use(&metrics, &second) && !is_in_use(&metrics, &first), "{}", metrics.text());
    // What was being played is made by what it was made by, to the last byte; what is opened now is not.
    assert_eq!(made_by(&player, &playing, 0).await, ("game-x2-s".to_owned(), picture.clone()));
    let (by, brighter) = made_by(&player, &media_of(&player, &after).await, 0).await;
    assert!(by == "game-x2-s" && brighter != picture);
    // The generic network is in both: it was sent and fetched once.
    assert_eq!(metrics.sum(FETCHES, &[("outcome", "fetched")]), 3.0, "{}", metrics.text());

    let (code, listed, told) = run(&[&["models", "list"][..], &store].concat());
    assert_eq!(code, Some(0), "{told}");
    assert!(
        listed.contains(&first)
            && listed.lines().any(|line| line.starts_with("stable") && line.contains(&second)),
        "{listed}"
    );
    let (code, _, told) = run(&[&["models", "promote", &first][..], &store].concat());
    assert_eq!(code, Some(0), "{told}");
    let back = until(&world, "/vod/master.m3u8", |master| model_set(master) == model_set(&before)).await;
    let (_, bytes) = made_by(&player, &media_of(&player, &back).await, 0).await;
    assert_eq!(bytes, picture);
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum(FETCHES, &[]), 3.0, "the way back fetches nothing");
    assert_eq!(metrics.sum(REFUSALS, &[]), 0.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_fallbacks_total", &[("reason", "model_missing")]), 0.0);
    assert!(!world.edge.events().contains("secret+key"), "{}", world.edge.events());
}

#[tokio::test(flavor = "multi_thread")]
async fn workers_use_what_the_edge_fetches_and_have_no_network() {
    let shared = Shared::new();
    let first = zoo(3.0);
    push(&first, &["--to", &shared.url()]);
    // The directory is not there when the edge is started: what a worker may read is settled before anything is fetched.
    assert!(!shared.models().exists());
    let settings = shared
        .settings(&first)
        .set("workers.count", 1)
        .set("workers.spare", 0)
        .set("workers.sandbox", "\"required\"");
    let world = serve(&small_stream().await, settings).await;
    let worker = workers(world.edge.process_id());
    let player = Player::new().unwrap();
    let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    let playing = media_of(&player, &before).await;
    let (by, picture) = made_by(&player, &playing, 0).await;
    assert_eq!(by, "game-x2-s");
    push(&zoo(9.0), &["--to", &shared.url()]);
    let is_new = |master: &Multivariant| is_of(master, "game") && model_set(master) != model_set(&before);
    let after = until(&world, "/vod/master.m3u8", is_new).await;
    assert_eq!(made_by(&player, &playing, 0).await, ("game-x2-s".to_owned(), picture.clone()));
    assert_ne!(made_by(&player, &media_of(&player, &after).await, 0).await.1, picture);
    assert_eq!(workers(world.edge.process_id()), worker, "it is the same worker");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_pin_stays_where_it_is_and_a_reload_moves_it() {
    let shared = Shared::new();
    let first_zoo = zoo(3.0);
    let first = push(&first_zoo, &["--to", &shared.url()]);
    let second = push(&zoo(9.0), &["--to", &shared.url()]);
    let settings = shared.settings(&first_zoo);
    let pinned = settings.clone().set("models.store.pin", format!("{first:?}"));
    let world = serve(&small_stream().await, pinned.clone()).await;
    eventually(&world.edge, "the pinned one", |metrics| is_in_use(metrics, &first)).await;
    let looked = |metrics: &Metrics| metrics.sum(LOOKS, &[("outcome", "unchanged")]) >= 2.0;
    let metrics = eventually(&world.edge, "looks", looked).await;
    assert!(is_in_use(&metrics, &first), "whatever the channel names");
    assert_eq!(metrics.sum(INFO, &[("follows", "pin")]), 1.0, "{}", metrics.text());

    let dark = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    rewrite(&world.edge, &settings, &world.origin);
    let (status, told) = post(&world.edge, "/reload").await;
    assert_eq!((status, &told["restart_needed"]), (200, &serde_json::json!([])), "{told}");
    let is_bright = |master: &Multivariant| is_of(master, "game") && model_set(master) != model_set(&dark);
    until(&world, "/vod/master.m3u8", is_bright).await;
    assert!(is_in_use(&world.edge.metrics().await.unwrap(), &second), "what the channel names");
    rewrite(&world.edge, &pinned, &world.origin);
    assert_eq!(post(&world.edge, "/reload").await.0, 200);
    let is_back = |master: &Multivariant| is_of(master, "game") && model_set(master) == model_set(&dark);
    let back = until(&world, "/vod/master.m3u8", is_back).await;
    let player = Player::new().unwrap();
    assert_eq!(made_by(&player, &media_of(&player, &back).await, 0).await.0, "game-x2-s");
    assert!(is_in_use(&world.edge.metrics().await.unwrap(), &first));
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_a_start_uses_what_it_has_and_with_nothing_it_serves() {
    let shared = Shared::new();
    let zoo = zoo(3.0);
    let clip = small_stream().await;
    // A store that is not mounted yet, and nothing of it: the edge serves what it can without models.
    let store = shared.store.path().to_owned();
    let away = store.with_extension("away");
    std::fs::rename(&store, &away).unwrap();
    let world = serve(&clip, shared.settings(&zoo)).await;
    let player = Player::new().unwrap();
    let master = player.open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    assert!(!is_of(&master, "game"), "{}", master.fetched.text());
    for variant in &master.playlist.variants {
        let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
        player.get_ok(&crate::kit::segment_url(&media, 0), &[]).await.unwrap();
    }
    eventually(&world.edge, "a look", |metrics| metrics.sum(LOOKS, &[("outcome", "unreachable")]) >= 1.0)
        .await;
    // It comes.
    std::fs::rename(&away, &store).unwrap();
    let digest = push(&zoo, &["--to", &shared.url()]);
    until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    eventually(&world.edge, "it", |metrics| is_in_use(metrics, &digest)).await;
    drop(world);

    // It is gone, and somebody starts with what there was.
    std::fs::rename(&store, &away).unwrap();
    let world = serve(&clip, shared.settings(&zoo)).await;
    let master = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    assert_eq!(made_by(&player, &media_of(&player, &master).await, 0).await.0, "game-x2-s");
    let metrics =
        eventually(&world.edge, "a look", |metrics| metrics.sum(LOOKS, &[("outcome", "unreachable")]) >= 2.0)
            .await;
    assert!(is_in_use(&metrics, &digest));
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    assert_eq!(world.edge.events().matches("models stay as they were").count(), 1, "{}", world.edge.events());
    std::fs::rename(&away, &store).unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_damaged_here_is_fetched_again() {
    let shared = Shared::new();
    let zoo = zoo(3.0);
    push(&zoo, &["--to", &shared.url()]);
    let world = serve(&small_stream().await, shared.settings(&zoo)).await;
    until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    let game = sha256(&std::fs::read(zoo.file("game", 2)).unwrap());
    let file = shared.models().join(format!("sha256/{game}.onnx"));
    std::fs::write(&file, "a disk that forgets").unwrap();
    let metrics =
        eventually(&world.edge, "mended", |metrics| metrics.sum(LOOKS, &[("outcome", "mended")]) >= 1.0)
            .await;
    assert_eq!(metrics.sum("acuity_model_store_damaged_total", &[]), 1.0, "{}", metrics.text());
    assert_eq!(sha256(&std::fs::read(&file).unwrap()), game);
    let player = Player::new().unwrap();
    let master = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    assert_eq!(made_by(&player, &media_of(&player, &master).await, 1).await.0, "game-x2-s");

    // The catalogue itself, by somebody's hand.
    let catalogue = shared.models().join("catalogue.toml");
    let good = std::fs::read(&catalogue).unwrap();
    std::fs::write(&catalogue, &good[..good.len() / 2]).unwrap();
    let start = Instant::now();
    while std::fs::read(&catalogue).unwrap() != good {
        assert!(start.elapsed() < Duration::from_secs(20), "{}", world.edge.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_catalogue_is_refused_whole_and_the_old_one_stays() {
    let shared = Shared::new();
    let first_zoo = zoo(3.0);
    let first = push(&first_zoo, &["--to", &shared.url()]);
    let settings = shared.settings(&first_zoo).set("models.store.max_bytes", "\"1MiB\"");
    let world = serve(&small_stream().await, settings).await;
    let before = until(&world, "/vod/master.m3u8", |master| is_of(master, "game")).await;
    let player = Player::new().unwrap();
    let playing = media_of(&player, &before).await;
    let good = std::fs::read_to_string(shared.object(&format!("catalogues/{first}.toml"))).unwrap();
    let game = sha256(&std::fs::read(first_zoo.file("game", 2)).unwrap());
    let climbing = good.replacen(&format!("sha256/{game}.onnx"), &format!("../../sha256/{game}.onnx"), 1);
    // Whose file is there in name, and is another one.
    let forged = sha256(b"what it ought to be");
    let bytes = std::fs::read(first_zoo.file("game", 2)).unwrap();
    std::fs::write(shared.object(&format!("sha256/{forged}.onnx")), bytes).unwrap();
    for (reason, document) in [
        ("name", climbing),
        ("malformed", good[..good.len() / 2].to_owned()),
        ("missing", good.replace(&game, &sha256(b"nobody has it"))),
        ("digest", good.replace(&game, &forged)),
        ("too_large", good.replacen("bytes = ", "bytes = 99", 1)),
        ("empty", "format = 1\nmodel = []\n".to_owned()),
    ] {
        let digest = shared.publish_by_hand(document.as_bytes());
        let refused = |metrics: &Metrics| metrics.sum(REFUSALS, &[("reason", reason)]) >= 1.0;
        let metrics = eventually(&world.edge, reason, refused).await;
        assert!(is_in_use(&metrics, &first) && !is_in_use(&metrics, &digest), "{reason}\n{}", metrics.text());
        assert_eq!(metrics.sum("acuity_model_store_behind", &[]), 1.0, "{reason}");
        let events = world.edge.events();
        assert!(
            events.contains("a catalogue of the store is refused") && events.contains(reason),
            "{events}"
        );
    }
    shared.point("../../../etc/passwd\n");
    eventually(&world.edge, "pointer", |metrics| metrics.sum(REFUSALS, &[("reason", "pointer")]) >= 1.0)
        .await;
    let master = player.open(&world.edge.url("/vod/master.m3u8")).await.unwrap();
    assert_eq!(model_set(&master), model_set(&before));
    assert_eq!(made_by(&player, &playing, 1).await.0, "game-x2-s");
    assert!(!shared.own.path().join("sha256").exists(), "nothing was written elsewhere");
    // And a good one comes through behind all these.
    let second = push(&zoo(9.0), &["--to", &shared.url()]);
    let metrics = eventually(&world.edge, "the good one", |metrics| is_in_use(metrics, &second)).await;
    assert_eq!(metrics.sum("acuity_model_store_behind", &[]), 0.0);
}

#[test]
fn the_commands_say_what_they_do_and_what_is_wrong() {
    let shared = Shared::new();
    let zoo = zoo(3.0);
    let (directory, url) = (zoo.directory().to_str().unwrap().to_owned(), shared.url());
    let to = ["--store", url.as_str()];
    let (code, dry, told) = run(&[&["models", "push", &directory, "--dry-run"][..], &to].concat());
    assert_eq!(code, Some(0), "{told}");
    assert!(told.contains("would send 2 files") && told.contains("stable would name it"), "{told}");
    assert!(std::fs::read_dir(shared.store.path()).unwrap().next().is_none(), "nothing was done");
    assert_eq!(push(&zoo, &[&to[..], &["--channel", "canary"]].concat()), dry.trim());
    let (_, _, told) = run(&[&["models", "push", &directory][..], &to].concat());
    assert!(told.contains("sent 0 files") && told.contains("2 were there"), "{told}");

    // As an edge would, into a place of one's own; and what the edge's configuration says of it.
    let models = shared.models();
    let (code, pulled, told) = run(&[&["models", "pull", models.to_str().unwrap()][..], &to].concat());
    assert_eq!((code, pulled.trim()), (Some(0), dry.trim()), "{told}");
    let config = shared.own.path().join("acuity.toml");
    std::fs::write(&config, shared.settings(&zoo).config_for("http://127.0.0.1:9/")).unwrap();
    let config = config.to_str().unwrap();
    let (code, said, told) = run(&["check", "--config", config]);
    assert_eq!(code, Some(0), "{told}");
    assert!(said.contains("2 models"), "{said}");
    let (code, listed, told) = run(&["models", "list", "--config", config]);
    assert_eq!(code, Some(0), "{told}");
    assert!(listed.contains("canary") && listed.contains("in use"), "{listed}");

    let (code, said, _) = run(&["models", "verify", "--config", config]);
    assert!(code == Some(0) && said.contains("no faults; 2 files"), "{said}");
    let generic = sha256(&std::fs::read(zoo.file("generic", 2)).unwrap());
    let object = shared.object(&format!("sha256/{generic}.onnx"));
    let bytes = std::fs::read(&object).unwrap();
    std::fs::write(&object, vec![0; bytes.len()]).unwrap();
    let (code, _, told) = run(&[&["models", "verify"][..], &to].concat());
    assert!(code == Some(1) && told.contains(&generic), "{told}");
    // A file of another length is put right by publishing again.
    std::fs::write(&object, "short").unwrap();
    push(&zoo, &to);
    assert_eq!(std::fs::read(&object).unwrap(), bytes);

    zoo.spoil("game", 2, |bytes| bytes[..99].to_vec()).unwrap();
    let (code, said, told) = run(&[&["models", "push", &directory][..], &to].concat());
    assert!(code == Some(1) && said.is_empty() && told.contains("game-x2-s"), "{told}");
    let somewhere = zoo.directory().join("own.toml");
    let foreign = shared.settings(&zoo).set("models.directory", zoo.setting());
    std::fs::write(&somewhere, foreign.config_for("http://127.0.0.1:9/")).unwrap();
    let (code, _, told) = run(&["check", "--config", somewhere.to_str().unwrap()]);
    assert!(code == Some(1) && told.contains("did not come from a store"), "{told}");
    let (code, _, told) = run(&["serve", "--config", somewhere.to_str().unwrap(), "--listen", "127.0.0.1:0"]);
    assert!(code == Some(1) && told.contains("did not come from a store"), "{told}");
    let (code, _, told) = run(&["models", "promote", &"0".repeat(64), "--store", &url]);
    assert!(code == Some(1) && told.contains("has no catalogue"), "{told}");
    let (code, _, told) = run(&["models", "list", "--store", "https://o.example"]);
    assert!(code == Some(1) && told.contains("s3://BUCKET/PREFIX"), "{told}");
}
