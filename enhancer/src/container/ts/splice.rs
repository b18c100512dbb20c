//! New pictures in the places of the old ones.
//!
//! Each new access unit becomes one PES packet whose transport packets stand together where the source's unit
//! began. The old video packets vanish, but what their adaptation fields said outlives them at the same place
//! in the stream: in the first packet of the new unit, or in a packet of nothing else. So every clock
//! reference keeps its value and its position relative to all other packets.
//!
//! Continuity counters of the video begin at the source's first value and end at the source's last one: up to
//! fifteen packets of the last unit are stuffed for it. A player that joins segments into one stream (FFmpeg's does) then sees
//! no jump at the seam, as far as the source had none. Others (hls.js, Shaka, AVPlayer) begin anew with each
//! segment and do not care.

use std::borrow::Cow;
use std::collections::VecDeque;
use std::iter::repeat_n;

use super::packet::{Adaptation, Header, PACKET_BYTES, PacketWriter, packets};
use super::psi::Patch;
use super::{Plan, pes};
use crate::container::bytes::put;
use crate::container::{EncodedUnit, Slots, VideoTrack};
use crate::h264::{START_CODE, annex_b_nals, nal, nal_type};

/// Access unit delimiter that allows every slice type (primary_pic_type 7): transport streams must have one
/// (2.14.1).
const DELIMITER: [u8; 2] = [nal::AUD, 0xf0];
/// Continuity counters run modulo this.
const COUNTERS: usize = 16;

/// A unit ready to be cut into packets.
#[derive(Debug)]
struct Pending {
    adaptation: Adaptation,
    keyframe: bool,
    /// PES header and data.
    payload: Vec<u8>,
    /// Transport packets to cut it into.
    packets: usize,
}

/// Puts units into a segment as they come, and gives what of the segment is complete.
#[derive(Debug)]
pub(crate) struct Splicer<'a> {
    source: Cow<'a, [u8]>,
    plan: &'a Plan,
    /// Presentation and decode times, for each unit.
    times: Vec<(i64, i64)>,
    /// For each unit the offset of the packet whose place it takes; ascending. Units between two of the source's stand behind
    /// the first of these.
    places: Vec<usize>,
    writer: PacketWriter,
    /// Offsets of the packets that carried the old video, ascending, and how many of them are dealt with.
    old_packets: Vec<usize>,
    done: usize,
    /// A unit has been written in the place of the packet that comes next.
    took_place: bool,
    end_of_packets: usize,
    /// Everything of the source before this is dealt with.
    copied: usize,
    given: usize,
    written: usize,
    /// Transport packets of the units given so far.
    packets: usize,
    pending: VecDeque<Pending>,
}

impl<'a> Splicer<'a> {
    pub(super) fn new(source: &'a [u8], video: &VideoTrack, plan: &'a Plan, slots: Option<&Slots>) -> Self {
        let mut end_of_packets = 0;
        let mut old_packets = Vec::new();
        for (at, packet) in packets(source) {
            end_of_packets = at + PACKET_BYTES;
            if Header::read(packet).pid == plan.pid {
                old_packets.push(at);
            }
        }
        let (times, places) = match slots {
            None => {
                let times = video.presentation_times().into_iter().zip(video.decode_times());
                (times.collect(), plan.places.clone())
            }
            Some(slots) => {
                let counts = (0..slots.units()).map(|unit| slots.of(unit..unit + 1).len());
                let places = plan.places.iter().zip(counts);
                let times = slots.all().iter().map(|slot| (slot.pts, slot.dts));
                (times.collect(), places.flat_map(|(place, count)| repeat_n(*place, count)).collect())
            }
        };
        Self {
            source: Cow::Borrowed(source),
            plan,
            times,
            places,
            writer: PacketWriter::new(plan.pid, plan.counters.0),
            old_packets,
            done: 0,
            took_place: false,
            end_of_packets,
            copied: 0,
            given: 0,
            written: 0,
            packets: 0,
            pending: VecDeque::new(),
        }
    }

    /// The next unit. `out` gets all of the segment up to the place of the unit after it.
    pub(crate) fn push(&mut self, unit: &EncodedUnit, out: &mut Vec<u8>) {
        if self.given == 0 {
            let patches = descriptor_patches(self.plan, unit);
            if !patches.is_empty() {
                let copy = self.source.to_mut();
                for (at, byte) in patches {
                    put(copy, at, &[byte]);
                }
            }
        }
        let Some(pending) = self.prepare(unit) else { return };
        self.packets += pending.packets;
        self.given += 1;
        self.pending.push_back(pending);
        self.advance(out);
    }

    /// What is left after the last unit.
    pub(crate) fn finish(mut self, out: &mut Vec<u8>) {
        self.advance(out);
        // a packet cut short at the end of the segment is kept too, unless it was the video's
        let tail = self.source.get(self.end_of_packets..).unwrap_or_default();
        let tail_is_video = matches!(tail, [0x47, high, low, ..]
            if u16::from_be_bytes([high & 0x1f, *low]) == self.plan.pid);
        let end = if tail_is_video { self.end_of_packets } else { self.source.len() };
        out.extend_from_slice(self.source.get(self.copied..end).unwrap_or_default());
    }

    fn advance(&mut self, out: &mut Vec<u8>) {
        while let Some(&at) = self.old_packets.get(self.done) {
            let is_due = self.places.get(self.written).is_some_and(|place| *place <= at);
            if is_due || !self.took_place {
                out.extend_from_slice(self.source.get(self.copied..at).unwrap_or_default());
                self.copied = self.copied.max(at);
            }
            if is_due {
                let Some(unit) = self.pending.pop_front() else { return };
                self.writer.unit(out, &unit.adaptation, unit.keyframe, &unit.payload, unit.packets);
                self.written += 1;
                self.took_place = true;
                self.copied = self.copied.max(at + PACKET_BYTES);
                continue;
            }
            if !self.took_place {
                let packet = self.source.get(at..).and_then(|rest| rest.first_chunk::<PACKET_BYTES>());
                let kept = packet.map(|packet| Adaptation::read(Header::read(packet).adaptation_of(packet)));
                if let Some(kept) = kept.filter(Adaptation::is_worth_keeping) {
                    self.writer.adaptation_only(out, &kept);
                }
                self.copied = self.copied.max(at + PACKET_BYTES);
            }
            self.took_place = false;
            self.done += 1;
        }
    }

    /// `None` for a unit too many, which the caller has ruled out.
    fn prepare(&self, unit: &EncodedUnit) -> Option<Pending> {
        let (place, &(pts, dts)) = (*self.places.get(self.given)?, self.times.get(self.given)?);
        let before = self.given.checked_sub(1).and_then(|before| self.places.get(before));
        let packet = self.source.get(place..).and_then(|rest| rest.first_chunk::<PACKET_BYTES>());
        // of two units in one packet only the first inherits its clock
        let adaptation = match packet {
            Some(packet) if before != Some(&place) => {
                Adaptation::read(Header::read(packet).adaptation_of(packet))
            }
            _ => Adaptation::default(),
        };
        // broken sources may present before they decode; never write that
        let payload = pes_packet(self.plan.stream_id, pts, dts.min(pts), &unit.data);
        let mut packets = PacketWriter::packets_for(&adaptation, unit.keyframe, payload.len());
        if self.given + 1 == self.times.len() {
            packets += self.stuffing(packets, payload.len());
        }
        Some(Pending { adaptation, keyframe: unit.keyframe, payload, packets })
    }

    /// Packets more for the last unit, so that its counter is the source's last. One that is too small to give each
    /// packet a byte (no coded picture is) ends where it ends.
    fn stuffing(&self, packets: usize, payload_bytes: usize) -> usize {
        let (first, last) = self.plan.counters;
        let wanted = (usize::from(last) + COUNTERS + 1 - usize::from(first)) % COUNTERS;
        let missing = (wanted + COUNTERS - (self.packets + packets) % COUNTERS) % COUNTERS;
        if payload_bytes >= packets + missing { missing } else { 0 }
    }
}

fn pes_packet(stream_id: u8, pts: i64, dts: i64, data: &[u8]) -> Vec<u8> {
    let first = annex_b_nals(data).next().map_or(0, nal_type);
    let delimiter = if first == nal::AUD { 0 } else { START_CODE.len() + DELIMITER.len() };
    let mut payload = Vec::with_capacity(32 + data.len());
    pes::write_header(&mut payload, stream_id, pts, dts, delimiter + data.len());
    if delimiter > 0 {
        payload.extend_from_slice(&START_CODE);
        payload.extend_from_slice(&DELIMITER);
    }
    payload.extend_from_slice(data);
    payload
}

/// The program map may state profile and level; they are the encoder's now, as its first unit says.
fn descriptor_patches(plan: &Plan, first: &EncodedUnit) -> Vec<Patch> {
    match annex_b_nals(&first.data).find(|body| nal_type(body) == nal::SPS) {
        Some([_, profile, flags, level, ..]) => {
            plan.program.descriptor_patches(plan.pid, *profile, *flags, *level)
        }
        _ => Vec::new(),
    }
}
