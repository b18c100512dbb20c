#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tables: which route a request takes and back, what kind of URL it is.

use super::*;

fn route(host: HostPattern, prefix: &str, origin: &str) -> RouteConfig {
    RouteConfig { host, prefix: prefix.to_owned(), ..RouteConfig::to(Url::parse(origin).unwrap()) }
}

fn routes() -> Routes {
    let exact = HostPattern::Exact("tv.example".into());
    let suffix = |name: &str| HostPattern::Suffix(name.into());
    Routes::new(&[
        route(HostPattern::Any, "/", "https://all.example/"),
        route(HostPattern::Any, "/live", "https://live.example:8443/base/"),
        route(exact.clone(), "/", "http://tv-origin.example"),
        route(suffix("example"), "/", "http://short.example"),
        route(suffix("sub.example"), "/", "http://long.example"),
        route(exact, "/live/hd", "https://live.example:8443/base/hd-files"),
    ])
}

#[test]
fn requests_go_to_their_origin() {
    for (host, path, index, url) in [
        (None, "/a.m3u8", 0, "https://all.example/a.m3u8"),
        (Some("elsewhere"), "/a.m3u8?x=1&y", 0, "https://all.example/a.m3u8?x=1&y"),
        (None, "/", 0, "https://all.example/"),
        (None, "/live/v/a.ts", 1, "https://live.example:8443/base/v/a.ts"),
        (None, "/live", 1, "https://live.example:8443/base"),
        (None, "/live?x", 1, "https://live.example:8443/base?x"),
        (None, "/live/", 1, "https://live.example:8443/base/"),
        (None, "/lively/a.ts", 0, "https://all.example/lively/a.ts"),
        (None, "/live//a%20b.ts", 1, "https://live.example:8443/base//a%20b.ts"),
        (Some("tv.example"), "/a.ts", 2, "http://tv-origin.example/a.ts"),
        (Some("TV.example.:8080"), "/a.ts", 2, "http://tv-origin.example/a.ts"),
        (Some("tv.example"), "/live/a.ts", 1, "https://live.example:8443/base/a.ts"),
        (Some("tv.example"), "/live/hd/a.ts", 5, "https://live.example:8443/base/hd-files/a.ts"),
        (Some("x.example"), "/a.ts", 3, "http://short.example/a.ts"),
        (Some("x.sub.example"), "/a.ts", 4, "http://long.example/a.ts"),
        (Some("[::1]:8080"), "/a.ts", 0, "https://all.example/a.ts"),
    ] {
        let found = routes().find(host, path).unwrap();
        assert_eq!((found.route, found.origin_url.as_str()), (index, url), "{host:?} {path}");
        // And back, for the same host.
        assert_eq!(routes().edge_path_of(host, url).as_deref(), Some(path), "{host:?} {url}");
    }
    assert_eq!(routes().find(None, "/~acuity/x/a.ts"), None, "reserved paths have no origin");
    let one = Routes::new(&[route(HostPattern::Exact("a".into()), "/x", "http://o.example")]);
    assert_eq!(one.find(Some("b"), "/x/a"), None);
    assert_eq!(one.find(Some("a"), "/y/a"), None);
    assert_eq!(one.find(None, "/x/a"), None);
}

#[test]
fn only_configured_origins_have_edge_paths() {
    let routes = routes();
    for url in [
        "http://all.example/a.ts",
        "https://all.example:444/a.ts",
        "https://live.example/base/a.ts",
        "https://live.example:8443/a.ts",
        "https://live.example:8443/basement/a.ts",
        "https://live.example:8443/base/../a.ts",
        "https://user@all.example/a.ts",
        "https://user:pw@all.example/a.ts",
        "https://all.example.evil.example/a.ts",
        "https://evil.example/https://all.example/a.ts",
        "ftp://all.example/a.ts",
        "file:///etc/passwd",
        "http://169.254.169.254/latest/meta-data",
        "all.example/a.ts",
        "",
    ] {
        assert_eq!(routes.edge_path_of(None, url), None, "{url}");
    }
    for (url, edge) in [
        ("HTTPS://ALL.example:443/a.ts#frag", "/a.ts"),
        ("https://live.example:8443/base/hd/../a.ts", "/live/a.ts"),
        // Another route's edge path shadows this one for that host: no edge path rather than a wrong one.
        ("https://live.example:8443/base/hd/a.ts", "/live/hd/a.ts"),
    ] {
        assert_eq!(routes.edge_path_of(None, url).as_deref(), Some(edge), "{url}");
    }
    assert_eq!(routes.edge_path_of(Some("tv.example"), "https://live.example:8443/base/hd/a.ts"), None);
    assert_eq!(
        routes.edge_path_of(Some("tv.example"), "https://all.example/a.ts"),
        None,
        "shadowed by the host's own"
    );
    // A path the edge would itself take for an enhanced URL is none of the origin's.
    assert_eq!(routes.edge_path_of(None, "https://all.example/~acuity/x/a.ts"), None);
}

#[test]
fn all_origins_of_a_route_are_one_place() {
    let mut live = route(HostPattern::Any, "/live", "https://a.example/base");
    live.backup_origins = ["https://b.example:8443", "http://c.example/other/base/"]
        .map(|url| Url::parse(url).unwrap())
        .to_vec();
    let routes = Routes::new(&[route(HostPattern::Any, "/", "https://all.example/"), live.clone()]);
    let found = routes.find(None, "/live/v/a.ts?x").unwrap();
    assert_eq!(
        found.origin_url.as_str(),
        "https://a.example/base/v/a.ts?x",
        "its identity is the first one's"
    );
    for (url, edge) in [
        ("https://a.example/base/v/a.ts?x", Some("/live/v/a.ts?x")),
        ("https://b.example:8443/v/a.ts?x", Some("/live/v/a.ts?x")),
        ("http://c.example/other/base/v/a.ts", Some("/live/v/a.ts")),
        ("http://c.example/other/v/a.ts", None),
        ("https://b.example/v/a.ts", None),
        ("https://a.example/v/a.ts", None),
    ] {
        assert_eq!(routes.edge_path_of(None, url).as_deref(), edge, "{url}");
        assert_eq!(routes.edge_path_near(None, url, 1).as_deref(), edge, "{url}");
    }
    let bases: Vec<Base> = live.origins().map(Base::new).collect();
    let counterpart =
        |at: usize, url: &str| bases[at].counterpart(&bases[0], &Url::parse(url).unwrap()).map(String::from);
    for (at, url, expected) in [
        (0, "https://a.example/base/a.ts?b=%2f", Some("https://a.example/base/a.ts?b=%2f")),
        (1, "https://a.example/base/a%20b.ts?b=%2f", Some("https://b.example:8443/a%20b.ts?b=%2f")),
        (1, "https://a.example/base", Some("https://b.example:8443/")),
        (2, "https://a.example/base/v/a.ts", Some("http://c.example/other/base/v/a.ts")),
        (2, "https://a.example/elsewhere/a.ts", None),
        (2, "https://b.example/base/a.ts", None),
    ] {
        assert_eq!(counterpart(at, url).as_deref(), expected, "{at} {url}");
    }
    assert!(bases[0].is_alike(&bases[0]) && !bases[0].is_alike(&bases[1]));
}

#[test]
fn urls_are_classified() {
    const TOKEN: &str = "v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2EubTN1OA";
    let token: Box<RenditionToken> = Box::new(TOKEN.parse().unwrap());
    let plain = |path: &str| HlsRoute::Plain { path_and_query: path.to_owned() };
    let enhanced = |path: &str| HlsRoute::Enhanced { token: token.clone(), path_and_query: path.to_owned() };
    let malformed = HlsRoute::Malformed;
    let model = |name: Option<&str>| HlsRoute::Model(name.and_then(ModelPath::read));
    for (given, expected) in [
        ("/a.m3u8?x=1".to_owned(), plain("/a.m3u8?x=1")),
        ("/".to_owned(), plain("/")),
        ("/x/../a.m3u8".to_owned(), plain("/a.m3u8")),
        ("/x/~acuity/a.m3u8".to_owned(), plain("/x/~acuity/a.m3u8")),
        ("/~acuityx/a.m3u8".to_owned(), plain("/~acuityx/a.m3u8")),
        ("/../a".to_owned(), malformed(Malformed::Path(PathError::Escapes))),
        ("a".to_owned(), malformed(Malformed::Path(PathError::NotAbsolute))),
        (format!("/~acuity/{TOKEN}/a.m3u8?x=1"), enhanced("/a.m3u8?x=1")),
        (format!("/%7Eacuity/{}/a.m3u8", TOKEN.replace('.', "%2E")), enhanced("/a.m3u8")),
        (format!("/x/../~acuity/{TOKEN}/v/../a.ts"), enhanced("/a.ts")),
        (format!("/~acuity/{TOKEN}/"), enhanced("/")),
        (format!("/~acuity/{TOKEN}//a.ts"), enhanced("//a.ts")),
        (format!("/~acuity/{TOKEN}/../../a.ts"), plain("/a.ts")),
        (format!("/~acuity/{TOKEN}"), malformed(Malformed::NothingBelow)),
        (format!("/~acuity/{TOKEN}?x"), malformed(Malformed::NothingBelow)),
        (format!("/~acuity/{TOKEN}/~acuity/{TOKEN}/a.ts"), malformed(Malformed::Nested)),
        (format!("/~acuity/{TOKEN}/%7eacuity"), malformed(Malformed::Nested)),
        ("/~acuity/models/a-x2-00ff00ff.json?x".to_owned(), model(Some("a-x2-00ff00ff.json"))),
        ("/%7Eacuity/m%6Fdels/x/../a-x2-00ff00ff.json".to_owned(), model(Some("a-x2-00ff00ff.json"))),
        ("/~acuity/models/catalogue.toml".to_owned(), model(None)),
        ("/~acuity/models/".to_owned(), model(None)),
        ("/~acuity/models".to_owned(), model(None)),
        ("/~acuity".to_owned(), malformed(Malformed::Token(TokenError::Version))),
        ("/~acuity/".to_owned(), malformed(Malformed::Token(TokenError::Version))),
        ("/~acuity?x=1".to_owned(), malformed(Malformed::Token(TokenError::Version))),
        ("/~acuity/v2.x/a".to_owned(), malformed(Malformed::Token(TokenError::Version))),
        ("/~acuity/v1.x/a".to_owned(), malformed(Malformed::Token(TokenError::Parts))),
    ] {
        assert_eq!(HlsRoute::classify(&given), expected, "{given}");
    }
}

#[test]
fn of_several_routes_to_one_origin_the_playlists_own_is_kept() {
    let routes = Routes::new(&[
        route(HostPattern::Any, "/", "https://o.example/"),
        route(HostPattern::Any, "/plain", "https://o.example/"),
        route(HostPattern::Any, "/other", "https://p.example/"),
    ]);
    let near = |url, index| routes.edge_path_near(None, url, index);
    assert_eq!(near("https://o.example/a.ts?x=1", 0).as_deref(), Some("/a.ts?x=1"));
    assert_eq!(near("https://o.example/a.ts?x=1", 1).as_deref(), Some("/plain/a.ts?x=1"));
    assert_eq!(near("https://p.example/a.ts", 0).as_deref(), Some("/other/a.ts"));
    assert_eq!(near("https://q.example/a.ts", 0), None);
}
