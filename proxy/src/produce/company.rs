//! What the segments before one tell of those who ask for it: whether somebody starts there, and how many will come.

use acuity_enhancer::container::init_carries_source;
use acuity_enhancer::{Demand, Priority};
use acuity_playlist::media::{MediaPlaylist, Segment};
use bytes::Bytes;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::Arc;
use std::time::Duration;

use super::job::Job;
use super::job::haste;
use super::{Reason, Shared};
use crate::rescue::Trouble;
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
        let (mut is_first, mut audience) = self.company(job.wanted, job.playlist, at);
        if let Some(told) = job.reason.told() {
            // Where its viewers are, those of the segments before are known; here they may be another node's.
            (is_first, audience) = (told.is_first, audience.max(told.audience));
        }
        let is_start = match &job.reason {
            Reason::Viewer(viewer) => viewer.hurry.urgent || is_first,
            Reason::Ahead { .. } | Reason::Improve => false,
        };
        let (waiting, _) = job.party.asks();
        let audience = audience.max(waiting);
        let media = Duration::try_from_secs_f64(segment.duration_seconds).ok();
        let demand = Demand::new(stream_of(job.wanted), media, haste(is_start), audience);
        // What has begun to be sent has to go on.
        let has_begun = job.reason.told().is_some_and(|told| told.again_by.is_some());
        let has_else = job.can_be_the_sources && !has_begun;
        (if has_else { demand.or_else() } else { demand }, is_start)
    }

    /// Whether nobody has been at the segments before `segments[at]`, and how many have.
    pub(super) fn company(&self, wanted: &Wanted, playlist: &MediaPlaylist, at: usize) -> (bool, u32) {
        let before: Vec<Wanted> = self.before(wanted, playlist, at).collect();
        let objects: Vec<_> = before.iter().filter_map(|wanted| self.store.get(&wanted.key)).collect();
        let is_under_way = |wanted: &Wanted| self.flights.has(&wanted.key) || self.fetches.has(&wanted.key);
        let is_first = objects.is_empty() && !before.iter().any(is_under_way);
        (is_first, objects.iter().map(|object| object.requests()).max().unwrap_or_default())
    }

    /// The segments before `segments[at]`, nearest first.
    fn before(&self, wanted: &Wanted, playlist: &MediaPlaylist, at: usize) -> impl Iterator<Item = Wanted> {
        let reach = playlist.segments.get(at.saturating_sub(LOOKS_BACK)..at).unwrap_or_default();
        reach.iter().rev().filter(|segment| !segment.gap).filter_map(|segment| {
            let path = segment.enhanced_path()?;
            let route = self.sites.find(&wanted.site, &path)?.route;
            let origin = self.config.routes.get(route)?.origin.as_str();
            Some(Wanted::new(wanted.site.clone(), Arc::clone(&wanted.token), origin, &path))
        })
    }
}

/// Whether players can take the source's own segment among enhanced ones. Where there is an initialisation section, what is made of it has to
/// describe the source's pictures too.
pub(super) fn can_be_the_sources(init: &Result<Option<Bytes>, Trouble>) -> bool {
    match init {
        Ok(Some(init)) => init_carries_source(init),
        Ok(None) => true,
        Err(_) => false,
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
