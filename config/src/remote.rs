//! `workers.remote`, `[workers.tls]` and `[workers.listen]`: workers on other machines, from both ends.
//!
//! An edge reads the first two and a worker that listens reads the third. They may stand in one file: each takes its own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::nodes::NodeName;
use crate::reader::{Refusal, Section};
use crate::server::{address, collide};
use crate::words::quoted;

/// Most names of workers: each may stand for many.
const REMOTE_LIMIT: usize = 64;

/// Most names of edges that a worker is told.
const PERMITTED_LIMIT: usize = 256;

/// Longest name of an edge, in bytes (RFC 1035).
const NAME_LIMIT_BYTES: usize = 253;

/// Workers on other machines, as an edge knows them.
#[derive(Clone, Debug, PartialEq)]
pub struct RemoteConfig {
    /// Where they are (1 to 64); a name that resolves to several addresses stands for as many workers.
    pub names: Vec<NodeName>,
    /// How often names are resolved again (1 s to 1 h).
    pub resolve_every: Duration,
    /// Who the edge is to them, and whom it takes them for.
    pub tls: RemoteTls,
}

/// The edge's side of mutual TLS.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RemoteTls {
    /// PEM file with the only authorities whose certificates workers may show.
    pub authority: PathBuf,
    /// PEM file with this edge's certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// The name that workers' certificates must be good for; none: that of each in `workers.remote`.
    pub server_name: Option<String>,
    /// PEM file with the authorities' lists of certificates that they have taken back; none: they have taken none back.
    pub revoked: Option<PathBuf>,
}

/// Where a worker listens, and to whom.
#[derive(Clone, Debug, PartialEq)]
pub struct ListenConfig {
    /// Where edges are answered.
    pub address: SocketAddr,
    /// PEM file with the worker's certificate chain, leaf first.
    pub certificate: PathBuf,
    /// PEM file with its private key.
    pub key: PathBuf,
    /// PEM file with the only authorities whose certificates edges may show.
    pub client_authority: PathBuf,
    /// Names of which an edge's certificate must be good for one (at most 256); none: any that the authority has signed.
    pub permitted: Vec<String>,
    /// PEM file with the authorities' lists of certificates that they have taken back; none: they have taken none back.
    pub revoked: Option<PathBuf>,
    /// Where `/metrics`, `/livez` and `/readyz` are answered, without TLS; none: nowhere.
    pub admin: Option<SocketAddr>,
    /// Edges' connections at one time (1 to 512).
    pub connections: usize,
    /// How long what is in hand may take after a stop was asked for (1 s to 10 min).
    pub drain_within: Duration,
}

impl RemoteConfig {
    /// None if there is none, or if it lacks what it cannot do without, which is reported.
    pub(crate) fn read(workers: &Section<'_>) -> Option<Self> {
        let names = workers.list("remote", remote_name);
        // Ten times a name server's usual answer for pods, and soon enough for a machine that was added.
        let resolve_every = workers.duration(
            "resolve_every",
            Duration::from_secs(10),
            Duration::from_secs(1)..=Duration::from_secs(3600),
        );
        let tls = workers.optional_child("tls").map(RemoteTls::read);
        let mut known = names.clone().unwrap_or_default();
        if known.len() > REMOTE_LIMIT {
            let message = format!("has {} names; at most {REMOTE_LIMIT} are taken", known.len());
            workers.fault("remote", message, Some("let one name resolve to the addresses of many"));
        }
        known.sort();
        if let Some(twin) = known.windows(2).find(|pair| pair.first() == pair.last()).and_then(<[_]>::first) {
            workers.fault("remote", format!("holds {twin} twice"), None);
        }
        let is_asked_for = workers.has("remote") && !workers.is_empty_list("remote");
        if is_asked_for && !workers.has("tls") {
            workers.missing(
                "tls",
                "workers on other machines are spoken to over mutual TLS alone: [workers.tls] with authority, certificate and key",
            );
        }
        if workers.has("tls") && !is_asked_for {
            workers.fault(
                "tls",
                "is of no use without workers.remote",
                Some("remove it, or name the workers"),
            );
        }
        let names = names.filter(|names| !names.is_empty())?;
        Some(Self { names, resolve_every, tls: tls.flatten()? })
    }
}

impl RemoteTls {
    fn read(section: Section<'_>) -> Option<Self> {
        let path = |name: &'static str, what: &str| {
            if !section.has(name) {
                section.missing(name, &format!("mutual TLS needs a PEM file with {what}"));
            }
            section.path(name)
        };
        let authority = path("authority", "the authority that has signed the workers' certificates");
        let certificate = path("certificate", "the certificate chain that this edge shows them");
        let key = path("key", "that certificate's private key");
        let server_name = section.parsed("server_name", certified_name);
        let revoked = section.path("revoked");
        section.finish();
        Some(Self { authority: authority?, certificate: certificate?, key: key?, server_name, revoked })
    }
}

impl ListenConfig {
    /// None if it lacks what it cannot do without, which is reported.
    pub(crate) fn read(section: Section<'_>) -> Option<Self> {
        let s = Duration::from_secs;
        if !section.has("address") {
            section.missing("address", "where edges find this worker, as address = \"10.0.0.21:7443\"");
        }
        let listen = section.parsed("address", address);
        let path = |name: &'static str, what: &str| {
            if !section.has(name) {
                section.missing(name, &format!("mutual TLS needs a PEM file with {what}"));
            }
            section.path(name)
        };
        let certificate = path("certificate", "the certificate chain that this worker shows edges");
        let key = path("key", "that certificate's private key");
        let client_authority =
            path("client_authority", "the authority that has signed the edges' certificates");
        let permitted = section.list("permitted", certified_name).unwrap_or_default();
        if permitted.len() > PERMITTED_LIMIT {
            let message = format!("has {} names; at most {PERMITTED_LIMIT} are taken", permitted.len());
            section.fault("permitted", message, Some("\"*.edges.example\" stands for all names below one"));
        }
        let revoked = section.path("revoked");
        let admin = section.parsed("admin", address);
        if let (Some(listen), Some(admin)) = (listen, admin)
            && collide(listen, admin)
        {
            section.fault(
                "admin",
                format!("cannot be {admin}: `workers.listen.address` listens there"),
                None,
            );
        }
        // An edge needs one; so many are a region of edges that are restarted at once. Files that are open have a limit beside.
        let connections = section.integer("connections", 64, 1..=512);
        // The segment limit's half: what takes longer is hardly wanted any more, and supervisors wait for no longer either.
        let drain_within = section.duration("drain_within", s(60), s(1)..=s(600));
        section.finish();
        Some(Self {
            address: listen?,
            certificate: certificate?,
            key: key?,
            client_authority: client_authority?,
            permitted,
            revoked,
            admin,
            connections,
            drain_within,
        })
    }
}

/// `https://HOST:PORT`, and nothing behind it.
fn remote_name(text: &str) -> Result<NodeName, Refusal> {
    let refusal = |why: String| Refusal::new(why).hint("write it as \"https://gpu-1.example:7443\"");
    let shown = || quoted(text);
    let url = Url::parse(text).map_err(|error| refusal(format!("{} is not a URL: {error}", shown())))?;
    if url.scheme() == "http" {
        return Err(refusal(format!(
            "{} is not encrypted: workers are spoken to over mutual TLS alone",
            shown()
        )));
    }
    if url.scheme() != "https" {
        return Err(refusal(format!("{} is not an https URL", shown())));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err(refusal("holds a user or password: workers ask for a certificate".to_owned()));
    }
    if url.path() != "/" || url.query().is_some() || url.fragment().is_some() {
        return Err(refusal(format!("{} has something behind its port", shown())));
    }
    // The port is asked for as it stands: a URL that is parsed has forgotten its scheme's own.
    let authority = text.split_once("://").map_or(text, |(_, rest)| rest).trim_end_matches('/');
    let has_port = authority.rsplit_once(':').is_some_and(|(_, port)| port.parse::<u16>().is_ok());
    let (Some(host), Some(port), true) = (url.host_str(), url.port_or_known_default(), has_port) else {
        return Err(refusal(format!("{} has no port", shown())));
    };
    NodeName::parse(&format!("{host}:{port}"))
}

/// A name as certificates have it: of DNS, where the first label may be `*`.
fn certified_name(text: &str) -> Result<String, Refusal> {
    let name = text.trim_end_matches('.').to_ascii_lowercase();
    let plain = name.strip_prefix("*.").unwrap_or(&name);
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_');
    let is_name = !plain.is_empty() && plain.bytes().all(fits) && !plain.split('.').any(str::is_empty);
    if is_name && name.len() <= NAME_LIMIT_BYTES {
        Ok(name)
    } else {
        Err(Refusal::new(format!("{} is no name that a certificate could be good for", quoted(text)))
            .hint("write it as \"edge-1.example\", as the certificate's subjectAltName has it"))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::WorkerPart;
    use crate::tests::one_fault;

    const TLS: &str = "[workers.tls]\nauthority = \"/a\"\ncertificate = \"/c\"\nkey = \"/k\"\n";
    const LISTEN: &str = "[workers.listen]\naddress = \"0.0.0.0:7443\"\ncertificate = \"/c\"\nkey = \"/k\"\nclient_authority = \"/a\"\n";

    fn remote(text: &str) -> Option<RemoteConfig> {
        crate::parse(&format!("{text}\n[[route]]\norigin = \"https://o.example\"")).unwrap().workers.remote
    }

    #[test]
    fn there_are_none_unless_they_are_named() {
        assert_eq!(remote(""), None);
        assert_eq!(remote("[workers]\nremote = []"), None);
        let text = format!(
            "[workers]\nremote = [\"https://GPU-1.example:7443\", \"https://[2001:db8::1]:443/\"]\n{TLS}"
        );
        let found = remote(&text).unwrap();
        let names: Vec<String> = found.names.iter().map(ToString::to_string).collect();
        assert_eq!(names, ["gpu-1.example:7443", "[2001:db8::1]:443"]);
        assert_eq!((found.resolve_every.as_secs(), found.tls.server_name), (10, None));
        let more = "server_name = \"Workers.\"\nrevoked = \"/r\"";
        let tls = remote(&format!("[workers]\nremote = \"https://pool:1\"\n{TLS}{more}")).unwrap().tls;
        assert_eq!((tls.server_name.as_deref(), tls.revoked), (Some("workers"), Some(PathBuf::from("/r"))));
    }

    #[test]
    fn faults_of_an_edge() {
        let remote = |value: &str| format!("[workers]\nremote = {value}\n{TLS}");
        for (text, expected) in [
            ("[workers]\nremote = \"https://g:1\"".to_owned(), "workers.tls: is missing"),
            (TLS.to_owned(), "workers.tls: is of no use without workers.remote"),
            (remote("\"http://g:1\""), "is not encrypted"),
            (remote("\"g:1\""), "is not an https URL"),
            (remote("\"https://g\""), "has no port"),
            (remote("\"https://g:1/worker\""), "has something behind its port"),
            (remote("\"https://u:p@g:1\""), "holds a user or password"),
            (remote("[\"https://g:1\", \"https://G:1\"]"), "holds g:1 twice"),
            (remote("\"https://g:1\"").replace("key = \"/k\"\n", ""), "workers.tls.key: is missing"),
            (remote("\"https://g:1\"") + "server_name = \"a b\"", "is no name that a certificate"),
            (remote("\"https://g:1\"\nresolve_every = \"0s\""), "0s is not between 1s and 1h"),
        ] {
            one_fault(&text, expected);
        }
    }

    #[test]
    fn faults_of_a_worker() {
        let listen = WorkerPart::parse(LISTEN).unwrap().workers.listen.unwrap();
        assert_eq!((listen.connections, listen.admin, listen.permitted.len()), (64, None, 0));
        for (text, expected) in [
            (LISTEN.replace("address", "#"), "workers.listen.address: is missing"),
            (LISTEN.replace("client_authority", "#"), "workers.listen.client_authority: is missing"),
            (LISTEN.to_owned() + "permitted = [\"a..b\"]", "is no name that a certificate"),
            (LISTEN.to_owned() + "admin = \"10.0.0.1:7443\"", "`workers.listen.address` listens there"),
            (LISTEN.to_owned() + "connections = 0", "0 is not between 1 and 512"),
            (LISTEN.to_owned() + "clients = 1", "workers.listen.clients: is not a known key"),
        ] {
            one_fault(&text, expected);
        }
    }

    #[test]
    fn a_supervised_worker_is_told_nothing_of_it() {
        let text = format!("[workers]\nremote = \"https://g:1\"\n{TLS}{LISTEN}");
        let told = WorkerPart::parse(&text).unwrap().text();
        for secret in ["remote", "tls", "listen", "/k"] {
            assert!(!told.contains(secret), "{told}");
        }
    }
}
