//! Fragmented MP4.

use std::path::Path;

use acuity_enhancer::container::{
    ContainerError, ContainerKind, EncodedUnit, Framing, SourceSegment, VideoCodec, rewrite_init,
};
use acuity_enhancer::h264::{length_prefixed_nals, nal, nal_type};
use bytes::Bytes;
use tempfile::TempDir;

use crate::tools::{
    assert_decodes_silently, assert_same_but_for_pictures, assert_same_from_zero, encode, encode_at, ffmpeg,
    parameter_sets, shared_media,
};

/// Splices pictures of twice the size into a segment behind its rewritten init segment and checks everything
/// that can be checked. Gives the spliced segment.
fn splice_and_check(directory: &Path, init: &[u8], segment: &[u8]) -> Bytes {
    std::fs::write(directory.join("source.mp4"), [init, segment].concat()).unwrap();
    let parsed = SourceSegment::parse(Some(init), Bytes::copy_from_slice(segment)).unwrap();
    assert_eq!(parsed.kind(), ContainerKind::Fmp4);
    let video = parsed.video().expect("video");
    assert_eq!((video.codec, video.encrypted), (VideoCodec::H264, false));
    let sps = video.sps().expect("a sequence parameter set");
    let (width, height) = (sps.width * 2, sps.height * 2);
    let decode_times = video.decode_times();
    let rate =
        format!("{}/{}", video.timescale, decode_times.get(1).map_or(1, |second| second - decode_times[0]));
    let units = encode_at(directory, None, width, height, video.units.len(), &rate);
    let (sps, pps) = parameter_sets(&units);
    let new_init = rewrite_init(init, width, height, &sps, &pps).unwrap();
    let spliced = parsed.splice(&units).unwrap();
    std::fs::write(directory.join("spliced.mp4"), [&new_init[..], &spliced[..]].concat()).unwrap();

    if video.units.iter().any(|unit| unit.pts < unit.dts) {
        assert_same_from_zero(directory, "source.mp4", "spliced.mp4", width);
    } else {
        assert_same_but_for_pictures(directory, "source.mp4", "spliced.mp4", width);
    }
    assert_decodes_silently(directory, "spliced.mp4");
    assert_eq!(boxes(segment), boxes(&spliced), "the same boxes in the same order");

    let again = SourceSegment::parse(Some(&new_init), spliced.clone()).unwrap();
    let found = again.video().unwrap();
    assert_eq!(found.framing, Framing::LengthPrefixed(4));
    assert_eq!(found.presentation_times(), video.presentation_times());
    assert_eq!(found.decode_times(), video.decode_times());
    assert_eq!(again.other().audio_codecs, parsed.other().audio_codecs);
    assert!(found.units[0].random_access);
    spliced
}

/// Types of the boxes of a file, two levels of fragments included; what describes old samples left out.
fn boxes(data: &[u8]) -> Vec<String> {
    let mut found = Vec::new();
    let mut at = 0;
    while at + 8 <= data.len() {
        let size = u32::from_be_bytes(data[at..at + 4].try_into().unwrap()) as usize;
        let kind = String::from_utf8_lossy(&data[at + 4..at + 8]).into_owned();
        assert!(size >= 8 && at + size <= data.len(), "{kind} of {size} bytes at {at} of {}", data.len());
        if matches!(kind.as_str(), "moof" | "traf") {
            found.extend(boxes(&data[at + 8..at + size]).into_iter().map(|inner| format!("{kind}/{inner}")));
        }
        if !matches!(kind.as_str(), "sdtp" | "subs" | "sbgp" | "sgpd" | "mfra") {
            found.push(kind);
        }
        at += size;
    }
    found
}

/// A source with B-frames and sound, and how FFmpeg is to encode it.
const SOURCE: &str = "-f lavfi -i testsrc2=size=320x180:rate=30 -f lavfi -i sine=440:r=48000 -t 4 \
    -pix_fmt yuv420p \
    -c:v libx264 -bf 3 -g 30 -sc_threshold 0 -c:a aac";

/// A fragmented file, cut into init segment and the rest at the first `moof`, `styp` or `sidx`.
fn cut(file: &[u8]) -> (&[u8], &[u8]) {
    let mut at = 0;
    loop {
        let size = u32::from_be_bytes(file[at..at + 4].try_into().unwrap()) as usize;
        if matches!(&file[at + 4..at + 8], b"moof" | b"styp" | b"sidx") {
            return file.split_at(at);
        }
        at += size;
    }
}

#[test]
fn segments_of_a_generated_playlist_with_muxed_sound() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        &format!(
            "{SOURCE} -f hls -hls_time 2 -hls_list_size 0 -hls_segment_type fmp4 \
             -hls_segment_filename seg%d.m4s out.m3u8"
        ),
    );
    let read = |name: &str| std::fs::read(directory.path().join(name)).unwrap();
    let init = read("init.mp4");
    let mut whole = Vec::new();
    for index in 0..2 {
        let spliced = splice_and_check(directory.path(), &init, &read(&format!("seg{index}.m4s")));
        whole.extend_from_slice(&spliced);
    }
    // one init segment serves all
    let units = encode(directory.path(), None, 640, 360, 1);
    let (sps, pps) = parameter_sets(&units);
    let new_init = rewrite_init(&init, 640, 360, &sps, &pps).unwrap();
    std::fs::write(directory.path().join("whole.mp4"), [&new_init[..], &whole].concat()).unwrap();
    assert_decodes_silently(directory.path(), "whole.mp4");
}

#[test]
fn every_way_of_addressing_samples() {
    let directory = TempDir::new().unwrap();
    for flags in [
        "frag_keyframe+empty_moov+default_base_moof",
        "frag_keyframe+empty_moov", // absolute offsets, of a file that has been cut
        "frag_keyframe+empty_moov+omit_tfhd_offset",
        "frag_keyframe+empty_moov+default_base_moof+separate_moof",
        "frag_keyframe+empty_moov+omit_tfhd_offset+separate_moof",
        "frag_keyframe+empty_moov+default_base_moof+negative_cts_offsets",
        "frag_keyframe+empty_moov+default_base_moof+dash+global_sidx",
        "frag_keyframe+empty_moov+dash",
        "frag_keyframe+empty_moov+cmaf",
        "frag_every_frame+empty_moov+default_base_moof",
        "frag_keyframe+empty_moov+delay_moov+default_base_moof+prefer_icc",
    ] {
        eprintln!("{flags}");
        ffmpeg(directory.path(), &format!("{SOURCE} -movflags {flags} clip.mp4"));
        let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
        let (init, segment) = cut(&file);
        splice_and_check(directory.path(), init, segment);
    }
}

#[test]
fn a_segment_that_brings_its_own_movie_box() {
    let directory = TempDir::new().unwrap();
    for flags in ["frag_keyframe+empty_moov", "frag_keyframe+empty_moov+default_base_moof"] {
        ffmpeg(directory.path(), &format!("{SOURCE} -movflags {flags} clip.mp4"));
        let file = Bytes::from(std::fs::read(directory.path().join("clip.mp4")).unwrap());
        let segment = SourceSegment::parse(None, file).unwrap();
        let units = encode(directory.path(), None, 640, 360, segment.video().unwrap().units.len());
        std::fs::write(directory.path().join("spliced.mp4"), segment.splice(&units).unwrap()).unwrap();
        assert_same_but_for_pictures(directory.path(), "clip.mp4", "spliced.mp4", 640);
        assert_decodes_silently(directory.path(), "spliced.mp4");
    }
}

#[test]
fn video_and_sound_in_files_of_their_own() {
    let directory = TempDir::new().unwrap();
    ffmpeg(directory.path(), &format!("{SOURCE} -an -movflags cmaf+frag_keyframe+empty_moov video.mp4"));
    ffmpeg(
        directory.path(),
        &format!("{SOURCE} -vn -movflags cmaf+empty_moov -frag_duration 1000000 audio.mp4"),
    );
    let video = std::fs::read(directory.path().join("video.mp4")).unwrap();
    let (init, segment) = cut(&video);
    splice_and_check(directory.path(), init, segment);

    let audio = std::fs::read(directory.path().join("audio.mp4")).unwrap();
    let (init, segment) = cut(&audio);
    let parsed = SourceSegment::parse(Some(init), Bytes::copy_from_slice(segment)).unwrap();
    assert!(parsed.video().is_none());
    assert_eq!(
        (parsed.other().has_audio, parsed.other().audio_codecs.as_slice()),
        (true, &["mp4a.40.2".to_owned()][..])
    );
    assert_eq!(parsed.splice(&[]), Err(ContainerError::NoVideo));
    assert_eq!(rewrite_init(init, 2, 2, &[0x67], &[0x68]), Err(ContainerError::NoVideo));
}

#[test]
fn indexes_events_and_unknown_boxes_survive() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        &format!("{SOURCE} -movflags frag_keyframe+empty_moov+default_base_moof clip.mp4"),
    );
    let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
    let (init, rest) = cut(&file);
    // one reference from the begin of the fragments to their end, and boxes that nobody knows, 64-bit sizes
    // among them
    let fragments_end = rest.windows(4).position(|kind| kind == b"mfra").unwrap() - 4;
    let fragments = &rest[..fragments_end];
    let mut index = b"\0\0\0\x2csidx\0\0\0\0\0\0\0\x01\0\0\x75\x30\0\0\0\0\0\0\0\0\0\0\0\x01".to_vec();
    index.extend((fragments.len() as u32).to_be_bytes());
    index.extend(b"\0\0\0\0\x90\0\0\0");
    let event = b"\0\0\0\x14emsg ad marker\0\0".to_vec();
    let wide = b"\0\0\0\x01wxyz\0\0\0\0\0\0\0\x12ok".to_vec();
    let segment = [&event[..], &index, fragments, &wide].concat();
    let parsed = SourceSegment::parse(Some(init), segment.into()).unwrap();
    let units = encode(directory.path(), None, 640, 360, parsed.video().unwrap().units.len());
    let spliced = parsed.splice(&units).unwrap();

    assert!(spliced.starts_with(&event) && spliced.ends_with(&wide));
    let referenced =
        u32::from_be_bytes(spliced[event.len() + 32..event.len() + 36].try_into().unwrap()) as usize;
    assert_eq!(event.len() + index.len() + referenced + wide.len(), spliced.len());
}

#[test]
fn init_segments_differ_only_in_what_describes_the_picture() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        // non-square samples: 320x180 shown as 427x180
        &format!(
            "{SOURCE} -vf setsar=4/3 -metadata title=kept \
             -movflags frag_keyframe+delay_moov+default_base_moof clip.mp4"
        ),
    );
    let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
    let (init, _) = cut(&file);
    let units = encode(directory.path(), None, 640, 360, 1);
    let (sps, pps) = parameter_sets(&units);
    let new_init = rewrite_init(init, 640, 360, &sps, &pps).unwrap();
    std::fs::write(directory.path().join("init.mp4"), &new_init).unwrap();

    let shape = |data: &[u8]| {
        let at = data.windows(4).position(|kind| kind == b"tkhd").unwrap() + 4 + 76;
        let word = |at: usize| f64::from(u32::from_be_bytes(data[at..at + 4].try_into().unwrap())) / 65_536.0;
        (word(at), word(at + 4))
    };
    let ((old_width, old_height), (width, height)) = (shape(init), shape(&new_init));
    assert!((old_width - 426.67).abs() < 0.5 && old_height == 180.0, "the source's shape");
    assert!((width - 2.0 * old_width).abs() < 0.01 && height == 360.0, "{width}x{height}");

    let avcc = new_init.windows(4).position(|kind| kind == b"avcC").unwrap() + 4;
    assert_eq!(new_init[avcc..avcc + 6], [1, sps[1], sps[2], sps[3], 0xff, 0xe1]);
    assert_eq!(new_init[avcc + 8..avcc + 8 + sps.len()], sps);
    let after_sets = avcc + 8 + sps.len() + 3 + pps.len();
    assert_eq!(new_init[after_sets..after_sets + 4], [0xfd, 0xf8, 0xf8, 0], "4:2:0, 8 bits, no extension");
    for kept in [&b"pasp\0\0\0\x04\0\0\0\x03"[..], b"kept", b"elst", b"esds", b"trex"] {
        assert!(
            new_init.windows(kept.len()).any(|window| window == kept),
            "{}",
            String::from_utf8_lossy(kept)
        );
    }
    assert!(!new_init.windows(4).any(|kind| kind == b"btrt") || has_audio_btrt(&new_init));

    // the same parameter sets once more change nothing
    assert_eq!(rewrite_init(&new_init, 640, 360, &sps, &pps).unwrap(), new_init);
}

/// The audio entry may keep its own.
fn has_audio_btrt(init: &[u8]) -> bool {
    let positions: Vec<usize> =
        init.windows(4).enumerate().filter(|(_, kind)| *kind == b"btrt").map(|(at, _)| at).collect();
    let audio = init.windows(4).position(|kind| kind == b"mp4a").unwrap();
    positions.iter().all(|at| *at > audio)
}

#[test]
fn parameter_sets_stay_in_the_samples_of_avc3_alone() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        &format!("{SOURCE} -an -movflags frag_keyframe+empty_moov+default_base_moof clip.mp4"),
    );
    let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
    let (init, segment) = cut(&file);
    let mut avc3 = init.to_vec();
    let entry = avc3.windows(4).position(|kind| kind == b"avc1").expect("an entry");
    let last = avc3.windows(4).rposition(|kind| kind == b"avc1").unwrap_or(entry); // the first is a brand
    avc3[last..last + 4].copy_from_slice(b"avc3");
    for (init, in_band) in [(init, false), (&avc3[..], true)] {
        let parsed = SourceSegment::parse(Some(init), Bytes::copy_from_slice(segment)).unwrap();
        let units = encode(directory.path(), None, 640, 360, parsed.video().unwrap().units.len());
        let (sps, pps) = parameter_sets(&units);
        let spliced = parsed.splice(&units).unwrap();
        let new_init = rewrite_init(init, 640, 360, &sps, &pps).unwrap();
        let again = SourceSegment::parse(Some(&new_init), spliced).unwrap();
        let first = &again.video().unwrap().units[0].data;
        let kinds: Vec<u8> = length_prefixed_nals(first, 4).map(nal_type).collect();
        assert_eq!(kinds.contains(&nal::SPS), in_band, "{kinds:?}");
        assert!(!kinds.contains(&nal::AUD), "{kinds:?}");
    }
}

#[test]
fn two_byte_lengths_are_read() {
    let directory = TempDir::new().unwrap();
    let units = encode(directory.path(), None, 160, 90, 1);
    ffmpeg(
        directory.path(),
        &format!("{SOURCE} -an -movflags frag_keyframe+empty_moov+default_base_moof clip.mp4"),
    );
    let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
    let (init, _) = cut(&file);
    let mut init = init.to_vec();
    let avcc = init.windows(4).position(|kind| kind == b"avcC").unwrap();
    init[avcc + 8] = 0xfd;
    let payload = [0, 2, 0x65, 0x88];
    let segment = one_sample_fragment(&payload);
    let parsed = SourceSegment::parse(Some(&init), segment.into()).unwrap();
    let video = parsed.video().unwrap();
    assert_eq!(video.framing, Framing::LengthPrefixed(2));
    assert!(video.units[0].random_access);
    let spliced = parsed.splice(&units).unwrap();
    assert!(spliced.len() > units[0].data.len());
}

/// A fragment of track 1 whose only sample is `payload`.
fn one_sample_fragment(payload: &[u8]) -> Vec<u8> {
    let boxed =
        |kind: &[u8; 4], body: &[u8]| [&((body.len() + 8) as u32).to_be_bytes()[..], kind, body].concat();
    let tfhd = boxed(b"tfhd", b"\0\x02\0\0\0\0\0\x01");
    let tfdt = boxed(b"tfdt", b"\0\0\0\0\0\0\0\x64");
    let moof_bytes = 8 + 8 + tfhd.len() + tfdt.len() + 28;
    let mut trun = b"\0\0\x03\x01\0\0\0\x01".to_vec();
    trun.extend((moof_bytes as u32 + 8).to_be_bytes());
    trun.extend(512u32.to_be_bytes());
    trun.extend((payload.len() as u32).to_be_bytes());
    let moof = boxed(b"moof", &boxed(b"traf", &[tfhd, tfdt, boxed(b"trun", &trun)].concat()));
    assert_eq!(moof.len(), moof_bytes);
    [moof, boxed(b"mdat", payload)].concat()
}

#[test]
fn encrypted_tracks_are_recognised_and_refused() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        &format!(
            "{SOURCE} -movflags frag_keyframe+empty_moov+default_base_moof -encryption_scheme cenc-aes-ctr \
             -encryption_key 00112233445566778899aabbccddeeff \
             -encryption_kid 00112233445566778899aabbccddeeff clip.mp4"
        ),
    );
    let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
    let (init, segment) = cut(&file);
    let parsed = SourceSegment::parse(Some(init), Bytes::copy_from_slice(segment)).unwrap();
    let video = parsed.video().unwrap();
    assert!(video.encrypted && parsed.other().encrypted && video.units.is_empty());
    assert_eq!(parsed.splice(&[]), Err(ContainerError::Encrypted));
    assert_eq!(rewrite_init(init, 640, 360, &[0x67], &[0x68]), Err(ContainerError::Encrypted));
}

#[test]
fn a_fragment_cut_in_the_video_keeps_its_count_and_times() {
    let directory = TempDir::new().unwrap();
    ffmpeg(
        directory.path(),
        &format!("{SOURCE} -an -movflags frag_keyframe+empty_moov+default_base_moof clip.mp4"),
    );
    let file = std::fs::read(directory.path().join("clip.mp4")).unwrap();
    let (init, segment) = cut(&file);
    let fragment_bytes = segment.windows(4).skip(8).position(|kind| kind == b"moof").unwrap() + 4;
    let whole = &segment[..fragment_bytes];
    let cut_short = &whole[..whole.len() / 2];
    let parsed = SourceSegment::parse(Some(init), Bytes::copy_from_slice(cut_short)).unwrap();
    let complete = SourceSegment::parse(Some(init), Bytes::copy_from_slice(whole)).unwrap();
    let (video, expected) = (parsed.video().unwrap(), complete.video().unwrap());
    assert_eq!(video.presentation_times(), expected.presentation_times());
    assert!(video.units.last().unwrap().data.is_empty());
    let units = encode(directory.path(), None, 640, 360, video.units.len());
    let (sps, pps) = parameter_sets(&units);
    let new_init = rewrite_init(init, 640, 360, &sps, &pps).unwrap();
    std::fs::write(
        directory.path().join("spliced.mp4"),
        [&new_init[..], &parsed.splice(&units).unwrap()].concat(),
    )
    .unwrap();
    assert_decodes_silently(directory.path(), "spliced.mp4");
}

#[test]
fn what_is_missing_is_said() {
    let units: [EncodedUnit; 0] = [];
    let fragment = one_sample_fragment(&[0, 0, 0, 1, 0x65]);
    assert_eq!(SourceSegment::parse(None, fragment.clone().into()).unwrap_err(), ContainerError::InitMissing);
    let empty_movie = b"\0\0\0\x08moov";
    let parsed = SourceSegment::parse(Some(empty_movie), fragment.into()).unwrap();
    assert!(parsed.video().is_none());
    assert_eq!(parsed.splice(&units), Err(ContainerError::NoVideo));
    let lone_index =
        Bytes::from_static(b"\0\0\0\x20sidx\0\0\0\0\0\0\0\x01\0\0\x3c\0\0\0\0\0\0\0\0\0\0\0\0\0");
    assert!(matches!(
        SourceSegment::parse(Some(empty_movie), lone_index),
        Err(ContainerError::Malformed { what: "no movie fragment in the segment", .. })
    ));
}

#[test]
fn real_segments() {
    for (init, segment) in [("mp4MuxedInit.mp4", "mp4Muxed.mp4"), ("mp4VideoInit.mp4", "mp4Video.mp4")] {
        let (Some(init), Some(segment)) =
            (shared_media(&format!("hls/segments/{init}")), shared_media(&format!("hls/segments/{segment}")))
        else {
            continue;
        };
        let (init, segment) = (std::fs::read(init).unwrap(), std::fs::read(segment).unwrap());
        let directory = TempDir::new().unwrap();
        // one of them brings a movie box of its own: behind another init segment only its fragments are
        // wanted
        let fragments = cut(&segment).1;
        splice_and_check(directory.path(), &init, fragments);
    }
}
