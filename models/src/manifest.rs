//! A catalogue that can travel: one document, named by its own digest, in which every file is named by its.
//!
//! It is a `catalogue.toml` like any other, so that whoever reads catalogues reads it as it came, and what a directory holds can be told by
//! `sha256sum catalogue.toml`. What is more: `format`, and for every file its length, so that nobody is led to fetch without end. A file
//! is always called `sha256/<digest>.<ending>`; that name follows from the digest, so that no document can name a place of its own choice.
//!
//! A document is good or it is not. Elsewhere an entry that is wrong is left out; here it spoils the whole, because who takes a catalogue
//! from far away wants what was published or what there was before, and nothing between.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use toml::{Table, Value};

use crate::catalogue::{Catalogue, FILE_LIMIT_BYTES};
use crate::clusters::{EMBEDDING_LIMIT_BYTES, FILE_LIMIT_BYTES as CLUSTERS_LIMIT_BYTES};
use crate::digest::{MODEL_LIMIT_BYTES, Sha256};
use crate::entry::EntryFault;

mod pack;

pub use pack::{PackError, Packed};

/// Largest document, in bytes.
pub const CATALOGUE_LIMIT_BYTES: u64 = FILE_LIMIT_BYTES;
/// Largest record of a training, in bytes: pages of text.
const RECORD_LIMIT_BYTES: u64 = 1 << 20;
/// The only form of the document there is so far.
const FORMAT: i64 = 1;
/// The folder of files.
const FOLDER: &str = "sha256";
/// Longest ending of a record's name.
const ENDING_LIMIT_BYTES: usize = 8;

/// A document that is good in itself. Whether the files are what it says is found out when they are read.
#[derive(Clone, Debug, PartialEq)]
pub struct Manifest {
    digest: Sha256,
    text: String,
    catalogue: Catalogue,
    files: Vec<StoredFile>,
}

/// A file that a document names.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct StoredFile {
    /// What its bytes hash to.
    pub sha256: Sha256,
    /// Its length.
    pub bytes: u64,
    /// How its name ends: `onnx`, `toml`, `md`.
    ending: String,
}

/// Why a document is not taken.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ManifestFault {
    /// It is not what such a document is.
    #[error("the catalogue cannot be understood: {0}")]
    Malformed(String),
    /// It names a file by another name than its digest's, somewhere else perhaps.
    #[error("{place}: {name:?} is not the name of a file of this digest, {wanted:?}")]
    Name {
        /// Which entry.
        place: String,
        /// What it says.
        name: String,
        /// What it would have to say.
        wanted: String,
    },
    /// It, a file or all files are larger than they may be.
    #[error("{what} has {bytes} bytes; at most {limit_bytes} are taken")]
    TooLarge {
        /// What is.
        what: String,
        /// How large.
        bytes: u64,
        /// How large it may be.
        limit_bytes: u64,
    },
    /// There is no model in it. Who wants none switches routes off; a document without any is a mistake of who made it.
    #[error("the catalogue has no models")]
    Empty,
}

impl ManifestFault {
    /// The metric label.
    #[must_use]
    pub fn label(&self) -> &'static str {
        match self {
            Self::Malformed(_) => "malformed",
            Self::Name { .. } => "name",
            Self::TooLarge { .. } => "too_large",
            Self::Empty => "empty",
        }
    }
}

impl StoredFile {
    /// Its name below the catalogue's directory, and below the store's root.
    #[must_use]
    pub fn name(&self) -> String {
        format!("{FOLDER}/{}.{}", self.sha256, self.ending)
    }
}

/// What is said of a file beside what every catalogue says.
#[derive(Deserialize)]
struct RawFile {
    file: String,
    sha256: String,
    bytes: u64,
}

#[derive(Deserialize)]
struct RawClusters {
    #[serde(flatten)]
    file: RawFile,
    embedding: RawFile,
}

#[derive(Deserialize)]
struct RawModel {
    #[serde(flatten)]
    file: RawFile,
    int8: Option<RawFile>,
    record: Option<String>,
    record_sha256: Option<String>,
    record_bytes: Option<u64>,
}

#[derive(Deserialize)]
struct RawManifest {
    format: i64,
    clusters: Option<RawClusters>,
    model: Vec<RawModel>,
}

impl Manifest {
    /// Reads a document. Its files' names are joined to `directory`; all files together may have `limit_bytes`.
    ///
    /// # Errors
    /// What is wrong with the first thing that is.
    pub fn parse(bytes: &[u8], directory: &Path, limit_bytes: u64) -> Result<Self, ManifestFault> {
        let size = bytes.len() as u64;
        if size > CATALOGUE_LIMIT_BYTES {
            let what = "the catalogue".to_owned();
            return Err(ManifestFault::TooLarge { what, bytes: size, limit_bytes: CATALOGUE_LIMIT_BYTES });
        }
        let malformed = |error: &dyn std::fmt::Display| ManifestFault::Malformed(error.to_string());
        let text = std::str::from_utf8(bytes).map_err(|error| malformed(&error))?;
        let catalogue = Catalogue::parse(text, directory).map_err(|error| malformed(&error.message()))?;
        if let Some(rejected) = catalogue.rejected().first() {
            let place = rejected.id.clone().unwrap_or_else(|| format!("line {}", rejected.line));
            return Err(match &rejected.fault {
                EntryFault::Outside { path, .. } => {
                    let wanted = format!("{FOLDER}/DIGEST");
                    ManifestFault::Name { place, name: path.clone(), wanted }
                }
                fault => ManifestFault::Malformed(format!("{place}: {fault}")),
            });
        }
        if catalogue.everything().next().is_none() {
            return Err(ManifestFault::Empty);
        }
        let raw: RawManifest = toml::from_str(text).map_err(|error| malformed(&error.message()))?;
        if raw.format != FORMAT {
            let said = format!("format {} is unknown; this version knows format {FORMAT}", raw.format);
            return Err(ManifestFault::Malformed(said));
        }
        let mut files = Files::default();
        if let Some(clusters) = raw.clusters {
            files.add("clusters", clusters.file, "toml", CLUSTERS_LIMIT_BYTES)?;
            files.add("clusters.embedding", clusters.embedding, "onnx", EMBEDDING_LIMIT_BYTES)?;
        }
        for (number, model) in raw.model.into_iter().enumerate() {
            let place = |part: &str| format!("model {}{part}", number + 1);
            files.add(&place(""), model.file, "onnx", MODEL_LIMIT_BYTES)?;
            if let Some(int8) = model.int8 {
                files.add(&place(" (int8)"), int8, "onnx", MODEL_LIMIT_BYTES)?;
            }
            let record = (model.record, model.record_sha256, model.record_bytes);
            match record {
                (None, None, None) => {}
                (Some(file), Some(sha256), Some(bytes)) => {
                    let ending = ending(&file).to_owned();
                    let file = RawFile { file, sha256, bytes };
                    files.add(&place(" (record)"), file, &ending, RECORD_LIMIT_BYTES)?;
                }
                _ => {
                    let said = format!("{}: needs record, record_sha256 and record_bytes", place(""));
                    return Err(ManifestFault::Malformed(said));
                }
            }
        }
        let files = files.settle(limit_bytes)?;
        Ok(Self { digest: Sha256::of(bytes), text: text.to_owned(), catalogue, files })
    }

    /// What it is named by.
    #[must_use]
    pub fn digest(&self) -> Sha256 {
        self.digest
    }

    /// The document, to be written as it came.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its models.
    #[must_use]
    pub fn catalogue(&self) -> &Catalogue {
        &self.catalogue
    }

    /// Every file that belongs to it, each once.
    #[must_use]
    pub fn files(&self) -> &[StoredFile] {
        &self.files
    }

    /// Bytes of all of them.
    #[must_use]
    pub fn total_bytes(&self) -> u64 {
        self.files.iter().map(|file| file.bytes).sum()
    }
}

/// How a name ends, if that can be an ending.
fn ending(name: &str) -> &str {
    let found = name.rsplit_once('.').map_or("", |(_, ending)| ending);
    let fits = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    if (1..=ENDING_LIMIT_BYTES).contains(&found.len()) && found.bytes().all(fits) { found } else { "txt" }
}

/// Files by their names, while they are gathered.
#[derive(Default)]
struct Files(BTreeMap<String, StoredFile>);

impl Files {
    fn add(
        &mut self,
        place: &str,
        raw: RawFile,
        ending: &str,
        limit_bytes: u64,
    ) -> Result<(), ManifestFault> {
        let sha256 = raw
            .sha256
            .parse()
            .map_err(|error| ManifestFault::Malformed(format!("{place}: {:?}: {error}", raw.sha256)))?;
        let file = StoredFile { sha256, bytes: raw.bytes, ending: ending.to_owned() };
        if raw.file != file.name() {
            return Err(ManifestFault::Name { place: place.to_owned(), name: raw.file, wanted: file.name() });
        }
        if raw.bytes == 0 {
            return Err(ManifestFault::Malformed(format!("{place}: a file without bytes")));
        }
        if raw.bytes > limit_bytes {
            return Err(ManifestFault::TooLarge { what: place.to_owned(), bytes: raw.bytes, limit_bytes });
        }
        let known = self.0.entry(file.name()).or_insert_with(|| file.clone());
        if known.bytes != file.bytes {
            let said =
                format!("{place}: {} is said to have {} and {} bytes", sha256, known.bytes, file.bytes);
            return Err(ManifestFault::Malformed(said));
        }
        Ok(())
    }

    fn settle(self, limit_bytes: u64) -> Result<Vec<StoredFile>, ManifestFault> {
        let files: Vec<StoredFile> = self.0.into_values().collect();
        let total = files.iter().fold(0_u64, |sum, file| sum.saturating_add(file.bytes));
        if total > limit_bytes {
            let what = "the catalogue with all its files".to_owned();
            return Err(ManifestFault::TooLarge { what, bytes: total, limit_bytes });
        }
        Ok(files)
    }
}

#[cfg(test)]
#[path = "manifest/tests.rs"]
mod tests;
