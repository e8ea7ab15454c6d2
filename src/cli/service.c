/* SPDX-License-Identifier: MIT */
/*
 * service.c: wires the layers together. Invariant: nothing on the disk changes before REPO and MOUNTPOINT are known to
 * be usable, and whatever was opened is closed in the opposite order, on every way out.
 */
#include "cli/service.h"
#include "cli/fuselog.h"
#include "cli/mounting.h"
#include "cli/mountpoint.h"
#include "cli/mtab.h"
#include "cli/node.h"
#include "cli/notices.h"
#include "cli/notify.h"
#include "cli/passed.h"
#include "cli/privileges.h"
#include "cli/signals.h"
#include "cli/threads.h"
#include "cli/watchdog.h"
#include "fs/fs.h"
#include "util/cleanup.h"
#include "util/log.h"
#include "util/utf8.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <libgen.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/stat.h>

struct service {
	const struct rfs_options *options;
	struct rfs_daemon *daemon;
	struct rfs_node node;
	struct rfs_mountpoint mountpoint;
	struct rfs_mounting mounting;
	struct rfs_reservations *reservations;
	struct rfs_fs *fs;
	struct rfs_watchdog *watchdog;
	struct rfs_notices notices;
	bool unwanted; /* the process that waited is gone */
};

/* How much of the free space of REPO's file system this Repo counts. */
static enum rfs_share share_of(const struct rfs_options *o)
{
	if (o->quota)
		return RFS_SHARE_NONE;
	return o->capacity_bytes == RFS_CAPACITY_MAX ? RFS_SHARE_WHOLE : RFS_SHARE_PART;
}

/* For a disk that may not be mounted: its Repo must not be begun anew on the directory beneath. */
static int fail_missing(const char *what, const struct service *s, int error, struct rfs_failure *failure)
{
	if (error != ENOENT)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -error, "cannot look for %s of REPO %s: %s; check its disk",
				what, s->node.path, strerror(error));
	return rfs_fail(failure, RFS_EXIT_SYSTEM, -error,
			"REPO %s has no %s, and option 'existing' forbids to begin a new one; look whether its disk is "
			"mounted, or leave the option out",
			s->node.path, what);
}

static int check_exists(const struct service *s, struct rfs_failure *failure)
{
	const char *given = s->options->datastore;
	struct stat st;

	if (fstatat(s->node.fd, ".reservefs", &st, AT_SYMLINK_NOFOLLOW) < 0)
		return fail_missing(".reservefs", s, errno, failure);
	if ((given ? stat(given, &st) : fstatat(s->node.fd, ".reservefs/datastore.db", &st, 0)) < 0)
		return fail_missing(given ? given : "Datastore", s, errno, failure);
	return 0;
}

/* A mount that is there already may hide what is to be opened. */
static int take_mount(struct service *s, struct rfs_failure *failure)
{
	const struct rfs_options *o = s->options;
	_cleanup_free_ char *name = o->datastore ? strdup(o->datastore) : NULL;

	int r = rfs_mountpoint_take(&s->mountpoint, o->mountpoint, failure);
	if (!r)
		r = rfs_passed_check_reachable(o->repo);
	if (!r && name)
		r = rfs_passed_check_reachable(dirname(name));
	if (r == -EDEADLK)
		return rfs_fail(failure, RFS_EXIT_USAGE, r,
				"REPO %s, or the directory of its Datastore, does not answer: it is hidden by the "
				"mount itself, or on a disk that hangs; mount elsewhere, or look at the disk",
				o->repo);
	return r;
}

static int look(struct service *s, struct rfs_failure *failure)
{
	const struct rfs_options *o = s->options;
	bool passed = rfs_passed_descriptor(o->mountpoint) >= 0;
	int r = passed ? take_mount(s, failure) : 0;

	if (!r)
		r = rfs_node_open(&s->node, o->repo, share_of(o), failure);
	if (!r && o->existing)
		r = check_exists(s, failure);
	if (!r && !passed)
		r = rfs_mountpoint_find(&s->mountpoint, o->mountpoint, &s->node, o->nonempty, failure);
	return r;
}

static int claim(struct service *s, struct rfs_failure *failure)
{
	int r = rfs_node_claim(&s->node, failure);

	if (!r)
		r = rfs_mountpoint_clear(&s->mountpoint, &s->node, s->options->nonempty, failure);
	return r;
}

/* The Datastore is looked after by its path, which must not come to lead into the tree itself. */
static int check_not_hidden(const struct service *s, const char *datastore, struct rfs_failure *failure)
{
	size_t length = strlen(s->mountpoint.path);
	_cleanup_free_ char *name = strdup(datastore), *directory = NULL;

	if (name)
		directory = realpath(dirname(name), NULL);
	if (!directory || strncmp(directory, s->mountpoint.path, length) != 0 ||
	    (directory[length] != '/' && directory[length] != '\0'))
		return 0; /* what cannot be resolved is for the Datastore to report */
	return rfs_fail(failure, RFS_EXIT_USAGE, -EINVAL,
			"MOUNTPOINT %s would hide the Datastore %s; mount elsewhere, or add -o datastore=FILE",
			s->mountpoint.path, datastore);
}

static int open_datastore(struct service *s, struct rfs_datastore **ret_ds, struct rfs_failure *failure)
{
	_cleanup_free_ char *usual = NULL;
	char message[RFS_FAILURE_LINE_MAX] = "";

	if (!s->options->datastore && asprintf(&usual, "%s/.reservefs/datastore.db", s->node.path) < 0) {
		usual = NULL;
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ENOMEM, "out of memory, opening the Datastore; try again");
	}
	struct rfs_sqlite_options sqlite = {
		.path = usual ? usual : s->options->datastore,
		.must_exist = s->options->existing,
		.notice = rfs_notices_take,
		.user = &s->notices,
	};
	int r = check_not_hidden(s, sqlite.path, failure);
	if (r < 0)
		return r;
	r = rfs_datastore_open_sqlite(&sqlite, message, sizeof(message), ret_ds);
	if (r < 0)
		return rfs_fail(failure, r == -ENOENT && !usual ? RFS_EXIT_USAGE : RFS_EXIT_SYSTEM, r, "%s", message);
	return 0;
}

static int open_repo(struct service *s, struct rfs_repo **ret_repo, struct rfs_failure *failure)
{
	const struct rfs_options *o = s->options;
	int r = o->quota ? rfs_repo_open_quota(o->capacity_bytes, ret_repo)
			 : rfs_repo_open_disk(s->node.fd, o->capacity_bytes, ret_repo);

	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot measure REPO %s: %s; check its disk", s->node.path,
				strerror(-r));
	return 0;
}

static int open_reservations(struct service *s, struct rfs_failure *failure)
{
	char message[RFS_FAILURE_LINE_MAX] = "";
	struct rfs_datastore *ds = NULL;
	struct rfs_repo *repo = NULL;

	int r = open_repo(s, &repo, failure);
	if (!r)
		r = open_datastore(s, &ds, failure);
	if (!r)
		r = rfs_privileges_drop(failure);
	if (!r)
		r = rfs_threads_prepare(failure); /* the next line starts the first one */
	if (!r) {
		(void) rfs_log_start();
		r = rfs_reservations_open(ds, repo, message, sizeof(message), &s->reservations);
		if (r < 0)
			rfs_fail(failure, RFS_EXIT_SYSTEM, r, "%s", message);
	}
	if (r < 0) {
		rfs_datastore_close(ds);
		rfs_repo_close(repo);
	}
	return r;
}

static void on_checked(void *user, const struct rfs_check_result *result)
{
	const struct service *s = user;

	if (result->state == RFS_CHECK_SOUND)
		rfs_log(LOG_NOTICE, "all records of %s were checked, and add up", s->node.path);
	else if (result->state == RFS_CHECK_DAMAGED)
		rfs_log(LOG_ERR, "records of %s cannot be read (%" PRIu64 "); unmount and run fsck.reservefs", s->node.path,
			result->unreadable);
	else
		rfs_log(LOG_ERR,
			"the records of %s do not add up: %+" PRId64 " bytes and %+" PRId64
			" contracts against the totals%s, as in a copy whose parts are of different moments; unmount and run "
			"fsck.reservefs%s",
			s->node.path, result->excess_bytes, result->excess_contracts,
			result->is_misindexed ? ", and the index is another's" : "",
			result->excess_bytes > 0 ? "; until then nothing more is reserved" : "");
}

static void check_records(struct service *s)
{
	int r = rfs_reservations_check(s->reservations, on_checked, s);

	if (r > 0)
		rfs_log(LOG_INFO, "%s was not ended cleanly, or is a copy: checking all records in the background", s->node.path);
	else if (r < 0)
		rfs_log(LOG_ERR, "cannot start the thread that checks all records: %s", strerror(-r));
}

/* On the main thread, once the kernel and libfuse have agreed. */
static void on_ready(void *user)
{
	struct service *s = user;
	char status[RFS_FAILURE_LINE_MAX];

	rfs_fuselog_release();
	if (rfs_daemon_ready(s->daemon) == -EPIPE) {
		s->unwanted = true;
		kill(getpid(), SIGTERM);
	}
	snprintf(status, sizeof(status), "READY=1\nMAINPID=%d\nSTATUS=%s is served on %s", (int) getpid(), s->node.path,
		 s->mountpoint.path);
	rfs_notify(status);
	rfs_log(LOG_NOTICE, "%s is served on %s", s->node.path, s->mountpoint.path);
	rfs_notices_release(&s->notices);
	int r = rfs_watchdog_start(s->reservations, &s->watchdog);
	if (r < 0)
		rfs_log(LOG_ERR, "cannot start the watchdog's thread: %s", strerror(-r));
	check_records(s);
}

/* REPO's last component, as it can stand in a metric's label. */
static void name_pool(const struct service *s, char *ret_name, size_t size)
{
	const char *last = strrchr(s->node.path, '/') + 1;

	if (s->options->pool)
		snprintf(ret_name, size, "%s", s->options->pool);
	else
		rfs_utf8_escape(*last ? last : "/", ret_name, size);
}

static int open_fs(struct service *s, struct rfs_failure *failure)
{
	char pool[4 * RFS_NAME_MAX + 1];
	char complaint[256];
	struct fuse_args args = FUSE_ARGS_INIT(s->options->fuse.argc, s->options->fuse.argv);
	const struct rfs_fs_options options = {
		.reservations = s->reservations,
		.pool = pool,
		.uid = s->options->uid,
		.gid = s->options->gid,
		.check_permissions = s->mountpoint.fd >= 0,
		.ready = on_ready,
		.user = s,
	};

	name_pool(s, pool, sizeof(pool));
	rfs_fuselog_hold();
	int r = rfs_fs_new(&args, &options, &s->fs);
	rfs_fuselog_line(complaint, sizeof(complaint));
	fuse_opt_free_args(&args);
	if (r == -EINVAL)
		return rfs_fail(failure, RFS_EXIT_USAGE, r, "the mount options don't fit together (%s); see fuse(8)",
				complaint);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r, "cannot prepare the mount on %s: %s; try again",
				s->mountpoint.path, *complaint ? complaint : strerror(-r));
	return 0;
}

/* What an end means that was not asked for. */
static int judge_end(struct service *s, enum rfs_fs_end end, struct rfs_failure *failure)
{
	char complaint[256];

	if (end == RFS_FS_NEVER_BEGAN) {
		rfs_fuselog_line(complaint, sizeof(complaint));
		return rfs_fail(failure, RFS_EXIT_MOUNT, -EPROTO,
				"the kernel and libfuse do not agree about the mount on %s (%s); check the mount options, see fuse(8)",
				s->mountpoint.path, *complaint ? complaint : "it was unmounted before it could be used");
	}
	if (end == RFS_FS_DISCONNECTED && rfs_mounting_was_aborted(&s->mounting))
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ECONNABORTED,
				"the connection of the mount on %s was aborted, not unmounted; what was answered is stored, start it "
				"again",
				s->mountpoint.path);
	if (!s->daemon->ready || s->unwanted)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, -ECANCELED,
				"told to end before %s could be used; start it again", s->mountpoint.path);
	return 0;
}

static int do_mount(struct service *s, struct rfs_failure *failure)
{
	if (s->mountpoint.fd >= 0)
		return rfs_mounting_take(&s->mounting, s->fs, &s->mountpoint, failure);
	rfs_mtab_note(s->options->repo, s->mountpoint.path);
	return rfs_mounting_do(&s->mounting, s->fs, s->mountpoint.path, failure);
}

static int mount_and_serve(struct service *s, struct rfs_failure *failure)
{
	enum rfs_fs_end end = RFS_FS_TOLD;

	rfs_signals_hold();
	/* Before it is true, because afterwards the disk of REPO is not waited for. */
	rfs_node_record(&s->node, s->mountpoint.unknown ? "" : s->mountpoint.path);
	int r = do_mount(s, failure);
	if (r < 0)
		return r;
	rfs_node_note_mount(&s->node, s->mounting.device);
	rfs_fuselog_hold();
	r = rfs_fs_run(s->fs, &end);
	rfs_notify("STOPPING=1");
	if (!rfs_watchdog_stop(s->watchdog, r == -ETIMEDOUT ? 0 : RFS_CLOSE_PATIENCE_SECONDS) && r == 0)
		r = -ETIMEDOUT;
	if (r == -ETIMEDOUT)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r,
				"the disk of the Datastore of %s does not answer; left without waiting for it, changes that were "
				"not answered are stored whole or not at all",
				s->node.path);
	if (r < 0)
		return rfs_fail(failure, RFS_EXIT_SYSTEM, r,
				"serving %s on %s ended: %s; see the lines before this one", s->node.path,
				s->mountpoint.path, strerror(-r));
	return judge_end(s, end, failure);
}

/* All that was answered gets durable here, so what it says counts even where another failure came first. */
static int close_all(struct service *s, int r, struct rfs_failure *failure)
{
	rfs_node_note_end(&s->node);
	if (s->mounting.path) { /* where its disk hangs, nothing is done there */
		rfs_mounting_undo(&s->mounting, s->fs, r == -ETIMEDOUT ? -1 : s->node.state_fd);
		rfs_mtab_forget(s->mounting.path);
	}
	rfs_fs_free(s->fs);
	/* What keeps its threads keeps it open, too. */
	int closed = r == -ETIMEDOUT ? 0 : rfs_reservations_close(s->reservations);
	if (closed == -ETIMEDOUT && !r)
		r = rfs_fail(failure, RFS_EXIT_SYSTEM, closed,
			     "the disk of the Datastore of %s does not answer; left without waiting for it, contracts of size 0 may be "
			     "missing",
			     s->node.path);
	else if (closed < 0 && !r)
		r = rfs_fail(failure, RFS_EXIT_SYSTEM, closed,
			     "the Datastore of %s could not store the last changes: %s; check its disk, "
			     "contracts of size 0 may be "
			     "missing",
			     s->node.path, strerror(-closed));
	if (!r)
		rfs_log(LOG_NOTICE, "%s is no longer served", s->node.path);
	rfs_mounting_done(&s->mounting);
	/* Where it was never ready, what the Datastore found may be the reason; the terminal gets one line, which is another. */
	if (!s->daemon->ready && s->daemon->background)
		rfs_log_set_syslog(true);
	rfs_notices_release(&s->notices);
	rfs_mountpoint_done(&s->mountpoint);
	/* Its disk may hang: its files are closed with the process. */
	s->node.lock_fd = s->node.state_fd = s->node.fd = -1;
	rfs_node_done(&s->node);
	return r;
}

int rfs_service_check(const struct rfs_options *options, struct rfs_failure *failure)
{
	struct service s = { .options = options, .node = RFS_NODE_INIT, .mountpoint = RFS_MOUNTPOINT_INIT };
	int r = look(&s, failure);

	rfs_mountpoint_done(&s.mountpoint);
	rfs_node_done(&s.node);
	return r;
}

int rfs_service_run(const struct rfs_options *options, struct rfs_daemon *daemon, struct rfs_failure *failure)
{
	struct service s = {
		.options = options,
		.daemon = daemon,
		.node = RFS_NODE_INIT,
		.mountpoint = RFS_MOUNTPOINT_INIT,
		.mounting = RFS_MOUNTING_INIT,
		.notices = RFS_NOTICES_INIT,
	};
	int r;

	umask(077);
	rfs_signals_settle();
	prctl(PR_SET_NAME, "reservefs");
	if (options->debug)
		rfs_log_set_level(LOG_DEBUG);
	if (!(r = look(&s, failure)) && !(r = claim(&s, failure)) && !(r = open_reservations(&s, failure)) &&
	    !(r = open_fs(&s, failure)))
		r = mount_and_serve(&s, failure);
	return close_all(&s, r, failure);
}
