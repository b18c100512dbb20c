//! Which pictures of two renditions are shown at the same moment. Pure arithmetic on presentation times.

use crate::CompareError;
use crate::container::VideoTrack;

/// How far apart the two rates may be, as a part of one. Containers round times; renditions of another rate show other moments.
const RATES_APART: f64 = 0.02;

/// When a rendition's pictures are shown, in presentation order.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Times {
    /// In the track's own time scale: what a decoder gives back.
    pts: Vec<i64>,
    timescale: f64,
}

/// A picture of the low rendition, and those of the high one at the same moment, before and after it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Pair {
    pub(super) low: i64,
    pub(super) high: i64,
    pub(super) before: Option<i64>,
    pub(super) after: Option<i64>,
}

impl Times {
    pub(super) fn of(video: &VideoTrack) -> Self {
        Self::new(video.units.iter().map(|unit| unit.pts).collect(), video.timescale)
    }

    fn new(mut pts: Vec<i64>, timescale: u32) -> Self {
        pts.sort_unstable();
        pts.dedup();
        Self { pts, timescale: f64::from(timescale.max(1)) }
    }

    /// Seconds. Doubles are exact to less than a microsecond for any clock since 1970.
    fn seconds(&self, pts: i64) -> f64 {
        pts as f64 / self.timescale
    }

    /// Mean distance of two pictures, seconds.
    fn interval(&self) -> Option<f64> {
        let span = self.seconds(*self.pts.last()?) - self.seconds(*self.pts.first()?);
        (self.pts.len() > 1 && span > 0.0).then(|| span / (self.pts.len() - 1) as f64)
    }
}

/// At most `count` pairs, spread evenly over those there are. Two pictures are a pair if they are less than half a
/// picture's time apart.
pub(super) fn pairs(low: &Times, high: &Times, count: usize) -> Result<Vec<Pair>, CompareError> {
    let intervals = low.interval().zip(high.interval());
    let (interval, high_interval) = intervals.ok_or(CompareError::Times)?;
    if (high_interval / interval - 1.0).abs() > RATES_APART {
        return Err(CompareError::Times);
    }
    let mut all = Vec::new();
    let (mut at, mut high_at) = (0, 0);
    while let (Some(&low_pts), Some(&high_pts)) = (low.pts.get(at), high.pts.get(high_at)) {
        let apart = high.seconds(high_pts) - low.seconds(low_pts);
        if apart.abs() < interval / 2.0 {
            all.push((low_pts, high_at));
            (at, high_at) = (at + 1, high_at + 1);
        } else if apart < 0.0 {
            high_at += 1;
        } else {
            at += 1;
        }
    }
    if all.len() * 2 < low.pts.len() {
        return Err(CompareError::Times);
    }
    let count = count.clamp(1, all.len());
    let chosen = (0..count).filter_map(|index| all.get((2 * index + 1) * all.len() / (2 * count)));
    let pair = |&(low, at): &(i64, usize)| {
        let high_at = |at: Option<usize>| high.pts.get(at?).copied();
        Some(Pair {
            low,
            high: high_at(Some(at))?,
            before: high_at(at.checked_sub(1)),
            after: high_at(Some(at + 1)),
        })
    };
    Ok(chosen.filter_map(pair).collect())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn times(first: i64, step: i64, count: i64, timescale: u32) -> Times {
        Times::new((0..count).map(|index| first + index * step).collect(), timescale)
    }

    #[test]
    fn the_same_moments_on_two_clocks() {
        let low = times(90_000, 3600, 100, 90_000);
        let high = times(12_800, 512, 100, 12_800);
        let found = pairs(&low, &high, 4).unwrap();
        let places: Vec<i64> = found.iter().map(|pair| (pair.low - 90_000) / 3600).collect();
        assert_eq!(places, [12, 37, 62, 87]);
        assert!(found.iter().all(|pair| (pair.high - 12_800) / 512 == (pair.low - 90_000) / 3600));
        let first = found.first().unwrap();
        assert_eq!((first.before, first.after), (Some(first.high - 512), Some(first.high + 512)));
        assert_eq!(pairs(&low, &high, 1000).unwrap().len(), 100);
        let ends = pairs(&low, &high, 100).unwrap();
        assert_eq!((ends[0].before, ends[99].after), (None, None));
    }

    #[test]
    fn what_is_no_pair() {
        let low = times(0, 3600, 50, 90_000);
        for (high, holds, why) in [
            (times(1700, 3600, 50, 90_000), true, "within half a picture"),
            (times(36_000, 3600, 50, 90_000), true, "most of it overlaps"),
            (times(0, 3600, 40, 90_000), true, "some are missing at the end"),
            (times(3600 * 40, 3600, 50, 90_000), false, "hardly any overlap"),
            (times(9_000_000, 3600, 50, 90_000), false, "another time"),
            (times(0, 3000, 60, 90_000), false, "30 pictures a second for 25"),
            (times(0, 7200, 25, 90_000), false, "half the rate"),
            (times(0, 3600, 1, 90_000), false, "one picture"),
            (times(0, 3600, 0, 90_000), false, "none"),
            (times(0, 0, 9, 90_000), false, "all at once"),
        ] {
            assert_eq!(pairs(&low, &high, 12).is_ok(), holds, "{why}");
        }
        assert!(pairs(&times(0, 3600, 0, 90_000), &low, 12).is_err());
    }
}
