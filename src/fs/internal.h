/* SPDX-License-Identifier: MIT */
/*
 * internal.h: what the files of this layer share.
 *
 * Inode numbers: fixed entries have small fixed ones; a contract's directory has twice its id, its `size` that plus one. Ids
 * are never reused, so neither are inode numbers, and file handles outlive the daemon.
 */
#ifndef RFS_FS_INTERNAL_H
#define RFS_FS_INTERNAL_H

#define FUSE_USE_VERSION 314

#include "fs/fs.h"
#include "util/cleanup.h"

#include <fuse3/fuse_lowlevel.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/stat.h>
#include <time.h>

/* Otherwise uthash ends the process where memory is short. */
#define HASH_NONFATAL_OOM 1
#include <uthash.h>

enum rfs_ino {
	RFS_INO_ROOT = FUSE_ROOT_ID,
	RFS_INO_AVAILABLE,
	RFS_INO_CAPACITY,
	RFS_INO_RESERVED,
	RFS_INO_STATUS,
	RFS_INO_LAST_ERROR,
	RFS_INO_METRICS,
	RFS_INO_RESERVATIONS,
	RFS_INO_FIXED_END,
};

/* What is asked of reservefs, for metrics. */
enum rfs_operation {
	RFS_OP_CREATE,
	RFS_OP_RESIZE,
	RFS_OP_RELEASE,
	RFS_OP_REMOVE,
	RFS_OP_RENAME,
	RFS_OP_SYNC,
	RFS_OP_OTHER,
	RFS_OP_COUNT,
};

enum rfs_result { RFS_RESULT_OK, RFS_RESULT_REFUSED, RFS_RESULT_FAILED, RFS_RESULT_COUNT };

/* A path in the tree as messages show it, relative to the mount point; names are escaped. */
#define RFS_PATH_MAX (4 * RFS_NAME_MAX + 64)

/* The longest text that a file of the tree holds. */
#define RFS_TEXT_MAX 16384

/* Changes under way are found by their number in as many lists. */
#define RFS_PENDING_LISTS 256

struct rfs_change;
struct rfs_error_line;
struct rfs_handle;
struct rfs_job;

/* Work for the thread that may wait for the disk. */
struct rfs_job {
	STAILQ_ENTRY(rfs_job) link;
	void (*run)(struct rfs_fs *fs, struct rfs_job *job); /* owns and frees the job */
	fuse_req_t req;
	fuse_ino_t ino;
	size_t size;
	off_t offset;
	bool plus;
	char name[]; /* NUL-terminated */
};

/* What receive.c knows of those who ask. */
struct rfs_receiving {
	bool is_asking;        /* reading the connection does not sleep */
	int soon;              /* requests in a row that soon came; negative: how many to pass over first */
	pid_t client;          /* who made the last request, */
	unsigned in_a_row;     /* and how many before it */
	unsigned since_change; /* requests since the last change */
	size_t crowd;          /* for how many requests to remember that changes were under way */
};

struct rfs_fs {
	struct fuse_session *session;
	struct rfs_reservations *reservations;
	char *pool;
	uid_t uid;
	gid_t gid;
	struct timespec started;
	void (*ready)(void *user);
	void *user;
	bool mounted;

	_Atomic uint64_t operations[RFS_OP_COUNT][RFS_RESULT_COUNT];

	pthread_mutex_t errors_lock;
	struct timespec last_event;    /* errors_lock; when a request was last answered */
	struct rfs_error_line *errors; /* errors_lock */

	struct rfs_handle *handles; /* the reading thread's */
	uint64_t last_fh;

	pthread_mutex_t jobs_lock;
	pthread_cond_t jobs_work;
	STAILQ_HEAD(, rfs_job) jobs; /* jobs_lock */
	bool jobs_stop;
	pthread_t jobs_thread;

	pthread_mutex_t changes_lock;
	pthread_cond_t changes_done;
	/* changes_lock */
	size_t changes; /* submitted and not answered */
	uintptr_t last_change;
	LIST_HEAD(, rfs_change) pending[RFS_PENDING_LISTS]; /* by number */
	STAILQ_HEAD(, rfs_change) interrupted;

	/* The two threads of loop.c. */
	pthread_mutex_t reading_lock;
	pthread_cond_t reading_free;
	bool reading_taken; /* reading_lock */
	struct rfs_receiving receiving; /* the reading thread's */
	pthread_t loop_threads[2], signal_thread;
	atomic_bool loop_ended;
};

/* node.c: inode numbers, names and attributes */
struct rfs_fixed {
	const char *name;
	enum rfs_ino ino;
};
extern const struct rfs_fixed rfs_root_entries[];
extern const size_t rfs_root_entry_count;

static inline bool rfs_ino_is_contract(fuse_ino_t ino)
{
	return ino >= 2 * RFS_CONTRACT_ID_FIRST;
}
static inline bool rfs_ino_is_size(fuse_ino_t ino)
{
	return rfs_ino_is_contract(ino) && ino % 2 == 1;
}
static inline bool rfs_ino_is_contract_dir(fuse_ino_t ino)
{
	return rfs_ino_is_contract(ino) && ino % 2 == 0;
}
static inline bool rfs_ino_is_dir(fuse_ino_t ino)
{
	return ino == RFS_INO_ROOT || ino == RFS_INO_RESERVATIONS || rfs_ino_is_contract_dir(ino);
}
static inline fuse_ino_t rfs_ino_of(uint64_t id, bool size)
{
	return 2 * id + (size ? 1 : 0);
}

/* Finds the contract that `ino` belongs to; the caller owns a reference. -ENOENT it is gone, -ESTALE nobody looked it up. */
int rfs_node_contract(struct rfs_fs *fs, fuse_ino_t ino, struct rfs_contract **ret_contract);
void rfs_node_path(struct rfs_fs *fs, fuse_ino_t ino, const char *child, char ret_path[RFS_PATH_MAX]);
void rfs_node_size_path(struct rfs_contract *contract, char ret_path[RFS_PATH_MAX]);
/* `uid`: who asks; last_error is of a different length for everyone. `ret_timeout`: for how many seconds the kernel may
 * keep it. */
int rfs_node_stat(struct rfs_fs *fs, fuse_ino_t ino, uid_t uid, struct stat *ret_stat, double *ret_timeout);
/* The same of a contract's directory or `size` that the kernel is about to learn of. */
int rfs_node_contract_stat(struct rfs_fs *fs, struct rfs_contract *contract, bool size, struct stat *ret_stat,
			   double *ret_timeout);
double rfs_node_entry_timeout(void);

/* text.c: what files hold */
int rfs_text_fixed(struct rfs_fs *fs, fuse_ino_t ino, uid_t uid, char ret_text[RFS_TEXT_MAX], size_t *ret_length);
size_t rfs_text_number(uint64_t bytes, char ret_text[RFS_TEXT_MAX]);

/* metrics.c */
int rfs_metrics_text(struct rfs_fs *fs, char ret_text[RFS_TEXT_MAX], size_t *ret_length);
void rfs_metrics_count(struct rfs_fs *fs, enum rfs_operation operation, int error);

/* refusal.c: last_error, and the one place where an errno becomes a reply */
void rfs_refuse(struct rfs_fs *fs, fuse_req_t req, enum rfs_operation operation, int error, const char *path,
		const char *format, ...) __attribute__((format(printf, 6, 7)));
/* When a request was last granted or refused: the files that tell of it have changed since then at the latest. */
void rfs_note_event(struct rfs_fs *fs);
struct timespec rfs_last_event(struct rfs_fs *fs);
size_t rfs_refusal_line(struct rfs_fs *fs, uid_t uid, char ret_line[RFS_TEXT_MAX]);
void rfs_refusals_free(struct rfs_fs *fs);

/* handle.c: open files */
struct rfs_handle {
	uint64_t fh; /* never reused: what comes from outside is looked up, not trusted */
	UT_hash_handle hh;
	fuse_ino_t ino;
	struct rfs_contract *contract; /* referenced; NULL for a fixed file */
	char *text;                    /* the snapshot that reads continue, NULL before the first */
	size_t length, room;
};
/* Takes over the caller's reference to `contract`, also when it fails. */
int rfs_handle_open(struct rfs_fs *fs, fuse_ino_t ino, struct rfs_contract *contract, uint64_t *ret_fh);
/* Valid until closed; only the thread that reads requests opens, uses and closes. NULL: `ino` is not open as `fh`. */
struct rfs_handle *rfs_handle_get(struct rfs_fs *fs, uint64_t fh, fuse_ino_t ino);
/* Keeps a copy of `text` as the snapshot that later reads continue. */
int rfs_handle_keep(struct rfs_handle *handle, const char *text, size_t length);
void rfs_handle_close(struct rfs_fs *fs, struct rfs_handle *handle);
void rfs_handles_free(struct rfs_fs *fs);

/* worker.c: the thread that may wait for the disk */
int rfs_worker_start(struct rfs_fs *fs);
void rfs_worker_stop(struct rfs_fs *fs);
/* Queues `run`; on lack of memory the request is answered with ENOMEM. */
void rfs_worker_submit(struct rfs_fs *fs, fuse_req_t req, void (*run)(struct rfs_fs *, struct rfs_job *),
		       fuse_ino_t ino, const char *name, size_t size, off_t offset, bool plus);

/* loop.c: reading requests */
int rfs_loop_run(struct rfs_fs *fs);
/* Whether the calling thread is the one that reads. */
bool rfs_loop_is_reading(void);
/* That one lets the other thread go on reading; it has a change to write. */
void rfs_loop_hand_over(void *fs);

/* receive.c: waiting for a request. For the thread that reads. */
/* Waits for a request as fuse_session_receive_buf does: its length, 0 at the end, or a negative errno, -EINTR among them. */
int rfs_receive(struct rfs_fs *fs, struct fuse_buf *buffer);
/* Whether one client has the file system to itself, as far as its last requests show. */
bool rfs_receive_has_one_client(const struct rfs_fs *fs);
/* The request that was received last changes something. */
void rfs_receive_note_change(struct rfs_fs *fs);

/* change.c: requests to Reservations and their answers */
enum rfs_change_reply { RFS_REPLY_ERR, RFS_REPLY_WRITE, RFS_REPLY_ENTRY };
void rfs_change_resize(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, uint64_t size_bytes, size_t written);
void rfs_change_release(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract);
void rfs_change_remove(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract);
void rfs_change_rename(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, const char *new_name);
void rfs_change_create(struct rfs_fs *fs, fuse_req_t req, const char *name, bool from_memory);
void rfs_change_sync(struct rfs_fs *fs, fuse_req_t req);
/* Takes back what clients do not want any more, as far as the writer has not begun it. Never waits; not for use inside an
 * operation. */
void rfs_changes_cancel(struct rfs_fs *fs);
void rfs_changes_init(struct rfs_fs *fs);
/* How many are under way. */
size_t rfs_changes_count(struct rfs_fs *fs);
void rfs_changes_wait(struct rfs_fs *fs);
void rfs_changes_done(struct rfs_fs *fs);

/* The operations. directory.c: lookup, forget, opendir, readdir; file.c: open, read, write, attributes; tree.c: what
 * creates, removes, renames. */
void rfs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name);
void rfs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count);
void rfs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets);
void rfs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rfs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void rfs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void rfs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rfs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);

void rfs_op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rfs_op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int to_set, struct fuse_file_info *fi);
void rfs_op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rfs_op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi);
void rfs_op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset, struct fuse_file_info *fi);
void rfs_op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rfs_op_fsync(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi);
void rfs_op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi);
void rfs_op_statfs(fuse_req_t req, fuse_ino_t ino);
void rfs_op_fallocate(fuse_req_t req, fuse_ino_t ino, int mode, off_t offset, off_t length, struct fuse_file_info *fi);

void rfs_op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode);
void rfs_op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name);
void rfs_op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name);
void rfs_op_rename(fuse_req_t req, fuse_ino_t parent, const char *name, fuse_ino_t new_parent, const char *new_name,
		   unsigned int flags);
void rfs_op_mknod(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, dev_t rdev);
void rfs_op_symlink(fuse_req_t req, const char *link, fuse_ino_t parent, const char *name);
void rfs_op_link(fuse_req_t req, fuse_ino_t ino, fuse_ino_t new_parent, const char *new_name);
void rfs_op_create(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode, struct fuse_file_info *fi);

/* Replies with a contract's directory or `size`, which the kernel then knows. directory.c */
void rfs_reply_contract(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, bool size);
static inline struct rfs_fs *rfs_fs_of(fuse_req_t req)
{
	return fuse_req_userdata(req);
}
static inline uid_t rfs_uid_of(fuse_req_t req)
{
	return fuse_req_ctx(req)->uid;
}

#endif
