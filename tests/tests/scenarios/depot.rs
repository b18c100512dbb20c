//! Segments kept on disk: what a restart, a damaged file and a disk that fails cost viewers.

mod disk;

use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::metrics::Metrics;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::player::{Media, Player};
use acuity_tests::world::{Edge, World, WorldBuilder, binary};
use tempfile::TempDir;

use crate::kit::{one_rendition, open_enhanced, segment_url, serve, serve_folder};

const READS: &str = "acuity_depot_reads_total";
const WRITES: &str = "acuity_depot_writes_total";

/// A directory of this test's own, and an edge's settings to keep segments there.
fn disk() -> (TempDir, WorldBuilder) {
    let folder = tempfile::tempdir().unwrap();
    let settings = on_disk(folder.path());
    (folder, settings)
}

/// The clips' small variant is enhanced, with all the time it takes also at a start: what is short of time is not kept.
pub(crate) fn patient() -> WorldBuilder {
    one_rendition().set("enhancer.deadline.startup_fraction", 10.0)
}

/// Enlarged plainly, and with a generous time limit, because the machine may be busy: a segment for which its network had no time is not
/// kept. Scenarios about the limit set their own.
fn on_disk(path: &Path) -> WorldBuilder {
    let plain = patient().route("cluster", "\"plain\"");
    plain.set("cache.disk.path", format!("{path:?}")).set("cache.disk.read_timeout", "\"5s\"")
}

/// All of a stream's segments, as the player got them; each must be a 200.
pub(crate) async fn play(player: &Player, media: &Media) -> Vec<Vec<u8>> {
    let mut bodies = Vec::new();
    for index in 0..media.playlist.segments.len() {
        bodies.push(player.get_ok(&segment_url(media, index), &[]).await.unwrap().body.to_vec());
    }
    bodies
}

/// Waits until a metric has come to a value.
pub(crate) async fn until(edge: &Edge, name: &str, labels: &[(&str, &str)], least: f64) -> Metrics {
    let start = Instant::now();
    loop {
        let metrics = edge.metrics().await.unwrap();
        if metrics.sum(name, labels) >= least {
            return metrics;
        }
        assert!(start.elapsed() < Duration::from_secs(20), "{name} {labels:?}\n{}", metrics.text());
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

/// Segments that the enhancer has made.
pub(crate) fn made(metrics: &Metrics) -> f64 {
    metrics.sum("acuity_enhancer_segments_total", &[])
}

fn reads(metrics: &Metrics, outcome: &str) -> f64 {
    metrics.sum(READS, &[("outcome", outcome)])
}

/// Everything that is kept in a directory.
fn files(folder: &Path) -> Vec<PathBuf> {
    let inside =
        |folder: PathBuf| std::fs::read_dir(folder).into_iter().flatten().map(|entry| entry.unwrap().path());
    let mut files: Vec<_> = inside(folder.to_owned()).flat_map(inside).flat_map(inside).collect();
    files.sort();
    files
}

/// The same rendition at an edge that was started later: its URLs hold all that there is to know.
pub(crate) fn media_at(edge: &Edge, media: &Media) -> Media {
    let mut media = media.clone();
    let url: url::Url = edge.base.parse().unwrap();
    media.fetched.url.set_port(url.port()).unwrap();
    media
}

/// Kills the edge, as a power cut would, and starts another one with the same settings.
async fn restart(world: World, settings: &WorldBuilder) -> World {
    let World { origin, edge } = world;
    drop(edge);
    let edge = settings.clone().start_before(origin.base().unwrap().as_str()).await.unwrap();
    World { origin, edge }
}

#[tokio::test]
async fn a_restart_serves_what_was_made() {
    for clip in [clips::vod_ts().await.unwrap(), clips::vod_fmp4().await.unwrap()] {
        let (_folder, settings) = disk();
        let world = serve(&clip, settings.clone()).await;
        let (player, _, media) = open_enhanced(&world).await;
        let first = play(&player, &media).await;
        let _whole = player.segment(&media, 0).await.unwrap();
        let objects = first.len() + usize::from(media.playlist.segments[0].map.is_some());
        until(&world.edge, WRITES, &[("outcome", "stored")], objects as f64).await;
        let fetched =
            |origin: &Origin| origin.seen().iter().filter(|seen| seen.path.contains("180p/0")).count();

        let World { origin, edge } = world;
        drop(edge);
        let (before, started) = (fetched(&origin), Instant::now());
        let edge =
            settings.clone().without_waiting().start_before(origin.base().unwrap().as_str()).await.unwrap();
        let media = media_at(&edge, &media);
        let url = segment_url(&media, 0);
        let answer = loop {
            match player.get(&url).await {
                Ok(answer) if answer.status.is_success() => break answer,
                _ => assert!(started.elapsed() < Duration::from_secs(20), "{}", edge.events()),
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        };
        let warm = started.elapsed();
        let ready = format!("{}/readyz", edge.admin);
        while !player.get(&ready).await.is_ok_and(|answer| answer.status.is_success()) {
            assert!(started.elapsed() < Duration::from_secs(60), "{}", edge.events());
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
        let found = edge.metrics().await.unwrap();
        eprintln!(
            "found in {:.1} ms,",
            found.sum("acuity_depot_read_seconds_sum", &[]) * 1000.0
                / found.sum("acuity_depot_read_seconds_count", &[])
        );
        eprintln!(
            "first stored segment {:.0} ms after the start, models ready after {:.0} ms",
            warm.as_secs_f64() * 1000.0,
            started.elapsed().as_secs_f64() * 1000.0
        );
        assert!(warm < Duration::from_secs(5), "warm after {warm:?}");
        assert_eq!(answer.body, first[0]);
        assert!(
            answer.header("cache-status").starts_with("acuity; hit"),
            "{}",
            answer.header("cache-status")
        );
        assert_eq!(play(&player, &media).await, first);
        let _whole = player.segment(&media, 0).await.unwrap();
        let metrics = until(&edge, "acuity_requests_total", &[("outcome", "stored")], objects as f64).await;
        assert_eq!(made(&metrics), 0.0, "nothing is made again\n{}", metrics.text());
        assert_eq!(metrics.sum("acuity_enhancer_frames_total", &[]), 0.0);
        assert_eq!(metrics.sum("acuity_requests_total", &[("outcome", "stored")]), objects as f64);
        assert_eq!(fetched(&origin), before, "and nothing is fetched");
    }
}

/// Has an edge forget, by command.
pub(crate) fn purge(edge: &Edge, arguments: &[&str]) {
    let admin = edge.admin.trim_start_matches("http://");
    let output =
        Command::new(binary().unwrap()).arg("purge").args(arguments).args(["--admin", admin]).output();
    let output = output.unwrap();
    let told = String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned();
    assert!(output.status.success() && told.contains("\"outlasts_restart\": true"), "{told}");
}

#[tokio::test]
async fn what_is_purged_is_made_anew_after_a_restart_and_nothing_else() {
    let (folder, settings) = disk();
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let first = play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    purge(&world.edge, &["--url", "/vod/180p/001.ts"]);
    assert_eq!(files(folder.path()).len(), 3, "a purge looks at no object");

    let world = restart(world, &settings).await;
    let there = media_at(&world.edge, &media);
    assert_eq!(play(&player, &there).await.len(), first.len());
    let metrics = until(&world.edge, WRITES, &[("outcome", "stored")], 1.0).await;
    let found = ["hit", "purged", "miss"].map(|outcome| reads(&metrics, outcome));
    assert_eq!((found, made(&metrics)), ([2.0, 1.0, 0.0], 1.0), "{}", metrics.text());

    let world = restart(world, &settings).await;
    play(&player, &media_at(&world.edge, &media)).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!((reads(&metrics, "hit"), made(&metrics)), (3.0, 0.0), "what was made anew is good");
    purge(&world.edge, &["--prefix", "/vod/180p/"]);

    let world = restart(world, &settings).await;
    play(&player, &media_at(&world.edge, &media)).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!((reads(&metrics, "purged"), made(&metrics)), (3.0, 3.0), "{}", metrics.text());
}

#[tokio::test]
async fn what_is_damaged_is_dropped_counted_and_made_anew() {
    let (folder, settings) = disk();
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let first = play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    let kept = files(folder.path());
    assert_eq!(kept.len(), 3, "{kept:?}");
    let whole = std::fs::metadata(&kept[0]).unwrap().len();
    std::fs::File::options().write(true).open(&kept[0]).unwrap().set_len(whole - 1000).unwrap();
    let mut bytes = std::fs::read(&kept[1]).unwrap();
    let middle = bytes.len() / 2;
    bytes[middle] ^= 0x40;
    std::fs::write(&kept[1], bytes).unwrap();

    let world = restart(world, &settings).await;
    let media = media_at(&world.edge, &media);
    assert_eq!(play(&player, &media).await.len(), first.len());
    for index in 0..3 {
        // Each can be decoded from its first picture to its last.
        let segment = player.segment(&media, index).await.unwrap();
        let probe = acuity_tests::packets::Probe::of(segment.init.as_deref(), &segment.clear).await.unwrap();
        assert_eq!(probe.parameter_sets().len(), 2, "segment {index}");
    }
    let metrics = until(&world.edge, WRITES, &[("outcome", "stored")], 2.0).await;
    let found = ["hit", "truncated", "damaged"].map(|outcome| reads(&metrics, outcome));
    assert_eq!((found, made(&metrics)), ([1.0; 3], 2.0), "{}", metrics.text());

    let world = restart(world, &settings).await;
    play(&player, &media_at(&world.edge, &media)).await;
    assert_eq!(made(&world.edge.metrics().await.unwrap()), 0.0, "what was made anew is whole");
}

/// A process that is killed while it writes down a purge, on a disk that keeps half of it.
#[tokio::test]
async fn a_purge_that_is_half_written_means_everything_until_then() {
    let (folder, settings) = disk();
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let first = play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    let purge = format!("{}/purge?prefix=/vod/180p/", world.edge.admin);
    let told = player.request(reqwest::Method::POST, &purge, &[]).await.unwrap();
    assert!(
        told.text().contains("\"outlasts_restart\": true")
            || told.text().contains("\"outlasts_restart\":true"),
        "{}",
        told.text()
    );
    world.edge.signal("KILL").unwrap();
    let purges = folder.path().join("v1-purges");
    let records =
        || std::fs::read_dir(&purges).unwrap().map(|entry| entry.unwrap().path()).collect::<Vec<_>>();
    let [record] = &records()[..] else { panic!("{:?}", records()) };
    let whole = std::fs::read(record).unwrap();
    std::fs::write(record, &whole[..whole.len() / 2]).unwrap();
    // What a write leaves that did not come to its end: nobody's record.
    std::fs::write(record.with_file_name(format!("{}#1", record.file_name().unwrap().display())), b"{")
        .unwrap();

    let world = restart(world, &settings).await;
    let media = media_at(&world.edge, &media);
    assert_eq!(play(&player, &media).await.len(), first.len(), "viewers notice nothing");
    let metrics = until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    assert_eq!((reads(&metrics, "purged"), made(&metrics)), (3.0, 3.0), "{}", metrics.text());
    assert!(world.edge.events().contains("a purge that cannot be read"), "{}", world.edge.events());

    // What was made since is kept, also by the next one, which still remembers.
    let world = restart(world, &settings).await;
    play(&player, &media_at(&world.edge, &media)).await;
    let metrics = until(&world.edge, READS, &[("outcome", "hit")], 3.0).await;
    assert_eq!(made(&metrics), 0.0, "{}", metrics.text());
}

#[tokio::test]
async fn only_what_is_whole_and_as_promised_is_kept() {
    let (folder, settings) = disk();
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    // What never came to its end.
    world.origin.fault("/vod/180p/001.ts", Fault::CutConnection { after_bytes: 5000 });
    assert_eq!(player.get(&segment_url(&media, 1)).await.unwrap().status, 502);
    world.origin.heal("/vod/180p/001.ts");
    tokio::time::sleep(Duration::from_millis(200)).await;
    // The source's own bytes, where it cannot be read.
    world.origin.put("/vod/180p/001.ts", vec![0; 50_000]);
    assert_eq!(player.get_ok(&segment_url(&media, 1), &[]).await.unwrap().body, vec![0; 50_000]);
    // What the origin forbids to keep.
    world.origin.header("/vod/180p/002.ts", "cache-control", "private, no-store");
    player.get_ok(&segment_url(&media, 2), &[]).await.unwrap();
    // And one that is kept, so that there is something to wait for.
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    let metrics = until(&world.edge, WRITES, &[("outcome", "stored")], 1.0).await;
    assert_eq!(metrics.sum(WRITES, &[]), 1.0, "{}", metrics.text());
    assert_eq!(files(folder.path()).len(), 1);
}

#[tokio::test]
async fn a_source_that_changed_meanwhile_replaces_what_was_kept() {
    let clip = clips::vod_ts().await.unwrap();
    let (folder, settings) = disk();
    let world = serve_folder(clip.folder(), settings.clone()).await;
    for name in ["000.ts", "001.ts"] {
        // Ten seconds, the least that anything is believed.
        world.origin.header(&format!("/vod/180p/{name}"), "cache-control", "max-age=0");
    }
    let (player, _, media) = open_enhanced(&world).await;
    let first = play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    world.origin.put("/vod/180p/001.ts", clip.read("180p/002.ts").unwrap());
    tokio::time::sleep(Duration::from_secs(10)).await;

    let world = restart(world, &settings).await;
    let media = media_at(&world.edge, &media);
    let second = play(&player, &media).await;
    assert_eq!((&second[0], &second[2]), (&first[0], &first[2]));
    assert_ne!(second[1], first[1]);
    until(&world.edge, WRITES, &[("outcome", "stored")], 1.0).await;
    // A request is counted when it is over, a moment after the player has all of it.
    let metrics = until(&world.edge, "acuity_requests_total", &[("kind", "segment")], 3.0).await;
    let requests = |outcome| metrics.sum("acuity_requests_total", &[("outcome", outcome)]);
    assert_eq!(
        (requests("revalidated"), requests("made"), requests("stored")),
        (1.0, 1.0, 1.0),
        "{}",
        metrics.text()
    );
    assert_eq!(files(folder.path()).len(), 3);
    let world = restart(world, &settings).await;
    assert_eq!(play(&player, &media_at(&world.edge, &media)).await, second);
    assert_eq!(made(&world.edge.metrics().await.unwrap()), 0.0);
}

#[tokio::test]
async fn a_node_that_encodes_otherwise_does_not_mix_with_what_was_kept() {
    let (_folder, settings) = disk();
    let world = serve(&clips::vod_fmp4().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.segment(&media, 0).await.unwrap();
    until(&world.edge, WRITES, &[("outcome", "stored")], 2.0).await;
    let world = restart(world, &settings.set("enhancer.preset", "\"medium\"")).await;
    let media = media_at(&world.edge, &media);
    player.segment(&media, 0).await.unwrap();
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!((reads(&metrics, "hit"), reads(&metrics, "miss"), made(&metrics)), (0.0, 2.0, 1.0));
}

#[test]
fn check_tells_what_is_wrong_with_a_directory() {
    let folder = tempfile::tempdir().unwrap();
    let config = folder.path().join("acuity.toml");
    let told = |cache: &str| {
        let route = "[[route]]\norigin = \"http://origin.example\"\nenhance = \"none\"\n";
        std::fs::write(&config, format!("{route}{cache}")).unwrap();
        let output =
            Command::new(binary().unwrap()).args(["check", "--config"]).arg(&config).output().unwrap();
        (output.status.code(), String::from_utf8_lossy(&output.stderr).into_owned())
    };
    let path = folder.path().display();
    assert_eq!(
        told(&format!("[cache.disk]\npath = \"{path}\"\nmax_bytes = \"1MiB\"\n")),
        (Some(0), String::new())
    );
    for (cache, expected) in [
        (format!("[cache.disk]\npath = \"{path}/none\"\n"), "No such file"),
        ("[cache.disk]\npath = \"/proc\"\n".to_owned(), "cannot be written to"),
        (format!("[cache.disk]\npath = \"{path}\"\nmax_bytes = \"1024TiB\"\n"), "altogether"),
        (
            "[cache.store]\nbucket = \"abc\"\naccess_key_file = \"/none\"\nsecret_key_file = \"/none\"\n"
                .to_owned(),
            "the store's key in /none cannot be read",
        ),
        (
            format!(
                "[cache.disk]\npath = \"{path}\"\n[cache.store]\nbucket = \"abc\"\naccess_key_file = \"a\"\nsecret_key_file = \"s\"\n"
            ),
            "cannot stand beside [cache.disk]",
        ),
    ] {
        let (code, told) = told(&cache);
        assert!(code == Some(1) && told.contains(expected), "{cache}: {told}");
    }
}
