//! The segments before one that does not open on an IDR picture: what its first pictures refer to.

use acuity_playlist::media::{MediaPlaylist, Segment};
use bytes::Bytes;

use super::Shared;
use super::job::Job;

/// How far back to look. A GOP longer than three segments would make players wait as long at every start; packagers
/// that cut inside GOPs do so within one or two.
const REACH: usize = 3;

impl Shared {
    /// Up to [`REACH`] segments before `segments[at]`, oldest first, back to the nearest that opens on an IDR. Empty if
    /// there are none or they cannot be had: what cannot be decoded is then held.
    pub(super) async fn lead_in(&self, job: &Job<'_>, at: usize, init: Option<&Bytes>) -> Vec<Bytes> {
        let mut found = Vec::new();
        for segment in before(job.playlist, at) {
            let Ok(source) = self.inputs.segment(&job.wanted.site, segment).await else { break };
            let Ok(ingredients) = self.inputs.open(&job.wanted.site, segment, source).await else { break };
            let (init, clear) = (init.cloned(), ingredients.clear);
            found.push(clear.clone());
            let limits = self.config.enhancer.clone();
            let info =
                tokio::task::spawn_blocking(move || acuity_enhancer::probe(init.as_deref(), clear, &limits))
                    .await;
            if matches!(info, Ok(Ok(info)) if info.opens_on_idr) {
                break;
            }
        }
        found.reverse();
        found
    }
}

/// The segments whose pictures may be referred to, nearest first: of the same map, without a discontinuity or gap between.
fn before(playlist: &MediaPlaylist, at: usize) -> impl Iterator<Item = &Segment> {
    let own = playlist.segments.get(at);
    let reach = playlist.segments.get(at.saturating_sub(REACH)..at).unwrap_or_default();
    let belongs = move |segment: &&Segment| {
        own.is_some_and(|own| {
            own.discontinuity_sequence == segment.discontinuity_sequence
                && own.map == segment.map
                && !segment.gap
        })
    };
    reach.iter().rev().take_while(belongs)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use acuity_playlist::Base;

    #[test]
    fn only_what_a_picture_may_refer_to() {
        let text = "#EXTM3U\n#EXTINF:4,\n0.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:4,\n1.ts\n#EXTINF:4,\n2.ts\n#EXTINF:4,\n\
                    3.ts\n#EXTINF:4,\n4.ts\n#EXTINF:4,\n5.ts\n#EXT-X-GAP\n#EXTINF:4,\n6.ts\n#EXTINF:4,\n7.ts\n";
        let map = |_: &str| None;
        let base = Base::new("/a.m3u8", None, &map).unwrap();
        let playlist = MediaPlaylist::parse(text, &base, &BTreeMap::new());
        let names = |at| before(&playlist, at).map(|segment| segment.uri.as_str()).collect::<Vec<_>>();
        assert_eq!(names(0), Vec::<&str>::new());
        assert_eq!(names(1), Vec::<&str>::new(), "behind a discontinuity");
        assert_eq!(names(2), ["1.ts"]);
        assert_eq!(names(5), ["4.ts", "3.ts", "2.ts"]);
        assert_eq!(names(7), Vec::<&str>::new(), "behind a gap");
        assert_eq!(names(99), Vec::<&str>::new());
    }
}
