"""Bytes a second: cached enhanced segments and passed-through ones against nginx, in turn, with wrk on loopback."""

import contextlib
import os
import re
import shutil
import subprocess
import time
from pathlib import Path

from clips import stream
from meter import BenchError, cpu_seconds
from servers import Edge, Nginx, get
from servers import text as text_of
from stats import ratios, show, spread, table

TITLE = "Serving against nginx"
ABOUT = """wrk, 16 connections on loopback, each server in turn, round after round. `cached`: an enhanced segment out
of the edge's memory against the same bytes as a file from nginx (sendfile). `passed`: a segment of the source out of
the edge's pass-through, not cached, against nginx with proxy_pass (keep-alive upstream, its default buffering
without temporary files, no cache) to the same origin, which is another nginx. nginx writes no access log, the edge
writes its own (to /dev/null). The load generator shares the processors, so the ratio counts, and `CPU us`, the
server's processor time a request, which noise moves less (for nginx as a proxy, of the proxy alone)."""

CONNECTIONS = 16
IDLE_WITHIN_S = 60


def wrk(url, seconds):
    """{"rate", "p50_ms", "p99_ms"}."""
    binary = shutil.which("wrk")
    if not binary:
        raise BenchError("wrk is missing: scripts/bench/setup.sh installs it")
    command = [binary, "-t1", f"-c{CONNECTIONS}", f"-d{seconds}s", "--latency", url]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        raise BenchError(f"wrk {url}: {done.stderr.strip() or done.stdout.strip()}")
    return read_wrk(done.stdout)


def read_wrk(said):
    """wrk's report as figures. Raises BenchError for answers that were not good: their rate means nothing."""
    rate = re.search(r"Requests/sec:\s+([\d.]+)", said)
    bad = re.search(r"Non-2xx or 3xx responses: (\d+)", said)
    errors = re.search(r"Socket errors: (.+)", said)
    if not rate or bad or errors:
        raise BenchError(f"wrk met errors:\n{said}")
    units = {"us": 0.001, "ms": 1.0, "s": 1000.0, "m": 60_000.0}
    found = {"rate": float(rate[1]), "requests": int(re.search(r"(\d+) requests in", said)[1])}
    for part in ("50", "99"):
        seen = re.search(rf"^\s*{part}%\s+([\d.]+)(us|ms|s|m)$", said, re.M)
        found[f"p{part}_ms"] = float(seen[1]) * units[seen[2]] if seen else None
    return found


def same_bytes(*urls):
    """The bytes that all of them answer with."""
    answers = [get(url) for url in urls]
    if any(answer.status != 200 for answer in answers):
        raise BenchError(
            f"not all answered 200: {[(url, answer.status) for url, answer in zip(urls, answers, strict=True)]}"
        )
    if len({answer.body for answer in answers}) != 1:
        raise BenchError(f"not the same bytes from {urls}")
    return answers[0].body


def settle(server):
    """Waits until a server has nothing in hand: what an edge makes ahead after a first request is not serving."""
    for _ in range(IDLE_WITHIN_S):
        before = cpu_seconds(server.pid)
        time.sleep(1)
        if cpu_seconds(server.pid) - before < 0.05:
            return
    raise BenchError(f"{server.pid} is still at work after {IDLE_WITHIN_S} s without a request")


def race(setting, name, ours, theirs, rounds, seconds):
    """Rounds of (url, server) against (url, server)."""
    size = len(same_bytes(ours[0], theirs[0]))
    sides = {"acuity": ours, "nginx": theirs}
    runs = {side: [] for side in sides}
    settle(ours[1])
    warmed = sum(wrk(url, 1)["requests"] for url, _ in sides.values())
    for turn in range(rounds):
        setting.say(f"{name}, round {turn + 1} of {rounds}")
        # who goes first changes, so that neither always has the other's leavings
        for side in sorted(sides, reverse=turn % 2 == 1):
            url, server = sides[side]
            before = cpu_seconds(server.pid)
            seen = wrk(url, seconds)
            seen["cpu_us"] = (cpu_seconds(server.pid) - before) * 1e6 / max(seen["requests"], 1)
            runs[side].append(seen)
    column = {side: {key: [run[key] for run in done] for key in done[0]} for side, done in runs.items()}
    return {
        "name": name,
        "bytes": size,
        "requests": warmed + sum(sum(each["requests"]) for each in column.values()),
        "acuity": {key: spread(values) for key, values in column["acuity"].items()},
        "nginx": {key: spread(values) for key, values in column["nginx"].items()},
        "ratio": ratios(column["acuity"]["rate"], column["nginx"]["rate"]),
        "cpu_ratio": ratios(column["acuity"]["cpu_us"], column["nginx"]["cpu_us"]),
    }


@contextlib.contextmanager
def servers(setting, clip):
    """(origin, edge, nginx with files, nginx as a proxy, the enhanced segment's URL, its copy's path, a source
    segment's path)."""
    # nginx may read what lies here even where its workers are another user
    folder = Path(setting.scratch) / "serving"
    stream(folder, clip, "vod", 1)
    os.chmod(setting.scratch, 0o755)
    with contextlib.ExitStack() as stack:
        files = f"server {{ listen {{listen}}; root {folder}; }}"
        status = f"server {{ listen {{listen}}; root {folder}; location = /status {{ stub_status; }} }}"
        origin = stack.enter_context(Nginx(status, "nginx (origin)"))
        edge = stack.enter_context(Edge(setting, origin.url))
        base, names = edge.rendition("/vod/master.m3u8")
        url = f"{base}/{names[0]}"
        answer = get(url)
        if answer.status != 200:
            raise BenchError(f"{url} answered {answer.status}")
        (folder / "enhanced.ts").write_bytes(answer.body)
        static = stack.enter_context(Nginx(files, "nginx (files)"))
        upstream = origin.url.removeprefix("http://")
        proxy = stack.enter_context(
            Nginx(
                f"upstream origin {{ server {upstream}; keepalive 64; }} server {{ listen {{listen}}; location / {{ "
                'proxy_pass http://origin; proxy_http_version 1.1; proxy_set_header Connection ""; '
                "proxy_max_temp_file_size 0; } }",
                "nginx (proxy)",
            )
        )
        yield origin, edge, static, proxy, url, "/enhanced.ts", f"/vod/{names_of(clip)[0]}"


def names_of(clip):
    return [f"t0/{line}" for line in clip.playlist.read_text().splitlines() if line and line[0] != "#"]


def requests_of(origin):
    """What an nginx with STATUS has been asked for so far, these looks included."""
    found = re.search(r"^ \d+ \d+ (\d+)", text_of(f"{origin.url}/status"), re.M)
    if not found:
        raise BenchError("this nginx has no stub_status, by which the bench proves that pass-through asks the origin")
    return int(found[1])


def run(setting):
    clip = setting.clip(seconds=12 if setting.quick else 24)
    rounds, seconds = (2, 2) if setting.quick else (max(setting.rounds, 5), 5)
    with servers(setting, clip) as (origin, edge, static, proxy, cached, copy, passed):
        rows, warnings = [], []
        for name, ours, theirs in (
            ("cached", cached, (f"{static.url}{copy}", static)),
            ("passed", f"{edge.url}{passed}", (f"{proxy.url}{passed}", proxy)),
        ):
            before = requests_of(origin)
            row = race(setting, name, (ours, edge), theirs, rounds, seconds)
            # what was passed through has to have come from the origin each time, by both; what was cached never
            row["origin_share"] = (requests_of(origin) - before) / row["requests"]
            if abs(row["origin_share"] - (name == "passed")) > 0.02:
                warnings.append(f"{name}: the origin saw {row['origin_share']:.2f} of the requests")
            rows.append(row)
    facts = {"clip": clip.facts(), "connections": CONNECTIONS, "seconds": seconds}
    return {**facts, "rows": rows, "warnings": warnings}


def text(result):
    head = ["", "bytes", "acuity /s", "nginx /s", "ratio", "CPU us", "nginx CPU us", "p99 ms", "nginx p99 ms"]
    rows = []
    for row in result["rows"]:
        a, n = row["acuity"], row["nginx"]
        rates = [show(a["rate"], 0), show(n["rate"], 0), show(row["ratio"])]
        cost = [f"{side['cpu_us']['median']:.0f}" for side in (a, n)]
        tail = [show({**side["p99_ms"], "n": min(side["p99_ms"]["n"], 1)}, 1) for side in (a, n)]
        rows.append([row["name"], row["bytes"], *rates, *cost, *tail])
    return table(head, rows)
