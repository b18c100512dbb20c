#!/usr/bin/env python3
"""An origin for the bench: files of a folder over HTTP/1.1 on a free loopback port, which it says on standard error."""

import sys
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer


class Handler(SimpleHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    extensions_map = {".m3u8": "application/vnd.apple.mpegurl", ".ts": "video/mp2t", "": "application/octet-stream"}

    def log_message(self, *_):
        pass


if __name__ == "__main__":
    server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=sys.argv[1]))
    print(f"serving {sys.argv[1]} on port {server.server_address[1]}", file=sys.stderr, flush=True)
    server.serve_forever()
