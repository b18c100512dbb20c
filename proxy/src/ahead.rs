//! The next segments of a rendition, made before players ask for them.
//!
//! A player that got one segment will ask for the next in about its duration: that is the time enhancement needs. The
//! first request that a segment answers starts its followers, later ones do not; work ahead waits behind work that somebody
//! waits for, and is the first to be dropped. Of the followers the nearest comes first: it is the next to be asked for.

use std::sync::Arc;
use std::time::Duration;

use acuity_playlist::media::{MediaPlaylist, Segment};
use acuity_playlist::uri::RESERVED_PREFIX;
use acuity_playlist::{Found, RenditionToken, uri};
use opentelemetry::trace::FutureExt as _;

use crate::cache::store::Object;
use crate::metrics::Kind;
use crate::playlists::Playlists;
use crate::produce::Producer;
use crate::route::HlsRoute;
use crate::site::Sites;
use crate::wanted::Wanted;

/// What a playlist may claim that one segment lasts.
const LONGEST_SEGMENT: Duration = Duration::from_secs(60);

/// Looks ahead. Clones share everything.
#[derive(Clone)]
pub struct Ahead {
    playlists: Playlists,
    producer: Producer,
    sites: Arc<Sites>,
    origins: Arc<[String]>,
    reach: usize,
}

impl Ahead {
    /// Produces `reach` segments ahead (0: none). `origins`: the base URL of each route, by its index.
    #[must_use]
    pub fn new(
        playlists: Playlists,
        producer: Producer,
        sites: Arc<Sites>,
        origins: Arc<[String]>,
        reach: usize,
    ) -> Self {
        Self { playlists, producer, sites, origins, reach }
    }

    /// Whether anything is produced ahead.
    #[must_use]
    pub fn is_on(&self) -> bool {
        self.reach > 0
    }

    /// A player has got `object`: starts what follows it, once. Costs a hit nothing but a look at a flag.
    pub fn follow(&self, wanted: &Wanted, object: &Object) {
        if self.reach == 0 || object.kind != Kind::Segment || !object.first_to_follow() {
            return;
        }
        let (ahead, wanted) = (self.clone(), wanted.clone());
        tokio::spawn(async move { ahead.launch(wanted).await }.with_current_context());
    }

    /// A player that asked for `asked_path` (below the token) says what it will ask for next (CMCD `nor`). A stranger's word: it is read
    /// like any request's path, and followed only within the rendition that the player is in and to a segment that its playlist lists,
    /// so that nobody can have the edge fetch anything that the rendition's own URLs do not lead to. `nrr` is left alone: segments are
    /// made whole.
    pub fn announced(&self, wanted: &Wanted, asked_path: &str, next: &str) {
        let Some(path) = announced(&wanted.token, asked_path, next).filter(|_| self.is_on()) else { return };
        let Some(next) = self.wanted(wanted, &path).filter(|next| next.key != wanted.key) else { return };
        if self.producer.has(&next) {
            return;
        }
        let (ahead, wanted) = (self.clone(), wanted.clone());
        let work = async move {
            let lists_it = |playlist: &MediaPlaylist| playlist.find(&next.path_and_query) != Found::None;
            let found = ahead.playlists.media_that(&wanted.site, &wanted.token.playlist, lists_it).await;
            let Ok(playlist) = found else { return };
            let Found::Segment(_) = playlist.find(&next.path_and_query) else { return };
            let media = match playlist.find(&wanted.path_and_query) {
                Found::Segment(at) => playlist.segments.get(at).map(media_of),
                Found::Map(_) | Found::None => None,
            };
            let _ = ahead.producer.launch(&next, media.unwrap_or_default(), false);
        };
        tokio::spawn(work.with_current_context());
    }

    fn wanted(&self, near: &Wanted, path: &str) -> Option<Wanted> {
        let route = self.sites.find(&near.site, path)?.route;
        let origin = self.origins.get(route)?;
        Some(Wanted::new(near.site.clone(), Arc::clone(&near.token), origin, path))
    }

    async fn launch(self, wanted: Wanted) {
        let reach = self.reach;
        // A playlist seen some time ago may not know the followers yet.
        let tells_all = |playlist: &MediaPlaylist| match playlist.find(&wanted.path_and_query) {
            Found::Segment(at) => playlist.ended || playlist.segments.len() > at + reach,
            Found::Map(_) | Found::None => false,
        };
        let found = self.playlists.media_that(&wanted.site, &wanted.token.playlist, tells_all).await;
        let Ok(playlist) = found else { return };
        let Found::Segment(at) = playlist.find(&wanted.path_and_query) else { return };
        // A player for which there is nothing before this one has just started, and fills its buffer.
        let before = at.checked_sub(1).and_then(|before| playlist.segments.get(before));
        let before = before.and_then(|before| self.wanted(&wanted, &before.enhanced_path()?));
        let fills = !before.is_some_and(|before| self.producer.has(&before));
        let mut media = Duration::ZERO;
        let next = playlist.segments.iter().skip(at + 1).take(reach);
        for (before, segment) in playlist.segments.iter().skip(at).zip(next) {
            media += media_of(before);
            if segment.gap {
                continue;
            }
            let Some(follower) = segment.enhanced_path().and_then(|path| self.wanted(&wanted, &path)) else {
                continue;
            };
            let _ = self.producer.launch(&follower, media, fills);
        }
    }
}

fn media_of(segment: &Segment) -> Duration {
    Duration::try_from_secs_f64(segment.duration_seconds).unwrap_or_default().min(LONGEST_SEGMENT)
}

/// The path below `token` that `next` means to a player that asked for `asked_path` below it; `None` if it leads out of the rendition.
fn announced(token: &RenditionToken, asked_path: &str, next: &str) -> Option<String> {
    let path = uri::follow(&format!("{RESERVED_PREFIX}{token}{asked_path}"), next)?;
    match HlsRoute::classify(&path) {
        HlsRoute::Enhanced { token: other, path_and_query } if *other == *token => Some(path_and_query),
        _ => None,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn only_what_is_in_the_rendition_is_followed() {
        let text = "v1.x2.1280x720.29970.2800.generic-1a2b3c4d.L29jZWFuLzM2MHAvMzYwcC5tM3U4";
        let token: RenditionToken = text.parse().unwrap();
        let other = text.replace("2800", "2900");
        let asked = "/ocean/360p/1.ts?v=1&CMCD=nor%3D%222.ts%22";
        for (next, expected) in [
            ("2.ts", Some("/ocean/360p/2.ts")),
            ("2.ts?v=1", Some("/ocean/360p/2.ts?v=1")),
            ("../360p/./2.ts", Some("/ocean/360p/2.ts")),
            ("/~acuity/models/x.json", None),
            ("/ocean/360p/2.ts", None),
            ("../../../../etc/passwd", None),
            ("http://169.254.169.254/latest", None),
            ("//elsewhere.example/2.ts", None),
            ("file:///etc/passwd", None),
        ] {
            let found = announced(&token, asked, next);
            assert_eq!(found.as_deref(), expected, "{next}");
        }
        assert_eq!(announced(&token, asked, &format!("/~acuity/{other}/ocean/360p/2.ts")), None);
    }
}
