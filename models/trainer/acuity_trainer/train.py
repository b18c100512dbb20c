"""Training one tier: resumable after a kill, reproducible from its seed.

Every random choice of a step is drawn from a generator seeded by (seed, step),
so a run that was cut off and resumed sees the very same batches. The schedule
follows the steps; a time budget, when given, moves it on faster and makes the run
depend on the machine's speed, which the record then says.

Speed is quality here, since the budget is minutes of a CPU: the body of the network runs in bfloat16 where the
processor multiplies that itself (twice as fast; interpolation, first layer and loss stay in single precision), a
patch is cut by what the layers see instead of being padded, and patches come from memory maps without copies.
"""

import copy
import hashlib
import json
import math
import os
import sys
import time
from dataclasses import asdict, dataclass, field
from pathlib import Path

import numpy as np
import torch

from . import networks
from .corpus import Corpus

CHARBONNIER_EPSILON = 1.5 / 255
# Squared error is taken relative to the plain scaler's on the same frame (code values squared, this added),
# because a clip's gain in dB is relative too.
PLAIN_FLOOR = 2.0
CHECKPOINT_EVERY_S = 60.0
EVALUATE_EVERY = 2000
VALIDATION_STEP = 2**40  # a step no run reaches: the seed of the validation patches


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


class Interrupted(RuntimeError):
    """The checkpoint belongs to other settings."""


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


def _rate(settings, progress, step):
    warm = min(1.0, (step + 1) / 200)
    return warm * (
        settings.final_rate
        + (settings.learning_rate - settings.final_rate) * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
    )


class Run:
    """One training run in `folder` (checkpoint.pt, log.jsonl)."""

    def __init__(self, folder, corpus, settings, begin_with=None):
        self.folder, self.settings = Path(folder), settings
        self.folder.mkdir(parents=True, exist_ok=True)
        torch.set_num_threads(settings.threads)
        torch.manual_seed(settings.seed)
        self.corpus = Corpus(corpus)
        if self.corpus.scale != settings.scale:
            raise Interrupted(f"{corpus} holds pairs of scale {self.corpus.scale}, not {settings.scale}")
        # What went before, oldest first, when the first weights are another run's.
        fresh, self.history = networks.build(settings.tier, settings.scale), []
        if begin_with:
            fresh, self.history = _begin(begin_with, settings)
        self.network = fresh.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate, betas=(0.9, 0.99))
        self.step, self.elapsed_s = 0, 0.0
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

    def _resume(self):
        path = self.folder / "checkpoint.pt"
        if not path.exists():
            return
        state = torch.load(path, map_location="cpu")
        if json.loads(state["identity"]) != self._identity():
            raise Interrupted(f"{path} is of other settings or another corpus; give another folder, or delete it")
        self.network.load_state_dict(state["network"])
        self.average.load_state_dict(state["average"])
        self.optimiser.load_state_dict(state["optimiser"])
        self.step, self.elapsed_s, self.history = state["step"], state["elapsed_s"], state["history"]

    def save(self):
        """Writes the checkpoint beside the old one and renames: a kill leaves one or the other."""
        partial = self.folder / "checkpoint.partial"
        torch.save(
            {
                "identity": json.dumps(self._identity()),
                "network": self.network.state_dict(),
                "average": self.average.state_dict(),
                "optimiser": self.optimiser.state_dict(),
                "history": self.history,
                "step": self.step,
                "elapsed_s": self.elapsed_s,
            },
            partial,
        )
        os.replace(partial, self.folder / "checkpoint.pt")

    def progress(self):
        """0..1: how much of the schedule is done."""
        done = self.step / self.settings.steps
        return max(done, self.elapsed_s / self.settings.budget_s) if self.settings.budget_s else done

    def _train_step(self):
        settings = self.settings
        low, high, plain = self.corpus.batch(
            np.random.default_rng([settings.seed, self.step]), settings.batch, settings.patch
        )
        progress = self.progress()
        for group in self.optimiser.param_groups:
            group["lr"] = _rate(settings, progress, self.step)
        if not settings.relative:
            plain = np.full_like(plain, self.corpus.plain_mse)
        target = to_unit(middle(high, self.network))
        output = self.network.core(to_unit(low), settings.bfloat16)
        loss = loss_of(output, target, torch.from_numpy(plain), progress < settings.robust_share)
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
        self.optimiser.step()
        decay = min(settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        self.step += 1
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

    def run(self, stop_after_s=None, quiet=False):
        """Trains to the end of the schedule (or for `stop_after_s`); returns the averaged network."""
        started, saved, base, mean_loss = time.monotonic(), time.monotonic(), self.elapsed_s, None
        while self.progress() < 1.0:
            loss = self._train_step()
            mean_loss = loss if mean_loss is None else mean_loss * 0.99 + loss * 0.01
            now = time.monotonic()
            self.elapsed_s = base + now - started
            if self.step % EVALUATE_EVERY == 0:
                self._log(
                    {
                        "step": self.step,
                        "elapsed_s": round(self.elapsed_s),
                        "loss": round(mean_loss, 5),
                        "gain_db": round(self.validate(), 4),
                    }
                )
            if self.step % 20 == 0 and not quiet:
                self._show(mean_loss)
            if now - saved > CHECKPOINT_EVERY_S:
                self.save()
                saved = now
            if stop_after_s is not None and now - started > stop_after_s:
                break
        self._log(
            {
                "step": self.step,
                "elapsed_s": round(self.elapsed_s),
                "loss": round(mean_loss or 0, 5),
                "gain_db": round(self.validate(), 4),
            }
        )
        self.save()
        if not quiet:
            print(file=sys.stderr)
        return self.average

    def _log(self, entry):
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def _show(self, loss):
        done = self.progress()
        left = self.elapsed_s / max(done, 1e-6) - self.elapsed_s
        bar = "#" * int(30 * done)
        end = "\r" if sys.stderr.isatty() else ("\n" if self.step % 1000 == 0 else "")
        if end:
            text = f"{self.settings.tier} [{bar:<30}] {done:6.1%} step {self.step} loss {loss:.4f}"
            print(f"{text} {self.elapsed_s:.0f} s, {left:.0f} s left", end=end, file=sys.stderr, flush=True)


def load_average(folder, tier):
    """The averaged network of a run's checkpoint, finished or not, and its facts.

    Gives (network, {step, elapsed_s, settings, history}).
    """
    identity, facts, average = _read(folder)
    if identity["tier"] != tier:
        raise Interrupted(f"{folder} holds a run of tier {identity['tier']}, not {tier}")
    network = networks.build(tier, identity.get("scale", 2))
    network.load_state_dict(average)
    return network, facts


def _read(folder):
    """(identity, facts, the averaged network's state) of a run's checkpoint."""
    state = torch.load(Path(folder) / "checkpoint.pt", map_location="cpu")
    identity = json.loads(state["identity"])
    facts = {
        "step": state["step"],
        "elapsed_s": round(state["elapsed_s"]),
        "settings": identity,
        "history": state.get("history", []),
    }
    return identity, facts, state["average"]


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
        identity, facts, _ = _read(source)
        network, _ = load_average(source, identity["tier"])
        history = facts["history"] + [{key: facts[key] for key in ("step", "elapsed_s", "settings")}]
    fresh = networks.build(settings.tier, settings.scale)
    same = {name: value.shape for name, value in network.state_dict().items()}
    if same != {name: value.shape for name, value in fresh.state_dict().items()}:
        network = networks.widened(network, settings.tier, settings.scale)
    return network, history
