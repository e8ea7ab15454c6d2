/* SPDX-License-Identifier: MIT */
/*
 * record.h: lets concurrent clients loose on something that keeps contracts, records what they ask and are
 * answered, and checks it.
 */
#ifndef TESTS_RECORD_H
#define TESTS_RECORD_H

#include "history.h"

/* How many contracts a client can hold on to at a time. */
#define SUBJECT_SLOTS 2
#define SUBJECT_CLIENTS_MAX 8

struct subject;

/* One request, as its client decides on it. */
struct request {
	enum op op;
	const char *name;
	const char *new_name;
	unsigned slot; /* the contract that is meant, where it is named by id; FIND and CREATE put what they got there */
	uint64_t amount_bytes;
	uint64_t random; /* for the subject, where it has more than one way to ask for the same thing */
};

struct subject_ops {
	/* Does it for `client`, and writes id, error and got of `ret_event`. Called by one thread for each client. */
	void (*perform)(struct subject *s, unsigned client, const struct request *request, struct event *ret_event);

	/* Whether the client holds a contract in this slot. */
	bool (*holds)(struct subject *s, unsigned client, unsigned slot);

	/* Lets go of all that the client holds. */
	void (*forget)(struct subject *s, unsigned client);

	/* A bit for each enum op that can be asked for. */
	unsigned can;

	/* Whether a name may be found until its removal is answered; see history.h. */
	bool names_linger;
};

struct subject {
	const struct subject_ops *ops;
};

struct record_options {
	unsigned clients;
	unsigned requests_per_client;
	unsigned names;
	uint64_t capacity_bytes; /* of the subject; small, so that clients race for the last byte */
	uint64_t seed;
};

struct record_result {
	unsigned histories; /* that were recorded */
	bool linearizable;  /* all of them */
	uint64_t requests;
	uint64_t overlapping; /* requests that ran beside one of another client */
	uint64_t refused;     /* requests answered with ENOSPC */
	uint64_t states;
};

/* Records and checks up to `histories` of them, and stops at the first that is not linearizable, which is explained
 * to `explain` (NULL: to nobody). */
int record_histories(struct subject *s, const struct record_options *options, unsigned histories, FILE *explain,
		     struct record_result *ret_result);

#endif
