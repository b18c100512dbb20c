"""The training curve of a record: loss and validation gain over the steps, as a small PNG.

matplotlib is looked for only here, and only when a curve is drawn.
"""

import json
from pathlib import Path

# The zoo is part of the repository: a picture must not weigh more than the network.
MOST_BYTES = 60_000
SIZE_INCHES, DOTS_PER_INCH = (7.0, 3.0), 90


def points(run):
    """The entries of a run's log.jsonl in order of steps, [] where there is none; the last of doubles counts."""
    path = Path(run) / "log.jsonl"
    if not path.exists():
        return []
    entries = [json.loads(line) for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    by_step = {entry["step"]: entry for entry in entries}
    return [by_step[step] for step in sorted(by_step)]


def draw(path, title, entries, held_out_gain_db=None, over=("bicubic", "plain")):
    """Writes the curve of `points`; gives the PNG's size in bytes. Nothing is written where there are no points.

    `over` names what the gains on patches and on held-out video are counted from.
    """
    if not entries:
        return 0
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    steps = [entry["step"] for entry in entries]
    figure, left = pyplot.subplots(figsize=SIZE_INCHES, dpi=DOTS_PER_INCH, layout="constrained")
    right = left.twinx()
    shown = [entry["loss"] or None for entry in entries]
    (loss,) = left.plot(steps, shown, color="tab:gray", marker=".", linewidth=1)
    (gain,) = right.plot(steps, [entry["gain_db"] for entry in entries], color="tab:blue", marker=".", linewidth=1.5)
    handles, names = [loss, gain], ["loss (left)", f"gain over {over[0]}, training patches"]
    if held_out_gain_db is not None:
        handles.append(right.axhline(held_out_gain_db, color="tab:green", linestyle="--", linewidth=1))
        names.append(f"gain over {over[1]}, held-out video, at the end")
    left.set(xlabel="steps", ylabel="loss", title=title)
    right.set_ylabel("dB")
    figure.legend(handles, names, fontsize="small", loc="outside lower center", ncols=2)
    # no date and no version inside: the same run gives the same bytes
    figure.savefig(path, metadata={"Software": None})
    pyplot.close(figure)
    size = Path(path).stat().st_size
    if size > MOST_BYTES:
        raise ValueError(f"{Path(path).name}: {size} bytes are more than {MOST_BYTES}")
    return size
