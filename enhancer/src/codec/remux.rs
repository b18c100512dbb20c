//! Files in and out for the command line: a film becomes segments without re-encoding, and segments a film.
//!
//! Only `acuity enhance` uses this. What the edge serves never goes through a muxer (see [`crate::container`]).

use std::path::{Path, PathBuf};

use ffmpeg_next::{Dictionary, Error, Packet, Rational, format, media};

/// Why a file cannot be taken apart or written.
#[derive(Debug, thiserror::Error)]
pub enum RemuxError {
    /// It cannot be opened or is no media file.
    #[error("cannot read {path:?}: {source}")]
    Read {
        /// The file.
        path: PathBuf,
        /// FFmpeg's own words.
        source: Error,
    },
    /// It cannot be written.
    #[error("cannot write {path:?}: {source}")]
    Write {
        /// The file.
        path: PathBuf,
        /// FFmpeg's own words.
        source: Error,
    },
    /// There is nothing to enhance in it.
    #[error("{path:?} has no video")]
    NoVideo {
        /// The file.
        path: PathBuf,
    },
}

/// Packs `input` (any container FFmpeg reads) as a VOD rendition of fragmented MP4 in `directory`: copies packets, cuts
/// at key frames every `segment_seconds` or later. Gives the path of the media playlist.
///
/// # Errors
/// See [`RemuxError`].
pub fn package(input: &Path, directory: &Path, segment_seconds: u32) -> Result<PathBuf, RemuxError> {
    let playlist = directory.join("index.m3u8");
    let mut options = Dictionary::new();
    options.set("hls_time", &segment_seconds.to_string());
    options.set("hls_segment_type", "fmp4");
    options.set("hls_playlist_type", "vod");
    options.set("hls_flags", "independent_segments");
    options.set("hls_segment_filename", &directory.join("%05d.m4s").to_string_lossy());
    copy(input, &playlist, Some("hls"), options, DecodeTimes::Source)?;
    Ok(playlist)
}

/// Writes `input` (a concatenation of segments, with their init segment in front if they are MP4) as an ordinary file, in
/// the container that `output`'s name says; an MP4's index comes first.
///
/// # Errors
/// See [`RemuxError`].
pub fn join(input: &Path, output: &Path) -> Result<(), RemuxError> {
    let mut options = Dictionary::new();
    options.set("movflags", "+faststart");
    copy(input, output, None, options, DecodeTimes::Presentation)
}

/// What becomes of the video's decode times.
#[derive(Clone, Copy, PartialEq)]
enum DecodeTimes {
    /// They stay.
    Source,
    /// Where no picture is reordered each is decoded when it is shown. The enhanced rendition keeps the source's decode times,
    /// whose distance to the presentation times a file would carry as an edit list that hides a picture.
    Presentation,
}

/// Copies video, audio and subtitle packets as they are.
fn copy(
    input: &Path,
    output: &Path,
    format: Option<&str>,
    options: Dictionary<'_>,
    decode_times: DecodeTimes,
) -> Result<(), RemuxError> {
    super::initialise();
    let read = |source| RemuxError::Read { path: input.to_owned(), source };
    let write = |source| RemuxError::Write { path: output.to_owned(), source };
    let mut from = format::input(input).map_err(read)?;
    if from.streams().best(media::Type::Video).is_none() {
        return Err(RemuxError::NoVideo { path: input.to_owned() });
    }
    let mut to = match format {
        Some(format) => format::output_as(output, format).map_err(write)?,
        None => format::output(output).map_err(write)?,
    };
    let mut places: Vec<Option<(usize, Rational, bool)>> = Vec::new();
    for stream in from.streams() {
        let parameters = stream.parameters();
        // Cover pictures are video streams of one packet; data and attachments have no place in the outputs used here.
        let wanted = matches!(parameters.medium(), media::Type::Video | media::Type::Audio)
            && !stream.disposition().contains(format::stream::Disposition::ATTACHED_PIC);
        if !wanted {
            places.push(None);
            continue;
        }
        let mut added =
            to.add_stream(ffmpeg_next::encoder::find(ffmpeg_next::codec::Id::None)).map_err(write)?;
        added.set_parameters(parameters);
        added.set_time_base(stream.time_base());
        // SAFETY: the stream's parameters are live; a tag of another container would be refused by the muxer, and 0
        // lets it choose its own. `video_delay` is a plain number.
        let reorders = unsafe {
            let parameters = added.parameters().as_mut_ptr();
            (*parameters).codec_tag = 0;
            (*parameters).video_delay > 0
        };
        let at_presentation = decode_times == DecodeTimes::Presentation && !reorders;
        places.push(Some((added.index(), stream.time_base(), at_presentation)));
    }
    to.write_header_with(options).map_err(write)?;
    let mut packet = Packet::empty();
    loop {
        match packet.read(&mut from) {
            Ok(()) => {}
            Err(Error::Eof) => break,
            // A damaged packet: what follows may be sound.
            Err(Error::InvalidData) => continue,
            Err(source) => return Err(read(source)),
        }
        let Some(Some((index, time_base, at_presentation))) = places.get(packet.stream()).copied() else {
            continue;
        };
        let Some(target) = to.stream(index).map(|stream| stream.time_base()) else { continue };
        if at_presentation && packet.pts().is_some() {
            packet.set_dts(packet.pts());
        }
        packet.rescale_ts(time_base, target);
        packet.set_position(-1);
        packet.set_stream(index);
        packet.write_interleaved(&mut to).map_err(write)?;
    }
    to.write_trailer().map_err(write)
}
