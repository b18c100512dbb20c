"""Pictures with their timestamps, one at a time: the streaming half of `media`.

A ladder is far too long to hold decoded. FFmpeg's `showinfo` filter says each
picture's timestamp in the stream's own time base, exactly; container rates and
frame counts are only hints and are used as such.
"""

import json
import queue
import re
import subprocess
import threading
from collections import deque
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from .media import QUIET, MediaError, _run

_TIME_BASE = re.compile(r"config in time_base: (\d+)/(\d+)")
_PICTURE = re.compile(r"\] n: *\d+ pts: *(-?\d+|NOPTS) ")
# How long FFmpeg may think about one picture before it is taken for hung.
PATIENCE_S = 120


@dataclass(frozen=True)
class Stream:
    """What `ffprobe` says of the first video stream."""

    width: int
    height: int
    fps: float
    duration_s: float
    start_s: float


def probe(path):
    """The Stream of a file; MediaError where there is no video."""
    entries = "stream=width,height,avg_frame_rate,r_frame_rate,duration,start_time:format=duration,start_time"
    command = ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", entries, "-of", "json", str(path)]
    told = json.loads(_run(command))
    if not told.get("streams"):
        raise MediaError(f"{path}: no video in it")
    stream, container = told["streams"][0], told.get("format", {})
    rates = [Fraction(stream.get(name, "0/1").replace("/0", "/1")) for name in ("avg_frame_rate", "r_frame_rate")]

    def seconds(name):
        return float(stream.get(name, container.get(name, 0.0)) or 0.0)

    fps = float(next((rate for rate in rates if 1 <= rate <= 400), 0))
    return Stream(stream["width"], stream["height"], fps, seconds("duration"), seconds("start_time"))


class _Stamps(threading.Thread):
    """Reads FFmpeg's messages: timestamps go into a queue, the last other lines are kept for the error."""

    def __init__(self, stream):
        super().__init__(daemon=True)
        self.stream, self.stamps = stream, queue.SimpleQueue()
        self.tick_s, self.words = None, deque(maxlen=4)

    def run(self):
        for line in self.stream:
            text = line.decode(errors="replace").rstrip()
            if found := _PICTURE.search(text):
                self.stamps.put(None if found[1] == "NOPTS" else int(found[1]) * self.tick_s)
            elif found := _TIME_BASE.search(text):
                self.tick_s = Fraction(int(found[1]), int(found[2]))
            elif "Parsed_showinfo" not in text and text.strip():
                self.words.append(text.strip())
        self.stamps.put(EOFError)


def pictures(path, size=None, start_s=0.0):
    """Yields (time in seconds, luma uint8 [h, w]) in showing order, on the stream's own timeline.

    `size` (width, height) scales with swscale's bicubic where it differs. Luma is the Y
    plane as coded: full-range video stays full range. Pictures without a timestamp, which
    nothing can be paired with, are left out.
    """
    native = probe(path)
    width, height = size or (native.width, native.height)
    # Of one size already, `scale` passes pictures on untouched; it is there for streams that change size midway.
    filters = [f"scale={width}:{height}:flags=bicubic", "format=yuv420p|yuvj420p", "showinfo=checksum=0"]
    command = [*QUIET[:2], "-hide_banner", "-nostats", "-v", "info", "-threads", "2", "-copyts"]
    command += ["-ss", f"{start_s:.6f}"] if start_s else []
    command += ["-i", str(path), "-map", "0:v:0", "-an", "-sn", "-vf", ",".join(filters)]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, bufsize=1 << 22)
    stamps = _Stamps(process.stderr)
    stamps.start()
    picture_bytes, count = width * height + 2 * ((width + 1) // 2) * ((height + 1) // 2), 0
    try:
        while len(data := process.stdout.read(picture_bytes)) == picture_bytes:
            time_s = stamps.stamps.get(timeout=PATIENCE_S)
            if time_s is EOFError:
                raise MediaError(f"{path}: FFmpeg gave a picture without its timestamp")
            count += 1
            if time_s is not None:
                luma = np.frombuffer(data, np.uint8, width * height).reshape(height, width)
                yield float(time_s), luma
        if process.wait(PATIENCE_S) != 0 or count == 0:
            stamps.join(PATIENCE_S)
            why = stamps.words[-1] if stamps.words else "no picture came out"
            raise MediaError(f"{path}: {why}")
    finally:
        process.kill()
        process.wait()
        stamps.join(PATIENCE_S)
        process.stderr.close()
        process.stdout.close()
