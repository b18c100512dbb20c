"""What all parts share: the binary under test, where things are, how long to take."""

import json
import tempfile
from dataclasses import dataclass, field
from pathlib import Path

import clips
from meter import BenchError, measure

TIERS = ("generic-x2-s", "generic-x2-m", "generic-x2-l")
PLAIN = "plain bicubic"
# What makes pictures between two, cheap to dear.
INTERPOLATORS = ("generic-i2-s", "generic-i2-m")


@dataclass
class Setting:
    """One run of the bench."""

    root: Path
    acuity: Path
    source: Path
    quick: bool
    rounds: int
    seconds: int
    places: list
    enhancer: list
    tiers: list
    peers: object = None
    options: list = field(default_factory=list)
    # sources of the live streams; without any it is `source`, or the whole of the sample film if that is of it
    live_sources: list = field(default_factory=list)
    is_sample: bool = False
    live_seconds: int | None = None
    say: object = print
    scratch: Path = field(default_factory=lambda: Path(tempfile.mkdtemp(prefix="acuity-bench-")))

    @property
    def store(self):
        return self.root / ".acuity/bench/clips"

    def clip(self, width=640, height=360, fps=30, seconds=None, segment_s=6):
        return clips.make(self.source, self.store, width, height, fps, seconds or self.seconds, segment_s)

    def command(self, clip, what, out, account):
        """`acuity enhance` with a tier, the plain scaler, or options of its own (a list)."""
        tier = ["--baseline", "bicubic"] if what == PLAIN else ["--model", what]
        how = what if isinstance(what, list) else tier
        return [self.acuity, "enhance", clip.playlist, "-o", out, *how, "--json", account, *self.places, *self.options]

    def enhance(self, clip, what, threads=False):
        """Runs it: (Usage, its account of itself, the output's path)."""
        out, account = self.scratch / "acuity.ts", self.scratch / "account.json"
        usage = measure(self.command(clip, what, out, account), threads=threads, cwd=self.root)
        try:
            told = json.loads(account.read_text())
        except (OSError, ValueError) as why:
            raise BenchError(f"acuity enhance --json gave nothing to read: {why}") from why
        if told["fallbacks"]:
            raise BenchError(
                f"{what} did not make its segments: {told['fallbacks']}; such a figure would be of something else"
            )
        return usage, told, out


def stage_ms(told):
    """Busy milliseconds a frame of each stage. Stages overlap on several threads: the sum is above the clock."""
    frames = max(told["frames"], 1)
    named = {
        "demux": "demux",
        "decode": "decode",
        "infer": "network",
        "scale": "chroma",
        "encode": "encode",
        "mux": "splice",
    }
    stages = {label: told["stage_seconds"][key] * 1000 / frames for key, label in named.items()}
    if not told["providers"]:
        # the plain scaler does luma where a network would, and tells it as scaling
        stages["scaler"] = stages.pop("network") + stages.pop("chroma")
    return stages
