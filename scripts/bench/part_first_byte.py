"""Time to the first byte and to the last of cold enhanced segments, and of the same ones from the cache."""

from clips import stream
from servers import Edge, Origin, get
from stats import percentile, table

TITLE = "First byte"
ABOUT = """One player, one cold segment of 6 s after the other through `acuity serve`, nothing made ahead (look_ahead
= 0); then each again from the cache. The first byte is the body's. `generic` is what the edge picks by its
deadlines, `plain` the scaler alone."""


def one(setting, clip, cluster, segments):
    folder = setting.scratch / f"first-byte-{cluster}"
    stream(folder, clip, "vod", -(-segments // (clip.seconds // clip.segment_s)))
    with (
        Origin(folder) as origin,
        Edge(setting, origin.url, enhancer=["look_ahead = 0"], route=[f'cluster = "{cluster}"']) as edge,
    ):
        base, names = edge.rendition("/vod/master.m3u8")
        cold, cached = [], []
        for name in names[:segments]:
            cold.append(get(f"{base}/{name}"))
        made = edge.made_by()
        for _ in range(5):
            cached.extend(get(f"{base}/{name}") for name in names[:segments])
    bad = sum(answer.status != 200 for answer in cold + cached)
    return {"cluster": cluster, "cold": times(cold), "cached": times(cached), "bad": bad, "made_by": made}


def times(answers):
    first, whole = ([getattr(answer, name) for answer in answers] for name in ("first_byte_s", "whole_s"))
    return {
        "n": len(answers),
        "bytes": sum(len(answer.body) for answer in answers) // max(len(answers), 1),
        "first_byte_s_p50": percentile(first, 0.5),
        "first_byte_s_p95": percentile(first, 0.95),
        "whole_s_p50": percentile(whole, 0.5),
        "whole_s_p95": percentile(whole, 0.95),
    }


def run(setting):
    clip = setting.clip(seconds=12 if setting.quick else 24)
    segments = 3 if setting.quick else 16
    rows = []
    for cluster in ("generic", "plain"):
        setting.say(f"{segments} cold segments, {cluster}")
        rows.append(one(setting, clip, cluster, segments))
    warnings = [f"{row['cluster']}: {row['bad']} answers were not 200" for row in rows if row["bad"]]
    return {"clip": clip.facts(), "rows": rows, "warnings": warnings}


def text(result):
    head = ["", "segments", "bytes", "first byte p50/p95 s", "whole p50/p95 s", "made by"]
    rows = []
    for row in result["rows"]:
        for kind in ("cold", "cached"):
            seen = row[kind]
            digits = 2 if kind == "cold" else 4
            pair = [
                f"{seen[f'{key}_p50']:.{digits}f}/{seen[f'{key}_p95']:.{digits}f}"
                for key in ("first_byte_s", "whole_s")
            ]
            made = (
                ", ".join(f"{what} ({count})" for what, count in sorted(row["made_by"].items()))
                if kind == "cold"
                else ""
            )
            rows.append([f"{row['cluster']}, {kind}", seen["n"], seen["bytes"], *pair, made])
    return table(head, rows)
