//! By when an enhanced segment must be ready, from what the player and the playlist say. Pure.

use std::time::Duration;

use acuity_config::DeadlinePolicy;

use crate::client::Cmcd;

/// Players play at most this many times as fast; what claims more is no playback rate.
const FASTEST: f64 = 16.0;

/// What is known about the hurry of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hurry {
    /// CMCD `bl`: how long the player's buffer lasts, at the rate it plays (`pr`).
    pub buffer: Option<Duration>,
    /// CMCD `dl`: until the first byte must be there.
    pub first_byte: Option<Duration>,
    /// The player starts, seeks or has run dry (CMCD `su`, `bs`, a `bl` of 0).
    pub urgent: bool,
}

impl Hurry {
    /// What a player said.
    #[must_use]
    pub fn of(cmcd: &Cmcd) -> Self {
        let duration = |ms: Option<f64>| ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        let is_empty = cmcd.buffer_ms() == Some(0.0);
        let urgent = cmcd.startup() || cmcd.starved() || is_empty;
        // A buffer lasts half as long at double speed. A paused player's lasts for ever, but it may go on at any moment; and `dl` is
        // in the wall clock's time already.
        let rate = cmcd.playback_rate().clamp(1.0, FASTEST);
        Self {
            buffer: duration(cmcd.buffer_ms().map(|ms| ms / rate)),
            first_byte: duration(cmcd.deadline_ms()),
            urgent,
        }
    }
}

/// No segment is longer, whatever its playlist says.
const LONGEST_TARGET: Duration = Duration::from_secs(3600);

/// Time left for a segment that a player waits for, from when it asked.
#[must_use]
pub fn for_viewer(policy: &DeadlinePolicy, target: Duration, hurry: Hurry) -> Duration {
    // A playlist can claim any target duration, and a product could overflow.
    let target = target.min(LONGEST_TARGET);
    let by_buffer = hurry.buffer.map(|buffer| buffer.saturating_sub(policy.buffer_reserve));
    // A player that starts has an empty buffer and says so: what it says of it is no deadline that could be kept.
    let by_player = match (hurry.urgent, by_buffer, hurry.first_byte) {
        (true, ..) => target.mul_f64(policy.startup_fraction),
        (false, None, None) => target.mul_f64(policy.fraction),
        (false, Some(buffer), Some(first_byte)) => buffer.min(first_byte),
        (false, Some(one), None) | (false, None, Some(one)) => one,
    };
    by_player.clamp(policy.shortest, policy.longest.max(policy.shortest))
}

/// Time left for a segment that begins `media` after one that a player has just got. A player that has just started (`fills`) fills its
/// buffer: it asks for the next at once and has no more than what it got. One that plays asks when it has played that, and waits for a
/// while then; if it comes sooner, its own deadline counts from that moment on.
#[must_use]
pub fn for_ahead(policy: &DeadlinePolicy, media: Duration, fills: bool) -> Duration {
    let media = media.min(LONGEST_TARGET);
    let left =
        if fills { media.mul_f64(policy.fraction) } else { media + media.mul_f64(policy.fraction / 2.0) };
    left.max(policy.shortest)
}

#[cfg(test)]
mod tests {
    use super::*;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    #[test]
    fn a_viewers_deadline() {
        let policy = DeadlinePolicy::default(); // 0.85 of the target, 1 s reserve, 0.5 s to 8 s
        let target = MS(4000);
        let none = Hurry::default();
        for (hurry, expected) in [
            (none, MS(3400)),
            (Hurry { buffer: Some(MS(6000)), ..none }, MS(5000)),
            (Hurry { buffer: Some(MS(60_000)), ..none }, MS(8000)),
            (Hurry { buffer: Some(MS(900)), ..none }, MS(500)),
            (Hurry { first_byte: Some(MS(2000)), ..none }, MS(2000)),
            (Hurry { buffer: Some(MS(9000)), first_byte: Some(MS(2000)), ..none }, MS(2000)),
            (Hurry { buffer: Some(MS(0)), urgent: true, ..none }, MS(2000)),
            (Hurry { first_byte: Some(MS(100)), urgent: true, ..none }, MS(2000)),
        ] {
            assert_eq!(for_viewer(&policy, target, hurry), expected, "{hurry:?}");
        }
        assert_eq!(for_viewer(&policy, MS(60_000), none), MS(8000));
    }

    #[test]
    fn later_segments_have_more_time() {
        let policy = DeadlinePolicy::default();
        assert_eq!(for_ahead(&policy, MS(4000), true), MS(3400));
        assert_eq!(for_ahead(&policy, MS(4000), false), MS(5700));
        assert_eq!(for_ahead(&policy, MS(20_000), true), MS(17_000));
        assert_eq!(for_ahead(&policy, MS(100), true), MS(500));
        assert!(for_ahead(&policy, Duration::MAX, false) < LONGEST_TARGET * 2);
    }

    #[test]
    fn players_words() {
        let mut cmcd = Cmcd::default();
        cmcd.read("bl=2500,dl=900,su");
        let expected = Hurry { buffer: Some(MS(2500)), first_byte: Some(MS(900)), urgent: true };
        assert_eq!(Hurry::of(&cmcd), expected);
        let said = |words: &str| {
            let mut cmcd = Cmcd::default();
            cmcd.read(words);
            Hurry::of(&cmcd)
        };
        assert_eq!(said("bl=4000,pr=2").buffer, Some(MS(2000)));
        assert_eq!(said("bl=4000,pr=0").buffer, Some(MS(4000)));
        assert_eq!(said("dl=4000,pr=2").first_byte, Some(MS(4000)));
        assert!(said("bl=0").urgent && said("bs").urgent && !said("bl=100").urgent);
    }
}
