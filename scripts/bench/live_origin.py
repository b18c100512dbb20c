#!/usr/bin/env python3
"""An origin of live streams for the bench: clips that repeat for ever, shown through a window that slides in real time.

  live_origin.py '[{"name": "s0", "folder": "...", "phase_s": 1.5}, ...]'

Each stream has /NAME/master.m3u8, /NAME/index.m3u8 and /NAME/NUMBER.ts on a free loopback port, which it says on
standard error. Every number is an address of its own, so nothing that was made of one turn of the clip serves the
next; between two turns there is a discontinuity, as where a channel's programme changes.
"""

import json
import sys
import time
from dataclasses import dataclass
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

# Segments that a playlist shows, and that have been before the origin started: streams are under way.
WINDOW = 6
BEFORE = 20
# A segment can be had for so many segments after it left the playlist (RFC 8216, 6.2.2: its duration and the
# playlist's).
KEPT = WINDOW + 1
TYPES = {".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t"}


@dataclass(frozen=True)
class Live:
    """A live stream; its clip's segments are all of the same length."""

    folder: Path
    names: list
    segment_s: float
    # by how much its segments' ends lie behind those of a stream with 0
    phase_s: float

    @classmethod
    def of(cls, folder, phase_s):
        lines = (Path(folder) / "index.m3u8").read_text().splitlines()
        seconds = [float(line.removeprefix("#EXTINF:").split(",")[0]) for line in lines if line.startswith("#EXTINF:")]
        names = [line for line in lines if line and line[0] != "#"]
        return cls(Path(folder), names, max(seconds), phase_s)

    def first(self, now_s):
        """Number of the first segment that the playlist shows, `now_s` seconds after the origin's start."""
        return int((now_s - self.phase_s) // self.segment_s) + BEFORE

    def playlist(self, now_s):
        first, count = self.first(now_s), len(self.names)
        lines = ["#EXTM3U", "#EXT-X-VERSION:6", f"#EXT-X-TARGETDURATION:{round(self.segment_s)}"]
        lines += ["#EXT-X-INDEPENDENT-SEGMENTS", f"#EXT-X-MEDIA-SEQUENCE:{first}"]
        # those that have left the playlist; one before its first segment is still in it
        lines.append(f"#EXT-X-DISCONTINUITY-SEQUENCE:{(first - 1) // count}")
        for number in range(first, first + WINDOW):
            if number % count == 0:
                lines.append("#EXT-X-DISCONTINUITY")
            lines += [f"#EXTINF:{self.segment_s:.6f},", f"{number}.ts"]
        return "\n".join(lines) + "\n"

    def segment(self, number, now_s):
        """The file of a segment that can be had now, else None."""
        first = self.first(now_s)
        if not first - KEPT <= number < first + WINDOW:
            return None
        return self.folder / self.names[number % len(self.names)]


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def __init__(self, streams, began, *rest):
        self.streams, self.began = streams, began
        super().__init__(*rest)

    def do_GET(self):
        _, _, rest = self.path.partition("?")[0].partition("/")
        name, _, what = rest.partition("/")
        body = self.find(name, what)
        self.send_response(404 if body is None else 200)
        self.send_header("Content-Type", TYPES.get(Path(what).suffix, "text/plain"))
        self.send_header("Cache-Control", "max-age=60" if what.endswith(".ts") else "max-age=1")
        self.send_header("Content-Length", str(len(body or b"")))
        self.end_headers()
        self.wfile.write(body or b"")

    def find(self, name, what):
        live, now = self.streams.get(name), time.monotonic() - self.began
        stem, _, kind = what.rpartition(".")
        if live is None:
            return None
        if what == "master.m3u8":
            return (live.folder / what).read_bytes()
        if what == "index.m3u8":
            return live.playlist(now).encode()
        path = live.segment(int(stem), now) if kind == "ts" and stem.isdecimal() else None
        return path.read_bytes() if path else None

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    streams = {told["name"]: Live.of(told["folder"], told["phase_s"]) for told in json.loads(sys.argv[1])}
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, streams, time.monotonic()))
    server.daemon_threads = True
    print(f"{len(streams)} live streams on port {server.server_address[1]}", file=sys.stderr, flush=True)
    server.serve_forever()
