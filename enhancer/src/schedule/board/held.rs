//! A segment in a lane's hands: what was decided for it, and when the lane will be free of it.

use std::time::{Duration, Instant};

use crate::demand::Wish;
use crate::schedule::limit::Limit;
use crate::schedule::plan::InHand;
use crate::schedule::queue::{Standing, seconds_until};
use crate::{CancelFlag, Priority};

/// A network stops for its own segment's deadline so much sooner: pictures are still on their way to the encoder, and bytes to the player.
const ON_THE_WAY: Duration = Duration::from_millis(100);

/// What is left at least of a segment that takes longer than it should: it does not end at once because it is overdue.
const LEFT_OF_OVERDUE: f64 = 0.1;

/// A segment in a lane's hands.
pub(super) struct Held {
    pub(super) standing: Standing,
    pub(super) began: Instant,
    pub(super) decided: Option<Decided>,
    pub(super) limit: Limit,
    /// Makes the lane let go of it.
    pub(super) stop: CancelFlag,
    pub(super) dropped: bool,
}

#[derive(Clone, Copy)]
pub(super) struct Decided {
    pub(super) at: Instant,
    pub(super) seconds: f64,
    pub(super) plain_seconds: f64,
}

impl Standing {
    /// When it must be out of the lane's hands.
    pub(super) fn latest(&self) -> Option<Instant> {
        self.wish().deadline.map(|by| by.checked_sub(ON_THE_WAY).unwrap_or(by))
    }
}

impl Held {
    pub(super) fn new(standing: Standing, stop: CancelFlag, now: Instant) -> Self {
        let limit = Limit::at(standing.latest());
        Self { limit, stop, standing, began: now, decided: None, dropped: false }
    }

    /// Seconds of work since `since`.
    pub(super) fn worked(&self, since: Instant, now: Instant) -> f64 {
        (now.saturating_duration_since(since).as_secs_f64() - self.limit.rested_seconds(now)).max(0.0)
    }

    pub(super) fn in_hand(&self, now: Instant) -> InHand {
        InHand {
            ends: self.ends(now),
            soonest: self.seconds_left_of(now, |decided| decided.plain_seconds),
            ahead: self.standing.wish().priority == Priority::Ahead && !self.dropped,
        }
    }

    /// Seconds until it will be done if it is left alone, but for its own limit.
    pub(super) fn ends(&self, now: Instant) -> f64 {
        if self.dropped {
            return 0.0;
        }
        let ends = self.seconds_left_of(now, |decided| decided.seconds);
        let soonest = self.seconds_left_of(now, |decided| decided.plain_seconds);
        let limit =
            self.limit.get().map_or(f64::INFINITY, |at| at.saturating_duration_since(now).as_secs_f64());
        ends.min(limit.max(soonest))
    }

    /// What is left of it, if all of it takes as long as `whole` says.
    fn seconds_left_of(&self, now: Instant, whole: impl Fn(&Decided) -> f64) -> f64 {
        let Some(decided) = &self.decided else {
            return (self.standing.need.plain_seconds - self.worked(self.began, now)).max(0.0);
        };
        let part_left = 1.0 - self.worked(decided.at, now) / decided.seconds.max(f64::MIN_POSITIVE);
        whole(decided) * part_left.clamp(LEFT_OF_OVERDUE, 1.0)
    }
}

pub(super) fn seconds_left(wish: &Wish, now: Instant) -> f64 {
    wish.deadline.map_or(f64::INFINITY, |by| seconds_until(by, now))
}
