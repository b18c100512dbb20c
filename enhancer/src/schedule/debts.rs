//! Which streams came off badly lately, so that it is not always the same ones.

use std::collections::HashMap;

/// Streams that are remembered at most. Names come from URLs, which anybody can write.
const STREAMS_LIMIT: usize = 4096;

/// Weight of the newest segment.
const RATE: f64 = 0.5;

/// A stream that got everything for so long is forgotten.
const FORGOTTEN: f64 = 0.05;

/// One stream is owed more than another if it is by this much: one plain segment more of the last two or three.
const MARGIN: f64 = 0.2;

/// What streams are owed, each 0 (its last segments were enhanced) to 1 (all were plain).
#[derive(Debug, Default)]
pub(crate) struct Debts(HashMap<u64, f64>);

impl Debts {
    /// A segment of `stream` was made; `plain`: without a network although it should have had one.
    pub(crate) fn made(&mut self, stream: u64, plain: bool) {
        let before = self.of(stream);
        let debt = before + (f64::from(u8::from(plain)) - before) * RATE;
        if debt < FORGOTTEN {
            self.0.remove(&stream);
        } else if self.0.contains_key(&stream) || self.0.len() < STREAMS_LIMIT {
            self.0.insert(stream, debt);
        }
    }

    /// What `stream` is owed.
    pub(crate) fn of(&self, stream: u64) -> f64 {
        self.0.get(&stream).copied().unwrap_or_default()
    }

    /// Forgets streams that nobody watches any more when there are too many. What they were owed they do not come for.
    pub(crate) fn tidy(&mut self) {
        if self.0.len() >= STREAMS_LIMIT {
            self.0.clear();
        }
    }
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
        let mut debts = Debts::default();
        debts.made(1, true);
        debts.made(2, false);
        assert!(outweighs(debts.of(1), debts.of(2)));
        for _ in 0..6 {
            debts.made(1, false);
        }
        assert!(debts.0.is_empty(), "nothing is kept of who is owed nothing");
    }

    #[test]
    fn strangers_cannot_fill_the_memory() {
        let mut debts = Debts::default();
        for stream in 0..3 * STREAMS_LIMIT as u64 {
            debts.made(stream, true);
            debts.tidy();
            assert!(debts.0.len() <= STREAMS_LIMIT);
        }
    }
}
