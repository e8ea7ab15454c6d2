/* SPDX-License-Identifier: MIT */
/* subject_planted.h: something that keeps contracts in memory, with a bug of your choice. */
#ifndef TESTS_SUBJECT_PLANTED_H
#define TESTS_SUBJECT_PLANTED_H

#include "record.h"

enum planted_bug {
	PLANTED_NONE,           /* one lock around everything: right */
	PLANTED_CHECK_THEN_ACT, /* what is available is looked up in one critical section, and taken in another */
	PLANTED_STALE_READ,     /* reads are answered from a copy that is one change old at times */
	PLANTED_DOUBLE_RELEASE, /* two that release one contract both give its space back */
	PLANTED_LOST_UPDATE,    /* the sum is read and written back outside the lock */
	PLANTED_TORN_STATUS,    /* the figures of one status are read one by one */
};

struct subject *subject_planted_new(enum planted_bug bug, uint64_t capacity_bytes);
void subject_planted_free(struct subject *s);

#endif
