//! What a lane may make a segment with, when it may begin, and what that will take.

use std::sync::Arc;
use std::time::{Duration, Instant};

use super::{Library, name};
use crate::begun;
use crate::demand::Wish;
use crate::interpolate;
use crate::interpolators::MiddleSession;
use crate::model::{Model, Session, SetModel};
use crate::schedule::{Choice, Need};
use crate::sets::Resolved;
use crate::{EnhanceRequest, FallbackReason, Priority};

/// Seconds of film of a segment whose playlist says nothing: the middle of what packagers make.
const USUAL_SECONDS: f64 = 5.0;

/// How long a segment without a deadline waits for a session that interpolates. One takes a second at most to be made; where it cannot
/// be made, pictures repeat.
const MIDDLE_PATIENCE: Duration = Duration::from_secs(10);

/// How long a segment of which the begin has been sent waits for the sessions that it began with.
const AGAIN_PATIENCE: Duration = Duration::from_secs(5);

/// What a lane may make a segment with.
#[derive(Default)]
pub(crate) struct Hand {
    /// The tiers, cheap to dear, each with a session if one is free.
    pub(crate) tiers: Vec<(Arc<Model>, Option<Session>)>,
    /// Why these are not the rendition's own, if they are not.
    pub(crate) fallback: Option<FallbackReason>,
    /// What makes pictures between others; `None`: no network is asked for.
    pub(crate) middle: Option<Result<MiddleSession, FallbackReason>>,
}

impl Library {
    /// What `request` is made with if its turn were now; `None`: a session that it should have is being made or in
    /// another lane's hands, and there is time to wait for it.
    ///
    /// A request with a deadline waits until half of its time is over if no tier at all has a free session, and is then
    /// scaled plainly. One without a deadline waits for the tiers it is meant to be made with, and for what interpolates.
    pub(crate) fn hand(&self, request: &EnhanceRequest, queued: Instant) -> Option<Hand> {
        let now = Instant::now();
        let middle = self.middle(request, source_size(request));
        let has_time = request.wish().deadline.is_none() || request.again_by.is_some();
        let is_patient = has_time && now < queued + MIDDLE_PATIENCE;
        let waits = is_patient && matches!(middle, Some(Err(FallbackReason::DeadlineShort)));
        // Both are asked for at once, whichever is missing.
        let hand = self.tiers(request, queued, now);
        hand.filter(|_| !waits).map(|hand| Hand { middle, ..hand })
    }

    /// What enlarges.
    fn tiers(&self, request: &EnhanceRequest, queued: Instant, now: Instant) -> Option<Hand> {
        let Some(name) = name(&request.spec) else { return Some(Hand::default()) };
        let Resolved { mut models, missing } = self.sets().resolve(&name, now);
        let mut fallback = missing.then_some(FallbackReason::ModelMissing);
        if !missing && request.again_by.is_none() {
            models.retain(|model| !request.without.contains(&model.entry.tier));
        }
        if !models.is_empty() {
            models.retain(|model| !model.model.is_hopeless(now));
            if models.is_empty() {
                fallback = fallback.or(Some(FallbackReason::ModelFailed));
            }
            let (width, height) = source_size(request);
            models.retain(|model| model.model.takes((width as u32, height as u32)));
            if models.is_empty() {
                fallback = fallback.or(Some(FallbackReason::SizeUnprepared));
            }
        }
        let Wish { deadline, priority, .. } = request.wish();
        let place = |id: &str| place_of(id, models.iter().map(|model| &*model.model));
        let again = request.again_by.as_deref();
        let wanted = match (again, deadline, priority) {
            // The very tier, and what stood beside it.
            (Some(by), ..) => {
                place(begun::enlarged(by)).into_iter().chain(begun::base(by).and_then(place)).collect()
            }
            // The best, and the cheapest beside it: see `luma`.
            (None, None, Priority::Viewer) => {
                let best = models.len().checked_sub(1);
                best.into_iter().chain((models.len() > 1).then_some(0)).collect()
            }
            _ => likely(&models),
        };
        let all: Vec<usize> = (0..models.len()).collect();
        let taken = if deadline.is_some() { &all } else { &wanted };
        let tier = |(place, model): (usize, &SetModel)| {
            let session = if taken.contains(&place) { model.model.take() } else { None };
            (Arc::clone(&model.model), session)
        };
        let tiers: Vec<_> = models.iter().enumerate().map(tier).collect();
        let has = |place: &usize| tiers.get(*place).is_some_and(|(_, session)| session.is_some());
        let is_enough = match deadline {
            _ if again.is_some() => wanted.iter().all(has) || now >= queued + AGAIN_PATIENCE,
            Some(deadline) => {
                let patience_ends = queued + deadline.saturating_duration_since(queued) / 2;
                models.is_empty() || all.iter().any(has) || now >= patience_ends
            }
            None => wanted.iter().all(has),
        };
        for place in wanted.iter().filter(|place| !has(place)) {
            if let Some((model, _)) = tiers.get(*place) {
                self.wish(model);
            }
        }
        is_enough.then_some(Hand { tiers, fallback, middle: None })
    }

    /// What a segment will take, before it is opened, beside others in all lanes. `z`: spreads above the middle that it must hold for.
    pub(crate) fn need(&self, request: &EnhanceRequest, z: f64) -> Need {
        let spec = &request.spec;
        let picture_pixels = u64::from(spec.width) * u64::from(spec.height);
        let seconds = request.demand.media().map_or(USUAL_SECONDS, |media| media.as_secs_f64());
        let pictures = (seconds * f64::from(spec.frame_rate_milli) / 1000.0).ceil() as u64;
        let pixels = picture_pixels.saturating_mul(pictures);
        let (recipe, plain_recipe) = (interpolate::recipe(spec), interpolate::plain_recipe(spec));
        let models = name(spec).map(|name| self.sets().resolve(&name, Instant::now()).models);
        let plain = match models.as_ref().is_some_and(|models| !models.is_empty()) {
            true => self.costs.quick(&plain_recipe, picture_pixels, pixels, self.lanes),
            false => self.costs.plain(&plain_recipe, picture_pixels, pixels, self.lanes),
        };
        let plain_seconds = plain.at(z);
        let cheapest = models.and_then(|models| models.into_iter().next());
        let quickest =
            cheapest.map(|model| model.model.forecast(&recipe, picture_pixels, pixels, self.lanes).at(z));
        Need {
            likely_seconds: plain.seconds,
            plain_seconds,
            quickest_seconds: quickest.map_or(plain_seconds, |tier| tier.max(plain_seconds)),
        }
    }
}

impl Hand {
    /// Sessions of tiers in it.
    pub(crate) fn sessions(&self) -> usize {
        self.tiers.iter().filter(|(_, session)| session.is_some()).count()
    }

    /// The choice that makes a segment by what made it before ([`crate::Report::made_by_what`]).
    pub(crate) fn made_by(&self, by: &str) -> Choice {
        let models = self.tiers.iter().map(|(model, _)| &**model);
        place_of(begun::enlarged(by), models).map_or(Choice::Plain, Choice::Tier)
    }

    /// The session of the tier at `place`, or of the best below it that has one, and that of the cheapest tier if it is another. All
    /// others go back.
    pub(crate) fn pick(self, place: usize, library: &Library) -> (Option<Session>, Option<Session>) {
        if let Some((model, None)) = self.tiers.get(place) {
            library.wish(model);
        }
        let mut tiers = self.tiers.into_iter().take(place + 1).map(|(_, session)| session);
        let cheapest = tiers.next().flatten();
        match tiers.flatten().next_back() {
            Some(session) => (Some(session), cheapest),
            None => (cheapest, None),
        }
    }
}

/// The place of the tier with this `id`; none for `plain`.
fn place_of<'a>(id: &str, mut models: impl Iterator<Item = &'a Model>) -> Option<usize> {
    models.position(|model| model.identity.id == id)
}

/// The places of the tiers that a viewer's segment is likely to be made with: the cheapest, and those that keep up with a film.
pub(super) fn likely(models: &[SetModel]) -> Vec<usize> {
    (0..models.len())
        .filter(|place| *place == 0 || models.get(*place).is_some_and(|model| model.model.is_real_time()))
        .collect()
}

/// The size of the source's pictures, as its playlist has it.
fn source_size(request: &EnhanceRequest) -> (usize, usize) {
    let spec = &request.spec;
    let scale = spec.scale.max(1);
    ((spec.width / scale) as usize, (spec.height / scale) as usize)
}
