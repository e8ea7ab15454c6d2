/* SPDX-License-Identifier: MIT */
/*
 * change.c: from a FUSE request to a request to Reservations, and back. Invariant: every change is answered exactly once: by
 * done(), which also tells the kernel to drop what it keeps of the contract before whoever asked goes on; or at once, where
 * that one is being killed, and then the kernel is told once it is done.
 */
#include "fs/internal.h"

#include "util/checked.h"
#include "util/thread.h"
#include "util/utf8.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

struct rfs_change {
	struct rfs_wait wait; /* first */
	struct rfs_request request;
	struct rfs_fs *fs;
	enum rfs_operation operation;
	int given_up; /* the errno of one that was taken back */
	union {
		struct rfs_handle *handle; /* RFS_OP_RESIZE: what is written through; held */
		char *old_name;            /* RFS_OP_REMOVE, RFS_OP_RENAME: as it was called when that was asked; NULL: not known */
	};
	uint32_t written; /* RFS_OP_RESIZE: what write(2) returns */
	atomic_bool answered;
};

static bool has_old_name(const struct rfs_change *change)
{
	return change->operation == RFS_OP_REMOVE || change->operation == RFS_OP_RENAME;
}

/* The attributes of a contract's directory change with its size, which the kernel cannot know. Only attributes are dropped: that
 * takes no lock that a request under way could hold. */
static void invalidate(struct rfs_change *change)
{
	struct rfs_contract_stat stat;

	if (change->request.verb != RFS_RESIZE || !change->request.watched)
		return;
	(void) rfs_contract_stat(change->request.contract, &stat);
	(void) fuse_lowlevel_notify_inval_inode(change->fs->session, rfs_ino_of(stat.id, false), -1, 0);
}

static void refuse_for_space(struct rfs_change *change, const char *path)
{
	const struct rfs_request *r = &change->request;
	uint64_t most = rfs_min(rfs_sum(r->old_size_bytes, r->available_bytes), RFS_BYTES_MAX);

	if (r->old_size_bytes == 0)
		rfs_refuse(change->fs, change->wait.req, change->operation, -ENOSPC, path,
			   "cannot reserve %" PRIu64 " bytes: %" PRIu64 " are available; write at most %" PRIu64,
			   r->wanted_bytes, r->available_bytes, most);
	else
		rfs_refuse(change->fs, change->wait.req, change->operation, -ENOSPC, path,
			   "cannot grow from %" PRIu64 " to %" PRIu64 " bytes: %" PRIu64
			   " more are available; write at most %" PRIu64,
			   r->old_size_bytes, r->wanted_bytes, r->available_bytes, most);
}

static void refuse_for_storage(struct rfs_change *change, int error, const char *path)
{
	const char *why = change->request.why;

	rfs_refuse(change->fs, change->wait.req, change->operation, error, path,
		   "the change could not be made, and nothing was changed (%s); see to the disk and try again",
		   why ? why : strerror(-error));
}

static void refuse_change(struct rfs_change *change, int error, const char *path)
{
	struct rfs_fs *fs = change->fs;
	fuse_req_t req = change->wait.req;

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
		fuse_reply_err(req, change->given_up);
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
	if (change->operation == RFS_OP_RESIZE) {
		rfs_handle_note_written(fs, change->handle, (off_t) change->written);
		fuse_reply_write(change->wait.req, change->written);
	} else if (change->request.verb == RFS_CREATE) {
		rfs_reply_contract(fs, change->wait.req, change->request.created, false);
	} else {
		fuse_reply_err(change->wait.req, 0);
	}
}

static struct rfs_change *change_of(struct rfs_request *request)
{
	return (struct rfs_change *) ((char *) request - offsetof(struct rfs_change, request));
}

/* Whether the caller is to answer. Once. */
static bool claim(struct rfs_change *change)
{
	return !atomic_exchange(&change->answered, true);
}

/* Whoever asked was killed, and the kernel has been told that nothing came of it; but something did. */
static void note_unanswered(struct rfs_change *change, int error)
{
	struct rfs_contract_stat stat;

	rfs_metrics_count(change->fs, change->operation, error);
	rfs_note_event(change->fs);
	if (change->request.verb == RFS_RESIZE) {
		(void) rfs_contract_stat(change->request.contract, &stat);
		rfs_notice_inode(change->fs, rfs_ino_of(stat.id, true));
		rfs_notice_inode(change->fs, rfs_ino_of(stat.id, false));
	} else if (change->request.verb != RFS_SYNC) {
		if (has_old_name(change) && change->old_name)
			rfs_notice_name(change->fs, change->old_name);
		rfs_notice_name(change->fs, change->request.new_name);
		rfs_contract_unref(change->request.created);
	}
}

static void done(struct rfs_request *request, int error)
{
	struct rfs_change *change = change_of(request);
	struct rfs_fs *fs = change->fs;

	if (claim(change))
		reply(change, error);
	else
		note_unanswered(change, error);
	rfs_contract_unref(request->contract);
	if (has_old_name(change))
		free(change->old_name);
	else
		rfs_handle_put(fs, change->handle);
	if (rfs_wait_end(fs, &change->wait))
		free(change);
	RFS_LOCK(&fs->changes_lock);
	fs->answers++;
	fs->changes--;
	pthread_cond_broadcast(&fs->changes_done);
}

static void take_back(struct rfs_fs *fs, struct rfs_wait *wait, int error)
{
	struct rfs_change *change = (struct rfs_change *) wait;

	change->given_up = error;
	if (!rfs_request_cancel(fs->reservations, &change->request) && claim(change))
		fuse_reply_err(change->wait.req, error);
}

/* The thread that reads requests leads where nobody does, once another one reads: for one client that is alone. Where there
 * are several the writer does, and others need not wait for the other thread to wake up. The worker never leads: look-ups
 * and listings would wait for the commit. */
static void submit(struct rfs_change *change)
{
	struct rfs_fs *fs = change->fs;
	bool leads = false;

	if (rfs_loop_is_reading()) {
		leads = rfs_receive_has_one_client(fs) && rfs_loop_has_other(fs);
		rfs_receive_note_change(fs);
	}
	rfs_reservations_submit_and_lead(fs->reservations, &change->request, leads ? rfs_loop_hand_over : NULL, fs);
}

static char *name_of(struct rfs_contract *contract)
{
	char name[RFS_NAME_MAX + 1];

	rfs_contract_name(contract, name);
	return strdup(name);
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
	change->operation = operation;
	if (has_old_name(change))
		change->old_name = name_of(contract);
	{
		RFS_LOCK(&fs->changes_lock);
		fs->changes++;
	}
	rfs_wait_begin(fs, &change->wait, req, take_back);
	return change;
}

void rfs_change_resize(struct rfs_fs *fs, fuse_req_t req, struct rfs_handle *handle, uint64_t size_bytes, size_t written)
{
	struct rfs_change *change =
		change_new(fs, req, RFS_OP_RESIZE, RFS_RESIZE, rfs_contract_ref(handle->contract));

	if (!change) {
		rfs_handle_put(fs, handle);
		return;
	}
	change->handle = handle;
	change->request.size_bytes = size_bytes;
	change->written = (uint32_t) written;
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
	rfs_cond_init(&fs->changes_done);
}

size_t rfs_changes_count(struct rfs_fs *fs)
{
	RFS_LOCK(&fs->changes_lock);
	return fs->changes;
}

/* Until all are answered, or for a moment. How many are not, and how many were. */
static size_t wait_a_moment(struct rfs_fs *fs, uint64_t *ret_answers)
{
	int64_t until = rfs_now_ns() + RFS_STALL_MS * RFS_NS_A_MS;
	RFS_LOCK(&fs->changes_lock);

	while (fs->changes > 0 && rfs_cond_wait_until(&fs->changes_done, &fs->changes_lock, until))
		;
	*ret_answers = fs->answers;
	return fs->changes;
}

bool rfs_changes_wait(struct rfs_fs *fs)
{
	const int64_t patience = RFS_CLOSE_PATIENCE_SECONDS * RFS_NS_A_SECOND;
	int64_t until = rfs_now_ns() + patience;
	uint64_t answers, before = 0;

	while (wait_a_moment(fs, &answers) > 0) {
		(void) rfs_reservations_refuse_stalled(fs->reservations);
		if (answers != before)
			until = rfs_now_ns() + patience;
		else if (rfs_now_ns() > until)
			return false;
		before = answers;
	}
	return true;
}

void rfs_changes_done(struct rfs_fs *fs)
{
	pthread_cond_destroy(&fs->changes_done);
	pthread_mutex_destroy(&fs->changes_lock);
}
