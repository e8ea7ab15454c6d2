# SPDX-License-Identifier: MIT
"""A run as tables for people, and as plots."""

import os
import shutil
import subprocess
import tempfile


def number(value):
    if value is None:
        return "-"
    if value >= 1000:
        return f"{value:,.0f}"
    return f"{value:.3g}"


def table(rows, header):
    """Rows of text, as a Markdown table: the first column to the left, the others to the right."""
    rows = [header] + rows
    widths = [max(len(row[i]) for row in rows) for i in range(len(header))]

    def line(row):
        return "| " + " | ".join(cell.ljust(w) if i == 0 else cell.rjust(w) for i, (cell, w) in enumerate(zip(row, widths))) + " |"
    rule = "|" + "|".join("-" * (w + 2) if i == 0 else "-" * (w + 1) + ":" for i, w in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule] + [line(row) for row in rows[1:]])


def spread(summary):
    """Half the distance between the best and the worst round, as a share of the median."""
    return (summary["rate_max"] - summary["rate_min"]) / 2 / summary["rate"] if summary["rate"] else 0


def speed_table(speed, peers):
    rows = []
    for case in speed.values():
        row = [case["name"], str(case["clients"])]
        mine = case["peers"].get("reservefs", {}).get("rate")
        for peer in peers:
            summary = case["peers"].get(peer)
            if not summary:
                row.append("")
                continue
            ratio = f" {mine / summary['rate']:.2f}x" if mine and peer != "reservefs" and summary["rate"] else ""
            row.append(f"{number(summary['rate'])} ±{spread(summary) * 100:.0f}%{ratio}")
        rows.append(row)
    return table(rows, ["workload, a second", "clients"] + peers)


def medians_table(speed, peers):
    """One client: what a turn takes as a rule. A rate also holds the time that a sleeping CPU takes to wake up."""
    rows = []
    for case in speed.values():
        if case["clients"] != 1:
            continue
        mine = case["peers"].get("reservefs", {}).get("p50_us")
        row = [case["name"]]
        for peer in peers:
            value = case["peers"].get(peer, {}).get("p50_us")
            ratio = f" {mine / value:.2f}x" if mine and value and peer != "reservefs" else ""
            row.append(number(value) + ratio if value else "")
        rows.append(row)
    return table(rows, ["one client, median, us"] + peers)


def latency_table(speed):
    rows = []
    for case in speed.values():
        if case["name"] != "resize":
            continue
        for peer, summary in case["peers"].items():
            if "p99_us" in summary:
                rows.append([peer, str(case["clients"])] + [number(summary[f]) for f in
                            ("p50_us", "p90_us", "p99_us", "max_us")])
    return table(rows, ["resize, microseconds", "clients", "median", "90 %", "99 %", "slowest"])


def scale_table(scale):
    def lines():
        yield "start, cold, ms", lambda s: s["start_cold_seconds"] * 1e3
        yield "start, warm, ms", lambda s: s["start_warm_seconds"] * 1e3
        yield "resident after mounting, MiB", lambda s: s["memory_mounted"]["VmRSS"] / 2**20
        yield "resident while all is listed, MiB", lambda s: s["ls"]["VmRSS_most"] / 2**20
        for name in ("lookup", "lookup-missing", "resize-any", "mkdir", "rmdir"):
            yield f"{name}, median, us", lambda s, n=name: s[n]["p50_us"]
        yield "ls -U, names/s", lambda s: s["ls"]["rate"]
        yield "find, contracts/s", lambda s: s["find"]["rate"]
        yield "bytes on disk a contract", lambda s: s["bytes_per_contract"]
        yield "generated in, s", lambda s: s["generate_seconds"]
    rows = [[name] + [number(get(s)) for s in scale] for name, get in lines()]
    return table(rows, ["contracts"] + [f"{s['contracts']:,}" for s in scale])


def tails_table(tails):
    rows = []
    for key in ("read_under_load", "read_under_one"):
        reads = tails[key]
        for when in ("idle", "busy"):
            run = reads[when]
            what = "read, nobody writes" if when == "idle" else f"read, {reads['clients']} write"
            rows.append([what] + [number(run[f]) for f in ("rate", "p50_us", "p99_us", "p999_us", "max_us")])
    for key in ("long_write", "long_write_one"):
        run = tails[key]
        rows.append([f"resize, {run['clients']} clients, {run['seconds']:.0f} s, WAL at most {run['wal_bytes_most'] / 2**20:.1f} MiB"] +
                    [number(run[f]) for f in ("rate", "p50_us", "p99_us", "p999_us", "max_us")])
    text = table(rows, ["", "a second", "median us", "99 % us", "99.9 % us", "slowest us"])
    idle = tails["idle"]
    text += f"\n\nIdle for {idle['seconds']} s: {idle['context_switches']} context switches, {idle['cpu_ticks']} CPU ticks.\n"
    for entry in tails.get("syncs", []):
        text += f"Disk syncs of {entry['workload']}, {entry['clients']} client(s): {entry['per_operation']:.3f} each " \
                f"({', '.join(f'{n} {name}' for name, n in sorted(entry['calls'].items())) or 'none'} in {entry['operations']}).\n"
    return text


def timeline_table(timeline):
    rows = [[step["what"], number(step["median_us"]), number(step["p90_us"])] for step in timeline["steps"]]
    rows.append(["all of it", number(timeline["total_us"]), ""])
    return table(rows, [f"one resize, one client ({timeline['turns']} followed)", "median us", "90 % us"])


def targets_table(targets):
    rows = [[t["name"], t["wanted"], number(t["measured"]) + t["unit"], "met" if t["met"] else "MISSED"] for t in targets]
    return table(rows, ["target", "wanted", "measured", ""])


def text(report):
    parts = ["### The run"]
    machine = report["machine"]
    parts.append(f"{machine['cores']} cores ({machine['cpu']}), {machine['memory_gib']} GiB, Linux {machine['kernel']}, "
                 f"{machine['disk']}; reservefs {report['version']}")
    for name, absent in report.get("missing", {}).items():
        parts.append(f"{name} was left out: {absent} is not installed.")
    parts += ["### Targets", targets_table(report["targets"])]
    if report.get("speed"):
        parts.append("### Speed")
        parts.append(f"{report['rounds']} rounds of {report['seconds']:g} s each; median ± spread, and how many times that "
                     "reservefs does of it.")
        parts.append(speed_table(report["speed"], report["peers"]))
        parts.append("### One client")
        parts.append(medians_table(report["speed"], report["peers"]))
        parts.append("### How long a durable resize takes")
        parts.append(latency_table(report["speed"]))
    if report.get("tails"):
        if "timeline" in report["tails"]:
            parts.append("### Where the time of one resize goes")
            parts.append(timeline_table(report["tails"]["timeline"]))
        parts += ["### Tails and waste", tails_table(report["tails"])]
    if report.get("scale"):
        parts += ["### Scale", scale_table(report["scale"])]
    return "\n\n".join(parts)


FIRST_MARK, LAST_MARK = "<!-- figures: written by contrib/bench --write -->", "<!-- end of figures -->"


def put_between_marks(path, figures):
    """Replaces what is between the marks in a file by the figures of this run."""
    with open(path, encoding="utf-8") as file:
        before, found, rest = file.read().partition(FIRST_MARK)
    _, found_last, after = rest.partition(LAST_MARK)
    if not found or not found_last:
        raise ValueError(f"{path} has no marks for the figures")
    with open(path, "w", encoding="utf-8") as file:
        file.write(f"{before}{FIRST_MARK}\n\n{figures}\n\n{LAST_MARK}{after}")


PLOT = """
set terminal svg size 900,560 font "sans,13" background "white"
set output "{svg}"
set logscale x 2
set logscale y
set xlabel "clients"
set ylabel "durable resizes a second"
set key outside right
set grid
set xtics (1,2,4,8,16,32,64)
plot {curves}
"""


def plot(report, svg):
    """Durable resizes over the number of clients. Returns why not, or None."""
    if not shutil.which("gnuplot"):
        return "gnuplot is not installed"
    with tempfile.TemporaryDirectory() as directory:
        curves = []
        for peer in report["peers"]:
            points = [(case["clients"], case["peers"][peer]["rate"]) for case in report["speed"].values()
                      if case["name"] == "resize" and peer in case["peers"]]
            if len(points) < 2:
                continue
            path = os.path.join(directory, peer)
            with open(path, "w", encoding="ascii") as file:
                file.writelines(f"{x} {y}\n" for x, y in points)
            width = 3 if peer == "reservefs" else 1.5
            curves.append(f'"{path}" with linespoints linewidth {width} pointtype 7 pointsize 0.6 title "{peer}" noenhanced')
        if not curves:
            return "there is nothing to plot"
        subprocess.run(["gnuplot"], input=PLOT.format(svg=svg, curves=", ".join(curves)), text=True, check=True)
    return None
