#!/usr/bin/env python3
"""Makes the generic corpus of another scale out of the x2 one: the same pictures, scaled down further and coded again.

Saves drawing and mastering every scene once more. Of each item only the kept pictures are there, so they are coded as a
short clip of their own, by constant quality as drawn for the item (a clip's rates stand for its every frame, not for
one in ten): coarser motion than the x2 corpus has, the same quantisers.

    python3 recipes/rescaled.py CORPUS OUT --scale 3|4 [--items 130]
"""

import argparse
import json
import sys
from dataclasses import asdict
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from acuity_trainer import corpus, media  # noqa: E402

# Where an item was coded by rate: about what those rates came to.
CLIP_CRF = (22, 26, 30, 34)
# Pictures of one item at most.
MOST_PICTURES = 24


def chosen_items(items, count):
    """All clips, and of the rest every n-th, so that kinds keep their proportions."""
    clips = [item for item in items if item["kind"] == "clip"]
    rest = [item for item in items if item["kind"] != "clip"]
    step = max(1.0, len(rest) / max(1, count - len(clips)))
    return clips + [rest[int(index * step)] for index in range(min(len(rest), count - len(clips)))]


def rescaled(folder, out, item, scale):
    """One item at another scale; its index entry, or None where the pictures are too small."""
    high = np.load(folder / f"{item['name']}.high.npy", mmap_mode="r")
    high = high[:: -(-len(high) // MOST_PICTURES)]
    height, width = (side - side % (2 * scale) for side in high.shape[1:])
    if min(height, width) < 64 * scale:
        return None
    high = np.ascontiguousarray(high[:, :height, :width])
    lows, notes = [], []
    for index, note in enumerate(item["variants"]):
        small = media.scale(media.frames_from_luma(high), width // scale, height // scale, note["downscaler"])
        wanted = {"downscaler": note["downscaler"]}
        if "encode" in note:
            crf = note["encode"]["crf"] or CLIP_CRF[index % len(CLIP_CRF)]
            coding = media.Encode(**{**note["encode"], "crf": crf, "kbps": 0})
            small, kbps = media.encode_decode(small, coding)
            wanted |= {"kbps": round(kbps), "encode": asdict(coding)}
        else:
            wanted |= {"kbps": 0, "clean": True}
        lows.append(np.ascontiguousarray(small.luma))
        notes.append(wanted)
    return corpus.store_pairs(out, item["name"], item["kind"], high, lows, notes, scale)


def main():
    """Makes the corpus."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("corpus", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--scale", type=int, required=True, choices=[3, 4])
    options.add_argument("--items", type=int, default=130)
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    index = json.loads((chosen.corpus / "index.json").read_text(encoding="utf-8"))
    made = [
        rescaled(chosen.corpus, chosen.out, item, chosen.scale)
        for item in chosen_items(index["items"], chosen.items)
    ]  # fmt: skip
    items = [item for item in made if item]
    facts = {key: value for key, value in index.items() if key not in ("items", "scale")}
    corpus.write_index(chosen.out, items, chosen.scale, **facts)
    print(f"{chosen.out}: {len(items)} items")


if __name__ == "__main__":
    main()
