//! Luma PSNR of a segment against a reference, by FFmpeg's `psnr` filter.
//!
//! Two traps are stepped over here. Frames are paired by index on one invented time base, since the filter pairs by
//! timestamp and two containers' time bases round apart, which would compare each frame with its neighbour. And the
//! Y plane of yuv420p is compared in the range the stream declares; a detour by `gray` would stretch it.

use std::path::Path;
use std::process::Stdio;

use tokio::process::Command;

use crate::Result;

/// Luma PSNR in dB of `tested` against `reference` (both files FFmpeg can read), `tested` brought to the reference's
/// size by swscale's bicubic where it is smaller. Infinite for identical pictures.
///
/// # Errors
/// When FFmpeg cannot be run, or does not find a picture in one of the files.
pub async fn luma_psnr_db(tested: &Path, reference: &Path, width: u64, height: u64) -> Result<f64> {
    let same_time = "settb=1/1000,setpts=N*40,format=yuv420p";
    let graph = format!(
        "[0:v]scale={width}:{height}:flags=bicubic,{same_time}[tested];[1:v]{same_time}[reference];\
         [tested][reference]psnr"
    );
    let mut command = Command::new("ffmpeg");
    command
        .args(["-hide_banner", "-nostats", "-nostdin", "-v", "info", "-i"])
        .arg(tested)
        .arg("-i")
        .arg(reference);
    command.args(["-lavfi", &graph, "-an", "-f", "null", "-"]).stdin(Stdio::null()).kill_on_drop(true);
    let output = command.output().await.map_err(|error| format!("ffmpeg: {error}"))?;
    let told = String::from_utf8_lossy(&output.stderr);
    find_luma(&told).ok_or_else(|| format!("ffmpeg gave no PSNR:\n{}", told.trim()).into())
}

/// The figure in `... PSNR y:35.021 u:41.2 v:...`.
fn find_luma(told: &str) -> Option<f64> {
    let figure =
        told.lines().rev().find_map(|line| line.split_once("PSNR y:"))?.1.split_whitespace().next()?;
    if figure == "inf" { Some(f64::INFINITY) } else { figure.parse().ok() }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_what_ffmpeg_prints() {
        let told = "x\n[Parsed_psnr_6 @ 0x55] PSNR y:35.02 u:41.1 v:42.0 average:36.6 min:33 max:39\n";
        assert_eq!(find_luma(told), Some(35.02));
        assert_eq!(find_luma("PSNR y:inf u:inf v:inf"), Some(f64::INFINITY));
        assert_eq!(find_luma("nothing"), None);
    }
}
