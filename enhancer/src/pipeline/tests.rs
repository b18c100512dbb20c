//! The pipeline with numbers for pictures: what arrives where, what is held, how failures end.
#![allow(clippy::unwrap_used, clippy::panic)]

use bytes::Bytes;

use super::*;
use crate::container::{AccessUnit, EncodedUnit};

/// Emits the given places, each as a picture that carries its place times ten.
struct Numbers(Vec<usize>, Option<EnhanceError>);

impl Decode for Numbers {
    type Picture = usize;
    fn run(self, emit: Emit<'_, usize>) -> Result<(), EnhanceError> {
        for index in self.0 {
            emit(Placed { index, picture: index * 10 })?;
        }
        self.1.map_or(Ok(()), Err)
    }
}

struct Add(usize);

impl Stage for Add {
    type In = usize;
    type Out = usize;
    fn push(&mut self, placed: Placed<usize>, emit: Emit<'_, usize>) -> Result<(), EnhanceError> {
        emit(Placed { index: placed.index, picture: placed.picture + self.0 })
    }
}

/// Holds one picture back, as a stage does that looks at its neighbour.
#[derive(Default)]
struct Delay(Option<Placed<usize>>);

impl Stage for Delay {
    type In = usize;
    type Out = usize;
    fn push(&mut self, placed: Placed<usize>, emit: Emit<'_, usize>) -> Result<(), EnhanceError> {
        self.0.replace(placed).map_or(Ok(()), emit)
    }
    fn finish(&mut self, emit: Emit<'_, usize>) -> Result<(), EnhanceError> {
        self.0.take().map_or(Ok(()), emit)
    }
}

struct Panics;

impl Stage for Panics {
    type In = usize;
    type Out = usize;
    fn push(&mut self, _: Placed<usize>, _: Emit<'_, usize>) -> Result<(), EnhanceError> {
        Err(EnhanceError::WorkerLost)
    }
}

/// Writes each picture's number and time into the unit.
#[derive(Default)]
struct Record(Vec<EncodedUnit>, Option<usize>);

impl Encode for Record {
    type Picture = usize;
    type Output = Vec<EncodedUnit>;
    fn push(&mut self, picture: &mut usize, pts: i64, idr: bool) -> Result<(), EnhanceError> {
        if self.1 == Some(self.0.len()) {
            return Err(EnhanceError::Codec { stage: "encode", message: "full".into() });
        }
        self.0.push(EncodedUnit { data: Bytes::from(format!("{picture}@{pts}")), keyframe: idr });
        Ok(())
    }
    fn blank(&mut self) -> Result<usize, EnhanceError> {
        Ok(777)
    }
    fn recycle(&mut self, _: usize) {}
    fn finish(self) -> Result<Vec<EncodedUnit>, EnhanceError> {
        Ok(self.0)
    }
}

fn timeline(len: usize) -> Timeline {
    let units: Vec<AccessUnit> = (0..len)
        .map(|i| AccessUnit {
            data: Bytes::new(),
            pts: i as i64 * 100,
            dts: 0,
            duration: None,
            random_access: i == 0,
        })
        .collect();
    Timeline::new(&units, 90_000)
}

fn texts(made: &Made<Vec<EncodedUnit>>) -> Vec<String> {
    made.output.iter().map(|unit| String::from_utf8(unit.data.to_vec()).unwrap()).collect()
}

#[test]
fn stages_are_chained_and_held_pictures_come_out() {
    let timeline = timeline(4);
    let mut stage = Then(Add(1), Then(Delay::default(), Add(2)));
    let decoder = || Ok(Numbers(vec![0, 1, 2, 3], None));
    let made =
        run(0, &timeline, &CancelFlag::default(), decoder, &mut stage, || Ok(Record::default())).unwrap();
    assert_eq!(texts(&made), ["3@0", "13@100", "23@200", "33@300"]);
    assert_eq!((made.held, made.blank), (0, false));
    assert!(made.output[0].keyframe && !made.output[1].keyframe);
}

#[test]
fn lost_pictures_are_held_and_counted() {
    let timeline = timeline(5);
    let decoder = || Ok(Numbers(vec![1, 3], None));
    let made =
        run(0, &timeline, &CancelFlag::default(), decoder, &mut Add(0), || Ok(Record::default())).unwrap();
    assert_eq!(texts(&made), ["10@0", "10@100", "10@200", "30@300", "30@400"]);
    assert_eq!(made.held, 3);
}

#[test]
fn nothing_decoded_keeps_time_with_blank_pictures() {
    let timeline = timeline(2);
    let made = run(
        0,
        &timeline,
        &CancelFlag::default(),
        || Ok(Numbers(vec![], None)),
        &mut Add(0),
        || Ok(Record::default()),
    )
    .unwrap();
    assert_eq!(texts(&made), ["777@0", "777@100"]);
    assert!(made.blank);
}

#[test]
fn each_failure_ends_all_threads_and_names_its_cause() {
    let timeline = timeline(100);
    let many = || Ok(Numbers((0..100).collect(), None));
    let flag = CancelFlag::default();
    let error = run(0, &timeline, &flag, many, &mut Panics, || Ok(Record::default())).unwrap_err();
    assert_eq!(error.label(), "worker_lost");

    let full = || Ok(Record(Vec::new(), Some(3)));
    let error = run(0, &timeline, &flag, many, &mut Add(0), full).unwrap_err();
    assert_eq!(error.label(), "codec_failed");

    let broken = || Ok(Numbers(vec![0], Some(EnhanceError::OpensMidGop)));
    let error = run(0, &timeline, &flag, broken, &mut Add(0), || Ok(Record::default())).unwrap_err();
    assert_eq!(error.label(), "opens_mid_gop");

    flag.cancel();
    let error = run(0, &timeline, &flag, many, &mut Add(0), || Ok(Record::default())).unwrap_err();
    assert_eq!(error.label(), "cancelled");
}
