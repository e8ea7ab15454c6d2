# SPDX-License-Identifier: MIT
"""What is measured: the mounted trees and the servers that do the same job.

A peer is started once, is idle while others are measured, and is stopped at the end. All that is durable lies below one
directory, on one disk.
"""

import json
import os
import shutil
import signal
import socket
import subprocess
import time

START_SECONDS = 30


class BenchError(Exception):
    """A measurement that could not be made."""


def wait_for(condition, what, process=None):
    """Waits until condition() is true, and no longer than START_SECONDS."""
    deadline = time.monotonic() + START_SECONDS
    while not condition():
        if process and process.poll() is not None:
            raise BenchError(f"{what}: ended with status {process.returncode}")
        if time.monotonic() > deadline:
            raise BenchError(f"{what}: not there after {START_SECONDS} seconds")
        time.sleep(0.001)


def stop_process(process, how=signal.SIGTERM):
    if process.poll() is None:
        process.send_signal(how)
    try:
        return process.wait(timeout=60)
    except subprocess.TimeoutExpired:
        process.kill()
        raise BenchError(f"{process.args[0]} did not end") from None


class Peer:
    """One of those that are compared."""

    name = ""
    about = ""
    workloads = {}  # name of a workload here -> name of the load driver's
    prefix = []  # of the load driver's command

    def __init__(self, tools, directory):
        self.tools = tools  # programs: name -> path
        self.directory = os.path.join(directory, self.name)

    def missing(self):
        """What is not installed, or None."""
        return None

    def start(self):
        os.makedirs(self.directory, exist_ok=True)

    def stop(self):
        pass

    def target(self):
        raise NotImplementedError

    def load(self, workload, clients=1, seconds=1.0, turns=0, **options):
        """Runs the load driver; returns what it prints."""
        command = self.prefix + [self.tools["load"], "-c", str(clients)]
        command += ["-n", str(turns)] if turns else ["-t", str(seconds), "-w", str(min(0.1, seconds / 5))]
        for name, value in options.items():
            command += ["-" + name, str(value)]
        command += [self.workloads.get(workload, workload), self.target()]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, check=False)
        if done.returncode != 0:
            raise BenchError(f"{self.name}: {workload}: {done.stderr.strip().splitlines()[:1]}")
        return json.loads(done.stdout)

    def loop(self, what, clients=1, seconds=1.0):
        """Runs loop.bash; returns a rate in the shape of the load driver's."""
        command = [self.tools["loop"], str(max(1, round(seconds))), what, self.target()]
        running = [subprocess.Popen(command + [str(i)], stdout=subprocess.PIPE, text=True) for i in range(clients)]
        turns, longest = 0, 1
        for process in running:
            text = process.communicate()[0].split()
            if process.returncode != 0:
                raise BenchError(f"{self.name}: {what} in bash failed")
            turns += int(text[0])
            longest = max(longest, int(text[1]))
        mean = longest * clients / turns if turns else 0
        return {"workload": what, "clients": clients, "operations": turns, "seconds": longest / 1e6,
                "rate": turns * 1e6 / longest, "mean_us": mean, "p50_us": mean}


class Tree(Peer):
    """Something that is mounted, or looks as if it were."""

    is_plain = False  # ordinary files, which have to be made one by one
    process = None
    log = None

    def __init__(self, tools, directory):
        super().__init__(tools, directory)
        self.mountpoint = os.path.join(self.directory, "mnt")

    def target(self):
        return self.mountpoint

    def mount(self, command):
        """Starts a daemon in the foreground; returns the seconds until the tree answered."""
        os.makedirs(self.mountpoint, exist_ok=True)
        before = os.stat(self.mountpoint).st_dev
        self.log = open(os.path.join(self.directory, "log"), "ab")  # closed by stop()
        start = time.monotonic()
        self.process = subprocess.Popen(command, stdout=self.log, stderr=self.log)
        path = os.path.join(self.mountpoint, "available")

        def answers():
            try:
                if os.stat(self.mountpoint).st_dev == before:
                    return False
                with open(path, "rb") as file:
                    return bool(file.read())
            except OSError:
                return False
        wait_for(answers, f"{self.name} on {self.mountpoint}", self.process)
        return time.monotonic() - start

    def pin(self, cpu):
        """Keeps the daemon and its clients on one CPU. Whether the scheduler happens to do so, or has to wake the other
        CPU for every answer, makes far more of a difference than what a single request costs."""
        self.place({cpu})
        self.prefix = ["taskset", "-c", str(cpu)]

    def unpin(self):
        self.place(os.sched_getaffinity(0))
        self.prefix = []

    def place(self, cpus):
        for thread in os.listdir(f"/proc/{self.process.pid}/task") if self.process else []:
            os.sched_setaffinity(int(thread), cpus)

    def stop(self):
        if not self.process:
            return
        status = stop_process(self.process)
        self.process = None
        self.prefix = []
        self.log.close()
        if status != 0:
            raise BenchError(f"{self.name} ended with status {status}")


class Reservefs(Tree):
    name = "reservefs"
    about = "this project, on its default Repo (disk), SQLite with synchronous=FULL"
    options = None

    def start(self):
        super().start()
        return self.mount_repo(os.path.join(self.directory, "repo"), self.options)

    def mount_repo(self, repo, options=None):
        os.makedirs(repo, exist_ok=True)
        command = [self.tools["reservefs"], "-f"] + (["-o", options] if options else [])
        return self.mount(command + [repo, self.mountpoint])


class Null(Tree):
    name = "null"
    about = "a FUSE file system that does nothing, one thread, with the flags that reservefs uses: the ceiling"
    options = "noflush,direct_io,atomic_trunc,timeout=86400,default_permissions"

    def start(self):
        super().start()
        self.mount([self.tools["null"], "-o", self.options, self.mountpoint])


class NullDefault(Null):
    name = "null-default"
    about = "the same with libfuse's default loop and flags"
    options = "mt,splice,timeout=1"


class Tmpfs(Tree):
    is_plain = True
    name = "tmpfs"
    about = "plain files on tmpfs: the kernel's floor"

    def __init__(self, tools, directory):
        super().__init__(tools, directory)
        self.mountpoint = f"/dev/shm/reservefs-bench-{os.getpid()}"

    def missing(self):
        return None if os.path.isdir("/dev/shm") else "tmpfs on /dev/shm"

    def start(self):
        os.makedirs(os.path.join(self.mountpoint, "reservations"))
        with open(os.path.join(self.mountpoint, "available"), "w", encoding="ascii") as file:
            file.write("10737418240\n")

    def stop(self):
        shutil.rmtree(self.mountpoint, ignore_errors=True)


class Sqlite(Peer):
    name = "sqlite"
    about = "SQLite directly: a process each, BEGIN IMMEDIATE, check and change the sum, synchronous=FULL"
    workloads = {"resize": "sqlite"}

    def target(self):
        return os.path.join(self.directory, "direct.db")


class SqliteCommit(Peer):
    name = "sqlite-commit"
    about = "one process alone that commits the same records, synchronous=FULL"
    workloads = {"resize": "sqlite-commit"}

    def target(self):
        return os.path.join(self.directory, "commit.db")


class SqliteShell(Peer):
    name = "sqlite3-shell"
    about = "a shell script: flock, sqlite3"
    contracts = 64

    def missing(self):
        absent = [tool for tool in ("sqlite3", "flock") if not shutil.which(tool)]
        return ", ".join(absent) or None

    def target(self):
        return self.directory

    def start(self):
        super().start()
        script = "PRAGMA journal_mode=WAL; CREATE TABLE pool (one INTEGER PRIMARY KEY, capacity INTEGER, reserved INTEGER);" \
                 "CREATE TABLE contract (name TEXT PRIMARY KEY, size INTEGER);" \
                 "INSERT INTO pool VALUES (1, 1 << 60, 0);"
        script += "".join(f"INSERT INTO contract VALUES ('bash-{i}', 0);" for i in range(self.contracts))
        subprocess.run(["sqlite3", os.path.join(self.directory, "shell.db"), script], check=True, stdout=subprocess.DEVNULL)

    def load(self, workload, clients=1, seconds=1.0, turns=0, **options):
        return self.loop("shell", clients, seconds)


class Postgres(Peer):
    name = "postgresql"
    about = "PostgreSQL over its Unix socket: one prepared conditional update, synchronous_commit on"
    workloads = {"resize": "postgres"}
    process = None
    log = None

    @staticmethod
    def program(name):
        """Debian keeps them out of PATH."""
        base = "/usr/lib/postgresql"
        versions = sorted(os.listdir(base), key=lambda v: [int(n) for n in v.split(".") if n.isdigit()]) \
            if os.path.isdir(base) else []
        for version in reversed(versions):
            path = os.path.join(base, version, "bin", name)
            if os.access(path, os.X_OK):
                return path
        return shutil.which(name)

    def missing(self):
        if not self.program("postgres") or not self.program("initdb"):
            return "postgresql"
        if "postgres" not in self.tools["workloads"]:
            return "libpq-dev (when building)"
        return None

    def as_user(self, command):
        """PostgreSQL refuses to run as root."""
        if os.geteuid() == 0:
            return ["setpriv", "--reuid", "postgres", "--regid", "postgres", "--clear-groups"] + command
        return command

    def target(self):
        return f"host={self.directory} user=bench dbname=postgres"

    def start(self):
        super().start()
        if os.geteuid() == 0:
            shutil.chown(self.directory, "postgres", "postgres")
        data = os.path.join(self.directory, "data")
        self.log = open(os.path.join(self.directory, "log"), "ab")  # closed by stop()
        subprocess.run(self.as_user([self.program("initdb"), "-D", data, "-A", "trust", "-U", "bench"]), check=True,
                       stdout=self.log, stderr=self.log, cwd="/")
        self.process = subprocess.Popen(
            self.as_user([self.program("postgres"), "-D", data, "-k", self.directory, "-c", "listen_addresses=",
                          "-c", "max_connections=200"]), stdout=self.log, stderr=self.log, cwd="/")
        ready = self.program("pg_isready")
        wait_for(lambda: subprocess.run([ready, "-h", self.directory, "-q"], check=False).returncode == 0, self.name,
                 self.process)

    def stop(self):
        if self.process:
            stop_process(self.process, signal.SIGINT)
            self.process = None
            self.log.close()


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Etcd(Peer):
    name = "etcd"
    about = "etcd, one node, gRPC on loopback: one compare-and-put transaction; it checks no sum"
    workloads = {"resize": "etcd"}
    process = None
    log = None
    port = 0

    def missing(self):
        if not shutil.which("etcd"):
            return "etcd-server"
        if "etcd" not in self.tools["workloads"]:
            return "libnghttp2-dev (when building)"
        return None

    def target(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        super().start()
        self.port = free_port()
        client, peer = f"http://127.0.0.1:{self.port}", f"http://127.0.0.1:{free_port()}"
        self.log = open(os.path.join(self.directory, "log"), "ab")  # closed by stop()
        self.process = subprocess.Popen(
            ["etcd", "--data-dir", os.path.join(self.directory, "data"), "--listen-client-urls", client,
             "--advertise-client-urls", client, "--listen-peer-urls", peer, "--initial-advertise-peer-urls", peer,
             "--initial-cluster", f"default={peer}", "--log-level", "error"], stdout=self.log, stderr=self.log)

        def answers():
            done = subprocess.run([self.tools["load"], "-n", "1", "-p", "probe", "etcd", self.target()], check=False,
                                  stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
            return done.returncode == 0
        wait_for(answers, self.name, self.process)

    def stop(self):
        if self.process:
            stop_process(self.process)
            self.process = None
            self.log.close()


ALL = [Reservefs, Null, NullDefault, Tmpfs, SqliteCommit, Sqlite, SqliteShell, Postgres, Etcd]


def driver_workloads(load):
    """The names that this build of the load driver knows."""
    text = subprocess.run([load, "-h"], stdout=subprocess.PIPE, text=True, check=True).stdout
    return {line.split()[0] for line in text.partition("workloads:")[2].splitlines() if line.strip()}

