//! Below `/~acuity/models/`: the networks that are in use, for clients strong enough to run one themselves on the low
//! rendition, and what there is to know about them.
//!
//! The bytes are those that the enhancer verified and runs, never the file's on the disk, which may be another one by now.
//! A network that was replaced is there as long as renditions made with it are.

use acuity_enhancer::Enhancer;
use bytes::Bytes;
use http::{HeaderMap, Method};

use crate::model_path::ModelPath;
use crate::respond::{self, Answer};

/// Answers what is below `/~acuity/models/`.
pub struct ModelJourney {
    /// Whose models they are.
    pub enhancer: Enhancer,
}

impl ModelJourney {
    /// `None`: there is no such thing, or it is no longer in use.
    #[must_use]
    pub fn answer(&self, method: &Method, headers: &HeaderMap, path: &ModelPath) -> Option<Answer> {
        match path {
            ModelPath::File(sha256) => {
                let bytes = self.enhancer.model_file(sha256)?;
                Some(respond::model_file(method, headers, &bytes, &sha256.to_string()))
            }
            ModelPath::Description { cluster, scale, digest } => {
                let set = self.enhancer.set(cluster, *scale, digest)?;
                let text = serde_json::to_vec_pretty(&set.description()).ok()?;
                Some(respond::model_description(method, headers, &Bytes::from(text)))
            }
        }
    }
}
