/* SPDX-License-Identifier: MIT */
/*
 * internal.h: what the files of this layer share.
 *
 * State has two faces. What was answered is in struct rfs_contract and rfs_reservations.totals, guarded by `lock`, which is
 * never held over a call that can wait. What a transaction is about to make of it, the draft, belongs to the thread that
 * set `turning` alone; publish() turns a committed draft into the answered state in one step.
 */
#ifndef RFS_RESERVATIONS_INTERNAL_H
#define RFS_RESERVATIONS_INTERNAL_H

#include "reservations/record.h"
#include "util/cleanup.h"
#include "util/stall.h"
#include "util/thread.h"

/* Otherwise uthash ends the process where memory is short. */
#define HASH_NONFATAL_OOM 1

#include <pthread.h>
#include <reservefs/reservations.h>
#include <sys/queue.h>
#include <time.h>
#include <uthash.h>

/* Row changes a transaction makes at most, roughly: the Datastore's room is laid out for it. */
#define RFS_BATCH_ITEMS 128
/* Deferred changes that start a transaction without waiting for its deadline. */
#define RFS_DEFERRED_SOON 64
/* Deferred creations that may wait; creating beyond that waits for the disk. */
#define RFS_DEFERRED_MOST 65536
/* How long a deferred change may wait. The promise is one second, commit included. */
#define RFS_DEFERRED_MS 400
/* When the Datastore is first tidied after it was opened. */
#define RFS_FIRST_TIDY_MS 1000
/* How many names that do not exist are remembered. Whoever creates a contract has just found out that it isn't there. */
#define RFS_ABSENT_NAMES 256
/* Ids are given away from a range that is durably granted in steps, so that an id answered to someone is never
 * given away again, even when the contract was lost in a crash. */
#define RFS_ID_GRANT 8192
/* For how long a storage that did not answer within RFS_STALL_MS is asked by a thread that is not needed for anything else. */
#define RFS_SLOW_SECONDS 10
/* Writers: one to turn, and one to ask the storage. */
#define RFS_WRITERS_MOST 2

struct rfs_contract {
	struct rfs_reservations *owner;
	uint64_t id;

	/* Guarded by owner->lock. */
	char *name;
	uint64_t size_bytes;
	struct rfs_time changed;
	uint64_t refs;
	uint64_t pins;
	unsigned queued; /* requests for it that are not answered yet */
	bool watched; /* see rfs_contract_watch */
	bool exists;  /* answered as created, and not as removed */
	bool stored;  /* the Datastore has its rows */
	bool waiting; /* on the list `unstored` */
	bool storing; /* the open transaction puts them */
	UT_hash_handle by_id;
	UT_hash_handle by_name; /* while it exists */
	TAILQ_ENTRY(rfs_contract) deferred;

	/* The draft: of the thread that set `turning`. */
	struct {
		bool open;
		bool exists;
		bool stored;
		uint64_t size_bytes;
		uint64_t held_bytes; /* what the Repo counts for it: the most the draft ever wanted */
		struct rfs_time changed;
		char *name; /* NULL: as it is */
	} draft;
	TAILQ_ENTRY(rfs_contract) touched;
};

TAILQ_HEAD(rfs_contract_list, rfs_contract);
TAILQ_HEAD(rfs_request_list, rfs_request);

struct rfs_check_sums {
	uint64_t contracts;
	uint64_t reserved_bytes;
	uint64_t unindexed; /* 0 where the index has exactly these contracts */
};

/* check.c; guarded by the lock, but for the cursor, which the thread that checks may read without it. */
struct rfs_check {
	bool needed;  /* the state is not that of a clean end, and was not checked */
	bool running; /* there is a thread */
	rfs_check_fn fn;
	void *user;
	pthread_cond_t changed; /* something was published, or it is to end */
	struct rfs_check_sums rows;
	uint64_t unreadable;
	char cursor[RFS_KEY_MAX + 1];  /* records up to this key have been read */
	bool is_at_end;                /* and all others, too */
	bool is_reading;
	bool is_disturbed;                /* meanwhile something was published of a record behind the cursor, */
	char disturbed[RFS_KEY_MAX + 1]; /* of this one at the first */
	enum rfs_check_state state;
	int64_t excess_bytes, excess_contracts;
};

struct rfs_reservations {
	struct rfs_datastore *ds;
	struct rfs_repo *repo;
	pthread_mutex_t lock;
	pthread_cond_t work;

	/* Guarded by lock. */
	struct rfs_contract anchor; /* of no id and no name, always in both tables; see contract.c */
	struct rfs_contract *ids;  /* every contract in memory, by id */
	struct rfs_contract *live; /* those that exist, by name */
	char absent[RFS_ABSENT_NAMES][RFS_NAME_MAX + 1]; /* names that do not exist, each where its hash says; "" none */
	struct rfs_totals totals;  /* as answered, deferred changes included */
	struct rfs_check check;
	bool committing;           /* what is drafted may be stored already, and is not published */
	uint64_t epoch;            /* counts publications; what was read from the Datastore in an older one is stale */
	uint64_t next_id;
	uint64_t granted_id; /* ids below are durably granted */
	struct rfs_request_list queue;
	struct rfs_request_list growing; /* taken from the queue: need more space, and the storage has not said how much it has */
	bool must_ask;         /* such a one has come to the queue since it was asked */
	bool measuring;        /* it is being asked, */
	int64_t since_ns;      /* CLOCK_MONOTONIC; since then */
	int ask_error;         /* what came of it the last time */
	uint64_t asked;        /* how often that was begun */
	uint64_t answered;     /* the last question that it has answered */
	int64_t slow_until_ns; /* CLOCK_MONOTONIC; until then only a thread that can be spared asks it */
	struct rfs_stall stall; /* of whoever turns, while it asks */
	struct rfs_crew crew;  /* of writers */
	unsigned threads;      /* of them, are not kept by the storage */
	int kept;              /* threads that are, and come back if it ever answers; below 0 for the moment between a thread's
				  return and the news that it was kept */
	bool turned_by_writer; /* and not by one who leads */
	uint64_t turns;        /* that have ended */
	pthread_cond_t ended;  /* a turn, or a thread's work for us */
	bool finishing;        /* the Datastore is being closed */
	bool closed;           /* the last one that the storage has kept frees everything */
	unsigned structural; /* RENAME and CREATE requests not answered yet: names are decided by the writer then */
	struct rfs_contract_list unstored, storing;  /* created, in the order of ids; each list holds a reference */
	struct rfs_contract_list removed, removing;
	size_t deferred;               /* entries in unstored and removed */
	struct timespec deferred_until; /* when they must be on their way; valid if deferred */
	bool must_tidy;                /* the Datastore wants to be tidied at `tidy_at`, though nothing was committed */
	struct timespec tidy_at;
	bool has_alarm;                /* the writer sleeps, until `alarm` at most */
	struct timespec alarm;
	bool store_failing;            /* the last attempt to store deferred changes failed */
	bool turning; /* a thread does the writer's work: what is queued now it will find */
	bool stopping;
	struct rfs_commit_times commit_times;

	/* The writer's, that is of the thread that set `turning`. */
	struct rfs_totals_record stored_totals; /* as last committed */
	struct rfs_totals_record draft_totals;
	struct rfs_contract_list touched;
	uint64_t owed_bytes; /* released, but the Repo failed to take it back yet */
	bool suspect;        /* a commit failed: compare with what is on disk before going on */
	int deferred_error;  /* of the run in progress */
	struct rfs_why why;  /* of the transaction in progress, where it cannot go on */
	bool dirty;          /* the open transaction has changed something */
};

/* One thing a transaction does. */
struct rfs_item {
	enum { RFS_ITEM_FORGET, RFS_ITEM_STORE, RFS_ITEM_REQUEST } kind;
	struct rfs_contract *contract; /* FORGET, STORE */
	struct rfs_request *request;   /* REQUEST */
};

/* contract.c; callers hold the lock where the name says so. */
int rfs_contracts_init(struct rfs_reservations *r);
void rfs_contracts_done(struct rfs_reservations *r);
int rfs_contract_new(struct rfs_reservations *r, uint64_t id, const char *name, struct rfs_contract **ret_contract);
void rfs_contract_unref_locked(struct rfs_contract *c);
void rfs_contract_unpin_locked(struct rfs_contract *c, uint64_t count);
void rfs_contract_announce_locked(struct rfs_contract *c); /* enters its id: from then on memory knows it */
void rfs_contract_show_locked(struct rfs_contract *c);     /* it exists from now on */
void rfs_contract_hide_locked(struct rfs_contract *c);     /* it does not exist any more */
void rfs_contract_rename_locked(struct rfs_contract *c, char *name);

/* reservations.c */
void rfs_why_say(struct rfs_why *why, const char *line);
void rfs_reservations_free(struct rfs_reservations *r);
struct rfs_time rfs_time_now(void);
int rfs_peek_locked(struct rfs_reservations *r, const char *name, struct rfs_contract **ret_contract);
void rfs_defer_locked(struct rfs_reservations *r);

/* absent.c; callers hold the lock. */
bool rfs_absent_has(const struct rfs_reservations *r, const char *name);
void rfs_absent_add(struct rfs_reservations *r, const char *name);
void rfs_absent_remove(struct rfs_reservations *r, const char *name);

/* apply.c: the rules. Each runs inside the open transaction and returns a negative errno only where the
 * transaction cannot go on; a refusal is the request's own error. */
int rfs_apply_item(struct rfs_reservations *r, struct rfs_item *item);
int rfs_apply_totals(struct rfs_reservations *r);
void rfs_apply_undo(struct rfs_reservations *r);
void rfs_apply_release(struct rfs_reservations *r, uint64_t bytes);

/* growth.c: asking the storage; callers hold the lock, and it is let go meanwhile. */
bool rfs_growth_is_locked(const struct rfs_request *request);
bool rfs_growth_must_wait_locked(const struct rfs_reservations *r, const struct rfs_request *request);
bool rfs_growth_put_aside_locked(struct rfs_reservations *r, struct rfs_request *request);
bool rfs_growth_is_slow_locked(const struct rfs_reservations *r);
bool rfs_growth_can_turn_locked(const struct rfs_reservations *r);
bool rfs_growth_can_spare_locked(const struct rfs_reservations *r);
bool rfs_growth_ask_in_turn_locked(struct rfs_reservations *r);
void rfs_growth_ask_locked(struct rfs_reservations *r);
void rfs_growth_refuse(struct rfs_reservations *r);
void rfs_growth_on_stall(void *reservations);

/* check.c */
void rfs_check_note_gone_locked(struct rfs_reservations *r, const struct rfs_contract *c);
void rfs_check_note_there_locked(struct rfs_reservations *r, const struct rfs_contract *c);
void rfs_check_result_locked(const struct rfs_reservations *r, struct rfs_check_result *ret_result);
bool rfs_check_forbids_growth(struct rfs_reservations *r);
/* Whether a clean end may be left behind. */
bool rfs_check_vouches(struct rfs_reservations *r);

/* writer.c */
void rfs_answer(struct rfs_reservations *r, struct rfs_request *request, int error);
int rfs_writer_start_locked(struct rfs_reservations *r);
void rfs_writer_finish(struct rfs_reservations *r);
bool rfs_writer_come_back_locked(struct rfs_reservations *r);
void rfs_writer_lead(struct rfs_reservations *r);
void rfs_writer_tidy_after_locked(struct rfs_reservations *r, unsigned int ms);
bool rfs_writer_oversleeps_locked(const struct rfs_reservations *r);

#endif
