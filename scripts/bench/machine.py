"""What the figures were taken on, and whether it was at rest. Reads /proc; everything missing is None, not a
failure."""

import os
import platform
import re
import subprocess
import time
from pathlib import Path

# What networks on CPUs get their speed from.
VECTOR_FLAGS = ("avx2", "fma", "avx512f", "avx512_vnni", "avx_vnni", "avx512_bf16", "amx_tile", "amx_int8", "amx_bf16")

# Share of the processors that others may use before figures mean little.
BUSY_SHARE = 0.10


def read(path):
    try:
        return Path(path).read_text()
    except OSError:
        return ""


def first_line(*command):
    """The first line that a command prints, None if it cannot be run."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.TimeoutExpired):
        return None
    lines = (done.stdout + done.stderr).strip().splitlines()
    return lines[0].strip() if lines else None


def processor_seconds():
    """(busy, stolen) seconds of all processors since boot."""
    ticks = os.sysconf("SC_CLK_TCK")
    line = read("/proc/stat").partition("\n")[0].split()[1:]
    if len(line) < 8:
        return 0.0, 0.0
    user, nice, system, _idle, _wait, irq, soft, steal = (int(value) for value in line[:8])
    return (user + nice + system + irq + soft + steal) / ticks, steal / ticks


def busy_share(seconds=1.0):
    """Share of all processors that is in use now, while this process sleeps."""
    before, _ = processor_seconds()
    began = time.monotonic()
    time.sleep(seconds)
    after, _ = processor_seconds()
    return (after - before) / (time.monotonic() - began) / (os.cpu_count() or 1)


def runtime_version(library):
    """ONNX Runtime's version out of its library's real name, else the name."""
    if library is None:
        return None
    name = Path(library).resolve().name
    found = re.search(r"\.so\.(\d[\d.]*)$", name)
    return found[1] if found else name


def facts(acuity, runtime_library):
    """The machine and the tools."""
    cpu = read("/proc/cpuinfo")
    model = re.search(r"^model name\s*:\s*(.+)$", cpu, re.M)
    flags = re.search(r"^flags\s*:\s*(.+)$", cpu, re.M)
    have = set(flags[1].split()) if flags else set()
    memory = re.search(r"MemTotal:\s+(\d+)", read("/proc/meminfo"))
    ffmpeg = first_line("ffmpeg", "-version") or ""
    return {
        "cpu": model[1] if model else platform.machine(),
        "cores": os.cpu_count(),
        "cores_allowed": len(os.sched_getaffinity(0)),
        "vector_flags": [flag for flag in VECTOR_FLAGS if flag in have],
        "memory_gib": round(int(memory[1]) / (1 << 20), 1) if memory else None,
        "kernel": platform.release(),
        "acuity": first_line(str(acuity), "--version"),
        "commit": first_line("git", "describe", "--always", "--dirty"),
        "onnxruntime": runtime_version(runtime_library),
        "ffmpeg": ffmpeg.removeprefix("ffmpeg version ").split(" ")[0] or None,
        "nginx": first_line("nginx", "-v"),
        "wrk": (first_line("wrk", "-v") or "").split(" [")[0] or None,
        "load_average": list(os.getloadavg()),
        "busy_share": round(busy_share(), 3),
    }


def warnings(known):
    """What makes these figures doubtful."""
    found = []
    if known["busy_share"] > BUSY_SHARE:
        found.append(
            f"the machine is busy: others use {known['busy_share']:.0%} of its processors "
            f"(load {known['load_average'][0]:.2f}); "
            "look at ratios, and take the figures again on an idle machine"
        )
    if known["cores_allowed"] != known["cores"]:
        found.append(f"this process may use {known['cores_allowed']} of {known['cores']} processors")
    return found
