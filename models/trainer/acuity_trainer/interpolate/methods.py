"""Ways to make the picture halfway between two: the built-in ones, FFmpeg's `minterpolate`, and exported networks.

Each is given coded pictures (media.Frames, at the low rate) and gives the made luma planes {index: uint8 [h, w]}
between picture `index` and the next, with the processor time that they took.
"""

import re
import resource
import subprocess
import time
from dataclasses import dataclass, field

from .. import export as upscaling
from .. import media
from . import export
from .triplets import blended

# What people turn to for quality: overlapped blocks, motion searched both ways, variable block sizes.
MCI = {
    "minterpolate": "mi_mode=mci",
    "minterpolate, best": "mi_mode=mci:mc_mode=aobmc:me_mode=bidir:vsbmc=1",
}
_STAMP = re.compile(r"\] n: *\d+ pts: *(-?\d+) ")


@dataclass
class Made:
    """What a method made, and the processor seconds that one picture took it; 0 where that was not looked at."""

    luma: dict = field(default_factory=dict)
    seconds: float = 0.0


def repeat(frames, count):
    """The picture before."""
    return Made({index: frames.luma[index] for index in range(count)})


def blend(frames, count):
    """The mean of both."""
    return Made({index: blended(frames.luma[index], frames.luma[index + 1]) for index in range(count)})


def minterpolate(frames, count, options):
    """FFmpeg's motion-compensated interpolation, on one thread; it leaves out the pictures at the ends."""
    # In whole ticks, so that no rounding moves a picture: two of them lie between two coded pictures.
    command = ["ffmpeg", "-nostdin", "-hide_banner", "-nostats", "-v", "info", "-threads", "1", "-filter_threads", "1"]
    command += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "-s", f"{frames.width}x{frames.height}", "-r", "30", "-i", "-"]
    command += ["-vf", f"minterpolate=fps=60:{options},settb=1/60,showinfo=checksum=0"]
    command += ["-fps_mode", "passthrough", "-f", "rawvideo", "-"]
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    done = subprocess.run(command, input=frames.raw.tobytes(), capture_output=True, check=False)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    told = done.stderr.decode(errors="replace")
    if done.returncode:
        raise media.MediaError(told.strip().splitlines()[-1])
    pictures = media._frames(done.stdout, frames.width, frames.height).luma
    stamps = [int(stamp) for stamp in _STAMP.findall(told)]
    if len(stamps) != len(pictures):
        raise media.MediaError(f"minterpolate told {len(stamps)} timestamps of {len(pictures)} pictures")
    luma = {at // 2: picture for at, picture in zip(stamps, pictures, strict=True) if at % 2 and at // 2 < count}
    seconds = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Made(luma, seconds / max(1, len(luma)))


def chroma_of(frames, index):
    """Both chroma planes of a picture, uint8 [2, h / 2, w / 2]."""
    return frames.raw[index, frames.width * frames.height :].reshape(2, frames.height // 2, frames.width // 2)


def network(frames, count, data):
    """An exported network, as it ships, on one thread of ONNX Runtime's own kernels."""
    session, made = upscaling.runtime(data), Made()
    started = time.process_time()
    for index in range(count):
        pair = [(frames.luma[at], chroma_of(frames, at)) for at in (index, index + 1)]
        made.luma[index] = export.made(session, *pair)[0]
    made.seconds = (time.process_time() - started) / max(1, count)
    return made


def every(frames, count, models, baselines):
    """Yields (name, Made) of the named `baselines` and of `models` {name: ONNX bytes}."""
    for name in baselines:
        if name in MCI:
            yield name, minterpolate(frames, count, MCI[name])
        else:
            yield name, {"repeat": repeat, "blend": blend}[name](frames, count)
    for name, data in models.items():
        yield name, network(frames, count, data)
