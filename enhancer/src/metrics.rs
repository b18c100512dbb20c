//! The enhancer's own instruments. Every label is from a fixed list or the catalogue: no URL, no session.

use std::collections::HashSet;

use acuity_models::Sha256;
use prometheus::{
    Gauge, HistogramOpts, HistogramVec, IntCounter, IntCounterVec, IntGauge, IntGaugeVec, Opts, Registry,
};

use crate::interpolators::Interpolating;
use crate::model::Model;
use crate::report::{MadeBy, Report};
use crate::schedule::{Choice, Closing, Verdict, Why};
use crate::{EnhanceError, FallbackReason, Haste, Priority, Refusal, RefusalReason};

/// From a tenth of a millisecond (taking a small segment apart) to half a minute (a large one on a slow machine).
const SECONDS: &[f64] =
    &[0.0001, 0.001, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.0, 4.0, 8.0, 15.0, 30.0];

/// What tells models apart in metrics.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct ModelLabels([String; 6]);

impl ModelLabels {
    pub(crate) fn new(model: &Model) -> Self {
        let (engine, model) = (&model.engine, &model.identity);
        let run = (engine.provider(), engine.precision());
        Self::of([&model.id, &model.cluster, model.tier.label()], &model.sha256, run)
    }

    pub(crate) fn between(model: &Interpolating) -> Self {
        let entry = &model.entry;
        Self::of([&entry.id, &entry.cluster, entry.tier.label()], &entry.sha256, model.runs_on())
    }

    fn of([id, cluster, tier]: [&str; 3], sha256: &Sha256, (provider, precision): (&str, &str)) -> Self {
        let digest = sha256.to_string();
        let short = digest.get(..12).unwrap_or(&digest);
        Self([id, cluster, tier, short, provider, precision].map(str::to_owned))
    }

    /// What is enough to tell it.
    fn name(&self) -> [&str; 2] {
        let [id, .., digest, _, _] = self.values();
        [id, digest]
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
    pub(crate) lanes: IntGauge,
    pub(crate) ready: IntGauge,
    models: IntGaugeVec,
    sessions: IntGaugeVec,
    sets: IntGaugeVec,
    refused: IntGaugeVec,
    segments: IntCounterVec,
    failures: IntCounterVec,
    fallbacks: IntCounterVec,
    codecs: IntCounterVec,
    frames: IntCounter,
    held_frames: IntCounter,
    between: IntCounterVec,
    stages: HistogramVec,
    speed: HistogramVec,
    choices: IntCounterVec,
    prediction: HistogramVec,
    deadlines: IntCounterVec,
    reserve: Gauge,
    pub(crate) dropped_waiting: IntCounter,
    dropped_in_hand: IntCounter,
}

/// Measured by predicted: 1 is right, above it the segment took longer.
const RATIOS: &[f64] = &[0.25, 0.5, 0.7, 0.8, 0.9, 1.0, 1.1, 1.25, 1.5, 2.0, 4.0];

/// No later than this is in time: pictures are not cut in halves.
const IN_TIME_SECONDS: f64 = 0.05;

impl Metrics {
    pub(crate) fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let counters =
            |name: &str, help: &str, labels: &[&str]| IntCounterVec::new(Opts::new(name, help), labels);
        let gauges =
            |name: &str, help: &str, labels: &[&str]| IntGaugeVec::new(Opts::new(name, help), labels);
        let dropped = counters(
            "acuity_enhancer_ahead_dropped_total",
            "Segments made ahead that made room for a viewer's, by where they were",
            &["where"],
        )?;
        registry.register(Box::new(dropped.clone()))?;
        let metrics = Self {
            queue_depth: IntGauge::new("acuity_enhancer_queue_depth", "Segments that wait for a lane")?,
            lanes: IntGauge::new("acuity_enhancer_lanes", "Segments that are made at the same time, at most")?,
            ready: IntGauge::new("acuity_enhancer_ready", "1 once every model is loaded and warmed")?,
            models: IntGaugeVec::new(
                Opts::new(
                    "acuity_enhancer_model_info",
                    "Models that may be used; always 1",
                ),
                &["id", "cluster", "tier", "digest", "provider", "precision"],
            )?,
            sessions: gauges(
                "acuity_enhancer_model_sessions",
                "ONNX sessions that there are of a model",
                &["id", "digest"],
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
            codecs: counters(
                "acuity_enhancer_codec_segments_total",
                "Segments by what decoded and what encoded them: the processor or a card",
                &["stage", "by"],
            )?,
            frames: IntCounter::new("acuity_enhancer_frames_total", "Pictures encoded")?,
            held_frames: IntCounter::new(
                "acuity_enhancer_held_frames_total",
                "Pictures repeated because the source's could not be decoded",
            )?,
            between: counters(
                "acuity_enhancer_between_frames_total",
                "Pictures between the source's, by what is seen there: one made of both, one of both by film's cadence, or the one \
                 before, because both are the same, because of a cut, or for another reason",
                &["shown"],
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
            choices: counters(
                "acuity_enhancer_choices_total",
                "Segments by what was chosen for them (a tier's place, cheap to dear, or plain) and why it was not a better one",
                &["choice", "why"],
            )?,
            prediction: HistogramVec::new(
                HistogramOpts::new(
                    "acuity_enhancer_prediction_ratio",
                    "Seconds that a segment took, by seconds that were predicted; those cut short are left out",
                )
                .buckets(RATIOS.to_vec()),
                &["tier"],
            )?,
            deadlines: counters(
                "acuity_enhancer_deadlines_total",
                "Segments with a deadline, by who waited and whether it was kept",
                &["who", "kept"],
            )?,
            reserve: Gauge::new(
                "acuity_enhancer_reserve_ratio",
                "Part of the machine's time that was left over lately, at most 1; what decides between tiers",
            )?,
            dropped_waiting: dropped.with_label_values(&["queue"]),
            dropped_in_hand: dropped.with_label_values(&["lane"]),
        };
        for why in Why::ALL {
            metrics.choices.with_label_values(&["plain", why.label()]);
        }
        for who in ["viewer", "start", "ahead"] {
            for kept in ["yes", "no"] {
                metrics.deadlines.with_label_values(&[who, kept]);
            }
        }
        // What shares are computed by must be there before the first segment is.
        metrics.segments.with_label_values(&["plain", "none"]);
        for reason in FallbackReason::ALL {
            metrics.fallbacks.with_label_values(&[reason.label()]);
        }
        metrics.refused(&[]);
        metrics.show_sets([0; 3]);
        registry.register(Box::new(metrics.queue_depth.clone()))?;
        registry.register(Box::new(metrics.lanes.clone()))?;
        registry.register(Box::new(metrics.ready.clone()))?;
        registry.register(Box::new(metrics.models.clone()))?;
        registry.register(Box::new(metrics.sessions.clone()))?;
        registry.register(Box::new(metrics.sets.clone()))?;
        registry.register(Box::new(metrics.refused.clone()))?;
        registry.register(Box::new(metrics.segments.clone()))?;
        registry.register(Box::new(metrics.failures.clone()))?;
        registry.register(Box::new(metrics.fallbacks.clone()))?;
        registry.register(Box::new(metrics.codecs.clone()))?;
        registry.register(Box::new(metrics.frames.clone()))?;
        registry.register(Box::new(metrics.held_frames.clone()))?;
        registry.register(Box::new(metrics.between.clone()))?;
        registry.register(Box::new(metrics.stages.clone()))?;
        registry.register(Box::new(metrics.speed.clone()))?;
        registry.register(Box::new(metrics.choices.clone()))?;
        registry.register(Box::new(metrics.prediction.clone()))?;
        registry.register(Box::new(metrics.deadlines.clone()))?;
        registry.register(Box::new(metrics.reserve.clone()))?;
        Ok(metrics)
    }

    /// It was settled what a segment is made with.
    pub(crate) fn decided(&self, verdict: &Verdict) {
        let place = match verdict.choice {
            Choice::Tier(place) => place.to_string(),
            Choice::Plain => "plain".to_owned(),
        };
        self.choices.with_label_values(&[place.as_str(), verdict.why.label()]).inc();
    }

    /// A lane is done with a segment. `reserve`: what is left over of the machine's time.
    pub(crate) fn closed(&self, closing: &Closing, made: Result<&Report, &EnhanceError>, reserve: f64) {
        self.reserve.set(reserve);
        if closing.dropped {
            self.dropped_in_hand.inc();
        }
        let Ok(report) = made else { return };
        let tier = match &report.made_by {
            MadeBy::Model { tier, .. } => tier.as_str(),
            MadeBy::Plain | MadeBy::Untouched => "none",
        };
        // One that was cut short took as long as there was.
        let cut_short = report.fallback.is_some() && tier != "none";
        if let Some(predicted) = closing.predicted.filter(|seconds| *seconds > 0.0 && !cut_short) {
            self.prediction.with_label_values(&[tier]).observe(closing.took / predicted);
        }
        if closing.late_seconds.is_finite() {
            let who = match (closing.wish.priority, closing.wish.haste) {
                (Priority::Ahead, _) => "ahead",
                (Priority::Viewer, Haste::Start) => "start",
                (Priority::Viewer, Haste::Steady) => "viewer",
            };
            let kept = if closing.late_seconds <= IN_TIME_SECONDS { "yes" } else { "no" };
            self.deadlines.with_label_values(&[who, kept]).inc();
        }
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
        for (stage, by) in [("decode", report.decoder), ("encode", report.encoder)] {
            self.codecs.with_label_values(&[stage, by]).inc();
        }
        self.frames.inc_by(u64::from(report.frames));
        self.held_frames.inc_by(u64::from(report.held_frames));
        for (shown, count) in report.between.by_what_is_shown() {
            self.between.with_label_values(&[shown]).inc_by(u64::from(count));
        }
        let stages = &report.stages;
        for (stage, seconds) in [
            ("queue", stages.queue),
            ("demux", stages.demux),
            ("decode", stages.decode),
            ("infer", stages.infer),
            ("scale", stages.scale),
            ("interpolate", stages.interpolate),
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

    /// Shows these models with the number of their sessions, and of those `shown` before no others: a digest that is gone for good would
    /// otherwise stay for as long as the process.
    pub(crate) fn show_models(&self, models: &[(ModelLabels, usize)], shown: &mut HashSet<ModelLabels>) {
        let now: HashSet<ModelLabels> = models.iter().map(|(labels, _)| labels.clone()).collect();
        for gone in shown.difference(&now) {
            // Fails only where there is none.
            let _ = self.models.remove_label_values(&gone.values());
            let _ = self.sessions.remove_label_values(&gone.name());
        }
        for (labels, sessions) in models {
            self.models.with_label_values(&labels.values()).set(1);
            self.sessions.with_label_values(&labels.name()).set(gauge(*sessions));
        }
        *shown = now;
    }

    pub(crate) fn failed(&self, error: &EnhanceError) {
        self.failures.with_label_values(&[error.label()]).inc();
    }
}
