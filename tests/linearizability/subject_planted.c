/* SPDX-License-Identifier: MIT */
/*
 * subject_planted.c: contracts in memory, a sum kept beside them, and the mistakes that bookkeeping of this kind is known
 * for. It proves that the checker sees each of them; PLANTED_NONE proves that it is quiet when there is none.
 *
 * Every access is under the lock, so that no run depends on undefined behaviour: the bugs are gaps between
 * critical sections, and each gap yields, to be met often.
 */
#include "subject_planted.h"

#include <errno.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#define CONTRACTS 8

struct contract {
	char name[8]; /* empty: there is none */
	uint64_t id;
	uint64_t size_bytes;
};

struct planted {
	struct subject base;
	enum planted_bug bug;
	uint64_t capacity_bytes;
	pthread_mutex_t lock;
	struct contract contracts[CONTRACTS];
	uint64_t reserved_bytes; /* the sum, kept by hand: with a bug it drifts */
	uint64_t shown_bytes;    /* what PLANTED_STALE_READ shows */
	uint64_t next_id;
	uint64_t held[SUBJECT_CLIENTS_MAX][SUBJECT_SLOTS]; /* ids; each used by its own client alone */
};

/* Where the bug is: others get in between. */
static void gap(struct planted *p)
{
	pthread_mutex_unlock(&p->lock);
	for (unsigned i = 0; i < 3; i++)
		sched_yield();
	pthread_mutex_lock(&p->lock);
}

static struct contract *by_name(struct planted *p, const char *name)
{
	for (unsigned i = 0; i < CONTRACTS; i++)
		if (strcmp(p->contracts[i].name, name) == 0)
			return &p->contracts[i];
	return NULL;
}

static struct contract *by_id(struct planted *p, uint64_t id)
{
	for (unsigned i = 0; i < CONTRACTS; i++)
		if (p->contracts[i].name[0] && p->contracts[i].id == id)
			return &p->contracts[i];
	return NULL;
}

static void set_sum(struct planted *p, uint64_t grown, uint64_t shrunk)
{
	uint64_t sum = p->reserved_bytes;

	if (p->bug == PLANTED_LOST_UPDATE)
		gap(p);
	p->reserved_bytes = sum + grown - shrunk;
}

static uint64_t left(const struct planted *p)
{
	return p->capacity_bytes > p->reserved_bytes ? p->capacity_bytes - p->reserved_bytes : 0;
}

static int create(struct planted *p, const char *name, uint64_t *ret_id)
{
	if (by_name(p, name))
		return EEXIST;
	struct contract *c = by_name(p, "");
	if (!c)
		return ENOMEM;
	strcpy(c->name, name);
	c->size_bytes = 0;
	*ret_id = c->id = ++p->next_id;
	return 0;
}

static int resize(struct planted *p, uint64_t id, uint64_t amount, uint64_t *got)
{
	struct contract *c = by_id(p, id);
	if (!c)
		return ENODEV;
	uint64_t old = c->size_bytes, available = left(p);
	uint64_t new = amount == AMOUNT_ALL ? old + available : amount;
	if (new > old && new - old > available) {
		got[0] = old + available;
		return ENOSPC;
	}
	got[1] = new;
	if (p->bug == PLANTED_CHECK_THEN_ACT) {
		gap(p);
		c = by_id(p, id);
		if (!c)
			return ENODEV;
		/* What it had meanwhile is taken into account, what others took is not. */
		old = c->size_bytes;
	}
	got[0] = old;
	p->shown_bytes = p->reserved_bytes;
	c->size_bytes = new;
	set_sum(p, new, old);
	return 0;
}

static int remove_contract(struct planted *p, uint64_t id)
{
	struct contract *c = by_id(p, id);
	if (!c)
		return ENODEV;
	uint64_t old = c->size_bytes;
	if (p->bug == PLANTED_DOUBLE_RELEASE) {
		gap(p);
		c = by_id(p, id);
	}
	p->shown_bytes = p->reserved_bytes;
	/* It never wraps: a sum below zero would only be found sooner. */
	set_sum(p, 0, old < p->reserved_bytes ? old : p->reserved_bytes);
	c = by_id(p, id);
	if (c)
		c->name[0] = 0;
	return 0;
}

static int rename_contract(struct planted *p, uint64_t id, const char *new_name)
{
	struct contract *c = by_id(p, id), *other = by_name(p, new_name);
	if (!c || (other && other != c))
		return c ? EEXIST : ENODEV;
	strcpy(c->name, new_name);
	return 0;
}

static void status(struct planted *p, uint64_t *got)
{
	got[0] = p->reserved_bytes;
	if (p->bug == PLANTED_TORN_STATUS)
		gap(p);
	got[1] = left(p);
	got[2] = 0;
	for (unsigned i = 0; i < CONTRACTS; i++)
		got[2] += p->contracts[i].name[0] != 0;
}

static int find(struct planted *p, const char *name, uint64_t *ret_id)
{
	struct contract *c = by_name(p, name);
	if (!c)
		return ENOENT;
	*ret_id = c->id;
	return 0;
}

static int by_its_name(struct planted *p, const struct request *request)
{
	struct contract *c = by_name(p, request->name);
	if (!c)
		return ENOENT;
	if (request->op == OP_REMOVE)
		return remove_contract(p, c->id) == 0 ? 0 : ENOENT;
	int error = rename_contract(p, c->id, request->new_name);
	return error == ENODEV ? ENOENT : error;
}

static void perform(struct subject *s, unsigned client, const struct request *request, struct event *ret_event)
{
	struct planted *p = (struct planted *) s;
	uint64_t *held = &p->held[client][request->slot], *got = ret_event->got;

	/* Requests overlap here, even on a machine with one core. */
	sched_yield();
	pthread_mutex_lock(&p->lock);
	switch (request->op) {
	case OP_CREATE:
		ret_event->error = create(p, request->name, &got[0]);
		break;
	case OP_FIND:
		ret_event->error = find(p, request->name, &got[0]);
		if (ret_event->error == 0)
			*held = got[0];
		break;
	case OP_RESIZE:
		ret_event->id = *held;
		ret_event->error = resize(p, *held, request->amount_bytes, got);
		break;
	case OP_SIZE:
		ret_event->id = *held;
		ret_event->error = by_id(p, *held) ? 0 : ENODEV;
		if (ret_event->error == 0)
			got[0] = by_id(p, *held)->size_bytes;
		break;
	case OP_REMOVE_ID:
		ret_event->id = *held;
		ret_event->error = remove_contract(p, *held);
		break;
	case OP_RENAME_ID:
		ret_event->id = *held;
		ret_event->error = rename_contract(p, *held, request->new_name);
		break;
	case OP_AVAILABLE:
		got[0] = left(p);
		ret_event->error = 0;
		break;
	case OP_RESERVED:
		got[0] = p->bug == PLANTED_STALE_READ ? p->shown_bytes : p->reserved_bytes;
		ret_event->error = 0;
		break;
	case OP_STATUS:
		status(p, got);
		ret_event->error = 0;
		break;
	default:
		ret_event->error = by_its_name(p, request);
	}
	pthread_mutex_unlock(&p->lock);
	sched_yield();
}

static bool holds(struct subject *s, unsigned client, unsigned slot)
{
	return ((struct planted *) s)->held[client][slot] != 0;
}

static void forget(struct subject *s, unsigned client)
{
	memset(((struct planted *) s)->held[client], 0, sizeof ((struct planted *) s)->held[client]);
}

static const struct subject_ops planted_ops = {
	.perform = perform,
	.holds = holds,
	.forget = forget,
	.can = (1u << OP_COUNT) - 1,
};

struct subject *subject_planted_new(enum planted_bug bug, uint64_t capacity_bytes)
{
	struct planted *p = calloc(1, sizeof *p);
	if (!p)
		return NULL;
	p->base.ops = &planted_ops;
	p->bug = bug;
	p->capacity_bytes = capacity_bytes;
	pthread_mutex_init(&p->lock, NULL);
	return &p->base;
}

void subject_planted_free(struct subject *s)
{
	struct planted *p = (struct planted *) s;
	if (!p)
		return;
	pthread_mutex_destroy(&p->lock);
	free(p);
}
