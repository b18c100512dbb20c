//! The one table from what went wrong to what is done about it.
//!
//! Two rules made it. *A failed enhancement is never an error to the player*: the ladder goes from the model to the plain
//! scaler through the same encoder (same SPS, same init segment), and only where not even that is possible to the
//! source's own bytes. *The origin's faults are the origin's*: its refusals are passed on with its status, its silence is
//! a 504 and its absence a 502, as with any proxy.

use acuity_enhancer::EnhanceError;
use http::StatusCode;

use crate::cache::flight::FlightError;
use crate::crypt::CryptError;
use crate::origin::OriginError;

/// What went wrong on the way to an enhanced object.
#[derive(Debug)]
pub enum Trouble {
    /// The source segment, init segment or playlist could not be fetched.
    Origin(OriginError),
    /// The key could not be fetched, or the edge may not fetch it.
    Key(Option<OriginError>),
    /// The key does not fit.
    Crypt(CryptError),
    /// The enhancer refused or failed.
    Enhance(EnhanceError),
    /// The work could not be shared.
    Flight(FlightError),
    /// Its playlist says that the segment lasts longer than one piece of work may.
    TooLong,
    /// The playlist lists no such segment, or cannot be read as one.
    NotListed,
    /// Enhancement was switched off for the route.
    SwitchedOff,
    /// Another node wanted it, and its origin forbids that it is shared.
    Private,
}

/// What is done about it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Remedy {
    /// Ask the enhancer again in a little while: there was no room.
    Wait,
    /// Ask again with the plain scaler and without a deadline.
    Plain,
    /// Ask again with the segments before this one.
    LeadIn,
    /// Ask again, repeating the first picture that can be decoded in place of those that cannot.
    Hold,
    /// Send the source's bytes, which are in hand.
    SourceBytes,
    /// Let the origin answer this request itself, streamed.
    PassThrough,
    /// Send the origin's own refusal.
    PassOn,
    /// Send this status: the origin is at fault.
    Status(StatusCode),
}

/// What has been tried for this object, so that no remedy is tried for ever.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Tried {
    /// The plain scaler.
    pub plain: bool,
    /// Preceding segments.
    pub lead_in: bool,
    /// Repeating what can be decoded.
    pub hold: bool,
    /// Waiting, as long as is worth it.
    pub patience_over: bool,
}

impl Trouble {
    /// What to do next.
    #[must_use]
    pub fn remedy(&self, tried: Tried) -> Remedy {
        match self {
            Self::Origin(OriginError::Status(_)) => Remedy::PassOn,
            Self::Origin(OriginError::Timeout { .. }) => Remedy::Status(StatusCode::GATEWAY_TIMEOUT),
            Self::Origin(
                OriginError::Unreachable { .. } | OriginError::Broken { .. } | OriginError::Range,
            ) => Remedy::Status(StatusCode::BAD_GATEWAY),
            // Too large to be held, packed with a word of it that only passing on keeps, or led where only the client may go.
            Self::Origin(OriginError::TooLarge { .. } | OriginError::Encoded | OriginError::Redirect) => {
                Remedy::PassThrough
            }
            Self::Key(_) | Self::Crypt(_) | Self::SwitchedOff => Remedy::SourceBytes,
            // Who waits here begins anew, for himself.
            Self::Private => Remedy::Wait,
            Self::Flight(FlightError::TooMany | FlightError::Lost) | Self::NotListed | Self::TooLong => {
                Remedy::PassThrough
            }
            Self::Enhance(error) => match error {
                EnhanceError::QueueFull { .. } | EnhanceError::MadeRoom if !tried.patience_over => {
                    Remedy::Wait
                }
                EnhanceError::OpensMidGop if !tried.lead_in => Remedy::LeadIn,
                EnhanceError::OpensMidGop if !tried.hold => Remedy::Hold,
                EnhanceError::Codec { .. } | EnhanceError::WorkerLost if !tried.plain => Remedy::Plain,
                EnhanceError::TooLate
                | EnhanceError::QueueFull { .. }
                | EnhanceError::MadeRoom
                | EnhanceError::OpensMidGop
                | EnhanceError::Codec { .. }
                | EnhanceError::WorkerLost
                // One for the plain scaler is no sooner ready.
                | EnhanceError::NoWorker
                | EnhanceError::ShuttingDown
                | EnhanceError::Cancelled
                | EnhanceError::Container(_)
                | EnhanceError::Unreadable(_)
                | EnhanceError::Unsupported(_) => Remedy::SourceBytes,
            },
        }
    }

    /// The metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Origin(error) => error.label(),
            Self::Key(_) => "key_unavailable",
            Self::Crypt(_) => "key_unusable",
            Self::Enhance(error) => error.label(),
            Self::Flight(FlightError::TooMany) => "overloaded",
            Self::Flight(FlightError::Lost) => "work_lost",
            Self::TooLong => "segment_too_long",
            Self::NotListed => "not_listed",
            Self::SwitchedOff => "switched_off",
            Self::Private => "private",
        }
    }
}

impl std::fmt::Display for Trouble {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Origin(error) => write!(f, "{error}"),
            Self::Key(Some(error)) => write!(f, "the key: {error}"),
            Self::Key(None) => f.write_str("the key is on no configured origin"),
            Self::Crypt(error) => write!(f, "{error}"),
            Self::Enhance(error) => write!(f, "{error}"),
            Self::Flight(error) => write!(f, "{error}"),
            Self::TooLong => f.write_str("the source segment lasts too long"),
            Self::NotListed => f.write_str("the source playlist does not list it"),
            Self::SwitchedOff => f.write_str("enhancement is switched off for this route"),
            Self::Private => f.write_str("the origin forbids that other nodes get it"),
        }
    }
}

#[cfg(test)]
#[path = "rescue_tests.rs"]
mod tests;
