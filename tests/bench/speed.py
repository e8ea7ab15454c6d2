# SPDX-License-Identifier: MIT
"""How fast: every workload on every peer that can do it, alternating, several rounds in one session."""

import os
import statistics
import sys

from peers import BenchError

LISTED = 1000  # contracts in the tree that is listed
EACH = 100  # resizes by each client, where all have the same to do

TREES = ["reservefs", "null", "null-default", "tmpfs"]
DURABLE = ["reservefs", "null", "null-default", "tmpfs", "sqlite", "postgresql", "etcd", "sqlite3-shell"]


class Case:
    """One workload with one number of clients."""

    def __init__(self, name, peers, clients=1, bash=None, what="", turns=0, one_cpu=False, **options):
        self.name = name
        self.peers = peers
        self.clients = clients
        self.bash = bash
        self.what = what
        self.turns = turns  # of each client; 0: as many as the time allows
        self.one_cpu = one_cpu
        self.options = options

    def key(self):
        return f"{self.name}@{self.clients}"

    def run(self, peer, seconds):
        if self.bash:
            return peer.loop(self.bash, self.clients, seconds)
        options = {k: v for k, v in self.options.items() if k != "load"}
        if self.one_cpu:
            peer.pin(min(os.sched_getaffinity(0)))
        try:
            return peer.load(self.options.get("load", self.name), self.clients, seconds, self.turns, **options)
        finally:
            if self.one_cpu:
                peer.unpin()


def cases(clients):
    """What is run; `clients` are the numbers of clients for what is written."""
    most = max(clients)
    result = [
        Case("read", TREES, what="open, read, close of available"),
        Case("read-size", TREES, what="open, read, close of a size", load="read", f="reservations/bench-0/size"),
        Case("read-1cpu", TREES, what="the first, daemon and client on one CPU", load="read", one_cpu=True),
        Case("read-size-1cpu", TREES, what="the second, on one CPU", load="read", one_cpu=True, f="reservations/bench-0/size"),
        Case("stat", TREES, what="stat of available"),
        Case("df", TREES, what="statvfs"),
        Case("ls", TREES, what=f"names listed, of {LISTED}"),
        Case("find", TREES, what="contracts visited by find"),
        Case("resize-one", TREES, what="resize of one contract"),
        Case("resize-one", TREES, clients=most, what="resize of one contract by all"),
    ]
    for count in clients:
        result.append(Case("resize", DURABLE + (["sqlite-commit"] if count == 1 else []), clients=count,
                           what="durable resize, a contract each"))
    result.append(Case("resize-each", ["reservefs", "null", "sqlite", "postgresql", "etcd"], clients=most, load="resize",
                       turns=EACH, what=f"the same, {EACH} by each client, until the last is done"))
    result += [Case("cycle", TREES, clients=count, what="mkdir, write, unlink size, rmdir") for count in sorted({1, most})]
    result += [
        Case("mkdir-rmdir", TREES, what="mkdir, rmdir"),
        Case("bash-read", TREES, bash="read", what="bash: read < available"),
        Case("bash-cat", TREES, bash="cat", what="bash: cat available"),
        Case("bash-stat", TREES, bash="stat", what="bash: stat available"),
        Case("bash-ls", TREES, bash="ls", what=f"bash: ls -U of {LISTED}"),
        Case("bash-df", TREES, bash="df", what="bash: df"),
        Case("bash-echo", TREES, bash="echo", what="bash: echo > size"),
        Case("bash-cycle", TREES, bash="cycle", what="bash: mkdir, echo > size, rm -r"),
    ]
    return result


def summarize(runs):
    """Medians and spread over the rounds."""
    summary = {"rounds": runs}
    for field in ("rate", "rate_in_time", "mean_us", "p50_us", "p90_us", "p99_us", "p999_us", "max_us"):
        values = [run[field] for run in runs if field in run]
        if values:
            summary[field] = statistics.median(values)
    rates = [run["rate"] for run in runs]
    summary["rate_min"], summary["rate_max"] = min(rates), max(rates)
    return summary


def prepare(peers):
    """Contracts to list, in every tree."""
    for name, peer in peers.items():
        if name not in TREES:
            continue
        peer.load("mkdir", turns=LISTED, p="listed")
        peer.load("resize", turns=1)
        if peer.is_plain:
            base = os.path.join(peer.target(), "reservations")
            for contract in os.listdir(base):
                with open(os.path.join(base, contract, "size"), "a", encoding="ascii"):
                    pass


def run(peers, clients, rounds, seconds):
    """Returns {case key: {"what", "clients", "name", "peers": {peer: summary}}}."""
    plan = cases(clients)
    total = sum(len([p for p in case.peers if p in peers]) for case in plan) * rounds
    results = {case.key(): {"name": case.name, "clients": case.clients, "what": case.what,
                            "runs": {p: [] for p in case.peers if p in peers}} for case in plan}
    done = 0
    prepare(peers)
    for number in range(rounds):
        for case in plan:
            # Every round begins with another peer, so that none is always the one after the heaviest.
            names = [p for p in case.peers if p in peers]
            names = names[number % len(names):] + names[:number % len(names)]
            for name in names:
                done += 1
                os.sync()
                try:
                    run_result = case.run(peers[name], seconds)
                except BenchError as error:
                    print(f"bench: {error}", file=sys.stderr)
                    continue
                results[case.key()]["runs"][name].append(run_result)
                print(f"[{done}/{total}] round {number + 1} of {rounds}: {case.name}, {case.clients} client"
                      f"{'s' if case.clients > 1 else ''}, {name}: {run_result['rate']:,.0f}/s", file=sys.stderr)
    for result in results.values():
        result["peers"] = {name: summarize(runs) for name, runs in result.pop("runs").items() if runs}
    return results
