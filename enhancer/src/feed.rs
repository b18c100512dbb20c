//! The two ends of a lane's pipeline: a segment's access units into the decoder, pictures into the encoder and from there into
//! the segment.

use std::time::Instant;

use bytes::Bytes;

use crate::codec::{Decoder, Encoder, Picture};
use crate::container::{AccessUnit, EncodedUnit, Framing, SourceSegment, Splicer, VideoTrack};
use crate::h264;
use crate::outlet::Outlet;
use crate::pipeline::{Decode, Emit, Encode, Placed};
use crate::timeline::Timeline;
use crate::upscale::PicturePool;
use crate::{EnhanceError, EnhanceRequest};

/// The lead-in's pictures. A lead-in that cannot be read is as good as none: what refers to it is held.
pub(crate) fn lead_in(request: &EnhanceRequest) -> Vec<VideoTrack> {
    let parse = |bytes: &Bytes| SourceSegment::parse(request.init.as_deref(), bytes.clone()).ok();
    request.lead_in.iter().filter_map(parse).filter_map(|segment| segment.video().cloned()).collect()
}

/// Decodes a segment, after the segments it refers to.
pub(crate) struct Feed<'a> {
    pub(crate) decoder: Decoder,
    pub(crate) lead_in: &'a [VideoTrack],
    pub(crate) video: &'a VideoTrack,
    pub(crate) timeline: &'a Timeline,
}

impl Decode for Feed<'_> {
    type Picture = Picture;

    fn run(mut self, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        // The last picture before the segment: shown if the segment itself gives none.
        let mut before = None;
        let mut emitted = false;
        let mut outcome = Ok(());
        // Lead-in pictures may have times that the segment's also have (each segment unwraps its own): they
        // are given times of their own, below any that can occur.
        let mut place = |pts: i64, picture: Picture| {
            if outcome.is_err() {
                return;
            }
            if pts < LEAD_IN_PTS {
                before = Some(picture);
            } else if let Some(index) = self.timeline.index_of(pts)
                && picture.is_planar_420()
            {
                emitted = true;
                outcome = emit(Placed { index, picture });
            }
        };
        let mut lead_in_pts = i64::MIN / 2;
        for track in self.lead_in {
            for unit in &track.units {
                // Order is all that matters of these times, and the decoder derives none from them.
                lead_in_pts += 1;
                self.decoder.push(&annex_b(track, unit), lead_in_pts, &mut place)?;
            }
        }
        for unit in &self.video.units {
            self.decoder.push(&annex_b(self.video, unit), unit.pts, &mut place)?;
        }
        self.decoder.drain(&mut place)?;
        outcome?;
        match before {
            Some(picture) if !emitted && picture.is_planar_420() => emit(Placed { index: 0, picture }),
            _ => Ok(()),
        }
    }
}

/// Times below this belong to lead-in pictures.
const LEAD_IN_PTS: i64 = i64::MIN / 4;

/// An access unit as the decoder takes it. Parameter sets from an init segment go before every IDR picture, where a
/// transport stream has them.
pub(crate) fn annex_b<'a>(track: &VideoTrack, unit: &'a AccessUnit) -> std::borrow::Cow<'a, [u8]> {
    match track.framing {
        Framing::AnnexB => std::borrow::Cow::Borrowed(&unit.data),
        Framing::LengthPrefixed(size) => {
            let is_first = track.units.first().is_some_and(|first| std::ptr::eq(first, unit));
            let mut data =
                if unit.random_access || is_first { track.parameter_sets.annex_b() } else { Vec::new() };
            data.extend_from_slice(&h264::length_prefixed_to_annex_b(&unit.data, size));
            std::borrow::Cow::Owned(data)
        }
    }
}

/// The encoder with the memory its pictures go back to, and the segment that its units go into.
pub(crate) struct Sink<'a> {
    pub(crate) encoder: Encoder,
    pub(crate) splicer: Splicer<'a>,
    pub(crate) outlet: Outlet,
    /// What putting units in took so far.
    pub(crate) splice_seconds: f64,
    pub(crate) pool: PicturePool,
    pub(crate) size: (u32, u32),
}

impl Sink<'_> {
    fn splice(&mut self, units: Vec<EncodedUnit>) -> Result<(), EnhanceError> {
        let started = Instant::now();
        for unit in units {
            self.splicer.push(unit, self.outlet.buffer())?;
            self.outlet.one_more_picture();
        }
        self.splice_seconds += started.elapsed().as_secs_f64();
        Ok(())
    }
}

impl Encode for Sink<'_> {
    type Picture = Picture;
    /// The segment, and seconds that putting units into it took.
    type Output = (Bytes, f64);

    fn push(&mut self, picture: &mut Picture, pts_90k: i64, idr: bool) -> Result<(), EnhanceError> {
        self.encoder.push(picture, pts_90k, idr)?;
        let units = self.encoder.take_units();
        self.splice(units)
    }

    fn blank(&mut self) -> Result<Picture, EnhanceError> {
        Picture::black(self.size.0, self.size.1)
    }

    fn recycle(&mut self, picture: Picture) {
        self.pool.give_back(picture);
    }

    fn finish(mut self) -> Result<(Bytes, f64), EnhanceError> {
        let units = self.encoder.finish()?;
        self.splice(units)?;
        self.splicer.finish(self.outlet.buffer())?;
        Ok((self.outlet.finish(), self.splice_seconds))
    }
}
