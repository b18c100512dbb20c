//! Rewritten track runs of the video: other samples with sizes, flags and places of their own, at the same times or more closely.

use super::ContainerError;
use super::boxes::{BoxSpan, write};
use super::fragment::{DATA_OFFSET, Run, SAMPLE_DURATION, SAMPLE_FLAGS, SAMPLE_OFFSET, SAMPLE_SIZE};

/// sample_depends_on 2: depends on no other.
const SYNC_FLAGS: u32 = 0x0200_0000;
/// sample_depends_on 1, sample_is_non_sync_sample.
const NON_SYNC_FLAGS: u32 = 0x0101_0000;

/// A sample as the run describes it.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Entry {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) keyframe: bool,
    /// Presentation minus decode time.
    pub(super) offset: i64,
}

/// Writes the run; its data offset is left 0, and the place of that field in `out` is given back. Durations
/// are written where the source wrote them, or if they are `timed` otherwise; the rest of the defaults is overruled sample by
/// sample.
pub(super) fn write_run(
    out: &mut Vec<u8>,
    source: &Run,
    entries: &[Entry],
    timed: bool,
) -> Result<usize, ContainerError> {
    let fault = |what| source.span.fault(what);
    let shifts = entries.iter().any(|entry| entry.offset != 0) || source.flags & SAMPLE_OFFSET != 0;
    let negative = entries.iter().any(|entry| entry.offset < 0);
    // version 1 has signed offsets; a run stays in the version it was in unless it cannot
    let version = if negative { 1 } else { source.version };
    let flags = DATA_OFFSET
        | if timed { SAMPLE_DURATION } else { source.flags & SAMPLE_DURATION }
        | SAMPLE_SIZE
        | SAMPLE_FLAGS
        | if shifts { SAMPLE_OFFSET } else { 0 };
    let count = u32::try_from(entries.len()).map_err(|_| fault("too many samples in a run"))?;
    let header = BoxSpan { body: source.span.start + 8, ..source.span };
    let mut field_at = 0;
    write(out, &header, |out| {
        out.extend_from_slice(&(u32::from(version) << 24 | flags).to_be_bytes());
        out.extend_from_slice(&count.to_be_bytes());
        field_at = out.len();
        out.extend_from_slice(&[0; 4]);
        for entry in entries {
            if flags & SAMPLE_DURATION != 0 {
                out.extend_from_slice(&entry.duration.to_be_bytes());
            }
            out.extend_from_slice(&entry.size.to_be_bytes());
            let sample_flags = if entry.keyframe { SYNC_FLAGS } else { NON_SYNC_FLAGS };
            out.extend_from_slice(&sample_flags.to_be_bytes());
            if shifts {
                let offset = i32::try_from(entry.offset)
                    .map_err(|_| fault("presentation and decode time lie too far apart"))?;
                out.extend_from_slice(&offset.to_be_bytes());
            }
        }
        Ok(())
    })?;
    Ok(field_at)
}
