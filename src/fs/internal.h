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
#include "util/stall.h"
#include "util/thread.h"

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

/* Requests that wait are found by their number in as many lists. */
#define RFS_WAIT_LISTS 256

struct rfs_error_line;
struct rfs_handle;
struct rfs_hidden;

/* A request that may have to wait for long; first in what it is a part of, which is one allocation. See wait.c. */
struct rfs_wait {
	fuse_req_t req;
	pid_t client; /* its thread */
	/* Answers the request with `error`. By the supervisor: the client is being killed, or all is left. */
	void (*give_up)(struct rfs_fs *fs, struct rfs_wait *wait, int error);
	uintptr_t number; /* never reused: by it an interruption finds the request, or that it is gone */
	/* Guarded by rfs_waits.lock. */
	LIST_ENTRY(rfs_wait) link;
	TAILQ_ENTRY(rfs_wait) interrupted_link;
	bool interrupted; /* on that list */
	bool looking;     /* the supervisor uses it */
	bool over;        /* rfs_wait_end was called */
	unsigned round;   /* in which it was looked at last */
};

struct rfs_waits {
	pthread_mutex_t lock;
	uintptr_t last_number;
	LIST_HEAD(, rfs_wait) lists[RFS_WAIT_LISTS]; /* by number */
	TAILQ_HEAD(, rfs_wait) interrupted;
	unsigned round;   /* the supervisor's */
	atomic_bool told; /* it is to look */
};

/* A request whose answer must be waited for. */
struct rfs_job {
	struct rfs_wait wait; /* first */
	STAILQ_ENTRY(rfs_job) link;
	/* Answers it. Does not free it: who runs it does. */
	void (*run)(struct rfs_fs *fs, struct rfs_job *job);
	void (*then)(struct rfs_fs *fs, struct rfs_job *job); /* measure.c: run, once it is measured */
	int error; /* of that */
	fuse_req_t req; /* NULL: nobody asks */
	uid_t uid; /* who asks */
	pid_t pid;
	fuse_ino_t ino;
	uint64_t fh;
	size_t size;
	off_t offset;
	bool plus;
	bool known_will_do; /* the last measurement is answer enough where the storage does not give another */
	atomic_bool answered;
	char name[]; /* NUL-terminated */
};

/* A thread for requests that may wait for one and the same thing. */
struct rfs_worker {
	struct rfs_fs *fs;
	pthread_mutex_t lock;
	pthread_cond_t changed;
	STAILQ_HEAD(, rfs_job) jobs; /* lock */
	bool stop, running, left;    /* lock */
	bool started;
	pthread_t thread;
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

/* The threads of loop.c. */
struct rfs_loop {
	pthread_mutex_t lock;
	pthread_cond_t reader_wanted;
	pthread_cond_t changed;
	/* Guarded by lock. */
	bool has_reader;
	pthread_t reader;  /* if so */
	struct rfs_crew crew;
	unsigned waiting;  /* threads that wait to be it */
	unsigned threads;  /* that are not kept by the storage of the Repo while they read */
	unsigned kept;     /* that are */
	unsigned leading;  /* of `threads`: write, and may be kept by it there */
	int error;         /* why the session ended */
	atomic_bool ended;
	atomic_bool greeted; /* the kernel and libfuse have agreed */
	pthread_t supervisor;
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
	bool greeting;    /* the reading thread's: it is dealing with the kernel's greeting */
	bool left_behind; /* a thread may still come back and use all this: it is not freed */
	unsigned max_read_bytes; /* FUSE's option of that name; 0: it was not given */
	bool check_permissions;

	_Atomic uint64_t operations[RFS_OP_COUNT][RFS_RESULT_COUNT];

	pthread_mutex_t errors_lock;
	struct timespec last_event;    /* errors_lock; when a request was last answered */
	struct rfs_error_line *errors; /* errors_lock */

	pthread_mutex_t handles_lock;
	struct rfs_handle *handles; /* handles_lock */
	uint64_t last_fh;           /* handles_lock */

	pthread_mutex_t hidden_lock;
	struct rfs_hidden *hidden; /* hidden_lock; in the order in which they were hidden */

	struct rfs_worker look_ups;     /* may wait for the Datastore */
	struct rfs_worker measurements; /* may wait for the storage of the Repo */
	struct rfs_worker notices;      /* may wait for the kernel */
	struct rfs_stall measuring;     /* of the reading thread, which measures as long as the storage is quick to answer */
	_Atomic int64_t slow_until_ns;  /* CLOCK_MONOTONIC; until then the worker does */
	_Atomic(struct rfs_job *) measuring_job;

	struct rfs_waits waits;
	pthread_mutex_t changes_lock;
	pthread_cond_t changes_done; /* one was answered */
	size_t changes;              /* changes_lock; submitted and not answered */
	uint64_t answers;            /* changes_lock; so far */

	struct rfs_loop loop;
	struct rfs_receiving receiving; /* the reading thread's */
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
/* What it holds only the storage of the Repo knows. */
static inline bool rfs_ino_is_measured(fuse_ino_t ino)
{
	return ino == RFS_INO_AVAILABLE || ino == RFS_INO_CAPACITY || ino == RFS_INO_STATUS || ino == RFS_INO_METRICS;
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
	fuse_ino_t ino;
	struct rfs_contract *contract; /* referenced; NULL for a fixed file */
	/* Guarded by handles_lock. */
	UT_hash_handle hh;
	unsigned refs;
	char *text; /* the snapshot that reads continue, NULL before the first */
	size_t length, room;
	off_t written_bytes; /* where the value that was last written through it ended; 0: none was */
	bool created;        /* it was opened by who created the file, and asked for this mode then */
	mode_t mode;
};
/* Takes over the caller's reference to `contract`, also when it fails. */
int rfs_handle_open(struct rfs_fs *fs, fuse_ino_t ino, struct rfs_contract *contract, uint64_t *ret_fh);
/* NULL: `ino` is not open as `fh`. The caller lets go of it with rfs_handle_put. */
struct rfs_handle *rfs_handle_get(struct rfs_fs *fs, uint64_t fh, fuse_ino_t ino);
void rfs_handle_put(struct rfs_fs *fs, struct rfs_handle *handle);
void rfs_handle_close(struct rfs_fs *fs, uint64_t fh, fuse_ino_t ino);
/* Keeps a copy of `text` as the snapshot that later reads continue. */
int rfs_handle_keep(struct rfs_fs *fs, struct rfs_handle *handle, const char *text, size_t length);
bool rfs_handle_has_text(struct rfs_fs *fs, struct rfs_handle *handle);
/* Copies up to `size` bytes of the snapshot, from `offset` on. */
size_t rfs_handle_copy(struct rfs_fs *fs, struct rfs_handle *handle, off_t offset, size_t size, char *ret_data);
void rfs_handle_note_written(struct rfs_fs *fs, struct rfs_handle *handle, off_t end);
off_t rfs_handle_written(struct rfs_fs *fs, struct rfs_handle *handle);
void rfs_handle_note_created(struct rfs_fs *fs, uint64_t fh, mode_t mode);
/* Whether somebody who created the file with that mode has it open. */
bool rfs_handles_created(struct rfs_fs *fs, fuse_ino_t ino, mode_t mode);
void rfs_handles_free(struct rfs_fs *fs);

/* hidden.c: files that were unlinked, which hides their name for a while. Any thread. */
void rfs_hide(struct rfs_fs *fs, fuse_ino_t ino);
void rfs_unhide(struct rfs_fs *fs, fuse_ino_t ino);
bool rfs_is_hidden(struct rfs_fs *fs, fuse_ino_t ino);
void rfs_hidden_free(struct rfs_fs *fs);

/* wait.c: requests that wait, and clients that are killed meanwhile */
void rfs_waits_init(struct rfs_waits *waits);
void rfs_waits_done(struct rfs_waits *waits);
void rfs_wait_begin(struct rfs_fs *fs, struct rfs_wait *wait, fuse_req_t req,
		    void (*give_up)(struct rfs_fs *fs, struct rfs_wait *wait, int error));
/* The request is answered. Whether the caller is to free what it is a part of. */
bool rfs_wait_end(struct rfs_fs *fs, struct rfs_wait *wait);
/* The supervisor's: lets go of clients that are being killed. Whether there is any that got a signal. */
bool rfs_waits_look(struct rfs_fs *fs);
/* And of all, at the end, with EIO. */
void rfs_waits_leave(struct rfs_fs *fs);

/* worker.c: threads that may wait */
int rfs_worker_init(struct rfs_worker *worker, struct rfs_fs *fs);
void rfs_worker_done(struct rfs_worker *worker);
int rfs_worker_start(struct rfs_worker *worker);
/* Whether it has ended; false: what it waits for has not come for as long as it was given, and no further job is run when it does. */
bool rfs_worker_stop(struct rfs_worker *worker, int64_t patience_ns);
/* Queues the job. */
void rfs_worker_submit(struct rfs_worker *worker, struct rfs_job *job);

/* job.c: requests whose answer must be waited for */
/* NULL: out of memory, and the request is answered so. */
struct rfs_job *rfs_job_new(struct rfs_fs *fs, fuse_req_t req, void (*run)(struct rfs_fs *, struct rfs_job *), fuse_ino_t ino,
			    const char *name);
/* Whether the caller is to answer: the client has not been let go meanwhile. Once. */
bool rfs_job_claim(struct rfs_fs *fs, struct rfs_job *job);
void rfs_job_free(struct rfs_fs *fs, struct rfs_job *job);
/* A job for the Datastore's worker; on lack of memory the request is answered with ENOMEM. */
void rfs_job_look_up(struct rfs_fs *fs, fuse_req_t req, void (*run)(struct rfs_fs *, struct rfs_job *), fuse_ino_t ino,
		     const char *name, size_t size, off_t offset, bool plus);

/* notice.c: tells the kernel to look anew, by a thread that it may keep waiting. Any thread. */
void rfs_notice_inode(struct rfs_fs *fs, fuse_ino_t ino);
void rfs_notice_name(struct rfs_fs *fs, const char *name); /* in `reservations`; "": none */

/* measure.c: what only the storage of the Repo knows */
int rfs_measuring_init(struct rfs_fs *fs);
void rfs_measuring_done(struct rfs_fs *fs);
/* Measures, and then runs the job, which must not wait. */
void rfs_job_measure(struct rfs_fs *fs, struct rfs_job *job);

/* loop.c: reading requests, and supervising that */
void rfs_loop_init(struct rfs_loop *loop);
void rfs_loop_done(struct rfs_loop *loop);
int rfs_loop_run(struct rfs_fs *fs, enum rfs_fs_end *ret_end);
/* Waits for those that lead, once all changes are answered, and lets go of all. False: the disk keeps some. */
bool rfs_loop_join(struct rfs_fs *fs);
/* Whether the calling thread is the one that reads. */
bool rfs_loop_is_reading(void);
/* That one may let another thread go on reading; there is one. */
bool rfs_loop_has_other(struct rfs_fs *fs);
void rfs_loop_hand_over(void *fs);
/* Another thread goes on reading, because the one that did is kept by the storage. Then that one comes back. */
void rfs_loop_replace_reader(struct rfs_fs *fs);
void rfs_loop_was_replaced(struct rfs_fs *fs);
/* Has the supervisor look at the waits. Any thread. */
void rfs_loop_wake_supervisor(struct rfs_fs *fs);

/* receive.c: waiting for a request. For the thread that reads. */
/* Waits for a request as fuse_session_receive_buf does: its length, 0 at the end, or a negative errno, -EINTR among them. */
int rfs_receive(struct rfs_fs *fs, struct fuse_buf *buffer);
/* Whether one client has the file system to itself, as far as its last requests show. */
bool rfs_receive_has_one_client(const struct rfs_fs *fs);
/* The request that was received last changes something. */
void rfs_receive_note_change(struct rfs_fs *fs);

/* change.c: requests to Reservations and their answers */
/* Takes over the caller's hold of `handle`, also when it fails. */
void rfs_change_resize(struct rfs_fs *fs, fuse_req_t req, struct rfs_handle *handle, uint64_t size_bytes, size_t written);
void rfs_change_remove(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract);
void rfs_change_rename(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, const char *new_name);
void rfs_change_create(struct rfs_fs *fs, fuse_req_t req, const char *name, bool from_memory);
void rfs_change_sync(struct rfs_fs *fs, fuse_req_t req);
void rfs_changes_init(struct rfs_fs *fs);
/* How many are under way. */
size_t rfs_changes_count(struct rfs_fs *fs);
/* Waits until all are answered. False: none was for as long as RFS_CLOSE_PATIENCE_SECONDS. */
bool rfs_changes_wait(struct rfs_fs *fs);
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

/* What the kernel is told of a contract's directory or `size`. directory.c */
int rfs_fill_entry(struct rfs_fs *fs, struct rfs_contract *contract, bool size, struct fuse_entry_param *ret_entry);
/* Whether the file cannot be opened in that way, and the request has been refused. file.c */
bool rfs_refuse_flags(struct rfs_fs *fs, fuse_req_t req, fuse_ino_t ino, const struct fuse_file_info *fi);
/* Opens `size`, which was asked to be created, and takes over the reference. file.c */
void rfs_open_created(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, mode_t mode, struct fuse_file_info *fi);
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
