"""Measures exported networks as they ship: through ONNX Runtime, against swscale's scalers.

Every figure of the catalogue and of the records comes from here.
"""

import time

import numpy as np

from . import export, media, metrics, testset
from .results import PLAIN, ClipResult, Score

# Border left out on stills, as the field does for x2.
STILL_BORDER = 2
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


def stills(shared, collection, sessions):
    """Mean PSNR in dB over a collection: {method: dB}, plain scalers included; borders of two pixels left out."""
    cut = np.s_[STILL_BORDER:-STILL_BORDER, STILL_BORDER:-STILL_BORDER]
    sums = {}
    for _, low, high in testset.load_stills(shared, collection):
        frame = media.frames_from_luma(low[None])
        pictures = {method: media.scale(frame, high.shape[1], high.shape[0], method).luma[0] for method in PLAIN}
        pictures.update({name: export.upscale(session, low) for name, session in sessions.items()})
        for name, picture in pictures.items():
            sums.setdefault(name, []).append(metrics.psnr(metrics.mse(picture[cut], high[cut])))
    return {name: float(np.mean(values)) for name, values in sums.items()}


def milliseconds_per_frame(data, threads=2, runs=60, width=640, height=360):
    """Best wall clock of one frame through ONNX Runtime's CPU provider: the machine's other work only ever adds."""
    session = export.session(data, threads)
    luma = np.random.default_rng(0).integers(16, 236, (height, width), dtype=np.uint8)
    best = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        export.upscale(session, luma)
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
