//! What a worker gives up before it sees a stranger's byte.
//!
//! A decoder that has been taken over can do what its process may. So it may little: no network, no new program, no other process, no
//! file but models and libraries (and those for reading), no privileges. Each of these is a crate's safe interface to the kernel; what an
//! old kernel lacks is reported, not passed over in silence.

mod files;
mod syscalls;

use acuity_config::{Sandbox, WorkerPart};
use caps::CapSet;
use nix::errno::Errno;
use nix::sched::{CpuSet, sched_setaffinity};
use nix::sys::resource::{Resource, setrlimit};
use nix::unistd::{Gid, Pid, Uid, geteuid, setgid, setgroups, setuid};

/// Who a worker of root's becomes: `nobody`, the kernel's own number for a user that owns nothing.
const NOBODY: u32 = 65_534;

/// Files that a worker may hold at one time: libraries, models while they are read, its socket.
const OPEN_FILES: u64 = 1024;

/// What the kernel's accounting may see of writable memory beside what is resident, as a multiple of the resident limit: stacks, arenas
/// and pools that were asked for and are not in use. It stops what asks for everything at once; the edge looks at what is resident.
const WRITABLE_FACTOR: u64 = 4;

/// Processor time between the kernel's two signals.
const CPU_NOTICE_SECONDS: u64 = 5;

/// Why a worker cannot be fenced in.
#[derive(Debug, thiserror::Error)]
pub enum SandboxError {
    /// A limit cannot be set.
    #[error("cannot set the worker's {what}: {source}")]
    Limit {
        /// Which.
        what: &'static str,
        /// The kernel's word.
        source: Errno,
    },
    /// The processors that it is to be kept to are not this machine's.
    #[error("workers.cpus: cannot keep a worker to these processors: {0}")]
    Cpus(#[source] Errno),
    /// Root's privileges cannot be given up.
    #[error("cannot give up privileges: {0}")]
    Privileges(String),
    /// `workers.sandbox = "required"`, and the kernel lacks a part of it.
    #[error("workers.sandbox = \"required\", but this kernel lacks: {0}")]
    Lacking(String),
}

/// Puts limits and fences on. Gives what the kernel lacks.
pub(crate) fn enter(part: &WorkerPart) -> Result<Vec<&'static str>, SandboxError> {
    let limit = |what, resource, most| {
        setrlimit(resource, most, most).map_err(|source| SandboxError::Limit { what, source })
    };
    // A core dump would hold viewers' pictures, and writing gigabytes takes longer than a new worker.
    limit("core size", Resource::RLIMIT_CORE, 0)?;
    limit("open files", Resource::RLIMIT_NOFILE, OPEN_FILES)?;
    if !part.enhancer.provider.is_gpu() {
        // CUDA reserves address space by the size of the cards.
        let writable = part.workers.memory_limit.saturating_mul(WRITABLE_FACTOR);
        limit("writable memory", Resource::RLIMIT_DATA, writable)?;
    }
    keep_to(part)?;
    if !part.workers.cpu_time_limit.is_zero() {
        let (soft, hard) = cpu_seconds(part);
        setrlimit(Resource::RLIMIT_CPU, soft, hard)
            .map_err(|source| SandboxError::Limit { what: "processor time", source })?;
    }
    // Of all processes the kernel ends this one first. Raising it needs no privilege; without /proc it is not done.
    let _ = std::fs::write("/proc/self/oom_score_adj", "500");
    if part.workers.sandbox == Sandbox::Off {
        return Ok(Vec::new());
    }
    drop_privileges()?;
    let mut lacking = Vec::new();
    if !files::fence(part) {
        lacking.push("Landlock (files, signals, TCP)");
    }
    if !syscalls::filter() {
        lacking.push("seccomp (network, programs, processes)");
    }
    if part.workers.sandbox == Sandbox::Required && !lacking.is_empty() {
        return Err(SandboxError::Lacking(lacking.join(", ")));
    }
    Ok(lacking)
}

/// Processor time until the kernel ends a worker: beyond what it may use before it is replaced, what all its processors can use while
/// it finishes what it has in hand. First the signal that says why, then the one that nobody can ignore.
fn cpu_seconds(part: &WorkerPart) -> (u64, u64) {
    let processors = std::thread::available_parallelism().map_or(1, |number| number.get() as u64);
    let finishing = part.workers.segment_timeout.as_secs().saturating_mul(processors);
    let soft = part.workers.cpu_time_limit.as_secs().saturating_add(finishing).max(1);
    (soft, soft.saturating_add(CPU_NOTICE_SECONDS))
}

/// Keeps this process to the processors that it was handed.
fn keep_to(part: &WorkerPart) -> Result<(), SandboxError> {
    let Some(cpus) = part.workers.cpus.first() else { return Ok(()) };
    let mut set = CpuSet::new();
    cpus.numbers().iter().try_for_each(|number| set.set(*number)).map_err(SandboxError::Cpus)?;
    sched_setaffinity(Pid::from_raw(0), &set).map_err(SandboxError::Cpus)
}

/// Root becomes nobody; anybody gives up what was lent (ports below 1024).
fn drop_privileges() -> Result<(), SandboxError> {
    let fault = |what: &str, why: &dyn std::fmt::Display| SandboxError::Privileges(format!("{what}: {why}"));
    if geteuid().is_root() {
        setgroups(&[]).map_err(|why| fault("groups", &why))?;
        setgid(Gid::from_raw(NOBODY)).map_err(|why| fault("group", &why))?;
        setuid(Uid::from_raw(NOBODY)).map_err(|why| fault("user", &why))?;
    }
    for set in [CapSet::Ambient, CapSet::Effective, CapSet::Permitted, CapSet::Inheritable] {
        caps::clear(None, set).map_err(|why| fault("capabilities", &why))?;
    }
    Ok(())
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::print_stdout)]
mod tests;
