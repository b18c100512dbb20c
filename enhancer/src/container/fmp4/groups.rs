//! Which parts of a segment can be written before the rest is known.
//!
//! A segment of several movie fragments (CMAF chunks) is written a fragment at a time: the boxes up to and with a fragment, and
//! the boxes behind it up to the next, its media data among them. That holds where every fragment's samples, of all tracks, lie in
//! its own part, and every index (`sidx`) stays within its own; else the whole segment is one part.

use std::ops::Range;

use super::boxes::BoxSpan;
use super::fragment::Fragment;
use super::{Fmp4Segment, sidx};

/// A part of a segment that is written at once. All ranges are of the segment's own lists.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Group {
    /// Top level boxes.
    pub(super) boxes: Range<usize>,
    /// Bytes of the source.
    pub(super) bytes: Range<usize>,
    pub(super) fragments: Range<usize>,
    /// Samples of the video.
    pub(super) samples: Range<usize>,
}

/// The parts of a segment, in order.
pub(super) fn of(segment: &Fmp4Segment) -> Vec<Group> {
    by_fragment(segment).unwrap_or_else(|| {
        vec![Group {
            boxes: 0..segment.boxes.len(),
            bytes: 0..segment.bytes.len(),
            fragments: 0..segment.fragments.list.len(),
            samples: 0..segment.fragments.samples.len(),
        }]
    })
}

fn by_fragment(segment: &Fmp4Segment) -> Option<Vec<Group>> {
    if segment.boxes.iter().any(|span| &span.kind == b"moov") {
        return None;
    }
    // What stands before a fragment (a producer's clock, an event) belongs to it; where the data ends the next part begins.
    let mut starts = vec![0];
    let mut has_fragment = false;
    let mut has_data = false;
    for (index, span) in segment.boxes.iter().enumerate() {
        match &span.kind {
            b"mdat" if has_fragment => has_data = true,
            b"moof" => has_fragment = true,
            _ => {}
        }
        let next = segment.boxes.get(index + 1).map(|next| next.kind);
        if has_data && next.is_some_and(|kind| &kind != b"mdat") && later_fragment(segment, index + 1) {
            starts.push(index + 1);
            (has_fragment, has_data) = (false, false);
        }
    }
    starts.push(segment.boxes.len());
    let mut groups = Vec::new();
    let (mut fragment, mut sample) = (0, 0);
    for pair in starts.windows(2) {
        let boxes = *pair.first()?..*pair.last()?;
        let is_last = boxes.end == segment.boxes.len();
        let start = if boxes.start == 0 { 0 } else { segment.boxes.get(boxes.start)?.start };
        let end = if is_last { segment.bytes.len() } else { segment.boxes.get(boxes.end)?.start };
        let moofs = segment.boxes.get(boxes.clone())?.iter().filter(|span| &span.kind == b"moof").count();
        let fragments = fragment..fragment + moofs;
        let mut samples = sample..sample;
        for found in segment.fragments.list.get(fragments.clone())? {
            samples.end = samples.end.max(last_sample(found).unwrap_or(samples.end));
            if !lies_in(found, &(start..end)) {
                return None;
            }
        }
        let within = |span: &BoxSpan| sidx::reach(&segment.bytes, span).is_none_or(|reach| reach <= end);
        let indexes = segment.boxes.get(boxes.clone())?.iter().filter(|span| &span.kind == b"sidx");
        if !indexes.into_iter().all(within) {
            return None;
        }
        let own = segment.fragments.samples.get(samples.clone())?;
        if own.iter().any(|sample| sample.bytes.start < start || sample.bytes.end > end) {
            return None;
        }
        (fragment, sample) = (fragments.end, samples.end);
        groups.push(Group { boxes, bytes: start..end, fragments, samples });
    }
    let is_whole = fragment == segment.fragments.list.len() && sample == segment.fragments.samples.len();
    is_whole.then_some(groups)
}

fn later_fragment(segment: &Fmp4Segment, from: usize) -> bool {
    segment.boxes.get(from..).unwrap_or_default().iter().any(|span| &span.kind == b"moof")
}

/// One past the last sample of the video in a fragment.
fn last_sample(fragment: &Fragment) -> Option<usize> {
    let runs = fragment.tracks.iter().filter(|track| track.is_video).flat_map(|track| &track.runs);
    runs.map(|run| run.samples.end).max()
}

fn lies_in(fragment: &Fragment, bytes: &Range<usize>) -> bool {
    let (start, end) = (bytes.start as u64, bytes.end as u64);
    fragment.tracks.iter().all(|track| {
        track.runs.iter().all(|run| run.data_at >= start && run.data_at <= end) && track.data_end <= end
    })
}
