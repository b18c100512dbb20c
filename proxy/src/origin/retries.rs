//! How many requests that went on to another origin may fail there too.
//!
//! A retry takes one from the reserve, and gives it back when that origin answers; every answered request puts a little back as well. So
//! where one origin fails and another serves, nothing is used up; where all fail, the reserve is gone at once and each request is
//! made once: an outage is not multiplied by the number of origins.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use acuity_config::RetriesConfig;

/// Thousandths of a retry, so that a share can be counted in whole numbers.
const ONE: u64 = 1000;

/// The reserve. Clones share it.
#[derive(Debug, Clone)]
pub struct Budget {
    left: Arc<AtomicU64>,
    most: u64,
    share: u64,
}

/// One retry that is under way. It goes back to the reserve when this is dropped.
#[derive(Debug)]
pub struct Retry(Option<Budget>);

impl Budget {
    /// A full reserve.
    #[must_use]
    pub fn new(config: &RetriesConfig) -> Self {
        let most = u64::from(config.reserve) * ONE;
        // Between 0 and 1, as the configuration says.
        let share = (config.share.clamp(0.0, 1.0) * ONE as f64) as u64;
        Self { left: Arc::new(AtomicU64::new(most)), most, share }
    }

    /// A request was answered.
    pub fn answered(&self) {
        self.put(self.share);
    }

    /// Leave for one more retry, if there is any.
    #[must_use]
    pub fn take(&self) -> Option<Retry> {
        let less = |left: u64| left.checked_sub(ONE);
        self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, less).ok()?;
        Some(Retry(Some(self.clone())))
    }

    fn put(&self, back: u64) {
        if back > 0 && self.left.load(Ordering::Relaxed) < self.most {
            let more = |left: u64| Some(left.saturating_add(back).min(self.most));
            let _ = self.left.fetch_update(Ordering::AcqRel, Ordering::Acquire, more);
        }
    }
}

impl Retry {
    /// It came to nothing, and is not given back.
    pub fn failed(mut self) {
        self.0 = None;
    }
}

impl Drop for Retry {
    fn drop(&mut self) {
        if let Some(budget) = self.0.take() {
            budget.put(ONE);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget(reserve: u32, share: f64) -> Budget {
        Budget::new(&RetriesConfig { reserve, share })
    }

    #[test]
    fn retries_that_are_answered_cost_nothing() {
        let budget = budget(2, 0.0);
        for _ in 0..1000 {
            let retries = [budget.take(), budget.take()];
            assert!(budget.take().is_none(), "those under way count");
            drop(retries);
        }
    }

    #[test]
    fn an_outage_is_not_multiplied() {
        let budget = budget(100, 0.2);
        let fails = |retry: Option<Retry>| retry.map(Retry::failed).is_some();
        let failed = (0..10_000).filter(|_| fails(budget.take())).count();
        assert_eq!(failed, 100);
        (0..50).for_each(|_| budget.answered());
        assert_eq!((0..50).filter(|_| fails(budget.take())).count(), 10, "a fifth of what is answered");
        (0..10_000).for_each(|_| budget.answered());
        assert_eq!((0..500).filter(|_| fails(budget.take())).count(), 100, "no more than the reserve");
    }

    #[test]
    fn none_is_none() {
        let budget = budget(0, 1.0);
        budget.answered();
        assert!(budget.take().is_none());
    }
}
