//! Which pictures of a segment lie half way between their neighbours, and which of these are compared. Pure arithmetic on
//! presentation times.

use crate::CompareError;

/// How far apart a picture's two gaps may be, as a part of their mean: milliseconds of 60 pictures a second are 16 and 17.
const GAPS_APART: f64 = 0.1;

/// A gap is one between neighbours of a moving picture if it is so many of the segment's middle one: what is parted at work.
const USUAL: std::ops::RangeInclusive<f64> = 0.5..=1.5;

/// Presentation times of three pictures that follow each other.
pub(super) type Three = [i64; 3];

/// The triplets of a segment that may be compared, in as many even parts as pictures are wanted. From each part one is taken, the
/// first from its middle on that is good for it, so that what is not (it stands still, it is cut) is made up for by a neighbour.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Triplets {
    all: Vec<Three>,
    parts: usize,
    /// The part that was served last. They are come by in order.
    served: Option<usize>,
}

impl Triplets {
    /// Those of pictures with these times (in any order, on any clock), for `count` comparisons.
    pub(super) fn new(mut pts: Vec<i64>, count: usize) -> Result<Self, CompareError> {
        pts.sort_unstable();
        pts.dedup();
        let mut gaps: Vec<i64> = pts.windows(2).filter_map(gap).collect();
        gaps.sort_unstable();
        let usual = *gaps.get(gaps.len() / 2).ok_or(CompareError::Times)? as f64;
        let all: Vec<Three> = pts
            .windows(3)
            .filter_map(|three| <Three>::try_from(three).ok())
            .filter(|three| is_regular(*three, usual))
            .collect();
        if all.is_empty() {
            return Err(CompareError::Times);
        }
        Ok(Self { parts: count.clamp(1, all.len()), all, served: None })
    }

    /// As many as are compared, if all goes well.
    pub(super) fn parts(&self) -> usize {
        self.parts
    }

    /// Whether these three may be compared, and would serve a part that was not served yet.
    pub(super) fn wants(&self, three: Three) -> bool {
        self.part(three).is_some_and(|part| self.served.is_none_or(|served| served < part))
    }

    /// These are compared.
    pub(super) fn take(&mut self, three: Three) {
        self.served = self.part(three).or(self.served);
    }

    /// The part that three pictures serve: if they are behind its middle.
    fn part(&self, three: Three) -> Option<usize> {
        let [_, middle, _] = three;
        let at = self.all.binary_search_by_key(&middle, |[_, middle, _]| *middle).ok()?;
        let part = at * self.parts / self.all.len();
        let from = (2 * part + 1) * self.all.len() / (2 * self.parts);
        (at >= from && self.all.get(at) == Some(&three)).then_some(part)
    }
}

fn gap(pair: &[i64]) -> Option<i64> {
    if let [a, b] = pair { Some(b - a) } else { None }
}

/// Whether the middle one is shown half way between the others, and these are as far from it as usual.
fn is_regular([a, b, c]: Three, usual: f64) -> bool {
    let (before, after) = ((b - a) as f64, (c - b) as f64);
    let mean = f64::midpoint(before, after);
    (before - after).abs() <= GAPS_APART * mean && USUAL.contains(&(mean / usual))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    /// The middles that are taken of pictures at these times if all but those are good.
    fn taken(pts: &[i64], count: usize, bad: &[i64]) -> Vec<i64> {
        let Ok(mut triplets) = Triplets::new(pts.to_vec(), count) else { return Vec::new() };
        let mut sorted = pts.to_vec();
        sorted.sort_unstable();
        let mut taken = Vec::new();
        for three in sorted.windows(3).map(|three| <Three>::try_from(three).unwrap()) {
            if triplets.wants(three) && !bad.contains(&three[1]) {
                triplets.take(three);
                taken.push(three[1]);
            }
        }
        taken
    }

    fn regular(count: i64) -> Vec<i64> {
        (0..count).collect()
    }

    #[test]
    fn they_are_spread_evenly() {
        assert_eq!(taken(&regular(102), 4, &[]), [13, 38, 63, 88]);
        assert_eq!(taken(&regular(5), 12, &[]), [1, 2, 3], "no more than there are");
        assert_eq!(taken(&regular(102), 1, &[]), [51]);
        for (pictures, count) in [(52, 12), (102, 100), (9, 4), (3, 7), (601, 600)] {
            let found = taken(&regular(pictures), count, &[]);
            assert_eq!(found.len(), count.min(pictures as usize - 2), "{pictures} {count}: {found:?}");
        }
        // Decoders are fed in another order than pictures are shown.
        assert_eq!(taken(&[0, 3, 1, 2, 4], 1, &[]), [2]);
    }

    #[test]
    fn the_next_good_one_of_a_part_makes_up_for_one_that_is_not() {
        assert_eq!(taken(&regular(102), 4, &[13, 14, 88]), [15, 38, 63, 89]);
        let half: Vec<i64> = (51..102).collect();
        assert_eq!(taken(&regular(102), 4, &half), [13, 38], "and a part where none is gives none");
    }

    #[test]
    fn times_that_are_not_regular_count_for_nothing() {
        // 30000/1001 on a clock of milliseconds; pulldown of 24 in 60; a pause; a picture that is lost.
        assert_eq!(taken(&[0, 33, 67, 100, 133, 167], 9, &[]), [33, 67, 100, 133]);
        assert!(taken(&[0, 2, 5, 7, 10, 12], 9, &[]).is_empty());
        assert_eq!(taken(&[0, 40, 80, 2000, 3920, 3960, 4000], 9, &[]), [40, 3960]);
        assert_eq!(taken(&[0, 40, 80, 160, 200, 240, 280], 9, &[]), [40, 200, 240]);
        for pts in [&[][..], &[7], &[7, 7, 7], &[0, 40], &[0, 40, 160]] {
            assert!(matches!(Triplets::new(pts.to_vec(), 9), Err(CompareError::Times)), "{pts:?}");
        }
    }

    #[test]
    fn what_was_lost_on_the_way_leaves_no_triplet() {
        let triplets = Triplets::new(regular(5), 9).unwrap();
        assert!(triplets.wants([1, 2, 3]));
        assert!(!triplets.wants([0, 2, 3]), "the decoder gave nothing for one of them");
    }
}
