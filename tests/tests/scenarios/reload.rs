//! A configuration that changes under a running edge: what is right is in force for the next request, what is wrong changes nothing, and
//! a request in progress ends by the configuration it began with.

use std::process::{Command, Output};
use std::time::Duration;

use acuity_tests::certificates::self_signed;
use acuity_tests::clips;
use acuity_tests::origin::{Fault, Origin};
use acuity_tests::player::{Fetched, Player};
use acuity_tests::ports;
use acuity_tests::signing::Signer;
use acuity_tests::world::{Edge, World, WorldBuilder, binary, world};
use reqwest::{Certificate, Method};

use crate::kit::{one_rendition, open_enhanced, segment_url, serve};

/// Nothing is enhanced, so nothing has to be loaded.
fn plain() -> WorldBuilder {
    world().route("enhance", "\"none\"").route("cluster", "\"plain\"")
}

async fn origin_with(text: &'static str) -> Origin {
    let origin = Origin::start().await.unwrap();
    origin.put("/a.ts", text);
    origin
}

pub(crate) fn rewrite(edge: &Edge, builder: &WorldBuilder, origin: &Origin) {
    std::fs::write(edge.config_file(), builder.config_for(origin.base().unwrap().as_str())).unwrap();
}

pub(crate) async fn post(edge: &Edge, path: &str) -> (u16, serde_json::Value) {
    let url = format!("{}{path}", edge.admin);
    let answer = Player::new().unwrap().request(Method::POST, &url, &[]).await.unwrap();
    assert_eq!(answer.header("content-type"), "application/json");
    (answer.status.as_u16(), serde_json::from_slice(&answer.body).unwrap())
}

async fn get(edge: &Edge, path: &str) -> Fetched {
    Player::new().unwrap().get(&edge.url(path)).await.unwrap()
}

#[tokio::test]
async fn the_next_request_goes_by_the_new_routes_and_one_in_progress_by_the_old() {
    let (old, new) = (origin_with("old").await, origin_with("new").await);
    let World { origin: old, edge } = plain().start(old).await.unwrap();
    assert_eq!(get(&edge, "/a.ts").await.text(), "old");
    old.put("/slow.ts", "old and slow");
    old.fault("/slow.ts", Fault::Latency(Duration::from_millis(700)));
    let slow = get(&edge, "/slow.ts");
    let change = async {
        tokio::time::sleep(Duration::from_millis(200)).await;
        rewrite(&edge, &plain(), &new);
        let told = post(&edge, "/reload").await;
        assert_eq!(told, (200, serde_json::json!({ "outcome": "applied", "restart_needed": [] })));
        assert_eq!(get(&edge, "/a.ts").await.text(), "new");
    };
    let (slow, ()) = tokio::join!(slow, change);
    assert_eq!((slow.status.as_u16(), slow.text().as_str()), (200, "old and slow"));
    assert_eq!(get(&edge, "/slow.ts").await.status, 404, "the new origin has none");
}

#[tokio::test]
async fn a_bad_configuration_is_told_in_full_and_changes_nothing() {
    let (old, new) = (origin_with("old").await, origin_with("new").await);
    let World { origin: _old, edge } = plain().start(old).await.unwrap();
    let before = edge.metrics().await.unwrap();
    assert_eq!(before.sum("acuity_config_last_reload_successful", &[]), 1.0, "the start counts");
    // a route that would be good, two keys that are not, and a secret that is not there
    let mut bad = plain().set("origin.max_redirects", 11).set("cache.budgt_bytes", 5);
    rewrite(&edge, &bad, &new);
    let (status, told) = post(&edge, "/reload").await;
    assert_eq!((status, told["outcome"].as_str()), (422, Some("refused")));
    let faults = told["faults"].to_string();
    assert!(faults.contains("max_redirects") && faults.contains("budgt_bytes"), "{faults}");
    bad = plain().route("signed_urls", "{ keys = [{ id = \"a\", file = \"/no/such/key\" }] }");
    rewrite(&edge, &bad, &new);
    let (status, told) = post(&edge, "/reload").await;
    assert!(status == 422 && told["faults"].to_string().contains("/no/such/key"), "{told}");

    assert_eq!(get(&edge, "/a.ts").await.text(), "old");
    let metrics = edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_config_reloads_total", &[("outcome", "refused")]), 2.0);
    assert_eq!(metrics.sum("acuity_config_last_reload_successful", &[]), 0.0);
    let since = "acuity_config_last_reload_success_timestamp_seconds";
    assert_eq!(metrics.sum(since, &[]), before.sum(since, &[]));
    assert!(edge.events().contains("budgt_bytes"), "{}", edge.events());

    // mended, and by signal this time
    rewrite(&edge, &plain(), &new);
    edge.signal("HUP").unwrap();
    let mut text = String::new();
    for _ in 0..100 {
        text = get(&edge, "/a.ts").await.text();
        if text == "new" {
            break;
        }
        tokio::time::sleep(Duration::from_millis(50)).await;
    }
    assert_eq!(text, "new", "{}", edge.events());
    let metrics = edge.metrics().await.unwrap();
    assert_eq!(metrics.sum("acuity_config_last_reload_successful", &[]), 1.0);
    assert!(metrics.sum(since, &[]) > before.sum(since, &[]));
}

#[tokio::test]
async fn keys_of_signed_urls_are_rotated_without_a_restart() {
    let (old, new) = (Signer::new(&["old"]).unwrap(), Signer::new(&["new"]).unwrap());
    let World { origin, edge } = old.guards(plain()).start(origin_with("text").await).await.unwrap();
    let signed = |signer: &Signer| signer.sign("/a.ts", "/", "1h", &[]).unwrap();
    let paths = [signed(&old), signed(&new)];
    let statuses =
        async || [get(&edge, &paths[0]).await.status.as_u16(), get(&edge, &paths[1]).await.status.as_u16()];
    assert_eq!(statuses().await, [200, 403]);
    // The new one first, while URLs by the old one are about; then the old one goes.
    for (signers, expected) in [(vec![&new, &old], [200, 200]), (vec![&new], [403, 200])] {
        rewrite(&edge, &Signer::guard(&signers, plain()), &origin);
        let told = post(&edge, "/reload").await;
        assert_eq!(told, (200, serde_json::json!({ "outcome": "applied", "restart_needed": [] })));
        assert_eq!(statuses().await, expected);
    }
}

#[tokio::test]
async fn what_needs_a_restart_is_named_and_the_rest_is_taken() {
    let (old, new) = (origin_with("old").await, origin_with("new").await);
    let World { origin: _old, edge } = plain().start(old).await.unwrap();
    let prepared = plain().set("server.threads", 1).set("cache.budget_bytes", "\"7MiB\"");
    rewrite(&edge, &prepared, &new);
    let output = acuity(&["reload", "--admin", edge.admin.trim_start_matches("http://")]);
    let told = String::from_utf8_lossy(&output.stdout).into_owned();
    assert_eq!(output.status.code(), Some(0), "{told}");
    assert!(told.contains("\"cache.budget_bytes\"") && !told.contains("origin"), "{told}");
    assert_eq!(get(&edge, "/a.ts").await.text(), "new");
    let needed = edge.metrics().await.unwrap().sum("acuity_config_restart_needed", &[]);
    assert!((1.0..=2.0).contains(&needed), "threads may have been 1 before: {needed}");

    std::fs::write(edge.config_file(), "[[route]]\norigin = 5\n").unwrap();
    let output = acuity(&["reload", "--admin", edge.admin.trim_start_matches("http://")]);
    assert_eq!(output.status.code(), Some(1));
    assert!(String::from_utf8_lossy(&output.stderr).contains("origin"), "{output:?}");
    let output = acuity(&["reload", "--admin", "127.0.0.1:9"]);
    assert_eq!(output.status.code(), Some(2), "{output:?}");
}

#[tokio::test]
async fn pages_in_a_browser_change_nothing() {
    let World { origin: _origin, edge } = plain().start(origin_with("old").await).await.unwrap();
    let player = Player::new().unwrap();
    for (path, name, value) in [
        ("/reload", "origin", "https://stranger.example"),
        ("/purge?all=true", "sec-fetch-site", "cross-site"),
        ("/routes/*%2F/enhance?on=false", "origin", "null"),
    ] {
        let url = format!("{}{path}", edge.admin);
        assert_eq!(player.request(Method::POST, &url, &[(name, value)]).await.unwrap().status, 403, "{path}");
        assert_eq!(player.get(&url).await.unwrap().status, 404, "{path}: reading changes nothing");
    }
}

#[tokio::test]
async fn what_is_in_the_cache_and_what_is_known_of_streams_survives() {
    let clip = clips::vod_ts().await.unwrap();
    let world = serve(&clip, one_rendition()).await;
    let (player, _, media) = open_enhanced(&world).await;
    player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    let probes = world.origin.fetches("/vod/180p/000.ts");
    rewrite(&world.edge, &one_rendition().set("enhancer.look_ahead", 1), &world.origin);
    assert_eq!(post(&world.edge, "/reload").await.0, 200);
    let again = player.get_ok(&segment_url(&media, 1), &[]).await.unwrap();
    assert!(again.header("cache-status").contains("hit"), "{}", again.header("cache-status"));
    open_enhanced(&world).await;
    assert_eq!(world.origin.fetches("/vod/180p/000.ts"), probes, "nothing was probed again");
}

#[tokio::test]
async fn a_renewed_certificate_is_shown_to_new_connections() {
    let folder = tempfile::tempdir().unwrap();
    let (certificate, key) = (folder.path().join("cert.pem"), folder.path().join("key.pem"));
    self_signed(&certificate, &key, "DNS:localhost").unwrap();
    let first = Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    let port = ports::free::<1>().unwrap()[0].port();
    let builder = plain()
        .set("server.tls.listen", format!("\"127.0.0.1:{port}\""))
        .set("server.tls.certificate", format!("{certificate:?}"))
        .set("server.tls.key", format!("{key:?}"));
    let World { origin: _origin, edge } = builder.start(origin_with("text").await).await.unwrap();
    let url = format!("https://localhost:{port}/a.ts");
    let trusting = |root: &Certificate| {
        reqwest::Client::builder().no_proxy().tls_certs_only([root.clone()]).build().unwrap()
    };
    assert_eq!(trusting(&first).get(&url).send().await.unwrap().status(), 200);

    // halves: the new certificate with the old key is refused, and the old pair goes on
    let (old_key, other) = (std::fs::read(&key).unwrap(), folder.path().join("other.pem"));
    self_signed(&certificate, &other, "DNS:localhost").unwrap();
    let (status, told) = post(&edge, "/reload").await;
    assert!(status == 422 && told["faults"].to_string().contains("cert.pem"), "{told}");
    assert_eq!(trusting(&first).get(&url).send().await.unwrap().status(), 200);
    assert_eq!(old_key, std::fs::read(&key).unwrap());

    std::fs::rename(&other, &key).unwrap();
    assert_eq!(post(&edge, "/reload").await.0, 200);
    let second = Certificate::from_pem(&std::fs::read(&certificate).unwrap()).unwrap();
    assert_eq!(trusting(&second).get(&url).send().await.unwrap().status(), 200);
    assert!(trusting(&first).get(&url).send().await.is_err(), "the first one is not shown any more");
}

fn acuity(arguments: &[&str]) -> Output {
    Command::new(binary().unwrap()).args(arguments).output().unwrap()
}
