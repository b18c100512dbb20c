//! The secrets of routes that are opened by signatures.
//!
//! Each is a [file of its own](crate::secret).

use std::path::{Path, PathBuf};

use acuity_config::{RouteConfig, SignedUrlsConfig};

use super::{Key, Refused, check};
use crate::secret::{self, SecretFault};

/// The keys of each route, by its index; none where it is open.
#[derive(Debug, Default)]
pub struct RouteKeys {
    routes: Vec<Option<Opens>>,
}

#[derive(Debug)]
struct Opens {
    keys: Vec<Key>,
    skew: u64,
}

/// A secret that cannot be used. Never holds any of it.
#[derive(Debug, thiserror::Error)]
#[error("the key {id:?} in {} {fault}", file.display())]
pub struct KeyFault {
    /// The key.
    pub id: String,
    /// Its file.
    pub file: PathBuf,
    /// What is wrong with it.
    #[source]
    pub fault: SecretFault,
}

impl RouteKeys {
    /// Reads all of them.
    ///
    /// # Errors
    /// Every fault of every file.
    pub fn load(routes: &[RouteConfig]) -> Result<Self, Vec<KeyFault>> {
        let mut faults = Vec::new();
        let routes = routes
            .iter()
            .map(|route| {
                let config = route.signed_urls.as_ref()?;
                let (keys, wrong) = load(config);
                faults.extend(wrong);
                Some(Opens { keys, skew: config.clock_skew.as_secs() })
            })
            .collect();
        if faults.is_empty() { Ok(Self { routes }) } else { Err(faults) }
    }

    /// Whether any route wants signatures.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.routes.iter().all(Option::is_none)
    }

    /// Whether this route does.
    #[must_use]
    pub fn guards(&self, route: usize) -> bool {
        self.of(route).is_some()
    }

    /// A route's keys in order; none where it is open.
    #[must_use]
    pub fn keys(&self, route: usize) -> &[Key] {
        self.of(route).map_or(&[], |opens| &opens.keys)
    }

    /// Whether a request with this signature, or without one, may have a normalised edge path of this route. `now`: seconds since
    /// 1970. Where a route is open, a signature is one of a key that it does not know.
    ///
    /// # Errors
    /// Why not.
    pub fn check(
        &self,
        route: usize,
        signature: Option<&str>,
        path_and_query: &str,
        now: u64,
    ) -> Result<(), Refused> {
        match self.of(route) {
            Some(opens) => check(&opens.keys, opens.skew, signature, path_and_query, now),
            None if signature.is_some() => Err(Refused::UnknownKey),
            None => Ok(()),
        }
    }

    fn of(&self, route: usize) -> Option<&Opens> {
        self.routes.get(route)?.as_ref()
    }
}

fn load(config: &SignedUrlsConfig) -> (Vec<Key>, Vec<KeyFault>) {
    let (mut keys, mut faults) = (Vec::new(), Vec::new());
    for key in &config.keys {
        match read(&key.id, &key.file) {
            Ok(key) => keys.push(key),
            Err(fault) => faults.push(fault),
        }
    }
    (keys, faults)
}

fn read(id: &str, file: &Path) -> Result<Key, KeyFault> {
    let fault = |fault| KeyFault { id: id.to_owned(), file: file.to_owned(), fault };
    let secret = secret::read(file, secret::BYTES).map_err(fault)?;
    // HMAC takes keys of every length.
    Key::new(id, &secret).ok_or_else(|| fault(SecretFault::Length(secret.len().to_string(), secret::BYTES)))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::fs::{Permissions, set_permissions, write};
    use std::os::unix::fs::PermissionsExt as _;
    use std::time::Duration;

    use acuity_config::SigningKey;

    use super::*;

    fn routes(folder: &Path, files: &[&str]) -> Vec<RouteConfig> {
        let keys = files.iter().map(|name| SigningKey { id: (*name).to_owned(), file: folder.join(name) });
        let signed = SignedUrlsConfig { keys: keys.collect(), clock_skew: Duration::from_secs(5) };
        let open = RouteConfig::to("http://o.example/".parse().unwrap());
        vec![open.clone(), RouteConfig { signed_urls: Some(signed), ..open }]
    }

    fn put(folder: &Path, name: &str, content: &[u8], mode: u32) {
        write(folder.join(name), content).unwrap();
        set_permissions(folder.join(name), Permissions::from_mode(mode)).unwrap();
    }

    #[test]
    fn keys_open_their_route_and_no_other() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "a", b"0123456789abcdef\r\n", 0o640);
        let keys = RouteKeys::load(&routes(folder.path(), &["a"])).unwrap();
        assert!(!keys.is_empty() && keys.guards(1) && !keys.guards(0) && !keys.guards(2));
        // The line ending is no part of it.
        let signature = Key::new("a", b"0123456789abcdef").unwrap().sign("/vod/", 1000).unwrap();
        assert_eq!(keys.check(1, Some(&signature), "/vod/a.ts", 1004), Ok(()), "the clocks' difference");
        assert_eq!(keys.check(1, Some(&signature), "/vod/a.ts", 1005), Err(Refused::Expired));
        assert_eq!(keys.check(1, None, "/vod/a.ts", 0), Err(Refused::Missing));
        assert_eq!(keys.check(0, None, "/vod/a.ts", 0), Ok(()));
        assert_eq!(keys.check(0, Some(&signature), "/vod/a.ts", 0), Err(Refused::UnknownKey));
        assert!(!format!("{keys:?}").contains("0123"), "{keys:?}");
        assert!(RouteKeys::load(&routes(folder.path(), &["a"])[..1]).unwrap().is_empty());
    }

    #[test]
    fn every_fault_is_told_and_no_secret() {
        let folder = tempfile::tempdir().unwrap();
        put(folder.path(), "short", b"0123456789abcde\n", 0o600);
        put(folder.path(), "long", &[b'x'; 1026], 0o600);
        put(folder.path(), "open", b"0123456789abcdef", 0o644);
        put(folder.path(), "writable", b"0123456789abcdef", 0o602);
        put(folder.path(), "good", &[b'x'; 1024], 0o400);
        let files = ["short", "long", "open", "none", "writable", "good"];
        let faults = RouteKeys::load(&routes(folder.path(), &files)).unwrap_err();
        let told: Vec<String> = faults.iter().map(ToString::to_string).collect();
        for (said, expected) in told.iter().zip([
            "has 15, not 16 to 1024 bytes",
            "has more, not 16",
            "is open to every user of this machine (mode 644)",
            "none cannot be read: No such file",
            "(mode 602)",
        ]) {
            assert!(said.contains(expected) && !said.contains("0123"), "{said}");
        }
        assert_eq!(told.len(), 5, "{told:#?}");
    }
}
