//! When an origin is left alone, and when it is asked again. Pure: time and chance are told.
//!
//! It opens after so many failures in a row, or when too large a share of what was asked within a while failed. After a pause one probe
//! finds out how the origin is; what it finds decides for all. What was under way when it opened says nothing new.

use std::time::{Duration, Instant};

use acuity_config::BreakerConfig;

/// Parts of the window: what is older than the window goes a tenth of it at a time.
const SLICES: usize = 10;

/// Whether an origin is to be asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Standing {
    /// Yes.
    Closed,
    /// Not by viewers, until a probe has found it well; `due`: nobody probes it now, and the pause is over.
    Open {
        /// Since when.
        since: Instant,
        /// Whether a probe is to be made.
        due: bool,
    },
}

/// One origin's breaker.
#[derive(Debug)]
pub struct Breaker {
    state: State,
    in_a_row: u32,
    window: [Slice; SLICES],
}

#[derive(Debug, Clone, Copy)]
enum State {
    Closed,
    Open { since: Instant, until: Instant, pause: Duration, probing_until: Option<Instant> },
}

#[derive(Debug, Clone, Copy, Default)]
struct Slice {
    /// When it began; none: never.
    began: Option<Instant>,
    good: u32,
    bad: u32,
}

impl Default for Breaker {
    fn default() -> Self {
        Self { state: State::Closed, in_a_row: 0, window: [Slice::default(); SLICES] }
    }
}

impl Breaker {
    /// Whether the origin is to be asked at `now`.
    #[must_use]
    pub fn standing(&self, now: Instant) -> Standing {
        match self.state {
            State::Closed => Standing::Closed,
            State::Open { since, until, probing_until, .. } => {
                let due = now >= until && probing_until.is_none_or(|until| now >= until);
                Standing::Open { since, due }
            }
        }
    }

    /// Failures since it last answered.
    #[must_use]
    pub fn in_a_row(&self) -> u32 {
        self.in_a_row
    }

    /// Whether a probe is under way.
    #[must_use]
    pub fn is_probing(&self) -> bool {
        matches!(self.state, State::Open { probing_until: Some(_), .. })
    }

    /// It answered what was asked at `began`. `true`: that closed the breaker.
    pub fn answered(&mut self, config: &BreakerConfig, began: Instant, now: Instant) -> bool {
        match self.state {
            State::Open { since, .. } if began <= since => false,
            State::Open { .. } => {
                *self = Self::default();
                true
            }
            State::Closed => {
                self.in_a_row = 0;
                self.slice(config, now).good += 1;
                false
            }
        }
    }

    /// It failed what was asked at `began`. `true`: that opened the breaker. `chance`: 0 to 1.
    pub fn failed(&mut self, config: &BreakerConfig, now: Instant, chance: f64) -> bool {
        self.in_a_row = self.in_a_row.saturating_add(1);
        if !matches!(self.state, State::Closed) {
            return false;
        }
        self.slice(config, now).bad += 1;
        let (good, bad) = self.counted(config, now);
        let enough = good + bad >= config.least_requests;
        let shared = enough && f64::from(bad) >= config.failure_share * f64::from(good + bad);
        if self.in_a_row < config.failures && !shared {
            return false;
        }
        let pause = config.open_for;
        self.state =
            State::Open { since: now, until: now + jittered(pause, chance), pause, probing_until: None };
        true
    }

    /// Whoever gets `true` makes the probe, which takes until `until` at most; if nothing is heard of it by then, another is made.
    pub fn probe(&mut self, now: Instant, until: Instant) -> bool {
        let due = matches!(self.standing(now), Standing::Open { due: true, .. });
        if let (true, State::Open { probing_until, .. }) = (due, &mut self.state) {
            *probing_until = Some(until);
        }
        due
    }

    /// A probe found it well (`true`: that closed the breaker) or not, and then the next pause is twice as long.
    pub fn probed(&mut self, config: &BreakerConfig, well: bool, now: Instant, chance: f64) -> bool {
        let State::Open { since, pause, .. } = self.state else { return false };
        if well {
            *self = Self::default();
            return true;
        }
        let pause = (pause * 2).min(config.longest);
        self.state = State::Open { since, until: now + jittered(pause, chance), pause, probing_until: None };
        false
    }

    /// The part of the window that `now` is in, emptied if it was another's.
    fn slice(&mut self, config: &BreakerConfig, now: Instant) -> &mut Slice {
        let length = config.window / SLICES as u32;
        let newest = (0..SLICES).max_by_key(|&at| self.window[at].began).unwrap_or(0);
        let at = match self.window[newest].began {
            Some(began) if now.saturating_duration_since(began) < length => newest,
            Some(_) => (newest + 1) % SLICES,
            None => newest,
        };
        let slice = &mut self.window[at];
        if at != newest || slice.began.is_none() {
            *slice = Slice { began: Some(now), good: 0, bad: 0 };
        }
        slice
    }

    /// What came of requests within the window.
    fn counted(&self, config: &BreakerConfig, now: Instant) -> (u32, u32) {
        let counts = |slice: &&Slice| {
            slice.began.is_some_and(|began| now.saturating_duration_since(began) < config.window)
        };
        self.window
            .iter()
            .filter(counts)
            .fold((0, 0), |(good, bad), slice| (good + slice.good, bad + slice.bad))
    }
}

/// A fifth more or less: the edges that opened together are not to come back together.
fn jittered(pause: Duration, chance: f64) -> Duration {
    pause.mul_f64(0.8 + 0.4 * chance.clamp(0.0, 1.0))
}

/// What active checks say of an origin: up until they have said otherwise.
#[derive(Debug, Default)]
pub struct Checks {
    down: bool,
    /// Answers in a row that say the other thing.
    against: u32,
}

impl Checks {
    /// Whether they find it up.
    #[must_use]
    pub fn is_up(&self) -> bool {
        !self.down
    }

    /// One more; `Some`: whether it is up has changed to this.
    pub fn observe(&mut self, well: bool, rise: u32, fall: u32) -> Option<bool> {
        if well != self.down {
            self.against = 0;
            return None;
        }
        self.against += 1;
        if self.against < if self.down { rise } else { fall } {
            return None;
        }
        (self.down, self.against) = (!self.down, 0);
        Some(!self.down)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIDDLE: f64 = 0.5; // no jitter

    fn after(start: Instant, seconds: f64) -> Instant {
        start + Duration::from_secs_f64(seconds)
    }

    fn is_due(breaker: &Breaker, now: Instant) -> bool {
        matches!(breaker.standing(now), Standing::Open { due: true, .. })
    }

    #[test]
    fn failures_in_a_row_open_it_and_a_probe_closes_it() {
        let (config, start) = (BreakerConfig::default(), Instant::now()); // 5, then 5 s, then twice that
        let mut breaker = Breaker::default();
        for _ in 0..4 {
            assert!(!breaker.failed(&config, start, MIDDLE));
        }
        assert!(!breaker.answered(&config, start, start), "it was closed");
        for failure in 0..5 {
            assert_eq!(breaker.failed(&config, start, MIDDLE), failure == 4, "{failure}");
        }
        assert_eq!(breaker.standing(start), Standing::Open { since: start, due: false });
        assert!(!breaker.failed(&config, after(start, 1.0), MIDDLE), "said already");
        assert!(!breaker.answered(&config, start, after(start, 1.0)), "a straggler from before");
        let at = after(start, 5.1);
        assert!(!is_due(&breaker, after(start, 4.9)) && is_due(&breaker, at));
        assert!(
            breaker.probe(at, after(start, 10.0)) && !breaker.probe(at, after(start, 10.0)),
            "one at a time"
        );
        assert!(breaker.is_probing());
        assert!(!breaker.probed(&config, false, after(start, 6.0), MIDDLE));
        assert!(
            !is_due(&breaker, after(start, 15.9)) && is_due(&breaker, after(start, 16.1)),
            "twice as long"
        );
        assert!(breaker.probe(after(start, 16.1), after(start, 20.0)));
        assert!(is_due(&breaker, after(start, 20.1)), "nothing was heard of that probe");
        assert!(breaker.probed(&config, true, after(start, 16.2), MIDDLE));
        assert_eq!((breaker.standing(at), breaker.in_a_row()), (Standing::Closed, 0));
    }

    #[test]
    fn pauses_grow_to_the_longest_and_are_jittered() {
        let config = BreakerConfig { failures: 1, ..BreakerConfig::default() };
        let (mut breaker, mut now) = (Breaker::default(), Instant::now());
        assert!(breaker.failed(&config, now, 1.0));
        assert!(!is_due(&breaker, after(now, 5.9)) && is_due(&breaker, after(now, 6.1)), "a fifth more");
        for _ in 0..20 {
            now = after(now, 100.0);
            assert!(breaker.probe(now, after(now, 5.0)));
            breaker.probed(&config, false, now, 0.0);
        }
        assert!(!is_due(&breaker, after(now, 47.9)) && is_due(&breaker, after(now, 48.1)), "a fifth less");
    }

    #[test]
    fn whoever_is_answered_after_it_opened_closes_it() {
        let config = BreakerConfig { failures: 1, ..BreakerConfig::default() };
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        assert!(breaker.failed(&config, start, MIDDLE));
        assert!(
            breaker.answered(&config, after(start, 0.1), after(start, 0.2)),
            "all others failed, and it did not"
        );
        assert_eq!(breaker.standing(start), Standing::Closed);
    }

    #[test]
    fn a_share_of_failures_opens_it_where_enough_was_asked() {
        let config = BreakerConfig::default(); // half of 20 within 10 s
        let (mut breaker, start) = (Breaker::default(), Instant::now());
        let mut opened = None;
        for request in 0..40 {
            let now = after(start, 0.1 * f64::from(request));
            breaker.answered(&config, now, now);
            if breaker.failed(&config, now, MIDDLE) {
                opened = Some(request);
                break;
            }
        }
        assert_eq!(opened, Some(9), "the twentieth, ten of them bad");

        let mut slow = Breaker::default();
        for request in 0..100 {
            let now = after(start, 1.5 * f64::from(request));
            slow.answered(&config, now, now);
            assert!(!slow.failed(&config, now, MIDDLE), "{request}: never twenty within the window");
        }
        let mut good = Breaker::default();
        for request in 0..1000 {
            let now = after(start, 0.01 * f64::from(request));
            assert!(request % 3 != 0 || !good.failed(&config, now, MIDDLE), "a third is not half");
            if request % 3 != 0 {
                good.answered(&config, now, now);
            }
        }
    }

    #[test]
    fn checks_rise_and_fall() {
        let mut checks = Checks::default();
        let said: Vec<_> = [false, false, true, false, false, false, false, true, false, true, true, true]
            .into_iter()
            .map(|well| checks.observe(well, 2, 3))
            .collect();
        let mut expected = vec![None; 12];
        (expected[5], expected[10]) = (Some(false), Some(true));
        assert_eq!(said, expected);
        assert!(checks.is_up());
    }
}
