//! Who makes a segment's pictures between the source's, and what that costs.

use super::{Way, plain_recipe, recipe};
use crate::begun;
use crate::container::VideoTrack;
use crate::interpolators::MiddleSession;
use crate::library::Library;
use crate::schedule::{Choice, Forecast, PLAIN_SECONDS_PER_PIXEL, Tier};
use crate::{EnhanceRequest, FallbackReason};

/// What is known of it before the segment's turn is decided.
pub(crate) struct Crew {
    session: Option<MiddleSession>,
    /// Why no network does it though one is asked for, or another than that.
    missing: Option<FallbackReason>,
    /// Recipes that costs are learned under: with it, and with pictures that repeat.
    pub(crate) recipe: String,
    pub(crate) plain_recipe: String,
}

/// How it was decided.
pub(crate) struct Settled {
    pub(crate) way: Way,
    /// Why that is less than was asked for.
    pub(crate) fallback: Option<FallbackReason>,
    /// What a segment is learned under that no network enlarges.
    pub(crate) key: Option<String>,
    /// In reports; `None` where nothing is to be made.
    pub(crate) name: Option<String>,
}

impl Crew {
    /// `middle`: what there was when the segment's turn came. Where its pictures turn out to be of another size than its playlist
    /// said, what there is for that.
    pub(crate) fn new(
        library: &Library,
        request: &EnhanceRequest,
        video: &VideoTrack,
        middle: Option<Result<MiddleSession, FallbackReason>>,
    ) -> Self {
        let spec = &request.spec;
        let own = video.sps().map(|sps| (sps.width as usize, sps.height as usize));
        let middle = match (middle, own) {
            (Some(Ok(session)), Some(own)) if session.size() != own => {
                drop(session);
                library.middle(request, own)
            }
            (middle, _) => middle,
        };
        let (session, missing) = match middle {
            Some(Ok(session)) => {
                let missing = session.stands_in.then_some(FallbackReason::ModelMissing);
                (Some(session), missing)
            }
            Some(Err(missing)) => (None, Some(missing)),
            None => (None, None),
        };
        Self { session, missing, recipe: recipe(spec), plain_recipe: plain_recipe(spec) }
    }

    /// The network as the one tier of a segment that none enlarges: with it, or with pictures that repeat.
    pub(crate) fn tier(
        &self,
        library: &Library,
        (picture_pixels, pixels): (u64, u64),
        busy: usize,
    ) -> Option<Tier> {
        let key = self.key()?;
        Some(Tier { forecast: library.costs.forecast(&key, picture_pixels, pixels, busy), at_hand: true })
            .filter(|tier: &Tier| is_known(&tier.forecast))
    }

    fn key(&self) -> Option<String> {
        self.session.as_ref().map(|session| format!("{}{}", session.model.key(), self.recipe))
    }

    /// What it costs beside what the plain path does, as a first word: half of the pictures are made.
    pub(crate) fn introduce(&self, library: &Library, scale: u32) {
        if let (Some(key), Some(session)) = (self.key(), &self.session) {
            let low = 1.0 / f64::from(scale.max(1).pow(2));
            let network = session.model.seconds(low) / 2.0;
            library.costs.introduce(&key, PLAIN_SECONDS_PER_PIXEL + network);
        }
    }

    /// `choice`: of `tiers` that there were. Where it is none of them there is no time for this either. What is made again goes by what
    /// made it, and by nothing else.
    pub(crate) fn settle(self, request: &EnhanceRequest, choice: Choice, tiers: usize) -> Settled {
        let key = self.key();
        let again = request.again_by.as_deref().and_then(begun::interpolator);
        let is_late = match (again, &self.session) {
            (_, None) => false,
            (Some(name), Some(session)) => session.model.entry.id != name,
            (None, Some(_)) => choice == Choice::Plain && tiers > 0,
        };
        let session = self.session.filter(|_| !is_late);
        let interpolation = request.spec.interpolation.as_ref();
        let way = match self.missing {
            _ if again == Some("blend") => Way::Blend,
            _ if again == Some("repeat") => Way::Repeat,
            // What is left when a set is gone and none stands in: what a playlist written now would name.
            Some(FallbackReason::ModelMissing) if session.is_none() && !is_late => Way::Blend,
            _ => Way::of(interpolation, session),
        };
        Settled {
            fallback: self.missing.or(is_late.then_some(FallbackReason::DeadlineShort)),
            key: key.filter(|_| !is_late),
            name: interpolation.map(|_| way.name()),
            way,
        }
    }
}

fn is_known(forecast: &Forecast) -> bool {
    forecast.seconds.is_finite()
}
