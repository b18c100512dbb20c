//! Networks on real libraries: the same pictures, however they are run.

use std::path::{Path, PathBuf};

use acuity_config::{EnhancerConfig, Precision, Provider};
use acuity_models::TensorContract;
use bytes::Bytes;

use super::fixed::Wanted;
use super::graph::proto::{fields, put};
use super::{Files, Network, Runtime, Window};
use crate::codec::{Plane, PlaneMut};

const WIDTH: usize = 64;
const HEIGHT: usize = 48;

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

pub(crate) fn config() -> EnhancerConfig {
    let library = root().join(".acuity/onnxruntime/libonnxruntime.so");
    let library = std::env::var_os("ACUITY_ONNXRUNTIME").map_or(library, PathBuf::from);
    EnhancerConfig { runtime_library: Some(library), ..EnhancerConfig::default() }
}

pub(crate) fn zoo(name: &str) -> Bytes {
    std::fs::read(root().join("models/zoo").join(name)).unwrap().into()
}

pub(crate) fn contract(scale: u32) -> TensorContract {
    let (input, output) = (TensorContract::DEFAULT_INPUT.into(), TensorContract::DEFAULT_OUTPUT.into());
    TensorContract { version: TensorContract::VERSION, input, output, scale }
}

/// A network by itself, of a float or an int8 file.
pub(crate) fn load(runtime: &Runtime, model: Bytes, scale: u32) -> Network {
    runtime.engine(&Files { float: model, int8: None }, &contract(scale)).session().unwrap()
}

fn picture() -> Vec<u8> {
    let tone = |x: usize, y: usize| 40 + (x * 3 + y * 5 + x * x * y / 64 + (x / 9 + y / 7) % 2 * 60) % 160;
    (0..HEIGHT).flat_map(|y| (0..WIDTH).map(move |x| tone(x, y) as u8)).collect()
}

fn enlarged(network: &mut Network, low: &[u8], windows: &[Window], halo: usize) -> Vec<u8> {
    let scale = network.scale();
    let mut out = vec![0; low.len() * scale * scale];
    let (width, height) = (WIDTH * scale, HEIGHT * scale);
    let mut target = PlaneMut { data: &mut out, stride: width, width, height };
    let source = Plane { data: low, stride: WIDTH, width: WIDTH, height: HEIGHT };
    network.infer(source, windows, halo, &mut target).unwrap();
    out
}

/// `model` with a batch of one instead of any.
fn single(model: &[u8]) -> Bytes {
    const GRAPH: u64 = 7;
    const INPUT: u64 = 11;
    /// Type, tensor, shape: the way to the dimensions.
    const WAY: [u64; 3] = [2, 1, 2];
    const DIMENSION: u64 = 1;
    const VALUE_OF_ONE: [u8; 2] = [0x08, 1];
    fn changed(message: &[u8], way: &[u64]) -> Vec<u8> {
        let mut out = Vec::new();
        let mut dimensions = 0;
        for field in fields(message).unwrap() {
            match way {
                [next, rest @ ..] if field.number == *next => {
                    put(&mut out, *next, &changed(field.bytes, rest))
                }
                [] if field.number == DIMENSION && dimensions == 0 => {
                    dimensions += 1;
                    put(&mut out, DIMENSION, &VALUE_OF_ONE);
                }
                _ => out.extend_from_slice(field.raw),
            }
        }
        out
    }
    let way: Vec<u64> = [GRAPH, INPUT].into_iter().chain(WAY).collect();
    changed(model, &way).into()
}

#[test]
fn a_batch_of_one_makes_the_same_parts() {
    let runtime = Runtime::load(&EnhancerConfig { provider: Provider::Cpu, ..config() }).unwrap();
    let low = picture();
    // Two of them reach beyond the picture.
    let windows = [(0, 0), (24, 16), (48, 16), (24, 40)].map(|(x, y)| Window { x, y, width: 24, height: 16 });
    for name in ["generic-x2-s.onnx", "generic-x2-s.int8.onnx"] {
        let model = zoo(name);
        let mut any = load(&runtime, model.clone(), 2);
        let mut one = load(&runtime, single(&model), 2);
        assert!(one.is_single() && !any.is_single(), "{name}");
        let parts = enlarged(&mut one, &low, &windows, 8);
        assert_eq!(parts, enlarged(&mut any, &low, &windows, 8), "{name}");
        assert!(parts.iter().filter(|sample| **sample != 0).count() > 24 * 16 * 4 * 2, "{name}");
    }
}

#[test]
fn a_session_for_one_size_gives_the_same_pictures() {
    let openvino = EnhancerConfig { provider: Provider::OpenVino, precision: Precision::Int8, ..config() };
    let Ok(runtime) = Runtime::load(&openvino) else { return };
    let low = picture();
    let windows =
        [Window { x: 8, y: 8, width: 24, height: 16 }, Window { x: 50, y: 40, width: 24, height: 16 }];
    for (scale, halo) in [(2, 8), (3, 0), (4, 5)] {
        for name in [format!("generic-x{scale}-s.int8.onnx"), format!("generic-x{scale}-s.onnx")] {
            let mut network = load(&runtime, zoo(&name), scale);
            let wanted = Wanted { shape: [2, 24, 16], halo };
            let general = enlarged(&mut network, &low, &windows, halo);
            assert!(network.fixed(&wanted).is_none(), "{name}");
            network.begin_segment();
            let mut segment = || -> Vec<_> {
                network.begin_segment();
                (0..20).map(|_| enlarged(&mut network, &low, &windows, halo)).collect()
            };
            let first = segment();
            assert_eq!(first[0], general, "{name}");
            // Where the session is there already, everything is as it was.
            assert!(segment() == first && segment() == first, "{name}");
            let form = network.fixed(&wanted).expect("a session for a shape that is always run");
            let across = form.groups.map(|groups| groups.across);
            let expected = if scale == 2 { 4 } else { 1 };
            assert_eq!(across, name.contains("int8").then_some(expected), "{name}");
            // It looks 7 pixels around: it needs no more, and makes nothing there, where it is given as many.
            let is_bare = halo >= 7 && name.contains("int8");
            let around = if is_bare { (7, 0) } else { (halo, halo) };
            assert_eq!((form.given, form.made), around, "{name}");
            let made = enlarged(&mut network, &low, &windows, halo);
            let off = made.iter().zip(&general).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(off <= Some(1), "{name}: {off:?} off");
        }
    }
}
