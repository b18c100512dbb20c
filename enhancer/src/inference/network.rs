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
    /// The file's batch is fixed at one, as the contract allows.
    is_single: bool,
    /// Input of the last shape that was run: windows, width, height.
    input: Option<([usize; 3], Tensor<u8>)>,
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
        let batch = session.inputs().first().and_then(|input| input.dtype().tensor_shape()?.first().copied());
        let is_single = batch == Some(1);
        Ok(Self { session, contract: contract.clone(), overlay, is_single, input: None })
    }

    pub(crate) fn scale(&self) -> usize {
        self.contract.scale as usize
    }

    /// Enlarges a luma plane into `target`, which is `scale` times as wide and high.
    pub(crate) fn run(&mut self, source: Plane<'_>, mut target: PlaneMut<'_>) -> Result<(), InferenceError> {
        let whole = Window { x: 0, y: 0, width: source.width, height: source.height };
        self.infer(source, &[whole], 0, &mut target)?;
        self.finish(source, &mut target);
        Ok(())
    }

    /// Enlarges windows of a luma plane, all of one size, in one go, each with the `halo` low pixels around it that its edge
    /// pixels depend on. They may reach beyond the picture. The rest of `target` stays as it is.
    pub(crate) fn infer(
        &mut self,
        source: Plane<'_>,
        windows: &[Window],
        halo: usize,
        target: &mut PlaneMut<'_>,
    ) -> Result<(), InferenceError> {
        if self.is_single && windows.len() > 1 {
            return windows
                .iter()
                .try_for_each(|window| self.infer(source, std::slice::from_ref(window), halo, target));
        }
        let scale = self.scale();
        let Some(&Window { width, height, .. }) = windows.first() else { return Ok(()) };
        let fits = |window: &Window| {
            (window.width, window.height) == (width, height)
                && window.x < source.width
                && window.y < source.height
        };
        if (target.width, target.height) != (source.width * scale, source.height * scale)
            || !windows.iter().all(fits)
        {
            return Err(self.broken(format!(
                "a {}x{} target for a {}x{} source",
                target.width, target.height, source.width, source.height
            )));
        }
        let (wide, high) = (width + 2 * halo, height + 2 * halo);
        let shape = [windows.len(), wide, high];
        if self.input.as_ref().is_none_or(|(known, _)| *known != shape) {
            let samples = vec![0_u8; windows.len() * wide * high];
            self.input = Some((shape, Tensor::from_array(([windows.len(), 1, high, wide], samples))?));
        }
        let Some((_, input)) = &mut self.input else { return Err(self.broken("no input".into())) };
        let (_, samples) = input.extract_tensor_mut();
        for (window, samples) in windows.iter().zip(samples.chunks_exact_mut(wide * high)) {
            cut(source, window, halo, samples);
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
        let mut expected = self.contract.output_shape(wide as u32, high as u32);
        expected[0] = windows.len() as i64;
        if **shape != expected {
            return Err(InferenceError::Contract {
                contract: self.contract.to_string(),
                found: format!("output {shape:?} for a {wide}x{high} source"),
            });
        }
        let stride = wide * scale;
        for (window, samples) in windows.iter().zip(samples.chunks_exact(stride * high * scale)) {
            let from = samples.get(halo * scale * (stride + 1)..).unwrap_or_default();
            let to = window.y * scale * target.stride + window.x * scale;
            let to = target.data.get_mut(to..).unwrap_or_default();
            let (across, down) = (width.min(source.width - window.x), height.min(source.height - window.y));
            copy_rows(from, stride, to, target.stride, across * scale, down * scale);
        }
        Ok(())
    }

    /// Puts what is known of the cluster's pictures into `target`, all of which networks have made of `source`.
    pub(crate) fn finish(&mut self, source: Plane<'_>, target: &mut PlaneMut<'_>) {
        if let Some(overlay) = &mut self.overlay {
            overlay.apply(source, target);
        }
    }

    fn broken(&self, found: String) -> InferenceError {
        InferenceError::Contract { contract: self.contract.to_string(), found }
    }
}

/// A part of a low picture, in low pixels.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Window {
    pub(crate) x: usize,
    pub(crate) y: usize,
    pub(crate) width: usize,
    pub(crate) height: usize,
}

/// Copies a window with `halo` pixels around it; where the picture ends, its edge pixels go on.
fn cut(source: Plane<'_>, window: &Window, halo: usize, samples: &mut [u8]) {
    let wide = window.width + 2 * halo;
    let before = halo.saturating_sub(window.x);
    let behind = (window.x + window.width + halo).saturating_sub(source.width);
    let first = window.x.saturating_sub(halo);
    for (row, line) in samples.chunks_exact_mut(wide).enumerate() {
        let y = (window.y + row).saturating_sub(halo).min(source.height.saturating_sub(1));
        let from = source.data.get(y * source.stride..).unwrap_or_default();
        let Some(from) = from.get(first..first + wide - before - behind) else { return };
        line[before..wide - behind].copy_from_slice(from);
        if let (Some(first), Some(last)) = (from.first(), from.last()) {
            line[..before].fill(*first);
            line[wide - behind..].fill(*last);
        }
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
