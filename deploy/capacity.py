#!/usr/bin/env python3
"""How many machines a region takes: the sum of docs/capacity.md, to be done again with figures of your own.

    deploy/capacity.py                                   the table of docs/capacity.md
    deploy/capacity.py --weak-share 0.1 --channels 50    the same for another region
    deploy/capacity.py --streams-per-card 40             with cards, when you have measured one (deploy/measure-gpu.sh)
    deploy/capacity.py --json                            for other programs

What was measured stands in MEASURED, each figure with the words of docs/measurements.md that it is from; a test compares them. All else is
an assumption and an option. Rates are bits per second, decimal (Mbit = 1e6); sizes of memory are MiB and GiB.
"""

import argparse
import dataclasses
import json
import math
import sys

# 640x360 to 1280x720 at 30 pictures a second, as the figures are.
PICTURES_A_SECOND = 30
MIB, GIB = 2**20, 2**30


@dataclasses.dataclass(frozen=True)
class Figure:
    value: float
    # words of docs/measurements.md
    source: str


# Processor milliseconds for a picture, decoder, network and encoder together, or times real time of two cores (x2).
MEASURED = {
    # the least of the four rounds
    "s_x2": Figure(4.2, "| `generic-x2-s` (10 k parameters), four rounds | 4.2 to 4.4 |"),
    "m_x2": Figure(2.7, "| `freedoom-x2-m` (39 k) | 2.7 |"),
    "l_x2": Figure(1.6, "| `freedoom-x2-l` (152 k) | 1.6 |"),
    "plain_ms": Figure(8.3, "| `--baseline bicubic` | 7.9 | 1.15 | 8.3 |"),
    "least_ms": Figure(4.5, "| least effort | 3.6, 43.4 dB | 4.5, 41.7 dB |"),
    "i2_ms": Figure(18.6, "| **acuity generic-i2-s** | **3.88** (3.84 to 3.91) | 18.6 | 299 |"),
    "i2_s_ms": Figure(45.2, "| acuity x2-s behind i2-s | 1.54 | 45.2 | 0.31 |"),
    # of two cores, with twelve players on eight live streams and none late
    "used_of_two": Figure(1.58, "| processor | 1.58 of two cores |"),
    "idle_mib": Figure(522, "holds 502 to 522 MiB"),
    "stream_mib": Figure(45, "41 to 45 MiB a stream after five minutes, flat"),
    # processor microseconds for a request, from memory and through to the origin
    "cached_us": Figure(225, "225 against 188"),
    "passed_us": Figure(126, "126 against 166"),
}


def measured(name):
    return MEASURED[name].value


def cores_of(tier):
    """Cores that one stream in real time keeps busy."""
    if f"{tier}_x2" in MEASURED:
        return 2 / measured(f"{tier}_x2")
    return measured(f"{tier}_ms") * PICTURES_A_SECOND / 1000


# Part of a machine that was kept busy by live streams of which none was late: the rest is what keeps them in time.
BUSY = measured("used_of_two") / 2
TIERS = {
    "s": "tier s, the smallest network",
    "m": "tier m",
    "l": "tier l, a quarter of each picture",
    "plain": "plain scaler",
    "least": "plain scaler, the encoder's least effort",
    "i2": "360p30 to 360p60",
    "i2_s": "360p30 to 720p60, tier s",
}


@dataclasses.dataclass(frozen=True)
class Region:
    """What is assumed. Shares are 0 to 1."""

    viewers: int = 1_000_000  # at one time, at the peak
    weak_share: float = 0.3  # of them, that are given an enhanced rendition
    live_share: float = 0.6  # of these, that watch live
    channels: int = 200  # live streams with at least one of them
    live_tier: str = "m"  # what channels are made with
    title_hours: float = 20_000  # hours of films that are watched at all within max_age_hours
    title_tier: str = "s"  # what films are made with
    max_age_hours: float = 168  # for which a made segment is kept on the shared store
    peak: float = 3  # making of films at the peak, by its mean
    enhanced_mbit: float = 2.8  # of an enhanced rendition
    source_mbit: float = 0.6  # of its source
    segment_s: float = 4
    memory_hits: float = 0.6  # of requests for films, answered out of the nodes' memory; the rest by the store
    live_window_s: float = 60  # of each channel, in each node's memory
    front_hits: float = 0  # of all requests, answered by a cache before the edges
    node_cores: int = 16
    node_gbit: float = 25
    node_load: float = 0.7  # of a node's line, at the peak
    spare_nodes: int = 2
    streams_per_card: float = 0  # 0: no cards; else what you measured
    shared: bool = True  # what one node made no other makes (cache.store, or nodes that know each other)


def estimate(region):
    """What the region takes, by name and in the units of the names."""
    weak = region.viewers * region.weak_share
    live, films = weak * region.live_share, weak * (1 - region.live_share)
    film_streams = region.title_hours / region.max_age_hours * region.peak
    # nobody makes more than is watched
    film_streams = min(film_streams, films)
    served = 1 - region.front_hits
    egress_gbit = weak * served * region.enhanced_mbit / 1000
    requests = weak * served / region.segment_s
    serving_cores = (requests * measured("cached_us") + live * served / region.segment_s * measured("passed_us")) / 1e6

    def making(nodes):
        """Streams that so many nodes make at one time, and cores for it."""
        times = 1 if region.shared else nodes
        channels = min(region.channels * times, max(live, 0))
        made_films = min(film_streams * times, films)
        if region.streams_per_card:
            # the card runs networks; decoder, chroma and encoder are the processor's
            return channels + made_films, (channels + made_films) * cores_of("plain")
        return channels + made_films, channels * cores_of(region.live_tier) + made_films * cores_of(region.title_tier)

    # Without sharing each node that is added makes all of it once more, until there are too few viewers on a node for that.
    by_line = max(math.ceil(egress_gbit / (region.node_gbit * region.node_load)), 1)
    nodes = by_line
    while True:
        streams, making_cores = making(nodes)
        needed = (making_cores + serving_cores) / BUSY
        by_cores = math.ceil(needed / region.node_cores)
        if by_cores <= nodes:
            break
        nodes = by_cores
    nodes += region.spare_nodes
    hot_gib = region.channels * region.live_window_s * region.enhanced_mbit * 1e6 / 8 / GIB
    per_node = streams / nodes
    store_gbit = films * served * (1 - region.memory_hits) * region.enhanced_mbit / 1000
    return {
        "enhanced_viewers": weak,
        "streams_made": streams,
        "making_cores": making_cores,
        "serving_cores": serving_cores,
        "cores_with_room": needed,
        "egress_gbit": egress_gbit,
        "nodes_by_line": by_line,
        "nodes_by_cores": by_cores,
        "nodes": nodes,
        "cards": math.ceil(streams / region.streams_per_card) if region.streams_per_card else 0,
        "node_gib_without_films": (measured("idle_mib") + per_node * measured("stream_mib")) * MIB / GIB + hot_gib,
        "store_tb": region.title_hours * 3600 * region.enhanced_mbit * 1e6 / 8 / 1e12,
        "store_gbit": store_gbit,
        "store_reads_a_second": films * served * (1 - region.memory_hits) / region.segment_s,
        "origin_gbit": streams * region.source_mbit / 1000,
        "origin_gbit_if_fetched": streams * region.enhanced_mbit / 1000,
    }


def number(value):
    """As people write it: no more digits than it deserves."""
    if value >= 100:
        return f"{float(f'{value:.3g}'):,.0f}"
    return f"{value:.2g}" if value < 10 else f"{value:.0f}"


def tiers_table():
    lines = [
        "| one stream of 640x360 at 30 pictures a second | cores | streams on a core, full | on a core, none late |"
    ]
    lines.append("|---|---|---|---|")
    for tier, what in TIERS.items():
        cores = cores_of(tier)
        lines.append(f"| {what} | {cores:.2f} | {1 / cores:.1f} | {BUSY / cores:.1f} |")
    return "\n".join(lines)


def region_table(region):
    sums = estimate(region)
    few = {name: number(value) for name, value in sums.items()}
    rows = [
        ("viewers with an enhanced rendition", few["enhanced_viewers"]),
        ("streams made at one time", few["streams_made"]),
        ("cores to make them", few["making_cores"]),
        ("cores to serve", few["serving_cores"]),
        (f"cores with room for being in time (of each, {BUSY:.2f})", few["cores_with_room"]),
        ("to players, Gbit/s", few["egress_gbit"]),
        (f"nodes for the lines ({number(region.node_gbit)} Gbit/s at {region.node_load:g})", few["nodes_by_line"]),
        (f"nodes for the cores ({region.node_cores} each)", few["nodes_by_cores"]),
        (f"**nodes**, the greater with {region.spare_nodes} to spare", f"**{few['nodes']}**"),
        ("memory of a node without films in it, GiB", few["node_gib_without_films"]),
        ("store, TB", few["store_tb"]),
        ("out of the store, Gbit/s", few["store_gbit"]),
        ("reads of the store a second", few["store_reads_a_second"]),
        ("from the origin, Gbit/s: the sources", few["origin_gbit"]),
        ("what the high renditions would have been, once each", few["origin_gbit_if_fetched"]),
    ]
    if sums["cards"]:
        rows.insert(4, (f"cards ({number(region.streams_per_card)} streams each)", few["cards"]))
    lines = ["| what it takes | |", "|---|---|", *(f"| {what} | {value} |" for what, value in rows)]
    return "\n".join(lines)


def options():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for field in dataclasses.fields(Region):
        flag = "--" + field.name.replace("_", "-")
        if field.type is bool:
            parser.add_argument(flag, action=argparse.BooleanOptionalAction, default=field.default)
        elif field.name.endswith("_tier"):
            parser.add_argument(flag, choices=TIERS, default=field.default, help=f"default {field.default}")
        else:
            parser.add_argument(flag, type=field.type, default=field.default, help=f"default {field.default}")
    parser.add_argument("--json", action="store_true", help="figures by name instead of tables")
    return parser


def region_of(arguments):
    """The region that the options describe; ValueError with what is wrong with it."""
    region = Region(**{field.name: getattr(arguments, field.name) for field in dataclasses.fields(Region)})
    for field in dataclasses.fields(Region):
        value, flag = getattr(region, field.name), "--" + field.name.replace("_", "-")
        if isinstance(value, (int, float)) and not 0 <= value < 1e12:
            raise ValueError(f"{flag} is {value}: not below 0, and no more than there is")
        if field.name.endswith(("_share", "_hits", "_load")) and value > 1:
            raise ValueError(f"{flag} is a share, 0 to 1, not {value}")
    for name in ("viewers", "segment_s", "max_age_hours", "node_cores", "node_gbit", "node_load"):
        if getattr(region, name) <= 0:
            raise ValueError(f"--{name.replace('_', '-')} has to be above 0")
    return region


def main():
    parser = options()
    arguments = parser.parse_args()
    try:
        region = region_of(arguments)
    except ValueError as error:
        parser.error(str(error))
    if arguments.json:
        json.dump({"assumed": dataclasses.asdict(region), "takes": estimate(region)}, sys.stdout, indent=2)
        print()
    else:
        print(tiers_table(), region_table(region), sep="\n\n")


if __name__ == "__main__":
    main()
