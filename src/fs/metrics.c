/* SPDX-License-Identifier: MIT */
/*
 * metrics.c: the tree's `metrics` file, in the Prometheus text exposition format 0.0.4
 * (prometheus.io/docs/instrumenting/exposition_formats). Invariant: no label grows with the number of contracts.
 */
#include "fs/internal.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static const char *const operation_names[RFS_OP_COUNT] = {
	[RFS_OP_CREATE] = "create", [RFS_OP_RESIZE] = "resize", [RFS_OP_REMOVE] = "remove",
	[RFS_OP_RENAME] = "rename", [RFS_OP_SYNC] = "sync",     [RFS_OP_OTHER] = "other",
};
static const char *const result_names[RFS_RESULT_COUNT] = {
	[RFS_RESULT_OK] = "ok",
	[RFS_RESULT_REFUSED] = "refused",
	[RFS_RESULT_FAILED] = "failed",
};

void rfs_metrics_count(struct rfs_fs *fs, enum rfs_operation operation, int error)
{
	enum rfs_result result = error == 0                         ? RFS_RESULT_OK
				 : error == -EIO || error == -ENOMEM ? RFS_RESULT_FAILED
								     : RFS_RESULT_REFUSED;

	atomic_fetch_add_explicit(&fs->operations[operation][result], 1, memory_order_relaxed);
}

/* A text that is being written; what does not fit is counted and found out at the end. */
struct page {
	char *text;
	size_t length;
};

static void add(struct page *page, const char *format, ...) __attribute__((format(printf, 2, 3)));
static void add(struct page *page, const char *format, ...)
{
	size_t room = page->length < RFS_TEXT_MAX ? RFS_TEXT_MAX - page->length : 0;
	va_list arguments;
	int n;

	va_start(arguments, format);
	n = vsnprintf(room > 0 ? page->text + page->length : NULL, room, format, arguments);
	va_end(arguments);
	page->length += n > 0 ? (size_t) n : 0;
}

static void add_head(struct page *page, const char *name, const char *type, const char *help)
{
	add(page, "# HELP reservefs_%s %s\n# TYPE reservefs_%s %s\n", name, help, name, type);
}

static void add_gauge(struct page *page, const char *pool, const char *name, const char *help, uint64_t value)
{
	add_head(page, name, "gauge", help);
	add(page, "reservefs_%s{pool=\"%s\"} %" PRIu64 "\n", name, pool, value);
}

static void add_difference(struct page *page, const char *pool, const char *name, const char *help, int64_t value)
{
	add_head(page, name, "gauge", help);
	add(page, "reservefs_%s{pool=\"%s\"} %" PRId64 "\n", name, pool, value);
}

static void add_check(struct page *page, struct rfs_fs *fs, const char *pool)
{
	struct rfs_check_result result;

	rfs_reservations_check_result(fs->reservations, &result);
	add_gauge(page, pool, "check_running", "Whether all records are being compared with the totals.",
		  result.state == RFS_CHECK_RUNNING);
	add_difference(page, pool, "check_excess_bytes", "By how much the contracts' records add up to more than reserved.",
		       result.excess_bytes);
	add_difference(page, pool, "check_excess_contracts", "The same of their number.", result.excess_contracts);
	add_gauge(page, pool, "check_misindexed", "Whether the index does not lead to exactly the contracts that there are.",
		  result.is_misindexed);
	add_gauge(page, pool, "check_damaged_records", "Records that the comparison could not read.", result.unreadable);
}

static void add_operations(struct page *page, struct rfs_fs *fs, const char *pool)
{
	add_head(page, "operations_total", "counter",
		 "Requests answered: ok, refused (the request could not be granted) or failed (storage or memory).");
	for (size_t o = 0; o < RFS_OP_COUNT; o++)
		for (size_t r = 0; r < RFS_RESULT_COUNT; r++)
			add(page, "reservefs_operations_total{pool=\"%s\",operation=\"%s\",result=\"%s\"} %" PRIu64 "\n", pool,
			    operation_names[o], result_names[r],
			    atomic_load_explicit(&fs->operations[o][r], memory_order_relaxed));
}

static void add_commits(struct page *page, struct rfs_fs *fs, const char *pool)
{
	struct rfs_commit_times times;

	rfs_reservations_commit_times(fs->reservations, &times);
	add_head(page, "commit_duration_seconds", "histogram", "How long it took to make changes durable, a commit each.");
	for (size_t i = 0; i < RFS_COMMIT_BUCKETS; i++)
		add(page, "reservefs_commit_duration_seconds_bucket{pool=\"%s\",le=\"%g\"} %" PRIu64 "\n", pool,
		    rfs_commit_bounds_seconds[i], times.at_most[i]);
	add(page, "reservefs_commit_duration_seconds_bucket{pool=\"%s\",le=\"+Inf\"} %" PRIu64 "\n", pool, times.count);
	add(page, "reservefs_commit_duration_seconds_sum{pool=\"%s\"} %.9f\n", pool, times.sum_seconds);
	add(page, "reservefs_commit_duration_seconds_count{pool=\"%s\"} %" PRIu64 "\n", pool, times.count);
}

/* A label value: backslash, quote and newline are escaped. */
static void escape_label(const char *value, char *ret_label, size_t size)
{
	size_t n = 0;

	for (; *value && n + 3 < size; value++) {
		if (*value == '\\' || *value == '"' || *value == '\n')
			ret_label[n++] = '\\';
		ret_label[n++] = *value == '\n' ? 'n' : *value;
	}
	ret_label[n] = '\0';
}

int rfs_metrics_text(struct rfs_fs *fs, char ret_text[RFS_TEXT_MAX], size_t *ret_length)
{
	struct page page = { .text = ret_text };
	struct rfs_figures figures;
	struct rfs_totals totals;
	char pool[256];

	rfs_reservations_figures(fs->reservations, &figures, &totals);
	escape_label(fs->pool, pool, sizeof pool);
	add_gauge(&page, pool, "capacity_bytes", "The most bytes that may ever be promised.", figures.capacity);
	add_gauge(&page, pool, "reserved_bytes", "The sum of the sizes of all contracts.", figures.reserved);
	add_gauge(&page, pool, "available_bytes", "Bytes that can be reserved now.", figures.available);
	add_gauge(&page, pool, "stored_bytes", "Bytes that contracts say they have filled.", figures.stored);
	add_gauge(&page, pool, "free_bytes", "Bytes free on the storage.", figures.free);
	add_gauge(&page, pool, "shortfall_bytes", "Bytes promised, not filled, and no longer free on the storage.",
		  figures.shortfall);
	add_gauge(&page, pool, "reservations", "The number of contracts.", totals.contracts);
	add_check(&page, fs, pool);
	add_operations(&page, fs, pool);
	add_commits(&page, fs, pool);
	add_head(&page, "build_info", "gauge", "Always 1; the labels tell the version.");
	add(&page, "reservefs_build_info{pool=\"%s\",version=\"%s\"} 1\n", pool, RFS_VERSION);
	if (page.length >= RFS_TEXT_MAX)
		return -EOVERFLOW;
	*ret_length = page.length;
	return 0;
}
