/* SPDX-License-Identifier: MIT */
/* crash_scratch.h: a directory of a test's own, in memory where the machine has that. */
#ifndef TESTS_CRASH_SCRATCH_H
#define TESTS_CRASH_SCRATCH_H

#include <limits.h>
#include <stddef.h>

/* What the two files of a Datastore hold. */
struct crash_files {
	char *main;
	size_t main_bytes;
	char *wal;
	size_t wal_bytes;
};

#define CRASH_MAIN "datastore.db"
#define CRASH_WAL "datastore.db-wal"
#define CRASH_SPARE "datastore.db-spare" /* holds nothing, so that it need not be kept */

struct crash_scratch {
	char directory[PATH_MAX / 2];
	char path[PATH_MAX]; /* of the Datastore in it, which isn't there yet */
};

/* Ends the process with a message where it can't be made. */
void crash_scratch_make(struct crash_scratch *s);

/* Removes the files in it. */
void crash_scratch_empty(const struct crash_scratch *s);

/* Writes the file `name`. Pages of zeros become holes. */
void crash_scratch_write(const struct crash_scratch *s, const char *name, const char *data, size_t bytes);

/* Reads the file `name`; the caller frees. NULL: there is none. */
char *crash_scratch_read(const struct crash_scratch *s, const char *name, size_t *ret_bytes);

/* Keeps what is there, and puts it back. */
void crash_scratch_save(const struct crash_scratch *s, struct crash_files *ret_files);
void crash_scratch_restore(const struct crash_scratch *s, const struct crash_files *files);
void crash_files_done(struct crash_files *files);

void crash_scratch_remove(const struct crash_scratch *s);

#endif
