//! Is a specialised model worth using? Judged on one segment of which the origin has the high rendition too: the low one is
//! enlarged by the plain scaler, by the generic model and by the specialised ones, and each is compared with what the
//! origin's high rendition shows at the same moments.
//!
//! What interpolates is judged by the source alone: of three pictures that follow each other the middle one is what is to be made
//! of the other two. The motion is twice what it is at work, which is harder for all who take part, and ranks them.
//!
//! It is work for idle moments. It goes in steps of one picture, and a lane puts it aside between two of them when
//! anything else is to be done.
//!
//! What is compared is luma as the networks give it, before the edge's encoder, and against a high rendition that is coded
//! itself. Both lessen the differences and leave their sign. So does what only one of the renditions shows (a logo): it
//! is as wrong in all of them.

mod contenders;
mod enlarged;
mod halves;
mod pairs;
mod score;
mod source;
mod triplets;
mod work;

use std::sync::Arc;

use acuity_config::EnhancerConfig;
use acuity_models::Tier;
use bytes::Bytes;

pub(crate) use work::{Turnout, Work};

use crate::{CancelFlag, EnhanceError};
use enlarged::Enlarged;
use halves::Halves;

/// One segment, twice: as it is enhanced, and as the origin has it in high resolution. All bytes are clear.
#[derive(Debug, Clone)]
pub struct CompareRequest {
    /// The low rendition's initialisation segment; `None` for MPEG-TS.
    pub init: Option<Bytes>,
    /// The low segment; opens on an IDR picture.
    pub segment: Bytes,
    /// The high rendition's initialisation segment; `None` for MPEG-TS.
    pub high_init: Option<Bytes>,
    /// The high segment; opens on an IDR picture.
    pub high_segment: Bytes,
    /// The cluster of the set that is to be judged; not `generic`, which it is judged against.
    pub cluster: String,
    /// Enlargement per axis, 2..=4.
    pub scale: u32,
    /// The set's digest, 8 hexadecimal digits.
    pub digest: String,
    /// The tiers to be judged, at least one.
    pub tiers: Vec<Tier>,
    /// Pictures to compare, spread evenly over the segment; at least 1.
    pub frames: usize,
    /// Set by the caller when nobody wants to know any more.
    pub cancel: CancelFlag,
}

/// One segment of a source whose frame rate is multiplied. All bytes are clear.
#[derive(Debug, Clone)]
pub struct CompareHalvesRequest {
    /// The source's initialisation segment; `None` for MPEG-TS.
    pub init: Option<Bytes>,
    /// The source segment; opens on an IDR picture.
    pub segment: Bytes,
    /// The cluster of the set that is to be judged; not `generic`, which it is judged against.
    pub cluster: String,
    /// The set's digest, 8 hexadecimal digits.
    pub digest: String,
    /// The tiers to be judged, at least one.
    pub tiers: Vec<Tier>,
    /// Pictures to make and compare, spread evenly over the segment; at least 1. Fewer where fewer move; see
    /// [`CompareError::Flat`].
    pub frames: usize,
    /// Set by the caller when nobody wants to know any more.
    pub cancel: CancelFlag,
}

impl CompareRequest {
    pub(crate) fn work(self, limits: Arc<EnhancerConfig>) -> Work {
        let cancel = self.cancel.clone();
        Work::new(Box::new(Enlarged::new(self, limits)), cancel)
    }
}

impl CompareHalvesRequest {
    pub(crate) fn work(self, limits: Arc<EnhancerConfig>) -> Work {
        let cancel = self.cancel.clone();
        Work::new(Box::new(Halves::new(self, limits)), cancel)
    }
}

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub struct Comparison {
    /// Pictures that were compared.
    pub frames: u32,
    /// Luma PSNR of what is done without a network, over the pictures' mean squared error, in dB: of the better of swscale's bicubic
    /// and Lanczos, or of the mean of two pictures.
    pub plain_db: f64,
    /// The tiers that were asked for, in that order.
    pub tiers: Vec<TierComparison>,
}

/// How one tier did.
#[derive(Debug, Clone, PartialEq)]
pub struct TierComparison {
    /// The tier.
    pub tier: Tier,
    /// Luma PSNR of the specialised model, in dB.
    pub own_db: f64,
    /// Luma PSNR of the generic model of the same tier, in dB; of the next cheaper one where there is none of that tier, and of the
    /// cheapest where there is none below either. `None`: there is no generic model of this
    /// scale, or none that interpolates.
    pub generic_db: Option<f64>,
}

/// Called once, from a worker thread or from where the comparison is asked for. Must not block.
pub type CompareReply = Box<dyn FnOnce(Result<Comparison, CompareError>) + Send>;

/// Why nothing was compared.
#[derive(Debug, thiserror::Error)]
pub enum CompareError {
    /// Another comparison is under way; there is one at a time.
    #[error("another comparison is under way")]
    Busy,
    /// The enhancer is going down.
    #[error("the enhancer is shutting down")]
    ShuttingDown,
    /// The caller asked for it to stop.
    #[error("cancelled by the caller")]
    Cancelled,
    /// A segment cannot be taken apart or decoded.
    #[error("the {rendition} segment: {source}")]
    Segment {
        /// `low` or `high`; `source` where there is one.
        rendition: &'static str,
        /// Why.
        source: EnhanceError,
    },
    /// The high rendition's pictures are not those of the low one, enlarged by the scale.
    #[error("the high rendition is {high_width}x{high_height}, not {scale} times {width}x{height}")]
    Size {
        /// Of the low rendition's pictures.
        width: u32,
        /// Of the low rendition's pictures.
        height: u32,
        /// What was asked for.
        scale: u32,
        /// Of the high rendition's pictures.
        high_width: u32,
        /// Of the high rendition's pictures.
        high_height: u32,
    },
    /// The two are not shown at the same times: other rates, or most pictures have no partner within half a picture's time. Of one
    /// segment: no picture is shown half way between its neighbours.
    #[error("no pictures are shown at the times that are to be compared")]
    Times,
    /// The high rendition shows the same pictures earlier or later: its pictures' neighbours are nearer to the low ones.
    #[error("the high rendition is some pictures ahead or behind")]
    Offset,
    /// The two show different things.
    #[error("the two renditions do not show the same ({plain_db:.1} dB apart)")]
    Unlike {
        /// Luma PSNR of the plainly enlarged pictures.
        plain_db: f64,
    },
    /// There is nothing on the pictures that one way could do better than another: they are nearly of one colour, or hardly
    /// any of them move, or each is another scene.
    #[error("the pictures show nothing to compare by")]
    Flat,
    /// No model of that task, cluster, scale, digest and tier is in use.
    #[error("there is no such model in use")]
    NoModel,
    /// A network failed, or no session of it can be made.
    #[error("a network failed")]
    ModelFailed,
    /// The worker thread died on it (a bug).
    #[error("the worker was lost")]
    WorkerLost,
}

impl CompareError {
    /// Every label, for tables and metrics.
    pub const LABELS: [&'static str; 12] = [
        "busy",
        "shutting_down",
        "cancelled",
        "unreadable",
        "size",
        "times",
        "offset",
        "unlike",
        "flat",
        "no_model",
        "model_failed",
        "worker_lost",
    ];

    /// The metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Busy => "busy",
            Self::ShuttingDown => "shutting_down",
            Self::Cancelled => "cancelled",
            Self::Segment { .. } => "unreadable",
            Self::Size { .. } => "size",
            Self::Times => "times",
            Self::Offset => "offset",
            Self::Unlike { .. } => "unlike",
            Self::Flat => "flat",
            Self::NoModel => "no_model",
            Self::ModelFailed => "model_failed",
            Self::WorkerLost => "worker_lost",
        }
    }
}
