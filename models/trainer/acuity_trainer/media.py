"""The one door to the `ffmpeg` command: planes in, planes out.

Frames travel as raw I420 through pipes. Luma is always the Y plane of yuv420p:
`-pix_fmt gray` would stretch limited range to full range and move every PSNR by
more than a decibel.
"""

import json
import subprocess
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np

QUIET = ["ffmpeg", "-nostdin", "-v", "error", "-threads", "1"]


class MediaError(RuntimeError):
    """An `ffmpeg` or `ffprobe` run that failed; the message is its own."""


def _run(command, data=None):
    done = subprocess.run(command, input=data, capture_output=True, check=False)
    if done.returncode != 0:
        raise MediaError(f"{' '.join(map(str, command[:12]))} ...: {done.stderr.decode(errors='replace').strip()}")
    return done.stdout


@dataclass(frozen=True)
class Frames:
    """I420 frames: `raw` is uint8 [n, height * 3 / 2 * width], one row a frame."""

    raw: np.ndarray
    width: int
    height: int

    @property
    def luma(self):
        """The Y planes, uint8 [n, height, width] (a view)."""
        return self.raw[:, : self.width * self.height].reshape(-1, self.height, self.width)

    def __len__(self):
        return len(self.raw)


def frames_from_luma(luma):
    """Frames with neutral chroma from Y planes uint8 [n, h, w] (h and w even)."""
    count, height, width = luma.shape
    raw = np.full((count, width * height * 3 // 2), 128, np.uint8)
    raw[:, : width * height] = luma.reshape(count, -1)
    return Frames(raw, width, height)


def _frames(data, width, height):
    size = width * height * 3 // 2
    count = len(data) // size
    return Frames(np.frombuffer(data, np.uint8, count * size).reshape(count, size), width, height)


def probe_size(path):
    """(width, height) of the first video stream or image in `path`."""
    out = _run(
        [
            "ffprobe",
            "-v",
            "error",
            "-select_streams",
            "v:0",
            "-show_entries",
            "stream=width,height",
            "-of",
            "json",
            str(path),
        ]
    )
    streams = json.loads(out).get("streams") or []
    if not streams:
        raise MediaError(f"{path}: no video in it")
    return streams[0]["width"], streams[0]["height"]


def read_video(path, width=None, height=None, crop=None, start_s=0.0, limit=None):
    """Decodes `path` to Frames, optionally cropped (ffmpeg's `w:h:x:y`) and scaled (bicubic)."""
    native = probe_size(path)
    filters = [f"crop={crop}"] if crop else []
    if crop:
        native = tuple(int(v) for v in crop.split(":")[:2])
    size = (width or native[0], height or native[1])
    if size != native:
        filters.append(f"scale={size[0]}:{size[1]}:flags=bicubic")
    filters.append("format=yuv420p")
    command = QUIET + (["-ss", str(start_s)] if start_s else []) + ["-i", str(path), "-map", "0:v:0"]
    command += ["-vf", ",".join(filters), "-fps_mode", "passthrough"]
    command += (["-frames:v", str(limit)] if limit else []) + ["-f", "rawvideo", "-"]
    return _frames(_run(command), *size)


def read_still(path, width=None, height=None):
    """An image's luma as limited-range BT.709 code values, uint8 [h, w]; sizes are made even by a crop."""
    native = probe_size(path)
    width, height = width or native[0] & ~1, height or native[1] & ~1
    filters = (
        ""
        if (width, height) == (native[0] & ~1, native[1] & ~1)
        else f"scale={width}:{height}:flags=area+accurate_rnd,"
    )
    chain = f"{filters}crop={width}:{height}:0:0,scale=out_color_matrix=bt709:out_range=tv,format=yuv420p"
    data = _run(QUIET + ["-i", str(path), "-frames:v", "1", "-vf", chain, "-f", "rawvideo", "-"])
    return _frames(data, width, height).luma[0]


def read_rgba(path):
    """An image with its alpha: (luma uint8 [h, w] limited range, alpha uint8 [h, w])."""
    width, height = probe_size(path)
    data = _run(QUIET + ["-i", str(path), "-frames:v", "1", "-pix_fmt", "rgba", "-f", "rawvideo", "-"])
    rgba = np.frombuffer(data, np.uint8, width * height * 4).reshape(height, width, 4)
    luma = rgba[..., :3].astype(np.float32) @ np.array([0.2126, 0.7152, 0.0722], np.float32)
    return (16.5 + luma * (219.0 / 255.0)).astype(np.uint8), rgba[..., 3]


def scale(frames, width, height, flags="bicubic"):
    """Scales with swscale exactly as FFmpeg's `scale` filter does by default for `flags`."""
    command = QUIET + ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{frames.width}x{frames.height}", "-i", "-"]
    command += ["-vf", f"scale={width}:{height}:flags={flags}", "-pix_fmt", "yuv420p", "-f", "rawvideo", "-"]
    return _frames(_run(command, frames.raw.tobytes()), width, height)


@dataclass(frozen=True)
class Encode:
    """Settings of one libx264 run; exactly one of `crf` and `kbps`."""

    preset: str = "medium"
    crf: int = 0
    kbps: int = 0
    keyint: int = 250
    fps: float = 30.0
    tune: str = ""
    bframes: int = -1

    def arguments(self):
        rate = ["-b:v", f"{self.kbps}k"] if self.kbps else ["-crf", str(self.crf)]
        more = (["-tune", self.tune] if self.tune else []) + (["-bf", str(self.bframes)] if self.bframes >= 0 else [])
        return ["-c:v", "libx264", "-preset", self.preset, "-g", str(self.keyint), *rate, *more]


def encode_file(frames, encode, path):
    """Writes `frames` as H.264 in Matroska (which keeps frame order by index); returns bytes written."""
    command = QUIET + [
        "-f",
        "rawvideo",
        "-pix_fmt",
        "yuv420p",
        "-s",
        f"{frames.width}x{frames.height}",
        "-r",
        str(encode.fps),
        "-i",
        "-",
        *encode.arguments(),
        "-threads",
        "1",
        "-y",
        "-f",
        "matroska",
        str(path),
    ]
    _run(command, frames.raw.tobytes())
    return Path(path).stat().st_size


def encode_decode(frames, encode):
    """What a player's decoder gives after libx264 with `encode`: (Frames of equal count, kbit/s)."""
    with tempfile.TemporaryDirectory() as scratch:
        path = Path(scratch) / "coded.mkv"
        size = encode_file(frames, encode, path)
        decoded = read_video(path)
    if len(decoded) != len(frames):
        raise MediaError(f"{len(frames)} frames went into libx264 and {len(decoded)} came out")
    return decoded, size * 8e-3 * encode.fps / len(frames)


def write_png(path, luma):
    """Writes one Y plane as a grey PNG (full range, for looking at)."""
    height, width = luma.shape
    full = np.clip((luma.astype(np.float32) - 16.0) * (255.0 / 219.0) + 0.5, 0, 255).astype(np.uint8)
    _run(
        QUIET
        + [
            "-f",
            "rawvideo",
            "-pix_fmt",
            "gray",
            "-s",
            f"{width}x{height}",
            "-i",
            "-",
            "-frames:v",
            "1",
            "-y",
            "-f",
            "image2",
            str(path),
        ],
        full.tobytes(),
    )
