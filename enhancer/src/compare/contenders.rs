//! Who takes part in a comparison, whatever they do to pictures. Pure.

use std::sync::Arc;

use acuity_models::Tier;

use super::score::Errors;
use super::{CompareError, Comparison, TierComparison};

/// The tiers that are judged, and who is in it for them.
pub(super) struct Contenders<M> {
    /// Each tier with the places of its own contender and of the generic one.
    tiers: Vec<(Tier, usize, Option<usize>)>,
    all: Vec<Contender<M>>,
}

/// A network that is compared.
pub(super) struct Contender<M> {
    pub(super) model: Arc<M>,
    pub(super) errors: Errors,
}

impl<M> Contenders<M> {
    /// For each of `tiers` its own model, and the generic one that would be used instead: of the same tier, else the next cheaper one,
    /// else the cheapest. Both lists cheap to dear. A model that stands for several tiers takes part once.
    pub(super) fn new(
        tiers: &[Tier],
        (own, generic): (&[Arc<M>], &[Arc<M>]),
        tier_of: impl Fn(&M) -> Tier,
    ) -> Result<Self, CompareError> {
        let mut contenders = Self { tiers: Vec::with_capacity(tiers.len()), all: Vec::new() };
        for &tier in tiers {
            let own = own.iter().find(|model| tier_of(model) == tier).ok_or(CompareError::NoModel)?;
            let same_or_below = generic.iter().rev().find(|model| tier_of(model) <= tier);
            let own = contenders.enter(own);
            let instead = same_or_below.or(generic.first()).map(|model| contenders.enter(model));
            contenders.tiers.push((tier, own, instead));
        }
        if contenders.tiers.is_empty() { Err(CompareError::NoModel) } else { Ok(contenders) }
    }

    fn enter(&mut self, model: &Arc<M>) -> usize {
        let same = self.all.iter().position(|other| Arc::ptr_eq(&other.model, model));
        same.unwrap_or_else(|| {
            self.all.push(Contender { model: Arc::clone(model), errors: Errors::default() });
            self.all.len() - 1
        })
    }

    pub(super) fn len(&self) -> usize {
        self.all.len()
    }

    pub(super) fn get_mut(&mut self, place: usize) -> Option<&mut Contender<M>> {
        self.all.get_mut(place)
    }

    /// What came of it, over so many pictures.
    pub(super) fn result(&self, frames: usize, plain_db: f64) -> Comparison {
        let db = |place: usize| self.all.get(place).map(|contender| contender.errors.db());
        let tiers = self.tiers.iter().filter_map(|&(tier, own, generic)| {
            Some(TierComparison { tier, own_db: db(own)?, generic_db: generic.and_then(db) })
        });
        Comparison { frames: u32::try_from(frames).unwrap_or(u32::MAX), plain_db, tiers: tiers.collect() }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// Who stands against each tier, and how many take part.
    fn field(tiers: &[Tier], own: &[Tier], generic: &[Tier]) -> Option<(Vec<Option<Tier>>, usize)> {
        let models = |tiers: &[Tier]| tiers.iter().map(|tier| Arc::new(*tier)).collect::<Vec<_>>();
        let (own, generic) = (models(own), models(generic));
        let found = Contenders::new(tiers, (&own, &generic), |tier| *tier).ok()?;
        let against = |&(_, _, instead): &(Tier, usize, Option<usize>)| {
            instead.map(|place| *found.all.get(place).unwrap().model)
        };
        Some((found.tiers.iter().map(against).collect(), found.len()))
    }

    #[test]
    fn each_tier_is_against_what_would_be_used_instead() {
        use Tier::{Large, Medium, Small};
        for (tiers, own, generic, expected) in [
            (vec![Small], vec![Small], vec![Small, Medium], Some((vec![Some(Small)], 2))),
            (vec![Large], vec![Small, Large], vec![Small, Medium], Some((vec![Some(Medium)], 2))),
            (vec![Small], vec![Small], vec![Medium], Some((vec![Some(Medium)], 2))),
            (vec![Small, Large], vec![Small, Large], vec![Small], Some((vec![Some(Small); 2], 3))),
            (vec![Small], vec![Small], vec![], Some((vec![None], 1))),
            (vec![Medium], vec![Small], vec![Small], None),
            (vec![Small, Medium], vec![Small], vec![Small], None),
            (vec![], vec![Small], vec![Small], None),
        ] {
            assert_eq!(field(&tiers, &own, &generic), expected, "{tiers:?} of {own:?} against {generic:?}");
        }
    }

    #[test]
    fn one_model_takes_part_once() {
        let model = Arc::new(Tier::Small);
        let found =
            Contenders::new(&[Tier::Small], (&[Arc::clone(&model)], &[Arc::clone(&model)]), |tier| *tier)
                .unwrap();
        let result = found.result(3, 30.0);
        assert_eq!((found.len(), result.frames), (1, 3));
        assert_eq!(result.tiers.first().unwrap().generic_db, Some(result.tiers.first().unwrap().own_db));
    }
}
