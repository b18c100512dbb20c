//! What stands still.
//!
//! An encoder that skips a block repeats its pixels, or corrects them by little; players and cameras repeat pictures; bars, status lines
//! and backgrounds are the same for minutes. What a network made of such a part of a picture serves again: the change of each low pixel,
//! if there is any, is added to the high ones that were made of it. The network's own part of that change is left out, which is
//! far less than the change; parts are made anew as soon as they differ by more than a limit from what was last made of them, so nothing
//! adds up.

use crate::codec::{Plane, PlaneMut};
use crate::inference::{CONTINUED, Window};

/// Parts across and down. Smaller ones find more that stands still, and cost more to make: a run is wider than what it makes.
const COLUMNS: usize = 10;
const ROWS: usize = 6;

/// Sides of parts are multiples of so many pixels: what networks make at once ([`Groups`](crate::inference)), and halves of it.
const SIDE: (usize, usize) = (8, 4);

/// A picture is made in parts if that takes less than this part of the time.
const WORTHWHILE: f64 = 0.9;

/// Pictures without anything to gain after which what is made is no longer kept, for it is a megabyte to copy. Films of fewer pictures a
/// second than the stream repeat one in two to five.
const PATIENCE: usize = 6;

/// Parts in one run of a network.
pub(super) const RUN: usize = 6;

/// What is to be made of a picture.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Plan {
    Whole,
    /// These parts, all of one size, perhaps none; the rest stands still.
    Parts(Vec<Window>),
}

/// The last picture of each part that was made, as it came in and as it was made.
#[derive(Default)]
pub(super) struct Kept {
    low: Vec<u8>,
    high: Vec<u8>,
    size: (usize, usize),
    scale: usize,
    /// Whether `high` is of `low`.
    has_high: bool,
    /// Pictures since something was to be gained.
    idle: usize,
}

impl Kept {
    /// There is none.
    pub(super) fn forget(&mut self) {
        self.size = (0, 0);
        self.has_high = false;
        self.idle = 0;
    }

    /// What of `low` has to be made, when a part may differ by `limit` (mean squared, in code values) from what it was made of; 0: not at
    /// all, and nothing within `reach` of it either. `around`: low pixels that a run is wider than a part; `None`: there is nothing to
    /// gain by parts.
    pub(super) fn plan(
        &mut self,
        low: Plane<'_>,
        scale: usize,
        (limit, reach): (f64, usize),
        around: Option<usize>,
    ) -> Plan {
        let size = (low.width, low.height);
        if (self.size, self.scale) != (size, scale) {
            self.forget();
            (self.size, self.scale) = (size, scale);
            return Plan::Whole;
        }
        let mut parts = parts(size);
        parts.retain(|part| match limit > 0.0 {
            true => quarters(part).any(|quarter| self.has_changed(low, &quarter, limit)),
            false => self.has_changed(low, &part.with(reach), 0.0),
        });
        let is_worthwhile = match (around, parts.first()) {
            (_, None) => true,
            (None, Some(_)) => false,
            (Some(around), Some(part)) => {
                let runs = parts.len().next_multiple_of(RUN);
                let pixels = runs * (part.width + around) * (part.height + around);
                (pixels as f64) < WORTHWHILE * ((low.width + CONTINUED) * (low.height + CONTINUED)) as f64
            }
        };
        self.idle = if is_worthwhile { 0 } else { self.idle.saturating_add(1) };
        if is_worthwhile && self.has_high { Plan::Parts(parts) } else { Plan::Whole }
    }

    /// Whether `low` differs in `part` by more than `limit` from what was last made of it.
    fn has_changed(&self, low: Plane<'_>, part: &Window, limit: f64) -> bool {
        let most = limit * (part.width * part.height) as f64;
        let mut total = 0_u64;
        for y in part.y..(part.y + part.height).min(low.height) {
            let columns = part.x..(part.x + part.width).min(low.width);
            let now = low.data.get(y * low.stride..).and_then(|line| line.get(columns.clone()));
            let known = self.low.get(y * low.width..).and_then(|line| line.get(columns));
            let (Some(now), Some(known)) = (now, known) else { return true };
            if now != known {
                let squares = now.iter().zip(known).map(|(a, b)| u32::from(a.abs_diff(*b)).pow(2));
                total += u64::from(squares.sum::<u32>());
                if total as f64 > most {
                    return true;
                }
            }
        }
        false
    }

    /// Writes what stands still, all but `parts`.
    pub(super) fn fill(&self, low: Plane<'_>, parts: &[Window], target: &mut PlaneMut<'_>) {
        for part in self::parts(self.size).iter().filter(|part| !parts.contains(part)) {
            for y in part.y..(part.y + part.height).min(low.height) {
                self.fill_row(low, part, y, target);
            }
        }
    }

    /// Writes the rows of `target` that are low row `y` of `part`.
    fn fill_row(&self, low: Plane<'_>, part: &Window, y: usize, target: &mut PlaneMut<'_>) {
        let (width, scale) = (low.width, self.scale);
        let columns = part.x..(part.x + part.width).min(width);
        let high = columns.start * scale..columns.end * scale;
        let now = low.data.get(y * low.stride..).and_then(|line| line.get(columns.clone()));
        let before = self.low.get(y * width..).and_then(|line| line.get(columns));
        let (Some(now), Some(before)) = (now, before) else { return };
        let is_same = now == before;
        for row in y * scale..(y + 1) * scale {
            let made = self.high.get(row * width * scale..).and_then(|line| line.get(high.clone()));
            let line = target.data.get_mut(row * target.stride..).and_then(|line| line.get_mut(high.clone()));
            let (Some(made), Some(line)) = (made, line) else { return };
            if is_same {
                line.copy_from_slice(made);
                continue;
            }
            let changes = now.iter().zip(before).map(|(now, before)| i16::from(*now) - i16::from(*before));
            for ((line, made), change) in
                line.chunks_exact_mut(scale).zip(made.chunks_exact(scale)).zip(changes)
            {
                for (sample, made) in line.iter_mut().zip(made) {
                    *sample = (i16::from(*made) + change).clamp(0, 255) as u8;
                }
            }
        }
    }

    /// Remembers what was made of a picture; all of it, or the parts of `plan`.
    pub(super) fn keep(&mut self, low: Plane<'_>, high: &PlaneMut<'_>, plan: &Plan) {
        let scale = self.scale;
        let wide = low.width * scale;
        match plan {
            Plan::Whole => {
                collect(&mut self.low, low.data, low.stride, (low.width, low.height));
                self.has_high = self.idle < PATIENCE;
                if self.has_high {
                    collect(&mut self.high, high.data, high.stride, (wide, low.height * scale));
                }
            }
            Plan::Parts(parts) => {
                for part in parts {
                    copy_part(&mut self.low, low.width, low.data, low.stride, part);
                    copy_part(&mut self.high, wide, high.data, high.stride, &part.enlarged(scale));
                }
            }
        }
    }
}

impl Window {
    /// With so many pixels around, as far as there can be any.
    fn with(&self, around: usize) -> Self {
        let (x, y) = (self.x.saturating_sub(around), self.y.saturating_sub(around));
        let (width, height) = (self.x + self.width + around - x, self.y + self.height + around - y);
        Self { x, y, width, height }
    }

    fn enlarged(&self, scale: usize) -> Self {
        let Self { x, y, width, height } = *self;
        Self { x: x * scale, y: y * scale, width: width * scale, height: height * scale }
    }
}

/// The parts of a picture, all of one size; those at the right and at the bottom overlap others, or reach beyond the picture, where the
/// size does not divide.
fn parts((width, height): (usize, usize)) -> Vec<Window> {
    let side = |size: usize, count: usize, of: usize| size.div_ceil(count).next_multiple_of(of).max(of);
    let (across, down) = (side(width, COLUMNS, SIDE.0), side(height, ROWS, SIDE.1));
    let starts = |size: usize, by: usize| {
        (0..size.div_ceil(by)).map(move |place| (place * by).min(size.saturating_sub(by)))
    };
    let rows = starts(height, down);
    rows.flat_map(|y| starts(width, across).map(move |x| Window { x, y, width: across, height: down }))
        .collect()
}

/// The quarters of a part: a small thing that moves is much of one.
fn quarters(part: &Window) -> impl Iterator<Item = Window> + use<> {
    let Window { x, y, width, height } = *part;
    let (width, height) = (width / 2, height / 2);
    [(0, 0), (1, 0), (0, 1), (1, 1)].into_iter().map(move |(right, down)| Window {
        x: x + right * width,
        y: y + down * height,
        width,
        height,
    })
}

fn collect(into: &mut Vec<u8>, data: &[u8], stride: usize, (width, height): (usize, usize)) {
    into.clear();
    for line in data.chunks(stride.max(1)).take(height) {
        into.extend_from_slice(line.get(..width).unwrap_or_default());
    }
}

/// Copies a part of a picture into a dense one of the same size, `width` wide.
fn copy_part(into: &mut [u8], width: usize, data: &[u8], stride: usize, part: &Window) {
    let columns = part.x..(part.x + part.width).min(width);
    let lines = into.chunks_exact_mut(width.max(1)).zip(data.chunks(stride.max(1)));
    for (to, from) in lines.skip(part.y).take(part.height) {
        if let (Some(to), Some(from)) = (to.get_mut(columns.clone()), from.get(columns.clone())) {
            to.copy_from_slice(from);
        }
    }
}

#[cfg(test)]
#[allow(clippy::panic)]
mod tests {
    use super::*;

    const WIDTH: usize = 160;
    const HEIGHT: usize = 120;
    const EXACT: (f64, usize) = (0.0, 8);
    const NEAR: (f64, usize) = (1.0, 8);

    fn plane(data: &[u8]) -> Plane<'_> {
        Plane { data, stride: WIDTH, width: WIDTH, height: HEIGHT }
    }

    fn high(data: &mut [u8]) -> PlaneMut<'_> {
        PlaneMut { data, stride: WIDTH * 2, width: WIDTH * 2, height: HEIGHT * 2 }
    }

    /// Of a picture of which everything was made as 7.
    fn kept(low: &[u8]) -> Kept {
        let mut kept = Kept::default();
        let plan = kept.plan(plane(low), 2, EXACT, Some(8));
        assert_eq!(plan, Plan::Whole, "the first picture is all new");
        kept.keep(plane(low), &high(&mut vec![7; low.len() * 4]), &plan);
        kept
    }

    fn made(kept: &mut Kept, low: &[u8], limits: (f64, usize)) -> Option<Vec<(usize, usize)>> {
        match kept.plan(plane(low), 2, limits, Some(8)) {
            Plan::Whole => None,
            Plan::Parts(parts) => Some(parts.iter().map(|part| (part.x, part.y)).collect()),
        }
    }

    #[test]
    fn parts_cover_a_picture_whatever_its_size() {
        for (width, height) in [(640, 360), (426, 240), (427, 241), (96, 54), (6, 3)] {
            let mut seen = vec![false; width * height];
            let parts = parts((width, height));
            for part in &parts {
                assert_eq!((part.width, part.height), (parts[0].width, parts[0].height));
                for y in part.y..(part.y + part.height).min(height) {
                    seen[y * width..][part.x..(part.x + part.width).min(width)].fill(true);
                }
            }
            assert!(seen.iter().all(|seen| *seen), "{width}x{height}");
        }
        assert_eq!(parts((640, 360)).len(), 60);
        assert_eq!(parts((640, 360))[0], Window { x: 0, y: 0, width: 64, height: 60 });
    }

    #[test]
    fn exactly_the_same_is_kept_as_far_as_networks_look() {
        let mut low = vec![1; WIDTH * HEIGHT];
        let mut kept = kept(&low);
        assert_eq!(made(&mut kept, &low, EXACT), Some(vec![]));
        // In the second part from the left of the second row; 3 pixels from the part to the left, and 8 from that above.
        low[28 * WIDTH + 19] = 2;
        assert_eq!(made(&mut kept, &low, EXACT), Some(vec![(0, 20), (16, 20)]));
        kept.forget();
        assert_eq!(made(&mut kept, &low, EXACT), None);
    }

    #[test]
    fn a_little_is_added_and_much_is_made() {
        let mut low = vec![100; WIDTH * HEIGHT];
        let mut kept = kept(&low);
        // A quarter of a part is 8x10: a mean square of 1 is one pixel by nearly 9, or all by 1.
        low[25 * WIDTH + 20] = 108;
        assert_eq!(made(&mut kept, &low, NEAR), Some(vec![]));
        let mut out = vec![0; low.len() * 4];
        kept.fill(plane(&low), &[], &mut high(&mut out));
        for (row, column) in [(50, 40), (50, 41), (51, 40), (51, 41)] {
            assert_eq!(out[row * WIDTH * 2 + column], 15);
        }
        assert_eq!(out.iter().filter(|sample| **sample == 7).count(), out.len() - 4);
        low[25 * WIDTH + 21] = 105;
        assert_eq!(made(&mut kept, &low, NEAR), Some(vec![(16, 20)]));
        // What came by little comes to much in the end: it counts from what was made.
        let mut low = vec![100; WIDTH * HEIGHT];
        for step in 1..3 {
            low.iter_mut().for_each(|sample| *sample += 1);
            assert_eq!(made(&mut kept, &low, NEAR).is_some(), step == 1);
        }
    }

    #[test]
    fn parts_are_remembered_one_by_one() {
        let mut low = vec![100; WIDTH * HEIGHT];
        let mut kept = kept(&low);
        low[22 * WIDTH + 18] = 200;
        let plan = kept.plan(plane(&low), 2, NEAR, Some(8));
        let Plan::Parts(parts) = &plan else { panic!("{plan:?}") };
        let mut out = vec![9; low.len() * 4];
        kept.fill(plane(&low), parts, &mut high(&mut out));
        assert_eq!(
            out.iter().filter(|sample| **sample == 9).count(),
            16 * 20 * 4,
            "one part is left to the network"
        );
        kept.keep(plane(&low), &high(&mut out), &plan);
        assert_eq!(made(&mut kept, &low, NEAR), Some(vec![]));
        let mut again = vec![0; low.len() * 4];
        kept.fill(plane(&low), &[], &mut high(&mut again));
        assert_eq!(again, out);
    }

    #[test]
    fn much_is_made_as_a_whole_and_not_kept_for_ever() {
        let mut kept = kept(&[0; WIDTH * HEIGHT]);
        let picture = |tone: usize| vec![tone as u8; WIDTH * HEIGHT];
        for tone in 1..=PATIENCE {
            let low = picture(tone * 20);
            let plan = kept.plan(plane(&low), 2, NEAR, Some(8));
            assert_eq!(plan, Plan::Whole);
            assert!(kept.has_high);
            kept.keep(plane(&low), &high(&mut vec![0; low.len() * 4]), &plan);
        }
        assert!(!kept.has_high);
        // What stands still then is made once more before it serves.
        let low = picture(PATIENCE * 20);
        let plan = kept.plan(plane(&low), 2, NEAR, Some(8));
        assert_eq!(plan, Plan::Whole);
        kept.keep(plane(&low), &high(&mut vec![0; low.len() * 4]), &plan);
        assert_eq!(made(&mut kept, &low, NEAR), Some(vec![]));
    }

    #[test]
    fn where_parts_gain_nothing_only_all_or_nothing_stands_still() {
        let mut low = vec![100; WIDTH * HEIGHT];
        let mut kept = kept(&low);
        assert_eq!(kept.plan(plane(&low), 2, NEAR, None), Plan::Parts(vec![]));
        low[0] = 200;
        assert_eq!(kept.plan(plane(&low), 2, NEAR, None), Plan::Whole);
    }
}
