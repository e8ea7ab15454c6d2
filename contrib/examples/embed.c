/* SPDX-License-Identifier: MIT */
/*
 * embed.c: Reservations inside a program of one's own, without a mount and without FUSE: what a node written in C would
 * do. It needs the public headers and the library alone.
 *
 *   embed DATASTORE CAPACITY CONTRACT SIZE    reserves SIZE bytes for CONTRACT out of CAPACITY bytes
 *   embed DATASTORE CAPACITY CONTRACT         releases what CONTRACT holds and forgets it
 *
 * Exits with 0 when it is done and durable, 1 when it was refused, 2 when it could not even be asked.
 */
#include <reservefs/reservations.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int complain(const char *what, int error)
{
	fprintf(stderr, "embed: %s: %s\n", what, strerror(-error));
	return error;
}

/* A Datastore and a Repo go in; from then on they belong to the Reservations. */
static int open_reservations(const char *path, uint64_t capacity, struct rfs_reservations **ret_reservations)
{
	const struct rfs_sqlite_options options = { .path = path };
	struct rfs_datastore *datastore = NULL;
	struct rfs_repo *repo = NULL;
	char message[512] = "";

	int r = rfs_repo_open_quota(capacity, &repo);
	if (r < 0)
		return complain("the capacity is too large", r);
	r = rfs_datastore_open_sqlite(&options, message, sizeof(message), &datastore);
	if (!r)
		r = rfs_reservations_open(datastore, repo, message, sizeof(message), ret_reservations);
	if (r < 0) {
		fprintf(stderr, "embed: %s\n", message);
		rfs_datastore_close(datastore);
		rfs_repo_close(repo);
	}
	return r;
}

/* The contract of that name, made where there is none yet. The caller owns a reference. */
static int find_or_create(struct rfs_reservations *reservations, const char *name, struct rfs_contract **ret_contract)
{
	int r = rfs_name_check(name);
	if (r < 0)
		return r;
	r = rfs_reservations_lookup(reservations, name, ret_contract);
	if (r != -ENOENT)
		return r;

	struct rfs_request create = { .verb = RFS_CREATE };
	memcpy(create.new_name, name, strlen(name) + 1);
	r = rfs_reservations_perform(reservations, &create, NULL);
	if (!r)
		*ret_contract = create.created;
	return r;
}

static int reserve(struct rfs_reservations *reservations, const char *name, uint64_t bytes)
{
	struct rfs_contract *contract;

	int r = find_or_create(reservations, name, &contract);
	if (r < 0)
		return complain("no such contract can be made", r);
	struct rfs_request resize = { .verb = RFS_RESIZE, .contract = contract, .size_bytes = bytes };
	r = rfs_reservations_perform(reservations, &resize, NULL);
	rfs_contract_unref(contract);
	if (r == -ENOSPC)
		printf("refused: %" PRIu64 " bytes are available\n", resize.available_bytes);
	else if (r < 0)
		complain("it could not be reserved", r);
	else
		printf("reserved: %s holds %" PRIu64 " bytes\n", name, bytes);
	return r;
}

static int release(struct rfs_reservations *reservations, const char *name)
{
	struct rfs_contract *contract;

	int r = rfs_reservations_lookup(reservations, name, &contract);
	if (r < 0)
		return complain("that contract cannot be found", r);
	struct rfs_request remove = { .verb = RFS_REMOVE, .contract = contract };
	r = rfs_reservations_perform(reservations, &remove, NULL);
	rfs_contract_unref(contract);
	if (r < 0)
		return complain("it could not be released", r);
	printf("released: %s held %" PRIu64 " bytes\n", name, remove.old_size_bytes);
	return 0;
}

int main(int argc, char **argv)
{
	struct rfs_reservations *reservations;

	if (argc != 4 && argc != 5) {
		fputs("usage: embed DATASTORE CAPACITY CONTRACT [SIZE]\n", stderr);
		return 2;
	}
	if (open_reservations(argv[1], strtoull(argv[2], NULL, 10), &reservations) < 0)
		return 2;
	int r = argc == 5 ? reserve(reservations, argv[3], strtoull(argv[4], NULL, 10))
			  : release(reservations, argv[3]);
	int closed = rfs_reservations_close(reservations);
	if (closed < 0)
		complain("not all could be made durable", closed);
	return r < 0 || closed < 0;
}
