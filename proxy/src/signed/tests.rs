//! The format held to other people's arithmetic, and every change of a signed URL refused.
#![allow(clippy::unwrap_used)]

use proptest::prelude::*;

use super::*;
use crate::route::HlsRoute;

const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
const GOOD: &str = "v1.2026a.1900000000.L3ZvZC8.mTCwTkKSHVXpiHnAp3QF716tbU7I_sdUqGfDSbLOh4s";

fn key() -> Key {
    Key::new("2026a", SECRET).unwrap()
}

fn opens(signature: &str, path: &str) -> Result<(), Refused> {
    check(&[key()], 0, Some(signature), path, 1_800_000_000)
}

#[test]
fn signatures_are_those_of_another_implementation() {
    // import base64, hashlib, hmac
    // b = lambda data: base64.urlsafe_b64encode(data).rstrip(b"=").decode()
    // s = f"v1.{id}.{end}.{b(prefix)}"; s + "." + b(hmac.new(secret, s.encode(), hashlib.sha256).digest())
    for (id, secret, end, prefix, expected) in [
        ("2026a", SECRET, 1_900_000_000, "/vod/", GOOD),
        (
            "2026a",
            SECRET,
            1_900_000_000,
            "/",
            "v1.2026a.1900000000.Lw.QQFyRCp2AcUW0sxtLRM3S2FBBmos-_lzEAveD_stVnk",
        ),
        (
            "b_-1",
            b"another secret of 24 by.".as_slice(),
            4_102_444_800,
            "/live/channel-1",
            "v1.b_-1.4102444800.L2xpdmUvY2hhbm5lbC0x.mUdcpcIqegeq0tkvM1cDRYP5JFcDgVBOArMpeGqAqE8",
        ),
    ] {
        let key = Key::new(id, secret).unwrap();
        assert_eq!(key.sign(prefix, end).as_deref(), Some(expected));
        assert_eq!(check(&[key], 0, Some(expected), &format!("{prefix}/a?b=c"), end - 1), Ok(()));
    }
}

#[test]
fn each_refusal_has_its_reason() {
    let forged = Key::new("2026a", b"not the same secret").unwrap().sign("/vod/", 1_900_000_000).unwrap();
    let unknown = Key::new("2025z", SECRET).unwrap().sign("/vod/", 1_900_000_000).unwrap();
    let over = key().sign("/vod/", 1_799_999_999).unwrap();
    let other_end = GOOD.replace("1900000000", "1900000001");
    let other_prefix = GOOD.replace("L3ZvZC8", "Lw");
    for (signature, path, expected) in [
        (GOOD, "/vod/a.m3u8", Ok(())),
        (GOOD, "/%76od/a.m3u8?x=/other", Ok(())),
        (GOOD, "/vod", Err(Refused::OutsidePrefix)),
        (GOOD, "/vodka/a.m3u8", Err(Refused::OutsidePrefix)),
        (GOOD, "/other/vod/a.m3u8", Err(Refused::OutsidePrefix)),
        (GOOD, "/vod%2Fa", Err(Refused::OutsidePrefix)),
        (&forged, "/vod/a.m3u8", Err(Refused::Wrong)),
        (&other_end, "/vod/a.m3u8", Err(Refused::Wrong)),
        (&other_prefix, "/vod/a.m3u8", Err(Refused::Wrong)),
        (&GOOD[..GOOD.len() - 1], "/vod/a.m3u8", Err(Refused::Malformed)),
        (&GOOD[..GOOD.len() - 3], "/vod/a.m3u8", Err(Refused::Wrong)),
        (&unknown, "/vod/a.m3u8", Err(Refused::UnknownKey)),
        (&over, "/vod/a.m3u8", Err(Refused::Expired)),
        ("", "/vod/a.m3u8", Err(Refused::Malformed)),
        ("v1.2026a.1900000000.L3ZvZC8.", "/vod/a.m3u8", Err(Refused::Wrong)),
        ("v1.2026a.1900000000.L3ZvZC8", "/vod/a.m3u8", Err(Refused::Malformed)),
        (&GOOD.replace("v1.", "v2."), "/vod/a.m3u8", Err(Refused::Malformed)),
        (&GOOD.replace("1900000000", "01900000000"), "/vod/a.m3u8", Err(Refused::Malformed)),
        (&GOOD.replace("1900000000", "99999999999999999999"), "/vod/a.m3u8", Err(Refused::Malformed)),
        (&format!("{GOOD}="), "/vod/a.m3u8", Err(Refused::Malformed)),
        (&GOOD.replace("L3ZvZC8", "fmFjdWl0eQ"), "/vod/a.m3u8", Err(Refused::Malformed)),
    ] {
        assert_eq!(opens(signature, path), expected, "{signature} {path}");
    }
    assert_eq!(check(&[key()], 0, None, "/vod/a", 0), Err(Refused::Missing));
    assert_eq!(check(&[], 0, Some(GOOD), "/vod/a", 0), Err(Refused::UnknownKey));
    // Two keys are good at a time: that is how one follows another.
    let next = Key::new("2026b", b"the next secret").unwrap();
    let both = [next.clone(), key()];
    let signature = next.sign("/vod/", 1_900_000_000).unwrap();
    for signature in [GOOD, signature.as_str()] {
        assert_eq!(check(&both, 0, Some(signature), "/vod/a", 0), Ok(()));
    }
    let labels: std::collections::HashSet<_> = Refused::ALL.iter().map(|why| why.label()).collect();
    assert_eq!(labels.len(), Refused::ALL.len());
}

#[test]
fn whole_segments_are_covered() {
    for (prefix, path, expected) in [
        ("/", "/anything", true),
        ("/vod", "/vod", true),
        ("/vod", "/vod/a", true),
        ("/vod", "/vodka", false),
        ("/vod/", "/vod/", true),
        ("/vod/film.m3u8", "/vod/film.m3u8?x=1", true),
        ("/vod/film.m3u8", "/vod/film.m3u8x", false),
        ("/a%2fb/", "/a%2Fb/c", true),
        ("/a%2fb/", "/a/b/c", false),
        ("/~/", "/%7E/c", true),
    ] {
        assert_eq!(covers(prefix, path), expected, "{prefix} {path}");
    }
    for text in
        ["", "vod/", "/vod/../", "/vod/?x", "/vod/./", "/~acuity/", "/~acuity", "/a b/", "/a\\b/", "/vod#x"]
    {
        assert!(!is_prefix(text), "{text}");
    }
}

#[test]
fn taken_off_and_nothing_else() {
    let taken = |path: &str| take(path).map(|(signature, rest)| format!("{signature} {rest}"));
    for (path, expected) in [
        ("/~acuity/signed/S/vod/a.m3u8?x=1", Some("S /vod/a.m3u8?x=1")),
        ("/%7Eacuity/signed/S/vod/./a.m3u8", Some("S /vod/a.m3u8")),
        ("/~acuity/signed/S/~acuity/v1.t/vod/a.ts", Some("S /~acuity/v1.t/vod/a.ts")),
        ("/x/../~acuity/signed/S/a", Some("S /a")),
        ("/~acuity/signed/S", Some("S /")),
        ("/~acuity/signed/S?x", Some("S /?x")),
        ("/~acuity/signed//a", Some(" /a")),
        ("/~acuity/signed/S/../../../vod/a", None),
        ("/vod/~acuity/signed/S/a", None),
        ("/~acuity/signed", None),
        ("/~acuity/signedS/a", None),
        ("/vod/signed/a", None),
    ] {
        assert_eq!(taken(path).as_deref(), expected, "{path}");
    }
}

#[test]
fn logs_hold_no_signature() {
    for (path, expected) in [
        ("/vod/a.m3u8".to_owned(), "/vod/a.m3u8"),
        (format!("/~acuity/signed/{GOOD}/vod/a.m3u8"), "/~acuity/signed/v1.2026a.-/vod/a.m3u8"),
        (format!("/%7Eacuity/signed/{}/vod", GOOD.replace('.', "%2E")), "/%7Eacuity/signed/v1.2026a.-/vod"),
        (format!("/x/../{GOOD}/vod"), "/x/../v1.2026a.-/vod"),
        (format!("/~acuity/signed/{GOOD}.x/vod"), "/~acuity/signed/v1.2026a.-/vod"),
        (format!("/~acuity/signed/x{GOOD}/vod"), "/~acuity/signed/-/vod"),
        (format!("\\signed\\v1.{}/vod", &GOOD[GOOD.len() - 43..]), "/signed/-/vod"),
        (
            "/~acuity/v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2E/a".to_owned(),
            "/~acuity/v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2E/a",
        ),
    ] {
        assert_eq!(redacted(&path), expected);
    }
}

/// What a request for this URL would come to: the path behind the signature, if the signature is good for it.
fn served(url: &str) -> Option<String> {
    let (signature, rest) = take(url)?;
    let HlsRoute::Plain { path_and_query } = HlsRoute::classify(&rest) else { return None };
    opens(&signature, &path_and_query).ok().map(|()| path_and_query)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2048, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_change_of_a_signature_opens_anything(
        at in 0..GOOD.len(), with in "[!-~]", how in 0..4, path in "/vod/[a-z]{1,5}",
    ) {
        let mut text = GOOD.to_owned();
        match how {
            0 => text.replace_range(at..=at, &with),
            1 => text.insert_str(at, &with),
            2 => text.replace_range(at..=at, ""),
            _ => text.truncate(at),
        }
        prop_assume!(text != GOOD);
        let url = format!("{}{path}", url_prefix(&text));
        prop_assert_eq!(served(&url), None, "{}", url);
        prop_assert!(opens(&text, &path).is_err());
    }

    #[test]
    fn no_path_leads_out_of_its_prefix(
        parts in proptest::collection::vec("(\\.|%2e|%2E|\\.\\.|%252e%252e|\\\\|%5c|/|%2f|vod|other|;|%00|\\?|#|~acuity|signed)", 0..9),
    ) {
        let url = format!("{}/vod/{}", url_prefix(GOOD), parts.concat());
        if let Some(path) = served(&url) {
            prop_assert!(path.starts_with("/vod/"), "{} -> {}", url, path);
            let path = uri::split_query(&path).0;
            let decoded = percent_decode_str(path).decode_utf8_lossy().replace('\\', "/");
            prop_assert!(!decoded.split('/').any(|part| part == ".."), "{}", url);
        }
    }

    #[test]
    fn what_is_signed_opens_what_it_says(id in "[A-Za-z0-9_-]{1,32}", end in 1u64.., prefix in "(/[a-z0-9._~]{1,9}x){1,4}/?") {
        let key = Key::new(&id, SECRET).unwrap();
        let signature = key.sign(&prefix, end).unwrap();
        prop_assert_eq!(check(std::slice::from_ref(&key), 0, Some(&signature), &prefix, end - 1), Ok(()));
        prop_assert_eq!(check(&[key], 0, Some(&signature), &prefix, end), Err(Refused::Expired));
        let url = format!("{}{prefix}?q=1", url_prefix(&signature));
        prop_assert_eq!(take(&url), Some((signature, format!("{prefix}?q=1"))));
    }

    #[test]
    fn never_panics(text in "[ -~]{0,60}", path in "/[ -~]{0,30}") {
        let _ = (opens(&text, &path), take(&text), redacted(&text), is_prefix(&text));
    }
}
