//! Refusals as gRPC has them: a status code that says whether to come again, and google.rpc.ErrorInfo with the reason.

use std::collections::HashMap;

use acuity_enhancer::{EnhanceError, Unsupported};
use tonic::{Code, Status};
use tonic_types::{ErrorDetails, StatusExt};

/// Whose reasons they are.
const DOMAIN: &str = "acuity";

/// Longest text of a refusal that is handed on.
const MESSAGE_LIMIT: usize = 512;

/// The codec's stages, as [`EnhanceError::Codec`] names them.
const STAGES: [&str; 4] = ["decode", "scale", "interpolate", "encode"];

/// A refusal, for the other side.
pub(crate) fn status(error: &EnhanceError) -> Status {
    let code = match error {
        EnhanceError::QueueFull { .. } => Code::ResourceExhausted,
        EnhanceError::TooLate => Code::DeadlineExceeded,
        EnhanceError::MadeRoom => Code::Aborted,
        EnhanceError::ShuttingDown => Code::Unavailable,
        EnhanceError::Cancelled => Code::Cancelled,
        EnhanceError::Container(_) | EnhanceError::Unreadable(_) => Code::InvalidArgument,
        EnhanceError::OpensMidGop => Code::FailedPrecondition,
        EnhanceError::Unsupported(_) => Code::Unimplemented,
        EnhanceError::Codec { .. } => Code::Internal,
        EnhanceError::WorkerLost => Code::DataLoss,
        EnhanceError::NoWorker => Code::Unavailable,
    };
    let mut facts = HashMap::new();
    match error {
        EnhanceError::QueueFull { limit } => {
            facts.insert("limit".to_owned(), limit.to_string());
        }
        EnhanceError::Codec { stage, .. } => {
            facts.insert("stage".to_owned(), (*stage).to_owned());
        }
        _ => {}
    }
    let message = match error {
        EnhanceError::Codec { message, .. } => message.clone(),
        error => error.to_string(),
    };
    let details = ErrorDetails::with_error_info(error.label(), DOMAIN, facts);
    Status::with_error_details(code, message, details)
}

/// The refusal that a status carries; `None` if it is none of the enhancer's, but the connection's or the process's end.
pub(crate) fn refusal(status: &Status) -> Option<EnhanceError> {
    let info = status.get_details_error_info().filter(|info| info.domain == DOMAIN)?;
    let message = || status.message().chars().take(MESSAGE_LIMIT).collect::<String>();
    let unsupported = || Unsupported::ALL.into_iter().find(|why| why.label() == info.reason);
    Some(match info.reason.as_str() {
        "queue_full" => EnhanceError::QueueFull {
            limit: info.metadata.get("limit").and_then(|limit| limit.parse().ok()).unwrap_or_default(),
        },
        "too_late" => EnhanceError::TooLate,
        "made_room" => EnhanceError::MadeRoom,
        "shutting_down" => EnhanceError::ShuttingDown,
        "cancelled" => EnhanceError::Cancelled,
        "source_unreadable" => EnhanceError::Unreadable(message()),
        "opens_mid_gop" => EnhanceError::OpensMidGop,
        "worker_lost" => EnhanceError::WorkerLost,
        "no_worker" => EnhanceError::NoWorker,
        "codec_failed" => {
            let said = info.metadata.get("stage").map(String::as_str).unwrap_or_default();
            let stage = STAGES.into_iter().find(|stage| *stage == said).unwrap_or("codec");
            EnhanceError::Codec { stage, message: message() }
        }
        _ => EnhanceError::Unsupported(unsupported()?),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn refusals_come_back_as_they_went() {
        let codec = EnhanceError::Codec { stage: "decode", message: "no picture".into() };
        let mut all = vec![
            EnhanceError::QueueFull { limit: 7 },
            EnhanceError::TooLate,
            EnhanceError::MadeRoom,
            EnhanceError::ShuttingDown,
            EnhanceError::Cancelled,
            EnhanceError::Unreadable("the segment is empty".into()),
            EnhanceError::OpensMidGop,
            EnhanceError::WorkerLost,
            EnhanceError::NoWorker,
            codec,
        ];
        all.extend(Unsupported::ALL.map(EnhanceError::Unsupported));
        for error in all {
            let back = refusal(&status(&error)).unwrap();
            assert_eq!((back.to_string(), back.label()), (error.to_string(), error.label()));
        }
    }

    #[test]
    fn a_lost_connection_is_no_refusal() {
        assert!(refusal(&Status::unavailable("broken pipe")).is_none());
        let details = ErrorDetails::with_error_info("made_up", DOMAIN, HashMap::<String, String>::new());
        assert!(refusal(&Status::with_error_details(Code::Internal, "", details)).is_none());
    }
}
