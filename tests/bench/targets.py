# SPDX-License-Identifier: MIT
"""What was promised, and whether a run kept it. Each target: name, what is wanted, what was measured, met or not."""

MIB = 1 << 20


class Target:
    def __init__(self, name, measured, limit, at_most, unit=""):
        self.name = name
        self.measured = measured
        self.limit = limit
        self.at_most = at_most
        self.unit = unit

    def met(self):
        return self.measured <= self.limit if self.at_most else self.measured >= self.limit

    def as_dict(self):
        return {"name": self.name, "wanted": f"{'at most' if self.at_most else 'at least'} {self.limit:,g}{self.unit}",
                "measured": self.measured, "unit": self.unit, "ratio_to_limit": self.measured / self.limit if self.limit else None, "met": self.met()}


class Results:
    """Looks up figures of a run; what was not measured is None."""

    def __init__(self, speed):
        self.speed = speed

    def get(self, case, clients, peer, field="rate"):
        return self.speed.get(f"{case}@{clients}", {}).get("peers", {}).get(peer, {}).get(field)

    def ratio(self, case, clients, peer, other, field="rate"):
        mine, theirs = self.get(case, clients, peer, field), self.get(case, clients, other, field)
        return mine / theirs if mine and theirs else None


def speed_targets(speed, most):
    r = Results(speed)
    found = []

    def add(name, measured, limit, at_most, unit=""):
        if measured is not None:
            found.append(Target(name, measured, limit, at_most, unit))

    for field, word in (("p50_us", "median"), ("mean_us", "mean")):
        mine, commit, null = (r.get("resize", 1, p, field) for p in ("reservefs", "sqlite-commit", "null"))
        if mine and commit and null:
            add(f"one client, durable resize: {word} / (SQLite commit of the same records + do-nothing FUSE write)",
                mine / (commit + null), 1.25, True, " x")
    add(f"{most} clients, durable resize / do-nothing FUSE", r.ratio("resize", most, "reservefs", "null"), 0.5, False, " x")
    ceiling = r.get("resize", most, "null")
    if ceiling:
        add(f"{most} clients, durable resize; scaled from 20,000/s where the ceiling is 47,000/s",
            r.get("resize", most, "reservefs"), 20000 * min(1, ceiling / 47000), False, "/s")
    for peer, factor in (("etcd", 2), ("postgresql", 10), ("sqlite", 10)):
        add(f"{most} clients, the same number of durable resizes each / {peer}",
            r.ratio("resize-each", most, "reservefs", peer), factor, False, " x")
        add(f"{most} clients, durable resizes in a given time / {peer}", r.ratio("resize", most, "reservefs", peer), factor,
            False, " x")
    mine, others = r.get("resize", most, "reservefs", "rate_in_time"), r.get("resize", most, "sqlite", "rate_in_time")
    if mine and others:
        add(f"{most} clients, durable resizes in a given time / sqlite, not minding who is served", mine / others, 10, False, " x")
    for case, what in (("read", "read of available"), ("read-size", "read of a size"),
                       ("read-1cpu", "read of available, one CPU"), ("read-size-1cpu", "read of a size, one CPU")):
        add(f"{what}: median / do-nothing FUSE, same flags", r.ratio(case, 1, "reservefs", "null", "p50_us"), 1.15, True, " x")
    for case, what in (("read", ""), ("read-1cpu", ", one CPU")):
        add(f"read of available{what}: median, libfuse's default / reservefs",
            r.ratio(case, 1, "null-default", "reservefs", "p50_us"), 1.5, False, " x")
    add("read of available: median / tmpfs (stretch)", r.ratio("read", 1, "reservefs", "tmpfs", "p50_us"), 3, True, " x")
    add(f"{most} clients, mkdir + write + rm -r", r.get("cycle", most, "reservefs"), 5000, False, "/s")
    p99 = r.get("resize", most, "reservefs", "p99_us")
    if p99:
        add(f"{most} clients, durable resize: 99th percentile", p99 / 1e3, 20, True, " ms")
    return found


def tail_targets(tails, most):
    found = []
    for entry in tails.get("syncs", []):
        if entry["workload"] == "cycle" and entry["clients"] == 1:
            # The last cycle's deferred change, and now and then a checkpoint, belong to none of them.
            found.append(Target("mkdir + write + rm -r, one client: disk syncs (2, and a checkpoint's share)",
                                entry["per_operation"], 2.05, True))
    for key in ("read_under_load", "read_under_one"):
        reads = tails[key]
        for field, word in (("p50_us", "median"), ("mean_us", "mean")):
            found.append(Target(f"read while {reads['clients']} write / read while idle: {word}",
                                reads["busy"][field] / reads["idle"][field], 3, True, " x"))
    for key, clients in (("long_write", most), ("long_write_one", 1)):
        found.append(Target(f"slowest resize of a long run, {clients} clients", tails[key]["max_us"] / 1e3, 50, True, " ms"))
    asleep = tails["idle"]
    found.append(Target("idle: CPU ticks and context switches", asleep["context_switches"] + asleep["cpu_ticks"], 0, True))
    return found


def scale_targets(scale):
    found = []
    if not scale:
        return found
    base, last = scale[0], scale[-1]
    count = f"{last['contracts']:,}"
    found.append(Target(f"{count} contracts: start to answering", last["start_cold_seconds"], 1, True, " s"))
    found.append(Target(f"{count} contracts: resident after mounting", last["memory_mounted"]["VmRSS"] / MIB, 128, True, " MiB"))
    found.append(Target(f"{count} contracts: resident while all is listed", last["ls"]["VmRSS_most"] / MIB, 128, True, " MiB"))
    if last is not base:
        for workload in ("lookup", "resize-any", "mkdir", "rmdir"):
            found.append(Target(f"{count} contracts: {workload}, median / at {base['contracts']:,}",
                                last[workload]["p50_us"] / base[workload]["p50_us"], 1.5, True, " x"))
        found.append(Target(f"{count} contracts: find, rate / at {base['contracts']:,}",
                            last["find"]["rate"] / base["find"]["rate"], 0.67, False, " x"))
    found.append(Target(f"{count} contracts: ls -U", last["ls"]["rate"], 300000, False, " names/s"))
    return found


def evaluate(report):
    found = []
    if report.get("speed"):
        found += speed_targets(report["speed"], report["most_clients"])
    if report.get("tails"):
        found += tail_targets(report["tails"], report["most_clients"])
    found += scale_targets(report.get("scale"))
    return [target.as_dict() for target in found]
