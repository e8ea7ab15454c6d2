/* SPDX-License-Identifier: MIT */
/*
 * directory.c: looking names up, and listing. Invariant: what the kernel is told of a contract is pinned as often as it was
 * told, until the kernel forgets it; a listing is resumed by id, so that nothing that is created or removed
 * meanwhile makes it miss or repeat a contract.
 */
#include "fs/internal.h"

#include "util/utf8.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Listing offsets: ids, which begin above these. */
enum { OFFSET_DOT = 1, OFFSET_DOTDOT = 2 };

/* No answer to a listing is larger, whatever is asked for: the most that the kernel takes in one reply. */
#define LISTING_MOST ((size_t) 1 << 20)

int rfs_fill_entry(struct rfs_fs *fs, struct rfs_contract *contract, bool size, struct fuse_entry_param *ret_entry)
{
	struct fuse_entry_param entry = { .entry_timeout = rfs_node_entry_timeout() };
	int rc = rfs_node_contract_stat(fs, contract, size, &entry.attr, &entry.attr_timeout);

	if (rc < 0)
		return rc;
	entry.ino = entry.attr.st_ino;
	*ret_entry = entry;
	return 0;
}

void rfs_reply_contract(struct rfs_fs *fs, fuse_req_t req, struct rfs_contract *contract, bool size)
{
	struct fuse_entry_param entry;

	if (rfs_fill_entry(fs, contract, size, &entry) < 0) {
		fuse_reply_err(req, ENOENT);
	} else {
		rfs_contract_pin(contract);
		/* A request that was given up has told the kernel nothing. */
		if (fuse_reply_entry(req, &entry) < 0)
			rfs_contract_unpin(contract, 1);
	}
	rfs_contract_unref(contract);
}

static void reply_fixed(struct rfs_fs *fs, fuse_req_t req, fuse_ino_t ino)
{
	struct fuse_entry_param entry = { .ino = ino, .entry_timeout = rfs_node_entry_timeout() };
	int rc = rfs_node_stat(fs, ino, rfs_uid_of(req), &entry.attr, &entry.attr_timeout);

	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		fuse_reply_entry(req, &entry);
}

/* There is no such name; the kernel may remember that, since only it can create one. */
static void reply_nothing(fuse_req_t req)
{
	struct fuse_entry_param entry = { .entry_timeout = rfs_node_entry_timeout() };

	fuse_reply_entry(req, &entry);
}

/* What kept a record from being read, in the three ways that ask for different things to be done. */
static void refuse_unread(struct rfs_fs *fs, fuse_req_t req, const char *path, int error, const char *what)
{
	if (error == -ENOMEM)
		rfs_refuse(fs, req, RFS_OP_OTHER, -ENOMEM, path, "out of memory; try again");
	else if (error == -EBADMSG)
		rfs_refuse(fs, req, RFS_OP_OTHER, -EIO, path,
			   "%s is damaged; its bytes stay reserved; unmount and run fsck.reservefs", what);
	else
		rfs_refuse(fs, req, RFS_OP_OTHER, -EIO, path,
			   "%s cannot be read; see to the disk of the Datastore and try again", what);
}

static void reply_lookup(struct rfs_fs *fs, fuse_req_t req, int rc, struct rfs_contract *contract, bool size, const char *name)
{
	char path[RFS_PATH_MAX], record[RFS_PATH_MAX + 64], shown[4 * RFS_NAME_MAX + 1];

	if (rc == 0) {
		rfs_reply_contract(fs, req, contract, size);
	} else if (rc == -ENOENT) {
		reply_nothing(req);
	} else {
		rfs_node_path(fs, RFS_INO_RESERVATIONS, name, path);
		rfs_utf8_escape(name, shown, sizeof shown);
		(void) snprintf(record, sizeof record, "the record \"contract/%s\" in the Datastore", shown);
		refuse_unread(fs, req, path, rc, record);
	}
}

static void lookup_job(struct rfs_fs *fs, struct rfs_job *job)
{
	struct rfs_contract *c = NULL;
	int rc = rfs_reservations_lookup(fs->reservations, job->name, &c);

	if (rfs_job_claim(fs, job))
		reply_lookup(fs, job->req, rc, c, false, job->name);
	else if (rc == 0)
		rfs_contract_unref(c);
}

/* A file handle from before the kernel forgot the inode, or from before a restart. */
static void lookup_self_job(struct rfs_fs *fs, struct rfs_job *job)
{
	struct rfs_contract *c = NULL;
	int rc = rfs_reservations_lookup_id(fs->reservations, job->ino / 2, &c);

	if (!rfs_job_claim(fs, job))
		rfs_contract_unref(c);
	else if (rc == 0)
		rfs_reply_contract(fs, job->req, c, rfs_ino_is_size(job->ino));
	else
		fuse_reply_err(job->req, rc == -ENOENT ? ESTALE : -rc);
}

static void lookup_ino(struct rfs_fs *fs, fuse_req_t req, fuse_ino_t ino)
{
	if (ino < RFS_INO_FIXED_END)
		reply_fixed(fs, req, ino);
	else
		rfs_job_look_up(fs, req, lookup_self_job, ino, "", 0, 0, false);
}

static fuse_ino_t parent_of(fuse_ino_t ino)
{
	if (rfs_ino_is_size(ino))
		return ino - 1;
	return rfs_ino_is_contract_dir(ino) ? RFS_INO_RESERVATIONS : RFS_INO_ROOT;
}

static void lookup_in_root(struct rfs_fs *fs, fuse_req_t req, const char *name)
{
	for (size_t i = 0; i < rfs_root_entry_count; i++) {
		if (strcmp(name, rfs_root_entries[i].name) == 0) {
			reply_fixed(fs, req, rfs_root_entries[i].ino);
			return;
		}
	}
	reply_nothing(req);
}

static void lookup_in_reservations(struct rfs_fs *fs, fuse_req_t req, const char *name)
{
	struct rfs_contract *c = NULL;
	int rc = rfs_reservations_peek(fs->reservations, name, &c);

	if (rc == -EAGAIN)
		rfs_job_look_up(fs, req, lookup_job, RFS_INO_RESERVATIONS, name, 0, 0, false);
	else
		reply_lookup(fs, req, rc, c, false, name);
}

static void lookup_in_contract(struct rfs_fs *fs, fuse_req_t req, fuse_ino_t ino, const char *name)
{
	struct rfs_contract *c = NULL;
	int rc;

	if (strcmp(name, "size") != 0) {
		reply_nothing(req);
		return;
	}
	if (rfs_is_hidden(fs, ino + 1)) {
		/* It is back within a second: the kernel must ask again. */
		fuse_reply_err(req, ENOENT);
		return;
	}
	rc = rfs_node_contract(fs, ino, &c);
	if (rc < 0)
		fuse_reply_err(req, -rc);
	else
		rfs_reply_contract(fs, req, c, true);
}

void rfs_op_lookup(fuse_req_t req, fuse_ino_t parent, const char *name)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	char path[RFS_PATH_MAX];

	if (strcmp(name, ".") == 0) {
		lookup_ino(fs, req, parent);
	} else if (strcmp(name, "..") == 0) {
		lookup_ino(fs, req, parent_of(parent));
	} else if (strlen(name) > RFS_NAME_MAX) {
		char cut[RFS_NAME_MAX + 1] = "";
		memcpy(cut, name, RFS_NAME_MAX);
		rfs_node_path(fs, parent, cut, path);
		rfs_refuse(fs, req, RFS_OP_OTHER, -ENAMETOOLONG, path, "the name is too long; use at most %d bytes",
			   RFS_NAME_MAX);
	} else if (parent == RFS_INO_ROOT) {
		lookup_in_root(fs, req, name);
	} else if (parent == RFS_INO_RESERVATIONS) {
		lookup_in_reservations(fs, req, name);
	} else if (rfs_ino_is_contract_dir(parent)) {
		lookup_in_contract(fs, req, parent, name);
	} else {
		fuse_reply_err(req, ENOTDIR);
	}
}

static void forget(struct rfs_fs *fs, fuse_ino_t ino, uint64_t count)
{
	if (rfs_ino_is_contract(ino))
		rfs_reservations_unpin_id(fs->reservations, ino / 2, count);
}

void rfs_op_forget(fuse_req_t req, fuse_ino_t ino, uint64_t count)
{
	forget(rfs_fs_of(req), ino, count);
	fuse_reply_none(req);
}

void rfs_op_forget_multi(fuse_req_t req, size_t count, struct fuse_forget_data *forgets)
{
	for (size_t i = 0; i < count; i++)
		forget(rfs_fs_of(req), forgets[i].ino, forgets[i].nlookup);
	fuse_reply_none(req);
}

void rfs_op_opendir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	if (rfs_ino_is_dir(ino))
		fuse_reply_open(req, fi);
	else
		fuse_reply_err(req, ENOTDIR);
}

void rfs_op_releasedir(fuse_req_t req, fuse_ino_t ino, struct fuse_file_info *fi)
{
	(void) ino;
	(void) fi;
	fuse_reply_err(req, 0);
}

void rfs_op_fsyncdir(fuse_req_t req, fuse_ino_t ino, int datasync, struct fuse_file_info *fi)
{
	(void) ino;
	(void) datasync;
	(void) fi;
	rfs_change_sync(rfs_fs_of(req), req);
}

/* An answer to a listing that is being filled. */
struct page {
	struct rfs_fs *fs;
	fuse_req_t req;
	char *data;
	size_t size, used;
	bool plus;
};

/* Adds an entry of which the kernel learns only inode number and type. False: it does not fit. */
static bool add_plain(struct page *page, const char *name, fuse_ino_t ino, mode_t mode, off_t offset)
{
	struct fuse_entry_param entry = { .attr = { .st_ino = ino, .st_mode = mode } };
	size_t room = page->size - page->used, need;

	if (page->plus)
		need = fuse_add_direntry_plus(page->req, page->data + page->used, room, name, &entry, offset);
	else
		need = fuse_add_direntry(page->req, page->data + page->used, room, name, &entry.attr, offset);
	if (need > room)
		return false;
	page->used += need;
	return true;
}

static void list_root(struct page *page, off_t offset)
{
	if (offset < OFFSET_DOT && !add_plain(page, ".", RFS_INO_ROOT, S_IFDIR, OFFSET_DOT))
		return;
	if (offset < OFFSET_DOTDOT && !add_plain(page, "..", RFS_INO_ROOT, S_IFDIR, OFFSET_DOTDOT))
		return;
	for (size_t i = offset > OFFSET_DOTDOT ? (size_t) (offset - OFFSET_DOTDOT) : 0; i < rfs_root_entry_count; i++) {
		const struct rfs_fixed *f = &rfs_root_entries[i];
		if (!add_plain(page, f->name, f->ino, rfs_ino_is_dir(f->ino) ? S_IFDIR : S_IFREG,
			       OFFSET_DOTDOT + 1 + (off_t) i))
			return;
	}
}

static void list_contract(struct page *page, fuse_ino_t ino, off_t offset)
{
	if (offset < OFFSET_DOT && !add_plain(page, ".", ino, S_IFDIR, OFFSET_DOT))
		return;
	if (offset < OFFSET_DOTDOT && !add_plain(page, "..", RFS_INO_RESERVATIONS, S_IFDIR, OFFSET_DOTDOT))
		return;
	if (offset <= OFFSET_DOTDOT && !rfs_is_hidden(page->fs, ino + 1))
		(void) add_plain(page, "size", ino + 1, S_IFREG, OFFSET_DOTDOT + 1);
}

static int list_one(void *user, uint64_t id, const char *name)
{
	return add_plain(user, name, rfs_ino_of(id, false), S_IFDIR, (off_t) id) ? 0 : 1;
}

/* What a listing with attributes holds, until it is known whether the kernel got it. */
struct told {
	uint64_t id;
	char *name;
	struct rfs_contract *contract; /* pinned once and referenced, or NULL */
};

struct telling {
	struct told *told;
	size_t count, most;
};

static int collect_one(void *user, uint64_t id, const char *name)
{
	struct telling *t = user;

	if (t->count == t->most)
		return 1;
	t->told[t->count] = (struct told) { .id = id, .name = strdup(name) };
	return t->told[t->count].name ? (t->count++, 0) : -ENOMEM;
}

/* Adds one contract with its attributes; one that cannot be read is listed without. False: it does not fit. */
static bool add_told(struct page *page, struct told *told)
{
	struct fuse_entry_param entry;
	struct rfs_contract *c = NULL;
	size_t room = page->size - page->used, need;
	int rc = rfs_reservations_lookup(page->fs->reservations, told->name, &c);

	if (rc == 0)
		rc = rfs_fill_entry(page->fs, c, false, &entry);
	if (rc == -ENOENT || rc == -ENODEV) {
		rfs_contract_unref(c);
		return true; /* removed meanwhile */
	}
	if (rc < 0) {
		rfs_contract_unref(c);
		return add_plain(page, told->name, rfs_ino_of(told->id, false), S_IFDIR, (off_t) told->id);
	}
	need = fuse_add_direntry_plus(page->req, page->data + page->used, room, told->name, &entry, (off_t) told->id);
	if (need > room) {
		rfs_contract_unref(c);
		return false;
	}
	page->used += need;
	rfs_contract_pin(c);
	told->contract = c;
	return true;
}

static int list_with_attributes(struct page *page, struct telling *t, uint64_t after_id, struct rfs_why *why)
{
	size_t before = page->used;
	int rc;

	t->most = (page->size - page->used) / fuse_add_direntry_plus(page->req, NULL, 0, "n", NULL, 0);
	t->told = calloc(t->most + 1, sizeof *t->told);
	if (!t->told)
		return -ENOMEM;
	/* An answer with nothing in it is the end of the directory: where all of a page was removed meanwhile, the next is told. */
	for (;;) {
		bool fits = true;
		rc = rfs_reservations_list(page->fs->reservations, after_id, collect_one, t, why);
		for (size_t i = 0; fits && i < t->count; i++)
			fits = add_told(page, &t->told[i]);
		if (rc < 0 || !fits || page->used > before || t->count == 0 || t->count < t->most)
			return rc;
		after_id = t->told[t->count - 1].id;
		while (t->count > 0)
			free(t->told[--t->count].name);
	}
}

static void end_telling(struct telling *t, bool kernel_knows)
{
	for (size_t i = 0; i < t->count; i++) {
		if (t->told[i].contract && !kernel_knows)
			rfs_contract_unpin(t->told[i].contract, 1);
		rfs_contract_unref(t->told[i].contract);
		free(t->told[i].name);
	}
	free(t->told);
}

static void list_reservations_job(struct rfs_fs *fs, struct rfs_job *job)
{
	_cleanup_free_ char *data = malloc(job->size);
	struct page page = { .fs = fs, .req = job->req, .data = data, .size = job->size, .plus = job->plus };
	struct telling telling = { .count = 0 };
	uint64_t after_id = job->offset > OFFSET_DOTDOT ? (uint64_t) job->offset : 0;
	struct rfs_why why = { .text = "" };
	int rc = data ? 0 : -ENOMEM;

	if (rc == 0 && job->offset < OFFSET_DOT)
		(void) add_plain(&page, ".", RFS_INO_RESERVATIONS, S_IFDIR, OFFSET_DOT);
	if (rc == 0 && job->offset < OFFSET_DOTDOT)
		(void) add_plain(&page, "..", RFS_INO_ROOT, S_IFDIR, OFFSET_DOTDOT);
	if (rc == 0)
		rc = job->plus ? list_with_attributes(&page, &telling, after_id, &why)
			       : rfs_reservations_list(fs->reservations, after_id, list_one, &page, &why);
	if (!rfs_job_claim(fs, job)) {
		end_telling(&telling, false);
		return;
	}
	/* What was listed before a damaged record is told first; the next call comes to it again. */
	if (rc == 0 || page.used > 0) {
		end_telling(&telling, fuse_reply_buf(job->req, page.data, page.used) == 0);
	} else {
		end_telling(&telling, false);
		refuse_unread(fs, job->req, "reservations", rc, rc == -EBADMSG ? why.text : "the list of contracts");
	}
}

static void readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, bool plus)
{
	struct rfs_fs *fs = rfs_fs_of(req);
	char data[1024];
	struct page page = { .fs = fs, .req = req, .data = data, .plus = plus };

	size = size < LISTING_MOST ? size : LISTING_MOST;
	page.size = size < sizeof data ? size : sizeof data;
	if (offset < 0) {
		fuse_reply_err(req, EINVAL);
	} else if (ino == RFS_INO_RESERVATIONS) {
		rfs_job_look_up(fs, req, list_reservations_job, ino, "", size, offset, plus);
	} else if (rfs_ino_is_dir(ino)) {
		if (ino == RFS_INO_ROOT)
			list_root(&page, offset);
		else
			list_contract(&page, ino, offset);
		fuse_reply_buf(req, page.data, page.used);
	} else {
		fuse_reply_err(req, ENOTDIR);
	}
}

void rfs_op_readdir(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void) fi;
	readdir(req, ino, size, offset, false);
}

void rfs_op_readdirplus(fuse_req_t req, fuse_ino_t ino, size_t size, off_t offset, struct fuse_file_info *fi)
{
	(void) fi;
	readdir(req, ino, size, offset, true);
}
