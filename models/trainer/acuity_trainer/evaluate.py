"""Measures exported networks as they ship: through ONNX Runtime, against swscale's scalers.

Every figure of the catalogue and of the records comes from here.
"""

import json
import time

import numpy as np

from . import catalogue, export, int8, media, metrics, records, testset
from .results import PLAIN, ClipResult, Score

# What the edge's encoder makes of the enhanced picture by default.
REENCODE = {"preset": "superfast", "kbps": 2800, "bframes": 0}


def score(pictures, highs):
    """Score of an iterable of Y planes against the true ones."""
    errors, similarities = [], []
    for picture, high in zip(pictures, highs, strict=True):
        errors.append(metrics.mse(picture, high))
        similarities.append(metrics.ssim(picture, high))
    return Score(metrics.psnr(float(np.mean(errors))), float(np.mean(similarities)))


def clip(pair, sessions, stride=1, reencode=False, say=print):
    """Measures the plain scalers and every session ({id: session}) on one Pair; every `stride`-th frame counts."""
    result = ClipResult(pair.name, len(range(0, len(pair.high), stride)), pair.kbps, pair.sha256)
    highs = pair.high.luma[::stride]
    low = media.Frames(np.ascontiguousarray(pair.low.raw[::stride]), pair.low.width, pair.low.height)
    for method in PLAIN:
        result.methods[method] = score(media.scale(low, pair.high.width, pair.high.height, method).luma, highs)
    for name, session in sessions.items():
        result.methods[name] = score((export.upscale(session, plane) for plane in low.luma), highs)
        if reencode:
            luma = np.stack([export.upscale(session, plane) for plane in pair.low.luma])
            coding = media.Encode(keyint=round(2 * pair.fps), fps=pair.fps, **REENCODE)
            coded, _ = media.encode_decode(media.frames_from_luma(luma), coding)
            result.methods[f"{name}+x264"] = score(coded.luma[::stride], highs)
    best = result.plain()
    say(
        f"{pair.name}: plain {best.psnr_db:.2f} dB "
        + " ".join(f"{name} {result.gain_db(name):+.3f}" for name in result.methods if name not in PLAIN)
    )
    return result


def stills(shared, collection, sessions, scale=2):
    """Mean PSNR in dB over a collection: {method: dB}, plain scalers included.

    Borders of as many pixels as the scale are left out, as the field does.
    """
    cut = np.s_[scale:-scale, scale:-scale]
    sums = {}
    for _, low, high in testset.load_stills(shared, collection, scale):
        frame = media.frames_from_luma(low[None])
        pictures = {method: media.scale(frame, high.shape[1], high.shape[0], method).luma[0] for method in PLAIN}
        pictures.update({name: export.upscale(session, low) for name, session in sessions.items()})
        for name, picture in pictures.items():
            sums.setdefault(name, []).append(metrics.psnr(metrics.mse(picture[cut], high[cut])))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def scale_of(session):
    """How many times larger a model's output is."""
    return export.enlarged(session.network, np.full((32, 32), 128, np.uint8)).shape[0] // 32


def milliseconds_per_frame(data, threads=2, runs=60, width=640, height=360, most_s=20.0):
    """Best wall clock of one frame through ONNX Runtime's CPU provider: the machine's other work only ever adds.

    The network's alone: an overlay is the edge's own code, and comes on top.
    The largest tiers take seconds a frame: after `most_s` no other is begun, once there are three.
    """
    network = export.runtime(data, threads)
    luma = np.random.default_rng(0).integers(16, 236, (height, width), dtype=np.uint8)
    best, began = float("inf"), time.perf_counter()
    for run in range(runs):
        started = time.perf_counter()
        if run >= 3 and started - began > most_s:
            break
        export.enlarged(network, luma)
        best = min(best, time.perf_counter() - started)
    return best * 1000.0


def machine(threads=2):
    """Where the figures of cost were taken, in words."""
    import onnxruntime

    name = "unknown processor"
    try:
        with open("/proc/cpuinfo", encoding="utf-8") as info:
            name = next((line.split(":", 1)[1].strip() for line in info if line.startswith("model name")), name)
    except OSError:
        pass
    return f"{name}, {threads} threads, ONNX Runtime {onnxruntime.__version__} CPU provider"


def test_set(models, shared, cache, zoo=None, clips=None, stride=1, frames=1200, reencode=False, threads=1, say=print):
    """Measures {id: ONNX bytes} on the whole test set; writes catalogue and records into `zoo`, if given.

    An 8-bit file goes by its `int8.name_of`, and is published with its model if it loses next to nothing.
    """
    sessions = {name: export.session(data, threads) for name, data in models.items()}
    by_scale = {}
    for name, session in sessions.items():
        by_scale.setdefault(scale_of(session), {})[name] = session
    for scale, group in by_scale.items():
        measured = [
            clip(testset.load_clip(shared, name, cache, frames, scale), group, stride, reencode, say)
            for name in clips or testset.clip_names(shared)
        ]
        sets = {name: stills(shared, name, group, scale) for name in ("Set5", "Set14")}
        for name, figures in sets.items():
            say(f"{name}: " + " ".join(f"{method} {value:.2f}" for method, value in figures.items()))
        for name in group:
            for method in (name, f"{name}+x264"):
                if method in measured[0].methods:
                    gains = [one.gain_db(method) for one in measured]
                    similar = [one.ssim_gain(method) for one in measured]
                    say(
                        f"{method}: mean {np.mean(gains):+.3f} dB, least {min(gains):+.3f}; "
                        f"SSIM {np.mean(similar):+.4f}, least {min(similar):+.4f}"
                    )
        if zoo:
            _write(zoo, {name: models[name] for name in group}, measured, sets, stride, say)


def _write(zoo, models, clips, sets, stride, say):
    exact = {name: data for name, data in models.items() if not name.endswith(int8.SUFFIX)}
    for name, data in exact.items():
        metadata = export.metadata_of(data)
        entry = catalogue.entry(name, data, metadata, clips, sets, milliseconds_per_frame(data), machine())
        text, files = records.generic(entry, metadata, clips, sets, stride), {entry["file"]: data}
        integer = int8.name_of(name)
        if integer in models:
            judged = int8.verdict(
                {one.name: (one.methods[name].psnr_db, one.methods[integer].psnr_db) for one in clips}, stride
            )
            say(judged.told(name))
            if judged.good:
                took = milliseconds_per_frame(models[integer])
                entry["int8"] = int8.table(name, models[integer], judged, took)
                files[entry["int8"]["file"]] = models[integer]
            facts = json.loads(export.metadata_of(models[integer])["quantised"])
            text = records.with_int8(text, records.int8_line(entry, judged, facts))
        if records.leaks(text):
            raise ValueError(f"the record of {name} would hold {records.leaks(text)}")
        catalogue.put(zoo, entry, files | {entry["record"]: text.encode()})
    say(f"wrote {zoo.name}/catalogue.toml and {len(exact)} records")
