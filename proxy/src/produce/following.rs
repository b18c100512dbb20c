//! The segment behind one that gets more pictures: its last picture leads over to that one's first.
//!
//! Nobody waits for it. Where it is at hand it is given along; where it is not and segments are made ahead, it is what will be fetched next
//! in any case, so it is fetched now, and taken if it comes before the work is done.

use acuity_enhancer::Following;
use acuity_playlist::media::{MediaPlaylist, Segment};
use opentelemetry::trace::FutureExt as _;
use std::sync::Arc;

use super::Shared;
use super::job::Job;

impl Shared {
    /// What is given to the enhancer with `segments[at]`.
    pub(super) async fn following(&self, job: &Job<'_>, at: usize) -> Following {
        let following = Following::default();
        if job.wanted.token.interpolation.is_none() {
            return following;
        }
        let Some((own, next)) = own_and_next(job.playlist, at) else { return following };
        let site = &job.wanted.site;
        match self.inputs.at_hand(site, next) {
            // Another key might have to be fetched.
            Some(source) if next.keys == own.keys => {
                if let Ok(ingredients) = self.inputs.open(site, next, source).await {
                    following.is(ingredients.clear);
                }
            }
            _ if self.config.enhancer.look_ahead > 0 => {
                let (inputs, site, next) = (self.inputs.clone(), site.clone(), next.clone());
                let late = following.clone();
                let work = async move {
                    if let Ok(clear) = inputs.clear(&site, &next).await {
                        late.is(clear);
                    }
                };
                tokio::spawn(work.with_current_context());
            }
            _ => {}
        }
        following
    }
}

/// A segment and the one that its pictures lead over to: none across a discontinuity, a gap or another map.
fn own_and_next(playlist: &MediaPlaylist, at: usize) -> Option<(&Segment, &Segment)> {
    let (own, next) = (playlist.segments.get(at)?, playlist.segments.get(at.checked_add(1)?)?);
    let leads_over = own.discontinuity_sequence == next.discontinuity_sequence
        && same_map(own, next)
        && !next.gap
        && !next.byte_range_unknown;
    leads_over.then_some((own, next))
}

fn same_map(a: &Segment, b: &Segment) -> bool {
    match (&a.map, &b.map) {
        (Some(a), Some(b)) => Arc::ptr_eq(a, b) || a == b,
        (None, None) => true,
        _ => false,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use acuity_playlist::Base;

    #[test]
    fn only_what_a_picture_may_lead_over_to() {
        let text = "#EXTM3U\n#EXT-X-MAP:URI=\"a.mp4\"\n#EXTINF:4,\n0\n#EXTINF:4,\n1\n#EXT-X-DISCONTINUITY\n#EXTINF:4,\n2\n\
                    #EXT-X-MAP:URI=\"b.mp4\"\n#EXTINF:4,\n3\n#EXT-X-GAP\n#EXTINF:4,\n4\n#EXTINF:4,\n5\n";
        let map = |_: &str| None;
        let base = Base::new("/a.m3u8", None, &map).unwrap();
        let playlist = MediaPlaylist::parse(text, &base, &BTreeMap::new());
        let next = |at| own_and_next(&playlist, at).map(|(_, next)| next.uri.as_str());
        assert_eq!(
            [0, 1, 2, 3, 4, 5, usize::MAX].map(next),
            [Some("1"), None, None, None, Some("5"), None, None]
        );
    }
}
