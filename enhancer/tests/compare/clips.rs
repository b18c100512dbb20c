//! Ladders of two renditions, made by the ffmpeg command: what comparisons are made of.

use std::process::Command;

use bytes::Bytes;

/// A segment and its initialisation section, if it has one.
#[derive(Clone)]
pub struct Segment {
    pub init: Option<Bytes>,
    pub bytes: Bytes,
}

/// One rendition of a moving picture of lines, text and detail.
#[derive(Clone, Copy)]
pub struct Recipe {
    pub height: u32,
    pub kbps: u32,
    pub rate: u32,
    pub pictures: u32,
    /// Pictures by which the content is ahead of its times.
    pub ahead: u32,
    /// The lavfi source, 640x360 at `rate`.
    pub content: Content,
    pub fmp4: bool,
}

#[derive(Clone, Copy)]
pub enum Content {
    Lively,
    Other,
    Grey,
    /// A picture that moves to the right, four pixels of 640 from one to the next.
    Panning,
    /// The same standing still.
    Still,
    /// The same, and every picture shown twice.
    Repeating,
}

pub const LOW: Recipe = Recipe {
    height: 180,
    kbps: 350,
    rate: 25,
    pictures: 50,
    ahead: 0,
    content: Content::Lively,
    fmp4: false,
};
pub const HIGH: Recipe = Recipe { height: 360, kbps: 3000, ..LOW };

const PANNING: &str = "scroll=horizontal=-0.00625";

fn still(rate: u32) -> String {
    let once = "mandelbrot=s=640x360:start_scale=0.05:end_scale=0.05,trim=end_frame=1,format=yuv420p";
    format!("{once},loop=loop=-1:size=1:start=0,setpts=N/{rate}/TB,fps={rate}")
}

impl Recipe {
    pub fn make(self) -> Segment {
        let Self { height, kbps, rate, pictures, ahead, content, fmp4 } = self;
        let source = match content {
            Content::Lively => format!(
                "mandelbrot=s=640x360:r={rate}:end_scale=0.05,format=yuv420p[m];testsrc2=s=320x180:r={rate}[t];\
                 [m][t]overlay=W/4:H/4"
            ),
            Content::Other => format!("life=s=640x360:r={rate}:mold=10:seed=7:ratio=0.3"),
            Content::Grey => format!("color=gray:s=640x360:r={rate}"),
            Content::Panning => format!("{},{PANNING}", still(rate)),
            Content::Still => still(rate),
            Content::Repeating => format!("{},{PANNING},fps={rate}", still(rate / 2)),
        };
        let graph = format!(
            "{source},format=yuv420p,trim=start_frame={ahead}:end_frame={},setpts=N/{rate}/TB,scale=-2:{height}:flags=lanczos",
            ahead + pictures
        );
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join(if fmp4 { "clip.mp4" } else { "clip.ts" });
        let kbps = format!("{kbps}k");
        let mut command = Command::new("ffmpeg");
        command.args(["-v", "error", "-f", "lavfi", "-i", &graph, "-c:v", "libx264", "-preset", "veryfast"]);
        command.args(["-pix_fmt", "yuv420p", "-threads", "1", "-bf", "2", "-g", "250", "-b:v", &kbps]);
        if fmp4 {
            command.args(["-movflags", "frag_keyframe+empty_moov+default_base_moof"]);
        }
        assert!(
            command.arg(&path).status().expect("the ffmpeg command, which the set-up installs").success()
        );
        let bytes = Bytes::from(std::fs::read(&path).unwrap());
        if !fmp4 {
            return Segment { init: None, bytes };
        }
        let moof = bytes.windows(4).position(|four| four == b"moof").unwrap() - 4;
        Segment { init: Some(bytes.slice(..moof)), bytes: bytes.slice(moof..) }
    }
}
