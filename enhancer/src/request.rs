//! What is asked of the enhancer: one segment, what to make of it, by when.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, OnceLock, PoisonError};
use std::time::Instant;

use acuity_models::{Interpolation, Tier};
use bytes::Bytes;

use crate::demand::{Demand, Wish};

/// Everything that fixes the bit stream of an enhanced rendition. Two segments made with equal specs share
/// SPS and PPS; a player may switch between them without a new initialisation.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct RenditionSpec {
    /// Output width in luma samples, even, 2..=4096.
    pub width: u32,
    /// Output height in luma samples, even, 2..=4096.
    pub height: u32,
    /// Enlargement per axis, 2..=4; 1 where only the frame rate is another.
    pub scale: u32,
    /// Nominal pictures per 1000 seconds of the result (29.97 fps is 29970). Chooses level and keyframe distance; the
    /// pictures' times come from the source alone.
    pub frame_rate_milli: u32,
    /// Peak video rate in kbit/s (VBV maxrate).
    pub max_video_kbps: u32,
    /// What enlarges luma.
    pub upscaler: Upscaler,
    /// What makes pictures between the source's; `None`: there are none.
    pub interpolation: Option<Interpolation>,
}

/// What enlarges the luma plane.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Upscaler {
    /// The model set of a cluster, by its digest (8 hex characters, `ModelSet::digest`).
    Model {
        /// Cluster name, for example `generic`.
        cluster: String,
        /// First 8 hex characters of the set's digest.
        digest: String,
    },
    /// The plain scaler (libswscale, bicubic): the baseline.
    Bicubic,
}

/// One segment to enhance. All bytes are clear (decrypted).
#[derive(Debug, Clone)]
pub struct EnhanceRequest {
    /// The source rendition's initialisation segment; `None` for MPEG-TS.
    pub init: Option<Bytes>,
    /// Preceding source segments, oldest first, decoded but not encoded: what a segment that does not open
    /// on an IDR needs (see [`crate::EnhanceError::OpensMidGop`]).
    pub lead_in: Vec<Bytes>,
    /// The source segment.
    pub segment: Bytes,
    /// The source segment behind it, where the frame rate is multiplied and it is at hand: the last picture leads over to its first.
    pub following: Following,
    /// What to make of it.
    pub spec: RenditionSpec,
    /// When the result stops being useful; decides the tier. `None`: best tier, no hurry.
    pub deadline: Option<Instant>,
    /// Who waits.
    pub priority: Priority,
    /// How much it is wanted, and what may be added to that while it waits.
    pub demand: Demand,
    /// Made already, as far as its begin has been sent, by this ([`crate::Report::made_by_what`]) elsewhere, where it was lost: it is
    /// made by the same again, whatever else would be chosen, and not cut short, so that the same bytes come of it.
    pub again_by: Option<String>,
    /// Tiers of the set that it is not to be made with: whoever asks has found that they lose.
    pub without: Vec<Tier>,
    /// Set by the caller when nobody wants the result any more.
    pub cancel: CancelFlag,
    /// On whose behalf: what is logged while it is made tells it.
    pub context: opentelemetry::Context,
}

impl EnhanceRequest {
    /// What is wanted now, with all that was added.
    #[must_use]
    pub fn wish(&self) -> Wish {
        self.demand.wish(self.priority, self.deadline)
    }
}

/// Who waits for a segment. Viewers are served first; work ahead is dropped first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Priority {
    /// A player has asked for it.
    Viewer,
    /// Produced ahead of its request.
    Ahead,
}

/// The segment behind one, in the clear, which may come while that one is being made: it is looked for when its own pictures are
/// through, and nobody waits for it. Clones share it.
#[derive(Clone, Default)]
pub struct Following(Arc<Next>);

#[derive(Default)]
struct Next {
    segment: OnceLock<Bytes>,
    told: Mutex<Vec<Told>>,
}

type Told = Box<dyn FnOnce(&Bytes) + Send>;

impl Following {
    /// It is here. What comes second is ignored.
    pub fn is(&self, segment: Bytes) {
        // Only told twice if two fetched it, and then it is the same.
        let segment = self.0.segment.get_or_init(|| segment);
        let told = std::mem::take(&mut *self.told());
        told.into_iter().for_each(|tell| tell(segment));
    }

    /// It, if it is here.
    #[must_use]
    pub fn get(&self) -> Option<&Bytes> {
        self.0.segment.get()
    }

    /// Calls `tell` once it is here: now, or from where it comes. Must not block.
    pub fn when_here(&self, tell: impl FnOnce(&Bytes) + Send + 'static) {
        let mut told = self.told();
        match self.get() {
            Some(segment) => {
                drop(told);
                tell(segment);
            }
            None => told.push(Box::new(tell)),
        }
    }

    /// A list: whatever a panic left of it is one.
    fn told(&self) -> MutexGuard<'_, Vec<Told>> {
        self.0.told.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_tuple("Following").field(&self.get().map(Bytes::len)).finish()
    }
}

/// A shared "stop" sign, looked at between pictures.
#[derive(Debug, Clone, Default)]
pub struct CancelFlag(Arc<AtomicBool>);

impl CancelFlag {
    /// Asks the work to stop at the next picture.
    pub fn cancel(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    /// Whether somebody asked the work to stop.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::mpsc;

    use super::*;

    #[test]
    fn who_waits_for_what_follows_is_told_once() {
        let (following, (told, news)) = (Following::default(), mpsc::channel());
        let tell = |name| {
            let told = told.clone();
            following.when_here(move |segment: &Bytes| told.send((name, segment.clone())).unwrap());
        };
        tell("before");
        assert!(news.try_recv().is_err());
        following.is(Bytes::from_static(b"next"));
        following.is(Bytes::from_static(b"other"));
        tell("behind");
        let next = Bytes::from_static(b"next");
        assert_eq!(news.try_iter().collect::<Vec<_>>(), [("before", next.clone()), ("behind", next)]);
    }
}
