//! Sequence parameter sets as encoders write them, read next to the `h264-reader` crate.

use std::path::Path;

use acuity_enhancer::container::SourceSegment;
use acuity_enhancer::h264::{SpsError, SpsFacts, annex_b_nals, nal, nal_type};
use h264_reader::nal::sps::SeqParameterSet;
use h264_reader::rbsp::{BitReader, decode_nal};
use tempfile::TempDir;

use crate::tools::{ffmpeg, shared_media};

/// The SPS of a second of test picture encoded with these options.
fn encoded_sps(directory: &Path, options: &str) -> Vec<u8> {
    ffmpeg(
        directory,
        &format!(
            "-f lavfi -i testsrc2=size=322x182:rate=25 -frames:v 2 -c:v libx264 {options} -f h264 out.h264"
        ),
    );
    let stream = std::fs::read(directory.join("out.h264")).unwrap();
    annex_b_nals(&stream).find(|body| nal_type(body) == nal::SPS).expect("an SPS").to_vec()
}

/// Reads with both and compares all that both know.
fn read_twice(sps: &[u8]) -> SpsFacts {
    let facts = SpsFacts::parse(sps).unwrap();
    let payload = decode_nal(sps).unwrap();
    let other = SeqParameterSet::from_bits(BitReader::new(&*payload)).unwrap();
    assert_eq!((facts.width, facts.height), other.pixel_dimensions().unwrap());
    assert_eq!((facts.profile_idc, facts.level_idc), (u8::from(other.profile_idc), other.level_idc));
    assert_eq!(facts.constraint_flags, u8::from(other.constraint_flags));
    assert_eq!(facts.bit_depth_luma, other.chroma_info.bit_depth_luma_minus8 + 8);
    assert_eq!(facts.bit_depth_chroma, other.chroma_info.bit_depth_chroma_minus8 + 8);
    assert_eq!(facts.max_num_ref_frames, other.max_num_ref_frames);
    let vui = other.vui_parameters.unwrap_or_default();
    let timing = vui.timing_info.map(|timing| (timing.time_scale, timing.num_units_in_tick * 2));
    assert_eq!(facts.frame_rate, timing);
    assert_eq!(facts.sar, vui.aspect_ratio_info.and_then(|ratio| ratio.get()));
    assert_eq!(facts.max_num_reorder, vui.bitstream_restrictions.map(|limits| limits.max_num_reorder_frames));
    facts
}

#[test]
fn what_encoders_write_is_read_as_another_reader_does() {
    let directory = TempDir::new().unwrap();
    let plain = read_twice(&encoded_sps(directory.path(), "-pix_fmt yuv420p -bf 2"));
    assert_eq!((plain.width, plain.height, plain.chroma_format_idc), (322, 182, 1));
    assert_eq!((plain.profile_idc, plain.frame_mbs_only, plain.max_num_reorder), (100, true, Some(2)));
    assert_eq!(plain.frame_rate.map(|(number, per)| number / per), Some(25));
    assert_eq!(plain.codec_string(), format!("avc1.6400{:02x}", plain.level_idc));

    let baseline = read_twice(&encoded_sps(directory.path(), "-pix_fmt yuv420p -profile:v baseline"));
    assert_eq!((baseline.profile_idc, baseline.chroma_format_idc, baseline.bit_depth_luma), (66, 1, 8));
    let deep = read_twice(&encoded_sps(directory.path(), "-pix_fmt yuv422p10le"));
    assert_eq!((deep.chroma_format_idc, deep.bit_depth_luma, deep.bit_depth_chroma), (2, 10, 10));
    let full = read_twice(&encoded_sps(directory.path(), "-pix_fmt yuv444p"));
    assert_eq!((full.profile_idc, full.chroma_format_idc, full.width), (244, 3, 322));
    let interlaced =
        read_twice(&encoded_sps(directory.path(), "-vf scale=322:184 -pix_fmt yuv420p -flags +ildct+ilme"));
    assert_eq!((interlaced.frame_mbs_only, interlaced.height), (false, 184));
    let scaling = read_twice(&encoded_sps(directory.path(), "-pix_fmt yuv420p -x264-params cqm=jvt"));
    assert_eq!((scaling.width, scaling.height), (322, 182));
    let wide = read_twice(&encoded_sps(
        directory.path(),
        "-pix_fmt yuv420p -vf setsar=16/11 -x264-params nal-hrd=vbr -b:v 300k -maxrate 300k -bufsize 300k",
    ));
    assert_eq!((wide.sar, wide.max_num_reorder.is_some()), (Some((16, 11)), true));

    let coloured = read_twice(&encoded_sps(
        directory.path(),
        "-pix_fmt yuv420p -color_range pc -color_primaries bt709 -color_trc bt709 -colorspace smpte170m",
    ));
    let colour = coloured.colour;
    assert_eq!((colour.primaries, colour.transfer, colour.matrix, colour.full_range), (1, 1, 6, true));
    assert_eq!((plain.colour.matrix, plain.colour.full_range), (2, false));
}

#[test]
fn a_vui_that_breaks_off_keeps_the_picture_size() {
    let directory = TempDir::new().unwrap();
    let sps = encoded_sps(directory.path(), "-pix_fmt yuv420p");
    let whole = SpsFacts::parse(&sps).unwrap();
    let mut sizes_known = 0;
    for len in 0..sps.len() {
        match SpsFacts::parse(&sps[..len]) {
            Ok(cut) => {
                assert_eq!((cut.width, cut.height), (whole.width, whole.height), "{len} bytes");
                sizes_known += 1;
            }
            Err(error) => {
                assert!(matches!(error, SpsError::Truncated | SpsError::NotSps), "{len} bytes: {error}")
            }
        }
    }
    assert!(sizes_known > 5);
    assert_eq!(SpsFacts::parse(&[0x68, 1, 2]), Err(SpsError::NotSps));
}

#[test]
fn real_segments_are_what_they_are_known_to_be() {
    for (name, size, profile) in [
        ("ocean/360p/seg_000.ts", (640, 360), None),
        ("bipbop/bipbop1/fileSequence0.ts", (192, 144), Some(66)),
        ("segments/bc0.ts", (388, 300), Some(66)),
        ("segments/bipbop0.ts", (192, 144), Some(66)),
        ("segments/caption.ts", (960, 540), Some(100)),
        ("segments/oneSecond.ts", (416, 234), Some(77)),
        ("segments/videoDiffPtsDts.ts", (450, 150), Some(100)),
    ] {
        let Some(path) = shared_media(&format!("hls/{name}")) else { continue };
        let segment = SourceSegment::parse(None, std::fs::read(path).unwrap().into()).unwrap();
        let video = segment.video().unwrap();
        let facts = video.sps().unwrap();
        assert_eq!((facts.width, facts.height), size, "{name}");
        assert!(profile.is_none_or(|profile| profile == facts.profile_idc), "{name}");
        assert!(facts.frame_mbs_only && facts.chroma_format_idc == 1, "{name}");
    }
}
