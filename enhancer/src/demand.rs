//! Who wants a segment, and how much: what the scheduler weighs, and what may change while the segment waits or is being made.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use crate::Priority;

/// What a player is about.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Haste {
    /// It plays; its buffer lasts until the deadline.
    #[default]
    Steady,
    /// It starts, has sought or has run dry: somebody looks at a spinner. Such a segment gets the quickest tier.
    Start,
}

/// The part of a request that others may add to: a viewer who comes for a segment that is being made ahead makes it urgent, wherever it
/// is. Clones share it. See [`crate::Enhancer::reconsider`].
#[derive(Debug, Clone, Default)]
pub struct Demand(Arc<Inner>);

#[derive(Debug, Default)]
struct Inner {
    stream: u64,
    media: Option<Duration>,
    yields: bool,
    asked: Mutex<Asked>,
}

/// What those who came later said.
#[derive(Debug, Clone, Copy, Default)]
struct Asked {
    by_viewer: bool,
    deadline: Option<Instant>,
    haste: Haste,
    audience: u32,
}

/// What is wanted at one moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Wish {
    /// Who waits.
    pub priority: Priority,
    /// The nearest that any viewer named; before one comes, the one that the request began with.
    pub deadline: Option<Instant>,
    /// What the last player is about.
    pub haste: Haste,
    /// Players that are expected to see it, at least 1.
    pub audience: u32,
}

impl Demand {
    /// `stream`: what tells streams apart, for fairness between them; 0 is nobody's. `media`: how long the segment is, as far as its
    /// playlist says. `audience`: players that are expected to see it.
    #[must_use]
    pub fn new(stream: u64, media: Option<Duration>, haste: Haste, audience: u32) -> Self {
        let asked = Asked { haste, audience, ..Asked::default() };
        Self(Arc::new(Inner { stream, media, yields: false, asked: Mutex::new(asked) }))
    }

    /// Has a viewer's segment refused with [`crate::EnhanceError::TooLate`] where too much else waits for it to be in time: whoever asks
    /// has something else to give, and rather gives that than be late.
    #[must_use]
    pub fn or_else(self) -> Self {
        let (stream, media, asked) = (self.stream(), self.media(), *self.asked());
        Self(Arc::new(Inner { stream, media, yields: true, asked: Mutex::new(asked) }))
    }

    /// Whether it is rather refused than late.
    #[must_use]
    pub fn yields(&self) -> bool {
        self.0.yields
    }

    /// A viewer has come for it who needs it by `deadline`; in all `audience` players are expected. The nearest deadline, the greatest
    /// audience and the last haste count.
    pub fn raise(&self, deadline: Option<Instant>, haste: Haste, audience: u32) {
        let mut asked = self.asked();
        asked.by_viewer = true;
        asked.deadline = [asked.deadline, deadline].into_iter().flatten().min();
        asked.haste = haste;
        asked.audience = asked.audience.max(audience);
    }

    /// Every change under the lock is complete in itself.
    fn asked(&self) -> MutexGuard<'_, Asked> {
        self.0.asked.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// What tells streams apart; 0 is nobody's.
    #[must_use]
    pub fn stream(&self) -> u64 {
        self.0.stream
    }

    /// How long the segment is, as far as its playlist says.
    #[must_use]
    pub fn media(&self) -> Option<Duration> {
        self.0.media
    }

    /// What is wanted now of a request that began with `priority` and `deadline`.
    pub(crate) fn wish(&self, priority: Priority, deadline: Option<Instant>) -> Wish {
        let asked = *self.asked();
        // By when somebody would come was a guess, and who has come says how long he can wait.
        let guessed = asked.by_viewer && priority == Priority::Ahead;
        let deadline = deadline.filter(|_| !guessed);
        Wish {
            priority: if asked.by_viewer { Priority::Viewer } else { priority },
            deadline: [asked.deadline, deadline].into_iter().flatten().min(),
            haste: asked.haste,
            audience: asked.audience.max(1),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_viewer_makes_work_ahead_urgent() {
        let now = Instant::now();
        let at = |seconds| Some(now + Duration::from_secs(seconds));
        let demand = Demand::new(7, None, Haste::Steady, 0);
        let wish = demand.wish(Priority::Ahead, at(9));
        assert_eq!((wish.priority, wish.deadline, wish.audience), (Priority::Ahead, at(9), 1));
        demand.clone().raise(at(5), Haste::Start, 4);
        demand.raise(at(7), Haste::Steady, 2);
        let expected =
            Wish { priority: Priority::Viewer, deadline: at(5), haste: Haste::Steady, audience: 4 };
        assert_eq!(demand.wish(Priority::Ahead, at(9)), expected);
        assert_eq!(demand.wish(Priority::Ahead, None).deadline, at(5));
        assert_eq!(demand.wish(Priority::Ahead, at(3)).deadline, at(5), "it was guessed");
        assert_eq!(demand.wish(Priority::Viewer, at(3)).deadline, at(3), "another viewer waits");
    }
}
