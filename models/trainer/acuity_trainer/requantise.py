"""`quantise`: the 8-bit file of a model that is published already, made (again), measured and published with it."""

import hashlib
import json
from pathlib import Path

from . import catalogue, evaluate, heldout, int8, quantise, records, testset
from .remeasure import NotReproducibleError


def _held_out(folder):
    """(clip, pairs of planes) of a corpus' folder, as `int8.measured` takes them."""
    for item in heldout.items(folder):
        yield item.name, ((low, high) for lows in item.lows for low, high in zip(lows, item.high, strict=True))


def _test_set(shared, cache, scale, frames, stride):
    """The same of the test set's clips."""
    for name in testset.clip_names(shared):
        pair = testset.load_clip(shared, name, cache, frames, scale)
        yield name, zip(pair.low.luma[::stride], pair.high.luma[::stride], strict=True)


def _learned(scratch, entry):
    """The folder of the material that `learn` made for a model, or None."""
    folder = Path(scratch) / "learn" / f"{entry['cluster']}-x{entry['scale']}"
    told = folder / f"{entry['id']}.json"
    return folder / json.loads(told.read_text(encoding="utf-8"))["material"] if told.exists() else None


def again(
    model, zoo, scratch, shared, corpus=None, held_out=None, frames=1200, stride=1, threads=1, dry_run=False, say=print
):
    """Makes it from the published file and pictures of `corpus`; gives whether it is good enough and so published.

    It is measured on the folder `held_out`, a generic model on the test set. Where it is not good enough an older
    one is taken out of the catalogue.
    """
    zoo = Path(zoo)
    entry = next((e for e in catalogue.read(zoo / "catalogue.toml") if e["id"] == model), None)
    if entry is None:
        raise NotReproducibleError(f"{model} is not in the catalogue")
    if catalogue.task_of(entry) != catalogue.UPSCALE:
        raise NotReproducibleError(f"{model} is no upscaling model: there is no 8-bit file of it")
    data = (zoo / entry["file"]).read_bytes()
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise NotReproducibleError(f"{entry['file']} is not the file that the catalogue means")
    kept = _learned(scratch, entry)
    corpus = corpus or (kept and kept / "corpus")
    if corpus is None:
        raise NotReproducibleError(f"nothing in {scratch} says what {model} was trained on; give its --corpus")
    if entry["cluster"] == "generic":
        parts, every = _test_set(shared, Path(scratch) / "testset", entry["scale"], frames, stride), stride
    else:
        held_out = held_out or (kept and kept / "heldout")
        if held_out is None:
            raise NotReproducibleError(f"nothing in {scratch} says what {model} is measured on; give its --heldout")
        parts, every = _held_out(held_out), 1
    calibrated = quantise.calibration(corpus)
    integers = quantise.of(data, calibrated)
    figures = int8.measured(parts, data, integers, threads)
    for clip, (exact, integer) in figures.items():
        say(f"{clip}: {exact:.3f} dB, {integer:.3f} in 8-bit integers")
    judged = int8.verdict(figures, every)
    say(judged.told(model))
    if dry_run:
        return judged.good
    publish(zoo, entry, integers if judged.good else None, judged, calibrated)
    return judged.good


def publish(zoo, entry, integers, judged, calibrated):
    """Writes the 8-bit bytes, or takes away what there is where they are None; record and entry say so."""
    entry.pop("int8", None)
    files = {}
    if integers:
        took = evaluate.milliseconds_per_frame(integers)
        entry["int8"] = int8.table(entry["id"], integers, judged, took)
        files[entry["int8"]["file"]] = integers
    text = (zoo / entry["record"]).read_text(encoding="utf-8")
    text = records.with_int8(text, records.int8_line(entry, judged, calibrated.facts()))
    catalogue.put(zoo, entry, files | {entry["record"]: text.encode()})
