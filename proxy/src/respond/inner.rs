//! What an origin's answer tells of the network behind the edge, and strangers need not know.
//!
//! Headers that hold paths, hosts or software versions of inner machines are taken out of what is passed through. `Via` stays: proxies find loops by it
//! (RFC 9110, 7.6.3). A redirect to a private address stays only where the client is at a private address itself: another one cannot follow it,
//! and would only learn from it.

use std::net::IpAddr;

use http::HeaderMap;
use http::header::{CONTENT_LOCATION, HeaderName, LOCATION, SERVER};
use url::{Host, Url};

use crate::origin::reach::Place;

/// Paths on the origin's disks and in its network (nginx and Apache act on the first two and may forget them), then what runs there.
pub const INNER_HEADERS: [HeaderName; 10] = [
    HeaderName::from_static("x-accel-redirect"),
    HeaderName::from_static("x-sendfile"),
    HeaderName::from_static("x-backend"),
    HeaderName::from_static("x-backend-server"),
    HeaderName::from_static("x-upstream"),
    HeaderName::from_static("x-served-by"),
    HeaderName::from_static("x-powered-by"),
    HeaderName::from_static("x-aspnet-version"),
    HeaderName::from_static("x-aspnetmvc-version"),
    SERVER,
];

/// The names of headers that this client does not get.
pub fn withheld(headers: &HeaderMap, client: Option<IpAddr>) -> Vec<HeaderName> {
    let is_outside = client.is_some_and(|client| Place::of(client) == Place::Public);
    let mut names: Vec<HeaderName> =
        INNER_HEADERS.into_iter().filter(|name| headers.contains_key(name)).collect();
    for name in [LOCATION, CONTENT_LOCATION] {
        let target = headers.get(&name).and_then(|value| value.to_str().ok());
        let absolute = target.and_then(elsewhere);
        if is_outside && absolute.is_some_and(|url| is_inner(&url)) {
            names.push(name);
        }
    }
    names
}

/// What a reference leads to that names a host; none for those that name only a path.
fn elsewhere(target: &str) -> Option<Url> {
    const NOBODY: &str = "relative.invalid";
    // As clients read it, backslashes and all.
    let url = Url::parse(&format!("http://{NOBODY}/")).ok()?.join(target).ok()?;
    (url.host_str() != Some(NOBODY)).then_some(url)
}

/// Whether nobody outside can reach that host: a private address, or a name that is none of the Internet's.
fn is_inner(url: &Url) -> bool {
    match url.host() {
        Some(Host::Ipv4(address)) => Place::of(IpAddr::V4(address)) != Place::Public,
        Some(Host::Ipv6(address)) => Place::of(IpAddr::V6(address)) != Place::Public,
        Some(Host::Domain(name)) => {
            let name = name.trim_end_matches('.');
            let inner = ["localhost", "internal", "local", "lan", "home.arpa"];
            // One label, or reserved for private use (RFC 6761, 6762, 8375; ICANN's .internal).
            !name.contains('.')
                || inner.iter().any(|zone| name == *zone || name.ends_with(&format!(".{zone}")))
        }
        None => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn withheld_of(name: &'static str, value: &str, client: &str) -> bool {
        let mut headers = HeaderMap::new();
        headers.insert(name, value.parse().unwrap());
        !withheld(&headers, Some(client.parse().unwrap())).is_empty()
    }

    #[test]
    fn redirects_inward_are_for_those_who_can_follow() {
        for (target, inner) in [
            ("http://10.0.0.8/secret/a.ts", true),
            ("http://169.254.169.254/latest", true),
            ("http://[fd00::1]/a", true),
            ("http://127.1/a", true),
            ("http://0x7f000001/a", true),
            ("//storage/a", true),
            ("/\\\\10.0.0.8/a", true),
            ("http://storage.internal./a", true),
            ("http://localhost:9090/", true),
            ("https://cdn.example/a.ts", false),
            ("/elsewhere/a.ts", false),
            ("b.ts", false),
            ("http://8.8.8.8/", false),
        ] {
            assert_eq!(withheld_of("location", target, "198.51.100.7"), inner, "{target}");
            assert_eq!(withheld_of("content-location", target, "198.51.100.7"), inner, "{target}");
            assert!(!withheld_of("location", target, "192.168.1.9"), "{target}");
        }
    }

    #[test]
    fn what_runs_inside_is_nobodys_affair() {
        for name in ["server", "x-powered-by", "x-accel-redirect", "x-sendfile"] {
            assert!(withheld_of(name, "/srv/media/a.ts", "192.168.1.9"), "{name}");
        }
        assert!(!withheld_of("via", "1.1 varnish", "198.51.100.7"));
        assert!(!withheld_of("x-cache", "HIT", "198.51.100.7"));
    }
}
