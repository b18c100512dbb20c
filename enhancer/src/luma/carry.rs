//! What a dear network adds to a cheap one, carried from picture to picture.
//!
//! The cheapest network of a set makes every picture. What the dear one would add to that, its *gain*, is small, and stays where it is
//! for as long as the low picture does: so it is computed in a few windows of each picture, remembered for each pixel, and added
//! to all. Where the low picture changes, a remembered gain is worth less and less and shrinks, until its window is computed
//! again: the windows with most to win first, which are those with much detail whose gain is oldest, measured in change.
//!
//! All of it is decided from the low pictures, before any network runs. The first picture, key pictures and cuts are made by the dear
//! network as a whole.

use crate::codec::{Plane, PlaneMut};
use crate::inference::Window;

use super::grid::{BLOCK, COLUMNS, Grid, Look, ROWS};

/// Change (mean squared, in code values) that makes a gain worth half is one over this.
const FADE: f32 = 0.03;
/// More change in a block than this is another picture.
const CUT_CHANGE: f32 = 400.0;
/// The part of a picture's blocks that are another picture at a cut.
const CUT_SHARE: f64 = 0.6;
/// A new gain is blended with the old one by up to this much, against flicker ...
const BLEND: f32 = 0.5;
/// ... where the picture has changed by less than about this.
const BLEND_CHANGE: f32 = 20.0;
/// Gains are held in 32nds of a code value.
const PART_BITS: u32 = 5;
/// What a block's drift is before its gain was ever computed.
const UNKNOWN: f32 = 1e4;

/// What the dear network is to make of a picture.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Plan {
    Whole,
    Windows(Vec<Window>),
}

#[derive(Default)]
pub(super) struct Carry {
    grid: Grid,
    scale: usize,
    look: Look,
    /// Sum of changes of each block since its gain was computed.
    drift: Vec<f32>,
    /// Blocks whose gain would be computed from the same pixels again: nothing within reach of the networks has changed since.
    settled: Vec<bool>,
    /// For each high pixel, as it was computed.
    gain: Vec<i16>,
}

impl Carry {
    /// Another film begins.
    pub(super) fn forget(&mut self) {
        self.grid = Grid::default();
    }

    /// Looks at a picture and says what of it the dear network is to make: `share` of it at most. `before` is the low picture before,
    /// dense, or empty.
    pub(super) fn plan(
        &mut self,
        low: Plane<'_>,
        before: &[u8],
        scale: usize,
        is_key: bool,
        share: f64,
    ) -> Plan {
        let grid = Grid::of(low.width, low.height);
        let is_new = before.is_empty() || grid != self.grid || scale != self.scale;
        if is_new {
            (self.grid, self.scale) = (grid, scale);
            self.drift.clear();
            self.drift.resize(grid.columns * grid.rows, UNKNOWN);
            self.gain.clear();
            self.gain.resize(low.width * low.height * scale * scale, 0);
        }
        self.look.at(&grid, low, if is_new { &[] } else { before });
        for (drift, change) in self.drift.iter_mut().zip(&self.look.change) {
            *drift = (*drift + change).min(UNKNOWN);
        }
        self.settle();
        let other = self.look.change.iter().filter(|change| **change > CUT_CHANGE).count();
        if is_new || is_key || other as f64 > CUT_SHARE * self.drift.len() as f64 {
            return Plan::Whole;
        }
        Plan::Windows(self.choose(share))
    }

    /// Finds the blocks that have not changed and lie beside none that has: networks look about as far as a block.
    fn settle(&mut self) {
        let Self { grid, drift, settled, .. } = self;
        let (columns, rows) = (grid.columns, grid.rows);
        settled.clear();
        settled.extend((0..drift.len()).map(|block| {
            let (x, y) = (block % columns, block / columns);
            let mut beside = (y.saturating_sub(1)..(y + 2).min(rows))
                .flat_map(|y| (x.saturating_sub(1)..(x + 2).min(columns)).map(move |x| y * columns + x));
            beside.all(|block| drift[block] == 0.0)
        }));
    }

    /// The windows with most to win, at most `share` of the picture, in their order in it.
    fn choose(&self, share: f64) -> Vec<Window> {
        let grid = &self.grid;
        let worth = |block: usize| {
            let drift = self.drift[block];
            self.look.detail[block] * drift * worth_left(drift)
        };
        let windows = grid.windows();
        let mut ranked: Vec<(usize, f32)> =
            windows.iter().map(|window| grid.blocks_of(window).map(worth).sum()).enumerate().collect();
        ranked.retain(|(_, worth)| *worth > 0.0);
        ranked.sort_by(|(_, a), (_, b)| b.total_cmp(a));
        ranked.truncate(count(share));
        ranked.sort_unstable_by_key(|(place, _)| *place);
        ranked.into_iter().map(|(place, _)| windows[place]).collect()
    }

    /// Learns the gain in `window`: `dear` is the dear network's picture, `cheap` the cheap one's.
    pub(super) fn learn(&mut self, window: &Window, dear: Plane<'_>, cheap: &PlaneMut<'_>) {
        let Self { grid, scale, look, drift, settled, gain } = self;
        let wide = grid.width * *scale;
        let side = BLOCK * *scale;
        for block in grid.blocks_of(window) {
            // What stands still stays as it is, to the bit.
            if settled.get(block) == Some(&true) {
                continue;
            }
            // A gain that was never computed, or was of another picture, is not blended with.
            let blend = if drift[block] < CUT_CHANGE {
                BLEND * (-look.change[block] / BLEND_CHANGE).exp()
            } else {
                0.0
            };
            let (old, fresh) = (fixed(blend * worth_left(drift[block])), ONE - fixed(blend));
            let (x, y) = (block % grid.columns * side, block / grid.columns * side);
            for row in y..(y + side).min(grid.height * *scale) {
                let columns = x..(x + side).min(wide);
                let gain = &mut gain[row * wide..][columns.clone()];
                let dear = dear.data.get(row * dear.stride..).and_then(|line| line.get(columns.clone()));
                let cheap = cheap.data.get(row * cheap.stride..).and_then(|line| line.get(columns.clone()));
                let (Some(dear), Some(cheap)) = (dear, cheap) else { continue };
                for (gain, (dear, cheap)) in gain.iter_mut().zip(dear.iter().zip(cheap)) {
                    let new = (i32::from(*dear) - i32::from(*cheap)) << PART_BITS;
                    *gain = rounded(new * fresh + i32::from(*gain) * old, ONE_BITS) as i16;
                }
            }
            drift[block] = 0.0;
        }
    }

    /// Adds what is known to `made`, the cheap network's picture: each gain by as much as it is still worth.
    pub(super) fn add(&self, made: &mut PlaneMut<'_>) {
        let Self { grid, scale, drift, gain, .. } = self;
        let (side, wide) = (BLOCK * *scale, grid.width * *scale);
        let lines = made.data.chunks_mut(made.stride.max(1)).zip(gain.chunks_exact(wide.max(1)));
        for (row, (line, gain)) in lines.enumerate() {
            let blocks = drift.get(row / side * grid.columns..).unwrap_or_default();
            let Some(line) = line.get_mut(..wide) else { return };
            for ((line, gain), drift) in line.chunks_mut(side).zip(gain.chunks(side)).zip(blocks) {
                let left = fixed(worth_left(*drift));
                for (made, gain) in line.iter_mut().zip(gain) {
                    let sum = i32::from(*made) + rounded(i32::from(*gain) * left, PART_BITS + ONE_BITS);
                    *made = sum.clamp(0, 255) as u8;
                }
            }
        }
    }
}

/// What is left of a gain's worth after so much change, 0 to 1. Derived whenever it is needed: a gain that is shrunk again and again in
/// integers loses more than it should, and on one side of zero only.
fn worth_left(drift: f32) -> f32 {
    1.0 / (1.0 + FADE * drift)
}

/// Shares of one are multiplied in so many bits.
const ONE_BITS: u32 = 12;
const ONE: i32 = 1 << ONE_BITS;

fn fixed(share: f32) -> i32 {
    (share * ONE as f32) as i32
}

/// `value` without its last `bits`, to the nearest.
fn rounded(value: i32, bits: u32) -> i32 {
    (value + (1 << (bits - 1))) >> bits
}

/// Windows that `share` of a picture is: at least one.
pub(super) fn count(share: f64) -> usize {
    ((COLUMNS * ROWS) as f64 * share).round().clamp(1.0, (COLUMNS * ROWS) as f64) as usize
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const WIDTH: usize = 80;
    const HEIGHT: usize = 64;
    const HIGH: usize = WIDTH * HEIGHT * 4;

    fn low(data: &[u8]) -> Plane<'_> {
        Plane { data, stride: WIDTH, width: WIDTH, height: HEIGHT }
    }

    fn high(data: &[u8]) -> Plane<'_> {
        Plane { data, stride: WIDTH * 2, width: WIDTH * 2, height: HEIGHT * 2 }
    }

    fn made(data: &mut [u8]) -> PlaneMut<'_> {
        PlaneMut { data, stride: WIDTH * 2, width: WIDTH * 2, height: HEIGHT * 2 }
    }

    fn texture(length: usize, seed: usize) -> Vec<u8> {
        (0..length).map(|place| 100 + ((place * 7919 + seed) % 31) as u8).collect()
    }

    /// A carry that has seen `picture`, of which the dear network made `dear` and the cheap one flat 100.
    fn after(picture: &[u8], dear: &[u8]) -> Carry {
        let mut carry = Carry::default();
        assert_eq!(carry.plan(low(picture), &[], 2, false, 0.25), Plan::Whole);
        let whole = carry.grid.whole();
        carry.learn(&whole, high(dear), &made(&mut [100; HIGH]));
        carry
    }

    fn added(carry: &Carry) -> Vec<u8> {
        let mut out = vec![100; HIGH];
        carry.add(&mut made(&mut out));
        out
    }

    #[test]
    fn a_picture_that_was_made_as_a_whole_is_the_dear_networks() {
        let (picture, dear) = (texture(WIDTH * HEIGHT, 1), texture(HIGH, 2));
        let mut carry = after(&picture, &dear);
        assert_eq!(added(&carry), dear);
        // And stays it for as long as nothing changes, at no cost.
        assert_eq!(carry.plan(low(&picture), &picture, 2, false, 0.25), Plan::Windows(vec![]));
        assert_eq!(added(&carry), dear);
    }

    #[test]
    fn what_changes_fades_and_is_made_again() {
        let (picture, dear) = (texture(WIDTH * HEIGHT, 1), texture(HIGH, 2));
        let mut carry = after(&picture, &dear);
        let mut next = picture.clone();
        for y in 16..24 {
            next[y * WIDTH + 32..y * WIDTH + 40].iter_mut().for_each(|pixel| *pixel += 10);
        }
        let Plan::Windows(windows) = carry.plan(low(&next), &picture, 2, false, 0.25) else { panic!() };
        let [window] = windows.as_slice() else { panic!("{windows:?}") };
        assert!(carry.grid.blocks_of(window).any(|block| block == 2 * 10 + 4));
        // A change of 100 (mean squared) leaves a quarter of the gain.
        let place = 36 * WIDTH * 2 + 70;
        let gain = f32::from(dear[place]) - 100.0;
        let left = f32::from(added(&carry)[place]) - 100.0;
        assert!((left - gain / 4.0).abs() <= 1.0, "{left} of {gain}");
        let other = texture(HIGH, 3);
        carry.learn(window, high(&other), &made(&mut [100; HIGH]));
        assert!(added(&carry)[place].abs_diff(other[place]) <= 1);
        // Elsewhere nothing has happened.
        assert_eq!(added(&carry)[..16 * 2 * WIDTH * 2 - 1], dear[..16 * 2 * WIDTH * 2 - 1]);
    }

    #[test]
    fn key_pictures_cuts_and_other_sizes_are_made_as_a_whole() {
        let (picture, dear) = (texture(WIDTH * HEIGHT, 1), texture(HIGH, 2));
        let mut carry = after(&picture, &dear);
        assert_eq!(carry.plan(low(&picture), &picture, 2, true, 0.25), Plan::Whole);
        let cut: Vec<u8> = picture.iter().map(|pixel| 255 - pixel).collect();
        assert_eq!(carry.plan(low(&cut), &picture, 2, false, 0.25), Plan::Whole);
        assert_eq!(carry.plan(low(&picture), &cut, 3, false, 0.25), Plan::Whole);
        carry.forget();
        assert_eq!(carry.plan(low(&picture), &picture, 3, false, 0.25), Plan::Whole);
    }

    #[test]
    fn shares_are_windows() {
        assert_eq!((count(1.0), count(0.0), count(0.25)), (20, 1, 5));
    }
}
