//! Movie fragments (ISO/IEC 14496-12, 8.8): which samples a segment holds, where their bytes lie and when
//! they are shown.

use std::ops::Range;

use super::boxes::{BoxSpan, children};
use super::init::{Defaults, Track};
use crate::container::bytes::{u8_at, u24_at, u32_at, u64_at};
use crate::container::{ContainerError, MAX_UNITS};

/// Track runs in one segment: one-frame fragments of a few tracks for minutes stay far below.
const RUNS: usize = 100_000;

// tf_flags
pub(super) const BASE_DATA_OFFSET: u32 = 0x1;
const DESCRIPTION_INDEX: u32 = 0x2;
const DEFAULT_DURATION: u32 = 0x8;
const DEFAULT_SIZE: u32 = 0x10;
const DEFAULT_FLAGS: u32 = 0x20;
pub(super) const BASE_IS_MOOF: u32 = 0x2_0000;
// tr_flags
pub(super) const DATA_OFFSET: u32 = 0x1;
const FIRST_FLAGS: u32 = 0x4;
pub(super) const SAMPLE_DURATION: u32 = 0x100;
pub(super) const SAMPLE_SIZE: u32 = 0x200;
pub(super) const SAMPLE_FLAGS: u32 = 0x400;
pub(super) const SAMPLE_OFFSET: u32 = 0x800;
/// sample_is_non_sync_sample
const NON_SYNC: u32 = 0x1_0000;

/// A movie fragment.
#[derive(Debug, Clone)]
pub(super) struct Fragment {
    pub(super) span: BoxSpan,
    pub(super) tracks: Vec<TrackFragment>,
}

/// What data offsets of a track fragment count from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Base {
    /// The begin of the movie fragment.
    Fragment,
    /// An offset written in the header. Players of separate segments take it to mean the fragment's begin
    /// whatever it says, as it counts in a file that the segment may have been cut from; the splice leaves it
    /// out.
    Explicit(u64),
    /// The end of the data of the track fragment before this one.
    End,
}

/// One track's part of a movie fragment.
#[derive(Debug, Clone)]
pub(super) struct TrackFragment {
    pub(super) span: BoxSpan,
    pub(super) is_video: bool,
    pub(super) base: Base,
    pub(super) runs: Vec<Run>,
    /// One past the last byte of its data.
    pub(super) data_end: u64,
    pub(super) has_encryption: bool,
    /// It has tables of absolute positions that would have to be moved.
    pub(super) has_offsets: bool,
}

/// A track run.
#[derive(Debug, Clone)]
pub(super) struct Run {
    pub(super) span: BoxSpan,
    pub(super) version: u8,
    pub(super) flags: u32,
    /// Where its data begins in the segment.
    pub(super) data_at: u64,
    /// Its samples, as a range of [`Fragments::samples`]; empty for other tracks.
    pub(super) samples: Range<usize>,
}

/// A sample of the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Sample {
    /// Its bytes in the segment, cut where the segment ends.
    pub(super) bytes: Range<usize>,
    pub(super) dts: i64,
    pub(super) pts: i64,
    pub(super) duration: u32,
    pub(super) is_sync: bool,
}

/// All fragments of a segment and the samples of its video, in decode order.
#[derive(Debug, Clone, Default)]
pub(super) struct Fragments {
    pub(super) list: Vec<Fragment>,
    pub(super) samples: Vec<Sample>,
}

/// Walks through the fragments of a segment.
pub(super) struct Reader<'a> {
    data: &'a [u8],
    tracks: &'a [Track],
    video_id: Option<u32>,
    runs: usize,
    next_dts: i64,
    /// Media data boxes.
    media: Vec<BoxSpan>,
    /// Whether base data offsets count from the begin of this file; decided by the first.
    absolute_bases: Option<bool>,
    found: Fragments,
}

impl<'a> Reader<'a> {
    pub(super) fn read(
        data: &'a [u8],
        boxes: &[BoxSpan],
        tracks: &'a [Track],
        video_id: Option<u32>,
    ) -> Result<Fragments, ContainerError> {
        let mut reader = Self {
            data,
            tracks,
            video_id,
            runs: 0,
            next_dts: 0,
            media: boxes.iter().filter(|span| &span.kind == b"mdat").copied().collect(),
            absolute_bases: None,
            found: Fragments::default(),
        };
        for span in boxes.iter().filter(|span| &span.kind == b"moof") {
            if span.declared_end > data.len() as u64 {
                return Err(ContainerError::Truncated { needed: span.declared_end, len: data.len() });
            }
            reader.fragment(span)?;
        }
        Ok(reader.found)
    }

    fn fragment(&mut self, span: &BoxSpan) -> Result<(), ContainerError> {
        let mut tracks: Vec<TrackFragment> = Vec::new();
        for traf in children(self.data, span.body..span.end)?.iter().filter(|child| &child.kind == b"traf") {
            let before = tracks.last().map(|before| before.data_end);
            tracks.push(self.track_fragment(span, traf, before)?);
        }
        self.found.list.push(Fragment { span: *span, tracks });
        Ok(())
    }

    fn track_fragment(
        &mut self,
        moof: &BoxSpan,
        traf: &BoxSpan,
        end_before: Option<u64>,
    ) -> Result<TrackFragment, ContainerError> {
        let boxes = children(self.data, traf.body..traf.end)?;
        let has = |kind: &[u8; 4]| boxes.iter().any(|child| &child.kind == kind);
        let tfhd = boxes.iter().find(|child| &child.kind == b"tfhd");
        let tfhd = tfhd.ok_or_else(|| traf.fault("a track fragment has no header"))?;
        let header = Header::read(self.data, tfhd, self.tracks)?;
        let is_video = self.video_id == Some(header.track_id);
        let (base, base_at) = match header.base_data_offset {
            Some(offset) if self.is_absolute(moof, &boxes, offset) => (Base::Explicit(offset), offset),
            Some(_) => (Base::Explicit(moof.start as u64), moof.start as u64),
            None if header.flags & BASE_IS_MOOF != 0 => (Base::Fragment, moof.start as u64),
            None => match end_before {
                Some(end) => (Base::End, end),
                None => (Base::Fragment, moof.start as u64),
            },
        };
        if let Some(tfdt) = boxes.iter().find(|child| &child.kind == b"tfdt").filter(|_| is_video) {
            let body = tfdt.body_of(self.data);
            let time = match u8_at(body, 0) {
                Some(1) => u64_at(body, 4),
                _ => u32_at(body, 4).map(u64::from),
            };
            // beyond 2^62 sums would overflow; at 90 kHz that is a million years
            self.next_dts = time
                .and_then(|time| i64::try_from(time).ok())
                .filter(|time| *time < 1 << 62)
                .ok_or_else(|| tfdt.fault("no usable decode time"))?;
        }
        let mut fragment = TrackFragment {
            span: *traf,
            is_video,
            base,
            runs: Vec::new(),
            data_end: base_at,
            has_encryption: has(b"senc"),
            has_offsets: has(b"saio"),
        };
        for trun in boxes.iter().filter(|child| &child.kind == b"trun") {
            let run = self.run(trun, &header, is_video, base_at, &mut fragment.data_end)?;
            fragment.runs.push(run);
        }
        Ok(fragment)
    }

    /// Whether a base data offset counts from the begin of this very file: it names the fragment's begin, or
    /// leads the first run to the begin of the media data.
    fn is_absolute(&mut self, moof: &BoxSpan, boxes: &[BoxSpan], offset: u64) -> bool {
        if let Some(known) = self.absolute_bases {
            return known;
        }
        let run = boxes.iter().find(|child| &child.kind == b"trun").map(|trun| trun.body_of(self.data));
        let first = run.and_then(|body| {
            let states_offset = u24_at(body, 1)? & DATA_OFFSET != 0;
            Some(if states_offset { u32_at(body, 8)?.cast_signed() } else { 0 })
        });
        let data_at = offset.checked_add_signed(i64::from(first.unwrap_or(0)));
        let media = self.media.iter().find(|span| span.start >= moof.end);
        let absolute =
            offset == moof.start as u64 || media.is_some_and(|span| data_at == Some(span.body as u64));
        self.absolute_bases = Some(absolute);
        absolute
    }

    /// Reads one run and moves `data_end` behind its data.
    fn run(
        &mut self,
        trun: &BoxSpan,
        header: &Header,
        is_video: bool,
        base_at: u64,
        data_end: &mut u64,
    ) -> Result<Run, ContainerError> {
        self.runs += 1;
        if self.runs > RUNS {
            return Err(ContainerError::OverLimit { what: "track runs", limit: RUNS });
        }
        let cut = || trun.fault("a track run is cut short");
        let body = trun.body_of(self.data);
        let version = u8_at(body, 0).ok_or_else(cut)?;
        let flags = u24_at(body, 1).ok_or_else(cut)?;
        let count = u32_at(body, 4).ok_or_else(cut)? as usize;
        let mut fields = Fields { body, at: 8 };
        let data_offset = fields.next(flags & DATA_OFFSET != 0).ok_or_else(cut)?.map(u32::cast_signed);
        let first_flags = fields.next(flags & FIRST_FLAGS != 0).ok_or_else(cut)?;
        let data_at = match data_offset {
            Some(offset) => base_at
                .checked_add_signed(i64::from(offset))
                .ok_or_else(|| trun.fault("a data offset points before the segment"))?,
            None => *data_end,
        };

        let first_sample = self.found.samples.len();
        let [durations, sizes, own_flags, offsets] =
            [SAMPLE_DURATION, SAMPLE_SIZE, SAMPLE_FLAGS, SAMPLE_OFFSET].map(|bit| flags & bit != 0);
        if is_video && first_sample.saturating_add(count) > MAX_UNITS {
            return Err(ContainerError::OverLimit { what: "video samples", limit: MAX_UNITS });
        }
        let mut position = data_at;
        if is_video || sizes {
            for index in 0..count {
                let duration = fields.next(durations).ok_or_else(cut)?.unwrap_or(header.defaults.duration);
                let size = fields.next(sizes).ok_or_else(cut)?.unwrap_or(header.defaults.size);
                let own = fields.next(own_flags).ok_or_else(cut)?;
                let offset = fields.next(offsets).ok_or_else(cut)?.unwrap_or(0);
                let end = position.saturating_add(u64::from(size));
                if is_video {
                    let first = first_flags.filter(|_| index == 0);
                    let sample_flags = own.or(first).unwrap_or(header.defaults.flags);
                    // version 0 offsets are unsigned, but encoders write negative ones into it; none is
                    // beyond 2^31
                    let offset = i64::from(offset.cast_signed());
                    self.found.samples.push(Sample {
                        bytes: self.clip(position)..self.clip(end),
                        dts: self.next_dts,
                        pts: self.next_dts + offset,
                        duration,
                        is_sync: sample_flags & NON_SYNC == 0,
                    });
                    self.next_dts += i64::from(duration);
                }
                position = end;
            }
        } else {
            position = position.saturating_add(u64::from(header.defaults.size).saturating_mul(count as u64));
        }
        if !is_video && position > self.data.len() as u64 {
            return Err(ContainerError::Truncated { needed: position, len: self.data.len() });
        }
        *data_end = position;
        Ok(Run { span: *trun, version, flags, data_at, samples: first_sample..self.found.samples.len() })
    }

    fn clip(&self, position: u64) -> usize {
        usize::try_from(position).unwrap_or(usize::MAX).min(self.data.len())
    }
}

/// The optional 32-bit fields of a run, one after the other.
struct Fields<'a> {
    body: &'a [u8],
    at: usize,
}

impl Fields<'_> {
    /// The next field if it is `present`; `None` where the box ends before it.
    fn next(&mut self, present: bool) -> Option<Option<u32>> {
        if !present {
            return Some(None);
        }
        let value = u32_at(self.body, self.at)?;
        self.at += 4;
        Some(Some(value))
    }
}

/// Track fragment header.
struct Header {
    track_id: u32,
    flags: u32,
    base_data_offset: Option<u64>,
    defaults: Defaults,
}

impl Header {
    fn read(data: &[u8], tfhd: &BoxSpan, tracks: &[Track]) -> Result<Self, ContainerError> {
        let cut = || tfhd.fault("a track fragment header is cut short");
        let body = tfhd.body_of(data);
        let flags = u24_at(body, 1).ok_or_else(cut)?;
        let track_id = u32_at(body, 4).ok_or_else(cut)?;
        let mut at = 8;
        let mut base_data_offset = None;
        if flags & BASE_DATA_OFFSET != 0 {
            base_data_offset = Some(u64_at(body, at).ok_or_else(cut)?);
            at += 8;
        }
        if flags & DESCRIPTION_INDEX != 0 {
            at += 4;
        }
        let mut defaults =
            tracks.iter().find(|track| track.id == track_id).map(|track| track.defaults).unwrap_or_default();
        let own = [
            (DEFAULT_DURATION, &mut defaults.duration),
            (DEFAULT_SIZE, &mut defaults.size),
            (DEFAULT_FLAGS, &mut defaults.flags),
        ];
        for (bit, value) in own {
            if flags & bit != 0 {
                *value = u32_at(body, at).ok_or_else(cut)?;
                at += 4;
            }
        }
        Ok(Self { track_id, flags, base_data_offset, defaults })
    }
}
