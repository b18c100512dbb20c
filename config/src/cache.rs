//! `[cache]`: what is kept, in bytes, and for how long.

use std::time::Duration;

use crate::DepotConfig;
use crate::reader::Section;

/// Budgets and times of the caches.
#[derive(Clone, Debug, PartialEq)]
pub struct CacheConfig {
    /// Bytes of enhanced segments kept (0 to 1 TiB).
    pub budget_bytes: u64,
    /// Bytes of source segments kept (0 to 64 GiB).
    pub source_budget_bytes: u64,
    /// Bytes of source playlists kept (1 MiB to 1 GiB).
    pub playlist_budget_bytes: u64,
    /// How long a live media playlist is used again (0 s to 2 s); never more than a quarter of its target duration.
    pub live_playlist_ttl: Duration,
    /// How long a finished media playlist or a multivariant one is used again (0 s to 1 h).
    pub vod_playlist_ttl: Duration,
    /// How long what was found out about a variant (its first segment's facts) is believed (1 s to 24 h).
    pub probe_ttl: Duration,
    /// How long a variant that could not be probed is left alone (1 s to 1 h).
    pub probe_failure_ttl: Duration,
    /// Variants whose facts are kept (16 to 1 000 000).
    pub probe_entries: u64,
    /// Where enhanced segments are kept beyond memory; none: nowhere.
    pub depot: Option<DepotConfig>,
}

impl Default for CacheConfig {
    fn default() -> Self {
        Self {
            // About twelve minutes of one 2.8 Mbit/s rendition, and a quarter of the smallest box worth running this on.
            budget_bytes: 256 << 20,
            // Segments wait here between look-ahead, lead-in and fall-back; nobody needs them longer.
            source_budget_bytes: 32 << 20,
            // A two-hour playlist with 2 s segments is about 0.3 MB; this is room for fifty such.
            playlist_budget_bytes: 16 << 20,
            // An eighth of the shortest common segment (4 s): players poll every half segment at the soonest.
            live_playlist_ttl: Duration::from_millis(500),
            // It does not change, unless somebody publishes it again: then a minute is soon enough.
            vod_playlist_ttl: Duration::from_secs(60),
            // A variant's resolution and codec are fixed for a presentation; encoders are restarted now and then.
            probe_ttl: Duration::from_secs(600),
            // Long enough not to hammer an origin that fails, short enough to pick up a stream that just started.
            probe_failure_ttl: Duration::from_secs(10),
            // A few hundred bytes each: about a megabyte.
            probe_entries: 4096,
            // It needs a directory or a bucket, which nobody but the operator can name.
            depot: None,
        }
    }
}

impl CacheConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let s = Duration::from_secs;
        let config = Self {
            budget_bytes: section.size("budget_bytes", default.budget_bytes, 0..=1 << 40),
            source_budget_bytes: section.size(
                "source_budget_bytes",
                default.source_budget_bytes,
                0..=64 << 30,
            ),
            playlist_budget_bytes: section.size(
                "playlist_budget_bytes",
                default.playlist_budget_bytes,
                1 << 20..=1 << 30,
            ),
            live_playlist_ttl: section.duration("live_playlist_ttl", default.live_playlist_ttl, s(0)..=s(2)),
            vod_playlist_ttl: section.duration("vod_playlist_ttl", default.vod_playlist_ttl, s(0)..=s(3600)),
            probe_ttl: section.duration("probe_ttl", default.probe_ttl, s(1)..=s(86_400)),
            probe_failure_ttl: section.duration(
                "probe_failure_ttl",
                default.probe_failure_ttl,
                s(1)..=s(3600),
            ),
            probe_entries: section.integer("probe_entries", default.probe_entries, 16..=1_000_000),
            depot: DepotConfig::read(&section),
        };
        section.finish();
        config
    }
}
