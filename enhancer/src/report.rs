//! What came of a request: the bytes, and an honest account of how they were made.

use bytes::Bytes;

/// The enhanced segment and how it came to be.
#[derive(Debug, Clone)]
pub struct EnhancedSegment {
    /// A whole segment in the source's container.
    pub bytes: Bytes,
    /// How it was made.
    pub report: Report,
}

/// How a segment was made.
#[derive(Debug, Clone)]
pub struct Report {
    /// Pictures in the segment (equal to the source's).
    pub frames: u32,
    /// Of these, repeats of a neighbour, because the decoder gave nothing for them.
    pub held_frames: u32,
    /// What enlarged the pictures.
    pub made_by: MadeBy,
    /// Why it is not what the rendition asked for, if it is not.
    pub fallback: Option<FallbackReason>,
    /// Where the time went.
    pub stages: StageSeconds,
    /// Size of the source segment.
    pub source_bytes: usize,
    /// Duration of the video in seconds.
    pub media_seconds: f64,
}

/// What enlarged the pictures.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum MadeBy {
    /// A network.
    Model {
        /// Catalogue id, for example `generic-x2-s`.
        id: String,
        /// Tier, for example `s`.
        tier: String,
        /// ONNX Runtime execution provider that ran it.
        provider: &'static str,
        /// `float` or `int8`.
        precision: &'static str,
    },
    /// The plain scaler.
    Plain,
    /// Nothing: there is no video in the segment, its bytes are the source's.
    Untouched,
}

/// Why a segment is less than its rendition asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum FallbackReason {
    /// The model set named by the rendition is not loaded (removed, wrong digest or shape).
    ModelMissing,
    /// Inference failed on the way.
    ModelFailed,
    /// No tier's predicted time fits before the deadline.
    DeadlineShort,
    /// The source's size changed inside the rendition (an inserted clip): plainly scaled to fit.
    SizeChanged,
    /// No picture could be decoded: a held or black picture keeps time.
    Undecodable,
    /// The segment has no video.
    NoVideo,
}

impl FallbackReason {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 6] = [
        Self::ModelMissing,
        Self::ModelFailed,
        Self::DeadlineShort,
        Self::SizeChanged,
        Self::Undecodable,
        Self::NoVideo,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::ModelMissing => "model_missing",
            Self::ModelFailed => "model_failed",
            Self::DeadlineShort => "deadline_short",
            Self::SizeChanged => "size_changed",
            Self::Undecodable => "undecodable",
            Self::NoVideo => "no_video",
        }
    }
}

/// Busy seconds per stage. Stages overlap, so they add up to more than `total`.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct StageSeconds {
    /// Waiting for a worker.
    pub queue: f64,
    /// Taking the container apart.
    pub demux: f64,
    /// Decoding.
    pub decode: f64,
    /// The network on luma (or the plain scaler's luma pass).
    pub infer: f64,
    /// Scaling chroma.
    pub scale: f64,
    /// Encoding.
    pub encode: f64,
    /// Splicing.
    pub mux: f64,
    /// Wall clock from dequeue to finished bytes.
    pub total: f64,
}
