/* SPDX-License-Identifier: MIT */
/*
 * generate.c: makes a Datastore of any number of contracts, to see what a large one costs. It writes the very records
 * that Reservations would have written, through the Datastore's own interface, but many to a transaction, and all of a
 * kind after one another, so that ten million take less than a minute.
 *
 * Invariant: the totals are written last, so that a Datastore whose generation was interrupted is refused, not
 * mistaken for a small one.
 */
#include "reservations/record.h"

#include <errno.h>
#include <getopt.h>
#include <reservefs/datastore.h>
#include <reservefs/reservations.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define PER_TRANSACTION 50000

struct recipe {
	uint64_t contracts;
	uint64_t size_bytes; /* of each */
	const char *prefix;  /* of their names; eight digits follow */
	struct rfs_time changed;
	bool quiet;
};

static void name_of(const struct recipe *recipe, uint64_t number, char ret_name[RFS_NAME_MAX + 1])
{
	(void) snprintf(ret_name, RFS_NAME_MAX + 1, "%s%08llu", recipe->prefix, (unsigned long long) number);
}

/* Puts one of the records of contract number `number`. */
typedef int (*put_fn)(struct rfs_datastore *ds, const struct recipe *recipe, uint64_t number);

static int put_contract(struct rfs_datastore *ds, const struct recipe *recipe, uint64_t number)
{
	char name[RFS_NAME_MAX + 1], key[RFS_KEY_MAX + 1], text[RFS_VALUE_MAX + 1];
	struct rfs_contract_record record = {
		.id = RFS_CONTRACT_ID_FIRST + number, .size_bytes = recipe->size_bytes, .changed = recipe->changed,
	};

	name_of(recipe, number, name);
	rfs_record_contract_key(name, key);
	rfs_record_encode_contract(&record, text);
	return rfs_datastore_txn_put(ds, key, text);
}

static int put_id(struct rfs_datastore *ds, const struct recipe *recipe, uint64_t number)
{
	char name[RFS_NAME_MAX + 1], key[RFS_KEY_MAX + 1];

	name_of(recipe, number, name);
	rfs_record_id_key(RFS_CONTRACT_ID_FIRST + number, key);
	return rfs_datastore_txn_put(ds, key, name);
}

static void show_progress(const struct recipe *recipe, uint64_t done, const char *what)
{
	if (!recipe->quiet)
		fprintf(stderr, "\rgenerate: %s: %llu of %llu", what, (unsigned long long) done,
			(unsigned long long) recipe->contracts);
}

static int put_all(struct rfs_datastore *ds, const struct recipe *recipe, put_fn put, const char *what)
{
	for (uint64_t done = 0; done < recipe->contracts;) {
		uint64_t left = recipe->contracts - done;
		uint64_t until = done + (left > PER_TRANSACTION ? PER_TRANSACTION : left);
		int r = rfs_datastore_begin(ds);
		if (r < 0)
			return r;
		for (; r == 0 && done < until; done++)
			r = put(ds, recipe, done);
		if (r < 0) {
			rfs_datastore_rollback(ds);
			return r;
		}
		r = rfs_datastore_commit(ds);
		if (r < 0)
			return r;
		rfs_datastore_tidy(ds);
		show_progress(recipe, done, what);
	}
	if (!recipe->quiet)
		fputc('\n', stderr);
	return 0;
}

static int put_totals(struct rfs_datastore *ds, const struct recipe *recipe)
{
	char text[RFS_VALUE_MAX + 1];
	struct rfs_totals_record totals = {
		.reserved_bytes = recipe->contracts * recipe->size_bytes,
		.contracts = recipe->contracts,
		.next_id = RFS_CONTRACT_ID_FIRST + recipe->contracts,
		.changed = recipe->changed,
	};

	rfs_record_encode_totals(&totals, text);
	return rfs_datastore_put(ds, RFS_KEY_TOTALS, text);
}

/* As after a clean end: what is measured must not include that all records are checked. */
static int put_clean(struct rfs_datastore *ds)
{
	char identity[RFS_IDENTITY_MAX + 1], text[RFS_VALUE_MAX + 1];

	rfs_datastore_identity(ds, identity);
	rfs_record_encode_clean(0, identity, text);
	return rfs_datastore_put(ds, RFS_KEY_CLEAN, text);
}

static int generate(const char *path, const struct recipe *recipe)
{
	struct rfs_sqlite_options options = { .path = path };
	struct rfs_datastore *ds;
	char message[512];

	if (access(path, F_OK) == 0) {
		fprintf(stderr, "generate: %s exists\n", path);
		return -EEXIST;
	}
	int r = rfs_datastore_open_sqlite(&options, message, sizeof message, &ds);
	if (r < 0) {
		fprintf(stderr, "generate: %s\n", message);
		return r;
	}
	r = put_all(ds, recipe, put_contract, "contracts");
	if (r == 0)
		r = put_all(ds, recipe, put_id, "ids");
	if (r == 0)
		r = put_totals(ds, recipe);
	if (r == 0)
		r = put_clean(ds);
	if (r < 0)
		fprintf(stderr, "generate: %s: %s\n", strerror(-r), rfs_datastore_explain(ds));
	rfs_datastore_close(ds);
	return r;
}

int main(int argc, char **argv)
{
	struct recipe recipe = { .size_bytes = 4096, .prefix = "many", .changed = { .seconds = time(NULL) } };
	int option;

	while ((option = getopt(argc, argv, "b:n:p:q")) != -1) {
		switch (option) {
		case 'b': recipe.size_bytes = strtoull(optarg, NULL, 10); break;
		case 'n': recipe.contracts = strtoull(optarg, NULL, 10); break;
		case 'p': recipe.prefix = optarg; break;
		case 'q': recipe.quiet = true; break;
		default: optind = argc + 1;
		}
	}
	if (argc - optind != 1 || strlen(recipe.prefix) > 200 ||
	    (recipe.size_bytes && recipe.contracts > RFS_BYTES_MAX / recipe.size_bytes)) {
		fputs("usage: generate [-n CONTRACTS] [-b BYTES_EACH] [-p NAME_PREFIX] [-q] DATASTORE\n", stderr);
		return 2;
	}
	return generate(argv[optind], &recipe) < 0;
}
