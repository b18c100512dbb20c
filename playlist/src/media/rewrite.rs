//! The media playlist of an enhanced rendition: the source's, with as few lines changed as can be.
//!
//! | line | what becomes of it |
//! |---|---|
//! | segment URI, relative | stays: the enhanced playlist lives at the same depth below its token |
//! | segment URI elsewhere on a configured origin | `/~acuity/<token>/<edge path>` |
//! | `EXT-X-BYTERANGE` | goes; the URI gets `~acuity-range=LENGTH@OFFSET`: enhanced bytes lie elsewhere, each in a resource of its own |
//! | `EXT-X-MAP` | likewise |
//! | `EXT-X-BITRATE` | goes: it states the source's bit rate, which is not the enhanced one's |
//! | `EXT-X-KEY` | stays; a relative URI resolves below the token, where the edge passes it through; only one that would lead astray is changed |
//! | all others | stay, byte for byte |

use super::{Map, MediaPlaylist};
use crate::attributes::{Attributes, Change, edit};
use crate::lines::{Content, Edits};
use crate::token::RenditionToken;
use crate::uri::{self, ByteRange, Target};

impl MediaPlaylist {
    /// The enhanced rendition's playlist. Never fails: what cannot be mapped stays as it is (whether to offer the
    /// rendition at all is [`MediaPlaylist::obstacles`]' question).
    pub fn rewrite(&self, token: &RenditionToken) -> String {
        self.enhanced_edits(token).apply(&self.lines)
    }

    /// The edits [`Self::rewrite`] makes.
    pub fn enhanced_edits(&self, token: &RenditionToken) -> Edits {
        let mut edits = Edits::default();
        let prefix = token.prefix();
        let here = format!("{prefix}{}", self.edge_path);
        for segment in &self.segments {
            let substituted = segment.substituted.as_deref();
            let place = Place { written: &segment.uri, substituted, target: &segment.target };
            if let Some(uri) = place.enhanced(&prefix, &here, segment.byte_range) {
                edits.replace(segment.line, uri);
            }
            if let (Some(line), Some(_), Some(_)) =
                (segment.byte_range_line, segment.byte_range, segment.target.edge())
            {
                edits.remove(line);
            }
        }
        for &line in &self.dropped_lines {
            edits.remove(line);
        }
        for map in &self.maps {
            if let Some(text) = self.enhanced_map(map, &prefix, &here) {
                edits.replace(map.line, text);
            }
        }
        for key in &self.keys {
            let (Some(written), Target::Edge(path)) = (&key.uri, &key.target) else { continue };
            // An absolute URI works from anywhere; a relative one must not lead to a path the origin did not mean.
            let Some(led) = uri::follow(&here, key.substituted.as_deref().unwrap_or(written)) else {
                continue;
            };
            if !same_path(&led, path) && !same_path(&led, &format!("{prefix}{path}")) {
                let quoted = uri::quoted(&uri::as_reference(path));
                if let Some(text) = self.with_attributes(key.line, &[Change::Set("URI", quoted)]) {
                    edits.replace(key.line, text);
                }
            }
        }
        edits
    }

    fn enhanced_map(&self, map: &Map, prefix: &str, here: &str) -> Option<String> {
        let place = Place { written: &map.uri, substituted: map.substituted.as_deref(), target: &map.target };
        let mut changes = Vec::new();
        if let Some(uri) = place.enhanced(prefix, here, map.byte_range) {
            changes.push(Change::Set("URI", uri::quoted(&uri)));
        }
        if map.byte_range.is_some() && map.target.edge().is_some() {
            changes.push(Change::Drop("BYTERANGE"));
        }
        if changes.is_empty() { None } else { self.with_attributes(map.line, &changes) }
    }

    /// Line `line`, a tag, with some attributes changed.
    fn with_attributes(&self, line: usize, changes: &[Change<'_>]) -> Option<String> {
        let Content::Tag { name, value: Some(value) } = self.lines.content(line) else { return None };
        debug_assert!(Attributes::read(value).iter().next().is_some());
        Some(format!("#{name}:{}", edit(value, changes)))
    }
}

/// A URI as written and where it leads.
struct Place<'a> {
    written: &'a str,
    substituted: Option<&'a str>,
    target: &'a Target,
}

impl Place<'_> {
    /// What to write instead; `None` if it can stay, or cannot be mapped.
    fn enhanced(&self, prefix: &str, here: &str, range: Option<ByteRange>) -> Option<String> {
        let path = self.target.edge()?;
        let below = format!("{prefix}{path}");
        let led = uri::follow(here, self.substituted.unwrap_or(self.written));
        let stays = led.is_some_and(|led| same_path(&led, &below));
        match (stays, range) {
            (true, None) => None,
            // With a variable in it, whether there is a `?` already shows only after substitution.
            (true, Some(range)) => Some(uri::with_range(self.substituted.unwrap_or(self.written), range)),
            (false, None) => Some(below),
            (false, Some(range)) => Some(uri::with_range(&below, range)),
        }
    }
}

/// Equal but for percent-encoding that URL parsers spell differently.
fn same_path(a: &str, b: &str) -> bool {
    let ((path_a, query_a), (path_b, query_b)) = (uri::split_query(a), uri::split_query(b));
    uri::canonical_path(path_a) == uri::canonical_path(path_b)
        && query_a.map(uri::canonical_path) == query_b.map(uri::canonical_path)
}
