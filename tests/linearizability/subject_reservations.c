/* SPDX-License-Identifier: MIT */
/*
 * subject_reservations.c: Reservations as a subject. A client holds a reference to each contract in its slots, and asks by
 * it, whatever became of the contract meanwhile.
 */
#include "subject_reservations.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

struct held {
	struct rfs_contract *contract;
	uint64_t id;
};

struct direct {
	struct subject base;
	struct rfs_reservations *r;
	struct held held[SUBJECT_CLIENTS_MAX][SUBJECT_SLOTS];
};

static void let_go(struct held *held)
{
	rfs_contract_unref(held->contract);
	*held = (struct held){ 0 };
}

/* Takes over the reference. */
static uint64_t hold(struct held *held, struct rfs_contract *contract)
{
	struct rfs_contract_stat st = { 0 };

	let_go(held);
	(void) rfs_contract_stat(contract, &st); /* of a contract that is gone, the id is still told */
	*held = (struct held){ contract, st.id };
	return st.id;
}

static void create(struct direct *d, struct held *held, const char *name, struct event *e)
{
	struct rfs_request q = { .verb = RFS_CREATE };

	strncpy(q.new_name, name, RFS_NAME_MAX);
	e->error = -rfs_reservations_perform(d->r, &q, NULL);
	if (e->error == 0)
		e->got[0] = hold(held, q.created);
}

static void find(struct direct *d, struct held *held, const char *name, struct event *e)
{
	struct rfs_contract *contract = NULL;

	e->error = -rfs_reservations_lookup(d->r, name, &contract);
	if (e->error == 0)
		e->got[0] = hold(held, contract);
}

static void change(struct direct *d, struct held *held, const struct request *request, struct event *e)
{
	struct rfs_request q = { .contract = held->contract };

	q.verb = request->op == OP_RESIZE ? RFS_RESIZE : request->op == OP_REMOVE_ID ? RFS_REMOVE : RFS_RENAME;
	q.size_bytes = request->amount_bytes == AMOUNT_ALL ? RFS_ALL : request->amount_bytes;
	if (request->op == OP_RENAME_ID)
		strncpy(q.new_name, request->new_name, RFS_NAME_MAX);
	e->id = held->id;
	e->error = -rfs_reservations_perform(d->r, &q, NULL);
	if (request->op != OP_RESIZE)
		return;
	if (e->error == 0) {
		e->got[0] = q.old_size_bytes;
		e->got[1] = q.wanted_bytes;
	} else if (e->error == ENOSPC) {
		e->got[0] = q.old_size_bytes + q.available_bytes;
	}
}

static void read_size(const struct held *held, struct event *e)
{
	struct rfs_contract_stat st;

	e->id = held->id;
	e->error = -rfs_contract_stat(held->contract, &st);
	if (e->error == 0)
		e->got[0] = st.size_bytes;
}

static void read_figures(struct direct *d, enum op op, struct event *e)
{
	struct rfs_figures figures;
	struct rfs_totals totals;

	if (op == OP_RESERVED) {
		rfs_reservations_totals(d->r, &totals);
		e->error = 0;
		e->got[0] = totals.reserved_bytes;
		return;
	}
	rfs_reservations_figures(d->r, &figures, &totals);
	e->error = 0;
	if (op == OP_AVAILABLE) {
		e->got[0] = figures.available;
		return;
	}
	e->got[0] = figures.reserved;
	e->got[1] = figures.available;
	e->got[2] = totals.contracts;
	/* The two figures for the same thing are one instant's too. */
	if (totals.reserved_bytes != figures.reserved)
		e->error = EBADMSG;
}

static void perform(struct subject *s, unsigned client, const struct request *request, struct event *ret_event)
{
	struct direct *d = (struct direct *) s;
	struct held *held = &d->held[client][request->slot];

	switch (request->op) {
	case OP_CREATE:
		create(d, held, request->name, ret_event);
		break;
	case OP_FIND:
		find(d, held, request->name, ret_event);
		break;
	case OP_RESIZE:
	case OP_REMOVE_ID:
	case OP_RENAME_ID:
		change(d, held, request, ret_event);
		break;
	case OP_SIZE:
		read_size(held, ret_event);
		break;
	default:
		read_figures(d, request->op, ret_event);
	}
}

static bool holds(struct subject *s, unsigned client, unsigned slot)
{
	return ((struct direct *) s)->held[client][slot].contract;
}

static void forget(struct subject *s, unsigned client)
{
	for (unsigned i = 0; i < SUBJECT_SLOTS; i++)
		let_go(&((struct direct *) s)->held[client][i]);
}

static const struct subject_ops direct_ops = {
	.perform = perform,
	.holds = holds,
	.forget = forget,
	.can = 1u << OP_CREATE | 1u << OP_FIND | 1u << OP_RESIZE | 1u << OP_SIZE | 1u << OP_REMOVE_ID | 1u << OP_RENAME_ID |
	       1u << OP_AVAILABLE | 1u << OP_RESERVED | 1u << OP_STATUS,
};

struct subject *subject_reservations_new(struct rfs_reservations *r)
{
	struct direct *d = calloc(1, sizeof *d);
	if (!d)
		return NULL;
	d->base.ops = &direct_ops;
	d->r = r;
	return &d->base;
}

void subject_reservations_free(struct subject *s)
{
	if (!s)
		return;
	for (unsigned client = 0; client < SUBJECT_CLIENTS_MAX; client++)
		forget(s, client);
	free(s);
}
