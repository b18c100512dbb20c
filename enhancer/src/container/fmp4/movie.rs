//! The movie box of an enhanced rendition: the source's with picture size and decoder configuration replaced.

use bytes::Bytes;

use super::boxes::{BoxSpan, children, write};
use super::configuration::{self, Sets};
use super::entry::{VISUAL_ENTRY_BYTES, VideoEntry, is_avc};
use super::init::{Media, movie_box, track_id, tracks, video_entries};
use crate::container::bytes::{put, u8_at, u32_at};
use crate::container::{ContainerError, VideoCodec};
use crate::h264::SpsFacts;

pub(crate) fn rewrite_init(
    init: &[u8],
    width: u32,
    height: u32,
    sps: &[u8],
    pps: &[u8],
) -> Result<Bytes, ContainerError> {
    let movie = movie_box(init)?.ok_or(ContainerError::InitMissing)?;
    let mut out = Vec::with_capacity(init.len() + sps.len() + pps.len() + 64);
    out.extend_from_slice(init.get(..movie.start).unwrap_or_default());
    out.extend_from_slice(&rewrite(init, &movie, width, height, sps, pps)?);
    out.extend_from_slice(init.get(movie.end..).unwrap_or_default());
    Ok(out.into())
}

/// Facts of the video's first readable sequence parameter set.
pub(crate) fn init_sps(init: &[u8]) -> Result<Option<SpsFacts>, ContainerError> {
    let movie = movie_box(init)?.ok_or(ContainerError::InitMissing)?;
    let known = tracks(init, &movie)?;
    let entry = known.iter().find_map(|track| match &track.media {
        Media::Video(entry) => Some(entry),
        _ => None,
    });
    let entry = entry.ok_or(ContainerError::NoVideo)?;
    Ok(entry.parameter_sets.sps.iter().find_map(|sps| SpsFacts::parse(sps).ok()))
}

/// Whether samples of all of the video's entries can be read under the entries that [`rewrite_init`] makes of them.
pub(crate) fn carries_source(init: &[u8]) -> bool {
    let entries = || {
        let movie = movie_box(init).ok()??;
        video_entries(init, &movie).ok()
    };
    entries().is_some_and(|entries| !entries.is_empty() && entries.iter().all(configuration::carries))
}

/// The movie box alone.
pub(super) fn rewrite(
    data: &[u8],
    movie: &BoxSpan,
    width: u32,
    height: u32,
    sps: &[u8],
    pps: &[u8],
) -> Result<Vec<u8>, ContainerError> {
    let known = tracks(data, movie)?;
    let (track, entry) = known
        .iter()
        .find_map(|track| match &track.media {
            Media::Video(entry) => Some((track.id, entry)),
            _ => None,
        })
        .ok_or(ContainerError::NoVideo)?;
    if entry.codec != VideoCodec::H264 {
        return Err(ContainerError::NotH264);
    }
    if entry.encrypted {
        return Err(ContainerError::Encrypted);
    }
    let too_large = ContainerError::OverLimit { what: "pixels along a side", limit: usize::from(u16::MAX) };
    let target = Target {
        track,
        width: u16::try_from(width).map_err(|_| too_large.clone())?,
        height: u16::try_from(height).map_err(|_| too_large)?,
        source_width: entry.width,
        source_height: entry.height,
        sets: Sets { sps, pps },
    };
    let mut out = Vec::with_capacity(movie.end - movie.start + 64);
    target.container(data, movie, &mut out)?;
    Ok(out)
}

/// What the movie box is rewritten to.
struct Target<'a> {
    track: u32,
    width: u16,
    height: u16,
    source_width: u16,
    source_height: u16,
    sets: Sets<'a>,
}

impl Target<'_> {
    /// Copies a box, rewriting what lies on the way to the track's size and sample entries. The way is six
    /// boxes deep.
    fn container(&self, data: &[u8], span: &BoxSpan, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        write(out, span, |out| {
            for child in children(data, span.body..span.end)? {
                match &child.kind {
                    b"trak" if track_id(data, &child)? == Some(self.track) => {
                        self.container(data, &child, out)?
                    }
                    b"mdia" | b"minf" | b"stbl" => self.container(data, &child, out)?,
                    b"tkhd" => self.track_header(data, &child, out),
                    b"stsd" => self.descriptions(data, &child, out)?,
                    _ => out.extend_from_slice(child.whole_of(data)),
                }
            }
            Ok(())
        })
    }

    /// Width and height at which the track is shown, 16.16: scaled as the coded size is, so that pictures of
    /// non-square samples keep their shape. 0 (unknown) stays.
    fn track_header(&self, data: &[u8], tkhd: &BoxSpan, out: &mut Vec<u8>) {
        let mut copy = tkhd.whole_of(data).to_vec();
        let body = tkhd.body - tkhd.start;
        let at = body + if u8_at(&copy, body) == Some(1) { 88 } else { 76 };
        for (at, new, old) in [(at, self.width, self.source_width), (at + 4, self.height, self.source_height)]
        {
            let Some(shown) = u32_at(&copy, at) else { continue };
            let scaled = match u64::from(old) {
                0 => u64::from(new) << 16,
                old => (u64::from(shown) * u64::from(new) + old / 2) / old,
            };
            if let (Ok(scaled), 1..) = (u32::try_from(scaled), shown) {
                put(&mut copy, at, &scaled.to_be_bytes());
            }
        }
        out.extend_from_slice(&copy);
    }

    fn descriptions(&self, data: &[u8], stsd: &BoxSpan, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        write(out, stsd, |out| {
            let entries_at = stsd.body.saturating_add(8);
            out.extend_from_slice(
                data.get(stsd.body..entries_at.min(stsd.end))
                    .ok_or_else(|| stsd.fault("sample descriptions are cut short"))?,
            );
            for entry in children(data, entries_at..stsd.end)? {
                if is_avc(&entry.kind) && !VideoEntry::read(data, &entry).encrypted {
                    self.sample_entry(data, &entry, out)?;
                } else {
                    out.extend_from_slice(entry.whole_of(data));
                }
            }
            Ok(())
        })
    }

    fn sample_entry(&self, data: &[u8], entry: &BoxSpan, out: &mut Vec<u8>) -> Result<(), ContainerError> {
        write(out, entry, |out| {
            let boxes_at = entry.body.saturating_add(VISUAL_ENTRY_BYTES);
            let mut fixed = data
                .get(entry.body..boxes_at)
                .filter(|_| boxes_at <= entry.end)
                .ok_or_else(|| entry.fault("a sample entry is cut short"))?
                .to_vec();
            put(&mut fixed, 24, &self.width.to_be_bytes());
            put(&mut fixed, 26, &self.height.to_be_bytes());
            out.extend_from_slice(&fixed);
            let record = self.sets.record(&VideoEntry::read(data, entry).parameter_sets)?;
            let mut configured = false;
            for child in children(data, boxes_at..entry.end)? {
                match &child.kind {
                    b"avcC" => {
                        if !std::mem::replace(&mut configured, true) {
                            configuration(&record, out);
                        }
                    }
                    // bit rates and enhancement layers of the old pictures
                    b"btrt" | b"dvcC" | b"dvvC" | b"dvwC" => {}
                    b"clap" => self.clean_aperture(data, &child, out),
                    _ => out.extend_from_slice(child.whole_of(data)),
                }
            }
            if !configured {
                configuration(&record, out);
            }
            Ok(())
        })
    }

    /// Clean aperture: four fractions in source pixels (width, height, horizontal and vertical offset),
    /// scaled. Dropped where the scaled fraction does not fit.
    fn clean_aperture(&self, data: &[u8], clap: &BoxSpan, out: &mut Vec<u8>) {
        let mut copy = clap.whole_of(data).to_vec();
        let body = clap.body - clap.start;
        for fraction in 0..4usize {
            let (new, old) = if fraction % 2 == 0 {
                (self.width, self.source_width)
            } else {
                (self.height, self.source_height)
            };
            let at = body + fraction * 8;
            let divisor = gcd(new, old).max(1);
            let scaled = u32_at(&copy, at).zip(u32_at(&copy, at + 4)).and_then(|(numerator, denominator)| {
                let numerator = numerator.cast_signed().checked_mul(i32::from(new / divisor))?;
                Some((numerator, denominator.checked_mul(u32::from(old / divisor))?))
            });
            let Some((numerator, denominator)) = scaled else { return };
            put(&mut copy, at, &numerator.to_be_bytes());
            put(&mut copy, at + 4, &denominator.to_be_bytes());
        }
        out.extend_from_slice(&copy);
    }
}

fn configuration(record: &[u8], out: &mut Vec<u8>) {
    let size = (record.len() + 8) as u32; // some three hundred parameter sets below 64 KiB each
    out.extend_from_slice(&size.to_be_bytes());
    out.extend_from_slice(b"avcC");
    out.extend_from_slice(record);
}

fn gcd(a: u16, b: u16) -> u16 {
    if b == 0 { a } else { gcd(b, a % b) }
}
