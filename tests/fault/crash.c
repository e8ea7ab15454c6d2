/* SPDX-License-Identifier: MIT */
/*
 * crash.c: kills a mounted daemon under load, mounts again, and compares what is there with what was answered.
 *
 *     crash RESERVEFS KILLS [SEED]      as often as that; exit status 0: nothing was lost
 *     crash --find DAEMON KILLS [SEED]  of a daemon with a bug: exit status 0: the bug was found
 *
 * In each round 8 clients change contracts until the daemon is gone: killed with SIGKILL after a random number of
 * answers and a random pause, now and then while it is still starting. Before the next mount SQLite checks a copy of the
 * Datastore; after it, everything is read. Every tenth round all is removed, and all must be available again.
 */
#include "crash_load.h"
#include "crash_scratch.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sqlite3.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define DEADLINE_NS INT64_C(30000000000)
/* "Within one second", and what a busy machine may add. */
#define SOFT_NS INT64_C(1500000000)
#define ANSWERS_MOST 400
#define PAUSE_MOST_NS 3000000
#define SKIPPED 77

struct crash {
	const char *daemon;
	struct crash_scratch scratch; /* of copies */
	char directory[64], repo[80], mountpoint[80], log[80];
	uint64_t random;
	pid_t pid;
	int64_t killed_ns;
	struct load load;
	uint64_t answers, changes;
	unsigned rounds, early;
	char found[512]; /* what is wrong; "" if nothing */
};

static bool __attribute__((format(printf, 2, 3))) wrong(struct crash *c, const char *format, ...)
{
	va_list arguments;

	if (c->found[0])
		return false;
	va_start(arguments, format);
	vsnprintf(c->found, sizeof c->found, format, arguments);
	va_end(arguments);
	return false;
}

static void pause_ns(long ns)
{
	struct timespec t = { 0, ns };
	nanosleep(&t, NULL);
}

/* The daemon */

static void start_daemon(struct crash *c)
{
	char options[64];

	snprintf(options, sizeof options, "repo=quota,capacity=%" PRIu64, LOAD_CAPACITY);
	c->pid = fork();
	if (c->pid)
		return;
	int log = open(c->log, O_WRONLY | O_CREAT | O_TRUNC, 0600);
	dup2(log, STDOUT_FILENO);
	dup2(log, STDERR_FILENO);
	execl(c->daemon, c->daemon, "-f", "-o", options, c->repo, c->mountpoint, NULL);
	_exit(127);
}

static void show_log(const struct crash *c)
{
	char text[1024];
	int fd = open(c->log, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? 0 : read(fd, text, sizeof text);
	if (length > 0)
		fprintf(stderr, "%.*s", (int) length, text);
	if (fd >= 0)
		close(fd);
}

/* Waits until the tree answers. */
static bool await_daemon(struct crash *c)
{
	char path[96];
	struct stat st;
	int status;
	int64_t until = load_now_ns() + DEADLINE_NS;

	snprintf(path, sizeof path, "%s/status", c->mountpoint);
	while (stat(path, &st) < 0) {
		if (waitpid(c->pid, &status, WNOHANG) == c->pid) {
			show_log(c);
			c->pid = 0;
			return wrong(c, "the daemon ended with status %x instead of mounting", status);
		}
		if (load_now_ns() > until)
			return wrong(c, "the daemon did not mount in time");
		pause_ns(500000);
	}
	return true;
}

static void kill_daemon(struct crash *c)
{
	if (!c->pid)
		return;
	kill(c->pid, SIGKILL);
	waitpid(c->pid, NULL, 0);
	c->killed_ns = load_now_ns();
	c->pid = 0;
}

/* Ends it as a user would. */
static bool stop_daemon(struct crash *c)
{
	int status = 0;

	close(c->load.reservations);
	c->load.reservations = -1;
	if (umount2(c->mountpoint, 0) < 0)
		return wrong(c, "umount: %s", strerror(errno));
	waitpid(c->pid, &status, 0);
	c->pid = 0;
	return status == 0 ? true : wrong(c, "the daemon ended with status %x after umount", status);
}

/* Reading what is there */

static bool read_number(struct crash *c, const char *name, uint64_t *ret_number)
{
	char path[128], text[64] = "";

	snprintf(path, sizeof path, "%s/%s", c->mountpoint, name);
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t length = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
	int error = errno;
	if (fd >= 0)
		close(fd);
	if (length <= 0)
		return wrong(c, "%s can't be read: %s", name, strerror(error));
	*ret_number = strtoull(text, NULL, 10);
	return true;
}

/* All contracts that a listing shows, and their sum. */
static bool list(struct crash *c, unsigned *ret_count, uint64_t *ret_sum)
{
	struct dirent *entry;
	char path[400];

	*ret_count = 0;
	*ret_sum = 0;
	snprintf(path, sizeof path, "%s/reservations", c->mountpoint);
	DIR *directory = opendir(path);
	if (!directory)
		return wrong(c, "the contracts can't be listed: %s", strerror(errno));
	errno = 0;
	while ((entry = readdir(directory))) {
		uint64_t size;
		if (entry->d_name[0] == '.')
			continue;
		snprintf(path, sizeof path, "reservations/%.255s/size", entry->d_name);
		if (!read_number(c, path, &size))
			break;
		++*ret_count;
		*ret_sum += size;
	}
	int error = errno;
	closedir(directory);
	return c->found[0] == 0 && (error == 0 || wrong(c, "the contracts can't be listed: %s", strerror(error)));
}

static bool figures_add_up(struct crash *c, unsigned known)
{
	uint64_t sum, reserved, available;
	unsigned count;

	if (!list(c, &count, &sum) || !read_number(c, "reserved", &reserved) || !read_number(c, "available", &available))
		return false;
	if (count != known)
		return wrong(c, "%u contracts are listed, of %u that somebody made", count, known);
	if (reserved != sum || available != LOAD_CAPACITY - sum)
		return wrong(c, "the sizes add up to %" PRIu64 ", reserved is %" PRIu64 ", available %" PRIu64, sum, reserved,
			     available);
	return true;
}

static bool read_client(struct crash *c, const struct load_client *client, struct load_state *ret_state)
{
	char name[32], path[96];
	struct stat st;

	memset(ret_state, 0, sizeof *ret_state);
	for (unsigned slot = 0; slot < LOAD_SLOTS; slot++) {
		load_name(client, slot, name);
		if (fstatat(c->load.reservations, name, &st, 0) < 0) {
			if (errno != ENOENT)
				return wrong(c, "%s: %s", name, strerror(errno));
			continue;
		}
		ret_state->slots[slot].inode = st.st_ino;
		snprintf(path, sizeof path, "reservations/%s/size", name);
		if (!read_number(c, path, &ret_state->slots[slot].size_bytes))
			return false;
	}
	return true;
}

/* Judging it */

static bool may_be(const struct load_state *expected, const struct load_state *found)
{
	for (unsigned i = 0; i < LOAD_SLOTS; i++) {
		uint64_t inode = expected->slots[i].inode, size = expected->slots[i].size_bytes;
		if ((inode == 0) != (found->slots[i].inode == 0))
			return false;
		if (inode > 1 && inode != found->slots[i].inode)
			return false;
		if (size != LOAD_ANY && size != found->slots[i].size_bytes)
			return false;
	}
	return true;
}

/* When the last change began that is durable and was answered: all that was answered before that is durable too. */
static int64_t last_hard_start(const struct crash *c)
{
	int64_t latest = INT64_MIN;
	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		const struct load_client *client = &c->load.clients[i];
		for (unsigned n = 0; n < client->count; n++)
			if (client->notes[n].answered && client->notes[n].hard && client->notes[n].start_ns > latest)
				latest = client->notes[n].start_ns;
	}
	return latest;
}

static bool must_be_there(const struct crash *c, const struct load_note *n, int64_t hard_start)
{
	return n->answered && n->error == 0 && (n->hard || n->end_ns < hard_start || n->end_ns < c->killed_ns - SOFT_NS);
}

static void describe(const struct load_state *s, char *ret_text, size_t size)
{
	size_t length = 0;
	ret_text[0] = 0;
	for (unsigned i = 0; i < LOAD_SLOTS && length < size; i++)
		length += (size_t) snprintf(ret_text + length, size - length, " %" PRIu64 "=%" PRIu64, s->slots[i].inode,
					    s->slots[i].size_bytes);
}

/* What a client may find: what it was answered, less what need not be durable yet, and its last request or not. */
static bool judge_client(struct crash *c, const struct load_client *client, const struct load_state *found)
{
	struct load_state s = client->start, least;
	int64_t hard_start = last_hard_start(c);
	unsigned at_least = 0;
	char expected[128], have[128];

	for (unsigned n = 0; n < client->count; n++)
		if (must_be_there(c, &client->notes[n], hard_start))
			at_least = n + 1;
	least = s;
	for (unsigned n = 0; n <= client->count; n++) {
		if (n == at_least)
			least = s;
		if (n >= at_least && may_be(&s, found))
			return true;
		if (n < client->count && client->notes[n].error == 0)
			load_apply(&s, &client->notes[n]);
	}
	describe(&least, expected, sizeof expected);
	describe(found, have, sizeof have);
	return wrong(c, "client %u: %u requests, the first %u must be there:%s; found:%s", client->number, client->count, at_least,
		     expected, have);
}

/* The note by which the shared contract got `value`; NULL: it had it from the start, or nobody wrote it. */
static const struct load_note *writer_of(const struct crash *c, uint64_t value)
{
	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		const struct load_client *client = &c->load.clients[i];
		for (unsigned n = 0; n < client->count; n++)
			if (client->notes[n].op == LOAD_SHARED_WRITE && client->notes[n].size_bytes == value)
				return &client->notes[n];
	}
	return NULL;
}

/* Whether `n` proves that its value was there, and so must be, or a later one. */
static bool proves(const struct load_note *n)
{
	return n->answered && n->error == 0 && (n->op == LOAD_SHARED_WRITE || n->op == LOAD_SHARED_READ);
}

static bool judge_shared(struct crash *c, uint64_t found)
{
	const struct load_note *from = writer_of(c, found);

	if (!from && found != c->load.shared)
		return wrong(c, "%s has %" PRIu64 ", which nobody wrote", LOAD_SHARED, found);
	if (from && from->answered && from->error)
		return wrong(c, "%s has %" PRIu64 ", which was refused", LOAD_SHARED, found);
	int64_t over_ns = !from ? INT64_MIN : from->answered ? from->end_ns : INT64_MAX;
	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		const struct load_client *client = &c->load.clients[i];
		for (unsigned n = 0; n < client->count; n++) {
			const struct load_note *note = &client->notes[n], *seen = note;
			if (!proves(note) || note->size_bytes == found)
				continue;
			if (note->op == LOAD_SHARED_READ)
				seen = writer_of(c, note->size_bytes);
			if (seen && seen->start_ns > over_ns)
				return wrong(c, "%s has %" PRIu64 ", but %" PRIu64 " was %s after that", LOAD_SHARED, found,
					     note->size_bytes, note == seen ? "written" : "read");
		}
	}
	return true;
}

/* What was found is what the next round begins with. */
static void begin_with(struct crash *c, const struct load_state *found, uint64_t shared)
{
	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		struct load_client *client = &c->load.clients[i];
		for (unsigned n = 0; n < client->count; n++)
			c->changes += client->notes[n].answered && client->notes[n].hard;
		client->start = found[i];
		client->count = 0;
	}
	c->load.shared = shared;
}

static bool judge(struct crash *c)
{
	struct load_state found[LOAD_CLIENTS];
	uint64_t shared = 0;
	unsigned known = 0;
	struct stat st;

	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		const struct load_client *client = &c->load.clients[i];
		if (client->surprise[0])
			return wrong(c, "%s", client->surprise);
		if (!read_client(c, client, &found[i]) || !judge_client(c, client, &found[i]))
			return false;
		for (unsigned slot = 0; slot < LOAD_SLOTS; slot++)
			known += found[i].slots[slot].inode != 0;
	}
	if (c->load.shared && (!read_number(c, "reservations/" LOAD_SHARED "/size", &shared) || !judge_shared(c, shared)))
		return false;
	known += fstatat(c->load.reservations, LOAD_SHARED, &st, 0) == 0;
	begin_with(c, found, shared);
	return figures_add_up(c, known);
}

static int is_ok(void *user, int columns, char **values, char **names)
{
	(void) columns;
	(void) names;
	*(bool *) user = strcmp(values[0], "ok") == 0;
	return 0;
}

/* SQLite's own check, of a copy: to open the file itself would repair it. */
static bool check_copy(struct crash *c)
{
	struct crash_scratch here = { 0 };
	struct crash_files files = { 0 };
	sqlite3 *db = NULL;
	bool ok = false;

	snprintf(here.directory, sizeof here.directory, "%s/.reservefs", c->repo);
	files.main = crash_scratch_read(&here, CRASH_MAIN, &files.main_bytes);
	files.wal = crash_scratch_read(&here, CRASH_WAL, &files.wal_bytes);
	if (files.main) {
		crash_scratch_empty(&c->scratch);
		crash_scratch_write(&c->scratch, CRASH_MAIN, files.main, files.main_bytes);
		if (files.wal)
			crash_scratch_write(&c->scratch, CRASH_WAL, files.wal, files.wal_bytes);
		int code = sqlite3_open(c->scratch.path, &db);
		if (code == SQLITE_OK)
			code = sqlite3_exec(db, "PRAGMA integrity_check", is_ok, &ok, NULL);
		sqlite3_close(db);
	}
	ok = ok || !files.main;
	crash_files_done(&files);
	return ok || wrong(c, "SQLite finds the file damaged");
}

/* Rounds */

static bool find_tree(struct crash *c)
{
	char path[96];

	if (c->load.reservations >= 0)
		close(c->load.reservations);
	snprintf(path, sizeof path, "%s/reservations", c->mountpoint);
	c->load.reservations = open(path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return c->load.reservations >= 0 || wrong(c, "%s: %s", path, strerror(errno));
}

static bool remove_all(struct crash *c)
{
	uint64_t available;
	char name[32];

	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		struct load_client *client = &c->load.clients[i];
		for (unsigned slot = 0; slot < LOAD_SLOTS; slot++) {
			load_name(client, slot, name);
			if (client->start.slots[slot].inode && unlinkat(c->load.reservations, name, AT_REMOVEDIR) < 0)
				return wrong(c, "%s can't be removed: %s", name, strerror(errno));
		}
		memset(&client->start, 0, sizeof client->start);
	}
	if (unlinkat(c->load.reservations, LOAD_SHARED, AT_REMOVEDIR) < 0)
		return wrong(c, LOAD_SHARED " can't be removed: %s", strerror(errno));
	c->load.shared = 0;
	if (!read_number(c, "available", &available) || !figures_add_up(c, 0))
		return false;
	return available == LOAD_CAPACITY || wrong(c, "with nothing left, %" PRIu64 " are available", available);
}

static bool make_shared(struct crash *c)
{
	char text[32];

	if (c->load.shared)
		return true;
	if (mkdirat(c->load.reservations, LOAD_SHARED, 0755) < 0 && errno != EEXIST)
		return wrong(c, LOAD_SHARED " can't be made: %s", strerror(errno));
	uint64_t value = ++c->load.next_shared;
	int length = snprintf(text, sizeof text, "%" PRIu64 "\n", value);
	int fd = openat(c->load.reservations, LOAD_SHARED "/size", O_WRONLY | O_CLOEXEC);
	bool written = fd >= 0 && write(fd, text, (size_t) length) == length;
	if (fd >= 0)
		close(fd);
	if (!written)
		return wrong(c, LOAD_SHARED " can't be written: %s", strerror(errno));
	c->load.shared = value;
	return true;
}

/* Lets the clients work, and kills the daemon in the middle of it. */
static void load_and_kill(struct crash *c)
{
	unsigned answers = (unsigned) (load_random(&c->random) % ANSWERS_MOST);
	int64_t until = load_now_ns() + DEADLINE_NS;

	for (unsigned i = 0; i < LOAD_CLIENTS; i++)
		c->load.clients[i].random = load_random(&c->random);
	load_begin(&c->load);
	while (c->load.answers < answers && load_now_ns() < until)
		pause_ns(100000);
	bool hangs = c->load.answers < answers;
	pause_ns((long) (load_random(&c->random) % PAUSE_MOST_NS));
	kill_daemon(c);
	load_end(&c->load);
	c->answers += c->load.answers;
	if (hangs)
		wrong(c, "%u answers in %lld s", c->load.answers, (long long) (DEADLINE_NS / 1000000000));
}

static bool one_round(struct crash *c)
{
	start_daemon(c);
	if (c->rounds % 16 == 15) {
		/* While it starts, or before the first client has come. */
		pause_ns((long) (load_random(&c->random) % 30000000));
		kill_daemon(c);
		c->early++;
		return check_copy(c);
	}
	if (!await_daemon(c) || !find_tree(c) || !judge(c))
		return false;
	if (c->rounds % 10 == 9 && !remove_all(c))
		return false;
	if (!make_shared(c))
		return false;
	load_and_kill(c);
	return check_copy(c);
}

static bool last_round(struct crash *c)
{
	start_daemon(c);
	return await_daemon(c) && find_tree(c) && judge(c) && make_shared(c) && remove_all(c) && stop_daemon(c);
}

static void prepare(struct crash *c)
{
	c->load.reservations = -1;
	c->load.inodes = calloc((size_t) 1 << 27, 1);
	snprintf(c->directory, sizeof c->directory, "%s/reservefs-crash.XXXXXX", getenv("TMPDIR") ? getenv("TMPDIR") : "/tmp");
	if (!c->load.inodes || !mkdtemp(c->directory)) {
		perror(c->directory);
		exit(2);
	}
	snprintf(c->repo, sizeof c->repo, "%s/repo", c->directory);
	snprintf(c->mountpoint, sizeof c->mountpoint, "%s/mnt", c->directory);
	snprintf(c->log, sizeof c->log, "%s/log", c->directory);
	if (mkdir(c->repo, 0700) < 0 || mkdir(c->mountpoint, 0755) < 0) {
		perror(c->directory);
		exit(2);
	}
	crash_scratch_make(&c->scratch);
}

static void clean_up(struct crash *c)
{
	char command[128];

	kill_daemon(c);
	if (c->load.reservations >= 0)
		close(c->load.reservations);
	(void) umount2(c->mountpoint, MNT_DETACH);
	crash_scratch_remove(&c->scratch);
	snprintf(command, sizeof command, "rm -rf --one-file-system '%s'", c->directory);
	if (system(command) != 0)
		fprintf(stderr, "%s is left over\n", c->directory);
	free(c->load.inodes);
}

int main(int argc, char **argv)
{
	static struct crash c;
	bool find = argc > 1 && strcmp(argv[1], "--find") == 0;

	argc -= find;
	argv += find;
	if (argc < 3) {
		fputs("usage: crash [--find] RESERVEFS KILLS [SEED]\n", stderr);
		return 2;
	}
	if (geteuid() != 0 || access("/dev/fuse", R_OK | W_OK) != 0) {
		fputs("crash: mounting needs root and /dev/fuse\n", stderr);
		return SKIPPED;
	}
	unsigned kills = (unsigned) strtoul(argv[2], NULL, 10);
	c.daemon = argv[1];
	c.random = argc > 3 ? strtoull(argv[3], NULL, 10) : (uint64_t) load_now_ns();
	uint64_t seed = c.random;
	prepare(&c);
	while (c.rounds < kills && one_round(&c))
		c.rounds++;
	if (!c.found[0])
		(void) last_round(&c);
	clean_up(&c);
	printf("%u kills, %u of them of a daemon that was starting; %" PRIu64 " answers, %" PRIu64
	       " of them to durable changes; seed %" PRIu64 "\n",
	       c.rounds, c.early, c.answers, c.changes, seed);
	if (c.found[0])
		printf("%s: %s\n", find ? "found" : "FAILED", c.found);
	return (c.found[0] != 0) == find ? 0 : 1;
}
