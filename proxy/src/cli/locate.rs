//! Where ONNX Runtime and the models are, if nobody says.
//!
//! The setup script puts ONNX Runtime into `.acuity/onnxruntime/` of the source tree, the models are in `models/zoo`. Both
//! are looked for below the working directory, then below the executable's directory and the few above it (a build lies in
//! `target/release`).

use std::path::{Path, PathBuf};

use clap::Args;

/// Directories above the executable that are looked into: `target/release` and the tree's root.
const ABOVE_EXECUTABLE: usize = 3;

/// What every subcommand that enhances may be told.
#[derive(Args, Debug, Clone, Default)]
pub(super) struct Places {
    /// Directory with the models' catalogue.toml [default: models/zoo, here or beside the executable]
    #[arg(long, value_name = "DIR", help_heading = "Models and runtime")]
    pub(super) models: Option<PathBuf>,

    /// ONNX Runtime's shared library [default: .acuity/onnxruntime/libonnxruntime.so*, here or beside the
    /// executable; ORT_DYLIB_PATH is heeded too]
    #[arg(long, value_name = "FILE", env = "ACUITY_ONNXRUNTIME", help_heading = "Models and runtime")]
    pub(super) runtime_library: Option<PathBuf>,
}

impl Places {
    /// The runtime's library: what was said, then what the configuration says, then what is found.
    pub(super) fn runtime_library(&self, configured: Option<PathBuf>) -> Option<PathBuf> {
        let from_environment =
            || std::env::var_os("ORT_DYLIB_PATH").filter(|path| !path.is_empty()).map(PathBuf::from);
        self.runtime_library
            .clone()
            .or_else(from_environment)
            .or(configured)
            .or_else(|| roots().iter().find_map(|root| shared_library(&root.join(".acuity/onnxruntime"))))
    }

    /// The models' directory: what was said, else the configured one, beside the executable if it is not here.
    pub(super) fn models(&self, configured: &Path) -> PathBuf {
        if let Some(named) = &self.models {
            return named.clone();
        }
        let found = roots().into_iter().map(|root| root.join(configured)).find(|path| path.is_dir());
        found.unwrap_or_else(|| configured.to_owned())
    }
}

/// The working directory, then the executable's and those above it.
fn roots() -> Vec<PathBuf> {
    let mut roots = vec![PathBuf::from(".")];
    if let Ok(executable) = std::env::current_exe() {
        roots.extend(executable.ancestors().skip(1).take(ABOVE_EXECUTABLE).map(Path::to_owned));
    }
    roots
}

/// The file named `libonnxruntime.so`, or with a version after it; of several the one that sorts last.
fn shared_library(directory: &Path) -> Option<PathBuf> {
    let names = std::fs::read_dir(directory).ok()?.filter_map(Result::ok).map(|entry| entry.path());
    names
        .filter(|path| {
            let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            name.strip_prefix("libonnxruntime.so")
                .is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
        })
        .max()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_runtimes_library_is_found_by_name() {
        let directory = tempfile::tempdir().unwrap();
        assert_eq!(shared_library(directory.path()), None);
        for name in [
            "libonnxruntime_providers_shared.so",
            "libonnxruntime.so.1.24.1",
            "libonnxruntime.so.1.31.1",
            "x",
        ] {
            std::fs::write(directory.path().join(name), "").unwrap();
        }
        assert_eq!(shared_library(directory.path()), Some(directory.path().join("libonnxruntime.so.1.31.1")));
    }

    #[test]
    fn what_is_said_comes_first() {
        let said = Places { models: Some("a".into()), runtime_library: Some("b.so".into()) };
        assert_eq!(said.models(Path::new("c")), PathBuf::from("a"));
        assert_eq!(said.runtime_library(Some("c.so".into())), Some(PathBuf::from("b.so")));
        assert_eq!(Places::default().models(Path::new("no/such/place")), PathBuf::from("no/such/place"));
    }
}
