"""From sources to what training reads: a checked corpus, and the held-out part beside it.

    folder/ladder0/       segments as fetched (`ladder`)
    folder/corpus/        training pairs (`corpus.Corpus`)
    folder/heldout/       pairs never trained on, in the same form
    folder/manifest.json  what it all is; written last, so that half-made material is never taken

The rule that nothing here may break: no held-out picture is ever in the corpus, and
nothing of the test set is in either. Both folders' indices name times and digest of
every picture; a training picture that is byte for byte a held-out one (a title, a black
frame) is left out.
"""

import contextlib
import hashlib
import json
import shutil
import sys
import tempfile
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np

from . import corpus, decode, pairs, testlist

# Pictures of the corpus: enough for an hour of training on two cores, and bounded on disk.
MOST_FRAMES = 1500
MOST_BYTES = 2 << 30
# Pictures that the held-out figures are the mean of, at most.
HELD_OUT_FRAMES = 240
HELD_OUT_BYTES = 1 << 29
HELD_OUT_LEAST_FRAMES = 15
# Pictures to an item of the corpus: what is held in memory at once.
ITEM_FRAMES = 48
# Video looked at of each source, unless asked otherwise.
MOST_S = 600.0


class MaterialError(RuntimeError):
    """The sources cannot be learned from; the message says why."""


def _within(pictures, origin_s, span):
    """The pictures of a span of a file, their times counted from the file's beginning."""
    for time_s, luma in pictures:
        if time_s - origin_s >= span.end_s:
            pictures.close()
            return
        if time_s - origin_s >= span.start_s:
            yield time_s - origin_s, luma


def _noting(pictures, times_s):
    """Passes pictures on and notes when they are shown."""
    for time_s, luma in pictures:
        times_s.append(time_s)
        yield time_s, luma


class _Picker:
    """Takes one picture out of every `stride`, at a random place: no rhythm of I, P and B pictures is met."""

    def __init__(self, stride, seed):
        self.stride, self.rng = max(1.0, stride), np.random.default_rng(seed)
        self.start = self.wanted = 0
        self._draw(0)

    def _draw(self, least):
        self.wanted = max(least, int(self.start + self.rng.random() * (self.stride - 1e-9)))

    def takes(self, index):
        if index != self.wanted:
            return False
        self.start += self.stride
        self._draw(index + 1)
        return True


class _Looked:
    """A span decoded once: features of all pairs, and the picked pictures, spilled to disk."""

    def __init__(self, span, number, folder):
        self.span, self.number, self.folder = span, number, folder
        self.features, self.digests, self.verdict = pairs.Features(), [], None
        self.picked, self.parts, self.alone, self.sizes = [], [], (0, 0), ()
        self._low, self._high = [], []

    def keep(self, index, low, high):
        self.picked.append(index)
        self._low.append(low)
        self._high.append(high)
        if len(self._low) == ITEM_FRAMES:
            self.spill()

    def spill(self):
        if self._low:
            path = self.folder / f"{self.span.name}-{len(self.parts):03d}"
            np.save(f"{path}.low.npy", np.stack(self._low))
            np.save(f"{path}.high.npy", np.stack(self._high))
            self.parts.append((path, self.picked[-len(self._low) :]))
            self._low, self._high = [], []

    def usable(self):
        """(name, times, low, high) of every spilled part, without what the verdict rules out; its files go."""
        for path, indices in self.parts:
            rows = [row for row, index in enumerate(indices) if self.verdict.good[index]]
            low, high = (np.load(f"{path}.{side}.npy", mmap_mode="r")[rows] for side in ("low", "high"))
            for side in ("low", "high"):
                Path(f"{path}.{side}.npy").unlink()
            yield path.name, [self.features.times_s[indices[row]] for row in rows], low, high


def digest_of(low, high):
    """Identity of one pair of Y planes."""
    return hashlib.sha256(high.tobytes() + low.tobytes()).hexdigest()[:32]


def look(span, number, scale, stride_s, seed, folder, shift_frames=0):
    """Decodes a span once, pairing as it goes; a _Looked. RefusedError where shapes or rates do not fit."""
    files = span.files(folder)
    low, high = (decode.probe(file) for file in files)
    size = pairs.check_sizes(low, high, scale)
    tolerance_s = 0.5 / (max(low.fps, high.fps) or 30.0)
    looked = _Looked(span, number, Path(folder))
    looked.sizes = (low, high)
    # Held-out pictures are the same whatever the seed.
    picker = _Picker(stride_s * (low.fps or 30.0), [0 if span.held_out else seed, number])
    shift_s = 2 * shift_frames * tolerance_s
    seen = [], []
    if span.cut:
        # A second early: seeking goes by the container's clock, which may start before the pictures do.
        early_s = max(0.0, span.start_s - 1.0)
        decoded = decode.pictures(files[0], start_s=early_s), decode.pictures(files[1], size, early_s)
        lows = _within(decoded[0], low.start_s, span)
        highs = _within(decoded[1], high.start_s + shift_s, span)
    else:
        decoded = decode.pictures(files[0]), decode.pictures(files[1], size)
        lows, highs = decoded[0], ((time_s - shift_s, luma) for time_s, luma in decoded[1])
    # Closed here whatever happens: FFmpeg must not outlive who reads from it.
    with contextlib.closing(decoded[0]), contextlib.closing(decoded[1]):
        stepped = pairs.in_step(_noting(lows, seen[0]), _noting(highs, seen[1]), tolerance_s)
        while True:
            try:
                time_s, low_luma, high_luma = next(stepped)
            except StopIteration as over:
                looked.alone = over.value
                break
            index = len(looked.features.times_s)
            looked.features.add(time_s, low_luma, high_luma, scale)
            if span.held_out:
                looked.digests.append(digest_of(low_luma, high_luma))
            if picker.takes(index):
                looked.keep(index, low_luma, high_luma)
            if index % 30 == 0 and sys.stderr.isatty():
                print(f"looking at {span.name}: {time_s:.0f} s ", end="\r", file=sys.stderr, flush=True)
    looked.spill()
    pairs.check_rates(*seen)
    return looked


@dataclass(frozen=True)
class _Terms:
    """On what terms sources are looked at; `strides_s` {held out or not: seconds between kept pictures}."""

    scale: int
    strides_s: dict
    seed: int
    folder: str
    correct_offset: bool
    for_training: bool


def _judged(span, number, terms):
    """A _Looked with its verdict; where an exact offset is to be corrected, decoded again with it taken away."""
    shift_frames = 0
    for _ in range(2):
        stride_s = terms.strides_s[span.held_out]
        looked = look(span, number, terms.scale, stride_s, terms.seed, terms.folder, shift_frames)
        try:
            looked.verdict = pairs.examine(looked.features, looked.sizes[0].width)
            break
        except pairs.RefusedError as refused:
            if not (terms.correct_offset and refused.lag_frames) or shift_frames:
                raise
            shift_frames = refused.lag_frames
    if terms.for_training:
        testlist.refuse_pictures(looked.features.times_s, looked.features.high, "the material")
    return looked, shift_frames


class _Source:
    """One source, looked at: its usable spans and what the manifest tells of it."""

    def __init__(self, source, number, found, terms, say):
        self.label, self.number, self.looked, refusals = source.label(), number, [], []
        shift = 0
        for span in found:
            try:
                looked, shift = _judged(span, number, terms)
                self.looked.append(looked)
            except pairs.RefusedError as refused:
                refusals.append((span, refused))
                trained_s = sum(span.duration_s for span in found if not span.held_out)
                refused_s = sum(span.duration_s for span, _ in refusals if not span.held_out)
                kept = any(look.span.held_out for look in self.looked)
                if refused_s > trained_s / 2 or (span.held_out and span is found[-1] and not kept):
                    raise pairs.RefusedError(refused.reason, f"{self.label}: {refused}") from refused
        for span, refused in refusals:
            say(f"{self.label}: {span.start_s:.1f} to {span.end_s:.1f} s left out: {refused}")
        for looked in self.looked:
            for start_s, end_s in looked.verdict.dropped:
                say(f"{self.label}: {start_s:.1f} to {end_s:.1f} s left out: the renditions differ there")
        verdicts = [looked.verdict for looked in self.looked]
        low, high = self.looked[0].sizes
        self.facts = {
            "label": self.label,
            "low": [low.width, low.height],
            "high": [high.width, high.height],
            "fps": round(low.fps, 3),
            "trained_s": [[round(span.start_s, 3), round(span.end_s, 3)] for span in found if not span.held_out],
            "held_out_s": [[round(span.start_s, 3), round(span.end_s, 3)] for span in found if span.held_out],
            "digests": {"trained": _digests(found, False), "held_out": _digests(found, True)},
            "sha256": _digest_of(_digests(found, False) + _digests(found, True)),
            "pictures": sum(len(looked.features.times_s) for looked in self.looked),
            "without_partner": [sum(looked.alone[side] for looked in self.looked) for side in (0, 1)],
            "correlation": round(min(verdict.correlation for verdict in verdicts), 4),
            "psnr_of_8x8_means_db": round(float(np.mean([verdict.psnr_db for verdict in verdicts])), 2),
            "corrected_frames": shift,
            "left_out_s": [list(span) for verdict in verdicts for span in verdict.dropped]
            + [[span.start_s, span.end_s] for span, _ in refusals],
        }


def _digests(found, held_out):
    """SHA-256 of every segment or file of the spans, low ones before high ones, each once."""
    spans_of = [span for span in found if span.held_out == held_out]
    return list(dict.fromkeys(digest for side in ("low", "high") for span in spans_of for digest in span.digests[side]))


def _digest_of(digests):
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def _strides_s(found, scale, folder):
    """{held out or not: seconds between two pictures that are kept}, so that disk and memory stay bounded."""
    first = decode.probe(found[0].files(folder)[0])
    pair_bytes = first.width * first.height * (1 + scale * scale)
    strides, kept_bytes = {}, 0
    for held_out, frames, most_bytes in ((False, MOST_FRAMES, MOST_BYTES), (True, HELD_OUT_FRAMES, HELD_OUT_BYTES)):
        seconds = sum(span.duration_s for span in found if span.held_out == held_out)
        frames = min(frames, max(HELD_OUT_LEAST_FRAMES, most_bytes // pair_bytes))
        strides[held_out] = seconds / frames
        kept_bytes += pair_bytes * min(frames, seconds * (first.fps or 30.0))
    # Beside the corpus, one item of what was looked at is there a second time.
    if (free_bytes := shutil.disk_usage(folder).free) < kept_bytes * 1.1 + ITEM_FRAMES * pair_bytes:
        raise MaterialError(
            f"{kept_bytes / 1e9:.1f} GB are needed for the pictures and {free_bytes / 1e9:.1f} GB are free: "
            "make room, or give another --scratch"
        )
    return strides


def _store(folder, looked, scale, forbidden):
    """Writes all usable pictures as items of a corpus below `folder`; ([items], pictures left out as held out)."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    items, left_out = [], 0
    for one in looked:
        for name, times_s, low, high in one.usable():
            digests = [digest_of(a, b) for a, b in zip(low, high, strict=True)]
            rows = [row for row, digest in enumerate(digests) if digest not in forbidden]
            left_out += len(digests) - len(rows)
            if not rows:
                continue
            notes = [{"source": one.number, "digests": [digests[row] for row in rows]}]
            notes[0]["times_s"] = [round(times_s[row], 4) for row in rows]
            items.append(corpus.store_pairs(folder, name, "ladder", high[rows], [low[rows]], notes, scale))
    return items, left_out


def pictures_of(index):
    """{source: [(time in seconds, digest)]} of a corpus' index that was made here."""
    found = {}
    for item in index["items"]:
        for note in item["variants"]:
            found.setdefault(note["source"], []).extend(zip(note["times_s"], note["digests"], strict=True))
    return found


def identity(sources, scale, seed, most_s, correct_offset):
    """What distinguishes one folder of material from another, eight characters."""
    told = [[type(source).__name__, asdict(source)] for source in sources]
    text = json.dumps([told, scale, seed, most_s, correct_offset], sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def prepare(sources, scale, folder, seed=1, most_s=MOST_S, correct_offset=False, only=None, say=print):
    """Fetches, checks and stores; the manifest, read back if `folder` has one.

    `only` "held out" leaves the rest aside, "all" takes everything as if it were held out: both to measure on, and then
    the test set is welcome.
    Raises RefusedError (renditions do not match), TestMaterialError, LadderError, FetchError, SourceError, MediaError.
    """
    folder = Path(folder)
    done = folder / "manifest.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    folder.mkdir(parents=True, exist_ok=True)
    found = [source.spans(number, folder, most_s, say) for number, source in enumerate(sources)]
    if only == "held out":
        found = [[span for span in part if span.held_out] for part in found]
    elif only:
        found = [[replace(span, held_out=True) for span in part] for part in found]
    else:
        for source, part in zip(sources, found, strict=True):
            for digest in {digest for span in part for side in span.digests.values() for digest in side}:
                testlist.refuse_file(digest, source.label())
    with tempfile.TemporaryDirectory(dir=folder, prefix="looking-") as spilled:
        strides_s = _strides_s([span for part in found for span in part], scale, spilled)
        looked_at = [
            _Source(source, number, part, _Terms(scale, strides_s, seed, spilled, correct_offset, not only), say)
            for number, (source, part) in enumerate(zip(sources, found, strict=True))
        ]
        looked = [one for source in looked_at for one in source.looked]
        held_out = [one for one in looked if one.span.held_out]
        # Every held-out picture counts here, also those that are not picked for measuring.
        forbidden = {digest for one in held_out for digest in one.digests}
        facts = [source.facts for source in looked_at]
        items, _ = _store(folder / "heldout", held_out, scale, set())
        kept = sum(len(item["variants"][0]["times_s"]) for item in items)
        if kept < HELD_OUT_LEAST_FRAMES:
            raise MaterialError(f"only {kept} pictures of the newest tenth can be used, too few to measure on")
        corpus.write_index(folder / "heldout", items, scale, sources=facts)
        manifest = {"scale": scale, "seed": seed, "sources": facts, "held_out_pictures": kept}
        if not only:
            trained = [one for one in looked if not one.span.held_out]
            items, left_out = _store(folder / "corpus", trained, scale, forbidden)
            if not items:
                raise MaterialError("no picture is left to train on")
            corpus.write_index(folder / "corpus", items, scale, sources=facts, seed=seed)
            manifest["trained_pictures"] = sum(len(item["variants"][0]["times_s"]) for item in items)
            manifest["left_out_as_held_out"] = left_out
    partial = folder / "manifest.partial"
    partial.write_text(json.dumps(manifest, indent=1), encoding="utf-8")
    partial.rename(done)
    for one in facts:
        say(
            f"{one['label']}: {one['pictures']} pictures paired, correlation {one['correlation']:.4f}; held out from "
            f"{one['held_out_s'][0][0]:.1f} s on" if one["held_out_s"] else f"{one['label']}: nothing held out"
        )
    return manifest
