//! The journeys of requests that the edge answers itself, one file each. They take what a client asked and give a complete
//! answer, or say that the request is to be passed through to the origin. `edge` writes what they give.
//!
//! | module | what |
//! |---|---|
//! | [`playlist`] | a playlist outside the edge's own prefix: enhanced renditions are offered here, and only here |
//! | [`models`] | below `/~acuity/models/`: the networks themselves, and what describes them |
//! | [`enhanced`] | below `/~acuity/<token>/`: the media playlist, init and media segments of an enhanced rendition |

pub mod enhanced;
pub mod models;
pub mod playlist;

use http::HeaderMap;

use crate::metrics::Kind;
use crate::rescue::{Remedy, Tried, Trouble};
use crate::respond::{self, Answer};

/// Where a journey ends.
#[derive(Debug)]
pub enum End {
    /// Here.
    Answer(Box<Answer>),
    /// At the origin: the request goes on as it came, to this edge path (token removed).
    Pass {
        /// Normalised edge path and query.
        path_and_query: String,
    },
}

impl From<Answer> for End {
    fn from(answer: Answer) -> Self {
        Self::Answer(Box::new(answer))
    }
}

/// What the table of remedies says of a trouble that the enhancer is no part of.
fn end_of(trouble: &Trouble, request: &HeaderMap, kind: Kind, path_and_query: &str) -> End {
    let pass = || End::Pass { path_and_query: path_and_query.to_owned() };
    match (trouble.remedy(Tried::default()), trouble) {
        (Remedy::PassOn, Trouble::Origin(crate::origin::OriginError::Status(refusal))) => {
            respond::refusal(request, refusal, kind).into()
        }
        (Remedy::Status(status), _) => {
            let mut answer = respond::origin_fault(request, status, kind);
            answer.error = Some(trouble.to_string());
            answer.into()
        }
        _ => pass(),
    }
}
