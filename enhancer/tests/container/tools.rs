//! What the container tests need of the outside world: clips made by the `ffmpeg` command, packets as
//! `ffprobe` lists them, and the real segments of ../shared/data where they are present.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::process::Command;

use acuity_enhancer::container::EncodedUnit;
use acuity_enhancer::h264::{annex_b_spans, nal, nal_type, starts_with_idr};
use bytes::Bytes;

/// Real media beside the repository; `None` (said aloud) where it is absent.
pub(crate) fn shared_media(path: &str) -> Option<PathBuf> {
    let full = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(path);
    if full.exists() {
        return Some(full);
    }
    eprintln!("skipped: {path} is not there (no ../shared/data)");
    None
}

/// Runs `ffmpeg` with arguments separated by spaces; panics with its messages if it fails. Gives what it
/// printed.
pub(crate) fn ffmpeg(directory: &Path, arguments: &str) -> String {
    let output = Command::new("ffmpeg")
        .current_dir(directory)
        .args(["-nostdin", "-hide_banner", "-v", "error", "-y"])
        .args(arguments.split_whitespace())
        .output()
        .expect("the ffmpeg command is installed");
    let messages = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success(), "ffmpeg {arguments}\n{messages}");
    messages
}

/// Decodes everything; any message or error is a failure.
pub(crate) fn assert_decodes_silently(directory: &Path, file: &str) {
    let messages = ffmpeg(
        directory,
        // times as they are: the null muxer would else round them to the nominal rate
        &format!(
            "-xerror -err_detect explode -i {file} -map 0:v -map 0:a? -fps_mode passthrough \
             -enc_time_base 1:90000 -f null -"
        ),
    );
    assert!(messages.is_empty(), "decoding {file}:\n{messages}");
}

/// What FFmpeg warns of when it takes a file apart without decoding.
pub(crate) fn warnings(directory: &Path, file: &str) -> String {
    ffmpeg(directory, &format!("-v warning -i {file} -map 0:v -map 0:a? -c copy -copyts -f null -"))
}

/// A packet as `ffprobe` sees it; times in the stream's time base, `None` for N/A.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Packet {
    pub(crate) pts: Option<i64>,
    pub(crate) dts: Option<i64>,
    pub(crate) duration: Option<i64>,
    pub(crate) size: u64,
    pub(crate) key: bool,
    pub(crate) hash: String,
}

/// Packets of a file by "type index" (such as "video 0"), in file order.
pub(crate) fn probe(directory: &Path, file: &str) -> BTreeMap<String, Vec<Packet>> {
    let output = Command::new("ffprobe")
        .current_dir(directory)
        .args([
            "-hide_banner",
            "-v",
            "error",
            "-show_packets",
            "-show_data_hash",
            "MD5",
            "-of",
            "compact=p=0",
        ])
        .arg(file)
        .output()
        .expect("the ffprobe command is installed");
    let mut streams: BTreeMap<String, Vec<Packet>> = BTreeMap::new();
    let text = String::from_utf8_lossy(&output.stdout).replace("\n|", "|"); // side data breaks the line
    for line in text.lines() {
        let fields: BTreeMap<&str, &str> =
            line.split('|').filter_map(|field| field.split_once('=')).collect();
        let Some(kind) = fields.get("codec_type") else { continue };
        let number = |key: &str| fields.get(key).and_then(|value| value.parse().ok());
        let stream = format!("{kind} {}", fields["stream_index"]);
        streams.entry(stream).or_default().push(Packet {
            pts: number("pts"),
            dts: number("dts"),
            duration: number("duration"),
            size: fields["size"].parse().unwrap(),
            key: fields["flags"].starts_with('K'),
            hash: fields["data_hash"].to_owned(),
        });
    }
    streams
}

/// Checks what splicing promises: the same number of pictures at the same times, key frame first, no
/// reordering, and every other packet as it was.
pub(crate) fn assert_same_but_for_pictures(directory: &Path, source: &str, spliced: &str, width: u32) {
    compare(directory, source, spliced, width, false);
}

/// [`assert_same_but_for_pictures`] for sources with negative composition offsets: FFmpeg moves the
/// presentation times of such tracks until none precedes its decode time, and those of the result, which
/// needs no negative offsets, it does not.
pub(crate) fn assert_same_from_zero(directory: &Path, source: &str, spliced: &str, width: u32) {
    compare(directory, source, spliced, width, true);
}

fn compare(directory: &Path, source: &str, spliced: &str, width: u32, from_zero: bool) {
    let (before, after) = (probe(directory, source), probe(directory, spliced));
    assert_eq!(before.keys().collect::<Vec<_>>(), after.keys().collect::<Vec<_>>(), "streams");
    for (name, old) in &before {
        let new = &after[name];
        if !name.starts_with("video") {
            assert_eq!(old, new, "{name}");
            continue;
        }
        let sorted = |mut times: Vec<Option<i64>>| {
            times.sort_unstable();
            times
        };
        assert_eq!(old.len(), new.len(), "{name}: packets");
        let times = |packets: &[Packet]| packets.iter().map(|packet| packet.pts).collect::<Vec<_>>();
        let (mut expected, mut found) = (sorted(times(old)), times(new));
        if from_zero {
            for times in [&mut expected, &mut found] {
                let first = times[0].unwrap();
                times.iter_mut().flatten().for_each(|time| *time -= first);
            }
        }
        assert_eq!(expected, found, "{name}: presentation times");
        for (index, (old, new)) in old.iter().zip(new).enumerate() {
            // ffprobe finds no decode time where a stream only pretends to reorder
            if old.dts.is_some() {
                assert_eq!(old.dts, new.dts, "{name}: decode time of packet {index}");
            }
            // a transport stream has no durations: what ffprobe shows is the encoder's nominal rate
            if !source.ends_with(".ts") {
                assert_eq!(old.duration, new.duration, "{name}: duration of packet {index}");
            }
            assert!(new.pts >= new.dts, "{name}: packet {index}");
        }
        assert!(new[0].key, "{name}: key frame first");
    }
    let output = Command::new("ffprobe")
        .current_dir(directory)
        .args([
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=width",
            "-of",
            "csv=p=0",
            spliced,
        ])
        .output()
        .unwrap();
    let shown = String::from_utf8_lossy(&output.stdout);
    assert_eq!(shown.trim().lines().next(), Some(width.to_string().as_str()), "width of {spliced}");
}

/// `count` pictures as the encoder would give them: H.264 without B-frames, one IDR first, parameter sets
/// in-band. Of a test picture, or of a film where one is named.
pub(crate) fn encode(
    directory: &Path,
    film: Option<&Path>,
    width: u32,
    height: u32,
    count: usize,
) -> Vec<EncodedUnit> {
    encode_at(directory, film, width, height, count, "30")
}

/// [`encode`] with another nominal frame rate in the parameter sets: FFmpeg takes durations from it.
pub(crate) fn encode_at(
    directory: &Path,
    film: Option<&Path>,
    width: u32,
    height: u32,
    count: usize,
    rate: &str,
) -> Vec<EncodedUnit> {
    let input = match film {
        Some(film) => format!("-stream_loop -1 -i {}", film.display()),
        None => format!("-f lavfi -i testsrc2=size={width}x{height}:rate={rate}"),
    };
    ffmpeg(
        directory,
        &format!(
            "{input} -frames:v {count} -vf scale={width}:{height},setsar=1 -pix_fmt yuv420p -an \
             -c:v libx264 -preset superfast \
             -profile:v high -crf 30 -bf 0 -g 100000 -x264-params scenecut=0:aud=1:open-gop=0 \
             -fps_mode passthrough -f h264 encoded.h264"
        ),
    );
    let stream = Bytes::from(std::fs::read(directory.join("encoded.h264")).unwrap());
    let delimiters: Vec<usize> = annex_b_spans(&stream)
        .filter(|span| nal_type(&stream[span.start..span.end]) == nal::AUD)
        .map(|span| span.start_code_at.saturating_sub(1)) // with the zero byte of the four-byte start code
        .chain([stream.len()])
        .collect();
    let units: Vec<EncodedUnit> = delimiters
        .windows(2)
        .map(|pair| {
            let data = stream.slice(pair[0]..pair[1]);
            EncodedUnit { keyframe: starts_with_idr(&data), data }
        })
        .collect();
    assert_eq!(units.len(), count, "the encoder gave one unit a picture");
    units
}

/// The first parameter sets of encoded units: (SPS, PPS).
pub(crate) fn parameter_sets(units: &[EncodedUnit]) -> (Vec<u8>, Vec<u8>) {
    let find = |wanted| {
        acuity_enhancer::h264::annex_b_nals(&units[0].data)
            .find(|body| nal_type(body) == wanted)
            .expect("parameter sets in-band")
            .to_vec()
    };
    (find(nal::SPS), find(nal::PPS))
}

/// What of a transport stream must not change: packets of other PIDs, clock references with their PIDs, and
/// counters that run on. Independent of the code under test.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct TransportFacts {
    pub(crate) other_packets: Vec<Vec<u8>>,
    /// (packets of other PIDs before it, the six bytes): value and place of each clock reference on the
    /// video's PID.
    pub(crate) video_clocks: Vec<(usize, Vec<u8>)>,
    pub(crate) last_counter: Option<u8>,
}

pub(crate) fn transport_facts(stream: &[u8], video_pid: u16) -> TransportFacts {
    let mut facts =
        TransportFacts { other_packets: Vec::new(), video_clocks: Vec::new(), last_counter: None };
    for packet in stream.chunks_exact(188) {
        assert_eq!(packet[0], 0x47, "in sync");
        if u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) != video_pid {
            facts.other_packets.push(packet.to_vec());
            continue;
        }
        if packet[3] & 0x20 != 0 && packet[4] > 0 && packet[5] & 0x10 != 0 {
            facts.video_clocks.push((facts.other_packets.len(), packet[6..12].to_vec()));
        }
        if packet[3] & 0x10 != 0 {
            facts.last_counter = Some(packet[3] & 0x0f);
        }
    }
    facts
}

/// Counters of packets with payload on one PID run on without a gap.
pub(crate) fn assert_counters_run_on(stream: &[u8], pid: u16) {
    let mut next = None;
    for (index, packet) in stream.chunks_exact(188).enumerate() {
        if u16::from_be_bytes([packet[1] & 0x1f, packet[2]]) != pid {
            continue;
        }
        let counter = packet[3] & 0x0f;
        if packet[3] & 0x10 != 0 {
            assert!(
                next.is_none_or(|next| next == counter),
                "packet {index}: counter {counter}, not {next:?}"
            );
            next = Some((counter + 1) & 0x0f);
        } else if let Some(next) = next {
            assert_eq!(counter, (next + 15) & 0x0f, "packet {index} without payload repeats the counter");
        }
    }
}

/// The PID of the video stream, as `ffprobe` tells it.
pub(crate) fn video_pid(directory: &Path, file: &str) -> u16 {
    let output = Command::new("ffprobe")
        .current_dir(directory)
        .args(["-v", "error", "-select_streams", "v:0", "-show_entries", "stream=id", "-of", "csv=p=0", file])
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    let id = text.lines().next().expect("a video stream").trim().trim_end_matches(',').to_owned();
    u16::from_str_radix(id.trim_start_matches("0x"), 16).unwrap()
}
