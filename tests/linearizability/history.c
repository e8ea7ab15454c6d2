/* SPDX-License-Identifier: MIT */
/*
 * history.c: histories as text, to and fro. What is written is read back as the same history.
 */
#include "history.h"

#include <errno.h>
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#define WORDS_MAX 16

/* What stands where in the line of one kind of request. */
struct op_text {
	const char *name;
	const char *arguments; /* n: name, m: new name, i: id, a: amount */
	unsigned values;       /* of an answer `ok` */
};

static const struct op_text op_texts[OP_COUNT] = {
	[OP_CREATE] = { "create", "n", 1 },       [OP_FIND] = { "find", "n", 1 },
	[OP_RESIZE] = { "resize", "ia", 2 },      [OP_SIZE] = { "size", "i", 1 },
	[OP_REMOVE_ID] = { "remove_id", "i", 0 }, [OP_REMOVE] = { "remove", "n", 0 },
	[OP_RENAME_ID] = { "rename_id", "im", 0 }, [OP_RENAME] = { "rename", "nm", 0 },
	[OP_AVAILABLE] = { "available", "", 1 },  [OP_RESERVED] = { "reserved", "", 1 },
	[OP_STATUS] = { "status", "", 3 },        [OP_FORGET] = { "forget", "n", 0 },
};

static const struct {
	int error;
	const char *name;
} error_names[] = {
	{ 0, "ok" },           { EEXIST, "EEXIST" },       { ENOENT, "ENOENT" },     { ENODEV, "ENODEV" },
	{ ENOSPC, "ENOSPC" },  { EIO, "EIO" },             { ENOMEM, "ENOMEM" },     { EINTR, "EINTR" },
	{ EINVAL, "EINVAL" },  { ECANCELED, "ECANCELED" }, { EBADMSG, "EBADMSG" },   { ENOTCONN, "ENOTCONN" },
	{ ESTALE, "ESTALE" },  { EPERM, "EPERM" },         { ENOTEMPTY, "ENOTEMPTY" }, { ERROR_UNKNOWN, "?" },
	{ ENOSYS, "ENOSYS" },  { EAGAIN, "EAGAIN" },       { EACCES, "EACCES" },     { EBUSY, "EBUSY" },
};

void history_init(struct history *h, uint64_t capacity_bytes)
{
	memset(h, 0, sizeof *h);
	h->capacity_bytes = capacity_bytes;
}

int history_name(struct history *h, const char *name, unsigned *ret_index)
{
	for (unsigned i = 0; i < h->name_count; i++) {
		if (strcmp(h->names[i], name) == 0) {
			*ret_index = i;
			return 0;
		}
	}
	if (h->name_count == HISTORY_NAMES_MAX || strlen(name) >= sizeof h->names[0])
		return -ENOSPC;
	strcpy(h->names[h->name_count], name);
	*ret_index = h->name_count++;
	return 0;
}

struct event *history_add(struct history *h, unsigned client, enum op op)
{
	if (h->event_count == HISTORY_EVENTS_MAX)
		return NULL;
	struct event *e = &h->events[h->event_count++];
	*e = (struct event){ .client = client, .op = op, .end_ns = NEVER, .id = ID_UNKNOWN, .error = ERROR_UNKNOWN };
	for (unsigned i = 0; i < HISTORY_VALUES; i++)
		e->got[i] = VALUE_UNKNOWN;
	return e;
}

static int parse_number(const char *word, uint64_t *ret_value)
{
	char *end;

	if (*word < '0' || *word > '9')
		return -EINVAL;
	errno = 0;
	uint64_t value = strtoull(word, &end, 10);
	if (errno || *end)
		return -EINVAL;
	*ret_value = value;
	return 0;
}

/* A number, or `unknown` as the word that stands for "not known". */
static int parse_value(const char *word, const char *unknown, uint64_t *ret_value)
{
	if (strcmp(word, unknown) == 0) {
		*ret_value = UINT64_MAX;
		return 0;
	}
	return parse_number(word, ret_value);
}

static int parse_error(const char *word, int *ret_error)
{
	for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++) {
		if (strcmp(error_names[i].name, word) == 0) {
			*ret_error = error_names[i].error;
			return 0;
		}
	}
	return parse_number(word, &(uint64_t){ 0 }) == 0 ? (*ret_error = atoi(word), 0) : -EINVAL;
}

static unsigned value_count(const struct event *e)
{
	if (e->error == 0)
		return op_texts[e->op].values;
	return e->op == OP_RESIZE && e->error == ENOSPC ? 1 : 0;
}

static int parse_argument(struct history *h, struct event *e, char kind, const char *word)
{
	switch (kind) {
	case 'n':
		return history_name(h, word, &e->name);
	case 'm':
		return history_name(h, word, &e->new_name);
	case 'i':
		return parse_number(word, &e->id);
	default:
		return parse_value(word, "max", &e->amount_bytes);
	}
}

static int parse_result(struct event *e, char **words, unsigned count)
{
	if (count == 0)
		return -EINVAL;
	int r = parse_error(words[0], &e->error);
	if (r < 0)
		return r;
	if ((e->error == ERROR_UNKNOWN) != (e->end_ns == NEVER) || count - 1 != value_count(e))
		return -EINVAL;
	for (unsigned i = 1; i < count; i++) {
		r = parse_value(words[i], "-", &e->got[i - 1]);
		if (r < 0)
			return r;
	}
	return 0;
}

static int parse_event(struct history *h, char **words, unsigned count)
{
	uint64_t client, start, end;
	unsigned op = 0;

	if (count < 6 || parse_number(words[0], &client) < 0 || parse_number(words[1], &start) < 0 ||
	    parse_value(words[2], "-", &end) < 0)
		return -EINVAL;
	while (op < OP_COUNT && strcmp(op_texts[op].name, words[3]) != 0)
		op++;
	if (op == OP_COUNT)
		return -EINVAL;
	struct event *e = history_add(h, (unsigned) client, (enum op) op);
	if (!e)
		return -ENOSPC;
	e->start_ns = (int64_t) start;
	e->end_ns = end == UINT64_MAX ? NEVER : (int64_t) end;
	if (e->end_ns < e->start_ns)
		return -EINVAL;
	unsigned at = 4;
	for (const char *kind = op_texts[op].arguments; *kind; kind++, at++) {
		int r = at < count ? parse_argument(h, e, *kind, words[at]) : -EINVAL;
		if (r < 0)
			return r;
	}
	if (at >= count || strcmp(words[at], "=") != 0)
		return -EINVAL;
	return parse_result(e, words + at + 1, count - at - 1);
}

static int parse_line(struct history *h, char **words, unsigned count)
{
	if (count == 2 && strcmp(words[0], "capacity") == 0)
		return parse_number(words[1], &h->capacity_bytes);
	if (count == 1 && strcmp(words[0], "linger") == 0) {
		h->names_linger = true;
		return 0;
	}
	if (count == 2 && strcmp(words[0], "tolerate") == 0) {
		if (h->tolerated_count == HISTORY_TOLERATED_MAX)
			return -ENOSPC;
		return parse_error(words[1], &h->tolerated[h->tolerated_count++]);
	}
	if (count == 4 && strcmp(words[0], "contract") == 0) {
		unsigned name;
		int r = history_name(h, words[1], &name);
		if (r < 0)
			return r;
		h->initial[name].present = true;
		r = parse_number(words[2], &h->initial[name].id);
		return r < 0 ? r : parse_number(words[3], &h->initial[name].size_bytes);
	}
	return parse_event(h, words, count);
}

int history_read(FILE *in, struct history *h, unsigned *ret_line)
{
	char line[512];
	unsigned number = 0;

	history_init(h, 0);
	while (fgets(line, sizeof line, in)) {
		char *words[WORDS_MAX], *rest = line;
		unsigned count = 0;

		number++;
		if (line[0] == '%')
			continue;
		while (count < WORDS_MAX && (words[count] = strtok_r(NULL, " \t\n", &rest)))
			count++;
		if (count == 0)
			continue;
		int r = parse_line(h, words, count);
		if (r < 0) {
			*ret_line = number;
			return r;
		}
	}
	return ferror(in) ? -EIO : 0;
}

static void write_value(FILE *out, uint64_t value, const char *unknown)
{
	if (value == UINT64_MAX)
		fprintf(out, " %s", unknown);
	else
		fprintf(out, " %" PRIu64, value);
}

static void write_error(FILE *out, int error)
{
	for (size_t i = 0; i < sizeof error_names / sizeof error_names[0]; i++) {
		if (error_names[i].error == error) {
			fprintf(out, " %s", error_names[i].name);
			return;
		}
	}
	fprintf(out, " %d", error);
}

void history_write_event(FILE *out, const struct history *h, const struct event *e)
{
	fprintf(out, "%u %" PRId64, e->client, e->start_ns);
	write_value(out, e->end_ns == NEVER ? UINT64_MAX : (uint64_t) e->end_ns, "-");
	fprintf(out, " %s", op_texts[e->op].name);
	for (const char *kind = op_texts[e->op].arguments; *kind; kind++) {
		switch (*kind) {
		case 'n':
			fprintf(out, " %s", h->names[e->name]);
			break;
		case 'm':
			fprintf(out, " %s", h->names[e->new_name]);
			break;
		case 'i':
			write_value(out, e->id, "-");
			break;
		default:
			write_value(out, e->amount_bytes, "max");
		}
	}
	fputs(" =", out);
	write_error(out, e->error);
	for (unsigned i = 0; i < value_count(e); i++)
		write_value(out, e->got[i], "-");
}

void history_write(FILE *out, const struct history *h)
{
	fprintf(out, "capacity %" PRIu64 "\n", h->capacity_bytes);
	if (h->names_linger)
		fputs("linger\n", out);
	for (unsigned i = 0; i < h->tolerated_count; i++) {
		fputs("tolerate", out);
		write_error(out, h->tolerated[i]);
		fputc('\n', out);
	}
	for (unsigned i = 0; i < h->name_count; i++)
		if (h->initial[i].present)
			fprintf(out, "contract %s %" PRIu64 " %" PRIu64 "\n", h->names[i], h->initial[i].id,
				h->initial[i].size_bytes);
	for (unsigned i = 0; i < h->event_count; i++) {
		history_write_event(out, h, &h->events[i]);
		fputc('\n', out);
	}
}
