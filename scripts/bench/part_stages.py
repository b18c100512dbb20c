"""Where a frame's time goes, by tier, input size and frame rate."""

from setting import PLAIN, stage_ms
from stats import show, spread, table

TITLE = "Stages"
ABOUT = """Busy milliseconds a frame of each stage of `acuity enhance`; stages overlap on several threads, so they
add up to more than the clock. `CPU ms` is processor time a frame from the first segment to the last, models loaded
before."""

SIZES = [(320, 180), (480, 270), (640, 360), (960, 540)]
RATES = [24, 60]
STAGES = ["demux", "decode", "network", "chroma", "scaler", "encode", "splice"]


def grid(setting):
    """(width, height, fps) of the inputs."""
    if setting.quick:
        return [(320, 180, 30), (640, 360, 30)]
    return [(w, h, 30) for w, h in SIZES] + [(640, 360, fps) for fps in RATES]


def run(setting):
    seconds = 6 if setting.quick else 12
    rounds = 1 if setting.quick else max(setting.rounds - 2, 1)
    tiers = setting.tiers[:1] if setting.quick else setting.tiers
    inputs = [setting.clip(w, h, fps, seconds) for w, h, fps in grid(setting)]
    runs = {(clip, what): [] for clip in inputs for what in [PLAIN, *tiers]}
    for turn in range(rounds):
        for (clip, what), done in runs.items():
            setting.say(f"round {turn + 1} of {rounds}: {clip.label} {what}")
            usage, told, _ = setting.enhance(clip, what)
            done.append((usage, told))
    return {"rows": [summary(clip, what, done) for (clip, what), done in runs.items()]}


def summary(clip, what, done):
    accounts = [told for _, told in done]
    each = [stage_ms(told) for told in accounts]
    processor = [told["processor_seconds"] for told in accounts]
    frames = accounts[0]["frames"]
    return {
        "label": what,
        "input": clip.label,
        "clip": clip.facts(),
        "real_time": spread([told["media_seconds"] / told["seconds"] for told in accounts]),
        "clock_ms_a_frame": spread([told["seconds"] * 1000 / told["frames"] for told in accounts]),
        "cpu_ms_a_frame": spread(
            [(p["user"] + p["system"]) * 1000 / frames for p in processor if p["user"] is not None]
        ),
        "stages_ms": {name: spread([one[name] for one in each]) for name in STAGES if name in each[0]},
        "peak_mib": spread([usage.peak_mib for usage, _ in done]),
        "made_by": accounts[0]["made_by"],
    }


def text(result):
    head = ["", "input", "x real time", *STAGES, "clock ms", "CPU ms", "peak MiB"]
    rows = []
    for row in result["rows"]:
        stages = [show(only_median(row["stages_ms"].get(name))) for name in STAGES]
        clock, cpu = show(only_median(row["clock_ms_a_frame"])), show(only_median(row["cpu_ms_a_frame"]))
        rows.append(
            [
                row["label"],
                row["input"],
                show(row["real_time"]),
                *stages,
                clock,
                cpu,
                f"{row['peak_mib']['median']:.0f}",
            ]
        )
    return table(head, rows)


def only_median(figure):
    """The table has no room for ranges; the JSON has them."""
    return {**figure, "n": min(figure["n"], 1)} if figure else None
