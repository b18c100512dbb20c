//! Several origins of one route: whatever becomes of one, who plays goes on. `docs/origins.md` says these things to operators.

mod watched;

use std::net::SocketAddr;
use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::origin::{EVERYWHERE, Fault, Origin};
use acuity_tests::player::{Fetched, Player};
use acuity_tests::world::{Edge, World, WorldBuilder, world};
use reqwest::Method;

use crate::kit::{compare, one_rendition, open_enhanced, segment_url};

/// Longer than anybody here waits: an origin that accepts and says no more.
const FOR_EVER: Duration = Duration::from_secs(600);

/// Nothing is enhanced, so nothing has to be loaded.
fn plain() -> WorldBuilder {
    world().route("enhance", "\"none\"").route("cluster", "\"plain\"")
}

/// Quick to give up, and to come back.
fn hurried(told: WorldBuilder) -> WorldBuilder {
    told.set("origin.failover_after", "\"400ms\"")
        .set("origin.first_byte_timeout", "\"800ms\"")
        .set("origin.connect_timeout", "\"500ms\"")
        .set("origin.total_timeout", "\"6s\"")
        .set("origin.breaker.failures", 3)
        .set("origin.breaker.open_for", "\"1s\"")
        .set("origin.breaker.longest", "\"1s\"")
}

/// An origin that can be killed as a process is: every connection ends, and the next is refused.
struct Mortal {
    origin: Origin,
    runtime: Option<tokio::runtime::Runtime>,
}

impl Mortal {
    async fn at(address: SocketAddr) -> Self {
        let runtime =
            tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
        let started =
            runtime.spawn(async move { Origin::start_at(address).await.map_err(|error| error.to_string()) });
        let origin = started.await.unwrap().unwrap();
        Self { origin, runtime: Some(runtime) }
    }

    async fn start() -> Self {
        Self::at(SocketAddr::from(([127, 0, 0, 1], 0))).await
    }

    fn kill(&mut self) {
        self.runtime.take().unwrap().shutdown_background();
    }
}

impl Drop for Mortal {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

fn backups(told: WorldBuilder, origins: &[&Origin]) -> WorldBuilder {
    let bases: Vec<String> = origins.iter().map(|origin| origin.url("/")).collect();
    told.route("backup_origins", format!("{bases:?}"))
}

async fn edge_before(told: WorldBuilder, first: &Origin, others: &[&Origin]) -> Edge {
    backups(told, others).start_before(first.base().unwrap().as_str()).await.unwrap()
}

/// Numbered files that both have.
fn fill(origins: &[&Origin]) {
    for origin in origins {
        for number in 0..200 {
            origin.put(&format!("/v/{number}.ts"), vec![u8::try_from(number).unwrap(); 20_000]);
        }
        origin.put("/v/index.m3u8", playlist());
    }
}

fn playlist() -> String {
    let segments: String = (0..200).map(|number| format!("#EXTINF:2,\n{number}.ts\n")).collect();
    format!("#EXTM3U\n#EXT-X-TARGETDURATION:2\n{segments}")
}

async fn get(edge: &Edge, path: &str) -> Fetched {
    Player::new().unwrap().get(&edge.url(path)).await.unwrap_or_else(|error| panic!("{path}: {error}"))
}

/// Fetches a segment as a player does, whole and right; gives how long it took.
async fn whole(player: &Player, edge: &Edge, number: u8) -> f64 {
    let fetched = player.get_ok(&edge.url(&format!("/v/{number}.ts")), &[]).await.unwrap();
    assert!(
        fetched.body.len() == 20_000 && fetched.body.iter().all(|&byte| byte == number),
        "segment {number}"
    );
    fetched.seconds
}

async fn route(edge: &Edge) -> serde_json::Value {
    let fetched = Player::new().unwrap().get_ok(&format!("{}/routes", edge.admin), &[]).await.unwrap();
    let told: serde_json::Value = serde_json::from_slice(&fetched.body).unwrap();
    told["routes"][0].clone()
}

async fn until_up(edge: &Edge, origin: usize, wanted: bool) {
    let start = Instant::now();
    while route(edge).await["origins"][origin]["up"] != wanted {
        assert!(start.elapsed() < Duration::from_secs(10), "{}\n{}", route(edge).await, edge.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
}

fn label(origin: &Origin) -> String {
    origin.url("")
}

#[tokio::test]
async fn who_plays_while_the_primary_dies_goes_on_and_the_primary_is_used_again() {
    let clip = clips::vod_ts().await.unwrap();
    let (mut primary, backup) = (Mortal::start().await, Origin::start().await.unwrap());
    for origin in [&primary.origin, &backup] {
        origin.folder("/vod", clip.folder());
    }
    let edge = edge_before(hurried(one_rendition()), &primary.origin, &[&backup]).await;
    let player = Player::new().unwrap();
    let open = || async {
        for _ in 0..100 {
            let master = player.open(&edge.url("/vod/master.m3u8")).await.unwrap();
            if let Some(variant) = master.enhanced().first() {
                return player.media(&master.url_of(variant).unwrap()).await.unwrap();
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nothing enhanced is offered\n{}", edge.events());
    };
    let media = open().await;
    let first = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert_eq!(backup.seen().len(), 0, "a back-up is left alone");

    let address = primary.origin.address();
    primary.kill();
    for index in 1..media.playlist.segments.len() {
        let made = player.get_ok(&segment_url(&media, index), &[]).await.unwrap();
        assert!(made.seconds < 5.0 && made.header("cache-status").contains("acuity"), "{:?}", made.headers);
    }
    for index in 0..3 {
        // what is passed through
        let path = format!("/vod/360p/{index:03}.ts");
        let passed = player.get_ok(&edge.url(&path), &[]).await.unwrap();
        assert_eq!(&passed.body[..], clip.read(&path["/vod/".len()..]).unwrap());
    }
    let again = player.get_ok(&segment_url(&media, 0), &[]).await.unwrap();
    assert!(
        again.header("cache-status").contains("hit") && again.body == first.body,
        "one entry, whoever serves"
    );
    assert_eq!(open().await.fetched.url, media.fetched.url, "one URL, whoever serves");

    let reborn = Mortal::at(address).await;
    reborn.origin.folder("/vod", clip.folder());
    let start = Instant::now();
    while reborn.origin.fetches("/vod/360p/000.ts") < 5 {
        player.get_ok(&edge.url("/vod/360p/000.ts"), &[]).await.unwrap();
        assert!(start.elapsed() < Duration::from_secs(10), "{}", edge.events());
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    let metrics = edge.metrics().await.unwrap();
    let origin = label(&reborn.origin);
    for (name, labels) in [
        ("acuity_origin_breaker_opened_total", vec![("origin", origin.as_str())]),
        ("acuity_origin_probes_total", vec![("origin", origin.as_str()), ("outcome", "ok")]),
        ("acuity_origin_retries_total", vec![("origin", origin.as_str())]),
        ("acuity_origin_skipped_total", vec![("origin", origin.as_str()), ("reason", "breaker")]),
        ("acuity_origin_up", vec![("origin", origin.as_str())]),
    ] {
        assert!(metrics.sum(name, &labels) >= 1.0, "{name}\n{}", metrics.text());
    }
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx")]), 0.0);
    let told = edge.events();
    assert_eq!(told.matches("is left alone for a while").count(), 1, "once, not for each request: {told}");
}

#[tokio::test]
async fn whatever_the_primary_does_no_request_fails() {
    for fault in [Fault::Status(503), Fault::Status(500), Fault::Latency(FOR_EVER)] {
        let (primary, backup) = (Origin::start().await.unwrap(), Origin::start().await.unwrap());
        fill(&[&primary, &backup]);
        let edge = edge_before(hurried(plain()), &primary, &[&backup]).await;
        let player = Player::new().unwrap();
        let mut slow = Vec::new();
        for number in 0..30 {
            if number == 5 {
                primary.fault(EVERYWHERE, fault.clone());
            }
            let seconds = whole(&player, &edge, number).await;
            if seconds > 0.3 {
                slow.push(seconds);
            }
            let list = player.get_ok(&edge.url("/v/index.m3u8"), &[]).await.unwrap();
            assert!(
                list.text() == playlist() && list.seconds < 1.5,
                "{fault:?} {number}: {:.2} s",
                list.seconds
            );
            tokio::time::sleep(Duration::from_millis(60)).await;
        }
        assert!(slow.len() <= 3 && slow.iter().all(|&seconds| seconds < 2.0), "{fault:?}: {slow:?}");
        let retried =
            edge.metrics().await.unwrap().sum("acuity_origin_retries_total", &[("origin", &label(&primary))]);
        assert!((1.0..=8.0).contains(&retried), "{fault:?}: {retried}");
        primary.heal(EVERYWHERE);
        let start = Instant::now();
        while route(&edge).await["origins"][0]["up"] != true {
            whole(&player, &edge, 40).await;
            assert!(start.elapsed() < Duration::from_secs(10), "{fault:?}\n{}", edge.events());
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        let before = primary.fetches("/v/50.ts");
        whole(&player, &edge, 50).await;
        assert_eq!(primary.fetches("/v/50.ts"), before + 1, "{fault:?}: used again");
    }
}

#[tokio::test]
async fn a_source_that_breaks_midway_is_had_whole_from_the_next() {
    let clip = clips::vod_ts().await.unwrap();
    for fault in [
        Fault::CutConnection { after_bytes: 5000 },
        Fault::Stall { after_bytes: 5000, pause: FOR_EVER },
        // behind by a segment: it is listed, so somebody has it
        Fault::Status(404),
    ] {
        let (primary, backup) = (Origin::start().await.unwrap(), Origin::start().await.unwrap());
        for origin in [&primary, &backup] {
            origin.folder("/vod", clip.folder());
        }
        let edge = edge_before(hurried(one_rendition()), &primary, &[&backup]).await;
        let world = World { origin: primary, edge };
        let (player, _, media) = open_enhanced(&world).await;
        world.origin.fault("/vod/180p/001.ts", fault.clone());
        // the truth is the other one's
        let index = backup.url("/vod/180p/index.m3u8");
        let source = player.media(&index.parse().unwrap()).await.unwrap();
        compare(&player, &source, &media, 1).await;
        assert_eq!(world.origin.fetches("/vod/180p/001.ts"), 1, "{fault:?}");
    }
}

#[tokio::test]
async fn when_all_are_down_it_is_told_and_a_playlist_stands_in_for_a_while() {
    let clip = clips::vod_ts().await.unwrap();
    let (primary, backup) = (Origin::start().await.unwrap(), Origin::start().await.unwrap());
    let index = String::from_utf8(clip.read("180p/index.m3u8").unwrap()).unwrap();
    for origin in [&primary, &backup] {
        origin.folder("/vod", clip.folder());
        origin.put("/vod/180p/index.m3u8", index.replace("#EXT-X-ENDLIST", ""));
        origin.put("/v/1.ts", "well");
    }
    let edge = edge_before(hurried(one_rendition()), &primary, &[&backup]).await;
    let World { origin: primary, edge } = {
        let world = World { origin: primary, edge };
        let (_, _, media) = open_enhanced(&world).await;
        for origin in [&world.origin, &backup] {
            origin.fault(EVERYWHERE, Fault::Status(503));
        }
        tokio::time::sleep(Duration::from_millis(600)).await;
        let player = Player::new().unwrap();
        let stale = player.get(media.fetched.url.as_str()).await.unwrap();
        assert_eq!((stale.status.as_u16(), stale.text()), (200, media.fetched.text()), "not for long");
        tokio::time::sleep(Duration::from_secs(2)).await;
        for url in [media.fetched.url.to_string(), world.edge.url("/v/1.ts")] {
            let answer = player.get(&url).await.unwrap();
            let said = (answer.status.as_u16(), answer.text());
            assert_eq!(said, (503, "told to fail\n".to_owned()), "the origin's own word");
        }
        world
    };
    for origin in [&primary, &backup] {
        origin.fault(EVERYWHERE, Fault::Latency(FOR_EVER));
    }
    for path in ["/vod/other.m3u8", "/v/1.ts"] {
        let answer = get(&edge, path).await;
        assert_eq!(answer.status, 504, "{path}");
        assert!(answer.seconds < 8.0, "{path}: {:.1} s", answer.seconds);
    }
    let metrics = edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_origin_up", &[]), 0.0, "{}", metrics.text());
    assert!(metrics.sum("acuity_origin_requests_total", &[("outcome", "timeout")]) >= 1.0);
    assert_eq!(metrics.sum("acuity_responses_total", &[("status", "5xx"), ("by", "edge")]), 0.0);
    // and back at once: somebody has to be asked
    backup.heal(EVERYWHERE);
    assert_eq!(get(&edge, "/v/1.ts").await.status, 200);
}

#[tokio::test]
async fn what_may_have_been_sent_is_not_sent_again_unless_it_only_reads() {
    let (mut primary, backup) = (Mortal::start().await, Origin::start().await.unwrap());
    for origin in [&primary.origin, &backup] {
        origin.put("/licence", "granted");
    }
    let edge =
        edge_before(hurried(plain()).set("origin.breaker.failures", 1000), &primary.origin, &[&backup]).await;
    let player = Player::new().unwrap();
    let ask = |method: Method| {
        let (player, url) = (player.clone(), edge.url("/licence"));
        async move { player.request(method, &url, &[]).await.unwrap() }
    };
    for (fault, status) in [(Fault::Status(503), 503), (Fault::Latency(FOR_EVER), 504)] {
        primary.origin.fault("/licence", fault);
        for method in [Method::POST, Method::PUT, Method::DELETE] {
            assert_eq!(ask(method.clone()).await.status, status, "{method}");
        }
        assert_eq!(backup.seen().len(), 0);
    }
    for method in [Method::GET, Method::HEAD] {
        assert_eq!(ask(method).await.status, 200);
    }
    let seen = backup.seen().len();
    assert_eq!(seen, 2);
    primary.kill();
    // connections that were left open by the dead are noticed by now
    tokio::time::sleep(Duration::from_millis(200)).await;
    assert_eq!(ask(Method::POST).await.text(), "granted", "nothing was sent to whom there is no connection");
    assert_eq!(backup.seen().len(), seen + 1);
}

#[tokio::test]
async fn what_names_any_of_the_origins_leads_to_the_edge() {
    let clip = clips::vod_ts().await.unwrap();
    let (primary, backup) = (Origin::start().await.unwrap(), Origin::start().await.unwrap());
    primary.folder("/vod", clip.folder());
    // another base path, which its own playlists name
    backup.folder("/mirror/vod", clip.folder());
    let master = String::from_utf8(clip.read("master.m3u8").unwrap()).unwrap();
    let index = String::from_utf8(clip.read("180p/index.m3u8").unwrap()).unwrap();
    let absolute = |text: &str, base: &str| {
        text.lines()
            .map(|line| {
                if line.starts_with('#') || line.is_empty() {
                    line.to_owned()
                } else {
                    format!("{base}/{line}")
                }
            })
            .collect::<Vec<_>>()
            .join("\n")
    };
    for (origin, below) in [(&primary, "/vod"), (&backup, "/mirror/vod")] {
        origin.put(&format!("{below}/master.m3u8"), absolute(&master, &backup.url("/mirror/vod")));
        origin.put(&format!("{below}/180p/index.m3u8"), absolute(&index, "/mirror/vod/180p"));
    }
    // what the primary has of that rendition leads nowhere: only the back-up's own root makes sense of it
    primary.fault("/vod/180p/index.m3u8", Fault::Status(503));
    let told = hurried(one_rendition()).route("backup_origins", format!("[{:?}]", backup.url("/mirror")));
    let edge = told.start_before(primary.base().unwrap().as_str()).await.unwrap();
    let world = World { origin: primary, edge };
    let (player, master, media) = open_enhanced(&world).await;
    let text = master.fetched.text();
    assert!(!text.contains("http://") && !text.contains("/mirror"), "{text}");
    let text = media.fetched.text();
    assert!(!text.contains("http://") && !text.contains("/mirror"), "{text}");
    player.segment(&media, 0).await.unwrap();

    // a redirect to the other origin stays on the edge as well
    world.origin.fault("/moved.ts", Fault::Status(302));
    let target: &'static str = Box::leak(backup.url("/mirror/vod/180p/000.ts").into_boxed_str());
    world.origin.header("/moved.ts", "location", target);
    let client =
        reqwest::Client::builder().no_proxy().redirect(reqwest::redirect::Policy::none()).build().unwrap();
    let moved = client.get(world.edge.url("/moved.ts")).send().await.unwrap();
    assert_eq!(moved.headers()["location"], "/vod/180p/000.ts");
}
