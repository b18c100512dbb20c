//! Containers are spliced, never remuxed: this room takes the video access units out of a segment and puts
//! others in their place, one for one, and leaves every other byte of the segment alone.
//!
//! Why not a muxer: a muxer writes what it understands. Timed metadata, SCTE-35, `emsg`, edit lists, odd
//! descriptors, interleaving, continuity of clocks across segments: all of it would have to be understood to
//! survive. What is never parsed cannot be lost, so only the packets and boxes that carry or describe the
//! video samples are rewritten.
//!
//! Everything here is a pure function of bytes that strangers wrote: no I/O, no panics, no allocation that is
//! not bounded by the size of the input or by a limit named in this file.

pub(crate) mod bytes;
pub mod fmp4;
mod slots;
mod sniff;
mod splicer;
pub mod ts;

use ::bytes::Bytes;

use crate::h264::{self, SpsFacts};
pub use slots::{Slot, Slots};
pub use sniff::sniff;
pub use splicer::Splicer;

/// Most access units one segment may hold: ten minutes at 60 Hz. A table entry in fragmented MP4 can claim
/// four thousand million samples in twenty bytes, so the claim is bounded before anything is allocated for
/// it.
pub const MAX_UNITS: usize = 36_000;

/// Which container a segment is in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum ContainerKind {
    /// MPEG-2 transport stream, 188-byte packets.
    Ts,
    /// Fragmented MP4 (CMAF or otherwise).
    Fmp4,
}

/// What the video is coded with.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum VideoCodec {
    /// H.264/AVC: the only one with [`VideoTrack::units`].
    H264,
    /// H.265/HEVC.
    Hevc,
    /// MPEG-1 or MPEG-2 video.
    Mpeg2,
    /// Anything else: the stream type in a transport stream, the sample entry's four characters (big endian)
    /// in MP4.
    Other(u32),
}

/// How the NAL units of a [`VideoTrack`] are delimited.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Framing {
    /// Start codes (transport streams).
    AnnexB,
    /// Each NAL unit preceded by its size, big endian, in so many bytes (1, 2 or 4; MP4).
    LengthPrefixed(u8),
}

/// One coded picture as it stood in the source, with everything that belongs to it (parameter sets, SEI,
/// slices).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct AccessUnit {
    /// The bytes, framed as [`VideoTrack::framing`] says. May be empty or cut where the source is damaged.
    pub data: Bytes,
    /// Presentation time in [`VideoTrack::timescale`], unwrapped (it may lie below 0 or above 2^33).
    pub pts: i64,
    /// Decode time in [`VideoTrack::timescale`], unwrapped.
    pub dts: i64,
    /// Ticks until the next unit is decoded, where the container says so (MP4).
    pub duration: Option<i64>,
    /// It holds an IDR slice: a decoder can begin here and needs nothing before it.
    pub random_access: bool,
}

/// The sequence and picture parameter sets a decoder needs, each a NAL unit without start code or length.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ParameterSets {
    /// Sequence parameter sets, first seen first: from `avcC`, else in-band.
    pub sps: Vec<Bytes>,
    /// Picture parameter sets, likewise.
    pub pps: Vec<Bytes>,
    /// The `AVCDecoderConfigurationRecord` (payload of `avcC`) as it stood in the init segment.
    pub avcc: Option<Bytes>,
}

impl ParameterSets {
    /// All of them with start codes, SPS first: what a decoder takes as Annex B extradata. Empty if there are
    /// none.
    pub fn annex_b(&self) -> Vec<u8> {
        let mut out = Vec::new();
        for nal in self.sps.iter().chain(&self.pps) {
            out.extend_from_slice(&h264::START_CODE);
            out.extend_from_slice(nal);
        }
        out
    }
}

/// The video of one segment.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct VideoTrack {
    /// What it is coded with. Only H.264 that is not encrypted is taken apart into [`VideoTrack::units`].
    pub codec: VideoCodec,
    /// SAMPLE-AES, `cenc` or scrambled transport packets: never touched.
    pub encrypted: bool,
    /// Ticks per second of every time here (90000 in transport streams).
    pub timescale: u32,
    /// How [`AccessUnit::data`] delimits NAL units.
    pub framing: Framing,
    /// Decode order. Empty for other codecs, encrypted video and segments that announce video and hold none.
    pub units: Vec<AccessUnit>,
    /// SPS and PPS, from the init segment or in-band.
    pub parameter_sets: ParameterSets,
}

impl VideoTrack {
    /// Facts of the first sequence parameter set that can be read.
    pub fn sps(&self) -> Option<SpsFacts> {
        self.parameter_sets.sps.iter().find_map(|nal| SpsFacts::parse(nal).ok())
    }

    /// Presentation times of the units, ascending: the times the spliced units get, in their order.
    pub fn presentation_times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.units.iter().map(|unit| unit.pts).collect();
        times.sort_unstable();
        times
    }

    /// Decode times of the units, ascending: the times the spliced units get, in their order.
    pub fn decode_times(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.units.iter().map(|unit| unit.dts).collect();
        times.sort_unstable();
        times
    }

    /// How long the pictures stand, in ticks: from the first presentation time to the last, and one typical
    /// (median) picture more. 0 without units, one 30th of a second for a single one.
    pub fn duration(&self) -> i64 {
        let times = self.presentation_times();
        let (Some(first), Some(last)) = (times.first(), times.last()) else { return 0 };
        last.saturating_sub(*first).saturating_add(self.typical_interval())
    }

    /// Median distance of neighbouring presentation times in ticks, equal times left out; one 30th of a
    /// second when there is none to measure.
    pub fn typical_interval(&self) -> i64 {
        let times = self.presentation_times();
        let mut steps: Vec<i64> =
            times.windows(2).filter_map(|pair| Some(pair.get(1)?.saturating_sub(*pair.first()?))).collect();
        steps.retain(|step| *step > 0);
        steps.sort_unstable();
        steps.get(steps.len() / 2).copied().unwrap_or(i64::from(self.timescale / 30)).max(1)
    }
}

/// What is in the segment besides the video; all of it stays as it is.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct OtherFacts {
    /// There is at least one audio track.
    pub has_audio: bool,
    /// RFC 6381 strings of the audio tracks whose codec could be told, in the container's order, without
    /// doubles.
    pub audio_codecs: Vec<String>,
    /// Some audio track is encrypted.
    pub encrypted: bool,
    /// Bytes of the segment that do not carry video samples (headers and tables counted).
    pub non_video_bytes: usize,
}

/// A picture to put in the place of a source unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EncodedUnit {
    /// Annex B, SPS and PPS in-band on key frames.
    pub data: Bytes,
    /// An IDR picture.
    pub keyframe: bool,
}

/// Why a segment cannot be taken apart or put together.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ContainerError {
    /// No bytes at all.
    #[error("the segment is empty")]
    Empty,
    /// The bytes are of some other kind.
    #[error("neither MPEG-TS nor fragmented MP4, but {looks_like}")]
    NotAContainer {
        /// What the first bytes suggest.
        looks_like: &'static str,
    },
    /// A transport stream in which no program map was found.
    #[error("no program map table in the transport stream")]
    NoProgram,
    /// Fragmented MP4 whose `moov` was not given.
    #[error("fragmented MP4 without its init segment")]
    InitMissing,
    /// The structure contradicts itself.
    #[error("{what} at byte {at}")]
    Malformed {
        /// What is wrong.
        what: &'static str,
        /// Byte offset in the segment or init segment.
        at: usize,
    },
    /// The segment ends before the data that its tables announce.
    #[error("data announced up to byte {needed}, but the segment ends at byte {len}")]
    Truncated {
        /// Where the announced data would end.
        needed: u64,
        /// Where the segment ends.
        len: usize,
    },
    /// More than a limit of this module allows.
    #[error("more than {limit} {what}")]
    OverLimit {
        /// What there is too much of.
        what: &'static str,
        /// The limit.
        limit: usize,
    },
    /// Nothing to splice: the segment holds no video.
    #[error("the segment holds no video")]
    NoVideo,
    /// The video is not H.264.
    #[error("the video is not H.264")]
    NotH264,
    /// The video, or a track whose tables point into rewritten boxes, is encrypted.
    #[error("the segment is encrypted")]
    Encrypted,
    /// Splicing is one for one.
    #[error("{given} pictures given for {source_units} in the source")]
    UnitCount {
        /// Units in the source.
        source_units: usize,
        /// Units given.
        given: usize,
    },
    /// A unit to splice in is not what it must be. The encoder's fault, not the source's.
    #[error("picture {index}: {what}")]
    BadUnit {
        /// Position among the units given.
        index: usize,
        /// What is wrong with it.
        what: &'static str,
    },
}

impl ContainerError {
    /// A short stable name for metrics.
    pub fn label(&self) -> &'static str {
        match self {
            Self::Empty => "empty",
            Self::NotAContainer { .. } => "not_a_container",
            Self::NoProgram => "no_program",
            Self::InitMissing => "init_missing",
            Self::Malformed { .. } => "malformed",
            Self::Truncated { .. } => "truncated",
            Self::OverLimit { .. } => "over_limit",
            Self::NoVideo => "no_video",
            Self::NotH264 => "not_h264",
            Self::Encrypted => "encrypted",
            Self::UnitCount { .. } => "unit_count",
            Self::BadUnit { .. } => "bad_unit",
        }
    }
}

/// A segment taken apart, ready to have its video replaced.
#[derive(Debug, Clone)]
pub enum SourceSegment {
    /// MPEG-2 transport stream.
    Ts(ts::TsSegment),
    /// Fragmented MP4.
    Fmp4(fmp4::Fmp4Segment),
}

impl SourceSegment {
    /// Takes a clear (decrypted) segment apart. `init` is the bytes of `EXT-X-MAP`, needed for MP4 (unless
    /// the segment brings its own `moov`) and welcome for transport streams whose tables live there.
    ///
    /// Audio-only segments are no error: [`SourceSegment::video`] is `None`. Damage inside the video is none
    /// either: lost packets and cut samples give units with bad or missing bytes, which a decoder then
    /// conceals.
    ///
    /// # Errors
    /// [`ContainerError::Empty`], [`ContainerError::NotAContainer`] (packed audio, WebVTT, HTML, ...),
    /// [`ContainerError::NoProgram`], [`ContainerError::InitMissing`], [`ContainerError::Malformed`],
    /// [`ContainerError::Truncated`], [`ContainerError::OverLimit`].
    pub fn parse(init: Option<&[u8]>, segment: Bytes) -> Result<Self, ContainerError> {
        match sniff(&segment)? {
            ContainerKind::Ts => ts::TsSegment::parse(init, segment).map(Self::Ts),
            ContainerKind::Fmp4 => fmp4::Fmp4Segment::parse(init, segment).map(Self::Fmp4),
        }
    }

    /// Which container it is.
    pub fn kind(&self) -> ContainerKind {
        match self {
            Self::Ts(_) => ContainerKind::Ts,
            Self::Fmp4(_) => ContainerKind::Fmp4,
        }
    }

    /// The video that [`SourceSegment::splice`] would replace: the first video stream of the first program
    /// that has one, the first video track. `None` for audio-only segments.
    pub fn video(&self) -> Option<&VideoTrack> {
        match self {
            Self::Ts(segment) => segment.video(),
            Self::Fmp4(segment) => segment.video(),
        }
    }

    /// What is in it besides that video.
    pub fn other(&self) -> &OtherFacts {
        match self {
            Self::Ts(segment) => segment.other(),
            Self::Fmp4(segment) => segment.other(),
        }
    }

    /// The segment with its video replaced by `units`, which are in presentation order, the decode order of a
    /// stream without B-frames. There must be exactly as many as [`VideoTrack::units`].
    ///
    /// The i-th unit gets the i-th smallest presentation time and the i-th smallest decode time of the
    /// source. As every source picture is presented no sooner than it is decoded, the i-th smallest
    /// presentation time is never below the i-th smallest decode time either.
    ///
    /// # Errors
    /// [`ContainerError::NoVideo`], [`ContainerError::NotH264`], [`ContainerError::Encrypted`],
    /// [`ContainerError::UnitCount`], [`ContainerError::BadUnit`], and [`ContainerError::OverLimit`] or
    /// [`ContainerError::Malformed`] where the container's tables cannot express or locate the result.
    pub fn splice(&self, units: &[EncodedUnit]) -> Result<Bytes, ContainerError> {
        let mut splicer = self.splicer()?;
        let mut out = Vec::with_capacity(self.bytes().len());
        for unit in units {
            splicer.push(unit.clone(), &mut out)?;
        }
        splicer.finish(&mut out)?;
        Ok(out.into())
    }

    /// The same, a unit at a time: for those who hand on what is complete.
    ///
    /// # Errors
    /// [`ContainerError::NoVideo`], [`ContainerError::NotH264`], [`ContainerError::Encrypted`].
    pub fn splicer(&self) -> Result<Splicer<'_>, ContainerError> {
        let video = self.video().ok_or(ContainerError::NoVideo)?;
        if video.codec != VideoCodec::H264 {
            return Err(ContainerError::NotH264);
        }
        if video.encrypted {
            return Err(ContainerError::Encrypted);
        }
        Splicer::new(self, video.units.len(), None)
    }

    /// As [`SourceSegment::splicer`], with `slots` of the segment's own units for more pictures than these.
    ///
    /// # Errors
    /// As [`SourceSegment::splicer`], and [`ContainerError::UnitCount`] for slots of another segment.
    pub fn splicer_into<'a>(&'a self, slots: &'a Slots) -> Result<Splicer<'a>, ContainerError> {
        let source_units = self.splicer()?.expected();
        if slots.units() != source_units {
            return Err(ContainerError::UnitCount { source_units, given: slots.units() });
        }
        Splicer::new(self, slots.len(), Some(slots))
    }

    fn bytes(&self) -> &Bytes {
        match self {
            Self::Ts(segment) => segment.bytes(),
            Self::Fmp4(segment) => segment.bytes(),
        }
    }
}

/// The init segment (`EXT-X-MAP`) of the enhanced rendition: the source's with picture size (pixels) and
/// decoder configuration replaced. `sps` and `pps` are NAL units without start codes; the source's own parameter
/// sets stand behind them, but for those of the same number. A transport stream that serves as init segment holds
/// only tables and comes back as it is.
///
/// # Errors
/// [`ContainerError::NoVideo`], [`ContainerError::NotH264`], [`ContainerError::Encrypted`],
/// [`ContainerError::BadUnit`] for an SPS that cannot be read, and as [`SourceSegment::parse`].
pub fn rewrite_init(
    init: &[u8],
    width: u32,
    height: u32,
    sps: &[u8],
    pps: &[u8],
) -> Result<Bytes, ContainerError> {
    match sniff(init)? {
        ContainerKind::Ts => Ok(Bytes::copy_from_slice(init)),
        ContainerKind::Fmp4 => fmp4::rewrite_init(init, width, height, sps, pps),
    }
}

/// Whether the source's own segments can be read under what [`rewrite_init`] makes of `init` for the processor's encoder, so that they can
/// stand among enhanced ones: its parameter sets are all there beside the encoder's, or in the samples, and lengths have as many bytes.
pub fn init_carries_source(init: &[u8]) -> bool {
    match sniff(init) {
        Ok(ContainerKind::Ts) => true,
        Ok(ContainerKind::Fmp4) => fmp4::carries_source(init),
        Err(_) => false,
    }
}

/// Facts of the video's first sequence parameter set in an init segment's `avcC`; `None` where it has none
/// that can be read (avc3 with parameter sets in-band, a transport stream's tables).
///
/// # Errors
/// As [`rewrite_init`].
pub fn init_sps(init: &[u8]) -> Result<Option<SpsFacts>, ContainerError> {
    match sniff(init)? {
        ContainerKind::Ts => Ok(None),
        ContainerKind::Fmp4 => fmp4::init_sps(init),
    }
}
