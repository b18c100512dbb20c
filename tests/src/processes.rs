//! The edge's worker processes, as a scenario sees and hurts them.

use std::path::Path;
use std::process::Command;

use crate::Result;

/// What to do to a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Hurt {
    /// SIGKILL.
    Kill,
    /// SIGSTOP: it is there and does nothing.
    Stop,
    /// SIGABRT: as a library does that finds its memory broken. (Of a SIGSEGV that is sent Rust's own handler makes nothing.)
    Crash,
}

impl Hurt {
    fn signal(self) -> &'static str {
        match self {
            Self::Kill => "-KILL",
            Self::Stop => "-STOP",
            Self::Crash => "-ABRT",
        }
    }
}

/// The processes that `edge` (its process id) has started and that live, oldest first.
#[must_use]
pub fn workers(edge: u32) -> Vec<u32> {
    let Ok(entries) = std::fs::read_dir("/proc") else { return Vec::new() };
    let numbers = entries.filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok());
    let mut found: Vec<u32> = numbers
        .filter(|id| status(*id).is_some_and(|status| status.parent == edge && status.lives))
        .collect();
    found.sort_unstable();
    found
}

/// Whether a process is there and not merely waiting to be buried.
#[must_use]
pub fn lives(id: u32) -> bool {
    status(id).is_some_and(|status| status.lives)
}

struct Status {
    parent: u32,
    lives: bool,
}

fn status(id: u32) -> Option<Status> {
    let text = std::fs::read_to_string(format!("/proc/{id}/status")).ok()?;
    let field = |name: &str| text.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    Some(Status { parent: field("PPid:")?.parse().ok()?, lives: !field("State:")?.starts_with('Z') })
}

/// One line of `/proc/<id>/status`, without its name.
#[must_use]
pub fn status_line(id: u32, name: &str) -> Option<String> {
    let text = std::fs::read_to_string(Path::new("/proc").join(id.to_string()).join("status")).ok()?;
    text.lines().find_map(|line| line.strip_prefix(&format!("{name}:"))).map(|rest| rest.trim().to_owned())
}

/// Resident memory of the edge and of its workers together, KiB each.
#[must_use]
pub fn resident_kib(edge: u32) -> (usize, usize) {
    let of = |id: u32| {
        let line = status_line(id, "VmRSS").unwrap_or_default();
        line.trim_end_matches("kB").trim().parse::<usize>().unwrap_or(0)
    };
    (of(edge), workers(edge).into_iter().map(of).sum())
}

/// Sends a signal to one process, by its id.
///
/// # Errors
/// When there is no `kill` command. That the process has ended meanwhile is no error.
pub fn hurt(id: u32, how: Hurt) -> Result<()> {
    Command::new("kill")
        .args([how.signal(), &id.to_string()])
        .stderr(std::process::Stdio::null())
        .status()?;
    Ok(())
}
