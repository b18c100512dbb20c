//! H.264 as far as it can be read without decoding: where NAL units begin and end, which kind they are, and
//! what a sequence parameter set says about the pictures. Pure functions over strangers' bytes; the decoder
//! itself lives behind `codec`.

mod bits;
mod sps;

pub use sps::{ColourFacts, SpsError, SpsFacts};

use bits::BitReader;

/// The start code written in front of every NAL unit made here.
pub const START_CODE: [u8; 4] = [0, 0, 0, 1];

/// Number of the parameter sets, SPS and PPS, that the processor's encoder writes: the highest there is of an SPS. Encoders count from 0, so
/// that an initialisation can hold a source's own sets beside these (see `container::init_carries_source`).
pub const OWN_PARAMETER_SETS: u8 = 31;

/// NAL unit types (ITU-T H.264, table 7-1) that this crate tells apart.
pub mod nal {
    /// Slice of a picture that is no IDR picture.
    pub const SLICE: u8 = 1;
    /// First partition of a data-partitioned slice (Extended profile).
    pub const SLICE_PARTITION_A: u8 = 2;
    /// Slice of an IDR picture.
    pub const IDR_SLICE: u8 = 5;
    /// Supplemental enhancement information.
    pub const SEI: u8 = 6;
    /// Sequence parameter set.
    pub const SPS: u8 = 7;
    /// Picture parameter set.
    pub const PPS: u8 = 8;
    /// Access unit delimiter.
    pub const AUD: u8 = 9;
    /// Sequence parameter set extension (auxiliary pictures).
    pub const SPS_EXTENSION: u8 = 13;
}

/// Type of a NAL unit, 0 for an empty one.
pub fn nal_type(nal: &[u8]) -> u8 {
    nal.first().map_or(0, |header| header & 0x1f)
}

/// Number of a picture parameter set; `None` for other NAL units, and where it cannot be read.
pub fn pps_id(nal: &[u8]) -> Option<u8> {
    let head = nal.get(..nal.len().min(8)).filter(|nal| nal_type(nal) == nal::PPS)?;
    u8::try_from(BitReader::new(&unescape(head)).ue()?).ok()
}

/// Whether a NAL unit of this type carries picture data: slices, partitions B and C included.
pub fn is_slice(nal_type: u8) -> bool {
    (nal::SLICE..=nal::IDR_SLICE).contains(&nal_type)
}

/// Whether the slice is the first of its picture: `first_mb_in_slice` is 0. False for other NAL units.
pub fn is_first_slice(nal: &[u8]) -> bool {
    matches!(nal_type(nal), nal::SLICE | nal::SLICE_PARTITION_A | nal::IDR_SLICE)
        && nal.get(1).is_some_and(|byte| byte & 0x80 != 0) // ue(v) 0 is a single set bit
}

/// Position of a NAL unit in Annex B bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct NalSpan {
    /// Where the three bytes 00 00 01 of its start code begin.
    pub start_code_at: usize,
    /// First byte of the NAL unit.
    pub start: usize,
    /// One past its last byte; trailing zero bytes belong to no NAL unit.
    pub end: usize,
}

/// Where the NAL units of Annex B bytes lie, in order. Bytes before the first start code are passed over.
pub fn annex_b_spans(data: &[u8]) -> AnnexBSpans<'_> {
    AnnexBSpans { data, next_start_code: find_start_code(data, 0) }
}

/// The NAL units of Annex B bytes, without start codes and trailing zeros; empty ones are left out.
pub fn annex_b_nals(data: &[u8]) -> impl Iterator<Item = &[u8]> {
    annex_b_spans(data).filter_map(|span| data.get(span.start..span.end)).filter(|nal| !nal.is_empty())
}

/// Iterator of [`annex_b_spans`].
#[derive(Debug, Clone)]
pub struct AnnexBSpans<'a> {
    data: &'a [u8],
    next_start_code: Option<usize>,
}

impl Iterator for AnnexBSpans<'_> {
    type Item = NalSpan;

    fn next(&mut self) -> Option<NalSpan> {
        let start_code_at = self.next_start_code?;
        let start = start_code_at + 3;
        self.next_start_code = find_start_code(self.data, start);
        let limit = self.next_start_code.unwrap_or(self.data.len());
        let body = self.data.get(start..limit)?;
        let trailing_zeros = body.iter().rev().take_while(|byte| **byte == 0).count();
        Some(NalSpan { start_code_at, start, end: limit - trailing_zeros })
    }
}

/// Position of the next 00 00 01 at or after `from`. Looks at every third byte of coded data, which seldom is
/// 0 or 1.
fn find_start_code(data: &[u8], from: usize) -> Option<usize> {
    let mut at = from;
    while let Some([first, second, third]) = data.get(at..).and_then(|rest| rest.first_chunk::<3>()) {
        match (first, second, third) {
            (0, 0, 1) => return Some(at),
            (_, _, 2..) => at += 3,
            (_, 1.., _) => at += 2,
            _ => at += 1,
        }
    }
    None
}

/// The NAL units of length-prefixed bytes (MP4). `length_size` is 1, 2 or 4 bytes. A length that runs past
/// the end gives what there is of the unit and ends the iteration.
pub fn length_prefixed_nals(data: &[u8], length_size: u8) -> impl Iterator<Item = &[u8]> {
    let size = usize::from(length_size.clamp(1, 4));
    let mut rest = data;
    std::iter::from_fn(move || {
        loop {
            let (prefix, body) = rest.split_at_checked(size)?;
            let length = prefix.iter().fold(0usize, |value, byte| (value << 8) | usize::from(*byte));
            let (nal, after) = body.split_at_checked(length).unwrap_or((body, &[]));
            rest = after;
            if !nal.is_empty() {
                return Some(nal);
            }
        }
    })
}

/// Annex B bytes with a four-byte length before each NAL unit whose type `keep` accepts. `None` for a NAL
/// unit beyond 4 GiB.
pub fn annex_b_to_length_prefixed(data: &[u8], keep: impl Fn(u8) -> bool) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for nal in annex_b_nals(data).filter(|nal| keep(nal_type(nal))) {
        out.extend_from_slice(&u32::try_from(nal.len()).ok()?.to_be_bytes());
        out.extend_from_slice(nal);
    }
    Some(out)
}

/// Length-prefixed bytes with start codes in place of the lengths.
pub fn length_prefixed_to_annex_b(data: &[u8], length_size: u8) -> Vec<u8> {
    let mut out = Vec::with_capacity(data.len() + 16);
    for nal in length_prefixed_nals(data, length_size) {
        out.extend_from_slice(&START_CODE);
        out.extend_from_slice(nal);
    }
    out
}

/// Whether the first picture data in Annex B bytes is an IDR slice.
pub fn starts_with_idr(annex_b: &[u8]) -> bool {
    annex_b_nals(annex_b).map(nal_type).find(|kind| is_slice(*kind)) == Some(nal::IDR_SLICE)
}

/// NAL unit payload with the emulation prevention bytes taken out, header byte and trailing zeros left out.
pub(crate) fn unescape(nal: &[u8]) -> Vec<u8> {
    let body = nal.get(1..).unwrap_or_default();
    let mut out = Vec::with_capacity(body.len());
    let mut zeros = 0;
    for &byte in body {
        if zeros >= 2 && byte == 3 {
            zeros = 0;
            continue;
        }
        zeros = if byte == 0 { zeros + 1 } else { 0 };
        out.push(byte);
    }
    out
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn annex_b_units_lose_start_codes_and_trailing_zeros() {
        let data = [9, 9, 0, 0, 0, 1, 0x67, 1, 2, 0, 0, 1, 0x68, 3, 0, 0, 0, 0, 1, 0x65, 0x88, 0, 0];
        let nals: Vec<&[u8]> = annex_b_nals(&data).collect();
        assert_eq!(nals, [&[0x67u8, 1, 2][..], &[0x68, 3], &[0x65, 0x88]]);
        assert!(starts_with_idr(&data));
        assert!(is_first_slice(nals[2]));
        let spans: Vec<usize> = annex_b_spans(&data).map(|span| span.start_code_at).collect();
        assert_eq!(spans, [3, 9, 16]);
    }

    #[test]
    fn start_codes_are_found_at_every_distance() {
        for gap in 0..12 {
            let mut data = vec![0, 0, 1];
            data.extend(std::iter::repeat_n(0x41, gap));
            data.extend([0, 0, 1, 0x65]);
            let found: Vec<usize> = annex_b_spans(&data).map(|span| span.start_code_at).collect();
            assert_eq!(found, [0, gap + 3], "gap {gap}");
        }
    }

    #[test]
    fn framings_convert_into_each_other() {
        let annex_b = [0, 0, 0, 1, 0x09, 0xf0, 0, 0, 1, 0x65, 0x80, 7];
        let prefixed = annex_b_to_length_prefixed(&annex_b, |kind| kind != nal::AUD).unwrap();
        assert_eq!(prefixed, [0, 0, 0, 3, 0x65, 0x80, 7]);
        assert_eq!(length_prefixed_to_annex_b(&prefixed, 4), [0, 0, 0, 1, 0x65, 0x80, 7]);
        assert_eq!(
            length_prefixed_to_annex_b(&[0, 2, 0x41, 1, 0, 9, 0x41], 2),
            [0, 0, 0, 1, 0x41, 1, 0, 0, 0, 1, 0x41]
        );
    }

    #[test]
    fn emulation_prevention_is_taken_out() {
        assert_eq!(unescape(&[0x67, 0, 0, 3, 1, 0, 0, 3, 0, 0, 3, 5, 3]), [0, 0, 1, 0, 0, 0, 0, 5, 3]);
    }

    #[test]
    fn a_stream_opening_on_another_slice_does_not_start_with_idr() {
        assert!(!starts_with_idr(&[0, 0, 1, 0x41, 0x80, 0, 0, 1, 0x65, 0x80]));
        assert!(!starts_with_idr(&[0, 0, 1, 0x67, 0x64]));
        assert!(!starts_with_idr(&[]));
    }
}
