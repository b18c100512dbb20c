//! Tables for the parts of a route: hosts, prefixes, origins.

#![allow(clippy::unwrap_used, clippy::panic)]

use super::*;
use crate::tests::one_fault;

fn refusal<T>(read: Result<T, Refusal>) -> (String, String) {
    match read {
        Ok(_) => panic!("taken"),
        Err(refusal) => (refusal.message, refusal.hint.unwrap_or_default()),
    }
}

#[test]
fn hosts() {
    for (text, host, also, never) in [
        ("*", HostPattern::Any, "anything", None),
        (
            "Video.Example.org",
            HostPattern::Exact("video.example.org".into()),
            "VIDEO.example.ORG.",
            Some("a.video.example.org"),
        ),
        ("*.example.org", HostPattern::Suffix("example.org".into()), "a.b.Example.org", Some("example.org")),
        (
            "*.example.org",
            HostPattern::Suffix("example.org".into()),
            "x.example.org.",
            Some("badexample.org"),
        ),
        ("*.example.org", HostPattern::Suffix("example.org".into()), "x.example.org", Some(".example.org")),
        ("*.example.org", HostPattern::Suffix("example.org".into()), "x.example.org", Some("é.example.orgé")),
        ("127.0.0.1", HostPattern::Exact("127.0.0.1".into()), "127.0.0.1", Some("127.0.0.10")),
        ("[::1]", HostPattern::Exact("[::1]".into()), "[::1]", Some("::1")),
        ("localhost", HostPattern::Exact("localhost".into()), "LOCALHOST", Some("")),
    ] {
        let read = host_pattern(text).ok().unwrap();
        assert_eq!(read, host);
        assert!(read.matches(also), "{text} {also}");
        assert!(never.is_none_or(|never| !read.matches(never)), "{text} {never:?}");
        assert_eq!(read.to_string(), text.to_lowercase());
    }
    for (text, hint) in [
        ("", "write"),
        ("*.", "write"),
        ("**.example.org", "write"),
        ("a..b", "write"),
        ("http://example.org", "scheme"),
        ("example.org:8080", "port"),
        ("bücher.example", "xn--"),
        ("a/b", "write"),
        ("[::zz]", "write"),
    ] {
        let (message, given) = refusal(host_pattern(text));
        assert!(given.contains(hint), "{text}: {message} {given}");
    }
}

#[test]
fn prefixes() {
    for (text, prefix) in
        [("/", "/"), ("/live", "/live"), ("/live/", "/live"), ("/a/b-c_d~e/@f", "/a/b-c_d~e/@f")]
    {
        assert_eq!(path_prefix(text).ok().unwrap(), prefix);
    }
    let long = format!("/{}", "a".repeat(256));
    for text in [
        "",
        "live",
        "//",
        "/a//b",
        "/a/../b",
        "/.",
        "/a%2Fb",
        "/a b",
        "/a?b",
        "/a#b",
        "/é",
        "/~acuity",
        "/~acuity/x",
        &long,
    ] {
        refusal(path_prefix(text));
    }
    assert_eq!(path_prefix("/~acuity2").ok().unwrap(), "/~acuity2");
}

#[test]
fn origins() {
    for text in ["https://o.example", "http://127.0.0.1:9000/base", "http://[::1]/x/"] {
        assert!(origin_url(text).is_ok(), "{text}");
    }
    for (text, message, hint) in [
        ("o.example", "is not a URL", "https://o.example"),
        ("o.example:8080", "is not an http or https URL", "https://o.example:8080"),
        ("//o.example", "is not a URL", "https://o.example"),
        ("ftp://o.example", "is not an http or https URL", "write it as"),
        ("file:///etc/passwd", "is not an http or https URL", "write it as"),
        ("https://", "is not a URL", "write it as"),
        ("https://o.example?x=1", "query", "path"),
        ("https://o.example#x", "fragment", "path"),
    ] {
        let (said, hinted) = refusal(origin_url(text));
        assert!(said.contains(message) && hinted.contains(hint), "{text}: {said} / {hinted}");
    }
    let (said, _) = refusal(origin_url("https://user:secret@o.example"));
    assert!(!said.contains("secret") && !said.contains("user:"), "{said}");
}

#[test]
fn what_is_wrong_with_scales_and_clusters_is_told_in_place() {
    let start = "[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\n";
    for (text, expected) in [
        ("scales = []", "4:10 route[0].scales: must hold a number"),
        (
            "scales = [2, 5]",
            "4:14 route[0].scales[1]: must be a whole number between 2 and 4, not the integer 5",
        ),
        ("scales = [2, 2]", "4:14 route[0].scales[1]: 2 is there already"),
        (
            "scales = [\"2\"]",
            "4:11 route[0].scales[0]: must be a whole number between 2 and 4, not the string \"2\"",
        ),
        ("scales = 1", "4:10 route[0].scales: 1 is not between 2 and 4"),
        ("scales = \"auto\"", "must be a list of whole numbers, not the string \"auto\""),
        ("cluster = \"My Games\"", "4:11 route[0].cluster: \"My Games\" is not a cluster's name"),
        (
            "[[route.cluster_rule]]\ncluster = \"a\"",
            "4:1 route[0].cluster_rule[0]: has neither `host` nor `path`",
        ),
        ("[[route.cluster_rule]]\npath = \"x\"", "4:1 route[0].cluster_rule[0].cluster: is missing"),
        (
            "[[route.cluster_rule]]\npath = \"x\"\ncluster = \"auto\"",
            "6:11 route[0].cluster_rule[0].cluster: names no cluster",
        ),
        (
            "[[route.cluster_rule]]\npath = \"(\"\ncluster = \"a\"",
            "cluster_rule[0].path: is not a valid regular expression",
        ),
        (
            "[[route.cluster_rule]]\nhost = \"a b\"\ncluster = \"a\"",
            "cluster_rule[0].host: \"a b\" is not a host",
        ),
        (
            "[[route.cluster_rule]]\npath = \"x\"\ncluster = \"a\"\npth = 1",
            "7:1 route[0].cluster_rule[0].pth: is not a known key [did you mean `path`?]",
        ),
        ("[route.frame_rate]\nfactor = 3", "5:10 route[0].frame_rate.factor: must be 2 or 4"),
        (
            "[route.frame_rate]\nscales = [0]",
            "route[0].frame_rate.scales[0]: must be a whole number between 1 and 4",
        ),
        (
            "[route.frame_rate]\nsource_least = 30\nsource_most = 20",
            "route[0].frame_rate.source_most: is below `source_least`",
        ),
        ("[route.frame_rate]\ninterpolator = \"flow\"", "5:16 route[0].frame_rate.interpolator"),
        ("[[route.frame_rate.not_for]]", "route[0].frame_rate.not_for[0]: has no condition"),
        ("cluster_rules = []", "is not a known key [did you mean `cluster_rule`?]"),
    ] {
        one_fault(&format!("{start}{text}"), expected);
    }
}
