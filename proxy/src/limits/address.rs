//! Which client a request is from.
//!
//! `X-Forwarded-For` is a list to which every proxy appends its peer's address; only what trusted ones have appended is true. So it is read from
//! its end, and no further than the first address that is not trusted.

use std::net::{IpAddr, Ipv6Addr, SocketAddr};

use acuity_config::IpNet;

/// Addresses of `X-Forwarded-For` that are looked at: no chain of proxies is as long.
const FORWARDED_LIMIT: usize = 32;

/// The client's address. `forwarded`: the values of all `X-Forwarded-For` headers in their order.
pub fn client<'a>(
    peer: IpAddr,
    forwarded: impl DoubleEndedIterator<Item = &'a str>,
    trusted: &[IpNet],
) -> IpAddr {
    let mut client = peer.to_canonical();
    let mut hops = forwarded.rev().flat_map(|value| value.rsplit(',')).take(FORWARDED_LIMIT);
    while trusted.iter().any(|network| network.contains(&client)) {
        // What cannot be read is nobody's address: the proxy that vouches for it has to answer for it.
        let Some(hop) = hops.next().and_then(read) else { break };
        client = hop;
    }
    client
}

/// An address as proxies write it: bare, in brackets, or with a port.
fn read(hop: &str) -> Option<IpAddr> {
    let hop = hop.trim();
    let bare = hop.strip_prefix('[').and_then(|hop| hop.strip_suffix(']')).unwrap_or(hop);
    let address = bare.parse().or_else(|_| hop.parse().map(|address: SocketAddr| address.ip()));
    address.ok().map(|address: IpAddr| address.to_canonical())
}

/// What a client is counted by: an IPv4 address, or the 64 bits of IPv6 that a household gets.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ClientKey(IpAddr);

impl From<IpAddr> for ClientKey {
    fn from(address: IpAddr) -> Self {
        match address.to_canonical() {
            IpAddr::V6(address) => Self(IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64))),
            v4 @ IpAddr::V4(_) => Self(v4),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn networks(texts: &[&str]) -> Vec<IpNet> {
        texts.iter().map(|text| text.parse().unwrap()).collect()
    }

    #[test]
    fn only_trusted_proxies_are_believed() {
        let trusted = networks(&["10.0.0.0/8", "2001:db8::/32"]);
        for (peer, forwarded, expected) in [
            ("192.0.2.1", vec!["198.51.100.7"], "192.0.2.1"),
            ("10.0.0.1", vec![], "10.0.0.1"),
            ("10.0.0.1", vec!["198.51.100.7"], "198.51.100.7"),
            // What the client wrote itself stands before what the proxy appended.
            ("10.0.0.1", vec!["203.0.113.1, 198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["203.0.113.1", "198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec!["203.0.113.1, 198.51.100.7 , 10.9.9.9"], "198.51.100.7"),
            ("10.0.0.1", vec!["10.1.1.1, 10.2.2.2"], "10.1.1.1"),
            ("10.0.0.1", vec!["203.0.113.1, unknown"], "10.0.0.1"),
            ("10.0.0.1", vec!["203.0.113.1, unknown, 10.2.2.2"], "10.2.2.2"),
            ("10.0.0.1", vec!["198.51.100.7:4711"], "198.51.100.7"),
            ("2001:db8::1", vec!["[2001:4860::8]:4711"], "2001:4860::8"),
            ("2001:db8::1", vec!["[2001:4860::8]"], "2001:4860::8"),
            ("::ffff:10.0.0.1", vec!["::ffff:198.51.100.7"], "198.51.100.7"),
            ("10.0.0.1", vec![""], "10.0.0.1"),
        ] {
            let found = client(peer.parse().unwrap(), forwarded.clone().into_iter(), &trusted);
            assert_eq!(found, expected.parse::<IpAddr>().unwrap(), "{peer} {forwarded:?}");
        }
        let endless = "10.0.0.1,".repeat(100_000);
        assert_eq!(
            client("10.0.0.1".parse().unwrap(), [endless.as_str()].into_iter(), &trusted),
            "10.0.0.1".parse::<IpAddr>().unwrap()
        );
    }

    #[test]
    fn a_household_is_one_client() {
        let key = |text: &str| ClientKey::from(text.parse::<IpAddr>().unwrap());
        assert_eq!(key("2001:db8:1:2::1"), key("2001:db8:1:2:ffff::9"));
        assert_ne!(key("2001:db8:1:2::1"), key("2001:db8:1:3::1"));
        assert_eq!(key("::ffff:192.0.2.1"), key("192.0.2.1"));
        assert_ne!(key("192.0.2.1"), key("192.0.2.2"));
    }
}
