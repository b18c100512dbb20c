"""The overlay beside a run: found once after training, kept in the run's folder, taken along when it is exported.

overlay.json  what was found, and at which step of the run
overlay.npz   the overlay, where one was found
"""

import json
import time
from pathlib import Path

from .. import catalogue, export, heldout, train
from . import fit, load


def find(run, tier, corpus, threads=1, say=print):
    """The `Overlay` of what stands still in the pairs of the folder `corpus`, or None; found once for a run's step."""
    run = Path(run)
    network, facts = train.load_average(run, tier)
    told = _told(run)
    if told and told["step"] == facts["step"]:
        return load(run / "overlay.npz") if told["overlay"] else None
    started = time.monotonic()
    session = export.session(export.build(network.collapsed(), {"id": "run"}).SerializeToString(), threads)
    pairs = ((item.lows, item.high) for item in heldout.items(corpus))
    overlay, share = fit.found(fit.look(pairs, lambda luma: export.upscale(session, luma)))
    if overlay:
        overlay.save(run / "overlay.partial")
        (run / "overlay.partial").replace(run / "overlay.npz")
    told = {"step": facts["step"], "share": round(share, 4), "overlay": overlay.facts() if overlay else None}
    catalogue.replace(run / "overlay.json", json.dumps(told).encode())
    took = f"(looked for {time.monotonic() - started:.0f} s)"
    if overlay:
        boxes = ", ".join(told["overlay"]["boxes"])
        say(f"standing pictures at {boxes}: {share:.1%} of the error gone in parts that were left out {took}")
    else:
        say(f"no standing pictures worth keeping {took}")
    return overlay


def _told(run):
    path = run / "overlay.json"
    return json.loads(path.read_text(encoding="utf-8")) if path.exists() else None
