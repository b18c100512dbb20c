"""Where each millisecond goes: processor time by thread, and by function where `perf` is at hand."""

import re
import shutil
import subprocess

from meter import BenchError, measure
from part_serving import servers
from setting import PLAIN
from stats import table

TITLE = "Profile"
ABOUT = """Processor milliseconds a frame by thread name, seen every 20 ms, so a thread's last instant is missed. Pools
inherit the name of the thread that made them: `acuity-encode` holds x264's, `acuity-loader` (beside loading and warming
models) the threads of ONNX Runtime that work for the lane. Functions come from perf's samples of the processor clock,
start-up included; stripped libraries have no symbols, or the nearest of a few."""

TOP = 14
PERF_HZ = 499


def perf_binary():
    """perf, if it is there and may be used."""
    binary = shutil.which("perf")
    if not binary:
        return None, "perf is missing (Debian: linux-perf)"
    probe = subprocess.run(
        [binary, "record", "-o", "/dev/null", "-e", "cpu-clock", "true"], capture_output=True, text=True
    )
    if probe.returncode != 0:
        return None, f"perf may not be used here: {(probe.stderr.strip().splitlines() or ['no reason given'])[-1]}"
    return binary, None


def functions(binary, data):
    """[{"share", "thread", "object", "function"}] out of perf's samples, most first; and the share by object."""
    common = [binary, "report", "-i", str(data), "--stdio", "-t", "\t"]
    by_function = subprocess.run([*common, "--sort", "dso,symbol"], capture_output=True, text=True).stdout
    by_object = subprocess.run([*common, "--sort", "dso"], capture_output=True, text=True).stdout
    return read_perf(by_function)[:TOP], read_perf(by_object)[:TOP]


def read_perf(said):
    """Rows of `perf report -t TAB`, most first: share in percent, object, and function if it was sorted by it too.
    Addresses without a symbol are one row for each object."""
    found = {}
    for line in said.splitlines():
        cells = [cell.strip() for cell in line.split("\t")]
        share = re.fullmatch(r"([\d.]+)%", cells[0])
        if not share or len(cells) < 2:
            continue
        key = (cells[1],)
        if len(cells) > 2:
            function = re.sub(r"^\[[.k]\] ", "", cells[2])
            key = (cells[1], "(no symbol)" if re.fullmatch(r"0x[0-9a-f]+", function) else function)
        found[key] = found.get(key, 0) + float(share[1])
    rows = sorted(found.items(), key=lambda item: -item[1])
    return [dict(zip(("object", "function"), key, strict=False)) | {"percent": round(share, 2)} for key, share in rows]


def enhance(setting, clip, what, perf):
    """Two runs: one by thread, one under perf, so that neither disturbs the other."""
    usage, told, _ = setting.enhance(clip, what, threads=True)
    names = {name: seconds * 1000 / told["frames"] for name, seconds in usage.threads_s.items() if seconds > 0}
    row = {
        "label": f"enhance, {what}",
        "frames": told["frames"],
        "threads_ms": names,
        "functions": None,
        "objects": None,
    }
    row["cpu_ms_a_frame"] = usage.cpu_s * 1000 / told["frames"]
    if perf:
        data = setting.scratch / "perf.data"
        command = setting.command(clip, what, setting.scratch / "acuity.ts", setting.scratch / "account.json")
        measure([perf, "record", "-q", "-e", "cpu-clock", "-F", PERF_HZ, "-o", data, "--", *command], cwd=setting.root)
        row["functions"], row["objects"] = functions(perf, data)
        data.unlink()
    return row


def serving(setting, clip, perf, seconds):
    """The edge while wrk asks: cached, then passed through."""
    rows = []
    with servers(setting, clip) as (_, edge, _, _, cached, _, passed):
        for name, url in (("cached", cached), ("passed", f"{edge.url}{passed}")):
            data = setting.scratch / "perf.data"
            load = ["wrk", "-t1", "-c16", f"-d{seconds}s", url]
            watcher = [
                perf,
                "record",
                "-q",
                "-e",
                "cpu-clock",
                "-F",
                str(PERF_HZ),
                "-p",
                str(edge.pid),
                "-o",
                str(data),
            ]
            watching = subprocess.Popen([*watcher, "--", "sleep", str(seconds)], stderr=subprocess.DEVNULL)
            measure(load)
            watching.wait()
            top, objects = functions(perf, data)
            data.unlink(missing_ok=True)
            rows.append({"label": f"serve, {name}", "threads_ms": None, "functions": top, "objects": objects})
    return rows


def run(setting):
    clip = setting.clip(seconds=6 if setting.quick else 24)
    perf, why = perf_binary()
    warnings = [] if perf else [f"no functions: {why}"]
    rows = []
    for what in [PLAIN, *(setting.tiers[:1] if setting.quick else setting.tiers)]:
        setting.say(f"enhance, {what}")
        rows.append(enhance(setting, clip, what, perf))
    if perf:
        setting.say("serve")
        try:
            rows += serving(setting, clip, perf, 2 if setting.quick else 5)
        except BenchError as missing:
            warnings.append(f"no profile of serving: {missing}")
    return {"clip": clip.facts(), "rows": rows, "warnings": warnings}


def text(result):
    parts = []
    for row in result["rows"]:
        parts.append(f"  {row['label']}")
        if row["threads_ms"]:
            parts.append(f"  {row['cpu_ms_a_frame']:.2f} ms of processor a frame, start-up included")
            parts.append(
                table(
                    ["thread", "ms a frame"],
                    [[n, f"{ms:.2f}"] for n, ms in list(row["threads_ms"].items())[:10]],
                    "    ",
                )
            )
        if row["objects"]:
            shares = ", ".join(f"{one['object']} {one['percent']:.1f} %" for one in row["objects"][:6])
            parts.append(f"    by object: {shares}")
        if row["functions"]:
            rows = [[f["function"][:70], f["object"], f"{f['percent']:.1f}"] for f in row["functions"]]
            parts.append(table(["function", "object", "%"], rows, "    "))
        parts.append("")
    return "\n".join(parts).rstrip()
