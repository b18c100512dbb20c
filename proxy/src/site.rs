//! The edge as a client names it: which host it asked for, as far as that matters to routing.
//!
//! Playlists and enhanced objects are kept per site, because a path may lead elsewhere under another host. A host that no
//! route and no cluster rule names is no site of its own: otherwise anybody could fill the caches by inventing hosts.

use crate::route::{RouteMatch, Routes};
use acuity_config::{HostPattern, RouteConfig};

/// The routes, and the way from a request's host to them.
#[derive(Debug, Clone, PartialEq)]
pub struct Sites {
    routes: Routes,
    named: Vec<HostPattern>,
}

/// One name of the edge; empty for every host that no route names.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Default)]
pub struct Site(Option<Box<str>>);

impl Site {
    /// For routing.
    #[must_use]
    pub fn host(&self) -> Option<&str> {
        self.0.as_deref()
    }

    /// For keys.
    #[must_use]
    pub fn name(&self) -> &str {
        self.0.as_deref().unwrap_or_default()
    }
}

impl Sites {
    /// The sites of a configuration.
    #[must_use]
    pub fn new(routes: &[RouteConfig]) -> Self {
        let own = routes.iter().map(|route| &route.host);
        let ruled =
            routes.iter().flat_map(|route| &route.cluster_rules).filter_map(|rule| rule.host.as_ref());
        let named = own.chain(ruled).filter(|host| **host != HostPattern::Any).cloned().collect();
        Self { routes: Routes::new(routes), named }
    }

    /// The site of a request; `authority` is its `Host` (or `:authority`), with or without port.
    #[must_use]
    pub fn site(&self, authority: Option<&str>) -> Site {
        let Some(authority) = authority else { return Site(None) };
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|byte| byte.is_ascii_digit()) => host,
            _ => authority,
        };
        let host = host.trim_end_matches('.');
        let named = self.named.iter().any(|pattern| pattern.matches(host));
        Site(named.then(|| host.to_ascii_lowercase().into()))
    }

    /// The route of a normalised edge path.
    #[must_use]
    pub fn find(&self, site: &Site, path_and_query: &str) -> Option<RouteMatch> {
        self.routes.find(site.host(), path_and_query)
    }

    /// The edge path that leads to an absolute URL, if it is on a configured origin. `near`: the edge path of what names
    /// the URL; where several routes lead there, that one's own is taken.
    #[must_use]
    pub fn edge_path_of(&self, site: &Site, url: &str, near: &str) -> Option<String> {
        match self.find(site, near) {
            Some(found) => self.routes.edge_path_near(site.host(), url, found.route),
            None => self.routes.edge_path_of(site.host(), url),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use acuity_config::ClusterRule;
    use url::Url;

    use super::*;

    #[test]
    fn only_named_hosts_are_sites_of_their_own() {
        let origin: Url = "http://o.example/".parse().unwrap();
        let any = RouteConfig::to(origin);
        let exact = RouteConfig { host: HostPattern::Exact("a.example".to_owned()), ..any.clone() };
        let suffix = RouteConfig { host: HostPattern::Suffix("b.example".to_owned()), ..any.clone() };
        let mut sites = vec![any, exact, suffix];
        sites[0].cluster_rules.push(ClusterRule {
            host: Some(HostPattern::Exact("games.example".to_owned())),
            path: None,
            cluster: "freedoom".to_owned(),
        });
        let sites = Sites::new(&sites);
        for (authority, name) in [
            (None, ""),
            (Some("a.example"), "a.example"),
            (Some("A.example:8080"), "a.example"),
            (Some("a.example."), "a.example"),
            (Some("x.b.example"), "x.b.example"),
            (Some("games.example"), "games.example"),
            (Some("invented.example"), ""),
            (Some("[::1]:8080"), ""),
        ] {
            assert_eq!(sites.site(authority).name(), name, "{authority:?}");
        }
    }
}
