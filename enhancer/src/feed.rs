//! The two ends of a lane's pipeline: a segment's access units into the decoder, and the first of the segment behind it; pictures into the
//! encoder and from there into the segment.

use std::sync::atomic::Ordering;
use std::time::Instant;

use bytes::Bytes;

use crate::codec::{Codecs, Decoder, Encoder, OnCard, Picture};
use crate::container::{AccessUnit, EncodedUnit, Framing, SourceSegment, Splicer, VideoTrack};
use crate::h264;
use crate::outlet::Outlet;
use crate::pipeline::{Decode, Emit, Encode, Placed};
use crate::timeline::Timeline;
use crate::upscale::PicturePool;
use crate::{EnhanceError, EnhanceRequest, Following};

/// The lead-in's pictures. A lead-in that cannot be read is as good as none: what refers to it is held.
pub(crate) fn lead_in(request: &EnhanceRequest) -> Vec<VideoTrack> {
    let parse = |bytes: &Bytes| SourceSegment::parse(request.init.as_deref(), bytes.clone()).ok();
    request.lead_in.iter().filter_map(parse).filter_map(|segment| segment.video().cloned()).collect()
}

/// Decodes a segment, after the segments it refers to.
pub(crate) struct Feed<'a> {
    pub(crate) codecs: &'a Codecs,
    pub(crate) on_card: &'a OnCard,
    pub(crate) lead_in: &'a [VideoTrack],
    pub(crate) video: &'a VideoTrack,
    pub(crate) timeline: &'a Timeline,
    /// The initialisation section of this segment and the one behind it.
    pub(crate) init: Option<&'a [u8]>,
    pub(crate) following: &'a Following,
}

impl Feed<'_> {
    /// The first picture of the segment behind this one, if that is here, opens on it, and the last picture leads to it.
    fn first_of_following(&self) -> Result<Option<Picture>, EnhanceError> {
        let Some(bytes) = self.following.get().filter(|_| self.timeline.made() > 0) else {
            return Ok(None);
        };
        let Ok(segment) = SourceSegment::parse(self.init, bytes.clone()) else {
            return Ok(None);
        };
        // Pictures that are shown before the one it opens on refer to this segment: decoding them is not worth its while.
        let Some((video, first)) = segment.video().and_then(|video| Some((video, video.units.first()?)))
        else {
            return Ok(None);
        };
        let is_first = video.units.iter().all(|unit| unit.pts >= first.pts);
        let same_clock = video.timescale == self.video.timescale;
        if !(first.random_access && is_first && same_clock && self.timeline.leads_to(first.pts)) {
            return Ok(None);
        }
        let mut found = None;
        let mut take = |_, picture: Picture| found = Some(picture);
        let mut decoder = Decoder::open()?;
        decoder.push(&annex_b(video, first), first.pts, &mut take)?;
        decoder.drain(&mut take)?;
        Ok(found.filter(Picture::is_planar_420))
    }
}

impl Decode for Feed<'_> {
    type Picture = Picture;

    fn run(self, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        let mut placing =
            Placing { timeline: self.timeline, emit, last: None, before: None, outcome: Ok(()) };
        let mut decoder = self.codecs.decoder()?;
        self.on_card.decoder.store(decoder.is_on_card(), Ordering::Relaxed);
        match self.decode(&mut decoder, &mut placing) {
            // The stream is decoded again from its begin; what has been emitted stays.
            Err(error) if decoder.is_on_card() && placing.outcome.is_ok() => {
                self.codecs.decoder_failed(&error);
                self.on_card.decoder.store(false, Ordering::Relaxed);
                self.decode(&mut Decoder::open()?, &mut placing)?;
            }
            decoded => decoded?,
        }
        let is_ready = placing.outcome.is_ok() && placing.last.is_some();
        let following = if is_ready { self.first_of_following()? } else { None };
        placing.finish(following)
    }
}

impl Feed<'_> {
    fn decode(&self, decoder: &mut Decoder, placing: &mut Placing<'_>) -> Result<(), EnhanceError> {
        let mut place = |pts, picture| placing.place(pts, picture);
        // Lead-in pictures may have times that the segment's also have (each segment unwraps its own): they
        // are given times of their own, below any that can occur.
        let mut lead_in_pts = i64::MIN / 2;
        for track in self.lead_in {
            for unit in &track.units {
                // Order is all that matters of these times, and the decoder derives none from them.
                lead_in_pts += 1;
                decoder.push(&annex_b(track, unit), lead_in_pts, &mut place)?;
            }
        }
        for unit in &self.video.units {
            decoder.push(&annex_b(self.video, unit), unit.pts, &mut place)?;
        }
        decoder.drain(&mut place)
    }
}

/// Gives decoded pictures their places.
struct Placing<'a> {
    timeline: &'a Timeline,
    emit: Emit<'a, Picture>,
    /// The last place that was emitted.
    last: Option<usize>,
    /// The last picture before the segment: shown if the segment itself gives none.
    before: Option<Picture>,
    outcome: Result<(), EnhanceError>,
}

impl Placing<'_> {
    fn place(&mut self, pts: i64, picture: Picture) {
        if self.outcome.is_err() {
            return;
        }
        if pts < LEAD_IN_PTS {
            self.before = Some(picture);
        } else if let Some(index) = self.timeline.index_of(pts)
            && picture.is_planar_420()
            && self.is_next(index)
        {
            self.last = Some(index);
            self.outcome = (self.emit)(Placed { index, picture });
        }
    }

    /// Whether a place has not been emitted by another decoder that stopped.
    fn is_next(&self, index: usize) -> bool {
        self.last.is_none_or(|last| index > last)
    }

    /// `following`: the first picture of the segment behind, which the last one leads to.
    fn finish(self, following: Option<Picture>) -> Result<(), EnhanceError> {
        self.outcome?;
        if let Some(picture) = following {
            return (self.emit)(Placed { index: self.timeline.len(), picture });
        }
        match self.before {
            Some(picture) if self.last.is_none() && picture.is_planar_420() => {
                (self.emit)(Placed { index: 0, picture })
            }
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
    pub(crate) codecs: &'a Codecs,
    pub(crate) splicer: Splicer<'a>,
    pub(crate) outlet: Outlet,
    /// What putting units in took so far.
    pub(crate) splice_seconds: f64,
    pub(crate) pool: PicturePool,
    pub(crate) size: (u32, u32),
}

impl Sink<'_> {
    /// A card's encoder that fails in a segment costs that segment; those behind it are the processor's.
    fn told<T>(&self, result: Result<T, EnhanceError>) -> Result<T, EnhanceError> {
        if let Err(error) = &result
            && self.encoder.is_on_card()
        {
            self.codecs.encoder_failed(error);
        }
        result
    }

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
        let pushed = self.encoder.push(picture, pts_90k, idr);
        self.told(pushed)?;
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
        let units = self.encoder.finish();
        let units = self.told(units)?;
        self.splice(units)?;
        self.splicer.finish(self.outlet.buffer())?;
        Ok((self.outlet.finish(), self.splice_seconds))
    }
}

#[cfg(test)]
#[path = "feed_tests.rs"]
mod tests;
