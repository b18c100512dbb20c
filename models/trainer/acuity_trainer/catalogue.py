"""`catalogue.toml` and the records: written from measurements, never by hand.

The Rust crate `acuity-models` reads the catalogue; field names are agreed there
(`models/src/entry.rs`).
"""

import hashlib
import json
import re
import tomllib
from pathlib import Path

from . import contract

HEADER = """\
# The models that ship. Written by `python3 -m acuity_trainer evaluate`; change nothing by hand:
# every figure is measured on the exported file, and `sha256` must be the file's.
"""
# The trained weights are the project's own work; what they were trained on is in the record.
LICENCE = "Apache-2.0"


def _value(value):
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return f"{value:.4f}".rstrip("0") + ("0" if value == int(value) else "") if abs(value) < 1e12 else repr(value)
    return str(value) if isinstance(value, int) else json.dumps(str(value), ensure_ascii=False)


def entry_toml(entry):
    """One `[[model]]` table with its `[model.measured]`; keys in the order given."""
    lines = ["[[model]]"] + [f"{key} = {_value(value)}" for key, value in entry.items() if key != "measured"]
    lines += ["", "[model.measured]"] + [f"{key} = {_value(value)}" for key, value in entry["measured"].items()]
    return "\n".join(lines) + "\n"


def read(path):
    """The entries of a catalogue, [] where there is none."""
    path = Path(path)
    return tomllib.loads(path.read_text(encoding="utf-8")).get("model", []) if path.exists() else []


def write(path, entries):
    """Writes `entries` over the catalogue; entries of other ids stay. Small tiers first."""
    fresh = {entry["id"]: entry for entry in read(path)}
    fresh.update({entry["id"]: entry for entry in entries})
    order = list(contract.TIERS) + ["l"]
    ordered = sorted(fresh.values(), key=lambda entry: (entry["cluster"], entry["scale"], order.index(entry["tier"])))
    text = HEADER + "\n" + "\n".join(entry_toml(entry) for entry in ordered)
    tomllib.loads(text)
    partial = Path(path).with_suffix(".partial")
    partial.write_text(text, encoding="utf-8")
    partial.rename(path)


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
    return {
        "id": model,
        "cluster": metadata["cluster"],
        "scale": contract.SCALE,
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


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def record(entry, metadata, clips, stills, stride):
    """The record of one model as Markdown."""
    model, measured = entry["id"], entry["measured"]
    coded = f"{model}+x264"
    with_coded = all(coded in clip.methods for clip in clips)
    header = ["clip", "frames", "low kbit/s", "bicubic", "lanczos", "model", "gain dB"] + (
        ["after x264"] if with_coded else []
    )
    header += ["SSIM plain", "SSIM model"]
    rows = []
    for clip in clips:
        row = [clip.name, str(clip.frames), f"{clip.kbps:.0f}"] + [
            f"{clip.methods[name].psnr_db:.2f}" for name in ("bicubic", "lanczos", model)
        ]
        row += [f"{clip.gain_db(model):+.2f}"] + ([f"{clip.gain_db(coded):+.2f}"] if with_coded else [])
        rows.append(row + [f"{clip.plain().ssim:.4f}", f"{clip.methods[model].ssim:.4f}"])
    still_rows = [
        [name, *(f"{figures[method]:.2f}" for method in ("bicubic", "lanczos", model))]
        for name, figures in stills.items()
    ]
    settings, sources = json.loads(metadata["settings"]), json.loads(metadata["sources"])
    source_rows = [
        [name, str(facts["package"]), str(facts["files"]), facts["licence"], f"`{facts['sha256'][:16]}`"]
        for name, facts in sources.items()
    ]
    tested = [[clip.name, f"`{clip.sha256[:16]}`"] for clip in clips]
    after = (
        ' "After x264" is the gain left once libx264 (superfast, 2800 kbit/s, no B pictures)\n'
        "coded the enhanced picture; the plain scalers are not re-encoded."
        if with_coded
        else ""
    )
    counted = "frame" if stride == 1 else f"{stride}th frame"
    return f"""# {model}

Written by `python3 -m acuity_trainer evaluate`.

{entry["parameters"]} parameters, {measured["macs_per_pixel"]:.0f} multiply-accumulates for each source pixel;
the catalogue says how long a frame takes. SHA-256 of the file: `{entry["sha256"]}`.

## Measured

Luma PSNR in dB (of the squared error averaged over frames) and SSIM, as FFmpeg's filters define them, on
H.264-coded low renditions of clips never trained on. Every {counted} counts. Gain is over the better of swscale's
bicubic and Lanczos.{after}

{_table(header, rows)}

Mean gain {measured["gain_db"]:+.3f} dB, least {measured["worst_gain_db"]:+.3f} dB, SSIM {measured["ssim_gain"]:+.4f}.

Clean stills, halved by bicubic, luma PSNR in dB without a border of two pixels:

{_table(["set", "bicubic", "lanczos", "model"], still_rows)}

## Trained

{metadata["steps"]} steps, {metadata["elapsed_s"]} s. Settings: `{json.dumps(settings, sort_keys=True)}`.
{_history_lines(metadata)}{_curve_line(metadata)}
{_table(["source", "from", "files", "licence", "SHA-256 begins"], source_rows)}

The scenes drawn from them (camera moves over stills, tile worlds, corridors, windows of text) are the trainer's own.
"Not stated" means just that: the maker of the collection gives no licence. None of the pictures is part of this
project.

## Tested on

{_table(["clip", "SHA-256 begins"], tested)}
"""


def _history_lines(metadata):
    runs = json.loads(metadata.get("history", "[]"))
    if not runs:
        return ""
    told = [
        f"- {run['step']} steps, {run['elapsed_s']} s: `{json.dumps(run['settings'], sort_keys=True)}`" for run in runs
    ]
    return "\nIts first weights are those of earlier runs, oldest first:\n\n" + "\n".join(told) + "\n\n"


def _curve_line(metadata):
    points = json.loads(metadata.get("curve", "[]"))
    if not points:
        return ""
    shown = points[:: max(1, len(points) // 12)]
    return (
        "Gain over bicubic on fixed validation patches as training went on: "
        + ", ".join(f"{point['step']}: {point['gain_db']:+.3f}" for point in shown)
        + " dB.\n"
    )


def leaks(text):
    """Paths of a machine and host names must not get into what is committed: what of that is in `text`."""
    return re.findall(r"(?:/(?:work|tmp|root|home)/\S*|https?://\S+)", text)
