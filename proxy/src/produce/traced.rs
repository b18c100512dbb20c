//! The span of an object that is made, and the waiting for one that somebody else has made.

use acuity_workers::trail;
use opentelemetry::trace::{FutureExt as _, SpanKind};
use opentelemetry::{Context, KeyValue};

use super::job::Reason;
use super::{Made, Product};
use crate::traces;
use crate::wanted::Wanted;

/// Begins the span of an object that is made, where that is traced: below the request's that it is made for, or, where nobody has asked for it
/// yet, in a trace of its own that follows from the request's which it was foreseen by.
pub(super) fn begin(wanted: &Wanted, reason: &Reason) -> Option<Context> {
    if !trail::is_traced() {
        return None;
    }
    match reason {
        Reason::Viewer { .. } => trail::child("make", SpanKind::Internal, said(wanted)),
        Reason::Ahead { .. } => traces::following("make ahead", said(wanted)),
        Reason::Improve => traces::following("improve", said(wanted)),
    }
}

/// The making of an object, within its span.
pub(super) fn flight<W: Future<Output = Made> + Send>(
    span: Option<Context>,
    work: W,
) -> impl Future<Output = Made> + Send + use<W> {
    let context = span.clone().unwrap_or_else(Context::current);
    async move {
        let made = work.with_context(context).await;
        match &made {
            Ok((product, outcome)) => {
                let mut says = vec![KeyValue::new("acuity.outcome", outcome.label())];
                if let Product::Whole(object) = product {
                    says.push(KeyValue::new("acuity.made_by", object.made_by.to_string()));
                    says.push(KeyValue::new(
                        "acuity.bytes",
                        i64::try_from(object.bytes.len()).unwrap_or(i64::MAX),
                    ));
                }
                trail::end(span.as_ref(), says, None);
            }
            Err(trouble) => trail::end(span.as_ref(), [], Some(trouble.label())),
        }
        made
    }
}

fn said(wanted: &Wanted) -> Vec<KeyValue> {
    let token = &wanted.token;
    vec![
        KeyValue::new("url.path", traces::path_of(&wanted.path_and_query)),
        KeyValue::new("acuity.cluster", token.cluster.clone()),
        KeyValue::new("acuity.rendition", format!("{}x{}", token.width, token.height)),
    ]
}
