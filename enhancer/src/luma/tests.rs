//! Whole clips, coded and decoded, through everything that spares work, against a network that makes each picture anew.

use std::process::Command;
use std::sync::OnceLock;

use acuity_config::{EnhancerConfig, Precision, Provider};
use bytes::Bytes;

use super::{Base, FARTHEST, Luma, Memory, cost_share, is_worthwhile};
use crate::codec::{Decoder, Picture, Plane, PlaneMut};
use crate::container::SourceSegment;
use crate::inference::tests::{config, load, zoo};
use crate::inference::{Network, Runtime};

const WIDTH: usize = 320;
const HEIGHT: usize = 180;
const PICTURES: usize = 60;
const HIGH: usize = WIDTH * HEIGHT * 4;

/// A luma plane of a picture, dense, and whether the picture is a key picture.
struct Luma8 {
    data: Vec<u8>,
    is_key: bool,
}

/// A clip as an origin has it, and what was filmed.
struct Clip {
    low: Vec<Luma8>,
    high: Vec<Luma8>,
}

/// A moving picture with a fixed camera: an endless zoom in a window, text and lines that count beside it, and surroundings with detail
/// that stand still. The low one is coded as an origin would, the high one is as good as not.
fn clip() -> &'static Clip {
    static CLIP: OnceLock<Clip> = OnceLock::new();
    CLIP.get_or_init(|| {
        let filmed = format!(
            "mandelbrot=s=640x360:r=30:end_scale=0.02,format=yuv420p,trim=start_frame=60:end_frame=61,loop=-1:1:0,\
             setpts=N/30/TB[still];mandelbrot=s=320x160:r=30:end_scale=0.05,format=yuv420p[lively];\
             testsrc2=s=160x90:r=30,format=yuv420p[counting];[still][lively]overlay=160:40[both];\
             [both][counting]overlay=480:260,trim=end_frame={PICTURES},setpts=N/30/TB"
        );
        let low = coded(&format!("{filmed},scale={WIDTH}:{HEIGHT}:flags=bicubic"), &["-b:v", "400k", "-g", "40"]);
        let high = coded(&filmed, &["-crf", "2", "-preset", "ultrafast"]);
        Clip { low: decoded(low), high: decoded(high) }
    })
}

fn coded(graph: &str, options: &[&str]) -> Bytes {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("clip.ts");
    let mut command = Command::new("ffmpeg");
    command.args(["-v", "error", "-f", "lavfi", "-i", graph, "-pix_fmt", "yuv420p", "-c:v", "libx264"]);
    let status =
        command.args(options).arg(&path).status().expect("the ffmpeg command, which the set-up installs");
    assert!(status.success());
    std::fs::read(&path).unwrap().into()
}

fn decoded(segment: Bytes) -> Vec<Luma8> {
    let source = SourceSegment::parse(None, segment).unwrap();
    let (mut pictures, mut decoder) = (Vec::new(), Decoder::open().unwrap());
    let mut keep = |_: i64, picture: Picture| {
        let Plane { data, stride, width, .. } = picture.plane(0);
        let data = data.chunks(stride).flat_map(|line| &line[..width]).copied().collect();
        pictures.push(Luma8 { data, is_key: picture.is_key() });
    };
    for unit in &source.video().unwrap().units {
        decoder.push(&unit.data, unit.pts, &mut keep).unwrap();
    }
    decoder.drain(&mut keep).unwrap();
    assert_eq!(pictures.len(), PICTURES);
    pictures
}

fn runtime() -> Runtime {
    let cpu = EnhancerConfig { provider: Provider::Cpu, precision: Precision::Float, ..config() };
    Runtime::load(&cpu).unwrap()
}

fn network(tier: &str) -> Network {
    load(&runtime(), zoo(&format!("generic-x2-{tier}.onnx")), 2)
}

fn low(picture: &Luma8) -> Plane<'_> {
    Plane { data: &picture.data, stride: WIDTH, width: WIDTH, height: HEIGHT }
}

fn high(data: &mut [u8]) -> PlaneMut<'_> {
    PlaneMut { data, stride: WIDTH * 2, width: WIDTH * 2, height: HEIGHT * 2 }
}

/// Each picture for itself.
fn one_by_one(network: &mut Network, clip: &Clip) -> Vec<Vec<u8>> {
    let make = |picture: &Luma8| {
        let mut made = vec![0; HIGH];
        network.run(low(picture), high(&mut made)).unwrap();
        made
    };
    clip.low.iter().map(make).collect()
}

/// As a lane makes them.
fn in_a_row(network: &mut Network, base: Option<Base<'_>>, still_limit: f64, clip: &Clip) -> Vec<Vec<u8>> {
    let mut memory = Memory::default();
    let mut luma = Luma::new(network, base, &mut memory, still_limit);
    let make = |picture: &Luma8| {
        let mut made = vec![0; HIGH];
        luma.enlarge(low(picture), high(&mut made), picture.is_key).unwrap();
        made
    };
    clip.low.iter().map(make).collect()
}

/// PSNR in dB, and the share of the error's energy that is new in every picture: the mean squared change of the error over twice
/// its mean square (`scripts/measure/flicker.py`).
fn figures(made: &[Vec<u8>], clip: &Clip) -> (f64, f64) {
    let error = |place: usize, sample: usize| {
        f64::from(made[place][sample]) - f64::from(clip.high[place].data[sample])
    };
    let (mut squares, mut changes) = (0.0, 0.0);
    for place in 0..PICTURES {
        for sample in 0..HIGH {
            let now = error(place, sample);
            squares += now * now;
            if place > 0 {
                changes += (now - error(place - 1, sample)).powi(2);
            }
        }
    }
    let mean = squares / (PICTURES * HIGH) as f64;
    let change = changes / ((PICTURES - 1) * HIGH) as f64;
    (10.0 * (255.0_f64.powi(2) / mean).log10(), change / (2.0 * mean))
}

/// Of the high pixels whose low surroundings, as far as networks look, are those of the picture before, key pictures left out: how many there are, and how
/// many of them have changed by how much at most.
fn stirred(made: &[Vec<u8>], clip: &Clip) -> (usize, usize, u8) {
    let (mut still, mut moved, mut most) = (0, 0, 0);
    for place in 1..PICTURES {
        let (now, before) = (&clip.low[place], &clip.low[place - 1].data);
        if now.is_key {
            continue;
        }
        // Changed low pixels above and to the left of each place, so that a rectangle is four of them.
        let mut sums = vec![0_u32; (WIDTH + 1) * (HEIGHT + 1)];
        for y in 0..HEIGHT {
            let mut row = 0;
            for x in 0..WIDTH {
                row += u32::from(now.data[y * WIDTH + x] != before[y * WIDTH + x]);
                sums[(y + 1) * (WIDTH + 1) + x + 1] = sums[y * (WIDTH + 1) + x + 1] + row;
            }
        }
        for y in 0..HEIGHT {
            for x in 0..WIDTH {
                let (top, bottom) = (y.saturating_sub(FARTHEST), (y + FARTHEST + 1).min(HEIGHT));
                let (left, right) = (x.saturating_sub(FARTHEST), (x + FARTHEST + 1).min(WIDTH));
                let at = |y: usize, x: usize| sums[y * (WIDTH + 1) + x];
                if at(bottom, right) + at(top, left) != at(top, right) + at(bottom, left) {
                    continue;
                }
                for (dy, dx) in [(0, 0), (0, 1), (1, 0), (1, 1)] {
                    let sample = (2 * y + dy) * WIDTH * 2 + 2 * x + dx;
                    let off = made[place][sample].abs_diff(made[place - 1][sample]);
                    still += 1;
                    moved += usize::from(off > 0);
                    most = most.max(off);
                }
            }
        }
    }
    (still, moved, most)
}

#[test]
fn what_is_kept_is_what_would_be_made() {
    let clip = clip();
    let mut network = network("s");
    let (kept, anew) = (in_a_row(&mut network, None, 0.0, clip), one_by_one(&mut network, clip));
    for (place, (kept, anew)) in kept.iter().zip(&anew).enumerate() {
        let off = kept.iter().zip(anew).filter(|(a, b)| a != b).count();
        assert_eq!(off, 0, "samples of picture {place}");
    }
    let (still, moved, _) = stirred(&kept, clip);
    assert!(still > HIGH * PICTURES / 10, "{still} samples stand still: too few to tell anything");
    assert_eq!(moved, 0, "of {still} samples that stand still");
}

#[test]
fn a_part_of_each_picture_is_nearly_as_good_as_all_of_it() {
    let clip = clip();
    let (mut cheap, mut dear) = (network("s"), network("m"));
    let (whole, whole_flicker) = figures(&one_by_one(&mut dear, clip), clip);
    let (plain, _) = figures(&one_by_one(&mut cheap, clip), clip);
    let base = Base { network: &mut cheap, share: 0.25 };
    let made = in_a_row(&mut dear, Some(base), 1.0, clip);
    let (part, part_flicker) = figures(&made, clip);
    let (still, moved, most) = stirred(&made, clip);
    println!(
        "s {plain:.3} dB, m {whole:.3} dB with flicker {whole_flicker:.4}, a quarter of m {part:.3} dB with {part_flicker:.4}; \
         of {still} still samples {moved} moved, by {most} at most"
    );
    assert!(part > whole - 0.1, "{part:.3} dB against {whole:.3}");
    assert!(part_flicker < whole_flicker * 1.03, "flicker {part_flicker:.4} against {whole_flicker:.4}");
    assert!(moved * 1000 < still, "{moved} of {still} still samples changed, by up to {most}");
}

#[test]
fn two_networks_are_worth_it_where_one_is_much_dearer() {
    let size = (640, 360);
    // The tiers s, m and l: 4.4, 13 and 38 ms.
    assert!(is_worthwhile(38.0, 4.4, 0.25, size));
    assert!(is_worthwhile(13.0, 4.4, 0.25, size));
    assert!(!is_worthwhile(13.0, 4.4, 0.4, size));
    assert!(!is_worthwhile(38.0, 4.4, 1.0, size));
    assert!((0.3..0.42).contains(&cost_share(0.25, size)), "{}", cost_share(0.25, size));
}
