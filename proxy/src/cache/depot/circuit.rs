//! What keeps a place that fails from being asked again and again. Pure: time is told.
//!
//! After a few failures in a row nobody asks it for a while; then one does, and that one's luck decides for all.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Failures in a row that are believed. A single slow answer is no sign of anything.
const FAILURES: u32 = 3;
/// The first pause: a restart of a server next door takes longer, a hiccup does not.
const FIRST_PAUSE: Duration = Duration::from_secs(1);
/// The longest: so soon after its repair a place is used again.
const LONGEST_PAUSE: Duration = Duration::from_secs(60);

/// One way of using a place. It begins closed: the place is asked.
#[derive(Debug, Default)]
pub(super) struct Circuit(Mutex<State>);

#[derive(Debug, Clone, Copy)]
enum State {
    /// The place is asked; so many failures in a row.
    Closed { failures: u32 },
    /// It is not, until then. `trial`: somebody asks it, and its word counts.
    Open { until: Instant, pause: Duration, trial: bool },
}

impl Default for State {
    fn default() -> Self {
        Self::Closed { failures: 0 }
    }
}

impl Circuit {
    /// Whether the place may be asked now, or somebody may try it.
    pub(super) fn would_allow(&self, now: Instant) -> bool {
        !matches!(*self.state(), State::Open { until, .. } if now < until)
    }

    /// Whether the place is asked now. When a pause is over it may once; by another if that one does not say within another pause how
    /// it went.
    pub(super) fn allows(&self, now: Instant) -> bool {
        let mut state = self.state();
        match *state {
            State::Closed { .. } => true,
            State::Open { until, .. } if now < until => false,
            State::Open { pause, .. } => {
                *state = State::Open { until: now + pause, pause, trial: true };
                true
            }
        }
    }

    /// Whether the place is in a pause.
    pub(super) fn is_open(&self) -> bool {
        matches!(*self.state(), State::Open { .. })
    }

    /// It answered. `true` if that ended a pause.
    pub(super) fn succeeded(&self) -> bool {
        let mut state = self.state();
        matches!(std::mem::take(&mut *state), State::Open { .. })
    }

    /// It did not, or too late. `true` if that begins a pause, the first since it last answered.
    pub(super) fn failed(&self, now: Instant) -> bool {
        let mut state = self.state();
        let opens = match *state {
            State::Closed { failures } if failures + 1 < FAILURES => {
                *state = State::Closed { failures: failures + 1 };
                return false;
            }
            State::Closed { .. } => true,
            // Those that were on their way when it opened say nothing new.
            State::Open { trial: false, .. } => return false,
            State::Open { trial: true, .. } => false,
        };
        let pause = match *state {
            State::Closed { .. } => FIRST_PAUSE,
            State::Open { pause, .. } => (pause * 2).min(LONGEST_PAUSE),
        };
        *state = State::Open { until: now + pause, pause, trial: false };
        opens
    }

    fn state(&self) -> MutexGuard<'_, State> {
        // Whole after each step.
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_opens_after_failures_in_a_row_and_tries_again() {
        let (circuit, start) = (Circuit::default(), Instant::now());
        let after = |seconds: f64| start + Duration::from_secs_f64(seconds);
        assert!(!circuit.failed(start) && !circuit.failed(start));
        assert!(!circuit.succeeded(), "it was closed");
        assert!(!circuit.failed(start) && !circuit.failed(start) && circuit.allows(start));
        assert!(circuit.failed(start), "three in a row");
        assert!(!circuit.failed(start), "a straggler");
        assert!(circuit.is_open() && !circuit.allows(after(0.9)));
        assert!(circuit.would_allow(after(1.1)) && !circuit.would_allow(after(0.9)));
        assert!(circuit.allows(after(1.1)) && !circuit.allows(after(1.1)), "one tries");
        assert!(!circuit.failed(after(1.2)), "said already");
        assert!(!circuit.allows(after(3.1)) && circuit.allows(after(3.3)), "twice as long");
        assert!(circuit.allows(after(5.4)), "the one that tried has not come back");
        assert!(circuit.succeeded() && !circuit.is_open() && circuit.allows(after(5.5)));
    }

    #[test]
    fn pauses_end() {
        let (circuit, mut now) = (Circuit::default(), Instant::now());
        for _ in 0..50 {
            circuit.failed(now);
            now += LONGEST_PAUSE;
            assert!(circuit.allows(now));
        }
    }
}
