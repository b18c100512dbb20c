//! The whole document: its sections, what the command line overrides, and the faults that show only between sections.

use std::net::{IpAddr, SocketAddr};

use toml::de::DeTable;
use url::{Host, Url};

use crate::faults::Faults;
use crate::findings::{Findings, position};
use crate::reader::Section;
use crate::route::origin_url;
use crate::server::collision;
use crate::{
    AdminConfig, CacheConfig, Config, EnhancerConfig, GuardConfig, HostPattern, LogConfig, ModelsConfig,
    OriginConfig, Overrides, RouteConfig, ServerConfig,
};

/// Largest configuration, in bytes: a thousand routes with rules are below it.
const TEXT_LIMIT_BYTES: usize = 1 << 20;
/// The flags as faults name them.
const ORIGIN_FLAG: &str = "--origin";

/// Where a part of the configuration stands: a span of the text, or none for a flag.
type Span = Option<std::ops::Range<usize>>;

pub(crate) fn read(text: &str, overrides: &Overrides<'_>) -> Result<Config, Faults> {
    let findings = Findings::new();
    let config = walk(text, overrides, &findings);
    findings.settle(text, config)
}

/// Gives a configuration in any case; whether it counts is for the findings to say.
pub(crate) fn walk(text: &str, overrides: &Overrides<'_>, findings: &Findings) -> Config {
    let text = if text.len() > TEXT_LIMIT_BYTES {
        findings.add(None, "", format!("the configuration is larger than {TEXT_LIMIT_BYTES} bytes"), None);
        ""
    } else {
        text
    };
    let (document, errors) = DeTable::parse_recoverable(text);
    errors.iter().for_each(|error| findings.syntax(error));

    let root = Section::root(&document, findings);
    let (server, admin) = (root.child("server"), root.child("admin"));
    let listen_spans = [
        ("server.listen", server.span_of("listen")),
        ("server.tls.listen", server.span_of("tls")),
        ("admin.listen", admin.span_of("listen")),
    ];
    let mut config = Config {
        server: ServerConfig::read(server),
        admin: AdminConfig::read(admin),
        routes: Vec::new(),
        enhancer: EnhancerConfig::read(root.child("enhancer")),
        models: ModelsConfig::read(root.child("models")),
        guard: GuardConfig::read(root.child("guard")),
        cache: CacheConfig::read(root.child("cache")),
        origin: OriginConfig::read(root.child("origin")),
        log: LogConfig::read(root.child("log")),
    };
    if let Some(listen) = overrides.listen {
        config.server.listen = vec![listen];
    }
    if let Some(admin) = overrides.admin {
        config.admin.listen = admin;
    }
    if let Some((name, other, address)) = collision(&config.server, &config.admin) {
        let span = listen_spans.iter().find(|(key, _)| *key == name).and_then(|(_, span)| span.clone());
        findings.add(span, name, format!("cannot be {address}: `{other}` listens there"), None);
    }

    let routes = routes(text, &root, overrides.origin, findings);
    let none = !root.has("route") || root.is_empty_list("route");
    if none && overrides.origin.is_none() {
        root.missing(
            "route",
            "name an origin: --origin URL, or a [[route]] with origin = \"https://origin.example\"",
        );
    }
    for (name, span, route) in &routes {
        if let Some(address) = own_address(&route.origin, &config) {
            let message =
                format!("{} is this edge itself ({address}): every request would come back", route.origin);
            findings.add(span.clone(), name.clone(), message, None);
        }
    }
    config.routes = routes.into_iter().map(|(_, _, route)| route).collect();
    root.finish();
    config
}

/// The routes with the name and place of each one's origin, `--origin` applied, duplicates reported.
fn routes(
    text: &str,
    root: &Section<'_>,
    origin: Option<&str>,
    findings: &Findings,
) -> Vec<(String, Span, RouteConfig)> {
    let mut routes: Vec<(String, Span, RouteConfig)> = Vec::new();
    for section in root.children("route") {
        let (name, span) = (section.key("origin"), section.span_of("origin"));
        let (section_name, section_span) =
            (section.key(""), section.span_of("prefix").or_else(|| span.clone()));
        let Some(route) = RouteConfig::read(section) else { continue };
        let twin =
            routes.iter().find(|(_, _, other)| (&other.host, &other.prefix) == (&route.host, &route.prefix));
        if let Some((_, first, _)) = twin {
            let line = first.as_ref().map_or(0, |span| position(text, span.start).line);
            let RouteConfig { host, prefix, .. } = &route;
            let message =
                format!("host \"{host}\" with prefix \"{prefix}\" has a route already (line {line})");
            findings.add(
                section_span,
                section_name,
                message,
                Some("remove one, or give it another prefix".to_owned()),
            );
        }
        routes.push((name, span, route));
    }
    let Some(origin) = origin else { return routes };
    match origin_url(origin) {
        Err(refusal) => findings.add(None, ORIGIN_FLAG, refusal.message, refusal.hint),
        Ok(origin) => {
            let catch_all = |route: &RouteConfig| route.host == HostPattern::Any && route.prefix == "/";
            match routes.iter_mut().find(|(_, _, route)| catch_all(route)) {
                Some((name, span, route)) => {
                    (*name, *span, route.origin) = (ORIGIN_FLAG.to_owned(), None, origin)
                }
                None => routes.push((ORIGIN_FLAG.to_owned(), None, RouteConfig::to(origin))),
            }
        }
    }
    routes
}

/// The listener that an origin is, if it is one: such a route would fetch from itself until something gives way. Only
/// addresses are looked at, since names are not resolved here (`localhost` is what everybody means by it).
fn own_address(origin: &Url, config: &Config) -> Option<SocketAddr> {
    let port = origin.port_or_known_default()?;
    let local = |listen: IpAddr, wanted: IpAddr| {
        listen == wanted || (listen.is_unspecified() && wanted.is_loopback())
    };
    let is = |listen: SocketAddr| {
        listen.port() == port
            && match origin.host() {
                Some(Host::Ipv4(address)) => local(listen.ip(), IpAddr::V4(address)),
                Some(Host::Ipv6(address)) => local(listen.ip(), IpAddr::V6(address)),
                Some(Host::Domain("localhost")) => listen.ip().is_loopback() || listen.ip().is_unspecified(),
                _ => false,
            }
    };
    let tls = config.server.tls.iter().map(|tls| tls.listen);
    config.server.listen.iter().copied().chain(tls).chain([config.admin.listen]).find(|&listen| is(listen))
}
