"""Fetching and opening what the networks are trained on, as `sources.toml` names it."""

import hashlib
import shutil
import subprocess
import tomllib
from multiprocessing.pool import ThreadPool
from pathlib import Path

import numpy as np

from . import media
from .scenes import Art

LISTING = Path(__file__).with_name("sources.toml")
# Sprites and tiles larger than this are sheets or backdrops, not single pictures.
LARGEST_SPRITE = 200


def listing():
    """The entries of `sources.toml`, as dictionaries."""
    return tomllib.loads(LISTING.read_text(encoding="utf-8"))["source"]


def _home(source, scratch, shared):
    if source["get"] == "shared":
        return Path(shared) / source["path"]
    return Path(scratch) / "unpacked" / source["package"].split("==")[0]


def fetch(scratch, shared, say=print):
    """Downloads and unpacks every package named in `sources.toml` below `scratch`; what is there stays."""
    for source in listing():
        home = _home(source, scratch, shared)
        if home.is_dir():
            continue
        if source["get"] == "shared":
            say(f"{source['id']}: {home} is not there; its pictures are left out")
            continue
        say(f"fetching {source['package']} ({source['get']})")
        partial = home.with_name(home.name + ".partial")
        shutil.rmtree(partial, ignore_errors=True)
        partial.mkdir(parents=True)
        _FETCHERS[source["get"]](source["package"], partial)
        partial.rename(home)


def _fetch_apt(package, home):
    subprocess.run(["apt-get", "download", package], cwd=home, check=True, stdout=subprocess.DEVNULL)
    for archive in home.glob("*.deb"):
        subprocess.run(["dpkg-deb", "-x", archive.name, "."], cwd=home, check=True)
        archive.unlink()


def _fetch_apt_source(package, home):
    # `deb-src` is off by default in Debian's images: a private copy of the source lists turns it on.
    parts, lists = home / "apt-parts", home / "apt-lists"
    parts.mkdir()
    (lists / "partial").mkdir(parents=True)
    for file in Path("/etc/apt/sources.list.d").glob("*.sources"):
        text = file.read_text(encoding="utf-8").replace("Types: deb\n", "Types: deb-src\n")
        (parts / file.name).write_text(text, encoding="utf-8")
    options = [
        "-oDir::Etc::sourcelist=/dev/null",
        f"-oDir::Etc::sourceparts={parts.resolve()}",
        f"-oDir::State::Lists={lists.resolve()}",
    ]
    subprocess.run(["apt-get", *options, "update"], cwd=home, check=True, stdout=subprocess.DEVNULL)
    subprocess.run(
        ["apt-get", *options, "source", "--download-only", package], cwd=home, check=True, stdout=subprocess.DEVNULL
    )
    for archive in home.glob("*.orig.tar.*"):
        shutil.unpack_archive(archive, home)
        archive.unlink()


def _fetch_pip(package, home):
    subprocess.run(["python3", "-m", "pip", "download", "-q", "--no-deps", package], cwd=home, check=True)
    for archive in home.glob("*.whl"):
        shutil.unpack_archive(archive, home, "zip")
        archive.unlink()


_FETCHERS = {"apt": _fetch_apt, "apt-source": _fetch_apt_source, "pip": _fetch_pip}


def files(source, scratch, shared, rng):
    """The files of one entry, sorted, thinned to its `limit` by `rng`."""
    home = _home(source, scratch, shared)
    found = sorted({file for pattern in source["patterns"] for file in home.glob(pattern) if file.is_file()})
    limit = source.get("limit")
    if limit and len(found) > limit:
        found = [found[int(i)] for i in sorted(rng.choice(len(found), limit, replace=False))]
    return found


def digest(paths):
    """One SHA-256 over names and bytes of `paths`, in order: the identity of what was trained on."""
    total = hashlib.sha256()
    for path in paths:
        total.update(path.name.encode())
        total.update(hashlib.sha256(path.read_bytes()).digest())
    return total.hexdigest()


def _text_sheet(font, words, size, scratch):
    text = Path(scratch) / "words.txt"
    text.write_text(words, encoding="utf-8")
    style = f"fontfile={font}:textfile={text}:fontsize={size}:fontcolor=white:line_spacing=2"
    chain = f"color=c=black:s=640x1600:d=1:r=1,drawtext={style},format=yuv420p"
    data = media._run(media.QUIET + ["-f", "lavfi", "-i", chain, "-frames:v", "1", "-f", "rawvideo", "-"])
    luma = np.frombuffer(data, np.uint8, 640 * 1600).reshape(1600, 640).astype(np.float32)
    return np.clip((luma - 16) * (255 / 219) + 0.5, 0, 255).astype(np.uint8)


def _words(rng, lines):
    """Pseudo-text: syllables, figures and punctuation; no one's prose."""
    onset, vowel = list("bcdfghklmnprstvwyz") + ["st", "tr", "ch", "Qu", "M", "B"], list("aeiou") + ["ee", "ou"]
    rows = []
    for _ in range(lines):
        row = []
        while len(" ".join(row)) < 90:
            if rng.random() < 0.2:
                row.append(f"{int(rng.integers(0, 100000)):,}{rng.choice(['', ' km', ' / 200', ':', '.50'])}")
            else:
                row.append(
                    "".join(str(rng.choice(onset)) + str(rng.choice(vowel)) for _ in range(int(rng.integers(1, 4))))
                )
        rows.append(" ".join(row))
    return "\n".join(rows)


def load_art(scratch, shared, rng):
    """Opens everything that scenes are drawn from: (Art, {source id: files}, [luma of every still])."""
    art, used, lumas = Art(), {}, []
    for source in listing():
        found = files(source, scratch, shared, rng)
        if source["kind"] == "stills":
            with ThreadPool(2) as pool:  # the decoding happens in child processes
                kept = list(zip(found, pool.map(_open_still, found), strict=True))
            kept = [(file, still) for file, still in kept if still is not None]
            art.stills += [still for _, still in kept if still.shape[1] >= 500]
            lumas += [still for _, still in kept]
            found = [file for file, _ in kept]
        elif source["kind"] in ("sprites", "tiles"):
            kept = [(file, media.read_rgba(file)) for file in found if file.stat().st_size > 200]
            kept = [
                (file, sprite)
                for file, sprite in kept
                if min(sprite[0].shape) >= 12 and max(sprite[0].shape) <= LARGEST_SPRITE
            ]
            (art.sprites if source["kind"] == "sprites" else art.tiles).extend(sprite for _, sprite in kept)
            found = [file for file, _ in kept]
        elif source["kind"] == "fonts":
            for size in (9, 10, 11, 12, 13, 14, 16, 18, 24, 36):
                font = found[int(rng.integers(len(found)))]
                art.texts.append(_text_sheet(font, _words(rng, 1600 // size), size, scratch))
        used[source["id"]] = found
    return art, used, lumas


def _open_still(path):
    """A still at a size where its pixels are sharp: photographs and wallpapers are halved until about 2000 wide."""
    width, height = media.probe_size(path)
    while width > 2600:
        width, height = width // 2, height // 2
    if min(width, height) < 128:
        return None
    return media.read_still(path, width & ~1, height & ~1)
