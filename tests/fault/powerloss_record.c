/* SPDX-License-Identifier: MIT */
/*
 * powerloss_record.c: the recorder, and the disk that never was. Invariant: with everything chosen, the disk that is built
 * equals the files that the kernel has, to the byte; powerloss_finish checks that, so no call can go unrecorded.
 */
#include "powerloss_record.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

bool powerloss_is_data(const struct powerloss_event *e)
{
	return e->kind == CALL_WRITE || e->kind == CALL_TRUNCATE ||
	       (e->kind == CALL_ALLOCATE && (e->grows || e->zeroes));
}

bool powerloss_is_directory(const struct powerloss_event *e)
{
	return e->kind == CALL_CREATE || e->kind == CALL_UNLINK || e->kind == CALL_RENAME;
}

/* Recording */

static unsigned file_of(struct powerloss_record *rec, uint64_t inode)
{
	/* The latest: the number of a file that was removed may be given away again. */
	for (unsigned i = rec->file_count; i > 0; i--)
		if (rec->files[i - 1].inode == inode)
			return i - 1;
	fprintf(stderr, "a file was never opened\n");
	abort();
}

static unsigned add_file(struct powerloss_record *rec, uint64_t inode)
{
	if (rec->file_count == POWERLOSS_FILES)
		abort();
	rec->files[rec->file_count].inode = inode;
	return rec->file_count++;
}

static void directory_set(struct powerloss_record *rec, const char *name, unsigned file)
{
	for (unsigned i = 0; i < POWERLOSS_FILES; i++) {
		if (rec->now[i].used)
			continue;
		rec->now[i].used = true;
		rec->now[i].file = file;
		snprintf(rec->now[i].name, sizeof rec->now[i].name, "%s", name);
		return;
	}
	abort();
}

static bool directory_take(struct powerloss_record *rec, const char *name, unsigned *ret_file)
{
	for (unsigned i = 0; i < POWERLOSS_FILES; i++) {
		if (rec->now[i].used && strcmp(rec->now[i].name, name) == 0) {
			rec->now[i].used = false;
			*ret_file = rec->now[i].file;
			return true;
		}
	}
	return false;
}

static struct powerloss_event *add_event(struct powerloss_record *rec, const struct call *call)
{
	if (rec->count == rec->room) {
		rec->room = rec->room ? 2 * rec->room : 1024;
		rec->events = realloc(rec->events, rec->room * sizeof *rec->events);
		if (!rec->events)
			abort();
	}
	struct powerloss_event *e = &rec->events[rec->count++];
	*e = (struct powerloss_event){ .kind = call->kind, .offset = call->offset, .length = call->length, .grows = call->grows,
				       .zeroes = call->zeroes, .asked = rec->asked, .answered = rec->answered,
				       .settled = rec->settled };
	if (call->name)
		snprintf(e->name, sizeof e->name, "%s", call->name);
	if (call->new_name)
		snprintf(e->new_name, sizeof e->new_name, "%s", call->new_name);
	return e;
}

static bool is_recorded(enum call_kind kind)
{
	return kind != CALL_OPEN && kind != CALL_READ && kind != CALL_LOOK && kind != CALL_LOCK;
}

static int before_call(void *user, const struct call *call)
{
	struct powerloss_record *rec = user;

	rec->progress(rec->user, &rec->asked, &rec->answered, &rec->settled);
	if (!rec->recording || call->kind != CALL_SYNC || ++rec->syncs != rec->fail_sync)
		return 0;
	struct powerloss_event *e = add_event(rec, call);
	e->file = file_of(rec, call->inode);
	e->failed = true;
	return EIO;
}

static void note_open(struct powerloss_record *rec, const struct call *call)
{
	for (unsigned i = 0; i < rec->file_count; i++)
		if (rec->files[i].inode == call->inode)
			return;
	(void) add_file(rec, call->inode);
}

static void after_call(void *user, const struct call *call)
{
	struct powerloss_record *rec = user;

	if (call->kind == CALL_OPEN && call->name && *call->name && rec->recording)
		note_open(rec, call);
	if (!rec->recording || !is_recorded(call->kind))
		return;
	struct powerloss_event *e = add_event(rec, call);
	switch (call->kind) {
	case CALL_CREATE:
		e->file = add_file(rec, call->inode);
		directory_set(rec, call->name, e->file);
		break;
	case CALL_UNLINK:
		if (!directory_take(rec, call->name, &e->file))
			abort();
		break;
	case CALL_RENAME: {
		unsigned replaced;
		(void) directory_take(rec, call->new_name, &replaced);
		if (!directory_take(rec, call->name, &e->file))
			abort();
		directory_set(rec, call->new_name, e->file);
		break;
	}
	case CALL_SYNC_DIRECTORY:
		break;
	default:
		e->file = file_of(rec, call->inode);
	}
	if (call->kind != CALL_WRITE)
		return;
	e->data = malloc(call->length + 1);
	if (!e->data)
		abort();
	memcpy(e->data, call->data, call->length);
}

void powerloss_watch(struct powerloss_record *rec, const struct crash_scratch *scratch)
{
	struct calls_hooks hooks = { before_call, after_call, rec };

	rec->scratch = scratch;
	calls_watch(scratch->directory, &hooks);
}

static void note_start(void *user)
{
	static const char *const names[] = { CRASH_MAIN, CRASH_WAL, CRASH_SPARE };
	struct powerloss_record *rec = user;

	for (unsigned i = 0; i < sizeof names / sizeof names[0]; i++) {
		char path[PATH_MAX];
		struct stat st;
		size_t bytes;
		char *data = crash_scratch_read(rec->scratch, names[i], &bytes);

		if (!data)
			continue;
		snprintf(path, sizeof path, "%s/%s", rec->scratch->directory, names[i]);
		if (lstat(path, &st) < 0)
			abort();
		unsigned file = add_file(rec, st.st_ino);
		rec->files[file].data = data;
		rec->files[file].bytes = bytes;
		directory_set(rec, names[i], file);
	}
	memcpy(rec->start, rec->now, sizeof rec->start);
	rec->recording = true;
}

void powerloss_begin(struct powerloss_record *rec)
{
	/* The reading passes no hook that would note it, and nobody else is at work on the files now. */
	note_start(rec);
}

/* Building */

struct disk {
	struct {
		char *data;
		size_t bytes, room;
	} files[POWERLOSS_FILES];
	struct {
		bool used;
		const char *name;
		unsigned file;
	} directory[POWERLOSS_FILES];
};

static void reserve(struct disk *d, unsigned file, size_t bytes)
{
	if (bytes <= d->files[file].room)
		return;
	size_t room = bytes + bytes / 2;
	d->files[file].data = realloc(d->files[file].data, room);
	if (!d->files[file].data)
		abort();
	memset(d->files[file].data + d->files[file].room, 0, room - d->files[file].room);
	d->files[file].room = room;
}

static void grow(struct disk *d, unsigned file, size_t bytes)
{
	reserve(d, file, bytes);
	if (d->files[file].bytes < bytes)
		d->files[file].bytes = bytes;
}

static void put(struct disk *d, unsigned file, uint64_t offset, const char *data, size_t length)
{
	grow(d, file, offset + length);
	if (data)
		memcpy(d->files[file].data + offset, data, length);
	else
		memset(d->files[file].data + offset, 0, length);
}

static uint64_t mix(uint64_t z)
{
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

/* Whether sector number `sector` of event `e` is there. Sectors are the disk's: they don't begin where a write does. */
static bool has_sector(const struct powerloss_choice *choice, unsigned e, unsigned sector)
{
	if (choice->seed)
		return mix(choice->seed + e * UINT64_C(0x9e3779b97f4a7c15) + sector) & 1;
	return choice->sectors >> (sector < 63 ? sector : 63) & 1;
}

static void put_sectors(struct disk *d, const struct powerloss_event *e, unsigned index,
			const struct powerloss_choice *choice)
{
	uint64_t at = 0;
	for (unsigned sector = 0; at < e->length; sector++) {
		uint64_t length = POWERLOSS_SECTOR - (e->offset + at) % POWERLOSS_SECTOR;
		if (length > e->length - at)
			length = e->length - at;
		if (has_sector(choice, index, sector))
			put(d, e->file, e->offset + at, e->data + at, length);
		at += length;
	}
}

static void cut_file(struct disk *d, unsigned file, size_t bytes)
{
	if (bytes >= d->files[file].bytes) {
		grow(d, file, bytes);
		return;
	}
	memset(d->files[file].data + bytes, 0, d->files[file].bytes - bytes);
	d->files[file].bytes = bytes;
}

static void apply_data(struct disk *d, const struct powerloss_event *e, unsigned index, enum powerloss_part part,
		       const struct powerloss_choice *choice)
{
	if (part == POWERLOSS_NOTHING)
		return;
	if (e->kind == CALL_TRUNCATE)
		cut_file(d, e->file, e->length);
	else if (e->kind == CALL_ALLOCATE && e->zeroes && !e->grows && e->offset + e->length > d->files[e->file].bytes)
		abort(); /* nobody does that */
	else if (e->kind == CALL_ALLOCATE && e->zeroes)
		put(d, e->file, e->offset, NULL, e->length);
	else if (e->kind == CALL_ALLOCATE)
		grow(d, e->file, e->offset + e->length);
	else if (part == POWERLOSS_ALL)
		put(d, e->file, e->offset, e->data, e->length);
	else if (part == POWERLOSS_ZEROS)
		put(d, e->file, e->offset, NULL, e->length);
	else
		put_sectors(d, e, index, choice);
}

static void directory_remove(struct disk *d, const char *name)
{
	for (unsigned i = 0; i < POWERLOSS_FILES; i++)
		if (d->directory[i].used && strcmp(d->directory[i].name, name) == 0)
			d->directory[i].used = false;
}

static void directory_add(struct disk *d, const char *name, unsigned file)
{
	for (unsigned i = 0; i < POWERLOSS_FILES; i++) {
		if (!d->directory[i].used) {
			d->directory[i].used = true;
			d->directory[i].name = name;
			d->directory[i].file = file;
			return;
		}
	}
	abort();
}

static void apply_directory(struct disk *d, const struct powerloss_event *e)
{
	switch (e->kind) {
	case CALL_CREATE:
		directory_add(d, e->name, e->file);
		break;
	case CALL_UNLINK:
		directory_remove(d, e->name);
		break;
	default:
		directory_remove(d, e->name);
		directory_remove(d, e->new_name);
		directory_add(d, e->new_name, e->file);
	}
}

static void start_disk(const struct powerloss_record *rec, struct disk *d)
{
	memset(d, 0, sizeof *d);
	for (unsigned i = 0; i < rec->file_count; i++)
		if (rec->files[i].data)
			put(d, i, 0, rec->files[i].data, rec->files[i].bytes);
	for (unsigned i = 0; i < POWERLOSS_FILES; i++)
		if (rec->start[i].used)
			directory_add(d, rec->start[i].name, rec->start[i].file);
}

static void disk_done(struct disk *d)
{
	for (unsigned i = 0; i < POWERLOSS_FILES; i++)
		free(d->files[i].data);
}

/* What is there of event `i`. */
static enum powerloss_part part_of(const struct powerloss_record *rec, const struct powerloss_choice *choice, unsigned i,
				   unsigned *directory_left)
{
	const struct powerloss_event *e = &rec->events[i];

	if (e->certain_at < choice->cut)
		return POWERLOSS_ALL;
	if (powerloss_is_data(e))
		return (enum powerloss_part) choice->parts[i];
	if (!powerloss_is_directory(e) || *directory_left == 0)
		return POWERLOSS_NOTHING;
	--*directory_left;
	return POWERLOSS_ALL;
}

uint64_t powerloss_name(const struct powerloss_record *rec, const struct powerloss_choice *choice)
{
	unsigned directory_left = choice->directory;
	uint64_t name = 1;

	for (unsigned i = 0; i < choice->cut; i++) {
		const struct powerloss_event *e = &rec->events[i];
		if (!powerloss_is_data(e) && !powerloss_is_directory(e))
			continue;
		enum powerloss_part part = part_of(rec, choice, i, &directory_left);
		if (part == POWERLOSS_NOTHING)
			continue;
		name = mix(name + i * 4 + (unsigned) part);
		if (part == POWERLOSS_SECTORS)
			name = mix(name + choice->sectors * 3 + choice->seed);
	}
	return name;
}

static void fill_disk(const struct powerloss_record *rec, const struct powerloss_choice *choice, struct disk *d)
{
	unsigned directory_left = choice->directory;

	start_disk(rec, d);
	for (unsigned i = 0; i < choice->cut; i++) {
		const struct powerloss_event *e = &rec->events[i];
		if (!powerloss_is_data(e) && !powerloss_is_directory(e))
			continue;
		enum powerloss_part part = part_of(rec, choice, i, &directory_left);
		if (powerloss_is_data(e))
			apply_data(d, e, i, part, choice);
		else if (part == POWERLOSS_ALL)
			apply_directory(d, e);
	}
}

void powerloss_build(const struct powerloss_record *rec, const struct powerloss_choice *choice, const struct crash_scratch *to)
{
	struct disk d;

	fill_disk(rec, choice, &d);
	crash_scratch_empty(to);
	for (unsigned i = 0; i < POWERLOSS_FILES; i++)
		if (d.directory[i].used)
			crash_scratch_write(to, d.directory[i].name, d.files[d.directory[i].file].data,
					    d.files[d.directory[i].file].bytes);
	disk_done(&d);
}

/* Judging the recording */

static bool is_broken(const struct powerloss_record *rec, const struct powerloss_event *e, enum powerloss_broken broken)
{
	const char *only = broken == POWERLOSS_NO_MAIN_SYNC ? CRASH_MAIN : broken == POWERLOSS_NO_WAL_SYNC ? CRASH_WAL : NULL;

	if (e->kind == CALL_SYNC_DIRECTORY)
		return broken == POWERLOSS_NO_DIRECTORY_SYNC;
	if (!only)
		return broken == POWERLOSS_NO_SYNC;
	for (unsigned i = 0; i < POWERLOSS_FILES; i++)
		if (rec->now[i].used && rec->now[i].file == e->file && strcmp(rec->now[i].name, only) == 0)
			return true;
	return false;
}

static bool flushes(const struct powerloss_event *sync, const struct powerloss_event *e)
{
	if (powerloss_is_directory(e))
		return sync->kind == CALL_SYNC_DIRECTORY;
	return sync->kind == CALL_SYNC && sync->file == e->file;
}

static void work_out_certainty(struct powerloss_record *rec, enum powerloss_broken broken)
{
	for (unsigned i = 0; i < rec->count; i++) {
		struct powerloss_event *e = &rec->events[i];
		unsigned s = i + 1;
		while (s < rec->count && (!flushes(&rec->events[s], e) || is_broken(rec, &rec->events[s], broken)))
			s++;
		e->certain_at = s < rec->count && !rec->events[s].failed ? s : UINT_MAX;
	}
}

static bool equals_directory(const struct powerloss_record *rec, const struct disk *d)
{
	for (unsigned i = 0; i < POWERLOSS_FILES; i++) {
		size_t bytes;
		if (!d->directory[i].used)
			continue;
		unsigned file = d->directory[i].file;
		char *data = crash_scratch_read(rec->scratch, d->directory[i].name, &bytes);
		bool same = data && bytes == d->files[file].bytes &&
			    (bytes == 0 || memcmp(data, d->files[file].data, bytes) == 0);
		free(data);
		if (!same)
			return false;
	}
	return true;
}

bool powerloss_finish(struct powerloss_record *rec, enum powerloss_broken broken)
{
	struct disk d;

	calls_watch(NULL, NULL);
	rec->recording = false;
	unsigned char *all = malloc(rec->count + 1);
	if (!all)
		abort();
	memset(all, POWERLOSS_ALL, rec->count);
	work_out_certainty(rec, POWERLOSS_SOUND);
	struct powerloss_choice everything = { .cut = rec->count, .directory = UINT_MAX, .parts = all };
	fill_disk(rec, &everything, &d);
	bool same = equals_directory(rec, &d);
	disk_done(&d);
	free(all);
	work_out_certainty(rec, broken);
	return same;
}

void powerloss_done(struct powerloss_record *rec)
{
	for (unsigned i = 0; i < rec->count; i++)
		free(rec->events[i].data);
	for (unsigned i = 0; i < rec->file_count; i++)
		free(rec->files[i].data);
	free(rec->events);
}
