//! Headers of packetised elementary streams (ISO/IEC 13818-1, 2.4.3.6): reading the timestamps, writing new
//! headers.

use crate::container::bytes::{u8_at, u16_at};

/// 33-bit timestamps wrap here, every 26.5 hours.
pub(super) const WRAP: i64 = 1 << 33;

/// What a PES header says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct PesHeader {
    pub(super) stream_id: u8,
    pub(super) scrambled: bool,
    /// Presentation time, 0..2^33.
    pub(super) pts: Option<i64>,
    /// Decode time, 0..2^33; the presentation time where only that is given.
    pub(super) dts: Option<i64>,
    /// Bytes of the header.
    pub(super) len: usize,
    /// Bytes of payload, where the length field says so.
    pub(super) payload_bytes: Option<usize>,
}

/// Outcome of looking at the first bytes of a PES packet.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PesStart {
    Header(PesHeader),
    /// The header reaches into the next transport packet.
    NeedsMore,
    /// No PES packet with a header of the audio and video kind.
    Invalid,
}

impl PesStart {
    pub(super) fn read(data: &[u8]) -> Self {
        if !data.iter().zip([0, 0, 1]).all(|(byte, wanted)| *byte == wanted) {
            return Self::Invalid;
        }
        let (Some(stream_id), Some(packet_bytes), Some(flags), Some(which), Some(header_data)) =
            (u8_at(data, 3), u16_at(data, 4), u8_at(data, 6), u8_at(data, 7), u8_at(data, 8))
        else {
            return Self::NeedsMore;
        };
        // padding, maps and the like have no such header (table 2-21); '10' marks the ones that do
        if matches!(stream_id, 0xbc | 0xbe | 0xbf | 0xf0 | 0xf1 | 0xf2 | 0xf8 | 0xff) || flags & 0xc0 != 0x80
        {
            return Self::Invalid;
        }
        let header_data = usize::from(header_data);
        let len = 9 + header_data;
        if data.len() < len {
            return Self::NeedsMore;
        }
        let pts = (which & 0x80 != 0 && header_data >= 5).then(|| timestamp(data, 9)).flatten();
        let dts = (which & 0xc0 == 0xc0 && header_data >= 10).then(|| timestamp(data, 14)).flatten().or(pts);
        let payload_bytes =
            usize::from(packet_bytes).checked_sub(3 + header_data).filter(|_| packet_bytes != 0);
        Self::Header(PesHeader { stream_id, scrambled: flags & 0x30 != 0, pts, dts, len, payload_bytes })
    }
}

/// Five bytes: four bits of prefix, then 3 + 15 + 15 bits with a marker bit after each group. Markers are not
/// checked: a stream with wrong ones still plays everywhere.
fn timestamp(data: &[u8], at: usize) -> Option<i64> {
    let [a, b, c, d, e] = crate::container::bytes::array_at(data, at)?;
    let high = i64::from(a >> 1 & 7) << 30;
    let middle = i64::from(u16::from_be_bytes([b, c]) >> 1) << 15;
    Some(high | middle | i64::from(u16::from_be_bytes([d, e]) >> 1))
}

fn put_timestamp(out: &mut Vec<u8>, prefix: u8, time: i64) {
    let wrapped = time.rem_euclid(WRAP) as u64; // below 2^33
    let part = |shift: u32, mask: u64| (wrapped >> shift & mask) as u8;
    out.extend_from_slice(&[
        prefix << 4 | part(30, 7) << 1 | 1,
        part(22, 0xff),
        part(15, 0x7f) << 1 | 1,
        part(7, 0xff),
        part(0, 0x7f) << 1 | 1,
    ]);
}

/// A header for one access unit of `payload_bytes` bytes. The length is written where it fits sixteen bits: a
/// demultiplexer then need not wait for the next packet to know that the last picture of a segment is whole.
/// Beyond that video may say 0.
pub(super) fn write_header(out: &mut Vec<u8>, stream_id: u8, pts: i64, dts: i64, payload_bytes: usize) {
    let both = pts.rem_euclid(WRAP) != dts.rem_euclid(WRAP);
    let header_data: u8 = if both { 10 } else { 5 };
    let packet_bytes = u16::try_from(payload_bytes + 3 + usize::from(header_data)).unwrap_or(0);
    out.extend_from_slice(&[0, 0, 1, stream_id]);
    out.extend_from_slice(&packet_bytes.to_be_bytes());
    // '10', data_alignment_indicator; then which timestamps follow
    out.extend_from_slice(&[0x84, if both { 0xc0 } else { 0x80 }, header_data]);
    put_timestamp(out, if both { 3 } else { 2 }, pts);
    if both {
        put_timestamp(out, 1, dts);
    }
}

/// The time congruent to `wrapped` that lies nearest to `near`.
pub(super) fn unwrap_near(wrapped: i64, near: i64) -> i64 {
    let ahead = (wrapped - near).rem_euclid(WRAP);
    if ahead >= WRAP / 2 { near + ahead - WRAP } else { near + ahead }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::panic)]
mod tests {
    use super::*;

    #[test]
    fn headers_read_back_as_written() {
        for (pts, dts) in
            [(0, 0), (WRAP - 1, WRAP - 3004), (3003, -3003), (WRAP + 5, WRAP + 5), (1 << 32, 12345)]
        {
            let mut bytes = Vec::new();
            write_header(&mut bytes, 0xe0, pts, dts, 100);
            let PesStart::Header(header) = PesStart::read(&bytes) else { panic!("no header") };
            assert_eq!(header.pts, Some(pts.rem_euclid(WRAP)));
            assert_eq!(header.dts, Some(dts.rem_euclid(WRAP)));
            assert_eq!(header.payload_bytes, Some(100));
            assert_eq!(header.len, bytes.len());
        }
    }

    #[test]
    fn lengths_beyond_sixteen_bits_are_left_open() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, 0xe0, 0, 0, 65_535);
        let PesStart::Header(header) = PesStart::read(&bytes) else { panic!("no header") };
        assert_eq!(header.payload_bytes, None);
    }

    #[test]
    fn a_cut_header_asks_for_more() {
        let mut bytes = Vec::new();
        write_header(&mut bytes, 0xe0, 1, 0, 10);
        for len in 3..bytes.len() {
            assert_eq!(PesStart::read(&bytes[..len]), PesStart::NeedsMore, "{len} bytes");
        }
        assert_eq!(PesStart::read(&[0, 0, 2, 0xe0]), PesStart::Invalid);
    }

    #[test]
    fn unwrapping_takes_the_nearest() {
        assert_eq!(unwrap_near(5, WRAP - 10), WRAP + 5);
        assert_eq!(unwrap_near(WRAP - 10, 5), -10);
        assert_eq!(unwrap_near(900, 3 * WRAP), 3 * WRAP + 900);
    }
}
