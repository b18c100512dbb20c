"""How it grows with streams: players on streams of their own, each asking for one segment after the other, as fast
as it gets them."""

import shutil
import threading
import time

from clips import stream
from meter import cpu_seconds
from servers import Edge, Origin, get
from stats import percentile, slope, table

TITLE = "Concurrent streams"
ABOUT = """`acuity serve` before a local origin, a fresh edge for each number of streams; every player has a stream
of its own and asks for its next segment when it has the last one. `x real time` is media seconds of all streams in a
second. The edge picks the tier by its deadlines: what it picked is told. The cache is small (32 MiB) so that it does
not hide what a stream costs; memory is the edge's peak."""

CACHE = 'budget_bytes = "32MiB"'


class Player(threading.Thread):
    """Takes segments in order until told to stop."""

    def __init__(self, folder, names, until):
        super().__init__(daemon=True)
        self.folder, self.names, self.until = folder, names, until
        self.took, self.first_bytes, self.bad = [], [], 0

    def run(self):
        for name in self.names:
            if time.monotonic() >= self.until:
                return
            try:
                answer = get(f"{self.folder}/{name}")
            except OSError:
                self.bad += 1
                continue
            if answer.status == 200:
                self.took.append(answer.whole_s)
                self.first_bytes.append(answer.first_byte_s)
            else:
                self.bad += 1


def one(setting, clip, streams, seconds):
    folder = setting.scratch / f"streams-{streams}"
    for number in range(streams):
        # long enough at thirty times real time
        stream(folder, clip, f"s{number}", max(30 * seconds // clip.seconds, 2))
    with Origin(folder) as origin, Edge(setting, origin.url, cache=[CACHE]) as edge:
        opened = [edge.rendition(f"/s{number}/master.m3u8") for number in range(streams)]
        idle_mib, cpu_before, began = edge.peak_mib(), cpu_seconds(edge.pid), time.monotonic()
        players = [Player(*rendition, began + seconds) for rendition in opened]
        for player in players:
            player.start()
        for player in players:
            player.join()
        # a player ends its last segment after the time is up
        lasted = time.monotonic() - began
        cpu, peak, made = cpu_seconds(edge.pid) - cpu_before, edge.peak_mib(), edge.made_by()
    shutil.rmtree(folder)
    took = [seconds for player in players for seconds in player.took]
    media = len(took) * clip.segment_s
    return {
        "streams": streams,
        "seconds": lasted,
        "segments": len(took),
        "bad": sum(player.bad for player in players),
        "real_time": media / lasted,
        "real_time_a_stream": media / lasted / streams,
        "segment_s_p50": percentile(took, 0.5),
        "segment_s_p95": percentile(took, 0.95),
        "first_byte_s_p95": percentile([s for player in players for s in player.first_bytes], 0.95),
        "idle_mib": idle_mib,
        "peak_mib": peak,
        "cpu_cores": cpu / lasted,
        "made_by": made,
    }


def run(setting):
    numbers, seconds = ([1, 2, 4], 8) if setting.quick else ([1, 2, 4, 8], 40)
    clip = setting.clip(seconds=12 if setting.quick else 24)
    rows = []
    for number in numbers:
        setting.say(f"{number} streams, {seconds} s")
        rows.append(one(setting, clip, number, seconds))
    points = [(row["streams"], row["peak_mib"]) for row in rows]
    warnings = [f"{row['streams']} streams: {row['bad']} requests failed" for row in rows if row["bad"]]
    return {"clip": clip.facts(), "rows": rows, "mib_a_stream": slope(points), "warnings": warnings}


def text(result):
    head = ["streams", "x real time", "each", "segment p50/p95 s", "cores used", "idle MiB", "peak MiB", "made by"]
    rows = []
    for row in result["rows"]:
        times = f"{row['segment_s_p50']:.2f}/{row['segment_s_p95']:.2f}" if row["segments"] else "-"
        made = ", ".join(f"{what} ({count})" for what, count in sorted(row["made_by"].items()))
        speeds = [f"{row['real_time']:.2f}", f"{row['real_time_a_stream']:.2f}"]
        memory = [f"{row['idle_mib']:.0f}", f"{row['peak_mib']:.0f}"]
        rows.append([row["streams"], *speeds, times, f"{row['cpu_cores']:.2f}", *memory, made])
    grows = result["mib_a_stream"]
    return table(head, rows) + (f"\n  memory grows by {grows:.1f} MiB a stream" if grows is not None else "")
