"""`learn --task interpolate`, from start to end: material, training, the verdict."""

import hashlib
import json
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .. import catalogue, curves
from ..learn import ASIDE_SHARE, CURVE_POINTS, ENDLESS_STEPS, FIRST_PIECE_S
from . import contract, material, publish, train

LEARNING_RATE = 5e-4


@dataclass(frozen=True)
class Plan:
    """What `learn` is asked to do; either `steps` or `budget_s` ends the training of each tier."""

    cluster: str
    sources: tuple
    terms: material.Terms = field(default_factory=material.Terms)
    tiers: tuple = ("s",)
    budget_s: float = 600.0
    steps: int = 0
    seed: int = 1
    most_s: float = 600.0
    about: str = "not stated"
    begin_with: str = ""
    learning_rate: float = LEARNING_RATE
    threads: int = 1

    def folder(self, scratch):
        return Path(scratch) / "learn" / f"{self.cluster}-i{contract.FACTOR}"


def _settings(plan, tier):
    return train.Settings(
        tier=tier,
        seed=plan.seed,
        steps=plan.steps or ENDLESS_STEPS,
        budget_s=0.0 if plan.steps else plan.budget_s / len(plan.tiers),
        height=min(train.Settings.height, plan.terms.height // 16 * 16),
        learning_rate=plan.learning_rate,
        threads=plan.threads,
    )


def _trained(plan, tier, material_folder, folder, zoo, quiet, say):
    """The folder of the tier's finished run."""
    begin = plan.begin_with or publish.beginning(zoo, tier)
    settings = _settings(plan, tier)
    begun = hashlib.sha256(Path(begin).read_bytes()).hexdigest() if begin and Path(begin).is_file() else str(begin)
    told = json.dumps([asdict(settings) | {"threads": 0}, begun, material_folder.name], sort_keys=True)
    run_folder = folder / "runs" / f"{tier}-{hashlib.sha256(told.encode()).hexdigest()[:8]}"
    run = train.Run(run_folder, material_folder / "corpus", settings, begin_with=begin)
    length = f"{plan.steps} steps" if plan.steps else f"{settings.budget_s / 60:.1f} min"
    where = f", going on at step {run.step}" if run.step else ""
    say(f"training {tier} for {length} from {Path(begin).name if begin else 'nothing'}{where}")
    piece_s = FIRST_PIECE_S if plan.steps else max(FIRST_PIECE_S, settings.budget_s / CURVE_POINTS)
    while run.progress() < 1.0:
        # In pieces: each leaves a checkpoint and a point of the curve, and the weights do not notice.
        started, trained_s = time.monotonic(), run.elapsed_s
        run.run(stop_after_s=piece_s, quiet=quiet or not sys.stderr.isatty())
        gain_db = curves.points(run_folder)[-1]["gain_db"]
        say(f"  {run.progress():4.0%}, step {run.step}: {gain_db:+.2f} dB over blending on training patches")
        aside_s = time.monotonic() - started - (run.elapsed_s - trained_s)
        piece_s = max(piece_s, ASIDE_SHARE * aside_s)
    return run_folder


def learn(plan, zoo, scratch, quiet=False, dry_run=False, say=print):
    """Does it all; gives the ids of the models that were published, perhaps none."""
    folder = plan.folder(scratch)
    material_folder = folder / f"material-{material.identity(plan.sources, plan.terms, plan.most_s)}"
    manifest = material.prepare(plan.sources, plan.terms, material_folder, plan.most_s, say=say)
    say(f"{manifest['trained_triplets']} frames to train on, {manifest['held_out_triplets']} held out")
    origin = publish.Origin(plan.cluster, manifest["sources"], plan.about)
    published = []
    for tier in plan.tiers:
        run = _trained(plan, tier, material_folder, folder, zoo, quiet, say)
        good, scores, data = publish.publish(run, tier, origin, material_folder / "heldout", zoo, dry_run, say)
        name = publish.model_id(plan.cluster, tier)
        (folder / "onnx").mkdir(exist_ok=True)
        (folder / "onnx" / f"{name}.onnx").write_bytes(data)
        if good:
            published.append(name)
            told = {
                "sha256": hashlib.sha256(data).hexdigest(),
                "material": material_folder.name,
                "scores": {method: asdict(one) for method, one in scores.items()},
            }
            catalogue.replace(folder / f"{name}.json", json.dumps(told, indent=1).encode())
    return published
