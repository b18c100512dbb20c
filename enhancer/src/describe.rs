//! What a stream looks like, from one segment: the vector that its cluster is found with.
//!
//! A few pictures spread over the segment, not its key frames: a segment often has a single key frame, and a film cuts every few
//! seconds, so that one picture says little of what comes. A picture in the middle of a GOP needs the pictures it refers to, but
//! never those that nothing refers to: they are about half of what an encoder with B-frames writes, and are left out
//! undecoded. Only as many as [`MOST_DECODED`] are decoded, and none after the caller's time is up; the vectors
//! of the chosen pictures are averaged.
//!
//! The trainer's `embedding.py` chooses the same pictures of a segment.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use bytes::Bytes;

use crate::codec::{Decoder, Picture};
use crate::container::{ContainerError, SourceSegment, VideoTrack};
use crate::feed::annex_b;
use crate::inference::{Embedder, InferenceError, Runtime};
use crate::probe::require_supported;
use crate::{CancelFlag, EnhanceError, StartError, Unsupported, h264};

/// Pictures whose vectors are averaged: what four seconds of a film with cuts need (docs/clustering.md).
const PICTURES: usize = 8;
/// Reference pictures that are decoded at most: four seconds of 30 a second without any B-frame, and a bound on the
/// cost of a long segment.
const MOST_DECODED: usize = 128;
/// How long [`Describer::describe`] looks at most. A core that others use too must not change what a stream is taken for: what
/// is seen in less time are the segment's first pictures only.
const PATIENCE: Duration = Duration::from_secs(3);

/// Makes vectors of segments. One at a time: it is asked once for each new stream.
pub struct Describer {
    embedder: Mutex<Embedder>,
    limits: EnhancerConfig,
}

/// Why there is no vector.
#[derive(Debug, thiserror::Error)]
pub enum DescribeError {
    /// The bytes are no segment this crate can take apart.
    #[error("source segment: {0}")]
    Container(#[from] ContainerError),
    /// The source is of a kind that is not enhanced.
    #[error("{0}")]
    Unsupported(#[from] Unsupported),
    /// Not one picture came out of it: nothing in it can be decoded, or the time was up before.
    #[error("no picture could be decoded")]
    NoPicture,
    /// The caller asked for it to stop.
    #[error("cancelled by the caller")]
    Cancelled,
    /// The decoder failed.
    #[error("{0}")]
    Decode(#[source] EnhanceError),
    /// The embedding network is not what it must be, or failed.
    #[error("embedding network: {message}")]
    Network {
        /// ONNX Runtime's words, or what its tensors are.
        message: String,
    },
    /// ONNX Runtime could not be loaded.
    #[error(transparent)]
    Runtime(#[from] StartError),
}

impl DescribeError {
    /// The metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Container(_) => "source_unreadable",
            Self::Unsupported(why) => why.label(),
            Self::NoPicture => "no_picture",
            Self::Cancelled => "cancelled",
            Self::Decode(_) => "codec_failed",
            Self::Network { .. } => "network_failed",
            Self::Runtime(_) => "runtime",
        }
    }
}

impl From<InferenceError> for DescribeError {
    fn from(error: InferenceError) -> Self {
        Self::Network { message: error.to_string() }
    }
}

impl Describer {
    /// Loads the embedding network: `embedding` are its verified bytes (`acuity_models::Clusters::embedding`).
    ///
    /// # Errors
    /// [`DescribeError::Runtime`] or [`DescribeError::Network`].
    pub fn new(config: &EnhancerConfig, embedding: &[u8]) -> Result<Self, DescribeError> {
        let runtime = Runtime::load(config)?;
        let embedder = Mutex::new(Embedder::load(&runtime, embedding)?);
        Ok(Self { embedder, limits: config.clone() })
    }

    /// Length of the vectors.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.embedder.lock().unwrap_or_else(PoisonError::into_inner).dimensions()
    }

    /// The vector of a clear segment (`init` for fragmented MP4). Blocks for some 50 ms: not for async code.
    ///
    /// # Errors
    /// See [`DescribeError`].
    pub fn describe(&self, init: Option<&[u8]>, segment: Bytes) -> Result<Vec<f32>, DescribeError> {
        self.describe_until(init, segment, &CancelFlag::default(), Instant::now() + PATIENCE)
    }

    /// [`describe`](Self::describe) that stops when `cancel` says so, and at `deadline` makes do with the pictures it has.
    ///
    /// # Errors
    /// See [`DescribeError`].
    pub fn describe_until(
        &self,
        init: Option<&[u8]>,
        segment: Bytes,
        cancel: &CancelFlag,
        deadline: Instant,
    ) -> Result<Vec<f32>, DescribeError> {
        if segment.len() as u64 > self.limits.max_segment_bytes {
            return Err(Unsupported::TooLarge.into());
        }
        let source = SourceSegment::parse(init, segment)?;
        let video = source.video().ok_or(Unsupported::NoVideo)?;
        require_supported(video, &self.limits)?;
        let mut embedder = self.embedder.lock().unwrap_or_else(PoisonError::into_inner);
        let mut mean = Mean::default();
        let mut outcome = Ok(());
        each_chosen(video, cancel, deadline, &mut |picture| {
            if outcome.is_ok() {
                outcome = embedder.run(picture).map(|vector| mean.add(&vector));
            }
        })?;
        outcome?;
        mean.finish().ok_or(DescribeError::NoPicture)
    }
}

/// Decodes what [`chosen`] pictures need, and gives those to `take`.
fn each_chosen(
    video: &VideoTrack,
    cancel: &CancelFlag,
    deadline: Instant,
    take: &mut dyn FnMut(&Picture),
) -> Result<(), DescribeError> {
    let units: Vec<_> = video.units.iter().map(|unit| annex_b(video, unit)).collect();
    let needed = units.iter().filter(|unit| is_reference(unit)).take(MOST_DECODED);
    let count = needed.clone().count();
    let mut wanted = chosen(count);
    let mut place = 0;
    let mut emit = |_pts: i64, picture: Picture| {
        if wanted.next_if_eq(&place).is_some() && picture.is_planar_420() {
            // A segment shorter than its share of pictures has some chosen twice over.
            while wanted.next_if_eq(&place).is_some() {}
            take(&picture);
        }
        place += 1;
    };
    let mut decoder = Decoder::open().map_err(DescribeError::Decode)?;
    for (unit, order) in needed.zip(0_i64..) {
        if cancel.is_cancelled() {
            return Err(DescribeError::Cancelled);
        }
        if Instant::now() >= deadline {
            break;
        }
        // The decoder gives pictures in their order by itself; these times only have to be there.
        decoder.push(unit, order, &mut emit).map_err(DescribeError::Decode)?;
    }
    decoder.drain(&mut emit).map_err(DescribeError::Decode)
}

/// Places of the pictures to look at among `count`, in the middle of as many equal parts.
fn chosen(count: usize) -> std::iter::Peekable<impl Iterator<Item = usize>> {
    (0..PICTURES).map(move |part| (2 * part + 1) * count / (2 * PICTURES)).peekable()
}

/// Whether other pictures may refer to this one: `nal_ref_idc` of its first slice (H.264, 7.4.1). A unit without any slice
/// is given to the decoder, which knows better.
fn is_reference(annex_b: &[u8]) -> bool {
    h264::annex_b_nals(annex_b)
        .find(|nal| h264::is_slice(h264::nal_type(nal)))
        .is_none_or(|nal| nal.first().is_some_and(|header| header & 0x60 != 0))
}

#[derive(Default)]
struct Mean {
    sum: Vec<f32>,
    count: u16,
}

impl Mean {
    fn add(&mut self, vector: &[f32]) {
        self.sum.resize(vector.len(), 0.0);
        self.sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += value);
        self.count += 1;
    }

    fn finish(self) -> Option<Vec<f32>> {
        let count = f32::from(self.count);
        (self.count > 0).then(|| self.sum.into_iter().map(|sum| sum / count).collect())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_spread_evenly() {
        assert_eq!(chosen(64).collect::<Vec<_>>(), [4, 12, 20, 28, 36, 44, 52, 60]);
        assert_eq!(chosen(1).collect::<Vec<_>>(), [0; 8]);
        assert_eq!(chosen(3).collect::<Vec<_>>(), [0, 0, 0, 1, 1, 2, 2, 2]);
    }

    #[test]
    fn a_unit_says_whether_others_refer_to_it() {
        for (header, expected) in [(0x65, true), (0x41, true), (0x21, true), (0x01, false)] {
            assert_eq!(is_reference(&[0, 0, 0, 1, header, 0x88]), expected, "{header:#x}");
        }
        // An access unit delimiter and parameter sets before a slice nobody refers to.
        let unit = [0, 0, 0, 1, 0x09, 0x10, 0, 0, 0, 1, 0x67, 0x42, 0, 0, 1, 0x01, 0x9a];
        assert!(!is_reference(&unit));
        assert!(is_reference(&[0, 0, 0, 1, 0x67, 0x42]), "no slice at all");
    }

    #[test]
    fn a_mean_of_nothing_is_none() {
        assert_eq!(Mean::default().finish(), None);
        let mut mean = Mean::default();
        mean.add(&[1.0, 4.0]);
        mean.add(&[3.0, 0.0]);
        assert_eq!(mean.finish(), Some(vec![2.0, 2.0]));
    }
}
