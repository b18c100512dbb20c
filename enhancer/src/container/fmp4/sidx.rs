//! Segment index (ISO/IEC 14496-12, 8.16.3): the sizes it states follow the data.

use super::boxes::BoxSpan;
use super::layout::Layout;
use crate::container::bytes::{put, u8_at, u16_at, u32_at, u64_at};

/// Rewrites the referenced sizes in `index`, a copy of the box `span` of a source of `source_len` bytes,
/// whose place in the result is `new_end`. An index that reaches beyond the segment describes another file
/// and stays as it is, and so does one whose numbers do not fit.
pub(super) fn rewrite(
    index: &mut [u8],
    span: &BoxSpan,
    source_len: usize,
    new_end: usize,
    layout: &Layout,
) -> Option<()> {
    let body = span.body.checked_sub(span.start)?;
    let version = u8_at(index, body)?;
    let (offset_at, first_offset, count_at) = if version == 0 {
        (body + 16, u64::from(u32_at(index, body + 16)?), body + 22)
    } else {
        (body + 20, u64_at(index, body + 20)?, body + 30)
    };
    let count = usize::from(u16_at(index, count_at)?);
    let mut position = span.end.checked_add(usize::try_from(first_offset).ok()?)?;
    let mut changes: Vec<(usize, u32)> = Vec::with_capacity(count);
    let anchor = position;
    for entry in 0..count {
        let at = count_at + 2 + entry * 12;
        let word = u32_at(index, at)?;
        let next = position.checked_add((word & 0x7fff_ffff) as usize).filter(|next| *next <= source_len)?;
        let size = u32::try_from(layout.map(next).checked_sub(layout.map(position))?).ok()?;
        if size > 0x7fff_ffff {
            return None;
        }
        changes.push((at, word & 0x8000_0000 | size));
        position = next;
    }
    let first_offset = layout.map(anchor).checked_sub(new_end)?;
    if version == 0 {
        put(index, offset_at, &u32::try_from(first_offset).ok()?.to_be_bytes())?;
    } else {
        put(index, offset_at, &(first_offset as u64).to_be_bytes())?;
    }
    for (at, word) in changes {
        put(index, at, &word.to_be_bytes())?;
    }
    Some(())
}
