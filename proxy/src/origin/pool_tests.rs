//! Who is asked, in which order; against origins of a few lines.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use prometheus::Registry;

use super::*;

fn found(well: bool, is_up: bool, opened_ago: u64) -> Found {
    let since = Instant::now().checked_sub(Duration::from_secs(opened_ago)).unwrap();
    Found { standing: if well { Standing::Closed } else { Standing::Open { since, due: false } }, is_up }
}

#[test]
fn the_well_come_first_and_of_the_ill_the_least_bad() {
    let well = || found(true, true, 0);
    assert_eq!(order(&[well(), well(), well()]), (vec![0, 1, 2], 3));
    assert_eq!(order(&[found(false, true, 1), well()]), (vec![1, 0], 1));
    assert_eq!(order(&[found(true, false, 0), well()]), (vec![1, 0], 1), "a check says so");
    let ill = [found(false, false, 9), found(true, false, 0), found(false, true, 5), found(false, true, 7)];
    assert_eq!(order(&ill), (vec![3, 2, 1, 0], 0), "up by its checks, and left alone for longest");
}

struct World {
    pools: Arc<Pools>,
    registry: Registry,
    url: Url,
}

fn world(change: impl FnOnce(&mut OriginConfig, &mut RouteConfig)) -> World {
    let (mut config, mut route) =
        (OriginConfig::default(), RouteConfig::to("http://127.0.0.1:1/a".parse().unwrap()));
    route.backup_origins =
        vec!["http://127.0.0.1:2/b".parse().unwrap(), "http://127.0.0.1:3/".parse().unwrap()];
    config.breaker.failures = 2;
    change(&mut config, &mut route);
    let registry = Registry::new();
    let instruments = Instruments::register(&registry).unwrap();
    let client = Client::builder().no_proxy().tls_certs_only(std::iter::empty()).build().unwrap();
    let pools = Arc::new(Pools::new(&config, &[route], client, instruments, None));
    World { pools, registry, url: "http://127.0.0.1:1/a/v/1.ts?x".parse().unwrap() }
}

impl World {
    fn tries(&self) -> Tries {
        self.pools.tries(0, &self.url, false)
    }

    fn text(&self) -> String {
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap()
    }
}

#[test]
fn each_origin_is_asked_once_where_it_has_the_thing() {
    let world = world(|_, _| {});
    let mut tries = world.tries();
    assert_eq!(tries.url().as_str(), "http://127.0.0.1:1/a/v/1.ts?x");
    assert!(tries.has_well_next() && !tries.is_elsewhere());
    tries.failed("timeout");
    assert!(tries.next("timeout"));
    assert_eq!(tries.url().as_str(), "http://127.0.0.1:2/b/v/1.ts?x");
    assert!(tries.is_elsewhere(), "another base path");
    assert!(tries.next("broken") && tries.url().as_str() == "http://127.0.0.1:3/v/1.ts?x");
    assert!(!tries.has_next() && !tries.next("broken"));
    let text = world.text();
    assert!(
        text.contains("acuity_origin_retries_total{origin=\"http://127.0.0.1:1/a\",reason=\"timeout\"} 1"),
        "{text}"
    );
}

#[test]
fn one_that_fails_is_skipped_until_it_answers() {
    let world = world(|_, _| {});
    for _ in 0..2 {
        world.tries().failed("unreachable");
    }
    let mut tries = world.tries();
    assert_eq!(tries.url().port(), Some(2), "the first is skipped");
    let text = world.text();
    for line in [
        "acuity_origin_up{origin=\"http://127.0.0.1:1/a\"} 0",
        "acuity_origin_up{origin=\"http://127.0.0.1:2/b\"} 1",
        "acuity_origin_breaker_state{origin=\"http://127.0.0.1:1/a\"} 2",
        "acuity_origin_breaker_opened_total{origin=\"http://127.0.0.1:1/a\"} 1",
        "acuity_origin_skipped_total{origin=\"http://127.0.0.1:1/a\",reason=\"breaker\"} 1",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    assert_eq!(world.pools.report(0)[0]["breaker"], "open");
    // All others fail: it is tried after all, and what it answers counts.
    assert!(tries.next("timeout") && tries.next("timeout"));
    assert_eq!(tries.url().port(), Some(1));
    tries.answered();
    assert_eq!(world.tries().url().port(), Some(1));
    assert_eq!(world.pools.report(0)[0]["up"], true);
}

#[test]
fn when_all_are_ill_the_least_bad_is_asked() {
    let world = world(|_, _| {});
    for _ in 0..6 {
        world.tries().failed("timeout");
    }
    let mut tries = world.tries();
    assert!(!tries.has_well_next() && tries.has_next());
    assert_eq!(tries.url().port(), Some(1), "left alone for longest");
    assert!(tries.next("timeout"));
}

#[test]
fn an_outage_of_all_is_not_multiplied() {
    let world = world(|config, _| {
        config.retries.reserve = 3;
        config.retries.share = 0.0;
    });
    let mut asked = 0;
    for _ in 0..100 {
        let mut tries = world.tries();
        loop {
            asked += 1;
            tries.failed("timeout");
            if !tries.next("timeout") {
                break;
            }
        }
    }
    assert_eq!(asked, 103);
    assert!(world.text().contains("acuity_origin_retry_budget_exhausted_total"));
}

#[test]
fn folders_are_spread_and_stay_together() {
    let world = world(|_, route| route.spread_origins = true);
    let port = |path: &str| {
        let url = format!("http://127.0.0.1:1/a/{path}").parse().unwrap();
        world.pools.tries(0, &url, false).url().port().unwrap()
    };
    let mut asked = [0; 4];
    for folder in 0..300 {
        let own = port(&format!("{folder}/index.m3u8"));
        assert_eq!(own, port(&format!("{folder}/1.ts?x=1")));
        asked[usize::from(own)] += 1;
    }
    assert!(asked[1..].iter().all(|&part| part > 50), "{asked:?}");
}

#[tokio::test(start_paused = true)]
async fn one_without_room_is_passed_by() {
    let world = world(|config, _| config.max_passed_through = Some(1));
    let (mut one, mut two, mut three, mut four) =
        (world.tries(), world.tries(), world.tries(), world.tries());
    let held = one.slot().await.unwrap();
    let (second, third) = (two.slot().await.unwrap(), three.slot().await.unwrap());
    let ports = [&one, &two, &three].map(|tries| tries.url().port());
    assert_eq!(ports, [Some(1), Some(2), Some(3)]);
    assert!(four.slot().await.is_none(), "all are full");
    drop(held);
    assert!(world.tries().slot().await.is_some());
    assert!(
        world.text().contains("acuity_origin_full_total{origin=\"http://127.0.0.1:3\"} 1"),
        "{}",
        world.text()
    );
    drop((second, third));
    assert!(world.text().contains("acuity_origin_passing_requests{origin=\"http://127.0.0.1:2/b\"} 0"));
}

#[test]
fn what_is_known_of_an_origin_survives_a_reload() {
    let world = world(|_, _| {});
    for _ in 0..2 {
        world.tries().failed("timeout");
    }
    let mut route = RouteConfig::to("http://127.0.0.1:1/a".parse().unwrap());
    route.backup_origins = vec!["http://127.0.0.1:9/".parse().unwrap()];
    let client = world.pools.client.clone();
    let instruments = world.pools.instruments.clone();
    let config = OriginConfig::default();
    let pools = Arc::new(Pools::new(&config, &[route], client, instruments, Some(&world.pools)));
    assert_eq!(pools.tries(0, &world.url, false).url().port(), Some(9));
    let text = world.text();
    assert!(
        !text.contains("127.0.0.1:2") && text.contains("acuity_origin_up{origin=\"http://127.0.0.1:9\"} 1"),
        "{text}"
    );
    assert!(text.contains("acuity_origin_breaker_opened_total{origin=\"http://127.0.0.1:1/a\"} 1"), "{text}");
}
