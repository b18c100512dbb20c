//! Segments kept in a store that nodes share: a real server of S3's protocol (`s3s-fs`), which checks every signature.

use std::path::PathBuf;

use acuity_tests::clips;
use acuity_tests::world::WorldBuilder;

use crate::bucket::Bucket;
use crate::depot::{made, media_at, patient, play, purge, until};
use crate::kit::{open_enhanced, segment_url, serve};

const BUCKET: &str = "segments";
const WRITES: &str = "acuity_depot_writes_total";
const READS: &str = "acuity_depot_reads_total";

/// A store for segments.
struct Store(Bucket);

impl Store {
    async fn start() -> Self {
        Self(Bucket::start(BUCKET).await)
    }

    /// An edge that keeps its segments there, with one of the secrets.
    fn settings(&self, secret: &str) -> WorldBuilder {
        let file = |name: &str| format!("{:?}", self.0.key(name));
        patient()
            .set("cache.store.bucket", format!("{BUCKET:?}"))
            .set("cache.store.endpoint", format!("{:?}", self.0.endpoint))
            .set("cache.store.prefix", "\"edge/segments\"")
            .set("cache.store.access_key_file", file("id"))
            .set("cache.store.secret_key_file", file(secret))
            .set("cache.store.read_timeout", "\"5s\"")
    }

    fn objects(&self) -> Vec<PathBuf> {
        let prefix = self.0.data().join("edge/segments");
        let inside = |folder: PathBuf| {
            std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path())
        };
        let mut objects: Vec<_> = inside(prefix).flat_map(inside).flat_map(inside).collect();
        objects.sort();
        objects
    }
}

#[tokio::test]
async fn what_one_node_made_another_serves() {
    let store = Store::start().await;
    let settings = store.settings("key");
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let first = play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    assert_eq!(store.objects().len(), 3, "{:?}", store.objects());

    let origin = world.origin.base().unwrap();
    let other = settings.clone().start_before(origin.as_str()).await.unwrap();
    let there = media_at(&other, &media);
    assert_eq!(play(&player, &there).await, first);
    let metrics = until(&other, READS, &[("outcome", "hit")], 3.0).await;
    assert_eq!(made(&metrics), 0.0, "{}", metrics.text());
    assert!(!metrics.has("acuity_depot_bytes"), "no node counts what they share");
    drop(other);

    // One is cut short: the next node to look for it removes it and makes it anew.
    let object = &store.objects()[1];
    std::fs::File::options().write(true).open(object).unwrap().set_len(2000).unwrap();
    let third = settings.start_before(origin.as_str()).await.unwrap();
    let there = media_at(&third, &media);
    assert_eq!(play(&player, &there).await.len(), 3);
    let metrics = until(&third, WRITES, &[("outcome", "stored")], 1.0).await;
    assert_eq!(
        (metrics.sum(READS, &[("outcome", "truncated")]), made(&metrics)),
        (1.0, 1.0),
        "{}",
        metrics.text()
    );
    assert!(std::fs::metadata(object).unwrap().len() > 10_000);
}

// The store answers in this process while the command that purges is waited for.
#[tokio::test(flavor = "multi_thread")]
async fn what_one_node_purged_another_that_starts_makes_anew() {
    let store = Store::start().await;
    let settings = store.settings("key");
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    purge(&world.edge, &["--url", "/vod/180p/001.ts"]);
    let other = settings.start_before(world.origin.base().unwrap().as_str()).await.unwrap();
    play(&player, &media_at(&other, &media)).await;
    let metrics = other.metrics().await.unwrap();
    let found = ["hit", "purged"].map(|outcome| metrics.sum(READS, &[("outcome", outcome)]));
    assert_eq!((found, made(&metrics)), ([2.0, 1.0], 1.0), "{}", metrics.text());
}

#[tokio::test]
async fn of_two_that_made_the_same_the_first_is_kept() {
    let store = Store::start().await;
    let settings = store.settings("key");
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    until(&world.edge, WRITES, &[("outcome", "stored")], 1.0).await;
    let [object] = &store.objects()[..] else { panic!("{:?}", store.objects()) };
    let (first, written) =
        (std::fs::read(object).unwrap(), std::fs::metadata(object).unwrap().modified().unwrap());

    // The other node looks a moment too early, and is a moment too late.
    let other = settings.start_before(world.origin.base().unwrap().as_str()).await.unwrap();
    let away = store.0.data().with_file_name("away");
    std::fs::rename(object, &away).unwrap();
    let url = segment_url(&media_at(&other, &media), 0);
    let asked =
        tokio::spawn(async move { player.get_ok(&url, &[]).await.map_err(|error| error.to_string()) });
    until(&other, READS, &[("outcome", "miss")], 1.0).await;
    std::fs::rename(&away, object).unwrap();
    asked.await.unwrap().unwrap();
    let metrics = until(&other, WRITES, &[("outcome", "present")], 1.0).await;
    assert_eq!((made(&metrics), metrics.sum(WRITES, &[])), (1.0, 1.0), "{}", metrics.text());
    assert_eq!(std::fs::read(object).unwrap(), first);
    assert_eq!(std::fs::metadata(object).unwrap().modified().unwrap(), written);
}

#[tokio::test]
async fn a_store_that_refuses_or_is_gone_costs_nobody_anything() {
    let store = Store::start().await;
    let world = serve(&clips::vod_ts().await.unwrap(), store.settings("wrong")).await;
    let (player, _, media) = open_enhanced(&world).await;
    play(&player, &media).await;
    let metrics = until(&world.edge, WRITES, &[("outcome", "failed")], 1.0).await;
    assert_eq!(
        (metrics.sum(READS, &[("outcome", "failed")]), made(&metrics)),
        (3.0, 3.0),
        "{}",
        metrics.text()
    );
    assert!(store.objects().is_empty(), "signatures are checked");
    assert!(!world.edge.events().contains("another/secret"), "{}", world.edge.events());

    let settings = store.settings("key");
    store.0.stop();
    let gone = settings.start_before(world.origin.base().unwrap().as_str()).await.unwrap();
    let there = media_at(&gone, &media);
    play(&player, &there).await;
    let metrics = gone.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_depot_paused", &[("what", "reads")]), 1.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
}
