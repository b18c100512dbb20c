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
    AdminConfig, CacheConfig, Config, EnhancerConfig, GuardConfig, HostPattern, LimitsConfig, LogConfig,
    ModelsConfig, NodesConfig, OriginConfig, Overrides, RouteConfig, ServerConfig, TracingConfig,
    WorkersConfig,
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
        ("nodes.listen", root.span_of("nodes")),
    ];
    let mut config = Config {
        server: ServerConfig::read(server),
        admin: AdminConfig::read(admin),
        routes: Vec::new(),
        enhancer: EnhancerConfig::read(root.child("enhancer")),
        workers: WorkersConfig::read(root.child("workers")),
        models: ModelsConfig::read(root.child("models")),
        guard: GuardConfig::read(root.child("guard")),
        cache: CacheConfig::read(root.child("cache")),
        nodes: root.optional_child("nodes").and_then(NodesConfig::read),
        origin: OriginConfig::read(root.child("origin")),
        limits: LimitsConfig::read(root.child("limits")),
        log: LogConfig::read(root.child("log")),
        tracing: TracingConfig::read(root.child("tracing")),
    };
    if let Some(listen) = overrides.listen {
        config.server.listen = vec![listen];
    }
    if let Some(admin) = overrides.admin {
        config.admin.listen = admin;
    }
    if let Some((name, other, address)) = collision(&config) {
        let span = listen_spans.iter().find(|(key, _)| *key == name).and_then(|(_, span)| span.clone());
        findings.add(span, name, format!("cannot be {address}: `{other}` listens there"), None);
    }

    if config.admin.is_exposed() {
        let span =
            listen_spans.iter().find(|(key, _)| *key == "admin.listen").and_then(|(_, span)| span.clone());
        let message = format!("{} can be reached from elsewhere, and asks for no token", config.admin.listen);
        let hint = "set admin.token_file, or admin.unprotected = true where a firewall or network policy stands before it";
        findings.add(span, "admin.listen", message, Some(hint.to_owned()));
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
        for origin in route.origins() {
            if let Some(address) = own_address(origin, &config) {
                let message =
                    format!("{origin} is this edge itself ({address}): every request would come back");
                findings.add(span.clone(), name.clone(), message, None);
            }
        }
        let timeouts = route.timeouts.over(&config.origin);
        let own = route.timeouts;
        for (word, part, said) in
            [("connect", timeouts.connect, own.connect), ("first byte", timeouts.first_byte, own.first_byte)]
        {
            if part > timeouts.total && (said.is_some() || own.total.is_some()) {
                let message =
                    format!("leaves the {word} time-out longer than the total, which it is part of");
                findings.add(span.clone(), beside(name, "timeouts"), message, None);
            }
        }
    }
    checked_alike(&routes, findings);
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
    for (at, (_, span, route)) in routes.iter().enumerate() {
        // Names that nobody gave hold a slash, and are told of as twins.
        if !route.name.contains('/') && routes.iter().take(at).any(|(_, _, other)| other.name == route.name) {
            let message = format!("another route is called {:?} already", route.name);
            findings.add(span.clone(), format!("route[{at}].name"), message, None);
        }
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

/// The name of a route's other key, by that of its origin (which may be a flag's).
fn beside(origin: &str, key: &str) -> String {
    origin.strip_suffix("origin").filter(|route| route.ends_with('.')).unwrap_or("route.").to_owned() + key
}

/// An origin is well or not, whoever asks: routes that share one say the same of how it is checked.
fn checked_alike(routes: &[(String, Span, RouteConfig)], findings: &Findings) {
    let checks = |route: &RouteConfig| {
        let check = route.health_check.clone();
        let origins: Vec<Url> = route.origins().cloned().collect();
        check.map(|check| (origins, check))
    };
    for (at, (name, span, route)) in routes.iter().enumerate() {
        let Some((origins, check)) = checks(route) else { continue };
        let others = routes.iter().take(at).filter_map(|(_, _, other)| checks(other));
        let differs = |(theirs, other): &(Vec<Url>, _)| {
            theirs.iter().find(|url| *other != check && origins.contains(url)).cloned()
        };
        if let Some(url) = others.into_iter().find_map(|other| differs(&other)) {
            let message = format!("{url} is checked in another way by another route");
            findings.add(span.clone(), beside(name, "health_check"), message, None);
        }
    }
}

/// The listener that an origin is, if it is one: such a route would fetch from itself until something gives way. Only
/// addresses are looked at, since names are not resolved here (`localhost` is what everybody means by it).
pub(crate) fn own_address(origin: &Url, config: &Config) -> Option<SocketAddr> {
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
    let nodes = config.nodes.iter().map(|nodes| nodes.listen);
    let all = config.server.listen.iter().copied().chain(tls).chain([config.admin.listen]).chain(nodes);
    all.into_iter().find(|&listen| is(listen))
}
