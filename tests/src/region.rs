//! A region: several edges that know each other, before one origin. Each is reached by the others over a [`Wire`] of its own.

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use futures::future::join_all;
use tempfile::TempDir;

use crate::Result;
use crate::metrics::Metrics;
use crate::origin::Origin;
use crate::player::{Media, Multivariant, Player};
use crate::ports;
use crate::wire::Wire;
use crate::world::{Edge, WorldBuilder};

/// A running region; ended when dropped.
#[derive(Debug)]
pub struct Region {
    /// The origin.
    pub origin: Origin,
    /// Its nodes; one that is taken out is ended.
    pub nodes: Vec<Edge>,
    /// How each is reached by the others.
    pub wires: Vec<Wire>,
    _folder: TempDir,
}

impl Region {
    /// Starts `count` nodes, each told by `told` and by what `change` makes of it.
    ///
    /// # Errors
    /// When one of them does not get ready.
    pub async fn start(
        count: usize,
        origin: Origin,
        told: &WorldBuilder,
        change: impl Fn(usize, WorldBuilder) -> WorldBuilder,
    ) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("acuity-region-").tempdir()?;
        let secret = folder.path().join("nodes.key");
        std::fs::write(&secret, "the secret of this region")?;
        std::fs::set_permissions(&secret, std::fs::Permissions::from_mode(0o600))?;
        let mut wires = Vec::new();
        for _ in 0..count {
            wires.push(Wire::new().await?);
        }
        let members: Vec<SocketAddr> = wires.iter().map(Wire::address).collect();
        let names = format!("{:?}", members.iter().map(ToString::to_string).collect::<Vec<_>>());
        let listens = ports::free_many(count)?;
        for (wire, listen) in wires.iter().zip(&listens) {
            wire.leads_to(*listen);
        }
        let base = origin.base()?.to_string();
        let told = listens.iter().zip(&members).enumerate().map(|(at, (listen, own))| {
            let told = told
                .clone()
                .set("nodes.listen", format!("\"{listen}\""))
                .set("nodes.own", format!("\"{own}\""))
                .set("nodes.members", &names)
                .set("nodes.secret_file", format!("{secret:?}"));
            change(at, told)
        });
        let told: Vec<WorldBuilder> = told.collect();
        let edges = join_all(told.iter().map(|told| told.start_before(&base))).await;
        let nodes = edges.into_iter().collect::<Result<_>>()?;
        Ok(Self { origin, nodes, wires, _folder: folder })
    }

    /// Waits until each node sees so many of the others.
    ///
    /// # Errors
    /// When one does not within half a minute.
    pub async fn until_up(&self, others: &[usize]) -> Result<()> {
        let started = std::time::Instant::now();
        loop {
            let metrics = self.metrics().await?;
            let up = |metrics: &Metrics| metrics.sum("acuity_node_members", &[("state", "up")]) as usize;
            let seen: Vec<usize> = metrics.iter().map(up).collect();
            if seen == others {
                return Ok(());
            }
            if started.elapsed() > std::time::Duration::from_secs(30) {
                return Err(format!("{seen:?} and not {others:?} are seen\n{}", self.events()).into());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// A node's playlist of the one enhanced rendition, as each node gives it; asked until it is offered.
    ///
    /// # Errors
    /// When none is offered within ten seconds.
    pub async fn enhanced(&self, player: &Player, at: usize, path: &str) -> Result<(Multivariant, Media)> {
        let started = std::time::Instant::now();
        loop {
            let master = player.open(&self.nodes[at].url(path)).await?;
            if let Some(variant) = master.enhanced().first() {
                let media = player.media(&master.url_of(variant)?).await?;
                return Ok((master, media));
            }
            if started.elapsed() > std::time::Duration::from_secs(10) {
                let (text, events) = (master.fetched.text(), self.nodes[at].events());
                return Err(format!("nothing enhanced is offered:\n{text}\n{events}").into());
            }
            tokio::time::sleep(std::time::Duration::from_millis(100)).await;
        }
    }

    /// The sum of a metric over all nodes.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Result<f64> {
        let mut sum = 0.0;
        for metrics in self.metrics().await? {
            sum += metrics.sum(name, labels);
        }
        Ok(sum)
    }

    /// All metrics of each node.
    ///
    /// # Errors
    /// When one does not answer.
    pub async fn metrics(&self) -> Result<Vec<Metrics>> {
        join_all(self.nodes.iter().map(Edge::metrics)).await.into_iter().collect()
    }

    /// What all nodes wrote.
    #[must_use]
    pub fn events(&self) -> String {
        let events = self.nodes.iter().enumerate();
        events.map(|(at, edge)| format!("--- {at}\n{}", edge.events())).collect()
    }
}
