//! One network alone, without video around it: how long a picture takes under a named provider, whether the provider ran all of
//! it, and whether the picture is the one that ONNX Runtime's own kernels make.
//!
//! Each measurement is a process of its own, so that nothing of the one before is left on the card.

mod arguments;
mod timing;

use std::process::ExitCode;

use arguments::{Arguments, Provider, USAGE};
use ort::environment::Environment;
use ort::ep::{self, ExecutionProviderDispatch};
use ort::memory::{AllocationDevice, Allocator, AllocatorType, MemoryInfo, MemoryType};
use ort::session::Session;
use ort::session::builder::GraphOptimizationLevel;
use ort::value::Tensor;
use timing::Times;

type Failure = Box<dyn std::error::Error>;

/// How far the picture may be from the plain kernels', as the edge demands it of its providers: mean squared error in code values.
const CHART_LIMIT: f64 = 12.0;

fn main() -> ExitCode {
    let arguments = match Arguments::read(std::env::args().skip(1)) {
        Ok(arguments) => arguments,
        Err(message) => {
            eprintln!("network-alone: {message}\n{USAGE}");
            return ExitCode::from(1);
        }
    };
    match measure(&arguments) {
        Ok(line) => {
            println!("{line}");
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("network-alone: {}: {error}", arguments.model.display());
            ExitCode::from(2)
        }
    }
}

fn measure(arguments: &Arguments) -> Result<String, Failure> {
    let environment = ort::init_from(&arguments.library)?.with_name("network-alone").build()?;
    let &Arguments { batch, width, height, .. } = arguments;
    let chart = chart(batch, width, height);
    let shape = [batch, 1, height, width];

    let mut session = session(&environment, arguments)?;
    let input = Tensor::from_array((shape, chart.clone()))?;
    let (made, out) = picture(&mut session, &input)?;
    let squared_error = match &arguments.reference {
        None => None,
        Some(reference) => {
            let plain = Arguments { model: reference.clone(), provider: Provider::Cpu, ..arguments.clone() };
            let (meant, _) = picture(&mut self::session(&environment, &plain)?, &input)?;
            let error = squared_error(&made, &meant);
            if meant.len() != made.len() || error > CHART_LIMIT {
                return Err(
                    format!("its picture is not the plain kernels': mean squared error {error:.1}").into()
                );
            }
            Some(error)
        }
    };
    drop(input);

    let there_and_back = timed(&mut session, arguments, Memory::Host, &chart, &out)?;
    let on_card = match arguments.provider {
        Provider::Cpu => None,
        Provider::Cuda | Provider::TensorRt => {
            Some(timed(&mut session, arguments, Memory::Card, &chart, &out)?)
        }
    };
    let times = |times: Option<Times>| times.map_or_else(|| "null".to_owned(), |times| times.json(batch));
    Ok(format!(
        r#"{{"model": "{}", "provider": "{}", "half": {}, "device": {}, "batch": {batch}, "input": [{width}, {height}], "output": [{}, {}], "squared_error": {}, "ms_a_picture_on_card": {}, "ms_a_picture_with_transfers": {}}}"#,
        arguments.model.file_stem().unwrap_or_default().to_string_lossy().escape_default(),
        arguments.provider.as_str(),
        arguments.half,
        arguments.device,
        out.get(3).copied().unwrap_or_default(),
        out.get(2).copied().unwrap_or_default(),
        squared_error.map_or_else(|| "null".to_owned(), |error| format!("{error:.4}")),
        times(on_card),
        times(Some(there_and_back)),
    ))
}

/// A session of one fixed shape, all of whose layers the provider has taken: anything else is an error.
fn session(environment: &Environment, arguments: &Arguments) -> Result<Session, Failure> {
    let dimension = |length: usize| i64::try_from(length);
    let builder = Session::builder(environment)?
        .with_optimization_level(GraphOptimizationLevel::All)?
        .with_dimension_override("batch", dimension(arguments.batch)?)?
        .with_dimension_override("height", dimension(arguments.height)?)?
        .with_dimension_override("width", dimension(arguments.width)?)?;
    let cuda = || ep::CUDA::default().with_device_id(arguments.device).with_tf32(arguments.half).build();
    let tensorrt =
        || ep::TensorRT::default().with_device_id(arguments.device).with_fp16(arguments.half).build();
    let providers: Vec<ExecutionProviderDispatch> = match arguments.provider {
        Provider::Cpu => Vec::new(),
        Provider::Cuda => vec![cuda().error_on_failure()],
        Provider::TensorRt => vec![tensorrt().error_on_failure(), cuda().error_on_failure()],
    };
    let mut builder = if providers.is_empty() {
        builder
    } else {
        builder.with_execution_providers(providers)?.with_disable_cpu_fallback()?
    };
    Ok(builder.commit_from_file(&arguments.model)?)
}

/// What the network makes of `input`, and the shape of it.
fn picture(session: &mut Session, input: &Tensor<u8>) -> Result<(Vec<u8>, Vec<usize>), Failure> {
    let outputs = session.run(ort::inputs![input])?;
    let (shape, samples) = outputs[0].try_extract_tensor::<u8>()?;
    let shape = shape.iter().map(|length| usize::try_from(*length)).collect::<Result<_, _>>()?;
    Ok((samples.to_vec(), shape))
}

/// Where input and output lie.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// In the machine's memory, pinned where there is a card.
    Host,
    /// On the card.
    Card,
}

fn timed(
    session: &mut Session,
    arguments: &Arguments,
    memory: Memory,
    chart: &[u8],
    out: &[usize],
) -> Result<Times, Failure> {
    let names = (
        session.inputs().first().map(|input| input.name().to_owned()),
        session.outputs().first().map(|output| output.name().to_owned()),
    );
    let (Some(input_name), Some(output_name)) = names else {
        return Err("it has no input or no output".into());
    };
    let (device, input_type, output_type) = match (arguments.provider, memory) {
        (Provider::Cpu, _) => (AllocationDevice::CPU, MemoryType::Default, MemoryType::Default),
        (_, Memory::Host) => (AllocationDevice::CUDA_PINNED, MemoryType::CPUInput, MemoryType::CPUOutput),
        (_, Memory::Card) => (AllocationDevice::CUDA, MemoryType::Default, MemoryType::Default),
    };
    let allocator = |memory_type| {
        let info = MemoryInfo::new(device.clone(), arguments.device, AllocatorType::Device, memory_type)?;
        Allocator::new(session, info)
    };
    let (for_input, for_output) = (allocator(input_type)?, allocator(output_type)?);
    let mut input = Tensor::<u8>::new(&for_input, [arguments.batch, 1, arguments.height, arguments.width])?;
    // What lies on the card is whatever was there: these networks have no branches, their time does not depend on it.
    if arguments.provider == Provider::Cpu || memory == Memory::Host {
        input.extract_tensor_mut().1.copy_from_slice(chart);
    }
    let output = Tensor::<u8>::new(&for_output, out.to_vec())?;
    let mut binding = session.create_binding()?;
    binding.bind_input(input_name, &input)?;
    binding.bind_output(output_name, output)?;
    timing::repeat(arguments.seconds, || {
        session.run_binding(&binding)?;
        binding.synchronize_outputs()?;
        Ok(())
    })
}

/// Rings that get finer outwards, on a ramp; another phase in each picture.
fn chart(batch: usize, width: usize, height: usize) -> Vec<u8> {
    let tone = |picture: usize, x: usize, y: usize| {
        let (dx, dy) = (x as f64 - width as f64 / 2.0, y as f64 - height as f64 / 2.0);
        let rings = 60.0 * ((dx * dx + dy * dy) / 900.0 + picture as f64).cos();
        (128.0 + rings + 64.0 * x as f64 / width as f64 - 32.0).round() as u8
    };
    let picture = |picture| (0..height).flat_map(move |y| (0..width).map(move |x| tone(picture, x, y)));
    (0..batch).flat_map(picture).collect()
}

fn squared_error(made: &[u8], meant: &[u8]) -> f64 {
    let sum: f64 = made.iter().zip(meant).map(|(a, b)| f64::from(a.abs_diff(*b)).powi(2)).sum();
    sum / made.len().max(1) as f64
}
