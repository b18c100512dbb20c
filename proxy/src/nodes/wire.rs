//! What nodes say to each other. Pure.
//!
//! A request is a POST with a body in JSON; the answer's body is frames: kind (1 byte), length of the payload (4, little endian), payload,
//! mac (16, [`Binding`]).
//!
//! | kind | payload | |
//! |---|---|---|
//! | `w` | | still at it |
//! | `b` | JSON ([`Begin`]) | an object that is being made comes; what follows may be handed on as it comes. Again where what makes it has been cut short |
//! | `p` | bytes | a piece of it |
//! | `h` | the head of an object as the [depot](crate::cache::depot) writes it | all pieces were there; sums of the whole |
//! | `e` | JSON ([`End`]) | it is over, and all is well |
//! | `r` | a word ([`Refusal`]) | not from here |

use std::time::{Duration, SystemTime, UNIX_EPOCH};

use acuity_config::NodeName;
use bytes::{Buf as _, Bytes, BytesMut};
use serde::{Deserialize, Serialize};

use super::seal::{Binding, MAC_BYTES};
use crate::cache::purge::Order;
use crate::deadline::Hurry;
use crate::wanted::Wanted;

/// Where each request goes to.
pub(super) const OBJECT: &str = "/v1/object";
/// As [`OBJECT`]: have it made before anybody asks.
pub(super) const LAUNCH: &str = "/v1/launch";
/// As [`OBJECT`]: forget.
pub(super) const PURGE: &str = "/v1/purge";
/// As [`OBJECT`]: is anybody there?
pub(super) const ALIVE: &str = "/v1/alive";

/// Longest body of a request: token and path have limits of their own, of which this is more than the sum.
pub(super) const REQUEST_LIMIT_BYTES: usize = 32 << 10;
/// Bytes of a piece: it is sent on when all of it is there, and has to come within the time that a node may be silent.
pub(super) const PIECE_BYTES: usize = 64 << 10;
/// Longest payload: a head is the longest.
const PAYLOAD_LIMIT_BYTES: usize = 128 << 10;
const HEAD_BYTES: usize = 5;

/// Times in heads count from here on both sides, so that nodes' clocks do not matter: a head says how old an object *is*.
pub(super) fn epoch() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1 << 32)
}

/// Which object is meant.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Which {
    pub(super) site: String,
    pub(super) token: String,
    pub(super) path_and_query: String,
    /// In hexadecimal digits; nodes that come to different ones do not know the same origins.
    pub(super) key: String,
    /// Digest of what decides, beside token and source, which bytes come of it.
    pub(super) settings: String,
}

impl Which {
    pub(super) fn new(wanted: &Wanted, settings: &str) -> Self {
        Self {
            site: wanted.site.name().to_owned(),
            token: wanted.token.to_string(),
            path_and_query: wanted.path_and_query.clone(),
            key: wanted.key.hex(),
            settings: settings.to_owned(),
        }
    }
}

/// A viewer of the asking node waits for an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ObjectAsked {
    pub(super) which: Which,
    pub(super) buffer_ms: Option<u64>,
    pub(super) first_byte_ms: Option<u64>,
    pub(super) urgent: bool,
    /// Since the viewer asked.
    pub(super) waited_ms: u64,
    /// No viewer of the asking node has been at the segments before.
    pub(super) is_first: bool,
    pub(super) audience: u32,
    /// What has made the begin of it, that has been sent on.
    pub(super) again_by: Option<String>,
    /// How often a sign of life is wanted.
    pub(super) beat_ms: u64,
}

impl ObjectAsked {
    pub(super) fn hurry(&self) -> Hurry {
        let duration = |ms: Option<u64>| ms.map(Duration::from_millis);
        Hurry {
            buffer: duration(self.buffer_ms),
            first_byte: duration(self.first_byte_ms),
            urgent: self.urgent,
        }
    }
}

/// A viewer of the asking node will want an object.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct LaunchAsked {
    pub(super) which: Which,
    pub(super) media_ms: u64,
    pub(super) fills: bool,
}

/// An operator wants something forgotten.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct PurgeAsked {
    pub(super) order: Order,
    /// Told already: copies that came from nodes which were told later are to go too.
    pub(super) again: bool,
}

/// What is known of an object whose first bytes are there.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct Begin {
    pub(super) content_type: String,
    pub(super) fresh_for_ms: u64,
    pub(super) made_by: String,
}

/// What an object's head does not say.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct End {
    /// Something less than promised is good enough for so long.
    pub(super) improve_after_ms: Option<u64>,
}

/// Why a node gives nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Refusal {
    /// The origin forbids that it is shared.
    Private,
    /// It has other settings, or other origins.
    Differs,
    /// As many are being served as may.
    Busy,
    /// Something went wrong there; whoever asks finds out by himself what.
    Trouble,
    /// Enhancement was switched off there.
    Stopped,
    /// It is going to stop.
    Leaving,
}

impl Refusal {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Private, "private"),
        (Self::Differs, "differs"),
        (Self::Busy, "busy"),
        (Self::Trouble, "trouble"),
        (Self::Stopped, "stopped"),
        (Self::Leaving, "leaving"),
    ];

    /// The word for it, on the wire and as a metric's label.
    pub(crate) fn label(self) -> &'static str {
        Self::ALL.iter().find(|(refusal, _)| *refusal == self).map_or("trouble", |(_, label)| label)
    }

    pub(super) fn read(word: &[u8]) -> Self {
        Self::ALL.iter().find(|(_, label)| label.as_bytes() == word).map_or(Self::Trouble, |(why, _)| *why)
    }
}

/// What a frame is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Working,
    Begin,
    Piece,
    Head,
    End,
    Refused,
}

impl Kind {
    const ALL: [(Self, u8); 6] = [
        (Self::Working, b'w'),
        (Self::Begin, b'b'),
        (Self::Piece, b'p'),
        (Self::Head, b'h'),
        (Self::End, b'e'),
        (Self::Refused, b'r'),
    ];
}

/// What came is not what a node sends, or not for this request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Damaged;

/// A frame, ready to be sent.
pub(super) fn frame(binding: &mut Binding, kind: Kind, payload: &[u8]) -> Bytes {
    let letter = Kind::ALL.iter().find(|(one, _)| *one == kind).map_or(b'?', |(_, letter)| *letter);
    let length = u32::try_from(payload.len()).unwrap_or(u32::MAX).to_le_bytes();
    let mut frame = BytesMut::with_capacity(HEAD_BYTES + payload.len() + MAC_BYTES);
    frame.extend_from_slice(&[letter]);
    frame.extend_from_slice(&length);
    let mac = binding.next(&frame, payload);
    frame.extend_from_slice(payload);
    frame.extend_from_slice(&mac);
    frame.freeze()
}

/// Takes frames out of what comes.
pub(super) struct Frames {
    binding: Binding,
    buffer: BytesMut,
}

impl Frames {
    pub(super) fn new(binding: Binding) -> Self {
        Self { binding, buffer: BytesMut::new() }
    }

    pub(super) fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next frame, if all of it is there.
    pub(super) fn next(&mut self) -> Result<Option<(Kind, Bytes)>, Damaged> {
        let Some((&[letter, ref length @ ..], _)) = self.buffer.split_first_chunk::<HEAD_BYTES>() else {
            return Ok(None);
        };
        let (_, kind) = Kind::ALL
            .iter()
            .map(|(kind, one)| (*one, *kind))
            .find(|(one, _)| *one == letter)
            .ok_or(Damaged)?;
        let length = u32::from_le_bytes(*length) as usize;
        if length > PAYLOAD_LIMIT_BYTES {
            return Err(Damaged);
        }
        if self.buffer.len() < HEAD_BYTES + length + MAC_BYTES {
            return Ok(None);
        }
        let head = self.buffer.split_to(HEAD_BYTES);
        let payload = self.buffer.split_to(length).freeze();
        let is_next = self.binding.is_next(&head, &payload, self.buffer.get(..MAC_BYTES).unwrap_or_default());
        self.buffer.advance(MAC_BYTES);
        if is_next { Ok(Some((kind, payload))) } else { Err(Damaged) }
    }
}

/// What of nodes an operator's order did not reach.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize)]
pub struct Reached {
    /// Nodes that have done as they were told.
    pub reached: usize,
    /// Those that did not say so. What they have stays until it is no longer fresh, or until they are told again.
    #[serde(serialize_with = "shown")]
    pub not_reached: Vec<NodeName>,
}

fn shown<S: serde::Serializer>(names: &[NodeName], serializer: S) -> Result<S::Ok, S::Error> {
    serializer.collect_seq(names.iter().map(ToString::to_string))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::super::seal::Secret;
    use super::*;

    fn bindings() -> (Binding, Binding) {
        let secret = Secret::new(b"0123456789abcdef");
        let now = SystemTime::now();
        let (value, asked) = secret.sign("POST", OBJECT, b"", now, [1; 16]);
        (secret.check(Some(&value), "POST", OBJECT, b"", now).unwrap(), asked)
    }

    fn all(frames: &mut Frames) -> Result<Vec<(Kind, Bytes)>, Damaged> {
        let mut found = Vec::new();
        while let Some(frame) = frames.next()? {
            found.push(frame);
        }
        Ok(found)
    }

    #[test]
    fn frames_come_out_as_they_went_in_however_they_are_cut() {
        let (mut sender, asked) = bindings();
        let sent = [(Kind::Working, &b""[..]), (Kind::Piece, b"abc"), (Kind::Refused, b"busy")];
        let bytes: Vec<u8> =
            sent.iter().flat_map(|(kind, payload)| frame(&mut sender, *kind, payload)).collect();
        for at in 0..=bytes.len() {
            let mut frames = Frames::new(asked.clone());
            frames.push(&bytes[..at]);
            let mut found = all(&mut frames).unwrap();
            frames.push(&bytes[at..]);
            found.extend(all(&mut frames).unwrap());
            let found: Vec<_> = found.iter().map(|(kind, payload)| (*kind, &payload[..])).collect();
            assert_eq!(found, sent, "cut at {at}");
        }
    }

    #[test]
    fn nothing_of_a_frame_can_be_changed() {
        let (mut sender, asked) = bindings();
        let bytes = frame(&mut sender, Kind::Piece, b"abc");
        for at in 0..bytes.len() {
            let mut turned = bytes.to_vec();
            turned[at] ^= 0x01;
            let mut frames = Frames::new(asked.clone());
            frames.push(&turned);
            // More is waited for where the length says so, and that ends with the connection or the time.
            assert!(!matches!(frames.next(), Ok(Some(_))), "a bit of byte {at}");
        }
        let mut giant = Frames::new(asked);
        giant.push(&[b'p', 255, 255, 255, 0]);
        assert_eq!(giant.next(), Err(Damaged), "what is too long is not waited for");
    }

    #[test]
    fn words() {
        for (refusal, _) in Refusal::ALL {
            assert_eq!(Refusal::read(refusal.label().as_bytes()), refusal);
        }
        assert_eq!(Refusal::read(b"a newer node's"), Refusal::Trouble);
    }
}
