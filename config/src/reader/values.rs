//! What stands behind a key: words, flags, numbers, durations, sizes and lists of them, each within bounds.

use std::fmt::Display;
use std::ops::RangeInclusive;
use std::path::PathBuf;
use std::time::Duration;

use toml::Spanned;
use toml::de::DeValue;

use super::{Refusal, Section, described};
use crate::units::{DURATION_HINT, SIZE_HINT, parse_duration, parse_size, show_duration, show_size};
use crate::words::{cut, nearest, quoted};

impl<'a> Section<'a> {
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
        self.bounded(key, whole(written), written, bounds, |bound| bound.to_string())
    }

    /// Whole numbers within bounds, each at most once, at least one, in the order they are written; none if they are not
    /// there or not all right. A single number counts as a list of one.
    pub(crate) fn integers<T: Integer>(
        &self,
        key: &'static str,
        bounds: RangeInclusive<T>,
    ) -> Option<Vec<T>> {
        let written = self.table.and_then(|table| table.get(key)).map(Spanned::get_ref);
        if let Some(value @ DeValue::Integer(_)) = written {
            self.get(key);
            return self.integer_of(key, value, &bounds, "a whole number").map(|one| vec![one]);
        }
        let items = self.items(key, "a list of whole numbers", None);
        written?.as_array()?;
        if items.is_empty() {
            self.fault(key, "must hold a number", None);
            return None;
        }
        let mut numbers = Vec::new();
        let mut sound = true;
        for (index, item) in items.into_iter().enumerate() {
            let number = item.get_ref().as_integer().and_then(whole).filter(|number| bounds.contains(number));
            let why = match number {
                Some(number) if numbers.contains(&number) => format!("{number} is there already"),
                Some(number) => {
                    numbers.push(number);
                    continue;
                }
                None => {
                    let (low, high) = (bounds.start(), bounds.end());
                    format!(
                        "must be a whole number between {low} and {high}, not {}",
                        described(item.get_ref())
                    )
                }
            };
            self.findings.add(Some(item.span()), format!("{}[{index}]", self.key(key)), why, None);
            sound = false;
        }
        sound.then_some(numbers)
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
}

fn whole<T: Integer>(written: &toml::de::DeInteger<'_>) -> Option<T> {
    // What does not fit the widest type is out of bounds like anything else.
    let number = i128::from_str_radix(written.as_str(), written.radix()).unwrap_or(i128::MAX);
    T::try_from(number).ok()
}

/// Whole numbers a section can give.
pub(crate) trait Integer: TryFrom<i128> + PartialOrd + Display + Copy {}
impl Integer for u32 {}
impl Integer for u64 {}
impl Integer for usize {}
