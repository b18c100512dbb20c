//! What is counted of origins. The label `origin` is a URL of the configuration, nobody else's.

use std::collections::BTreeSet;
use std::sync::{Arc, Mutex, PoisonError};

use prometheus::{IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

/// The instruments. Clones share them.
#[derive(Debug, Clone)]
pub struct Instruments {
    up: IntGaugeVec,
    breaker: IntGaugeVec,
    opened: IntCounterVec,
    attempts: IntCounterVec,
    retries: IntCounterVec,
    skipped: IntCounterVec,
    probes: IntCounterVec,
    checks: IntCounterVec,
    passing: IntGaugeVec,
    full: IntCounterVec,
    exhausted: IntCounter,
    /// Origins that are shown.
    shown: Arc<Mutex<BTreeSet<String>>>,
}

/// Why a request goes on to another origin: what the first did, or that it had no room.
const RETRY_REASONS: [&str; 6] = ["timeout", "unreachable", "broken", "status_5xx", "status_4xx", "full"];
/// What is no failure is an answer.
const ATTEMPT_OUTCOMES: [&str; 5] = ["ok", "timeout", "unreachable", "broken", "status_5xx"];
const SKIP_REASONS: [&str; 2] = ["breaker", "check"];
const OUTCOMES: [&str; 2] = ["ok", "failed"];

impl Instruments {
    /// Registers them.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let gauges = |name: &str, help: &str| {
            let gauges = IntGaugeVec::new(Opts::new(name, help), &["origin"])?;
            registry.register(Box::new(gauges.clone()))?;
            Ok::<_, prometheus::Error>(gauges)
        };
        let counters = |name: &str, help: &str, labels: &[&str]| {
            let counters = IntCounterVec::new(Opts::new(name, help), labels)?;
            registry.register(Box::new(counters.clone()))?;
            Ok::<_, prometheus::Error>(counters)
        };
        let exhausted = IntCounter::new(
            "acuity_origin_retry_budget_exhausted_total",
            "Requests that were not made again at another origin, because too many such had failed",
        )?;
        registry.register(Box::new(exhausted.clone()))?;
        Ok(Self {
            up: gauges(
                "acuity_origin_up",
                "Whether an origin is well: its breaker is closed and its checks pass",
            )?,
            breaker: gauges(
                "acuity_origin_breaker_state",
                "An origin's breaker: 0 closed, 1 being probed, 2 open",
            )?,
            opened: counters(
                "acuity_origin_breaker_opened_total",
                "Times that an origin was found to fail, and left alone",
                &["origin"],
            )?,
            attempts: counters(
                "acuity_origin_attempts_total",
                "What was asked of an origin, passed-through requests included, by what came of it",
                &["origin", "outcome"],
            )?,
            retries: counters(
                "acuity_origin_retries_total",
                "Requests that went on to another origin, by the one that did not serve them and why",
                &["origin", "reason"],
            )?,
            skipped: counters(
                "acuity_origin_skipped_total",
                "Requests that went elsewhere at once, by the origin that would have had them and why",
                &["origin", "reason"],
            )?,
            probes: counters(
                "acuity_origin_probes_total",
                "Probes of origins that were left alone",
                &["origin", "outcome"],
            )?,
            checks: counters(
                "acuity_origin_checks_total",
                "Health checks of origins",
                &["origin", "outcome"],
            )?,
            passing: gauges(
                "acuity_origin_passing_requests",
                "Requests that are passed through to an origin now",
            )?,
            full: counters(
                "acuity_origin_full_total",
                "Requests for which an origin had no room (origin.max_passed_through)",
                &["origin"],
            )?,
            exhausted,
            shown: Arc::default(),
        })
    }

    /// Shows these origins, and no others any more.
    pub(super) fn keep<'a>(&self, origins: impl Iterator<Item = &'a str>) {
        let wanted: BTreeSet<String> = origins.map(str::to_owned).collect();
        let mut shown = self.shown.lock().unwrap_or_else(PoisonError::into_inner);
        for gone in shown.difference(&wanted) {
            self.forget(gone);
        }
        // A series that appears only with its first event hides that event from `rate()`.
        for origin in wanted.difference(&shown) {
            self.opened.with_label_values(&[origin]).inc_by(0);
            self.full.with_label_values(&[origin]).inc_by(0);
            self.passing.with_label_values(&[origin]).set(0);
            for (counters, values) in self.labelled() {
                values
                    .iter()
                    .for_each(|value| counters.with_label_values(&[origin.as_str(), value]).inc_by(0));
            }
        }
        *shown = wanted;
    }

    fn forget(&self, origin: &str) {
        // Those that never counted anything are not there.
        for gauges in [&self.up, &self.breaker, &self.passing] {
            let _ = gauges.remove_label_values(&[origin]);
        }
        for counters in [&self.opened, &self.full] {
            let _ = counters.remove_label_values(&[origin]);
        }
        for (counters, values) in self.labelled() {
            for value in values {
                let _ = counters.remove_label_values(&[origin, value]);
            }
        }
    }

    /// Counters of two labels, and the values of the second.
    fn labelled(&self) -> [(&IntCounterVec, Vec<&'static str>); 5] {
        [
            (&self.attempts, ATTEMPT_OUTCOMES.to_vec()),
            (&self.retries, RETRY_REASONS.to_vec()),
            (&self.skipped, SKIP_REASONS.to_vec()),
            (&self.probes, OUTCOMES.to_vec()),
            (&self.checks, OUTCOMES.to_vec()),
        ]
    }

    pub(super) fn state(&self, origin: &str, is_up: bool, breaker: i64) {
        // Requests that began before a reload end after it: what is said of an origin that is gone would stay for ever.
        if !self.shown.lock().unwrap_or_else(PoisonError::into_inner).contains(origin) {
            return;
        }
        self.up.with_label_values(&[origin]).set(i64::from(is_up));
        self.breaker.with_label_values(&[origin]).set(breaker);
    }

    pub(super) fn opened(&self, origin: &str) {
        self.opened.with_label_values(&[origin]).inc();
    }

    pub(super) fn attempt(&self, origin: &str, outcome: &str) {
        self.attempts.with_label_values(&[origin, outcome]).inc();
    }

    pub(super) fn retried(&self, origin: &str, why: &str) {
        self.retries.with_label_values(&[origin, why]).inc();
    }

    pub(super) fn skipped(&self, origin: &str, why: &str) {
        self.skipped.with_label_values(&[origin, why]).inc();
    }

    pub(super) fn probed(&self, origin: &str, well: bool) {
        self.probes.with_label_values(&[origin, OUTCOMES[usize::from(!well)]]).inc();
    }

    pub(super) fn checked(&self, origin: &str, well: bool) {
        self.checks.with_label_values(&[origin, OUTCOMES[usize::from(!well)]]).inc();
    }

    pub(super) fn full(&self, origin: &str) {
        self.full.with_label_values(&[origin]).inc();
    }

    pub(super) fn exhausted(&self) {
        self.exhausted.inc();
    }

    /// A request is passed through until what this gives is dropped.
    pub(super) fn passing(&self, origin: &str) -> Passing {
        let gauge = self.passing.with_label_values(&[origin]);
        gauge.inc();
        Passing(gauge)
    }
}

/// A request that is passed through.
pub struct Passing(IntGauge);

impl Drop for Passing {
    fn drop(&mut self) {
        self.0.dec();
    }
}
