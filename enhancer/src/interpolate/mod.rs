//! Pictures between pictures: a higher frame rate.
//!
//! `times.rs` settles beforehand when pictures are shown; this stage gives what is to be seen at the new times. It holds each
//! picture back until its neighbour is there. For what it does not give (a cut, no time left, a lost neighbour, `repeat`), the
//! encoder's side shows the picture before, as it does for any picture that is missing (`pipeline.rs`), so the number of pictures and
//! their times are the same whatever happens here.
//!
//! | the two neighbours | what is made between them |
//! |---|---|
//! | the same to the last bit | nothing: the first stays |
//! | a cut, a flash, another size, a picture lost between them | nothing: the first stays |
//! | the light fades | their mean |
//! | anything else | what the interpolator makes; blocks that are equal in both stay as they are |

mod crew;
mod planes;
mod relation;
mod times;

use std::time::{Duration, Instant};

use crate::codec::Picture;
use crate::container::{Slots, VideoTrack};
use crate::inference::InferenceError;
use crate::interpolators::MiddleSession;
use crate::pipeline::{Emit, Placed, Stage};
use crate::report::Between;
use crate::schedule::Limit;
use crate::timeline::Timeline;
use crate::{EnhanceError, FallbackReason, Interpolation, Interpolator, RenditionSpec};
pub(crate) use crew::{Crew, Settled};
pub(crate) use relation::{Relation, Small, relation};
pub(crate) use times::Rate;

/// The times of a segment's pictures for `spec`: a timeline, and slots for the splicer where there are more than the source has.
pub(crate) fn plan(video: &VideoTrack, spec: &RenditionSpec) -> (Timeline, Option<Slots>) {
    let rate = spec
        .interpolation
        .as_ref()
        .map(|interpolation| Rate { factor: interpolation.factor, output_milli: spec.frame_rate_milli });
    let times = rate.and_then(|rate| Some((rate, times::times(&video.units, video.timescale, rate)?)));
    match times {
        Some((rate, times)) => {
            (Timeline::parted(&video.units, video.timescale, &times.slots, rate), Some(times.slots))
        }
        None => (Timeline::new(&video.units, video.timescale), None),
    }
}

/// What the costs of a segment are learned under, behind the name of the upscaler or of the plain path: what is done to pictures
/// beside it. There are a dozen of these at most.
pub(crate) fn recipe(spec: &RenditionSpec) -> String {
    match &spec.interpolation {
        Some(Interpolation { by, .. }) => format!("{}-{}", plain_recipe(spec), by.kind()),
        None => String::new(),
    }
}

/// The same for what is left when there is no time: pictures repeat.
pub(crate) fn plain_recipe(spec: &RenditionSpec) -> String {
    let Some(Interpolation { factor, .. }) = &spec.interpolation else { return String::new() };
    let size = if spec.scale == 1 { "x1" } else { "" };
    format!("+{size}i{factor}")
}

/// What makes pictures between two that move.
pub(crate) enum Way {
    /// Nothing: the first stays.
    Repeat,
    /// Their mean.
    Blend,
    /// A network.
    Network(MiddleSession),
}

/// Two pictures that differ by so much though everything is moved to its place, in code values, are of two scenes.
const MISMATCH: f32 = 18.0;

impl Way {
    /// The way of a recipe; where there is none, nothing is to be made. `session`: of the network that it names, if there is one.
    pub(crate) fn of(interpolation: Option<&Interpolation>, session: Option<MiddleSession>) -> Self {
        match (interpolation.map(|interpolation| &interpolation.by), session) {
            (Some(Interpolator::Blend), _) => Self::Blend,
            (Some(Interpolator::Model { .. }), Some(session)) => Self::Network(session),
            (None | Some(Interpolator::Repeat | Interpolator::Model { .. }), _) => Self::Repeat,
        }
    }

    /// What it is called in reports.
    pub(crate) fn name(&self) -> String {
        match self {
            Self::Repeat => "repeat".to_owned(),
            Self::Blend => "blend".to_owned(),
            Self::Network(session) => session.model.entry.id.clone(),
        }
    }

    /// What is to be seen half way between two pictures of one size; `None`: the first.
    pub(crate) fn middle(
        &mut self,
        a: &Picture,
        b: &Picture,
        is_fade: bool,
    ) -> Result<Option<Picture>, Failed> {
        let mut middle = Picture::new(a.width(), a.height())?;
        match self {
            Self::Repeat => return Ok(None),
            Self::Network(session) if !is_fade => {
                let Some(network) = session.middle() else { return Ok(None) };
                let mismatch = network.make(a, b, &mut middle).map_err(|error| {
                    session.discard();
                    Failed::Network(error)
                })?;
                if mismatch > MISMATCH {
                    return Ok(None);
                }
                planes::keep_still(a, b, &mut middle);
            }
            // Where the light changes, what moves cannot be told from it.
            Self::Blend | Self::Network(_) => planes::blend(a, b, &mut middle),
        }
        Ok(Some(middle))
    }
}

/// Why there is no picture between two.
pub(crate) enum Failed {
    Network(InferenceError),
    Other(EnhanceError),
}

impl From<EnhanceError> for Failed {
    fn from(error: EnhanceError) -> Self {
        Self::Other(error)
    }
}

/// Fills the places between a segment's pictures.
pub(crate) struct Interpolate<'a> {
    way: Way,
    timeline: &'a Timeline,
    /// When the segment must be finished, and how long a picture takes that is only scaled and encoded: the interpolator stops
    /// when the upscaler's network would.
    limit: Limit,
    plain_seconds: f64,
    before: Option<Before>,
    /// What came of the places between.
    pub(crate) between: Between,
    /// The first thing that went wrong.
    pub(crate) fallback: Option<FallbackReason>,
    pub(crate) seconds: f64,
}

fn count(pictures: usize) -> u32 {
    u32::try_from(pictures).unwrap_or(u32::MAX)
}

/// A picture that waits for its neighbour.
struct Before {
    placed: Placed<Picture>,
    small: Option<Small>,
}

impl<'a> Interpolate<'a> {
    /// `plain_seconds`: of one picture of the result.
    pub(crate) fn new(way: Way, timeline: &'a Timeline, limit: Limit, plain_seconds: f64) -> Self {
        Self {
            way,
            timeline,
            limit,
            plain_seconds,
            before: None,
            between: Between { places: timeline.made(), ..Between::default() },
            fallback: None,
            seconds: 0.0,
        }
    }

    /// Places that show the picture before because nothing was made for them.
    pub(crate) fn stays(&self) -> u32 {
        self.between.places.saturating_sub(self.between.made)
    }

    /// Whether there is no time left for anything but plain work, at this place.
    fn is_late(&self, place: usize) -> bool {
        let left = self.timeline.len().saturating_sub(place) as f64;
        let rest = Duration::try_from_secs_f64(left * self.plain_seconds).unwrap_or_default();
        self.limit.get().is_some_and(|limit| Instant::now() + rest >= limit)
    }

    /// From here on pictures stay.
    fn give_up(&mut self, reason: FallbackReason) {
        self.way = Way::Repeat;
        self.fallback.get_or_insert(reason);
    }

    /// The pictures between two neighbours: as many as there are places, or none.
    fn make(&mut self, first: &mut Before, next: &mut Before, places: usize) -> Result<Vec<Picture>, Failed> {
        let (a, b) = (&first.placed.picture, &next.placed.picture);
        if (a.width(), a.height()) != (b.width(), b.height()) || planes::are_same(a, b) {
            self.between.same += count(places);
            return Ok(Vec::new());
        }
        let small = first.small.take().unwrap_or_else(|| Small::of(a.plane(0)));
        let next_small = next.small.insert(Small::of(b.plane(0)));
        let is_fade = match relation(&small, next_small) {
            Relation::Apart => {
                self.between.apart += count(places);
                return Ok(Vec::new());
            }
            Relation::Fading => true,
            Relation::Moving => false,
        };
        let mut middle = |a: &Picture, b: &Picture| self.way.middle(a, b, is_fade);
        let Some(half) = middle(a, b)? else {
            self.between.apart += count(places);
            return Ok(Vec::new());
        };
        if places < 3 {
            return Ok(vec![half]);
        }
        let quarters = (middle(a, &half)?, middle(&half, b)?);
        Ok(if let (Some(first), Some(last)) = quarters { vec![first, half, last] } else { Vec::new() })
    }

    /// Fills the places between a picture and its neighbour, and sends both on their way.
    fn fill(
        &mut self,
        mut first: Before,
        next: &mut Before,
        emit: Emit<'_, Picture>,
    ) -> Result<(), EnhanceError> {
        let place = first.placed.index;
        let places = self.timeline.made_after(place);
        let are_neighbours = places > 0 && next.placed.index == place + places + 1;
        if are_neighbours && !matches!(self.way, Way::Repeat) && self.is_late(place) {
            self.give_up(FallbackReason::DeadlineShort);
        }
        let mut made = Vec::new();
        if are_neighbours && !matches!(self.way, Way::Repeat) {
            let started = Instant::now();
            made = match self.make(&mut first, next, places) {
                Ok(made) => made,
                Err(Failed::Network(error)) => {
                    tracing::warn!(%error, "interpolation failed; in the rest of the segment pictures stay");
                    self.give_up(FallbackReason::ModelFailed);
                    Vec::new()
                }
                Err(Failed::Other(error)) => return Err(error),
            };
            self.seconds += started.elapsed().as_secs_f64();
        }
        self.between.made += count(made.len());
        emit(first.placed)?;
        for (behind, picture) in made.into_iter().enumerate() {
            emit(Placed { index: place + 1 + behind, picture })?;
        }
        Ok(())
    }
}

impl Stage for Interpolate<'_> {
    type In = Picture;
    type Out = Picture;

    /// A picture at the place behind the last is the next segment's first one: the last gap leads to it, and it goes no further.
    fn push(&mut self, placed: Placed<Picture>, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        let is_own = placed.index < self.timeline.len();
        let mut next = Before { placed, small: None };
        if let Some(first) = self.before.take() {
            self.fill(first, &mut next, emit)?;
        }
        // What has nothing behind it to be made need not wait.
        let waits =
            is_own && self.timeline.made_after(next.placed.index) > 0 && !matches!(self.way, Way::Repeat);
        match (is_own, waits) {
            (false, _) => Ok(()),
            (true, false) => emit(next.placed),
            (true, true) => {
                self.before = Some(next);
                Ok(())
            }
        }
    }

    fn finish(&mut self, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        self.before.take().map_or(Ok(()), |last| emit(last.placed))
    }
}

#[cfg(test)]
mod tests;
