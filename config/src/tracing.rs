//! `[tracing]`: where traces of requests are sent, and of how many.

use std::path::PathBuf;
use std::time::Duration;

use url::Url;

use crate::reader::{Refusal, Section};
use crate::words::quoted;

/// Traces in OpenTelemetry's protocol (OTLP).
#[derive(Clone, Debug, PartialEq)]
pub struct TracingConfig {
    /// The collector; none: nothing is traced.
    pub endpoint: Option<Url>,
    /// What it is spoken to in.
    pub protocol: TraceProtocol,
    /// Share of requests that are traced, 0 to 1, where nobody before the edge has decided.
    pub sample_ratio: f64,
    /// `service.name` of what is sent.
    pub service_name: String,
    /// Further attributes of the resource: names and values.
    pub attributes: Vec<(String, String)>,
    /// A file of `Name: value` lines that are sent as headers: credentials.
    pub headers_file: Option<PathBuf>,
    /// How long a batch may take to be taken, 100 ms to 1 min.
    pub timeout: Duration,
}

/// OTLP's ways.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum TraceProtocol {
    /// gRPC.
    Grpc,
    /// POST of protobuf messages.
    HttpProtobuf,
}

/// Most attributes of the resource, and the longest name or value: each goes with every batch.
const ATTRIBUTES_LIMIT: usize = 32;
const TEXT_LIMIT_BYTES: usize = 256;

impl Default for TracingConfig {
    fn default() -> Self {
        Self {
            // A collector cannot be guessed.
            endpoint: None,
            // What the specification names as the default, and what passes every proxy.
            protocol: TraceProtocol::HttpProtobuf,
            // One in a hundred tells where time goes; players ask all the time.
            sample_ratio: 0.01,
            service_name: "acuity".to_owned(),
            attributes: Vec::new(),
            headers_file: None,
            // Collectors stand near; one that needs longer is in trouble, and the queue has room for as long.
            timeout: Duration::from_secs(5),
        }
    }
}

impl TracingConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            endpoint: section.parsed("endpoint", endpoint),
            protocol: section.choice(
                "protocol",
                default.protocol,
                &[("http/protobuf", TraceProtocol::HttpProtobuf), ("grpc", TraceProtocol::Grpc)],
            ),
            sample_ratio: section.number("sample_ratio", default.sample_ratio, 0.0..=1.0),
            service_name: section
                .parsed("service_name", |name| text(name, "a name"))
                .unwrap_or(default.service_name),
            attributes: section.list("attributes", attribute).unwrap_or_default(),
            headers_file: section.path("headers_file"),
            timeout: section.duration(
                "timeout",
                default.timeout,
                Duration::from_millis(100)..=Duration::from_secs(60),
            ),
        };
        if config.attributes.len() > ATTRIBUTES_LIMIT {
            let message =
                format!("has {} entries; at most {ATTRIBUTES_LIMIT} are taken", config.attributes.len());
            section.fault("attributes", message, None);
        }
        if config.endpoint.is_none() && section.has("headers_file") && !section.has("endpoint") {
            section.fault("headers_file", "is of no use without an endpoint", None);
        }
        section.finish();
        config
    }
}

fn endpoint(text: &str) -> Result<Url, Refusal> {
    let refused = |what: &str| Refusal::new(format!("{} {what}", quoted(text)));
    let url = Url::parse(text).map_err(|error| refused(&format!("is not a URL: {error}")))?;
    if !matches!(url.scheme(), "http" | "https") || url.host().is_none() {
        return Err(refused("is not the URL of a collector").hint("http://127.0.0.1:4318, or https://..."));
    }
    if !url.username().is_empty() || url.password().is_some() {
        // Not repeated: it holds a password.
        return Err(
            Refusal::new("holds credentials").hint("put them into a headers_file, as `Authorization: ...`")
        );
    }
    if url.query().is_some() || url.fragment().is_some() {
        return Err(refused("has more than a path"));
    }
    Ok(url)
}

fn text(text: &str, what: &str) -> Result<String, Refusal> {
    if text.is_empty() || text.len() > TEXT_LIMIT_BYTES || text.chars().any(char::is_control) {
        return Err(Refusal::new(format!("{} is not {what}", quoted(text)))
            .hint(format!("1 to {TEXT_LIMIT_BYTES} bytes of printable text")));
    }
    Ok(text.to_owned())
}

/// `name=value`.
fn attribute(written: &str) -> Result<(String, String), Refusal> {
    let Some((name, value)) = written.split_once('=') else {
        return Err(Refusal::new(format!("{} is not an attribute", quoted(written)))
            .hint("write it as \"deployment.environment.name=production\""));
    };
    Ok((text(name.trim(), "an attribute's name")?, text(value.trim(), "an attribute's value")?))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::tests::one_fault;

    fn document(section: &str) -> String {
        format!("[[route]]\nprefix = \"/x\"\norigin = \"https://o.example\"\n[tracing]\n{section}")
    }

    #[test]
    fn a_collector_is_enough() {
        let off = crate::parse(&document("")).unwrap().tracing;
        assert_eq!(off, TracingConfig::default());
        assert_eq!(off.endpoint, None, "off");
        let text = "endpoint = \"http://127.0.0.1:4317\"\nprotocol = \"grpc\"\nsample_ratio = 1\n\
                    attributes = [\"deployment.environment.name = test\", \"k=a=b\"]";
        let on = crate::parse(&document(text)).unwrap().tracing;
        assert_eq!(on.endpoint.unwrap().as_str(), "http://127.0.0.1:4317/");
        assert_eq!((on.protocol, on.sample_ratio), (TraceProtocol::Grpc, 1.0));
        let pair = |name: &str, value: &str| (name.to_owned(), value.to_owned());
        assert_eq!(on.attributes, [pair("deployment.environment.name", "test"), pair("k", "a=b")]);
    }

    #[test]
    fn faults() {
        let endpoint = |url: &str| document(&format!("endpoint = \"{url}\""));
        for (text, expected) in [
            (endpoint("collector:4317"), "is not the URL of a collector"),
            (endpoint("ftp://c/"), "is not the URL of a collector"),
            (endpoint("http://"), "is not a URL"),
            (endpoint("https://me:secret@c/"), "tracing.endpoint: holds credentials"),
            (endpoint("http://c/?a=b"), "has more than a path"),
            (document("protocol = \"http\""), "is not one of"),
            (document("sample_ratio = 1.5"), "is not between 0 and 1"),
            (document("timeout = \"1ms\""), "is not between 100ms and 1m"),
            (document("service_name = \"\""), "is not a name"),
            (document("attributes = [\"abc\"]"), "is not an attribute"),
            (document("attributes = [\"=x\"]"), "is not an attribute's name"),
            (document("headers_file = \"h\""), "is of no use without an endpoint"),
        ] {
            one_fault(&text, expected);
        }
    }
}
