/* SPDX-License-Identifier: MIT */
/*
 * datastore.h: the Datastore, a persistent, ordered, transactional key-value store.
 *
 * Keys are 1 to RFS_KEY_MAX bytes, values 0 to RFS_VALUE_MAX bytes; neither holds a NUL byte. Keys are ordered
 * as memcmp orders them. A value comes back as it was put or not at all: a back end that finds a stored value
 * damaged says -EBADMSG, and never skips it.
 *
 * Threads: get, get_now, scan and put of a Datastore may be called from any thread at any time, and see the last
 * commit. At most one transaction is open at a time; one thread begins, uses and ends it, and no other thread
 * calls put meanwhile. A get or scan never waits for a commit.
 *
 * Errors, of every call that can fail: -EINVAL (a key or value out of bounds), -ENOMEM, -EBADMSG (what is stored
 * is damaged), -EIO (it could not be read, or could not be made durable), -ENOSPC (no room to store it).
 */
#ifndef RESERVEFS_DATASTORE_H
#define RESERVEFS_DATASTORE_H

#include <reservefs/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define RFS_KEY_MAX 511
#define RFS_VALUE_MAX 1023
#define RFS_IDENTITY_MAX 127

/* A value; `data` is NUL-terminated after `length` bytes. */
struct rfs_value {
	size_t length;
	char data[RFS_VALUE_MAX + 1];
};

struct rfs_datastore;

/*
 * Called by a scan for each record, in key order; key and value are NUL-terminated and valid during the call.
 * `value` is NULL where the stored value is damaged. Returns 0 to go on, 1 to end the scan with success, or a
 * negative errno that the scan returns. It must not call the Datastore.
 */
typedef int (*rfs_scan_fn)(void *user, const char *key, const char *value);

/*
 * What a back end provides. Callers use the functions below, which check arguments; a decorator
 * forwards these. Every slot must be filled.
 */
struct rfs_datastore_ops {
	const char *name;

	/* Reads the last committed value of `key`. -ENOENT: there is none. */
	int (*get)(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);

	/* get, by a caller that must not wait: -EAGAIN where the record would have to be read from the disk, or another call
	 * to end first. A back end that cannot tell says so always. */
	int (*get_now)(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);

	/* Calls `fn` for every committed record whose key begins with `prefix` and is greater than `after`
	 * ("" begins at the start), all from one consistent snapshot. */
	int (*scan)(struct rfs_datastore *ds, const char *prefix, const char *after, rfs_scan_fn fn, void *user);

	/* Begins the transaction. After a failure none is open. */
	int (*begin)(struct rfs_datastore *ds);

	/* get, but sees what the open transaction has put and deleted. */
	int (*txn_get)(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);

	/* Stores `value` under `key`, replacing what was there. After a failure of txn_put or txn_delete the
	 * transaction can only be rolled back. */
	int (*txn_put)(struct rfs_datastore *ds, const char *key, const char *value);

	/* Deletes `key`; that it does not exist is no error. */
	int (*txn_delete)(struct rfs_datastore *ds, const char *key);

	/* Makes all of the transaction durable, or none of it, and ends it. When it returns 0 the changes
	 * survive a crash and a loss of power; after a failure nothing has changed, and the next transaction
	 * starts from what is on disk. */
	int (*commit)(struct rfs_datastore *ds);

	/* Undoes the transaction and ends it. Cannot fail. */
	void (*rollback)(struct rfs_datastore *ds);

	/* Work that keeps later commits quick, and possible, when nobody waits: called by the thread that commits,
	 * after it has answered its callers, and again after as many milliseconds as it returns, should there be no
	 * commit before. 0: there is no need to. */
	unsigned int (*tidy)(struct rfs_datastore *ds);

	/* Moves everything committed so far from where commits are collected to where it stays, as far as nobody reads. */
	int (*settle)(struct rfs_datastore *ds);

	/* Which one this is, in a word: a copy of it is another one. Constant while it is open. */
	void (*identity)(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1]);

	/* One line that says more about the last failure than its errno does; owned by the Datastore and valid
	 * until the next call by the same thread. Never NULL. */
	const char *(*explain)(struct rfs_datastore *ds);

	/* Closes and frees. An open transaction is undone. */
	void (*close)(struct rfs_datastore *ds);
};

/* The base that every back end embeds first. */
struct rfs_datastore {
	const struct rfs_datastore_ops *ops;
	bool in_transaction; /* kept by the functions below */
};

int rfs_datastore_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);
int rfs_datastore_get_now(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);
int rfs_datastore_scan(struct rfs_datastore *ds, const char *prefix, const char *after, rfs_scan_fn fn, void *user);

/* Stores one record durably, in a transaction of its own. */
int rfs_datastore_put(struct rfs_datastore *ds, const char *key, const char *value);

int rfs_datastore_begin(struct rfs_datastore *ds);
int rfs_datastore_txn_get(struct rfs_datastore *ds, const char *key, struct rfs_value *ret_value);
int rfs_datastore_txn_put(struct rfs_datastore *ds, const char *key, const char *value);
int rfs_datastore_txn_delete(struct rfs_datastore *ds, const char *key);
int rfs_datastore_commit(struct rfs_datastore *ds);
void rfs_datastore_rollback(struct rfs_datastore *ds);
unsigned int rfs_datastore_tidy(struct rfs_datastore *ds);
int rfs_datastore_settle(struct rfs_datastore *ds); /* by the thread that commits, between two transactions */
void rfs_datastore_identity(struct rfs_datastore *ds, char ret_identity[RFS_IDENTITY_MAX + 1]);
const char *rfs_datastore_explain(struct rfs_datastore *ds);
void rfs_datastore_close(struct rfs_datastore *ds);

/* The in-memory back end: same contract, nothing survives close. The caller owns the result. */
int rfs_datastore_open_memory(struct rfs_datastore **ret_ds);

struct rfs_sqlite_options {
	/* The database file; its directory must exist. Created when missing. */
	const char *path;
	/* The file must exist already: -ENOENT otherwise. */
	bool must_exist;
	/* The SQLite VFS below this Datastore, or NULL for "unix-excl". For tests. */
	const char *vfs;

	/* Called with one line that the log should have: disk space that had been set aside for the files was no longer
	 * theirs, and was set aside anew, or (`is_trouble`) could not be. By the thread that opens, during that, and by
	 * threads that call tidy, during that; one call at a time. It must not call the Datastore, nor wait. May be NULL. */
	void (*notice)(void *user, bool is_trouble, const char *line);
	void *user;
};

/*
 * Opens the SQLite back end, whose only owner the calling process then is. The caller owns the result.
 *
 * On failure `ret_message` (of `message_size` bytes) holds one line that says what is wrong, where, and what to
 * do. Errors: -EBUSY another process owns the file (the line names its pid where it can be known); -EBADMSG the
 * file is empty, damaged, or not a Datastore; -EPROTO it is of a newer version; -ENOENT; -EACCES; -EROFS;
 * -ENOSPC; -EFBIG the limit on the size of this process's files is in the way; -EIO; -ENOMEM.
 */
int rfs_datastore_open_sqlite(const struct rfs_sqlite_options *options, char *ret_message, size_t message_size,
			      struct rfs_datastore **ret_ds);

#ifdef __cplusplus
}
#endif

#endif
