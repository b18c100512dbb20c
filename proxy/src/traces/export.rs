//! What sends spans: a queue that is bounded, batches, and a collector that may be slow, dead or silent.
//!
//! The SDK's own batch processor runs on a thread of its own, where the HTTP clients that the edge has do not work, and tells nobody what it
//! drops. This one is a task of the edge's runtime. Whoever ends a span puts it into the queue and goes on; where there is no room the span is
//! dropped and counted. While the collector fails, batches are dropped and counted too, and the next try is put off.

use std::collections::HashMap;
use std::time::Duration;

use acuity_config::{TraceProtocol, TracingConfig};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_otlp::{
    RetryPolicy, SpanExporter as Otlp, WithExportConfig as _, WithHttpConfig as _, WithTonicConfig as _,
};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::error::OTelSdkResult;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider, Span, SpanData, SpanExporter, SpanProcessor};
use prometheus::{IntCounter, IntCounterVec, Opts, Registry};
use tokio::runtime::Handle;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};
use tonic::metadata::MetadataMap;
use tonic::transport::{ClientTlsConfig, Endpoint};

use super::TraceFault;
use crate::secret;

/// Spans that may wait; at about a kilobyte each, a few megabytes.
const QUEUE_LIMIT: usize = 4096;

/// Spans of a batch, and how long they are gathered for one.
const BATCH_LIMIT: usize = 512;
const GATHER: Duration = Duration::from_secs(1);

/// Pauses after a failure, from the first to the longest.
const PAUSES: [Duration; 6] = [
    Duration::from_secs(1),
    Duration::from_secs(2),
    Duration::from_secs(4),
    Duration::from_secs(8),
    Duration::from_secs(16),
    Duration::from_secs(30),
];

/// How much a file with headers may hold.
const HEADERS_BYTES: std::ops::RangeInclusive<usize> = 1..=8192;

/// What is counted.
#[derive(Clone)]
pub struct Instruments {
    exported: IntCounter,
    dropped: IntCounterVec,
}

impl Instruments {
    /// Registers them; all are there at 0 where nothing is traced.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let instruments = Self {
            exported: IntCounter::new("acuity_trace_spans_exported_total", "Spans that the collector took")?,
            dropped: IntCounterVec::new(
                Opts::new(
                    "acuity_trace_spans_dropped_total",
                    "Spans that were not sent: no room in the queue, or a batch that the collector did not take",
                ),
                &["reason"],
            )?,
        };
        for reason in ["queue_full", "export_failed"] {
            instruments.dropped.with_label_values(&[reason]).inc_by(0);
        }
        registry.register(Box::new(instruments.exported.clone()))?;
        registry.register(Box::new(instruments.dropped.clone()))?;
        Ok(instruments)
    }
}

/// What sends.
pub(super) struct Export {
    ends: watch::Sender<bool>,
    is_done: watch::Receiver<bool>,
}

impl Export {
    /// `None`: there is no collector.
    pub(super) fn start(
        config: &TracingConfig,
        instruments: Instruments,
        handle: &Handle,
    ) -> Result<Option<Self>, TraceFault> {
        let Some(endpoint) = &config.endpoint else { return Ok(None) };
        let _within = handle.enter();
        // Two TLS libraries in one process leave rustls without a default unless one is named.
        pingora::tls::install_default_crypto_provider();
        let mut exporter = match config.protocol {
            TraceProtocol::HttpProtobuf => http(config, endpoint)?,
            TraceProtocol::Grpc => grpc(config, endpoint)?,
        };
        let resource = resource(config);
        exporter.set_resource(&resource);
        let (queue, spans) = mpsc::channel(QUEUE_LIMIT);
        let (ends, end) = watch::channel(false);
        let (done, is_done) = watch::channel(false);
        let full = instruments.dropped.with_label_values(&["queue_full"]);
        let provider = SdkTracerProvider::builder()
            // Who is traced was decided before a span is made.
            .with_sampler(Sampler::AlwaysOn)
            .with_resource(resource)
            .with_span_processor(Queue { queue, full })
            .build();
        global::set_tracer_provider(provider);
        let sender = Sender { exporter, limit: config.timeout, instruments, end, failures: 0 };
        handle.spawn(async move {
            sender.run(spans).await;
            let _ = done.send(true);
        });
        Ok(Some(Self { ends, is_done }))
    }

    /// Sends what is left.
    pub(super) async fn finish(&self, limit: Duration) {
        let _ = self.ends.send(true);
        let mut is_done = self.is_done.clone();
        // What is not sent by then is not waited for.
        let _ = timeout(limit, is_done.wait_for(|done| *done)).await;
    }
}

/// Takes spans from those who end them.
#[derive(Debug)]
struct Queue {
    queue: mpsc::Sender<SpanData>,
    full: IntCounter,
}

impl SpanProcessor for Queue {
    fn on_start(&self, _: &mut Span, _: &Context) {}

    fn on_end(&self, span: SpanData) {
        if self.queue.try_send(span).is_err() {
            self.full.inc();
        }
    }

    fn force_flush(&self) -> OTelSdkResult {
        Ok(())
    }

    fn shutdown_with_timeout(&self, _: Duration) -> OTelSdkResult {
        Ok(())
    }
}

/// Gathers and sends.
struct Sender {
    exporter: Otlp,
    limit: Duration,
    instruments: Instruments,
    end: watch::Receiver<bool>,
    failures: usize,
}

impl Sender {
    async fn run(mut self, mut spans: mpsc::Receiver<SpanData>) {
        let mut batch = Vec::with_capacity(BATCH_LIMIT);
        loop {
            let is_open = self.gather(&mut spans, &mut batch).await;
            while batch.len() < BATCH_LIMIT
                && let Ok(span) = spans.try_recv()
            {
                batch.push(span);
            }
            if !batch.is_empty() {
                self.send(std::mem::take(&mut batch)).await;
            } else if !is_open {
                return;
            }
        }
    }

    /// Waits for a batch, for a while from its first span on. `false`: the edge ends, and nothing is waited for.
    async fn gather(&mut self, spans: &mut mpsc::Receiver<SpanData>, batch: &mut Vec<SpanData>) -> bool {
        let mut until = None;
        while batch.len() < BATCH_LIMIT {
            if *self.end.borrow() {
                return false;
            }
            let wait = async {
                match until {
                    Some(until) => tokio::time::sleep_until(until).await,
                    None => std::future::pending().await,
                }
            };
            tokio::select! {
                biased;
                _ = self.end.changed() => return false,
                received = spans.recv_many(batch, BATCH_LIMIT - batch.len()) => {
                    if received == 0 {
                        return false;
                    }
                    until.get_or_insert_with(|| Instant::now() + GATHER);
                }
                () = wait => return true,
            }
        }
        true
    }

    async fn send(&mut self, batch: Vec<SpanData>) {
        let count = batch.len() as u64;
        let sent = timeout(self.limit, self.exporter.export(batch)).await;
        let failure = match sent {
            Ok(Ok(())) => {
                if self.failures > 0 {
                    tracing::info!("traces are sent again");
                }
                self.failures = 0;
                self.instruments.exported.inc_by(count);
                return;
            }
            Ok(Err(error)) => error.to_string(),
            Err(_) => format!("no answer within {:?}", self.limit),
        };
        self.instruments.dropped.with_label_values(&["export_failed"]).inc_by(count);
        if self.failures == 0 {
            tracing::warn!(failure, "the collector does not take traces: they are dropped until it does");
        }
        let pause = PAUSES.get(self.failures).or(PAUSES.last()).copied().unwrap_or_default();
        self.failures += 1;
        if !*self.end.borrow() {
            tokio::select! {
                () = sleep(pause) => {}
                _ = self.end.changed() => {}
            }
        }
    }
}

fn resource(config: &TracingConfig) -> Resource {
    let own = [
        KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        KeyValue::new("process.pid", i64::from(std::process::id())),
    ];
    let further = config.attributes.iter().map(|(name, value)| KeyValue::new(name.clone(), value.clone()));
    // Nothing from the environment: the configuration is all there is.
    Resource::builder_empty()
        .with_attributes(own)
        .with_service_name(config.service_name.clone())
        .with_attributes(further)
        .build()
}

fn http(config: &TracingConfig, endpoint: &url::Url) -> Result<Otlp, TraceFault> {
    let fault = |error: &dyn std::fmt::Display| TraceFault::Exporter(error.to_string());
    let mut endpoint = endpoint.clone();
    if endpoint.path() == "/" {
        endpoint.set_path("/v1/traces");
    }
    let builder = reqwest::Client::builder()
        .no_proxy()
        .timeout(config.timeout)
        .redirect(reqwest::redirect::Policy::none());
    // A machine without any certificate authorities can still send to a collector beside it.
    let builder = match endpoint.scheme() {
        "https" => builder,
        _ => builder.tls_certs_only(std::iter::empty()),
    };
    let client = builder.build().map_err(|error| fault(&error))?;
    Otlp::builder()
        .with_http()
        .with_http_client(client)
        .with_endpoint(endpoint.as_str())
        .with_timeout(config.timeout)
        .with_headers(headers(config)?.into_iter().collect::<HashMap<_, _>>())
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| fault(&error))
}

fn grpc(config: &TracingConfig, endpoint: &url::Url) -> Result<Otlp, TraceFault> {
    let fault = |error: &dyn std::fmt::Display| TraceFault::Exporter(error.to_string());
    let mut channel = Endpoint::from_shared(endpoint.to_string())
        .map_err(|error| fault(&error))?
        .connect_timeout(config.timeout)
        .timeout(config.timeout);
    if endpoint.scheme() == "https" {
        let tls = ClientTlsConfig::new().with_native_roots();
        channel = channel.tls_config(tls).map_err(|error| fault(&error))?;
    }
    let mut given = http::HeaderMap::new();
    for (name, value) in headers(config)? {
        // Both were read as such.
        if let (Ok(name), Ok(value)) = (http::HeaderName::try_from(name), http::HeaderValue::try_from(value))
        {
            given.append(name, value);
        }
    }
    Otlp::builder()
        .with_tonic()
        .with_channel(channel.connect_lazy())
        .with_timeout(config.timeout)
        .with_metadata(MetadataMap::from_headers(given))
        .with_retry_policy(RetryPolicy::disabled())
        .build()
        .map_err(|error| fault(&error))
}

/// What is wrong with what the configuration names, if something is. Nothing is sent.
#[must_use]
pub fn check(config: &TracingConfig) -> Option<TraceFault> {
    headers(config).err()
}

/// What stands in the file with headers.
fn headers(config: &TracingConfig) -> Result<Vec<(String, String)>, TraceFault> {
    let Some(file) = &config.headers_file else { return Ok(Vec::new()) };
    let text = secret::read(file, HEADERS_BYTES)
        .map_err(|fault| TraceFault::Headers { file: file.clone(), fault })?;
    let text = String::from_utf8_lossy(&text);
    let lines = text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty());
    let read = |(at, line): (usize, &str)| {
        let pair = line
            .split_once(':')
            .map(|(name, value)| (name.trim().to_ascii_lowercase(), value.trim().to_owned()));
        let sound = |(name, value): &(String, String)| {
            http::HeaderName::try_from(name.as_str()).is_ok()
                && http::HeaderValue::try_from(value.as_str()).is_ok()
        };
        pair.filter(sound).ok_or_else(|| TraceFault::Line { file: file.clone(), line: at + 1 })
    };
    lines.map(read).collect()
}
