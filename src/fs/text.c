/* SPDX-License-Identifier: MIT */
/* text.c: what the files of the tree hold. Invariant: a text is made in one go from one snapshot, so it is never torn. */
#include "fs/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

size_t rfs_text_number(uint64_t bytes, char ret_text[RFS_TEXT_MAX])
{
	return (size_t) snprintf(ret_text, RFS_TEXT_MAX, "%" PRIu64 "\n", bytes);
}

static size_t status_text(const struct rfs_figures *f, const struct rfs_totals *totals, char ret_text[RFS_TEXT_MAX])
{
	return (size_t) snprintf(ret_text, RFS_TEXT_MAX,
				 "capacity %" PRIu64 "\nreserved %" PRIu64 "\nstored %" PRIu64 "\nfree %" PRIu64
				 "\navailable %" PRIu64 "\nreservations %" PRIu64 "\n",
				 f->capacity, f->reserved, f->stored, f->free, f->available, totals->contracts);
}

int rfs_text_fixed(struct rfs_fs *fs, fuse_ino_t ino, uid_t uid, char ret_text[RFS_TEXT_MAX], size_t *ret_length)
{
	struct rfs_figures figures;
	struct rfs_totals totals;

	if (ino == RFS_INO_METRICS)
		return rfs_metrics_text(fs, ret_text, ret_length);
	if (ino == RFS_INO_LAST_ERROR) {
		*ret_length = rfs_refusal_line(fs, uid, ret_text);
		return 0;
	}
	if (ino == RFS_INO_RESERVED) {
		rfs_reservations_totals(fs->reservations, &totals);
		*ret_length = rfs_text_number(totals.reserved_bytes, ret_text);
		return 0;
	}
	rfs_reservations_figures(fs->reservations, &figures, &totals);
	switch (ino) {
	case RFS_INO_AVAILABLE:
		*ret_length = rfs_text_number(figures.available, ret_text);
		return 0;
	case RFS_INO_CAPACITY:
		*ret_length = rfs_text_number(figures.capacity, ret_text);
		return 0;
	case RFS_INO_STATUS:
		*ret_length = status_text(&figures, &totals, ret_text);
		return 0;
	default:
		return -ESTALE;
	}
}
