//! The new samples of a part of a segment: their bytes, and what the runs will say of each.

use std::ops::Range;

use super::Fmp4Segment;
use super::groups::Group;
use super::run::Entry;
use crate::container::{ContainerError, EncodedUnit, Slots};
use crate::h264::{annex_b_to_length_prefixed, nal};

/// What becomes of the samples of a part of a segment. Samples are counted as in the source; each becomes a picture, or several
/// that lie one behind the other in its place.
pub(super) struct Entries<'a> {
    slots: Option<&'a Slots>,
    /// Pictures before the part.
    before: usize,
    entries: Vec<Entry>,
    /// Bytes of each picture, taken out as they are placed.
    payloads: Vec<Vec<u8>>,
}

/// How many pictures some samples become.
pub(super) fn pictures(slots: Option<&Slots>, samples: Range<usize>) -> Range<usize> {
    slots.map_or(samples.clone(), |slots| slots.of(samples))
}

impl<'a> Entries<'a> {
    /// Of the samples of `group`, which become `units`. `presentation`: times of the whole segment's pictures, ascending.
    pub(super) fn new(
        segment: &Fmp4Segment,
        group: &Group,
        slots: Option<&'a Slots>,
        presentation: &[i64],
        units: &[EncodedUnit],
    ) -> Result<Self, ContainerError> {
        let before = pictures(slots, 0..group.samples.start).len();
        let payloads = payloads(before, units, segment.in_band)?;
        let mut of_pictures = payloads.iter().zip(units);
        let mut entries = Vec::with_capacity(units.len());
        for index in group.samples.clone() {
            let Some(sample) = segment.fragments.samples.get(index) else { break };
            let own = pictures(slots, index..index + 1);
            let slots = slots.map_or(&[][..], |slots| slots.all().get(own.clone()).unwrap_or_default());
            // Where there are no slots a sample is one picture, at its own decode time.
            let decoded = |picture: usize| slots.get(picture).map_or(sample.dts, |slot| slot.dts);
            for (picture, place) in own.clone().enumerate() {
                let Some((payload, unit)) = of_pictures.next() else { break };
                let end = if picture + 1 < own.len() {
                    decoded(picture + 1)
                } else {
                    sample.dts + i64::from(sample.duration)
                };
                entries.push(Entry {
                    duration: u32::try_from(end - decoded(picture)).unwrap_or(0),
                    size: payload.len() as u32, // checked by `payloads`
                    keyframe: unit.keyframe,
                    offset: presentation.get(place).map_or(0, |pts| pts - decoded(picture)),
                });
            }
        }
        Ok(Self { slots, before, entries, payloads })
    }

    /// Whether durations have to be stated, because they are not the source's.
    pub(super) fn states_durations(&self) -> bool {
        self.slots.is_some()
    }

    /// Of a run of samples.
    pub(super) fn of(&self, samples: Range<usize>) -> &[Entry] {
        self.entries.get(self.places(samples)).unwrap_or_default()
    }

    /// Bytes of what becomes of a sample.
    pub(super) fn bytes_of(&self, sample: usize) -> usize {
        self.of(sample..sample + 1).iter().map(|entry| entry.size as usize).sum()
    }

    /// What takes the place of a sample; empty the second time.
    pub(super) fn take(&mut self, sample: usize) -> Vec<u8> {
        let places = self.places(sample..sample + 1);
        let payloads = self.payloads.get_mut(places).unwrap_or_default();
        match payloads {
            [only] => std::mem::take(only),
            several => several.iter_mut().flat_map(std::mem::take).collect(),
        }
    }

    fn places(&self, samples: Range<usize>) -> Range<usize> {
        let Range { start, end } = pictures(self.slots, samples);
        start.saturating_sub(self.before)..end.saturating_sub(self.before)
    }
}

/// Samples as MP4 wants them: lengths of four bytes, no delimiters, and no parameter sets where the sample
/// entry has them.
fn payloads(first: usize, units: &[EncodedUnit], in_band: bool) -> Result<Vec<Vec<u8>>, ContainerError> {
    units
        .iter()
        .enumerate()
        .map(|(index, unit)| {
            annex_b_to_length_prefixed(&unit.data, |kind| match kind {
                nal::AUD => false,
                nal::SPS | nal::PPS | nal::SPS_EXTENSION => in_band,
                _ => true,
            })
            .filter(|bytes| u32::try_from(bytes.len()).is_ok())
            .ok_or(ContainerError::BadUnit { index: first + index, what: "larger than 4 GiB" })
        })
        .collect()
}
