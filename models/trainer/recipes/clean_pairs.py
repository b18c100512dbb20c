#!/usr/bin/env python3
"""Makes a corpus of clean pairs out of an existing corpus: the same high pictures, scaled down and not compressed.

The clean protocol of the literature needs networks that were trained on clean input, content-aware and generic alike,
and they must have seen the same pictures as the coded ones. High pictures are hard-linked, not copied.

    python3 recipes/clean_pairs.py CORPUS OUT [--scale 2]
"""

import argparse
import json
import os
import sys
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from acuity_trainer import corpus, media  # noqa: E402


def main():
    """Scales down every item's high pictures by swscale's bicubic."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("corpus", type=Path)
    options.add_argument("out", type=Path)
    options.add_argument("--scale", type=int, default=2, choices=[2, 3, 4])
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    index = json.loads((chosen.corpus / "index.json").read_text(encoding="utf-8"))
    items = []
    for item in index["items"]:
        source = chosen.corpus / f"{item['name']}.high.npy"
        high = np.load(source)
        height, width = (side - side % (2 * chosen.scale) for side in high.shape[1:])
        whole = high.shape[1:] == (height, width)
        high = np.ascontiguousarray(high[:, :height, :width])
        low = media.scale(media.frames_from_luma(high), width // chosen.scale, height // chosen.scale).luma
        notes = [{"downscaler": "bicubic", "kbps": 0, "clean": True}]
        entry = corpus.store_pairs(chosen.out, item["name"], item["kind"], high, [low], notes, chosen.scale)
        target = chosen.out / f"{item['name']}.high.npy"
        if whole and source.stat().st_dev == chosen.out.stat().st_dev:
            target.unlink()
            os.link(source, target)
        items.append(entry)
    facts = {key: value for key, value in index.items() if key not in ("items", "scale")}
    corpus.write_index(chosen.out, items, chosen.scale, **facts, clean=True)
    print(f"{chosen.out}: {len(items)} items")


if __name__ == "__main__":
    main()
