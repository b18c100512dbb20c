//! Where a URI of a playlist leads, in the edge's own path space.
//!
//! Everything the edge serves is named by an *edge path*: path and query on the edge, `/live/a.m3u8?x=1`, as a
//! player asks for it. This module resolves what playlists say to edge paths, compares requests with them, and
//! keeps paths honest: a proxy that hands `..%2f` to an origin is a hole.
//!
//! Resolution is the `url` crate's (WHATWG, as browsers do it); queries are edited as text, so that parameters the
//! edge does not know (signatures above all) stay byte for byte.

use percent_encoding::percent_decode_str;
use std::borrow::Cow;
use url::Url;

/// The query parameter that turns a byte range of an origin's resource into a URL of its own.
pub const RANGE_PARAMETER: &str = "~acuity-range";

/// The path prefix the edge keeps for itself.
pub const RESERVED_PREFIX: &str = "/~acuity/";

/// A host that cannot exist: the edge's paths become URLs under it while they are resolved.
const EDGE_ORIGIN: &str = "http://edge.invalid";

/// Where a URI leads.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Target {
    /// A resource the edge can fetch: its edge path and query, normalised, without fragment.
    Edge(String),
    /// An http(s) URL on no configured origin.
    Foreign,
    /// No http(s) URL at all (`data:`, `skd:`), or nothing that can be read as one.
    Opaque,
}

impl Target {
    /// The edge path and query, if the edge can fetch it.
    pub fn edge(&self) -> Option<&str> {
        match self {
            Self::Edge(path) => Some(path),
            Self::Foreign | Self::Opaque => None,
        }
    }
}

/// Maps an absolute URL on a configured origin to its edge path and query; `None` elsewhere.
pub type UriMapper<'a> = &'a dyn Fn(&str) -> Option<String>;

/// What the URIs of one playlist are resolved against.
pub struct Base<'a> {
    edge: Url,
    origin: Option<Url>,
    map: UriMapper<'a>,
}

impl std::fmt::Debug for Base<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Base").field("edge", &self.edge.path()).finish_non_exhaustive()
    }
}

/// A playlist's edge path, or the URL it came from, is no URL.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} cannot be a base for URIs")]
pub struct BaseError(&'static str);

impl<'a> Base<'a> {
    /// `edge_path`: the playlist's path and query on the edge. `origin_url`: the URL it was fetched from, after
    /// redirects; it makes root-relative and climbing URIs, and those after a redirect, lead where the origin
    /// means them to. Without it they are taken to mean the edge's own root.
    pub fn new(edge_path: &str, origin_url: Option<&str>, map: UriMapper<'a>) -> Result<Self, BaseError> {
        let edge = edge_url(edge_path).ok_or(BaseError("edge path"))?;
        let origin = match origin_url {
            Some(url) => Some(Url::parse(url).map_err(|_| BaseError("origin URL"))?),
            None => None,
        };
        Ok(Self { edge, origin, map })
    }

    /// The playlist's own edge path and query.
    pub fn edge_path(&self) -> String {
        path_and_query_of(&self.edge)
    }

    /// The query of the playlist's edge path, for `EXT-X-DEFINE:QUERYPARAM`.
    pub fn query(&self) -> Option<&str> {
        self.edge.query()
    }

    /// Where `reference` leads for someone who can only reach configured origins.
    pub fn resolve(&self, reference: &str) -> Target {
        let base = self.origin.as_ref().unwrap_or(&self.edge);
        let Ok(url) = base.join(reference.trim()) else { return Target::Opaque };
        if !matches!(url.scheme(), "http" | "https") {
            return Target::Opaque;
        }
        let path = if self.origin.is_none() && url.host_str() == self.edge.host_str() {
            Some(path_and_query_of(&url))
        } else {
            (self.map)(url.as_str())
        };
        match path.map(|path| normalise(&path)) {
            Some(Ok(path)) => Target::Edge(path),
            Some(Err(_)) => Target::Opaque,
            None => Target::Foreign,
        }
    }

    /// The edge path that a player would ask for if `reference` were left as it is; `None` if it leaves the edge.
    pub fn as_written(&self, reference: &str) -> Option<String> {
        join_on_edge(&self.edge, reference)
    }
}

/// The edge path that `reference` leads to, in a playlist at `edge_path`, for a player that knows nothing else.
pub fn follow(edge_path: &str, reference: &str) -> Option<String> {
    join_on_edge(&edge_url(edge_path)?, reference)
}

fn join_on_edge(edge: &Url, reference: &str) -> Option<String> {
    let url = edge.join(reference.trim()).ok()?;
    (url.scheme() == edge.scheme() && url.host_str() == edge.host_str() && url.port() == edge.port())
        .then(|| path_and_query_of(&url))
}

fn edge_url(edge_path: &str) -> Option<Url> {
    edge_path.starts_with('/').then(|| Url::parse(&format!("{EDGE_ORIGIN}{edge_path}")).ok())?
}

/// An edge path as a playlist may name it. One that begins with two slashes would be read as a host's name; `/.` before it is
/// taken off again by whoever resolves it (RFC 3986 section 5.2.4, WHATWG URL).
pub fn as_reference(edge_path: &str) -> Cow<'_, str> {
    if edge_path.starts_with("//") { Cow::Owned(format!("/.{edge_path}")) } else { Cow::Borrowed(edge_path) }
}

/// A URI as the value of an attribute: in quotes. One that was written without them may have a quote in it, which would end the value.
pub fn quoted(uri: &str) -> String {
    format!("\"{}\"", uri.replace('"', "%22"))
}

/// Path and query of a URL, without fragment.
pub fn path_and_query_of(url: &Url) -> String {
    match url.query() {
        Some(query) => format!("{}?{query}", url.path()),
        None => url.path().to_owned(),
    }
}

/// Splits at the first `?`.
pub fn split_query(path_and_query: &str) -> (&str, Option<&str>) {
    match path_and_query.split_once('?') {
        Some((path, query)) => (path, Some(query)),
        None => (path_and_query, None),
    }
}

/// Why a path is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// Does not begin with `/`.
    #[error("the path does not begin with a slash")]
    NotAbsolute,
    /// Dot segments climb above the root, or hide behind an encoded slash.
    #[error("the path climbs out of its root")]
    Escapes,
    /// A control character, raw or encoded.
    #[error("the path holds a control character")]
    Control,
}

/// Removes dot segments (`.`, `..`, `%2e` in any spelling; `\` counts as `/`, as browsers take it), keeps double
/// slashes and every other byte, and encodes what may not stand in a URL. The query is kept, only made ASCII.
pub fn normalise(path_and_query: &str) -> Result<String, PathError> {
    let (path, query) = split_query(path_and_query.split('#').next().unwrap_or_default());
    let path = path.replace('\\', "/");
    let mut kept: Vec<&str> = Vec::new();
    let segments = path.strip_prefix('/').ok_or(PathError::NotAbsolute)?;
    let mut segments = segments.split('/').peekable();
    while let Some(segment) = segments.next() {
        let decoded: Cow<'_, [u8]> = percent_decode_str(segment).into();
        if decoded.iter().any(u8::is_ascii_control) {
            return Err(PathError::Control);
        }
        let last = segments.peek().is_none();
        match decoded.as_ref() {
            b"." if last => kept.push(""),
            b"." => {}
            b".." => {
                kept.pop().ok_or(PathError::Escapes)?;
                if last {
                    kept.push("");
                }
            }
            bytes if climbs(bytes) => return Err(PathError::Escapes),
            _ => kept.push(segment),
        }
    }
    let mut out = String::with_capacity(path_and_query.len());
    for segment in kept {
        out.push('/');
        push_ascii(&mut out, segment);
    }
    if let Some(query) = query {
        if query.bytes().any(|byte| byte.is_ascii_control()) {
            return Err(PathError::Control);
        }
        out.push('?');
        push_ascii(&mut out, query);
    }
    Ok(out)
}

/// Whether a decoded segment is one to us and a way up to some origin: `..%2fx`, `..;x` (Java's path parameters), and all of it
/// encoded once more than it should be (`%252e%252e`), for origins that decode twice.
fn climbs(segment: &[u8]) -> bool {
    let up = |part: &[u8]| part.strip_prefix(b"..").is_some_and(|rest| rest.is_empty() || rest[0] == b';');
    let mut bytes = Cow::Borrowed(segment);
    // Origins that decode four times there are none; and a long `%252525...` must not take long.
    for _ in 0..3 {
        if bytes.split(|byte| matches!(byte, b'/' | b'\\')).any(up) {
            return true;
        }
        if !bytes.contains(&b'%') {
            return false;
        }
        bytes = Cow::Owned(percent_encoding::percent_decode(&bytes).collect());
    }
    false
}

/// Everything but what may never stand raw in a request line.
fn push_ascii(out: &mut String, text: &str) {
    for c in text.chars() {
        if c.is_ascii_graphic() && !matches!(c, '"' | '<' | '>' | '#') {
            out.push(c);
        } else {
            out.extend(percent_encoding::utf8_percent_encode(
                c.encode_utf8(&mut [0; 4]),
                percent_encoding::NON_ALPHANUMERIC,
            ));
        }
    }
}

/// A range of bytes of a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct ByteRange {
    /// Number of bytes, at least 1.
    pub length: u64,
    /// First byte.
    pub offset: u64,
}

impl ByteRange {
    /// The first byte after the range; `None` past what 64 bits count.
    pub fn end(&self) -> Option<u64> {
        self.offset.checked_add(self.length)
    }

    /// `bytes=FIRST-LAST` for the origin.
    pub fn header(&self) -> String {
        format!("bytes={}-{}", self.offset, self.offset.saturating_add(self.length).saturating_sub(1))
    }

    /// `LENGTH@OFFSET`, as playlists and our query parameter write it.
    pub fn parse(text: &str) -> Option<Self> {
        let (length, offset) = text.split_once('@')?;
        let number = |text: &str| {
            let digits =
                !text.is_empty() && text.len() <= 19 && text.bytes().all(|byte| byte.is_ascii_digit());
            digits.then(|| text.parse::<u64>().ok())?
        };
        let range = Self { length: number(length)?, offset: number(offset)? };
        (range.length > 0 && range.end().is_some()).then_some(range)
    }
}

impl std::fmt::Display for ByteRange {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}@{}", self.length, self.offset)
    }
}

/// `uri` (of any form, as written in a playlist) with the range as its last query parameter.
pub fn with_range(uri: &str, range: ByteRange) -> String {
    // What URL parsers take off its ends they would not within.
    let uri = uri.trim_matches(|c: char| c <= ' ');
    let (body, fragment) = match uri.split_once('#') {
        Some((body, fragment)) => (body, Some(fragment)),
        None => (uri, None),
    };
    let separator = match body.split_once('?') {
        None => "?",
        Some((_, "")) => "",
        Some(_) => "&",
    };
    let fragment = fragment.map(|fragment| format!("#{fragment}")).unwrap_or_default();
    format!("{body}{separator}{RANGE_PARAMETER}={range}{fragment}")
}

/// The edge path without our range parameter, and the range. A parameter that cannot be read is taken out and
/// gives none.
pub fn take_range(path_and_query: &str) -> (String, Option<ByteRange>) {
    let (_, query) = split_query(path_and_query);
    let range = parameters(query)
        .find(|(name, _)| name == RANGE_PARAMETER)
        .and_then(|(_, value)| ByteRange::parse(&value));
    (strip_parameters(path_and_query, |name| name == RANGE_PARAMETER), range)
}

/// Takes out the query parameters whose (decoded) name satisfies `unwanted`; the others keep bytes and order, and
/// a query that ends up empty goes with its `?`.
pub fn strip_parameters(path_and_query: &str, unwanted: impl Fn(&str) -> bool) -> String {
    let (path, Some(query)) = split_query(path_and_query) else { return path_and_query.to_owned() };
    let kept: Vec<&str> = query.split('&').filter(|part| !unwanted(&name_of(part))).collect();
    if kept.len() == query.split('&').count() {
        return path_and_query.to_owned();
    }
    if kept.is_empty() { path.to_owned() } else { format!("{path}?{}", kept.join("&")) }
}

fn name_of(part: &str) -> Cow<'_, str> {
    percent_decode_str(part.split('=').next().unwrap_or_default()).decode_utf8_lossy()
}

/// The query's parameters with decoded names and values; `+` stays a plus (these are URLs, not forms).
pub fn parameters(query: Option<&str>) -> impl Iterator<Item = (Cow<'_, str>, Cow<'_, str>)> {
    query.into_iter().flat_map(|query| query.split('&')).filter(|part| !part.is_empty()).map(|part| {
        let value = part.split_once('=').map_or("", |(_, value)| value);
        (name_of(part), percent_decode_str(value).decode_utf8_lossy())
    })
}

/// Parameters that speak to the edge or about the player, not about which resource is meant: CMCD, `_HLS_*`
/// delivery directives, and our own range.
pub fn is_request_parameter(name: &str) -> bool {
    name == RANGE_PARAMETER || name.starts_with("_HLS_") || name.eq_ignore_ascii_case("CMCD")
}

/// A path with percent-encoding made canonical: decoded where that is unambiguous, so that `%7E`, `~` and `%7e`
/// compare equal while `%2F` stays apart from `/`.
pub fn canonical_path(path: &str) -> Vec<u8> {
    let mut out = Vec::with_capacity(path.len());
    let mut bytes = path.bytes();
    while let Some(byte) = bytes.next() {
        let mut ahead = bytes.clone();
        let pair = (byte == b'%').then(|| Some((hex(ahead.next()?)?, hex(ahead.next()?)?))).flatten();
        match pair {
            Some((high, low)) => {
                bytes = ahead;
                match high * 16 + low {
                    kept @ (b'/' | b'%' | b'?' | b'\\') => out.extend(format!("%{kept:02X}").bytes()),
                    decoded => out.push(decoded),
                }
            }
            None => out.push(byte),
        }
    }
    out
}

fn hex(byte: u8) -> Option<u8> {
    char::from(byte).to_digit(16).and_then(|digit| u8::try_from(digit).ok())
}

/// How well a request matches a resource of the same path: `None` if it lacks one of the resource's query
/// parameters or gives it another value; else how many parameters it has beyond them (0: the same query).
pub fn extra_parameters(request_query: Option<&str>, resource_query: Option<&str>) -> Option<usize> {
    let own = |query| -> Vec<(Cow<'_, str>, Cow<'_, str>)> {
        parameters(query).filter(|(name, _)| !is_request_parameter(name)).collect()
    };
    let mut left = own(request_query);
    for wanted in own(resource_query) {
        let at = left.iter().position(|given| *given == wanted)?;
        left.swap_remove(at);
    }
    Some(left.len())
}

/// Whether a request means this resource: the same path, and every query parameter of the resource.
pub fn means(request: &str, resource: &str) -> bool {
    let ((path_a, query_a), (path_b, query_b)) = (split_query(request), split_query(resource));
    canonical_path(path_a) == canonical_path(path_b) && extra_parameters(query_a, query_b).is_some()
}

#[cfg(test)]
#[path = "uri_tests.rs"]
mod tests;
