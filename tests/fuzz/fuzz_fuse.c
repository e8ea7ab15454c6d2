/* SPDX-License-Identifier: MIT */
/*
 * fuzz_fuse.c: every request of the FUSE protocol, with any arguments, over a socket. Lengths and terminators are well-formed,
 * as the kernel's are; everything else is what the input says. Each request that wants a reply gets exactly one, nothing
 * else is replied to, and when all is done the figures add up.
 */
#include "fuzz.h"
#include "wire.h"

#include <string.h>

#include "util/log.h"

#define CAPACITY (UINT64_C(1) << 40)
#define REQUESTS_MOST 96
/* So few that neither side of the socket ever waits for the other. */
#define PENDING_MOST 8
#define DEADLINE_MS 20000
#define DATA_MOST 5000

struct input {
	const uint8_t *data;
	size_t left;
};

/* What a request may be answered with. */
enum expected { NOTHING, AT_MOST_ONE, EXACTLY_ONE };

struct run {
	struct input in;
	struct wire wire;
	enum expected expected[2 * REQUESTS_MOST + 8]; /* by unique; NOTHING when the reply is there */
	uint64_t last_unique;
	size_t pending, interrupts;
	bool left; /* it has been said goodbye, and may not have been greeted again */
};

static uint8_t byte(struct input *in)
{
	if (in->left == 0)
		return 0;
	in->left--;
	return *in->data++;
}

static uint64_t number(struct input *in, size_t bytes)
{
	uint64_t n = 0;

	while (bytes-- > 0)
		n = n << 8 | byte(in);
	return n;
}

/* Mostly small ones, or the ends of what there is. */
static uint64_t amount(struct input *in)
{
	uint8_t b = byte(in);

	if (b < 0xf0)
		return b;
	switch (b) {
	case 0xf0:
		return UINT64_MAX;
	case 0xf1:
		return INT64_MAX;
	case 0xf2:
		return UINT64_C(1) << 63;
	case 0xf3:
		return UINT32_MAX;
	case 0xf4:
		return 4096;
	default:
		return number(in, 8);
	}
}

/* The fixed entries, the first contracts and what is in them, and some that cannot be. */
static uint64_t node(struct input *in)
{
	static const uint64_t forged[] = {
		UINT64_MAX, UINT64_C(1) << 63, 2 * RFS_CONTRACT_ID_END, 2 * RFS_CONTRACT_ID_END + 1, 1000, 1001, 0, 15,
	};
	uint8_t b = byte(in);

	if (b < 0x40)
		return b % 32;
	if (b < 0xa0)
		return 8; /* reservations/ */
	if (b < 0xf8)
		return 2 * RFS_CONTRACT_ID_FIRST + b % 8;
	return forged[b - 0xf8];
}

static size_t name(struct input *in, char *ret_name)
{
	static const char *const known[] = {
		"c1", "c2", "c3", "size", "available", "last_error", "reservations", " ", ".", "..", ".hidden", "a/b",
		"\xff\xfe", "line\nbreak", "\xc3\xa9\xe2\x82\xac", "status",
	};
	uint8_t b = byte(in);
	size_t length;

	if (b < 0xe0) {
		strcpy(ret_name, known[b % 16]);
	} else if (b < 0xf0) {
		length = 240 + b % 32u;
		memset(ret_name, 'x', length);
		ret_name[length] = '\0';
	} else {
		length = byte(in) % 32;
		for (size_t i = 0; i < length; i++)
			ret_name[i] = (char) byte(in);
		ret_name[length] = '\0';
	}
	return strlen(ret_name) + 1;
}

static size_t value(struct input *in, char *ret_value)
{
	static const char *const known[] = { "1\n", "0", "max\n", "10G", "1T", "-1", "", " ", "8E", "512\n" };
	uint8_t b = byte(in);
	size_t length;

	if (b < 0xc0) {
		strcpy(ret_value, known[b % 10]);
		return strlen(ret_value);
	}
	if (b >= 0xf0) {
		memset(ret_value, b & 1 ? ' ' : '0', DATA_MOST);
		return 4090 + b % 16;
	}
	length = byte(in) % 64;
	for (size_t i = 0; i < length; i++)
		ret_value[i] = (char) byte(in);
	return length;
}

/* Fills a struct of the protocol with what the input says, in pieces of 4 bytes that are mostly small. */
static size_t any(struct input *in, void *ret_struct, size_t size)
{
	for (size_t at = 0; at + 4 <= size; at += 4) {
		uint32_t n = (uint32_t) amount(in);
		memcpy((char *) ret_struct + at, &n, 4);
	}
	return size;
}

static size_t with_names(struct input *in, char *argument, size_t size, int names)
{
	any(in, argument, size);
	while (names-- > 0)
		size += name(in, argument + size);
	return size;
}

static size_t write_argument(struct input *in, char *argument)
{
	struct fuse_write_in *w = (struct fuse_write_in *) argument;

	w->fh = amount(in);
	w->offset = amount(in);
	w->write_flags = byte(in);
	w->flags = byte(in) < 0xf0 ? 1 : (uint32_t) amount(in);
	w->size = (uint32_t) value(in, argument + sizeof(*w));
	return sizeof(*w) + w->size;
}

static size_t read_argument(struct input *in, char *argument)
{
	struct fuse_read_in *r = (struct fuse_read_in *) argument;

	r->fh = amount(in);
	r->offset = amount(in);
	/* no answer is asked for that does not fit in a message */
	r->size = (uint32_t) (amount(in) % 32768);
	r->flags = (uint32_t) amount(in);
	return sizeof(*r);
}

static size_t forget_argument(struct input *in, char *argument)
{
	struct fuse_batch_forget_in *b = (struct fuse_batch_forget_in *) argument;
	struct fuse_forget_one *ones = (struct fuse_forget_one *) (b + 1);

	b->count = byte(in) % 16;
	for (uint32_t i = 0; i < b->count; i++)
		ones[i] = (struct fuse_forget_one) { .nodeid = node(in), .nlookup = amount(in) };
	return sizeof(*b) + b->count * sizeof(*ones);
}

/* As long as the opcode has it; what has no argument, or is no opcode, gets any bytes. */
static size_t make_argument(struct run *run, uint32_t opcode, char *argument)
{
	struct input *in = &run->in;

	switch (opcode) {
	case FUSE_LOOKUP:
	case FUSE_UNLINK:
	case FUSE_RMDIR:
	case FUSE_REMOVEXATTR:
		return with_names(in, argument, 0, 1);
	case FUSE_SYMLINK:
		return with_names(in, argument, 0, 2);
	case FUSE_MKNOD:
		return with_names(in, argument, sizeof(struct fuse_mknod_in), 1);
	case FUSE_MKDIR:
		return with_names(in, argument, sizeof(struct fuse_mkdir_in), 1);
	case FUSE_CREATE:
		return with_names(in, argument, sizeof(struct fuse_create_in), 1);
	case FUSE_LINK:
		((struct fuse_link_in *) argument)->oldnodeid = node(in);
		return sizeof(struct fuse_link_in) + name(in, argument + sizeof(struct fuse_link_in));
	case FUSE_RENAME:
		((struct fuse_rename_in *) argument)->newdir = node(in);
		return sizeof(struct fuse_rename_in) + with_names(in, argument + sizeof(struct fuse_rename_in), 0, 2);
	case FUSE_RENAME2:
		*(struct fuse_rename2_in *) argument = (struct fuse_rename2_in) { .newdir = node(in), .flags = byte(in) % 8 };
		return sizeof(struct fuse_rename2_in) + with_names(in, argument + sizeof(struct fuse_rename2_in), 0, 2);
	case FUSE_WRITE:
		return write_argument(in, argument);
	case FUSE_READ:
	case FUSE_READDIR:
	case FUSE_READDIRPLUS:
		return read_argument(in, argument);
	case FUSE_BATCH_FORGET:
		return forget_argument(in, argument);
	case FUSE_INTERRUPT:
		/* one of those before, or the next one */
		*(uint64_t *) (void *) argument = run->last_unique - byte(in) % 8 + 1;
		return sizeof(struct fuse_interrupt_in);
	case FUSE_GETXATTR:
	case FUSE_LISTXATTR:
		return with_names(in, argument, sizeof(struct fuse_getxattr_in), 1);
	case FUSE_SETXATTR:
		return with_names(in, argument, sizeof(struct fuse_setxattr_in), 2);
	case FUSE_INIT:
		return any(in, argument, sizeof(struct fuse_init_in));
	default:
		/* the longest of the others is that of SETATTR; who reads less does not mind */
		return any(in, argument, sizeof(struct fuse_setattr_in));
	}
}

static enum expected expected_for(const struct run *run, uint32_t opcode)
{
	switch (opcode) {
	case FUSE_FORGET:
	case FUSE_BATCH_FORGET:
		/* before a greeting they are refused, as everything is */
		return run->left ? AT_MOST_ONE : NOTHING;
	case FUSE_INTERRUPT:
		return AT_MOST_ONE;
	default:
		return EXACTLY_ONE;
	}
}

static void take_reply(struct run *run, const struct wire_reply *reply)
{
	uint64_t unique = reply->header.unique;

	if (unique == 0)
		return;
	CHECK(unique <= run->last_unique);
	CHECK(run->expected[unique] != NOTHING);
	if (run->expected[unique] == EXACTLY_ONE)
		run->pending--;
	run->expected[unique] = NOTHING;
}

static void drain(struct run *run, size_t pending_most)
{
	static struct wire_reply reply;

	while (run->pending > pending_most) {
		CHECK(wire_receive(&run->wire, DEADLINE_MS, &reply));
		take_reply(run, &reply);
	}
	while (wire_receive(&run->wire, 0, &reply))
		take_reply(run, &reply);
}

static void request(struct run *run, struct fuse_in_header header, const void *argument, size_t size)
{
	enum expected expected = expected_for(run, header.opcode);

	header.unique = ++run->last_unique;
	run->expected[header.unique] = expected;
	run->pending += expected == EXACTLY_ONE;
	wire_send(&run->wire, header, argument, size);
}

/* libfuse takes whole messages of the kernel's, which says goodbye only once, and waits for all replies before. */
static void goodbye(struct run *run)
{
	drain(run, 0);
	request(run, (struct fuse_in_header) { .opcode = FUSE_DESTROY }, NULL, 0);
	drain(run, 0);
	run->left = true;
}

static void any_request(struct run *run)
{
	/* aligned like the structs that are put there */
	static union {
		uint64_t align;
		char bytes[2 * DATA_MOST];
	} argument;
	struct input *in = &run->in;
	uint32_t opcode = byte(in);
	struct fuse_in_header header = {
		.opcode = opcode < 0xf0 ? opcode % 56 : (uint32_t) amount(in),
		.nodeid = node(in),
		.uid = byte(in) % 4,
	};

	if (header.opcode == FUSE_DESTROY) {
		goodbye(run);
		return;
	}
	/* The answer to a question that is never asked; libfuse keeps it for ever. */
	if (header.opcode == FUSE_NOTIFY_REPLY)
		return;
	memset(&argument, 0, sizeof(argument));
	size_t size = make_argument(run, header.opcode, argument.bytes);
	run->interrupts += header.opcode == FUSE_INTERRUPT;
	request(run, header, argument.bytes, size);
	drain(run, byte(in) & 1 ? PENDING_MOST : 0);
}

/* An interrupt of nothing waits for a request that it could mean, and is sent back by each one that it does not. */
static void finish(struct run *run)
{
	const struct fuse_init_in init = { .major = FUSE_KERNEL_VERSION, .minor = 36 };

	if (run->left) {
		request(run, (struct fuse_in_header) { .opcode = FUSE_INIT }, &init, sizeof(init));
		drain(run, 0);
	}
	for (size_t i = 0; i <= run->interrupts; i++) {
		request(run, (struct fuse_in_header) { .opcode = FUSE_STATFS, .nodeid = FUSE_ROOT_ID }, NULL, 0);
		drain(run, 0);
	}
}

struct sum {
	uint64_t ids[REQUESTS_MOST + 1];
	size_t count;
};

static int note(void *user, uint64_t id, const char *contract)
{
	struct sum *sum = user;

	CHECK(rfs_name_check(contract) == 0);
	CHECK(sum->count < REQUESTS_MOST);
	sum->ids[sum->count++] = id;
	return 0;
}

static void check_figures(struct rfs_reservations *r)
{
	struct rfs_figures figures;
	struct rfs_totals totals;
	struct rfs_contract_stat stat;
	struct rfs_contract *c;
	static struct sum sum;
	uint64_t held = 0;

	sum.count = 0;
	CHECK(rfs_reservations_list(r, 0, note, &sum, NULL) == 0);
	for (size_t i = 0; i < sum.count; i++) {
		CHECK(rfs_reservations_lookup_id(r, sum.ids[i], &c) == 0);
		CHECK(rfs_contract_stat(c, &stat) == 0);
		held += stat.size_bytes;
		rfs_contract_unref(c);
	}
	rfs_reservations_figures(r, &figures, &totals);
	CHECK(totals.contracts == sum.count);
	CHECK(totals.reserved_bytes == held && figures.reserved == held);
	CHECK(figures.available + held == CAPACITY);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct run run = { .in = { .data = data, .left = size } };
	struct rfs_datastore *ds;
	struct rfs_repo *repo;

	rfs_log_set_level(LOG_ERR);
	CHECK(rfs_datastore_open_memory(&ds) == 0);
	CHECK(rfs_repo_open_quota(CAPACITY, &repo) == 0);
	wire_open(&run.wire, ds, repo);
	wire_greet(&run.wire, ++run.last_unique, number(&run.in, 2) * UINT64_C(0x0001000100010001));
	for (int i = 0; i < REQUESTS_MOST && run.in.left > 0; i++)
		any_request(&run);
	finish(&run);
	wire_hang_up(&run.wire);
	drain(&run, 0); /* nothing more than was asked for */
	check_figures(run.wire.reservations);
	wire_close(&run.wire);
	return 0;
}
