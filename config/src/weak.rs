//! `[[route.weak]]`: how a client that cannot enhance video itself is told from one that can. Rules of the same form say who does not
//! get more pictures a second (`[[route.frame_rate.not_for]]`).
//!
//! Here the rules are only read; the proxy evaluates them against a request (`proxy/src/client.rs`).

use crate::pattern::Pattern;
use crate::reader::{Refusal, Section};

/// A client is weak (or gets no higher frame rate) if *any* rule holds; a rule holds if *all* its conditions do. A rule has at least one condition.
#[derive(Clone, Debug, PartialEq)]
pub struct WeakRule {
    /// The `User-Agent` header matches. A request without one matches as the empty string.
    pub user_agent: Option<Pattern>,
    /// A request header is present and matches.
    pub header: Option<NamedMatch>,
    /// A query parameter is present and its decoded value matches.
    pub query: Option<NamedMatch>,
    /// A CMCD value (query or header form) is present and fits.
    pub cmcd: Option<CmcdCondition>,
}

/// A named value and the pattern it must match; a value that is absent does not match.
#[derive(Clone, Debug, PartialEq)]
pub struct NamedMatch {
    /// Name of the header (lower case) or of the query parameter (as written).
    pub name: String,
    /// What its value must match; the empty pattern asks only that it is there.
    pub matches: Pattern,
}

/// A condition on one CMCD key (CTA-5004), such as `tb` (top bitrate, kbit/s), `mtp` (measured throughput, kbit/s)
/// or `bl` (buffer length, ms). At least one of the two tests is there; if both are, both must hold.
#[derive(Clone, Debug, PartialEq)]
pub struct CmcdCondition {
    /// The CMCD key, as the player writes it.
    pub key: String,
    /// The value as text (a string's quotes removed) matches.
    pub matches: Option<Pattern>,
    /// The value is a number strictly below this, in the key's own unit.
    pub below: Option<f64>,
}

/// User agents of televisions and set-top boxes, for routes with `enhance = "weak"` and no rules of their own.
const KNOWN_DEVICES: [&str; 4] = [
    // Televisions' browsers: Samsung (Tizen, Maple), LG (webOS, NetCast), Hisense (VIDAA), and what they have in common
    // (HbbTV, CE-HTML, "Smart-TV"); Sony (Bravia), Philips, Panasonic (Viera) and Vestel by name.
    r"(?i)\b(?:tizen|maple|web0s|webos|netcast|vidaa|hbbtv|ce-html|smart-?tv|bravia|philipstv|viera|vestel)\b",
    // Sticks and boxes: Fire TV (models AFT..), Roku, Chromecast (CrKey), Apple TV, Android and Google TV.
    r"(?i)\b(?:(?-i:AFT[A-Z0-9]{1,5})|roku|crkey|apple ?tv|tvos|android ?tv|google ?tv|mibox)\b",
    // Operators' boxes: the WPE browser on RDK, and makers' names. TCL is not here: it makes phones too.
    r"(?i)\b(?:wpe|rdk|kaon|sagemcom|arris|technicolor|stb|set-?top)\b",
    // Games consoles, whose players are televisions' in all but name.
    r"(?i)\b(?:playstation|xbox|nintendo)\b",
];

impl WeakRule {
    /// The rules of a route with `enhance = "weak"` that names none: televisions, set-top boxes, streaming sticks and
    /// games consoles, by their user agents.
    #[must_use]
    pub fn known_devices() -> Vec<Self> {
        KNOWN_DEVICES
            .iter()
            .filter_map(|pattern| Pattern::new(pattern).ok())
            .map(|pattern| Self { user_agent: Some(pattern), header: None, query: None, cmcd: None })
            .collect()
    }

    /// None if it is wrong, which is reported.
    pub(crate) fn read(section: Section<'_>) -> Option<Self> {
        const CONDITIONS: [&str; 4] = ["user_agent", "header", "query", "cmcd"];
        let user_agent = section.parsed("user_agent", pattern);
        let header = section.optional_child("header").map(|header| NamedMatch::read(header, header_name));
        let query = section.optional_child("query").map(|query| NamedMatch::read(query, plain_name));
        let cmcd = section.optional_child("cmcd").map(CmcdCondition::read);
        if !CONDITIONS.iter().any(|condition| section.has(condition)) {
            section.fault("", "has no condition, so it would hold for every client", Some(
                "give it one of user_agent, header, query, cmcd; for every client use `enhance = \"all\"`",
            ));
        }
        section.finish();
        // A condition that is there but wrong must not widen the rule, not even in what other checks see of it.
        Some(Self { user_agent, header: whole(header)?, query: whole(query)?, cmcd: whole(cmcd)? })
    }
}

/// A condition that is absent, or present and right; none if it is wrong.
fn whole<T>(condition: Option<Option<T>>) -> Option<Option<T>> {
    match condition {
        Some(None) => None,
        absent_or_right => Some(absent_or_right.flatten()),
    }
}

impl NamedMatch {
    fn read(section: Section<'_>, name_of: fn(&str) -> Result<String, Refusal>) -> Option<Self> {
        let name = section.parsed("name", name_of);
        if !section.has("name") {
            section.missing("name", "say which one, as { name = \"x-device\", matches = \"tv\" }");
        }
        let written = section.parsed("matches", pattern);
        let matches = if section.has("matches") { written } else { Pattern::new("").ok() };
        section.finish();
        Some(Self { name: name?, matches: matches? })
    }
}

impl CmcdCondition {
    fn read(section: Section<'_>) -> Option<Self> {
        let key = section.parsed("key", cmcd_key);
        if !section.has("key") {
            section.missing("key", "say which one, as { key = \"tb\", below = 1500 }");
        }
        let matches = section.parsed("matches", pattern);
        // Kilobits a second and milliseconds: a thousand million is above any that a player means.
        let below = section.optional_number("below", 0.0..=1e9);
        if !section.has("matches") && !section.has("below") {
            section.fault(
                "",
                "has neither `matches` nor `below`",
                Some("a key that is merely there is `matches = \"\"`"),
            );
        }
        section.finish();
        Some(Self { key: key?, matches, below })
    }
}

fn pattern(text: &str) -> Result<Pattern, Refusal> {
    Pattern::new(text).map_err(Refusal::new)
}

fn plain_name(text: &str) -> Result<String, Refusal> {
    /// Longest name of a header or query parameter, in bytes.
    const NAME_LIMIT_BYTES: usize = 128;
    if text.is_empty() || text.len() > NAME_LIMIT_BYTES {
        return Err(Refusal::new(format!("must be 1 to {NAME_LIMIT_BYTES} bytes long")));
    }
    Ok(text.to_owned())
}

/// RFC 9110, 5.6.2: a token; header names do not care for case.
fn header_name(text: &str) -> Result<String, Refusal> {
    let name = plain_name(text)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)) {
        return Err(Refusal::new(format!("{name:?} is not the name of a header")));
    }
    Ok(name.to_ascii_lowercase())
}

/// CTA-5004: short lower-case names; custom ones hold a hyphenated prefix (reverse DNS), so dots are allowed too.
fn cmcd_key(text: &str) -> Result<String, Refusal> {
    let name = plain_name(text)?;
    if !name.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"-._".contains(&byte)) {
        return Err(Refusal::new(format!("{name:?} is not a CMCD key"))
            .hint("keys are as in CTA-5004: tb, mtp, bl, dl, sf, st, ot, cid, sid"));
    }
    Ok(name)
}

#[cfg(test)]
mod tests;
