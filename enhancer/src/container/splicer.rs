//! New pictures into a segment, one at a time.
//!
//! What of the segment is complete comes out as soon as it is, so that a player gets the begin of a segment while its end is
//! being made: in a transport stream with every picture, in MP4 with every movie fragment.

use super::{ContainerError, EncodedUnit, Slots, SourceSegment, fmp4, ts};
use crate::h264;

/// Replaces the video of a segment by units, which are in presentation order: see [`SourceSegment::splice`].
#[derive(Debug)]
pub struct Splicer<'a> {
    inner: Inner<'a>,
    source: &'a SourceSegment,
    expected: usize,
    given: usize,
}

#[derive(Debug)]
enum Inner<'a> {
    Ts(Box<ts::splice::Splicer<'a>>),
    Fmp4(fmp4::splice::Splicer<'a>),
}

impl<'a> Splicer<'a> {
    pub(super) fn new(
        source: &'a SourceSegment,
        expected: usize,
        slots: Option<&'a Slots>,
    ) -> Result<Self, ContainerError> {
        let inner = match source {
            SourceSegment::Ts(segment) => {
                Inner::Ts(Box::new(segment.splicer(slots).ok_or(ContainerError::NoVideo)?))
            }
            SourceSegment::Fmp4(segment) => Inner::Fmp4(segment.splicer(slots)),
        };
        Ok(Self { inner, source, expected, given: 0 })
    }

    /// How many units there must be.
    pub(super) fn expected(&self) -> usize {
        self.expected
    }

    /// Puts the next unit in. `out` gets what is complete with it: what all calls append, one after the other, is the
    /// segment.
    ///
    /// # Errors
    /// [`ContainerError::UnitCount`] for a unit too many, [`ContainerError::BadUnit`] for one that holds no picture, and
    /// [`ContainerError::OverLimit`] or [`ContainerError::Malformed`] where the container's tables cannot express or locate the
    /// result.
    pub fn push(&mut self, unit: EncodedUnit, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        let index = self.given;
        self.given += 1;
        if self.given > self.expected {
            return Err(self.wrong_count());
        }
        if !h264::annex_b_nals(&unit.data).any(|nal| h264::is_slice(h264::nal_type(nal))) {
            return Err(ContainerError::BadUnit { index, what: "no slice in it" });
        }
        match &mut self.inner {
            Inner::Ts(splicer) => splicer.push(&unit, out),
            Inner::Fmp4(splicer) => splicer.push(unit, out)?,
        }
        Ok(())
    }

    /// The end of the segment, once all units are in.
    ///
    /// # Errors
    /// [`ContainerError::UnitCount`] when units are missing, and as [`Splicer::push`].
    pub fn finish(self, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        if self.given != self.expected {
            return Err(self.wrong_count());
        }
        if self.expected == 0 {
            // video announced and none sent: nothing to replace
            out.extend_from_slice(self.source.bytes());
            return Ok(());
        }
        match self.inner {
            Inner::Ts(splicer) => splicer.finish(out),
            Inner::Fmp4(splicer) => splicer.finish(out)?,
        }
        Ok(())
    }

    fn wrong_count(&self) -> ContainerError {
        ContainerError::UnitCount { source_units: self.expected, given: self.given }
    }
}
