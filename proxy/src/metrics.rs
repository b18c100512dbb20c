//! The proxy's own instruments. The enhancer registers its own in the same registry.
//!
//! Every label value comes from an enum or a table in this program, or from the operator's own catalogue: no URL, host or
//! session id ever becomes one, so that the number of series is fixed whatever clients and origins do.

use acuity_enhancer::{FallbackReason, Unsupported};
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

/// What a request was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Kind {
    /// A playlist outside the edge's own prefix that turned out to be multivariant.
    Multivariant,
    /// Any other playlist.
    Media,
    /// An enhanced segment.
    Segment,
    /// An enhanced rendition's initialisation segment.
    Init,
    /// A network's file or its description.
    Model,
    /// Anything passed through.
    Pass,
    /// A CORS preflight answered here.
    Preflight,
    /// A request that the edge refuses itself (no route, bad path).
    Refused,
}

impl Kind {
    /// Every kind.
    pub const ALL: [Self; 8] = [
        Self::Multivariant,
        Self::Media,
        Self::Segment,
        Self::Init,
        Self::Model,
        Self::Pass,
        Self::Preflight,
        Self::Refused,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Multivariant => "multivariant",
            Self::Media => "media",
            Self::Segment => "segment",
            Self::Init => "init",
            Self::Model => "model",
            Self::Pass => "pass",
            Self::Preflight => "preflight",
            Self::Refused => "refused",
        }
    }
}

/// What came of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Outcome {
    /// From the cache, without asking anybody.
    Hit,
    /// From the cache, after the origin said that it is still true.
    Revalidated,
    /// Made for this request.
    Made,
    /// Made for a request that came earlier and was still waiting.
    Joined,
    /// The source's own bytes, because enhancement was not possible.
    SourceBytes,
    /// From the cache although out of date, because the origin is out.
    Stale,
    /// Streamed from the origin.
    Passed,
    /// Answered at the edge without origin or cache.
    Local,
    /// An error of the origin's, passed on.
    OriginError,
    /// The client left before its answer was complete.
    ClientGone,
}

impl Outcome {
    /// Every outcome.
    pub const ALL: [Self; 10] = [
        Self::Hit,
        Self::Revalidated,
        Self::Made,
        Self::Joined,
        Self::SourceBytes,
        Self::Stale,
        Self::Passed,
        Self::Local,
        Self::OriginError,
        Self::ClientGone,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Hit => "hit",
            Self::Revalidated => "revalidated",
            Self::Made => "made",
            Self::Joined => "joined",
            Self::SourceBytes => "source_bytes",
            Self::Stale => "stale",
            Self::Passed => "passed",
            Self::Local => "local",
            Self::OriginError => "origin_error",
            Self::ClientGone => "client_gone",
        }
    }
}

/// The instruments.
pub struct Metrics {
    /// Requests by kind and outcome.
    pub requests: IntCounterVec,
    /// Seconds from a request's headers to the end of its answer, by kind and by whether the cache had it.
    pub request_seconds: HistogramVec,
    /// Requests for enhanced objects that the cache answered.
    pub cache_hits: IntCounter,
    /// Requests for enhanced objects that it did not.
    pub cache_misses: IntCounter,
    /// Bytes of enhanced objects in memory.
    pub cache_bytes: IntGauge,
    /// Enhanced objects in memory.
    pub cache_entries: IntGauge,
    /// Objects being made now.
    pub flights: IntGauge,
    /// Body bytes from origins, passed-through ones included.
    pub origin_bytes: IntCounter,
    /// The edge's own requests to origins.
    pub origin_requests: IntCounterVec,
    /// Body bytes to players.
    pub player_bytes: IntCounterVec,
    /// Enhanced segments that are less than their rendition asked for, by reason.
    pub fallbacks: IntCounterVec,
    /// Variants that were not offered enhanced, by reason, once for each multivariant playlist answered.
    pub variants_refused: IntCounterVec,
    /// Variants that were.
    pub variants_offered: IntCounter,
    /// Multivariant playlists planned, by who named the stream's cluster, which is used, and whether that is less than was meant.
    pub cluster_choices: IntCounterVec,
    /// Segments produced ahead of their request, by what came of it.
    pub ahead: IntCounterVec,
    /// Access log records that were dropped because their writer did not keep up.
    pub access_log_dropped: IntCounter,
    /// Resident memory of the process.
    pub resident_bytes: IntGauge,
    registry: Registry,
}

/// Seconds; from a cached segment on loopback to a cold segment behind a queue.
const REQUEST_BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What the proxy adds to the enhancer's reasons for a fall-back.
pub const OWN_FALLBACK_REASONS: [&str; 12] = [
    "queue_full",
    "made_room",
    "shutting_down",
    "cancelled",
    "source_unreadable",
    "opens_mid_gop",
    "codec_failed",
    "worker_lost",
    "key_unavailable",
    "key_unusable",
    "overloaded",
    "work_lost",
];

impl Metrics {
    /// Registers everything in `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let build = IntGaugeVec::new(
            Opts::new("acuity_build_info", "Always 1; the version is the label"),
            &["version"],
        )?;
        registry.register(Box::new(build.clone()))?;
        build.with_label_values(&[env!("CARGO_PKG_VERSION")]).set(1);
        let counter = |name: &str, help: &str| -> Result<IntCounter, prometheus::Error> {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok(counter)
        };
        let counters =
            |name: &str, help: &str, labels: &[&str]| -> Result<IntCounterVec, prometheus::Error> {
                let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
                registry.register(Box::new(counters.clone()))?;
                Ok(counters)
            };
        let gauge = |name: &str, help: &str| -> Result<IntGauge, prometheus::Error> {
            let gauge = IntGauge::new(name, help)?;
            registry.register(Box::new(gauge.clone()))?;
            Ok(gauge)
        };
        let request_seconds = HistogramVec::new(
            HistogramOpts::new("acuity_request_seconds", "From request headers to the answer's end")
                .buckets(REQUEST_BUCKETS.to_vec()),
            &["kind", "cached"],
        )?;
        registry.register(Box::new(request_seconds.clone()))?;
        let metrics = Self {
            requests: counters(
                "acuity_requests_total",
                "Requests by kind and outcome",
                &["kind", "outcome"],
            )?,
            request_seconds,
            cache_hits: counter("acuity_cache_hits_total", "Enhanced objects answered from memory")?,
            cache_misses: counter("acuity_cache_misses_total", "Enhanced objects that were not in memory")?,
            cache_bytes: gauge("acuity_cache_bytes", "Bytes of enhanced objects in memory")?,
            cache_entries: gauge("acuity_cache_entries", "Enhanced objects in memory")?,
            flights: gauge("acuity_flights", "Enhanced objects being made now")?,
            origin_bytes: counter("acuity_origin_bytes_total", "Body bytes received from origins")?,
            origin_requests: counters(
                "acuity_origin_requests_total",
                "The edge's own requests to origins",
                &["outcome"],
            )?,
            player_bytes: counters("acuity_player_bytes_total", "Body bytes sent to players", &["kind"])?,
            fallbacks: counters(
                "acuity_fallbacks_total",
                "Enhanced segments made by a lesser way, by reason",
                &["reason"],
            )?,
            variants_refused: counters(
                "acuity_variants_refused_total",
                "Variants not offered enhanced, by reason, per multivariant playlist answered",
                &["reason"],
            )?,
            variants_offered: counter(
                "acuity_variants_offered_total",
                "Enhanced variants offered, summed over multivariant playlists answered",
            )?,
            cluster_choices: counters(
                "acuity_cluster_choices_total",
                "Multivariant playlists, by who named the cluster, the cluster used, and why it is less than was named",
                &["by", "cluster", "fallback"],
            )?,
            ahead: counters("acuity_ahead_total", "Segments produced ahead of their request", &["outcome"])?,
            access_log_dropped: counter("acuity_access_log_dropped_total", "Access log records dropped")?,
            resident_bytes: gauge("process_resident_memory_bytes", "Resident memory of the process")?,
            registry: registry.clone(),
        };
        metrics.show_zeros();
        Ok(metrics)
    }

    /// A series that appears only with its first event hides that event from `rate()`.
    fn show_zeros(&self) {
        let enhancers = FallbackReason::ALL.iter().map(|reason| reason.label());
        let unsupported = Unsupported::ALL.iter().map(|reason| reason.label());
        for reason in OWN_FALLBACK_REASONS.into_iter().chain(enhancers).chain(unsupported) {
            self.fallbacks.with_label_values(&[reason]).inc_by(0);
        }
        for kind in Kind::ALL {
            self.player_bytes.with_label_values(&[kind.label()]).inc_by(0);
        }
    }

    /// A request is over.
    pub fn request(&self, kind: Kind, outcome: Outcome, seconds: f64, player_bytes: usize) {
        let cached = if matches!(outcome, Outcome::Hit) { "yes" } else { "no" };
        self.requests.with_label_values(&[kind.label(), outcome.label()]).inc();
        self.request_seconds.with_label_values(&[kind.label(), cached]).observe(seconds);
        self.player_bytes.with_label_values(&[kind.label()]).inc_by(player_bytes as u64);
    }

    /// Everything in the registry, in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        self.resident_bytes.set(resident_bytes().unwrap_or(0));
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// Resident set size from `/proc` (Linux); `None` elsewhere.
fn resident_bytes() -> Option<i64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    Some(kib * 1024)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_series_before_their_first_event() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        metrics.request(Kind::Segment, Outcome::Hit, 0.002, 700);
        let text = metrics.text();
        for line in [
            "acuity_requests_total{kind=\"segment\",outcome=\"hit\"} 1",
            "acuity_player_bytes_total{kind=\"segment\"} 700",
            "acuity_player_bytes_total{kind=\"pass\"} 0",
            "acuity_fallbacks_total{reason=\"deadline_short\"} 0",
            "acuity_fallbacks_total{reason=\"queue_full\"} 0",
            "acuity_cache_hits_total 0",
        ] {
            assert!(text.lines().any(|found| found == line), "{line}\n{text}");
        }
        assert!(Metrics::register(&registry).is_err(), "names are taken once");
    }

    #[test]
    fn labels_are_distinct() {
        let kinds: std::collections::HashSet<_> = Kind::ALL.iter().map(|kind| kind.label()).collect();
        let outcomes: std::collections::HashSet<_> =
            Outcome::ALL.iter().map(|outcome| outcome.label()).collect();
        assert_eq!((kinds.len(), outcomes.len()), (Kind::ALL.len(), Outcome::ALL.len()));
    }
}
