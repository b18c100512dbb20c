"""What Acuity is compared with, on the same input and through the same encoder: FFmpeg's scalers, and networks of
FSRCNN's size."""

import json
import re
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import clips
from meter import BenchError, measure

HERE = Path(__file__).resolve().parent

# As enhancer/src/codec/encoder.rs sets them; test_bench.py holds these to that file, and every run compares what x264
# itself wrote into both streams (`x264_options`).
PRESET, CRF = "superfast", 15.0
RATE_BUFFER_S, KEYFRAME_S = 0.5, 10
X264_PARAMS = "bframes=0:8x8dct=1:cabac=1:keyint={keyint}:open-gop=0:sliced-threads=0:force-cfr=1:aq-mode=0:subme=2"

# Options of x264 that may differ: each side has the threads it chooses.
FREE_OPTIONS = {"threads", "lookahead_threads"}

# Filters that enlarge. hqx, xbr, super2xsai and epx know 2x and work in RGB, so FFmpeg converts there and back.
FILTERS = {
    "ffmpeg bicubic": "scale={w}:{h}:flags=bicubic",
    "ffmpeg lanczos": "scale={w}:{h}:flags=lanczos",
    "ffmpeg spline": "scale={w}:{h}:flags=spline",
    "ffmpeg zscale lanczos": "zscale=w={w}:h={h}:filter=lanczos",
    "ffmpeg hqx": "hqx=n=2",
    "ffmpeg xbr": "xbr=n=2",
    "ffmpeg super2xsai": "super2xsai",
    "ffmpeg epx": "epx=n=2",
}
FLOOR = "ffmpeg bicubic"

# Label: (name in netpipe.py, what it is).
NETWORKS = {
    "acnet (own SIMD)": (
        "acnet",
        "ACNet with its trained weights and its own vector code and threads, PyPI pyanime4k (MIT)",
    ),
    "fsrcnn-s (ORT)": ("fsrcnn-s", "FSRCNN(32,5,1), arbitrary weights: speed does not depend on them"),
    "fsrcnn (ORT)": ("fsrcnn", "FSRCNN(56,12,4), arbitrary weights"),
    "espcn (ORT)": ("espcn", "ESPCN(64,32), arbitrary weights"),
}


@dataclass(frozen=True)
class Target:
    """The rendition to make: what Acuity chose for this input."""

    width: int
    height: int
    fps_milli: int
    max_kbps: int
    level: int

    def encoder(self, segment_s):
        """FFmpeg's options for it. Threads are as FFmpeg chooses. Key frames where Acuity's segments begin."""
        keyint = -(-self.fps_milli * KEYFRAME_S // 1000)
        return [
            *("-c:v", "libx264", "-preset", PRESET, "-crf", f"{CRF:.2f}", "-maxrate", f"{self.max_kbps}k"),
            *(
                "-bufsize",
                f"{self.max_kbps * 1000 * RATE_BUFFER_S:.0f}",
                "-level",
                f"{self.level // 10}.{self.level % 10}",
            ),
            *("-forced-idr", "1", "-force_key_frames", f"expr:gte(t,n_forced*{segment_s})"),
            *("-x264-params", X264_PARAMS.format(keyint=keyint), "-pix_fmt", "yuv420p"),
        ]


def available_filters():
    """FILTERS that this FFmpeg has."""
    listed = clips.run("ffmpeg", "-hide_banner", "-v", "error", "-filters")
    have = set(re.findall(r"^ [T.][S.][C.] (\S+)", listed, re.M))
    return {label: graph for label, graph in FILTERS.items() if re.split("[=]", graph)[0] in have}


def absent():
    """Peers that one might look for and that are not here, with the reason."""
    have = available_filters()
    missing = {label: "this FFmpeg is built without the filter" for label in FILTERS if label not in have}
    missing["ffmpeg nnedi"] = "a deinterlacer, and Debian ships no weights for it (nnedi3_weights.bin)"
    missing["ffmpeg sr, dnn_processing"] = (
        "FFmpeg's networks need TensorFlow's or OpenVINO's library, which Debian's build lacks"
    )
    return missing


def filtered(clip, target, graph, out):
    """One FFmpeg does it all. (Usage, seconds by FFmpeg's own clock: files open, first frame to trailer.)"""
    scale = graph.format(w=target.width, h=target.height)
    usage = measure(
        [
            *("ffmpeg", "-hide_banner", "-nostdin", "-y", "-benchmark", "-i", clip.playlist, "-map", "0:v:0", "-an"),
            *("-vf", f"{scale},format=yuv420p", *target.encoder(clip.segment_s), "-f", "mpegts", out),
        ]
    )
    found = re.search(r"bench: .*rtime=([\d.]+)s", usage.stderr)
    if not found:
        raise BenchError(f"FFmpeg gave no -benchmark line:\n{usage.stderr[-2000:]}")
    return usage, float(found[1])


def networked(clip, target, network, out, setting):
    """FFmpeg decodes, a network enlarges, FFmpeg encodes, joined by pipes. (Usage, netpipe.py's account of itself.)"""
    rate = f"{target.fps_milli}/1000"
    decode = ["ffmpeg", "-hide_banner", "-v", "error", "-nostdin", "-i", clip.playlist, "-map", "0:v:0", "-an"]
    decode += ["-f", "rawvideo", "-pix_fmt", "yuv420p", "pipe:1"]
    enlarge = [setting.python, HERE / "netpipe.py", network, str(clip.width), str(clip.height), *setting.options()]
    encode = ["ffmpeg", "-hide_banner", "-v", "error", "-y", "-f", "rawvideo", "-pix_fmt", "yuv420p"]
    encode += ["-s", f"{target.width}x{target.height}", "-framerate", rate, "-i", "pipe:0"]
    encode += [*target.encoder(clip.segment_s), "-f", "mpegts", out]
    usage = measure(decode, enlarge, encode)
    found = re.search(r"^netpipe: (\{.*\})$", usage.stderr, re.M)
    if not found:
        raise BenchError(f"the network's process gave no account:\n{usage.stderr[-2000:]}")
    return usage, json.loads(found[1])


@dataclass(frozen=True)
class NetSetting:
    """How networks run: as Acuity's do. `folder` has what setup.sh unpacked; `provider` may be `auto` until `on` was
    asked."""

    provider: str
    threads: int
    folder: Path | None = None
    python: str = sys.executable

    def on(self, provider):
        """The same, on what ran Acuity's networks if nobody said another."""
        return replace(self, provider=provider) if self.provider == "auto" else self

    def options(self):
        """netpipe.py's."""
        given = ["--threads", str(self.threads), "--provider", self.provider]
        wanted = [("--peers", "peers"), ("--onnxruntime", f"onnxruntime-{self.provider}")]
        for option, name in wanted if self.folder else []:
            if (self.folder / name).is_dir():
                given += [option, str(self.folder / name)]
        return given

    def usable(self):
        """NETWORKS that can run here, and the reasons of those that cannot."""
        good, bad = {}, {}
        for label, (name, words) in NETWORKS.items():
            command = [self.python, HERE / "netpipe.py", name, "64", "64", "--check", *self.options()]
            done = subprocess.run([str(part) for part in command], capture_output=True, text=True)
            if done.returncode == 0:
                good[label] = (name, words)
            else:
                bad[label] = (done.stderr.strip().splitlines() or ["it failed"])[-1]
        return good, bad


def x264_options(path):
    """The options that x264 wrote into a stream: {name: value}."""
    raw = subprocess.run(
        ["ffmpeg", "-v", "error", "-nostdin", "-i", str(path), "-map", "0:v:0", "-c", "copy", "-frames:v", "1"]
        + ["-f", "h264", "pipe:1"],
        capture_output=True,
    ).stdout
    found = re.search(rb"x264 - core .* options: ([ -~]+)", raw)
    if not found:
        return {}
    return dict(pair.split("=", 1) for pair in found[1].decode().split() if "=" in pair)


def differing(ours, theirs):
    """Options of x264 that are not the same in both streams, but for those left free."""
    names = (set(ours) | set(theirs)) - FREE_OPTIONS
    return {name: [ours.get(name), theirs.get(name)] for name in sorted(names) if ours.get(name) != theirs.get(name)}
