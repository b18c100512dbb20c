//! Pictures between pictures: a higher frame rate.
//!
//! `times.rs` settles beforehand when pictures are shown; this stage gives what is to be seen at the new times. It holds
//! pictures back until two turns of film would have been seen (`cadence.rs`). For what it does not give (a cut, no time left, a lost neighbour, `repeat`), the
//! encoder's side shows the picture before, as it does for any picture that is missing (`pipeline.rs`), so the number of pictures and
//! their times are the same whatever happens here.
//!
//! | the two neighbours | what is made between them |
//! |---|---|
//! | the same to the last bit | nothing: the first stays |
//! | a cut, a flash, another size, a picture lost between them | nothing: the first stays |
//! | two of film's, by its cadence | the one that film shows there |
//! | the light fades | their mean |
//! | anything else | what the interpolator makes; blocks that are equal in both stay as they are |

mod cadence;
mod crew;
mod planes;
mod relation;
mod times;

use std::collections::VecDeque;
use std::ops::Range;
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
    /// Pictures on their way, the first of which goes next; and how much those that went before them had changed.
    waiting: VecDeque<Waiting>,
    went: VecDeque<f32>,
    /// What came of the places between.
    pub(crate) between: Between,
    /// Places that got a picture.
    shown: u32,
    /// The first thing that went wrong.
    pub(crate) fallback: Option<FallbackReason>,
    pub(crate) seconds: f64,
}

fn count(pictures: usize) -> u32 {
    u32::try_from(pictures).unwrap_or(u32::MAX)
}

/// A picture that waits for those behind it.
struct Waiting {
    placed: Placed<Picture>,
    small: Small,
    /// How much it differs from the one before, in code values; not a number where that is no neighbour of its.
    change: f32,
}

impl<'a> Interpolate<'a> {
    /// `plain_seconds`: of one picture of the result.
    pub(crate) fn new(way: Way, timeline: &'a Timeline, limit: Limit, plain_seconds: f64) -> Self {
        Self {
            way,
            timeline,
            limit,
            plain_seconds,
            waiting: VecDeque::new(),
            went: VecDeque::new(),
            shown: 0,
            between: Between { places: timeline.made(), ..Between::default() },
            fallback: None,
            seconds: 0.0,
        }
    }

    /// Places that show the picture before because there is nothing else for them.
    pub(crate) fn stays(&self) -> u32 {
        self.between.places.saturating_sub(self.shown)
    }

    /// Whether there is no time left for anything but plain work at this place, or there was none here before.
    fn is_late(&self, place: usize) -> bool {
        let left = self.timeline.len().saturating_sub(place) as f64;
        let rest = Duration::try_from_secs_f64(left * self.plain_seconds).unwrap_or_default();
        self.limit.cuts_before().between.is_some_and(|cut| place >= cut)
            || self.limit.get().is_some_and(|limit| Instant::now() + rest >= limit)
    }

    /// From here on pictures stay.
    fn give_up(&mut self, place: usize, reason: FallbackReason) {
        self.way = Way::Repeat;
        self.limit.cut_between(place);
        self.fallback.get_or_insert(reason);
    }

    /// What is to be shown between two neighbours, by place from 1 on; the first stays where there is nothing.
    fn make(
        &mut self,
        first: &Waiting,
        next: &Waiting,
        places: usize,
        appears: Option<Range<f32>>,
    ) -> Result<Vec<(usize, Picture)>, Failed> {
        let (a, b) = (&first.placed.picture, &next.placed.picture);
        if (a.width(), a.height()) != (b.width(), b.height()) || planes::are_same(a, b) {
            self.between.same += count(places);
            return Ok(Vec::new());
        }
        if let Some(from) = appears.and_then(|appears| shows_next_from(&appears, places)) {
            self.between.film += count(places);
            return (from..=places).map(|place| Ok((place, planes::copy(b)?))).collect();
        }
        let is_fade = match relation(&first.small, &next.small) {
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
        let made = if places < 3 {
            vec![half]
        } else if let (Some(before), Some(behind)) = (middle(a, &half)?, middle(&half, b)?) {
            vec![before, half, behind]
        } else {
            Vec::new()
        };
        self.between.made += count(made.len());
        Ok((1..).zip(made).collect())
    }

    /// Sends the first of those that wait on its way, with what is to be seen between it and the next.
    fn step(&mut self, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        let Some(first) = self.waiting.pop_front() else { return Ok(()) };
        let Some(next) = self.waiting.pop_front() else { return emit(first.placed) };
        let place = first.placed.index;
        let places = self.timeline.made_after(place);
        let is_to_fill = next.change.is_finite() && !matches!(self.way, Way::Repeat);
        if is_to_fill && self.is_late(place) {
            self.give_up(place, FallbackReason::DeadlineShort);
        }
        let mut between = Vec::new();
        if is_to_fill && !matches!(self.way, Way::Repeat) {
            let started = Instant::now();
            let behind = self.waiting.iter().map(|later| later.change);
            let changes: Vec<f32> =
                self.went.iter().copied().chain(std::iter::once(next.change)).chain(behind).collect();
            let appears = cadence::appears(&changes, self.went.len());
            between = match self.make(&first, &next, places, appears) {
                Ok(between) => between,
                Err(Failed::Network(error)) => {
                    tracing::warn!(%error, "interpolation failed; in the rest of the segment pictures stay");
                    self.give_up(place, FallbackReason::ModelFailed);
                    Vec::new()
                }
                Err(Failed::Other(error)) => return Err(error),
            };
            self.seconds += started.elapsed().as_secs_f64();
        }
        self.shown += count(between.len());
        if self.went.len() > 2 * cadence::REACH {
            self.went.pop_front();
        }
        self.went.push_back(next.change);
        self.waiting.push_front(next);
        emit(first.placed)?;
        for (behind, picture) in between {
            emit(Placed { index: place + behind, picture })?;
        }
        Ok(())
    }

    /// A picture behind those that wait.
    fn wait(&mut self, placed: Placed<Picture>) {
        let small = Small::of(placed.picture.plane(0));
        let change = self.waiting.back().map_or(f32::NAN, |before| {
            let places = self.timeline.made_after(before.placed.index);
            let are_neighbours = places > 0 && placed.index == before.placed.index + places + 1;
            if are_neighbours { small.change(&before.small) } else { f32::NAN }
        });
        self.waiting.push_back(Waiting { placed, small, change });
    }
}

/// From which place between two pictures on the second is shown, by when it appeared; `None` where that is not known half way.
fn shows_next_from(appears: &Range<f32>, places: usize) -> Option<usize> {
    const HALF: f32 = 0.5;
    let is_known = appears.end <= HALF || appears.start >= HALF;
    let middle = (appears.start + appears.end) / 2.0;
    let share = |place: usize| place as f32 / (places + 1) as f32;
    is_known.then(|| (1..=places).find(|place| share(*place) >= middle).unwrap_or(places + 1))
}

impl Stage for Interpolate<'_> {
    type In = Picture;
    type Out = Picture;

    /// A picture at the place behind the last is the next segment's first one: the last gap leads to it, and it goes no further.
    fn push(&mut self, placed: Placed<Picture>, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        let is_own = placed.index < self.timeline.len();
        if is_own && matches!(self.way, Way::Repeat) {
            self.finish(emit)?;
            return emit(placed);
        }
        self.wait(placed);
        let enough = if is_own { cadence::REACH + 1 } else { 1 };
        while self.waiting.len() > enough {
            self.step(emit)?;
        }
        if !is_own {
            self.waiting.clear();
        }
        Ok(())
    }

    fn finish(&mut self, emit: Emit<'_, Picture>) -> Result<(), EnhanceError> {
        while !self.waiting.is_empty() {
            self.step(emit)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
