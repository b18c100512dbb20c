//! A regular expression from the configuration: compiled once at load, bounded in size, comparable by its source.
//!
//! Rules run on strangers' headers at every multivariant playlist; the `regex` crate matches in linear time, and
//! the bounds here keep what an operator pastes in from costing megabytes.

use std::fmt;

use regex::{Regex, RegexBuilder};

/// Longest accepted pattern, in bytes: far above any rule a person writes.
const PATTERN_LIMIT_BYTES: usize = 1024;
/// Bound on the compiled program, in bytes: a tenth of what the `regex` crate allows. Lists of device names stay far below;
/// counted repetitions of large classes do not.
const COMPILED_LIMIT_BYTES: usize = 1 << 20;

/// A compiled, unanchored regular expression (syntax of the `regex` crate; `(?i)` ignores case).
#[derive(Clone)]
pub struct Pattern(Regex);

impl Pattern {
    /// Compiles `source`; the error is one line that says what is wrong.
    ///
    /// # Errors
    /// When the pattern is not valid, longer than 1024 bytes or compiles to more than 1 MiB.
    pub fn new(source: &str) -> Result<Self, String> {
        if source.len() > PATTERN_LIMIT_BYTES {
            return Err(format!(
                "is {} bytes long; a pattern may have at most {PATTERN_LIMIT_BYTES}",
                source.len()
            ));
        }
        RegexBuilder::new(source).size_limit(COMPILED_LIMIT_BYTES).build().map(Self).map_err(|error| {
            match error {
                // The crate draws the pattern with a caret over several lines; its last line is the reason.
                regex::Error::Syntax(drawing) => {
                    let reason = drawing.lines().last().unwrap_or_default();
                    format!(
                        "is not a valid regular expression: {}",
                        reason.trim().trim_start_matches("error: ")
                    )
                }
                regex::Error::CompiledTooBig(_) => "compiles to more than 1 MiB; repeat less".to_owned(),
                other => format!("is not a valid regular expression: {other}"),
            }
        })
    }

    /// Whether the pattern occurs anywhere in `text`.
    #[must_use]
    pub fn is_match(&self, text: &str) -> bool {
        self.0.is_match(text)
    }

    /// The pattern as it was written.
    #[must_use]
    pub fn as_str(&self) -> &str {
        self.0.as_str()
    }
}

impl PartialEq for Pattern {
    fn eq(&self, other: &Self) -> bool {
        self.as_str() == other.as_str()
    }
}

impl fmt::Debug for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pattern({:?})", self.as_str())
    }
}

impl fmt::Display for Pattern {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}
