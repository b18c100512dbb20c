//! Origins that are checked, bounded, and changed while they are used.

use std::time::Duration;

use acuity_tests::origin::{EVERYWHERE, Fault, Origin};
use acuity_tests::player::Player;
use acuity_tests::world::WorldBuilder;

use super::{FOR_EVER, backups, edge_before, fill, get, hurried, label, plain, route, until_up, whole};
use crate::reload::post;

#[tokio::test]
async fn a_health_check_finds_out_before_a_viewer_pays() {
    let (primary, backup) = (Origin::start().await.unwrap(), Origin::start().await.unwrap());
    fill(&[&primary, &backup]);
    for origin in [&primary, &backup] {
        origin.put("/healthz", "well");
    }
    let check = "{ path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\", rise = 2, fall = 3 }";
    let edge = edge_before(hurried(plain()).route("health_check", check), &primary, &[&backup]).await;
    until_up(&edge, 0, true).await;
    assert!(get(&edge, "/v/1.ts").await.seconds < 0.5);
    primary.fault(EVERYWHERE, Fault::Latency(FOR_EVER));
    until_up(&edge, 0, false).await;
    for number in 2..6 {
        let seconds = whole(&Player::new().unwrap(), &edge, number).await;
        assert!(seconds < 0.4, "{seconds:.2} s");
        assert_eq!(primary.fetches(&format!("/v/{number}.ts")), 0);
    }
    assert_eq!(route(&edge).await["origins"][0]["check"], "down");
    let metrics = edge.metrics().await.unwrap();
    let skipped =
        metrics.sum("acuity_origin_skipped_total", &[("origin", &label(&primary)), ("reason", "check")]);
    assert!(skipped >= 4.0, "{}", metrics.text());
    assert!(metrics.sum("acuity_origin_checks_total", &[("outcome", "failed")]) >= 3.0);
    primary.heal(EVERYWHERE);
    until_up(&edge, 0, true).await;
    whole(&Player::new().unwrap(), &edge, 7).await;
    assert_eq!(primary.fetches("/v/7.ts"), 1);
    let told = edge.events();
    assert!(
        told.contains("is down by its health check") && told.contains("is up by its health check"),
        "{told}"
    );
}

#[tokio::test]
async fn an_origin_gets_no_more_than_it_is_to_have() {
    let (primary, backup) = (Origin::start().await.unwrap(), Origin::start().await.unwrap());
    fill(&[&primary, &backup]);
    let slow = Fault::Latency(Duration::from_millis(1500));
    for origin in [&primary, &backup] {
        origin.fault("/v/1.ts", slow.clone());
    }
    let told = plain().set("origin.max_passed_through", 2);
    let edge = edge_before(told, &primary, &[&backup]).await;
    let asked = (0..5).map(|_| get(&edge, "/v/1.ts"));
    let answers = futures::future::join_all(asked).await;
    let statuses: Vec<u16> = answers.iter().map(|answer| answer.status.as_u16()).collect();
    assert_eq!(statuses.iter().filter(|&&status| status == 200).count(), 4, "{statuses:?}");
    let refused = answers.iter().find(|answer| answer.status == 503).unwrap();
    assert_eq!(refused.header("retry-after"), "1");
    assert_eq!((primary.fetches("/v/1.ts"), backup.fetches("/v/1.ts")), (2, 2));
    let metrics = edge.metrics().await.unwrap();
    assert!(
        metrics.sum("acuity_origin_full_total", &[("origin", &label(&backup))]) >= 1.0,
        "{}",
        metrics.text()
    );
    assert_eq!(get(&edge, "/v/2.ts").await.status, 200, "there is room again");
}

#[tokio::test]
async fn origins_and_limits_change_under_load() {
    let origins =
        [Origin::start().await.unwrap(), Origin::start().await.unwrap(), Origin::start().await.unwrap()];
    fill(&[&origins[0], &origins[1], &origins[2]]);
    let told = hurried(plain());
    let edge = edge_before(told.clone(), &origins[0], &[&origins[1]]).await;
    // it is known to be ill, and stays known so
    origins[0].fault(EVERYWHERE, Fault::Status(503));
    let rewrite = |told: &WorldBuilder, first: &Origin, others: &[&Origin]| {
        let text = backups(told.clone(), others).config_for(first.base().unwrap().as_str());
        std::fs::write(edge.config_file(), text).unwrap();
    };
    let (stop, stopped) = tokio::sync::watch::channel(false);
    let load: Vec<_> = (0..4_u8)
        .map(|number| {
            let (base, stopped) = (edge.base.clone(), stopped.clone());
            tokio::spawn(async move {
                let (player, mut served) = (Player::new().unwrap(), 0);
                while !*stopped.borrow() {
                    let url = format!("{base}/v/{number}.ts");
                    assert_eq!(player.get(&url).await.unwrap().status, 200);
                    served += 1;
                }
                served
            })
        })
        .collect();
    until_up(&edge, 0, false).await;
    for round in 0..6 {
        let others: &[&Origin] = if round % 2 == 0 { &[&origins[2], &origins[1]] } else { &[&origins[1]] };
        let limited =
            told.clone().set("limits.client.requests", 100 + round).set("limits.stall_timeout", "\"9s\"");
        rewrite(&limited, &origins[0], others);
        assert_eq!(
            post(&edge, "/reload").await,
            (200, serde_json::json!({ "outcome": "applied", "restart_needed": [] }))
        );
        assert_eq!(route(&edge).await["origins"][0]["up"], false, "what is known survives");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
    stop.send(true).unwrap();
    let mut served = 0;
    for player in load {
        served += player.await.unwrap();
    }
    assert!(served > 50, "{served}");
    assert!(origins[2].seen().len() > 5 && origins[1].seen().len() > 5);

    // limits are in force for the next request
    let strict = told.clone().set("limits.client.requests_per_second", 1).set("limits.client.burst", 3);
    rewrite(&strict, &origins[1], &[]);
    assert_eq!(post(&edge, "/reload").await.0, 200);
    let mut statuses = Vec::new();
    for _ in 0..6 {
        statuses.push(get(&edge, "/v/1.ts").await.status.as_u16());
    }
    assert_eq!(statuses[..3], [200; 3], "{statuses:?}");
    assert!(statuses[3..].contains(&429), "{statuses:?}");
    // who had used up its bucket has not got another by a reload of something else
    rewrite(&strict.clone().set("limits.stall_timeout", "\"8s\""), &origins[1], &[]);
    assert_eq!(post(&edge, "/reload").await.0, 200);
    let again: Vec<u16> = {
        let mut statuses = Vec::new();
        for _ in 0..3 {
            statuses.push(get(&edge, "/v/1.ts").await.status.as_u16());
        }
        statuses
    };
    assert!(again.contains(&429), "{again:?}");
    rewrite(&told.clone().set("limits.request_header_bytes", "\"4KiB\""), &origins[1], &[]);
    assert_eq!(post(&edge, "/reload").await.0, 200);
    let player = Player::new().unwrap().with_header("x-long", &"x".repeat(5000)).unwrap();
    assert_eq!(player.get(&edge.url("/v/1.ts")).await.unwrap().status, 431);
    assert_eq!(get(&edge, "/v/1.ts").await.status, 200);
    assert_eq!(route(&edge).await["origins"].as_array().unwrap().len(), 1);

    // and so are checks
    origins[1].put("/healthz", "well");
    let check = "{ path = \"/healthz\", interval = \"100ms\", timeout = \"100ms\", fall = 1 }";
    rewrite(&told.clone().route("health_check", check), &origins[1], &[]);
    assert_eq!(post(&edge, "/reload").await.0, 200);
    assert_eq!(route(&edge).await["origins"][0]["check"], "up");
    origins[1].fault("/healthz", Fault::Status(500));
    until_up(&edge, 0, false).await;
    rewrite(&told, &origins[1], &[]);
    assert_eq!(post(&edge, "/reload").await.0, 200);
    assert_eq!(route(&edge).await["origins"][0]["up"], true, "nobody says otherwise any more");
    let checks = origins[1].fetches("/healthz");
    tokio::time::sleep(Duration::from_millis(400)).await;
    assert!(origins[1].fetches("/healthz") <= checks + 1, "nobody asks any more");
    assert!(!edge.metrics().await.unwrap().text().contains(&label(&origins[0])), "gone with its route");
}
