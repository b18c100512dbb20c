//! The pool's own instruments.

use prometheus::{
    Histogram, HistogramOpts, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use super::far::instruments::Fars;
use super::member::End;

/// Seconds: from a spare one that was ready to a machine that is busy with other things.
const SECONDS: [f64; 11] = [0.01, 0.05, 0.1, 0.25, 0.5, 1.0, 1.5, 2.5, 5.0, 10.0, 30.0];

/// What comes of a segment that a worker was lost with, when it is asked for again.
const AGAIN: [&str; 3] = ["made", "refused", "lost"];

pub(super) struct Instruments {
    workers: IntGaugeVec,
    exits: IntCounterVec,
    pub(super) starts: IntCounter,
    pub(super) start_seconds: Histogram,
    pub(super) recovery_seconds: Histogram,
    again: IntCounterVec,
    pub(super) shunned: IntCounter,
    pub(super) resident_bytes: IntGaugeVec,
    pub(super) far: Fars,
}

impl Instruments {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let seconds = |name: &str, help: &str| {
            Histogram::with_opts(HistogramOpts::new(name, help).buckets(SECONDS.to_vec()))
        };
        let instruments = Self {
            workers: IntGaugeVec::new(
                Opts::new(
                    "acuity_workers",
                    "Worker processes: active (make segments), other (start, wait or leave)",
                ),
                &["state"],
            )?,
            exits: IntCounterVec::new(
                Opts::new("acuity_worker_exits_total", "Worker processes that ended, by reason"),
                &["reason"],
            )?,
            starts: IntCounter::new("acuity_worker_starts_total", "Worker processes that were started")?,
            start_seconds: seconds(
                "acuity_worker_start_seconds",
                "From a worker's start until it was ready",
            )?,
            recovery_seconds: seconds(
                "acuity_worker_recovery_seconds",
                "From a lost worker's last sign of life until as many made segments as should",
            )?,
            again: IntCounterVec::new(
                Opts::new(
                    "acuity_worker_again_total",
                    "Segments whose worker was lost and that were asked of another, by what came of it",
                ),
                &["outcome"],
            )?,
            shunned: IntCounter::new(
                "acuity_worker_shunned_total",
                "Requests for segments that had ended two workers and were given to none",
            )?,
            resident_bytes: IntGaugeVec::new(
                Opts::new(
                    "acuity_worker_resident_bytes",
                    "Resident memory of worker processes, by their place",
                ),
                &["worker"],
            )?,
            far: Fars::register(registry)?,
        };
        for reason in End::ALL {
            instruments.exits.with_label_values(&[reason.label()]);
        }
        for outcome in AGAIN {
            instruments.again.with_label_values(&[outcome]);
        }
        instruments.ready(0, 0);
        let gauges: [Box<IntGaugeVec>; 2] =
            [Box::new(instruments.workers.clone()), Box::new(instruments.resident_bytes.clone())];
        for gauge in gauges {
            registry.register(gauge)?;
        }
        for counters in [&instruments.exits, &instruments.again] {
            registry.register(Box::new(counters.clone()))?;
        }
        for counter in [&instruments.starts, &instruments.shunned] {
            registry.register(Box::new(counter.clone()))?;
        }
        for histogram in [&instruments.start_seconds, &instruments.recovery_seconds] {
            registry.register(Box::new(histogram.clone()))?;
        }
        Ok(instruments)
    }

    /// How many make segments, of how many that live.
    pub(super) fn ready(&self, active: usize, living: usize) {
        let show = |state, count: usize| {
            let gauge: IntGauge = self.workers.with_label_values(&[state]);
            gauge.set(i64::try_from(count).unwrap_or(i64::MAX));
        };
        show("active", active);
        show("other", living.saturating_sub(active));
    }

    pub(super) fn ended(&self, how: End) {
        self.exits.with_label_values(&[how.label()]).inc();
    }

    /// A segment was asked for again; one of [`AGAIN`].
    pub(super) fn again(&self, outcome: &'static str) {
        self.again.with_label_values(&[outcome]).inc();
    }
}
