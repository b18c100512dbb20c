//! One network, ready to run: a session of its own (ONNX Runtime wants `&mut`), or on cards a way to one that lanes
//! share. A worker thread owns it.

use std::sync::Arc;

use acuity_models::TensorContract;
use ort::session::Session;
use ort::value::{TensorElementType, ValueType};

use super::batcher::{Batcher, Facts, Handle, Part};
use super::fixed::{Form, Wanted};
use super::overlay::{self, BadOverlay, Overlay};
use super::runner::{Output, Runner};
use crate::cards::Seat;
use crate::codec::{Plane, PlaneMut};

/// Low pixels that the layers of a usual network are wider than what it makes, on average: the first by 14, the last by none.
pub(crate) const CONTINUED: usize = 8;

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
    /// A run for several lanes failed; one of them got the reason itself, or the thread that runs them is gone.
    #[error("a run for several streams: {0}")]
    Batch(String),
}

pub(crate) struct Network {
    runs: Runs,
    contract: TensorContract,
    overlay: Option<Overlay>,
    /// Windows in one run, at most.
    most: usize,
    seat: Seat,
}

/// What runs it.
pub(super) enum Runs {
    /// A session of its own.
    Alone(Box<Runner>),
    /// One that other lanes use as well.
    Shared(Handle),
}

enum Made {
    Alone(Output),
    Part(Part),
}

impl Network {
    /// A network whose session keeps `contract` (see [`facts`]) and is on the card of `seat`; `most`: windows in one run.
    pub(super) fn new(
        runs: Runs,
        facts: &Facts,
        contract: &TensorContract,
        most: usize,
        seat: Seat,
    ) -> Result<Self, InferenceError> {
        let scale = contract.scale as usize;
        let overlay = facts.overlay.as_deref().map(|text| Overlay::parse(text, scale)).transpose()?;
        let most = if facts.is_single { 1 } else { most.max(1) };
        Ok(Self { runs, contract: contract.clone(), overlay, most, seat })
    }

    /// As [`Network::new`], for a session that lanes share.
    pub(super) fn shared(
        batcher: &Arc<Batcher>,
        contract: &TensorContract,
        most: usize,
        seat: Seat,
    ) -> Result<Self, InferenceError> {
        Self::new(Runs::Shared(batcher.handle()), &batcher.facts, contract, most, seat)
    }

    /// The card that it runs on, by its place in the configuration.
    pub(crate) fn card(&self) -> usize {
        self.seat.card()
    }

    /// A lane has taken it; `weight`: what it takes, in any unit that is the same for all networks.
    pub(crate) fn begin(&mut self, weight: f64) {
        self.seat.begin(weight);
    }

    /// The lane has put it back.
    pub(crate) fn rest(&mut self) {
        self.seat.end();
        if let Runs::Shared(handle) = &mut self.runs {
            handle.rest();
        }
    }

    /// Whether its file takes one picture at a time.
    #[cfg(test)]
    pub(super) fn is_single(&self) -> bool {
        self.most == 1
    }

    /// What the session for `wanted` alone gives, if there is one.
    #[cfg(test)]
    pub(super) fn fixed(&mut self, wanted: &Wanted) -> Option<super::fixed::Form> {
        match &mut self.runs {
            Runs::Alone(runner) => runner.fixed(wanted),
            Runs::Shared(_) => None,
        }
    }

    /// Another segment begins.
    pub(crate) fn begin_segment(&mut self) {
        match &mut self.runs {
            Runs::Alone(runner) => runner.begin_segment(),
            Runs::Shared(_) => {}
        }
    }

    /// Low pixels that a run of a window is larger than the window in each direction, with what is known around it; `None` where a part
    /// of a picture takes as long as all of it.
    pub(crate) fn surroundings(&self, halo: usize) -> Option<usize> {
        match &self.runs {
            Runs::Alone(runner) if runner.makes_bare() => Some(CONTINUED),
            Runs::Alone(_) => Some(2 * halo + CONTINUED),
            Runs::Shared(_) => None,
        }
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
        if windows.len() > self.most {
            return windows.chunks(self.most).try_for_each(|some| self.infer(source, some, halo, target));
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
        let wanted = Wanted { shape: [windows.len(), width, height], halo };
        let mut fill = |around: usize, samples: &mut [u8]| {
            let [_, wide, high] = wanted.with(around);
            for (window, samples) in windows.iter().zip(samples.chunks_exact_mut(wide * high)) {
                cut(source, window, around, samples);
            }
        };
        let made = match &mut self.runs {
            Runs::Alone(runner) => Made::Alone(runner.run(&wanted, &mut fill)?),
            Runs::Shared(handle) => {
                Made::Part(handle.run(wanted.with(halo), &mut |samples| fill(halo, samples))?)
            }
        };
        let (samples, form) = match &made {
            Made::Alone(output) => (output.samples()?, output.form()),
            Made::Part(part) => (part.samples()?, Form::general(&wanted)),
        };
        let [_, wide, high] = wanted.with(form.made);
        let stride = wide * scale;
        for (window, samples) in windows.iter().zip(samples.chunks_exact(stride * high * scale)) {
            let to = window.y * scale * target.stride + window.x * scale;
            let to = target.data.get_mut(to..).unwrap_or_default();
            let (across, down) = (width.min(source.width - window.x), height.min(source.height - window.y));
            if let Some(groups) = form.groups {
                for (y, line) in to.chunks_mut(target.stride).take(down * scale).enumerate() {
                    let line = line.get_mut(..across * scale).unwrap_or_default();
                    groups.weave(samples, wide, form.made * scale + y, form.made, line);
                }
            } else {
                let from = samples.get(form.made * scale * (stride + 1)..).unwrap_or_default();
                copy_rows(from, stride, to, target.stride, across * scale, down * scale);
            }
        }
        Ok(())
    }

    /// As [`Network::infer`] for any number of windows, in runs of `run` windows, so that all are of one shape.
    pub(crate) fn infer_in_runs(
        &mut self,
        source: Plane<'_>,
        windows: &[Window],
        (run, halo): (usize, usize),
        target: &mut PlaneMut<'_>,
    ) -> Result<(), InferenceError> {
        let run = run.min(self.most);
        windows.chunks(run).try_for_each(|some| {
            // What is missing is made twice: a shape of its own would cost more.
            let again = some.last().into_iter().cycle().take(run - some.len());
            let windows: Vec<Window> = some.iter().chain(again).copied().collect();
            self.infer(source, &windows, halo, target)
        })
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

/// Compares a session with its contract; what else is to be known of it.
pub(super) fn facts(session: &Session, contract: &TensorContract) -> Result<Facts, InferenceError> {
    check(session, contract)?;
    let overlay = session.metadata()?.custom(overlay::METADATA_KEY);
    Ok(Facts { overlay, is_single: is_single(session) })
}

/// Whether the file's batch is fixed at one.
pub(super) fn is_single(session: &Session) -> bool {
    let shape = session.inputs().first().and_then(|input| input.dtype().tensor_shape());
    shape.and_then(|shape| shape.first().copied()) == Some(1)
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
