//! What the guard is told of a segment that was made.

use acuity_enhancer::{MadeBy, Report};
use bytes::Bytes;

use super::{Job, Shared};
use crate::guard::Landed;
use crate::hls::media::Segment;

impl Shared {
    /// Only of one that a model of its rendition made, all of it.
    pub(super) fn tell_guard(
        &self,
        job: &Job<'_>,
        segment: &Segment,
        init: Option<Bytes>,
        clear: Bytes,
        report: &Report,
    ) {
        let token = &job.wanted.token;
        let MadeBy::Model { tier, .. } = &report.made_by else { return };
        let Some(tier) = tier.parse().ok().filter(|_| report.fallback.is_none() && self.guard.watches(token))
        else {
            return;
        };
        let landed = Landed {
            site: job.wanted.site.clone(),
            token: std::sync::Arc::clone(token),
            segment: segment.clone(),
            init,
            clear,
            tier,
        };
        let flights = self.flights.clone();
        self.guard.landed(landed, move || flights.is_empty());
    }
}
