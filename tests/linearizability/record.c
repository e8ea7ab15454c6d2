/* SPDX-License-Identifier: MIT */
/*
 * record.c: the clients. Each is a thread that lives as long as the run; a barrier starts all of them on a history, and
 * another ends it. Between two histories one thread alone reads what is there: the end of one, and the beginning of the
 * next. A client's events are its own until the closing barrier.
 */
#include "record.h"
#include "check.h"

#include <errno.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

static const char *const names[HISTORY_NAMES_MAX] = { "a", "b", "c", "d", "e", "f", "g", "h" };

struct run {
	struct subject *subject;
	const struct record_options *options;
	pthread_barrier_t start, end;
	bool over;
	unsigned history_number;
};

struct client {
	struct run *run;
	pthread_t thread;
	unsigned number;
	uint64_t random;
	struct history *recorded; /* its own requests alone */
};

static uint64_t next_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

static int64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

static bool by_id(enum op op)
{
	return op == OP_RESIZE || op == OP_SIZE || op == OP_REMOVE_ID || op == OP_RENAME_ID;
}

static void ask(struct subject *s, struct history *h, unsigned client, const struct request *request)
{
	struct event *e = history_add(h, client, request->op);
	if (!e)
		abort();
	if (request->name)
		(void) history_name(h, request->name, &e->name);
	if (request->new_name)
		(void) history_name(h, request->new_name, &e->new_name);
	e->amount_bytes = request->amount_bytes;
	e->start_ns = now_ns();
	s->ops->perform(s, client, request, e);
	e->end_ns = now_ns();
	if (e->op != OP_REMOVE || e->error || !s->ops->names_linger)
		return;
	struct event *forget = history_add(h, client, OP_FORGET);
	if (!forget)
		abort();
	*forget = *e;
	forget->op = OP_FORGET;
}

/* Changes are more frequent than reads: most reads agree with many orders. */
static enum op choose_op(uint64_t random)
{
	static const enum op weights[] = {
		OP_CREATE, OP_CREATE, OP_CREATE, OP_FIND, OP_FIND, OP_FIND, OP_FIND, OP_RESIZE, OP_RESIZE, OP_RESIZE,
		OP_RESIZE, OP_RESIZE, OP_RESIZE, OP_RESIZE, OP_RESIZE, OP_SIZE, OP_SIZE, OP_SIZE, OP_REMOVE_ID,
		OP_REMOVE_ID, OP_REMOVE, OP_REMOVE, OP_RENAME_ID, OP_RENAME_ID, OP_RENAME, OP_RENAME, OP_AVAILABLE,
		OP_RESERVED, OP_STATUS, OP_STATUS,
	};
	return weights[random % (sizeof weights / sizeof weights[0])];
}

static void choose(struct client *c, struct request *ret_request)
{
	const struct record_options *o = c->run->options;
	struct subject *s = c->run->subject;
	enum op op = choose_op(next_random(&c->random));

	while (!(s->ops->can >> op & 1))
		op = choose_op(next_random(&c->random));
	unsigned slot = (unsigned) (next_random(&c->random) % SUBJECT_SLOTS);
	if (by_id(op) && !s->ops->holds(s, c->number, slot))
		op = OP_FIND;
	uint64_t name = next_random(&c->random) % o->names;
	uint64_t other = (name + 1 + next_random(&c->random) % (o->names - 1)) % o->names;
	bool all = next_random(&c->random) % 8 == 0;
	*ret_request = (struct request){
		.op = op,
		.name = names[name],
		.new_name = names[other],
		.slot = slot,
		.amount_bytes = all ? AMOUNT_ALL : next_random(&c->random) % (o->capacity_bytes + 1),
		.random = next_random(&c->random),
	};
}

static void *client_main(void *user)
{
	struct client *c = user;
	const struct record_options *o = c->run->options;

	for (;;) {
		pthread_barrier_wait(&c->run->start);
		if (c->run->over)
			return NULL;
		c->random = o->seed * 1000003 + (uint64_t) c->run->history_number * 64 + c->number;
		for (unsigned i = 0; i < o->requests_per_client; i++) {
			struct request request;
			choose(c, &request);
			ask(c->run->subject, c->recorded, c->number, &request);
		}
		c->run->subject->ops->forget(c->run->subject, c->number);
		pthread_barrier_wait(&c->run->end);
	}
}

/* Reads all there is by one client alone, as requests of `h`. */
static void read_all(struct run *run, struct history *h)
{
	unsigned alone = run->options->clients;

	for (unsigned n = 0; n < run->options->names; n++) {
		struct request find = { .op = OP_FIND, .name = names[n] };
		struct request size = { .op = OP_SIZE };

		ask(run->subject, h, alone, &find);
		if (run->subject->ops->holds(run->subject, alone, 0))
			ask(run->subject, h, alone, &size);
		run->subject->ops->forget(run->subject, alone);
	}
	struct request status = { .op = OP_STATUS };
	ask(run->subject, h, alone, &status);
}

static void begin_with(struct history *h, const struct history *read)
{
	unsigned name = 0;

	for (unsigned i = 0; i < read->event_count; i++) {
		const struct event *e = &read->events[i];
		if (e->op == OP_FIND && e->error == 0) {
			(void) history_name(h, read->names[e->name], &name);
			h->initial[name].present = true;
			h->initial[name].id = e->got[0];
		} else if (e->op == OP_SIZE && e->error == 0) {
			h->initial[name].size_bytes = e->got[0];
		}
	}
}

/* Appends one client's requests, which use their own numbers for names. */
static void append(struct history *h, const struct history *part)
{
	for (unsigned i = 0; i < part->event_count; i++) {
		struct event *e = history_add(h, 0, OP_FIND);
		if (!e)
			abort();
		*e = part->events[i];
		if (part->name_count > 0) {
			(void) history_name(h, part->names[e->name], &e->name);
			(void) history_name(h, part->names[e->new_name], &e->new_name);
		}
	}
}

static bool overlap(const struct event *a, const struct event *b)
{
	return a->client != b->client && a->start_ns < b->end_ns && b->start_ns < a->end_ns;
}

static bool overlaps_any(const struct history *h, const struct event *e)
{
	for (unsigned i = 0; i < h->event_count; i++)
		if (overlap(&h->events[i], e))
			return true;
	return false;
}

/* A contract is counted before a kernel knows its name: beside a creation, a count says nothing. */
static void forget_counts(struct history *h)
{
	for (unsigned i = 0; i < h->event_count; i++)
		for (unsigned j = 0; j < h->event_count; j++)
			if (h->events[i].op == OP_STATUS && h->events[j].op == OP_CREATE && h->events[j].error == 0 &&
			    overlap(&h->events[i], &h->events[j]))
				h->events[i].got[2] = VALUE_UNKNOWN;
}

static void count(struct record_result *result, const struct history *h)
{
	result->histories++;
	result->requests += h->event_count;
	for (unsigned i = 0; i < h->event_count; i++) {
		result->overlapping += overlaps_any(h, &h->events[i]);
		result->refused += h->events[i].error == ENOSPC;
	}
}

static int record_one(struct run *run, struct client *clients, struct history *h, struct history *scratch)
{
	history_init(scratch, 0);
	read_all(run, scratch);
	history_init(h, run->options->capacity_bytes);
	h->names_linger = run->subject->ops->names_linger;
	begin_with(h, scratch);
	for (unsigned i = 0; i < run->options->clients; i++)
		history_init(clients[i].recorded, 0);
	pthread_barrier_wait(&run->start);
	pthread_barrier_wait(&run->end);
	for (unsigned i = 0; i < run->options->clients; i++)
		append(h, clients[i].recorded);
	history_init(scratch, 0);
	read_all(run, scratch);
	append(h, scratch);
	if (h->names_linger)
		forget_counts(h);
	run->history_number++;
	return 0;
}

static int record_all(struct run *run, struct client *clients, unsigned histories, FILE *explain,
		      struct record_result *ret_result)
{
	struct record_result result = { .linearizable = true };
	struct history *both = calloc(2, sizeof *both);
	int r = both ? 0 : -ENOMEM;

	while (r == 0 && result.linearizable && result.histories < histories) {
		struct check_result checked;

		r = record_one(run, clients, &both[0], &both[1]);
		if (r == 0)
			r = check_history(&both[0], &checked);
		if (r < 0)
			break;
		count(&result, &both[0]);
		result.states += checked.states;
		result.linearizable = checked.linearizable;
		if (!checked.linearizable && explain)
			check_explain(explain, &both[0], &checked);
	}
	free(both);
	if (r == 0)
		*ret_result = result;
	return r;
}

int record_histories(struct subject *s, const struct record_options *options, unsigned histories, FILE *explain,
		     struct record_result *ret_result)
{
	struct run run = { .subject = s, .options = options };
	struct client clients[SUBJECT_CLIENTS_MAX] = { 0 };
	struct history *recorded = calloc(options->clients, sizeof *recorded);
	unsigned started = 0;

	/* One client's number is kept for the reads between histories. */
	if (!recorded || options->clients >= SUBJECT_CLIENTS_MAX || options->names < 2) {
		int error = recorded ? -EINVAL : -ENOMEM;
		free(recorded);
		return error;
	}
	pthread_barrier_init(&run.start, NULL, options->clients + 1);
	pthread_barrier_init(&run.end, NULL, options->clients + 1);
	for (; started < options->clients; started++) {
		clients[started] = (struct client){ .run = &run, .number = started, .recorded = &recorded[started] };
		if (pthread_create(&clients[started].thread, NULL, client_main, &clients[started]) != 0)
			abort();
	}
	int r = record_all(&run, clients, histories, explain, ret_result);
	run.over = true;
	pthread_barrier_wait(&run.start);
	for (unsigned i = 0; i < started; i++)
		pthread_join(clients[i].thread, NULL);
	pthread_barrier_destroy(&run.start);
	pthread_barrier_destroy(&run.end);
	free(recorded);
	return r;
}
