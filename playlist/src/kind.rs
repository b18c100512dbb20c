//! Multivariant, media, or no playlist: told from the content.
//!
//! Why not from the name or the Content-Type: origins serve playlists as `.php`, `text/plain` and
//! `application/octet-stream`, and error pages as `application/vnd.apple.mpegurl`. RFC 8216 section 4 asks for
//! `#EXTM3U` in the first line; a BOM, blank lines and comments before it are tolerated, as players do.

use crate::lines::{Content, Lines};
use crate::variables::VALUE_BYTES_MAX;

/// Variants and renditions of the largest multivariant playlist that is read. Ladders of a dozen, in several codecs and audio groups, have
/// a hundred; all that is decided about them compares each with others.
pub const VARIANTS_MAX: usize = 1000;

/// Bytes of the longest line that is read. What is in one is compared and changed attribute by attribute; the longest that packagers
/// write hold a licence or a picture in a `data:` URI.
pub const LINE_BYTES_MAX: usize = 64 << 10;

/// Bytes that the variables of a playlist may come to, put in wherever they are named. A line of five bytes becomes one of thousands.
pub const EXPANSION_BYTES_MAX: usize = 16 << 20;

/// What a text is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum PlaylistKind {
    /// Lists variants.
    Multivariant,
    /// Lists segments (possibly none yet).
    Media,
    /// No HLS playlist.
    NotAPlaylist,
}

impl PlaylistKind {
    /// The metric label.
    pub fn label(self) -> &'static str {
        match self {
            Self::Multivariant => "multivariant",
            Self::Media => "media",
            Self::NotAPlaylist => "other",
        }
    }
}

/// Tags that stand in multivariant playlists only (RFC 8216bis section 4.4.6).
const MULTIVARIANT_TAGS: [&str; 6] = [
    "EXT-X-STREAM-INF",
    "EXT-X-I-FRAME-STREAM-INF",
    "EXT-X-MEDIA",
    "EXT-X-SESSION-DATA",
    "EXT-X-SESSION-KEY",
    "EXT-X-CONTENT-STEERING",
];

/// Whether a playlist has more in it than is read: segments, or variants and renditions, or bytes in a line, or uses of variables
/// ([`EXPANSION_BYTES_MAX`]). Told from its text, before anything is made
/// of it: a line of a dozen bytes becomes a value of hundreds.
pub fn is_too_long(kind: PlaylistKind, text: &str, segments_max: usize) -> bool {
    let count = |tags: &[&str], most: usize| {
        let tags = text.lines().filter(|line| tags.iter().any(|tag| line.trim_start().starts_with(tag)));
        tags.take(most + 1).count() > most
    };
    if kind == PlaylistKind::NotAPlaylist {
        return false;
    }
    if text.lines().any(|line| line.len() > LINE_BYTES_MAX) || expansion_bytes(text) > EXPANSION_BYTES_MAX {
        return true;
    }
    match kind {
        PlaylistKind::Multivariant => count(&["#EXT-X-STREAM-INF", "#EXT-X-MEDIA:"], VARIANTS_MAX),
        PlaylistKind::Media => {
            // Lines that are no tags are segments, with EXTINF or without; keys and maps are kept one by one too.
            let uris =
                text.lines().filter(|line| !line.trim().is_empty() && !line.trim_start().starts_with('#'));
            uris.take(segments_max + 1).count() > segments_max
                || count(&["#EXT-X-KEY", "#EXT-X-MAP", "#EXT-X-BITRATE"], segments_max)
        }
        PlaylistKind::NotAPlaylist => false,
    }
}

/// What the variables of a text can come to at most: as often as one is named, the longest there is.
fn expansion_bytes(text: &str) -> usize {
    let definitions = text.lines().filter(|line| line.trim_start().starts_with("#EXT-X-DEFINE"));
    let bytes = |line: &str| {
        // How long a parameter of the request is, the text does not say.
        if line.contains("NAME") && !line.contains("QUERYPARAM") { line.len() } else { VALUE_BYTES_MAX }
    };
    let longest = definitions.map(bytes).max().unwrap_or(0).min(VALUE_BYTES_MAX);
    if longest == 0 { 0 } else { text.matches("{$").count().saturating_mul(longest) }
}

/// Tells what `bytes` are; text that is not UTF-8 is no playlist (RFC 8216 section 4.1).
pub fn sniff(bytes: &[u8]) -> PlaylistKind {
    match std::str::from_utf8(bytes) {
        Ok(text) => kind_of(&Lines::read(text)),
        Err(_) => PlaylistKind::NotAPlaylist,
    }
}

/// Tells what a text split into lines is: the first tag that stands in one kind only decides.
pub fn kind_of(lines: &Lines) -> PlaylistKind {
    let mut content = lines.iter().map(|(_, content)| content);
    let first = content.find(|content| !matches!(content, Content::Blank | Content::Other));
    if !matches!(first, Some(Content::Tag { name: "EXTM3U", .. })) {
        return PlaylistKind::NotAPlaylist;
    }
    for line in content {
        match line {
            Content::Tag { name, .. } if MULTIVARIANT_TAGS.contains(&name) => {
                return PlaylistKind::Multivariant;
            }
            Content::Tag { name: "EXTINF" | "EXT-X-TARGETDURATION" | "EXT-X-MEDIA-SEQUENCE", .. } => {
                return PlaylistKind::Media;
            }
            _ => {}
        }
    }
    PlaylistKind::Media
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn tells_kinds_apart() {
        use PlaylistKind::{Media, Multivariant, NotAPlaylist};
        let cases: [(&[u8], PlaylistKind); 11] = [
            (b"#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\na.m3u8\n", Multivariant),
            (b"\xef\xbb\xbf#EXTM3U\r\n#EXT-X-MEDIA:TYPE=AUDIO\r\n", Multivariant),
            (b"\n\n# said by us\n#EXTM3U\n#EXT-X-I-FRAME-STREAM-INF:URI=\"a\"", Multivariant),
            (b"#EXTM3U\n#EXTINF:1,\na.ts\n", Media),
            (b"#EXTM3U", Media),
            (b"#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:1\n", Media),
            (b"#EXTINF:1,\na.ts\n", NotAPlaylist),
            (b"<html>#EXTM3U</html>", NotAPlaylist),
            (b"#EXTM3U\n\xff", NotAPlaylist),
            (b"", NotAPlaylist),
            (b"G@\x11\x10", NotAPlaylist),
        ];
        for (bytes, expected) in cases {
            assert_eq!(sniff(bytes), expected, "{:?}", String::from_utf8_lossy(bytes));
        }
    }

    #[test]
    fn what_is_too_long_is_told_from_the_text() {
        let media = |segments: usize| format!("#EXTM3U\n{}", "#EXTINF:1,\n\n a.ts\n".repeat(segments));
        let too_long = |text: &str, most| is_too_long(sniff(text.as_bytes()), text, most);
        assert!(!too_long(&media(10), 10) && too_long(&media(11), 10));
        assert!(too_long(&format!("#EXTM3U\n#EXTINF:1,\n{}", "a\n".repeat(11)), 10), "without EXTINF");
        assert!(too_long(&format!("{}{}", media(1), "#EXT-X-KEY:METHOD=NONE\n".repeat(11)), 10));
        let master =
            |variants: usize| format!("#EXTM3U\n{}", "#EXT-X-STREAM-INF:BANDWIDTH=1\na\n".repeat(variants));
        assert!(!too_long(&master(VARIANTS_MAX), 10) && too_long(&master(VARIANTS_MAX + 1), 10));
        assert!(!too_long(&"a\n".repeat(100), 10), "no playlist");
        let line = |bytes: usize| format!("{}#{}\n", media(1), "x".repeat(bytes - 1));
        assert!(!too_long(&line(LINE_BYTES_MAX), 10) && too_long(&line(LINE_BYTES_MAX + 1), 10));
    }

    #[test]
    fn variables_cannot_make_a_playlist_large() {
        let text = |define: &str, uses: usize| {
            format!("#EXTM3U\n#EXT-X-DEFINE:{define}\n#EXT-X-TARGETDURATION:1\n{}", "{$a}\n".repeat(uses))
        };
        let too_long = |text: &str| is_too_long(sniff(text.as_bytes()), text, 1_000_000);
        let (token, long) = ("t".repeat(200), "t".repeat(4000));
        assert!(!too_long(&text(&format!("NAME=\"a\",VALUE=\"{token}\""), 20_000)), "33 hours of segments");
        assert!(too_long(&text(&format!("NAME=\"a\",VALUE=\"{long}\""), 20_000)));
        assert!(too_long(&text("QUERYPARAM=\"a\"", 20_000)) && !too_long(&text("QUERYPARAM=\"a\"", 4000)));
        assert!(
            !too_long(&format!("#EXTM3U\n#EXTINF:1,\n{}\n", "{$a}".repeat(10_000))),
            "nothing is defined"
        );
    }
}
