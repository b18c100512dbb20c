//! Transport stream packets (ISO/IEC 13818-1, 2.4.3): finding them in bytes that may hold garbage, reading
//! their headers and adaptation fields, writing new ones.

use std::ops::Range;

/// Bytes of a packet.
pub(super) const PACKET_BYTES: usize = 188;
/// Bytes a packet has for adaptation field and payload.
pub(super) const BODY_BYTES: usize = PACKET_BYTES - 4;
const SYNC: u8 = 0x47;
/// Private data kept with a packet: more would leave no room for the PES header that must begin in the same
/// packet.
const PRIVATE_DATA_BYTES: usize = 128;
/// How far garbage may reach before the first packet. Real segments have a few stray bytes or an HTTP chunk
/// header; a text file that happens to hold the letter G at the right distances should not pass.
const LEADING_GARBAGE_BYTES: usize = 4096;
/// Packets that must follow each other before bytes are believed to be a transport stream (fewer if there are
/// no more).
const SYNC_RUN: usize = 5;

/// Where the first packet begins, if these bytes are a transport stream.
pub(crate) fn find_sync(data: &[u8]) -> Option<usize> {
    (0..data.len().min(LEADING_GARBAGE_BYTES)).find(|&at| {
        let run = (0..SYNC_RUN)
            .map(|step| data.get(at + step * PACKET_BYTES))
            .take_while(|byte| byte.is_some())
            .map(|byte| byte == Some(&SYNC));
        let whole_packets = data.len().saturating_sub(at) / PACKET_BYTES;
        // a lone packet is believed where it is all there is
        let enough = if at == 0 { 1 } else { 3 };
        whole_packets >= enough && run.into_iter().all(|is_sync| is_sync)
    })
}

/// The packets of a stream with their byte offsets, whole ones only; bytes out of sync are passed over.
pub(super) fn packets(data: &[u8]) -> impl Iterator<Item = (usize, &[u8; PACKET_BYTES])> {
    let mut at = find_sync(data).unwrap_or(data.len());
    std::iter::from_fn(move || {
        at = resync(data, at)?;
        let packet = data.get(at..)?.first_chunk::<PACKET_BYTES>()?;
        let found = (at, packet);
        at += PACKET_BYTES;
        Some(found)
    })
}

/// The next packet start at or after `from`: where a sync byte stands now and one packet later.
fn resync(data: &[u8], from: usize) -> Option<usize> {
    if data.get(from) == Some(&SYNC) {
        return Some(from);
    }
    let rest = data.get(from..)?;
    let step = (0..rest.len()).find(|&step| {
        rest.get(step) == Some(&SYNC) && rest.get(step + PACKET_BYTES).is_none_or(|byte| *byte == SYNC)
    })?;
    Some(from + step)
}

/// Header fields of a packet, with the extents of its two parts.
#[derive(Debug, Clone)]
pub(super) struct Header {
    pub(super) pid: u16,
    pub(super) unit_start: bool,
    pub(super) scrambled: bool,
    /// continuity_counter, 0..=15.
    pub(super) counter: u8,
    /// Bytes of the adaptation field after its length byte; empty where there is none.
    pub(super) adaptation: Range<usize>,
    /// Bytes of the payload; empty where there is none.
    pub(super) payload: Range<usize>,
    /// adaptation_field_control announces payload (even where no byte of it is left): the counter advances.
    pub(super) counts: bool,
}

impl Header {
    pub(super) fn read(packet: &[u8; PACKET_BYTES]) -> Self {
        let [_, second, third, fourth, length, ..] = *packet;
        let has_adaptation = fourth & 0x20 != 0;
        let counts = fourth & 0x10 != 0;
        let adaptation_end = if has_adaptation { (5 + usize::from(length)).min(PACKET_BYTES) } else { 4 };
        Self {
            pid: u16::from_be_bytes([second & 0x1f, third]),
            unit_start: second & 0x40 != 0,
            scrambled: fourth & 0xc0 != 0,
            counter: fourth & 0x0f,
            adaptation: if has_adaptation { 5..adaptation_end } else { 4..4 },
            payload: if counts { adaptation_end..PACKET_BYTES } else { PACKET_BYTES..PACKET_BYTES },
            counts,
        }
    }

    pub(super) fn payload_of<'a>(&self, packet: &'a [u8; PACKET_BYTES]) -> &'a [u8] {
        packet.get(self.payload.clone()).unwrap_or_default()
    }

    pub(super) fn adaptation_of<'a>(&self, packet: &'a [u8; PACKET_BYTES]) -> &'a [u8] {
        packet.get(self.adaptation.clone()).unwrap_or_default()
    }
}

/// What of an adaptation field outlives the packet it came in: clocks, discontinuities, priority and private
/// data (ad markers such as EBP live there). Splice countdown and the extension describe the old packets and
/// are dropped.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Adaptation {
    pub(super) discontinuity: bool,
    pub(super) priority: bool,
    pub(super) pcr: Option<[u8; 6]>,
    pub(super) opcr: Option<[u8; 6]>,
    pub(super) private_data: Vec<u8>,
}

impl Adaptation {
    /// Reads the field after its length byte; what does not fit is left out.
    pub(super) fn read(field: &[u8]) -> Self {
        let mut kept = Self::default();
        let Some((flags, mut rest)) = field.split_first() else { return kept };
        kept.discontinuity = flags & 0x80 != 0;
        kept.priority = flags & 0x20 != 0;
        let mut clock = |present: bool| -> Option<[u8; 6]> {
            let (value, after) = rest.split_first_chunk::<6>().filter(|_| present)?;
            rest = after;
            Some(*value)
        };
        kept.pcr = clock(flags & 0x10 != 0);
        kept.opcr = clock(flags & 0x08 != 0);
        if flags & 0x04 != 0 {
            rest = rest.get(1..).unwrap_or_default(); // splice_countdown
        }
        if flags & 0x02 != 0
            && let Some((length, private)) = rest.split_first()
        {
            let length = usize::from(*length);
            kept.private_data = private.get(..length.min(PRIVATE_DATA_BYTES)).unwrap_or_default().to_vec();
            if length > PRIVATE_DATA_BYTES {
                kept.private_data.clear(); // half a message is worse than none
            }
        }
        kept
    }

    /// Whether anything in it must be carried on.
    pub(super) fn is_worth_keeping(&self) -> bool {
        self.discontinuity || self.pcr.is_some() || self.opcr.is_some() || !self.private_data.is_empty()
    }

    /// The field without its length byte. Empty where nothing is set.
    fn write(&self, random_access: bool) -> Vec<u8> {
        if !self.is_worth_keeping() && !self.priority && !random_access {
            return Vec::new();
        }
        let flag = |set: bool, bit: u8| if set { bit } else { 0 };
        let mut field = vec![
            flag(self.discontinuity, 0x80)
                | flag(random_access, 0x40)
                | flag(self.priority, 0x20)
                | flag(self.pcr.is_some(), 0x10)
                | flag(self.opcr.is_some(), 0x08)
                | flag(!self.private_data.is_empty(), 0x02),
        ];
        for clock in [self.pcr, self.opcr].iter().flatten() {
            field.extend_from_slice(clock);
        }
        if let Ok(length @ 1..) = u8::try_from(self.private_data.len()) {
            field.push(length);
            field.extend_from_slice(&self.private_data);
        }
        field
    }
}

/// Writes packets of one PID with a running continuity counter.
#[derive(Debug)]
pub(super) struct PacketWriter {
    pid: u16,
    /// Counter of the next packet with payload.
    next_counter: u8,
}

impl PacketWriter {
    pub(super) fn new(pid: u16, first_counter: u8) -> Self {
        Self { pid, next_counter: first_counter & 0x0f }
    }

    /// Packets that [`PacketWriter::unit`] needs for a payload of `len` bytes.
    pub(super) fn packets_for(adaptation: &Adaptation, random_access: bool, len: usize) -> usize {
        let first = BODY_BYTES.saturating_sub(field_bytes(&adaptation.write(random_access)));
        1 + len.saturating_sub(first).div_ceil(BODY_BYTES)
    }

    /// A payload unit: the first packet carries `adaptation` and the start indicator. Exactly `packets`
    /// packets are written, or as many as the payload needs if that is more, or has bytes for if that is
    /// fewer: what is left over is spread by stuffing, a byte of payload in each of the last packets.
    pub(super) fn unit(
        &mut self,
        out: &mut Vec<u8>,
        adaptation: &Adaptation,
        random_access: bool,
        payload: &[u8],
        packets: usize,
    ) {
        let mut field = adaptation.write(random_access);
        let mut rest = payload;
        let mut left = packets.max(1);
        let mut unit_start = true;
        while !rest.is_empty() {
            let room = BODY_BYTES.saturating_sub(field_bytes(&field));
            let later = left.saturating_sub(1);
            let take = room.min(rest.len().saturating_sub(later).max(1)).min(rest.len());
            let (now, after) = rest.split_at_checked(take).unwrap_or((rest, &[]));
            self.packet(out, unit_start, &field, now);
            rest = after;
            left = later;
            field.clear();
            unit_start = false;
        }
    }

    /// A packet of nothing but an adaptation field; the counter stands still.
    pub(super) fn adaptation_only(&self, out: &mut Vec<u8>, adaptation: &Adaptation) {
        let [high, low] = self.pid.to_be_bytes();
        let counter = self.next_counter.wrapping_sub(1) & 0x0f;
        out.extend_from_slice(&[SYNC, high & 0x1f, low, 0x20 | counter, BODY_BYTES as u8 - 1]);
        let mut field = adaptation.write(false);
        if field.is_empty() {
            field.push(0);
        }
        field.resize(BODY_BYTES - 1, 0xff);
        out.extend_from_slice(&field);
    }

    fn packet(&mut self, out: &mut Vec<u8>, unit_start: bool, field: &[u8], payload: &[u8]) {
        let [high, low] = self.pid.to_be_bytes();
        let start_bit = if unit_start { 0x40 } else { 0 };
        let stuffing = BODY_BYTES.saturating_sub(field_bytes(field) + payload.len());
        let has_field = !field.is_empty() || stuffing > 0;
        let control = if has_field { 0x30 } else { 0x10 };
        out.extend_from_slice(&[SYNC, start_bit | high & 0x1f, low, control | self.next_counter]);
        if has_field {
            let length = BODY_BYTES.saturating_sub(payload.len() + 1);
            out.push(length as u8); // at most 183
            if field.is_empty() && length > 0 {
                out.push(0); // no flag set
            } else {
                out.extend_from_slice(field);
            }
            let written = if field.is_empty() { length.min(1) } else { field.len() };
            out.extend(std::iter::repeat_n(0xff, length.saturating_sub(written)));
        }
        out.extend_from_slice(payload);
        self.next_counter = (self.next_counter + 1) & 0x0f;
    }
}

/// Bytes an adaptation field takes with its length byte.
fn field_bytes(field: &[u8]) -> usize {
    if field.is_empty() { 0 } else { field.len() + 1 }
}
