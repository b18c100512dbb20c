//! The embedding network, ready to run: planes of one picture in, a short vector out.
//!
//! Always on ONNX Runtime's own CPU kernels and one thread, whatever runs the large networks: a few milliseconds a
//! picture need no accelerator, and vectors are compared with centroids that were measured on just these kernels.

use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::{Outlet, Tensor, TensorElementType, ValueType};

use super::network::copy_rows;
use super::{InferenceError, Runtime};
use crate::codec::Picture;

/// Names of the tensors, here and in the trainer's `embedding.py`.
const LUMA: &str = "luma";
const CHROMA: &str = "chroma";
const OUTPUT: &str = "embedding";
/// What the network must look like, for error messages.
const CONTRACT: &str =
    "embedding: uint8 luma [n,1,H,W], uint8 chroma [n,2,H/2,W/2] -> float embedding [n,dimensions]";

pub(crate) struct Embedder {
    session: Session,
    dimensions: usize,
}

impl Embedder {
    /// Makes a session of `model` (verified bytes) and compares its tensors with what they must be.
    pub(crate) fn load(runtime: &Runtime, model: &[u8]) -> Result<Self, InferenceError> {
        let session = session(runtime, model)?;
        let dimensions = dimensions(&session).ok_or_else(|| InferenceError::Contract {
            contract: CONTRACT.into(),
            found: format!("inputs: {:?}; outputs: {:?}", names(session.inputs()), names(session.outputs())),
        })?;
        Ok(Self { session, dimensions })
    }

    /// Length of the vectors.
    pub(crate) fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// The vector of one 8-bit 4:2:0 picture, [`Embedder::dimensions`] long.
    pub(crate) fn run(&mut self, picture: &Picture) -> Result<Vec<f32>, InferenceError> {
        let luma = picture.plane(0);
        let (width, height) = (luma.width, luma.height);
        let mut samples = vec![0_u8; width * height];
        copy_rows(luma.data, luma.stride, &mut samples, width, width, height);
        let (half_width, half_height) = (picture.plane(1).width, picture.plane(1).height);
        let size = half_width * half_height;
        let mut colours = vec![0_u8; 2 * size];
        for (index, half) in [1, 2].into_iter().zip(colours.chunks_mut(size.max(1))) {
            let plane = picture.plane(index);
            copy_rows(plane.data, plane.stride, half, half_width, half_width, half_height);
        }
        let luma = Tensor::from_array(([1, 1, height, width], samples))?;
        let chroma = Tensor::from_array(([1, 2, half_height, half_width], colours))?;
        let outputs = self.session.run(ort::inputs![LUMA => luma, CHROMA => chroma])?;
        let vector = match outputs.get(OUTPUT) {
            Some(value) => value.try_extract_tensor::<f32>()?.1.to_vec(),
            None => Vec::new(),
        };
        if vector.len() != self.dimensions || vector.iter().any(|value| !value.is_finite()) {
            return Err(InferenceError::Contract {
                contract: CONTRACT.into(),
                found: format!("{} numbers, or not finite ones", vector.len()),
            });
        }
        Ok(vector)
    }
}

fn session(runtime: &Runtime, model: &[u8]) -> ort::Result<Session> {
    let mut builder = Session::builder(&runtime.environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_intra_threads(1)?
        .with_inter_threads(1)?;
    builder.commit_from_memory(model)
}

/// Length of the vectors, if the tensors are what they must be.
fn dimensions(session: &Session) -> Option<usize> {
    let shaped = |outlet: &Outlet, name: &str, element: TensorElementType| match outlet.dtype() {
        ValueType::Tensor { ty, shape, .. } if outlet.name() == name && *ty == element => {
            Some(shape.iter().copied().collect::<Vec<i64>>())
        }
        _ => None,
    };
    let [luma, chroma] = session.inputs() else { return None };
    let [output] = session.outputs() else { return None };
    let luma = shaped(luma, LUMA, TensorElementType::Uint8)?;
    let chroma = shaped(chroma, CHROMA, TensorElementType::Uint8)?;
    let output = shaped(output, OUTPUT, TensorElementType::Float32)?;
    let planes = |shape: &[i64], channels: i64| matches!(shape, [_, found, height, width] if *found == channels && *height < 0 && *width < 0);
    match output[..] {
        [_, dimensions] if planes(&luma, 1) && planes(&chroma, 2) => {
            usize::try_from(dimensions).ok().filter(|dimensions| *dimensions > 0)
        }
        _ => None,
    }
}

fn names(outlets: &[Outlet]) -> Vec<String> {
    outlets.iter().map(|outlet| format!("{} {:?}", outlet.name(), outlet.dtype())).collect()
}
