//! Which execution provider and which of a model's files: found out on this machine, and checked for every model.
//!
//! The same network takes three times as long in one way as in another, and which is quickest depends on the processor and on
//! the library that is installed, so where the configuration leaves it open the first model is timed in every way there is.
//! A shortcut has to show that it is one: whatever is not ONNX Runtime's own float kernels is compared with them on a test
//! chart, for each model, and is not used for a model whose pictures it changes.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use acuity_config::{Precision, Provider};
use acuity_models::TensorContract;
use bytes::Bytes;
use ort::session::Session;

use super::Runtime;
use super::batcher::Batcher;
use super::fixed::FixedShapes;
use super::gpu::{self, Profile};
use super::network::{self, InferenceError, Network, Runs};
use super::runner::Runner;
use crate::cards::{Cards, Spread};

/// How far a shortcut's picture of the test chart may be from the float kernels': mean squared error in code values. Trained
/// int8 networks are within 0.3 of it on coded video and within 3 on the chart, bfloat16 within 0.1; a picture that is wrong
/// in one part is hundreds away.
const CHART_LIMIT: f64 = 12.0;

/// A model's verified files.
#[derive(Clone)]
pub(crate) struct Files {
    pub(crate) float: Bytes,
    pub(crate) int8: Option<Bytes>,
}

/// How a model is run. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Engine {
    runtime: Runtime,
    model: Bytes,
    contract: TensorContract,
    /// Its sessions on each card.
    spread: Spread,
    /// Where lanes share a session: that of each card, while there is one.
    batchers: Arc<Mutex<Vec<Weak<Batcher>>>>,
}

impl Engine {
    /// A session, or a way to one that is shared, checked against the contract: on the card that suits it best, or where that
    /// fails on another.
    pub(crate) fn session(&self) -> Result<Network, InferenceError> {
        let mut failed = None;
        for card in self.spread.for_new() {
            match self.session_on(card) {
                Ok(network) => return Ok(network),
                Err(error) => {
                    failed.get_or_insert(error);
                }
            }
        }
        // There is at least one place.
        Err(failed.unwrap_or_else(|| InferenceError::Batch("no card".into())))
    }

    fn session_on(&self, card: usize) -> Result<Network, InferenceError> {
        let (runtime, contract) = (&self.runtime, &self.contract);
        let (seat, most) = (self.spread.seat(card), runtime.most_windows());
        let mut batchers = self.batchers.lock().unwrap_or_else(PoisonError::into_inner);
        let places = batchers.len().max(card + 1);
        batchers.resize_with(places, Weak::new);
        if let Some(batcher) = batchers[card].upgrade().filter(|batcher| !batcher.is_closed()) {
            return Network::shared(&batcher, contract, most, seat);
        }
        let session = self.compiled(card)?;
        let facts = network::facts(&session, contract)?;
        let (output, scale) = (&contract.output, contract.scale as usize);
        let fixed = FixedShapes::new(runtime, &self.model, &session, output, scale);
        let runner = Runner::new(session, contract, &runtime.memory(card), fixed);
        match runtime.batching {
            Some(policy) if !facts.is_single => {
                let batcher = Batcher::start(runner, facts, policy)?;
                batchers[card] = Arc::downgrade(&batcher);
                Network::shared(&batcher, contract, most, seat)
            }
            _ => Network::new(Runs::Alone(Box::new(runner)), &facts, contract, most, seat),
        }
    }

    /// A session; of TensorRT compiled for all shapes that may come.
    fn compiled(&self, card: usize) -> Result<Session, InferenceError> {
        let (runtime, contract) = (&self.runtime, &self.contract);
        if runtime.provider != Provider::TensorRt {
            return Ok(runtime.session(&self.model, card, None)?);
        }
        // What the profile must say of a batch is known only from the file, which a session on the processor reads quickest.
        let is_single = network::is_single(&runtime.read_only(&self.model)?);
        let profile = Profile::new(&runtime.gpu, &contract.input, is_single);
        match runtime.session(&self.model, card, Some(&profile)) {
            Ok(session) => Ok(session),
            // TensorRT may have left the first layer to CUDA, and then knows no input by this name.
            Err(error) => {
                let without = runtime.session(&self.model, card, None)?;
                tracing::warn!(%error, "TensorRT takes no range of shapes: it compiles when a size first comes, and that lane waits");
                Ok(without)
            }
        }
    }

    /// Sessions that lanes share.
    #[cfg(test)]
    pub(super) fn shared_sessions(&self) -> usize {
        let batchers = self.batchers.lock().unwrap_or_else(PoisonError::into_inner);
        batchers.iter().filter(|batcher| batcher.strong_count() > 0).count()
    }

    /// As [`Engine::session`], with other windows in one run.
    #[cfg(test)]
    pub(super) fn session_of(&self, most: usize) -> Option<Network> {
        let batcher = self.batchers.lock().unwrap_or_else(PoisonError::into_inner).first()?.upgrade()?;
        Network::shared(&batcher, &self.contract, most, self.spread.seat(0)).ok()
    }

    /// The account of the cards.
    pub(crate) fn cards(&self) -> &Cards {
        self.spread.cards()
    }

    /// Whether it may be given source pictures of this size.
    pub(crate) fn takes(&self, size: (u32, u32)) -> bool {
        self.runtime.provider != Provider::TensorRt || gpu::is_prepared_for(&self.runtime.gpu, size)
    }

    /// The provider's name in metrics and reports.
    pub(crate) fn provider(&self) -> &'static str {
        self.runtime.provider.as_str()
    }

    /// `float` or `int8`.
    pub(crate) fn precision(&self) -> &'static str {
        self.runtime.precision.as_str()
    }

    /// Whether it is the int8 file that runs.
    pub(crate) fn is_int8(&self) -> bool {
        self.runtime.precision == Precision::Int8
    }

    fn is_reference(&self) -> bool {
        (self.runtime.provider, self.runtime.precision) == (Provider::Cpu, Precision::Float)
    }
}

impl Runtime {
    /// Whether the configuration left something open that a model with these files can tell.
    pub(crate) fn is_open(&self, files: &Files) -> bool {
        self.provider == Provider::Auto || (self.precision == Precision::Auto && files.int8.is_some())
    }

    /// What runs networks: what the configuration left open and no model has settled yet is `Auto`.
    pub(crate) fn way(&self) -> (Provider, Precision) {
        (self.provider, self.precision)
    }

    /// Times a model in every way that the configuration allows and goes on with the quickest. Ways that fail are left out.
    pub(crate) fn settle(&mut self, files: &Files, contract: &TensorContract) -> Result<(), InferenceError> {
        let mut quickest: Option<(f64, Self)> = None;
        let mut failed = None;
        for runtime in self.ways(files.int8.is_some()) {
            let engine = runtime.engine(files, contract);
            match runtime.proven(&engine, files) {
                Ok((_, seconds)) => {
                    let (provider, precision) = (engine.provider(), engine.precision());
                    tracing::info!(
                        provider,
                        precision,
                        nanoseconds_per_pixel = seconds * 1e9,
                        "networks can run so"
                    );
                    if quickest.as_ref().is_none_or(|(least, _)| seconds < *least) {
                        quickest = Some((seconds, runtime));
                    }
                }
                Err(error) => failed = Some(error),
            }
        }
        match (quickest, failed) {
            (Some((_, runtime)), _) => {
                self.provider = runtime.provider;
                if files.int8.is_some() {
                    self.precision = runtime.precision;
                }
            }
            (None, Some(error)) => return Err(error),
            (None, None) => {}
        }
        Ok(())
    }

    /// A model's engine and its first session, which has shown that it does what it should, with the seconds that it takes for
    /// an output pixel.
    pub(crate) fn admit(
        &self,
        id: &str,
        files: &Files,
        contract: &TensorContract,
    ) -> Result<(Engine, Network, f64), InferenceError> {
        let engine = self.engine(files, contract);
        match self.proven(&engine, files) {
            Ok((network, seconds)) => Ok((engine, network, seconds)),
            Err(error) if engine.is_reference() || self.provider.is_gpu() => Err(error),
            Err(error) => {
                let plain = self.reference().engine(files, contract);
                let (network, seconds) = self.reference().proven(&plain, files)?;
                let (provider, precision) = (engine.provider(), engine.precision());
                tracing::warn!(model = id, provider, precision, %error, "runs on plain kernels instead");
                Ok((plain, network, seconds))
            }
        }
    }

    fn proven(&self, engine: &Engine, files: &Files) -> Result<(Network, f64), InferenceError> {
        let mut network = engine.session()?;
        let seconds = network.prove()?;
        if !engine.is_reference() {
            let meant = self.reference().engine(files, &engine.contract).session()?.of_the_test_chart()?;
            let made = network.of_the_test_chart()?;
            let square = |(a, b): (&u8, &u8)| f64::from(a.abs_diff(*b)).powi(2);
            let squared_error = made.iter().zip(&meant).map(square).sum::<f64>() / meant.len().max(1) as f64;
            if squared_error > CHART_LIMIT {
                return Err(InferenceError::Shortcut { squared_error });
            }
        }
        Ok((network, seconds))
    }

    pub(super) fn engine(&self, files: &Files, contract: &TensorContract) -> Engine {
        let int8 = files.int8.as_ref().filter(|_| self.precision == Precision::Int8);
        let model = int8.unwrap_or(&files.float).clone();
        let mut runtime = self.clone();
        if runtime.provider == Provider::Auto {
            runtime.provider = Provider::Cpu;
        }
        runtime.precision = if int8.is_some() { Precision::Int8 } else { Precision::Float };
        let spread = Spread::over(&self.cards);
        Engine { runtime, model, contract: contract.clone(), spread, batchers: Arc::default() }
    }

    /// ONNX Runtime's own kernels and the float file: what shortcuts are measured against.
    fn reference(&self) -> Self {
        let (provider, precision) = (Provider::Cpu, Precision::Float);
        Self { provider, precision, batching: None, cards: Cards::new(1), ..self.clone() }
    }

    /// Every pair of provider and precision that the configuration allows, the library has and a model with or without an int8
    /// file can be run in.
    fn ways(&self, has_int8: bool) -> Vec<Self> {
        let providers = match self.provider {
            Provider::Auto => vec![Provider::Cpu, Provider::OpenVino],
            named => vec![named],
        };
        let mut ways = Vec::new();
        for provider in providers {
            let precisions = match self.precision {
                Precision::Auto if !has_int8 => vec![Precision::Float],
                Precision::Auto => vec![Precision::Float, Precision::Int8],
                named => vec![named],
            };
            for precision in precisions {
                let way = Self { provider, precision, ..self.clone() };
                if way.has_provider().unwrap_or(false) {
                    ways.push(way);
                }
            }
        }
        ways
    }
}
