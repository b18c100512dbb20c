//! Segments that get more pictures than their source has: twice as many, at the times they were given, and all else as it was.

use std::path::Path;

use acuity_enhancer::container::{ContainerError, Slot, Slots, SourceSegment, VideoTrack, rewrite_init};
use bytes::Bytes;
use tempfile::TempDir;

use crate::tools::{
    Packet, assert_counters_run_on, assert_decodes_silently, encode_at, ffmpeg, parameter_sets, probe,
    transport_facts, video_pid,
};

/// 29.97 pictures a second with B-frames and sound.
const SOURCE: &str = "-f lavfi -i testsrc2=size=320x180:rate=30000/1001 -f lavfi -i sine=440:r=48000 -t 2 \
                      -pix_fmt yuv420p -c:v libx264 -bf 3 -g 30 -c:a aac -ac 2";

/// A picture behind each of the source's, half way to the next; the last is as long as the one before it. `skip`: behind this
/// one there is none.
fn halves(video: &VideoTrack, skip: Option<usize>) -> Slots {
    let (pts, dts) = (video.presentation_times(), video.decode_times());
    let half = |times: &[i64], at: usize| {
        let from = at.min(times.len() - 2);
        times[at] + (times[from + 1] - times[from]) / 2
    };
    let mut slots = Vec::new();
    let mut ends = Vec::new();
    for at in 0..pts.len() {
        slots.push(Slot { pts: pts[at], dts: dts[at] });
        if skip != Some(at) {
            slots.push(Slot { pts: half(&pts, at), dts: half(&dts, at) });
        }
        ends.push(slots.len());
    }
    Slots::new(slots, ends).unwrap()
}

/// Splices twice the pictures in, a unit at a time, and looks at every packet of source and result.
fn part_and_check(
    directory: &Path,
    init: Option<&[u8]>,
    segment: &[u8],
    name: &str,
    skip: Option<usize>,
) -> Bytes {
    let parsed = SourceSegment::parse(init, Bytes::copy_from_slice(segment)).unwrap();
    let video = parsed.video().unwrap();
    let slots = halves(video, skip);
    let units = encode_at(directory, None, 640, 360, slots.len(), "60000/1001");
    let mut spliced = Vec::new();
    let mut splicer = parsed.splicer_into(&slots).unwrap();
    for unit in &units {
        splicer.push(unit.clone(), &mut spliced).unwrap();
    }
    splicer.finish(&mut spliced).unwrap();
    let (sps, pps) = parameter_sets(&units);
    let new_init = init.map(|init| rewrite_init(init, 640, 360, &sps, &pps).unwrap());
    let (source, result) = (format!("source.{name}"), format!("parted.{name}"));
    std::fs::write(directory.join(&source), [init.unwrap_or_default(), segment].concat()).unwrap();
    std::fs::write(directory.join(&result), [new_init.as_deref().unwrap_or_default(), &spliced].concat())
        .unwrap();

    let (before, after) = (probe(directory, &source), probe(directory, &result));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "streams");
    for (stream, old) in &before {
        let new = &after[stream];
        if !stream.starts_with("video") {
            assert_eq!(old, new, "{stream}");
            continue;
        }
        // ffprobe counts from where the file's edit list says; distances are what can be compared.
        let from = |packets: &[Packet], time: fn(&Packet) -> Option<i64>| {
            packets.iter().map(|packet| time(packet).unwrap()).min().unwrap()
        };
        // It moves tracks with negative offsets until none is shown before it is decoded; ours has none any more.
        let like = if video.units.iter().any(|unit| unit.pts < unit.dts) { new } else { old };
        let shift = from(like, |packet| packet.pts) - slots.all()[0].pts;
        let found: Vec<(i64, i64)> =
            new.iter().map(|p| (p.pts.unwrap() - shift, p.dts.unwrap() - shift)).collect();
        let wanted: Vec<(i64, i64)> = slots.all().iter().map(|slot| (slot.pts, slot.dts)).collect();
        assert_eq!(found, wanted, "{stream}");
        assert!(new[0].key);
    }
    assert_decodes_silently(directory, &result);
    // As the boxes have it; ffprobe's durations are of the nominal rate.
    let spliced = Bytes::from(spliced);
    let again = SourceSegment::parse(new_init.as_deref(), spliced.clone()).unwrap();
    let stated = |video: &VideoTrack| video.units.iter().map(|unit| unit.duration).sum::<Option<i64>>();
    assert_eq!(stated(again.video().unwrap()), stated(video), "the segment is as long as it was");
    spliced
}

#[test]
fn transport_streams() {
    let directory = TempDir::new().unwrap();
    ffmpeg(directory.path(), &format!("{SOURCE} clip.ts"));
    let bytes = std::fs::read(directory.path().join("clip.ts")).unwrap();
    for skip in [None, Some(7)] {
        let parted = part_and_check(directory.path(), None, &bytes, "ts", skip);
        let pid = video_pid(directory.path(), "clip.ts");
        assert_eq!(transport_facts(&bytes, pid), transport_facts(&parted, pid), "clocks, tables, sound");
        assert_counters_run_on(&parted, pid);
    }
}

#[test]
fn fragmented_mp4_of_every_shape() {
    let directory = TempDir::new().unwrap();
    for flags in [
        "frag_keyframe+empty_moov+default_base_moof",
        "frag_keyframe+empty_moov",
        "frag_every_frame+empty_moov+default_base_moof",
        "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx",
        "frag_keyframe+empty_moov+negative_cts_offsets",
    ] {
        ffmpeg(directory.path(), &format!("{SOURCE} -movflags {flags} clip.mp4"));
        let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
        let start =
            (0..file.len() - 8).find(|at| matches!(&file[at + 4..at + 8], b"moof" | b"sidx")).unwrap();
        let parted = part_and_check(directory.path(), Some(&file[..start]), &file[start..], "mp4", None);
        part_and_check(directory.path(), Some(&file[..start]), &file[start..], "mp4", Some(0));
        let again = SourceSegment::parse(Some(&file[..start]), parted).unwrap();
        assert_eq!(again.video().unwrap().units.len(), 120, "{flags}");
    }
}

#[test]
fn slots_of_another_segment_are_a_fault() {
    let directory = TempDir::new().unwrap();
    ffmpeg(directory.path(), &format!("{SOURCE} clip.ts"));
    let segment =
        SourceSegment::parse(None, std::fs::read(directory.path().join("clip.ts")).unwrap().into()).unwrap();
    let slots = Slots::new(vec![Slot { pts: 0, dts: 0 }], vec![1]).unwrap();
    let refused = segment.splicer_into(&slots).map(|_| ()).unwrap_err();
    assert_eq!(refused, ContainerError::UnitCount { source_units: 60, given: 1 });
}
