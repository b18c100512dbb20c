//! The recipe `upscale`: luma through a network, chroma through a scaler; or everything through the scaler.
//!
//! Chroma is half the resolution already and the eye is forgiving there; a scaler costs a twentieth of the
//! network's time on luma. The clock rules: once the deadline has passed the rest of the segment is scaled
//! plainly, in the same stream, because a worse picture in time beats a better one late.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::codec::{ChromaScaler, Picture, PlainScaler};
use crate::luma::Luma;
use crate::pipeline::{Emit, Placed, Stage};
use crate::schedule::Limit;
use crate::{EnhanceError, FallbackReason};

/// Output pictures whose memory may serve again; shared by the upscaler and the encoder of a lane. Fresh
/// memory for every picture would cost a page fault for each 4 KiB of it.
#[derive(Clone, Default)]
pub(crate) struct PicturePool(Arc<Mutex<Vec<Picture>>>);

/// As many pictures as can be on their way between the two threads, plus the ones in their hands.
const POOL_PICTURES: usize = 8;

impl PicturePool {
    /// A picture with old or undefined contents.
    pub(crate) fn take(&self, width: u32, height: u32) -> Result<Picture, EnhanceError> {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        while let Some(mut picture) = pool.pop() {
            if (picture.width(), picture.height()) == (width, height) && picture.is_writable() {
                return Ok(picture);
            }
        }
        drop(pool);
        Picture::new(width, height)
    }

    pub(crate) fn give_back(&self, picture: Picture) {
        let mut pool = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if pool.len() < POOL_PICTURES {
            pool.push(picture);
        }
    }
}

/// Scalers of a lane, kept from segment to segment.
#[derive(Default)]
pub(crate) struct Scalers {
    chroma: ChromaScaler,
    plain: PlainScaler,
}

/// Enlarges the pictures of one segment.
pub(crate) struct Upscale<'a> {
    luma: Option<Luma<'a>>,
    scalers: &'a mut Scalers,
    pool: PicturePool,
    size: (u32, u32),
    scale: u32,
    /// When the segment must be finished; it may move.
    limit: Limit,
    /// Pictures of the segment, and seconds that the plain scaler and the encoder take for one: what is left must be
    /// finished plainly before the deadline, so the network stops that much sooner.
    pictures: usize,
    plain_seconds: f64,
    index: usize,
    started: Instant,
    /// When the network gave its last picture.
    network_until: Option<Instant>,
    /// Pictures the network made.
    pub(crate) by_network: u32,
    /// One past the place of the last of these.
    pub(crate) network_places: u32,
    /// The first thing that went wrong.
    pub(crate) fallback: Option<FallbackReason>,
    pub(crate) infer_seconds: f64,
    pub(crate) scale_seconds: f64,
}

impl<'a> Upscale<'a> {
    /// `size` is the output's; `luma` enlarges by `scale`; the segment has `pictures`, each of which takes
    /// `plain_seconds` without a network.
    pub(crate) fn new(
        luma: Option<Luma<'a>>,
        scalers: &'a mut Scalers,
        pool: PicturePool,
        size: (u32, u32),
        scale: u32,
        limit: Limit,
        (pictures, plain_seconds): (usize, f64),
    ) -> Self {
        Self {
            luma,
            scalers,
            pool,
            size,
            scale,
            limit,
            pictures,
            plain_seconds,
            index: 0,
            started: Instant::now(),
            network_until: None,
            by_network: 0,
            network_places: 0,
            fallback: None,
            infer_seconds: 0.0,
            scale_seconds: 0.0,
        }
    }

    /// Wall clock seconds from the start to the network's last picture, without pauses.
    pub(crate) fn network_seconds(&self) -> f64 {
        let rested = self.limit.rested_seconds(Instant::now());
        self.network_until.map_or(0.0, |until| until.duration_since(self.started).as_secs_f64() - rested)
    }

    fn enlarge(&mut self, from: &Picture, to: &mut Picture) -> Result<(), EnhanceError> {
        if self.by_network(from, to) {
            let started = Instant::now();
            self.scalers.chroma.scale(from, to)?;
            self.scale_seconds += started.elapsed().as_secs_f64();
            self.by_network += 1;
            self.network_places = u32::try_from(self.index + 1).unwrap_or(u32::MAX);
            self.network_until = Some(Instant::now());
            return Ok(());
        }
        let started = Instant::now();
        self.scalers.plain.scale(from, to)?;
        self.scale_seconds += started.elapsed().as_secs_f64();
        Ok(())
    }

    /// How long the rest of the segment takes without the network.
    fn plain_rest(&self) -> Duration {
        let left = self.pictures.saturating_sub(self.index) as f64;
        Duration::try_from_secs_f64(left * self.plain_seconds).unwrap_or_default()
    }

    /// Whether there is no time left for the network, or there was none here before.
    fn is_late(&self) -> bool {
        self.limit.cuts_before().network.is_some_and(|place| self.index >= place)
            || self.limit.get().is_some_and(|limit| Instant::now() + self.plain_rest() >= limit)
    }

    /// Luma by the network; whether it did.
    fn by_network(&mut self, from: &Picture, to: &mut Picture) -> bool {
        if self.luma.is_none() {
            return false;
        }
        let reason = if (from.width() * self.scale, from.height() * self.scale) != self.size {
            // One inserted clip of another size is no reason to give up on what follows.
            self.fallback.get_or_insert(FallbackReason::SizeChanged);
            return false;
        } else if self.is_late() {
            FallbackReason::DeadlineShort
        } else {
            let started = Instant::now();
            let result = match &mut self.luma {
                Some(luma) => luma.enlarge(from.plane(0), to.plane_mut(0), from.is_key()),
                None => return false,
            };
            self.infer_seconds += started.elapsed().as_secs_f64();
            match result {
                Ok(()) => return true,
                Err(error) => {
                    tracing::warn!(%error, "inference failed; the rest of the segment is scaled plainly");
                    FallbackReason::ModelFailed
                }
            }
        };
        self.fallback.get_or_insert(reason);
        self.limit.cut_network(self.index);
        self.luma = None;
        false
    }
}

impl Stage for Upscale<'_> {
    type In = Picture;
    type Out = Picture;

    fn push(&mut self, placed: Placed<Picture>, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        self.index = placed.index;
        self.limit.wait();
        let mut enlarged = self.pool.take(self.size.0, self.size.1)?;
        self.enlarge(&placed.picture, &mut enlarged)?;
        emit(Placed { index: placed.index, picture: enlarged })
    }
}
