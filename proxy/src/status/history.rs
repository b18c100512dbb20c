//! A few looks at the instruments, for what has come in the last minutes.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use prometheus::proto::MetricFamily;

use super::figures::Figures;

/// How far back differences go.
pub(super) const WINDOW: Duration = Duration::from_secs(300);

/// Counters that differences are made of.
const COUNTERS: [&str; 11] = [
    "acuity_requests_total",
    "acuity_responses_total",
    "acuity_origin_bytes_total",
    "acuity_origin_requests_total",
    "acuity_player_bytes_total",
    "acuity_fallbacks_total",
    "acuity_cache_hits_total",
    "acuity_cache_misses_total",
    "acuity_enhancer_segments_total",
    "acuity_enhancer_deadlines_total",
    "acuity_limited_total",
];

/// The looks, oldest first.
#[derive(Default)]
pub(super) struct History(Mutex<VecDeque<(Instant, Figures)>>);

impl History {
    /// One more look; those that are too old are forgotten, but for one that the window reaches back to.
    pub(super) fn put(&self, at: Instant, families: &[MetricFamily]) {
        let figures = Figures::of(families, |name| COUNTERS.contains(&name));
        let mut looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        looks.push_back((at, figures));
        while looks.get(1).is_some_and(|(then, _)| at.saturating_duration_since(*then) >= WINDOW) {
            looks.pop_front();
        }
    }

    /// What has come since the oldest look, and how long ago that was.
    pub(super) fn since(&self, at: Instant, now: &Figures) -> (Figures, Duration) {
        let looks = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        match looks.front() {
            Some((then, before)) => (now.since(before), at.saturating_duration_since(*then)),
            None => (now.clone(), Duration::ZERO),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use prometheus::{IntCounter, Registry};

    use super::*;

    #[test]
    fn the_window_moves() {
        let registry = Registry::new();
        let counter = IntCounter::new("acuity_cache_hits_total", "hits").unwrap();
        registry.register(Box::new(counter.clone())).unwrap();
        let (history, start) = (History::default(), Instant::now());
        for minute in 0..30 {
            history.put(start + Duration::from_secs(60 * minute), &registry.gather());
            counter.inc();
        }
        let now = Figures::of(&registry.gather(), |_| true);
        let (come, over) = history.since(start + Duration::from_secs(60 * 30), &now);
        assert_eq!((come.sum("acuity_cache_hits_total", &[]), over), (6.0, Duration::from_secs(360)));
        assert_eq!(history.0.lock().unwrap().len(), 6);
    }
}
