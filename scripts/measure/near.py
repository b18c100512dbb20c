"""What the measurements here share: servers on this machine's loopback, asked by HTTP."""

import socket
import sys
import time
import urllib.request

# What is near is not asked through anybody's proxy.
WEB = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def free_port():
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def get(url):
    """The body of an answer; raises OSError for any that is no success."""
    with WEB.open(url, timeout=60) as answer:
        return answer.read()


def wait_for(url, seconds=120):
    """Waits until `url` is answered well; ends the program if that takes too long."""
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        try:
            return get(url)
        except OSError:
            time.sleep(0.1)
    sys.exit(f"no good answer from {url} within {seconds} s")
