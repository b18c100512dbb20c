//! Segments to vectors to clusters: real clips coded as an origin would, the network and the clusters that ship, and the trainer's own
//! reading of the same segments.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_enhancer::{CancelFlag, DescribeError, Describer, Unsupported};
use acuity_models::Clusters;
use bytes::Bytes;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

fn config() -> EnhancerConfig {
    let library = std::env::var_os("ACUITY_ONNXRUNTIME")
        .map_or_else(|| root().join(".acuity/onnxruntime/libonnxruntime.so"), PathBuf::from);
    EnhancerConfig { runtime_library: Some(library), ..EnhancerConfig::default() }
}

fn clusters() -> &'static Clusters {
    static CLUSTERS: OnceLock<Clusters> = OnceLock::new();
    CLUSTERS.get_or_init(|| Clusters::load(root().join("models/zoo")).unwrap())
}

fn describer() -> &'static Describer {
    static DESCRIBER: OnceLock<Describer> = OnceLock::new();
    DESCRIBER.get_or_init(|| Describer::new(&config(), clusters().embedding()).unwrap())
}

fn ffmpeg(arguments: &[&str], output: &Path) -> Bytes {
    let status = Command::new("ffmpeg")
        .args(["-nostdin", "-v", "error", "-y"])
        .args(arguments)
        .arg(output)
        .status()
        .expect("the ffmpeg command, which the set-up installs");
    assert!(status.success(), "{arguments:?}");
    Bytes::from(std::fs::read(output).unwrap())
}

/// Four seconds as an MPEG-TS segment of `lines` at `kbps`.
fn segment(directory: &Path, source: &[&str], lines: u32, kbps: u32) -> (Bytes, PathBuf) {
    let (scale, rate) = (format!("scale=-2:{lines}:flags=bicubic,format=yuv420p"), format!("{kbps}k"));
    let output = directory.join(format!("{lines}p{kbps}.ts"));
    let coding = [
        "-an", "-t", "4", "-vf", &scale, "-c:v", "libx264", "-preset", "veryfast", "-g", "60", "-b:v", &rate,
    ];
    (ffmpeg(&[source, &coding].concat(), &output), output)
}

fn assigned(segment: Bytes) -> Option<String> {
    let vector = describer().describe(None, segment).unwrap();
    assert_eq!(vector.len(), clusters().dimensions());
    clusters().assign(&vector).map(|found| found.cluster)
}

fn shared(path: &str) -> Option<PathBuf> {
    let full = root().join("../shared/data").join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!("SKIPPED: {path} is not there (no ../shared/data)");
    None
}

#[test]
fn shared_clips_go_to_their_cluster_or_stay_generic() {
    // (clip, start, its cluster if any, from how many lines on it must be found there)
    const NEVER: u32 = u32::MAX;
    for (path, start, cluster, must) in [
        ("video/freedoom1_demo2_720p30.mp4", "1", Some("freedoom"), 180),
        ("video/freedoom1_demo3_720p60.mp4", "1", Some("freedoom"), 180),
        ("video/openttd_a.mp4", "4", Some("openttd"), 180),
        ("video/openttd_b.mp4", "8", Some("openttd"), 180),
        ("video/openttd_b.mp4", "0", Some("openttd"), NEVER), // the map's dark edge and a window of figures
        ("video/bbb_720p30.mp4", "9", Some("bbb"), NEVER),
        ("video/traffic_540p60.mp4", "5", None, NEVER),
        ("video/cockatoo_720p20.mp4", "2", None, NEVER),
        ("hls/ocean/720p/720p.m3u8", "10", None, NEVER),
        ("hls/bipbop/bipbop4/prog_index.m3u8", "10", None, NEVER),
    ] {
        let Some(clip) = shared(path) else { return };
        let directory = tempfile::tempdir().unwrap();
        for (lines, kbps) in [(180, 150), (360, 600), (540, 1500)] {
            let source = ["-ss", start, "-i", clip.to_str().unwrap()];
            let found = assigned(segment(directory.path(), &source, lines, kbps).0);
            let found = found.as_deref();
            assert!(found == cluster || found.is_none(), "{path} at {lines}p {kbps} kbit/s: {found:?}");
            assert!(lines < must || found == cluster, "{path} at {lines}p {kbps} kbit/s: {found:?}");
        }
    }
}

#[test]
fn segments_as_origins_serve_them() {
    let Some(ocean) = shared("hls/ocean/360p") else { return };
    for name in ["seg_000.ts", "seg_007.ts", "seg_020.ts"] {
        assert_eq!(assigned(Bytes::from(std::fs::read(ocean.join(name)).unwrap())), None, "{name}");
    }
    let odd = ocean.join("../../segments");
    for name in ["bc0.ts", "bipbop0.ts", "caption.ts", "oneSecond.ts", "videoDiffPtsDts.ts"] {
        assert_eq!(assigned(Bytes::from(std::fs::read(odd.join(name)).unwrap())), None, "{name}");
    }
    let read = |name: &str| Bytes::from(std::fs::read(odd.join(name)).unwrap());
    let init = read("mp4VideoInit.mp4");
    assert!(describer().describe(Some(&init), read("mp4Video.mp4")).is_ok(), "fragmented MP4");
    for (name, label) in [("audio.ts", "no_video"), ("aacWithId3.aac", "source_unreadable")] {
        let error = describer().describe(None, read(name)).unwrap_err();
        assert_eq!(error.label(), label, "{name}: {error}");
    }
}

#[test]
fn patterns_blackness_and_noise_are_of_no_cluster() {
    let directory = tempfile::tempdir().unwrap();
    for pattern in [
        "testsrc2=size=640x360:rate=30",
        "color=black:size=640x360:rate=30",
        "color=white:size=640x360:rate=30",
        "smptebars=size=640x360:rate=30",
        "mandelbrot=size=640x360:rate=30",
        "nullsrc=size=640x360:rate=30,geq=lum='random(1)*255':cb=128:cr=128",
    ] {
        let found = assigned(segment(directory.path(), &["-f", "lavfi", "-i", pattern], 360, 600).0);
        assert_eq!(found, None, "{pattern}");
    }
}

#[test]
fn one_picture_is_enough() {
    let directory = tempfile::tempdir().unwrap();
    let source = ["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30", "-frames:v", "1"];
    assert!(describer().describe(None, segment(directory.path(), &source, 180, 150).0).is_ok());
}

#[test]
fn a_damaged_segment_gives_a_vector_or_a_reason() {
    let directory = tempfile::tempdir().unwrap();
    let whole =
        segment(directory.path(), &["-f", "lavfi", "-i", "testsrc2=size=320x180:rate=30"], 180, 150).0;
    for cut in [0, 1, 187, 188, 376, 2000, whole.len() / 2, whole.len() - 1] {
        let _ = describer().describe(None, whole.slice(..cut)).map(|vector| {
            assert!(vector.iter().all(|value| value.is_finite()), "cut at {cut}");
        });
    }
    // Every hundredth byte turned over: packets, tables and slices alike.
    let spoilt: Vec<u8> =
        whole.iter().enumerate().map(|(at, byte)| if at % 100 == 99 { !byte } else { *byte }).collect();
    if let Ok(vector) = describer().describe(None, spoilt.into()) {
        assert!(vector.iter().all(|value| value.is_finite()));
    }
}

#[test]
fn it_stops_when_told_and_makes_do_with_what_it_has() {
    let directory = tempfile::tempdir().unwrap();
    let whole =
        segment(directory.path(), &["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"], 360, 600).0;
    let (later, now) = (Instant::now() + Duration::from_secs(60), Instant::now());
    let cancel = CancelFlag::default();
    cancel.cancel();
    let stopped = describer().describe_until(None, whole.clone(), &cancel, later);
    assert!(matches!(stopped, Err(DescribeError::Cancelled)), "{stopped:?}");
    let none = describer().describe_until(None, whole.clone(), &CancelFlag::default(), now);
    assert!(matches!(none, Err(DescribeError::NoPicture)), "{none:?}");
    let small = EnhancerConfig { max_source_pixels: 320 * 180, ..config() };
    let refused = Describer::new(&small, clusters().embedding()).unwrap().describe(None, whole);
    assert!(matches!(refused, Err(DescribeError::Unsupported(Unsupported::TooLarge))), "{refused:?}");
}

#[test]
fn another_network_is_refused() {
    let generic = std::fs::read(root().join("models/zoo/generic-x2-s.onnx")).unwrap();
    for (bytes, words) in [(&generic[..], "luma"), (b"not a network", "ONNX Runtime"), (b"", "ONNX Runtime")]
    {
        let Err(error) = Describer::new(&config(), bytes) else { panic!("accepted") };
        assert!(matches!(error, DescribeError::Network { .. }), "{error:?}");
        assert!(error.to_string().contains(words), "{error}");
    }
}

/// The trainer's Python with ONNX Runtime, if the set-up made one.
fn python() -> Option<PathBuf> {
    let python = std::env::var_os("ACUITY_TRAINER_PYTHON")
        .map_or_else(|| root().join(".acuity/trainer/bin/python"), PathBuf::from);
    let works = Command::new(&python).args(["-c", "import onnxruntime, onnx, numpy"]).output();
    if works.is_ok_and(|output| output.status.success()) {
        return Some(python);
    }
    eprintln!("SKIPPED: {python:?} with onnx and onnxruntime is not there");
    None
}

#[test]
fn the_trainer_sees_the_same() {
    let Some(python) = python() else { return };
    let directory = tempfile::tempdir().unwrap();
    let mut segments = Vec::new();
    for (name, source, lines, kbps) in [
        ("pattern", ["-f", "lavfi", "-i", "testsrc2=size=640x360:rate=30"], 360, 600),
        ("long", ["-f", "lavfi", "-i", "mandelbrot=size=320x180:rate=60"], 180, 150),
        ("odd", ["-f", "lavfi", "-i", "testsrc2=size=400x226:rate=24"], 226, 300),
    ] {
        let folder = directory.path().join(name);
        std::fs::create_dir(&folder).unwrap();
        segments.push(segment(&folder, &source, lines, kbps));
    }
    if let Some(clip) = shared("video/freedoom1_demo2_720p30.mp4") {
        segments.push(segment(directory.path(), &["-ss", "2", "-i", clip.to_str().unwrap()], 540, 1500));
        segments.push(segment(directory.path(), &["-ss", "2", "-i", clip.to_str().unwrap()], 180, 150));
    }
    let script = "import sys; from acuity_trainer import embedding; from pathlib import Path
e = embedding.Embedder(Path(sys.argv[1]).read_bytes())
for path in sys.argv[2:]: print(*e.segment(path))";
    let output = Command::new(python)
        .current_dir(root().join("models/trainer"))
        .args(["-c", script])
        .arg(root().join("models/zoo/embedding.onnx"))
        .args(segments.iter().map(|(_, path)| path))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    assert_eq!(text.lines().count(), segments.len());
    for (line, (bytes, path)) in text.lines().zip(segments) {
        let theirs: Vec<f32> = line.split(' ').map(|value| value.parse().unwrap()).collect();
        let ours = describer().describe(None, bytes).unwrap();
        assert_eq!(ours.len(), theirs.len());
        let apart = ours.iter().zip(&theirs).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(apart < 1e-3, "{path:?}: {apart}");
    }
}

/// Processor time of this thread, which does all the work; wall clock would tell who else is at work here.
fn processor_ms() -> f64 {
    let text = std::fs::read_to_string("/proc/thread-self/schedstat").unwrap();
    text.split(' ').next().unwrap().parse::<f64>().unwrap() / 1e6
}

/// `cargo test --release -p acuity-enhancer --test describe -- --ignored --nocapture cost`
#[test]
#[ignore = "a measurement"]
fn cost() {
    let directory = tempfile::tempdir().unwrap();
    for name in ["freedoom1_demo2_720p30", "bbb_720p30", "openttd_a", "traffic_540p60"] {
        let Some(clip) = shared(&format!("video/{name}.mp4")) else { return };
        for (lines, kbps) in [(180, 150), (360, 600), (540, 1500)] {
            let bytes = segment(directory.path(), &["-ss", "2", "-i", clip.to_str().unwrap()], lines, kbps).0;
            let mut costs: Vec<(f64, f64)> = (0..15)
                .map(|_| {
                    let (started, busy) = (Instant::now(), processor_ms());
                    describer().describe(None, bytes.clone()).unwrap();
                    (processor_ms() - busy, started.elapsed().as_secs_f64() * 1e3)
                })
                .collect();
            costs.sort_by(|a, b| a.0.total_cmp(&b.0));
            let (typical, least) = (costs[7], costs[0]);
            eprintln!(
                "{name} {lines}p {kbps} kbit/s: processor {:.1} ms (least {:.1}), wall clock of that run {:.1} ms",
                typical.0, least.0, typical.1
            );
        }
    }
}
