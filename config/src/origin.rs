//! `[origin]`: patience with origins, and how much of them one edge may ask for.

use std::time::Duration;

use crate::reader::{Refusal, Section};
use crate::upstream::{BreakerConfig, RetriesConfig};

/// Time-outs and limits toward every origin.
#[derive(Clone, Debug, PartialEq)]
pub struct OriginConfig {
    /// Until the TCP and TLS connection stands (50 ms to 60 s).
    pub connect_timeout: Duration,
    /// From the request until the response's headers (100 ms to 120 s).
    pub first_byte_timeout: Duration,
    /// For a whole playlist, key or source segment (500 ms to 600 s), at least `first_byte_timeout`. Responses that
    /// are passed through are not bound by it.
    pub total_timeout: Duration,
    /// Between two parts of a body (100 ms to 600 s), of those that are passed through too; none: `total_timeout`.
    pub idle_timeout: Option<Duration>,
    /// How long an origin may be silent, before its answer or within it, until the next is asked where a route has another
    /// that is well (100 ms to 120 s). What is passed through waits for `first_byte_timeout`.
    pub failover_after: Duration,
    /// How long a multivariant playlist waits for its variants to be probed (0 s to 30 s); those that are not ready
    /// are not offered enhanced this time.
    pub probe_timeout: Duration,
    /// Larger playlists are passed through untouched (4 KiB to 64 MiB).
    pub max_playlist_bytes: u64,
    /// Playlists of more segments are passed through untouched (100 to 1 000 000).
    pub max_playlist_segments: u32,
    /// Requests running toward all origins at one time (1 to 65 536), passed-through ones not counted.
    pub max_concurrent: usize,
    /// Passed-through requests running toward one origin at one time (1 to 1 000 000); none means a quarter of the files that the
    /// process may open.
    pub max_passed_through: Option<usize>,
    /// Redirects followed within one request (0 to 10), and only to configured origins.
    pub max_redirects: usize,
    /// `User-Agent` of the edge's own requests; none means the player's for what it asked, `acuity/VERSION` else.
    pub user_agent: Option<String>,
    /// When an origin is left alone, where a route has another.
    pub breaker: BreakerConfig,
    /// How many requests that go on to another origin may fail there too.
    pub retries: RetriesConfig,
}

impl Default for OriginConfig {
    fn default() -> Self {
        Self {
            // One lost SYN (repeated after 1 s) is survived, a dead origin is known before a player gives up.
            connect_timeout: Duration::from_secs(2),
            // Half of the 10 s that hls.js waits for a first byte; the other half is for enhancement.
            first_byte_timeout: Duration::from_secs(5),
            // A segment that takes longer than this can no longer be of use to anyone who asked.
            total_timeout: Duration::from_secs(20),
            // What flows may flow for long, and who sends nothing for that long has stopped.
            idle_timeout: None,
            // Longer than a busy origin takes, short enough that the next one's answer is still in time for a player with one segment left.
            failover_after: Duration::from_secs(2),
            // A viewer waits this long before the first picture at worst; a near origin answers in a tenth.
            probe_timeout: Duration::from_secs(2),
            // A day of 2 s segments is 4 MB; above it is no playlist.
            max_playlist_bytes: 8 << 20,
            // A day of 2 s segments is 43 200; what the edge knows of one takes half a kilobyte, far more than its line.
            max_playlist_segments: 50_000,
            // Bounds sockets and memory (a source segment each) when an origin is slow.
            max_concurrent: 128,
            // What the system allows differs by a factor of a thousand.
            max_passed_through: None,
            // Origins behind a load balancer redirect once or twice; more is a loop.
            max_redirects: 3,
            user_agent: None,
            breaker: BreakerConfig::default(),
            retries: RetriesConfig::default(),
        }
    }
}

impl OriginConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let config = Self {
            connect_timeout: section.duration("connect_timeout", default.connect_timeout, ms(50)..=s(60)),
            first_byte_timeout: section.duration(
                "first_byte_timeout",
                default.first_byte_timeout,
                ms(100)..=s(120),
            ),
            total_timeout: section.duration("total_timeout", default.total_timeout, ms(500)..=s(600)),
            idle_timeout: Some(section.duration("idle_timeout", default.total_timeout, ms(100)..=s(600)))
                .filter(|_| section.has("idle_timeout")),
            failover_after: section.duration("failover_after", default.failover_after, ms(100)..=s(120)),
            probe_timeout: section.duration("probe_timeout", default.probe_timeout, s(0)..=s(30)),
            max_playlist_bytes: section.size(
                "max_playlist_bytes",
                default.max_playlist_bytes,
                4 << 10..=64 << 20,
            ),
            max_playlist_segments: section.integer(
                "max_playlist_segments",
                default.max_playlist_segments,
                100..=1_000_000,
            ),
            max_concurrent: section.integer("max_concurrent", default.max_concurrent, 1..=65_536),
            max_passed_through: section.integer_or_auto("max_passed_through", 1..=1_000_000),
            max_redirects: section.integer("max_redirects", default.max_redirects, 0..=10),
            user_agent: section.parsed("user_agent", header_value),
            breaker: BreakerConfig::read(section.child("breaker")),
            retries: RetriesConfig::read(section.child("retries")),
        };
        for (key, part) in
            [("connect_timeout", config.connect_timeout), ("first_byte_timeout", config.first_byte_timeout)]
        {
            if part > config.total_timeout {
                let at = if section.has(key) { key } else { "total_timeout" };
                section.fault(
                    at,
                    format!("leaves `{key}` longer than `total_timeout`, which it is part of"),
                    None,
                );
            }
        }
        section.finish();
        config
    }
}

fn header_value(text: &str) -> Result<String, Refusal> {
    /// Longest `User-Agent`, in bytes.
    const VALUE_LIMIT_BYTES: usize = 256;
    if text.is_empty()
        || text.len() > VALUE_LIMIT_BYTES
        || !text.bytes().all(|byte| (b' '..=b'~').contains(&byte))
    {
        return Err(Refusal::new(format!("must be 1 to {VALUE_LIMIT_BYTES} printable ASCII characters")));
    }
    Ok(text.to_owned())
}
