//! What is to be enhanced, read through the rooms that serve: playlists, keys, ranges, init sections.

use std::sync::Arc;

use acuity_config::{Config, EnhancerConfig};
use acuity_enhancer::SourceInfo;
use acuity_playlist::media::{Map, MediaPlaylist};
use acuity_playlist::multivariant::{DeclaredVideo, Multivariant, Resolution};
use acuity_playlist::uri::path_and_query_of;
use bytes::Bytes;
use prometheus::Registry;
use tokio::runtime::Runtime;
use url::Url;

use crate::cli::Failure;
use crate::inputs::Inputs;
use crate::metrics::Metrics;
use crate::origin::Origins;
use crate::plan::video_rate_cap_kbps;
use crate::playlists::{Content, Playlists};
use crate::probes::facts;
use crate::rescue::Trouble;
use crate::site::{Site, Sites};

/// Variants of more lines are no source, as on the edge.
const MAX_SOURCE_LINES: u32 = 540;

/// One rendition, opened.
pub(super) struct Rendition {
    runtime: Runtime,
    site: Site,
    inputs: Inputs,
    playlist: Arc<MediaPlaylist>,
    init: Option<Bytes>,
    /// What its first segment tells.
    pub(super) facts: SourceInfo,
}

impl Rendition {
    /// Opens the playlist at `url`, picks a variant, and looks at the first segment.
    pub(super) fn open(url: &Url, config: &Config) -> Result<Self, Failure> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .worker_threads(1)
            .enable_all()
            .build()
            .map_err(Failure::running)?;
        let mut config = config.clone();
        let mut root = url.clone();
        root.set_path("/");
        root.set_query(None);
        for route in &mut config.routes {
            route.origin = root.clone();
        }
        let metrics = Arc::new(Metrics::register(&Registry::new()).map_err(Failure::running)?);
        let origins =
            Origins::new(config.origin.clone(), std::iter::once(&root), metrics).map_err(Failure::running)?;
        let (origins, sites) = (Arc::new(origins), Arc::new(Sites::new(&config.routes)));
        let playlists = Playlists::new(Arc::clone(&origins), Arc::clone(&sites), config.cache.clone());
        let inputs = Inputs::new(origins, sites, &config);
        let site = Site::default();
        let playlist = runtime.block_on(media_playlist(&playlists, &site, &path_and_query_of(url)))?;
        if let Some(obstacle) = playlist.obstacles().first() {
            return Err(Failure::Fault(format!("{url} cannot be enhanced: {}", obstacle.label())));
        }
        let init = runtime.block_on(init(&inputs, &site, &playlist))?;
        let first = runtime.block_on(clear(&inputs, &site, &playlist, 0))?;
        let facts = acuity_enhancer::probe(init.as_deref(), first, &limits(&config.enhancer))
            .map_err(|why| Failure::Fault(format!("{url} cannot be enhanced: {why}")))?;
        Ok(Self { runtime, site, inputs, playlist, init, facts })
    }

    /// Number of segments.
    pub(super) fn len(&self) -> usize {
        self.playlist.segments.len()
    }

    /// Whether the playlist says that there is nothing at this place.
    pub(super) fn is_gap(&self, at: usize) -> bool {
        self.playlist.segments.get(at).is_none_or(|segment| segment.gap)
    }

    /// Whether the last picture of a segment leads over to the first of the next.
    pub(super) fn leads_over(&self, at: usize) -> bool {
        let segments = &self.playlist.segments;
        let pair = segments.get(at).zip(segments.get(at + 1));
        pair.is_some_and(|(own, next)| own.discontinuity_sequence == next.discontinuity_sequence && !next.gap)
    }

    /// The clear bytes of a segment.
    pub(super) fn segment(&self, at: usize) -> Result<Bytes, Failure> {
        self.runtime.block_on(clear(&self.inputs, &self.site, &self.playlist, at))
    }

    /// The clear init section, if there is one.
    pub(super) fn init(&self) -> Option<&Bytes> {
        self.init.as_ref()
    }

    /// Seconds of media, as the playlist says.
    pub(super) fn seconds(&self) -> f64 {
        self.playlist.segments.iter().map(|segment| segment.duration_seconds).filter(|s| s.is_finite()).sum()
    }

    /// Pictures per 1000 seconds.
    pub(super) fn frame_rate_milli(&self) -> Result<u32, Failure> {
        self.facts
            .frame_rate_milli
            .ok_or_else(|| Failure::fault("the frame rate cannot be told from the first segment"))
    }

    /// The rate the edge would choose for a variant of which nothing but the first segment is known, at `frame_rate_milli`.
    pub(super) fn video_kbps(&self, scale: u32, frame_rate_milli: u32) -> u32 {
        let info = &self.facts;
        let resolution = Resolution { width: info.width * scale, height: info.height * scale };
        let facts = facts(&self.playlist, info);
        video_rate_cap_kbps(resolution, frame_rate_milli, None, None, &facts)
    }
}

/// A file may be larger in both ways than what a server should take from strangers; 4096 is where tokens end too.
fn limits(config: &EnhancerConfig) -> EnhancerConfig {
    EnhancerConfig { max_source_pixels: 2048 * 2048, ..config.clone() }
}

async fn media_playlist(
    playlists: &Playlists,
    site: &Site,
    path: &str,
) -> Result<Arc<MediaPlaylist>, Failure> {
    let mut path = path.to_owned();
    // A multivariant playlist leads to a media playlist; one that leads to another multivariant one is broken.
    for _ in 0..2 {
        let (playlist, _) =
            playlists.get(site, &path, None).await.map_err(|trouble| cannot_fetch(&path, &trouble))?;
        match &playlist.content {
            Content::Media(media) => return Ok(Arc::clone(media)),
            Content::Multivariant(multivariant) => path = best_variant(multivariant)?,
            Content::Other => return Err(Failure::Fault(format!("{path} is no HLS playlist"))),
        }
    }
    Err(Failure::fault("the multivariant playlist leads to no media playlist"))
}

/// The H.264 variant of at most 540 lines with the highest bandwidth.
fn best_variant(playlist: &Multivariant) -> Result<String, Failure> {
    let suits = |variant: &&acuity_playlist::multivariant::Variant| {
        let h264 = matches!(variant.declared_video(), DeclaredVideo::H264 | DeclaredVideo::Unknown);
        h264 && variant.resolution.is_none_or(|size| size.height <= MAX_SOURCE_LINES)
    };
    let best = playlist.variants.iter().filter(suits).max_by_key(|variant| variant.bandwidth_bps);
    let best = best.ok_or_else(|| {
        Failure::Fault(format!(
            "no H.264 variant of at most {MAX_SOURCE_LINES} lines among {}",
            playlist.variants.len()
        ))
    })?;
    best.target
        .edge()
        .map(str::to_owned)
        .ok_or_else(|| Failure::Fault(format!("{} is on another host; name that playlist itself", best.uri)))
}

/// The one init section of the playlist.
async fn init(inputs: &Inputs, site: &Site, playlist: &MediaPlaylist) -> Result<Option<Bytes>, Failure> {
    let same = |a: &Map, b: &Map| a.target == b.target && a.byte_range == b.byte_range;
    let Some((first, others)) = playlist.maps.split_first() else { return Ok(None) };
    if !others.iter().all(|other| same(first, other)) {
        return Err(Failure::fault(
            "the stream changes its init section on the way; enhance its parts one by one",
        ));
    }
    let init = inputs.init(site, first).await.map_err(|trouble| cannot_fetch(&first.uri, &trouble))?;
    Ok(Some(init.clear))
}

async fn clear(inputs: &Inputs, site: &Site, playlist: &MediaPlaylist, at: usize) -> Result<Bytes, Failure> {
    let segment =
        playlist.segments.get(at).ok_or_else(|| Failure::fault("the playlist lists no segments"))?;
    inputs.clear(site, segment).await.map_err(|trouble| cannot_fetch(&segment.uri, &trouble))
}

fn cannot_fetch(what: &str, trouble: &Trouble) -> Failure {
    Failure::Running(format!("cannot get {what}: {trouble}"))
}
