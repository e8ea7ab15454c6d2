#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""sales.py MOUNTPOINT [AT_ONCE] <REQUESTS: sells the space of a mounted Repo.

A request is a line "CONTRACT SIZE SECONDS". For each, up to AT_ONCE (8) at the same time: reserve the space or learn
that there isn't room, run the contract for that long, end it. Prints a line for whatever happens:
  CONTRACT agreed SIZE
  CONTRACT refused WHY
  CONTRACT ended
"""
import concurrent.futures
import errno
import pathlib
import sys
import time


def reserve(directory, size):
    """Makes the contract, or leaves nothing of it and raises OSError."""
    directory.mkdir()
    try:
        # Unbuffered: one write(2), whose failure is this request's answer. A buffer would try again when it is closed.
        with open(directory / "size", "wb", buffering=0) as file:
            file.write(f"{size}\n".encode())
    except OSError:
        directory.rmdir()
        raise


def why_not(mountpoint, error):
    if error.errno != errno.ENOSPC:
        return error.strerror
    available = (mountpoint / "available").read_text().strip()
    return f"{error.strerror}: {available} bytes are left"


def say(line):
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def sell(mountpoint, request):
    contract, size, seconds = request.split()
    directory = mountpoint / "reservations" / contract
    try:
        reserve(directory, size)
    except OSError as error:
        say(f"{contract} refused {why_not(mountpoint, error)}")
        return
    say(f"{contract} agreed {size}")
    time.sleep(float(seconds))
    directory.rmdir()
    say(f"{contract} ended")


def main():
    if not 2 <= len(sys.argv) <= 3:
        sys.exit("usage: sales.py MOUNTPOINT [AT_ONCE] <REQUESTS")
    mountpoint = pathlib.Path(sys.argv[1])
    at_once = int(sys.argv[2]) if len(sys.argv) > 2 else 8
    with concurrent.futures.ThreadPoolExecutor(at_once) as pool:
        for done in [pool.submit(sell, mountpoint, line) for line in sys.stdin if line.strip()]:
            done.result()


if __name__ == "__main__":
    main()
