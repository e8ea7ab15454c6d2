/* SPDX-License-Identifier: MIT */
/* notices.h: what the Datastore has for the log, which while the command starts is not yet where it stays. */
#ifndef RFS_CLI_NOTICES_H
#define RFS_CLI_NOTICES_H

#include <pthread.h>
#include <stdbool.h>

#define RFS_NOTICES_HELD 8

/* Until they are released, the first notices are held back. Any thread. */
struct rfs_notices {
	pthread_mutex_t lock;
	/* Under lock. */
	bool released;
	unsigned count;
	struct {
		bool is_trouble;
		char *line;
	} held[RFS_NOTICES_HELD];
};

#define RFS_NOTICES_INIT { .lock = PTHREAD_MUTEX_INITIALIZER }

/* As struct rfs_sqlite_options has it; `notices` is one of the above. */
void rfs_notices_take(void *notices, bool is_trouble, const char *line);

/* Logs those that were held back; from here on they are logged as they come. May be called again. */
void rfs_notices_release(struct rfs_notices *notices);

#endif
