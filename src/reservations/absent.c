/* SPDX-License-Identifier: MIT */
/*
 * absent.c: names that are known not to exist, so that creating a contract need not ask the Datastore what looking its
 * name up has just told. Invariant: a name of a contract that exists is never in it.
 */
#include "reservations/internal.h"

#include <string.h>

static size_t slot_of(const char *name)
{
	unsigned hash;

	HASH_VALUE(name, strlen(name), hash);
	return hash % RFS_ABSENT_NAMES;
}

bool rfs_absent_has(const struct rfs_reservations *r, const char *name)
{
	return strcmp(r->absent[slot_of(name)], name) == 0;
}

void rfs_absent_add(struct rfs_reservations *r, const char *name)
{
	strcpy(r->absent[slot_of(name)], name);
}

void rfs_absent_remove(struct rfs_reservations *r, const char *name)
{
	char *slot = r->absent[slot_of(name)];

	if (strcmp(slot, name) == 0)
		slot[0] = '\0';
}
