/* SPDX-License-Identifier: MIT */
/*
 * stall.h: calls that may never return, such as fstatvfs of a storage that hangs, made by a thread that has a role which others
 * depend on. Where such a call takes longer than RFS_STALL_MS the role is taken from the thread, so that another one can have
 * it. One thread of this module watches all of them; while no call is under way it sleeps.
 */
#ifndef RFS_UTIL_STALL_H
#define RFS_UTIL_STALL_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <sys/queue.h>

/* How long a role may be kept from everybody else by a call that does not return. */
#define RFS_STALL_MS 20

/* A role that one thread at a time has, and that may make such calls. */
struct rfs_stall {
	/* Once a call takes too long: the role is free from here on. By the watching thread, with a lock held that
	 * rfs_stall_begin takes, so that must not be called with a lock held that this takes. */
	void (*on_stall)(void *user);
	void *user;
	_Atomic int64_t since_ns;        /* when the call under way began (CLOCK_MONOTONIC); 0: none is */
	LIST_ENTRY(rfs_stall) link;
};

/* Begins to watch. -EAGAIN, -ENOMEM: there is no thread to be had for it. */
int rfs_stall_init(struct rfs_stall *stall, void (*on_stall)(void *user), void *user);

/* Ends that; on_stall is not running when it returns, and is not called any more. Not from on_stall. */
void rfs_stall_done(struct rfs_stall *stall);

/* Around the call, by the thread that has the role. rfs_stall_end: whether it still has it. */
void rfs_stall_begin(struct rfs_stall *stall);
bool rfs_stall_end(struct rfs_stall *stall);

#endif
