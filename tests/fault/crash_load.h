/* SPDX-License-Identifier: MIT */
/*
 * crash_load.h: clients of a mounted tree that note what they asked for and what they were answered, and outlive the daemon.
 *
 * Each client has contracts of its own, so that what it may find after a crash follows from its own notes; they share the
 * capacity, which is small, and one contract that all of them write.
 */
#ifndef TESTS_CRASH_LOAD_H
#define TESTS_CRASH_LOAD_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#define LOAD_CLIENTS 8
#define LOAD_SLOTS 4
#define LOAD_NOTES 4096
#define LOAD_CAPACITY UINT64_C(1000000)
#define LOAD_SHARED "shared"

/* A size that isn't known: `max` was asked for, and not read back. */
#define LOAD_ANY UINT64_MAX

enum load_op { LOAD_MKDIR, LOAD_WRITE, LOAD_UNLINK, LOAD_RMDIR, LOAD_RENAME, LOAD_FSYNC, LOAD_SHARED_WRITE, LOAD_SHARED_READ };

/* A client's own contracts. */
struct load_state {
	struct {
		uint64_t inode; /* 0: there is none; 1: there is one, of an inode that isn't known */
		uint64_t size_bytes;
	} slots[LOAD_SLOTS];
};

struct load_note {
	enum load_op op;
	unsigned slot, new_slot;
	uint64_t size_bytes;  /* WRITE: asked for, LOAD_ANY is `max`; SHARED_WRITE; SHARED_READ: what was read */
	uint64_t inode;       /* MKDIR: as found afterwards, or 1 */
	int64_t start_ns, end_ns;
	bool answered;
	int error;
	bool hard;            /* a success of it makes it, and all before it, durable */
};

struct load_client {
	struct load *load;
	unsigned number;
	pthread_t thread;
	uint64_t random;
	struct load_state start, state; /* when the round began; as answered so far */
	unsigned count;
	struct load_note notes[LOAD_NOTES];
	char surprise[256];
};

struct load {
	const char *mountpoint;
	int reservations;        /* the directory; -1: the daemon was gone before it could be opened */
	struct load_client clients[LOAD_CLIENTS];
	atomic_uint answers;
	atomic_bool over;        /* asks the clients to end, where nobody kills the daemon */
	atomic_uint_least64_t next_shared;
	uint64_t shared;         /* what the shared contract had when the round began; 0: it may be missing */
	unsigned char *inodes;   /* a bit for each one ever given to a contract */
};

/* Starts all clients on what `load->clients[].start` says is there. */
void load_begin(struct load *load);

/* Waits until all of them have noticed that the daemon is gone, or that `over` is set. */
void load_end(struct load *load);

void load_name(const struct load_client *c, unsigned slot, char ret_name[32]);
int64_t load_now_ns(void);
uint64_t load_random(uint64_t *state);

/* Does a note's change to a state, as a success. */
void load_apply(struct load_state *s, const struct load_note *n);

#endif
