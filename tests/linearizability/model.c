/* SPDX-License-Identifier: MIT */
/*
 * model.c: the sequential rules, written down a second time and as plainly as possible: no threads, no Datastore, no
 * Repo. The sum is never kept, always computed, so it can't drift from the sizes.
 *
 * A contract made by a client that wasn't told its id gets MODEL_NO_ID, and the id by which it is first found.
 */
#include "model.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(sizeof(struct model) == 16 + 10 * HISTORY_NAMES_MAX, "struct model is compared as bytes");

static int id_index(const struct model_ids *ids, uint64_t id)
{
	for (unsigned i = 0; i < ids->count; i++)
		if (ids->ids[i] == id)
			return (int) i;
	return -1;
}

static int id_add(struct model_ids *ids, uint64_t id)
{
	if (id == ID_UNKNOWN || id_index(ids, id) >= 0)
		return 0;
	if (ids->count == HISTORY_IDS_MAX)
		return -ENOSPC;
	ids->ids[ids->count++] = id;
	return 0;
}

int model_init(struct model *m, struct model_ids *ids, const struct history *h)
{
	memset(m, 0, sizeof *m);
	memset(ids, 0, sizeof *ids);
	m->capacity_bytes = h->capacity_bytes;
	memset(m->id, MODEL_ABSENT, sizeof m->id);
	memset(m->ghost, MODEL_ABSENT, sizeof m->ghost);
	for (unsigned n = 0; n < h->name_count; n++) {
		if (!h->initial[n].present)
			continue;
		int r = id_add(ids, h->initial[n].id);
		if (r < 0)
			return r;
		m->id[n] = (int8_t) id_index(ids, h->initial[n].id);
		m->size_bytes[n] = h->initial[n].size_bytes;
	}
	for (unsigned i = 0; i < h->event_count; i++) {
		const struct event *e = &h->events[i];
		int r = id_add(ids, e->id);
		if (r == 0 && (e->op == OP_CREATE || e->op == OP_FIND))
			r = id_add(ids, e->got[0]);
		if (r < 0)
			return r;
	}
	return 0;
}

static uint64_t sum(const struct model *m)
{
	uint64_t bytes = 0;
	for (unsigned n = 0; n < HISTORY_NAMES_MAX; n++)
		bytes += m->size_bytes[n];
	return bytes;
}

static uint64_t available(const struct model *m)
{
	uint64_t promised = sum(m);
	return m->capacity_bytes > promised ? m->capacity_bytes - promised : 0;
}

static uint64_t contracts(const struct model *m)
{
	uint64_t count = 0;
	for (unsigned n = 0; n < HISTORY_NAMES_MAX; n++)
		count += m->id[n] != MODEL_ABSENT;
	return count;
}

/* The name of the contract with this id, or -1. */
static int holder(const struct model *m, int id)
{
	for (int n = 0; n < HISTORY_NAMES_MAX; n++)
		if (m->id[n] == id && id >= 0)
			return n;
	return -1;
}

/* Whether an answer may hold `value` where the model has `truth`. */
static bool agrees(uint64_t value, uint64_t truth)
{
	return value == VALUE_UNKNOWN || value == truth;
}

/* Whether the contract `name` may be the one with the id that was told; remembers it. */
static bool bind(struct model *m, const struct model_ids *ids, unsigned name, uint64_t told)
{
	int id = told == ID_UNKNOWN ? -1 : id_index(ids, told);

	if (told == ID_UNKNOWN || m->id[name] == id)
		return true;
	if (m->id[name] != MODEL_NO_ID || holder(m, id) >= 0 || (m->removed >> id & 1))
		return false;
	m->id[name] = (int8_t) id;
	return true;
}

static int do_create(struct model *m, const struct model_ids *ids, const struct event *e, bool *ret_agrees)
{
	if (m->id[e->name] != MODEL_ABSENT)
		return EEXIST;
	m->id[e->name] = MODEL_NO_ID;
	m->ghost[e->name] = MODEL_ABSENT;
	*ret_agrees = bind(m, ids, e->name, e->got[0]);
	return 0;
}

static int do_resize(struct model *m, int name, const struct event *e, bool *ret_agrees)
{
	if (name < 0)
		return ENODEV;
	uint64_t old = m->size_bytes[name], left = available(m);
	uint64_t new = e->amount_bytes == AMOUNT_ALL ? old + left : e->amount_bytes;
	if (new > old && new - old > left) {
		*ret_agrees = agrees(e->got[0], old + left);
		return ENOSPC;
	}
	m->size_bytes[name] = new;
	*ret_agrees = agrees(e->got[0], old) && agrees(e->got[1], new);
	return 0;
}

static int do_find(struct model *m, const struct model_ids *ids, const struct event *e, bool *ret_agrees)
{
	int8_t *ghost = &m->ghost[e->name];
	int id = e->error == 0 ? id_index(ids, e->got[0]) : -1;

	if (m->id[e->name] != MODEL_ABSENT) {
		*ret_agrees = bind(m, ids, e->name, e->got[0]);
		return 0;
	}
	if (*ghost == MODEL_ABSENT)
		return ENOENT;
	if (id >= 0 && *ghost == MODEL_NO_ID && holder(m, id) < 0 && !(m->removed >> id & 1)) {
		m->removed |= UINT64_C(1) << id;
		*ghost = (int8_t) id;
	}
	*ret_agrees = *ghost == id;
	return 0;
}

/* Where no name lingers there is no `forget`, and the ghost would be there to the end. */
static int do_remove(struct model *m, int name, bool lingers, int error_when_gone)
{
	if (name < 0 || m->id[name] == MODEL_ABSENT)
		return error_when_gone;
	m->ghost[name] = lingers ? m->id[name] : MODEL_ABSENT;
	if (m->id[name] >= 0)
		m->removed |= UINT64_C(1) << m->id[name];
	m->id[name] = MODEL_ABSENT;
	m->size_bytes[name] = 0;
	return 0;
}

static int do_rename(struct model *m, int name, const struct event *e, int error_when_gone)
{
	unsigned new_name = e->new_name;

	if (name < 0 || m->id[name] == MODEL_ABSENT)
		return error_when_gone;
	/* To call a contract what it is called already: both answers are true. */
	if ((unsigned) name == new_name)
		return e->error == EEXIST ? EEXIST : 0;
	if (m->id[new_name] != MODEL_ABSENT)
		return EEXIST;
	m->id[new_name] = m->id[name];
	m->ghost[new_name] = MODEL_ABSENT;
	m->size_bytes[new_name] = m->size_bytes[name];
	m->id[name] = MODEL_ABSENT;
	m->size_bytes[name] = 0;
	return 0;
}

static bool read_agrees(const struct model *m, const struct event *e)
{
	switch (e->op) {
	case OP_AVAILABLE:
		return agrees(e->got[0], available(m));
	case OP_RESERVED:
		return agrees(e->got[0], sum(m));
	default:
		return agrees(e->got[0], sum(m)) && agrees(e->got[1], available(m)) && agrees(e->got[2], contracts(m));
	}
}

/* Does `e` to `m`, and returns the errno that it should be answered with. */
static int perform(struct model *m, const struct model_ids *ids, const struct event *e, bool lingers, bool *ret_agrees)
{
	int by_id = e->id == ID_UNKNOWN ? -1 : holder(m, id_index(ids, e->id));

	switch (e->op) {
	case OP_CREATE:
		return do_create(m, ids, e, ret_agrees);
	case OP_FIND:
		return do_find(m, ids, e, ret_agrees);
	case OP_RESIZE:
		return do_resize(m, by_id, e, ret_agrees);
	case OP_SIZE:
		if (by_id < 0)
			return ENODEV;
		*ret_agrees = agrees(e->got[0], m->size_bytes[by_id]);
		return 0;
	case OP_REMOVE_ID:
		return do_remove(m, by_id, false, ENODEV);
	case OP_REMOVE:
		return do_remove(m, (int) e->name, lingers, ENOENT);
	case OP_FORGET:
		if (m->ghost[e->name] == MODEL_ABSENT)
			return ENOENT;
		m->ghost[e->name] = MODEL_ABSENT;
		return 0;
	case OP_RENAME_ID:
		return do_rename(m, by_id, e, ENODEV);
	case OP_RENAME:
		return do_rename(m, (int) e->name, e, ENOENT);
	default:
		*ret_agrees = read_agrees(m, e);
		return 0;
	}
}

bool model_apply(struct model *m, const struct model_ids *ids, const struct history *h, const struct event *e)
{
	struct model next = *m;
	bool values_agree = true;

	for (unsigned i = 0; i < h->tolerated_count; i++)
		if (e->error == h->tolerated[i])
			return true;
	int error = perform(&next, ids, e, h->names_linger, &values_agree);
	if (e->error != ERROR_UNKNOWN && (error != e->error || !values_agree))
		return false;
	*m = next;
	return true;
}
