//! What is not made because it would be late, where somebody has something else to give. Pure.
//!
//! Without it a node that is asked for ten times what it can make has ever more that wait, until all of them are late: the plain scaler is
//! quick, but nothing is as quick as the source's own bytes, which are in hand. The forecast is for the plain scaler; where there is time
//! for that, nobody is refused.
//!
//! It is the same streams for a while, not each by turns: a player that gets every fifth segment enhanced sees the picture change five
//! times as often as one in five players that get all of them.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use super::queue::{Standing, seconds_until};
use crate::Priority;

/// Who would be there by less before its deadline is refused too: a forecast is as often too low as too high.
const MARGIN_SECONDS: f64 = 0.1;

/// Who has just come to a lane that is free is tried in any case: what a machine that has nothing to do takes for a segment is learned so,
/// and a forecast that is too high would refuse everything for ever.
const JUST_CAME: Duration = Duration::from_millis(50);

/// For so long a stream that was refused is refused while others wait; a few segments.
const STAYS: Duration = Duration::from_secs(15);

/// Streams that are remembered. Names come from URLs, which anybody can write.
const STREAMS_LIMIT: usize = 4096;

/// Streams that were refused, and when they were first; for so long as they stay it.
#[derive(Debug, Default)]
pub(super) struct Shed(HashMap<u64, Instant>);

impl Shed {
    /// Places of what is to be refused, of all that waits `in_order` of its turns for lanes that are free after so many seconds each.
    pub(super) fn late<'a>(
        &mut self,
        mut lanes: Vec<f64>,
        in_order: impl Iterator<Item = (usize, Instant, &'a Standing)>,
        now: Instant,
    ) -> Vec<usize> {
        self.0.retain(|_, since| now.saturating_duration_since(*since) < STAYS);
        let mut late = Vec::new();
        for (place, since, standing) in in_order {
            let wish = standing.wish();
            let work = standing.need.likely_seconds;
            let Some(first) = lanes.iter_mut().min_by(|a, b| a.total_cmp(b)) else { break };
            let is_tried = *first <= 0.0 && now.saturating_duration_since(since) < JUST_CAME;
            if standing.demand.yields() && wish.priority == Priority::Viewer && !is_tried {
                let left = wish.deadline.map_or(f64::INFINITY, |by| seconds_until(by, now));
                let stream = standing.demand.stream();
                if *first + work > left - MARGIN_SECONDS || self.0.contains_key(&stream) {
                    if stream != 0 && self.0.len() < STREAMS_LIMIT {
                        self.0.entry(stream).or_insert(now);
                    }
                    late.push(place);
                    continue;
                }
            }
            *first += work;
        }
        late
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schedule::Need;
    use crate::{Demand, Haste};

    /// Wants a second of work within so many.
    fn standing(stream: u64, left: f64, now: Instant) -> Standing {
        Standing {
            priority: Priority::Viewer,
            deadline: Some(now + Duration::from_secs_f64(left)),
            demand: Demand::new(stream, None, Haste::Steady, 1).or_else(),
            need: Need { likely_seconds: 1.0, plain_seconds: 1.2, quickest_seconds: 2.0 },
        }
    }

    fn late(shed: &mut Shed, lanes: &[f64], standings: &[Standing], now: Instant) -> Vec<usize> {
        let since = now.checked_sub(Duration::from_secs(1)).unwrap_or(now);
        let in_order = standings.iter().enumerate().map(|(place, standing)| (place, since, standing));
        shed.late(lanes.to_vec(), in_order, now)
    }

    #[test]
    fn who_would_be_late_is_refused_and_makes_room() {
        let now = Instant::now();
        let all: Vec<_> = (1..=5).map(|stream| standing(stream, 2.0, now)).collect();
        // Two lanes, busy for half a second: done after 1.5, 1.5, 2.5 ...
        assert_eq!(late(&mut Shed::default(), &[0.5, 0.5], &all, now), [2, 3, 4]);
        let mixed = [standing(1, 0.5, now), standing(2, 2.0, now)];
        assert_eq!(late(&mut Shed::default(), &[0.5], &mixed, now), [0], "and the next has its time");
    }

    #[test]
    fn who_has_nothing_else_waits() {
        let now = Instant::now();
        let patient = Standing { demand: Demand::new(1, None, Haste::Steady, 1), ..standing(1, 0.1, now) };
        let ahead = Standing { priority: Priority::Ahead, ..standing(2, 0.1, now) };
        let without = Standing { deadline: None, ..standing(3, 0.1, now) };
        let all = [patient, ahead, without];
        assert_eq!(late(&mut Shed::default(), &[5.0], &all, now), [0; 0]);
    }

    #[test]
    fn a_lane_that_is_free_tries_who_has_just_come() {
        let now = Instant::now();
        let hopeless = standing(1, 0.1, now);
        let mut shed = Shed::default();
        assert_eq!(shed.late(vec![0.0], [(0, now, &hopeless)].into_iter(), now), [0; 0]);
        assert_eq!(shed.late(vec![0.2], [(0, now, &hopeless)].into_iter(), now), [0]);
    }

    #[test]
    fn a_stream_stays_refused_for_a_while() {
        let now = Instant::now();
        let mut shed = Shed::default();
        assert_eq!(late(&mut shed, &[2.0], &[standing(1, 2.0, now)], now), [0]);
        let at = |seconds| now + Duration::from_secs_f64(seconds);
        for (seconds, expected) in [(5.0, vec![0]), (14.0, vec![0]), (16.0, vec![])] {
            let both = [standing(1, 9.0, at(seconds)), standing(2, 9.0, at(seconds))];
            assert_eq!(late(&mut shed, &[2.0], &both, at(seconds)), expected, "after {seconds} s");
        }
    }
}
