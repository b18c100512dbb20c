"""Bytes from an origin: bounded retries, bounded sizes, one-line errors.

An origin's playlist decides what is fetched next, so it must not be able to name
anything it likes: what came over HTTP may lead to HTTP only, never to files here.
"""

import http.client
import time
import urllib.error
import urllib.parse
import urllib.request
from pathlib import Path

# Four tries over seven seconds: an origin that restarts is back by then, one that is gone is told soon.
TRIES = 4
FIRST_PAUSE_S = 1.0
TIMEOUT_S = 20.0
# A minute of 50 Mbit/s video; beyond it something else than a segment is being sent.
MOST_BYTES = 400 << 20
USER_AGENT = "acuity-trainer"


class FetchError(RuntimeError):
    """Nothing came; the message names the object and the cause."""


class GoneError(FetchError):
    """The origin answered that it does not have the object."""


def as_uri(source):
    """A URI for what a person typed: URLs stay, paths become absolute `file:` ones."""
    return source if "://" in source else Path(source).resolve().as_uri()


def short(uri):
    """The last parts of a URI's path, for messages: no host, no query."""
    return "/".join(urllib.parse.unquote(urllib.parse.urlsplit(uri).path).split("/")[-2:])


def get(uri, offset=0, length=None, came_from=None, pause=time.sleep):
    """(bytes of the object or of `length` bytes from `offset`, its URI after redirects)."""
    scheme = urllib.parse.urlsplit(uri).scheme
    if scheme not in ("http", "https", "file"):
        raise FetchError(f"{uri}: {scheme or 'no'} scheme; http, https and files are read")
    if scheme == "file" and came_from and not came_from.startswith("file:"):
        raise FetchError(f"{short(uri)}: a playlist from the network may not name files of this machine")
    if scheme == "file":
        return _read(uri, offset, length), uri
    headers = {"User-Agent": USER_AGENT}
    if length is not None:
        headers["Range"] = f"bytes={offset}-{offset + length - 1}"
    for attempt in range(TRIES):
        try:
            return _once(uri, headers, offset, length)
        except urllib.error.HTTPError as refused:
            why = f"{refused.code} {refused.reason}"
            if refused.code in (404, 410):
                raise GoneError(f"{short(uri)} from {urllib.parse.urlsplit(uri).netloc}: {why}") from None
            if refused.code < 500 and refused.code not in (408, 425, 429):
                break
        except (OSError, http.client.HTTPException) as broken:
            why = str(getattr(broken, "reason", None) or broken) or type(broken).__name__
        if attempt + 1 < TRIES:
            pause(FIRST_PAUSE_S * 2**attempt)
    raise FetchError(f"{short(uri)} from {urllib.parse.urlsplit(uri).netloc}: {why}")


def _once(uri, headers, offset, length):
    with _OPENER.open(urllib.request.Request(uri, headers=headers), timeout=TIMEOUT_S) as answer:
        data = answer.read(MOST_BYTES + 1)
        if len(data) > MOST_BYTES:
            raise FetchError(f"{short(uri)} is longer than {MOST_BYTES >> 20} MiB")
        if length is not None and answer.status != 206:
            data = data[offset : offset + length]  # an origin without ranges sent it all
        if length is not None and len(data) != length:
            raise FetchError(f"{short(uri)}: {len(data)} bytes of a range of {length}")
        return data, answer.geturl()


def _read(uri, offset, length):
    path = Path(urllib.request.url2pathname(urllib.parse.urlsplit(uri).path))
    try:
        with path.open("rb") as file:
            file.seek(offset)
            return file.read(MOST_BYTES if length is None else length)
    except FileNotFoundError as missing:
        raise GoneError(f"{path}: there is no such file") from missing
    except OSError as wrong:
        raise FetchError(f"{path}: {wrong.strerror}") from wrong


class _NoFiles(urllib.request.HTTPRedirectHandler):
    """Follows redirects to HTTP only."""

    def redirect_request(self, req, fp, code, msg, headers, newurl):
        if urllib.parse.urlsplit(newurl).scheme not in ("http", "https"):
            raise FetchError(f"{short(req.full_url)} redirects to another scheme")
        return super().redirect_request(req, fp, code, msg, headers, newurl)


_OPENER = urllib.request.build_opener(_NoFiles)
