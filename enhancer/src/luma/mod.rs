//! A luma plane through networks: as much of it as there is reason for, by the network that it is worth.
//!
//! Two ways to spare work, both decided from the low picture before any network runs:
//! - What has hardly changed (bars, a background, a repeated picture) keeps what was made of it ([`still`]).
//! - Of a dear tier only a part of each picture is run; what it adds to the set's cheapest tier is carried from picture to picture
//!   ([`carry`]).

mod carry;
mod grid;
mod still;

use crate::codec::{Plane, PlaneMut};
use crate::inference::{CONTINUED, InferenceError, Network, Window};
use carry::{Carry, Plan};
use grid::{COLUMNS, Grid, ROWS};
use still::{Kept, Plan as Parts, RUN};

/// Low pixels around a window that its edge pixels may depend on: networks of the tiers `s`, `m`, `l` and `v10` look 7 away.
const HALO: usize = 8;

/// The same for what is kept bit for bit: `v15` looks 10 away and `v20` 12.
const FARTHEST: usize = 12;

/// Width and height of the usual source.
const USUAL_SIZE: (usize, usize) = (640, 360);

/// A way that saves less than this part of the time is not worth two sessions.
const WORTHWHILE: f64 = 0.85;

/// What a lane keeps from picture to picture; its memory serves all segments.
#[derive(Default)]
pub(crate) struct Memory {
    kept: Kept,
    /// The low picture before, dense, for `carry`; or nothing.
    before: Vec<u8>,
    carry: Carry,
    /// The dear network's picture, in the windows it was run on.
    dear: Vec<u8>,
}

/// A cheaper network that makes most of each picture.
pub(crate) struct Base<'a> {
    pub(crate) network: &'a mut Network,
    /// Part of each picture that the dear network makes anew.
    pub(crate) share: f64,
}

/// Enlarges the luma of one segment's pictures.
pub(crate) struct Luma<'a> {
    network: &'a mut Network,
    base: Option<Base<'a>>,
    memory: &'a mut Memory,
    still_limit: f64,
}

impl<'a> Luma<'a> {
    /// `network` makes all of each picture, or what `base` leaves to it; parts that differ by less than `still_limit` (mean squared, in
    /// code values) from what was last made of them are not made again.
    pub(crate) fn new(
        network: &'a mut Network,
        mut base: Option<Base<'a>>,
        memory: &'a mut Memory,
        still_limit: f64,
    ) -> Self {
        network.begin_segment();
        if let Some(base) = &mut base {
            base.network.begin_segment();
        }
        memory.kept.forget();
        memory.before.clear();
        memory.carry.forget();
        Self { network, base, memory, still_limit }
    }

    /// Enlarges a plane into `target`, `scale` times as wide and high. `is_key`: the picture was coded without reference to others.
    pub(crate) fn enlarge(
        &mut self,
        source: Plane<'_>,
        mut target: PlaneMut<'_>,
        is_key: bool,
    ) -> Result<(), InferenceError> {
        let Self { network, base, memory: Memory { kept, before, carry, dear }, still_limit } = self;
        let scale = network.scale();
        let most = match base {
            Some(base) => &mut *base.network,
            None => &mut **network,
        };
        let parts = kept.plan(source, scale, (*still_limit, FARTHEST), most.surroundings(FARTHEST));
        match &parts {
            Parts::Whole => {
                let whole = Window { x: 0, y: 0, width: source.width, height: source.height };
                most.infer(source, &[whole], 0, &mut target)?;
            }
            Parts::Parts(parts) => {
                kept.fill(source, parts, &mut target);
                most.infer_in_runs(source, parts, (RUN, FARTHEST), &mut target)?;
            }
        }
        kept.keep(source, &target, &parts);
        if let Some(base) = base {
            let plan = carry.plan(source, before, scale, is_key, base.share);
            before.clear();
            before.extend(
                source.data.chunks(source.stride).take(source.height).flat_map(|line| &line[..source.width]),
            );
            let (width, height) = (target.width, target.height);
            dear.resize(width * height, 0);
            let mut picture = PlaneMut { data: dear, stride: width, width, height };
            let grid = Grid::of(source.width, source.height);
            let windows = match plan {
                Plan::Whole => {
                    let whole = Window { x: 0, y: 0, width: source.width, height: source.height };
                    network.infer(source, &[whole], 0, &mut picture)?;
                    vec![grid.whole()]
                }
                Plan::Windows(windows) => {
                    network.infer(source, &windows, HALO, &mut picture)?;
                    windows
                }
            };
            let made = Plane { data: dear, stride: width, width, height };
            windows.iter().for_each(|window| carry.learn(window, made, &target));
            carry.add(&mut target);
        }
        network.finish(source, &mut target);
        Ok(())
    }
}

/// Whether a network that takes `dear` seconds a picture is better off with one that takes `base`, making `share` itself.
pub(crate) fn is_worthwhile(dear: f64, base: f64, share: f64, size: (usize, usize)) -> bool {
    base + dear * cost_share(share, size) < WORTHWHILE * dear
}

/// What a network that takes `dear` takes beside the cheapest of its set, which takes `base`, in the same unit.
pub(crate) fn expected(dear: f64, base: Option<f64>, share: f64) -> f64 {
    let base = base.filter(|base| is_worthwhile(dear, *base, share, USUAL_SIZE));
    base.map_or(dear, |base| base + dear * cost_share(share, USUAL_SIZE))
}

/// Part of a whole run's time that a network takes for `share` of a picture.
fn cost_share(share: f64, (width, height): (usize, usize)) -> f64 {
    let more = HALO * 2 + CONTINUED;
    let window = (width.div_ceil(COLUMNS) + more) * (height.div_ceil(ROWS) + more);
    let whole = (width + CONTINUED) * (height + CONTINUED);
    (carry::count(share) * window) as f64 / whole.max(1) as f64
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::print_stdout)]
mod tests;
