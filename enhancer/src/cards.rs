//! Which card gets a session, and which of the sessions that are free is taken. The choices are pure; around them is the account of what
//! each card is at.
//!
//! A session is made where its model has fewest, so that a busy model is on all cards before it is on one twice, and then where there
//! are fewest of all. A free one is taken from the card with least at work, weighed by what the models at work take for a picture: a
//! lane with a dear tier is more to a card than one with a cheap one. Machines without cards have one place, and nothing to choose.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

/// Places by how well they suit a new session, best first. `own`: sessions of the same model on each; `all`: of all models.
fn for_new(own: &[usize], all: &[usize]) -> Vec<usize> {
    let mut places: Vec<usize> = (0..own.len()).collect();
    let count = |counts: &[usize], place: usize| counts.get(place).copied().unwrap_or_default();
    places.sort_by_key(|place| (count(own, *place), count(all, *place), *place));
    places
}

/// Which of the free sessions, given the card of each, is on the card with least at work; of several the last, which ran last.
fn quietest(free: &[usize], at_work: &[f64]) -> Option<usize> {
    let load = |card: &usize| at_work.get(*card).copied().unwrap_or_default();
    free.iter().enumerate().rev().min_by(|(_, a), (_, b)| load(a).total_cmp(&load(b))).map(|(place, _)| place)
}

/// What all cards are at.
pub(crate) struct Cards(Mutex<Vec<Load>>);

#[derive(Clone, Default)]
struct Load {
    sessions: usize,
    /// Sum of the weights of the sessions in lanes' hands.
    at_work: f64,
    /// How many those are: with none of them the sum is zero, whatever rounding made of it.
    hands: usize,
}

/// Every change under these locks is complete in itself, so what a panic left behind is valid.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Cards {
    /// So many places, at least one.
    pub(crate) fn new(count: usize) -> Arc<Self> {
        Arc::new(Self(Mutex::new(vec![Load::default(); count.max(1)])))
    }

    pub(crate) fn len(&self) -> usize {
        lock(&self.0).len()
    }

    /// Which of the free sessions is to be taken, given the card of each.
    pub(crate) fn quietest(&self, free: &[usize]) -> Option<usize> {
        let at_work: Vec<f64> = lock(&self.0).iter().map(|load| load.at_work).collect();
        quietest(free, &at_work)
    }

    fn change(&self, card: usize, change: impl FnOnce(&mut Load)) {
        if let Some(load) = lock(&self.0).get_mut(card) {
            change(load);
        }
    }
}

/// A model's sessions on each card.
#[derive(Clone)]
pub(crate) struct Spread {
    cards: Arc<Cards>,
    own: Arc<Mutex<Vec<usize>>>,
}

impl Spread {
    pub(crate) fn over(cards: &Arc<Cards>) -> Self {
        Self { cards: Arc::clone(cards), own: Arc::new(Mutex::new(vec![0; cards.len()])) }
    }

    pub(crate) fn cards(&self) -> &Cards {
        &self.cards
    }

    /// Cards by how well they suit one more session, best first.
    pub(crate) fn for_new(&self) -> Vec<usize> {
        let all: Vec<usize> = lock(&self.cards.0).iter().map(|load| load.sessions).collect();
        for_new(&lock(&self.own), &all)
    }

    /// There is one more session on a card, until the seat is dropped.
    pub(crate) fn seat(&self, card: usize) -> Seat {
        self.own_change(card, |own| *own += 1);
        self.cards.change(card, |load| load.sessions += 1);
        Seat { spread: self.clone(), card, weight: None }
    }

    fn own_change(&self, card: usize, change: impl FnOnce(&mut usize)) {
        if let Some(own) = lock(&self.own).get_mut(card) {
            change(own);
        }
    }
}

/// A session's place on a card.
pub(crate) struct Seat {
    spread: Spread,
    card: usize,
    /// What it weighs while a lane works with it.
    weight: Option<f64>,
}

impl Seat {
    pub(crate) fn card(&self) -> usize {
        self.card
    }

    /// A lane has taken the session; it weighs `weight`, in any unit that is the same for all.
    pub(crate) fn begin(&mut self, weight: f64) {
        self.end();
        self.weight = Some(weight);
        self.spread.cards.change(self.card, |load| {
            load.at_work += weight;
            load.hands += 1;
        });
    }

    /// The lane has put it back.
    pub(crate) fn end(&mut self) {
        let Some(weight) = self.weight.take() else { return };
        self.spread.cards.change(self.card, |load| {
            load.hands = load.hands.saturating_sub(1);
            load.at_work = if load.hands == 0 { 0.0 } else { load.at_work - weight };
        });
    }
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.end();
        self.spread.own_change(self.card, |own| *own = own.saturating_sub(1));
        self.spread.cards.change(self.card, |load| load.sessions = load.sessions.saturating_sub(1));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_session_goes_where_its_model_has_fewest() {
        assert_eq!(for_new(&[1, 0, 1], &[1, 9, 2]), [1, 0, 2]);
        assert_eq!(for_new(&[0, 0, 0], &[2, 1, 1]), [1, 2, 0], "then where there are fewest of all");
        assert_eq!(for_new(&[5], &[9]), [0]);
    }

    #[test]
    fn the_card_with_least_at_work_is_taken_from() {
        assert_eq!(quietest(&[0, 1, 0], &[2.0, 0.5]), Some(1));
        assert_eq!(quietest(&[0, 1, 0], &[0.5, 2.0]), Some(2), "of two alike the one that ran last");
        assert_eq!(quietest(&[1, 1], &[0.0, 9.0]), Some(1), "a busy card is better than none");
        assert_eq!(quietest(&[], &[0.0]), None);
    }

    #[test]
    fn two_models_on_two_cards_share_them() {
        let cards = Cards::new(2);
        let (first, second) = (Spread::over(&cards), Spread::over(&cards));
        let seat = |spread: &Spread| spread.seat(spread.for_new()[0]);
        let mut seats = [seat(&first), seat(&second), seat(&first), seat(&second)];
        assert_eq!(seats.each_ref().map(Seat::card), [0, 1, 1, 0]);
        // A lane with the dear model on card 1 is more than two with the cheap one on card 0.
        seats[0].begin(1.0);
        seats[3].begin(1.0);
        seats[1].begin(5.0);
        assert_eq!(cards.quietest(&[1, 0]), Some(1));
        seats[1].end();
        seats[1].end();
        assert_eq!(cards.quietest(&[0, 1]), Some(1));
        let [gone, ..] = seats;
        drop(gone);
        assert_eq!(first.for_new(), [0, 1], "its place is free again");
        assert_eq!(lock(&cards.0)[0].hands, 1, "a lane that has lost its session is not at work");
    }

    #[test]
    fn sums_come_back_to_zero() {
        let cards = Cards::new(1);
        let spread = Spread::over(&cards);
        let mut seats: Vec<Seat> = (0..3).map(|_| spread.seat(0)).collect();
        for (seat, weight) in seats.iter_mut().zip([0.1, 0.2, 0.3]) {
            seat.begin(weight);
        }
        drop(seats);
        let load = lock(&cards.0)[0].clone();
        assert_eq!((load.sessions, load.hands, load.at_work), (0, 0, 0.0));
    }
}
