/* SPDX-License-Identifier: MIT */
/*
 * history.h: what concurrent clients asked of one set of contracts, and what they were answered.
 *
 * As text, one line a fact; lines that begin with '%' are comments:
 *
 *     capacity BYTES                     the most that may be promised
 *     contract NAME ID BYTES             is there when the history begins
 *     linger                             names do so; see below
 *     tolerate ERRNO                     an answer that any request may get, and that says that nothing changed
 *     CLIENT START END OP ARGUMENTS = RESULT
 *
 * START and END are nanoseconds of one clock; END is '-' where no answer came. RESULT is '?' then, else `ok` or
 * the name of an errno, and the values of the answer, '-' where the client could not know one:
 *
 *     create NAME           ok ID | EEXIST
 *     find NAME             ok ID | ENOENT
 *     resize ID BYTES|max   ok OLD_BYTES NEW_BYTES | ENOSPC MOST_BYTES (that could have been asked for) | ENODEV
 *     size ID               ok BYTES | ENODEV
 *     remove_id ID          ok | ENODEV
 *     remove NAME           ok | ENOENT
 *     forget NAME           ok; see below
 *     rename_id ID NAME     ok | EEXIST | ENODEV
 *     rename NAME NAME      ok | EEXIST | ENOENT
 *     available             ok BYTES
 *     reserved              ok BYTES
 *     status                ok RESERVED_BYTES AVAILABLE_BYTES CONTRACTS
 *
 * A kernel goes by the names that it knows until a change of them has been answered. Where requests pass through one, names
 * linger: each successful `remove` is accompanied by a `forget` with the same START and END, and in between, not after it, the
 * contract that is gone is still found.
 */
#ifndef TESTS_HISTORY_H
#define TESTS_HISTORY_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#define HISTORY_EVENTS_MAX 256
#define HISTORY_NAMES_MAX 8
#define HISTORY_IDS_MAX 64
#define HISTORY_TOLERATED_MAX 8
#define HISTORY_VALUES 3

/* The END of a request without an answer. */
#define NEVER INT64_MAX
/* The `error` of such a request. */
#define ERROR_UNKNOWN (-1)
/* A value of an answer that the client could not know. */
#define VALUE_UNKNOWN UINT64_MAX
/* The amount that stands for `max`. */
#define AMOUNT_ALL UINT64_MAX
/* An id that is not known, or not given by this kind of request. */
#define ID_UNKNOWN UINT64_MAX

enum op {
	OP_CREATE,
	OP_FIND,
	OP_RESIZE,
	OP_SIZE,
	OP_REMOVE_ID,
	OP_REMOVE,
	OP_RENAME_ID,
	OP_RENAME,
	OP_FORGET,
	OP_AVAILABLE,
	OP_RESERVED,
	OP_STATUS,
	OP_COUNT,
};

struct event {
	unsigned client;
	int64_t start_ns;
	int64_t end_ns; /* NEVER: no answer came */
	enum op op;
	unsigned name;     /* an index of history.names */
	unsigned new_name; /* the same; of the renames */
	uint64_t id;       /* the contract that was meant, where it is named by id */
	uint64_t amount_bytes;
	int error; /* 0, a positive errno, or ERROR_UNKNOWN */
	uint64_t got[HISTORY_VALUES];
};

struct history {
	uint64_t capacity_bytes;
	unsigned name_count;
	char names[HISTORY_NAMES_MAX][32];
	struct {
		bool present;
		uint64_t id;
		uint64_t size_bytes;
	} initial[HISTORY_NAMES_MAX]; /* by name */
	bool names_linger;
	unsigned tolerated_count;
	int tolerated[HISTORY_TOLERATED_MAX];
	unsigned event_count;
	struct event events[HISTORY_EVENTS_MAX];
};

void history_init(struct history *h, uint64_t capacity_bytes);

/* The index of `name`, which is added where it is new. -ENOSPC: there are too many, or it is too long. */
int history_name(struct history *h, const char *name, unsigned *ret_index);

/* A new event with nothing answered yet; NULL: there are too many. */
struct event *history_add(struct history *h, unsigned client, enum op op);

/* Reads the text form. On -EINVAL and -ENOSPC `ret_line` is the number of the line that is wrong. */
int history_read(FILE *in, struct history *h, unsigned *ret_line);
void history_write(FILE *out, const struct history *h);

/* One event, without a newline. */
void history_write_event(FILE *out, const struct history *h, const struct event *e);

#endif
