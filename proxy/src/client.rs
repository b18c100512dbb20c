//! What a request tells about its client: weak or not (by the route's rules), and what CMCD says.
//!
//! CMCD (CTA-5004) comes as one query parameter, `CMCD=`, percent-encoded as a whole, or as four headers. Both
//! hold comma-separated `key=value`; strings are quoted with `\"` and `\\` escaped, true is the bare key. Players
//! are read leniently: what cannot be read is skipped, a number may be written as a string. It is stripped from
//! everything that names a resource ([`strip_cmcd`]): it changes with every request.

use acuity_config::{CmcdCondition, EnhanceFor, NamedMatch, RouteConfig, WeakRule};
use acuity_playlist::uri;
use std::collections::BTreeMap;

/// Where CMCD is in headers. Which header holds which key is the player's affair.
pub const CMCD_HEADERS: [&str; 4] = ["cmcd-object", "cmcd-request", "cmcd-session", "cmcd-status"];

/// Keys that are read from one request: five times what CTA-5004 defines.
const CMCD_KEYS_MAX: usize = 100;

/// The longest value kept, in bytes: `nor` is a URL, all else is short.
const CMCD_VALUE_BYTES_MAX: usize = 2048;

/// What is known of the client that sent a request.
pub struct ClientFacts<'a> {
    user_agent: &'a str,
    header: &'a dyn Fn(&str) -> Option<&'a str>,
    query: Option<&'a str>,
    /// What the player says about itself.
    pub cmcd: Cmcd,
}

impl std::fmt::Debug for ClientFacts<'_> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("ClientFacts")
            .field("user_agent", &self.user_agent)
            .field("cmcd", &self.cmcd)
            .finish_non_exhaustive()
    }
}

impl<'a> ClientFacts<'a> {
    /// `query`: without `?`. `header`: the first value of a header by its lower-case name, if it is text.
    pub fn new(query: Option<&'a str>, header: &'a dyn Fn(&str) -> Option<&'a str>) -> Self {
        let mut cmcd = Cmcd::default();
        for value in CMCD_HEADERS.iter().filter_map(|name| header(name)) {
            cmcd.read(value);
        }
        for (_, value) in uri::parameters(query).filter(|(name, _)| name.eq_ignore_ascii_case("CMCD")) {
            cmcd.read(&value);
        }
        Self { user_agent: header("user-agent").unwrap_or_default(), header, query, cmcd }
    }

    /// Whether this client gets enhanced renditions on a route.
    pub fn gets_enhanced(&self, route: &RouteConfig) -> bool {
        match route.enhance {
            EnhanceFor::All => true,
            EnhanceFor::Weak => self.is_one_of(&route.weak),
            EnhanceFor::None | EnhanceFor::Off => false,
        }
    }

    /// Whether any rule holds; a rule holds if all its conditions do.
    pub fn is_one_of(&self, rules: &[WeakRule]) -> bool {
        rules.iter().any(|rule| {
            let WeakRule { user_agent, header, query, cmcd } = rule;
            user_agent.as_ref().is_none_or(|pattern| pattern.is_match(self.user_agent))
                && header.as_ref().is_none_or(|condition| self.header_matches(condition))
                && query.as_ref().is_none_or(|condition| self.query_matches(condition))
                && cmcd.as_ref().is_none_or(|condition| self.cmcd.fits(condition))
        })
    }

    fn header_matches(&self, condition: &NamedMatch) -> bool {
        (self.header)(&condition.name).is_some_and(|value| condition.matches.is_match(value))
    }

    fn query_matches(&self, condition: &NamedMatch) -> bool {
        uri::parameters(self.query)
            .any(|(name, value)| name == condition.name.as_str() && condition.matches.is_match(&value))
    }
}

/// The path and query without the `CMCD` parameter; all others keep bytes and order.
pub fn strip_cmcd(path_and_query: &str) -> String {
    uri::strip_parameters(path_and_query, |name| name.eq_ignore_ascii_case("CMCD"))
}

/// What a player said in CMCD. Values are kept as text, quotes and escapes undone; a bare key is `true`.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Cmcd {
    values: BTreeMap<String, String>,
}

/// `ot`: what is asked for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ObjectType {
    /// `m`
    Manifest,
    /// `a`
    Audio,
    /// `v`
    Video,
    /// `av`
    Muxed,
    /// `i`
    Init,
    /// `c`
    Caption,
    /// `tt`
    TimedText,
    /// `k`
    Key,
    /// `o`, and what is not known
    Other,
}

impl Cmcd {
    /// Reads one CMCD payload (decoded); a key that came before keeps its first value.
    pub fn read(&mut self, payload: &str) {
        for (key, value) in pairs(payload) {
            if self.values.len() >= CMCD_KEYS_MAX {
                return;
            }
            if value.len() <= CMCD_VALUE_BYTES_MAX {
                self.values.entry(key).or_insert(value);
            }
        }
    }

    /// Whether the player said nothing.
    pub fn is_empty(&self) -> bool {
        self.values.is_empty()
    }

    /// The value of any key, custom ones (`com.example-x`) included.
    pub fn get(&self, key: &str) -> Option<&str> {
        self.values.get(key).map(String::as_str)
    }

    fn number(&self, key: &str) -> Option<f64> {
        self.get(key)?.trim().parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
    }

    fn flag(&self, key: &str) -> bool {
        matches!(self.get(key), Some("true" | "?1" | "1"))
    }

    /// `br`: encoded bit rate of what is asked for, kbit/s.
    pub fn encoded_kbps(&self) -> Option<f64> {
        self.number("br")
    }

    /// `tb`: the highest bit rate the player may choose, kbit/s.
    pub fn top_kbps(&self) -> Option<f64> {
        self.number("tb")
    }

    /// `mtp`: measured throughput, kbit/s.
    pub fn throughput_kbps(&self) -> Option<f64> {
        self.number("mtp")
    }

    /// `rtp`: the throughput the player asks to be limited to, kbit/s.
    pub fn requested_kbps(&self) -> Option<f64> {
        self.number("rtp")
    }

    /// `bl`: media in the buffer, ms.
    pub fn buffer_ms(&self) -> Option<f64> {
        self.number("bl")
    }

    /// `dl`: until the first byte must be there, ms.
    pub fn deadline_ms(&self) -> Option<f64> {
        self.number("dl")
    }

    /// `d`: duration of what is asked for, ms.
    pub fn object_ms(&self) -> Option<f64> {
        self.number("d")
    }

    /// `pr`: playback rate, 1 is normal and the default, 0 is paused.
    pub fn playback_rate(&self) -> f64 {
        self.number("pr").unwrap_or(1.0)
    }

    /// `v`: version of CMCD, 1 by default.
    pub fn version(&self) -> u32 {
        self.number("v").map_or(1, |version| version as u32)
    }

    /// `bs`: the buffer ran empty since the last request.
    pub fn starved(&self) -> bool {
        self.flag("bs")
    }

    /// `su`: needed urgently (start, seek, empty buffer).
    pub fn startup(&self) -> bool {
        self.flag("su")
    }

    /// `nor`: the next object, relative to what is asked for; decoded. Resolve it like any stranger's URI.
    pub fn next_object(&self) -> Option<String> {
        let text = self.get("nor")?;
        percent_encoding::percent_decode_str(text).decode_utf8().ok().map(std::borrow::Cow::into_owned)
    }

    /// `nrr`: the range of the next object, `FIRST-LAST`.
    pub fn next_range(&self) -> Option<&str> {
        self.get("nrr")
    }

    /// `sid`: the playback session. Never a metric label.
    pub fn session_id(&self) -> Option<&str> {
        self.get("sid")
    }

    /// `cid`: the content.
    pub fn content_id(&self) -> Option<&str> {
        self.get("cid")
    }

    /// `sf`: `h` HLS, `d` DASH, `s` Smooth, `o` other.
    pub fn streaming_format(&self) -> Option<&str> {
        self.get("sf")
    }

    /// `st`: `true` if live (`l`), `false` if on demand (`v`).
    pub fn live(&self) -> Option<bool> {
        match self.get("st")? {
            "l" => Some(true),
            "v" => Some(false),
            _ => None,
        }
    }

    /// `ot`.
    pub fn object_type(&self) -> Option<ObjectType> {
        Some(match self.get("ot")? {
            "m" => ObjectType::Manifest,
            "a" => ObjectType::Audio,
            "v" => ObjectType::Video,
            "av" => ObjectType::Muxed,
            "i" => ObjectType::Init,
            "c" => ObjectType::Caption,
            "tt" => ObjectType::TimedText,
            "k" => ObjectType::Key,
            _ => ObjectType::Other,
        })
    }

    /// Whether a rule's condition holds.
    pub fn fits(&self, condition: &CmcdCondition) -> bool {
        let CmcdCondition { key, matches, below } = condition;
        let Some(value) = self.get(key) else { return false };
        matches.as_ref().is_none_or(|pattern| pattern.is_match(value))
            && below.is_none_or(|bound| value.trim().parse::<f64>().is_ok_and(|number| number < bound))
    }
}

/// Splits at commas outside of quotes. An unclosed quote takes the rest.
fn pairs(payload: &str) -> Vec<(String, String)> {
    let mut out = Vec::new();
    let mut item = String::new();
    let mut value_at = None;
    let (mut quoted, mut escaped) = (false, false);
    for c in payload.chars().chain(std::iter::once(',')) {
        match c {
            _ if escaped => {
                item.push(c);
                escaped = false;
            }
            '\\' if quoted => escaped = true,
            '"' => quoted = !quoted,
            ',' if !quoted => {
                push(&mut out, &item, value_at);
                item.clear();
                value_at = None;
            }
            '=' if !quoted && value_at.is_none() => {
                value_at = Some(item.len());
                item.push(c);
            }
            _ => item.push(c),
        }
    }
    if quoted {
        // Take back the comma that was put behind the payload.
        item.pop();
        push(&mut out, &item, value_at);
    }
    out
}

fn push(out: &mut Vec<(String, String)>, item: &str, value_at: Option<usize>) {
    let (key, value) = match value_at {
        Some(at) => (&item[..at], item[at + 1..].trim()),
        None => (item, "true"),
    };
    let key = key.trim();
    if !key.is_empty() {
        out.push((key.to_owned(), value.to_owned()));
    }
}

#[cfg(test)]
#[path = "client_tests.rs"]
mod tests;
