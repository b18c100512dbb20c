//! Who gets what, when: which segment a lane takes next, which tier it is made with, who makes room for whom. Pure: time comes in as
//! an argument, and what is decided here is the same in the workers and in the simulation that tests it.
//!
//! [`Board`] is the whole of it: what waits ([`queue`]), what lanes have in hand, and the three measures that decisions rest on:
//! what things cost here ([`cost`], [`book`], [`costs`]), how much of the machine was left over lately ([`reserve`]), and who came
//! off badly before ([`debts`]). [`choose`] picks the tier, [`plan`] says who would be late.

mod board;
mod book;
mod choose;
mod cost;
mod costs;
mod debts;
mod limit;
mod plan;
mod queue;
mod reserve;
mod shed;
#[cfg(test)]
mod simulate;

pub(crate) use board::{Board, Closing, Facts, Verdict};
pub(crate) use choose::{Choice, Tier, Why};
pub(crate) use cost::{Forecast, z_of};
pub(crate) use costs::{Costs, PLAIN_SECONDS_PER_PIXEL};
pub(crate) use limit::{Cuts, Limit};
pub(crate) use queue::{Need, Offered, Standing};
