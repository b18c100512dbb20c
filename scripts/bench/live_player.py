"""A player of a live stream, in real time: it follows the playlist, fetches each segment when it is listed, and plays
from a buffer that can run dry. It decodes nothing."""

import contextlib
import http.client
import re
import threading
import time
import urllib.parse
from dataclasses import dataclass

# Segments before the live edge where it joins (RFC 8216, 6.3.3: at least three target durations from the end), and
# segments that it has before it plays.
JOINS_BEHIND = 3
STARTS_WITH = 2
# hls.js waits as long for a segment before it gives up, and tries again after a second.
GIVES_UP_S = 20
TRIES = 3
RETRY_S = 1.0

PACKET, SYNC = 188, 0x47


class Buffer:
    """What a player has to play, in seconds of film. Time is an argument."""

    def __init__(self):
        self.level_s, self.lowest_s, self.segments = 0.0, None, 0
        self.stalls, self.dry_since, self.at = [], None, None

    @property
    def plays(self):
        return self.segments >= STARTS_WITH

    def look(self, now):
        """Plays up to `now`; gives what is left."""
        if self.plays and self.dry_since is None:
            left = self.level_s - (now - self.at)
            if left < 0:
                self.dry_since = now + left
            self.level_s = max(left, 0.0)
        self.at = now
        return self.level_s

    def add(self, seconds, now):
        """A segment is there, whole. Gives what was left when it came, in seconds; below 0: for how long there was
        nothing."""
        left = self.look(now)
        if self.dry_since is not None:
            left = self.dry_since - now
            self.stalls.append({"at": self.dry_since, "seconds": -left})
            self.dry_since = None
        if self.plays:
            self.lowest_s = left if self.lowest_s is None else min(self.lowest_s, left)
        self.level_s += seconds
        self.segments += 1
        return left

    def end(self, now):
        """The show is over; a stall that lasts until now counts."""
        self.look(now)
        if self.dry_since is not None:
            self.stalls.append({"at": self.dry_since, "seconds": now - self.dry_since})


@dataclass
class Listed:
    """A segment of a media playlist."""

    number: int
    seconds: float
    uri: str


def read_master(text):
    """URIs of all variants."""
    lines = [line.strip() for line in text.splitlines()]
    return [uri for tag, uri in zip(lines, lines[1:], strict=False) if tag.startswith("#EXT-X-STREAM-INF")]


def read_media(text):
    """(target duration, segments)."""
    target, number, seconds, found = 0.0, 0, 0.0, []
    for line in text.splitlines():
        name, _, value = line.strip().partition(":")
        if name == "#EXT-X-TARGETDURATION":
            target = float(value)
        elif name == "#EXT-X-MEDIA-SEQUENCE":
            number = int(value)
        elif name == "#EXTINF":
            seconds = float(value.split(",")[0])
        elif name and name[0] != "#":
            found.append(Listed(number, seconds, line.strip()))
            number += 1
    return target, found


def lower(headers):
    """Headers with their names in lower case."""
    return {name.lower(): value for name, value in headers}


def made_by(headers):
    """What made a segment, by the edge's Cache-Status: a model's id, `plain`, `source`; None where it does not tell."""
    found = re.search(r'acuity[^,]*; detail="([^"]*)"', headers.get("cache-status", ""))
    return found[1] if found else None


class Connection:
    """Requests one after the other on a connection that is kept."""

    def __init__(self, base):
        parts = urllib.parse.urlsplit(base)
        self.connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=GIVES_UP_S)

    def get(self, path):
        """(status, headers, body, seconds to the body's first byte, seconds to its last)."""
        began = time.monotonic()
        try:
            answer = self.ask(path)
            first = answer.read(1)
            first_byte_s = time.monotonic() - began
            body = first + answer.read()
        except (OSError, http.client.HTTPException):
            self.connection.close()
            raise
        return answer.status, lower(answer.getheaders()), body, first_byte_s, time.monotonic() - began

    def close(self):
        self.connection.close()

    def ask(self, path):
        is_kept = self.connection.sock is not None
        try:
            self.connection.request("GET", path)
            return self.connection.getresponse()
        except (ConnectionError, http.client.BadStatusLine):
            # the server may close a kept connection at any time; on a new one it is an error
            self.connection.close()
            if not is_kept:
                raise
        self.connection.request("GET", path)
        return self.connection.getresponse()


class Player(threading.Thread):
    """Watches the enhanced rendition of `stream` from `arrives` to `until` (monotonic). `rows`: a segment each; `kept`:
    the newest segment of each maker."""

    def __init__(self, base, stream, name, arrives, until):
        super().__init__(daemon=True, name=name)
        self.base, self.stream, self.arrives, self.until = base, stream, arrives, until
        self.buffer, self.rows, self.errors, self.kept = Buffer(), [], [], {}
        self.target_s, self.skipped, self.next = 0.0, 0, None

    def run(self):
        time.sleep(max(self.arrives - time.monotonic(), 0))
        try:
            with contextlib.closing(Connection(self.base)) as connection:
                self.watch(connection)
        except (OSError, http.client.HTTPException, ValueError) as why:
            self.error(f"ended: {why!r}")
        self.buffer.end(min(time.monotonic(), self.until))

    def error(self, words):
        self.errors.append(f"{time.monotonic() - self.arrives:.1f} s: {words}")

    def text(self, connection, path):
        status, _, body, *_ = connection.get(path)
        if status != 200:
            raise ValueError(f"{path} answered {status}")
        return body.decode()

    def rendition(self, connection):
        """Path of the enhanced rendition's playlist. A stream whose facts the edge could not get in time is offered
        without; a viewer would see the plain one, so it is an error, once."""
        master = f"/{self.stream}/master.m3u8"
        for _ in range(TRIES):
            for uri in read_master(self.text(connection, master)):
                path = urllib.parse.urljoin(master, uri)
                if path.startswith("/~acuity/"):
                    return path
            self.error("no enhanced rendition is offered")
            time.sleep(RETRY_S)
        raise ValueError("no enhanced rendition is offered")

    def watch(self, connection):
        path = self.rendition(connection)
        last = None
        while time.monotonic() < self.until:
            loaded = time.monotonic()
            try:
                self.target_s, segments = read_media(self.text(connection, path))
            except (OSError, http.client.HTTPException, ValueError) as why:
                self.error(f"playlist: {why!r}")
                time.sleep(RETRY_S)
                continue
            if self.next is None:
                self.next = segments[-min(JOINS_BEHIND, len(segments))].number
            if segments[0].number > self.next:
                # left behind: what is not listed any more is lost
                self.skipped += segments[0].number - self.next
                self.next = segments[0].number
            for segment in segments:
                if segment.number >= self.next and time.monotonic() < self.until:
                    self.take(connection, segment, urllib.parse.urljoin(path, segment.uri))
                    self.next = segment.number + 1
            # RFC 8216, 6.3.4: after a target duration, or half of it where nothing was new
            newest = segments[-1].number
            wait = self.target_s * (0.5 if newest == last else 1.0)
            last = newest
            time.sleep(max(min(loaded + wait, self.until) - time.monotonic(), 0))

    def take(self, connection, segment, path):
        for _ in range(TRIES):
            asked = time.monotonic()
            try:
                status, headers, body, first_byte_s, whole_s = connection.get(path)
                if status == 200 and is_transport_stream(body):
                    break
                self.error(f"segment {segment.number}: status {status}, {len(body)} bytes")
            except (OSError, http.client.HTTPException) as why:
                self.error(f"segment {segment.number}: {why!r}")
            if time.monotonic() + RETRY_S > self.until:
                return
            time.sleep(RETRY_S)
        else:
            self.skipped += 1
            return
        maker = made_by(headers) or "?"
        outcome = headers.get("cache-status", "")
        self.kept[maker] = body
        self.rows.append(
            {
                "number": segment.number,
                "asked_s": asked,
                "first_byte_s": first_byte_s,
                "whole_s": whole_s,
                "bytes": len(body),
                "made_by": maker,
                "from_cache": "acuity; hit" in outcome,
                "buffer_s": self.buffer.add(segment.seconds, asked + whole_s),
            }
        )


def is_transport_stream(body):
    """Whole packets, each with its sync byte."""
    return len(body) > 0 and len(body) % PACKET == 0 and body[::PACKET].count(SYNC) == len(body) // PACKET
