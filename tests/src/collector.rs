//! A collector of traces: takes what an edge exports over OTLP, by HTTP or by gRPC, and keeps it as it came.

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use axum::Router;
use axum::extract::State;
use axum::http::{HeaderMap, StatusCode};
use axum::routing::post;
use bytes::Bytes;
use opentelemetry_proto::tonic::collector::trace::v1::trace_service_server::{
    TraceService, TraceServiceServer,
};
use opentelemetry_proto::tonic::collector::trace::v1::{
    ExportTraceServiceRequest, ExportTraceServiceResponse,
};
use opentelemetry_proto::tonic::common::v1::any_value::Value;
use opentelemetry_proto::tonic::common::v1::{AnyValue, KeyValue};
use prost::Message as _;
use tokio::net::TcpListener;
use tokio::task::JoinHandle;
use tokio_stream::wrappers::TcpListenerStream;

use crate::Result;

/// How long what was asked for may take until it is here: spans are gathered for a second.
const PATIENCE: Duration = Duration::from_secs(30);

/// A collector; ends when dropped.
#[derive(Debug)]
pub struct Collector {
    address: SocketAddr,
    taken: Taken,
    task: JoinHandle<()>,
}

#[derive(Debug, Clone, Default)]
struct Taken(Arc<Mutex<Exports>>);

#[derive(Debug, Default)]
struct Exports {
    spans: Vec<Span>,
    raw: Vec<u8>,
    headers: Vec<(String, String)>,
}

/// A span, with its resource.
#[derive(Debug, Clone, PartialEq)]
pub struct Span {
    /// Its name.
    pub name: String,
    /// Hexadecimal.
    pub trace: String,
    /// Hexadecimal.
    pub id: String,
    /// Hexadecimal; empty where it is a root.
    pub parent: String,
    /// OTLP's number: 1 internal, 2 server, 3 client.
    pub kind: i32,
    /// Nanoseconds since 1970.
    pub start_nanos: u64,
    /// Nanoseconds since 1970.
    pub end_nanos: u64,
    /// Attributes, as text.
    pub says: BTreeMap<String, String>,
    /// What it refers to: traces and spans, hexadecimal.
    pub links: Vec<(String, String)>,
    /// The resource's attributes, as text.
    pub resource: BTreeMap<String, String>,
    /// Whether it tells of a failure.
    pub failed: bool,
}

impl Collector {
    /// One that is posted to.
    ///
    /// # Errors
    /// No port is free.
    pub async fn http() -> Result<Self> {
        let (listener, address, taken) = bind().await?;
        let router = Router::new().route("/v1/traces", post(posted)).with_state(taken.clone());
        let task = tokio::spawn(async move { drop(axum::serve(listener, router).await) });
        Ok(Self { address, taken, task })
    }

    /// One that is called.
    ///
    /// # Errors
    /// No port is free.
    pub async fn grpc() -> Result<Self> {
        let (listener, address, taken) = bind().await?;
        let service = TraceServiceServer::new(taken.clone());
        let served = tonic::transport::Server::builder()
            .add_service(service)
            .serve_with_incoming(TcpListenerStream::new(listener));
        let task = tokio::spawn(async move { drop(served.await) });
        Ok(Self { address, taken, task })
    }

    /// One that takes connections and never says a word.
    ///
    /// # Errors
    /// No port is free.
    pub async fn silent() -> Result<Self> {
        let (listener, address, taken) = bind().await?;
        let task = tokio::spawn(async move {
            let mut held = Vec::new();
            while let Ok((connection, _)) = listener.accept().await {
                held.push(connection);
            }
        });
        Ok(Self { address, taken, task })
    }

    /// As an edge's configuration has it, in quotes.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("\"http://{}\"", self.address)
    }

    /// What has come so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        self.taken.lock().spans.clone()
    }

    /// All that has come, byte for byte.
    #[must_use]
    pub fn raw(&self) -> Vec<u8> {
        self.taken.lock().raw.clone()
    }

    /// The headers (or metadata) that came with it.
    #[must_use]
    pub fn headers(&self) -> Vec<(String, String)> {
        self.taken.lock().headers.clone()
    }

    /// Waits until what has come is enough.
    ///
    /// # Errors
    /// It was not for half a minute; with the names of what came.
    pub async fn until(&self, what: &str, enough: impl Fn(&[Span]) -> bool) -> Result<Vec<Span>> {
        let start = Instant::now();
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return Ok(spans);
            }
            if start.elapsed() > PATIENCE {
                return Err(format!("not within {PATIENCE:?}: {what}; there are {spans:#?}").into());
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }
}

impl Drop for Collector {
    fn drop(&mut self) {
        self.task.abort();
    }
}

async fn bind() -> Result<(TcpListener, SocketAddr, Taken)> {
    let listener = TcpListener::bind("127.0.0.1:0").await?;
    let address = listener.local_addr()?;
    Ok((listener, address, Taken::default()))
}

async fn posted(State(taken): State<Taken>, headers: HeaderMap, body: Bytes) -> StatusCode {
    let Ok(request) = ExportTraceServiceRequest::decode(body.clone()) else { return StatusCode::BAD_REQUEST };
    let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
    taken.take(&body, request, headers.iter().map(|(name, value)| (name.to_string(), text(value))));
    StatusCode::OK
}

#[tonic::async_trait]
impl TraceService for Taken {
    async fn export(
        &self,
        request: tonic::Request<ExportTraceServiceRequest>,
    ) -> std::result::Result<tonic::Response<ExportTraceServiceResponse>, tonic::Status> {
        let metadata = request.metadata().clone().into_headers();
        let text = |value: &axum::http::HeaderValue| value.to_str().unwrap_or_default().to_owned();
        let headers: Vec<_> = metadata.iter().map(|(name, value)| (name.to_string(), text(value))).collect();
        let message = request.into_inner();
        // Fields that the message does not know are not kept; there are none.
        self.take(&message.encode_to_vec(), message, headers.into_iter());
        Ok(tonic::Response::new(ExportTraceServiceResponse::default()))
    }
}

impl Taken {
    fn lock(&self) -> MutexGuard<'_, Exports> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn take(
        &self,
        raw: &[u8],
        request: ExportTraceServiceRequest,
        headers: impl Iterator<Item = (String, String)>,
    ) {
        let mut exports = self.lock();
        exports.raw.extend_from_slice(raw);
        exports.headers.extend(headers);
        for of_resource in request.resource_spans {
            let resource =
                texts(of_resource.resource.map(|resource| resource.attributes).unwrap_or_default());
            for span in of_resource.scope_spans.into_iter().flat_map(|scope| scope.spans) {
                exports.spans.push(Span {
                    name: span.name,
                    trace: hex(&span.trace_id),
                    id: hex(&span.span_id),
                    parent: hex(&span.parent_span_id),
                    kind: span.kind,
                    start_nanos: span.start_time_unix_nano,
                    end_nanos: span.end_time_unix_nano,
                    says: texts(span.attributes),
                    links: span.links.iter().map(|link| (hex(&link.trace_id), hex(&link.span_id))).collect(),
                    resource: resource.clone(),
                    failed: span.status.is_some_and(|status| status.code == 2),
                });
            }
        }
    }
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn texts(attributes: Vec<KeyValue>) -> BTreeMap<String, String> {
    attributes.into_iter().map(|pair| (pair.key, text(pair.value))).collect()
}

fn text(value: Option<AnyValue>) -> String {
    match value.and_then(|value| value.value) {
        Some(Value::StringValue(text)) => text,
        Some(Value::IntValue(number)) => number.to_string(),
        Some(Value::DoubleValue(number)) => number.to_string(),
        Some(Value::BoolValue(flag)) => flag.to_string(),
        other => format!("{other:?}"),
    }
}
