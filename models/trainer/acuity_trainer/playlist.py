"""HLS playlists read into values: which variants there are, and where each segment lies and when it plays.

Only parsing; `ladder` fetches. Written here instead of taken from a package because
the trainer needs a dozen of the tags, exact errors, and byte ranges and times worked
out. What it does not know it passes over, as RFC 8216 asks.
"""

import re
from dataclasses import dataclass
from datetime import datetime
from urllib.parse import urljoin

# Far above any real playlist: a day of two-second segments has 43 200.
MOST_LINES = 400_000
_ATTRIBUTE = re.compile(r'([A-Z0-9-]+)=("[^"]*"|[^,]*)')
_VARIABLE = re.compile(r"\{\$([A-Za-z0-9_-]+)\}")


class PlaylistError(RuntimeError):
    """A playlist that cannot be used; the message says which and why."""


@dataclass(frozen=True)
class Variant:
    """One variant of a multivariant playlist; `width` and `height` are 0 where RESOLUTION is missing."""

    uri: str
    width: int
    height: int
    bandwidth: int


@dataclass(frozen=True)
class Piece:
    """Bytes at a URI: all of them, or `length` from `offset`."""

    uri: str
    offset: int = 0
    length: int | None = None


@dataclass(frozen=True)
class Key:
    """An AES-128 key's URI and, where the playlist gives it, the initialisation vector (16 bytes)."""

    uri: str
    iv: bytes | None


@dataclass(frozen=True)
class Segment:
    """One media segment; `start_s` on the playlist's own timeline, which begins at 0."""

    piece: Piece
    sequence: int
    start_s: float
    duration_s: float
    # Counts EXT-X-DISCONTINUITY: timestamps run on only within one epoch.
    epoch: int
    init: Piece | None = None
    key: Key | None = None
    # Seconds since 1970 of its first picture, where EXT-X-PROGRAM-DATE-TIME tells.
    wall_clock_s: float | None = None

    @property
    def end_s(self):
        return self.start_s + self.duration_s


@dataclass(frozen=True)
class Media:
    """A media playlist."""

    segments: tuple
    ended: bool


def attributes(text):
    """The attribute list after a tag's colon, quotes removed."""
    return {name: value[1:-1] if value.startswith('"') else value.strip() for name, value in _ATTRIBUTE.findall(text)}


def _lines(text, where):
    text = text.removeprefix("\ufeff")
    lines = [line.strip() for line in text.splitlines()]
    if not lines or not lines[0].startswith("#EXTM3U"):
        raise PlaylistError(f"{where} is no HLS playlist: it does not begin with #EXTM3U")
    if len(lines) > MOST_LINES:
        raise PlaylistError(f"{where} has more than {MOST_LINES} lines")
    variables = {}
    for line in lines:
        if line.startswith("#EXT-X-DEFINE:"):
            named = attributes(line.split(":", 1)[1])
            if "NAME" in named:
                variables[named["NAME"]] = named.get("VALUE", "")
    if variables:
        lines = [_VARIABLE.sub(lambda found: variables.get(found[1], found[0]), line) for line in lines]
    return [line for line in lines if line]


def is_multivariant(text):
    """Whether it lists variants instead of segments."""
    return "#EXT-X-STREAM-INF:" in text


def multivariant(text, base):
    """The variants of the multivariant playlist that was found at `base`."""
    variants, pending = [], None
    for line in _lines(text, base):
        if line.startswith("#EXT-X-STREAM-INF:"):
            pending = attributes(line.split(":", 1)[1])
        elif not line.startswith("#") and pending is not None:
            width, _, height = pending.get("RESOLUTION", "0x0").lower().partition("x")
            try:
                size = int(width), int(height)
            except ValueError:
                size = 0, 0
            bandwidth = pending.get("BANDWIDTH", "0")
            variants.append(Variant(urljoin(base, line), *size, int(bandwidth) if bandwidth.isdigit() else 0))
            pending = None
    if not variants:
        raise PlaylistError(f"{base} lists no variants")
    return variants


def _byte_range(text, uri, following, where):
    """A Piece from `length[@offset]`; without an offset it goes on after `following` = (uri, next offset)."""
    length, _, offset = text.strip('"').partition("@")
    start = int(offset) if offset else (following[1] if following and following[0] == uri else None)
    if start is None:
        raise PlaylistError(f"{where}: a byte range without an offset follows no range of the same file")
    return Piece(uri, start, int(length))


def _key(line, base):
    named, where = attributes(line), base
    method = named.get("METHOD", "NONE")
    if method == "NONE":
        return None
    if method != "AES-128" or named.get("KEYFORMAT", "identity") != "identity":
        raise PlaylistError(f"{where} is encrypted with {method}: protected content cannot be learned from")
    if not named.get("URI"):
        raise PlaylistError(f"{where}: a key has no URI")
    iv = named.get("IV")
    return Key(urljoin(base, named["URI"]), bytes.fromhex(iv[2:].zfill(32)) if iv else None)


def _wall_clock(text):
    try:
        return datetime.fromisoformat(text.strip()).timestamp()
    except ValueError:
        return None


def media(text, base):
    """The media playlist that was found at `base`, its segments in order."""
    try:
        return _media(text, base)
    except ValueError as wrong:
        raise PlaylistError(f"{base}: {wrong}") from wrong


def _media(text, base):
    segments, now_s, wall_s, epoch, sequence = [], 0.0, None, 0, 0
    duration_s, span, following, init, key, gap, ended = None, None, None, None, None, False, False
    for line in _lines(text, base):
        tag, _, value = line.partition(":")
        if tag == "#EXT-X-MEDIA-SEQUENCE":
            sequence = int(value or 0)
        elif tag == "#EXTINF":
            try:
                duration_s = float(value.split(",")[0])
            except ValueError as wrong:
                raise PlaylistError(f"{base}: {line!r} has no duration") from wrong
        elif tag == "#EXT-X-BYTERANGE":
            span = value
        elif tag == "#EXT-X-DISCONTINUITY":
            epoch += 1
            wall_s = None
        elif tag == "#EXT-X-PROGRAM-DATE-TIME":
            wall_s = _wall_clock(value)
        elif tag == "#EXT-X-KEY":
            key = _key(value, base)
        elif tag == "#EXT-X-MAP":
            named = attributes(value)
            uri = urljoin(base, named.get("URI", ""))
            init = _byte_range(named["BYTERANGE"], uri, None, base) if "BYTERANGE" in named else Piece(uri)
        elif tag == "#EXT-X-I-FRAMES-ONLY":
            raise PlaylistError(f"{base} lists I-frames only")
        elif tag == "#EXT-X-GAP":
            gap = True
        elif tag == "#EXT-X-ENDLIST":
            ended = True
        elif not line.startswith("#"):
            if duration_s is None:
                raise PlaylistError(f"{base}: {line[:80]!r} has no #EXTINF before it")
            uri = urljoin(base, line)
            piece = _byte_range(span, uri, following, base) if span else Piece(uri)
            following = (uri, piece.offset + piece.length) if piece.length is not None else None
            if not gap:
                segments.append(Segment(piece, sequence, now_s, duration_s, epoch, init, key, wall_s))
            now_s += duration_s
            wall_s = wall_s + duration_s if wall_s is not None else None
            sequence, duration_s, span, gap = sequence + 1, None, None, False
    if not segments:
        raise PlaylistError(f"{base} lists no segments")
    return Media(tuple(segments), ended)
