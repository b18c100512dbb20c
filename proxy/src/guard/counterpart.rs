//! Which segment of the high rendition shows what a segment of the low one shows, as far as playlists tell. Pure; whether the
//! pictures are shown at the same times is for the enhancer to find out.

use acuity_playlist::media::{MediaPlaylist, Segment};
use jiff::Timestamp;

/// Why there is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NoCounterpart {
    /// The high playlist has no segment of that number (and date).
    Segment,
    /// It has, and it is of another length.
    Duration,
    /// It has, and both say that they are of another time.
    Date,
    /// It has, and it cannot be fetched: a gap, somewhere else, an unknown byte range.
    Unusable,
}

impl NoCounterpart {
    /// The metric labels.
    pub const LABELS: [&'static str; 4] = ["no_segment", "duration", "date", "unusable"];

    /// The metric label.
    #[must_use]
    pub fn label(self) -> &'static str {
        match self {
            Self::Segment => "no_segment",
            Self::Duration => "duration",
            Self::Date => "date",
            Self::Unusable => "unusable",
        }
    }
}

/// The segment of `high` that is `low`'s counterpart: the one of the same `EXT-X-PROGRAM-DATE-TIME`; where they have none, the
/// one of the same media sequence number (which renditions of a presentation share, and count from the same segment) if it
/// also lasts as long. What differs by less than `half_frame_seconds` is the same.
///
/// # Errors
/// Why there is none.
pub fn counterpart<'a>(
    low: &Segment,
    high: &'a MediaPlaylist,
    half_frame_seconds: f64,
) -> Result<&'a Segment, NoCounterpart> {
    let found = match date(low).and_then(|date| dated(high, date, half_frame_seconds)) {
        Some(found) => found,
        None => numbered(low, high, half_frame_seconds)?,
    };
    let usable = !found.gap && !found.byte_range_unknown && found.target.edge().is_some();
    usable.then_some(found).ok_or(NoCounterpart::Unusable)
}

fn dated(high: &MediaPlaylist, date: Timestamp, half_frame_seconds: f64) -> Option<&Segment> {
    let is_it = |segment: &&Segment| {
        self::date(segment).is_some_and(|other| seconds_apart(date, other) < half_frame_seconds)
    };
    high.segments.iter().find(is_it)
}

fn numbered<'a>(
    low: &Segment,
    high: &'a MediaPlaylist,
    half_frame_seconds: f64,
) -> Result<&'a Segment, NoCounterpart> {
    let same = |segment: &&Segment| {
        (segment.msn, segment.discontinuity_sequence) == (low.msn, low.discontinuity_sequence)
    };
    let found = high.segments.iter().find(same).ok_or(NoCounterpart::Segment)?;
    // Both are dated, and not alike: else it would have been found by its date.
    if date(low).is_some() && date(found).is_some() {
        return Err(NoCounterpart::Date);
    }
    if (found.duration_seconds - low.duration_seconds).abs() < half_frame_seconds {
        Ok(found)
    } else {
        Err(NoCounterpart::Duration)
    }
}

fn date(segment: &Segment) -> Option<Timestamp> {
    segment.program_date_time.as_ref()?.trim().parse().ok()
}

fn seconds_apart(one: Timestamp, other: Timestamp) -> f64 {
    one.duration_since(other).as_secs_f64().abs()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use acuity_playlist::Base;

    const HALF: f64 = 0.02;

    fn playlist(text: &str) -> MediaPlaylist {
        let map = |_: &str| None;
        let base = Base::new("/high/a.m3u8", None, &map).unwrap();
        MediaPlaylist::parse(format!("#EXTM3U\n#EXT-X-TARGETDURATION:4\n{text}"), &base, &BTreeMap::new())
    }

    /// The name of the first low segment's counterpart, or why there is none.
    fn found(low: &str, high: &str) -> String {
        let (low, high) = (playlist(low), playlist(high));
        let found = counterpart(low.segments.first().unwrap(), &high, HALF);
        found.map_or_else(|why| why.label().to_owned(), |segment| segment.uri.clone())
    }

    #[test]
    fn by_number_and_length() {
        let low = "#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4.0,\nl7.ts\n";
        for (high, expected) in [
            ("#EXT-X-MEDIA-SEQUENCE:6\n#EXTINF:4.0,\n6.ts\n#EXTINF:4.01,\n7.ts\n", "7.ts"),
            ("#EXT-X-MEDIA-SEQUENCE:6\n#EXTINF:4.0,\n6.ts\n", "no_segment"),
            ("#EXT-X-MEDIA-SEQUENCE:8\n#EXTINF:4.0,\n8.ts\n", "no_segment"),
            ("#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4.04,\n7.ts\n", "duration"),
            ("#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:2.0,\n7.ts\n", "duration"),
            ("#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-GAP\n#EXTINF:4.0,\n7.ts\n", "unusable"),
            ("#EXT-X-MEDIA-SEQUENCE:7\n#EXTINF:4.0,\nhttp://elsewhere.example/7.ts\n", "unusable"),
            ("#EXT-X-MEDIA-SEQUENCE:7\n#EXT-X-DISCONTINUITY\n#EXTINF:4.0,\n7.ts\n", "no_segment"),
        ] {
            assert_eq!(found(low, high), expected, "{high}");
        }
    }

    #[test]
    fn by_date_before_number() {
        let dated =
            |date: &str, name: &str| format!("#EXT-X-PROGRAM-DATE-TIME:{date}\n#EXTINF:4.0,\n{name}\n");
        let low = dated("2026-11-22T01:00:04.000Z", "l.ts");
        let before = dated("2026-11-22T01:00:00.000Z", "0.ts");
        let same = dated("2026-11-22T02:00:04.010+01:00", "1.ts");
        assert_eq!(found(&low, &format!("{before}{same}")), "1.ts", "whatever its number");
        assert_eq!(found(&low, &before), "date", "the same number, another time");
        assert_eq!(found(&low, "#EXTINF:4.0,\n0.ts\n"), "0.ts", "only one of them is dated");
        assert_eq!(found("#EXTINF:4.0,\nl.ts\n", &before), "0.ts");
        assert_eq!(found(&dated("yesterday", "l.ts"), "#EXTINF:4.0,\n0.ts\n"), "0.ts", "that is no date");
    }
}
