//! What enlarges, against the origin's high rendition.

use std::sync::Arc;
use std::time::Instant;

use acuity_config::EnhancerConfig;

use super::contenders::Contenders;
use super::pairs::{Pair, Times, pairs};
use super::score::{Errors, Likeness};
use super::source::{feed, video};
use super::work::{Step, Steps};
use super::{CompareRequest, Comparison};
use crate::codec::{Decoder, LumaScaler, Picture};
use crate::container::VideoTrack;
use crate::library::Library;
use crate::model::Model;
use crate::sets::SetName;
use crate::{CompareError, EnhanceError, Unsupported};

/// What enlarges, judged by the origin's high rendition.
pub(super) struct Enlarged {
    request: CompareRequest,
    limits: Arc<EnhancerConfig>,
    stage: Stage,
}

enum Stage {
    Parse,
    Low(Box<Decoding>),
    High(Box<Decoding>),
    Run(Box<Running>),
    /// Only while a step is taken.
    Taken,
}

/// The pictures that are compared.
struct Pictures {
    pairs: Vec<Pair>,
    low: Vec<Option<Picture>>,
    high: Vec<Option<Picture>>,
    size: (u32, u32),
}

struct Decoding {
    pictures: Pictures,
    low: VideoTrack,
    high: VideoTrack,
    decoder: Decoder,
    /// The access unit that is next.
    next: usize,
    scalers: (LumaScaler, LumaScaler),
    scratch: Picture,
    likeness: Likeness,
    lanczos: Errors,
}

struct Running {
    pictures: Pictures,
    scratch: Picture,
    plain_db: f64,
    contenders: Contenders<Model>,
    /// Which contender and which picture is next.
    at: (usize, usize),
}

impl Enlarged {
    pub(super) fn new(request: CompareRequest, limits: Arc<EnhancerConfig>) -> Self {
        Self { request, limits, stage: Stage::Parse }
    }

    fn parse(&self) -> Result<Decoding, CompareError> {
        let CompareRequest { init, segment, high_init, high_segment, scale, frames, .. } = &self.request;
        let low = video(init.as_deref(), segment, &self.limits).map_err(in_low)?;
        // What may be enhanced may be looked at enlarged.
        let max_source_pixels = self.limits.max_source_pixels.saturating_mul(scale.saturating_mul(*scale));
        let limits = EnhancerConfig { max_source_pixels, ..(*self.limits).clone() };
        let high = video(high_init.as_deref(), high_segment, &limits).map_err(in_high)?;
        let size = |video: &VideoTrack| {
            let sps = video.sps().ok_or(EnhanceError::Unsupported(Unsupported::Unreadable))?;
            Ok((sps.width, sps.height))
        };
        let (width, height) = size(&low).map_err(in_low)?;
        let (high_width, high_height) = size(&high).map_err(in_high)?;
        if (width.saturating_mul(*scale), height.saturating_mul(*scale)) != (high_width, high_height) {
            return Err(CompareError::Size { width, height, scale: *scale, high_width, high_height });
        }
        let pairs = pairs(&Times::of(&low), &Times::of(&high), *frames)?;
        let none = || std::iter::repeat_with(|| None).take(pairs.len()).collect();
        Ok(Decoding {
            pictures: Pictures { low: none(), high: none(), pairs, size: (high_width, high_height) },
            low,
            high,
            decoder: Decoder::open().map_err(in_low)?,
            next: 0,
            scalers: (LumaScaler::bicubic(), LumaScaler::lanczos()),
            scratch: Picture::new(high_width, high_height).map_err(in_high)?,
            likeness: Likeness::default(),
            lanczos: Errors::default(),
        })
    }

    /// Both renditions are decoded: are they the same pictures, and who enlarges them best?
    fn contend(&self, decoding: Decoding, library: &Library) -> Result<Running, CompareError> {
        let Decoding { pictures, scratch, likeness, lanczos, .. } = decoding;
        likeness.judge()?;
        let CompareRequest { cluster, scale, digest, tiers, .. } = &self.request;
        let name = SetName { cluster: cluster.clone(), scale: *scale, digest: digest.clone() };
        let (own, generic) = library.rivals(&name);
        let contenders = Contenders::new(tiers, (&own, &generic), |model: &Model| model.identity.tier)?;
        let plain_db = likeness.own.db().max(lanczos.db());
        Ok(Running { pictures, scratch, plain_db, contenders, at: (0, 0) })
    }
}

impl Steps for Enlarged {
    fn step(&mut self, library: &Library) -> Result<Step, CompareError> {
        self.stage = match std::mem::replace(&mut self.stage, Stage::Taken) {
            Stage::Parse => Stage::Low(Box::new(self.parse()?)),
            Stage::Low(mut decoding) => {
                if decoding.step_low()? {
                    decoding.decoder = Decoder::open().map_err(in_high)?;
                    decoding.next = 0;
                    Stage::High(decoding)
                } else {
                    Stage::Low(decoding)
                }
            }
            Stage::High(mut decoding) => {
                if decoding.step_high()? {
                    Stage::Run(Box::new(self.contend(*decoding, library)?))
                } else {
                    Stage::High(decoding)
                }
            }
            Stage::Run(mut running) => {
                if running.is_over() {
                    return Ok(Step::Over(running.result()));
                }
                let taken = running.step(library)?;
                self.stage = Stage::Run(running);
                return Ok(if taken { Step::Taken } else { Step::NoSession });
            }
            Stage::Taken => return Err(CompareError::WorkerLost),
        };
        Ok(Step::Taken)
    }
}

impl Decoding {
    /// Takes one access unit of the low rendition; whether that was all.
    fn step_low(&mut self) -> Result<bool, CompareError> {
        let Self { pictures: Pictures { pairs, low: kept, .. }, low: video, decoder, next, .. } = self;
        let mut emit = |pts: i64, picture: Picture| {
            let place = pairs.iter().position(|pair| pair.low == pts).filter(|_| picture.is_planar_420());
            if let Some(slot) = place.and_then(|place| kept.get_mut(place)) {
                *slot = Some(picture);
            }
        };
        let is_last = feed(decoder, video, *next, &mut emit).map_err(in_low)?;
        *next += 1;
        Ok(is_last)
    }

    /// Takes one access unit of the high rendition; whether that was all.
    fn step_high(&mut self) -> Result<bool, CompareError> {
        let Self { pictures, high: video, decoder, next, scalers, scratch, likeness, lanczos, .. } = self;
        let mut outcome = Ok(());
        let mut emit = |pts: i64, picture: Picture| {
            if outcome.is_ok() {
                outcome = pictures.arrive(pts, picture, scalers, scratch, likeness, lanczos);
            }
        };
        let is_last = feed(decoder, video, *next, &mut emit).map_err(in_high)?;
        outcome.map_err(in_high)?;
        *next += 1;
        Ok(is_last)
    }
}

impl Pictures {
    /// A picture of the high rendition: compares it with the plainly enlarged ones of its moment and of its neighbours', and keeps
    /// it if it is one of those that count.
    fn arrive(
        &mut self,
        pts: i64,
        picture: Picture,
        (bicubic, lanczos_scaler): &mut (LumaScaler, LumaScaler),
        scratch: &mut Picture,
        likeness: &mut Likeness,
        lanczos: &mut Errors,
    ) -> Result<(), EnhanceError> {
        if !picture.is_planar_420() || (picture.width(), picture.height()) != self.size {
            return Ok(());
        }
        let mut own_place = None;
        for (place, pair) in self.pairs.iter().enumerate() {
            let Some(Some(low)) = self.low.get(place) else { continue };
            if ![Some(pair.high), pair.before, pair.after].contains(&Some(pts)) {
                continue;
            }
            bicubic.scale(low.plane(0), scratch.plane_mut(0))?;
            let mut errors = Errors::default();
            errors.add(scratch.plane(0), picture.plane(0));
            if pts == pair.high {
                own_place = Some(place);
                likeness.own.join(errors);
                likeness.count(picture.plane(0));
                if pair.before.is_some() {
                    likeness.before.0.join(errors);
                }
                if pair.after.is_some() {
                    likeness.after.0.join(errors);
                }
                lanczos_scaler.scale(low.plane(0), scratch.plane_mut(0))?;
                lanczos.add(scratch.plane(0), picture.plane(0));
            } else if pair.before == Some(pts) {
                likeness.before.1.join(errors);
            } else {
                likeness.after.1.join(errors);
            }
        }
        if let Some(slot) = own_place.and_then(|place| self.high.get_mut(place)) {
            *slot = Some(picture);
        }
        Ok(())
    }
}

impl Running {
    fn is_over(&self) -> bool {
        self.at.0 >= self.contenders.len()
    }

    /// One network, one picture. `false`: there is no session free.
    fn step(&mut self, library: &Library) -> Result<bool, CompareError> {
        let Self { pictures, scratch, contenders, at, .. } = self;
        let Some(contender) = contenders.get_mut(at.0) else { return Ok(true) };
        let Some((low, high)) = pictures.low.get(at.1).zip(pictures.high.get(at.1)) else {
            *at = (at.0 + 1, 0);
            return Ok(true);
        };
        if let (Some(low), Some(high)) = (low, high) {
            let Some(mut session) = contender.model.take() else {
                if contender.model.is_hopeless(Instant::now()) {
                    return Err(CompareError::ModelFailed);
                }
                library.wish(&contender.model);
                return Ok(false);
            };
            let run = session.network().map(|network| network.run(low.plane(0), scratch.plane_mut(0)));
            if !matches!(run, Some(Ok(()))) {
                session.discard();
                return Err(CompareError::ModelFailed);
            }
            drop(session);
            contender.errors.add(scratch.plane(0), high.plane(0));
        }
        at.1 += 1;
        Ok(true)
    }

    fn result(&self) -> Comparison {
        let compared = self.pictures.low.iter().zip(&self.pictures.high);
        let frames = compared.filter(|(low, high)| low.is_some() && high.is_some()).count();
        self.contenders.result(frames, self.plain_db)
    }
}

fn in_low(source: EnhanceError) -> CompareError {
    CompareError::Segment { rendition: "low", source }
}

fn in_high(source: EnhanceError) -> CompareError {
    CompareError::Segment { rendition: "high", source }
}
