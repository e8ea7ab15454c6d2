/* SPDX-License-Identifier: MIT */
/*
 * nullfs.c: a FUSE file system of the same shape as reservefs that does nothing: every request is answered at once,
 * from memory. What it reaches is the ceiling for any file system in user space on this machine.
 *
 * It keeps no sum, checks nothing and stores nothing. It remembers which contracts there are, because the kernel asks.
 *
 * Invariant: `contracts[id]` and the table of names hold the same contracts; an id is never used again. Both are
 * guarded by `lock`, as libfuse's own loop answers from several threads.
 */
#define FUSE_USE_VERSION 314

#include <errno.h>
#include <fuse_lowlevel.h>
#include <pthread.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>
#include <uthash.h>

/* Nodeids: 1 is the root; from FIRST on, an even one is the directory of a contract and the odd one after it is its
 * size. */
#define AVAILABLE 2
#define RESERVATIONS 3
#define FIRST 16

struct contract {
	uint64_t id;
	uint64_t size_bytes;
	UT_hash_handle hh;
	char name[];
};

static struct options {
	int multi_threaded, noflush, direct_io, no_open, atomic_trunc, splice, help;
	double timeout;
} options;

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct contract *by_name;
static struct contract **contracts;
static uint64_t used, room;

static int add_contract(const char *name, uint64_t *ret_id)
{
	size_t length = strlen(name);
	struct contract *c;

	HASH_FIND(hh, by_name, name, length, c);
	if (c)
		return EEXIST;
	if (used == room) {
		uint64_t wanted = room ? room * 2 : 1024;
		struct contract **bigger = realloc(contracts, wanted * sizeof *contracts);
		if (!bigger)
			return ENOMEM;
		contracts = bigger;
		room = wanted;
	}
	c = calloc(1, sizeof *c + length + 1);
	if (!c)
		return ENOMEM;
	memcpy(c->name, name, length);
	c->id = used++;
	contracts[c->id] = c;
	HASH_ADD_KEYPTR(hh, by_name, c->name, length, c);
	*ret_id = c->id;
	return 0;
}

static int remove_contract(const char *name)
{
	struct contract *c;

	HASH_FIND(hh, by_name, name, strlen(name), c);
	if (!c)
		return ENOENT;
	HASH_DEL(by_name, c);
	contracts[c->id] = NULL;
	free(c);
	return 0;
}

static uint64_t contract_of(fuse_ino_t ino)
{
	return (ino - FIRST) / 2;
}

/* `text` has 32 bytes. Returns the length of what a read of the file gives. */
static int content(fuse_ino_t ino, char *text)
{
	if (ino < FIRST)
		return snprintf(text, 32, "%llu\n", 10737418240ULL);
	pthread_mutex_lock(&lock);
	uint64_t id = contract_of(ino);
	uint64_t size_bytes = id < used && contracts[id] ? contracts[id]->size_bytes : 0;
	pthread_mutex_unlock(&lock);
	return snprintf(text, 32, "%llu\n", (unsigned long long) size_bytes);
}

static void fill_attr(fuse_ino_t ino, struct stat *st)
{
	char text[32];

	memset(st, 0, sizeof *st);
	st->st_ino = ino;
	st->st_nlink = 1;
	st->st_uid = getuid();
	st->st_gid = getgid();
	if (ino == FUSE_ROOT_ID || ino == RESERVATIONS || (ino >= FIRST && ino % 2 == 0)) {
		st->st_mode = S_IFDIR | 0755;
		st->st_nlink = 2;
	} else {
		st->st_mode = S_IFREG | (ino == AVAILABLE ? 0444 : 0644);
		st->st_size = content(ino, text);
	}
}

/* `available` changes by itself, so that no kernel may keep its length. */
static double attr_timeout(fuse_ino_t ino)
{
	return ino == AVAILABLE ? 0 : options.timeout;
}

static void reply_entry(fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_entry_param entry = {
		.ino = ino, .attr_timeout = attr_timeout(ino), .entry_timeout = options.timeout,
	};

	fill_attr(ino, &entry.attr);
	fuse_reply_entry(req, &entry);
}

static void op_init(void *user, struct fuse_conn_info *conn)
{
	(void) user;
	if (!options.atomic_trunc)
		conn->want &= ~(unsigned) FUSE_CAP_ATOMIC_O_TRUNC;
	if (!options.splice)
		conn->want &= ~(unsigned) (FUSE_CAP_SPLICE_READ | FUSE_CAP_SPLICE_WRITE | FUSE_CAP_SPLICE_MOVE);
	conn->want &= ~(unsigned) FUSE_CAP_READDIRPLUS;
}

static void op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct contract *c = NULL;
	uint64_t id = 0;

	if (parent == FUSE_ROOT_ID && strcmp(name, "available") == 0)
		return reply_entry(req, AVAILABLE);
	if (parent == FUSE_ROOT_ID && strcmp(name, "reservations") == 0)
		return reply_entry(req, RESERVATIONS);
	if (parent >= FIRST && parent % 2 == 0 && strcmp(name, "size") == 0)
		return reply_entry(req, parent + 1);
	if (parent == RESERVATIONS) {
		pthread_mutex_lock(&lock);
		HASH_FIND(hh, by_name, name, strlen(name), c);
		if (c)
			id = c->id;
		pthread_mutex_unlock(&lock);
	}
	if (!c)
		fuse_reply_err(req, ENOENT);
	else
		reply_entry(req, FIRST + 2 * id);
}

static void op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t lookups)
{
	(void) ino;
	(void) lookups;
	fuse_reply_none(req);
}

static void op_getattr(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	struct stat st;
	(void) fi;

	fill_attr(ino, &st);
	fuse_reply_attr(req, &st, attr_timeout(ino));
}

static void op_setattr(fuse_req_t req, fuse_ino_t ino, struct stat *attr, int what, struct fuse_file_info *fi)
{
	(void) attr;
	(void) what;
	op_getattr(req, ino, fi);
}

static void op_mkdir(fuse_req_t req, fuse_ino_t parent, const char *name, mode_t mode)
{
	uint64_t id = 0;
	(void) mode;

	pthread_mutex_lock(&lock);
	int error = parent == RESERVATIONS ? add_contract(name, &id) : EPERM;
	pthread_mutex_unlock(&lock);
	if (error)
		fuse_reply_err(req, error);
	else
		reply_entry(req, FIRST + 2 * id);
}

static void op_rmdir(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	pthread_mutex_lock(&lock);
	int error = parent == RESERVATIONS ? remove_contract(name) : EPERM;
	pthread_mutex_unlock(&lock);
	fuse_reply_err(req, error);
}

static void op_unlink(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	(void) parent;
	(void) name;
	fuse_reply_err(req, 0);
}

static void op_open(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void) ino;
	if (options.no_open) {
		fuse_reply_err(req, ENOSYS);
		return;
	}
	fi->direct_io = options.direct_io != 0;
	fi->noflush = options.noflush != 0;
	fuse_reply_open(req, fi);
}

static void op_flush(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void) ino;
	(void) fi;
	fuse_reply_err(req, 0);
}

static void op_read(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	char text[32];
	size_t length = (size_t) content(ino, text);
	(void) fi;

	if ((size_t) offset >= length)
		fuse_reply_buf(req, NULL, 0);
	else
		fuse_reply_buf(req, text + offset, length - (size_t) offset < size ? length - (size_t) offset : size);
}

static void op_write(fuse_req_t req, fuse_ino_t ino, const char *data, size_t size, off_t offset,
		     struct fuse_file_info *fi)
{
	char text[32];
	size_t length = size < sizeof text - 1 ? size : sizeof text - 1;
	uint64_t id = contract_of(ino);
	(void) offset;
	(void) fi;

	memcpy(text, data, length);
	text[length] = 0;
	pthread_mutex_lock(&lock);
	if (ino >= FIRST && id < used && contracts[id])
		contracts[id]->size_bytes = strtoull(text, NULL, 10);
	pthread_mutex_unlock(&lock);
	fuse_reply_write(req, size);
}

/* Fills one entry; returns false when there is no more room. */
static bool add_entry(fuse_req_t req, char *buffer, size_t size, size_t *at, const char *name, fuse_ino_t ino,
		      bool directory, off_t next)
{
	struct stat st = { .st_ino = ino, .st_mode = directory ? S_IFDIR : S_IFREG };
	size_t length = fuse_add_direntry(req, buffer + *at, size - *at, name, &st, next);

	if (length > size - *at)
		return false;
	*at += length;
	return true;
}

static void list_contracts(fuse_req_t req, char *buffer, size_t size, off_t offset, size_t *at)
{
	pthread_mutex_lock(&lock);
	for (uint64_t id = (uint64_t) offset; id < used; id++)
		if (contracts[id] &&
		    !add_entry(req, buffer, size, at, contracts[id]->name, FIRST + 2 * id, true, (off_t) id + 1))
			break;
	pthread_mutex_unlock(&lock);
}

static void op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	char *buffer = malloc(size);
	size_t at = 0;
	(void) fi;

	if (!buffer) {
		fuse_reply_err(req, ENOMEM);
		return;
	}
	if (ino == RESERVATIONS)
		list_contracts(req, buffer, size, offset, &at);
	else if (ino == FUSE_ROOT_ID && offset == 0)
		(void) (add_entry(req, buffer, size, &at, "available", AVAILABLE, false, 1) &&
			add_entry(req, buffer, size, &at, "reservations", RESERVATIONS, true, 2));
	else if (ino == FUSE_ROOT_ID && offset == 1)
		add_entry(req, buffer, size, &at, "reservations", RESERVATIONS, true, 2);
	else if (ino >= FIRST && offset == 0)
		add_entry(req, buffer, size, &at, "size", ino + 1, false, 1);
	fuse_reply_buf(req, buffer, at);
	free(buffer);
}

static void op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void) ino;
	fuse_reply_open(req, fi);
}

static void op_statfs(fuse_req_t req, fuse_ino_t ino)
{
	struct statvfs st = { .f_bsize = 1, .f_frsize = 1, .f_blocks = 10737418240, .f_bfree = 10737418240,
			      .f_bavail = 10737418240, .f_namemax = 255 };
	(void) ino;

	fuse_reply_statfs(req, &st);
}

static void op_release(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void) ino;
	(void) fi;
	fuse_reply_err(req, 0);
}

static const struct fuse_lowlevel_ops operations = {
	.init = op_init,
	.lookup = op_lookup,
	.forget = op_forget,
	.getattr = op_getattr,
	.setattr = op_setattr,
	.mkdir = op_mkdir,
	.rmdir = op_rmdir,
	.unlink = op_unlink,
	.open = op_open,
	.flush = op_flush,
	.read = op_read,
	.write = op_write,
	.release = op_release,
	.opendir = op_opendir,
	.releasedir = op_release,
	.readdir = op_readdir,
	.statfs = op_statfs,
};

/* Serves until unmounted. Prints a line once mounted. */
static int serve(struct fuse_args *args, const char *mountpoint)
{
	int r = -1;
	struct fuse_session *session = fuse_session_new(args, &operations, sizeof operations, NULL);

	if (!session)
		return -1;
	if (fuse_set_signal_handlers(session) == 0) {
		if (fuse_session_mount(session, mountpoint) == 0) {
			puts("mounted");
			fflush(stdout);
			r = options.multi_threaded ? fuse_session_loop_mt(session, NULL) : fuse_session_loop(session);
			fuse_session_unmount(session);
			r = r < 0 ? r : 0; /* above: the signal that ended it */
		}
		fuse_remove_signal_handlers(session);
	}
	fuse_session_destroy(session);
	return r;
}

int main(int argc, char **argv)
{
	static const struct fuse_opt known[] = {
		{ "mt", offsetof(struct options, multi_threaded), 1 },
		{ "noflush", offsetof(struct options, noflush), 1 },
		{ "direct_io", offsetof(struct options, direct_io), 1 },
		{ "no_open", offsetof(struct options, no_open), 1 },
		{ "atomic_trunc", offsetof(struct options, atomic_trunc), 1 },
		{ "splice", offsetof(struct options, splice), 1 },
		{ "timeout=%lf", offsetof(struct options, timeout), 0 },
		{ "-h", offsetof(struct options, help), 1 },
		FUSE_OPT_END,
	};
	struct fuse_args args = FUSE_ARGS_INIT(argc, argv);
	char *mountpoint = NULL;

	if (argc > 1 && argv[argc - 1][0] != '-') {
		mountpoint = argv[argc - 1];
		args.argc--;
	}
	if (fuse_opt_parse(&args, &options, known, NULL) < 0 || !mountpoint || options.help) {
		fputs("usage: nullfs [-o mt,noflush,direct_io,no_open,atomic_trunc,splice,timeout=SECONDS,FUSE OPTIONS]\n"
		      "              MOUNTPOINT\n", options.help ? stdout : stderr);
		return options.help ? 0 : 2;
	}
	int r = serve(&args, mountpoint);
	fuse_opt_free_args(&args);
	return r < 0;
}
