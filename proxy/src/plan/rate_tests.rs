//! Tables: the rate of an enhanced rendition, and the bound that BANDWIDTH is.

use acuity_playlist::multivariant::Resolution;

use super::tests::facts;
use super::*;

#[test]
fn video_rates_follow_the_ladder() {
    let hd = Resolution { width: 1280, height: 720 };
    let measured = facts(640, 360);
    for (declared, rival, resolution, fps, expected) in [
        // Half as much again as the rival's BANDWIDTH less 128 kbit/s of audio, within 2 and 8 times the source's video rate.
        (Some((1_000_000, None)), Some(2_500_000), hd, 30_000, 3550),
        (Some((1_000_000, Some(800_000))), Some(9_000_000), hd, 30_000, 5400),
        (Some((1_000_000, Some(800_000))), Some(900_000), hd, 30_000, 1350),
        // No rival: 3.5 times, or the floor.
        (Some((2_000_000, Some(1_728_000))), None, hd, 30_000, 5600),
        (Some((400_000, None)), None, hd, 30_000, 4500),
        (Some((400_000, None)), None, hd, 60_000, 7550),
        (Some((400_000, None)), None, Resolution { width: 640, height: 360 }, 30_000, 1600),
        // Nothing declared: what was measured.
        (None, None, hd, 30_000, 4500),
        (None, Some(3_000_000), hd, 30_000, 4300),
        (Some((1, Some(1))), Some(1), Resolution { width: 2, height: 2 }, 1000, 50),
        (Some((u64::MAX, None)), Some(u64::MAX), hd, 30_000, 50_000),
    ] {
        assert_eq!(
            video_rate_cap_kbps(resolution, fps, declared, rival, &measured),
            expected,
            "{declared:?} {rival:?}"
        );
    }
}

#[test]
fn bandwidth_bounds_every_segment() {
    let peak = Peak {
        max_video_kbps: 2800,
        frame_rate_milli: 30_000,
        container: Container::Ts,
        shortest_segment_seconds: 4.0,
        other_bits_per_second: 128_000.0,
    };
    // The bits a VBV of 0.5 s lets through, in transport packets, with the worst stuffing.
    let worst = 2_800_000.0 * 4.5 / 4.0 * 188.0 / 184.0 + 30.0 * 8.0 * 208.0 + 128_000.0;
    let bound = peak.bits_per_second();
    assert!(bound as f64 >= worst && (bound as f64) < worst * 1.05, "{bound} for {worst}");
    assert!(bound.is_multiple_of(1000) && peak.average_bits_per_second() < bound);
    let shorter = Peak { shortest_segment_seconds: 2.0, ..peak };
    assert!(shorter.bits_per_second() > bound, "a full buffer weighs more in a short segment");
    assert!(Peak { container: Container::Fmp4, ..peak }.bits_per_second() < bound);
    assert!(Peak { shortest_segment_seconds: 0.0, ..peak }.bits_per_second() < 30_000_000);
    assert!(Peak { shortest_segment_seconds: f64::NAN, ..peak }.bits_per_second() > 0);
}
