//! What the scheduler says to a segment in hand: by when its lane is to be free, and to pause while another is served.

use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// When the segment in hand must be finished; the network stops in time for that, and the rest is scaled plainly. It
/// moves while the segment is being made, when somebody comes who needs the lane. Clones share it.
#[derive(Debug, Clone, Default)]
pub(crate) struct Limit(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    state: Mutex<State>,
    resumed: Condvar,
}

/// From which places of a segment on something is left out, for want of time or after a fault.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) struct Cuts {
    /// The network that enlarges.
    pub(crate) network: Option<usize>,
    /// Pictures between the source's.
    pub(crate) between: Option<usize>,
}

#[derive(Debug, Clone, Copy, Default)]
struct State {
    at: Option<Instant>,
    /// Since when it pauses.
    paused: Option<Instant>,
    /// How long it paused before.
    rested: Duration,
    /// Where the same segment was cut before.
    again: Cuts,
    cuts: Cuts,
}

impl State {
    fn rested(&self, now: Instant) -> Duration {
        self.rested + self.paused.map_or(Duration::ZERO, |since| now.saturating_duration_since(since))
    }
}

impl Limit {
    /// A limit that stands at `at`; `None`: no hurry.
    pub(crate) fn at(at: Option<Instant>) -> Self {
        let limit = Self::default();
        limit.set(at);
        limit
    }

    /// Every change under the lock is complete in itself.
    fn state(&self) -> MutexGuard<'_, State> {
        self.0.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Where it stands now. Looked at before each picture.
    pub(crate) fn get(&self) -> Option<Instant> {
        self.state().at
    }

    pub(crate) fn set(&self, at: Option<Instant>) {
        self.state().at = at;
    }

    /// No hurry, for a segment that is made again and is to come out as it did: cut where it was `cut`.
    pub(crate) fn again(cut: Cuts) -> Self {
        let limit = Self::default();
        limit.state().again = cut;
        limit
    }

    /// Where the segment was cut when it was made before.
    pub(crate) fn cuts_before(&self) -> Cuts {
        self.state().again
    }

    /// Says that the network is not used from this place on.
    pub(crate) fn cut_network(&self, place: usize) {
        self.state().cuts.network.get_or_insert(place);
    }

    /// Says that nothing is made between pictures from this place on.
    pub(crate) fn cut_between(&self, place: usize) {
        self.state().cuts.between.get_or_insert(place);
    }

    /// Where it was cut so far, or will be because it was before.
    pub(crate) fn cuts(&self) -> Cuts {
        let State { cuts, again, .. } = *self.state();
        Cuts { network: cuts.network.or(again.network), between: cuts.between.or(again.between) }
    }

    /// Has the lane rest from the next picture on.
    pub(crate) fn pause(&self, now: Instant) {
        self.state().paused.get_or_insert(now);
    }

    /// Has it go on.
    pub(crate) fn resume(&self, now: Instant) {
        let mut state = self.state();
        state.rested = state.rested(now);
        state.paused = None;
        drop(state);
        self.0.resumed.notify_all();
    }

    pub(crate) fn is_paused(&self) -> bool {
        self.state().paused.is_some()
    }

    /// Returns when there is no pause. Called before each picture.
    pub(crate) fn wait(&self) {
        let is_paused = |state: &mut State| state.paused.is_some();
        // Every pause ends: whoever it is for ends, were it by a panic.
        drop(self.0.resumed.wait_while(self.state(), is_paused).unwrap_or_else(PoisonError::into_inner));
    }

    /// How long it has rested so far, in seconds: time that says nothing about costs.
    pub(crate) fn rested_seconds(&self, now: Instant) -> f64 {
        self.state().rested(now).as_secs_f64()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_lane_rests_until_it_may_go_on() {
        let limit = Limit::at(None);
        limit.wait();
        let now = Instant::now();
        limit.pause(now);
        limit.pause(now + Duration::from_secs(1));
        assert!(limit.is_paused());
        let other = limit.clone();
        let lane = std::thread::spawn(move || other.wait());
        limit.resume(now + Duration::from_secs(2));
        assert!(lane.join().is_ok());
        assert!((limit.rested_seconds(now + Duration::from_secs(9)) - 2.0).abs() < 1e-9);
    }

    #[test]
    fn what_was_cut_before_is_said_before_it_is_cut_again() {
        let before = Cuts { network: Some(15), between: None };
        let limit = Limit::again(before);
        assert_eq!(limit.cuts(), before);
        limit.cut_between(7);
        limit.cut_network(15);
        assert_eq!(limit.cuts(), Cuts { network: Some(15), between: Some(7) });
    }
}
