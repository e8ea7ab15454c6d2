/* SPDX-License-Identifier: MIT */
/*
 * powerloss_record.h: what a process asked of the disk, in order, and which disks a loss of power could leave behind.
 *
 * The model: a write, truncation or allocation of a file is on the disk for certain once an fsync or fdatasync of that file,
 * begun after it, has returned; a creation, unlink or rename once an fsync of the directory has. What isn't certain may be
 * there or not, each piece of 512 bytes by itself, in any order. Changes of the directory alone keep their order. After an
 * fsync that failed, what it was to flush stays uncertain for good.
 */
#ifndef TESTS_POWERLOSS_RECORD_H
#define TESTS_POWERLOSS_RECORD_H

#include "crash_calls.h"
#include "crash_scratch.h"

#define POWERLOSS_FILES 8
#define POWERLOSS_SECTOR 512

struct powerloss_event {
	enum call_kind kind;
	bool failed;        /* a sync that returned an error */
	unsigned file;      /* of WRITE, TRUNCATE, ALLOCATE, SYNC, CREATE, UNLINK, RENAME */
	char name[64];      /* of CREATE, UNLINK, RENAME */
	char new_name[64];  /* of RENAME */
	uint64_t offset, length;
	bool grows, zeroes;
	char *data;
	unsigned asked, answered, settled; /* how far the history was when this was about to happen */
	unsigned certain_at; /* the event that makes this certain, or UINT_MAX; set by powerloss_finish */
};

/* Promises of the disk that can be broken, to see whether it is noticed. */
enum powerloss_broken {
	POWERLOSS_SOUND,
	POWERLOSS_NO_SYNC,           /* no sync of a file has any effect */
	POWERLOSS_NO_MAIN_SYNC,      /* none of the main file */
	POWERLOSS_NO_WAL_SYNC,       /* none of the WAL */
	POWERLOSS_NO_DIRECTORY_SYNC, /* none of the directory */
	POWERLOSS_BROKEN_COUNT,
};

struct powerloss_file {
	uint64_t inode;
	char *data; /* when the recording began; NULL: it was not there */
	size_t bytes;
};

struct powerloss_record {
	const struct crash_scratch *scratch;
	struct powerloss_event *events;
	unsigned count, room;
	unsigned file_count;
	struct powerloss_file files[POWERLOSS_FILES];
	struct {
		bool used;
		char name[64];
		unsigned file;
	} start[POWERLOSS_FILES], now[POWERLOSS_FILES]; /* the directory */
	bool recording;
	unsigned fail_sync; /* the sync of a file, counted from 1, that is to fail; 0: none */
	unsigned syncs;
	unsigned asked, answered, settled; /* when the call that is under way began */
	void (*progress)(void *user, unsigned *ret_asked, unsigned *ret_answered, unsigned *ret_settled);
	void *user;
};

/* Watches the directory; nothing is recorded before powerloss_begin, which notes what is there. */
void powerloss_watch(struct powerloss_record *rec, const struct crash_scratch *scratch);
void powerloss_begin(struct powerloss_record *rec);

/* Ends the recording. False: what was recorded does not add up to what is in the directory. */
bool powerloss_finish(struct powerloss_record *rec, enum powerloss_broken broken);
void powerloss_done(struct powerloss_record *rec);

/* Which of the uncertain events before a cut are there: all of one, some of its sectors, or nothing. */
enum powerloss_part { POWERLOSS_NOTHING, POWERLOSS_ALL, POWERLOSS_SECTORS, POWERLOSS_ZEROS };
struct powerloss_choice {
	unsigned cut;                /* events before this one were asked for */
	unsigned directory;          /* how many of the uncertain changes of the directory are there */
	const unsigned char *parts;  /* enum powerloss_part for each event; read for uncertain ones only */
	uint64_t sectors;            /* of an event with POWERLOSS_SECTORS: a bit for each sector, 64 and more go by bit 63 */
	uint64_t seed;               /* not 0: of events with POWERLOSS_SECTORS, sectors are drawn by this instead */
};

bool powerloss_is_data(const struct powerloss_event *e);
bool powerloss_is_directory(const struct powerloss_event *e);

/* Two choices with the same name are the same disk. */
uint64_t powerloss_name(const struct powerloss_record *rec, const struct powerloss_choice *choice);

/* Writes that disk's files into `to`, which is emptied first. */
void powerloss_build(const struct powerloss_record *rec, const struct powerloss_choice *choice, const struct crash_scratch *to);

#endif
