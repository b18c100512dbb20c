//! Playlists that anybody may have written: read, rewritten, and read again as a player would.
//!
//! The input is the playlist's text. It is taken for a media playlist and for a multivariant one, whatever it is, behind a route with
//! a prefix and behind the one for every path.
#![no_main]

use std::collections::BTreeMap;

use acuity_playlist::carry::carry;
use acuity_playlist::media::{Map, Segment};
use acuity_playlist::multivariant::{Insertion, Resolution, Rewrite, SessionModel};
use acuity_playlist::uri::{self, RESERVED_PREFIX};
use acuity_playlist::variables::VALUE_BYTES_MAX;
use acuity_playlist::{
    Base, Found, MediaPlaylist, Multivariant, PlaylistKind, RenditionToken, Target, is_too_long, sniff,
};
use libfuzzer_sys::fuzz_target;

const SIGNED: &str = "/~acuity/signed/v1.key.2000000000.L2xpdmU.c2lnbmF0dXJl";
/// What a request may bring along: of these, one cannot be put into a playlist.
const QUERY: &str = "?t=1&u=a%22%0A%23b&v=%2F%2Fw";

/// A route, and a playlist behind it: `edge` is the origin's `origin`.
struct Place {
    edge: &'static str,
    origin: &'static str,
}

const PLACES: [Place; 2] = [
    Place { edge: "/live/", origin: "https://o.example/base/" },
    Place { edge: "/", origin: "https://o.example/" },
];

impl Place {
    fn playlist(&self) -> String {
        format!("{}v/a.m3u8{QUERY}", self.edge)
    }

    fn with_base<T>(&self, read: impl FnOnce(&Base<'_>) -> T) -> T {
        let map = |url: &str| url.strip_prefix(self.origin).map(|rest| format!("{}{rest}", self.edge));
        let url = format!("{}v/a.m3u8{QUERY}", self.origin);
        read(&Base::new(&self.playlist(), Some(&url), &map).expect("a base"))
    }
}

/// As a player sees it that knows nothing but the URL it asked.
fn as_served<T>(path: &str, read: impl FnOnce(&Base<'_>) -> T) -> T {
    read(&Base::new(path, None, &|_| None).expect("a base"))
}

fn token(playlist: &str) -> RenditionToken {
    let token = RenditionToken {
        scale: 2,
        width: 1280,
        height: 720,
        frame_rate_milli: 30_000,
        max_video_kbps: 2800,
        cluster: "generic".to_owned(),
        digest: "1a2b3c4d".to_owned(),
        interpolation: None,
        playlist: playlist.to_owned(),
    };
    token.check().expect("a token");
    token
}

/// A text grows by what its variables stand for, threefold by percent-encoding, and by a few hundred bytes for each URI in it.
fn assert_bounded(text: &str, out: &str, uris: usize, path: usize) {
    let values = if text.contains("EXT-X-DEFINE") { text.matches("{$").count() * VALUE_BYTES_MAX } else { 0 };
    let most = 3 * (text.len() + values) + (uris + 1) * (path + 256);
    assert!(out.len() <= most, "{} bytes became {}", text.len(), out.len());
}

/// Equal but for how percent-encoding is spelt, and a query without anything in it, of which a byte range makes the same.
fn same(a: &str, b: &str) -> bool {
    let split = |text| {
        let (path, query) = uri::split_query(text);
        (path, query.filter(|query| !query.is_empty()))
    };
    let ((path_a, query_a), (path_b, query_b)) = (split(a), split(b));
    uri::canonical_path(path_a) == uri::canonical_path(path_b)
        && query_a.map(uri::canonical_path) == query_b.map(uri::canonical_path)
}

fn same_target(a: &Target, b: &Target) -> bool {
    match (a, b) {
        (Target::Edge(a), Target::Edge(b)) => same(a, b),
        _ => a == b,
    }
}

/// What a request for a URI of an enhanced playlist leads to: the very token, and what the playlist has at that place.
fn leads_back(playlist: &MediaPlaylist, token: &RenditionToken, served: &Target, meant: &Target) -> Found {
    let asked = served.edge().unwrap_or_else(|| panic!("{served:?} for {meant:?}"));
    let below = asked.strip_prefix(RESERVED_PREFIX).unwrap_or_else(|| panic!("{asked:?} for {meant:?}"));
    let (text, rest) = below.split_at(below.find('/').expect("a path below the token"));
    assert_eq!(text.parse().as_ref(), Ok(token));
    playlist.find(rest)
}

fn media(text: &str, place: &Place) {
    let playlist = place.with_base(|base| MediaPlaylist::parse(text, base, &BTreeMap::new()));
    assert_eq!(playlist.source(), text);
    let _ = (playlist.counted_segment_seconds(), playlist.probe_segment());
    let token = token(playlist.edge_path());
    let out = playlist.rewrite(&token);
    let uris = playlist.segments.len() + playlist.maps.len() + playlist.keys.len();
    let here = token.playlist_path();
    assert_bounded(text, &out, uris, here.len());
    carried(text, place, &playlist);
    // Else it is not offered.
    if !playlist.obstacles().is_empty() {
        return;
    }
    let served = as_served(&here, |base| MediaPlaylist::parse(out.as_str(), base, &BTreeMap::new()));
    assert_eq!(served.segments.len(), playlist.segments.len());
    assert_eq!(served.maps.len(), playlist.maps.len());
    assert_eq!(served.keys.len(), playlist.keys.len());
    let facts = |s: &Segment| {
        let times =
            (s.msn, s.discontinuity_sequence, s.duration_seconds.to_bits(), s.program_date_time.clone());
        (times, s.discontinuity, s.gap, s.keys.len(), s.map.is_some())
    };
    for (old, new) in playlist.segments.iter().zip(&served.segments).filter(|(old, _)| !old.gap) {
        assert_eq!(facts(old), facts(new));
        assert!(new.byte_range.is_none() && !new.byte_range_unknown);
        let found = leads_back(&playlist, &token, &new.target, &old.target);
        let Found::Segment(index) = found else { panic!("{old:?} is {found:?}") };
        let led = &playlist.segments[index];
        assert!(
            led.byte_range == old.byte_range && same_target(&led.target, &old.target),
            "{led:?}, {old:?}"
        );
    }
    let range = |map: &Map| map.byte_range;
    for (old, new) in playlist.maps.iter().zip(&served.maps) {
        let (target, range) = match leads_back(&playlist, &token, &new.target, &old.target) {
            Found::Map(index) => (&playlist.maps[index].target, range(&playlist.maps[index])),
            // One that is a segment too is served as one.
            Found::Segment(index) => (&playlist.segments[index].target, playlist.segments[index].byte_range),
            Found::None => panic!("{old:?} is nothing"),
        };
        assert!(range == old.byte_range && same_target(target, &old.target), "{old:?}");
    }
    for (old, new) in playlist.keys.iter().zip(&served.keys) {
        // Absolute URIs stay: they lead to the origin from anywhere.
        if let (Some(meant), Some(led)) = (old.target.edge(), new.target.edge()) {
            assert!(same(led, meant) || same(led, &format!("{}{meant}", token.prefix())), "{old:?}, {new:?}");
        }
    }
}

/// The origin's own playlist below a signature leads to the same things, below that signature.
fn carried(text: &str, place: &Place, playlist: &MediaPlaylist) {
    let here = place.playlist();
    let target = |uri: &str| place.with_base(|base| base.resolve(uri).edge().map(str::to_owned));
    let out = carry(text, SIGNED, &here, &target);
    let served = as_served(&format!("{SIGNED}{here}"), |base| {
        MediaPlaylist::parse(out.as_str(), base, &BTreeMap::new())
    });
    assert_eq!(served.segments.len(), playlist.segments.len());
    for (old, new) in playlist.segments.iter().zip(&served.segments) {
        let Some(meant) = old.target.edge() else { continue };
        if meant.starts_with(RESERVED_PREFIX) {
            continue;
        }
        let led = new.target.edge().unwrap_or_else(|| panic!("{old:?} became {new:?}"));
        assert!(same(led, &format!("{SIGNED}{meant}")), "{old:?} became {new:?}");
    }
}

fn multivariant(text: &str, place: &Place) {
    let playlist = place.with_base(|base| Multivariant::parse(text, base));
    assert_eq!(playlist.source(), text);
    let here = place.playlist();
    // Left as it is, it leads to the same things.
    let plain = playlist.rewrite(&Rewrite::default());
    let served = as_served(&here, |base| Multivariant::parse(plain.as_str(), base));
    assert_eq!(served.variants.len(), playlist.variants.len());
    for (old, new) in playlist.variants.iter().zip(&served.variants) {
        if let Some(meant) = old.target.edge() {
            assert!(new.target.edge().is_some_and(|led| same(led, meant)), "{old:?} became {new:?}");
        }
        assert_eq!(
            (old.bandwidth_bps, old.resolution, &old.audio),
            (new.bandwidth_bps, new.resolution, &new.audio)
        );
    }
    assert_eq!(served.rewrite(&Rewrite::default()), plain, "once is enough");

    // And with renditions in it, every second time in the place of the next variant.
    let mut rewrite = Rewrite::default();
    let mut tokens = Vec::new();
    for (index, variant) in playlist.variants.iter().enumerate().take(4) {
        let Some(path) = variant.target.edge().filter(|path| {
            !path.starts_with(RESERVED_PREFIX) && path.len() <= acuity_playlist::token::PLAYLIST_BYTES_MAX
        }) else {
            continue;
        };
        let token = token(path);
        let replaces = (index % 2 == 1).then(|| index - 1);
        rewrite.withheld.extend(replaces);
        rewrite.insertions.push(Insertion {
            source: index,
            replaces,
            uri: token.playlist_path(),
            resolution: Resolution { width: 1280, height: 720 },
            bandwidth_bps: 3_456_789,
            average_bandwidth_bps: 2_345_678,
            video_codec: "avc1.64001f".to_owned(),
            frame_rate_milli: variant.frame_rate.map(|_| 60_000),
        });
        tokens.push(token);
    }
    rewrite.session.push(SessionModel {
        scale: 2,
        cluster: "generic".to_owned(),
        digest: "1a2b3c4d".to_owned(),
        description: Some("/~acuity/models/generic-x2-1a2b3c4d.json".to_owned()),
    });
    let out = playlist.rewrite(&rewrite);
    let uris = playlist.variants.len() + playlist.renditions.len() + text.matches("URI").count();
    let longest = playlist.variants.iter().filter_map(|variant| variant.target.edge()).map(str::len).max();
    // Clones of the variants, and tokens that hold a path in base64.
    assert_bounded(&text.repeat(2), &out, uris + 8, here.len() + 2 * longest.unwrap_or(0));
    let served = as_served(&here, |base| Multivariant::parse(out.as_str(), base));
    let enhanced: Vec<_> = served
        .variants
        .iter()
        .filter(|v| v.target.edge().is_some_and(|path| path.starts_with(RESERVED_PREFIX)))
        .collect();
    for token in &tokens {
        let path = token.playlist_path();
        let variant = enhanced.iter().find(|variant| variant.target.edge() == Some(&path));
        let variant = variant.unwrap_or_else(|| panic!("{token} is not there"));
        assert_eq!(variant.resolution, Some(Resolution { width: 1280, height: 720 }));
        assert_eq!(variant.bandwidth_bps, Some(3_456_789));
    }
    // A tag whose URI another tag took comes to stand before whatever follows when that one goes.
    let tags = text.matches("#EXT-X-STREAM-INF").count();
    if tags == playlist.variants.len() {
        assert_eq!(served.variants.len(), playlist.variants.len() + tokens.len() - rewrite.withheld.len());
    }
}

fuzz_target!(|data: &[u8]| {
    let kind = sniff(data);
    let Ok(text) = std::str::from_utf8(data) else {
        assert_eq!(kind, PlaylistKind::NotAPlaylist);
        return;
    };
    // The edge's own marks are not in what origins send, or they are no source.
    if text.contains("acuity") {
        return;
    }
    for place in &PLACES {
        if !is_too_long(PlaylistKind::Media, text, 50_000) {
            media(text, place);
        }
        if !is_too_long(PlaylistKind::Multivariant, text, 50_000) {
            multivariant(text, place);
        }
    }
});
