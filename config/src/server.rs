//! `[server]` and `[admin]`: the addresses the edge answers on, for players and for operators.
//!
//! The two live in one file because their addresses must not collide, and that is checked here.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::PathBuf;

use crate::reader::{Refusal, Section};
use crate::words::quoted;

/// Where players are answered, and with how many threads.
#[derive(Clone, Debug, PartialEq)]
pub struct ServerConfig {
    /// Plain HTTP listeners. May be empty only if [`tls`](Self::tls) is set.
    pub listen: Vec<SocketAddr>,
    /// The HTTPS (and HTTP/2) listener, if there is one.
    pub tls: Option<TlsConfig>,
    /// Threads that move bytes between sockets (1 to 256); enhancement has threads of its own.
    pub threads: usize,
    /// How long running responses may take after a stop was asked for, in seconds (0 to 3600).
    pub drain_seconds: u64,
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
    /// Address of `/metrics`, `/livez` and `/readyz`.
    pub listen: SocketAddr,
}

impl Default for ServerConfig {
    fn default() -> Self {
        Self {
            // Loopback: nobody exposes a proxy to the world by forgetting a key.
            listen: vec![SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 8080)],
            // A certificate cannot be guessed.
            tls: None,
            // All cores: these threads sleep unless there are bytes to move, and cached segments should use the machine.
            threads: crate::cores(),
            // Longer than a player needs to download a segment, shorter than the 30 s after which
            // Kubernetes kills a container that was asked to stop.
            drain_seconds: 20,
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
        Self { listen: SocketAddr::new(IpAddr::V4(Ipv4Addr::LOCALHOST), 9090) }
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
            threads: section.integer_or_auto("threads", 1..=256).unwrap_or(default.threads),
            drain_seconds: section.integer("drain_seconds", default.drain_seconds, 0..=3600),
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
        section.finish();
        Self { listen }
    }
}

fn address(text: &str) -> Result<SocketAddr, Refusal> {
    text.parse().map_err(|_| {
        Refusal::new(format!("{} is not an address and port", quoted(text)))
            .hint("write it as \"0.0.0.0:8080\" or \"[::]:8080\"; names are not looked up")
    })
}

/// The first two listeners, by name, that cannot both be opened, and the address they share.
pub(crate) fn collision(server: &ServerConfig, admin: &AdminConfig) -> Option<(String, String, SocketAddr)> {
    let mut taken: Vec<(String, SocketAddr)> = Vec::new();
    let players = server.listen.iter().map(|&listen| ("server.listen", listen));
    let tls = server.tls.iter().map(|tls| ("server.tls.listen", tls.listen));
    for (name, listen) in players.chain(tls).chain([("admin.listen", admin.listen)]) {
        if let Some((other, _)) = taken.iter().find(|(_, other)| collide(*other, listen)) {
            return Some((name.to_owned(), other.clone(), listen));
        }
        taken.push((name.to_owned(), listen));
    }
    None
}

/// Port 0 asks the system for a free one, so it collides with nothing; `0.0.0.0` covers every address of its family.
fn collide(a: SocketAddr, b: SocketAddr) -> bool {
    let covers = |x: IpAddr, y: IpAddr| x == y || (x.is_unspecified() && x.is_ipv4() == y.is_ipv4());
    a.port() != 0 && a.port() == b.port() && (covers(a.ip(), b.ip()) || covers(b.ip(), a.ip()))
}
