//! Sessions of networks that interpolate.

use std::sync::Arc;

use super::{Library, lock};
use crate::interpolators::{Chosen, Interpolating, MiddleSession, Size, name_of};
use crate::{EnhanceRequest, FallbackReason, Interpolation, Interpolator};

impl Library {
    /// What makes pictures between others for `request`, whose source's pictures are of `size`; `None`: no network is asked for.
    /// Where its set is gone, the generic one stands in. An error says why there is none: nothing stands in, or no session of this size
    /// is free yet, which the loader is told.
    pub(crate) fn middle(
        &self,
        request: &EnhanceRequest,
        size: Size,
    ) -> Option<Result<MiddleSession, FallbackReason>> {
        let Interpolation { factor, by: Interpolator::Model { cluster, digest } } =
            request.spec.interpolation.as_ref()?
        else {
            return None;
        };
        let made =
            f64::from(request.spec.frame_rate_milli) / 1000.0 * f64::from(factor - 1) / f64::from(*factor);
        let pixels_per_second = made * (size.0 * size.1) as f64;
        let is_hurried = request.wish().deadline.is_some();
        let chosen = self.interpolators.choose(&name_of(cluster, digest), pixels_per_second, is_hurried);
        Some(match chosen {
            Some(Chosen { model, stands_in }) => self.middle_of(&model, size).map(|mut session| {
                session.stands_in = stands_in;
                session
            }),
            None => Err(FallbackReason::ModelMissing),
        })
    }

    /// A session of `model` for pictures of `size`. Where none is free, the loader is told.
    pub(crate) fn middle_of(
        &self,
        model: &Arc<Interpolating>,
        size: Size,
    ) -> Result<MiddleSession, FallbackReason> {
        model.session(size, self.lanes).map_err(|wish| {
            if wish {
                lock(&self.inbox).middles.push_back((Arc::clone(model), size));
                self.arrived.notify_one();
            }
            FallbackReason::DeadlineShort
        })
    }

    /// Sees to it that a set that interpolates has a session for pictures of `size`.
    pub(crate) fn prepare_middle(&self, (cluster, digest): (&str, &str), size: Size) {
        if let Some(Chosen { model, .. }) = self.interpolators.choose(&name_of(cluster, digest), 0.0, true) {
            // It goes back at once, and is there for whoever comes.
            drop(self.middle_of(&model, size));
        }
    }
}
