"""What a run on live streams is watched with: FFmpeg as another client, the edge's metrics now and then, its books at
the end, its memory, and whether what it served can be decoded."""

import contextlib
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path

from meter import BenchError
from stats import slope

SAMPLE_S = 5


class Witness:
    """FFmpeg as another client: reads a rendition until it is stopped, and says what it does not like."""

    def __init__(self, url, clip_s):
        self.clip_s = clip_s
        self.log, self.progress = tempfile.TemporaryFile("w+"), tempfile.NamedTemporaryFile("r")  # noqa: SIM115
        command = ["ffmpeg", "-v", "warning", "-nostdin", "-progress", self.progress.name, "-i", url, "-map", "0:v"]
        self.began = time.monotonic()
        self.process = subprocess.Popen([*command, "-c", "copy", "-f", "null", "-"], stdout=self.log, stderr=self.log)

    def finish(self):
        seconds, ended = time.monotonic() - self.began, self.process.poll()
        with contextlib.suppress(ProcessLookupError):
            self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(timeout=10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()
        self.log.seek(0)
        said = besides_the_loop((line for line in self.log.read().splitlines() if line.strip()), self.clip_s)
        frames = re.findall(r"^frame=(\d+)", Path(self.progress.name).read_text(), re.M)
        self.log.close()
        self.progress.close()
        if ended is not None:
            said.append(f"ended by itself after less than {seconds:.0f} s, with {ended}")
        return {"seconds": seconds, "frames": int(frames[-1]) if frames else 0, "said": said[:50]}


def besides_the_loop(said, clip_s):
    """What FFmpeg says but of a clip's last picture: it calls it corrupt in the origin's own segments too, because it
    looks for continuity counters to go on behind a discontinuity."""
    kept, is_loop = [], False
    for line in said:
        told = re.search(r"Packet corrupt \(stream = \d+, dts = (\d+)\)", line)
        if told:
            # FFmpeg's transport streams begin at 1.4 s.
            is_loop = int(told[1]) / 90_000 > clip_s + 1
        if not (is_loop and "orrupt" in line):
            kept.append(line)
    return kept


class Samples(threading.Thread):
    """Looks at the edge now and then: what it holds, what waits."""

    def __init__(self, edge):
        super().__init__(daemon=True)
        self.edge, self.rows, self.ended, self.began = edge, [], threading.Event(), time.monotonic()

    def run(self):
        while not self.ended.wait(SAMPLE_S):
            with contextlib.suppress(OSError, BenchError):
                self.rows.append(self.look())

    def look(self):
        found = self.edge.metrics()
        return {
            "at_s": time.monotonic() - self.began,
            "resident_mib": self.edge.resident_mib(),
            "cache_mib": found.get("acuity_cache_bytes", 0) / (1 << 20),
            "queue": found.get("acuity_enhancer_queue_depth"),
            "reserve": found.get("acuity_enhancer_reserve_ratio"),
            "origin_bytes": found.get("acuity_origin_bytes_total"),
        }

    def finish(self):
        self.ended.set()
        self.join()


def grown(before, after, name, *labels):
    """{values of these labels: growth} of a counter."""
    found = Counter()
    for key, value in after.items():
        if key.partition("{")[0] == name:
            values = dict(re.findall(r'(\w+)="([^"]*)"', key))
            known = [values[label] for label in labels if values.get(label, "none") != "none"]
            found[" ".join(known)] += value - before.get(key, 0)
    return {known: value for known, value in found.items() if value > 0}


def edges_account(before, after):
    def of(name, *labels):
        return grown(before, after, f"acuity_{name}", *labels)

    sums, counts = (of(f"enhancer_stage_seconds_{what}", "stage") for what in ("sum", "count"))
    made, fallbacks = of("enhancer_segments_total", "made_by", "tier"), of("enhancer_fallbacks_total", "reason")
    return {
        "made": made,
        # made by a network in part: it was stopped for the deadline's sake
        "cut_short": max(fallbacks.get("deadline_short", 0) - made.get("plain", 0), 0),
        "choices": of("enhancer_choices_total", "choice", "why"),
        "deadlines": of("enhancer_deadlines_total", "who", "kept"),
        "fallbacks": of("fallbacks_total", "reason"),
        "failures": of("enhancer_failures_total", "reason"),
        "ahead": of("ahead_total", "outcome"),
        "requests": of("requests_total", "kind", "outcome"),
        "stage_s": {stage: sums.get(stage, 0) / count for stage, count in counts.items()},
    }


def memory(idle_mib, peak_mib, rows, streams):
    """Without what the cache holds on purpose; `slope`: of the second half."""
    others = [(row["at_s"] / 60, row["resident_mib"] - row["cache_mib"]) for row in rows]
    most = max((mib for _, mib in others), default=None)
    return {
        "idle_mib": idle_mib,
        "peak_mib": peak_mib,
        "without_cache_mib": most,
        "a_stream_mib": (most - idle_mib) / streams if most is not None else None,
        "mib_a_minute": slope(others[len(others) // 2 :]),
    }


def undecodable(body, pictures):
    """What FFmpeg's decoder has against a segment, None if nothing."""
    command = ["ffmpeg", "-v", "error", "-nostdin", "-i", "-", "-map", "0:v", "-f", "null", "-progress", "-", "-"]
    done = subprocess.run(command, input=body, capture_output=True)
    said, shown = done.stderr.decode(errors="replace").strip(), re.findall(rb"^frame=(\d+)", done.stdout, re.M)
    if done.returncode != 0 or said:
        return said or f"FFmpeg ended with {done.returncode}"
    return None if shown and int(shown[-1]) == pictures else f"{shown[-1:]} pictures instead of {pictures}"


def decode_all(players, pictures):
    """What cannot be decoded of the newest segment of each stream and maker."""
    newest = {(player.stream, maker): body for player in players for maker, body in player.kept.items()}
    told = [(stream, maker, undecodable(body, pictures)) for (stream, maker), body in sorted(newest.items())]
    return {"looked_at": len(told), "bad": [f"{stream}, {maker}: {why}" for stream, maker, why in told if why]}
