//! `[models]`: where networks are read from, and how soon a new one is used.

use std::path::PathBuf;
use std::time::Duration;

use crate::ModelStoreConfig;
use crate::reader::Section;

/// Where the models are.
#[derive(Clone, Debug, PartialEq)]
pub struct ModelsConfig {
    /// The directory with `catalogue.toml`; relative to the working directory.
    pub directory: PathBuf,
    /// How often the directory is looked at for changes (100 ms to 1 h); zero: never, what is there at the start stays.
    pub watch_interval: Duration,
    /// How long a replaced model set is kept for renditions that are being played, from its last use on (1 s to 24 h).
    pub retire_after: Duration,
    /// A store that the directory is kept like; none: the directory is the operator's own.
    pub store: Option<ModelStoreConfig>,
}

/// Looking more often than this would keep a disk awake for nothing.
const WATCH_INTERVAL_MIN: Duration = Duration::from_millis(100);

impl Default for ModelsConfig {
    fn default() -> Self {
        Self {
            // Where the models that ship lie in the source tree.
            directory: PathBuf::from("models/zoo"),
            // A look costs a few microseconds for each file; nobody who publishes a model waits for less.
            watch_interval: Duration::from_secs(5),
            // Longer than most pauses of a viewer, who would come back to the rendition that was left; a set is about a megabyte.
            retire_after: Duration::from_secs(3600),
            // It needs a bucket or a directory, which nobody but the operator can name.
            store: None,
        }
    }
}

impl ModelsConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let s = Duration::from_secs;
        let config = Self {
            directory: section.path("directory").unwrap_or(default.directory),
            watch_interval: section.duration("watch_interval", default.watch_interval, s(0)..=s(3600)),
            retire_after: section.duration("retire_after", default.retire_after, s(1)..=s(86_400)),
            store: section.optional_child("store").and_then(ModelStoreConfig::read),
        };
        // The edge writes there and removes what is in no catalogue: never into a directory that nobody meant for it.
        if section.optional_child("store").is_some() && !section.has("directory") {
            section.missing(
                "directory",
                "with [models.store] a directory of this edge's own, as directory = \"/var/lib/acuity/models\"",
            );
        }
        if !config.watch_interval.is_zero() && config.watch_interval < WATCH_INTERVAL_MIN {
            section.fault("watch_interval", "is below 100ms", Some("\"0s\" turns it off"));
        }
        section.finish();
        config
    }
}
