//! What is told of a store of models. Registered only where there is one.

use std::time::{SystemTime, UNIX_EPOCH};

use acuity_models::Sha256;
use prometheus::{Gauge, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry};

use super::{Refusal, short};

/// What came of a look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Look {
    /// What is in force is what is wanted.
    Unchanged,
    /// Another catalogue is in force now.
    Taken,
    /// What is in force had files that were not what they should be, and is whole again.
    Mended,
    /// What is wanted cannot be used.
    Refused,
    /// The store did not answer, or with an error.
    Unreachable,
    /// The directory cannot be written.
    Disk,
}

impl Look {
    const ALL: [(Self, &'static str); 6] = [
        (Self::Unchanged, "unchanged"),
        (Self::Taken, "taken"),
        (Self::Mended, "mended"),
        (Self::Refused, "refused"),
        (Self::Unreachable, "unreachable"),
        (Self::Disk, "disk"),
    ];
}

/// The instruments. Clones share them.
#[derive(Clone)]
pub(super) struct Instruments {
    looks: IntCounterVec,
    refusals: IntCounterVec,
    files: IntCounterVec,
    pub(super) damaged: IntCounter,
    pub(super) fetched_bytes: IntCounter,
    success_seconds: Gauge,
    behind: IntGauge,
    info: IntGaugeVec,
}

impl Instruments {
    pub(super) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let instruments = Self::new()?;
        for collector in [&instruments.looks, &instruments.refusals, &instruments.files] {
            registry.register(Box::new(collector.clone()))?;
        }
        registry.register(Box::new(instruments.damaged.clone()))?;
        registry.register(Box::new(instruments.fetched_bytes.clone()))?;
        registry.register(Box::new(instruments.success_seconds.clone()))?;
        registry.register(Box::new(instruments.behind.clone()))?;
        registry.register(Box::new(instruments.info.clone()))?;
        Ok(instruments)
    }

    /// Without a registry: for commands, which tell what they do in words.
    pub(super) fn new() -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, label: &str| IntCounterVec::new(Opts::new(name, help), &[label]);
        let instruments = Self {
            looks: counters(
                "acuity_model_store_looks_total",
                "Looks at the store of models, by what came of them",
                "outcome",
            )?,
            refusals: counters(
                "acuity_model_store_refusals_total",
                "Catalogues of the store that were not taken, by reason",
                "reason",
            )?,
            files: counters(
                "acuity_model_store_fetches_total",
                "Files fetched from the store of models, by what came of it",
                "outcome",
            )?,
            damaged: IntCounter::new(
                "acuity_model_store_damaged_total",
                "Files in the models' directory that were not what their names say, and were dropped",
            )?,
            fetched_bytes: IntCounter::new(
                "acuity_model_store_fetched_bytes_total",
                "Bytes fetched from the store of models",
            )?,
            success_seconds: Gauge::new(
                "acuity_model_store_last_success_timestamp_seconds",
                "When the store of models last answered; the start counts",
            )?,
            behind: IntGauge::new(
                "acuity_model_store_behind",
                "Whether another catalogue is wanted than the one in use",
            )?,
            info: IntGaugeVec::new(
                Opts::new(
                    "acuity_model_catalogue_info",
                    "The catalogue in use, by the start of its digest and what was followed to it; 1",
                ),
                &["digest", "follows"],
            )?,
        };
        // A series that appears only with its first event hides that event from `rate()`.
        Look::ALL.iter().for_each(|(_, label)| instruments.looks.with_label_values(&[label]).inc_by(0));
        for label in Refusal::LABELS {
            instruments.refusals.with_label_values(&[label]).inc_by(0);
        }
        for label in FETCHES {
            instruments.files.with_label_values(&[label]).inc_by(0);
        }
        instruments.reached();
        Ok(instruments)
    }

    pub(super) fn look(&self, look: Look) {
        let label = Look::ALL.iter().find(|(word, _)| *word == look).map_or("other", |(_, label)| label);
        self.looks.with_label_values(&[label]).inc();
    }

    pub(super) fn refused(&self, refusal: &Refusal) {
        self.refusals.with_label_values(&[refusal.label()]).inc();
    }

    pub(super) fn fetched(&self, is_resumed: bool) {
        self.files.with_label_values(&[if is_resumed { "resumed" } else { "fetched" }]).inc();
    }

    pub(super) fn not_fetched(&self, refusal: &Refusal) {
        self.files.with_label_values(&[refusal.label()]).inc();
    }

    pub(super) fn reached(&self) {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.success_seconds.set(now.as_secs_f64());
    }

    pub(super) fn behind(&self, is_behind: bool) {
        self.behind.set(i64::from(is_behind));
    }

    pub(super) fn in_force(&self, digest: Option<Sha256>, follows: &str) {
        self.info.reset();
        let digest = digest.map_or_else(|| "none".to_owned(), short);
        self.info.with_label_values(&[digest.as_str(), follows]).set(1);
    }
}

/// What may come of fetching a file.
const FETCHES: [&str; 8] =
    ["fetched", "resumed", "missing", "digest", "truncated", "too_large", "unreachable", "disk"];
