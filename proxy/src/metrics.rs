//! The proxy's own instruments. The enhancer registers its own in the same registry.
//!
//! Every label value comes from an enum or a table in this program, or from the operator's own catalogue or configuration: no stranger's URL, host or
//! session id ever becomes one, so that the number of series is fixed whatever clients and origins do.

use acuity_enhancer::{FallbackReason, Unsupported};
use acuity_playlist::PlaylistKind;
use std::time::SystemTime;

use http::StatusCode;
use prometheus::proto::MetricFamily;
use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

mod labels;

use crate::origin::OriginError;
use crate::origin::instruments::Instruments;
use crate::process::Process;
use crate::signed::Refused;
use crate::status::Recent;
use crate::wanted::Wanted;

pub use labels::{Kind, Outcome};

/// A request that is over.
#[derive(Debug, Clone, Copy)]
pub struct Ended {
    /// What it was for.
    pub kind: Kind,
    /// What came of it.
    pub outcome: Outcome,
    /// Status of the answer; none if there was no answer.
    pub status: Option<StatusCode>,
    /// From the request's headers to the answer's, if there was one.
    pub first_byte_seconds: Option<f64>,
    /// From the request's headers to the answer's end.
    pub seconds: f64,
    /// Body bytes sent.
    pub player_bytes: usize,
}

/// The instruments.
pub struct Metrics {
    /// Requests by kind and outcome.
    pub requests: IntCounterVec,
    /// Answers by kind, class of status, and whose status it is.
    pub responses: IntCounterVec,
    /// Seconds from a request's headers to those of its answer, by kind and by whether the cache had it.
    pub first_byte_seconds: HistogramVec,
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
    /// What is known of each origin.
    pub origins: Instruments,
    /// Names of origins that led only to addresses which they may not lead to.
    pub origin_addresses_refused: IntCounter,
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
    /// Playlists that hold more than is read.
    pub playlists_too_long: IntCounterVec,
    /// Requests without a good signature, by reason.
    pub signature_refusals: IntCounterVec,
    /// Purges, by what they named.
    pub purges: IntCounterVec,
    /// Objects that purges removed.
    pub purged_objects: IntCounter,
    /// Attempts of another edge to take over that came to nothing.
    pub handover_failures: IntCounter,
    /// Requests to the operators' address without its token.
    pub admin_refusals: IntCounter,
    /// Access log records that were dropped because their writer did not keep up.
    pub access_log_dropped: IntCounter,
    /// The last fall-backs, with what no label may tell.
    pub recent_fallbacks: Recent,
    process: Process,
    registry: Registry,
}

/// Seconds; from a cached segment on loopback to a cold segment behind a queue.
const REQUEST_BUCKETS: [f64; 13] =
    [0.000_5, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0];

/// What can come of work ahead.
const AHEAD_OUTCOMES: [&str; 5] = ["made", "made_and_waited_for", "stored", "source_bytes", "given_up"];

/// What the proxy adds to the enhancer's reasons for a fall-back.
pub const OWN_FALLBACK_REASONS: [&str; 16] = [
    "queue_full",
    "made_room",
    "too_late",
    "shutting_down",
    "cancelled",
    "source_unreadable",
    "opens_mid_gop",
    "codec_failed",
    "worker_lost",
    "no_worker",
    "key_unavailable",
    "key_unusable",
    "overloaded",
    "work_lost",
    "switched_off",
    "segment_too_long",
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
        let seconds = |name: &str, help: &str| -> Result<HistogramVec, prometheus::Error> {
            let options = HistogramOpts::new(name, help).buckets(REQUEST_BUCKETS.to_vec());
            let histogram = HistogramVec::new(options, &["kind", "cached"])?;
            registry.register(Box::new(histogram.clone()))?;
            Ok(histogram)
        };
        let metrics = Self {
            requests: counters(
                "acuity_requests_total",
                "Requests by kind and outcome",
                &["kind", "outcome"],
            )?,
            responses: counters(
                "acuity_responses_total",
                "Answers by kind, class of status (none: there was no answer), and whose status it is",
                &["kind", "status", "by"],
            )?,
            first_byte_seconds: seconds(
                "acuity_first_byte_seconds",
                "From request headers to the answer's headers",
            )?,
            request_seconds: seconds(
                "acuity_request_seconds",
                "From request headers to the answer's end, the transfer to the client included",
            )?,
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
            origins: Instruments::register(registry)?,
            origin_addresses_refused: counter(
                "acuity_origin_addresses_refused_total",
                "Resolutions of origins' names that gave private addresses alone, and were not followed",
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
            playlists_too_long: counters(
                "acuity_playlists_too_long_total",
                "Playlists with more segments or variants than are read, passed through as they came",
                &["kind"],
            )?,
            signature_refusals: counters(
                "acuity_signature_refusals_total",
                "Requests refused for want of a good signature, by reason",
                &["reason"],
            )?,
            purges: counters(
                "acuity_cache_purges_total",
                "Purges of the cache, by what they named",
                &["by"],
            )?,
            purged_objects: counter(
                "acuity_cache_purged_objects_total",
                "Enhanced objects that purges removed from memory",
            )?,
            handover_failures: counter(
                "acuity_handover_failures_total",
                "Attempts of another edge to take over that came to nothing: this one went on",
            )?,
            admin_refusals: counter(
                "acuity_admin_refusals_total",
                "Requests to the operators' address that did not show its token",
            )?,
            access_log_dropped: counter("acuity_access_log_dropped_total", "Access log records dropped")?,
            recent_fallbacks: Recent::default(),
            process: Process::register(registry)?,
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
            self.requests.with_label_values(&[kind.label(), Outcome::BrokeOff.label()]).inc_by(0);
            for by in ["origin", "edge"] {
                self.responses.with_label_values(&[kind.label(), "5xx", by]).inc_by(0);
            }
        }
        for outcome in OriginError::LABELS.into_iter().chain(["ok", "not_modified"]) {
            self.origin_requests.with_label_values(&[outcome]).inc_by(0);
        }
        for kind in [PlaylistKind::Multivariant, PlaylistKind::Media] {
            self.playlists_too_long.with_label_values(&[kind.label()]).inc_by(0);
        }
        for why in Refused::ALL {
            self.signature_refusals.with_label_values(&[why.label()]).inc_by(0);
        }
        for by in ["url", "prefix", "cluster", "all", "node"] {
            self.purges.with_label_values(&[by]).inc_by(0);
        }
        for outcome in AHEAD_OUTCOMES {
            self.ahead.with_label_values(&[outcome]).inc_by(0);
        }
    }

    /// A request is over.
    pub fn request(&self, ended: &Ended) {
        let Ended { kind, outcome, .. } = *ended;
        let labels = [kind.label(), if matches!(outcome, Outcome::Hit) { "yes" } else { "no" }];
        self.requests.with_label_values(&[kind.label(), outcome.label()]).inc();
        self.responses.with_label_values(&[kind.label(), class(ended.status), outcome.by()]).inc();
        if let Some(seconds) = ended.first_byte_seconds {
            self.first_byte_seconds.with_label_values(&labels).observe(seconds);
        }
        self.request_seconds.with_label_values(&labels).observe(ended.seconds);
        self.player_bytes.with_label_values(&[kind.label()]).inc_by(ended.player_bytes as u64);
    }

    /// An object is made by a lesser way, or is the source's bytes.
    pub fn fell_back(&self, wanted: &Wanted, reason: &'static str) {
        self.fallbacks.with_label_values(&[reason]).inc();
        self.recent_fallbacks.fell_back(wanted, reason, SystemTime::now());
    }

    /// Everything in the registry.
    #[must_use]
    pub fn gather(&self) -> Vec<MetricFamily> {
        self.registry.gather()
    }

    /// Everything in the registry, in Prometheus' text format.
    #[must_use]
    pub fn text(&self) -> String {
        self.process.look();
        prometheus::TextEncoder::new().encode_to_string(&self.registry.gather()).unwrap_or_default()
    }
}

/// A status' class, as a metric label.
fn class(status: Option<StatusCode>) -> &'static str {
    match status.map_or(0, |status| status.as_u16() / 100) {
        1 => "1xx",
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        5 => "5xx",
        _ => "none",
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_text_shows_series_before_their_first_event() {
        let registry = Registry::new();
        let metrics = Metrics::register(&registry).unwrap();
        let hit = Ended {
            kind: Kind::Segment,
            outcome: Outcome::Hit,
            status: Some(StatusCode::OK),
            first_byte_seconds: Some(0.000_7),
            seconds: 0.002,
            player_bytes: 700,
        };
        metrics.request(&hit);
        let gone = Ended {
            kind: Kind::Pass,
            outcome: Outcome::ClientGone,
            status: None,
            first_byte_seconds: None,
            ..hit
        };
        metrics.request(&gone);
        let text = metrics.text();
        for line in [
            "acuity_requests_total{kind=\"segment\",outcome=\"hit\"} 1",
            "acuity_player_bytes_total{kind=\"segment\"} 700",
            "acuity_requests_total{kind=\"segment\",outcome=\"broke_off\"} 0",
            "acuity_responses_total{by=\"edge\",kind=\"segment\",status=\"2xx\"} 1",
            "acuity_responses_total{by=\"edge\",kind=\"segment\",status=\"5xx\"} 0",
            "acuity_responses_total{by=\"edge\",kind=\"pass\",status=\"none\"} 1",
            "acuity_first_byte_seconds_bucket{cached=\"yes\",kind=\"segment\",le=\"0.0005\"} 0",
            "acuity_first_byte_seconds_bucket{cached=\"yes\",kind=\"segment\",le=\"0.001\"} 1",
            "acuity_request_seconds_count{cached=\"no\",kind=\"pass\"} 1",
            "acuity_origin_requests_total{outcome=\"timeout\"} 0",
            "acuity_player_bytes_total{kind=\"init\"} 0",
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
