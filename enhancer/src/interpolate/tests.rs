#![allow(clippy::unwrap_used)]
//! The stage by itself: which places get a picture, of what.

use std::time::Duration;

use bytes::Bytes;

use super::*;
use crate::container::{AccessUnit, Framing, ParameterSets, VideoCodec};
use crate::{Interpolation, Upscaler};

const SIDE: u32 = 64;

/// 30 pictures a second at these places in thirtieths.
fn video(places: &[i64]) -> VideoTrack {
    let unit = |&place: &i64| AccessUnit {
        data: Bytes::new(),
        pts: place * 3000,
        dts: place * 3000,
        duration: None,
        random_access: place == 0,
    };
    VideoTrack {
        codec: VideoCodec::H264,
        encrypted: false,
        timescale: 90_000,
        framing: Framing::AnnexB,
        units: places.iter().map(unit).collect(),
        parameter_sets: ParameterSets::default(),
    }
}

fn spec(factor: u32, by: Interpolator) -> RenditionSpec {
    RenditionSpec {
        width: SIDE,
        height: SIDE,
        scale: 1,
        frame_rate_milli: 30_000 * factor,
        max_video_kbps: 500,
        upscaler: Upscaler::Bicubic,
        interpolation: Some(Interpolation { factor, by }),
    }
}

fn timeline(places: &[i64], factor: u32) -> Timeline {
    plan(&video(places), &spec(factor, Interpolator::Blend)).0
}

/// A picture all of this value, but for a ramp that gives it contrast.
fn picture(value: u8) -> Picture {
    let mut picture = Picture::black(SIDE, SIDE).unwrap();
    let plane = picture.plane_mut(0);
    for row in plane.data.chunks_mut(plane.stride) {
        row.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = value + (x % 8) as u8 * 4);
    }
    picture
}

fn value(picture: &Picture) -> u8 {
    picture.plane(0).data[0]
}

/// What comes out for pictures of (place, value): the same.
fn run(stage: &mut Interpolate<'_>, pictures: &[(usize, u8)]) -> Vec<(usize, u8)> {
    let mut out = Vec::new();
    let mut emit = |placed: Placed<Picture>| {
        out.push((placed.index, value(&placed.picture)));
        Ok(())
    };
    for &(index, value) in pictures {
        stage.push(Placed { index, picture: picture(value) }, &mut emit).unwrap();
    }
    stage.finish(&mut emit).unwrap();
    out
}

fn blended(timeline: &Timeline, pictures: &[(usize, u8)]) -> (Vec<(usize, u8)>, Between) {
    let mut stage = Interpolate::new(Way::Blend, timeline, Limit::default(), 0.0);
    let out = run(&mut stage, pictures);
    (out, stage.between)
}

#[test]
fn places_between_neighbours_are_filled_and_the_last_stays() {
    let timeline = timeline(&[0, 1, 2], 2);
    assert_eq!(timeline.len(), 6);
    let (out, between) = blended(&timeline, &[(0, 10), (2, 14), (4, 16)]);
    assert_eq!(out, [(0, 10), (1, 12), (2, 14), (3, 15), (4, 16)]);
    assert_eq!(between, Between { places: 3, made: 2, ..Between::default() });
}

#[test]
fn the_last_gap_leads_to_the_next_segment_if_it_is_there() {
    let timeline = timeline(&[0, 1], 2);
    let (out, between) = blended(&timeline, &[(0, 10), (2, 14), (4, 20)]);
    assert_eq!(out, [(0, 10), (1, 12), (2, 14), (3, 17)], "its first picture is not ours to show");
    assert_eq!(between.made, 2);
    for (pts, follows) in [(6000, true), (7400, true), (8000, false), (3000, false), (-6000, false)] {
        assert_eq!(timeline.leads_to(pts), follows, "{pts}");
    }
    assert!(timeline.leads_to(6000 - (1 << 33)), "the clock has begun anew");
}

#[test]
fn a_cut_a_flash_and_what_is_the_same_stay() {
    let timeline = timeline(&[0, 1, 2, 3], 2);
    let (out, between) = blended(&timeline, &[(0, 10), (2, 10), (4, 90), (6, 91)]);
    assert_eq!(out, [(0, 10), (2, 10), (4, 90), (5, 91), (6, 91)]);
    assert_eq!(between, Between { places: 4, made: 1, same: 1, apart: 1, film: 0 });
}

#[test]
fn lost_neighbours_and_irregular_gaps_stay() {
    let timeline = timeline(&[0, 1, 2, 3, 9, 10], 2);
    // places: 0 . 1 . 2 . 3 9 . 10 .
    assert_eq!(timeline.len(), 11);
    let (out, between) = blended(&timeline, &[(0, 10), (4, 14), (6, 16), (7, 18), (9, 20)]);
    assert_eq!(out, [(0, 10), (4, 14), (5, 15), (6, 16), (7, 18), (8, 19), (9, 20)]);
    assert_eq!((between.places, between.made), (5, 2));
}

#[test]
fn four_for_one_are_made_twice() {
    let timeline = timeline(&[0, 1], 4);
    assert_eq!(timeline.len(), 8);
    let (out, between) = blended(&timeline, &[(0, 10), (4, 14)]);
    assert_eq!(out, [(0, 10), (1, 11), (2, 12), (3, 13), (4, 14)]);
    assert_eq!(between.places, 6);
}

#[test]
fn film_keeps_its_cadence() {
    // 25 pictures a second in 30, and all of them in 60: every fifth is seen once more.
    let shown_at = |sixtieths: usize| (sixtieths * 25 / 60) as u8 * 4;
    let (source, truth): (Vec<i64>, Vec<u8>) = ((0..36).collect(), (0..72).map(shown_at).collect());
    let timeline = timeline(&source, 2);
    let pictures: Vec<(usize, u8)> = (0..72).step_by(2).map(|place| (place, truth[place])).collect();
    let (out, between) = blended(&timeline, &pictures);
    let mut shown: Vec<Option<u8>> = vec![None; 72];
    out.iter().for_each(|(place, value)| shown[*place] = Some(*value));
    // What shows nothing of its own shows what was before.
    for place in 1..72 {
        shown[place] = shown[place].or(shown[place - 1]);
    }
    let differ: Vec<usize> = (0..71).filter(|place| shown[*place] != Some(truth[*place])).collect();
    assert_eq!(
        differ.len(),
        between.made as usize,
        "only what the cadence does not tell is made: {differ:?}"
    );
    assert_eq!((between.places, between.film + between.same + between.made), (36, 35), "{between:?}");
    assert_eq!(between.made, 6, "one of each turn: {between:?}");
}

#[test]
fn repeat_holds_nothing_back() {
    let timeline = timeline(&[0, 1, 2], 2);
    let mut stage = Interpolate::new(Way::Repeat, &timeline, Limit::default(), 0.0);
    let mut out = Vec::new();
    stage
        .push(Placed { index: 0, picture: picture(10) }, &mut |placed| {
            out.push(placed.index);
            Ok(())
        })
        .unwrap();
    assert_eq!(out, [0]);
    assert_eq!(run(&mut stage, &[(2, 14), (4, 16)]), [(2, 14), (4, 16)]);
    assert_eq!(stage.stays(), 3);
}

#[test]
fn without_time_left_pictures_stay_to_the_end() {
    let timeline = timeline(&[0, 1, 2, 3], 2);
    let limit = Limit::at(Some(Instant::now() + Duration::from_secs(600)));
    // Eight places of a minute each leave two minutes more than there are; six leave some.
    let mut stage = Interpolate::new(Way::Blend, &timeline, limit.clone(), 60.0);
    assert_eq!(run(&mut stage, &[(0, 10), (2, 14)]), [(0, 10), (1, 12), (2, 14)]);
    limit.set(Some(Instant::now()));
    assert_eq!(run(&mut stage, &[(2, 14), (4, 16), (6, 18)]), [(2, 14), (4, 16), (6, 18)]);
    assert_eq!((stage.fallback, stage.between.made), (Some(FallbackReason::DeadlineShort), 1));
}

#[test]
fn recipes_have_names_of_their_own() {
    assert_eq!(recipe(&spec(2, Interpolator::Blend)), "+x1i2-blend");
    assert_eq!(recipe(&RenditionSpec { scale: 2, ..spec(4, Interpolator::Repeat) }), "+i4-repeat");
    assert_eq!(recipe(&RenditionSpec { interpolation: None, ..spec(2, Interpolator::Blend) }), "");
    assert_eq!(plain_recipe(&spec(2, Interpolator::Blend)), "+x1i2");
}
