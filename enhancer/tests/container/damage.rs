//! Whatever bytes come: an error or a result, soon, never a panic.

use std::sync::LazyLock;

use acuity_enhancer::container::{ContainerError, EncodedUnit, SourceSegment, rewrite_init};
use acuity_enhancer::h264::SpsFacts;
use bytes::Bytes;
use proptest::prelude::*;
use tempfile::TempDir;

use crate::tools::{encode, ffmpeg, parameter_sets, shared_media};

/// Small real segments: (init, segment).
static SOURCES: LazyLock<Vec<(Option<Bytes>, Bytes)>> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    let source = "-f lavfi -i testsrc2=size=96x64:rate=25 -f lavfi -i sine -t 0.6 -pix_fmt yuv420p \
        -c:v libx264 -g 8 -bf 2 -c:a aac";
    ffmpeg(directory.path(), &format!("{source} clip.ts"));
    let mut sources = vec![(None, Bytes::from(std::fs::read(directory.path().join("clip.ts")).unwrap()))];
    for flags in [
        "default_base_moof+frag_keyframe",
        "frag_keyframe",
        "dash+frag_keyframe",
        "omit_tfhd_offset+frag_every_frame",
    ] {
        ffmpeg(directory.path(), &format!("{source} -movflags empty_moov+{flags} clip.mp4"));
        let file = Bytes::from(std::fs::read(directory.path().join("clip.mp4")).unwrap());
        sources.push((None, file.clone()));
        let fragment = file.windows(4).position(|kind| kind == b"moof").unwrap() - 4;
        sources.push((Some(file.slice(..fragment)), file.slice(fragment..)));
    }
    sources
});

/// Pictures to splice in, as many as may be asked for.
static UNITS: LazyLock<Vec<EncodedUnit>> = LazyLock::new(|| {
    let directory = TempDir::new().unwrap();
    encode(directory.path(), None, 96, 64, 40)
});

/// Parses, splices if it can, and parses the result. Memory is bounded by what went in.
fn exercise(init: Option<&[u8]>, segment: Bytes) {
    let len = segment.len();
    let Ok(parsed) = SourceSegment::parse(init, segment) else { return };
    let (mut unit_bytes, mut count) = (0, 0);
    if let Some(video) = parsed.video() {
        let _ = (video.duration(), video.sps(), video.parameter_sets.annex_b());
        count = video.units.len();
        unit_bytes = video.units.iter().map(|unit| unit.data.len()).sum();
    }
    // samples of fragmented MP4 may share bytes; each is at most the segment
    assert!(unit_bytes <= len.saturating_mul(count.max(1)), "{unit_bytes} bytes of units out of {len}");
    let units: Vec<EncodedUnit> = UNITS.iter().cycle().take(count.min(5000)).cloned().collect();
    if let Ok(spliced) = parsed.splice(&units) {
        let given: usize = units.iter().map(|unit| unit.data.len()).sum();
        assert!(spliced.len() <= 3 * len + 2 * given + 400 * count + 4096, "{} bytes", spliced.len());
        let _ = SourceSegment::parse(init, spliced);
    }
}

#[derive(Debug, Clone)]
enum Damage {
    Cut(usize),
    Set(usize, u8),
    Word(usize, u32),
    Remove(usize, usize),
    Repeat(usize, usize),
}

impl Damage {
    fn apply(&self, bytes: &mut Vec<u8>) {
        let len = bytes.len().max(1);
        match *self {
            Self::Cut(at) => bytes.truncate(at % len),
            Self::Set(at, value) => {
                if let Some(byte) = bytes.get_mut(at % len) {
                    *byte = value;
                }
            }
            Self::Word(at, value) => {
                if let Some(word) = bytes.get_mut(at % len..at % len + 4) {
                    word.copy_from_slice(&value.to_be_bytes());
                }
            }
            Self::Remove(at, count) => {
                let start = (at % len).min(bytes.len());
                let end = (start + count).min(bytes.len());
                bytes.drain(start..end);
            }
            Self::Repeat(at, count) => {
                let start = (at % len).min(bytes.len());
                let end = (start + count).min(bytes.len());
                let copy = bytes[start..end].to_vec();
                bytes.splice(start..start, copy);
            }
        }
    }
}

fn damage() -> impl Strategy<Value = Damage> {
    // headers lie at the begin, so half of the hits go there
    let place = || prop_oneof![0usize..2000, any::<usize>()];
    let value =
        prop_oneof![Just(0u32), Just(u32::MAX), Just(i32::MAX as u32), Just(1), 0u32..5000, any::<u32>()];
    prop_oneof![
        1 => any::<usize>().prop_map(Damage::Cut),
        4 => (place(), any::<u8>()).prop_map(|(at, value)| Damage::Set(at, value)),
        4 => (place(), value).prop_map(|(at, value)| Damage::Word(at, value)),
        2 => (place(), 1usize..400).prop_map(|(at, count)| Damage::Remove(at, count)),
        2 => (place(), 1usize..400).prop_map(|(at, count)| Damage::Repeat(at, count)),
    ]
}

/// A few seconds of each kind of damage.
const CASES: u32 = 3000;

proptest! {
    #![proptest_config(ProptestConfig { cases: CASES, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn damaged_segments(source in 0usize..9, hits in prop::collection::vec(damage(), 1..8)) {
        let (init, segment) = &SOURCES[source];
        let mut bytes = segment.to_vec();
        hits.iter().for_each(|hit| hit.apply(&mut bytes));
        exercise(init.as_deref(), bytes.into());
    }

    #[test]
    fn damaged_init_segments(source in 0usize..4, hits in prop::collection::vec(damage(), 1..8)) {
        let (init, segment) = &SOURCES[2 + 2 * source];
        let mut bytes = init.as_ref().unwrap().to_vec();
        hits.iter().for_each(|hit| hit.apply(&mut bytes));
        let (sps, pps) = parameter_sets(&UNITS);
        if let Ok(rewritten) = rewrite_init(&bytes, 192, 128, &sps, &pps) {
            prop_assert!(rewritten.len() <= bytes.len() + 40 * (sps.len() + pps.len() + 64));
        }
        exercise(Some(&bytes), segment.clone());
    }

    #[test]
    fn noise(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        exercise(None, bytes.clone().into());
        exercise(Some(&bytes), Bytes::from(bytes.clone()));
        let _ = SpsFacts::parse(&[&[0x67][..], &bytes].concat());
        let packets: Vec<u8> = bytes.chunks(187).flat_map(|part| [&[0x47][..], part].concat()).collect();
        exercise(None, packets.into());
    }
}

#[test]
fn every_length_of_a_small_segment() {
    for (init, segment) in SOURCES.iter() {
        for len in (0..segment.len()).step_by(97) {
            exercise(init.as_deref(), segment.slice(..len));
        }
    }
}

#[test]
fn a_run_that_claims_four_thousand_million_samples_is_refused_at_once() {
    let (init, segment) = &SOURCES[2];
    let mut bytes = segment.to_vec();
    let run = bytes.windows(4).position(|kind| kind == b"trun").unwrap();
    bytes[run + 4..run + 12].copy_from_slice(&[0, 0, 0, 1, 0xff, 0xff, 0xff, 0xff]); // all by default
    let refused = SourceSegment::parse(init.as_deref(), bytes.into());
    assert!(matches!(refused, Err(ContainerError::OverLimit { .. })), "{refused:?}");
}

#[test]
fn what_is_no_container_is_named() {
    for (bytes, name) in [
        (&b"ID3\x04\0\0\0\0\0\0"[..], "packed audio behind an ID3 tag"),
        (b"WEBVTT\n\n", "WebVTT"),
        (b"\xef\xbb\xbfWEBVTT\n\n", "WebVTT"),
        (b"<!DOCTYPE html><title>404</title>", "a web page or XML"),
        (b"<html>", "a web page or XML"),
        (b"#EXTM3U\n", "a playlist"),
        (b"\xff\xf1\x4c\x80", "packed AAC or MP3"),
        (b"Gone with the wind", "something unknown"),
    ] {
        let refused = SourceSegment::parse(None, Bytes::from_static(bytes));
        assert_eq!(refused.unwrap_err(), ContainerError::NotAContainer { looks_like: name });
    }
    assert_eq!(SourceSegment::parse(None, Bytes::new()).unwrap_err(), ContainerError::Empty);
}

#[test]
fn real_files_of_every_kind_are_taken_or_refused() {
    let Some(directory) = shared_media("hls/segments") else { return };
    let init = std::fs::read(directory.join("mp4MuxedInit.mp4")).unwrap();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        let parsed = SourceSegment::parse(Some(&init), bytes);
        let taken = parsed.is_ok();
        let media = name.ends_with(".ts") && name != "encrypted.ts"
            || matches!(
                name.as_str(),
                "mp4Audio.mp4" | "mp4Captions.mp4" | "mp4Muxed.mp4" | "mp4Video.mp4" | "mp4WebVtt.mp4"
            );
        assert_eq!(taken, media, "{name}: {:?}", parsed.err());
    }
}
