//! What has not changed since the picture before.
//!
//! An encoder that skips a block repeats its pixels exactly, and players repeat pictures; bars, status lines and stills are the same
//! bytes for minutes. A network that gets the same bytes gives the same bytes, so they are kept.

use crate::codec::{Plane, PlaneMut};
use crate::inference::Window;

/// Bands are made of so many parts of the picture's height at most: each other height is a shape that a provider prepares for.
const PARTS: usize = 12;

/// A band that leaves less than this many parts out is not worth its halo.
const LEAST_SAVED: usize = 2;

/// The picture before: what came in and what the network for all of it made.
#[derive(Default)]
pub(super) struct Before {
    low: Vec<u8>,
    high: Vec<u8>,
    size: (usize, usize),
    /// Whether `high` is of that picture: it is kept from when a part of a picture stays as it was.
    has_high: bool,
}

impl Before {
    /// There is none.
    pub(super) fn forget(&mut self) {
        self.size = (0, 0);
        self.has_high = false;
    }

    /// What of `low` has to be enlarged.
    pub(super) fn changed(&self, low: Plane<'_>, reach: usize) -> Changed {
        let whole = Window { x: 0, y: 0, width: low.width, height: low.height };
        let band = if self.size == (low.width, low.height) { self.band(low, reach) } else { Some(whole) };
        let stays = band != Some(whole);
        Changed { band: if self.has_high { band } else { Some(whole) }, stays }
    }

    /// The rows of `low` whose enlargement may differ from that of the picture before, because something within `reach` rows has
    /// changed: as one window over the whole width, perhaps all of it; `None` if nothing has.
    fn band(&self, low: Plane<'_>, reach: usize) -> Option<Window> {
        let whole = Window { x: 0, y: 0, width: low.width, height: low.height };
        let known = self.low.chunks_exact(low.width.max(1));
        let changes = |(seen, known): (&[u8], &[u8])| seen.get(..low.width) != Some(known);
        let rows = || low.data.chunks(low.stride.max(1)).zip(known.clone());
        let first = rows().position(changes)?;
        let last = low.height - 1 - rows_back(low, &self.low)?;
        let part = low.height.div_ceil(PARTS).max(1);
        let start = first.saturating_sub(reach) / part * part;
        let end = ((last + 1 + reach).div_ceil(part) * part).min(low.height);
        if end - start + LEAST_SAVED * part > low.height {
            return Some(whole);
        }
        Some(Window { y: start, height: end - start, ..whole })
    }

    /// The low picture before, dense; empty if there is none.
    pub(super) fn low(&self) -> &[u8] {
        if self.size == (0, 0) { &[] } else { &self.low }
    }

    /// Writes what was made of the picture before.
    pub(super) fn copy_to(&self, target: &mut PlaneMut<'_>) {
        let lines =
            target.data.chunks_mut(target.stride.max(1)).zip(self.high.chunks_exact(target.width.max(1)));
        for (line, kept) in lines {
            if let Some(line) = line.get_mut(..kept.len()) {
                line.copy_from_slice(kept);
            }
        }
    }

    /// Remembers a picture; what was made of it only where that may serve the next (`stays`), for it is a megabyte to copy.
    pub(super) fn keep(&mut self, low: Plane<'_>, high: &PlaneMut<'_>, scale: usize, stays: bool) {
        self.size = (low.width, low.height);
        collect(&mut self.low, low.data, low.stride, low.width, low.height);
        self.has_high = stays;
        if stays {
            collect(&mut self.high, high.data, high.stride, low.width * scale, low.height * scale);
        }
    }
}

/// What has to be enlarged of a picture, and whether some of it stays as it was.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Changed {
    /// As one window over the whole width, perhaps all of the picture; `None` for nothing.
    pub(super) band: Option<Window>,
    /// A part of the picture is that of the picture before.
    pub(super) stays: bool,
}

/// Rows at the bottom that are the same; `None` if all are.
fn rows_back(low: Plane<'_>, known: &[u8]) -> Option<usize> {
    (0..low.height).rev().position(|row| {
        let seen = low.data.get(row * low.stride..).and_then(|line| line.get(..low.width));
        seen != known.get(row * low.width..(row + 1) * low.width)
    })
}

fn collect(into: &mut Vec<u8>, data: &[u8], stride: usize, width: usize, height: usize) {
    into.clear();
    for line in data.chunks(stride.max(1)).take(height) {
        into.extend_from_slice(line.get(..width).unwrap_or_default());
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WIDTH: usize = 16;
    const HEIGHT: usize = 120;

    fn plane(data: &[u8]) -> Plane<'_> {
        Plane { data, stride: WIDTH, width: WIDTH, height: HEIGHT }
    }

    fn before(low: &[u8]) -> Before {
        let mut before = Before::default();
        let mut high = vec![7; low.len() * 4];
        let high = PlaneMut { data: &mut high, stride: WIDTH * 2, width: WIDTH * 2, height: HEIGHT * 2 };
        before.keep(plane(low), &high, 2, true);
        before
    }

    #[test]
    fn the_first_picture_is_all_new() {
        let low = vec![1; WIDTH * HEIGHT];
        let whole = Window { x: 0, y: 0, width: WIDTH, height: HEIGHT };
        let all = Changed { band: Some(whole), stays: false };
        assert_eq!(Before::default().changed(plane(&low), 8), all);
        let mut before = before(&low);
        assert_eq!(before.changed(plane(&low), 8), Changed { band: None, stays: true });
        before.forget();
        assert_eq!(before.changed(plane(&low), 8), all);
    }

    #[test]
    fn a_change_reaches_as_far_as_networks_look() {
        let mut low = vec![1; WIDTH * HEIGHT];
        let before = before(&low);
        low[55 * WIDTH + 3] = 2;
        // Rows 47 to 63, in parts of 10.
        let band = before.changed(plane(&low), 8).band.unwrap();
        assert_eq!((band.y, band.height, band.width), (40, 30, WIDTH));
        low[3 * WIDTH] = 2;
        let rows = |low: &[u8]| before.changed(plane(low), 8).band.map(|band| (band.y, band.height));
        assert_eq!(rows(&low), Some((0, 70)));
        low[110 * WIDTH] = 2;
        assert_eq!(rows(&low), Some((0, HEIGHT)));
    }

    #[test]
    fn what_stays_serves_from_the_second_time_on() {
        let low = vec![1; WIDTH * HEIGHT];
        let mut before = before(&low);
        let mut high = vec![7; low.len() * 4];
        let high = PlaneMut { data: &mut high, stride: WIDTH * 2, width: WIDTH * 2, height: HEIGHT * 2 };
        before.keep(plane(&low), &high, 2, false);
        let first = before.changed(plane(&low), 8);
        assert!(first.stays && first.band.is_some_and(|band| band.height == HEIGHT));
        before.keep(plane(&low), &high, 2, first.stays);
        assert_eq!(before.changed(plane(&low), 8).band, None);
    }

    #[test]
    fn what_went_out_comes_back() {
        let before = before(&[1; WIDTH * HEIGHT]);
        let mut out = vec![0; 40 * HEIGHT * 2];
        before.copy_to(&mut PlaneMut { data: &mut out, stride: 40, width: WIDTH * 2, height: HEIGHT * 2 });
        assert!(out.chunks(40).all(|line| line[..32] == [7; 32] && line[32..] == [0; 8]));
    }
}
