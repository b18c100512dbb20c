//! Source playlists: fetched once for everybody who asks at one time, read once, and used again for a moment.
//!
//! How long depends on what it is: a live playlist far less than its target duration, a finished or multivariant one
//! longer, neither longer than the origin allows. When the origin is out, a media playlist stands in for a new one until
//! it is as old as its own target duration, because a player would have asked for the next one by then; after that the
//! origin's failure is passed on.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use acuity_config::CacheConfig;
use acuity_playlist::carry::carry;
use acuity_playlist::uri::follow;
use acuity_playlist::{Base, MediaPlaylist, Multivariant, PlaylistKind, is_too_long, sniff};
use http::HeaderValue;
use moka::sync::Cache;

use crate::cache::flight::Flights;
use crate::metrics::Outcome;
use crate::origin::{Fetch, Fetched, OriginError, Origins, Source};
use crate::rescue::Trouble;
use crate::route::RouteMatch;
use crate::site::{Site, Sites};

/// Playlists being fetched at one time; more than there are slots toward origins only wait.
const FLIGHTS_LIMIT: usize = 4096;

/// Reading a larger text takes more than a few milliseconds and is done off the threads that move bytes.
const LARGE_TEXT_BYTES: usize = 256 << 10;

/// A text read into what the edge decides by weighs about this much more than the text.
const WEIGHT_PER_BYTE: usize = 4;

/// Collapses requests for a playlist that the origin wants asked for each time.
const SHORTEST_TTL: Duration = Duration::from_millis(250);

/// A playlist of the origin's.
#[derive(Debug)]
pub struct SourcePlaylist {
    /// What it says.
    pub content: Content,
    /// The text, and what the origin said of it.
    pub source: Source,
    /// When the origin last said that this is it.
    pub fetched: Instant,
    /// For how long that is believed.
    pub fresh_for: Duration,
    /// It came from another URL than its edge path leads to. The text as such is then of no use to a player, who
    /// would resolve its URIs against the edge path.
    pub redirected: bool,
}

/// What a playlist says.
#[derive(Debug, Clone)]
pub enum Content {
    /// Lists variants.
    Multivariant(Arc<Multivariant>),
    /// Lists segments.
    Media(Arc<MediaPlaylist>),
    /// Is no playlist, whatever its name.
    Other,
}

impl SourcePlaylist {
    /// The media playlist, if it is one.
    #[must_use]
    pub fn media(&self) -> Option<&Arc<MediaPlaylist>> {
        match &self.content {
            Content::Media(playlist) => Some(playlist),
            Content::Multivariant(_) | Content::Other => None,
        }
    }

    fn is_fresh(&self, now: Instant) -> bool {
        now.saturating_duration_since(self.fetched) < self.fresh_for
    }

    /// Whether it may stand in for a playlist that cannot be had now.
    fn may_stand_in(&self, now: Instant) -> bool {
        let target = self.media().and_then(|playlist| target_duration(playlist));
        target.is_some_and(|target| now.saturating_duration_since(self.fetched) < target)
    }
}

/// `EXT-X-TARGETDURATION`, within reason.
#[must_use]
pub fn target_duration(playlist: &MediaPlaylist) -> Option<Duration> {
    let seconds = playlist.target_duration_seconds.filter(|seconds| (0.1..=3600.0).contains(seconds))?;
    Some(Duration::from_secs_f64(seconds))
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Key {
    site: Site,
    edge_path: String,
}

type Read = Result<Arc<SourcePlaylist>, OriginError>;

/// The origins' playlists. Clones share them.
#[derive(Clone)]
pub struct Playlists(Arc<Shared>);

struct Shared {
    origins: Arc<Origins>,
    sites: Arc<Sites>,
    kept: Cache<Key, Arc<SourcePlaylist>>,
    flights: Flights<Key, Read>,
    /// How often all was forgotten.
    forgotten: AtomicU64,
    config: CacheConfig,
}

impl Playlists {
    /// An empty cache.
    #[must_use]
    pub fn new(origins: Arc<Origins>, sites: Arc<Sites>, config: CacheConfig) -> Self {
        let kept = Cache::builder()
            .max_capacity(config.playlist_budget_bytes)
            .weigher(|key: &Key, playlist: &Arc<SourcePlaylist>| {
                let bytes = playlist.source.bytes.len() * WEIGHT_PER_BYTE + key.edge_path.len() + 2048;
                u32::try_from(bytes).unwrap_or(u32::MAX)
            })
            // What nobody asked for in ten minutes is not being watched.
            .time_to_idle(Duration::from_secs(600))
            .build();
        let (flights, forgotten) = (Flights::new(FLIGHTS_LIMIT), AtomicU64::new(0));
        Self(Arc::new(Shared { origins, sites, kept, flights, forgotten, config }))
    }

    /// Nothing that was fetched before is used again, what is being fetched now included.
    pub fn forget(&self) {
        self.0.forgotten.fetch_add(1, Ordering::SeqCst);
        self.0.flights.part_with_all();
        self.0.kept.invalidate_all();
    }

    /// The playlist at a normalised edge path (CMCD removed), and whether it is a hit, new, joined or stale.
    ///
    /// # Errors
    /// [`Trouble::Origin`] or [`Trouble::Flight`]; [`Trouble::NotListed`] where no route leads.
    pub async fn get(
        &self,
        site: &Site,
        edge_path: &str,
        user_agent: Option<&HeaderValue>,
    ) -> Result<(Arc<SourcePlaylist>, Outcome), Trouble> {
        let key = Key { site: site.clone(), edge_path: edge_path.to_owned() };
        let kept = self.0.kept.get(&key);
        if let Some(playlist) = kept.as_ref().filter(|playlist| playlist.is_fresh(Instant::now())) {
            return Ok((Arc::clone(playlist), Outcome::Hit));
        }
        let found = self.0.sites.find(site, edge_path).ok_or(Trouble::NotListed)?;
        let user_agent = user_agent.cloned();
        let joined = self.0.flights.join(
            key.clone(),
            |_| true,
            |_, _| {
                let shared = Arc::clone(&self.0);
                let kept = kept.clone();
                async move { shared.fetch(key, found, kept, user_agent).await }
            },
        );
        match joined.await.map_err(Trouble::Flight)? {
            (Ok(playlist), role) => {
                let first = matches!(role, crate::cache::flight::Role::First);
                Ok((playlist, if first { Outcome::Made } else { Outcome::Joined }))
            }
            (Err(error), _) => match kept {
                Some(playlist) if error.is_outage() && playlist.may_stand_in(Instant::now()) => {
                    Ok((playlist, Outcome::Stale))
                }
                _ => Err(Trouble::Origin(error)),
            },
        }
    }

    /// The origin's own text of a playlist at `edge_path`, for a player whose URLs begin with `prefix`. It may have come from
    /// anywhere: every URI leads where the origin means it to.
    #[must_use]
    pub fn carried(&self, site: &Site, edge_path: &str, source: &Source, prefix: &str) -> Option<String> {
        let text = std::str::from_utf8(&source.bytes).ok()?;
        let map = |url: &str| self.0.sites.edge_path_of(site, url, edge_path);
        let base = Base::new(edge_path, Some(source.url.as_str()), &map).ok()?;
        Some(carry(text, prefix, edge_path, &|uri| base.resolve(uri).edge().map(str::to_owned)))
    }

    /// As [`Self::carried`], of a text that the edge wrote to be served at `here`: its paths are the edge's own.
    #[must_use]
    pub fn carried_own(&self, site: &Site, here: &str, near: &str, text: &str, prefix: &str) -> String {
        let on_origin = |uri: &str| self.0.sites.edge_path_of(site, uri, near);
        carry(text, prefix, here, &|uri| follow(here, uri).or_else(|| on_origin(uri)))
    }

    /// The media playlist at `edge_path` as last seen, whatever its age, if `suits`; a new one otherwise. For questions
    /// whose answer does not change while the playlist slides (which key a segment has).
    ///
    /// # Errors
    /// As [`Self::get`]; [`Trouble::NotListed`] also where it is no media playlist.
    pub async fn media_that(
        &self,
        site: &Site,
        edge_path: &str,
        suits: impl Fn(&MediaPlaylist) -> bool,
    ) -> Result<Arc<MediaPlaylist>, Trouble> {
        let key = Key { site: site.clone(), edge_path: edge_path.to_owned() };
        let kept = self.0.kept.get(&key).filter(|playlist| playlist.is_recent(Instant::now()));
        if let Some(media) = kept.as_ref().and_then(|kept| kept.media()).filter(|media| suits(media)) {
            return Ok(Arc::clone(media));
        }
        let (playlist, _) = self.get(site, edge_path, None).await?;
        playlist.media().map(Arc::clone).ok_or(Trouble::NotListed)
    }
}

impl SourcePlaylist {
    /// Names of segments come round again in some live playlists, but not within six target durations.
    fn is_recent(&self, now: Instant) -> bool {
        self.media().is_some_and(|media| {
            let target = target_duration(media).unwrap_or(Duration::from_secs(2));
            media.ended || now.saturating_duration_since(self.fetched) < 6 * target
        })
    }
}

impl Shared {
    async fn fetch(
        self: Arc<Self>,
        key: Key,
        found: RouteMatch,
        kept: Option<Arc<SourcePlaylist>>,
        user_agent: Option<HeaderValue>,
    ) -> Read {
        let forgotten = self.forgotten.load(Ordering::SeqCst);
        let known =
            kept.as_ref().map(|playlist| &playlist.source.validator).filter(|known| known.is_conditional());
        let fetch = Fetch {
            url: &found.origin_url,
            route: found.route,
            listed: false,
            range: None,
            limit_bytes: self.origins.config().max_playlist_bytes,
            unless: known,
            user_agent: user_agent.as_ref(),
            text: true,
        };
        let playlist = match (self.origins.fetch(&fetch).await?, kept) {
            (Fetched::NotModified, Some(kept)) => SourcePlaylist {
                content: kept.content.clone(),
                source: kept.source.clone(),
                fetched: Instant::now(),
                fresh_for: kept.fresh_for,
                redirected: kept.redirected,
            },
            // Only an answer to a condition that was not set.
            (Fetched::NotModified, None) => return Err(OriginError::Range),
            (Fetched::New(source), _) => self.read(&key, *source).await,
        };
        let playlist = Arc::new(playlist);
        if !playlist.source.private && self.forgotten.load(Ordering::SeqCst) == forgotten {
            self.kept.insert(key.clone(), Arc::clone(&playlist));
            // Between the look and the insertion all may have been forgotten.
            if self.forgotten.load(Ordering::SeqCst) != forgotten {
                self.kept.invalidate(&key);
            }
        }
        Ok(playlist)
    }

    async fn read(self: &Arc<Self>, key: &Key, source: Source) -> SourcePlaylist {
        let redirected = source.redirected;
        let content = if source.bytes.len() > LARGE_TEXT_BYTES {
            let (shared, key, source) = (Arc::clone(self), key.clone(), source.clone());
            tokio::task::spawn_blocking(move || shared.understand(&key, &source))
                .await
                .unwrap_or(Content::Other)
        } else {
            self.understand(key, &source)
        };
        let fresh_for = fresh_for(&self.config, &content, source.max_age);
        SourcePlaylist { content, source, fetched: Instant::now(), fresh_for, redirected }
    }

    fn understand(&self, key: &Key, source: &Source) -> Content {
        let kind = sniff(&source.bytes);
        let Ok(text) = std::str::from_utf8(&source.bytes) else { return Content::Other };
        let segments_max = self.origins.config().max_playlist_segments as usize;
        if is_too_long(kind, text, segments_max) {
            self.origins.metrics().playlists_too_long.with_label_values(&[kind.label()]).inc();
            return Content::Other;
        }
        let map = |url: &str| self.sites.edge_path_of(&key.site, url, &key.edge_path);
        // Files (`acuity enhance`) have no origin that their URIs could be mapped from.
        let origin = Some(source.url.as_str()).filter(|_| source.url.scheme() != "file");
        let Ok(base) = Base::new(&key.edge_path, origin, &map) else { return Content::Other };
        match kind {
            PlaylistKind::Multivariant => Content::Multivariant(Arc::new(Multivariant::parse(text, &base))),
            PlaylistKind::Media => {
                Content::Media(Arc::new(MediaPlaylist::parse(text, &base, &BTreeMap::new())))
            }
            PlaylistKind::NotAPlaylist => Content::Other,
        }
    }
}

/// How long a playlist of this kind is believed, if the origin allows it `max_age`.
fn fresh_for(config: &CacheConfig, content: &Content, max_age: Option<Duration>) -> Duration {
    let own = match content {
        Content::Media(playlist) if !playlist.ended => {
            let target = target_duration(playlist).unwrap_or(Duration::from_secs(2));
            return config.live_playlist_ttl.min(target / 4);
        }
        Content::Media(_) | Content::Multivariant(_) => config.vod_playlist_ttl,
        Content::Other => SHORTEST_TTL,
    };
    own.min(max_age.unwrap_or(own).max(SHORTEST_TTL))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::origin::Validator;

    const MS: fn(u64) -> Duration = Duration::from_millis;

    fn media(target_seconds: u32, ended: bool) -> Content {
        let end = if ended { "#EXT-X-ENDLIST\n" } else { "" };
        let text = format!("#EXTM3U\n#EXT-X-TARGETDURATION:{target_seconds}\n#EXTINF:1,\na.ts\n{end}");
        let map = |_: &str| None;
        let base = Base::new("/a.m3u8", None, &map).unwrap();
        Content::Media(Arc::new(MediaPlaylist::parse(text, &base, &BTreeMap::new())))
    }

    fn fetched(content: Content, fresh_for: Duration) -> SourcePlaylist {
        let source = Source {
            bytes: "#EXTM3U\n".into(),
            validator: Validator::default(),
            content_type: None,
            cache_control: None,
            max_age: None,
            private: false,
            cluster: None,
            url: "http://o.example/a.m3u8".parse().unwrap(),
            redirected: false,
        };
        SourcePlaylist { content, source, fetched: Instant::now(), fresh_for, redirected: false }
    }

    #[test]
    fn live_playlists_are_believed_far_below_their_target_duration() {
        let config = CacheConfig::default(); // 0.5 s live, 60 s finished
        let hour = Some(Duration::from_secs(3600));
        for (content, max_age, expected) in [
            (media(6, false), None, MS(500)),
            (media(6, false), hour, MS(500)),
            (media(1, false), None, MS(250)),
            (media(6, true), None, MS(60_000)),
            (media(6, true), hour, MS(60_000)),
            (media(6, true), Some(MS(5000)), MS(5000)),
            (media(6, true), Some(MS(0)), SHORTEST_TTL),
            (Content::Other, hour, SHORTEST_TTL),
        ] {
            assert_eq!(fresh_for(&config, &content, max_age), expected, "{content:?} {max_age:?}");
        }
    }

    #[test]
    fn a_media_playlist_stands_in_until_it_is_as_old_as_its_target_duration() {
        let live = fetched(media(4, false), MS(500));
        let at = |ms| live.fetched + MS(ms);
        assert!(live.is_fresh(at(499)) && !live.is_fresh(at(500)));
        assert!(live.may_stand_in(at(3999)) && !live.may_stand_in(at(4000)));
        assert!(live.is_recent(at(23_999)) && !live.is_recent(at(24_000)));
        let finished = fetched(media(4, true), MS(500));
        assert!(finished.is_recent(finished.fetched + MS(10_000_000)), "it cannot change");
        let other = fetched(Content::Other, MS(500));
        assert!(!other.may_stand_in(other.fetched), "nothing tells how long it would be of use");
    }
}
