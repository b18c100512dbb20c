//! A request that goes on to an origin: to which one, and what becomes of it there.
//!
//! What was not sent may be sent to the next origin, whatever it is. What may have been sent is sent again only if it reads and nothing
//! else (GET, HEAD), and only while the client has got nothing: neither is ever true of a POST.

use std::time::{Duration, Instant};

use http::{Method, StatusCode};
use pingora::proxy::Session;
use pingora::{Error, ErrorSource, ErrorType};
use url::Url;

use crate::origin::Tries;
use crate::origin::tries::Slot;
use crate::peers::Patience;
use crate::site::Site;

/// Times a request that was not yet sent is tried at the last origin's next address.
const CONNECT_ATTEMPTS: usize = 2;

/// What the origin answered is not handed on: another one is asked. Nobody but [`Pass::broke`] sees it.
const ASKS_NEXT: ErrorType = ErrorType::Custom("the next origin is asked");

/// All origins have as much to do as they may.
pub(super) const FULL: ErrorType = ErrorType::Custom("the origins are full");

/// Where a request goes on to.
pub(super) struct Pass {
    pub(super) site: Site,
    pub(super) edge_path: String,
    tries: Tries,
    slot: Option<Slot>,
    began: Instant,
    connect_attempts: usize,
    told: Told,
}

/// What has been said of the origin that is asked now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Told {
    Nothing,
    Answered,
    Failed,
}

impl Pass {
    pub(super) fn new(site: Site, edge_path: String, tries: Tries) -> Self {
        let began = Instant::now();
        Self { site, edge_path, tries, slot: None, began, connect_attempts: 0, told: Told::Nothing }
    }

    /// Where the origin that is asked now has it.
    pub(super) fn url(&self) -> &Url {
        self.tries.url()
    }

    /// Waits for room at an origin, and gives where it is, the number of its address to take, and for how long to wait for it.
    pub(super) async fn place(&mut self) -> Option<(&Url, usize, Patience)> {
        if self.slot.is_none() {
            self.slot = Some(self.tries.slot().await?);
        }
        let timeouts = self.tries.timeouts();
        let read = if self.tries.has_next() {
            timeouts.first_byte.min(timeouts.idle)
        } else if self.tries.has_several() {
            // What is left, so that several origins take no longer than one may.
            let left = timeouts.total.saturating_sub(self.began.elapsed());
            timeouts.idle.min(left.max(Duration::from_secs(1)))
        } else {
            timeouts.idle
        };
        Some((self.tries.url(), self.connect_attempts, Patience { connect: timeouts.connect, read }))
    }

    /// No connection could be had, so nothing was sent. Whether there is another way.
    pub(super) fn cannot_connect(&mut self, error: &Error) -> bool {
        let why = if is_time_out(error) { "timeout" } else { "unreachable" };
        self.fail(why);
        if self.goes_on(why) {
            return true;
        }
        self.connect_attempts += 1;
        let again = self.connect_attempts < CONNECT_ATTEMPTS && !self.tries.has_next();
        if again {
            self.told = Told::Nothing;
        }
        again
    }

    /// The origin has begun to answer. `Err`: another one is asked instead.
    pub(super) fn answers(&mut self, session: &Session, status: StatusCode) -> pingora::Result<()> {
        if status.is_informational() || self.told != Told::Nothing {
            return Ok(());
        }
        if !status.is_server_error() {
            self.told = Told::Answered;
            self.tries.answered();
            return Ok(());
        }
        self.fail("status_5xx");
        if may_repeat(session) && self.goes_on("status_5xx") {
            return Err(Error::new_up(ASKS_NEXT));
        }
        // The origin's own word is better than ours.
        Ok(())
    }

    /// It broke after the connection stood. Whether the request is to be made again; `same`: as pingora would, at the same origin, because
    /// the connection had been left by it before.
    pub(super) fn broke(&mut self, session: &Session, error: &Error, same: bool) -> bool {
        if *error.esource() != ErrorSource::Upstream {
            return false;
        }
        if *error.etype() == ASKS_NEXT || (same && may_repeat(session)) {
            return true;
        }
        let why = if is_time_out(error) { "timeout" } else { "broken" };
        self.fail(why);
        may_repeat(session) && self.goes_on(why)
    }

    /// Counts against the origin, once.
    fn fail(&mut self, why: &'static str) {
        if std::mem::replace(&mut self.told, Told::Failed) != Told::Failed {
            self.tries.failed(why);
        }
    }

    fn goes_on(&mut self, why: &'static str) -> bool {
        let goes = self.is_in_time() && self.tries.next(why);
        if goes {
            (self.slot, self.told) = (None, Told::Nothing);
        }
        goes
    }

    fn is_in_time(&self) -> bool {
        self.began.elapsed() < self.tries.timeouts().total
    }
}

/// Whether a request changes nothing however often it is made, and its client has got nothing of an answer.
fn may_repeat(session: &Session) -> bool {
    let reads = matches!(session.req_header().method, Method::GET | Method::HEAD);
    reads && session.response_written().is_none()
}

fn is_time_out(error: &Error) -> bool {
    matches!(
        error.etype(),
        ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout | ErrorType::ReadTimedout
    )
}

/// The status that an error on the way to the origin gives; `None` if the client is gone.
pub(super) fn status_of(error: &Error) -> Option<StatusCode> {
    match (error.etype(), error.esource()) {
        (
            ErrorType::ConnectTimedout | ErrorType::TLSHandshakeTimedout | ErrorType::ReadTimedout,
            ErrorSource::Upstream,
        ) => Some(StatusCode::GATEWAY_TIMEOUT),
        (etype, _) if *etype == FULL => Some(StatusCode::SERVICE_UNAVAILABLE),
        (ErrorType::InvalidHTTPHeader, ErrorSource::Downstream) => Some(StatusCode::BAD_REQUEST),
        (_, ErrorSource::Downstream) => None,
        _ => Some(StatusCode::BAD_GATEWAY),
    }
}
