//! The multivariant playlist with enhanced variants in it.
//!
//! An enhanced variant is a clone of its source's `EXT-X-STREAM-INF`: groups, PATHWAY-ID, HDCP-LEVEL, FRAME-RATE and
//! every attribute we do not know stay, because the enhanced rendition differs from its source in picture size and
//! bit rate alone, or in its frame rate too. What changes:
//!
//! - RESOLUTION and BANDWIDTH are set; AVERAGE-BANDWIDTH and CODECS where the source has them. CODECS is not added
//!   to a playlist that has none: hls.js drops every variant without video CODECS or RESOLUTION once one variant
//!   has an audio codec, and would take the origin's variants for audio-only.
//! - FRAME-RATE is set where there are more pictures a second than the source has, stated there or not: it is the difference.
//! - SCORE goes: it ranks the origin's variants, and ours is not among them. SUPPLEMENTAL-CODECS goes: it describes
//!   a bitstream that is no longer there.
//! - STABLE-VARIANT-ID must not name two different things: ours is derived from the source's, so it is as stable.
//! - NAME, where it states the source's height (`360p`), states the new one: players show it in menus.
//!
//! It stands where the withheld variant stood, or right after its source: the first variant is where some players
//! start, and the order is the origin's choice.

use super::{Multivariant, Resolution, Variant, is_video};
use crate::attributes::{Attributes, Change, edit};
use crate::lines::{Content, Edits};
use crate::uri;

/// An enhanced variant to write in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Insertion {
    /// The variant it is made from and cloned from.
    pub source: usize,
    /// The withheld variant whose place it takes; `None`: after its source.
    pub replaces: Option<usize>,
    /// Edge path and query of the enhanced media playlist.
    pub uri: String,
    /// Size of the enhanced picture.
    pub resolution: Resolution,
    /// Peak segment bit rate, bit/s.
    pub bandwidth_bps: u64,
    /// Average segment bit rate, bit/s; written if the source has one.
    pub average_bandwidth_bps: u64,
    /// RFC 6381 codec of the enhanced video (`avc1.64001f`).
    pub video_codec: String,
    /// Pictures per 1000 seconds, where they are more than the source's.
    pub frame_rate_milli: Option<u32>,
}

/// Which models make it: written as session data, for players' logs, for people, and for clients that would rather run the
/// network themselves.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SessionModel {
    /// Enlargement per side.
    pub scale: u32,
    /// The model cluster.
    pub cluster: String,
    /// First 8 hex digits of the digest of its model set.
    pub digest: String,
    /// Edge path of the set's description; `None` where no network is used.
    pub description: Option<String>,
}

/// What to do to a multivariant playlist.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Rewrite {
    /// Enhanced variants, in the order they are to have where several stand in one place.
    pub insertions: Vec<Insertion>,
    /// Variants to take out.
    pub withheld: Vec<usize>,
    /// Session data to add, the most important first; one for each scale.
    pub session: Vec<SessionModel>,
    /// What makes pictures between the source's, where there are such: session data too.
    pub interpolator: Option<String>,
}

/// `DATA-ID` of the model set's name (`VALUE="<cluster>-<digest>"`). A `DATA-ID` may stand once in a playlist, so where
/// several scales are offered, those after the first have `.x3` and the like behind it.
pub const SESSION_MODEL_ID: &str = "org.acuity.model";
/// `DATA-ID` of the model set's description (`URI`, JSON); see [`SESSION_MODEL_ID`].
pub const SESSION_DESCRIPTION_ID: &str = "org.acuity.models";
/// `DATA-ID` of what makes pictures between the source's, in renditions of a higher frame rate.
pub(super) const SESSION_INTERPOLATOR_ID: &str = "org.acuity.interpolator";

impl Multivariant {
    /// The playlist with the rewrite done, and with absolute URIs on configured origins led to the edge.
    pub fn rewrite(&self, rewrite: &Rewrite) -> String {
        self.edits(rewrite).apply(&self.lines)
    }

    /// The edits [`Self::rewrite`] makes.
    pub fn edits(&self, rewrite: &Rewrite) -> Edits {
        let mut edits = Edits::default();
        for place in &self.uris {
            if !place.attribute {
                edits.replace(place.line, place.mapped.clone());
            } else if let Content::Tag { name, value: Some(value) } = self.lines.content(place.line) {
                let changed = edit(value, &[Change::Set("URI", uri::quoted(&place.mapped))]);
                edits.replace(place.line, format!("#{name}:{changed}"));
            }
        }
        if let Some(first) = self.variants.first() {
            for tag in self.session_tags(&rewrite.session, rewrite.interpolator.as_deref()) {
                edits.insert_before(first.line, tag);
            }
        }
        for insertion in &rewrite.insertions {
            let Some(source) = self.variants.get(insertion.source) else { continue };
            let replaced = insertion.replaces.and_then(|index| self.variants.get(index));
            let at = replaced.map_or(source.uri_line + 1, |variant| variant.line);
            if let Some(tag) = self.clone_of(source, insertion) {
                edits.insert_before(at, tag);
                edits.insert_before(at, insertion.uri.clone());
            }
        }
        for variant in rewrite.withheld.iter().filter_map(|&index| self.variants.get(index)) {
            edits.remove(variant.line);
            edits.remove(variant.uri_line);
            // Comments between the two speak of the variant; another tag that strayed there does not.
            for line in variant.line + 1..variant.uri_line {
                if matches!(self.lines.content(line), Content::Blank | Content::Other) {
                    edits.remove(line);
                }
            }
        }
        edits
    }

    /// The lines that name the models; what the origin says under the same `DATA-ID` stays its own.
    fn session_tags(&self, session: &[SessionModel], interpolator: Option<&str>) -> Vec<String> {
        let mut tags = Vec::new();
        let mut add = |id: String, attribute: String| {
            if !self.session_data.iter().any(|data| data.id == id) {
                tags.push(format!("#EXT-X-SESSION-DATA:DATA-ID=\"{id}\",{attribute}"));
            }
        };
        for (index, model) in session.iter().enumerate() {
            let SessionModel { scale, cluster, digest, description } = model;
            let suffix = if index == 0 { String::new() } else { format!(".x{scale}") };
            add(format!("{SESSION_MODEL_ID}{suffix}"), format!("VALUE=\"{cluster}-{digest}\""));
            if let Some(path) = description {
                add(format!("{SESSION_DESCRIPTION_ID}{suffix}"), format!("URI=\"{path}\""));
            }
        }
        if let Some(interpolator) = interpolator {
            add(SESSION_INTERPOLATOR_ID.to_owned(), format!("VALUE=\"{interpolator}\""));
        }
        tags
    }

    fn clone_of(&self, source: &Variant, insertion: &Insertion) -> Option<String> {
        let Content::Tag { name, value } = self.lines.content(source.line) else { return None };
        // The clone may come to stand before the EXT-X-DEFINE of a variable it uses.
        let value = value.unwrap_or_default();
        let value = self.variables.substitute(value).unwrap_or(std::borrow::Cow::Borrowed(value));
        let attributes = Attributes::read(&value);
        let Resolution { width, height } = insertion.resolution;
        let mut changes = vec![
            Change::Drop("SCORE"),
            Change::Drop("SUPPLEMENTAL-CODECS"),
            Change::Set("BANDWIDTH", insertion.bandwidth_bps.to_string()),
            Change::Set("RESOLUTION", format!("{width}x{height}")),
        ];
        if attributes.get("AVERAGE-BANDWIDTH").is_some() {
            changes.push(Change::Set("AVERAGE-BANDWIDTH", insertion.average_bandwidth_bps.to_string()));
        }
        if !source.codecs.is_empty() {
            let codecs = replaced_video_codec(source, &insertion.video_codec);
            changes.push(Change::Set("CODECS", format!("\"{codecs}\"")));
        }
        // Rates as people write them: 60, not 59.94, where they are part of a name.
        let rate = insertion.frame_rate_milli.map(|milli| ((milli + 500) / 1000).to_string());
        if let Some(milli) = insertion.frame_rate_milli {
            changes.push(Change::Set("FRAME-RATE", format!("{}.{:03}", milli / 1000, milli % 1000)));
        }
        if let Some(id) = attributes.get("STABLE-VARIANT-ID") {
            let rate = rate.as_ref().map(|rate| format!("p{rate}")).unwrap_or_default();
            changes.push(Change::Set("STABLE-VARIANT-ID", format!("\"acuity-{width}x{height}{rate}.{id}\"")));
        }
        if let Some(shown) = attributes.get("NAME") {
            let renamed = source.resolution.and_then(|size| with_height(shown, size.height, height));
            let renamed = match (renamed, rate) {
                (renamed, Some(rate)) => Some(format!("{} {rate} fps", renamed.as_deref().unwrap_or(shown))),
                (renamed, None) => renamed,
            };
            if let Some(renamed) = renamed {
                changes.push(Change::Set("NAME", format!("\"{renamed}\"")));
            }
        }
        Some(format!("#{name}:{}", edit(&value, &changes)))
    }
}

/// CODECS in the source's order with its video codec replaced; put first if it names none.
fn replaced_video_codec(source: &Variant, video_codec: &str) -> String {
    let mut codecs: Vec<&str> = Vec::new();
    let mut placed = false;
    for codec in &source.codecs {
        if !is_video(codec) {
            codecs.push(codec);
        } else if !placed {
            codecs.push(video_codec);
            placed = true;
        }
    }
    if !placed {
        codecs.insert(0, video_codec);
    }
    codecs.join(",")
}

/// `text` with the number `from`, where it stands alone, replaced by `to`.
fn with_height(text: &str, from: u32, to: u32) -> Option<String> {
    let from = from.to_string();
    let digit = |byte: Option<&u8>| byte.is_some_and(u8::is_ascii_digit);
    let bytes = text.as_bytes();
    text.match_indices(&from).find_map(|(at, _)| {
        let end = at + from.len();
        let alone = !digit(at.checked_sub(1).and_then(|before| bytes.get(before))) && !digit(bytes.get(end));
        alone.then(|| format!("{}{to}{}", &text[..at], &text[end..]))
    })
}
