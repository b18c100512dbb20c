//! `[server]` and `[admin]`: the addresses the edge answers on, for players and for operators.
//!
//! The two live in one file because their addresses must not collide, and that is checked here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use ipnet::IpNet;

use crate::Config;
use crate::reader::{Refusal, Section};
use crate::words::quoted;

/// Where players are answered, and with how many threads.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Plain HTTP listeners. May be empty only if [`tls`](Self::tls) is set.
    pub listen: Vec<SocketAddr>,
    /// The HTTPS (and HTTP/2) listener, if there is one.
    pub tls: Option<TlsConfig>,
    /// Who stands before the edge: peers whose `X-Forwarded-For` says which client a request is from.
    pub trusted_proxies: Vec<IpNet>,
    /// Threads that move bytes between sockets (1 to 256); enhancement has threads of its own.
    pub threads: usize,
    /// How long running responses may take after a stop was asked for, in seconds (0 to 3600).
    pub drain_seconds: u64,
    /// How long everything is still answered, but `/readyz` with 503, before a stop begins, in seconds (0 to 600).
    pub drain_notice_seconds: u64,
    /// Where a running edge hands its sockets to the one that replaces it; none: it does not.
    pub upgrade_socket: Option<PathBuf>,
}

/// The HTTPS listener: all three or none.
#[derive(Clone, Debug, PartialEq)]
pub struct TlsConfig {
    /// Address of the HTTPS listener.
    pub listen: SocketAddr,
    /// PEM file with the certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with the private key (PKCS#8, PKCS#1 or SEC1).
    pub key: PathBuf,
}

/// Where metrics and health are answered.
#[derive(Clone, Debug, PartialEq)]
pub struct AdminConfig {
    /// Address of `/status`, `/metrics`, `/livez` and `/readyz`.
    pub listen: SocketAddr,
    /// The file with the bearer token that everything but `/livez` and `/readyz` asks for.
    pub token_file: Option<PathBuf>,
    /// Whether an address that others can reach may go without a token.
    pub unprotected: bool,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            // Loopback: nobody exposes a proxy to the world by forgetting a key.
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)],
            // A certificate cannot be guessed.
            tls: None,
            // Anybody can write the header.
            trusted_proxies: Vec::new(),
            // All cores: these threads sleep unless there are bytes to move, and cached segments should use the machine.
            threads: crate::cores(),
            // Longer than a player needs to download a segment, shorter than the 30 s after which
            // Kubernetes kills a container that was asked to stop.
            drain_seconds: 20,
            // A load balancer that looks every second or two has seen it twice by then; with the drain it is below those 30 s.
            drain_notice_seconds: 5,
            // A place that only this user may write to cannot be guessed.
            upgrade_socket: None,
        }
    }
}

impl TlsConfig {
    /// Where HTTPS is answered unless told otherwise: loopback, for the reason `server.listen` is.
    pub(crate) const DEFAULT_LISTEN: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8443);
}

impl Default for AdminConfig {
    fn default() -> Self {
        // Loopback: metrics tell strangers what a machine is doing. 9090 is not taken by the players' listener.
        let listen = SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090);
        Self { listen, token_file: None, unprotected: false }
    }
}

impl ServerConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let tls = section.optional_child("tls").map(TlsConfig::read);
        let server = Self {
            listen: section.list("listen", address).unwrap_or(default.listen),
            // A section that is there but wrong has been reported; it still counts as there.
            tls: tls.flatten(),
            trusted_proxies: section.list("trusted_proxies", network).unwrap_or_default(),
            threads: section.integer_or_auto("threads", 1..=256).unwrap_or(default.threads),
            drain_seconds: section.integer("drain_seconds", default.drain_seconds, 0..=3600),
            drain_notice_seconds: section.integer(
                "drain_notice_seconds",
                default.drain_notice_seconds,
                0..=600,
            ),
            upgrade_socket: section.path("upgrade_socket"),
        };
        if server.listen.is_empty() && !section.has("tls") {
            section.fault("listen", "must hold an address, since there is no [server.tls] either", None);
        }
        section.finish();
        server
    }
}

impl TlsConfig {
    /// None if it is half configured, which is reported.
    fn read(section: Section<'_>) -> Option<Self> {
        let listen = section.parsed("listen", address).unwrap_or(Self::DEFAULT_LISTEN);
        let (certificate, key) = (section.path("certificate"), section.path("key"));
        for (name, what) in [("certificate", "certificate chain"), ("key", "private key")] {
            if !section.has(name) {
                section.missing(
                    name,
                    &format!("HTTPS needs a PEM file with the {what}; remove the section to go without"),
                );
            }
        }
        section.finish();
        Some(Self { listen, certificate: certificate?, key: key? })
    }
}

impl AdminConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let listen = section.parsed("listen", address).unwrap_or(Self::default().listen);
        let token_file = section.path("token_file");
        let unprotected = section.flag("unprotected", false);
        section.finish();
        Self { listen, token_file, unprotected }
    }

    /// Whether strangers could read what is for operators.
    pub(crate) fn is_exposed(&self) -> bool {
        !self.listen.ip().to_canonical().is_loopback() && self.token_file.is_none() && !self.unprotected
    }
}

pub(crate) fn address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(format!("{} is not an address and port", quoted(text)))
            .hint("write it as \"0.0.0.0:8080\" or \"[::]:8080\"; names are not looked up")
    })
}

fn network(text: &str) -> Result<IpNet, Refusal> {
    let address = || text.parse::<IpAddr>().map(IpNet::from);
    text.parse().map(|network: IpNet| network.trunc()).or_else(|_| address()).map_err(|_| {
        Refusal::new(format!("{} is no network", quoted(text)))
            .hint("write it as \"10.0.0.0/8\", \"2001:db8::/32\" or a single address")
    })
}

/// The first two listeners, by name, that cannot both be opened, and the address they share.
pub(crate) fn collision(config: &Config) -> Option<(String, String, SocketAddr)> {
    let Config { server, admin, nodes, .. } = config;
    let mut taken: Vec<(String, SocketAddr)> = Vec::new();
    let players = server.listen.iter().map(|&listen| ("server.listen", listen));
    let tls = server.tls.iter().map(|tls| ("server.tls.listen", tls.listen));
    let nodes = nodes.iter().map(|nodes| ("nodes.listen", nodes.listen));
    for (name, listen) in players.chain(tls).chain([("admin.listen", admin.listen)]).chain(nodes) {
        if let Some((other, _)) = taken.iter().find(|(_, other)| collide(*other, listen)) {
            return Some((name.to_owned(), other.clone(), listen));
        }
        taken.push((name.to_owned(), listen));
    }
    None
}

/// Port 0 asks the system for a free one, so it collides with nothing; `0.0.0.0` covers every address of its family.
pub(crate) fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |x: IpAddr, y: IpAddr| x == y || (x.is_unspecified() && x.is_ipv4() == y.is_ipv4());
    a.port() != 0 && a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}
