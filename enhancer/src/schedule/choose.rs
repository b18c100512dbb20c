//! Which tier a segment gets, from costs that were learned and time that is left. Pure.
//!
//! Better tiers cost more. The best is taken that ends before the deadline in nineteen cases of twenty, leaves those who wait behind it
//! a tier one step below its own, and for which the machine has had time to spare lately. A start or a seek gets the quickest, because
//! there somebody looks at a spinner; what many see is worth more of the machine.

use super::cost::Forecast;
use super::plan::in_time;
use super::reserve::asked_for;
use crate::Haste;

/// The cheapest tier is tried once even if its estimate (from a proof run, perhaps on a machine that was busy starting) says
/// that it takes up to this many times too long.
const BENEFIT_OF_DOUBT: f64 = 2.0;

/// From so many players on a segment is shared: it need not keep the pace of one stream, for it is made once for all of them.
pub(crate) const SHARED_BY: u32 = 3;

/// A tier that is not the cheapest ends within this part of the film's time where somebody waits: players that wait longer see a slow
/// network and leave the rendition.
const COMFORT: f64 = 0.5;

/// A tier leaves those who wait behind it so much more time than they need, as a part of the film's: nobody knows yet what comes between.
const LEAVES: f64 = 0.075;

/// What to run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Choice {
    /// The tier at this place of the list.
    Tier(usize),
    /// The plain scaler: no tier is quick enough.
    Plain,
}

impl Choice {
    /// The next dearer tier.
    pub(crate) fn next_better(self) -> usize {
        match self {
            Self::Tier(place) => place + 1,
            Self::Plain => 0,
        }
    }
}

/// Why it is not a better tier.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Why {
    /// It is the best there is.
    Best,
    /// A player starts or seeks.
    Haste,
    /// Its own deadline is too near, or the next tier is slower than the film.
    Deadline,
    /// Those who wait behind it would be worse off.
    Crowd,
    /// More was asked of the machine lately than it can do with better tiers.
    Reserve,
}

impl Why {
    /// Every reason, for metrics.
    pub(crate) const ALL: [Self; 5] = [Self::Best, Self::Haste, Self::Deadline, Self::Crowd, Self::Reserve];

    /// The metric label.
    pub(crate) fn label(self) -> &'static str {
        match self {
            Self::Best => "best",
            Self::Haste => "haste",
            Self::Deadline => "deadline",
            Self::Crowd => "crowd",
            Self::Reserve => "reserve",
        }
    }
}

/// A tier as this segment could have it.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Tier {
    pub(crate) forecast: Forecast,
    /// There is a session for it now.
    pub(crate) at_hand: bool,
}

/// A viewer's segment that waits behind this one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Waiting {
    /// Seconds to its deadline.
    pub(crate) left: f64,
    /// Its work as a multiple of this segment's.
    pub(crate) size: f64,
    /// Its seconds with the plain scaler.
    pub(crate) plain: f64,
    /// It has a better right to a good tier than this one: more see it, or its stream came off badly before.
    pub(crate) goes_first: bool,
}

/// The question.
#[derive(Debug)]
pub(crate) struct Question<'a> {
    /// Cheap to dear.
    pub(crate) tiers: &'a [Tier],
    pub(crate) plain: Forecast,
    /// Seconds to the deadline; infinite without one.
    pub(crate) left: f64,
    /// Seconds of film.
    pub(crate) media: f64,
    pub(crate) haste: Haste,
    /// A player has asked for it; else it is made ahead.
    pub(crate) is_waited_for: bool,
    /// Players that will see it.
    pub(crate) audience: u32,
    /// In the order of their turns.
    pub(crate) waiting: &'a [Waiting],
    /// Seconds until each of the other lanes is free.
    pub(crate) others: &'a [f64],
    /// What is in the account, as part of a full one.
    pub(crate) reserve: f64,
    /// What its stream is asked for in the account, as a multiple of what others are.
    pub(crate) favour: f64,
    /// Spreads above the middle that a prediction must hold for.
    pub(crate) z: f64,
}

/// The answer.
pub(crate) fn choose(question: &Question<'_>) -> (Choice, Why) {
    let mut why = Why::Best;
    for place in (0..question.tiers.len()).rev() {
        match question.objection(place) {
            None => return (Choice::Tier(place), why),
            Some(objection) => why = objection,
        }
    }
    (Choice::Plain, why)
}

impl Question<'_> {
    /// What stands against the tier at `place`.
    fn objection(&self, place: usize) -> Option<Why> {
        let forecast = self.tiers.get(place)?.forecast;
        if self.haste == Haste::Start && place > 0 {
            return Some(Why::Haste);
        }
        // However far the deadline is, a tier slower than the film would take the time of the segments after this one.
        let pace = if self.audience < SHARED_BY { self.media } else { f64::INFINITY };
        // Below the cheapest there is only the plain scaler, which finishes what is not done in time anyway: even odds will do.
        let z = if place == 0 { 0.0 } else { self.z };
        let comfort = if self.is_waited_for && place > 0 { self.media * COMFORT } else { f64::INFINITY };
        let fits = forecast.at(z) <= self.left.min(comfort) && forecast.seconds <= pace;
        let doubt = self.left.min(pace) * BENEFIT_OF_DOUBT;
        let is_doubtful = place == 0 && !forecast.is_learned && forecast.seconds <= doubt;
        if self.left.is_finite() && !fits && !is_doubtful {
            return Some(Why::Deadline);
        }
        if self.reserve < asked_for(place, self.tiers.len(), self.audience) * self.favour {
            return Some(Why::Reserve);
        }
        (!self.leaves_enough(place, forecast.seconds)).then_some(Why::Crowd)
    }

    /// Whether all who wait and could be in time plainly still are, with a tier one step below this one: who comes first does not take
    /// two steps while others go without. Those who go first are counted with the same tier.
    fn leaves_enough(&self, place: usize, seconds: f64) -> bool {
        if self.waiting.is_empty() {
            return true;
        }
        let lanes = |own: f64| std::iter::once(own).chain(self.others.iter().copied()).collect::<Vec<f64>>();
        let tier = |place: usize| self.tiers.get(place).map_or(0.0, |tier| tier.forecast.seconds);
        let plainly = self.waiting.iter().map(|waiting| (waiting.left, waiting.plain));
        let could = in_time(lanes(self.plain.seconds), plainly);
        let below = |waiting: &Waiting| {
            let step = match (waiting.goes_first, place) {
                (true, place) => Some(place),
                (false, 0) => None,
                (false, place) => Some(place - 1),
            };
            let left = waiting.left - self.media * LEAVES;
            (left, step.map_or(waiting.plain, |step| (tier(step) * waiting.size).max(waiting.plain)))
        };
        let would = in_time(lanes(seconds), self.waiting.iter().map(below));
        could.iter().zip(&would).all(|(could, would)| *would || !*could)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tiers() -> Vec<Tier> {
        let tier =
            |seconds| Tier { forecast: Forecast { seconds, spread: 0.0, is_learned: true }, at_hand: true };
        [1.0, 2.0, 4.0].map(tier).to_vec()
    }

    fn question(tiers: &[Tier]) -> Question<'_> {
        Question {
            tiers,
            plain: Forecast { seconds: 0.4, spread: 0.0, is_learned: true },
            left: 5.0,
            media: 6.0,
            haste: Haste::Steady,
            is_waited_for: false,
            audience: 1,
            waiting: &[],
            others: &[],
            reserve: 1.0,
            favour: 1.0,
            z: 1.65,
        }
    }

    const FAR: Waiting = Waiting { left: 5.0, size: 1.0, plain: 0.4, goes_first: false };

    #[test]
    fn the_best_tier_that_fits_is_taken() {
        let tiers = tiers();
        let q = || question(&tiers);
        for (name, question, expected) in [
            ("nobody waits", q(), (Choice::Tier(2), Why::Best)),
            (
                "no deadline",
                Question { left: f64::INFINITY, media: 1.0, ..q() },
                (Choice::Tier(2), Why::Best),
            ),
            ("near", Question { left: 3.0, ..q() }, (Choice::Tier(1), Why::Deadline)),
            ("nearer", Question { left: 0.5, ..q() }, (Choice::Plain, Why::Deadline)),
            ("past", Question { left: -1.0, ..q() }, (Choice::Plain, Why::Deadline)),
            ("slower than the film", Question { media: 3.0, ..q() }, (Choice::Tier(1), Why::Deadline)),
            (
                "many see it",
                Question { media: 3.0, audience: SHARED_BY, ..q() },
                (Choice::Tier(2), Why::Best),
            ),
            ("waited for", Question { is_waited_for: true, ..q() }, (Choice::Tier(1), Why::Deadline)),
            ("a start", Question { haste: Haste::Start, ..q() }, (Choice::Tier(0), Why::Haste)),
            (
                "a hasty start",
                Question { haste: Haste::Start, left: 0.5, ..q() },
                (Choice::Plain, Why::Deadline),
            ),
            ("half full", Question { reserve: 0.4, ..q() }, (Choice::Tier(1), Why::Reserve)),
            ("empty", Question { reserve: 0.0, ..q() }, (Choice::Plain, Why::Reserve)),
            ("owed", Question { reserve: 0.1, favour: 0.5, ..q() }, (Choice::Tier(0), Why::Reserve)),
            ("not its turn", Question { reserve: 0.15, favour: 2.0, ..q() }, (Choice::Plain, Why::Reserve)),
            ("empty but shared", Question { reserve: 0.1, audience: 6, ..q() }, (Choice::Tier(2), Why::Best)),
            ("two wait", Question { waiting: &[FAR; 2], ..q() }, (Choice::Tier(1), Why::Crowd)),
            (
                "two wait, two lanes",
                Question { waiting: &[FAR; 2], others: &[0.0], ..q() },
                (Choice::Tier(2), Why::Best),
            ),
            ("seven wait", Question { waiting: &[FAR; 7], ..q() }, (Choice::Tier(0), Why::Crowd)),
            ("eleven wait", Question { waiting: &[FAR; 11], ..q() }, (Choice::Plain, Why::Crowd)),
        ] {
            assert_eq!(choose(&question), expected, "{name}");
        }
    }

    #[test]
    fn who_cannot_be_helped_holds_nobody_up() {
        let tiers = tiers();
        let late = Waiting { left: 0.1, ..FAR };
        let question = Question { waiting: &[late; 3], ..question(&tiers) };
        assert_eq!(choose(&question), (Choice::Tier(2), Why::Best));
    }

    #[test]
    fn who_came_off_badly_goes_first() {
        let tiers = tiers();
        let owed = Waiting { goes_first: true, ..FAR };
        let waiting = [FAR, FAR, owed, owed, owed, owed, owed];
        let question = Question { waiting: &waiting, ..question(&tiers) };
        assert_eq!(choose(&question), (Choice::Plain, Why::Crowd));
    }

    #[test]
    fn spread_counts() {
        let mut tiers = tiers();
        tiers[2].forecast.spread = 0.2;
        assert_eq!(
            choose(&question(&tiers)).0,
            Choice::Tier(1),
            "4 s in the middle is not 5 s in nineteen of twenty"
        );
    }

    #[test]
    fn an_estimate_gets_the_benefit_of_the_doubt() {
        let mut tiers = tiers();
        let choice = |left, tiers: &[Tier]| choose(&Question { left, ..question(tiers) });
        assert_eq!(choice(0.6, &tiers).0, Choice::Plain);
        tiers[0].forecast.is_learned = false;
        assert_eq!(choice(0.6, &tiers).0, Choice::Tier(0));
        assert_eq!(choice(0.4, &tiers).0, Choice::Plain, "but not at any price");
        assert_eq!(choice(0.6, &[]), (Choice::Plain, Why::Best));
    }
}
