//! Three nodes of a region: what is made once for all of them, and what viewers see of nodes that are cut off, slow, or not what they say.

mod named;
mod strangers;

use std::time::{Duration, Instant};

use acuity_tests::clips::{self, Clip};
use acuity_tests::origin::Origin;
use acuity_tests::player::{Media, Player};
use acuity_tests::region::Region;
use acuity_tests::wire::Mode;
use acuity_tests::world::{Edge, WorldBuilder};
use futures::future::join_all;
use reqwest::Method;
use serde_json::Value;

use crate::depot::{made, media_at, patient};
use crate::kit::segment_url;

const ASKED: &str = "acuity_node_requests_total";

/// Nodes that wait long for each other and for a segment: these scenarios run beside each other on machines that are busy.
fn nodes() -> WorldBuilder {
    patient().set("nodes.answer_within", "\"5s\"").set("nodes.connect_within", "\"5s\"")
}

async fn region(clip: &Clip, told: &WorldBuilder) -> Region {
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    let region = Region::start(3, origin, told, |_, told| told).await.unwrap();
    region.until_up(&[2, 2, 2]).await.unwrap();
    region
}

/// The rendition's playlist at each node, as the first one gives it: URLs are the same everywhere.
async fn open(region: &Region) -> Vec<Media> {
    let (_, media) = region.enhanced(&Player::new().unwrap(), 0, "/vod/master.m3u8").await.unwrap();
    region.nodes.iter().map(|edge| media_at(edge, &media)).collect()
}

/// What each of `clients` at each of these nodes gets for a segment, all at the same time.
async fn crowd(medias: &[Media], index: usize, clients: usize) -> Vec<Vec<u8>> {
    let urls = medias.iter().flat_map(|media| vec![segment_url(media, index); clients]);
    let get = async |url: String| Player::new().unwrap().get_ok(&url, &[]).await.unwrap().body.to_vec();
    join_all(urls.map(get)).await
}

fn all_the_same(bodies: &[Vec<u8>]) {
    assert!(!bodies[0].is_empty());
    for (at, body) in bodies.iter().enumerate() {
        let differs = bodies[0].iter().zip(body).position(|(one, other)| one != other);
        let (one, other) = (bodies[0].len(), body.len());
        assert!(
            differs.is_none() && one == other,
            "{at}: {one} and {other} bytes, which differ at {differs:?}"
        );
    }
}

async fn made_in(region: &Region) -> f64 {
    region.metrics().await.unwrap().iter().map(made).sum()
}

async fn asked(region: &Region, outcome: &str) -> f64 {
    region.sum(ASKED, &[("outcome", outcome)]).await.unwrap()
}

async fn told(edge: &Edge, method: Method, path: &str) -> Value {
    let url = format!("{}{path}", edge.admin);
    let answer = Player::new().unwrap().request(method, &url, &[]).await.unwrap();
    assert!(answer.status.is_success(), "{path}: {} {}", answer.status, answer.text());
    serde_json::from_slice(&answer.body).unwrap()
}

/// Which node makes a segment: the one whose count goes up.
async fn owner_of(region: &Region, before: &[f64]) -> usize {
    let after = made_each(region).await;
    after.iter().zip(before).position(|(after, before)| after > before).expect("one of them made it")
}

async fn made_each(region: &Region) -> Vec<f64> {
    region.metrics().await.unwrap().iter().map(made).collect()
}

#[tokio::test]
async fn each_segment_is_made_once_for_all_nodes() {
    for clip in
        [clips::vod_ts().await.unwrap(), clips::vod_fmp4().await.unwrap(), clips::aes128_ts().await.unwrap()]
    {
        let region = region(&clip, &nodes()).await;
        let medias = open(&region).await;
        let count = medias[0].playlist.segments.len();
        for index in 0..count {
            all_the_same(&crowd(&medias, index, 10).await);
        }
        assert_eq!(made_in(&region).await, count as f64, "{}", region.events());
        assert_eq!(
            asked(&region, "fetched").await,
            2.0 * count as f64,
            "each of two others had it from there, once"
        );
        // Whole segments, with their initialisation section and decrypted: the same everywhere.
        let player = Player::new().unwrap();
        let mut inits = Vec::new();
        for media in &medias {
            inits.push(player.segment(media, 0).await.unwrap().init);
        }
        assert!(inits.iter().all(|init| *init == inits[0]));
        // And a copy is a hit.
        let again = player.get_ok(&segment_url(&medias[1], 0), &[]).await.unwrap();
        assert!(again.header("cache-status").contains("acuity; hit"), "{}", again.header("cache-status"));
        let log: Vec<Value> = region.nodes.iter().flat_map(Edge::access_log).collect();
        let from_nodes = log.iter().filter(|line| line["outcome"] == "node").count();
        assert!(from_nodes >= 2 * count, "{from_nodes} of {}", log.len());
        for metrics in region.metrics().await.unwrap() {
            assert_eq!(metrics.sum("acuity_node_members", &[("state", "up")]), 2.0);
            assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
        }
    }
}

#[tokio::test]
async fn what_is_made_elsewhere_comes_as_it_is_made() {
    let clip = clips::vod_ts().await.unwrap();
    // Enlarged plainly: as quick as any machine is, so that it is sent while it is made.
    let region = region(&clip, &nodes().route("cluster", "\"plain\"")).await;
    let medias = open(&region).await;
    let mut flowed = 0;
    // Who owns what goes by chance, and on a busy machine the end may be there before anybody has looked at the begin.
    for turn in 0..30 {
        let (index, at) = (turn % 3, (turn + 1 + turn / 3) % 3);
        let player = Player::new().unwrap();
        let before = made_each(&region).await;
        let got = player.get_ok(&segment_url(&medias[at], index), &[]).await.unwrap();
        if owner_of(&region, &before).await != at {
            assert!(got.header("cache-status").starts_with("acuity-node, acuity;"), "{:?}", got.headers);
            flowed += usize::from(got.header("transfer-encoding") == "chunked");
            let kept = player.get_ok(&segment_url(&medias[at], index), &[]).await.unwrap();
            assert_eq!((&kept.body, kept.header("etag").is_empty()), (&got.body, false));
        }
        if index == 2 {
            if flowed > 0 {
                break;
            }
            told_to_forget(&region.nodes[0]).await;
        }
    }
    assert!(flowed > 0, "nothing came early\n{}", region.events());
}

#[tokio::test]
async fn an_owner_that_is_cut_off_costs_one_more_making_and_no_viewer() {
    let clip = clips::vod_ts().await.unwrap();
    for how in ["KILL", "STOP", "silent"] {
        let told = nodes()
            .set("nodes.answer_within", "\"3s\"")
            .set("nodes.share_of_deadline", 1.0)
            .set("nodes.down_for", "\"10s\"");
        let mut region = region(&clip, &told).await;
        let medias = open(&region).await;
        // The first tells who owns what: all that belongs to node 0 moves, nothing else does.
        let before = made_each(&region).await;
        all_the_same(&crowd(&medias, 0, 2).await);
        let gone = owner_of(&region, &before).await;
        let left: Vec<Media> = (0..3).filter(|at| *at != gone).map(|at| medias[at].clone()).collect();
        let mut stopped = None;
        match how {
            "KILL" => drop(region.nodes.remove(gone)),
            "STOP" => {
                region.nodes[gone].signal("STOP").unwrap();
                stopped = Some(region.nodes.remove(gone));
            }
            _ => region.wires[gone].set(Mode::Silent),
        }
        if how != "silent" {
            // Copies of what it owned are gone with a purge, so that it is made once more.
            told_to_forget(&region.nodes[0]).await;
            let before = made_in(&region).await;
            for index in 0..3 {
                all_the_same(&crowd(&left, index, 5).await);
            }
            assert_eq!(made_in(&region).await - before, 3.0, "{how}: each once\n{}", region.events());
        } else {
            // It lives, and nobody hears it: its own viewers are served by itself.
            for index in 0..3 {
                all_the_same(&crowd(&left, index, 5).await);
                all_the_same(&crowd(&medias[gone..=gone], index, 5).await);
            }
            let sum = made_in(&region).await;
            assert!((3.0..=6.0).contains(&sum), "{how}: at most once more, not {sum}\n{}", region.events());
        }
        for metrics in region.metrics().await.unwrap() {
            assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0, "{how}");
        }
        if let Some(edge) = stopped {
            edge.signal("CONT").unwrap();
        }
    }
}

/// All that this node and those it reaches have is cold again.
async fn told_to_forget(edge: &Edge) {
    let _ = told(edge, Method::POST, "/purge?all=true").await;
}

#[tokio::test]
async fn what_breaks_off_on_the_way_goes_on() {
    let clip = clips::vod_ts().await.unwrap();
    let told = nodes()
        .route("cluster", "\"plain\"")
        .set("nodes.down_for", "\"200ms\"")
        .set("nodes.check_every", "\"200ms\"");
    let region = region(&clip, &told).await;
    let medias = open(&region).await;
    let player = Player::new().unwrap();
    let mut broke = 0;
    for (round, mode) in [
        Mode::Cuts { after: 40_000 },
        Mode::Turns { from: 30_000, every: 10_000 },
        Mode::Cuts { after: 700 },
        Mode::Turns { from: 0, every: 100 },
        Mode::Refuses,
    ]
    .into_iter()
    .enumerate()
    {
        for index in 0..3 {
            region.wires.iter().for_each(|wire| wire.set(mode));
            for media in &medias {
                let got = player.get_ok(&segment_url(media, index), &[]).await.unwrap();
                let again = player.get_ok(&segment_url(media, index), &[]).await.unwrap();
                assert_eq!(got.body, again.body, "{round}: what is kept is what was sent");
                assert!(again.header("cache-status").contains("hit"));
                assert!(!again.header("cache-status").contains("source"), "{:?}", again.headers);
            }
        }
        region.wires.iter().for_each(|wire| wire.set(Mode::Passes));
        broke += asked(&region, "broken").await as usize;
        for at in 0..3 {
            told_to_forget(&region.nodes[at]).await;
        }
        region.until_up(&[2, 2, 2]).await.unwrap();
    }
    assert!(broke >= 4, "{broke} answers broke\n{}", region.events());
    // What the wires did is nowhere: every node gives what one that was never hurt gives.
    for index in 0..3 {
        all_the_same(&crowd(&medias, index, 2).await);
    }
}

#[tokio::test]
async fn an_owner_that_is_late_is_not_waited_for() {
    let clip = clips::vod_ts().await.unwrap();
    // A second for a viewer, half of it for the owner, which says nothing for much longer.
    let told = crate::kit::one_rendition()
        .set("enhancer.deadline.longest", "\"2s\"")
        .set("nodes.answer_within", "\"10s\"")
        .set("nodes.connect_within", "\"10s\"")
        .set("nodes.check_every", "\"1m\"")
        .set("nodes.share_of_deadline", 0.4);
    let region = region(&clip, &told).await;
    let medias = open(&region).await;
    let before = made_each(&region).await;
    crowd(&medias[..1], 0, 1).await;
    let owner = owner_of(&region, &before).await;
    // The first one has a copy by now, if it is not the owner.
    let other = if owner == 1 { 2 } else { 1 };
    region.wires.iter().for_each(|wire| wire.set(Mode::Silent));
    let player = Player::new().unwrap();
    let got = player.get_ok(&segment_url(&medias[other], 0), &[]).await.unwrap();
    assert!(got.seconds < 6.0, "{} s, of which 1.3 are others'", got.seconds);
    // The owner, and the next on the ring where that is not this node itself.
    let late = asked(&region, "late").await;
    assert!((1.0..=2.0).contains(&late), "{late}\n{}", region.events());
    let metrics = region.nodes[other].metrics().await.unwrap();
    assert_eq!(made(&metrics), 1.0);
    assert_eq!(metrics.sum("acuity_node_members", &[("state", "up")]), 2.0, "late is not out");
}

#[tokio::test]
async fn a_purge_reaches_all_nodes_or_says_which_it_did_not() {
    let clip = clips::vod_ts().await.unwrap();
    let region = region(&clip, &nodes()).await;
    let medias = open(&region).await;
    let entries = async || region.sum("acuity_cache_entries", &[]).await.unwrap();
    for index in 0..3 {
        all_the_same(&crowd(&medias, index, 1).await);
    }
    assert_eq!(entries().await, 9.0);
    let answer = told(&region.nodes[1], Method::POST, "/purge?url=/vod/180p/001.ts").await;
    assert_eq!(answer["nodes"], serde_json::json!({ "reached": 2, "not_reached": [] }), "{answer}");
    assert_eq!(entries().await, 6.0, "copies and what they were of");
    let answer = told(&region.nodes[2], Method::POST, "/purge?all=true").await;
    assert_eq!((entries().await, &answer["nodes"]["reached"]), (0.0, &2.into()));

    region.wires[0].set(Mode::Refuses);
    let answer = told(&region.nodes[2], Method::POST, "/purge?all=true").await;
    let name = region.wires[0].address().to_string();
    assert_eq!(answer["nodes"], serde_json::json!({ "reached": 1, "not_reached": [name] }), "{answer}");
    assert_eq!(region.sum("acuity_node_purges_total", &[("outcome", "failed")]).await.unwrap(), 2.0);
}

#[tokio::test]
async fn work_ahead_is_done_where_it_belongs() {
    let clip = clips::vod_ts().await.unwrap();
    let region = region(&clip, &nodes().set("enhancer.look_ahead", 2)).await;
    let medias = open(&region).await;
    // A viewer at each node, at the same time.
    all_the_same(&crowd(&medias, 0, 1).await);
    let start = Instant::now();
    while made_in(&region).await < 3.0 {
        assert!(start.elapsed() < Duration::from_secs(30), "two were to be made ahead\n{}", region.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for index in [1, 2] {
        all_the_same(&crowd(&medias, index, 3).await);
    }
    assert_eq!(made_in(&region).await, 3.0, "each once\n{}", region.events());
}

#[tokio::test]
async fn nodes_that_take_each_other_for_the_owner_do_not_wait_for_each_other() {
    let clip = clips::vod_ts().await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    // Each believes that it is the other: whatever belongs to itself it asks of itself, or of one that asks back.
    let region = Region::start(2, origin, &nodes(), |_, told| told).await.unwrap();
    let (one, other) = (region.wires[0].address(), region.wires[1].address());
    for (at, own) in [(0, other), (1, one)] {
        let file = region.nodes[at].config_file();
        let text = std::fs::read_to_string(&file).unwrap();
        let own_line = format!("nodes.own = \"{}\"", region.wires[at].address());
        assert!(text.contains(&own_line), "{text}");
        std::fs::write(&file, text.replace(&own_line, &format!("nodes.own = \"{own}\""))).unwrap();
        told(&region.nodes[at], Method::POST, "/reload").await;
    }
    tokio::time::sleep(Duration::from_millis(300)).await;
    let medias = open(&region).await;
    for index in 0..3 {
        all_the_same(&crowd(&medias[..1], index, 5).await);
        all_the_same(&crowd(&medias[1..], index, 5).await);
    }
    assert!(made_in(&region).await <= 6.0);
    assert_eq!(region.sum("acuity_responses_total", &[("status", "5xx")]).await.unwrap(), 0.0);
}

#[tokio::test]
async fn members_come_and_go_while_nodes_run() {
    let clip = clips::vod_ts().await.unwrap();
    let region = region(&clip, &nodes()).await;
    let medias = open(&region).await;
    let all = format!("{:?}", region.wires.iter().map(|wire| wire.address().to_string()).collect::<Vec<_>>());
    let two =
        format!("{:?}", region.wires[..2].iter().map(|wire| wire.address().to_string()).collect::<Vec<_>>());
    for at in 0..2 {
        let file = region.nodes[at].config_file();
        let text = std::fs::read_to_string(&file).unwrap();
        std::fs::write(&file, text.replace(&all, &two)).unwrap();
        let answer = told(&region.nodes[at], Method::POST, "/reload").await;
        assert_eq!(answer["restart_needed"], serde_json::json!([]), "{answer}");
    }
    let start = Instant::now();
    while region.nodes[1].metrics().await.unwrap().sum("acuity_node_members", &[]) > 1.0 {
        assert!(start.elapsed() < Duration::from_secs(10), "{}", region.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    for index in 0..3 {
        all_the_same(&crowd(&medias[..2], index, 3).await);
    }
    let each = made_each(&region).await;
    assert_eq!((each[0] + each[1], each[2]), (3.0, 0.0), "{}", region.events());
}
