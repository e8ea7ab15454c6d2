/* SPDX-License-Identifier: MIT */
/*
 * log.c: the daemon's log.
 *
 * One call makes one line: what a client chose (a name, a value) can neither begin a second line nor send
 * the reader's terminal a control sequence. In no interval of one second are more than LINES_A_SECOND lines of priority
 * LOG_WARNING and less urgent written, and none is lost without being counted. Who writes a line never waits for who reads it,
 * once there is a thread for that.
 */
#include <errno.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"
#include "util/log.h"
#include "util/logqueue.h"
#include "util/utf8.h"

#define LINES_A_SECOND 50
#define NS_A_SECOND UINT64_C(1000000000)

/* Bytes of a message, and of the line made of it. A line with prefix and newline stays within PIPE_BUF, so
 * that lines of several threads and processes do not mix in a pipe; what is longer is cut. */
#define MESSAGE_MAX 2048
#define LINE_MAX_BYTES 4096

/* In place of a priority: what is not a line of ours. */
#define TEXT (-1)

/* How long the end waits for whoever reads the lines. */
#define PATIENCE_MS 500

static atomic_int max_priority = LOG_INFO;
static atomic_bool to_syslog;

static _Atomic uint64_t unread; /* lines lost since that was last told, because nobody read those before them */

static pthread_mutex_t limit_lock = PTHREAD_MUTEX_INITIALIZER;
/* Under limit_lock. */
static uint64_t written_at_ns[LINES_A_SECOND]; /* when the last lines were written, a ring; 0: never */
static unsigned int oldest;                    /* the index of the oldest of them */
static uint64_t dropped;                       /* lines not written since that was last told */

void rfs_log_set_level(int priority)
{
	atomic_store(&max_priority, priority);
}

void rfs_log_set_syslog(bool enabled)
{
	atomic_store(&to_syslog, enabled);
}

static uint64_t now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t) now.tv_sec * NS_A_SECOND + (uint64_t) now.tv_nsec;
}

/* Takes one of the lines that may be written in the second that ends now. */
static bool take_turn(uint64_t now)
{
	if (written_at_ns[oldest] != 0 && now - written_at_ns[oldest] < NS_A_SECOND)
		return false;
	written_at_ns[oldest] = now;
	oldest = (oldest + 1) % LINES_A_SECOND;
	return true;
}

/* Whether a line of `priority` may be written; if so, `ret_untold` is how many before it were not. */
static bool admit(int priority, uint64_t *ret_untold)
{
	RFS_LOCK(&limit_lock);
	uint64_t now = now_ns();
	bool limited = priority >= LOG_WARNING;

	/* The line that tells the count is itself of priority LOG_WARNING, and needs a turn too. */
	if (limited && !take_turn(now)) {
		dropped++;
		return false;
	}
	*ret_untold = 0;
	if (dropped > 0 && take_turn(now)) {
		*ret_untold = dropped;
		dropped = 0;
	}
	return true;
}

static void write_all(const char *at, size_t left)
{
	while (left > 0) {
		ssize_t n = write(STDERR_FILENO, at, left);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return;
		at += n;
		left -= (size_t) n;
	}
}

/* Writes one line whole, as far as stderr lets us. */
static void write_stderr(int priority, const char *line)
{
	char buffer[LINE_MAX_BYTES];
	int length = snprintf(buffer, sizeof(buffer), "<%d>%s\n", LOG_PRI(priority), line);

	write_all(buffer, (size_t) length);
}

static void write_now(int priority, const char *line)
{
	if (priority == TEXT)
		write_all(line, strlen(line));
	else if (atomic_load(&to_syslog))
		syslog(priority, "%s", line);
	else
		write_stderr(priority, line);
}

/* Hands the line to the thread that writes, if there is one. */
static void write_line(int priority, const char *line)
{
	bool lost = false;

	if (!rfs_logqueue_add(priority, line, &lost))
		write_now(priority, line);
	if (lost)
		atomic_fetch_add(&unread, 1);
}

int rfs_log_start(void)
{
	return rfs_logqueue_start(write_now);
}

/* Copies `message` as one printable line. Unlike rfs_utf8_escape it keeps backslashes: what is logged has
 * often been escaped by who wrote the message. */
static void escape(const char *message, char *ret_line, size_t size)
{
	size_t left = strlen(message);
	char *at = ret_line;

	while (left > 0) {
		size_t taken = rfs_utf8_character(message, left);
		char escaped[5];
		const char *piece = message;
		size_t n = taken;

		if (taken == 0) {
			n = (size_t) snprintf(escaped, sizeof(escaped), "\\x%02x", (unsigned char) *message);
			piece = escaped;
			taken = 1;
		}
		if (n >= size - (size_t) (at - ret_line))
			break;
		at = (char *) memcpy(at, piece, n) + n;
		message += taken;
		left -= taken;
	}
	*at = '\0';
}

static void tell_dropped(uint64_t count)
{
	char line[96];

	snprintf(line, sizeof(line), "%llu earlier lines were not written: more than %d in a second",
		 (unsigned long long) count, LINES_A_SECOND);
	write_line(LOG_WARNING, line);
}

/* As soon as there is room for that line, the ones before it have been read. */
static void tell_unread(void)
{
	uint64_t count = atomic_exchange(&unread, 0);
	char line[96];
	bool lost = false;

	if (count == 0)
		return;
	snprintf(line, sizeof(line), "%llu earlier lines were lost: nobody read them in time", (unsigned long long) count);
	if (!rfs_logqueue_add(LOG_WARNING, line, &lost))
		write_now(LOG_WARNING, line);
	if (lost)
		atomic_fetch_add(&unread, count);
}

static void tell_all_dropped(void)
{
	uint64_t untold;

	tell_unread();

	pthread_mutex_lock(&limit_lock);
	untold = dropped;
	dropped = 0;
	pthread_mutex_unlock(&limit_lock);
	if (untold > 0)
		tell_dropped(untold);
}

/* At exit no later line will tell the count. */
__attribute__((destructor)) static void tell_at_exit(void)
{
	tell_all_dropped();
}

void rfs_log_stop(void)
{
	tell_all_dropped();
	rfs_logqueue_stop(PATIENCE_MS);
}

void rfs_log_text(const char *text)
{
	int saved_errno = errno;

	write_line(TEXT, text);
	errno = saved_errno;
}

void rfs_log(int priority, const char *format, ...)
{
	int saved_errno = errno;
	char message[MESSAGE_MAX];
	char line[LINE_MAX_BYTES - sizeof("<7>\n")];
	uint64_t untold;
	va_list args;

	if (LOG_PRI(priority) > atomic_load(&max_priority))
		return;
	if (!admit(LOG_PRI(priority), &untold))
		goto out;

	va_start(args, format);
	errno = saved_errno; /* for %m */
	if (vsnprintf(message, sizeof(message), format, args) < 0)
		snprintf(message, sizeof(message), "%s", format);
	va_end(args);
	escape(message, line, sizeof(line));

	tell_unread();
	if (untold > 0)
		tell_dropped(untold);
	write_line(priority, line);
out:
	errno = saved_errno;
}
