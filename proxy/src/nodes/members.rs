//! Who the nodes of the region are, and which is this one.

use std::collections::HashSet;
use std::net::{IpAddr, SocketAddr, UdpSocket};
use std::sync::Arc;
use std::time::Duration;

use acuity_config::{NodeName, NodesConfig, NodesTls};
use futures::future::join_all;
use reqwest::redirect::Policy;
use reqwest::{Certificate, Client};

use super::NodesFault;
use super::health::Health;
use super::ring::Ring;
use crate::cache::key::ObjectKey;

/// Connections to one node that are kept for the next request.
const IDLE_CONNECTIONS: usize = 64;
/// For how long: less than the other side keeps them.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Another node, or this one.
pub(crate) struct Member {
    pub(crate) name: NodeName,
    /// What requests are sent with; none: this node.
    pub(super) way: Option<Way>,
    pub(super) health: Health,
}

/// How a node is reached.
pub(super) struct Way {
    pub(super) client: Client,
    /// No final slash.
    pub(super) base: String,
}

/// The nodes as they are known now.
pub(super) struct Region {
    ring: Ring,
    /// In the ring's order.
    members: Vec<Arc<Member>>,
}

/// Where a node is, under which name.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Found {
    /// What it is called on the ring.
    name: NodeName,
    /// The name that its certificate is for, where that is not what it is called.
    host: Option<String>,
}

impl Region {
    /// Nobody yet.
    pub(super) fn empty() -> Self {
        Self { ring: Ring::new([]), members: Vec::new() }
    }

    /// The nodes that the configuration names itself.
    pub(super) fn named(config: &NodesConfig, before: &Self) -> Result<Self, NodesFault> {
        let found = config.members.iter().map(|name| Found { name: name.clone(), host: None }).collect();
        Self::new(config, found, before)
    }

    /// The nodes that names lead to now. What cannot be resolved counts as failed; its nodes are those known before.
    pub(super) async fn discovered(
        config: &NodesConfig,
        before: &Self,
        failed: impl Fn(&NodeName, &std::io::Error),
    ) -> Result<Self, NodesFault> {
        let resolve = async |name: &NodeName| {
            if let Some(address) = name.address() {
                return Ok(vec![address]);
            }
            tokio::net::lookup_host((name.host.as_str(), name.port)).await.map(Iterator::collect)
        };
        let answers: Vec<std::io::Result<Vec<SocketAddr>>> =
            join_all(config.members.iter().map(resolve)).await;
        let mut found = Vec::new();
        let mut lost = false;
        for (name, answer) in config.members.iter().zip(answers) {
            match answer {
                Ok(addresses) => found.extend(
                    addresses
                        .into_iter()
                        .map(|address| Found { name: address.into(), host: Some(name.host.clone()) }),
                ),
                Err(error) => {
                    failed(name, &error);
                    lost = true;
                }
            }
        }
        if lost {
            // Which of them were this name's is not known; one too many is only asked in vain.
            let known =
                before.members.iter().filter(|member| !found.iter().any(|one| one.name == member.name));
            let hosts = config.members.first().map(|name| name.host.clone());
            found.extend(
                known
                    .map(|member| Found { name: member.name.clone(), host: hosts.clone() })
                    .collect::<Vec<_>>(),
            );
        }
        Self::new(config, found, before)
    }

    fn new(config: &NodesConfig, found: Vec<Found>, before: &Self) -> Result<Self, NodesFault> {
        let own = own(config, &found)?;
        let ring = Ring::new(found.iter().map(|one| one.name.clone()));
        let member = |name: &NodeName| {
            let is_own = own.as_ref() == Some(name);
            let known = before.members.iter().find(|member| member.name == *name);
            // What was learned of a node, and connections to it, outlive a look at the members.
            if let Some(known) = known.filter(|known| known.way.is_none() == is_own) {
                return Ok(Arc::clone(known));
            }
            let host = found.iter().find(|one| one.name == *name).and_then(|one| one.host.as_deref());
            let way = if is_own { None } else { Some(Way::new(config, name, host)?) };
            Ok(Arc::new(Member { name: name.clone(), way, health: Health::default() }))
        };
        let members = ring.names().iter().map(member).collect::<Result<_, NodesFault>>()?;
        Ok(Self { ring, members })
    }

    /// Whose an object is now: the first on the ring that is up and not `passed_over`; `None`: this node's.
    pub(super) fn owner(&self, key: &ObjectKey, passed_over: &[Arc<Member>]) -> Option<Arc<Member>> {
        let is_asked = |member: &&Arc<Member>| {
            member.way.is_none()
                || (member.health.is_up() && !passed_over.iter().any(|other| Arc::ptr_eq(other, member)))
        };
        let owner = self.ring.order(key).filter_map(|at| self.members.get(at)).find(is_asked)?;
        owner.way.is_some().then(|| Arc::clone(owner))
    }

    /// All nodes but this one.
    pub(super) fn others(&self) -> impl Iterator<Item = &Arc<Member>> {
        self.members.iter().filter(|member| member.way.is_some())
    }

    /// Whether the same nodes are known.
    pub(super) fn is_as(&self, other: &Self) -> bool {
        self.ring.names() == other.ring.names()
    }

    /// What this node is called, if it is one of them.
    pub(super) fn own_name(&self) -> Option<&NodeName> {
        self.members.iter().find(|member| member.way.is_none()).map(|member| &member.name)
    }

    /// What all are called.
    pub(super) fn names(&self) -> String {
        self.ring.names().iter().map(ToString::to_string).collect::<Vec<_>>().join(" ")
    }
}

/// Which of them this node is: as configured, or the only one at an address of this machine and at the port that it listens on.
fn own(config: &NodesConfig, found: &[Found]) -> Result<Option<NodeName>, NodesFault> {
    if let Some(own) = &config.own {
        return Ok(Some(own.clone()));
    }
    let mut own = found.iter().map(|one| &one.name).filter(|name| {
        let address = name.address();
        address.is_some_and(|address| {
            let listens = config.listen.ip();
            address.port() == config.listen.port()
                && (listens == address.ip() || (listens.is_unspecified() && is_local(address.ip())))
        })
    });
    let first = own.next().cloned();
    match own.next() {
        Some(other) => Err(NodesFault::Own(format!(
            "{} and {other}",
            first.map(|name| name.to_string()).unwrap_or_default()
        ))),
        None => Ok(first),
    }
}

/// Only an address of this machine can be bound. Nothing is sent.
fn is_local(address: IpAddr) -> bool {
    UdpSocket::bind((address, 0)).is_ok()
}

impl Way {
    fn new(config: &NodesConfig, name: &NodeName, host: Option<&str>) -> Result<Self, NodesFault> {
        let mut builder = Client::builder()
            .connect_timeout(config.connect_within)
            .no_proxy()
            .redirect(Policy::none())
            .pool_idle_timeout(IDLE_FOR)
            .pool_max_idle_per_host(IDLE_CONNECTIONS)
            .no_gzip()
            .no_brotli()
            .http1_only()
            .tcp_nodelay(true);
        builder = match &config.tls {
            None => builder.tls_certs_only(std::iter::empty()),
            Some(tls) => match authorities(tls)? {
                Some(authorities) => builder.tls_certs_only(authorities),
                None => builder,
            },
        };
        let scheme = if config.tls.is_some() { "https" } else { "http" };
        let base = match (host, name.address()) {
            (Some(host), Some(address)) if host.parse::<IpAddr>().is_err() => {
                builder = builder.resolve(host, address);
                format!("{scheme}://{host}:{}", name.port)
            }
            _ => format!("{scheme}://{name}"),
        };
        let client = builder.build().map_err(|error| NodesFault::Client(error.to_string()))?;
        Ok(Self { client, base })
    }
}

/// Whose certificates are believed, where not the system's.
pub(super) fn authorities(tls: &NodesTls) -> Result<Option<Vec<Certificate>>, NodesFault> {
    let Some(file) = &tls.authority else { return Ok(None) };
    let fault = |why: String| NodesFault::Authority { file: file.clone(), why };
    let text = std::fs::read(file).map_err(|error| fault(format!("cannot be read: {error}")))?;
    let authorities = Certificate::from_pem_bundle(&text).map_err(|error| fault(error.to_string()))?;
    if authorities.is_empty() {
        return Err(fault("holds no certificate".to_owned()));
    }
    Ok(Some(authorities))
}

/// Members that are new and members that are gone, in words.
pub(super) fn difference(before: &Region, now: &Region) -> (String, String) {
    let names = |region: &Region| region.ring.names().iter().cloned().collect::<HashSet<_>>();
    let (before, now) = (names(before), names(now));
    let list = |names: Vec<&NodeName>| names.iter().map(ToString::to_string).collect::<Vec<_>>().join(" ");
    (list(now.difference(&before).collect()), list(before.difference(&now).collect()))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    fn config(text: &str) -> NodesConfig {
        let text = format!("[[route]]\norigin = \"http://o.example\"\n[nodes]\nsecret_file = \"/s\"\n{text}");
        acuity_config::parse(&text).unwrap().nodes.unwrap()
    }

    const THREE: &str =
        "listen = \"127.0.0.1:7071\"\nmembers = [\"127.0.0.1:7071\", \"127.0.0.1:7072\", \"127.0.0.1:7073\"]";

    fn key(at: usize) -> ObjectKey {
        ObjectKey::new("", "http://o/", "t", &format!("/{at}.ts"))
    }

    #[test]
    fn this_node_is_known_by_its_address() {
        let region = Region::named(&config(THREE), &Region::empty()).unwrap();
        assert_eq!(region.own_name().unwrap().to_string(), "127.0.0.1:7071");
        assert_eq!(region.others().count(), 2);
        let elsewhere = THREE.replacen("7071", "9999", 1);
        assert!(Region::named(&config(&elsewhere), &Region::empty()).unwrap().own_name().is_none());
        let any = "listen = \"0.0.0.0:7071\"\nmembers = [\"127.0.0.1:7071\", \"192.0.2.1:7071\"]";
        let region = Region::named(&config(any), &Region::empty()).unwrap();
        assert_eq!(region.own_name().unwrap().to_string(), "127.0.0.1:7071");
        let both = "listen = \"0.0.0.0:7071\"\nmembers = [\"127.0.0.1:7071\", \"127.0.0.2:7071\"]";
        assert!(matches!(Region::named(&config(both), &Region::empty()), Err(NodesFault::Own(_))));
        let said = format!("{THREE}\nown = \"127.0.0.1:7073\"");
        let region = Region::named(&config(&said), &Region::empty()).unwrap();
        assert_eq!(region.own_name().unwrap().port, 7073);
    }

    #[test]
    fn the_next_on_the_ring_takes_over() {
        let region = Region::named(&config(THREE), &Region::empty()).unwrap();
        let mut seen = HashSet::new();
        for at in 0..200 {
            let Some(owner) = region.owner(&key(at), &[]) else { continue };
            seen.insert(owner.name.clone());
            let next = region.owner(&key(at), &[Arc::clone(&owner)]).map(|next| next.name.clone());
            assert_ne!(next.as_ref(), Some(&owner.name));
            owner.health.failed(Instant::now(), Duration::from_secs(60));
            assert_eq!(region.owner(&key(at), &[]).map(|next| next.name.clone()), next);
            owner.health.checked(true, Instant::now() + Duration::from_secs(61), Duration::from_secs(1));
        }
        assert_eq!(seen.len(), 2);
        for other in region.others() {
            other.health.failed(Instant::now(), Duration::from_secs(60));
        }
        assert!((0..200).all(|at| region.owner(&key(at), &[]).is_none()), "the last one owns all");
    }

    #[test]
    fn what_is_known_of_a_node_outlives_a_change() {
        let before = Region::named(&config(THREE), &Region::empty()).unwrap();
        let other = before.others().next().unwrap();
        other.health.failed(Instant::now(), Duration::from_secs(60));
        let four = THREE.replace("\"127.0.0.1:7073\"]", "\"127.0.0.1:7073\", \"127.0.0.1:7074\"]");
        let after = Region::named(&config(&four), &before).unwrap();
        assert!(!before.is_as(&after));
        let same = after.others().find(|member| member.name == other.name).unwrap();
        assert!(!same.health.is_up());
        assert_eq!(difference(&before, &after), ("127.0.0.1:7074".to_owned(), String::new()));
    }

    #[tokio::test]
    async fn names_stand_for_all_their_addresses() {
        let text = "listen = \"127.0.0.1:7071\"\nmembers = [\"localhost:7071\", \"192.0.2.7:7071\"]\ndiscover = true";
        let region = Region::discovered(&config(text), &Region::empty(), |_, _| {}).await.unwrap();
        assert_eq!(region.own_name().unwrap().to_string(), "127.0.0.1:7071");
        assert!(region.others().any(|other| other.name.to_string() == "192.0.2.7:7071"));
        let gone = config(&text.replace("localhost", "nobody.invalid"));
        let failures = std::sync::atomic::AtomicUsize::new(0);
        let count = |_: &NodeName, _: &std::io::Error| {
            let _ = failures.fetch_add(1, std::sync::atomic::Ordering::SeqCst);
        };
        let after = Region::discovered(&gone, &region, count).await.unwrap();
        assert!(after.is_as(&region), "those known before stay");
        assert_eq!(failures.into_inner(), 1);
    }
}
