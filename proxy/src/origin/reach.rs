//! Which addresses an origin's name may lead to.
//!
//! The names of origins are the operator's, what they resolve to is not: whoever gets hold of a name (an expired domain, a foreign zone, a poisoned
//! cache) could turn the edge on the network behind it. So addresses are looked at where connections are made, each time, and by both clients that
//! make them ([`super::Origins`] and [`crate::peers::Peers`]). An address that the operator wrote, and `localhost`, is meant and never asked about.

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use acuity_config::{PrivateAddresses, RouteConfig};
use prometheus::IntCounter;
use reqwest::dns::{Addrs, Name, Resolve, Resolving};

/// Where an address is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Place {
    /// Somewhere that anybody can reach.
    Public,
    /// In networks that are nobody's or everybody's own: loopback, private, carriers', unique local.
    Private,
    /// Nothing that is ever an origin by name: link-local (where clouds keep their metadata), unspecified, multicast, reserved.
    Nowhere,
}

impl Place {
    /// The place of an address, also where IPv6 only wraps an IPv4 one.
    #[must_use]
    pub fn of(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V4(address) => Self::of_v4(address),
            IpAddr::V6(address) => Self::of_v6(address),
        }
    }

    fn of_v4(address: Ipv4Addr) -> Self {
        let [first, second, third, _] = address.octets();
        let reserved = first == 0 || first >= 240;
        // RFC 6598 (carriers), 2544 (benchmarks), 6890 (protocol assignments).
        let shared = first == 100 && second & 0xc0 == 64;
        let inner = (first == 198 && second & 0xfe == 18) || (first, second, third) == (192, 0, 0);
        if reserved || address.is_link_local() || address.is_multicast() {
            Self::Nowhere
        } else if address.is_loopback() || address.is_private() || shared || inner {
            Self::Private
        } else {
            Self::Public
        }
    }

    fn of_v6(address: Ipv6Addr) -> Self {
        let [a, b, c, d, e, f, g, h] = address.segments();
        let v4 = |high: u16, low: u16| Self::of_v4(Ipv4Addr::from(u32::from(high) << 16 | u32::from(low)));
        match (a, b) {
            _ if address.is_unspecified() || address.is_multicast() || a & 0xffc0 == 0xfe80 => Self::Nowhere,
            _ if address.is_loopback() || a & 0xfe00 == 0xfc00 || a & 0xffc0 == 0xfec0 => Self::Private,
            // NAT64 and 6to4 lead to the IPv4 address in them (RFC 6052, 3056).
            (0x64, 0xff9b) if (c, d, e, f) == (0, 0, 0, 0) => v4(g, h),
            (0x2002, _) => v4(b, c),
            _ => Self::Public,
        }
    }
}

/// How names become addresses: the machine's resolver, or a test's own.
type Lookup =
    dyn Fn(String, u16) -> Pin<Box<dyn Future<Output = io::Result<Vec<SocketAddr>>> + Send>> + Send + Sync;

/// Resolves origins' names. Clones share what has been seen.
#[derive(Clone)]
pub struct Resolver(Arc<Shared>);

struct Shared {
    lookup: Box<Lookup>,
    policies: HashMap<String, PrivateAddresses>,
    seen: Mutex<Seen>,
    refused: IntCounter,
}

#[derive(Default)]
struct Seen {
    /// Where names led when they were first resolved.
    first: HashMap<String, Place>,
    told: HashSet<String>,
}

impl Resolver {
    /// For the origins of these routes; `refused` counts answers of which nothing could be used.
    #[must_use]
    pub fn new(routes: &[RouteConfig], refused: IntCounter) -> Self {
        let lookup = |name: String, port: u16| {
            let found = async move { tokio::net::lookup_host((name, port)).await.map(Iterator::collect) };
            Box::pin(found) as Pin<Box<dyn Future<Output = _> + Send>>
        };
        Self::with(routes, refused, Box::new(lookup))
    }

    fn with(routes: &[RouteConfig], refused: IntCounter, lookup: Box<Lookup>) -> Self {
        let mut policies = HashMap::new();
        for route in routes {
            for name in route.origins().filter_map(|origin| origin.host_str()) {
                let policy = policies.entry(name.to_owned()).or_insert(route.private_addresses);
                // The same origin by two routes: who allowed it meant it.
                if route.private_addresses == PrivateAddresses::Allow {
                    *policy = PrivateAddresses::Allow;
                }
            }
        }
        Self(Arc::new(Shared { lookup, policies, seen: Mutex::default(), refused }))
    }

    /// The addresses of a name that may be connected to.
    ///
    /// # Errors
    /// The name has none, or none that it may lead to.
    pub async fn resolve(&self, name: &str, port: u16) -> io::Result<Vec<SocketAddr>> {
        let found = (self.0.lookup)(name.to_owned(), port).await?;
        let policy = self.0.policies.get(name).copied().unwrap_or(PrivateAddresses::Auto);
        if policy == PrivateAddresses::Allow || name == "localhost" {
            return Ok(found);
        }
        let mut seen = self.seen();
        let may = match policy {
            PrivateAddresses::Refuse => Place::Public,
            _ => *seen.first.entry(name.to_owned()).or_insert_with(|| farthest_in(&found)),
        };
        let is_in_reach = |address: &&SocketAddr| match Place::of(address.ip()) {
            Place::Public => true,
            Place::Private => may == Place::Private,
            Place::Nowhere => false,
        };
        let reachable: Vec<SocketAddr> = found.iter().filter(is_in_reach).copied().collect();
        if !found.is_empty() && reachable.is_empty() {
            self.0.refused.inc();
            if seen.told.insert(name.to_owned()) {
                tracing::error!(name, addresses = ?found, "an origin's name leads to private addresses and is not followed there (route.private_addresses)");
            }
            return Err(io::Error::new(
                io::ErrorKind::PermissionDenied,
                "the name leads to private addresses",
            ));
        }
        Ok(reachable)
    }

    /// What is changed under this lock is whole after each step.
    fn seen(&self) -> MutexGuard<'_, Seen> {
        self.0.seen.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// What a name's first answer says about where it is meant to lead.
fn farthest_in(found: &[SocketAddr]) -> Place {
    let private = found.iter().any(|address| Place::of(address.ip()) == Place::Private);
    if private { Place::Private } else { Place::Public }
}

impl Resolve for Resolver {
    fn resolve(&self, name: Name) -> Resolving {
        let resolver = self.clone();
        Box::pin(async move {
            // 0: the client puts the URL's port there.
            let found = Self::resolve(&resolver, name.as_str(), 0).await?;
            Ok(Box::new(found.into_iter()) as Addrs)
        })
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn places() {
        for (place, addresses) in [
            (
                Place::Public,
                &["8.8.8.8", "100.63.0.1", "100.128.0.1", "172.15.0.1", "172.32.0.1", "2606:4700::1"][..],
            ),
            (
                Place::Private,
                &[
                    "10.0.0.1",
                    "172.16.0.1",
                    "172.31.255.255",
                    "192.168.1.1",
                    "127.0.0.1",
                    "127.8.8.8",
                    "100.64.0.1",
                    "100.100.100.200",
                    "192.0.0.170",
                    "198.18.0.1",
                    "::1",
                    "fd00:ec2::254",
                    "fc00::1",
                    "fec0::1",
                    "::ffff:10.0.0.1",
                    "64:ff9b::a00:1",
                    "2002:a00:1::",
                ],
            ),
            (
                Place::Nowhere,
                &[
                    "169.254.169.254",
                    "0.0.0.0",
                    "0.1.2.3",
                    "224.0.0.1",
                    "255.255.255.255",
                    "240.0.0.1",
                    "::",
                    "fe80::1",
                    "ff02::1",
                    "::ffff:169.254.169.254",
                    "64:ff9b::a9fe:a9fe",
                ],
            ),
        ] {
            for address in addresses {
                assert_eq!(Place::of(address.parse().unwrap()), place, "{address}");
            }
        }
    }

    /// A resolver whose name server says what it is told to; each answer once, the last for ever.
    pub(crate) fn told(policy: PrivateAddresses, answers: &[&[&str]]) -> (Resolver, IntCounter) {
        let mut route = RouteConfig::to("http://origin.example/".parse().unwrap());
        route.private_addresses = policy;
        let refused = IntCounter::new("refused", "test").unwrap();
        let answers: Vec<Vec<IpAddr>> =
            answers.iter().map(|answer| answer.iter().map(|text| text.parse().unwrap()).collect()).collect();
        let asked = std::sync::atomic::AtomicUsize::new(0);
        let lookup = move |_: String, port: u16| {
            let at = asked.fetch_add(1, std::sync::atomic::Ordering::SeqCst).min(answers.len() - 1);
            let found = answers[at].iter().map(|ip| SocketAddr::new(*ip, port)).collect();
            Box::pin(std::future::ready(Ok(found))) as Pin<Box<dyn Future<Output = _> + Send>>
        };
        (Resolver::with(&[route], refused.clone(), Box::new(lookup)), refused)
    }

    async fn ask(resolver: &Resolver) -> Option<Vec<String>> {
        let found = resolver.resolve("origin.example", 80).await.ok()?;
        Some(found.iter().map(|address| address.ip().to_string()).collect())
    }

    #[tokio::test]
    async fn a_name_that_turns_inward_is_not_followed() {
        let answers: &[&[&str]] =
            &[&["203.0.113.1"], &["10.0.0.1"], &["10.0.0.1", "203.0.113.2"], &["127.0.0.1"]];
        let (resolver, refused) = told(PrivateAddresses::Auto, answers);
        assert_eq!(ask(&resolver).await.unwrap(), ["203.0.113.1"]);
        assert_eq!(ask(&resolver).await, None);
        assert_eq!(ask(&resolver).await.unwrap(), ["203.0.113.2"], "what is public of it");
        assert_eq!(ask(&resolver).await, None);
        assert_eq!(refused.get(), 2);
    }

    #[tokio::test]
    async fn an_inner_origin_is_one_from_the_begin() {
        let answers: &[&[&str]] = &[&["10.0.0.1"], &["10.0.0.2"], &["203.0.113.1"], &["169.254.169.254"]];
        let (resolver, refused) = told(PrivateAddresses::Auto, answers);
        assert_eq!(ask(&resolver).await.unwrap(), ["10.0.0.1"]);
        assert_eq!(ask(&resolver).await.unwrap(), ["10.0.0.2"]);
        assert_eq!(ask(&resolver).await.unwrap(), ["203.0.113.1"]);
        assert_eq!(ask(&resolver).await, None, "a cloud's metadata is nobody's origin");
        assert_eq!(refused.get(), 1);
        let (resolver, _) = told(PrivateAddresses::Auto, &[&["169.254.169.254"]]);
        assert_eq!(ask(&resolver).await, None);
    }

    #[tokio::test]
    async fn operators_may_say_it() {
        let (resolver, _) = told(PrivateAddresses::Refuse, &[&["10.0.0.1"]]);
        assert_eq!(ask(&resolver).await, None);
        let (resolver, _) = told(PrivateAddresses::Allow, &[&["169.254.1.1"]]);
        assert_eq!(ask(&resolver).await.unwrap(), ["169.254.1.1"]);
    }

    /// The client itself: a name that has turned to this machine is not connected to.
    #[tokio::test]
    async fn the_client_asks_this_resolver() {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://origin.example:{}/", listener.local_addr().unwrap().port());
        let get = |resolver: Resolver| {
            let client = reqwest::Client::builder()
                .no_proxy()
                .tls_certs_only(std::iter::empty())
                .dns_resolver(Arc::new(resolver));
            client.build().unwrap().get(&url).timeout(std::time::Duration::from_secs(1)).send()
        };
        let refused = get(told(PrivateAddresses::Refuse, &[&["127.0.0.1"]]).0).await.unwrap_err();
        assert!(refused.is_connect() && format!("{refused:?}").contains("private addresses"), "{refused:?}");
        let silent = get(told(PrivateAddresses::Allow, &[&["127.0.0.1"]]).0).await.unwrap_err();
        assert!(silent.is_timeout(), "it was connected to: {silent:?}");
    }
}
