//! `[workers]`: whether segments are made in processes of their own, how many, and within which limits.

use std::time::Duration;

use crate::reader::{Refusal, Section};
use crate::remote::{ListenConfig, RemoteConfig};

/// Processors a worker may be kept to: above what any machine has.
const CPU_LIMIT: usize = 4096;

/// The processes that decoders and networks run in.
#[derive(Clone, Debug, PartialEq)]
pub struct WorkersConfig {
    /// Worker processes that make segments at the same time (0 to 64); 0: they are made in the edge's own process. The lanes and cards
    /// of `[enhancer]` are shared out among them.
    pub count: usize,
    /// Processes beside these that are ready and wait for one to end (0 to 8).
    pub spare: usize,
    /// Segments after which a worker is replaced (0 to 1 000 000 000); 0: never.
    pub recycle_after: u64,
    /// Resident bytes of one worker above which it is replaced (256 MiB to 1 TiB).
    pub memory_limit: u64,
    /// Processor time of one worker, all threads, after which it is replaced (0 to 8760 h); 0: any. The kernel ends one that goes on.
    pub cpu_time_limit: Duration,
    /// How long a worker may be at one segment, from the moment it is asked (1 s to 150 s: the edge gives a
    /// segment up after three minutes).
    pub segment_timeout: Duration,
    /// How long a worker may give no sign of life (300 ms to 1 min).
    pub silence_limit: Duration,
    /// What workers give up before they see a stranger's byte.
    pub sandbox: Sandbox,
    /// Processors of each worker, in turn; none: all of them for each.
    pub cpus: Vec<CpuSet>,
    /// Workers on other machines, beside those or instead of them.
    pub remote: Option<RemoteConfig>,
    /// Where this process listens, if it is a worker that does.
    pub listen: Option<ListenConfig>,
}

/// How a worker is fenced in.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Sandbox {
    /// With all that this kernel offers; what it lacks is said in the log.
    Auto,
    /// With all of it, or the worker does not start.
    Required,
    /// Not at all: for debuggers and profilers.
    Off,
}

/// Processors as `taskset -c` takes them: `0-3,8`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CpuSet(Vec<usize>);

impl Default for WorkersConfig {
    fn default() -> Self {
        Self {
            // Development and a first look need no second process. Whoever faces strangers' origins sets 1.
            count: 0,
            // A new worker takes a second or two until its models are proven; a spare one takes over at once.
            spare: 1,
            // About half a day of one lane in real time with segments of 4 s: what leaks slowly never gets far.
            recycle_after: 10_000,
            // Four times what a worker of one lane comes to (docs/workers.md), below what hurts a machine worth using.
            memory_limit: 2 << 30,
            // Two lanes that are never idle get there in half a day, as with segments; what has been taken over gets no further.
            cpu_time_limit: Duration::from_secs(24 * 3600),
            // The largest tier on two cores takes three quarters of it for a segment of 30 s at 60 pictures a second.
            segment_timeout: Duration::from_secs(120),
            // Five signs of life missed: half of what a viewer's buffer stands without noticing.
            silence_limit: Duration::from_secs(1),
            // An old kernel is no reason to serve nothing.
            sandbox: Sandbox::Auto,
            cpus: Vec::new(),
            // Neither machines nor certificates can be guessed.
            remote: None,
            listen: None,
        }
    }
}

impl WorkersConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let (ms, s) = (Duration::from_millis, Duration::from_secs);
        let config = Self {
            count: section.integer("count", default.count, 0..=64),
            spare: section.integer("spare", default.spare, 0..=8),
            recycle_after: section.integer("recycle_after", default.recycle_after, 0..=1_000_000_000),
            memory_limit: section.size("memory_limit", default.memory_limit, 256 << 20..=1 << 40),
            cpu_time_limit: section.duration("cpu_time_limit", default.cpu_time_limit, s(0)..=s(8760 * 3600)),
            segment_timeout: section.duration("segment_timeout", default.segment_timeout, s(1)..=s(150)),
            silence_limit: section.duration("silence_limit", default.silence_limit, ms(300)..=s(60)),
            sandbox: section.choice(
                "sandbox",
                default.sandbox,
                &Sandbox::ALL.map(|sandbox| (sandbox.as_str(), sandbox)),
            ),
            cpus: section.list("cpus", CpuSet::parse).unwrap_or(default.cpus),
            remote: RemoteConfig::read(&section),
            listen: section.optional_child("listen").and_then(ListenConfig::read),
        };
        section.finish();
        config
    }
}

impl Sandbox {
    /// All choices.
    pub const ALL: [Self; 3] = [Self::Auto, Self::Required, Self::Off];

    /// Its name in the configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Required => "required",
            Self::Off => "off",
        }
    }
}

impl CpuSet {
    fn parse(text: &str) -> Result<Self, Refusal> {
        let fault = || Refusal::new("is not a list of processors").hint("as \"0-3\" or \"0,2,8-11\"");
        let number = |text: &str| text.parse::<usize>().ok().filter(|number| *number < CPU_LIMIT);
        let mut all = Vec::new();
        for part in text.split(',') {
            let (first, last) = part.split_once('-').unwrap_or((part, part));
            let (first, last) = number(first).zip(number(last)).ok_or_else(fault)?;
            if first > last {
                return Err(fault());
            }
            all.extend(first..=last);
        }
        all.sort_unstable();
        all.dedup();
        Ok(Self(all))
    }

    /// The processors, counted from 0, in order; at least one.
    #[must_use]
    pub fn numbers(&self) -> &[usize] {
        &self.0
    }
}

impl std::fmt::Display for CpuSet {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let numbers: Vec<String> = self.0.iter().map(ToString::to_string).collect();
        f.write_str(&numbers.join(","))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn processors() {
        for (text, numbers) in [
            ("0", Some(vec![0])),
            ("0-3", Some(vec![0, 1, 2, 3])),
            ("8,0-1,1", Some(vec![0, 1, 8])),
            ("", None),
            ("3-1", None),
            ("a", None),
            ("0-99999", None),
        ] {
            assert_eq!(CpuSet::parse(text).ok().map(|set| set.0), numbers, "{text}");
        }
    }
}
