//! Files, by Landlock: libraries and models for reading, the costs and compiled networks for writing, nothing else. Where the kernel
//! is new enough TCP, signals to others and abstract sockets are forbidden by it too; and tracing others (their memory) always is.

use std::path::{Path, PathBuf};

use acuity_config::WorkerPart;
use landlock::{
    ABI, Access, AccessFs, AccessNet, BitFlags, CompatLevel, Compatible, PathBeneath, PathFd, Ruleset,
    RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

/// The newest that this program knows. Older kernels do what they can of it.
const NEWEST: ABI = ABI::V6;

/// What any program reads: libraries and how to find them, the machine's processors and memory.
const SYSTEM: [&str; 10] = [
    "/usr",
    "/lib",
    "/lib64",
    "/etc/ld.so.cache",
    "/etc/localtime",
    "/proc",
    "/sys",
    "/dev/null",
    "/dev/zero",
    "/dev/urandom",
];

/// What cards need beside: their devices, and what their libraries are told.
const OF_CARDS: [&str; 3] = ["/dev", "/etc/nvidia", "/run/nvidia-persistenced"];

/// Fences this thread and those it will start. `false`: the kernel knows nothing of it.
pub(super) fn fence(part: &WorkerPart) -> bool {
    match restrict(part) {
        Ok(status) => status != RulesetStatus::NotEnforced,
        Err(error) => {
            // The subscriber comes later: it is for the log of the edge.
            eprintln!("acuity worker: Landlock: {error}");
            false
        }
    }
}

fn restrict(part: &WorkerPart) -> Result<RulesetStatus, RulesetError> {
    let reads = AccessFs::from_read(NEWEST);
    let all = AccessFs::from_all(NEWEST);
    let is_gpu = part.enhancer.provider.is_gpu();
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::BestEffort)
        .handle_access(all)?
        .handle_access(AccessNet::from_all(NEWEST))?
        .scope(Scope::from_all(NEWEST))?
        .create()?;
    for path in SYSTEM.map(PathBuf::from).into_iter().chain(own(part)) {
        ruleset = allow(ruleset, &path, reads)?;
    }
    if is_gpu {
        for path in OF_CARDS {
            ruleset = allow(ruleset, Path::new(path), all)?;
        }
    }
    for path in written(part) {
        ruleset = allow(ruleset, &path, all)?;
    }
    Ok(ruleset.restrict_self()?.ruleset)
}

/// What is not there needs no rule.
fn allow(
    ruleset: landlock::RulesetCreated,
    path: &Path,
    access: BitFlags<AccessFs>,
) -> Result<landlock::RulesetCreated, RulesetError> {
    let Ok(metadata) = std::fs::metadata(path) else { return Ok(ruleset) };
    let Ok(place) = PathFd::new(path) else { return Ok(ruleset) };
    // What is meant for directories cannot be said of a file.
    let access = if metadata.is_dir() { access } else { access & AccessFs::from_file(NEWEST) };
    ruleset.add_rule(PathBeneath::new(place, access))
}

/// Models, and libraries that lie in no system directory: ONNX Runtime's, by each name that leads to it, and a packed program's.
fn own(part: &WorkerPart) -> Vec<PathBuf> {
    let mut paths = vec![part.models.directory.clone()];
    let program = std::env::current_exe().unwrap_or_default();
    if let Some(packed) = program.parent().and_then(Path::parent) {
        paths.extend(["lib", "cuda"].map(|name| packed.join(name)));
    }
    if let Some(library) = &part.enhancer.runtime_library {
        let real = std::fs::canonicalize(library).unwrap_or_else(|_| library.clone());
        paths.extend([library.as_path(), &real].iter().filter_map(|path| path.parent()).map(Path::to_owned));
    }
    paths
}

/// Directories that files are put into: a file that is replaced is a new one.
fn written(part: &WorkerPart) -> Vec<PathBuf> {
    let costs = part.enhancer.cost_file.as_deref().and_then(Path::parent).map(Path::to_owned);
    costs.into_iter().chain(part.enhancer.gpu.engine_cache.clone()).collect()
}
