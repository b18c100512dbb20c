//! A live playlist that slides when the test says so: time is an argument, so no scenario waits for a clock.

use std::fmt::Write as _;

/// A live window over a fixed list of segments, which it repeats with a discontinuity each time round.
#[derive(Debug, Clone)]
pub struct LiveWindow {
    /// URI and duration of each segment, as the playlist shall show them.
    pub segments: Vec<(String, f64)>,
    /// EXT-X-MAP URI for fMP4.
    pub map_uri: Option<String>,
    /// How many segments the playlist shows.
    pub window: usize,
}

impl LiveWindow {
    /// The playlist after `step` segments have left the window.
    #[must_use]
    pub fn playlist_at(&self, step: usize) -> String {
        let count = self.segments.len().max(1);
        let target_s = self.segments.iter().map(|(_, seconds)| seconds.ceil()).fold(1.0, f64::max);
        // a wrap that has left the window is counted in the discontinuity sequence (RFC 8216, 6.2.2)
        let wraps_gone = step.saturating_sub(1) / count;
        let mut text = format!(
            "#EXTM3U\n#EXT-X-VERSION:6\n#EXT-X-TARGETDURATION:{target_s:.0}\n#EXT-X-MEDIA-SEQUENCE:{step}\n\
             #EXT-X-DISCONTINUITY-SEQUENCE:{wraps_gone}\n"
        );
        if let Some(uri) = &self.map_uri {
            let _ = writeln!(text, "#EXT-X-MAP:URI=\"{uri}\"");
        }
        for number in step..step + self.window {
            if number > 0 && number % count == 0 {
                text.push_str("#EXT-X-DISCONTINUITY\n");
            }
            if let Some((uri, seconds)) = self.segments.get(number % count) {
                let _ = writeln!(text, "#EXTINF:{seconds:.6},");
                // the number in the query makes each further turn's segment an object of its own
                let _ =
                    if number < count { writeln!(text, "{uri}") } else { writeln!(text, "{uri}?n={number}") };
            }
        }
        text
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn slides_and_wraps() {
        let live = LiveWindow {
            segments: vec![("a.ts".into(), 2.0), ("b.ts".into(), 2.0), ("c.ts".into(), 1.5)],
            map_uri: None,
            window: 2,
        };
        let first = live.playlist_at(0);
        assert!(first.contains("#EXT-X-MEDIA-SEQUENCE:0\n") && !first.contains("DISCONTINUITY\n"), "{first}");
        let wrapping = live.playlist_at(2);
        assert!(wrapping.contains("c.ts\n#EXT-X-DISCONTINUITY\n#EXTINF:2.000000,\na.ts?n=3"), "{wrapping}");
        assert!(wrapping.contains("DISCONTINUITY-SEQUENCE:0\n"));
        // at step 3 the playlist opens with the discontinuity itself, so it still counts as inside
        assert!(live.playlist_at(3).contains("SEQUENCE:0\n#EXT-X-DISCONTINUITY\n"));
        assert!(live.playlist_at(4).contains("DISCONTINUITY-SEQUENCE:1\n"));
        assert!(!live.playlist_at(4).contains("ENDLIST"));
    }
}
