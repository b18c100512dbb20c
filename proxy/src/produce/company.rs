//! What the segments before one tell of those who ask for it: whether somebody starts there, and how many will come.

use acuity_enhancer::{Demand, Priority};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::job::haste;
use super::{Job, Reason, Shared};
use crate::hls::media::Segment;
use crate::wanted::Wanted;

/// So many segments back somebody's trace is looked for: a player that skips one goes on all the same.
const LOOKS_BACK: usize = 2;

impl Shared {
    /// What the segment at `at` is to the enhancer, and whether somebody starts there.
    ///
    /// A player that plays has asked for the segment before; where that is neither here nor being made, nobody has come this far, so this
    /// one starts or has sought. This needs no memory of players, whose addresses say little behind a network's or another cache's. Who
    /// seeks to where others are already finds what was made for them.
    pub(super) fn demand(&self, job: &Job<'_>, at: usize, segment: &Segment) -> (Demand, bool) {
        let before: Vec<Wanted> = self.before(job, at).collect();
        let objects: Vec<_> = before.iter().filter_map(|wanted| self.store.get(&wanted.key)).collect();
        let is_first = objects.is_empty() && !before.iter().any(|wanted| self.flights.has(&wanted.key));
        let is_start = match job.reason {
            Reason::Viewer { hurry, .. } => hurry.urgent || is_first,
            Reason::Ahead { .. } | Reason::Improve => false,
        };
        let (waiting, _) = job.party.asks();
        let audience = objects.iter().map(|object| object.requests()).max().unwrap_or_default().max(waiting);
        let media = Duration::try_from_secs_f64(segment.duration_seconds).ok();
        (Demand::new(stream_of(job.wanted), media, haste(is_start), audience), is_start)
    }

    /// The segments before `segments[at]`, nearest first.
    fn before(&self, job: &Job<'_>, at: usize) -> impl Iterator<Item = Wanted> {
        let reach = job.playlist.segments.get(at.saturating_sub(LOOKS_BACK)..at).unwrap_or_default();
        reach.iter().rev().filter(|segment| !segment.gap).filter_map(|segment| {
            let path = segment.enhanced_path()?;
            let route = self.sites.find(&job.wanted.site, &path)?.route;
            let origin = self.config.routes.get(route)?.origin.as_str();
            Some(Wanted::new(job.wanted.site.clone(), Arc::clone(&job.wanted.token), origin, &path))
        })
    }
}

/// What tells streams apart for fairness; never 0, which is nobody's.
fn stream_of(wanted: &Wanted) -> u64 {
    let mut hasher = DefaultHasher::new();
    (wanted.site.name(), wanted.token.to_string()).hash(&mut hasher);
    hasher.finish().max(1)
}

/// Whose turn it is in the enhancer.
pub(super) fn priority(job: &Job<'_>) -> Priority {
    if job.urgency.is_waited_for() { Priority::Viewer } else { Priority::Ahead }
}
