"""The training corpus: high pictures, and the low ones a decoder really gave for them.

Each item is a short clip (or a still) held twice on disk: `high` uint8 [k, H, W]
and `low` uint8 [variants, k, H/2, W/2], one variant per degradation. All low
pictures but the clean ones have been through libx264 and its decoder, because a
network trained on clean input does little for compressed input.
"""

import hashlib
import json
from dataclasses import asdict
from multiprocessing import Pool
from pathlib import Path

import numpy as np

from . import contract, media, metrics, scenes, sources

SCENE_FRAMES = 30
# Decoded pictures kept of a scene: enough to hold I, P and B pictures of all ages, few enough to stay small.
KEPT_FRAMES = 6
SCENE_MIX = {"photograph": 0.56, "tiled_world": 0.2, "corridor": 0.16, "desktop": 0.08}
PRESETS = ["superfast", "veryfast", "veryfast", "faster", "fast", "medium", "medium", "slow"]
# FFmpeg's default rules; softer ones would teach the networks to sharpen too much.
DOWNSCALERS = ["bicubic"] * 7 + ["lanczos"] * 2 + ["area"]
# Much real video holds less detail than its size has room for (upscaled, out of focus, filtered, coded before):
# without such pictures the networks sharpen what was never sharp and lose to Lanczos.
SOFT_SHARE = {"photograph": 0.55, "tiled_world": 0.15, "corridor": 0.15, "desktop": 0.1, "still": 0.25}
MASTERED_SHARE = 0.35  # went through an encoder at full size before, as an origin's own source did


def _even_low(frames):
    """Cropped so that half the size is even too (libx264 takes even sizes only)."""
    width, height = frames.width & ~3, frames.height & ~3
    if (width, height) == (frames.width, frames.height):
        return frames
    return media.frames_from_luma(np.ascontiguousarray(frames.luma[:, :height, :width]))


def _aged(rng, frames, kind):
    """Pictures as an origin might hold them: perhaps softer than their size, perhaps coded before."""
    if rng.random() < SOFT_SHARE[kind]:
        share = rng.uniform(0.48, 0.92)
        small = (round(frames.width * share / 2) * 2, round(frames.height * share / 2) * 2)
        down, up = (str(flags) for flags in rng.choice(["bicubic", "lanczos", "area", "bilinear"], 2))
        frames = media.scale(media.scale(frames, *small, down), frames.width, frames.height, up)
    if kind != "still" and rng.random() < MASTERED_SHARE:
        frames, _ = media.encode_decode(
            frames, media.Encode(preset="veryfast", crf=int(rng.integers(15, 25)), keyint=48)
        )
    return frames


def _degradations(rng, kind):
    """The variants of one item: (downscaler, Encode or None for clean)."""
    downscalers = rng.choice(DOWNSCALERS, 3)
    fps = float(rng.choice([20, 24, 25, 30, 30, 60]))

    def coded(low, high):
        return media.Encode(
            preset=str(rng.choice(PRESETS)),
            crf=int(rng.integers(low, high)),
            keyint=int(rng.choice([12, 24, 48, 250])),
            fps=fps,
            tune=str(rng.choice(["", "", "", "animation", "film"])),
            bframes=int(rng.choice([-1, -1, 0, 2])),
        )

    if kind == "still":
        return [("bicubic", None), (str(downscalers[0]), None), (str(downscalers[1]), coded(18, 34))]
    return [
        (str(downscalers[0]), coded(15, 24)),
        (str(downscalers[1]), coded(22, 30)),
        (str(downscalers[2]), coded(28, 37)),
    ]


def _clip_degradations(rng, width, height, fps):
    """Rates for a whole real clip, in proportion to 600 kbit/s at 640x360 and 30 frames a second."""
    share = (width * height) / (1280 * 720) * (fps / 30) ** 0.5
    rates = [int(kbps * share * rng.uniform(0.85, 1.2)) for kbps in (330, 600, 600, 1100)]
    presets = ["veryfast", "medium", "superfast", "medium"]
    return [
        (
            str(rng.choice(DOWNSCALERS)),
            media.Encode(preset=preset, kbps=kbps, fps=fps, keyint=int(rng.choice([48, 96, 250]))),
        )
        for kbps, preset in zip(rates, presets, strict=True)
    ]


def _store(folder, name, kind, high, degradations, keep):
    """Degrades `high` in every way, keeps the frames `keep`, writes the item; gives its index entry."""
    high = _even_low(high)
    lows, notes, errors = [], [], []
    for downscaler, encode in degradations:
        low = media.scale(high, high.width // 2, high.height // 2, downscaler)
        kbps = 0.0
        if encode is not None:
            low, kbps = media.encode_decode(low, encode)
        kept = media.Frames(np.ascontiguousarray(low.raw[keep]), low.width, low.height)
        plain = media.scale(kept, high.width, high.height, "bicubic").luma
        errors.append([metrics.mse(plain[i], high.luma[k]) for i, k in enumerate(keep)])
        lows.append(kept.luma.copy())
        notes.append(
            {
                "downscaler": downscaler,
                "kbps": round(kbps),
                **({"encode": asdict(encode)} if encode else {"clean": True}),
            }
        )
    np.save(folder / f"{name}.high.npy", high.luma[keep])
    np.save(folder / f"{name}.low.npy", np.stack(lows))
    return {"name": name, "kind": kind, "variants": notes, "plain_mse": np.round(errors, 3).tolist()}


_ART = None


def _make_scene(task):
    folder, index, seed = task
    torch_threads_one()
    rng = np.random.default_rng([seed, index])
    kind = str(rng.choice(list(SCENE_MIX), p=list(SCENE_MIX.values())))
    width, height = (int(v) for v in ((1280, 720), (1280, 720), (960, 540), (848, 480))[int(rng.integers(4))])
    frames = media.frames_from_luma(scenes.KINDS[kind](rng, _ART, SCENE_FRAMES, width, height))
    keep = np.sort(rng.choice(SCENE_FRAMES, KEPT_FRAMES, replace=False))
    frames = _aged(rng, frames, kind)
    return _store(Path(folder), f"scene{index:04d}", kind, frames, _degradations(rng, kind), keep)


def torch_threads_one():
    """Two workers with two threads each would fight over two cores."""
    import torch

    torch.set_num_threads(1)


def _make_still(task):
    folder, index, seed, luma = task
    rng = np.random.default_rng([seed, 1, index])
    frames = _aged(rng, media.frames_from_luma(luma[None]), "still")
    return _store(Path(folder), f"still{index:04d}", "still", frames, _degradations(rng, "still"), [0])


def _make_clip(task):
    folder, name, seed, path, crop, width, soft = task
    rng = np.random.default_rng([seed, 2, len(name), int(hashlib.sha256(name.encode()).hexdigest()[:6], 16)])
    native = tuple(int(v) for v in crop.split(":")[:2]) if crop else media.probe_size(path)
    height = round(native[1] * width / native[0] / 4) * 4
    frames = media.read_video(path, width & ~3, height, crop)
    if soft:
        small = media.scale(frames, round(width * 0.3) * 2, round(height * 0.3) * 2, "bicubic")
        frames = media.scale(small, frames.width, frames.height, "bicubic")
    keep = np.arange(2, len(frames), max(1, len(frames) // 90))
    return _store(Path(folder), name, "clip", frames, _clip_degradations(rng, width, height, 25.0), keep)


def build(folder, scratch, shared, seed=1, scene_count=160, workers=2, say=print):
    """Makes the corpus in `folder`; writes `index.json` last, so that an unfinished corpus is never taken."""
    global _ART
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(seed)
    _ART, used, lumas = sources.load_art(scratch, shared, rng)
    say(
        f"art: {len(_ART.stills)} stills, {len(_ART.sprites)} sprites, "
        f"{len(_ART.tiles)} tiles, {len(_ART.texts)} sheets of text"
    )
    clips = []
    for source in sources.listing():
        if source["kind"] == "clip":
            for path in used[source["id"]]:
                native = int(source["crop"].split(":")[0]) if "crop" in source else media.probe_size(path)[0]
                for width, soft in ((native, False), (native * 3 // 4, False), (native, True)):
                    name = f"{source['id']}-{width & ~3}{'-soft' if soft else ''}"
                    clips.append((str(folder), name, seed, str(path), source.get("crop"), width & ~3, soft))
    stills = [_for_training(luma) for luma in lumas if min(luma.shape) >= 132]
    tasks = [(_make_clip, task) for task in clips]
    tasks += [(_make_still, (str(folder), index, seed, luma)) for index, luma in enumerate(stills)]
    tasks += [(_make_scene, (str(folder), index, seed)) for index in range(scene_count)]
    entries = []
    with Pool(workers) as pool:
        for done, entry in enumerate(pool.imap_unordered(_call, tasks), 1):
            entries.append(entry)
            if done % 10 == 0 or done == len(tasks):
                say(f"corpus: {done} of {len(tasks)}")
    described = {
        source["id"]: {
            "licence": source["licence"],
            "package": source.get("package", source.get("path")),
            "files": len(used[source["id"]]),
            "sha256": sources.digest(used[source["id"]]),
        }
        for source in sources.listing()
    }
    index = {"seed": seed, "sources": described, "items": sorted(entries, key=lambda entry: entry["name"])}
    (folder / "index.json").write_text(json.dumps(index, indent=1), encoding="utf-8")
    return index


def _call(task):
    function, argument = task
    return function(argument)


def _for_training(luma):
    """A still small enough for its pixels to be sharp, sides multiples of four."""
    height, width = luma.shape
    share = 2 if width > 1400 else 1
    frames = media.frames_from_luma(np.ascontiguousarray(luma[: height & ~3, : width & ~3][None]))
    return (
        media.scale(frames, width // share & ~3, height // share & ~3, "area").luma[0] if share > 1 else frames.luma[0]
    )


def store_pairs(folder, name, kind, high, lows, notes, scale=contract.SCALE):
    """Writes one item of pairs that somebody else made; gives its index entry.

    `high` is uint8 [k, H, W], `lows` one uint8 [k, H / scale, W / scale] a variant, `notes` one dictionary a variant
    about how it came to be. All sides must be even. Raises ValueError where the sizes do not fit.
    """
    count, height, width = high.shape
    errors = []
    for low in lows:
        if low.shape != (count, height // scale, width // scale) or height % scale or width % scale:
            raise ValueError(f"{name}: {low.shape} is not {high.shape} divided by {scale}")
        plain = media.scale(media.frames_from_luma(np.ascontiguousarray(low)), width, height, "bicubic").luma
        errors.append([metrics.mse(mine, true) for mine, true in zip(plain, high, strict=True)])
    np.save(Path(folder) / f"{name}.high.npy", high)
    np.save(Path(folder) / f"{name}.low.npy", np.stack(lows))
    return {"name": name, "kind": kind, "variants": list(notes), "plain_mse": np.round(errors, 3).tolist()}


def write_index(folder, items, scale=contract.SCALE, **facts):
    """Makes a folder of items a corpus: `index.json`, written last and at once."""
    index = {**facts, "scale": scale, "items": sorted(items, key=lambda item: item["name"])}
    partial = Path(folder) / "index.partial"
    partial.write_text(json.dumps(index, indent=1), encoding="utf-8")
    partial.rename(Path(folder) / "index.json")
    return index


class Corpus:
    """Random aligned patches from a built corpus: the generic one, or pairs of one cluster."""

    # Shares of a batch by kind in the generic corpus. Coded video rules; clean stills keep the networks honest on
    # clean input.
    SHARES = {"clip": 0.34, "photograph": 0.24, "tiled_world": 0.14, "corridor": 0.12, "still": 0.1, "desktop": 0.06}

    def __init__(self, folder):
        folder = Path(folder)
        self.index = json.loads((folder / "index.json").read_text(encoding="utf-8"))
        self.scale = self.index.get("scale", contract.SCALE)
        self.items = {}
        for entry in self.index["items"]:
            # Plain arrays over the mapped files: numpy's own memmap objects are slow to cut.
            high = np.asarray(np.load(folder / f"{entry['name']}.high.npy", mmap_mode="r"))
            low = np.asarray(np.load(folder / f"{entry['name']}.low.npy", mmap_mode="r"))
            self.items.setdefault(entry["kind"], []).append((low, high, np.asarray(entry["plain_mse"])))
        if not self.items:
            raise ValueError(f"{folder}: a corpus without items")
        # Kinds that the generic corpus does not know (pairs of a cluster) share as if each were one whole corpus.
        self.share_of = {kind: self.SHARES.get(kind, 1.0) for kind in sorted(self.items)}
        self.kinds = list(self.share_of)
        shares = np.array(list(self.share_of.values()))
        self.cumulative = np.cumsum(shares / shares.sum())
        # An item's chance follows how many pictures it has; in the generic corpus less than in full, because its clips
        # are of very unequal length and none must be seen too often.
        self.chances = {}
        for kind, items in self.items.items():
            weights = np.array([len(high) for _, high, _ in items], float) ** (0.75 if kind in self.SHARES else 1.0)
            self.chances[kind] = np.cumsum(weights / weights.sum())

    @property
    def plain_mse(self):
        """Mean squared error of the plain scaler over all pairs, in code values squared."""
        return float(np.mean([np.mean(plain) for items in self.items.values() for _, _, plain in items]))

    def digest(self):
        """Identity of the corpus: of its index, which names every source's digest and every encode."""
        return hashlib.sha256(json.dumps(self.index, sort_keys=True).encode()).hexdigest()

    def batch(self, rng, count, size):
        """`count` patches of `size` low pixels: (low, high, plain).

        low uint8 [count, 1, size, size], high uint8 [count, 1, scale size, scale size], plain MSE float32 [count].
        """
        large = self.scale * size
        low = np.empty((count, 1, size, size), np.uint8)
        high = np.empty((count, 1, large, large), np.uint8)
        plain = np.empty(count, np.float32)
        for row, draws in enumerate(rng.random((count, 9))):
            plain[row] = self._patch(draws, size, low[row, 0], high[row, 0])
        return low, high, plain

    def _patch(self, draws, size, low_out, high_out):
        """Fills in one patch from nine draws of 0..1; gives the plain scaler's error on its whole frame."""

        def below(draw, count):
            return int(draw * count)

        scale = self.scale
        kind = self.kinds[int(np.searchsorted(self.cumulative[:-1], draws[0], side="right"))]
        item = int(np.searchsorted(self.chances[kind][:-1], draws[1], side="right"))
        lows, highs, plain = self.items[kind][item]
        variant, frame = below(draws[2], lows.shape[0]), below(draws[3], lows.shape[1])
        low, high = lows[variant, frame], highs[frame]
        side, best = min(size, *low.shape), None
        # The more detailed of two places: flat sky teaches little. One more draw, not more, keeps the mix natural.
        for down, right in (draws[4:6], draws[6:8]):
            y, x = below(down, low.shape[0] - side + 1), below(right, low.shape[1] - side + 1)
            cut = high[scale * y : scale * (y + side), scale * x : scale * (x + side)]
            detail = float(cut[:: 2 * scale, :: 2 * scale].astype(np.float32).std())
            if best is None or detail > best[0]:
                best = (detail, low[y : y + side, x : x + side], cut)
        _, low, high = best
        if side < size:
            low = np.pad(low, ((0, size - side), (0, size - side)), mode="symmetric")
            rest = scale * (size - side)
            high = np.pad(high, ((0, rest), (0, rest)), mode="symmetric")
        # One cluster has an up and a left: text, a HUD, the light's side. A small network should not spend itself on
        # the rest.
        turn = below(draws[8], 8) if kind in self.SHARES else 0
        if turn & 4:
            low, high = low.T, high.T
        if turn & 1:
            low, high = low[::-1], high[::-1]
        if turn & 2:
            low, high = low[:, ::-1], high[:, ::-1]
        low_out[:], high_out[:] = low, high
        return plain[variant, frame]
