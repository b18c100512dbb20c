//! How two successive pictures hang together: whether anything may be shown between them. Pure.
//!
//! Both are looked at small (a hundred and sixty pixels wide or so). For each block of the second the most alike place of the first is
//! sought nearby; what is left over after that is what no movement explains. In pictures of one scene it is far below the contrast of
//! the blocks themselves, across a cut it is above: blocks of strange pictures match each other no better than flat grey would.
//!
//! Measured on 640x360 at 20 to 30 pictures a second: two recorded games, a fixed camera, birds and 150 s of an animated film;
//! and on 252 pairs of pictures that have nothing to do with each other. What is left over is 0.8 to 2.6 code values in the middle of
//! each clip, 6 in the hundredth quickest turn of a game; of strangers 8 at least, and never below 1.2 times the contrast. The rule
//! below calls all 252 apart, and of some 5,800 pairs within scenes it calls three so: explosions.

use crate::codec::Plane;

/// About so wide is what is looked at.
const SMALL_WIDTH: usize = 160;

/// Side of a block, and how far around its place its like is sought: in small pixels (64 of the picture each way, at 640 wide).
const BLOCK: usize = 8;
const REACH: isize = 8;

/// What no movement explains is a cut from here on, in code values: below, what would shine through cannot be seen.
const LEAST_CUT: f64 = 4.0;

/// The mean brightness jumps by so much from one picture to the next: lightning, an explosion, a flash.
const FLASH: f64 = 8.0;

/// It moves by so much, and so much of all change is one direction: the light goes up or down.
const FADE: f64 = 1.5;
const FADE_SHARE: f64 = 0.8;

/// A block that is this much like a place needs no better one, in code values a pixel.
const ALIKE: u32 = 1;

/// What may be shown between two pictures.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relation {
    /// Things move.
    Moving,
    /// The light changes as a whole: the mean of both is right.
    Fading,
    /// A cut or a flash: nothing of both may be in one picture.
    Apart,
}

/// A picture made small.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Small {
    pixels: Vec<u8>,
    width: usize,
    height: usize,
}

impl Small {
    /// Of a luma plane: means of squares.
    pub(crate) fn of(luma: Plane<'_>) -> Self {
        let step = (luma.width / SMALL_WIDTH).max(1);
        let (width, height) = (luma.width / step, luma.height / step);
        let mut pixels = Vec::with_capacity(width * height);
        let mut sums = vec![0_u32; width];
        let area = u32::try_from(step * step).unwrap_or(1);
        for rows in luma.data.chunks(luma.stride.max(1) * step).take(height) {
            sums.fill(0);
            for row in rows.chunks(luma.stride.max(1)) {
                for (sum, square) in sums.iter_mut().zip(row.chunks_exact(step)) {
                    *sum += square.iter().map(|&pixel| u32::from(pixel)).sum::<u32>();
                }
            }
            pixels.extend(sums.iter().map(|sum| ((sum + area / 2) / area) as u8)); // a mean of bytes
        }
        Self { pixels, width, height }
    }

    /// How much it differs from another, in code values on average; not a number where that is of another size.
    pub(crate) fn change(&self, other: &Self) -> f32 {
        if (self.width, self.height) != (other.width, other.height) || self.pixels.is_empty() {
            return f32::NAN;
        }
        let pairs = self.pixels.iter().zip(&other.pixels);
        let sum: u64 = pairs.map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
        (sum as f64 / self.pixels.len() as f64) as f32
    }

    /// `BLOCK` pixels of a row from `(x, y)` on, which lie inside.
    fn row(&self, x: usize, y: usize) -> &[u8] {
        self.pixels.get(y * self.width + x..).and_then(|rest| rest.get(..BLOCK)).unwrap_or_default()
    }

    fn sum(&self, x: usize, y: usize) -> u32 {
        (y..y + BLOCK).flat_map(|y| self.row(x, y)).map(|&pixel| u32::from(pixel)).sum()
    }

    /// Sum of differences from a flat block of its own mean.
    fn contrast(&self, x: usize, y: usize) -> u32 {
        let mean = (self.sum(x, y) / (BLOCK * BLOCK) as u32) as u8;
        (y..y + BLOCK).flat_map(|y| self.row(x, y)).map(|&pixel| u32::from(pixel.abs_diff(mean))).sum()
    }

    /// Sum of differences of a block from another's; some number above `enough` if it is above that.
    fn difference(&self, (x, y): (usize, usize), other: &Self, (u, v): (usize, usize), enough: u32) -> u32 {
        let mut sum = 0;
        for row in 0..BLOCK {
            let pairs = self.row(x, y + row).iter().zip(other.row(u, v + row));
            sum += pairs.map(|(a, b)| u32::from(a.abs_diff(*b))).sum::<u32>();
            if sum > enough {
                break;
            }
        }
        sum
    }

    /// The difference of the block at `(x, y)` from the place of `other` nearby that is most like it.
    fn left_over(&self, (x, y): (usize, usize), other: &Self) -> u32 {
        let mut best = u32::MAX;
        for (dx, dy) in places() {
            let at = (x.checked_add_signed(dx), y.checked_add_signed(dy));
            let (Some(u), Some(v)) = at else { continue };
            if u + BLOCK > self.width || v + BLOCK > self.height {
                continue;
            }
            best = best.min(self.difference((x, y), other, (u, v), best));
            if best <= ALIKE * (BLOCK * BLOCK) as u32 {
                break;
            }
        }
        best
    }
}

/// Where the like of a block is sought: every place close by, every second one farther away.
fn places() -> impl Iterator<Item = (isize, isize)> {
    const CLOSE: isize = 2;
    let close = (-CLOSE..=CLOSE).flat_map(|dy| (-CLOSE..=CLOSE).map(move |dx| (dx, dy)));
    let far =
        (-REACH / 2..=REACH / 2).flat_map(|dy| (-REACH / 2..=REACH / 2).map(move |dx| (2 * dx, 2 * dy)));
    std::iter::once((0, 0)).chain(close).chain(far.filter(|(dx, dy)| dx.abs().max(dy.abs()) > CLOSE))
}

/// What `next` is to `previous`.
pub(crate) fn relation(previous: &Small, next: &Small) -> Relation {
    if (previous.width, previous.height) != (next.width, next.height) {
        return Relation::Apart;
    }
    let across = (0..next.width / BLOCK).map(|x| x * BLOCK);
    let blocks: Vec<(usize, usize)> =
        (0..next.height / BLOCK).flat_map(|y| across.clone().map(move |x| (x, y * BLOCK))).collect();
    let (mut shift, mut change, mut contrast, mut left_over) = (0_i64, 0_u64, 0_u64, 0_u64);
    for &(x, y) in &blocks {
        let difference = i64::from(next.sum(x, y)) - i64::from(previous.sum(x, y));
        shift += difference;
        change += difference.unsigned_abs();
        contrast += u64::from(next.contrast(x, y));
        left_over += u64::from(next.left_over((x, y), previous));
    }
    let each = (blocks.len() * BLOCK * BLOCK).max(1) as f64;
    let shift = shift.unsigned_abs() as f64 / each;
    let [change, contrast, left_over] = [change, contrast, left_over].map(|sum| sum as f64 / each);
    if shift >= FLASH || (left_over >= LEAST_CUT && left_over >= contrast) {
        Relation::Apart
    } else if shift >= FADE && shift >= FADE_SHARE * change {
        Relation::Fading
    } else {
        Relation::Moving
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WIDTH: usize = 640;
    const HEIGHT: usize = 360;

    /// A picture of large soft blobs with a fine grain, others for each seed, moved to the right and made brighter.
    fn picture(seed: usize, moved: usize, brighter: i32) -> Vec<u8> {
        let mut state = seed as u64 * 2_654_435_761 + 1;
        let mut random = |below: usize| {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 33) as usize % below
        };
        let mut picture = vec![110 + brighter; WIDTH * HEIGHT];
        for _ in 0..24 {
            let (x, y, radius) =
                ((random(WIDTH) + moved) as i32, random(HEIGHT) as i32, 40 + random(110) as i32);
            let height = random(180) as i32 - 90;
            for (row, line) in (0..).zip(picture.chunks_mut(WIDTH)) {
                for (column, pixel) in (0..).zip(line) {
                    let distance = (column - x) * (column - x) + (row - y) * (row - y);
                    *pixel += height * (radius * radius - distance).max(0) / (radius * radius);
                }
            }
        }
        let grain = |x: usize, y: usize| ((x + WIDTH - moved) * 31 + y * 17) as i32 % 7;
        let pixels = picture.iter().enumerate();
        pixels.map(|(at, pixel)| (pixel + grain(at % WIDTH, at / WIDTH)).clamp(0, 255) as u8).collect()
    }

    fn small(data: &[u8]) -> Small {
        Small::of(Plane { data, stride: WIDTH, width: WIDTH, height: HEIGHT })
    }

    fn between(a: &[u8], b: &[u8]) -> Relation {
        relation(&small(a), &small(b))
    }

    #[test]
    fn movement_is_no_cut() {
        for seed in 0..12 {
            let still = picture(seed, 0, 0);
            for moved in [0, 1, 7, 20, 40] {
                assert_eq!(between(&still, &picture(seed, moved, 0)), Relation::Moving, "{seed} {moved}");
            }
        }
    }

    #[test]
    fn other_pictures_are_apart_both_ways() {
        let all: Vec<Vec<u8>> = (0..12).map(|seed| picture(seed, 0, 0)).collect();
        let black = vec![16; WIDTH * HEIGHT];
        for (at, a) in all.iter().enumerate() {
            assert_eq!(between(a, &black), Relation::Apart);
            assert_eq!(between(&black, a), Relation::Apart);
            for b in all.iter().skip(at + 1) {
                assert_eq!(between(a, b), Relation::Apart, "{at}");
            }
        }
    }

    #[test]
    fn light_that_changes_is_a_fade_and_light_that_jumps_a_flash() {
        let still = picture(3, 0, 0);
        for (brighter, expected) in [
            (1, Relation::Moving),
            (3, Relation::Fading),
            (-6, Relation::Fading),
            (12, Relation::Apart),
            (-60, Relation::Apart),
        ] {
            assert_eq!(between(&still, &picture(3, 0, brighter)), expected, "{brighter}");
        }
    }

    #[test]
    fn odd_sizes_are_looked_at_too() {
        for (width, height) in [(64, 64), (426, 240), (254, 142), (1920, 1080), (6, 4)] {
            let data: Vec<u8> = (0..width * height).map(|at| (at * 7 % 251) as u8).collect();
            let small = Small::of(Plane { data: &data, stride: width, width, height });
            assert_eq!(relation(&small, &small), Relation::Moving, "{width}x{height}");
        }
        let other = Small { pixels: vec![0; 64], width: 8, height: 8 };
        assert_eq!(relation(&other, &Small::default()), Relation::Apart, "of another size");
    }
}
