"""What every training run is, whatever it learns: steps along a schedule, a checkpoint that survives a kill, a log.

A run's folder has checkpoint.pt and log.jsonl. What is learned (`_train_step`), what it is judged by (`validate`) and
what makes two runs the same (`_identity`) are the subclass's.
"""

import copy
import json
import math
import os
import sys
import time
from pathlib import Path

import torch

CHECKPOINT_EVERY_S = 60.0
VALIDATION_STEP = 2**40  # a step no run reaches: the seed of the validation patches


class Interrupted(RuntimeError):
    """The checkpoint belongs to other settings."""


class Running:
    """A run of `network` in `folder` with `settings` (tier, seed, steps, learning_rate, final_rate, ema, budget_s,
    threads). Sets network, average, optimiser, step, elapsed_s; `_resume` is for the subclass to call when it is
    ready."""

    evaluate_every = 2000
    # what the mean that `_train_step` gives is called while it runs
    loss_is = "loss"
    longest_gradient = 1.0

    def __init__(self, folder, settings, network, betas):
        self.folder, self.settings = Path(folder), settings
        self.folder.mkdir(parents=True, exist_ok=True)
        self.network = network.to(memory_format=torch.channels_last)
        self.average = copy.deepcopy(self.network)
        self.optimiser = torch.optim.Adam(self.network.parameters(), lr=settings.learning_rate, betas=betas)
        self.step, self.elapsed_s = 0, 0.0

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

    def along(self):
        """1..0: half a cosine along the schedule, which the learning rate follows."""
        return 0.5 * (1 + math.cos(math.pi * min(1.0, self.progress())))

    def _descend(self, loss):
        """One step of the optimiser, and of the average behind it."""
        settings, warm = self.settings, min(1.0, (self.step + 1) / 200)
        rate = warm * (settings.final_rate + (settings.learning_rate - settings.final_rate) * self.along())
        for group in self.optimiser.param_groups:
            group["lr"] = rate
        self.optimiser.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.network.parameters(), self.longest_gradient)
        self.optimiser.step()
        decay = min(settings.ema, (1 + self.step) / (10 + self.step))
        with torch.no_grad():
            for mean, value in zip(self.average.parameters(), self.network.parameters(), strict=True):
                mean.lerp_(value, 1 - decay)
        self.step += 1

    def run(self, stop_after_s=None, quiet=False):
        """Trains to the end of the schedule (or for `stop_after_s`); returns the averaged network."""
        started = saved = time.monotonic()
        base, mean_loss = self.elapsed_s, None
        while self.progress() < 1.0:
            loss = self._train_step()
            mean_loss = loss if mean_loss is None else mean_loss * 0.99 + loss * 0.01
            now = time.monotonic()
            self.elapsed_s = base + now - started
            if self.step % self.evaluate_every == 0:
                self._log(mean_loss)
            if self.step % 20 == 0 and not quiet:
                self._show(mean_loss)
            if now - saved > CHECKPOINT_EVERY_S:
                self.save()
                saved = now
            if stop_after_s is not None and now - started > stop_after_s:
                break
        self._log(mean_loss or 0)
        self.save()
        if not quiet:
            print(file=sys.stderr)
        return self.average

    def _log(self, loss):
        entry = {
            "step": self.step,
            "elapsed_s": round(self.elapsed_s),
            "loss": round(loss, 5),
            "gain_db": round(self.validate(), 4),
        }
        with (self.folder / "log.jsonl").open("a", encoding="utf-8") as log:
            log.write(json.dumps(entry) + "\n")

    def _show(self, loss):
        done = self.progress()
        left = self.elapsed_s / max(done, 1e-6) - self.elapsed_s
        bar = "#" * int(30 * done)
        end = "\r" if sys.stderr.isatty() else ("\n" if self.step % 1000 == 0 else "")
        if end:
            text = f"{self.settings.tier} [{bar:<30}] {done:6.1%} step {self.step} {self.loss_is} {loss:.4f}"
            print(f"{text} {self.elapsed_s:.0f} s, {left:.0f} s left", end=end, file=sys.stderr, flush=True)


def read(folder):
    """(identity, {step, elapsed_s, settings, history}, the averaged network's state) of a run's checkpoint."""
    state = torch.load(Path(folder) / "checkpoint.pt", map_location="cpu")
    identity = json.loads(state["identity"])
    facts = {
        "step": state["step"],
        "elapsed_s": round(state["elapsed_s"]),
        "settings": identity,
        "history": state.get("history", []),
    }
    return identity, facts, state["average"]


def averaged(folder, tier, build):
    """(the averaged network of a run's checkpoint, finished or not, facts of :func:`read`); `build` makes one of an
    identity."""
    identity, facts, average = read(folder)
    if identity["tier"] != tier:
        raise Interrupted(f"{folder} holds a run of tier {identity['tier']}, not {tier}")
    network = build(identity)
    network.load_state_dict(average)
    return network, facts
