//! Sample entries (ISO/IEC 14496-12, 8.5.2; 14496-14; 14496-15): which codec a track is in and how its
//! decoder is set up.

use bytes::Bytes;

use super::boxes::{BoxSpan, Kind, children};
use crate::container::bytes::{u8_at, u16_at};
use crate::container::{ParameterSets, VideoCodec};

/// Bytes of a visual sample entry before its child boxes.
pub(super) const VISUAL_ENTRY_BYTES: usize = 78;

/// What the sample entry of a video track says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct VideoEntry {
    pub(super) codec: VideoCodec,
    pub(super) encrypted: bool,
    /// Parameter sets stay in the samples (`avc3`), rather than in the entry alone (`avc1`).
    pub(super) in_band: bool,
    pub(super) width: u16,
    pub(super) height: u16,
    pub(super) parameter_sets: ParameterSets,
    /// Bytes of a NAL unit's length.
    pub(super) length_size: u8,
}

/// Sample entry types of H.264 with parameter sets in the entry, and with parameter sets in the samples.
pub(super) fn is_avc(kind: &Kind) -> bool {
    matches!(kind, b"avc1" | b"avc2" | b"avc3" | b"avc4" | b"dvav" | b"dva1")
}

impl VideoEntry {
    pub(super) fn read(data: &[u8], entry: &BoxSpan) -> Self {
        let boxes =
            children(data, entry.body.saturating_add(VISUAL_ENTRY_BYTES)..entry.end).unwrap_or_default();
        let original = original_format(data, &boxes);
        let encrypted = &entry.kind == b"encv" || original.is_some();
        let kind = original.unwrap_or(entry.kind);
        let codec = match &kind {
            kind if is_avc(kind) => VideoCodec::H264,
            b"hvc1" | b"hev1" | b"dvh1" | b"dvhe" => VideoCodec::Hevc,
            b"mp2v" => VideoCodec::Mpeg2,
            other => VideoCodec::Other(u32::from_be_bytes(*other)),
        };
        let avcc = boxes.iter().find(|child| &child.kind == b"avcC").map(|child| child.body_of(data));
        Self {
            codec,
            encrypted,
            in_band: matches!(&kind, b"avc3" | b"avc4" | b"dvav"),
            width: u16_at(data, entry.body + 24).unwrap_or(0),
            height: u16_at(data, entry.body + 26).unwrap_or(0),
            length_size: avcc.and_then(|record| u8_at(record, 4)).map_or(4, |byte| (byte & 3) + 1),
            parameter_sets: avcc.map(read_avcc).unwrap_or_default(),
        }
    }
}

/// `frma` inside the protection scheme information, where there is one.
fn original_format(data: &[u8], boxes: &[BoxSpan]) -> Option<Kind> {
    let sinf = boxes.iter().find(|child| &child.kind == b"sinf")?;
    let inner = children(data, sinf.body..sinf.end).ok()?;
    inner.iter().find(|child| &child.kind == b"frma")?.body_of(data).first_chunk::<4>().copied()
}

/// The parameter sets of an `AVCDecoderConfigurationRecord` (14496-15, 5.3.3.1); what is cut off is left out.
fn read_avcc(record: &[u8]) -> ParameterSets {
    let mut at = 5;
    let mut list = |count_mask: u8| {
        let count = u8_at(record, at).unwrap_or(0) & count_mask;
        at += 1;
        (0..count)
            .map_while(|_| {
                let length = usize::from(u16_at(record, at)?);
                let nal = record.get(at + 2..at + 2 + length)?;
                at += 2 + length;
                Some(Bytes::copy_from_slice(nal))
            })
            .collect()
    };
    ParameterSets { sps: list(0x1f), pps: list(0xff), avcc: Some(Bytes::copy_from_slice(record)) }
}

/// RFC 6381 string of an audio sample entry where it can be told, and whether the track is encrypted.
pub(super) fn audio_codec(data: &[u8], entry: &BoxSpan) -> (Option<String>, bool) {
    // QuickTime's versions 1 and 2 of the entry are longer
    let fixed = match u16_at(data, entry.body + 8) {
        Some(1) => 44,
        Some(2) => 64,
        _ => 28,
    };
    let boxes = children(data, entry.body.saturating_add(fixed)..entry.end).unwrap_or_default();
    let original = original_format(data, &boxes);
    let encrypted = &entry.kind == b"enca" || original.is_some();
    let codec = match &original.unwrap_or(entry.kind) {
        b"mp4a" => boxes
            .iter()
            .find(|child| &child.kind == b"esds")
            .and_then(|esds| esds_codec(esds.body_of(data).get(4..)?)),
        b"ac-3" => Some("ac-3".to_owned()),
        b"ec-3" => Some("ec-3".to_owned()),
        b"Opus" => Some("opus".to_owned()),
        b"fLaC" => Some("flac".to_owned()),
        b"alac" => Some("alac".to_owned()),
        b".mp3" => Some("mp4a.40.34".to_owned()),
        _ => None,
    };
    (codec, encrypted)
}

/// `mp4a.` with object type indication and, for MPEG-4 audio, audio object type, from the descriptors in
/// `esds` (14496-1, 7.2.6).
fn esds_codec(descriptors: &[u8]) -> Option<String> {
    let es = descriptor(descriptors, 0x03)?;
    let flags = u8_at(es, 2)?;
    let mut at = 3;
    if flags & 0x80 != 0 {
        at += 2; // dependsOn_ES_ID
    }
    if flags & 0x40 != 0 {
        at += 1 + usize::from(u8_at(es, at)?); // URL
    }
    if flags & 0x20 != 0 {
        at += 2; // OCR_ES_Id
    }
    let decoder = descriptor(es.get(at..)?, 0x04)?;
    let object_type_indication = u8_at(decoder, 0)?;
    if object_type_indication != 0x40 {
        return Some(format!("mp4a.{object_type_indication:02x}"));
    }
    let specific = descriptor(decoder.get(13..)?, 0x05)?;
    let first = u8_at(specific, 0)?;
    let object_type = match first >> 3 {
        31 => 32 + ((first & 7) << 3 | u8_at(specific, 1)? >> 5),
        object_type => object_type,
    };
    Some(format!("mp4a.40.{object_type}"))
}

/// Payload of the descriptor that begins here, if it has this tag. Sizes are written seven bits a byte.
fn descriptor(data: &[u8], tag: u8) -> Option<&[u8]> {
    if u8_at(data, 0)? != tag {
        return None;
    }
    let mut size = 0usize;
    for at in 1..5 {
        let byte = u8_at(data, at)?;
        size = size << 7 | usize::from(byte & 0x7f);
        if byte & 0x80 == 0 {
            let rest = data.get(at + 1..)?;
            return Some(rest.get(..size).unwrap_or(rest));
        }
    }
    None
}
