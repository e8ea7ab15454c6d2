/* SPDX-License-Identifier: MIT */
/*
 * model.h: what one client alone would see: contracts with a name, an id and a size, whose sum stays within a capacity.
 */
#ifndef TESTS_MODEL_H
#define TESTS_MODEL_H

#include "history.h"

/* No padding: states are compared and hashed as bytes. */
struct model {
	uint64_t capacity_bytes;
	uint64_t removed;                       /* a bit for each index of ids: was there, and is gone */
	uint64_t size_bytes[HISTORY_NAMES_MAX]; /* by name; 0 where there is no contract */
	int8_t id[HISTORY_NAMES_MAX];           /* by name: an index of ids, MODEL_NO_ID, or MODEL_ABSENT */
	int8_t ghost[HISTORY_NAMES_MAX];        /* the same, of a contract that is gone and may still be found */
};

#define MODEL_ABSENT (-1)
/* There is a contract, and nobody has been told its id yet. */
#define MODEL_NO_ID (-2)

/* The ids that occur in one history, as small numbers. */
struct model_ids {
	unsigned count;
	uint64_t ids[HISTORY_IDS_MAX];
};

/* The state that `h` begins with, and the ids that occur in it. -ENOSPC: more than HISTORY_IDS_MAX. */
int model_init(struct model *m, struct model_ids *ids, const struct history *h);

/*
 * Whether `m` would answer `e` as it was answered; then `m` is what it is after that. Otherwise `m` is unchanged.
 * A request without an answer is always right.
 */
bool model_apply(struct model *m, const struct model_ids *ids, const struct history *h, const struct event *e);

#endif
