#![allow(clippy::unwrap_used)]
//! Tables: who names a stream's cluster, and what is made of the name.

use acuity_config::{ClusterRule, HostPattern, Pattern};

use super::*;

fn route(cluster: &str, rules: &[(&str, &str)]) -> RouteConfig {
    let rule = |&(path, cluster): &(&str, &str)| ClusterRule {
        host: None,
        path: Some(Pattern::new(path).unwrap()),
        cluster: cluster.to_owned(),
    };
    RouteConfig {
        cluster: match cluster {
            "auto" => ClusterChoice::Auto,
            name => ClusterChoice::Always(name.to_owned()),
        },
        cluster_rules: rules.iter().map(rule).collect(),
        ..RouteConfig::to("http://o.example/".parse().unwrap())
    }
}

fn sets(of: &[(&str, u32)]) -> Vec<ModelChoice> {
    let set = |&(cluster, scale): &(&str, u32)| ModelChoice {
        cluster: cluster.to_owned(),
        scale,
        digest: "00000001".to_owned(),
    };
    of.iter().map(set).collect()
}

#[test]
fn the_order_of_decision() {
    let rules = [("^/doom/", "freedoom"), ("o", "openttd")];
    let like = || Looks::Like("bbb".to_owned());
    let models = sets(&[("generic", 2), ("freedoom", 2), ("openttd", 2), ("bbb", 2), ("sport", 2)]);
    for (route, path, playlist, header, looks, expected) in [
        // Rules first, the first that holds; they win over all that is said.
        (route("auto", &rules), "/doom/a.m3u8", Some("bbb"), Some("bbb"), like(), (By::Rule, "freedoom")),
        (route("auto", &rules), "/town/a.m3u8", Some("bbb"), Some("bbb"), like(), (By::Rule, "openttd")),
        (route("sport", &rules), "/doom/a.m3u8", None, None, Looks::Unlike, (By::Rule, "freedoom")),
        // A route that always takes one cluster does not listen.
        (route("sport", &rules), "/a.m3u8", Some("bbb"), Some("bbb"), like(), (By::Rule, "sport")),
        (route("plain", &[]), "/a.m3u8", Some("bbb"), None, like(), (By::Rule, "plain")),
        // The playlist before the header, the header before the looks.
        (route("auto", &rules), "/a.m3u8", Some("bbb"), Some("sport"), Looks::Unlike, (By::Playlist, "bbb")),
        (route("auto", &[]), "/a.m3u8", None, Some(" Sport "), like(), (By::Header, "sport")),
        (route("auto", &[]), "/a.m3u8", None, None, like(), (By::Auto, "bbb")),
        (route("auto", &[]), "/a.m3u8", None, None, Looks::Unlike, (By::Generic, "generic")),
        (route("auto", &[]), "/a.m3u8", Some("generic"), None, like(), (By::Playlist, "generic")),
        // What is no name is not said.
        (route("auto", &[]), "/a.m3u8", Some("no such/name"), Some("sport"), like(), (By::Header, "sport")),
        (route("auto", &[]), "/a.m3u8", Some(""), Some("plain"), Looks::Unlike, (By::Generic, "generic")),
        (route("auto", &[]), "/a.m3u8", Some("auto"), None, like(), (By::Auto, "bbb")),
    ] {
        let stream = Stream { host: "", path, playlist, header };
        let settled = settle(named(&route, stream), looks, &usable(&models, &[2], &[]));
        assert_eq!((settled.by, settled.cluster.as_str()), expected, "{path} {playlist:?} {header:?}");
        assert_eq!(settled.fallback, Fallback::None);
    }
}

#[test]
fn rules_may_look_at_the_host() {
    let mut route = route("auto", &[]);
    route.cluster_rules.push(ClusterRule {
        host: Some(HostPattern::Suffix("games.example".to_owned())),
        path: None,
        cluster: "freedoom".to_owned(),
    });
    let of = |host| named(&route, Stream { host, path: "/a.m3u8", ..Stream::default() });
    assert_eq!(of("live.games.example"), Some(Named { by: By::Rule, cluster: "freedoom".to_owned() }));
    assert_eq!(of("films.example"), None);
}

#[test]
fn what_has_no_model_is_generic_and_says_so() {
    let name = |by, cluster: &str| Some(Named { by, cluster: cluster.to_owned() });
    let models = sets(&[("generic", 2), ("freedoom", 3)]);
    for (named, looks, scales, expected) in [
        (name(By::Rule, "freedoom"), Looks::Unlike, &[2][..], (By::Rule, "generic", Fallback::NoModel)),
        (name(By::Rule, "freedoom"), Looks::Unlike, &[2, 3], (By::Rule, "freedoom", Fallback::None)),
        (name(By::Header, "nobody"), Looks::Unlike, &[2, 3], (By::Header, "generic", Fallback::NoModel)),
        // What was named and is not there is not guessed at.
        (
            name(By::Header, "nobody"),
            Looks::Like("freedoom".into()),
            &[3],
            (By::Header, "generic", Fallback::NoModel),
        ),
        (None, Looks::Like("gone".into()), &[2], (By::Auto, "generic", Fallback::NoModel)),
        (None, Looks::Late, &[2], (By::Generic, "generic", Fallback::Late)),
        // Without any model the plan refuses; the cluster is still this one.
        (name(By::Rule, "generic"), Looks::Unlike, &[4], (By::Rule, "generic", Fallback::None)),
        (name(By::Rule, "plain"), Looks::Unlike, &[4], (By::Rule, "plain", Fallback::None)),
    ] {
        let settled = settle(named.clone(), looks, &usable(&models, scales, &[]));
        assert_eq!(
            (settled.by, settled.cluster.as_str(), settled.fallback),
            expected,
            "{named:?} {scales:?}"
        );
        assert_eq!(settled.without_model.is_some(), settled.fallback == Fallback::NoModel);
    }
}

#[test]
fn origins_names_are_bounded() {
    for (text, expected) in [
        ("freedoom", Some("freedoom")),
        ("  FreeDoom\t", Some("freedoom")),
        ("a_1", Some("a_1")),
        ("a-b", None),
        ("a b", None),
        ("a\"b", None),
        ("é", None),
        ("", None),
        ("auto", None),
        ("Plain", None),
        (&"a".repeat(32), Some(&*"a".repeat(32))),
        (&"a".repeat(33), None),
        (&"x".repeat(100_000), None),
    ] {
        assert_eq!(name(text).as_deref(), expected, "{text:.40}");
    }
}

#[test]
fn looks_matter_only_where_there_is_something_to_be_like() {
    let generic = usable(&sets(&[("generic", 2)]), &[2], &[]);
    let both = sets(&[("generic", 2), ("freedoom", 3)]);
    assert!(!may_assign(&route("auto", &[]), &generic));
    assert!(!may_assign(&route("auto", &[]), &usable(&both, &[2], &[])), "not at this scale");
    assert!(may_assign(&route("auto", &[]), &usable(&both, &[2, 3], &[])));
    assert!(!may_assign(&route("sport", &[]), &usable(&both, &[2, 3], &[])));
    let between = OfferedInterpolator {
        cluster: "traffic".to_owned(),
        digest: "01234567".to_owned(),
        models: Vec::new(),
    };
    let usable = usable(&sets(&[("generic", 2)]), &[2], &[between]);
    assert!(may_assign(&route("auto", &[]), &usable), "one that only interpolates is one");
    let settled = settle(None, Looks::Like("traffic".to_owned()), &usable);
    assert_eq!((settled.cluster.as_str(), settled.fallback), ("traffic", Fallback::None));
}

#[test]
fn only_the_scaler_needs_no_models() {
    assert!(!uses_models(&[route("plain", &[])]));
    assert!(uses_models(&[route("plain", &[("x", "freedoom")])]));
    assert!(uses_models(&[route("plain", &[]), route("auto", &[])]));
}

#[test]
fn the_log_is_told_once_and_not_for_ever() {
    let told = Told::default();
    assert!(told.first("a") && !told.first("a"));
    let more = (0..1000).filter(|n| told.first(&n.to_string())).count();
    assert_eq!(more, TOLD_LIMIT - 1);
}

#[test]
fn labels_are_distinct() {
    let labels: BTreeSet<_> = By::ALL.iter().map(|by| by.label()).collect();
    assert_eq!(labels.len(), By::ALL.len());
}
