//! One network, ready to run: a session of its own (ONNX Runtime wants `&mut`), and the tensor that pictures
//! are written into. A worker thread owns it.

use acuity_models::TensorContract;
use ort::session::Session;
use ort::value::{Tensor, TensorElementType, ValueType};

use super::Runtime;
use super::overlay::{self, BadOverlay, Overlay};
use crate::codec::{Plane, PlaneMut};

/// Why a network cannot be used, or stopped.
#[derive(Debug, thiserror::Error)]
pub(crate) enum InferenceError {
    /// ONNX Runtime's own words.
    #[error("ONNX Runtime: {0}")]
    Runtime(#[from] ort::Error),
    /// The network's tensors are not those of its contract.
    #[error("the network does not keep its contract ({contract}): {found}")]
    Contract { contract: String, found: String },
    /// What it knows of its cluster's pictures cannot be read.
    #[error(transparent)]
    Overlay(#[from] BadOverlay),
    /// It runs and gives something else than the picture, enlarged.
    #[error(
        "the network's output is not its input enlarged: on average {mean_error:.0} of 255 code values off"
    )]
    Output { mean_error: f64 },
    /// The provider or the int8 file does not give the picture that the float file gives on plain kernels.
    #[error(
        "its picture of the test chart is not that of the plain kernels: mean squared error {squared_error:.1}"
    )]
    Shortcut { squared_error: f64 },
}

pub(crate) struct Network {
    session: Session,
    contract: TensorContract,
    overlay: Option<Overlay>,
    /// Input of the last size that was run.
    input: Option<(usize, usize, Tensor<u8>)>,
}

impl Network {
    /// Makes a session of `model` (verified bytes) and compares what it has with `contract`.
    pub(crate) fn load(
        runtime: &Runtime,
        model: &[u8],
        contract: &TensorContract,
    ) -> Result<Self, InferenceError> {
        let session = runtime.session(model)?;
        check(&session, contract)?;
        let overlay = session.metadata()?.custom(overlay::METADATA_KEY);
        let overlay = overlay.map(|text| Overlay::parse(&text, contract.scale as usize)).transpose()?;
        Ok(Self { session, contract: contract.clone(), overlay, input: None })
    }

    pub(super) fn scale(&self) -> usize {
        self.contract.scale as usize
    }

    /// Enlarges a luma plane into `target`, which is `scale` times as wide and high.
    pub(crate) fn run(&mut self, source: Plane<'_>, mut target: PlaneMut<'_>) -> Result<(), InferenceError> {
        let (width, height) = (source.width, source.height);
        let scale = self.contract.scale as usize;
        if (target.width, target.height) != (width * scale, height * scale) {
            return Err(self.broken(format!(
                "a {}x{} target for a {width}x{height} source",
                target.width, target.height
            )));
        }
        let fits = self.input.as_ref().is_some_and(|(w, h, _)| (*w, *h) == (width, height));
        if !fits {
            let tensor = Tensor::from_array(([1, 1, height, width], vec![0_u8; width * height]))?;
            self.input = Some((width, height, tensor));
        }
        let Some((_, _, input)) = &mut self.input else { return Err(self.broken("no input".into())) };
        {
            let (_, samples) = input.extract_tensor_mut();
            copy_rows(source.data, source.stride, samples, width, width, height);
        }
        let outputs = self.session.run(ort::inputs![self.contract.input.as_str() => &*input])?;
        let (shape, samples) = match outputs.get(self.contract.output.as_str()) {
            Some(value) => value.try_extract_tensor::<u8>()?,
            None => {
                return Err(InferenceError::Contract {
                    contract: self.contract.to_string(),
                    found: "no output".into(),
                });
            }
        };
        // The shape, not the count: swapped axes have as many samples.
        if **shape != self.contract.output_shape(width as u32, height as u32) {
            return Err(InferenceError::Contract {
                contract: self.contract.to_string(),
                found: format!("output {shape:?} for a {width}x{height} source"),
            });
        }
        copy_rows(samples, target.width, target.data, target.stride, target.width, target.height);
        if let Some(overlay) = &mut self.overlay {
            overlay.apply(source, &mut target);
        }
        Ok(())
    }

    fn broken(&self, found: String) -> InferenceError {
        InferenceError::Contract { contract: self.contract.to_string(), found }
    }
}

/// Copies `height` rows of `width` bytes between planes of different strides.
pub(super) fn copy_rows(
    from: &[u8],
    from_stride: usize,
    to: &mut [u8],
    to_stride: usize,
    width: usize,
    height: usize,
) {
    if from_stride == width
        && to_stride == width
        && from.len() >= width * height
        && to.len() >= width * height
    {
        to[..width * height].copy_from_slice(&from[..width * height]);
        return;
    }
    for (source, target) in from.chunks(from_stride).zip(to.chunks_mut(to_stride)).take(height) {
        if let (Some(source), Some(target)) = (source.get(..width), target.get_mut(..width)) {
            target.copy_from_slice(source);
        }
    }
}

fn check(session: &Session, contract: &TensorContract) -> Result<(), InferenceError> {
    let describe = |outlets: &[ort::value::Outlet]| {
        outlets
            .iter()
            .map(|outlet| format!("{} {:?}", outlet.name(), outlet.dtype()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    let is_bytes = |outlet: &ort::value::Outlet| match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } => {
            *ty == TensorElementType::Uint8 && shape.len() == TensorContract::RANK
        }
        _ => false,
    };
    let input_fits = match session.inputs() {
        [input] => {
            input.name() == contract.input
                && is_bytes(input)
                && input
                    .dtype()
                    .tensor_shape()
                    .is_some_and(|shape| TensorContract::accepts_declared_input(shape))
        }
        _ => false,
    };
    let output_fits =
        matches!(session.outputs(), [output] if output.name() == contract.output && is_bytes(output));
    if input_fits && output_fits {
        return Ok(());
    }
    Err(InferenceError::Contract {
        contract: contract.to_string(),
        found: format!("inputs: {}; outputs: {}", describe(session.inputs()), describe(session.outputs())),
    })
}
