"""From sources to what an interpolation network is trained on: a corpus, and the held-out part beside it.

    folder/ladder0/       segments as fetched (`ladder`)
    folder/corpus/        training material (`triplets.Corpus`)
    folder/heldout/       the newest tenth of every source, in the same form
    folder/manifest.json  what it all is; written last, so that half-made material is never taken

Of every video the pictures are taken, those left out that only repeat the one before (film slowed to 60 a second holds
more repeats than pictures), brought to the height that the edge will see, and every second one is coded as an origin's
encoder would: at rates of a ladder's lower end. Nothing is learned across a cut.
"""

import hashlib
import json
import tempfile
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np

from .. import decode, media, metrics, pairs, testlist
from . import triplets

# (preset, kbit/s) for 640x360 at 30 coded pictures a second; 0: not compressed.
RATES = [
    ("medium", 400),
    ("medium", 600),
    ("medium", 600),
    ("veryfast", 600),
    ("medium", 900),
    ("medium", 1400),
    ("", 0),
]
KEYINT_S = 2.0
# Decoded and coded at once.
PART_S = 8.0
# Two pictures whose means of 16x16 pixels are this far apart on average are of different scenes.
CUT_CODES = 22.0
LEAST_TRIPLETS = 12
# A picture repeats the one before if it differs less than this from it (mean squared error, code values squared), and
# by less than such a part of what pictures so few places away differ.
REPEAT_MSE, REPEAT_SHARE, REPEAT_REACH = 2.0, 0.05, 2


class MaterialError(RuntimeError):
    """The sources cannot be learned from; the message says why."""


@dataclass(frozen=True)
class Terms:
    """How material is made: `height` of the pictures, `rate` of the coded ones a second (0: half the source's)."""

    height: int = 360
    rate: float = 0.0
    seed: int = 1


def size_for(width, height, wanted):
    """(width, height) of about `wanted` lines, both even; smaller pictures stay as they are."""
    if height <= wanted:
        return width & ~1, height & ~1
    return round(width * wanted / height / 2) * 2, wanted & ~1


def coding(fps, size, preset, kbps):
    """The Encode of one rate of a ladder for pictures of `size` at `fps`; None for none."""
    if not kbps:
        return None
    share = (size[0] * size[1] / (640 * 360)) ** 0.75 * (fps / 30) ** 0.5
    return media.Encode(preset=preset, kbps=round(kbps * share), fps=fps, keyint=max(2, round(KEYINT_S * fps)))


def is_cut(first, second):
    """Are two lumas of different scenes?"""
    means = [pairs.block_means(luma, 16).astype(np.float32) for luma in (first, second)]
    return float(np.abs(means[0] - means[1]).mean()) > CUT_CODES


def differing(frames):
    """`frames` without those that repeat the one before amid motion: film slowed to a higher rate by repeating.

    Slow motion and stillness stay as they are; there the neighbours differ as little.
    """
    lumas = frames.luma
    changes = np.array([0.0] + [metrics.mse(a, b) for a, b in zip(lumas, lumas[1:], strict=False)])
    padded = np.pad(changes[1:], (1 + REPEAT_REACH, REPEAT_REACH), mode="edge")
    around = np.lib.stride_tricks.sliding_window_view(padded, 2 * REPEAT_REACH + 1).max(1)
    repeats = (changes < REPEAT_SHARE * around) & (changes < REPEAT_MSE)
    repeats[0] = False
    return media.Frames(np.ascontiguousarray(frames.raw[~repeats]), frames.width, frames.height)


def stored(folder, name, frames, fps, terms, encode, facts):
    """Codes Frames at the low rate and puts an item; its entry, or None where too little is left of it.

    `encode` is (preset, kbit/s) for 640x360 at 30 a second.
    """
    distinct = differing(frames)
    if len(distinct) < 2 * LEAST_TRIPLETS:
        return None
    fps *= len(distinct) / len(frames)
    step = max(1, round(fps / (2 * terms.rate))) if terms.rate else 1
    low_fps = fps / (2 * step)
    coded, middle, kbps = triplets.decimated(distinct, step, coding(low_fps, (frames.width, frames.height), *encode))
    count = len(middle)
    whole = [index for index in range(count) if not is_cut(coded.luma[index], coded.luma[index + 1])]
    if len(whole) < LEAST_TRIPLETS:
        return None
    told = {"kbps": round(kbps), "fps": round(low_fps, 3), "repeats": len(frames) - len(distinct), **facts}
    if len(whole) < count:
        told["whole"] = whole
    return triplets.put(folder, name, coded.luma, middle.luma, told)


def parts(start_s, end_s):
    """[(from, to)] of at most PART_S, none of them shorter than a second."""
    count = max(1, round((end_s - start_s) / PART_S))
    edges = np.linspace(start_s, end_s, count + 1)
    return [(float(a), float(b)) for a, b in zip(edges, edges[1:], strict=False) if b - a >= 1.0]


def _span(span, number, folder, terms, scratch):
    """The items of one stretch of a source."""
    path = span.files(scratch)[1]
    stream = decode.probe(path)
    if not stream.fps:
        raise MaterialError(f"{span.name}: the video does not say how many pictures a second it has")
    size = size_for(stream.width, stream.height, terms.height)
    start_s, end_s = (span.start_s, span.end_s) if span.cut else (0.0, span.duration_s)
    rng = np.random.default_rng([0 if span.held_out else terms.seed, number, round(span.start_s * 1000)])
    items = []
    for index, (begin, end) in enumerate(parts(start_s, end_s)):
        limit = round((end - begin) * stream.fps)
        frames = media.read_video(path, *size, start_s=begin, limit=limit)
        # Held out is what most ladders' 360 lines look like; trained on is all of them.
        encode = ("medium", 600) if span.held_out else RATES[int(rng.integers(len(RATES)))]
        facts = {
            "source": number,
            "start_s": round(span.start_s + begin - start_s, 3),
            "seconds": round(end - begin, 3),
        }
        facts["digests"] = [hashlib.sha256(luma.tobytes()).hexdigest()[:32] for luma in frames.luma]
        if not span.held_out:
            times = facts["start_s"] + np.arange(len(frames)) / stream.fps
            means = np.stack([pairs.block_means(luma, 16) for luma in frames.luma[::5]])
            testlist.refuse_pictures(times[::5], means, "the material")
        entry = stored(folder, f"{span.name}-{index:03d}", frames, stream.fps, terms, encode, facts)
        if entry:
            items.append(entry)
    return items


def identity(sources, terms, most_s):
    """What distinguishes one folder of material from another, eight characters."""
    told = [[[type(source).__name__, asdict(source)] for source in sources], asdict(terms), most_s]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()[:8]


def prepare(sources, terms, folder, most_s, say=print):
    """Fetches, codes and stores; the manifest, read back if `folder` has one.

    `sources` are `spans.Files` or `spans.Ladder`; their high side is the video. Raises MaterialError,
    TestMaterialError, LadderError, FetchError, SourceError, MediaError.
    """
    folder = Path(folder)
    done = folder / "manifest.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    items, facts = {False: [], True: []}, []
    for number, source in enumerate(sources):
        found = source.spans(number, folder, most_s, say)
        for digest in {digest for span in found for digest in span.digests["high"]}:
            testlist.refuse_file(digest, source.label())
        for span in found:
            with tempfile.TemporaryDirectory(dir=folder, prefix="looking-") as scratch:
                where = folder / ("heldout" if span.held_out else "corpus")
                items[span.held_out] += _span(span, number, where, terms, scratch)
        facts.append({
            "label": source.label(),
            "trained_s": [[round(s.start_s, 3), round(s.end_s, 3)] for s in found if not s.held_out],
            "held_out_s": [[round(s.start_s, 3), round(s.end_s, 3)] for s in found if s.held_out],
            "sha256": hashlib.sha256("".join(d for s in found for d in s.digests["high"]).encode()).hexdigest(),
        })  # fmt: skip
    forbidden = {digest for item in items[True] for digest in item["digests"]}
    items[False] = [item for item in items[False] if not forbidden & set(item["digests"])]
    for held_out, what in ((False, "to train on"), (True, "to measure on")):
        if not items[held_out]:
            raise MaterialError(f"nothing is left {what}: too short, or it does not move")
    for held_out, name in ((False, "corpus"), (True, "heldout")):
        triplets.finish(folder / name, items[held_out], sources=facts)
    manifest = {
        "sources": facts,
        "trained_triplets": sum(item["triplets"] for item in items[False]),
        "held_out_triplets": sum(item["triplets"] for item in items[True]),
        **asdict(terms),
    }
    partial = folder / "manifest.partial"
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.rename(done)
    return manifest
