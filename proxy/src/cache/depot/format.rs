//! How an object is written down, and what is believed of what is read.
//!
//! | bytes | what |
//! |---|---|
//! | 8 | `ACUITY1\n`: what it is, and which version of this format |
//! | 4 | length of the head, little endian |
//! | 16 | first half of the SHA-256 of that length and the head |
//! | ... | the head, JSON: key, length and entity tag of the body, what it is, which source it was made of, and when |
//! | ... | the body |
//!
//! The entity tag is the first half of the body's SHA-256 and is needed in any case, so the body's check costs nothing of its own. A file
//! that was cut short, has a bit turned or lies under another's name is not what its head says, and is never given out.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use bytes::Bytes;
use http::HeaderValue;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::cache::key::ObjectKey;
use crate::cache::purge::Named;
use crate::cache::store::{MP4, NewObject, Object, TRANSPORT_STREAM};
use crate::metrics::Kind;
use crate::origin::Validator;

/// What it is. The digit is the version.
const MAGIC: &[u8; 8] = b"ACUITY1\n";
/// Bytes before the head.
const FIXED_BYTES: usize = 8 + 4 + 16;
/// Longest head that is read or written, in bytes: its longest part is an origin's entity tag.
const HEAD_LIMIT_BYTES: usize = 16 << 10;
/// What was made by a clock that is further ahead than this is not taken for new.
pub(super) const SKEW: Duration = Duration::from_secs(300);

/// Why something is not given out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Unusable {
    /// There is less of it than there should be, or more.
    Truncated,
    /// It is not what its sums say.
    Damaged,
    /// It is another version's, or another object.
    Foreign,
    /// It is older than the operator wants.
    Expired,
    /// An operator wanted it forgotten.
    Purged,
}

#[derive(Serialize, Deserialize)]
struct Head {
    key: String,
    length: u64,
    etag: String,
    content_type: String,
    kind: String,
    made_by: String,
    named: Named,
    /// Milliseconds since 1970.
    made_at_ms: u64,
    fresh_for_ms: u64,
    /// What making it took.
    seconds: f64,
    source: Source,
}

#[derive(Serialize, Deserialize)]
struct Source {
    etag: Option<Box<str>>,
    last_modified: Option<Box<str>>,
    length: Option<u64>,
}

/// What stands before the body of `object`; `None` where it would not be read again.
pub(crate) fn head(key: &ObjectKey, object: &Object, now: SystemTime) -> Option<Bytes> {
    let age = object.confirmed.elapsed();
    let head = Head {
        key: key.hex(),
        length: object.bytes.len() as u64,
        etag: object.etag.to_str().ok()?.to_owned(),
        content_type: object.content_type.to_owned(),
        kind: object.kind.label().to_owned(),
        made_by: object.made_by.to_string(),
        named: object.named.clone(),
        made_at_ms: millis(now.duration_since(UNIX_EPOCH).ok()?.saturating_sub(age)),
        fresh_for_ms: millis(object.fresh_for),
        seconds: object.seconds,
        source: Source {
            etag: object.validator.etag.clone(),
            last_modified: object.validator.last_modified.clone(),
            length: object.validator.length,
        },
    };
    let json = serde_json::to_vec(&head).ok().filter(|json| json.len() <= HEAD_LIMIT_BYTES)?;
    let length = u32::try_from(json.len()).ok()?.to_le_bytes();
    let mut bytes = Vec::with_capacity(FIXED_BYTES + json.len());
    bytes.extend_from_slice(MAGIC);
    bytes.extend_from_slice(&length);
    bytes.extend_from_slice(&sum(length, &json));
    bytes.extend_from_slice(&json);
    Some(bytes.into())
}

/// The object that `bytes` hold, if they are the one of this key, whole, not older than `max_age`, and not purged: that is asked with its
/// name and the milliseconds since 1970 when it was made.
pub(crate) fn read(
    bytes: &Bytes,
    key: &ObjectKey,
    now: SystemTime,
    max_age: Duration,
    is_purged: impl FnOnce(&Named, u64) -> bool,
) -> Result<Object, Unusable> {
    let (fixed, rest) = bytes.split_at_checked(FIXED_BYTES).ok_or(Unusable::Truncated)?;
    let (magic, fixed) = fixed.split_first_chunk::<8>().ok_or(Unusable::Truncated)?;
    let (length, expected) = fixed.split_first_chunk::<4>().ok_or(Unusable::Truncated)?;
    if magic != MAGIC {
        return Err(if magic.starts_with(b"ACUITY") { Unusable::Foreign } else { Unusable::Damaged });
    }
    let head_bytes = u32::from_le_bytes(*length) as usize;
    if head_bytes > HEAD_LIMIT_BYTES {
        return Err(Unusable::Damaged);
    }
    let (json, _) = rest.split_at_checked(head_bytes).ok_or(Unusable::Truncated)?;
    if sum(*length, json) != expected {
        return Err(Unusable::Damaged);
    }
    let head: Head = serde_json::from_slice(json).map_err(|_| Unusable::Foreign)?;
    if head.key != key.hex() {
        return Err(Unusable::Foreign);
    }
    let age = age(head.made_at_ms, now);
    if age.is_some_and(|age| age > max_age) {
        return Err(Unusable::Expired);
    }
    if is_purged(&head.named, head.made_at_ms) {
        return Err(Unusable::Purged);
    }
    let body = bytes.slice(FIXED_BYTES + head_bytes..);
    if body.len() as u64 != head.length {
        return Err(Unusable::Truncated);
    }
    let fresh_for = Duration::from_millis(head.fresh_for_ms);
    let etag = head.etag.clone();
    let object = object(head, body, fresh_for).ok_or(Unusable::Foreign)?;
    if object.etag.as_bytes() != etag.as_bytes() {
        return Err(Unusable::Damaged);
    }
    // A clock that went back says nothing about the source: the origin is asked.
    Ok(object.confirmed_before(age.unwrap_or(fresh_for)))
}

/// `None` where a word in the head is one that this program does not write.
fn object(head: Head, body: Bytes, fresh_for: Duration) -> Option<Object> {
    let Head { content_type, kind, named, made_by, seconds, source, .. } = head;
    // What is asked of an origin again must be what an origin could have said.
    let is_header =
        |text: &Option<Box<str>>| text.as_deref().is_none_or(|text| HeaderValue::from_str(text).is_ok());
    if !is_header(&source.etag) || !is_header(&source.last_modified) {
        return None;
    }
    Some(Object::new(NewObject {
        bytes: body,
        content_type: [MP4, TRANSPORT_STREAM].into_iter().find(|known| *known == content_type)?,
        kind: [Kind::Segment, Kind::Init].into_iter().find(|known| known.label() == kind)?,
        named,
        validator: Validator {
            etag: source.etag,
            last_modified: source.last_modified,
            length: source.length,
        },
        made_by: made_by.into(),
        fresh_for,
        improve_after: None,
        seconds,
        // What is private is never written.
        private: false,
    }))
}

/// How old something is; `None` if it was made by a clock that this one is far behind.
fn age(made_at_ms: u64, now: SystemTime) -> Option<Duration> {
    let made = UNIX_EPOCH.checked_add(Duration::from_millis(made_at_ms))?;
    match now.duration_since(made) {
        Ok(age) => Some(age),
        Err(ahead) if ahead.duration() <= SKEW => Some(Duration::ZERO),
        Err(_) => None,
    }
}

fn sum(length: [u8; 4], json: &[u8]) -> [u8; 16] {
    let mut hasher = Sha256::new();
    hasher.update(length);
    hasher.update(json);
    let mut short = [0; 16];
    short.copy_from_slice(&hasher.finalize()[..16]);
    short
}

fn millis(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::time::Instant;

    use super::*;

    const WEEK: Duration = Duration::from_secs(7 * 24 * 3600);

    fn read(bytes: &Bytes, key: &ObjectKey, now: SystemTime, max_age: Duration) -> Result<Object, Unusable> {
        super::read(bytes, key, now, max_age, |_, _| false)
    }

    fn key(path: &str) -> ObjectKey {
        ObjectKey::new("", "http://o/", "t", path)
    }

    fn written(now: SystemTime) -> (Object, Bytes) {
        written_of("\"v1\"", now)
    }

    fn written_of(etag: &str, now: SystemTime) -> (Object, Bytes) {
        let object = Object::new(NewObject {
            named: Named { site: "".into(), path_and_query: "/a/1.ts".into(), clusters: vec!["g".into()] },
            bytes: (0..5000).map(|at| (at % 251) as u8).collect(),
            content_type: TRANSPORT_STREAM,
            kind: Kind::Segment,
            validator: Validator { etag: Some(etag.into()), last_modified: None, length: Some(700) },
            made_by: "generic-x2-s".into(),
            fresh_for: Duration::from_secs(3600),
            improve_after: None,
            seconds: 1.25,
            private: false,
        });
        let head = head(&key("/1.ts"), &object, now).unwrap();
        let bytes = [&head[..], &object.bytes[..]].concat().into();
        (object, bytes)
    }

    #[test]
    fn what_is_read_is_what_was_written() {
        let now = SystemTime::now();
        let (object, bytes) = written(now);
        let later = now + Duration::from_secs(600);
        let again = read(&bytes, &key("/1.ts"), later, WEEK).unwrap();
        assert_eq!((again.bytes, again.etag), (object.bytes, object.etag));
        assert_eq!((again.content_type, again.kind), (object.content_type, object.kind));
        assert_eq!((again.validator, again.made_by), (object.validator, object.made_by));
        assert_eq!((again.fresh_for, again.seconds), (object.fresh_for, object.seconds));
        let age = Instant::now().duration_since(again.confirmed);
        assert!((600..603).contains(&age.as_secs()), "{age:?}");
    }

    #[test]
    fn nothing_of_it_can_be_missing_or_changed() {
        let now = SystemTime::now();
        let (_, bytes) = written(now);
        for end in 0..bytes.len() {
            let found = read(&bytes.slice(..end), &key("/1.ts"), now, WEEK).unwrap_err();
            assert_eq!(found, Unusable::Truncated, "cut at {end}");
        }
        for at in 0..bytes.len() {
            let mut turned = bytes.to_vec();
            turned[at] ^= 0x10;
            assert!(read(&turned.into(), &key("/1.ts"), now, WEEK).is_err(), "a bit of byte {at}");
        }
        let longer = [&bytes[..], b"x"].concat().into();
        assert_eq!(read(&longer, &key("/1.ts"), now, WEEK).unwrap_err(), Unusable::Truncated);
        assert_eq!(read(&bytes, &key("/2.ts"), now, WEEK).unwrap_err(), Unusable::Foreign);
        let mut newer = bytes.to_vec();
        newer[6] = b'2';
        assert_eq!(read(&newer.into(), &key("/1.ts"), now, WEEK).unwrap_err(), Unusable::Foreign);
    }

    #[test]
    fn ages_and_clocks() {
        let now = SystemTime::now();
        let (_, bytes) = written(now);
        let read_at = |at: SystemTime| read(&bytes, &key("/1.ts"), at, WEEK);
        assert!(read_at(now + WEEK - Duration::from_secs(1)).is_ok());
        assert_eq!(read_at(now + WEEK + Duration::from_secs(1)).unwrap_err(), Unusable::Expired);
        let fresh = |object: Object| object.freshness_left(Instant::now()).is_some();
        assert!(fresh(read_at(now + Duration::from_secs(60)).unwrap()));
        assert!(!fresh(read_at(now + Duration::from_secs(3601)).unwrap()));
        assert!(fresh(read_at(now - Duration::from_secs(60)).unwrap()), "clocks differ a little");
        assert!(
            !fresh(read_at(now - Duration::from_secs(3600)).unwrap()),
            "a clock that went back: ask the origin"
        );
    }

    #[test]
    fn what_is_purged_is_asked_by_its_name_and_time() {
        let now = SystemTime::now();
        let (_, bytes) = written(now);
        let made = millis(now.duration_since(UNIX_EPOCH).unwrap());
        let is_purged = |named: &Named, at: u64| &*named.path_and_query == "/a/1.ts" && made - at < 5000;
        let found = super::read(&bytes, &key("/1.ts"), now, WEEK, is_purged);
        assert_eq!(found.unwrap_err(), Unusable::Purged);
    }

    #[test]
    fn a_head_that_could_not_be_a_header_is_not_believed() {
        let now = SystemTime::now();
        let (_, bytes) = written_of("\"a\"\r\nX: y", now);
        assert_eq!(read(&bytes, &key("/1.ts"), now, WEEK).unwrap_err(), Unusable::Foreign);
    }
}
