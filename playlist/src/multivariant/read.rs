//! The reading pass over a multivariant playlist.

use super::{Multivariant, Rendition, Resolution, SessionData, UriPlace, Variant};
use crate::attributes::Attributes;
use crate::lines::{Content, Lines};
use crate::uri::{Base, Target};
use crate::variables::Variables;
use std::collections::BTreeMap;

/// Tags with a `URI` attribute that players resolve against this playlist.
const TAGS_WITH_URI: [&str; 4] =
    ["EXT-X-MEDIA", "EXT-X-I-FRAME-STREAM-INF", "EXT-X-SESSION-DATA", "EXT-X-IMAGE-STREAM-INF"];

pub(super) fn read(lines: Lines, base: &Base<'_>) -> Multivariant {
    let mut out = Multivariant {
        lines: Lines::read(""),
        variants: Vec::new(),
        renditions: Vec::new(),
        variables: Variables::default(),
        content_steering: false,
        session_keys: false,
        i_frame_variants: 0,
        session_data: Vec::new(),
        uris: Vec::new(),
    };
    // The EXT-X-STREAM-INF whose URI line is still to come.
    let mut open: Option<(usize, &str)> = None;
    for (line, content) in lines.iter() {
        match content {
            Content::Tag { name, value } => {
                let value = value.unwrap_or_default();
                if TAGS_WITH_URI.contains(&name) {
                    let uri = Attributes::read(value).get("URI");
                    out.uris.extend(uri.and_then(|uri| place(line, true, uri, base, &out.variables)));
                }
                match name {
                    "EXT-X-STREAM-INF" => open = Some((line, value)),
                    "EXT-X-MEDIA" => out.renditions.push(rendition(line, value, base, &out.variables)),
                    "EXT-X-DEFINE" => out.variables.define(value, base.query(), &BTreeMap::new()),
                    "EXT-X-CONTENT-STEERING" => out.content_steering = true,
                    "EXT-X-SESSION-KEY" => out.session_keys = true,
                    "EXT-X-I-FRAME-STREAM-INF" => out.i_frame_variants += 1,
                    "EXT-X-SESSION-DATA" => out.session_data.extend(session_data(value, &out.variables)),
                    _ => {}
                }
            }
            Content::Uri(uri) => {
                out.uris.extend(place(line, false, uri, base, &out.variables));
                if let Some((tag_line, value)) = open.take() {
                    out.variants.push(variant(tag_line, line, value, uri, base, &out.variables));
                }
            }
            Content::Blank | Content::Other => {}
        }
    }
    out.lines = lines;
    out
}

fn variant(
    line: usize,
    uri_line: usize,
    value: &str,
    uri: &str,
    base: &Base<'_>,
    variables: &Variables,
) -> Variant {
    // Attribute values may hold variables too.
    let value = variables.substitute(value).unwrap_or(std::borrow::Cow::Borrowed(value));
    let attributes = Attributes::read(&value);
    let codecs = attributes.get("CODECS").unwrap_or_default().split(',').map(str::trim);
    Variant {
        line,
        uri_line,
        uri: uri.to_owned(),
        target: target(uri, base, variables),
        bandwidth_bps: attributes.integer("BANDWIDTH").filter(|rate| *rate > 0),
        average_bandwidth_bps: attributes.integer("AVERAGE-BANDWIDTH").filter(|rate| *rate > 0),
        codecs: codecs.filter(|codec| !codec.is_empty()).map(str::to_owned).collect(),
        resolution: attributes.get("RESOLUTION").and_then(resolution),
        frame_rate: attributes.decimal("FRAME-RATE").filter(|rate| *rate > 0.0),
        audio: attributes.text("AUDIO"),
        video: attributes.text("VIDEO"),
        subtitles: attributes.text("SUBTITLES"),
        closed_captions: attributes.text("CLOSED-CAPTIONS"),
        video_range: attributes.text("VIDEO-RANGE"),
        video_layout: attributes.text("REQ-VIDEO-LAYOUT"),
        hdcp_level: attributes.text("HDCP-LEVEL"),
        stable_variant_id: attributes.text("STABLE-VARIANT-ID"),
        pathway_id: attributes.text("PATHWAY-ID").unwrap_or_else(|| ".".to_owned()),
        score: attributes.decimal("SCORE"),
    }
}

fn rendition(line: usize, value: &str, base: &Base<'_>, variables: &Variables) -> Rendition {
    let value = variables.substitute(value).unwrap_or(std::borrow::Cow::Borrowed(value));
    let attributes = Attributes::read(&value);
    let text = |name| attributes.text(name).unwrap_or_default();
    let uri = attributes.text("URI");
    Rendition {
        line,
        kind: text("TYPE"),
        group: text("GROUP-ID"),
        name: text("NAME"),
        language: attributes.text("LANGUAGE"),
        channels: attributes.text("CHANNELS"),
        target: uri.as_deref().map_or(Target::Opaque, |uri| base.resolve(uri)),
        uri,
        default: attributes.yes("DEFAULT"),
    }
}

fn session_data(value: &str, variables: &Variables) -> Option<SessionData> {
    let value = variables.substitute(value).unwrap_or(std::borrow::Cow::Borrowed(value));
    let attributes = Attributes::read(&value);
    Some(SessionData { id: attributes.text("DATA-ID")?, value: attributes.text("VALUE") })
}

fn resolution(text: &str) -> Option<Resolution> {
    let text = text.replace(['X', '*'], "x");
    let size = quick_m3u8::tag::UnquotedAttributeValue(text.as_bytes()).try_as_decimal_resolution().ok()?;
    let side = |pixels: u64| u32::try_from(pixels).ok().filter(|pixels| (1..=65_535).contains(pixels));
    Some(Resolution { width: side(size.width)?, height: side(size.height)? })
}

fn target(uri: &str, base: &Base<'_>, variables: &Variables) -> Target {
    variables.substitute(uri).map_or(Target::Opaque, |uri| base.resolve(&uri))
}

/// Where a URI stands, and what it has to become for players to stay at the edge.
fn place(
    line: usize,
    attribute: bool,
    uri: &str,
    base: &Base<'_>,
    variables: &Variables,
) -> Option<UriPlace> {
    let substituted = variables.substitute(uri)?;
    let Target::Edge(path) = base.resolve(&substituted) else { return None };
    let stays = base
        .as_written(&substituted)
        .is_some_and(|led| led == path || crate::uri::normalise(&led).as_ref() == Ok(&path));
    (!stays).then(|| UriPlace { line, attribute, mapped: crate::uri::as_reference(&path).into_owned() })
}
