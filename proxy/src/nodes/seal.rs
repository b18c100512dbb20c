//! How nodes know each other: each shows that it has the region's secret without saying it, and each frame of an answer is bound to the
//! request that it answers.
//!
//! A request carries `acuity-node: v1.<milliseconds since 1970>.<nonce>.<mac>`, the mac over method, path, time, nonce and body. An answer
//! is frames, each with a mac of its own under a key that follows from the request's mac: what was cut, changed, moved, repeated or taken
//! from another answer is seen with the very frame, before anything of it is handed on.

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use hmac::digest::KeyInit;
use hmac::{Hmac, Mac};
use http::HeaderName;
use sha2::{Digest as _, Sha256};

/// The header.
pub(super) const NODE: HeaderName = HeaderName::from_static("acuity-node");

/// So far clocks of nodes may be apart. Within it a request that somebody overheard can be repeated: that gives him what he has overheard.
const SKEW: Duration = Duration::from_secs(300);
const VERSION: &str = "v1";
/// Longest header, far above what is written.
const HEADER_LIMIT_BYTES: usize = 256;
/// Bytes of a frame's mac: half of the whole, which is more than enough against somebody who has one try.
pub(super) const MAC_BYTES: usize = 16;

/// The region's secret, keyed already: the bytes themselves are not kept.
#[derive(Clone)]
pub(super) struct Secret(Hmac<Sha256>);

/// What the frames of one answer are bound to.
#[derive(Clone)]
pub(super) struct Binding {
    mac: Hmac<Sha256>,
    frames: u64,
}

/// Why a request is none of a node's.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Stranger {
    /// It shows nothing, or nothing that can be read.
    Unsigned,
    /// Its time is not now.
    Stale,
    /// It is signed by something else.
    Forged,
}

impl Stranger {
    pub(super) const ALL: [Self; 3] = [Self::Unsigned, Self::Stale, Self::Forged];

    pub(super) fn label(self) -> &'static str {
        match self {
            Self::Unsigned => "unsigned",
            Self::Stale => "stale",
            Self::Forged => "forged",
        }
    }
}

impl Secret {
    /// Of any length.
    pub(super) fn new(secret: &[u8]) -> Self {
        let mut block = [0; 64];
        block.iter_mut().zip(Sha256::digest(secret)).for_each(|(byte, digest)| *byte = digest);
        Self(<Hmac<Sha256> as KeyInit>::new(&block.into()))
    }

    /// The header's value for a request, and what its answer is bound to. `nonce`: never used before.
    pub(super) fn sign(
        &self,
        method: &str,
        path: &str,
        body: &[u8],
        now: SystemTime,
        nonce: [u8; 16],
    ) -> (String, Binding) {
        let time = now.duration_since(UNIX_EPOCH).unwrap_or_default().as_millis().to_string();
        let nonce = URL_SAFE_NO_PAD.encode(nonce);
        let mac: [u8; 32] = self.over(method, path, &time, &nonce, body).finalize().into_bytes().into();
        let value = format!("{VERSION}.{time}.{nonce}.{}", URL_SAFE_NO_PAD.encode(mac));
        (value, self.bind(&mac))
    }

    /// Whether a request is a node's; then what its answer is to be bound to.
    pub(super) fn check(
        &self,
        value: Option<&str>,
        method: &str,
        path: &str,
        body: &[u8],
        now: SystemTime,
    ) -> Result<Binding, Stranger> {
        let (time, nonce, mac) = Self::parts(value, now)?;
        let over = self.over(method, path, time, nonce, body);
        over.verify_slice(&mac).map_err(|_| Stranger::Forged)?;
        Ok(self.bind(&mac))
    }

    /// What can be said of a request before its body is read.
    pub(super) fn may_be(value: Option<&str>, now: SystemTime) -> Result<(), Stranger> {
        Self::parts(value, now).map(drop)
    }

    fn parts(value: Option<&str>, now: SystemTime) -> Result<(&str, &str, [u8; 32]), Stranger> {
        let value = value.filter(|value| value.len() <= HEADER_LIMIT_BYTES).ok_or(Stranger::Unsigned)?;
        let mut parts = value.split('.');
        let (Some(VERSION), Some(time), Some(nonce), Some(mac), None) =
            (parts.next(), parts.next(), parts.next(), parts.next(), parts.next())
        else {
            return Err(Stranger::Unsigned);
        };
        let mac = URL_SAFE_NO_PAD.decode(mac).ok().and_then(|mac| mac.try_into().ok());
        let mac: [u8; 32] = mac.ok_or(Stranger::Unsigned)?;
        let millis: u64 = time.parse().map_err(|_| Stranger::Unsigned)?;
        let said = UNIX_EPOCH.checked_add(Duration::from_millis(millis)).ok_or(Stranger::Stale)?;
        let apart = now.duration_since(said).unwrap_or_else(|ahead| ahead.duration());
        if apart > SKEW { Err(Stranger::Stale) } else { Ok((time, nonce, mac)) }
    }

    fn over(&self, method: &str, path: &str, time: &str, nonce: &str, body: &[u8]) -> Hmac<Sha256> {
        let mut over = self.0.clone();
        // Lengths keep parts apart.
        for part in [b"request", method.as_bytes(), path.as_bytes(), time.as_bytes(), nonce.as_bytes(), body]
        {
            over.update(&(part.len() as u64).to_le_bytes());
            over.update(part);
        }
        over
    }

    fn bind(&self, request: &[u8; 32]) -> Binding {
        let mut key = self.0.clone();
        key.update(b"answer");
        key.update(request);
        Binding { mac: Self::new(&key.finalize().into_bytes()).0, frames: 0 }
    }
}

impl Binding {
    /// The mac of the next frame, of this head and payload.
    pub(super) fn next(&mut self, head: &[u8], payload: &[u8]) -> [u8; MAC_BYTES] {
        let mut short = [0; MAC_BYTES];
        let whole = self.over(head, payload).finalize().into_bytes();
        short.iter_mut().zip(whole).for_each(|(short, byte)| *short = byte);
        short
    }

    /// Whether the next frame, of this head and payload, has this mac.
    pub(super) fn is_next(&mut self, head: &[u8], payload: &[u8], mac: &[u8]) -> bool {
        mac.len() == MAC_BYTES && self.over(head, payload).verify_truncated_left(mac).is_ok()
    }

    fn over(&mut self, head: &[u8], payload: &[u8]) -> Hmac<Sha256> {
        let mut over = self.mac.clone();
        over.update(&self.frames.to_le_bytes());
        over.update(head);
        over.update(payload);
        self.frames += 1;
        over
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const NONCE: [u8; 16] = [7; 16];

    #[test]
    fn only_who_has_the_secret_is_a_node() {
        let (secret, other) = (Secret::new(b"0123456789abcdef"), Secret::new(b"0123456789abcdeF"));
        // On the wire it is whole milliseconds.
        let now = UNIX_EPOCH + Duration::from_millis(1_800_000_000_000);
        let (value, _) = secret.sign("POST", "/object", b"{}", now, NONCE);
        let check = |secret: &Secret, value: &str, path: &str, body: &[u8], now| {
            secret.check(Some(value), "POST", path, body, now).err()
        };
        assert_eq!(check(&secret, &value, "/object", b"{}", now), None);
        assert_eq!(check(&secret, &value, "/object", b"{}", now + SKEW), None);
        assert_eq!(check(&secret, &value, "/object", b"{}", now - SKEW), None);
        let late = now + SKEW + Duration::from_secs(1);
        assert_eq!(check(&secret, &value, "/object", b"{}", late), Some(Stranger::Stale));
        assert_eq!(check(&other, &value, "/object", b"{}", now), Some(Stranger::Forged));
        assert_eq!(check(&secret, &value, "/purge", b"{}", now), Some(Stranger::Forged));
        assert_eq!(check(&secret, &value, "/object", b"{ }", now), Some(Stranger::Forged));
        assert_eq!(secret.check(None, "POST", "/object", b"", now).err(), Some(Stranger::Unsigned));
        for value in ["", "v1", "v2.1.a.b", "v1.x.a.b", "v1.1.a.AAAA", &"v".repeat(5000)] {
            assert_eq!(check(&secret, value, "/object", b"{}", now), Some(Stranger::Unsigned), "{value}");
        }
        let moved = value.replacen("v1.1", "v1.2", 1);
        assert!(check(&secret, &moved, "/object", b"{}", now).is_some());
    }

    #[test]
    fn frames_belong_to_one_answer_in_one_order() {
        let secret = Secret::new(b"0123456789abcdef");
        let now = SystemTime::now();
        let (value, asked) = secret.sign("POST", "/object", b"{}", now, NONCE);
        let told = secret.check(Some(&value), "POST", "/object", b"{}", now).unwrap();
        let (_, elsewhere) = secret.sign("POST", "/object", b"{}", now, [8; 16]);
        let mut told_again = told.clone();
        let mut sender = told;
        let (first, second) = (sender.next(b"p", b"one"), sender.next(b"p", b"two"));
        let mut receiver = asked.clone();
        assert!(receiver.is_next(b"p", b"one", &first) && receiver.is_next(b"p", b"two", &second));
        assert!(!asked.clone().is_next(b"p", b"two", &second), "the first is missing");
        assert!(!asked.clone().is_next(b"e", b"one", &first), "another kind");
        assert!(!asked.clone().is_next(b"p", b"onE", &first));
        assert!(!asked.clone().is_next(b"p", b"one", first.get(..8).unwrap()));
        assert!(!elsewhere.clone().is_next(b"p", b"one", &first), "another answer's");
        assert_eq!(told_again.next(b"p", b"one"), first);
    }
}
