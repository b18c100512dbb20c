//! What this program says of itself, on stderr; stdout is the access log's.
//!
//! A line that is written while a request is worked for tells which: the request's id, as its answer and the access log have it, and the
//! trace's id where it is traced. Both come from the context that goes with the work ([`crate::traces`]), so that nobody has to hand them to
//! whoever may have something to say.

use std::fmt;
use std::io::{self, IsTerminal};
use std::sync::Arc;

use acuity_config::{LogConfig, LogFormat, LogLevel};
use acuity_workers::trail::RequestId;
use opentelemetry::Context;
use opentelemetry::trace::TraceContextExt as _;
use tracing_subscriber::field::RecordFields;
use tracing_subscriber::fmt::format::{DefaultFields, Format, Json, JsonFields, Writer};
use tracing_subscriber::fmt::{FmtContext, FormatEvent, FormatFields};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{EnvFilter, reload};

/// Begins; `name`: of a worker, which writes to where its edge does. Gives what changes the level.
pub(super) fn start(log: &LogConfig, name: &str) -> Box<dyn Fn(LogLevel) + Send + Sync> {
    match log.format {
        LogFormat::Text => {
            let prefix: Arc<str> = if name.is_empty() { "".into() } else { format!("{name} ").into() };
            let builder = tracing_subscriber::fmt()
                .with_env_filter(filter(log.level))
                .with_writer(move || Lines { prefix: prefix.clone() })
                .with_ansi(io::stderr().is_terminal())
                .with_target(false)
                .fmt_fields(Fields)
                .with_filter_reloading();
            let handle = builder.reload_handle();
            // Fails only if a subscriber is set already, and then that one serves.
            let _ = builder.try_init();
            setter(handle)
        }
        LogFormat::Json => {
            let builder = tracing_subscriber::fmt()
                .with_env_filter(filter(log.level))
                .with_writer(|| Lines { prefix: "".into() })
                .fmt_fields(JsonFields::new())
                .event_format(Objects {
                    inner: Format::default().json().flatten_event(true).with_target(false),
                    name: name.into(),
                })
                .with_filter_reloading();
            let handle = builder.reload_handle();
            let _ = builder.try_init();
            setter(handle)
        }
    }
}

fn setter<S: 'static>(handle: reload::Handle<EnvFilter, S>) -> Box<dyn Fn(LogLevel) + Send + Sync> {
    Box::new(move |level| {
        let _ = handle.reload(filter(level));
    })
}

fn filter(level: LogLevel) -> EnvFilter {
    let level = level.as_str();
    // Libraries speak of their own affairs at info; ours are what an operator wants to read.
    // pingora has a line for each connection that breaks: strangers could fill a disk with them. They are counted instead.
    EnvFilter::new(format!(
        "warn,pingora_proxy=off,pingora_core::services=off,\
         acuity={level},acuity_proxy={level},acuity_enhancer={level},acuity_workers={level}"
    ))
}

/// On whose behalf the current thread works: request and trace.
fn behalf() -> (Option<Arc<str>>, Option<String>) {
    Context::map_current(|context| {
        let id = context.get::<RequestId>().map(|RequestId(id)| Arc::clone(id));
        let span = context.span().span_context().clone();
        (id, span.is_sampled().then(|| span.trace_id().to_string()))
    })
}

/// The fields of a line for people, and behind them whose request it is about.
struct Fields;

impl<'writer> FormatFields<'writer> for Fields {
    fn format_fields<R: RecordFields>(&self, mut writer: Writer<'writer>, fields: R) -> fmt::Result {
        DefaultFields::new().format_fields(writer.by_ref(), fields)?;
        let (request, trace) = behalf();
        if let Some(request) = request {
            write!(writer, " request={request}")?;
        }
        if let Some(trace) = trace {
            write!(writer, " trace_id={trace}")?;
        }
        Ok(())
    }
}

/// A line as one JSON object.
struct Objects {
    inner: Format<Json>,
    /// The process, where it is a worker.
    name: Arc<str>,
}

impl<S, N> FormatEvent<S, N> for Objects
where
    S: tracing::Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &tracing::Event<'_>,
    ) -> fmt::Result {
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        let (request, trace) = behalf();
        let name = (!self.name.is_empty()).then(|| self.name.to_string());
        let added = [("process", name), ("request", request.map(|id| id.to_string())), ("trace_id", trace)];
        writer.write_str(&with_fields(&line, added))
    }
}

/// An object with more fields, as a line.
fn with_fields<const N: usize>(object: &str, fields: [(&str, Option<String>); N]) -> String {
    let open = object.trim_end().strip_suffix('}').unwrap_or(object.trim_end());
    let mut line = open.to_owned();
    for (name, value) in fields {
        if let Some(value) = value {
            line += &format!(",\"{name}\":{}", serde_json::Value::String(value));
        }
    }
    line + "}\n"
}

/// Standard error, with something before each line.
struct Lines {
    prefix: Arc<str>,
}

impl io::Write for Lines {
    /// Gets one line at a time, and writes it at once: several processes write there.
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        let whole = [self.prefix.as_bytes(), line].concat();
        io::stderr().lock().write_all(&whole).map(|()| line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::sync::Mutex;

    use opentelemetry::trace::{SpanContext, SpanId, TraceFlags, TraceId, TraceState};
    use tracing_subscriber::fmt::MakeWriter;

    use super::*;

    #[derive(Clone, Default)]
    struct Heard(Arc<Mutex<Vec<u8>>>);

    impl io::Write for Heard {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            self.0.lock().unwrap().extend_from_slice(bytes);
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl<'a> MakeWriter<'a> for Heard {
        type Writer = Self;
        fn make_writer(&'a self) -> Self {
            self.clone()
        }
    }

    impl Heard {
        fn text(&self) -> String {
            String::from_utf8(self.0.lock().unwrap().clone()).unwrap()
        }
    }

    fn request(is_traced: bool) -> Context {
        let flags = if is_traced { TraceFlags::SAMPLED } else { TraceFlags::default() };
        let span = SpanContext::new(TraceId::from(0xab), SpanId::from(1), flags, true, TraceState::default());
        Context::new().with_value(RequestId("req-1".into())).with_remote_span_context(span)
    }

    fn say() {
        tracing::warn!(path = "/a \"b\"\n", "before");
        for is_traced in [false, true] {
            let _within = request(is_traced).attach();
            tracing::warn!("within");
        }
    }

    #[test]
    fn lines_for_people_tell_whose_request_it_is_about() {
        let heard = Heard::default();
        let subscriber =
            tracing_subscriber::fmt().with_writer(heard.clone()).with_ansi(false).fmt_fields(Fields);
        tracing::subscriber::with_default(subscriber.finish(), say);
        let text = heard.text();
        let lines: Vec<&str> = text.lines().collect();
        assert!(!lines[0].contains("request="), "{text}");
        assert!(lines[1].ends_with("within request=req-1"), "{text}");
        let traced = "within request=req-1 trace_id=000000000000000000000000000000ab";
        assert!(lines[2].ends_with(traced), "{text}");
    }

    #[test]
    fn objects_stay_objects() {
        let heard = Heard::default();
        let inner = Format::default().json().flatten_event(true).with_target(false);
        let subscriber = tracing_subscriber::fmt()
            .with_writer(heard.clone())
            .fmt_fields(JsonFields::new())
            .event_format(Objects { inner, name: "w0".into() });
        tracing::subscriber::with_default(subscriber.finish(), say);
        let lines: Vec<serde_json::Value> =
            heard.text().lines().map(|line| serde_json::from_str(line).unwrap()).collect();
        assert_eq!(lines.len(), 3);
        assert_eq!((&lines[0]["path"], &lines[0]["process"]), (&"/a \"b\"\n".into(), &"w0".into()));
        assert!(lines[0].get("request").is_none());
        assert_eq!((&lines[1]["request"], lines[1].get("trace_id")), (&"req-1".into(), None));
        assert_eq!(lines[2]["trace_id"], "000000000000000000000000000000ab");
    }
}
