//! Which kind of content a video is: `clusters.toml`, and the nearest of its clusters.
//!
//! The trainer writes the file, this crate only reads it: where each cluster lies in the space of the embedding (a short
//! vector that the enhancer computes from a segment's pictures), and how far around content still counts as its own.
//! What lies near nothing belongs to no cluster: a network trained on other content does more harm than the generic one,
//! so the answer in doubt is none.

use std::fs::{self, File};
use std::io::{Error, ErrorKind, Read};
use std::path::{Component, Path, PathBuf};

use serde::Deserialize;

use crate::catalogue::{Catalogue, ClusterFiles};
use crate::digest::Sha256;

/// The file's name in the catalogue's directory.
pub(crate) const FILE_NAME: &str = "clusters.toml";
/// Largest `clusters.toml`, in bytes: all the clusters there may be with some centroids each.
pub(crate) const FILE_LIMIT_BYTES: u64 = 16 << 20;
/// Largest embedding network, in bytes: it is run on every new stream, so it has to be small anyway.
pub(crate) const EMBEDDING_LIMIT_BYTES: u64 = 16 << 20;
/// Longest embedding: distances in more dimensions tell less, and cost more.
const DIMENSION_LIMIT: usize = 1024;
/// Most clusters: the paper's hundreds, with room.
const CLUSTER_LIMIT: usize = 2048;
/// Most centroids of one cluster; a film of many scenes has about twenty.
const CENTROID_LIMIT: usize = 256;
/// Longest cluster name, as in the catalogue.
const NAME_LIMIT_BYTES: usize = 32;
/// The only version of the file there is so far.
const VERSION: u32 = 1;

/// The clusters of a directory, with the network whose vectors they are measured in.
#[derive(Clone, Debug, PartialEq)]
pub struct Clusters {
    embedding: Vec<u8>,
    dimensions: usize,
    clusters: Vec<Cluster>,
    unlike: Vec<Vec<f32>>,
}

/// One kind of content.
#[derive(Clone, Debug, PartialEq)]
struct Cluster {
    name: String,
    centroids: Vec<Centroid>,
}

#[derive(Clone, Debug, PartialEq)]
struct Centroid {
    at: Vec<f32>,
    radius: f32,
}

/// What a vector was found to be.
#[derive(Clone, Debug, PartialEq)]
pub struct Assigned {
    /// The cluster's name, as in the catalogue (`[a-z0-9_]`).
    pub cluster: String,
    /// Distance to its nearest centroid, in the embedding's own unit; at most that one's radius.
    pub distance: f32,
}

/// The cluster that is nearest, near enough or not: for logs and tables.
#[derive(Clone, Debug, PartialEq)]
pub struct Nearest {
    /// The cluster's name.
    pub cluster: String,
    /// Distance to its nearest centroid.
    pub distance: f32,
    /// How near to that centroid it must be to count.
    pub radius: f32,
    /// Content that is known to be of no cluster is nearer still.
    pub unlike: bool,
}

/// Why there are no clusters. An edge without them assigns nothing and stays generic.
#[derive(Debug, thiserror::Error)]
pub enum ClustersError {
    /// There is no such file.
    #[error("there is no {path:?}")]
    Missing {
        /// `clusters.toml` or the embedding's network.
        path: PathBuf,
    },
    /// It could not be read.
    #[error("{path:?} cannot be read")]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        source: Error,
    },
    /// It is larger than such a file may be.
    #[error("{path:?} is larger than {limit_bytes} bytes")]
    TooLarge {
        /// The file.
        path: PathBuf,
        /// The limit.
        limit_bytes: u64,
    },
    /// It is not TOML, or lacks what it must have.
    #[error("{path:?} cannot be understood")]
    Malformed {
        /// The file.
        path: PathBuf,
        /// Where and why.
        source: Box<toml::de::Error>,
    },
    /// A value is out of its range or contradicts another.
    #[error("{path:?}: {fault}")]
    Fault {
        /// The file.
        path: PathBuf,
        /// What is wrong, in words.
        fault: String,
    },
    /// The embedding's network is not the one that the centroids were measured with.
    #[error(
        "{path:?} has the SHA-256 {found}, clusters.toml says {expected}; they belong together, so fetch or make both again"
    )]
    Mismatch {
        /// The network's file.
        path: PathBuf,
        /// What `clusters.toml` says.
        expected: Sha256,
        /// What its bytes hash to.
        found: Sha256,
    },
}

#[derive(Deserialize)]
struct RawClusters {
    version: u32,
    embedding: RawEmbedding,
    #[serde(default)]
    cluster: Vec<RawCluster>,
    #[serde(default)]
    unlike: RawUnlike,
}

#[derive(Deserialize)]
struct RawEmbedding {
    file: String,
    sha256: String,
    dimensions: usize,
}

#[derive(Deserialize)]
struct RawCluster {
    name: String,
    radii: Vec<f32>,
    centroids: Vec<Vec<f32>>,
}

#[derive(Default, Deserialize)]
struct RawUnlike {
    #[serde(default)]
    centroids: Vec<Vec<f32>>,
}

impl Clusters {
    /// Reads the clusters of a models' directory: those that its catalogue names, else `clusters.toml` with the embedding's network beside
    /// it. The network's digest must be the one that the clusters name.
    ///
    /// # Errors
    /// When either is missing, unreadable, too large or not what it must be. There is no half a file: one bad centroid could
    /// give a stream a wrong network.
    pub fn load(directory: impl AsRef<Path>) -> Result<Self, ClustersError> {
        let directory = directory.as_ref();
        let named = Catalogue::load(directory).ok().and_then(|catalogue| catalogue.cluster_files().cloned());
        match named {
            Some(files) => Self::load_files(&files),
            None => Self::read(directory.join(FILE_NAME), |file| directory.join(file)),
        }
    }

    /// As [`Clusters::load`], of these two files.
    ///
    /// # Errors
    /// As there.
    pub fn load_files(files: &ClusterFiles) -> Result<Self, ClustersError> {
        Self::read(files.clusters.clone(), |_| files.embedding.clone())
    }

    /// `embedding`: where the network is that the clusters call so.
    fn read(path: PathBuf, embedding: impl FnOnce(&Path) -> PathBuf) -> Result<Self, ClustersError> {
        let bytes = read(&path, FILE_LIMIT_BYTES)?;
        let text = String::from_utf8(bytes).map_err(|error| ClustersError::Unreadable {
            path: path.clone(),
            source: Error::new(ErrorKind::InvalidData, error),
        })?;
        let raw: RawClusters = toml::from_str(&text)
            .map_err(|source| ClustersError::Malformed { path: path.clone(), source: Box::new(source) })?;
        let (file, expected, mut clusters) =
            raw.check().map_err(|fault| ClustersError::Fault { path, fault })?;
        let file = embedding(&file);
        let bytes = read(&file, EMBEDDING_LIMIT_BYTES)?;
        let found = Sha256::of(&bytes);
        if found != expected {
            return Err(ClustersError::Mismatch { path: file, expected, found });
        }
        clusters.embedding = bytes;
        Ok(clusters)
    }

    /// The verified bytes of the network that makes the vectors.
    #[must_use]
    pub fn embedding(&self) -> &[u8] {
        &self.embedding
    }

    /// Length of the vectors.
    #[must_use]
    pub fn dimensions(&self) -> usize {
        self.dimensions
    }

    /// Names of the clusters, in the file's order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.clusters.iter().map(|cluster| cluster.name.as_str())
    }

    /// The cluster a vector belongs to. `None`, so that the stream stays generic, where no cluster is near, where content known
    /// to be unlike all of them is nearer, and for a vector of another length or with anything but finite numbers in it.
    #[must_use]
    pub fn assign(&self, vector: &[f32]) -> Option<Assigned> {
        let nearest = self.nearest(vector)?;
        (nearest.distance <= nearest.radius && !nearest.unlike)
            .then_some(Assigned { cluster: nearest.cluster, distance: nearest.distance })
    }

    /// The cluster with the centroid that is nearest to a vector, near enough or not. `None` without clusters and for a vector that is
    /// none.
    #[must_use]
    pub fn nearest(&self, vector: &[f32]) -> Option<Nearest> {
        if vector.len() != self.dimensions || vector.iter().any(|value| !value.is_finite()) {
            return None;
        }
        let (cluster, centroid, found) = self
            .clusters
            .iter()
            .flat_map(|cluster| cluster.centroids.iter().map(move |centroid| (cluster, centroid)))
            .map(|(cluster, centroid)| (cluster, centroid, distance(&centroid.at, vector)))
            .min_by(|a, b| a.2.total_cmp(&b.2))?;
        let unlike = self.unlike.iter().any(|other| distance(other, vector) < found);
        Some(Nearest { cluster: cluster.name.clone(), distance: found, radius: centroid.radius, unlike })
    }
}

/// Euclidean distance of two vectors of one length.
fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

impl RawClusters {
    /// Everything but the embedding's bytes: (its file, its digest, the clusters).
    fn check(self) -> Result<(PathBuf, Sha256, Clusters), String> {
        if self.version != VERSION {
            return Err(format!("version {} is unknown; this one knows version {VERSION}", self.version));
        }
        let dimensions = self.embedding.dimensions;
        if !(1..=DIMENSION_LIMIT).contains(&dimensions) {
            return Err(format!("embedding.dimensions {dimensions} is not within 1 and {DIMENSION_LIMIT}"));
        }
        let file = PathBuf::from(&self.embedding.file);
        let stays_below = file.components().all(|part| matches!(part, Component::Normal(_)));
        if self.embedding.file.is_empty() || !stays_below {
            return Err(format!("embedding.file {file:?} must be a relative path below the directory"));
        }
        let sha256 = self
            .embedding
            .sha256
            .parse()
            .map_err(|error| format!("embedding.sha256 {:?}: {error}", self.embedding.sha256))?;
        if self.cluster.len() > CLUSTER_LIMIT {
            return Err(format!("more than {CLUSTER_LIMIT} clusters"));
        }
        check_centroids("unlike", &self.unlike.centroids, dimensions, CENTROID_LIMIT * 8)?;
        let mut clusters: Vec<Cluster> = Vec::new();
        for RawCluster { name, radii, centroids } in self.cluster {
            let in_alphabet = name.bytes().all(|byte| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_'));
            if name.is_empty() || name.len() > NAME_LIMIT_BYTES || !in_alphabet {
                return Err(format!("cluster {name:?} must be 1 to {NAME_LIMIT_BYTES} bytes of [a-z0-9_]"));
            }
            if clusters.iter().any(|other| other.name == name) {
                return Err(format!("cluster {name:?} is there twice"));
            }
            if let Some(radius) = radii.iter().find(|radius| !(radius.is_finite() && **radius > 0.0)) {
                return Err(format!("cluster {name:?}: radius {radius} is not a positive number"));
            }
            if centroids.is_empty() || centroids.len() != radii.len() {
                return Err(format!(
                    "cluster {name:?} has {} centroids and {} radii; there must be as many, and one at least",
                    centroids.len(),
                    radii.len()
                ));
            }
            check_centroids(&name, &centroids, dimensions, CENTROID_LIMIT)?;
            let centroids =
                centroids.into_iter().zip(radii).map(|(at, radius)| Centroid { at, radius }).collect();
            clusters.push(Cluster { name, centroids });
        }
        let clusters =
            Clusters { embedding: Vec::new(), dimensions, clusters, unlike: self.unlike.centroids };
        Ok((file, sha256, clusters))
    }
}

fn check_centroids(
    owner: &str,
    centroids: &[Vec<f32>],
    dimensions: usize,
    limit: usize,
) -> Result<(), String> {
    if centroids.len() > limit {
        return Err(format!("{owner:?} has more than {limit} centroids"));
    }
    match centroids
        .iter()
        .find(|centroid| centroid.len() != dimensions || centroid.iter().any(|value| !value.is_finite()))
    {
        Some(_) => Err(format!("{owner:?} has a centroid that is not {dimensions} finite numbers")),
        None => Ok(()),
    }
}

/// A whole regular file of at most `limit_bytes`.
fn read(path: &Path, limit_bytes: u64) -> Result<Vec<u8>, ClustersError> {
    let path = || path.to_owned();
    let failed = |source: Error| match source.kind() {
        ErrorKind::NotFound => ClustersError::Missing { path: path() },
        _ => ClustersError::Unreadable { path: path(), source },
    };
    // Looked at before it is opened: opening a pipe would wait for a writer.
    let metadata = fs::metadata(path()).map_err(failed)?;
    if !metadata.is_file() {
        return Err(failed(Error::new(ErrorKind::InvalidInput, "it is not a regular file")));
    }
    let mut bytes = Vec::new();
    if metadata.len() <= limit_bytes {
        File::open(path())
            .and_then(|file| file.take(limit_bytes + 1).read_to_end(&mut bytes))
            .map_err(failed)?;
    }
    // The second look is for a file that grows meanwhile.
    if metadata.len().max(bytes.len() as u64) > limit_bytes {
        return Err(ClustersError::TooLarge { path: path(), limit_bytes });
    }
    Ok(bytes)
}

#[cfg(test)]
#[path = "clusters_tests.rs"]
mod tests;
