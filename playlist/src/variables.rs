//! `EXT-X-DEFINE` and `{$name}` (RFC 8216bis sections 4.3 and 4.4.2.3).
//!
//! The edge substitutes only to know where a URI leads; lines that stay keep their `{$name}`, the player does its
//! own substitution.

use crate::attributes::Attributes;
use crate::uri;
use std::borrow::Cow;
use std::collections::BTreeMap;

/// The longest value, in bytes: a signature's query is a quarter of it. A longer one is not defined.
pub const VALUE_BYTES_MAX: usize = 4096;

/// The variables of one playlist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Variables {
    values: BTreeMap<String, String>,
    /// `IMPORT` of something the multivariant playlist is not known to define: the edge is stateless and does not
    /// know which multivariant playlist led here.
    pub import_missing: bool,
    /// `QUERYPARAM` that the request for the playlist does not carry.
    pub parameter_missing: bool,
}

impl Variables {
    /// The defined names and their values.
    pub fn values(&self) -> &BTreeMap<String, String> {
        &self.values
    }

    /// Takes in one `EXT-X-DEFINE`: `query` is the playlist request's query, `imported` what a multivariant
    /// playlist defined.
    pub fn define(&mut self, tag: &str, query: Option<&str>, imported: &BTreeMap<String, String>) {
        let attributes = Attributes::read(tag);
        if let Some(name) = attributes.get("NAME") {
            // An empty value is a value.
            let value = attributes.get("VALUE").unwrap_or_default();
            if value.len() <= VALUE_BYTES_MAX {
                self.values.insert(name.to_owned(), value.to_owned());
            } else {
                self.values.remove(name);
            }
        } else if let Some(name) = attributes.get("QUERYPARAM") {
            match uri::parameters(query).find(|(given, _)| given == name) {
                // A value of the player's (or of whoever made its link) must not become lines and attributes of the playlist.
                Some((_, value))
                    if value.len() <= VALUE_BYTES_MAX
                        && !value.contains(|c: char| c.is_control() || c == '"') =>
                {
                    self.values.insert(name.to_owned(), value.into_owned());
                }
                _ => self.parameter_missing = true,
            }
        } else if let Some(name) = attributes.get("IMPORT") {
            match imported.get(name) {
                Some(value) => {
                    self.values.insert(name.to_owned(), value.clone());
                }
                None => self.import_missing = true,
            }
        }
    }

    /// `text` with every `{$name}` replaced, once (values are not searched again); `None` if one is not defined.
    pub fn substitute<'a>(&self, text: &'a str) -> Option<Cow<'a, str>> {
        if !text.contains("{$") {
            return Some(Cow::Borrowed(text));
        }
        let mut out = String::with_capacity(text.len());
        let mut rest = text;
        while let Some((before, after)) = rest.split_once("{$") {
            out.push_str(before);
            // No further than a name goes: a text of `{$` alone must not be searched once for each of them.
            let (name, tail) = after.split_at(after.bytes().take_while(|byte| is_of_name(*byte)).count());
            match tail.strip_prefix('}') {
                Some(tail) if !name.is_empty() => {
                    out.push_str(self.values.get(name)?);
                    rest = tail;
                }
                // Not a reference: the braces are text.
                _ => {
                    out.push_str("{$");
                    rest = after;
                }
            }
        }
        out.push_str(rest);
        Some(Cow::Owned(out))
    }
}

fn is_of_name(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_')
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn defines_and_substitutes() {
        let imported = BTreeMap::from([("cdn".to_owned(), "c1".to_owned())]);
        let mut variables = Variables::default();
        for tag in [
            r#"NAME="host",VALUE="o.example""#,
            r#"NAME="empty",VALUE="""#,
            r#"NAME="loop",VALUE="{$host}""#,
            r#"QUERYPARAM="auth""#,
            r#"IMPORT="cdn""#,
        ] {
            variables.define(tag, Some("x=1&auth=a%2Fb"), &imported);
        }
        assert!(!variables.import_missing && !variables.parameter_missing);
        for (text, expected) in [
            ("plain.ts", Some("plain.ts")),
            ("https://{$host}/{$cdn}/a.ts?auth={$auth}", Some("https://o.example/c1/a.ts?auth=a/b")),
            ("{$empty}a{$loop}", Some("a{$host}")),
            ("{$unknown}/a", None),
            ("{$", Some("{$")),
            ("{$not a name}", Some("{$not a name}")),
            ("{$host}{$host", Some("o.example{$host")),
        ] {
            assert_eq!(variables.substitute(text).as_deref(), expected, "{text}");
        }
        variables.define(r#"QUERYPARAM="gone""#, None, &imported);
        variables.define(r#"IMPORT="gone""#, None, &imported);
        assert!(variables.import_missing && variables.parameter_missing);
    }

    #[test]
    fn a_request_writes_no_lines_into_a_playlist() {
        for value in ["a%0A%23EXT-X-ENDLIST", "a%22,URI=%22b", "%0D", "%C2%85"] {
            let mut variables = Variables::default();
            variables.define("QUERYPARAM=\"q\"", Some(&format!("q={value}")), &BTreeMap::new());
            assert!(variables.parameter_missing && variables.substitute("{$q}").is_none(), "{value}");
        }
    }

    #[test]
    fn long_values_are_none_and_long_texts_take_no_time() {
        let mut variables = Variables::default();
        let long = "x".repeat(VALUE_BYTES_MAX + 1);
        variables.define("NAME=\"a\",VALUE=\"short\"", None, &BTreeMap::new());
        variables.define(&format!("NAME=\"a\",VALUE=\"{long}\""), None, &BTreeMap::new());
        assert_eq!(variables.substitute("{$a}"), None, "and the one before it is no longer meant");
        variables.define("QUERYPARAM=\"q\"", Some(&format!("q={long}")), &BTreeMap::new());
        assert!(variables.parameter_missing);
        // Searched for the end of each reference, eight million bytes took hours.
        let open = "{$".repeat(4 << 20) + "}";
        assert_eq!(variables.substitute(&open).as_deref(), Some(open.as_str()));
    }
}
