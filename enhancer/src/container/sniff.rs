//! Which container some bytes are in, by their looks alone: file names and content types lie.

use super::{ContainerError, ContainerKind, fmp4, ts};

/// Which container the bytes are in, by their looks alone.
///
/// # Errors
/// [`ContainerError::Empty`], [`ContainerError::NotAContainer`].
pub fn sniff(data: &[u8]) -> Result<ContainerKind, ContainerError> {
    if data.is_empty() {
        return Err(ContainerError::Empty);
    }
    if fmp4::looks_like_boxes(data) {
        return Ok(ContainerKind::Fmp4);
    }
    if ts::find_sync(data).is_some() {
        return Ok(ContainerKind::Ts);
    }
    Err(ContainerError::NotAContainer { looks_like: name_other(data) })
}

/// A name for what is neither, for the log line an operator will read.
fn name_other(data: &[u8]) -> &'static str {
    let text = data.strip_prefix(&[0xef, 0xbb, 0xbf]).unwrap_or(data);
    let starts =
        |prefix: &[u8]| text.get(..prefix.len()).is_some_and(|head| head.eq_ignore_ascii_case(prefix));
    if starts(b"ID3") {
        "packed audio behind an ID3 tag"
    } else if starts(b"WEBVTT") {
        "WebVTT"
    } else if starts(b"#EXTM3U") {
        "a playlist"
    } else if starts(b"<!doctype") || starts(b"<html") || starts(b"<?xml") {
        "a web page or XML"
    } else if starts(&[0x1a, 0x45, 0xdf, 0xa3]) {
        "WebM"
    } else if starts(&[0x0b, 0x77]) {
        "packed AC-3"
    } else if matches!(data, [0xff, second, ..] if second & 0xe0 == 0xe0) {
        "packed AAC or MP3"
    } else {
        "something unknown"
    }
}
