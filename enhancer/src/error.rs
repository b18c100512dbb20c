//! Why a segment could not be enhanced, and whose fault it was.

use crate::container::ContainerError;

/// Why [`crate::Enhancer::submit`] gave no enhanced segment.
#[derive(Debug, thiserror::Error)]
pub enum EnhanceError {
    /// Too much work waits already.
    #[error("the queue is full ({limit} segments wait)")]
    QueueFull {
        /// The configured limit.
        limit: usize,
    },
    /// More is wanted than can be made in time, and who asked has something else to give (see [`crate::Demand::or_else`]).
    #[error("it would be late: more is wanted than can be made")]
    TooLate,
    /// It was made ahead, and a viewer's segment needed the lane. Ask again if somebody waits for it.
    #[error("made room for a segment that a viewer waits for")]
    MadeRoom,
    /// The enhancer is going down.
    #[error("the enhancer is shutting down")]
    ShuttingDown,
    /// The caller asked for it to stop.
    #[error("cancelled by the caller")]
    Cancelled,
    /// The bytes are no segment this crate can take apart.
    #[error("source segment: {0}")]
    Container(#[from] ContainerError),
    /// The same, said by another process, in its words.
    #[error("{0}")]
    Unreadable(String),
    /// The segment's first picture refers to the segment before: send that one as lead-in.
    #[error("the segment does not open on an IDR picture and no lead-in was given")]
    OpensMidGop,
    /// The source is of a kind that is not enhanced.
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    /// The decoder, scaler or encoder failed.
    #[error("{stage}: {message}")]
    Codec {
        /// `decode`, `scale` or `encode`.
        stage: &'static str,
        /// The library's own words.
        message: String,
    },
    /// The worker thread died on this segment (a bug; the segment's, not the process's, end).
    #[error("the worker was lost")]
    WorkerLost,
    /// Of several worker processes none is ready in time.
    #[error("no worker is ready")]
    NoWorker,
}

impl EnhanceError {
    /// The metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::QueueFull { .. } => "queue_full",
            Self::TooLate => "too_late",
            Self::MadeRoom => "made_room",
            Self::ShuttingDown => "shutting_down",
            Self::Cancelled => "cancelled",
            Self::Container(_) | Self::Unreadable(_) => "source_unreadable",
            Self::OpensMidGop => "opens_mid_gop",
            Self::Unsupported(why) => why.label(),
            Self::Codec { .. } => "codec_failed",
            Self::WorkerLost => "worker_lost",
            Self::NoWorker => "no_worker",
        }
    }
}

/// Why a source is not enhanced at all.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, thiserror::Error)]
pub enum Unsupported {
    /// No video track.
    #[error("there is no video track")]
    NoVideo,
    /// A codec other than H.264.
    #[error("the video is not H.264")]
    NotH264,
    /// More than 8 bits a sample.
    #[error("the video has more than 8 bits a sample")]
    BitDepth,
    /// Chroma other than 4:2:0.
    #[error("the video is not 4:2:0")]
    Chroma,
    /// Interlaced coding tools in use.
    #[error("the video is interlaced")]
    Interlaced,
    /// Sample encryption (SAMPLE-AES, cenc): never touched.
    #[error("the samples are encrypted")]
    Encrypted,
    /// Larger than the configured limits.
    #[error("the pictures or the segment exceed the size limit")]
    TooLarge,
    /// No parameter sets, or they cannot be read.
    #[error("the segment cannot be read")]
    Unreadable,
}

impl Unsupported {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 8] = [
        Self::NoVideo,
        Self::NotH264,
        Self::BitDepth,
        Self::Chroma,
        Self::Interlaced,
        Self::Encrypted,
        Self::TooLarge,
        Self::Unreadable,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::NoVideo => "no_video",
            Self::NotH264 => "not_h264",
            Self::BitDepth => "bit_depth",
            Self::Chroma => "chroma",
            Self::Interlaced => "interlaced",
            Self::Encrypted => "encrypted",
            Self::TooLarge => "too_large",
            Self::Unreadable => "unreadable",
        }
    }
}

/// Why the enhancer could not start. Each message says what, where and what to do.
#[derive(Debug, thiserror::Error)]
pub enum StartError {
    /// ONNX Runtime's shared library could not be loaded.
    #[error(
        "cannot load ONNX Runtime from {path}: {message} (run `make setup`, or name the library in [enhancer] runtime_library)"
    )]
    Runtime {
        /// The path that was tried.
        path: String,
        /// The loader's own words.
        message: String,
    },
    /// The execution provider asked for is not in this build of ONNX Runtime or not on this machine.
    #[error("execution provider {provider} is not available: {message}")]
    Provider {
        /// The provider's name.
        provider: String,
        /// ONNX Runtime's own words.
        message: String,
    },
    /// A card was to decode or encode, and does not.
    #[error("enhancer.gpu.{key} = \"card\": {message}")]
    Codec {
        /// `decoder` or `encoder`.
        key: &'static str,
        /// Which card, and what is wrong with it.
        message: String,
    },
    /// A thread could not be started.
    #[error("cannot start a worker thread: {0}")]
    Thread(#[source] std::io::Error),
    /// Metrics were registered twice.
    #[error("cannot register metrics: {0}")]
    Metrics(#[from] prometheus::Error),
}
