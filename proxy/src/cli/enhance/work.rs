//! Keeps the enhancer busy and takes the results in order.
//!
//! One segment more than there are lanes is always handed in, so that reading and writing do not keep a lane waiting; no
//! more, so that a film does not lie in memory.

use std::collections::VecDeque;
use std::sync::mpsc::{Receiver, sync_channel};

use acuity_enhancer::{
    CancelFlag, EnhanceError, EnhanceRequest, EnhancedSegment, Enhancer, Following, Interpolation, Priority,
    RenditionSpec, Upscaler,
};
use bytes::Bytes;

use super::input::Rendition;
use crate::cli::Failure;
use crate::rescue::{Remedy, Tried, Trouble};

/// Segments that a segment which does not open on an IDR may refer to.
const LEAD_IN: usize = 3;

/// A segment in work.
struct Job {
    at: usize,
    clear: Bytes,
    lead_in: Vec<Bytes>,
    following: Following,
    reply: Receiver<Result<EnhancedSegment, EnhanceError>>,
}

/// Enhances all segments; `done` gets them in order.
pub(super) fn run(
    rendition: &Rendition,
    enhancer: &Enhancer,
    spec: &RenditionSpec,
    lanes: usize,
    done: &mut dyn FnMut(EnhancedSegment) -> Result<(), Failure>,
) -> Result<(), Failure> {
    let mut working: VecDeque<Job> = VecDeque::new();
    let mut before: VecDeque<Bytes> = VecDeque::new();
    let mut next = None;
    for at in (0..rendition.len()).filter(|at| !rendition.is_gap(*at)) {
        let clear = match next.take() {
            Some(clear) => clear,
            None => rendition.segment(at)?,
        };
        let lead_in = before.iter().cloned().collect();
        let following = Following::default();
        if spec.interpolation.is_some() && rendition.leads_over(at) {
            let behind = rendition.segment(at + 1)?;
            following.is(behind.clone());
            next = Some(behind);
        }
        let asked = request(rendition, clear.clone(), (Vec::new(), following.clone()), spec.clone());
        let reply = submit(enhancer, asked);
        working.push_back(Job { at, clear: clear.clone(), lead_in, following, reply });
        before.push_back(clear);
        if before.len() > LEAD_IN {
            before.pop_front();
        }
        if let Some(job) = (working.len() > lanes).then(|| working.pop_front()).flatten() {
            done(finish(rendition, enhancer, spec, job)?)?;
        }
    }
    for job in working {
        done(finish(rendition, enhancer, spec, job)?)?;
    }
    Ok(())
}

fn request(
    rendition: &Rendition,
    segment: Bytes,
    (lead_in, following): (Vec<Bytes>, Following),
    spec: RenditionSpec,
) -> EnhanceRequest {
    EnhanceRequest {
        init: rendition.init().cloned(),
        lead_in,
        segment,
        following,
        spec,
        deadline: None,
        priority: Priority::Viewer,
        demand: acuity_enhancer::Demand::default(),
        again_by: None,
        without: Vec::new(),
        cancel: CancelFlag::default(),
        context: Default::default(),
    }
}

fn submit(enhancer: &Enhancer, request: EnhanceRequest) -> Receiver<Result<EnhancedSegment, EnhanceError>> {
    let (sender, reply) = sync_channel(1);
    // If nobody listens any more the command has failed already.
    enhancer.submit(request, Box::new(move |result| drop(sender.send(result))));
    reply
}

/// Waits for a segment, and asks again as the table of remedies says; where the edge would send the source's bytes, a
/// file cannot be made.
fn finish(
    rendition: &Rendition,
    enhancer: &Enhancer,
    spec: &RenditionSpec,
    job: Job,
) -> Result<EnhancedSegment, Failure> {
    let Job { at, clear, lead_in, following, mut reply } = job;
    let mut tried = Tried { patience_over: true, ..Tried::default() };
    let mut spec = spec.clone();
    let mut with = Vec::new();
    loop {
        let error = match reply.recv() {
            Ok(Ok(segment)) => return Ok(segment),
            Ok(Err(error)) => error,
            Err(_) => EnhanceError::WorkerLost,
        };
        let trouble = Trouble::Enhance(error);
        match trouble.remedy(tried) {
            Remedy::Plain => {
                tried.plain = true;
                spec.upscaler = Upscaler::Bicubic;
                spec.interpolation = spec.interpolation.map(Interpolation::plain);
            }
            Remedy::LeadIn if !lead_in.is_empty() => {
                tried.lead_in = true;
                with.clone_from(&lead_in);
            }
            Remedy::LeadIn | Remedy::Hold => {
                (tried.lead_in, tried.hold) = (true, true);
                // "There is no lead-in, repeat what can be decoded."
                with = vec![Bytes::new()];
            }
            _ => return Err(Failure::Running(format!("segment {at} cannot be enhanced: {trouble}"))),
        }
        let neighbours = (with.clone(), following.clone());
        reply = submit(enhancer, request(rendition, clear.clone(), neighbours, spec.clone()));
    }
}
