//! From a models' directory to a document: what who publishes does.

use std::io;

use super::{
    CLUSTERS_LIMIT_BYTES, FORMAT, Manifest, ManifestFault, Path, PathBuf, RECORD_LIMIT_BYTES, StoredFile,
    Table, Value, ending,
};
use crate::catalogue::{CatalogueError, FILE_NAME, RejectedEntry};
use crate::clusters::FILE_NAME as CLUSTERS_NAME;
use crate::digest::{DigestError, DigestState, Sha256, read_bounded};
use crate::{Catalogue, ClusterFiles, Clusters, ClustersError};

/// Why a directory cannot be published: everything in it has to be right.
#[derive(Debug, thiserror::Error)]
pub enum PackError {
    /// There is no catalogue.
    #[error(transparent)]
    Catalogue(#[from] CatalogueError),
    /// An entry is wrong.
    #[error(transparent)]
    Entry(#[from] RejectedEntry),
    /// A model's file is not what the catalogue says.
    #[error("model {id}: its file is {state}")]
    Model {
        /// Which.
        id: String,
        /// What is wrong with it.
        state: DigestState,
    },
    /// The clusters are not usable.
    #[error(transparent)]
    Clusters(#[from] ClustersError),
    /// A file cannot be read.
    #[error(transparent)]
    File(#[from] DigestError),
    /// The catalogue cannot be read a second time, or written anew.
    #[error("the catalogue cannot be written anew: {0}")]
    Text(String),
    /// What came of it would not be taken.
    #[error(transparent)]
    Manifest(#[from] ManifestFault),
}

/// A document, and where each of its files is now.
pub type Packed = (Manifest, Vec<(StoredFile, PathBuf)>);

/// Takes files in and says how the document names them.
#[derive(Default)]
struct Packing(Vec<(StoredFile, PathBuf)>);

impl Packing {
    /// (its name, its digest, its length)
    fn add(&mut self, path: &Path, ending: &str) -> Result<(Value, Value, Value), PackError> {
        let bytes = read_bounded(path)?;
        let (sha256, length) = (Sha256::of(&bytes), bytes.len() as u64);
        let file = StoredFile { sha256, bytes: length, ending: ending.to_owned() };
        let name = file.name();
        if !self.0.iter().any(|(known, _)| *known == file) {
            self.0.push((file, path.to_owned()));
        }
        let length = i64::try_from(length).unwrap_or(i64::MAX);
        Ok((name.into(), sha256.to_string().into(), length.into()))
    }

    /// Rewrites what a table says of a file.
    fn rewrite(&mut self, table: &mut Table, path: &Path, ending: &str) -> Result<(), PackError> {
        let (name, sha256, bytes) = self.add(path, ending)?;
        for (key, value) in [("file", name), ("sha256", sha256), ("bytes", bytes)] {
            table.insert(key.to_owned(), value);
        }
        Ok(())
    }
}

impl Manifest {
    /// The document of a directory, whose models, clusters and records must all be there and right. The same directory always gives the
    /// same document; comments and the order of keys are not kept.
    ///
    /// # Errors
    /// What is wrong with the first thing that is.
    pub fn of_directory(directory: &Path) -> Result<Packed, PackError> {
        let catalogue = Catalogue::load(directory)?;
        if let Some(rejected) = catalogue.rejected().first() {
            return Err(rejected.clone().into());
        }
        for (entry, state) in catalogue.verify() {
            if state != DigestState::Verified {
                return Err(PackError::Model { id: entry.id.clone(), state });
            }
        }
        let path = directory.join(FILE_NAME);
        let text = std::fs::read_to_string(&path).map_err(|error| PackError::Text(error.to_string()))?;
        let mut document: Table =
            toml::from_str(&text).map_err(|error| PackError::Text(error.to_string()))?;
        let mut packing = Packing::default();
        if let Some(files) = cluster_files(&catalogue, directory)? {
            Clusters::load_files(&files)?;
            let (mut clusters, mut embedding) = (Table::new(), Table::new());
            packing.rewrite(&mut clusters, &files.clusters, "toml")?;
            packing.rewrite(&mut embedding, &files.embedding, "onnx")?;
            clusters.insert("embedding".to_owned(), Value::Table(embedding));
            document.insert("clusters".to_owned(), Value::Table(clusters));
        }
        let models = document.get_mut("model").and_then(Value::as_array_mut);
        for model in models.into_iter().flatten().filter_map(Value::as_table_mut) {
            let id = model.get("id").and_then(Value::as_str).unwrap_or_default();
            // All entries were taken, so each is there.
            let Some(entry) = catalogue.by_id(id) else { continue };
            packing.rewrite(model, &entry.file, "onnx")?;
            if let (Some(int8), Some(table)) =
                (&entry.int8, model.get_mut("int8").and_then(Value::as_table_mut))
            {
                packing.rewrite(table, &int8.file, "onnx")?;
            }
            if let Some(record) = &entry.record {
                let (name, sha256, bytes) = packing.add(record, ending(&record.to_string_lossy()))?;
                for (key, value) in [("record", name), ("record_sha256", sha256), ("record_bytes", bytes)] {
                    model.insert(key.to_owned(), value);
                }
            }
        }
        document.insert("format".to_owned(), FORMAT.into());
        let text = toml::to_string(&document).map_err(|error| PackError::Text(error.to_string()))?;
        // Its own reader has the last word: what this one does not take, no edge does.
        let manifest = Self::parse(text.as_bytes(), Path::new(""), u64::MAX)?;
        Ok((manifest, packing.0))
    }
}

/// Where a directory's clusters are, if it has any.
fn cluster_files(catalogue: &Catalogue, directory: &Path) -> Result<Option<ClusterFiles>, PackError> {
    if let Some(files) = catalogue.cluster_files() {
        return Ok(Some(files.clone()));
    }
    let clusters = directory.join(CLUSTERS_NAME);
    let text = match std::fs::metadata(&clusters) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(None),
        Ok(facts) if facts.len() > CLUSTERS_LIMIT_BYTES => {
            return Err(ClustersError::TooLarge { path: clusters, limit_bytes: CLUSTERS_LIMIT_BYTES }.into());
        }
        _ => std::fs::read_to_string(&clusters)
            .map_err(|source| ClustersError::Unreadable { path: clusters.clone(), source })?,
    };
    // What else is wrong with it says whoever reads all of it, in a moment.
    let table: Table = toml::from_str(&text).map_err(|error| PackError::Text(error.to_string()))?;
    let named = table.get("embedding").and_then(|embedding| embedding.get("file")).and_then(Value::as_str);
    let embedding = named.unwrap_or("embedding.onnx");
    let embedding = crate::entry::below(directory, "embedding.file", embedding)
        .map_err(|fault| PackError::Text(format!("{}: {fault}", clusters.display())))?;
    Ok(Some(ClusterFiles { clusters, embedding }))
}

// A record is read like a model's file, and bounded by the document's reader.
const _: () = assert!(RECORD_LIMIT_BYTES < crate::digest::MODEL_LIMIT_BYTES);
