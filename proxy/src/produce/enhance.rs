//! Asking the enhancer, and asking again as the table of remedies says.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_enhancer::{
    CancelFlag, EnhanceError, EnhanceRequest, EnhancedSegment, Haste, Interpolation, Pieces, RenditionSpec,
    Upscaler,
};
use acuity_playlist::media::Segment;
use bytes::Bytes;
use tokio::time::{sleep, timeout};

use super::job::Job;
use super::make::PATIENCE;
use super::{Product, Shared, company};
use crate::cache::flow::Flow;
use crate::metrics::Outcome;
use crate::rescue::{Remedy, Tried, Trouble};
use crate::wanted::spec_of;

/// Between two looks at a full queue: a fraction of what a lane takes for a segment.
const QUEUE_RETRY: Duration = Duration::from_millis(100);

/// No segment takes this long (30 s at 60 Hz through the largest tier on two cores takes half of it); whatever does is
/// lost, and those who wait must not hang with it.
const LOST_AFTER: Duration = Duration::from_secs(180);

impl Shared {
    /// Enhances a clear segment. Its bytes go into `flow` as they come.
    ///
    /// # Errors
    /// The first trouble that has no remedy here.
    pub(super) async fn enhance(
        &self,
        job: &Job<'_>,
        (at, segment): (usize, &Segment),
        init: Option<Bytes>,
        clear: Bytes,
        flow: Option<Arc<Flow>>,
    ) -> Result<EnhancedSegment, Trouble> {
        let again_by = job.reason.told().and_then(|told| told.again_by.as_deref()).map(str::to_owned);
        let mut spec = spec_of(&job.wanted.token);
        let (demand, is_start) = self.demand(job, at, segment);
        let following = self.following(job, at).await;
        let mut deadline = job.deadline(&self.config, is_start);
        let mut upscaler = spec.upscaler.clone();
        let mut lead_in = Vec::new();
        let mut tried = Tried::default();
        if job.is_stopped {
            self.metrics.fell_back(job.wanted, Trouble::SwitchedOff.label());
            tried.plain = true;
            upscaler = Upscaler::Bicubic;
            spec.interpolation = spec.interpolation.map(Interpolation::plain);
        }
        let waits_until = Instant::now() + PATIENCE;
        let waits_until = deadline.filter(|_| demand.yields()).unwrap_or(waits_until);
        loop {
            tried.patience_over = Instant::now() >= waits_until;
            let request = EnhanceRequest {
                init: init.clone(),
                lead_in: lead_in.clone(),
                segment: clear.clone(),
                following: following.clone(),
                spec: RenditionSpec { upscaler: upscaler.clone(), ..spec.clone() },
                deadline,
                priority: company::priority(job),
                demand: demand.clone(),
                again_by: again_by.clone(),
                // Workers' pool knows what the guard has found.
                without: Vec::new(),
                cancel: CancelFlag::default(),
                context: Default::default(),
            };
            let trouble = match self.ask(job, request, pieces(job, flow.as_ref()), is_start).await {
                Ok(enhanced) => return Ok(enhanced),
                // What has been sent cannot be made otherwise any more.
                Err(error) if flow.as_ref().is_some_and(|flow| flow.has_begun()) => {
                    return Err(Trouble::Enhance(error));
                }
                Err(error) => Trouble::Enhance(error),
            };
            match trouble.remedy(tried) {
                // Displaced by viewers' work: given up, unless a viewer has come for it meanwhile.
                Remedy::Wait if !job.urgency.is_waited_for() => return Err(trouble),
                Remedy::Wait => sleep(QUEUE_RETRY).await,
                Remedy::Plain => {
                    self.metrics.fell_back(job.wanted, trouble.label());
                    tried.plain = true;
                    upscaler = Upscaler::Bicubic;
                    spec.interpolation = spec.interpolation.map(Interpolation::plain);
                    deadline = None;
                }
                Remedy::LeadIn => {
                    tried.lead_in = true;
                    lead_in = self.lead_in(job, at, init.as_ref()).await;
                    if lead_in.is_empty() {
                        lead_in = hold();
                        tried.hold = true;
                    }
                }
                Remedy::Hold => {
                    tried.hold = true;
                    lead_in = hold();
                }
                Remedy::SourceBytes | Remedy::PassThrough | Remedy::PassOn | Remedy::Status(_) => {
                    return Err(trouble);
                }
            }
        }
    }
}

/// A lead-in that says: there is none, repeat what can be decoded.
fn hold() -> Vec<Bytes> {
    vec![Bytes::new()]
}

/// What takes a segment's bytes as they come, and shows those who wait that there are some.
fn pieces(job: &Job<'_>, flow: Option<&Arc<Flow>>) -> Option<Pieces> {
    let (flow, early) = (Arc::clone(flow?), job.early.clone());
    Some(Box::new(move |piece, made_by| {
        if flow.push(piece, made_by) {
            early.show(Ok((Product::Flowing(Arc::clone(&flow)), Outcome::Made)));
        }
    }))
}

impl Shared {
    /// Asks once, and tells the enhancer of those who come while it works.
    async fn ask(
        &self,
        job: &Job<'_>,
        request: EnhanceRequest,
        pieces: Option<Pieces>,
        is_start: bool,
    ) -> Result<EnhancedSegment, EnhanceError> {
        let cancel = request.cancel.clone();
        let (asked, reply) = self.engine.enhance(request, pieces);
        let mut reply = std::pin::pin!(timeout(LOST_AFTER, reply));
        loop {
            tokio::select! {
                biased;
                answer = &mut reply => return match answer {
                    Ok(result) => result,
                    Err(_) => {
                        cancel.cancel();
                        Err(EnhanceError::WorkerLost)
                    }
                },
                () = job.party.changed() => {
                    let Some((deadline, haste)) = job.asked_for(&self.config) else { continue };
                    let haste = if is_start { Haste::Start } else { haste };
                    asked.raise(Some(deadline), haste, job.party.asks().0);
                }
            }
        }
    }
}
