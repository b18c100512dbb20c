//! New samples in the places of the old ones.
//!
//! First every box that changes its size is written with its positions left open, then the layout of the
//! result is known, then the positions are filled in. Runs, fragments, decode times and durations stay one
//! for one, or each sample's duration is parted among the pictures that take its place; tables that describe the old samples (`sdtp`, `subs`, sample groups) go, as do indexes of the
//! whole file (`mfra`, `ssix`).

use std::collections::VecDeque;

use super::boxes::{BoxSpan, children, write};
use super::entries::{Entries, pictures};
use super::fragment::{BASE_DATA_OFFSET, BASE_IS_MOOF, Base, DATA_OFFSET, Fragment, Run, TrackFragment};
use super::groups::{self, Group};
use super::layout::Layout;
use super::run::write_run;
use super::{Fmp4Segment, movie, sidx};
use crate::container::bytes::put;
use crate::container::{ContainerError, EncodedUnit, Slots};
use crate::h264::{SpsFacts, annex_b_nals, nal, nal_type};

/// A data offset to be filled in.
struct OpenOffset {
    /// Where the four bytes stand in the rewritten fragment.
    field_at: usize,
    /// What the offset counts from.
    base: OpenBase,
    target: Target,
}

/// What a data offset counts from, in the result.
#[derive(Clone, Copy)]
enum OpenBase {
    Fragment,
    /// A position of the source.
    Old(usize),
}

/// What an offset points at.
enum Target {
    /// A sample of the video.
    Sample(usize),
    /// A position of the source.
    Old(usize),
}

/// A fragment written anew.
struct OpenFragment {
    piece: usize,
    offsets: Vec<OpenOffset>,
}

/// Puts units into a segment as they come, and gives what of the segment is complete.
#[derive(Debug)]
pub(crate) struct Splicer<'a> {
    segment: &'a Fmp4Segment,
    slots: Option<&'a Slots>,
    /// Presentation times of the whole segment, ascending.
    presentation: Vec<i64>,
    /// What is not written yet.
    groups: VecDeque<Group>,
    /// Units of the first of these.
    units: Vec<EncodedUnit>,
}

impl<'a> Splicer<'a> {
    pub(super) fn new(segment: &'a Fmp4Segment, slots: Option<&'a Slots>) -> Self {
        let samples = &segment.fragments.samples;
        let mut presentation: Vec<i64> = match slots {
            Some(slots) => slots.all().iter().map(|slot| slot.pts).collect(),
            None => samples.iter().map(|sample| sample.pts).collect(),
        };
        presentation.sort_unstable();
        Self { segment, slots, presentation, groups: groups::of(segment).into(), units: Vec::new() }
    }

    /// The next unit. `out` gets the parts of the segment that are complete with it.
    pub(crate) fn push(&mut self, unit: EncodedUnit, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        self.units.push(unit);
        self.advance(out)
    }

    /// What is left after the last unit.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        self.advance(out)
    }

    fn advance(&mut self, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        while let Some(group) = self.groups.front()
            && let needed = pictures(self.slots, group.samples.clone()).len()
            && needed <= self.units.len()
        {
            let later = self.units.split_off(needed);
            let entries = Entries::new(self.segment, group, self.slots, &self.presentation, &self.units)?;
            out.extend(splice(self.segment, group, entries, &self.units)?);
            self.units = later;
            self.groups.pop_front();
        }
        Ok(())
    }
}

/// `entries` are of `units`, all of the group's.
fn splice(
    segment: &Fmp4Segment,
    group: &Group,
    mut entries: Entries<'_>,
    units: &[EncodedUnit],
) -> Result<Vec<u8>, ContainerError> {
    let source: &[u8] = &segment.bytes;
    let samples = &segment.fragments.samples;

    // samples in the order of their bytes, which need not be that of their times
    let mut by_place: Vec<usize> = group.samples.clone().collect();
    by_place.sort_by_key(|index| samples.get(*index).map(|sample| (sample.bytes.start, sample.bytes.end)));
    let mut by_place = by_place.into_iter().peekable();

    let mut layout = Layout::beginning_at(group.bytes.start);
    let mut sample_pieces = vec![0usize; group.samples.end];
    let mut fragments: Vec<OpenFragment> = Vec::new();
    let mut indexes: Vec<(usize, &BoxSpan)> = Vec::new();
    let mut sources = segment.fragments.list.get(group.fragments.clone()).unwrap_or_default().iter();
    for span in segment.boxes.get(group.boxes.clone()).unwrap_or_default() {
        layout.keep_until(span.start);
        match &span.kind {
            b"moof" => {
                let fragment = sources.next().ok_or_else(|| span.fault("a fragment was not read"))?;
                let (bytes, mut open) = rewrite_fragment(source, fragment, &entries)?;
                open.piece = layout.replace(span.start..span.end, bytes);
                fragments.push(open);
            }
            b"mdat" => {
                let header = layout.replace(
                    span.start..span.body,
                    source.get(span.start..span.body).unwrap_or_default().to_vec(),
                );
                let body_start = layout.new_len();
                while let Some(index) = by_place
                    .next_if(|index| samples.get(*index).is_some_and(|sample| sample.bytes.end <= span.end))
                {
                    let place = samples.get(index).map(|sample| sample.bytes.clone()).unwrap_or_default();
                    // before this box, or inside the sample before
                    if place.start < layout.old_end() {
                        return Err(span.fault("video samples overlap or lie outside the media data"));
                    }
                    let payload = entries.take(index);
                    if let Some(piece) = sample_pieces.get_mut(index) {
                        *piece = layout.replace(place, payload);
                    }
                }
                layout.keep_until(span.end);
                let body_bytes = layout.new_len() - body_start;
                fix_size(&mut layout, header, span, body_bytes)?;
            }
            b"sidx" => {
                indexes.push((layout.replace(span.start..span.end, span.whole_of(source).to_vec()), span))
            }
            b"moov" => {
                layout.replace(span.start..span.end, own_movie(source, span, units)?);
            }
            b"mfra" | b"ssix" => {
                layout.replace(span.start..span.end, Vec::new());
            }
            _ => layout.keep_until(span.end),
        }
    }
    if by_place.next().is_some() {
        return Err(ContainerError::Malformed {
            what: "video samples lie outside the media data",
            at: layout.old_end(),
        });
    }
    layout.keep_until(group.bytes.end);
    check_runs(segment, group, &entries, &sample_pieces, &layout)?;

    for open in fragments {
        fill_offsets(&mut layout, &open, &sample_pieces)?;
    }
    for (piece, span) in indexes {
        let mut index = span.whole_of(source).to_vec();
        let new_end = layout.start_of(piece) + index.len();
        if sidx::rewrite(&mut index, span, group.bytes.end, new_end, &layout).is_some()
            && let Some(bytes) = layout.bytes_of(piece)
        {
            put(bytes, 0, &index);
        }
    }
    Ok(layout.write(source))
}

/// The samples of a run must still follow each other without a gap. They do unless the runs of the source
/// share places.
fn check_runs(
    segment: &Fmp4Segment,
    group: &Group,
    entries: &Entries<'_>,
    sample_pieces: &[usize],
    layout: &Layout,
) -> Result<(), ContainerError> {
    let list = segment.fragments.list.get(group.fragments.clone()).unwrap_or_default();
    let tracks = list.iter().flat_map(|moof| &moof.tracks).filter(|track| track.is_video);
    for run in tracks.flat_map(|track| &track.runs) {
        let pieces = sample_pieces.get(run.samples.clone()).unwrap_or_default();
        for (pair, sample) in pieces.windows(2).zip(run.samples.clone()) {
            let starts: Vec<usize> = pair.iter().map(|piece| layout.start_of(*piece)).collect();
            if starts.first().map(|start| start + entries.bytes_of(sample)) != starts.get(1).copied() {
                return Err(run.span.fault("the samples of this run share their place with others"));
            }
        }
    }
    Ok(())
}

fn fix_size(
    layout: &mut Layout,
    piece: usize,
    span: &BoxSpan,
    body_bytes: usize,
) -> Result<(), ContainerError> {
    if span.open_ended {
        return Ok(());
    }
    let header_bytes = span.body - span.start;
    let size = header_bytes + body_bytes;
    let Some(header) = layout.bytes_of(piece) else { return Ok(()) };
    if header_bytes == 16 {
        put(header, 8, &(size as u64).to_be_bytes());
    } else {
        let size = u32::try_from(size).map_err(|_| span.fault("the media data outgrows its 32-bit size"))?;
        put(header, 0, &size.to_be_bytes());
    }
    Ok(())
}

/// The movie box of a segment that brings its own, for the new pictures.
fn own_movie(source: &[u8], movie: &BoxSpan, units: &[EncodedUnit]) -> Result<Vec<u8>, ContainerError> {
    let find =
        |wanted| units.iter().flat_map(|unit| annex_b_nals(&unit.data)).find(|body| nal_type(body) == wanted);
    let missing = ContainerError::BadUnit { index: 0, what: "no parameter sets in it" };
    let (Some(sps), Some(pps)) = (find(nal::SPS), find(nal::PPS)) else { return Err(missing) };
    let facts = SpsFacts::parse(sps).map_err(|_| missing)?;
    movie::rewrite(source, movie, facts.width, facts.height, sps, pps)
}

fn rewrite_fragment(
    source: &[u8],
    fragment: &Fragment,
    entries: &Entries<'_>,
) -> Result<(Vec<u8>, OpenFragment), ContainerError> {
    let mut open = OpenFragment { piece: 0, offsets: Vec::new() };
    let mut out = Vec::with_capacity(fragment.span.end - fragment.span.start);
    let mut tracks = fragment.tracks.iter();
    let mut end_before = fragment.span.start;
    write(&mut out, &fragment.span, |out| {
        for child in children(source, fragment.span.body..fragment.span.end)? {
            if &child.kind != b"traf" {
                out.extend_from_slice(child.whole_of(source));
                continue;
            }
            let track = tracks.next().ok_or_else(|| child.fault("a track fragment was not read"))?;
            let base = match track.base {
                Base::Fragment | Base::Explicit(_) => OpenBase::Fragment,
                Base::End => OpenBase::Old(end_before),
            };
            end_before = usize::try_from(track.data_end).unwrap_or(usize::MAX);
            rewrite_track(out, source, track, base, entries, &mut open)?;
        }
        Ok(())
    })?;
    Ok((out, open))
}

fn rewrite_track(
    out: &mut Vec<u8>,
    source: &[u8],
    track: &TrackFragment,
    base: OpenBase,
    entries: &Entries<'_>,
    open: &mut OpenFragment,
) -> Result<(), ContainerError> {
    if track.has_offsets && !track.is_video {
        return Err(ContainerError::Encrypted); // its tables point into boxes that move
    }
    let mut runs = track.runs.iter();
    write(out, &track.span, |out| {
        for child in children(source, track.span.body..track.span.end)? {
            match &child.kind {
                b"trun" => {
                    let run = runs.next().ok_or_else(|| child.fault("a track run was not read"))?;
                    open.offsets.extend(copy_run(out, source, track, run, base, entries)?);
                }
                // what described the old samples
                b"sdtp" | b"subs" | b"sbgp" | b"sgpd" | b"csgp" | b"saiz" | b"saio" | b"senc"
                    if track.is_video => {}
                b"tfhd" if matches!(track.base, Base::Explicit(_)) => {
                    header_without_base(out, source, &child)?
                }
                _ => out.extend_from_slice(child.whole_of(source)),
            }
        }
        Ok(())
    })
}

/// Writes a run of the video anew, or copies another track's; gives the offset to fill in, if it states one.
fn copy_run(
    out: &mut Vec<u8>,
    source: &[u8],
    track: &TrackFragment,
    run: &Run,
    base: OpenBase,
    entries: &Entries<'_>,
) -> Result<Option<OpenOffset>, ContainerError> {
    let data_at = usize::try_from(run.data_at).unwrap_or(usize::MAX);
    if track.is_video {
        let own = entries.of(run.samples.clone());
        let field_at = write_run(out, run, own, entries.states_durations())?;
        let target = if own.is_empty() { Target::Old(data_at) } else { Target::Sample(run.samples.start) };
        return Ok(Some(OpenOffset { field_at, base, target }));
    }
    let target = Target::Old(data_at);
    if run.flags & DATA_OFFSET == 0 && matches!(track.base, Base::Explicit(_)) {
        // it began where the header said, or behind the run before; now it says so itself
        let field_at = run_with_offset(out, source, run)?;
        return Ok(Some(OpenOffset { field_at, base, target }));
    }
    let field_at = out.len() + (run.span.body - run.span.start) + 8;
    out.extend_from_slice(run.span.whole_of(source));
    Ok((run.flags & DATA_OFFSET != 0).then_some(OpenOffset { field_at, base, target }))
}

/// A track fragment header that counts from the fragment (default-base-is-moof) rather than from an offset of
/// its own.
fn header_without_base(out: &mut Vec<u8>, source: &[u8], tfhd: &BoxSpan) -> Result<(), ContainerError> {
    let body = tfhd.body_of(source);
    let cut = || tfhd.fault("a track fragment header is cut short");
    let (version_flags, rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
    let (track, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let flags = u32::from_be_bytes(*version_flags) & !BASE_DATA_OFFSET | BASE_IS_MOOF;
    write(out, tfhd, |out| {
        out.extend_from_slice(&flags.to_be_bytes());
        out.extend_from_slice(track);
        out.extend_from_slice(rest.get(8..).ok_or_else(cut)?);
        Ok(())
    })
}

/// Another track's run with a data offset put in; gives the field's place.
fn run_with_offset(out: &mut Vec<u8>, source: &[u8], run: &Run) -> Result<usize, ContainerError> {
    let body = run.span.body_of(source);
    let cut = || run.span.fault("a track run is cut short");
    let (version_flags, rest) = body.split_first_chunk::<4>().ok_or_else(cut)?;
    let (count, rest) = rest.split_first_chunk::<4>().ok_or_else(cut)?;
    let mut field_at = 0;
    write(out, &run.span, |out| {
        out.extend_from_slice(&(u32::from_be_bytes(*version_flags) | DATA_OFFSET).to_be_bytes());
        out.extend_from_slice(count);
        field_at = out.len();
        out.extend_from_slice(&[0; 4]);
        out.extend_from_slice(rest);
        Ok(())
    })?;
    Ok(field_at)
}

fn fill_offsets(
    layout: &mut Layout,
    open: &OpenFragment,
    sample_pieces: &[usize],
) -> Result<(), ContainerError> {
    let start = layout.start_of(open.piece);
    let fault = |what| ContainerError::Malformed { what, at: start };
    for offset in &open.offsets {
        let base = match offset.base {
            OpenBase::Fragment => start,
            OpenBase::Old(old) => layout.map(old),
        };
        let target = match offset.target {
            Target::Sample(index) => layout.start_of(sample_pieces.get(index).copied().unwrap_or(0)),
            Target::Old(old) => layout.map(old),
        };
        let distance = target as i128 - base as i128;
        let distance = i32::try_from(distance).map_err(|_| fault("a data offset outgrows 32 bits"))?;
        let bytes = layout.bytes_of(open.piece).ok_or_else(|| fault("a fragment got lost"))?;
        put(bytes, offset.field_at, &distance.to_be_bytes());
    }
    Ok(())
}
