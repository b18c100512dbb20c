//! The only door to ONNX Runtime: its library is loaded once, sessions are made from verified bytes, and a
//! session that exists has the provider that was asked for and the tensors that the contract names.
//!
//! ONNX Runtime falls back to its CPU provider in silence; here that is an error, because an operator who
//! asked for an accelerator must learn at start, not from a bill, that it is not used.

mod choice;
mod embedder;
mod gpu;
mod network;
mod overlay;
mod proof;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use acuity_config::{EnhancerConfig, GpuConfig, Precision, Provider};
use ort::environment::Environment;
use ort::ep::{self, ArbitrarilyConfigurableExecutionProvider, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

pub(crate) use choice::{Engine, Files};
pub(crate) use embedder::Embedder;
pub(crate) use network::{InferenceError, Network, Window};

use crate::StartError;

/// ONNX Runtime, loaded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runtime {
    environment: Environment,
    provider: Provider,
    precision: Precision,
    threads: usize,
    gpu: GpuConfig,
}

/// OpenVINO's own settings. Each session would pin its threads to the first cores, where those of the lane beside it are pinned too,
/// and while the encoder keeps one of them busy the others wait for it. The one layer of an int8 file that is not int8 may run in
/// bfloat16 (0.001 dB); a float file stays what it is.
fn openvino_config(precision: Precision) -> String {
    let hint = if precision == Precision::Int8 { "bf16" } else { "f32" };
    format!(
        r#"{{"CPU": {{"ENABLE_CPU_PINNING": "NO", "INFERENCE_PRECISION_HINT": "{hint}", "PERFORMANCE_HINT": "LATENCY"}}}}"#
    )
}

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
        let runtime = Self { environment, provider, precision, threads, gpu: config.gpu.clone() };
        match runtime.has_provider() {
            // That it was built in does not mean that it can run: the driver may be missing, or the card.
            Ok(true) if provider.is_gpu() => {
                runtime.session(gpu::PROBE).map(|_| runtime.clone()).map_err(|error| error.to_string())
            }
            Ok(true) => Ok(runtime),
            Ok(false) => Err("this ONNX Runtime library was built without it".to_owned()),
            Err(error) => Err(error.to_string()),
        }
        .map_err(|message| StartError::Provider { provider: provider.to_string(), message })
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
    fn dispatch(&self, model: &[u8]) -> Vec<ExecutionProviderDispatch> {
        let provider = match self.provider {
            Provider::Auto | Provider::Cpu => return Vec::new(),
            Provider::OpenVino => ep::OpenVINO::default()
                .with_device_type("CPU")
                .with_num_threads(self.threads)
                .with_arbitrary_config("load_config", openvino_config(self.precision))
                .build(),
            Provider::Cuda => gpu::cuda(&self.gpu),
            // What TensorRT leaves is CUDA's, in the same memory.
            Provider::TensorRt => {
                let providers = [gpu::tensorrt(&self.gpu, model), gpu::cuda(&self.gpu)];
                return providers.map(ExecutionProviderDispatch::error_on_failure).into();
            }
        };
        vec![provider.error_on_failure()]
    }

    /// A session over `model`, the bytes of an ONNX file.
    fn session(&self, model: &[u8]) -> ort::Result<Session> {
        let builder = Session::builder(&self.environment)?
            .with_optimization_level(GraphOptimizationLevel::All)?
            .with_intra_threads(self.threads)?
            .with_inter_threads(1)?
            // Spinning workers would burn the cores that the decoder and the encoder of the same lane need.
            .with_intra_op_spinning(false)?
            .with_execution_providers(self.dispatch(model))?;
        // That a provider is there does not mean that it takes a layer.
        let mut builder = if self.provider.is_gpu() { builder.with_disable_cpu_fallback()? } else { builder };
        builder.commit_from_memory(model)
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
