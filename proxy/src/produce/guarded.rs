//! What the guard is told of a segment that was made.

use std::sync::Arc;

use acuity_enhancer::Report;
use acuity_playlist::media::Segment;
use bytes::Bytes;

use super::Shared;
use super::job::Job;
use crate::guard::Landed;

impl Shared {
    /// Only of one that the models of its rendition made, all of it.
    pub(super) fn tell_guard(
        &self,
        job: &Job<'_>,
        segment: &Segment,
        init: Option<Bytes>,
        clear: Bytes,
        report: &Report,
    ) {
        let token = &job.wanted.token;
        for (subject, tier) in self.guard.judged_by(token, report) {
            let landed = Landed {
                site: job.wanted.site.clone(),
                token: Arc::clone(token),
                segment: segment.clone(),
                init: init.clone(),
                clear: clear.clone(),
                subject,
                tier,
            };
            let flights = self.flights.clone();
            self.guard.landed(landed, move || flights.is_empty());
        }
    }
}
