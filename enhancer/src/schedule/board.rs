//! The whole of it: what waits, what lanes have in hand, and every decision between them. Pure: the workers call it with the time
//! and do as it says, and so does the simulation.

mod held;

use std::time::{Duration, Instant};

use self::held::{Decided, Held, seconds_left};
use super::choose::{Choice, Question, Tier, Waiting, Why, choose};
use super::cost::Forecast;
use super::debts::{Debts, outweighs};
use super::limit::Limit;
use super::plan::{Behind, InHand, Pressure, press};
use super::queue::{Offered, Queue, Standing};
use super::reserve::Reserve;
use super::shed::Shed;
use crate::demand::Wish;
use crate::{CancelFlag, Priority};

/// Of those who wait so many are looked at for each decision. Who is further back is late or not for other reasons.
const LOOKS_AT: usize = 64;

/// Where more wait than there are lanes, who waits is to be done so many seconds before the deadline: what several forecasts are off by adds
/// up, and what is made before them is made to the last picture that fits. One alone would have work ahead dropped for it.
const AHEAD_OF_TIME: f64 = 0.15;

/// An audience so many times another's goes before it.
const OUTNUMBERS: u32 = 2;

/// What a segment will take, now that it is open.
#[derive(Debug)]
pub(crate) struct Facts<'a> {
    /// Cheap to dear.
    pub(crate) tiers: &'a [Tier],
    /// Without a network from the start: what [`Choice::Plain`] takes.
    pub(crate) plain: Forecast,
    /// All of it without a network by the encoder of a tier, which goes on when a network has stopped.
    pub(crate) stopped: Forecast,
    pub(crate) media_seconds: f64,
}

/// What is to be done with it.
#[derive(Debug)]
pub(crate) struct Verdict {
    /// The tier that it should have; without a session for that one, the best below it that has one.
    pub(crate) choice: Choice,
    pub(crate) why: Why,
    /// By when the lane is to be free.
    pub(crate) limit: Limit,
    /// What it takes without a network, with the confidence that a limit needs.
    pub(crate) plain_seconds: f64,
}

/// How a segment ended.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Closing {
    /// What was predicted, and what it took, in seconds.
    pub(crate) predicted: Option<f64>,
    pub(crate) took: f64,
    /// By how much the deadline was missed; negative where it was kept, minus infinity without one.
    pub(crate) late_seconds: f64,
    /// What was wanted of it in the end.
    pub(crate) wish: Wish,
    /// It was told to make room.
    pub(crate) dropped: bool,
}

/// What waits and what is in hand.
pub(crate) struct Board<T> {
    queue: Queue<T>,
    lanes: Vec<Option<Held>>,
    /// A segment that could not wait for a lane, and the lane that rests for it.
    spare: Option<(Held, usize)>,
    reserve: Reserve,
    debts: Debts,
    shed: Shed,
    /// Spreads above the middle that predictions must hold for.
    z: f64,
}

impl<T> Board<T> {
    pub(crate) fn new(lanes: usize, queue_limit: usize, z: f64) -> Self {
        Self {
            queue: Queue::new(queue_limit, lanes),
            lanes: (0..lanes).map(|_| None).collect(),
            spare: None,
            reserve: Reserve::new(lanes),
            debts: Debts::default(),
            shed: Shed::default(),
            z,
        }
    }

    /// What waits.
    pub(crate) fn len(&self) -> usize {
        self.queue.len()
    }

    pub(crate) fn limit(&self) -> usize {
        self.queue.limit()
    }

    /// Lanes that make a segment.
    pub(crate) fn busy(&self) -> usize {
        self.lanes.iter().flatten().filter(|held| !held.limit.is_paused()).count()
            + usize::from(self.spare.is_some())
    }

    /// Part of the machine's time that was left over lately, at most 1; below 0 where more was asked than there is.
    pub(crate) fn reserve(&mut self, now: Instant) -> f64 {
        self.reserve.fill(now)
    }

    /// Everything that waits, for a board that is closed.
    pub(crate) fn drain(&mut self) -> Vec<T> {
        self.queue.drain()
    }

    /// Somebody wants something.
    pub(crate) fn offer(&mut self, item: T, standing: Standing, now: Instant) -> Offered<T> {
        let offered = self.queue.offer(item, standing, now);
        self.reconsider(now);
        offered
    }

    /// Lets go of what will be late and has somebody with something else to give.
    pub(crate) fn shed(&mut self, now: Instant) -> Vec<T> {
        let ends = |(lane, held): (usize, &Option<Held>)| {
            held.as_ref().map_or(0.0, |held| held.ends(now)) + self.rests(lane, now)
        };
        let lanes = self.lanes.iter().enumerate().map(ends).collect();
        let places = self.shed.late(lanes, self.queue.in_order(now), now);
        let let_go = self.queue.remove(places);
        if !let_go.is_empty() {
            self.reconsider(now);
        }
        let_go
    }

    /// A lane is free: the first, in their order, that `ready` has an answer for. `stop`: what stops it.
    pub(crate) fn take<R>(
        &mut self,
        lane: usize,
        now: Instant,
        ready: impl FnMut(&T) -> Option<R>,
        stop: impl FnOnce(&T) -> CancelFlag,
    ) -> Option<(T, R)> {
        let (item, standing, answer) = self.queue.take_ready(now, ready)?;
        let held = Held::new(standing, stop(&item), now);
        if let Some(place) = self.lanes.get_mut(lane) {
            *place = Some(held);
        }
        Some((item, answer))
    }

    /// The spare lane, which has no network: a viewer's segment that would be late if it waited for a lane, while one of them can rest for
    /// as long as it takes and still be in time. Without it a segment that has just begun would hold up one that is nearly due.
    pub(crate) fn take_spare(&mut self, now: Instant, stop: impl FnOnce(&T) -> CancelFlag) -> Option<T> {
        if self.spare.is_some() || self.lanes.iter().any(Option::is_none) {
            return None;
        }
        let (left, plain) = self
            .queue
            .viewers(now, 1)
            .first()
            .map(|standing| (seconds_left(&standing.wish(), now), standing.need.plain_seconds))?;
        let first = self.lanes.iter().flatten().map(|held| held.ends(now)).fold(f64::INFINITY, f64::min);
        if left <= 0.0 || first + plain <= left {
            return None;
        }
        // The one with the most time of its own; what is asked of it for others' sake is about to change.
        let slack =
            |held: &Held| seconds_left(&held.standing.wish(), now) - held.in_hand(now).soonest - plain;
        let (place, rests) = self
            .lanes
            .iter()
            .enumerate()
            .filter_map(|(place, held)| held.as_ref().map(|held| (place, held)))
            .filter(|(_, held)| held.decided.is_some() && (held.in_hand(now).ahead || slack(held) >= 0.0))
            .max_by(|(_, a), (_, b)| slack(a).total_cmp(&slack(b)))?;
        let is_next = |_: &T| Some(());
        let (item, standing, ()) = self.queue.take_ready(now, is_next)?;
        rests.limit.pause(now);
        self.spare = Some((Held::new(standing, stop(&item), now), place));
        self.reconsider(now);
        Some(item)
    }

    /// What a lane is to do with the segment in its hands.
    pub(crate) fn decide(&mut self, lane: usize, facts: &Facts<'_>, now: Instant) -> Verdict {
        let Some(held) = self.lanes.get(lane).and_then(Option::as_ref) else {
            let plain_seconds = facts.plain.at(self.z);
            let decided = Decided { at: now, seconds: facts.plain.seconds, plain_seconds };
            let spare = self.spare.as_mut().map(|(held, _)| {
                held.decided = Some(decided);
                held.limit.clone()
            });
            self.reserve.spend(facts.plain.seconds, now);
            return Verdict {
                choice: Choice::Plain,
                why: Why::Deadline,
                limit: spare.unwrap_or_default(),
                plain_seconds,
            };
        };
        let wish = held.standing.wish();
        let waiting = self.waiting_behind(&held.standing, wish, facts, now);
        let others: Vec<f64> = self
            .lanes
            .iter()
            .enumerate()
            .filter(|(other, _)| *other != lane)
            .map(|(_, held)| held.as_ref().map_or(0.0, |held| held.ends(now)))
            .collect();
        let left = match (wish.deadline, wish.priority) {
            (Some(at), _) => at.saturating_duration_since(now).as_secs_f64(),
            (None, Priority::Ahead) => facts.media_seconds,
            (None, Priority::Viewer) => f64::INFINITY,
        };
        let favour = self.debts.favour(held.standing.demand.stream(), now);
        let question = Question {
            tiers: facts.tiers,
            plain: facts.plain,
            left,
            media: facts.media_seconds.max(0.1),
            haste: wish.haste,
            is_waited_for: wish.priority == Priority::Viewer,
            audience: wish.audience,
            waiting: &waiting,
            others: &others,
            // Without a deadline a viewer asks for as good as it gets.
            reserve: if left.is_finite() { self.reserve.fill(now) } else { 1.0 },
            favour,
            z: self.z,
        };
        let (choice, why) = choose(&question);
        let runs = match choice {
            Choice::Tier(place) => facts.tiers.iter().take(place + 1).rfind(|tier| tier.at_hand),
            Choice::Plain => None,
        };
        let seconds = runs.map_or(facts.plain.seconds, |tier| tier.forecast.seconds);
        let plain = if choice == Choice::Plain { facts.plain } else { facts.stopped };
        let plain_seconds = plain.at(self.z);
        self.reserve.spend(seconds, now);
        let limit = match self.lanes.get_mut(lane).and_then(Option::as_mut) {
            Some(held) => {
                held.decided = Some(Decided { at: now, seconds, plain_seconds });
                held.limit.clone()
            }
            None => Limit::default(),
        };
        self.reconsider(now);
        Verdict { choice, why, limit, plain_seconds }
    }

    fn waiting_behind(&self, own: &Standing, wish: Wish, facts: &Facts<'_>, now: Instant) -> Vec<Waiting> {
        let debt = self.debts.of(own.demand.stream());
        self.queue
            .viewers(now, LOOKS_AT)
            .into_iter()
            .map(|other| {
                let wanted = other.wish();
                Waiting {
                    left: seconds_left(&wanted, now),
                    size: other.need.plain_seconds / facts.plain.seconds.max(f64::MIN_POSITIVE),
                    plain: other.need.plain_seconds,
                    goes_first: wanted.audience >= wish.audience.saturating_mul(OUTNUMBERS)
                        || outweighs(self.debts.of(other.demand.stream()), debt),
                }
            })
            .collect()
    }

    /// A lane has done with what it had in hand; `plain`: it was made without a network although it should have had one, `None` where it was
    /// not made at all.
    pub(crate) fn finished(&mut self, lane: usize, plain: Option<bool>, now: Instant) -> Option<Closing> {
        let held = match self.lanes.get_mut(lane) {
            Some(place) => place.take()?,
            None => {
                let (held, rests) = self.spare.take()?;
                if let Some(rests) = self.lanes.get(rests).and_then(Option::as_ref) {
                    rests.limit.resume(now);
                }
                held
            }
        };
        let took = held.worked(held.decided.map_or(held.began, |decided| decided.at), now);
        if let Some(decided) = held.decided {
            self.reserve.spend(took - decided.seconds, now);
        }
        if let Some(plain) = plain.filter(|_| held.standing.demand.stream() != 0) {
            self.debts.made(held.standing.demand.stream(), plain, now);
        }
        self.reconsider(now);
        Some(Closing {
            predicted: held.decided.map(|decided| decided.seconds),
            took,
            late_seconds: -seconds_left(&held.standing.wish(), now),
            wish: held.standing.wish(),
            dropped: held.dropped,
        })
    }

    /// Seconds for which a lane still rests for the spare one.
    fn rests(&self, lane: usize, now: Instant) -> f64 {
        let spare = self.spare.as_ref().filter(|(_, rests)| *rests == lane);
        spare.map_or(0.0, |(held, _)| held.ends(now))
    }

    /// Something has changed: who has to make room for whom?
    pub(crate) fn reconsider(&mut self, now: Instant) {
        let in_hand = |(lane, held): (usize, &Option<Held>)| {
            let mut held = held.as_ref()?.in_hand(now);
            let rest = self.rests(lane, now);
            held.ends += rest;
            held.soonest += rest;
            Some(held)
        };
        let in_hand: Vec<Option<InHand>> = self.lanes.iter().enumerate().map(in_hand).collect();
        let viewers = self.queue.viewers(now, LOOKS_AT);
        let sooner = if viewers.len() > self.lanes.len() { AHEAD_OF_TIME } else { 0.0 };
        let waiting: Vec<Behind> = viewers
            .into_iter()
            .map(|standing| Behind {
                left: seconds_left(&standing.wish(), now) - sooner,
                plain: standing.need.plain_seconds,
                quickest: standing.need.quickest_seconds,
            })
            .collect();
        let pressures = press(&in_hand, &waiting);
        for (held, pressure) in self.lanes.iter_mut().zip(pressures) {
            let Some(held) = held else { continue };
            let own = held.standing.latest();
            match pressure {
                Pressure::None => held.limit.set(own),
                Pressure::By(seconds) => {
                    let by = now + Duration::try_from_secs_f64(seconds).unwrap_or_default();
                    held.limit.set(Some(own.map_or(by, |own| own.min(by))));
                }
                Pressure::Drop => {
                    held.dropped = true;
                    held.stop.cancel();
                }
            }
        }
    }
}

#[cfg(test)]
mod tests;
