/* SPDX-License-Identifier: MIT */
/* notify.h: tells the service manager how the daemon is doing, by the protocol of sd_notify(3). */
#ifndef RFS_CLI_NOTIFY_H
#define RFS_CLI_NOTIFY_H

/*
 * Sends `state` ("READY=1", "STATUS=...", "WATCHDOG=1", "STOPPING=1", newline between several) to the socket that
 * NOTIFY_SOCKET names: a path, or an abstract name after '@'. Does nothing where there is none, so it may always be
 * called. Any thread. 0, or a negative errno, which callers may ignore: nobody listens then.
 */
int rfs_notify(const char *state);

#endif
