//! The next segments of a rendition, made before players ask for them.
//!
//! A player that got one segment will ask for the next in about its duration: that is the time enhancement needs. The
//! first request that a segment answers starts its followers, later ones do not; work ahead waits behind work that somebody
//! waits for, and is the first to be dropped. Of the followers the nearest comes first: it is the next to be asked for.

use std::sync::Arc;
use std::time::Duration;

use crate::cache::store::Object;
use crate::hls::Found;
use crate::hls::media::MediaPlaylist;
use crate::metrics::Kind;
use crate::playlists::Playlists;
use crate::produce::Producer;
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

    /// A player has got `object`: starts what follows it, once. Costs a hit nothing but a look at a flag.
    pub fn follow(&self, wanted: &Wanted, object: &Object) {
        if self.reach == 0 || object.kind != Kind::Segment || !object.first_to_follow() {
            return;
        }
        let (ahead, wanted) = (self.clone(), wanted.clone());
        tokio::spawn(async move { ahead.launch(wanted).await });
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
        let mut media = Duration::ZERO;
        let next = playlist.segments.iter().skip(at + 1).take(reach);
        for (before, segment) in playlist.segments.iter().skip(at).zip(next) {
            media +=
                Duration::try_from_secs_f64(before.duration_seconds).unwrap_or_default().min(LONGEST_SEGMENT);
            if segment.gap {
                continue;
            }
            let Some(path) = segment.enhanced_path() else { continue };
            let Some(route) = self.sites.find(&wanted.site, &path).map(|found| found.route) else { continue };
            let Some(origin) = self.origins.get(route) else { continue };
            let follower = Wanted::new(wanted.site.clone(), Arc::clone(&wanted.token), origin, &path);
            let _ = self.producer.launch(&follower, media);
        }
    }
}
