//! The rewriters on text that nobody wrote for them: real and odd playlists from other projects, and random soups of
//! real tags. What must hold for any text: no panic, every line the edge has no business with byte for byte as it
//! was, and in its order.
//!
//! The check is independent of the rewriters' own book-keeping: it walks input and output side by side and knows only
//! which *kinds* of lines may change.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use acuity_playlist::lines::{Content, classify};
use acuity_playlist::uri::Base;
use acuity_playlist::{MediaPlaylist, Multivariant, PlaylistKind, RenditionToken, sniff};
use acuity_proxy::plan::{
    Candidate, Container, ModelChoice, Policy, Probe, ServePlan, SourceFacts, candidates, plan,
};
use proptest::prelude::*;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

const TOKEN: &str = "v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2xpdmUvdi9hLm0zdTg";

/// Route `/live` of the edge is `https://o.example/base` of the origin.
fn map(url: &str) -> Option<String> {
    url.strip_prefix("https://o.example/base/").map(|rest| format!("/live/{rest}"))
}

fn with_base<T>(read: impl FnOnce(&Base<'_>) -> T) -> T {
    read(&Base::new("/live/v/a.m3u8?t=1", Some("https://o.example/base/v/a.m3u8?t=1"), &map).unwrap())
}

/// Lines with their endings; a BOM is no part of the first.
fn lines_of(text: &str) -> Vec<&str> {
    text.strip_prefix('\u{feff}').unwrap_or(text).split_inclusive('\n').collect()
}

fn ending(line: &str) -> &str {
    &line[line.trim_end_matches(['\r', '\n']).len()..]
}

/// How many lines were touched in the media playlist of an enhanced rendition; panics where one was that must not be.
fn check_media(text: &str) -> usize {
    let token: RenditionToken = TOKEN.parse().unwrap();
    let playlist = with_base(|base| MediaPlaylist::parse(text, base, &BTreeMap::new()));
    assert_eq!(playlist.source(), text);
    let _ = (playlist.obstacles(), playlist.counted_segment_seconds());
    for segment in &playlist.segments {
        let _ = (segment.aes128(), segment.enhanced_path().map(|path| playlist.find(&path)));
    }
    let rewritten = playlist.rewrite(&token);
    assert_eq!(rewritten.starts_with('\u{feff}'), text.starts_with('\u{feff}'));
    let output = lines_of(&rewritten);
    let (mut at, mut touched) = (0, 0);
    for line in lines_of(text) {
        let got = output.get(at).copied().unwrap_or_default();
        if got == line {
            at += 1;
            continue;
        }
        touched += 1;
        match classify(line.trim_end_matches(['\r', '\n'])) {
            Content::Tag { name: "EXT-X-BYTERANGE" | "EXT-X-BITRATE", .. } => {}
            Content::Uri(_) => {
                assert!(
                    got.contains("/~acuity/") || got.contains("~acuity-range="),
                    "{line:?} became {got:?}"
                );
                assert_eq!(ending(got), ending(line));
                at += 1;
            }
            Content::Tag { name: name @ ("EXT-X-MAP" | "EXT-X-KEY"), .. } => {
                assert!(got.starts_with(&format!("#{name}:")), "{line:?} became {got:?}");
                assert_eq!(ending(got), ending(line));
                at += 1;
            }
            other => panic!("{line:?} ({other:?}) became {got:?}"),
        }
    }
    assert_eq!(at, output.len(), "lines were added");
    touched
}

fn probe_of(candidate: Candidate, playlist: &Multivariant) -> (Candidate, Probe) {
    let resolution = playlist.variants[candidate.variants[0]].resolution;
    let (width, height) = resolution.map_or((640, 360), |resolution| (resolution.width, resolution.height));
    let facts = SourceFacts {
        width,
        height,
        frame_rate_milli: Some(30_000),
        container: Container::Ts,
        video_bits_per_second: 700_000,
        other_bits_per_second: 100_000,
        target_duration_seconds: 6.0,
        shortest_segment_seconds: 6.0,
    };
    (candidate, Probe::Ready(facts))
}

/// As [`check_media`], for a multivariant playlist with every candidate enhanced.
fn check_multivariant(text: &str, withhold: bool) -> (usize, ServePlan) {
    let playlist = with_base(|base| Multivariant::parse(text, base));
    assert_eq!(playlist.source(), text);
    let policy = Policy {
        scales: vec![2],
        max_source_lines: 540,
        withhold,
        cluster: "generic".into(),
        frame_rate: None,
        interpolators: Vec::new(),
    };
    let models = [ModelChoice { cluster: "generic".into(), scale: 2, digest: "1a2b3c4d".into() }];
    let found = candidates(&playlist, &policy);
    let probed: Vec<_> =
        found.candidates.into_iter().map(|candidate| probe_of(candidate, &playlist)).collect();
    let plan = plan(&playlist, &policy, &models, &probed, &|_| "avc1.64001f".into());
    let rewritten = playlist.rewrite(&plan.rewrite(true));
    let output = lines_of(&rewritten);
    let copies: usize = plan.enhanced.iter().map(|enhanced| enhanced.copies.len()).sum();
    // Name and description of the model set.
    let session = if copies > 0 { 2 } else { 0 };
    // A withheld variant's tag and URI, and the comments between; another tag there stays.
    let goes: Vec<usize> = plan
        .withheld
        .iter()
        .flat_map(|&index| playlist.variants[index].line..=playlist.variants[index].uri_line)
        .collect();
    let (mut at, mut touched, mut added) = (0, 0, 0);
    // Skips what the plan added: session data, and pairs of tag and enhanced URI.
    let skip_added = |at: &mut usize, added: &mut usize| {
        while let Some(line) = output.get(*at) {
            let pair = output.get(*at + 1).is_some_and(|uri| uri.starts_with("/~acuity/v1."));
            if line.contains("DATA-ID=\"org.acuity.model") {
                (*at, *added) = (*at + 1, *added + 1);
            } else if line.starts_with("#EXT-X-STREAM-INF:") && pair {
                (*at, *added) = (*at + 2, *added + 2);
            } else {
                return;
            }
        }
    };
    for (index, line) in lines_of(text).into_iter().enumerate() {
        skip_added(&mut at, &mut added);
        let content = classify(line.trim_end_matches(['\r', '\n']));
        let tag = matches!(content, Content::Tag { name, .. } if name != "EXT-X-STREAM-INF");
        if goes.contains(&index) && !tag {
            touched += 1;
            continue;
        }
        let got = output.get(at).copied().unwrap_or_default();
        // What is added behind a last line without newline ends it with one.
        if got == line
            || (!line.ends_with('\n') && got.strip_prefix(line).is_some_and(|end| end == ending(got)))
        {
            at += 1;
            continue;
        }
        touched += 1;
        match content {
            Content::Uri(_) => {
                assert!(got.starts_with("/live/"), "{line:?} became {got:?}");
                at += 1;
            }
            Content::Tag { name, .. } if line.contains("URI=") => {
                assert!(
                    got.starts_with(&format!("#{name}:")) && got.contains("URI=\"/live/"),
                    "{line:?} became {got:?}"
                );
                at += 1;
            }
            other => panic!("{line:?} ({other:?}) became {got:?}"),
        }
    }
    skip_added(&mut at, &mut added);
    assert_eq!((at, added), (output.len(), 2 * copies + session));
    (touched, plan)
}

fn corpus() -> Option<PathBuf> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data/hls");
    if !root.join("playlists").is_dir() {
        eprintln!("SKIPPED: no playlists at {}", root.display());
        return None;
    }
    Some(root)
}

fn playlists_below(directory: &Path, found: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            playlists_below(&path, found);
        } else if path.extension().is_some_and(|extension| extension == "m3u8") {
            found.push(path);
        }
    }
}

#[test]
fn every_playlist_of_the_corpus_keeps_its_lines() {
    let Some(root) = corpus() else { return };
    let mut files = Vec::new();
    playlists_below(&root, &mut files);
    files.sort();
    let (mut lines, mut kinds, mut touched) = (0, BTreeMap::new(), BTreeMap::new());
    for file in &files {
        let text = String::from_utf8(std::fs::read(file).unwrap()).unwrap();
        lines += lines_of(&text).len();
        // Whatever it is, both rewriters must survive it.
        let as_media = check_media(&text);
        let (as_multivariant, _) = check_multivariant(&text, true);
        let kind = sniff(text.as_bytes());
        *kinds.entry(kind.label()).or_insert(0) += 1;
        let count = if kind == PlaylistKind::Multivariant { as_multivariant } else { as_media };
        if count > 0 {
            touched.insert(file.strip_prefix(&root).unwrap().display().to_string(), count);
        }
    }
    eprintln!(
        "{} playlists {kinds:?}, {lines} lines, {} of them touched:",
        files.len(),
        touched.values().sum::<usize>()
    );
    eprintln!("{touched:#?}");
    assert!(files.len() >= 80, "only {} playlists", files.len());
    // Those without #EXTM3U, and an empty file; all others are told apart.
    assert!(kinds["other"] <= 4 && kinds["multivariant"] >= 15 && kinds["media"] >= 50, "{kinds:?}");
}

#[test]
fn odd_playlists_of_the_corpus_are_read_as_meant() {
    let Some(root) = corpus() else { return };
    let text = |name: &str| std::fs::read_to_string(root.join(name)).unwrap();
    let media = |name: &str| with_base(|base| MediaPlaylist::parse(text(name), base, &BTreeMap::new()));
    let labels =
        |name: &str| media(name).obstacles().iter().map(|obstacle| obstacle.label()).collect::<Vec<_>>();
    // Blanks around absolute URIs; a line of blanks is no segment.
    assert_eq!(media("playlists/m3u8-parser/whiteSpace.m3u8").segments.len(), 4);
    assert_eq!(labels("playlists/m3u8-parser/whiteSpace.m3u8"), ["foreign_uri"]);
    // A range without offset and without one before it.
    assert_eq!(labels("playlists/m3u8-parser/byteRange.m3u8"), ["byterange_unknown"]);
    assert_eq!(labels("playlists/m3u8-parser/llhls.m3u8"), ["low_latency_parts"]);
    assert_eq!(labels("playlists/m3u8-parser/llhlsDelta.m3u8"), ["low_latency_parts", "delta_update"]);
    assert_eq!(media("playlists/m3u8-parser/llhlsDelta.m3u8").segments[0].msn, 269);
    assert_eq!(labels("playlists/m3u8-parser/iFramesOnly.m3u8"), ["i_frames_only"]);
    assert_eq!(labels("playlists/m3u8-parser/headerOnly.m3u8"), ["no_segments"]);
    // Several KEYs and MAPs in turn, some after another without a segment between.
    let keys = media("playlists/m3u8-parser/diff-init-key.m3u8");
    let in_force: Vec<_> =
        keys.segments.iter().map(|s| s.keys.last().and_then(|key| key.uri.clone())).collect();
    assert_eq!(in_force[0].as_deref(), Some("https://priv.example.com/key.php?r=52"));
    assert_eq!((&in_force[5], &in_force[7]), (&Some("https://priv.example.com/key.php?r=54".into()), &None));
    // Ranges throughout: each becomes a URL of its own.
    let ranges = media("playlists/m3u8-rs/mediaplaylist-byterange.m3u8");
    assert!(ranges.segments.iter().all(|segment| segment.byte_range.is_some()));
    assert_eq!(
        check_media(&text("playlists/m3u8-rs/mediaplaylist-byterange.m3u8")),
        2 * ranges.segments.len()
    );
    // Apple's sample: blanks after commas, neither RESOLUTION nor CODECS.
    let (touched, plan) = check_multivariant(&text("bipbop/bipbopall.m3u8"), true);
    assert_eq!((touched, plan.enhanced.len(), plan.enhanced[0].copies[0].source), (0, 1, 3));
    // 720p is withheld, 360p its source.
    let (touched, plan) = check_multivariant(&text("ocean/master.m3u8"), true);
    assert_eq!((touched, &plan.withheld[..], plan.enhanced[0].copies[0].source), (2, &[0][..], 1));
    // Two STREAM-INF without BANDWIDTH stay variants.
    let invalid =
        with_base(|base| Multivariant::parse(text("playlists/m3u8-parser/streamInfInvalid.m3u8"), base));
    assert_eq!(invalid.variants.len(), 2);
}

/// Real lines of every kind, and some that only look like it.
const LINES: &[&str] = &[
    "#EXTM3U",
    "#EXT-X-VERSION:7",
    "#EXT-X-TARGETDURATION:6",
    "#EXT-X-TARGETDURATION:",
    "#EXT-X-MEDIA-SEQUENCE:18446744073709551615",
    "#EXT-X-MEDIA-SEQUENCE:x",
    "#EXT-X-DISCONTINUITY-SEQUENCE:3",
    "#EXT-X-PLAYLIST-TYPE:VOD",
    "#EXT-X-INDEPENDENT-SEGMENTS",
    "#EXT-X-START:TIME-OFFSET=-3.5",
    "#EXT-X-DEFINE:NAME=\"n\",VALUE=\"https://o.example/base\"",
    "#EXT-X-DEFINE:QUERYPARAM=\"t\"",
    "#EXT-X-DEFINE:IMPORT=\"i\"",
    "#EXTINF:5.96,title, of \"it\"",
    "#EXTINF:",
    "#EXTINF:1e400,",
    "#EXT-X-BYTERANGE:100@0",
    "#EXT-X-BYTERANGE:100",
    "#EXT-X-BYTERANGE:99999999999999999999@1",
    "#EXT-X-BITRATE:800",
    "#EXT-X-DISCONTINUITY",
    "#EXT-X-KEY:METHOD=AES-128,URI=\"k.bin\",IV=0x0102",
    "#EXT-X-KEY:METHOD=AES-128, URI=\"/base/k.bin\"",
    "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"com.apple.streamingkeydelivery\"",
    "#EXT-X-KEY:METHOD=NONE",
    "#EXT-X-KEY:",
    "#EXT-X-MAP:URI=\"init.mp4\",BYTERANGE=\"720@0\"",
    "#EXT-X-MAP:URI=\"https://o.example/base/init.mp4\", X=1",
    "#EXT-X-MAP:BYTERANGE=\"7\"",
    "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T20:00:00.123456789+01:00",
    "#EXT-X-GAP",
    "#EXT-X-PART:DURATION=0.33,URI=\"p.mp4\",BYTERANGE=\"1@2\"",
    "#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p.mp4\"",
    "#EXT-X-SKIP:SKIPPED-SEGMENTS=3",
    "#EXT-X-DATERANGE:ID=\"a\",START-DATE=\"2026-11-21T20:00:00Z\",SCTE35-OUT=0xFC,X-ASSET-URI=\"https://o.example/base/x\"",
    "#EXT-X-CUE-OUT-CONT:8.308/30",
    "#EXT-X-ENDLIST",
    "#EXT-X-STREAM-INF:BANDWIDTH=1000000,RESOLUTION=640x360",
    "#EXT-X-STREAM-INF:PROGRAM-ID=1, BANDWIDTH=200000",
    "#EXT-X-STREAM-INF:BANDWIDTH=2500000,RESOLUTION=1280x720,CODECS=\"avc1.4d401f,mp4a.40.2\",AUDIO=\"a\"",
    "#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,mp4a.40.2\",AUDIO=\"a\",SCORE=1.5,NAME=\"360p\"",
    "#EXT-X-STREAM-INF:",
    "#EXT-X-STREAM-INF:RESOLUTION=480x270,,BANDWIDTH=\"x\",=,CODECS=\"open",
    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"English\",URI=\"a.m3u8\"",
    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"a\",NAME=\"English\",URI=\"https://o.example/base/a.m3u8\"",
    "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"/base/i.m3u8\"",
    "#EXT-X-SESSION-DATA:DATA-ID=\"a.b\",VALUE=\"c\"",
    "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\"",
    "#EXT-X-UNHEARD-OF:A=1",
    "#EXT",
    "# words",
    "#",
    "",
    "   ",
    "seg.ts",
    "seg.ts?a=1&b='2'#f",
    " indented.ts ",
    "../../../climbs.ts",
    "/base/root.ts",
    "//o.example/base/s.ts",
    "https://o.example/base/v/s.ts",
    "https://o.example/elsewhere/s.ts",
    "https://other.example/s.ts",
    "{$n}/v.ts",
    "{$nothing}.ts",
    "data:video/mp2t;base64,AAAA",
    "s\u{e9}g ment%2.ts\\x",
    "http://[::1",
];

fn soup() -> impl Strategy<Value = String> {
    let line = prop_oneof![
        8 => prop::sample::select(LINES).prop_map(str::to_owned),
        1 => "[ -~]{0,30}".prop_filter("the edge's own marks are not in what origins send", |s| !s.contains("acuity")),
        1 => "#EXT-X-(KEY|MAP|STREAM-INF|MEDIA|DEFINE|BYTERANGE):[A-Z=,\"@0-9 {}$]{0,30}",
    ];
    let ended =
        (line, prop::sample::select(vec!["\n", "\n", "\r\n", "\r\r\n"])).prop_map(|(line, end)| line + end);
    let last = prop::sample::select(LINES).prop_map(str::to_owned);
    (any::<bool>(), prop::collection::vec(ended, 0..40), prop::option::of(last)).prop_map(
        |(bom, lines, last)| {
            format!("{}{}{}", if bom { "\u{feff}" } else { "" }, lines.concat(), last.unwrap_or_default())
        },
    )
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 512, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn media_soups_keep_their_lines(text in soup()) {
        check_media(&text);
    }

    #[test]
    fn multivariant_soups_keep_their_lines(text in soup(), withhold in any::<bool>()) {
        check_multivariant(&text, withhold);
    }

    #[test]
    fn kinds_are_told_without_panic(text in soup()) {
        sniff(text.as_bytes());
    }
}
