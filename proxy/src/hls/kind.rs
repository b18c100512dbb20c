//! Multivariant, media, or no playlist: told from the content.
//!
//! Why not from the name or the Content-Type: origins serve playlists as `.php`, `text/plain` and
//! `application/octet-stream`, and error pages as `application/vnd.apple.mpegurl`. RFC 8216 section 4 asks for
//! `#EXTM3U` in the first line; a BOM, blank lines and comments before it are tolerated, as players do.

use super::lines::{Content, Lines};

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
}
