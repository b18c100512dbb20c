//! The movie box (ISO/IEC 14496-12, 8.2): which tracks there are, and the defaults that fragments leave
//! unsaid.

use super::boxes::{BoxSpan, Kind, children, top_level};
use super::entry::{VideoEntry, audio_codec};
use crate::container::ContainerError;
use crate::container::bytes::{array_at, u8_at, u32_at};

/// Tracks looked at; HLS has one or two in a file.
const TRACKS: usize = 64;

/// Sample defaults of `trex` or `tfhd`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Defaults {
    pub(super) duration: u32,
    pub(super) size: u32,
    pub(super) flags: u32,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Track {
    pub(super) id: u32,
    pub(super) timescale: u32,
    pub(super) defaults: Defaults,
    pub(super) media: Media,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Media {
    Video(Box<VideoEntry>),
    Audio { codec: Option<String>, encrypted: bool },
    Other,
}

/// The movie box of a file, if it has one.
pub(super) fn movie_box(data: &[u8]) -> Result<Option<BoxSpan>, ContainerError> {
    let found = top_level(data)?.into_iter().find(|span| &span.kind == b"moov");
    match found {
        Some(span) if span.declared_end > data.len() as u64 => {
            Err(ContainerError::Truncated { needed: span.declared_end, len: data.len() })
        }
        found => Ok(found),
    }
}

/// The tracks of a movie box.
pub(super) fn tracks(data: &[u8], movie: &BoxSpan) -> Result<Vec<Track>, ContainerError> {
    let boxes = children(data, movie.body..movie.end)?;
    let mut tracks = Vec::new();
    for span in boxes.iter().filter(|span| &span.kind == b"trak").take(TRACKS) {
        if let Some(track) = track(data, span)? {
            tracks.push(track);
        }
    }
    for extends in boxes.iter().filter(|span| &span.kind == b"mvex") {
        for trex in children(data, extends.body..extends.end)?.iter().filter(|span| &span.kind == b"trex") {
            let field = |at| u32_at(trex.body_of(data), at);
            let (Some(id), Some(duration), Some(size), Some(flags)) =
                (field(4), field(12), field(16), field(20))
            else {
                return Err(trex.fault("track defaults are cut short"));
            };
            for track in tracks.iter_mut().filter(|track| track.id == id) {
                track.defaults = Defaults { duration, size, flags };
            }
        }
    }
    Ok(tracks)
}

/// The sample entries of the first track of video.
pub(super) fn video_entries(data: &[u8], movie: &BoxSpan) -> Result<Vec<VideoEntry>, ContainerError> {
    let video = tracks(data, movie)?.into_iter().find(|track| matches!(track.media, Media::Video(_)));
    let Some(video) = video else { return Ok(Vec::new()) };
    for trak in children(data, movie.body..movie.end)?.iter().filter(|span| &span.kind == b"trak") {
        if track_id(data, trak)? == Some(video.id)
            && let Some(mdia) = find(data, trak, b"mdia")?
        {
            let entries = sample_entries(data, &mdia)?;
            return Ok(entries.iter().map(|entry| VideoEntry::read(data, entry)).collect());
        }
    }
    Ok(Vec::new())
}

/// Identifier of a track, from its header.
pub(super) fn track_id(data: &[u8], trak: &BoxSpan) -> Result<Option<u32>, ContainerError> {
    let boxes = children(data, trak.body..trak.end)?;
    Ok(boxes.iter().find(|span| &span.kind == b"tkhd").and_then(|tkhd| {
        let body = tkhd.body_of(data);
        u32_at(body, if u8_at(body, 0)? == 1 { 20 } else { 12 })
    }))
}

/// `None` for tracks that lack what every track must have: nothing in a fragment can refer to them usefully.
fn track(data: &[u8], trak: &BoxSpan) -> Result<Option<Track>, ContainerError> {
    let Some(id) = track_id(data, trak)? else { return Ok(None) };
    let Some(mdia) = find(data, trak, b"mdia")? else { return Ok(None) };
    let timescale = find(data, &mdia, b"mdhd")?.and_then(|mdhd| {
        let body = mdhd.body_of(data);
        u32_at(body, if u8_at(body, 0)? == 1 { 20 } else { 12 })
    });
    let handler = find(data, &mdia, b"hdlr")?.and_then(|hdlr| array_at::<4>(hdlr.body_of(data), 8));
    let (Some(timescale @ 1..), Some(handler)) = (timescale, handler) else { return Ok(None) };
    let entry = sample_entries(data, &mdia)?.into_iter().next();
    let media = match (&handler, entry) {
        (b"vide", Some(entry)) if !is_still(&entry.kind) => {
            Media::Video(Box::new(VideoEntry::read(data, &entry)))
        }
        (b"soun", Some(entry)) => {
            let (codec, encrypted) = audio_codec(data, &entry);
            Media::Audio { codec, encrypted }
        }
        _ => Media::Other,
    };
    Ok(Some(Track { id, timescale, defaults: Defaults::default(), media }))
}

/// Cover art in a video track.
fn is_still(kind: &Kind) -> bool {
    matches!(kind, b"jpeg" | b"png " | b"mjpg")
}

fn sample_entries(data: &[u8], mdia: &BoxSpan) -> Result<Vec<BoxSpan>, ContainerError> {
    let Some(minf) = find(data, mdia, b"minf")? else { return Ok(Vec::new()) };
    let Some(stbl) = find(data, &minf, b"stbl")? else { return Ok(Vec::new()) };
    let Some(stsd) = find(data, &stbl, b"stsd")? else { return Ok(Vec::new()) };
    children(data, stsd.body.saturating_add(8)..stsd.end)
}

fn find(data: &[u8], parent: &BoxSpan, kind: &Kind) -> Result<Option<BoxSpan>, ContainerError> {
    Ok(children(data, parent.body..parent.end)?.into_iter().find(|span| &span.kind == kind))
}
