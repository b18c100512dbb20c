//! A directory of models for a scenario, which the scenario may change under the edge's eyes: the generic network that
//! ships, and others made of it.
//!
//! Changes are made as an operator should make them: files first, the catalogue last, each put in place by a rename.

use std::fmt::Write as _;
use std::path::{Path, PathBuf};

use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

use crate::Result;
use crate::world::repository;

/// The network that the others are made of: the cheapest that ships.
const SHIPPED: &str = "models/zoo/generic-x2-s.onnx";

/// One entry of the catalogue.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Model {
    /// Its id; the file is called after it.
    pub id: String,
    /// Its cluster.
    pub cluster: String,
    /// Its scale.
    pub scale: u32,
    /// SHA-256 of its bytes, 64 hex digits.
    pub sha256: String,
    /// The inside of its `[model.measured]`.
    pub measured: String,
}

/// A directory of models; gone when dropped.
#[derive(Debug)]
pub struct Zoo {
    folder: TempDir,
    models: Vec<Model>,
    /// Cluster and digest of those that interpolate.
    between: Vec<(String, String)>,
}

/// The bytes of the network that ships.
///
/// # Errors
/// When it is not there.
pub fn shipped() -> Result<Vec<u8>> {
    Ok(std::fs::read(repository().join(SHIPPED)).map_err(|error| format!("{SHIPPED}: {error}"))?)
}

/// The network that ships, its pictures brighter by so many code values: different, and seen to be.
///
/// # Errors
/// When it cannot be read.
pub fn brighter(by: f32) -> Result<Vec<u8>> {
    crate::onnx::shifted(&shipped()?, "tail.bias", by)
}

/// SHA-256 in 64 hex digits.
#[must_use]
pub fn sha256(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(64);
    for byte in Sha256::digest(bytes) {
        let _ = write!(text, "{byte:02x}");
    }
    text
}

impl Zoo {
    /// A directory with the generic network.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn new() -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("acuity-zoo-").tempdir()?;
        let mut zoo = Self { folder, models: Vec::new(), between: Vec::new() };
        zoo.put("generic", 2, &shipped()?)?;
        Ok(zoo)
    }

    /// Puts in the clusters that ship, by which content is told by its looks.
    ///
    /// # Errors
    /// When they cannot be copied.
    pub fn add_looks(&self) -> Result<()> {
        for name in ["embedding.onnx", "clusters.toml"] {
            replace(
                &self.directory().join(name),
                &std::fs::read(repository().join("models/zoo").join(name))?,
            )?;
        }
        Ok(())
    }

    /// Where it is.
    #[must_use]
    pub fn directory(&self) -> &Path {
        self.folder.path()
    }

    /// The directory as a TOML string, for `models.directory`.
    #[must_use]
    pub fn setting(&self) -> String {
        format!("{:?}", self.directory())
    }

    /// The file of a cluster's model.
    #[must_use]
    pub fn file(&self, cluster: &str, scale: u32) -> PathBuf {
        self.directory().join(format!("{cluster}-x{scale}-s.onnx"))
    }

    /// Adds a cluster's network that interpolates, or puts another in its place: file and entry. Gives the id.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put_interpolator(&mut self, cluster: &str, bytes: &[u8]) -> Result<String> {
        let id = format!("{cluster}-i2-s");
        replace(&self.directory().join(format!("{id}.onnx")), bytes)?;
        self.between.retain(|(other, _)| other != cluster);
        self.between.push((cluster.to_owned(), sha256(bytes)));
        self.publish()?;
        Ok(id)
    }

    /// Adds a model, or puts another in its place: file and entry.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn put(&mut self, cluster: &str, scale: u32, bytes: &[u8]) -> Result<Model> {
        replace(&self.file(cluster, scale), bytes)?;
        let model = Model {
            id: format!("{cluster}-x{scale}-s"),
            cluster: cluster.to_owned(),
            scale,
            sha256: sha256(bytes),
            measured: String::new(),
        };
        self.models.retain(|other| other.id != model.id);
        self.models.push(model.clone());
        self.publish()?;
        Ok(model)
    }

    /// Gives a model figures: the inside of its `[model.measured]`.
    ///
    /// # Errors
    /// When the catalogue cannot be written.
    pub fn measured(&mut self, cluster: &str, scale: u32, figures: &str) -> Result<()> {
        let is_it = |model: &&mut Model| (model.cluster.as_str(), model.scale) == (cluster, scale);
        if let Some(model) = self.models.iter_mut().find(is_it) {
            figures.clone_into(&mut model.measured);
        }
        self.publish()
    }

    /// Takes a model's entry out of the catalogue.
    ///
    /// # Errors
    /// When the catalogue cannot be written.
    pub fn remove(&mut self, cluster: &str, scale: u32) -> Result<()> {
        self.models.retain(|model| (model.cluster.as_str(), model.scale) != (cluster, scale));
        self.publish()
    }

    /// Changes a model's file alone, so that it is no longer what the catalogue says.
    ///
    /// # Errors
    /// When it cannot be written.
    pub fn spoil(&self, cluster: &str, scale: u32, spoil: impl FnOnce(&[u8]) -> Vec<u8>) -> Result<()> {
        let file = self.file(cluster, scale);
        let bytes = std::fs::read(&file)?;
        replace(&file, &spoil(&bytes))
    }

    fn publish(&self) -> Result<()> {
        let mut text = String::new();
        for Model { id, cluster, scale, sha256, measured } in &self.models {
            let _ = writeln!(
                text,
                "[[model]]\nid = \"{id}\"\ncluster = \"{cluster}\"\nscale = {scale}\ntier = \"s\"\n\
                 file = \"{id}.onnx\"\nsha256 = \"{sha256}\"\nparameters = 10380\ncontract = 1\n\
                 licence = \"Apache-2.0\"\ntraining_data = \"none: made for a test\"\n\
                 [model.measured]\n{measured}\n"
            );
        }
        for (cluster, sha256) in &self.between {
            let _ = writeln!(
                text,
                "[[model]]\nid = \"{cluster}-i2-s\"\ntask = \"interpolate\"\ncluster = \"{cluster}\"\nscale = 2\n\
                 tier = \"s\"\nfile = \"{cluster}-i2-s.onnx\"\nsha256 = \"{sha256}\"\nparameters = 0\ncontract = 2\n\
                 licence = \"Apache-2.0\"\ntraining_data = \"none: made for a test\"\n"
            );
        }
        replace(&self.directory().join("catalogue.toml"), text.as_bytes())
    }
}

/// Puts a file in place in one step.
fn replace(file: &Path, bytes: &[u8]) -> Result<()> {
    let unfinished = file.with_extension("unfinished");
    std::fs::write(&unfinished, bytes)?;
    std::fs::rename(&unfinished, file)?;
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn digests_are_sha256() {
        // FIPS 180-2, appendix B.1.
        assert_eq!(sha256(b"abc"), "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    }

    #[test]
    fn a_zoo_changes_as_it_is_told() {
        let mut zoo = Zoo::new().unwrap();
        let catalogue = zoo.directory().join("catalogue.toml");
        let one = zoo.put("one", 2, &brighter(3.0).unwrap()).unwrap();
        assert_eq!(sha256(&std::fs::read(zoo.file("one", 2)).unwrap()), one.sha256);
        zoo.spoil("one", 2, |bytes| bytes[..100].to_vec()).unwrap();
        assert_eq!(std::fs::read(zoo.file("one", 2)).unwrap().len(), 100);
        zoo.remove("one", 2).unwrap();
        let text = std::fs::read_to_string(catalogue).unwrap();
        assert!(text.contains("generic-x2-s") && !text.contains("one-x2-s"), "{text}");
    }
}
