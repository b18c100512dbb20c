//! Who would be late: work in the order of deadlines, each piece to the lane that is free first. Times are seconds from now.

/// A segment that waits: seconds to its deadline, and the least work that it is worth considering with.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Behind {
    pub(crate) left: f64,
    pub(crate) plain: f64,
    pub(crate) quickest: f64,
}

/// Which of the pieces of work, (seconds left, seconds of work) in the order of their turns, end in time on lanes that are free
/// after so many seconds each.
pub(crate) fn in_time(mut lanes: Vec<f64>, work: impl Iterator<Item = (f64, f64)>) -> Vec<bool> {
    work.map(|(left, seconds)| {
        let Some(first) = lanes.iter_mut().min_by(|a, b| a.total_cmp(b)) else { return false };
        *first += seconds;
        *first <= left
    })
    .collect()
}

/// What a lane has in hand.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct InHand {
    /// When it will be done if it is left alone.
    pub(crate) ends: f64,
    /// When it could be done if its network stopped now.
    pub(crate) soonest: f64,
    /// Nobody waits for it.
    pub(crate) ahead: bool,
}

/// What is asked of a lane for the sake of those who wait.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Pressure {
    /// Nothing.
    None,
    /// To be done by then, with the plain scaler if need be.
    By(f64),
    /// To let go of what it has in hand.
    Drop,
}

/// How soon a lane is free that was told to drop what it has: it looks between pictures.
const DROPPED_AFTER: f64 = 0.05;

/// What those who wait (in the order of their turns) ask of the lanes. The network of work ahead is stopped where a viewer would
/// otherwise miss even the quickest tier, a viewer's only where another viewer would miss the deadline even plainly, and work ahead is
/// dropped where that does not help. Who is likely to be late whatever is done has them do what they can: the picture gives way, not
/// the clock.
pub(crate) fn press(lanes: &[Option<InHand>], waiting: &[Behind]) -> Vec<Pressure> {
    let mut hands: Vec<Hand> = lanes.iter().map(|held| Hand::new(*held)).collect();
    for behind in waiting {
        let Some(mut place) = first(&hands) else { break };
        if !hands.get(place).is_some_and(|hand| hand.free() + behind.quickest <= behind.left) {
            place = squeeze(&mut hands, behind.left - behind.quickest, true).unwrap_or(place);
        }
        if !hands.get(place).is_some_and(|hand| hand.free() + behind.plain <= behind.left) {
            let by = behind.left - behind.plain;
            let helped = squeeze(&mut hands, by, true).or_else(|| drop_ahead(&mut hands, by));
            let helped = helped.or_else(|| squeeze(&mut hands, by, false));
            place = helped
                .or_else(|| drop_ahead(&mut hands, f64::INFINITY))
                .unwrap_or_else(|| hurry(&mut hands, place));
        }
        if let Some(hand) = hands.get_mut(place) {
            hand.promised += behind.plain;
        }
    }
    hands.into_iter().map(|hand| hand.pressure).collect()
}

/// A lane while it is being planned with.
struct Hand {
    held: Option<InHand>,
    ends: f64,
    /// Work that has been promised to it since.
    promised: f64,
    pressure: Pressure,
}

impl Hand {
    fn new(held: Option<InHand>) -> Self {
        Self { held, ends: held.map_or(0.0, |held| held.ends), promised: 0.0, pressure: Pressure::None }
    }

    fn free(&self) -> f64 {
        self.ends + self.promised
    }
}

fn first(hands: &[Hand]) -> Option<usize> {
    (0..hands.len()).min_by(|a, b| hands[*a].free().total_cmp(&hands[*b].free()))
}

/// Has the lane that gives up least for it free by `by`, if one of those with work ahead (or with viewers' work) can be.
fn squeeze(hands: &mut [Hand], by: f64, ahead: bool) -> Option<usize> {
    let can = |hand: &Hand| {
        let held = hand.held.filter(|held| held.ahead == ahead && hand.pressure != Pressure::Drop);
        held.is_some_and(|held| held.soonest <= by - hand.promised)
    };
    let place = (0..hands.len())
        .filter(|place| can(&hands[*place]))
        .min_by(|a, b| hands[*a].free().total_cmp(&hands[*b].free()))?;
    let hand = &mut hands[place];
    if hand.free() > by {
        hand.ends = by - hand.promised;
        hand.pressure = Pressure::By(hand.ends);
    }
    Some(place)
}

/// Has a lane let go of its work ahead, that which would hold it for longest, if it is free by `by` then.
fn drop_ahead(hands: &mut [Hand], by: f64) -> Option<usize> {
    let can = |hand: &Hand| {
        hand.held.is_some_and(|held| held.ahead)
            && hand.pressure != Pressure::Drop
            && DROPPED_AFTER + hand.promised <= by
    };
    let place = (0..hands.len())
        .filter(|place| can(&hands[*place]))
        .max_by(|a, b| hands[*a].ends.total_cmp(&hands[*b].ends))?;
    let hand = &mut hands[place];
    hand.ends = DROPPED_AFTER;
    hand.pressure = Pressure::Drop;
    Some(place)
}

/// Has the lane that is free first be free as soon as it can.
fn hurry(hands: &mut [Hand], place: usize) -> usize {
    if let Some(hand) = hands.get_mut(place)
        && let Some(held) =
            hand.held.filter(|held| held.soonest < hand.ends && hand.pressure != Pressure::Drop)
    {
        hand.ends = held.soonest;
        hand.pressure = Pressure::By(held.soonest);
    }
    place
}

#[cfg(test)]
mod tests {
    use super::*;

    fn behind(left: f64, plain: f64, quickest: f64) -> Behind {
        Behind { left, plain, quickest }
    }

    fn held(ends: f64, soonest: f64, ahead: bool) -> Option<InHand> {
        Some(InHand { ends, soonest, ahead })
    }

    #[test]
    fn the_lane_that_is_free_first_takes_the_next() {
        let work = [(2.0, 1.0), (2.0, 1.0), (2.0, 1.0), (2.0, 1.5)];
        assert_eq!(in_time(vec![0.0, 1.0], work.into_iter()), [true, true, true, false]);
        assert_eq!(in_time(vec![], work.into_iter()), [false; 4]);
    }

    #[test]
    fn nobody_is_disturbed_while_there_is_time() {
        assert_eq!(press(&[held(2.0, 0.5, false)], &[behind(5.0, 0.5, 1.5)]), [Pressure::None]);
        assert_eq!(press(&[held(2.0, 0.5, true)], &[behind(5.0, 0.5, 1.5)]), [Pressure::None]);
        assert_eq!(press(&[None, held(9.0, 0.5, true)], &[behind(2.0, 0.5, 1.5)]), [Pressure::None; 2]);
    }

    #[test]
    fn work_ahead_gives_way_to_a_viewers_quickest_tier_and_goes_for_a_deadline() {
        let lanes = [held(1.0, 0.4, true), held(3.0, 0.5, true)];
        let waits = |left| behind(left, 0.5, 1.5);
        assert_eq!(press(&lanes, &[waits(2.0)]), [Pressure::By(0.5), Pressure::None]);
        assert_eq!(press(&lanes, &[waits(2.0); 2]), [Pressure::By(0.5), Pressure::By(0.5)]);
        assert_eq!(press(&lanes, &[waits(1.6)]), [Pressure::None; 2], "not in time for a tier, but plainly");
        let slow = [held(2.0, 1.5, true), held(3.0, 1.5, true)];
        assert_eq!(press(&slow, &[waits(0.6)]), [Pressure::None, Pressure::Drop]);
        assert_eq!(
            press(&slow, &[waits(0.1)]),
            [Pressure::None, Pressure::Drop],
            "late, but not by more than need be"
        );
    }

    #[test]
    fn a_viewers_network_stops_only_for_another_viewers_deadline() {
        let lanes = [held(3.0, 0.5, false)];
        assert_eq!(press(&lanes, &[behind(3.6, 0.5, 1.5)]), [Pressure::None], "plainly it is in time");
        assert_eq!(press(&lanes, &[behind(2.0, 0.5, 1.5)]), [Pressure::By(1.5)]);
        assert_eq!(press(&lanes, &[behind(2.0, 0.5, 1.5), behind(2.25, 0.5, 1.0)]), [Pressure::By(1.25)]);
        assert_eq!(
            press(&lanes, &[behind(0.8, 0.5, 1.5)]),
            [Pressure::By(0.5)],
            "late, but not by more than need be"
        );
    }

    #[test]
    fn the_lane_that_loses_least_is_asked() {
        let lanes = [held(9.0, 0.5, false), held(3.0, 0.5, false)];
        assert_eq!(press(&lanes, &[behind(2.0, 0.5, 1.0)]), [Pressure::None, Pressure::By(1.5)]);
    }
}
