# SPDX-License-Identifier: MIT
"""Where the time of one resize goes, from the client's system call to its return, by perf's tracepoints of system calls."""

import os
import re
import shutil
import statistics
import subprocess

from peers import BenchError

CALLS = ("openat", "write", "close", "read", "writev", "futex", "pwrite64", "fdatasync")
LINE = re.compile(r"^\s*(\S.*?)\s+(\d+)\s+(\d+\.\d+):\s+syscalls:sys_(enter|exit)_(\w+):\s*(.*)$")

STEPS = (
    ("open", "open: the path, attributes, OPEN"),
    ("received", "write: until the daemon has read the request"),
    ("begun", "... until the first page is written: parse, queue, wake the writer, check, begin, put"),
    ("written", "... until all pages are in the page cache"),
    ("synced", "... until fdatasync returns"),
    ("replied", "... until the reply is sent: publish, account"),
    ("returned", "... until the client goes on"),
    ("close", "close"),
)


def record(peer, turns, path):
    """Runs the load under perf; returns (is_client, thread, microseconds, "enter"|"exit", call, arguments) for each event."""
    if not shutil.which("perf"):
        raise BenchError("perf is not installed")
    events = ",".join(f"syscalls:sys_{when}_{call}" for call in CALLS for when in ("enter", "exit"))
    command = ["perf", "record", "-q", "-a", "-o", path, "-e", events, "--", peer.tools["load"], "-n", str(turns), "resize",
               peer.target()]
    if subprocess.run(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False).returncode != 0:
        raise BenchError("perf cannot trace system calls here")
    text = subprocess.run(["perf", "script", "-i", path, "-F", "comm,tid,time,event,trace", "--ns"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=True).stdout
    os.unlink(path)
    daemon = set(os.listdir(f"/proc/{peer.process.pid}/task"))
    client = os.path.basename(peer.tools["load"])[:15]
    found = []
    for line in text.splitlines():
        match = LINE.match(line)
        if match and (match[1] == client or match[2] in daemon):
            found.append((match[1] == client, match[2], float(match[3]) * 1e6, match[4], match[5], match[6]))
    return found


class Turn:
    """One resize, as far as it has been seen."""

    def __init__(self, opened, duration):
        self.opened = opened
        self.duration = duration
        self.marks = {}


def note(turn, thread, time, when, call):
    """Notes the first of each step, in order; steps that come later overwrite nothing. `thread` reads or commits."""
    marks = turn.marks
    if "write" not in marks:
        return
    if "received" not in marks:
        if (when, call) == ("exit", "read"):
            marks["received"] = time
    elif (when, call) == ("enter", "pwrite64") and "begun" not in marks:
        marks["begun"], turn.writer = time, thread
    elif "begun" in marks and thread == turn.writer:
        if (when, call) == ("enter", "fdatasync") and "written" not in marks:
            marks["written"] = time
        elif (when, call) == ("exit", "fdatasync") and "written" in marks and "synced" not in marks:
            marks["synced"] = time
        elif (when, call) == ("enter", "writev") and "synced" in marks and "replied" not in marks:
            marks["replied"] = time


def turns_of(events):
    """Splits the events of one client into turns: open, write, close."""
    turn, entered, turns = None, {}, []
    for is_client, thread, time, when, call, _ in sorted(events, key=lambda event: event[2]):
        if not is_client:
            if turn:
                note(turn, thread, time, when, call)
        elif when == "enter":
            entered[call] = time
            if call == "write" and turn:
                turn.marks["write"] = time
        elif call == "openat" and "openat" in entered:
            turn = Turn(entered["openat"], time - entered["openat"])
        elif call == "write" and turn and "write" in turn.marks:
            turn.marks["returned"] = time
        elif call == "close" and turn and "returned" in turn.marks:
            turn.closing = time - entered["close"]
            turn.total = time - turn.opened
            turns.append(turn)
            turn = None
    return turns


def steps_of(turn):
    """Step -> microseconds, or None where something was not seen."""
    order = ["write", "received", "begun", "written", "synced", "replied", "returned"]
    if any(mark not in turn.marks for mark in order):
        return None
    steps = {after: turn.marks[after] - turn.marks[before] for before, after in zip(order, order[1:])}
    steps.update(open=turn.duration, close=turn.closing, total=turn.total)
    return steps


def run(peer, turns=500):
    """Medians of each step, of one client's resizes."""
    events = record(peer, turns, os.path.join(peer.directory, "timeline"))
    seen = [steps for steps in map(steps_of, turns_of(events)) if steps]
    if len(seen) < turns / 2:
        raise BenchError(f"only {len(seen)} of {turns} resizes could be followed")
    result = {"turns": len(seen), "total_us": statistics.median(s["total"] for s in seen), "steps": []}
    for key, what in STEPS:
        values = sorted(s[key] for s in seen)
        result["steps"].append({"what": what, "median_us": statistics.median(values), "p90_us": values[len(values) * 9 // 10]})
    return result
