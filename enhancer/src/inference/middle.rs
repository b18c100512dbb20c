//! A network that makes the picture half way between two, ready to run: contract 2 (`acuity_models::TensorContract`).
//!
//! A session is made for one size of picture. The graph samples pictures at places that it computes, and providers that know
//! the size beforehand need half the time: 640x360 takes OpenVINO 10 ms of processor time instead of 19.

use acuity_config::{Precision, Provider};
use ort::session::Session;
use ort::value::{Tensor, TensorElementType, ValueType};

use super::Runtime;
use super::network::{InferenceError, copy_rows};
use crate::codec::{Picture, Plane, PlaneMut};

/// Names of the inputs: each picture's luma, then its chroma.
const INPUTS: [&str; 4] = ["previous", "previous_chroma", "next", "next_chroma"];
const MIDDLE: &str = "middle";
const MIDDLE_CHROMA: &str = "middle_chroma";
const MISMATCH: &str = "mismatch";

/// Pictures of fewer lines or columns are below what the contract promises.
const LEAST_SIDE: usize = 64;

/// How far a provider's picture may be from the plain kernels': mean squared error in code values.
const CHART_LIMIT: f64 = 4.0;

pub(crate) struct Middle {
    session: Session,
    size: (usize, usize),
    inputs: [Tensor<u8>; 4],
}

impl Runtime {
    /// How networks that interpolate are run: as those that enlarge are, and never in eight bits, which places to sample at do not
    /// survive. Where nothing was settled yet, OpenVINO if it is there.
    pub(crate) fn for_middles(&self) -> Self {
        let mut runtime = Self { precision: Precision::Float, ..self.clone() };
        if runtime.provider == Provider::Auto {
            let open = Self { provider: Provider::OpenVino, ..runtime.clone() };
            runtime.provider =
                if open.has_provider().unwrap_or(false) { Provider::OpenVino } else { Provider::Cpu };
        }
        runtime
    }

    /// The same on ONNX Runtime's own kernels.
    pub(crate) fn plain(&self) -> Self {
        Self { provider: Provider::Cpu, precision: Precision::Float, ..self.clone() }
    }

    /// The provider's name.
    pub(crate) fn provider_name(&self) -> &'static str {
        self.provider.as_str()
    }
}

impl Middle {
    /// Makes a session of `model` (verified bytes) for pictures of one size, and compares its tensors with the contract.
    pub(crate) fn load(
        runtime: &Runtime,
        model: &[u8],
        size: (usize, usize),
    ) -> Result<Self, InferenceError> {
        let (width, height) = size;
        if width < LEAST_SIDE || height < LEAST_SIDE || !width.is_multiple_of(2) || !height.is_multiple_of(2)
        {
            return Err(broken(format!("pictures of {width}x{height}")));
        }
        let mut builder = runtime.builder(model)?;
        let sides = [
            ("height", height),
            ("width", width),
            ("chroma_height", height / 2),
            ("chroma_width", width / 2),
        ];
        for (name, side) in sides {
            builder = builder.with_dimension_override(name, side as i64).map_err(ort::Error::from)?;
        }
        let session = builder.commit_from_memory(model)?;
        check(&session)?;
        let tensor = |channels: usize, part: usize| {
            let (width, height) = (width / part, height / part);
            Tensor::from_array(([1, channels, height, width], vec![0_u8; channels * width * height]))
        };
        let inputs = [tensor(1, 1)?, tensor(2, 2)?, tensor(1, 1)?, tensor(2, 2)?];
        Ok(Self { session, size, inputs })
    }

    /// Fills `to` with what is to be seen half way between two pictures, all of the session's size. Gives how unlike the two are once
    /// everything is moved to its place, in code values: a few in one scene, twenty and more across a cut.
    pub(crate) fn make(&mut self, a: &Picture, b: &Picture, to: &mut Picture) -> Result<f32, InferenceError> {
        let is_of_size =
            |picture: &Picture| (picture.width() as usize, picture.height() as usize) == self.size;
        if !(is_of_size(a) && is_of_size(b) && is_of_size(to)) {
            return Err(broken(format!("a session for {}x{}", self.size.0, self.size.1)));
        }
        let [previous, previous_chroma, next, next_chroma] = &mut self.inputs;
        for (picture, luma, chroma) in [(a, previous, previous_chroma), (b, next, next_chroma)] {
            fill(luma, &[picture.plane(0)]);
            fill(chroma, &[picture.plane(1), picture.plane(2)]);
        }
        let [previous, previous_chroma, next, next_chroma] = &self.inputs;
        let outputs = self.session.run(ort::inputs![
            INPUTS[0] => previous, INPUTS[1] => previous_chroma, INPUTS[2] => next, INPUTS[3] => next_chroma
        ])?;
        let (width, height) = self.size;
        let dense = |name: &str, channels: usize, part: usize| {
            let value = outputs.get(name).ok_or_else(|| broken(format!("no {name}")))?;
            let (shape, samples) = value.try_extract_tensor::<u8>()?;
            let expected = [1, channels as i64, (height / part) as i64, (width / part) as i64];
            if **shape != expected {
                return Err(broken(format!("{name} {shape:?} for a {width}x{height} picture")));
            }
            Ok(samples)
        };
        let luma = dense(MIDDLE, 1, 1)?;
        let chroma = dense(MIDDLE_CHROMA, 2, 2)?;
        copy_to(luma, to.plane_mut(0));
        for (index, samples) in [1, 2].into_iter().zip(chroma.chunks_exact((width / 2) * (height / 2))) {
            copy_to(samples, to.plane_mut(index));
        }
        let mismatch = outputs.get(MISMATCH).ok_or_else(|| broken("no mismatch".into()))?;
        let (_, mismatch) = mismatch.try_extract_tensor::<f32>()?;
        mismatch
            .first()
            .copied()
            .filter(|value| value.is_finite())
            .ok_or_else(|| broken("no mismatch".into()))
    }

    /// Runs it on pictures whose middle is known: what is equal stays, and of a picture that moves a little the middle is as bright
    /// as both. Gives seconds for a picture.
    pub(crate) fn prove(&mut self) -> Result<f64, InferenceError> {
        let (still, moved) = (self.chart(0)?, self.chart(4)?);
        let mut made = self.chart(9)?;
        self.make(&still, &still, &mut made)?;
        let error = difference(&made, &still);
        if error > 0.0 {
            return Err(InferenceError::Output { mean_error: error });
        }
        let started = std::time::Instant::now();
        self.make(&still, &moved, &mut made)?;
        let seconds = started.elapsed().as_secs_f64();
        // No farther from either than they are from each other, and some grains of rounding.
        let most = difference(&still, &moved) + 1.0;
        let error = difference(&made, &still).max(difference(&made, &moved));
        if error > most {
            return Err(InferenceError::Output { mean_error: error });
        }
        Ok(seconds)
    }

    /// Whether this session's picture of the test chart is that of ONNX Runtime's own kernels.
    pub(crate) fn require_same_as_plain(
        &mut self,
        runtime: &Runtime,
        model: &[u8],
    ) -> Result<(), InferenceError> {
        let mut plain = Self::load(&runtime.plain(), model, self.size)?;
        let (still, moved) = (self.chart(0)?, self.chart(4)?);
        let (mut own, mut meant) = (self.chart(9)?, self.chart(9)?);
        self.make(&still, &moved, &mut own)?;
        plain.make(&still, &moved, &mut meant)?;
        let squared_error = squared(&own, &meant);
        if squared_error > CHART_LIMIT { Err(InferenceError::Shortcut { squared_error }) } else { Ok(()) }
    }

    /// Rings on a ramp, moved to the right.
    fn chart(&self, moved: usize) -> Result<Picture, InferenceError> {
        let (width, height) = self.size;
        let no_memory = |_| broken("no memory for a picture".into());
        let mut picture = Picture::black(width as u32, height as u32).map_err(no_memory)?;
        let plane = picture.plane_mut(0);
        for (y, row) in plane.data.chunks_mut(plane.stride).take(height).enumerate() {
            for (x, pixel) in row.iter_mut().take(width).enumerate() {
                let (dx, dy) = (x as f64 - moved as f64 - width as f64 / 2.0, y as f64 - height as f64 / 2.0);
                *pixel = (128.0 + 60.0 * ((dx * dx + dy * dy) / 900.0).cos()) as u8;
            }
        }
        Ok(picture)
    }
}

fn broken(found: String) -> InferenceError {
    InferenceError::Contract { contract: "contract 2: two pictures to the one between".into(), found }
}

fn fill(tensor: &mut Tensor<u8>, planes: &[Plane<'_>]) {
    let (_, samples) = tensor.extract_tensor_mut();
    let each = samples.len() / planes.len().max(1);
    for (plane, samples) in planes.iter().zip(samples.chunks_exact_mut(each.max(1))) {
        copy_rows(plane.data, plane.stride, samples, plane.width, plane.width, plane.height);
    }
}

fn copy_to(samples: &[u8], to: PlaneMut<'_>) {
    copy_rows(samples, to.width, to.data, to.stride, to.width, to.height);
}

/// Mean difference of luma.
fn difference(a: &Picture, b: &Picture) -> f64 {
    mean(a, b, |a, b| f64::from(a.abs_diff(b)))
}

fn squared(a: &Picture, b: &Picture) -> f64 {
    mean(a, b, |a, b| f64::from(a.abs_diff(b)).powi(2))
}

fn mean(a: &Picture, b: &Picture, of: impl Fn(u8, u8) -> f64) -> f64 {
    let (a, b) = (a.plane(0), b.plane(0));
    let rows = a.data.chunks(a.stride).zip(b.data.chunks(b.stride)).take(a.height);
    let pixels = rows.flat_map(|(a_row, b_row)| a_row.iter().zip(b_row).take(a.width));
    pixels.map(|(a, b)| of(*a, *b)).sum::<f64>() / (a.width * a.height).max(1) as f64
}

fn check(session: &Session) -> Result<(), InferenceError> {
    let is = |outlet: &ort::value::Outlet, name: &str, element: TensorElementType| {
        outlet.name() == name && matches!(outlet.dtype(), ValueType::Tensor { ty, .. } if *ty == element)
    };
    let byte = TensorElementType::Uint8;
    let inputs = session.inputs();
    let takes =
        INPUTS.iter().all(|name| inputs.iter().any(|input| is(input, name, byte))) && inputs.len() == 4;
    let outputs = session.outputs();
    let gives = [(MIDDLE, byte), (MIDDLE_CHROMA, byte), (MISMATCH, TensorElementType::Float32)]
        .iter()
        .all(|(name, element)| outputs.iter().any(|output| is(output, name, *element)));
    if takes && gives {
        return Ok(());
    }
    let names = |outlets: &[ort::value::Outlet]| {
        outlets
            .iter()
            .map(|outlet| format!("{} {:?}", outlet.name(), outlet.dtype()))
            .collect::<Vec<_>>()
            .join(", ")
    };
    Err(broken(format!("inputs: {}; outputs: {}", names(inputs), names(outputs))))
}
