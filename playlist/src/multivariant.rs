//! Multivariant playlists: variants and renditions read for planning, enhanced variants written in.
//!
//! Reading never fails and never loses a variant: a missing BANDWIDTH, a quoted FRAME-RATE, a decimal where an
//! integer is due leave a field empty or are read as meant.

mod read;
mod rewrite;
#[cfg(test)]
mod tests;

pub use rewrite::{Insertion, Rewrite, SESSION_DESCRIPTION_ID, SESSION_MODEL_ID, SessionModel};

use crate::lines::Lines;
use crate::uri::{Base, Target};
use crate::variables::Variables;

/// A multivariant playlist. Owns its text.
#[derive(Debug, Clone)]
pub struct Multivariant {
    lines: Lines,
    /// Variants (`EXT-X-STREAM-INF`) in order.
    pub variants: Vec<Variant>,
    /// Renditions (`EXT-X-MEDIA`) in order.
    pub renditions: Vec<Rendition>,
    /// `EXT-X-DEFINE`.
    pub variables: Variables,
    /// `EXT-X-CONTENT-STEERING` is there: players may be sent to another pathway.
    pub content_steering: bool,
    /// `EXT-X-SESSION-KEY` is there.
    pub session_keys: bool,
    /// Number of `EXT-X-I-FRAME-STREAM-INF`.
    pub i_frame_variants: usize,
    /// `EXT-X-SESSION-DATA`, in order.
    pub session_data: Vec<SessionData>,
    uris: Vec<UriPlace>,
}

/// A size in pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Resolution {
    /// Pixels per line.
    pub width: u32,
    /// Lines.
    pub height: u32,
}

/// A variant stream.
#[derive(Debug, Clone, PartialEq)]
pub struct Variant {
    /// The `EXT-X-STREAM-INF` line.
    pub line: usize,
    /// The URI line, after `line`; comments and other tags may stand between.
    pub uri_line: usize,
    /// The URI as written.
    pub uri: String,
    /// Where it leads.
    pub target: Target,
    /// `BANDWIDTH`, bit/s.
    pub bandwidth_bps: Option<u64>,
    /// `AVERAGE-BANDWIDTH`, bit/s.
    pub average_bandwidth_bps: Option<u64>,
    /// `CODECS`, each trimmed; empty if absent.
    pub codecs: Vec<String>,
    /// `RESOLUTION`.
    pub resolution: Option<Resolution>,
    /// `FRAME-RATE`, frames/s.
    pub frame_rate: Option<f64>,
    /// `AUDIO` group.
    pub audio: Option<String>,
    /// `VIDEO` group.
    pub video: Option<String>,
    /// `SUBTITLES` group.
    pub subtitles: Option<String>,
    /// `CLOSED-CAPTIONS` group or `NONE`.
    pub closed_captions: Option<String>,
    /// `VIDEO-RANGE`.
    pub video_range: Option<String>,
    /// `REQ-VIDEO-LAYOUT`.
    pub video_layout: Option<String>,
    /// `HDCP-LEVEL`.
    pub hdcp_level: Option<String>,
    /// `STABLE-VARIANT-ID`.
    pub stable_variant_id: Option<String>,
    /// `PATHWAY-ID`, `.` by default.
    pub pathway_id: String,
    /// `SCORE`.
    pub score: Option<f64>,
}

/// What video a variant declares.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum DeclaredVideo {
    /// H.264 (`avc1`, `avc3`).
    H264,
    /// Another video codec.
    Other,
    /// CODECS names audio only, and there is no RESOLUTION.
    Nothing,
    /// No CODECS.
    Unknown,
}

/// A rendition (`EXT-X-MEDIA`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Rendition {
    /// The tag's line.
    pub line: usize,
    /// `TYPE`: `AUDIO`, `VIDEO`, `SUBTITLES`, `CLOSED-CAPTIONS`.
    pub kind: String,
    /// `GROUP-ID`.
    pub group: String,
    /// `NAME`.
    pub name: String,
    /// `LANGUAGE`.
    pub language: Option<String>,
    /// `CHANNELS`.
    pub channels: Option<String>,
    /// `URI` as written; absent: muxed into the variant.
    pub uri: Option<String>,
    /// Where the URI leads; [`Target::Opaque`] without URI.
    pub target: Target,
    /// `DEFAULT=YES`.
    pub default: bool,
}

/// A statement about the whole presentation (`EXT-X-SESSION-DATA`).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionData {
    /// `DATA-ID`.
    pub id: String,
    /// `VALUE`; absent where the statement is behind a URI.
    pub value: Option<String>,
}

/// A URI in the playlist and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
struct UriPlace {
    line: usize,
    /// A `URI` attribute of a tag, or the line itself.
    attribute: bool,
    /// The reference to an edge path it should be changed to, because left alone it would lead off the edge or astray.
    mapped: String,
}

impl Multivariant {
    /// Reads a playlist.
    pub fn parse(text: impl Into<String>, base: &Base<'_>) -> Self {
        read::read(Lines::read(text), base)
    }

    /// The playlist's text as it came.
    pub fn source(&self) -> &str {
        self.lines.source()
    }

    /// The value of the first session data of that `DATA-ID` that has one.
    pub fn session_value(&self, id: &str) -> Option<&str> {
        self.session_data.iter().filter(|data| data.id == id).find_map(|data| data.value.as_deref())
    }

    /// The renditions of an audio group.
    pub fn audio_group<'a>(&'a self, group: &'a str) -> impl Iterator<Item = &'a Rendition> {
        self.renditions.iter().filter(move |rendition| rendition.kind == "AUDIO" && rendition.group == group)
    }
}

/// Sample entry names of audio and subtitle codecs; the rest of CODECS is video.
const NO_VIDEO: [&str; 14] = [
    "mp4a", "ac-3", "ec-3", "ac-4", "fLaC", "flac", "opus", "Opus", "alac", "apac", "mhm1", "wvtt", "stpp",
    "dtsc",
];

/// Whether a CODECS entry is H.264.
pub fn is_h264(codec: &str) -> bool {
    matches!(family(codec), "avc1" | "avc3")
}

/// Whether a CODECS entry is video.
pub fn is_video(codec: &str) -> bool {
    !NO_VIDEO.contains(&family(codec)) && !family(codec).starts_with("dts")
}

/// The sample entry: what stands before the first dot.
pub fn family(codec: &str) -> &str {
    codec.split('.').next().unwrap_or_default()
}

impl Variant {
    /// What video it declares.
    pub fn declared_video(&self) -> DeclaredVideo {
        if self.codecs.is_empty() {
            return DeclaredVideo::Unknown;
        }
        match self.codecs.iter().find(|codec| is_video(codec)) {
            Some(codec) if is_h264(codec) => DeclaredVideo::H264,
            Some(_) => DeclaredVideo::Other,
            None if self.resolution.is_some() => DeclaredVideo::Unknown,
            None => DeclaredVideo::Nothing,
        }
    }

    /// Whether it is not declared as something other than standard dynamic range.
    pub fn is_sdr(&self) -> bool {
        self.video_range.as_deref().is_none_or(|range| range == "SDR")
    }

    /// CODECS entries that are not video, in order.
    pub fn other_codecs(&self) -> impl Iterator<Item = &str> {
        self.codecs.iter().map(String::as_str).filter(|codec| !is_video(codec))
    }
}
