//! Traces and logs: what happened to one request, from its headers to the stages of a worker, and nothing of it where nobody asked.

use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::collector::{Collector, Span};
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::player::Player;
use acuity_tests::signing::Signer;
use acuity_tests::world::{World, WorldBuilder};

use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// A trusted proxy's, sampled.
const TRACE: &str = "0af7651916cd43dd8448eb211c80319c";
const CALLER: &str = "b7ad6b7169203331";

fn traceparent(sampled: bool) -> String {
    format!("00-{TRACE}-{CALLER}-0{}", u8::from(sampled))
}

/// An edge that sends traces there, of what a proxy on this machine samples and of `ratio` of the rest.
fn traced(world: WorldBuilder, collector: &Collector, ratio: f64) -> WorldBuilder {
    world
        .set("tracing.endpoint", collector.endpoint())
        .set("tracing.sample_ratio", ratio)
        .set("server.trusted_proxies", "[\"127.0.0.1/32\"]")
        // the segment is to be made by a network however busy this machine is
        .set("enhancer.deadline.fraction", 10.0)
        .set("enhancer.deadline.longest", "\"60s\"")
}

fn named<'a>(spans: &'a [Span], name: &str) -> Vec<&'a Span> {
    spans.iter().filter(|span| span.name == name).collect()
}

fn only<'a>(spans: &'a [Span], name: &str) -> &'a Span {
    let found = named(spans, name);
    assert_eq!(found.len(), 1, "{name}: {spans:#?}");
    found[0]
}

fn is_below(spans: &[Span], span: &Span, above: &Span) -> bool {
    let parent = spans.iter().find(|other| other.id == span.parent);
    parent.is_some_and(|parent| parent == above || is_below(spans, parent, above))
}

fn contains(bytes: &[u8], text: &str) -> bool {
    bytes.windows(text.len()).any(|window| window == text.as_bytes())
}

#[tokio::test]
async fn one_trace_from_the_request_to_the_stages_of_a_worker() {
    let collector = Collector::http().await.unwrap();
    let signer = Signer::new(&["2026a"]).unwrap();
    let headers = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(headers.path(), "Authorization: Bearer for-the-collector\nX-Scope: edges\n").unwrap();
    let world = traced(one_rendition(), &collector, 0.0)
        .set("workers.count", 1)
        .set("workers.spare", 0)
        .set("log.format", "\"json\"")
        .set("tracing.service_name", "\"edge-1\"")
        .set("tracing.attributes", "[\"deployment.environment.name=test\"]")
        .set("tracing.headers_file", format!("{:?}", headers.path()));
    let world = serve(&clips::vod_ts().await.unwrap(), signer.guards(world)).await;
    let player = Player::new().unwrap();
    let path = signer.sign("/vod/master.m3u8", "/vod/", "1h", &[]).unwrap();
    // None of this is sampled: neither by the ratio, nor by who says so in its headers.
    let unsampled = traceparent(false);
    let mut master = player.open(&world.edge.url(&path)).await.unwrap();
    for _ in 0..100 {
        if master.playlist.variants.iter().any(|variant| variant.uri.contains("/~acuity/v1.")) {
            break;
        }
        tokio::time::sleep(Duration::from_millis(100)).await;
        master = player.open(&world.edge.url(&path)).await.unwrap();
    }
    let variant =
        master.playlist.variants.iter().find(|variant| variant.uri.contains("/~acuity/v1.")).unwrap();
    let media = player.media(&master.url_of(variant).unwrap()).await.unwrap();
    player.get_ok(&segment_url(&media, 0), &[("traceparent", &unsampled)]).await.unwrap();
    let url = segment_url(&media, 1);
    let sampled = traceparent(true);
    let query = format!("{url}?CMCD=sid%3D%22hush-hush%22");
    let headers = [("traceparent", sampled.as_str()), ("x-request-id", "asked-for-1")];
    player.get_ok(&query, &headers).await.unwrap();

    let spans = collector
        .until("the request and its stages", |spans| {
            !named(spans, "encode").is_empty() && spans.iter().any(|span| span.kind == 2)
        })
        .await
        .unwrap();
    assert!(spans.iter().all(|span| span.trace == TRACE), "only what was sampled: {spans:#?}");
    let request = only(&spans, "GET /~acuity/{token}/{path}");
    assert_eq!((request.kind, request.parent.as_str()), (2, CALLER));
    assert_eq!(request.says["http.response.status_code"], "200");
    assert_eq!(request.says["acuity.outcome"], "made");
    assert_eq!(request.resource["service.name"], "edge-1");
    assert_eq!(request.resource["deployment.environment.name"], "test");
    let make = only(&spans, "make");
    assert_eq!(make.parent, request.id);
    let fetches: Vec<_> = named(&spans, "GET").into_iter().filter(|span| span.kind == 3).collect();
    assert!(!fetches.is_empty() && fetches.iter().all(|fetch| is_below(&spans, fetch, make)), "{spans:#?}");
    let enhance = only(&spans, "enhance");
    assert_eq!(enhance.parent, make.id);
    // Which tier depends on how busy this machine is.
    assert!(enhance.says["acuity.made_by"].starts_with("generic-x2-"), "{enhance:#?}");
    assert!(enhance.says["acuity.made_by"].ends_with(&enhance.says["acuity.tier"]), "{enhance:#?}");
    let call = only(&spans, "acuity.worker.v1.Worker/Enhance");
    assert_eq!((call.parent.as_str(), call.kind), (enhance.id.as_str(), 3));
    for stage in ["queue", "demux", "decode", "inference", "encode", "mux"] {
        let span = only(&spans, stage);
        assert_eq!(span.parent, call.id, "{stage}");
        assert!(
            span.start_nanos <= span.end_nanos && span.end_nanos <= call.end_nanos,
            "{stage}: {spans:#?}"
        );
    }
    // The origin was told too, and knows whose fetch it was.
    let seen = world.origin.seen();
    let fetched = seen.iter().rev().find(|seen| seen.path.ends_with("001.ts")).unwrap();
    let told = fetched.headers["traceparent"].to_str().unwrap();
    assert!(told.starts_with(&format!("00-{TRACE}-")) && !told.contains(CALLER), "{told}");
    assert!(fetches.iter().any(|fetch| told.contains(&fetch.id)), "the fetch's own span is the parent");
    assert_eq!(fetched.headers["x-request-id"], "asked-for-1");
    let others = seen.iter().filter(|seen| !seen.path.ends_with("001.ts"));
    assert!(
        others.clone().count() > 0 && others.clone().all(|seen| !seen.headers.contains_key("traceparent"))
    );
    // Who reads the collector's data can open nothing with it.
    let (raw, secret) = (collector.raw(), media.fetched.url.path().split('/').nth(3).unwrap().to_owned());
    let mac = secret.rsplit('.').next().unwrap();
    assert!(mac.len() > 20 && !contains(&raw, mac), "the signature was sent");
    assert!(!contains(&raw, "hush-hush") && !contains(&raw, "for-the-collector"));
    assert!(contains(&raw, "/~acuity/signed/v1.2026a.-/"), "the path was");
    let sent = collector.headers();
    let has = |name: &str, value: &str| sent.iter().any(|(n, v)| (n.as_str(), v.as_str()) == (name, value));
    assert!(has("authorization", "Bearer for-the-collector") && has("x-scope", "edges"), "{sent:?}");

    let log = world.edge.access_log();
    let traced: Vec<_> = log.iter().filter(|record| record.get("trace_id").is_some()).collect();
    assert_eq!(traced.len(), 1, "{log:#?}");
    assert_eq!((&traced[0]["trace_id"], &traced[0]["id"]), (&TRACE.into(), &"asked-for-1".into()));
    let metrics = world.edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_trace_spans_exported_total", &[]), spans.len() as f64);
    assert_eq!(metrics.sum("acuity_trace_spans_dropped_total", &[]), 0.0);
}

#[tokio::test]
async fn who_waits_for_anothers_segment_refers_to_its_making() {
    let collector = Collector::grpc().await.unwrap();
    let world = traced(one_rendition(), &collector, 1.0).set("tracing.protocol", "\"grpc\"");
    let world = serve(&clips::vod_ts().await.unwrap(), world).await;
    let (player, _, media) = open_enhanced(&world).await;
    let url = segment_url(&media, 1);
    let ask = |id: &'static str| {
        let (player, url) = (player.clone(), url.clone());
        async move { player.get_ok(&url, &[("x-request-id", id)]).await.unwrap() }
    };
    let (first, second) = tokio::join!(ask("one"), ask("two"));
    assert_eq!(first.body, second.body);
    let of_segments = |spans: &[Span], outcome: &str| {
        let is = |span: &&Span| {
            span.says.get("acuity.outcome").is_some_and(|found| found == outcome) && span.kind == 2
        };
        spans.iter().filter(is).cloned().collect::<Vec<_>>()
    };
    let spans = collector
        .until("two requests, and what was made", |spans| {
            of_segments(spans, "joined").len() == 1 && !named(spans, "make").is_empty()
        })
        .await
        .unwrap();
    let (joined, make) = (&of_segments(&spans, "joined")[0], only(&spans, "make"));
    let maker = spans.iter().find(|span| span.id == make.parent).unwrap();
    assert_ne!(joined.trace, make.trace, "each has a trace of its own");
    assert_eq!(maker.says["acuity.outcome"], "made");
    assert_eq!(joined.links, [(make.trace.clone(), make.id.clone())]);
    // In one process the stages stand below what asked for them.
    let enhance = only(&spans, "enhance");
    assert_eq!(only(&spans, "decode").parent, enhance.id);
    // What passes through has a span for its way to the origin, whose id the origin gets.
    player.get_ok(&world.edge.url("/vod/180p/002.ts"), &[]).await.unwrap();
    let spans = collector
        .until("the passed request", |spans| {
            spans.iter().any(|span| span.name == "GET /{path}" && span.says["url.path"] == "/vod/180p/002.ts")
        })
        .await
        .unwrap();
    let passed = spans
        .iter()
        .find(|span| span.name == "GET /{path}" && span.says["url.path"] == "/vod/180p/002.ts")
        .unwrap();
    let toward = spans.iter().find(|span| span.parent == passed.id).unwrap();
    assert_eq!((toward.kind, toward.says["http.response.status_code"].as_str()), (3, "200"));
    let seen = world.origin.seen();
    let told = seen.last().unwrap().headers["traceparent"].to_str().unwrap();
    assert_eq!(told, format!("00-{}-{}-01", passed.trace, toward.id));
}

#[tokio::test]
async fn what_is_made_ahead_follows_from_a_request() {
    let collector = Collector::http().await.unwrap();
    let world = traced(one_rendition(), &collector, 0.0).set("enhancer.look_ahead", 1);
    let world = serve(&clips::vod_ts().await.unwrap(), world).await;
    let (player, _, media) = open_enhanced(&world).await;
    let sampled = traceparent(true);
    player.get_ok(&segment_url(&media, 0), &[("traceparent", &sampled)]).await.unwrap();
    let spans = collector
        .until("what is made ahead", |spans| {
            !named(spans, "make ahead").is_empty() && !named(spans, "make").is_empty()
        })
        .await
        .unwrap();
    let (ahead, request) = (only(&spans, "make ahead"), only(&spans, "GET /~acuity/{token}/{path}"));
    assert_eq!((ahead.parent.as_str(), &ahead.links), ("", &vec![(TRACE.to_owned(), request.id.clone())]));
    assert_ne!(ahead.trace, TRACE, "it outlives the request");
    assert_eq!(ahead.says["url.path"], "/vod/180p/001.ts");
    let enhanced = named(&spans, "enhance");
    assert!(enhanced.iter().any(|span| span.parent == ahead.id), "{spans:#?}");
}

#[tokio::test]
async fn a_stranger_decides_nothing() {
    let collector = Collector::http().await.unwrap();
    let world = traced(one_rendition(), &collector, 0.0).set("server.trusted_proxies", "[]");
    let world = serve(&clips::vod_ts().await.unwrap(), world).await;
    let (player, _, media) = open_enhanced(&world).await;
    let sampled = traceparent(true);
    let headers = [("traceparent", sampled.as_str()), ("tracestate", "a=b")];
    player.get_ok(&segment_url(&media, 0), &headers).await.unwrap();
    player.get_ok(&world.edge.url("/vod/180p/002.ts"), &headers).await.unwrap();
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(collector.spans(), []);
    for seen in world.origin.seen() {
        for name in ["traceparent", "tracestate"] {
            assert!(!seen.headers.contains_key(name), "{}: {name}", seen.path);
        }
    }
    assert!(world.edge.access_log().iter().all(|record| record.get("trace_id").is_none()));
}

/// Milliseconds of the slowest of some cached answers.
async fn slowest_hit(player: &Player, url: &str, of: usize) -> f64 {
    let mut slowest = 0.0_f64;
    for _ in 0..of {
        let start = Instant::now();
        player.get_ok(url, &[]).await.unwrap();
        slowest = slowest.max(start.elapsed().as_secs_f64() * 1000.0);
    }
    slowest
}

#[tokio::test]
async fn a_collector_that_is_dead_or_silent_costs_viewers_nothing() {
    let silent = Collector::silent().await.unwrap();
    let dead = {
        let gone = Collector::http().await.unwrap();
        gone.endpoint()
    };
    for (endpoint, protocol) in
        [(silent.endpoint(), "http/protobuf"), (silent.endpoint(), "grpc"), (dead, "http/protobuf")]
    {
        let world = traced(one_rendition(), &silent, 1.0)
            .set("tracing.endpoint", &endpoint)
            .set("tracing.protocol", format!("{protocol:?}"))
            .set("tracing.timeout", "\"300ms\"")
            // this player keeps its connections
            .set("server.drain_seconds", 1)
            .set("server.drain_notice_seconds", 0);
        let mut world = serve(&clips::vod_ts().await.unwrap(), world).await;
        let (player, _, media) = open_enhanced(&world).await;
        let url = segment_url(&media, 0);
        player.get_ok(&url, &[]).await.unwrap();
        // More than the queue holds, while nothing leaves it.
        let tasks: Vec<_> = (0..4)
            .map(|_| {
                let (player, url) = (player.clone(), url.clone());
                tokio::spawn(async move { slowest_hit(&player, &url, 1500).await })
            })
            .collect();
        for task in tasks {
            let slowest = task.await.unwrap();
            assert!(slowest < 1000.0, "{protocol} {endpoint}: {slowest} ms");
        }
        let start = Instant::now();
        let (mut full, mut failed) = (0.0, 0.0);
        while start.elapsed() < Duration::from_secs(20) && (full == 0.0 || failed == 0.0) {
            let metrics = world.edge.metrics().await.unwrap();
            let dropped = |reason| metrics.sum("acuity_trace_spans_dropped_total", &[("reason", reason)]);
            (full, failed) = (dropped("queue_full"), dropped("export_failed"));
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
        assert!(
            full > 0.0 && failed > 0.0,
            "{protocol} {endpoint}: {full} {failed}\n{}",
            world.edge.events()
        );
        let complaints = world.edge.events().matches("the collector does not take traces").count();
        assert_eq!(complaints, 1, "said once: {}", world.edge.events());
        let start = Instant::now();
        world.edge.signal("TERM").unwrap();
        assert!(world.edge.until_exit(Duration::from_secs(15)).await.unwrap().success());
        assert!(start.elapsed() < Duration::from_secs(10), "{:?}", start.elapsed());
    }
}

#[tokio::test]
async fn what_is_left_is_sent_at_the_end() {
    let collector = Collector::http().await.unwrap();
    let world = traced(one_rendition(), &collector, 1.0).set("server.drain_notice_seconds", 0);
    let mut world = serve(&clips::vod_ts().await.unwrap(), world).await;
    let player = Player::new().unwrap();
    player.get_ok(&world.edge.url("/vod/180p/000.ts"), &[("x-request-id", "last")]).await.unwrap();
    world.edge.signal("INT").unwrap();
    assert!(world.edge.until_exit(Duration::from_secs(15)).await.unwrap().success());
    let is_it = |span: &Span| span.says.get("url.path").is_some_and(|path| path == "/vod/180p/000.ts");
    assert!(collector.spans().iter().any(is_it), "{:#?}", collector.spans());
}

/// The edge's own words, one object each.
fn words(world: &World) -> Vec<serde_json::Value> {
    let text = world.edge.events();
    // The greeting is for people.
    text.lines()
        .filter(|line| !line.starts_with("acuity "))
        .map(|line| serde_json::from_str(line).expect(line))
        .collect()
}

#[tokio::test]
async fn what_is_logged_for_a_request_tells_whose_it_is() {
    for (format, workers) in [("json", 1), ("text", 0)] {
        let world = one_rendition()
            .set("log.format", format!("{format:?}"))
            .set("log.level", "\"debug\"")
            .set("workers.count", workers)
            .set("workers.spare", 0);
        let world = serve(&clips::vod_ts().await.unwrap(), world).await;
        let (player, _, media) = open_enhanced(&world).await;
        let path = "/vod/180p/001.ts";
        world.origin.put(path, vec![7_u8; 4096]);
        player.get_ok(&segment_url(&media, 1), &[("x-request-id", "spoilt-1")]).await.unwrap();
        world.origin.fault("/vod/180p/002.ts", Fault::Status(503));
        player.get(&segment_url(&media, 2)).await.unwrap();
        player.get_ok(&segment_url(&media, 0), &[("x-request-id", "good-1")]).await.unwrap();
        if format == "json" {
            let words = words(&world);
            let served =
                words.iter().find(|word| word["message"] == "the source's bytes are served").unwrap();
            assert_eq!(served["request"], "spoilt-1", "{words:#?}");
            // A worker's words too, in its own process.
            let decided =
                words.iter().find(|word| word["message"] == "decided" && word["request"] == "good-1");
            assert!(decided.is_some_and(|word| word["process"].is_string()), "{words:#?}");
        } else {
            let text = world.edge.events();
            let served = text.lines().find(|line| line.contains("the source's bytes are served")).unwrap();
            assert!(served.ends_with("request=spoilt-1"), "{served}");
        }
    }
    // Until there is a request, there is none to name.
    let origin = Origin::start().await.unwrap();
    let world = one_rendition().set("log.format", "\"json\"").start(origin).await.unwrap();
    assert!(words(&world).iter().all(|word| word.get("request").is_none()));
}
