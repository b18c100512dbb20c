//! Collects faults while a document is walked, and decides at the end which of them are worth telling.

use std::cell::RefCell;
use std::ops::Range;

use crate::faults::{Fault, Faults, Position};

/// Collects faults while a document is walked.
pub(crate) struct Findings {
    faults: RefCell<Vec<Raw>>,
    /// Keys that were asked for, as paths without indices: what the example file must hold.
    #[cfg(test)]
    pub(crate) asked: RefCell<std::collections::BTreeSet<String>>,
}

struct Raw {
    span: Option<Range<usize>>,
    kind: Kind,
    fault: Fault,
}

#[derive(Clone, Copy, PartialEq)]
enum Kind {
    Syntax,
    Missing,
    Other,
}

impl Findings {
    pub(crate) fn new() -> Self {
        Self {
            faults: RefCell::default(),
            #[cfg(test)]
            asked: RefCell::default(),
        }
    }

    /// The text is not TOML at this place.
    pub(crate) fn syntax(&self, error: &toml::de::Error) {
        self.push(error.span(), Kind::Syntax, String::new(), error.message().replace('\n', ", "), None);
    }

    /// A fault of a value; without a span it is not from the text.
    pub(crate) fn add(
        &self,
        span: Option<Range<usize>>,
        key: impl Into<String>,
        message: String,
        hint: Option<String>,
    ) {
        self.push(span, Kind::Other, key.into(), message, hint);
    }

    /// A key must be there but is not.
    pub(crate) fn missing(&self, span: Option<Range<usize>>, key: String, hint: &str) {
        self.push(span, Kind::Missing, key, "is missing".to_owned(), Some(hint.to_owned()));
    }

    fn push(
        &self,
        span: Option<Range<usize>>,
        kind: Kind,
        key: String,
        message: String,
        hint: Option<String>,
    ) {
        let fault = Fault { position: None, key, message, hint };
        self.faults.borrow_mut().push(Raw { span, kind, fault });
    }

    /// `value`, unless something was found.
    pub(crate) fn settle<T>(self, text: &str, value: T) -> Result<T, Faults> {
        let mut raw = self.faults.into_inner();
        for found in &mut raw {
            found.fault.position = found.span.as_ref().map(|span| position(text, span.start));
        }
        // Where the text is not TOML, keys are lost: neither they nor what is left of their lines is a fault of its own.
        let broken: Vec<usize> = raw
            .iter()
            .filter(|r| r.kind == Kind::Syntax)
            .filter_map(|r| r.fault.position)
            .map(|at| at.line)
            .collect();
        raw.retain(|r| match r.kind {
            Kind::Syntax => true,
            Kind::Missing => broken.is_empty(),
            Kind::Other => r.fault.position.is_none_or(|at| !broken.contains(&at.line)),
        });
        raw.sort_by_key(|r| r.fault.position);
        if raw.is_empty() { Ok(value) } else { Err(Faults::new(raw.into_iter().map(|r| r.fault).collect())) }
    }
}

pub(crate) fn position(text: &str, offset: usize) -> Position {
    let before = text.get(..offset).unwrap_or(text);
    let line_start = before.rfind('\n').map_or(0, |newline| newline + 1);
    Position {
        line: before.matches('\n').count() + 1,
        column: before.get(line_start..).unwrap_or_default().chars().count() + 1,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_count_characters() {
        let text = "a = \"é\"\nkey = 1";
        assert_eq!(position(text, 0), Position { line: 1, column: 1 });
        assert_eq!(position(text, text.find("key").unwrap_or_default()), Position { line: 2, column: 1 });
        assert_eq!(position(text, "a = \"é".len()), Position { line: 1, column: 7 });
        assert_eq!(position(text, 999).line, 2);
    }
}
