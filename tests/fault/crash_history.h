/* SPDX-License-Identifier: MIT */
/*
 * crash_history.h: a fixed history of every kind of change, and what may be found on disk when it ends too soon.
 *
 * What is promised: an answered change is there; a change that was asked for and not answered is there whole or not at
 * all; one that was answered with an error is not there. Creating a contract and removing one of size 0 promise less: they
 * are there once a later change that is durable was answered.
 */
#ifndef TESTS_CRASH_HISTORY_H
#define TESTS_CRASH_HISTORY_H

#include <reservefs/reservations.h>
#include <stdatomic.h>

#define CRASH_NAMES 12
#define CRASH_OPS_MAX 160
#define CRASH_CAPACITY UINT64_C(1000)

/* Contracts are named by an index of crash_names; the last one is as long as a name can be. */
extern const char *const crash_names[CRASH_NAMES];

struct crash_op {
	enum rfs_verb verb;
	unsigned name;
	unsigned new_name;   /* RENAME */
	uint64_t size_bytes; /* RESIZE */
	bool with_next;      /* is not waited for before the next one is asked; never of CREATE */
};

struct crash_history {
	unsigned count;
	struct crash_op ops[CRASH_OPS_MAX];
};

/* Who is there, and with what; by name. All of it is compared. */
struct crash_state {
	struct {
		uint64_t id; /* 0: there is none */
		uint64_t size_bytes;
	} contracts[CRASH_NAMES];
};

/* How far a history has come. It may be in memory shared with another process. */
struct crash_progress {
	struct crash_state start;
	atomic_uint asked;
	atomic_uint answered;
	int errors[CRASH_OPS_MAX];        /* as answered */
	uint64_t ids[CRASH_OPS_MAX];      /* CREATE, answered: the new contract's */
	unsigned settled;                 /* changes that are durable whatever they are: a clean close returned after them */
	char surprise[256];               /* the first answer that was not the right one, in words; "" if none */
};

/* Every kind of change, single and in groups that share a commit. */
void crash_history_of_all_kinds(struct crash_history *h);

/* The same changes to a few contracts over and over; `rounds` is at most CRASH_OPS_MAX / 4. */
void crash_history_of_rounds(struct crash_history *h, unsigned rounds);

/* Whether an answer to `op` may be this error though the rules would not give it: a fault was injected. May be NULL: none
 * may. */
typedef bool (*crash_excuse_fn)(void *user, const struct crash_op *op, int error);

/* Asks for all that has not been asked for yet, and notes the answers. An answer that is neither right nor
 * excused is noted in p->surprise. `after_each` (NULL: nothing) is called after each answer has been noted. */
struct crash_run_options {
	crash_excuse_fn excuse;
	void (*asking)(void *user, unsigned op);
	void (*answered)(void *user, unsigned op);
	bool stop_at_error; /* returns after the first excused error, without having asked for more */
	void *user;
};
void crash_run(struct rfs_reservations *r, const struct crash_history *h, struct crash_progress *p,
	       const struct crash_run_options *options);

/* Reads all there is by every way there is to read it; -EBADMSG where the ways disagree, with a line that says how. */
int crash_read(struct rfs_reservations *r, struct crash_state *ret_state, char *ret_message, size_t message_size);

/* Opens the Datastore `path` as the product does, reads it, removes all contracts, and has SQLite check the file. */
int crash_inspect(const char *path, struct crash_state *ret_state, char *ret_message, size_t message_size);

/* The state that all answers together make. */
void crash_answered_state(const struct crash_history *h, const struct crash_progress *p, struct crash_state *ret_state);

/* Whether `found` may be there after a stop at this progress. An unanswered creation's id isn't known: any will do that
 * nobody else has. If it may not, `ret_message` says what was expected. */
bool crash_may_be(const struct crash_history *h, const struct crash_progress *p, const struct crash_state *found,
		  char *ret_message, size_t message_size);

/* Opens `path` as the product does, with a Repo `quota` of CRASH_CAPACITY. `wrap` (NULL: nothing) may put decorators around
 * the two. */
typedef int (*crash_wrap_fn)(void *user, struct rfs_datastore **ds, struct rfs_repo **repo);
int crash_open(const char *path, crash_wrap_fn wrap, void *user, char *ret_message, size_t message_size,
	       struct rfs_reservations **ret_r);

void crash_describe(const struct crash_state *state, char *ret_text, size_t size);

#endif
