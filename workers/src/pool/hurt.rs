//! Segments that workers have died on. One that has ended two is given to no third: whoever can have an edge fetch it could keep all of
//! its workers from working.
//!
//! With several segments in hand all are under suspicion, and innocent ones are made elsewhere, which clears them: only who ends a second
//! one without having been made meanwhile is no chance. Else where workers end often for another reason, what is watched most would be
//! shunned first.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::time::Duration;

use moka::sync::Cache;

/// Workers that a segment may end.
const LIMIT: u32 = 2;

/// For how long it is remembered: an origin that is mended is tried again, and one that is not costs two workers an hour.
const REMEMBERED: Duration = Duration::from_secs(3600);

/// Segments that are remembered.
const ENTRIES: u64 = 4096;

pub(super) struct Hurt {
    by: Cache<u64, u32>,
    /// Keyed, so that nobody can make others' segments collide with theirs.
    hasher: RandomState,
}

impl Default for Hurt {
    fn default() -> Self {
        Self {
            by: Cache::builder().max_capacity(ENTRIES).time_to_live(REMEMBERED).build(),
            hasher: RandomState::new(),
        }
    }
}

impl Hurt {
    /// A worker has ended with this segment in hand, and it may have been this one.
    pub(super) fn by(&self, segment: &[u8]) {
        self.by_key(self.key(segment));
    }

    /// What a segment is remembered by.
    pub(super) fn key(&self, segment: &[u8]) -> u64 {
        self.hasher.hash_one(segment)
    }

    /// As [`Hurt::by`], for who has kept nothing but the key.
    pub(super) fn by_key(&self, key: u64) {
        let count = self.by.get(&key).unwrap_or(0);
        self.by.insert(key, count + 1);
    }

    /// A worker has made this segment.
    pub(super) fn cleared(&self, segment: &[u8]) {
        if self.are_any() {
            self.by.invalidate(&self.key(segment));
        }
    }

    /// Whether it is not to be tried again.
    pub(super) fn is_shunned(&self, segment: &[u8]) -> bool {
        self.are_any() && self.by.get(&self.key(segment)).is_some_and(|count| count >= LIMIT)
    }

    /// Mostly there are none, and then nothing is hashed. Entries are counted late, so that the list is asked for one.
    fn are_any(&self) -> bool {
        self.by.iter().next().is_some()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn twice_is_no_chance() {
        let hurt = Hurt::default();
        assert!(!hurt.is_shunned(b"a"));
        hurt.by(b"a");
        hurt.by(b"b");
        assert!(!hurt.is_shunned(b"a"));
        hurt.by(b"a");
        assert!(hurt.is_shunned(b"a"));
        assert!(!hurt.is_shunned(b"b"));
    }

    #[test]
    fn who_was_made_meanwhile_begins_anew() {
        let hurt = Hurt::default();
        for _ in 0..3 {
            hurt.by(b"a");
            assert!(!hurt.is_shunned(b"a"));
            hurt.cleared(b"a");
        }
        hurt.by(b"a");
        hurt.cleared(b"b");
        hurt.by(b"a");
        assert!(hurt.is_shunned(b"a"));
    }
}
