//! MPEG-2 transport streams (ISO/IEC 13818-1): one program's video is taken out and put back, packet by
//! packet; every other packet is passed over and copied.

mod audio;
mod packet;
mod pes;
mod psi;
pub(super) mod splice;
mod stream;
mod units;

use std::collections::BTreeSet;

use bytes::Bytes;

use super::{AccessUnit, ContainerError, Framing, OtherFacts, ParameterSets, Slots, VideoCodec, VideoTrack};
use crate::h264::{annex_b_nals, nal, nal_type};
use packet::{Header, PACKET_BYTES, packets};
use psi::{Program, Stream};
use stream::ElementaryStream;

pub(super) use packet::find_sync;

/// Ticks per second of transport stream timestamps.
const TIMESCALE: u32 = 90_000;
/// Parameter sets kept of each kind: a stream may have 32 SPS; PPS are as good as always one.
const PARAMETER_SETS: usize = 32;

/// A transport stream segment taken apart.
#[derive(Debug, Clone)]
pub struct TsSegment {
    bytes: Bytes,
    video: Option<VideoTrack>,
    other: OtherFacts,
    plan: Option<Plan>,
}

/// What splicing needs to know of the source's video besides its units.
#[derive(Debug, Clone)]
struct Plan {
    program: Program,
    pid: u16,
    stream_id: u8,
    /// Continuity counters of the first and last video packet with payload.
    counters: (u8, u8),
    /// For each unit the offset of the packet whose place it takes; ascending.
    places: Vec<usize>,
}

impl TsSegment {
    pub(super) fn parse(init: Option<&[u8]>, segment: Bytes) -> Result<Self, ContainerError> {
        let mut programs = psi::programs(&segment);
        if programs.is_empty() {
            // HLS lets the tables live in an init segment
            programs = init.map(psi::programs).unwrap_or_default();
            programs = programs.into_iter().map(Program::without_maps).collect();
        }
        if programs.is_empty() {
            return Err(ContainerError::NoProgram);
        }
        let with_video = programs.iter().position(|program| program.streams.iter().any(is_video));
        let program = programs.swap_remove(with_video.unwrap_or(0));
        let video_stream = program.streams.iter().find(|stream| is_video(stream)).cloned();

        let mut other = audio_facts(&program.streams, &segment);
        let Some(video_stream) = video_stream else {
            other.non_video_bytes = segment.len();
            return Ok(Self { bytes: segment, video: None, other, plan: None });
        };
        let pid = video_stream.pid;
        if program
            .later_streams()
            .any(|streams| streams.iter().find(|stream| is_video(stream)).is_some_and(|now| now.pid != pid))
        {
            return Err(ContainerError::Malformed {
                what: "the video changes its PID inside the segment",
                at: 0,
            });
        }
        other.non_video_bytes = segment.len().saturating_sub(video_packets(&segment, pid) * PACKET_BYTES);

        let (codec, mut encrypted) = video_codec(&video_stream);
        let mut video = VideoTrack {
            codec,
            encrypted,
            timescale: TIMESCALE,
            framing: Framing::AnnexB,
            units: Vec::new(),
            parameter_sets: ParameterSets::default(),
        };
        if codec != VideoCodec::H264 || encrypted {
            return Ok(Self { bytes: segment, video: Some(video), other, plan: None });
        }
        let mut stream = ElementaryStream::collect(&segment, pid);
        encrypted = stream.is_scrambled();
        if encrypted {
            video.encrypted = true;
            return Ok(Self { bytes: segment, video: Some(video), other, plan: None });
        }
        let units = units::split(&stream)?;
        let places = places(&stream, &units);
        let times = units::times(&stream, &units);
        let bytes = Bytes::from(std::mem::take(&mut stream.bytes));
        video.parameter_sets = parameter_sets(&bytes);
        video.units = units
            .iter()
            .zip(times)
            .map(|(unit, (pts, dts))| AccessUnit {
                data: if unit.start <= unit.end && unit.end <= bytes.len() {
                    bytes.slice(unit.start..unit.end)
                } else {
                    Bytes::new()
                },
                pts,
                dts,
                duration: None,
                random_access: unit.random_access,
            })
            .collect();
        let plan = Plan {
            program,
            pid,
            stream_id: stream.stream_id.unwrap_or(0xe0),
            counters: stream.counters.unwrap_or_default(),
            places,
        };
        Ok(Self { bytes: segment, video: Some(video), other, plan: Some(plan) })
    }

    pub(super) fn video(&self) -> Option<&VideoTrack> {
        self.video.as_ref()
    }

    pub(super) fn other(&self) -> &OtherFacts {
        &self.other
    }

    /// What puts new units in, as many as there are or as `slots` says; `None` where there is no video to replace.
    pub(super) fn splicer(&self, slots: Option<&Slots>) -> Option<splice::Splicer<'_>> {
        let (video, plan) = (self.video.as_ref()?, self.plan.as_ref()?);
        Some(splice::Splicer::new(&self.bytes, video, plan, slots))
    }

    pub(super) fn bytes(&self) -> &Bytes {
        &self.bytes
    }
}

/// The packet whose place each unit takes: the one its PES packet begins in, or for a further unit of the
/// same PES packet the one its first byte came in.
fn places(stream: &ElementaryStream, units: &[units::Unit]) -> Vec<usize> {
    let mut before = None;
    units
        .iter()
        .map(|unit| {
            let first_of_pes = before != Some(unit.pes);
            before = Some(unit.pes);
            let pes_at = stream.pes.get(unit.pes).map_or(0, |pes| pes.packet_at);
            if first_of_pes { pes_at } else { stream.packet_of(unit.start).unwrap_or(pes_at) }
        })
        .collect()
}

fn parameter_sets(stream: &Bytes) -> ParameterSets {
    let mut found = ParameterSets::default();
    for body in annex_b_nals(stream) {
        let list = match nal_type(body) {
            nal::SPS => &mut found.sps,
            nal::PPS => &mut found.pps,
            _ => continue,
        };
        if list.len() < PARAMETER_SETS && !list.iter().any(|known| known == body) {
            list.push(stream.slice_ref(body));
        }
    }
    found
}

fn video_packets(segment: &[u8], pid: u16) -> usize {
    packets(segment).filter(|(_, packet)| Header::read(packet).pid == pid).count()
}

/// Stream types (ISO/IEC 13818-1 table 2-34, ATSC A/53, Apple's SAMPLE-AES note) and registrations of video.
fn is_video(stream: &Stream) -> bool {
    match stream.stream_type {
        0x01 | 0x02 | 0x10 | 0x1b | 0x1e | 0x1f | 0x20 | 0x21 | 0x24 | 0x33 | 0x42 | 0xd1 | 0xd2 | 0xdb
        | 0xea => true,
        0x06 => matches!(stream.registration(), Some(b"HEVC" | b"AV01" | b"VVC " | b"H264" | b"drac")),
        _ => false,
    }
}

/// The codec, and whether the stream type says that it is encrypted.
fn video_codec(stream: &Stream) -> (VideoCodec, bool) {
    match (stream.stream_type, stream.registration()) {
        (0x1b, _) => (VideoCodec::H264, false),
        (0xdb, _) => (VideoCodec::H264, true), // SAMPLE-AES
        (0x24, _) | (0x06, Some(b"HEVC")) => (VideoCodec::Hevc, false),
        (0x01 | 0x02, _) => (VideoCodec::Mpeg2, false),
        (other, _) => (VideoCodec::Other(u32::from(other)), false),
    }
}

fn audio_facts(streams: &[Stream], segment: &[u8]) -> OtherFacts {
    let mut facts = OtherFacts::default();
    let mut seen = BTreeSet::new();
    for stream in streams {
        let Some(audio) = audio::Audio::of(stream) else { continue };
        facts.has_audio = true;
        facts.encrypted |= audio.encrypted;
        if let Some(codec) =
            audio.codec_string(stream::first_payload(segment, stream.pid).unwrap_or_default())
            && seen.insert(codec.clone())
        {
            facts.audio_codecs.push(codec);
        }
    }
    facts
}
