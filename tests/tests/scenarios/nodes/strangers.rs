//! Who is a node and who is not, and what crosses between nodes.

use acuity_tests::certificates::self_signed;
use acuity_tests::clips;
use acuity_tests::origin::Origin;
use acuity_tests::player::Player;
use acuity_tests::region::Region;
use acuity_tests::world::WorldBuilder;
use reqwest::Method;

use super::{all_the_same, asked, crowd, made_each, made_in, nodes, open};

#[tokio::test]
async fn who_does_not_know_the_secret_is_no_node() {
    let clip = clips::vod_ts().await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    let other = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(other.path(), "another secret than theirs").unwrap();
    let path = format!("{:?}", other.path());
    let change = |at, told: WorldBuilder| if at == 2 { told.set("nodes.secret_file", &path) } else { told };
    let region = Region::start(3, origin, &nodes(), change).await.unwrap();
    region.until_up(&[1, 1, 0]).await.unwrap();
    let medias = open(&region).await;
    for index in 0..3 {
        // Plain viewers notice nothing; the third works for itself.
        all_the_same(&crowd(&medias[..2], index, 3).await);
        all_the_same(&crowd(&medias[2..], index, 3).await);
    }
    let each = made_each(&region).await;
    assert_eq!((each[0] + each[1], each[2]), (3.0, 3.0), "{}", region.events());
    assert!(region.sum("acuity_node_refusals_total", &[("reason", "forged")]).await.unwrap() > 0.0);
    assert_eq!(
        region.nodes[0].metrics().await.unwrap().sum("acuity_node_members", &[("state", "down")]),
        1.0
    );

    let player = Player::new().unwrap();
    let url = |path: &str| format!("http://{}{path}", region.wires[0].address());
    for path in ["/v1/object", "/v1/purge", "/v1/launch", "/v1/alive", "/", "/metrics"] {
        for method in [Method::GET, Method::POST] {
            let answer = player.request(method.clone(), &url(path), &[]).await.unwrap();
            assert_eq!((answer.status.as_u16(), answer.body.len()), (403, 0), "{method} {path}");
        }
        let forged = format!("v1.{}.AAAA.{}", now_ms(), "A".repeat(43));
        let answer = player.request(Method::POST, &url(path), &[("acuity-node", &forged)]).await.unwrap();
        assert_eq!(answer.status.as_u16(), 403, "{path}");
        let stale = format!("v1.{}.AAAA.{}", now_ms() - 3_600_000, "A".repeat(43));
        let answer = player.request(Method::POST, &url(path), &[("acuity-node", &stale)]).await.unwrap();
        assert_eq!(answer.status.as_u16(), 403, "{path}");
    }
    let metrics = region.nodes[0].metrics().await.unwrap();
    for (reason, least) in [("unsigned", 12.0), ("forged", 6.0), ("stale", 6.0)] {
        let refused = metrics.sum("acuity_node_refusals_total", &[("reason", reason)]);
        assert!(refused >= least, "{reason}: {refused}");
    }
    // And what is for nodes is not on the players' address.
    let answer = player.request(Method::POST, &region.nodes[0].url("/v1/alive"), &[]).await.unwrap();
    assert!(!answer.status.is_success(), "{}", answer.status);
}

fn now_ms() -> u128 {
    std::time::SystemTime::now().duration_since(std::time::UNIX_EPOCH).unwrap().as_millis()
}

#[tokio::test]
async fn what_is_private_is_not_shared() {
    let clip = clips::vod_ts().await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    for index in 0..3 {
        origin.header(&format!("/vod/180p/00{index}.ts"), "cache-control", "private, max-age=60");
    }
    let region = Region::start(3, origin, &nodes(), |_, told| told).await.unwrap();
    region.until_up(&[2, 2, 2]).await.unwrap();
    let medias = open(&region).await;
    for index in 0..3 {
        for media in &medias {
            crowd(std::slice::from_ref(media), index, 2).await;
        }
    }
    assert_eq!((made_in(&region).await, asked(&region, "fetched").await), (9.0, 0.0), "{}", region.events());
    assert_eq!(region.sum("acuity_node_received_bytes_total", &[]).await.unwrap(), 0.0);
    let refused = asked(&region, "private").await;
    assert!((1.0..=6.0).contains(&refused), "{refused}");
}

#[tokio::test]
async fn nodes_speak_tls_and_believe_their_own_authority_alone() {
    let clip = clips::vod_ts().await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    let folder = tempfile::tempdir().unwrap();
    let file = |name: &str| format!("{:?}", folder.path().join(name));
    for name in ["theirs", "other"] {
        let [certificate, key] = ["pem", "key"].map(|kind| folder.path().join(format!("{name}.{kind}")));
        self_signed(&certificate, &key, "IP:127.0.0.1").unwrap();
    }
    // The third shows a certificate that nobody knows, and knows nobody's.
    let change = |at: usize, told: WorldBuilder| {
        let name = if at == 2 { "other" } else { "theirs" };
        told.set("nodes.tls.certificate", file(&format!("{name}.pem")))
            .set("nodes.tls.key", file(&format!("{name}.key")))
            .set("nodes.tls.authority", file(&format!("{name}.pem")))
    };
    let region = Region::start(3, origin, &nodes(), change).await.unwrap();
    region.until_up(&[1, 1, 0]).await.unwrap();
    let medias = open(&region).await;
    for index in 0..3 {
        all_the_same(&crowd(&medias[..2], index, 3).await);
        all_the_same(&crowd(&medias[2..], index, 3).await);
    }
    let each = made_each(&region).await;
    assert_eq!((each[0] + each[1], each[2]), (3.0, 3.0), "{}", region.events());
    assert_eq!(asked(&region, "fetched").await, 3.0);
    let plain = format!("http://{}/v1/alive", region.wires[0].address());
    assert!(Player::new().unwrap().get(&plain).await.is_err(), "nothing is said in the clear");
}
