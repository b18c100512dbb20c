"""`evaluate` away from the test set: a published figure again, or any model on any renditions."""

import hashlib
import json
import tempfile
from pathlib import Path

from . import catalogue, evaluate, export, heldout, material, publish, spans

# Another FFmpeg or ONNX Runtime may round otherwise here and there; a figure that is further off is not the same.
SAME_DB = 0.02


class NotReproducibleError(RuntimeError):
    """There is nothing to measure on, or it is not what was measured."""


def heldout_again(model, sources, pairs_folder, zoo, scratch, most_s=material.MOST_S, threads=1, say=print):
    """Measures a published model on its held-out video; whether the catalogue's figures come out within SAME_DB."""
    entry = next((e for e in catalogue.read(Path(zoo) / "catalogue.toml") if e["id"] == model), None)
    if entry is None:
        raise NotReproducibleError(f"{model} is not in the catalogue")
    data = (Path(zoo) / entry["file"]).read_bytes()
    if catalogue.task_of(entry) != catalogue.UPSCALE:
        raise NotReproducibleError(f"{model} is no upscaling model: `publish --task interpolate --dry-run` measures it")
    if hashlib.sha256(data).hexdigest() != entry["sha256"]:
        raise NotReproducibleError(f"{entry['file']} is not the file that the catalogue means")
    models, names = {}, {model: f"{model}", "": ""}
    generic = publish.generic_of(zoo, entry["scale"], entry["tier"])
    if generic and generic["id"] != model:
        models[generic["id"]] = (Path(zoo) / generic["file"]).read_bytes()
    models[model] = data
    with tempfile.TemporaryDirectory(dir=scratch, prefix="again-") as folder:
        if pairs_folder is None:
            pairs_folder = _held_out(model, entry, sources, scratch, Path(folder), most_s, say)
        scores = heldout.measure(heldout.items(pairs_folder), models, threads)
    say(heldout.table(scores, names))
    told = entry["measured"]
    good = True
    plain = heldout.plain(scores)
    for what, mine, key in (
        (model, scores[model].psnr_db, "heldout_db"),
        ("plain", plain.psnr_db, "heldout_plain_db"),
        (generic["id"] if generic else "", scores[generic["id"]].psnr_db if generic else 0.0, "heldout_generic_db"),
    ):
        if key in told and what:
            apart = mine - told[key]
            same = abs(apart) <= SAME_DB
            # the generic model may have been retrained since; then its figure is news, not an error
            good &= same or key == "heldout_generic_db"
            say(f"{what}: {mine:.3f} dB, the catalogue says {told[key]:.3f} ({apart:+.3f})")
    say("reproduced" if good else f"not reproduced: more than {SAME_DB} dB apart")
    return good


def _held_out(model, entry, sources, scratch, folder, most_s, say):
    """A folder of the model's held-out pairs, decoded anew."""
    told, manifest = None, None
    kept = Path(scratch) / "learn" / f"{entry['cluster']}-x{entry['scale']}"
    if (kept / f"{model}.json").exists():
        told = json.loads((kept / f"{model}.json").read_text(encoding="utf-8"))
        manifest = json.loads((kept / told["material"] / "manifest.json").read_text(encoding="utf-8"))
    if not sources:
        if told is None:
            raise NotReproducibleError(
                f"nothing in {scratch} says what {model} was measured on; give its --ladder or --pair, or --pairs"
            )
        kinds = {"Ladder": spans.Ladder, "Files": spans.Files}
        sources = tuple(kinds[name](**facts) for name, facts in told["sources"])
        most_s = told["most_s"]
        for number in range(len(sources)):
            # the segments as they were fetched, so that nothing is fetched again
            place = kept / told["material"] / f"ladder{number}"
            if place.is_dir():
                (folder / f"ladder{number}").symlink_to(place.resolve(), target_is_directory=True)
    offset = bool(told and told["offset"])
    again = material.prepare(
        sources, entry["scale"], folder, most_s=most_s, correct_offset=offset, only="held out", say=say
    )
    if manifest:
        for now, then in zip(again["sources"], manifest["sources"], strict=True):
            if now["digests"]["held_out"] != then["digests"]["held_out"]:
                raise NotReproducibleError(f"{now['label']}: its held-out segments are not those that were measured on")
    return folder / "heldout"


def models_on(paths, sources, pairs_folder, scratch, most_s=material.MOST_S, threads=1, say=print):
    """Measures ONNX files on whole renditions, or on the pairs of a corpus; gives {method: Score}."""
    models = {Path(path).stem: Path(path).read_bytes() for path in paths}
    scales = {evaluate.scale_of(export.session(data)) for data in models.values()}
    if len(scales) != 1:
        raise NotReproducibleError("models of several scales cannot be measured on one pair")
    Path(scratch).mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=scratch, prefix="measured-") as folder:
        if pairs_folder is None:
            manifest = material.prepare(sources, scales.pop(), Path(folder), most_s=most_s, only="all", say=say)
            say(f"{manifest['held_out_pictures']} pictures")
            pairs_folder = Path(folder) / "heldout"
        scores = heldout.measure(heldout.items(pairs_folder), models, threads)
    say(heldout.table(scores))
    return scores
