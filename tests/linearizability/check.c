/* SPDX-License-Identifier: MIT */
/*
 * check.c: the search for an order, after Wing and Gong, with Lowe's memory of what was tried already.
 *
 * A request can be next if no other one that has still to be placed ended before it began. The search places one of
 * those that can be next and agrees with the model, goes on from there, and comes back for another when that leads
 * nowhere. Which requests are placed and the state of the model are all that decides how it goes on, so no such pair is
 * looked at twice. Contracts can't be checked one by one: they share the capacity.
 *
 * A read, or a request that was refused, is placed at once and for good where it agrees: it changes nothing wherever it is
 * placed, so any order that exists from here on exists with it here as well. (That does not hold for a change that
 * happens to make no difference here: elsewhere it may, and be needed.)
 */
#include "check.h"
#include "model.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
/* A hash that can't grow would otherwise end the process. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

#define SET_WORDS (HISTORY_EVENTS_MAX / 64)

struct position {
	uint64_t placed[SET_WORDS];
	struct model model;
};

struct visited {
	struct position position;
	UT_hash_handle hh;
};

struct search {
	const struct history *h;
	struct model_ids ids;
	struct visited *visited;
	struct check_result *result;
	unsigned answered; /* requests that have an answer, and so must be placed */
	unsigned depth;
	unsigned order[HISTORY_EVENTS_MAX];
	bool out_of_memory;
};

static bool is_placed(const struct position *p, unsigned i)
{
	return p->placed[i / 64] >> (i % 64) & 1;
}

static void place(struct search *s, struct position *p, unsigned i)
{
	p->placed[i / 64] |= UINT64_C(1) << (i % 64);
	s->order[s->depth++] = i;
	if (s->depth > s->result->order_count) {
		s->result->order_count = s->depth;
		memcpy(s->result->order, s->order, s->depth * sizeof s->order[0]);
	}
}

/* The earliest end among what has still to be placed: nothing that began later can be next. */
static int64_t horizon(const struct search *s, const struct position *p, bool *ret_complete)
{
	int64_t earliest_ns = NEVER;

	*ret_complete = true;
	for (unsigned i = 0; i < s->h->event_count; i++) {
		const struct event *e = &s->h->events[i];
		if (e->end_ns == NEVER || is_placed(p, i))
			continue;
		*ret_complete = false;
		if (e->end_ns < earliest_ns)
			earliest_ns = e->end_ns;
	}
	return earliest_ns;
}

/* Whether the pair is new; remembers it. */
static bool is_new(struct search *s, const struct position *p)
{
	struct visited *v = NULL;

	HASH_FIND(hh, s->visited, p, sizeof *p, v);
	if (v)
		return false;
	v = calloc(1, sizeof *v);
	if (!v) {
		s->out_of_memory = true;
		return false;
	}
	v->position = *p;
	unsigned before = HASH_COUNT(s->visited);
	HASH_ADD(hh, s->visited, position, sizeof v->position, v);
	if (HASH_COUNT(s->visited) == before) {
		free(v);
		s->out_of_memory = true;
		return false;
	}
	s->result->states++;
	return true;
}

/* A request that changes nothing wherever it is placed, if it agrees there. */
static bool is_harmless(const struct event *e)
{
	return e->error > 0 || (e->error == 0 && (e->op == OP_SIZE || e->op == OP_FIND || e->op == OP_AVAILABLE ||
						  e->op == OP_RESERVED || e->op == OP_STATUS));
}

/* Places all reads and refusals that agree, as long as there are any. Returns the horizon. */
static int64_t place_reads(struct search *s, struct position *p, bool *ret_complete)
{
	for (;;) {
		int64_t latest_ns = horizon(s, p, ret_complete);
		bool any = false;

		for (unsigned i = 0; i < s->h->event_count; i++) {
			const struct event *e = &s->h->events[i];
			struct model next = p->model;

			if (!is_harmless(e) || is_placed(p, i) || e->start_ns > latest_ns ||
			    !model_apply(&next, &s->ids, s->h, e))
				continue;
			/* The first to tell an id that was not known yet: that is knowledge, not harmless. */
			if (memcmp(&next, &p->model, sizeof next) != 0)
				continue;
			place(s, p, i);
			any = true;
		}
		if (!any)
			return latest_ns;
	}
}

static bool search_from(struct search *s, struct position p)
{
	unsigned depth = s->depth;
	bool complete;
	int64_t latest_ns = place_reads(s, &p, &complete);

	if (complete)
		return true;
	if (is_new(s, &p)) {
		for (unsigned i = 0; i < s->h->event_count; i++) {
			struct position next = p;

			if (is_placed(&p, i) || s->h->events[i].start_ns > latest_ns ||
			    !model_apply(&next.model, &s->ids, s->h, &s->h->events[i]))
				continue;
			unsigned before = s->depth;
			place(s, &next, i);
			if (search_from(s, next))
				return true;
			s->depth = before;
		}
	}
	s->depth = depth;
	return false;
}

int check_history(const struct history *h, struct check_result *ret_result)
{
	struct check_result result = { 0 };
	struct search s = { .h = h, .result = &result };
	struct position start = { 0 };
	struct visited *v, *next;

	int r = model_init(&start.model, &s.ids, h);
	if (r < 0)
		return r;
	result.linearizable = search_from(&s, start);
	HASH_ITER(hh, s.visited, v, next) {
		HASH_DEL(s.visited, v);
		free(v);
	}
	if (s.out_of_memory && !result.linearizable)
		return -ENOMEM;
	*ret_result = result;
	return 0;
}

void check_explain(FILE *out, const struct history *h, const struct check_result *result)
{
	bool placed[HISTORY_EVENTS_MAX] = { false };

	fprintf(out, "%% not linearizable: %u of %u requests agree in this order:\n", result->order_count, h->event_count);
	for (unsigned i = 0; i < result->order_count; i++) {
		placed[result->order[i]] = true;
		fputs("%   ", out);
		history_write_event(out, h, &h->events[result->order[i]]);
		fputc('\n', out);
	}
	fputs("% and none of these can follow:\n", out);
	for (unsigned i = 0; i < h->event_count; i++) {
		if (placed[i])
			continue;
		fputs("%   ", out);
		history_write_event(out, h, &h->events[i]);
		fputc('\n', out);
	}
	fputs("% the history:\n", out);
	history_write(out, h);
}
