//! The int8 twin of a model: the same network with weights and activations of eight bits (ONNX's QDQ form).
//!
//! On a processor it takes a third of the time. Which of the two runs is for the enhancer to find out; both keep one contract,
//! and the trainer publishes a twin only if its pictures are as good to a twentieth of a decibel.

use std::path::{Path, PathBuf};

use serde::Deserialize;

use crate::digest::{DigestError, Sha256, read_as};
use crate::entry::{EntryFault, below};

/// An int8 file as the catalogue describes it.
#[derive(Clone, Debug, PartialEq)]
pub struct Int8File {
    /// The ONNX file, joined to the catalogue's directory.
    pub file: PathBuf,
    /// What the file's bytes must hash to.
    pub sha256: Sha256,
    /// Luma PSNR that it loses against the float file on held-out video, in dB; below 0 where it gains.
    pub loss_db: Option<f64>,
}

impl Int8File {
    /// Reads the file and gives its bytes if they are the ones the catalogue means.
    ///
    /// # Errors
    /// When the file is missing, unreadable, larger than [`crate::MODEL_LIMIT_BYTES`] or another one.
    pub fn read_verified(&self) -> Result<Vec<u8>, DigestError> {
        read_as(&self.file, self.sha256)
    }
}

/// The table as it is written.
#[derive(Deserialize)]
pub(crate) struct RawInt8 {
    file: String,
    sha256: String,
    loss_db: Option<f64>,
}

impl RawInt8 {
    pub(crate) fn check(self, directory: &Path) -> Result<Int8File, EntryFault> {
        if self.loss_db.is_some_and(|loss| !loss.is_finite()) {
            return Err(EntryFault::Figure("int8.loss_db"));
        }
        Ok(Int8File {
            file: below(directory, "int8.file", &self.file)?,
            sha256: self.sha256.parse().map_err(|_| EntryFault::Digest(self.sha256))?,
            loss_db: self.loss_db,
        })
    }
}
