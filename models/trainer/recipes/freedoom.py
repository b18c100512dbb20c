#!/usr/bin/env python3
"""Records Freedoom as near-lossless video: the training material of the `freedoom` cluster.

Two kinds of clips, in as many levels as possible, because a cluster's model must work in a level that it never saw:
parts of the demos that ship inside the WADs, and short walks of a bot through other levels. The bot writes
a demo lump of its own (header, then four bytes a tic); it knows the level's walls from the WAD and goes where the way
is long, so that it does not spend the clip with its face to a wall.

The levels that the test clips show are refused, by the header of the demo lump they were recorded from.

    python3 recipes/freedoom.py OUT_DIR [--size 1280x720] [--fps 30] [--seconds 7]

Needs Debian's dsda-doom, freedoom and ffmpeg, and numpy. About real time on two cores; clips that are there are kept.
"""

import argparse
import os
import shutil
import struct
import subprocess
import tempfile
from pathlib import Path

import numpy as np

WADS = Path("/usr/share/games/doom")
PLAYER = "/usr/games/dsda-doom"
TICS_PER_S = 35
# freedoom1's own demos that are test clips: their levels are never recorded.
TEST_DEMOS = {("freedoom1", "DEMO2"), ("freedoom1", "DEMO3")}
# Seconds at which the parts of the shipped demos begin that are recorded; parts are as long as a bot's walk.
DEMO_PARTS_S = {
    ("freedoom1", "DEMO1"): (3, 22),
    ("freedoom1", "DEMO4"): (3, 22, 44, 70, 100, 130, 160),
    ("freedoom2", "DEMO1"): (3, 22),
    ("freedoom2", "DEMO2"): (3, 22, 44, 70, 100),
    ("freedoom2", "DEMO3"): (3,),
}
# The test clip's own episode first: its other levels share the artists' themes with it.
BOT_LEVELS = {
    "freedoom1": [(2, m) for m in (1, 2, 4, 5, 6, 7, 8)] + [(1, 1), (1, 3), (1, 6), (3, 1), (3, 2)],
    "freedoom2": [(1, m) for m in (1, 4, 6, 8, 12, 18, 20)],
}

# The game's own arithmetic: thrust a tic at a run, friction, and what a player can pass (linuxdoom's p_user.c, p_mobj.c
# and p_map.c).
RUN, FRICTION, RADIUS, TALLNESS, STEP = 50, 0.90625, 16, 56, 24
ATTACK, USE = 1, 2
SIGHT = 1600.0


class Wad:
    """The lumps of one WAD file."""

    def __init__(self, path):
        self.data = Path(path).read_bytes()
        _, count, start = struct.unpack("<4sii", self.data[:12])
        self.lumps = []
        for index in range(count):
            at, size, name = struct.unpack("<ii8s", self.data[start + 16 * index : start + 16 * index + 16])
            self.lumps.append((name.rstrip(b"\0").decode("latin1"), at, size))

    def demos(self):
        """{name: bytes} of the demos inside."""
        return {name: self.data[at : at + size] for name, at, size in self.lumps if name.startswith("DEMO")}

    def level(self, marker):
        """{lump name: bytes} of one level, by its marker's name (`E2M1`, `MAP07`)."""
        first = next(index for index, lump in enumerate(self.lumps) if lump[0] == marker)
        return {name: self.data[at : at + size] for name, at, size in self.lumps[first + 1 : first + 11]}


def marker(wad, episode, number):
    """A level's name in a WAD: the first game has episodes, the second has not."""
    return f"E{episode}M{number}" if wad == "freedoom1" else f"MAP{number:02d}"


def level_of(wad, demo):
    """The level that a demo lump plays in: bytes 2 and 3 of its header."""
    return marker(wad, demo[2], demo[3])


def test_levels(wad, demos):
    """Levels of the test clips in a WAD with these demos."""
    return {level_of(wad, demo) for name, demo in demos.items() if (wad, name) in TEST_DEMOS}


class Level:
    """What stops a player in one level, and where he begins."""

    def __init__(self, lumps):
        vertexes = np.frombuffer(lumps["VERTEXES"], "<i2").reshape(-1, 2).astype(float)
        lines = np.frombuffer(lumps["LINEDEFS"], "<u2").reshape(-1, 7)
        sides = np.frombuffer(lumps["SIDEDEFS"], "<u2").reshape(-1, 15)[:, 14]
        sectors = np.frombuffer(lumps["SECTORS"], "<i2").reshape(-1, 13)[:, :2].astype(float)
        things = np.frombuffer(lumps["THINGS"], "<i2").reshape(-1, 5)
        self.start = next((x, y, angle) for x, y, angle, kind, _ in things.tolist() if kind == 1)
        self.a, self.b = vertexes[lines[:, 0]], vertexes[lines[:, 1]]
        two_sided = (lines[:, 6] != 0xFFFF) & (lines[:, 2] & 1 == 0)
        right = sectors[sides[np.minimum(lines[:, 5], len(sides) - 1)]]
        left = sectors[sides[np.where(two_sided, np.minimum(lines[:, 6], len(sides) - 1), 0)]]
        gap = np.minimum(right[:, 1], left[:, 1]) - np.maximum(right[:, 0], left[:, 0])
        passable = two_sided & (gap >= TALLNESS)
        # A step up stops only who comes from below: the right side lies on the right of a -> b.
        self.stops_from_right = ~passable | (left[:, 0] - right[:, 0] > STEP)
        self.stops_from_left = ~passable | (right[:, 0] - left[:, 0] > STEP)

    def free(self, x, y, heading):
        """How far a player gets from (x, y) along `heading` in radians, at most SIGHT."""
        direction = np.array([np.cos(heading), np.sin(heading)])
        aside = np.array([-direction[1], direction[0]])
        nearest = SIGHT
        edge = self.b - self.a
        across = edge[:, 0] * direction[1] - edge[:, 1] * direction[0]
        for offset in (-RADIUS, 0, RADIUS):
            to = self.a - (np.array([x, y]) + offset * aside)
            with np.errstate(divide="ignore", invalid="ignore"):
                along = (edge[:, 0] * to[:, 1] - edge[:, 1] * to[:, 0]) / across
                where = (direction[0] * to[:, 1] - direction[1] * to[:, 0]) / across
            stops = np.where(across < 0, self.stops_from_left, self.stops_from_right)
            hit = stops & (along > 0) & (where >= 0) & (where <= 1)
            if hit.any():
                nearest = min(nearest, float(along[hit].min()))
        return max(0.0, nearest - RADIUS)


def walk(level, tics, seed):
    """Four bytes a tic (forward, strafe, turn, buttons) of a walk from the level's start."""
    rng = np.random.default_rng(seed)
    x, y, degrees = level.start
    heading, wanted, speed = np.radians(degrees), np.radians(degrees), np.zeros(2)
    commands, shooting, strafe = bytearray(), 0, 0
    for tic in range(tics):
        ahead = level.free(x, y, heading)
        if tic % 14 == 0 or ahead < 120:
            turns = rng.uniform(-1, 1, 9) * np.radians(75 if ahead > 200 else 170)
            ways = [min(level.free(x, y, heading + turn), 900) - 160 * abs(turn) for turn in turns]
            ways += rng.uniform(0, 260, len(turns))
            if tic % 14 == 0 or abs(wanted - heading) < 0.1:
                wanted = heading + float(turns[int(np.argmax(ways))])
            strafe = int(rng.choice([0, 0, 0, -24, 24]))
        if shooting == 0 and rng.random() < 0.012:
            shooting = int(rng.integers(8, 40))
        shooting = max(0, shooting - 1)
        # A turn's unit is 1/256 of a circle; four to five a tic is a quick human turn.
        turn = int(np.clip(round((wanted - heading) * 128 / np.pi), -4, 4))
        forward = RUN if ahead > 160 else (20 if ahead > 48 else -10)
        buttons = (ATTACK if shooting else 0) | (USE if ahead < 80 and tic % 20 < 2 else 0)
        commands += struct.pack("<bbbB", forward, strafe, turn, buttons)
        heading += turn * np.pi / 128
        for push, angle in ((forward, heading), (strafe, heading - np.pi / 2)):
            speed += push * 2048 / 65536 * np.array([np.cos(angle), np.sin(angle)])
        length = float(np.hypot(*speed))
        if length > 0.1 and level.free(x, y, np.arctan2(speed[1], speed[0])) > length:
            x, y = x + speed[0], y + speed[1]
        speed *= FRICTION
    return bytes(commands)


def lump(episode, number, commands, skill=2):
    """A demo lump of version 1.9: header, commands, end mark."""
    return bytes([109, skill, episode, number, 0, 0, 0, 0, 0, 1, 0, 0, 0]) + commands + b"\x80"


def record(wad, demo, path, size, fps, skip_s=0):
    """Plays `demo` (bytes) in `wad` and writes the picture to `path`; there is no sound while it skips."""
    with tempfile.TemporaryDirectory() as home:
        (Path(home) / ".dsda-doom").mkdir()
        video = "ffmpeg -loglevel error -f rawvideo -pix_fmt rgb24 -r %r -s %wx%h -i - "
        video += "-c:v libx264 -preset veryfast -crf 12 -pix_fmt yuv420p -y temp_v.nut"
        (Path(home) / ".dsda-doom" / "dsda-doom.cfg").write_text(
            f"""screen_resolution              "{size}"
hudadd_demoprogressbar         0
cap_soundcommand               "cat >temp_a.nut"
cap_videocommand               "{video}"
cap_muxcommand                 "ffmpeg -loglevel error -i temp_v.nut -c copy -y %f"
cap_tempfile1                  "temp_a.nut"
cap_tempfile2                  "temp_v.nut"
cap_remove_tempfiles           1
cap_wipescreen                 0
cap_fps                        {fps}
""",
            encoding="ascii",
        )
        (Path(home) / "walk.lmp").write_bytes(demo)
        environment = {
            **os.environ, "HOME": home, "XDG_DATA_HOME": home, "SDL_VIDEODRIVER": "dummy", "SDL_AUDIODRIVER": "dummy"
        }
        skip = ["-skipsec", str(skip_s)] if skip_s else []
        done = subprocess.run(
            [PLAYER, "-iwad", str(WADS / f"{wad}.wad"), "-timedemo", "walk.lmp", *skip,
             "-viddump", "clip.mp4", "-geometry", f"{size}w"],
            cwd=home, env=environment, stdin=subprocess.DEVNULL, capture_output=True, check=False, timeout=600,
        )  # fmt: skip
        made = Path(home) / "clip.mp4"
        if not made.exists():
            raise RuntimeError(f"{path.name}: the game wrote no video: {done.stdout.decode(errors='replace')[-400:]}")
        partial = path.with_suffix(".partial")
        shutil.copyfile(made, partial)
        partial.rename(path)


def clips(seconds, seed):
    """[(name, wad, level, demo bytes, seconds to skip)] of everything that is recorded."""
    found, tics = [], round(seconds * TICS_PER_S)
    for wad, levels in BOT_LEVELS.items():
        lumps = Wad(WADS / f"{wad}.wad")
        demos = lumps.demos()
        banned = test_levels(wad, demos)
        for name, demo in demos.items():
            if (wad, name) in TEST_DEMOS or level_of(wad, demo) in banned:
                continue
            for start_s in DEMO_PARTS_S.get((wad, name), ()):
                end = 13 + 4 * round((start_s + seconds) * TICS_PER_S)
                if end < len(demo):
                    part = f"{wad}-{name.lower()}-{start_s:03d}s"
                    found.append((part, wad, level_of(wad, demo), demo[:end] + b"\x80", start_s))
        for index, (episode, number) in enumerate(levels):
            level = marker(wad, episode, number)
            if level in banned:
                raise ValueError(f"{level} of {wad} is a test clip's level")
            commands = walk(Level(lumps.level(level)), tics, [seed, index])
            found.append((f"{wad}-{level.lower()}", wad, level, lump(episode, number, commands), 0))
    return found


def main():
    """Records what is not there yet."""
    options = argparse.ArgumentParser(description=__doc__.split("\n\n")[0])
    options.add_argument("out", type=Path)
    options.add_argument("--size", default="1280x720")
    options.add_argument("--fps", type=int, default=30)
    options.add_argument("--seconds", type=float, default=7.0)
    options.add_argument("--seed", type=int, default=1)
    options.add_argument("--only", default="", help="part of a clip's name")
    chosen = options.parse_args()
    chosen.out.mkdir(parents=True, exist_ok=True)
    for name, wad, level, demo, skip_s in clips(chosen.seconds, chosen.seed):
        path = chosen.out / f"{name}.mp4"
        if chosen.only in name and not path.exists():
            record(wad, demo, path, chosen.size, chosen.fps, skip_s)
            print(f"{path.name}: {level}, {path.stat().st_size >> 10} KiB", flush=True)


if __name__ == "__main__":
    main()
