//! What stands still in a cluster's pictures (a status bar, a scoreboard, a logo), put where a network can only guess.
//!
//! A content-aware model's file may hold, beside its network, pictures of such furniture (the trainer's `overlay` package finds
//! them and says how; decision 21). At each place the low picture is compared with what is known to stand there; only where it
//! looks the same, but for brightness, is the network's picture replaced or corrected. At another size, or where anything
//! else is to be seen, the network's picture stays bit for bit.
//!
//! It is no part of the graph, because what is a trifle here (a tenth of the smallest network's time) takes an execution
//! provider made for convolutions longer than the network, and some get it wrong.

use std::io::Read;
use std::ops::Range;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use flate2::read::ZlibDecoder;
use serde::Deserialize;

use crate::codec::{Plane, PlaneMut};

/// The entry of an ONNX file's metadata that holds an overlay.
pub(super) const METADATA_KEY: &str = "acuity.overlay";

/// Largest overlay, unpacked: a whole 720p picture with as many entries as anybody would keep.
const LIMIT_BYTES: u64 = 16 << 20;
/// Low pixels: places are known, or not, in squares of this side.
const BLOCK: usize = 4;
/// A place is compared within what lies up to so many low pixels around it.
const REACH: usize = 4;
/// Added to a picture that is to correct only, so that it fits into a byte.
const MIDDLE: f32 = 128.0;

/// An overlay that cannot be read.
#[derive(Debug, thiserror::Error)]
#[error("the overlay {0}")]
pub(crate) struct BadOverlay(String);

#[derive(Deserialize)]
struct Header {
    version: u32,
    /// Height and width of the low pictures that it is for.
    frame: [usize; 2],
    scale: usize,
    tolerance: f32,
    block: usize,
    reach: usize,
    middle: f32,
    boxes: Vec<BoxHeader>,
}

#[derive(Deserialize)]
struct BoxHeader {
    /// Top and left, in low pixels.
    at: [usize; 2],
    /// Height and width, in low pixels.
    size: [usize; 2],
    entries: usize,
}

pub(super) struct Overlay {
    /// Width and height of the low pictures that it is for.
    frame: (usize, usize),
    scale: usize,
    /// Mean squared difference up to which a place is wholly believed; from twice that on it is not.
    tolerance: f32,
    boxes: Vec<Region>,
    scratch: Scratch,
}

/// One rectangle of the low picture, and what may stand in it.
struct Region {
    x: usize,
    y: usize,
    width: usize,
    height: usize,
    entries: Vec<Entry>,
}

struct Entry {
    /// What it looks like, low, row by row.
    low: Vec<u8>,
    /// 255 where there is an entry, else 0: one for each low pixel.
    known: Vec<u8>,
    /// One over the known pixels around each low pixel (0 where none is known).
    share: Vec<f32>,
    /// What stands there, at the target's size.
    picture: Vec<u8>,
    /// 0..1 for each low pixel: how much of the network's own picture stays.
    kept: Vec<f32>,
}

/// Memory that serves every picture.
#[derive(Default)]
struct Scratch {
    /// For each entry of a region: how far it is believed, and how much brighter it is than known.
    gates: Vec<Vec<f32>>,
    shifts: Vec<Vec<f32>>,
    columns: Columns,
}

/// Sums over a window's rows, one for each column of a region: differences from what is known, and their squares.
#[derive(Default)]
struct Columns {
    sums: Vec<i32>,
    squares: Vec<i32>,
}

impl Columns {
    fn clear(&mut self, width: usize) {
        for plane in [&mut self.sums, &mut self.squares] {
            plane.clear();
            plane.resize(width, 0);
        }
    }

    /// Adds (`sign` 1) or takes away (-1) a row: `place` in the entry's planes, `line` of the picture.
    fn add(&mut self, entry: &Entry, place: Range<usize>, line: &[u8], sign: i32) {
        let known = line.iter().zip(&entry.low[place.clone()]).zip(&entry.known[place]);
        let columns = self.sums.iter_mut().zip(&mut self.squares);
        for ((sum, square), ((seen, meant), known)) in columns.zip(known) {
            let difference = (i32::from(*seen) - i32::from(*meant)) * i32::from(*known & 1);
            *sum += sign * difference;
            *square += sign * difference * difference;
        }
    }

    /// A row of gates and shifts, the window sliding along it.
    fn judge(&self, share: &[f32], known: &[u8], tolerance: f32, gates: &mut [f32], shifts: &mut [f32]) {
        let width = self.sums.len();
        let (mut sum, mut square) = (0, 0);
        for column in 0..REACH.min(width) {
            sum += self.sums[column];
            square += self.squares[column];
        }
        let facts = share.iter().zip(known);
        for (column, ((gate, shift), (share, known))) in gates.iter_mut().zip(shifts).zip(facts).enumerate() {
            if column + REACH < width {
                sum += self.sums[column + REACH];
                square += self.squares[column + REACH];
            }
            if column > REACH {
                sum -= self.sums[column - REACH - 1];
                square -= self.squares[column - REACH - 1];
            }
            *shift = sum as f32 * share;
            let spread = square as f32 * share - *shift * *shift;
            let believed = (2.0 - spread / tolerance).clamp(0.0, 1.0);
            *gate = if *known == 0 { 0.0 } else { believed };
        }
    }
}

impl Overlay {
    /// Reads what the metadata of a model of `scale` holds.
    pub(super) fn parse(text: &str, scale: usize) -> Result<Self, BadOverlay> {
        let fault = |what: &str| BadOverlay(what.to_owned());
        let packed =
            BASE64_STANDARD.decode(text).map_err(|error| BadOverlay(format!("is no base64: {error}")))?;
        let mut bytes = Vec::new();
        ZlibDecoder::new(packed.as_slice())
            .take(LIMIT_BYTES + 1)
            .read_to_end(&mut bytes)
            .map_err(|error| BadOverlay(format!("cannot be unpacked: {error}")))?;
        if bytes.len() as u64 > LIMIT_BYTES {
            return Err(fault("is larger than 16 MiB"));
        }
        let (length, rest) = bytes.split_first_chunk::<4>().ok_or_else(|| fault("is cut short"))?;
        let (header, mut planes) = rest
            .split_at_checked(u32::from_le_bytes(*length) as usize)
            .ok_or_else(|| fault("is cut short"))?;
        let header: Header =
            serde_json::from_slice(header).map_err(|error| BadOverlay(format!("has no header: {error}")))?;
        let known =
            (header.version, header.block, header.reach) == (1, BLOCK, REACH) && header.middle == MIDDLE;
        if !known {
            return Err(fault("is of a version that this one does not know"));
        }
        let sound = header.scale == scale && header.tolerance.is_finite() && header.tolerance > 0.0;
        if !sound {
            return Err(fault("is for another network"));
        }
        let frame = (header.frame[1], header.frame[0]);
        let mut boxes = Vec::new();
        for told in &header.boxes {
            boxes.push(Region::read(told, frame, scale, &mut planes)?);
        }
        if !planes.is_empty() {
            return Err(fault("is longer than its header says"));
        }
        Ok(Self { frame, scale, tolerance: header.tolerance, boxes, scratch: Scratch::default() })
    }

    /// Corrects `made`, the network's picture of `low`. Pictures of another size stay as they are.
    pub(super) fn apply(&mut self, low: Plane<'_>, made: &mut PlaneMut<'_>) {
        if (low.width, low.height) != self.frame {
            return;
        }
        for region in &self.boxes {
            region.compare(low, self.tolerance, &mut self.scratch);
            region.correct(made, self.scale, &self.scratch);
        }
    }
}

impl Region {
    fn read(
        told: &BoxHeader,
        frame: (usize, usize),
        scale: usize,
        planes: &mut &[u8],
    ) -> Result<Self, BadOverlay> {
        let ([y, x], [height, width]) = (told.at, told.size);
        let inside = |at: usize, length: usize, whole: usize| {
            length > 0
                && length.is_multiple_of(BLOCK)
                && at.checked_add(length).is_some_and(|end| end <= whole)
        };
        if !inside(x, width, frame.0) || !inside(y, height, frame.1) || told.entries == 0 {
            return Err(BadOverlay("has a box outside of its frame".to_owned()));
        }
        let (pixels, blocks) = (width * height, width * height / (BLOCK * BLOCK));
        let mut take = |each: usize| -> Result<Vec<Vec<u8>>, BadOverlay> {
            (0..told.entries)
                .map(|_| {
                    let short = || BadOverlay("is cut short".to_owned());
                    let (plane, rest) = planes.split_at_checked(each).ok_or_else(short)?;
                    *planes = rest;
                    Ok(plane.to_vec())
                })
                .collect()
        };
        let (low, known) = (take(pixels)?, take(blocks)?);
        let (picture, kept) = (take(pixels * scale * scale)?, take(blocks)?);
        let entries =
            low.into_iter().zip(known).zip(picture).zip(kept).map(|(((low, known), picture), kept)| {
                let at_pixel = |plane: &[u8], place: usize| {
                    plane[place / width / BLOCK * (width / BLOCK) + place % width / BLOCK]
                };
                let known: Vec<u8> =
                    (0..pixels).map(|place| u8::from(at_pixel(&known, place) != 0) * 255).collect();
                let kept = (0..pixels).map(|place| f32::from(at_pixel(&kept, place)) / 255.0).collect();
                Entry { share: shares(&known, width, height), low, known, picture, kept }
            });
        Ok(Self { x, y, width, height, entries: entries.collect() })
    }

    /// How far each entry is believed at each low pixel, and how much brighter it is.
    fn compare(&self, low: Plane<'_>, tolerance: f32, scratch: &mut Scratch) {
        let Scratch { gates, shifts, columns } = scratch;
        let pixels = self.width * self.height;
        for planes in [&mut *gates, &mut *shifts] {
            planes.resize_with(planes.len().max(self.entries.len()), Vec::new);
            planes.iter_mut().for_each(|plane| plane.resize(plane.len().max(pixels), 0.0));
        }
        let line = |row: usize| low.data.get((self.y + row) * low.stride + self.x..).unwrap_or_default();
        let place = |row: usize| row * self.width..(row + 1) * self.width;
        for (entry, (gates, shifts)) in self.entries.iter().zip(gates.iter_mut().zip(&mut *shifts)) {
            columns.clear(self.width);
            (0..REACH.min(self.height)).for_each(|row| columns.add(entry, place(row), line(row), 1));
            for row in 0..self.height {
                if row + REACH < self.height {
                    columns.add(entry, place(row + REACH), line(row + REACH), 1);
                }
                if row > REACH {
                    columns.add(entry, place(row - REACH - 1), line(row - REACH - 1), -1);
                }
                let (gates, shifts) = (&mut gates[place(row)], &mut shifts[place(row)]);
                columns.judge(&entry.share[place(row)], &entry.known[place(row)], tolerance, gates, shifts);
            }
        }
        self.share_out(gates);
    }

    /// Together no place's entries are believed more than 1.
    fn share_out(&self, gates: &mut [Vec<f32>]) {
        let gates = &mut gates[..self.entries.len()];
        if gates.len() < 2 {
            return;
        }
        for place in 0..self.width * self.height {
            let total: f32 = gates.iter().map(|gate| gate[place]).sum();
            if total > 1.0 {
                gates.iter_mut().for_each(|gate| gate[place] /= total);
            }
        }
    }

    fn correct(&self, made: &mut PlaneMut<'_>, scale: usize, scratch: &Scratch) {
        let wide = self.width * scale;
        for row in 0..self.height {
            let place = row * self.width..(row + 1) * self.width;
            let believed = |gates: &Vec<f32>| gates[place.clone()].iter().any(|gate| *gate > 0.0);
            let entries: Vec<_> = self
                .entries
                .iter()
                .zip(scratch.gates.iter().zip(&scratch.shifts))
                .filter(|(_, (gates, _))| believed(gates))
                .collect();
            if entries.is_empty() {
                continue;
            }
            for below in row * scale..(row + 1) * scale {
                let from = (self.y * scale + below) * made.stride + self.x * scale;
                let Some(line) = made.data.get_mut(from..from + wide) else { return };
                for column in 0..self.width {
                    let low = row * self.width + column;
                    let places = column * scale..(column + 1) * scale;
                    let mut change = [0.0_f32; 4];
                    for (entry, (gates, shifts)) in &entries {
                        let gate = gates[low];
                        if gate == 0.0 {
                            continue;
                        }
                        let (kept, shift) = (entry.kept[low], shifts[low]);
                        let pictured = &entry.picture[below * wide..(below + 1) * wide][places.clone()];
                        for ((change, pictured), made) in
                            change.iter_mut().zip(pictured).zip(&line[places.clone()])
                        {
                            let usual = f32::from(*made) - shift;
                            *change += gate * (f32::from(*pictured) - MIDDLE * kept - (1.0 - kept) * usual);
                        }
                    }
                    for (made, change) in line[places].iter_mut().zip(change) {
                        // A cast to u8 cuts off and saturates.
                        *made = (f32::from(*made) + change + 0.5) as u8;
                    }
                }
            }
        }
    }
}

/// One over the known pixels in the window around each pixel.
fn shares(known: &[u8], width: usize, height: usize) -> Vec<f32> {
    let count = |x: usize, y: usize| {
        let rows = y.saturating_sub(REACH)..(y + REACH + 1).min(height);
        let columns = x.saturating_sub(REACH)..(x + REACH + 1).min(width);
        rows.map(|row| known[row * width..][columns.clone()].iter().filter(|known| **known != 0).count())
            .sum::<usize>()
    };
    (0..width * height)
        .map(|place| match count(place % width, place / width) {
            0 => 0.0,
            known => 1.0 / known as f32,
        })
        .collect()
}

#[cfg(test)]
mod tests;
