//! Film's cadence: pictures that come at 24 or 25 a second in a source of 29.97 or 30 are shown in turn once and twice. Pure.
//!
//! Of five (24) or six (25) gaps between such a source's pictures one leads to the same picture again. That says when each of the others
//! came, and therefore which of its two neighbours is shown half way between them when the whole is shown at twice the rate: what was
//! filmed comes every `n / (n - 1)` of the source's gaps, and after a repeat none came within a whole gap, so the j-th picture behind it
//! appeared between `(j - 1) / (n - 1)` and `j / (n - 1)` of the j-th gap. A motion that is made there would be one that the film does not
//! have: steps that alternate between halves and nothing.
//!
//! Measured with `traffic_540p60` (25 pictures a second in 59.94, every second one kept) in docs/interpolation.md.

use std::ops::Range;

/// How many gaps form a turn: 25 in 30 and 24 in 30.
const TURNS: [usize; 2] = [6, 5];

/// So far before and behind a gap others are looked at: the rest of its turn and two more, so that no single repeat decides.
pub(super) const REACH: usize = 18;

/// A repeated picture differs from the one before by so much of what its neighbours differ by, where these differ at all (mean difference of
/// small pictures, in code values). An encoder's own noise is a tenth of it at low rates.
const REPEAT_SHARE: f32 = 0.35;
const LEAST_CHANGE: f32 = 0.1;

/// So many gaps on each side say what a usual difference is: one turn.
const AROUND: usize = 6;

/// When, in shares of the gap `changes[at]`, its second picture appeared: after the range's start, by its end. A repeat is whole until the
/// end: `1..1`. `None`: there is no cadence here.
///
/// `changes`: how much each picture differs from the one before, in presentation order; what is not to be compared (a picture lost
/// between them) is not a number.
pub(super) fn appears(changes: &[f32], at: usize) -> Option<Range<f32>> {
    let is_repeat = |at: &usize| is_repeat(changes, *at);
    // The gap itself counts as before it.
    let before: Vec<usize> = (at.saturating_sub(REACH)..=at).rev().filter(is_repeat).take(3).collect();
    let behind: Vec<usize> = (at + 1..changes.len().min(at + 1 + REACH)).filter(is_repeat).take(3).collect();
    let (turn, since) = match (before.as_slice(), behind.as_slice()) {
        // The turn that the gap is in, and one like it beside it.
        (&[last, ..], &[next, ..]) => {
            let turn = next - last;
            let earlier = before.get(1).map(|other| last - other);
            let later = behind.get(1).map(|other| other - next);
            ([earlier, later].contains(&Some(turn)).then_some(turn)?, at - last)
        }
        // At a segment's ends the two turns next to it, where the one that the gap is in goes on beyond.
        (&[last, second, third], []) if last + (last - second) >= changes.len() => {
            (two_alike(last - second, second - third)?, at - last)
        }
        ([], &[next, second, third]) if next < second - next => {
            let turn = two_alike(second - next, third - second)?;
            (turn, turn.checked_sub(next - at)?)
        }
        _ => return None,
    };
    if !TURNS.contains(&turn) || since >= turn {
        return None;
    }
    let each = 1.0 / (turn - 1) as f32;
    Some(match since {
        0 => 1.0..1.0,
        since => (since - 1) as f32 * each..since as f32 * each,
    })
}

fn two_alike(one: usize, other: usize) -> Option<usize> {
    (one == other).then_some(one)
}

/// Whether a gap leads to the same picture again, as far as what is around it says.
fn is_repeat(changes: &[f32], at: usize) -> bool {
    let around = at.saturating_sub(AROUND)..changes.len().min(at + AROUND + 1);
    let mut usual: Vec<f32> =
        around.filter(|other| *other != at).filter_map(|at| changes.get(at).copied()).collect();
    usual.retain(|change| change.is_finite());
    usual.sort_by(f32::total_cmp);
    let (Some(usual), Some(change)) = (usual.get(usual.len() / 2), changes.get(at)) else { return false };
    *usual > LEAST_CHANGE && *change < REPEAT_SHARE * usual
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    fn middles(changes: &[f32]) -> String {
        let middle = |at| match appears(changes, at) {
            None => '.',
            Some(Range { start, .. }) if start >= 1.0 => '=',
            Some(Range { end, .. }) if end <= 0.5 => 's',
            Some(Range { start, .. }) if start >= 0.5 => 'f',
            Some(_) => '?',
        };
        (0..changes.len()).map(middle).collect()
    }

    fn changes(gaps: &str) -> Vec<f32> {
        let noise = |at: usize| (at * 7 % 5) as f32 * 0.02;
        let change = |(at, gap)| match gap {
            '#' => 1.0 + noise(at),
            '.' => 0.1 + noise(at),
            _ => f32::NAN,
        };
        gaps.chars().enumerate().map(change).collect()
    }

    #[test]
    fn turns_say_which_of_two_is_shown() {
        let cases = include_str!("cadence_cases.txt").lines().filter(|line| !line.starts_with("//"));
        for case in cases {
            let (gaps, expected) = case.split_once(' ').unwrap();
            assert_eq!(middles(&changes(gaps)), expected.trim(), "{gaps}");
        }
    }

    /// Pictures of film at `film` a second, shown at `shown` from some moment on: what the middles truly show.
    #[test]
    fn what_is_told_is_so() {
        for (film, shown) in [(25.0, 30.0 / 1.001), (24.0 / 1.001, 30.0 / 1.001), (24.0, 30.0), (25.0, 30.0)]
        {
            for phase in [0.03, 0.21, 0.37, 0.55, 0.71, 0.93] {
                let picture = |time: f64| (time / shown * film + phase).floor() as i64;
                let gaps: String = (0..300)
                    .map(|at| if picture(f64::from(at + 1)) == picture(f64::from(at)) { '.' } else { '#' })
                    .collect();
                let told = middles(&changes(&gaps));
                let mut known = 0;
                for (at, told) in told.chars().enumerate() {
                    let (first, middle) = (picture(at as f64), picture(at as f64 + 0.5));
                    match told {
                        's' => assert_eq!(middle, first + 1, "{film} {shown} {phase} {at} {gaps}"),
                        'f' | '=' => assert_eq!(middle, first, "{film} {shown} {phase} {at} {gaps}"),
                        _ => continue,
                    }
                    known += 1;
                }
                assert!(known > 180, "{film} {shown} {phase}: {known} {told}");
            }
        }
    }
}
