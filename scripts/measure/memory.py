#!/usr/bin/env python3
"""Resident memory of the edge under steady load: many players, more segments than the cache budget holds.

  scripts/measure/memory.py [--minutes 10] [--players 4] [--budget 256MiB]

Starts the sample origin and an edge on free loopback ports. Each player asks for enhanced segments again and again, with a
query parameter that makes each round new to the cache, so that segments are made and evicted all the time. Prints the
resident set every 15 seconds and, at the end, the peak and the slope of the second half. Ends only what it started.
"""

import argparse
import re
import subprocess
import tempfile
import threading
import time
from pathlib import Path

from near import free_port, get, wait_for


def resident_mib(pid):
    status = Path(f"/proc/{pid}/status").read_text()
    return int(re.search(r"VmRSS:\s+(\d+)", status)[1]) / 1024


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=10)
    parser.add_argument("--players", type=int, default=4)
    parser.add_argument("--budget", default="256MiB")
    args = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    origin, edge, admin = free_port(), free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        config.write(f'[cache]\nbudget_bytes = "{args.budget}"\n')
        config.flush()
        quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL, "cwd": root}
        started = [
            subprocess.Popen(["target/release/sample-origin", "--listen", f"127.0.0.1:{origin}", "--sample", ".acuity/sample"], **quiet),
            subprocess.Popen(["target/release/acuity", "serve", "--origin", f"http://127.0.0.1:{origin}", "--config", config.name,
                              "--listen", f"127.0.0.1:{edge}", "--admin", f"127.0.0.1:{admin}"], **quiet),
        ]
        try:
            wait_for(f"http://127.0.0.1:{origin}/sample/master.m3u8")
            wait_for(f"http://127.0.0.1:{admin}/readyz")
            load(f"http://127.0.0.1:{edge}", started[1].pid, args)
        finally:
            for process in started:
                process.terminate()
                process.wait(timeout=30)


def load(base, pid, args):
    master = get(f"{base}/sample/master.m3u8").decode()
    variant = next(line for line in master.splitlines() if line.startswith("/~acuity/"))
    names = [line for line in get(base + variant).decode().splitlines() if line and not line.startswith("#")]
    folder = base + variant.rsplit("/", 1)[0]
    stop, counts = threading.Event(), [0] * args.players

    def play(player):
        turn = 0
        while not stop.is_set():
            for name in names:
                if stop.is_set():
                    return
                get(f"{folder}/{name}?round={player}.{turn}")
                counts[player] += 1
            turn += 1

    threads = [threading.Thread(target=play, args=(player,), daemon=True) for player in range(args.players)]
    for thread in threads:
        thread.start()
    begun, samples = time.monotonic(), []
    while (elapsed := time.monotonic() - begun) < args.minutes * 60:
        time.sleep(min(15, args.minutes * 60 - elapsed))
        samples.append((time.monotonic() - begun, resident_mib(pid)))
        print(f"{samples[-1][0]:6.0f} s  {samples[-1][1]:7.1f} MiB resident  {sum(counts)} segments", flush=True)
    stop.set()
    for thread in threads:
        thread.join(timeout=60)
    late = samples[len(samples) // 2:]
    mean_t = sum(t for t, _ in late) / len(late)
    mean_m = sum(m for _, m in late) / len(late)
    spread = sum((t - mean_t) ** 2 for t, _ in late) or 1.0
    slope = sum((t - mean_t) * (m - mean_m) for t, m in late) / spread * 60
    print(f"peak {max(m for _, m in samples):.1f} MiB; second half {mean_m:.1f} MiB, slope {slope:+.2f} MiB a minute; "
          f"{sum(counts)} segments")


if __name__ == "__main__":
    main()
