/* SPDX-License-Identifier: MIT */
/*
 * crash_history.c: the history, the rules once more, and the comparison. The rules are computed from the sizes alone, for
 * each state anew, so that no counter here can hide one that drifts there.
 */
#include "crash_history.h"

#include <errno.h>
#include <inttypes.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>

#define NAME_250 \
	"llllllllllllllllllllllllllllllllllllllllllllllllll" \
	"llllllllllllllllllllllllllllllllllllllllllllllllll" \
	"llllllllllllllllllllllllllllllllllllllllllllllllll" \
	"llllllllllllllllllllllllllllllllllllllllllllllllll" \
	"llllllllllllllllllllllllllllllllllllllllllllllllll"

const char *const crash_names[CRASH_NAMES] = {
	"a", "b", "c", "d", "e", "f", "g", "h", "contract with spaces", "\xc3\xa4\xe2\x82\xac", "j", NAME_250 "12345",
};

/* The histories */

static void add(struct crash_history *h, struct crash_op op)
{
	if (h->count < CRASH_OPS_MAX)
		h->ops[h->count++] = op;
}

static void create(struct crash_history *h, unsigned name)
{
	add(h, (struct crash_op){ .verb = RFS_CREATE, .name = name });
}

static void resize(struct crash_history *h, unsigned name, uint64_t size_bytes)
{
	add(h, (struct crash_op){ .verb = RFS_RESIZE, .name = name, .size_bytes = size_bytes });
}

static void rename_to(struct crash_history *h, unsigned name, unsigned new_name)
{
	add(h, (struct crash_op){ .verb = RFS_RENAME, .name = name, .new_name = new_name });
}

static void remove_it(struct crash_history *h, unsigned name)
{
	add(h, (struct crash_op){ .verb = RFS_REMOVE, .name = name });
}

static void sync_all(struct crash_history *h)
{
	add(h, (struct crash_op){ .verb = RFS_SYNC });
}

/* The last `count` changes are asked for together. */
static void together(struct crash_history *h, unsigned count)
{
	for (unsigned i = 2; i <= count; i++)
		h->ops[h->count - i].with_next = true;
}

void crash_history_of_all_kinds(struct crash_history *h)
{
	h->count = 0;
	/* One by one: grow, shrink, all that is left, refused, the same again. */
	create(h, 0);
	resize(h, 0, 100);
	create(h, 1);
	create(h, 1);
	resize(h, 1, 200);
	resize(h, 1, 150);
	resize(h, 0, RFS_ALL);
	create(h, 2);
	resize(h, 2, 1);
	resize(h, 0, 50);
	resize(h, 0, 50);
	resize(h, 2, 800);
	resize(h, 2, 801);
	/* Names: the longest, odd ones, one that is taken, one that comes back. */
	rename_to(h, 0, 11);
	rename_to(h, 1, 11);
	create(h, 8);
	rename_to(h, 8, 9);
	resize(h, 9, 0);
	remove_it(h, 2);
	create(h, 2);
	resize(h, 2, 7);
	remove_it(h, 2);
	resize(h, 11, 60);
	remove_it(h, 11);
	/* Changes that promise less, made durable by another one, and by a sync. */
	create(h, 3);
	create(h, 4);
	remove_it(h, 3);
	resize(h, 1, 151);
	create(h, 3);
	remove_it(h, 9);
	sync_all(h);
	/* Several that share a commit. */
	create(h, 5);
	create(h, 6);
	create(h, 7);
	sync_all(h);
	resize(h, 3, 30);
	resize(h, 4, 40);
	resize(h, 5, 50);
	resize(h, 6, 60);
	rename_to(h, 7, 10);
	together(h, 5);
	resize(h, 3, 31);
	remove_it(h, 4);
	resize(h, 5, 0);
	rename_to(h, 6, 0);
	together(h, 4);
	resize(h, 1, 1);
	remove_it(h, 0);
	remove_it(h, 5);
	remove_it(h, 10);
	create(h, 0);
}

void crash_history_of_rounds(struct crash_history *h, unsigned rounds)
{
	h->count = 0;
	for (unsigned i = 0; i < rounds && h->count + 4 <= CRASH_OPS_MAX; i++) {
		create(h, i % CRASH_NAMES);
		resize(h, i % CRASH_NAMES, 10 + i);
		if (i >= 2)
			remove_it(h, (i - 2) % CRASH_NAMES);
	}
}

/* The rules */

static uint64_t sum(const struct crash_state *s)
{
	uint64_t bytes = 0;
	for (unsigned n = 0; n < CRASH_NAMES; n++)
		bytes += s->contracts[n].size_bytes;
	return bytes;
}

static int do_resize(struct crash_state *s, const struct crash_op *op)
{
	uint64_t left = CRASH_CAPACITY - sum(s), old = s->contracts[op->name].size_bytes;
	uint64_t new = op->size_bytes == RFS_ALL ? old + left : op->size_bytes;
	if (new > old + left)
		return -ENOSPC;
	s->contracts[op->name].size_bytes = new;
	return 0;
}

/* Does `op` to `s`; `id` is the new contract's. Returns the right answer. */
static int apply(struct crash_state *s, const struct crash_op *op, uint64_t id)
{
	if (op->verb == RFS_SYNC)
		return 0;
	if (op->verb == RFS_CREATE) {
		if (s->contracts[op->name].id)
			return -EEXIST;
		s->contracts[op->name].id = id;
		return 0;
	}
	if (!s->contracts[op->name].id)
		return -ENOENT;
	if (op->verb == RFS_RESIZE)
		return do_resize(s, op);
	if (op->verb == RFS_RENAME) {
		if (s->contracts[op->new_name].id)
			return -EEXIST;
		s->contracts[op->new_name] = s->contracts[op->name];
	}
	memset(&s->contracts[op->name], 0, sizeof s->contracts[op->name]);
	return 0;
}

/* Whether `op`, done to `s` with success, makes itself and all before it durable. */
static bool hardens(const struct crash_state *s, const struct crash_op *op)
{
	uint64_t size = s->contracts[op->name].size_bytes;
	switch (op->verb) {
	case RFS_CREATE:
		return false;
	case RFS_REMOVE:
		return size > 0;
	case RFS_RESIZE:
		return op->size_bytes == RFS_ALL ? sum(s) < CRASH_CAPACITY : op->size_bytes != size;
	default:
		return true;
	}
}

void crash_answered_state(const struct crash_history *h, const struct crash_progress *p, struct crash_state *ret_state)
{
	*ret_state = p->start;
	for (unsigned i = 0; i < p->answered; i++)
		if (p->errors[i] == 0)
			(void) apply(ret_state, &h->ops[i], p->ids[i]);
}

/* How many of the answered changes must be there. */
static unsigned hard(const struct crash_history *h, const struct crash_progress *p, struct crash_state *ret_state)
{
	struct crash_state s = p->start;
	unsigned at_least = 0;

	*ret_state = s;
	for (unsigned i = 0; i < p->answered; i++) {
		bool hardening = i < p->settled || (p->errors[i] == 0 && hardens(&s, &h->ops[i]));
		if (p->errors[i] == 0)
			(void) apply(&s, &h->ops[i], p->ids[i]);
		if (hardening) {
			at_least = i + 1;
			*ret_state = s;
		}
	}
	return at_least;
}

/* An id that is in `found` under `name`, if nobody in `s` has it: the id of a contract whose creation was not answered. */
static uint64_t unknown_id(const struct crash_state *s, const struct crash_state *found, const struct crash_op *op)
{
	uint64_t id = 0;
	for (unsigned n = 0; n < CRASH_NAMES && op->verb == RFS_CREATE; n++) {
		bool known = found->contracts[n].id == 0;
		for (unsigned m = 0; m < CRASH_NAMES; m++)
			known = known || s->contracts[m].id == found->contracts[n].id;
		if (!known)
			id = found->contracts[n].id;
	}
	return id;
}

void crash_describe(const struct crash_state *state, char *ret_text, size_t size)
{
	size_t length = 0;
	ret_text[0] = 0;
	for (unsigned n = 0; n < CRASH_NAMES && length < size; n++)
		if (state->contracts[n].id)
			length += (size_t) snprintf(ret_text + length, size - length, " %.8s(%" PRIu64 ")=%" PRIu64, crash_names[n],
						    state->contracts[n].id, state->contracts[n].size_bytes);
}

bool crash_may_be(const struct crash_history *h, const struct crash_progress *p, const struct crash_state *found,
		  char *ret_message, size_t message_size)
{
	struct crash_state s;
	unsigned answered = p->answered, asked = p->asked;
	unsigned at_least = hard(h, p, &s);
	char least[512], have[512];

	if (memcmp(&s, found, sizeof s) == 0)
		return true;
	crash_describe(&s, least, sizeof least);
	for (unsigned i = at_least; i < asked; i++) {
		if (i < answered && p->errors[i] != 0)
			continue;
		if (apply(&s, &h->ops[i], i < answered ? p->ids[i] : unknown_id(&s, found, &h->ops[i])) == 0 &&
		    memcmp(&s, found, sizeof s) == 0)
			return true;
	}
	crash_describe(found, have, sizeof have);
	snprintf(ret_message, message_size, "%u asked, %u answered, %u durable; durable were:%s; found:%s", asked, answered, at_least,
		 least, have);
	return false;
}

/* Running */

struct asked {
	struct rfs_request request;
	unsigned op;
	struct crash_run *run;
};

struct crash_run {
	struct rfs_reservations *r;
	const struct crash_history *h;
	struct crash_progress *p;
	const struct crash_run_options *options;
	struct crash_state state; /* as answered so far */
	bool stop;
	pthread_t asker;
	pthread_mutex_t lock;
	pthread_cond_t changed;
};

static void note_surprise(struct crash_run *run, unsigned op, int error, int right)
{
	if (run->p->surprise[0])
		return;
	snprintf(run->p->surprise, sizeof run->p->surprise, "change %u (verb %d of %.8s) was answered %s, right is %s", op,
		 (int) run->h->ops[op].verb, crash_names[run->h->ops[op].name], strerror(-error), strerror(-right));
}

/* Notes one answer; answers come in the order of the requests. */
static void note_answer(struct crash_run *run, unsigned op, int error, struct rfs_contract *created)
{
	const struct crash_run_options *o = run->options;
	struct rfs_contract_stat st = { 0 };
	struct crash_state next = run->state;

	if (created)
		(void) rfs_contract_stat(created, &st);
	pthread_mutex_lock(&run->lock);
	int right = apply(&next, &run->h->ops[op], st.id ? st.id : UINT64_MAX);
	bool excused = error != 0 && error != right && o->excuse && o->excuse(o->user, &run->h->ops[op], error);
	if (op != run->p->answered)
		snprintf(run->p->surprise, sizeof run->p->surprise, "change %u was answered before the one before it", op);
	if (error != right && !excused)
		note_surprise(run, op, error, right);
	if (error == 0)
		run->state = next;
	run->p->errors[op] = error;
	run->p->ids[op] = st.id;
	run->p->answered = op + 1;
	if (excused && o->stop_at_error)
		run->stop = true;
	if (o->answered)
		o->answered(o->user, op);
	pthread_cond_signal(&run->changed);
	pthread_mutex_unlock(&run->lock);
}

static void wait_for(struct crash_run *run, unsigned answers)
{
	pthread_mutex_lock(&run->lock);
	while (run->p->answered < answers)
		pthread_cond_wait(&run->changed, &run->lock);
	pthread_mutex_unlock(&run->lock);
}

/* What needs no disk is answered at once by the thread that asks, and is noted after what the writer has still to answer. */
static void done(struct rfs_request *request, int error)
{
	struct asked *a = request->user;

	if (pthread_equal(pthread_self(), a->run->asker))
		wait_for(a->run, a->op);
	note_answer(a->run, a->op, error, request->created);
}

static void ask(struct crash_run *run, struct asked *a, unsigned op)
{
	const struct crash_op *o = &run->h->ops[op];
	int error = 0;

	*a = (struct asked){ .op = op, .run = run };
	a->request.verb = o->verb;
	a->request.size_bytes = o->size_bytes;
	a->request.done = done;
	a->request.user = a;
	strncpy(a->request.new_name, crash_names[o->verb == RFS_RENAME ? o->new_name : o->name], RFS_NAME_MAX);
	if (run->options->asking)
		run->options->asking(run->options->user, op);
	run->p->asked = op + 1;
	if (o->verb != RFS_CREATE && o->verb != RFS_SYNC)
		error = rfs_reservations_lookup(run->r, crash_names[o->name], &a->request.contract);
	if (error == 0) {
		rfs_reservations_submit(run->r, &a->request);
		return;
	}
	/* Answered here, so it must not overtake those that the writer answers. */
	wait_for(run, op);
	note_answer(run, op, error, NULL);
}

void crash_run(struct rfs_reservations *r, const struct crash_history *h, struct crash_progress *p,
	       const struct crash_run_options *options)
{
	struct crash_run run = { .r = r, .h = h, .p = p, .options = options, .asker = pthread_self(), .lock = PTHREAD_MUTEX_INITIALIZER,
				 .changed = PTHREAD_COND_INITIALIZER };
	struct asked group[8];

	crash_answered_state(h, p, &run.state);
	while (p->asked < h->count && !run.stop) {
		unsigned first = p->asked, count = 0;
		do
			ask(&run, &group[count], first + count);
		while (h->ops[first + count++].with_next && count < sizeof group / sizeof group[0]);
		wait_for(&run, first + count);
		/* `done` has been called; its last use of the request is over once the lock was free again. */
		for (unsigned i = 0; i < count; i++) {
			rfs_contract_unref(group[i].request.contract);
			rfs_contract_unref(group[i].request.created);
		}
	}
}

/* Reading */

struct listing {
	unsigned count;
	uint64_t ids[CRASH_NAMES + 1];
	char names[CRASH_NAMES + 1][RFS_NAME_MAX + 1];
};

static int list_one(void *user, uint64_t id, const char *name)
{
	struct listing *l = user;
	if (l->count > CRASH_NAMES)
		return 1;
	l->ids[l->count] = id;
	strncpy(l->names[l->count++], name, RFS_NAME_MAX);
	return 0;
}

static int say(char *ret_message, size_t message_size, const char *what, int rc)
{
	snprintf(ret_message, message_size, "%s: %s", what, strerror(-rc));
	return rc;
}

/* One contract, looked up by name and by id. */
static int read_one(struct rfs_reservations *r, const char *name, uint64_t id, struct rfs_contract_stat *ret_stat)
{
	struct rfs_contract *by_name, *by_id;
	char told[RFS_NAME_MAX + 1];

	int rc = rfs_reservations_lookup(r, name, &by_name);
	if (rc < 0)
		return rc;
	rc = rfs_reservations_lookup_id(r, id, &by_id);
	if (rc == 0) {
		rfs_contract_name(by_id, told);
		rc = by_id != by_name || strcmp(told, name) != 0 ? -EBADMSG : rfs_contract_stat(by_id, ret_stat);
		rfs_contract_unref(by_id);
	}
	rfs_contract_unref(by_name);
	return rc;
}

static int read_listed(struct rfs_reservations *r, const struct listing *l, struct crash_state *ret_state, char *ret_message,
		       size_t message_size)
{
	for (unsigned i = 0; i < l->count; i++) {
		struct rfs_contract_stat st;
		unsigned n = 0;

		while (n < CRASH_NAMES && strcmp(crash_names[n], l->names[i]) != 0)
			n++;
		if (n == CRASH_NAMES || ret_state->contracts[n].id)
			return say(ret_message, message_size, "a name that nobody gave, or one twice", -EBADMSG);
		int rc = read_one(r, l->names[i], l->ids[i], &st);
		if (rc < 0 || st.id != l->ids[i])
			return say(ret_message, message_size, "a listed contract can't be looked up", rc < 0 ? rc : -EBADMSG);
		ret_state->contracts[n].id = st.id;
		ret_state->contracts[n].size_bytes = st.size_bytes;
	}
	return 0;
}

int crash_read(struct rfs_reservations *r, struct crash_state *ret_state, char *ret_message, size_t message_size)
{
	struct listing l = { 0 };
	struct crash_state s = { 0 };
	struct rfs_figures figures;
	struct rfs_totals totals;

	int rc = rfs_reservations_list(r, 0, list_one, &l, NULL);
	if (rc < 0)
		return say(ret_message, message_size, "the contracts can't be listed", rc);
	rc = read_listed(r, &l, &s, ret_message, message_size);
	if (rc < 0)
		return rc;
	rfs_reservations_figures(r, &figures, &totals);
	if (totals.contracts != l.count || totals.reserved_bytes != sum(&s) || figures.reserved != sum(&s) ||
	    figures.available != CRASH_CAPACITY - sum(&s)) {
		snprintf(ret_message, message_size,
			 "%u contracts of %" PRIu64 " bytes are listed, and counted are %" PRIu64 " of %" PRIu64 ", %" PRIu64
			 " available",
			 l.count, sum(&s), totals.contracts, totals.reserved_bytes, figures.available);
		return -EBADMSG;
	}
	*ret_state = s;
	return 0;
}

/* Opening and judging */

int crash_open(const char *path, crash_wrap_fn wrap, void *user, char *ret_message, size_t message_size,
	       struct rfs_reservations **ret_r)
{
	struct rfs_sqlite_options options = { .path = path };
	struct rfs_datastore *ds;
	struct rfs_repo *repo;

	int rc = rfs_datastore_open_sqlite(&options, ret_message, message_size, &ds);
	if (rc < 0)
		return rc;
	rc = rfs_repo_open_quota(CRASH_CAPACITY, &repo);
	if (rc < 0) {
		rfs_datastore_close(ds);
		return say(ret_message, message_size, "the Repo can't be opened", rc);
	}
	rc = wrap ? wrap(user, &ds, &repo) : 0;
	if (rc == 0)
		rc = rfs_reservations_open(ds, repo, ret_message, message_size, ret_r);
	if (rc < 0) {
		rfs_datastore_close(ds);
		rfs_repo_close(repo);
	}
	return rc;
}

/* With nothing left, everything is available. */
static int remove_all(struct rfs_reservations *r, const struct crash_state *s, char *ret_message, size_t message_size)
{
	struct rfs_figures figures;
	struct rfs_totals totals;

	for (unsigned n = 0; n < CRASH_NAMES; n++) {
		struct rfs_request q = { .verb = RFS_REMOVE };
		if (!s->contracts[n].id)
			continue;
		int rc = rfs_reservations_lookup(r, crash_names[n], &q.contract);
		if (rc == 0)
			rc = rfs_reservations_perform(r, &q, NULL);
		rfs_contract_unref(q.contract);
		if (rc < 0)
			return say(ret_message, message_size, "a contract can't be removed", rc);
	}
	int rc = 0;
	rfs_reservations_figures(r, &figures, &totals);
	if (figures.available != CRASH_CAPACITY || totals.contracts != 0 || totals.reserved_bytes != 0)
		rc = -EBADMSG;
	return rc < 0 ? say(ret_message, message_size, "something stays counted when all is removed", rc) : 0;
}

static int check_ok(void *user, int columns, char **values, char **names)
{
	(void) columns;
	(void) names;
	*(bool *) user = strcmp(values[0], "ok") == 0;
	return 0;
}

static int check_file(const char *path, char *ret_message, size_t message_size)
{
	bool ok = false;
	sqlite3 *db = NULL;

	int code = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE, "unix-excl");
	if (code == SQLITE_OK)
		code = sqlite3_exec(db, "PRAGMA integrity_check", check_ok, &ok, NULL);
	sqlite3_close(db);
	return code == SQLITE_OK && ok ? 0 : say(ret_message, message_size, "SQLite finds the file damaged", -EBADMSG);
}

int crash_inspect(const char *path, struct crash_state *ret_state, char *ret_message, size_t message_size)
{
	struct rfs_reservations *r;
	struct crash_state s;

	int rc = crash_open(path, NULL, NULL, ret_message, message_size, &r);
	if (rc < 0)
		return rc;
	rc = crash_read(r, &s, ret_message, message_size);
	if (rc == 0)
		rc = remove_all(r, &s, ret_message, message_size);
	int closed = rfs_reservations_close(r);
	if (rc == 0 && closed < 0)
		rc = say(ret_message, message_size, "it can't be closed", closed);
	if (rc == 0)
		rc = check_file(path, ret_message, message_size);
	if (rc == 0)
		*ret_state = s;
	return rc;
}
