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
    /// Whether it ends within a quote that is never closed, of an attribute with or without a name.
    is_open: bool,
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
        let (mut items, mut is_open) = (Vec::new(), false);
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
                    is_open = true;
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
        Self { items, is_open }
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
                    Some(span) => {
                        // What stands behind a closing quote is no value; it must not become one.
                        let behind = &text[span.end..];
                        let junk = behind.find(',').unwrap_or(behind.len());
                        let end = span.end + if behind[..junk].trim().is_empty() { 0 } else { junk };
                        text.replace_range(span.start..end, value);
                    }
                    // Behind a quote that is never closed it would be part of that value.
                    None if Attributes::read(&text).is_open => {
                        text.insert_str(0, &format!("{name}={value},"));
                    }
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
            Change::Drop(name) => text = without(&text, name),
        }
    }
    text
}

/// `text` without the attributes of that name, each with one separator. In one pass, however many there are.
fn without(text: &str, name: &str) -> String {
    let items = Attributes::read(text).items;
    let mut out = String::with_capacity(text.len());
    // What is copied so far, and where what was kept last ends.
    let (mut copied, mut kept_end) = (0, None);
    let mut items = items.iter().peekable();
    while let Some(item) = items.next() {
        if item.name != name {
            kept_end = Some(item.span.end);
            continue;
        }
        let start = item.span.start;
        while items.next_if(|next| next.name == name).is_some() {}
        let (start, end) = match (items.peek(), kept_end) {
            (Some(next), _) => (start, next.span.start),
            // With all behind it: what is no attribute must not become part of the one before.
            (None, Some(kept_end)) => (kept_end, text.len()),
            (None, None) => (start, text.len()),
        };
        out.push_str(&text[copied..start.max(copied)]);
        copied = end;
    }
    out + &text[copied..]
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
        assert_eq!(edit("A=\"x\"junk,B=2", &[set("A", "1")]), "A=1,B=2");
        assert_eq!(edit("A=\"x\" ,B=2", &[set("A", "1")]), "A=1 ,B=2");
        assert_eq!(edit("B=\"open,C=2", &[set("A", "1")]), "A=1,B=\"open,C=2");
        assert_eq!(edit("B=1,=\"open,C=2", &[set("A", "1")]), "A=1,B=1,=\"open,C=2");
        assert_eq!(edit("A=2,S=1,S=3,B=4, S=5 ,S=6", &[Change::Drop("S")]), "A=2,B=4");
        assert_eq!(edit("S=1,S=3,A=2,S=5,B=4", &[Change::Drop("S")]), "A=2,B=4");
        assert_eq!(edit("A=1,S=\"x\"junk,=", &[Change::Drop("S")]), "A=1");
        // Read again for each of them, this took hours.
        let many = "S=1,".repeat(1 << 20);
        assert_eq!(edit(&format!("{many}A=2"), &[Change::Drop("S")]), "A=2");
    }
}
