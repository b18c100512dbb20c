//! What is inside a segment, told by programs that had no part in making it: ffprobe for packets, and FFmpeg's own
//! extraction of the H.264 byte stream for what opens it.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use serde::Deserialize;
use tokio::process::Command;

use crate::Result;

/// A segment (with its init) as ffprobe lists it.
#[derive(Debug, Clone)]
pub struct Probe {
    /// The elementary streams.
    pub streams: Vec<Stream>,
    /// All packets, in file order.
    pub packets: Vec<Packet>,
    /// The H.264 NAL units of the first video stream, in order; empty without one.
    pub nal_units: Vec<NalUnit>,
}

/// One elementary stream.
#[derive(Debug, Clone, Deserialize)]
pub struct Stream {
    /// Its index in the file.
    pub index: usize,
    /// `video`, `audio`, `data`, `subtitle`.
    #[serde(default)]
    pub codec_type: String,
    /// FFmpeg's name of the codec.
    #[serde(default)]
    pub codec_name: String,
    /// Luma samples per row.
    #[serde(default)]
    pub width: u32,
    /// Rows.
    #[serde(default)]
    pub height: u32,
    /// Seconds per unit of time, as a fraction.
    #[serde(default)]
    pub time_base: String,
    /// MPEG-TS PID or MP4 track id, in hexadecimal.
    #[serde(default)]
    pub id: String,
}

/// One packet; times in its stream's time base.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
pub struct Packet {
    /// `video`, `audio`, ...
    #[serde(default)]
    pub codec_type: String,
    /// Index of its stream.
    pub stream_index: usize,
    /// Presentation time.
    pub pts: Option<i64>,
    /// Decoding time.
    pub dts: Option<i64>,
    /// How long it shows.
    pub duration: Option<i64>,
    /// `K_` for a key frame.
    #[serde(default)]
    pub flags: String,
    /// MD5 of its payload.
    #[serde(default)]
    pub data_hash: String,
}

/// One H.264 NAL unit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NalUnit {
    /// `nal_unit_type`: 1 slice, 5 IDR slice, 6 SEI, 7 SPS, 8 PPS, 9 delimiter.
    pub kind: u8,
    /// The whole unit, without start code.
    pub bytes: Vec<u8>,
}

#[derive(Deserialize)]
struct Listing {
    #[serde(default)]
    streams: Vec<Stream>,
    #[serde(default)]
    packets: Vec<Packet>,
}

impl Probe {
    /// Lists a segment; `init` goes before it for fragmented MP4.
    ///
    /// # Errors
    /// When ffprobe or ffmpeg cannot be run or does not understand the bytes.
    pub async fn of(init: Option<&[u8]>, segment: &[u8]) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let file = folder.path().join("segment");
        let mut whole = init.unwrap_or_default().to_vec();
        whole.extend_from_slice(segment);
        tokio::fs::write(&file, whole).await?;
        let listing = run(
            "ffprobe",
            &["-v", "error", "-show_streams", "-show_packets", "-show_data_hash", "md5", "-of", "json"],
            &file,
        )
        .await?;
        let listing: Listing = serde_json::from_slice(&listing)?;
        let mut probe = Self { streams: listing.streams, packets: listing.packets, nal_units: Vec::new() };
        if probe.video().is_some_and(|video| video.codec_name == "h264") {
            let tail = ["-map", "0:v:0", "-c", "copy", "-bsf:v", "h264_mp4toannexb", "-f", "h264", "-"];
            let stream = convert(&file, &tail).await?;
            probe.nal_units = split_nal_units(&stream);
        }
        Ok(probe)
    }

    /// The first video stream.
    #[must_use]
    pub fn video(&self) -> Option<&Stream> {
        self.streams.iter().find(|stream| stream.codec_type == "video")
    }

    /// The video packets, in decoding order.
    #[must_use]
    pub fn video_packets(&self) -> Vec<&Packet> {
        self.packets.iter().filter(|packet| packet.codec_type == "video").collect()
    }

    /// Every packet that is not video: what must come through untouched.
    #[must_use]
    pub fn other_packets(&self) -> Vec<&Packet> {
        self.packets.iter().filter(|packet| packet.codec_type != "video").collect()
    }

    /// The presentation times of the video, as a set.
    #[must_use]
    pub fn video_pts(&self) -> BTreeSet<Option<i64>> {
        self.video_packets().iter().map(|packet| packet.pts).collect()
    }

    /// The sequence parameter sets that occur, each once.
    #[must_use]
    pub fn parameter_sets(&self) -> BTreeSet<Vec<u8>> {
        self.nal_units
            .iter()
            .filter(|unit| unit.kind == 7 || unit.kind == 8)
            .map(|unit| unit.bytes.clone())
            .collect()
    }

    /// Whether the first slice in decoding order is an IDR picture's.
    #[must_use]
    pub fn opens_on_idr(&self) -> bool {
        self.nal_units.iter().find(|unit| matches!(unit.kind, 1..=5)).is_some_and(|unit| unit.kind == 5)
    }
}

/// What differs between a source segment and its enhanced one that must not differ; empty when all holds.
/// `scale` is the factor by which both sides of the picture must have grown.
#[must_use]
pub fn differences(source: &Probe, enhanced: &Probe, scale: u32) -> Vec<String> {
    let mut found = differences_beside_times(source, enhanced, scale);
    let mut check = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    let (old, new) = (source.video_packets(), enhanced.video_packets());
    check(old.len() == new.len(), format!("{} frames became {}", old.len(), new.len()));
    check(source.video_pts() == enhanced.video_pts(), "the set of presentation times changed".to_owned());
    let dts = |packets: &[&Packet]| packets.iter().map(|packet| packet.dts).collect::<Vec<_>>();
    check(dts(&old) == dts(&new), format!("decoding times {:?} became {:?}", dts(&old), dts(&new)));
    // MPEG-TS carries no durations: FFmpeg knows them only where the SPS tells a frame rate
    let durations =
        |packets: &[&Packet]| packets.iter().map(|packet| packet.duration).collect::<Option<Vec<_>>>();
    if let (Some(before), Some(after)) = (durations(&old), durations(&new)) {
        let total = |list: &[i64]| list.iter().sum::<i64>();
        check(
            total(&before) == total(&after),
            format!("duration {} became {}", total(&before), total(&after)),
        );
    }
    found
}

/// The same of a segment that has twice the pictures: the source's own at their times, and one half way between each two of
/// them (rounded down to a tick), and behind the last.
#[must_use]
pub fn differences_of_doubled(source: &Probe, enhanced: &Probe, scale: u32) -> Vec<String> {
    let mut found = differences_beside_times(source, enhanced, scale);
    let shown = |probe: &Probe| -> Vec<i64> { probe.video_pts().into_iter().flatten().collect() };
    let (own, made) = (shown(source), shown(enhanced));
    if made.len() != 2 * own.len() {
        found.push(format!("{} pictures became {}", own.len(), made.len()));
        return found;
    }
    for (at, pair) in made.chunks(2).enumerate() {
        let [first, between] = pair else { continue };
        let next = own.get(at + 1).copied();
        // What stands behind the last picture is known as well as the gaps before it tell: to a tick where they alternate.
        let (gap, tolerance) = match (next, at.checked_sub(1).and_then(|before| own.get(before))) {
            (Some(next), _) => (next - own[at], 0),
            (None, Some(before)) => (own[at] - before, 1),
            (None, None) => continue,
        };
        if *first != own[at] || (between - own[at] - gap / 2).abs() > tolerance {
            found.push(format!("picture {at}: {} became {pair:?}", own[at]));
        }
    }
    let dts: Vec<_> = enhanced.video_packets().iter().map(|packet| packet.dts).collect();
    if !dts.windows(2).all(|pair| pair[0] < pair[1]) {
        found.push("decoding times do not grow".to_owned());
    }
    if dts.first() != source.video_packets().first().map(|packet| &packet.dts) {
        found.push("the first decoding time changed".to_owned());
    }
    found
}

/// What differs that has nothing to do with when pictures are shown.
fn differences_beside_times(source: &Probe, enhanced: &Probe, scale: u32) -> Vec<String> {
    let mut found = Vec::new();
    let mut check = |holds: bool, what: String| {
        if !holds {
            found.push(what);
        }
    };
    let size = |probe: &Probe| probe.video().map_or((0, 0), |video| (video.width, video.height));
    let (from, to) = (size(source), size(enhanced));
    check(to == (from.0 * scale, from.1 * scale), format!("size {from:?} became {to:?}"));
    let layout = |probe: &Probe| -> Vec<_> {
        probe
            .streams
            .iter()
            .map(|s| (s.codec_type.clone(), s.codec_name.clone(), s.id.clone(), s.time_base.clone()))
            .collect()
    };
    check(
        layout(source) == layout(enhanced),
        format!("streams {:?} became {:?}", layout(source), layout(enhanced)),
    );
    let new = enhanced.video_packets();
    let late = new.iter().filter(|packet| packet.dts > packet.pts).count();
    check(late == 0, format!("{late} pictures decode after they show"));
    check(
        source.other_packets() == enhanced.other_packets(),
        "a packet that is not video changed".to_owned(),
    );
    check(enhanced.opens_on_idr(), "does not open on an IDR picture".to_owned());
    found
}

async fn run(program: &str, before: &[&str], file: &Path) -> Result<Vec<u8>> {
    finish(program, Command::new(program).args(before).arg(file)).await
}

async fn convert(file: &Path, tail: &[&str]) -> Result<Vec<u8>> {
    finish("ffmpeg", Command::new("ffmpeg").args(["-v", "error", "-nostdin", "-i"]).arg(file).args(tail))
        .await
}

async fn finish(program: &str, command: &mut Command) -> Result<Vec<u8>> {
    let output = command
        .stdin(Stdio::null())
        .kill_on_drop(true)
        .output()
        .await
        .map_err(|error| format!("{program}: {error}"))?;
    if !output.status.success() {
        return Err(format!("{program}: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    Ok(output.stdout)
}

/// Splits an Annex B byte stream at its start codes (H.264, B.1.1).
fn split_nal_units(stream: &[u8]) -> Vec<NalUnit> {
    let mut starts = Vec::new();
    let mut at = 0;
    while let Some(found) =
        stream.get(at..).and_then(|rest| rest.windows(3).position(|three| three == [0, 0, 1]))
    {
        starts.push(at + found);
        at += found + 3;
    }
    let ends = starts.iter().skip(1).copied().chain([stream.len()]);
    starts
        .iter()
        .zip(ends)
        .filter_map(|(&start, end)| {
            let mut unit = stream.get(start + 3..end)?;
            // zeros before the next start code belong to it, not to the unit
            while let [rest @ .., 0] = unit {
                unit = rest;
            }
            unit.first().map(|first| NalUnit { kind: first & 0x1f, bytes: unit.to_vec() })
        })
        .collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn splits_at_three_and_four_byte_start_codes() {
        let units = split_nal_units(&[0, 0, 0, 1, 0x67, 5, 0, 0, 1, 0x68, 0, 3, 0, 0, 0, 1, 0x65, 9]);
        let kinds: Vec<_> = units.iter().map(|unit| (unit.kind, unit.bytes.len())).collect();
        assert_eq!(kinds, [(7, 2), (8, 3), (5, 2)]);
    }
}
