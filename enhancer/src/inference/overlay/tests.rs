#![allow(clippy::unwrap_used)]

use std::io::Write;

use flate2::Compression;
use flate2::write::ZlibEncoder;

use super::*;

const WIDTH: usize = 32;
const HEIGHT: usize = 24;
const SCALE: usize = 2;

/// An overlay of one box at (8, 8), 16 wide and 8 high: entry 0 is flat 100 and stands for flat 180, entry 1 has stripes.
fn packed(change: impl FnOnce(&mut serde_json::Value, &mut Vec<u8>)) -> String {
    let mut header = serde_json::json!({
        "version": 1, "frame": [HEIGHT, WIDTH], "scale": SCALE, "tolerance": 30.0, "block": 4, "reach": 4,
        "middle": 128, "boxes": [{"at": [8, 8], "size": [8, 16], "entries": 2}],
    });
    let mut planes = vec![100_u8; 16 * 8];
    planes.extend((0..16 * 8).map(|place| if place % 2 == 0 { 60 } else { 200 }));
    planes.extend([1; 8].iter().chain(&[1; 8])); // known
    planes.extend(vec![180; 32 * 16]);
    planes.extend((0..32 * 16).map(|place| if place % 4 < 2 { 50 } else { 210 }));
    planes.extend([0; 8].iter().chain(&[255; 8])); // kept: entry 1 only corrects
    change(&mut header, &mut planes);
    let header = serde_json::to_vec(&header).unwrap();
    let mut zipped = ZlibEncoder::new(Vec::new(), Compression::default());
    zipped.write_all(&(header.len() as u32).to_le_bytes()).unwrap();
    zipped.write_all(&header).unwrap();
    zipped.write_all(&planes).unwrap();
    BASE64_STANDARD.encode(zipped.finish().unwrap())
}

/// The picture that `made`, flat 90 all over, becomes where `low` is to be seen.
fn applied(low: &[u8], (width, height): (usize, usize)) -> Vec<u8> {
    let mut overlay = Overlay::parse(&packed(|_, _| {}), SCALE).unwrap();
    let mut made = vec![90_u8; width * height * SCALE * SCALE];
    let low = Plane { data: low, stride: width, width, height };
    let (wide, high) = (width * SCALE, height * SCALE);
    overlay.apply(low, &mut PlaneMut { data: &mut made, stride: wide, width: wide, height: high });
    made
}

fn at(made: &[u8], x: usize, y: usize) -> u8 {
    made[y * WIDTH * SCALE + x]
}

#[test]
fn what_is_known_takes_the_place_of_what_was_guessed() {
    let made = applied(&[100; WIDTH * HEIGHT], (WIDTH, HEIGHT));
    assert_eq!(at(&made, 32, 24), 180);
    // Only within the box.
    assert_eq!((at(&made, 15, 24), at(&made, 16, 24), at(&made, 48, 24)), (90, 180, 90));
    assert_eq!((at(&made, 32, 15), at(&made, 32, 16), at(&made, 32, 32)), (90, 180, 90));
}

#[test]
fn a_flash_is_no_other_picture() {
    // 20 brighter: as bright as known, plus what is brighter.
    assert_eq!(at(&applied(&[120; WIDTH * HEIGHT], (WIDTH, HEIGHT)), 32, 24), 200);
}

#[test]
fn stripes_are_told_from_flat_and_only_corrected() {
    let stripes: Vec<u8> = (0..WIDTH * HEIGHT).map(|place| if place % 2 == 0 { 60 } else { 200 }).collect();
    let made = applied(&stripes, (WIDTH, HEIGHT));
    // picture - 128 + what the network made.
    assert_eq!((at(&made, 32, 24), at(&made, 34, 24)), (50 + 90 - 128, 172));
}

#[test]
fn anything_else_stays_bit_for_bit() {
    let noise: Vec<u8> = (0..WIDTH * HEIGHT).map(|place| (place * place * 37 % 251) as u8).collect();
    assert!(applied(&noise, (WIDTH, HEIGHT)).iter().all(|made| *made == 90));
    // Another size.
    assert!(applied(&[100; 16 * 24], (16, 24)).iter().all(|made| *made == 90));
}

#[test]
fn overlays_that_are_wrong_are_refused() {
    let refused = |text: &str| Overlay::parse(text, SCALE).map(|_| ()).unwrap_err().to_string();
    assert!(refused("?").contains("base64"));
    assert!(refused("AAAA").contains("unpacked"));
    for (text, words) in [
        (packed(|header, _| header["version"] = 2.into()), "version"),
        (packed(|header, _| header["scale"] = 3.into()), "another network"),
        (packed(|header, _| header["tolerance"] = 0.into()), "another network"),
        (packed(|header, _| header["boxes"][0]["at"] = serde_json::json!([20, 8])), "outside"),
        (packed(|header, _| header["boxes"][0]["size"] = serde_json::json!([7, 16])), "outside"),
        (packed(|header, _| header["boxes"][0]["at"] = serde_json::json!([u64::MAX, 8])), "outside"),
        (packed(|_, planes| planes.truncate(planes.len() - 1)), "cut short"),
        (packed(|_, planes| planes.push(0)), "longer"),
        (packed(|_, planes| planes.resize(17 << 20, 0)), "larger"),
    ] {
        assert!(refused(&text).contains(words), "{words}: {}", refused(&text));
    }
}
