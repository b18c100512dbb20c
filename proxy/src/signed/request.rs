//! A request before the gate: which signatures it needs, and what of them goes no further.

use std::iter;
use std::time::{SystemTime, UNIX_EPOCH};

use http::{HeaderName, HeaderValue};
use pingora::http::RequestHeader;

use super::{Refused, RouteKeys};
use crate::route::HlsRoute;
use crate::site::{Site, Sites};

/// Whether a request with this signature, or without one, may have what its path says. Of an enhanced URL that is the source it
/// is made from, and the playlist that its token names: the edge would read it for whoever asks.
///
/// # Errors
/// Why not.
pub fn authorise(
    keys: &RouteKeys,
    sites: &Sites,
    site: &Site,
    signature: Option<&str>,
    asked: &HlsRoute,
) -> Result<(), Refused> {
    if signature.is_none() && keys.is_empty() {
        return Ok(());
    }
    let (path, playlist) = match asked {
        HlsRoute::Enhanced { token, path_and_query } => (path_and_query, Some(&token.playlist)),
        HlsRoute::Plain { path_and_query } => (path_and_query, None),
        // The edge's own, open to everybody; and what is answered with 400.
        HlsRoute::Model(_) | HlsRoute::Malformed(_) => return Ok(()),
    };
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs();
    for path in iter::once(path).chain(playlist) {
        // What no route leads to is 404 to everybody.
        if let Some(found) = sites.find(site, path) {
            keys.check(found.route, signature, path, now)?;
        }
    }
    Ok(())
}

/// Takes out what repeats the request's signature (`Referer`, CMCD's `nor`): it is none of the origin's business.
pub fn drop_headers_with(upstream: &mut RequestHeader, signature: &str) {
    let holds = |value: &HeaderValue| value.to_str().is_ok_and(|text| text.contains(signature));
    let names: Vec<HeaderName> =
        upstream.headers.iter().filter(|(_, value)| holds(value)).map(|(name, _)| name.clone()).collect();
    for name in names {
        upstream.remove_header(&name);
    }
}
