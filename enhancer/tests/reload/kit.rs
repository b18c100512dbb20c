//! A directory with a catalogue, an enhancer over it, and segments to make.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, OnceLock};
use std::time::{Duration, Instant};

use acuity_config::EnhancerConfig;
use acuity_enhancer::{
    CancelFlag, EnhanceError, EnhanceRequest, EnhancedSegment, Enhancer, Keeping, MadeBy, Priority,
    Readiness, RenditionSpec, Upscaler,
};
use acuity_models::{Catalogue, Sha256};
use bytes::Bytes;
use prometheus::Registry;

/// Nothing that these tests wait for takes long, but the machine may be busy.
const PATIENCE: Duration = Duration::from_secs(120);

pub fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().unwrap().to_owned()
}

/// The network that ships.
pub fn shipped() -> Vec<u8> {
    std::fs::read(root().join("models/zoo/generic-x2-s.onnx")).unwrap()
}

/// A model as a catalogue names it.
#[derive(Clone)]
pub struct Model {
    pub id: String,
    pub cluster: String,
    pub scale: u32,
    pub tier: &'static str,
    pub contract: u32,
    pub sha256: Sha256,
    pub more: &'static str,
    pub file: Option<Vec<u8>>,
}

impl Model {
    /// The cluster's small x2 model.
    pub fn new(cluster: &str, file: Vec<u8>) -> Self {
        Self {
            id: format!("{cluster}-x2-s"),
            cluster: cluster.to_owned(),
            scale: 2,
            tier: "s",
            contract: 1,
            sha256: Sha256::of(&file),
            more: "",
            file: Some(file),
        }
    }

    /// The cluster's small model that interpolates.
    pub fn between(cluster: &str, file: Vec<u8>) -> Self {
        let id = format!("{cluster}-i2-s");
        Self { id, contract: 2, more: "task = \"interpolate\"", ..Self::new(cluster, file) }
    }

    /// The same with other bytes in its file than the catalogue says; none: no file.
    pub fn on_disk(self, file: Option<Vec<u8>>) -> Self {
        Self { file, ..self }
    }

    fn entry(&self) -> String {
        let Self { id, cluster, scale, tier, contract, sha256, more, .. } = self;
        format!(
            "[[model]]\nid = \"{id}\"\ncluster = \"{cluster}\"\nscale = {scale}\ntier = \"{tier}\"\n\
             file = \"{id}.onnx\"\nsha256 = \"{sha256}\"\nparameters = 1\ncontract = {contract}\nlicence = \"Apache-2.0\"\n\
             training_data = \"none\"\n{more}\n"
        )
    }
}

/// Makes the directory hold these models and no others.
pub fn publish(directory: &Path, models: &[Model]) -> Arc<Catalogue> {
    for model in models {
        let path = directory.join(format!("{}.onnx", model.id));
        match &model.file {
            Some(file) => std::fs::write(&path, file).unwrap(),
            None => drop(std::fs::remove_file(&path)),
        }
    }
    let text: String = models.iter().map(Model::entry).collect();
    // As a trainer does it: whole or not at all.
    std::fs::write(directory.join("next"), text).unwrap();
    std::fs::rename(directory.join("next"), directory.join("catalogue.toml")).unwrap();
    Arc::new(Catalogue::load(directory).unwrap())
}

pub struct World {
    pub directory: tempfile::TempDir,
    pub enhancer: Enhancer,
    registry: Registry,
}

impl World {
    pub fn new(models: &[Model]) -> Self {
        Self::with(models, 1, Keeping::default())
    }

    pub fn with(models: &[Model], lanes: usize, keeping: Keeping) -> Self {
        let library = std::env::var_os("ACUITY_ONNXRUNTIME")
            .map_or_else(|| root().join(".acuity/onnxruntime/libonnxruntime.so"), PathBuf::from);
        let config = EnhancerConfig { lanes, runtime_library: Some(library), ..EnhancerConfig::default() };
        let directory = tempfile::tempdir().unwrap();
        let (catalogue, registry) = (publish(directory.path(), models), Registry::new());
        let enhancer = Enhancer::start_keeping(&config, catalogue, &registry, keeping).unwrap();
        eventually("readiness", || enhancer.readiness() == Readiness::Ready);
        Self { directory, enhancer, registry }
    }

    /// Publishes and installs, and waits for the end of it.
    pub fn install(&self, models: &[Model]) {
        let before = self.enhancer.installs();
        self.enhancer.install(publish(self.directory.path(), models));
        eventually("the install", || self.enhancer.installs() > before);
    }

    /// The digest of a cluster's x2 set as the catalogue has it.
    pub fn digest(&self, cluster: &str) -> String {
        Catalogue::load(self.directory.path()).unwrap().find(cluster, 2).unwrap().digest()
    }

    /// `cluster-digest` of the sets that are offered.
    pub fn offered(&self) -> Vec<String> {
        let offered = self.enhancer.offered();
        offered.iter().map(|set| format!("{}-{}", set.cluster, set.digest)).collect()
    }

    pub fn submit(&self, request: EnhanceRequest) -> Receiver<Result<EnhancedSegment, EnhanceError>> {
        let (sender, receiver) = channel();
        self.enhancer.submit(request, Box::new(move |result| drop(sender.send(result))));
        receiver
    }

    /// Makes the test segment for a rendition.
    pub fn make(&self, cluster: &str, digest: &str) -> Made {
        Made::from(self.submit(request(cluster, digest)))
    }

    /// The value of a metric with these label values, in any order.
    pub fn metric(&self, name: &str, labels: &[&str]) -> Option<f64> {
        let families = self.registry.gather();
        let family = families.iter().find(|family| family.name() == name)?;
        let has = |metric: &&prometheus::proto::Metric| {
            labels.iter().all(|label| metric.get_label().iter().any(|pair| pair.value() == *label))
        };
        family.get_metric().iter().find(has).map(|metric| metric.get_gauge().get_value())
    }

    /// ONNX sessions that exist, of all models.
    pub fn sessions(&self) -> f64 {
        let families = self.registry.gather();
        let models = families.iter().find(|family| family.name() == "acuity_enhancer_model_sessions");
        models.map_or(0.0, |family| {
            family.get_metric().iter().map(|metric| metric.get_gauge().get_value()).sum()
        })
    }
}

/// A segment that was made: its bytes, what made it (`plain` or the model's id), and why it is not as promised.
#[derive(Clone, PartialEq)]
pub struct Made {
    pub bytes: Bytes,
    pub by: String,
    pub fallback: Option<&'static str>,
}

impl Made {
    pub fn from(reply: Receiver<Result<EnhancedSegment, EnhanceError>>) -> Self {
        let made = reply.recv_timeout(PATIENCE).expect("a reply").expect("a segment");
        let by = match made.report.made_by {
            MadeBy::Model { id, .. } => id,
            MadeBy::Plain => "plain".to_owned(),
            MadeBy::Untouched => "untouched".to_owned(),
        };
        Self { bytes: made.bytes, by, fallback: made.report.fallback.map(|reason| reason.label()) }
    }

    /// What made it, and why.
    pub fn how(&self) -> (&str, Option<&'static str>) {
        (&self.by, self.fallback)
    }
}

/// Half a second of 160x90, 25 pictures a second.
fn segment() -> Bytes {
    static SEGMENT: OnceLock<Bytes> = OnceLock::new();
    let make = || {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("segment.ts");
        let status = Command::new("ffmpeg")
            .args(["-v", "error", "-f", "lavfi", "-i", "testsrc2=size=160x90:rate=25:duration=0.56"])
            .args(["-c:v", "libx264", "-pix_fmt", "yuv420p", "-threads", "1"])
            .arg(&path)
            .status()
            .expect("the ffmpeg command, which the set-up installs");
        assert!(status.success());
        Bytes::from(std::fs::read(&path).unwrap())
    };
    SEGMENT.get_or_init(make).clone()
}

/// As good as it gets, however long it takes.
pub fn request(cluster: &str, digest: &str) -> EnhanceRequest {
    let upscaler = Upscaler::Model { cluster: cluster.to_owned(), digest: digest.to_owned() };
    EnhanceRequest {
        init: None,
        lead_in: Vec::new(),
        segment: segment(),
        following: acuity_enhancer::Following::default(),
        spec: RenditionSpec {
            width: 320,
            height: 180,
            scale: 2,
            frame_rate_milli: 25_000,
            max_video_kbps: 2000,
            upscaler,
            interpolation: None,
        },
        deadline: None,
        priority: Priority::Viewer,
        demand: acuity_enhancer::Demand::default(),
        again_by: None,
        without: Vec::new(),
        cancel: CancelFlag::default(),
        context: Default::default(),
    }
}

pub fn eventually(what: &str, is: impl Fn() -> bool) {
    let started = Instant::now();
    while !is() {
        assert!(started.elapsed() < PATIENCE, "{what} did not come");
        std::thread::sleep(Duration::from_millis(5));
    }
}
