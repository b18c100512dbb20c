"""The record of an interpolation model: one Markdown page, written with its catalogue entry."""

import json

from .. import records
from . import score


def text(entry, metadata, scores, names, origin, elapsed_s, curve):
    """The page. `names` says what each method of `scores` is called; `curve` whether there is a picture of one."""
    model, measured = entry["id"], entry["measured"]
    blend = scores[score.PLAIN].psnr_db
    rows = [
        [names.get(name, name), f"{one.psnr_db:.3f}", f"{one.psnr_db - blend:+.3f}", f"{one.ssim:.4f}"]
        for name, one in scores.items()
    ]
    shown = f"\n![loss and gain over the steps]({model}.png)\n" if curve else ""
    return f"""# {model}

Written by `python3 -m acuity_trainer`.

Makes the frame halfway between two. {entry["parameters"]} parameters; SHA-256 of the file: `{entry["sha256"]}`.
{measured["ms_per_frame"]} ms of wall clock for one made frame of 640x360, all planes, on {measured["machine"]}.

## Measured

On {measured["heldout_pictures"]} frames of its own kind of video that were held out (see the table of sources) and
never trained on: every second frame was coded, the ones between were made and compared with the true, uncoded ones.
Luma PSNR in dB (of the squared error averaged over frames) and SSIM, as FFmpeg's filters define them; the exported file
through ONNX Runtime. `minterpolate` is FFmpeg's, with `mi_mode=mci`.

{records._table(["", "PSNR-Y dB", "over blend, dB", "SSIM"], rows)}

## Trained

{metadata["steps"]} steps, {elapsed_s} s. Settings: `{json.dumps(json.loads(metadata["settings"]), sort_keys=True)}`.
{records._history_lines(metadata).rstrip()}
{shown}
What the video is and under which terms, as who trained on it says: {origin.about}.
None of its pictures is part of this project.

{_sources(origin.sources)}
"""


def _sources(sources):
    """What it learned from, and what it was measured on: facts of `material`, or {name: {sha256, seconds, held_out}} of
    a recipe. What nothing was learned from has a heading of its own, by which checks tell it from the rest."""
    if not isinstance(sources, dict):
        rows = [
            [one["label"], records._times(one["trained_s"]), records._times(one["held_out_s"]), f"`{one['sha256']}`"]
            for one in sources
        ]
        return records._table(["source", "trained on, s", "held out, s", "SHA-256"], rows)
    times = {name: (one.get("seconds", []), one.get("held_out", [])) for name, one in sources.items()}
    digests = {name: f"`{one['sha256']}`" for name, one in sources.items()}
    kept_apart = [name for name, (trained, held_out) in times.items() if held_out and not trained]
    rows = [
        [name, records._times(trained), records._times(held_out), digests[name]]
        for name, (trained, held_out) in times.items()
        if name not in kept_apart
    ]
    text = records._table(["source", "trained on, s", "held out, s", "SHA-256"], rows)
    if kept_apart:
        rows = [[name, records._times(times[name][1]), digests[name]] for name in kept_apart]
        text += "\n\n## Held out\n\n" + records._table(["source", "s", "SHA-256"], rows)
    return text
