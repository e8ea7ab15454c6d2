/* SPDX-License-Identifier: MIT */
/*
 * sqlite_room.c: disk space that is set aside before it is needed, and the checkpoints that keep within it.
 *
 * To record a reservation must neither move the free space of the disk in small steps nor fail because others have
 * filled it. The WAL is a file of real blocks from the start, overwritten in place and never truncated; besides, to flush
 * it the file system then has nothing of its own to write. The main file has blocks allocated behind its end, in
 * large steps, and SQLite is told to grow no further than they reach. A few of its pages are kept free within it, which no tool
 * takes away. A limit on the size of this process's files is where the disk ends.
 *
 * Invariant: the WAL's pages can be moved to the main file without asking the file system for space. (Where the blocks do not
 * stay what they were: sqlite_upkeep.c.)
 */
#include "sqlite.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/statvfs.h>
#include <time.h>

#include "util/cleanup.h"

#define MIB ((int64_t) 1 << 20)

#define WAL_ROOM_BYTES (8 * MIB)
#define WAL_SMALL_ROOM_BYTES (4 * MIB)  /* on a file system smaller than: */
#define WAL_SMALL_BELOW_BYTES (1024 * MIB)

#define MAIN_STEP_SHARE 256 /* of the file system's size */
#define MAIN_LEAST_STEP_BYTES (2 * MIB)
#define MAIN_MOST_STEP_BYTES (64 * MIB)
#define MAIN_LEAST_GAIN_BYTES (MIB / 4) /* a nearly full disk is not scraped for less */

static int64_t file_system_bytes(const struct rfs_sqlite *store)
{
	struct statvfs fs;
	if (fstatvfs(store->fd, &fs))
		return 0;
	return (int64_t) fs.f_blocks * (int64_t) fs.f_frsize;
}

int64_t rfs_sqlite_file_limit(void)
{
	struct rlimit limit;
	if (getrlimit(RLIMIT_FSIZE, &limit) || limit.rlim_cur > INT64_MAX)
		return INT64_MAX;
	return (int64_t) limit.rlim_cur;
}

/* The WAL */

int64_t rfs_sqlite_wanted_wal_room(const struct rfs_sqlite *store)
{
	int64_t size = file_system_bytes(store), limit = rfs_sqlite_file_limit();
	int64_t want = size && size < WAL_SMALL_BELOW_BYTES ? WAL_SMALL_ROOM_BYTES : WAL_ROOM_BYTES;
	return limit < want ? limit : want;
}

/* Numbers that nobody knows beforehand; for nothing secret. */
static uint64_t draw(uint64_t *state)
{
	uint64_t z = *state += UINT64_C(0x9e3779b97f4a7c15);
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* What is written where nothing is yet must look like nothing to SQLite, which no header and no frame with the right salt does,
 * and like something to others: of zeros a copy would make holes, and of what is alike one block. */
static void fill_with_noise(char *block, size_t size, uint64_t *state)
{
	for (size_t i = 0; i < size; i += sizeof(uint64_t)) {
		uint64_t number = draw(state);
		memcpy(block + i, &number, sizeof(number));
	}
}

static uint64_t seed(void)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	return ((uint64_t) now.tv_sec << 30 ^ (uint64_t) now.tv_nsec) + ((uint64_t) getpid() << 40);
}

/* Appends what is no frame. A WAL whose header is void is empty, whatever follows. */
static int extend_wal(sqlite3_file *file, int64_t from, int64_t to)
{
	char noise[65536]; /* SQLite's largest page: what a VFS must be able to write at once */
	uint64_t state = seed();
	int64_t length;

	for (int64_t offset = from; offset < to; offset += length) {
		length = to - offset < (int64_t) sizeof(noise) ? to - offset : (int64_t) sizeof(noise);
		fill_with_noise(noise, sizeof(noise), &state);
		if (offset == 0)
			memset(noise, 0, RFS_WAL_HEADER_BYTES);
		int code = file->pMethods->xWrite(file, noise, (int) length, offset);
		if (code != SQLITE_OK)
			return code;
	}
	return file->pMethods->xSync(file, SQLITE_SYNC_NORMAL);
}

/* The WAL is empty. */
static void prepare_wal(const struct rfs_sqlite *store)
{
	_cleanup_fd_ int fd = open(store->wal_path, O_RDWR | O_CLOEXEC | O_NOFOLLOW);
	if (fd >= 0)
		rfs_sqlite_set_no_copy_on_write(fd);
}

static int no_wal_room(const struct rfs_sqlite *store, int64_t want)
{
	rfs_sqlite_say(store, "%s: no space left on the disk to set aside %" PRId64 " bytes for its -wal file; "
		       "free that much", store->name, want);
	return -ENOSPC;
}

int rfs_sqlite_make_wal_room(struct rfs_sqlite *store)
{
	sqlite3_file *file = store->wal.file;
	int64_t want = rfs_sqlite_wanted_wal_room(store), limit = rfs_sqlite_file_limit();
	sqlite3_int64 have;

	int code = file->pMethods->xFileSize(file, &have);
	if (code == SQLITE_OK && have == 0)
		prepare_wal(store);
	if (code == SQLITE_OK && have < want)
		code = extend_wal(file, have, want);
	if (code == SQLITE_OK) {
		store->wal_room_bytes = have < want ? want : have < limit ? have : limit;
		return 0;
	}
	int rc = rfs_sqlite_file_failed(store, file, code, "its -wal file cannot be extended");
	if (rc != -ENOSPC && rc != -EDQUOT)
		return rc;
	/* Gives back the last bytes of a full disk. */
	(void) file->pMethods->xTruncate(file, have);
	if (have < RFS_WAL_LEAST_ROOM_BYTES)
		return rc == -ENOSPC ? no_wal_room(store, want) : -ENOSPC;
	store->wal_room_bytes = have;
	return 0;
}

static int64_t wal_bytes(const struct rfs_sqlite *store, int frames)
{
	return RFS_WAL_HEADER_BYTES + (int64_t) frames * (RFS_WAL_FRAME_HEADER_BYTES + store->page_bytes);
}

bool rfs_sqlite_wal_is_full(const struct rfs_sqlite *store)
{
	return wal_bytes(store, store->wal_frames) > store->wal_room_bytes / 4 * 3;
}

int rfs_sqlite_checkpoint(struct rfs_sqlite *store)
{
	sqlite3 *db = store->writer.db;
	int frames = -1, moved = -1;

	/* Its missing end would come back as a hole. */
	if (lseek(store->fd, 0, SEEK_END) < store->main_bytes) {
		rfs_sqlite_say(store, "%s: was truncated underneath; restore it from a backup", store->name);
		return -EIO;
	}
	int code = sqlite3_wal_checkpoint_v2(db, "main", SQLITE_CHECKPOINT_PASSIVE, &frames, &moved);
	if (code != SQLITE_OK)
		return rfs_sqlite_failed(store, db, code, "cannot be brought up to date from its -wal file");
	if (frames >= 0) {
		store->wal_frames = frames == moved ? 0 : frames;
		store->wal_tried_frames = frames;
	}
	store->main_bytes = lseek(store->fd, 0, SEEK_END);
	return 0;
}

int rfs_sqlite_tidy_wal(struct rfs_sqlite *store)
{
	int64_t room = store->wal_room_bytes, bytes = wal_bytes(store, store->wal_frames);

	if (bytes <= room / 3)
		return 0;
	/* As long as somebody reads, the WAL cannot begin anew, and grows: not each commit shall be followed by a
	 * checkpoint because of that. */
	if (bytes <= room / 3 * 2 && bytes - wal_bytes(store, store->wal_tried_frames) < room / 12)
		return 0;
	int rc = rfs_sqlite_checkpoint(store);
	if (rc || bytes <= room / 3 * 2)
		return rc;
	/* Readers, one after the other, could keep it from beginning anew for ever. Once all is checkpointed while there
	 * is none, those that come need nothing of it. */
	RFS_LOCK(&store->reader_lock);
	return rfs_sqlite_checkpoint(store);
}

/* Writes zeros over what is there, and never behind the end. */
static int blank(struct rfs_sqlite *store, int64_t offset, int length)
{
	static const char zeros[RFS_WAL_HEADER_BYTES];
	sqlite3_file *file = store->wal.file;
	const sqlite3_io_methods *methods = store->wal.original;
	sqlite3_int64 size;

	int code = methods->xFileSize(file, &size);
	if (code != SQLITE_OK || offset >= size)
		return code;
	if (size - offset < length)
		length = (int) (size - offset);
	code = methods->xWrite(file, zeros, length, offset);
	return code == SQLITE_OK ? methods->xSync(file, SQLITE_SYNC_NORMAL) : code;
}

int rfs_sqlite_erase_frames(struct rfs_sqlite *store)
{
	if (store->wal_erase < 0)
		return 0;
	/* One void frame ends the WAL for whoever replays it. */
	int64_t offset = store->wal_erase < RFS_WAL_HEADER_BYTES ? RFS_WAL_HEADER_BYTES : store->wal_erase;
	int code = blank(store, offset, RFS_WAL_FRAME_HEADER_BYTES);
	if (code != SQLITE_OK)
		return rfs_sqlite_file_failed(store, store->wal.file, code, "a failed change cannot be undone in its -wal file");
	store->wal_erase = -1;
	return 0;
}

int rfs_sqlite_void_wal(struct rfs_sqlite *store)
{
	int code = blank(store, 0, RFS_WAL_HEADER_BYTES);
	return code == SQLITE_OK ? 0 : rfs_sqlite_file_failed(store, store->wal.file, code, "its -wal file cannot be ended");
}

/* The main file */

static int64_t main_step(const struct rfs_sqlite *store)
{
	int64_t step = file_system_bytes(store) / MAIN_STEP_SHARE;
	if (step < MAIN_LEAST_STEP_BYTES)
		return MAIN_LEAST_STEP_BYTES;
	return step > MAIN_MOST_STEP_BYTES ? MAIN_MOST_STEP_BYTES : step / store->page_bytes * store->page_bytes;
}

static int64_t file_limit_in_pages(const struct rfs_sqlite *store)
{
	return rfs_sqlite_file_limit() / store->page_bytes * store->page_bytes;
}

/* A multiple of `step`, so that opening the file again asks for no more than it has. */
static int64_t wanted_room(int64_t used, int64_t step)
{
	return (used + step / 2 + step - 1) / step * step;
}

/* `want`, or as much above `used` as the file system still gives. Returns 0 or an errno value (negative). */
static int allocate(struct rfs_sqlite *store, int64_t used, int64_t want, int64_t *ret_bytes)
{
	int64_t ahead = want - used;

	store->room_error = 0;
	do {
		if (fallocate(store->fd, FALLOC_FL_KEEP_SIZE, 0, used + ahead) == 0) {
			*ret_bytes = used + ahead;
			return 0;
		}
		if (errno != ENOSPC && errno != EDQUOT && errno != EINTR)
			return -errno;
		store->room_error = errno;
		ahead = ahead / 2 / store->page_bytes * store->page_bytes;
	} while (ahead >= MAIN_LEAST_GAIN_BYTES);
	*ret_bytes = used;
	return 0;
}

int rfs_sqlite_limit_room(struct rfs_sqlite *store, int64_t bytes)
{
	char sql[64];

	store->room_bytes = bytes;
	snprintf(sql, sizeof(sql), "PRAGMA max_page_count = %" PRId64, bytes / store->page_bytes);
	return rfs_sqlite_run_script(store, store->writer.db, sql);
}

static int count_bytes(struct rfs_sqlite *store, enum rfs_sqlite_statement which, int64_t *ret_bytes)
{
	sqlite3_stmt *statement = store->writer.statements[which];
	int code = sqlite3_step(statement);
	int64_t bytes = sqlite3_column_int64(statement, 0) * store->page_bytes;
	sqlite3_reset(statement);
	if (code != SQLITE_ROW)
		return rfs_sqlite_failed(store, store->writer.db, code, "cannot be read");
	*ret_bytes = bytes;
	return 0;
}

int rfs_sqlite_count_free_pages(struct rfs_sqlite *store)
{
	int64_t bytes = 0;
	int rc = count_bytes(store, RFS_SQLITE_FREELIST_COUNT, &bytes);
	return rc ? rc : (int) (bytes / store->page_bytes);
}

/* Where no file system, or no container, sets room aside: the file then grows as it must, and the disk may say no. */
static int do_without_room(struct rfs_sqlite *store, int64_t limit)
{
	store->has_no_room = true;
	return limit == INT64_MAX ? 0 : rfs_sqlite_limit_room(store, limit);
}

/* How far the file's own blocks reach from `used` on, of the `want` that it was to have and the `room` that the file system says it
 * has: one that is full may say no to what is there already, and yes to what is shared with a snapshot. */
static int64_t own_room(const struct rfs_sqlite *store, int64_t used, int64_t want, int64_t room)
{
	struct rfs_blocks blocks = { .fault = RFS_BLOCKS_FINE, .to = used };
	int64_t from = -1;

	while (blocks.fault == RFS_BLOCKS_FINE && blocks.to < want && blocks.to > from) {
		from = blocks.to;
		if (rfs_sqlite_look_at_blocks(store->fd, from, want, &blocks))
			return room;
	}
	return (blocks.fault == RFS_BLOCKS_FINE ? blocks.to : blocks.from) / store->page_bytes * store->page_bytes;
}

/* The same, after what is not the file's own behind its end has been exchanged for what is, if there is such. */
static int64_t renewed_room(const struct rfs_sqlite *store, int64_t used, int64_t want, int64_t room)
{
	int64_t own = own_room(store, used, want, room), length = lseek(store->fd, 0, SEEK_END);

	if (own >= want || own < length || room < want)
		return own;
	(void) fallocate(store->fd, FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE, own, want - own);
	(void) fallocate(store->fd, FALLOC_FL_KEEP_SIZE, own, want - own);
	return own_room(store, used, want, room);
}

static int extend_main_room(struct rfs_sqlite *store, int64_t used, int64_t step)
{
	int64_t want = wanted_room(used, step), limit = file_limit_in_pages(store);
	int64_t room = 0;

	if (used > limit)
		return rfs_sqlite_system_failed(store, EFBIG, "is too large");
	if (want > limit)
		want = limit;
	int rc = allocate(store, used, want, &room);
	if (rc == -EOPNOTSUPP || rc == -ENOSYS || rc == -EPERM)
		return do_without_room(store, limit);
	if (rc)
		return rfs_sqlite_system_failed(store, -rc, "no room can be set aside for it");
	if (room == limit)
		store->room_error = EFBIG;
	room = renewed_room(store, used, want, room);
	if (room <= store->room_bytes)
		return 0;
	/* What is allocated must outlast a crash, as the commits do that rely on it. */
	if (fsync(store->fd))
		return rfs_sqlite_system_failed(store, errno, "no room can be set aside for it");
	return rfs_sqlite_limit_room(store, room);
}

/* The last of the room is kept for changes of what is there: a record that gets longer may split its page. */
static int keep_last_room(struct rfs_sqlite *store, int64_t used, int64_t step)
{
	int64_t left = store->room_bytes - used, unused = 0, last = rfs_sqlite_file_limit() / 8;

	if (last > step / 4)
		last = step / 4;
	store->is_near_end = false;
	if (store->room_bytes == 0 || left >= last)
		return 0;
	int rc = count_bytes(store, RFS_SQLITE_FREELIST_COUNT, &unused);
	if (rc)
		return rc;
	store->is_near_end = left + unused < last;
	return 0;
}

int rfs_sqlite_make_main_room(struct rfs_sqlite *store)
{
	int64_t step = main_step(store);
	int64_t used = 0; /* how long the main file is once all of the WAL is in it */

	int rc = count_bytes(store, RFS_SQLITE_PAGE_COUNT, &used);
	if (!rc && !store->has_no_room && store->room_bytes < file_limit_in_pages(store) &&
	    (store->room_is_short || store->room_bytes - used < step / 2)) {
		store->room_is_short = false;
		rc = extend_main_room(store, used, step);
	}
	return rc ? rc : keep_last_room(store, used, step);
}
