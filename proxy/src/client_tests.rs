#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tables: CMCD as players write it, and the rules that make a client weak.

use super::*;
use acuity_config::Pattern;

/// What hls.js 1.7 sends with a segment request.
const HLS_JS: &str = "CMCD=bl%3D21300%2Cbr%3D3200%2Ccid%3D%22faec5fc2-ac30-11ea%22%2Cd%3D4004%2Cdl%3D18500%2Cmtp%3D48100\
    %2Cnor%3D%22..%252F300kbps%252Ftrack.m4v%22%2Cnrr%3D%2212323-48763%22%2Cot%3Dv%2Cpr%3D1.08%2Crtp%3D12000%2Csf%3Dh\
    %2Csid%3D%226e2fb550-c457%22%2Cst%3Dl%2Csu%2Ctb%3D6000";

#[test]
fn reads_the_query_form() {
    let query = format!("a=1&{HLS_JS}&b=2");
    let facts = ClientFacts::new(Some(&query), &|_| None);
    let cmcd = &facts.cmcd;
    assert_eq!(
        (cmcd.buffer_ms(), cmcd.encoded_kbps(), cmcd.object_ms()),
        (Some(21_300.0), Some(3_200.0), Some(4_004.0))
    );
    assert_eq!(
        (cmcd.deadline_ms(), cmcd.throughput_kbps(), cmcd.top_kbps()),
        (Some(18_500.0), Some(48_100.0), Some(6_000.0))
    );
    assert_eq!((cmcd.requested_kbps(), cmcd.playback_rate(), cmcd.version()), (Some(12_000.0), 1.08, 1));
    assert_eq!((cmcd.startup(), cmcd.starved(), cmcd.live()), (true, false, Some(true)));
    assert_eq!((cmcd.content_id(), cmcd.session_id()), (Some("faec5fc2-ac30-11ea"), Some("6e2fb550-c457")));
    assert_eq!((cmcd.object_type(), cmcd.streaming_format()), (Some(ObjectType::Video), Some("h")));
    assert_eq!(
        (cmcd.next_object().as_deref(), cmcd.next_range()),
        (Some("../300kbps/track.m4v"), Some("12323-48763"))
    );
}

#[test]
fn reads_the_header_form() {
    let header = |name: &str| match name {
        "cmcd-object" => Some("br=3200,d=4004,ot=av,tb=6000"),
        "cmcd-request" => Some("bl=21300, dl=18500,su"),
        "cmcd-session" => Some("sid=\"a\\\"b,c\\\\\",sf=h,st=v,v=1"),
        "cmcd-status" => Some("bs,rtp=15000"),
        _ => None,
    };
    let cmcd = ClientFacts::new(None, &header).cmcd;
    assert_eq!(
        (cmcd.encoded_kbps(), cmcd.buffer_ms(), cmcd.requested_kbps()),
        (Some(3_200.0), Some(21_300.0), Some(15_000.0))
    );
    assert!(cmcd.starved() && cmcd.startup());
    assert_eq!(
        (cmcd.session_id(), cmcd.live(), cmcd.object_type()),
        (Some("a\"b,c\\"), Some(false), Some(ObjectType::Muxed))
    );
}

#[test]
fn odd_cmcd_is_read_as_far_as_it_goes() {
    for (payload, key, expected) in [
        ("", "br", None),
        (",,=,=x,\"\"", "br", None),
        ("br=abc", "br", Some("abc")),
        ("br=\"3200\"", "br", Some("3200")),
        ("br = 3200 ,su", "br", Some("3200")),
        ("br=1,br=2", "br", Some("1")),
        ("br=(v;3200 a;128)", "br", Some("(v;3200 a;128)")),
        ("sid=\"open,br=1", "sid", Some("open,br=1")),
        ("sid=\"open\\", "sid", Some("open")),
        ("com.example-x=\"a=b\"", "com.example-x", Some("a=b")),
        ("bs=false", "bs", Some("false")),
    ] {
        let mut cmcd = Cmcd::default();
        cmcd.read(payload);
        assert_eq!(cmcd.get(key), expected, "{payload}");
        assert!(!cmcd.starved());
    }
    let mut cmcd = Cmcd::default();
    for number in 0..1000 {
        cmcd.read(&format!("k{number}={}", "x".repeat(if number == 0 { 5000 } else { 1 })));
    }
    assert_eq!(
        (cmcd.get("k0"), cmcd.get("k1"), cmcd.get("k200")),
        (None, Some("x"), None),
        "bounded in number and length"
    );
    let mut cmcd = Cmcd::default();
    cmcd.read("bl=-5,dl=1e999,mtp=NaN");
    assert_eq!((cmcd.buffer_ms(), cmcd.deadline_ms(), cmcd.throughput_kbps()), (None, None, None));
}

#[test]
fn cmcd_is_no_part_of_a_resource() {
    for (given, expected) in [
        ("/a.ts?CMCD=br%3D1", "/a.ts"),
        ("/a.ts?x=%2F&cmcd=1&y", "/a.ts?x=%2F&y"),
        ("/a.ts?_HLS_msn=3&CMCD=su", "/a.ts?_HLS_msn=3"),
        ("/a.ts", "/a.ts"),
    ] {
        assert_eq!(strip_cmcd(given), expected);
    }
}

fn rule() -> WeakRule {
    WeakRule { user_agent: None, header: None, query: None, cmcd: None }
}

fn named(name: &str, pattern: &str) -> Option<NamedMatch> {
    Some(NamedMatch { name: name.into(), matches: Pattern::new(pattern).unwrap() })
}

fn cmcd(key: &str, pattern: Option<&str>, below: Option<f64>) -> Option<CmcdCondition> {
    Some(CmcdCondition { key: key.into(), matches: pattern.map(|p| Pattern::new(p).unwrap()), below })
}

#[test]
fn rules_tell_the_weak() {
    let header = |name: &str| match name {
        "user-agent" => Some("Mozilla/5.0 (SMART-TV; Tizen 2.4)"),
        "x-device-class" => Some("stb"),
        _ => None,
    };
    let query = "device=old%20phone&CMCD=tb%3D3000%2Cot%3Dm%2Csid%3D%22s%22";
    let user_agent = |pattern: &str| Some(Pattern::new(pattern).unwrap());
    for (rule, weak) in [
        (WeakRule { user_agent: user_agent("(?i)tizen [12]\\."), ..rule() }, true),
        (WeakRule { user_agent: user_agent("Chrome"), ..rule() }, false),
        (WeakRule { header: named("x-device-class", "^(tv|stb)$"), ..rule() }, true),
        (WeakRule { header: named("x-device-class", ""), ..rule() }, true),
        (WeakRule { header: named("save-data", ""), ..rule() }, false),
        (WeakRule { query: named("device", "^old phone$"), ..rule() }, true),
        (WeakRule { query: named("Device", ""), ..rule() }, false),
        (WeakRule { cmcd: cmcd("tb", None, Some(3000.5)), ..rule() }, true),
        (WeakRule { cmcd: cmcd("tb", None, Some(3000.0)), ..rule() }, false),
        (WeakRule { cmcd: cmcd("ot", Some("^m$"), None), ..rule() }, true),
        (WeakRule { cmcd: cmcd("sid", None, Some(1.0)), ..rule() }, false),
        (WeakRule { cmcd: cmcd("mtp", None, Some(1.0)), ..rule() }, false),
        (WeakRule { user_agent: user_agent("Tizen"), cmcd: cmcd("tb", None, Some(1.0)), ..rule() }, false),
        (WeakRule { user_agent: user_agent("Tizen"), query: named("device", "old"), ..rule() }, true),
    ] {
        let facts = ClientFacts::new(Some(query), &header);
        assert_eq!(facts.is_one_of(std::slice::from_ref(&rule)), weak, "{rule:?}");
    }
    let facts = ClientFacts::new(None, &|_| None);
    assert!(!facts.is_one_of(&[]));
    assert!(
        facts.is_one_of(&[WeakRule { user_agent: user_agent("^$"), ..rule() }]),
        "no User-Agent is an empty one"
    );
    let mut route = RouteConfig::to(acuity_config::Url::parse("http://o.example").unwrap());
    for (enhance, expected) in [(EnhanceFor::All, true), (EnhanceFor::Weak, false), (EnhanceFor::None, false)]
    {
        route.enhance = enhance;
        assert_eq!(facts.gets_enhanced(&route), expected);
    }
}
