#!/usr/bin/env python3
"""What being looked at costs: processor time of the edge for a cached answer, traces off and on, in turn.

    scripts/measure/eyes.py [--rounds 5] [--seconds 4] [--against PROGRAM]

wrk asks for one byte of a segment that lies in memory, so that what a request costs beside its bytes is all there is. Processor time
is the edge's own (/proc), which a busy machine blurs less than requests a second. `--against` takes another build of acuity into the turn,
with nothing of [tracing] in its configuration. Needs wrk, target/release and the sample film. All on loopback; what it starts it ends.
"""

import argparse
import http.server
import os
import re
import signal
import statistics
import subprocess
import tempfile
import threading
import urllib.parse
from pathlib import Path

from near import free_port, get, wait_for

ROOT = Path(__file__).resolve().parent.parent.parent
BUILT = ROOT / "target/release"
TICK_US = 1e6 / os.sysconf("SC_CLK_TCK")


class Collector(http.server.BaseHTTPRequestHandler):
    """Takes whatever is posted."""

    protocol_version = "HTTP/1.1"

    def do_POST(self):
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


def processor_us(pid):
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) * TICK_US


class Edge:
    """One way to run the edge, with a segment in its memory."""

    def __init__(self, name, program, tracing, origin, folder):
        self.name, self.figures = name, []
        listen, self.admin = (f"127.0.0.1:{free_port()}" for _ in range(2))
        config = folder / f"{len(list(folder.iterdir()))}.toml"
        config.write_text(
            f'server.listen = ["{listen}"]\nadmin.listen = "{self.admin}"\nlog.access = "off"\n'
            f'enhancer.look_ahead = 0\nmodels.directory = "{ROOT}/models/zoo"\n{tracing}\n[[route]]\norigin = "http://{origin}"\n'
        )
        command = [program, "serve", "--config", config]
        self.process = subprocess.Popen(
            command, cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(f"http://{self.admin}/readyz")
        master = get(f"http://{listen}/sample/master.m3u8").decode()
        media = f"http://{listen}" + next(
            line for line in master.splitlines() if line.startswith("/~acuity/")
        )
        first = next(
            line
            for line in get(media).decode().splitlines()
            if line and not line.startswith("#")
        )
        self.url = urllib.parse.urljoin(media, first)
        get(self.url)

    def round(self, seconds):
        before = processor_us(self.process.pid)
        command = [
            "wrk",
            "-t1",
            "-c16",
            f"-d{seconds}s",
            "-H",
            "Range: bytes=0-0",
            self.url,
        ]
        said = subprocess.run(
            command, capture_output=True, text=True, check=True
        ).stdout
        requests = int(re.search(r"(\d+) requests in", said).group(1))
        self.figures.append(
            ((processor_us(self.process.pid) - before) / requests, requests / seconds)
        )

    def end(self):
        self.process.send_signal(signal.SIGINT)
        self.process.wait(timeout=30)


def main():
    arguments = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    arguments.add_argument("--rounds", type=int, default=5)
    arguments.add_argument("--seconds", type=int, default=4)
    arguments.add_argument("--against", type=Path)
    given = arguments.parse_args()
    collector = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Collector)
    threading.Thread(target=collector.serve_forever, daemon=True).start()
    endpoint = f'tracing.endpoint = "http://127.0.0.1:{collector.server_port}"\ntracing.sample_ratio ='
    origin = f"127.0.0.1:{free_port()}"
    serve = [
        BUILT / "sample-origin",
        "--listen",
        origin,
        "--sample",
        ROOT / ".acuity/sample",
    ]
    source = subprocess.Popen(serve, stdout=subprocess.DEVNULL)
    edges = []
    try:
        with tempfile.TemporaryDirectory() as folder:
            ways = [("off", BUILT / "acuity", "")]
            ways += [
                (f"1 in {share}", BUILT / "acuity", f"{endpoint} {1 / share}")
                for share in (100, 1)
            ]
            if given.against:
                ways.insert(0, (str(given.against), given.against, ""))
            for name, program, tracing in ways:
                edges.append(Edge(name, program, tracing, origin, Path(folder)))
            for _ in range(given.rounds):
                for edge in edges:
                    edge.round(given.seconds)
        for edge in edges:
            cost, rate = zip(*edge.figures)
            print(
                f"{edge.name}: {statistics.median(cost):.1f} us of processor a request ({min(cost):.1f} to {max(cost):.1f}), "
                f"{statistics.median(rate):.0f} requests/s"
            )
    finally:
        for edge in edges:
            edge.end()
        source.terminate()
        source.wait()


if __name__ == "__main__":
    main()
