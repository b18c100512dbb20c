//! What a worker does with a segment that anybody may have sent: looked at, taken apart, decoded by FFmpeg, enlarged (by the plain scaler, or
//! by networks), encoded and put together again, by the worker's own enhancer with its threads.
//!
//! The input is as for `container`: a segment, or `I`, three bytes of length, an init segment of that length, and a segment. Its last byte says
//! how it is made: the lowest bit by networks, the next at twice the frame rate. FFmpeg and ONNX Runtime are the installed libraries, without
//! coverage of their own; that they crash is seen all the same.
#![no_main]

use std::path::{Path, PathBuf};
use std::sync::{Arc, OnceLock, mpsc};
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_enhancer::{
    CancelFlag, Demand, EnhanceError, EnhanceRequest, EnhancedSegment, Enhancer, Following, Interpolation,
    Interpolator, Priority, Readiness, RenditionSpec, SourceInfo, Upscaler, probe,
};
use acuity_models::Catalogue;
use bytes::Bytes;
use libfuzzer_sys::{Corpus, fuzz_target};

/// Above it an input takes longer than it teaches.
const MOST_PIXELS: u32 = 320 * 180;
const MOST_PICTURES: u32 = 60;

/// A stuck one is worth knowing of.
const PATIENCE: Duration = Duration::from_secs(8);

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn config() -> EnhancerConfig {
    let library = std::env::var_os("ACUITY_ONNXRUNTIME")
        .map_or_else(|| root().join(".acuity/onnxruntime/libonnxruntime.so"), PathBuf::from);
    EnhancerConfig {
        lanes: 1,
        max_source_pixels: MOST_PIXELS,
        max_frames_per_segment: MOST_PICTURES,
        provider: acuity_config::Provider::Cpu,
        precision: acuity_config::Precision::Int8,
        runtime_library: Some(library),
        ..EnhancerConfig::default()
    }
}

/// One for all inputs, as in a worker.
fn enhancer() -> &'static (Enhancer, Upscaler) {
    static ENHANCER: OnceLock<(Enhancer, Upscaler)> = OnceLock::new();
    ENHANCER.get_or_init(|| {
        let catalogue = Catalogue::load(root().join("models/zoo")).expect("the models that ship");
        let set = catalogue.find("generic", 2).expect("the generic set");
        let upscaler = Upscaler::Model { cluster: "generic".to_owned(), digest: set.digest() };
        let enhancer = Enhancer::start(&config(), Arc::new(catalogue), &prometheus::Registry::new())
            .expect("ONNX Runtime, which the set-up fetches");
        let started = Instant::now();
        while enhancer.readiness() != Readiness::Ready {
            assert!(started.elapsed() < Duration::from_secs(120), "models are proven within two minutes");
            std::thread::sleep(Duration::from_millis(20));
        }
        (enhancer, upscaler)
    })
}

fn made(
    init: Option<&Bytes>,
    segment: &Bytes,
    info: &SourceInfo,
    how: u8,
) -> Result<EnhancedSegment, EnhanceError> {
    let (enhancer, networks) = enhancer();
    let doubled = how & 2 != 0;
    let spec = RenditionSpec {
        width: info.width * 2,
        height: info.height * 2,
        scale: 2,
        frame_rate_milli: info.frame_rate_milli.unwrap_or(25_000) * if doubled { 2 } else { 1 },
        max_video_kbps: 1500,
        upscaler: if how & 1 != 0 { networks.clone() } else { Upscaler::Bicubic },
        interpolation: doubled.then(|| Interpolation { factor: 2, by: Interpolator::Blend }),
    };
    let request = EnhanceRequest {
        init: init.cloned(),
        lead_in: Vec::new(),
        segment: segment.clone(),
        following: Following::default(),
        spec,
        deadline: None,
        priority: Priority::Viewer,
        demand: Demand::default(),
        again_by: None,
        without: Vec::new(),
        cancel: CancelFlag::default(),
        context: Default::default(),
    };
    let (reply, replied) = mpsc::channel();
    enhancer.submit(request, Box::new(move |result| drop(reply.send(result))));
    replied.recv_timeout(PATIENCE).expect("an answer, and in time")
}

fuzz_target!(|data: &[u8]| -> Corpus {
    let Some((how, data)) = data.split_last() else { return Corpus::Reject };
    let (init, segment) = match data {
        [b'I', a, b, c, rest @ ..] => {
            let length = u32::from_be_bytes([0, *a, *b, *c]) as usize;
            let (init, segment) = rest.split_at(length.min(rest.len()));
            (Some(Bytes::copy_from_slice(init)), segment)
        }
        _ => (None, data),
    };
    let segment = Bytes::copy_from_slice(segment);
    let limits = config();
    // A rendition is offered for what is found in its first segment, and any of them may be another's.
    let Ok(info) = probe(init.as_deref(), segment.clone(), &limits) else { return Corpus::Keep };
    assert!(info.width * info.height <= MOST_PIXELS, "{}x{}", info.width, info.height);
    if info.width < 2 || info.height < 2 || info.width % 2 + info.height % 2 != 0 {
        return Corpus::Keep;
    }
    if let Ok(made) = made(init.as_ref(), &segment, &info, *how) {
        // What was made can be read, by the code that reads what strangers send.
        let again = probe(init.as_deref(), made.bytes.clone(), &EnhancerConfig::default());
        assert_eq!(again.as_ref().ok().map(|again| again.container), Some(info.container), "{again:?}");
        let most = 4 * segment.len() + (2 << 20);
        assert!(made.bytes.len() <= most, "{} bytes out of {}", made.bytes.len(), segment.len());
    }
    Corpus::Keep
});
