//! Which streams came off badly lately, so that it is not always the same ones: where there is not enough for all, each gets its turn.

use std::collections::HashMap;
use std::time::{Duration, Instant};

/// Streams that are remembered at most. Names come from URLs, which anybody can write.
const STREAMS_LIMIT: usize = 4096;

/// Part of what is missing to 1 that a plain segment adds: ten of them are told from twenty.
const GROWS: f64 = 0.12;

/// What an enhanced segment leaves of a debt.
const LEAVES: f64 = 0.4;

/// A stream is watched if a segment of it was made within this time: longer than anybody's segments.
const WATCHED: Duration = Duration::from_secs(30);

/// One stream is owed more than another if it is by this much: two or three plain segments more.
const MARGIN: f64 = 0.2;

/// How much sooner or later a turn comes: see [`Debts::favour`].
const FAVOUR: f64 = 2.0;

/// The bounds of it: nobody takes what is not there, and nobody is kept waiting for what is there in plenty.
const FAVOURS: (f64, f64) = (0.4, 2.0);

/// What streams are owed, each 0 (all of its last segments were enhanced) to 1 (all were plain).
#[derive(Debug, Default)]
pub(crate) struct Debts(HashMap<u64, Debt>);

#[derive(Debug, Clone, Copy)]
struct Debt {
    owed: f64,
    at: Instant,
}

impl Debts {
    /// A segment of `stream` was made; `plain`: without a network although it should have had one.
    pub(crate) fn made(&mut self, stream: u64, plain: bool, now: Instant) {
        let before = self.of(stream);
        let owed = if plain { before + (1.0 - before) * GROWS } else { before * LEAVES };
        if !self.0.contains_key(&stream) && self.0.len() >= STREAMS_LIMIT {
            self.0.retain(|_, debt| is_watched(debt, now));
            // What so many are owed is no matter of turns any more.
            if self.0.len() >= STREAMS_LIMIT {
                return;
            }
        }
        self.0.insert(stream, Debt { owed, at: now });
    }

    /// What `stream` is owed.
    pub(crate) fn of(&self, stream: u64) -> f64 {
        self.0.get(&stream).map_or(0.0, |debt| debt.owed)
    }

    /// What a stream must find in the account for its turn to come, as a multiple of what is asked for in the middle: less for who is
    /// owed more than the mean of those that are watched, more for who had a turn lately.
    pub(crate) fn favour(&self, stream: u64, now: Instant) -> f64 {
        let watched = self.0.iter().filter(|(other, debt)| **other != stream && is_watched(debt, now));
        let (sum, others) = watched.fold((0.0, 0.0), |(sum, all), (_, debt)| (sum + debt.owed, all + 1.0));
        if others == 0.0 {
            return 1.0;
        }
        let own = self.of(stream);
        let mean = (sum + own) / (others + 1.0);
        (1.0 + FAVOUR * (mean - own)).clamp(FAVOURS.0, FAVOURS.1)
    }
}

fn is_watched(debt: &Debt, now: Instant) -> bool {
    now.saturating_duration_since(debt.at) <= WATCHED
}

/// Whether a debt of `other` goes before one of `own`.
pub(crate) fn outweighs(other: f64, own: f64) -> bool {
    other > own + MARGIN
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_segments_are_remembered_and_enhanced_ones_pay() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        assert!((debts.favour(1, now) - 1.0).abs() < 1e-9, "alone nobody has to wait for a turn");
        for _ in 0..3 {
            debts.made(1, true, now);
            debts.made(2, false, now);
        }
        assert!(outweighs(debts.of(1), debts.of(2)));
        assert!(debts.favour(1, now) < 1.0 && debts.favour(2, now) > 1.0);
        debts.made(1, false, now);
        assert!(!outweighs(debts.of(1), debts.of(2)));
        let later = now + WATCHED + Duration::from_secs(1);
        assert!((debts.favour(2, later) - 1.0).abs() < 1e-9, "who has gone is owed nothing");
    }

    #[test]
    fn turns_go_round() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        let mut turns = [0; 8];
        // Of eight streams one at a time can be enhanced: the one that would be content with least.
        for _ in 0..400 {
            let next =
                (0..8).min_by(|a, b| debts.favour(*a, now).total_cmp(&debts.favour(*b, now))).unwrap_or(0);
            for stream in 0..8 {
                debts.made(stream, stream != next, now);
            }
            turns[next as usize] += 1;
        }
        assert!(turns.iter().all(|turns| (45..=55).contains(turns)), "{turns:?}");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let (mut debts, now) = (Debts::default(), Instant::now());
        for stream in 0..3 * STREAMS_LIMIT as u64 {
            debts.made(stream, true, now);
            assert!(debts.0.len() <= STREAMS_LIMIT);
        }
        debts.made(u64::MAX, true, now + WATCHED * 2);
        assert_eq!(debts.0.len(), 1, "who has gone makes room");
    }
}
