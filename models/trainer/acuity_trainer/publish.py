"""From a finished run to the zoo, or to the statement that it is not worth it.

A model is published only where it earns its place on video it never saw: by
LEAST_GAIN_DB over the generic model of its size and over the better plain scaler.
Everything is measured on the very bytes that are published. The catalogue's entry is
written last, so that it never names a file that is not there yet.
"""

import json
from dataclasses import dataclass
from pathlib import Path

from . import catalogue, contract, curves, evaluate, export, heldout, int8, networks, records, train

LEAST_GAIN_DB = 0.2


class PublishError(RuntimeError):
    """The run cannot be published; the message says why."""


@dataclass(frozen=True)
class Origin:
    """Where a cluster's networks come from, for metadata and records."""

    cluster: str
    scale: int
    sources: object
    about: str


def model_id(cluster, scale, tier):
    return f"{cluster}-x{scale}-{tier}"


def generic_of(zoo, scale, tier):
    """The zoo's entry that a model of this scale and tier has to beat: the generic one of its size, or None."""
    wanted = ("generic", scale, tier)
    entries = catalogue.read(Path(zoo) / "catalogue.toml")
    entries = [entry for entry in entries if catalogue.task_of(entry) == catalogue.UPSCALE]
    return next((e for e in entries if (e["cluster"], e["scale"], e["tier"]) == wanted), None)


def beginning(zoo, scale, tier):
    """The ONNX file that training begins with: the generic model of the tier, else of a smaller one of its kind."""
    tiers = list(contract.TIERS)
    family = "layers" in contract.TIERS[tier]
    for other in reversed(tiers[: tiers.index(tier) + 1]):
        entry = generic_of(zoo, scale, other)
        if entry and ("layers" in contract.TIERS[other]) == family:
            return Path(zoo) / entry["file"]
    return None


def exported(run, origin, tier, overlay=None):
    """(ONNX bytes, metadata) of a run's averaged weights and an `Overlay`. Nothing in them depends on the clock."""
    network, facts = train.load_average(run, tier)
    layers = network.collapsed()
    metadata = {
        "id": model_id(origin.cluster, origin.scale, tier),
        "cluster": origin.cluster,
        "scale": origin.scale,
        "tier": tier,
        "contract": contract.VERSION,
        "parameters": networks.parameters_of(layers),
        "macs_per_pixel": networks.macs_per_pixel(layers),
        "steps": facts["step"],
        "settings": json.dumps(facts["settings"], sort_keys=True),
        "history": json.dumps(facts["history"], sort_keys=True),
        "training_data": f"the cluster's own video ({origin.about}) without what was held out, as encoders made it",
    }
    if overlay:
        metadata["overlay"] = json.dumps(overlay.facts())
    data = export.build(layers, metadata, overlay).SerializeToString(deterministic=True)
    return data, metadata, facts["elapsed_s"]


def verdict(scores, own, generic):
    """(is it published, why) from the scores; `generic` names the generic model's or is None."""
    plain = heldout.plain(scores)
    over_plain = scores[own].psnr_db - plain.psnr_db
    if generic and scores[own].psnr_db - scores[generic].psnr_db < LEAST_GAIN_DB:
        gain = scores[own].psnr_db - scores[generic].psnr_db
        return False, f"{gain:+.3f} dB over the generic model on held-out video, less than {LEAST_GAIN_DB}"
    if over_plain < LEAST_GAIN_DB:
        return False, f"{over_plain:+.3f} dB over the plain scaler on held-out video, less than {LEAST_GAIN_DB}"
    if generic:
        gain = scores[own].psnr_db - scores[generic].psnr_db
        return True, f"{gain:+.3f} dB over the generic model, {over_plain:+.3f} over plain, on held-out video"
    return True, f"{over_plain:+.3f} dB over plain on held-out video (there is no generic model of its size)"


def publish(run, tier, origin, held_out, zoo, threads=1, dry_run=False, say=print, overlay=None, calibrated=None):
    """Exports, measures on the pairs in folder `held_out`, and publishes what earns it.

    With `calibrated`, a `quantise.Calibration`, in 8-bit integers as well, if that loses next to nothing. Gives
    (published?, {method: Score}, model's bytes).
    """
    zoo = Path(zoo)
    data, metadata, elapsed_s = exported(run, origin, tier, overlay)
    own = metadata["id"]
    models, generic = {}, generic_of(zoo, origin.scale, tier)
    if generic:
        models[generic["id"]] = (zoo / generic["file"]).read_bytes()
    models[own] = data
    integer, integers = int8.name_of(own), int8.made(own, data, calibrated, say)
    if integers:
        models[integer] = integers
    parts = {}
    scores = heldout.measure(heldout.items(held_out), models, threads, parts)
    names = {own: "this model", integer: "in 8-bit integers"} | (
        {generic["id"]: f"generic ({generic['id']})"} if generic else {}
    )
    good, why = verdict(scores, own, generic["id"] if generic else None)
    say(f"\n{own}, {metadata['steps']} steps, on the held-out part:\n{heldout.table(scores, names)}")
    judged = int8.verdict({part: (db[own], db[integer]) for part, db in parts.items()}) if integers else None
    if judged:
        say(judged.told(own))
    if not good or dry_run:
        say(f"{own} is not published: {why}." if not good else f"{own} would be published: {why}.")
        return False, scores, data
    pictures = sum(part.lows.shape[0] * part.lows.shape[1] for part in heldout.items(held_out))
    plain = heldout.plain(scores)
    cost, machine = evaluate.milliseconds_per_frame(data), evaluate.machine()
    if generic and generic["measured"].get("machine") == machine:
        # The same graph on the same machine: the quicker of two measurements was disturbed less.
        cost = min(cost, generic["measured"]["ms_per_frame"])
    name = generic["id"] if generic else None
    entry = catalogue.learned(own, data, metadata, scores, plain, name, pictures, cost, machine)
    if judged and not judged.good:
        del scores[integer]
    elif judged:
        took = evaluate.milliseconds_per_frame(integers)
        if generic and "int8" in generic and generic["measured"].get("machine") == machine:
            took = min(took, generic["int8"]["ms_per_frame"])
        entry["int8"] = int8.table(own, integers, judged, took)
    points = curves.points(run)
    text = records.learned(
        entry, metadata, scores, names, origin.sources, origin.about, pictures, elapsed_s, bool(points)
    )
    if judged:
        text = records.with_int8(text, records.int8_line(entry, judged, calibrated.facts()))
    if records.leaks(text):
        raise PublishError(f"the record of {own} would hold {records.leaks(text)}: say it otherwise with --about")
    (zoo / "records").mkdir(parents=True, exist_ok=True)
    curves.draw(zoo / "records" / f"{own}.png", own, points, scores[own].psnr_db - plain.psnr_db)
    files = {entry["record"]: text.encode(), entry["file"]: data}
    if "int8" in entry:
        files[entry["int8"]["file"]] = integers
    catalogue.put(zoo, entry, files)
    say(f"{own} is published: {why}.")
    return True, scores, data
