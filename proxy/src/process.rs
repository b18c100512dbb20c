//! What Prometheus' client libraries say about every process, under the names that they all use: so that boards and alerts
//! made for other programs fit this one.
//!
//! Read from `/proc` when somebody looks; elsewhere than on Linux the gauges stay at 0.

use std::time::{SystemTime, UNIX_EPOCH};

use prometheus::{Counter, Gauge, IntGauge, Registry};
use rustix::process::{Resource, getrlimit, setrlimit};

/// Ticks of `/proc/self/stat` in a second: the kernel's `USER_HZ`, which is 100 towards programs on every architecture that
/// this runs on, whatever it counts with itself.
const TICKS_A_SECOND: f64 = 100.0;

/// The instruments.
pub struct Process {
    resident_bytes: IntGauge,
    cpu_seconds: Counter,
    open_fds: IntGauge,
    max_fds: IntGauge,
}

impl Process {
    /// Registers everything in `registry`; the process counts as started now.
    ///
    /// # Errors
    /// When a name is taken.
    pub fn register(registry: &Registry) -> Result<Self, prometheus::Error> {
        let started = Gauge::new(
            "process_start_time_seconds",
            "Start time of the process since unix epoch in seconds",
        )?;
        started.set(SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64());
        registry.register(Box::new(started))?;
        let process = Self {
            resident_bytes: IntGauge::new("process_resident_memory_bytes", "Resident memory size in bytes")?,
            cpu_seconds: Counter::new(
                "process_cpu_seconds_total",
                "Total user and system CPU time spent in seconds",
            )?,
            open_fds: IntGauge::new("process_open_fds", "Number of open file descriptors")?,
            max_fds: IntGauge::new("process_max_fds", "Maximum number of open file descriptors")?,
        };
        registry.register(Box::new(process.resident_bytes.clone()))?;
        registry.register(Box::new(process.cpu_seconds.clone()))?;
        registry.register(Box::new(process.open_fds.clone()))?;
        registry.register(Box::new(process.max_fds.clone()))?;
        Ok(process)
    }

    /// Brings the instruments up to date. What cannot be read stays as it was.
    pub fn look(&self) {
        let read = |name: &str| std::fs::read_to_string(format!("/proc/self/{name}")).unwrap_or_default();
        if let Some(bytes) = resident_bytes(&read("status")) {
            self.resident_bytes.set(bytes);
        }
        // Two who look at the same time would add the same seconds twice; a counter cannot be set, and the next look
        // adds nothing until it is right again.
        if let Some(seconds) = cpu_seconds(&read("stat")) {
            self.cpu_seconds.inc_by((seconds - self.cpu_seconds.get()).max(0.0));
        }
        let most = max_files();
        if let Some(most) = most {
            self.max_fds.set(i64::try_from(most).unwrap_or(i64::MAX));
        }
        // To count files takes one: where there is none left, all are open.
        if let Some(open) = open_files().or(most) {
            self.open_fds.set(i64::try_from(open).unwrap_or(i64::MAX));
        }
    }
}

/// Files that this process may have open; none where there is no limit, or nobody tells.
pub(crate) fn max_files() -> Option<usize> {
    usize::try_from(getrlimit(Resource::Nofile).current?).ok()
}

/// Raises the limit on open files as far as the system lets this process: shells and service managers hand out a thousand, for programs that
/// cannot count further. What cannot be raised stays.
pub fn raise_file_limit() {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    if let Err(error) = setrlimit(Resource::Nofile, limit) {
        tracing::debug!(%error, "the limit on open files stays as it is");
    }
}

/// Files that this process has open.
pub(crate) fn open_files() -> Option<usize> {
    // Without the one that reads the directory.
    Some(std::fs::read_dir("/proc/self/fd").ok()?.count().saturating_sub(1))
}

/// From `/proc/self/status`.
fn resident_bytes(status: &str) -> Option<i64> {
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    let kib: i64 = line.trim().trim_end_matches("kB").trim().parse().ok()?;
    kib.checked_mul(1024)
}

/// User and system seconds of all threads, from `/proc/self/stat`: the 14th and the 15th field, counted behind the program's
/// name, which may hold spaces and brackets.
fn cpu_seconds(stat: &str) -> Option<f64> {
    let mut fields = stat.rsplit_once(')')?.1.split_whitespace().skip(11);
    let mut ticks = || fields.next()?.parse::<u32>().ok();
    Some((f64::from(ticks()?) + f64::from(ticks()?)) / TICKS_A_SECOND)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_the_kernel_writes() {
        assert_eq!(resident_bytes("Name:\tacuity\nVmRSS:\t  535148 kB\nThreads:\t9\n"), Some(547_991_552));
        let stat = "7 (a (b) c) S 1 7 7 0 -1 4194560 5 0 0 0 250 50 0 0 20 0 9 0 100 1 2 3";
        assert_eq!(cpu_seconds(stat), Some(3.0));
        for nonsense in ["", "VmRSS: x kB", "7 (a) S"] {
            assert_eq!((resident_bytes(nonsense), cpu_seconds(nonsense)), (None, None));
        }
    }

    #[test]
    fn looking_again_never_counts_backwards() {
        let process = Process::register(&Registry::new()).unwrap();
        process.look();
        let first = process.cpu_seconds.get();
        process.look();
        assert!(process.cpu_seconds.get() >= first);
    }
}
