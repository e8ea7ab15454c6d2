/* SPDX-License-Identifier: MIT */
/*
 * contract.c: contracts in memory. Invariant: a contract is in memory exactly as long as somebody refers to it, has pinned
 * it, or it differs from what the Datastore holds; there is never a second one of the same id. So a row of the Datastore whose
 * id is in memory says nothing that memory does not know better.
 */
#include "reservations/internal.h"

#include <errno.h>
#include <string.h>

int rfs_contract_new(struct rfs_reservations *r, uint64_t id, const char *name, struct rfs_contract **ret_contract)
{
	struct rfs_contract *c = calloc(1, sizeof *c);

	if (!c)
		return -ENOMEM;
	c->name = strdup(name);
	if (!c->name) {
		free(c);
		return -ENOMEM;
	}
	c->owner = r;
	c->id = id;
	c->refs = 1;
	*ret_contract = c;
	return 0;
}

/*
 * Entering a contract cannot fail, for it is how what is durable already becomes visible. Only two things about a table
 * need memory: that there is one, which the anchor sees to, and more buckets, which it can do without.
 */
static void enter_id_locked(struct rfs_contract **ids, struct rfs_contract *c)
{
	HASH_ADD(by_id, *ids, id, sizeof c->id, c);
}

static void enter_name_locked(struct rfs_contract **live, struct rfs_contract *c)
{
	HASH_ADD_KEYPTR(by_name, *live, c->name, strlen(c->name), c);
}

int rfs_contracts_init(struct rfs_reservations *r)
{
	static char no_name[] = "";

	r->anchor.owner = r;
	r->anchor.refs = 1;
	r->anchor.name = no_name;
	enter_id_locked(&r->ids, &r->anchor);
	enter_name_locked(&r->live, &r->anchor);
	if (r->anchor.by_id.tbl && r->anchor.by_name.tbl)
		return 0;
	if (r->anchor.by_id.tbl)
		HASH_CLEAR(by_id, r->ids);
	if (r->anchor.by_name.tbl)
		HASH_CLEAR(by_name, r->live);
	return -ENOMEM;
}

/* What is left besides the anchor is pinned, or could not be stored. */
void rfs_contracts_done(struct rfs_reservations *r)
{
	struct rfs_contract *c, *next;

	HASH_CLEAR(by_name, r->live);
	HASH_ITER(by_id, r->ids, c, next) {
		HASH_DELETE(by_id, r->ids, c);
		if (c == &r->anchor)
			continue;
		free(c->name);
		free(c);
	}
}

void rfs_contract_announce_locked(struct rfs_contract *c)
{
	struct rfs_contract **ids = &c->owner->ids;

	enter_id_locked(ids, c);
	if (!c->by_id.tbl) {
		unsigned *noexpand = &(*ids)->by_id.tbl->noexpand, before = *noexpand;
		*noexpand = 1;
		enter_id_locked(ids, c);
		*noexpand = before;
	}
}

static void take_name_locked(struct rfs_contract *c)
{
	struct rfs_contract **live = &c->owner->live;

	rfs_absent_remove(c->owner, c->name);
	enter_name_locked(live, c);
	if (!c->by_name.tbl) {
		unsigned *noexpand = &(*live)->by_name.tbl->noexpand, before = *noexpand;
		*noexpand = 1;
		enter_name_locked(live, c);
		*noexpand = before;
	}
}

void rfs_contract_show_locked(struct rfs_contract *c)
{
	c->exists = true;
	take_name_locked(c);
}

/* Frees the contract's name. Within one publication another may have taken it already. */
static void drop_name_locked(struct rfs_contract *c)
{
	struct rfs_contract *other;

	HASH_DELETE(by_name, c->owner->live, c);
	HASH_FIND(by_name, c->owner->live, c->name, strlen(c->name), other);
	if (!other)
		rfs_absent_add(c->owner, c->name);
}

void rfs_contract_hide_locked(struct rfs_contract *c)
{
	drop_name_locked(c);
	c->exists = false;
}

void rfs_contract_rename_locked(struct rfs_contract *c, char *name)
{
	drop_name_locked(c);
	free(c->name);
	c->name = name;
	take_name_locked(c);
}

static void forget_if_unused_locked(struct rfs_contract *c)
{
	struct rfs_reservations *r = c->owner;

	if (c->refs > 0 || c->pins > 0)
		return;
	HASH_DELETE(by_id, r->ids, c);
	if (c->exists)
		HASH_DELETE(by_name, r->live, c);
	free(c->name);
	free(c);
}

void rfs_contract_unref_locked(struct rfs_contract *c)
{
	c->refs--;
	forget_if_unused_locked(c);
}

struct rfs_contract *rfs_contract_ref(struct rfs_contract *contract)
{
	RFS_LOCK(&contract->owner->lock);
	contract->refs++;
	return contract;
}

void rfs_contract_unref(struct rfs_contract *contract)
{
	if (!contract)
		return;
	RFS_LOCK(&contract->owner->lock);
	rfs_contract_unref_locked(contract);
}

void rfs_contract_pin(struct rfs_contract *contract)
{
	RFS_LOCK(&contract->owner->lock);
	contract->pins++;
}

void rfs_contract_unpin_locked(struct rfs_contract *c, uint64_t count)
{
	c->pins -= count < c->pins ? count : c->pins;
	forget_if_unused_locked(c);
}

void rfs_contract_unpin(struct rfs_contract *contract, uint64_t count)
{
	RFS_LOCK(&contract->owner->lock);
	rfs_contract_unpin_locked(contract, count);
}

static int stat_locked(const struct rfs_contract *c, struct rfs_contract_stat *ret_stat)
{
	ret_stat->id = c->id;
	if (!c->exists)
		return -ENODEV;
	ret_stat->size_bytes = c->size_bytes;
	ret_stat->changed = c->changed;
	return 0;
}

int rfs_contract_stat(struct rfs_contract *contract, struct rfs_contract_stat *ret_stat)
{
	RFS_LOCK(&contract->owner->lock);
	return stat_locked(contract, ret_stat);
}

int rfs_contract_watch(struct rfs_contract *contract, struct rfs_contract_stat *ret_stat)
{
	RFS_LOCK(&contract->owner->lock);
	contract->watched = true;
	return stat_locked(contract, ret_stat);
}

void rfs_contract_name(struct rfs_contract *contract, char *ret_name)
{
	RFS_LOCK(&contract->owner->lock);
	strcpy(ret_name, contract->name);
}
