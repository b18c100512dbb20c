//! Runs for several lanes, on a processor: whatever is run together must be what each would have got alone.
#![allow(clippy::unwrap_used, clippy::panic)]

use std::path::{Path, PathBuf};
use std::time::Duration;

use acuity_config::{EnhancerConfig, Precision, Provider};
use acuity_models::{Catalogue, TensorContract};
use ort::memory::AllocationDevice;

use super::super::choice::Files;
use super::super::fixed::FixedShapes;
use super::super::network::{Network, Window, facts};
use super::super::runner::Memory;
use super::super::{Engine, Runtime};
use super::*;
use crate::cards::Cards;
use crate::codec::{Plane, PlaneMut};
use crate::inference::fixed::Wanted;

const SIZES: [(usize, usize); 2] = [(64, 48), (96, 54)];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

fn runtime() -> Runtime {
    let library = std::env::var_os("ACUITY_ONNXRUNTIME")
        .map_or_else(|| root().join(".acuity/onnxruntime/libonnxruntime.so"), PathBuf::from);
    let config = EnhancerConfig {
        provider: Provider::Cpu,
        precision: Precision::Float,
        inference_threads: 1,
        runtime_library: Some(library),
        ..EnhancerConfig::default()
    };
    Runtime::load(&config).unwrap()
}

/// The shipped small network, run as `change` would have it, with its first session.
fn engine(change: impl FnOnce(&mut Runtime)) -> (Engine, Network) {
    let catalogue = Catalogue::load(root().join("models/zoo")).unwrap();
    let entry = catalogue.entries().iter().find(|entry| entry.id == "generic-x2-s").unwrap();
    let files = Files { float: entry.read_verified().unwrap().into(), int8: None };
    let mut runtime = runtime();
    change(&mut runtime);
    let (engine, network, _) = runtime.admit("generic-x2-s", &files, &entry.contract).unwrap();
    (engine, network)
}

fn batching(runtime: &mut Runtime) {
    runtime.batching = Some(Policy { most: 4, wait: Duration::from_millis(20) });
}

/// A picture that is another one for each seed.
fn picture((width, height): (usize, usize), seed: usize) -> Vec<u8> {
    (0..width * height)
        .map(|place| ((place * (seed + 3) + place / width * 7 + seed * 11) % 251) as u8)
        .collect()
}

fn enlarge(network: &mut Network, (width, height): (usize, usize), seed: usize) -> Vec<u8> {
    let low = picture((width, height), seed);
    let mut out = vec![0; low.len() * 4];
    let target = PlaneMut { data: &mut out, stride: width * 2, width: width * 2, height: height * 2 };
    network.run(Plane { data: &low, stride: width, width, height }, target).unwrap();
    out
}

#[test]
fn what_is_run_together_is_bit_for_bit_what_each_gets_alone() {
    let (_, mut alone) = engine(|_| {});
    let expected = |alone: &mut Network, lane: usize, turn: usize| {
        enlarge(alone, SIZES[(lane + turn) % 2], lane * 100 + turn)
    };
    let (engine, first) = engine(batching);
    let mut networks = vec![first];
    networks.extend((1..6).map(|_| engine.session().unwrap()));
    assert_eq!(engine.shared_sessions(), 1, "six lanes, one session");
    let lanes: Vec<_> = networks
        .into_iter()
        .enumerate()
        .map(|(lane, mut network)| {
            std::thread::spawn(move || {
                (0..12)
                    .map(|turn| enlarge(&mut network, SIZES[(lane + turn) % 2], lane * 100 + turn))
                    .collect::<Vec<_>>()
            })
        })
        .collect();
    for (lane, thread) in lanes.into_iter().enumerate() {
        for (turn, made) in thread.join().unwrap().into_iter().enumerate() {
            assert!(made == expected(&mut alone, lane, turn), "lane {lane}, picture {turn}");
        }
    }
    assert_eq!(engine.shared_sessions(), 0, "and with the last lane it is gone");
}

/// A runner of the shipped network, without the thread around it.
fn runner(memory: &Memory) -> (Runner, TensorContract, Facts) {
    let catalogue = Catalogue::load(root().join("models/zoo")).unwrap();
    let entry = catalogue.entries().iter().find(|entry| entry.id == "generic-x2-s").unwrap();
    let session = runtime().session(&entry.read_verified().unwrap(), 0, None).unwrap();
    let facts = facts(&session, &entry.contract).unwrap();
    (Runner::new(session, &entry.contract, memory, FixedShapes::none()), entry.contract.clone(), facts)
}

fn job(seed: usize) -> (Job, std::sync::mpsc::Receiver<Done>) {
    let (reply, done) = sync_channel(1);
    let waiting = Waiting { size: SIZES[0], pictures: 1, since: Instant::now() };
    (Job { waiting, samples: picture(SIZES[0], seed), reply }, done)
}

#[test]
fn parts_are_told_apart() {
    let (mut alone, ..) = runner(&Memory::Ordinary);
    let (wide, high) = SIZES[0];
    let mut of = |seed: usize| {
        let fill = &mut |_: usize, samples: &mut [u8]| samples.copy_from_slice(&picture(SIZES[0], seed));
        alone.run(&Wanted::whole([1, wide, high]), fill).unwrap().samples().unwrap().to_vec()
    };
    let (mut together, ..) = runner(&Memory::Ordinary);
    let (jobs, done): (Vec<_>, Vec<_>) = (0..3).map(job).unzip();
    run(&mut together, jobs);
    for (seed, done) in done.into_iter().enumerate() {
        let part = done.recv().unwrap().made.unwrap();
        assert!(part.samples().unwrap() == of(seed), "picture {seed}");
    }
}

/// The way that pinned memory takes, with the processor's allocator in place of a card's.
#[test]
fn tensors_from_an_allocator_are_used_again_but_not_while_they_are_read() {
    let own = Memory::Of(AllocationDevice::CPU, 0);
    let (mut kept, ..) = runner(&own);
    let (mut plain, ..) = runner(&Memory::Ordinary);
    let mut held = Vec::new();
    // More shapes than are kept, each twice.
    for round in 0..2 {
        for place in 0..20 {
            let (wide, high) = (32 + place, 24 + place);
            let fill = |seed: usize| {
                move |_: usize, samples: &mut [u8]| {
                    samples.copy_from_slice(&picture((wide, high), seed + place))
                }
            };
            let whole = Wanted::whole([1, wide, high]);
            let first = kept.run(&whole, &mut fill(round)).unwrap();
            let second = kept.run(&whole, &mut fill(round + 100)).unwrap();
            let expected = plain.run(&whole, &mut fill(round)).unwrap();
            assert!(
                first.samples().unwrap() == expected.samples().unwrap(),
                "{place}: overwritten too early"
            );
            assert!(second.samples().unwrap() != expected.samples().unwrap());
            let at = first.samples().unwrap().as_ptr();
            drop(first);
            let third = kept.run(&whole, &mut fill(round)).unwrap();
            assert_eq!(third.samples().unwrap().as_ptr(), at, "what is free is used again");
            held.push((third, expected));
        }
    }
    // What is still held is sound after its shape has been forgotten.
    assert!(held.iter().all(|(made, expected)| made.samples().unwrap() == expected.samples().unwrap()));
}

#[test]
fn an_allocator_that_is_not_there_costs_no_picture() {
    let (mut fallen_back, ..) = runner(&Memory::Of(AllocationDevice::CUDA_PINNED, 0));
    let (wide, high) = SIZES[0];
    let fill = &mut |_: usize, samples: &mut [u8]| samples.fill(100);
    assert_eq!(
        fallen_back.run(&Wanted::whole([1, wide, high]), fill).unwrap().samples().unwrap().len(),
        wide * high * 4
    );
}

#[test]
fn a_run_that_fails_is_told_to_each_and_a_thread_that_is_gone_to_everyone() {
    let (runner, _, facts) = runner(&Memory::Ordinary);
    let policy = Policy { most: 4, wait: Duration::from_millis(5) };
    let batcher = Batcher::start(runner, facts, policy).unwrap();
    let mut handle = batcher.handle();
    // A width of nothing is no picture.
    assert!(handle.run([1, 0, 8], &mut |_| {}).is_err());
    let (wide, high) = SIZES[0];
    assert!(handle.run([1, wide, high], &mut |samples| samples.fill(7)).is_ok(), "the thread goes on");
    // As a panic of the thread would leave it.
    drop(Closing(Arc::clone(&batcher.shared)));
    assert!(batcher.is_closed());
    assert!(matches!(handle.run([1, wide, high], &mut |_| {}), Err(InferenceError::Batch(_))));
}

#[test]
fn a_lane_that_rests_is_not_waited_for() {
    let (runner, _, facts) = runner(&Memory::Ordinary);
    let policy = Policy { most: 4, wait: Duration::from_secs(600) };
    let batcher = Batcher::start(runner, facts, policy).unwrap();
    let (mut first, mut second, mut third) = (batcher.handle(), batcher.handle(), batcher.handle());
    let (wide, high) = SIZES[0];
    let run = |handle: &mut Handle| handle.run([1, wide, high], &mut |samples| samples.fill(7)).map(|_| ());
    run(&mut first).unwrap();
    first.rest();
    first.rest();
    run(&mut second).unwrap();
    drop(second);
    // With either of them still counted this would take ten minutes.
    run(&mut third).unwrap();
    assert_eq!(batcher.shared.lock().active, 1);
}

#[test]
fn windows_beyond_a_run_are_run_in_several() {
    let (_, mut all) = engine(|_| {});
    let (engine, mut some) = engine(batching);
    let (width, height) = (96, 64);
    let low = picture((width, height), 5);
    let windows: Vec<Window> =
        (0..5).map(|place| Window { x: place * 16, y: 8 * place, width: 16, height: 16 }).collect();
    let run = |network: &mut Network| {
        let mut out = vec![0; low.len() * 4];
        let mut target = PlaneMut { data: &mut out, stride: width * 2, width: width * 2, height: height * 2 };
        let source = Plane { data: &low, stride: width, width, height };
        network.infer(source, &windows, 8, &mut target).unwrap();
        out
    };
    let expected = run(&mut all);
    assert!(run(&mut some) == expected);
    let mut few = engine.session_of(2).unwrap();
    assert!(run(&mut few) == expected, "two by two, and one");
}

#[test]
fn sessions_are_spread_over_the_cards() {
    let (engine, first) = engine(|runtime| {
        batching(runtime);
        runtime.cards = Cards::new(2);
    });
    let others: Vec<Network> = (0..3).map(|_| engine.session().unwrap()).collect();
    let cards: Vec<usize> = std::iter::once(&first).chain(&others).map(Network::card).collect();
    assert_eq!(cards, [0, 1, 0, 1]);
    assert_eq!(engine.shared_sessions(), 2, "one session for each card");
}
