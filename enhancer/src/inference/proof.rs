//! What a network must show before it is used: that it runs on pictures of any size, that what it gives is the picture it
//! was given, enlarged, and how long it takes.
//!
//! A digest only says that a file is the one that was meant, and declared tensors only what somebody declared. A network
//! with a swapped axis, with weights that are not numbers or with the scale of another has the right digest and may
//! well have the right names.

use std::time::Instant;

use super::network::{InferenceError, Network};
use crate::codec::{Plane, PlaneMut};

/// Sizes of two shapes, neither square, so that a network with fixed or swapped axes cannot pass both.
const PROOF_SIZES: [(usize, usize); 2] = [(96, 54), (160, 90)];

/// The usual source. Only quick networks are timed with it: VDSR at this size takes seconds and hundreds of megabytes.
const USUAL_SIZE: (usize, usize) = (640, 360);

/// A network that is expected to take longer than this for one picture of the usual size is not timed with it.
const QUICK_SECONDS: f64 = 0.1;

/// Runs for each timing; fewer if they take longer than [`QUICK_SECONDS`] together, for such a network gets no quicker by
/// it. The quickest run counts: the first allocates and, with some providers, compiles, and others may share the machine
/// with everything else that starts.
const RUNS: usize = 3;

/// How far the output may be from the input, enlarged, in code values, on average. Trained networks are within 1, untrained
/// ones of the trainer within 20; one colour all over is 32 away, a mirrored picture 48, black or white more than 100.
const MEAN_ERROR_LIMIT: f64 = 24.0;

impl Network {
    /// Runs the network on pictures whose enlargement is known.
    ///
    /// Gives the seconds per output pixel that it takes on this machine.
    pub(crate) fn prove(&mut self) -> Result<f64, InferenceError> {
        let mut seconds_per_pixel = f64::INFINITY;
        for size in PROOF_SIZES {
            seconds_per_pixel = self.time(size)?;
        }
        let scale = self.scale();
        let usual_pixels = USUAL_SIZE.0 * USUAL_SIZE.1 * scale * scale;
        if seconds_per_pixel * usual_pixels as f64 <= QUICK_SECONDS {
            seconds_per_pixel = self.time(USUAL_SIZE)?;
        }
        Ok(seconds_per_pixel)
    }

    /// Runs a session of a proven network once, so that the first picture does not pay for what first runs do.
    pub(crate) fn warm_up(&mut self) -> Result<(), InferenceError> {
        let (width, height) = PROOF_SIZES[1];
        let ramp = ramp(width, height, 1);
        let mut out = vec![0; ramp.len() * self.scale() * self.scale()];
        self.enlarge(&ramp, (width, height), &mut out)
    }

    /// The picture of the proof that has the most to tell networks apart by: edges of all directions and fine texture.
    pub(super) fn of_the_test_chart(&mut self) -> Result<Vec<u8>, InferenceError> {
        let (width, height) = PROOF_SIZES[1];
        let chart = chart(width, height);
        let mut out = vec![0; chart.len() * self.scale() * self.scale()];
        self.enlarge(&chart, (width, height), &mut out)?;
        Ok(out)
    }

    fn time(&mut self, (width, height): (usize, usize)) -> Result<f64, InferenceError> {
        let ramp = ramp(width, height, 1);
        let expected = self::ramp(width, height, self.scale());
        let mut out = vec![0; expected.len()];
        let mut seconds = f64::INFINITY;
        let begun = Instant::now();
        for run in 0..RUNS {
            if run > 0 && begun.elapsed().as_secs_f64() > QUICK_SECONDS {
                break;
            }
            let started = Instant::now();
            self.enlarge(&ramp, (width, height), &mut out)?;
            seconds = seconds.min(started.elapsed().as_secs_f64());
        }
        let error: u64 = out.iter().zip(&expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        let mean_error = error as f64 / expected.len() as f64;
        if mean_error > MEAN_ERROR_LIMIT {
            return Err(InferenceError::Output { mean_error });
        }
        Ok(seconds / out.len() as f64)
    }

    fn enlarge(
        &mut self,
        picture: &[u8],
        (width, height): (usize, usize),
        out: &mut [u8],
    ) -> Result<(), InferenceError> {
        let scale = self.scale();
        let source = Plane { data: picture, stride: width, width, height };
        let target =
            PlaneMut { data: out, stride: width * scale, width: width * scale, height: height * scale };
        self.run(source, target)
    }
}

/// Rings that get finer outwards, on a ramp, with flat blocks: 32 to 224.
fn chart(width: usize, height: usize) -> Vec<u8> {
    let tone = |x: usize, y: usize| {
        let (dx, dy) = (x as f64 - width as f64 / 2.0, y as f64 - height as f64 / 2.0);
        let rings = 40.0 * ((dx * dx + dy * dy) / 60.0).cos();
        let ramp = 64.0 * x as f64 / width as f64 - 32.0;
        let block = if (x / 16 + y / 16).is_multiple_of(3) { 24.0 } else { 0.0 };
        (128.0 + rings + ramp + block).round() as u8
    };
    (0..height).flat_map(|y| (0..width).map(move |x| tone(x, y))).collect()
}

/// A picture that gets lighter from left to right and from top to bottom (32 to 224), enlarged by `scale`.
fn ramp(width: usize, height: usize, scale: usize) -> Vec<u8> {
    let (width, height) = (width * scale, height * scale);
    let step = |place: usize, length: usize| 96 * (2 * place + 1) / (2 * length);
    (0..height).flat_map(|y| (0..width).map(move |x| (32 + step(x, width) + step(y, height)) as u8)).collect()
}
