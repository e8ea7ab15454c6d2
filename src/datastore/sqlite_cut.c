/* SPDX-License-Identifier: MIT */
/*
 * sqlite_cut.c: whether the main file was cut short, and what it would begin with if it had not been.
 *
 * SQLite takes what is missing of a page for zeros, and finds no rows there: records would be forgotten without a word.
 * The file may be shorter than it says only where the WAL still has the pages that it lacks, after a checkpoint that
 * was interrupted. A checkpoint fills a cut with a hole, so this must be known before one.
 *
 * Invariant: a file that passes has each of its pages, in itself or in the WAL.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>

#include "util/cleanup.h"

#define WAL_MAGIC 0x377f0682 /* or that + 1 */
#define SALT_BYTES 8

/* What the WAL has of the pages after the first `have`. */
struct tail {
	uint32_t have;
	uint32_t pages;   /* of the whole database, as the last commit has it */
	uint32_t room;    /* how many pages `is_there` speaks of */
	bool *is_there;
};

static uint32_t at_most_32_bits(int64_t number)
{
	return number > UINT32_MAX ? UINT32_MAX : (uint32_t) number;
}

/* Notes what one frame holds. Returns false where the frame is not one of this WAL: its end. */
static bool read_frame(struct tail *tail, const unsigned char *salts, const unsigned char *frame)
{
	uint32_t page = rfs_big_endian(frame), pages = rfs_big_endian(frame + 4);

	if (memcmp(frame + 8, salts, SALT_BYTES) != 0 || page == 0)
		return false;
	if (page > tail->have && page - tail->have <= tail->room)
		tail->is_there[page - tail->have - 1] = true;
	if (pages)
		tail->pages = pages;
	return true;
}

static int read_wal(struct tail *tail, int fd, int64_t frames, int64_t frame_bytes)
{
	unsigned char header[RFS_WAL_HEADER_BYTES], frame[RFS_WAL_FRAME_HEADER_BYTES];

	if (pread(fd, header, sizeof(header), 0) != sizeof(header) || (rfs_big_endian(header) & ~UINT32_C(1)) != WAL_MAGIC)
		return 0;
	/* No page after the first `frames` missing ones can matter: one before it would be missing. */
	tail->is_there = calloc((size_t) frames + 1, sizeof(bool));
	if (!tail->is_there)
		return -ENOMEM;
	tail->room = at_most_32_bits(frames);
	for (int64_t i = 0; i < frames; i++) {
		if (pread(fd, frame, sizeof(frame), RFS_WAL_HEADER_BYTES + i * frame_bytes) != sizeof(frame) ||
		    !read_frame(tail, header + 16, frame))
			return 0;
	}
	return 0;
}

static bool is_complete(const struct tail *tail)
{
	if (tail->pages <= tail->have)
		return true;
	if (tail->pages - tail->have > tail->room)
		return false;
	for (uint32_t i = 0; i < tail->pages - tail->have; i++)
		if (!tail->is_there[i])
			return false;
	return true;
}

int rfs_sqlite_find_cut(const struct rfs_sqlite *store, const unsigned char header[RFS_MAIN_HEADER_BYTES],
			int64_t size_bytes, bool *ret_is_cut)
{
	uint32_t page_bytes = (uint32_t) header[16] << 8 | header[17];
	struct tail tail = { .pages = rfs_big_endian(header + 28) };
	struct stat st;
	int rc = 0;

	if (page_bytes == 1)
		page_bytes = 65536;
	/* A header that is not of the last change does not tell the number of pages; ours always is. */
	if (page_bytes < 512 || rfs_big_endian(header + 24) != rfs_big_endian(header + 92)) {
		*ret_is_cut = true;
		return 0;
	}
	tail.have = at_most_32_bits(size_bytes / page_bytes);
	_cleanup_fd_ int fd = open(store->wal_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);
	if (fd >= 0 && fstat(fd, &st) == 0 && st.st_size > RFS_WAL_HEADER_BYTES) {
		int64_t frame_bytes = RFS_WAL_FRAME_HEADER_BYTES + (int64_t) page_bytes;
		rc = read_wal(&tail, fd, (st.st_size - RFS_WAL_HEADER_BYTES) / frame_bytes, frame_bytes);
	}
	if (!rc)
		*ret_is_cut = !is_complete(&tail);
	free(tail.is_there);
	return rc;
}

/* The beginning of the first page as the last commit in the WAL that holds it has it. */
static bool find_first_page(int fd, const unsigned char *wal_header, unsigned char ret_header[RFS_MAIN_HEADER_BYTES])
{
	unsigned char frame[RFS_WAL_FRAME_HEADER_BYTES], header[RFS_MAIN_HEADER_BYTES];
	int64_t frame_bytes = RFS_WAL_FRAME_HEADER_BYTES + (int64_t) rfs_big_endian(wal_header + 8);
	bool is_held = false, is_found = false;

	for (int64_t at = RFS_WAL_HEADER_BYTES; pread(fd, frame, sizeof(frame), at) == sizeof(frame); at += frame_bytes) {
		if (memcmp(frame + 8, wal_header + 16, SALT_BYTES) != 0)
			break;
		if (rfs_big_endian(frame) == 1)
			is_held = pread(fd, header, sizeof(header), at + RFS_WAL_FRAME_HEADER_BYTES) == sizeof(header);
		if (rfs_big_endian(frame + 4) == 0 || !is_held)
			continue;
		memcpy(ret_header, header, sizeof(header));
		is_found = true;
	}
	return is_found;
}

bool rfs_sqlite_find_header(const struct rfs_sqlite *store, unsigned char ret_header[RFS_MAIN_HEADER_BYTES])
{
	unsigned char header[RFS_WAL_HEADER_BYTES];
	struct stat st;
	_cleanup_fd_ int fd = open(store->wal_path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NOCTTY | O_NONBLOCK);

	return fd >= 0 && fstat(fd, &st) == 0 && S_ISREG(st.st_mode) &&
	       pread(fd, header, sizeof(header), 0) == sizeof(header) &&
	       (rfs_big_endian(header) & ~UINT32_C(1)) == WAL_MAGIC && find_first_page(fd, header, ret_header);
}
