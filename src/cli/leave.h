/* SPDX-License-Identifier: MIT */
/* leave.h: the last thing that the process does. */
#ifndef RFS_CLI_LEAVE_H
#define RFS_CLI_LEAVE_H

/* Closes all files but the standard streams, and waits for that as long as a storage that works may take. Where one does not
 * answer they are closed by another process, whenever it does, and the standard streams at once; so nothing may follow
 * but the end of this one. */
void rfs_leave_files(void);

#endif
