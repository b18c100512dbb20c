//! What `acuity enhance` says at the end: frames, speed, where the time went, what made the pictures.

use std::collections::BTreeMap;
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use acuity_enhancer::{MadeBy, Report, StageSeconds, Upscaler};
use acuity_models::Catalogue;

/// Sums over all segments.
pub(super) struct Summary {
    started: Instant,
    took: Duration,
    segments: u32,
    frames: u64,
    held: u64,
    source_bytes: usize,
    /// Seconds of media so far.
    pub(super) media_seconds: f64,
    stages: StageSeconds,
    made_by: BTreeMap<String, u32>,
    fallbacks: BTreeMap<&'static str, u32>,
}

impl Summary {
    /// Starts the clock.
    pub(super) fn begin() -> Self {
        Self {
            started: Instant::now(),
            took: Duration::ZERO,
            segments: 0,
            frames: 0,
            held: 0,
            source_bytes: 0,
            media_seconds: 0.0,
            stages: StageSeconds::default(),
            made_by: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
        }
    }

    /// Stops the clock.
    pub(super) fn end(&mut self) {
        self.took = self.started.elapsed();
    }

    /// One more segment.
    pub(super) fn add(&mut self, report: &Report) {
        self.segments += 1;
        self.frames += u64::from(report.frames);
        self.held += u64::from(report.held_frames);
        self.source_bytes += report.source_bytes;
        self.media_seconds += report.media_seconds;
        let (sum, more) = (&mut self.stages, &report.stages);
        sum.demux += more.demux;
        sum.decode += more.decode;
        sum.infer += more.infer;
        sum.scale += more.scale;
        sum.encode += more.encode;
        sum.mux += more.mux;
        let made_by = match &report.made_by {
            MadeBy::Model { id, provider, precision, .. } => format!("{id} on {provider}, {precision}"),
            MadeBy::Plain => "bicubic".to_owned(),
            MadeBy::Untouched => "nothing (no video)".to_owned(),
        };
        *self.made_by.entry(made_by).or_default() += 1;
        if let Some(reason) = report.fallback {
            *self.fallbacks.entry(reason.label()).or_default() += 1;
        }
    }

    /// Frames a second and times real time, so far.
    pub(super) fn pace(&self) -> String {
        let seconds = self.started.elapsed().as_secs_f64().max(1e-9);
        format!("{:.1} fps, {:.2}x", self.frames as f64 / seconds, self.media_seconds / seconds)
    }

    /// The report. Stages overlap on several threads, so their seconds add up to more than the clock's.
    pub(super) fn text(&self, output: &Path, output_bytes: u64) -> String {
        let seconds = self.took.as_secs_f64().max(1e-9);
        let mut text = String::new();
        let mib = |bytes: f64| bytes / f64::from(1 << 20);
        // Writing to a String does not fail.
        let _ = writeln!(
            text,
            "{} frames in {seconds:.2} s: {:.1} fps, {:.2}x real time ({} segments, {:.2} s of media)",
            self.frames,
            self.frames as f64 / seconds,
            self.media_seconds / seconds,
            self.segments,
            self.media_seconds,
        );
        let StageSeconds { demux, decode, infer, scale, encode, mux, .. } = self.stages;
        let _ = writeln!(
            text,
            "busy seconds: demux {demux:.2}, decode {decode:.2}, infer {infer:.2}, scale {scale:.2}, encode {encode:.2}, mux {mux:.2}"
        );
        let list = |counts: &mut dyn Iterator<Item = (String, u32)>| {
            counts.map(|(what, count)| format!("{what} ({count})")).collect::<Vec<_>>().join(", ")
        };
        let made = list(&mut self.made_by.iter().map(|(what, count)| (what.clone(), *count)));
        let _ = writeln!(text, "segments made by: {made}");
        if !self.fallbacks.is_empty() {
            let reasons = list(&mut self.fallbacks.iter().map(|(what, count)| ((*what).to_owned(), *count)));
            let _ = writeln!(text, "fall-backs: {reasons}");
        }
        if self.held > 0 {
            let _ = writeln!(text, "pictures repeated because they could not be decoded: {}", self.held);
        }
        let _ = writeln!(
            text,
            "{}: {:.1} MiB (video source {:.1} MiB)",
            output.display(),
            mib(output_bytes as f64),
            mib(self.source_bytes as f64)
        );
        text
    }
}

/// What enlarges, in words.
pub(super) fn with_what(upscaler: &Upscaler, catalogue: &Catalogue) -> String {
    match upscaler {
        Upscaler::Bicubic => "plain bicubic".to_owned(),
        Upscaler::Model { digest, .. } => {
            let sets = catalogue.sets();
            let set = sets.iter().filter(|set| set.digest() == *digest);
            let ids: Vec<&str> = set.flat_map(|set| set.entries()).map(|entry| entry.id.as_str()).collect();
            format!("best of {}", ids.join(", "))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_adds_up() {
        let mut summary = Summary::begin();
        let report = Report {
            frames: 60,
            held_frames: 1,
            made_by: MadeBy::Plain,
            fallback: None,
            stages: StageSeconds { decode: 0.5, encode: 0.25, ..StageSeconds::default() },
            source_bytes: 1 << 20,
            media_seconds: 2.0,
        };
        summary.add(&report);
        summary.add(&report);
        summary.took = Duration::from_secs(2);
        let text = summary.text(Path::new("out.mp4"), 4 << 20);
        for words in [
            "120 frames in 2.00 s: 60.0 fps, 2.00x real time (2 segments, 4.00 s of media)",
            "decode 1.00",
            "encode 0.50",
            "bicubic (2)",
            "could not be decoded: 2",
            "out.mp4: 4.0 MiB (video source 2.0 MiB)",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
    }
}
