"""From a finished run to the zoo, or to the statement that it is not worth it: the other `publish`, for interpolation.

A model is published only where it beats blending and, if there is one, the generic model of its size by LEAST_GAIN_DB
on video that it never saw; everything is measured on the very bytes that are published.
"""

import hashlib
import json
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import catalogue, curves, evaluate, records
from .. import export as upscaling
from ..publish import LEAST_GAIN_DB, PublishError
from . import contract, export, networks, record, score, train


@dataclass(frozen=True)
class Origin:
    """Where a cluster's networks come from, for metadata and records."""

    cluster: str
    sources: object
    about: str


def model_id(cluster, tier):
    return f"{cluster}-i{contract.FACTOR}-{tier}"


def entry_of(zoo, cluster, tier):
    """The zoo's entry of a cluster's interpolation model of a tier, or None."""
    wanted = (contract.TASK, cluster, tier)
    entries = catalogue.read(Path(zoo) / "catalogue.toml")
    return next((e for e in entries if (catalogue.task_of(e), e["cluster"], e["tier"]) == wanted), None)


def beginning(zoo, tier):
    """The ONNX file that training begins with: the generic model of the tier, else of the nearest below, or None."""
    tiers = list(contract.TIERS)
    below = reversed(tiers[: tiers.index(tier) + 1])
    entry = next(filter(None, (entry_of(zoo, "generic", one) for one in below)), None)
    return Path(zoo) / entry["file"] if entry else None


def exported(run, origin, tier):
    """(ONNX bytes, metadata) of a run's averaged weights. Nothing in them depends on the clock."""
    network, facts = train.load_average(run, tier)
    metadata = {
        "id": model_id(origin.cluster, tier),
        "task": contract.TASK,
        "cluster": origin.cluster,
        "scale": contract.FACTOR,
        "tier": tier,
        "contract": contract.VERSION,
        "parameters": networks.parameters_of(network),
        "steps": facts["step"],
        "settings": json.dumps(facts["settings"], sort_keys=True),
        "history": json.dumps(facts["history"], sort_keys=True),
        "training_data": f"{origin.about}; every second picture as encoders made it, without what was held out",
    }
    return export.written(network, metadata), metadata, facts["elapsed_s"]


def milliseconds_per_frame(data, threads=2, runs=40, width=640, height=360):
    """Quickest wall clock of one made frame, all planes, with the frame's size fixed as the edge fixes it."""
    sizes = {"height": height, "width": width, "chroma_height": height // 2, "chroma_width": width // 2}
    session = upscaling.runtime(data, threads, sizes)
    rng = np.random.default_rng(0)
    pair = [
        (rng.integers(16, 236, (height, width), dtype=np.uint8), np.full((2, height // 2, width // 2), 128, np.uint8))
        for _ in range(2)
    ]
    best = float("inf")
    for _ in range(runs):
        started = time.perf_counter()
        export.made(session, *pair)
        best = min(best, time.perf_counter() - started)
    return best * 1000.0


def verdict(scores, own, generic):
    """(is it published, why) from the scores; `generic` names the generic model's or is None."""
    over_blend = scores[own].psnr_db - scores[score.PLAIN].psnr_db
    if generic and (gain := scores[own].psnr_db - scores[generic].psnr_db) < LEAST_GAIN_DB:
        return False, f"{gain:+.3f} dB over the generic model on held-out video, less than {LEAST_GAIN_DB}"
    if over_blend < LEAST_GAIN_DB:
        return False, f"{over_blend:+.3f} dB over blending on held-out video, less than {LEAST_GAIN_DB}"
    over_generic = (
        f"{scores[own].psnr_db - scores[generic].psnr_db:+.3f} dB over the generic model, " if generic else ""
    )
    return True, f"{over_generic}{over_blend:+.3f} over blending, on held-out video"


def entry(own, data, metadata, scores, generic, pictures, milliseconds, machine):
    """The catalogue's entry of a model measured on held-out video."""
    mine, blend = scores[own], scores[score.PLAIN]
    measured = {
        "gain_db": mine.psnr_db - blend.psnr_db,
        "ssim_gain": mine.ssim - blend.ssim,
        "heldout_db": mine.psnr_db,
        "heldout_ssim": mine.ssim,
        "heldout_plain_db": blend.psnr_db,
        "heldout_plain_ssim": blend.ssim,
    }
    if "minterpolate" in scores:
        measured["heldout_minterpolate_db"] = scores["minterpolate"].psnr_db
    if generic:
        measured["heldout_generic_db"], measured["heldout_generic_ssim"] = scores[generic].psnr_db, scores[generic].ssim
    measured |= {"heldout_pictures": pictures, "ms_per_frame": round(milliseconds, 1), "machine": machine}
    return {
        "id": own,
        "task": contract.TASK,
        "cluster": metadata["cluster"],
        "scale": contract.FACTOR,
        "tier": metadata["tier"],
        "file": f"{own}.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "parameters": int(metadata["parameters"]),
        "contract": contract.VERSION,
        "licence": catalogue.LICENCE,
        "training_data": metadata["training_data"],
        "record": f"records/{own}.md",
        "measured": measured,
    }


def publish(run, tier, origin, held_out, zoo, dry_run=False, say=print):
    """Exports, measures on the corpus in folder `held_out`, publishes what earns it.

    Gives (published?, {method: Score}, model's bytes).
    """
    zoo = Path(zoo)
    data, metadata, elapsed_s = exported(run, origin, tier)
    own, generic, models = metadata["id"], None, {}
    if origin.cluster != "generic" and (found := entry_of(zoo, "generic", tier)):
        generic = found["id"]
        models[generic] = (zoo / found["file"]).read_bytes()
    models[own] = data
    scores, pictures = score.measure(held_out, models)
    names = {own: "this model", generic: f"generic ({generic})"}
    say(f"\n{own}, {metadata['steps']} steps, on the held-out part:\n{score.table(scores, names)}")
    good, why = verdict(scores, own, generic)
    if not good or dry_run:
        say(f"{own} is not published: {why}." if not good else f"{own} would be published: {why}.")
        return False, scores, data
    described = entry(own, data, metadata, scores, generic, pictures, milliseconds_per_frame(data), evaluate.machine())
    points = curves.points(run)
    text = record.text(described, metadata, scores, names, origin, elapsed_s, bool(points))
    if records.leaks(text):
        raise PublishError(f"the record of {own} would hold {records.leaks(text)}: say it otherwise with --about")
    (zoo / "records").mkdir(parents=True, exist_ok=True)
    gain_db = scores[own].psnr_db - scores[score.PLAIN].psnr_db
    curves.draw(zoo / "records" / f"{own}.png", own, points, gain_db, ("blending", "blending"))
    catalogue.put(zoo, described, {described["record"]: text.encode(), described["file"]: data})
    say(f"{own} is published: {why}.")
    return True, scores, data
