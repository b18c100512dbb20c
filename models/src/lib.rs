//! Which models exist: for which content, scale and tier; what they measured; and whether a file is the model it claims
//! to be.
//!
//! The catalogue is `catalogue.toml` in a directory, with the ONNX files beside it. An entry that is wrong is reported
//! and left out; it never takes the others down, and an edge without any model still serves. This crate does not run
//! networks: the enhancer does, with the bytes that [`ModelEntry::read_verified`] gives it.
//!
//! A [`Manifest`] is a catalogue that can travel: each file is named by its digest, and the catalogue by its own.

#![forbid(unsafe_code)]

mod catalogue;
mod clusters;
mod contract;
mod description;
mod digest;
mod entry;
mod int8;
mod interpolation;
mod manifest;
mod set;
mod watch;

pub use catalogue::{Catalogue, CatalogueError, ClusterFiles, RejectedEntry};
pub use clusters::{Assigned, Clusters, ClustersError, Nearest};
pub use contract::{ElementType, TensorContract};
pub use description::{
    ContractDescription, Dimension, Int8Description, ModelDescription, SetDescription, TensorDescription,
};
pub use digest::{DigestError, DigestState, MODEL_LIMIT_BYTES, NotADigest, Sha256, Summing};
pub use entry::{EntryFault, Measured, ModelEntry, Task, Tier, UnknownTier};
pub use int8::Int8File;
pub use interpolation::{Interpolation, Interpolator, UnknownInterpolator};
pub use manifest::{CATALOGUE_LIMIT_BYTES, Manifest, ManifestFault, PackError, Packed, StoredFile};
pub use set::ModelSet;
pub use watch::{Poll, Watch, WatchEvent};

#[cfg(test)]
mod tests;
