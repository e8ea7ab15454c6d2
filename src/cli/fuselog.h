/* SPDX-License-Identifier: MIT */
/* fuselog.h: libfuse's own messages, which become part of one line of ours, or go to the log. */
#ifndef RFS_CLI_FUSELOG_H
#define RFS_CLI_FUSELOG_H

#include <stddef.h>

/* From here on libfuse's messages are held back; those held so far are dropped. By one thread, while no other uses
 * libfuse. */
void rfs_fuselog_hold(void);

/* Copies the first line that is held back, as rfs_fuselog_first_line cuts it, into `ret_line`. */
void rfs_fuselog_line(char *ret_line, size_t size);

/* From here on messages go to the log, debug output to stderr. */
void rfs_fuselog_release(void);

/* Copies the first line of `text` that is not empty, without the name of the program that wrote it; "" for none. */
void rfs_fuselog_first_line(const char *text, char *ret_line, size_t size);

#endif
