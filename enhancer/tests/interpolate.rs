//! Frame rates multiplied: real segments of both containers, packet for packet, and what is to be seen at the new times.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "interpolate/kit.rs"]
mod kit;

use std::time::Instant;

use acuity_enhancer::container::SourceSegment;
use acuity_enhancer::{
    EnhanceRequest, FallbackReason, Following, Interpolator, MadeBy, RenditionSpec, Upscaler, enhanced_init,
};
use bytes::Bytes;

use kit::{Source, Video, config, enhance, request, spec};

/// Checks every packet of a result against its source: twice the pictures, the new ones half way, all else as it was.
fn assert_doubled(source: &Source, segment: &Bytes, made: &Bytes, spec: &RenditionSpec) {
    let init = source.init.as_ref().map(|init| enhanced_init(init, spec, &config()).unwrap());
    let (before, after) = (Video::probe(source.init.as_ref(), segment), Video::probe(init.as_ref(), made));
    assert_eq!(after.other, before.other, "sound");
    let own = before.shown();
    let found = after.shown();
    assert_eq!(found.len(), 2 * own.len(), "twice the pictures");
    for (at, pair) in found.chunks(2).enumerate() {
        assert_eq!(pair[0], own[at], "the source's own times stay");
        let gap = own.get(at + 1).map_or_else(|| own[at] - own[at - 1], |next| next - own[at]);
        // The last one's gap is known to a tick or so: 23.976 pictures a second are 3753 or 3754 ticks apart.
        let off = (pair[1] - own[at] - gap / 2).abs();
        assert!(off == 0 || (at + 1 == own.len() && off <= 1), "picture {at}: {pair:?}");
    }
    assert!(after.packets.windows(2).all(|pair| pair[0].dts < pair[1].dts), "decode times grow");
    assert!(
        after.packets.iter().all(|packet| packet.dts <= packet.pts),
        "nothing is shown before it is decoded"
    );
    assert_eq!(after.packets[0].dts, before.packets.iter().map(|packet| packet.dts).min().unwrap());
    assert!(after.packets[0].key);
    assert_eq!((after.width, after.height), (spec.width, spec.height));
}

#[test]
fn segments_of_both_containers_are_doubled_at_every_rate() {
    for rate in ["25", "30000/1001", "24000/1001", "30"] {
        for container in ["mpegts", "fmp4"] {
            let source = Source::make(rate, container);
            for (at, segment) in source.segments.iter().enumerate() {
                for (scale, by) in
                    [(1, Interpolator::Repeat), (1, Interpolator::Blend), (2, Interpolator::Blend)]
                {
                    let spec = spec(&source, scale, by);
                    let made = enhance(request(&source, segment, &spec)).unwrap();
                    assert_doubled(&source, segment, &made.bytes, &spec);
                    let report = made.report;
                    assert_eq!((report.held_frames, report.fallback), (0, None), "{rate} {container} {at}");
                    assert_eq!(report.between.places * 2, report.frames);
                    if spec.interpolation.unwrap().by == Interpolator::Blend {
                        assert!(report.between.made + 3 >= report.between.places, "{:?}", report.between);
                    } else {
                        assert_eq!(report.between.made, 0);
                    }
                }
            }
        }
    }
}

#[test]
fn a_network_enlarges_what_was_made() {
    let source = Source::make("25", "mpegts");
    let spec = RenditionSpec { upscaler: kit::generic(), ..spec(&source, 2, Interpolator::Blend) };
    let made = enhance(request(&source, &source.segments[1], &spec)).unwrap();
    assert_doubled(&source, &source.segments[1], &made.bytes, &spec);
    assert!(matches!(made.report.made_by, MadeBy::Model { .. }), "{:?}", made.report);
    assert_eq!(made.report.fallback, None);
}

#[test]
fn the_last_gap_leads_to_the_next_segment_where_that_is_at_hand() {
    for container in ["mpegts", "fmp4"] {
        let source = Source::make("25", container);
        let spec = spec(&source, 1, Interpolator::Blend);
        let alone = enhance(request(&source, &source.segments[0], &spec)).unwrap().report.between;
        let with = |next: &Bytes| {
            let following = Following::default();
            following.is(next.clone());
            let asked = EnhanceRequest { following, ..request(&source, &source.segments[0], &spec) };
            let made = enhance(asked).unwrap();
            assert_doubled(&source, &source.segments[0], &made.bytes, &spec);
            made.report.between
        };
        assert_eq!(with(&source.segments[1]).made, alone.made + 1, "{container}");
        // What does not follow is left alone: a later segment, this one again, rubbish.
        for other in [&source.segments[2], &source.segments[0], &Bytes::from_static(b"no segment")] {
            assert_eq!(with(other).made, alone.made, "{container}");
        }
    }
}

#[test]
fn a_segment_of_one_picture_gets_two() {
    let source = Source::make("25", "mpegts");
    let one = source.cut_to_one_picture();
    let spec = spec(&source, 1, Interpolator::Blend);
    let made = enhance(request(&source, &one, &spec)).unwrap();
    let shown = Video::probe(None, &made.bytes).shown();
    assert_eq!(shown.len(), 2);
    assert_eq!(shown[1] - shown[0], 1800);
}

#[test]
fn four_for_one() {
    let source = Source::make("15", "fmp4");
    let mut spec = spec(&source, 1, Interpolator::Blend);
    spec.interpolation.as_mut().unwrap().factor = 4;
    spec.frame_rate_milli = 60_000;
    let made = enhance(request(&source, &source.segments[0], &spec)).unwrap();
    let init = enhanced_init(source.init.as_ref().unwrap(), &spec, &config()).unwrap();
    assert_eq!(Video::probe(Some(&init), &made.bytes).packets.len(), 4 * 30);
    assert_eq!(made.report.between.made, 3 * 29);
}

#[test]
fn no_picture_mixes_both_sides_of_a_cut() {
    let source = Source::make_cut();
    let spec = spec(&source, 1, Interpolator::Blend);
    let segment = &source.segments[0];
    let made = enhance(request(&source, segment, &spec)).unwrap();
    assert_eq!(made.report.between.apart, 1, "{:?}", made.report.between);
    // Bright before the cut, dark behind it: a mixture would lie between.
    let means = kit::mean_luma(&made.bytes);
    let (bright, dark) = (means[0], means[means.len() - 1]);
    assert!(bright > dark + 40.0, "{bright} {dark}");
    assert!(means.iter().all(|mean| (mean - bright).abs() < 12.0 || (mean - dark).abs() < 12.0), "{means:?}");
}

#[test]
fn film_keeps_its_cadence() {
    let source = Source::make_film("mpegts");
    let spec = spec(&source, 1, Interpolator::Blend);
    let segment = &source.segments[1];
    let made = enhance(request(&source, segment, &spec)).unwrap();
    assert_doubled(&source, segment, &made.bytes, &spec);
    let between = made.report.between;
    assert_eq!(between.places, 60);
    assert!(between.film >= 38 && between.made <= 12, "{between:?}");
    // Each filmed picture is seen two or three times in a row, but for the one gap of six that is interpolated: a step of its own.
    let means = kit::mean_luma(&made.bytes);
    let is_step = |pair: &[f64]| (pair[1] - pair[0]).abs() > 1.0;
    let steps = means.windows(2).filter(|pair| is_step(pair)).count();
    assert!((49..=49 + 12).contains(&steps), "{steps} steps of {means:?}");
}

#[test]
fn what_is_late_repeats_in_the_same_stream() {
    let source = Source::make("25", "mpegts");
    let spec = spec(&source, 1, Interpolator::Blend);
    let sets = |bytes: &Bytes| {
        let segment = SourceSegment::parse(None, bytes.clone()).unwrap();
        let sets = &segment.video().unwrap().parameter_sets;
        (sets.sps.clone(), sets.pps.clone())
    };
    let good = enhance(request(&source, &source.segments[1], &spec)).unwrap();
    let late =
        EnhanceRequest { deadline: Some(Instant::now()), ..request(&source, &source.segments[1], &spec) };
    let made = enhance(late).unwrap();
    assert_doubled(&source, &source.segments[1], &made.bytes, &spec);
    assert_eq!((made.report.between.made, made.report.fallback), (0, Some(FallbackReason::DeadlineShort)));
    assert_eq!(sets(&good.bytes), sets(&made.bytes));
    let sps = SourceSegment::parse(None, made.bytes).unwrap().video().unwrap().sps().unwrap();
    assert_eq!(sps.frame_rate.map(|(num, den)| num / den), Some(50), "the rate that is advertised");
    assert_eq!(spec.upscaler, Upscaler::Bicubic);
}

#[test]
fn what_no_network_enlarges_is_made_again_by_the_one_that_interpolates() {
    let source = Source::make("25", "mpegts");
    let segment = &source.segments[1];
    let spec = spec(&source, 1, kit::generic_between());
    let made = enhance(request(&source, segment, &spec)).unwrap();
    let by = made.report.made_by_what();
    assert!(by.starts_with("plain+") && made.report.between.made > 0, "{by}: {:?}", made.report);
    let again = |by: &str| {
        let again_by = Some(by.to_owned());
        enhance(EnhanceRequest { again_by, ..request(&source, segment, &spec) }).unwrap()
    };
    assert!(again(&by).bytes == made.bytes, "made again by {by}, it came out differently");
    // It had no session when it was begun, and has one now.
    let repeated = again("plain+repeat");
    assert_eq!(repeated.report.between.made, 0);
    assert_eq!(repeated.report.made_by_what(), "plain+repeat");
}
