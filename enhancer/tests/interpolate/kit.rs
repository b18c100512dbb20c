//! Clips, an enhancer, and packets as ffprobe sees them.

use std::path::Path;
use std::process::Command;
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_enhancer::container::SourceSegment;
use acuity_enhancer::{
    CancelFlag, EnhanceError, EnhanceRequest, EnhancedSegment, Enhancer, Following, Interpolation,
    Interpolator, Priority, Readiness, RenditionSpec, Upscaler, probe,
};
use acuity_models::Catalogue;
use bytes::Bytes;
use serde_json::Value;
use tempfile::TempDir;

fn root() -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

pub(crate) fn config() -> EnhancerConfig {
    let library = std::env::var_os("ACUITY_ONNXRUNTIME")
        .map_or_else(|| root().join(".acuity/onnxruntime/libonnxruntime.so"), Into::into);
    EnhancerConfig { lanes: 1, runtime_library: Some(library), ..EnhancerConfig::default() }
}

/// One enhancer for all tests: its library is loaded once per process.
fn enhancer() -> &'static Enhancer {
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

/// The network for any film.
pub(crate) fn generic_between() -> Interpolator {
    let sets = Catalogue::load(root().join("models/zoo")).unwrap().interpolators();
    let set = sets.iter().find(|set| set.cluster() == "generic").unwrap();
    Interpolator::Model { cluster: "generic".into(), digest: set.digest() }
}

/// The source's rate doubled, with a plain scaler.
pub(crate) fn spec(source: &Source, scale: u32, by: Interpolator) -> RenditionSpec {
    RenditionSpec {
        width: 320 * scale,
        height: 180 * scale,
        scale,
        frame_rate_milli: source.frame_rate_milli * 2,
        max_video_kbps: 1500,
        upscaler: Upscaler::Bicubic,
        interpolation: Some(Interpolation { factor: 2, by }),
    }
}

pub(crate) fn request(source: &Source, segment: &Bytes, spec: &RenditionSpec) -> EnhanceRequest {
    EnhanceRequest {
        init: source.init.clone(),
        lead_in: Vec::new(),
        segment: segment.clone(),
        following: Following::default(),
        spec: spec.clone(),
        deadline: None,
        priority: Priority::Viewer,
        demand: acuity_enhancer::Demand::default(),
        again_by: None,
        without: Vec::new(),
        cancel: CancelFlag::default(),
        context: Default::default(),
    }
}

/// Three HLS segments of two seconds: 320x180, B-frames, AAC.
pub(crate) struct Source {
    pub(crate) init: Option<Bytes>,
    pub(crate) segments: Vec<Bytes>,
    pub(crate) frame_rate_milli: u32,
}

impl Source {
    pub(crate) fn make(rate: &str, container: &str) -> Self {
        Self::of(&["-f", "lavfi", "-i", &format!("testsrc2=size=320x180:rate={rate}:duration=6")], container)
    }

    /// A moving bright picture that is cut to a moving dark one in the middle of a segment.
    pub(crate) fn make_cut() -> Self {
        let bright = "testsrc2=size=320x180:rate=25:duration=1,lutyuv=y=val/2+110";
        let dark = "mandelbrot=size=320x180:rate=25:end_scale=0.01,trim=duration=1,lutyuv=y=val/3+16";
        let joined = format!("{bright}[a];{dark}[b];[a][b]concat=n=2,format=yuv420p");
        Self::of(&["-filter_complex", &joined], "mpegts")
    }

    /// Film: 25 pictures a second shown at 30, whose light alone says which is shown: each is four steps brighter than the one before, of
    /// forty.
    pub(crate) fn make_film(container: &str) -> Self {
        let film = "testsrc2=size=320x180:rate=25:duration=6,lutyuv=y=60+val/4,geq=lum='lum(X,Y)+4*mod(N,20)':cb=128:cr=128,fps=30";
        Self::of(&["-f", "lavfi", "-i", film], container)
    }

    fn of(input: &[&str], container: &str) -> Self {
        let directory = TempDir::new().unwrap();
        let playlist = directory.path().join("index.m3u8");
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-nostdin"])
            .args(input)
            .args(["-f", "lavfi", "-t", "6", "-i", "sine=frequency=440:duration=6", "-shortest"])
            .args([
                "-c:v",
                "libx264",
                "-preset",
                "veryfast",
                "-b:v",
                "400k",
                "-bf",
                "2",
                "-sc_threshold",
                "0",
            ])
            .args(["-force_key_frames", "expr:gte(t,n_forced*2)", "-pix_fmt", "yuv420p"])
            .args(["-c:a", "aac", "-b:a", "64k", "-f", "hls", "-hls_time", "2", "-hls_playlist_type", "vod"])
            .args(["-hls_segment_type", container])
            .arg(&playlist)
            .status()
            .expect("the ffmpeg command, which the set-up installs");
        assert!(status.success());
        let text = std::fs::read_to_string(&playlist).unwrap();
        let read = |name: &str| Bytes::from(std::fs::read(directory.path().join(name)).unwrap());
        let segments: Vec<Bytes> = text.lines().filter(|line| !line.starts_with('#')).map(read).collect();
        let init = (container == "fmp4").then(|| read("init.mp4"));
        let info = probe(init.as_deref(), segments[0].clone(), &config()).unwrap();
        Self { init, segments, frame_rate_milli: info.frame_rate_milli.unwrap() }
    }

    /// The first segment up to its second picture.
    pub(crate) fn cut_to_one_picture(&self) -> Bytes {
        let whole = &self.segments[0];
        let units = |end: usize| {
            let segment = SourceSegment::parse(None, whole.slice(..end)).ok()?;
            Some(segment.video()?.units.len())
        };
        let ends = (1..whole.len() / 188).map(|packets| packets * 188);
        let end =
            ends.into_iter().take_while(|end| units(*end).is_none_or(|units| units < 2)).last().unwrap();
        whole.slice(..end)
    }
}

#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Packet {
    pub(crate) pts: i64,
    pub(crate) dts: i64,
    pub(crate) key: bool,
}

/// A segment as ffprobe lists it.
#[derive(Debug)]
pub(crate) struct Video {
    pub(crate) packets: Vec<Packet>,
    /// All of every packet that is not video.
    pub(crate) other: Vec<Value>,
    pub(crate) width: u32,
    pub(crate) height: u32,
}

impl Video {
    pub(crate) fn probe(init: Option<&Bytes>, segment: &Bytes) -> Self {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("segment");
        std::fs::write(&path, [init.map(Bytes::as_ref).unwrap_or_default(), segment].concat()).unwrap();
        let output = Command::new("ffprobe")
            .args(["-v", "error", "-show_packets", "-show_streams", "-show_data_hash", "md5", "-of", "json"])
            .arg(&path)
            .output()
            .unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{}",
            String::from_utf8_lossy(&output.stderr)
        );
        let listing: Value = serde_json::from_slice(&output.stdout).unwrap();
        let (video, other): (Vec<Value>, Vec<Value>) =
            listing["packets"].as_array().unwrap().iter().cloned().partition(|p| p["codec_type"] == "video");
        let packet = |packet: &Value| Packet {
            pts: packet["pts"].as_i64().unwrap(),
            dts: packet["dts"].as_i64().unwrap(),
            key: packet["flags"].as_str().unwrap().starts_with('K'),
        };
        // Where it stands in the file is no part of what a packet is.
        let placeless = |mut packet: Value| {
            packet.as_object_mut().unwrap().remove("pos");
            packet
        };
        let stream =
            listing["streams"].as_array().unwrap().iter().find(|s| s["codec_type"] == "video").unwrap();
        let side = |name: &str| stream[name].as_u64().unwrap() as u32;
        Self {
            packets: video.iter().map(packet).collect(),
            other: other.into_iter().map(placeless).collect(),
            width: side("width"),
            height: side("height"),
        }
    }

    /// Presentation times, ascending.
    pub(crate) fn shown(&self) -> Vec<i64> {
        let mut times: Vec<i64> = self.packets.iter().map(|packet| packet.pts).collect();
        times.sort_unstable();
        times
    }
}

/// Mean luma of each picture of a transport stream of 320x180, as FFmpeg decodes it.
pub(crate) fn mean_luma(segment: &Bytes) -> Vec<f64> {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("segment.ts");
    std::fs::write(&path, segment).unwrap();
    let output = Command::new("ffmpeg")
        .args(["-v", "error", "-nostdin", "-i"])
        .arg(&path)
        .args(["-an", "-fps_mode", "passthrough", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"])
        .output()
        .unwrap();
    let mean = |picture: &[u8]| {
        let luma = &picture[..320 * 180];
        luma.iter().map(|&pixel| f64::from(pixel)).sum::<f64>() / luma.len() as f64
    };
    output.stdout.chunks_exact(320 * 180 * 3 / 2).map(mean).collect()
}
