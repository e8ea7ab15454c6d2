#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""Runs the benchmark; contrib/bench builds what it needs and calls it. Uses Python's standard library alone."""

import argparse
import json
import os
import platform
import shutil
import sys
import tempfile

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))

import peers as peer_module  # noqa: E402
import report as report_module  # noqa: E402
import scale  # noqa: E402
import speed  # noqa: E402
import tails  # noqa: E402
import targets  # noqa: E402

PRESETS = {
    "short": {"clients": [1, 8, 64], "rounds": 1, "seconds": 0.3, "tail": 2, "sizes": [1000, 100000]},
    "default": {"clients": [1, 2, 4, 8, 16, 32, 64], "rounds": 3, "seconds": 1, "tail": 10, "sizes": []},
    "full": {"clients": [1, 2, 4, 8, 16, 32, 64], "rounds": 5, "seconds": 2, "tail": 30,
             "sizes": [1000, 100000, 1000000, 10000000]},
    "scale": {"clients": [], "rounds": 0, "seconds": 0, "tail": 0, "sizes": [1000, 100000, 1000000, 10000000]},
}


def arguments():
    parser = argparse.ArgumentParser(prog="contrib/bench", description="Measures reservefs beside what else does its job.")
    how = parser.add_mutually_exclusive_group()
    how.add_argument("--short", dest="preset", action="store_const", const="short", help="a minute: does it work at all")
    how.add_argument("--full", dest="preset", action="store_const", const="full", help="everything, an hour")
    how.add_argument("--scale", dest="preset", action="store_const", const="scale", help="only up to ten million contracts")
    parser.add_argument("--json", metavar="FILE", help="write all figures there")
    parser.add_argument("--svg", metavar="FILE", help="draw the resizes over the number of clients")
    parser.add_argument("--write", metavar="FILE", help="put the tables between the marks of this Markdown file")
    parser.add_argument("--directory", metavar="DIR", default="/var/tmp", help="where data is kept meanwhile; its disk is "
                        "what is measured (default: %(default)s)")
    parser.add_argument("--peers", metavar="NAMES", help="only these, separated by commas")
    parser.add_argument("--clients", metavar="N,N", help="numbers of clients")
    parser.add_argument("--rounds", type=int)
    parser.add_argument("--seconds", type=float, help="of each measurement")
    parser.add_argument("--sizes", metavar="N,N", help="numbers of contracts for the scale part")
    parser.add_argument("--build", metavar="DIR", required=True, help=argparse.SUPPRESS)
    parser.add_argument("--version", default="", help=argparse.SUPPRESS)
    parser.set_defaults(preset="default")
    return parser.parse_args()


def disk_of(directory):
    """The file system's type, and whether the disk turns."""
    best = ("", "?")
    with open("/proc/self/mounts", encoding="utf-8") as file:
        for line in file:
            _, where, kind = line.split()[:3]
            if (directory + "/").startswith(where.rstrip("/") + "/") and len(where) >= len(best[0]):
                best = (where, kind)
    device = os.stat(directory).st_dev
    base = f"/sys/dev/block/{os.major(device)}:{os.minor(device)}"
    for path in (base, os.path.join(base, "..")):
        try:
            with open(os.path.join(path, "queue/rotational"), encoding="ascii") as file:
                rotating = file.read().strip() == "1"
            with open(os.path.join(path, "queue/write_cache"), encoding="ascii") as file:
                cache = file.read().strip()
            driver = os.path.basename(os.path.realpath(os.path.join(path, "device/driver")))
            kind = "virtual" if "virtio" in driver else "rotating" if rotating else "solid-state"
            return f"{best[1]} on a {kind} disk ({driver}, {cache} cache)"
        except OSError:
            continue
    return best[1]


def machine(directory):
    with open("/proc/meminfo", encoding="ascii") as file:
        kib = int(file.readline().split()[1])
    cpu = platform.machine()
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                cpu = line.partition(":")[2].strip()
                break
    return {"cores": os.cpu_count(), "cpu": cpu, "memory_gib": round(kib / 2**20), "kernel": platform.release(),
            "disk": disk_of(os.path.realpath(directory))}


def progress(text):
    print(f"bench: {text}", file=sys.stderr, flush=True)


def start_peers(tools, directory, wanted):
    """Starts what is installed; says which is not."""
    started, missing = {}, {}
    for kind in peer_module.ALL:
        peer = kind(tools, directory)
        if wanted and peer.name not in wanted:
            continue
        absent = peer.missing()
        if absent:
            missing[peer.name] = absent
            progress(f"{peer.name} is left out: not installed: {absent}")
            continue
        try:
            peer.start()
        except Exception:
            peer.stop()
            stop_peers(started)
            raise
        started[peer.name] = peer
        progress(f"{peer.name}: {peer.about}")
    return started, missing


def stop_peers(started):
    for peer in started.values():
        try:
            peer.stop()
        except peer_module.BenchError as error:
            progress(str(error))


def numbers(text, otherwise):
    return [int(part) for part in text.split(",") if part] if text is not None else otherwise


def run(options, tools, directory):
    preset = PRESETS[options.preset]
    clients = numbers(options.clients, preset["clients"])
    rounds = preset["rounds"] if options.rounds is None else options.rounds
    seconds = options.seconds or preset["seconds"]
    sizes = numbers(options.sizes, preset["sizes"])
    report = {"machine": machine(directory), "version": options.version, "preset": options.preset, "rounds": rounds,
              "seconds": seconds, "most_clients": max(clients, default=0), "peers": [], "missing": {}}
    if clients and rounds:
        started, report["missing"] = start_peers(tools, directory, options.peers.split(",") if options.peers else None)
        report["peers"] = list(started)
        try:
            report["speed"] = speed.run(started, clients, rounds, seconds)
            if "reservefs" in started and preset["tail"]:
                stop_peers({name: peer for name, peer in started.items() if name != "reservefs"})
                report["tails"] = tails.run(started["reservefs"], max(clients), preset["tail"], progress)
        finally:
            stop_peers(started)
    if sizes:
        report["scale"] = scale.run(tools, directory, sizes, progress)
    report["targets"] = targets.evaluate(report)
    return report


def main():
    options = arguments()
    tools = {"load": os.path.join(options.build, "tests/bench/bench-load"),
             "null": os.path.join(options.build, "tests/bench/bench-null"),
             "generate": os.path.join(options.build, "tests/bench/bench-generate"),
             "loop": os.path.join(os.path.dirname(os.path.abspath(__file__)), "loop.bash"),
             "reservefs": os.path.join(options.build, "src/cli/reservefs")}
    tools["workloads"] = peer_module.driver_workloads(tools["load"])
    directory = tempfile.mkdtemp(prefix="reservefs-bench-", dir=options.directory)
    os.chmod(directory, 0o755)  # PostgreSQL runs as another user
    try:
        report = run(options, tools, directory)
    except peer_module.BenchError as error:
        progress(str(error))
        return 1
    finally:
        shutil.rmtree(directory, ignore_errors=True)
    print(report_module.text(report))
    if options.json:
        with open(options.json, "w", encoding="utf-8") as file:
            json.dump(report, file, indent=1)
            file.write("\n")
    if options.write:
        report_module.put_between_marks(options.write, report_module.text(report))
    if options.svg and report.get("speed"):
        why = report_module.plot(report, options.svg)
        if why:
            progress(f"no plot: {why}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
