"""`learn` and `publish`: from a stream to a model in the zoo."""

import argparse
import re
from pathlib import Path

from . import DONE, NOT_PUBLISHED, ZOO, tiers

TASKS = ("upscale", "interpolate")
LEARN = """\
What happens:
  1. segments of both renditions are fetched (what is here already stays), the newest tenth is set aside
  2. pictures are paired by timestamp, and both renditions compared; what does not match is refused, with figures:
     another edit, an offset, a logo, black bars, other brightness, shape or frame rate. Short stretches that
     differ (an advertisement) are left out
  3. training goes on from the generic network of the size, on the low pictures as the origin's encoder made them
  4. what stands still in the pictures (a status bar, a logo) is looked for and put into the model, unless that gains
     nothing on a part of the material that it was not made from
  5. the exported file is measured on the part set aside; it is published if it beats the generic network and the
     plain scaler there by 0.2 dB, and left out of the zoo otherwise. A second file, in 8-bit integers, comes with it
     if that loses at most 0.05 dB in each clip of the part set aside

With --task interpolate the network makes the frame between two. One rendition is enough, of twice the frame rate
that the edge will see (--file, or a ladder's --high): every second frame is brought to --low lines and coded at rates
of a ladder's lower end, the ones between are what is learned. The newest tenth is set aside as well; it is published
if it beats blending, and the generic network, by 0.2 dB there.

Exit codes: 0 at least one model was published, 3 none was worth it, 4 the renditions were refused, 1 anything else.

Examples:
  acuity_trainer learn --cluster ocean --ladder https://origin.example/master.m3u8 --low 360 --high 720 --budget 10
  acuity_trainer learn --cluster lectures --pair a_360.mp4 a_720.mp4 --pair b_360.mp4 b_720.mp4 --tiers s,m
  acuity_trainer learn --task interpolate --cluster racing --file race_720p60.mp4 --low 360 --budget 30
"""


def add(commands):
    sub = commands.add("learn", _learn, "learn a cluster's own networks from streams that have a high rendition", LEARN)
    sub.add_argument("--cluster", type=cluster, required=True, help="its name, [a-z0-9_]; the videos given are of it")
    add_sources(sub, required=True)
    sub.add_argument(
        "--task", choices=TASKS, default=TASKS[0], help="what is learned: larger pictures, or the frames between frames"
    )
    sub.add_argument("--scale", type=int, choices=[2, 3, 4], default=2, help="how many times larger high is than low")
    sub.add_argument(
        "--rate", type=float, default=0.0, help="interpolate: coded frames a second; half the video's if 0"
    )
    sub.add_argument("--tiers", type=tiers, default="s", metavar="TIERS", help="sizes to train: s,m,l,v10,v15,v20")
    sub.add_argument("--budget", type=float, default=10.0, metavar="MINUTES", help="training time of all tiers")
    sub.add_argument("--steps", type=int, default=0, help="train each tier so many steps instead: repeatable")
    sub.add_argument("--seed", type=int, default=1, help="of every random choice")
    sub.add_argument("--begin-with", default="", help="first weights instead of the generic: run or ONNX file")
    sub.add_argument("--learning-rate", type=float, default=0.0, help="highest rate instead of the usual one")
    sub.add_argument("--about", type=about, default="not stated", help="what the video is, its licence: for the record")
    sub.add_argument("--threads", type=int, default=0, help="PyTorch's threads; up to four processors unless given")
    add_overlay(sub)
    add_int8(sub)
    sub.add_argument("--quiet", action="store_true", help="no progress bar")
    sub.add_argument("--dry-run", action="store_true", help="everything but publishing")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the catalogue's directory")

    sub = commands.add("publish", _publish, "publish a finished run whose corpus was made otherwise than by `learn`")
    sub.add_argument("--cluster", type=cluster, required=True, help="the cluster's name")
    sub.add_argument("--run", type=Path, required=True, help="the run's folder")
    sub.add_argument("--corpus", type=Path, required=True, help="the corpus it was trained on")
    sub.add_argument("--heldout", type=Path, required=True, help="a corpus of the part that it was not trained on")
    sub.add_argument("--tier", type=tiers, required=True, help="the run's tier")
    sub.add_argument("--task", choices=TASKS, default=TASKS[0], help="what the run learned")
    sub.add_argument("--scale", type=int, choices=[2, 3, 4], default=2, help="the run's scale")
    sub.add_argument("--about", type=about, default="not stated", help="what the video is, its licence: for the record")
    sub.add_argument("--threads", type=int, default=1, help="ONNX Runtime's threads")
    add_overlay(sub)
    add_int8(sub)
    sub.add_argument("--dry-run", action="store_true", help="measure, publish nothing")
    sub.add_argument("--zoo", type=Path, default=ZOO, help="the catalogue's directory")


def add_overlay(sub):
    """The option that leaves pictures of the material out of the model."""
    sub.add_argument(
        "--no-overlay",
        dest="overlay",
        action="store_false",
        help="weights only: keep no pictures of what stands still (a status bar, a logo) in the model",
    )


def add_int8(sub):
    """The option that makes no 8-bit file."""
    sub.add_argument("--no-int8", dest="int8", action="store_false", help="make no file in 8-bit integers beside it")


def cluster(text):
    """An argparse type: a cluster's name as the catalogue allows it."""
    if not re.fullmatch(r"[a-z0-9_]{1,32}", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not 1 to 32 of [a-z0-9_]")
    return text


def about(text):
    """An argparse type: words for a record, which may not hold what must not be published."""
    from .. import records

    if found := records.leaks(text):
        raise argparse.ArgumentTypeError(f"{found[0]} does not belong into a record: say it without paths and links")
    return text


def add_sources(sub, required):
    """The options that name renditions."""
    group = sub.add_argument_group("renditions (as many as there are, of one kind of video)")
    group.add_argument("--ladder", action="append", default=[], metavar="MASTER", help="multivariant playlist")
    group.add_argument("--low", type=int, default=360, help="height of the ladders' low rendition")
    group.add_argument("--high", type=int, default=720, help="height of the ladders' high rendition")
    group.add_argument("--pair", action="append", nargs=2, default=[], metavar=("LOW", "HIGH"), help="two files")
    group.add_argument(
        "--file", action="append", default=[], metavar="VIDEO", help="interpolate: a file of a high rate"
    )
    group.add_argument("--video", type=float, default=10.0, metavar="MINUTES", help="of each, look at so much at most")
    group.add_argument(
        "--correct-offset", action="store_true", help="accept a high rendition that is whole frames late or early"
    )
    sub.set_defaults(sources_required=required)


def sources(options):
    """The renditions that the options name; a usage error where there are none but must be."""
    from .. import spans

    def whole(path):
        # The scratch folder remembers it, and `evaluate` may be called from elsewhere.
        return path if "://" in path else str(Path(path).resolve())

    found = [spans.Ladder(whole(master), options.low, options.high) for master in options.ladder]
    found += [spans.Files(*map(whole, files)) for files in options.pair]
    if options.file and getattr(options, "task", "") != "interpolate":
        raise argparse.ArgumentError(None, "--file is for --task interpolate; --pair names two renditions")
    found += [spans.Files(whole(file), whole(file)) for file in options.file]
    if not found and options.sources_required:
        raise argparse.ArgumentError(None, "give at least one --ladder or --pair")
    return tuple(found)


def _learn_interpolation(options):
    from .. import learn as shared
    from ..interpolate import learn, material

    if unknown := set(options.tiers) - set(learn.contract.TIERS):
        raise argparse.ArgumentError(None, f"interpolation has no tier {', '.join(sorted(unknown))}")
    plan = learn.Plan(
        cluster=options.cluster,
        sources=sources(options),
        terms=material.Terms(options.low, options.rate, options.seed),
        tiers=options.tiers,
        budget_s=options.budget * 60,
        steps=options.steps,
        seed=options.seed,
        most_s=options.video * 60,
        about=options.about,
        begin_with=options.begin_with,
        learning_rate=options.learning_rate or learn.LEARNING_RATE,
        threads=options.threads or shared.default_threads(),
    )
    published = learn.learn(plan, options.zoo, options.scratch, options.quiet, options.dry_run)
    return DONE if published or options.dry_run else NOT_PUBLISHED


def _learn(options):
    if options.task == "interpolate":
        return _learn_interpolation(options)
    from .. import learn

    plan = learn.Plan(
        cluster=options.cluster,
        sources=sources(options),
        scale=options.scale,
        tiers=options.tiers,
        budget_s=options.budget * 60,
        steps=options.steps,
        seed=options.seed,
        most_s=options.video * 60,
        correct_offset=options.correct_offset,
        about=options.about,
        begin_with=options.begin_with,
        learning_rate=options.learning_rate or learn.LEARNING_RATE,
        threads=options.threads or learn.default_threads(),
        overlay=options.overlay,
        int8=options.int8,
    )
    published = learn.learn(plan, options.zoo, options.scratch, options.quiet, options.dry_run)
    return DONE if published or options.dry_run else NOT_PUBLISHED


def _origin_of(options):
    """What a recipe's two corpora were made of: the training one's sources, and what the other took of them."""
    import json

    trained, held_out = (
        json.loads((folder / "index.json").read_text(encoding="utf-8"))["sources"]
        for folder in (options.corpus, options.heldout)
    )
    if isinstance(trained, dict):
        trained = {
            name: {
                "sha256": facts["sha256"],
                "seconds": trained.get(name, {}).get("seconds", []),
                "held_out": held_out.get(name, {}).get("seconds", []),
            }
            for name, facts in (trained | held_out).items()
        }
    return trained


def _publish_interpolation(options, tier):
    from ..interpolate import publish, score

    if count := score.overlap(options.corpus, options.heldout):
        raise publish.PublishError(f"{count} pictures of {options.heldout.name} are in the training corpus as well")
    origin = publish.Origin(options.cluster, _origin_of(options), options.about)
    good, _, _ = publish.publish(options.run, tier, origin, options.heldout, options.zoo, options.dry_run)
    return DONE if good or options.dry_run else NOT_PUBLISHED


def _publish(options):
    (tier,) = options.tier
    if options.task == "interpolate":
        return _publish_interpolation(options, tier)
    from .. import heldout, publish, quantise
    from ..overlay import beside

    if count := heldout.overlap(options.corpus, options.heldout):
        raise publish.PublishError(f"{count} pictures of {options.heldout.name} are in the training corpus as well")
    origin = publish.Origin(options.cluster, options.scale, _origin_of(options), options.about)
    overlay = beside.find(options.run, tier, options.corpus, options.threads) if options.overlay else None
    good, _, _ = publish.publish(
        options.run,
        tier,
        origin,
        options.heldout,
        options.zoo,
        options.threads,
        options.dry_run,
        overlay=overlay,
        calibrated=quantise.calibration(options.corpus) if options.int8 else None,
    )
    return DONE if good or options.dry_run else NOT_PUBLISHED
