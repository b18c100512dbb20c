//! Short HLS streams made on the spot with the `ffmpeg` command, one for each way of packaging that the edge has to
//! understand. Made once and kept in `.acuity/clips`, each under a digest of the command that made it.
//!
//! FFmpeg's own muxers and its own AES are used on purpose: what the edge reads was then written by someone else.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::Arc;

use tokio::process::Command;
use tokio::sync::OnceCell;

use crate::Result;
use crate::world::repository;

/// How segments are wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Packaging {
    /// One MPEG-TS file a segment.
    Ts,
    /// One fragmented MP4 file a segment, with EXT-X-MAP.
    Fmp4,
    /// One fragmented MP4 file a segment, of several movie fragments (CMAF chunks), each with its own index.
    ChunkedFmp4,
    /// Fragmented MP4 whose parameter sets have the number of the edge's own.
    Fmp4OfTheSameNumber,
    /// All segments in one MPEG-TS file, with EXT-X-BYTERANGE.
    TsByteRange,
    /// All segments and the init in one MP4 file, with EXT-X-BYTERANGE.
    Fmp4ByteRange,
    /// MPEG-TS, AES-128 with an explicit IV.
    TsAes128,
}

/// Where the sound is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sound {
    /// In the segments of the video.
    Muxed,
    /// In a rendition of its own (EXT-X-MEDIA).
    Separate,
    /// Nowhere.
    None,
}

/// What to make.
#[derive(Debug, Clone)]
pub struct Recipe {
    /// Wrapping.
    pub packaging: Packaging,
    /// Sound.
    pub sound: Sound,
    /// Width, height and video kbit/s of each variant.
    pub variants: &'static [(u32, u32, u32)],
    /// Number of segments.
    pub segments: u32,
    /// Seconds of each.
    pub segment_s: u32,
    /// Frames a second.
    pub fps: u32,
}

/// A small variant the edge can double and one that it then withholds.
pub const SMALL_LADDER: &[(u32, u32, u32)] = &[(320, 180, 250), (640, 360, 900)];

/// A stream in a folder of its own; not to be changed by whoever uses it.
#[derive(Debug)]
pub struct Clip {
    folder: PathBuf,
    /// What it was made from.
    pub recipe: Recipe,
}

impl Clip {
    /// The folder; `master.m3u8` lies in it, and each variant in a folder named after its height (`180p`).
    #[must_use]
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// The folder's name of a variant.
    #[must_use]
    pub fn variant_name(&self, index: usize) -> String {
        self.recipe.variants.get(index).map_or_else(String::new, |(_, height, _)| format!("{height}p"))
    }

    /// Reads a file of it.
    ///
    /// # Errors
    /// When there is none of that name.
    pub fn read(&self, name: &str) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.folder().join(name)).map_err(|error| format!("{name}: {error}"))?)
    }
}

macro_rules! shared {
    ($(#[$doc:meta])* $name:ident, $packaging:ident, $sound:ident) => {
        $(#[$doc])*
        ///
        /// # Errors
        /// When FFmpeg cannot be run.
        pub async fn $name() -> Result<Arc<Clip>> {
            static CELL: OnceCell<Arc<Clip>> = OnceCell::const_new();
            let recipe = Recipe {
                packaging: Packaging::$packaging,
                sound: Sound::$sound,
                variants: SMALL_LADDER,
                segments: 3,
                segment_s: 2,
                fps: 25,
            };
            CELL.get_or_try_init(|| async { make(recipe).await.map(Arc::new) }).await.cloned()
        }
    };
}

shared!(/** MPEG-TS with muxed sound: the most common stream. */ vod_ts, Ts, Muxed);
shared!(/** Fragmented MP4 with muxed sound. */ vod_fmp4, Fmp4, Muxed);
shared!(/** Fragmented MP4 whose parameter sets have the number of the edge's own. */ same_number_fmp4, Fmp4OfTheSameNumber, Muxed);
shared!(/** Fragmented MP4 whose sound is a rendition of its own, as CMAF packagers do it. */ separate_audio_fmp4, Fmp4, Separate);
shared!(/** MPEG-TS whose sound is a rendition of its own. */ separate_audio_ts, Ts, Separate);
shared!(/** Fragmented MP4 in chunks of a few pictures, without sound. */ chunked_fmp4, ChunkedFmp4, None);
shared!(/** MPEG-TS in one file with byte ranges. */ byte_range_ts, TsByteRange, Muxed);
shared!(/** Fragmented MP4 in one file with byte ranges, its init too. */ byte_range_fmp4, Fmp4ByteRange, Muxed);
shared!(/** MPEG-TS encrypted with AES-128. */ aes128_ts, TsAes128, Muxed);
shared!(/** MPEG-TS without sound. */ silent_ts, Ts, None);

/// A stream so small that it is made in time however busy the machine is, and by any network: 90p, of which 180p is made, and 180p.
///
/// # Errors
/// As [`make`].
pub async fn small(packaging: Packaging, fps: u32) -> Result<Clip> {
    let variants = &[(160, 90, 100), (320, 180, 250)];
    make(Recipe { packaging, sound: Sound::Muxed, variants, segments: 3, segment_s: 2, fps }).await
}

/// Makes a stream, or finds the one that the same command made before.
///
/// # Errors
/// When FFmpeg cannot be run or refuses.
pub async fn make(recipe: Recipe) -> Result<Clip> {
    let arguments = arguments(&recipe)?;
    let mut hasher = DefaultHasher::new();
    arguments.hash(&mut hasher);
    let all = repository().join(".acuity/clips");
    let folder = all.join(format!("{:016x}", hasher.finish()));
    if folder.is_dir() {
        return Ok(Clip { folder, recipe });
    }
    std::fs::create_dir_all(&all)?;
    let unfinished = tempfile::Builder::new().prefix("unfinished-").tempdir_in(&all)?;
    for (_, height, _) in recipe.variants {
        std::fs::create_dir(unfinished.path().join(format!("{height}p")))?;
    }
    if recipe.packaging == Packaging::TsAes128 {
        write_key(unfinished.path())?;
    }
    let mut command = Command::new("ffmpeg");
    command.args(["-hide_banner", "-v", "error", "-nostdin", "-y"]).args(arguments);
    let output = command.current_dir(unfinished.path()).stdin(Stdio::null()).output().await?;
    if !output.status.success() {
        return Err(format!("ffmpeg: {}", String::from_utf8_lossy(&output.stderr).trim()).into());
    }
    // A name appears only with all that belongs to it. Another test process may have been first: its clip is as good.
    if let Err(error) = std::fs::rename(unfinished.path(), &folder)
        && !folder.is_dir()
    {
        return Err(error.into());
    }
    Ok(Clip { folder, recipe })
}

/// FFmpeg's arguments, from inputs to the name of the variants' playlists.
fn arguments(recipe: &Recipe) -> Result<Vec<String>> {
    let Recipe { packaging, sound, variants, segments, segment_s, fps } = recipe;
    let (seconds, gop) = (segments * segment_s, segment_s * fps);
    let &(width, height, _) = variants.last().ok_or("a stream has at least one variant")?;
    let mut list: Vec<String> = Vec::new();
    let mut add = |words: &str| list.extend(words.split_whitespace().map(str::to_owned));
    // Sharp moving edges and text beside organic detail, both changing all the time.
    add(&format!("-f lavfi -t {seconds} -i testsrc2=s={width}x{height}:r={fps}"));
    add(&format!(
        "-f lavfi -t {seconds} -i mandelbrot=s={}x{}:r={fps}:end_scale=0.01",
        width / 2,
        height / 2
    ));
    if *sound != Sound::None {
        add(&format!("-f lavfi -t {seconds} -i sine=frequency=330:sample_rate=48000:beep_factor=4"));
    }
    let count = variants.len();
    let mut graph = format!("[0:v][1:v]overlay=W/4:H/4,split={count}");
    for index in 0..count {
        graph.push_str(&format!("[s{index}]"));
    }
    for (index, (width, height, _)) in variants.iter().enumerate() {
        graph.push_str(&format!(";[s{index}]scale={width}:{height}:flags=lanczos,format=yuv420p[v{index}]"));
    }
    add(&format!("-filter_complex {graph}"));
    let mut map = Vec::new();
    for (index, (_, height, kbps)) in variants.iter().enumerate() {
        add(&format!(
            "-map [v{index}] -b:v:{index} {kbps}k -maxrate:v:{index} {kbps}k -bufsize:v:{index} {kbps}k"
        ));
        match sound {
            Sound::Muxed => {
                add("-map 2:a");
                map.push(format!("v:{index},a:{index},name:{height}p"));
            }
            Sound::Separate => map.push(format!("v:{index},agroup:sound,name:{height}p")),
            Sound::None => map.push(format!("v:{index},name:{height}p")),
        }
    }
    if *sound == Sound::Separate {
        add("-map 2:a");
        map.push("a:0,agroup:sound,default:yes,name:sound".to_owned());
    }
    add(&format!(
        "-c:v libx264 -preset veryfast -profile:v high -bf 2 -g {gop} -keyint_min {gop} -sc_threshold 0"
    ));
    add("-c:a aac -b:a 64k -ac 2");
    if *packaging == Packaging::ChunkedFmp4 {
        return chunked(list, recipe);
    }
    add(&format!("-f hls -hls_time {segment_s} -hls_playlist_type vod -master_pl_name master.m3u8"));
    match packaging {
        Packaging::Ts => add("-hls_flags independent_segments -hls_segment_filename %v/%03d.ts"),
        Packaging::ChunkedFmp4 => {}
        Packaging::TsByteRange => {
            add("-hls_flags independent_segments+single_file -hls_segment_filename %v/all.ts")
        }
        Packaging::Fmp4 | Packaging::Fmp4OfTheSameNumber => {
            if *packaging == Packaging::Fmp4OfTheSameNumber {
                add("-x264-params sps-id=31");
            }
            add("-hls_flags independent_segments -hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4");
            add("-hls_segment_filename %v/%03d.m4s");
        }
        Packaging::Fmp4ByteRange => {
            add(
                "-hls_flags independent_segments+single_file -hls_segment_type fmp4 -hls_segment_filename %v/all.mp4",
            );
        }
        Packaging::TsAes128 => {
            add(
                "-hls_flags independent_segments -hls_segment_filename %v/%03d.ts -hls_key_info_file key_info",
            );
        }
    }
    list.extend(["-var_stream_map".to_owned(), map.join(" "), "%v/index.m3u8".to_owned()]);
    Ok(list)
}

/// The end of the arguments for CMAF chunks, which FFmpeg's HLS muxer cannot write: its DASH muxer writes HLS playlists too.
fn chunked(mut list: Vec<String>, recipe: &Recipe) -> Result<Vec<String>> {
    if recipe.sound != Sound::None {
        return Err("chunks are made without sound".into());
    }
    let segment_s = recipe.segment_s;
    let words = format!(
        "-f dash -seg_duration {segment_s} -frag_type duration -frag_duration 0.4 -hls_playlist 1 \
         -hls_master_name master.m3u8 manifest.mpd"
    );
    list.extend(words.split_whitespace().map(str::to_owned));
    Ok(list)
}

/// The key and FFmpeg's description of it: URI in the playlist, file, IV. The URI is relative to the playlists.
fn write_key(folder: &Path) -> Result<()> {
    std::fs::write(folder.join("secret.key"), b"acuity test key!")?;
    std::fs::write(folder.join("key_info"), "../secret.key\nsecret.key\n000102030405060708090a0b0c0d0e0f\n")?;
    Ok(())
}

/// The folder of real media that developers may have beside the repository; none of it is in it.
/// Says on stderr when it is absent, so that a scenario never skips silently.
#[must_use]
pub fn real_media(below: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/data").join(below);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: no real media at {}", path.display());
    None
}
