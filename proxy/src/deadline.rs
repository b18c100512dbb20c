//! By when an enhanced segment must be ready, from what the player and the playlist say. Pure.

use std::time::Duration;

use acuity_config::DeadlinePolicy;

use crate::client::Cmcd;

/// What is known about the hurry of a request.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Hurry {
    /// CMCD `bl`: media in the player's buffer.
    pub buffer: Option<Duration>,
    /// CMCD `dl`: until the first byte must be there.
    pub first_byte: Option<Duration>,
    /// The player starts, seeks or has run dry (CMCD `su`, `bs`).
    pub urgent: bool,
}

impl Hurry {
    /// What a player said.
    #[must_use]
    pub fn of(cmcd: &Cmcd) -> Self {
        let duration = |ms: Option<f64>| ms.and_then(|ms| Duration::try_from_secs_f64(ms / 1000.0).ok());
        let urgent = cmcd.startup() || cmcd.starved();
        Self { buffer: duration(cmcd.buffer_ms()), first_byte: duration(cmcd.deadline_ms()), urgent }
    }
}

/// Time left for a segment that a player waits for, from when it asked.
#[must_use]
pub fn for_viewer(policy: &DeadlinePolicy, target: Duration, hurry: Hurry) -> Duration {
    let by_playlist = target.mul_f64(policy.fraction);
    let by_buffer = hurry.buffer.map(|buffer| buffer.saturating_sub(policy.buffer_reserve));
    // A player that starts has an empty buffer and says so; its playlist's pace is what it can live with.
    let by_player = match (hurry.urgent, by_buffer, hurry.first_byte) {
        (true, ..) | (false, None, None) => by_playlist,
        (false, Some(buffer), Some(first_byte)) => buffer.min(first_byte),
        (false, Some(one), None) | (false, None, Some(one)) => one,
    };
    by_player.clamp(policy.shortest, policy.longest.max(policy.shortest))
}

/// Time left for a segment of which a player has just got the one `media` before it. A player that has just started has no more
/// than that in its buffer, so what is left of it must do for the transfer.
#[must_use]
pub fn for_ahead(policy: &DeadlinePolicy, media: Duration) -> Duration {
    media.mul_f64(policy.fraction).max(policy.shortest)
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
            (Hurry { buffer: Some(MS(0)), urgent: true, ..none }, MS(3400)),
        ] {
            assert_eq!(for_viewer(&policy, target, hurry), expected, "{hurry:?}");
        }
        assert_eq!(for_viewer(&policy, MS(60_000), none), MS(8000));
    }

    #[test]
    fn later_segments_have_more_time() {
        let policy = DeadlinePolicy::default();
        assert_eq!(for_ahead(&policy, MS(4000)), MS(3400));
        assert_eq!(for_ahead(&policy, MS(20_000)), MS(17_000));
        assert_eq!(for_ahead(&policy, MS(100)), MS(500));
    }

    #[test]
    fn players_words() {
        let mut cmcd = Cmcd::default();
        cmcd.read("bl=2500,dl=900,su");
        let expected = Hurry { buffer: Some(MS(2500)), first_byte: Some(MS(900)), urgent: true };
        assert_eq!(Hurry::of(&cmcd), expected);
    }
}
