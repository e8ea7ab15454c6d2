/* SPDX-License-Identifier: MIT */
/*
 * crash_load.c: the clients. Invariant: a note is begun before its system call and ended after it, so a change that has no
 * answered note was never answered. A client that meets a dead daemon stops at once: its last note may be unanswered.
 */
#include "crash_load.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

/* Inodes beyond this are not watched for reuse. */
#define INODES (UINT64_C(1) << 30)

uint64_t load_random(uint64_t *state)
{
	uint64_t z = (*state += UINT64_C(0x9e3779b97f4a7c15));
	z = (z ^ z >> 30) * UINT64_C(0xbf58476d1ce4e5b9);
	z = (z ^ z >> 27) * UINT64_C(0x94d049bb133111eb);
	return z ^ z >> 31;
}

int64_t load_now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

void load_name(const struct load_client *c, unsigned slot, char ret_name[32])
{
	snprintf(ret_name, 32, "c%u-%u", c->number, slot);
}

void load_apply(struct load_state *s, const struct load_note *n)
{
	switch (n->op) {
	case LOAD_MKDIR:
		s->slots[n->slot].inode = n->inode;
		s->slots[n->slot].size_bytes = 0;
		break;
	case LOAD_WRITE:
		s->slots[n->slot].size_bytes = n->size_bytes;
		break;
	case LOAD_RMDIR:
		memset(&s->slots[n->slot], 0, sizeof s->slots[0]);
		break;
	case LOAD_RENAME:
		s->slots[n->new_slot] = s->slots[n->slot];
		memset(&s->slots[n->slot], 0, sizeof s->slots[0]);
		break;
	default:
		break;
	}
}

/* What a request to a daemon that is gone is answered with. */
static bool is_gone(int error)
{
	return error == ENOTCONN || error == ECONNABORTED || error == ECONNREFUSED;
}

static struct load_note *begin(struct load_client *c, enum load_op op, unsigned slot)
{
	struct load_note *n = &c->notes[c->count++];
	*n = (struct load_note){ .op = op, .slot = slot, .inode = 1, .start_ns = load_now_ns() };
	return n;
}

/* Notes the answer. False: there was none, the daemon is gone. */
static bool end(struct load_client *c, struct load_note *n, int error)
{
	n->end_ns = load_now_ns();
	if (is_gone(error))
		return false;
	n->answered = true;
	n->error = error;
	c->load->answers++;
	return true;
}

/* An answer that is neither success nor the one refusal that is possible now. */
static void expect(struct load_client *c, const struct load_note *n, int right)
{
	if (n->error == right || c->surprise[0])
		return;
	if (n->op == LOAD_WRITE && right == 0 && n->error == ENOSPC)
		return;
	if (n->op == LOAD_UNLINK && n->error == ENOENT)
		return; /* it has been hidden already */
	snprintf(c->surprise, sizeof c->surprise, "client %u, operation %d on its contract %u was answered %s, right is %s",
		 c->number, (int) n->op, n->slot, strerror(n->error), strerror(right));
}

static int open_size(struct load_client *c, const char *name, int flags)
{
	char path[64];
	snprintf(path, sizeof path, "%s/size", name);
	return openat(c->load->reservations, path, flags | O_CLOEXEC, 0644);
}

static int write_size(struct load_client *c, const char *name, uint64_t size_bytes)
{
	char text[32];
	int fd = open_size(c, name, O_WRONLY | O_CREAT | O_TRUNC); /* it may just have been unlinked */
	if (fd < 0)
		return errno;
	int length = size_bytes == LOAD_ANY ? snprintf(text, sizeof text, "max\n")
					    : snprintf(text, sizeof text, "%" PRIu64 "\n", size_bytes);
	int error = write(fd, text, (size_t) length) == length ? 0 : errno;
	close(fd);
	return error;
}

static int read_size(struct load_client *c, const char *name, uint64_t *ret_bytes)
{
	char text[32];
	int fd = open_size(c, name, O_RDONLY);
	if (fd < 0)
		return errno;
	ssize_t length = read(fd, text, sizeof text - 1);
	int error = length < 0 ? errno : 0;
	close(fd);
	if (error)
		return error;
	text[length] = 0;
	*ret_bytes = strtoull(text, NULL, 10);
	return 0;
}

static void note_inode(struct load_client *c, struct load_note *n, const char *name)
{
	struct stat st;

	if (fstatat(c->load->reservations, name, &st, 0) < 0)
		return;
	n->inode = st.st_ino;
	if (st.st_ino >= INODES)
		return;
	/* Contracts of two clients can share a byte. */
	unsigned char bit = (unsigned char) (1u << st.st_ino % 8);
	if (__atomic_fetch_or(&c->load->inodes[st.st_ino / 8], bit, __ATOMIC_RELAXED) & bit)
		snprintf(c->surprise, sizeof c->surprise, "inode %" PRIu64 " was given twice", n->inode);
}

static bool do_mkdir(struct load_client *c, unsigned slot)
{
	char name[32];
	bool there = c->state.slots[slot].inode != 0;

	load_name(c, slot, name);
	struct load_note *n = begin(c, LOAD_MKDIR, slot);
	if (!end(c, n, mkdirat(c->load->reservations, name, 0755) < 0 ? errno : 0))
		return false;
	expect(c, n, there ? EEXIST : 0);
	if (n->error == 0)
		note_inode(c, n, name);
	return true;
}

static bool do_write(struct load_client *c, unsigned slot, uint64_t size_bytes)
{
	char name[32];
	uint64_t old = c->state.slots[slot].size_bytes, now;

	load_name(c, slot, name);
	struct load_note *n = begin(c, LOAD_WRITE, slot);
	n->size_bytes = size_bytes;
	if (!end(c, n, write_size(c, name, size_bytes)))
		return false;
	expect(c, n, c->state.slots[slot].inode ? 0 : ENOENT);
	if (n->error)
		return true;
	n->hard = size_bytes != old && old != LOAD_ANY && size_bytes != LOAD_ANY;
	if (read_size(c, name, &now) != 0)
		return true;
	if (size_bytes != LOAD_ANY && now != size_bytes)
		snprintf(c->surprise, sizeof c->surprise, "%s was answered %" PRIu64 " and reads %" PRIu64, name, size_bytes, now);
	n->size_bytes = now;
	n->hard = now != old && old != LOAD_ANY;
	return true;
}

/* Changes nothing. */
static bool do_unlink(struct load_client *c, unsigned slot)
{
	char path[64], name[32];

	load_name(c, slot, name);
	snprintf(path, sizeof path, "%s/size", name);
	struct load_note *n = begin(c, LOAD_UNLINK, slot);
	if (!end(c, n, unlinkat(c->load->reservations, path, 0) < 0 ? errno : 0))
		return false;
	expect(c, n, c->state.slots[slot].inode ? 0 : ENOENT);
	return true;
}

static bool do_rmdir(struct load_client *c, unsigned slot)
{
	char name[32];

	load_name(c, slot, name);
	struct load_note *n = begin(c, LOAD_RMDIR, slot);
	if (!end(c, n, unlinkat(c->load->reservations, name, AT_REMOVEDIR) < 0 ? errno : 0))
		return false;
	expect(c, n, c->state.slots[slot].inode ? 0 : ENOENT);
	n->hard = n->error == 0 && c->state.slots[slot].size_bytes != 0;
	return true;
}

static bool do_rename(struct load_client *c, unsigned slot, unsigned new_slot)
{
	char name[32], new_name[32];

	load_name(c, slot, name);
	load_name(c, new_slot, new_name);
	struct load_note *n = begin(c, LOAD_RENAME, slot);
	n->new_slot = new_slot;
	if (!end(c, n, renameat(c->load->reservations, name, c->load->reservations, new_name) < 0 ? errno : 0))
		return false;
	expect(c, n, !c->state.slots[slot].inode ? ENOENT : c->state.slots[new_slot].inode ? EEXIST : 0);
	n->hard = n->error == 0;
	return true;
}

static bool do_fsync(struct load_client *c)
{
	struct load_note *n = begin(c, LOAD_FSYNC, 0);
	int fd = openat(c->load->reservations, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	int error = fd < 0 || fsync(fd) < 0 ? errno : 0;
	if (fd >= 0)
		close(fd);
	if (!end(c, n, error))
		return false;
	expect(c, n, 0);
	n->hard = n->error == 0;
	return true;
}

/* Each value is written once, and so tells which write it is from. */
static bool do_shared_write(struct load_client *c)
{
	uint64_t value = ++c->load->next_shared;
	struct load_note *n = begin(c, LOAD_SHARED_WRITE, 0);
	n->size_bytes = value;
	if (!end(c, n, write_size(c, LOAD_SHARED, value)))
		return false;
	if (n->error != ENOSPC)
		expect(c, n, 0);
	n->hard = n->error == 0;
	return true;
}

static bool do_shared_read(struct load_client *c)
{
	uint64_t value = 0;
	struct load_note *n = begin(c, LOAD_SHARED_READ, 0);
	int error = read_size(c, LOAD_SHARED, &value);
	n->size_bytes = value;
	return end(c, n, error);
}

/* Mostly changes that must wait for the disk. */
static bool do_something(struct load_client *c)
{
	unsigned slot = (unsigned) (load_random(&c->random) % LOAD_SLOTS);
	uint64_t size = load_random(&c->random) % 16 == 0 ? LOAD_ANY : load_random(&c->random) % (LOAD_CAPACITY / 8);

	switch (load_random(&c->random) % 20) {
	case 0:
	case 1:
	case 2:
		return do_mkdir(c, slot);
	case 3:
	case 4:
		return do_rmdir(c, slot);
	case 5:
	case 6:
		return do_unlink(c, slot);
	case 7:
	case 8:
		return do_rename(c, slot, (slot + 1 + (unsigned) (load_random(&c->random) % (LOAD_SLOTS - 1))) % LOAD_SLOTS);
	case 9:
		return load_random(&c->random) % 4 ? do_write(c, slot, 0) : do_fsync(c);
	case 10:
		return do_shared_read(c);
	case 11:
	case 12:
		return do_shared_write(c);
	default:
		return do_write(c, slot, size);
	}
}

static void *client_main(void *user)
{
	struct load_client *c = user;

	while (!c->load->over && c->count < LOAD_NOTES && !c->surprise[0] && do_something(c)) {
		const struct load_note *last = &c->notes[c->count - 1];
		if (last->error == 0)
			load_apply(&c->state, last);
	}
	return NULL;
}

void load_begin(struct load *load)
{
	load->answers = 0;
	load->over = false;
	for (unsigned i = 0; i < LOAD_CLIENTS; i++) {
		struct load_client *c = &load->clients[i];
		c->load = load;
		c->number = i;
		c->state = c->start;
		c->count = 0;
		if (pthread_create(&c->thread, NULL, client_main, c) != 0)
			abort();
	}
}

void load_end(struct load *load)
{
	for (unsigned i = 0; i < LOAD_CLIENTS; i++)
		pthread_join(load->clients[i].thread, NULL);
}
