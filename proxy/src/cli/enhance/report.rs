//! What `acuity enhance` says at the end: frames, speed, where the time went, what made the pictures.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write;
use std::path::Path;
use std::time::{Duration, Instant};

use acuity_enhancer::{Between, Interpolation, MadeBy, RenditionSpec, Report, StageSeconds, Upscaler};
use acuity_models::Catalogue;
use serde_json::{Value, json};

/// Sums over all segments.
pub(super) struct Summary {
    started: Instant,
    took: Duration,
    segments: u32,
    frames: u64,
    held: u64,
    between: Between,
    source_bytes: usize,
    /// Seconds of media so far.
    pub(super) media_seconds: f64,
    stages: StageSeconds,
    made_by: BTreeMap<String, u32>,
    fallbacks: BTreeMap<&'static str, u32>,
    /// Segments by what decoded and what encoded them.
    codecs: BTreeMap<String, u32>,
    /// Wall clock of each segment from dequeue to finished bytes, in the order of the film.
    segment_seconds: Vec<f64>,
    /// Execution providers that ran a network.
    providers: BTreeSet<&'static str>,
    /// Processor seconds (user, system) of the process when the clock started, then those in between.
    processor_seconds: Option<(f64, f64)>,
}

/// Of the account's shape; grows when a key changes its meaning or goes, not when one is added.
const ACCOUNT_FORMAT: u32 = 1;

impl Summary {
    /// Starts the clock.
    pub(super) fn begin() -> Self {
        Self {
            started: Instant::now(),
            took: Duration::ZERO,
            segments: 0,
            frames: 0,
            held: 0,
            between: Between::default(),
            source_bytes: 0,
            media_seconds: 0.0,
            stages: StageSeconds::default(),
            made_by: BTreeMap::new(),
            fallbacks: BTreeMap::new(),
            codecs: BTreeMap::new(),
            segment_seconds: Vec::new(),
            providers: BTreeSet::new(),
            processor_seconds: processor_seconds(),
        }
    }

    /// Stops the clock.
    pub(super) fn end(&mut self) {
        self.took = self.started.elapsed();
        let between = |(user, system): (f64, f64), now: (f64, f64)| (now.0 - user, now.1 - system);
        self.processor_seconds = self.processor_seconds.zip(processor_seconds()).map(|(a, b)| between(a, b));
    }

    /// One more segment.
    pub(super) fn add(&mut self, report: &Report) {
        self.segments += 1;
        self.frames += u64::from(report.frames);
        self.held += u64::from(report.held_frames);
        self.between += report.between;
        self.source_bytes += report.source_bytes;
        self.media_seconds += report.media_seconds;
        let (sum, more) = (&mut self.stages, &report.stages);
        sum.demux += more.demux;
        sum.decode += more.decode;
        sum.infer += more.infer;
        sum.scale += more.scale;
        sum.interpolate += more.interpolate;
        sum.encode += more.encode;
        sum.mux += more.mux;
        sum.queue += more.queue;
        sum.total += more.total;
        self.segment_seconds.push(more.total);
        if let MadeBy::Model { provider, .. } = &report.made_by {
            self.providers.insert(provider);
        }
        let made_by = match &report.made_by {
            MadeBy::Model { id, provider, precision, .. } => format!("{id} on {provider}, {precision}"),
            MadeBy::Plain => "bicubic".to_owned(),
            MadeBy::Untouched => "nothing (no video)".to_owned(),
        };
        *self.made_by.entry(made_by).or_default() += 1;
        for codec in [format!("decoder {}", report.decoder), format!("encoder {}", report.encoder)] {
            *self.codecs.entry(codec).or_default() += 1;
        }
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
        let StageSeconds { demux, decode, infer, scale, interpolate, encode, mux, .. } = self.stages;
        let between =
            if self.between.places > 0 { format!("interpolate {interpolate:.2}, ") } else { String::new() };
        let _ = writeln!(
            text,
            "busy seconds: demux {demux:.2}, decode {decode:.2}, {between}infer {infer:.2}, scale {scale:.2}, encode {encode:.2}, mux {mux:.2}"
        );
        if self.between.places > 0 {
            let shown = self.between.by_what_is_shown().map(|(shown, count)| format!("{shown} {count}"));
            let _ = writeln!(text, "pictures between the source's: {}", shown.join(", "));
        }
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

impl Summary {
    /// The same for programs. `seconds` is the clock from the first segment's request to the last one's bytes, models loaded and
    /// warmed before; processor seconds are of the same time, memory is the process's peak.
    pub(super) fn account(&self, source: (u32, u32), spec: &RenditionSpec, output_bytes: u64) -> Value {
        let StageSeconds { queue, demux, decode, infer, scale, interpolate, encode, mux, total } =
            self.stages;
        let between: BTreeMap<_, _> = self.between.by_what_is_shown().into_iter().collect();
        let mut sorted = self.segment_seconds.clone();
        sorted.sort_by(f64::total_cmp);
        let (user, system) = self.processor_seconds.unzip();
        json!({
            "format": ACCOUNT_FORMAT,
            "acuity": env!("CARGO_PKG_VERSION"),
            "source": {"width": source.0, "height": source.1, "video_bytes": self.source_bytes},
            "output": {
                "width": spec.width,
                "height": spec.height,
                "frame_rate_milli": spec.frame_rate_milli,
                "max_video_kbps": spec.max_video_kbps,
                "bytes": output_bytes,
            },
            "seconds": self.took.as_secs_f64(),
            "media_seconds": self.media_seconds,
            "segments": self.segments,
            "frames": self.frames,
            "held_frames": self.held,
            "between": between,
            "stage_seconds": {
                "queue": queue, "demux": demux, "decode": decode, "infer": infer,
                "scale": scale, "interpolate": interpolate, "encode": encode, "mux": mux, "total": total,
            },
            "segment_seconds": self.segment_seconds,
            "segment_seconds_p50": percentile(&sorted, 0.50),
            "segment_seconds_p95": percentile(&sorted, 0.95),
            "processor_seconds": {"user": user, "system": system},
            "peak_resident_bytes": peak_resident_bytes(),
            "made_by": self.made_by,
            "providers": self.providers,
            "fallbacks": self.fallbacks,
            "codecs": self.codecs,
        })
    }
}

/// The value below which `part` of them lie, by nearest rank.
fn percentile(sorted: &[f64], part: f64) -> Option<f64> {
    let rank = (part * sorted.len() as f64).ceil() as usize;
    sorted.get(rank.saturating_sub(1)).copied()
}

/// User and system seconds of this process, ended threads included. `None` where there is no /proc.
fn processor_seconds() -> Option<(f64, f64)> {
    // Linux counts in hundredths on every architecture (USER_HZ, proc(5)).
    const TICKS_A_SECOND: f64 = 100.0;
    let stat = std::fs::read_to_string("/proc/self/stat").ok()?;
    // The command's name, in parentheses, may hold spaces. Fields 14 and 15 of the line are 12 and 13 after it.
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut seconds = || fields.next()?.parse::<u64>().ok().map(|ticks| ticks as f64 / TICKS_A_SECOND);
    Some((seconds()?, seconds()?))
}

/// Peak resident set of this process. `None` where there is no /proc.
fn peak_resident_bytes() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmHWM:"))?;
    line.split_whitespace().next()?.parse::<u64>().ok().map(|kib| kib * 1024)
}

/// What enlarges, in words.
pub(super) fn with_what(spec: &RenditionSpec, catalogue: &Catalogue) -> String {
    let enlarged = match &spec.upscaler {
        Upscaler::Bicubic if spec.scale == 1 => "own size".to_owned(),
        Upscaler::Bicubic => "plain bicubic".to_owned(),
        Upscaler::Model { digest, .. } => {
            let sets = catalogue.sets();
            let set = sets.iter().filter(|set| set.digest() == *digest);
            let ids: Vec<&str> = set.flat_map(|set| set.entries()).map(|entry| entry.id.as_str()).collect();
            format!("best of {}", ids.join(", "))
        }
    };
    match &spec.interpolation {
        Some(Interpolation { factor, by }) => format!("{enlarged}, {factor} pictures for one by {by}"),
        None => enlarged,
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn a_summary_adds_up() {
        let mut summary = Summary::begin();
        let report = Report {
            frames: 60,
            held_frames: 1,
            between: Between { places: 30, made: 26, film: 2, same: 1, apart: 1 },
            interpolator: None,
            made_by: MadeBy::Plain,
            fallback: None,
            decoder: "card",
            encoder: "cpu",
            stages: StageSeconds { decode: 0.5, encode: 0.25, total: 0.25, ..StageSeconds::default() },
            source_bytes: 1 << 20,
            media_seconds: 2.0,
        };
        summary.add(&report);
        summary.add(&Report { stages: StageSeconds { total: 0.75, ..report.stages }, ..report });
        summary.end();
        summary.took = Duration::from_secs(2);
        let text = summary.text(Path::new("out.mp4"), 4 << 20);
        for words in [
            "120 frames in 2.00 s: 60.0 fps, 2.00x real time (2 segments, 4.00 s of media)",
            "decode 1.00",
            "encode 0.50",
            "bicubic (2)",
            "could not be decoded: 2",
            "between the source's: made 52, film 4, same 2, cut 2, stays 0",
            "out.mp4: 4.0 MiB (video source 2.0 MiB)",
        ] {
            assert!(text.contains(words), "{words}\n{text}");
        }
        let spec = RenditionSpec {
            width: 1280,
            height: 720,
            scale: 2,
            frame_rate_milli: 30_000,
            max_video_kbps: 4500,
            upscaler: Upscaler::Bicubic,
            interpolation: None,
        };
        let account = summary.account((640, 360), &spec, 4 << 20);
        for (pointer, value) in [
            ("/format", json!(1)),
            ("/seconds", json!(2.0)),
            ("/frames", json!(120)),
            ("/stage_seconds/decode", json!(1.0)),
            ("/stage_seconds/total", json!(1.0)),
            ("/segment_seconds", json!([0.25, 0.75])),
            ("/segment_seconds_p50", json!(0.25)),
            ("/segment_seconds_p95", json!(0.75)),
            ("/output/max_video_kbps", json!(4500)),
            ("/made_by/bicubic", json!(2)),
            ("/providers", json!([])),
            ("/codecs/decoder card", json!(2)),
        ] {
            assert_eq!(account.pointer(pointer), Some(&value), "{pointer} {account:#}");
        }
    }

    #[test]
    fn nearest_rank() {
        assert_eq!(percentile(&[], 0.5), None);
        let values: Vec<f64> = (1..=20).map(f64::from).collect();
        assert_eq!(percentile(&values, 0.5), Some(10.0));
        assert_eq!(percentile(&values, 0.95), Some(19.0));
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn the_process_is_measured() {
        assert!(peak_resident_bytes().is_some_and(|bytes| bytes > 1 << 20));
        let (user, system) = processor_seconds().unwrap();
        assert!(user >= 0.0 && system >= 0.0);
    }
}
