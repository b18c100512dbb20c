//! Attribute lists (`NAME=VALUE,NAME="VALUE"`) read leniently and changed in place.
//!
//! Why not quick-m3u8's: it gives an error for the whole list where one attribute is odd (an empty value, a stray
//! `=`, a trailing comma, text after a closing quote), and it cannot change one attribute while it keeps blanks
//! and order of the others. A variant must not be lost over a blank after a comma.

use std::ops::Range;

/// One attribute and where it stands.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Attribute<'a> {
    /// Name, trimmed.
    pub name: &'a str,
    /// Value without quotes, trimmed.
    pub value: &'a str,
    /// Whether the value was in quotes.
    pub quoted: bool,
    /// `NAME=VALUE`, quotes included, in the list's text.
    span: Range<usize>,
    /// The value with its quotes, in the list's text.
    value_span: Range<usize>,
}

/// An attribute list in the order it was written.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Attributes<'a> {
    items: Vec<Attribute<'a>>,
}

/// A change to one attribute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change<'a> {
    /// Gets this value, which is written as given (put quotes in it where the attribute has them).
    Set(&'a str, String),
    /// Goes, every time it occurs.
    Drop(&'a str),
}

impl<'a> Attributes<'a> {
    /// Reads all it can; an item without `=` is left out, never an error.
    pub fn read(text: &'a str) -> Self {
        let mut items = Vec::new();
        let mut at = 0;
        while at < text.len() {
            let rest = &text[at..];
            let Some(stop) = rest.find(['=', ',']) else { break };
            if rest.as_bytes()[stop] == b',' {
                at += stop + 1;
                continue;
            }
            let name = rest[..stop].trim();
            let name_start = at + (rest[..stop].len() - rest[..stop].trim_start().len());
            let value_at = at + stop + 1;
            let value_text = &text[value_at..];
            let value_start = value_at + (value_text.len() - value_text.trim_start().len());
            let item = match text[value_start..].strip_prefix('"').map(|inner| (inner, inner.find('"'))) {
                Some((inner, Some(length))) => {
                    let value_span = value_start..value_start + length + 2;
                    let value = inner[..length].trim();
                    Attribute { name, value, quoted: true, span: name_start..value_span.end, value_span }
                }
                Some((inner, None)) => {
                    // The closing quote is missing: the rest of the line is the value.
                    let value_span = value_start..text.len();
                    Attribute {
                        name,
                        value: inner.trim(),
                        quoted: true,
                        span: name_start..text.len(),
                        value_span,
                    }
                }
                None => {
                    let length = text[value_start..].find(',').unwrap_or(text.len() - value_start);
                    let value = text[value_start..value_start + length].trim();
                    let value_span = value_start..value_start + value.len();
                    Attribute { name, value, quoted: false, span: name_start..value_span.end, value_span }
                }
            };
            let end = item.span.end;
            if !name.is_empty() {
                items.push(item);
            }
            at = text[end..].find(',').map_or(text.len(), |comma| end + comma + 1);
        }
        Self { items }
    }

    /// The value of the first attribute of this name, quoted or not.
    pub fn get(&self, name: &str) -> Option<&'a str> {
        self.items.iter().find(|item| item.name == name).map(|item| item.value)
    }

    /// The value as an owned string.
    pub fn text(&self, name: &str) -> Option<String> {
        self.get(name).map(str::to_owned)
    }

    /// The value as a number; decimals where an integer is due are truncated, blanks and quotes tolerated.
    pub fn integer(&self, name: &str) -> Option<u64> {
        let value = self.get(name)?;
        quick_m3u8::tag::TagValue(value.as_bytes()).try_as_decimal_integer().ok().or_else(|| {
            self.decimal(name).filter(|number| *number < u64::MAX as f64).map(|number| number as u64)
        })
    }

    /// The value as a finite number not below 0.
    pub fn decimal(&self, name: &str) -> Option<f64> {
        self.get(name)?.parse().ok().filter(|number: &f64| number.is_finite() && *number >= 0.0)
    }

    /// Whether the value is `YES`.
    pub fn yes(&self, name: &str) -> bool {
        self.get(name) == Some("YES")
    }

    /// All attributes in order.
    pub fn iter(&self) -> impl Iterator<Item = &Attribute<'a>> {
        self.items.iter()
    }
}

/// `text` with the changes made; attributes not named, their order and blanks stay. An attribute set but absent is
/// appended.
pub fn edit(text: &str, changes: &[Change<'_>]) -> String {
    let mut text = text.to_owned();
    for change in changes {
        match change {
            Change::Set(name, value) => {
                let found = Attributes::read(&text).items.into_iter().find(|item| item.name == *name);
                match found.map(|item| item.value_span) {
                    Some(span) => text.replace_range(span, value),
                    None => {
                        let body = text.trim_end().trim_end_matches(',').len();
                        text.truncate(body);
                        if !text.is_empty() {
                            text.push(',');
                        }
                        text.push_str(&format!("{name}={value}"));
                    }
                }
            }
            Change::Drop(name) => {
                while let Some(span) = removal(&text, name) {
                    text.replace_range(span, "");
                }
            }
        }
    }
    text
}

/// The bytes to take out for `name` with one separator.
fn removal(text: &str, name: &str) -> Option<Range<usize>> {
    let items = Attributes::read(text).items;
    let index = items.iter().position(|item| item.name == name)?;
    let span = &items[index].span;
    Some(match (items.get(index + 1), index.checked_sub(1)) {
        (Some(next), _) => span.start..next.span.start,
        (None, Some(previous)) => items[previous].span.end..span.end,
        (None, None) => span.clone(),
    })
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    fn pairs(text: &str) -> Vec<(&str, &str)> {
        Attributes::read(text).items.iter().map(|item| (item.name, item.value)).collect()
    }

    #[test]
    fn reads_what_packagers_write() {
        assert_eq!(pairs("PROGRAM-ID=1, BANDWIDTH=200000"), [("PROGRAM-ID", "1"), ("BANDWIDTH", "200000")]);
        assert_eq!(pairs(r#"A="x,y=z",B=2"#), [("A", "x,y=z"), ("B", "2")]);
        assert_eq!(pairs(r#"A = "x" , B= 2 ,"#), [("A", "x"), ("B", "2")]);
        assert_eq!(pairs("A=,B=1"), [("A", ""), ("B", "1")]);
        assert_eq!(pairs("A=b=c,D=1"), [("A", "b=c"), ("D", "1")]);
        assert_eq!(pairs(r#"A="open,B=1"#), [("A", "open,B=1")]);
        assert_eq!(pairs(r#"junk,A="x"tail,B=1"#), [("A", "x"), ("B", "1")]);
        assert_eq!(pairs(r#"NAME="Français",URI="ü.m3u8""#), [("NAME", "Français"), ("URI", "ü.m3u8")]);
        assert_eq!(pairs("=,==,,"), []);
        assert_eq!(pairs(""), []);
    }

    #[test]
    fn numbers_are_lenient() {
        let list = Attributes::read(r#"A="29.97",B=1280000.5,C=-1,D=x,E=99999999999999999999999,F=30.000"#);
        assert_eq!(list.decimal("A"), Some(29.97));
        assert_eq!(list.integer("B"), Some(1_280_000));
        assert_eq!(list.integer("C"), None);
        assert_eq!(list.integer("D"), None);
        assert_eq!(list.integer("E"), None);
        assert_eq!(list.decimal("F"), Some(30.0));
    }

    #[test]
    fn edits_leave_the_rest_alone() {
        let set = |name, value: &str| Change::Set(name, value.to_owned());
        let text = r#"PROGRAM-ID=1, BANDWIDTH=2,SCORE=1.0,  X="a,b""#;
        assert_eq!(edit(text, &[set("BANDWIDTH", "9")]), r#"PROGRAM-ID=1, BANDWIDTH=9,SCORE=1.0,  X="a,b""#);
        assert_eq!(edit(text, &[Change::Drop("SCORE")]), r#"PROGRAM-ID=1, BANDWIDTH=2,X="a,b""#);
        assert_eq!(edit(text, &[Change::Drop("X")]), "PROGRAM-ID=1, BANDWIDTH=2,SCORE=1.0");
        assert_eq!(edit("SCORE=1", &[Change::Drop("SCORE"), set("A", "1")]), "A=1");
        assert_eq!(edit("B=1,", &[set("A", "1")]), "B=1,A=1");
        assert_eq!(edit("S=1,A=2,S=3", &[Change::Drop("S")]), "A=2");
        assert_eq!(edit("", &[Change::Drop("S")]), "");
    }
}
