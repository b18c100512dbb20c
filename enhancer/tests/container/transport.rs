//! MPEG-TS.

use std::path::Path;

use acuity_enhancer::container::{ContainerError, ContainerKind, SourceSegment, VideoCodec};
use bytes::Bytes;
use tempfile::TempDir;

use crate::tools::{
    assert_counters_run_on, assert_decodes_silently, assert_same_but_for_pictures, encode, ffmpeg,
    shared_media, transport_facts, video_pid, warnings,
};

/// Splices pictures of twice the size into a segment and checks everything that can be checked. Gives the
/// result.
fn splice_and_check(directory: &Path, source: &Path, film: Option<&Path>) -> Bytes {
    std::fs::copy(source, directory.join("source.ts")).unwrap();
    let bytes = Bytes::from(std::fs::read(source).unwrap());
    let segment = SourceSegment::parse(None, bytes.clone()).unwrap();
    assert_eq!(segment.kind(), ContainerKind::Ts);
    let video = segment.video().expect("video");
    assert_eq!((video.codec, video.encrypted, video.timescale), (VideoCodec::H264, false, 90_000));
    let sps = video.sps().expect("a sequence parameter set in-band");
    let (width, height) = ((sps.width * 2).next_multiple_of(2), (sps.height * 2).next_multiple_of(2));
    let units = encode(directory, film, width, height, video.units.len());
    let spliced = segment.splice(&units).unwrap();
    std::fs::write(directory.join("spliced.ts"), &spliced).unwrap();

    assert_same_but_for_pictures(directory, "source.ts", "spliced.ts", width);
    assert_decodes_silently(directory, "spliced.ts");
    if warnings(directory, "source.ts").is_empty() {
        assert_eq!(warnings(directory, "spliced.ts"), "", "of clocks, counters, damage");
    }
    let pid = video_pid(directory, "source.ts");
    assert_eq!(transport_facts(&bytes, pid), transport_facts(&spliced, pid), "packets, clocks, last counter");
    assert_counters_run_on(&spliced, pid);

    // and our own reader finds the units it was given
    let again = SourceSegment::parse(None, spliced.clone()).unwrap();
    let found = again.video().unwrap();
    assert_eq!(found.presentation_times(), video.presentation_times());
    assert!(found.units.iter().zip(&units).all(|(found, given)| found.data == given.data));
    spliced
}

#[test]
fn a_generated_stream_with_b_frames_and_audio() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        "-f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=440:r=48000 -t 3 -pix_fmt yuv420p \
         -c:v libx264 -bf 3 -g 45 -c:a aac -ac 2 clip.ts",
    );
    splice_and_check(directory.path(), &directory.path().join("clip.ts"), None);
}

#[test]
fn a_generated_stream_at_a_constant_rate_with_padding_and_many_clock_references() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        "-f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine=440:r=48000 -t 2 -pix_fmt yuv420p \
         -c:v libx264 -b:v 900k -maxrate 900k -bufsize 450k -x264-params nal-hrd=cbr \
         -c:a mp2 -muxrate 1500k -pcr_period 10 clip.ts",
    );
    let spliced = splice_and_check(directory.path(), &directory.path().join("clip.ts"), None);
    let pid = video_pid(directory.path(), "source.ts");
    assert!(transport_facts(&spliced, pid).video_clocks.len() > 100);
}

#[test]
fn segments_of_a_generated_playlist_join_without_a_seam() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        "-f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=440:r=48000 -t 6 -pix_fmt yuv420p \
         -c:v libx264 -g 60 \
         -sc_threshold 0 -c:a aac -f hls -hls_time 2 -hls_list_size 0 \
         -hls_segment_filename seg%d.ts out.m3u8",
    );
    let mut joined = Vec::new();
    for index in 0..3 {
        let path = directory.path().join(format!("seg{index}.ts"));
        joined.extend_from_slice(&splice_and_check(directory.path(), &path, None));
    }
    let pid = video_pid(directory.path(), "seg0.ts");
    assert_counters_run_on(&joined, pid);
    std::fs::write(directory.path().join("joined.ts"), &joined).unwrap();
    assert_decodes_silently(directory.path(), "joined.ts");
}

#[test]
fn timestamps_that_wrap_inside_the_segment() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        // 2^33 / 90000 = 95443.7 s
        "-f lavfi -i testsrc2=size=160x90:rate=25 -t 3 -pix_fmt yuv420p -c:v libx264 -bf 2 \
         -output_ts_offset 95442 \
         -muxdelay 0 -muxpreload 0 clip.ts",
    );
    let source = directory.path().join("clip.ts");
    splice_and_check(directory.path(), &source, None);
    let segment = SourceSegment::parse(None, std::fs::read(source).unwrap().into()).unwrap();
    let times = segment.video().unwrap().presentation_times();
    assert!(times.first().unwrap() < &(1 << 33) && times.last().unwrap() > &(1 << 33), "it wraps");
    assert!(times.windows(2).all(|pair| pair[1] - pair[0] == 3600), "unwrapped: {times:?}");
}

#[test]
fn several_pictures_in_one_pes_packet_are_told_apart() {
    let directory = TempDir::new().unwrap();
    // FFmpeg packs PES packets as it is told only for audio, so pictures are packed here: two by two
    let units = encode(directory.path(), None, 160, 90, 6);
    let mut source = SourceSegmentBuilder::new();
    for (index, pair) in units.chunks(2).enumerate() {
        let data = [&pair[0].data[..], &pair[1].data[..]].concat();
        source.pes(90_000 + 6000 * index as u64, &data);
    }
    let segment = SourceSegment::parse(None, source.bytes.clone().into()).unwrap();
    let video = segment.video().unwrap();
    assert_eq!(video.presentation_times(), [90_000, 93_000, 96_000, 99_000, 102_000, 105_000]);
    assert!(video.units.iter().zip(&units).all(|(found, given)| found.data == given.data));

    let spliced = segment.splice(&units).unwrap();
    let again = SourceSegment::parse(None, spliced).unwrap();
    assert_eq!(again.video().unwrap().presentation_times(), video.presentation_times());
}

#[test]
fn a_picture_over_several_pes_packets_is_one_unit() {
    let directory = TempDir::new().unwrap();
    let units = encode(directory.path(), None, 160, 90, 4);
    let mut source = SourceSegmentBuilder::new();
    for (index, unit) in units.iter().enumerate() {
        let (head, tail) = unit.data.split_at(unit.data.len() / 2);
        source.pes(90_000 + 3000 * index as u64, head);
        source.pes_without_time(tail);
    }
    let segment = SourceSegment::parse(None, source.bytes.into()).unwrap();
    let video = segment.video().unwrap();
    assert!(video.units.iter().zip(&units).all(|(found, given)| found.data == given.data));
    assert_eq!(video.decode_times(), [90_000, 93_000, 96_000, 99_000]);
}

#[test]
fn lost_packets_and_an_opening_amid_a_picture_leave_a_sound_stream() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        "-f lavfi -i testsrc2=size=320x180:rate=25 -f lavfi -i sine -t 3 -pix_fmt yuv420p -c:v libx264 -g 25 \
         -b:v 2M -c:a aac -pcr_period 20 clip.ts",
    );
    let clean = std::fs::read(directory.path().join("clip.ts")).unwrap();
    let pid = video_pid(directory.path(), "clip.ts");
    let is_video = |packet: &[u8]| u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) == pid;
    let (mut damaged, mut video_packets) = (Vec::new(), 0);
    for packet in clean.chunks_exact(188) {
        video_packets += u32::from(is_video(packet));
        // the first picture loses its begin, and every 29th packet is lost
        if is_video(packet) && (video_packets <= 5 || video_packets % 29 == 0) {
            continue;
        }
        damaged.extend_from_slice(packet);
    }
    let segment = SourceSegment::parse(None, damaged.clone().into()).unwrap();
    let count = segment.video().unwrap().units.len();
    assert!((60..75).contains(&count), "{count} of 75 pictures have a begin");
    let units = encode(directory.path(), None, 640, 360, count);
    let spliced = segment.splice(&units).unwrap();
    assert_eq!(
        transport_facts(&damaged, pid),
        transport_facts(&spliced, pid),
        "packets, clocks, last counter"
    );
    assert_counters_run_on(&spliced, pid);
    std::fs::write(directory.path().join("spliced.ts"), &spliced).unwrap();
    assert_decodes_silently(directory.path(), "spliced.ts");
}

#[test]
fn stray_bytes_before_between_and_after_packets_are_survived() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        "-f lavfi -i testsrc2=size=160x90:rate=25 -f lavfi -i sine -t 1 -pix_fmt yuv420p \
         -c:v libx264 -c:a aac clip.ts",
    );
    let clean = std::fs::read(directory.path().join("clip.ts")).unwrap();
    let count = SourceSegment::parse(None, clean.clone().into()).unwrap().video().unwrap().units.len();
    let middle = clean.len() / 188 / 2 * 188;
    let stray =
        [&b"HTTP chunk\r\n"[..], &clean[..middle], b"stray", &clean[middle..], &clean[..100]].concat();
    let segment = SourceSegment::parse(None, stray.into()).unwrap();
    assert_eq!(segment.video().unwrap().units.len(), count);
    let units = encode(directory.path(), None, 320, 180, count);
    let spliced = segment.splice(&units).unwrap();
    assert!(spliced.starts_with(b"HTTP chunk\r\nG"));
    assert!(spliced.ends_with(&clean[..100]));
    std::fs::write(directory.path().join("spliced.ts"), &spliced).unwrap();
    assert_decodes_silently(directory.path(), "spliced.ts");
}

#[test]
fn the_number_of_pictures_must_be_the_sources() {
    let directory = TempDir::new().unwrap();
    let units = encode(directory.path(), None, 160, 90, 3);
    let mut source = SourceSegmentBuilder::new();
    for unit in &units[..2] {
        source.pes(0, &unit.data);
    }
    let segment = SourceSegment::parse(None, source.bytes.into()).unwrap();
    assert_eq!(segment.splice(&units), Err(ContainerError::UnitCount { source_units: 2, given: 3 }));
}

#[test]
fn profile_and_level_in_the_program_map_become_the_encoders() {
    let directory = TempDir::new().unwrap();
    let units = encode(directory.path(), None, 160, 90, 2);
    let descriptor = [0x28, 4, 66, 0xc0, 10, 0x3f];
    let mut source = SourceSegmentBuilder::with_descriptor(&descriptor);
    for unit in &units {
        source.pes(0, &unit.data);
    }
    let segment = SourceSegment::parse(None, source.bytes.into()).unwrap();
    let spliced = segment.splice(&units).unwrap();
    let sps = segment.video().unwrap().sps().unwrap();
    let fixed = [0x28, 4, sps.profile_idc, sps.constraint_flags, sps.level_idc, 0x3f];
    let map = &spliced[188..376];
    assert!(map.windows(6).any(|window| window == fixed), "{map:02x?}");
    let length = usize::from(u16::from_be_bytes([map[6], map[7]]) & 0xfff) + 3;
    assert_eq!(crc32(&map[5..5 + length]), 0, "the checksum holds");
}

#[test]
fn scrambled_and_sample_aes_video_is_recognised_and_refused() {
    let directory = TempDir::new().unwrap();
    let units = encode(directory.path(), None, 160, 90, 1);
    let mut source = SourceSegmentBuilder::new();
    source.pes(0, &units[0].data);
    let mut scrambled = source.bytes.clone();
    // Behind the two tables; one damaged packet among many is no scrambling (see `is_scrambled`).
    for packet in scrambled.chunks_mut(188).skip(2) {
        packet[3] |= 0x80;
    }
    let mut sample_aes = source.bytes.clone();
    let at = sample_aes[188..376].iter().position(|byte| *byte == 0x1b).unwrap();
    sample_aes[188 + at] = 0xdb;
    for bytes in [scrambled, sample_aes] {
        let segment = SourceSegment::parse(None, bytes.into()).unwrap();
        assert!(segment.video().unwrap().encrypted);
        assert_eq!(segment.splice(&units), Err(ContainerError::Encrypted));
    }
}

#[test]
fn other_codecs_are_named_and_refused() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        "-f lavfi -i testsrc2=size=160x90:rate=25 -t 1 -pix_fmt yuv420p -c:v mpeg2video clip.ts",
    );
    let bytes = std::fs::read(directory.path().join("clip.ts")).unwrap();
    let segment = SourceSegment::parse(None, bytes.into()).unwrap();
    assert_eq!(segment.video().unwrap().codec, VideoCodec::Mpeg2);
    assert_eq!(segment.splice(&[]), Err(ContainerError::NotH264));
}

#[test]
fn audio_is_described() {
    let directory = TempDir::new().unwrap();
    for (codec, named) in [
        ("aac", "mp4a.40.2"),
        ("ac3", "ac-3"),
        ("eac3", "ec-3"),
        ("libmp3lame", "mp4a.40.34"),
        ("mp2", "mp4a.40.33"),
    ] {
        ffmpeg(directory.path(), &format!("-f lavfi -i sine=r=48000 -t 1 -c:a {codec} audio.ts"));
        let bytes = std::fs::read(directory.path().join("audio.ts")).unwrap();
        let segment = SourceSegment::parse(None, bytes.into()).unwrap();
        assert!(segment.video().is_none() && segment.other().has_audio, "{codec}");
        assert_eq!(segment.other().audio_codecs, [named]);
        assert_eq!(segment.splice(&[]), Err(ContainerError::NoVideo));
    }
}

#[test]
fn real_segments_with_sound() {
    for name in [
        "ocean/360p/seg_000.ts",
        "ocean/360p/seg_007.ts",
        "ocean/360p/seg_020.ts",
        "bipbop/bipbop1/fileSequence0.ts",
        "bipbop/bipbop4/fileSequence3.ts",
        "segments/bc0.ts",
        "segments/bipbop0.ts",
        "segments/bipbop1.ts",
        "segments/oneSecond.ts",
    ] {
        let Some(path) = shared_media(&format!("hls/{name}")) else { continue };
        eprintln!("{name}");
        let directory = TempDir::new().unwrap();
        splice_and_check(directory.path(), &path, Some(&path));
    }
}

#[test]
fn real_segments_of_odd_kinds() {
    for name in [
        "muxed.ts",
        "video.ts",
        "videoLargeOffset.ts",
        "videoLargeOffset2.ts",
        "videoMaxOffset.ts",
        "videoMinOffset.ts",
        "videoOneSecond.ts",
        "videoOneSecond4.ts",
        "videoDiffPtsDts.ts",
        "caption.ts",
        "id3.ts",
    ] {
        let Some(path) = shared_media(&format!("hls/segments/{name}")) else { continue };
        eprintln!("{name}");
        let directory = TempDir::new().unwrap();
        splice_and_check(directory.path(), &path, None);
    }
}

#[test]
fn a_real_segment_that_announces_video_and_has_none_stays_as_it_is() {
    let Some(path) = shared_media("hls/segments/zeroLength.ts") else { return };
    let bytes = Bytes::from(std::fs::read(path).unwrap());
    let segment = SourceSegment::parse(None, bytes.clone()).unwrap();
    assert!(segment.video().unwrap().units.is_empty());
    assert_eq!(segment.splice(&[]).unwrap(), bytes);
}

/// A transport stream of one program with one H.264 stream, written by hand.
struct SourceSegmentBuilder {
    bytes: Vec<u8>,
    counter: u8,
}

impl SourceSegmentBuilder {
    const VIDEO: u16 = 0x100;

    fn new() -> Self {
        Self::with_descriptor(&[])
    }

    fn with_descriptor(descriptor: &[u8]) -> Self {
        let mut bytes = table(0, &[0x00, 0, 0, 0, 1, 0xc1, 0, 0, 0, 1, 0xe0 | 0x10, 0]);
        let mut map =
            vec![0x02, 0, 0, 0, 1, 0xc1, 0, 0, 0xe1, 0, 0xf0, 0, 0x1b, 0xe1, 0, 0xf0, descriptor.len() as u8];
        map.extend_from_slice(descriptor);
        bytes.extend(table(0x1000, &map));
        Self { bytes, counter: 0 }
    }

    fn pes(&mut self, pts: u64, data: &[u8]) {
        let time = [
            0x21 | (pts >> 29) as u8 & 0x0e,
            (pts >> 22) as u8,
            (pts >> 14) as u8 | 1,
            (pts >> 7) as u8,
            (pts << 1) as u8 | 1,
        ];
        self.packets(&[&[0, 0, 1, 0xe0, 0, 0, 0x80, 0x80, 5][..], &time, data].concat());
    }

    fn pes_without_time(&mut self, data: &[u8]) {
        self.packets(&[&[0, 0, 1, 0xe0, 0, 0, 0x80, 0, 0][..], data].concat());
    }

    fn packets(&mut self, payload: &[u8]) {
        for (index, part) in payload.chunks(184).enumerate() {
            let start = if index == 0 { 0x40 } else { 0 };
            let stuffing = 184 - part.len();
            let control = if stuffing > 0 { 0x30 } else { 0x10 };
            self.bytes.extend([
                0x47,
                start | (Self::VIDEO >> 8) as u8,
                Self::VIDEO as u8,
                control | self.counter,
            ]);
            if stuffing > 0 {
                self.bytes.push(stuffing as u8 - 1);
                self.bytes.extend([0u8].iter().take(stuffing - 1));
                self.bytes.extend(std::iter::repeat_n(0xff, stuffing.saturating_sub(2)));
            }
            self.bytes.extend_from_slice(part);
            self.counter = (self.counter + 1) & 0x0f;
        }
    }
}

/// A packet with one table: length and checksum are put in.
fn table(pid: u16, section: &[u8]) -> Vec<u8> {
    let mut section = section.to_vec();
    let length = (section.len() - 3 + 4) as u16 | 0xb000;
    section[1..3].copy_from_slice(&length.to_be_bytes());
    let crc = crc32(&section);
    section.extend(crc.to_be_bytes());
    let mut packet = vec![0x47, 0x40 | (pid >> 8) as u8, pid as u8, 0x10, 0];
    packet.extend(section);
    packet.resize(188, 0xff);
    packet
}

fn crc32(bytes: &[u8]) -> u32 {
    let mut crc = u32::MAX;
    for bit in bytes.iter().flat_map(|byte| (0..8).rev().map(move |shift| byte >> shift & 1)) {
        let carry = crc >> 31 != u32::from(bit);
        crc <<= 1;
        if carry {
            crc ^= 0x04c1_1db7;
        }
    }
    crc
}
