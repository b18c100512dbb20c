//! What each of the edge's own workers is told of the configuration.

use std::path::{Path, PathBuf};

use acuity_config::{Config, ModelsConfig, WorkerPart};

/// What workers are told, in turn: lanes and cards are shared out, and so are processors.
pub(super) fn of(config: &Config) -> Vec<WorkerPart> {
    let count = config.workers.count.max(1);
    let part = |number: usize| {
        let mut enhancer = config.enhancer.clone();
        enhancer.lanes = enhancer.lanes.div_ceil(count);
        let cards: Vec<u32> = enhancer.gpu.devices.iter().copied().skip(number).step_by(count).collect();
        if cards.is_empty() {
            let shared = enhancer.gpu.devices.get(number % enhancer.gpu.devices.len().max(1)).copied();
            enhancer.gpu.devices = shared.into_iter().collect();
        } else {
            enhancer.gpu.devices = cards;
        }
        let mut workers = config.workers.clone();
        workers.cpus = match workers.cpus.len() {
            0 => Vec::new(),
            sets => workers.cpus.get(number % sets).cloned().into_iter().collect(),
        };
        let models = ModelsConfig {
            directory: absolute(&config.models.directory),
            // Workers have no network, and no keys of a store.
            store: None,
            ..config.models.clone()
        };
        enhancer.runtime_library = enhancer.runtime_library.as_deref().map(absolute);
        enhancer.cost_file = enhancer.cost_file.as_deref().map(absolute);
        WorkerPart { enhancer, models, workers, log: config.log.clone() }
    };
    (0..count).map(part).collect()
}

fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn the_machine_is_shared_out() {
        let text = "[enhancer]\nlanes = 5\ninference_threads = 3\n[enhancer.gpu]\ndevices = [4, 5, 6]\n\
                    [workers]\ncount = 2\ncpus = [\"0-3\", \"4-7\", \"8\"]\n[[route]]\norigin = \"http://o.example\"\n";
        let parts = of(&acuity_config::parse(text).unwrap());
        let seen = |part: &WorkerPart| {
            (part.enhancer.lanes, part.enhancer.gpu.devices.clone(), part.workers.cpus[0].to_string())
        };
        assert_eq!(seen(&parts[0]), (3, vec![4, 6], "0,1,2,3".to_owned()));
        assert_eq!(seen(&parts[1]), (3, vec![5], "4,5,6,7".to_owned()));
        assert!(parts[0].models.directory.is_absolute());
    }
}
