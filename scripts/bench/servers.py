"""The servers of a part: an origin, the edge, nginx; all on loopback, on free ports, ended by process id."""

import contextlib
import http.client
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.parse
from dataclasses import dataclass
from pathlib import Path

from meter import BenchError, status_kib

HERE = Path(__file__).resolve().parent
START_S = 120


@dataclass
class Answer:
    """What a request gave and when, in seconds from its first byte sent."""

    status: int
    first_byte_s: float
    whole_s: float
    body: bytes
    headers: dict


def get(url, timeout_s=120):
    """One request on a connection of its own. The first byte is the body's: headers alone play nothing."""
    parts = urllib.parse.urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=timeout_s)
    with contextlib.closing(connection):
        connection.connect()
        began = time.perf_counter()
        connection.request("GET", parts.path + (f"?{parts.query}" if parts.query else ""))
        answer = connection.getresponse()
        first = answer.read(1)
        first_byte = time.perf_counter() - began
        body = first + answer.read()
        return Answer(answer.status, first_byte, time.perf_counter() - began, body, dict(answer.getheaders()))


def text(url):
    """The body of a good answer."""
    answer = get(url)
    if answer.status != 200:
        raise BenchError(f"{url} answered {answer.status}: {answer.body[:300]!r}")
    return answer.body.decode()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Server:
    """A child process that serves. Use as a context."""

    def __init__(self, command, what, cwd=None):
        self.what = what
        self.log = tempfile.NamedTemporaryFile("w+", prefix="acuity-bench-")  # noqa: SIM115 - closed in __exit__
        command = [str(part) for part in command]
        try:
            self.process = subprocess.Popen(
                command,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.DEVNULL,
                stderr=self.log,
                cwd=cwd,
            )
        except FileNotFoundError as missing:
            raise BenchError(f"{command[0]} is missing") from missing

    @property
    def pid(self):
        return self.process.pid

    def said(self):
        return Path(self.log.name).read_text(errors="replace")

    def wait_until(self, good, seconds=START_S):
        """Waits until `good()` gives something true, and gives that."""
        until = time.monotonic() + seconds
        while time.monotonic() < until and self.process.poll() is None:
            with contextlib.suppress(OSError, http.client.HTTPException, BenchError):
                if found := good():
                    return found
            time.sleep(0.05)
        tail = "\n".join(self.said().strip().splitlines()[-10:])
        raise BenchError(f"{self.what} does not serve:\n{tail}")

    def peak_mib(self):
        return status_kib(self.pid) / 1024

    def resident_mib(self):
        return status_kib(self.pid, "VmRSS") / 1024

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            # SIGINT: the edge ends at once instead of draining
            self.process.send_signal(signal.SIGINT)
            try:
                self.process.wait(timeout=10)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        self.log.close()


class Origin(Server):
    """Files of a folder, by Python: quick enough where segments are made."""

    def __init__(self, folder):
        super().__init__([sys.executable, "-u", HERE / "origin.py", folder], "the origin")
        found = self.wait_until(lambda: re.search(r"port (\d+)", self.said()))
        self.url = f"http://127.0.0.1:{found[1]}"


class Edge(Server):
    """`acuity serve`. `enhancer`, `route` and `cache` are lines of those tables of its configuration."""

    def __init__(self, setting, origin, enhancer=(), route=(), cache=()):
        self.config = tempfile.NamedTemporaryFile("w", suffix=".toml")  # noqa: SIM115 - as the log
        tables = {
            "[enhancer]": [*enhancer, *setting.enhancer],
            "[[route]]": [f'origin = "{origin}"', *route],
            "[cache]": list(cache),
        }
        for head, lines in tables.items():
            print(head, *lines, sep="\n", file=self.config, flush=True)
        command = [setting.acuity, "serve", "--config", self.config.name, *setting.places]
        super().__init__([*command, "--listen", "127.0.0.1:0", "--admin", "127.0.0.1:0"], "acuity serve", setting.root)
        found = self.wait_until(
            lambda: re.search(r"listening on (http://[\d.:]+)\S*, admin (http://[\d.:]+)", self.said())
        )
        self.url, self.admin = found[1], found[2]
        self.wait_until(lambda: get(f"{self.admin}/readyz").status == 200)

    def __exit__(self, *error):
        super().__exit__(*error)
        self.config.close()

    def rendition(self, master):
        """(Folder, segments' URIs) of the enhanced rendition that the multivariant playlist at `master` offers."""
        lines = text(f"{self.url}{master}").splitlines()
        offered = [line for line in lines if line.startswith("/~acuity/")]
        if not offered:
            raise BenchError(f"the edge offers no enhanced rendition of {master}:\n" + "\n".join(lines))
        names = [line for line in text(f"{self.url}{offered[0]}").splitlines() if line and line[0] != "#"]
        return f"{self.url}{offered[0].rsplit('/', 1)[0]}", names

    def metrics(self):
        """{name{labels}: value}."""
        found = {}
        for line in text(f"{self.admin}/metrics").splitlines():
            if line and not line.startswith("#"):
                name, _, value = line.rpartition(" ")
                found[name] = float(value)
        return found

    def made_by(self):
        """{what made segments: how many} since the start."""
        found = {}
        for name, value in self.metrics().items():
            if name.startswith("acuity_enhancer_segments_total") and value > 0:
                labels = dict(re.findall(r'(\w+)="([^"]*)"', name))
                words = [labels.get("made_by", "?"), labels.get("tier", "none")]
                found[" ".join(word for word in words if word != "none")] = int(value)
        return found


def nginx_binary():
    """Debian puts it where only root's PATH looks."""
    found = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin:/usr/local/sbin")
    if not found:
        raise BenchError("nginx is missing: scripts/bench/setup.sh installs it (Debian: nginx-light)")
    return found


NGINX = """
worker_processes auto; pid {work}/nginx.pid; error_log {work}/error.log; daemon off; {user}
events {{ worker_connections 1024; }}
http {{
  access_log off; sendfile on; tcp_nopush on; tcp_nodelay on; keepalive_requests 1000000;
  types {{ video/mp2t ts; application/vnd.apple.mpegurl m3u8; }}
  client_body_temp_path {work}/b; proxy_temp_path {work}/p; fastcgi_temp_path {work}/f;
  uwsgi_temp_path {work}/u; scgi_temp_path {work}/s;
  {body}
}}
"""


class Nginx(Server):
    """nginx with a body of its http section; `{listen}` in it becomes an address."""

    def __init__(self, body, what="nginx"):
        self.work = tempfile.TemporaryDirectory(prefix="acuity-bench-nginx-")
        work = Path(self.work.name)
        port = free_port()
        self.url = f"http://127.0.0.1:{port}"
        # as root the workers would become another user, who may not read the files
        user = "user root;" if os.geteuid() == 0 else ""
        config = NGINX.format(work=work, user=user, body=body.replace("{listen}", f"127.0.0.1:{port}"))
        (work / "nginx.conf").write_text(config)
        super().__init__([nginx_binary(), "-p", work, "-e", work / "error.log", "-c", work / "nginx.conf"], what)
        try:
            self.wait_until(lambda: get(f"{self.url}/").status > 0, 20)
        except BenchError as why:
            self.__exit__()
            raise BenchError(f"{why}") from None

    def __exit__(self, *error):
        super().__exit__(*error)
        self.work.cleanup()
