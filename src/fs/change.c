/* SPDX-License-Identifier: MIT */
/*
 * change.c: from a FUSE request to a request to Reservations, and back. Invariant: every change is answered exactly once, by
 * done(), which also tells the kernel to drop what it keeps of the contract before whoever asked goes on.
 *
 * A client that is interrupted while it waits has its change taken back, if the writer has not begun it. libfuse tells so with
 * a lock of the request held, in which nothing can be answered: on_interrupt() only notes it, and the thread that
 * reads requests deals with it afterwards.
 */
#include "fs/internal.h"

#include "util/checked.h"
#include "util/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct rfs_change {
	struct rfs_request request; /* first: done() gets its address */
	struct rfs_fs *fs;
	fuse_req_t req;
	enum rfs_operation operation;
	size_t written; /* RFS_OP_RESIZE: what write(2) returns */

	uintptr_t number; /* never reused: by it an interruption finds the change, or that it is gone */
	/* Guarded by changes_lock. */
	unsigned refs; /* its submission's, its answer's, and that of its interruption */
	bool interrupted;
	LIST_ENTRY(rfs_change) pending;
	STAILQ_ENTRY(rfs_change) link;
};

/* The attributes of a contract's directory change with its size, which the kernel cannot know; those of `size` when it is
 * unlinked. Only attributes are dropped: that takes no lock that a request under way could hold. */
static void invalidate(struct rfs_change *change)
{
	struct fuse_session *session = change->fs->session;
	struct rfs_contract_stat stat;

	if (change->request.verb != RFS_RESIZE)
		return;
	(void) rfs_contract_stat(change->request.contract, &stat);
	if (change->request.watched)
		(void) fuse_lowlevel_notify_inval_inode(session, rfs_ino_of(stat.id, false), -1, 0);
	if (change->operation == RFS_OP_RELEASE)
		(void) fuse_lowlevel_notify_inval_inode(session, rfs_ino_of(stat.id, true), -1, 0);
}

static void refuse_for_space(struct rfs_change *change, const char *path)
{
	const struct rfs_request *r = &change->request;
	uint64_t most = rfs_min(rfs_sum(r->old_size_bytes, r->available_bytes), RFS_BYTES_MAX);

	if (r->old_size_bytes == 0)
		rfs_refuse(change->fs, change->req, change->operation, -ENOSPC, path,
			   "cannot reserve %" PRIu64 " bytes: %" PRIu64 " are available; write at most %" PRIu64,
			   r->wanted_bytes, r->available_bytes, most);
	else
		rfs_refuse(change->fs, change->req, change->operation, -ENOSPC, path,
			   "cannot grow from %" PRIu64 " to %" PRIu64 " bytes: %" PRIu64
			   " more are available; write at most %" PRIu64,
			   r->old_size_bytes, r->wanted_bytes, r->available_bytes, most);
}

static void refuse_for_storage(struct rfs_change *change, int error, const char *path)
{
	char explanation[256];

	rfs_reservations_explain(change->fs->reservations, explanation, sizeof explanation);
	rfs_refuse(change->fs, change->req, change->operation, error, path,
		   "the change could not be made, and nothing was changed (%s); see to the disk and try again",
		   explanation);
}

static void refuse_change(struct rfs_change *change, int error, const char *path)
{
	struct rfs_fs *fs = change->fs;
	fuse_req_t req = change->req;

	switch (error) {
	case -ENOSPC:
		refuse_for_space(change, path);
		return;
	case -ENODEV:
		rfs_refuse(fs, req, change->operation, error, path, "the contract was removed meanwhile, and nothing was changed; look for it anew");
		return;
	case -EEXIST:
		rfs_refuse(fs, req, change->operation, error, path, "a contract of that name exists; choose another name");
		return;
	case -EINVAL:
		rfs_refuse(fs, req, change->operation, error, path,
			   "not a name for a contract; use valid UTF-8 without control characters that does not begin with '.'");
		return;
	case -ENAMETOOLONG:
		rfs_refuse(fs, req, change->operation, error, path, "the name is too long; use at most %d bytes", RFS_NAME_MAX);
		return;
	case -ENOMEM:
		rfs_refuse(fs, req, change->operation, error, path, "out of memory, nothing was changed; try again");
		return;
	case -ECANCELED:
		fuse_reply_err(req, EINTR);
		return;
	case -EOVERFLOW:
		rfs_refuse(fs, req, change->operation, -ENOSPC, path, "all contract ids are used up; make a new Repo");
		return;
	default:
		refuse_for_storage(change, error == -ESHUTDOWN ? -EIO : error, path);
	}
}

/* What the refusal is about: the contract as it is called now, or the name that was asked for. */
static void path_of(struct rfs_change *change, char ret_path[RFS_PATH_MAX])
{
	struct rfs_contract *c = change->request.contract;
	char name[RFS_NAME_MAX + 1];

	if (change->request.verb == RFS_RESIZE) {
		rfs_node_size_path(c, ret_path);
	} else if (change->request.verb == RFS_CREATE || change->request.verb == RFS_RENAME) {
		rfs_node_path(change->fs, RFS_INO_RESERVATIONS, change->request.new_name, ret_path);
	} else if (c) {
		rfs_contract_name(c, name);
		rfs_node_path(change->fs, RFS_INO_RESERVATIONS, name, ret_path);
	} else {
		rfs_node_path(change->fs, RFS_INO_RESERVATIONS, NULL, ret_path);
	}
}

static void reply(struct rfs_change *change, int error)
{
	struct rfs_fs *fs = change->fs;
	char path[RFS_PATH_MAX];

	if (error < 0) {
		path_of(change, path);
		refuse_change(change, error, path);
		return;
	}
	rfs_metrics_count(fs, change->operation, 0);
	rfs_note_event(fs);
	invalidate(change);
	if (change->operation == RFS_OP_RESIZE)
		fuse_reply_write(change->req, change->written);
	else if (change->request.verb == RFS_CREATE)
		rfs_reply_contract(fs, change->req, change->request.created, false);
	else
		fuse_reply_err(change->req, 0);
}

static void let_go_locked(struct rfs_change *change)
{
	if (--change->refs == 0)
		free(change);
}

static void done(struct rfs_request *request, int error)
{
	struct rfs_change *change = (struct rfs_change *) request;
	struct rfs_fs *fs = change->fs;

	reply(change, error);
	rfs_contract_unref(request->contract);
	RFS_LOCK(&fs->changes_lock);
	LIST_REMOVE(change, pending);
	let_go_locked(change);
	if (--fs->changes == 0)
		pthread_cond_broadcast(&fs->changes_done);
}

static struct rfs_change *find_locked(struct rfs_fs *fs, uintptr_t number)
{
	struct rfs_change *change;

	LIST_FOREACH(change, &fs->pending[number % RFS_PENDING_LISTS], pending)
		if (change->number == number)
			return change;
	return NULL;
}

static void on_interrupt(fuse_req_t req, void *number)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	struct rfs_change *change;

	RFS_LOCK(&fs->changes_lock);
	change = find_locked(fs, (uintptr_t) number);
	if (!change || change->interrupted)
		return;
	change->interrupted = true;
	change->refs++;
	STAILQ_INSERT_TAIL(&fs->interrupted, change, link);
}

static struct rfs_change *take_interrupted(struct rfs_fs *fs)
{
	struct rfs_change *change;

	RFS_LOCK(&fs->changes_lock);
	change = STAILQ_FIRST(&fs->interrupted);
	if (change)
		STAILQ_REMOVE_HEAD(&fs->interrupted, link);
	return change;
}

void rfs_changes_cancel(struct rfs_fs *fs)
{
	struct rfs_change *change;

	while ((change = take_interrupted(fs))) {
		(void) rfs_request_cancel(fs->reservations, &change->request);
		RFS_LOCK(&fs->changes_lock);
		let_go_locked(change);
	}
}

/* The submission is over. */
static void give_up(struct rfs_change *change)
{
	RFS_LOCK(&change->fs->changes_lock);
	let_go_locked(change);
}

/* The thread that reads requests leads where nobody does, once another one reads: for one client that is alone. Where there
 * are several the writer does, and others need not wait for the other thread to wake up. The worker never leads: look-ups
 * and listings would wait for the commit. */
static void submit(struct rfs_change *change)
{
	struct rfs_fs *fs = change->fs;
	bool leads = rfs_loop_is_reading() && rfs_receive_has_one_client(fs);
	bool interrupted;

	if (rfs_loop_is_reading())
		rfs_receive_note_change(fs);
	fuse_req_interrupt_func(change->req, on_interrupt, (void *) change->number);
	rfs_reservations_submit_and_lead(fs->reservations, &change->request, leads ? rfs_loop_hand_over : NULL, fs);
	/* An interruption may have come too early to find it queued. */
	{
		RFS_LOCK(&fs->changes_lock);
		interrupted = change->interrupted;
	}
	if (interrupted)
		(void) rfs_request_cancel(fs->reservations, &change->request);
	give_up(change);
}

static struct rfs_change *change_new(struct rfs_fs *fs, fuse_req_t req, enum rfs_operation operation, enum rfs_verb verb,
				 struct rfs_contract *contract)
{
	struct rfs_change *change = calloc(1, sizeof *change);

	if (!change) {
		rfs_contract_unref(contract);
		fuse_reply_err(req, ENOMEM);
		return NULL;
	}
	change->request.verb = verb;
	change->request.contract = contract;
	change->request.done = done;
	change->fs = fs;
	change->req = req;
	change->operation = operation;
	change->refs = 2;
	RFS_LOCK(&fs->changes_lock);
	change->number = ++fs->last_change;
	LIST_INSERT_HEAD(&fs->pending[change->number % RFS_PENDING_LISTS], change, pending);
	fs->changes++;
	return change;
}

void rfs_change_resize(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, uint64_t size_bytes, size_t written)
{
	struct rfs_change *change = change_new(fs, req, RFS_OP_RESIZE, RFS_RESIZE, contract);

	if (!change)
		return;
	change->request.size_bytes = size_bytes;
	change->written = written;
	submit(change);
}

void rfs_change_release(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract)
{
	struct rfs_change *change = change_new(fs, req, RFS_OP_RELEASE, RFS_RESIZE, contract);

	if (change)
		submit(change);
}

void rfs_change_remove(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract)
{
	struct rfs_change *change = change_new(fs, req, RFS_OP_REMOVE, RFS_REMOVE, contract);

	if (change)
		submit(change);
}

/* A name that is too long does not fit into a request: it is refused here, and shown cut. */
static void submit_named(struct rfs_change *change, const char *name)
{
	if (!change)
		return;
	if (strlen(name) > RFS_NAME_MAX) {
		memcpy(change->request.new_name, name, RFS_NAME_MAX);
		done(&change->request, -ENAMETOOLONG);
		give_up(change);
		return;
	}
	strcpy(change->request.new_name, name);
	submit(change);
}

void rfs_change_rename(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, const char *new_name)
{
	submit_named(change_new(fs, req, RFS_OP_RENAME, RFS_RENAME, contract), new_name);
}

void rfs_change_create(struct rfs_fs *fs, fuse_req_t req, const char *name, bool from_memory)
{
	struct rfs_change *change = change_new(fs, req, RFS_OP_CREATE, RFS_CREATE, NULL);

	if (!change)
		return;
	change->request.from_memory = from_memory;
	submit_named(change, name);
}

void rfs_change_sync(struct rfs_fs *fs, fuse_req_t req)
{
	struct rfs_change *change = change_new(fs, req, RFS_OP_SYNC, RFS_SYNC, NULL);

	if (change)
		submit(change);
}

void rfs_changes_init(struct rfs_fs *fs)
{
	pthread_mutex_init(&fs->changes_lock, NULL);
	pthread_cond_init(&fs->changes_done, NULL);
	for (size_t i = 0; i < RFS_PENDING_LISTS; i++)
		LIST_INIT(&fs->pending[i]);
	STAILQ_INIT(&fs->interrupted);
}

size_t rfs_changes_count(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->changes_lock);
	return fs->changes;
}

void rfs_changes_wait(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->changes_lock);
	while (fs->changes > 0)
		pthread_cond_wait(&fs->changes_done, &fs->changes_lock);
}

void rfs_changes_done(struct rfs_fs *fs)
{
	rfs_changes_cancel(fs);
	pthread_cond_destroy(&fs->changes_done);
	pthread_mutex_destroy(&fs->changes_lock);
}
