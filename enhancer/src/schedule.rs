//! Decisions of the queue, pure: which tier a segment gets, from costs that were measured and time that is left.
//!
//! Better tiers cost more. The best one whose predicted time fits before the deadline is taken, with the work
//! that waits behind it counted in, because a slow choice is paid by everybody in the queue.

/// Seconds of wall clock per output pixel (all stages overlapped), learned from what ran.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Cost {
    seconds_per_pixel: f64,
    samples: u32,
    /// It was passed over since it last ran.
    relaxed: bool,
    /// What it is never expected to fall below.
    floor: f64,
}

/// Weight of a new measurement: the last ten or so segments count.
const LEARNING_RATE: f64 = 0.2;

/// What a passed-over tier's prediction shrinks by, each time. A machine that was busy for a while must not be taken
/// for a slow one for ever; one try too early costs little, since past the deadline a segment is scaled plainly.
const RELAX: f64 = 0.98;

/// How many times too slow a warm-up run may have found a machine. Below that part of it no prediction shrinks: on a machine
/// for which a tier is far too dear it would otherwise be tried, and fail some viewer, every hundred segments.
const WARM_UP_DOUBT: f64 = 3.0;

/// Segments of fewer pictures teach nothing: opening an encoder costs as much as some pictures do.
const LEARN_FROM_PICTURES: u64 = 12;

/// The cheapest tier is tried once even if its estimate (from a warm-up run, perhaps on a machine that was busy starting) says
/// that it takes up to this many times too long.
const BENEFIT_OF_DOUBT: f64 = 2.0;

impl Cost {
    /// A first estimate, for example from the warm-up run.
    pub(crate) fn estimate(seconds_per_pixel: f64) -> Self {
        Self { seconds_per_pixel, samples: 0, relaxed: false, floor: seconds_per_pixel / WARM_UP_DOUBT }
    }

    /// Learns from `pictures` of `picture_pixels` output pixels each that took `seconds`.
    pub(crate) fn learn(&mut self, seconds: f64, pictures: u64, picture_pixels: u64) {
        let pixels = pictures * picture_pixels;
        if pictures < LEARN_FROM_PICTURES || pixels == 0 || !seconds.is_finite() {
            return;
        }
        let measured = seconds / pixels as f64;
        // The first real segment replaces the estimate, which knew nothing of decoder and encoder; and one after a pause
        // replaces what hope had made of the measurement before.
        let rate = if self.samples == 0 || self.relaxed { 1.0 } else { LEARNING_RATE };
        self.relaxed = false;
        self.seconds_per_pixel += (measured - self.seconds_per_pixel) * rate;
        self.samples = self.samples.saturating_add(1);
    }

    /// The tier was passed over for its cost: expect a little less next time.
    pub(crate) fn relax(&mut self) {
        if self.seconds_per_pixel > self.floor {
            self.seconds_per_pixel = (self.seconds_per_pixel * RELAX).max(self.floor);
            self.relaxed = true;
        }
    }

    /// Predicted wall clock seconds for `pixels`. No margin: a segment that takes longer is finished plainly in time.
    pub(crate) fn predict(&self, pixels: u64) -> f64 {
        self.seconds_per_pixel * pixels as f64
    }
}

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The tier at this place of the list.
    Tier(usize),
    /// The plain scaler: no tier is quick enough.
    Plain,
}

impl Choice {
    /// The tier that was too dear by the least.
    pub(crate) fn next_better(self) -> usize {
        match self {
            Self::Tier(place) => place + 1,
            Self::Plain => 0,
        }
    }
}

/// Picks from `tiers` (cheapest first). `seconds_left` is the time to the deadline, `None` without one;
/// `waiting` is how many viewers' segments wait for each lane behind this one.
pub(crate) fn choose(tiers: &[Cost], pixels: u64, seconds_left: Option<f64>, waiting: f64) -> Choice {
    let budget = seconds_left.map_or(f64::INFINITY, |left| left / (1.0 + waiting.max(0.0)));
    if let Some(best) = tiers.iter().rposition(|cost| cost.predict(pixels) <= budget) {
        return Choice::Tier(best);
    }
    match tiers.first() {
        Some(cost) if cost.samples == 0 && cost.predict(pixels) <= budget * BENEFIT_OF_DOUBT => {
            Choice::Tier(0)
        }
        _ => Choice::Plain,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Vec<Cost> {
        [1e-8, 4e-8].map(|seconds| Cost { samples: 1, ..Cost::estimate(seconds) }).to_vec()
    }

    #[test]
    fn the_best_tier_that_fits_is_taken() {
        let second_of_720p30 = 1280 * 720 * 30;
        // predicted: 0.28 s and 1.11 s
        for (left, waiting, expected) in [
            (None, 0.0, Choice::Tier(1)),
            (None, 9.0, Choice::Tier(1)),
            (Some(2.0), 0.0, Choice::Tier(1)),
            (Some(2.0), 1.0, Choice::Tier(0)),
            (Some(1.0), 0.0, Choice::Tier(0)),
            (Some(0.2), 0.0, Choice::Plain),
            (Some(-1.0), 0.0, Choice::Plain),
        ] {
            assert_eq!(choose(&tiers(), second_of_720p30, left, waiting), expected, "{left:?} {waiting}");
        }
    }

    #[test]
    fn no_tiers_leave_the_plain_scaler() {
        assert_eq!(choose(&[], 1, None, 0.0), Choice::Plain);
    }

    #[test]
    fn costs_follow_what_ran() {
        let mut cost = Cost::estimate(1.0);
        cost.learn(2.0, 20, 50);
        assert!((cost.predict(1000) - 2.0).abs() < 1e-9, "the estimate gives way to the first segment");
        for _ in 0..50 {
            cost.learn(4.0, 20, 50);
        }
        assert!((cost.predict(1000) - 4.0).abs() < 0.01);
        let learned = cost;
        cost.learn(f64::NAN, 20, 50);
        cost.learn(1.0, 20, 0);
        cost.learn(900.0, 2, 500);
        assert_eq!(cost, learned, "nonsense and two-picture segments teach nothing");
    }

    #[test]
    fn an_estimate_gets_the_benefit_of_the_doubt_once() {
        let mut cost = Cost::estimate(1.0);
        assert_eq!(choose(&[cost], 10, Some(6.0), 0.0), Choice::Tier(0));
        assert_eq!(choose(&[cost], 10, Some(4.9), 0.0), Choice::Plain, "but not at any price");
        cost.learn(20.0, 20, 1);
        assert_eq!(choose(&[cost], 10, Some(6.0), 0.0), Choice::Plain, "what was measured counts");
    }

    #[test]
    fn a_tier_that_was_slow_once_is_tried_again() {
        let mut cost = Cost { samples: 1, ..Cost::estimate(1.0) };
        let passed_over_until_tried = |cost: &mut Cost| {
            let mut passed_over = 0;
            while choose(&[*cost], 10, Some(5.0), 0.0) == Choice::Plain && passed_over < 1000 {
                cost.relax();
                passed_over += 1;
            }
            passed_over
        };
        let first = passed_over_until_tried(&mut cost);
        assert!((10..100).contains(&first), "{first}");
        // It is as slow as ever: the next try is as far away.
        cost.learn(20.0, 20, 1);
        assert_eq!(passed_over_until_tried(&mut cost), first);
    }

    #[test]
    fn a_tier_that_is_far_too_dear_is_never_tried() {
        let mut cost = Cost::estimate(4.0);
        for _ in 0..10_000 {
            cost.relax();
        }
        assert_eq!(choose(&[Cost::estimate(0.1), cost], 10, Some(10.0), 0.0), Choice::Tier(0));
        assert_eq!(choose(&[Cost::estimate(0.1), cost], 10, Some(14.0), 0.0), Choice::Tier(1));
    }
}
