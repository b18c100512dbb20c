//! Segments that anybody may have sent: taken apart, put together again with pictures of their own, and taken apart once more.
//!
//! The containers' code is built from its sources, without the codecs and networks that the rest of its crate links. The input is a
//! segment; one that begins with `I` has an init segment first: three bytes of its length (big endian), then both.
#![no_main]
#![allow(dead_code, unused_imports)] // the rest of what the crate makes of it

use ::bytes::Bytes;
use libfuzzer_sys::fuzz_target;

#[path = "../../enhancer/src/container/mod.rs"]
mod container;
#[path = "../../enhancer/src/h264/mod.rs"]
mod h264;

use container::{EncodedUnit, Framing, SourceSegment, VideoTrack, rewrite_init};

/// A picture: a key frame with its parameter sets, of 96x64.
const PICTURE: &[u8] = b"\x00\x00\x00\x01\x67\x64\x00\x0a\xac\xd9\x46\x26\xc0\x44\x00\x00\x03\x00\x04\x00\x00\x03\x00\xc8\x3c\x48\x96\x58\x00\
    \x00\x00\x01\x68\xeb\xe0\x65\x2c\x8b\x00\x00\x01\x65\x88\x84\x03\xff\xf7\x40\x00\xee\x28\x5e\xa5\x1e\xf4\x5a\x15\xef\
    \xd8\xe4\xc5\x90\x2f\x6f\x98\x70\x3d\xc3\x3d\xc0\xce\x96\x5c\x53\x70\x8c\xa2\x34\xe7\x17\xa2\x25\x5e\xcc\xcb\x25\x46\
    \x8f\x23\x14\xec\x93\xad\x4c\x5a\x65\x0c\xdc\xe6\x82\x6c\x62\x6b\x9e\xac\x3b\x8f\x06\xe6\xc5\xc3\xd3\xca\x72\x49\xc0\
    \x0b\xb1\x08\x47\xdb\xb0\xdb\x42\x37\x73\x46\xd3\x11\x16\x5d\x6d\x24\x9b\x5a\x0b\x1a\xe0\x5a\x23\x68\x76\x5e\xed\x8a\
    \xba\xcd\xa2\x71\x4f\x92\x2a\x4a\x51";

/// The track's own pictures as an encoder would give them; one that holds none is replaced.
fn own_units(video: &VideoTrack) -> Vec<EncodedUnit> {
    let annex_b = |data: &Bytes| match video.framing {
        Framing::AnnexB => data.clone(),
        Framing::LengthPrefixed(size) => h264::length_prefixed_to_annex_b(data, size).into(),
    };
    video
        .units
        .iter()
        .map(|unit| {
            let data = annex_b(&unit.data);
            let holds_one = h264::annex_b_nals(&data).any(|nal| h264::is_slice(h264::nal_type(nal)));
            let data = if holds_one { data } else { Bytes::from_static(PICTURE) };
            EncodedUnit { keyframe: h264::starts_with_idr(&data), data }
        })
        .collect()
}

fn exercise(init: Option<&[u8]>, segment: Bytes) {
    let len = segment.len();
    let Ok(parsed) = SourceSegment::parse(init, segment) else { return };
    let Some(video) = parsed.video() else { return };
    let _ = (video.duration(), video.sps(), video.parameter_sets.annex_b());
    let count = video.units.len();
    let unit_bytes: usize = video.units.iter().map(|unit| unit.data.len()).sum();
    // Samples of fragmented MP4 may share bytes; each is at most the segment.
    assert!(unit_bytes <= len.saturating_mul(count.max(1)), "{unit_bytes} bytes of units out of {len}");
    if unit_bytes > 4 << 20 {
        return;
    }
    let units = own_units(video);
    let given: usize = units.iter().map(|unit| unit.data.len()).sum();
    if let Ok(spliced) = parsed.splice(&units) {
        assert!(spliced.len() <= 3 * len + 2 * given + 400 * count + 4096, "{} bytes", spliced.len());
        let _ = SourceSegment::parse(init, spliced);
    }
}

fuzz_target!(|data: &[u8]| {
    match data {
        [b'I', a, b, c, rest @ ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (init, segment) = rest.split_at(length.min(rest.len()));
            let sets: Vec<&[u8]> = h264::annex_b_nals(PICTURE).take(2).collect();
            if let Ok(rewritten) = rewrite_init(init, 192, 128, sets[0], sets[1]) {
                assert!(rewritten.len() <= init.len() + 40 * (sets[0].len() + sets[1].len() + 64));
            }
            exercise(Some(init), Bytes::copy_from_slice(segment));
        }
        _ => exercise(None, Bytes::copy_from_slice(data)),
    }
});
