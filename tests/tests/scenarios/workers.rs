//! Segments made in worker processes: as good as in the edge's own, and nobody's loss when a worker is.

mod watched;

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use acuity_tests::clips::{self, Clip, Packaging};
use acuity_tests::metrics::Metrics;
use acuity_tests::mutations::{Dice, mutated};
use acuity_tests::packets::{Probe, differences};
use acuity_tests::player::{Fetched, Media, Player};
use acuity_tests::processes::{Hurt, hurt, lives, status_line, workers};
use acuity_tests::world::{Edge, World, WorldBuilder};

use crate::kit::{compare_all, one_rendition, open_enhanced, open_source, segment_url, serve};
use crate::reload::{post, rewrite};
use crate::upgrade::successor;

/// How long a lost worker may go unnoticed and its place empty, on a machine that has other things to do.
const SOON: Duration = Duration::from_secs(60);

fn supervised() -> WorldBuilder {
    one_rendition().set("workers.count", 1)
}

/// A clip behind an edge of which a spare worker is ready too.
async fn with_spare(clip: &Clip, world: WorldBuilder) -> World {
    let world = serve(clip, world).await;
    until(&world, "two workers are ready", |metrics| {
        metrics.sum("acuity_worker_start_seconds_count", &[]) >= 2.0
    })
    .await;
    // What runs networks is found out once: two might find different things, and then make different pictures.
    let events = world.edge.events();
    let told = events.lines().filter(|line| line.contains("networks can run so"));
    let seekers: BTreeSet<_> = told.filter_map(|line| line.split(' ').next()).collect();
    assert!(seekers.len() <= 1, "{events}");
    world
}

pub(crate) async fn until(world: &World, what: &str, holds: impl Fn(&Metrics) -> bool) -> Metrics {
    let start = Instant::now();
    loop {
        let metrics = world.edge.metrics().await.unwrap();
        if holds(&metrics) {
            return metrics;
        }
        assert!(
            start.elapsed() < SOON,
            "not in {SOON:?}: {what}\n{}\n{}",
            world.edge.events(),
            metrics.text()
        );
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

/// Whether a worker made it, by whatever way there was time for: it is not the source.
pub(crate) fn is_made(fetched: &Fetched) -> bool {
    let status = fetched.header("cache-status");
    status.contains("generic-x2") || status.contains("plain")
}

fn exits(metrics: &Metrics, reason: &str) -> f64 {
    metrics.sum("acuity_worker_exits_total", &[("reason", reason)])
}

#[tokio::test]
async fn what_workers_make_is_what_the_edge_makes() {
    // No network that is slower than the film is used, and the machine may be busy.
    for packaging in [Packaging::Ts, Packaging::Fmp4] {
        let clip = clips::small(packaging, 25).await.unwrap();
        let settings = supervised().set("workers.spare", 0).route("max_source_lines", 100);
        let world = serve(&clip, settings).await;
        let (player, _, media) = open_enhanced(&world).await;
        let source = open_source(&world, &player, "90p").await;
        let segments = compare_all(&player, &source, &media).await;
        assert!(segments.iter().all(|made| is_made(&made.fetched)));
        // What they count is in the edge's metrics, and networks are handed out by their digest.
        let metrics = world.edge.metrics().await.unwrap();
        let made = metrics.sum("acuity_enhancer_segments_total", &[]);
        assert!(made >= segments.len() as f64, "{made}\n{}", metrics.text());
        let by_network = metrics.sum("acuity_enhancer_segments_total", &[("made_by", "model")]);
        assert!(by_network >= 1.0, "{}", metrics.text());
        assert_eq!(metrics.sum("acuity_enhancer_ready", &[]), 1.0);
        // A busy machine may have no time for networks; all else there is no reason for.
        let late = metrics.sum("acuity_fallbacks_total", &[("reason", "deadline_short")]);
        assert_eq!(metrics.sum("acuity_fallbacks_total", &[]), late, "{}", metrics.text());
    }
}

#[tokio::test]
async fn a_worker_may_do_nothing_but_its_work() {
    let clip = clips::vod_ts().await.unwrap();
    let world =
        serve(&clip, supervised().set("workers.spare", 0).set("workers.sandbox", "\"required\"")).await;
    let id = workers(world.edge.process_id())[0];
    let line = |name: &str| status_line(id, name).unwrap();
    assert_eq!((line("NoNewPrivs").as_str(), line("Seccomp").as_str()), ("1", "2"));
    for set in ["CapEff", "CapPrm", "CapInh", "CapAmb"] {
        assert_eq!(line(set).trim_matches('0'), "", "{set}");
    }
    assert!(!line("Uid").split_whitespace().any(|user| user == "0"), "{}", line("Uid"));
    // Nothing of the edge's is open there: its sockets, its log of requests, its files.
    let environment = std::fs::read(format!("/proc/{id}/environ")).unwrap();
    assert!(!environment.windows(5).any(|name| name == b"HOME="), "the edge's environment is not a worker's");
    let limits = std::fs::read_to_string(format!("/proc/{id}/limits")).unwrap();
    let core = limits.lines().find(|line| line.starts_with("Max core file size")).unwrap();
    assert!(core.split_whitespace().nth(4) == Some("0"), "{core}");
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 0), &[]).await.expect("and it does that");
}

#[tokio::test]
async fn a_killed_worker_is_nobodys_loss() {
    let clip = clips::vod_ts().await.unwrap();
    let world = with_spare(&clip, supervised()).await;
    let (player, _, media) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;
    for (index, how) in [(0, Hurt::Kill), (1, Hurt::Crash), (2, Hurt::Stop)] {
        let active = workers(world.edge.process_id())[0];
        let url = segment_url(&media, index);
        let (asked, ()) = tokio::join!(player.get_ok(&url, &[]), async {
            tokio::time::sleep(Duration::from_millis(30)).await;
            hurt(active, how).unwrap();
        });
        let made = asked.unwrap_or_else(|error| panic!("{how:?}: {error}\n{}", world.edge.events()));
        let from = player.segment(&source, index).await.unwrap();
        let (from, made) =
            (Probe::of(None, &from.clear).await.unwrap(), Probe::of(None, &made.body).await.unwrap());
        let found = differences(&from, &made, 2);
        assert!(found.is_empty(), "{how:?}: {found:#?}\n{}", world.edge.events());
        let lost = index as f64 + 1.0;
        // The next one hurts a worker that is at work again.
        until(&world, "it was noticed and replaced", |metrics| {
            let ended = exits(metrics, "killed") + exits(metrics, "crash") + exits(metrics, "silent");
            ended >= lost && metrics.sum("acuity_worker_start_seconds_count", &[]) >= lost + 2.0
        })
        .await;
        assert!(!lives(active), "{how:?}");
    }
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(
        (exits(&metrics, "killed"), exits(&metrics, "crash"), exits(&metrics, "silent")),
        (1.0, 1.0, 1.0),
        "{}",
        metrics.text()
    );
    assert_eq!(metrics.sum("acuity_worker_recovery_seconds_count", &[]), 3.0);
}

#[tokio::test]
async fn without_any_worker_the_source_is_served() {
    let clip = clips::vod_ts().await.unwrap();
    let world =
        serve(&clip, supervised().set("workers.spare", 0).set("enhancer.deadline.longest", "\"1s\"")).await;
    let (player, _, media) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;
    let id = workers(world.edge.process_id())[0];
    hurt(id, Hurt::Stop).unwrap();
    let fetched = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    let own = player.segment(&source, 0).await.unwrap();
    // By then a new worker may be up, on a quick machine.
    let is_source = fetched.body == own.clear;
    let made = Probe::of(None, &fetched.body).await.unwrap();
    let from = Probe::of(None, &own.clear).await.unwrap();
    assert!(is_source || differences(&from, &made, 2).is_empty());
    let ready = player.get(&format!("{}/readyz", world.edge.admin)).await.unwrap();
    assert!(ready.status.is_success(), "an edge that serves is ready");
    until(&world, "a new worker makes segments", |metrics| {
        metrics.sum("acuity_workers", &[("state", "active")]) == 1.0
    })
    .await;
    let next = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert!(is_made(&next), "{:?}", next.headers);
}

#[tokio::test]
async fn workers_end_with_the_edge() {
    let clip = clips::vod_ts().await.unwrap();
    let mut world = serve(&clip, supervised()).await;
    let all = workers(world.edge.process_id());
    assert_eq!(all.len(), 2);
    hurt(world.edge.process_id(), Hurt::Kill).unwrap();
    world.edge.until_exit(Duration::from_secs(5)).await.unwrap();
    let start = Instant::now();
    while all.iter().any(|id| lives(*id)) {
        assert!(start.elapsed() < Duration::from_secs(10), "they outlive the edge");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test]
async fn a_reload_reaches_workers_and_names_what_waits() {
    let clip = clips::vod_ts().await.unwrap();
    let before = supervised().set("workers.spare", 0);
    let world = serve(&clip, before.clone()).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(!world.edge.events().contains("decided"), "nothing is said of single segments");
    rewrite(&world.edge, &before.set("workers.count", 2).set("log.level", "\"debug\""), &world.origin);
    let (status, told) = post(&world.edge, "/reload").await;
    assert_eq!((status, &told["restart_needed"]), (200, &serde_json::json!(["workers.count"])));
    // Who is there says more, and who comes later.
    for index in [1, 2] {
        let worker = format!("worker-{} ", index - 1);
        player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        until(&world, &format!("{worker}says what it does"), |_| {
            world.edge.events().lines().any(|line| line.starts_with(&worker) && line.contains("decided"))
        })
        .await;
        hurt(workers(world.edge.process_id())[0], Hurt::Kill).unwrap();
        until(&world, "it was replaced", |metrics| {
            metrics.sum("acuity_worker_start_seconds_count", &[]) >= index as f64 + 1.0
                && metrics.sum("acuity_workers", &[("state", "active")]) == 1.0
        })
        .await;
    }
    assert_eq!(workers(world.edge.process_id()).len(), 1, "their number is the one that it started with");
}

#[tokio::test]
async fn a_switch_and_a_purge_hold_for_what_workers_make() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, supervised().set("workers.spare", 0)).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 0);
    player.get_ok(&url, &[]).await.unwrap();
    assert_eq!(post(&world.edge, "/purge?prefix=/vod/").await.0, 200);
    assert_eq!(post(&world.edge, "/routes/*%2F/enhance?on=false").await.0, 200);
    let off = player.get_ok(&url, &[]).await.unwrap();
    assert!(off.body == clip.read("180p/000.ts").unwrap(), "{:?}", off.headers);
    assert_eq!(post(&world.edge, "/routes/*%2F/enhance?on=true").await.0, 200);
    assert_eq!(post(&world.edge, "/purge?prefix=/vod/").await.0, 200);
    let again = player.get_ok(&url, &[]).await.unwrap();
    assert!(again.header("cache-status").contains("generic-x2"), "{:?}", again.headers);
}

#[tokio::test]
async fn a_new_edge_has_workers_of_its_own() {
    let folder = tempfile::tempdir().unwrap();
    let clip = clips::vod_ts().await.unwrap();
    let settings = supervised()
        .set("workers.spare", 0)
        .set("server.upgrade_socket", format!("{:?}", folder.path().join("upgrade.sock")))
        .set("server.drain_seconds", 10);
    let mut world = serve(&clip, settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    let old = workers(world.edge.process_id())[0];
    let mut new = successor(&world);
    let started = Instant::now();
    // One request after the other, across the change: none fails, and none is the poorer for it.
    let mut requests = 0;
    while world.edge.until_exit(Duration::from_millis(1)).await.is_err() {
        assert!(started.elapsed() < SOON * 2, "it was not replaced: {}", world.edge.events());
        post(&world.edge, "/purge?prefix=/vod/").await;
        let made = player.get_ok(&segment_url(&media, requests % 3), &[]).await.unwrap();
        assert!(made.header("cache-status").contains("generic-x2"), "{:?}", made.headers);
        requests += 1;
    }
    assert!(requests > 0);
    assert!(!lives(old), "they end with their edge");
    let own = workers(new.id().unwrap());
    assert!(own.len() == 1 && own[0] != old, "{own:?}");
    let made = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(made.header("cache-status").contains("generic-x2"), "{:?}", made.headers);
    new.start_kill().unwrap();
    new.wait().await.unwrap();
}

/// The first row in short: a worker is killed or stopped every two seconds under load.
#[tokio::test]
async fn hurt_every_two_seconds_under_load() {
    let clip = clips::vod_ts().await.unwrap();
    // Nothing is kept for long, so that segments are made again and again.
    let world = with_spare(&clip, supervised().set("cache.budget_bytes", 0)).await;
    let (player, _, media) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;
    let until = Instant::now() + Duration::from_secs(20);
    let (mut hurts, loads) =
        (0, (0..2).map(|first| load(&world.edge, &player, (&media, &source), first, until)));
    let loads = futures::future::join_all(loads);
    let edge = world.edge.process_id();
    let hurting = async {
        while Instant::now() < until {
            tokio::time::sleep(Duration::from_secs(2)).await;
            let all = workers(edge);
            if let Some(id) = all.get(hurts % all.len().max(1)) {
                hurt(*id, [Hurt::Kill, Hurt::Stop, Hurt::Crash][hurts % 3]).unwrap();
                hurts += 1;
            }
        }
    };
    let (served, ()) = tokio::join!(loads, hurting);
    let (all, enhanced): (usize, usize) =
        served.into_iter().fold((0, 0), |(all, made), (more, enhanced)| (all + more, made + enhanced));
    let metrics = world.edge.metrics().await.unwrap();
    let server_errors = metrics.sum("acuity_responses_total", &[("status", "5xx")]);
    eprintln!("{hurts} times; {all} segments served, {enhanced} of them enhanced");
    assert_eq!(server_errors, 0.0);
    assert!(hurts >= 6 && all >= 2 && enhanced > 0, "{hurts} {all} {enhanced}\n{}", world.edge.events());
}

/// Asks for one segment after the other; each must be whole, and be either the source's or what its rendition promises. Gives how many
/// there were, and how many of these were enhanced.
pub(crate) async fn load(
    edge: &Edge,
    player: &Player,
    (media, source): (&Media, &Media),
    first: usize,
    until: Instant,
) -> (usize, usize) {
    let (mut served, mut enhanced) = (0, 0);
    let count = media.playlist.segments.len();
    while Instant::now() < until {
        let index = (first + served) % count;
        let made = player.segment(media, index).await;
        let made = made.unwrap_or_else(|error| panic!("segment {index}: {error:?}\n{}", edge.events()));
        let own = player.segment(source, index).await.unwrap();
        if made.clear != own.clear {
            let (from, to) =
                (Probe::of(None, &own.clear).await.unwrap(), Probe::of(None, &made.clear).await.unwrap());
            let found = differences(&from, &to, 2);
            assert!(found.is_empty(), "segment {index}: {found:#?}");
            enhanced += 1;
        }
        served += 1;
    }
    (served, enhanced)
}

/// The second row in short: damaged segments cost nobody an answer.
#[tokio::test]
async fn damaged_segments_are_answered_and_the_edge_stays() {
    let clip = clips::vod_ts().await.unwrap();
    let settings = supervised().set("cache.budget_bytes", 0).set("cache.source_budget_bytes", 0);
    let world = serve(&clip, settings).await;
    let (player, _, media) = open_enhanced(&world).await;
    let own = clip.read("180p/000.ts").unwrap();
    let other = clip.read("180p/001.ts").unwrap();
    for seed in 0..60 {
        world.origin.put("/vod/180p/000.ts", mutated(&own, &other, &mut Dice::new(seed)));
        let answer = player.get_ok(&segment_url(&media, 0), &[]).await;
        answer.unwrap_or_else(|error| panic!("seed {seed}: {error}\n{}", world.edge.events()));
    }
    world.origin.put("/vod/180p/000.ts", own.clone());
    // who comes at the very moment of an answer may still share it
    tokio::time::sleep(Duration::from_millis(150)).await;
    let whole = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(
        is_made(&whole),
        "{} {}\n{}",
        whole.header("cache-status"),
        whole.body == own,
        world.edge.events()
    );
}
