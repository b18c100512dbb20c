//! What a listening worker counts of its edges, beside what the enhancer counts.

use prometheus::{IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::desk::Outcome;
use crate::tls::Distrust;

/// What becomes of those who connect, beside the reasons of [`Distrust`].
pub(super) const TRUSTED: &str = "trusted";
pub(super) const TOO_MANY: &str = "too_many";

#[derive(Clone)]
pub(crate) struct Instruments {
    pub(super) edges: IntGauge,
    pub(super) serving: IntGauge,
    handshakes: IntCounterVec,
    calls: IntCounterVec,
    resident_bytes: IntGaugeVec,
}

impl Instruments {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let instruments = Self {
            edges: IntGauge::new("acuity_worker_edges", "Connections of edges to this worker")?,
            serving: IntGauge::new(
                "acuity_worker_serving",
                "Whether this worker takes segments (1), or starts or drains (0)",
            )?,
            handshakes: IntCounterVec::new(
                Opts::new(
                    "acuity_worker_handshakes_total",
                    "Connections to this worker: trusted, or why they were refused",
                ),
                &["outcome"],
            )?,
            calls: IntCounterVec::new(
                Opts::new(
                    "acuity_worker_calls_total",
                    "Segments that edges have asked this worker for, by what came of it",
                ),
                &["outcome"],
            )?,
            resident_bytes: IntGaugeVec::new(
                Opts::new(
                    "acuity_worker_resident_bytes",
                    "Resident memory of worker processes, by their place",
                ),
                &["worker"],
            )?,
        };
        for outcome in Distrust::ALL.map(Distrust::label).into_iter().chain([TRUSTED, TOO_MANY]) {
            instruments.handshakes.with_label_values(&[outcome]);
        }
        for outcome in Outcome::ALL {
            instruments.calls.with_label_values(&[outcome.label()]);
        }
        for gauge in [&instruments.edges, &instruments.serving] {
            registry.register(Box::new(gauge.clone()))?;
        }
        for counter in [&instruments.handshakes, &instruments.calls] {
            registry.register(Box::new(counter.clone()))?;
        }
        registry.register(Box::new(instruments.resident_bytes.clone()))?;
        Ok(instruments)
    }

    pub(super) fn handshake(&self, outcome: &'static str) {
        self.handshakes.with_label_values(&[outcome]).inc();
    }

    pub(super) fn call(&self, outcome: Outcome) {
        self.calls.with_label_values(&[outcome.label()]).inc();
    }

    pub(super) fn resident(&self, bytes: u64) {
        let gauge = self.resident_bytes.with_label_values(&["listening"]);
        gauge.set(i64::try_from(bytes).unwrap_or(i64::MAX));
    }
}
