//! Sizes and durations as people write them: `256MiB`, `500ms`, and back again for messages.
//!
//! Two small parsers instead of a crate each: a configuration needs a dozen units, whole or decimal numbers, and
//! messages that say what may be written.

use std::time::Duration;

/// Units of size. A kilobyte is 1000 bytes and a kibibyte 1024, as the standards have it.
const SIZE_UNITS: [(&str, u64); 9] = [
    ("KiB", 1 << 10),
    ("MiB", 1 << 20),
    ("GiB", 1 << 30),
    ("TiB", 1 << 40),
    ("kB", 1_000),
    ("MB", 1_000_000),
    ("GB", 1_000_000_000),
    ("TB", 1_000_000_000_000),
    ("B", 1),
];

/// Units of time, in milliseconds.
const TIME_UNITS: [(&str, u64); 4] = [("ms", 1), ("s", 1_000), ("m", 60_000), ("h", 3_600_000)];

/// What a size looks like, for hints.
pub(crate) const SIZE_HINT: &str = "a size is a number and a unit, as \"256MiB\" or \"1GB\"";
/// What a duration looks like, for hints.
pub(crate) const DURATION_HINT: &str =
    "a duration is a number and a unit, as \"500ms\", \"2s\", \"10m\" or \"1h\"";

/// Reads a size, in bytes.
pub(crate) fn parse_size(text: &str) -> Option<u64> {
    scaled(text, &SIZE_UNITS)
}

/// Reads a duration as configurations write it (`1.5s`, `10m`, `1h`), to the millisecond; `None` if it is none.
#[must_use]
pub fn parse_duration(text: &str) -> Option<Duration> {
    scaled(text, &TIME_UNITS).map(Duration::from_millis)
}

/// `digits[.digits]unit`, spaces allowed between number and unit; exact, and none where it would not be whole.
fn scaled(text: &str, units: &[(&str, u64)]) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit() && c != '.')?;
    let (number, unit) = text.split_at_checked(end)?;
    let unit = unit.trim_start();
    let &(_, scale) = units.iter().find(|(name, _)| *name == unit)?;
    let (whole, fraction) = number.split_once('.').unwrap_or((number, "0"));
    let shift = 10_u128.checked_pow(u32::try_from(fraction.len()).ok()?)?;
    let value = whole.parse::<u128>().ok()?.checked_mul(shift)?.checked_add(fraction.parse().ok()?)?;
    let value = value.checked_mul(u128::from(scale))?;
    if value % shift != 0 {
        return None;
    }
    u64::try_from(value / shift).ok()
}

/// Writes a size in the largest binary unit that keeps it whole.
pub(crate) fn show_size(bytes: u64) -> String {
    show(bytes, "B", SIZE_UNITS.iter().filter(|(name, _)| name.ends_with("iB")))
}

/// Writes a duration in the largest unit that keeps it whole.
pub(crate) fn show_duration(duration: Duration) -> String {
    show(u64::try_from(duration.as_millis()).unwrap_or(u64::MAX), "ms", TIME_UNITS.iter())
}

fn show<'a>(value: u64, smallest: &str, units: impl Iterator<Item = &'a (&'a str, u64)>) -> String {
    units
        .filter(|(_, scale)| value != 0 && value.is_multiple_of(*scale))
        .max_by_key(|(_, scale)| *scale)
        .map_or_else(|| format!("{value}{smallest}"), |(name, scale)| format!("{}{name}", value / scale))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (text, bytes) in [
            ("0B", Some(0)),
            ("256MiB", Some(256 << 20)),
            ("256 MiB", Some(256 << 20)),
            ("1.5GiB", Some(3 << 29)),
            ("0.5KiB", Some(512)),
            ("10kB", Some(10_000)),
            ("16777215TiB", Some(16_777_215 << 40)),
            ("16777216TiB", None), // 2^64
            ("0.3KiB", None),      // not whole
            ("256", None),
            ("256mb", None),
            ("MiB", None),
            (".5MiB", None),
            ("1.MiB", None),
            ("1.2.3MiB", None),
            ("-1MiB", None),
            ("1e3B", None),
            ("", None),
            ("99999999999999999999999999999999999999999B", None),
            ("0.00000000000000000000000000000000000000001B", None),
        ] {
            assert_eq!(parse_size(text), bytes, "{text:?}");
        }
    }

    #[test]
    fn durations() {
        for (text, ms) in [
            ("500ms", Some(500)),
            ("2s", Some(2_000)),
            ("1.5 s", Some(1_500)),
            ("10m", Some(600_000)),
            ("1h", Some(3_600_000)),
            ("0s", Some(0)),
            ("0.5ms", None),
            ("2", None),
            ("2 min", None),
            ("1d", None),
        ] {
            assert_eq!(parse_duration(text), ms.map(Duration::from_millis), "{text:?}");
        }
    }

    #[test]
    fn shown_as_they_are_read() {
        for (bytes, text) in [
            (0, "0B"),
            (1, "1B"),
            (1 << 10, "1KiB"),
            (3 << 29, "1536MiB"),
            (1 << 40, "1TiB"),
            (1000, "1000B"),
        ] {
            assert_eq!(show_size(bytes), text);
            assert_eq!(parse_size(text), Some(bytes));
        }
        for (ms, text) in
            [(0, "0ms"), (500, "500ms"), (2_000, "2s"), (90_000, "90s"), (600_000, "10m"), (7_200_000, "2h")]
        {
            assert_eq!(show_duration(Duration::from_millis(ms)), text);
            assert_eq!(parse_duration(text), Some(Duration::from_millis(ms)));
        }
    }
}
