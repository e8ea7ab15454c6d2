/* SPDX-License-Identifier: MIT */
/*
 * signals.c: what signals do to the daemon. Invariant: a signal either ends it where it stands (KILL, and a fault in the program), or
 * in good order, or does nothing; none is left over to be delivered once serving has ended.
 */
#include "cli/signals.h"

#include <signal.h>
#include <stdbool.h>
#include <stddef.h>

static const int ends[] = { SIGINT, SIGTERM, SIGHUP };

/* Faults, debuggers, children, and what cannot be changed. SIGPIPE and SIGXFSZ are not among them: the call that raises
 * one fails as well. */
static const int left_alone[] = { SIGABRT, SIGBUS, SIGCHLD, SIGCONT, SIGFPE, SIGILL, SIGKILL, SIGSEGV, SIGSTOP, SIGSYS, SIGTRAP };

#define COUNT(array) (sizeof(array) / sizeof((array)[0]))

static bool is_among(int number, const int *numbers, size_t count)
{
	for (size_t i = 0; i < count; i++)
		if (numbers[i] == number)
			return true;
	return false;
}

void rfs_signals_settle(void)
{
	/* SIGINT and SIGHUP may have come ignored, as from nohup: that is left as it is. */
	for (int number = 1; number < NSIG; number++)
		if (!is_among(number, ends, COUNT(ends)) && !is_among(number, left_alone, COUNT(left_alone)))
			signal(number, SIG_IGN); /* fails for those of the C library's own */
}

void rfs_signals_hold(void)
{
	sigset_t set;

	sigemptyset(&set);
	for (size_t i = 0; i < COUNT(ends); i++)
		sigaddset(&set, ends[i]);
	pthread_sigmask(SIG_BLOCK, &set, NULL);
}
