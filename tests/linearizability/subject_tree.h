/* SPDX-License-Identifier: MIT */
/* subject_tree.h: a mounted tree, asked through the kernel. */
#ifndef TESTS_SUBJECT_TREE_H
#define TESTS_SUBJECT_TREE_H

#include "record.h"

/* NULL: `mountpoint` can't be opened, or out of memory; errno says which. */
struct subject *subject_tree_new(const char *mountpoint);
void subject_tree_free(struct subject *s);

#endif
