//! What a variant really is: its media playlist and one segment, looked at once and believed for a while.
//!
//! A multivariant playlist waits for its variants' probes, but not long; those that are not ready go on behind and are
//! there for the next one who asks.

use std::sync::Arc;
use std::time::{Duration, Instant};

use acuity_config::{CacheConfig, EnhancerConfig};
use acuity_enhancer::{ContainerKind, SourceInfo, Unsupported};
use acuity_playlist::media::{MediaPlaylist, Segment};
use bytes::Bytes;
use moka::Expiry;
use moka::sync::Cache;
use tokio::time::timeout;

use crate::cache::flight::Flights;
use crate::inputs::Inputs;
use crate::limits::clients::Slot;
use crate::plan::{Container, Probe, Refusal, SourceFacts};
use crate::playlists::Playlists;
use crate::rescue::Trouble;
use crate::site::Site;

/// Probes running at one time; each costs an origin a playlist and a segment.
const FLIGHTS_LIMIT: usize = 256;

/// A variant, as probes are kept by.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Variant {
    /// Under which name of the edge.
    pub site: Site,
    /// Edge path and query of its media playlist.
    pub playlist: String,
}

/// Facts about variants, by media playlist. Clones share them.
#[derive(Clone)]
pub struct Probes(Arc<Shared>);

struct Shared {
    playlists: Playlists,
    inputs: Inputs,
    limits: EnhancerConfig,
    known: Cache<Variant, Arc<Probe>>,
    flights: Flights<Variant, Arc<Probe>>,
}

/// A failure is forgotten sooner than a fact.
struct Patience {
    ready: Duration,
    refused: Duration,
}

impl Expiry<Variant, Arc<Probe>> for Patience {
    fn expire_after_create(&self, _: &Variant, probe: &Arc<Probe>, _: Instant) -> Option<Duration> {
        Some(match **probe {
            Probe::Ready(_) => self.ready,
            Probe::Refused(_) => self.refused,
        })
    }
}

impl Probes {
    /// No facts yet.
    #[must_use]
    pub fn new(playlists: Playlists, inputs: Inputs, limits: EnhancerConfig, config: &CacheConfig) -> Self {
        let known = Cache::builder()
            .max_capacity(config.probe_entries)
            .expire_after(Patience { ready: config.probe_ttl, refused: config.probe_failure_ttl })
            .build();
        Self(Arc::new(Shared { playlists, inputs, limits, known, flights: Flights::new(FLIGHTS_LIMIT) }))
    }

    /// Whether it is known or being found out what is at `playlist`.
    #[must_use]
    pub fn has(&self, site: &Site, playlist: &str) -> bool {
        let key = Variant { site: site.clone(), playlist: playlist.to_owned() };
        self.0.known.contains_key(&key) || self.0.flights.has(&key)
    }

    /// What is known of the media playlist at `playlist` (edge path and query), or can be found out within `patience`. `slot`: the client's
    /// leave to have that done, held until it is; without one only what is known or on its way is told.
    pub async fn get(&self, site: &Site, playlist: &str, patience: Duration, slot: Option<Slot>) -> Probe {
        let key = Variant { site: site.clone(), playlist: playlist.to_owned() };
        if let Some(probe) = self.0.known.get(&key) {
            return (*probe).clone();
        }
        if slot.is_none() && !self.0.flights.has(&key) {
            return Probe::Refused(Refusal::ClientLimit);
        }
        let flight = self.0.flights.join(
            key.clone(),
            |_| true,
            |_, _| {
                let shared = Arc::clone(&self.0);
                async move {
                    let _slot = slot;
                    let probe = Arc::new(shared.probe(&key).await.map_or_else(Probe::Refused, Probe::Ready));
                    shared.known.insert(key, Arc::clone(&probe));
                    probe
                }
            },
        );
        match timeout(patience, flight).await {
            Ok(Ok((probe, _))) => (*probe).clone(),
            Ok(Err(_)) | Err(_) => Probe::Refused(Refusal::ProbeTimeout),
        }
    }
}

impl Shared {
    async fn probe(&self, variant: &Variant) -> Result<SourceFacts, Refusal> {
        let Sample { playlist, init, clear } = Sample::take(&self.playlists, &self.inputs, variant).await?;
        let limits = self.limits.clone();
        let probed =
            tokio::task::spawn_blocking(move || acuity_enhancer::probe(init.as_deref(), clear, &limits))
                .await;
        let info = probed.map_err(|_| Refusal::SegmentUnreadable)?.map_err(unsupported)?;
        Ok(facts(&playlist, &info))
    }
}

/// One segment of a variant, ready to be looked at.
pub struct Sample {
    /// The media playlist it is from.
    pub playlist: Arc<MediaPlaylist>,
    /// The clear initialisation section, if there is one.
    pub init: Option<Bytes>,
    /// The clear segment.
    pub clear: Bytes,
}

impl Sample {
    /// Fetches one; what was fetched a moment ago is not fetched again.
    ///
    /// # Errors
    /// Why the variant is not enhanced.
    pub async fn take(playlists: &Playlists, inputs: &Inputs, variant: &Variant) -> Result<Self, Refusal> {
        let Variant { site, playlist } = variant;
        let (playlist, _) = playlists.get(site, playlist, None).await.map_err(|_| Refusal::OriginFailed)?;
        let playlist = Arc::clone(playlist.media().ok_or(Refusal::NotAPlaylist)?);
        if let Some(obstacle) = playlist.obstacles().first() {
            return Err(Refusal::Playlist(*obstacle));
        }
        if !playlist.segments.iter().all(|segment| segment.gap || inputs.takes(segment)) {
            return Err(Refusal::SegmentTooLong);
        }
        let segment = telling_segment(&playlist).ok_or(Refusal::OriginFailed)?;
        let clear = inputs.clear(site, segment).await.map_err(|trouble| refusal(&trouble))?;
        let init = match &segment.map {
            Some(map) => Some(inputs.init(site, map).await.map_err(|trouble| refusal(&trouble))?.clear),
            None => None,
        };
        Ok(Self { playlist, init, clear })
    }
}

/// The segment to look at: one that players will ask for next, so that it is looked at and enhanced with one fetch, and
/// that does not leave a sliding window while it is being fetched.
fn telling_segment(playlist: &MediaPlaylist) -> Option<&Segment> {
    let first = playlist.probe_segment();
    if playlist.ended {
        return first;
    }
    // Players start three target durations from the end of a live playlist (RFC 8216, section 6.3.3).
    let late = playlist.segments.len().checked_sub(3).and_then(|at| playlist.segments.get(at));
    late.filter(|segment| !segment.gap && segment.target.edge().is_some()).or(first)
}

/// What a plan needs to know of a source, from its playlist and one segment.
pub(crate) fn facts(playlist: &MediaPlaylist, info: &SourceInfo) -> SourceFacts {
    let target = playlist.target_duration_seconds.unwrap_or(info.media_seconds);
    SourceFacts {
        width: info.width,
        height: info.height,
        frame_rate_milli: info.frame_rate_milli,
        container: match info.container {
            ContainerKind::Ts => Container::Ts,
            ContainerKind::Fmp4 => Container::Fmp4,
        },
        video_bits_per_second: info.video_bits_per_second,
        other_bits_per_second: info.other_bits_per_second,
        target_duration_seconds: target,
        shortest_segment_seconds: playlist.counted_segment_seconds().map_or(target, |(shortest, _)| shortest),
    }
}

fn refusal(trouble: &Trouble) -> Refusal {
    match trouble {
        Trouble::Key(_) | Trouble::Crypt(_) => Refusal::Encrypted,
        Trouble::Origin(crate::origin::OriginError::TooLarge { .. }) => Refusal::TooLarge,
        Trouble::Origin(_)
        | Trouble::Enhance(_)
        | Trouble::Flight(_)
        | Trouble::NotListed
        | Trouble::SwitchedOff
        | Trouble::Private
        | Trouble::TooLong => Refusal::OriginFailed,
    }
}

fn unsupported(why: Unsupported) -> Refusal {
    match why {
        Unsupported::NoVideo => Refusal::NoVideo,
        Unsupported::NotH264 => Refusal::NotH264,
        Unsupported::BitDepth => Refusal::BitDepth,
        Unsupported::Chroma => Refusal::Chroma,
        Unsupported::Interlaced => Refusal::Interlaced,
        Unsupported::Encrypted => Refusal::Encrypted,
        Unsupported::TooLarge => Refusal::TooLarge,
        Unsupported::Unreadable => Refusal::SegmentUnreadable,
    }
}
