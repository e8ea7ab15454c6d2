/* SPDX-License-Identifier: MIT */
/*
 * receive.c: waiting for a request. To be woken takes longer than to answer, on a virtual machine several times as long. So
 * where requests follow upon one another the reading thread does not sleep in between, but asks for the next one for about as
 * long as being woken takes. Where none comes it sleeps, and asks again only when requests follow upon one another again.
 *
 * Invariants: no more than ASKING_NS are spent in vain after a request, so that an idle daemon sleeps. The processors are left to
 * those who ask where there is only one, and where many wait for a change, or lately did: they need all of them once it is made.
 */
#include "fs/internal.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fuse.h>
#include <sched.h>

/* For how long to ask; and where more changes than this are under way, not at all. */
#define ASKING_NS 30000
#define ASKING_CHANGES 8

/* Within how many requests one change under way is forgotten. */
#define CROWD_REQUESTS 16

/* How many requests in a row, each waited for no longer than this, show that they follow upon one another. */
#define SOON_TIMES 2
#define SOON_NS 150000 /* as it looks to a thread that had to be woken */

/* After how many requests to look again whether there is more than one processor. */
#define LOOK_AGAIN_TIMES 1000

/* How many requests in a row by one client show that it is alone. */
#define ALONE_TIMES 8

bool rfs_receive_has_one_client(const struct rfs_fs *fs)
{
	return fs->receiving.in_a_row >= ALONE_TIMES;
}

void rfs_receive_note_change(struct rfs_fs *fs)
{
	fs->receiving.since_change = 0;
}

/* For what the kernel does by itself, such as RELEASE, it names nobody. */
static void note_client(struct rfs_receiving *r, const struct fuse_in_header *request)
{
	pid_t client = (pid_t) request->pid;

	if (client == 0)
		return;
	r->since_change++;
	r->crowd -= r->crowd > 0;
	r->in_a_row = client == r->client ? r->in_a_row + 1 : 0;
	r->client = client;
}

static int64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000000000 + now.tv_nsec;
}

/* A client that is alone and changes something waits for the commit most of the time. */
static bool is_worth_asking(struct rfs_fs *fs)
{
	struct rfs_receiving *r = &fs->receiving;
	size_t crowd = rfs_changes_count(fs) * CROWD_REQUESTS;

	if (crowd > r->crowd)
		r->crowd = crowd;
	if (rfs_receive_has_one_client(fs) && r->since_change < ALONE_TIMES)
		return false;
	return r->crowd <= ASKING_CHANGES * CROWD_REQUESTS;
}

static bool has_processors(void)
{
	cpu_set_t cpus;

	return sched_getaffinity(0, sizeof cpus, &cpus) == 0 && CPU_COUNT(&cpus) > 1;
}

/* Whether reading the connection says at once that there is no request, or sleeps until there is one. */
static void set_asking(struct rfs_fs *fs, bool is_asking)
{
	fs->receiving.soon = 0;
	if (fcntl(fuse_session_fd(fs->session), F_SETFL, is_asking ? O_NONBLOCK : 0) == 0)
		fs->receiving.is_asking = is_asking;
}

static int receive_asleep(struct rfs_fs *fs, struct fuse_buf *buffer)
{
	struct rfs_receiving *r = &fs->receiving;
	int64_t since = now_ns();
	int rc = fuse_session_receive_buf(fs->session, buffer);

	if (now_ns() - since < SOON_NS)
		r->soon += r->soon < SOON_TIMES;
	else if (r->soon > 0)
		r->soon = 0;
	if (rc <= 0 || r->soon < SOON_TIMES || !fs->mounted || !is_worth_asking(fs))
		return rc;
	if (has_processors())
		set_asking(fs, true);
	else
		r->soon = -LOOK_AGAIN_TIMES;
	return rc;
}

/* -EAGAIN: nothing came for a while. */
static int receive_awake(struct rfs_fs *fs, struct fuse_buf *buffer)
{
	int rc = fuse_session_receive_buf(fs->session, buffer);
	int64_t until;

	if (rc != -EAGAIN || !is_worth_asking(fs))
		return rc;
	until = now_ns() + ASKING_NS;
	do
		rc = fuse_session_receive_buf(fs->session, buffer);
	while (rc == -EAGAIN && now_ns() < until);
	return rc;
}

int rfs_receive(struct rfs_fs *fs, struct fuse_buf *buffer)
{
	int rc = -EAGAIN;

	if (fs->receiving.is_asking) {
		rc = receive_awake(fs, buffer);
		if (rc == -EAGAIN)
			set_asking(fs, false);
	}
	if (rc == -EAGAIN)
		rc = receive_asleep(fs, buffer);
	if (rc > 0)
		note_client(&fs->receiving, buffer->mem);
	return rc == -EAGAIN ? -EINTR : rc;
}
