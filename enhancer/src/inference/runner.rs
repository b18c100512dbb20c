//! A session and the memory that pictures go into it and come out of it by.
//!
//! On a processor the network reads and writes ordinary memory. A card fetches ordinary memory only through a copy that the driver makes
//! first; what its own allocator gives is *pinned*, lies still, and goes over the bus as it is. So tensors for cards are made
//! once for each shape, by the session's own allocators, and used again.

use std::sync::Arc;

use acuity_models::TensorContract;
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::{HasSelectedOutputs, OutputSelector, RunOptions, Session};
use ort::value::{DynValue, Tensor};

use super::fixed::{FixedShapes, Form, Wanted};
use super::network::InferenceError;

/// Shapes whose tensors are kept: pictures, bands and windows of a few sizes of film. With more of them at work the memory is made anew
/// now and then.
const KEPT_SHAPES: usize = 16;

/// Input tensors in ordinary memory that are kept: whole pictures, windows of them, and the same of a second size.
const KEPT_INPUTS: usize = 4;

/// Where tensors lie.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Memory {
    /// Anywhere.
    Ordinary,
    /// Where this device fetches them itself: its name among ONNX Runtime's, and its number.
    Of(AllocationDevice<'static>, i32),
}

/// Pictures in one run, and width and height of each.
pub(super) type Shape = [usize; 3];

pub(super) struct Runner {
    session: Session,
    contract: TensorContract,
    tensors: Tensors,
}

enum Tensors {
    Ordinary {
        /// Of the shapes that were run last, newest last.
        inputs: Vec<(Shape, Tensor<u8>)>,
        fixed: Box<FixedShapes>,
    },
    Kept {
        for_input: Allocator,
        for_output: Allocator,
        kept: Vec<Kept>,
    },
}

struct Kept {
    shape: Shape,
    input: Tensor<u8>,
    /// More than one only while what was made before is still being read.
    outputs: Vec<Slot>,
}

/// An output tensor, in the options of the runs that write to it.
struct Slot {
    options: RunOptions<HasSelectedOutputs>,
    lease: Arc<()>,
}

/// What a run made. Its memory is written to again when this is dropped.
pub(super) struct Output {
    value: DynValue,
    form: Form,
    _lease: Option<Arc<()>>,
}

impl Output {
    /// All pictures, one after the other, dense.
    pub(super) fn samples(&self) -> Result<&[u8], InferenceError> {
        Ok(self.value.try_extract_tensor::<u8>()?.1)
    }

    /// How they lie, and what they have around what was wanted.
    pub(super) fn form(&self) -> Form {
        self.form
    }
}

impl Runner {
    /// `session` keeps `contract`; `fixed` makes quicker ones in ordinary memory. Memory that the session has no allocator for costs speed, nothing else: it then is ordinary.
    pub(super) fn new(
        session: Session,
        contract: &TensorContract,
        memory: &Memory,
        fixed: FixedShapes,
    ) -> Self {
        let tensors = match memory {
            Memory::Ordinary => Tensors::Ordinary { inputs: Vec::new(), fixed: Box::new(fixed) },
            Memory::Of(device, number) => match allocators(&session, device, *number) {
                Ok((for_input, for_output)) => Tensors::Kept { for_input, for_output, kept: Vec::new() },
                Err(error) => {
                    tracing::warn!(device = device.as_str(), %error, "no pinned memory: transfers are slower");
                    Tensors::Ordinary { inputs: Vec::new(), fixed: Box::new(fixed) }
                }
            },
        };
        Self { session, contract: contract.clone(), tensors }
    }

    /// What the session for `wanted` alone gives, if there is one.
    #[cfg(test)]
    pub(super) fn fixed(&mut self, wanted: &Wanted) -> Option<Form> {
        match &mut self.tensors {
            Tensors::Ordinary { fixed, .. } => fixed.get(wanted).map(|fixed| fixed.form),
            Tensors::Kept { .. } => None,
        }
    }

    /// Another segment begins: what is made of it does not depend on what was before.
    pub(super) fn begin_segment(&mut self) {
        match &mut self.tensors {
            Tensors::Ordinary { fixed, .. } => fixed.begin(),
            Tensors::Kept { .. } => {}
        }
    }

    /// Whether windows that are run often get a session that continues nothing.
    pub(super) fn makes_bare(&self) -> bool {
        matches!(&self.tensors, Tensors::Ordinary { fixed, .. } if fixed.are_bare())
    }

    /// Runs the network on what `fill` writes: pictures of 8-bit samples, dense, in order, with so many low pixels around each as it is
    /// told.
    pub(super) fn run(
        &mut self,
        wanted: &Wanted,
        fill: &mut dyn FnMut(usize, &mut [u8]),
    ) -> Result<Output, InferenceError> {
        let Self { session, contract, tensors } = self;
        let name = contract.output.as_str();
        let mut form = Form::general(wanted);
        let (value, lease) = match tensors {
            Tensors::Ordinary { inputs, fixed } => {
                let is_used = fixed.get(wanted).is_some();
                let is_due = fixed.count(wanted);
                let session = match fixed.get(wanted).filter(|_| is_used) {
                    Some(fixed) => {
                        form = fixed.form;
                        &mut fixed.session
                    }
                    None => session,
                };
                let input = input(inputs, wanted.with(form.given))?;
                fill(form.given, input.extract_tensor_mut().1);
                let mut outputs = session.run(ort::inputs![contract.input.as_str() => &*input])?;
                let value = outputs.remove(name);
                drop(outputs);
                if let Some(value) = value.as_ref().filter(|_| is_due) {
                    fixed.make(wanted, input.extract_tensor().1, value.try_extract_tensor::<u8>()?.1);
                }
                (value, None)
            }
            Tensors::Kept { for_input, for_output, kept } => {
                let shape = wanted.with(form.given);
                let [pictures, wide, high] = shape;
                let place = match kept.iter().position(|kept| kept.shape == shape) {
                    Some(place) => place,
                    None => {
                        if kept.len() >= KEPT_SHAPES {
                            kept.remove(0);
                        }
                        let input = Tensor::new(for_input, [pictures, 1, high, wide])?;
                        kept.push(Kept { shape, input, outputs: Vec::new() });
                        kept.len() - 1
                    }
                };
                let Kept { input, outputs, .. } = &mut kept[place];
                fill(form.given, input.extract_tensor_mut().1);
                let free = outputs.iter().position(|slot| Arc::strong_count(&slot.lease) == 1);
                let slot = match free {
                    Some(slot) => slot,
                    None => {
                        let output = Tensor::<u8>::new(for_output, expected_shape(contract, wanted, &form))?;
                        let selected = OutputSelector::default().preallocate(name, output);
                        let options = RunOptions::new()?.with_outputs(selected);
                        outputs.push(Slot { options, lease: Arc::default() });
                        outputs.len() - 1
                    }
                };
                let Slot { options, lease } = &outputs[slot];
                let inputs = ort::inputs![contract.input.as_str() => &*input];
                let mut made = session.run_with_options(inputs, options)?;
                (made.remove(name), Some(Arc::clone(lease)))
            }
        };
        let Some(value) = value else { return Err(broken(contract, "no output".into())) };
        // The shape, not the count: swapped axes have as many samples.
        let (found, _) = value.try_extract_tensor::<u8>()?;
        if **found != expected_shape(contract, wanted, &form) {
            let [_, wide, high] = wanted.with(form.given);
            return Err(broken(contract, format!("output {found:?} for a {wide}x{high} source")));
        }
        Ok(Output { value, form, _lease: lease })
    }
}

/// The input tensor for a shape, with whatever it held before.
fn input(inputs: &mut Vec<(Shape, Tensor<u8>)>, shape: Shape) -> Result<&mut Tensor<u8>, InferenceError> {
    let place = match inputs.iter().position(|(known, _)| *known == shape) {
        Some(place) => place,
        None => {
            if inputs.len() == KEPT_INPUTS {
                inputs.remove(0);
            }
            let [pictures, wide, high] = shape;
            let samples = vec![0_u8; pictures * wide * high];
            inputs.push((shape, Tensor::from_array(([pictures, 1, high, wide], samples))?));
            inputs.len() - 1
        }
    };
    Ok(&mut inputs[place].1)
}

/// What a session of `form` gives.
fn expected_shape(contract: &TensorContract, wanted: &Wanted, form: &Form) -> [i64; 4] {
    let shape = wanted.with(form.made);
    if let Some(groups) = form.groups {
        return groups.shape(shape);
    }
    let [pictures, wide, high] = shape;
    let mut expected = contract.output_shape(wide as u32, high as u32);
    expected[0] = pictures as i64;
    expected
}

fn allocators(
    session: &Session,
    device: &AllocationDevice<'static>,
    number: i32,
) -> ort::Result<(Allocator, Allocator)> {
    let allocator = |kind| {
        let info = MemoryInfo::new(device.clone(), number, AllocatorType::Device, kind)?;
        Allocator::new(session, info)
    };
    if *device == AllocationDevice::CPU {
        return Ok((allocator(MemoryType::Default)?, allocator(MemoryType::Default)?));
    }
    Ok((allocator(MemoryType::CPUInput)?, allocator(MemoryType::CPUOutput)?))
}

fn broken(contract: &TensorContract, found: String) -> InferenceError {
    InferenceError::Contract { contract: contract.to_string(), found }
}
