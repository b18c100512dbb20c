//! Below `/~acuity/<token>/`: everything of an enhanced rendition.
//!
//! A segment in the cache is the path that matters most: token, key, look, answer, without a playlist, the origin or a
//! queue.

use std::sync::Arc;
use std::time::Instant;

use acuity_config::Config;
use acuity_playlist::media::MediaPlaylist;
use acuity_playlist::{Found, RenditionToken, uri};
use bytes::Bytes;
use http::HeaderValue;
use opentelemetry::trace::FutureExt as _;

use super::{End, end_of};
use crate::ahead::Ahead;
use crate::asked::Asked;
use crate::cache::flow::Flow;
use crate::cache::store::{Object, Store};
use crate::client::strip_cmcd;
use crate::deadline::Hurry;
use crate::limits::clients::Slot;
use crate::metrics::{Kind, Metrics, Outcome};
use crate::playlists::{Playlists, SourcePlaylist};
use crate::produce::{Producer, Product};
use crate::respond::{self, PLAYLIST_TYPE, PlaylistHeaders};
use crate::site::Sites;
use crate::wanted::{Wanted, is_within_limits};

/// Answers what is below a token.
pub struct EnhancedJourney {
    /// The configuration.
    pub config: Arc<Config>,
    /// Routing.
    pub sites: Arc<Sites>,
    /// Source playlists.
    pub playlists: Playlists,
    /// Enhanced objects that are there.
    pub store: Store,
    /// Enhanced objects that are not.
    pub producer: Producer,
    /// Those that will be asked for next.
    pub ahead: Ahead,
    /// Instruments.
    pub metrics: Arc<Metrics>,
}

impl EnhancedJourney {
    /// `path_and_query`: normalised edge path below the token, CMCD in it.
    pub async fn answer(&self, asked: &Asked<'_>, token: Arc<RenditionToken>, path_and_query: &str) -> End {
        if token.means_playlist(path_and_query) {
            return self.playlist(asked, &token, path_and_query).await;
        }
        let (source_path, _) = uri::take_range(path_and_query);
        let Some(route) = self.sites.find(&asked.site, &source_path) else {
            return End::Pass { path_and_query: source_path };
        };
        if !is_within_limits(&token, self.config.enhancer.max_source_pixels) {
            return End::Pass { path_and_query: source_path };
        }
        let origin =
            self.config.routes.get(route.route).map(|route| route.origin.as_str()).unwrap_or_default();
        let wanted = Wanted::new(asked.site.clone(), token, origin, path_and_query);
        if let Some(object) = self.store.get(&wanted.key) {
            let now = Instant::now();
            if object.freshness_left(now).is_some() {
                self.metrics.cache_hits.inc();
                self.given(asked, &wanted, path_and_query, &object);
                if object.is_due_for_improvement(now) {
                    self.producer.improve(&wanted);
                }
                return respond::object(asked.method, asked.headers, &object, hit(&object.made_by), now)
                    .into();
            }
        }
        self.metrics.cache_misses.inc();
        let hurry = asked.with_client(|client| Hurry::of(&client.cmcd));
        let Some(slot) = self.slot(asked, &wanted).await else {
            return End::Pass { path_and_query: source_path };
        };
        match self.producer.get(&wanted, hurry, asked.takes_pieces(), slot).await {
            Ok((Product::Flowing(flow), outcome)) => {
                self.announced(asked, &wanted, path_and_query);
                self.follow_when_whole(wanted, &flow);
                respond::flowing(asked.headers, &flow, outcome).into()
            }
            Ok((Product::Whole(object), outcome)) => {
                self.given(asked, &wanted, path_and_query, &object);
                respond::object(asked.method, asked.headers, &object, outcome, Instant::now()).into()
            }
            Err(trouble) => {
                let mut end = end_of(&trouble, asked.headers, Kind::Segment, &source_path);
                if let End::Answer(answer) = &mut end {
                    answer.error = Some(trouble.to_string());
                }
                end
            }
        }
    }

    /// The client's leave to have an object made; what is being made already needs none, nor does an init section, without which the rest of a
    /// rendition cannot be read. `None`: its other objects take too long, and the origin's own will do.
    async fn slot(&self, asked: &Asked<'_>, wanted: &Wanted) -> Option<Slot> {
        if self.producer.is_making(wanted) {
            return Some(Slot::default());
        }
        if let Some(slot) = asked.client.slot_now() {
            return Some(slot);
        }
        let path = &wanted.path_and_query;
        let lists_it = |playlist: &MediaPlaylist| playlist.find(path) != Found::None;
        let playlist = self.playlists.media_that(&wanted.site, &wanted.token.playlist, lists_it).await;
        if playlist.is_ok_and(|playlist| matches!(playlist.find(path), Found::Map(_))) {
            return Some(Slot::default());
        }
        asked.client.slot().await.ok()
    }

    /// A player gets an object while it is made. What comes after it is made after it.
    fn follow_when_whole(&self, wanted: Wanted, flow: &Arc<Flow>) {
        let (store, ahead, mut reader) = (self.store.clone(), self.ahead.clone(), flow.reader());
        let work = async move {
            reader.ended().await;
            if let Some(object) = store.get(&wanted.key) {
                object.count_request();
                ahead.follow(&wanted, &object);
            }
        };
        tokio::spawn(work.with_current_context());
    }

    /// A player gets an object: counts it, and prepares what it will ask for next.
    fn given(&self, asked: &Asked<'_>, wanted: &Wanted, path_and_query: &str, object: &Object) {
        object.count_request();
        self.announced(asked, wanted, path_and_query);
        self.ahead.follow(wanted, object);
    }

    /// Prepares what a player says that it will ask for next.
    fn announced(&self, asked: &Asked<'_>, wanted: &Wanted, path_and_query: &str) {
        if self.ahead.is_on() && asked.has_cmcd() {
            let next = asked.with_client(|client| client.cmcd.next_object());
            if let Some(next) = next {
                self.ahead.announced(wanted, path_and_query, &next);
            }
        }
    }

    /// The enhanced rendition's media playlist: the source's, a few lines changed. What the player added to its query
    /// (`_HLS_msn` and such) goes to the origin.
    async fn playlist(&self, asked: &Asked<'_>, token: &RenditionToken, path_and_query: &str) -> End {
        let path = strip_cmcd(path_and_query);
        let (playlist, outcome) = match self.playlists.get(&asked.site, &path, asked.user_agent()).await {
            Ok(found) => found,
            Err(trouble) => return end_of(&trouble, asked.headers, Kind::Media, path_and_query),
        };
        let Some(media) = playlist.media() else {
            return End::Pass { path_and_query: path_and_query.to_owned() };
        };
        let headers = PlaylistHeaders {
            cache_control: media_cache_control(&playlist),
            content_type: PLAYLIST_TYPE,
            varies_with: &[],
        };
        let mut text = media.rewrite(token);
        if let Some(prefix) = &asked.signed_prefix {
            let here = format!("{}{path}", token.prefix());
            text = self.playlists.carried_own(&asked.site, &here, &path, &text, prefix);
        }
        let body = Bytes::from(text);
        respond::playlist(asked.headers, body, headers, Kind::Media, outcome).into()
    }
}

/// The source's own bytes are no success, however fast they come.
fn hit(made_by: &str) -> Outcome {
    if made_by == crate::produce::SOURCE { Outcome::SourceBytes } else { Outcome::Hit }
}

/// `Cache-Control` of a media playlist: the origin's word, else as long as the edge itself believes it.
pub(super) fn media_cache_control(playlist: &SourcePlaylist) -> HeaderValue {
    if let Some(origins) = &playlist.source.cache_control {
        return origins.clone();
    }
    let value = format!("max-age={}", playlist.fresh_for.as_secs());
    HeaderValue::from_str(&value).unwrap_or(HeaderValue::from_static("no-cache"))
}
