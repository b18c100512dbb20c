//! Media playlists: what the edge needs to know of one, and why a rendition may not be enhanced.
//!
//! Reading never fails: what is odd is skipped and what is missing has a default, as players do. Whether the result
//! can be *enhanced* is another question, answered by [`MediaPlaylist::obstacles`].
//!
//! [`rewrite`](MediaPlaylist::rewrite) gives the media playlist of an enhanced rendition,
//! [`find`](MediaPlaylist::find) the segment or map that a request below the rendition's token means.

mod find;
mod keys;
mod obstacle;
mod read;
mod rewrite;
#[cfg(test)]
mod tests;

pub use find::Found;
pub use keys::{Aes128, Key, KeyMethod};
pub use obstacle::Obstacle;

use crate::lines::Lines;
use crate::uri::{Base, ByteRange, Target};
use std::collections::BTreeMap;
use std::sync::Arc;

/// A media playlist. Owns its text; cheap to share behind an `Arc`.
#[derive(Debug, Clone)]
pub struct MediaPlaylist {
    lines: Lines,
    edge_path: String,
    /// `EXT-X-TARGETDURATION` in seconds; `None` if absent or unreadable.
    pub target_duration_seconds: Option<f64>,
    /// `EXT-X-MEDIA-SEQUENCE`, 0 by default.
    pub media_sequence: u64,
    /// `EXT-X-DISCONTINUITY-SEQUENCE`, 0 by default.
    pub discontinuity_sequence: u64,
    /// `EXT-X-ENDLIST` is there: the playlist will not change.
    pub ended: bool,
    /// `EXT-X-PLAYLIST-TYPE`.
    pub playlist_type: Option<PlaylistType>,
    /// `EXT-X-INDEPENDENT-SEGMENTS`.
    pub independent_segments: bool,
    /// `EXT-X-I-FRAMES-ONLY`.
    pub i_frames_only: bool,
    /// Low-latency tags seen.
    pub low_latency: LowLatency,
    /// `EXT-X-SERVER-CONTROL`.
    pub server_control: Option<ServerControl>,
    /// `SKIPPED-SEGMENTS` of `EXT-X-SKIP`: this is a delta update, whose first segment comes that many later.
    pub skipped_segments: Option<u64>,
    /// Segments in order.
    pub segments: Vec<Segment>,
    /// Media initialisation sections (`EXT-X-MAP`) in order.
    pub maps: Vec<Arc<Map>>,
    /// Every `EXT-X-KEY` in order, those of METHOD=NONE included.
    pub keys: Vec<Arc<Key>>,
    /// Lines that no enhanced playlist has, whatever they stand before: `EXT-X-BITRATE`, and `EXT-X-BYTERANGE` that another replaces.
    dropped_lines: Vec<usize>,
    import_missing: bool,
    undefined_variable: bool,
}

/// `EXT-X-PLAYLIST-TYPE`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaylistType {
    /// Will not change.
    Vod,
    /// Only grows.
    Event,
}

/// What there is of Low-Latency HLS.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct LowLatency {
    /// Number of `EXT-X-PART`.
    pub parts: usize,
    /// Number of `EXT-X-PRELOAD-HINT`.
    pub preload_hints: usize,
    /// Number of `EXT-X-RENDITION-REPORT`.
    pub rendition_reports: usize,
    /// `PART-TARGET` of `EXT-X-PART-INF`, seconds.
    pub part_target_seconds: Option<f64>,
}

/// `EXT-X-SERVER-CONTROL`: what the origin does for players.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct ServerControl {
    /// `CAN-BLOCK-RELOAD=YES`: `_HLS_msn` makes the origin wait.
    pub can_block_reload: bool,
    /// `CAN-SKIP-UNTIL`, seconds: `_HLS_skip` gives delta updates.
    pub can_skip_until_seconds: Option<f64>,
    /// `HOLD-BACK`, seconds.
    pub hold_back_seconds: Option<f64>,
    /// `PART-HOLD-BACK`, seconds.
    pub part_hold_back_seconds: Option<f64>,
}

/// A media segment.
#[derive(Debug, Clone, PartialEq)]
pub struct Segment {
    /// The URI's line.
    pub line: usize,
    /// The URI as written, without surrounding blanks.
    pub uri: String,
    /// Where it leads.
    pub target: Target,
    /// Media sequence number.
    pub msn: u64,
    /// Discontinuity sequence number.
    pub discontinuity_sequence: u64,
    /// `EXTINF`, for decisions only (the line itself is never rewritten); the target duration if absent.
    pub duration_seconds: f64,
    /// `EXT-X-DISCONTINUITY` stands before it.
    pub discontinuity: bool,
    /// The keys in force, one per `KEYFORMAT`; empty: clear.
    pub keys: Vec<Arc<Key>>,
    /// The map in force.
    pub map: Option<Arc<Map>>,
    /// The part of the resource it is, implicit offsets resolved.
    pub byte_range: Option<ByteRange>,
    /// A range whose offset cannot be known (or that cannot be read).
    pub byte_range_unknown: bool,
    /// `EXT-X-PROGRAM-DATE-TIME` as written, if it stands before this segment.
    pub program_date_time: Option<String>,
    /// `EXT-X-GAP`: there is nothing to fetch.
    pub gap: bool,
    /// `EXT-X-BITRATE` in force, kbit/s.
    pub bitrate_kbps: Option<u64>,
    byte_range_line: Option<usize>,
    substituted: Option<String>,
}

/// A media initialisation section.
#[derive(Debug, Clone, PartialEq)]
pub struct Map {
    /// The tag's line.
    pub line: usize,
    /// The URI as written.
    pub uri: String,
    /// Where it leads.
    pub target: Target,
    /// The part of the resource it is.
    pub byte_range: Option<ByteRange>,
    /// A range that cannot be read.
    pub byte_range_unknown: bool,
    /// The keys in force where it stands.
    pub keys: Vec<Arc<Key>>,
    substituted: Option<String>,
}

impl MediaPlaylist {
    /// Reads a playlist. `imported`: what the multivariant playlist defined, if that is known.
    pub fn parse(text: impl Into<String>, base: &Base<'_>, imported: &BTreeMap<String, String>) -> Self {
        read::read(Lines::read(text), base, imported)
    }

    /// The playlist's text as it came.
    pub fn source(&self) -> &str {
        self.lines.source()
    }

    /// The playlist's own edge path and query.
    pub fn edge_path(&self) -> &str {
        &self.edge_path
    }

    /// The durations, in seconds, of the shortest and longest segments that count for the peak bit rate: RFC 8216bis
    /// section 4.4.6.2 takes segments of 0.5 to 1.5 target durations. Without one of these, of all segments. In a playlist
    /// that goes on, the shortest that may yet come counts, half a target duration: what is promised now must hold then,
    /// and must not change while the playlist slides.
    pub fn counted_segment_seconds(&self) -> Option<(f64, f64)> {
        let range = |from: f64, to: f64| {
            let counted = self.segments.iter().filter(|segment| !segment.gap).map(|s| s.duration_seconds);
            let counted = counted.filter(|seconds| *seconds > 0.0 && *seconds >= from && *seconds <= to);
            counted.fold(None, |bounds, seconds| match bounds {
                None => Some((seconds, seconds)),
                Some((shortest, longest)) => Some((f64::min(shortest, seconds), f64::max(longest, seconds))),
            })
        };
        let target = self.target_duration_seconds.unwrap_or(f64::INFINITY);
        let (shortest, longest) = range(0.5 * target, 1.5 * target).or_else(|| range(0.0, f64::INFINITY))?;
        let may_come = if self.ended || !target.is_finite() { shortest } else { 0.5 * target };
        Some((shortest.min(may_come), longest))
    }

    /// The first segment worth fetching to learn about the source.
    pub fn probe_segment(&self) -> Option<&Segment> {
        self.segments.iter().find(|segment| !segment.gap && segment.target.edge().is_some())
    }
}

impl Segment {
    /// The resource below a token: edge path and query, with the range parameter if it is a part of a resource.
    pub fn enhanced_path(&self) -> Option<String> {
        enhanced_path(&self.target, self.byte_range)
    }

    /// Key and IV if the segment is AES-128 encrypted as a whole (`KEYFORMAT` identity).
    pub fn aes128(&self) -> Option<Aes128> {
        keys::aes128(&self.keys, Some(self.msn))
    }
}

impl Map {
    /// As [`Segment::enhanced_path`].
    pub fn enhanced_path(&self) -> Option<String> {
        enhanced_path(&self.target, self.byte_range)
    }

    /// Key and IV if the map is AES-128 encrypted; a map has no sequence number, so the IV must be explicit.
    pub fn aes128(&self) -> Option<Aes128> {
        keys::aes128(&self.keys, None)
    }
}

fn enhanced_path(target: &Target, range: Option<ByteRange>) -> Option<String> {
    let path = target.edge()?;
    Some(range.map_or_else(|| path.to_owned(), |range| crate::uri::with_range(path, range)))
}
