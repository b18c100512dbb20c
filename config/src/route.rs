//! `[[route]]`: which requests go to which origin, and who gets enhanced video there.

use std::fmt;

use url::Url;

use crate::cluster::{ClusterChoice, ClusterRule, cluster_choice};
use crate::frame_rate::FrameRateConfig;
use crate::reader::{Refusal, Section};
use crate::signed_urls::SignedUrlsConfig;
use crate::upstream::{HealthCheckConfig, RouteTimeouts};
use crate::weak::WeakRule;
use crate::words::quoted;

/// One route. The longest matching prefix wins, an exact host before a suffix before any host.
#[derive(Clone, Debug, PartialEq)]
pub struct RouteConfig {
    /// What operators call it (1 to 64 of `A-Za-z0-9._-`); host and prefix where it was not given one. No two have the same.
    pub name: String,
    /// Hosts this route answers for.
    pub host: HostPattern,
    /// Path prefix, `/` or `/a/b` (begins with a slash, does not end with one unless it is the root). It matches
    /// whole path segments: `/live` matches `/live` and `/live/x`, not `/lively`.
    pub prefix: String,
    /// Base URL of the origin (http or https, no user, query or fragment); the prefix is replaced by its path.
    pub origin: Url,
    /// Further origins of the same content, in the order in which they are asked where those before them fail. What is kept, and all URLs,
    /// are those of `origin`, whichever served.
    pub backup_origins: Vec<Url>,
    /// Whether requests are spread over all origins, each folder to one of them, and not only go to the first.
    pub spread_origins: bool,
    /// How the origins are watched; none: by what comes of requests alone.
    pub health_check: Option<HealthCheckConfig>,
    /// Where `[origin]` is not to count.
    pub timeouts: RouteTimeouts,
    /// Whether the origin's name may lead to private addresses.
    pub private_addresses: PrivateAddresses,
    /// Which clients get enhanced renditions.
    pub enhance: EnhanceFor,
    /// Whether the origin's own variant of a resolution is withheld once an enhanced one of it is offered.
    pub withhold: bool,
    /// A variant with more lines than this is not a source for enhancement (64 to 2048).
    pub max_source_lines: u32,
    /// Enlargements that are offered where a model has them, per side (2 to 4), each once, at least one.
    pub scales: Vec<u32>,
    /// Where the cluster of models comes from that no rule names.
    pub cluster: ClusterChoice,
    /// Rules that name a stream's cluster; the first that holds decides.
    pub cluster_rules: Vec<ClusterRule>,
    /// Rules that make a client weak. Never empty when `enhance` is [`EnhanceFor::Weak`]: a route that names none
    /// has [`WeakRule::known_devices`].
    pub weak: Vec<WeakRule>,
    /// Whether renditions of a higher frame rate are offered, of which sources, and to whom not.
    pub frame_rate: Option<FrameRateConfig>,
    /// Whose signatures open it; none: it is open to everybody.
    pub signed_urls: Option<SignedUrlsConfig>,
}

/// Hosts a route answers for. Names are kept in lower case.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum HostPattern {
    /// `*`: every host, and requests without one.
    Any,
    /// `video.example.org`: this host alone.
    Exact(String),
    /// `*.example.org`: every host below `example.org` (kept here without star and dot), not itself.
    Suffix(String),
}

/// Whether a name may lead to private addresses (loopback, RFC 1918, carriers', unique local). An address in the URL, and `localhost`, always may.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PrivateAddresses {
    /// If it did so when it was first resolved; never to link-local ones.
    Auto,
    /// Yes, to any.
    Allow,
    /// No.
    Refuse,
}

/// Which clients get enhanced renditions.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum EnhanceFor {
    /// Every client.
    All,
    /// Only those that a [`WeakRule`] names.
    Weak,
    /// None: the route is a plain proxy. Who plays an enhanced rendition goes on with it.
    None,
    /// None, and nothing is made for those either who play an enhanced rendition: they get the source's bytes.
    Off,
}

impl RouteConfig {
    /// A route for every host and path to `origin`, all else at its default.
    #[must_use]
    pub fn to(origin: Url) -> Self {
        Self {
            // What host and prefix make together.
            name: "*/".to_owned(),
            host: HostPattern::Any,
            prefix: "/".to_owned(),
            origin,
            // One origin is what most have.
            backup_origins: Vec::new(),
            // A back-up is a back-up: its caches are cold, and it may be small.
            spread_origins: false,
            // What is to be asked only the origin's operator knows.
            health_check: None,
            timeouts: RouteTimeouts::default(),
            // Origins are often on inner networks, and names that were public once are not to become so.
            private_addresses: PrivateAddresses::Auto,
            // Whoever puts an enhancing edge before an origin wants enhancement.
            enhance: EnhanceFor::All,
            // The traffic from the origin that is saved is what the edge is for.
            withhold: true,
            // Twice 540 lines is 1080: above it the origin's own rendition is good, and x2 is beyond real time on two cores.
            max_source_lines: 540,
            // What ladders do between neighbours, and what two cores can do in real time.
            scales: vec![2],
            // An edge that knows nothing of a stream should still use the models that fit it.
            cluster: ClusterChoice::Auto,
            cluster_rules: Vec::new(),
            weak: Vec::new(),
            // Made pictures are not what everybody wants to see, and they cost a core: whoever wants them says so.
            frame_rate: None,
            // Signatures need somebody who signs.
            signed_urls: None,
        }
    }
}

impl RouteConfig {
    /// All origins, in order of preference.
    pub fn origins(&self) -> impl Iterator<Item = &Url> {
        std::iter::once(&self.origin).chain(&self.backup_origins)
    }

    fn twice_named(&self) -> Option<&Url> {
        let mut others = self.origins().skip(1).enumerate();
        others.find(|(at, url)| self.origins().take(at + 1).any(|before| before == *url)).map(|(_, url)| url)
    }
}

impl HostPattern {
    /// Whether `host` (a name or address without port, any case, an optional final dot) is one of these.
    #[must_use]
    pub fn matches(&self, host: &str) -> bool {
        let host = host.strip_suffix('.').unwrap_or(host);
        match self {
            Self::Any => true,
            Self::Exact(name) => name.eq_ignore_ascii_case(host),
            Self::Suffix(suffix) => host
                .len()
                .checked_sub(suffix.len() + 1)
                .filter(|&cut| cut > 0)
                .and_then(|cut| host.get(cut..))
                .and_then(|tail| tail.strip_prefix('.'))
                .is_some_and(|tail| tail.eq_ignore_ascii_case(suffix)),
        }
    }
}

impl fmt::Display for HostPattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Any => f.write_str("*"),
            Self::Exact(name) => f.write_str(name),
            Self::Suffix(suffix) => write!(f, "*.{suffix}"),
        }
    }
}

impl EnhanceFor {
    /// All choices.
    pub const ALL: [Self; 4] = [Self::All, Self::Weak, Self::None, Self::Off];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::All => "all",
            Self::Weak => "weak",
            Self::None => "none",
            Self::Off => "off",
        }
    }
}

impl fmt::Display for EnhanceFor {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}

/// A name that stands in URLs of the admin address and on command lines without escapes, and cannot be one that is made of a host
/// and a prefix.
fn route_name(text: &str) -> Result<String, Refusal> {
    let fits = |byte: u8| byte.is_ascii_alphanumeric() || b"._-".contains(&byte);
    if (1..=64).contains(&text.len()) && text.bytes().all(fits) {
        return Ok(text.to_owned());
    }
    Err(Refusal::new(format!("{} is not 1 to 64 of A-Z, a-z, 0-9, dot, _ and -", quoted(text))))
}

/// Longest path prefix, in bytes.
const PREFIX_LIMIT_BYTES: usize = 256;
/// The first path segment of the edge's own URLs.
const RESERVED_SEGMENT: &str = "~acuity";

impl RouteConfig {
    /// None if it has no usable origin, which is reported.
    pub(crate) fn read(section: Section<'_>) -> Option<Self> {
        let host = section.parsed("host", host_pattern).unwrap_or(HostPattern::Any);
        let prefix = section.parsed("prefix", path_prefix).unwrap_or_else(|| "/".to_owned());
        let origin = section.parsed("origin", origin_url);
        if !section.has("origin") {
            section.missing("origin", "every route needs one, as origin = \"https://origin.example\"");
        }
        // The defaults do not depend on the origin; any will do to read the rest of a route without one.
        let default = Self::to(origin.clone().or_else(|| Url::parse("http://origin.invalid").ok())?);
        let name = section.parsed("name", route_name).unwrap_or_else(|| format!("{host}{prefix}"));
        let mut route = Self {
            name,
            host,
            prefix,
            private_addresses: section.choice(
                "private_addresses",
                default.private_addresses,
                &[
                    ("auto", PrivateAddresses::Auto),
                    ("allow", PrivateAddresses::Allow),
                    ("refuse", PrivateAddresses::Refuse),
                ],
            ),
            enhance: section.choice(
                "enhance",
                default.enhance,
                &EnhanceFor::ALL.map(|who| (who.as_str(), who)),
            ),
            withhold: section.flag("withhold", default.withhold),
            // Below 64 lines there is no picture to speak of; above 2048, x2 exceeds what enhanced URLs can say.
            max_source_lines: section.integer("max_source_lines", default.max_source_lines, 64..=2048),
            scales: section.integers("scales", 2..=4).unwrap_or(default.scales),
            cluster: section.parsed("cluster", cluster_choice).unwrap_or(default.cluster),
            cluster_rules: section
                .children("cluster_rule")
                .into_iter()
                .filter_map(ClusterRule::read)
                .collect(),
            weak: section.children("weak").into_iter().filter_map(WeakRule::read).collect(),
            frame_rate: section.optional_child("frame_rate").map(FrameRateConfig::read),
            signed_urls: section.optional_child("signed_urls").map(SignedUrlsConfig::read),
            origin: default.origin,
            backup_origins: section.list("backup_origins", origin_url).unwrap_or_default(),
            spread_origins: section.flag("spread_origins", default.spread_origins),
            health_check: section.optional_child("health_check").map(HealthCheckConfig::read),
            timeouts: section.optional_child("timeouts").map(RouteTimeouts::read).unwrap_or_default(),
        };
        if let Some(twice) = route.twice_named().filter(|_| origin.is_some()) {
            section.fault("backup_origins", format!("names {twice} twice"), None);
        }
        if route.weak.is_empty() && route.enhance == EnhanceFor::Weak {
            route.weak = WeakRule::known_devices();
        }
        section.finish();
        origin.map(|_| route)
    }
}

pub(crate) fn host_pattern(text: &str) -> Result<HostPattern, Refusal> {
    if text == "*" {
        return Ok(HostPattern::Any);
    }
    let (name, suffix) = text.strip_prefix("*.").map_or((text, false), |name| (name, true));
    let name = name.strip_suffix('.').unwrap_or(name).to_ascii_lowercase();
    // Host headers hold addresses too, IPv6 in brackets; names there are ASCII (IDNA's xn--).
    let address = !suffix && name.starts_with('[') && url::Host::parse(&name).is_ok();
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    if address || (name.len() <= 253 && name.split('.').all(label)) {
        return Ok(if suffix { HostPattern::Suffix(name) } else { HostPattern::Exact(name) });
    }
    let hint = if name.contains("//") {
        "leave out the scheme"
    } else if name.rsplit(':').next().is_some_and(|port| port.parse::<u16>().is_ok()) {
        "leave out the port; a route answers on every listener"
    } else if !name.is_ascii() {
        "write an international name in its ASCII form (xn--...)"
    } else {
        "write \"video.example.org\", \"*.example.org\" or \"*\""
    };
    Err(Refusal::new(format!("{} is not a host", quoted(text))).hint(hint))
}

/// Prefixes are compared with normalised paths, so they must be normal themselves.
fn path_prefix(text: &str) -> Result<String, Refusal> {
    let not = |why: &str| Err(Refusal::new(format!("{} {why}", quoted(text))));
    let Some(inner) = text.strip_prefix('/') else { return not("does not begin with /") };
    let inner = inner.strip_suffix('/').unwrap_or(inner);
    if text.len() > PREFIX_LIMIT_BYTES {
        return not(&format!("is longer than {PREFIX_LIMIT_BYTES} bytes"));
    }
    if text == "/" {
        return Ok("/".to_owned());
    }
    // RFC 3986's pchar without percent-encoding: which form would be the normal one is a question nobody should need to ask.
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~!$&'()*+,;=:@".contains(&byte);
    if !inner.bytes().all(|byte| plain(byte) || byte == b'/') {
        return not(
            "holds a character that a prefix may not have (percent-encoded, space, ?, #, or not ASCII)",
        );
    }
    if inner.split('/').any(|segment| matches!(segment, "" | "." | "..")) {
        return not("has an empty or dot segment");
    }
    if inner.split('/').next() == Some(RESERVED_SEGMENT) {
        return not("is the edge's own (enhanced URLs begin with it)");
    }
    Ok(format!("/{inner}"))
}

pub(crate) fn origin_url(text: &str) -> Result<Url, Refusal> {
    let shown = quoted(text);
    let example = "write it as \"https://origin.example\" or \"https://origin.example/base\"";
    let with_scheme = || format!("did you mean \"https://{}\"?", text.trim_start_matches('/'));
    let url = Url::parse(text).map_err(|error| {
        let hint =
            if error == url::ParseError::RelativeUrlWithoutBase { with_scheme() } else { example.to_owned() };
        Refusal::new(format!("{shown} is not a URL: {error}")).hint(hint)
    })?;
    if !matches!(url.scheme(), "http" | "https") {
        // "example.org:8080" parses, with "example.org" as its scheme.
        let hint = if text.contains("://") { example.to_owned() } else { with_scheme() };
        return Err(Refusal::new(format!("{shown} is not an http or https URL")).hint(hint));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Neither is repeated: a report ends up in logs.
        return Err(
            Refusal::new("holds a user or password").hint("origins that want credentials are not supported")
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(Refusal::new(format!("{shown} has a query or fragment"))
            .hint("only a path can be put before others"));
    }
    Ok(url)
}

#[cfg(test)]
mod tests;
