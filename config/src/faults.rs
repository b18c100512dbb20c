//! Everything that is wrong with a configuration, all at once, each with its place.

use std::fmt;

/// A place in the text that was read; both count from 1, columns in characters.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position {
    /// Line, from 1.
    pub line: usize,
    /// Column in characters, from 1.
    pub column: usize,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where it stands; none if it came from the command line.
    pub position: Option<Position>,
    /// The key, as `route[1].origin` (counting from 0 as TOML libraries do); a flag as `--origin`; empty for the text as such.
    pub key: String,
    /// What is wrong.
    pub message: String,
    /// What to do about it.
    pub hint: Option<String>,
}

/// All that is wrong, in the order of the text. Never empty.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    pub(crate) fn new(faults: Vec<Fault>) -> Self {
        Self(faults)
    }

    /// The faults, in the order of the text.
    pub fn iter(&self) -> std::slice::Iter<'_, Fault> {
        self.0.iter()
    }

    /// The same report with each place given as `name:line:column`, as editors and terminals link it.
    #[must_use]
    pub fn in_file<'a>(&'a self, name: &'a str) -> impl fmt::Display + 'a {
        Report { faults: &self.0, file: Some(name) }
    }
}

struct Report<'a> {
    faults: &'a [Fault],
    file: Option<&'a str>,
}

impl fmt::Display for Report<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.faults.len();
        write!(f, "{count} {} in the configuration:", if count == 1 { "fault" } else { "faults" })?;
        for fault in self.faults {
            f.write_str("\n  ")?;
            match (fault.position, self.file) {
                (Some(at), Some(file)) => write!(f, "{file}:{}:{}: ", at.line, at.column)?,
                (Some(at), None) => write!(f, "line {}, column {}: ", at.line, at.column)?,
                (None, _) => {}
            }
            if !fault.key.is_empty() {
                write!(f, "{}: ", fault.key)?;
            }
            f.write_str(&fault.message)?;
            if let Some(hint) = &fault.hint {
                write!(f, "\n      {hint}")?;
            }
        }
        Ok(())
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        Report { faults: &self.0, file: None }.fmt(f)
    }
}

impl std::error::Error for Faults {}

impl<'a> IntoIterator for &'a Faults {
    type Item = &'a Fault;
    type IntoIter = std::slice::Iter<'a, Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}
