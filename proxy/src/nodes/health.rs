//! Whether a node is to be asked. Pure: time is an argument.
//!
//! Whoever fails a request is out at once, for a while; then it is looked at again, by the check that looks at everybody and by no viewer's
//! request, and is in again once that is answered. A check alone has to fail twice: it has no viewer behind it and can wait.

use std::sync::{Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Checks that fail in a row until a node is out.
const FAILED_CHECKS: u32 = 2;

/// A node's state.
#[derive(Debug, Default)]
pub(super) struct Health(Mutex<State>);

#[derive(Debug, Default)]
struct State {
    /// Out, and not looked at before this.
    down_until: Option<Instant>,
    failed_checks: u32,
}

/// What has changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Change {
    Up,
    Down,
}

impl Health {
    /// Whether it is asked for objects.
    pub(super) fn is_up(&self) -> bool {
        self.state().down_until.is_none()
    }

    /// Whether it is to be looked at now.
    pub(super) fn is_due(&self, now: Instant) -> bool {
        self.state().down_until.is_none_or(|until| now >= until)
    }

    /// A request to it failed.
    pub(super) fn failed(&self, now: Instant, down_for: Duration) -> Option<Change> {
        let mut state = self.state();
        let was_up = state.down_until.is_none();
        state.down_until = Some(now + down_for);
        was_up.then_some(Change::Down)
    }

    /// It was looked at.
    pub(super) fn checked(&self, answered: bool, now: Instant, down_for: Duration) -> Option<Change> {
        let mut state = self.state();
        if answered {
            state.failed_checks = 0;
            // A request may have failed while the check was under way; then that counts.
            let is_over = state.down_until.is_some_and(|until| now >= until);
            return is_over.then(|| {
                state.down_until = None;
                Change::Up
            });
        }
        state.failed_checks = state.failed_checks.saturating_add(1);
        let was_up = state.down_until.is_none();
        if was_up && state.failed_checks < FAILED_CHECKS {
            return None;
        }
        state.down_until = Some(now + down_for);
        was_up.then_some(Change::Down)
    }

    /// What is changed under this lock is whole after each step.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const FOR: Duration = Duration::from_secs(3);

    #[test]
    fn a_failed_request_is_enough_and_one_check_brings_it_back() {
        let (health, now) = (Health::default(), Instant::now());
        assert!(health.is_up());
        assert_eq!(health.failed(now, FOR), Some(Change::Down));
        assert_eq!(health.failed(now, FOR), None, "told once");
        assert!(!health.is_up() && !health.is_due(now + FOR / 2) && health.is_due(now + FOR));
        assert_eq!(health.checked(true, now + FOR / 2, FOR), None, "a check from before");
        assert!(!health.is_up());
        assert_eq!(health.checked(false, now + FOR, FOR), None);
        assert!(!health.is_due(now + FOR));
        assert_eq!(health.checked(true, now + FOR * 2, FOR), Some(Change::Up));
        assert!(health.is_up());
    }

    #[test]
    fn a_check_has_to_fail_twice_in_a_row() {
        let (health, now) = (Health::default(), Instant::now());
        assert_eq!(health.checked(false, now, FOR), None);
        assert_eq!(health.checked(true, now, FOR), None);
        assert_eq!(health.checked(false, now, FOR), None);
        assert!(health.is_up());
        assert_eq!(health.checked(false, now, FOR), Some(Change::Down));
        assert!(!health.is_up());
    }
}
