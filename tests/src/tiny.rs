//! Streams of very small pictures, for what needs tens of thousands of segments rather than good ones. Made of the sample film where
//! it is there, of FFmpeg's test pictures where not.

use std::path::{Path, PathBuf};
use std::process::Stdio;

use tempfile::TempDir;
use tokio::process::Command;

use crate::Result;
use crate::world::repository;

/// Two streams of the same pictures in a folder of its own, which goes with it.
#[derive(Debug)]
pub struct Tiny {
    folder: TempDir,
    /// Segments of each.
    pub segments: usize,
}

/// How it is wrapped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wrapping {
    /// MPEG-TS.
    Ts,
    /// Fragmented MP4.
    Fmp4,
}

impl Wrapping {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Ts, Self::Fmp4];

    /// The stream's folder.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Ts => "ts",
            Self::Fmp4 => "fmp4",
        }
    }

    /// A segment's file.
    #[must_use]
    pub fn file(self, index: usize) -> String {
        match self {
            Self::Ts => format!("{index:03}.ts"),
            Self::Fmp4 => format!("{index:03}.m4s"),
        }
    }
}

/// What to make.
#[derive(Debug, Clone, Copy)]
pub struct Shape {
    /// Of the pictures; even.
    pub width: u32,
    /// Of the pictures; even.
    pub height: u32,
    /// A second.
    pub fps: u32,
    /// Segments of each stream.
    pub segments: usize,
    /// Seconds of each segment.
    pub segment_s: u32,
    /// Kilobits a second of the pictures.
    pub kbps: u32,
}

impl Tiny {
    /// Makes both streams.
    ///
    /// # Errors
    /// When FFmpeg cannot be run or refuses.
    pub async fn make(shape: Shape) -> Result<Self> {
        let folder = tempfile::Builder::new().prefix("acuity-tiny-").tempdir()?;
        for wrapping in Wrapping::ALL {
            let below = folder.path().join(wrapping.name());
            std::fs::create_dir(&below)?;
            stream(&below, wrapping, shape).await?;
            let Shape { width, height, fps, .. } = shape;
            let master = format!(
                "#EXTM3U\n#EXT-X-STREAM-INF:BANDWIDTH=200000,RESOLUTION={width}x{height},FRAME-RATE={fps}\nindex.m3u8\n"
            );
            std::fs::write(below.join("master.m3u8"), master)?;
        }
        Ok(Self { folder, segments: shape.segments })
    }

    /// The folder; `master.m3u8` lies below each wrapping's name.
    #[must_use]
    pub fn folder(&self) -> &Path {
        self.folder.path()
    }

    /// A segment's bytes.
    ///
    /// # Errors
    /// When there is no such segment.
    pub fn read(&self, wrapping: Wrapping, index: usize) -> Result<Vec<u8>> {
        Ok(std::fs::read(self.folder().join(wrapping.name()).join(wrapping.file(index)))?)
    }
}

async fn stream(folder: &Path, wrapping: Wrapping, shape: Shape) -> Result<()> {
    let Shape { width, height, fps, segments, segment_s, kbps } = shape;
    let seconds = segment_s * u32::try_from(segments)?;
    let gop = segment_s * fps;
    let film: PathBuf = repository().join(".acuity/sample/360p/index.m3u8");
    let input = if film.is_file() {
        format!("-stream_loop -1 -t {seconds} -i {}", film.display())
    } else {
        format!(
            "-f lavfi -t {seconds} -i testsrc2=s=320x180:r={fps} -f lavfi -t {seconds} -i sine=frequency=330"
        )
    };
    let format = match wrapping {
        Wrapping::Ts => "-hls_segment_filename %03d.ts",
        Wrapping::Fmp4 => {
            "-hls_segment_type fmp4 -hls_fmp4_init_filename init.mp4 -hls_segment_filename %03d.m4s"
        }
    };
    let arguments = format!(
        "-hide_banner -v error -nostdin -y {input} -vf scale={width}:{height},fps={fps},format=yuv420p -t {seconds} \
         -c:v libx264 -preset veryfast -profile:v high -bf 2 -g {gop} -keyint_min {gop} -sc_threshold 0 -b:v {kbps}k \
         -c:a aac -b:a 32k -ac 1 -f hls -hls_time {segment_s} -hls_playlist_type vod -hls_flags independent_segments \
         {format} index.m3u8"
    );
    let mut command = Command::new("ffmpeg");
    command.args(arguments.split_whitespace()).current_dir(folder).stdin(Stdio::null());
    let output = command.output().await?;
    if output.status.success() {
        return Ok(());
    }
    Err(format!("ffmpeg: {}", String::from_utf8_lossy(&output.stderr).trim()).into())
}
