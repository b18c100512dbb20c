//! Boxes (ISO/IEC 14496-12, 4.2): sizes, types and nesting, checked at every step.

use std::ops::Range;

use crate::container::ContainerError;
use crate::container::bytes::{array_at, u32_at, u64_at};

/// A four-character code.
pub(super) type Kind = [u8; 4];

/// Where a box lies. Offsets count from the begin of the file it was found in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct BoxSpan {
    pub(super) kind: Kind,
    pub(super) start: usize,
    /// First byte after size and type.
    pub(super) body: usize,
    /// One past the last byte that is there.
    pub(super) end: usize,
    /// One past the last byte that the size announces; beyond `end` where the file is cut.
    pub(super) declared_end: u64,
    /// The size is written as 0: up to the end of the file.
    pub(super) open_ended: bool,
}

impl BoxSpan {
    pub(super) fn body_of<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.body..self.end).unwrap_or_default()
    }

    pub(super) fn whole_of<'a>(&self, data: &'a [u8]) -> &'a [u8] {
        data.get(self.start..self.end).unwrap_or_default()
    }

    /// An error of this box.
    pub(super) fn fault(&self, what: &'static str) -> ContainerError {
        ContainerError::Malformed { what, at: self.start }
    }
}

/// The boxes of a file. The last one may be cut short; fewer than eight bytes at the end are passed over
/// (some packagers leave a few behind).
pub(super) fn top_level(data: &[u8]) -> Result<Vec<BoxSpan>, ContainerError> {
    let mut found = Vec::new();
    let mut at = 0;
    while data.len().saturating_sub(at) >= 8 {
        let span = read(data, at, data.len())?;
        at = span.end;
        found.push(span);
        if found.len() > BOXES {
            return Err(ContainerError::OverLimit { what: "boxes", limit: BOXES });
        }
    }
    Ok(found)
}

/// Boxes of one file or container that are read: a segment of one-frame fragments has a few hundred.
const BOXES: usize = 100_000;

/// The boxes that fill `range`, which must end where a box ends. Zero padding at the end is tolerated.
pub(super) fn children(data: &[u8], range: Range<usize>) -> Result<Vec<BoxSpan>, ContainerError> {
    let mut found = Vec::new();
    let mut at = range.start;
    while range.end.saturating_sub(at) >= 8 {
        if found.len() > BOXES {
            return Err(ContainerError::OverLimit { what: "boxes", limit: BOXES });
        }
        if data.get(at..range.end).is_some_and(|rest| rest.iter().all(|byte| *byte == 0)) {
            break;
        }
        let span = read(data, at, range.end)?;
        if span.declared_end > range.end as u64 {
            return Err(span.fault("a box reaches beyond the box it is in"));
        }
        at = span.end;
        found.push(span);
    }
    Ok(found)
}

fn read(data: &[u8], at: usize, limit: usize) -> Result<BoxSpan, ContainerError> {
    let fault = |what| ContainerError::Malformed { what, at };
    let cut = "a box header is cut short";
    let size = u32_at(data, at).ok_or_else(|| fault(cut))?;
    let kind = array_at(data, at + 4).ok_or_else(|| fault(cut))?;
    let (header, size) = match size {
        1 => (16, u64_at(data, at + 8).filter(|_| limit - at >= 16).ok_or_else(|| fault(cut))?),
        0 => (8, (limit - at) as u64),
        size => (8, u64::from(size)),
    };
    if size < header {
        return Err(fault("a box is smaller than its header"));
    }
    let declared_end = size.checked_add(at as u64).ok_or_else(|| fault("a box size overflows"))?;
    let end = usize::try_from(declared_end).unwrap_or(usize::MAX).min(limit);
    let open_ended = u32_at(data, at) == Some(0);
    Ok(BoxSpan { kind, start: at, body: at + header as usize, end, declared_end, open_ended })
}

/// Writes a box with the header form of `source` (64-bit sizes stay, an open end becomes a size) around a new
/// body.
pub(super) fn write(
    out: &mut Vec<u8>,
    source: &BoxSpan,
    write_body: impl FnOnce(&mut Vec<u8>) -> Result<(), ContainerError>,
) -> Result<(), ContainerError> {
    let start = out.len();
    let wide = source.body - source.start == 16;
    out.extend_from_slice(&if wide { 1u32 } else { 0 }.to_be_bytes());
    out.extend_from_slice(&source.kind);
    if wide {
        out.extend_from_slice(&[0; 8]);
    }
    write_body(out)?;
    let size = out.len() - start;
    if wide {
        crate::container::bytes::put(out, start + 8, &(size as u64).to_be_bytes());
    } else {
        let size = u32::try_from(size).map_err(|_| source.fault("a box outgrows its 32-bit size"))?;
        crate::container::bytes::put(out, start, &size.to_be_bytes());
    }
    Ok(())
}

/// Whether the bytes begin with a box that begins fragmented MP4 files, init segments or media segments.
pub(crate) fn looks_like_boxes(data: &[u8]) -> bool {
    let (Some(size), Some(kind)) = (u32_at(data, 0), array_at::<4>(data, 4)) else { return false };
    let known = matches!(
        &kind,
        b"ftyp"
            | b"styp"
            | b"moov"
            | b"moof"
            | b"mdat"
            | b"sidx"
            | b"ssix"
            | b"emsg"
            | b"prft"
            | b"free"
            | b"skip"
            | b"wide"
            | b"uuid"
            | b"pdin"
    );
    known && (size <= 1 || size >= 8)
}
