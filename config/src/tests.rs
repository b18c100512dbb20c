//! The crate as its users see it: text in, configuration or report out; and the example file held to the code.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::time::Duration;

use super::*;
use crate::findings::Findings;

const EXAMPLE: &str = include_str!("../acuity.example.toml");

/// The faults of a text as `line:column key: message [hint]`.
fn faults(text: &str) -> Vec<String> {
    let Err(faults) = parse(text) else { panic!("no fault in {text}") };
    faults
        .iter()
        .map(|fault| {
            let at = fault.position.map_or("-".to_owned(), |at| format!("{}:{}", at.line, at.column));
            let hint = fault.hint.as_ref().map_or(String::new(), |hint| format!(" [{hint}]"));
            format!("{at} {}: {}{hint}", fault.key, fault.message)
        })
        .collect()
}

/// Asserts that the text, with a route added, has exactly one fault, and that it holds `expected`.
#[track_caller]
pub(crate) fn one_fault(text: &str, expected: &str) {
    let found = faults(&format!("{text}\n[[route]]\norigin = \"https://o.example\"\n"));
    assert_eq!(found.len(), 1, "{text}: {found:#?}");
    assert!(found[0].contains(expected), "{text}: {found:#?} lacks {expected:?}");
}

#[test]
fn an_origin_is_enough() {
    let config = Config::for_origin("https://o.example/vod").unwrap();
    assert_eq!(config.server, ServerConfig::default());
    assert_eq!(config.enhancer, EnhancerConfig::default());
    let [route] = config.routes.as_slice() else { panic!("{:?}", config.routes) };
    assert_eq!(route, &RouteConfig::to("https://o.example/vod".parse().unwrap()));
    assert_eq!(parse("[[route]]\norigin = \"https://o.example/vod\"").unwrap(), config);

    let faults = Config::for_origin("o.example").unwrap_err();
    let said = faults.to_string();
    assert!(
        said.contains("--origin: \"o.example\" is not a URL") && said.contains("https://o.example"),
        "{said}"
    );
}

#[test]
fn the_example_is_the_defaults() {
    let example = parse(EXAMPLE).unwrap_or_else(|faults| panic!("{}", faults.in_file("acuity.example.toml")));
    assert_eq!(example, Config::for_origin("https://origin.example").unwrap());
}

/// Sections of which one excludes the other: one at a time is read.
const EXCLUDES: (&str, &str) = ("[cache.disk]", "[cache.store]");

/// The example with everything on, without one section.
fn example_without(section: &str) -> String {
    let mut inside = false;
    let keeps = |line: &&str| {
        inside = if line.starts_with('[') { *line == section } else { inside };
        !inside
    };
    every_line_of_the_example_on().lines().filter(keeps).map(|line| line.to_owned() + "\n").collect()
}

fn example_with_everything_on() -> String {
    example_without(EXCLUDES.1)
}

/// `#key` without a space is a key that is off by default; `# text` is prose.
fn every_line_of_the_example_on() -> String {
    let on = |line: &str| match line.strip_prefix('#') {
        Some(rest) if !rest.is_empty() && !rest.starts_with([' ', '#']) => rest.to_owned(),
        _ => line.to_owned(),
    };
    EXAMPLE.lines().map(|line| on(line) + "\n").collect()
}

#[test]
fn the_example_holds_every_key() {
    let text = example_with_everything_on();
    let config = parse(&text).unwrap_or_else(|faults| panic!("{}", faults.in_file("acuity.example.toml")));
    assert!(config.server.tls.is_some() && config.enhancer.runtime_library.is_some());
    assert!(config.origin.user_agent.is_some());
    let other = example_without(EXCLUDES.0);
    let other = parse(&other).unwrap_or_else(|faults| panic!("{}", faults.in_file("acuity.example.toml")));
    assert!(config.cache.depot.is_some() && other.cache.depot.is_some() && config.cache != other.cache);

    let text = every_line_of_the_example_on();
    let findings = Findings::new();
    document::walk(&text, &Overrides::default(), &findings);
    // Every key that the code asks for is one that the example sets.
    let value: toml::Value = toml::from_str(&text).unwrap();
    for asked in findings.asked.borrow().iter() {
        assert!(present(&value, asked), "{asked} is not in acuity.example.toml");
    }
}

fn present(value: &toml::Value, path: &str) -> bool {
    let (key, rest) = path.split_once('.').unwrap_or((path, ""));
    match value {
        toml::Value::Array(items) => items.iter().any(|item| present(item, path)),
        table => table.get(key).is_some_and(|value| rest.is_empty() || present(value, rest)),
    }
}

#[test]
fn every_default_of_the_example_has_its_reason() {
    let mut previous = "";
    for line in EXAMPLE.lines() {
        let is_key =
            line.trim_start_matches('#').split_once(" = ").is_some_and(|(key, _)| !key.contains(' '));
        if is_key {
            assert!(previous.starts_with("# "), "{line:?} has no comment above it");
        }
        previous = line;
    }
}

#[test]
fn all_faults_in_one_run() {
    let text = r#"
top = 1
[server]
lsiten = ["127.0.0.1:1"]
threads = 0
drain_seconds = "20"

[server.tls]
certificate = "a.pem"

[enhancer]
preset = "super"
crf = 4
provider = "gpu"
max_segment_bytes = "32 megs"

[[route]]
origin = "o.example"
prefix = "live"

[[route]]
enhance = "weka"

[[route.weak]]
user_agent = "("

[[route.weak]]

[[route.weak]]
cmcd = { key = "tb", bellow = 3 }
"#;
    let found = faults(text);
    let expected = [
        "2:1 top: is not a known key [the top level has: admin, cache, enhancer, guard, limits, log, models, nodes, origin, route, server, tracing, workers]",
        "4:1 server.lsiten: is not a known key [did you mean `listen`?]",
        "5:11 server.threads: 0 is not between 1 and 256",
        "6:17 server.drain_seconds: must be a whole number, not the string \"20\"",
        "8:1 server.tls.key: is missing [HTTPS needs a PEM file with the private key; remove the section to go without]",
        "12:10 enhancer.preset: \"super\" is not one of \"ultrafast\", \"superfast\", \"veryfast\", \"faster\", \"fast\", \"medium\"",
        "13:7 enhancer.crf: 4 is not between 10 and 40",
        "14:12 enhancer.provider: \"gpu\" is not one of \"auto\", \"cpu\", \"openvino\", \"cuda\", \"tensorrt\"",
        "15:21 enhancer.max_segment_bytes: \"32 megs\" is not a size [a size is a number and a unit, as \"256MiB\" or \"1GB\"]",
        "18:10 route[0].origin: \"o.example\" is not a URL: relative URL without a base [did you mean \"https://o.example\"?]",
        "19:10 route[0].prefix: \"live\" does not begin with /",
        "21:1 route[1].origin: is missing [every route needs one, as origin = \"https://origin.example\"]",
        "22:11 route[1].enhance: \"weka\" is not one of \"all\", \"weak\", \"none\", \"off\" [did you mean \"weak\"?]",
        "25:14 route[1].weak[0].user_agent: is not a valid regular expression: unclosed group",
        "27:1 route[1].weak[1]: has no condition, so it would hold for every client \
         [give it one of user_agent, header, query, cmcd; for every client use `enhance = \"all\"`]",
        "30:8 route[1].weak[2].cmcd: has neither `matches` nor `below` [a key that is merely there is `matches = \"\"`]",
        "30:22 route[1].weak[2].cmcd.bellow: is not a known key [did you mean `below`?]",
    ];
    for (index, expected) in expected.iter().enumerate() {
        assert_eq!(found.get(index).map(String::as_str), Some(*expected), "fault {index} of {found:#?}");
    }
    assert_eq!(found.len(), expected.len(), "{found:#?}");
}

#[test]
fn single_faults() {
    for (text, expected) in [
        ("server = 3", "1:10 server: must be a section, not the integer 3 [write it as [server]]"),
        ("[server]\nlisten = 3", "2:10 server.listen: must be a list of strings, not the integer 3"),
        (
            "[server]\nlisten = [\"127.0.0.1:1\", 3]",
            "2:26 server.listen[1]: must be a string, not the integer 3",
        ),
        (
            "[server]\nlisten = [\"localhost:80\"]",
            "server.listen[0]: \"localhost:80\" is not an address and port",
        ),
        ("[server]\nlisten = []", "2:10 server.listen: must hold an address"),
        ("[server]\nthreads = \"many\"", "must be a whole number or \"auto\", not the string \"many\""),
        ("[server]\nthreads = 1.5", "not the number 1.5"),
        ("[server]\nthreads = 999999999999999999999999999999999999999999", "is not between 1 and 256"),
        ("[server]\nthreads = -1", "-1 is not between 1 and 256"),
        (
            "[server]\nlisten = [\"0.0.0.0:9090\"]",
            "admin.listen: cannot be 127.0.0.1:9090: `server.listen` listens there",
        ),
        ("[admin]\nlisten = \"127.0.0.1:8080\"", "2:10 admin.listen: cannot be 127.0.0.1:8080"),
        ("[enhancer]\ncrf = nan", "crf: nan is not between 10 and 40"),
        ("[enhancer]\nlook_ahead = 17", "17 is not between 0 and 16"),
        ("[enhancer]\nruntime_library = \"\"", "must name a file"),
        ("[enhancer.deadline]\nshortest = \"9s\"", "enhancer.deadline.longest: is below `shortest`"),
        ("[enhancer.deadline]\nlongest = 8", "must be a duration, not the integer 8 [a duration is"),
        ("[cache]\nbudget_bytes = true", "must be a size, not true"),
        ("[cache]\nbudget_bytes = -5", "-5 is not between 0B and 1TiB"),
        ("[cache]\nbudget_bytes = \"2TiB\"", "2TiB is not between 0B and 1TiB"),
        ("[cache]\nlive_playlist_ttl = \"3s\"", "3s is not between 0ms and 2s"),
        ("[origin]\nfirst_byte_timeout = \"30s\"", "leaves `first_byte_timeout` longer than `total_timeout`"),
        ("[origin]\nuser_agent = \"a\\nb\"", "printable ASCII"),
        ("[log]\nlevel = \"warning\"", "\"warning\" is not one of"),
        ("[models]\ndirectory = 1979-05-27", "must be a string, not a date"),
        (
            "[models]\nwatch_interval = \"20ms\"",
            "2:18 models.watch_interval: is below 100ms [\"0s\" turns it off]",
        ),
        ("[models]\nwatch_interval = \"2h\"", "2h is not between 0ms and 1h"),
        ("[models]\nretire_after = \"0s\"", "0s is not between 1s and 24h"),
        ("[guard]\nrate = 2", "2:8 guard.rate: 2 is not between 0 and 1"),
        ("[guard]\nrate = -0.1", "-0.1 is not between 0 and 1"),
        ("[guard]\nat_least = 0", "0 is not between 1 and 1000"),
        ("[guard]\nmargin_db = \"0.1\"", "must be a number, not the string \"0.1\""),
        ("[guard]\nframes = 601", "601 is not between 1 and 600"),
        ("[guard]\nstopped_for = \"0s\"", "0s is not between 1s and 720h"),
        ("[guard]\nmargin = 1", "guard.margin: is not a known key [did you mean `margin_db`?]"),
        ("[[route]]\norigin = \"https://o.example\"\nprefix = \"/\"", "already (line 2)"),
        (
            "[[route]]\nprefix = \"/x\"\norigin = \"http://localhost:8080\"",
            "route[0].origin: http://localhost:8080/ is this edge itself",
        ),
        (
            "[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\nwithold = false",
            "did you mean `withhold`?",
        ),
        (
            "[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\nweak = 3",
            "[write each as [[route.weak]]]",
        ),
        (
            "[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\nweak = [{header = {name = \"a b\"}}]",
            "is not the name of a header",
        ),
        (
            "[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\nweak = [{query = {matches = \"x\"}}]",
            "query.name: is missing",
        ),
        (
            "[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\nweak = [{user_agent = \"\\\\w{900}{900}\"}]",
            "user_agent: compiles to more than 1 MiB",
        ),
    ] {
        one_fault(text, expected);
    }
}

#[test]
fn no_route_is_a_fault_unless_the_command_line_names_an_origin() {
    assert!(faults("")[0].contains("route: is missing"));
    assert!(faults("route = []")[0].contains("route: is missing"));
    assert!(
        Config::parse_with("", &Overrides { origin: Some("http://o.example"), ..Overrides::default() })
            .is_ok()
    );
}

#[test]
fn broken_text_is_told_once_and_hides_nothing_else() {
    let found = faults(
        "[server]\nthreads = = 3\n[admin]\nlisten = \"x\"\n[cache]\nbudget_bytes = \"1MiB\nprobe_ttl = \"0s\"\n",
    );
    assert!(found.iter().any(|fault| fault.starts_with("2:")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.starts_with("4:10 admin.listen")), "{found:#?}");
    assert!(found.iter().any(|fault| fault.starts_with("6:")), "{found:#?}");
    assert!(!found.iter().any(|fault| fault.contains("is missing")), "{found:#?}");
    assert!(
        faults("a = 1\na = 2\n[[route]]\norigin = \"http://o.example\"")
            .iter()
            .any(|fault| fault.contains("duplicate"))
    );
    assert!(faults(&"#".repeat(2 << 20))[0].contains("larger than"));
}

#[test]
fn the_command_line_overrides() {
    let text = "[[route]]\norigin = \"http://a.example\"\nenhance = \"weak\"\n[[route]]\nprefix = \"/x\"\norigin = \"http://b.example\"";
    let overrides = Overrides {
        origin: Some("http://c.example"),
        listen: Some("127.0.0.1:0".parse().unwrap()),
        admin: Some("127.0.0.1:0".parse().unwrap()),
    };
    let config = Config::parse_with(text, &overrides).unwrap();
    assert_eq!(config.server.listen, [overrides.listen.unwrap()]);
    assert_eq!(config.admin.listen, overrides.admin.unwrap());
    let origins: Vec<&str> = config.routes.iter().map(|route| route.origin.as_str()).collect();
    assert_eq!(origins, ["http://c.example/", "http://b.example/"]);
    assert_eq!(config.routes[0].enhance, EnhanceFor::Weak);
}

#[test]
fn values_are_read() {
    let config = parse(
        r#"
[server]
listen = "[::]:80"
[server.tls]
listen = "0.0.0.0:443"
certificate = "c.pem"
key = "k.pem"
[enhancer]
lanes = 3
crf = 18
provider = "openvino"
[models]
watch_interval = "0s"
retire_after = "10m"
[cache]
budget_bytes = "1.5GiB"
source_budget_bytes = 1_000
live_playlist_ttl = "250ms"
[[route]]
host = "*.example.org"
prefix = "/live/"
origin = "https://o.example/base"
enhance = "weak"
withhold = false
max_source_lines = 0x168
scales = [3, 2]
cluster = "sport"
cluster_rule = [
  { host = "games.example.org", path = "^/live/", cluster = "freedoom" },
  { path = "towns", cluster = "openttd" },
]
weak = [
  { user_agent = "(?i)tv", header = { name = "X-Device", matches = "^box" } },
  { cmcd = { key = "tb", below = 1500 } },
  { query = { name = "weak" } },
]
"#,
    )
    .unwrap_or_else(|faults| panic!("{faults}"));
    assert_eq!(config.server.listen, ["[::]:80".parse().unwrap()]);
    assert_eq!(config.server.tls.unwrap().key.to_str(), Some("k.pem"));
    assert_eq!((config.enhancer.lanes, config.enhancer.crf), (3, 18.0));
    assert_eq!(config.enhancer.provider, Provider::OpenVino);
    assert_eq!((config.cache.budget_bytes, config.cache.source_budget_bytes), (3 << 29, 1000));
    assert_eq!(config.cache.live_playlist_ttl, Duration::from_millis(250));
    let route = &config.routes[0];
    assert_eq!((route.host.to_string().as_str(), route.prefix.as_str()), ("*.example.org", "/live"));
    assert_eq!((route.enhance, route.withhold, route.max_source_lines), (EnhanceFor::Weak, false, 360));
    assert_eq!(
        (&route.scales[..], &route.cluster),
        (&[3, 2][..], &ClusterChoice::Always("sport".to_owned()))
    );
    let held = |host, path| {
        route.cluster_rules.iter().find(|rule| rule.holds(host, path)).map(|rule| rule.cluster.as_str())
    };
    assert_eq!(held("games.example.org", "/live/towns.m3u8"), Some("freedoom"), "the first that holds");
    assert_eq!(held("", "/live/towns.m3u8"), Some("openttd"));
    assert_eq!(held("", "/live/"), None);
    assert_eq!(
        (config.models.watch_interval, config.models.retire_after),
        (Duration::ZERO, Duration::from_secs(600))
    );
    let [both, cmcd, query] = route.weak.as_slice() else { panic!("{:?}", route.weak) };
    assert!(both.user_agent.as_ref().is_some_and(|pattern| pattern.is_match("Smart-TV")));
    assert_eq!(both.header.as_ref().map(|header| header.name.as_str()), Some("x-device"));
    assert_eq!(cmcd.cmcd, Some(CmcdCondition { key: "tb".into(), matches: None, below: Some(1500.0) }));
    assert!(query.query.as_ref().is_some_and(|query| query.matches.is_match("")));
}

#[test]
fn reports_can_be_read() {
    let faults = parse("[server]\nthread = 3\n[[route]]\norigin = 1\n").unwrap_err();
    assert_eq!(
        faults.in_file("acuity.toml").to_string(),
        "2 faults in the configuration:\n  \
         acuity.toml:2:1: server.thread: is not a known key\n      did you mean `threads`?\n  \
         acuity.toml:4:10: route[0].origin: must be a string, not the integer 1"
    );
    assert!(faults.to_string().contains("\n  line 4, column 10: route[0].origin: must be"));
}

#[test]
fn no_damage_makes_it_panic() {
    let text = example_with_everything_on();
    let ends = text.char_indices().map(|(at, _)| at);
    let mut sound = 0;
    for at in ends.step_by(7) {
        let (head, tail) = text.split_at(at);
        // Cut short, and with one character gone: often still a configuration, otherwise a report with something in it.
        for damaged in [head.to_owned(), format!("{head}{}", tail.get(1..).unwrap_or_default())] {
            match parse(&damaged) {
                Ok(_) => sound += 1,
                Err(faults) => assert!(faults.iter().next().is_some() && !faults.to_string().is_empty()),
            }
        }
    }
    assert!(sound > 100, "{sound}");
}

#[test]
fn routes_have_names_and_no_two_the_same() {
    let config = parse("[[route]]\nname = \"films\"\norigin = \"http://o.example\"\n[[route]]\nprefix = \"/live\"\norigin = \"http://o.example\"\n").unwrap();
    assert_eq!(
        config.routes.iter().map(|route| route.name.as_str()).collect::<Vec<_>>(),
        ["films", "*/live"]
    );
    let twice = "[[route]]\nname = \"a\"\norigin = \"http://o.example\"\n[[route]]\nname = \"a\"\nprefix = \"/b\"\norigin = \"http://o.example\"\n";
    assert!(faults(twice)[0].contains("called \"a\" already"), "{:?}", faults(twice));
    assert!(
        faults("[[route]]\nname = \"a/b\"\norigin = \"http://o.example\"\n")[0].contains("is not 1 to 64")
    );
}
