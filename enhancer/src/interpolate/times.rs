//! Which times get a picture that the source has not. Pure arithmetic on the track's own ticks.
//!
//! | gap | what becomes of it |
//! |---|---|
//! | regular: half to one and a half of the nominal distance | parted in equal parts, rounded down to a tick |
//! | irregular, or too short to part | stays as it is |
//! | the last one of a segment | by the samples' durations (MP4) or the gap before it; what stands there is another question |
//!
//! A picture's own time never moves, so nothing adds up, and where a segment is made without knowing its neighbours the times
//! are those that one who knew all of them would have chosen, to a tick.

use crate::container::{AccessUnit, Slot, Slots};

/// How many pictures take the place of one, and how far apart the source's are, nominally.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Rate {
    /// Pictures for each of the source's, 2 or 4.
    pub(crate) factor: u32,
    /// Nominal pictures per 1000 seconds of the result.
    pub(crate) output_milli: u32,
}

impl Rate {
    /// The nominal distance of the source's pictures, in ticks.
    fn interval(self, timescale: u32) -> f64 {
        f64::from(timescale) * 1000.0 * f64::from(self.factor) / f64::from(self.output_milli.max(1))
    }

    /// Whether a gap is one between two neighbours of a moving picture.
    pub(crate) fn is_regular(self, gap: i64, timescale: u32) -> bool {
        let nominal = self.interval(timescale);
        (0.5 * nominal..=1.5 * nominal).contains(&(gap as f64))
    }
}

/// The times of a segment, and what the timeline has to know of them.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Times {
    /// Every picture that is to be.
    pub(crate) slots: Slots,
    /// When the segment's last picture ends, and the next segment's first one is expected.
    pub(crate) end: i64,
}

/// The times of a segment's pictures; `units` in decode order. `None`: no gap of it can be parted, so it stays one for one.
pub(crate) fn times(units: &[AccessUnit], timescale: u32, rate: Rate) -> Option<Times> {
    // Units that go back in decode time are a container's fault that is not ours to mend.
    let in_order = units.windows(2).all(|pair| matches!(pair, [a, b] if a.dts <= b.dts));
    if units.is_empty() || !in_order || rate.factor < 2 {
        return None;
    }
    let mut presented: Vec<i64> = units.iter().map(|unit| unit.pts).collect();
    presented.sort_unstable();
    let end = end(units, &presented, timescale, rate);
    let factor = i64::from(rate.factor);
    let mut slots = Vec::with_capacity(units.len() * rate.factor as usize);
    let mut ends = Vec::with_capacity(units.len());
    let mut decode_gap = rate.interval(timescale) as i64;
    for (place, unit) in units.iter().enumerate() {
        let pts = presented.get(place).copied()?;
        let gap = presented.get(place + 1).unwrap_or(&end) - pts;
        decode_gap = match (unit.duration, units.get(place + 1)) {
            // A fragment that begins sooner than the one before it ends would be overlapped.
            (Some(duration), Some(next)) => duration.min(next.dts - unit.dts),
            (Some(duration), None) => duration,
            (None, Some(next)) => next.dts - unit.dts,
            (None, None) => decode_gap,
        };
        slots.push(Slot { pts, dts: unit.dts });
        if rate.is_regular(gap, timescale) && gap >= factor && decode_gap >= factor {
            let part = |part: i64| Slot {
                pts: pts + gap * part / factor,
                dts: unit.dts + decode_gap * part / factor,
            };
            slots.extend((1..factor).map(part));
        }
        ends.push(slots.len());
    }
    if slots.len() == units.len() {
        return None;
    }
    Some(Times { slots: Slots::new(slots, ends)?, end })
}

/// When the last picture ends: where durations are stated, when as much has been shown as they come to; else after as long as
/// the picture before it took, if that was regular.
fn end(units: &[AccessUnit], presented: &[i64], timescale: u32, rate: Rate) -> i64 {
    let [.., last] = presented else { return 0 };
    let stated: Option<i64> = units.iter().map(|unit| unit.duration).sum();
    let by_durations = stated.and_then(|stated| presented.first()?.checked_add(stated));
    let by_gap = match presented {
        [.., before, last] => Some(last + (last - before)),
        _ => None,
    };
    let regular = |end: &i64| rate.is_regular(end - last, timescale);
    let nominal = last + rate.interval(timescale).round() as i64;
    by_durations.filter(regular).or(by_gap.filter(regular)).unwrap_or(nominal)
}

#[cfg(test)]
#[path = "times_tests.rs"]
mod tests;
