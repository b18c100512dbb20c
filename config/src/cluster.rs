//! `[[route]]`'s `cluster` and `[[route.cluster_rule]]`: which models a stream is enhanced with.
//!
//! Here they are only read; the proxy evaluates them (`proxy/src/cluster.rs`).

use std::fmt;

use crate::pattern::Pattern;
use crate::reader::{Refusal, Section};
use crate::route::{HostPattern, host_pattern};
use crate::words::quoted;

/// Where a stream's cluster comes from when no rule names one.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum ClusterChoice {
    /// What the origin says of the stream, else what its first segment looks like, else `generic`.
    Auto,
    /// Always this one (`[a-z0-9_]`, at most 32 bytes); `plain` is the built-in scaler.
    Always(String),
}

/// Streams of a host, below a path, or both, and their cluster. Of a route's rules the first that holds decides.
#[derive(Clone, Debug, PartialEq)]
pub struct ClusterRule {
    /// The host of the request is one of these.
    pub host: Option<HostPattern>,
    /// The multivariant playlist's path at the edge, without query, matches.
    pub path: Option<Pattern>,
    /// The cluster.
    pub cluster: String,
}

/// Longest cluster name, in bytes: it is part of every enhanced URL.
const CLUSTER_LIMIT_BYTES: usize = 32;
/// The word that is no cluster's name.
const AUTO: &str = "auto";

impl ClusterRule {
    /// Whether it holds for a playlist; `host` is empty where the request names none.
    #[must_use]
    pub fn holds(&self, host: &str, path: &str) -> bool {
        self.host.as_ref().is_none_or(|pattern| pattern.matches(host))
            && self.path.as_ref().is_none_or(|pattern| pattern.is_match(path))
    }

    /// None if it is wrong, which is reported.
    pub(crate) fn read(section: Section<'_>) -> Option<Self> {
        let host = section.parsed("host", host_pattern);
        let path = section.parsed("path", |text| Pattern::new(text).map_err(Refusal::new));
        let cluster = section.parsed("cluster", cluster_name);
        if !section.has("cluster") {
            section.missing(
                "cluster",
                "name the cluster of these streams; `acuity models` lists those there are",
            );
        }
        if !section.has("host") && !section.has("path") {
            section.fault(
                "",
                "has neither `host` nor `path`, so it would hold for every stream",
                Some("one cluster for the whole route is the route's own `cluster`"),
            );
        }
        section.finish();
        Some(Self { host, path, cluster: cluster? })
    }
}

/// `auto`, or a cluster's name.
pub(crate) fn cluster_choice(text: &str) -> Result<ClusterChoice, Refusal> {
    if text == AUTO { Ok(ClusterChoice::Auto) } else { cluster_name(text).map(ClusterChoice::Always) }
}

fn cluster_name(text: &str) -> Result<String, Refusal> {
    if text == AUTO {
        return Err(Refusal::new("names no cluster: \"auto\" is what happens where no rule holds"));
    }
    let fits = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
    if text.is_empty() || text.len() > CLUSTER_LIMIT_BYTES || !text.bytes().all(fits) {
        return Err(Refusal::new(format!("{} is not a cluster's name", quoted(text))).hint(format!(
            "1 to {CLUSTER_LIMIT_BYTES} of a-z, 0-9 and _; `acuity models` lists those there are"
        )));
    }
    Ok(text.to_owned())
}

impl fmt::Display for ClusterChoice {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Auto => f.write_str(AUTO),
            Self::Always(name) => f.write_str(name),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        assert_eq!(cluster_choice("auto").ok().unwrap(), ClusterChoice::Auto);
        for name in ["game_2", "generic", "plain"] {
            let choice = cluster_choice(name).ok().unwrap();
            assert_eq!(
                (choice.to_string(), choice),
                (name.to_owned(), ClusterChoice::Always(name.to_owned()))
            );
        }
        for text in ["", "Game", "a-b", "a.b", "a/b", &"a".repeat(33)] {
            assert!(cluster_choice(text).is_err(), "{text}");
        }
        assert!(cluster_name("auto").is_err(), "a rule must name one");
    }

    #[test]
    fn rules_hold_where_all_they_say_does() {
        let rule = |host: Option<&str>, path: Option<&str>| ClusterRule {
            host: host.map(|host| host_pattern(host).ok().unwrap()),
            path: path.map(|path| Pattern::new(path).unwrap()),
            cluster: "c".to_owned(),
        };
        for (rule, host, path, holds) in [
            (rule(Some("*.example.org"), None), "a.example.org", "/x.m3u8", true),
            (rule(Some("*.example.org"), None), "example.org", "/x.m3u8", false),
            (rule(Some("a.example"), None), "", "/x.m3u8", false),
            (rule(None, Some("^/games/")), "", "/games/x.m3u8", true),
            (rule(None, Some("^/games/")), "", "/old/games/x.m3u8", false),
            (rule(Some("a.example"), Some("games")), "a.example", "/my-games.m3u8", true),
            (rule(Some("a.example"), Some("games")), "b.example", "/my-games.m3u8", false),
            (rule(Some("a.example"), Some("games")), "a.example", "/films.m3u8", false),
        ] {
            assert_eq!(rule.holds(host, path), holds, "{rule:?} {host} {path}");
        }
    }
}
