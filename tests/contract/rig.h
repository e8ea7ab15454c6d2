/* SPDX-License-Identifier: MIT */
/*
 * rig.h: Reservations ready to be tested, on a Datastore and a Repo that can be told to fail, with verbs that wait for
 * their answer, a gate to hold the writer at a chosen call, and copies of what a crash would leave.
 */
#ifndef TESTS_CONTRACT_RIG_H
#define TESTS_CONTRACT_RIG_H

#include "../fault/faulty_datastore.h"
#include "../fault/faulty_repo.h"

#include <pthread.h>
#include <reservefs/reservations.h>

enum rig_kind { RIG_MEMORY, RIG_SQLITE };

/* A gate in somebody's way to the Datastore; it lasts as long as the writer. */
struct rig_gate {
	pthread_mutex_t lock;
	pthread_cond_t moved;
	bool open;
	unsigned arrivals;
};

struct rig {
	enum rig_kind kind;
	uint64_t capacity_bytes;
	struct rfs_datastore *ds;    /* faulty, around `inner` */
	struct rfs_datastore *inner;
	struct rfs_repo *repo;       /* faulty, around the quota Repo */
	struct rfs_reservations *r;
	struct rig_gate gates[2];
	const struct rfs_datastore_ops *ops; /* of `inner` by nature */
	struct rfs_datastore_ops lasting;    /* and as it is used: RIG_MEMORY lasts until rig_close */
	struct rfs_why why; /* of the last of the requests below */
	char directory[64]; /* RIG_SQLITE: holds datastore.db, and goes with this rig; else empty */
};

/* Opens everything anew, in a directory of its own; any failure fails the test. */
void rig_open(struct rig *rig, enum rig_kind kind, uint64_t capacity_bytes);
/* Closes; returns what rfs_reservations_close did. */
int rig_close(struct rig *rig);
/* Closes, which must succeed, and opens again what is there. */
void rig_reopen(struct rig *rig);
/* The second half, for a test that has closed `r` itself. */
void rig_attach(struct rig *rig);
/* Opens as `ret_copy` what a crash at this instant would leave; the memory back end holds the copy. */
void rig_crash(struct rig *rig, struct rig *ret_copy);
/* Opens with `ds`, which is then owned, and returns what rfs_reservations_open does; after a failure all is closed. */
int rig_try(struct rig *rig, struct rfs_datastore *ds, uint64_t capacity_bytes, char *ret_message, size_t size);

/* Closes, writes one record as it is, and opens again. */
void rig_damage(struct rig *rig, const char *key, const char *value);

/* Requests that are waited for: 0 or a negative errno. */
int rig_create(struct rig *rig, const char *name, struct rfs_contract **ret_contract);
int rig_resize(struct rig *rig, struct rfs_contract *contract, uint64_t size_bytes);
int rig_remove(struct rig *rig, struct rfs_contract *contract);
int rig_rename(struct rig *rig, struct rfs_contract *contract, const char *new_name);
int rig_sync(struct rig *rig);

/* Those that must succeed. The caller owns a reference to what is returned. */
struct rfs_contract *rig_made(struct rig *rig, const char *name, uint64_t size_bytes);
struct rfs_contract *rig_found(struct rig *rig, const char *name);

/* Judges, failing the test. */
void rig_expect_size(struct rig *rig, const char *name, uint64_t size_bytes);
void rig_expect_none(struct rig *rig, const char *name);
/* Sums, counts, index and totals all tell the same: of what is answered, and, where all is stored, of the records. */
void rig_expect_sound(struct rig *rig, uint64_t reserved_bytes, uint64_t contracts);

/* All names, in listing order, each followed by a space. */
void rig_names(struct rig *rig, uint64_t after_id, char *ret_names, size_t size);

/* A request under way: submitted, and its answer counted and kept. */
struct rig_flight {
	struct rfs_request request; /* first */
	struct rig_tower *tower;
	bool unref; /* lets go of the request's contract with the answer, as closing demands */
	bool answered;
	int error;
	unsigned order; /* 1: the first answer of its tower */
};

struct rig_tower {
	pthread_mutex_t lock;
	pthread_cond_t landed;
	unsigned answers; /* lock; and each flight's answer */
};

#define RIG_TOWER_INIT { .lock = PTHREAD_MUTEX_INITIALIZER, .landed = PTHREAD_COND_INITIALIZER }

void rig_submit(struct rig *rig, struct rig_tower *tower, struct rig_flight *flight);
/* Waits until `count` have been answered; fails the test after a deadline. */
void rig_await(struct rig_tower *tower, unsigned count);
unsigned rig_answers(struct rig_tower *tower);

/* From the next of `calls` on, whoever makes one waits before it at the gate of that number, until it is opened. Closing one
 * gate lets nobody past the other who stands there. */
void rig_gate_close(struct rig *rig, int number, unsigned int calls);
/* The same, but behind the call: what it does is done, and has not been noticed yet. */
void rig_gate_close_behind(struct rig *rig, int number, unsigned int calls);
/* Waits until somebody stands at the gate; fails the test after a deadline. */
void rig_gate_await(struct rig *rig, int number);
/* From here on nobody is stopped, and who stands at this gate goes on. */
void rig_gate_open(struct rig *rig, int number);

/* The same, and leaves alone what was armed since. */
void rig_gate_let(struct rig *rig, int number);

/* Has the nth of `calls`, or all from it on, fail with `error`; nth 0: nothing more fails. */
void rig_fail(struct rig *rig, unsigned int calls, uint64_t nth, bool persistent, int error);
void rig_fail_repo(struct rig *rig, unsigned int calls, uint64_t nth, bool persistent, int error);

/* The monotonic clock, in seconds. */
double rig_now(void);

#endif
