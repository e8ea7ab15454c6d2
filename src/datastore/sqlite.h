/* SPDX-License-Identifier: MIT */
/*
 * sqlite.h: what the parts of the SQLite back end share; private to this folder, and to fsck, which looks at the same file.
 *
 *   sqlite.c          the operations, and what happens after a failed commit
 *   sqlite_blocks.c   which blocks a file has, and whether they are its own
 *   sqlite_connect.c  the two connections, their settings and statements
 *   sqlite_create.c   a new file, whole or not at all
 *   sqlite_cut.c      whether the end of the file is missing
 *   sqlite_file.c     which file it is, whose it is, and whether it is a Datastore
 *   sqlite_renew.c    the files made fit before SQLite opens them
 *   sqlite_room.c     disk space set aside in advance, and checkpoints
 *   sqlite_spare.c    a spare for the WAL
 *   sqlite_upkeep.c   what was set aside, looked after, and set aside again
 *   sqlite_watch.c    what SQLite does to its files, watched and in one case kept from it
 *   sqlite_error.c    SQLite's codes as errno values, and the last failure in words
 */
#ifndef RFS_DATASTORE_SQLITE_H
#define RFS_DATASTORE_SQLITE_H

#include <reservefs/datastore.h>

#include <pthread.h>
#include <sqlite3.h>
#include <stdatomic.h>
#include <sys/queue.h>
#include <sys/stat.h>

#define RFS_SQLITE_APPLICATION_ID 0x52734653 /* "RsFS" */
#define RFS_SQLITE_USER_VERSION 1
#define RFS_SQLITE_TABLE \
	"CREATE TABLE datastore (key TEXT PRIMARY KEY NOT NULL, value TEXT NOT NULL, crc INTEGER NOT NULL) WITHOUT ROWID"

/* Where SQLite's locks are: the pending byte, the reserved byte, and 510 shared bytes. */
#define RFS_SQLITE_LOCK_OFFSET 0x40000000
#define RFS_SQLITE_LOCK_BYTES 512

#define RFS_MAIN_HEADER_BYTES 100
#define RFS_WAL_HEADER_BYTES 32
#define RFS_WAL_FRAME_HEADER_BYTES 24

#define RFS_WAL_LEAST_ROOM_BYTES ((int64_t) 1 << 20) /* enough to go on with where the disk has no more */

#define RFS_ADVICE_MAX 256

/* What keeps a block from being overwritten in place. */
enum rfs_blocks_fault { RFS_BLOCKS_FINE, RFS_BLOCKS_MISSING, RFS_BLOCKS_SHARED, RFS_BLOCKS_ENCODED, RFS_BLOCKS_FAULTS };

/* What was found of a file's blocks, from where it was looked on: up to `from` they are fine, from there to `to` they all have
 * the same fault. RFS_BLOCKS_FINE: up to `to` they are fine. */
struct rfs_blocks {
	enum rfs_blocks_fault fault;
	int64_t from, to;
};

/* The files that are looked after. */
enum rfs_sqlite_file { RFS_SQLITE_WAL, RFS_SQLITE_MAIN, RFS_SQLITE_SPARE, RFS_SQLITE_FILES };

/* A round of looking at each file's blocks; see sqlite_upkeep.c. */
struct rfs_sqlite_upkeep {
	void (*notice)(void *user, bool is_trouble, const char *line);
	void *user;
	enum rfs_sqlite_file file; /* where the round is; RFS_SQLITE_FILES: at its end */
	int64_t offset;
	int64_t due_ms;            /* by the monotonic clock: when it goes on, or the next one begins */
	int64_t round_ms;          /* how long it took so far */
	int64_t spare_due_ms;      /* before that, no spare is made */
	struct {
		int64_t fixed_bytes[RFS_BLOCKS_FAULTS];
		int64_t left_bytes[RFS_BLOCKS_FAULTS];
		int error;         /* why the last of those was left */
	} found[RFS_SQLITE_FILES];
	bool told_trouble[RFS_SQLITE_FILES];
	int64_t told_ms;           /* when trouble was told last */
};

/* An open file of SQLite whose methods are replaced by ours; see sqlite_watch.c. `methods` must stay first. */
struct rfs_sqlite_watch {
	sqlite3_io_methods methods;
	const sqlite3_io_methods *original;
	sqlite3_file *file;
	int64_t lowest_write; /* the lowest offset written since it was last set to INT64_MAX */
	const int *cached_fd; /* where not NULL: reads take from the page cache alone, through this descriptor */
	bool missed;          /* such a read did not find all of it there */
};

/* The statements of a connection; the reader has the first three only. */
enum rfs_sqlite_statement {
	RFS_SQLITE_GET,
	RFS_SQLITE_SCAN_FROM,
	RFS_SQLITE_SCAN_AFTER,
	RFS_SQLITE_READER_STATEMENTS,
	RFS_SQLITE_PUT = RFS_SQLITE_READER_STATEMENTS,
	RFS_SQLITE_DELETE,
	RFS_SQLITE_BEGIN,
	RFS_SQLITE_COMMIT,
	RFS_SQLITE_ROLLBACK,
	RFS_SQLITE_PAGE_COUNT,
	RFS_SQLITE_FREELIST_COUNT,
	RFS_SQLITE_STATEMENTS
};

struct rfs_sqlite_connection {
	sqlite3 *db; /* NULL: not connected */
	sqlite3_stmt *statements[RFS_SQLITE_STATEMENTS];
	struct rfs_sqlite_watch main;
};

struct rfs_sqlite {
	struct rfs_datastore base;

	/* Constant once open. */
	char *path;     /* absolute, without symbolic links */
	char *wal_path;
	char *spare_path;
	char *name;     /* `path` as it is shown in messages: one printable line */
	char *vfs;
	dev_t device;   /* of the main file; a reopened file must be the same */
	ino_t inode;
	char identity[RFS_IDENTITY_MAX + 1];
	LIST_ENTRY(rfs_sqlite) claimed; /* in sqlite_file.c's list, under its lock */
	bool is_claimed;

	/* Held by whoever uses the reader connection, and by whoever changes `down`. */
	pthread_mutex_t reader_lock;
	struct rfs_sqlite_connection reader;
	struct rfs_sqlite_watch reader_wal;

	/* The connections cannot be trusted, or are closed: whoever needs them next reopens them, under reader_lock.
	 * Only the transaction's thread sets it. While it is set, reader_lock guards everything below. */
	atomic_bool down;

	/* All below is the transaction's thread's. */
	struct rfs_sqlite_connection writer;
	int fd;                /* our own, of the main file; closing it drops SQLite's locks, so it is closed last */
	int wal_fd;            /* our own, of the WAL; set before anybody reads, and then constant until it is closed */
	int failed;            /* why the open transaction can only be rolled back, or 0 */
	int deleted;           /* records that it has deleted, less those that it was therefore allowed to add */
	int64_t main_bytes;    /* the main file was at least this long */

	struct rfs_sqlite_watch wal;
	ino_t wal_inode;
	int64_t wal_room_bytes;
	int wal_frames;        /* in the WAL, written and not known to be checkpointed */
	int wal_tried_frames;  /* how many there were at the last checkpoint, since the WAL began anew; or 0 */
	int64_t wal_erase;     /* where a failed commit's frames begin that still must be made void, or -1 */

	int page_bytes;
	int64_t room_bytes;    /* how long the main file can get without asking the file system; 0: not known */
	int room_error;        /* the errno value that kept it from being longer, or 0 */
	bool has_no_room;      /* none can be set aside here */
	bool is_renamed;       /* a file has got another one's name, which is not durable yet */
	bool room_is_short;    /* a put failed for want of room */
	bool is_near_end;      /* what is left of the room is kept for changes; no new records */

	struct rfs_sqlite_upkeep upkeep;
};

/* sqlite.c */

/* Puts the spare in the place of the WAL, while it is in use, if all that is in that can be moved to the main file first. */
int rfs_sqlite_replace_wal(struct rfs_sqlite *store);

/* What stands beside a record in the column `crc`. */
uint32_t rfs_sqlite_checksum(const char *key, size_t key_length, const char *value, size_t value_length);

/* sqlite_error.c */

/* Notes why this thread's call on `store` failed. */
void rfs_sqlite_say(const struct rfs_sqlite *store, const char *format, ...) __attribute__((format(printf, 2, 3)));

/* What this thread was last told about `store`; "" if nothing. */
const char *rfs_sqlite_said(const struct rfs_sqlite *store);

/* The errno value (negative) for what SQLite answered; `db` is asked for the system's errno and may be NULL. */
int rfs_sqlite_errno(sqlite3 *db, int code);

/* Notes that `what` failed with SQLite's `code` (an error), and returns the errno value for it. */
int rfs_sqlite_failed(const struct rfs_sqlite *store, sqlite3 *db, int code, const char *what);

/* The same for `code` as a method of `file` has returned it. */
int rfs_sqlite_file_failed(const struct rfs_sqlite *store, sqlite3_file *file, int code, const char *what);

/* What to do about an errno value (positive); "" where nothing can be said. */
void rfs_sqlite_advise(const struct rfs_sqlite *store, int error, char *ret_text, size_t size);

/* Notes that `what` failed with the errno value `error` (positive), and returns it, negative. */
int rfs_sqlite_system_failed(const struct rfs_sqlite *store, int error, const char *what);

/* sqlite_watch.c */

/* Keeps SQLite from making the main file of `db` shorter. */
int rfs_sqlite_watch_main(struct rfs_sqlite_watch *watch, sqlite3 *db);

/* Notes the lowest offset that `db` writes to its WAL. */
int rfs_sqlite_watch_wal(struct rfs_sqlite_watch *watch, sqlite3 *db);

/* Makes the reader take nothing but what is in the page cache, or lets it read on. Returns whether it missed something since the
 * last call; what SQLite made of that then means nothing. The caller holds reader_lock. */
bool rfs_sqlite_read_cached(struct rfs_sqlite *store, bool only_cached);

/* sqlite_file.c */

/* Sets path, wal_path and name. */
int rfs_sqlite_resolve(struct rfs_sqlite *store, const char *path);

/* Makes this store the file's only user in this process. */
int rfs_sqlite_claim(struct rfs_sqlite *store);
void rfs_sqlite_unclaim(struct rfs_sqlite *store);

/* After another file has taken the main file's place. */
int rfs_sqlite_claim_again(struct rfs_sqlite *store);

/* Opens store->fd, and refuses what is not the claimed file, in use by another process, or not a Datastore.
 * SQLite must not have the file open in this process. */
int rfs_sqlite_open_file(struct rfs_sqlite *store);

/* Notes who keeps the file from being opened; returns -EBUSY. */
int rfs_sqlite_say_owner(const struct rfs_sqlite *store);

/* Whether the files that are open are still the ones of that name, and as long as they were. */
int rfs_sqlite_check_in_place(const struct rfs_sqlite *store);

/* sqlite_blocks.c */

/* Looks at the blocks of [from, end), or at the first of them where there are many. -EOPNOTSUPP: they are not told. */
int rfs_sqlite_look_at_blocks(int fd, int64_t from, int64_t end, struct rfs_blocks *ret_blocks);

/* Whether its file system is known to write the file elsewhere than it is. */
bool rfs_sqlite_copies_on_write(int fd);

/* Asks the file system to overwrite the file in place; the file is empty. */
void rfs_sqlite_set_no_copy_on_write(int fd);

/* sqlite_spare.c */

/* Makes one, or a larger one, while there is plenty of room. False: that could not be done. */
bool rfs_sqlite_make_spare(const struct rfs_sqlite *store);
bool rfs_sqlite_has_spare(const struct rfs_sqlite *store);

/* Puts it in the WAL's place. What the WAL held must be in the main file, and nobody else at work on it. */
int rfs_sqlite_use_spare(struct rfs_sqlite *store);

/* sqlite_renew.c */

/* Before the file is opened with SQLite: makes it, and its WAL, fit for a full disk where they must be whole new files for it. */
int rfs_sqlite_renew(struct rfs_sqlite *store);

/* Gives the file the owner and mode of the main file. */
int rfs_sqlite_give_to_owner(const struct rfs_sqlite *store, int fd);

/* After a file was renamed, and before it is used. */
int rfs_sqlite_make_names_durable(struct rfs_sqlite *store);

/* sqlite_upkeep.c */

/* Tells the owner of the Datastore. */
void rfs_sqlite_notice(const struct rfs_sqlite *store, bool is_trouble, const char *format, ...)
	__attribute__((format(printf, 3, 4)));

/* After opening: looks at all blocks, and sets right what can be, as far as that takes no time. */
void rfs_sqlite_begin_upkeep(struct rfs_sqlite *store);

/* Goes on with it for a moment, when that is due. Returns after how many milliseconds that will be so again. */
unsigned int rfs_sqlite_upkeep(struct rfs_sqlite *store);

/* sqlite_cut.c */

static inline uint32_t rfs_big_endian(const unsigned char *bytes)
{
	return (uint32_t) bytes[0] << 24 | (uint32_t) bytes[1] << 16 | (uint32_t) bytes[2] << 8 | bytes[3];
}

/* Whether pages are missing from the main file, which has that header and size. SQLite does not have it open. */
int rfs_sqlite_find_cut(const struct rfs_sqlite *store, const unsigned char header[RFS_MAIN_HEADER_BYTES],
			int64_t size_bytes, bool *ret_is_cut);

/* What the main file begins with as soon as SQLite has looked into the WAL. False: the WAL does not say. */
bool rfs_sqlite_find_header(const struct rfs_sqlite *store, unsigned char ret_header[RFS_MAIN_HEADER_BYTES]);

/* sqlite_create.c */

/* Creates the file when there is none. */
int rfs_sqlite_create(struct rfs_sqlite *store);

/* Runs `script`, whose results don't matter. */
int rfs_sqlite_run_script(const struct rfs_sqlite *store, sqlite3 *db, const char *script);

/* sqlite_connect.c */

/* Opens the file and both connections, and sets the room aside. After a failure nothing is open. */
int rfs_sqlite_connect(struct rfs_sqlite *store);

/* Closes what is open, and leaves on disk what is there. */
void rfs_sqlite_disconnect(struct rfs_sqlite *store);

/* sqlite_room.c */

/* How large a file this process may write, in bytes; INT64_MAX: as it likes. */
int64_t rfs_sqlite_file_limit(void);

int64_t rfs_sqlite_wanted_wal_room(const struct rfs_sqlite *store);
int rfs_sqlite_make_wal_room(struct rfs_sqlite *store);

/* How many pages of the main file are free; or a negative errno. */
int rfs_sqlite_count_free_pages(struct rfs_sqlite *store);

/* Lets the main file grow to so many bytes, and no further. */
int rfs_sqlite_limit_room(struct rfs_sqlite *store, int64_t bytes);

/* Sets aside more room for the main file when less than half a step is left. */
int rfs_sqlite_make_main_room(struct rfs_sqlite *store);

/* Moves what is in the WAL to the main file. All of it, where no reader needs it: store->wal_frames is 0 then. */
int rfs_sqlite_checkpoint(struct rfs_sqlite *store);

/* The same if the WAL is fuller than it should be; keeps readers away where that must be. */
int rfs_sqlite_tidy_wal(struct rfs_sqlite *store);

/* Whether the WAL has so little room left that the next transaction cannot wait for a checkpoint. */
bool rfs_sqlite_wal_is_full(const struct rfs_sqlite *store);

/* Makes the frames from store->wal_erase on void, durably. */
int rfs_sqlite_erase_frames(struct rfs_sqlite *store);

/* After everything is in the main file: voids the WAL, so that it is never replayed onto another main file. */
int rfs_sqlite_void_wal(struct rfs_sqlite *store);

#endif
