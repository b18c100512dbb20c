//! Segments that come out while they are being put together: what is complete, and when.

use acuity_enhancer::container::{ContainerError, SourceSegment};
use bytes::Bytes;
use tempfile::TempDir;

use crate::tools::{encode, ffmpeg};

const SOURCE: &str = "-f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=440:r=48000 -t 2 -pix_fmt yuv420p \
                      -c:v libx264 -bf 3 -g 30 -c:a aac -ac 2";

/// Puts pictures into a segment one at a time; gives how many bytes were there after each, and checks the whole.
fn lengths(directory: &TempDir, init: Option<&[u8]>, bytes: Bytes) -> Vec<usize> {
    let segment = SourceSegment::parse(init, bytes).unwrap();
    let units = encode(directory.path(), None, 640, 360, segment.video().unwrap().units.len());
    let mut splicer = segment.splicer().unwrap();
    let mut out = Vec::new();
    let mut lengths = Vec::new();
    for unit in &units {
        splicer.push(unit.clone(), &mut out).unwrap();
        lengths.push(out.len());
    }
    splicer.finish(&mut out).unwrap();
    assert_eq!(out, segment.splice(&units).unwrap(), "the pieces are the whole");
    lengths
}

#[test]
fn a_transport_stream_grows_with_every_picture() {
    let directory = TempDir::new().unwrap();
    ffmpeg(directory.path(), &format!("{SOURCE} clip.ts"));
    let bytes = Bytes::from(std::fs::read(directory.path().join("clip.ts")).unwrap());
    let lengths = lengths(&directory, None, bytes);
    assert!(lengths.first().is_some_and(|length| *length > 0), "tables and the first picture");
    assert!(lengths.windows(2).all(|pair| pair[0] < pair[1]), "{lengths:?}");
}

#[test]
fn mp4_grows_with_every_fragment_and_not_before() {
    let directory = TempDir::new().unwrap();
    for (flags, fragments) in [
        ("frag_keyframe+empty_moov+default_base_moof", 2),
        ("frag_every_frame+empty_moov+default_base_moof", 60),
        // An index of all of it is written when all of it is known.
        ("frag_keyframe+empty_moov+default_base_moof+dash+global_sidx", 1),
    ] {
        ffmpeg(directory.path(), &format!("{SOURCE} -an -movflags {flags} clip.mp4"));
        let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
        let start =
            (0..file.len() - 8).find(|at| matches!(&file[at + 4..at + 8], b"moof" | b"sidx")).unwrap();
        let segment = Bytes::copy_from_slice(&file[start..]);
        let lengths = lengths(&directory, Some(&file[..start]), segment);
        let steps = lengths.windows(2).filter(|pair| pair[0] < pair[1]).count();
        let first = usize::from(lengths[0] > 0);
        assert_eq!(steps + first, fragments, "{flags}: {lengths:?}");
    }
}

#[test]
fn pictures_too_many_and_too_few_are_faults() {
    let directory = TempDir::new().unwrap();
    ffmpeg(directory.path(), &format!("{SOURCE} clip.ts"));
    let bytes = Bytes::from(std::fs::read(directory.path().join("clip.ts")).unwrap());
    let segment = SourceSegment::parse(None, bytes).unwrap();
    let units = encode(directory.path(), None, 640, 360, segment.video().unwrap().units.len());
    let mut out = Vec::new();
    let mut splicer = segment.splicer().unwrap();
    splicer.push(units[0].clone(), &mut out).unwrap();
    assert!(matches!(splicer.finish(&mut out), Err(ContainerError::UnitCount { given: 1, .. })));
    let mut splicer = segment.splicer().unwrap();
    for unit in &units {
        splicer.push(unit.clone(), &mut out).unwrap();
    }
    let more = splicer.push(units[0].clone(), &mut out);
    assert!(matches!(more, Err(ContainerError::UnitCount { .. })), "{more:?}");
}
