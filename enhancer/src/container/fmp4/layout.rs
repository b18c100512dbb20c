//! Where everything of the source lies in the result. Splicing changes sizes, and half of the tables in MP4
//! are positions; this is the one place that knows how old positions become new ones.

use std::ops::Range;

/// What takes the place of a piece of the source.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Content {
    /// The source's bytes.
    Same,
    /// Other bytes (none: the piece is left out).
    New(Vec<u8>),
}

#[derive(Debug, Clone)]
pub(super) struct Piece {
    old: Range<usize>,
    content: Content,
    new_start: usize,
}

/// The source cut into pieces, ascending and without gaps.
#[derive(Debug, Clone, Default)]
pub(super) struct Layout {
    pieces: Vec<Piece>,
    /// Where the first piece begins in the source.
    start: usize,
    new_len: usize,
}

impl Layout {
    /// A layout of what begins at `start` of the source; new positions count from there.
    pub(super) fn beginning_at(start: usize) -> Self {
        Self { start, ..Self::default() }
    }

    /// Everything up to `end` of the source that no piece covers yet stays as it is.
    pub(super) fn keep_until(&mut self, end: usize) {
        let start = self.old_end();
        if end > start {
            self.push(start..end, Content::Same);
        }
    }

    /// Puts other bytes in the place of `old`, which begins where the last piece ends, or later: the source
    /// stays in between. Gives the piece's index.
    pub(super) fn replace(&mut self, old: Range<usize>, bytes: Vec<u8>) -> usize {
        self.keep_until(old.start);
        self.push(old, Content::New(bytes));
        self.pieces.len() - 1
    }

    fn push(&mut self, old: Range<usize>, content: Content) {
        let new_start = self.new_len;
        self.new_len += match &content {
            Content::Same => old.len(),
            Content::New(bytes) => bytes.len(),
        };
        self.pieces.push(Piece { old, content, new_start });
    }

    /// One past the last byte of the source that a piece covers.
    pub(super) fn old_end(&self) -> usize {
        self.pieces.last().map_or(self.start, |piece| piece.old.end)
    }

    pub(super) fn new_len(&self) -> usize {
        self.new_len
    }

    /// Where a piece begins in the result.
    pub(super) fn start_of(&self, piece: usize) -> usize {
        self.pieces.get(piece).map_or(0, |piece| piece.new_start)
    }

    /// Bytes of a replaced piece, to be completed once positions are known; their number must not change.
    pub(super) fn bytes_of(&mut self, piece: usize) -> Option<&mut [u8]> {
        match &mut self.pieces.get_mut(piece)?.content {
            Content::New(bytes) => Some(bytes),
            Content::Same => None,
        }
    }

    /// Where a position of the source lies in the result: positions in replaced pieces move to the begin of
    /// the replacement, or as far in as it reaches; a position where nothing-replacing pieces stand lies
    /// behind them.
    pub(super) fn map(&self, old: usize) -> usize {
        let after = self.pieces.partition_point(|piece| piece.old.start <= old);
        let Some(piece) = after.checked_sub(1).and_then(|index| self.pieces.get(index)) else { return old };
        let into = old - piece.old.start;
        piece.new_start
            + match &piece.content {
                Content::Same => into,
                Content::New(bytes) if old >= piece.old.end => bytes.len() + (old - piece.old.end),
                Content::New(bytes) => into.min(bytes.len()),
            }
    }

    pub(super) fn write(&self, source: &[u8]) -> Vec<u8> {
        let mut out = Vec::with_capacity(self.new_len);
        for piece in &self.pieces {
            out.extend_from_slice(match &piece.content {
                Content::Same => source.get(piece.old.clone()).unwrap_or_default(),
                Content::New(bytes) => bytes,
            });
        }
        out
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn positions_follow_what_they_pointed_at() {
        let mut layout = Layout::default();
        layout.replace(2..4, b"wxyz".to_vec());
        layout.replace(6..6, b"++".to_vec());
        let dropped = layout.replace(8..9, Vec::new());
        layout.keep_until(10);
        assert_eq!(layout.write(b"0123456789"), b"01wxyz45++679");
        let moved: Vec<usize> = (0..=10).map(|old| layout.map(old)).collect();
        assert_eq!(moved, [0, 1, 2, 3, 6, 7, 10, 11, 12, 12, 13]);
        assert_eq!((layout.start_of(dropped), layout.new_len(), layout.old_end()), (12, 13, 10));
    }
}
