/* SPDX-License-Identifier: MIT */
/*
 * wire.c: see wire.h. Invariant: every message that comes out of the file system has been checked for its form before a
 * caller sees it.
 */
#include "wire.h"
#include "fuzz.h"

#include <errno.h>
#include <fuse_opt.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

/* How long a thing may take that is certain to happen. */
#define DEADLINE_MS 20000

static void *serve(void *user)
{
	struct wire *w = user;

	enum rfs_fs_end end;

	return (void *) (intptr_t) rfs_fs_run(w->fs, &end);
}

void wire_open(struct wire *w, struct rfs_datastore *ds, struct rfs_repo *repo)
{
	char name[] = "wire", *argv[] = { name, NULL };
	struct fuse_args args = FUSE_ARGS_INIT(1, argv);
	char message[512];
	int ends[2];

	CHECK(rfs_reservations_open(ds, repo, message, sizeof(message), &w->reservations) == 0);
	const struct rfs_fs_options options = { .reservations = w->reservations, .pool = "wire" };
	CHECK(rfs_fs_new(&args, &options, &w->fs) == 0);
	fuse_opt_free_args(&args);
	CHECK(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) == 0);
	w->fd = ends[0];
	CHECK(rfs_fs_attach(w->fs, ends[1]) == 0);
	CHECK(pthread_create(&w->server, NULL, serve, w) == 0);
}

void wire_hang_up(struct wire *w)
{
	void *result;

	/* not closed: what is unread then would end the session with an error */
	CHECK(shutdown(w->fd, SHUT_WR) == 0);
	CHECK(pthread_join(w->server, &result) == 0);
	CHECK((intptr_t) result == 0);
	rfs_fs_free(w->fs);
}

void wire_close(struct wire *w)
{
	CHECK(close(w->fd) == 0);
	CHECK(rfs_reservations_close(w->reservations) == 0);
}

void wire_send(struct wire *w, struct fuse_in_header header, const void *argument, size_t size)
{
	struct iovec parts[] = {
		{ .iov_base = &header, .iov_len = sizeof(header) },
		{ .iov_base = (void *) (uintptr_t) argument, .iov_len = size },
	};
	ssize_t sent;

	header.len = (uint32_t) (sizeof(header) + size);
	do
		sent = writev(w->fd, parts, size > 0 ? 2 : 1);
	while (sent < 0 && errno == EINTR);
	CHECK(sent == (ssize_t) header.len);
}

bool wire_receive(struct wire *w, int timeout_ms, struct wire_reply *ret_reply)
{
	struct pollfd poll_for = { .fd = w->fd, .events = POLLIN };
	int ready;

	do
		ready = poll(&poll_for, 1, timeout_ms);
	while (ready < 0 && errno == EINTR);
	CHECK(ready >= 0);
	if (ready == 0)
		return false;
	ssize_t length = recv(w->fd, ret_reply, sizeof(*ret_reply), 0);
	const struct fuse_out_header *header = &ret_reply->header;
	if (length == 0)
		return false; /* hung up */
	CHECK(length >= (ssize_t) sizeof(*header));
	CHECK(header->len == (size_t) length);
	if (header->unique == 0)
		return true; /* where a reply has its error, a notification has its code */
	CHECK(header->error <= 0 && header->error > -1000);
	CHECK(header->error == 0 || header->len == sizeof(*header));
	return true;
}

void wire_greet(struct wire *w, uint64_t unique, uint64_t flags)
{
	static struct wire_reply reply;
	const struct fuse_init_in init = {
		.major = FUSE_KERNEL_VERSION,
		.minor = 36,
		.max_readahead = 131072,
		.flags = (uint32_t) flags,
		.flags2 = (uint32_t) (flags >> 32),
	};

	wire_send(w, (struct fuse_in_header) { .opcode = FUSE_INIT, .unique = unique }, &init, sizeof(init));
	CHECK(wire_receive(w, DEADLINE_MS, &reply));
	CHECK(reply.header.unique == unique && reply.header.error == 0);
}
