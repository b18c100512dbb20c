"""SSIM, VMAF and VMAF-NEG from the FFmpeg that PyPI's `imageio-ffmpeg` carries (requirements-evidence.lock pins it).

Debian's FFmpeg has no libvmaf. Both pictures go in as raw yuv420p at one made-up frame rate, so they are paired by
index; all figures are of luma, whatever chroma is. Nothing here converts a pixel: `-pix_fmt gray` would stretch the
range and move every figure.
"""

import contextlib
import json
import subprocess
import tempfile
from pathlib import Path

import numpy as np

# VMAF-NEG leaves out what mere sharpening gains; FFmpeg's filter takes both models in one pass.
MODELS = "version=vmaf_v0.6.1\\:name=vmaf|version=vmaf_v0.6.1neg\\:name=neg"


class VmafError(RuntimeError):
    """FFmpeg with libvmaf is not here, or failed; the message says which."""


def executable():
    """The path of the FFmpeg with libvmaf."""
    try:
        import imageio_ffmpeg
    except ImportError as missing:
        raise VmafError("imageio-ffmpeg is not installed: requirements-evidence.lock has it") from missing
    return imageio_ffmpeg.get_ffmpeg_exe()


class Judge:
    """Compares Y planes, given one after the other, with a file of raw I420; a context manager."""

    def __init__(self, reference, width, height, threads=1):
        self.width, self.height, self.count = width, height, 0
        self.neutral = bytes([128]) * (width * height // 2)
        self.scratch = tempfile.TemporaryDirectory()
        self.folder = Path(self.scratch.name)
        self.errors = (self.folder / "errors").open("wb")
        source = ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{width}x{height}", "-r", "25", "-i"]
        graph = (
            "[0:v]split[a][b];[1:v]split[c][d];[a][c]ssim=stats_file=ssim.txt[x];"
            f"[b][d]libvmaf=model='{MODELS}':log_fmt=json:log_path=vmaf.json:n_threads={threads}[y]"
        )
        self.process = subprocess.Popen(
            [executable(), "-v", "error", "-nostdin", *source, "pipe:0", *source, str(Path(reference).resolve()),
             "-lavfi", graph, "-map", "[x]", "-f", "null", "-", "-map", "[y]", "-f", "null", "-"],
            cwd=self.folder, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=self.errors,
        )  # fmt: skip

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        with contextlib.suppress(BrokenPipeError):
            self.process.stdin.close()
        self.errors.close()
        self.scratch.cleanup()

    def _told(self):
        return (self.folder / "errors").read_text(errors="replace").strip()[-600:]

    def add(self, plane):
        """One more Y plane uint8 [height, width]."""
        if plane.shape != (self.height, self.width):
            raise VmafError(f"a picture of {plane.shape} where {(self.height, self.width)} were agreed")
        try:
            self.process.stdin.write(np.ascontiguousarray(plane).data)
            self.process.stdin.write(self.neutral)
        except BrokenPipeError as gone:
            self.process.wait()
            raise VmafError(f"FFmpeg stopped: {self._told()}") from gone
        self.count += 1

    def verdict(self):
        """Means over all frames: {"ssim", "vmaf", "vmaf_neg"}."""
        self.process.stdin.close()
        if self.process.wait() != 0:
            raise VmafError(f"FFmpeg failed: {self._told()}")
        lines = (self.folder / "ssim.txt").read_text(encoding="ascii").splitlines()
        similar = [float(line.split(" Y:")[1].split()[0]) for line in lines]
        told = json.loads((self.folder / "vmaf.json").read_text(encoding="utf-8"))
        if not len(similar) == len(told["frames"]) == self.count:
            raise VmafError(f"{self.count} pictures went in, {len(similar)} and {len(told['frames'])} were judged")
        pooled = told["pooled_metrics"]
        return {"ssim": float(np.mean(similar)), "vmaf": pooled["vmaf"]["mean"], "vmaf_neg": pooled["neg"]["mean"]}
