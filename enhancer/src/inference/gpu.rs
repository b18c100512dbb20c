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

/// CUDA with its own kernels and cuDNN's.
pub(super) fn cuda(config: &GpuConfig) -> ExecutionProviderDispatch {
    ep::CUDA::default()
        .with_device_id(device(config))
        // Said either way: bindings and the library differ in what is the default.
        .with_tf32(config.precision == GpuPrecision::Float16)
        .build()
}

/// TensorRT for `model`, the bytes of an ONNX file.
pub(super) fn tensorrt(config: &GpuConfig, model: &[u8]) -> ExecutionProviderDispatch {
    let mut provider = ep::TensorRT::default()
        .with_device_id(device(config))
        .with_fp16(config.precision == GpuPrecision::Float16);
    if let Some(root) = &config.engine_cache {
        let folder = engine_folder(root, model, &machine(config, Path::new(DRIVER)));
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

fn device(config: &GpuConfig) -> i32 {
    // 63 at most, says the configuration.
    i32::try_from(config.device).unwrap_or(i32::MAX)
}

/// A folder for what is compiled of one model for one machine. ONNX Runtime names the files in it by the graph and by ranges of
/// shapes, not by the weights: two tiers of one architecture, or a model and its successor, would be taken for each other.
fn engine_folder(root: &Path, model: &[u8], machine: &str) -> PathBuf {
    let short = |bytes: &[u8]| Sha256::of(bytes).to_string().chars().take(16).collect::<String>();
    root.join(format!("{}-{}", short(model), short(machine.as_bytes())))
}

/// What an engine is good for beside its model: numbers, card, driver and library. Cards are in the order of their addresses, which
/// need not be CUDA's; with all of them in it, a machine whose cards change begins anew.
fn machine(config: &GpuConfig, driver: &Path) -> String {
    let read = |path: PathBuf| {
        let mut text = String::new();
        File::open(path).and_then(|file| file.take(TEXT_LIMIT_BYTES).read_to_string(&mut text)).map(|_| text)
    };
    let mut cards: Vec<PathBuf> = fs::read_dir(driver.join("gpus"))
        .map(|entries| entries.filter_map(Result::ok).map(|entry| entry.path()).take(CARDS_LIMIT).collect())
        .unwrap_or_default();
    cards.sort();
    let mut said = vec![
        format!("device {} {}", config.device, config.precision.as_str()),
        read(driver.join("version")).unwrap_or_default(),
    ];
    for card in cards {
        let text = read(card.join("information")).unwrap_or_default();
        said.extend(text.lines().filter(|line| line.starts_with("Model:")).map(str::to_owned));
    }
    said.join("\n")
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
        assert!(plain.session(PROBE).is_ok(), "the probe is a network");
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
        let second = GpuConfig { device: 1, ..GpuConfig::default() };
        let usual = driver("580.65", &["NVIDIA H100", "NVIDIA H100"]);
        let folder = |config: &GpuConfig, model: &[u8], driver: &Path| {
            engine_folder(Path::new("/engines"), model, &machine(config, driver))
        };
        let first = folder(&config, b"model", usual.path());
        assert_eq!(first, folder(&config, b"model", usual.path()), "the same again");
        assert!(first.starts_with("/engines"));
        let others = [
            folder(&config, b"its successor", usual.path()),
            folder(&half, b"model", usual.path()),
            folder(&second, b"model", usual.path()),
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
        let _ =
            (tensorrt(&kept, b"model"), tensorrt(&kept, b"model"), tensorrt(&kept, b"another"), cuda(&kept));
        assert_eq!(fs::read_dir(&root).unwrap().count(), 2);
        // A place that cannot be written to costs the cache, not the provider.
        fs::write(directory.path().join("file"), "").unwrap();
        let lost = GpuConfig { engine_cache: Some(directory.path().join("file")), ..kept };
        let _ = tensorrt(&lost, b"model");
    }
}
