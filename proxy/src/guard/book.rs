//! What checks have found, model by model, and what follows from it. Pure.

use std::collections::HashMap;

use acuity_models::{Task, Tier};

/// A mean is over about so many checks at most: content changes, and a verdict of last month is none.
const MEMORY_CHECKS: u32 = 32;

/// A place in the catalogue. What stands there changes; see the digest that goes with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct ModelName {
    /// What it does.
    pub task: Task,
    /// Its cluster.
    pub cluster: String,
    /// Enlargement per axis, or pictures for one.
    pub scale: u32,
    /// Its tier.
    pub tier: Tier,
}

/// What one check found.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sample {
    /// PSNR of the model less that of the generic one, dB; none without a generic one.
    pub over_generic_db: Option<f64>,
    /// PSNR of the model less that of what is done without one (the plain scaler, the mean of two pictures), dB.
    pub over_plain_db: f64,
}

/// What is known of a model.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub struct Standing {
    /// Checks so far.
    pub checks: u32,
    /// Mean gain over the generic model, dB.
    pub over_generic_db: Option<f64>,
    /// Mean gain over what is done without a model, dB.
    pub over_plain_db: f64,
}

/// What follows from a check.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Judged {
    /// What is known now.
    pub standing: Standing,
    /// Whether the model was better in this check.
    pub wins: bool,
    /// Whether it is to be stopped now.
    pub stop: bool,
}

/// One page for each place of the catalogue that was ever checked.
#[derive(Debug)]
pub struct Book {
    at_least: u32,
    margin_db: f64,
    pages: HashMap<ModelName, Page>,
}

#[derive(Debug)]
struct Page {
    digest: String,
    standing: Standing,
    generic_checks: u32,
    stopped: bool,
}

impl Book {
    /// A model is judged after `at_least` checks, by whether its mean gain is at least `margin_db`.
    #[must_use]
    pub fn new(at_least: u32, margin_db: f64) -> Self {
        Self { at_least, margin_db, pages: HashMap::new() }
    }

    /// Writes down a check of the model that is in use under `name`. Another digest starts clean, and so does one that was
    /// stopped: it would not be in use if it had not been given another chance.
    pub fn record(&mut self, name: &ModelName, digest: &str, sample: Sample) -> Judged {
        let clean = || Page {
            digest: digest.to_owned(),
            standing: Standing::default(),
            generic_checks: 0,
            stopped: false,
        };
        let page = self.pages.entry(name.clone()).or_insert_with(clean);
        if page.digest != digest || page.stopped {
            *page = clean();
        }
        let standing = &mut page.standing;
        standing.checks = standing.checks.saturating_add(1);
        standing.over_plain_db = mean(standing.over_plain_db, sample.over_plain_db, standing.checks);
        if let Some(gain_db) = sample.over_generic_db {
            page.generic_checks = page.generic_checks.saturating_add(1);
            let before = standing.over_generic_db.unwrap_or_default();
            standing.over_generic_db = Some(mean(before, gain_db, page.generic_checks));
        }
        // What would be used in its place: the generic model, or none where there is no such.
        let decisive = standing.over_generic_db.unwrap_or(standing.over_plain_db);
        page.stopped = standing.checks >= self.at_least && decisive < self.margin_db;
        let wins = sample.over_generic_db.unwrap_or(sample.over_plain_db) >= self.margin_db;
        Judged { standing: *standing, wins, stop: page.stopped }
    }

    /// The places whose model was stopped.
    pub fn stopped(&self) -> impl Iterator<Item = &ModelName> {
        self.pages.iter().filter(|(_, page)| page.stopped).map(|(name, _)| name)
    }
}

/// The mean with one value more, which is the `count`th.
fn mean(before: f64, value: f64, count: u32) -> f64 {
    before + (value - before) / f64::from(count.clamp(1, MEMORY_CHECKS))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(tier: Tier) -> ModelName {
        ModelName { task: Task::Upscale, cluster: "game".to_owned(), scale: 2, tier }
    }

    fn sample(over_generic_db: f64) -> Sample {
        Sample { over_generic_db: Some(over_generic_db), over_plain_db: over_generic_db + 0.5 }
    }

    /// After which check the model is stopped, counted from 1.
    fn stopped_at(at_least: u32, margin_db: f64, gains: &[f64]) -> Option<usize> {
        let mut book = Book::new(at_least, margin_db);
        let mut stops = gains.iter().map(|gain| book.record(&name(Tier::Small), "a", sample(*gain)).stop);
        stops.position(|stop| stop).map(|at| at + 1)
    }

    #[test]
    fn verdicts() {
        for (at_least, margin_db, gains, expected) in [
            (3, 0.0, vec![-1.0, -1.0, -1.0, -1.0], Some(3)),
            (1, 0.0, vec![-0.01], Some(1)),
            (3, 0.0, vec![0.0; 9], None),
            (3, 0.0, vec![-1.0, -1.0, 2.5, 0.1], None), // the mean decides, not the count
            (3, 0.0, vec![1.0, 1.0, 1.0, -9.0], Some(4)),
            (3, 0.2, vec![0.19; 3], Some(3)),
            (3, -0.2, vec![-0.19; 9], None),
        ] {
            assert_eq!(stopped_at(at_least, margin_db, &gains), expected, "{at_least} {margin_db} {gains:?}");
        }
    }

    #[test]
    fn old_checks_are_forgotten() {
        let gains: Vec<f64> = [vec![1.0; 500], vec![-1.0; 60]].concat();
        let stopped = stopped_at(3, 0.0, &gains).map(|at| at - 500);
        assert!(stopped.is_some_and(|after| (10..40).contains(&after)), "{stopped:?}");
    }

    #[test]
    fn models_are_judged_apart_and_new_ones_start_clean() {
        let mut book = Book::new(2, 0.0);
        let (small, medium) = (name(Tier::Small), name(Tier::Medium));
        assert!(!book.record(&small, "a", sample(-1.0)).stop);
        assert!(!book.record(&medium, "a", sample(1.0)).stop);
        let judged = book.record(&small, "a", sample(-2.0));
        assert!(judged.stop && !judged.wins);
        assert_eq!((judged.standing.checks, judged.standing.over_generic_db), (2, Some(-1.5)));
        assert!((judged.standing.over_plain_db + 1.0).abs() < 1e-9);
        assert_eq!(book.stopped().collect::<Vec<_>>(), [&small]);

        // Another digest, and later the same again.
        assert_eq!(book.record(&small, "b", sample(1.0)).standing.checks, 1);
        assert_eq!(book.stopped().count(), 0);
        assert!(!book.record(&small, "a", sample(-1.0)).stop);
        assert!(book.record(&small, "a", sample(-1.0)).stop);
        assert!(!book.record(&small, "a", sample(-1.0)).stop, "given another chance");
    }

    #[test]
    fn what_enlarges_and_what_interpolates_are_judged_apart() {
        let mut book = Book::new(2, 0.0);
        let between = ModelName { task: Task::Interpolate, ..name(Tier::Small) };
        assert!(!book.record(&name(Tier::Small), "a", sample(-1.0)).stop);
        assert!(!book.record(&between, "a", sample(-1.0)).stop);
        assert!(book.record(&between, "a", sample(-1.0)).stop);
        assert_eq!(book.stopped().collect::<Vec<_>>(), [&between]);
    }

    #[test]
    fn without_a_generic_model_there_is_the_plain_scaler() {
        let mut book = Book::new(1, 0.0);
        let alone = |over_plain_db| Sample { over_generic_db: None, over_plain_db };
        assert!(!book.record(&name(Tier::Small), "a", alone(0.3)).stop);
        assert!(book.record(&name(Tier::Small), "a", alone(-0.9)).stop);
        // Once there is one, it is the one to beat.
        let both = Sample { over_generic_db: Some(0.1), over_plain_db: -2.0 };
        assert!(!book.record(&name(Tier::Large), "a", both).stop);
    }
}
