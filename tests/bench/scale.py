# SPDX-License-Identifier: MIT
"""What the number of contracts costs: the same few operations on generated Datastores of very different size."""

import os
import shutil
import statistics
import subprocess
import time

from peers import Reservefs
from tails import Sampler, datastore_bytes, idle, memory

PREFIX = "many"
TURNS = 1000
REPEATS = 5


def drop_caches(what):
    """2: names and inodes, so that every lookup reaches the daemon. 3: file contents as well. Needs root."""
    os.sync()
    try:
        with open("/proc/sys/vm/drop_caches", "w", encoding="ascii") as file:
            file.write(str(what))
        return True
    except OSError:
        return False


def read_through(directory):
    """Brings a directory's files into the page cache: what is measured is this project, not the disk's first read."""
    for name in os.listdir(directory):
        with open(os.path.join(directory, name), "rb", buffering=0) as file:
            while file.read(1 << 20):
                pass


def generate(tools, repo, contracts):
    directory = os.path.join(repo, ".reservefs")
    os.makedirs(directory, mode=0o700)
    start = time.monotonic()
    subprocess.run([tools["generate"], "-n", str(contracts), "-p", PREFIX, os.path.join(directory, "datastore.db")],
                   check=True)
    return time.monotonic() - start


def repeated(peer, workload, contracts, turns):
    """The median over several runs, each with cold names and other contracts."""
    runs = []
    for seed in range(REPEATS):
        drop_caches(2)
        runs.append(peer.load(workload, turns=turns, N=contracts, p=PREFIX, s=seed))
    return {field: statistics.median(run[field] for run in runs) for field in ("p50_us", "mean_us", "p99_us", "rate")}


def made_and_removed(peer):
    """mkdir and rmdir by themselves."""
    made, removed = [], []
    for repeat in range(REPEATS):
        made.append(peer.load("mkdir", turns=TURNS, p=f"extra{repeat}"))
        removed.append(peer.load("rmdir", turns=TURNS, p=f"extra{repeat}"))
    return [{field: statistics.median(run[field] for run in runs) for field in ("p50_us", "mean_us", "p99_us", "rate")}
            for runs in (made, removed)]


def listing(peer):
    """`ls -U` of everything, and the memory that it takes."""
    with Sampler(lambda: memory(peer.process.pid)["VmRSS"]) as sampler:
        result = peer.load("ls", turns=1)
    result["VmRSS_most"] = sampler.largest
    return result


def measure(peer, repo, contracts, progress):
    result = {"contracts": contracts}
    options = "repo=quota,capacity=1E"
    directory = os.path.join(repo, ".reservefs")
    drop_caches(3)
    progress(f"{contracts:,} contracts: start")
    result["start_cold_seconds"] = peer.mount_repo(repo, options)
    result["memory_mounted"] = memory(peer.process.pid)
    result["files"] = datastore_bytes(repo)
    try:
        read_through(directory)
        peer.pin(min(os.sched_getaffinity(0)))
        for workload in ("lookup", "lookup-missing", "resize-any"):
            progress(f"{contracts:,} contracts: {workload}")
            result[workload] = repeated(peer, workload, contracts, TURNS)
        progress(f"{contracts:,} contracts: find")
        result["find"] = repeated(peer, "find", contracts, 1)
        progress(f"{contracts:,} contracts: mkdir, rmdir")
        result["mkdir"], result["rmdir"] = made_and_removed(peer)
        peer.unpin()
        progress(f"{contracts:,} contracts: ls")
        drop_caches(2)
        result["ls"] = listing(peer)
        result["memory_after"] = memory(peer.process.pid)
        result["idle"] = idle(peer, 2)
    finally:
        peer.stop()
    result["start_warm_seconds"] = peer.mount_repo(repo, options)
    result["memory_mounted_warm"] = memory(peer.process.pid)
    peer.stop()
    return result


def run(tools, directory, sizes, progress):
    results = []
    for contracts in sizes:
        peer = Reservefs(tools, directory)
        peer.directory = os.path.join(directory, f"scale-{contracts}")
        peer.mountpoint = os.path.join(peer.directory, "mnt")
        repo = os.path.join(peer.directory, "repo")
        os.makedirs(repo)
        progress(f"{contracts:,} contracts: generate")
        seconds = generate(tools, repo, contracts)
        result = measure(peer, repo, contracts, progress)
        result["generate_seconds"] = seconds
        result["bytes_per_contract"] = result["files"]["datastore.db"] / contracts
        results.append(result)
        shutil.rmtree(peer.directory)
    return results
