/* SPDX-License-Identifier: MIT */
/*
 * sqlite_upkeep.c: looks again and again whether what was set aside is still there, and sets aside again what is not.
 *
 * A round looks at the WAL, the main file and the spare, in short steps between commits. What is missing is allocated; what is
 * shared with a copy is read and written to where it is, by which it gets blocks of its own. What was found, and whether it
 * could be set right, is told at the end of the round: trouble once, and every day that it lasts.
 *
 * Invariants: what a file holds is never changed. All of it is the transaction's thread's, the only one that writes to the files, so
 * that nothing is written over that came in between.
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "util/cleanup.h"

#define ROUND_EVERY_MS 60000
#define ROUND_AT_LEAST_EVERY_MS (24 * 3600 * INT64_C(1000))
#define STEP_PAUSE_MS 20
/* A round that takes long is not begun so often that it takes more than such a part of the time. */
#define ROUND_SHARE 500
#define BEGIN_MS 300 /* how long opening goes on with it */
#define SPARE_AGAIN_MS 600000
#define TELL_AGAIN_MS ROUND_AT_LEAST_EVERY_MS

/* What a step writes: a few milliseconds' worth. */
#define REWRITE_BYTES (256 << 10)
#define ALLOCATE_BYTES (64 << 20)
/* What a file system needs besides to give a block another place, and what the main file keeps of its room at least. */
#define GIVEN_BESIDES_BYTES (256 << 10)

static const char *const file_names[RFS_SQLITE_FILES] = {
	[RFS_SQLITE_WAL] = "its -wal file",
	[RFS_SQLITE_MAIN] = "it",
	[RFS_SQLITE_SPARE] = "its -spare file",
};

static const char *const fault_names[RFS_BLOCKS_FAULTS] = {
	[RFS_BLOCKS_MISSING] = "not allocated any more",
	[RFS_BLOCKS_SHARED] = "shared with a copy or a snapshot",
	[RFS_BLOCKS_ENCODED] = "compressed",
};

static int64_t now_ms(void)
{
	struct timespec now;
	clock_gettime(CLOCK_MONOTONIC, &now);
	return (int64_t) now.tv_sec * 1000 + now.tv_nsec / 1000000;
}

/* Telling */

void rfs_sqlite_notice(const struct rfs_sqlite *store, bool is_trouble, const char *format, ...)
{
	char line[PATH_MAX + 512];
	va_list arguments;

	if (!store->upkeep.notice)
		return;
	va_start(arguments, format);
	vsnprintf(line, sizeof(line), format, arguments);
	va_end(arguments);
	store->upkeep.notice(store->upkeep.user, is_trouble, line);
}

static int64_t sum(const int64_t bytes[RFS_BLOCKS_FAULTS])
{
	int64_t all = 0;
	for (int fault = 0; fault < RFS_BLOCKS_FAULTS; fault++)
		all += bytes[fault];
	return all;
}

/* The fault that most of them have, in words. */
static const char *words_for(const int64_t bytes[RFS_BLOCKS_FAULTS])
{
	int most = RFS_BLOCKS_MISSING;
	for (int fault = 0; fault < RFS_BLOCKS_FAULTS; fault++)
		if (bytes[fault] > bytes[most])
			most = fault;
	return fault_names[most];
}

static void tell_file(struct rfs_sqlite *store, enum rfs_sqlite_file file, bool again)
{
	struct rfs_sqlite_upkeep *upkeep = &store->upkeep;
	const int64_t *fixed = upkeep->found[file].fixed_bytes, *left = upkeep->found[file].left_bytes;
	char advice[RFS_ADVICE_MAX];

	if (sum(fixed))
		rfs_sqlite_notice(store, false, "%s: %" PRId64 " bytes of %s were %s, and have been set aside anew", store->name,
				  sum(fixed), file_names[file], words_for(fixed));
	if (sum(left) && (again || !upkeep->told_trouble[file])) {
		rfs_sqlite_advise(store, upkeep->found[file].error, advice, sizeof(advice));
		rfs_sqlite_notice(store, true, "%s: %" PRId64 " bytes of %s are %s, and could not be set aside anew: %s; until they are, a full "
				  "disk may let nothing be recorded, not even a release%s%s", store->name, sum(left),
				  file_names[file], words_for(left), strerror(upkeep->found[file].error), *advice ? ": " : "", advice);
	} else if (!sum(left) && !sum(fixed) && upkeep->told_trouble[file]) {
		rfs_sqlite_notice(store, false, "%s: all blocks of %s are its own again", store->name, file_names[file]);
	}
	upkeep->told_trouble[file] = sum(left) > 0;
}

static void tell(struct rfs_sqlite *store)
{
	bool again = now_ms() - store->upkeep.told_ms >= TELL_AGAIN_MS;

	for (int file = 0; file < RFS_SQLITE_FILES; file++)
		tell_file(store, (enum rfs_sqlite_file) file, again);
	if (again)
		store->upkeep.told_ms = now_ms();
}

/* Of a round that takes longer. */
static void tell_begun(const struct rfs_sqlite *store)
{
	for (int file = 0; file < RFS_SQLITE_FILES; file++) {
		const int64_t *fixed = store->upkeep.found[file].fixed_bytes;
		if (sum(fixed))
			rfs_sqlite_notice(store, false, "%s: blocks of %s are %s; they are being set aside anew, which goes on while it is in "
					  "use", store->name, file_names[file], words_for(fixed));
	}
}

/* Setting right */

/* Whether [from, to) of the file is fine now. */
static bool is_fine(int fd, int64_t from, int64_t to)
{
	struct rfs_blocks blocks;
	int rc = rfs_sqlite_look_at_blocks(fd, from, to, &blocks);
	return rc == 0 && blocks.fault == RFS_BLOCKS_FINE && blocks.to == to;
}

static int rewrite(int fd, int64_t from, int64_t to)
{
	_cleanup_free_ char *data = malloc((size_t) (to - from));

	if (!data)
		return -ENOMEM;
	ssize_t length = pread(fd, data, (size_t) (to - from), from);
	if (length < 0)
		return -errno;
	/* Where it stops half way, what was written is what was there. */
	ssize_t written = pwrite(fd, data, (size_t) length, from);
	if (written >= 0 && fdatasync(fd) == 0)
		return written == length ? 0 : -ENOSPC;
	return -errno;
}

/* Behind its end a file holds nothing: what was shared there can go, to make room for what is not. */
static int allocate(int fd, enum rfs_blocks_fault fault, int64_t from, int64_t to)
{
	if (fault != RFS_BLOCKS_MISSING && fallocate(fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, from, to - from))
		return -errno;
	return fallocate(fd, FALLOC_FL_KEEP_SIZE, from, to - from) || fsync(fd) ? -errno : 0;
}

static int64_t least(int64_t a, int64_t b)
{
	return a < b ? a : b;
}

/* Sets a piece of what was found right. `ret_to`: how far. */
static int set_right(int fd, enum rfs_sqlite_file file, const struct rfs_blocks *blocks, int64_t *ret_to)
{
	int64_t length = lseek(fd, 0, SEEK_END);
	bool is_behind_end = blocks->from >= length;
	int rc;

	/* The WAL's blocks shall have been written, so that a flush of it writes nothing else. */
	if (is_behind_end || (blocks->fault == RFS_BLOCKS_MISSING && file == RFS_SQLITE_MAIN)) {
		*ret_to = least(blocks->to, blocks->from + ALLOCATE_BYTES);
		rc = allocate(fd, blocks->fault, blocks->from, *ret_to);
	} else {
		*ret_to = least(least(blocks->to, length), blocks->from + REWRITE_BYTES);
		rc = rewrite(fd, blocks->from, *ret_to);
	}
	if (rc)
		return rc;
	return is_fine(fd, blocks->from, *ret_to) ? 0 : -EOPNOTSUPP;
}

/* One file */

static int fd_of(const struct rfs_sqlite *store, enum rfs_sqlite_file file)
{
	return file == RFS_SQLITE_MAIN ? store->fd : store->wal_fd;
}

static int64_t end_of(const struct rfs_sqlite *store, enum rfs_sqlite_file file)
{
	if (file == RFS_SQLITE_WAL)
		return store->wal_room_bytes;
	int64_t length = lseek(store->fd, 0, SEEK_END);
	return store->has_no_room || store->room_bytes < length ? length : store->room_bytes;
}

static void next_file(struct rfs_sqlite_upkeep *upkeep)
{
	upkeep->file++;
	upkeep->offset = 0;
}

/*
 * On a full disk the room behind the main file's end is given for what lies before it, as far as that goes: it can be done without
 * for longer. File systems let go of it as a whole alone; what is left of it, and what was missing before it, is taken back in
 * one call. Returns whether that was done.
 */
static bool give_room(struct rfs_sqlite *store, const struct rfs_blocks *blocks, int error)
{
	int64_t length = lseek(store->fd, 0, SEEK_END), room = store->room_bytes;
	int64_t rest = (room - (blocks->to - blocks->from) - GIVEN_BESIDES_BYTES) / store->page_bytes * store->page_bytes;

	if (store->upkeep.file != RFS_SQLITE_MAIN || error != ENOSPC || blocks->from >= length || store->has_no_room ||
	    rest < length + GIVEN_BESIDES_BYTES || !is_fine(store->fd, length, room))
		return false;
	if (ftruncate(store->fd, length))
		return false;
	/* Should others have been faster, at least what lies before its end. */
	if (fallocate(store->fd, FALLOC_FL_KEEP_SIZE, 0, rest)) {
		rest = length;
		(void) fallocate(store->fd, FALLOC_FL_KEEP_SIZE, 0, rest);
	}
	return rfs_sqlite_limit_room(store, rest) == 0 && fsync(store->fd) == 0;
}

/* What cannot be set right; and nothing grows into it. */
static void leave(struct rfs_sqlite *store, const struct rfs_blocks *blocks, int error)
{
	struct rfs_sqlite_upkeep *upkeep = &store->upkeep;

	if (give_room(store, blocks, error))
		return;
	if (upkeep->file == RFS_SQLITE_MAIN && blocks->from >= store->main_bytes && blocks->from < store->room_bytes) {
		(void) rfs_sqlite_limit_room(store, blocks->from);
		store->room_error = error;
	}
	upkeep->found[upkeep->file].left_bytes[blocks->fault] += blocks->to - blocks->from;
	upkeep->found[upkeep->file].error = error;
	upkeep->offset = blocks->to;
}

static void step_in_file(struct rfs_sqlite *store)
{
	struct rfs_sqlite_upkeep *upkeep = &store->upkeep;
	int fd = fd_of(store, upkeep->file);
	int64_t end = end_of(store, upkeep->file), to = 0;
	struct rfs_blocks blocks;

	/* Where every block is written elsewhere, it makes no difference what it is now; that was told. */
	if (upkeep->offset >= end || rfs_sqlite_copies_on_write(fd) ||
	    rfs_sqlite_look_at_blocks(fd, upkeep->offset, end, &blocks)) {
		next_file(upkeep);
		return;
	}
	if (blocks.fault == RFS_BLOCKS_FINE) {
		upkeep->offset = blocks.to > upkeep->offset ? blocks.to : end;
		return;
	}
	int rc = set_right(fd, upkeep->file, &blocks, &to);
	if (rc) {
		leave(store, &blocks, -rc);
		return;
	}
	upkeep->found[upkeep->file].fixed_bytes[blocks.fault] += to - blocks.from;
	upkeep->offset = to;
}

/* A WAL that cannot be set right gives way to the spare. */
static void finish_wal(struct rfs_sqlite *store)
{
	int64_t *left = store->upkeep.found[RFS_SQLITE_WAL].left_bytes;

	if (sum(left) == 0 || rfs_sqlite_replace_wal(store))
		return;
	rfs_sqlite_notice(store, false, "%s: %" PRId64 " bytes of its -wal file were %s; the spare has taken its place", store->name,
			  sum(left), words_for(left));
	memset(left, 0, sizeof(store->upkeep.found[RFS_SQLITE_WAL].left_bytes));
}

static void look_after_spare(struct rfs_sqlite *store)
{
	struct rfs_sqlite_upkeep *upkeep = &store->upkeep;

	if (!store->has_no_room && now_ms() >= upkeep->spare_due_ms && !rfs_sqlite_make_spare(store))
		upkeep->spare_due_ms = now_ms() + SPARE_AGAIN_MS;
}

/* Rounds */

static void begin_round(struct rfs_sqlite_upkeep *upkeep)
{
	upkeep->file = RFS_SQLITE_WAL;
	upkeep->offset = 0;
	memset(upkeep->found, 0, sizeof(upkeep->found));
}

/* Whether the round goes on. */
static bool step(struct rfs_sqlite *store)
{
	struct rfs_sqlite_upkeep *upkeep = &store->upkeep;
	bool was_wal = upkeep->file == RFS_SQLITE_WAL;

	if (upkeep->file < RFS_SQLITE_SPARE) {
		step_in_file(store);
		if (was_wal && upkeep->file != RFS_SQLITE_WAL)
			finish_wal(store);
		return true;
	}
	look_after_spare(store);
	next_file(upkeep);
	tell(store);
	return false;
}

/* Takes one step, and says when the next is due. */
static bool go_on(struct rfs_sqlite *store)
{
	struct rfs_sqlite_upkeep *upkeep = &store->upkeep;
	int64_t begin = now_ms();

	if (upkeep->file == RFS_SQLITE_FILES) {
		begin_round(upkeep);
		upkeep->round_ms = 0;
	}
	bool goes_on = step(store);
	upkeep->round_ms += now_ms() - begin;
	upkeep->due_ms = now_ms() + STEP_PAUSE_MS;
	if (!goes_on) {
		int64_t pause = ROUND_SHARE * upkeep->round_ms;
		upkeep->due_ms = now_ms() + least(pause > ROUND_EVERY_MS ? pause : ROUND_EVERY_MS, ROUND_AT_LEAST_EVERY_MS);
	}
	return goes_on;
}

void rfs_sqlite_begin_upkeep(struct rfs_sqlite *store)
{
	int64_t until = now_ms() + BEGIN_MS;

	begin_round(&store->upkeep);
	store->upkeep.told_ms = now_ms();
	while (go_on(store))
		if (now_ms() >= until) {
			tell_begun(store);
			return;
		}
}

unsigned int rfs_sqlite_upkeep(struct rfs_sqlite *store)
{
	if (now_ms() >= store->upkeep.due_ms)
		(void) go_on(store);
	int64_t wait = store->upkeep.due_ms - now_ms();
	return wait > 0 ? (unsigned int) wait : 1;
}
