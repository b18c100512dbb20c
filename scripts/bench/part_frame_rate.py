"""Twice the pictures: what repeats, blends and interpolates them, at the source's size and enlarged, against FFmpeg."""

from part_end_to_end import filtered, ours, summary, take_turns, target_of
from part_end_to_end import text as table_of
from setting import INTERPOLATORS, PLAIN

TITLE = "Frame rate"
ABOUT = """A clip at 30 pictures a second to 60, at its own size and at twice that, the same encoder settings
everywhere. Acuity as in `end-to-end`; FFmpeg: `fps` (pictures repeat: the floor), `minterpolate` with mi_mode=blend and
mi_mode=mci, enlarged behind it where both are asked for, which is the cheaper order for it too. Milliseconds are a
picture of the source, that is for two of the result."""

# Label: FFmpeg's filter; {rate} is the result's, as a fraction.
FILTERS = {
    "ffmpeg repeat": "fps={rate}",
    "ffmpeg blend": "minterpolate=fps={rate}:mi_mode=blend",
    "ffmpeg minterpolate": "minterpolate=fps={rate}:mi_mode=mci",
}
FLOOR = "ffmpeg repeat"


def interpolators(setting):
    """What there is to make pictures between two: built in, and networks of the zoo."""
    zoo = setting.root / "models/zoo"
    return ["repeat", "blend", *(name for name in INTERPOLATORS if (zoo / f"{name}.onnx").is_file())]


def same_size(setting):
    """{label: options of `acuity enhance`} at the source's own size."""
    return {f"acuity {name}": ["--scale", "1", *_twice(name)] for name in interpolators(setting)}


def enlarged(setting):
    """The same, enlarged: the plain scaler behind what repeats, every network behind every one that interpolates."""
    networks = interpolators(setting)[2:] or ["blend"]
    found = {f"acuity {PLAIN} + {name}": ["--baseline", "bicubic", *_twice(name)] for name in ("repeat", *networks)}
    for name in networks:
        found |= {f"acuity {tier} + {name}": ["--model", tier, *_twice(name)] for tier in setting.tiers}
    return found


def _twice(name):
    return ["--frame-rate", "x2", "--interpolator", name]


def rows(setting, clip, options_of):
    """One table: FFmpeg's and Acuity's cases in turn, round after round."""
    target, options = target_of(setting, clip, next(iter(options_of.values())))
    rate = f"{target.fps_milli}/1000"
    grows = "" if target.width == clip.width else ",scale={w}:{h}:flags=bicubic"
    found = {
        label: lambda graph=graph: filtered(setting, clip, target, graph.format(rate=rate) + grows)
        for label, graph in FILTERS.items()
    }
    found |= {label: lambda how=how: ours(setting, clip, how) for label, how in options_of.items()}
    absent = {}
    runs, warnings = take_turns(setting, found, options, FLOOR, absent)
    return {
        "clip": clip.facts(),
        "target": vars(target),
        "x264": options,
        "rows": [summary(label, runs[label], runs[FLOOR], clip) for label in found],
        "absent": absent,
        "warnings": warnings,
    }


def run(setting):
    clip = setting.clip()
    same, large = rows(setting, clip, same_size(setting)), rows(setting, clip, enlarged(setting))
    return {"same_size": same, "enlarged": large, "warnings": same["warnings"] + large["warnings"]}


def text(result):
    return "\n\n".join(table_of(result[key]) for key in ("same_size", "enlarged"))
