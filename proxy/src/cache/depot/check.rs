//! What can be said against a depot before it is used, for `acuity check`. Nothing is fetched; of a directory it is tried whether it can be
//! written to.

use std::path::Path;

use acuity_config::{DepotConfig, DepotPlace};

use super::{DepotFault, place};
use crate::bucket;

/// Every fault.
#[must_use]
pub fn check(config: &DepotConfig) -> Vec<DepotFault> {
    match &config.place {
        DepotPlace::Disk { path, max_bytes } => directory(path, *max_bytes).err().into_iter().collect(),
        DepotPlace::Store(store) => bucket::check(store).err().map(DepotFault::from).into_iter().collect(),
    }
}

fn directory(path: &Path, limit_bytes: u64) -> Result<(), DepotFault> {
    let fault = |why: String| DepotFault::Directory { path: path.to_owned(), why };
    place::open(path).map_err(fault)?;
    // Whether files can be made is known when one is; it is gone at the end of this line.
    tempfile::tempfile_in(path).map_err(|error| fault(format!("it cannot be written to: {error}")))?;
    let facts = rustix::fs::statvfs(path).map_err(|error| fault(error.to_string()))?;
    let total_bytes = facts.f_blocks.saturating_mul(facts.f_frsize);
    if limit_bytes > total_bytes {
        return Err(DepotFault::Room { path: path.to_owned(), limit_bytes, total_bytes });
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use super::*;

    fn told(path: &Path, max_bytes: u64) -> Vec<String> {
        let place = DepotPlace::Disk { path: path.to_owned(), max_bytes };
        let config =
            DepotConfig { place, max_age: Duration::from_secs(60), read_timeout: Duration::from_secs(1) };
        check(&config).iter().map(ToString::to_string).collect()
    }

    #[test]
    fn directories() {
        let folder = tempfile::tempdir().unwrap();
        assert_eq!(told(folder.path(), 1 << 20), [""; 0]);
        assert!(told(folder.path(), 1 << 60)[0].contains("altogether"), "{:?}", told(folder.path(), 1 << 60));
        let file = folder.path().join("file");
        std::fs::write(&file, "").unwrap();
        assert!(told(&file, 1 << 20)[0].contains("not a directory"));
        assert!(told(&folder.path().join("none"), 1 << 20)[0].contains("No such file"));
        set_permissions(folder.path(), Permissions::from_mode(0o777)).unwrap();
        assert!(told(folder.path(), 1 << 20)[0].contains("mode 777"), "{:?}", told(folder.path(), 1 << 20));
    }
}
