//! The decoder configuration of an enhanced rendition: the encoder's parameter sets, and the source's own beside them.
//!
//! Where a segment cannot be made in time its viewer gets the source's. In a transport stream it brings its parameter sets; here they have to
//! stand in the initialisation, which a player has read by then. So both do, under different numbers, and each picture names the ones that
//! it was coded with. The record may hold several (ISO/IEC 14496-15, 5.3.3.1.2), and the change from one to another at an IDR picture is
//! H.264's own way to another size of picture.

use super::entry::VideoEntry;
use crate::container::{ContainerError, ParameterSets};
use crate::h264::{OWN_PARAMETER_SETS, SpsFacts, pps_id};

/// Most that a record can count.
const SPS_LIMIT: usize = 31;
const PPS_LIMIT: usize = 255;

/// An encoder's parameter sets: NAL units without start codes.
pub(super) struct Sets<'a> {
    pub(super) sps: &'a [u8],
    pub(super) pps: &'a [u8],
}

impl Sets<'_> {
    /// `AVCDecoderConfigurationRecord` (14496-15, 5.3.3.1) with four-byte lengths. Of `source` all that has another number than the encoder's.
    pub(super) fn record(&self, source: &ParameterSets) -> Result<Vec<u8>, ContainerError> {
        let bad = |what| ContainerError::BadUnit { index: 0, what };
        let facts =
            SpsFacts::parse(self.sps).map_err(|_| bad("a sequence parameter set that cannot be read"))?;
        let id = pps_id(self.pps);
        let sources = source.sps.iter().filter_map(|nal| Some((SpsFacts::parse(nal).ok()?, &nal[..])));
        let sources: Vec<_> = sources.filter(|(source, _)| source.id != facts.id).collect();
        let mut sps = vec![self.sps];
        sps.extend(sources.iter().map(|(_, nal)| *nal).take(SPS_LIMIT - 1));
        let mut pps = vec![self.pps];
        let others = source.pps.iter().filter(|nal| pps_id(nal).is_some_and(|source| Some(source) != id));
        pps.extend(others.map(|nal| &nal[..]).take(PPS_LIMIT - 1));

        // The profile is the encoder's, High, which decodes what sources are in; the level is to be enough for all.
        let level = sources.iter().map(|(source, _)| source.level_idc).fold(facts.level_idc, u8::max);
        let mut record = vec![1, facts.profile_idc, facts.constraint_flags, level, 0xfc | 3];
        list(&mut record, 0xe0, &sps)?;
        list(&mut record, 0, &pps)?;
        if !matches!(facts.profile_idc, 66 | 77 | 88) {
            let depth = |bits: u8| 0xf8 | bits.saturating_sub(8) & 7;
            record.push(0xfc | facts.chroma_format_idc & 3);
            record.extend_from_slice(&[depth(facts.bit_depth_luma), depth(facts.bit_depth_chroma), 0]);
        }
        Ok(record)
    }
}

/// A counted list of parameter sets, `reserved` bits above the count.
fn list(record: &mut Vec<u8>, reserved: u8, sets: &[&[u8]]) -> Result<(), ContainerError> {
    record.push(reserved | u8::try_from(sets.len()).unwrap_or(u8::MAX)); // within the limits above
    for nal in sets {
        let beyond = ContainerError::BadUnit { index: 0, what: "a parameter set beyond 64 KiB" };
        record.extend_from_slice(&u16::try_from(nal.len()).map_err(|_| beyond)?.to_be_bytes());
        record.extend_from_slice(nal);
    }
    Ok(())
}

/// Whether the source's samples can be read under the record that stands in place of theirs.
pub(super) fn carries(entry: &VideoEntry) -> bool {
    let ParameterSets { sps, pps, .. } = &entry.parameter_sets;
    let is_another = |id: u8| id != OWN_PARAMETER_SETS;
    let stand_beside = (1..SPS_LIMIT).contains(&sps.len())
        && (1..PPS_LIMIT).contains(&pps.len())
        && sps.iter().all(|nal| SpsFacts::parse(nal).is_ok_and(|facts| is_another(facts.id)))
        && pps.iter().all(|nal| pps_id(nal).is_some_and(is_another));
    entry.length_size == 4 && !entry.encrypted && (entry.in_band || stand_beside)
}
