/* SPDX-License-Identifier: MIT */
/*
 * fs.c: the FUSE session: what is asked of the kernel, mounting, serving, leaving. Invariant: when rfs_fs_run returns, every
 * request that was taken has been answered, and no thread of this layer uses the session any more; or `left_behind` says that a
 * storage keeps some.
 */
#include "fs/internal.h"

#include "util/log.h"
#include "util/thread.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <string.h>
#include <sys/uio.h>

static void op_init(void *user, struct fuse_conn_info *conn)
{
	struct rfs_fs *fs = user;

	/* Lets file handles outlive the kernel's memory and the daemon. */
	conn->want |= conn->capable & FUSE_CAP_EXPORT_SUPPORT;
	/* One OPEN instead of OPEN and SETATTR for a shell's `>`. */
	conn->want |= conn->capable & FUSE_CAP_ATOMIC_O_TRUNC;
	/* Values are a few bytes: pipes between kernel and daemon cost more than they save. */
	conn->want &= ~(unsigned) (FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	/* No data is cached, so there is none to keep coherent; locks are the kernel's own business. */
	conn->want &= ~(unsigned) (FUSE_CAP_AUTO_INVAL_DATA | FUSE_CAP_WRITEBACK_CACHE | FUSE_CAP_POSIX_LOCKS |
				   FUSE_CAP_FLOCK_LOCKS | FUSE_CAP_IOCTL_DIR);
	/* It implies default_permissions; that there are no such lists the kernel learns when it asks for the first one. */
	if (fs->check_permissions)
		conn->want |= conn->capable & FUSE_CAP_POSIX_ACL;
	/* Times have nanoseconds. */
	conn->time_gran = 1;
	/* libfuse wants it said twice. */
	if (fs->max_read_bytes > 0)
		conn->max_read = fs->max_read_bytes;
	fs->greeting = true;
}

/*
 * What is left out is left out on purpose: for it the kernel has an answer of its own, and stops asking. readlink: there
 * are no links. access: default_permissions. xattrs: "not supported". lseek, copy_file_range, locks: generic ones. poll:
 * always ready. ioctl: ENOTTY. bmap: never asked.
 */
static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = rfs_op_lookup,
	.forget = rfs_op_forget,
	.forget_multi = rfs_op_forget_multi,
	.getattr = rfs_op_getattr,
	.setattr = rfs_op_setattr,
	.mknod = rfs_op_mknod,
	.mkdir = rfs_op_mkdir,
	.unlink = rfs_op_unlink,
	.rmdir = rfs_op_rmdir,
	.symlink = rfs_op_symlink,
	.rename = rfs_op_rename,
	.link = rfs_op_link,
	.open = rfs_op_open,
	.read = rfs_op_read,
	.write = rfs_op_write,
	.flush = rfs_op_flush,
	.release = rfs_op_release,
	.fsync = rfs_op_fsync,
	.opendir = rfs_op_opendir,
	.readdir = rfs_op_readdir,
	.readdirplus = rfs_op_readdirplus,
	.releasedir = rfs_op_releasedir,
	.fsyncdir = rfs_op_fsyncdir,
	.statfs = rfs_op_statfs,
	.create = rfs_op_create,
	.fallocate = rfs_op_fallocate,
};

/* Options of libfuse's that it wants to hear of again; they stay where they are. */
static int read_options(struct fuse_args *args, struct rfs_fs *fs)
{
	static const struct fuse_opt options[] = {
		{ "max_read=%u", offsetof(struct rfs_fs, max_read_bytes), 0 },
		{ "max_read=", (unsigned long) -1U, FUSE_OPT_KEY_KEEP }, /* FUSE_OPT_KEY, in types that clang does not mind */
		FUSE_OPT_END,
	};

	return fuse_opt_parse(args, fs, options, NULL) < 0 ? -ENOMEM : 0;
}

int rfs_fs_new(struct fuse_args *args, const struct rfs_fs_options *options, struct rfs_fs **ret_fs)
{
	struct rfs_fs *fs = calloc(1, sizeof *fs);
	int rc;

	if (!fs)
		return -ENOMEM;
	fs->reservations = options->reservations;
	fs->uid = options->uid;
	fs->gid = options->gid;
	fs->check_permissions = options->check_permissions;
	fs->ready = options->ready;
	fs->user = options->user;
	clock_gettime(CLOCK_REALTIME, &fs->started);
	fs->last_event = fs->started;
	rfs_loop_init(&fs->loop);
	pthread_mutex_init(&fs->errors_lock, NULL);
	pthread_mutex_init(&fs->handles_lock, NULL);
	pthread_mutex_init(&fs->hidden_lock, NULL);
	rfs_worker_init(&fs->look_ups, fs);
	rfs_worker_init(&fs->measurements, fs);
	rfs_worker_init(&fs->notices, fs);
	rfs_waits_init(&fs->waits);
	rfs_changes_init(fs);
	fs->pool = strdup(options->pool);
	if (!fs->pool) {
		rfs_fs_free(fs);
		return -ENOMEM;
	}
	rc = read_options(args, fs);
	if (rc == 0)
		fs->session = fuse_session_new(args, &operations, sizeof operations, fs);
	if (!fs->session) {
		rfs_fs_free(fs);
		return rc < 0 ? rc : -EINVAL;
	}
	*ret_fs = fs;
	return 0;
}

int rfs_fs_mount(struct rfs_fs *fs, const char *mountpoint)
{
	errno = 0;
	if (fuse_session_mount(fs->session, mountpoint) < 0)
		return errno > 0 ? -errno : -EIO;
	fs->mounted = true;
	return 0;
}

static ssize_t attached_writev(int fd, struct iovec *iov, int count, void *user)
{
	(void) user;
	return writev(fd, iov, count);
}

/* What a closed connection to the kernel would give is what libfuse takes for the end. */
static ssize_t attached_read(int fd, void *buffer, size_t size, void *user)
{
	ssize_t length = read(fd, buffer, size);

	(void) user;
	if (length != 0)
		return length;
	errno = ENODEV;
	return -1;
}

int rfs_fs_attach(struct rfs_fs *fs, int fd)
{
	static const struct fuse_custom_io io = { .writev = attached_writev, .read = attached_read };
	int rc = fuse_session_custom_io(fs->session, &io, fd);

	return rc < 0 ? rc : 0;
}

/* Ends what was started. What waits for the storage of the Repo is not waited for: it does not change anything. */
static int stop(struct rfs_fs *fs)
{
	int rc = 0;

	if (!rfs_changes_wait(fs) || !rfs_worker_stop(&fs->look_ups, RFS_CLOSE_PATIENCE_SECONDS * RFS_NS_A_SECOND))
		rc = -ETIMEDOUT;
	if (!rfs_worker_stop(&fs->measurements, RFS_SILENT_MS * RFS_NS_A_MS) || rc < 0)
		fs->left_behind = true;
	if (!rfs_loop_join(fs))
		fs->left_behind = true;
	if (!rfs_worker_stop(&fs->notices, RFS_SILENT_MS * RFS_NS_A_MS))
		fs->left_behind = true;
	if (fs->left_behind) {
		rfs_log(LOG_NOTICE, "a storage does not answer; left without waiting for it");
		rfs_waits_leave(fs);
	}
	rfs_measuring_done(fs);
	return rc;
}

int rfs_fs_run(struct rfs_fs *fs, enum rfs_fs_end *ret_end)
{
	int rc = rfs_measuring_init(fs), stopped;

	if (rc < 0)
		return rc;
	rc = rfs_worker_start(&fs->look_ups);
	if (rc == 0)
		rc = rfs_worker_start(&fs->measurements);
	if (rc == 0)
		rc = rfs_worker_start(&fs->notices);
	if (rc == 0)
		rc = rfs_loop_run(fs, ret_end);
	stopped = stop(fs);
	return rc < 0 ? rc : stopped;
}

bool rfs_fs_is_connected(const struct rfs_fs *fs)
{
	struct pollfd connection = { .fd = fuse_session_fd(fs->session) };

	return fs->mounted && poll(&connection, 1, 0) >= 0 && !(connection.revents & POLLERR);
}

/*
 * libfuse unmounts whatever is on the path that it once mounted on, unless it finds the connection broken. So it gets to see
 * the end of a pipe that nobody reads in its place.
 */
void rfs_fs_disconnect(struct rfs_fs *fs)
{
	int broken[2];

	if (!fs->mounted)
		return;
	fs->mounted = false;
	if (pipe2(broken, O_CLOEXEC) < 0)
		return; /* the session's end closes it, and loses a string */
	close(broken[0]);
	if (dup3(broken[1], fuse_session_fd(fs->session), O_CLOEXEC) >= 0)
		fuse_session_unmount(fs->session);
	close(broken[1]);
}

void rfs_fs_free(struct rfs_fs *fs)
{
	if (!fs)
		return;
	rfs_fs_disconnect(fs);
	if (fs->left_behind)
		return;
	if (fs->session)
		fuse_session_destroy(fs->session);
	rfs_handles_free(fs);
	rfs_hidden_free(fs);
	rfs_refusals_free(fs);
	rfs_changes_done(fs);
	rfs_waits_done(&fs->waits);
	rfs_worker_done(&fs->notices);
	rfs_worker_done(&fs->measurements);
	rfs_worker_done(&fs->look_ups);
	pthread_mutex_destroy(&fs->hidden_lock);
	pthread_mutex_destroy(&fs->handles_lock);
	pthread_mutex_destroy(&fs->errors_lock);
	rfs_loop_done(&fs->loop);
	free(fs->pool);
	free(fs);
}
