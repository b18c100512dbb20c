//! From packets to the video's elementary stream: payloads of one PID joined, with a note of where in the
//! segment each byte came from and which timestamps stood where.

use std::ops::Range;

use super::packet::{Header, PACKET_BYTES, packets};
use super::pes::{PesHeader, PesStart};

/// Longest PES header: 9 bytes and 255 more.
const PES_HEADER_BYTES: usize = 9 + 255;

/// A PES packet of the video.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Pes {
    /// Its payload in [`ElementaryStream::bytes`].
    pub(super) payload: Range<usize>,
    /// Offset in the segment of the transport packet in which it begins.
    pub(super) packet_at: usize,
    pub(super) pts: Option<i64>,
    pub(super) dts: Option<i64>,
}

/// The elementary stream on one PID of a segment.
#[derive(Debug, Clone, Default)]
pub(super) struct ElementaryStream {
    pub(super) bytes: Vec<u8>,
    pub(super) pes: Vec<Pes>,
    /// (position in `bytes`, offset in the segment of the transport packet that brought it), ascending.
    chunks: Vec<(usize, usize)>,
    pub(super) stream_id: Option<u8>,
    /// Packets, and how many of them (or of the PES packets they open) say that they are scrambled.
    packets: usize,
    scrambled: usize,
    /// Counters of the first and the last packet with payload, duplicates included.
    pub(super) counters: Option<(u8, u8)>,
}

impl ElementaryStream {
    /// Collects what `pid` carries in the segment. Bytes before the first PES start belong to a picture of
    /// the segment before and are left out, as every player does. Packets sent twice count once. Lost packets
    /// leave a gap that only the decoder notices.
    pub(super) fn collect(segment: &[u8], pid: u16) -> Self {
        let mut stream = Self::default();
        // packet offset and bytes of a PES header that is not whole yet
        let mut opening: Option<(usize, Vec<u8>)> = None;
        let mut last: Option<(u8, &[u8])> = None;
        let mut in_pes = false;
        let mut payload_bytes = None;
        for (at, packet) in packets(segment) {
            let header = Header::read(packet);
            if header.pid != pid || !header.counts {
                continue;
            }
            stream.packets += 1;
            stream.scrambled += usize::from(header.scrambled);
            stream.counters =
                Some((stream.counters.map_or(header.counter, |(first, _)| first), header.counter));
            let payload = header.payload_of(packet);
            // 2.4.3.3: a packet may be sent twice in a row, clock values apart
            if last == Some((header.counter, payload)) && !payload.is_empty() {
                continue;
            }
            last = Some((header.counter, payload));

            if header.unit_start {
                stream.close_pes(payload_bytes.take());
                in_pes = false;
                opening = Some((at, Vec::new()));
            }
            if let Some((packet_at, mut bytes)) = opening.take() {
                bytes.extend_from_slice(payload);
                match PesStart::read(&bytes) {
                    PesStart::Header(header) => {
                        payload_bytes = header.payload_bytes;
                        stream.open_pes(&header, packet_at);
                        in_pes = true;
                        stream.append(bytes.get(header.len..).unwrap_or_default(), at);
                    }
                    PesStart::NeedsMore if bytes.len() <= PES_HEADER_BYTES + PACKET_BYTES => {
                        opening = Some((packet_at, bytes));
                    }
                    PesStart::NeedsMore | PesStart::Invalid => {}
                }
            } else if in_pes {
                stream.append(payload, at);
            }
        }
        stream.close_pes(payload_bytes);
        stream
    }

    /// Scrambling leaves few packets out; damage hits the two bits that announce it in a few. A quarter tells them apart.
    pub(super) fn is_scrambled(&self) -> bool {
        self.scrambled * 4 > self.packets
    }

    fn open_pes(&mut self, header: &PesHeader, packet_at: usize) {
        self.scrambled += usize::from(header.scrambled);
        self.stream_id.get_or_insert(header.stream_id);
        let start = self.bytes.len();
        self.pes.push(Pes { payload: start..start, packet_at, pts: header.pts, dts: header.dts });
    }

    fn append(&mut self, payload: &[u8], packet_at: usize) {
        if payload.is_empty() {
            return;
        }
        self.chunks.push((self.bytes.len(), packet_at));
        self.bytes.extend_from_slice(payload);
        if let Some(pes) = self.pes.last_mut() {
            pes.payload.end = self.bytes.len();
        }
    }

    /// Cuts what a stated length leaves over in the last packet. A length that is off by more is wrong (some
    /// multiplexers write it modulo 65536) and is ignored.
    fn close_pes(&mut self, payload_bytes: Option<usize>) {
        let (Some(pes), Some(stated)) = (self.pes.last_mut(), payload_bytes) else { return };
        let excess = pes.payload.len().saturating_sub(stated);
        if (1..PACKET_BYTES).contains(&excess) {
            pes.payload.end -= excess;
            self.bytes.truncate(pes.payload.end);
        }
    }

    /// Offset in the segment of the transport packet that brought the byte at `position`.
    pub(super) fn packet_of(&self, position: usize) -> Option<usize> {
        let after = self.chunks.partition_point(|(start, _)| *start <= position);
        self.chunks.get(after.checked_sub(1)?).map(|(_, packet_at)| *packet_at)
    }
}

/// The first payload bytes of the first whole PES start on `pid`: enough to tell an audio codec.
pub(super) fn first_payload(segment: &[u8], pid: u16) -> Option<&[u8]> {
    packets(segment).find_map(|(_, packet)| {
        let header = Header::read(packet);
        if header.pid != pid || !header.unit_start || header.scrambled {
            return None;
        }
        let payload = packet.get(header.payload.clone())?;
        let PesStart::Header(pes) = PesStart::read(payload) else { return None };
        payload.get(pes.len..).filter(|rest| !rest.is_empty())
    })
}
