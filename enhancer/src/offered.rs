//! What the enhancer can make segments with, as others see it: sets that may be put into playlists, and models that were
//! refused, with the reason.

use std::sync::Arc;
use std::time::Duration;

use acuity_models::{ModelEntry, SetDescription, Sha256, Tier};

/// A set of which at least one model is verified, keeps its contract and has run here.
#[derive(Debug, Clone)]
pub struct OfferedSet {
    /// The kind of content its models were trained on.
    pub cluster: String,
    /// Enlargement per axis, 2..=4.
    pub scale: u32,
    /// The set's digest, 8 hexadecimal digits: what a [`crate::RenditionSpec`] names.
    pub digest: String,
    /// Its usable models, cheap to dear. Never empty.
    pub models: Vec<OfferedModel>,
}

/// A usable model.
#[derive(Debug, Clone)]
pub struct OfferedModel {
    /// Its id in the catalogue.
    pub id: String,
    /// Its place from cheap to dear.
    pub tier: Tier,
    /// What its file hashes to.
    pub sha256: Sha256,
    /// Trained numbers in it.
    pub parameters: u64,
    /// Size of its ONNX file; the bytes are [`crate::Enhancer::model_file`]'s to give.
    pub bytes: u64,
    /// Its entry in the catalogue.
    pub entry: Arc<ModelEntry>,
}

impl OfferedSet {
    /// What a client is told about the set.
    #[must_use]
    pub fn description(&self) -> SetDescription {
        let models = self.models.iter().map(|model| (&*model.entry, model.bytes));
        SetDescription::new(&self.cluster, self.scale, &self.digest, models)
    }
}

/// A model of the catalogue that is not used.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// What is wrong, in one word.
    pub reason: RefusalReason,
    /// What is wrong, for people.
    pub message: String,
}

/// What is wrong with a model.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum RefusalReason {
    /// Its entry in the catalogue is wrong.
    Entry,
    /// Its file is not there.
    Missing,
    /// Its file cannot be read.
    Unreadable,
    /// Its file is larger than any model.
    TooLarge,
    /// Its file is not the one the catalogue means: changed, cut short, mistaken.
    Digest,
    /// ONNX Runtime makes nothing of it, or cannot run it.
    Runtime,
    /// Its tensors have other names, types or shapes than its contract says.
    Contract,
    /// It runs, but what it gives is no enlarged picture: not a number, all black, another picture's.
    Output,
    /// The pictures of its cluster's furniture in it cannot be read.
    Overlay,
}

impl RefusalReason {
    /// Every reason, for tables and metrics.
    pub const ALL: [Self; 9] = [
        Self::Entry,
        Self::Missing,
        Self::Unreadable,
        Self::TooLarge,
        Self::Digest,
        Self::Runtime,
        Self::Contract,
        Self::Output,
        Self::Overlay,
    ];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Entry => "entry",
            Self::Missing => "missing",
            Self::Unreadable => "unreadable",
            Self::TooLarge => "too_large",
            Self::Digest => "digest",
            Self::Runtime => "runtime",
            Self::Contract => "contract",
            Self::Output => "output",
            Self::Overlay => "overlay",
        }
    }
}

/// For how long the enhancer keeps what nobody asks for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Keeping {
    /// A replaced set goes on serving its own renditions until nobody has asked for one this long. What it costs is the
    /// files' bytes, a few hundred kilobytes.
    pub retire_after: Duration,
    /// ONNX sessions, tens of megabytes each, are dropped when their model was not run this long.
    pub idle_after: Duration,
}

impl Default for Keeping {
    fn default() -> Self {
        // Longer than a viewer leaves a film paused, mostly.
        let retire_after = Duration::from_secs(60 * 60);
        // Long against what a session takes to make (tens of milliseconds), short against a day of many clusters.
        Self { retire_after, idle_after: Duration::from_secs(10 * 60) }
    }
}
