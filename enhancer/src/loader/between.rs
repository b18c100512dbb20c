//! The loader's part for networks that interpolate: verify, prove, hand over.

use std::sync::Arc;

use acuity_models::{Catalogue, ModelEntry};
use bytes::Bytes;

use super::{Loader, guarded, reason_of, with_causes};
use crate::inference::{Middle, Runtime};
use crate::interpolators::{Interpolating, Size, name_of};
use crate::offered::{Refusal, RefusalReason};

/// The usual source: what a model is timed with, and most likely asked for.
const USUAL_SIZE: Size = (640, 360);

impl Loader {
    /// Installs the sets of the catalogue that interpolate. What was proven before is not proven again.
    pub(super) fn install_interpolators(&self, catalogue: &Catalogue, refused: &mut Vec<Refusal>) {
        let mut named = Vec::new();
        for set in catalogue.interpolators() {
            let mut models = Vec::new();
            for entry in set.entries() {
                match self.admit_interpolator(entry) {
                    Ok(model) => models.push(model),
                    Err((reason, message)) => {
                        refused.push(Refusal { id: Some(entry.id.clone()), reason, message });
                    }
                }
            }
            named.push((name_of(set.cluster(), &set.digest()), models));
        }
        self.library.interpolators.install(named);
    }

    fn admit_interpolator(
        &self,
        entry: &Arc<ModelEntry>,
    ) -> Result<Arc<Interpolating>, (RefusalReason, String)> {
        let bytes = entry.read_verified().map_err(|error| (reason_of(&error), with_causes(&error)))?;
        if let Some(known) = self.library.interpolators.known(entry) {
            return Ok(known);
        }
        let (runtime, bytes) = (self.runtime.for_middles(), Bytes::from(bytes));
        let proven = |runtime: &Runtime| {
            guarded(|| {
                let mut middle = Middle::load(runtime, &bytes, USUAL_SIZE)?;
                // The first run allocates and compiles.
                middle.prove()?;
                let seconds = middle.prove()?;
                middle.require_same_as_plain(runtime, &bytes)?;
                Ok((middle, seconds))
            })
        };
        let (runtime, (middle, seconds)) = match proven(&runtime) {
            Ok(proven) => (runtime, proven),
            Err((_, message)) => {
                tracing::warn!(model = %entry.id, provider = runtime.provider_name(), message, "runs on plain kernels instead");
                let plain = runtime.plain();
                let proven = proven(&plain)?;
                (plain, proven)
            }
        };
        tracing::info!(
            model = %entry.id,
            provider = runtime.provider_name(),
            milliseconds = seconds * 1e3,
            "pictures can be made between others"
        );
        let model = Interpolating::new(Arc::clone(entry), (bytes, runtime), (middle, USUAL_SIZE, seconds));
        Ok(Arc::new(model))
    }
}
