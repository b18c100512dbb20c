//! Which origin a request goes to, and what kind of URL it is.
//!
//! Two questions, both answered from the request line and the configuration alone: [`HlsRoute::classify`] tells
//! the edge's own URLs (`/~acuity/<token>/<edge path>`, `/~acuity/models/...`) from all others, [`Routes::find`] gives an edge path's origin URL.
//! [`Routes::edge_path_of`] is the way back. It is also the guard: a URL that no route reaches is no URL for the
//! edge, however a playlist, a redirect or a CMCD `nor` comes by it.

use acuity_config::{HostPattern, RouteConfig};
use acuity_playlist::model_path::{self, ModelPath};
use acuity_playlist::token::{RenditionToken, TokenError};
use acuity_playlist::uri::{self, PathError};
use url::{Position, Url};

/// The routes of a configuration, most specific first.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Routes {
    rules: Vec<Rule>,
}

#[derive(Debug, Clone, PartialEq)]
struct Rule {
    index: usize,
    host: HostPattern,
    /// Without its final slash: the root is empty.
    prefix: String,
    /// Where all of the route's origins have it, in order of preference; never empty.
    bases: Vec<Base>,
}

/// Where an origin has what a route leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Base {
    /// Scheme, host and port.
    origin: Url,
    /// The origin's base path without its final slash.
    path: String,
}

/// The route of a request.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteMatch {
    /// Index of the route in the configuration.
    pub route: usize,
    /// Where the route's first origin has what was asked for: its identity, whichever origin it comes from.
    pub origin_url: Url,
}

impl Routes {
    /// The longest prefix wins; of equal ones an exact host, then a suffix (the longer first), then any host; then
    /// the one that stands first.
    pub fn new(routes: &[RouteConfig]) -> Self {
        let mut rules: Vec<Rule> = routes
            .iter()
            .enumerate()
            .map(|(index, route)| Rule {
                index,
                host: route.host.clone(),
                prefix: route.prefix.trim_end_matches('/').to_owned(),
                bases: route.origins().map(Base::new).collect(),
            })
            .collect();
        let host_rank = |host: &HostPattern| match host {
            HostPattern::Exact(_) => (2, 0),
            HostPattern::Suffix(suffix) => (1, suffix.len()),
            HostPattern::Any => (0, 0),
        };
        rules.sort_by_key(|rule| std::cmp::Reverse((rule.prefix.len(), host_rank(&rule.host))));
        Self { rules }
    }

    /// The origin URL of an edge path. `host`: the request's authority, a port in it is ignored. `path_and_query`
    /// must be normalised ([`HlsRoute`] gives such ones) and not below `/~acuity/`.
    pub fn find(&self, host: Option<&str>, path_and_query: &str) -> Option<RouteMatch> {
        if path_and_query.starts_with(uri::RESERVED_PREFIX) {
            return None;
        }
        let (rule, rest) = self.rule(host, path_and_query)?;
        let origin_url = rule.bases.first()?.url(rest)?;
        Some(RouteMatch { route: rule.index, origin_url })
    }

    /// The rule for an edge path, and what of path and query is behind its prefix.
    fn rule<'a>(&self, host: Option<&str>, path_and_query: &'a str) -> Option<(&Rule, &'a str)> {
        let host = host.map(without_port).unwrap_or_default();
        let path = uri::split_query(path_and_query).0;
        self.rules.iter().filter(|rule| rule.host.matches(host)).find_map(|rule| {
            let rest = path.strip_prefix(rule.prefix.as_str())?;
            let whole = path_and_query.get(rule.prefix.len()..)?;
            (rest.is_empty() || rest.starts_with('/')).then_some((rule, whole))
        })
    }

    /// The edge path and query under which `host` reaches `url`: scheme, host, port and base path must be those of
    /// one of a route's origins, and that route must be the one the edge path leads to.
    pub fn edge_path_of(&self, host: Option<&str>, url: &str) -> Option<String> {
        self.edge_path_by(host, url, |_| true)
    }

    /// As [`Self::edge_path_of`], by the route of that index if it reaches `url` too. Several routes may lead to one
    /// origin; what a playlist names belongs to the route the playlist came by.
    pub fn edge_path_near(&self, host: Option<&str>, url: &str, route: usize) -> Option<String> {
        self.edge_path_by(host, url, |rule| rule.index == route).or_else(|| self.edge_path_of(host, url))
    }

    fn edge_path_by(&self, host: Option<&str>, url: &str, by: impl Fn(&Rule) -> bool) -> Option<String> {
        let mut url = Url::parse(url).ok()?;
        url.set_fragment(None);
        let plain = url.username().is_empty() && url.password().is_none();
        let name = host.map(without_port).unwrap_or_default();
        let rules = self.rules.iter().filter(|rule| by(rule) && plain && rule.host.matches(name));
        let bases = rules.flat_map(|rule| rule.bases.iter().map(move |base| (rule, base)));
        bases.filter(|(_, base)| base.is_above(&url)).find_map(|(rule, base)| {
            let rest = uri::path_and_query_of(&url).split_off(base.path.len());
            let slash = if rule.prefix.is_empty() && !rest.starts_with('/') { "/" } else { "" };
            let edge_path = uri::normalise(&format!("{}{slash}{rest}", rule.prefix)).ok()?;
            if edge_path.starts_with(uri::RESERVED_PREFIX) {
                return None;
            }
            let (rule, rest) = self.rule(host, &edge_path)?;
            rule.bases
                .iter()
                .any(|base| base.url(rest).is_some_and(|leads| leads == url))
                .then_some(edge_path)
        })
    }
}

impl Base {
    /// The base of an origin's URL.
    #[must_use]
    pub fn new(origin: &Url) -> Self {
        Self { origin: origin.clone(), path: origin.path().trim_end_matches('/').to_owned() }
    }

    /// Where that origin has what is at `rest` (path and query behind the route's prefix).
    fn url(&self, rest: &str) -> Option<Url> {
        let authority = &self.origin[..Position::BeforePath];
        let url = Url::parse(&format!("{authority}{}{rest}", self.path)).ok()?;
        // The URL parser has its own idea of dot segments; it must not lead above the base path.
        self.is_above(&url).then_some(url)
    }

    /// Where that origin has what `other` has at `url`.
    #[must_use]
    pub fn counterpart(&self, other: &Self, url: &Url) -> Option<Url> {
        other
            .is_above(url)
            .then(|| uri::path_and_query_of(url).split_off(other.path.len()))
            .and_then(|rest| self.url(&rest))
    }

    /// Whether both have the same paths.
    #[must_use]
    pub fn is_alike(&self, other: &Self) -> bool {
        self.path == other.path
    }

    fn is_above(&self, url: &Url) -> bool {
        let rest = url.path().strip_prefix(self.path.as_str());
        url[..Position::BeforePath] == self.origin[..Position::BeforePath]
            && rest.is_some_and(|rest| rest.is_empty() || rest.starts_with('/'))
    }
}

/// `host` of `host:port`, brackets of IPv6 addresses kept.
fn without_port(authority: &str) -> &str {
    match authority.rsplit_once(':') {
        Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
        _ => authority,
    }
}

/// What a request's path says, before anything is fetched.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum HlsRoute {
    /// Below `/~acuity/<token>`.
    Enhanced {
        /// The rendition.
        token: Box<RenditionToken>,
        /// The source's edge path and query, normalised; `~acuity-range` and CMCD still in it.
        path_and_query: String,
    },
    /// Below `/~acuity/models/`: a network or its description; `None` where the name is neither's.
    Model(Option<ModelPath>),
    /// Everything else.
    Plain {
        /// Edge path and query, normalised.
        path_and_query: String,
    },
    /// Not to be answered but with 400.
    Malformed(Malformed),
}

/// What is wrong with a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Malformed {
    /// No path this edge touches.
    #[error(transparent)]
    Path(#[from] PathError),
    /// A path below `/~acuity/` whose token is none.
    #[error(transparent)]
    Token(#[from] TokenError),
    /// `/~acuity/<token>` with nothing after it.
    #[error("nothing stands behind the token")]
    NothingBelow,
    /// An enhanced URL below an enhanced URL.
    #[error("an enhanced URL stands below another")]
    Nested,
}

impl HlsRoute {
    /// Reads a request's path and query.
    pub fn classify(path_and_query: &str) -> Self {
        match Self::read(path_and_query) {
            Ok(route) => route,
            Err(malformed) => Self::Malformed(malformed),
        }
    }

    fn read(path_and_query: &str) -> Result<Self, Malformed> {
        let path_and_query = uri::normalise(path_and_query)?;
        let Some(below) = below_reserved(&path_and_query) else { return Ok(Self::Plain { path_and_query }) };
        let end = below.find(['/', '?']).unwrap_or(below.len());
        let (token, rest) = below.split_at(end);
        // A token needs no escapes, but clients may write some all the same.
        let token =
            percent_encoding::percent_decode_str(token).decode_utf8().map_err(|_| TokenError::Parts)?;
        if token == model_path::SEGMENT {
            return Ok(Self::Model(rest.strip_prefix('/').and_then(ModelPath::read)));
        }
        let token: RenditionToken = token.parse()?;
        if !rest.starts_with('/') {
            return Err(Malformed::NothingBelow);
        }
        if below_reserved(rest).is_some() {
            return Err(Malformed::Nested);
        }
        Ok(Self::Enhanced { token: Box::new(token), path_and_query: rest.to_owned() })
    }
}

/// What follows `/~acuity/`, in any spelling; a bare `/~acuity` is the edge's own too.
pub(crate) fn below_reserved(path_and_query: &str) -> Option<&str> {
    let below = path_and_query.strip_prefix('/')?;
    let end = below.find(['/', '?']).unwrap_or(below.len());
    let (first, rest) = below.split_at(end);
    let first = percent_encoding::percent_decode_str(first).decode_utf8().ok()?;
    (format!("/{first}/") == uri::RESERVED_PREFIX).then(|| rest.strip_prefix('/').unwrap_or(rest))
}

#[cfg(test)]
#[path = "route_tests.rs"]
mod tests;
