/* SPDX-License-Identifier: MIT */
/*
 * check.h: whether a history is linearizable: whether each request can have happened at one instant between its start
 * and its end, so that one client alone would have got the same answers in that order.
 */
#ifndef TESTS_CHECK_H
#define TESTS_CHECK_H

#include "history.h"

struct check_result {
	bool linearizable;
	uint64_t states;          /* how many were looked at */
	unsigned order_count;     /* the longest order found that agrees with the answers: indexes of events */
	unsigned order[HISTORY_EVENTS_MAX];
};

/* -ENOSPC: the history has too many ids; -ENOMEM. */
int check_history(const struct history *h, struct check_result *ret_result);

/* Says why a history is not linearizable, for people: the longest order, and what could not follow it. */
void check_explain(FILE *out, const struct history *h, const struct check_result *result);

#endif
