#!/usr/bin/env python3
"""Makes a corpus that interpolation networks are trained on: of clips, of drawn scenes, or of both.

The shipped networks were trained on what this writes. Clips are taken as `learn --task interpolate` takes its sources,
but without a look at the list of test videos: name only what may be learned from.

    python3 recipes/triplets.py OUT [--rate 30] [--scenes 200 --art SCRATCH] CLIP[@START_S-END_S]...

Scenes are those of the generic upscaling corpus (its `fetch` must have been run into SCRATCH), drawn at 1280x720 and
brought to 640x360; they move by up to a tenth of the picture between two coded pictures. Run it from models/trainer. A
killed run goes on: items that are there are kept.
"""

import argparse
import hashlib
import json
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from acuity_trainer import corpus, decode, media, scenes, sources  # noqa: E402
from acuity_trainer.interpolate import material, triplets  # noqa: E402

SCENE_SIZE = (1280, 720)
# Coded pictures of a scene, less one; how many drawn pictures lie between two, at random.
SCENE_TRIPLETS = 10
SCENE_STEPS = (1, 1, 1, 2, 3)


def kept(folder, name, make):
    """The entry of an item: as it was made before, or now."""
    path = folder / f"{name}.json"
    if not path.exists():
        path.write_text(json.dumps(make()), encoding="utf-8")
    return json.loads(path.read_text(encoding="utf-8"))


def clip_items(folder, path, start_s, end_s, terms, number, fixed_kbps):
    """The items of a stretch of a file, one after the other."""
    stream = decode.probe(path)
    size = material.size_for(stream.width, stream.height, terms.height)
    for begin, end in material.parts(start_s, min(end_s or stream.duration_s, stream.duration_s)):
        name = f"{Path(path).stem}-{round(begin * 1000):06d}-{round(terms.rate) or 'all'}"
        rng = np.random.default_rng([terms.seed, number, round(begin * 1000)])
        chosen = material.RATES[int(rng.integers(len(material.RATES)))]
        encode = ("medium", fixed_kbps) if fixed_kbps else chosen

        def make(name=name, begin=begin, end=end, encode=encode):
            frames = media.read_video(path, *size, start_s=begin, limit=round((end - begin) * stream.fps))
            told = {"source": Path(path).name, "start_s": round(begin, 3), "seconds": round(end - begin, 3)}
            return material.stored(folder, name, frames, stream.fps, terms, encode, told)

        yield kept(folder, name, make)


def scene_items(folder, count, seed, art):
    """Items of drawn scenes."""
    for index in range(count):

        def make(index=index):
            rng = np.random.default_rng([seed, 7, index])
            kind = str(rng.choice(list(corpus.SCENE_MIX), p=list(corpus.SCENE_MIX.values())))
            step = int(rng.choice(SCENE_STEPS))
            lumas = scenes.KINDS[kind](rng, art, 2 * step * SCENE_TRIPLETS + 1, *SCENE_SIZE)
            frames = media.scale(media.frames_from_luma(lumas), SCENE_SIZE[0] // 2, SCENE_SIZE[1] // 2, "area")
            encode = material.RATES[int(rng.integers(len(material.RATES)))]
            # Short scenes: a rate would not have settled; quality instead, as rates of 400 to 1400 kbit/s give it.
            crf = {0: 0, 400: 30, 600: 27, 900: 24, 1400: 21}[encode[1]] + int(rng.integers(-2, 3))
            coding = media.Encode(preset=encode[0], crf=crf, fps=30.0, keyint=60) if encode[1] else None
            coded, middle, kbps = triplets.decimated(frames, step, coding)
            told = {"kind": kind, "kbps": round(kbps), "step": step}
            return triplets.put(folder, f"scene{index:04d}", coded.luma, middle.luma, told)

        yield kept(folder, f"scene{index:04d}", make)


def main():
    """Makes the corpus, or what is missing of it."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("out", type=Path)
    options.add_argument("clips", nargs="*", help="video files, each with an optional @START_S-END_S")
    options.add_argument("--rate", type=float, default=0.0, help="coded pictures a second; half the clip's if 0")
    options.add_argument("--height", type=int, default=360)
    options.add_argument("--kbps", type=int, default=0, help="one rate for all, at 640x360 and 30 a second")
    options.add_argument("--scenes", type=int, default=0, help="drawn scenes")
    options.add_argument("--art", type=Path, help="what they are drawn from: the scratch folder that `fetch` filled")
    options.add_argument("--shared", type=Path, default=Path(__file__).resolve().parents[4] / "shared" / "data")
    options.add_argument("--seed", type=int, default=1)
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    terms, items, used = material.Terms(chosen.height, chosen.rate, chosen.seed), [], {}
    for number, clip in enumerate(chosen.clips):
        path, _, span = clip.partition("@")
        start_s, _, end_s = span.partition("-")
        source = {"sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(), "seconds": []}
        used.setdefault(Path(path).name, source)["seconds"].append([float(start_s or 0), float(end_s or 0)])
        found = clip_items(chosen.out, path, float(start_s or 0), float(end_s or 0), terms, number, chosen.kbps)
        for entry in found:
            items += [entry] if entry else []
            print(entry and {key: entry[key] for key in ("name", "triplets", "blend_mse", "kbps", "fps")}, flush=True)
    if chosen.scenes:
        art, files, _ = sources.load_art(chosen.art, chosen.shared, np.random.default_rng(chosen.seed))
        used |= {name: {"files": len(found), "sha256": sources.digest(found)} for name, found in files.items()}
        for entry in scene_items(chosen.out, chosen.scenes, chosen.seed, art):
            items.append(entry)
            print(entry["name"], entry["kind"], entry["blend_mse"], entry["kbps"], flush=True)
    triplets.finish(chosen.out, items, sources=used)


if __name__ == "__main__":
    main()
