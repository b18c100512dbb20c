//! The only door to ONNX Runtime: its library is loaded once, sessions are made from verified bytes, and a
//! session that exists has the provider that was asked for and the tensors that the contract names.
//!
//! ONNX Runtime falls back to its CPU provider in silence; here that is an error, because an operator who
//! asked for an accelerator must learn at start, not from a bill, that it is not used.

mod batch;
mod batcher;
mod choice;
mod embedder;
mod fixed;
mod gpu;
mod graph;
mod groups;
mod middle;
mod network;
mod overlay;
mod proof;
mod runner;

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};

use acuity_config::{EnhancerConfig, GpuConfig, Precision, Provider};
use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch};
use ort::memory::AllocationDevice;
use ort::session::Session;
use ort::session::builder::{GraphOptimizationLevel, SessionBuilder};

pub(crate) use choice::{Engine, Files};
pub(crate) use embedder::Embedder;
pub(crate) use gpu::cards_of_the_machine;
pub(crate) use middle::Middle;
pub(crate) use network::{CONTINUED, InferenceError, Network, Window};

use crate::StartError;
use crate::cards::Cards;
use batch::Policy;
use gpu::Profile;
use runner::Memory;

/// ONNX Runtime, loaded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runtime {
    environment: Environment,
    provider: Provider,
    precision: Precision,
    threads: usize,
    gpu: Arc<GpuConfig>,
    /// What each of the cards is at; one place on processors.
    cards: Arc<Cards>,
    /// How pictures of several lanes are run together; `None`: each lane has a session of its own.
    batching: Option<Policy>,
}

/// OpenVINO's own settings. Each session would pin its threads to the first cores, where those of the lane beside it are pinned too,
/// and while the encoder keeps one of them busy the others wait for it. What is not int8 stays single precision: bfloat16 has whole
/// steps from 128 on, and what the layers add to the interpolation is finer (0.1 dB lost on a clear clip).
const OPENVINO_CONFIG: &str = r#"{"CPU": {"ENABLE_CPU_PINNING": "NO", "INFERENCE_PRECISION_HINT": "f32", "PERFORMANCE_HINT": "LATENCY"}}"#;

/// The environment is one per process, because the shared library is.
static ENVIRONMENT: OnceLock<(PathBuf, Environment)> = OnceLock::new();
static LOADING: Mutex<()> = Mutex::new(());

/// What the dynamic loader is asked for where no path is configured.
const DEFAULT_LIBRARY: &str = "libonnxruntime.so";

impl Runtime {
    /// Loads the library named by `config` (or found by the dynamic loader) and checks the provider.
    pub(crate) fn load(config: &EnhancerConfig) -> Result<Self, StartError> {
        let path = config.runtime_library.clone().unwrap_or_else(|| PathBuf::from(DEFAULT_LIBRARY));
        let environment = environment(&path)?;
        let EnhancerConfig { provider, mut precision, inference_threads: threads, .. } = *config;
        if provider.is_gpu() && precision == Precision::Auto {
            precision = Precision::Float;
        }
        let gpu = Arc::new(config.gpu.clone());
        let is_gpu = provider.is_gpu();
        let cards = Cards::new(if is_gpu { gpu.devices.len() } else { 1 });
        let batching = (is_gpu && gpu.batch > 1).then_some(Policy { most: gpu.batch, wait: gpu.batch_wait });
        let runtime = Self { environment, provider, precision, threads, gpu, cards, batching };
        match runtime.has_provider() {
            // That it was built in does not mean that it can run: the driver may be missing, or the card.
            Ok(true) if provider.is_gpu() => runtime.open_cards().map(|()| runtime.clone()),
            Ok(true) => Ok(runtime),
            Ok(false) => Err("this ONNX Runtime library was built without it".to_owned()),
            Err(error) => Err(error.to_string()),
        }
        .map_err(|message| StartError::Provider { provider: provider.to_string(), message })
    }

    /// Opens each card, by a session of one layer.
    fn open_cards(&self) -> Result<(), String> {
        (0..self.cards.len()).try_for_each(|card| match self.session(gpu::PROBE, card, None) {
            Ok(_) => Ok(()),
            Err(error) => Err(format!("card {}: {error}", gpu::number(&self.gpu, card))),
        })
    }

    /// Windows of one picture in one run, at most.
    fn most_windows(&self) -> usize {
        if self.provider.is_gpu() { gpu::most(&self.gpu) } else { usize::MAX }
    }

    /// Where tensors of a session on `card` lie.
    fn memory(&self, card: usize) -> Memory {
        if self.provider.is_gpu() {
            Memory::Of(AllocationDevice::CUDA_PINNED, gpu::number(&self.gpu, card))
        } else {
            Memory::Ordinary
        }
    }

    /// Whether the library was built with the provider.
    fn has_provider(&self) -> ort::Result<bool> {
        match self.provider {
            Provider::Auto | Provider::Cpu => Ok(true),
            Provider::OpenVino => ep::OpenVINO::is_available(),
            Provider::Cuda => ep::CUDA::is_available(),
            Provider::TensorRt => ep::TensorRT::is_available(),
        }
    }

    /// What `model`, the bytes of an ONNX file, is run by; none is ONNX Runtime's own kernels.
    fn dispatch(
        &self,
        model: &[u8],
        card: usize,
        profile: Option<&Profile>,
    ) -> Vec<ExecutionProviderDispatch> {
        let provider = match self.provider {
            Provider::Auto | Provider::Cpu => return Vec::new(),
            Provider::OpenVino => ep::OpenVINO::default()
                .with_device_type("CPU")
                .with_num_threads(self.threads)
                .with_arbitrary_config("load_config", OPENVINO_CONFIG)
                .build(),
            Provider::Cuda => gpu::cuda(&self.gpu, card),
            // What TensorRT leaves is CUDA's, in the same memory.
            Provider::TensorRt => {
                let tensorrt = gpu::tensorrt(&self.gpu, card, model, profile);
                let providers = [tensorrt, gpu::cuda(&self.gpu, card)];
                return providers.map(ExecutionProviderDispatch::error_on_failure).into();
            }
        };
        vec![provider.error_on_failure()]
    }

    /// A session on the processor that is not meant to run: what `model` says of its tensors.
    fn read_only(&self, model: &[u8]) -> ort::Result<Session> {
        let mut builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::Disable)?
            .with_intra_threads(1)?;
        builder.commit_from_memory(model)
    }

    /// Whether a session for one size is quicker than one for all.
    fn gains_by_fixed_shapes(&self) -> bool {
        self.provider == Provider::OpenVino
    }

    /// A session over `model`, the bytes of an ONNX file, on a card by its place in the configuration, where it is a card that runs
    /// it; TensorRT compiles it for the shapes of `profile`, or without one for each shape when it comes.
    fn session(&self, model: &[u8], card: usize, profile: Option<&Profile>) -> ort::Result<Session> {
        self.builder_with(self.dispatch(model, card, profile))?.commit_from_memory(model)
    }

    /// A session on the processor for these values of dimensions that `model` gives a name to instead of a size.
    fn session_for(&self, model: &[u8], dimensions: &[(&str, i64)]) -> ort::Result<Session> {
        let mut builder = self.builder(model)?;
        for (name, size) in dimensions {
            builder = builder.with_dimension_override(name, *size)?;
        }
        builder.commit_from_memory(model)
    }

    /// What makes sessions over `model` on the processor or the first card.
    fn builder(&self, model: &[u8]) -> ort::Result<SessionBuilder> {
        self.builder_with(self.dispatch(model, 0, None))
    }

    fn builder_with(&self, providers: Vec<ExecutionProviderDispatch>) -> ort::Result<SessionBuilder> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.threads)?
            .with_inter_threads(1)?
            // Spinning workers would burn the cores that the decoder and the encoder of the same lane need.
            .with_intra_op_spinning(false)?
            .with_execution_providers(providers)?;
        // That a provider is there does not mean that it takes a layer.
        Ok(if self.provider.is_gpu() { builder.with_disable_cpu_fallback()? } else { builder })
    }
}

fn environment(path: &Path) -> Result<Environment, StartError> {
    let failed = |message: String| StartError::Runtime { path: path.display().to_string(), message };
    let _one_at_a_time = LOADING.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((loaded, environment)) = ENVIRONMENT.get() {
        if loaded != path {
            return Err(failed(format!("{} is loaded already; a process has one", loaded.display())));
        }
        return Ok(environment.clone());
    }
    let environment = ort::init_from(path)
        .map_err(|error| failed(error.to_string()))?
        .with_name("acuity")
        .with_telemetry(false)
        .build()
        .map_err(|error| failed(error.to_string()))?;
    let (_, environment) = ENVIRONMENT.get_or_init(|| (path.to_owned(), environment));
    Ok(environment.clone())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used)]
pub(crate) mod tests;
