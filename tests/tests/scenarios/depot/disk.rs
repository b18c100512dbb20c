//! A disk that is full, limited, away or hangs: what that costs viewers.

use std::process::Command;
use std::time::{Duration, Instant};

use acuity_tests::clips;

use super::{WRITES, disk, files, made, media_at, on_disk, play, reads, restart, until};
use crate::kit::{open_enhanced, serve};

#[tokio::test]
async fn a_full_disk_costs_nobody_anything() {
    let words =
        ["unshare", "-rm", "sh", "-c", "mount -t tmpfs -o size=64k,mode=700 none \"$0\" && exec \"$@\""];
    let may = Command::new(words[0]).args(["-rm", "mount", "-t", "tmpfs", "none", "/mnt"]).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("not run: this machine lets nobody mount a file system of his own");
        return;
    }
    let (folder, settings) = disk();
    let path = folder.path().to_string_lossy().into_owned();
    let settings = settings.through(&[&words[..], &[&path]].concat());
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    assert!(play(&player, &media).await.iter().all(|body| body.len() > 64 << 10), "none of them fits");
    until(&world.edge, WRITES, &[("outcome", "full")], 3.0).await;
    // Shown a moment after what it is for is counted.
    let metrics = until(&world.edge, "acuity_depot_paused", &[("what", "writes")], 1.0).await;
    assert_eq!(metrics.sum(WRITES, &[("outcome", "stored")]), 0.0);
    assert_eq!(metrics.sum("acuity_depot_objects", &[]), 0.0);
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    assert!(world.edge.events().contains("segments are not written"), "{}", world.edge.events());
}

/// Whose signal (`SIGXFSZ`) ends processes that do not mind it.
#[tokio::test]
async fn a_limit_on_files_costs_nobody_anything() {
    let (folder, settings) = disk();
    let settings = settings.through(&["sh", "-c", "ulimit -f 128; exec \"$@\"", "sh"]);
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    play(&player, &media).await;
    let metrics = until(&world.edge, WRITES, &[("outcome", "full")], 3.0).await;
    assert_eq!(metrics.sum(WRITES, &[("outcome", "stored")]), 0.0);
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    assert!(files(folder.path()).is_empty(), "nothing half written is left: {:?}", files(folder.path()));
}

#[tokio::test]
async fn a_directory_that_goes_and_comes_back() {
    let (folder, _) = disk();
    let path = folder.path().join("depot");
    std::fs::create_dir(&path).unwrap();
    // Nothing stays in memory, so that each request looks on the disk.
    let settings = on_disk(&path).set("cache.budget_bytes", 0);
    let world = serve(&clips::vod_ts().await.unwrap(), settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    play(&player, &media).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!((reads(&metrics, "hit"), made(&metrics)), (3.0, 3.0), "{}", metrics.text());

    // Not writable, not readable, for root either.
    std::fs::rename(&path, folder.path().join("away")).unwrap();
    std::fs::write(&path, "").unwrap();
    play(&player, &media).await;
    play(&player, &media).await;
    let metrics = until(&world.edge, WRITES, &[("outcome", "failed")], 3.0).await;
    assert!(reads(&metrics, "failed") >= 3.0 && reads(&metrics, "paused") >= 1.0, "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);

    std::fs::remove_file(&path).unwrap();
    std::fs::rename(folder.path().join("away"), &path).unwrap();
    let start = Instant::now();
    while reads(&world.edge.metrics().await.unwrap(), "hit") < 6.0 {
        assert!(start.elapsed() < Duration::from_secs(30), "{}", world.edge.events());
        play(&player, &media).await;
    }
    assert!(world.edge.events().contains("segments are read from disk or store again"));
}

#[tokio::test]
async fn a_disk_that_hangs_costs_its_time_limit_a_few_times() {
    let (folder, settings) = disk();
    let settings = settings.set("cache.disk.read_timeout", "\"100ms\"");
    let world = serve(&clips::vod_ts().await.unwrap(), settings.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    play(&player, &media).await;
    until(&world.edge, WRITES, &[("outcome", "stored")], 3.0).await;
    for file in files(folder.path()) {
        std::fs::remove_file(&file).unwrap();
        // Whoever opens it waits for somebody who writes, for ever.
        assert!(Command::new("mkfifo").arg(&file).status().unwrap().success());
    }
    let world = restart(world, &settings).await;
    let media = media_at(&world.edge, &media);
    play(&player, &media).await;
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!((reads(&metrics, "timed_out"), made(&metrics)), (3.0, 3.0), "{}", metrics.text());
    assert_eq!(metrics.sum("acuity_depot_paused", &[("what", "reads")]), 1.0);
}
