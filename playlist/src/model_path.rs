//! URLs of networks and their descriptions, for clients that would rather run them on their own.
//!
//! Both are named by digests, so what is behind one never changes:
//! `/~acuity/models/<64 hex digits>.onnx` and `/~acuity/models/<cluster>-x<scale>-<8 hex digits>.json`.

use std::fmt;

use acuity_models::Sha256;

use crate::token::{CLUSTER_BYTES_MAX, SCALES};
use crate::uri::{RESERVED_PREFIX, split_query};

/// The path segment after `/~acuity/` that no token begins with.
pub const SEGMENT: &str = "models";

/// What a path below `/~acuity/models/` names. Its `Display` is the whole edge path.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ModelPath {
    /// A network's file.
    File(Sha256),
    /// What there is to know of a set.
    Description {
        /// Its cluster.
        cluster: String,
        /// Its scale.
        scale: u32,
        /// First 8 hex digits of its digest.
        digest: String,
    },
}

impl ModelPath {
    /// Reads what stands behind `/~acuity/models/`; a query does not matter. Only what `Display` writes is read: one thing has
    /// one URL.
    #[must_use]
    pub fn read(below: &str) -> Option<Self> {
        let name = split_query(below).0;
        let path = if let Some(digest) = name.strip_suffix(".onnx") {
            Self::File(digest.parse().ok()?)
        } else {
            let mut parts = name.strip_suffix(".json")?.split('-');
            let (cluster, scale, digest) = (parts.next()?, parts.next()?, parts.next()?);
            let letters = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
            let sound = (1..=CLUSTER_BYTES_MAX).contains(&cluster.len())
                && cluster.bytes().all(letters)
                && digest.len() == 8
                && digest.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'));
            let scale = scale.strip_prefix('x')?.parse().ok().filter(|scale| SCALES.contains(scale))?;
            sound.then(|| Self::Description {
                cluster: cluster.to_owned(),
                scale,
                digest: digest.to_owned(),
            })?
        };
        (path.to_string().strip_prefix(&prefix()) == Some(name)).then_some(path)
    }
}

fn prefix() -> String {
    format!("{RESERVED_PREFIX}{SEGMENT}/")
}

impl fmt::Display for ModelPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&prefix())?;
        match self {
            Self::File(digest) => write!(f, "{digest}.onnx"),
            Self::Description { cluster, scale, digest } => write!(f, "{cluster}-x{scale}-{digest}.json"),
        }
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_it_writes_and_nothing_else() {
        let sha256 = Sha256::of(b"abc");
        for (below, expected) in [
            (format!("{sha256}.onnx"), Some(ModelPath::File(sha256))),
            (format!("{sha256}.onnx?x=1"), Some(ModelPath::File(sha256))),
            (
                "my_game2-x3-00ff00ff.json".to_owned(),
                Some(ModelPath::Description {
                    cluster: "my_game2".to_owned(),
                    scale: 3,
                    digest: "00ff00ff".to_owned(),
                }),
            ),
            (format!("{}.onnx", sha256.to_string().to_uppercase()), None),
            (format!("{}.onnx", &sha256.to_string()[1..]), None),
            (sha256.to_string(), None),
            (format!("x/{sha256}.onnx"), None),
            ("a-x2-00ff00ff".to_owned(), None),
            ("a-x5-00ff00ff.json".to_owned(), None),
            ("a-x02-00ff00ff.json".to_owned(), None),
            ("a-x2-00ff00ff-.json".to_owned(), None),
            ("a-x2-00FF00FF.json".to_owned(), None),
            ("a-x2-00ff00f.json".to_owned(), None),
            ("A-x2-00ff00ff.json".to_owned(), None),
            ("-x2-00ff00ff.json".to_owned(), None),
            (format!("{}-x2-00ff00ff.json", "a".repeat(33)), None),
            ("../catalogue.toml".to_owned(), None),
            ("catalogue.toml".to_owned(), None),
            (String::new(), None),
        ] {
            let read = ModelPath::read(&below);
            assert_eq!(read, expected, "{below}");
            if let Some(path) = read {
                assert_eq!(path.to_string(), format!("/~acuity/models/{}", split_query(&below).0));
            }
        }
    }
}
