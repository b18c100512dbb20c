//! What segments can be made with, as playlists and the guard need to know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use acuity_enhancer::{Enhancer, OfferedInterpolator};
use acuity_models::Tier;

use crate::wire::{Nonsense, name, v1};

/// Sets that one worker may offer; a catalogue has some dozens.
const OFFERS_LIMIT: usize = 1024;

/// A set of models that enlarge, of which at least one may be used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Offer {
    /// The kind of content its models were trained on.
    pub cluster: String,
    /// Enlargement per axis, 2..=4.
    pub scale: u32,
    /// The set's digest, 8 hexadecimal digits.
    pub digest: String,
    /// Ids and tiers of its models, cheap to dear. Never empty.
    pub models: Vec<(String, Tier)>,
}

/// Of each key the one whose digest most lists hold, of equals the lowest digest.
fn agree<'a, T: Clone + 'a, K: Ord>(
    lists: impl Iterator<Item = &'a Vec<T>>,
    key: impl Fn(&T) -> K,
    digest: impl Fn(&T) -> &str,
) -> Vec<T> {
    let mut votes: BTreeMap<K, BTreeMap<String, (usize, &T)>> = BTreeMap::new();
    for set in lists.flatten() {
        let of_key = votes.entry(key(set)).or_default();
        of_key.entry(digest(set).to_owned()).or_insert((0, set)).0 += 1;
    }
    let winner = |digests: BTreeMap<String, (usize, &T)>| {
        let most = digests.values().map(|(count, _)| *count).max()?;
        digests.into_values().find(|(count, _)| *count == most).map(|(_, set)| set.clone())
    };
    votes.into_values().filter_map(winner).collect()
}

/// All that may be put into new playlists at one moment.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Offers {
    pub(crate) sets: Vec<Offer>,
    pub(crate) interpolators: Vec<OfferedInterpolator>,
}

impl Offers {
    /// The enhancer's.
    pub(crate) fn of(enhancer: &Enhancer) -> Self {
        let sets = enhancer.offered();
        let sets = sets.iter().map(|set| Offer {
            cluster: set.cluster.clone(),
            scale: set.scale,
            digest: set.digest.clone(),
            models: set.models.iter().map(|model| (model.id.clone(), model.tier)).collect(),
        });
        Self { sets: sets.collect(), interpolators: enhancer.interpolators() }
    }

    /// Of workers with different ones (models are being exchanged, machine by machine) what most of them have: for each cluster and scale one
    /// digest, the same on every edge that sees the same workers.
    pub(crate) fn agreed(all: &[Arc<Self>]) -> Self {
        let sets =
            agree(all.iter().map(|one| &one.sets), |set| (set.cluster.clone(), set.scale), |set| &set.digest);
        let interpolators =
            agree(all.iter().map(|one| &one.interpolators), |set| set.cluster.clone(), |set| &set.digest);
        Self { sets, interpolators }
    }

    /// For the other side; the rest of a standing is for the caller to say.
    pub(crate) fn message(&self) -> v1::Standing {
        let models = |models: &[(String, Tier)]| {
            let model = |(id, tier): &(String, Tier)| v1::OfferedModel {
                id: id.clone(),
                tier: tier.label().to_owned(),
            };
            models.iter().map(model).collect()
        };
        let set = |set: &Offer| v1::Offer {
            cluster: set.cluster.clone(),
            scale: set.scale,
            digest: set.digest.clone(),
            models: models(&set.models),
        };
        let interpolator = |set: &OfferedInterpolator| v1::Offer {
            cluster: set.cluster.clone(),
            scale: 1,
            digest: set.digest.clone(),
            models: models(&set.models),
        };
        v1::Standing {
            offers: self.sets.iter().map(set).collect(),
            interpolators: self.interpolators.iter().map(interpolator).collect(),
            ..v1::Standing::default()
        }
    }

    /// What the other side says.
    pub(crate) fn read(sets: Vec<v1::Offer>, interpolators: Vec<v1::Offer>) -> Result<Self, Nonsense> {
        let models = |models: Vec<v1::OfferedModel>| {
            let model = |model: v1::OfferedModel| {
                Ok((name(model.id)?, model.tier.parse().map_err(|_| Nonsense("a tier"))?))
            };
            models.into_iter().take(OFFERS_LIMIT).map(model).collect::<Result<Vec<_>, Nonsense>>()
        };
        let set = |set: v1::Offer| {
            Ok(Offer {
                cluster: name(set.cluster)?,
                scale: set.scale,
                digest: name(set.digest)?,
                models: models(set.models)?,
            })
        };
        let interpolator = |set: v1::Offer| {
            Ok(OfferedInterpolator {
                cluster: name(set.cluster)?,
                digest: name(set.digest)?,
                models: models(set.models)?,
            })
        };
        Ok(Self {
            sets: sets.into_iter().take(OFFERS_LIMIT).map(set).collect::<Result<_, Nonsense>>()?,
            interpolators: interpolators
                .into_iter()
                .take(OFFERS_LIMIT)
                .map(interpolator)
                .collect::<Result<_, Nonsense>>()?,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_most_have_is_offered() {
        let offers = |digests: &[(&str, &str)]| {
            let set = |(cluster, digest): &(&str, &str)| Offer {
                cluster: (*cluster).to_owned(),
                scale: 2,
                digest: (*digest).to_owned(),
                models: vec![("m".to_owned(), Tier::Small)],
            };
            Arc::new(Offers { sets: digests.iter().map(set).collect(), interpolators: Vec::new() })
        };
        let (old, new) = (offers(&[("a", "1")]), offers(&[("a", "2"), ("b", "3")]));
        let digests = |all: &[&Arc<Offers>]| {
            let all: Vec<_> = all.iter().map(|one| Arc::clone(one)).collect();
            Offers::agreed(&all).sets.into_iter().map(|set| set.digest).collect::<Vec<_>>()
        };
        assert_eq!(digests(&[&old, &new, &new]), ["2", "3"]);
        assert_eq!(digests(&[&new, &old, &old]), ["1", "3"]);
        // Whatever the order.
        assert_eq!(digests(&[&new, &old]), digests(&[&old, &new]));
        assert!(digests(&[]).is_empty());
    }
}
