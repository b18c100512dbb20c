//! What is asked of the enhancer: one segment, what to make of it, by when.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

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
    /// Enlargement per axis, 2..=4.
    pub scale: u32,
    /// Nominal pictures per 1000 seconds (29.97 fps is 29970). Chooses level and keyframe distance; the
    /// pictures' times come from the source alone.
    pub frame_rate_milli: u32,
    /// Peak video rate in kbit/s (VBV maxrate).
    pub max_video_kbps: u32,
    /// What enlarges luma.
    pub upscaler: Upscaler,
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
    /// What to make of it.
    pub spec: RenditionSpec,
    /// When the result stops being useful; decides the tier. `None`: best tier, no hurry.
    pub deadline: Option<Instant>,
    /// Who waits.
    pub priority: Priority,
    /// How much it is wanted, and what may be added to that while it waits.
    pub demand: Demand,
    /// Set by the caller when nobody wants the result any more.
    pub cancel: CancelFlag,
}

impl EnhanceRequest {
    /// What is wanted now, with all that was added.
    pub(crate) fn wish(&self) -> Wish {
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
