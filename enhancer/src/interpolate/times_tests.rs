#![allow(clippy::unwrap_used)]
//! Tables: sources of every kind of rate, and the times that their pictures get.

use super::*;
use bytes::Bytes;

fn x2(output_milli: u32) -> Rate {
    Rate { factor: 2, output_milli }
}

/// (pts, dts, duration) in decode order.
fn units(times: &[(i64, i64, Option<i64>)]) -> Vec<AccessUnit> {
    let unit =
        |&(pts, dts, duration)| AccessUnit { data: Bytes::new(), pts, dts, duration, random_access: false };
    times.iter().map(unit).collect()
}

/// Units of a transport stream without reordering.
fn shown_at(times: &[i64]) -> Vec<AccessUnit> {
    units(&times.iter().map(|&time| (time, time, None)).collect::<Vec<_>>())
}

fn pts(units: &[AccessUnit], timescale: u32, rate: Rate) -> Vec<i64> {
    let found = times(units, timescale, rate);
    found.map(|found| found.slots.all().iter().map(|slot| slot.pts).collect()).unwrap_or_default()
}

fn dts(units: &[AccessUnit], timescale: u32, rate: Rate) -> Vec<i64> {
    times(units, timescale, rate).unwrap().slots.all().iter().map(|slot| slot.dts).collect()
}

/// What it is, its time scale, pictures a thousand seconds, its times and those that are expected.
type Case = (&'static str, u32, u32, &'static [i64], &'static [i64]);

#[test]
fn gaps_are_halved_in_the_sources_own_ticks() {
    let cases: [Case; 9] = [
        ("25, 90 kHz", 90_000, 50_000, &[0, 3600, 7200], &[0, 1800, 3600, 5400, 7200, 9000]),
        (
            "29.97: 1501.5, rounded down",
            90_000,
            59_940,
            &[10, 3013, 6016],
            &[10, 1511, 3013, 4514, 6016, 7517],
        ),
        (
            "23.976: gaps of 3753.75 alternate",
            90_000,
            47_952,
            &[0, 3754, 7508, 11_261, 15_015],
            &[0, 1877, 3754, 5631, 7508, 9384, 11_261, 13_138, 15_015, 16_892],
        ),
        ("23.976 in its own scale", 24_000, 47_952, &[0, 1001, 2002], &[0, 500, 1001, 1501, 2002, 2502]),
        ("a gap of one tick has no middle", 30, 60_000, &[0, 1, 2], &[]),
        ("30 in milliseconds", 1000, 60_000, &[0, 33, 67, 100], &[0, 16, 33, 50, 67, 83, 100, 116]),
        ("before zero", 90_000, 60_000, &[-6000, -3000, 0], &[-6000, -4500, -3000, -1500, 0, 1500]),
        ("one picture", 90_000, 60_000, &[500], &[500, 2000]),
        ("none", 90_000, 60_000, &[], &[]),
    ];
    for (name, timescale, output, source, expected) in cases {
        assert_eq!(pts(&shown_at(source), timescale, x2(output)), expected, "{name}");
    }
}

#[test]
fn irregular_gaps_stay_as_they_are() {
    let cases: [(&str, &[i64], &[i64]); 5] = [
        (
            "variable: each its own spacing, a pause and a stutter stay",
            &[0, 3000, 7500, 97_500, 101_000, 102_000, 105_600],
            &[0, 1500, 3000, 5250, 7500, 97_500, 99_250, 101_000, 102_000, 103_800, 105_600, 107_400],
        ),
        ("a lost picture leaves its gap", &[0, 3600, 10_800], &[0, 1800, 3600, 10_800, 12_600]),
        ("twins", &[0, 3600, 3600, 7200], &[0, 1800, 3600, 3600, 5400, 7200, 9000]),
        ("a stream that is quick already", &[0, 1500, 3000], &[0, 1500, 3000, 4800]),
        ("a slide show", &[0, 900_000], &[0, 900_000, 901_800]),
    ];
    for (name, source, expected) in cases {
        assert_eq!(pts(&shown_at(source), 90_000, x2(50_000)), expected, "{name}");
    }
}

#[test]
fn reordered_pictures_are_decoded_in_time() {
    // I P B B P as encoders write it: two pictures of delay.
    let source = units(&[
        (6000, 0, None),
        (15_000, 3000, None),
        (9000, 6000, None),
        (12_000, 9000, None),
        (18_000, 12_000, None),
    ]);
    assert_eq!(
        pts(&source, 90_000, x2(60_000)),
        [6000, 7500, 9000, 10_500, 12_000, 13_500, 15_000, 16_500, 18_000, 19_500]
    );
    assert_eq!(
        dts(&source, 90_000, x2(60_000)),
        [0, 1500, 3000, 4500, 6000, 7500, 9000, 10_500, 12_000, 13_500]
    );
}

#[test]
fn nothing_is_shown_before_it_is_decoded_and_no_time_comes_twice() {
    // Every reordering of up to two pictures, gaps that jitter, odd and even.
    for seed in 0_i64..200 {
        let mut at = 0;
        let mut shown = Vec::new();
        for step in 0..9 {
            shown.push(at + 6006);
            at += 3003 + (seed * 7919 + step * 104_729) % 1500 - 700;
        }
        let mut decoded: Vec<i64> = shown.iter().map(|time| time - 6006).collect();
        if seed % 3 == 1 {
            shown.swap(1, 3);
        }
        // Decode times of a muxer that spaces them evenly: those of presentation do not say theirs.
        if seed % 2 == 1 {
            decoded = (0..9).map(|place| place * 2200).collect();
        }
        let source: Vec<_> = shown.iter().zip(&decoded).map(|(pts, dts)| (*pts, *dts, None)).collect();
        let found = times(&units(&source), 90_000, x2(59_940)).unwrap();
        let slots = found.slots.all();
        assert!(slots.windows(2).all(|pair| pair[0].pts < pair[1].pts && pair[0].dts < pair[1].dts));
        assert!(slots.iter().all(|slot| slot.dts <= slot.pts), "{slots:?}");
        assert!(slots.last().unwrap().pts < found.end);
        for own in shown {
            assert!(slots.iter().any(|slot| slot.pts == own), "a source picture's time moved");
        }
    }
}

#[test]
fn stated_durations_say_where_the_segment_ends() {
    let stated = |durations: [i64; 3]| {
        let mut dts = 0;
        let unit = |duration: i64| {
            dts += duration;
            (dts - duration + 1001, dts - duration, Some(duration))
        };
        units(&durations.map(unit))
    };
    let found = times(&stated([1001, 1001, 1002]), 30_000, x2(59_940)).unwrap();
    assert_eq!(found.end, 1001 + 3004);
    let last = found.slots.all()[found.slots.of(2..3)].to_vec();
    assert_eq!(last, [Slot { pts: 3003, dts: 2002 }, Slot { pts: 3504, dts: 2503 }]);
    assert_eq!(
        pts(&stated([1001, 1001, 90_000]), 30_000, x2(59_940)).len(),
        6,
        "a last picture that stays: by the gap before"
    );
    assert_eq!(pts(&stated([1001, 1001, 0]), 30_000, x2(59_940)).len(), 5, "no room at the end");
}

#[test]
fn a_fragment_that_begins_too_soon_is_not_overlapped() {
    let source = units(&[(0, 0, Some(3000)), (3000, 500, Some(3000)), (6000, 6000, Some(3000))]);
    assert_eq!(dts(&source, 90_000, x2(60_000)), [0, 250, 500, 2000, 6000, 7500]);
    let backwards = units(&[(3000, 3000, Some(3000)), (0, 0, Some(3000))]);
    assert_eq!(times(&backwards, 90_000, x2(60_000)), None);
}

#[test]
fn four_for_one_are_quarters() {
    let rate = Rate { factor: 4, output_milli: 59_940 };
    assert_eq!(pts(&shown_at(&[0, 6006]), 90_000, rate), [0, 1501, 3003, 4504, 6006, 7507, 9009, 10_510]);
}
