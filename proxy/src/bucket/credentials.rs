//! The keys to a store, each from a file of its own, read again while the edge runs so that they can be changed.

use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use object_store::CredentialProvider;
use object_store::aws::AwsCredential;

use super::BucketFault;
use crate::secret;

/// How long what was read is used: a store takes old and new keys for longer while they are being changed.
const READ_EVERY: Duration = Duration::from_secs(60);

/// Two files, and what stood in them a moment ago.
pub(super) struct FileCredentials {
    files: [PathBuf; 2],
    last: Mutex<(Instant, Arc<AwsCredential>)>,
}

impl std::fmt::Debug for FileCredentials {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("FileCredentials").field("files", &self.files).finish_non_exhaustive()
    }
}

impl FileCredentials {
    pub(super) fn load(id: &Path, key: &Path) -> Result<Self, BucketFault> {
        let files = [id.to_owned(), key.to_owned()];
        let last = Mutex::new((Instant::now(), Arc::new(read(&files)?)));
        Ok(Self { files, last })
    }
}

fn read([id, key]: &[PathBuf; 2]) -> Result<AwsCredential, BucketFault> {
    let text = |file: &Path| {
        let bytes =
            secret::read(file, 1..=512).map_err(|fault| BucketFault::Key { file: file.to_owned(), fault })?;
        // They become part of a header.
        match String::from_utf8(bytes) {
            Ok(text) if text.bytes().all(|byte| byte.is_ascii_graphic()) => Ok(text),
            _ => Err(BucketFault::KeyText { file: file.to_owned() }),
        }
    };
    Ok(AwsCredential { key_id: text(id)?, secret_key: text(key)?, token: None })
}

#[async_trait]
impl CredentialProvider for FileCredentials {
    type Credential = AwsCredential;

    async fn get_credential(&self) -> object_store::Result<Arc<AwsCredential>> {
        // What is under the lock is whole after each step.
        let last = || self.last.lock().unwrap_or_else(PoisonError::into_inner);
        let (read_at, credential) = last().clone();
        if read_at.elapsed() < READ_EVERY {
            return Ok(credential);
        }
        let files = self.files.clone();
        let fresh = match tokio::task::spawn_blocking(move || read(&files)).await {
            Ok(Ok(fresh)) => Arc::new(fresh),
            // Half written, perhaps; the old ones may still do.
            Ok(Err(fault)) => {
                tracing::warn!(%fault, "the store's keys stay as they were");
                credential
            }
            Err(_) => credential,
        };
        *last() = (Instant::now(), Arc::clone(&fresh));
        Ok(fresh)
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;

    use super::*;

    fn put(folder: &Path, name: &str, content: &str, mode: u32) -> PathBuf {
        let path = folder.join(name);
        write(&path, content).unwrap();
        set_permissions(&path, Permissions::from_mode(mode)).unwrap();
        path
    }

    #[tokio::test]
    async fn keys_can_be_changed_and_a_fault_keeps_the_old_ones() {
        let folder = tempfile::tempdir().unwrap();
        let id = put(folder.path(), "id", "AKIA1\n", 0o600);
        let key = put(folder.path(), "key", "c2VjcmV0/+=", 0o640);
        let credentials = FileCredentials::load(&id, &key).unwrap();
        assert!(!format!("{credentials:?}").contains("c2VjcmV0"));
        let long_ago =
            || credentials.last.lock().unwrap().0 = Instant::now().checked_sub(READ_EVERY).unwrap();
        let now = async || credentials.get_credential().await.unwrap().key_id.clone();
        put(folder.path(), "id", "AKIA2", 0o600);
        assert_eq!(now().await, "AKIA1");
        long_ago();
        assert_eq!(now().await, "AKIA2");
        put(folder.path(), "id", "", 0o600);
        long_ago();
        assert_eq!(now().await, "AKIA2");
    }

    #[test]
    fn what_is_wrong_with_them_is_told_and_not_shown() {
        let folder = tempfile::tempdir().unwrap();
        let good = put(folder.path(), "good", "AKIA1\n", 0o600);
        let open = put(folder.path(), "open", "c2VjcmV0", 0o644);
        let text = put(folder.path(), "text", "c2Vj cmV0", 0o600);
        for (file, expected) in [
            (open, "open to every user"),
            (text, "holds more than a key"),
            (folder.path().join("none"), "No such"),
        ] {
            let told = FileCredentials::load(&good, &file).unwrap_err().to_string();
            assert!(told.contains(expected) && !told.contains("c2V"), "{told}");
        }
    }
}
