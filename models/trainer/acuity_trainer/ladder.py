"""A stream's ladder: two of its renditions, and the segments of both that show the same time.

Everything fetched stays in a folder, so a killed run goes on where it was; the
playlists are kept too, as they were at first sight, so that a live window that has
moved on does not change what a run is about.
"""

import hashlib
import json
import subprocess
import sys
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

from . import decode, media, playlist
from .fetch import FetchError, GoneError, as_uri, get, short

# Held out of training: the newest tenth, at least this long.
HELD_OUT_SHARE = 0.1
HELD_OUT_LEAST_S = 2.0
# Of a long stream, stretches of this length are taken, evenly spread.
STRETCH_S = 12.0
# Playlist times are rounded; what differs by less is the same time.
SAME_TIME_S = 0.02


class LadderError(RuntimeError):
    """The ladder cannot be learned from; the message says why."""


@dataclass(frozen=True)
class Choice:
    """The two renditions of a ladder: media playlists' URIs, texts, and heights."""

    master: str
    low_uri: str
    high_uri: str
    low_text: str
    high_text: str
    low_height: int
    high_height: int


@dataclass(frozen=True)
class Stretch:
    """Segments that follow each other: low ones, and the high ones of the same time."""

    held_out: bool
    start_s: float
    end_s: float
    low: tuple
    high: tuple


def choose(source, low_height, high_height):
    """Reads the multivariant playlist at `source` (URL or path) and both chosen media playlists."""
    data, master = get(as_uri(source))
    text = data.decode("utf-8", errors="replace")
    if not playlist.is_multivariant(text):
        raise LadderError(f"{short(master)} lists no variants: give the multivariant (master) playlist")
    low = high = None
    heights, silent = {}, []
    for variant in playlist.multivariant(text, master):
        if variant.height:
            heights.setdefault(variant.height, []).append(variant)
        else:
            silent.append(variant)
    for variant in silent if not {low_height, high_height} <= set(heights) else []:
        # RESOLUTION is optional: look at the pictures themselves.
        try:
            heights.setdefault(_probed_height(variant.uri, master), []).append(variant)
        except (FetchError, media.MediaError, playlist.PlaylistError):
            continue
    known = ", ".join(str(height) for height in sorted(heights)) or "none that can be read"
    for wanted in (low_height, high_height):
        if wanted not in heights:
            raise LadderError(f"{short(master)} has no variant of height {wanted}; its heights are {known}")
    # Several variants of one height differ in rate: the leanest low one is what an edge saves most with, and the best
    # high one is nearest to the truth.
    low = min(heights[low_height], key=lambda variant: variant.bandwidth)
    high = max(heights[high_height], key=lambda variant: variant.bandwidth)
    (low_data, low_uri), (high_data, high_uri) = (get(variant.uri, came_from=master) for variant in (low, high))
    texts = [data.decode("utf-8", errors="replace") for data in (low_data, high_data)]
    return Choice(master, low_uri, high_uri, *texts, low_height, high_height)


def _probed_height(uri, master):
    data, found = get(uri, came_from=master)
    first = playlist.media(data.decode("utf-8", errors="replace"), found).segments[0]
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "first"
        path.write_bytes(_whole(first, found))
        return decode.probe(path).height


def _whole(segment, came_from):
    """A segment's bytes, decrypted, its init segment before it."""
    parts = [segment.init] if segment.init else []
    data = b"".join(get(part.uri, part.offset, part.length, came_from)[0] for part in parts)
    body = get(segment.piece.uri, segment.piece.offset, segment.piece.length, came_from)[0]
    return data + (_decrypted(body, segment, came_from) if segment.key else body)


def _decrypted(body, segment, came_from):
    key, _ = get(segment.key.uri, came_from=came_from)
    if len(key) != 16:
        raise FetchError(f"{short(segment.key.uri)}: an AES-128 key has 16 bytes, not {len(key)}")
    iv = segment.key.iv or segment.sequence.to_bytes(16, "big")
    with tempfile.NamedTemporaryFile() as coded:
        coded.write(body)
        coded.flush()
        # FFmpeg's data demuxer and muxer pass bytes through as they are: a cipher without another package.
        command = [*media.QUIET, "-f", "data", "-key", key.hex(), "-iv", iv.hex(), "-i", f"crypto:{coded.name}"]
        command += ["-map", "0", "-c", "copy", "-f", "data", "-"]
        done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0:
        raise FetchError(f"{short(segment.piece.uri)} cannot be decrypted")
    return done.stdout


def _shift_s(low, high):
    """What to add to the high playlist's times to get the low one's."""
    if low.ended and high.ended:
        return 0.0
    if low.segments[0].wall_clock_s is not None and high.segments[0].wall_clock_s is not None:
        clocks = [part.segments[0].wall_clock_s - part.segments[0].start_s for part in (low, high)]
        return clocks[1] - clocks[0]
    by_sequence = {segment.sequence: segment for segment in high.segments}
    for segment in low.segments:
        if other := by_sequence.get(segment.sequence):
            return segment.start_s - other.start_s
    raise LadderError("the two renditions' live windows have no segment in common; try again")


def boundary_s(segments):
    """Where the held-out part begins: a segment's start, so that no segment is in both."""
    end_s = segments[-1].end_s
    target_s = min(end_s - segments[0].start_s, 1e12) * (1 - HELD_OUT_SHARE) + segments[0].start_s
    target_s = min(target_s, end_s - HELD_OUT_LEAST_S)
    return max((segment.start_s for segment in segments if segment.start_s <= target_s + SAME_TIME_S), default=end_s)


def stretches(low, high, most_s, gone=frozenset()):
    """Stretches of matching segments, training ones first, at most about `most_s` seconds of video in all.

    `gone` holds ("low" or "high", sequence) of segments that the origin no longer has.
    """
    shift_s, split_s = _shift_s(low, high), boundary_s(low.segments)
    found = []
    for held_out in (False, True):
        part = [segment for segment in low.segments if (segment.start_s >= split_s - SAME_TIME_S) == held_out]
        share_s = most_s * (HELD_OUT_SHARE if held_out else 1 - HELD_OUT_SHARE)
        part = [s for s in _thinned(part, max(share_s, HELD_OUT_LEAST_S)) if ("low", s.sequence) not in gone]
        for run in _runs(part):
            start_s, end_s = run[0].start_s, run[-1].end_s
            matching = [
                segment
                for segment in high.segments
                if ("high", segment.sequence) not in gone
                and segment.start_s + shift_s < end_s - SAME_TIME_S
                and segment.end_s + shift_s > start_s + SAME_TIME_S
                # a high segment that reaches over the boundary belongs to what is held out
                and (held_out or segment.end_s + shift_s <= split_s + SAME_TIME_S)
            ]
            # timestamps jump where the epoch changes: the longest piece of one epoch is kept
            pieces = _runs(matching)
            if pieces:
                best = max(pieces, key=lambda piece: piece[-1].end_s - piece[0].start_s)
                found.append(Stretch(held_out, start_s, end_s, tuple(run), tuple(best)))
    if not any(not stretch.held_out for stretch in found) or not any(stretch.held_out for stretch in found):
        total_s = low.segments[-1].end_s - low.segments[0].start_s
        raise LadderError(
            f"{len(low.segments)} segments of {total_s:.1f} s in all are too few: "
            f"the newest {HELD_OUT_LEAST_S:.0f} s are held out, and something must be left to train on"
        )
    return found


def _thinned(segments, most_s):
    """All of them if they last no longer than `most_s`, else stretches evenly spread."""
    total_s = sum(segment.duration_s for segment in segments)
    if total_s <= most_s or not segments:
        return segments
    stretch_s = min(STRETCH_S, most_s)
    count = max(1, int(most_s / stretch_s))
    first_s, span_s = segments[0].start_s, segments[-1].end_s - segments[0].start_s
    begins = [first_s + (index + 0.5) * span_s / count - stretch_s / 2 for index in range(count)]
    return [
        segment
        for segment in segments
        if any(begin <= segment.start_s + segment.duration_s / 2 < begin + stretch_s for begin in begins)
    ]


def _runs(segments):
    """Groups of segments that follow each other in one epoch with one init segment."""
    groups = []
    for segment in segments:
        last = groups[-1][-1] if groups else None
        if (
            last
            and segment.sequence == last.sequence + 1
            and (segment.epoch, segment.init) == (last.epoch, last.init)
        ):
            groups[-1].append(segment)
        else:
            groups.append([segment])
    return groups


class Fetched:
    """A ladder's stretches and their segments on disk."""

    def __init__(self, folder, choice, parts):
        self.folder, self.choice, self.stretches = Path(folder), choice, parts

    def path(self, side, segment):
        return self.folder / side / f"{segment.sequence:08d}-{segment.epoch}.segment"

    def places(self, side, segment):
        """Where a segment is, and what says that the origin does not have it any more."""
        path = self.path(side, segment)
        return path, path.with_suffix(".gone")

    def digests(self, stretch):
        """{side: [SHA-256 of each segment as stored]}."""
        return {
            side: [hashlib.sha256(self.path(side, segment).read_bytes()).hexdigest() for segment in segments]
            for side, segments in (("low", stretch.low), ("high", stretch.high))
        }

    def join(self, stretch, side, path):
        """Writes a stretch's segments of one side behind each other, init segment first, for the decoder."""
        segments = stretch.low if side == "low" else stretch.high
        with Path(path).open("wb") as out:
            if segments[0].init:
                out.write(self.init_path(side, segments[0].init).read_bytes())
            for segment in segments:
                out.write(self.path(side, segment).read_bytes())

    def init_path(self, side, piece):
        name = hashlib.sha256(f"{piece.uri} {piece.offset} {piece.length}".encode()).hexdigest()[:16]
        return self.folder / side / f"{name}.init"


def fetch(source, low_height, high_height, folder, most_s, say=print):
    """Fetches what `stretches` names into `folder`; what is there already stays. Gives a Fetched."""
    folder = Path(folder)
    snapshot = folder / "ladder.json"
    if snapshot.exists():
        choice = Choice(**json.loads(snapshot.read_text(encoding="utf-8")))
    else:
        choice = choose(source, low_height, high_height)
        folder.mkdir(parents=True, exist_ok=True)
        _write(snapshot, json.dumps(asdict(choice)).encode())
    low, high = playlist.media(choice.low_text, choice.low_uri), playlist.media(choice.high_text, choice.high_uri)
    fetched = Fetched(folder, choice, stretches(low, high, most_s))
    wanted = []
    for side, uri in (("low", choice.low_uri), ("high", choice.high_uri)):
        (folder / side).mkdir(exist_ok=True)
        segments = {s.sequence: s for stretch in fetched.stretches for s in getattr(stretch, side)}
        wanted += [(side, segment, uri) for segment in segments.values()]
    missing = [item for item in wanted if not any(map(Path.exists, fetched.places(*item[:2])))]
    seconds = sum(stretch.end_s - stretch.start_s for stretch in fetched.stretches)
    say(
        f"{short(choice.master)}: {seconds:.1f} s in {len(wanted)} segments of {low_height} and {high_height} lines, "
        f"{len(wanted) - len(missing)} of them here already"
    )
    done_bytes = 0
    for number, (side, segment, uri) in enumerate(missing, 1):
        if segment.init and not fetched.init_path(side, segment.init).exists():
            init = get(segment.init.uri, segment.init.offset, segment.init.length, uri)[0]
            _write(fetched.init_path(side, segment.init), init)
        try:
            body = get(segment.piece.uri, segment.piece.offset, segment.piece.length, uri)[0]
        except GoneError as gone:
            say(f"left out: {gone}")
            _write(fetched.places(side, segment)[1], b"")
            continue
        if segment.key:
            body = _decrypted(body, segment, uri)
        _write(fetched.path(side, segment), body)
        done_bytes += len(body)
        _progress(number, len(missing), done_bytes)
    gone = {(side, s.sequence) for side, s, _ in wanted if not fetched.path(side, s).exists()}
    return Fetched(folder, choice, stretches(low, high, most_s, gone)) if gone else fetched


def _progress(number, count, done_bytes):
    if sys.stderr.isatty():
        end = "\n" if number == count else "\r"
        print(f"fetching {number}/{count}, {done_bytes / 1e6:.1f} MB ", end=end, file=sys.stderr, flush=True)


def _write(path, data):
    """A file is there whole or not at all."""
    partial = path.with_suffix(".partial")
    partial.write_bytes(data)
    partial.rename(path)
