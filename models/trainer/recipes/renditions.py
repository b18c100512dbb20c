#!/usr/bin/env python3
"""Makes a corpus of pairs out of clips: high pictures, and the low renditions an origin would make of them.

The shipped clusters' networks were trained on what this writes. The low rendition is the high one through swscale's
bicubic and libx264 at the rates below (for 640x360 at 30 frames a second; other sizes in proportion), then decoded
again; `--clean` leaves the encoder out, for the field's own protocol. Frames are paired by index: nothing is dropped on
the way.

    python3 recipes/renditions.py OUT --cluster NAME [--scale 2] [--clean] [--every 5] CLIP[@START_S-END_S]...

Run it from models/trainer. A killed run goes on: clips that are there are kept.
"""

import argparse
import hashlib
import json
import sys
from dataclasses import asdict
from multiprocessing import Pool
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))
from acuity_trainer import corpus, media  # noqa: E402

# (preset, kbit/s): what ladders offer at 360p; the middle of the ladder twice.
RATES = [("medium", 300), ("medium", 600), ("veryfast", 600), ("medium", 1000), ("medium", 1500)]
KEYINT_S = 2.0
# Decoded at once: a longer clip is taken in parts, each encoded on its own.
PART_S = 8.0


def pairs(high, fps, scale, clean):
    """The low renditions of Frames: ([Frames], [note]); sides of `high` must be divisible by twice the scale."""
    small = media.scale(high, high.width // scale, high.height // scale)
    if clean:
        return [small], [{"downscaler": "bicubic", "kbps": 0, "clean": True}]
    # Half the pixels a side need less than a quarter of the bits: the usual power of 0.75.
    share = (small.width * small.height / (640 * 360)) ** 0.75
    lows, notes = [], []
    for preset, kbps in RATES:
        coding = media.Encode(preset=preset, kbps=round(kbps * share), keyint=round(KEYINT_S * fps), fps=fps)
        low, measured = media.encode_decode(small, coding)
        lows.append(low)
        notes.append({"downscaler": "bicubic", "kbps": round(measured), "encode": asdict(coding)})
    return lows, notes


def cropped(frames, scale):
    """Without the few columns and rows that do not divide (1280 is not a multiple of 3)."""
    width, height = (side - side % (2 * scale) for side in (frames.width, frames.height))
    if (width, height) == (frames.width, frames.height):
        return frames
    luma = np.ascontiguousarray(frames.luma[:, :height, :width])
    return media.frames_from_luma(luma)


def make_item(task):
    """One item of the corpus; gives its index entry."""
    folder, name, path, start_s, seconds, fps, scale, clean, every = task
    done = Path(folder) / f"{name}.json"
    if done.exists():
        return json.loads(done.read_text(encoding="utf-8"))
    frames = cropped(media.read_video(path, start_s=start_s, limit=round(seconds * fps)), scale)
    lows, notes = pairs(frames, fps, scale, clean)
    # The first pictures of an encode are not like the rest: the rate control is still finding its way.
    keep = np.arange(every - 1, len(frames), every)
    kept = [np.ascontiguousarray(low.luma[keep]) for low in lows]
    entry = corpus.store_pairs(folder, name, "pair", np.ascontiguousarray(frames.luma[keep]), kept, notes, scale)
    done.write_text(json.dumps(entry), encoding="utf-8")
    return entry


def main():
    """Makes the corpus, or what is missing of it."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("out", type=Path)
    options.add_argument("clips", nargs="+", help="video files, each with an optional @START_S-END_S")
    options.add_argument("--cluster", required=True)
    options.add_argument("--scale", type=int, default=2, choices=[2, 3, 4])
    options.add_argument("--clean", action="store_true")
    options.add_argument("--every", type=int, default=5, help="every how many frames one is kept")
    options.add_argument("--workers", type=int, default=1)
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    tasks, used = [], {}
    for clip in chosen.clips:
        path, _, span = clip.partition("@")
        start_s, _, end_s = span.partition("-")
        seconds, fps = duration_s(path), rate(path)
        start, end = float(start_s or 0), min(float(end_s or seconds), seconds)
        source = {"sha256": hashlib.sha256(Path(path).read_bytes()).hexdigest(), "seconds": []}
        used.setdefault(Path(path).name, source)["seconds"].append([start, round(end, 3)])
        while end - start > 1.0:
            part = min(PART_S, end - start)
            name = f"{Path(path).stem}-{round(start * 10):05d}"
            tasks.append((str(chosen.out), name, path, start, part, fps, chosen.scale, chosen.clean, chosen.every))
            start += part
    items = []
    with Pool(chosen.workers) as pool:
        for entry in pool.imap_unordered(make_item, tasks):
            items.append(entry)
            print(f"{entry['name']}: {len(items)} of {len(tasks)}", flush=True)
    corpus.write_index(chosen.out, items, chosen.scale, cluster=chosen.cluster, sources=used)


def _probe(path, entry):
    found = media._run(
        ["ffprobe", "-v", "error", "-select_streams", "v:0", "-show_entries", entry, "-of", "csv=p=0", str(path)]
    )
    return found.decode().split()[0].strip(",")


def rate(path):
    """Frames a second."""
    over, under = _probe(path, "stream=r_frame_rate").split("/")
    return float(over) / float(under)


def duration_s(path):
    """Seconds of the first video stream."""
    return float(_probe(path, "format=duration"))


if __name__ == "__main__":
    main()
