/* SPDX-License-Identifier: MIT */
/*
 * tree_load.c: workloads on a mounted tree (reservefs, the do-nothing file system, or plain files on tmpfs), done with
 * the system calls that cat, stat, df, echo, mkdir, rm, ls and find make, without the start of a process each.
 *
 * Invariant: a client of `resize` and `cycle` uses contracts that no other client uses, named by its number.
 */
#include "load.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <unistd.h>

struct linux_dirent64 {
	uint64_t d_ino;
	int64_t d_off;
	unsigned short d_reclen;
	unsigned char d_type;
	char d_name[];
};

#define PATH_SIZE 1024
#define LISTING_SIZE (32 * 1024) /* what glibc's readdir asks for at a time */

struct paths {
	char file[PATH_SIZE];
	char directory[PATH_SIZE];
	unsigned length; /* of a fixed part of `file` or `directory`, for those that append to it */
	uint64_t order;  /* for lookup: an odd multiplier */
	int listing;     /* for ls and find: the open `reservations`, or -1 */
	char buffer[LISTING_SIZE];
};

static struct paths *new_paths(struct bench_client *client)
{
	struct paths *paths = calloc(1, sizeof *paths);

	if (!paths)
		abort();
	paths->listing = -1;
	client->state = paths;
	return paths;
}

/* ---- one file ---- */

static int open_file(struct bench_client *client)
{
	struct paths *paths = new_paths(client);

	snprintf(paths->file, sizeof paths->file, "%s/%s", client->plan->target, client->plan->file);
	return 0;
}

static int64_t run_read(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	(void) turn;

	int fd = open(paths->file, O_RDONLY);
	if (fd < 0)
		return bench_fail(errno, "open %s", paths->file);
	if (read(fd, paths->buffer, sizeof paths->buffer) <= 0)
		return bench_fail(errno ? errno : ENODATA, "read %s", paths->file);
	close(fd);
	return 1;
}

static int64_t run_stat(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	struct stat st;
	(void) turn;

	if (stat(paths->file, &st) < 0)
		return bench_fail(errno, "stat %s", paths->file);
	return 1;
}

static int64_t run_df(struct bench_client *client, uint64_t turn)
{
	struct statvfs st;
	(void) turn;

	if (statvfs(client->plan->target, &st) < 0)
		return bench_fail(errno, "statvfs %s", client->plan->target);
	return 1;
}

/* ---- changes ---- */

/* What a shell's `echo SIZE > FILE` does. */
static int write_size(const char *path, uint64_t size)
{
	char text[32];
	int length = snprintf(text, sizeof text, "%llu\n", (unsigned long long) size);

	int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0666);
	if (fd < 0)
		return bench_fail(errno, "open %s", path);
	if (write(fd, text, (size_t) length) != length) {
		int error = errno;
		close(fd);
		return bench_fail(error, "write %s", path);
	}
	if (close(fd) < 0)
		return bench_fail(errno, "close %s", path);
	return 0;
}

static void contract_paths(const struct bench_plan *plan, unsigned index, struct paths *paths)
{
	snprintf(paths->directory, sizeof paths->directory, "%s/reservations/%s-%u", plan->target, plan->prefix, index);
	snprintf(paths->file, sizeof paths->file, "%s/reservations/%s-%u/size", plan->target, plan->prefix, index);
}

/* Makes a contract for each client. They stay, so that the next run finds them. */
static int init_resize(const struct bench_plan *plan)
{
	struct paths paths;

	for (unsigned i = 0; i < plan->clients; i++) {
		contract_paths(plan, i, &paths);
		if (mkdir(paths.directory, 0777) < 0 && errno != EEXIST)
			return bench_fail(errno, "mkdir %s", paths.directory);
	}
	return 0;
}

static int open_resize(struct bench_client *client)
{
	contract_paths(client->plan, client->index, new_paths(client));
	return 0;
}

static int open_resize_one(struct bench_client *client)
{
	contract_paths(client->plan, 0, new_paths(client));
	return 0;
}

static int64_t run_resize(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;

	int r = write_size(paths->file, bench_size(client->plan, turn));
	return r < 0 ? r : 1;
}

static int make_contract(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	const struct bench_plan *plan = client->plan;

	snprintf(paths->directory, sizeof paths->directory, "%s/reservations/%s-cycle-%u-%llu", plan->target,
		 plan->prefix, client->index, (unsigned long long) turn);
	snprintf(paths->file, sizeof paths->file, "%s/reservations/%s-cycle-%u-%llu/size", plan->target, plan->prefix,
		 client->index, (unsigned long long) turn);
	if (mkdir(paths->directory, 0777) < 0)
		return bench_fail(errno, "mkdir %s", paths->directory);
	return 0;
}

static int open_cycle(struct bench_client *client)
{
	new_paths(client);
	return 0;
}

/* mkdir NAME; echo SIZE > NAME/size; rm -r NAME */
static int64_t run_cycle(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;

	int r = make_contract(client, turn);
	if (r >= 0)
		r = write_size(paths->file, bench_size(client->plan, turn));
	if (r < 0)
		return r;
	if (unlink(paths->file) < 0)
		return bench_fail(errno, "unlink %s", paths->file);
	if (rmdir(paths->directory) < 0)
		return bench_fail(errno, "rmdir %s", paths->directory);
	return 1;
}

/* Without a size in between: neither half promises space. On plain files there is nothing to unlink either. */
static int64_t run_mkdir_rmdir(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;

	int r = make_contract(client, turn);
	if (r < 0)
		return r;
	if (rmdir(paths->directory) < 0)
		return bench_fail(errno, "rmdir %s", paths->directory);
	return 1;
}

static int64_t run_mkdir(struct bench_client *client, uint64_t turn)
{
	int r = make_contract(client, turn);
	return r < 0 ? r : 1;
}

/* Removes what `mkdir` made with the same seed and prefix. */
static int64_t run_rmdir(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	const struct bench_plan *plan = client->plan;

	snprintf(paths->directory, sizeof paths->directory, "%s/reservations/%s-cycle-%u-%llu", plan->target,
		 plan->prefix, client->index, (unsigned long long) turn);
	if (rmdir(paths->directory) < 0)
		return bench_fail(errno, "rmdir %s", paths->directory);
	return 1;
}

/* ---- many contracts, as tests/bench/generate names them ---- */

static int open_many(struct bench_client *client)
{
	struct paths *paths = new_paths(client);
	const struct bench_plan *plan = client->plan;

	paths->length = (unsigned) snprintf(paths->file, sizeof paths->file, "%s/reservations/%s", plan->target,
					    plan->prefix);
	/* turn * order, seen as a fraction, walks through all names without a pattern that the disk would like. */
	paths->order = (plan->seed * 2 + 1) * UINT64_C(0x9E3779B97F4A7C15) | 1;
	return 0;
}

/* A number below `names`, for each turn and client another one as far as chance allows. */
static uint64_t choose(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	uint64_t x = (turn * client->plan->clients + client->index + 1) * paths->order;

	return (uint64_t) (((unsigned __int128) x * client->plan->names) >> 64);
}

static int64_t run_lookup(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	struct stat st;

	snprintf(paths->file + paths->length, sizeof paths->file - paths->length, "%08llu",
		 (unsigned long long) choose(client, turn));
	if (stat(paths->file, &st) < 0)
		return bench_fail(errno, "stat %s", paths->file);
	return 1;
}

static int64_t run_lookup_missing(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	struct stat st;

	snprintf(paths->file + paths->length, sizeof paths->file - paths->length, "%08llu-no",
		 (unsigned long long) choose(client, turn));
	if (stat(paths->file, &st) == 0 || errno != ENOENT)
		return bench_fail(EEXIST, "stat %s", paths->file);
	return 1;
}

static int64_t run_resize_any(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;

	snprintf(paths->file + paths->length, sizeof paths->file - paths->length, "%08llu/size",
		 (unsigned long long) choose(client, turn));
	/* Unlike what it was generated with, and unlike what another seed wrote. */
	int r = write_size(paths->file, client->plan->size_bytes + client->plan->seed * 10000 + turn % 10000 + 1);
	return r < 0 ? r : 1;
}

/* ---- listings ---- */

static int open_listing(struct bench_client *client)
{
	struct paths *paths = new_paths(client);

	snprintf(paths->directory, sizeof paths->directory, "%s/reservations", client->plan->target);
	return 0;
}

/* One whole listing; as many operations as it has names. */
static int64_t run_ls(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	int64_t names = 0;
	(void) turn;

	int fd = open(paths->directory, O_RDONLY | O_DIRECTORY);
	if (fd < 0)
		return bench_fail(errno, "open %s", paths->directory);
	for (;;) {
		long got = syscall(SYS_getdents64, fd, paths->buffer, sizeof paths->buffer);
		if (got < 0) {
			int error = errno;
			close(fd);
			return bench_fail(error, "getdents64 %s", paths->directory);
		}
		if (got == 0)
			break;
		for (long at = 0; at < got; names++)
			at += ((struct linux_dirent64 *) (void *) (paths->buffer + at))->d_reclen;
	}
	close(fd);
	return names;
}

/* Looks for the name `size` in one directory, as find(1) does: open, list, close. */
static int find_size(int parent, const char *name)
{
	char listing[4096];
	int found = 0;

	int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW);
	if (fd < 0)
		return bench_fail(errno, "open %s", name);
	for (;;) {
		long got = syscall(SYS_getdents64, fd, listing, sizeof listing);
		if (got <= 0)
			break;
		for (long at = 0; at < got;) {
			struct linux_dirent64 *entry = (void *) (listing + at);
			found += strcmp(entry->d_name, "size") == 0;
			at += entry->d_reclen;
		}
	}
	close(fd);
	return found == 1 ? 0 : bench_fail(ENOENT, "%s/size", name);
}

/* A turn visits the contracts of one buffer of the listing, and begins again after the last. */
static int64_t run_find(struct bench_client *client, uint64_t turn)
{
	struct paths *paths = client->state;
	int64_t visited = 0;
	(void) turn;

	if (paths->listing < 0)
		paths->listing = open(paths->directory, O_RDONLY | O_DIRECTORY);
	if (paths->listing < 0)
		return bench_fail(errno, "open %s", paths->directory);
	long got = syscall(SYS_getdents64, paths->listing, paths->buffer, sizeof paths->buffer);
	if (got < 0)
		return bench_fail(errno, "getdents64 %s", paths->directory);
	if (got == 0) {
		close(paths->listing);
		paths->listing = -1;
		return 0;
	}
	for (long at = 0; at < got;) {
		struct linux_dirent64 *entry = (void *) (paths->buffer + at);
		at += entry->d_reclen;
		if (entry->d_name[0] == '.')
			continue;
		int r = find_size(paths->listing, entry->d_name);
		if (r < 0)
			return r;
		visited++;
	}
	return visited;
}

const struct bench_workload bench_tree_workloads[] = {
	{ "read", "open, read and close FILE (-f)", NULL, open_file, run_read, NULL },
	{ "stat", "stat FILE (-f)", NULL, open_file, run_stat, NULL },
	{ "df", "statvfs of the mount point", NULL, NULL, run_df, NULL },
	{ "resize-one", "open, truncate, write and close the size of one contract for all clients", init_resize,
	  open_resize_one, run_resize, NULL },
	{ "resize", "the same, each client a contract of its own", init_resize, open_resize, run_resize, NULL },
	{ "cycle", "mkdir, write the size, unlink it, rmdir", NULL, open_cycle, run_cycle, NULL },
	{ "mkdir-rmdir", "mkdir, rmdir", NULL, open_cycle, run_mkdir_rmdir, NULL },
	{ "mkdir", "mkdir (with -n)", NULL, open_cycle, run_mkdir, NULL },
	{ "rmdir", "rmdir what `mkdir` with the same -n made", NULL, open_cycle, run_rmdir, NULL },
	{ "lookup", "stat of generated contracts (-N, -p) in no order", NULL, open_many, run_lookup, NULL },
	{ "lookup-missing", "stat of names that do not exist", NULL, open_many, run_lookup_missing, NULL },
	{ "resize-any", "resize of generated contracts (-N, -p) in no order", NULL, open_many, run_resize_any, NULL },
	{ "ls", "list all of reservations; an operation is a name", NULL, open_listing, run_ls, NULL },
	{ "find", "list reservations and each contract; an operation is a contract", NULL, open_listing, run_find,
	  NULL },
	{ NULL, NULL, NULL, NULL, NULL, NULL },
};
