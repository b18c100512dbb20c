//! The span of a fetch.

use acuity_workers::trail;
use http::Method;
use opentelemetry::trace::SpanKind;
use opentelemetry::{Context, KeyValue};

use super::{Fetch, Fetched, OriginError};
use crate::traces;

/// Begins it, where the request that it is for is traced.
pub(super) fn begin(fetch: &Fetch<'_>) -> Option<Context> {
    if !trail::is_traced() {
        return None;
    }
    trail::child("GET", SpanKind::Client, traces::toward(&Method::GET, fetch.url))
}

/// Ends it.
pub(super) fn end(span: Option<&Context>, result: &Result<Fetched, OriginError>) {
    let (status, bytes, failed) = match result {
        Ok(Fetched::New(source)) => (None, i64::try_from(source.bytes.len()).ok(), None),
        Ok(Fetched::NotModified) => (Some(304), None, None),
        Err(OriginError::Status(refusal)) => (Some(i64::from(refusal.status.as_u16())), None, Some("status")),
        Err(error) => (None, None, Some(error.label())),
    };
    let says = status.map(|status| KeyValue::new("http.response.status_code", status));
    let size = bytes.map(|bytes| KeyValue::new("http.response.body.size", bytes));
    trail::end(span, says.into_iter().chain(size), failed);
}
