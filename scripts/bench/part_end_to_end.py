"""Segment in to segment out: every tier and the plain scaler against FFmpeg and public networks, in turn, round
after round."""

import peers
from meter import BenchError
from setting import PLAIN
from stats import percentile, ratios, show, spread, table

TITLE = "End to end"
ABOUT = """One clip, the same encoder settings everywhere (what x264 wrote into the streams is compared). Acuity: its
clock from the first segment's request to the last one's bytes, models loaded before. FFmpeg: its own -benchmark
clock, one process over the whole clip, as many threads as it chooses. Networks: decoded by FFmpeg, enlarged, encoded
by FFmpeg, joined by pipes, the network's process's clock. `CPU ms` is processor time a frame of the whole process
tree, start-up included; `to floor` compares speeds round by round."""

# What takes longer than this many seconds is run in two rounds and not in all; in a quick run in one.
SLOW_S, QUICK_SLOW_S = 60, 5
# What a quick run does without.
QUICK = ("ffmpeg bicubic", "ffmpeg lanczos", "ffmpeg xbr", "acnet (own SIMD)", "fsrcnn-s (ORT)")


def target_of(setting, clip, what=PLAIN):
    """What Acuity makes of the clip, asked from a cheap run. Also what x264 says its options were."""
    _, told, out = setting.enhance(clip, what)
    stream = peers.clips.video_stream(out)
    made = told["output"]
    target = peers.Target(
        made["width"], made["height"], made["frame_rate_milli"], made["max_video_kbps"], int(stream["level"])
    )
    return target, peers.x264_options(out)


def ours(setting, clip, what):
    usage, told, _ = setting.enhance(clip, what)
    return {
        "seconds": told["seconds"],
        "segments": told["segment_seconds"],
        "made_by": told["made_by"],
        "bytes": told["output"]["bytes"],
        "usage": usage,
    }


def filtered(setting, clip, target, graph):
    out = setting.scratch / "peer.ts"
    usage, seconds = peers.filtered(clip, target, graph, out)
    return {"seconds": seconds, "bytes": out.stat().st_size, "usage": usage, "out": out}


def networked(setting, clip, target, name, networks):
    out = setting.scratch / "peer.ts"
    usage, told = peers.networked(clip, target, name, out, networks)
    if told["frames"] != clip.frames:
        raise BenchError(f"{name} made {told['frames']} frames of {clip.frames}")
    network_ms = told["network_seconds"] * 1000 / clip.frames
    return {
        "seconds": told["seconds"],
        "bytes": out.stat().st_size,
        "usage": usage,
        "out": out,
        "network_ms": network_ms,
    }


def cases(setting, clip, target, networks):
    """({label: function that runs it}, {label: why it is not there}), the floor first."""
    found = {
        label: lambda graph=graph: filtered(setting, clip, target, graph)
        for label, graph in peers.available_filters().items()
    }
    for what in [PLAIN, *setting.tiers]:
        found[f"acuity {what}"] = lambda what=what: ours(setting, clip, what)
    usable, missing = networks.usable()
    for label, (name, _) in usable.items():
        found[label] = lambda name=name: networked(setting, clip, target, name, networks)
    if setting.quick:
        found = {label: case for label, case in found.items() if label in QUICK or label.startswith("acuity")}
    return found, {**peers.absent(), **missing}


def run(setting, clip=None):
    clip = clip or setting.clip()
    target, options = target_of(setting, clip)
    networks = setting.peers
    if setting.tiers:
        setting.say(f"what runs {setting.tiers[0]}")
        _, told, _ = setting.enhance(setting.clip(seconds=6), setting.tiers[0])
        networks = networks.on(*told["providers"])
    found, absent = cases(setting, clip, target, networks)
    runs, warnings = take_turns(setting, found, options, peers.FLOOR, absent)
    rows = [summary(label, runs[label], runs[peers.FLOOR], clip) for label in found]
    return {
        "clip": clip.facts(),
        "target": vars(target),
        "x264": options,
        "rows": rows,
        "absent": absent,
        "peers_provider": getattr(networks, "provider", None),
        "warnings": warnings,
    }


def take_turns(setting, found, options, floor, absent):
    """({label: its runs}, warnings): all of `found` {label: function} in turn, round after round. What fails moves from
    there to `absent`, but for the floor and Acuity, which nothing can be said without."""
    runs, warnings = {label: [] for label in found}, []
    for turn in range(setting.rounds):
        # there and back again, so that nobody always runs after the same neighbour
        for label in list(found)[:: -1 if turn % 2 else 1]:
            before = runs[label]
            if skipped(setting, turn, before):
                continue
            setting.say(f"round {turn + 1} of {setting.rounds}: {label}")
            try:
                before.append(found[label]())
            except BenchError as why:
                if label == floor or label.startswith("acuity"):
                    raise
                absent[label] = f"it failed: {why}"
                del found[label]
                continue
            if turn == 0 and "out" in before[0]:
                unlike = peers.differing(options, peers.x264_options(before[0]["out"]))
                if unlike:
                    warnings.append(f"{label} was encoded with other settings (Acuity's, its): {unlike}")
    return runs, warnings


def skipped(setting, turn, before):
    """Whether a slow case has had its rounds."""
    rounds, limit_s = (1, QUICK_SLOW_S) if setting.quick else (2, SLOW_S)
    return turn >= rounds and before[0]["seconds"] > limit_s


def summary(label, runs, floor, clip):
    speeds = [clip.seconds / run["seconds"] for run in runs]
    to_floor = ratios(speeds, [clip.seconds / run["seconds"] for run in floor])
    cpu = [run["usage"].cpu_s * 1000 / clip.frames for run in runs]
    segments = [seconds for run in runs for seconds in run.get("segments", [])]
    return {
        "label": label,
        "rounds": len(runs),
        "real_time": spread(speeds),
        "to_floor": to_floor,
        "clock_ms_a_frame": spread([run["seconds"] * 1000 / clip.frames for run in runs]),
        "cpu_ms_a_frame": spread(cpu),
        "cpu_to_floor": ratios(cpu, [run["usage"].cpu_s * 1000 / clip.frames for run in floor]),
        "segment_s_p50": percentile(segments, 0.5),
        "segment_s_p95": percentile(segments, 0.95),
        "network_ms_a_frame": spread([run.get("network_ms") for run in runs]),
        "peak_mib": spread([run["usage"].peak_mib for run in runs]),
        "others_cores": spread([run["usage"].others_cores for run in runs]),
        "kbps": spread([run["bytes"] * 8 / 1000 / clip.seconds for run in runs]),
        "made_by": runs[0].get("made_by"),
    }


def text(result):
    head = ["", "x real time", "to floor", "CPU ms a frame", "CPU to floor", "segment p50/p95 s", "peak MiB", "kbit/s"]
    rows = []
    for row in result["rows"]:
        has_segments = row["segment_s_p50"] is not None
        segment = f"{row['segment_s_p50']:.2f}/{row['segment_s_p95']:.2f}" if has_segments else "-"
        figures = [
            show(row["real_time"]),
            show(row["to_floor"]),
            show(row["cpu_ms_a_frame"], 1),
            show(row["cpu_to_floor"]),
        ]
        rows.append(
            [row["label"], *figures, segment, f"{row['peak_mib']['median']:.0f}", f"{row['kbps']['median']:.0f}"]
        )
    clip, target = result["clip"], result["target"]
    words = (
        f"  {clip['width']}x{clip['height']}p{clip['fps']}, {clip['kbps']} kbit/s, {clip['seconds']} s in segments of "
        f"{clip['segment_s']} s -> {target['width']}x{target['height']}, at most {target['max_kbps']} kbit/s\n"
    )
    missing = [f"  left out: {label}: {why}" for label, why in result["absent"].items()]
    return words + table(head, rows) + "".join(f"\n{line}" for line in missing)
