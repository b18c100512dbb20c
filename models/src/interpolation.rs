//! How a rendition comes to more pictures a second: by what factor, and what makes them. A name in URLs and on the way to workers.

use std::fmt;
use std::str::FromStr;

/// More pictures than the source has.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Interpolation {
    /// Pictures for each of the source's: 2 or 4.
    pub factor: u32,
    /// What makes them.
    pub by: Interpolator,
}

impl Interpolation {
    /// The same rate without a network: pictures repeat.
    #[must_use]
    pub fn plain(self) -> Self {
        Self { by: Interpolator::Repeat, ..self }
    }
}

/// What makes a picture between two.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum Interpolator {
    /// The first of them stays.
    Repeat,
    /// Their mean.
    Blend,
    /// The model set of a cluster, by its digest (8 hex characters, `ModelSet::digest`).
    Model {
        /// Cluster name, for example `generic`.
        cluster: String,
        /// First 8 hex characters of the set's digest.
        digest: String,
    },
}

impl Interpolator {
    /// What kind it is: `repeat`, `blend` or `model`.
    #[must_use]
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Repeat => "repeat",
            Self::Blend => "blend",
            Self::Model { .. } => "model",
        }
    }
}

impl fmt::Display for Interpolator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Repeat | Self::Blend => f.write_str(self.kind()),
            Self::Model { cluster, digest } => write!(f, "{cluster}-{digest}"),
        }
    }
}

/// A name that is no interpolator's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no interpolator; there are repeat, blend and model sets (CLUSTER-DIGEST)")]
pub struct UnknownInterpolator(String);

impl FromStr for Interpolator {
    type Err = UnknownInterpolator;

    /// What [`fmt::Display`] writes.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text {
            "repeat" => Ok(Self::Repeat),
            "blend" => Ok(Self::Blend),
            _ => {
                let is_name = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9' | b'_');
                let is_hex = |byte: u8| matches!(byte, b'0'..=b'9' | b'a'..=b'f');
                let fits = |(cluster, digest): &(&str, &str)| {
                    (1..=32).contains(&cluster.len())
                        && cluster.bytes().all(is_name)
                        && digest.len() == 8
                        && digest.bytes().all(is_hex)
                };
                let (cluster, digest) =
                    text.split_once('-').filter(fits).ok_or_else(|| UnknownInterpolator(text.to_owned()))?;
                Ok(Self::Model { cluster: cluster.to_owned(), digest: digest.to_owned() })
            }
        }
    }
}
