#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
//! Tables: which variants are candidates, what is made of their probes, and what BANDWIDTH promises.

use acuity_playlist::uri::Base;

use super::*;

fn policy() -> Policy {
    Policy {
        scales: vec![2],
        max_source_lines: 540,
        withhold: true,
        cluster: "generic".into(),
        frame_rate: None,
        interpolators: Vec::new(),
    }
}

fn models() -> Vec<ModelChoice> {
    let model = |cluster: &str, digest: &str| ModelChoice {
        cluster: cluster.into(),
        scale: 2,
        digest: digest.into(),
    };
    vec![model("generic", "1a2b3c4d"), model("games", "00ff00ff")]
}

fn playlist(text: &str) -> Multivariant {
    let base = Base::new("/m.m3u8", None, &|_| None).unwrap();
    Multivariant::parse(format!("#EXTM3U\n{text}"), &base)
}

/// `attributes uri` per variant.
fn ladder(variants: &[&str]) -> Multivariant {
    playlist(
        &variants
            .iter()
            .map(|v| format!("#EXT-X-STREAM-INF:{}\n", v.replacen(' ', "\n", 1)))
            .collect::<String>(),
    )
}

pub(super) fn facts(width: u32, height: u32) -> SourceFacts {
    SourceFacts {
        width,
        height,
        frame_rate_milli: Some(30_000),
        container: Container::Ts,
        video_bits_per_second: 700_000,
        other_bits_per_second: 100_000,
        target_duration_seconds: 6.0,
        shortest_segment_seconds: 6.0,
    }
}

/// Probes every candidate, with the size it declares.
fn probe_all(playlist: &Multivariant, policy: &Policy) -> Vec<(Candidate, Probe)> {
    let probe = |candidate: Candidate| {
        let size = playlist.variants[candidate.variants[0]]
            .resolution
            .unwrap_or(Resolution { width: 640, height: 360 });
        (candidate, Probe::Ready(facts(size.width, size.height)))
    };
    candidates(playlist, policy).candidates.into_iter().map(probe).collect()
}

fn plan_with(playlist: &Multivariant, policy: &Policy) -> ServePlan {
    plan(playlist, policy, &models(), &probe_all(playlist, policy), &|_| "avc1.64001f".into())
}

/// `height: source indices -> withheld` in short.
fn summary(plan: &ServePlan) -> String {
    let of = |e: &EnhancedVariant| {
        format!("{}:{:?}", e.token.height, e.copies.iter().map(|c| c.source).collect::<Vec<_>>())
    };
    format!("{} -{:?}", plan.enhanced.iter().map(of).collect::<Vec<_>>().join(" "), plan.withheld)
}

#[test]
fn the_default_policy() {
    let v = |rest: &str, uri: &str| format!("{rest} {uri}");
    let cases: Vec<(&str, Vec<String>, &str)> = vec![
        (
            "a ladder of two",
            vec![
                v("BANDWIDTH=2500000,RESOLUTION=1280x720", "h"),
                v("BANDWIDTH=1000000,RESOLUTION=640x360", "l"),
            ],
            "720:[1] -[0]",
        ),
        ("nothing small enough", vec![v("BANDWIDTH=2500000,RESOLUTION=1280x720", "h")], " -[]"),
        ("no RESOLUTION anywhere", vec![v("BANDWIDTH=1", "a"), v("BANDWIDTH=2", "b")], "720:[1] -[]"),
        (
            "the best source of each resolution, several reached",
            vec![
                v("BANDWIDTH=300000,RESOLUTION=480x270", "a"),
                v("BANDWIDTH=800000,RESOLUTION=640x360", "b"),
                v("BANDWIDTH=1200000,RESOLUTION=640x360", "c"),
                v("BANDWIDTH=2000000,RESOLUTION=960x540", "d"),
                v("BANDWIDTH=3000000,RESOLUTION=1280x720", "e"),
                v("BANDWIDTH=5000000,RESOLUTION=1920x1080", "f"),
            ],
            "1080:[3] 720:[2] 540:[0] -[3, 4, 5]",
        ),
        (
            "several rates of the reached resolution go; other codecs, HDR and faster ones stay",
            vec![
                v("BANDWIDTH=800000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,mp4a.40.2\",FRAME-RATE=30", "a"),
                v(
                    "BANDWIDTH=2000000,RESOLUTION=1280x720,CODECS=\"avc1.4d401f,mp4a.40.2\",FRAME-RATE=29.97",
                    "b",
                ),
                v("BANDWIDTH=3000000,RESOLUTION=1280x720,CODECS=\"avc1.4d401f,mp4a.40.2\"", "c"),
                v("BANDWIDTH=1500000,RESOLUTION=1280x720,CODECS=\"hvc1.2.4.L93,mp4a.40.2\"", "d"),
                v(
                    "BANDWIDTH=1600000,RESOLUTION=1280x720,CODECS=\"avc1.4d401f,mp4a.40.2\",VIDEO-RANGE=PQ",
                    "e",
                ),
                v(
                    "BANDWIDTH=4000000,RESOLUTION=1280x720,CODECS=\"avc1.4d4020,mp4a.40.2\",FRAME-RATE=60",
                    "f",
                ),
                v("BANDWIDTH=2600000,RESOLUTION=1280x718", "g"),
            ],
            "720:[0] -[1, 2]",
        ),
        (
            "pathways are whole by themselves",
            vec![
                v("BANDWIDTH=800000,RESOLUTION=640x360,PATHWAY-ID=\"A\"", "a1"),
                v("BANDWIDTH=2000000,RESOLUTION=1280x720,PATHWAY-ID=\"A\"", "a2"),
                v("BANDWIDTH=800000,RESOLUTION=640x360,PATHWAY-ID=\"B\"", "https://other.example/b1"),
                v("BANDWIDTH=2000000,RESOLUTION=1280x720,PATHWAY-ID=\"B\"", "https://other.example/b2"),
            ],
            "720:[0] -[1]",
        ),
    ];
    for (name, variants, expected) in cases {
        let playlist = ladder(&variants.iter().map(String::as_str).collect::<Vec<_>>());
        let plan = plan_with(&playlist, &policy());
        assert_eq!(summary(&plan), expected, "{name}");
        let kept = plan_with(&playlist, &Policy { withhold: false, ..policy() });
        assert_eq!(kept.withheld, [] as [usize; 0], "{name}");
        assert_eq!(kept.enhanced.len(), plan.enhanced.len(), "{name}");
        for (a, b) in plan.enhanced.iter().zip(&kept.enhanced) {
            assert_eq!(a.token, b.token, "withholding is no part of what is served");
        }
    }
}

#[test]
fn the_counterpart_is_the_best_that_could_be_withheld_whether_it_is_or_not() {
    let ladder = ladder(&[
        "BANDWIDTH=300000,RESOLUTION=480x270 a",
        "BANDWIDTH=800000,RESOLUTION=640x360 b",
        "BANDWIDTH=2000000,RESOLUTION=1280x720 c",
        "BANDWIDTH=3000000,RESOLUTION=1280x720 d",
        "BANDWIDTH=9000000,RESOLUTION=1280x720,CODECS=\"hvc1.2.4.L93\" e",
    ]);
    for withhold in [true, false] {
        let plan = plan_with(&ladder, &Policy { withhold, ..policy() });
        let counterparts: Vec<_> = plan.enhanced.iter().map(|e| (e.token.height, e.counterpart)).collect();
        assert_eq!(counterparts, [(720, Some(3)), (540, None)], "withhold: {withhold}");
    }
}

const AUDIO: &str = concat!(
    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"lo\",NAME=\"English\",LANGUAGE=\"en\",CHANNELS=\"2\",URI=\"lo.m3u8\"\n",
    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"hi\",NAME=\"English\",LANGUAGE=\"en\",CHANNELS=\"2\",URI=\"hi.m3u8\"\n",
    "#EXT-X-MEDIA:TYPE=AUDIO,GROUP-ID=\"surround\",NAME=\"English\",LANGUAGE=\"en\",CHANNELS=\"6\",URI=\"ac.m3u8\"\n",
);

#[test]
fn audio_groups_are_one_choice_each() {
    let small = |group: &str, codec: &str| {
        format!(
            "#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,{codec}\",AUDIO=\"{group}\"\nlow.m3u8\n"
        )
    };
    let large =
        |group: &str, codec: &str| small(group, codec).replace("640x360", "1280x720").replace("low", "high");
    let (stereo, surround) = (small("lo", "mp4a.40.5"), small("surround", "ac-3"));
    let (high_stereo, high_surround) = (large("hi", "mp4a.40.2"), large("surround", "ac-3"));
    let replaced = |plan: &ServePlan| -> Vec<Option<usize>> {
        plan.enhanced[0].copies.iter().map(|copy| copy.replaces).collect()
    };
    // Same listening under another group name: goes. Surround, which no source has: stays.
    let plan = plan_with(&playlist(&format!("{AUDIO}{stereo}{high_surround}{high_stereo}")), &policy());
    assert_eq!((summary(&plan).as_str(), replaced(&plan)), ("720:[0] -[2]", vec![Some(2)]));
    // One video playlist with two audio groups: one rendition, two copies, each in its counterpart's place.
    let both = playlist(&format!("{AUDIO}{stereo}{surround}{high_surround}{high_stereo}"));
    let plan = plan_with(&both, &policy());
    assert_eq!((summary(&plan).as_str(), replaced(&plan)), ("720:[0, 1] -[2, 3]", vec![Some(3), Some(2)]));
    let text = both.rewrite(&plan.rewrite(false));
    let lines: Vec<&str> = text.lines().filter(|line| line.contains("RESOLUTION=1280x720")).collect();
    assert!(
        lines.len() == 2
            && lines[0].contains("ac-3\",AUDIO=\"surround\"")
            && lines[1].contains("AUDIO=\"lo\""),
        "{text}"
    );
    assert_eq!(text.matches(&plan.enhanced[0].token.playlist_path()).count(), 2);
}

#[test]
fn refusals_say_why() {
    let variants = [
        ("BANDWIDTH=1,CODECS=\"hvc1.1.6.L93.B0\"", "a", Some(Refusal::NotH264)),
        ("BANDWIDTH=1,CODECS=\"mp4a.40.2\"", "b", Some(Refusal::NoVideo)),
        ("BANDWIDTH=1,VIDEO-RANGE=HLG", "c", Some(Refusal::NotSdr)),
        ("BANDWIDTH=1,REQ-VIDEO-LAYOUT=\"CH-STEREO\"", "d", Some(Refusal::VideoLayout)),
        ("BANDWIDTH=1,VIDEO=\"angles\"", "e", Some(Refusal::VideoGroup)),
        ("BANDWIDTH=1,RESOLUTION=960x541", "f", Some(Refusal::TooManyLines)),
        ("BANDWIDTH=1", "https://other.example/g", Some(Refusal::PlaylistForeign)),
        ("BANDWIDTH=1", "data:,x", Some(Refusal::PlaylistUnreadable)),
        ("BANDWIDTH=1", "/~acuity/x/h", Some(Refusal::PlaylistUnreadable)),
        ("BANDWIDTH=1,REQ-VIDEO-LAYOUT=\"CH-MONO\"", "i", None),
    ];
    let lines: String =
        variants.iter().map(|(tag, uri, _)| format!("#EXT-X-STREAM-INF:{tag}\n{uri}\n")).collect();
    let group = "#EXT-X-MEDIA:TYPE=VIDEO,GROUP-ID=\"angles\",NAME=\"x\",URI=\"x.m3u8\"\n";
    let found = candidates(&playlist(&format!("{group}{lines}")), &policy());
    let expected: Vec<_> = (0..).zip(variants).filter_map(|(index, (.., why))| Some((index, why?))).collect();
    assert_eq!(found.refused, expected);
    assert_eq!(found.candidates.iter().map(|c| c.variants.clone()).collect::<Vec<_>>(), [[9]]);
}

#[test]
fn probes_decide() {
    let two = ladder(&[
        "BANDWIDTH=900000,RESOLUTION=640x360 a",
        "BANDWIDTH=500000,RESOLUTION=640x360 b",
        "BANDWIDTH=3000000,RESOLUTION=1280x720 c",
    ]);
    let found = candidates(&two, &policy()).candidates;
    assert_eq!(found.iter().map(|c| (c.variants[0], c.rank)).collect::<Vec<_>>(), [(0, 0), (1, 1)]);
    let run = |probes: [Probe; 2], policy: &Policy, models: &[ModelChoice]| {
        let probed: Vec<_> = found.iter().cloned().zip(probes).collect();
        plan(&two, policy, models, &probed, &|_| "avc1.64001f".into())
    };
    let ready = || Probe::Ready(facts(640, 360));
    let plan = run([ready(), ready()], &policy(), &models());
    assert_eq!(
        (summary(&plan).as_str(), &plan.refused[..]),
        ("720:[0] -[2]", &[(1, Refusal::Outranked)][..])
    );
    let refused = Refusal::Playlist(acuity_playlist::Obstacle::SampleAes);
    let plan = run([Probe::Refused(refused), ready()], &policy(), &models());
    assert_eq!((summary(&plan).as_str(), &plan.refused[..]), ("720:[1] -[2]", &[(0, refused)][..]));
    // The pictures are of other sizes than the playlist says: for sources the picture counts, for what is withheld
    // (and was not probed, as a rule) what is declared.
    let tall = Probe::Ready(facts(640, 544));
    let plan = run([tall, Probe::Ready(facts(320, 180))], &policy(), &models());
    assert_eq!(
        (summary(&plan).as_str(), &plan.refused[..]),
        ("360:[1] -[0, 1]", &[(0, Refusal::TooManyLines)][..])
    );
    let wide = Probe::Ready(facts(2050, 360));
    let timeless = Probe::Ready(SourceFacts { frame_rate_milli: None, ..facts(640, 360) });
    let plan = run([wide, timeless], &policy(), &models());
    assert_eq!(plan.refused, [(0, Refusal::TooLarge), (1, Refusal::FrameRateUnknown)]);
    assert_eq!(
        run([ready(), ready()], &policy(), &[]).refused,
        [(0, Refusal::NoModel), (1, Refusal::NoModel)]
    );
    let too_fast = Probe::Ready(SourceFacts { frame_rate_milli: Some(1_000_000), ..facts(640, 360) });
    assert_eq!(run([too_fast, ready()], &policy(), &models()).refused, [(0, Refusal::TokenBounds)]);
    for (cluster, expected) in
        [("games", "games-00ff00ff"), ("nobody_trained", "generic-1a2b3c4d"), ("plain", "plain-00000000")]
    {
        let plan = run([ready(), ready()], &Policy { cluster: cluster.into(), ..policy() }, &models());
        assert!(plan.enhanced[0].token.to_string().contains(expected), "{cluster}");
    }
    assert_eq!(ServePlan::default(), plan_with(&playlist(""), &policy()));
}

#[test]
fn each_scale_reaches_a_resolution_of_its_own() {
    let v = |rest: &str, uri: &str| format!("{rest} {uri}");
    let three = [
        v("BANDWIDTH=300000,RESOLUTION=320x180", "a"),
        v("BANDWIDTH=800000,RESOLUTION=640x360", "b"),
        v("BANDWIDTH=1400000,RESOLUTION=960x540", "c"),
    ];
    let set = |cluster: &str, scale: u32| ModelChoice {
        cluster: cluster.into(),
        scale,
        digest: format!("0000000{scale}"),
    };
    let generic = [set("generic", 2), set("generic", 3), set("generic", 4)];
    let of = |scales: &[u32], models: &[ModelChoice], max_source_lines: u32| {
        let policy = Policy { scales: scales.to_vec(), max_source_lines, ..policy() };
        let playlist = ladder(&three.iter().map(String::as_str).collect::<Vec<_>>());
        plan(&playlist, &policy, models, &probe_all(&playlist, &policy), &|_| "avc1.64001f".into())
    };
    let said = |plan: &ServePlan| {
        let way = |e: &EnhancedVariant| {
            let token = &e.token;
            format!("{}=x{}:{}", token.height, token.scale, e.copies[0].source)
        };
        plan.enhanced.iter().map(way).collect::<Vec<_>>().join(" ")
    };
    for (scales, expected) in [
        (&[2][..], "1080=x2:2 720=x2:1 360=x2:0"),
        // 1080 lines are reached from 540 by two and from 360 by three: by two.
        (&[2, 3], "1080=x2:2 1620=x3:2 720=x2:1 360=x2:0 540=x3:0"),
        (&[3, 2], "1080=x2:2 1620=x3:2 720=x2:1 360=x2:0 540=x3:0"),
        (&[3], "1620=x3:2 1080=x3:1 540=x3:0"),
        // 720 from 360 by two, not from 180 by four.
        (&[2, 4], "1080=x2:2 2160=x4:2 720=x2:1 1440=x4:1 360=x2:0"),
    ] {
        assert_eq!(said(&of(scales, &generic, 540)), expected, "{scales:?}");
    }
    // Only what a set exists for; the nearest scale's reason is told, and only of a variant that gives nothing.
    let some = of(&[2, 3], &[set("generic", 3)], 540);
    assert_eq!((said(&some).as_str(), &some.refused[..]), ("1620=x3:2 1080=x3:1 540=x3:0", &[][..]));
    let none = of(&[2], &[set("generic", 3)], 540);
    assert_eq!(none.refused, [0, 1, 2].map(|index| (index, Refusal::NoModel)));
    // The cluster's own set where it has one, the generic one where it has none.
    let playlist = ladder(&["BANDWIDTH=800000,RESOLUTION=640x360 b"]);
    let games = Policy { scales: vec![2, 3], cluster: "games".into(), ..policy() };
    let models = [set("generic", 2), set("generic", 3), set("games", 2)];
    let mixed = plan(&playlist, &games, &models, &probe_all(&playlist, &games), &|_| "avc1.64001f".into());
    let sets: Vec<&str> = mixed.enhanced.iter().map(|e| e.token.cluster.as_str()).collect();
    assert_eq!((said(&mixed).as_str(), &sets[..]), ("720=x2:0 1080=x3:0", &["games", "generic"][..]));
    let session = mixed.rewrite(true).session;
    assert_eq!(session.iter().map(|set| set.scale).collect::<Vec<_>>(), [2, 3]);
    assert_eq!(session[0].description.as_deref(), Some("/~acuity/models/games-x2-00000002.json"));
    assert!(mixed.rewrite(false).session.is_empty());
}

#[test]
fn more_pictures_stand_beside_what_is_there() {
    let ladder_of = |last: &str| {
        ladder(&[
            "BANDWIDTH=300000,RESOLUTION=320x180,FRAME-RATE=30 a",
            "BANDWIDTH=1000000,RESOLUTION=640x360,FRAME-RATE=30 b",
            last,
        ])
    };
    let faster = |frame_rate: FrameRateConfig| Policy { frame_rate: Some(frame_rate), ..policy() };
    let said = |plan: &ServePlan| {
        let of = |e: &EnhancedVariant| {
            let more = e.token.interpolation.as_ref().map(|i| format!("i{}-{}", i.factor, i.by));
            format!(
                "{}@{}x{}{}",
                e.token.height,
                e.token.frame_rate_milli / 1000,
                e.token.scale,
                more.unwrap_or_default()
            )
        };
        format!("{} -{:?}", plan.enhanced.iter().map(of).collect::<Vec<_>>().join(" "), plan.withheld)
    };
    let of = |last: &str, frame_rate: FrameRateConfig| {
        let playlist = ladder_of(last);
        let plan = plan_with(&playlist, &faster(frame_rate));
        (said(&plan), plan)
    };
    let default = FrameRateConfig::default;
    let hd = "BANDWIDTH=2500000,RESOLUTION=1280x720,FRAME-RATE=30 c";
    // 360 from 180 by two is offered at 30, and at 60 as 360's own size, which is nearer.
    assert_eq!(
        of(hd, default()).0,
        "720@30x2 360@60x1i2-blend 720@60x2i2-blend 360@30x2 180@60x1i2-blend -[1, 2]"
    );
    let repeat = FrameRateConfig {
        scales: vec![2],
        interpolator: acuity_config::InterpolatorChoice::Repeat,
        ..default()
    };
    assert_eq!(of(hd, repeat).0, "720@30x2 720@60x2i2-repeat 360@30x2 360@60x2i2-repeat -[1, 2]");
    // The origin has it at that rate itself; the lines are too many; the rate is none that is multiplied.
    let hd60 = "BANDWIDTH=3500000,RESOLUTION=1280x720,FRAME-RATE=59.94 c";
    assert_eq!(of(hd60, default()).0, "720@30x2 360@60x1i2-blend 360@30x2 180@60x1i2-blend -[1]");
    let low = FrameRateConfig { max_lines: 360, ..default() };
    assert_eq!(of(hd, low).0, "720@30x2 360@60x1i2-blend 360@30x2 180@60x1i2-blend -[1, 2]");
    let (said, plan) = of(hd, FrameRateConfig { source_most: 25.0, ..default() });
    assert_eq!((said.as_str(), &plan.refused[..]), ("720@30x2 360@30x2 -[1, 2]", &[][..]));

    let sets = ["games", "generic"].map(|cluster| OfferedInterpolator {
        cluster: cluster.into(),
        digest: "0a0b0c0d".into(),
        models: Vec::new(),
    });
    for (cluster, count, expected) in [
        ("generic", 2, "generic-0a0b0c0d"),
        ("games", 2, "games-0a0b0c0d"),
        ("films", 2, "generic-0a0b0c0d"),
        ("plain", 2, "blend"),
        ("films", 1, "blend"),
    ] {
        let interpolators = sets[..count].to_vec();
        let policy = Policy { cluster: cluster.into(), interpolators, ..faster(default()) };
        let plan = plan_with(&ladder_of(hd), &policy);
        let by = plan.enhanced.iter().find_map(|e| e.token.interpolation.as_ref()).unwrap().by.to_string();
        assert_eq!(by, expected, "{cluster}");
    }

    let (_, plan) = of(hd, default());
    let rewrite = plan.rewrite(true);
    assert_eq!(rewrite.interpolator.as_deref(), Some("blend"));
    assert_eq!(
        rewrite.session.iter().map(|set| set.scale).collect::<Vec<_>>(),
        [2],
        "no model keeps the size"
    );
    let rates: Vec<_> = rewrite.insertions.iter().map(|insertion| insertion.frame_rate_milli).collect();
    assert_eq!(rates, [None, Some(60_000), Some(60_000), None, Some(60_000)]);
    let kbps: Vec<_> = plan.enhanced.iter().map(|e| e.token.max_video_kbps).collect();
    assert!(kbps[2] > kbps[0] && kbps[2] < 2 * kbps[0], "{kbps:?}");
    // What enlarges is judged at the source's own times, so that the origin's own rate will do.
    let counterparts: Vec<_> = plan.enhanced.iter().map(|e| (e.token.height, e.counterpart)).collect();
    assert_eq!(counterparts, [(720, Some(2)), (360, None), (720, Some(2)), (360, Some(1)), (180, None)]);
    let bandwidths: BTreeSet<_> =
        rewrite.insertions.iter().map(|insertion| insertion.bandwidth_bps).collect();
    assert_eq!(bandwidths.len(), 5, "all differ");
}

#[test]
fn candidates_are_bounded_and_second_choices_go_first() {
    let lines: Vec<String> = (0..12)
        .map(|i| format!("BANDWIDTH={},RESOLUTION=640x{} v{i}", 1000 + i, 200 + 2 * (i / 2)))
        .collect();
    let found = candidates(&ladder(&lines.iter().map(String::as_str).collect::<Vec<_>>()), &policy());
    assert_eq!(
        found.candidates.iter().map(|c| c.variants[0]).collect::<Vec<_>>(),
        [11, 9, 7, 5, 3, 1, 10, 8]
    );
    let refused: Vec<_> = [0, 2, 4, 6].map(|index| (index, Refusal::TooManyCandidates)).to_vec();
    assert_eq!(found.refused, refused);
}

#[test]
fn bandwidths_differ() {
    let lines = ["BANDWIDTH=1000000,RESOLUTION=640x360 l", "BANDWIDTH=2500000,RESOLUTION=1280x720 h"];
    let natural = plan_with(&ladder(&lines), &policy()).enhanced[0].copies[0].bandwidth_bps;
    let other = format!("BANDWIDTH={natural},RESOLUTION=1920x1080 x");
    let plan = plan_with(&ladder(&[lines[0], lines[1], &other]), &policy());
    assert_eq!(plan.enhanced[0].copies[0].bandwidth_bps, natural + 1000);
}

#[test]
fn audio_beside_the_video_counts() {
    let small = "#EXT-X-STREAM-INF:BANDWIDTH=900000,RESOLUTION=640x360,CODECS=\"avc1.4d401e,mp4a.40.2\"";
    let of = |tail: &str| {
        plan_with(&playlist(&format!("{AUDIO}{small}{tail}\nlow.m3u8\n")), &policy()).enhanced[0].copies[0]
            .bandwidth_bps
    };
    // 900 kbit/s less 700 of measured video.
    assert_eq!(of(",AUDIO=\"lo\"") - of(""), 200_000);
    assert_eq!(of(",AUDIO=\"no such group\""), of(""));
}

#[test]
fn labels_are_distinct_and_all_there() {
    let labels: BTreeSet<_> = Refusal::ALL.iter().map(|refusal| refusal.label()).collect();
    assert_eq!(labels.len(), Refusal::ALL.len());
    assert!(
        labels.iter().all(|l| l.bytes().all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'_'))
    );
    assert_eq!(Refusal::from(acuity_playlist::Obstacle::Cenc).label(), "cenc");
}
