//! Workers on other machines: as good as the edge's own, nobody's loss when one is, and nobody's but those who show the right certificate.

mod grpc;
mod strangers;

use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::packets::{Probe, differences};
use acuity_tests::pool::{Pool, RemoteWorker};
use acuity_tests::processes::{Hurt, hurt, status_line};
use acuity_tests::world::World;

use crate::kit::{compare_all, one_rendition, open_enhanced, open_source, segment_url, serve};
use crate::workers::{is_made, load, until};

/// An edge with workers on other machines alone, all of which take segments.
pub(crate) async fn with_workers(pool: &Pool, workers: &[&RemoteWorker], more: &[(&str, &str)]) -> World {
    let clip = clips::vod_ts().await.unwrap();
    let world =
        more.iter().fold(pool.edge(one_rendition(), workers), |world, (key, value)| world.set(key, value));
    let world = serve(&clip, world).await;
    actives(&world, workers.len()).await;
    world
}

async fn actives(world: &World, count: usize) {
    until(world, &format!("{count} workers take segments"), |metrics| {
        metrics.sum("acuity_remote_workers", &[("state", "active")]) == count as f64
    })
    .await;
}

#[tokio::test]
async fn what_other_machines_make_is_what_the_edge_makes() {
    let pool = Pool::new().unwrap();
    let workers =
        [pool.start("workers.sandbox = \"required\"").await.unwrap(), pool.start("").await.unwrap()];
    // It is fenced in, its port is open, and it does its work.
    let line = |name: &str| status_line(workers[0].id(), name).unwrap();
    assert_eq!((line("NoNewPrivs").as_str(), line("Seccomp").as_str()), ("1", "2"));
    assert!(!line("Uid").split_whitespace().any(|user| user == "0"), "{}", line("Uid"));
    for clip in [clips::vod_ts().await.unwrap(), clips::vod_fmp4().await.unwrap()] {
        let world = serve(&clip, pool.edge(one_rendition(), &[&workers[0], &workers[1]])).await;
        actives(&world, 2).await;
        let (player, _, media) = open_enhanced(&world).await;
        let source = open_source(&world, &player, "180p").await;
        let segments = compare_all(&player, &source, &media).await;
        assert!(segments.iter().all(|made| is_made(&made.fetched)));
        let metrics = world.edge.metrics().await.unwrap();
        assert_eq!(metrics.sum("acuity_fallbacks_total", &[]), 0.0, "{}", metrics.text());
        // What they count is theirs: another edge would count it again.
        assert_eq!(metrics.sum("acuity_enhancer_segments_total", &[]), 0.0);
        assert_eq!(metrics.sum("acuity_workers", &[]), 0.0);
    }
    for worker in &workers {
        let metrics = worker.metrics().await.unwrap();
        let made = metrics.sum("acuity_worker_calls_total", &[("outcome", "made")]);
        assert!(made > 0.0, "each gets its share\n{}", metrics.text());
        assert_eq!(metrics.sum("acuity_enhancer_segments_total", &[("made_by", "model")]), made);
        assert!(metrics.sum("acuity_worker_resident_bytes", &[]) > 0.0);
    }
}

/// Something is done to one of two workers while two players ask for segments, and it is back after it.
async fn nobody_loses(what: impl AsyncFnOnce(&mut RemoteWorker)) -> (Pool, World, Vec<RemoteWorker>) {
    let pool = Pool::new().unwrap();
    let mut workers = vec![pool.start("").await.unwrap(), pool.start("").await.unwrap()];
    let world = with_workers(&pool, &[&workers[0], &workers[1]], &[("cache.budget_bytes", "0")]).await;
    let (player, _, media) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;
    let end = Instant::now() + Duration::from_secs(12);
    let loads = futures::future::join_all(
        (0..2).map(|first| load(&world.edge, &player, (&media, &source), first, end)),
    );
    let hurting = async {
        tokio::time::sleep(Duration::from_secs(3)).await;
        what(&mut workers[0]).await;
    };
    let (served, ()) = tokio::join!(loads, hurting);
    actives(&world, 2).await;
    let (all, enhanced) = served.iter().fold((0, 0), |(all, made), one| (all + one.0, made + one.1));
    let metrics = world.edge.metrics().await.unwrap();
    eprintln!("{all} segments served, {enhanced} of them enhanced");
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    // Who asked just before a worker fell silent has waited for a second, and may have no time left.
    assert!(all >= 4 && enhanced + 2 >= all, "{enhanced} of {all}\n{}", world.edge.events());
    (pool, world, workers)
}

#[tokio::test]
async fn one_that_is_killed_is_nobodys_loss() {
    let (_pool, world, _workers) = nobody_loses(async |worker| {
        hurt(worker.id(), Hurt::Kill).unwrap();
        worker.start_again().unwrap();
    })
    .await;
    let metrics = world.edge.metrics().await.unwrap();
    let ended = metrics.sum("acuity_remote_worker_troubles_total", &[("reason", "ended")]);
    assert!(ended >= 1.0, "{}", metrics.text());
    // It is told from one that was merely out of reach.
    assert_eq!(metrics.sum("acuity_remote_worker_troubles_total", &[("reason", "restarted")]), 1.0);
}

#[tokio::test]
async fn one_that_stands_still_is_nobodys_loss() {
    let (_pool, world, _workers) = nobody_loses(async |worker| {
        hurt(worker.id(), Hurt::Stop).unwrap();
        tokio::time::sleep(Duration::from_secs(4)).await;
        worker.signal("CONT").unwrap();
    })
    .await;
    let metrics = world.edge.metrics().await.unwrap();
    assert!(metrics.sum("acuity_remote_worker_troubles_total", &[("reason", "silent")]) >= 1.0);
    assert_eq!(metrics.sum("acuity_remote_worker_troubles_total", &[("reason", "restarted")]), 0.0);
}

#[tokio::test]
async fn one_that_is_drained_makes_what_it_has() {
    let (_pool, world, _workers) = nobody_loses(async |worker| {
        worker.signal("TERM").unwrap();
        let status = worker.until_exit(Duration::from_secs(30)).await.unwrap();
        assert!(status.success(), "{status}\n{}", worker.events());
        assert!(worker.events().contains("has drained"), "{}", worker.events());
        assert!(!worker.events().contains("time is over"), "{}", worker.events());
        worker.start_again().unwrap();
    })
    .await;
    // Nothing had to be made twice, and nothing was cut off.
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_worker_again_total", &[]), 0.0, "{}", world.edge.events());
}

#[tokio::test]
async fn without_any_the_source_is_served_and_then_no_more() {
    let pool = Pool::new().unwrap();
    let mut workers = [pool.start("").await.unwrap(), pool.start("").await.unwrap()];
    let more = [("enhancer.deadline.longest", "\"1s\""), ("cache.budget_bytes", "0")];
    let world = with_workers(&pool, &[&workers[0], &workers[1]], &more).await;
    let (player, _, media) = open_enhanced(&world).await;
    let source = open_source(&world, &player, "180p").await;
    for worker in &mut workers {
        hurt(worker.id(), Hurt::Kill).unwrap();
    }
    let own = player.segment(&source, 0).await.unwrap();
    let asked = Instant::now();
    let fetched = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(fetched.body == own.clear, "{:?}", fetched.headers);
    assert!(asked.elapsed() < Duration::from_secs(8), "{:?}", asked.elapsed());
    let ready = player.get(&format!("{}/readyz", world.edge.admin)).await.unwrap();
    assert!(ready.status.is_success(), "an edge that serves is ready");
    workers[1].start_again().unwrap();
    actives(&world, 1).await;
    let next = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert!(is_made(&next), "{:?}", next.headers);
    let from = player.segment(&source, 1).await.unwrap();
    let (from, made) =
        (Probe::of(None, &from.clear).await.unwrap(), Probe::of(None, &next.body).await.unwrap());
    let found = differences(&from, &made, 2);
    assert!(found.is_empty(), "{found:#?}");
}

/// A pool that is down keeps no edge from starting: what can be served without is.
#[tokio::test]
async fn an_edge_starts_without_its_pool() {
    let pool = Pool::new().unwrap();
    let mut worker = pool.start("").await.unwrap();
    hurt(worker.id(), Hurt::Kill).unwrap();
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, pool.edge(one_rendition(), &[&worker])).await;
    let player = acuity_tests::player::Player::new().unwrap();
    player.get_ok(&world.edge.url("/vod/180p/000.ts"), &[]).await.unwrap();
    worker.start_again().unwrap();
    actives(&world, 1).await;
    let (player, _, media) = open_enhanced(&world).await;
    let made = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(is_made(&made), "{:?}", made.headers);
}

#[tokio::test]
async fn beside_own_workers_they_take_what_is_too_much() {
    let pool = Pool::new().unwrap();
    let worker = pool.start("").await.unwrap();
    let clip = clips::vod_ts().await.unwrap();
    let settings = pool
        .edge(one_rendition(), &[&worker])
        .set("workers.count", 1)
        .set("workers.spare", 0)
        .set("enhancer.lanes", 1)
        .set("cache.budget_bytes", 0);
    let world = serve(&clip, settings).await;
    actives(&world, 1).await;
    let (player, _, media) = open_enhanced(&world).await;
    until(&world, "the own worker is there too", |metrics| {
        metrics.sum("acuity_workers", &[("state", "active")]) == 1.0
    })
    .await;
    let urls: Vec<String> = (0..3).map(|index| segment_url(&media, index).to_string()).collect();
    let all = futures::future::join_all(urls.iter().map(|url| player.get_ok(url, &[]))).await;
    assert!(all.iter().all(|made| is_made(made.as_ref().unwrap())));
    let theirs = worker.metrics().await.unwrap().sum("acuity_worker_calls_total", &[("outcome", "made")]);
    let own = world.edge.metrics().await.unwrap().sum("acuity_enhancer_segments_total", &[]);
    assert!(theirs >= 1.0 && own >= 1.0, "{theirs} {own}");
}
