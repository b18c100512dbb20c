//! From the elementary stream to access units with times (ITU-T H.264, 7.4.1.2.3 and 7.4.1.2.4).

use super::pes::unwrap_near;
use super::stream::{ElementaryStream, Pes};
use crate::container::{ContainerError, MAX_UNITS};
use crate::h264::{annex_b_spans, is_first_slice, is_slice, nal, nal_type};

/// NAL units looked at in one segment, on average per unit: pictures of many slices have a few dozen.
const NALS_PER_UNIT: usize = 64;

/// An access unit found in the elementary stream.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Unit {
    /// First byte (zero byte of the start code included, where it stands in the same PES packet).
    pub(super) start: usize,
    /// One past the last byte.
    pub(super) end: usize,
    /// Index in [`ElementaryStream::pes`] of the PES packet it begins in.
    pub(super) pes: usize,
    /// It holds an IDR slice.
    pub(super) random_access: bool,
}

/// Cuts the stream into access units. A new one begins at an access unit delimiter, at parameter sets or SEI
/// that are followed by the first slice of a picture, or at such a slice itself. Units without a slice are no
/// pictures: what stands before a slice goes with it, what stands behind the last one is left out.
pub(super) fn split(stream: &ElementaryStream) -> Result<Vec<Unit>, ContainerError> {
    let mut starts: Vec<Start> = Vec::new();
    let mut open: Option<usize> = None; // begin of a unit that has no slice yet
    let mut candidate: Option<usize> = None; // begin of the next unit, if a first slice follows
    let mut has_slice = false;
    let mut nals = 0usize;
    for span in annex_b_spans(&stream.bytes) {
        nals += 1;
        if nals > MAX_UNITS * NALS_PER_UNIT {
            return Err(ContainerError::OverLimit { what: "NAL units", limit: MAX_UNITS * NALS_PER_UNIT });
        }
        let body = stream.bytes.get(span.start..span.end).unwrap_or_default();
        let kind = nal_type(body);
        if kind == nal::AUD {
            if has_slice || open.is_none() {
                open = Some(span.start_code_at);
            }
            (has_slice, candidate) = (false, None);
        } else if is_slice(kind) {
            let idr = kind == nal::IDR_SLICE;
            let begins = if has_slice {
                is_first_slice(body).then(|| candidate.unwrap_or(span.start_code_at))
            } else {
                Some(open.take().unwrap_or(span.start_code_at))
            };
            match (begins, starts.last_mut()) {
                (Some(at), _) => starts.push(Start { at, idr }),
                (None, Some(current)) => {
                    current.idr |= idr;
                    note_orphan(stream, &mut starts, span.start_code_at, idr);
                }
                (None, None) => {}
            }
            (has_slice, candidate) = (true, None);
            if starts.len() > MAX_UNITS {
                return Err(ContainerError::OverLimit { what: "access units", limit: MAX_UNITS });
            }
        } else if matches!(kind, nal::SEI | nal::SPS | nal::PPS | 14..=18) {
            if has_slice {
                candidate.get_or_insert(span.start_code_at);
            } else {
                open.get_or_insert(span.start_code_at);
            }
        }
    }
    let end_of_last = open.filter(|at| starts.last().is_some_and(|last| last.at < *at));
    Ok(to_units(stream, &starts, end_of_last.unwrap_or(stream.bytes.len())))
}

#[derive(Debug, Clone, Copy)]
struct Start {
    at: usize,
    idr: bool,
}

/// A slice that is not the first of its picture and yet opens a PES packet with a new presentation time: the
/// first slice was lost (or comes later: arbitrary slice order), but a picture begins here.
fn note_orphan(stream: &ElementaryStream, starts: &mut Vec<Start>, at: usize, idr: bool) {
    let Some((index, pes)) = pes_of(stream, at) else { return };
    let Some(last) = starts.last() else { return };
    let opens_pes = at <= pes.payload.start + 1;
    let time_before = pes_of(stream, last.at).and_then(|(_, before)| before.pts);
    let began_before = pes_of(stream, last.at).is_some_and(|(before, _)| before < index);
    if opens_pes && began_before && pes.pts.is_some() && pes.pts != time_before {
        starts.push(Start { at, idr });
    }
}

fn pes_of(stream: &ElementaryStream, position: usize) -> Option<(usize, &Pes)> {
    let index = stream.pes.partition_point(|pes| pes.payload.start <= position).checked_sub(1)?;
    stream.pes.get(index).map(|pes| (index, pes))
}

fn to_units(stream: &ElementaryStream, starts: &[Start], end_of_last: usize) -> Vec<Unit> {
    let begin = |start: &Start| {
        // the zero byte of a four-byte start code belongs to the unit, unless another PES packet brought it
        let first_of_pes = pes_of(stream, start.at).map_or(0, |(_, pes)| pes.payload.start);
        let has_zero = start.at.checked_sub(1).and_then(|before| stream.bytes.get(before)) == Some(&0);
        if has_zero && start.at > first_of_pes { start.at - 1 } else { start.at }
    };
    starts
        .iter()
        .enumerate()
        .filter_map(|(index, start)| {
            let end = starts.get(index + 1).map_or(end_of_last, begin);
            let (pes, _) = pes_of(stream, start.at)?;
            Some(Unit { start: begin(start), end, pes, random_access: start.idr })
        })
        .collect()
}

/// Times of the units, (presentation, decode), unwrapped from the first time in the segment.
///
/// A PES packet's times belong to the first unit that begins in it. Units without times of their own are
/// filled in: decode times evenly between (or beyond) their neighbours, presentation times into the gaps that
/// the known ones leave on the grid of decode times plus reordering delay, in decode order.
pub(super) fn times(stream: &ElementaryStream, units: &[Unit]) -> Vec<(i64, i64)> {
    let mut near = None;
    let mut taken = None;
    let known: Vec<Option<(i64, i64)>> = units
        .iter()
        .map(|unit| {
            if taken == Some(unit.pes) {
                return None;
            }
            taken = Some(unit.pes);
            let pes = stream.pes.get(unit.pes)?;
            let dts = unwrap_near(pes.dts?, near.unwrap_or(pes.dts?));
            near = Some(dts);
            Some((unwrap_near(pes.pts?, dts), dts))
        })
        .collect();
    fill(&known)
}

/// Ticks between pictures where nothing tells: 30 Hz.
const DEFAULT_INTERVAL: i64 = 3000;

fn fill(known: &[Option<(i64, i64)>]) -> Vec<(i64, i64)> {
    if let Some(all) = known.iter().copied().collect::<Option<Vec<_>>>() {
        return all;
    }
    let decode = fill_decode_times(known);
    let delay = known.iter().flatten().next().map_or(0, |(pts, dts)| pts - dts).max(0);
    let reorders = known.iter().flatten().any(|(pts, dts)| pts - dts != delay);
    // slots of the presentation grid that no known picture stands on
    let interval = typical_interval(&decode);
    let mut taken: Vec<i64> = known.iter().flatten().map(|(pts, _)| *pts).collect();
    taken.sort_unstable();
    let is_free = |slot: i64| {
        let next = taken.partition_point(|time| *time < slot - interval / 2);
        taken.get(next).is_none_or(|time| *time > slot + interval / 2)
    };
    let mut slots = decode.iter().map(|dts| dts + delay).filter(|slot| is_free(*slot));
    known
        .iter()
        .zip(&decode)
        .map(|(own, dts)| match own {
            Some(times) => *times,
            None if reorders => (slots.next().unwrap_or(dts + delay), *dts),
            None => (dts + delay, *dts),
        })
        .collect()
}

fn typical_interval(decode: &[i64]) -> i64 {
    let mut steps: Vec<i64> =
        decode.windows(2).filter_map(|pair| Some(pair.get(1)? - pair.first()?)).collect();
    steps.retain(|step| *step > 0);
    steps.sort_unstable();
    steps.get(steps.len() / 2).copied().unwrap_or(DEFAULT_INTERVAL)
}

fn fill_decode_times(known: &[Option<(i64, i64)>]) -> Vec<i64> {
    let anchors: Vec<(usize, i64)> =
        known.iter().enumerate().filter_map(|(index, own)| own.map(|(_, dts)| (index, dts))).collect();
    let mut steps: Vec<i64> = anchors
        .windows(2)
        .filter_map(|pair| {
            let ((from, begin), (to, end)) = (*pair.first()?, *pair.get(1)?);
            (end - begin).checked_div(i64::try_from(to - from).ok()?)
        })
        .filter(|step| *step > 0)
        .collect();
    steps.sort_unstable();
    let step = steps.get(steps.len() / 2).copied().unwrap_or(DEFAULT_INTERVAL);
    let distance = |from: usize, to: usize| i64::try_from(to.abs_diff(from)).unwrap_or(0);
    (0..known.len())
        .map(|index| {
            let after = anchors.partition_point(|(anchor, _)| *anchor < index);
            let next = anchors.get(after);
            let previous = after.checked_sub(1).and_then(|before| anchors.get(before));
            match (previous, next) {
                (_, Some((at, dts))) if *at == index => *dts,
                (Some((from, begin)), Some((to, end))) => {
                    begin + (end - begin) * distance(*from, index) / distance(*from, *to).max(1)
                }
                (Some((from, begin)), None) => begin + step * distance(*from, index),
                (None, Some((to, end))) => end - step * distance(index, *to),
                (None, None) => step * distance(0, index),
            }
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn units_without_times_stand_between_their_neighbours() {
        let known = [Some((6000, 6000)), None, Some((12_000, 12_000)), None];
        assert_eq!(fill(&known), [(6000, 6000), (9000, 9000), (12_000, 12_000), (15_000, 15_000)]);
    }

    #[test]
    fn reordered_pictures_take_the_free_presentation_times() {
        // I P B B P B B with the second B of each pair untimed
        let known = [
            Some((3000, 0)),
            Some((12_000, 3000)),
            Some((6000, 6000)),
            None,
            Some((21_000, 12_000)),
            Some((15_000, 15_000)),
            None,
        ];
        let mut presentation: Vec<i64> = fill(&known).iter().map(|(pts, _)| *pts).collect();
        assert_eq!(presentation[3], 9000);
        presentation.sort_unstable();
        assert_eq!(presentation, [3000, 6000, 9000, 12_000, 15_000, 18_000, 21_000]);
    }

    #[test]
    fn a_stream_without_any_time_counts_from_zero() {
        assert_eq!(fill(&[None, None, None]), [(0, 0), (3000, 3000), (6000, 6000)]);
    }
}
