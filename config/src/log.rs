//! `[log]`: what is written out.

use std::fmt;

use crate::reader::Section;

/// What is logged.
#[derive(Clone, Debug, PartialEq)]
pub struct LogConfig {
    /// Where the access log goes.
    pub access: AccessLog,
    /// How events are written (on stderr).
    pub format: LogFormat,
    /// The least severe events that are logged (on stderr).
    pub level: LogLevel,
}

/// Where the access log goes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum AccessLog {
    /// One JSON object a line on stdout.
    Stdout,
    /// Nowhere.
    Off,
}

/// How events are written.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum LogFormat {
    /// A line for people.
    Text,
    /// One JSON object a line.
    Json,
}

/// Severity of events, severe to chatty.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[allow(missing_docs)] // the names are tracing's
pub enum LogLevel {
    Error,
    Warn,
    Info,
    Debug,
    Trace,
}

impl Default for LogConfig {
    fn default() -> Self {
        // Stdout is where containers and systemd collect; text is what a person at a terminal reads; info is one line per thing an operator did or must know.
        Self { access: AccessLog::Stdout, format: LogFormat::Text, level: LogLevel::Info }
    }
}

impl LogConfig {
    pub(crate) fn read(section: Section<'_>) -> Self {
        let default = Self::default();
        let config = Self {
            access: section.choice(
                "access",
                default.access,
                &[("stdout", AccessLog::Stdout), ("off", AccessLog::Off)],
            ),
            format: section.choice(
                "format",
                default.format,
                &[LogFormat::Text, LogFormat::Json].map(|format| (format.as_str(), format)),
            ),
            level: section.choice(
                "level",
                default.level,
                &LogLevel::ALL.map(|level| (level.as_str(), level)),
            ),
        };
        section.finish();
        config
    }
}

impl LogFormat {
    /// As it is written in a configuration.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Text => "text",
            Self::Json => "json",
        }
    }
}

impl LogLevel {
    /// All levels, severe to chatty.
    pub const ALL: [Self; 5] = [Self::Error, Self::Warn, Self::Info, Self::Debug, Self::Trace];

    /// tracing's name of it.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Error => "error",
            Self::Warn => "warn",
            Self::Info => "info",
            Self::Debug => "debug",
            Self::Trace => "trace",
        }
    }
}

impl fmt::Display for LogLevel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(self.as_str())
    }
}
