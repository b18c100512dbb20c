//! What interpolates, against the source's own pictures: of three that follow each other the middle one is what is to be made of the
//! other two.
//!
//! All is done as in a segment (`interpolate`): what stands still stays, and where a network says that it knows no picture, the first
//! is shown. No more pictures are held than those that are being compared.

use std::collections::VecDeque;
use std::sync::Arc;

use acuity_config::EnhancerConfig;

use super::CompareHalvesRequest;
use super::contenders::Contenders;
use super::score::Errors;
use super::source::{feed, video};
use super::triplets::Triplets;
use super::work::{Step, Steps};
use crate::codec::{Decoder, Picture};
use crate::container::VideoTrack;
use crate::interpolate::{Relation, Small, Way, relation};
use crate::interpolators::{Interpolating, name_of};
use crate::library::Library;
use crate::{CompareError, EnhanceError};

/// Mean squared difference in code values below which two pictures are one that stands still, coded twice.
const STILL: f64 = 4.0;

/// The lesser of the differences to both neighbours is this part of the greater at least: a ninth is a third of the way. What repeats a
/// neighbour, or jumps, is not half way between them, and no network can know.
const EVEN: f64 = 1.0 / 9.0;

/// One of so many parts of a segment that were to be compared must have been: less is chance.
const PARTS_COMPARED: usize = 4;

/// A comparison under way.
pub(super) struct Halves {
    request: CompareHalvesRequest,
    limits: Arc<EnhancerConfig>,
    running: Option<Box<Running>>,
}

struct Running {
    video: VideoTrack,
    decoder: Decoder,
    /// The access unit that is next; `None`: there are no more.
    next: Option<usize>,
    chooser: Chooser,
    contenders: Contenders<Interpolating>,
    /// Which contender is next for the first triplet that waits.
    at: usize,
    blended: Errors,
    compared: usize,
}

/// Finds the triplets that are compared among the pictures as they come.
struct Chooser {
    triplets: Triplets,
    /// The last three pictures and their times.
    recent: VecDeque<(i64, Arc<Picture>)>,
    waiting: VecDeque<[Arc<Picture>; 3]>,
}

impl Halves {
    pub(super) fn new(request: CompareHalvesRequest, limits: Arc<EnhancerConfig>) -> Self {
        Self { request, limits, running: None }
    }

    fn begin(&self, library: &Library) -> Result<Running, CompareError> {
        let CompareHalvesRequest { init, segment, cluster, digest, tiers, frames, .. } = &self.request;
        let (own, generic) = library.interpolators.rivals(&name_of(cluster, digest));
        let contenders = Contenders::new(tiers, (&own, &generic), |model: &Interpolating| model.entry.tier)?;
        let video = video(init.as_deref(), segment, &self.limits).map_err(in_source)?;
        let triplets = Triplets::new(video.units.iter().map(|unit| unit.pts).collect(), *frames)?;
        Ok(Running {
            video,
            decoder: Decoder::open().map_err(in_source)?,
            next: Some(0),
            chooser: Chooser { triplets, recent: VecDeque::new(), waiting: VecDeque::new() },
            contenders,
            at: 0,
            blended: Errors::default(),
            compared: 0,
        })
    }
}

impl Steps for Halves {
    fn step(&mut self, library: &Library) -> Result<Step, CompareError> {
        match &mut self.running {
            None => {
                self.running = Some(Box::new(self.begin(library)?));
                Ok(Step::Taken)
            }
            Some(running) => running.step(library),
        }
    }
}

impl Running {
    /// One picture: made by one of them, or decoded.
    fn step(&mut self, library: &Library) -> Result<Step, CompareError> {
        let Self { video, decoder, next, chooser, contenders, at, blended, compared } = self;
        if let Some(three) = chooser.waiting.front() {
            if let Some(contender) = contenders.get_mut(*at) {
                let size = (three[0].width() as usize, three[0].height() as usize);
                let Ok(session) = library.middle_of(&contender.model, size) else {
                    return Ok(Step::NoSession);
                };
                contender.errors.join(errors(Way::Network(session), three)?);
                *at += 1;
            } else {
                blended.join(errors(Way::Blend, three)?);
                *compared += 1;
                *at = 0;
                chooser.waiting.pop_front();
            }
        } else if let Some(unit) = *next {
            let mut emit = |pts, picture| chooser.arrive(pts, picture);
            let is_last = feed(decoder, video, unit, &mut emit).map_err(in_source)?;
            *next = (!is_last).then_some(unit + 1);
        } else if *compared < chooser.triplets.parts().div_ceil(PARTS_COMPARED) {
            return Err(CompareError::Flat);
        } else {
            return Ok(Step::Over(contenders.result(*compared, blended.db())));
        }
        Ok(Step::Taken)
    }
}

impl Chooser {
    /// A picture, in the order in which they are shown.
    fn arrive(&mut self, pts: i64, picture: Picture) {
        if self.recent.len() > 2 {
            self.recent.pop_front();
        }
        self.recent.push_back((pts, Arc::new(picture)));
        let [Some((a_pts, a)), Some((b_pts, b)), Some((c_pts, c))] = [0, 1, 2].map(|at| self.recent.get(at))
        else {
            return;
        };
        let times = [*a_pts, *b_pts, *c_pts];
        if self.triplets.wants(times) && is_good([a, b, c]) {
            self.waiting.push_back([a, b, c].map(Arc::clone));
            self.triplets.take(times);
        }
    }
}

/// Whether the middle picture shows what may be expected half way between the others.
fn is_good(three: [&Picture; 3]) -> bool {
    let [a, b, c] = three;
    let size = (a.width(), a.height());
    let fits = |picture: &Picture| picture.is_planar_420() && (picture.width(), picture.height()) == size;
    if !three.into_iter().all(fits) {
        return false;
    }
    let apart = |one: &Picture, other: &Picture| luma_errors(one, other).mean().unwrap_or_default();
    let (before, after) = (apart(a, b), apart(b, c));
    if apart(a, c) < STILL || before.min(after) < EVEN * before.max(after) {
        return false;
    }
    // A cut, or a flash that both neighbours know nothing of; and what fades is the mean of both whoever makes it.
    let [a, b, c] = three.map(|picture| Small::of(picture.plane(0)));
    [(&a, &c), (&a, &b), (&b, &c)].into_iter().all(|(one, next)| relation(one, next) == Relation::Moving)
}

/// How far from the middle picture is what is shown in its place.
fn errors(mut way: Way, [a, b, c]: &[Arc<Picture>; 3]) -> Result<Errors, CompareError> {
    let made = way.middle(a, c, false).map_err(|_| CompareError::ModelFailed)?;
    Ok(luma_errors(made.as_ref().unwrap_or(a), b))
}

fn luma_errors(one: &Picture, other: &Picture) -> Errors {
    let mut errors = Errors::default();
    errors.add(one.plane(0), other.plane(0));
    errors
}

fn in_source(source: EnhanceError) -> CompareError {
    CompareError::Segment { rendition: "source", source }
}
