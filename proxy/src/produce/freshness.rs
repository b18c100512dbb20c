//! For how long an enhanced object is given out without asking the origin whether its source changed. Pure.

use std::time::Duration;

use crate::cache::store::Object;

/// The source's bytes in place of an enhanced segment: as long as it takes for the players that wait now to get them.
pub(super) const OF_SOURCE_BYTES: Duration = Duration::from_secs(5);

/// Something less than the rendition promises (no time for the model) is made anew for those who come later, once this is
/// over and nobody waits for anything.
pub(super) const IMPROVE_AFTER: Duration = Duration::from_secs(60);

/// A finished presentation whose origin says nothing: its segments hardly ever change, and asking is cheap.
const OF_FINISHED: Duration = Duration::from_secs(3600);

/// A live one: names of segments come round again after some minutes in a few packagers, and players ask for a segment
/// within less than this of each other.
const OF_LIVE: Duration = Duration::from_secs(30);

/// Origins that say `no-store` or `max-age=0` of segments mean their own caches, not that each viewer costs an encode.
/// Everyone who watches a live edge asks within this.
const AT_LEAST: Duration = Duration::from_secs(10);

/// Longer is never useful: what is watched is asked for again.
const AT_MOST: Duration = Duration::from_secs(24 * 3600);

/// `max_age`: what the origin allows.
pub(super) fn of(max_age: Option<Duration>, finished: bool) -> Duration {
    let default = if finished { OF_FINISHED } else { OF_LIVE };
    max_age.map_or(default, |max_age| max_age.clamp(AT_LEAST, AT_MOST))
}

/// Without a validator nothing can be asked of it when its time is over, and it is made anew: shorter times than this are not worth a write.
const WITHOUT_VALIDATOR: Duration = Duration::from_secs(60);

/// Whether an object may still be of use some time after it was made.
pub(super) fn is_worth_keeping(object: &Object) -> bool {
    object.validator.is_conditional() || object.fresh_for >= WITHOUT_VALIDATOR
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn freshness() {
        let seconds = |age| Some(Duration::from_secs(age));
        for (max_age, finished, expected) in [
            (None, true, OF_FINISHED),
            (None, false, OF_LIVE),
            (seconds(0), true, AT_LEAST),
            (seconds(300), false, Duration::from_secs(300)),
            (seconds(10_000_000), true, AT_MOST),
        ] {
            assert_eq!(of(max_age, finished), expected, "{max_age:?} {finished}");
        }
    }
}
