//! Fragmented MP4 (ISO/IEC 14496-12): the video's samples and the tables that describe them are rewritten,
//! every other box and every other track's bytes are copied.

mod boxes;
mod configuration;
mod entries;
mod entry;
mod fragment;
mod groups;
mod init;
mod layout;
mod movie;
mod run;
mod sidx;
pub(super) mod splice;

use bytes::Bytes;

use super::{AccessUnit, ContainerError, Framing, OtherFacts, ParameterSets, Slots, VideoCodec, VideoTrack};
use crate::h264::{length_prefixed_nals, nal, nal_type};
use boxes::BoxSpan;
use fragment::Fragments;
use init::{Media, Track};

pub(super) use boxes::looks_like_boxes;
pub(super) use movie::{carries_source, init_sps, rewrite_init};

/// A fragmented MP4 segment taken apart.
#[derive(Debug, Clone)]
pub struct Fmp4Segment {
    bytes: Bytes,
    boxes: Vec<BoxSpan>,
    fragments: Fragments,
    /// Parameter sets belong into the samples (`avc3`).
    in_band: bool,
    video: Option<VideoTrack>,
    other: OtherFacts,
}

impl Fmp4Segment {
    pub(super) fn parse(init: Option<&[u8]>, segment: Bytes) -> Result<Self, ContainerError> {
        let boxes = boxes::top_level(&segment)?;
        // a segment that brings its own movie box is described by that one
        let tracks = match (init::movie_box(&segment)?, init) {
            (Some(movie), _) => init::tracks(&segment, &movie)?,
            (None, Some(init)) => {
                let movie = init::movie_box(init)?.ok_or(ContainerError::InitMissing)?;
                init::tracks(init, &movie)?
            }
            (None, None) => return Err(ContainerError::InitMissing),
        };
        if !boxes.iter().any(|span| &span.kind == b"moof") {
            return Err(ContainerError::Malformed { what: "no movie fragment in the segment", at: 0 });
        }
        let video_track = tracks.iter().find(|track| matches!(track.media, Media::Video(_)));
        let fragments = fragment::Reader::read(&segment, &boxes, &tracks, video_track.map(|track| track.id))?;
        let has_video_data = fragments.list.iter().flat_map(|moof| &moof.tracks).any(|track| track.is_video);
        let mut other = other_facts(&tracks);
        let video_bytes: usize = fragments.samples.iter().map(|sample| sample.bytes.len()).sum();
        other.non_video_bytes = segment.len().saturating_sub(video_bytes);

        let mut in_band = false;
        let mut video = None;
        // an init segment with video does not make an audio segment of the same presentation one with video
        if let Some(Track { timescale, media: Media::Video(entry), .. }) = video_track
            && has_video_data
        {
            in_band = entry.in_band;
            let encrypted = entry.encrypted
                || fragments
                    .list
                    .iter()
                    .flat_map(|moof| &moof.tracks)
                    .any(|track| track.is_video && track.has_encryption);
            let readable = entry.codec == VideoCodec::H264 && !encrypted;
            let units = if readable { units(&segment, &fragments, entry.length_size) } else { Vec::new() };
            let mut parameter_sets = entry.parameter_sets.clone();
            if parameter_sets.sps.is_empty() {
                add_in_band(&mut parameter_sets, &units, entry.length_size);
            }
            video = Some(VideoTrack {
                codec: entry.codec,
                encrypted,
                timescale: *timescale,
                framing: Framing::LengthPrefixed(entry.length_size),
                units,
                parameter_sets,
            });
        }
        Ok(Self { bytes: segment, boxes, fragments, in_band, video, other })
    }

    pub(super) fn video(&self) -> Option<&VideoTrack> {
        self.video.as_ref()
    }

    pub(super) fn other(&self) -> &OtherFacts {
        &self.other
    }

    /// What puts new units in, as many as there are samples or as `slots` says.
    pub(super) fn splicer<'a>(&'a self, slots: Option<&'a Slots>) -> splice::Splicer<'a> {
        splice::Splicer::new(self, slots)
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

fn units(segment: &Bytes, fragments: &Fragments, length_size: u8) -> Vec<AccessUnit> {
    fragments
        .samples
        .iter()
        .map(|sample| {
            let data = if sample.bytes.start < sample.bytes.end {
                segment.slice(sample.bytes.clone())
            } else {
                Bytes::new()
            };
            let random_access =
                length_prefixed_nals(&data, length_size).any(|body| nal_type(body) == nal::IDR_SLICE);
            let duration = Some(i64::from(sample.duration));
            AccessUnit { data, pts: sample.pts, dts: sample.dts, duration, random_access }
        })
        .collect()
}

/// Parameter sets of the first samples that have any, for `avc3` tracks whose entry has none.
fn add_in_band(sets: &mut ParameterSets, units: &[AccessUnit], length_size: u8) {
    for unit in units {
        for body in length_prefixed_nals(&unit.data, length_size) {
            match nal_type(body) {
                nal::SPS => sets.sps.push(unit.data.slice_ref(body)),
                nal::PPS => sets.pps.push(unit.data.slice_ref(body)),
                _ => {}
            }
        }
        if !sets.sps.is_empty() {
            return;
        }
    }
}

fn other_facts(tracks: &[Track]) -> OtherFacts {
    let mut facts = OtherFacts::default();
    for track in tracks {
        let Media::Audio { codec, encrypted } = &track.media else { continue };
        facts.has_audio = true;
        facts.encrypted |= encrypted;
        if let Some(codec) = codec
            && !facts.audio_codecs.contains(codec)
        {
            facts.audio_codecs.push(codec.clone());
        }
    }
    facts
}
