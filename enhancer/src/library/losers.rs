//! Models that lose against others, and until when at least they are kept out.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use acuity_models::Tier;

use crate::sets::SetName;

/// One is forgotten when a new catalogue brings it after its time, or does not know its set any more, so there are no more than
/// models.
#[derive(Default)]
pub(crate) struct Losers(HashMap<(SetName, Tier), Instant>);

impl Losers {
    /// Keeps a model out from now on.
    pub(crate) fn add(&mut self, name: &SetName, tier: Tier, at_least: Duration) {
        self.0.insert((name.clone(), tier), Instant::now() + at_least);
    }

    /// Takes out of a new catalogue's sets what is to be kept out of them.
    pub(crate) fn keep_out<M>(
        &mut self,
        named: &mut [(SetName, Vec<M>)],
        tier_of: impl Fn(&M) -> Tier,
        now: Instant,
    ) {
        self.0.retain(|(name, _), until| now < *until && named.iter().any(|(other, _)| other == name));
        for (name, models) in named {
            models.retain(|model| !self.0.contains_key(&(name.clone(), tier_of(model))));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn name(cluster: &str, digest: &str) -> SetName {
        SetName { cluster: cluster.to_owned(), scale: 2, digest: digest.to_owned() }
    }

    #[test]
    fn a_loser_stays_out_for_its_time_and_while_its_set_is_known() {
        let hour = Duration::from_secs(3600);
        let mut losers = Losers::default();
        losers.add(&name("game", "a"), Tier::Small, hour);
        let mut left = |named: &[&str], now: Instant| {
            let both = vec![Tier::Small, Tier::Medium];
            let mut sets: Vec<_> = named.iter().map(|digest| (name("game", digest), both.clone())).collect();
            losers.keep_out(&mut sets, |tier| *tier, now);
            sets.into_iter().map(|(_, models)| models.len()).collect::<Vec<_>>()
        };
        let now = Instant::now();
        assert_eq!(left(&["a", "b"], now), [1, 2], "its tier alone, and of its digest alone");
        assert_eq!(left(&["a"], now), [1]);
        assert_eq!(left(&["b"], now), [2]);
        assert_eq!(left(&["a"], now), [2], "its set was gone: it is forgotten");
        losers.add(&name("game", "a"), Tier::Medium, hour);
        let mut sets = vec![(name("game", "a"), vec![Tier::Medium])];
        losers.keep_out(&mut sets, |tier| *tier, now + 2 * hour);
        assert_eq!(sets.first().map(|(_, models)| models.len()), Some(1), "its time is over");
    }
}
