//! New pictures in the places of the old ones.
//!
//! Each new access unit becomes one PES packet whose transport packets stand together where the source's unit
//! began. The old video packets vanish, but what their adaptation fields said outlives them at the same place
//! in the stream: in the first packet of the new unit, or in a packet of nothing else. So every clock
//! reference keeps its value and its position relative to all other packets.
//!
//! Continuity counters of the video begin at the source's first value and end at the source's last one: up to
//! fifteen packets are stuffed for it. A player that joins segments into one stream (FFmpeg's does) then sees
//! no jump at the seam, as far as the source had none. Others (hls.js, Shaka, AVPlayer) begin anew with each
//! segment and do not care.

use std::borrow::Cow;

use bytes::Bytes;

use super::packet::{Adaptation, Header, PACKET_BYTES, PacketWriter, packets};
use super::psi::Patch;
use super::{Plan, pes};
use crate::container::bytes::put;
use crate::container::{EncodedUnit, VideoTrack};
use crate::h264::{START_CODE, annex_b_nals, nal, nal_type};

/// Access unit delimiter that allows every slice type (primary_pic_type 7): transport streams must have one
/// (2.14.1).
const DELIMITER: [u8; 2] = [nal::AUD, 0xf0];
/// Continuity counters run modulo this.
const COUNTERS: usize = 16;

/// A unit ready to be cut into packets.
struct Pending {
    /// Offset of the source packet whose place it takes.
    place: usize,
    adaptation: Adaptation,
    keyframe: bool,
    /// PES header and data.
    payload: Vec<u8>,
    /// Transport packets to cut it into.
    packets: usize,
}

/// `units` are as many as the source's and not empty; the caller has checked.
pub(super) fn splice(source: &[u8], video: &VideoTrack, plan: &Plan, units: &[EncodedUnit]) -> Bytes {
    let mut pending = pending_units(source, video, plan, units);
    stuff_to_counter(&mut pending, plan.counters);
    let source = patched(source, &descriptor_patches(plan, units));

    let new_bytes: usize = pending.iter().map(|unit| (unit.packets + 1) * PACKET_BYTES).sum();
    let mut out = Vec::with_capacity(source.len() + new_bytes);
    let mut writer = PacketWriter::new(plan.pid, plan.counters.0);
    let mut queue = pending.into_iter().peekable();
    let mut copied = 0; // everything before is dealt with
    let mut end_of_packets = 0;
    for (at, packet) in packets(&source) {
        let header = Header::read(packet);
        end_of_packets = at + PACKET_BYTES;
        if header.pid != plan.pid {
            continue;
        }
        out.extend_from_slice(source.get(copied..at).unwrap_or_default());
        copied = end_of_packets;
        if queue.peek().is_some_and(|unit| unit.place <= at) {
            while let Some(unit) = queue.next_if(|unit| unit.place <= at) {
                writer.unit(&mut out, &unit.adaptation, unit.keyframe, &unit.payload, unit.packets);
            }
        } else {
            let kept = Adaptation::read(header.adaptation_of(packet));
            if kept.is_worth_keeping() {
                writer.adaptation_only(&mut out, &kept);
            }
        }
    }
    // a packet cut short at the end of the segment is kept too, unless it was the video's
    let tail = source.get(end_of_packets..).unwrap_or_default();
    let tail_is_video = matches!(tail, [0x47, high, low, ..]
        if u16::from_be_bytes([high & 0x1f, *low]) == plan.pid);
    let end = if tail_is_video { end_of_packets } else { source.len() };
    out.extend_from_slice(source.get(copied..end).unwrap_or_default());
    out.into()
}

fn pending_units(source: &[u8], video: &VideoTrack, plan: &Plan, units: &[EncodedUnit]) -> Vec<Pending> {
    let times = video.presentation_times().into_iter().zip(video.decode_times());
    let mut place_before = None;
    units
        .iter()
        .zip(&plan.places)
        .zip(times)
        .map(|((unit, &place), (pts, dts))| {
            let packet = source.get(place..).and_then(|rest| rest.first_chunk::<PACKET_BYTES>());
            // of two units in one packet only the first inherits its clock
            let adaptation = match packet {
                Some(packet) if place_before != Some(place) => {
                    Adaptation::read(Header::read(packet).adaptation_of(packet))
                }
                _ => Adaptation::default(),
            };
            place_before = Some(place);
            // broken sources may present before they decode; never write that
            let payload = pes_packet(plan.stream_id, pts, dts.min(pts), &unit.data);
            let packets = PacketWriter::packets_for(&adaptation, unit.keyframe, payload.len());
            Pending { place, adaptation, keyframe: unit.keyframe, payload, packets }
        })
        .collect()
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

/// Adds packets to the largest unit until the last counter is the source's last. Without a unit large enough
/// to give each packet a byte the counters end where they end.
fn stuff_to_counter(pending: &mut [Pending], (first, last): (u8, u8)) {
    let packets: usize = pending.iter().map(|unit| unit.packets).sum();
    let wanted = (usize::from(last) + COUNTERS + 1 - usize::from(first)) % COUNTERS;
    let missing = (wanted + COUNTERS - packets % COUNTERS) % COUNTERS;
    if let Some(largest) = pending.iter_mut().max_by_key(|unit| unit.payload.len())
        && largest.payload.len() >= largest.packets + missing
    {
        largest.packets += missing;
    }
}

/// The program map may state profile and level; they are the encoder's now.
fn descriptor_patches(plan: &Plan, units: &[EncodedUnit]) -> Vec<Patch> {
    let sps = units
        .iter()
        .filter(|unit| unit.keyframe)
        .find_map(|unit| annex_b_nals(&unit.data).find(|body| nal_type(body) == nal::SPS));
    match sps {
        Some([_, profile, flags, level, ..]) => {
            plan.program.descriptor_patches(plan.pid, *profile, *flags, *level)
        }
        _ => Vec::new(),
    }
}

fn patched<'a>(source: &'a [u8], patches: &[Patch]) -> Cow<'a, [u8]> {
    if patches.is_empty() {
        return Cow::Borrowed(source);
    }
    let mut copy = source.to_vec();
    for (at, byte) in patches {
        put(&mut copy, *at, &[*byte]);
    }
    Cow::Owned(copy)
}
