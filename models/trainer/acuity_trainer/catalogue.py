"""`catalogue.toml`: written from measurements, never by hand.

The Rust crate `acuity-models` reads it; field names are agreed there
(`models/src/entry.rs`). The records beside it are `records`' business.
"""

import contextlib
import fcntl
import hashlib
import json
import os
import tomllib
from pathlib import Path

from . import contract

HEADER = """\
# The models that ship. Written by `python3 -m acuity_trainer`; change nothing by hand:
# every figure is measured on the exported file, and `sha256` must be the file's.
"""
# The trained weights are the project's own work; what they were trained on is in the record.
LICENCE = "Apache-2.0"


# The task of an entry that names none.
UPSCALE = "upscale"
# Keys of an entry that are tables of their own, in this order behind the plain ones.
TABLES = ("int8", "measured")


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        value = round(value, 4) + 0.0
        return f"{value:.4f}".rstrip("0") + ("0" if value == int(value) else "") if abs(value) < 1e12 else repr(value)
    return str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)


def entry_toml(entry):
    """One `[[model]]` table with its `[model.int8]`, if any, and `[model.measured]`; keys in the order given."""
    lines = ["[[model]]"] + [f"{key} = {_value(value)}" for key, value in entry.items() if key not in TABLES]
    for name in TABLES:
        if name in entry:
            lines += ["", f"[model.{name}]"] + [f"{key} = {_value(value)}" for key, value in entry[name].items()]
    return "\n".join(lines) + "\n"


def read(path):
    """The entries of a catalogue, [] where there is none."""
    path = Path(path)
    return tomllib.loads(path.read_text(encoding="utf-8")).get("model", []) if path.exists() else []


def task_of(entry):
    """What an entry's network does: "upscale" unless it says otherwise."""
    return entry.get("task", UPSCALE)


@contextlib.contextmanager
def _alone(directory):
    """Two trainers that publish at once must not lose each other's entries."""
    handle = os.open(directory, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def replace(path, data):
    """Writes bytes aside and renames: a reader sees the old file or the new one, whole."""
    partial = Path(path).with_name(f".{Path(path).name}.partial")
    partial.write_bytes(data)
    partial.rename(path)


def write(path, entries):
    """Writes `entries` over the catalogue; entries of other ids stay. Small tiers first."""
    with _alone(Path(path).parent):
        fresh = {entry["id"]: entry for entry in read(path)}
        fresh.update({entry["id"]: entry for entry in entries})
        tiers = list(contract.TIERS)

        def place(entry):
            return task_of(entry) != UPSCALE, entry["cluster"], entry["scale"], tiers.index(entry["tier"])

        ordered = sorted(fresh.values(), key=place)
        text = HEADER + "\n" + "\n".join(entry_toml(entry) for entry in ordered)
        tomllib.loads(text)
        replace(path, text.encode())


def put(zoo, entry, files):
    """Writes a model's `files` {path below `zoo`: bytes}, then its entry, which so never names one that is not there.

    An 8-bit file that the entry does not name is of an earlier version, and goes.
    """
    for path, data in files.items():
        (Path(zoo) / path).parent.mkdir(parents=True, exist_ok=True)
        replace(Path(zoo) / path, data)
    write(Path(zoo) / "catalogue.toml", [entry])
    if "int8" not in entry:
        (Path(zoo) / f"{entry['id']}.int8.onnx").unlink(missing_ok=True)


def entry(model, data, metadata, clips, stills, milliseconds, machine):
    """A catalogue entry from a model's bytes, its ONNX metadata and what `evaluate` measured."""
    gains = [clip.gain_db(model) for clip in clips]
    measured = {
        "gain_db": sum(gains) / len(gains),
        "worst_gain_db": min(gains),
        "ssim_gain": sum(clip.ssim_gain(model) for clip in clips) / len(clips),
        "clips": len(clips),
    }
    coded = f"{model}+x264"
    if all(coded in clip.methods for clip in clips):
        measured["gain_after_encoder_db"] = sum(clip.gain_db(coded) for clip in clips) / len(clips)
    for collection, figures in stills.items():
        measured[f"{collection.lower()}_db"] = figures[model]
        measured[f"bicubic_{collection.lower()}_db"] = figures["bicubic"]
    measured.update(
        {
            "macs_per_pixel": float(metadata["macs_per_pixel"]),
            "ms_per_frame": round(milliseconds, 1),
            "machine": machine,
        }
    )
    return _described(model, data, metadata, measured)


def learned(model, data, metadata, scores, plain, generic, pictures, milliseconds, machine):
    """A catalogue entry of a content-aware model, measured on the held-out part of its own video.

    `scores` is {method: Score} with `model`, the plain scalers and, where there is one, `generic`; `plain` the better
    plain Score. Without a generic model of its size the fields that compare with one are absent.
    """
    own = scores[model]
    measured = {
        "gain_db": own.psnr_db - plain.psnr_db,
        "worst_gain_db": own.psnr_db - plain.psnr_db,
        "ssim_gain": own.ssim - plain.ssim,
        "clips": 1,
        "heldout_db": own.psnr_db,
        "heldout_ssim": own.ssim,
        "heldout_plain_db": plain.psnr_db,
        "heldout_plain_ssim": plain.ssim,
        "heldout_bicubic_db": scores["bicubic"].psnr_db,
        "heldout_bicubic_ssim": scores["bicubic"].ssim,
    }
    if generic:
        measured["heldout_generic_db"], measured["heldout_generic_ssim"] = scores[generic].psnr_db, scores[generic].ssim
    measured.update(
        {
            "heldout_pictures": pictures,
            "macs_per_pixel": float(metadata["macs_per_pixel"]),
            "ms_per_frame": round(milliseconds, 1),
            "machine": machine,
        }
    )
    return _described(model, data, metadata, measured)


def _described(model, data, metadata, measured):
    return {
        "id": model,
        "cluster": metadata["cluster"],
        "scale": int(metadata.get("scale", contract.SCALE)),
        "tier": metadata["tier"],
        "file": f"{model}.onnx",
        "sha256": hashlib.sha256(data).hexdigest(),
        "parameters": int(metadata["parameters"]),
        "contract": contract.VERSION,
        "licence": LICENCE,
        "training_data": metadata["training_data"],
        "record": f"records/{model}.md",
        "measured": measured,
    }
