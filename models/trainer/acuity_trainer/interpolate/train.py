"""Training an interpolation network: resumable after a kill, every batch drawn from (seed, step).

The loss is of the made picture; a little of it looks at the coarser levels' fields by themselves, so that large motion
is found where it has to be found, and not by chance.
"""

import hashlib
from dataclasses import asdict, dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as functional

from ..running import VALIDATION_STEP, Running, averaged, read
from . import drawn, grow, networks
from .triplets import Corpus

CHARBONNIER_EPSILON = 1.5 / 255
# What makes the relative loss about as large as the robust one, at the usual floor.
RELATIVE_WEIGHT = 0.04
VALIDATION_PATCHES = 48


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on but the corpus."""

    tier: str
    seed: int = 1
    steps: int = 20_000
    batch: int = 6
    height: int = 192
    width: int = 320
    learning_rate: float = 1e-3
    final_rate: float = 1e-5
    ema: float = 0.999
    # Part of the schedule with the robust loss, which finds motion; the rest minimises what PSNR counts.
    robust_share: float = 0.6
    # Squared error, in code values squared, that is added to that of blending: patches whose blend is better than that
    # count by their error itself, others by what is left of the blend's.
    floor: float = 15.0
    # Weight of the coarser levels' own errors, at the beginning; it falls to nothing with the rate.
    coarse: float = 0.3
    # How many of a batch have drawn motion, up to which part of the schedule, and the weight of their fields' errors
    # (in pixels of the picture).
    drawn: int = 2
    drawn_share: float = 0.7
    field: float = 0.02
    budget_s: float = 0.0
    threads: int = 1


def to_unit(values):
    """uint8 [n, h, w] to float32 [n, 1, h, w] in 0..1."""
    return torch.from_numpy(values)[:, None].float().div_(255.0)


def _robust(difference):
    return (difference.square() + CHARBONNIER_EPSILON**2).sqrt().mean()


def relative_loss(difference, blended, floor):
    """Squared error relative to that of blending, patch by patch.

    Between pictures that have hardly anything in common nothing can be made well; their errors, thirty times those of
    common motion, would be all that is learned from.
    """
    errors, plain = (part.square().mean((1, 2, 3)) * 255.0**2 for part in (difference, blended))
    return (errors / (plain + floor)).mean() * RELATIVE_WEIGHT


def coarse_loss(previous, following, middle, flows):
    """What the fields at 1/4 and 1/8 alone leave of the error, each in a picture of its own size."""
    total = 0.0
    for flow in flows[1:3]:
        size = middle.shape[-1] // flow.shape[-1]
        small = [functional.avg_pool2d(picture, size) for picture in (previous, following, middle)]
        made = (networks.moved(small[0], -flow) + networks.moved(small[1], flow)) / 2
        total = total + _robust(made - small[2])
    return total


def field_loss(flows, fields):
    """Mean distance of the fields found, at every level, from the true ones [n, 2, h, w]; in pixels of the picture."""
    total = 0.0
    for flow in flows:
        size = fields.shape[-1] // flow.shape[-1]
        true = functional.avg_pool2d(fields, size) if size > 1 else fields
        total = total + ((flow * size - true).square().sum(1) + 0.01).sqrt().mean()
    return total


class Run(Running):
    """One training run in `folder` (checkpoint.pt, log.jsonl)."""

    evaluate_every = 1000
    loss_is = "squared error"
    longest_gradient = 0.2

    def __init__(self, folder, corpus, settings, begin_with=None):
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.corpus = Corpus(corpus)
        fresh, self.history = networks.build(settings.tier), []
        if begin_with:
            fresh, self.history = begin(begin_with, settings.tier)
        super().__init__(folder, settings, fresh, betas=(0.9, 0.999))
        self.validation = self.corpus.batch(
            np.random.default_rng([settings.seed, VALIDATION_STEP]),
            VALIDATION_PATCHES,
            settings.height,
            settings.width,
        )
        self._resume()

    def _identity(self):
        return {
            **asdict(self.settings),
            "threads": 0,
            "corpus": self.corpus.digest,
            "begun": len(self.history),
        }

    def _train_step(self):
        settings = self.settings
        rng = np.random.default_rng([settings.seed, self.step])
        # one of the batch at least is real
        known = min(settings.drawn, settings.batch - 1) if self.progress() < settings.drawn_share else 0
        patches = self.corpus.batch(rng, settings.batch - known, settings.height, settings.width)
        previous, following, middle = (to_unit(part) for part in patches)
        if known:
            lumas = self.corpus.batch(rng, known * drawn.LAYERS, settings.height, settings.width)[2]
            *more, fields = drawn.batch(rng, lumas)
            previous, following, middle = (
                torch.cat(pair) for pair in zip((previous, following, middle), more, strict=True)
            )
        made, _, flows = self.network(previous, following)
        difference = made - middle
        if self.progress() < settings.robust_share:
            loss = _robust(difference)
        else:
            loss = relative_loss(difference, (previous + following) / 2 - middle, settings.floor)
        whole = loss + settings.coarse * self.along() * coarse_loss(previous, following, middle, flows)
        if known:
            whole = whole + settings.field * field_loss([flow[-known:] for flow in flows], fields)
            difference = difference[:-known]
        self._descend(whole)
        return float(difference.detach().square().mean()) * 255**2

    def validate(self):
        """Gain in dB of the averaged network over blending on the validation patches: of the mean squared errors."""
        errors = np.zeros(2)
        with torch.no_grad():
            for start in range(0, VALIDATION_PATCHES, 8):
                previous, following, middle = (to_unit(part[start : start + 8]) for part in self.validation)
                blend = (previous + following) / 2
                made = self.average(previous, following)[0]
                errors += [float((picture - middle).square().sum()) for picture in (blend, made)]
        return float(10 * np.log10(errors[0] / errors[1]))


def load_average(folder, tier):
    """(the averaged network of a run's checkpoint, {step, elapsed_s, settings, history})."""
    return averaged(folder, tier, lambda identity: networks.build(tier))


def begin(source, tier):
    """(network, what went before) out of a run's folder or an exported model, of the tier or one that grows into it."""
    if Path(source).suffix == ".onnx":
        from . import export

        data = Path(source).read_bytes()
        held, before = export.tier_of(data), [{"model": Path(source).name, "sha256": hashlib.sha256(data).hexdigest()}]
        network = export.read_network(data, held)
    else:
        held = read(source)[0]["tier"]
        network, facts = load_average(source, held)
        before = facts["history"] + [{key: facts[key] for key in ("step", "elapsed_s", "settings")}]
    return network if held == tier else grow.grown(network, tier), before
