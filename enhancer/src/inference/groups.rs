//! Samples of an enlarged picture in the order that convolutions make them in.

/// Channels that a convolution computes at least.
const CHANNELS: usize = 16;

/// How the samples of a picture lie in an unwoven output, uint8 `[batch, height, width / across, scale * across * scale]` of low pixels:
/// each group of `across` low pixels has its rows of the enlarged picture one after the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Groups {
    pub(super) scale: usize,
    /// Low pixels in a group; the low picture's width is a multiple.
    pub(super) across: usize,
}

impl Groups {
    /// What a network that enlarges by `scale` can make of low pictures of `width`.
    pub(super) fn of(scale: usize, width: usize) -> Self {
        let fits = |across: &usize| scale * scale * across <= CHANNELS && width.is_multiple_of(*across);
        Self { scale, across: [4, 2].into_iter().find(fits).unwrap_or(1) }
    }

    /// The output's shape for `batch` low pictures.
    pub(super) fn shape(self, [batch, width, height]: [usize; 3]) -> [i64; 4] {
        let Self { scale, across } = self;
        [batch, height, width / across, scale * across * scale].map(|size| size as i64)
    }

    /// Weaves row `y` of an enlarged picture, from low column `x` on, as far as `row` goes. `samples` begin with the picture, whose low
    /// one is `width` wide.
    pub(super) fn weave(self, samples: &[u8], width: usize, y: usize, x: usize, row: &mut [u8]) {
        let Self { scale, across } = self;
        let part = scale * across;
        let from = y / scale * width * scale * scale + x / across * part * scale + y % scale * part;
        let mut groups = samples.get(from..).unwrap_or_default().chunks(part * scale);
        let inside = x % across * scale;
        let mut rest = row;
        if inside > 0 {
            let first = groups.next().and_then(|group| group.get(inside..part)).unwrap_or_default();
            let (start, others) = rest.split_at_mut(first.len().min(rest.len()));
            start.copy_from_slice(&first[..start.len()]);
            rest = others;
        }
        if let [4, 2] = [across, scale] {
            // The usual case, with a length that the compiler knows.
            let (parts, others) = rest.as_chunks_mut::<8>();
            for part in parts {
                let Some(group) = groups.next().and_then(|group| group.first_chunk()) else { return };
                *part = *group;
            }
            rest = others;
        }
        for (part, group) in rest.chunks_mut(part).zip(groups) {
            let length = part.len().min(group.len());
            part[..length].copy_from_slice(&group[..length]);
        }
    }

    /// The samples of a group, in order: row in the enlarged picture, low pixel, column of that pixel.
    pub(super) fn samples(self) -> impl Iterator<Item = (usize, usize, usize)> {
        let Self { scale, across } = self;
        (0..scale).flat_map(move |row| {
            (0..across).flat_map(move |pixel| (0..scale).map(move |column| (row, pixel, column)))
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_fill_the_channels_of_a_convolution() {
        let across = |scale, width| Groups::of(scale, width).across;
        assert_eq!([across(2, 640), across(2, 426), across(2, 641)], [4, 2, 1]);
        assert_eq!([across(3, 640), across(4, 640)], [1, 1]);
        assert_eq!(Groups::of(2, 640).shape([3, 640, 360]), [3, 360, 160, 16]);
        assert_eq!(Groups::of(3, 640).shape([1, 640, 360]), [1, 360, 640, 9]);
    }

    #[test]
    fn rows_are_woven_from_any_column_on() {
        for (scale, width) in [(2, 12), (2, 6), (2, 5), (3, 5), (4, 3)] {
            let groups = Groups::of(scale, width);
            let wide = width * scale;
            // A picture of two low rows whose samples tell their place, and the same in groups.
            let sample = |y: usize, x: usize| (y * wide + x) as u8;
            let mut samples = Vec::new();
            for low in 0..2 {
                for group in 0..width / groups.across {
                    samples.extend(groups.samples().map(|(row, pixel, column)| {
                        sample(low * scale + row, (group * groups.across + pixel) * scale + column)
                    }));
                }
            }
            for y in 0..2 * scale {
                for x in 0..width {
                    for end in x..=width {
                        let mut row = vec![0; (end - x) * scale];
                        groups.weave(&samples, width, y, x, &mut row);
                        let expected: Vec<u8> = (x * scale..end * scale).map(|x| sample(y, x)).collect();
                        assert_eq!(row, expected, "{groups:?}, row {y} from {x} to {end}");
                    }
                }
            }
        }
    }

    #[test]
    fn what_is_cut_short_leaves_the_rest() {
        let mut row = [7; 24];
        Groups::of(2, 12).weave(&[1; 20], 12, 0, 0, &mut row);
        assert_eq!((&row[..8], &row[16..]), (&[1; 8][..], &[7; 8][..]));
        Groups::of(2, 12).weave(&[], 12, 1, 3, &mut row);
    }
}
