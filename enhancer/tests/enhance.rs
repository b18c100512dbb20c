//! Whole segments through the enhancer: real libraries, real clips, the shipped networks.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

#[path = "enhance/again.rs"]
mod again;
#[path = "enhance/kit.rs"]
mod kit;

use std::path::Path;
use std::process::Command;
use std::sync::Arc;
use std::time::Instant;

use acuity_config::{CodecPlace, EnhancerConfig, GpuConfig};
use acuity_enhancer::container::{SourceSegment, init_carries_source};
use acuity_enhancer::{
    CancelFlag, EnhanceError, EnhanceRequest, EnhancedSegment, Enhancer, FallbackReason, MadeBy, Upscaler,
    enhanced_init, probe,
};
use acuity_models::Catalogue;
use bytes::Bytes;

use kit::{config, enhance, generic, request, segments, spec};

/// pts, dts, flags, duration, data hash of each packet, as ffprobe sees them.
fn packets(bytes: &[u8], kind: &str) -> Vec<[String; 5]> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("segment");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("ffprobe")
        .args(["-v", "error", "-select_streams", kind, "-show_packets", "-show_data_hash", "md5"])
        .args(["-show_entries", "packet=pts,dts,flags,duration,data_hash", "-of", "default=nw=1"])
        .arg(&path)
        .output()
        .unwrap();
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    let mut packets = Vec::new();
    let mut packet: [String; 5] = Default::default();
    for line in text.lines() {
        let Some((key, value)) = line.split_once('=') else { continue };
        let Some(place) =
            ["pts", "dts", "flags", "duration", "data_hash"].iter().position(|name| *name == key)
        else {
            continue;
        };
        packet[place] = value.to_owned();
        // ffprobe's last line of a packet, behind its side data.
        if key == "data_hash" {
            packets.push(std::mem::take(&mut packet));
        }
    }
    packets
}

fn column(packets: &[[String; 5]], index: usize) -> Vec<String> {
    packets.iter().map(|packet| packet[index].clone()).collect()
}

fn sorted_numbers(packets: &[[String; 5]], index: usize) -> Vec<i64> {
    let mut numbers: Vec<i64> = packets.iter().map(|packet| packet[index].parse().unwrap()).collect();
    numbers.sort_unstable();
    numbers
}

/// What every enhanced segment must keep of its source.
fn assert_same_but_larger(source: &[u8], enhanced: &[u8], size: (u32, u32)) {
    let (before, after) = (packets(source, "v"), packets(enhanced, "v"));
    assert_eq!(before.len(), after.len(), "frame count");
    assert_eq!(sorted_numbers(&before, 0), sorted_numbers(&after, 0), "presentation times");
    assert_eq!(column(&before, 1), column(&after, 1), "decode times");
    assert_eq!(column(&before, 3), column(&after, 3), "durations");
    assert!(after[0][2].starts_with('K'), "opens on an IDR picture");
    assert_eq!(packets(source, "a"), packets(enhanced, "a"), "audio packets");
    if let Ok(segment) = SourceSegment::parse(None, Bytes::copy_from_slice(enhanced)) {
        let sps = segment.video().unwrap().sps().unwrap();
        assert_eq!((sps.width, sps.height), size);
    }
}

#[test]
fn transport_stream_segments_are_doubled_and_keep_everything_else() {
    let directory = tempfile::tempdir().unwrap();
    for (index, segment) in segments(directory.path(), &[]).into_iter().enumerate() {
        let info = probe(None, segment.clone(), &config()).unwrap();
        assert_eq!((info.width, info.height, info.frame_rate_milli), (320, 180, Some(25_000)));
        let made = enhance(request(segment.clone(), spec(640, 360, generic()))).unwrap();
        assert!(matches!(made.report.made_by, MadeBy::Model { .. }), "{:?}", made.report);
        assert_eq!((made.report.decoder, made.report.encoder), ("cpu", "cpu"));
        assert_eq!((made.report.fallback, made.report.held_frames), (None, 0), "segment {index}");
        assert_same_but_larger(&segment, &made.bytes, (640, 360));
    }
}

#[test]
fn fragmented_mp4_segments_keep_their_boxes_and_share_one_init() {
    let directory = tempfile::tempdir().unwrap();
    let segments = segments(directory.path(), &["-hls_segment_type", "fmp4"]);
    let init = Bytes::from(std::fs::read(directory.path().join("init.mp4")).unwrap());
    let spec = spec(640, 360, generic());
    let new_init = enhanced_init(&init, &spec, &config()).unwrap();
    assert_eq!(new_init, enhanced_init(&init, &spec, &config()).unwrap(), "the init is deterministic");
    for segment in segments {
        let asked = EnhanceRequest { init: Some(init.clone()), ..request(segment.clone(), spec.clone()) };
        let made = enhance(asked).unwrap();
        let whole = |init: &Bytes, segment: &Bytes| [init.as_ref(), segment.as_ref()].concat();
        assert_same_but_larger(&whole(&init, &segment), &whole(&new_init, &made.bytes), (640, 360));
    }
}

/// Size and hash of each picture, as FFmpeg decodes it without a complaint.
fn pictures(bytes: &[u8]) -> Vec<String> {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("film.mp4");
    std::fs::write(&path, bytes).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-xerror", "-err_detect", "explode", "-i"])
        .arg(&path)
        .args(["-map", "0:v", "-autoscale", "0", "-fps_mode", "passthrough", "-f", "framemd5", "-"])
        .output()
        .unwrap();
    let complaints = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success() && complaints.is_empty(), "{complaints}");
    let text = String::from_utf8(output.stdout).unwrap();
    let lines = text.lines().filter(|line| !line.starts_with('#'));
    lines.map(|line| line.split(',').skip(4).collect()).collect()
}

#[test]
fn a_sources_fragments_are_read_among_enhanced_ones() {
    let directory = tempfile::tempdir().unwrap();
    for codec in [&[][..], &["-profile:v", "baseline"], &["-profile:v", "main", "-x264-params", "sps-id=7"]] {
        let segments = segments(directory.path(), &[&["-hls_segment_type", "fmp4"], codec].concat());
        let init = Bytes::from(std::fs::read(directory.path().join("init.mp4")).unwrap());
        assert!(init_carries_source(&init), "{codec:?}");
        for upscaler in [generic(), Upscaler::Bicubic] {
            let spec = spec(640, 360, upscaler);
            let new_init = enhanced_init(&init, &spec, &config()).unwrap();
            let made = |segment: &Bytes| {
                let asked =
                    EnhanceRequest { init: Some(init.clone()), ..request(segment.clone(), spec.clone()) };
                enhance(asked).unwrap().bytes
            };
            let (first, last) = (made(&segments[0]), made(&segments[2]));
            let film = [&new_init, &first, &segments[1], &last];
            let shown = pictures(&film.map(Bytes::as_ref).concat());
            let own = pictures(&[&init, &segments[1]].map(Bytes::as_ref).concat());
            let large = pictures(&[&new_init, &last].map(Bytes::as_ref).concat());
            assert_eq!(shown.len(), 3 * own.len());
            assert_eq!(shown[own.len()..2 * own.len()], own, "the source's pictures, each of them");
            assert_eq!(shown[2 * own.len()..], large);
            assert_ne!(own[0], large[0]);
            // Who joins there has seen nothing else before.
            assert_eq!(pictures(&[&new_init, &segments[1]].map(Bytes::as_ref).concat()), own);
        }
    }
}

#[test]
fn fragments_that_cannot_be_read_are_known() {
    let directory = tempfile::tempdir().unwrap();
    let init_of = |options: &[&str]| {
        segments(directory.path(), &[&["-hls_segment_type", "fmp4"], options].concat());
        std::fs::read(directory.path().join("init.mp4")).unwrap()
    };
    let taken = init_of(&["-x264-params", "sps-id=31"]);
    assert!(!init_carries_source(&taken), "its numbers are the encoder's");
    let spec = spec(640, 360, Upscaler::Bicubic);
    let made = enhanced_init(&taken, &spec, &config()).unwrap();
    assert_eq!(count(&made, b"avcC").1, 1, "and left out");

    let plain = init_of(&[]);
    let (at, _) = count(&plain, b"avcC");
    let mut short = plain.clone();
    short[at + 8] = 0xfd;
    assert!(!init_carries_source(&short), "lengths of two bytes");
    let made = enhanced_init(&plain, &spec, &config()).unwrap();
    assert_eq!(count(&made, b"avcC").1, 2);

    let mut none = plain.clone();
    none[at + 9] = 0xe0;
    assert!(!init_carries_source(&none), "no parameter sets");
    let last = none.windows(4).rposition(|kind| kind == b"avc1").unwrap();
    none[last..last + 4].copy_from_slice(b"avc3");
    assert!(init_carries_source(&none), "they are in the samples");

    let two = with_another_entry(&plain);
    assert!(init_carries_source(&two), "two of a kind");
    let mut other = two.clone();
    let (_, entries) = (0, other.windows(4).filter(|kind| *kind == b"avcC").count());
    assert_eq!(entries, 2);
    let last = other.windows(4).rposition(|kind| kind == b"avcC").unwrap();
    other[last + 8] = 0xfd;
    assert!(!init_carries_source(&other), "each counts");
    assert!(!init_carries_source(b"") && !init_carries_source(&plain[..plain.len() / 2]));
}

/// Where the first box of a decoder's configuration has its type, and how many sequence parameter sets it counts.
fn count(init: &[u8], kind: &[u8]) -> (usize, u8) {
    let at = init.windows(4).position(|found| found == kind).unwrap();
    (at, init[at + 9] & 31)
}

/// With the video's sample entry twice.
fn with_another_entry(init: &[u8]) -> Vec<u8> {
    let stsd = init.windows(4).position(|kind| kind == b"stsd").unwrap();
    let entry_at = stsd + 12;
    let size = |at: usize| u32::from_be_bytes(init[at..at + 4].try_into().unwrap());
    let entry = &init[entry_at..entry_at + size(entry_at) as usize];
    let mut more = init.to_vec();
    more[stsd + 8..stsd + 12].copy_from_slice(&2u32.to_be_bytes());
    for kind in [b"moov", b"trak", b"mdia", b"minf", b"stbl", b"stsd"] {
        let at = init.windows(4).position(|found| found == kind).unwrap() - 4;
        more[at..at + 4].copy_from_slice(&(size(at) + entry.len() as u32).to_be_bytes());
    }
    more.splice(entry_at..entry_at, entry.to_vec());
    more
}

#[test]
fn the_plain_baseline_uses_no_network() {
    let directory = tempfile::tempdir().unwrap();
    let segment = segments(directory.path(), &[]).remove(0);
    let made = enhance(request(segment.clone(), spec(640, 360, Upscaler::Bicubic))).unwrap();
    assert_eq!((&made.report.made_by, made.report.fallback), (&MadeBy::Plain, None));
    assert_same_but_larger(&segment, &made.bytes, (640, 360));
}

#[test]
fn all_rungs_of_the_ladder_write_the_same_parameter_sets() {
    let directory = tempfile::tempdir().unwrap();
    let all = segments(directory.path(), &[]);
    let sets_of = |made: EnhancedSegment| {
        let segment = SourceSegment::parse(None, made.bytes).unwrap();
        let sets = &segment.video().unwrap().parameter_sets;
        (sets.sps.clone(), sets.pps.clone())
    };
    let by_model = sets_of(enhance(request(all[0].clone(), spec(640, 360, generic()))).unwrap());
    let plain = sets_of(enhance(request(all[1].clone(), spec(640, 360, Upscaler::Bicubic))).unwrap());
    assert_eq!(by_model, plain);

    let gone = Upscaler::Model { cluster: "generic".into(), digest: "00000000".into() };
    let made = enhance(request(all[2].clone(), spec(640, 360, gone))).unwrap();
    let expected = (&MadeBy::Plain, Some(FallbackReason::ModelMissing));
    assert_eq!((&made.report.made_by, made.report.fallback), expected);
    assert_eq!(sets_of(made), by_model);

    let asked = request(all[0].clone(), spec(640, 360, generic()));
    let made = enhance(EnhanceRequest { deadline: Some(Instant::now()), ..asked }).unwrap();
    let expected = (&MadeBy::Plain, Some(FallbackReason::DeadlineShort));
    assert_eq!((&made.report.made_by, made.report.fallback), expected);
    assert_eq!(sets_of(made), by_model);
}

#[test]
fn another_size_inside_the_rendition_is_scaled_to_fit() {
    let directory = tempfile::tempdir().unwrap();
    let segment = segments(directory.path(), &["-vf", "scale=256:144"]).remove(0);
    let made = enhance(request(segment.clone(), spec(640, 360, generic()))).unwrap();
    assert_eq!(made.report.fallback, Some(FallbackReason::SizeChanged));
    assert_same_but_larger(&segment, &made.bytes, (640, 360));
}

#[test]
fn a_segment_in_the_middle_of_a_gop_asks_for_its_lead_in() {
    let directory = tempfile::tempdir().unwrap();
    // One IDR picture at the start of the film only; segments are cut by time.
    let all =
        segments(directory.path(), &["-g", "1000", "-hls_flags", "split_by_time", "-sc_threshold", "0"]);
    assert!(all.len() > 1, "cut by time");
    let asked = request(all[1].clone(), spec(640, 360, generic()));
    assert!(matches!(enhance(asked.clone()), Err(EnhanceError::OpensMidGop)));

    let led = enhance(EnhanceRequest { lead_in: vec![all[0].clone()], ..asked.clone() }).unwrap();
    assert_eq!(led.report.held_frames, 0, "everything the segment refers to was there");

    let held = enhance(EnhanceRequest { lead_in: vec![Bytes::new()], ..asked }).unwrap();
    assert!(held.report.held_frames > 0, "{:?}", held.report);
    assert_eq!(held.report.frames, led.report.frames);
}

#[test]
fn damage_is_concealed_or_held_and_time_is_kept() {
    let directory = tempfile::tempdir().unwrap();
    let segment = segments(directory.path(), &[]).remove(0);
    let mut broken = segment.to_vec();
    // Every 40th packet from the tenth on is overwritten.
    for packet in broken.chunks_mut(188).skip(10).step_by(40) {
        packet[4..].fill(0x55);
        // The two bits that say "scrambled" are damaged as well; that must not make it DRM.
        packet[3] |= 0x80;
    }
    let made = enhance(request(broken, spec(640, 360, generic()))).unwrap();
    assert!(made.report.frames >= 40, "{:?}", made.report);
    let cut = segment.slice(..segment.len() * 2 / 3);
    let made = enhance(request(cut, spec(640, 360, generic()))).unwrap();
    assert!(made.report.frames > 10, "{:?}", made.report);
}

#[test]
fn what_is_no_segment_is_told_apart() {
    for bytes in [&b""[..], b"<html>not found</html>", b"WEBVTT\n\n"] {
        let error = enhance(request(bytes.to_vec(), spec(640, 360, generic()))).unwrap_err();
        assert_eq!(error.label(), "source_unreadable");
    }
}

#[test]
fn audio_alone_comes_back_as_it_was() {
    let directory = tempfile::tempdir().unwrap();
    let path = directory.path().join("audio.ts");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "sine=duration=2", "-c:a", "aac"])
        .arg(&path)
        .status()
        .unwrap();
    assert!(status.success());
    let segment = Bytes::from(std::fs::read(&path).unwrap());
    let made = enhance(request(segment.clone(), spec(640, 360, generic()))).unwrap();
    assert_eq!((made.report.made_by, made.bytes), (MadeBy::Untouched, segment));
}

#[test]
fn cancelled_work_stops() {
    let directory = tempfile::tempdir().unwrap();
    let segment = segments(directory.path(), &[]).remove(0);
    let cancel = CancelFlag::default();
    cancel.cancel();
    let asked = EnhanceRequest { cancel, ..request(segment, spec(640, 360, generic())) };
    assert!(matches!(enhance(asked), Err(EnhanceError::Cancelled)));
}

#[test]
fn segments_keep_the_bitrate_cap() {
    let directory = tempfile::tempdir().unwrap();
    // Noise is the worst case for a rate control: everything is new in every picture.
    let segment = segments(directory.path(), &["-vf", "noise=alls=60:allf=t", "-b:v", "3000k"]).remove(0);
    let spec = spec(640, 360, generic());
    let made = enhance(request(segment, spec.clone())).unwrap();
    let seconds = made.report.media_seconds;
    let video =
        f64::from(spec.max_video_kbps) * 1000.0 * (seconds + acuity_enhancer::RATE_BUFFER_SECONDS) / seconds;
    // Audio, and 4 % for the headers of a transport stream.
    let peak = video * 1.04 + 100_000.0;
    let rate = made.bytes.len() as f64 * 8.0 / made.report.media_seconds;
    assert!(rate <= peak, "{rate} bit/s against an advertised {peak}");
    assert!(rate > f64::from(spec.max_video_kbps) * 500.0, "the cap was not tried: {rate}");
}

#[test]
fn a_card_that_is_to_decode_and_is_not_there_is_no_start() {
    if Path::new("/proc/driver/nvidia").exists() {
        return;
    }
    let start = |gpu: GpuConfig| {
        let catalogue = Arc::new(Catalogue::empty());
        Enhancer::start(&EnhancerConfig { gpu, ..config() }, catalogue, &prometheus::Registry::new())
    };
    let card = GpuConfig { decoder: CodecPlace::Card, devices: vec![2], ..GpuConfig::default() };
    let Err(error) = start(card) else { panic!("started without a card") };
    assert!(error.to_string().starts_with("enhancer.gpu.decoder = \"card\": card 2: no driver"), "{error}");
    let auto = GpuConfig { decoder: CodecPlace::Auto, encoder: CodecPlace::Auto, ..GpuConfig::default() };
    start(auto).unwrap().shutdown();
}
