//! A comparison under way, whatever is compared: steps of a picture, taken when there is nothing else to do.

use std::time::{Duration, Instant};

use super::{CompareError, Comparison};
use crate::CancelFlag;
use crate::library::Library;

/// How soon a comparison that waits for a session is looked at again. Nobody is in a hurry for it.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// How long a session may take to be made: one of the largest network takes more than a second.
const SESSION_PATIENCE: Duration = Duration::from_secs(20);

/// What came of a lane's turn at it.
pub(crate) enum Turnout {
    /// There is more to do.
    Unfinished(Box<Work>),
    Finished(Result<Comparison, CompareError>),
}

/// A kind of comparison.
pub(super) trait Steps: Send {
    /// Takes the next step: a picture's work at most.
    fn step(&mut self, library: &Library) -> Result<Step, CompareError>;
}

/// What came of a step.
pub(super) enum Step {
    /// It was taken.
    Taken,
    /// A session that it needs is not free; the loader knows.
    NoSession,
    /// It was the last one.
    Over(Comparison),
}

/// A comparison under way.
pub(crate) struct Work {
    steps: Box<dyn Steps>,
    cancel: CancelFlag,
    /// No session is free before.
    not_before: Option<Instant>,
    waits_since: Option<Instant>,
}

impl Work {
    pub(super) fn new(steps: Box<dyn Steps>, cancel: CancelFlag) -> Self {
        Self { steps, cancel, not_before: None, waits_since: None }
    }

    pub(crate) fn is_cancelled(&self) -> bool {
        self.cancel.is_cancelled()
    }

    /// Whether there is something to do now.
    pub(crate) fn is_due(&self, now: Instant) -> bool {
        self.is_cancelled() || self.not_before.is_none_or(|at| now >= at)
    }

    /// Goes on until it is finished, has to wait, or `pause` says that something else is to be done.
    pub(crate) fn go_on(mut self: Box<Self>, library: &Library, pause: &dyn Fn() -> bool) -> Turnout {
        self.not_before = None;
        while !pause() {
            if self.is_cancelled() {
                return Turnout::Finished(Err(CompareError::Cancelled));
            }
            match self.steps.step(library) {
                Ok(Step::Taken) => self.waits_since = None,
                Ok(Step::NoSession) => {
                    let now = Instant::now();
                    if now.duration_since(*self.waits_since.get_or_insert(now)) > SESSION_PATIENCE {
                        return Turnout::Finished(Err(CompareError::ModelFailed));
                    }
                    self.not_before = Some(now + LOOK_AGAIN);
                    break;
                }
                Ok(Step::Over(comparison)) => return Turnout::Finished(Ok(comparison)),
                Err(error) => return Turnout::Finished(Err(error)),
            }
        }
        Turnout::Unfinished(self)
    }
}
