//! Which audio a program carries, as far as CODECS needs to know. Audio itself is never touched.

use super::psi::Stream;
use crate::container::bytes::u8_at;

/// An audio stream as its program map entry describes it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Audio {
    kind: Kind,
    pub(super) encrypted: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Adts,
    Mpeg,
    Ac3,
    Eac3,
    Ac4,
    Opus,
    Unknown,
}

impl Audio {
    /// `None` for streams that are not audio.
    pub(super) fn of(stream: &Stream) -> Option<Self> {
        let clear = |kind| Some(Self { kind, encrypted: false });
        let sample_aes = |kind| Some(Self { kind, encrypted: true });
        match stream.stream_type {
            0x03 | 0x04 => clear(Kind::Mpeg),
            0x0f => clear(Kind::Adts),
            0x11 | 0x1c | 0x82 | 0x85 | 0x8a => clear(Kind::Unknown), // LATM, raw AAC, DTS
            0x81 => clear(Kind::Ac3),
            0x84 | 0x87 => clear(Kind::Eac3),
            0xcf => sample_aes(Kind::Adts),
            0xc1 => sample_aes(Kind::Ac3),
            0xc2 => sample_aes(Kind::Eac3),
            0x06 => match (stream.registration(), dvb_kind(stream)) {
                (Some(b"AC-3"), _) => clear(Kind::Ac3),
                (Some(b"EAC3"), _) => clear(Kind::Eac3),
                (Some(b"AC-4"), _) => clear(Kind::Ac4),
                (Some(b"Opus"), _) => clear(Kind::Opus),
                (_, Some(kind)) => clear(kind),
                _ => None,
            },
            _ => None,
        }
    }

    /// RFC 6381 string. `payload` is the begin of the first PES payload, empty where there is none.
    pub(super) fn codec_string(self, payload: &[u8]) -> Option<String> {
        match self.kind {
            Kind::Adts => Some(adts_codec(payload)),
            Kind::Mpeg => Some(mpeg_codec(payload).to_owned()),
            Kind::Ac3 => Some("ac-3".to_owned()),
            Kind::Eac3 => Some("ec-3".to_owned()),
            Kind::Opus => Some("opus".to_owned()),
            Kind::Ac4 | Kind::Unknown => None,
        }
    }
}

/// Descriptors of DVB (ETSI EN 300 468, 6.2) that make private data audio.
fn dvb_kind(stream: &Stream) -> Option<Kind> {
    [(0x6a, Kind::Ac3), (0x7a, Kind::Eac3), (0x7b, Kind::Unknown), (0x7c, Kind::Unknown)]
        .into_iter()
        .find(|(tag, _)| stream.descriptor(*tag).is_some())
        .map(|(_, kind)| kind)
}

/// The profile bits of an ADTS header are the audio object type minus one. HE-AAC signalled implicitly says
/// LC here, as it does to every player that reads the same bytes.
fn adts_codec(payload: &[u8]) -> String {
    let header = payload.windows(3).find(|bytes| matches!(bytes, [0xff, second, _] if second & 0xf6 == 0xf0));
    let object_type = header.and_then(|bytes| u8_at(bytes, 2)).map_or(2, |byte| (byte >> 6) + 1);
    format!("mp4a.40.{object_type}")
}

/// Layer III unless the frame header says layer I or II.
fn mpeg_codec(payload: &[u8]) -> &'static str {
    match payload {
        [0xff, second, ..] if second & 0xe0 == 0xe0 => match second >> 1 & 3 {
            3 => "mp4a.40.32",
            2 => "mp4a.40.33",
            _ => "mp4a.40.34",
        },
        _ => "mp4a.40.34",
    }
}
