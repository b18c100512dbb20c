//! Walks a TOML document section by section and collects what is wrong instead of stopping at it.
//!
//! serde's derive gives up at the first fault, and an operator then finds the second one on the next start. Here every
//! `Section` method answers with a value in any case (the default where the text has none or a wrong one) and notes the
//! fault, so that one pass over the document finds all of them. A section remembers which keys were asked for: the
//! others are unknown, and the nearest known key is suggested.

use std::cell::RefCell;
use std::fmt::Display;
use std::ops::{Range, RangeInclusive};
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use crate::findings::Findings;
use crate::units::{DURATION_HINT, SIZE_HINT, parse_duration, parse_size, show_duration, show_size};
use crate::words::{cut, nearest, quoted};

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

    /// Strings, each understood by `read`, if they are there and all right. A single string counts as a list of one.
    pub(crate) fn list<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<Vec<T>> {
        let value = self.table.and_then(|table| table.get(key));
        if let Some(DeValue::String(_)) = value.map(Spanned::get_ref) {
            return self.parsed(key, read).map(|one| vec![one]);
        }
        let items = self.items(key, "a list of strings", None);
        value?.get_ref().as_array()?;
        let take = |(index, item): (usize, &Spanned<DeValue<'_>>)| {
            let refusal = match item.get_ref().as_str().map(&read) {
                Some(Ok(value)) => return Some(value),
                Some(Err(refusal)) => refusal,
                None => Refusal::new(format!("must be a string, not {}", described(item.get_ref()))),
            };
            let name = format!("{}[{index}]", self.key(key));
            self.findings.add(Some(item.span()), name, refusal.message, refusal.hint);
            None
        };
        // Through a vector, so that every wrong item is reported and not only the first.
        items.into_iter().enumerate().map(take).collect::<Vec<_>>().into_iter().collect()
    }

    pub(crate) fn text(&self, key: &'static str) -> Option<&'a str> {
        let value = self.get(key)?.get_ref();
        if value.as_str().is_none() {
            self.wrong_type(key, "a string", value, None);
        }
        value.as_str()
    }

    /// A string understood by `read`, if it is there and right.
    pub(crate) fn parsed<T>(
        &self,
        key: &'static str,
        read: impl Fn(&str) -> Result<T, Refusal>,
    ) -> Option<T> {
        match read(self.text(key)?) {
            Ok(value) => Some(value),
            Err(refusal) => {
                self.fault(key, refusal.message, refusal.hint.as_deref());
                None
            }
        }
    }

    pub(crate) fn path(&self, key: &'static str) -> Option<PathBuf> {
        self.parsed(key, |text| {
            if text.is_empty() || text.contains('\0') {
                return Err(Refusal::new("must name a file or directory"));
            }
            Ok(PathBuf::from(text))
        })
    }

    /// One of a few words.
    pub(crate) fn choice<T: Copy>(&self, key: &'static str, default: T, choices: &[(&'static str, T)]) -> T {
        let read = |text: &str| {
            choices.iter().find(|(name, _)| *name == text).map(|&(_, value)| value).ok_or_else(|| {
                let names: Vec<&str> = choices.iter().map(|&(name, _)| name).collect();
                let listed: Vec<String> = names.iter().map(|name| format!("{name:?}")).collect();
                Refusal::new(format!("{} is not one of {}", quoted(text), listed.join(", ")))
                    .hint_if(nearest(text, &names).map(|name| format!("did you mean {name:?}?")))
            })
        };
        self.parsed(key, read).unwrap_or(default)
    }

    pub(crate) fn flag(&self, key: &'static str, default: bool) -> bool {
        let Some(value) = self.get(key) else { return default };
        value.get_ref().as_bool().unwrap_or_else(|| {
            self.wrong_type(key, "true or false", value.get_ref(), None);
            default
        })
    }

    /// A whole number within bounds.
    pub(crate) fn integer<T: Integer>(&self, key: &'static str, default: T, bounds: RangeInclusive<T>) -> T {
        let Some(value) = self.get(key) else { return default };
        self.integer_of(key, value.get_ref(), &bounds, "a whole number").unwrap_or(default)
    }

    /// A whole number within bounds, or the word `auto`, which is none.
    pub(crate) fn integer_or_auto<T: Integer>(
        &self,
        key: &'static str,
        bounds: RangeInclusive<T>,
    ) -> Option<T> {
        let value = self.get(key)?.get_ref();
        if value.as_str() == Some("auto") {
            return None;
        }
        self.integer_of(key, value, &bounds, "a whole number or \"auto\"")
    }

    fn integer_of<T: Integer>(
        &self,
        key: &'static str,
        value: &DeValue<'_>,
        bounds: &RangeInclusive<T>,
        wanted: &str,
    ) -> Option<T> {
        let Some(written) = value.as_integer() else {
            self.wrong_type(key, wanted, value, None);
            return None;
        };
        // What does not fit the widest type is out of bounds like anything else.
        let number = i128::from_str_radix(written.as_str(), written.radix()).unwrap_or(i128::MAX);
        self.bounded(key, T::try_from(number).ok(), written, bounds, |bound| bound.to_string())
    }

    /// A number within bounds.
    pub(crate) fn number(&self, key: &'static str, default: f64, bounds: RangeInclusive<f64>) -> f64 {
        self.optional_number(key, bounds).unwrap_or(default)
    }

    /// A number within bounds, if it is there and right.
    pub(crate) fn optional_number(&self, key: &'static str, bounds: RangeInclusive<f64>) -> Option<f64> {
        let value = self.get(key)?.get_ref();
        let written = match value {
            DeValue::Integer(number) if number.radix() == 10 => number.as_str(),
            DeValue::Float(number) => number.as_str(),
            other => {
                self.wrong_type(key, "a number", other, None);
                return None;
            }
        };
        // NaN is in no range, so it is refused with the rest.
        self.bounded(key, written.parse().ok(), &written, &bounds, |bound| bound.to_string())
    }

    /// A duration within bounds.
    pub(crate) fn duration(
        &self,
        key: &'static str,
        default: Duration,
        bounds: RangeInclusive<Duration>,
    ) -> Duration {
        let Some(value) = self.get(key) else { return default };
        let Some(text) = value.get_ref().as_str() else {
            self.wrong_type(key, "a duration", value.get_ref(), Some(DURATION_HINT));
            return default;
        };
        let Some(duration) = parse_duration(text) else {
            self.fault(key, format!("{} is not a duration", quoted(text)), Some(DURATION_HINT));
            return default;
        };
        self.bounded(key, Some(duration), &text, &bounds, |&bound| show_duration(bound)).unwrap_or(default)
    }

    /// A size within bounds: a string with a unit, or a number of bytes.
    pub(crate) fn size(&self, key: &'static str, default: u64, bounds: RangeInclusive<u64>) -> u64 {
        let Some(value) = self.get(key) else { return default };
        let (bytes, written) = match value.get_ref() {
            DeValue::String(text) => (parse_size(text), text.to_string()),
            DeValue::Integer(number) => {
                (u64::from_str_radix(number.as_str(), number.radix()).ok(), number.to_string())
            }
            other => {
                self.wrong_type(key, "a size", other, Some(SIZE_HINT));
                return default;
            }
        };
        if bytes.is_none() && value.get_ref().is_str() {
            self.fault(key, format!("{} is not a size", quoted(&written)), Some(SIZE_HINT));
            return default;
        }
        self.bounded(key, bytes, &written, &bounds, |&bound| show_size(bound)).unwrap_or(default)
    }

    fn bounded<T: PartialOrd>(
        &self,
        key: &'static str,
        value: Option<T>,
        written: &dyn Display,
        bounds: &RangeInclusive<T>,
        show: impl Fn(&T) -> String,
    ) -> Option<T> {
        let value = value.filter(|value| bounds.contains(value));
        if value.is_none() {
            let (low, high) = (show(bounds.start()), show(bounds.end()));
            self.fault(key, format!("{} is not between {low} and {high}", cut(&written.to_string())), None);
        }
        value
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

    pub(crate) fn hint(self, hint: impl Into<String>) -> Self {
        Self { hint: Some(hint.into()), ..self }
    }

    fn hint_if(self, hint: Option<String>) -> Self {
        Self { hint, ..self }
    }
}

/// Whole numbers a section can give.
pub(crate) trait Integer: TryFrom<i128> + PartialOrd + Display + Copy {}
impl Integer for u32 {}
impl Integer for u64 {}
impl Integer for usize {}

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
