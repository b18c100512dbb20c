//! What one way of making pictures costs on this machine: learned from what ran, per size of picture. Pure.
//!
//! Costs are kept as the logarithm of seconds per output pixel, because what disturbs them multiplies them: a neighbour on the
//! same cores makes everything a third slower, not a second. Mean and spread together give a time that a given share of
//! segments keeps within, which is what a deadline needs; the mean alone is missed by every other segment.

/// Weight of a new measurement: the last ten or so segments count.
const LEARNING_RATE: f64 = 0.2;

/// Weight of a measurement that is far off in the same direction as the one before: the machine has changed, not the segment.
const SHIFT_RATE: f64 = 0.6;

/// So many times the spread is "far off".
const FAR_OFF: f64 = 2.0;

/// Spread (standard deviation of the logarithm) of what has not run often enough to have shown its own: a quarter more or less.
const FIRST_SPREAD: f64 = 0.25;

/// No machine is steadier than this for long, whatever its last ten segments say.
const LEAST_SPREAD: f64 = 0.03;

/// Beyond this the spread says only that nothing is known; a prediction must not run away from a machine that stuttered.
const MOST_SPREAD: f64 = 0.6;

/// What a passed-over tier's prediction shrinks by, each time. A machine that was busy for a while must not be taken
/// for a slow one for ever; one try too early costs little, since past its limit a segment is scaled plainly.
const RELAX: f64 = 0.98;

/// How many times too slow a proof run may have found a machine. Below that part of it no prediction shrinks: on a machine
/// for which a tier is far too dear it would otherwise be tried, and fail some viewer, every hundred segments.
const PROOF_DOUBT: f64 = 3.0;

/// Segments of fewer pictures teach nothing: opening an encoder costs as much as some pictures do.
const LEARN_FROM_PICTURES: u64 = 12;

/// Sizes are told apart by octaves of output pixels: 2^14 (128x128) and less, up to 2^25 and more (8K).
pub(crate) const SIZES: usize = 12;
const SMALLEST_OCTAVE: f64 = 14.0;

/// The size class of pictures of so many pixels.
pub(crate) fn size_of(picture_pixels: u64) -> usize {
    let octave = (picture_pixels.max(1) as f64).log2() - SMALLEST_OCTAVE;
    (octave.round().max(0.0) as usize).min(SIZES - 1)
}

/// What was learned of one size.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Learned {
    /// Mean of the logarithm of seconds per output pixel.
    pub(crate) mean_ln: f64,
    /// Variance of that logarithm.
    pub(crate) variance: f64,
    /// Segments it was learned from.
    pub(crate) samples: u32,
    /// On which side the last one was far off, if it was: -1, 0 or 1.
    off: i8,
}

impl Learned {
    /// What an earlier run of the program left behind.
    pub(crate) fn recalled(mean_ln: f64, variance: f64, samples: u32) -> Self {
        Self { mean_ln, variance, samples, off: 0 }
    }

    fn first(measured_ln: f64) -> Self {
        Self { mean_ln: measured_ln, variance: FIRST_SPREAD * FIRST_SPREAD, samples: 1, off: 0 }
    }

    fn spread(&self) -> f64 {
        self.variance.sqrt().clamp(LEAST_SPREAD, MOST_SPREAD)
    }

    fn learn(&mut self, measured_ln: f64) {
        let error = measured_ln - self.mean_ln;
        // The first that is far off widens the spread; the second must still be.
        let spread = self.spread().min(FIRST_SPREAD);
        let off = if error.abs() > FAR_OFF * spread { error.signum() as i8 } else { 0 };
        let rate = if off != 0 && off == self.off { SHIFT_RATE } else { LEARNING_RATE };
        self.mean_ln += error * rate;
        self.variance += (error * error - self.variance) * LEARNING_RATE;
        self.variance = self.variance.min(MOST_SPREAD * MOST_SPREAD);
        self.samples = self.samples.saturating_add(1);
        self.off = off;
    }
}

/// Costs of one model, or of the plain path, by size.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Cost {
    /// Seconds per output pixel of the proof run, which knew nothing of decoder and encoder.
    estimate: f64,
    sizes: [Option<Learned>; SIZES],
    /// What predictions shrink by since it was last passed over; 1 while it runs.
    hope: f64,
}

/// A prediction for one segment.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Forecast {
    /// The middle: half of such segments take longer, in seconds of wall clock.
    pub(crate) seconds: f64,
    /// Standard deviation of its logarithm.
    pub(crate) spread: f64,
    /// Whether it rests on segments that were made, as opposed to a proof run.
    pub(crate) is_learned: bool,
}

impl Forecast {
    /// The time that a share of segments keeps within; `z`: how many spreads above the middle that is (see [`z_of`]).
    pub(crate) fn at(&self, z: f64) -> f64 {
        self.seconds * (self.spread * z).exp()
    }
}

impl Cost {
    /// A first word, in seconds per output pixel.
    pub(crate) fn estimate(seconds_per_pixel: f64) -> Self {
        Self { estimate: seconds_per_pixel.max(f64::MIN_POSITIVE), sizes: [None; SIZES], hope: 1.0 }
    }

    /// The same with what an earlier run of the program learned.
    pub(crate) fn recall(&mut self, size: usize, learned: Learned) {
        if let Some(place) = self.sizes.get_mut(size) {
            *place = Some(learned);
        }
    }

    /// What was learned, by size.
    pub(crate) fn learned(&self) -> impl Iterator<Item = (usize, Learned)> {
        self.sizes.iter().enumerate().filter_map(|(size, learned)| Some((size, (*learned)?)))
    }

    /// Learns from `pictures` of `picture_pixels` output pixels each that took `seconds`, beside others that slow it by
    /// `crowd_ln` (a logarithm). Gives the logarithm of measured by predicted; `None` if it teaches nothing.
    pub(crate) fn learn(
        &mut self,
        seconds: f64,
        pictures: u64,
        picture_pixels: u64,
        crowd_ln: f64,
    ) -> Option<f64> {
        let pixels = pictures * picture_pixels;
        if pictures < LEARN_FROM_PICTURES || pixels == 0 || !seconds.is_finite() || seconds <= 0.0 {
            return None;
        }
        let measured_ln = (seconds / pixels as f64).ln() - crowd_ln;
        let error =
            measured_ln - self.nearest(size_of(picture_pixels)).map_or(self.estimate.ln(), |l| l.mean_ln);
        let relaxed = self.hope < 1.0;
        self.hope = 1.0;
        let place = self.sizes.get_mut(size_of(picture_pixels))?;
        match place {
            // One after a pause replaces what was known before it.
            Some(learned) if relaxed => {
                let kept = *learned;
                *learned = Learned { mean_ln: measured_ln, samples: kept.samples.saturating_add(1), ..kept };
            }
            Some(learned) => learned.learn(measured_ln),
            // The first real segment replaces the estimate.
            None => *place = Some(Learned::first(measured_ln)),
        }
        Some(error)
    }

    /// It was passed over for its cost: expect a little less next time.
    pub(crate) fn relax(&mut self) {
        self.hope *= RELAX;
    }

    /// What a segment of `pixels` output pixels in pictures of `picture_pixels` will take.
    pub(crate) fn forecast(&self, picture_pixels: u64, pixels: u64, crowd_ln: f64) -> Forecast {
        let learned = self.nearest(size_of(picture_pixels));
        let known = learned.map_or(self.estimate, |learned| learned.mean_ln.exp());
        // Hope ends where the proof run ends, unless what was measured is below that already. While nothing was measured it does not end: a
        // machine that was busy with something else when it started would never try, and one try says how it is.
        let floor = learned.map_or(0.0, |_| known.min(self.estimate / PROOF_DOUBT));
        let per_pixel = (known * self.hope).max(floor);
        Forecast {
            seconds: per_pixel * pixels as f64 * crowd_ln.exp(),
            spread: learned.map_or(FIRST_SPREAD, |learned| learned.spread()),
            is_learned: learned.is_some(),
        }
    }

    /// Logarithm of what was learned by what the first word said; `None` while nothing was learned.
    pub(crate) fn off_by(&self) -> Option<f64> {
        let (_, most) = self.learned().max_by_key(|(_, learned)| learned.samples)?;
        Some(most.mean_ln - self.estimate.ln())
    }

    /// What was learned of the size that is nearest to this.
    fn nearest(&self, size: usize) -> Option<Learned> {
        let learned = self.learned().min_by_key(|(other, _)| other.abs_diff(size));
        learned.map(|(_, learned)| learned)
    }
}

/// How many standard deviations above the middle a share (0.5 to 0.999) of normally distributed values ends. Winitzki's closed
/// form of the inverse error function, within 0.005.
pub(crate) fn z_of(share: f64) -> f64 {
    const A: f64 = 0.147;
    let x = (2.0 * share.clamp(0.5, 0.999) - 1.0).clamp(0.0, 0.998);
    let log = (1.0 - x * x).ln();
    let middle = 2.0 / (std::f64::consts::PI * A) + log / 2.0;
    std::f64::consts::SQRT_2 * ((middle * middle - log / A).sqrt() - middle).max(0.0).sqrt()
}

#[cfg(test)]
mod tests {
    use super::*;

    const HD: u64 = 1280 * 720;

    fn seconds(cost: &Cost) -> f64 {
        cost.forecast(HD, HD, 0.0).seconds
    }

    #[test]
    fn shares_become_spreads() {
        for (share, z) in [(0.5, 0.0), (0.9, 1.2816), (0.95, 1.6449), (0.99, 2.3263)] {
            assert!((z_of(share) - z).abs() < 0.01, "{share}: {}", z_of(share));
        }
    }

    #[test]
    fn costs_follow_what_ran() {
        let mut cost = Cost::estimate(1e-8);
        assert!(!cost.forecast(HD, HD, 0.0).is_learned);
        cost.learn(20.0 * 0.02, 20, HD, 0.0);
        assert!((seconds(&cost) - 0.02).abs() < 1e-9, "the estimate gives way to the first segment");
        for _ in 0..50 {
            cost.learn(20.0 * 0.04, 20, HD, 0.0);
        }
        assert!((seconds(&cost) - 0.04).abs() < 0.0005, "{}", seconds(&cost));
        let before = cost.clone();
        for (seconds, pictures, pixels) in [(f64::NAN, 20, HD), (0.0, 20, HD), (1.0, 20, 0), (900.0, 2, HD)] {
            assert_eq!(cost.learn(seconds, pictures, pixels, 0.0), None);
        }
        assert_eq!(cost, before, "nonsense and two-picture segments teach nothing");
    }

    #[test]
    fn a_machine_that_slows_by_half_is_known_within_three_segments() {
        let mut cost = Cost::estimate(1e-8);
        for turn in 0..30 {
            cost.learn(if turn % 2 == 0 { 0.39 } else { 0.41 }, 20, HD, 0.0);
        }
        for _ in 0..3 {
            cost.learn(0.8, 20, HD, 0.0);
        }
        let forecast = cost.forecast(HD, 20 * HD, 0.0);
        assert!(forecast.seconds > 0.65, "{forecast:?}");
        assert!(forecast.at(z_of(0.95)) > 0.8, "{forecast:?}");
    }

    #[test]
    fn one_slow_segment_is_not_a_slow_machine() {
        let mut cost = Cost::estimate(1e-8);
        for _ in 0..30 {
            cost.learn(0.4, 20, HD, 0.0);
        }
        cost.learn(0.8, 20, HD, 0.0);
        assert!(cost.forecast(HD, 20 * HD, 0.0).seconds < 0.47);
    }

    #[test]
    fn sizes_are_told_apart_and_stand_in_for_each_other() {
        let mut cost = Cost::estimate(1e-8);
        cost.learn(0.4, 20, HD, 0.0);
        let small = 640 * 360;
        let per_pixel = 0.4 / (20.0 * HD as f64);
        assert!((cost.forecast(small, small, 0.0).seconds / (per_pixel * small as f64) - 1.0).abs() < 1e-9);
        cost.learn(0.5, 20, small, 0.0);
        assert!((cost.forecast(HD, 20 * HD, 0.0).seconds - 0.4).abs() < 1e-9);
        assert!((cost.forecast(small, 20 * small, 0.0).seconds - 0.5).abs() < 1e-9);
        assert_eq!((size_of(0), size_of(HD), size_of(u64::MAX)), (0, 6, SIZES - 1));
    }

    #[test]
    fn a_tier_that_was_slow_once_is_tried_again_but_not_below_the_proof() {
        let mut cost = Cost::estimate(1e-8);
        cost.learn(0.8, 20, HD, 0.0);
        let slow = seconds(&cost);
        (0..35).for_each(|_| cost.relax());
        assert!(seconds(&cost) < slow / 2.0 + 1e-6);
        (0..10_000).for_each(|_| cost.relax());
        assert!((seconds(&cost) / (1e-8 / PROOF_DOUBT * HD as f64) - 1.0).abs() < 1e-9);
        cost.learn(0.8, 20, HD, 0.0);
        assert!((seconds(&cost) / slow - 1.0).abs() < 1e-9, "as slow as ever: hope is over");
    }
    #[test]
    fn a_tier_that_was_never_tried_is_some_day() {
        // Proven while the machine had other things to do: a hundred times as slow as it is.
        let mut cost = Cost::estimate(1e-6);
        let first = seconds(&cost);
        (0..150).for_each(|_| cost.relax());
        assert!(seconds(&cost) < first / 15.0);
        cost.learn(0.8 * first * 20.0, 20, HD, 0.0);
        (0..10_000).for_each(|_| cost.relax());
        assert!(seconds(&cost) > first / (PROOF_DOUBT + 0.1), "it was so: from now on the proof holds");
    }
}
