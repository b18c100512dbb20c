//! What the guard tells Prometheus. Labels are from fixed lists or the operator's catalogue.

use acuity_enhancer::CompareError;
use acuity_models::Task;
use prometheus::{GaugeVec, IntCounterVec, IntGaugeVec, Opts, Registry};

use super::book::{ModelName, Standing};
use super::counterpart::NoCounterpart;

/// Outcomes of a check that neither playlists nor the enhancer have a word for: it was made and the model was better or worse
/// than what would be used in its place; the rendition's counterpart is not known (another edge made the playlist); the
/// origin did not give it; it is encrypted in a way the edge cannot undo.
const OWN_OUTCOMES: [&str; 5] = ["won", "lost", "no_counterpart", "origin_failed", "encrypted"];

/// Those of what is judged by its source alone.
const OWN_OUTCOMES_ALONE: [&str; 2] = ["won", "lost"];

/// The guard's metrics.
#[derive(Clone)]
pub struct Instruments {
    checks: IntCounterVec,
    gain_db: GaugeVec,
    stopped: IntGaugeVec,
}

impl Instruments {
    /// Registers everything in `registry`.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let instruments = Self {
            checks: IntCounterVec::new(
                Opts::new(
                    "acuity_guard_checks_total",
                    "Segments checked against what the origin shows, by the models' task and what came of it",
                ),
                &["task", "outcome"],
            )?,
            gain_db: GaugeVec::new(
                Opts::new(
                    "acuity_guard_gain_db",
                    "Mean luma PSNR of a specialised model over another way, against what the origin shows",
                ),
                &["task", "cluster", "scale", "tier", "over"],
            )?,
            stopped: IntGaugeVec::new(
                Opts::new(
                    "acuity_guard_stopped",
                    "1 where a specialised model lost and is not used any more, 0 once there is another",
                ),
                &["task", "cluster", "scale", "tier"],
            )?,
        };
        registry.register(Box::new(instruments.checks.clone()))?;
        registry.register(Box::new(instruments.gain_db.clone()))?;
        registry.register(Box::new(instruments.stopped.clone()))?;
        // A series that appears only with its first event hides that event from `rate()`.
        let enlarging = OWN_OUTCOMES.into_iter().chain(NoCounterpart::LABELS).chain(CompareError::LABELS);
        let interpolating = OWN_OUTCOMES_ALONE.into_iter().chain(CompareError::LABELS);
        for (task, outcome) in enlarging
            .map(|outcome| (Task::Upscale, outcome))
            .chain(interpolating.map(|outcome| (Task::Interpolate, outcome)))
        {
            instruments.checks.with_label_values(&[task.label(), outcome]).inc_by(0);
        }
        Ok(instruments)
    }

    pub(super) fn check(&self, task: Task, outcome: &str) {
        self.checks.with_label_values(&[task.label(), outcome]).inc();
    }

    pub(super) fn standing(&self, name: &ModelName, standing: &Standing) {
        let (scale, tier) = (name.scale.to_string(), name.tier.label());
        let set = |over, gain_db| {
            let labels = [name.task.label(), name.cluster.as_str(), scale.as_str(), tier, over];
            self.gain_db.with_label_values(&labels).set(gain_db);
        };
        set("plain", standing.over_plain_db);
        if let Some(gain_db) = standing.over_generic_db {
            set("generic", gain_db);
        }
        self.stopped(name, false);
    }

    pub(super) fn stopped(&self, name: &ModelName, is_stopped: bool) {
        let scale = name.scale.to_string();
        let labels = [name.task.label(), name.cluster.as_str(), scale.as_str(), name.tier.label()];
        self.stopped.with_label_values(&labels).set(i64::from(is_stopped));
    }
}
