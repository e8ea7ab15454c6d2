/* SPDX-License-Identifier: MIT */
/*
 * fsck.h: what the parts of fsck.reservefs share.
 *
 *   main.c     arguments and exit status
 *   target.c   which file it is, and that nobody uses it
 *   view.c     the file as it is, damaged records included; changes nothing
 *   check.c    what is wrong, a record at a time, in memory that does not grow with their number
 *   repair.c   what can be put right, through the Datastore
 *   keep.c     the copy that is kept before anything is repaired
 *   report.c   the lines that are printed
 */
#ifndef RFS_FSCK_FSCK_H
#define RFS_FSCK_FSCK_H

#include "reservations/record.h"

#include <reservefs/datastore.h>
#include <reservefs/reservations.h>

/* As fsck(8) has them; a set. */
enum {
	FSCK_CORRECTED = 1,
	FSCK_UNCORRECTED = 4,
	FSCK_OPERATIONAL = 8,
	FSCK_USAGE = 16,
};

enum fsck_mode {
	FSCK_CHECK, /* -n */
	FSCK_PREEN, /* -p: what follows from records that are whole: the index and the totals */
	FSCK_YES,   /* -y: also what has to be worked out */
};

struct fsck_options {
	enum fsck_mode mode;
	bool verbose;
	const char *path;
};

/* What is open at a time. */
struct fsck {
	const struct fsck_options *options;
	char *file;     /* the Datastore's, absolute */
	char *shown;    /* the same as one printable line */
	char *copy;     /* the path of the one that was kept, or NULL */
	struct fsck_view *view;
	struct rfs_datastore *ds; /* NULL: nothing is to be, or can be, repaired */
	int status;     /* a set of the above */
	uint64_t problems;
	uint64_t repairs;
	bool quiet;     /* count problems, and say nothing */
};

/* target.c */

/* Sets `file` and `shown`. Says what is wrong with `path`; the status for it is FSCK_OPERATIONAL. */
int fsck_find(struct fsck *fsck);

/* view.c */

struct fsck_view;

/* A row as it was found; all of it valid until the next call on the view. */
struct fsck_row {
	const char *key;   /* NULL: not even that can be read */
	const char *value; /* NULL: damaged */
};

/* 0, or 1 to end the scan, or a negative errno. It may call fsck_view_get. */
typedef int (*fsck_row_fn)(void *user, const struct fsck_row *row);

/* Opens the file and locks it against everybody else. -EBUSY: it is in use; `ret_line` says by whom. Else SQLite cannot read
 * it, and `ret_line` says why. */
int fsck_view_open(const char *file, const char *shown, char *ret_line, size_t size, struct fsck_view **ret_view);
void fsck_view_close(struct fsck_view *view);

/* What SQLite says about a failure of the others. */
const char *fsck_view_explain(struct fsck_view *view);

/* Calls `fn` for each thing that is wrong with the file as SQLite sees it, or as a Datastore; in words. */
int fsck_view_inspect(struct fsck_view *view, void (*fn)(void *user, const char *what), void *user);

/* All rows whose key is above `after`, in their order; those with a key that cannot be read come last, if `after` is "". */
int fsck_view_scan(struct fsck_view *view, const char *after, fsck_row_fn fn, void *user);

/* -ENOENT: there is none; -EBADMSG: it is damaged. */
int fsck_view_get(struct fsck_view *view, const char *key, struct rfs_value *ret_value);

/* Copies the database as it is into the new file `path`, durably. On failure `ret_line` says why, and nothing is left. */
int fsck_view_copy(struct fsck_view *view, const char *path, char *ret_line, size_t size);

/* check.c */

/* What a pass over all records has found. */
struct fsck_sums {
	uint64_t contracts;      /* that can be read */
	uint64_t reserved_bytes; /* their sizes; meaningless where `overflows` */
	bool overflows;
	uint64_t last_id;        /* the highest that is used anywhere */

	int totals_rc;           /* 0, -ENOENT or -EBADMSG */
	struct rfs_totals_record totals;

	/* Contracts whose record is damaged, or of which there is only the index. */
	uint64_t unreadable;
	uint64_t missing;
	char name[RFS_NAME_MAX + 1]; /* of the first of either */
	uint64_t id;                 /* that the index has for it */
	uint64_t ids;                /* how many there are in the index for it */

};

/* How the contracts that have no record to read are to be dealt with. */
enum fsck_verdict {
	FSCK_NONE,    /* there are none */
	FSCK_STALE,   /* the totals count only those that can be read: the index rows are left over */
	FSCK_LOST,    /* the totals count exactly one more, and have a size for it */
	FSCK_UNKNOWN, /* it cannot be told */
};

enum fsck_verdict fsck_verdict(const struct fsck_sums *sums);

/* Looks at every record, and reports each problem. Returns a negative errno where the file could not be read. */
int fsck_check(struct fsck *fsck, struct fsck_sums *ret_sums);

/* What an index row is: it leads to its contract, to none, to one whose record is damaged, or elsewhere. */
enum fsck_index { FSCK_INDEX_GOOD, FSCK_INDEX_MISSING, FSCK_INDEX_UNREADABLE, FSCK_INDEX_WRONG };
int fsck_index_of(struct fsck *fsck, uint64_t id, const char *name, enum fsck_index *ret_index);

/* keep.c */

/* Copies the file, once, before the first repair. */
int fsck_keep(struct fsck *fsck);

/* repair.c */

/* Repairs what the mode allows, after keeping a copy. */
int fsck_repair(struct fsck *fsck, const struct fsck_sums *sums);

/* report.c */

/* One line "KEY: WHAT", and counts it. */
void fsck_problem(struct fsck *fsck, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
void fsck_repaired(struct fsck *fsck, const char *key, const char *format, ...) __attribute__((format(printf, 3, 4)));
/* One line about the whole, on stderr; adds `status`. */
void fsck_fail(struct fsck *fsck, int status, const char *format, ...) __attribute__((format(printf, 3, 4)));
void fsck_say(struct fsck *fsck, const char *format, ...) __attribute__((format(printf, 2, 3)));

#endif
