/* SPDX-License-Identifier: MIT */
/*
 * subject_tree.c: the mounted tree as a subject. What a path names may change between the system calls of one request, so
 * only single calls are requests: a contract is found by opening its directory, is known by that directory's inode
 * number, and is asked through that open directory from then on.
 */
#include "subject_tree.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

struct held {
	int dirfd;  /* the contract's directory; -1: none */
	int sizefd; /* its size, open since it was found; -1: it was gone by then */
	uint64_t id;
};

struct tree {
	struct subject base;
	int root, reservations;
	struct held held[SUBJECT_CLIENTS_MAX][SUBJECT_SLOTS];
};

static void let_go(struct held *held)
{
	if (held->dirfd >= 0)
		close(held->dirfd);
	if (held->sizefd >= 0)
		close(held->sizefd);
	*held = (struct held){ -1, -1, 0 };
}

/* Somebody else may have unlinked it, which hides it until it is created again. */
static int open_size(int dirfd)
{
	return openat(dirfd, "size", O_RDWR | O_CREAT | O_CLOEXEC, 0644);
}

static int find(struct tree *t, struct held *held, const char *name, uint64_t *ret_id)
{
	struct stat st;
	int fd = openat(t->reservations, name, O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	if (fstat(fd, &st) < 0) {
		int error = errno;
		close(fd);
		return error;
	}
	let_go(held);
	*held = (struct held){ fd, open_size(fd), st.st_ino };
	*ret_id = st.st_ino;
	return 0;
}

/* A contract that is gone has no `size`, or one that says so. */
static int as_gone(int error)
{
	return error == ENOENT ? ENODEV : error;
}

/* The open file, or a new one: both must do. Returns the errno. */
static int size_file(const struct held *held, uint64_t random, int *ret_fd, bool *ret_opened)
{
	*ret_opened = held->sizefd < 0 || random % 2;
	*ret_fd = *ret_opened ? open_size(held->dirfd) : held->sizefd;
	return *ret_fd < 0 ? as_gone(errno) : 0;
}

static int resize(const struct held *held, uint64_t amount_bytes, uint64_t random)
{
	char text[32];
	int fd, error = 0;
	bool opened;

	/* As tools do that replace a file. */
	if (random % 8 < 2)
		(void) unlinkat(held->dirfd, "size", 0);
	int length = amount_bytes == AMOUNT_ALL ? snprintf(text, sizeof text, "max\n")
						: snprintf(text, sizeof text, "%" PRIu64 "\n", amount_bytes);
	error = size_file(held, random, &fd, &opened);
	if (error)
		return error;
	ssize_t written = pwrite(fd, text, (size_t) length, 0);
	if (written != length)
		error = written < 0 ? as_gone(errno) : EBADMSG;
	if (opened)
		close(fd);
	return error;
}

static int read_fd(int fd, char *text, size_t size)
{
	ssize_t length = pread(fd, text, size - 1, 0);
	if (length < 0)
		return errno;
	text[length] = 0;
	return 0;
}

static int parse(const char *text, uint64_t *ret_value)
{
	char *end;
	*ret_value = strtoull(text, &end, 10);
	return end > text && strcmp(end, "\n") == 0 ? 0 : EBADMSG;
}

static int read_size(const struct held *held, uint64_t random, uint64_t *ret_bytes)
{
	char text[64];
	int fd;
	bool opened;

	int error = size_file(held, random, &fd, &opened);
	if (error)
		return error;
	error = read_fd(fd, text, sizeof text);
	if (opened)
		close(fd);
	return error ? as_gone(error) : parse(text, ret_bytes);
}

static int read_file(struct tree *t, const char *name, char *text, size_t size)
{
	int fd = openat(t->root, name, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return errno;
	int error = read_fd(fd, text, size);
	close(fd);
	return error;
}

static int read_figure(struct tree *t, const char *name, uint64_t *ret_bytes)
{
	char text[64];
	int error = read_file(t, name, text, sizeof text);
	return error ? error : parse(text, ret_bytes);
}

static int read_status(struct tree *t, uint64_t *got)
{
	static const char *const wanted[HISTORY_VALUES] = { "\nreserved ", "\navailable ", "\nreservations " };
	char text[4096];

	int error = read_file(t, "status", text, sizeof text);
	if (error)
		return error;
	for (unsigned i = 0; i < HISTORY_VALUES; i++) {
		const char *line = strstr(text, wanted[i]);
		if (!line)
			return EBADMSG;
		got[i] = strtoull(line + strlen(wanted[i]), NULL, 10);
	}
	return 0;
}

static int as_errno(int result)
{
	return result < 0 ? errno : 0;
}

static int do_perform(struct tree *t, struct held *held, const struct request *q, uint64_t *got)
{
	switch (q->op) {
	case OP_CREATE:
		return as_errno(mkdirat(t->reservations, q->name, 0755));
	case OP_FIND:
		return find(t, held, q->name, &got[0]);
	case OP_RESIZE:
		return resize(held, q->amount_bytes, q->random);
	case OP_SIZE:
		return read_size(held, q->random, &got[0]);
	case OP_REMOVE:
		return as_errno(unlinkat(t->reservations, q->name, AT_REMOVEDIR));
	case OP_RENAME:
		return as_errno(renameat(t->reservations, q->name, t->reservations, q->new_name));
	case OP_AVAILABLE:
		return read_figure(t, "available", &got[0]);
	case OP_RESERVED:
		return read_figure(t, "reserved", &got[0]);
	default:
		return read_status(t, got);
	}
}

static void perform(struct subject *s, unsigned client, const struct request *request, struct event *ret_event)
{
	struct tree *t = (struct tree *) s;
	struct held *held = &t->held[client][request->slot];

	if (request->op == OP_RESIZE || request->op == OP_SIZE)
		ret_event->id = held->id;
	ret_event->error = do_perform(t, held, request, ret_event->got);
}

static bool holds(struct subject *s, unsigned client, unsigned slot)
{
	return ((struct tree *) s)->held[client][slot].dirfd >= 0;
}

static void forget(struct subject *s, unsigned client)
{
	for (unsigned i = 0; i < SUBJECT_SLOTS; i++)
		let_go(&((struct tree *) s)->held[client][i]);
}

static const struct subject_ops tree_ops = {
	.perform = perform,
	.holds = holds,
	.forget = forget,
	.can = 1u << OP_CREATE | 1u << OP_FIND | 1u << OP_RESIZE | 1u << OP_SIZE | 1u << OP_REMOVE | 1u << OP_RENAME |
	       1u << OP_AVAILABLE | 1u << OP_RESERVED | 1u << OP_STATUS,
	.names_linger = true,
};

struct subject *subject_tree_new(const char *mountpoint)
{
	struct tree *t = calloc(1, sizeof *t);
	if (!t)
		return NULL;
	t->base.ops = &tree_ops;
	for (unsigned client = 0; client < SUBJECT_CLIENTS_MAX; client++)
		for (unsigned i = 0; i < SUBJECT_SLOTS; i++)
			t->held[client][i] = (struct held){ -1, -1, 0 };
	t->root = open(mountpoint, O_PATH | O_DIRECTORY | O_CLOEXEC);
	t->reservations = t->root < 0 ? -1 : openat(t->root, "reservations", O_PATH | O_DIRECTORY | O_CLOEXEC);
	if (t->reservations < 0) {
		int error = errno;
		subject_tree_free(&t->base);
		errno = error;
		return NULL;
	}
	return &t->base;
}

void subject_tree_free(struct subject *s)
{
	struct tree *t = (struct tree *) s;
	if (!t)
		return;
	for (unsigned client = 0; client < SUBJECT_CLIENTS_MAX; client++)
		forget(s, client);
	if (t->reservations >= 0)
		close(t->reservations);
	if (t->root >= 0)
		close(t->root);
	free(t);
}
