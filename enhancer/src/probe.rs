//! Facts about a source rendition from its first segment, without decoding it.

use acuity_config::EnhancerConfig;
use bytes::Bytes;

use crate::Unsupported;
use crate::container::{SourceSegment, VideoCodec, VideoTrack};

pub use crate::container::ContainerKind;

/// What the first segment of a source tells about its rendition.
#[derive(Debug, Clone, PartialEq)]
pub struct SourceInfo {
    /// MPEG-TS or fragmented MP4.
    pub container: ContainerKind,
    /// Cropped width in luma samples.
    pub width: u32,
    /// Cropped height in luma samples.
    pub height: u32,
    /// Pictures per 1000 seconds, from the pictures' times (the SPS where there is only one picture).
    pub frame_rate_milli: Option<u32>,
    /// H.264 `profile_idc`.
    pub profile_idc: u8,
    /// Whether other tracks carry audio.
    pub has_audio: bool,
    /// RFC 6381 string of the muxed audio, for example `mp4a.40.2`.
    pub codecs_audio: Option<String>,
    /// Mean rate of the video elementary stream in this segment.
    pub video_bits_per_second: u64,
    /// Mean rate of everything else in this segment (audio, tables, container).
    pub other_bits_per_second: u64,
    /// Whether the first picture is an IDR.
    pub opens_on_idr: bool,
    /// Duration of the video in this segment in seconds.
    pub media_seconds: f64,
}

/// Looks at a source rendition's first segment (clear bytes; `init` for fragmented MP4) and says what it is, or why
/// it is not enhanced. Nothing is decoded.
///
/// # Errors
/// The reason the rendition cannot be offered.
pub fn probe(
    init: Option<&[u8]>,
    segment: Bytes,
    limits: &EnhancerConfig,
) -> Result<SourceInfo, Unsupported> {
    if segment.len() as u64 > limits.max_segment_bytes {
        return Err(Unsupported::TooLarge);
    }
    let bits = segment.len() as f64 * 8.0;
    let source = SourceSegment::parse(init, segment).map_err(|_| Unsupported::Unreadable)?;
    let video = source.video().ok_or(Unsupported::NoVideo)?;
    require_supported(video, limits)?;
    let sps = video.sps().ok_or(Unsupported::Unreadable)?;
    let video_bytes: usize = video.units.iter().map(|unit| unit.data.len()).sum();
    let media_seconds = video.duration() as f64 / f64::from(video.timescale.max(1));
    let per_second = |bits: f64| if media_seconds > 0.0 { (bits / media_seconds) as u64 } else { 0 };
    let video_bits = video_bytes as f64 * 8.0;
    let other = source.other();
    Ok(SourceInfo {
        container: source.kind(),
        width: sps.width,
        height: sps.height,
        frame_rate_milli: frame_rate_milli(video),
        profile_idc: sps.profile_idc,
        has_audio: other.has_audio,
        codecs_audio: (!other.audio_codecs.is_empty()).then(|| other.audio_codecs.join(",")),
        video_bits_per_second: per_second(video_bits),
        other_bits_per_second: per_second((bits - video_bits).max(0.0)),
        opens_on_idr: video.units.first().is_some_and(|unit| unit.random_access),
        media_seconds,
    })
}

/// Whether this video may go down the frame path.
pub(crate) fn require_supported(video: &VideoTrack, limits: &EnhancerConfig) -> Result<(), Unsupported> {
    if video.encrypted {
        return Err(Unsupported::Encrypted);
    }
    if video.codec != VideoCodec::H264 {
        return Err(Unsupported::NotH264);
    }
    if video.units.len() > limits.max_frames_per_segment as usize {
        return Err(Unsupported::TooLarge);
    }
    // A segment in the middle of a GOP may hold no parameter sets; those of its lead-in are looked at there.
    let Some(sps) = video.sps() else { return Ok(()) };
    if sps.bit_depth_luma != 8 || sps.bit_depth_chroma != 8 {
        return Err(Unsupported::BitDepth);
    }
    if sps.chroma_format_idc != 1 {
        return Err(Unsupported::Chroma);
    }
    if !sps.frame_mbs_only {
        return Err(Unsupported::Interlaced);
    }
    if sps.width.saturating_mul(sps.height) > limits.max_source_pixels {
        return Err(Unsupported::TooLarge);
    }
    Ok(())
}

/// Pictures per 1000 seconds: what the SPS says where the pictures' times agree within a hundredth, else the mean of
/// their distances (a median of 90 kHz ticks would make 23.981 of 23.976).
fn frame_rate_milli(video: &VideoTrack) -> Option<u32> {
    let declared =
        video.sps().and_then(|sps| sps.frame_rate).map(|(num, den)| f64::from(num) / f64::from(den.max(1)));
    let times = video.presentation_times();
    let span = times.last()?.saturating_sub(*times.first()?);
    let measured = (span > 0).then(|| f64::from(video.timescale) * (times.len() - 1) as f64 / span as f64);
    let rate = match (declared, measured) {
        (Some(declared), Some(measured)) if (declared / measured - 1.0).abs() < 0.01 => declared,
        (_, Some(measured)) => measured,
        (declared, None) => declared?,
    };
    Some((rate * 1000.0).round() as u32)
}
