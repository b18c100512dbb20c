//! Nodes that find each other by one name, as a name server has it by now (here the file that the system's resolver reads before any).

use std::io::Write as _;
use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use acuity_tests::clips;
use acuity_tests::origin::Origin;
use acuity_tests::player::{Media, Player};
use acuity_tests::ports;
use acuity_tests::world::Edge;
use futures::future::join_all;

use super::{all_the_same, crowd, nodes};
use crate::depot::{made, media_at};

const NAME: &str = "nodes.region.test";

/// What the name leads to from now on: a file that nodes have in the place of the system's own, so it stays the same file.
fn leads_to(hosts: &Path, addresses: &[&str]) {
    let mut file = std::fs::File::options().write(true).truncate(true).open(hosts).unwrap();
    let lines: String = addresses.iter().map(|address| format!("{address} {NAME}\n")).collect();
    write!(file, "127.0.0.1 localhost\n{lines}").unwrap();
}

/// Waits until each of them sees so many others.
async fn until_up(edges: &[Edge], others: &[f64]) {
    let start = Instant::now();
    loop {
        let metrics = join_all(edges.iter().map(Edge::metrics)).await;
        let up =
            |metrics: &acuity_tests::metrics::Metrics| metrics.sum("acuity_node_members", &[("state", "up")]);
        let seen: Vec<f64> = metrics.iter().map(|metrics| up(metrics.as_ref().unwrap())).collect();
        if seen == others {
            return;
        }
        let events: String = edges.iter().map(Edge::events).collect();
        assert!(start.elapsed() < Duration::from_secs(30), "{seen:?}, not {others:?}\n{events}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}

#[tokio::test]
async fn members_are_what_a_name_leads_to_by_now() {
    let may = Command::new("unshare").args(["-rm", "mount", "--bind", "/etc/hosts", "/etc/hosts"]).status();
    if !may.is_ok_and(|status| status.success()) {
        eprintln!("not run: this machine lets nobody have names of his own");
        return;
    }
    let folder = tempfile::tempdir().unwrap();
    let (hosts, secret): (PathBuf, PathBuf) = (folder.path().join("hosts"), folder.path().join("key"));
    std::fs::write(&hosts, "").unwrap();
    std::fs::write(&secret, "the secret of this region").unwrap();
    std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600)).unwrap();
    leads_to(&hosts, &["127.0.0.11", "127.0.0.12"]);
    let clip = clips::vod_ts().await.unwrap();
    let origin = Origin::start().await.unwrap();
    origin.folder("/vod", clip.folder());
    // One port for all, as pods behind a name have it; whose it is on each address nobody else asks.
    let [free] = ports::free().unwrap();
    let hosts_text = hosts.display().to_string();
    let words = ["unshare", "-rm", "sh", "-c", "mount --bind \"$0\" /etc/hosts && exec \"$@\"", &hosts_text];
    let told: Vec<_> = (11..=13)
        .map(|last| {
            let listen = SocketAddr::from(([127, 0, 0, last], free.port()));
            nodes()
                .through(&words)
                .set("nodes.listen", format!("\"{listen}\""))
                .set("nodes.members", format!("\"{NAME}:{}\"", free.port()))
                .set("nodes.discover", true)
                .set("nodes.resolve_every", "\"1s\"")
                .set("nodes.secret_file", format!("{secret:?}"))
        })
        .collect();
    let base = origin.base().unwrap().to_string();
    let mut edges = Vec::new();
    for told in &told[..2] {
        edges.push(told.start_before(&base).await.unwrap());
    }
    until_up(&edges, &[1.0, 1.0]).await;
    let player = Player::new().unwrap();
    let media = enhanced(&player, &edges[0]).await;
    let medias: Vec<Media> = edges.iter().map(|edge| media_at(edge, &media)).collect();
    all_the_same(&crowd(&medias, 0, 3).await);
    assert_eq!(made_by(&edges).await, 1.0, "made once for both");

    // A third one comes, before the name has it, and then the name has it.
    edges.push(told[2].start_before(&base).await.unwrap());
    leads_to(&hosts, &["127.0.0.11", "127.0.0.12", "127.0.0.13"]);
    until_up(&edges, &[2.0, 2.0, 2.0]).await;
    let medias: Vec<Media> = edges.iter().map(|edge| media_at(edge, &media)).collect();
    all_the_same(&crowd(&medias, 1, 3).await);
    assert_eq!(made_by(&edges).await, 2.0, "made once for all three");

    // A name server that knows nothing any more changes nothing; one that has another list does.
    leads_to(&hosts, &[]);
    tokio::time::sleep(Duration::from_millis(2500)).await;
    until_up(&edges, &[2.0, 2.0, 2.0]).await;
    leads_to(&hosts, &["127.0.0.11", "127.0.0.13"]);
    until_up(&edges, &[1.0, 2.0, 1.0]).await;
    all_the_same(&crowd(&[medias[0].clone(), medias[2].clone()], 2, 3).await);
    assert_eq!(made_by(&edges).await, 3.0, "made once for those who are left");
}

async fn made_by(edges: &[Edge]) -> f64 {
    join_all(edges.iter().map(Edge::metrics))
        .await
        .iter()
        .map(|metrics| made(metrics.as_ref().unwrap()))
        .sum()
}

/// The enhanced rendition's playlist at an edge, asked until it is offered.
async fn enhanced(player: &Player, edge: &Edge) -> Media {
    let start = Instant::now();
    loop {
        let master = player.open(&edge.url("/vod/master.m3u8")).await.unwrap();
        if let Some(variant) = master.enhanced().first() {
            return player.media(&master.url_of(variant).unwrap()).await.unwrap();
        }
        assert!(start.elapsed() < Duration::from_secs(10), "{}", edge.events());
        tokio::time::sleep(Duration::from_millis(100)).await;
    }
}
