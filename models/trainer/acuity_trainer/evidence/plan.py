"""The manifest: which clips, which runs; and what a model's name says."""

import re
import tomllib
from dataclasses import dataclass
from pathlib import Path

from .. import contract

DEFAULT = Path(__file__).with_name("plan.toml")
PROTOCOLS = ("coded", "clean")
NAME = re.compile(
    rf"(?P<cluster>[a-z0-9_]{{1,32}})-x(?P<scale>[234])-(?P<tier>{'|'.join(contract.TIERS)})(?P<clean>-clean)?"
)


class PlanError(ValueError):
    """The manifest, or a name in it, does not make sense; the message says where."""


@dataclass(frozen=True)
class Model:
    """What `<cluster>-x<scale>-<tier>[-clean]` says."""

    name: str
    cluster: str
    scale: int
    tier: str
    trained_for: str

    @property
    def generic(self):
        """Name of the generic model of the same scale, size and protocol."""
        return f"generic-x{self.scale}-{self.tier}" + ("-clean" if self.trained_for == "clean" else "")


def model(name):
    """The Model of a name; PlanError where it is none."""
    found = NAME.fullmatch(name)
    if not found:
        raise PlanError(f"{name}: a model is named <cluster>-x<2|3|4>-<{'|'.join(contract.TIERS)}>[-clean]")
    trained_for = "clean" if found["clean"] else "coded"
    return Model(name, found["cluster"], int(found["scale"]), found["tier"], trained_for)


@dataclass(frozen=True)
class Clip:
    """One clip; `seconds` 0 means all of it."""

    name: str
    path: str
    cluster: str
    says: str
    seen: bool = False
    recorded: bool = False
    seconds: float = 0.0

    def category(self, cluster):
        """What this clip is to a model of `cluster`: generic, seen, same_cluster or other."""
        if cluster == "generic":
            return "generic"
        if cluster != self.cluster:
            return "other"
        return "seen" if self.seen else "same_cluster"


@dataclass(frozen=True)
class Run:
    """Clips times rates times methods; `kbps` is (0,) for the clean protocol."""

    protocol: str
    clips: tuple
    kbps: tuple
    models: tuple
    scale: int = 2
    every: int = 1
    native: bool = False


@dataclass(frozen=True)
class Crops:
    """Windows (frame, left, top) of one clip, to be shown for each of `models`."""

    clip: str
    kbps: int
    models: tuple
    windows: tuple


@dataclass(frozen=True)
class Cut:
    """A test clip's place in a longer work: the clip, the work's digest, (from, to) in seconds."""

    clip: str
    sha256: str
    seconds: tuple


@dataclass(frozen=True)
class Plan:
    """The whole manifest; `clips` by name."""

    clips: dict
    runs: tuple
    crops: tuple
    cuts: tuple


def _checked(run, clips, where):
    if run.protocol not in PROTOCOLS:
        raise PlanError(f"{where}: protocol is one of {', '.join(PROTOCOLS)}, not {run.protocol}")
    for name in run.clips:
        if name not in clips:
            raise PlanError(f"{where}: there is no clip {name}")
    for name in run.models:
        if model(name).scale != run.scale:
            raise PlanError(f"{where}: {name} in a run of scale {run.scale}")
    if run.protocol == "coded" and not all(run.kbps):
        raise PlanError(f"{where}: the coded protocol needs kbps")
    return run


def load(path=DEFAULT):
    """The Plan of a TOML file; PlanError names the first thing that is wrong."""
    told = tomllib.loads(Path(path).read_text(encoding="utf-8"))
    try:
        clips = {entry["name"]: Clip(**entry) for entry in told.get("clip", [])}
        runs = []
        for index, entry in enumerate(told.get("run", [])):
            lists = {key: tuple(entry[key]) for key in ("clips", "models")}
            lists["kbps"] = tuple(entry.get("kbps", (0,)))
            runs.append(_checked(Run(**{**entry, **lists}), clips, f"run {index + 1}"))
        crops = tuple(
            Crops(entry["clip"], entry["kbps"], tuple(entry["models"]), tuple(map(tuple, entry["windows"])))
            for entry in told.get("crops", [])
        )
        cuts = tuple(Cut(entry["clip"], entry["sha256"], tuple(entry["seconds"])) for entry in told.get("cut", []))
    except (KeyError, TypeError) as wrong:
        raise PlanError(f"{path}: {wrong}") from wrong
    return Plan(clips, tuple(runs), crops, cuts)
