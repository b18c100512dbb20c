//! Timestamp arithmetic: which picture is shown at which of the source's times.
//!
//! The source segment says when pictures are shown; the decoder says which of them it could make. Every one
//! of the source's times gets a picture: its own, or (where the decoder gave nothing) its neighbour's, so
//! that an enhanced segment has the source's frame count and duration whatever happened to its data.

use crate::container::{AccessUnit, Slots};
use crate::interpolate::Rate;

/// The presentation times of a segment's pictures, those that are to be made included: ascending, in ticks of the track's time
/// scale.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Timeline {
    pts: Vec<i64>,
    /// Ticks per second of `pts`.
    timescale: u32,
    /// The same times as the encoder gets them.
    encoder_pts_90k: Vec<i64>,
    /// Whether the picture at this place was an IDR picture in the source.
    idr: Vec<bool>,
    /// How many places behind this one the source has no picture for; empty where it has one for all.
    made_after: Vec<usize>,
    /// How far apart the source's pictures are, where there are such places.
    rate: Option<Rate>,
}

/// Presentation times of transport streams begin anew after this; segments on both sides are unwrapped each by itself.
const WRAP_90K: i64 = 1 << 33;

impl Timeline {
    /// Times of `units`, which come in decode order.
    pub(crate) fn new(units: &[AccessUnit], timescale: u32) -> Self {
        let mut order: Vec<(i64, bool)> = units.iter().map(|unit| (unit.pts, unit.random_access)).collect();
        order.sort_by_key(|&(pts, _)| pts);
        let pts: Vec<i64> = order.iter().map(|o| o.0).collect();
        let encoder_pts_90k = encoder_times(&pts, timescale);
        let idr = order.iter().map(|o| o.1).collect();
        Self { pts, timescale, encoder_pts_90k, idr, made_after: Vec::new(), rate: None }
    }

    /// With places between those of `units`, as `slots` says; the source's pictures are so far apart as `rate` says.
    pub(crate) fn parted(units: &[AccessUnit], timescale: u32, slots: &Slots, rate: Rate) -> Self {
        let own = Self::new(units, timescale);
        let pts: Vec<i64> = slots.all().iter().map(|slot| slot.pts).collect();
        let (mut idr, mut made_after) = (vec![false; pts.len()], vec![0; pts.len()]);
        for (unit, was_idr) in own.idr.iter().enumerate() {
            let places = slots.of(unit..unit + 1);
            if let (Some(idr), Some(made_after)) =
                (idr.get_mut(places.start), made_after.get_mut(places.start))
            {
                (*idr, *made_after) = (*was_idr, places.len().saturating_sub(1));
            }
        }
        let encoder_pts_90k = encoder_times(&pts, timescale);
        Self { pts, encoder_pts_90k, idr, made_after, rate: Some(rate), ..own }
    }

    /// How many places behind this one the source has no picture for.
    pub(crate) fn made_after(&self, index: usize) -> usize {
        self.made_after.get(index).copied().unwrap_or(0)
    }

    /// How many places the source has no picture for.
    pub(crate) fn made(&self) -> u32 {
        u32::try_from(self.made_after.iter().sum::<usize>()).unwrap_or(u32::MAX)
    }

    /// Whether something is to be shown between the segment's last picture and one of the next segment's at `pts`, because that
    /// one follows as its neighbours do.
    pub(crate) fn leads_to(&self, pts: i64) -> bool {
        let last = self.made_after.iter().rposition(|after| *after > 0);
        let Some((last, rate)) = last.zip(self.rate) else { return false };
        let is_last = last + self.made_after(last) + 1 == self.len();
        let gap = self.pts.get(last).map_or(0, |last| pts.saturating_sub(*last));
        let gaps = [gap, gap.rem_euclid(WRAP_90K)];
        is_last && gaps.iter().any(|gap| rate.is_regular(*gap, self.timescale))
    }

    /// Pictures that the segment is to have.
    pub(crate) fn len(&self) -> usize {
        self.pts.len()
    }

    /// The place in presentation order of the picture shown at `pts`, if the segment has one there.
    pub(crate) fn index_of(&self, pts: i64) -> Option<usize> {
        self.pts.binary_search(&pts).ok()
    }

    /// When the picture at `index` is shown, for the encoder: 90 kHz whatever the track's own time scale is (the encoder
    /// writes its time base into the SPS, which must not depend on the container), from 0, and strictly growing even
    /// where a broken source shows two pictures at once. Only rate control looks at it; the container keeps the
    /// source's own times.
    pub(crate) fn encoder_pts_90k(&self, index: usize) -> i64 {
        self.encoder_pts_90k.get(index).copied().unwrap_or(0)
    }

    /// Whether the source had an IDR picture at `index`: kept, so that seek points stay.
    pub(crate) fn is_idr(&self, index: usize) -> bool {
        self.idr.get(index).copied().unwrap_or(false)
    }

    /// Seconds from the first picture's time to the last one's end (taken as long as the mean distance).
    pub(crate) fn seconds(&self) -> f64 {
        match (self.pts.first(), self.pts.last()) {
            (Some(first), Some(last)) if self.pts.len() > 1 => {
                let span = last.saturating_sub(*first) as f64 / f64::from(self.timescale.max(1));
                span * self.pts.len() as f64 / (self.pts.len() - 1) as f64
            }
            _ => 0.0,
        }
    }
}

fn encoder_times(pts: &[i64], timescale: u32) -> Vec<i64> {
    let first = pts.first().copied().unwrap_or(0);
    let mut before = -1;
    pts.iter()
        .map(|&pts| {
            let ticks = i128::from(pts) - i128::from(first);
            let scaled = ticks * 90_000 / i128::from(timescale.max(1));
            before = i64::try_from(scaled).unwrap_or(i64::MAX / 2).max(before + 1);
            before
        })
        .collect()
}

/// Decides which pictures fill which places, as pictures arrive in presentation order.
#[derive(Debug)]
pub(crate) struct Hold {
    next: usize,
    len: usize,
    arrived: usize,
}

/// Places to fill: with the picture before the one that arrived, and with that one itself.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Due {
    /// Places that repeat the picture before.
    pub(crate) held: std::ops::Range<usize>,
    /// Places the arrived picture fills: its own, and (for the first) all before it.
    pub(crate) fresh: std::ops::Range<usize>,
}

impl Hold {
    pub(crate) fn new(len: usize) -> Self {
        Self { next: 0, len, arrived: 0 }
    }

    /// A picture for place `index` has arrived. `None`: late or double, to be dropped.
    pub(crate) fn arrive(&mut self, index: usize) -> Option<Due> {
        if index < self.next || index >= self.len {
            return None;
        }
        let due = if self.arrived == 0 {
            Due { held: 0..0, fresh: 0..index + 1 }
        } else {
            Due { held: self.next..index, fresh: index..index + 1 }
        };
        self.arrived += 1;
        self.next = index + 1;
        Some(due)
    }

    /// Places still empty at the end.
    pub(crate) fn rest(&self) -> std::ops::Range<usize> {
        self.next..self.len
    }

    /// Places that do not show a picture of their own.
    pub(crate) fn held(&self) -> usize {
        self.len - self.arrived
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use bytes::Bytes;

    fn unit(pts: i64, random_access: bool) -> AccessUnit {
        AccessUnit { data: Bytes::new(), pts, dts: 0, duration: None, random_access }
    }

    #[test]
    fn presentation_order_comes_from_decode_order() {
        let timeline =
            Timeline::new(&[unit(0, true), unit(9000, false), unit(3000, false), unit(6000, false)], 90_000);
        assert_eq!(timeline.len(), 4);
        assert_eq!(timeline.index_of(9000), Some(3));
        assert_eq!(timeline.index_of(4000), None);
        assert!((timeline.seconds() - 4.0 / 30.0).abs() < 1e-9);
        assert!(timeline.is_idr(0) && !timeline.is_idr(3));
    }

    #[test]
    fn the_encoder_gets_90_khz_and_no_twins() {
        let times = |timescale, pts: &[i64]| {
            let units: Vec<AccessUnit> = pts.iter().map(|&pts| unit(pts, false)).collect();
            let timeline = Timeline::new(&units, timescale);
            (0..pts.len()).map(|index| timeline.encoder_pts_90k(index)).collect::<Vec<_>>()
        };
        assert_eq!(times(90_000, &[500, 500, 500, 590]), [0, 1, 2, 90]);
        assert_eq!(times(30_000, &[-1001, 0, 1001]), [0, 3003, 6006]);
        assert_eq!(times(10_000_000, &[7, 8, 9]), [0, 1, 2]);
        assert_eq!(times(0, &[0, 1]), [0, 90_000]);
    }

    #[test]
    fn one_picture_has_no_distance_to_measure() {
        assert!(Timeline::new(&[unit(5, true)], 90_000).seconds().abs() < 1e-9);
        assert_eq!(Timeline::new(&[], 90_000).len(), 0);
    }

    #[test]
    fn missing_pictures_are_held() {
        // (places, arrivals) -> (what each place shows)
        for (len, arrivals, shown) in [
            (4, vec![0, 1, 2, 3], vec![0, 1, 2, 3]),
            (4, vec![2, 3], vec![2, 2, 2, 3]),
            (5, vec![0, 3], vec![0, 0, 0, 3, 3]),
            (3, vec![1, 1, 0, 7], vec![1, 1, 1]),
            (2, vec![], vec![]),
        ] {
            let mut hold = Hold::new(len);
            let mut places = Vec::new();
            let mut last = None;
            for index in arrivals {
                let Some(due) = hold.arrive(index) else { continue };
                places.extend(due.held.map(|_| last.unwrap()));
                places.extend(due.fresh.map(|_| index));
                last = Some(index);
            }
            if let Some(last) = last {
                places.extend(hold.rest().map(|_| last));
            }
            assert_eq!(places, shown);
        }
    }
}
