//! Signed URLs for scenarios: keys in files, and signatures by the real `acuity sign`.

use std::os::unix::fs::PermissionsExt as _;
use std::path::PathBuf;
use std::process::Command;

use tempfile::TempDir;

use crate::Result;
use crate::world::{WorldBuilder, binary};

/// Keys in files of their own, which go with it.
#[derive(Debug)]
pub struct Signer {
    folder: TempDir,
    ids: Vec<String>,
}

impl Signer {
    /// A signer with a key of each id; what one signs another of the same ids does not open.
    ///
    /// # Errors
    /// When the files cannot be written.
    pub fn new(ids: &[&str]) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("acuity-keys-").tempdir()?;
        let signer = Self { folder, ids: ids.iter().map(|id| (*id).to_owned()).collect() };
        for id in ids {
            let file = signer.file(id);
            // The folder's name is random, which is all that these secrets have to be.
            std::fs::write(&file, format!("{id} in {} of 32 bytes\n", signer.folder.path().display()))?;
            std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600))?;
        }
        Ok(signer)
    }

    /// The file of a key.
    #[must_use]
    pub fn file(&self, id: &str) -> PathBuf {
        self.folder.path().join(id)
    }

    /// Tells an edge to want signatures by these keys.
    #[must_use]
    pub fn guards(&self, world: WorldBuilder) -> WorldBuilder {
        Self::guard(&[self], world)
    }

    /// Tells an edge to want signatures by the keys of any of these.
    #[must_use]
    pub fn guard(signers: &[&Self], world: WorldBuilder) -> WorldBuilder {
        let keys = signers.iter().flat_map(|signer| signer.ids.iter().map(|id| (id, signer.file(id))));
        let keys: Vec<String> =
            keys.map(|(id, file)| format!("{{ id = {id:?}, file = {file:?} }}")).collect();
        world.route("signed_urls", format!("{{ keys = [{}], clock_skew = \"0s\" }}", keys.join(", ")))
    }

    /// What `acuity sign` makes of a URL or path; `more`: further arguments.
    ///
    /// # Errors
    /// What it says when it refuses.
    pub fn sign(&self, url: &str, prefix: &str, expires: &str, more: &[&str]) -> Result<String> {
        let config = self.folder.path().join("sign.toml");
        std::fs::write(&config, self.guards(WorldBuilder::default()).config_for("http://origin.invalid"))?;
        let output = Command::new(binary()?)
            .args(["sign", url, "--prefix", prefix, "--expires", expires, "--config"])
            .arg(&config)
            .args(more)
            .output()?;
        if !output.status.success() {
            return Err(String::from_utf8_lossy(&output.stderr).into_owned().into());
        }
        Ok(String::from_utf8(output.stdout)?.trim().to_owned())
    }

    /// The signature alone.
    ///
    /// # Errors
    /// As [`Signer::sign`].
    pub fn signature(&self, prefix: &str, expires: &str) -> Result<String> {
        let url = self.sign(&format!("{}/x", prefix.trim_end_matches('/')), prefix, expires, &[])?;
        let signature = url.split('/').nth(3).ok_or("there is no signature")?;
        Ok(signature.to_owned())
    }
}
