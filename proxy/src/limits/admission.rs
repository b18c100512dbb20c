//! The limits on a request, before it is looked at: whose it is, how often that client asks, and how large it is.

use std::net::IpAddr;
use std::time::{Duration, Instant};

use acuity_config::{Config, IpNet};
use http::header::{CONTENT_LENGTH, RETRY_AFTER};
use http::{HeaderMap, HeaderName, HeaderValue, StatusCode};
use pingora::http::RequestHeader;

use super::Limit;
use super::address::{self, ClientKey};
use super::clients::{Client, Clients, Held, Met};
use crate::metrics::{Kind, Outcome};
use crate::respond::{self, Answer};

const FORWARDED_FOR: HeaderName = HeaderName::from_static("x-forwarded-for");

/// What a header costs beside its name and value, as HTTP/2 counts it (RFC 9113, 6.5.2).
const HEADER_OVERHEAD_BYTES: usize = 32;

/// The limits on requests.
pub struct Admission {
    trusted: Vec<IpNet>,
    header_bytes: usize,
    body_bytes: u64,
    body_timeout: Duration,
}

/// A request that was let in, or is to be refused; what it holds counts until this is dropped.
#[derive(Default)]
pub struct Admitted {
    /// The client's address, where its connection has one.
    pub address: Option<IpAddr>,
    /// The client.
    pub client: Client,
    /// The limit that it met.
    pub met: Option<Limit>,
    body_bytes: u64,
    _held: Option<Held>,
}

impl Admitted {
    /// The limit that this request met, at its begin or later.
    #[must_use]
    pub fn met(&self) -> Option<Limit> {
        self.met.or_else(|| self.client.met())
    }
}

impl Admission {
    /// The limits of a configuration.
    #[must_use]
    pub fn new(config: &Config) -> Self {
        let limits = &config.limits;
        Self {
            trusted: config.server.trusted_proxies.clone(),
            header_bytes: usize::try_from(limits.request_header_bytes).unwrap_or(usize::MAX),
            body_bytes: limits.request_body_bytes,
            body_timeout: limits.header_timeout * 2,
        }
    }

    /// Lets a request in.
    ///
    /// # Errors
    /// What it is answered instead; beside it, whose it is and the limit that it met.
    pub fn admit(
        &self,
        clients: &Clients,
        request: &RequestHeader,
        peer: Option<IpAddr>,
    ) -> (Admitted, Result<(), Box<Answer>>) {
        let address = peer.map(|peer| {
            let forwarded = request.headers.get_all(FORWARDED_FOR);
            address::client(peer, forwarded.iter().filter_map(|value| value.to_str().ok()), &self.trusted)
        });
        let client = address.map(|address| clients.client(ClientKey::from(address))).unwrap_or_default();
        let mut admitted = Admitted { address, client, ..Admitted::default() };
        let refused = match clients.request(&admitted.client) {
            Ok(held) => {
                admitted._held = Some(held);
                self.size(request).map(|limit| (limit, None))
            }
            Err(Met { limit, retry_after }) => Some((limit, Some(retry_after))),
        };
        let Some((limit, retry_after)) = refused else { return (admitted, Ok(())) };
        if retry_after.is_none() {
            clients.instruments().met(limit);
        }
        admitted.met = Some(limit);
        (admitted, Err(Box::new(answer(&request.headers, limit, retry_after))))
    }

    /// The limit that a request's size meets, as far as its headers tell.
    fn size(&self, request: &RequestHeader) -> Option<Limit> {
        let of = |(name, value): (&HeaderName, &HeaderValue)| {
            name.as_str().len() + value.len() + HEADER_OVERHEAD_BYTES
        };
        let target = request.uri.path_and_query().map_or(0, |target| target.as_str().len());
        if request.headers.iter().map(of).sum::<usize>() + target > self.header_bytes {
            return Some(Limit::HeaderBytes);
        }
        // One that cannot be read is refused by pingora.
        let length: Option<u64> = request.headers.get(CONTENT_LENGTH)?.to_str().ok()?.trim().parse().ok();
        (length? > self.body_bytes).then_some(Limit::BodyBytes)
    }

    /// More of a request's body has come; `started`: the request.
    ///
    /// # Errors
    /// The limit that it meets, counted.
    pub fn body(
        &self,
        clients: &Clients,
        admitted: &mut Admitted,
        bytes: usize,
        started: Instant,
    ) -> Result<(), Limit> {
        admitted.body_bytes += bytes as u64;
        let limit = if admitted.body_bytes > self.body_bytes {
            Limit::BodyBytes
        } else if bytes > 0 && started.elapsed() > self.body_timeout {
            Limit::BodyTime
        } else {
            return Ok(());
        };
        clients.instruments().met(limit);
        admitted.met = Some(limit);
        Err(limit)
    }
}

/// What a request is answered that met `limit`.
#[must_use]
pub fn answer(request: &HeaderMap, limit: Limit, retry_after: Option<Duration>) -> Answer {
    let (status, words) = match limit {
        Limit::HeaderBytes => {
            (StatusCode::REQUEST_HEADER_FIELDS_TOO_LARGE, "the request's headers are too large")
        }
        Limit::BodyBytes => (StatusCode::PAYLOAD_TOO_LARGE, "the request's body is too large"),
        Limit::BodyTime => (StatusCode::REQUEST_TIMEOUT, "the request's body did not come in time"),
        _ => (StatusCode::TOO_MANY_REQUESTS, "too many requests"),
    };
    let mut answer = respond::message(request, status, words, Kind::Refused, Outcome::Local);
    if let Some(after) = retry_after {
        // Whole seconds, rounded up: who comes sooner is only refused again.
        let seconds = after.as_secs() + u64::from(after.subsec_nanos() > 0);
        answer.headers.insert(RETRY_AFTER, HeaderValue::from(seconds.max(1)));
    }
    answer
}
