//! Walks a TOML document section by section and collects what is wrong instead of stopping at it.
//!
//! serde's derive gives up at the first fault, and an operator then finds the second one on the next start. Here every
//! `Section` method answers with a value in any case (the default where the text has none or a wrong one) and notes the
//! fault, so that one pass over the document finds all of them. A section remembers which keys were asked for: the
//! others are unknown, and the nearest known key is suggested.
//!
//! Here are sections and what may be wrong with one as such; [`values`] reads what stands behind a key.

mod values;

use std::cell::RefCell;
use std::ops::Range;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::findings::Findings;
use crate::words::{nearest, quoted};

/// Most entries of one list; far above any edge, and a bound on what a mistake can cost.
const LIST_LIMIT: usize = 1024;

/// One table of the document, or the absence of one (every key is then at its default).
pub(crate) struct Section<'a> {
    path: String,
    span: Option<Range<usize>>,
    table: Option<&'a DeTable<'a>>,
    known: RefCell<Vec<&'static str>>,
    findings: &'a Findings,
}

impl<'a> Section<'a> {
    pub(crate) fn root(table: &'a Spanned<DeTable<'a>>, findings: &'a Findings) -> Self {
        Self::new(String::new(), Some(0..0), Some(table.get_ref()), findings)
    }

    fn new(
        path: String,
        span: Option<Range<usize>>,
        table: Option<&'a DeTable<'a>>,
        findings: &'a Findings,
    ) -> Self {
        Self { path, span, table, known: RefCell::default(), findings }
    }

    /// The full name of a key of this section; of the section itself for the empty key.
    pub(crate) fn key(&self, key: &str) -> String {
        match (self.path.as_str(), key) {
            ("", key) => key.to_owned(),
            (path, "") => path.to_owned(),
            (path, key) => format!("{path}.{key}"),
        }
    }

    /// Notes a fault of a key: at its value, or at the section where it has none.
    pub(crate) fn fault(&self, key: &str, message: impl Into<String>, hint: Option<&str>) {
        let span =
            self.table.and_then(|table| table.get(key)).map(Spanned::span).or_else(|| self.span.clone());
        self.findings.add(span, self.key(key), message.into(), hint.map(str::to_owned));
    }

    /// Notes that a key must be there but is not.
    pub(crate) fn missing(&self, key: &str, hint: &str) {
        self.findings.missing(self.span.clone(), self.key(key), hint);
    }

    /// A key that may stand here, whether it is read or not.
    pub(crate) fn know(&self, key: &'static str) {
        let _ = self.get(key);
    }

    pub(crate) fn has(&self, key: &str) -> bool {
        self.table.is_some_and(|table| table.contains_key(key))
    }

    /// Where a key's value stands.
    pub(crate) fn span_of(&self, key: &str) -> Option<Range<usize>> {
        self.table.and_then(|table| table.get(key)).map(Spanned::span)
    }

    fn get(&self, key: &'static str) -> Option<&'a Spanned<DeValue<'a>>> {
        self.known.borrow_mut().push(key);
        #[cfg(test)]
        self.findings.asked.borrow_mut().insert(strip_indices(&self.key(key)));
        self.table.and_then(|table| table.get(key))
    }

    fn wrong_type(&self, key: &str, wanted: &str, found: &DeValue<'_>, hint: Option<&str>) {
        self.fault(key, format!("must be {wanted}, not {}", described(found)), hint);
    }

    /// A section below this one; an absent one has every key at its default.
    pub(crate) fn child(&self, key: &'static str) -> Section<'a> {
        let value = self.get(key);
        let table = value.and_then(|value| {
            let table = value.get_ref().as_table();
            if table.is_none() {
                self.wrong_type(
                    key,
                    "a section",
                    value.get_ref(),
                    Some(&format!("write it as [{}]", self.key(key))),
                );
            }
            table
        });
        Section::new(self.key(key), value.map(Spanned::span), table, self.findings)
    }

    /// A section below this one, if it is there.
    pub(crate) fn optional_child(&self, key: &'static str) -> Option<Section<'a>> {
        let child = self.child(key);
        child.table.is_some().then_some(child)
    }

    /// The tables of an array of tables.
    pub(crate) fn children(&self, key: &'static str) -> Vec<Section<'a>> {
        let name = self.key(key);
        let hint = format!("write each as [[{}]]", strip_indices(&name));
        self.items(key, "a list of sections", Some(&hint))
            .into_iter()
            .enumerate()
            .filter_map(|(index, item)| {
                let path = format!("{name}[{index}]");
                let table = item.get_ref().as_table();
                if table.is_none() {
                    let message = format!("must be a section, not {}", described(item.get_ref()));
                    self.findings.add(Some(item.span()), path.clone(), message, Some(hint.clone()));
                }
                table.map(|table| Section::new(path, Some(item.span()), Some(table), self.findings))
            })
            .collect()
    }

    fn items(&self, key: &'static str, wanted: &str, hint: Option<&str>) -> Vec<&'a Spanned<DeValue<'a>>> {
        let Some(value) = self.get(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong_type(key, wanted, value.get_ref(), hint);
            return Vec::new();
        };
        if array.len() > LIST_LIMIT {
            self.fault(key, format!("has {} entries; at most {LIST_LIMIT} are taken", array.len()), None);
        }
        array.iter().take(LIST_LIMIT).collect()
    }

    /// Whether a key holds a list without entries.
    pub(crate) fn is_empty_list(&self, key: &str) -> bool {
        let value = self.table.and_then(|table| table.get(key));
        value.and_then(|value| value.get_ref().as_array()).is_some_and(|array| array.is_empty())
    }

    /// Reports the keys nobody asked for. Every section must come to this.
    pub(crate) fn finish(self) {
        let Some(table) = self.table else { return };
        let known = self.known.borrow();
        for key in table.keys().filter(|key| !known.contains(&key.get_ref().as_ref())) {
            let name = key.get_ref().as_ref();
            let place =
                if self.path.is_empty() { "the top level".to_owned() } else { format!("[{}]", self.path) };
            let hint = nearest(name, &known).map_or_else(
                || {
                    let mut all = known.clone();
                    all.sort_unstable();
                    all.dedup();
                    format!("{place} has: {}", all.join(", "))
                },
                |near| format!("did you mean `{near}`?"),
            );
            self.findings.add(Some(key.span()), self.key(name), "is not a known key".to_owned(), Some(hint));
        }
    }
}

/// Why a string was not taken.
pub(crate) struct Refusal {
    pub(crate) message: String,
    pub(crate) hint: Option<String>,
}

impl Refusal {
    pub(crate) fn new(message: impl Into<String>) -> Self {
        Self { message: message.into(), hint: None }
    }

    /// Of words for those outside this crate: what is wrong, and what would be right.
    pub(crate) fn from_words((message, hint): (String, String)) -> Self {
        Self::new(message).hint(hint)
    }

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn hint_if(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

fn described(value: &DeValue<'_>) -> String {
    match value {
        DeValue::String(text) => format!("the string {}", quoted(text)),
        DeValue::Integer(number) => format!("the integer {number}"),
        DeValue::Float(number) => format!("the number {number}"),
        DeValue::Boolean(flag) => flag.to_string(),
        DeValue::Datetime(_) => "a date".to_owned(),
        DeValue::Array(_) => "a list".to_owned(),
        DeValue::Table(_) => "a section".to_owned(),
    }
}

/// `route[1].weak[0].header` without its indices.
fn strip_indices(path: &str) -> String {
    let mut inside = false;
    path.chars()
        .filter(|&c| {
            let keep = c != '[' && !inside;
            inside = (inside || c == '[') && c != ']';
            keep
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn indices_are_stripped() {
        assert_eq!(strip_indices("route[1].weak[10].header.name"), "route.weak.header.name");
    }
}
