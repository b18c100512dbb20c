//! `[nodes]`: the nodes of a region, which make each object once for all of them.
//!
//! Here it is only read; the proxy joins them (`proxy/src/nodes/`).

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::reader::{Refusal, Section};
use crate::server::address;
use crate::words::quoted;

/// This node among others.
#[derive(Clone, Debug, PartialEq)]
pub struct NodesConfig {
    /// Where the others are answered.
    pub listen: SocketAddr,
    /// What this node is called among `members`; none: the only one of them whose address is this machine's.
    pub own: Option<NodeName>,
    /// All nodes of the region, this one too (1 to 256).
    pub members: Vec<NodeName>,
    /// Whether each name among `members` stands for all addresses that it resolves to, each a node.
    pub discover: bool,
    /// How often these are resolved again (1 s to 1 h).
    pub resolve_every: Duration,
    /// The file with the secret that all nodes share.
    pub secret_file: PathBuf,
    /// HTTPS between nodes; none: plain HTTP.
    pub tls: Option<NodesTls>,
    /// Until a connection stands (20 ms to 10 s).
    pub connect_within: Duration,
    /// How long a node that was asked may give no sign of life (100 ms to 10 s).
    pub answer_within: Duration,
    /// Share of a viewer's deadline that another node may take until its first byte (0.05 to 1).
    pub share_of_deadline: f64,
    /// How often each of the others is looked at (200 ms to 1 min).
    pub check_every: Duration,
    /// How long one that failed is asked nothing (100 ms to 10 min).
    pub down_for: Duration,
    /// Share of `cache.budget_bytes` for copies of what other nodes own (0 to 0.9).
    pub hot_share: f64,
    /// How long a copy stays that nobody asks for (1 s to 24 h).
    pub hot_for: Duration,
    /// Objects given to other nodes at one time (1 to 65536).
    pub serve_at_once: usize,
}

/// Certificates between nodes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NodesTls {
    /// PEM file with this node's certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// PEM file with the only authorities whose certificates the others may show; none: the system's.
    pub authority: Option<PathBuf>,
}

/// A host (name or address) and a port.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct NodeName {
    /// Lower case; an IPv6 address without brackets.
    pub host: String,
    /// 1 to 65535.
    pub port: u16,
}

/// Most members: a ring of 160 points each is still a matter of microseconds.
const MEMBERS_LIMIT: usize = 256;
/// Longest name of a host (RFC 1035), in bytes.
const HOST_LIMIT_BYTES: usize = 253;

impl NodesConfig {
    /// None if it lacks what it cannot do without, which is reported.
    pub(crate) fn read(section: Section<'_>) -> Option<Self> {
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let listen = section.parsed("listen", address);
        let own = section.parsed("own", NodeName::parse);
        let members = section.list("members", NodeName::parse);
        let secret_file = section.path("secret_file");
        for (key, hint) in [
            ("listen", "an address of its own for the other nodes, as listen = \"10.0.0.11:7070\""),
            ("members", "all nodes of the region, as members = [\"10.0.0.11:7070\", \"10.0.0.12:7070\"]"),
            ("secret_file", "a file that holds the secret of all nodes and nothing else"),
        ] {
            if !section.has(key) {
                section.missing(key, hint);
            }
        }
        let discover = section.flag("discover", false);
        let mut known = members.clone().unwrap_or_default();
        if known.len() > MEMBERS_LIMIT {
            let message = format!("has {} members; at most {MEMBERS_LIMIT} are taken", known.len());
            section.fault("members", message, None);
        }
        known.sort();
        if let Some(twin) = known.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
            section.fault("members", format!("holds {twin} twice"), None);
        }
        if section.is_empty_list("members") {
            section.fault("members", "is empty: leave the section out for a node that is alone", None);
        }
        if let Some(own) = own.as_ref().filter(|own| !discover && !known.is_empty() && !known.contains(own)) {
            section.fault("own", format!("{own} is none of nodes.members"), None);
        }
        let has_names = known.iter().any(|member| member.address().is_none());
        if own.is_none() && !discover && has_names && !section.has("own") {
            section.missing("own", "which of nodes.members this node is: names do not tell");
        }
        // Ten times a name server's usual answer for pods, and soon enough for a node that was added.
        let resolve_every = section.duration("resolve_every", s(10), s(1)..=s(3600));
        let tls = section.optional_child("tls").map(NodesTls::read);
        // A region's round trip is a millisecond or two.
        let connect_within = section.duration("connect_within", ms(300), ms(20)..=s(10));
        // Signs of life come three times as often; busy processors delay them.
        let answer_within = section.duration("answer_within", s(1), ms(100)..=s(10));
        // What is left is time enough for the quickest tier.
        let share_of_deadline = section.number("share_of_deadline", 0.5, 0.05..=1.0);
        // A node that is gone is noticed before most players' next request.
        let check_every = section.duration("check_every", s(1), ms(200)..=s(60));
        // A process that restarts is back by then; one that comes and goes moves objects to and fro.
        let down_for = section.duration("down_for", s(3), ms(100)..=s(600));
        // What many watch now; the rest is what this node owns.
        let hot_share = section.number("hot_share", 0.25, 0.0..=0.9);
        // Viewers of a live stream are within this of each other.
        let hot_for = section.duration("hot_for", s(60), s(1)..=s(86_400));
        // A segment of a megabyte each at most in the sockets.
        let serve_at_once = section.integer("serve_at_once", 256, 1..=65_536);
        section.finish();
        Some(Self {
            listen: listen?,
            own,
            members: members.filter(|members| !members.is_empty())?,
            discover,
            resolve_every,
            secret_file: secret_file?,
            tls: match tls {
                Some(tls) => Some(tls?),
                None => None,
            },
            connect_within,
            answer_within,
            share_of_deadline,
            check_every,
            down_for,
            hot_share,
            hot_for,
            serve_at_once,
        })
    }

    /// This section with all of `wanted` that a running node can take.
    #[must_use]
    pub(crate) fn reloaded(&self, wanted: &Self) -> Self {
        let (listen, secret_file, tls) = (self.listen, self.secret_file.clone(), self.tls.clone());
        let Self { hot_share, hot_for, serve_at_once, connect_within, .. } = *self;
        Self { listen, secret_file, tls, hot_share, hot_for, serve_at_once, connect_within, ..wanted.clone() }
    }
}

impl NodesTls {
    fn read(section: Section<'_>) -> Option<Self> {
        let (certificate, key) = (section.path("certificate"), section.path("key"));
        let authority = section.path("authority");
        for (name, what) in [("certificate", "certificate chain"), ("key", "private key")] {
            if !section.has(name) {
                section.missing(
                    name,
                    &format!(
                        "HTTPS between nodes needs a PEM file with the {what}; remove the section to go without"
                    ),
                );
            }
        }
        section.finish();
        Some(Self { certificate: certificate?, key: key?, authority })
    }
}

impl NodeName {
    pub(crate) fn parse(text: &str) -> Result<Self, Refusal> {
        let refusal = || {
            Refusal::new(format!("{} is not a host and a port", quoted(text)))
                .hint("write it as \"10.0.0.11:7070\", \"[2001:db8::11]:7070\" or \"node-1.example:7070\"")
        };
        if let Ok(address) = text.parse::<SocketAddr>() {
            return if address.port() == 0 { Err(refusal()) } else { Ok(Self::from(address)) };
        }
        let (host, port) = text.rsplit_once(':').ok_or_else(refusal)?;
        let port = port.parse().ok().filter(|port| *port > 0).ok_or_else(refusal)?;
        let host = host.trim_end_matches('.').to_ascii_lowercase();
        let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
        let is_name = host.bytes().any(|byte| byte.is_ascii_alphabetic() || byte == b'-');
        if host.len() > HOST_LIMIT_BYTES || !is_name || !host.bytes().all(fits) || host.contains("..") {
            return Err(refusal());
        }
        Ok(Self { host, port })
    }

    /// The address, if it is one and no name.
    #[must_use]
    pub fn address(&self) -> Option<SocketAddr> {
        Some(SocketAddr::new(self.host.parse().ok()?, self.port))
    }
}

impl From<SocketAddr> for NodeName {
    fn from(address: SocketAddr) -> Self {
        Self { host: address.ip().to_canonical().to_string(), port: address.port() }
    }
}

impl std::fmt::Display for NodeName {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self.address() {
            Some(address) => write!(f, "{address}"),
            None => write!(f, "{}:{}", self.host, self.port),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::one_fault;

    const THREE: &str = "[nodes]\nlisten = \"127.0.0.1:7070\"\nsecret_file = \"/s\"\n\
                         members = [\"10.0.0.1:7070\", \"[2001:DB8::2]:7070\", \"10.0.0.3:7070\"]\n";

    fn nodes(text: &str) -> Option<NodesConfig> {
        crate::parse(&format!("{text}\n[[route]]\norigin = \"https://o.example\"")).unwrap().nodes
    }

    #[test]
    fn a_node_is_alone_unless_it_is_told_of_others() {
        assert_eq!(nodes(""), None);
        let three = nodes(THREE).unwrap();
        let names: Vec<String> = three.members.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["10.0.0.1:7070", "[2001:db8::2]:7070", "10.0.0.3:7070"]);
        assert_eq!((three.own, three.discover, three.answer_within.as_secs()), (None, false, 1));
        let discovers = THREE.replace(
            "[\"10.0.0.1:7070\", \"[2001:DB8::2]:7070\", \"10.0.0.3:7070\"]",
            "\"Nodes.Acuity.svc.:7070\"\ndiscover = true",
        );
        let name = nodes(&discovers).unwrap().members[0].to_string();
        assert_eq!(name, "nodes.acuity.svc:7070");
    }

    #[test]
    fn faults() {
        let with = |more: &str| format!("{THREE}{more}");
        let named = THREE.replace("10.0.0.1", "node-1.example");
        for (text, expected) in [
            (
                "[nodes]\nmembers = [\"10.0.0.1:1\"]\nsecret_file = \"/s\"".to_owned(),
                "nodes.listen: is missing",
            ),
            (
                "[nodes]\nlisten = \"127.0.0.1:1\"\nsecret_file = \"/s\"".to_owned(),
                "nodes.members: is missing",
            ),
            (
                "[nodes]\nlisten = \"127.0.0.1:1\"\nmembers = [\"10.0.0.1:1\"]".to_owned(),
                "nodes.secret_file: is missing",
            ),
            (with("own = \"10.0.0.9:7070\""), "10.0.0.9:7070 is none of nodes.members"),
            (named.clone(), "nodes.own: is missing"),
            (THREE.replace("10.0.0.3", "10.0.0.1"), "holds 10.0.0.1:7070 twice"),
            (THREE.replace("10.0.0.3:7070", "10.0.0.3"), "\"10.0.0.3\" is not a host and a port"),
            (THREE.replace("10.0.0.3:7070", "a..b:7070"), "is not a host and a port"),
            (THREE.replace("10.0.0.3:7070", "10.0.0:7070"), "is not a host and a port"),
            (with("answer_within = \"1ms\""), "1ms is not between 100ms and 10s"),
            (with("share_of_deadline = 2"), "2 is not between 0.05 and 1"),
            (with("[nodes.tls]\ncertificate = \"c\""), "nodes.tls.key: is missing"),
            (with("secret = \"x\""), "nodes.secret: is not a known key"),
            (
                with("[admin]\nlisten = \"127.0.0.1:7070\""),
                "cannot be 127.0.0.1:7070: `admin.listen` listens there",
            ),
        ] {
            one_fault(&text, expected);
        }
        assert!(nodes(&format!("{named}own = \"node-1.example:7070\"")).is_some());
    }

    #[test]
    fn members_are_taken_while_it_runs_and_sockets_are_not() {
        let now = nodes(THREE).unwrap();
        let wanted =
            nodes(&THREE.replace("127.0.0.1:7070", "127.0.0.1:7171").replace("10.0.0.3", "10.0.0.4"));
        let wanted = wanted.unwrap();
        let taken = now.reloaded(&wanted);
        assert_eq!((taken.listen, &taken.members), (now.listen, &wanted.members));
    }
}
