#!/usr/bin/env python3
"""What viewers wait for while the first of two origins hangs: it accepts connections and says nothing.

  scripts/measure/hang.py [--seconds 60] [--viewers 4] [--check]

Starts two origins of a few lines and an edge with default settings on free loopback ports. Each viewer asks for a segment that
is passed through and for a playlist that the edge fetches itself, every half second, none of them twice. After ten seconds the
first origin hangs. Prints the failed requests, how long the slowest ones took before and after the breaker opened, and when that
was. With --check the origins have a health check. Ends only what it started.
"""

import argparse
import http.server
import json
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
from pathlib import Path

from near import free_port, get, wait_for

PLAYLIST = b"#EXTM3U\n#EXT-X-TARGETDURATION:2\n#EXTINF:2,\n1.ts\n"


class Origin(http.server.ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self):
        self.hangs = threading.Event()
        self.asked = 0
        super().__init__(("127.0.0.1", 0), Handler)
        threading.Thread(target=self.serve_forever, daemon=True).start()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.server.asked += 1
        if self.server.hangs.is_set():
            time.sleep(3600)
        body = PLAYLIST if ".m3u8" in self.path else bytes(100_000)
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args):
        pass


def viewer(number, base, until, took, failed):
    turn = 0
    while time.monotonic() < until:
        for kind, name in (("passed through", "ts"), ("fetched", "m3u8")):
            began = time.monotonic()
            try:
                get(f"{base}/v/{number}-{turn}.{name}")
            except (OSError, urllib.error.HTTPError) as error:
                failed.append(f"{kind}: {error}")
            took.append((began, time.monotonic() - began, kind))
        turn += 1
        time.sleep(0.5)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--viewers", type=int, default=4)
    parser.add_argument("--check", action="store_true")
    args = parser.parse_args()
    root = Path(__file__).resolve().parents[2]
    first, second = Origin(), Origin()
    edge, admin = free_port(), free_port()
    with tempfile.NamedTemporaryFile("w", suffix=".toml") as config:
        origins = [f"http://127.0.0.1:{origin.server_address[1]}" for origin in (first, second)]
        # Nothing is offered enhanced, but playlists are looked into.
        config.write(f'[[route]]\norigin = "{origins[0]}"\nbackup_origins = ["{origins[1]}"]\ncluster = "plain"\n')
        if args.check:
            config.write('[route.health_check]\npath = "/well"\n')
        config.flush()
        addresses = ["--listen", f"127.0.0.1:{edge}", "--admin", f"127.0.0.1:{admin}"]
        command = [root / "target/release/acuity", "serve", "--config", config.name, *addresses]
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=root)
        try:
            base = f"http://127.0.0.1:{edge}"
            wait_for(f"http://127.0.0.1:{admin}/readyz")
            took, failed = [], []
            until = time.monotonic() + 10 + args.seconds
            viewers = [
                threading.Thread(target=viewer, args=(number, base, until, took, failed))
                for number in range(args.viewers)
            ]
            for thread in viewers:
                thread.start()
            time.sleep(10)
            hung = time.monotonic()
            first.hangs.set()
            opened = None
            while opened is None and time.monotonic() < until:
                told = json.loads(get(f"http://127.0.0.1:{admin}/routes"))
                opened = None if told["routes"][0]["origins"][0]["up"] else time.monotonic()
                time.sleep(0.02)
            for thread in viewers:
                thread.join()
            asked = first.asked
        finally:
            process.terminate()
            process.wait()
    if opened is None:
        sys.exit("the breaker did not open")
    print(f"left alone after {opened - hung:.1f} s; {len(failed)} of {len(took)} requests failed {failed[:3]}")
    spans = {
        "before": lambda began: began < hung - 6,
        "while it hangs and is still asked": lambda began: hung - 0.01 <= began < opened,
        "after": lambda began: began >= opened,
    }
    for span, is_in in spans.items():
        for kind in ("passed through", "fetched"):
            times = sorted(seconds for began, seconds, own in took if own == kind and is_in(began))
            if times:
                slow = sum(seconds > 0.5 for seconds in times)
                print(
                    f"{span}, {kind}: {len(times)} requests, {slow} over 0.5 s, "
                    f"median {times[len(times) // 2] * 1000:.0f} ms, slowest {times[-1] * 1000:.0f} ms"
                )
    print(f"the first origin was asked {asked} times in all")


if __name__ == "__main__":
    main()
