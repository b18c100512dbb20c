//! `[limits]`: what strangers may cost, all together and each by itself.
//!
//! A limit of 0 is none. Those for single clients are off by default: where another cache stands before the edge, everybody comes from its address.

use std::time::Duration;

use crate::reader::Section;

/// Bounds on connections and requests.
#[derive(Clone, Debug, PartialEq)]
pub struct LimitsConfig {
    /// Connections of players open at one time (16 to 10 000 000); none means half of the files that the
    /// process may open.
    pub connections: Option<usize>,
    /// From a connection's begin, or a request's first byte on one that stood open, to the end of the request's headers (1 s to 2 min). A body must
    /// be there after as much time again.
    pub header_timeout: Duration,
    /// How long a client may take nothing of what it is sent (1 s to 10 min).
    pub stall_timeout: Duration,
    /// Largest header section of a request (4 KiB to 1 MiB).
    pub request_header_bytes: u64,
    /// Largest body of a request (0 B to 64 MiB).
    pub request_body_bytes: u64,
    /// Requests of all clients in a second (0 to 10 000 000; 0: any number).
    pub requests_per_second: u32,
    /// What one client may cost.
    pub client: ClientLimits,
}

/// Bounds on one client: an IPv4 address or an IPv6 network of 64 bits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientLimits {
    /// Requests in a second, in the long run (0 to 1 000 000; 0: any number).
    pub requests_per_second: u32,
    /// Requests that may come at once after a pause (1 to 1 000 000).
    pub burst: u32,
    /// Requests at one time (0 to 1 000 000; 0: any number).
    pub requests: usize,
    /// Connections at one time (0 to 1 000 000; 0: any number).
    pub connections: usize,
    /// Segments being made, or playlists being looked into, at one time because of its requests (0 to 1024; 0: any number).
    pub enhancements: usize,
    /// Clients that are remembered (1024 to 10 000 000).
    pub entries: u64,
}

impl Default for LimitsConfig {
    fn default() -> Self {
        Self {
            // What the system allows differs by a factor of a thousand.
            connections: None,
            // Headers fit in one packet: several losses in a row are survived.
            header_timeout: Duration::from_secs(10),
            // Phones that pass a tunnel come back; who takes nothing for half a minute has left.
            stall_timeout: Duration::from_secs(30),
            // Cookies of careless sites reach 16 KiB.
            request_header_bytes: 32 << 10,
            // Nothing that the edge answers has a body; what is passed through may be a licence request.
            request_body_bytes: 64 << 10,
            // What is too much depends on the machine and the network.
            requests_per_second: 0,
            client: ClientLimits::default(),
        }
    }
}

impl Default for ClientLimits {
    fn default() -> Self {
        Self {
            requests_per_second: 0,
            // A start asks for a dozen objects at once, for sound and subtitles too.
            burst: 100,
            requests: 0,
            connections: 0,
            enhancements: 0,
            // About 300 bytes each: 20 MB.
            entries: 65_536,
        }
    }
}

impl LimitsConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let s = Duration::from_secs;
        let limits = Self {
            connections: section.integer_or_auto("connections", 16..=10_000_000),
            header_timeout: section.duration("header_timeout", default.header_timeout, s(1)..=s(120)),
            stall_timeout: section.duration("stall_timeout", default.stall_timeout, s(1)..=s(600)),
            request_header_bytes: section.size(
                "request_header_bytes",
                default.request_header_bytes,
                4 << 10..=1 << 20,
            ),
            request_body_bytes: section.size("request_body_bytes", default.request_body_bytes, 0..=64 << 20),
            requests_per_second: section.integer("requests_per_second", 0, 0..=10_000_000),
            client: ClientLimits::read(section.child("client")),
        };
        section.finish();
        limits
    }
}

impl ClientLimits {
    fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let client = Self {
            requests_per_second: section.integer("requests_per_second", 0, 0..=1_000_000),
            burst: section.integer("burst", default.burst, 1..=1_000_000),
            requests: section.integer("requests", 0, 0..=1_000_000),
            connections: section.integer("connections", 0, 0..=1_000_000),
            enhancements: section.integer("enhancements", 0, 0..=1024),
            entries: section.integer("entries", default.entries, 1024..=10_000_000),
        };
        section.finish();
        client
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use crate::{IpNet, parse};

    const ROUTE: &str = "[[route]]\norigin = \"https://o.example\"\n";

    #[test]
    fn limits_are_read_and_bounded() {
        let text =
            "[limits]\nconnections = 500\nheader_timeout = \"3s\"\n[limits.client]\nenhancements = 4\n";
        let limits = parse(&format!("{text}{ROUTE}")).unwrap().limits;
        assert_eq!((limits.connections, limits.header_timeout.as_secs()), (Some(500), 3));
        assert_eq!((limits.client.enhancements, limits.client.burst), (4, 100));
        for (text, said) in [
            ("[limits]\nconnections = 3", "3 is not between 16 and 10000000"),
            ("[limits]\nrequest_body_bytes = \"1GiB\"", "is not between 0B and 64MiB"),
            ("[limits.client]\nburst = 0", "0 is not between 1 and 1000000"),
            ("[limits]\nclient = 3", "write it as [limits.client]"),
        ] {
            let faults = parse(&format!("{text}\n{ROUTE}")).unwrap_err().to_string();
            assert!(faults.contains(said), "{faults}");
        }
    }

    #[test]
    fn trusted_proxies_are_networks_or_addresses() {
        let read = |list: &str| parse(&format!("[server]\ntrusted_proxies = {list}\n{ROUTE}"));
        let server = read("[\"10.1.2.3/8\", \"192.0.2.1\", \"2001:db8::/32\"]").unwrap().server;
        let expected =
            ["10.0.0.0/8", "192.0.2.1/32", "2001:db8::/32"].map(|text| text.parse::<IpNet>().unwrap());
        assert_eq!(server.trusted_proxies, expected);
        let faults = read("[\"cdn.example\", \"10.0.0.0/33\"]").unwrap_err().to_string();
        assert_eq!(faults.matches("is no network").count(), 2, "{faults}");
    }
}
