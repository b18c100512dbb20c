//! Why a media playlist cannot be offered as an enhanced rendition.
//!
//! These are facts of the text alone; what the segments hold (codec, interlacing, size) is the probe's to say.

use super::{KeyMethod, MediaPlaylist};
use crate::uri::{self, Target};

/// A reason not to enhance, from the playlist's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Obstacle {
    /// `METHOD=SAMPLE-AES`: protected samples.
    SampleAes,
    /// `METHOD=SAMPLE-AES-CTR`: common encryption.
    Cenc,
    /// A method this edge does not know.
    KeyMethod,
    /// AES-128 whose key has a `KEYFORMAT` other than identity, or an IV that is missing or unreadable.
    KeyFormat,
    /// The key is on no configured origin: the edge may not fetch it.
    KeyForeign,
    /// Low-Latency HLS parts.
    LowLatencyParts,
    /// `EXT-X-I-FRAMES-ONLY`: trick play.
    IFramesOnly,
    /// A segment or map on no configured origin.
    ForeignUri,
    /// A segment or map whose URI is none, or leads into the edge's own reserved paths.
    UnreadableUri,
    /// `EXT-X-DEFINE:IMPORT`, whose multivariant playlist is not known here.
    DefineImport,
    /// `{$name}` that nothing defines.
    UndefinedVariable,
    /// A byte range whose offset cannot be known.
    ByterangeUnknown,
    /// A delta update (`EXT-X-SKIP`): keys, maps and offsets before it are missing.
    DeltaUpdate,
    /// Nothing to fetch.
    NoSegments,
}

impl Obstacle {
    /// Every obstacle.
    pub const ALL: [Self; 14] = [
        Self::SampleAes,
        Self::Cenc,
        Self::KeyMethod,
        Self::KeyFormat,
        Self::KeyForeign,
        Self::LowLatencyParts,
        Self::IFramesOnly,
        Self::ForeignUri,
        Self::UnreadableUri,
        Self::DefineImport,
        Self::UndefinedVariable,
        Self::ByterangeUnknown,
        Self::DeltaUpdate,
        Self::NoSegments,
    ];

    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::SampleAes => "sample_aes",
            Self::Cenc => "cenc",
            Self::KeyMethod => "key_method",
            Self::KeyFormat => "key_format",
            Self::KeyForeign => "key_foreign",
            Self::LowLatencyParts => "low_latency_parts",
            Self::IFramesOnly => "i_frames_only",
            Self::ForeignUri => "foreign_uri",
            Self::UnreadableUri => "unreadable_uri",
            Self::DefineImport => "define_import",
            Self::UndefinedVariable => "undefined_variable",
            Self::ByterangeUnknown => "byterange_unknown",
            Self::DeltaUpdate => "delta_update",
            Self::NoSegments => "no_segments",
        }
    }
}

impl MediaPlaylist {
    /// Everything that keeps this playlist from being enhanced, each once, the most telling first.
    pub fn obstacles(&self) -> Vec<Obstacle> {
        let mut found = Vec::new();
        for key in &self.keys {
            found.extend(match key.method {
                KeyMethod::None | KeyMethod::Aes128 => None,
                KeyMethod::SampleAes => Some(Obstacle::SampleAes),
                KeyMethod::SampleAesCtr => Some(Obstacle::Cenc),
                KeyMethod::Unknown => Some(Obstacle::KeyMethod),
            });
        }
        let live = || self.segments.iter().filter(|segment| !segment.gap);
        let encrypted = live().filter(|s| !s.keys.is_empty()).map(super::Segment::aes128);
        let maps = self.maps.iter().filter(|map| !map.keys.is_empty()).map(|map| map.aes128());
        for aes128 in encrypted.chain(maps) {
            match aes128 {
                None => found.push(Obstacle::KeyFormat),
                Some(aes128) if aes128.key.edge().is_none() => found.push(Obstacle::KeyForeign),
                Some(_) => {}
            }
        }
        if self.low_latency.parts + self.low_latency.preload_hints > 0
            || self.low_latency.part_target_seconds.is_some()
        {
            found.push(Obstacle::LowLatencyParts);
        }
        for target in live().map(|segment| &segment.target).chain(self.maps.iter().map(|map| &map.target)) {
            match target {
                Target::Edge(path) if path.starts_with(uri::RESERVED_PREFIX) => {
                    found.push(Obstacle::UnreadableUri)
                }
                Target::Edge(_) => {}
                Target::Foreign => found.push(Obstacle::ForeignUri),
                Target::Opaque => found.push(Obstacle::UnreadableUri),
            }
        }
        let ranges =
            live().map(|s| s.byte_range_unknown).chain(self.maps.iter().map(|m| m.byte_range_unknown));
        for (holds, obstacle) in [
            (self.i_frames_only, Obstacle::IFramesOnly),
            (self.import_missing, Obstacle::DefineImport),
            (self.undefined_variable, Obstacle::UndefinedVariable),
            (ranges.into_iter().any(|unknown| unknown), Obstacle::ByterangeUnknown),
            (self.skipped_segments.is_some(), Obstacle::DeltaUpdate),
            (live().next().is_none(), Obstacle::NoSegments),
        ] {
            if holds {
                found.push(obstacle);
            }
        }
        found.sort_unstable();
        found.dedup();
        found
    }
}
