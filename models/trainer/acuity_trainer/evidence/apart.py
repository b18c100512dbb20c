"""No test picture in any training material: by digests, by stretches of time, and by what the pictures look like.

What was trained on is read from where it is told: the records in the zoo, the ONNX files' own metadata, and
the `index.json` of any corpus at hand. What must not be among it: the plan's clips that no model may have seen,
`testlist`'s digests, and the stretches of longer works that test clips were cut from (`[[cut]]` in the plan).
"""

import json
import re
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from .. import pairs, testlist
from . import clips as clips_module

HEX = re.compile(r"(?<![0-9a-f])[0-9a-f]{16,64}(?![0-9a-f])")
RANGE = re.compile(r"(\d+(?:\.\d+)?) to (\d+(?:\.\d+)?)")
# A coded picture leans on its neighbours: this much around a test stretch stays untrained as well.
MARGIN_S = 1.0
RANGE_KEYS = ("seconds", "trained_s")
# Low pixels to a block for fingerprints of 720p pictures.
BLOCK = 16


@dataclass(frozen=True)
class Material:
    """A piece of training material: who tells it, its digest or the beginning of it, its stretches (empty: all)."""

    told_in: str
    sha256: str
    seconds: tuple = ()


def in_json(value, told_in):
    """Every Material in a JSON value: dictionaries with `sha256` and perhaps stretches, and any other digest in it."""
    if isinstance(value, dict):
        ranges = next((value[key] for key in RANGE_KEYS if isinstance(value.get(key), list)), [])
        ranges = tuple((float(a), float(b)) for a, b in ranges)
        for entry in value.values():
            if isinstance(entry, str) and HEX.fullmatch(entry):
                yield Material(told_in, entry, ranges)
            elif isinstance(entry, (dict, list)):
                yield from in_json(entry, told_in)
    elif isinstance(value, list):
        for entry in value:
            if isinstance(entry, str) and HEX.fullmatch(entry):
                yield Material(told_in, entry)
            elif isinstance(entry, (dict, list)):
                yield from in_json(entry, told_in)


def in_record(text, told_in):
    """Every Material in a record's text: digests under any heading but those about what was tested."""
    told = True
    for line in text.splitlines():
        if line.startswith("## "):
            told = "test" not in line.lower() and "held" not in line.lower()
        if told:
            # "Trained on" stands before "held out" in the row; stretches of both would only make the check stricter.
            columns = line.split(" | ")
            ranges = next((RANGE.findall(column) for column in columns if RANGE.search(column)), [])
            for digest in HEX.findall(line):
                yield Material(told_in, digest, tuple((float(a), float(b)) for a, b in ranges))


def in_model(data, told_in):
    """Every Material in an ONNX file's metadata."""
    import onnx

    for entry in onnx.load_from_string(data).metadata_props:
        if entry.key in ("sources", "corpus", "training"):
            try:
                yield from in_json(json.loads(entry.value), told_in)
            except json.JSONDecodeError:
                yield from (Material(told_in, digest) for digest in HEX.findall(entry.value))


def materials(zoo, corpora=(), models=()):
    """All Material that records, models and corpora tell."""
    for path in sorted((Path(zoo) / "records").glob("*.md")):
        yield from in_record(path.read_text(encoding="utf-8"), path.name)
    for folder in (zoo, *models):
        for path in sorted(Path(folder).glob("*.onnx")):
            yield from in_model(path.read_bytes(), path.name)
    for folder in corpora:
        yield from in_json(json.loads((Path(folder) / "index.json").read_text(encoding="utf-8")), Path(folder).name)


def forbidden(whole, shared=None):
    """{digest: clip} of all that is only measured: testlist's files, and the plan's unseen clips that are here."""
    known = dict(testlist.listing()[0])
    for clip in whole.clips.values():
        path = Path(shared) / clip.path if shared else None
        if clip.seen or clip.recorded or not path or not path.exists():
            continue
        known[clips_module.digest(path)] = clip.name
        if path.suffix == ".m3u8":
            known.update({clips_module.digest(segment): clip.name for segment in sorted(path.parent.glob("*.ts"))})
    return known


def _same(digest, other):
    return digest.startswith(other) or other.startswith(digest)


def faults(told, known, cuts=()):
    """What is wrong, as sentences: `told` are Materials, `known` {digest: test clip}, `cuts` Cuts."""
    found = []
    for one in told:
        found += [
            f"{one.told_in}: trained on {clip} ({one.sha256[:16]})"
            for digest, clip in known.items()
            if _same(digest, one.sha256)
        ]
        for cut in cuts:
            if not _same(cut.sha256, one.sha256):
                continue
            if not one.seconds:
                found.append(f"{one.told_in}: trained on all of the work that {cut.clip} is cut from")
            for start, end in one.seconds:
                if start < cut.seconds[1] + MARGIN_S and end > cut.seconds[0] - MARGIN_S:
                    found.append(f"{one.told_in}: trained on {start:.1f} to {end:.1f} s, which shows {cut.clip}")
    return sorted(set(found))


def picture_faults(folder):
    """Items of a corpus whose high pictures look like a test clip's, as sentences."""
    folder, found = Path(folder), []
    for item in json.loads((folder / "index.json").read_text(encoding="utf-8"))["items"]:
        high = np.load(folder / f"{item['name']}.high.npy", mmap_mode="r")
        side = max(2, BLOCK * high.shape[2] // 1280)
        means = np.stack([pairs.block_means(plane, side) for plane in high])
        try:
            testlist.refuse_pictures(np.arange(len(high)), means, f"{folder.name}: {item['name']}")
        except testlist.TestMaterialError as fault:
            found.append(str(fault))
    return found


def check(whole, zoo, corpora=(), models=(), shared=None):
    """All faults of what is at hand; [] where test and training are apart."""
    known = forbidden(whole, shared)
    found = faults(materials(zoo, corpora, models), known, whole.cuts)
    for folder in corpora:
        found += picture_faults(folder)
    return found
