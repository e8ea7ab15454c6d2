/* SPDX-License-Identifier: MIT */
/*
 * keep.c: the copy of the Datastore as it was. Invariant: nothing is repaired before it is on stable storage.
 */
#include "fsck/fsck.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

/* How many seconds ahead a copy's name may be of the time, where others have been kept just now. */
#define SECONDS_AHEAD 60

static int copy_as_of(struct fsck *fsck, time_t second, char *ret_line, size_t size)
{
	char when[32];
	struct tm utc;
	int rc;

	(void) strftime(when, sizeof when, "%Y%m%dT%H%M%SZ", gmtime_r(&second, &utc));
	if (asprintf(&fsck->copy, "%s.%s.bak", fsck->file, when) < 0) {
		fsck->copy = NULL;
		(void) snprintf(ret_line, size, "out of memory");
		return -ENOMEM;
	}
	rc = fsck_view_copy(fsck->view, fsck->copy, ret_line, size);
	if (rc < 0) {
		free(fsck->copy);
		fsck->copy = NULL;
	}
	return rc;
}

int fsck_keep(struct fsck *fsck)
{
	char line[512] = "";
	time_t now = time(NULL);
	int rc = -EEXIST;

	if (fsck->copy)
		return 0;
	for (time_t ahead = 0; rc == -EEXIST && ahead < SECONDS_AHEAD; ahead++)
		rc = copy_as_of(fsck, now + ahead, line, sizeof line);
	if (rc < 0)
		fsck_fail(fsck, FSCK_OPERATIONAL, "cannot keep a copy of %s: %s; nothing was repaired", fsck->shown, line);
	return rc;
}
