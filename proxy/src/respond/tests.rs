//! Whole answers from request headers.
#![allow(clippy::unwrap_used)]

use std::time::Duration;

use http::HeaderName;
use http::header::{CONTENT_LENGTH, IF_NONE_MATCH, IF_RANGE};

use super::*;
use crate::cache::purge::Named;
use crate::cache::store::NewObject;
use crate::origin::Validator;

fn headers(pairs: &[(HeaderName, &str)]) -> HeaderMap {
    pairs.iter().map(|(name, value)| (name.clone(), value.parse().unwrap())).collect()
}

fn segment() -> Object {
    let bytes = Bytes::from((0..=99).collect::<Vec<u8>>());
    Object::new(NewObject {
        bytes,
        content_type: "video/mp2t",
        kind: Kind::Segment,
        named: Named { site: "".into(), path_and_query: "/a".into(), clusters: Vec::new() },
        validator: Validator::default(),
        made_by: "generic-x2-s".into(),
        fresh_for: Duration::from_secs(60),
        improve_after: None,
        seconds: 0.5,
        private: false,
    })
}

fn answer(object: &Object, pairs: &[(HeaderName, &str)]) -> Answer {
    super::object(
        &Method::GET,
        &headers(pairs),
        object,
        Outcome::Hit,
        object.confirmed + Duration::from_secs(2),
    )
}

#[test]
fn a_whole_segment() {
    let answer = answer(&segment(), &[]);
    assert_eq!(answer.status, StatusCode::OK);
    assert_eq!(answer.body.len(), 100);
    assert_eq!(answer.headers[CONTENT_TYPE], "video/mp2t");
    assert_eq!(answer.headers[CACHE_CONTROL], "public, max-age=60");
    assert_eq!(answer.headers[AGE], "2");
    assert_eq!(answer.headers[ACCEPT_RANGES], "bytes");
    assert_eq!(answer.headers["cache-status"], "acuity; hit; ttl=58; detail=\"generic-x2-s\"");
    assert!(!answer.headers.contains_key(CONTENT_LENGTH), "the sender counts");
}

#[test]
fn parts_of_a_segment() {
    let object = segment();
    let some = answer(&object, &[(RANGE, "bytes=10-19")]);
    assert_eq!(some.status, StatusCode::PARTIAL_CONTENT);
    assert_eq!(some.body[..], (10..=19).collect::<Vec<u8>>()[..]);
    assert_eq!(some.headers[CONTENT_RANGE], "bytes 10-19/100");
    let last = answer(&object, &[(RANGE, "bytes=-5")]);
    assert_eq!(last.headers[CONTENT_RANGE], "bytes 95-99/100");
    let none = answer(&object, &[(RANGE, "bytes=100-")]);
    assert_eq!(none.status, StatusCode::RANGE_NOT_SATISFIABLE);
    assert_eq!(none.headers[CONTENT_RANGE], "bytes */100");
    assert!(none.body.is_empty());
    let several = answer(&object, &[(RANGE, "bytes=0-1,5-6")]);
    assert_eq!((several.status, several.body.len()), (StatusCode::OK, 100));
}

#[test]
fn head_tells_of_the_whole() {
    let (object, asked) = (segment(), headers(&[(RANGE, "bytes=10-19")]));
    let answer = super::object(&Method::HEAD, &asked, &object, Outcome::Hit, object.confirmed);
    assert_eq!((answer.status, answer.body.len()), (StatusCode::OK, 100));
}

#[test]
fn conditions_on_a_segment() {
    let object = segment();
    let etag = object.etag.to_str().unwrap().to_owned();
    let known = answer(&object, &[(IF_NONE_MATCH, &etag)]);
    assert_eq!((known.status, known.body.len()), (StatusCode::NOT_MODIFIED, 0));
    assert_eq!(known.headers[ETAG], etag.as_str());
    let resumed = answer(&object, &[(RANGE, "bytes=50-"), (IF_RANGE, &etag)]);
    assert_eq!(resumed.status, StatusCode::PARTIAL_CONTENT);
    let changed = answer(&object, &[(RANGE, "bytes=50-"), (IF_RANGE, "\"other\"")]);
    assert_eq!((changed.status, changed.body.len()), (StatusCode::OK, 100));
    // A condition that says "unchanged" wins over the range.
    let both = answer(&object, &[(RANGE, "bytes=50-"), (IF_NONE_MATCH, &etag)]);
    assert_eq!(both.status, StatusCode::NOT_MODIFIED);
}

fn text(pairs: &[(HeaderName, &str)], varies_with: &[String]) -> Answer {
    let body = Bytes::from("#EXTM3U\n".to_owned() + &"#EXTINF:4,\na.ts\n".repeat(100));
    let headers_of_it = PlaylistHeaders {
        cache_control: HeaderValue::from_static("max-age=1"),
        content_type: PLAYLIST_TYPE,
        varies_with,
    };
    playlist(&headers(pairs), body, headers_of_it, Kind::Media, Outcome::Made)
}

#[test]
fn playlists_are_compressed_for_those_who_take_it() {
    let plain = text(&[], &[]);
    assert!(plain.body.starts_with(b"#EXTM3U") && !plain.headers.contains_key(CONTENT_ENCODING));
    let packed = text(&[(ACCEPT_ENCODING, "gzip, br")], &[]);
    assert_eq!(packed.headers[CONTENT_ENCODING], "gzip");
    assert!(packed.body.len() < plain.body.len() / 4);
    assert_eq!(packed.headers[ETAG], plain.headers[ETAG]);
    assert!(plain.headers.get_all(VARY).iter().any(|value| value == "Accept-Encoding"));
    let known = text(&[(IF_NONE_MATCH, plain.headers[ETAG].to_str().unwrap())], &[]);
    assert_eq!(known.status, StatusCode::NOT_MODIFIED);
}

#[test]
fn a_playlist_that_depends_on_the_client_says_so() {
    let answer = text(&[], &["User-Agent".to_owned()]);
    assert!(answer.headers.get_all(VARY).iter().any(|value| value == "User-Agent"));
}

#[test]
fn refusals_keep_the_origins_status() {
    let of_origin = Refusal {
        status: StatusCode::GONE,
        headers: headers(&[(CONTENT_TYPE, "text/html")]),
        body: Bytes::from_static(b"gone"),
    };
    let answer = refusal(&HeaderMap::new(), &of_origin, Kind::Media);
    assert_eq!((answer.status, &answer.body[..]), (StatusCode::GONE, &b"gone"[..]));
    assert_eq!(answer.headers[CONTENT_TYPE], "text/html");
}

#[test]
fn a_models_file_is_for_ever_and_its_description_is_not() {
    let bytes = Bytes::from_static(b"0123456789");
    let request = HeaderMap::new();
    let file = model_file(&Method::GET, &request, &bytes, "00ff");
    assert_eq!((file.status, &file.body), (StatusCode::OK, &bytes));
    assert_eq!(
        (&file.headers[ETAG], &file.headers[CONTENT_TYPE]),
        (&HeaderValue::from_static("\"00ff\""), &HeaderValue::from_static("application/octet-stream"),)
    );
    assert_eq!(file.headers[CACHE_CONTROL], "public, max-age=31536000, immutable");
    assert_eq!((file.kind, file.outcome), (Kind::Model, Outcome::Local));
    let known: HeaderMap = [(http::header::IF_NONE_MATCH, "\"00ff\"".parse().unwrap())].into_iter().collect();
    assert_eq!(model_file(&Method::GET, &known, &bytes, "00ff").status, StatusCode::NOT_MODIFIED);
    let part: HeaderMap = [(RANGE, "bytes=2-3".parse().unwrap())].into_iter().collect();
    let part = model_file(&Method::GET, &part, &bytes, "00ff");
    assert_eq!((part.status, &part.body[..]), (StatusCode::PARTIAL_CONTENT, &b"23"[..]));
    let description = model_description(&Method::GET, &request, &bytes);
    assert_eq!(description.headers[CONTENT_TYPE], "application/json");
    assert_eq!(description.headers[CACHE_CONTROL], "public, max-age=60");
}
