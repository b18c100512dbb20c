//! The catalogue: `catalogue.toml`, read entry by entry.

use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};
use std::sync::Arc;

use serde::Deserialize;
use toml::Spanned;

use crate::digest::{DigestError, DigestState};
use crate::entry::{EntryFault, ModelEntry, RawEntry, Task, below};
use crate::set::ModelSet;

/// The catalogue's name in its directory.
pub(crate) const FILE_NAME: &str = "catalogue.toml";
/// Largest catalogue, in bytes: room for all the entries there may be, about 2 KiB each.
pub(crate) const FILE_LIMIT_BYTES: u64 = 4 << 20;
/// Most entries: the paper's hundreds of clusters, three tiers each, three scales.
const ENTRY_LIMIT: usize = 2048;

/// The models of a directory.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Catalogue {
    directory: PathBuf,
    entries: Vec<Arc<ModelEntry>>,
    /// Those that interpolate.
    interpolators: Vec<Arc<ModelEntry>>,
    /// Where it says that the clusters are.
    clusters: Option<ClusterFiles>,
    rejected: Vec<RejectedEntry>,
}

/// Where the files are by which streams are assigned to clusters, in a catalogue that says so; one that does not has them beside it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterFiles {
    /// As `clusters.toml`.
    pub clusters: PathBuf,
    /// As `embedding.onnx`.
    pub embedding: PathBuf,
}

/// An entry that was left out.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("model {} (line {line}): {fault}", .id.as_deref().unwrap_or("without id"))]
pub struct RejectedEntry {
    /// Its id, if it has one.
    pub id: Option<String>,
    /// Its line in `catalogue.toml`, from 1.
    pub line: usize,
    /// What is wrong with it.
    #[source]
    pub fault: EntryFault,
}

/// Why there is no catalogue at all.
#[derive(Debug, thiserror::Error)]
pub enum CatalogueError {
    /// There is no `catalogue.toml`.
    #[error("there is no {path:?}; `models.directory` must name the directory with the catalogue")]
    Missing {
        /// The file.
        path: PathBuf,
    },
    /// It could not be read.
    #[error("{path:?} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: std::io::Error,
    },
    /// It is larger than a catalogue may be.
    #[error("{path:?} is larger than {FILE_LIMIT_BYTES} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// It has no bytes. Only a watch minds: at the start of an edge an empty catalogue is one without models.
    #[error("{path:?} is empty; a catalogue without models has a comment at least")]
    Empty {
        /// The file.
        path: PathBuf,
    },
    /// It is not TOML, or `model` is not an array of tables.
    #[error("{path:?} cannot be understood")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
}

/// The file as such; what an entry holds is looked at one by one.
#[derive(Deserialize)]
struct RawCatalogue {
    #[serde(default)]
    model: Vec<Spanned<toml::Value>>,
    clusters: Option<Spanned<RawClusterFiles>>,
}

#[derive(Deserialize)]
struct RawClusterFiles {
    file: String,
    embedding: RawFile,
}

#[derive(Deserialize)]
struct RawFile {
    file: String,
}

impl Catalogue {
    /// Reads `catalogue.toml` in `directory`. No model's file is opened.
    ///
    /// # Errors
    /// When there is no catalogue or it is not one. Entries that are wrong are in [`Catalogue::rejected`].
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, CatalogueError> {
        let directory = directory.as_ref();
        let path = directory.join(FILE_NAME);
        let mut text = String::new();
        match File::open(&path).and_then(|file| file.take(FILE_LIMIT_BYTES + 1).read_to_string(&mut text)) {
            Ok(_) if text.len() as u64 > FILE_LIMIT_BYTES => return Err(CatalogueError::TooLarge { path }),
            Ok(_) => {}
            Err(error) if error.kind() == ErrorKind::NotFound => {
                return Err(CatalogueError::Missing { path });
            }
            Err(source) => return Err(CatalogueError::Unreadable { path, source }),
        }
        Self::parse(&text, directory)
            .map_err(|source| CatalogueError::Malformed { path, source: Box::new(source) })
    }

    /// No models: what an edge has that was told to do without.
    #[must_use]
    pub fn empty() -> Self {
        Self::default()
    }

    /// The same catalogue with one model that enlarges and the cheaper ones of its set; `None` if there is no such id.
    #[must_use]
    pub fn up_to(&self, id: &str) -> Option<Self> {
        let best = self.entries.iter().find(|entry| entry.id == id)?;
        let belongs = |entry: &&Arc<ModelEntry>| {
            (&entry.cluster, entry.scale) == (&best.cluster, best.scale) && entry.tier <= best.tier
        };
        let entries = self.entries.iter().filter(belongs).cloned().collect();
        let (directory, interpolators) = (self.directory.clone(), self.interpolators.clone());
        Some(Self {
            directory,
            entries,
            interpolators,
            clusters: self.clusters.clone(),
            rejected: Vec::new(),
        })
    }

    /// The same catalogue with the models that interpolate alone.
    #[must_use]
    pub fn interpolating(&self) -> Self {
        Self { entries: Vec::new(), rejected: Vec::new(), ..self.clone() }
    }

    /// The same catalogue without the models of that one's set that interpolate at a dearer tier; unchanged if there is no such id.
    #[must_use]
    pub fn interpolating_up_to(mut self, id: &str) -> Self {
        if let Some(best) = self.interpolators.iter().find(|entry| entry.id == id).cloned() {
            self.interpolators.retain(|entry| entry.cluster != best.cluster || entry.tier <= best.tier);
        }
        self
    }

    pub(crate) fn parse(text: &str, directory: &Path) -> Result<Self, toml::de::Error> {
        let raw: RawCatalogue = toml::from_str(text)?;
        let mut catalogue = Self { directory: directory.to_owned(), ..Self::default() };
        let line_of = |span: std::ops::Range<usize>| {
            let before = text.get(..span.start).unwrap_or(text);
            before.bytes().filter(|&byte| byte == b'\n').count() + 1
        };
        if let Some(clusters) = raw.clusters {
            let line = line_of(clusters.span());
            let RawClusterFiles { file, embedding } = clusters.into_inner();
            let clusters = below(directory, "clusters.file", &file);
            let embedding = below(directory, "clusters.embedding.file", &embedding.file);
            match clusters.and_then(|clusters| Ok(ClusterFiles { clusters, embedding: embedding? })) {
                Ok(files) => catalogue.clusters = Some(files),
                Err(fault) => {
                    let id = Some("clusters".to_owned());
                    catalogue.rejected.push(RejectedEntry { id, line, fault });
                }
            }
        }
        for (index, value) in raw.model.into_iter().enumerate() {
            let line = line_of(value.span());
            let value = value.into_inner();
            let id = value.get("id").and_then(toml::Value::as_str).map(str::to_owned);
            match catalogue.admit(index, value) {
                Ok(entry) if entry.task == Task::Interpolate => catalogue.interpolators.push(Arc::new(entry)),
                Ok(entry) => catalogue.entries.push(Arc::new(entry)),
                Err(fault) => catalogue.rejected.push(RejectedEntry { id, line, fault }),
            }
        }
        Ok(catalogue)
    }

    fn admit(&self, index: usize, value: toml::Value) -> Result<ModelEntry, EntryFault> {
        if index >= ENTRY_LIMIT {
            return Err(EntryFault::TooMany(ENTRY_LIMIT));
        }
        let raw: RawEntry = value
            .try_into()
            .map_err(|error: toml::de::Error| EntryFault::Malformed(error.message().to_owned()))?;
        let entry = raw.check(&self.directory)?;
        if self.by_id(&entry.id).is_some() {
            return Err(EntryFault::DuplicateId);
        }
        let place = |other: &&Arc<ModelEntry>| {
            (other.task, &other.cluster, other.scale, other.tier)
                == (entry.task, &entry.cluster, entry.scale, entry.tier)
        };
        if let Some(other) = self.everything().find(place) {
            return Err(EntryFault::DuplicatePlace(other.id.clone()));
        }
        Ok(entry)
    }

    /// The directory it was read from.
    #[must_use]
    pub fn directory(&self) -> &Path {
        &self.directory
    }

    /// Where it says that the clusters' files are.
    #[must_use]
    pub fn cluster_files(&self) -> Option<&ClusterFiles> {
        self.clusters.as_ref()
    }

    /// All usable entries: those that enlarge, then those that interpolate.
    pub fn everything(&self) -> impl Iterator<Item = &Arc<ModelEntry>> {
        self.entries.iter().chain(&self.interpolators)
    }

    /// The usable entries that enlarge, in the catalogue's order.
    #[must_use]
    pub fn entries(&self) -> &[Arc<ModelEntry>] {
        &self.entries
    }

    /// The entries that were left out, in the catalogue's order.
    #[must_use]
    pub fn rejected(&self) -> &[RejectedEntry] {
        &self.rejected
    }

    /// The entry of that id.
    #[must_use]
    pub fn by_id(&self, id: &str) -> Option<&Arc<ModelEntry>> {
        self.everything().find(|entry| entry.id == id)
    }

    /// The sets that interpolate, by cluster.
    #[must_use]
    pub fn interpolators(&self) -> Vec<ModelSet> {
        let mut clusters: Vec<&str> = self.interpolators.iter().map(|entry| entry.cluster.as_str()).collect();
        clusters.sort_unstable();
        clusters.dedup();
        let set = |cluster: &str| {
            let own = self.interpolators.iter().filter(|entry| entry.cluster == cluster);
            let mut entries: Vec<Arc<ModelEntry>> = own.cloned().collect();
            entries.sort_by_key(|entry| entry.tier);
            ModelSet::new(cluster.to_owned(), 2, entries)
        };
        clusters.into_iter().map(set).collect()
    }

    /// All sets that enlarge, by cluster, then scale.
    #[must_use]
    pub fn sets(&self) -> Vec<ModelSet> {
        let mut places: Vec<(&str, u32)> =
            self.entries.iter().map(|entry| (entry.cluster.as_str(), entry.scale)).collect();
        places.sort_unstable();
        places.dedup();
        places.into_iter().filter_map(|(cluster, scale)| self.find(cluster, scale)).collect()
    }

    /// The set that enlarges content of one cluster by one scale.
    #[must_use]
    pub fn find(&self, cluster: &str, scale: u32) -> Option<ModelSet> {
        let mut entries: Vec<Arc<ModelEntry>> = self
            .entries
            .iter()
            .filter(|entry| entry.cluster == cluster && entry.scale == scale)
            .cloned()
            .collect();
        entries.sort_by_key(|entry| entry.tier);
        (!entries.is_empty()).then(|| ModelSet::new(cluster.to_owned(), scale, entries))
    }

    /// Reads every model's file and says whether it is the one that is meant, in the catalogue's order.
    #[must_use]
    pub fn verify(&self) -> Vec<(Arc<ModelEntry>, DigestState)> {
        self.everything().map(|entry| (Arc::clone(entry), entry.digest_state())).collect()
    }

    /// The bytes of a model, verified: see [`ModelEntry::read_verified`].
    ///
    /// # Errors
    /// When its file is missing, unreadable or another one.
    pub fn read_verified(&self, entry: &ModelEntry) -> Result<Vec<u8>, DigestError> {
        entry.read_verified()
    }
}
