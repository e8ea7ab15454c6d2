# shellcheck shell=bats disable=SC2317
# SPDX-License-Identifier: MIT
# observability.bats: what an operator's monitoring sees: the metrics, their exporter, alerts and dashboard, and the log.

load lib.bash

CONTRIB=$(realpath -- "$SYSTEM/../../contrib")
EXPORTER=''

also_teardown() {
	[ -z "$EXPORTER" ] || kill "$EXPORTER" || :
}

# Python that reads the exposition format, strictly: {(name, labels): value}, and {name: type}.
metrics_py() {
	py <<-END
		METRIC = re.compile(r'([a-z_]+)\{((?:[a-z]+="(?:[^"\\\\\n]|\\\\[\\\\"n])*",?)*)\} ([0-9.e+-]+)')
		LABEL = re.compile(r'([a-z]+)="((?:[^"\\\\]|\\\\.)*)"')

		def metrics(text=None):
		    values, types, helped = {}, {}, set()
		    for line in (raw(fixed("metrics")).decode() if text is None else text).splitlines():
		        if line.startswith("# HELP "):
		            helped.add(line.split()[2])
		            assert len(line.split(None, 3)) == 4, line
		        elif line.startswith("# TYPE "):
		            _, _, name, kind = line.split()
		            assert name in helped and name not in types, line
		            types[name] = kind
		        else:
		            match = METRIC.fullmatch(line)
		            assert match, line
		            name, labels, value = match.groups()
		            family = re.sub("_(bucket|sum|count)\$", "", name) if "duration" in name else name
		            assert family in types, line
		            key = name, tuple(sorted(LABEL.findall(labels)))
		            assert key not in values, line
		            values[key] = float(value)
		    equal(helped, set(types))
		    return values, types

		def operations(operation, pool="repo"):
		    values, _ = metrics()
		    return tuple(int(values["reservefs_operations_total", (("operation", operation), ("pool", pool), ("result", result))])
		                 for result in ("ok", "refused", "failed"))

		def plain(name, pool="repo"):
		    return metrics()[0]["reservefs_" + name, (("pool", pool),)]

		$(cat)
	END
}

@test "metrics have the names, types and labels that are promised, with HELP and TYPE" {
	mount_quota 10G
	contract c1 4G
	metrics_py <<-'END'
		values, types = metrics()
		for name, kind in {"capacity_bytes": "gauge", "reserved_bytes": "gauge", "available_bytes": "gauge", "reservations": "gauge",
		                   "operations_total": "counter", "commit_duration_seconds": "histogram", "build_info": "gauge"}.items():
		    equal(kind, types["reservefs_" + name], name)
		assert all(dict(labels)["pool"] == "repo" for _, labels in values)
		equal((10 * 2**30, 4 * 2**30, 6 * 2**30, 1), tuple(map(plain, ["capacity_bytes", "reserved_bytes", "available_bytes", "reservations"])))
		version = subprocess.run([os.environ["RESERVEFS"], "-V"], check=True, capture_output=True, text=True).stdout.split()[1]
		equal(1, values["reservefs_build_info", (("pool", "repo"), ("version", version))])
	END
}

@test "metrics agree with status while others write" {
	mount_quota 1000G
	metrics_py <<-'END'
		import threading
		stop = threading.Event()

		def churn(name):
		    make(name)
		    while not stop.is_set():
		        put(name, "7G")
		        put(name, "1G")

		writers = [threading.Thread(target=churn, args=[f"c{n}"]) for n in range(3)]
		for writer in writers:
		    writer.start()
		try:
		    for _ in range(200):
		        values, _ = metrics()
		        of = lambda name: values["reservefs_" + name, (("pool", "repo"),)]
		        equal(of("capacity_bytes"), of("reserved_bytes") + of("available_bytes"))
		        assert of("reserved_bytes") <= 21 * 2**30
		finally:
		    stop.set()
		    for writer in writers:
		        writer.join()
	END
}

@test "operations are counted by what they were and how they ended" {
	mount_quota 10G
	metrics_py <<-'END'
		make("c1")
		make("c2", "1G")
		refused("EEXIST", os.mkdir, contract("c1"))
		refused("EINVAL", os.mkdir, contract(".c"))
		equal((2, 2, 0)[0], operations("create")[0])
		assert operations("create")[1] >= 1
		refused("ENOSPC", put, "c1", "11G")
		refused("EINVAL", put, "c1", "x")
		equal((1, 2, 0), operations("resize"))
		os.rename(contract("c1"), contract("c3"))
		refused("EEXIST", os.rename, contract("c2"), contract("c3"))
		equal(1, operations("rename")[0])
		os.unlink(size("c2"))
		equal((1, 2, 0), operations("resize"))
		os.rmdir(contract("c2"))
		equal(1, operations("remove")[0])
		names = ("create", "resize", "remove", "rename", "sync", "other")
		equal(0, sum(operations(name)[2] for name in names))
		equal(set(names), {dict(labels)["operation"] for name, labels in metrics()[0] if name == "reservefs_operations_total"})
	END
}

@test "the histogram of commit times is cumulative, in seconds, and counts each commit" {
	mount_quota 10G
	contract c1
	metrics_py <<-'END'
		def histogram():
		    values, _ = metrics()
		    buckets = [(float(dict(labels)["le"]), value) for (name, labels), value in values.items() if name.endswith("_bucket")]
		    equal(sorted(buckets), buckets)
		    equal([count for _, count in buckets], sorted(count for _, count in buckets))
		    equal(float("inf"), buckets[-1][0])
		    count, total = (values[f"reservefs_commit_duration_seconds_{what}", (("pool", "repo"),)] for what in ("count", "sum"))
		    equal(count, buckets[-1][1])
		    return count, total, buckets

		count, total, buckets = histogram()
		begun = time.monotonic()
		for n in range(1, 51):
		    put("c1", n)
		took = time.monotonic() - begun
		count2, total2, buckets2 = histogram()
		# one writer: a commit for each change, and perhaps one for what was created before
		assert 50 <= count2 - count <= 52, (count, count2)
		assert 0 < total2 - total <= took, (total, total2, took)
		assert buckets2[0][0] <= 0.001 and buckets2[-2][0] >= 1, buckets2
	END
}

@test "no label and no line grows with the number of contracts" {
	mount_quota 10G
	local before after
	before=$(grep -c . "$MNT/metrics")
	py <<-'END'
		for n in range(200):
		    make(f"contract-{n}", n)
	END
	after=$(grep -c . "$MNT/metrics")
	equal "$before" "$after"
	run ! grep -F contract- "$MNT/metrics"
}

@test "a pool's name stands escaped in the label" {
	mount_quota 10G -o 'pool=we"ird\\é p'
	metrics_py <<-'END'
		equal(10 * 2**30, plain("capacity_bytes", 'we\\"ird\\\\é p'))
	END
}

@test "promtool finds nothing wrong with the metrics" {
	needs promtool
	mount_quota 10G
	contract c1 1G
	run -0 promtool check metrics <"$MNT/metrics"
	equal "" "$output"
	stop_daemon
	own_disk
	mount_disk -o 'pool=we"ird\\é p'
	run -0 promtool check metrics <"$MNT/metrics"
	equal "" "$output"
}

fetch() {
	curl -sf --max-time 5 "http://$ADDRESS/metrics"
}

@test "prometheus-node-exporter reads them through a link in its textfile directory" {
	needs prometheus-node-exporter curl
	mount_quota 10G
	contract c1 4G
	mkdir "$T/textfile"
	ln -s "$MNT/metrics" "$T/textfile/repo.prom"
	ADDRESS=127.0.0.1:$(py <<<'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
	prometheus-node-exporter --collector.disable-defaults --collector.textfile --collector.textfile.directory="$T/textfile" \
		--web.listen-address="$ADDRESS" </dev/null >/dev/null 2>"$T/exporter.err" 3>&- &
	EXPORTER=$!
	eventually fetch >/dev/null
	fetch >"$T/scraped"
	grep -xF 'reservefs_reserved_bytes{pool="repo"} 4.294967296e+09' "$T/scraped"
	grep -xF 'node_textfile_scrape_error 0' "$T/scraped"
	grep -F 'reservefs_commit_duration_seconds_bucket{pool="repo",le="+Inf"}' "$T/scraped"
	# Each scrape is fresh.
	echo 5G >"$MNT/reservations/c1/size"
	fetch >"$T/scraped"
	grep -xF 'reservefs_reserved_bytes{pool="repo"} 5.36870912e+09' "$T/scraped"
}

@test "promtool accepts the alert rules, and they fire when they should" {
	needs promtool
	run -0 promtool check rules "$CONTRIB/prometheus/reservefs.rules.yml"
	run -0 promtool test rules "$CONTRIB/prometheus/reservefs.test.yml"
}

@test "alerts and dashboard name only metrics that there are" {
	mount_quota 10G
	py "$CONTRIB/prometheus/reservefs.rules.yml" "$CONTRIB/grafana/reservefs.json" <<-'END'
		import json
		there = set(re.findall(r"^(reservefs_[a-z_]+)", raw(fixed("metrics")).decode(), re.M))
		for path in sys.argv[1:]:
		    text = raw(path).decode()
		    named = set(re.findall(r"reservefs_[a-z_]+", text))
		    assert named, path
		    assert named <= there, (path, named - there)
		dashboard = json.loads(raw(sys.argv[2]))
		assert dashboard["uid"] and dashboard["title"] and len(dashboard["panels"]) >= 5
		ids = [panel["id"] for panel in dashboard["panels"]]
		equal(len(ids), len(set(ids)))
		# panels stand side by side, none on another
		taken = set()
		for panel in dashboard["panels"]:
		    at = panel["gridPos"]
		    cells = {(x, y) for x in range(at["x"], at["x"] + at["w"]) for y in range(at["y"], at["y"] + at["h"])}
		    assert not cells & taken and at["x"] + at["w"] <= 24, panel["title"]
		    taken |= cells
	END
}

@test "in the foreground the log goes to stderr: events at notice, a line for each refused request at info" {
	mount_quota 10G
	contract c1
	py <<-'END'
		refused("ENOSPC", put, "c1", "11G")
		refused("EINVAL", put, "c1", "x")
		refused("EPERM", os.mkdir, fixed("y"))
	END
	stop_daemon
	py "$MNT.err" <<-'END'
		lines = raw(sys.argv[1]).decode().splitlines()
		assert all(line.startswith(("<5>", "<6>")) for line in lines), lines
		events = [line for line in lines if line.startswith("<5>")]
		equal(f"<5>{REPO} is served on {MNT}", events[0])
		equal(f"<5>{REPO} is no longer served", events[-1])
		refusals = [line for line in lines if line.startswith("<6>")]
		equal(3, len(refusals))
		for line, path in zip(refusals, ["reservations/c1/size", "reservations/c1/size", "y"]):
		    assert re.fullmatch(rf"<6>uid 0 pid [0-9]+: {path}: .+; .+", line), line
	END
}

@test "a name in the log cannot begin a line of its own or speak to the terminal" {
	mount_quota 10G
	py <<-'END'
		refused("EINVAL", os.mkdir, contract("a\n<0>forged"))
		refused("EINVAL", os.mkdir, contract(b"b\x1b[2J\xff"))
	END
	stop_daemon
	equal 2 "$(grep -c '^<6>' "$MNT.err")"
	run ! grep -aP '^<0>|\x1b|\xff' "$MNT.err"
}

@test "of a flood of refusals some are logged each second, and the rest are counted" {
	mount_quota 10G
	contract c1
	py <<-'END'
		begun = time.monotonic()
		for _ in range(2000):
		    refused("ENOSPC", put, "c1", "11G")
		open(os.path.join(os.path.dirname(MNT), "took"), "w").write(str(time.monotonic() - begun))
	END
	stop_daemon
	py "$MNT.err" "$T/took" <<-'END'
		lines = raw(sys.argv[1]).decode().splitlines()
		took = float(raw(sys.argv[2]))
		written = sum(line.startswith("<6>") for line in lines)
		untold = [int(match[1]) for match in (re.match(r"<4>([0-9]+) earlier lines were not written", line) for line in lines) if match]
		assert 40 <= written <= 50 * (took + 1), (written, took)
		# notices count among the lines that were dropped, too
		assert 2000 <= written + sum(untold) <= 2003, (written, untold)
	END
}

# What runs in a mount namespace of its own, with a /dev that has a syslog socket.
with_syslog() {
	cat >"$T/syslog.sh" <<-'END'
		set -eu
		mkdir "$T/dev"
		mount -t tmpfs tmpfs "$T/dev"
		mknod -m 666 "$T/dev/null" c 1 3
		mknod -m 666 "$T/dev/fuse" c 10 229
		mknod -m 666 "$T/dev/urandom" c 1 9
		mount --rbind "$T/dev" /dev
		exec "$@"
	END
	unshare -m bash "$T/syslog.sh" "$@"
}

@test "in the background the log goes to syslog, by the daemon facility and under its name" {
	with_syslog "$PYTHON" - <<-'END'
		import os, re, socket, subprocess
		mnt, repo, run = os.environ["MNT"], os.environ["REPO"], os.environ["RESERVEFS"]
		log = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
		log.bind("/dev/log")
		log.settimeout(20)

		def next_line():
		    match = re.fullmatch(r"<(\d+)>... .. ..:..:.. ([a-z]+)(?:\[(\d+)\])?: (.*?)\n?", log.recv(8192).rstrip(b"\0").decode())
		    assert match, "not a syslog line"
		    return int(match[1]) & 7, match[2], match[4]

		done = subprocess.run([run, "-o", "repo=quota,capacity=10G", repo, mnt], capture_output=True, text=True)
		assert (done.returncode, done.stdout, done.stderr) == (0, "", ""), done
		def expect(*line):
		    got = next_line()
		    assert got == line, (line, got)

		expect(5, "reservefs", f"{repo} is served on {mnt}")
		os.mkdir(mnt + "/reservations/c1")
		size = os.open(mnt + "/reservations/c1/size", os.O_WRONLY)
		try:
		    os.write(size, b"11G")
		    raise SystemExit("not refused")
		except OSError:
		    os.close(size)
		priority, name, text = next_line()
		assert (priority, name) == (6, "reservefs") and "cannot reserve" in text, text
		subprocess.run(["umount", mnt], check=True)
		expect(5, "reservefs", f"{repo} is no longer served")
	END
}
