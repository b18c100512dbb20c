//! `EXT-X-DEFINE` and `{$name}` (RFC 8216bis sections 4.3 and 4.4.2.3).
//!
//! The edge substitutes only to know where a URI leads; lines that stay keep their `{$name}`, the player does its
//! own substitution.

use super::attributes::Attributes;
use super::uri;
use std::borrow::Cow;
use std::collections::BTreeMap;

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
            self.values.insert(name.to_owned(), value.to_owned());
        } else if let Some(name) = attributes.get("QUERYPARAM") {
            match uri::parameters(query).find(|(given, _)| given == name) {
                Some((_, value)) => {
                    self.values.insert(name.to_owned(), value.into_owned());
                }
                None => self.parameter_missing = true,
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
            match after.split_once('}') {
                Some((name, tail)) if is_name(name) => {
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

fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
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
}
