//! Segment index (ISO/IEC 14496-12, 8.16.3): the sizes it states follow the data.

use super::boxes::BoxSpan;
use super::layout::Layout;
use crate::container::bytes::{put, u8_at, u16_at, u32_at, u64_at};

/// The bits of a reference that are its size.
const SIZE: u32 = 0x7fff_ffff;

/// What an index says, and where.
struct Index {
    /// Place of the offset of the first reference, and whether it has eight bytes.
    offset_at: usize,
    is_wide: bool,
    /// Where the first referenced byte lies in the source.
    anchor: usize,
    /// Place and value of each reference's word: its kind in the top bit, its size in the others.
    references: Vec<(usize, u32)>,
}

impl Index {
    /// Reads `index`, the bytes of the box `span`.
    fn read(index: &[u8], span: &BoxSpan) -> Option<Self> {
        let body = span.body.checked_sub(span.start)?;
        let is_wide = u8_at(index, body)? != 0;
        let (offset_at, first_offset, count_at) = if is_wide {
            (body + 20, u64_at(index, body + 20)?, body + 30)
        } else {
            (body + 16, u64::from(u32_at(index, body + 16)?), body + 22)
        };
        let count = usize::from(u16_at(index, count_at)?);
        let anchor = span.end.checked_add(usize::try_from(first_offset).ok()?)?;
        let places = (0..count).map(|entry| count_at + 2 + entry * 12);
        let references = places.map(|at| Some((at, u32_at(index, at)?))).collect::<Option<_>>()?;
        Some(Self { offset_at, is_wide, anchor, references })
    }
}

/// One past the last byte of the source that the index `span` refers to; `None` if it cannot be read.
pub(super) fn reach(source: &[u8], span: &BoxSpan) -> Option<usize> {
    let index = Index::read(span.whole_of(source), span)?;
    let sizes = index.references.iter().map(|(_, word)| (word & SIZE) as usize);
    sizes.into_iter().try_fold(index.anchor, usize::checked_add)
}

/// Rewrites the referenced sizes in `index`, a copy of the box `span` of a part of the source that ends at `part_end`,
/// whose place in the result is `new_end`. An index that reaches beyond describes another file
/// and stays as it is, and so does one whose numbers do not fit.
pub(super) fn rewrite(
    index: &mut [u8],
    span: &BoxSpan,
    part_end: usize,
    new_end: usize,
    layout: &Layout,
) -> Option<()> {
    let Index { offset_at, is_wide, anchor, references } = Index::read(index, span)?;
    let mut position = anchor;
    let mut changes: Vec<(usize, u32)> = Vec::with_capacity(references.len());
    for (at, word) in references {
        let next = position.checked_add((word & SIZE) as usize).filter(|next| *next <= part_end)?;
        let size = u32::try_from(layout.map(next).checked_sub(layout.map(position))?).ok()?;
        if size > SIZE {
            return None;
        }
        changes.push((at, word & !SIZE | size));
        position = next;
    }
    let first_offset = layout.map(anchor).checked_sub(new_end)?;
    if is_wide {
        put(index, offset_at, &(first_offset as u64).to_be_bytes())?;
    } else {
        put(index, offset_at, &u32::try_from(first_offset).ok()?.to_be_bytes())?;
    }
    for (at, word) in changes {
        put(index, at, &word.to_be_bytes())?;
    }
    Some(())
}
