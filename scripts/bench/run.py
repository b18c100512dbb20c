#!/usr/bin/env python3
"""The benchmark: Acuity beside its peers, in one run, on one machine.

  scripts/bench/run.py                         everything (some fifty minutes on two cores)
  scripts/bench/run.py --quick                 a look at everything in some four minutes
  scripts/bench/run.py --parts end-to-end,serving
  make bench [PARTS=...] [QUICK=1]             the same, after setup

Prints tables, and writes .acuity/bench/<date>.json and pictures beside it. Needs ffmpeg and a release build;
scripts/bench/setup.sh fetches the rest: wrk, nginx, perf, matplotlib, ONNX Runtime for the peers. Everything stays
on the loopback interface.
"""

import argparse
import json
import os
import shutil
import sys
import time
from pathlib import Path

import clips
import machine
import part_concurrency
import part_end_to_end
import part_first_byte
import part_frame_rate
import part_live
import part_profile
import part_serving
import part_stages
import plots
from meter import BenchError
from peers import NetSetting
from setting import TIERS, Setting

ROOT = Path(__file__).resolve().parents[2]

PARTS = {
    "end-to-end": part_end_to_end,
    "stages": part_stages,
    "concurrency": part_concurrency,
    "frame-rate": part_frame_rate,
    "first-byte": part_first_byte,
    "live": part_live,
    "serving": part_serving,
    "profile": part_profile,
}
# Of the JSON's shape; grows when a key changes its meaning or goes, not when one is added.
FORMAT = 1


def arguments(given=None):
    about = "\n\n".join(f"{name}: {part.ABOUT}" for name, part in PARTS.items())
    parser = argparse.ArgumentParser(
        description=__doc__, epilog=f"parts\n\n{about}", formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--parts", default="all", help=f"all, or some of {','.join(PARTS)}")
    parser.add_argument(
        "--quick", action="store_true", help="small inputs, few rounds, tiers s and m: about four minutes"
    )
    parser.add_argument("--clip", type=Path, help="source of the inputs [default: the sample film]")
    parser.add_argument(
        "--live-clip",
        type=Path,
        action="append",
        default=[],
        metavar="FILE",
        help="source of live streams, several times for several [default: --clip, at several places]",
    )
    parser.add_argument("--live-seconds", type=int, help="length of the live run [default: 300, quick: 20]")
    parser.add_argument("--rounds", type=int, help="interleaved rounds [default: 5, quick: 2]")
    parser.add_argument(
        "--seconds", type=int, help="length of the end-to-end clip, a multiple of 6 [default: 24, quick: 6]"
    )
    parser.add_argument("--tiers", help=f"models, comma-separated [default: {','.join(TIERS)}]")
    parser.add_argument("--acuity", type=Path, default=ROOT / "target/release/acuity", help="the binary under test")
    parser.add_argument(
        "--runtime-library", type=Path, help="ONNX Runtime's library for it [default: where it looks itself]"
    )
    parser.add_argument(
        "--enhancer",
        action="append",
        default=[],
        metavar="KEY=VALUE",
        help="a line for [enhancer] of the edge's configuration",
    )
    parser.add_argument(
        "--enhance-option",
        action="append",
        default=[],
        metavar="OPTION",
        help="one more for `acuity enhance`: --enhance-option=--x=y",
    )
    parser.add_argument(
        "--provider",
        choices=["auto", "cpu", "openvino"],
        default="auto",
        help="what runs the peers' networks [default: what runs Acuity's]",
    )
    parser.add_argument("--out", type=Path, default=ROOT / ".acuity/bench", help="folder for JSON and pictures")
    parser.add_argument("--plots", choices=["png", "svg", "none"], default="png")
    options = parser.parse_args(given)
    chosen = (
        list(PARTS) if options.parts == "all" else [name.strip() for name in options.parts.split(",") if name.strip()]
    )
    unknown = [name for name in chosen if name not in PARTS]
    if unknown or not chosen:
        parser.error(f"no part {', '.join(unknown) or 'named'}; there are {', '.join(PARTS)}")
    if options.seconds is not None and (options.seconds <= 0 or options.seconds % 6):
        parser.error("--seconds takes a multiple of 6, the length of a segment")
    if options.live_seconds is not None and options.live_seconds < 8:
        parser.error("--live-seconds takes 8 or more: two segments")
    if options.rounds is not None and options.rounds < 1:
        parser.error("--rounds takes 1 or more")
    options.chosen = chosen
    return options


def runtime_library(options):
    """The library that the binary will load, to name its version."""
    if options.runtime_library:
        return options.runtime_library
    found = os.environ.get("ACUITY_ONNXRUNTIME") or os.environ.get("ORT_DYLIB_PATH")
    return Path(found) if found else ROOT / ".acuity/onnxruntime/libonnxruntime.so"


def prepare(options):
    """Checks what every part needs; gives the setting."""
    if not options.acuity.is_file():
        raise BenchError(f"{options.acuity} is missing: run `make build`, or name the binary with --acuity")
    for tool in ("ffmpeg", "ffprobe"):
        if not shutil.which(tool):
            raise BenchError(f"{tool} is missing: scripts/bench/setup.sh installs it")
    source = options.clip or clips.default_source(ROOT)
    for file in (source, *options.live_clip):
        if not file.is_file():
            raise BenchError(f"{file} is no file")
    tiers = options.tiers.split(",") if options.tiers else list(TIERS[:2] if options.quick else TIERS)
    network = NetSetting(options.provider, len(os.sched_getaffinity(0)), ROOT / ".acuity/bench")
    places = ["--models", ROOT / "models/zoo"]
    places += ["--runtime-library", options.runtime_library.resolve()] if options.runtime_library else []
    return Setting(
        root=ROOT,
        acuity=options.acuity.resolve(),
        source=source,
        live_sources=options.live_clip,
        live_seconds=options.live_seconds,
        is_sample=options.clip is None,
        quick=options.quick,
        rounds=options.rounds or (2 if options.quick else 5),
        seconds=options.seconds or (6 if options.quick else 24),
        places=places,
        enhancer=options.enhancer,
        options=options.enhance_option,
        tiers=tiers,
        peers=network,
        say=say,
    )


def say(words):
    """Progress: one line that the next one overwrites on a terminal, plain lines elsewhere."""
    if sys.stderr.isatty():
        print(f"\r\033[K  {words}", end="", file=sys.stderr, flush=True)
    else:
        print(f"  {words}", file=sys.stderr, flush=True)


def run_parts(setting, chosen):
    """({part: result}, {part: why it broke}). A part that breaks does not take the others with it."""
    results, broken = {}, {}
    for name in chosen:
        part = PARTS[name]
        began = time.monotonic()
        print(f"\n{part.TITLE}\n{part.ABOUT}", flush=True)
        try:
            result = part.run(setting)
        except BenchError as why:
            say("")
            print(f"\n  FAILED: {why}", flush=True)
            broken[name] = str(why)
            continue
        result["took_s"] = time.monotonic() - began
        results[name] = result
        say(f"{name} took {result['took_s']:.0f} s")
        print(f"\n\n{part.text(result)}", flush=True)
        for warning in result.get("warnings", []):
            print(f"  warning: {warning}")
    return results, broken


def main():
    options = arguments()
    try:
        setting = prepare(options)
    except BenchError as why:
        sys.exit(f"error: {why}")
    known = machine.facts(setting.acuity, runtime_library(options))
    warnings = machine.warnings(known)
    print(f"{known['acuity']} ({known['commit']}), ONNX Runtime {known['onnxruntime']}, FFmpeg {known['ffmpeg']}")
    flags = " ".join(known["vector_flags"])
    print(f"{known['cores']} cores of {known['cpu']}, load {known['load_average'][0]:.2f}, {flags}")
    for warning in warnings:
        print(f"WARNING: {warning}")
    started = time.strftime("%Y-%m-%dT%H%M%S")
    try:
        results, broken = run_parts(setting, options.chosen)
    finally:
        shutil.rmtree(setting.scratch, ignore_errors=True)
    result = {
        "format": FORMAT,
        "date": started,
        "machine": known,
        "warnings": warnings,
        "options": {
            **{name: getattr(options, name) for name in ("quick", "chosen", "enhancer", "enhance_option", "provider")},
            "rounds": setting.rounds,
            "tiers": setting.tiers,
            "source": setting.source.name,
        },
        "parts": results,
        "broken": broken,
    }
    options.out.mkdir(parents=True, exist_ok=True)
    path = options.out / f"{started}.json"
    path.write_text(json.dumps(result, indent=1, default=str) + "\n")
    print(f"\n{path}")
    if options.plots != "none":
        try:
            for picture in plots.draw(result, options.out, started, options.plots):
                print(picture)
        except ImportError:
            print("no pictures: this Python has no matplotlib; .acuity/trainer/bin/python has (scripts/bench/setup.sh)")
    sys.exit(1 if broken else 0)


if __name__ == "__main__":
    main()
