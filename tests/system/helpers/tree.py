# SPDX-License-Identifier: MIT
"""What the system tests' Python snippets share: the mounted tree, one system call at a time, with exact errors."""

import errno
import fcntl
import os
import re
import subprocess
import sys
import time

MNT = os.environ["MNT"]
REPO = os.environ["REPO"]
RESERVATIONS = os.path.join(MNT, "reservations")
BYTES_MAX = 2**63 - 1
DEADLINE = 20
STATUS_NAMES = ["capacity", "reserved", "stored", "free", "available", "reservations"]


def fixed(name):
    return os.path.join(MNT, name)


def contract(name):
    return os.path.join(os.fsencode(RESERVATIONS), os.fsencode(name))


def size(name):
    return os.path.join(contract(name), b"size")


def raw(path):
    with open(path, "rb", buffering=0) as file:
        return file.read()


def number(path):
    text = raw(path)
    assert re.fullmatch(rb"0\n|[1-9][0-9]*\n", text), text
    return int(text)


def status():
    """The figures by name, in the order in which the file has them."""
    return {name: int(value) for name, value in (line.split() for line in raw(fixed("status")).decode().splitlines())}


def write_at(path, value, offset=0, flags=os.O_WRONLY):
    """One write(2), whole."""
    fd = os.open(path, flags)
    try:
        done = os.pwrite(fd, value, offset)
        assert done == len(value), (done, value)
    finally:
        os.close(fd)


def put(name, value):
    write_at(size(name), value if isinstance(value, bytes) else str(value).encode())


def inodes(name):
    return {os.stat(contract(name)).st_ino, os.stat(size(name)).st_ino}


def make(name, value=None):
    os.mkdir(contract(name))
    if value is not None:
        put(name, value)


def outcome(call, *args, **named):
    """`ok`, or the name of the errno that the call failed with."""
    try:
        call(*args, **named)
    except OSError as e:
        return errno.errorcode[e.errno]
    return "ok"


def refused(name, call, *args, **named):
    got = outcome(call, *args, **named)
    assert got == name, f"{getattr(call, '__name__', call)}{args}: {got} rather than {name}"


def equal(expected, actual, *what):
    assert expected == actual, f"expected {expected!r}, got {actual!r} {what if what else ''}"


def eventually(condition):
    end = time.monotonic() + DEADLINE
    while not condition():
        assert time.monotonic() < end, "did not come true in time"
        time.sleep(0.01)


LAST_ERROR = re.compile(r"(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ) pid ([1-9]\d*): (.*?): (.+); (.+)\n")


def last_error():
    """(time, pid, path, what and why, what to do) of the one line that must be there."""
    text = raw(fixed("last_error")).decode()
    assert text[:-1].isprintable(), repr(text)
    match = LAST_ERROR.fullmatch(text)
    assert match, repr(text)
    when, pid, path, why, advice = match.groups()
    return when, int(pid), path, why, advice


def expected_disk_figures(repo, reserved, capacity=None):
    """What tree.md promises for the Repo `disk`, from statvfs alone."""
    fs = os.statvfs(repo)
    total = fs.f_blocks * fs.f_frsize
    free = fs.f_bavail * fs.f_frsize
    limit = total if capacity is None else capacity
    available = max(0, min(limit - reserved, free - reserved))
    return {"capacity": limit, "reserved": reserved, "stored": 0, "free": free, "available": available}


def check_disk_figures(repo, reserved, capacity=None):
    """Compares them with `status`, at a moment when the file system holds still."""

    def holds_still():
        nonlocal shown, expected
        expected = expected_disk_figures(repo, reserved, capacity)
        shown = status()
        return expected == expected_disk_figures(repo, reserved, capacity)

    shown, expected = {}, {}
    eventually(holds_still)
    shown.pop("reservations")
    equal(expected, shown)
    return shown
