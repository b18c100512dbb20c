//! More pictures than the source has: which of them take the place of each source unit, and when.
//!
//! Splicing is one for one unless it is told otherwise. Slots say it: each unit of the source is followed by pictures that were
//! not there, which share its part of the segment (the packets where it began, the sample's share of a run).

use std::ops::Range;

/// When a picture is shown and decoded, in the track's ticks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Slot {
    /// Presentation time.
    pub pts: i64,
    /// Decode time.
    pub dts: i64,
}

/// The pictures of a segment in presentation order, which is the order they are given in, parted among the source's units.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Slots {
    slots: Vec<Slot>,
    /// For each unit of the source, in decode order, one past its last slot.
    ends: Vec<usize>,
}

impl Slots {
    /// Slots of as many units as `ends` has entries: one past the last slot of each.
    ///
    /// `None` unless every unit has a slot at least and times grow from slot to slot, but for what the source's own units may
    /// do: `dts` must not fall.
    #[must_use]
    pub fn new(slots: Vec<Slot>, ends: Vec<usize>) -> Option<Self> {
        let grows = ends.first().is_none_or(|first| *first > 0)
            && ends.windows(2).all(|pair| pair.first() < pair.get(1))
            && ends.last().copied().unwrap_or(0) == slots.len();
        let in_order = slots.windows(2).all(|pair| match pair {
            [a, b] => a.pts <= b.pts && a.dts <= b.dts,
            _ => true,
        });
        (grows && in_order).then_some(Self { slots, ends })
    }

    /// All slots.
    #[must_use]
    pub fn all(&self) -> &[Slot] {
        &self.slots
    }

    /// How many pictures there are to be.
    #[must_use]
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none, because the source has none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.slots.is_empty()
    }

    /// Units of the source.
    #[must_use]
    pub fn units(&self) -> usize {
        self.ends.len()
    }

    /// The slots of some of the source's units.
    #[must_use]
    pub fn of(&self, units: Range<usize>) -> Range<usize> {
        let begin = |unit: usize| match unit.checked_sub(1) {
            Some(before) => self.ends.get(before).copied().unwrap_or(self.slots.len()),
            None => 0,
        };
        begin(units.start)..begin(units.end.max(units.start))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn slots(times: &[i64], ends: &[usize]) -> Option<Slots> {
        Slots::new(times.iter().map(|&time| Slot { pts: time + 5, dts: time }).collect(), ends.to_vec())
    }

    #[test]
    fn units_have_their_slots() {
        let slots = slots(&[0, 10, 20, 30, 40], &[2, 3, 5]).unwrap();
        assert_eq!((slots.len(), slots.units()), (5, 3));
        assert_eq!([slots.of(0..1), slots.of(1..2), slots.of(2..3)], [0..2, 2..3, 3..5]);
        assert_eq!([slots.of(0..3), slots.of(1..1), slots.of(3..9)], [0..5, 2..2, 5..5]);
    }

    #[test]
    fn what_is_no_order_is_refused() {
        assert!(slots(&[], &[]).is_some_and(|slots| slots.is_empty()));
        assert!(slots(&[0, 0], &[1, 2]).is_some(), "as a source may have it");
        for (times, ends) in [
            (&[0, 1][..], &[1][..]),
            (&[0, 1], &[0, 2]),
            (&[1, 0], &[1, 2]),
            (&[0, 1], &[2, 2]),
            (&[0], &[2]),
        ] {
            assert_eq!(slots(times, ends), None, "{times:?} {ends:?}");
        }
    }
}
