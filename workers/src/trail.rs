//! On whose behalf something is done: the request's id, which log lines tell, and its span, if it is traced.
//!
//! OpenTelemetry's [`Context`] carries both through tasks and threads, and over gRPC to workers as metadata, by the names that HTTP has for
//! them. Spans are made here for what happens between asking for a segment and having it. A worker sends none itself, having no network:
//! it says in its report what each stage took, and the edge draws the spans. Where the request is not traced, nothing of this is done.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use acuity_enhancer::{EnhanceError, EnhancedSegment, MadeBy, Report, StageSeconds};
use opentelemetry::propagation::{Extractor, Injector, TextMapPropagator as _};
use opentelemetry::trace::{
    FutureExt as _, SpanBuilder, SpanKind, Status, TraceContextExt as _, Tracer as _,
};
use opentelemetry::{Context, KeyValue, global};
use opentelemetry_sdk::propagation::TraceContextPropagator;
use tonic::metadata::{MetadataKey, MetadataMap};

/// Who makes spans, as they say (the instrumentation scope).
pub const SCOPE: &str = "acuity";

const X_REQUEST_ID: &str = "x-request-id";

/// Longest id that is taken from the other side, in bytes.
const ID_LIMIT_BYTES: usize = 64;

/// A request's id, as its answer and the access log have it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RequestId(pub Arc<str>);

/// Whether the current context's request is traced.
#[must_use]
pub fn is_traced() -> bool {
    Context::map_current(|context| context.span().span_context().is_sampled())
}

/// A span below the current one, in a context of its own; `None` where nothing is traced.
#[must_use]
pub fn child(
    name: impl Into<std::borrow::Cow<'static, str>>,
    kind: SpanKind,
    says: Vec<KeyValue>,
) -> Option<Context> {
    if !is_traced() {
        return None;
    }
    let parent = Context::current();
    let span = SpanBuilder::from_name(name).with_kind(kind).with_attributes(says);
    Some(parent.with_span(global::tracer(SCOPE).build_with_context(span, &parent)))
}

/// Does work within a context, if there is one.
pub async fn within<T>(context: Option<&Context>, work: impl Future<Output = T>) -> T {
    match context {
        Some(context) => work.with_context(context.clone()).await,
        None => work.await,
    }
}

/// Ends a context's span; `failed`: the reason's label.
pub fn end(
    context: Option<&Context>,
    says: impl IntoIterator<Item = KeyValue>,
    failed: Option<&'static str>,
) {
    let Some(context) = context else { return };
    let span = context.span();
    span.set_attributes(says);
    if let Some(label) = failed {
        span.set_attribute(KeyValue::new("error.type", label));
        span.set_status(Status::error(label));
    }
    span.end();
}

/// Ends the span of a segment that was asked for.
pub(crate) fn made(context: Option<&Context>, made: &Result<EnhancedSegment, EnhanceError>) {
    match made {
        Ok(EnhancedSegment { report, .. }) => end(context, told(report), None),
        Err(error) => end(context, [], Some(error.label())),
    }
}

/// What a report says, for a span.
fn told(report: &Report) -> Vec<KeyValue> {
    let mut says = vec![
        KeyValue::new("acuity.made_by", report.made_by_what()),
        KeyValue::new("acuity.frames", i64::from(report.frames)),
        KeyValue::new("acuity.decoder", report.decoder),
        KeyValue::new("acuity.encoder", report.encoder),
        KeyValue::new("acuity.media_seconds", report.media_seconds),
    ];
    if let MadeBy::Model { tier, provider, precision, .. } = &report.made_by {
        says.push(KeyValue::new("acuity.tier", tier.clone()));
        says.push(KeyValue::new("acuity.provider", *provider));
        says.push(KeyValue::new("acuity.precision", *precision));
    }
    says.extend(report.fallback.map(|reason| KeyValue::new("acuity.fallback", reason.label())));
    says
}

/// Draws the stages of a segment that was made until `ended`, below the context's span.
///
/// A report says how long each stage was busy and not when: stages hand pictures on and overlap. So what runs side by side begins where the
/// pipeline began, and is as long as it was busy; what stands out is what the segment waited for.
pub(crate) fn stages(context: Option<&Context>, report: &Report, ended: SystemTime) {
    let Some(context) = context else { return };
    for (name, from, seconds) in drawn(&report.stages) {
        let start = ended.checked_sub(span_of(from)).unwrap_or(ended);
        let tracer = global::tracer(SCOPE);
        let span = SpanBuilder::from_name(name)
            .with_start_time(start)
            .with_attributes([KeyValue::new("acuity.busy_seconds", seconds)]);
        let span = tracer.build_with_context(span, context);
        let end = (start + span_of(seconds)).min(ended);
        Context::new().with_span(span).span().end_with_timestamp(end);
    }
}

/// Name, seconds before the end at which it begins, and seconds that it was busy.
fn drawn(stages: &StageSeconds) -> Vec<(&'static str, f64, f64)> {
    let StageSeconds { queue, demux, decode, infer, scale, interpolate, encode, mux, total } = *stages;
    let pipeline = total - demux;
    let all = [
        ("queue", total + queue, queue),
        ("demux", total, demux),
        ("decode", pipeline, decode),
        ("inference", pipeline, infer),
        ("scale", pipeline, scale),
        ("interpolate", pipeline, interpolate),
        ("encode", pipeline, encode),
        ("mux", mux, mux),
    ];
    all.into_iter().filter(|(.., seconds)| *seconds > 0.0).collect()
}

/// Reports come from workers: whatever they say is some length of time.
fn span_of(seconds: f64) -> Duration {
    Duration::try_from_secs_f64(seconds.clamp(0.0, 3600.0)).unwrap_or_default()
}

/// Puts the current context into a call's metadata.
pub(crate) fn inject(metadata: &mut MetadataMap) {
    let id = Context::map_current(|context| context.get::<RequestId>().cloned());
    if let Some(value) = id.and_then(|RequestId(id)| id.parse().ok()) {
        metadata.insert(X_REQUEST_ID, value);
    }
    if is_traced() {
        TraceContextPropagator::new().inject(&mut Metadata(metadata));
    }
}

/// The context that a call's metadata tell of. They are the edge's; what is no id is none all the same.
pub(crate) fn extract(metadata: &mut MetadataMap) -> Context {
    let context = TraceContextPropagator::new().extract_with_context(&Context::new(), &Metadata(metadata));
    let id = metadata.get(X_REQUEST_ID).and_then(|value| value.to_str().ok());
    let is_plain = |id: &&str| id.len() <= ID_LIMIT_BYTES && id.bytes().all(|byte| byte.is_ascii_graphic());
    match id.filter(is_plain) {
        Some(id) => context.with_value(RequestId(id.into())),
        None => context,
    }
}

/// Metadata as propagators want them.
struct Metadata<'a>(&'a mut MetadataMap);

impl Injector for Metadata<'_> {
    fn set(&mut self, key: &str, value: String) {
        if let (Ok(key), Ok(value)) = (MetadataKey::from_bytes(key.as_bytes()), value.parse()) {
            self.0.insert(key, value);
        }
    }
}

impl Extractor for Metadata<'_> {
    fn get(&self, key: &str) -> Option<&str> {
        self.0.get(key).and_then(|value| value.to_str().ok())
    }

    fn keys(&self) -> Vec<&str> {
        // Propagators ask by name.
        Vec::new()
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};

    use super::*;

    fn traced() -> Context {
        let (trace, span) = (TraceId::from(0xab), SpanId::from(0xcd));
        let span = SpanContext::new(trace, span, TraceFlags::SAMPLED, true, TraceState::default());
        Context::new().with_value(RequestId("req-1".into())).with_remote_span_context(span)
    }

    #[test]
    fn a_worker_knows_on_whose_behalf_it_works() {
        let mut metadata = MetadataMap::new();
        {
            let _context = traced().attach();
            inject(&mut metadata);
        }
        let there = extract(&mut metadata);
        assert_eq!(there.get::<RequestId>(), Some(&RequestId("req-1".into())));
        let span = there.span().span_context().clone();
        assert_eq!((span.trace_id(), span.span_id()), (TraceId::from(0xab), SpanId::from(0xcd)));
        assert!(span.is_sampled());
    }

    #[test]
    fn nothing_is_made_up_and_nothing_odd_is_taken() {
        let mut metadata = MetadataMap::new();
        inject(&mut metadata);
        assert!(metadata.is_empty());
        metadata.insert(X_REQUEST_ID, "a b".parse().unwrap());
        metadata.insert("traceparent", "00-zz-1-01".parse().unwrap());
        let context = extract(&mut metadata);
        assert!(context.get::<RequestId>().is_none() && !context.span().span_context().is_valid());
        assert!(child("x", SpanKind::Internal, Vec::new()).is_none(), "not traced");
    }

    #[test]
    fn stages_lie_within_their_segment() {
        let stages = StageSeconds {
            queue: 1.0,
            demux: 0.5,
            decode: 2.0,
            infer: 3.5,
            encode: 3.0,
            mux: 0.25,
            total: 4.0,
            ..StageSeconds::default()
        };
        let drawn = drawn(&stages);
        let names: Vec<_> = drawn.iter().map(|(name, ..)| *name).collect();
        assert_eq!(names, ["queue", "demux", "decode", "inference", "encode", "mux"]);
        assert!(drawn.iter().all(|(_, from, seconds)| seconds <= from), "{drawn:?}");
        assert_eq!(drawn[0], ("queue", 5.0, 1.0));
        assert_eq!(span_of(f64::NAN), Duration::ZERO);
    }
}
