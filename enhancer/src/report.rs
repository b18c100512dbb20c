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
    /// Pictures in the segment: as many as the source has, or as its frame rate is multiplied by.
    pub frames: u32,
    /// Of these, repeats of a neighbour, because the decoder gave nothing for them.
    pub held_frames: u32,
    /// What became of the pictures between the source's.
    pub between: Between,
    /// What was to make them: a model's catalogue id, `blend` or `repeat`; `None`: there are none.
    pub interpolator: Option<String>,
    /// What enlarged the pictures.
    pub made_by: MadeBy,
    /// Why it is not what the rendition asked for, if it is not.
    pub fallback: Option<FallbackReason>,
    /// What decoded it to the end: `cpu`, `card`, or `none`.
    pub decoder: &'static str,
    /// What encoded it: `cpu`, `card`, or `none`.
    pub encoder: &'static str,
    /// Where the time went.
    pub stages: StageSeconds,
    /// Size of the source segment.
    pub source_bytes: usize,
    /// Duration of the video in seconds.
    pub media_seconds: f64,
}

/// What made a segment, in a word: what enlarged it, and what made the pictures between.
pub(crate) fn made_by(enlarged: &str, interpolator: Option<&str>) -> String {
    interpolator.map_or_else(|| enlarged.to_owned(), |between| format!("{enlarged}+{between}"))
}

impl Report {
    /// What made the segment, in a word: a model's id, `plain` or `untouched`, and behind a `+` what made pictures between the
    /// source's.
    #[must_use]
    pub fn made_by_what(&self) -> String {
        let enlarged = match &self.made_by {
            MadeBy::Model { id, .. } => id.as_str(),
            MadeBy::Plain => "plain",
            MadeBy::Untouched => "untouched",
        };
        made_by(enlarged, self.interpolator.as_deref())
    }
}

/// Pictures between the source's: how many there are to be, and what is seen there.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Between {
    /// All of them.
    pub places: u32,
    /// Made of both neighbours.
    pub made: u32,
    /// Of film whose cadence was recognised: one of the neighbours, whichever is shown there. In all others the first one stays.
    pub film: u32,
    /// Between two that are the same picture.
    pub same: u32,
    /// Across a cut or a flash.
    pub apart: u32,
}

impl Between {
    /// How many of each kind, with the kind's metric label.
    #[must_use]
    pub fn by_what_is_shown(&self) -> [(&'static str, u32); 5] {
        let Self { places, made, film, same, apart } = *self;
        let known = [made, film, same, apart].into_iter().fold(0, u32::saturating_add);
        let others = places.saturating_sub(known);
        [("made", made), ("film", film), ("same", same), ("cut", apart), ("stays", others)]
    }
}

impl std::ops::AddAssign for Between {
    fn add_assign(&mut self, more: Self) {
        self.places += more.places;
        self.made += more.made;
        self.film += more.film;
        self.same += more.same;
        self.apart += more.apart;
    }
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
    /// The rendition's networks are compiled for smaller pictures (`enhancer.gpu.largest_source`).
    SizeUnprepared,
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
    pub const ALL: [Self; 7] = [
        Self::ModelMissing,
        Self::ModelFailed,
        Self::SizeUnprepared,
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
            Self::SizeUnprepared => "size_unprepared",
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
    /// Making pictures between others.
    pub interpolate: f64,
    /// Encoding.
    pub encode: f64,
    /// Splicing.
    pub mux: f64,
    /// Wall clock from dequeue to finished bytes.
    pub total: f64,
}
