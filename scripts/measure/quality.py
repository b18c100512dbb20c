#!/usr/bin/env python3
"""What a player sees: luma PSNR, SSIM and flicker of enhanced video against the high rendition, after the encoder.

  scripts/measure/quality.py CLIP...                      each clip is the high rendition; a low one is made of it
  scripts/measure/quality.py --pair LOW HIGH [...]        both as the origin has them
  options: --models generic-x2-s,generic-x2-m  --kbps 600  --acuity target/release/acuity
           ID@SHARE for a model that makes SHARE of each picture anew (`--detail-share`)

For each clip: half the size at --kbps (libx264, medium, two-second GOPs), then `acuity enhance` with each model and with
the bicubic baseline, and libswscale's bicubic and Lanczos straight from the decoded low rendition, not encoded again
(so "plain" is what a player that scales by itself shows, the harder thing to beat). Frames are paired by index.
What flicker is: `flicker.py`; without numpy it is left out.
"""

import argparse
import importlib.util
import re
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

from flicker import flicker, planes


def run(*command):
    done = subprocess.run([str(part) for part in command], check=False, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, command))}\n{done.stderr}")
    return done.stderr


def size(path):
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", "stream=width,height", "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True)
    width, height = out.stdout.strip().split("\n")[0].split(",")[:2]
    return int(width), int(height)


def frames(path):
    out = subprocess.run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-count_packets", "-show_entries", "stream=nb_read_packets", "-of", "csv=p=0", str(path)],
        capture_output=True, text=True, check=True)
    return int(out.stdout.strip().split("\n")[0].strip(","))


def compare(candidate, reference, scale="null"):
    """(PSNR-Y in dB, SSIM-Y, what `flicker` gives or None).

    The Y plane of yuv420p: gray would stretch the range. One time base: frames pair by index.
    """
    pair = "settb=1/1000,setpts=N*40"
    graph = (f"[0:v]{pair},{scale},format=yuv420p,split[a][c];[1:v]{pair},format=yuv420p,split[b][d];"
             "[a][b]psnr;[c][d]ssim")
    log = run("ffmpeg", "-hide_banner", "-i", candidate, "-i", reference, "-lavfi", graph, "-shortest", "-f", "null", "-")
    told = (float(re.search(r"PSNR y:([0-9.inf]+)", log)[1]), float(re.search(r"SSIM Y:([0-9.]+)", log)[1]))
    if importlib.util.find_spec("numpy") is None:
        return (*told, None)
    width, height = size(reference)
    return (*told, flicker(planes(candidate, width, height, scale), planes(reference, width, height)))


def coded_low(clip, kbps, directory):
    """The low rendition: same frames, half the size. Times start at zero, else FFmpeg repeats a frame to fill."""
    width, height = size(clip)
    low = directory / "low.mp4"
    run("ffmpeg", "-v", "error", "-y", "-i", clip, "-map", "0:v:0", "-an",
        "-vf", f"setpts=PTS-STARTPTS,scale={width // 4 * 2}:{height // 4 * 2}:flags=bicubic", "-vsync", "passthrough",
        "-c:v", "libx264", "-preset", "medium", "-b:v", f"{kbps}k", "-maxrate", f"{kbps * 3 // 2}k",
        "-bufsize", f"{kbps * 2}k", "-g", "60", "-pix_fmt", "yuv420p", low)
    return low


def model_options(model):
    name, at, share = model.partition("@")
    return ["--model", name] + (["--detail-share", share] if at else [])


def measure(name, low, high, models, acuity, directory):
    width, height = size(high)
    if frames(low) != frames(high):
        sys.exit(f"{name}: {frames(low)} frames in the low rendition, {frames(high)} in the high one: cannot pair by index")
    rows = {kernel: compare(low, high, f"scale={width}:{height}:flags={kernel}") for kernel in ("bicubic", "lanczos")}
    for label, option in [("bicubic, encoded", ["--baseline", "bicubic"])] + [(m, model_options(m)) for m in models]:
        out = directory / "out.mp4"
        run(acuity, "enhance", low, "-o", out, *option)
        rows[label] = compare(out, high)
    return rows


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", nargs="*", type=Path)
    parser.add_argument("--pair", nargs=2, action="append", type=Path, default=[], metavar=("LOW", "HIGH"))
    parser.add_argument("--models", default="generic-x2-s,generic-x2-m")
    parser.add_argument("--kbps", type=int, default=600)
    parser.add_argument("--acuity", default=Path("target/release/acuity"), type=Path)
    args = parser.parse_args()
    if not args.clips and not args.pair:
        parser.error("name a clip, or a --pair")
    models = args.models.split(",")
    gains = {model: [] for model in models}
    for clip, high in [(clip, None) for clip in args.clips] + [(low, high) for low, high in args.pair]:
        with tempfile.TemporaryDirectory() as scratch:
            directory = Path(scratch)
            low = clip if high else coded_low(clip, args.kbps, directory)
            rows = measure(clip.name, low, high or clip, models, args.acuity, directory)
        plain = max(rows["bicubic"][0], rows["lanczos"][0])
        plain_ssim = max(rows["bicubic"][1], rows["lanczos"][1])
        print(f"\n{clip.name}")
        for label, (psnr, ssim, shimmer) in rows.items():
            note = f"   flicker {shimmer[0]:.4f} (changes {shimmer[1]:.2f} dB)" if shimmer else ""
            if label in gains:
                gains[label].append((psnr - plain, ssim - plain_ssim))
                note += f"   {psnr - plain:+.2f} dB  {ssim - plain_ssim:+.4f}"
            print(f"  {label:18} {psnr:6.2f} dB  {ssim:.4f}{note}", flush=True)
    print()
    for model, values in gains.items():
        psnr, ssim = [v[0] for v in values], [v[1] for v in values]
        print(f"{model}: mean {statistics.mean(psnr):+.2f} dB over the better plain scaler (worst {min(psnr):+.2f}), "
              f"SSIM {statistics.mean(ssim):+.4f} (worst {min(ssim):+.4f})")


if __name__ == "__main__":
    main()
