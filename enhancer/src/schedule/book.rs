//! Everything that was learned about costs on this machine, and its written form. Pure: no file is opened here.
//!
//! A line for each model (by digest) and size, so that a file can be read by people, cut off anywhere or filled with rubbish,
//! and what is left of it still helps. What it was learned under (provider, threads, preset) stands in the first line; a
//! book of another set-up is no book of this machine.

use std::collections::HashMap;
use std::fmt::Write as _;

use super::cost::{Cost, Forecast, Learned, SIZES};

/// Models and sizes that are remembered at most: a hundred clusters with all their tiers, and their replaced versions.
const RECORDS_LIMIT: usize = 1024;

/// Lanes that may be busy beside each other (the configuration's limit).
const CROWD_LIMIT: usize = 64;

/// How fast what lanes cost each other is learned: slower than the models themselves, because all of them teach it.
const CROWD_RATE: f64 = 0.05;

/// Segments that an old book counts for at most: it knows the machine, but not what else runs on it today.
const RECALLED_SAMPLES: u32 = 8;

/// The key of decoder, plain scaler and encoder.
pub(crate) const PLAIN: &str = "plain";

/// The key of the same with [`Effort::Least`](crate::codec::Effort).
pub(crate) const QUICK: &str = "quick";

/// Longest name of a recipe, in bytes.
const RECIPE_LIMIT: usize = 32;

/// How fast it is learned what first words are off by on this machine, once several have shown it.
const DRIFT_RATE: f64 = 0.2;

/// No machine is further from the first words than so many times; a single strange segment is no machine.
const MOST_DRIFT: f64 = 4.0;

const FIRST_WORDS: &str = "acuity-costs 1";

/// What was learned.
pub(crate) struct CostBook {
    costs: HashMap<String, Entry>,
    /// Recalled, and not asked for yet: a model may come back with another catalogue.
    recalled: HashMap<String, Vec<(usize, Learned)>>,
    /// Logarithm of what a lane slows by when so many are busy, itself included.
    crowd_ln: [f64; CROWD_LIMIT + 1],
    learned: u64,
    drift: Drift,
}

/// Logarithm of what first words are to be multiplied by on this machine. What is new here is judged by what is not: a model that was
/// never run, by how much slower than their proof runs others turned out to be.
#[derive(Default)]
struct Drift {
    ln: f64,
    seen: u32,
}

impl Drift {
    /// Something's first segment took exp(`error_ln`) times what its first word said.
    fn learn(&mut self, error_ln: f64) {
        self.seen = self.seen.saturating_add(1);
        let bounded = error_ln.clamp(-MOST_DRIFT.ln(), MOST_DRIFT.ln());
        self.ln += (bounded - self.ln) * DRIFT_RATE.max(1.0 / f64::from(self.seen));
    }
}

struct Entry {
    cost: Cost,
    /// When it was last learned about, counted in lessons.
    last: u64,
}

impl Default for CostBook {
    fn default() -> Self {
        Self {
            costs: HashMap::new(),
            recalled: HashMap::new(),
            crowd_ln: [0.0; CROWD_LIMIT + 1],
            learned: 0,
            drift: Drift::default(),
        }
    }
}

impl CostBook {
    /// Lessons so far: whether there is anything new to write.
    pub(crate) fn lessons(&self) -> u64 {
        self.learned
    }

    /// A model is here to be used; its proof run took so long. What is known of it already counts more.
    pub(crate) fn introduce(&mut self, what: &str, seconds_per_pixel: f64) {
        if self.costs.contains_key(what) {
            return;
        }
        let mut cost = Cost::estimate(seconds_per_pixel);
        for (size, learned) in self.recalled.remove(what).unwrap_or_default() {
            cost.recall(size, learned);
        }
        if let Some(error_ln) = cost.off_by() {
            self.drift.learn(error_ln);
        }
        self.make_room();
        self.costs.insert(what.to_owned(), Entry { cost, last: self.learned });
    }

    /// What a segment takes while `busy` lanes work, this one included. `None`: never heard of.
    pub(crate) fn forecast(
        &self,
        what: &str,
        picture_pixels: u64,
        pixels: u64,
        busy: usize,
    ) -> Option<Forecast> {
        let entry = self.costs.get(what)?;
        let drift = if entry.cost.off_by().is_some() { 0.0 } else { self.drift.ln };
        Some(entry.cost.forecast(picture_pixels, pixels, self.crowd(busy) + drift))
    }

    /// A segment was made: `pictures` of `picture_pixels` output pixels in `seconds`, while `busy` lanes worked.
    pub(crate) fn learn(
        &mut self,
        what: &str,
        seconds: f64,
        pictures: u64,
        picture_pixels: u64,
        busy: usize,
    ) {
        let crowd = self.crowd(busy);
        let Some(entry) = self.costs.get_mut(what) else { return };
        let was_learned = entry.cost.off_by().is_some();
        let Some(error) = entry.cost.learn(seconds, pictures, picture_pixels, crowd) else { return };
        if let Some(error_ln) = entry.cost.off_by().filter(|_| !was_learned) {
            self.drift.learn(error_ln);
        }
        self.learned += 1;
        entry.last = self.learned;
        // What a model's first segment is off by is its own affair.
        if let Some(crowd) = self.crowd_ln.get_mut(busy.min(CROWD_LIMIT)).filter(|_| was_learned && busy > 1)
        {
            // Together they are never quicker than alone, and never slower than one after the other, twice.
            *crowd = (*crowd + error * CROWD_RATE).clamp(0.0, (2.0 * busy as f64).ln());
        }
    }

    /// It was passed over for its cost.
    pub(crate) fn relax(&mut self, what: &str) {
        if let Some(entry) = self.costs.get_mut(what) {
            entry.cost.relax();
        }
    }

    fn crowd(&self, busy: usize) -> f64 {
        self.crowd_ln.get(busy.min(CROWD_LIMIT)).copied().unwrap_or_default()
    }

    /// Forgets what nobody has learned about for longest.
    fn make_room(&mut self) {
        while self.costs.len() >= RECORDS_LIMIT {
            let oldest = self.costs.iter().min_by_key(|(_, entry)| entry.last).map(|(what, _)| what.clone());
            let Some(oldest) = oldest else { return };
            self.costs.remove(&oldest);
        }
    }

    /// The book as text. `setup`: what it was learned under, without line breaks.
    pub(crate) fn to_text(&self, setup: &str) -> String {
        let mut text = format!("{FIRST_WORDS} {setup}\n");
        let known = self.costs.iter().map(|(what, entry)| (what, entry.cost.learned().collect::<Vec<_>>()));
        let recalled = self.recalled.iter().map(|(what, learned)| (what, learned.clone()));
        let mut all: Vec<_> = known.chain(recalled).collect();
        all.sort_unstable_by_key(|(what, _)| *what);
        for (what, learned) in all.into_iter().take(RECORDS_LIMIT) {
            for (size, learned) in learned {
                let Learned { mean_ln, variance, samples, .. } = learned;
                // Writing to a string cannot fail.
                let _ = writeln!(text, "{what} {size} {:e} {:.4} {samples}", mean_ln.exp(), variance.sqrt());
            }
        }
        for (busy, ln) in self.crowd_ln.iter().enumerate().filter(|(_, ln)| **ln > 0.0) {
            let _ = writeln!(text, "crowd {busy} {:.4}", ln.exp());
        }
        text
    }

    /// Reads a book that was learned under the same `setup`. Lines that say nothing sensible are skipped; gives how many did.
    pub(crate) fn recall(&mut self, text: &str, setup: &str) -> usize {
        let mut lines = text.lines();
        if lines.next() != Some(format!("{FIRST_WORDS} {setup}").as_str()) {
            return 0;
        }
        lines.filter(|line| self.recall_line(line).is_some()).count()
    }

    fn recall_line(&mut self, line: &str) -> Option<()> {
        let mut words = line.split_ascii_whitespace();
        let what = words.next()?;
        let number: usize = words.next()?.parse().ok()?;
        let value: f64 = words.next()?.parse().ok()?;
        if what == "crowd" {
            let sensible = (1.0..=2.0 * CROWD_LIMIT as f64).contains(&value);
            *self.crowd_ln.get_mut(number).filter(|_| sensible)? = value.ln();
            return Some(());
        }
        let (name, recipe) = what.split_once('+').unwrap_or((what, ""));
        let is_digest = name.len() == 64 && name.bytes().all(|byte| byte.is_ascii_hexdigit());
        let spread: f64 = words.next()?.parse().ok()?;
        let samples: u32 = words.next()?.parse().ok()?;
        // From a picture of a megapixel in a microsecond to one in an hour.
        let sensible =
            (1e-12..=4e-3).contains(&value) && (0.0..=1.0).contains(&spread) && number < SIZES && samples > 0;
        let has_room = self.recalled.contains_key(what) || self.recalled.len() < RECORDS_LIMIT;
        let is_known = is_digest || name == PLAIN || name == QUICK;
        if !is_known || recipe.len() > RECIPE_LIMIT || !sensible || !has_room {
            return None;
        }
        let learned = Learned::recalled(value.ln(), spread * spread, samples.min(RECALLED_SAMPLES));
        let sizes = self.recalled.entry(what.to_owned()).or_default();
        if sizes.iter().any(|(size, _)| *size == number) {
            return None;
        }
        sizes.push((number, learned));
        Some(())
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const HD: u64 = 1280 * 720;

    fn digest(letter: char) -> String {
        String::from(letter).repeat(64)
    }

    fn book() -> CostBook {
        let mut book = CostBook::default();
        for what in [digest('a'), PLAIN.to_owned(), QUICK.to_owned()] {
            book.introduce(&what, 1e-8);
            for _ in 0..20 {
                book.learn(&what, 0.5, 20, HD, 1);
            }
        }
        book
    }

    fn seconds(book: &CostBook, what: &str, busy: usize) -> f64 {
        book.forecast(what, HD, 20 * HD, busy).unwrap().seconds
    }

    #[test]
    fn what_was_learned_is_there_after_a_restart() {
        let text = book().to_text("cpu 2");
        let mut again = CostBook::default();
        assert_eq!(again.recall(&text, "cpu 2"), 3);
        again.introduce(&digest('a'), 1e-10);
        assert!((seconds(&again, &digest('a'), 1) - 0.5).abs() < 1e-3, "{text}");
        assert!(again.forecast(&digest('a'), HD, HD, 1).unwrap().is_learned);
        assert_eq!(
            again.to_text("cpu 2").lines().count(),
            text.lines().count(),
            "nothing is lost by writing again"
        );
        assert_eq!(CostBook::default().recall(&text, "cuda 2"), 0, "another machine's book");
    }

    #[test]
    fn rubbish_is_skipped() {
        let good = format!("{} 6 1.5e-8 0.1 4", digest('b'));
        let lines = [
            "acuity-costs 1 x",
            "",
            "plain",
            "plain 6 NaN 0.1 4",
            "plain 6 inf 0.1 4",
            "plain 99 1e-8 0.1 4",
            "plain 6 -1e-8 0.1 4",
            "plain 6 1e-8 7 4",
            "../../etc 6 1e-8 0.1 4",
            "crowd 900 1.1",
            "crowd 2 0.1",
            "\u{0}\u{ffff}",
            &good,
            &good,
        ];
        assert_eq!(CostBook::default().recall(&lines.join("\n"), "x"), 1);
    }

    #[test]
    fn lanes_learn_what_they_cost_each_other() {
        let mut book = book();
        for turn in 0..2000 {
            let busy = 1 + turn % 4;
            book.learn(PLAIN, 0.5 * 1.2_f64.powi(busy - 1), 20, HD, busy as usize);
        }
        for (busy, expected) in [(1, 0.5), (2, 0.6), (4, 0.864)] {
            let predicted = seconds(&book, PLAIN, busy);
            assert!((predicted / expected - 1.0).abs() < 0.12, "{busy}: {predicted} for {expected}");
        }
    }

    #[test]
    fn what_is_new_is_judged_by_what_is_not() {
        let mut book = CostBook::default();
        book.introduce(QUICK, 1e-8);
        book.introduce(&digest('a'), 2e-8);
        let before = seconds(&book, &digest('a'), 1);
        book.learn(QUICK, 20.0 * HD as f64 * 5e-9, 20, HD, 1);
        let after = seconds(&book, &digest('a'), 1);
        assert!((after / before - 0.5).abs() < 1e-6, "the machine is twice as quick as was thought");
        assert!(!book.forecast(&digest('a'), HD, HD, 1).unwrap().is_learned);
        book.learn(&digest('a'), 20.0 * HD as f64 * 2e-8, 20, HD, 1);
        assert!((seconds(&book, &digest('a'), 1) / before - 1.0).abs() < 1e-6, "what it takes itself counts");
        let mut again = CostBook::default();
        again.recall(&book.to_text("x"), "x");
        again.introduce(QUICK, 1e-8);
        again.introduce(&digest('b'), 2e-8);
        assert!((seconds(&again, &digest('b'), 1) / before - 0.5).abs() < 1e-3, "after a restart too");
        again.introduce(&digest('a'), 1e-20);
        assert!(seconds(&again, &digest('b'), 1) < 5.0 * before, "one of them is not the machine");
    }

    #[test]
    fn the_book_does_not_grow_without_end() {
        let mut book = book();
        for number in 0..2 * RECORDS_LIMIT {
            book.introduce(&format!("{number:064}"), 1e-8);
        }
        assert!(book.costs.len() <= RECORDS_LIMIT);
        let text: String = (0..2 * RECORDS_LIMIT).map(|n| format!("{n:064} 6 1e-8 0.1 4\n")).collect();
        let mut other = CostBook::default();
        assert_eq!(other.recall(&format!("{FIRST_WORDS} x\n{text}"), "x"), RECORDS_LIMIT);
    }

    proptest! {
        #[test]
        fn any_text_can_be_read(text in ".{0,200}", cut in 0_usize..400) {
            CostBook::default().recall(&format!("{FIRST_WORDS} x\n{text}"), "x");
            let whole = book().to_text("x");
            let cut = whole.floor_char_boundary(cut.min(whole.len()));
            CostBook::default().recall(&whole[..cut], "x");
        }
    }
}
