//! Squared errors of luma planes, and what they say. Code values are compared as they were coded (limited range stays
//! limited), with a peak of 255, as everybody's PSNR does.

use crate::CompareError;
use crate::codec::Plane;

/// Identical pictures have no PSNR; beyond this nobody could tell.
const DB_MAX: f64 = 100.0;

/// Mean variance of code values below which a picture shows nothing: fades to black, blank cards.
const FLAT_VARIANCE: f64 = 4.0;

/// The part of the pictures' own variance that the plain scaler's error may be. Strangers' is above 1 (the sum of both
/// variances), that of one picture at 150 kbit/s below 0.1.
const UNLIKE: f64 = 0.5;

/// A neighbour is nearer where its error is below this part of the picture's own. Standing pictures are as near as their neighbours.
const OFFSET: f64 = 0.9;

/// A sum of squared errors over some pictures.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Errors {
    sum: f64,
    samples: f64,
}

impl Errors {
    pub(super) fn add(&mut self, one: Plane<'_>, other: Plane<'_>) {
        let mut sum = 0_u64;
        for (one, other) in rows(one).zip(rows(other)) {
            // At most 65 025 a sample: a row of 60 000 would still fit.
            let squares = one.iter().zip(other).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2));
            sum += u64::from(squares.sum::<u32>());
        }
        self.sum += sum as f64;
        self.samples += (one.width * one.height) as f64;
    }

    /// Counts what was counted elsewhere.
    pub(super) fn join(&mut self, other: Self) {
        self.sum += other.sum;
        self.samples += other.samples;
    }

    /// Mean squared error; none without samples.
    pub(super) fn mean(&self) -> Option<f64> {
        (self.samples > 0.0).then(|| self.sum / self.samples)
    }

    /// PSNR in dB.
    pub(super) fn db(&self) -> f64 {
        let mean = self.mean().unwrap_or(0.0);
        if mean > 0.0 { (10.0 * (255.0_f64.powi(2) / mean).log10()).min(DB_MAX) } else { DB_MAX }
    }
}

/// What the plain scaler's pictures have to do with the high ones.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(super) struct Likeness {
    /// Against the picture of the same moment.
    pub(super) own: Errors,
    /// The same for those that have one before, and against that.
    pub(super) before: (Errors, Errors),
    /// The same for those that have one after.
    pub(super) after: (Errors, Errors),
    variance_sum: f64,
    pictures: f64,
}

impl Likeness {
    /// Counts a high picture's variance.
    pub(super) fn count(&mut self, picture: Plane<'_>) {
        let (mut sum, mut squares) = (0_u64, 0_u64);
        for row in rows(picture) {
            sum += row.iter().map(|&code| u64::from(code)).sum::<u64>();
            squares += row.iter().map(|&code| u64::from(code).pow(2)).sum::<u64>();
        }
        let samples = ((picture.width * picture.height) as f64).max(1.0);
        self.variance_sum += squares as f64 / samples - (sum as f64 / samples).powi(2);
        self.pictures += 1.0;
    }

    /// Whether they are the same pictures.
    pub(super) fn judge(&self) -> Result<(), CompareError> {
        let own = self.own.mean().ok_or(CompareError::Times)?;
        let variance = self.variance_sum / self.pictures.max(1.0);
        if variance < FLAT_VARIANCE {
            return Err(CompareError::Flat);
        }
        let is_nearer = |(own, other): (Errors, Errors)| match (own.mean(), other.mean()) {
            (Some(own), Some(other)) => other < own * OFFSET,
            _ => false,
        };
        if is_nearer(self.before) || is_nearer(self.after) {
            return Err(CompareError::Offset);
        }
        if own > variance * UNLIKE {
            return Err(CompareError::Unlike { plain_db: self.own.db() });
        }
        Ok(())
    }
}

fn rows(plane: Plane<'_>) -> impl Iterator<Item = &[u8]> {
    let Plane { data, stride, width, height } = plane;
    data.chunks(stride.max(1)).take(height).filter_map(move |row| row.get(..width))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn plane(data: &[u8], stride: usize, width: usize) -> Plane<'_> {
        Plane { data, stride, width, height: data.len().div_ceil(stride) }
    }

    fn errors(one: &[u8], other: &[u8]) -> Errors {
        let mut errors = Errors::default();
        errors.add(plane(one, one.len(), one.len()), plane(other, other.len(), other.len()));
        errors
    }

    #[test]
    fn psnr_is_everybodys() {
        // A mean squared error of 1 is 48.13 dB, of 100 it is 28.13 dB.
        assert!((errors(&[1, 3, 5], &[2, 2, 6]).db() - 48.130_8).abs() < 1e-3);
        assert!((errors(&[0, 100], &[10, 90]).db() - 28.130_8).abs() < 1e-3);
        assert!((errors(&[7, 7], &[7, 7]).db() - DB_MAX).abs() < 1e-9);
        assert!(errors(&[0], &[255]).db().abs() < 1e-9);
        // What lies between width and stride does not count, and the last row may end with its width.
        let mut padded = Errors::default();
        padded.add(plane(&[1, 2, 99, 3, 4], 3, 2), plane(&[1, 2, 3, 4], 2, 2));
        assert_eq!((padded.sum, padded.samples), (0.0, 4.0));
    }

    #[test]
    fn errors_add_up_over_pictures_before_the_logarithm() {
        let mut both = errors(&[0, 0], &[2, 2]);
        both.add(plane(&[0, 0], 2, 2), plane(&[4, 4], 2, 2));
        assert_eq!(both.mean(), Some(10.0));
    }

    #[test]
    fn likeness() {
        let of = |mean: f64| Errors { sum: mean, samples: 1.0 };
        let like = |own: f64, before: f64, after: f64, variance: f64| Likeness {
            own: of(own),
            before: (of(own), of(before)),
            after: (of(own), of(after)),
            variance_sum: variance,
            pictures: 1.0,
        };
        for (likeness, expected) in [
            (like(40.0, 300.0, 320.0, 2000.0), "same"),
            (like(40.0, 39.0, 41.0, 2000.0), "same"), // it stands still
            (like(300.0, 40.0, 700.0, 2000.0), "offset"),
            (like(300.0, 700.0, 40.0, 2000.0), "offset"),
            (like(3000.0, 3100.0, 2900.0, 2000.0), "unlike"),
            (like(1.0, 1.0, 1.0, 0.5), "flat"),
            (Likeness::default(), "times"),
        ] {
            let found = likeness.judge().map_or_else(|error| error.label(), |()| "same");
            assert_eq!(found, expected, "{likeness:?}");
        }
        let mut counted = Likeness::default();
        counted.count(plane(&[10, 20, 10, 20], 2, 2));
        assert!((counted.variance_sum - 25.0).abs() < 1e-9);
    }
}
