//! One byte range of a complete object (RFC 9110, section 14). Pure: header value and length in, decision out.
//!
//! Players ask for single ranges only. A set of ranges, an unknown unit or a value that cannot be read is ignored and
//! the whole object is sent, as section 14.2 allows; only a well-formed range outside the object is refused (416).

/// What a `Range` header asks of an object of known length.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Selected {
    /// All of it: 200.
    Whole,
    /// The bytes `first..=last`: 206.
    Part {
        /// First byte, from 0.
        first: usize,
        /// Last byte, included.
        last: usize,
    },
    /// Nothing of it can be had: 416.
    Unsatisfiable,
}

/// Reads `header` against an object of `length` bytes.
#[must_use]
pub fn select(header: Option<&str>, length: usize) -> Selected {
    let Some((unit, set)) = header.and_then(|value| value.split_once('=')) else {
        return Selected::Whole;
    };
    if !unit.trim().eq_ignore_ascii_case("bytes") || set.contains(',') {
        return Selected::Whole;
    }
    let Some((first, last)) = set.trim().split_once('-') else {
        return Selected::Whole;
    };
    match (position(first), position(last)) {
        // `-500`: the last 500 bytes.
        (Position::Absent, Position::At(suffix)) => match (suffix, length) {
            (0, _) | (_, 0) => Selected::Unsatisfiable,
            _ => Selected::Part { first: length.saturating_sub(suffix), last: length - 1 },
        },
        (Position::At(first), Position::Absent) if first < length => {
            Selected::Part { first, last: length - 1 }
        }
        (Position::At(first), Position::At(last)) if last < first => Selected::Whole,
        (Position::At(first), Position::At(last)) if first < length => {
            Selected::Part { first, last: last.min(length - 1) }
        }
        (Position::At(_), Position::Absent | Position::At(_)) => Selected::Unsatisfiable,
        _ => Selected::Whole,
    }
}

/// One side of the dash.
enum Position {
    Absent,
    At(usize),
    Malformed,
}

fn position(text: &str) -> Position {
    if text.is_empty() {
        Position::Absent
    } else if text.bytes().all(|byte| byte.is_ascii_digit()) {
        // Digits that overflow are a position far behind every object.
        Position::At(text.parse().unwrap_or(usize::MAX))
    } else {
        Position::Malformed
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_of_a_thousand_bytes() {
        let part = |first, last| Selected::Part { first, last };
        let table = [
            (None, Selected::Whole),
            (Some("bytes=0-499"), part(0, 499)),
            (Some("bytes=500-999"), part(500, 999)),
            (Some("bytes=500-5000"), part(500, 999)),
            (Some("bytes=0-0"), part(0, 0)),
            (Some("bytes=999-999"), part(999, 999)),
            (Some("bytes=0-"), part(0, 999)),
            (Some("bytes=950-"), part(950, 999)),
            (Some("bytes=-1"), part(999, 999)),
            (Some("bytes=-500"), part(500, 999)),
            (Some("bytes=-5000"), part(0, 999)),
            (Some("Bytes=1-2"), part(1, 2)),
            (Some("bytes= 1-2 "), part(1, 2)),
            (Some("bytes=1000-"), Selected::Unsatisfiable),
            (Some("bytes=1000-1001"), Selected::Unsatisfiable),
            (Some("bytes=99999999999999999999999-"), Selected::Unsatisfiable),
            (Some("bytes=-0"), Selected::Unsatisfiable),
            // Not well-formed, several, or another unit: ignored.
            (Some("bytes=9-3"), Selected::Whole),
            (Some("bytes=0-1,5-6"), Selected::Whole),
            (Some("bytes=a-b"), Selected::Whole),
            (Some("bytes=-"), Selected::Whole),
            (Some("bytes="), Selected::Whole),
            (Some("bytes"), Selected::Whole),
            (Some("bytes=+1-2"), Selected::Whole),
            (Some("seconds=1-2"), Selected::Whole),
            (Some(""), Selected::Whole),
        ];
        for (header, expected) in table {
            assert_eq!(select(header, 1000), expected, "{header:?}");
        }
    }

    #[test]
    fn nothing_of_an_empty_object_can_be_selected() {
        assert_eq!(select(Some("bytes=0-"), 0), Selected::Unsatisfiable);
        assert_eq!(select(Some("bytes=-1"), 0), Selected::Unsatisfiable);
        assert_eq!(select(None, 0), Selected::Whole);
    }

    #[test]
    fn a_part_always_lies_inside_the_object() {
        for length in 0..6_usize {
            for first in 0..8 {
                for last in 0..8 {
                    for header in
                        [format!("bytes={first}-{last}"), format!("bytes={first}-"), format!("bytes=-{last}")]
                    {
                        if let Selected::Part { first, last } = select(Some(&header), length) {
                            assert!(first <= last && last < length, "{header} of {length}: {first}..={last}");
                        }
                    }
                }
            }
        }
    }
}
