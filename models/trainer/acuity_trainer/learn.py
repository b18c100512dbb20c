"""`learn`: from a stream's ladder to published models of its cluster, in one go.

    scratch/learn/<cluster>-x<scale>/material-<identity>/   see `material`
    scratch/learn/<cluster>-x<scale>/runs/<tier>-<identity>/ checkpoints and logs, see `train`
    scratch/learn/<cluster>-x<scale>/<id>.json               what was published and how to measure it again

Every step leaves what it made behind and finds it again, so the same command after
a kill goes on where it was.
"""

import hashlib
import json
import os
import sys
import time
from dataclasses import asdict, dataclass
from pathlib import Path

from . import catalogue, contract, curves, material, networks, publish, quantise, train
from .overlay import beside

# Larger than what the generic networks end with, although training goes on from them: in 400 steps on 35 s of one film,
# 0.22 dB over the generic network against 0.17 at a third of it.
LEARNING_RATE = 3e-3
# No tier gets less than this part of the budget, however small it is.
LEAST_SHARE = 0.1
# Points of the training curve.
CURVE_POINTS = 16
FIRST_PIECE_S = 5.0
# Validating is not training: a piece is at least so many times as long as what follows it.
ASIDE_SHARE = 10.0
ENDLESS_STEPS = 100_000_000


@dataclass(frozen=True)
class Plan:
    """What `learn` is asked to do; either `steps` or `budget_s` ends the training of each tier."""

    cluster: str
    sources: tuple
    scale: int = contract.SCALE
    tiers: tuple = ("s",)
    budget_s: float = 600.0
    steps: int = 0
    seed: int = 1
    most_s: float = material.MOST_S
    correct_offset: bool = False
    about: str = "not stated"
    begin_with: str = ""
    learning_rate: float = LEARNING_RATE
    threads: int = 1
    overlay: bool = True
    int8: bool = True

    def folder(self, scratch):
        return Path(scratch) / "learn" / f"{self.cluster}-x{self.scale}"

    def material_folder(self, scratch):
        name = material.identity(self.sources, self.scale, self.seed, self.most_s, self.correct_offset)
        return self.folder(scratch) / f"material-{name}"


def shares(tiers, scale):
    """{tier: its part of the budget}, in proportion to what a training step costs."""
    costs = {tier: networks.macs_per_pixel(networks.build(tier, scale).collapsed()) for tier in tiers}
    total = sum(costs.values())
    floored = {tier: max(LEAST_SHARE if len(tiers) > 1 else 1.0, cost / total) for tier, cost in costs.items()}
    return {tier: share / sum(floored.values()) for tier, share in floored.items()}


def _settings(plan, tier, budget_s):
    return train.Settings(
        tier=tier,
        scale=plan.scale,
        seed=plan.seed,
        steps=plan.steps or ENDLESS_STEPS,
        budget_s=0.0 if plan.steps else budget_s,
        learning_rate=plan.learning_rate,
        robust_share=0.0,
        # One kind of video: its PSNR counts squared error, so that is what is minimised.
        relative=False,
        threads=plan.threads,
    )


def _trained(plan, tier, budget_s, manifest_folder, folder, zoo, quiet, say):
    """The folder of the tier's finished run."""
    begin = plan.begin_with or publish.beginning(zoo, plan.scale, tier)
    settings = _settings(plan, tier, budget_s)
    begun = hashlib.sha256(Path(begin).read_bytes()).hexdigest() if begin and Path(begin).is_file() else str(begin)
    told = json.dumps([asdict(settings) | {"threads": 0}, begun, manifest_folder.name], sort_keys=True)
    run_folder = folder / "runs" / f"{tier}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    run = train.Run(run_folder, manifest_folder / "corpus", settings, begin_with=begin)
    length = f"{plan.steps} steps" if plan.steps else f"{budget_s / 60:.1f} min"
    where = f", going on at step {run.step}" if run.step else ""
    say(f"training {tier} for {length} from {Path(begin).name if begin else 'nothing'}{where}")
    piece_s = FIRST_PIECE_S if plan.steps else max(FIRST_PIECE_S, budget_s / CURVE_POINTS)
    while run.progress() < 1.0:
        # In pieces: each leaves a checkpoint and a point of the curve, and the weights do not notice.
        started, trained_s = time.monotonic(), run.elapsed_s
        run.run(stop_after_s=piece_s, quiet=quiet or not sys.stderr.isatty())
        gain_db = curves.points(run_folder)[-1]["gain_db"]
        say(f"  {run.progress():4.0%}, step {run.step}: {gain_db:+.2f} dB over bicubic on training patches")
        aside_s = time.monotonic() - started - (run.elapsed_s - trained_s)
        piece_s = max(piece_s, ASIDE_SHARE * aside_s)
    return run_folder


def learn(plan, zoo, scratch, quiet=False, dry_run=False, say=print):
    """Does it all; gives the ids of the models that were published, perhaps none."""
    folder, material_folder = plan.folder(scratch), plan.material_folder(scratch)
    manifest = material.prepare(
        plan.sources, plan.scale, material_folder, plan.seed, plan.most_s, plan.correct_offset, say=say
    )
    say(f"{manifest['trained_pictures']} pictures to train on, {manifest['held_out_pictures']} held out")
    origin = publish.Origin(plan.cluster, plan.scale, manifest["sources"], plan.about)
    calibrated = quantise.calibration(material_folder / "corpus") if plan.int8 else None
    parts, published = shares(plan.tiers, plan.scale), []
    for tier in sorted(plan.tiers, key=list(contract.TIERS).index):
        run = _trained(plan, tier, plan.budget_s * parts[tier], material_folder, folder, zoo, quiet, say)
        overlay = None
        if plan.overlay:
            overlay = beside.find(run, tier, material_folder / "corpus", plan.threads, say)
        good, scores, data = publish.publish(
            run, tier, origin, material_folder / "heldout", zoo, plan.threads, dry_run, say, overlay, calibrated
        )
        name = publish.model_id(plan.cluster, plan.scale, tier)
        (folder / "onnx").mkdir(exist_ok=True)
        (folder / "onnx" / f"{name}.onnx").write_bytes(data)
        if good:
            published.append(name)
            told = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "material": material_folder.name,
                "most_s": plan.most_s,
                "offset": plan.correct_offset,
                "sources": [[type(source).__name__, asdict(source)] for source in plan.sources],
                "scores": {method: asdict(score) for method, score in scores.items()},
            }
            catalogue.replace(folder / f"{name}.json", json.dumps(told, indent=1).encode())
    return published


def default_threads():
    """As many as there are processors, up to four: beyond that these small networks do not get faster."""
    return min(4, len(os.sched_getaffinity(0)) if sys.platform == "linux" else os.cpu_count() or 1)
