//! The providers that run on a graphics card: what of the configuration goes to CUDA and to TensorRT, and where TensorRT keeps
//! what it compiled.
//!
//! Has not run on a card yet (docs/gpu.md says what would show that it does).

use std::fs::{self, DirBuilder, File};
use std::io::{self, Read};
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use acuity_config::{GpuConfig, GpuPrecision};
use acuity_models::Sha256;
use ort::ep::cuda::ConvAlgorithmSearch;
use ort::ep::{self, ExecutionProviderDispatch};

/// Where the driver tells which cards and which version of it there are.
const DRIVER: &str = "/proc/driver/nvidia";

/// Most cards that are looked at, and most bytes of each of the driver's texts: a few hundred are usual.
const CARDS_LIMIT: usize = 64;
const TEXT_LIMIT_BYTES: u64 = 4096;

/// The smallest network there is, an ONNX file of one Relu: a session of it is made at the start, because only that loads the
/// provider's libraries and opens the card.
pub(super) const PROBE: &[u8] = b"\x08\x08:3\n\x0c\n\x01x\x12\x01y\"\x04Relu\x12\x01pZ\x0f\n\x01x\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01\
    b\x0f\n\x01y\x12\n\n\x08\x08\x01\x12\x04\n\x02\x08\x01B\x04\n\x00\x10\x11";

/// Windows of one picture that are run at once where lanes run alone: the dear tier's quarter of a picture is five.
const WINDOWS_ALONE: usize = 5;

/// Pixels around a picture's part that networks are given with it, at most, on both sides together; and a few to spare.
const AROUND: u32 = 32;

/// The smallest side that anything has: a twentieth of the smallest source, with what is around it.
const SMALLEST: u32 = 16;

/// The usual source.
const USUAL: (u32, u32) = (640, 360);

/// The shapes that TensorRT compiles a network for, as it wants them told. Without it a network would be compiled for each size of
/// picture when the first of it comes, in a lane's hands, for minutes; with it that is done when the session is made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Profile {
    least: String,
    usual: String,
    most: String,
}

impl Profile {
    /// For a network with this input, whose batch is fixed at one or not.
    pub(super) fn new(config: &GpuConfig, input: &str, is_single: bool) -> Self {
        let (width, height) = (config.largest_source.0 + AROUND, config.largest_source.1 + AROUND);
        let pictures = if is_single { 1 } else { most(config) };
        let shape =
            |pictures: usize, width: u32, height: u32| format!("{input}:{pictures}x1x{height}x{width}");
        Self {
            least: shape(1, SMALLEST, SMALLEST),
            // A busy card runs full batches, and only a busy one has to be quick.
            usual: shape(pictures, USUAL.0.min(width), USUAL.1.min(height)),
            most: shape(pictures, width, height),
        }
    }
}

/// Pictures, or windows of them, in one run, at most.
pub(super) fn most(config: &GpuConfig) -> usize {
    if config.batch > 1 { config.batch } else { WINDOWS_ALONE }
}

/// Whether TensorRT's networks are compiled for pictures of this size.
pub(super) fn is_prepared_for(config: &GpuConfig, (width, height): (u32, u32)) -> bool {
    width <= config.largest_source.0 && height <= config.largest_source.1
}

/// CUDA with its own kernels and cuDNN's.
pub(super) fn cuda(config: &GpuConfig, card: usize) -> ExecutionProviderDispatch {
    ep::CUDA::default()
        .with_device_id(number(config, card))
        // Bands, windows and batches come in dozens of shapes; the search by trying, which is the default, would stop a lane for each.
        .with_conv_algorithm_search(ConvAlgorithmSearch::Heuristic)
        // Said either way: bindings and the library differ in what is the default.
        .with_tf32(config.precision == GpuPrecision::Float16)
        .build()
}

/// TensorRT for `model`, the bytes of an ONNX file.
pub(super) fn tensorrt(
    config: &GpuConfig,
    card: usize,
    model: &[u8],
    profile: Option<&Profile>,
) -> ExecutionProviderDispatch {
    let mut provider = ep::TensorRT::default()
        .with_device_id(number(config, card))
        .with_fp16(config.precision == GpuPrecision::Float16);
    if let Some(Profile { least, usual, most }) = profile {
        provider = provider
            .with_profile_min_shapes(least)
            .with_profile_opt_shapes(usual)
            .with_profile_max_shapes(most);
    }
    if let Some(root) = &config.engine_cache {
        let folder = engine_folder(root, model, &machine(config, card, profile, Path::new(DRIVER)));
        // Without it everything runs as well, a few minutes later after each start.
        match private_folder(&folder) {
            Ok(()) => {
                let path = folder.display();
                provider = provider
                    .with_engine_cache(true)
                    .with_engine_cache_path(path)
                    .with_timing_cache(true)
                    .with_timing_cache_path(root.display());
            }
            Err(error) => {
                tracing::warn!(folder = %folder.display(), %error, "TensorRT's engines are not kept");
            }
        }
    }
    provider.build()
}

/// CUDA's number of the card at this place in the configuration.
pub(super) fn number(config: &GpuConfig, card: usize) -> i32 {
    let device = config.devices.get(card).or_else(|| config.devices.first());
    // 63 at most, says the configuration.
    device.and_then(|device| i32::try_from(*device).ok()).unwrap_or_default()
}

/// A folder for what is compiled of one model for one machine. ONNX Runtime names the files in it by the graph and by ranges of
/// shapes, not by the weights: two tiers of one architecture, or a model and its successor, would be taken for each other.
fn engine_folder(root: &Path, model: &[u8], machine: &str) -> PathBuf {
    let short = |bytes: &[u8]| Sha256::of(bytes).to_string().chars().take(16).collect::<String>();
    root.join(format!("{}-{}", short(model), short(machine.as_bytes())))
}

/// What an engine is good for beside its model: numbers, shapes, card, driver and library. Cards are in the order of their addresses,
/// which need not be CUDA's; with all of them in it, a machine whose cards change begins anew.
fn machine(config: &GpuConfig, card: usize, profile: Option<&Profile>, driver: &Path) -> String {
    let shapes = profile.map_or_else(String::new, |profile| format!("{profile:?}"));
    let mut said = vec![
        format!("device {} {} {shapes}", number(config, card), config.precision.as_str()),
        text_of(driver.join("version")).unwrap_or_default(),
    ];
    said.extend(cards_of(driver).into_iter().map(|model| format!("Model: {model}")));
    said.join("\n")
}

/// The models of this machine's cards, as their driver calls them; none without a driver.
pub(crate) fn cards_of_the_machine() -> Vec<String> {
    cards_of(Path::new(DRIVER))
}

fn cards_of(driver: &Path) -> Vec<String> {
    let mut cards: Vec<PathBuf> = fs::read_dir(driver.join("gpus"))
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).take(CARDS_LIMIT).collect())
        .unwrap_or_default();
    cards.sort();
    let texts = cards.into_iter().map(|card| text_of(card.join("information")).unwrap_or_default());
    let model = |text: String| {
        let found = text.lines().find_map(|line| line.strip_prefix("Model:")).map(str::trim);
        found.map(str::to_owned)
    };
    texts.filter_map(model).collect()
}

fn text_of(path: PathBuf) -> io::Result<String> {
    let mut text = String::new();
    File::open(path)?.take(TEXT_LIMIT_BYTES).read_to_string(&mut text)?;
    Ok(text)
}

/// Makes the folder, and those above it, for this user alone: an engine is code.
fn private_folder(folder: &Path) -> io::Result<()> {
    DirBuilder::new().recursive(true).mode(0o700).create(folder)
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use acuity_config::{EnhancerConfig, Provider};

    use super::super::Runtime;
    use super::*;
    use crate::StartError;

    /// The driver's texts as they are on a machine with the cards of these names.
    fn driver(version: &str, cards: &[&str]) -> tempfile::TempDir {
        let directory = tempfile::tempdir().unwrap();
        fs::write(directory.path().join("version"), version).unwrap();
        for (place, name) in cards.iter().enumerate() {
            let card = directory.path().join(format!("gpus/0000:{place:02x}:00.0"));
            fs::create_dir_all(&card).unwrap();
            fs::write(
                card.join("information"),
                format!("Model: \t\t {name}\nIRQ:   \t\t {place}{version}\n"),
            )
            .unwrap();
        }
        directory
    }

    /// Whichever library there is, with the providers or without: no card, no start.
    #[test]
    fn a_card_that_is_not_there_is_an_error() {
        let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.acuity/onnxruntime/libonnxruntime.so");
        let library = std::env::var_os("ACUITY_ONNXRUNTIME").map_or(root, PathBuf::from);
        let config = |provider| EnhancerConfig {
            provider,
            runtime_library: Some(library.clone()),
            ..EnhancerConfig::default()
        };
        let plain = Runtime::load(&config(Provider::Cpu)).unwrap();
        assert!(plain.session(PROBE, 0, None).is_ok(), "the probe is a network");
        if Path::new(DRIVER).exists() {
            return;
        }
        for provider in [Provider::Cuda, Provider::TensorRt] {
            let Err(StartError::Provider { message, .. }) = Runtime::load(&config(provider)) else {
                panic!("{provider} started without a card");
            };
            assert!(message.contains("built without it") || message.contains(".so"), "{message}");
        }
    }

    #[test]
    fn engines_are_kept_apart() {
        let config = GpuConfig::default();
        let half = GpuConfig { precision: GpuPrecision::Float16, ..GpuConfig::default() };
        let second = GpuConfig { devices: vec![1], ..GpuConfig::default() };
        let larger = GpuConfig { largest_source: (1280, 720), ..GpuConfig::default() };
        let usual = driver("580.65", &["NVIDIA H100", "NVIDIA H100"]);
        let folder = |config: &GpuConfig, model: &[u8], driver: &Path| {
            let profile = Profile::new(config, "input", false);
            engine_folder(Path::new("/engines"), model, &machine(config, 0, Some(&profile), driver))
        };
        let first = folder(&config, b"model", usual.path());
        assert_eq!(first, folder(&config, b"model", usual.path()), "the same again");
        assert!(first.starts_with("/engines"));
        let others = [
            folder(&config, b"its successor", usual.path()),
            folder(&half, b"model", usual.path()),
            folder(&second, b"model", usual.path()),
            folder(&larger, b"model", usual.path()),
            folder(&config, b"model", driver("590.10", &["NVIDIA H100", "NVIDIA H100"]).path()),
            folder(&config, b"model", driver("580.65", &["NVIDIA L4"]).path()),
            folder(&config, b"model", Path::new("/no/driver/here")),
        ];
        for (index, other) in others.iter().enumerate() {
            assert_ne!(&first, other, "{index}");
        }
    }

    #[test]
    fn engines_are_for_this_user_alone() {
        let directory = tempfile::tempdir().unwrap();
        let folder = directory.path().join("engines/0123-4567");
        private_folder(&folder).unwrap();
        private_folder(&folder).unwrap();
        assert_eq!(fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        fs::write(directory.path().join("file"), "").unwrap();
        assert!(private_folder(&directory.path().join("file/below")).is_err());
    }

    #[test]
    fn engines_have_a_folder_where_they_are_kept() {
        let directory = tempfile::tempdir().unwrap();
        let root = directory.path().join("engines");
        let kept = GpuConfig { engine_cache: Some(root.clone()), ..GpuConfig::default() };
        let _ = (
            tensorrt(&kept, 0, b"model", None),
            tensorrt(&kept, 0, b"model", None),
            tensorrt(&kept, 0, b"another", None),
            cuda(&kept, 0),
        );
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
        // A place that cannot be written to costs the cache, not the provider.
        fs::write(directory.path().join("file"), "").unwrap();
        let lost = GpuConfig { engine_cache: Some(directory.path().join("file")), ..kept };
        let _ = tensorrt(&lost, 0, b"model", None);
    }

    #[test]
    fn profiles_hold_whatever_a_lane_may_ask_for() {
        let config = GpuConfig { batch: 4, ..GpuConfig::default() };
        let profile = Profile::new(&config, "lr", false);
        let told = [profile.least.as_str(), &profile.usual, &profile.most];
        assert_eq!(told, ["lr:1x1x16x16", "lr:4x1x360x640", "lr:4x1x572x992"]);
        assert_eq!(
            Profile::new(&config, "lr", true).most,
            "lr:1x1x572x992",
            "a file that takes one at a time"
        );
        assert!(is_prepared_for(&config, (960, 540)) && !is_prepared_for(&config, (540, 960)));
        let small = GpuConfig { batch: 1, largest_source: (320, 180), ..GpuConfig::default() };
        let profile = Profile::new(&small, "lr", false);
        assert_eq!([profile.usual, profile.most], ["lr:5x1x212x352"; 2]);
    }

    #[test]
    fn cards_have_names() {
        let machine = driver("580.65", &["NVIDIA H100 80GB HBM3", "NVIDIA L4"]);
        assert_eq!(cards_of(machine.path()), ["NVIDIA H100 80GB HBM3", "NVIDIA L4"]);
        assert_eq!(cards_of(Path::new("/no/driver/here")), [""; 0]);
        let two = GpuConfig { devices: vec![2, 5], ..GpuConfig::default() };
        assert_eq!([0, 1, 9].map(|card| number(&two, card)), [2, 5, 2]);
    }
}
