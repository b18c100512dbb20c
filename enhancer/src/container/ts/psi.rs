//! Program tables (ISO/IEC 13818-1, 2.4.4): which PID carries what. Sections are put together over as many
//! packets as they take, and remember where each of their bytes came from, so that a descriptor can be
//! corrected in place.

use super::packet::{Header, packets};
use crate::container::bytes::{u8_at, u16_at};

/// A section may announce 4093 bytes after its three-byte header (private sections; program tables stay below
/// 1024).
const SECTION_BYTES: usize = 4096;
/// Programs looked at: a multiplex has a few dozen, an HLS segment one.
const PROGRAMS: usize = 64;
/// Sections read from one segment: tables come every 100 ms or so, and a packet can hold sixty empty ones.
const SECTIONS: usize = 4096;
const AVC_VIDEO_DESCRIPTOR: u8 = 0x28;

/// One section and the offset in the stream of each of its bytes.
#[derive(Debug, Clone)]
struct Section {
    bytes: Vec<u8>,
    positions: Vec<usize>,
}

impl Section {
    fn is_intact(&self) -> bool {
        crc32(&self.bytes) == 0
    }

    /// current_next_indicator: the table applies now.
    fn applies_now(&self) -> bool {
        u8_at(&self.bytes, 5).is_some_and(|byte| byte & 1 == 1)
    }

    /// Everything after the section header, without the CRC.
    fn body_end(&self) -> usize {
        self.bytes.len().saturating_sub(4)
    }
}

/// An elementary stream as the program map describes it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stream {
    pub(super) stream_type: u8,
    pub(super) pid: u16,
    pub(super) descriptors: Vec<u8>,
}

impl Stream {
    /// Payload of the first descriptor with this tag.
    pub(super) fn descriptor(&self, tag: u8) -> Option<&[u8]> {
        descriptors(&self.descriptors).find(|(found, _)| *found == tag).map(|(_, body)| body)
    }

    /// format_identifier of the registration descriptor.
    pub(super) fn registration(&self) -> Option<&[u8]> {
        self.descriptor(0x05)?.get(..4)
    }
}

fn descriptors(mut rest: &[u8]) -> impl Iterator<Item = (u8, &[u8])> {
    std::iter::from_fn(move || {
        let [tag, length, after @ ..] = rest else { return None };
        let (body, next) = after.split_at_checked(usize::from(*length))?;
        rest = next;
        Some((*tag, body))
    })
}

/// A byte of the source to be overwritten.
pub(super) type Patch = (usize, u8);

/// The program maps of one program, as often as they were sent.
#[derive(Debug, Clone)]
pub(super) struct Program {
    pub(super) streams: Vec<Stream>,
    maps: Vec<Section>,
}

impl Program {
    /// The program without its maps: read from another file, their positions mean nothing in the segment.
    pub(super) fn without_maps(mut self) -> Self {
        self.maps.clear();
        self
    }

    /// Stream lists of the later maps of this program that apply, for noticing changes.
    pub(super) fn later_streams(&self) -> impl Iterator<Item = Vec<Stream>> {
        self.maps.iter().filter(|map| map.is_intact()).filter_map(streams_of)
    }

    /// What must be overwritten so that AVC video descriptors on `pid` tell the truth about profile and
    /// level; the checksums with them. Empty in nearly every stream: hardly any has the descriptor.
    pub(super) fn descriptor_patches(&self, pid: u16, profile: u8, flags: u8, level: u8) -> Vec<Patch> {
        self.maps
            .iter()
            .filter(|map| map.is_intact())
            .filter_map(|map| {
                let at = avc_descriptor_at(&map.bytes, pid)?;
                let mut fixed = map.bytes.clone();
                fixed.get_mut(at..at + 3)?.copy_from_slice(&[profile, flags, level]);
                let end = map.body_end();
                let crc = crc32(fixed.get(..end)?);
                fixed.get_mut(end..)?.copy_from_slice(&crc.to_be_bytes());
                Some(map.positions.iter().copied().zip(fixed).collect::<Vec<_>>())
            })
            .flatten()
            .collect()
    }
}

/// Reads the tables of `data` (a segment, or an init segment of tables). Programs in the order of the PAT;
/// tables whose checksum is right go first, but others are believed where there is nothing better: players do
/// not check either.
pub(super) fn programs(data: &[u8]) -> Vec<Program> {
    let mut tables = sections_of(data, &[0]);
    tables.retain(|(_, section)| section.bytes.first() == Some(&0x00) && section.applies_now());
    tables.sort_by_cached_key(|(_, section)| !section.is_intact());
    let mut wanted: Vec<(u16, u16)> = Vec::new(); // program number, PID of its map
    for (_, section) in &tables {
        for entry in section.bytes.get(8..section.body_end()).unwrap_or_default().chunks_exact(4) {
            let (Some(number), Some(pid)) = (u16_at(entry, 0), u16_at(entry, 2)) else { continue };
            let pair = (number, pid & 0x1fff);
            if number != 0 && !wanted.contains(&pair) && wanted.len() < PROGRAMS {
                wanted.push(pair);
            }
        }
    }
    let pids: Vec<u16> = wanted.iter().map(|(_, pid)| *pid).collect();
    let maps = sections_of(data, &pids);
    wanted
        .iter()
        .filter_map(|(number, pid)| {
            let mut own: Vec<Section> = maps
                .iter()
                .filter(|(from, section)| {
                    from == pid
                        && section.bytes.first() == Some(&0x02)
                        && section.applies_now()
                        && u16_at(&section.bytes, 3) == Some(*number)
                })
                .map(|(_, section)| section.clone())
                .collect();
            own.sort_by_cached_key(|section| !section.is_intact());
            Some(Program { streams: own.iter().find_map(streams_of)?, maps: own })
        })
        .collect()
}

fn streams_of(map: &Section) -> Option<Vec<Stream>> {
    let mut streams = Vec::new();
    let mut at = 12 + usize::from(u16_at(&map.bytes, 10)? & 0x0fff);
    while at + 5 <= map.body_end() {
        let length = usize::from(u16_at(&map.bytes, at + 3)? & 0x0fff);
        let end = (at + 5 + length).min(map.body_end());
        streams.push(Stream {
            stream_type: u8_at(&map.bytes, at)?,
            pid: u16_at(&map.bytes, at + 1)? & 0x1fff,
            descriptors: map.bytes.get(at + 5..end)?.to_vec(),
        });
        at += 5 + length;
    }
    Some(streams)
}

/// Where the profile byte of the AVC video descriptor of stream `pid` stands in a map.
fn avc_descriptor_at(map: &[u8], pid: u16) -> Option<usize> {
    let mut at = 12 + usize::from(u16_at(map, 10)? & 0x0fff);
    while at + 5 <= map.len().saturating_sub(4) {
        let end = at + 5 + usize::from(u16_at(map, at + 3)? & 0x0fff);
        if u16_at(map, at + 1)? & 0x1fff == pid {
            let mut descriptor = at + 5;
            while descriptor + 2 <= end {
                let length = usize::from(u8_at(map, descriptor + 1)?);
                if u8_at(map, descriptor)? == AVC_VIDEO_DESCRIPTOR && length >= 3 {
                    return Some(descriptor + 2);
                }
                descriptor += 2 + length;
            }
        }
        at = end;
    }
    None
}

/// All sections on the given PIDs, in stream order.
fn sections_of(data: &[u8], pids: &[u16]) -> Vec<(u16, Section)> {
    let mut assemblers: Vec<(u16, Assembler)> = pids.iter().map(|pid| (*pid, Assembler::default())).collect();
    let mut found = Vec::new();
    for (at, packet) in packets(data) {
        let header = Header::read(packet);
        let Some((pid, assembler)) = assemblers.iter_mut().find(|(pid, _)| *pid == header.pid) else {
            continue;
        };
        let payload = header.payload_of(packet);
        let payload_at = at + header.payload.start;
        assembler.feed(payload, payload_at, header.unit_start, &mut |section| found.push((*pid, section)));
        if found.len() >= SECTIONS {
            break;
        }
    }
    found
}

#[derive(Debug, Default)]
struct Assembler {
    bytes: Vec<u8>,
    positions: Vec<usize>,
    open: bool,
}

impl Assembler {
    fn feed(&mut self, payload: &[u8], at: usize, unit_start: bool, done: &mut impl FnMut(Section)) {
        if !unit_start {
            self.append(payload, at, done);
            return;
        }
        let Some((pointer, rest)) = payload.split_first() else { return };
        let (tail, fresh) = rest.split_at_checked(usize::from(*pointer)).unwrap_or((rest, &[]));
        self.append(tail, at + 1, done);
        self.bytes.clear();
        self.positions.clear();
        self.open = true;
        self.append(fresh, at + 1 + tail.len(), done);
    }

    fn append(&mut self, bytes: &[u8], at: usize, done: &mut impl FnMut(Section)) {
        if !self.open {
            return;
        }
        self.bytes.extend_from_slice(bytes);
        self.positions.extend(at..at + bytes.len());
        while let Some(length) = u16_at(&self.bytes, 1) {
            let total = 3 + usize::from(length & 0x0fff);
            if self.bytes.first() == Some(&0xff) || total > SECTION_BYTES {
                self.open = false; // stuffing until the next unit start
                return;
            }
            if self.bytes.len() < total {
                return;
            }
            let bytes = self.bytes.drain(..total).collect();
            let positions = self.positions.drain(..total).collect();
            done(Section { bytes, positions });
        }
    }
}

/// CRC-32/MPEG-2; 0 over a section with its checksum.
fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        (0..8).fold(crc ^ u32::from(*byte) << 24, |crc, _| {
            if crc & 0x8000_0000 == 0 { crc << 1 } else { crc << 1 ^ 0x04c1_1db7 }
        })
    })
}
