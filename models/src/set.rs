//! A model set: what one rendition may be made with.
//!
//! A rendition's URL names a cluster and a set's digest, not a tier: the tier is chosen anew for each segment, by the
//! deadline. All tiers of a set therefore count as one thing in the URL and in the cache's key.

use std::sync::Arc;

use crate::digest::Sha256;
use crate::entry::{ModelEntry, Tier};

/// All models of one cluster and scale, cheap to dear, at most one for each tier. Never empty.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelSet {
    cluster: String,
    scale: u32,
    entries: Vec<Arc<ModelEntry>>,
}

impl ModelSet {
    /// `entries` are of one cluster and scale, sorted by tier, and not empty.
    pub(crate) fn new(cluster: String, scale: u32, entries: Vec<Arc<ModelEntry>>) -> Self {
        Self { cluster, scale, entries }
    }

    /// The kind of content its models were trained on.
    #[must_use]
    pub fn cluster(&self) -> &str {
        &self.cluster
    }

    /// How many times wider and higher the output is.
    #[must_use]
    pub fn scale(&self) -> u32 {
        self.scale
    }

    /// Its models, cheap to dear.
    #[must_use]
    pub fn entries(&self) -> &[Arc<ModelEntry>] {
        &self.entries
    }

    /// The model of one tier.
    #[must_use]
    pub fn tier(&self, tier: Tier) -> Option<&Arc<ModelEntry>> {
        self.entries.iter().find(|entry| entry.tier == tier)
    }

    /// Eight hexadecimal digits that stand for all its models: the start of the SHA-256 over their files' digests in
    /// ascending order, so that neither the catalogue's order nor a model's name matters. They tell one set of an
    /// operator from the next in a URL; they are no proof against forgery (the models' own digests are).
    #[must_use]
    pub fn digest(&self) -> String {
        let files = |entry: &Arc<ModelEntry>| {
            std::iter::once(entry.sha256).chain(entry.int8.as_ref().map(|int8| int8.sha256))
        };
        let mut digests: Vec<Sha256> = self.entries.iter().flat_map(files).collect();
        digests.sort_unstable();
        let together: Vec<u8> = digests.iter().flat_map(|digest| *digest.as_bytes()).collect();
        Sha256::of(&together).to_string().chars().take(8).collect()
    }
}
