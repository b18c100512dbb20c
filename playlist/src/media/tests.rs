#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tables: what is read, what keeps a playlist from being enhanced, what the enhanced one looks like, and which
//! request means what. Property tests of the rewriter are in `tests/playlists.rs`.

use super::*;
use crate::token::RenditionToken;

const TOKEN: &str = "v1.x2.1280x720.30000.2800.generic-1a2b3c4d.L2xpdmUvdi9hLm0zdTg";

fn token() -> RenditionToken {
    TOKEN.parse().unwrap()
}

/// Route `/live` of the edge is `https://o.example/base` of the origin.
fn map(url: &str) -> Option<String> {
    url.strip_prefix("https://o.example/base/").map(|rest| format!("/live/{rest}"))
}

fn playlist_at(edge_path: &str, text: &str) -> MediaPlaylist {
    let origin = format!("https://o.example/base{}", edge_path.strip_prefix("/live").unwrap());
    let base = Base::new(edge_path, Some(&origin), &map).unwrap();
    MediaPlaylist::parse(text, &base, &BTreeMap::new())
}

fn playlist(text: &str) -> MediaPlaylist {
    playlist_at("/live/v/a.m3u8", text)
}

/// A clear segment, so that a playlist of one oddity has only that obstacle.
const ONE: &str = "#EXTINF:4,\ns.ts\n";

#[test]
fn reads_a_live_playlist() {
    let read = playlist(concat!(
        "#EXTM3U\r\n#EXT-X-VERSION:6\r\n#EXT-X-TARGETDURATION:6\r\n#EXT-X-MEDIA-SEQUENCE:41\r\n",
        "#EXT-X-DISCONTINUITY-SEQUENCE:3\r\n#EXT-X-INDEPENDENT-SEGMENTS\r\n",
        "#EXT-X-SERVER-CONTROL:CAN-BLOCK-RELOAD=YES,CAN-SKIP-UNTIL=36.0,HOLD-BACK=18\r\n",
        "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T20:00:00.123456Z\r\n",
        "#EXTINF:6.006,title\r\ns41.ts\r\n#EXTINF:2.5,\r\n#EXT-X-GAP\r\ns42.ts\r\n",
        "#EXT-X-DISCONTINUITY\r\n#EXT-X-BITRATE:900\r\n#EXTINF:5.5,\r\ns43.ts\r\ns44.ts",
    ));
    assert_eq!(read.target_duration_seconds, Some(6.0));
    assert!(read.independent_segments && !read.ended && read.playlist_type.is_none());
    let control = read.server_control.unwrap();
    assert!(control.can_block_reload);
    assert_eq!((control.can_skip_until_seconds, control.hold_back_seconds), (Some(36.0), Some(18.0)));
    let facts: Vec<_> = read
        .segments
        .iter()
        .map(|s| (s.msn, s.discontinuity_sequence, s.duration_seconds, s.gap, s.bitrate_kbps))
        .collect();
    assert_eq!(
        facts,
        [
            (41, 3, 6.006, false, None),
            (42, 3, 2.5, true, None),
            (43, 4, 5.5, false, Some(900)),
            // No EXTINF: as long as the target duration.
            (44, 4, 6.0, false, Some(900)),
        ]
    );
    assert_eq!(read.segments[0].program_date_time.as_deref(), Some("2026-11-21T20:00:00.123456Z"));
    assert!(read.segments[2].discontinuity && !read.segments[3].discontinuity);
    assert_eq!(read.segments[0].target, Target::Edge("/live/v/s41.ts".into()));
    assert_eq!(read.counted_segment_seconds(), Some((3.0, 6.006)), "shorter ones may come");
    assert_eq!(read.probe_segment().map(|s| s.msn), Some(41));
    assert_eq!(read.obstacles(), []);
}

#[test]
fn durations_count_within_half_and_one_and_a_half_targets() {
    let of = |text: &str| playlist(&format!("{text}#EXT-X-ENDLIST\n")).counted_segment_seconds();
    assert_eq!(of("#EXT-X-TARGETDURATION:10\n#EXTINF:10,\na\n#EXTINF:1.4,\nb\n"), Some((10.0, 10.0)));
    assert_eq!(of("#EXT-X-TARGETDURATION:10\n#EXTINF:1.4,\nb\n"), Some((1.4, 1.4)));
    assert_eq!(of("#EXTINF:3,\na\n#EXTINF:2,\nb\n"), Some((2.0, 3.0)));
    assert_eq!(of("#EXTINF:0,\na\n#EXTINF:nan,\nb\n#EXTINF:-3,\nb\n"), None);
}

#[test]
fn keys_and_maps_are_those_in_force() {
    let read = playlist(concat!(
        "#EXTM3U\n#EXT-X-TARGETDURATION:4\n#EXT-X-MEDIA-SEQUENCE:7794\n",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"k1\"\n#EXTINF:4,\na\n",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"k2\",IV=0X0000000000000000000000000000014b\n#EXT-X-MAP:URI=\"i\"\n#EXTINF:4,\nb\n",
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n#EXTINF:4,\nc\n",
        "#EXT-X-KEY:METHOD=NONE\n#EXTINF:4,\nd\n",
        "#EXT-X-KEY:METHOD=AES-128,URI=\"k3\",IV=0xzz\n#EXTINF:4,\ne\n",
    ));
    let key_of = |index: usize| read.segments[index].aes128();
    let first = key_of(0).unwrap();
    assert_eq!((first.key_uri.as_str(), first.iv), ("k1", 7794u128.to_be_bytes()));
    assert_eq!(first.key, Target::Edge("/live/v/k1".into()));
    let second = key_of(1).unwrap();
    assert_eq!((second.key_uri.as_str(), second.iv), ("k2", 0x14bu128.to_be_bytes()));
    assert_eq!(read.segments[2].keys.len(), 2, "another key format does not replace the first");
    assert_eq!((key_of(3), read.segments[3].keys.len()), (None, 0));
    assert_eq!(key_of(4), None, "an IV that cannot be read is not replaced by the sequence number");
    assert!(read.segments[0].map.is_none());
    assert_eq!(read.segments[4].map.as_ref().map(|map| map.uri.as_str()), Some("i"));
    assert_eq!(read.maps[0].aes128().map(|aes| aes.iv), Some(0x14bu128.to_be_bytes()));
}

#[test]
fn byte_ranges_follow_one_another_within_a_resource() {
    let read = playlist(concat!(
        "#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"720\"\n",
        "#EXTINF:4,\n#EXT-X-BYTERANGE:100@720\nall.mp4\n#EXT-X-BYTERANGE:50\n#EXTINF:4,\nall.mp4\n",
        "#EXTINF:4,\n#EXT-X-BYTERANGE:70\nother.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:9@0\nother.mp4\n",
        "#EXTINF:4,\nwhole.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:9\nother.mp4\n#EXT-X-BYTERANGE:x@y\nother.mp4\n",
        "#EXT-X-BYTERANGE:2@18446744073709551615\nother.mp4\n",
    ));
    let ranges: Vec<_> = read.segments.iter().map(|s| s.byte_range.map(|r| (r.length, r.offset))).collect();
    assert_eq!(ranges, [Some((100, 720)), Some((50, 820)), None, Some((9, 0)), None, None, None, None]);
    let unknown: Vec<_> = read.segments.iter().map(|s| s.byte_range_unknown).collect();
    assert_eq!(unknown, [false, false, true, false, false, true, true, true]);
    assert_eq!(read.maps[0].byte_range, Some(ByteRange { length: 720, offset: 0 }));
    assert_eq!(read.obstacles(), [Obstacle::ByterangeUnknown]);
}

#[test]
fn obstacles_are_named() {
    use Obstacle::*;
    let fairplay =
        "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"com.apple.streamingkeydelivery\"\n";
    let cases: &[(&str, &[Obstacle])] = &[
        ("", &[]),
        ("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n", &[]),
        ("#EXT-X-KEY:METHOD=NONE\n", &[]),
        (fairplay, &[SampleAes, KeyFormat]),
        ("#EXT-X-KEY:METHOD=SAMPLE-AES-CTR,URI=\"data:,x\"\n", &[Cenc, KeyFormat]),
        ("#EXT-X-KEY:METHOD=ROT13,URI=\"k\"\n", &[KeyMethod, KeyFormat]),
        ("#EXT-X-KEY:METHOD=AES-128,URI=\"k\",KEYFORMAT=\"org.w3c.clearkey\"\n", &[KeyFormat]),
        ("#EXT-X-KEY:METHOD=AES-128,URI=\"k\",IV=1\n", &[KeyFormat]),
        ("#EXT-X-KEY:METHOD=AES-128\n", &[KeyFormat]),
        ("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"\n#EXT-X-MAP:URI=\"i\"\n", &[KeyFormat]),
        ("#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/k\"\n", &[KeyForeign]),
        ("#EXT-X-PART-INF:PART-TARGET=0.3\n", &[LowLatencyParts]),
        ("#EXT-X-PART:DURATION=0.3,URI=\"p\"\n", &[LowLatencyParts]),
        ("#EXT-X-PRELOAD-HINT:TYPE=PART,URI=\"p\"\n", &[LowLatencyParts]),
        ("#EXT-X-I-FRAMES-ONLY\n", &[IFramesOnly]),
        ("#EXT-X-MAP:URI=\"https://other.example/i.mp4\"\n", &[ForeignUri]),
        ("#EXTINF:4,\nhttps://other.example/s.ts\n", &[ForeignUri]),
        ("#EXTINF:4,\n#EXT-X-GAP\nhttps://other.example/s.ts\n", &[]),
        ("#EXTINF:4,\ndata:video/mp2t,x\n", &[UnreadableUri]),
        ("#EXTINF:4,\nhttps://o.example/base/../~acuity/x/s.ts\n", &[ForeignUri]),
        ("#EXT-X-DEFINE:IMPORT=\"x\"\n", &[DefineImport]),
        ("#EXT-X-DEFINE:QUERYPARAM=\"x\"\n", &[UndefinedVariable]),
        ("#EXTINF:4,\n{$x}.ts\n", &[UnreadableUri, UndefinedVariable]),
        ("#EXT-X-MAP:URI=\"i\",BYTERANGE=\"x\"\n", &[ByterangeUnknown]),
        ("#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n", &[DeltaUpdate]),
    ];
    for (tags, expected) in cases {
        let read = playlist(&format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{tags}{ONE}"));
        assert_eq!(&read.obstacles(), expected, "{tags}");
    }
    assert_eq!(playlist("#EXTM3U\n").obstacles(), [NoSegments]);
    assert_eq!(playlist("#EXTM3U\n#EXT-X-GAP\n#EXTINF:4,\ns.ts\n").obstacles(), [NoSegments]);
    // The route's prefix is the root: the origin's own `/~acuity/` cannot be reached through it.
    let base = Base::new("/a.m3u8", None, &|_| None).unwrap();
    let read = MediaPlaylist::parse("#EXTM3U\n#EXTINF:4,\n/~acuity/x/s.ts\n", &base, &BTreeMap::new());
    assert_eq!(read.obstacles(), [UnreadableUri]);
}

#[test]
fn delta_updates_count_from_the_skip() {
    let read =
        playlist("#EXTM3U\n#EXT-X-MEDIA-SEQUENCE:266\n#EXT-X-SKIP:SKIPPED-SEGMENTS=3\n#EXTINF:4,\na.ts\n");
    assert_eq!(read.segments[0].msn, 269);
}

/// What a line becomes under a token: `(line, None)` where it goes, `(line, Some("=" ))` where it stays.
#[test]
fn lines_become_what_they_must() {
    let prefix = format!("/~acuity/{TOKEN}");
    let p = |rest: &str| Some(format!("{prefix}{rest}\n"));
    let same = |text: &str| Some(format!("{text}\n"));
    let cases: Vec<(&str, Option<String>)> = vec![
        ("#EXTM3U", same("#EXTM3U")),
        ("#EXT-X-TARGETDURATION:4", same("#EXT-X-TARGETDURATION:4")),
        ("#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"sub/x\"", same("#EXT-X-DEFINE:NAME=\"dir\",VALUE=\"sub/x\"")),
        ("s.ts", same("s.ts")),
        ("../w/s.ts?sig=a%2Bb&CMCD=x", same("../w/s.ts?sig=a%2Bb&CMCD=x")),
        ("a b%7e[.ts", same("a b%7e[.ts")),
        (" s.ts\t", same(" s.ts\t")),
        ("{$dir}/s.ts", same("{$dir}/s.ts")),
        ("https://o.example/base/{$dir}/s.ts?x", p("/live/sub/x/s.ts?x")),
        ("/base/v/s.ts", p("/live/v/s.ts")),
        ("//o.example/base/s.ts#t", p("/live/s.ts")),
        ("https://other.example/s.ts", same("https://other.example/s.ts")),
        ("data:,x", same("data:,x")),
        ("#EXT-X-BYTERANGE:10@5", None),
        ("s.ts", same("s.ts?~acuity-range=10@5")),
        ("#EXT-X-BYTERANGE:10", None),
        ("s.ts", same("s.ts?~acuity-range=10@15")),
        ("#EXT-X-BYTERANGE:3@0", None),
        ("https://o.example/base/s.ts?x=1", p("/live/s.ts?x=1&~acuity-range=3@0")),
        ("#EXT-X-BYTERANGE:3", same("#EXT-X-BYTERANGE:3")),
        ("unknown-offset.ts", same("unknown-offset.ts")),
        ("#EXT-X-BYTERANGE:3@4", same("#EXT-X-BYTERANGE:3@4")),
        ("https://other.example/s.ts", same("https://other.example/s.ts")),
        ("#EXT-X-BITRATE:900", None),
        ("#EXT-X-MAP:URI=\"i.mp4\"", same("#EXT-X-MAP:URI=\"i.mp4\"")),
        ("#EXT-X-MAP:URI=\"i.mp4\",BYTERANGE=\"9@1\"", same("#EXT-X-MAP:URI=\"i.mp4?~acuity-range=9@1\"")),
        // A quote in a value that has none around it is part of the URI.
        ("#EXT-X-MAP:URI=i\",BYTERANGE=\"9@1\"", same("#EXT-X-MAP:URI=\"i%22?~acuity-range=9@1\"")),
        (
            "#EXT-X-MAP: X=1, BYTERANGE=\"9\",URI=\"https://o.example/base/i.mp4\",Y=\"a,b\"",
            Some(format!("#EXT-X-MAP:X=1, URI=\"{prefix}/live/i.mp4?~acuity-range=9@0\",Y=\"a,b\"\n")),
        ),
        ("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"", same("#EXT-X-KEY:METHOD=AES-128,URI=\"k\"")),
        (
            "#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/k\",IV=0x01",
            same("#EXT-X-KEY:METHOD=AES-128,URI=\"https://keys.example/k\",IV=0x01"),
        ),
        (
            "#EXT-X-KEY:METHOD=AES-128, URI=\"/base/k?x\",IV=0x01",
            same("#EXT-X-KEY:METHOD=AES-128, URI=\"/live/k?x\",IV=0x01"),
        ),
        (
            "#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"f\"",
            same("#EXT-X-KEY:METHOD=SAMPLE-AES,URI=\"skd://x\",KEYFORMAT=\"f\""),
        ),
        (
            "#EXT-X-DATERANGE:ID=\"a\",X-ASSET-URI=\"https://o.example/base/x\"",
            same("#EXT-X-DATERANGE:ID=\"a\",X-ASSET-URI=\"https://o.example/base/x\""),
        ),
        ("#EXT-X-CUE-OUT:30", same("#EXT-X-CUE-OUT:30")),
        ("#EXT-X-DISCONTINUITY", same("#EXT-X-DISCONTINUITY")),
        (
            "#EXT-X-PROGRAM-DATE-TIME:2026-11-21T20:00:00.123456Z",
            same("#EXT-X-PROGRAM-DATE-TIME:2026-11-21T20:00:00.123456Z"),
        ),
        (
            "#EXT-OATCLS-SCTE35:/DAlAAAAAAAAAP/wFAUAAAABf+/+LRQrAP4BI9MIAAEBAQAAfxV6SQ==",
            same("#EXT-OATCLS-SCTE35:/DAlAAAAAAAAAP/wFAUAAAABf+/+LRQrAP4BI9MIAAEBAQAAfxV6SQ=="),
        ),
        ("# words", same("# words")),
        ("", same("")),
        ("#EXT-X-ENDLIST", same("#EXT-X-ENDLIST")),
        ("#EXT-X-RUBBISH after the end", same("#EXT-X-RUBBISH after the end")),
    ];
    let text: String = cases.iter().map(|(line, _)| format!("{line}\n")).collect();
    let expected: String = cases.iter().filter_map(|(_, line)| line.clone()).collect();
    assert_eq!(playlist(&text).rewrite(&token()), expected);
}

#[test]
fn at_the_root_nothing_needs_mapping() {
    let text = "#EXTM3U\n#EXTINF:4,\ns.ts\n#EXTINF:4,\n/x/s.ts\n#EXTINF:4,\n../../s.ts\n#EXT-X-KEY:URI=\"/k\",METHOD=AES-128\n";
    let base = Base::new("/v/a.m3u8", None, &|_| None).unwrap();
    let rewritten = MediaPlaylist::parse(text, &base, &BTreeMap::new()).rewrite(&token());
    // Climbing above the root stays at the root for browsers; below the token it would not.
    let expected = text
        .replace("\n/x/s.ts", &format!("\n/~acuity/{TOKEN}/x/s.ts"))
        .replace("../../s.ts", &format!("/~acuity/{TOKEN}/s.ts"));
    assert_eq!(rewritten, expected);
}

#[test]
fn after_a_redirect_uris_lead_where_the_origin_meant() {
    let base = Base::new("/live/v/a.m3u8", Some("https://o.example/base/cdn7/a.m3u8"), &map).unwrap();
    let read = MediaPlaylist::parse("#EXTM3U\n#EXTINF:4,\ns.ts\n", &base, &BTreeMap::new());
    assert_eq!(read.segments[0].target, Target::Edge("/live/cdn7/s.ts".into()));
    assert_eq!(read.rewrite(&token()), format!("#EXTM3U\n#EXTINF:4,\n/~acuity/{TOKEN}/live/cdn7/s.ts\n"));
}

#[test]
fn the_query_of_the_playlist_defines_variables() {
    let read = playlist_at(
        "/live/v/a.m3u8?tok=a%20b&_HLS_msn=3",
        "#EXTM3U\n#EXT-X-DEFINE:QUERYPARAM=\"tok\"\n#EXTINF:4,\ns.ts?t={$tok}\n",
    );
    assert_eq!(read.segments[0].target, Target::Edge("/live/v/s.ts?t=a%20b".into()));
    assert_eq!(read.obstacles(), []);
    assert!(!read.enhanced_edits(&token()).touches(3));
}

#[test]
fn requests_find_their_segment() {
    let read = playlist(concat!(
        "#EXT-X-MAP:URI=\"init.mp4\"\n#EXTINF:4,\na.m4s\n#EXTINF:4,\nb.m4s?part=1&sig=x%2By\n",
        "#EXTINF:4,\nb.m4s?part=2&sig=x%2By\n#EXTINF:4,\na.m4s\n",
        "#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"10@0\"\n",
        "#EXTINF:4,\n#EXT-X-BYTERANGE:5@10\nall.mp4\n#EXTINF:4,\n#EXT-X-BYTERANGE:5\nall.mp4\n",
        "#EXTINF:4,\nc%20d~.m4s?signed=1\n#EXTINF:4,\nhttps://other.example/a.m4s\n#EXTINF:4,\nhttps://o.example/base/e.m4s\n",
    ));
    for (request, expected) in [
        ("/live/v/init.mp4", Found::Map(0)),
        ("/live/v/a.m4s", Found::Segment(0)),
        ("/live/v/a.m4s?CMCD=br%3D1", Found::Segment(0)),
        ("/live/v/a.m4s?buster=1", Found::Segment(0)),
        ("/live/v/b.m4s?part=2&sig=x%2By", Found::Segment(2)),
        ("/live/v/b.m4s?CMCD=x&sig=x%2by&extra&part=1", Found::Segment(1)),
        ("/live/v/b.m4s?part=3&sig=x%2By", Found::None),
        ("/live/v/b.m4s", Found::None),
        ("/live/v/all.mp4?~acuity-range=10@0", Found::Map(1)),
        ("/live/v/all.mp4?~acuity-range=5@10", Found::Segment(4)),
        ("/live/v/all.mp4?%7Eacuity-range=5%4015", Found::Segment(5)),
        ("/live/v/all.mp4?~acuity-range=5@11", Found::None),
        ("/live/v/all.mp4", Found::None),
        ("/live/v/a.m4s?~acuity-range=5@10", Found::None),
        ("/live/v/c%20d%7E.m4s?signed=1", Found::Segment(6)),
        ("/live/v/c%20d~.m4s", Found::Segment(6)),
        ("/live/e.m4s", Found::Segment(8)),
        ("/live/v/key.bin", Found::None),
        ("/live/v/a.m3u8", Found::None),
        ("", Found::None),
    ] {
        assert_eq!(read.find(request), expected, "{request}");
    }
}

#[test]
fn what_is_written_is_found() {
    let read = playlist(concat!(
        "#EXT-X-MAP:URI=\"all.mp4\",BYTERANGE=\"10@0\"\n#EXTINF:4,\n#EXT-X-BYTERANGE:5@10\nall.mp4\n",
        "#EXTINF:4,\ns p'a%c3%a9.ts?x='1'&y=é\n#EXTINF:4,\nhttps://o.example/base/%7e/s[1].ts\n",
    ));
    let rewritten = read.rewrite(&token());
    let base = Base::new("/live/v/a.m3u8", None, &|_| None).unwrap();
    let enhanced = MediaPlaylist::parse(rewritten, &base, &BTreeMap::new());
    for (index, segment) in enhanced.segments.iter().enumerate() {
        let path = segment.target.edge().unwrap();
        let below = path.strip_prefix(&format!("/~acuity/{TOKEN}")).unwrap_or(path);
        assert_eq!(read.find(below), Found::Segment(index), "{below}");
        assert_eq!(read.find(&read.segments[index].enhanced_path().unwrap()), Found::Segment(index));
    }
    assert_eq!(read.find(enhanced.maps[0].target.edge().unwrap()), Found::Map(0));
    assert_eq!(read.find(&read.maps[0].enhanced_path().unwrap()), Found::Map(0));
}

#[test]
fn the_same_parameters_otherwise_written_are_another_url() {
    let all = ["a.ts?", "a.ts", "b.ts?x=1&y", "b.ts?y&x=1", "b.ts?x=%31&y&"];
    let read = playlist(&all.map(|uri| format!("#EXTINF:4,\n{uri}\n")).concat());
    for (index, uri) in all.into_iter().enumerate() {
        let request = &format!("/live/v/{uri}");
        assert_eq!(read.find(request), Found::Segment(index), "{request}");
    }
    assert_eq!(read.find("/live/v/a.ts?CMCD=br%3D1"), Found::Segment(0));
}

#[test]
fn keys_with_variables_lead_where_the_origin_meant() {
    let text = |uri: &str| {
        format!(
            "#EXTM3U\n#EXT-X-DEFINE:NAME=\"r\",VALUE=\"/base\"\n#EXT-X-KEY:METHOD=AES-128,URI=\"{uri}\"\n{ONE}"
        )
    };
    // Of the origin's root, which is not the edge's.
    assert_eq!(playlist(&text("{$r}/k")).rewrite(&token()), text("/live/k"));
    for stays in ["k{$r}", "https://o.example{$r}/k", "{$unknown}/k"] {
        assert_eq!(playlist(&text(stays)).rewrite(&token()), text(stays));
    }
}

#[test]
fn of_two_ranges_before_a_segment_none_stays() {
    let text = "#EXTM3U\n#EXTINF:4,\n#EXT-X-BYTERANGE:1\n#EXT-X-BYTERANGE:9@8\ns.ts\n";
    assert_eq!(playlist(text).rewrite(&token()), "#EXTM3U\n#EXTINF:4,\ns.ts?~acuity-range=9@8\n");
}
