"""The records: one Markdown page a model, how it was trained, on what, and what it measured.

Written together with the catalogue's entry; what gets in is checked for paths and hosts.
"""

import json
import re

# How the paragraph about the 8-bit file begins.
INT8, INT8_NONE = "In 8-bit integers", "There is no file in 8-bit integers"


def leaks(text):
    """Paths of a machine and host names must not get into what is committed: what of that is in `text`."""
    return re.findall(r"(?:/(?:work|tmp|root|home)/\S*|https?://\S+)", text)


def _table(header, rows):
    lines = ["| " + " | ".join(header) + " |", "|" + "---|" * len(header)]
    return "\n".join(lines + ["| " + " | ".join(row) + " |" for row in rows])


def generic(entry, metadata, clips, stills, stride):
    """The record of a generic model, measured on the test set, as Markdown."""
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

Clean stills, scaled down by bicubic, luma PSNR in dB without a border of {entry["scale"]} pixels:

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


def int8_line(entry, judged, facts):
    """The paragraph about a model's 8-bit file; `judged` is the Verdict on it, `facts` those of its calibration."""
    if "int8" not in entry:
        return (
            f"{INT8_NONE}: it would lose {judged.worst_db:.3f} dB in {judged.worst}, and no clip may lose that much.\n"
        )
    every = f", every {judged.every}th frame" if judged.every > 1 else ""
    clips = f" (mean over {judged.clips} clips{every}; {judged.worst_db:+.3f} dB in the worst, {judged.worst})"
    return (
        f"{INT8}: `{entry['int8']['file']}`, SHA-256 `{entry['int8']['sha256']}`.\n"
        f"It loses {judged.loss_db:+.3f} dB of luma PSNR against the file above{clips if judged.clips > 1 else ''}.\n"
        f"Its scales were chosen on {facts['pictures']} low pictures of the corpus with digest `{facts['corpus']}`.\n"
    )


def with_int8(text, line):
    """A record with the paragraph `line` of `int8_line`, where an older one may be already."""
    kept = [part for part in text.split("\n\n") if not part.startswith((INT8, INT8_NONE))]
    at = next(number for number, part in enumerate(kept) if "SHA-256 of the file: `" in part)
    return "\n\n".join([*kept[: at + 1], line.rstrip("\n"), *kept[at + 1 :]])


def _history_lines(metadata):
    runs = json.loads(metadata.get("history", "[]"))
    if not runs:
        return ""
    told = [
        f"- the exported model {run['model']}, SHA-256 `{run['sha256']}`"
        if "model" in run
        else f"- {run['step']} steps, {run['elapsed_s']} s: `{json.dumps(run['settings'], sort_keys=True)}`"
        for run in runs
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


def _times(ranges):
    return ", ".join(f"{float(start):.1f} to {float(end):.1f}" for start, end in ranges) or "-"


def _learned_sources(sources):
    """What a cluster's model learned from: facts of `material`, or {name: {sha256, seconds, held_out}} of a recipe."""
    if isinstance(sources, dict):
        rows = [
            [name, "-", _times(one.get("seconds", [])), _times(one.get("held_out", [])), f"`{one['sha256']}`"]
            for name, one in sources.items()
        ]
    else:
        rows = [
            [
                one["label"],
                "{}x{} to {}x{}, {} fps".format(*one["low"], *one["high"], one["fps"]),
                _times(one["trained_s"]),
                _times(one["held_out_s"]),
                f"`{one['sha256']}`",
            ]
            for one in sources
        ]
    digest = "SHA-256 (of a ladder: of its segments' digests)"
    return _table(["source", "renditions", "trained on, s", "held out, s", digest], rows)


def learned(entry, metadata, scores, names, sources, about, pictures, elapsed_s, curve):
    """The record of a content-aware model, measured on the held-out part of its own video, as Markdown.

    `names` says what each method of `scores` is called in the table; `curve` whether there is a picture of one.
    """
    model, measured = entry["id"], entry["measured"]
    best = measured["heldout_plain_db"]
    rows = [
        [names.get(name, name), f"{score.psnr_db:.3f}", f"{score.psnr_db - best:+.3f}", f"{score.ssim:.4f}"]
        for name, score in scores.items()
    ]
    shown = f"\n![loss and gain over the steps]({model}.png)\n" if curve else ""
    return f"""# {model}

Written by `python3 -m acuity_trainer`.

{entry["parameters"]} parameters, {measured["macs_per_pixel"]:.0f} multiply-accumulates for each source pixel;
the catalogue says how long a frame takes. SHA-256 of the file: `{entry["sha256"]}`.

## Measured

On {pictures} pictures of its own kind of video that were held out (see the table of sources) and never trained on. Luma
PSNR in dB (of the squared error averaged over pictures) and SSIM, as FFmpeg's filters define them; the exported file
through ONNX Runtime. Gain is over the better of swscale's bicubic and Lanczos.

{_table(["", "PSNR-Y dB", "gain dB", "SSIM"], rows)}

`python3 -m acuity_trainer evaluate --heldout {model}` measures it again.

## Trained

{metadata["steps"]} steps, {elapsed_s} s. Settings: `{json.dumps(json.loads(metadata["settings"]), sort_keys=True)}`.
{_history_lines(metadata).rstrip()}
{shown}
{_learned_sources(sources)}

{_overlay_line(metadata)}What the video is and under which terms, as who trained on it says: {about}.
{_pictures_line(metadata)}
"""


def _overlay_line(metadata):
    """What of the model is no network: pictures of what stands still."""
    if "overlay" not in metadata:
        return ""
    facts = json.loads(metadata["overlay"])
    return (
        f"Beside its weights the model holds {facts['bytes']} bytes of pictures of what stands still in low pictures\n"
        f"of {facts['frame']} (width x height + left + top: entries): {', '.join(facts['boxes'])}.\n"
        "At any other size it is the network alone.\n\n"
    )


def _pictures_line(metadata):
    if "overlay" in metadata:
        return "Of its pictures only those that stand still, as said, are part of the model."
    return "None of its pictures is part of this project."
