#!/usr/bin/env python3
# SPDX-License-Identifier: MIT
"""A flame graph of the daemon under load: perf's stacks, as an SVG that a browser shows. Width is share of samples."""

import argparse
import html
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time

from peers import BenchError, Reservefs

WIDTH, ROW, FONT, LEAST = 1200, 17, 11, 0.4
SYMBOL = re.compile(r"^\s+[0-9a-f]+\s+(.+?)(?:\+0x[0-9a-f]+)?\s+\((.*)\)$")


def stacks(text):
    """The samples of `perf script`, each a list of names from the thread's start on."""
    found, current, head = [], [], ""
    for line in text.splitlines() + [""]:
        match = SYMBOL.match(line)
        if match:
            current.append(match[1] if match[1] != "[unknown]" else os.path.basename(match[2]))
        elif line.strip():
            head = line.split()[0]
        elif current:
            found.append([head] + current[::-1])
            current = []
    return found


def merge(samples):
    """A tree: name -> [samples, children]."""
    root = {}
    for sample in samples:
        level = root
        for name in sample:
            node = level.setdefault(name, [0, {}])
            node[0] += 1
            level = node[1]
    return root


def depth_of(level):
    return 1 + max((depth_of(node[1]) for node in level.values()), default=0)


def draw(level, left, depth, per_sample, total, height, out):
    for name, (count, children) in sorted(level.items()):
        width = count * per_sample
        if width >= LEAST:
            top = height - (depth + 2) * ROW
            shade = 40 + hash_of(name) % 120
            room = int(width / (FONT * 0.62)) - 1
            shown = html.escape(name[:room]) if room > 2 else ""
            out.append(f'<g><title>{html.escape(name)} ({count * 100 / total:.1f} %)</title><rect x="{left:.1f}" y="{top}" '
                       f'width="{width:.1f}" height="{ROW - 1}" fill="rgb(240,{shade + 60},{shade // 2})" rx="1"/>'
                       f'<text x="{left + 3:.1f}" y="{top + 12}">{shown}</text></g>')
            draw(children, left, depth + 1, per_sample, total, height, out)
        left += width


def hash_of(name):
    """The same colour for a name in every graph."""
    value = 0
    for character in name:
        value = (value * 31 + ord(character)) & 0xffff
    return value


def svg_of(samples, title):
    tree = merge(samples)
    height = (depth_of(tree) + 3) * ROW
    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" font-family="sans-serif" '
           f'font-size="{FONT}"><rect width="100%" height="100%" fill="white"/>'
           f'<text x="{WIDTH / 2}" y="{ROW}" text-anchor="middle" font-size="14">{html.escape(title)}</text>']
    draw(tree, 0, 0, WIDTH / len(samples), len(samples), height, out)
    return "\n".join(out + ["</svg>\n"])


def record(peer, clients, seconds, path):
    with subprocess.Popen(["perf", "record", "-q", "-F", "4999", "-g", "-o", path, "-p", str(peer.process.pid)],
                          stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as perf:
        time.sleep(0.5)  # perf says nothing when it has begun
        if perf.poll() is not None:
            raise BenchError("perf cannot record here")
        result = peer.load("resize", clients, seconds)
        perf.send_signal(2)
    text = subprocess.run(["perf", "script", "-i", path, "-F", "comm,tid,time,ip,sym,dso"], stdout=subprocess.PIPE,
                          stderr=subprocess.DEVNULL, text=True, check=True).stdout
    return result, text


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--build", required=True, help="a build directory, best one with -fno-omit-frame-pointer")
    parser.add_argument("--clients", type=int, default=64)
    parser.add_argument("--seconds", type=float, default=5)
    parser.add_argument("--directory", default="/var/tmp")
    parser.add_argument("svg")
    options = parser.parse_args()
    if not shutil.which("perf"):
        sys.exit("flamegraph: perf is not installed")
    tools = {"load": os.path.join(options.build, "tests/bench/bench-load"),
             "reservefs": os.path.join(options.build, "src/cli/reservefs")}
    with tempfile.TemporaryDirectory(prefix="reservefs-flame-", dir=options.directory) as directory:
        peer = Reservefs(tools, directory)
        peer.start()
        try:
            result, text = record(peer, options.clients, options.seconds, os.path.join(directory, "perf.data"))
        finally:
            peer.stop()
    samples = stacks(text)
    if not samples:
        sys.exit("flamegraph: perf saw nothing")
    with open(options.svg, "w", encoding="utf-8") as file:
        file.write(svg_of(samples, f"reservefs, resize, {options.clients} clients, {result['rate']:,.0f}/s"))


if __name__ == "__main__":
    main()
