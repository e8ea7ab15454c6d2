# SPDX-License-Identifier: MIT
"""What a mean does not show: waiting behind others, stalls, the disk syncs of one change, and what an idle daemon does."""

import os
import re
import shutil
import subprocess
import threading
import time

import timeline
from peers import BenchError, stop_process

SYNCS = ("fsync", "fdatasync", "sync_file_range", "syncfs", "sync", "msync")


def datastore_bytes(repo):
    """File name -> bytes, of the Datastore."""
    directory = os.path.join(repo, ".reservefs")
    found = {}
    for name in os.listdir(directory) if os.path.isdir(directory) else []:
        try:
            found[name] = os.stat(os.path.join(directory, name)).st_size
        except FileNotFoundError:
            pass
    return found


def threads(pid):
    return [os.path.join(f"/proc/{pid}/task", task) for task in os.listdir(f"/proc/{pid}/task")]


def activity(pid):
    """Context switches and CPU ticks of all threads so far."""
    switches = ticks = 0
    for path in threads(pid):
        with open(os.path.join(path, "status"), encoding="ascii", errors="replace") as file:
            switches += sum(int(n) for n in re.findall(r"ctxt_switches:\s+(\d+)", file.read()))
        with open(os.path.join(path, "stat"), encoding="ascii", errors="replace") as file:
            fields = file.read().rpartition(")")[2].split()
            ticks += int(fields[11]) + int(fields[12])
    return switches, ticks


def memory(pid):
    """VmRSS and VmHWM in bytes."""
    with open(f"/proc/{pid}/status", encoding="ascii", errors="replace") as file:
        text = file.read()
    return {key: int(re.search(rf"{key}:\s+(\d+) kB", text).group(1)) * 1024 for key in ("VmRSS", "VmHWM")}


def idle(peer, seconds):
    """What the daemon does while nobody asks it anything."""
    time.sleep(2)  # what was deferred is stored within a second
    before = activity(peer.process.pid)
    time.sleep(seconds)
    after = activity(peer.process.pid)
    return {"seconds": seconds, "context_switches": after[0] - before[0], "cpu_ticks": after[1] - before[1]}


class Sampler:
    """Calls a function every few milliseconds, and keeps the largest result."""

    def __init__(self, function, interval=0.01):
        self.function = function
        self.interval = interval
        self.largest = 0
        self.ended = threading.Event()
        self.thread = threading.Thread(target=self.watch)

    def watch(self):
        while not self.ended.wait(self.interval):
            self.largest = max(self.largest, self.function())

    def __enter__(self):
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.ended.set()
        self.thread.join()
        self.largest = max(self.largest, self.function())


def read_under_load(peer, clients, seconds):
    """How long a read takes, alone and while `clients` write."""
    result = {"clients": clients, "idle": peer.load("read", seconds=seconds)}
    writer = threading.Thread(target=lambda: result.update(writes=peer.load("resize", clients, seconds + 1)))
    writer.start()
    time.sleep(0.5)
    result["busy"] = peer.load("read", seconds=seconds)
    writer.join()
    return result


def long_write(peer, clients, seconds):
    """The slowest of many resizes, and how large the WAL became meanwhile."""
    repo = os.path.join(peer.directory, "repo")

    def wal():
        return max([size for name, size in datastore_bytes(repo).items() if name.endswith("-wal")] or [0])
    with Sampler(wal, 0.05) as sampler:
        result = peer.load("resize", clients, seconds)
    result["wal_bytes_most"] = sampler.largest
    return result


def syncs(peer, workload, turns, clients=1):
    """Disk syncs of the daemon per operation, counted by strace."""
    if not shutil.which("strace"):
        raise BenchError("strace is not installed")
    path = os.path.join(peer.directory, "strace")
    with open(path + ".log", "wb") as log:
        tracer = subprocess.Popen(["strace", "-f", "-c", "-o", path, "-e", "trace=" + ",".join(SYNCS), "-p",
                                   str(peer.process.pid)], stdout=log, stderr=log)
    deadline = time.monotonic() + 10
    while not all("TracerPid:\t0\n" not in open(os.path.join(t, "status"), encoding="ascii").read()
                  for t in threads(peer.process.pid)):
        if tracer.poll() is not None or time.monotonic() > deadline:
            raise BenchError("strace could not attach")
        time.sleep(0.01)
    try:
        done = peer.load(workload, clients, turns=turns)
    finally:
        stop_process(tracer, 2)
    calls = {}
    with open(path, encoding="ascii") as file:
        for line in file:
            fields = line.split()
            if fields and fields[-1] in SYNCS:
                calls[fields[-1]] = int(fields[3])
    return {"workload": workload, "clients": clients, "operations": done["operations"], "calls": calls,
            "per_operation": sum(calls.values()) / done["operations"]}


def run(peer, most, seconds, progress):
    """All of it on one reservefs."""
    result = {}
    progress("idle")
    result["idle"] = idle(peer, 5 if seconds > 2 else 2)
    progress(f"reads while {most} clients write")
    result["read_under_load"] = read_under_load(peer, most, min(seconds, 5))
    progress("reads while 1 client writes")
    result["read_under_one"] = read_under_load(peer, 1, min(seconds, 5))
    progress(f"resize, {most} clients, {seconds:g} s without a pause")
    result["long_write"] = long_write(peer, most, seconds)
    progress(f"resize, 1 client, {seconds:g} s without a pause")
    result["long_write_one"] = long_write(peer, 1, seconds)
    progress("where the time of one resize goes")
    try:
        result["timeline"] = timeline.run(peer)
    except BenchError as error:
        progress(f"not told: {error}")
    result["syncs"] = []
    for workload, clients, turns in (("resize", 1, 200), ("cycle", 1, 200), ("mkdir-rmdir", 1, 200), ("cycle", most, 20)):
        progress(f"disk syncs of {workload}, {clients} clients")
        try:
            result["syncs"].append(syncs(peer, workload, turns, clients))
        except BenchError as error:
            progress(f"not counted: {error}")
            break
    return result
