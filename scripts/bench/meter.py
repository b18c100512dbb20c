"""Runs a command, or commands joined by pipes, and measures it: wall clock, processor seconds, peak memory of all of
it, processor seconds by thread name, and what others used of the machine meanwhile."""

import contextlib
import os
import re
import signal
import subprocess
import tempfile
import threading
import time
from collections import defaultdict
from dataclasses import dataclass, field
from pathlib import Path

from machine import processor_seconds

# Between two looks at /proc. Threads that live shorter are seen in part or not at all; VmHWM is a peak that the kernel
# keeps, so only the growth in a process's last interval can be missed.
INTERVAL_S = 0.02
TICKS = os.sysconf("SC_CLK_TCK")


class BenchError(Exception):
    """Something the bench needs is missing or broke; the message says what to do."""


@dataclass
class Usage:
    """What a run cost. Memory is the sum over its processes of each one's peak."""

    wall_s: float
    user_s: float
    system_s: float
    peak_mib: float
    others_cores: float
    stderr: str
    threads_s: dict = field(default_factory=dict)

    @property
    def cpu_s(self):
        return self.user_s + self.system_s


def descendants(pid):
    """The process and all below it."""
    found, todo = [], [pid]
    while todo:
        one = todo.pop()
        found.append(one)
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{one}/task").iterdir():
                with contextlib.suppress(OSError):
                    todo.extend(int(child) for child in (task / "children").read_text().split())
    return found


def status_kib(pid, key="VmHWM"):
    """A line of /proc/PID/status in KiB, 0 if the process is gone."""
    try:
        found = re.search(rf"^{key}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text(), re.M)
    except OSError:
        return 0
    return int(found[1]) if found else 0


def stat_seconds(path):
    """(name, user + system seconds) out of a /proc stat file, None if it is gone."""
    try:
        text = Path(path).read_text()
    except OSError:
        return None
    # the name is in parentheses and may hold anything
    head, _, rest = text.rpartition(")")
    fields = rest.split()
    return head.partition("(")[2], (int(fields[11]) + int(fields[12])) / TICKS


class Watch(threading.Thread):
    """Looks at processes until told to stop."""

    def __init__(self, pids, threads=False):
        super().__init__(daemon=True)
        self.pids, self.by_thread = pids, threads
        self.peaks, self.threads, self.ended = {}, {}, threading.Event()

    def look(self):
        for root in self.pids:
            for pid in descendants(root):
                self.peaks[pid] = max(self.peaks.get(pid, 0), status_kib(pid))
                if self.by_thread:
                    self.look_at_threads(pid)

    def look_at_threads(self, pid):
        with contextlib.suppress(OSError):
            for task in Path(f"/proc/{pid}/task").iterdir():
                seen = stat_seconds(task / "stat")
                if seen:
                    self.threads[(pid, task.name)] = seen

    def run(self):
        while not self.ended.wait(INTERVAL_S):
            self.look()

    def finish(self):
        self.ended.set()
        self.join()

    def peak_mib(self):
        return sum(self.peaks.values()) / 1024

    def seconds_by_name(self):
        """Processor seconds by thread name: threads that share a name (pools inherit it) are added up."""
        total = defaultdict(float)
        for name, seconds in self.threads.values():
            total[name] += seconds
        return dict(sorted(total.items(), key=lambda item: -item[1]))


def measure(*commands, threads=False, timeout_s=1800, cwd=None, env=None):
    """Runs commands, each one's output the next one's input, to the end. Raises BenchError if one fails."""
    processes, errors = [], []
    others_before, _ = processor_seconds()
    began = time.perf_counter()
    watch, killer = None, None
    try:
        for at, command in enumerate(commands):
            log = tempfile.TemporaryFile("w+")  # noqa: SIM115 - lives as long as the run
            errors.append(log)
            last = at == len(commands) - 1
            processes.append(
                subprocess.Popen(
                    [str(part) for part in command],
                    stdin=processes[-1].stdout if processes else subprocess.DEVNULL,
                    stdout=subprocess.DEVNULL if last else subprocess.PIPE,
                    stderr=log,
                    cwd=cwd,
                    env=env,
                )
            )
            if at > 0:
                processes[at - 1].stdout.close()
        watch = Watch([process.pid for process in processes], threads)
        watch.start()
        killer = threading.Timer(timeout_s, kill, processes)
        killer.start()
        costs = [wait(process) for process in processes]
        wall = time.perf_counter() - began
        others_after, _ = processor_seconds()
    finally:
        end(*processes)
        if killer:
            killer.cancel()
        if watch and watch.is_alive():
            watch.finish()
    texts = []
    for log in errors:
        log.seek(0)
        texts.append(log.read())
        log.close()
    for process, command, text in zip(processes, commands, texts, strict=True):
        if process.returncode != 0:
            tail = "\n".join(text.strip().splitlines()[-12:])
            raise BenchError(f"{' '.join(map(str, command))}\nended with {process.returncode}:\n{tail}")
    user, system = (sum(cost[kind] for cost in costs) for kind in (0, 1))
    others = max(others_after - others_before - user - system, 0.0) / wall
    return Usage(wall, user, system, watch.peak_mib(), others, "\n".join(texts), watch.seconds_by_name())


def wait(process):
    """Waits for a child and gives its (user, system) seconds, its own waited-for children included."""
    _, status, usage = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    return usage.ru_utime, usage.ru_stime


def kill(*processes):
    """Kills without waiting: another thread waits. A process id is ours until it is waited for."""
    for process in processes:
        if process.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.kill(process.pid, signal.SIGKILL)


def end(*processes):
    """Ends those of our own children that still run."""
    for process in processes:
        if process.returncode is None and process.poll() is None:
            process.kill()
            process.wait()


def cpu_seconds(pid):
    """Processor seconds of a running process and its children until now."""
    return sum(seen[1] for pid in descendants(pid) if (seen := stat_seconds(f"/proc/{pid}/stat")))
