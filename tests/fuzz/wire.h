/* SPDX-License-Identifier: MIT */
/*
 * wire.h: the kernel's side of the FUSE protocol, by hand: a file system that is served over a socket pair, without a mount.
 * What goes wrong here ends the process.
 */
#ifndef TESTS_FUZZ_WIRE_H
#define TESTS_FUZZ_WIRE_H

#include <linux/fuse.h>
#include <pthread.h>
#include <reservefs/reservations.h>
#include <stdbool.h>
#include <stddef.h>

#include "fs/fs.h"

/* The largest message, either way, that is used here. */
#define WIRE_MESSAGE_MAX 65536

struct wire {
	struct rfs_reservations *reservations;
	struct rfs_fs *fs;
	pthread_t server;
	int fd; /* our end */
};

struct wire_reply {
	struct fuse_out_header header;
	char body[WIRE_MESSAGE_MAX];
};

/* Serves a tree of `ds` and `repo`, which it takes over, from a thread of its own. */
void wire_open(struct wire *w, struct rfs_datastore *ds, struct rfs_repo *repo);

/* Ends the session, which must do so with 0. What it knew is gone; its last replies can still be received, and
 * `reservations` are left to be looked at. */
void wire_hang_up(struct wire *w);

/* Closes those, too. */
void wire_close(struct wire *w);

/* Sends one request: the header's length is worked out. It may wait until the other side has read earlier ones. */
void wire_send(struct wire *w, struct fuse_in_header header, const void *argument, size_t size);

/* Takes one message, which must be well-formed. False: none came within `timeout_ms`. A `unique` of 0 marks a notification. */
bool wire_receive(struct wire *w, int timeout_ms, struct wire_reply *ret_reply);

/* The greeting, and its answer. `flags` are what this kernel says it can do. */
void wire_greet(struct wire *w, uint64_t unique, uint64_t flags);

#endif
