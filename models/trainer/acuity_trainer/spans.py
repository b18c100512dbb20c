"""What is learned from: ladders and pairs of files, cut into stretches of time that are decoded in one go.

Here it is decided what is held out: the newest tenth of every source, before a single
picture is decoded. In a ladder the line runs between segments, in a file between pictures.
"""

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from . import decode, ladder
from .fetch import short


class SourceError(RuntimeError):
    """A source cannot be used; the message says why."""


@dataclass(frozen=True)
class Span:
    """A stretch of time of one source."""

    name: str
    held_out: bool
    start_s: float
    end_s: float
    # {"low", "high"}: SHA-256 of each segment or file.
    digests: dict
    # Gives the two files to decode, written into the folder it is called with where they have to be.
    files: Callable
    # Whether the times are counted from the files' beginning, and only this stretch of them is meant.
    cut: bool = False

    @property
    def duration_s(self):
        return self.end_s - self.start_s


@dataclass(frozen=True)
class Ladder:
    """A ladder: its multivariant playlist (URL or path) and the heights of two renditions."""

    source: str
    low: int
    high: int

    def label(self):
        return f"{short(self.source)} ({self.low} to {self.high} lines)"

    def spans(self, number, folder, most_s, say):
        """Fetches into `folder` what is not there; the Spans, training ones first."""
        fetched = ladder.fetch(self.source, self.low, self.high, Path(folder) / f"ladder{number}", most_s, say)
        return [self._span(fetched, number, index, stretch) for index, stretch in enumerate(fetched.stretches)]

    def _span(self, fetched, number, index, stretch):
        digests = fetched.digests(stretch)

        def files(scratch):
            paths = [Path(scratch) / f"joined-{side}" for side in ("low", "high")]
            for side, path in zip(("low", "high"), paths, strict=True):
                fetched.join(stretch, side, path)
            return paths

        return Span(f"s{number}-{index:03d}", stretch.held_out, stretch.start_s, stretch.end_s, digests, files)


@dataclass(frozen=True)
class Files:
    """Two files that show the same."""

    low: str
    high: str

    def label(self):
        return f"{Path(self.low).name} to {Path(self.high).name}"

    def spans(self, number, folder, most_s, say):
        """As `Ladder.spans`; nothing is fetched."""
        digests = {"low": [_digest(self.low)], "high": [_digest(self.high)]}
        length_s = min(decode.probe(path).duration_s for path in (self.low, self.high))
        split_s = min(length_s * (1 - ladder.HELD_OUT_SHARE), length_s - ladder.HELD_OUT_LEAST_S)
        if split_s < ladder.HELD_OUT_LEAST_S:
            raise SourceError(
                f"{self.label()}: {length_s:.1f} s are too short: the newest {ladder.HELD_OUT_LEAST_S:.0f} s are held "
                "out, and as much must be left to train on"
            )
        say(f"{self.label()}: {length_s:.1f} s")
        found = []
        for held_out, start_s, end_s in ((False, 0.0, split_s), (True, split_s, length_s)):
            share_s = most_s * (ladder.HELD_OUT_SHARE if held_out else 1 - ladder.HELD_OUT_SHARE)
            for begin, end in _spread(start_s, end_s, max(share_s, ladder.HELD_OUT_LEAST_S)):
                name = f"s{number}-{len(found):03d}"
                found.append(Span(name, held_out, begin, end, digests, lambda _: (self.low, self.high), cut=True))
        return found


def _digest(path):
    if not Path(path).is_file():
        raise SourceError(f"{path}: there is no such file")
    with Path(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _spread(start_s, end_s, most_s):
    """[(from, to)]: all of a range, or stretches of it evenly spread."""
    if end_s - start_s <= most_s + 1.0:
        return [(start_s, end_s)]
    stretch_s = min(ladder.STRETCH_S, most_s)
    count = max(1, int(most_s / stretch_s))
    step_s = (end_s - start_s) / count
    middles = [start_s + (index + 0.5) * step_s for index in range(count)]
    return [(middle - stretch_s / 2, middle + stretch_s / 2) for middle in middles]
