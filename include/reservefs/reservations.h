/* SPDX-License-Identifier: MIT */
/*
 * reservations.h: which contract holds how much of a Repo, kept in a Datastore.
 *
 * A contract has a name, a size in bytes, the moment of its last change, and an id that is never reused. The sum
 * of all sizes is what the Repo counts as reserved, at every instant that can be seen.
 *
 * Threads: every function may be called from any thread. Changes are requests: they are queued, and one thread at a
 * time, the writer owned by this module or one that offered to (rfs_reservations_submit_and_lead), takes all that are
 * queued, checks them one after the other, commits them in one Datastore transaction, and then answers each. Reads show
 * the last answered state, and never wait for the writer. Functions marked [disk] may read from the Datastore; the others
 * touch memory only.
 *
 * Where the storage of the Repo does not answer, requests that need more space wait, and no others.
 *
 * What a successful answer promises: the change is durable. Creating a contract and removing one of size 0 are
 * the exception: they are durable with the next durable change, with RFS_SYNC, or within one second.
 */
#ifndef RESERVEFS_RESERVATIONS_H
#define RESERVEFS_RESERVATIONS_H

#include <reservefs/datastore.h>
#include <reservefs/repo.h>
#include <reservefs/types.h>
#include <sys/queue.h>

#ifdef __cplusplus
extern "C" {
#endif

struct rfs_reservations;

/* A contract in memory. Referenced, never freed under a holder; it outlives its removal (see rfs_contract_stat). */
struct rfs_contract;

/* Ids begin here; lower numbers are free for the caller's own use. */
#define RFS_CONTRACT_ID_FIRST 8
/* Ids stay below this, so that twice an id still fits in 63 bits. */
#define RFS_CONTRACT_ID_END (UINT64_C(1) << 61)

struct rfs_contract_stat {
	uint64_t id;
	uint64_t size_bytes;
	struct rfs_time changed;
};

/* The sums, from the last answered state. */
struct rfs_totals {
	uint64_t reserved_bytes;
	uint64_t contracts;
	struct rfs_time changed; /* when a contract was last created, removed or renamed */
};

enum rfs_verb {
	RFS_RESIZE, /* make the contract's size `size_bytes`; RFS_ALL: all that is left, its own included */
	RFS_REMOVE, /* release what it holds and forget it */
	RFS_RENAME, /* give it the name `new_name` */
	RFS_CREATE, /* record a contract `new_name` of size 0 */
	RFS_SYNC,   /* make durable what was answered before */
};

/* A size_bytes that stands for the word `max`. */
#define RFS_ALL UINT64_MAX

struct rfs_request;

/*
 * Called once a request, by the thread that writes or by the one that submitted, with no lock held. It must not
 * block, and must not wait for another request. `error` is 0 or a negative errno:
 *   RFS_RESIZE  -ENOSPC (see `available_bytes`), -ENODEV the contract is gone
 *   RFS_REMOVE  -ENODEV
 *   RFS_RENAME  -EEXIST, -EINVAL or -ENAMETOOLONG (the name), -ENODEV
 *   RFS_CREATE  -EEXIST, -EINVAL or -ENAMETOOLONG (the name)
 *   any         -EIO the Datastore cannot store the change, -ENOMEM, -EBADMSG a record is damaged, -ECANCELED
 *               (rfs_request_cancel), -ESHUTDOWN. Nothing changed.
 */
typedef void (*rfs_done_fn)(struct rfs_request *request, int error);

/* One request. The caller owns it, zeroes it, fills the first part, and keeps it alive until `done` is called. */
struct rfs_request {
	enum rfs_verb verb;
	struct rfs_contract *contract; /* RESIZE, REMOVE, RENAME; the caller holds a reference until `done` */
	uint64_t size_bytes;           /* RESIZE */
	char new_name[RFS_NAME_MAX + 1]; /* RENAME, CREATE */
	bool from_memory;                /* CREATE: submit must not read from the Datastore; the writer does if need be */
	rfs_done_fn done;
	void *user;

	/* Results, valid in `done`. */
	struct rfs_contract *created;  /* CREATE: referenced for the caller, who owns it */
	uint64_t old_size_bytes;       /* the size it was checked against */
	uint64_t wanted_bytes;         /* RESIZE: the size asked for, RFS_ALL worked out */
	uint64_t available_bytes;      /* RESIZE, -ENOSPC: what was available to grow by */
	const char *why;               /* more about a failure than its errno says, or NULL; valid in `done` alone */
	bool watched;                  /* RESIZE: someone relies on what rfs_contract_watch said before */

	/* Private to the module. */
	TAILQ_ENTRY(rfs_request) link;
	enum {
		RFS_PLACE_NONE,    /* not submitted, being worked on, or answered */
		RFS_PLACE_QUEUE,   /* waits for whoever writes */
		RFS_PLACE_GROWING, /* waits for the storage to say how much it has */
	} place;
	uint64_t asked; /* how often the storage had been asked when it came */
	int error;
};

/*
 * Takes over `ds` and `repo`, reads the totals (not the contracts), and starts the writer. Until it returns 0 the
 * caller keeps owning both; then rfs_reservations_close closes them. On failure `ret_message` holds one line.
 * -EBADMSG: the totals are damaged.
 */
int rfs_reservations_open(struct rfs_datastore *ds, struct rfs_repo *repo, char *ret_message, size_t message_size,
			  struct rfs_reservations **ret_r);

/*
 * Answers all that is queued, makes everything durable, stops the writer, and closes Datastore and Repo. What needs more space
 * is not waited for where the storage of the Repo does not answer: it gets -ESHUTDOWN. All contract references must be gone.
 * -EIO: something answered could not be made durable. -ETIMEDOUT: the Datastore's disk has not let anything be stored for
 * RFS_CLOSE_PATIENCE_SECONDS; it is left open, and what belongs to `r` is left to the end of the process.
 */
#define RFS_CLOSE_PATIENCE_SECONDS 10
int rfs_reservations_close(struct rfs_reservations *r);

/* Whether `name` may name a contract: -EINVAL (empty, control characters, invalid UTF-8, '/', leading '.'),
 * -ENAMETOOLONG (over RFS_NAME_MAX bytes). */
int rfs_name_check(const char *name);

/* Queues a request, or answers it at once where nothing needs to be waited for. Never blocks on the disk,
 * except RFS_CREATE without `from_memory` [disk]. */
void rfs_reservations_submit(struct rfs_reservations *r, struct rfs_request *request);

/*
 * The same, but where the request has to be queued and no thread is writing, the caller's does: it calls before(user), then
 * does the writer's work until nothing is queued, and only then returns. So a lone request is made durable without waking
 * another thread first. `before` is where a caller with something else to attend to hands that over. [disk]
 */
void rfs_reservations_submit_and_lead(struct rfs_reservations *r, struct rfs_request *request, void (*before)(void *user),
				      void *user);

/* Submits and waits for the answer. The result parts of `request` are valid afterwards, but for `why`, which is copied; it may be
 * NULL. [disk] */
int rfs_reservations_perform(struct rfs_reservations *r, struct rfs_request *request, struct rfs_why *why);

/* Takes back a request that the writer has not begun: it is answered with -ECANCELED. Returns whether it was. */
bool rfs_request_cancel(struct rfs_reservations *r, struct rfs_request *request);

/* Finds a contract by name or id; the caller owns a reference. -ENOENT there is none, -EBADMSG its record is damaged,
 * -EIO. [disk] */
int rfs_reservations_lookup(struct rfs_reservations *r, const char *name, struct rfs_contract **ret_contract);
int rfs_reservations_lookup_id(struct rfs_reservations *r, uint64_t id, struct rfs_contract **ret_contract);

/* The same by a caller that must not wait: from memory, which also knows names that were lately found not to exist, and, for a
 * name, from as much of the Datastore as is at hand. -EAGAIN: to tell, the disk must be waited for. */
int rfs_reservations_peek(struct rfs_reservations *r, const char *name, struct rfs_contract **ret_contract);
int rfs_reservations_peek_id(struct rfs_reservations *r, uint64_t id, struct rfs_contract **ret_contract);

/* Drops `count` pins of the contract `id`, which may have been removed; see rfs_contract_unpin. */
void rfs_reservations_unpin_id(struct rfs_reservations *r, uint64_t id, uint64_t count);

/* Called for each contract of a listing. Returns 0 to go on, 1 to stop before this one. Must not call this module. */
typedef int (*rfs_list_fn)(void *user, uint64_t id, const char *name);

/*
 * Lists contracts whose id is above `after_id`, in the order of their ids, so that a listing can go on where it
 * stopped whatever was created or removed meanwhile. A contract that exists throughout is listed
 * exactly once. -EBADMSG: a record is damaged; those before it have been listed. `why` may be NULL. [disk]
 */
int rfs_reservations_list(struct rfs_reservations *r, uint64_t after_id, rfs_list_fn fn, void *user, struct rfs_why *why);

void rfs_reservations_totals(struct rfs_reservations *r, struct rfs_totals *ret_totals);

/* Asks the storage of the Repo how it is, which takes as long as that pleases. -EIO or another errno: it does not say. A caller
 * that others do not wait for holds `r` around it. */
int rfs_reservations_measure(struct rfs_reservations *r);

/* Has the storage asked by whoever turns, and does not wait for that. What came of it the last time: 0, a negative errno, or
 * -EINPROGRESS: it does not answer. */
int rfs_reservations_refresh(struct rfs_reservations *r);

/* Keeps figures, totals and measuring usable until as many calls of rfs_reservations_let_go, also where
 * rfs_reservations_close comes first: for a thread that the storage may keep beyond that. */
void rfs_reservations_hold(struct rfs_reservations *r);
void rfs_reservations_let_go(struct rfs_reservations *r);

/* A storage that has not answered for as long does not answer, for who has to end; a busy machine takes some of it. */
#define RFS_SILENT_MS 500

/* For who is about to close: where the storage of the Repo does not answer, requests that wait for it get -ESHUTDOWN. Whether
 * that is so. */
bool rfs_reservations_refuse_stalled(struct rfs_reservations *r);

/* The Repo's figures by the last measurement, and the sums, all from one instant. */
void rfs_reservations_figures(struct rfs_reservations *r, struct rfs_figures *ret_figures, struct rfs_totals *ret_totals);

/* What became of the comparison of all contracts' records with the totals. */
enum rfs_check_state {
	RFS_CHECK_SOUND, /* they agree, or there is no reason to doubt it */
	RFS_CHECK_RUNNING,
	RFS_CHECK_DIFFERS,
	RFS_CHECK_DAMAGED, /* records cannot be read, so that it cannot be told */
};

struct rfs_check_result {
	enum rfs_check_state state;
	int64_t excess_bytes;     /* by how much the records' sum is above `reserved`; below 0: below it */
	int64_t excess_contracts; /* the same of their number */
	uint64_t unreadable;      /* records */
	bool is_misindexed;       /* the index, by which contracts are listed, does not lead to exactly those */
};

/* Called once, when it has come to an end, by the thread that checks, with no lock held. It must not call this module. */
typedef void (*rfs_check_fn)(void *user, const struct rfs_check_result *result);

/*
 * Where the state was not left by a clean end in the same file, begins to compare all records with the totals, in the
 * background, with at most a twentieth of a processor. Nothing is corrected. Where the records' sum turns out to be the larger
 * one, growth is refused with -EIO from then on. Returns 1 where it began, 0 where there is no need, or -EAGAIN or -ENOMEM: no
 * thread could be had.
 */
int rfs_reservations_check(struct rfs_reservations *r, rfs_check_fn fn, void *user);
void rfs_reservations_check_result(struct rfs_reservations *r, struct rfs_check_result *ret_result);

struct rfs_contract *rfs_contract_ref(struct rfs_contract *contract);
void rfs_contract_unref(struct rfs_contract *contract);

/* Pins keep a contract in memory without a reference each: a layer above counts on them what someone else
 * remembers (a kernel's lookups). unpin of more than are held drops all. */
void rfs_contract_pin(struct rfs_contract *contract);
void rfs_contract_unpin(struct rfs_contract *contract, uint64_t count);

/* The last answered state. -ENODEV: it was removed; its id is still told. */
int rfs_contract_stat(struct rfs_contract *contract, struct rfs_contract_stat *ret_stat);

/* The same, and asks to be told: the next RFS_RESIZE of the contract that succeeds says so in `watched`, once. */
int rfs_contract_watch(struct rfs_contract *contract, struct rfs_contract_stat *ret_stat);

/* Copies the name it has now, or had when it was removed, into `ret_name` of RFS_NAME_MAX + 1 bytes. */
void rfs_contract_name(struct rfs_contract *contract, char *ret_name);

/* How long commits took, for metrics: count and sum, and how many took at most each bound. */
#define RFS_COMMIT_BUCKETS 12
extern const double rfs_commit_bounds_seconds[RFS_COMMIT_BUCKETS];
struct rfs_commit_times {
	uint64_t count;
	double sum_seconds;
	uint64_t at_most[RFS_COMMIT_BUCKETS]; /* cumulative */
};
void rfs_reservations_commit_times(struct rfs_reservations *r, struct rfs_commit_times *ret_times);

#ifdef __cplusplus
}
#endif

#endif
