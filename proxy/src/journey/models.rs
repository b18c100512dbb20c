//! Below `/~acuity/models/`: the networks that are in use, for clients strong enough to run one themselves on the low
//! rendition, and what there is to know about them.
//!
//! The bytes are those that the enhancer verified and runs, never the file's on the disk, which may be another one by now.
//! A network that was replaced is there as long as renditions made with it are.

use acuity_playlist::model_path::ModelPath;
use acuity_workers::Engine;
use http::{HeaderMap, Method};

use crate::respond::{self, Answer};

/// Answers what is below `/~acuity/models/`.
pub struct ModelJourney {
    /// Whose models they are.
    pub engine: Engine,
}

impl ModelJourney {
    /// `None`: there is no such thing, or it is no longer in use.
    pub async fn answer(&self, method: &Method, headers: &HeaderMap, path: &ModelPath) -> Option<Answer> {
        match path {
            ModelPath::File(sha256) => {
                let bytes = self.engine.model_file(sha256).await?;
                Some(respond::model_file(method, headers, &bytes, &sha256.to_string()))
            }
            ModelPath::Description { cluster, scale, digest } => {
                let text = self.engine.description(cluster, *scale, digest).await?;
                Some(respond::model_description(method, headers, &text))
            }
        }
    }
}
