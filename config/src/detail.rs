//! How much of each picture dear tiers make anew, where a tier is to differ from the rest.

use crate::reader::Section;

/// Tiers that have a cheaper one below them, by their names in the catalogue.
const TIERS: [&str; 5] = ["m", "l", "v10", "v15", "v20"];

/// Shares of single tiers (0.05 to 1), in the order of [`TIERS`]; none: the share of all.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct DetailShareOf([Option<f64>; TIERS.len()]);

impl DetailShareOf {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let shares = TIERS.map(|tier| section.optional_number(tier, 0.05..=1.0));
        section.finish();
        Self(shares)
    }

    /// The share of `tier` (its name in the catalogue), if it has one of its own.
    #[must_use]
    pub fn get(&self, tier: &str) -> Option<f64> {
        TIERS.iter().zip(self.0).find(|(name, _)| **name == tier).and_then(|(_, share)| share)
    }

    /// The tiers that have one, with it.
    pub(crate) fn named(&self) -> impl Iterator<Item = (&'static str, f64)> {
        TIERS.into_iter().zip(self.0).filter_map(|(tier, share)| Some((tier, share?)))
    }

    /// `m=0.25 l=0.5`: what costs were learned under.
    #[must_use]
    pub fn text(&self) -> String {
        let named = TIERS.iter().zip(self.0).filter_map(|(tier, share)| Some(format!("{tier}={}", share?)));
        named.collect::<Vec<_>>().join(" ")
    }
}
