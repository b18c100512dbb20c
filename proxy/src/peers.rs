//! Where passed-through requests go: the origin's address, resolved here, because pingora resolves names by blocking the
//! thread and panics where a name has no address.

use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use moka::sync::Cache;
use pingora::protocols::ALPN;
use pingora::upstreams::peer::HttpPeer;
use tokio::time::timeout;
use url::{Host, Url};

use crate::origin::Resolver;

/// How long an address is believed; load balancers in DNS move names within a minute.
const ADDRESS_TTL: Duration = Duration::from_secs(30);

/// Connections to origins that are kept idle for the next request.
const IDLE_FOR: Duration = Duration::from_secs(30);

/// Resolves origins.
pub struct Peers {
    resolver: Resolver,
    addresses: Cache<String, std::sync::Arc<[SocketAddr]>>,
}

/// How long an origin is waited for.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// Until the connection stands; as long again for TLS.
    pub connect: Duration,
    /// Until the answer begins, and between two parts of it: pingora has one timer for both. A stream that flows may last as long as it likes.
    pub read: Duration,
}

/// The origin's name has no address now.
#[derive(Debug, thiserror::Error)]
#[error("the origin's name {host} cannot be resolved: {message}")]
pub struct Unresolved {
    /// The name.
    pub host: String,
    /// The resolver's own words.
    pub message: String,
}

impl Peers {
    /// Nothing resolved yet.
    #[must_use]
    pub fn new(resolver: Resolver) -> Self {
        Self { resolver, addresses: Cache::builder().max_capacity(1024).time_to_live(ADDRESS_TTL).build() }
    }

    /// The peer that serves `url`. `attempt`: 0 at first; later ones take the name's next address.
    ///
    /// # Errors
    /// When the name cannot be resolved.
    pub async fn of(&self, url: &Url, attempt: usize, patience: Patience) -> Result<HttpPeer, Unresolved> {
        let tls = url.scheme() == "https";
        let port = url.port_or_known_default().unwrap_or(if tls { 443 } else { 80 });
        let (address, name) = match url.host() {
            Some(Host::Ipv4(ip)) => (SocketAddr::new(IpAddr::V4(ip), port), ip.to_string()),
            Some(Host::Ipv6(ip)) => (SocketAddr::new(IpAddr::V6(ip), port), ip.to_string()),
            Some(Host::Domain(name)) => {
                (self.resolve(name, port, attempt, patience.connect).await?, name.to_owned())
            }
            None => return Err(Unresolved { host: String::new(), message: "no host".to_owned() }),
        };
        let mut peer = HttpPeer::new(address, tls, name);
        peer.options.connection_timeout = Some(patience.connect);
        // TCP and TLS together.
        peer.options.total_connection_timeout = Some(patience.connect * 2);
        peer.options.read_timeout = Some(patience.read);
        peer.options.write_timeout = Some(patience.read);
        peer.options.idle_timeout = Some(IDLE_FOR);
        if tls {
            peer.options.alpn = ALPN::H2H1;
            // A connection carries several streams; a request waits for none of another player's.
            peer.options.max_h2_streams = 64;
        }
        Ok(peer)
    }

    async fn resolve(
        &self,
        name: &str,
        port: u16,
        attempt: usize,
        limit: Duration,
    ) -> Result<SocketAddr, Unresolved> {
        let key = format!("{name}:{port}");
        let addresses = match self.addresses.get(&key) {
            Some(addresses) => addresses,
            None => {
                let unresolved = |message: String| Unresolved { host: name.to_owned(), message };
                let found = timeout(limit, self.resolver.resolve(name, port))
                    .await
                    .map_err(|_| unresolved("no answer in time".to_owned()))?
                    .map_err(|error| unresolved(error.to_string()))?;
                let found: std::sync::Arc<[SocketAddr]> = found.into();
                self.addresses.insert(key, std::sync::Arc::clone(&found));
                found
            }
        };
        let at = attempt.checked_rem(addresses.len()).unwrap_or(0);
        addresses
            .get(at)
            .copied()
            .ok_or_else(|| Unresolved { host: name.to_owned(), message: "no address".to_owned() })
    }
}

/// The `Host` that an origin expects: its own name, and its port unless it is the scheme's.
#[must_use]
pub fn host_header(url: &Url) -> String {
    let host = url.host_str().unwrap_or_default();
    match url.port() {
        Some(port) => format!("{host}:{port}"),
        None => host.to_owned(),
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn peers_of_origins() {
        let refused = prometheus::IntCounter::new("refused", "test").unwrap();
        let peers = Peers::new(Resolver::new(&[], refused));
        let patience = Patience { connect: Duration::from_secs(2), read: Duration::from_secs(3) };
        let peer = peers.of(&"http://127.0.0.1:8081/a".parse().unwrap(), 0, patience).await.unwrap();
        assert_eq!(peer._address.to_string(), "127.0.0.1:8081");
        assert!(peers.of(&"https://[::1]/a".parse().unwrap(), 3, patience).await.is_ok());
        assert!(peers.of(&"http://localhost:80/".parse().unwrap(), 5, patience).await.is_ok());
        assert!(peers.of(&"http://no-such-host.invalid/".parse().unwrap(), 0, patience).await.is_err());
    }

    #[test]
    fn hosts() {
        for (url, host) in [
            ("https://o.example/a", "o.example"),
            ("https://o.example:443/a", "o.example"),
            ("http://o.example:8080/", "o.example:8080"),
            ("http://[::1]:8080/", "[::1]:8080"),
        ] {
            assert_eq!(host_header(&url.parse().unwrap()), host);
        }
    }
}
