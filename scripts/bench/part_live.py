"""More live streams than the machine can enhance: does the picture give way, and never the clock?"""

import json
import random
import re
import sys
import time
import urllib.parse
from collections import Counter

import clips
from live_player import Player, read_master
from live_watch import Samples, Witness, decode_all, edges_account, memory
from machine import processor_seconds
from meter import BenchError, cpu_seconds
from servers import HERE, Edge, Server
from servers import text as text_of
from stats import percentile, table

TITLE = "Live streams"
ABOUT = """8 live streams (640x360 at 30 fps, 600 kbit/s, MPEG-TS, segments of 4 s, a window of 6 that slides in real
time) through `acuity serve` as it is by default, and 12 players in real time: four streams have two. A player takes
the enhanced rendition, joins three segments behind the live edge, plays once it has two, reloads the playlist as RFC
8216 says, and stalls when its buffer is empty; it sends no CMCD, so a segment's deadline is 0.85 of the target
duration after it was asked for. FFmpeg reads two of the streams as well (`-c copy`), and the newest segment of each
stream and maker is decoded afterwards. Players arrive one after the other during the first minute; when exactly, and
how streams are out of step, is random, the same in every run."""

STREAMS, PLAYERS, WITNESSES = 8, 12, 2
# A player that comes to a stream wants three segments at once; twelve that came together would measure that.
ARRIVE_S = 60
CLIP_S, SEGMENT_S, KBPS = 60, 4, 600
# The edge's default policy, `[enhancer.deadline] fraction`.
DEADLINE_FRACTION = 0.85
SEED = 4


def streams_of(setting):
    """The clips, one for each stream: those that were named, in turn; else the film, at places far from each other."""
    sources = setting.live_sources or [clips.sample_film(setting.root) if setting.is_sample else setting.source]
    turns = -(-STREAMS // len(sources))
    made = []
    for number in range(STREAMS):
        source, turn = sources[number % len(sources)], number // len(sources)
        setting.say(f"clip {number + 1} of {STREAMS}: {source.name}")
        from_s = int(clips.seconds_of(source) * turn / turns)
        size = {"width": 640, "height": 360, "seconds": CLIP_S, "segment_s": SEGMENT_S, "kbps": KBPS}
        made.append((source, from_s, clips.make(source, setting.store, **size, from_s=from_s)))
    return made


class LiveOrigin(Server):
    def __init__(self, streams):
        told = json.dumps(streams)
        super().__init__([sys.executable, "-u", HERE / "live_origin.py", told], "the live origin")
        found = self.wait_until(lambda: re.search(r"port (\d+)", self.said()))
        self.url = f"http://127.0.0.1:{found[1]}"


def enhanced(edge, name):
    """URL of the playlist that players of a stream follow."""
    master = f"{edge.url}/{name}/master.m3u8"
    offered = [urllib.parse.urljoin(master, uri) for uri in read_master(text_of(master))]
    found = [url for url in offered if "/~acuity/" in url]
    if not found:
        raise BenchError(f"the edge offers no enhanced rendition of {master}")
    return found[0]


def tier(maker):
    """`generic-x2-s` is made by tier s; `plain` and `source` are themselves."""
    found = re.search(r"-x\d-(\w+)$", maker)
    return found[1] if found else maker


def play(setting, made, seconds, arrive_s):
    """One run of so many seconds, in whose first `arrive_s` the players come: what everybody saw."""
    segment_s, pictures = made[0][2].segment_s, made[0][2].fps * made[0][2].segment_s
    chance = random.Random(SEED)
    names = [f"s{number}" for number in range(STREAMS)]
    phases = [round(chance.uniform(0, segment_s), 2) for _ in names]
    # one after the other, each at any time of its turn
    arrivals = [round((number + chance.random()) * arrive_s / PLAYERS, 2) for number in range(PLAYERS)]
    told = [
        {"name": name, "folder": str(clip.folder), "phase_s": phase}
        for name, (_, _, clip), phase in zip(names, made, phases, strict=True)
    ]
    with LiveOrigin(told) as origin, Edge(setting, origin.url) as edge:
        idle_mib, before = edge.resident_mib(), edge.metrics()
        cpu, busy = {server: cpu_seconds(server.pid) for server in (edge, origin)}, processor_seconds()[0]
        own = time.process_time()
        samples = Samples(edge)
        began = samples.began
        players = [
            Player(edge.url, names[number % STREAMS], f"p{number}", began + arrives, began + seconds)
            for number, arrives in enumerate(arrivals)
        ]
        for thread in [samples, *players]:
            thread.start()
        time.sleep(arrive_s)
        # on streams with one player: with a third one the edge would take its time for them
        witnesses = [Witness(enhanced(edge, names[-1 - number]), CLIP_S) for number in range(WITNESSES)]
        while any(player.is_alive() for player in players):
            late = sum(len(player.buffer.stalls) for player in players)
            setting.say(f"{time.monotonic() - began:.0f} of {seconds} s, {late} stalls")
            time.sleep(1)
        lasted = time.monotonic() - began
        seen_by = [witness.finish() for witness in witnesses]
        samples.finish()
        cores = {"edge": cpu_seconds(edge.pid) - cpu[edge], "origin": cpu_seconds(origin.pid) - cpu[origin]}
        cores["players"] = time.process_time() - own
        cores["all"] = processor_seconds()[0] - busy
        after, peak_mib = edge.metrics(), edge.peak_mib()
        edge_said = [line for line in edge.said().splitlines() if re.search("WARN|ERROR", line)]
    return {
        "seconds": lasted,
        "streams": [
            {"name": name, "source": source.name, "from_s": from_s, "phase_s": phase}
            for name, (source, from_s, _), phase in zip(names, made, phases, strict=True)
        ],
        "arrivals_s": arrivals,
        "players": [watched(player, began) for player in players],
        "witnesses": seen_by,
        "undecodable": decode_all(players, pictures),
        "edge": edges_account(before, after),
        "edge_said": edge_said[:50],
        "cores": {who: spent / lasted for who, spent in cores.items()},
        "memory": memory(idle_mib, peak_mib, samples.rows, STREAMS),
        "samples": samples.rows,
    }


def watched(player, began):
    segments = [{**row, "asked_s": row["asked_s"] - began} for row in player.rows]
    for row in segments:
        row["late_s"] = row["whole_s"] - DEADLINE_FRACTION * player.target_s
    return {
        "name": player.name,
        "stream": player.stream,
        "stalls": [{**stall, "at": stall["at"] - began} for stall in player.buffer.stalls],
        "lowest_buffer_s": player.buffer.lowest_s,
        "skipped": player.skipped,
        "errors": player.errors,
        "segments": segments,
    }


def judge(seen):
    """{part of the bar: (whether it holds, in words)}."""
    players = seen["players"]
    segments = [row for player in players for row in player["segments"]]
    late = [row for row in segments if row["late_s"] > 0]
    worst = max((row["late_s"] for row in late), default=0)
    books = seen["edge"]["deadlines"]
    missed = int(sum(books.get(f"{who} no", 0) for who in ("viewer", "start")))
    stalls = [stall["seconds"] for player in players for stall in player["stalls"]]
    errors = sum(len(player["errors"]) + player["skipped"] for player in players)
    errors += len(seen["undecodable"]["bad"]) + sum(len(witness["said"]) for witness in seen["witnesses"])
    without = [row["name"] for row in by_stream(seen) if not row["by_network"]]
    in_time = (
        f"{len(late)} of {len(segments)} segments late, by {worst:.2f} s at most; {missed} by the edge's own books"
    )
    return {
        "no segment late": (not late and not missed, in_time),
        "no stall": (not stalls, f"{len(stalls)} stalls, {sum(stalls):.1f} s in all"),
        "no error": (not errors, f"{errors} errors"),
        "each stream gets some tier": (not without, f"never by a network: {', '.join(without) or 'none'}"),
    }


def by_stream(seen):
    rows = []
    for stream in seen["streams"]:
        players = [player for player in seen["players"] if player["stream"] == stream["name"]]
        segments = [row for player in players for row in player["segments"]]
        # players of a stream share its segments
        made = {row["number"]: tier(row["made_by"]) for row in segments}
        rows.append(
            {
                **stream,
                "players": len(players),
                "made": dict(Counter(made.values()).most_common()),
                "by_network": sum(maker not in ("plain", "source", "untouched", "?") for maker in made.values()),
                "segment_s_p50": percentile([row["whole_s"] for row in segments], 0.5),
                "segment_s_p95": percentile([row["whole_s"] for row in segments], 0.95),
                "late": sum(row["late_s"] > 0 for row in segments),
                "stalls": sum(len(player["stalls"]) for player in players),
                "lowest_buffer_s": min((player["lowest_buffer_s"] or 0 for player in players), default=0),
            }
        )
    return rows


def run(setting):
    made = streams_of(setting)
    seconds = setting.live_seconds or (20 if setting.quick else 300)
    return {"clip": made[0][2].facts(), **account(play(setting, made, seconds, min(ARRIVE_S, seconds / 4)))}


def account(seen):
    """What was seen, and what follows from it."""
    segments = [row for player in seen["players"] for row in player["segments"]]
    streams = by_stream(seen)
    times = {}
    for kind in ("first_byte_s", "whole_s"):
        asked = [row[kind] for row in segments]
        times |= {f"{kind}_p50": percentile(asked, 0.5), f"{kind}_p95": percentile(asked, 0.95)}
    return {
        **seen,
        "rows": streams,
        "viewed": dict(Counter(tier(row["made_by"]) for row in segments).most_common()),
        "made": dict(sum((Counter(row["made"]) for row in streams), Counter()).most_common()),
        "times": times,
        "late_in_each_half_minute": timeline(segments, seen["seconds"]),
        "bar": {name: {"holds": holds, "told": words} for name, (holds, words) in judge(seen).items()},
        "warnings": seen["edge_said"][:5] + seen["undecodable"]["bad"] + seen_errors(seen)[:10],
    }


def timeline(segments, seconds):
    """How many segments were late, by when they were asked for."""
    late = Counter(int(row["asked_s"] // 30) for row in segments if row["late_s"] > 0)
    return [late[at] for at in range(-int(-seconds // 30))]


def seen_errors(seen):
    players = [
        f"{player['name']} on {player['stream']}, {why}" for player in seen["players"] for why in player["errors"]
    ]
    return players + [f"FFmpeg: {words}" for witness in seen["witnesses"] for words in witness["said"]]


def shares(counted):
    total = max(sum(counted.values()), 1)
    return ", ".join(f"{name} {count} ({count / total:.0%})" for name, count in counted.items())


def text(result):
    head = ["", "players", "made by", "segment p50/p95 s", "late", "stalls", "lowest buffer s"]
    rows = []
    for row in result["rows"]:
        label = f"{row['name']} {row['source']}" + (f" from {row['from_s']} s" if row["from_s"] else "")
        known = row["segment_s_p50"] is not None
        times = f"{row['segment_s_p50']:.2f}/{row['segment_s_p95']:.2f}" if known else "-"
        made = ", ".join(f"{name} {count}" for name, count in row["made"].items())
        rows.append([label, row["players"], made, times, row["late"], row["stalls"], f"{row['lowest_buffer_s']:.1f}"])
    edge, memory, cores, times = (result[name] for name in ("edge", "memory", "cores", "times"))
    lines = [
        table(head, rows),
        f"  by segments made: {shares(result['made'])}; by segments viewed: {shares(result['viewed'])}",
        f"  the edge: made {told(edge['made'])}, {edge['cut_short']:.0f} of them by a network in part only",
        f"    chose {told(edge['choices'])}; deadlines {told(edge['deadlines'])}; ahead {told(edge['ahead'])}",
    ]
    if stages := edge["stage_s"]:
        parts = ", ".join(f"{name} {stages.get(name, 0):.2f}" for name in ("decode", "infer", "scale", "encode"))
        lines.append(
            f"    a segment on average: {stages['queue']:.2f} s in the queue, made in {stages['total']:.2f} s ({parts})"
        )
    if times["whole_s_p50"] is not None:
        byte = f"{times['first_byte_s_p50']:.2f}/{times['first_byte_s_p95']:.2f}"
        whole = f"{times['whole_s_p50']:.2f}/{times['whole_s_p95']:.2f}"
        lines.append(f"  first byte p50/p95 {byte} s, whole segment {whole} s")
    lines.append(f"  late in each half minute: {' '.join(str(count) for count in result['late_in_each_half_minute'])}")
    used = ", ".join(f"{who} {spent:.2f}" for who, spent in cores.items())
    lines.append(f"  cores used: {used}")
    if memory["a_stream_mib"] is not None:
        lines.append(
            f"  memory: {memory['idle_mib']:.0f} MiB at rest, peak {memory['peak_mib']:.0f}; "
            f"without the cache {memory['without_cache_mib']:.0f}, {memory['a_stream_mib']:.1f} a stream, "
            f"slope {memory['mib_a_minute'] or 0:.1f} a minute"
        )
    for name, part in result["bar"].items():
        lines.append(f"  {'holds' if part['holds'] else 'FAILS'}: {name} ({part['told']})")
    passed = all(part["holds"] for part in result["bar"].values())
    lines.append(f"  the bar is {'passed' if passed else 'NOT passed'} ({result['seconds']:.0f} s)")
    return "\n".join(lines)


def told(counted):
    return ", ".join(f"{name} {count:.0f}" for name, count in sorted(counted.items())) or "nothing"
