/* SPDX-License-Identifier: MIT */
/*
 * fault_vfs.c: injects I/O errors below SQLite.
 *
 * Invariant: a call that fails has done nothing, but for a write, of which a part may have been done: what a real disk
 * leaves behind.
 */
#include "fault_vfs.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stddef.h>
#include <string.h>

#include "util/cleanup.h"

/* SQLite allocates it, with room for the file of the VFS below behind it. */
struct fault_file {
	sqlite3_file base;
	unsigned int kind; /* one of enum fault_vfs_files */
	_Alignas(8) char below[]; /* SQLite aligns its allocations to 8 bytes */
};

static struct {
	pthread_mutex_t lock;
	/* Under lock. */
	struct fault_vfs_plan plan;
	uint64_t calls;
	uint64_t failures;
} faults = { .lock = PTHREAD_MUTEX_INITIALIZER, .plan = { .calls = FAULT_VFS_ALL, .files = FAULT_VFS_EVERY_FILE } };

static sqlite3_vfs *vfs_below;

static sqlite3_file *below(sqlite3_file *file)
{
	return (sqlite3_file *) (void *) ((struct fault_file *) file)->below;
}

/* Counts a call; whether it must fail. */
static bool strikes(unsigned int call, unsigned int kind, struct fault_vfs_plan *ret_plan)
{
	RFS_LOCK(&faults.lock);

	if (!(faults.plan.calls & call) || !(faults.plan.files & kind))
		return false;
	faults.calls++;
	if (faults.plan.nth == 0 || faults.calls < faults.plan.nth ||
	    (faults.calls > faults.plan.nth && !faults.plan.persistent))
		return false;
	faults.failures++;
	*ret_plan = faults.plan;
	errno = faults.plan.is_full ? ENOSPC : EIO; /* what SQLite will ask for */
	return true;
}

static bool file_strikes(unsigned int call, sqlite3_file *file)
{
	struct fault_vfs_plan plan;
	return strikes(call, ((struct fault_file *) file)->kind, &plan);
}

static int fault_close(sqlite3_file *file)
{
	return below(file)->pMethods->xClose(below(file));
}

static int fault_read(sqlite3_file *file, void *data, int length, sqlite3_int64 offset)
{
	if (file_strikes(FAULT_VFS_READ, file))
		return SQLITE_IOERR_READ;
	return below(file)->pMethods->xRead(below(file), data, length, offset);
}

static int fault_write(sqlite3_file *file, const void *data, int length, sqlite3_int64 offset)
{
	struct fault_vfs_plan plan;

	if (!strikes(FAULT_VFS_WRITE, ((struct fault_file *) file)->kind, &plan))
		return below(file)->pMethods->xWrite(below(file), data, length, offset);
	int part = (int) ((unsigned int) length * plan.eighths_written / 8);
	if (part > 0)
		(void) below(file)->pMethods->xWrite(below(file), data, part, offset);
	return plan.is_full ? SQLITE_FULL : SQLITE_IOERR_WRITE;
}

static int fault_truncate(sqlite3_file *file, sqlite3_int64 size)
{
	if (file_strikes(FAULT_VFS_TRUNCATE, file))
		return SQLITE_IOERR_TRUNCATE;
	return below(file)->pMethods->xTruncate(below(file), size);
}

static int fault_sync(sqlite3_file *file, int flags)
{
	if (file_strikes(FAULT_VFS_SYNC, file))
		return SQLITE_IOERR_FSYNC;
	return below(file)->pMethods->xSync(below(file), flags);
}

static int fault_file_size(sqlite3_file *file, sqlite3_int64 *ret_size)
{
	if (file_strikes(FAULT_VFS_SIZE, file))
		return SQLITE_IOERR_FSTAT;
	return below(file)->pMethods->xFileSize(below(file), ret_size);
}

static int fault_lock(sqlite3_file *file, int level)
{
	return below(file)->pMethods->xLock(below(file), level);
}

static int fault_unlock(sqlite3_file *file, int level)
{
	return below(file)->pMethods->xUnlock(below(file), level);
}

static int fault_check_reserved_lock(sqlite3_file *file, int *ret_is_reserved)
{
	return below(file)->pMethods->xCheckReservedLock(below(file), ret_is_reserved);
}

static int fault_file_control(sqlite3_file *file, int operation, void *argument)
{
	return below(file)->pMethods->xFileControl(below(file), operation, argument);
}

static int fault_sector_size(sqlite3_file *file)
{
	return below(file)->pMethods->xSectorSize(below(file));
}

static int fault_device_characteristics(sqlite3_file *file)
{
	return below(file)->pMethods->xDeviceCharacteristics(below(file));
}

static int fault_shm_map(sqlite3_file *file, int region, int size, int extend, void volatile **ret_memory)
{
	return below(file)->pMethods->xShmMap(below(file), region, size, extend, ret_memory);
}

static int fault_shm_lock(sqlite3_file *file, int offset, int count, int flags)
{
	return below(file)->pMethods->xShmLock(below(file), offset, count, flags);
}

static void fault_shm_barrier(sqlite3_file *file)
{
	below(file)->pMethods->xShmBarrier(below(file));
}

static int fault_shm_unmap(sqlite3_file *file, int delete)
{
	return below(file)->pMethods->xShmUnmap(below(file), delete);
}

static const sqlite3_io_methods fault_methods = {
	.iVersion = 2,
	.xClose = fault_close,
	.xRead = fault_read,
	.xWrite = fault_write,
	.xTruncate = fault_truncate,
	.xSync = fault_sync,
	.xFileSize = fault_file_size,
	.xLock = fault_lock,
	.xUnlock = fault_unlock,
	.xCheckReservedLock = fault_check_reserved_lock,
	.xFileControl = fault_file_control,
	.xSectorSize = fault_sector_size,
	.xDeviceCharacteristics = fault_device_characteristics,
	.xShmMap = fault_shm_map,
	.xShmLock = fault_shm_lock,
	.xShmBarrier = fault_shm_barrier,
	.xShmUnmap = fault_shm_unmap,
};

static sqlite3_mem_methods memory_below;

static bool allocation_strikes(void)
{
	struct fault_vfs_plan plan;
	return strikes(FAULT_VFS_ALLOCATE, FAULT_VFS_EVERY_FILE, &plan);
}

static void *fault_malloc(int size)
{
	return allocation_strikes() ? NULL : memory_below.xMalloc(size);
}

static void *fault_realloc(void *memory, int size)
{
	return allocation_strikes() ? NULL : memory_below.xRealloc(memory, size);
}

/* Has no effect once SQLite is in use. */
static void replace_allocator(void)
{
	sqlite3_mem_methods methods;

	if (sqlite3_config(SQLITE_CONFIG_GETMALLOC, &memory_below) != SQLITE_OK)
		return;
	methods = memory_below;
	methods.xMalloc = fault_malloc;
	methods.xRealloc = fault_realloc;
	(void) sqlite3_config(SQLITE_CONFIG_MALLOC, &methods);
}

static unsigned int kind_of(int flags)
{
	if (flags & SQLITE_OPEN_MAIN_DB)
		return FAULT_VFS_MAIN;
	return flags & SQLITE_OPEN_WAL ? FAULT_VFS_WAL : FAULT_VFS_OTHERS;
}

static int fault_open(sqlite3_vfs *vfs, const char *name, sqlite3_file *file, int flags, int *ret_flags)
{
	struct fault_file *f = (struct fault_file *) file;
	struct fault_vfs_plan plan;

	(void) vfs;
	file->pMethods = NULL;
	f->kind = kind_of(flags);
	if (strikes(FAULT_VFS_OPEN, f->kind, &plan))
		return SQLITE_CANTOPEN;
	below(file)->pMethods = NULL;
	int code = vfs_below->xOpen(vfs_below, name, below(file), flags, ret_flags);
	if (code == SQLITE_OK)
		file->pMethods = &fault_methods;
	return code;
}

const char *fault_vfs_register(void)
{
	static sqlite3_vfs vfs;

	if (vfs.zName)
		return vfs.zName;
	replace_allocator();
	vfs_below = sqlite3_vfs_find("unix-excl");
	if (!vfs_below)
		return NULL;
	/* Everything but opening a file is asked of the VFS below, which doesn't look at what it is called by. */
	vfs = *vfs_below;
	vfs.zName = "fault";
	vfs.pNext = NULL;
	vfs.szOsFile = (int) offsetof(struct fault_file, below) + vfs_below->szOsFile;
	vfs.xOpen = fault_open;
	if (sqlite3_vfs_register(&vfs, 0) != SQLITE_OK) {
		vfs.zName = NULL;
		return NULL;
	}
	return vfs.zName;
}

void fault_vfs_arm(const struct fault_vfs_plan *plan)
{
	static const struct fault_vfs_plan empty = { .calls = FAULT_VFS_ALL, .files = FAULT_VFS_EVERY_FILE };
	RFS_LOCK(&faults.lock);

	faults.plan = plan ? *plan : empty;
	faults.calls = 0;
	faults.failures = 0;
}

uint64_t fault_vfs_calls(void)
{
	RFS_LOCK(&faults.lock);
	return faults.calls;
}

uint64_t fault_vfs_failures(void)
{
	RFS_LOCK(&faults.lock);
	return faults.failures;
}
