//! A segment's video, and its pictures one access unit at a time.

use acuity_config::EnhancerConfig;
use bytes::Bytes;

use crate::codec::{Decoder, Picture};
use crate::container::{SourceSegment, VideoTrack};
use crate::feed::annex_b;
use crate::probe::require_supported;
use crate::{EnhanceError, Unsupported};

/// The video of a segment, if it can be decoded on its own.
pub(super) fn video(
    init: Option<&[u8]>,
    segment: &Bytes,
    limits: &EnhancerConfig,
) -> Result<VideoTrack, EnhanceError> {
    if segment.len() as u64 > limits.max_segment_bytes {
        return Err(Unsupported::TooLarge.into());
    }
    let source = SourceSegment::parse(init, segment.clone())?;
    let video = source.video().ok_or(Unsupported::NoVideo)?;
    require_supported(video, limits)?;
    match video.units.first() {
        Some(first) if first.random_access => Ok(video.clone()),
        Some(_) => Err(EnhanceError::OpensMidGop),
        None => Err(Unsupported::NoVideo.into()),
    }
}

/// Gives access unit `at` to the decoder, and after the last one takes what it still holds; whether that was all.
pub(super) fn feed(
    decoder: &mut Decoder,
    video: &VideoTrack,
    at: usize,
    emit: &mut dyn FnMut(i64, Picture),
) -> Result<bool, EnhanceError> {
    let Some(unit) = video.units.get(at) else {
        decoder.drain(emit)?;
        return Ok(true);
    };
    decoder.push(&annex_b(video, unit), unit.pts, emit)?;
    Ok(false)
}
