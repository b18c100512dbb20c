//! What a worker process is told of the configuration: the sections that it works by, as they were settled, and nothing of the others.
//! Routes, keys and certificates are no business of a process that parses strangers' bytes.
//!
//! The text is TOML and is read like any configuration, so that there is one reader and one set of bounds.

use std::path::Path;
use std::time::Duration;

use toml::de::DeTable;
use toml::{Table, Value};

use crate::faults::Faults;
use crate::findings::Findings;
use crate::reader::Section;
use crate::{
    DeadlinePolicy, EnhancerConfig, GpuConfig, LogConfig, ModelsConfig, WorkersConfig, detail::DetailShareOf,
};

/// A worker's part of the configuration.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkerPart {
    /// How video is enhanced, in this worker.
    pub enhancer: EnhancerConfig,
    /// Where networks are read from.
    pub models: ModelsConfig,
    /// Limits of workers.
    pub workers: WorkersConfig,
    /// How much is said.
    pub log: LogConfig,
}

impl WorkerPart {
    /// As text that [`WorkerPart::parse`] gives back.
    #[must_use]
    pub fn text(&self) -> String {
        let Self { enhancer, models, workers, log } = self;
        let document = table([
            ("enhancer", Some(enhancer_table(enhancer))),
            (
                "models",
                Some(Value::Table(table([
                    ("directory", Some(path(&models.directory))),
                    ("watch_interval", Some(time(models.watch_interval))),
                    ("retire_after", Some(time(models.retire_after))),
                ]))),
            ),
            ("workers", Some(workers_table(workers))),
            ("log", Some(log_table(log))),
        ]);
        document.to_string()
    }

    /// Reads such a text, or the same sections of an edge's own configuration; what else it holds is not looked at.
    ///
    /// # Errors
    /// All faults of these sections at once.
    pub fn parse(text: &str) -> Result<Self, Faults> {
        let findings = Findings::new();
        let (document, errors) = DeTable::parse_recoverable(text);
        errors.iter().for_each(|error| findings.syntax(error));
        let root = Section::root(&document, &findings);
        let part = Self {
            enhancer: EnhancerConfig::read(root.child("enhancer")),
            models: ModelsConfig::read(root.child("models")),
            workers: WorkersConfig::read(root.child("workers")),
            log: LogConfig::read(root.child("log")),
        };
        findings.settle(text, part)
    }
}

/// Where its access log goes is the edge's affair.
fn log_table(config: &LogConfig) -> Value {
    let LogConfig { access: _, format, level } = config;
    Value::Table(table([("format", Some(format.as_str().into())), ("level", Some(level.as_str().into()))]))
}

fn table<const N: usize>(entries: [(&str, Option<Value>); N]) -> Table {
    entries.into_iter().filter_map(|(key, value)| Some((key.to_owned(), value?))).collect()
}

fn whole(number: impl TryInto<i64>) -> Value {
    Value::Integer(number.try_into().unwrap_or(i64::MAX))
}

fn path(path: &Path) -> Value {
    Value::String(path.display().to_string())
}

fn time(duration: Duration) -> Value {
    Value::String(format!("{}ms", duration.as_millis()))
}

fn size(bytes: u64) -> Value {
    Value::String(format!("{bytes}B"))
}

// What follows takes every field by name, so that a new one is not forgotten.

fn enhancer_table(config: &EnhancerConfig) -> Value {
    let EnhancerConfig {
        lanes,
        inference_threads,
        encoder_threads,
        queue_limit,
        look_ahead,
        preset,
        crf,
        max_source_pixels,
        max_segment_bytes,
        max_frames_per_segment,
        max_segment_duration,
        provider,
        precision,
        runtime_library,
        detail_share,
        detail_share_of,
        stream_pace,
        confidence,
        cost_file,
        still_limit,
        gpu,
        deadline,
    } = config;
    Value::Table(table([
        ("lanes", Some(whole(*lanes))),
        ("inference_threads", Some(whole(*inference_threads))),
        ("encoder_threads", Some(whole(*encoder_threads))),
        ("queue_limit", Some(whole(*queue_limit))),
        ("look_ahead", Some(whole(*look_ahead))),
        ("preset", Some(preset.as_str().into())),
        ("crf", Some(f64::from(*crf).into())),
        ("max_source_pixels", Some(whole(*max_source_pixels))),
        ("max_segment_bytes", Some(size(*max_segment_bytes))),
        ("max_frames_per_segment", Some(whole(*max_frames_per_segment))),
        ("max_segment_duration", Some(time(*max_segment_duration))),
        ("provider", Some(provider.as_str().into())),
        ("precision", Some(precision.as_str().into())),
        ("runtime_library", runtime_library.as_deref().map(path)),
        ("detail_share", Some((*detail_share).into())),
        ("detail_share_of", Some(shares_table(detail_share_of))),
        ("stream_pace", Some((*stream_pace).into())),
        ("confidence", Some((*confidence).into())),
        ("cost_file", cost_file.as_deref().map(path)),
        ("still_limit", Some((*still_limit).into())),
        ("gpu", Some(gpu_table(gpu))),
        ("deadline", Some(deadline_table(deadline))),
    ]))
}

fn shares_table(shares: &DetailShareOf) -> Value {
    Value::Table(shares.named().map(|(tier, share)| (tier.to_owned(), share.into())).collect())
}

fn gpu_table(config: &GpuConfig) -> Value {
    let GpuConfig { devices, precision, engine_cache, largest_source, batch, batch_wait, decoder, encoder } =
        config;
    Value::Table(table([
        ("devices", Some(Value::Array(devices.iter().copied().map(whole).collect()))),
        ("precision", Some(precision.as_str().into())),
        ("engine_cache", engine_cache.as_deref().map(path)),
        ("largest_source", Some(format!("{}x{}", largest_source.0, largest_source.1).into())),
        ("batch", Some(whole(*batch))),
        ("batch_wait_ms", Some((batch_wait.as_secs_f64() * 1000.0).into())),
        ("decoder", Some(decoder.as_str().into())),
        ("encoder", Some(encoder.as_str().into())),
    ]))
}

fn deadline_table(policy: &DeadlinePolicy) -> Value {
    let DeadlinePolicy { fraction, startup_fraction, buffer_reserve, shortest, longest } = policy;
    Value::Table(table([
        ("fraction", Some((*fraction).into())),
        ("startup_fraction", Some((*startup_fraction).into())),
        ("buffer_reserve", Some(time(*buffer_reserve))),
        ("shortest", Some(time(*shortest))),
        ("longest", Some(time(*longest))),
    ]))
}

fn workers_table(config: &WorkersConfig) -> Value {
    let WorkersConfig {
        count,
        spare,
        recycle_after,
        memory_limit,
        cpu_time_limit,
        segment_timeout,
        silence_limit,
        sandbox,
        cpus,
        // Whom the edge speaks to beside it, and with which key, is none of a worker's business.
        remote: _,
        listen: _,
    } = config;
    Value::Table(table([
        ("count", Some(whole(*count))),
        ("spare", Some(whole(*spare))),
        ("recycle_after", Some(whole(*recycle_after))),
        ("memory_limit", Some(size(*memory_limit))),
        ("cpu_time_limit", Some(time(*cpu_time_limit))),
        ("segment_timeout", Some(time(*segment_timeout))),
        ("silence_limit", Some(time(*silence_limit))),
        ("sandbox", Some(sandbox.as_str().into())),
        ("cpus", Some(Value::Array(cpus.iter().map(|set| set.to_string().into()).collect()))),
    ]))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const SETTINGS: &str = r#"
        [server]
        listen = ["0.0.0.0:1"]
        [[route]]
        origin = "https://user:secret@origin.example"
        [enhancer]
        lanes = 3
        inference_threads = 5
        encoder_threads = 2
        queue_limit = 7
        look_ahead = 4
        preset = "fast"
        crf = 17.5
        max_source_pixels = 100000
        max_segment_bytes = "3MiB"
        max_frames_per_segment = 77
        provider = "openvino"
        precision = "int8"
        runtime_library = "/opt/a \"quoted\" name/libonnxruntime.so"
        detail_share = 0.75
        stream_pace = 3.5
        confidence = 0.9
        cost_file = "/var/lib/acuity/costs.json"
        still_limit = 3
        [enhancer.detail_share_of]
        m = 0.5
        [enhancer.gpu]
        devices = [1, 3]
        engine_cache = "/var/cache/acuity"
        batch_wait_ms = 0.25
        precision = "float16"
        [enhancer.deadline]
        fraction = 0.5
        longest = "9s"
        [models]
        directory = "/opt/models"
        retire_after = "2h"
        [workers]
        count = 2
        spare = 3
        recycle_after = 12
        memory_limit = "1GiB"
        cpu_time_limit = "90m"
        segment_timeout = "20s"
        silence_limit = "750ms"
        sandbox = "required"
        cpus = ["0-3", "4,6"]
        [log]
        level = "debug"
    "#;

    #[test]
    fn what_is_handed_over_is_what_was_settled() {
        let told = WorkerPart::parse(SETTINGS).unwrap();
        assert_eq!(told.workers.cpus.len(), 2);
        let text = told.text();
        assert_eq!(WorkerPart::parse(&text).unwrap(), told, "{text}");
        assert!(!text.contains("secret"), "{text}");
        let defaults = WorkerPart::parse("").unwrap();
        assert_eq!(WorkerPart::parse(&defaults.text()).unwrap(), defaults);
        assert_ne!(defaults, told);
    }

    #[test]
    fn faults_are_told() {
        let faults = WorkerPart::parse("[workers]\ncount = -1\nspares = 2\n").unwrap_err();
        assert_eq!(faults.to_string().matches("workers.").count(), 2, "{faults}");
    }
}
