//! A low picture in blocks, and in windows of blocks.
//!
//! Blocks are what is remembered of a picture; windows are what a network is run on: larger, because each run pays for
//! the pixels around it.

use crate::codec::Plane;
use crate::inference::Window;

/// Side of a block, in low pixels.
pub(super) const BLOCK: usize = 8;

/// Windows across and down. Smaller ones choose better and waste more on their surroundings.
pub(super) const COLUMNS: usize = 5;
pub(super) const ROWS: usize = 4;

/// The blocks of pictures of one size, the last of a row or column perhaps cut.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) struct Grid {
    pub(super) width: usize,
    pub(super) height: usize,
    /// Blocks across and down.
    pub(super) columns: usize,
    pub(super) rows: usize,
}

impl Grid {
    pub(super) fn of(width: usize, height: usize) -> Self {
        Self { width, height, columns: width.div_ceil(BLOCK), rows: height.div_ceil(BLOCK) }
    }

    /// All of it, in whole blocks.
    pub(super) fn whole(&self) -> Window {
        Window { x: 0, y: 0, width: self.columns * BLOCK, height: self.rows * BLOCK }
    }

    /// Blocks of a window.
    fn window_blocks(&self) -> (usize, usize) {
        (self.columns.div_ceil(COLUMNS), self.rows.div_ceil(ROWS))
    }

    /// The windows, all of one size; those at the right and at the bottom overlap others, or reach beyond the picture, where the
    /// size does not divide.
    pub(super) fn windows(&self) -> [Window; COLUMNS * ROWS] {
        let (across, down) = self.window_blocks();
        std::array::from_fn(|place| {
            let column = (place % COLUMNS * across).min(self.columns.saturating_sub(across));
            let row = (place / COLUMNS * down).min(self.rows.saturating_sub(down));
            Window { x: column * BLOCK, y: row * BLOCK, width: across * BLOCK, height: down * BLOCK }
        })
    }

    /// The blocks of a window, by their places in a list of all.
    pub(super) fn blocks_of(&self, window: &Window) -> impl Iterator<Item = usize> + use<> {
        let grid = *self;
        let across = window.x / BLOCK..((window.x + window.width) / BLOCK).min(grid.columns);
        let down = window.y / BLOCK..((window.y + window.height) / BLOCK).min(grid.rows);
        down.flat_map(move |row| across.clone().map(move |column| row * grid.columns + column))
    }
}

/// What two pictures tell about each block, in code values squared.
#[derive(Debug, Default)]
pub(super) struct Look {
    /// Mean squared difference from the picture before.
    pub(super) change: Vec<f32>,
    /// Mean squared difference of a pixel from its neighbours to the right and below: how much detail there is.
    pub(super) detail: Vec<f32>,
    /// Sums of one row of blocks, by column of pixels.
    sums: [Vec<u32>; 2],
}

impl Look {
    /// Looks at `low`; `before` is the picture before, dense, or empty.
    pub(super) fn at(&mut self, grid: &Grid, low: Plane<'_>, before: &[u8]) {
        self.change.clear();
        self.detail.clear();
        let width = grid.width;
        for top in (0..grid.height).step_by(BLOCK) {
            let rows = top..(top + BLOCK).min(grid.height);
            for sums in &mut self.sums {
                sums.clear();
                sums.resize(width, 0);
            }
            let [changes, details] = &mut self.sums;
            for y in rows.clone() {
                let line = |y: usize| low.data.get(y * low.stride..).and_then(|line| line.get(..width));
                let Some(here) = line(y) else { continue };
                let known = before.get(y * width..(y + 1) * width).unwrap_or_default();
                for (sum, (a, b)) in changes.iter_mut().zip(here.iter().zip(known)) {
                    *sum += square(*a, *b);
                }
                let below = line((y + 1).min(grid.height - 1)).unwrap_or(here);
                let right = here.get(1..).unwrap_or_default();
                for (sum, ((a, b), c)) in details.iter_mut().zip(here.iter().zip(right).zip(below)) {
                    *sum += square(*a, *b) + square(*a, *c);
                }
            }
            for (of, sums) in [(&mut self.change, changes), (&mut self.detail, details)] {
                of.extend(
                    sums.chunks(BLOCK)
                        .map(|block| block.iter().sum::<u32>() as f32 / (block.len() * rows.len()) as f32),
                );
            }
        }
    }
}

fn square(a: u8, b: u8) -> u32 {
    let difference = u32::from(a.abs_diff(b));
    difference * difference
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_block_is_in_a_window_whatever_the_size() {
        for (width, height) in [(640, 360), (427, 241), (96, 54), (16, 16)] {
            let grid = Grid::of(width, height);
            let mut seen = vec![false; grid.columns * grid.rows];
            for window in grid.windows() {
                assert!(window.x < width && window.y < height);
                grid.blocks_of(&window).for_each(|block| seen[block] = true);
            }
            assert!(seen.iter().all(|seen| *seen), "{width}x{height}");
        }
    }

    #[test]
    fn blocks_tell_change_and_detail() {
        let grid = Grid::of(20, 12);
        let flat = vec![50_u8; 20 * 12];
        let mut low = flat.clone();
        low[9 * 20 + 17] = 54;
        let mut look = Look::default();
        look.at(&grid, Plane { data: &low, stride: 20, width: 20, height: 12 }, &flat);
        // The block at the bottom right has 4x4 pixels: one of them is 4 off, and so are four pairs of neighbours.
        assert_eq!(look.change, [0.0, 0.0, 0.0, 0.0, 0.0, 1.0]);
        assert_eq!(look.detail, [0.0, 0.0, 0.0, 0.0, 0.0, 4.0]);
    }
}
