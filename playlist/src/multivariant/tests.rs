#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tables: what is read of a multivariant playlist, and what enhanced variants look like in it.

use super::*;

fn map(url: &str) -> Option<String> {
    url.strip_prefix("https://o.example/base/").map(|rest| format!("/live/{rest}"))
}

fn playlist(text: &str) -> Multivariant {
    let base = Base::new("/live/m.m3u8?t=9", Some("https://o.example/base/m.m3u8?t=9"), &map).unwrap();
    Multivariant::parse(text, &base)
}

fn insertion(source: usize, replaces: Option<usize>) -> Insertion {
    Insertion {
        source,
        replaces,
        uri: "/~acuity/TOKEN/live/v.m3u8".into(),
        resolution: Resolution { width: 1280, height: 720 },
        bandwidth_bps: 3_000_000,
        average_bandwidth_bps: 2_500_000,
        video_codec: "avc1.64001f".into(),
        frame_rate_milli: None,
    }
}

#[test]
fn reads_what_packagers_write() {
    let read = playlist(concat!(
        "#EXTM3U\r\n#EXT-X-DEFINE:NAME=\"cdn\",VALUE=\"https://o.example/base\"\r\n",
        "#EXT-X-CONTENT-STEERING:SERVER-URI=\"/s\"\r\n#EXT-X-SESSION-DATA:DATA-ID=\"a.b\",VALUE=\"c\"\r\n",
        "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"aud\",NAME=\"Français\",LANGUAGE=\"fr\",DEFAULT=YES, URI=\"fr.m3u8\"\r\n",
        "#EXT-X-STREAM-INF:PROGRAM-ID=1, BANDWIDTH=200000\r\n\r\nodd.m3u8\r\n",
        "#EXT-X-STREAM-INF:AVERAGE-BANDWIDTH=900000.7,BANDWIDTH=1000000,CODECS=\"avc1.4d401e, mp4a.40.2\",",
        "RESOLUTION=640X360,FRAME-RATE=\"29.970\",AUDIO=\"aud\",VIDEO-RANGE=SDR,PATHWAY-ID=\"P\"\r\n# words\r\n",
        "{$cdn}/v.m3u8?t=1\r\n",
        "#EXT-X-STREAM-INF:BANDWIDTH=x,RESOLUTION=0x9,CODECS=\"\",FRAME-RATE=-1\r\nhttps://other.example/v.m3u8\r\n",
        "#EXT-X-STREAM-INF:BANDWIDTH=1\r\n#EXT-X-I-FRAME-STREAM-INF:URI=\"i.m3u8\"\r\n",
        "#EXT-X-STREAM-INF:BANDWIDTH=2\r\nlast.m3u8",
    ));
    assert_eq!(read.variants.len(), 4);
    let [odd, full, broken, last] = &read.variants[..] else { panic!() };
    assert_eq!(
        (odd.bandwidth_bps, odd.resolution, odd.declared_video()),
        (Some(200_000), None, DeclaredVideo::Unknown)
    );
    assert_eq!((odd.line, odd.uri_line, odd.uri.as_str()), (5, 7, "odd.m3u8"));
    assert_eq!((full.bandwidth_bps, full.average_bandwidth_bps), (Some(1_000_000), Some(900_000)));
    assert_eq!(full.codecs, ["avc1.4d401e", "mp4a.40.2"]);
    assert_eq!(
        (full.resolution, full.frame_rate),
        (Some(Resolution { width: 640, height: 360 }), Some(29.97))
    );
    assert_eq!(full.target, Target::Edge("/live/v.m3u8?t=1".into()));
    assert_eq!((full.audio.as_deref(), full.pathway_id.as_str(), full.is_sdr()), (Some("aud"), "P", true));
    assert_eq!(full.other_codecs().collect::<Vec<_>>(), ["mp4a.40.2"]);
    assert_eq!((broken.bandwidth_bps, broken.resolution, broken.frame_rate), (None, None, None));
    assert_eq!((&broken.target, broken.declared_video()), (&Target::Foreign, DeclaredVideo::Unknown));
    assert_eq!(last.bandwidth_bps, Some(2));
    assert_eq!((read.content_steering, read.i_frame_variants, read.session_data.len()), (true, 1, 1));
    let audio: Vec<_> = read.audio_group("aud").collect();
    assert_eq!(
        (audio[0].name.as_str(), audio[0].default, &audio[0].target),
        ("Français", true, &Target::Edge("/live/fr.m3u8".into()))
    );
}

#[test]
fn codecs_tell_video() {
    for (codecs, resolution, expected) in [
        ("avc1.64001f,mp4a.40.2", "", DeclaredVideo::H264),
        ("mp4a.40.2, avc3.64001f", "", DeclaredVideo::H264),
        ("hvc1.1.6.L93.B0,mp4a.40.2", "", DeclaredVideo::Other),
        ("av01.0.04M.08", "", DeclaredVideo::Other),
        ("mp4a.40.5", "", DeclaredVideo::Nothing),
        ("ec-3,wvtt", "", DeclaredVideo::Nothing),
        ("mp4a.40.5", ",RESOLUTION=640x360", DeclaredVideo::Unknown),
    ] {
        let read =
            playlist(&format!("#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,CODECS=\"{codecs}\"{resolution}\na\n"));
        assert_eq!(read.variants[0].declared_video(), expected, "{codecs}");
    }
}

#[test]
fn clones_change_what_differs_and_keep_the_rest() {
    for (source, expected) in [
        ("BANDWIDTH=1", "BANDWIDTH=3000000,RESOLUTION=1280x720"),
        ("PROGRAM-ID=1, BANDWIDTH=1", "PROGRAM-ID=1, BANDWIDTH=3000000,RESOLUTION=1280x720"),
        (
            "SCORE=2.0,AVERAGE-BANDWIDTH=5,BANDWIDTH=9,RESOLUTION=640x360,FRAME-RATE=29.970,CODECS=\"mp4a.40.2,avc1.4d401e\",AUDIO=\"a\",X-UNHEARD=\"o,f\"",
            "AVERAGE-BANDWIDTH=2500000,BANDWIDTH=3000000,RESOLUTION=1280x720,FRAME-RATE=29.970,CODECS=\"mp4a.40.2,avc1.64001f\",AUDIO=\"a\",X-UNHEARD=\"o,f\"",
        ),
        (
            "CODECS=\"mp4a.40.2\",RESOLUTION=1x1",
            "CODECS=\"avc1.64001f,mp4a.40.2\",RESOLUTION=1280x720,BANDWIDTH=3000000",
        ),
        (
            "BANDWIDTH=9,CODECS=\"avc1.4d401e,ec-3\",SUPPLEMENTAL-CODECS=\"x/y\",PATHWAY-ID=\"P\",STABLE-VARIANT-ID=\"v1\",HDCP-LEVEL=NONE",
            "BANDWIDTH=3000000,CODECS=\"avc1.64001f,ec-3\",PATHWAY-ID=\"P\",STABLE-VARIANT-ID=\"acuity-1280x720.v1\",HDCP-LEVEL=NONE,RESOLUTION=1280x720",
        ),
        (
            "BANDWIDTH=9,RESOLUTION=640x360,NAME=\"360p\"",
            "BANDWIDTH=3000000,RESOLUTION=1280x720,NAME=\"720p\"",
        ),
        (
            "BANDWIDTH=9,RESOLUTION=640x360,NAME=\"id 13607\"",
            "BANDWIDTH=3000000,RESOLUTION=1280x720,NAME=\"id 13607\"",
        ),
        ("BANDWIDTH=9,AUDIO=\"{$group}\"", "BANDWIDTH=3000000,AUDIO=\"g1\",RESOLUTION=1280x720"),
    ] {
        let define = "#EXTM3U\n#EXT-X-DEFINE:NAME=\"group\",VALUE=\"g1\"\n";
        let text = format!("{define}#EXT-X-STREAM-INF:{source}\nv.m3u8\n");
        let rewrite = Rewrite { insertions: vec![insertion(0, None)], ..Rewrite::default() };
        let expected = format!("{text}#EXT-X-STREAM-INF:{expected}\n/~acuity/TOKEN/live/v.m3u8\n");
        assert_eq!(playlist(&text).rewrite(&rewrite), expected);
    }
}

#[test]
fn withheld_variants_go_with_their_comments_and_enhanced_ones_take_their_place() {
    let text = concat!(
        "\u{feff}#EXTM3U\r\n\r\n# high\r\n#EXT-X-STREAM-INF:BANDWIDTH=5\r\n# of 720p\r\n\r\n#EXT-X-MEDIA:TYPE=AUDIO\r\nhigh.m3u8\r\n",
        "# low\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\nlow.m3u8\r\n#EXT-X-UNHEARD-OF\r\n#EXT-X-STREAM-INF:BANDWIDTH=6\r\nhigh2.m3u8",
    );
    let rewrite = Rewrite {
        insertions: vec![insertion(1, Some(0))],
        withheld: vec![0, 2],
        session: vec![session(2, "generic", Some("/~acuity/models/generic-x2-1a2b3c4d.json"))],
        interpolator: None,
    };
    assert_eq!(
        playlist(text).rewrite(&rewrite),
        concat!(
            "\u{feff}#EXTM3U\r\n\r\n# high\r\n",
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.model\",VALUE=\"generic-1a2b3c4d\"\r\n",
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.models\",URI=\"/~acuity/models/generic-x2-1a2b3c4d.json\"\r\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720\r\n/~acuity/TOKEN/live/v.m3u8\r\n",
            "#EXT-X-MEDIA:TYPE=AUDIO\r\n# low\r\n#EXT-X-STREAM-INF:BANDWIDTH=1\r\nlow.m3u8\r\n#EXT-X-UNHEARD-OF\r\n",
        )
    );
    // After the last line, which has no newline.
    let rewrite = Rewrite { insertions: vec![insertion(2, None)], ..Rewrite::default() };
    let expected = format!(
        "{text}\r\n#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=1280x720\r\n/~acuity/TOKEN/live/v.m3u8"
    );
    assert_eq!(playlist(text).rewrite(&rewrite), expected);
    // Indices from elsewhere do nothing.
    let rewrite =
        Rewrite { insertions: vec![insertion(9, Some(9))], withheld: vec![9], ..Rewrite::default() };
    assert_eq!(playlist(text).rewrite(&rewrite), text);
}

#[test]
fn more_pictures_a_second_are_told() {
    let text = concat!(
        "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=640x360,FRAME-RATE=29.970,NAME=\"360p\",",
        "STABLE-VARIANT-ID=\"a\",CODECS=\"avc1.4d401e,mp4a.40.2\"\na.m3u8\n#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n"
    );
    let faster = |source| Insertion {
        resolution: Resolution { width: 640, height: 360 },
        frame_rate_milli: Some(59_940),
        ..insertion(source, None)
    };
    let rewrite = Rewrite {
        insertions: vec![faster(0), faster(1)],
        interpolator: Some("blend".to_owned()),
        ..Rewrite::default()
    };
    assert_eq!(
        playlist(text).rewrite(&rewrite),
        concat!(
            "#EXTM3U\n#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.interpolator\",VALUE=\"blend\"\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=1,RESOLUTION=640x360,FRAME-RATE=29.970,NAME=\"360p\",",
            "STABLE-VARIANT-ID=\"a\",CODECS=\"avc1.4d401e,mp4a.40.2\"\na.m3u8\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=640x360,FRAME-RATE=59.940,NAME=\"360p 60 fps\",",
            "STABLE-VARIANT-ID=\"acuity-640x360p60.a\",CODECS=\"avc1.64001f,mp4a.40.2\"\n/~acuity/TOKEN/live/v.m3u8\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=1\nb.m3u8\n",
            "#EXT-X-STREAM-INF:BANDWIDTH=3000000,RESOLUTION=640x360,FRAME-RATE=59.940\n/~acuity/TOKEN/live/v.m3u8\n",
        )
    );
}

#[test]
fn uris_that_would_leave_the_edge_are_led_back() {
    let text = concat!(
        "#EXTM3U\n#EXT-X-MEDIA:TYPE=AUDIO, URI=\"https://o.example/base/a.m3u8\",NAME=\"x, y\"\n",
        "#EXT-X-MEDIA:TYPE=AUDIO,URI=\"https://other.example/a.m3u8\"\n#EXT-X-MEDIA:TYPE=AUDIO,URI=\"a.m3u8\"\n",
        "#EXT-X-I-FRAME-STREAM-INF:BANDWIDTH=1,URI=\"/base/i.m3u8\"\n#EXT-X-SESSION-KEY:METHOD=AES-128,URI=\"https://o.example/base/k\"\n",
        "#EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://o.example/base/v.m3u8?x=1\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://other.example/v.m3u8\n",
        "#EXT-X-STREAM-INF:BANDWIDTH=1\n../v.m3u8\n",
    );
    let expected = text
        .replace("\"https://o.example/base/a.m3u8\"", "\"/live/a.m3u8\"")
        .replace("\"/base/i.m3u8\"", "\"/live/i.m3u8\"")
        .replace("https://o.example/base/v.m3u8", "/live/v.m3u8");
    assert_eq!(playlist(text).rewrite(&Rewrite::default()), expected);
}

fn session(scale: u32, cluster: &str, description: Option<&str>) -> SessionModel {
    SessionModel {
        scale,
        cluster: cluster.into(),
        digest: "1a2b3c4d".into(),
        description: description.map(Into::into),
    }
}

#[test]
fn each_scale_names_its_models_under_an_id_of_its_own() {
    let text = "#EXTM3U\n#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.model.x3\",VALUE=\"mine\"\n#EXT-X-STREAM-INF:BANDWIDTH=1\na\n";
    let sets = vec![session(2, "a", Some("/d2")), session(3, "b", Some("/d3")), session(4, "plain", None)];
    let rewritten = playlist(text).rewrite(&Rewrite { session: sets, ..Rewrite::default() });
    let said: Vec<&str> = rewritten.lines().filter(|line| line.contains("SESSION-DATA")).collect();
    assert_eq!(
        said,
        [
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.model.x3\",VALUE=\"mine\"",
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.model\",VALUE=\"a-1a2b3c4d\"",
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.models\",URI=\"/d2\"",
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.models.x3\",URI=\"/d3\"",
            "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.model.x4\",VALUE=\"plain-1a2b3c4d\"",
        ]
    );
}

#[test]
fn what_the_origin_says_of_the_session_is_read() {
    let text = concat!(
        "#EXTM3U\n#EXT-X-DEFINE:NAME=\"kind\",VALUE=\"freedoom\"\n",
        "#EXT-X-SESSION-DATA:VALUE=\"nameless\"\n#EXT-X-SESSION-DATA:DATA-ID=\"a\",URI=\"a.json\"\n",
        "#EXT-X-SESSION-DATA:DATA-ID=\"a\",VALUE=\"first\",LANGUAGE=\"en\"\n",
        "#EXT-X-SESSION-DATA:DATA-ID=\"a\",VALUE=\"second\",LANGUAGE=\"fr\"\n",
        "#EXT-X-SESSION-DATA:DATA-ID=\"org.acuity.cluster\",VALUE=\"{$kind}\"\n",
    );
    let read = playlist(text);
    assert_eq!(read.session_data.len(), 4);
    assert_eq!(read.session_value("a"), Some("first"));
    assert_eq!(read.session_value("org.acuity.cluster"), Some("freedoom"));
    assert_eq!(read.session_value("b"), None);
}

#[test]
fn a_path_of_two_slashes_stays_on_the_edge() {
    // The route for every path, and an origin that puts a slash too many into its URLs.
    let map = |url: &str| url.strip_prefix("https://o.example").map(str::to_owned);
    let base = Base::new("/m.m3u8", Some("https://o.example/m.m3u8"), &map).unwrap();
    let text = "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=1\nhttps://o.example//vod/v.m3u8\n";
    let written = Multivariant::parse(text, &base).rewrite(&Rewrite::default());
    assert!(written.ends_with("\n/.//vod/v.m3u8\n"), "{written}");
    let base = Base::new("/m.m3u8", None, &map).unwrap();
    assert_eq!(Multivariant::parse(written, &base).variants[0].target, Target::Edge("//vod/v.m3u8".into()));
}
