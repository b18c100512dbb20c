"""Training one tier: resumable after a kill, reproducible from its seed.

Every random choice of a step is drawn from a generator seeded by (seed, step),
so a run that was cut off and resumed sees the very same batches. The schedule
follows the steps; a time budget, when given, moves it on faster and makes the run
depend on the machine's speed, which the record then says.

Speed is quality here, since the budget is minutes of a CPU: the body of the network runs in bfloat16 where the
processor multiplies that itself (twice as fast; interpolation, first layer and loss stay in single precision), a
patch is cut by what the layers see instead of being padded, and patches come from memory maps without copies.
"""

import hashlib
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from . import networks
from .corpus import Corpus
from .running import VALIDATION_STEP, Interrupted, Running, averaged, read

CHARBONNIER_EPSILON = 1.5 / 255
# Squared error is taken relative to the plain scaler's on the same frame (code values squared, this added),
# because a clip's gain in dB is relative too.
PLAIN_FLOOR = 2.0


def has_bfloat16(cpuinfo="/proc/cpuinfo"):
    """Does this processor multiply bfloat16 by itself? Where it does not, single precision is faster."""
    try:
        flags = Path(cpuinfo).read_text(encoding="utf-8")
    except OSError:
        return False
    return "avx512_bf16" in flags or "amx_bf16" in flags


@dataclass(frozen=True)
class Settings:
    """Everything a run depends on but the corpus."""

    tier: str
    scale: int = 2
    seed: int = 1
    steps: int = 60_000
    batch: int = 12
    patch: int = 64
    learning_rate: float = 2e-3
    final_rate: float = 1e-5
    ema: float = 0.999
    # Part of the schedule with the robust loss; the rest minimises squared error, which is what PSNR counts.
    robust_share: float = 0.25
    # Squared error relative to the plain scaler's on the same frame: for many kinds of video at once. One kind is
    # better off with the squared error itself, which is what its PSNR counts.
    relative: bool = True
    bfloat16: bool = field(default_factory=has_bfloat16)
    budget_s: float = 0.0
    threads: int = 1


def to_unit(values):
    """uint8 array to float32 tensor in 0..1, channels last (a third faster on CPUs)."""
    return torch.from_numpy(values).to(memory_format=torch.channels_last).float().div_(255.0)


def loss_of(output, target, plain, robust):
    """Robust loss first, squared error relative to `plain` (code values squared, one a patch) later."""
    difference = output - target
    if robust:
        return (difference.square() + CHARBONNIER_EPSILON**2).sqrt().mean() * 10
    each = difference.square().mean((1, 2, 3)) * 255.0**2
    return (each / (plain + PLAIN_FLOOR)).mean()


def middle(high, network):
    """What of a high patch `network.core` gives: all but the rim that only feeds the layers."""
    rim = network.margin * network.scale
    return high[..., rim:-rim, rim:-rim]


class Run(Running):
    """One training run in `folder` (checkpoint.pt, log.jsonl)."""

    def __init__(self, folder, corpus, settings, begin_with=None):
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.corpus = Corpus(corpus)
        if self.corpus.scale != settings.scale:
            raise Interrupted(f"{corpus} holds pairs of scale {self.corpus.scale}, not {settings.scale}")
        # What went before, oldest first, when the first weights are another run's.
        fresh, self.history = networks.build(settings.tier, settings.scale), []
        if begin_with:
            fresh, self.history = _begin(begin_with, settings)
        super().__init__(folder, settings, fresh, betas=(0.9, 0.99))
        self.validation = self.corpus.batch(
            np.random.default_rng([settings.seed, VALIDATION_STEP]), 192, settings.patch
        )
        self._resume()

    def _identity(self):
        return {
            **asdict(self.settings),
            "threads": 0,
            "corpus": self.corpus.digest(),
            "shares": self.corpus.share_of,
            "begun": len(self.history),
        }

    def _train_step(self):
        settings = self.settings
        low, high, plain = self.corpus.batch(
            np.random.default_rng([settings.seed, self.step]), settings.batch, settings.patch
        )
        if not settings.relative:
            plain = np.full_like(plain, self.corpus.plain_mse)
        target = to_unit(middle(high, self.network))
        output = self.network.core(to_unit(low), settings.bfloat16)
        loss = loss_of(output, target, torch.from_numpy(plain), self.progress() < settings.robust_share)
        self._descend(loss)
        return float(loss)

    def validate(self):
        """Mean gain in dB of the averaged network over the fixed bicubic kernel on the validation patches."""
        fresh, gains = networks.build(self.settings.tier, self.settings.scale).silence(), []
        with torch.no_grad():
            for start in range(0, len(self.validation[0]), 16):
                low, high = (part[start : start + 16] for part in self.validation[:2])
                low, high = to_unit(low), to_unit(middle(high, fresh))
                errors = [
                    ((net.core(low) - high) * 255).square().mean((1, 2, 3)) + 0.1 for net in (fresh, self.average)
                ]
                gains.append(10 * torch.log10(errors[0] / errors[1]))
        return float(torch.cat(gains).mean())


def load_average(folder, tier):
    """The averaged network of a run's checkpoint, finished or not, and its facts.

    Gives (network, {step, elapsed_s, settings, history}).
    """
    return averaged(folder, tier, lambda identity: networks.build(tier, identity.get("scale", 2)))


def _begin(source, settings):
    """First weights from a run's folder or an exported model, widened where that is of a smaller tier or another scale.

    Gives (network, what went before, oldest first).
    """
    if Path(source).suffix == ".onnx":
        from . import export

        data = Path(source).read_bytes()
        network = networks.from_layers(export.read_layers(data))
        history = [{"model": Path(source).name, "sha256": hashlib.sha256(data).hexdigest()}]
    else:
        identity, facts, _ = read(source)
        network, _ = load_average(source, identity["tier"])
        history = facts["history"] + [{key: facts[key] for key in ("step", "elapsed_s", "settings")}]
    fresh = networks.build(settings.tier, settings.scale)
    same = {name: value.shape for name, value in network.state_dict().items()}
    if same != {name: value.shape for name, value in fresh.state_dict().items()}:
        network = networks.widened(network, settings.tier, settings.scale)
    return network, history
