//! A request as the journeys see it: method, headers, site and path, read once.

use acuity_config::RouteConfig;
use acuity_playlist::uri::split_query;
use http::header::{
    HOST, IF_MATCH, IF_MODIFIED_SINCE, IF_NONE_MATCH, IF_UNMODIFIED_SINCE, RANGE, USER_AGENT,
};
use http::{HeaderMap, HeaderValue, Method, Version};
use pingora::http::RequestHeader;

use crate::client::{CMCD_HEADERS, ClientFacts};
use crate::limits::clients::Client;
use crate::site::Site;

/// What a client asked for.
#[derive(Debug)]
pub struct Asked<'a> {
    /// GET or HEAD; all others are passed through before a journey begins.
    pub method: &'a Method,
    /// Headers.
    pub headers: &'a HeaderMap,
    /// Under which name of the edge.
    pub site: Site,
    /// The raw query, CMCD in it.
    pub query: Option<&'a str>,
    /// The begin of every URL that the client is to ask for, where its own was signed: `/~acuity/signed/...`, no final slash.
    pub signed_prefix: Option<String>,
    /// Whose request it is, for what it causes.
    pub client: Client,
    /// Whether an answer may have no length that is known beforehand (HTTP/1.1 and later).
    pub takes_chunks: bool,
}

impl<'a> Asked<'a> {
    /// `path_and_query`: as it stands in the request line.
    #[must_use]
    pub fn new(request: &'a RequestHeader, site: Site, path_and_query: &'a str) -> Self {
        let takes_chunks = request.version >= Version::HTTP_11;
        let query = split_query(path_and_query).1;
        let (signed_prefix, client) = (None, Client::default());
        Self {
            method: &request.method,
            headers: &request.headers,
            site,
            query,
            signed_prefix,
            client,
            takes_chunks,
        }
    }

    /// Whether the begin of an object serves: all of it is wanted, on no condition that its end would decide.
    #[must_use]
    pub fn takes_pieces(&self) -> bool {
        let decides = [RANGE, IF_MATCH, IF_NONE_MATCH, IF_MODIFIED_SINCE, IF_UNMODIFIED_SINCE];
        self.takes_chunks
            && *self.method == Method::GET
            && !decides.iter().any(|name| self.headers.contains_key(name))
    }

    /// The player's name, for the origin's log.
    #[must_use]
    pub fn user_agent(&self) -> Option<&HeaderValue> {
        self.headers.get(USER_AGENT)
    }

    /// Whether the player may have said anything in CMCD; most say nothing, and need not be read.
    #[must_use]
    pub fn has_cmcd(&self) -> bool {
        let in_query = self.query.is_some_and(|query| query.to_ascii_uppercase().contains("CMCD"));
        in_query || CMCD_HEADERS.iter().any(|name| self.headers.contains_key(*name))
    }

    /// Looks at the client: what it says in CMCD, and whether `route` has enhanced renditions for it.
    pub fn with_client<T>(&self, look: impl FnOnce(&ClientFacts<'_>) -> T) -> T {
        let header = |name: &str| self.headers.get(name)?.to_str().ok();
        look(&ClientFacts::new(self.query, &header))
    }

    /// Whether `route` has enhanced renditions for this client.
    #[must_use]
    pub fn gets_enhanced(&self, route: &RouteConfig) -> bool {
        self.with_client(|client| client.gets_enhanced(route))
    }

    /// Whether `route` has renditions of more pictures a second for this client, if it gets enhanced ones at all.
    #[must_use]
    pub fn gets_frame_rate(&self, route: &RouteConfig) -> bool {
        let rules = route.frame_rate.as_ref().map(|policy| &policy.not_for);
        rules.is_some_and(|rules| rules.is_empty() || !self.with_client(|client| client.is_one_of(rules)))
    }
}

/// The authority a request was sent to: `Host`, or `:authority` in HTTP/2.
#[must_use]
pub fn authority<'a>(headers: &'a HeaderMap, uri: &'a http::Uri) -> Option<&'a str> {
    match headers.get(HOST) {
        Some(host) => host.to_str().ok(),
        None => uri.authority().map(http::uri::Authority::as_str),
    }
}
