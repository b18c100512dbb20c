//! The reading pass: one walk over the lines, state that applies to what follows.

use super::{Key, LowLatency, Map, MediaPlaylist, PlaylistType, Segment, ServerControl};
use crate::attributes::Attributes;
use crate::lines::{Content, Lines};
use crate::uri::{Base, ByteRange, Target};
use crate::variables::Variables;
use std::collections::BTreeMap;
use std::sync::Arc;

/// What tags said about segments to come.
#[derive(Default)]
struct Pending {
    duration_seconds: Option<f64>,
    discontinuity: bool,
    /// The tag's line, and the range if it can be read.
    byte_range: Option<(usize, Option<WrittenRange>)>,
    program_date_time: Option<String>,
    gap: bool,
}

/// Length, and offset if it is given.
type WrittenRange = (u64, Option<u64>);

struct Reader<'a, 'b> {
    base: &'a Base<'b>,
    imported: &'a BTreeMap<String, String>,
    variables: Variables,
    playlist: MediaPlaylist,
    pending: Pending,
    keys: Vec<Arc<Key>>,
    map: Option<Arc<Map>>,
    bitrate_kbps: Option<u64>,
    discontinuities: u64,
    /// Of the previous segment: where it leads, and the end of its range.
    previous: Option<(Target, u64)>,
}

pub(super) fn read(lines: Lines, base: &Base<'_>, imported: &BTreeMap<String, String>) -> MediaPlaylist {
    let playlist = MediaPlaylist {
        lines: Lines::read(""),
        edge_path: base.edge_path(),
        target_duration_seconds: None,
        media_sequence: 0,
        discontinuity_sequence: 0,
        ended: false,
        playlist_type: None,
        independent_segments: false,
        i_frames_only: false,
        low_latency: LowLatency::default(),
        server_control: None,
        skipped_segments: None,
        segments: Vec::new(),
        maps: Vec::new(),
        keys: Vec::new(),
        dropped_lines: Vec::new(),
        import_missing: false,
        undefined_variable: false,
    };
    let mut reader = Reader {
        base,
        imported,
        variables: Variables::default(),
        playlist,
        pending: Pending::default(),
        keys: Vec::new(),
        map: None,
        bitrate_kbps: None,
        discontinuities: 0,
        previous: None,
    };
    for (line, content) in lines.iter() {
        match content {
            Content::Tag { name, value } => reader.tag(line, name, value.unwrap_or_default()),
            Content::Uri(uri) => reader.segment(line, uri),
            Content::Blank | Content::Other => {}
        }
    }
    reader.finish(lines)
}

impl Reader<'_, '_> {
    fn tag(&mut self, line: usize, name: &str, value: &str) {
        let playlist = &mut self.playlist;
        match name {
            "EXT-X-TARGETDURATION" => playlist.target_duration_seconds = seconds(value).filter(|s| *s > 0.0),
            "EXT-X-MEDIA-SEQUENCE" => playlist.media_sequence = value.parse().unwrap_or(0),
            "EXT-X-DISCONTINUITY-SEQUENCE" => playlist.discontinuity_sequence = value.parse().unwrap_or(0),
            "EXT-X-ENDLIST" => playlist.ended = true,
            "EXT-X-PLAYLIST-TYPE" => {
                playlist.playlist_type = match value {
                    "VOD" => Some(PlaylistType::Vod),
                    "EVENT" => Some(PlaylistType::Event),
                    _ => None,
                }
            }
            "EXT-X-INDEPENDENT-SEGMENTS" => playlist.independent_segments = true,
            "EXT-X-I-FRAMES-ONLY" => playlist.i_frames_only = true,
            "EXT-X-PART" => playlist.low_latency.parts += 1,
            "EXT-X-PRELOAD-HINT" => playlist.low_latency.preload_hints += 1,
            "EXT-X-RENDITION-REPORT" => playlist.low_latency.rendition_reports += 1,
            "EXT-X-PART-INF" => {
                playlist.low_latency.part_target_seconds =
                    Attributes::read(value).decimal("PART-TARGET").or(Some(0.0));
            }
            "EXT-X-SERVER-CONTROL" => {
                let attributes = Attributes::read(value);
                playlist.server_control = Some(ServerControl {
                    can_block_reload: attributes.yes("CAN-BLOCK-RELOAD"),
                    can_skip_until_seconds: attributes.decimal("CAN-SKIP-UNTIL"),
                    hold_back_seconds: attributes.decimal("HOLD-BACK"),
                    part_hold_back_seconds: attributes.decimal("PART-HOLD-BACK"),
                });
            }
            "EXT-X-SKIP" => {
                playlist.skipped_segments =
                    Some(Attributes::read(value).integer("SKIPPED-SEGMENTS").unwrap_or(0));
            }
            "EXT-X-DEFINE" => self.variables.define(value, self.base.query(), self.imported),
            "EXTINF" => self.pending.duration_seconds = value.split(',').next().and_then(seconds),
            "EXT-X-DISCONTINUITY" => {
                self.pending.discontinuity = true;
                self.discontinuities += 1;
            }
            "EXT-X-BYTERANGE" => {
                let range = quick_m3u8::tag::TagValue(value.as_bytes()).try_as_decimal_integer_range().ok();
                playlist.dropped_lines.extend(self.pending.byte_range.map(|(line, _)| line));
                self.pending.byte_range = Some((line, range.map(|range| (range.length, range.offset))));
            }
            "EXT-X-PROGRAM-DATE-TIME" => self.pending.program_date_time = Some(value.to_owned()),
            "EXT-X-GAP" => self.pending.gap = true,
            "EXT-X-BITRATE" => {
                playlist.dropped_lines.push(line);
                self.bitrate_kbps = value.parse().ok();
            }
            "EXT-X-KEY" => {
                let key = Key::read(line, value, |uri| resolve(self.base, &self.variables, uri));
                let key = Arc::new(key);
                key.enter(&mut self.keys);
                playlist.keys.push(key);
            }
            "EXT-X-MAP" => self.map(line, value),
            _ => {}
        }
    }

    fn map(&mut self, line: usize, value: &str) {
        let attributes = Attributes::read(value);
        let uri = attributes.text("URI").unwrap_or_default();
        let (target, substituted) = self.locate(&uri);
        let range = attributes.get("BYTERANGE");
        // Without an offset a map's range starts at 0 (RFC 8216bis section 4.4.4.5).
        let byte_range = range
            .and_then(|range| ByteRange::parse(range).or_else(|| ByteRange::parse(&format!("{range}@0"))));
        let map = Arc::new(Map {
            line,
            uri,
            target,
            byte_range,
            byte_range_unknown: range.is_some() && byte_range.is_none(),
            keys: self.keys.clone(),
            substituted,
        });
        self.map = Some(Arc::clone(&map));
        self.playlist.maps.push(map);
    }

    fn segment(&mut self, line: usize, uri: &str) {
        let pending = std::mem::take(&mut self.pending);
        let (target, substituted) = self.locate(uri);
        let mut byte_range = None;
        if let Some((_, Some((length, offset)))) = pending.byte_range {
            // Without an offset the range follows the previous one of the same resource.
            let implicit =
                || self.previous.as_ref().filter(|(resource, _)| *resource == target).map(|(_, end)| *end);
            byte_range = offset.or_else(implicit).map(|offset| ByteRange { length, offset });
            byte_range = byte_range.filter(|range| range.length > 0 && range.end().is_some());
        }
        self.previous = byte_range.and_then(|range| Some((target.clone(), range.end()?)));
        self.playlist.segments.push(Segment {
            line,
            uri: uri.to_owned(),
            target,
            msn: 0,
            discontinuity_sequence: self.discontinuities,
            duration_seconds: pending.duration_seconds.unwrap_or(f64::NAN),
            discontinuity: pending.discontinuity,
            keys: self.keys.clone(),
            map: self.map.clone(),
            byte_range_unknown: pending.byte_range.is_some() && byte_range.is_none(),
            byte_range_line: pending.byte_range.map(|(line, _)| line),
            byte_range,
            program_date_time: pending.program_date_time,
            gap: pending.gap,
            bitrate_kbps: self.bitrate_kbps,
            substituted,
        });
    }

    fn locate(&mut self, uri: &str) -> (Target, Option<String>) {
        let (target, substituted, defined) = {
            let (target, substituted) = resolve(self.base, &self.variables, uri);
            let defined = !uri.contains("{$") || self.variables.substitute(uri).is_some();
            (target, substituted, defined)
        };
        self.playlist.undefined_variable |= !defined;
        (target, substituted)
    }

    /// What could only be known at the end: sequence tags may stand after the first segment in sloppy playlists.
    fn finish(mut self, lines: Lines) -> MediaPlaylist {
        let playlist = &mut self.playlist;
        let first = playlist.media_sequence.saturating_add(playlist.skipped_segments.unwrap_or(0));
        let missing = playlist.target_duration_seconds.unwrap_or(0.0);
        for (index, segment) in (0u64..).zip(&mut playlist.segments) {
            segment.msn = first.saturating_add(index);
            segment.discontinuity_sequence =
                segment.discontinuity_sequence.saturating_add(playlist.discontinuity_sequence);
            if segment.duration_seconds.is_nan() {
                segment.duration_seconds = missing;
            }
        }
        playlist.import_missing = self.variables.import_missing;
        playlist.undefined_variable |= self.variables.parameter_missing;
        playlist.lines = lines;
        self.playlist
    }
}

/// Where a URI leads after substitution, and the substituted text if it differs.
fn resolve(base: &Base<'_>, variables: &Variables, uri: &str) -> (Target, Option<String>) {
    match variables.substitute(uri) {
        Some(std::borrow::Cow::Borrowed(uri)) => (base.resolve(uri), None),
        Some(std::borrow::Cow::Owned(uri)) => (base.resolve(&uri), Some(uri)),
        None => (Target::Opaque, None),
    }
}

/// A finite number of seconds, not below 0.
fn seconds(text: &str) -> Option<f64> {
    text.trim().parse().ok().filter(|seconds: &f64| seconds.is_finite() && *seconds >= 0.0)
}
