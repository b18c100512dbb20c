//! `[guard]`: whether specialised models are checked while they are used: those that enlarge against the origin's own high rendition,
//! those that interpolate against the source's own pictures.

use std::time::Duration;

use crate::reader::Section;

/// How much is checked, and what becomes of models that lose.
#[derive(Clone, Debug, PartialEq)]
pub struct GuardConfig {
    /// Share of the segments made by a specialised model that are checked (0 to 1); zero: the guard is off.
    pub rate: f64,
    /// Checks of a model before its mean gain counts (1 to 1000).
    pub at_least: u32,
    /// What a model must be better by than the generic one, in dB (-10 to 10). One that is not is stopped.
    pub margin_db: f64,
    /// Pictures of a segment that are compared (1 to 600).
    pub frames: usize,
    /// How long a stopped model stays out at least (1 s to 720 h); after that it is tried again when a new catalogue is read.
    pub stopped_for: Duration,
}

impl Default for GuardConfig {
    fn default() -> Self {
        Self {
            // Each check of what enlarges costs the origin one high segment, which is the traffic that enhancement saves, and any check
            // a lane about as long as a few pictures of video take. Whoever wants the proof says so; one in fifty is enough for it.
            rate: 0.0,
            // One segment may be an exception (a menu, a cut-scene); three in a row hardly are.
            at_least: 3,
            // A model that is as good as the generic one is no worse.
            margin_db: 0.0,
            // Half a second of video in lumps; more moves the mean of a segment by hundredths of a decibel.
            frames: 12,
            // Files do not get better with time; content does change. A day is not soon enough to flap.
            stopped_for: Duration::from_secs(24 * 3600),
        }
    }
}

impl GuardConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let s = Duration::from_secs;
        let config = Self {
            rate: section.number("rate", default.rate, 0.0..=1.0),
            at_least: section.integer("at_least", default.at_least, 1..=1000),
            margin_db: section.number("margin_db", default.margin_db, -10.0..=10.0),
            frames: section.integer("frames", default.frames, 1..=600),
            stopped_for: section.duration("stopped_for", default.stopped_for, s(1)..=s(720 * 3600)),
        };
        section.finish();
        config
    }
}
