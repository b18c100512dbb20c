//! What the enhancer's values are on the wire, and back.
//!
//! What comes from a worker is looked at like what comes from strangers: it may be theirs by now. Names are taken from lists that this
//! program knows, texts are bounded, and what is neither is an error.

mod error;
pub(crate) mod families;
mod report;
mod request;

#[allow(missing_docs, unreachable_pub, clippy::all, clippy::pedantic)] // generated
pub(crate) mod v1 {
    tonic::include_proto!("acuity.worker.v1");
}

pub(crate) use error::{refusal, status};
pub(crate) use report::{report, report_message};
pub(crate) use request::{PIECE_BYTES, begin, from_now, millis_from_now, parts, spec};

/// Something that the other side said makes no sense.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Nonsense(pub(crate) &'static str);

/// Longest name that is taken from the other side, in bytes; the catalogue's are shorter.
pub(crate) const NAME_LIMIT: usize = 256;

/// A name that may become a label, a header or a log field.
pub(crate) fn name(text: String) -> Result<String, Nonsense> {
    let is_plain = text.bytes().all(|byte| byte.is_ascii_graphic());
    if is_plain && text.len() <= NAME_LIMIT { Ok(text) } else { Err(Nonsense("a name")) }
}

/// One of the words that this program knows, in its own memory.
pub(crate) fn known(text: &str, words: &[&'static str]) -> Result<&'static str, Nonsense> {
    words.iter().find(|word| **word == text).copied().ok_or(Nonsense("an unknown word"))
}
