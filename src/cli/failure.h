/* SPDX-License-Identifier: MIT */
/* failure.h: why the command ends without having done its work: an exit status and one line for its user. */
#ifndef RFS_CLI_FAILURE_H
#define RFS_CLI_FAILURE_H

/* Exit statuses, as mount(8) has them. */
enum {
	RFS_EXIT_USAGE = 1,  /* an argument is wrong */
	RFS_EXIT_SYSTEM = 2, /* the system, the Repo or the Datastore is in the way */
	RFS_EXIT_MOUNT = 32, /* all is well but for the mount itself */
};

/* Two paths and a sentence fit. */
#define RFS_FAILURE_LINE_MAX 9216

struct rfs_failure {
	int status;
	char line[RFS_FAILURE_LINE_MAX]; /* "WHAT, WHERE; WHAT TO DO", without the program's name or a newline */
};

/* Fills `failure`, and returns `error`, a negative errno, so that a caller can return it. */
int rfs_fail(struct rfs_failure *failure, int status, int error, const char *format, ...)
	__attribute__((format(printf, 4, 5)));

/* What to do about the errno value `error` where that is known by itself: no open file, memory or space is to be had.
 * Else `otherwise`, which knows what was being done. */
const char *rfs_advice(int error, const char *otherwise);

/* Prints the line, unless it is empty, on stderr, the name of the program before it, with what is not printable in it
 * escaped. */
void rfs_failure_print(const char *program, const struct rfs_failure *failure);

#endif
