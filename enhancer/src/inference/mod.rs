//! The only door to ONNX Runtime: its library is loaded once, sessions are made from verified bytes, and a
//! session that exists has the provider that was asked for and the tensors that the contract names.
//!
//! ONNX Runtime falls back to its CPU provider in silence; here that is an error, because an operator who
//! asked for an accelerator must learn at start, not from a bill, that it is not used.

mod embedder;
mod network;
mod proof;

use std::path::{Path, PathBuf};
use std::sync::{Mutex, OnceLock, PoisonError};

use acuity_config::{EnhancerConfig, Provider};
use ort::environment::Environment;
use ort::ep::{self, ExecutionProvider, ExecutionProviderDispatch};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;

pub(crate) use embedder::Embedder;
pub(crate) use network::{InferenceError, Network};

use crate::StartError;

/// ONNX Runtime, loaded. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Runtime {
    environment: Environment,
    provider: Provider,
    threads: usize,
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
        let runtime = Self { environment, provider: config.provider, threads: config.inference_threads };
        runtime.require_provider()?;
        Ok(runtime)
    }

    /// The provider's name in metrics and reports.
    pub(crate) fn provider_label(&self) -> &'static str {
        match self.provider {
            Provider::Cpu => "cpu",
            Provider::OpenVino => "openvino",
            Provider::Cuda => "cuda",
            Provider::TensorRt => "tensorrt",
        }
    }

    fn require_provider(&self) -> Result<(), StartError> {
        let available = match self.provider {
            Provider::Cpu => return Ok(()),
            Provider::OpenVino => ep::OpenVINO::is_available(),
            Provider::Cuda => ep::CUDA::is_available(),
            Provider::TensorRt => ep::TensorRT::is_available(),
        };
        let message = match available {
            Ok(true) => return Ok(()),
            Ok(false) => "this ONNX Runtime library was built without it".to_owned(),
            Err(error) => error.to_string(),
        };
        Err(StartError::Provider { provider: self.provider_label().to_owned(), message })
    }

    fn dispatch(&self) -> Vec<ExecutionProviderDispatch> {
        let provider = match self.provider {
            Provider::Cpu => return Vec::new(),
            Provider::OpenVino => {
                ep::OpenVINO::default().with_device_type("CPU").with_num_threads(self.threads).build()
            }
            Provider::Cuda => ep::CUDA::default().build(),
            Provider::TensorRt => ep::TensorRT::default().build(),
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
            .with_execution_providers(self.dispatch())?;
        let mut builder = builder;
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
