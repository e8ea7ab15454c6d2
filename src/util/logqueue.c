/* SPDX-License-Identifier: MIT */
/*
 * logqueue.c: lines of the log on their way. syslog(3) and a full pipe keep whoever writes to them waiting for as long as
 * nobody reads, so a thread of its own does, which nothing else depends on. Invariant: no more than QUEUE_BYTES wait.
 */
#include "util/logqueue.h"

#include "util/cleanup.h"
#include "util/thread.h"

#include <stdlib.h>
#include <string.h>
#include <sys/queue.h>

#define QUEUE_BYTES (256 * 1024)

struct line {
	STAILQ_ENTRY(line) link;
	int priority;
	size_t length;
	char text[];
};

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed;
/* Under lock. */
static STAILQ_HEAD(, line) lines = STAILQ_HEAD_INITIALIZER(lines);
static size_t bytes; /* of those */
static enum { NOT_RUNNING, RUNNING, STOPPING } state;
static bool writing; /* the thread has taken a line */
static pthread_t thread;
static rfs_log_write_fn write_line;

static struct line *take_locked(void)
{
	struct line *line = STAILQ_FIRST(&lines);

	if (line) {
		STAILQ_REMOVE_HEAD(&lines, link);
		bytes -= sizeof *line + line->length;
	}
	return line;
}

static struct line *next_line(void)
{
	struct line *line;
	RFS_LOCK(&lock);

	writing = false;
	pthread_cond_broadcast(&changed);
	while (!(line = take_locked()) && state == RUNNING)
		pthread_cond_wait(&changed, &lock);
	writing = line;
	return line;
}

static void *thread_main(void *unused)
{
	struct line *line;

	(void) unused;
	while ((line = next_line())) {
		write_line(line->priority, line->text);
		free(line);
	}
	return NULL;
}

int rfs_logqueue_start(rfs_log_write_fn write)
{
	int rc = rfs_cond_init(&changed);
	RFS_LOCK(&lock);

	if (rc < 0)
		return rc;
	write_line = write;
	state = RUNNING;
	rc = rfs_thread_start(&thread, thread_main, NULL);
	if (rc < 0)
		state = NOT_RUNNING;
	return rc;
}

bool rfs_logqueue_add(int priority, const char *text, bool *ret_lost)
{
	size_t length = strlen(text);
	struct line *line;
	RFS_LOCK(&lock);

	*ret_lost = false;
	if (state != RUNNING)
		return state == STOPPING; /* the end was waited for: nobody waits any more */
	line = bytes + sizeof *line + length > QUEUE_BYTES ? NULL : malloc(sizeof *line + length + 1);
	if (!line) {
		*ret_lost = true;
		return true;
	}
	line->priority = priority;
	line->length = length;
	memcpy(line->text, text, length + 1);
	STAILQ_INSERT_TAIL(&lines, line, link);
	bytes += sizeof *line + length;
	pthread_cond_broadcast(&changed);
	return true;
}

/* Whether the thread is about to end. */
static bool wait_until_written(int64_t until)
{
	struct line *line;
	RFS_LOCK(&lock);

	while ((writing || !STAILQ_EMPTY(&lines)) && rfs_cond_wait_until(&changed, &lock, until))
		;
	state = STOPPING;
	while ((line = take_locked()))
		free(line);
	pthread_cond_broadcast(&changed);
	return !writing;
}

void rfs_logqueue_stop(int patience_ms)
{
	{
		RFS_LOCK(&lock);
		if (state != RUNNING)
			return;
	}
	if (wait_until_written(rfs_now_ns() + patience_ms * RFS_NS_A_MS))
		pthread_join(thread, NULL);
	else
		pthread_detach(thread);
}
