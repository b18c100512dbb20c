//! Viewers who watch at the pace of the film: what is fetched, what came too late, what was wrong.

use std::time::Duration;

use tokio::time::{Instant, sleep_until};

use crate::Result;
use crate::player::{Fetched, Media, Player};

/// Bytes of a transport stream's packet.
const PACKET: usize = 188;
/// Between two tries.
const TRY_AGAIN: Duration = Duration::from_millis(500);
/// What a packet begins with.
const SYNC: u8 = 0x47;

/// How somebody watches.
#[derive(Debug, Clone, Copy)]
pub struct Habit {
    /// A segment's duration.
    pub segment: Duration,
    /// What is fetched ahead of what is seen, at most; players have 10 to 30 s for films and a few segments for live streams.
    pub buffer: Duration,
    /// The segment to begin with; behind the last the first comes again.
    pub first: usize,
    /// Every so many segments a request is ended before its answer is read, as by somebody who seeks; never: 0.
    pub leaves_every: usize,
    /// How often a segment is asked for at most, half a second apart; players try a few times.
    pub tries: u32,
}

/// The picture stood still until a segment came.
#[derive(Debug, Clone, Copy)]
pub struct Stall {
    /// When that segment was asked for first.
    pub asked: Instant,
    /// When the picture stopped.
    pub stopped: Instant,
    /// When the segment was there.
    pub came: Instant,
}

impl Stall {
    /// How long the picture stood still.
    #[must_use]
    pub fn lasted(&self) -> Duration {
        self.came - self.stopped
    }
}

/// What became of one viewer, or of several.
#[derive(Debug, Default, Clone)]
pub struct Watched {
    /// Segments that came whole.
    pub segments: usize,
    /// Of them, those that were in the edge's cache.
    pub hits: usize,
    /// Times that the picture stood still.
    pub stalls: Vec<Stall>,
    /// Answers of 5xx, transfers that broke off, and bodies that are no segment, in words: in every try for a segment.
    pub faults: Vec<String>,
    /// Tries after which another one gave the segment.
    pub tried_again: usize,
    /// Requests that the viewer gave up itself.
    pub left: usize,
    /// How long each segment took, in seconds.
    pub seconds: Vec<f64>,
}

impl Watched {
    /// Several as one.
    #[must_use]
    pub fn all(viewers: impl IntoIterator<Item = Self>) -> Self {
        viewers.into_iter().fold(Self::default(), |mut all, one| {
            all.segments += one.segments;
            all.hits += one.hits;
            all.stalls.extend(one.stalls);
            all.faults.extend(one.faults);
            all.tried_again += one.tried_again;
            all.left += one.left;
            all.seconds.extend(one.seconds);
            all
        })
    }

    fn note(&mut self, fetched: &Fetched) {
        self.segments += 1;
        self.hits += usize::from(fetched.header("cache-status").contains("; hit"));
        self.seconds.push(fetched.seconds);
    }

    /// For how long the picture stood still, all times together.
    #[must_use]
    pub fn stalled(&self) -> Duration {
        self.stalls.iter().map(Stall::lasted).sum()
    }

    /// The time below which such a part of all segments came, in seconds.
    #[must_use]
    pub fn percentile(&self, part: f64) -> f64 {
        percentile(&self.seconds, part)
    }
}

/// The value below which such a part (0 to 1) of them lies; not a number where there are none.
#[must_use]
pub fn percentile(values: &[f64], part: f64) -> f64 {
    let mut sorted = values.to_vec();
    sorted.sort_by(f64::total_cmp);
    let at = (sorted.len().saturating_sub(1) as f64 * part.clamp(0.0, 1.0)).round() as usize;
    sorted.get(at).copied().unwrap_or(f64::NAN)
}

/// Watches a stream until then. A fault is noted and the next segment fetched, as players do.
///
/// # Errors
/// When the playlist has no segments.
pub async fn watch(player: &Player, media: &Media, habit: Habit, until: Instant) -> Result<Watched> {
    let segments = &media.playlist.segments;
    let mut watched = Watched::default();
    let mut rounds = 0_usize;
    // Where the picture will stand still unless more comes: set when it begins to move.
    let mut runs_out: Option<Instant> = None;
    while Instant::now() < until {
        let index = (habit.first + rounds) % segments.len().max(1);
        let entry = segments.get(index).ok_or("a playlist without segments")?;
        rounds += 1;
        let url = media.fetched.url.join(&entry.uri)?;
        if habit.leaves_every > 0 && rounds.is_multiple_of(habit.leaves_every) {
            // Somewhere between the request's begin and the answer's end.
            let patience = Duration::from_millis(5 + 37 * (rounds as u64 % 11));
            if tokio::time::timeout(patience, player.get(url.as_str())).await.is_err() {
                watched.left += 1;
            }
            // Whoever seeks looks for a moment, and begins with nothing in advance.
            sleep_until(Instant::now() + habit.segment).await;
            runs_out = None;
            continue;
        }
        let asked = Instant::now();
        for tries_left in (0..habit.tries.max(1)).rev() {
            let answer = player.get(url.as_str()).await.map_err(|error| error.to_string());
            match answer.and_then(|fetched| check(&fetched).map(|()| fetched)) {
                Ok(fetched) => {
                    watched.note(&fetched);
                    break;
                }
                Err(fault) if tries_left == 0 => {
                    watched.faults.push(format!("{}: {fault}", url.path()));
                }
                Err(_) => {
                    watched.tried_again += 1;
                    sleep_until(Instant::now() + TRY_AGAIN).await;
                }
            }
        }
        let now = Instant::now();
        if let Some(stopped) = runs_out.filter(|end| *end < now) {
            watched.stalls.push(Stall { asked, stopped, came: now });
        }
        let end = runs_out.map_or(now, |end| end.max(now)) + habit.segment;
        runs_out = Some(end);
        if let Some(early) = end.checked_sub(habit.buffer) {
            sleep_until(early.min(until)).await;
        }
    }
    Ok(watched)
}

/// Whether an answer is a segment from its first byte to its last: packets of a transport stream, or boxes of MP4.
///
/// # Errors
/// What it is instead.
pub fn check(fetched: &Fetched) -> std::result::Result<(), String> {
    if !fetched.status.is_success() {
        return Err(format!("answered {}", fetched.status));
    }
    if is_transport_stream(&fetched.body) || is_boxes(&fetched.body) {
        return Ok(());
    }
    Err(format!("{} bytes that are no segment", fetched.body.len()))
}

fn is_transport_stream(bytes: &[u8]) -> bool {
    let is_whole = !bytes.is_empty() && bytes.len().is_multiple_of(PACKET);
    is_whole && bytes.chunks(PACKET).all(|packet| packet.first() == Some(&SYNC))
}

/// Boxes that end where the bytes do, one of them a movie fragment.
fn is_boxes(mut bytes: &[u8]) -> bool {
    let mut is_fragment = false;
    while let Some((size, name)) = bytes.first_chunk::<4>().zip(bytes.get(4..8)) {
        is_fragment |= name == b"moof";
        match bytes.get(u32::from_be_bytes(*size).max(8) as usize..) {
            Some(rest) => bytes = rest,
            None => return false,
        }
    }
    is_fragment && bytes.is_empty()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn segments_are_told_from_parts_of_them() {
        let packets = [[SYNC; PACKET], [SYNC; PACKET]].concat();
        assert!(is_transport_stream(&packets));
        assert!(!is_transport_stream(&packets[..300]) && !is_transport_stream(&[]));
        let boxes = b"\0\0\0\x08styp\0\0\0\x0amoofab\0\0\0\x09mdatc";
        assert!(is_boxes(boxes));
        assert!(!is_boxes(&boxes[..boxes.len() - 1]) && !is_boxes(b"\0\0\0\x08styp") && !is_boxes(b"<html>"));
    }

    #[test]
    fn percentiles() {
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 0.5), 2.0);
        assert_eq!(percentile(&[3.0, 1.0, 2.0], 1.0), 3.0);
        assert!(percentile(&[], 0.5).is_nan());
    }
}
