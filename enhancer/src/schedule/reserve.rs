//! How much of the machine has been left over lately: an account of lane seconds.
//!
//! Every lane pays in a second per second, every segment takes out what it costs. A single segment's deadline says nothing about those
//! that will be asked for while it is made; the account does: while it is full there is room for dear tiers, and the dearer the
//! tiers, the sooner it is empty. Between the two it comes to rest where what is asked for just fits, so that the level of quality is that
//! of a machine in balance instead of one dear segment followed by three plain ones.

use std::time::Instant;

/// Part of a lane's time that is counted on. The rest is for who comes in a hurry: a machine that is always busy has a queue.
const COUNTED_ON: f64 = 0.85;

/// The account holds so many seconds for each lane: what two segments of a stream take, so that one dear segment does not empty it.
const SECONDS_PER_LANE: f64 = 12.0;

/// Below nothing it goes by this part of what it holds: a machine that slows does not have to make up for it for minutes.
const OVERDRAFT: f64 = 0.25;

/// The best tier asks for this much of a full account, the others for less.
const FOR_THE_BEST: f64 = 0.7;

/// Tiers that a set usually has.
const USUAL_TIERS: usize = 3;

/// The account.
#[derive(Debug)]
pub(crate) struct Reserve {
    seconds: f64,
    lanes: f64,
    at: Option<Instant>,
}

impl Reserve {
    /// A full one.
    pub(crate) fn new(lanes: usize) -> Self {
        let lanes = lanes.max(1) as f64;
        Self { seconds: lanes * SECONDS_PER_LANE, lanes, at: None }
    }

    /// What there is, as part of a full account; below 0 where more was spent than there was.
    pub(crate) fn fill(&mut self, now: Instant) -> f64 {
        let full = self.lanes * SECONDS_PER_LANE;
        let since = self.at.map_or(0.0, |at| now.saturating_duration_since(at).as_secs_f64());
        self.at = Some(self.at.map_or(now, |at| at.max(now)));
        self.seconds = (self.seconds + since * self.lanes * COUNTED_ON).min(full);
        self.seconds / full
    }

    /// Takes lane seconds out, or gives back what was not needed.
    pub(crate) fn spend(&mut self, seconds: f64, now: Instant) {
        self.fill(now);
        let full = self.lanes * SECONDS_PER_LANE;
        if seconds.is_finite() {
            self.seconds = (self.seconds - seconds).clamp(-full * OVERDRAFT, full);
        }
    }
}

/// The part of a full account that must be there for the tier at `place` of `tiers`. A segment that many see is worth as many.
pub(crate) fn asked_for(place: usize, tiers: usize, audience: u32) -> f64 {
    // The cheapest tier asks for a little too: an empty account is a lane with no time left for who comes next.
    // One that is alone is as cheap as the cheapest of several.
    let step = (place as f64 + 0.5) / tiers.max(USUAL_TIERS) as f64;
    FOR_THE_BEST * step / f64::from(audience.max(1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::time::Duration;

    #[test]
    fn what_is_not_spent_comes_back_up_to_the_brim() {
        let start = Instant::now();
        let mut reserve = Reserve::new(2);
        assert!((reserve.fill(start) - 1.0).abs() < 1e-9);
        reserve.spend(24.0, start);
        assert!(reserve.fill(start).abs() < 1e-9);
        let later = start + Duration::from_secs(5);
        assert!((reserve.fill(later) - 5.0 * COUNTED_ON / 12.0).abs() < 1e-9);
        assert!(
            (reserve.fill(start) - 5.0 * COUNTED_ON / 12.0).abs() < 1e-9,
            "a clock that steps back pays nothing"
        );
        assert!((reserve.fill(later + Duration::from_secs(60)) - 1.0).abs() < 1e-9);
        reserve.spend(f64::INFINITY, later);
        reserve.spend(1e9, later);
        assert!((reserve.fill(later) + OVERDRAFT).abs() < 0.3, "debt is bounded");
    }

    #[test]
    fn dearer_tiers_ask_for_more_and_shared_ones_for_less() {
        assert!(asked_for(0, 3, 1) > 0.0);
        assert!(asked_for(0, 3, 1) < asked_for(1, 3, 1) && asked_for(1, 3, 1) < asked_for(2, 3, 1));
        assert!((asked_for(0, 1, 1) - asked_for(0, 3, 1)).abs() < 1e-9);
        assert!(asked_for(2, 3, 10) < asked_for(0, 3, 1));
    }
}
