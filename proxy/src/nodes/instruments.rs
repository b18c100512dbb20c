//! What a node tells operators of the others. Registered only where there are others.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::seal::Stranger;

/// What can come of asking another node for an object.
pub(super) const ASKED: [&str; 14] = [
    "fetched",
    "source_bytes",
    "late",
    "silent",
    "unreachable",
    "broken",
    "forbidden",
    "crowded",
    "private",
    "differs",
    "busy",
    "trouble",
    "stopped",
    "leaving",
];
/// What can come of being asked.
pub(super) const SERVED: [&str; 8] =
    ["given", "private", "differs", "busy", "trouble", "stopped", "leaving", "broke_off"];
/// What can come of telling another node something.
pub(super) const TOLD: [&str; 2] = ["done", "failed"];

/// Seconds; from a copy in the next rack to a segment that is made behind a queue.
const SECONDS: [f64; 11] = [0.001, 0.0025, 0.005, 0.01, 0.025, 0.1, 0.25, 0.5, 1.0, 2.5, 10.0];

#[derive(Clone)]
pub(super) struct Instruments {
    /// Requests to other nodes for objects, by what came of them.
    pub(super) asked: IntCounterVec,
    /// Until the object's first byte.
    pub(super) first_byte_seconds: Histogram,
    /// Until its last.
    pub(super) seconds: Histogram,
    /// Bytes of objects from other nodes.
    pub(super) received_bytes: IntCounter,
    /// Requests of other nodes for objects, by what came of them.
    pub(super) served: IntCounterVec,
    /// Bytes of objects to other nodes.
    pub(super) sent_bytes: IntCounter,
    /// Requests that are no node's.
    pub(super) refused: IntCounterVec,
    /// Members by state.
    pub(super) members: IntGaugeVec,
    /// Work ahead that other nodes were asked to do.
    pub(super) launches: IntCounterVec,
    /// Orders to forget that other nodes were given.
    pub(super) purges: IntCounterVec,
    /// Names of members that could not be resolved.
    pub(super) resolve_failures: IntCounter,
    /// Copies of what other nodes own.
    pub(super) hot_bytes: IntGauge,
}

impl Instruments {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters = |name: &str, help: &str, label: &str, values: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), &[label])?;
            registry.register(Box::new(counters.clone()))?;
            // A series that appears only with its first event hides that event from `rate()`.
            values.iter().for_each(|value| counters.with_label_values(&[*value]).inc_by(0));
            Ok::<_, prometheus::Error>(counters)
        };
        let counter = |name: &str, help: &str| {
            let counter = IntCounter::new(name, help)?;
            registry.register(Box::new(counter.clone()))?;
            Ok::<_, prometheus::Error>(counter)
        };
        let seconds = |name: &str, help: &str| {
            let histogram = Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))?;
            registry.register(Box::new(histogram.clone()))?;
            Ok::<_, prometheus::Error>(histogram)
        };
        let members = IntGaugeVec::new(
            Opts::new("acuity_node_members", "Other nodes of the region, by state"),
            &["state"],
        )?;
        registry.register(Box::new(members.clone()))?;
        let hot_bytes =
            IntGauge::new("acuity_node_copies_bytes", "Bytes in memory of copies of what other nodes own")?;
        registry.register(Box::new(hot_bytes.clone()))?;
        Ok(Self {
            asked: counters(
                "acuity_node_requests_total",
                "Requests to other nodes for enhanced objects, by what came of them",
                "outcome",
                &ASKED,
            )?,
            first_byte_seconds: seconds(
                "acuity_node_first_byte_seconds",
                "From a request to another node to the first byte of its object",
            )?,
            seconds: seconds(
                "acuity_node_request_seconds",
                "From a request to another node to the last byte of its object",
            )?,
            received_bytes: counter("acuity_node_received_bytes_total", "Bytes of objects from other nodes")?,
            served: counters(
                "acuity_node_served_total",
                "Requests of other nodes for enhanced objects, by what came of them",
                "outcome",
                &SERVED,
            )?,
            sent_bytes: counter("acuity_node_sent_bytes_total", "Bytes of objects to other nodes")?,
            refused: counters(
                "acuity_node_refusals_total",
                "Requests to the nodes' address that are no node's, by reason",
                "reason",
                &Stranger::ALL.map(Stranger::label),
            )?,
            members,
            launches: counters(
                "acuity_node_launches_total",
                "Segments that other nodes were asked to make ahead, by what came of it",
                "outcome",
                &TOLD,
            )?,
            purges: counters(
                "acuity_node_purges_total",
                "Purges passed on to other nodes, by what came of it",
                "outcome",
                &TOLD,
            )?,
            resolve_failures: counter(
                "acuity_node_resolve_failures_total",
                "Failed resolutions of members' names; those known before stay",
            )?,
            hot_bytes,
        })
    }
}
