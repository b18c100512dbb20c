//! What is done to pictures without a network: means of two, and what is equal in both. Pure, on planes.

use crate::EnhanceError;
use crate::codec::{Picture, Plane, PlaneMut};

/// Side of a block of luma that is copied where both pictures have the same; chroma's is half of it.
const BLOCK: usize = 8;

/// Whether two pictures show the same, to the last bit.
pub(crate) fn are_same(a: &Picture, b: &Picture) -> bool {
    (0..3).all(|index| {
        let (a, b) = (a.plane(index), b.plane(index));
        (a.width, a.height) == (b.width, b.height) && rows(a).eq(rows(b))
    })
}

/// Another picture that shows the same.
pub(crate) fn copy(from: &Picture) -> Result<Picture, EnhanceError> {
    let mut to = Picture::new(from.width(), from.height())?;
    for index in 0..3 {
        let mut plane = to.plane_mut(index);
        rows_mut(&mut plane).zip(rows(from.plane(index))).for_each(|(to, from)| to.copy_from_slice(from));
    }
    Ok(to)
}

/// Fills `to` with the mean of both, rounded up: equal values stay.
pub(crate) fn blend(a: &Picture, b: &Picture, to: &mut Picture) {
    for index in 0..3 {
        let (a, b, mut to) = (a.plane(index), b.plane(index), to.plane_mut(index));
        for ((to, a), b) in rows_mut(&mut to).zip(rows(a)).zip(rows(b)) {
            for ((to, a), b) in to.iter_mut().zip(a).zip(b) {
                *to = (u16::from(*a) + u16::from(*b)).div_ceil(2) as u8; // a mean of bytes
            }
        }
    }
}

/// Copies into `to` what both have in common, by blocks of luma with their chroma: bars, text and a status line stay as they are,
/// whatever a network makes of what moves beside them.
pub(crate) fn keep_still(a: &Picture, b: &Picture, to: &mut Picture) {
    let across = a.plane(0).width.div_ceil(BLOCK);
    let down = a.plane(0).height.div_ceil(BLOCK);
    // For each plane what of its blocks is equal; a block is still if all of its planes are.
    let mut still = vec![true; across * down];
    for index in 0..3 {
        let side = if index == 0 { BLOCK } else { BLOCK / 2 };
        for (y, (a, b)) in rows(a.plane(index)).zip(rows(b.plane(index))).enumerate() {
            let row = still.get_mut(y / side * across..).unwrap_or_default();
            for ((still, a), b) in row.iter_mut().zip(a.chunks(side)).zip(b.chunks(side)) {
                *still &= a == b;
            }
        }
    }
    for index in 0..3 {
        let side = if index == 0 { BLOCK } else { BLOCK / 2 };
        let mut plane = to.plane_mut(index);
        for (y, (to, a)) in rows_mut(&mut plane).zip(rows(a.plane(index))).enumerate() {
            let row = still.get(y / side * across..).unwrap_or_default();
            for ((still, to), a) in row.iter().zip(to.chunks_mut(side)).zip(a.chunks(side)) {
                if *still && to.len() == a.len() {
                    to.copy_from_slice(a);
                }
            }
        }
    }
}

fn rows(plane: Plane<'_>) -> impl Iterator<Item = &[u8]> {
    let Plane { data, stride, width, height } = plane;
    data.chunks(stride.max(1)).take(height).filter_map(move |row| row.get(..width))
}

fn rows_mut<'a>(plane: &'a mut PlaneMut<'_>) -> impl Iterator<Item = &'a mut [u8]> {
    let width = plane.width;
    plane.data.chunks_mut(plane.stride.max(1)).take(plane.height).filter_map(move |row| row.get_mut(..width))
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    const WIDTH: usize = 38;
    const HEIGHT: usize = 22;

    fn picture(value: impl Fn(usize, usize, usize) -> u8) -> Picture {
        let mut picture = Picture::new(WIDTH as u32, HEIGHT as u32).unwrap();
        for index in 0..3 {
            let mut plane = picture.plane_mut(index);
            for (y, row) in rows_mut(&mut plane).enumerate() {
                row.iter_mut().enumerate().for_each(|(x, pixel)| *pixel = value(index, x, y));
            }
        }
        picture
    }

    fn at(picture: &Picture, index: usize, x: usize, y: usize) -> u8 {
        rows(picture.plane(index)).nth(y).unwrap()[x]
    }

    #[test]
    fn means_are_rounded_up_and_equal_values_stay() {
        let (a, b) = (picture(|_, x, _| x as u8), picture(|plane, x, _| (x + plane) as u8));
        let mut mean = picture(|_, _, _| 0);
        blend(&a, &b, &mut mean);
        assert_eq!([at(&mean, 0, 9, 3), at(&mean, 1, 9, 3), at(&mean, 2, 9, 3)], [9, 10, 10]);
        blend(&picture(|_, _, _| 255), &picture(|_, _, _| 255), &mut mean);
        assert_eq!(at(&mean, 2, 18, 10), 255);
    }

    #[test]
    fn what_is_equal_in_both_is_kept_whatever_was_made() {
        // The right part moves; so does one pixel of chroma in the block at (8, 8).
        let a = picture(|_, x, y| (x * 3 + y) as u8);
        let b = picture(|plane, x, y| {
            let moves = if plane == 0 { x >= 16 } else { x >= 8 };
            let dot = plane == 1 && (x, y) == (5, 5);
            (x * 3 + y) as u8 + u8::from(moves) * 9 + u8::from(dot)
        });
        let mut made = picture(|_, _, _| 77);
        keep_still(&a, &b, &mut made);
        for (index, x, y, still) in [
            (0, 0, 0, true),
            (0, 15, 7, true),
            (0, 15, 8, false),
            (0, 15, 16, true),
            (0, 16, 0, false),
            (0, 7, 21, true),
            (1, 4, 4, false),
            (2, 4, 4, false),
            (1, 4, 3, true),
            (1, 8, 0, false),
            (2, 3, 10, true),
        ] {
            let expected = if still { at(&a, index, x, y) } else { 77 };
            assert_eq!(at(&made, index, x, y), expected, "plane {index} at {x},{y}");
        }
        assert!(!are_same(&a, &b) && are_same(&a, &picture(|_, x, y| (x * 3 + y) as u8)));
    }
}
