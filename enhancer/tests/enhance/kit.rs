//! Clips, and one enhancer for all.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_enhancer::{
    CancelFlag, EnhanceError, EnhanceRequest, EnhancedSegment, Enhancer, Following, Priority, Readiness,
    RenditionSpec, Upscaler,
};
use acuity_models::Catalogue;
use bytes::Bytes;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// ONNX Runtime as the set-up puts it, or as the user names it.
fn runtime_library() -> PathBuf {
    std::env::var_os("ACUITY_ONNXRUNTIME")
        .map_or_else(|| root().join(".acuity/onnxruntime/libonnxruntime.so"), PathBuf::from)
}

pub(crate) fn config() -> EnhancerConfig {
    EnhancerConfig { lanes: 1, runtime_library: Some(runtime_library()), ..EnhancerConfig::default() }
}

/// One enhancer for all tests of this file: its library is loaded once per process.
pub(crate) fn enhancer() -> &'static Enhancer {
    static ENHANCER: OnceLock<Enhancer> = OnceLock::new();
    ENHANCER.get_or_init(|| {
        let catalogue = Arc::new(Catalogue::load(root().join("models/zoo")).unwrap());
        let enhancer = Enhancer::start(&config(), catalogue, &prometheus::Registry::new()).unwrap();
        let started = Instant::now();
        while enhancer.readiness() != Readiness::Ready {
            assert!(started.elapsed() < Duration::from_secs(60), "models were not loaded within a minute");
            std::thread::sleep(Duration::from_millis(20));
        }
        enhancer
    })
}

pub(crate) fn enhance(request: EnhanceRequest) -> Result<EnhancedSegment, EnhanceError> {
    let (sender, receiver) = mpsc::channel();
    enhancer().submit(request, Box::new(move |result| sender.send(result).unwrap()));
    receiver.recv_timeout(Duration::from_secs(120)).expect("a reply")
}

pub(crate) fn generic() -> Upscaler {
    let set = Catalogue::load(root().join("models/zoo")).unwrap().find("generic", 2).unwrap();
    Upscaler::Model { cluster: "generic".into(), digest: set.digest() }
}

pub(crate) fn spec(width: u32, height: u32, upscaler: Upscaler) -> RenditionSpec {
    RenditionSpec {
        width,
        height,
        scale: 2,
        frame_rate_milli: 25_000,
        max_video_kbps: 1500,
        upscaler,
        interpolation: None,
    }
}

pub(crate) fn request(segment: impl Into<Bytes>, spec: RenditionSpec) -> EnhanceRequest {
    EnhanceRequest {
        init: None,
        lead_in: Vec::new(),
        segment: segment.into(),
        following: Following::default(),
        spec,
        deadline: None,
        priority: Priority::Viewer,
        demand: acuity_enhancer::Demand::default(),
        again_by: None,
        without: Vec::new(),
        cancel: CancelFlag::default(),
        context: Default::default(),
    }
}

/// Makes HLS segments with FFmpeg: 320x180 at 25 fps, B-frames, AAC; two seconds each.
pub(crate) fn segments(directory: &Path, extra: &[&str]) -> Vec<Bytes> {
    let playlist = directory.join("index.m3u8");
    let status = Command::new("ffmpeg")
        .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=320x180:rate=25:duration=6"])
        .args(["-f", "lavfi", "-i", "sine=frequency=440:duration=6"])
        .args(["-c:v", "libx264", "-preset", "veryfast", "-b:v", "300k", "-bf", "2", "-g", "50"])
        .args(["-pix_fmt", "yuv420p", "-c:a", "aac", "-b:a", "64k"])
        .args(extra)
        .args(["-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"])
        .arg(&playlist)
        .status()
        .expect("the ffmpeg command, which the set-up installs");
    assert!(status.success());
    let text = std::fs::read_to_string(&playlist).unwrap();
    let names = text.lines().filter(|line| !line.starts_with('#'));
    names.map(|name| Bytes::from(std::fs::read(directory.join(name)).unwrap())).collect()
}
