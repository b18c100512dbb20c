//! A playlist for a player whose URLs begin with something more: a signature in the path.
//!
//! Relative URIs inherit the begin of the playlist's own URL and stay byte for byte. All that would lead a player past it
//! (root-relative and absolute URIs, ones that climb above the edge's root, the edge's own `/~acuity/...`) is written anew with it in
//! front, if it leads to something the edge has.

use std::collections::BTreeMap;

use crate::attributes::{Attributes, Change, edit};
use crate::lines::{Content, Edits, Lines};
use crate::model_path;
use crate::uri::{self, follow};
use crate::variables::Variables;

/// Attributes of tags that players resolve against the playlist.
const ATTRIBUTES: [&str; 4] = ["URI", "SERVER-URI", "X-ASSET-URI", "X-ASSET-LIST"];

/// `text` as it is to be served at `prefix` + `here`. `here`: the edge path and query that it has without the prefix.
/// `target`: the edge path that a URI in it means, variables substituted; `None` where the edge has no such thing.
pub fn carry(text: &str, prefix: &str, here: &str, target: &dyn Fn(&str) -> Option<String>) -> String {
    let lines = Lines::read(text);
    let mut edits = Edits::default();
    let mut variables = Variables::default();
    let base = format!("{prefix}{here}");
    let leads = |uri: &str, variables: &Variables| {
        let uri = variables.substitute(uri)?;
        let path = target(&uri)?;
        if path.starts_with(&format!("{}{}/", uri::RESERVED_PREFIX, model_path::SEGMENT)) {
            // Open to everybody.
            return None;
        }
        let wanted = format!("{prefix}{path}");
        let led = follow(&base, &uri).and_then(|led| uri::normalise(&led).ok());
        (led.as_ref() != Some(&wanted)).then_some(wanted)
    };
    for (line, content) in lines.iter() {
        match content {
            Content::Uri(uri) => {
                if let Some(uri) = leads(uri, &variables) {
                    edits.replace(line, uri);
                }
            }
            Content::Tag { name: "EXT-X-DEFINE", value: Some(value) } => {
                variables.define(value, uri::split_query(here).1, &BTreeMap::new());
            }
            Content::Tag { name, value: Some(value) }
                if value.contains("UR") || value.contains("X-ASSET") =>
            {
                let attributes = Attributes::read(value);
                let changes: Vec<Change<'_>> = ATTRIBUTES
                    .iter()
                    .filter_map(|&name| {
                        let uri = leads(attributes.get(name)?, &variables)?;
                        Some(Change::Set(name, uri::quoted(&uri)))
                    })
                    .collect();
                if !changes.is_empty() {
                    edits.replace(line, format!("#{name}:{}", edit(value, &changes)));
                }
            }
            Content::Tag { .. } | Content::Blank | Content::Other => {}
        }
    }
    edits.apply(&lines)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use crate::Base;

    const PREFIX: &str = "/~acuity/signed/S";

    /// The origin has `/base/` where the edge has `/vod/`.
    fn map(url: &str) -> Option<String> {
        url.strip_prefix("https://o.example/base").map(|rest| format!("/vod{rest}"))
    }

    fn carried(line: &str) -> String {
        let base = Base::new("/vod/a/b.m3u8", Some("https://o.example/base/a/b.m3u8"), &map).unwrap();
        carry(line, PREFIX, "/vod/a/b.m3u8", &|uri| base.resolve(uri).edge().map(str::to_owned))
    }

    #[test]
    fn what_is_relative_stays() {
        for line in [
            "1.ts",
            "../c/1.ts?x=1",
            "./1.ts",
            "a%20b.ts",
            "#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"9@0\"",
            "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://key\"",
            "#EXT-X-KEY:METHOD=NONE",
            "data:text/plain,x",
            "https://elsewhere.example/1.ts",
            "/elsewhere/1.ts",
            "{$unknown}/1.ts",
            "#EXTINF:2,URI=x",
            "# URI=\"/base/comment\"",
        ] {
            assert_eq!(carried(line), line);
        }
    }

    #[test]
    fn what_leads_past_the_prefix_gets_it() {
        for (line, expected) in [
            ("/base/a/1.ts", "/~acuity/signed/S/vod/a/1.ts"),
            ("https://o.example/base/1.ts?v=2", "/~acuity/signed/S/vod/1.ts?v=2"),
            ("//o.example/base/1.ts", "/~acuity/signed/S/vod/1.ts"),
            // As deep as the origin's root, and that is not the edge's.
            ("../../base/1.ts", "/~acuity/signed/S/vod/1.ts"),
            (
                "#EXT-X-KEY:METHOD=AES-128,URI=\"/base/k\",IV=0x1",
                "#EXT-X-KEY:METHOD=AES-128,URI=\"/~acuity/signed/S/vod/k\",IV=0x1",
            ),
            (
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"b\",URI=\"https://o.example/base/s.m3u8\"",
                "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"b\",URI=\"/~acuity/signed/S/vod/s.m3u8\"",
            ),
            (
                "#EXT-X-DATERANGE:ID=\"1\",X-ASSET-URI=\"/base/ad.m3u8\",X-ASSET-LIST=\"/base/l.json\"",
                "#EXT-X-DATERANGE:ID=\"1\",X-ASSET-URI=\"/~acuity/signed/S/vod/ad.m3u8\",\
                 X-ASSET-LIST=\"/~acuity/signed/S/vod/l.json\"",
            ),
            (
                "#EXT-X-DEFINE:NAME=\"r\",VALUE=\"/base\"\r\n{$r}/1.ts\r\n",
                "#EXT-X-DEFINE:NAME=\"r\",VALUE=\"/base\"\r\n/~acuity/signed/S/vod/1.ts\r\n",
            ),
        ] {
            assert_eq!(carried(line), expected);
        }
    }

    #[test]
    fn what_the_edge_wrote_is_led_too() {
        let here = "/~acuity/v1.t/vod/a/b.m3u8";
        let target = |uri: &str| follow(here, uri);
        for (line, expected) in [
            ("1.ts", "1.ts"),
            ("/~acuity/v1.t/vod/1.ts", "/~acuity/signed/S/~acuity/v1.t/vod/1.ts"),
            ("#EXT-X-KEY:URI=\"../k\"", "#EXT-X-KEY:URI=\"../k\""),
            (
                "#EXT-X-SESSION-DATA:URI=\"/~acuity/models/m.json\"",
                "#EXT-X-SESSION-DATA:URI=\"/~acuity/models/m.json\"",
            ),
        ] {
            assert_eq!(carry(line, PREFIX, here, &target), expected);
        }
    }
}
