//! A playlist as numbered lines whose bytes are kept, and edits on single lines.
//!
//! Why not emit through a library: *m3u8-rs* 6 rebuilds the playlist from its model and loses all but the last of
//! several KEYs or DATERANGEs, comments, order, everything after the last URI, and EXTINF digits beyond `f32`; a
//! BOM fails. *quick-m3u8* 0.8 keeps a line's text, but its reader drops the line ending (CRLF becomes LF, a
//! missing final newline cannot be told from a present one), takes a first line with a BOM and any indented tag for
//! a URI, and its attribute lists refuse an empty value, a stray `=` or a trailing comma, and keep the blank of
//! `PROGRAM-ID=1, BANDWIDTH=200000` in the name. So: the line split and the attribute lists ([`crate::attributes`])
//! are ours, because bytes must survive and real packagers are sloppy; what is a tag, its name and its value, and
//! the typed scalar values (ranges, resolutions, integers) are quick-m3u8's, line by line. A line it cannot read
//! is [`Content::Other`]: never lost, never an error.

use quick_m3u8::HlsLine;
use quick_m3u8::config::{ParsingOptions, ParsingOptionsBuilder};
use quick_m3u8::custom_parsing::line::parse;
use std::collections::BTreeMap;
use std::sync::LazyLock;

/// UTF-8's byte order mark; RFC 8216 forbids it in playlists, editors on Windows write it all the same.
pub const BYTE_ORDER_MARK: char = '\u{feff}';

/// A text and where its lines are. Joining all lines gives the text again.
#[derive(Debug, Clone)]
pub struct Lines {
    source: String,
    spans: Vec<Span>,
}

/// Byte offsets of a line: `start..end` its text (no BOM, no line ending), `end..next` its line ending.
#[derive(Debug, Clone, Copy)]
struct Span {
    start: usize,
    end: usize,
    next: usize,
}

/// What a line is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Content<'a> {
    /// `#EXT...`, with the name as after the `#` (`EXT-X-KEY`, `EXTINF`) and what follows the first colon.
    Tag {
        /// Name, `EXT` included, `#` not.
        name: &'a str,
        /// All after the first `:`, trimmed; `None` without a colon.
        value: Option<&'a str>,
    },
    /// A URI line, trimmed.
    Uri(&'a str),
    /// Blank or white space only.
    Blank,
    /// A comment, or something starting like a tag that is none.
    Other,
}

/// Tags are split into name and value only; their meaning is read leniently by our own modules.
static OPTIONS: LazyLock<ParsingOptions> = LazyLock::new(|| ParsingOptionsBuilder::new().build());

impl Lines {
    /// Splits at LF; CRs before it belong to the line ending.
    pub fn read(source: impl Into<String>) -> Self {
        let source = source.into();
        let mut spans = Vec::new();
        let mut start = if source.starts_with(BYTE_ORDER_MARK) { BYTE_ORDER_MARK.len_utf8() } else { 0 };
        while start < source.len() {
            let rest = &source.as_bytes()[start..];
            let (text, next) = match rest.iter().position(|&byte| byte == b'\n') {
                Some(at) => (&rest[..at], at + 1),
                None => (rest, rest.len()),
            };
            // A CR in front of no LF is white space in the text; one or (sloppy tools) two before it end the line.
            let crs = if next > text.len() {
                text.iter().rev().take_while(|&&byte| byte == b'\r').count()
            } else {
                0
            };
            let length = text.len() - crs;
            spans.push(Span { start, end: start + length, next: start + next });
            start += next;
        }
        Self { source, spans }
    }

    /// The whole text as it came.
    pub fn source(&self) -> &str {
        &self.source
    }

    /// Number of lines; a final newline does not start another one.
    pub fn len(&self) -> usize {
        self.spans.len()
    }

    /// Whether there is no line at all.
    pub fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// The text of line `index`, without BOM and line ending; empty past the end.
    pub fn text(&self, index: usize) -> &str {
        self.spans.get(index).map_or("", |span| &self.source[span.start..span.end])
    }

    /// What line `index` is.
    pub fn content(&self, index: usize) -> Content<'_> {
        classify(self.text(index))
    }

    /// All lines in order.
    pub fn iter(&self) -> impl Iterator<Item = (usize, Content<'_>)> {
        (0..self.len()).map(|index| (index, self.content(index)))
    }

    /// The line ending that new lines get: the first one there is, LF in a text of one unended line.
    fn line_ending(&self) -> &str {
        self.spans
            .first()
            .map(|span| &self.source[span.end..span.next])
            .filter(|e| !e.is_empty())
            .unwrap_or("\n")
    }
}

/// Reads one line without its ending. Indentation and trailing blanks are tolerated, as players do.
pub fn classify(text: &str) -> Content<'_> {
    let text = text.trim_matches(|c: char| c.is_whitespace() || c == BYTE_ORDER_MARK);
    match parse(text, &OPTIONS).map(|line| line.parsed) {
        Ok(HlsLine::Blank) => Content::Blank,
        Ok(HlsLine::Uri(_)) => Content::Uri(text),
        Ok(HlsLine::UnknownTag(tag)) => {
            // quick-m3u8 names tags without their `EXT`; the full name is what specifications and people say.
            let name = &text[1..1 + "EXT".len() + tag.name().len()];
            Content::Tag {
                name,
                value: tag.value().and_then(|v| std::str::from_utf8(v.0).ok()).map(str::trim),
            }
        }
        Ok(HlsLine::Comment(_) | HlsLine::KnownTag(_)) | Err(_) => Content::Other,
    }
}

/// Changes to single lines of a [`Lines`]; everything not named here is copied byte for byte.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edits {
    changed: BTreeMap<usize, Option<String>>,
    inserted: BTreeMap<usize, Vec<String>>,
}

impl Edits {
    /// Line `index` gets another text; its line ending stays.
    pub fn replace(&mut self, index: usize, text: String) {
        self.changed.insert(index, Some(text));
    }

    /// Line `index` goes, with its line ending.
    pub fn remove(&mut self, index: usize) {
        self.changed.insert(index, None);
    }

    /// A new line before line `index` (`lines.len()`: at the end), after others inserted there before.
    pub fn insert_before(&mut self, index: usize, text: String) {
        self.inserted.entry(index).or_default().push(text);
    }

    /// Whether nothing changes.
    pub fn is_empty(&self) -> bool {
        self.changed.is_empty() && self.inserted.is_empty()
    }

    /// Whether line `index` is replaced or removed.
    pub fn touches(&self, index: usize) -> bool {
        self.changed.contains_key(&index)
    }

    /// Lines replaced or removed, and lines inserted.
    pub fn counts(&self) -> (usize, usize) {
        (self.changed.len(), self.inserted.values().map(Vec::len).sum())
    }

    /// The text with the edits made.
    pub fn apply(&self, lines: &Lines) -> String {
        let ending = lines.line_ending();
        let mut out = String::with_capacity(lines.source.len() + lines.source.len() / 4);
        if lines.source.starts_with(BYTE_ORDER_MARK) {
            out.push(BYTE_ORDER_MARK);
        }
        for (index, span) in lines.spans.iter().enumerate() {
            for text in self.inserted.get(&index).into_iter().flatten() {
                out.push_str(text);
                out.push_str(ending);
            }
            match self.changed.get(&index) {
                None => out.push_str(&lines.source[span.start..span.next]),
                Some(Some(text)) => {
                    out.push_str(text);
                    out.push_str(&lines.source[span.end..span.next]);
                }
                Some(None) => {}
            }
        }
        for text in self.inserted.range(lines.len()..).flat_map(|(_, texts)| texts) {
            // A text without final newline keeps being one, and its last line is not glued to ours.
            let open = !out.is_empty() && !out.ends_with('\n');
            if open {
                out.push_str(ending);
            }
            out.push_str(text);
            if !open {
                out.push_str(ending);
            }
        }
        out
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn lines_are_what_they_are() {
        let cases = [
            ("#EXTM3U", Content::Tag { name: "EXTM3U", value: None }),
            ("\u{feff}#EXTM3U", Content::Tag { name: "EXTM3U", value: None }),
            ("#EXTINF:9.009,title, more", Content::Tag { name: "EXTINF", value: Some("9.009,title, more") }),
            ("  #EXT-X-ENDLIST \t", Content::Tag { name: "EXT-X-ENDLIST", value: None }),
            ("#EXT-X-STREAM-INF:", Content::Tag { name: "EXT-X-STREAM-INF", value: Some("") }),
            ("#EXT-X-UNHEARD-OF:A=1", Content::Tag { name: "EXT-X-UNHEARD-OF", value: Some("A=1") }),
            (" https://o.example/2.ts", Content::Uri("https://o.example/2.ts")),
            ("    ", Content::Blank),
            ("", Content::Blank),
            ("# words", Content::Other),
            ("#", Content::Other),
            ("#EXT", Content::Other),
            ("#EXT:", Content::Tag { name: "EXT", value: Some("") }),
        ];
        for (text, expected) in cases {
            assert_eq!(classify(text), expected, "{text:?}");
        }
    }

    #[test]
    fn no_edit_gives_the_same_bytes() {
        for text in [
            "",
            "\n",
            "a",
            "a\r\nb\nc",
            "\u{feff}#EXTM3U\r\n\r\n",
            "a\n\n\n",
            "\r\n",
            "\r",
            "a\rb\n",
            "a\r\r\nb\r",
        ] {
            assert_eq!(Edits::default().apply(&Lines::read(text)), text);
        }
    }

    #[test]
    fn edits_keep_endings_and_the_missing_last_newline() {
        let lines = Lines::read("\u{feff}a\r\nb\r\nc");
        let mut edits = Edits::default();
        edits.replace(0, "A".into());
        edits.remove(1);
        edits.insert_before(2, "x".into());
        edits.insert_before(2, "y".into());
        edits.insert_before(3, "z".into());
        assert_eq!(edits.apply(&lines), "\u{feff}A\r\nx\r\ny\r\nc\r\nz");
        assert_eq!(edits.counts(), (2, 3));
        let mut edits = Edits::default();
        edits.insert_before(1, "b".into());
        edits.insert_before(1, "c".into());
        assert_eq!(edits.apply(&Lines::read("a\n")), "a\nb\nc\n");
    }
}
