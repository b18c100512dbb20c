//! The enhancer's own instruments. Every label is from a fixed list or the catalogue: no URL, no session.

use std::collections::HashSet;

use prometheus::{
    HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::model::Model;
use crate::report::{MadeBy, Report};
use crate::{EnhanceError, FallbackReason, Refusal, RefusalReason};

/// From a tenth of a millisecond (taking a small segment apart) to half a minute (a large one on a slow machine).
const SECONDS: &[f64] =
    &[0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0];

/// What tells models apart in metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelLabels([String; 6]);

impl ModelLabels {
    pub(crate) fn new(model: &Model) -> Self {
        let (engine, model) = (&model.engine, &model.identity);
        let digest = model.sha256.to_string();
        let short = digest.get(..12).unwrap_or(&digest);
        let (provider, precision) = (engine.provider(), engine.precision());
        Self([&model.id, &model.cluster, model.tier.label(), short, provider, precision].map(str::to_owned))
    }

    fn values(&self) -> [&str; 6] {
        self.0.each_ref().map(String::as_str)
    }
}

fn gauge(count: usize) -> i64 {
    i64::try_from(count).unwrap_or(i64::MAX)
}

#[derive(Clone)]
pub(crate) struct Metrics {
    pub(crate) queue_depth: IntGauge,
    pub(crate) ready: IntGauge,
    models: IntGaugeVec,
    sets: IntGaugeVec,
    refused: IntGaugeVec,
    segments: IntCounterVec,
    failures: IntCounterVec,
    fallbacks: IntCounterVec,
    frames: IntCounter,
    held_frames: IntCounter,
    stages: HistogramVec,
    speed: HistogramVec,
}

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauges =
            |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let metrics = Self {
            queue_depth: IntGauge::new("acuity_enhancer_queue_depth", "Segments that wait for a lane")?,
            ready: IntGauge::new("acuity_enhancer_ready", "1 once every model is loaded and warmed")?,
            models: IntGaugeVec::new(
                Opts::new(
                    "acuity_enhancer_model_info",
                    "Models that may be used; the value is the number of their ONNX sessions",
                ),
                &["id", "cluster", "tier", "digest", "provider", "precision"],
            )?,
            sets: gauges(
                "acuity_enhancer_model_sets",
                "Model sets: current (offered), retired (replaced, still serving), stopped (removed or corrupt)",
                &["state"],
            )?,
            refused: gauges(
                "acuity_models_refused",
                "Models of the catalogue in force that are not used, by reason",
                &["reason"],
            )?,
            segments: counters(
                "acuity_enhancer_segments_total",
                "Segments made, by what enlarged them",
                &["made_by", "tier"],
            )?,
            failures: counters(
                "acuity_enhancer_failures_total",
                "Requests that gave no segment, by reason",
                &["reason"],
            )?,
            fallbacks: counters(
                "acuity_enhancer_fallbacks_total",
                "Segments made by less than their rendition asked for",
                &["reason"],
            )?,
            frames: IntCounter::new("acuity_enhancer_frames_total", "Pictures encoded")?,
            held_frames: IntCounter::new(
                "acuity_enhancer_held_frames_total",
                "Pictures repeated because the source's could not be decoded",
            )?,
            stages: HistogramVec::new(
                HistogramOpts::new("acuity_enhancer_stage_seconds", "Busy seconds per segment and stage")
                    .buckets(SECONDS.to_vec()),
                &["stage"],
            )?,
            speed: HistogramVec::new(
                HistogramOpts::new(
                    "acuity_enhancer_realtime_ratio",
                    "Seconds of media made per second of wall clock",
                )
                .buckets(vec![0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0, 12.0, 16.0, 32.0]),
                &["tier"],
            )?,
        };
        for reason in FallbackReason::ALL {
            metrics.fallbacks.with_label_values(&[reason.label()]);
        }
        metrics.refused(&[]);
        metrics.show_sets([0; 3]);
        registry.register(Box::new(metrics.queue_depth.clone()))?;
        registry.register(Box::new(metrics.ready.clone()))?;
        registry.register(Box::new(metrics.models.clone()))?;
        registry.register(Box::new(metrics.sets.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.segments.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.fallbacks.clone()))?;
        registry.register(Box::new(metrics.frames.clone()))?;
        registry.register(Box::new(metrics.held_frames.clone()))?;
        registry.register(Box::new(metrics.stages.clone()))?;
        registry.register(Box::new(metrics.speed.clone()))?;
        Ok(metrics)
    }

    pub(crate) fn made(&self, report: &Report) {
        let (made_by, tier) = match &report.made_by {
            MadeBy::Model { tier, .. } => ("model", tier.as_str()),
            MadeBy::Plain => ("plain", "none"),
            MadeBy::Untouched => ("untouched", "none"),
        };
        self.segments.with_label_values(&[made_by, tier]).inc();
        if let Some(reason) = report.fallback {
            self.fallbacks.with_label_values(&[reason.label()]).inc();
        }
        self.frames.inc_by(u64::from(report.frames));
        self.held_frames.inc_by(u64::from(report.held_frames));
        let stages = &report.stages;
        for (stage, seconds) in [
            ("queue", stages.queue),
            ("demux", stages.demux),
            ("decode", stages.decode),
            ("infer", stages.infer),
            ("scale", stages.scale),
            ("encode", stages.encode),
            ("mux", stages.mux),
            ("total", stages.total),
        ] {
            self.stages.with_label_values(&[stage]).observe(seconds);
        }
        if report.media_seconds > 0.0 && stages.total > 0.0 {
            self.speed.with_label_values(&[tier]).observe(report.media_seconds / stages.total);
        }
    }

    /// The refusals of the last install.
    pub(crate) fn refused(&self, refused: &[Refusal]) {
        for reason in RefusalReason::ALL {
            let count = refused.iter().filter(|refusal| refusal.reason == reason).count();
            self.refused.with_label_values(&[reason.label()]).set(gauge(count));
        }
    }

    /// How many sets are current, retired and stopped.
    pub(crate) fn show_sets(&self, counts: [usize; 3]) {
        for (state, count) in ["current", "retired", "stopped"].iter().zip(counts) {
            self.sets.with_label_values(&[state]).set(gauge(count));
        }
    }

    /// Shows these models with their sessions, and of those `shown` before no others: a digest that is gone for good would
    /// otherwise stay for as long as the process.
    pub(crate) fn show_models(&self, models: &[(ModelLabels, usize)], shown: &mut HashSet<ModelLabels>) {
        let now: HashSet<ModelLabels> = models.iter().map(|(labels, _)| labels.clone()).collect();
        for gone in shown.difference(&now) {
            // Fails only where there is none.
            let _ = self.models.remove_label_values(&gone.values());
        }
        for (labels, sessions) in models {
            self.models.with_label_values(&labels.values()).set(gauge(*sessions));
        }
        *shown = now;
    }

    pub(crate) fn failed(&self, error: &EnhanceError) {
        self.failures.with_label_values(&[error.label()]).inc();
    }
}
